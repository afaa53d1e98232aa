from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves the helpers beside the tests out of the path

from synthetic_tree import Tree, fill


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "runs")


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    """Return a whole sweep; tests read it and write nothing into it."""
    return fill(Tree(tmp_path_factory.mktemp("sweep") / "runs"))
