"""The reference's experiment from data to tables, at its smallest: codec and MultiBandDiffusion are untrained."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from lcm.data import DataConfig
from lcm.degrade import DegradationConfig
from lcm.errors import LcmError
from lcm.losses import LossConfig
from lcm.paths import Root
from lcm.records import read_records
from sweeps import paper
from sweeps.paper_root import paper_root
from sweeps.paper_tables import HONEST, PUBLISHED
from sweeps.prepare import prepare
from sweeps.training import crop_source

TINY = """
    hydra/launcher=basic corpus.source=demo corpus.subsets=[] corpus.demo_voices=3 corpus.demo_utterances=1 corpus.valid_fraction=0.1
    corpus.test_fraction=0.3 codec.weights=random teacher.weights=random teacher.hidden=4 teacher.res_blocks=1 teacher.steps=1 shards=1
    train.steps=1 train.batch=2 train.checkpoint_every=1 train.validate_every=0 train.warmup=1 train.estimate=false
    evaluate.max_utterances=1 evaluate.samples=1 evaluate.worst=0 evaluate.steps=[1] evaluate.teacher_steps=1
    network.width=32 network.depth=1 network.heads=2 reference.width=32 reference.depth=1 reference.heads=2 reference.feedforward=32
    data.crop_frames=48 data.context_frames=8
"""


def sweep(root, *words):
    command = [sys.executable, "-m", "sweeps.run", "+preset=paper", f"root={root}", "seed=0", *words, *TINY.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_root_without_points_is_told_how_to_train_them(tmp_path):
    with pytest.raises(LcmError, match=r"holds no trained point. Train it by .*\+preset=paper"):
        paper_root(tmp_path)


def test_audio_losses_compare_with_the_original_at_the_level_of_its_codes(tiny, tmp_path):
    whole = DataConfig(crop_frames=2_000)
    config = replace(tiny, root=str(tmp_path), degradation=DegradationConfig(family="reference"), data=whole, losses=LossConfig(si_sdr=1.0))
    audio = crop_source(config, prepare(config)).batch(4, seed=0, step=0).audio
    torch.testing.assert_close(audio.abs().amax(1), torch.ones(4))


@pytest.mark.slow
def test_the_preset_runs_from_its_data_to_both_tables(tmp_path):
    root = Root(tmp_path / "root")
    sweep(root.folder, "system=teacher")
    (latent,) = root.points.glob("*/checkpoints/model.safetensors")
    shutil.copy(latent, root.folder / "teacher.safetensors")
    sweep(root.folder)  # both students

    found = paper_root(root.folder)
    assert sorted(p.model.spec.kind for p in found.points) == ["consistency", "diffusion", "token_ce"]
    assert {p.target for p in found.points} == {"teacher"}
    assert len(list((root.folder / "overlays").glob("*/index*"))) == 1  # all three learn from the same codes of MultiBandDiffusion
    assert {c.family for c in found.clips} == {"reference"}
    assert all(clip.gain > 1 for clip in found.clips)
    assert all(clip.degraded.abs().max() > 0.9 for clip in found.clips)

    text = paper.show(found, 2, 1, tmp_path / "out")
    assert (tmp_path / "out" / "paper.md").read_text(encoding="utf-8") == text
    theirs, ours = (_table(text, title) for title in ("As published", "Honest"))
    ours_by_theirs = {"student, 1 step", "student, 2 steps", "student, 4 steps", "latent teacher", "reference's student"}
    assert theirs[0][0] == "MultiBandDiffusion, as stored"
    assert {row[0] for row in theirs[1:-2]} == ours_by_theirs
    assert all(len(row) == len(PUBLISHED) for row in theirs)
    named = {row[0]: row for row in theirs}
    assert named["reference's student"][1] == "teacher"
    assert float(named["reference's student"][-1]) >= 0
    assert {row[0] for row in ours} >= {"mbd", "sinc", "codec_ceiling", "student", "token_ce", "teacher"}
    assert all(len(row) == len(HONEST) for row in ours)
    scored = read_records(next(root.folder.glob("teachers/mbd-*/records.parquet")))
    assert set(scored.system) == {"mbd"}

    without = paper.show(found, 1, 0)
    assert "not measured: --mbd-clips 0" in without


def _table(text, title):
    """Return the rows of a Markdown table."""
    lines = text.split(f"## {title}")[1].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
