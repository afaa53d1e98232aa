import pytest
import torch

from lcm.schedule import ScheduleConfig, c_in, c_out, c_skip, consistency_levels, draw_sigma, ect_r, ect_stage, frame_noise, karras_grid


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


def test_levels_of_multistep_sampling_fall():
    levels = consistency_levels(ScheduleConfig(), 4)
    assert levels[0] == 10.0
    assert levels == sorted(levels, reverse=True)


def test_noise_of_a_frame_does_not_depend_on_where_a_chunk_starts():
    whole = frame_noise(5, 300, seed=3)
    assert torch.equal(frame_noise(5, 100, seed=3, start=130), whole[:, 130:230])
    assert not torch.equal(frame_noise(5, 300, seed=4), whole)
    assert float(frame_noise(64, 4000, seed=0).std()) == pytest.approx(1.0, abs=0.01)


def test_training_levels_stay_inside_the_schedule():
    sigma = draw_sigma(ScheduleConfig(), 10_000, torch.Generator().manual_seed(0))
    assert float(sigma.min()) >= 0.002
    assert float(sigma.max()) <= 10.0
    assert float(sigma.log().median()) == pytest.approx(-1.1, abs=0.1)
