"""Nodes that crash, that come back, and on which nothing works."""

from __future__ import annotations

import pytest
from filling import Filling, clips, jobs
from toy_producer import toy_plan

from slurm.status import read_status, remarks


def test_the_jobs_of_a_crashed_node_go_on_elsewhere(lab, tmp_path):
    filling = Filling(lab, tmp_path, toy_plan(6, items=clips(48)), "shards_per_task=1", delay_s=0.4, hurry=True)
    filling.submit()
    made = filling.wait_for_lines(14)
    lab.crash("node1", noticed=False)
    lab.declare_down("node1")
    filling.wait()
    filling.check()
    assert {line.node for line in made} == {"node1", "node2", "node3"}
    later = {line.node for line in filling.lines()[len(made) + 8 :]}
    assert later <= {"node2", "node3"}
    assert len(filling.made_twice()) <= 2, "each process of the node loses the item at hand at most"


@pytest.mark.parametrize("story", ["both commit at once", "the old one wakes up when all is done", "the old one is ended by its node"])
def test_of_two_copies_of_a_task_one_makes_each_shard(lab, tmp_path, story):
    """A node whose slurmd died is given up and its jobs run elsewhere, while their first copies live on; then it comes back."""
    plan = toy_plan(2)
    all_done, came_back = story.startswith("the old one wakes"), story.endswith("its node")
    last = min(reversed(plan.shard_items(1)), key=lambda item: item.length).key
    filling = Filling(lab, tmp_path, plan, "shards_per_task=1", hold_first=all_done, hold_at=last)
    job = jobs(filling.submit())[0]
    filling.wait_for_lines(len(plan.items) - 1)
    node = lab.job(job)["NodeList"]
    lab.kill_slurmd(node)
    lab.declare_down(node)
    filling.wait_for(lambda: filling.paths.index.exists() if all_done else filling.progress(1).attempts == 2)
    old = {line.pid for line in filling.lines() if line.node == node} & {*lab.job_processes(node=node)}
    assert len(old) == 1, "the old copy lives"
    if came_back:
        lab.boot(node)
        filling.wait_for(lambda: not old & {*lab.job_processes(node=node)})
    filling.gate.touch()
    filling.wait()
    filling.wait_for(lambda: not old & {*lab.job_processes(node=node)})
    lab.boot(node)
    assert (lab.job(job)["Restarts"], lab.job(job)["NodeList"] != node) == ("1", True)
    assert filling.made_twice() == ([] if came_back else [last])
    # only our own: both may write submitit's file of results at once, which one of them complains of when all is done
    assert "slurm/worker.py" not in filling.logs(), f"the copy that comes too late does not end in peace:\n{filling.logs()}"
    filling.check()


@pytest.mark.parametrize(("act", "submissions"), [("prepare", 2), ("produce", 1)])
def test_a_node_on_which_all_fails_is_named_and_left_out(lab, tmp_path, act, submissions):
    """Loading that fails counts once a process, of which a job has two; three failures make a node a bad one."""
    filling = Filling(lab, tmp_path, toy_plan(12), delay_s=0.2, sick=("node1", act))
    for _ in range(submissions):
        filling.fill()
    state = read_status(filling.folder)
    assert state.bad_nodes() == ["node1"]
    assert any("node node1 is bad" in line for line in remarks(state))
    assert state.errors
    assert all("no device in node1" in error for error in state.errors.values())
    again = jobs(filling.submit())
    assert {lab.job(job)["ExcNodeList"] for job in again} == {"node1"}
    filling.wait()
    filling.check()
    assert filling.made_twice() == []


def test_a_fault_that_is_on_every_node_leaves_none_out(lab, tmp_path):
    filling = Filling(lab, tmp_path, toy_plan(12), sick=("*", "produce"))
    filling.fill()
    assert set(read_status(filling.folder).states) == {"failed"}
    filling.gate.touch()
    filling.fill()
    filling.check()
