"""How points are divided among jobs."""

from __future__ import annotations

import pytest

from slurm.cluster import load_cluster
from sweeps.sweep.packing import elements, preparations
from sweeps.sweep.record import SweepPoint
from sweeps.sweep.settings import LauncherConfig, SweepError, for_devices

NODES = load_cluster("2x48gb")  # two tasks a job


def _points(count, devices=1, first=0):
    return [SweepPoint(number, "", 0, str(number), devices=devices) for number in range(first, first + count)]


def test_each_task_of_a_job_has_a_point():
    assert elements(_points(4), NODES, 1) == {1: [[[0], [1]], [[2], [3]]]}


def test_several_points_share_a_task_when_packed():
    assert elements(_points(7), NODES, 3) == {1: [[[0, 1], [2, 3]], [[4, 5], [6]]]}


def test_a_point_of_two_devices_has_a_job_of_two_tasks_for_itself():
    found = elements([*_points(2), *_points(2, 2, first=2)], NODES, 4)
    assert found == {1: [[[0], [1]]], 2: [[[2], []], [[3], []]]}
    assert for_devices(load_cluster("2x48gb", ["tasks_per_node=1", "nodes=2"]), 2).tasks == 2


def test_a_point_of_two_devices_needs_tasks_of_one_gpu():
    with pytest.raises(SweepError, match="gpus_per_task=2"):
        for_devices(load_cluster("2x48gb", ["gpus_per_task=2", "tasks_per_node=1"]), 2)


def test_on_one_machine_each_process_works_through_a_share():
    assert elements(_points(5), load_cluster("local", ["processes=2"]), 1) == {1: [[[0, 1, 2]], [[3, 4]]]}


def test_every_point_is_in_one_job_exactly():
    for count in range(1, 20):
        for pack in (1, 2, 5):
            found = elements(_points(count), NODES, pack)
            assert [n for job in found[1] for task in job for n in task] == list(range(count))


def test_of_points_with_one_need_the_first_prepares():
    assert preparations({3: "a", 5: "b", 7: "a"}) == {3: 3, 5: 5, 7: 3}
    assert preparations({3: "a"}) == {}
    assert preparations({}) == {}


@pytest.mark.parametrize(
    ("values", "said"), [({"evaluation": "later"}, "same, after"), ({"pack": 0}, "pack=0"), ({"attempts": 0}, "attempts=0")]
)
def test_a_wrong_setting_of_the_launcher_is_named(values, said):
    with pytest.raises(SweepError, match=said):
        LauncherConfig(**values)
