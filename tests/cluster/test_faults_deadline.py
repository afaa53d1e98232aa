"""A batch may take longer than the time between SLURM's warning and its end."""

from __future__ import annotations

from filling import Filling, jobs
from toy_producer import toy_plan


def test_a_batch_that_takes_longer_than_there_is_time_for_is_made_again_by_a_requeued_job(lab, tmp_path):
    plan = toy_plan(1)
    long = sorted(plan.shard_items(0), key=lambda item: -item.length)[3].key  # the fourth that is made
    filling = Filling(lab, tmp_path, plan, "tasks_per_node=1", "signal_s=23", delays={long: 30}, delay_s=0.2, hurry=True)
    job = jobs(filling.submit())[0]
    filling.wait_for_lines(3)
    lab.run("scancel", "--signal=USR2", job)
    filling.wait_for(lambda: filling.progress(0).state == "stopping")
    filling.wait(60)
    assert (lab.state(job), lab.job(job)["Restarts"]) == ("COMPLETED", "1")
    assert "the batch at hand takes longer than the 3 s that there are" in filling.logs()
    filling.check()
    assert filling.made_twice() == [], "what was in the journal stays, the batch at hand was never finished"
