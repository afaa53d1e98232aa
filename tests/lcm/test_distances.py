import math

import pytest
import torch

from lcm.distances import DISTANCES, distance

ALL = sorted(DISTANCES)


def of(name, error, *, blocks=1, weights=None, mask=None, **values):
    mask = torch.ones(error.shape[::2], dtype=torch.bool) if mask is None else mask
    weights = torch.ones(blocks) if weights is None else torch.tensor(weights)
    return distance(name, error, mask, weights, dimension=error.shape[1] // blocks, **values)


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("l2", None, 16 * 0.09),
        ("pseudo_huber", None, math.sqrt(16 * 0.09 + (0.00054 * 4) ** 2) - 0.00054 * 4),
        ("pseudo_huber", 0.5, math.sqrt(16 * 0.09 + 4.0) - 2.0),
        ("cauchy", None, math.log(1 + 16 * 0.09 / (2 * (0.03 * 4) ** 2))),
        ("cauchy", 1.0, math.log(1 + 16 * 0.09 / 32)),
    ],
)
def test_a_constant_error_costs_what_the_formula_says(name, scale, expected):
    # 16 channels, each 0.3 off: squared frame distance 1.44; the scale counts once per square root of a channel, here 4 times
    value = of(name, torch.full((2, 16, 5), 0.3), scale=scale)
    assert torch.allclose(value, torch.full((2,), expected), rtol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_no_error_costs_nothing_and_its_gradient_is_finite(name):
    error = torch.zeros(1, 8, 5, requires_grad=True)
    value = of(name, error)
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-7)
    assert bool(error.grad.isfinite().all())


@pytest.mark.parametrize("name", ALL)
def test_padding_never_enters(name):
    error = torch.randn(1, 8, 30)
    mask = torch.arange(30)[None] < 20
    poisoned = torch.where(mask[:, None], error, float("nan"))
    assert torch.allclose(of(name, error[..., :20]), of(name, error, mask=mask))
    assert torch.equal(of(name, poisoned, mask=mask), of(name, error, mask=mask))


@pytest.mark.parametrize("name", ALL)
def test_the_length_of_a_crop_does_not_matter(name):
    error = torch.randn(1, 8, 10)
    assert torch.allclose(of(name, error), of(name, error.repeat(1, 1, 7)))


@pytest.mark.parametrize("name", ALL)
def test_each_clip_has_a_value_of_its_own(name):
    error = torch.randn(3, 8, 10)
    assert torch.equal(of(name, error), torch.cat([of(name, error[i : i + 1]) for i in range(3)]))


@pytest.mark.parametrize("name", ALL)
def test_a_block_of_weight_zero_is_not_seen_and_others_count_by_weight(name):
    error = torch.randn(2, 8, 10)
    changed = error.clone()
    changed[:, 4:] += 5
    assert torch.equal(of(name, error, blocks=2, weights=[2.0, 0.0]), of(name, changed, blocks=2, weights=[2.0, 0.0]))
    assert not torch.allclose(of(name, error, blocks=2), of(name, changed, blocks=2))


def test_an_outlier_weighs_less_with_cauchy_than_with_pseudo_huber_than_with_l2():
    usual, outlier = torch.full((1, 128, 1), 0.1), torch.full((1, 128, 1), 10.0)
    growth = {name: float(of(name, outlier) / of(name, usual)) for name in ALL}
    assert growth["cauchy"] < 10 < growth["pseudo_huber"] < 200 < growth["l2"]
