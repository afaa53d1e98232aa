"""The code of a submission."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurm import snapshot
from slurm.snapshot import PACKAGES, take_snapshot


def run(folder: Path, code: str) -> str:
    """Run code as a job runs it: in the snapshot, which comes first on the path."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of four small packages, so that a test may edit it."""
    for package in PACKAGES:
        (tmp_path / "project" / package / "inner").mkdir(parents=True)
        (tmp_path / "project" / package / "__init__.py").write_text("WHEN = 'then'\n")
        (tmp_path / "project" / package / "inner" / "table.yaml").write_text("a: 1\n")
    monkeypatch.setattr(snapshot, "package_folder", lambda name: tmp_path / "project" / name)
    return tmp_path / "project"


def test_what_a_job_imports_is_the_snapshot_though_the_project_is_installed(tmp_path):
    taken = take_snapshot(tmp_path / "a root")
    code = "import lcm, slurm, sweeps, analysis; print(*(p.__file__ for p in (lcm, slurm, sweeps, analysis)), sep='\\n')"
    assert run(taken.folder, code).splitlines() == [str(taken.folder / name / "__init__.py") for name in PACKAGES]


def test_code_edited_after_the_snapshot_does_not_change_what_runs(project, tmp_path):
    taken = take_snapshot(tmp_path)
    (project / "lcm" / "__init__.py").write_text("WHEN = 'now'\n")
    (project / "lcm" / "inner" / "table.yaml").unlink()
    code = "import lcm, pathlib; print(lcm.WHEN, pathlib.Path(lcm.__file__).with_name('inner').joinpath('table.yaml').read_text())"
    assert run(taken.folder, code) == "then a: 1"


def test_the_snapshot_of_a_snapshot_is_the_same(tmp_path):
    taken = take_snapshot(tmp_path / "one")
    other = str(tmp_path / "other")
    code = f"from pathlib import Path; from slurm.snapshot import take_snapshot; print(take_snapshot(Path({other!r})).folder)"
    assert Path(run(taken.folder, code)).name == taken.folder.name


def test_profiles_and_weights_are_in_it(tmp_path):
    folder = take_snapshot(tmp_path).folder
    assert (folder / "slurm" / "clusters" / "2x48gb.yaml").exists()
    assert list((folder / "lcm" / "weights").glob("*.safetensors"))
    assert (folder / "sweeps" / "conf" / "config.yaml").exists()
    assert list((folder / "analysis" / "templates").iterdir())


def test_the_same_code_is_copied_once(project, tmp_path):
    first = take_snapshot(tmp_path)
    written = (first.folder / "lcm" / "__init__.py").stat().st_mtime_ns
    assert take_snapshot(tmp_path) == first
    assert (first.folder / "lcm" / "__init__.py").stat().st_mtime_ns == written


def test_other_code_gets_a_folder_of_its_own(project, tmp_path):
    first = take_snapshot(tmp_path)
    (project / "lcm" / "inner" / "table.yaml").write_text("a: 2\n")
    second = take_snapshot(tmp_path)
    assert second.folder != first.folder
    assert (first.folder / "lcm" / "inner" / "table.yaml").read_text() == "a: 1\n"


def test_a_file_that_has_only_moved_counts_as_other_code(project, tmp_path):
    first = take_snapshot(tmp_path)
    (project / "lcm" / "inner" / "table.yaml").rename(project / "lcm" / "table.yaml")
    assert take_snapshot(tmp_path).folder != first.folder


def test_what_was_cleaned_away_or_changed_in_a_snapshot_is_put_back(project, tmp_path):
    folder = take_snapshot(tmp_path).folder
    (folder / "lcm" / "__init__.py").unlink()
    (folder / "slurm" / "__init__.py").write_text("WHEN = 'never'\n")
    assert take_snapshot(tmp_path).folder == folder
    assert run(folder, "import lcm, slurm; print(lcm.WHEN, slurm.WHEN)") == "then then"


def test_caches_are_left_out(project, tmp_path):
    first = take_snapshot(tmp_path)
    (project / "lcm" / "__pycache__").mkdir()
    (project / "lcm" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (project / "lcm" / ".hidden").write_text("")
    assert take_snapshot(tmp_path).folder == first.folder


def test_a_snapshot_of_a_process_that_died_is_not_used(project, tmp_path):
    half = tmp_path / "snapshots" / ".0123.part"
    half.mkdir(parents=True)
    folder = take_snapshot(tmp_path).folder
    assert folder.name == snapshot._digest(snapshot._content())
    assert (folder / "analysis" / "__init__.py").exists()


def _take(root: Path, start: object, answers: object) -> None:
    start.wait()
    answers.put(take_snapshot(root).folder)


def test_processes_that_submit_at_once_share_one(project, tmp_path):
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Barrier(4), fork.Queue()
    processes = [fork.Process(target=_take, args=(tmp_path, start, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    folders = {answers.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(folders) == 1
    assert [path for path in (tmp_path / "snapshots").iterdir() if path.is_dir()] == list(folders)  # beside a diff, in a changed checkout
    assert run(folders.pop(), "import analysis; print(analysis.WHEN)") == "then"


@pytest.mark.parametrize(("dirty", "said"), [(True, "abc-dirty"), (False, "abc"), (None, "abc")])
def test_the_commit_says_whether_files_differ_from_it(project, tmp_path, monkeypatch, dirty, said):
    monkeypatch.setattr("lcm.provenance.provenance", lambda: {"commit": "abc", "dirty": dirty})
    assert take_snapshot(tmp_path).commit == said


def test_a_job_notes_the_commit_that_the_snapshot_was_taken_of(tmp_path, monkeypatch):
    monkeypatch.setenv("LCM_COMMIT", "abc-dirty")
    assert take_snapshot(tmp_path).commit == "abc-dirty"
