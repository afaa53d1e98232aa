"""Corpora: where speech comes from, what is fit to use, and who is in which split."""

from __future__ import annotations

from lcm.corpus.build import build, current
from lcm.corpus.config import CorpusConfig, CorpusError
from lcm.corpus.manifest import SPLITS, Manifest, Utterance

__all__ = ["SPLITS", "CorpusConfig", "CorpusError", "Manifest", "Utterance", "build", "current"]
