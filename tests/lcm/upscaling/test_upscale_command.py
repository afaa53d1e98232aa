"""`lcm upscale` with files, folders and patterns: names, what is skipped, what is told, exit codes."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import voice, write

from lcm.checkpoint import identity, save_model
from lcm.upscaling.core import STRENGTH

ROOT = Path(__file__).parents[3]


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


@pytest.fixture
def tree(tmp_path):
    for name in ("a.wav", "sub/b.flac", "sub/deep er/c.ogg"):
        write(tmp_path / "in" / name, voice())
    (tmp_path / "in/notes.txt").write_text("not audio")
    write(tmp_path / "in/.hidden.wav", voice())
    return tmp_path / "in"


def test_a_folders_tree_is_kept(tmp_path, command, tree):
    code, out, err = command(tree, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert files(tmp_path / "out") == ["a.wav", "sub/b.flac", "sub/deep er/c.ogg"]
    assert out.splitlines()[-1] == "3 made"


def test_a_pattern_keeps_the_tree_below_its_first_wildcard(tmp_path, command, tree):
    assert command(tree / "**/*.[fo]*", "-o", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out") == ["sub/b.flac", "sub/deep er/c.ogg"]
    assert command(tree / "*/*", "-o", tmp_path / "flat")[0] == 0
    assert files(tmp_path / "flat") == ["sub/b.flac"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path, command):
    write(tmp_path / "take [1]*.wav", voice())
    assert command(tmp_path / "take [1]*.wav", "-o", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out") == ["take [1]*.wav"]


def test_a_pattern_or_folder_without_audio_is_a_failure_that_says_so(tmp_path, command, tree):
    (tmp_path / "none").mkdir()
    code, _, err = command(tree / "*.aiff", tmp_path / "none", tree / "a.wav", "-o", tmp_path / "out")
    assert code == 1
    assert "*.aiff: nothing matches this pattern" in err
    assert "none: no audio files in this folder" in err
    assert files(tmp_path / "out") == ["a.wav"]


def test_one_file_may_become_one_file(tmp_path, command):
    write(tmp_path / "a.wav", voice(), subtype="PCM_24")
    assert command(tmp_path / "a.wav", "-o", tmp_path / "new/b.flac")[0] == 0
    assert soundfile.info(tmp_path / "new/b.flac").subtype == "PCM_24"


def test_the_results_folder_inside_an_input_folder_is_no_input(tmp_path, command, tree):
    assert command(tree, "-o", tree / "out")[0] == 0
    assert command(tree, "-o", tree / "out")[1].splitlines()[-1] == "0 made, 3 finished earlier"
    assert files(tree / "out") == ["a.wav", "sub/b.flac", "sub/deep er/c.ogg"]


def test_what_is_finished_is_skipped_without_loading_a_model_and_that_is_said(tmp_path, command, tree, monkeypatch):
    command(tree, "-o", tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    monkeypatch.setattr("lcm.upscaling.cli._load", lambda asked: pytest.fail("a model was loaded"))
    code, out, _ = command(tree, "-o", tmp_path / "out")
    assert code == 0
    assert out.count("finished earlier as") == 3
    assert out.splitlines()[-1] == "0 made, 3 finished earlier"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before


@pytest.mark.parametrize("change", ["source", "cutoff", "steps", "precision", "model", "removed"])
def test_another_source_or_setting_makes_a_file_anew(tmp_path, command, tree, model_file, make_model, change):
    command(tree, "-o", tmp_path / "out")
    before = (tmp_path / "out/a.wav").read_bytes()
    if change == "source":
        write(tree / "a.wav", voice(seed=7))
    if change == "removed":
        (tmp_path / "out/a.wav").unlink()
    if change == "model":
        save_model(model_file, make_model(seed=1))
    options = {"cutoff": ["--cutoff", 9_000], "steps": ["--steps", 2], "precision": ["--precision", "bf16"]}.get(change, [])
    code, out, _ = command(tree, "-o", tmp_path / "out", *options)
    assert (code, out.splitlines()[-1]) == (0, "3 made" if options or change == "model" else "1 made, 2 finished earlier")
    assert ((tmp_path / "out/a.wav").read_bytes() == before) == (change == "removed")


def test_a_foreign_file_under_an_outputs_name_is_left_alone_unless_told(tmp_path, command, tree):
    write(tmp_path / "out/a.wav", voice(seed=5))
    before = (tmp_path / "out/a.wav").read_bytes()
    code, _, err = command(tree, "-o", tmp_path / "out")
    assert (code, (tmp_path / "out/a.wav").read_bytes()) == (1, before)
    assert "a.wav: exists already" in err
    assert "--overwrite" in err
    assert command(tree, "-o", tmp_path / "out", "--overwrite")[1].splitlines()[-1] == "1 made, 2 finished earlier"
    assert (tmp_path / "out/a.wav").read_bytes() != before


def test_an_output_that_was_edited_since_is_left_alone(tmp_path, command, tree):
    command(tree, "-o", tmp_path / "out")
    write(tmp_path / "out/a.wav", voice(seed=9))
    code, _, err = command(tree, "-o", tmp_path / "out", "--cutoff", 5_000)
    assert code == 1
    assert "no longer, what this command wrote" in err
    np.testing.assert_allclose(soundfile.read(tmp_path / "out/a.wav")[0], voice(seed=9)[:, 0], atol=1e-4)


def test_a_killed_runs_leavings_do_not_hinder_the_next(tmp_path, command, tree):
    command(tree, "-o", tmp_path / "out")
    state = tmp_path / "out/.lcm-upscale.jsonl"
    state.write_bytes(state.read_bytes()[:-40])  # the last line is torn: its file was not finished
    (tmp_path / "out/sub/deep er/c.ogg").rename(tmp_path / "out/sub/deep er/c.ogg.part")
    code, out, _ = command(tree, "-o", tmp_path / "out")
    assert (code, out.splitlines()[-1]) == (0, "1 made, 2 finished earlier")
    assert files(tmp_path / "out") == ["a.wav", "sub/b.flac", "sub/deep er/c.ogg"]
    assert command(tree, "-o", tmp_path / "out")[1].splitlines()[-1] == "0 made, 3 finished earlier"


def test_the_state_can_be_read_by_people(tmp_path, command, tree, model_file):
    command(tree, "-o", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out/.lcm-upscale.jsonl").read_text().splitlines()]
    assert [line["output"] for line in lines] == ["a.wav", "sub/b.flac", "sub/deep er/c.ogg"]
    model = f"{model_file} {identity(model_file)}"
    asked = {"steps": 1, "precision": "auto", "cutoff_hz": None, "model": model, "strength": STRENGTH, "format": "WAV PCM_16"}
    assert lines[0]["settings"] == asked
    assert {line["action"] for line in lines} == {"upscaled"}


def test_a_file_that_another_run_is_writing_is_refused(tmp_path, command, tree):
    import fcntl

    (tmp_path / "out").mkdir()
    with (tmp_path / "out/a.wav.part").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(b"the other's")
        held.flush()
        code, out, err = command(tree, "-o", tmp_path / "out")
        assert (tmp_path / "out/a.wav.part").read_bytes() == b"the other's"
    assert (code, out.splitlines()[-1]) == (1, "2 made, 1 failed")
    assert "another run is writing it" in err


def test_inputs_that_would_become_one_output_are_named_before_anything_is_made(tmp_path, command, tree):
    write(tree / "sub/a.wav", voice())
    code, out, err = command(tree / "a.wav", tree / "sub/a.wav", tree / "sub/b.flac", "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert f"{tmp_path}/out/a.wav from {tree}/a.wav, {tree}/sub/a.wav" in err
    assert not (tmp_path / "out").exists()


def test_the_same_file_given_twice_is_made_once(tmp_path, command, tree):
    assert command(tree / "a.wav", tree / "a.wav", "-o", tmp_path / "out")[1].splitlines()[-1] == "1 made"


def test_a_dry_run_tells_everything_and_makes_nothing(tmp_path, command, tree, monkeypatch):
    monkeypatch.setattr("lcm.upscaling.cli._load", lambda asked: pytest.fail("a model was loaded"))
    write(tree / "full.wav", voice(1.0, 44_100, 2), 44_100)
    code, out, _ = command(tree, "-o", tmp_path / "out", "--dry-run")
    assert code == 0
    assert f"would do: {tree}/a.wav: 0.6 s, mono, 12,000 -> 24,000 Hz, content to 6.0 kHz -> {tmp_path}/out/a.wav\n" in out
    assert f"{tree}/full.wav: 1.0 s, stereo, 44,100 Hz, full band (12.0 kHz), passed through" in out
    assert out.splitlines()[-1] == "4 would be made"
    assert not (tmp_path / "out").exists()


def test_a_dry_run_fails_where_the_run_would(tmp_path, command, tree):
    (tree / "bad.wav").write_bytes(b"RIFF")
    assert command(tree, "-o", tmp_path / "out", "--dry-run")[0] == 1


def test_quiet_prints_errors_alone(tmp_path, command, tree):
    (tree / "bad.wav").write_bytes(b"")
    code, out, err = command(tree, "-o", tmp_path / "out", "--quiet")
    assert (code, out) == (1, "")
    assert err == f"failed: {tree}/bad.wav: empty: 0 bytes\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["in/a.wav"], "-o"),
        (["in/a.wav", "-o", "out", "--steps", "3"], "--steps"),
        (["in/a.wav", "-o", "out", "--cutoff", "20"], "1000 to 12000"),
        (["in/a.wav", "-o", "out", "--cutoff", "nan"], "1000 to 12000"),
        (["in/a.wav", "-o", "out", "--format", "mp3"], "--format"),
        (["in/a.wav", "-o", "out", "--model", "nowhere"], "There is no model at nowhere"),
        (["in/a.wav", "-o", "out", "--model", "in/notes.txt"], "is no .safetensors file"),
        (["in", "-o", "out.wav"], "one file for a folder"),
        (["in/a.wav", "in/sub/b.flac", "-o", "in/notes.txt"], "one file for a folder"),
        (["in/a.wav", "-o", "out.mp3"], "cannot be written"),
        (["in/a.wav", "-o", "out.m4a"], "cannot be written"),
        (["in/a.wav", "-o", "out.wav", "--format", "flac"], "contradict"),
    ],
)
def test_wrong_usage_ends_with_2_and_makes_nothing(tmp_path, command, tree, monkeypatch, words, reason):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, _, err = command(*words)
    assert code == 2
    assert reason in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_termination_keep_what_is_finished_and_remove_the_part(tmp_path, command, number, expected):
    write(tmp_path / "in/a.wav", voice())
    write(tmp_path / "in/b.wav", voice(400.0))
    out, stopped = tmp_path / "out", threading.Event()

    def interrupt():
        while not stopped.is_set() and not any(part.stat().st_size > 20_000 for part in out.glob("b.wav.part")):
            stopped.wait(0.01)
        if not stopped.is_set():
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    code, _, err = command(tmp_path / "in", "-o", out)
    stopped.set()
    thread.join()
    assert code == expected, err
    assert ("Run the same command again to go on" in err) == (number == signal.SIGINT)
    assert [p.name for p in out.iterdir() if not p.name.startswith(".")] == ["a.wav"]
    write(tmp_path / "in/b.wav", voice())
    assert command(tmp_path / "in", "-o", out)[1].splitlines()[-1] == "1 made, 1 finished earlier"


def test_a_closed_pipe_ends_the_command_without_a_traceback(tmp_path, tree):
    command = f"{sys.executable} -m lcm upscale {tree} -o {tmp_path}/out --dry-run | head -c 1"
    done = subprocess.run(command, shell=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("w", "")


def test_help_lists_the_commands_and_an_unknown_one_ends_with_2():
    def run(*words):
        return subprocess.run([sys.executable, "-m", "lcm", *words], capture_output=True, text=True, check=False)

    assert "upscale" in run("--help").stdout
    assert run("--help").returncode == 0
    assert "--dry-run" in run("upscale", "--help").stdout
    unknown = run("upscael")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "there is no command 'upscael'" in unknown.stderr


def test_the_installed_command_is_the_modules_main():
    import lcm.__main__

    project = (ROOT / "pyproject.toml").read_text()
    assert 'lcm = "lcm.__main__:main"' in project
    assert callable(lcm.__main__.main)


def test_the_command_restores_speech_with_the_shipped_model(tmp_path, low):
    write(tmp_path / "a.wav", low[:24_000], tags={"title": "Shells"})
    command = [sys.executable, "-m", "lcm", "upscale", "a.wav", "-o", "b.wav", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "a.wav: 2.0 s, mono, 12,000 -> 24,000 Hz, content to 6.0 kHz -> b.wav\n1 made\n"
    made, rate = soundfile.read(tmp_path / "b.wav")
    spectrum = np.abs(np.fft.rfft(made)) ** 2
    above = spectrum[np.fft.rfftfreq(len(made), 1 / rate) > 6_500].sum()
    assert (rate, len(made)) == (24_000, 48_000)
    assert above > 1e-4 * spectrum.sum()
