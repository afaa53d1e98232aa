import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from lcm.compat import import_encodec
from lcm.errors import LcmError
from lcm.losses import AUDIO_TERMS, TERMS, LossConfig, hf_log_magnitude, mr_stft, si_sdr, token_ce, waveform_l1

CUTOFF = torch.tensor([6000.0])


def need_pesq():
    import_encodec()  # torch-pesq imports torchaudio
    pytest.importorskip("torch_pesq")


@pytest.fixture(params=sorted(AUDIO_TERMS))
def term(request):
    if request.param == "pesq":
        need_pesq()
    return AUDIO_TERMS[request.param]


@pytest.fixture
def audio(speech):
    return torch.from_numpy(speech)[None]


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_perfect_estimate_costs_nothing(term, audio):
    value = float(term(audio, audio, CUTOFF))
    assert value < -4 if term is si_sdr else value == pytest.approx(0, abs=1e-6)


def test_a_worse_estimate_costs_more(term, audio):
    values = [float(term(audio + level * noise(1, audio.shape[1]), audio, CUTOFF)) for level in (0.03, 0.3)]
    assert values[1] > values[0] + 0.01


def test_a_batch_costs_what_its_clips_cost_alone(term, audio):
    loud = torch.cat([10 * audio, audio.roll(9000, 1), 0.1 * audio])
    estimate, cutoffs = loud + noise(*loud.shape), torch.tensor([4000.0, 6000.0, 8000.0])
    alone = [float(term(estimate[i : i + 1], loud[i : i + 1], cutoffs[i : i + 1])) for i in range(3)]
    assert term(estimate, loud, cutoffs).tolist() == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("silent", ["estimate", "target", "both"])
def test_silence_has_a_finite_loss_and_gradient(term, audio, silent):
    target = torch.zeros_like(audio) if silent != "estimate" else audio
    estimate = (torch.zeros_like(audio) if silent != "target" else audio).clone().requires_grad_()
    value = term(estimate, target, CUTOFF)
    value.sum().backward()
    assert bool(torch.isfinite(value).all())
    assert bool(torch.isfinite(estimate.grad).all())


def test_waveform_l1_is_relative_to_the_level():
    target = noise(2, 24_000) * torch.tensor([[1.0], [7.0]])
    assert waveform_l1(0.5 * target, target, CUTOFF).tolist() == pytest.approx([0.5, 0.5])
    assert waveform_l1(0 * target, target, CUTOFF).tolist() == pytest.approx([1.0, 1.0])


def test_si_sdr_of_ten_decibels_is_minus_one_at_any_scale_of_the_estimate():
    target, error = noise(1, 24_000), noise(1, 24_000, seed=1)
    error -= (error * target).sum() / target.square().sum() * target
    error *= target.norm() / error.norm() * 10**-0.5
    for scale in (0.3, 1.0, 20.0):
        assert float(si_sdr(scale * (target + error), target, CUTOFF)) == pytest.approx(-1, abs=1e-3)


def test_si_sdr_pulls_no_harder_at_a_silent_estimate_than_its_floor_allows(audio):
    estimate = (1e-6 * audio).requires_grad_()
    si_sdr(estimate, audio, CUTOFF).sum().backward()
    assert float(estimate.grad.norm()) < 1e2


def test_mr_stft_is_auralosss_clip_by_clip(audio):
    from auraloss.freq import MultiResolutionSTFTLoss

    reference = MultiResolutionSTFTLoss()
    target = torch.cat([audio * level for level in (3.0, 0.3, 1.0, 0.5, 2.0)])
    estimate = 0.7 * target + 0.1 * noise(*target.shape)
    alone = [float(reference(e[None, None], t[None, None])) for e, t in zip(estimate, target, strict=True)]
    assert mr_stft(estimate, target, CUTOFF).tolist() == pytest.approx(alone, rel=1e-5)


def test_ten_decibels_more_in_the_high_band_cost_one():
    target = 10 * noise(1, 24_000)
    assert float(hf_log_magnitude(target * 10**0.5, target, CUTOFF)) == pytest.approx(1, abs=1e-3)


def test_the_high_band_starts_at_each_clips_own_cutoff():
    target, spectrum = noise(3, 24_000), torch.fft.rfft(noise(1, 24_000, seed=1))
    spectrum[:, :4200], spectrum[:, 5500:] = 0, 0  # a bin is 1 Hz
    extra = 3 * torch.fft.irfft(spectrum, 24_000)
    told_6_khz, told_4_khz, not_told = hf_log_magnitude(target + extra, target, torch.tensor([6000.0, 4000.0, 0.0])).tolist()
    assert told_6_khz < 0.05 * told_4_khz
    assert not_told == pytest.approx(told_4_khz, rel=0.1)


def test_nothing_is_missing_above_a_cutoff_of_twelve_kilohertz():
    assert float(hf_log_magnitude(noise(1, 24_000), noise(1, 24_000, seed=1), torch.tensor([12_001.0]))) == 0


def test_pesq_is_what_torch_pesq_gives_with_the_recursive_filter():
    need_pesq()
    from scipy.signal import lfilter

    from lcm.pesq_loss import _module, iir

    filters = _module(torch.device("cpu"))
    for b, a in (filters.power_filter, filters.pre_filter):
        x = noise(2, 16_383)  # one less than the length of an FFT: the response must not wrap around
        expected = torch.from_numpy(lfilter(b.double().numpy(), a.double().numpy(), x.double().numpy())).float()
        assert torch.allclose(iir(x, a, b, clamp=False), expected, atol=1e-6 * float(expected.abs().max()))


def test_a_missing_torch_pesq_names_the_extra_to_install(monkeypatch, audio):
    import sys

    from lcm.pesq_loss import _module, pesq

    _module.cache_clear()
    monkeypatch.setitem(sys.modules, "torch_pesq.loss", None)  # what Python's import system reads as "not installed"
    with pytest.raises(LcmError, match=r"pip install lcm-superres\[pesq\]"):
        pesq(audio, audio, CUTOFF)


def test_cross_entropy_of_uniform_logits_is_the_log_of_the_vocabulary():
    mask = torch.ones(2, 5, dtype=torch.bool)
    value = token_ce(torch.zeros(2, 8, 5, 1024), torch.randint(1024, (2, 8, 5)), mask)
    assert value.tolist() == pytest.approx([6.9315] * 2, abs=1e-3)


def test_only_terms_with_a_weight_are_on():
    config = LossConfig(mr_stft=0.5, token_ce=0.1)
    assert config.on == {"mr_stft": 0.5, "token_ce": 0.1}
    assert config.needs_audio
    assert not LossConfig(token_ce=1.0).needs_audio
    assert LossConfig().on == {}


def test_every_term_has_a_weight_of_its_own():
    assert [name for name in TERMS if getattr(LossConfig(), name) != 0.0] == []
    assert set(AUDIO_TERMS) == set(TERMS) - {"token_ce"}


def test_an_automatic_term_is_on_at_weight_zero():
    config = LossConfig(waveform_l1=0.5, auto={"pesq": 0.1})
    assert config.on == {"waveform_l1": 0.5, "pesq": 0.0}
    assert LossConfig(auto={"si_sdr": 0.1}).needs_audio
    assert not LossConfig(auto={"token_ce": 0.1}).needs_audio


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auto": {"stft": 0.3}}, r"losses\.auto names 'stft'.*choose of waveform_l1, mr_stft"),
        ({"auto": {"auto_every": 0.3}}, "which is no term"),
        ({"mr_stft": 1.0, "auto": {"mr_stft": 0.3}}, r"losses\.mr_stft=1\.0 and losses\.auto\.mr_stft=0\.3.*drop one"),
        ({"auto": {"mr_stft": 0.0}}, r"losses\.auto\.mr_stft=0\.0 must be a share above 0"),
        ({"auto": {"mr_stft": float("nan")}}, "must be a share above 0"),
        ({"auto_every": 0}, r"losses\.auto_every=0 must be at least 1"),
    ],
)
def test_automatic_weights_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(LcmError, match=message):
        LossConfig(**settings)


@pytest.mark.parametrize("override", ["+auto.mr_stft=0.3", "+auto={mr_stft:0.3}"])
def test_hydra_sets_automatic_weights_from_the_command_line(override):
    ConfigStore.instance().store(name="losses_alone", node=LossConfig)
    with initialize_config_module("sweeps.conf", version_base="1.3"):
        config = OmegaConf.to_object(compose("losses_alone", [override, "si_sdr=0.1"]))
    assert config == LossConfig(si_sdr=0.1, auto={"mr_stft": 0.3})


def test_a_misspelled_automatic_term_is_refused_through_omegaconf_too():
    merged = OmegaConf.merge(OmegaConf.structured(LossConfig), OmegaConf.from_dotlist(["auto.mrstft=0.3"]))
    with pytest.raises(LcmError, match="'mrstft'"):
        OmegaConf.to_object(merged)
