"""Sources of recordings, by name: each lists candidates, and says what it refuses unread."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lcm.corpus import demo
from lcm.corpus.config import CorpusConfig, CorpusError
from lcm.corpus.speakers import guess_speakers, match_speakers, safe_name, utterance_ids

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_LIBRITTS_FILE = re.compile(r"(?P<speaker>\d+)/(?P<chapter>\d+)/(?P=speaker)_(?P=chapter)_[^/]+\.wav")


@dataclass(frozen=True)
class Candidate:
    """A file to inspect.

    Attributes:
        path: Where it lies.
        utterance: Id, unique in the listing.
        speaker: Who speaks.
        split: The split that the source states, or None.
    """

    path: Path
    utterance: str
    speaker: str
    split: str | None = None


@dataclass
class Listing:
    """What a source offers.

    Attributes:
        root: Folder that manifest paths are relative to.
        candidates: Files to inspect.
        rejected: Paths that are refused unread, each with its reason.
        notes: What a user should know about how the source was read.
    """

    root: Path
    candidates: list[Candidate] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Source = Callable[[CorpusConfig, Path], Listing]


def list_candidates(config: CorpusConfig, out: Path) -> Listing:
    """List the candidates of the configured source.

    Raises:
        CorpusError: The source is unknown or its folder is not there.
    """
    if config.source not in SOURCES:
        raise CorpusError(f"Unknown corpus source {config.source!r}. Valid sources are: {', '.join(SOURCES)}.")
    return SOURCES[config.source](config, out)


def list_demo(config: CorpusConfig, out: Path) -> Listing:
    """Synthesise the demo corpus, or find it in the cache: `<root>/<plan>/<voice>/<voice>-<number>.flac`."""
    folder = demo.synthesise_corpus(Path(config.root or out / "audio"), config.demo_voices, config.demo_utterances)
    files = sorted(folder.glob("*/*.flac"))
    return Listing(folder, [Candidate(file, file.stem, file.parent.name) for file in files])


def list_libritts(config: CorpusConfig, _: Path) -> Listing:
    """List `root/<subset>/<speaker>/<chapter>/<speaker>_<chapter>_*.wav`; ids are file stems.

    Where a `train-*` subset is read too, `dev-*` is the validation split and `test-*` the test split.
    """
    root = _folder(config.root, "root")
    subsets = config.subsets or tuple(sorted(child.name for child in root.iterdir() if child.is_dir()))
    if missing := [name for name in subsets if not (root / name).is_dir()]:
        present = ", ".join(sorted(child.name for child in root.iterdir() if child.is_dir())) or "none"
        raise CorpusError(f"No subset {', '.join(missing)} in {root}. Subsets there are: {present}.")
    listing, found = Listing(root), []
    for subset in subsets:
        split = _official_split(subset) if any(name.startswith("train") for name in subsets) else None
        for path in _audio_files(root / subset, listing, (".wav",)):
            match = _LIBRITTS_FILE.fullmatch(path.relative_to(root / subset).as_posix())
            if match:
                found.append((path, match["speaker"], split))
            else:
                listing.rejected.append((_shown(path, root), "not where LibriTTS keeps recordings: <subset>/<speaker>/<chapter>/*.wav"))
    ids = utterance_ids([path.stem for path, _, _ in found], [path.relative_to(root).as_posix() for path, _, _ in found])
    listing.candidates = [Candidate(path, name, speaker, split) for name, (path, speaker, split) in zip(ids, found, strict=True)]
    return listing


def _official_split(subset: str) -> str | None:
    """Return the split that a subset's name states."""
    return {"dev": "valid", "test": "test"}.get(subset.partition("-")[0])


def list_folder(config: CorpusConfig, _: Path) -> Listing:
    """List a tree of wav, flac, ogg and mp3, and perhaps a second one that is the test.

    Ids are relative paths without the suffix, with `__` for `/`.
    """
    root = _folder(config.root, "root")
    listing = Listing(root)
    test = _folder(config.test_root, "test_root") if config.test_root else None
    tested = [(path, test) for path in _audio_files(test, listing)] if test else []
    known = {path.resolve() for path, _ in tested}  # the test may lie inside the root
    files = tested + [(path, root) for path in _audio_files(root, listing) if path.resolve() not in known]
    relative = [path.relative_to(base).as_posix() for path, base in files]
    names = [name[: -len(path.suffix)].replace("/", "__") for name, (path, _) in zip(relative, files, strict=True)]
    keys = [("test/" if base is test else "") + name for name, (_, base) in zip(relative, files, strict=True)]
    speakers = _speakers(relative, [base for _, base in files], config, listing)
    for (path, base), name, speaker in zip(files, utterance_ids(names, keys), speakers, strict=True):
        if speaker is None:
            listing.rejected.append((_shown(path, root), "no speaker: speaker_pattern does not match its path"))
        else:
            listing.candidates.append(Candidate(path, name, safe_name(speaker), "test" if base is test else None))
    return listing


def _speakers(relative: list[str], bases: list[Path], config: CorpusConfig, listing: Listing) -> list[str | None]:
    """Read the speakers by the pattern, or guess and say how."""
    if config.speaker_pattern is not None:
        return match_speakers(relative, config.speaker_pattern)
    guessed, rule = guess_speakers([f"{base.name}/{name}" for base, name in zip(bases, relative, strict=True)])
    listing.notes.append(f"The speaker is {rule}, which is a guess; speaker_pattern states it.")
    return list(guessed)


def _folder(path: str | None, name: str) -> Path:
    """Return a folder of the config as an absolute path."""
    if not path:
        raise CorpusError(f"The corpus needs {name}: the folder that holds the recordings.")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise CorpusError(f"{name} = {path} is not a folder. Set {name} to the folder that holds the recordings.")
    return Path(os.path.abspath(folder))  # noqa: PTH100  # Path.resolve would follow the links that a user set up on purpose


def _audio_files(root: Path, listing: Listing, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Yield audio files below a folder in a fixed order; links to folders are followed, but no folder is entered twice."""
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        listing.rejected.append((_shown(Path(str(error.filename)), listing.root), f"not readable: folder ({error.strerror})"))

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=refuse):
        stat = Path(folder).stat()
        if (stat.st_dev, stat.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        subfolders.sort()
        for path in (Path(folder, name) for name in sorted(names) if name.lower().endswith(suffixes)):
            if any(ord(character) < 32 for character in path.relative_to(root).as_posix()):
                listing.rejected.append((repr(_shown(path, listing.root)), "unusable name: control character"))
            else:
                yield path


def _shown(path: Path, root: Path) -> str:
    """Return a path relative to the root where it lies inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


SOURCES: dict[str, Source] = {"demo": list_demo, "folder": list_folder, "libritts": list_libritts}
