import pytest
import torch

from lcm import losses
from lcm.losses import AUDIO_TERMS, LossConfig, pseudo_huber, token_ce


@pytest.mark.parametrize("name", ["waveform_l1", "mr_stft", "hf_log_magnitude"])
def test_a_perfect_estimate_costs_nothing(name, speech):
    audio = torch.from_numpy(speech)[None]
    assert float(AUDIO_TERMS[name](audio, audio)) == pytest.approx(0, abs=1e-4)


def test_si_sdr_of_ten_decibels_is_minus_one():
    target = torch.randn(1, 24_000)
    noise = torch.randn(1, 24_000)
    noise -= (noise * target).sum() / target.square().sum() * target
    noise *= target.norm() / noise.norm() * 10**-0.5
    assert float(losses.si_sdr(target + noise, target)) == pytest.approx(-1, abs=1e-3)


def test_only_terms_with_a_weight_are_on():
    config = LossConfig(mr_stft=0.5, token_ce=0.1)
    assert config.on == {"mr_stft": 0.5, "token_ce": 0.1}
    assert config.needs_audio
    assert not LossConfig(token_ce=1.0).needs_audio


def test_padding_never_enters_the_distance():
    error = torch.randn(1, 128, 30)
    mask = torch.ones(1, 30, dtype=torch.bool)
    mask[:, 20:] = False
    poisoned = error.clone()
    poisoned[..., 20:] = 1e6
    weights = torch.ones(1)
    assert torch.equal(pseudo_huber(error, mask, weights, dimension=128), pseudo_huber(poisoned, mask, weights, dimension=128))


def test_the_distance_does_not_depend_on_the_crops_length():
    error, weights = torch.ones(1, 128, 10), torch.ones(1)
    long = error.repeat(1, 1, 7)
    a = pseudo_huber(error, torch.ones(1, 10, dtype=torch.bool), weights, dimension=128)
    b = pseudo_huber(long, torch.ones(1, 70, dtype=torch.bool), weights, dimension=128)
    assert torch.allclose(a, b)


def test_cross_entropy_of_uniform_logits_is_the_log_of_the_vocabulary():
    mask = torch.ones(2, 5, dtype=torch.bool)
    value = token_ce(torch.zeros(2, 8, 5, 1024), torch.randint(1024, (2, 8, 5)), mask)
    assert float(value) == pytest.approx(6.9315, abs=1e-3)
