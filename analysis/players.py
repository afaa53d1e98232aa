"""Which clips the page lets one hear: clips that most systems have, then the student's worst, within one budget of audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import soundfile

from analysis.clips import family, load_clips
from analysis.names import REFERENCES, UNTRAINED, system_label
from analysis.names import metric as describe
from analysis.table import Results
from analysis.tables import number

CLIPS = 4
AUDIO_BYTES = 16_000_000
"""Most audio put into the page, before it grows by a third as text: larger pages open slowly."""
NOT_KEPT = "No audio was kept: evaluate.worst."
STUDENT_NOT_KEPT = NOT_KEPT.replace("audio", "audio of the student", 1)
NO_ROOM = f"Its audio is left out: the page holds at most {AUDIO_BYTES // 1_000_000} MB of it."


@dataclass(frozen=True)
class Player:
    """One sample file: what it is, whose it is, and how long it lasts."""

    title: str
    run: str
    path: Path
    seconds: float


@dataclass(frozen=True)
class Clip:
    """One utterance through each system that has a sample of it."""

    utterance: str
    players: tuple[Player, ...]

    @property
    def size(self) -> int:
        """Return the bytes of its audio."""
        return sum(player.path.stat().st_size for player in self.players)


@dataclass(frozen=True)
class Failure:
    """One of the student's worst clips.

    Attributes:
        rank: 1 is the worst.
        utterance: its id.
        facts: what else is known of it, for its heading: speaker, cutoff.
        scores: system and value, the student's first; resamplers other than sinc and the degraded codes are in worst.csv alone.
        clip: its audio, None where the page has none of it here.
        reason: why audio is missing, "" where nothing is.
        heard_at: number of the same clip among those to listen to, 0 where it is not among them.
    """

    rank: int
    utterance: str
    facts: list[str]
    scores: list[tuple[str, str]]
    clip: Clip | None = None
    reason: str = ""
    heard_at: int = 0


@dataclass
class Audition:
    """What the page plays.

    Attributes:
        listening: clips to compare systems on.
        failures: the student's worst clips, worst first.
        metric: label of the metric that ranks them, "" where there are none.
        no_room: utterances whose audio did not fit, each once.
        unreadable: sample files that are no audio, below the results root, each once.
    """

    listening: list[Clip] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    metric: str = ""
    no_room: dict[str, None] = field(default_factory=dict)
    unreadable: dict[str, None] = field(default_factory=dict)


def audition(results: Results, worst: pd.DataFrame, named: str | None = None, *, budget: int = AUDIO_BYTES) -> Audition:
    """Choose what the page plays.

    Args:
        results: loaded results.
        worst: the student's worst clips, from `worst_clips`.
        named: signature of the student's point, if its author named one.
        budget: bytes of audio for the whole page; the clips to listen to are served first.

    Returns:
        The choice, with what did not fit.
    """
    heard = Audition(metric=describe(worst["metric"].iloc[0]).label if len(worst) else "")
    files = load_clips(results, named)
    left = budget
    for clip in _comparable(files, results.root, heard):
        if clip.size > left:
            heard.no_room[clip.utterance] = None
            continue
        left -= clip.size
        heard.listening.append(clip)
        if len(heard.listening) == CLIPS:
            break
    for _, rows in worst.groupby("rank"):
        failure = _failure(rows, files, left, heard, results.root)
        left -= failure.clip.size if failure.clip else 0
        heard.failures.append(failure)
    return heard


def _comparable(files: pd.DataFrame, root: Path, heard: Audition) -> Iterator[Clip]:
    """Yield clips to compare systems on, those of most systems first; of what a point kept as its worst there is too little beside it."""
    sizes = files.groupby("utterance").size()
    wanted = set(sizes.index[sizes > sizes.max() / 2])
    for utterance, group in files[files["utterance"].isin(wanted)].groupby("utterance", sort=False):
        clip = _clip(str(utterance), group, root, heard)
        if len(clip.players) > 1:
            yield clip


def _clip(utterance: str, files: pd.DataFrame, root: Path, heard: Audition) -> Clip:
    players = []
    for row in files.to_dict("records"):
        path = Path(row["path"])
        try:
            players.append(Player(row["title"], row["run"], path, float(soundfile.info(path).duration)))
        except (soundfile.LibsndfileError, OSError):
            heard.unreadable[path.relative_to(root).as_posix()] = None
    return Clip(utterance, tuple(players))


def _failure(rows: pd.DataFrame, files: pd.DataFrame, left: int, heard: Audition, root: Path) -> Failure:
    first = rows.iloc[0]
    utterance, cutoff = str(first["utterance"]), first.get("cutoff_hz")
    facts = [f"speaker {first['speaker']}", *([] if pd.isna(cutoff) else [f"cutoff {cutoff / 1000:.1f} kHz"])]
    shown = rows[~rows["system"].isin(set(UNTRAINED) - set(REFERENCES))]
    scores = [(system_label(row["system"], int(row["steps"])), number(row["value"], row["metric"])) for row in shown.to_dict("records")]
    found = Failure(int(first["rank"]), utterance, facts, scores)
    of = [clip.utterance for clip in heard.listening]
    if utterance in of:
        return replace(found, heard_at=of.index(utterance) + 1)
    own = files[files["utterance"] == utterance]
    clip = _clip(utterance, own, root, heard)
    if clip.size > left:
        heard.no_room[utterance] = None
        return replace(found, reason=NO_ROOM)
    if not clip.players:
        return replace(found, reason=NOT_KEPT)
    return replace(found, clip=clip, reason="" if own["system"].map(family).eq("student").any() else STUDENT_NOT_KEPT)
