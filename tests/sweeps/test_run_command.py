"""The command `lcm-sweep` (`python -m sweeps.run`): its words, its help and completion, and points that fail."""

import json
import math
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from lcm.errors import LcmError
from lcm.paths import Run
from sweeps import foreground
from sweeps.arguments import is_debug, needs_fields, translate
from sweeps.options import CONF, TITLES, options
from sweeps.run import main

COMMAND = str(Path(sys.executable).with_name("lcm-sweep"))
SILENT = ["hydra/job_logging=disabled", "hydra/hydra_logging=disabled"]
TINY = ["corpus.demo_voices=3", "corpus.demo_utterances=2", "shards=2", "network.width=32", "network.depth=1", "network.heads=2"]
SHORT = ["train.steps=2", "train.batch=2", "train.checkpoint_every=1", "evaluate.steps=[1]", "evaluate.max_utterances=1", "init=none"]
SMALL = ["train.devices=1", "train.accumulate=1", "train.validate_every=0", "data.crop_frames=64", "network.head_width=32"]


# Words


@pytest.mark.parametrize("word", ["debug=true", "debug=True", "++debug=TRUE", "+debug=true", "debug=1", "debug='yes'", "debug=on"])
def test_debugging_is_switched_on_in_any_spelling_that_hydra_takes(word):
    assert is_debug(word)


@pytest.mark.parametrize("word", ["debug=false", "debug=0", "debug=", "debug=true,false", "train.debug=true", "root=debug=true", "~debug"])
def test_other_words_do_not_switch_debugging_on(word):
    assert not is_debug(word)


def test_debugging_takes_the_launcher_away_and_runs_here(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # so that it is put back
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    launcher = ["hydra/launcher=slurm_sweep", "hydra.launcher.pack=2", "++hydra.launcher.cluster=2x48gb"]
    words = translate(["+preset=full", *launcher, "--multirun", "debug=true", "seed=3"])
    assert words == ["--multirun", "+preset=full", "debug=true", "seed=3", "hydra/launcher=basic"]
    assert os.environ["HYDRA_FULL_ERROR"] == "1"  # so that hydra lets exceptions through


def test_the_flags_become_fields_of_the_launcher():
    words = translate(["hydra/launcher=slurm_sweep", "--dry-run", "+ablation=seed", "--wait"])
    assert words[-2:] == ["hydra.launcher.dry_run=true", "hydra.launcher.wait=true"]


def test_a_launcher_that_a_preset_chooses_takes_the_flags():
    assert translate(["+preset=full", "--dry-run"])[-1] == "hydra.launcher.dry_run=true"


@pytest.mark.parametrize("words", [[], ["hydra/launcher=submitit_slurm"], ["+preset=full", "hydra/launcher=basic"]])
@pytest.mark.parametrize("flag", ["--dry-run", "--wait"])
def test_a_flag_that_the_launcher_does_not_know_is_refused_by_name(flag, words):
    launcher = words[-1].partition("=")[2] if words else "basic"
    with pytest.raises(LcmError, match=f"{flag} is for .* the launcher is {launcher}: add hydra/launcher=slurm_sweep, or drop {flag}"):
        translate([*words, flag])


def test_a_debug_run_cannot_be_a_dry_run():
    with pytest.raises(LcmError, match="drop --dry-run, or debug=true"):
        translate(["debug=true", "--dry-run"])


def test_a_single_point_with_a_launcher_is_launched_and_not_run_where_the_command_is_typed():
    assert translate(["hydra/launcher=slurm_sweep", "seed=3"]) == ["--multirun", "hydra/launcher=slurm_sweep", "seed=3"]
    for stays in ("hydra/launcher=basic", "seed=3"):
        assert translate([stays]) == [stays]


def test_a_dry_run_is_never_a_run():
    words = translate(["+preset=full", "hydra.mode=RUN", "--dry-run"])
    assert "--multirun" in words
    assert "hydra.launcher.dry_run=true" in words


def test_flags_may_stand_between_overrides():
    assert translate(["root=a", "--multirun", "seed=1,2"]) == ["--multirun", "root=a", "seed=1,2"]


def test_words_of_hydras_own_flags_pass_as_they_are():
    for words in (["--cfg", "job", "hydra/launcher=slurm_sweep", "seed=1"], ["--help"], ["--info", "defaults", "seed=1"], ["seed=1"]):
        assert translate(words) == words


def test_what_hydra_refuses_is_left_to_hydra():
    for wrong in ("no.such.key=1", "+preset=none", "seed=[1"):
        assert wrong in translate([wrong, "--dry-run"])


# Help and completion


@pytest.mark.parametrize(
    ("line", "needed"),
    [("+abl", False), ("+ablation=c", False), ("--wait objective=", False), ("hydra/launcher=", False), ("tra", True), ("train.st", True),
     ("train.batch=", True), ("+losses.auto.", True)],
)  # fmt: skip
def test_completing_a_groups_option_does_without_the_fields(line, needed, monkeypatch):
    monkeypatch.setenv("COMP_LINE", f"lcm-sweep {line}")
    assert needs_fields(["-sc", "query=bash"]) == needed


def test_the_command_starts_without_importing_torch():
    code = "import sys, sweeps.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_help_names_every_option_with_its_line():
    shown = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    for group in TITLES:
        assert f"{group}=" in shown
        for name, text in options(group).items():
            assert f"  {name} " in shown
            assert text in shown
    for needed in ("--dry-run", "--wait", "--multirun", "debug=true", "lcm/training/optim.py", 'eval "$(lcm-sweep -sc install=bash)"'):
        assert needed in shown
    assert max(map(len, shown.splitlines())) < 180


def complete(line):
    """What bash suggests for a line, by the completion that is installed as `--help` says."""
    script = f"""
        eval "$(lcm-sweep -sc install=bash)"
        COMP_LINE='{line}'; COMP_POINT={len(line)}; COMP_CWORD={len(line.split()) - 1}
        hydra_bash_completion; echo "${{COMPREPLY[@]}}" """
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path})
    assert done.stderr == ""
    return done.stdout.split()


def test_tab_completes_options_and_fields():
    axes = [f"+ablation={file.stem}" for file in (CONF / "ablation").glob("c*.yaml")]
    assert sorted(complete("lcm-sweep --dry-run +preset=full +ablation=c")) == sorted(axes)
    assert complete("lcm-sweep --wait +preset=full train.st") == ["train.steps="]


@pytest.mark.parametrize(("line", "seen"), [("--dry-run --wait +a", "+a"), ("seed=1 --dry", "seed=1 "), ("--multirun x", "--multirun x")])
def test_completion_does_not_stumble_over_the_flags(line, seen, monkeypatch):
    monkeypatch.setenv("COMP_LINE", f"lcm-sweep {line}")
    assert translate(["-sc", "query=bash"]) == ["-sc", "query=bash"]
    assert os.environ["COMP_LINE"] == f"lcm-sweep {seen}"


# Points in this process


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command in this process, with a point that only looks at its seed: an odd one fails."""
    monkeypatch.setattr(foreground, "_begun", [])
    monkeypatch.setattr(foreground, "_failed", {})
    monkeypatch.setattr("sweeps.point.headline", lambda run: 1.5)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    seen = []

    def point(config):
        seen.append(config.seed)
        if config.seed == 7:
            raise RuntimeError("the disk is full\nof sand")
        if config.seed % 2:
            raise LcmError(f"seed={config.seed} is odd")
        return Run(tmp_path)

    monkeypatch.setattr("sweeps.point.run_point", point)

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["lcm-sweep", f"root={tmp_path}", *SILENT, *words])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, seen

    return command


def test_a_sweep_that_succeeds_exits_with_zero(run):
    assert run("-m", "seed=2,4") == (0, [2, 4])


def test_a_failed_point_does_not_end_the_others_and_is_named_at_the_end(run, capsys):
    assert run("-m", "seed=1,2,7,4", "shards=3") == (1, [1, 2, 7, 4])
    said = capsys.readouterr().err
    assert "2 of 4 points failed" in said
    assert said.endswith("  #0 seed=1: LcmError: seed=1 is odd\n  #2 seed=7: RuntimeError: the disk is full\n")


def test_only_what_is_no_message_for_the_user_is_shown_with_its_traceback(run, capsys):
    run("-m", "seed=1")
    assert "Traceback" not in capsys.readouterr().err
    run("-m", "seed=7")
    assert "in point" in capsys.readouterr().err


def test_a_sweep_in_batches_goes_on_after_a_failed_batch(run):
    assert run("-m", "seed=1,2,3,4", "hydra.sweeper.max_batch_size=1") == (1, [1, 2, 3, 4])


def test_a_single_point_that_fails_ends_the_command_with_its_message(run):
    assert run("seed=1") == ("LcmError: seed=1 is odd", [1])
    assert run("seed=7")[0] == 1


def test_debugging_raises_the_error_itself_from_where_it_was_raised(run, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # which translate sets
    for words in (["seed=7"], ["-m", "seed=7,2"], ["+preset=full", "seed=7"]):
        with pytest.raises(RuntimeError, match="the disk is full") as caught:
            run("debug=true", *words, "blocks.partition=[8]", "losses.hf_log_magnitude=0", "objective.stages=2")
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "point"


def test_another_launcher_or_sweeper_judges_a_failed_point_itself(monkeypatch):
    monkeypatch.setattr(foreground, "_is_lone", lambda: False)
    for choices, judged_here in (({"hydra/launcher": "basic", "hydra/sweeper": "basic"}, True), ({"hydra/launcher": "x"}, False)):
        runtime = type("Runtime", (), {"choices": {"hydra/sweeper": "basic", **choices}})
        monkeypatch.setattr(foreground.HydraConfig, "get", lambda runtime=runtime: type("Hydra", (), {"runtime": runtime}))
        assert foreground._is_plain_sweep() == judged_here


# The real thing


@pytest.mark.slow
def test_any_point_of_a_slurm_preset_runs_here_when_it_is_debugged(tmp_path):
    axes = ["blocks.partition=[2,6]", "losses.hf_log_magnitude=0", "losses.si_sdr=0", "objective.stages=2", "seed=1"]
    words = ["+preset=full", "hydra/launcher=slurm_sweep", "debug=true", f"root={tmp_path}", *TINY, *SHORT, *SMALL, *axes]
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (status,) = tmp_path.glob("debug/*-s1/status.json")
    assert json.loads(status.read_text())["state"] == "done"
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.slow
def test_the_smoke_presets_points_are_trained_and_one_that_fails_is_named(tmp_path):
    axes = ["losses.hf_log_magnitude=0", "objective.stages=2", "seed=0", "blocks.partition=[2,6],[3]", "train.steps=2"]
    done = subprocess.run([COMMAND, "+preset=smoke", f"root={tmp_path}", *axes], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 of 2 points failed" in done.stderr
    assert "  #1 blocks.partition=[3]: LcmError: blocks.partition=[3] must be positive sizes" in done.stderr
    assert "Traceback" not in done.stderr
    (record,) = tmp_path.glob("points/*/records.parquet")
    assert json.loads((record.parent / "status.json").read_text())["state"] == "done"
    assert not math.isnan(json.loads((record.parent / "status.json").read_text())["headline"]["lsd_hf"])
