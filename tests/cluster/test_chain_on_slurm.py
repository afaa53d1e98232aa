"""Jobs of a chain keep to what they were submitted for, whatever is planned, cancelled or submitted meanwhile."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from filling import using

from lcm.store import Store, StorePaths
from slurm import acts
from slurm.report import report
from slurm.stages import Generation
from slurm.submission import Submissions
from slurm.submit import live_jobs

CORPUS = ["corpus=demo", "corpus.demo_voices=3", "corpus.demo_utterances=1", "teacher.steps=2", "shards=4"]
SLURM = [
    "cluster=2x48gb", "cluster.mem_gb=4", "cluster.cpus_per_task=1", "cluster.time=10", "cluster.signal_s=60", "cluster.sbatch_every_s=0",
    "cluster.shards_per_task=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A root whose codes and overlay were made on this machine."""
    folder = tmp_path_factory.mktemp("finished")
    acts.submit(folder, [*CORPUS, "cluster=local", "cluster.processes=1", "cluster.threads=1"])
    return folder


def wait(lab, timeout=120):
    lab.wait_for(lambda: not lab.run("squeue", "-h").strip(), timeout, "all jobs have ended")


def stages(folder):
    """The stages whose jobs have not ended."""
    return sorted(Submissions(folder).read(name).stage for name in live_jobs(folder))


def test_what_is_planned_while_jobs_wait_does_not_change_what_they_make(lab, finished):
    with using(lab):
        acts.submit(finished, [*SLURM, "teacher.steps=3", "cluster.flags={hold: true}"])
        first = Generation.at(finished)
        list(report(finished, ["latents=true", "teacher.steps=2", "cluster.flags={}"]))
        assert any("overlay" in line for line in acts.submit(finished).lines), "another teacher's shards are not in those jobs' hands"
        lab.run("scontrol", "release", *sorted({job.partition("_")[0] for ids in live_jobs(finished).values() for job in ids}))
        wait(lab)
    for generation in (first, Generation.at(finished)):
        assert len(Store(generation.overlay())) > 0
    assert first.overlay() != Generation.at(finished).overlay()


def test_a_chain_whose_codes_are_submitted_again_is_submitted_again_as_a_whole(lab, tmp_path):
    with using(lab):
        acts.submit(tmp_path, [*CORPUS, *SLURM, "cluster.flags={hold: true}"])
        assert stages(tmp_path) == ["codes", "merge codes", "merge overlay", "overlay"]
        codes = next(s for s in Submissions(tmp_path) if s.stage == "codes")
        lab.run("scancel", codes.jobs[0])
        lab.wait_for(lambda: codes.jobs[0] not in lab.run("squeue", "-hr", "-o%i"))
        acts.submit(tmp_path, ["cluster.flags={}"])
        assert sorted(set(stages(tmp_path))) == ["codes", "merge codes", "merge overlay", "overlay"]
        lab.run("scontrol", "release", codes.jobs[1])
        wait(lab)
    assert len(Store(Generation.at(tmp_path).overlay())) > 0


def test_two_who_submit_at_once_submit_once(lab, tmp_path):
    with using(lab):
        acts.prepare(tmp_path, [*CORPUS, *SLURM, "cluster.flags={hold: true}"])
        both = [threading.Thread(target=acts.submit, args=(tmp_path,)) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join()
        assert stages(tmp_path) == ["codes", "merge codes", "merge overlay", "overlay"]
        assert acts.cancel(tmp_path) != ["No job of this folder has not ended."]


def test_jobs_whose_ids_were_never_written_are_known_and_can_be_cancelled(lab, tmp_path):
    with using(lab):
        acts.submit(tmp_path, [*CORPUS, *SLURM, "cluster.flags={hold: true}"])
        submissions = Submissions(tmp_path)
        for submission in list(submissions):
            submissions.write(replace(submission, jobs=[]))
        assert stages(tmp_path) == ["codes", "merge codes", "merge overlay", "overlay"]
        assert acts.submit(tmp_path).lines == ["Nothing to submit: all is made or in the hands of jobs."]
        acts.cancel(tmp_path)
        wait(lab, 30)


def test_what_is_submitted_while_a_calibration_waits_comes_after_it(lab, tmp_path):
    with using(lab):
        acts.calibrate(tmp_path, [*CORPUS, *SLURM, "teacher=original"], limit_s=0.1)
        acts.submit(tmp_path)
        wait(lab)
    assert StorePaths(Generation.at(tmp_path).root.codes).index.exists()
    assert len(Store(Generation.at(tmp_path).root.codes)) > 0


def test_multibanddiffusion_makes_on_the_cluster_what_it_makes_on_one_machine(lab, tmp_path):
    narrow = [*CORPUS[:3], "shards=3", "teacher=mbd", "teacher.weights=random", "teacher.hidden=4", "teacher.steps=2"]
    acts.submit(tmp_path / "here", [*narrow, "cluster=local", "cluster.processes=1", "cluster.threads=1"])
    with using(lab):
        acts.submit(tmp_path / "there", [*narrow, *SLURM, "cluster.threads=1"])
        wait(lab)
    here, there = (Store(Generation.at(tmp_path / name).overlay()) for name in ("here", "there"))
    assert there.identity == here.identity
    assert len(there) > 0
