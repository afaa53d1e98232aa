"""The reverse process as numbers."""

from __future__ import annotations

import pytest

from lcm.errors import LcmError
from lcm.mbd.schedule import reverse_steps, spaced


def test_twenty_calls_visit_audiocrafts_states():
    assert spaced(20) == [*[*range(1000)][::-50], 0]


@pytest.mark.parametrize("calls", [1, 3, 7, 50, 999])
def test_any_number_of_calls_starts_at_the_last_state_and_falls(calls):
    states = spaced(calls)
    assert (len(states), states[0], states[-1]) == (calls + 1, 999, 0)
    assert states == sorted(set(states), reverse=True)


@pytest.mark.parametrize("calls", [0, 1000])
def test_more_or_fewer_calls_than_states_are_refused(calls):
    with pytest.raises(LcmError, match="1 to 999"):
        spaced(calls)


@pytest.mark.parametrize("states", [[999], [10, 20], [999, 500, 500], [1000, 0], [5, -1]])
def test_what_is_no_falling_list_of_states_is_refused(teacher, states):
    with pytest.raises(LcmError, match=r"step_list.*falling"):
        reverse_steps(teacher.sampler.bands.processes[0].schedule, states)


def test_the_last_step_adds_no_noise_and_the_others_do(teacher):
    deviations = [step.deviation for step in reverse_steps(teacher.sampler.bands.processes[0].schedule, spaced(20))]
    assert deviations[-1] == 0
    assert min(deviations[:-1]) > 0
