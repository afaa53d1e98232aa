"""audiocraft's classes beside a modern torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from lcm.errors import LcmError
from lcm.mbd import audiocraft


def test_the_classes_are_audiocrafts_own():
    folder = importlib.util.find_spec("audiocraft").submodule_search_locations[0]
    for name in ("MultiBandDiffusion", "DiffusionUnet", "NoiseSchedule", "MultiBandProcessor"):
        made = getattr(audiocraft.load(), name)
        assert sys.modules.get(made.__module__) is None  # nothing of it is left for others to stumble over
        assert made.__init__.__code__.co_filename.startswith(folder)


def test_what_others_imported_under_these_names_is_there_afterwards():
    code = """
import sys, types
sys.modules["xformers"] = theirs = types.ModuleType("xformers")
from lcm.mbd import audiocraft
audiocraft.load()
assert sys.modules["xformers"] is theirs
assert "audiocraft" not in sys.modules and "xformers.ops" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_audiocraft_the_error_holds_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LcmError, match=r"needs audiocraft.*pip install --no-deps audiocraft==1\.3\.0 julius"):
        audiocraft.load.__wrapped__()


def test_the_installed_version_is_the_documented_one():
    from importlib.metadata import version

    assert version("audiocraft") == audiocraft.VERSION
