"""A private SLURM cluster for the tests of this folder, which all carry the marker `slurm`."""

from __future__ import annotations

import os

import pytest
from lab import Lab, lacking
from lab_commands import OF_SLURM


def pytest_itemcollected(item):
    item.add_marker("slurm")


def _started(**settings):
    """A lab. Where none can be: skip and say why, or fail under CI=true, where these tests must not go missing."""
    if reason := lacking(settings.get("accounting", False)):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return Lab.start(**settings)


def _session_lab(**settings):
    @pytest.fixture(scope="session")
    def session_lab():
        lab = _started(**settings)
        yield lab
        lab.stop()

    return session_lab


plain_lab, lab_with_accounting, lab_of_small_arrays = _session_lab(), _session_lab(accounting=True), _session_lab(max_array_size=10)


@pytest.fixture
def lab(plain_lab, monkeypatch):
    """Three idle nodes of two GPUs, accounting off; this process and those that it starts use it."""
    yield from _for_one_test(plain_lab, monkeypatch)


@pytest.fixture
def accounting_lab(lab_with_accounting, monkeypatch):
    """The same as `lab` with slurmdbd: `sacct` knows the jobs."""
    yield from _for_one_test(lab_with_accounting, monkeypatch)


@pytest.fixture
def small_array_lab(lab_of_small_arrays, monkeypatch):
    """The same as `lab` with MaxArraySize 10: the highest index of an array is 9."""
    yield from _for_one_test(lab_of_small_arrays, monkeypatch)


def _for_one_test(lab, monkeypatch):
    for name in [name for name in os.environ if name.startswith(OF_SLURM)]:
        monkeypatch.delenv(name)
    for name, value in lab.environment().items():
        monkeypatch.setenv(name, value)
    lab.reset()
    yield lab
    lab.reset()
