"""A budget of GPU-hours: what was used and what is expected must fit, and nothing is guessed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from lcm.store import StoreError, StorePaths
from slurm import acts
from slurm.budget import check_budget, used_gpu_hours
from slurm.progress import Progress

WORDS = ["corpus=demo", "corpus.demo_voices=3", "corpus.demo_utterances=1", "shards=3", "cluster=2x48gb", "gpu_hours=2"]


@pytest.fixture
def generation(tmp_path: Path):
    return acts.prepare(tmp_path, WORDS)


def worked(store: Path, shard: int, hours: float) -> None:
    progress = Progress(shard, 1, done=1, state="stopped", busy_s=3600 * hours, gpus=1)
    path = StorePaths(store).progress(shard)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(progress)))


def test_a_budget_without_a_measured_rate_asks_for_calibration(generation):
    with pytest.raises(StoreError, match=r"gpu_hours=2 is set, but no rate is known: run `python -m slurm calibrate"):
        check_budget(generation, generation.root.codes, [0, 1, 2])


def test_what_fits_is_let_through(generation):
    worked(generation.root.codes, 0, 0.5)
    check_budget(generation, generation.root.codes, [1, 2])


def test_what_was_used_counts(generation):
    for shard in range(3):
        worked(generation.root.codes, shard, 0.9)
    assert used_gpu_hours(generation) == pytest.approx(2.7)
    with pytest.raises(StoreError, match=r"1 shards need about [\d.]+ GPU-hours and 2.7 were used: above the budget gpu_hours=2"):
        check_budget(generation, generation.root.codes, [0])


def test_what_is_expected_counts(generation):
    worked(generation.root.codes, 0, 1.2)
    with pytest.raises(StoreError, match="above the budget"):
        check_budget(generation, generation.root.codes, [1, 2])


def test_without_a_budget_or_a_gpu_nothing_is_refused(generation, tmp_path: Path):
    check_budget(acts.prepare(tmp_path, ["gpu_hours=0"]), generation.root.codes, [0])
    check_budget(acts.prepare(tmp_path, ["gpu_hours=1", "cluster.gpus_per_task=0"]), generation.root.codes, [0])
