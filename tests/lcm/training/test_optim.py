import math

import pytest
import torch
from torch import nn

from lcm.errors import TrainingError
from lcm.training.optim import TrainConfig, check_gradient, check_terms, make_optimiser, rate_at, resolve_precision, update_ema, warm_decay


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_rate_warms_up_and_falls_to_zero():
    config = TrainConfig(steps=100, rate=1.0, warmup=10)
    assert rate_at(config, 0) == pytest.approx(0.1)
    assert rate_at(config, 50) == pytest.approx(0.5)
    assert rate_at(config, 99) < 0.01
    assert rate_at(TrainConfig(steps=100, rate=1.0, warmup=0, decay="constant"), 99) == 1.0


def test_ema_follows_its_closed_form(make_model):
    average, model = make_model(seed=0), make_model(seed=1)
    start, there = weights(average.network).clone(), weights(model.network)
    for _ in range(3):
        update_ema(average, model, 0.9)
    assert torch.allclose(weights(average.network), there + 0.9**3 * (start - there), atol=1e-5)


def test_the_averages_decay_warms_up_to_its_value():
    assert warm_decay(0.999, 0) == pytest.approx(0.1)
    assert warm_decay(0.999, 90) == pytest.approx(0.91)
    assert warm_decay(0.999, 10**6) == 0.999


def test_precision_auto_is_fp32_on_cpu():
    assert resolve_precision("16-mixed") == "16-mixed"
    if not torch.cuda.is_available():
        assert resolve_precision("auto") == "32-true"


def test_an_unknown_optimiser_names_the_choices():
    with pytest.raises(TrainingError, match="adamw, radam"):
        make_optimiser(TrainConfig(optimiser="sgd"), nn.Linear(1, 1).parameters())


def test_the_micro_batch_is_the_batch_shared_by_devices_and_accumulation():
    assert TrainConfig(batch=24, devices=2, accumulate=3).micro_batch == 4


@pytest.mark.parametrize("wrong", [{"batch": 3, "accumulate": 2}, {"batch": 2, "devices": 4}, {"accumulate": 0}, {"devices": 0}])
def test_a_batch_that_cannot_be_shared_is_refused_with_the_three_settings(wrong):
    with pytest.raises(TrainingError, match=r"train\.batch=\d+ cannot be shared by train\.devices=\d x train\.accumulate=\d"):
        _ = TrainConfig(**wrong).micro_batch


def test_terms_that_are_not_finite_are_named_and_the_others_are_not():
    terms = {"ect": torch.tensor(1.0), "si_sdr": torch.tensor(math.nan), "mr_stft": torch.tensor(math.inf)}
    with pytest.raises(TrainingError, match=r"In step 3 of x loss term si_sdr, mr_stft is not finite"):
        check_terms(terms, "step 3 of x")


def test_a_gradient_that_is_not_finite_is_refused():
    check_gradient(torch.tensor(1.0), "step 3 of x")
    with pytest.raises(TrainingError, match="In step 3 of x gradient_norm is not finite"):
        check_gradient(torch.tensor(math.inf), "step 3 of x")
