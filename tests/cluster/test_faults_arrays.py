"""Arrays over nodes and GPUs, also on a cluster whose arrays are short."""

from __future__ import annotations

from collections import defaultdict

import pytest
from filling import Filling, clips, jobs
from toy_producer import toy_plan

from slurm.history import read_all_progress


@pytest.mark.parametrize("gres", ["", "gpu:rtx8000:2"])
def test_shards_are_made_on_all_nodes_and_each_process_sees_a_gpu_of_its_own(lab, tmp_path, gres):
    filling = Filling(lab, tmp_path, toy_plan(24, items=clips(96)), f"gres={gres}", "shards_per_task=4", delay_s=0.1)
    filling.submit()
    filling.wait_for_lines(6)
    assert {progress.gpus for progress in read_all_progress(filling.paths)} == {1}
    filling.wait()
    filling.check()
    gpus = defaultdict(set)
    for line in filling.lines():
        gpus[line.node, line.pid].add(line.gpus)
    assert sorted((node, *seen) for (node, _), seen in gpus.items()) == [(f"node{n}", gpu) for n in (1, 2, 3) for gpu in "01"]
    assert filling.made_twice() == []
    assert filling.is_left_alone()


def test_more_jobs_than_an_array_may_have_are_split_and_no_more_run_at_once_than_asked(small_array_lab, tmp_path):
    filling = Filling(small_array_lab, tmp_path, toy_plan(24), "tasks_per_node=1", "shards_per_task=1", "max_parallel=5", delay_s=0.2)
    ids = [job.split("_") for job in jobs(filling.submit())]
    assert len(ids) == 24
    assert len({array for array, _ in ids}) == 3
    assert max(int(element) for _, element in ids) < 10
    most = 0
    while running := small_array_lab.run("squeue", "-h", "-r", "-o", "%T").split():
        most = max(most, running.count("RUNNING"))
    assert 1 < most <= 5
    filling.check()
    assert filling.made_twice() == []
