"""Provenance of results, in real repositories."""

from __future__ import annotations

import json
import subprocess

import pytest
import torch

from lcm import provenance as module
from lcm.provenance import provenance, write_provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit that tracks a copy of the module."""
    monkeypatch.delenv("LCM_COMMIT", raising=False)
    path = tmp_path / "provenance.py"
    path.write_text("# code\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(module, "__file__", str(path))
    return tmp_path


def test_a_clean_checkout_is_named_by_its_commit(repository):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True).stdout.strip()
    found = provenance()
    assert (found["commit"], found["dirty"]) == (head, False)


def test_a_changed_file_makes_it_dirty_and_an_untracked_one_does_not(repository):
    (repository / "notes.txt").write_text("untracked")
    assert provenance()["dirty"] is False
    (repository / "provenance.py").write_text("# changed\n")
    assert provenance()["dirty"] is True


def test_code_that_the_surrounding_repository_does_not_track_has_no_commit(repository, monkeypatch):
    (repository / "site-packages").mkdir()
    (repository / "site-packages" / "provenance.py").write_text("# installed\n")
    monkeypatch.setattr(module, "__file__", str(repository / "site-packages" / "provenance.py"))
    assert (provenance()["commit"], provenance()["dirty"]) == (None, None)


def test_a_snapshot_names_its_commit_by_a_variable(monkeypatch):
    monkeypatch.setenv("LCM_COMMIT", "abc123")
    assert provenance()["commit"] == "abc123"


def test_slurm_node_and_array_task_are_noted(monkeypatch):
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    assert (provenance()["host"], provenance()["job"]) == ("node7", "41")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert provenance()["job"] == "40_2"


def test_it_is_written_as_json_with_versions_and_contents(tmp_path):
    write_provenance(tmp_path / "run" / "provenance.json", {"store": "0123"})
    found = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert found["contents"] == {"store": "0123"}
    assert found["packages"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["started"] <= found["written"]
