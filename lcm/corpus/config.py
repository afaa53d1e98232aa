"""Settings of a corpus."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lcm.errors import LcmError


class CorpusError(LcmError):
    """A corpus that cannot be built or read; the message says what to do next."""


@dataclass
class CorpusConfig:
    """What to read, what to refuse and how to split.

    Attributes:
        source: `demo` (synthesised speech), `folder` (any tree of wav, flac, ogg, mp3) or `libritts`.
        root: Folder of the recordings. For `demo` the cache of synthesised speech; default: `audio` in the corpus folder.
        subsets: For `libritts`: which subsets, such as `train-clean-100`; empty means every one present.
        speaker_pattern: For `folder`: a regular expression with a group `speaker`, searched in the path relative to
            the root, with `/` between folders, such as `^(?P<speaker>[^/]+)/`. Default: see `lcm.corpus.speakers`.
        test_root: For `folder`: a second folder whose recordings are the test split.
        min_sample_rate_hz: Recordings below this rate are refused. From here to 24 kHz they are resampled.
        min_bandwidth_hz: Recordings whose true bandwidth is below are refused: 11,100 leaves out those that are empty
            above 11.025 kHz. Default: none.
        valid_fraction: Share of the speech for validation, in [0, 1).
        test_fraction: Share of the speech for the test, in [0, 1); not used where the source states a test split.
        seed: Seed of the split.
        max_seconds: Keep at most about this much speech, in every split the same share; default: all.
        max_utterance_seconds: Refuse recordings longer than this; default: none.
        demo_voices: For `demo`: number of voices, each a speaker.
        demo_utterances: For `demo`: utterances of each voice, about 5 s each.
    """

    source: str = "demo"
    root: str | None = None
    subsets: tuple[str, ...] = ()
    speaker_pattern: str | None = None
    test_root: str | None = None
    min_sample_rate_hz: int = 22_050
    min_bandwidth_hz: float = 0.0
    valid_fraction: float = 0.06
    test_fraction: float = 0.15
    seed: int = 0
    max_seconds: float | None = None
    max_utterance_seconds: float | None = None
    demo_voices: int = 20
    demo_utterances: int = 6

    def __post_init__(self) -> None:
        if not (0 <= self.valid_fraction < 1 and 0 <= self.test_fraction < 1 and self.valid_fraction + self.test_fraction < 1):
            given = f"valid_fraction = {self.valid_fraction} and test_fraction = {self.test_fraction}"
            raise CorpusError(f"{given} in the corpus config; expected each in [0, 1) and a sum below 1.")
        for name in ("speaker_pattern", "test_root"):
            if getattr(self, name) is not None and self.source != "folder":
                raise CorpusError(f"{name} is given and the corpus source is {self.source!r}; it works with source 'folder' only.")
        if self.speaker_pattern is not None:
            _check_pattern(self.speaker_pattern)


def _check_pattern(pattern: str) -> None:
    """Refuse a speaker pattern that is no regular expression or names no speaker."""
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise CorpusError(f"speaker_pattern {pattern!r} is not a regular expression: {error}.") from error
    if "speaker" not in groups:
        raise CorpusError(f"speaker_pattern {pattern!r} has no group named speaker; write for instance '^(?P<speaker>[^/]+)/'.")
