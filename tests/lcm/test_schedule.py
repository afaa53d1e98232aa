from itertools import pairwise

import pytest
import torch

from lcm.errors import LcmError
from lcm.schedule import (
    ScheduleConfig,
    c_in,
    c_out,
    c_skip,
    consistency_levels,
    ct_levels,
    draw_sigma_index,
    ect_r,
    ect_stage,
    edm_weight,
    frame_noise,
    karras_grid,
    level_grid,
    sigma_of,
)


def test_the_boundary_is_exact_at_zero_noise():
    zero = torch.zeros(1)
    assert float(c_skip(zero)) == 1.0
    assert float(c_out(zero)) == 0.0


def test_scaled_input_has_unit_variance_at_every_level():
    for sigma in (0.01, 0.5, 10.0):
        x = 0.5 * torch.randn(100_000) + sigma * torch.randn(100_000)
        assert float((x * c_in(torch.tensor(sigma))).std()) == pytest.approx(1.0, abs=0.02)


def test_the_karras_grid_runs_from_sigma_max_to_sigma_min_and_zero():
    grid = karras_grid(ScheduleConfig(), 18)
    assert len(grid) == 19
    assert float(grid[0]) == pytest.approx(10.0, rel=1e-5)
    assert float(grid[-2]) == pytest.approx(0.002, rel=1e-4)
    assert float(grid[-1]) == 0
    assert bool((grid.diff() < 0).all())


@pytest.mark.parametrize(("place", "level"), [(0, 10.0), (6, 1.35487), (12, 0.0816878), (17, 0.002)])
def test_karras_levels_match_values_computed_by_hand(place, level):
    # (10^(1/7) + i/17 (0.002^(1/7) - 10^(1/7)))^7 with 10^(1/7) = 1.38950 and 0.002^(1/7) = 0.41155
    assert float(karras_grid(ScheduleConfig(), 18)[place]) == pytest.approx(level, rel=1e-4)


def test_a_linear_grid_has_even_gaps_down_to_sigma_min():
    grid = level_grid(ScheduleConfig(), 30, "linear")
    assert len(grid) == 31
    assert float(grid[0]) == 10.0
    assert float(grid[-1]) == 0.0
    gaps = -grid[:-1].diff()
    assert torch.allclose(gaps, gaps.mean().expand(29), rtol=1e-4)


def test_an_unknown_grid_is_refused_with_the_valid_ones():
    with pytest.raises(LcmError, match="karras or linear"):
        level_grid(ScheduleConfig(), 8, "cosine")


@pytest.mark.parametrize(
    ("t", "stage", "r"), [(1.0, 0, 0.0), (0.001, 0, 0.0), (1.0, 3, 0.8030294), (10.0, 0, 4.9981840), (1.0, 7, 0.9876893)]
)
def test_the_t_to_r_map_matches_values_computed_by_hand(t, stage, r):
    assert float(ect_r(torch.tensor(t), stage)) == pytest.approx(r, abs=1e-5)


def test_r_stays_below_t_and_comes_closer_with_each_stage():
    t = torch.logspace(-2, 1, 20)
    previous = torch.zeros(20)
    for stage in range(8):
        r = ect_r(t, stage)
        assert bool((r < t).all())
        assert bool((r >= previous).all())
        previous = r


def test_stages_divide_the_steps_evenly():
    assert [ect_stage(s, 80, 8) for s in (0, 9, 10, 79)] == [0, 0, 1, 7]


def test_noise_of_a_frame_does_not_depend_on_where_a_chunk_starts():
    whole = frame_noise(5, 300, seed=3)
    assert torch.equal(frame_noise(5, 100, seed=3, start=130), whole[:, 130:230])
    assert not torch.equal(frame_noise(5, 300, seed=4), whole)
    assert float(frame_noise(64, 4000, seed=0).std()) == pytest.approx(1.0, abs=0.01)


def test_training_levels_stay_inside_the_schedule_and_are_log_normal():
    sigma = sigma_of(ScheduleConfig(), torch.randn(10_000, generator=torch.Generator().manual_seed(0)))
    assert float(sigma.min()) >= 0.002
    assert float(sigma.max()) <= 10.0
    assert float(sigma.log().median()) == pytest.approx(-1.1, abs=0.1)
    assert float(sigma.log().std()) == pytest.approx(2.0, abs=0.15)  # less what is clamped


def test_the_edm_weight_undoes_the_output_scale():
    sigma = torch.logspace(-2.5, 1, 9)
    assert torch.allclose(edm_weight(sigma) * c_out(sigma).square(), torch.ones(9), rtol=1e-5)


@pytest.mark.parametrize(("step", "levels"), [(0, 10), (19, 10), (20, 20), (40, 40), (60, 80), (80, 160), (99, 160)])
def test_the_curriculum_of_ct_doubles_at_even_intervals(step, levels):
    # start 10, end 160: four doublings, five intervals of 20 steps
    assert ct_levels(step, 100, start=10, end=160) == levels


def test_a_curriculum_stops_at_its_end_and_may_be_flat():
    assert [ct_levels(s, 90, start=10, end=25) for s in (0, 30, 60, 89)] == [10, 20, 25, 25]
    assert {ct_levels(s, 90, start=18, end=18) for s in range(90)} == {18}
    assert ct_levels(5, 2, start=10, end=160) == 160


def test_even_draws_take_every_place_of_the_grid_alike():
    grid = level_grid(ScheduleConfig(), 10, "karras")
    uniform = (torch.arange(10_000) + 0.5) / 10_000
    index = draw_sigma_index(ScheduleConfig(), grid, uniform, log_normal=False)
    assert index.bincount(minlength=10).tolist() == [1000] * 10
    assert int(draw_sigma_index(ScheduleConfig(), grid, torch.ones(1), log_normal=False)) == 9


def test_log_normal_draws_weigh_places_by_the_mass_between_their_levels():
    # iCT, eq. 10: p(i) ~ erf((ln s_i - m) / (sqrt(2) d)) - erf((ln s_(i+1) - m) / (sqrt(2) d)), here via the normal's CDF
    config, grid = ScheduleConfig(), level_grid(ScheduleConfig(), 8, "karras")
    uniform = (torch.arange(200_000) + 0.5) / 200_000
    share = draw_sigma_index(config, grid, uniform, log_normal=True).bincount(minlength=8) / 200_000
    below = torch.special.ndtr((grid.log() + 1.1) / 2.0)  # ln 0 = -inf has no mass below
    assert torch.allclose(share, (below[:-1] - below[1:]) / below[0], atol=1e-3)


@pytest.mark.parametrize("sigma_max", [0.5, 0.8, 2.0, 80.0])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_levels_of_multistep_sampling_fall_inside_the_schedule(sigma_max, steps):
    config = ScheduleConfig(sigma_max=sigma_max)
    levels = consistency_levels(config, steps)
    assert len(levels) == steps
    assert levels[0] == sigma_max
    assert all(lower < higher for higher, lower in pairwise(levels))
    assert levels[-1] >= config.sigma_min * (1 - 1e-6)
