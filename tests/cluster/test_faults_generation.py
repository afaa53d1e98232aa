"""The whole chain with the real codec and teacher on SLURM: codes, merge, overlay, merge; the same codes as on one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from filling import check_store, using, workers

from lcm.paths import Root
from lcm.store import Store, StorePaths, write_json
from slurm import acts
from slurm.cli import main
from slurm.history import read_all_progress
from slurm.progress import Progress
from slurm.shards import Plan
from slurm.stages import Generation

CORPUS = ["corpus=demo", "corpus.demo_voices=8", "corpus.demo_utterances=4", "teacher.steps=2", "shards=24"]
HERE = ["cluster=local", "cluster.processes=2", "cluster.threads=1"]
SLURM = [
    "cluster=2x48gb", "cluster.mem_gb=4", "cluster.cpus_per_task=1", "cluster.time=10", "cluster.signal_s=60", "cluster.sbatch_every_s=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Identities of codes and overlay made by processes of this machine."""
    folder = tmp_path_factory.mktemp("undisturbed")
    acts.submit(folder, [*CORPUS, *HERE])
    return [Store(store).identity for store in stores(folder)]


def stores(folder: Path) -> list[Path]:
    """The stores of a root that have been planned."""
    return [store for stage in ("codes", "overlay") if (store := Generation.at(folder).folder(stage))]


def submit(lab, folder, *words):
    with using(lab):
        return acts.submit(folder, list(words))


def wait(lab, timeout=180):
    lab.wait_for(lambda: not lab.run("squeue", "-h").strip(), timeout, "all jobs have ended")


def made(folder: Path, stage: str) -> int:
    """How many shards of a stage are there."""
    store = Generation.at(folder).folder(stage)
    return len(StorePaths(store).shards()) if store else 0


def check(folder: Path, identities: list[str]) -> None:
    assert len(stores(folder)) == len(identities)
    for store, identity in zip(stores(folder), identities, strict=True):
        check_store(store, Plan.read(StorePaths(store).plan), identity)


def test_a_generation_of_24_shards_over_three_nodes(lab, tmp_path, undisturbed):
    done = submit(lab, tmp_path, *CORPUS, *SLURM)
    assert [line.partition(":")[0] for line in done.lines] == ["codes", "merge codes", "overlay", "merge overlay"]
    assert "hands of jobs" in submit(lab, tmp_path).lines[0]
    wait(lab)
    check(tmp_path, undisturbed)
    for store in stores(tmp_path):
        heard = list(read_all_progress(StorePaths(store)))
        assert ({p.host for p in heard}, {p.gpus for p in heard}, len(heard)) == ({"node1", "node2", "node3"}, {1}, 24)
    assert submit(lab, tmp_path).lines == ["Nothing to submit: all is made or in the hands of jobs."]


def blame(store: Path, node: str) -> None:
    """Let many attempts at a missing shard have failed on a node."""
    paths = StorePaths(store)
    shard = next(shard for shard in range(24) if not paths.shard(shard, 24).exists())
    write_json(paths.progress(shard), asdict(Progress(shard, 1, state="failed", error="no device", failed_on=[node] * 50)))


def killed(lab) -> bool:
    """End one of those that make records; says whether there was one."""
    for pid in workers(lab):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def test_a_generation_survives_a_crashed_node_and_a_killed_worker(accounting_lab, tmp_path, undisturbed, capsys):
    lab = accounting_lab
    submit(lab, tmp_path, *CORPUS, *SLURM)
    lab.wait_for(lambda: made(tmp_path, "codes") > 2)
    lab.crash("node2", noticed=False)
    lab.declare_down("node2")
    lab.wait_for(lambda: Root(tmp_path).codes.joinpath("index.json").exists(), 120, "the codes are merged")
    lab.wait_for(lambda: made(tmp_path, "overlay") > 2, 60, "the overlay is begun")
    lab.boot("node2")
    lab.wait_for(lambda: killed(lab), 60, "a worker is killed")  # between two jobs there is none
    wait(lab)
    assert not StorePaths(stores(tmp_path)[1]).index.exists()
    assert main(["status", f"store={tmp_path}"]) in {0, 1}
    assert "missing" in capsys.readouterr().out
    blame(stores(tmp_path)[1], "node3")
    again = submit(lab, tmp_path)
    assert [submission.stage for submission in again.submissions] == ["overlay", "merge overlay"]
    assert any("node3" in line for line in again.lines), "a node that is left out is named"
    assert {lab.job(job)["ExcNodeList"] for submission in again.submissions for job in submission.jobs} == {"node3"}
    wait(lab)
    check(tmp_path, undisturbed)


TRAINING = [
    "train.steps=100", "train.batch=2", "train.checkpoint_every=10", "network.width=32", "network.depth=1", "network.heads=2",
    "evaluate.max_utterances=1",
]  # fmt: skip
SMALL = ["corpus=demo", "corpus.demo_voices=4", "corpus.demo_utterances=2", "teacher.steps=2", "shards=2", f"train=[{','.join(TRAINING)}]"]


def test_a_teacher_is_trained_between_codes_and_overlay_though_it_is_interrupted(lab, tmp_path):
    folder, here = tmp_path / "slurm", tmp_path / "here"
    done = submit(lab, folder, *SMALL, *SLURM, "cluster.tasks_per_node=1")
    beside = subprocess.Popen([sys.executable, "-m", "slurm", "submit", f"store={here}", *SMALL, *HERE], stdout=subprocess.DEVNULL)
    assert [line.partition(":")[0] for line in done.lines] == ["codes", "merge codes", "teacher", "overlay", "merge overlay"]
    assert "hands of jobs" in submit(lab, folder).lines[0]
    (training,) = (submission.jobs[0] for submission in done.submissions if submission.stage == "teacher")
    lab.wait_for(lambda: [*folder.glob("points/*/checkpoints/*")], 60, "the training has left a checkpoint")
    lab.run("scancel", "--signal=USR2", training)
    wait(lab)
    assert lab.job(training)["Restarts"] == "1"
    assert beside.wait(120) == 0
    check(folder, [Store(store).identity for store in stores(here)])
    assert submit(lab, folder).lines == ["Nothing to submit: all is made or in the hands of jobs."]
