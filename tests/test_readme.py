"""The README is true: its commands and its example run, at the smallest size."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = ["train.steps=2", "train.batch=2", "evaluate.steps=[1]", "evaluate.max_utterances=1", "evaluate.teacher_steps=2", "teacher.steps=2"]


def blocks(language):
    return [text for name, text in re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if name == language]


def commands(start, root):
    lines = [line.split("#")[0].strip() for block in blocks("") for line in block.splitlines()]
    return [line for line in lines if line.startswith(start) and root in line]


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """A folder of recordings by four speakers."""
    from lcm.audio import write
    from lcm.corpus.espeak import Voice, synthesise

    folder = tmp_path_factory.mktemp("speech")
    for speaker in ("f1", "m1", "f3", "m3"):
        for i, text in enumerate(("The birch canoe slid on the smooth planks.", "She sells sea shells by the sea shore.")):
            samples, rate = synthesise(text, Voice(f"en-us+{speaker}"))
            write(folder / speaker / f"{i}.wav", samples, rate)
    return folder


def test_the_readme_is_under_250_lines():
    assert len(README.splitlines()) < 250


def test_every_file_and_make_target_that_the_readme_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"`((?:lcm|slurm|sweeps|analysis|\.ci)/[\w./]*)`", README):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_the_readmes_commands_run_one_after_another(tmp_path, speech):
    found = commands("python -m", "runs/mine")
    assert len(found) >= 6
    for command in found:
        words = [w.replace("/path/to/speech", str(speech)).replace("runs/mine", str(tmp_path / "mine")) for w in shlex.split(command)]
        axes = {"+ablation=codebook_blocks": ["hydra.sweeper.params={blocks.partition:'[8],[2,6]'}"], "seed=0,1,2": []}
        further = [o for w in words for o in axes.get(w, [])]
        words = ["seed=0,1" if w == "seed=0,1,2" else w for w in words if not w.startswith("train.steps")]
        extra = [*TINY, *further] if "sweeps.run" in words else []
        done = subprocess.run([sys.executable, *words[1:], *extra], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (tmp_path / "mine" / "report" / "index.html").exists()


@pytest.mark.slow
def test_the_readmes_python_example_runs(tmp_path):
    (example,) = blocks("python")
    code = example.replace("runs/mine", str(tmp_path)).replace("steps=50", "steps=2")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "codec_ceiling" in done.stdout


@pytest.mark.slow
def test_the_readmes_upscale_command_restores_files_folders_and_patterns(tmp_path, speech):
    (command,) = commands("lcm upscale", "restored/")
    (tmp_path / "interviews").mkdir()
    (tmp_path / "calls").mkdir()
    sources = sorted(speech.rglob("*.wav"))
    import soundfile

    for source, target in zip(sources, ("talk.mp3", "interviews/a.wav", "calls/b.wav"), strict=False):
        samples, rate = soundfile.read(source)
        soundfile.write(tmp_path / target, samples, rate)
    words = [sys.executable, "-m", "lcm", *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr[-2000:]
    assert len([path for path in (tmp_path / "restored").rglob("*") if path.suffix in {".wav", ".mp3", ".flac"}]) == 3


@pytest.mark.slow
def test_the_demo_runs_on_a_folder_of_speech_and_again_says_that_nothing_is_to_do(tmp_path, speech):
    command = [sys.executable, "-m", "sweeps.demo", "--speech", str(speech), "--root", str(tmp_path / "demo"), *TINY]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stdout[-2000:] + first.stderr[-2000:]
    assert (tmp_path / "demo" / "report" / "index.html").exists()
    assert "codec ceiling" in first.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Nothing to do" in again.stdout
