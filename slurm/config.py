"""What to generate, from words such as `corpus=libritts teacher.steps=18 cluster=2x48gb`, kept in ROOT/generate.yaml."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lcm.codec import CodecConfig
from lcm.corpus import CorpusConfig
from lcm.degrade import DegradationConfig
from lcm.errors import LcmError
from lcm.mbd.schedule import CALLS
from lcm.paths import Root, write_text
from lcm.teachers import TeacherConfig
from slurm.cluster import Cluster, load_cluster

_SHORT = {"corpus": "corpus.source", "teacher": "teacher.name", "codec": "codec.name"}  # `teacher=latent`
_MBD = {"teacher=mbd", "teacher.name=mbd"}
_FIRST_OF_TEACHER = {"name", "checkpoint", "steps", "seed"}  # later fields count where they are not the default: old roots keep their keys


class ConfigError(LcmError):
    """A word of the command line is unknown or its value does not fit."""


@dataclass
class GenerateConfig:
    """What a root's stores hold and who makes them.

    Attributes:
        corpus: The recordings.
        degradation: The degraded variants of each.
        codec: The codec.
        teacher: Whose codes the overlay holds; `original` needs none.
        shards: Shards of each store.
        seed: Seed of the plans.
        batch: Clips at once; halved where memory runs out. 0: 8 on a GPU, 1 on a CPU.
        latents: Whether the overlay stores latents too, for `objective=pairs`.
        train: Words for `sweeps.run objective=diffusion` that train the teacher between codes and overlay; empty: it exists.
        attempts: Attempts in a row without one new clip after which a shard is given up.
        gpu_hours: Budget for this root; more is not submitted. 0: none.
        cluster: Profile and its changed keys, such as `2x48gb`, `partition=high`.
    """

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    shards: int = 4
    seed: int = 0
    batch: int = 0
    latents: bool = False
    train: list[str] = field(default_factory=list)
    attempts: int = 3
    gpu_hours: float = 0.0
    cluster: list[str] = field(default_factory=lambda: ["local"])

    def __post_init__(self) -> None:
        for name, least in (("shards", 1), ("batch", 0), ("attempts", 1), ("gpu_hours", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} makes no sense: at least {least} is expected.")

    def profile(self) -> Cluster:
        """Return the cluster's profile."""
        return load_cluster(self.cluster[0], self.cluster[1:])


def store_and_rest(words: Sequence[str]) -> tuple[Path, list[str]]:
    """Take `store=ROOT` (or `root=ROOT`, as the sweeps call it) out of the words.

    Raises:
        ConfigError: It is missing or given twice.
    """
    named = [word for word in words if word.partition("=")[0] in {"store", "root"}]
    if len(named) != 1 or not named[0].partition("=")[2]:
        raise ConfigError(f"Name the folder once by store=FOLDER; given: {' '.join(named) or 'none'}. It is the sweeps' root=FOLDER.")
    return Path(named[0].partition("=")[2]).expanduser().absolute(), [word for word in words if word not in named]


def configure(folder: Path, words: Sequence[str]) -> GenerateConfig:
    """Return the root's config, changed by words.

    Args:
        folder: The root; what was asked of it before stands in its generate.yaml.
        words: `key=value`; nested keys with dots.

    Raises:
        ConfigError: A word is unknown or does not fit; valid ones are named.
    """
    kept = Root(folder).generate
    base = OmegaConf.structured(GenerateConfig)
    try:
        if kept.exists():
            base = OmegaConf.merge(base, OmegaConf.load(kept))
        for word in _with_cluster(_with_calls(words), list(base.cluster)):
            base = _merge(base, word)
        config = cast(GenerateConfig, OmegaConf.to_object(base))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{kept if not words else ' '.join(words)}: {str(error).splitlines()[0]}") from error
    _make_absolute(config)
    config.profile()
    return config


def _make_absolute(config: GenerateConfig) -> None:
    """Let every path mean the same in jobs, which run in another folder."""
    for group, name in ((config.corpus, "root"), (config.corpus, "test_root"), (config.codec, "folder"), *_of_teacher(config)):
        if getattr(group, name) not in (None, "", "shipped"):
            setattr(group, name, _absolute(getattr(group, name)))
    if config.cluster[0].endswith((".yaml", ".yml")):
        config.cluster[0] = _absolute(config.cluster[0])


def _of_teacher(config: GenerateConfig) -> list[tuple[Any, str]]:
    return [(config.teacher, "checkpoint"), (config.teacher, "folder")]


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def keep(folder: Path, config: GenerateConfig) -> None:
    """Write the config where later commands find it."""
    write_text(Root(folder).generate, _text(config))


def freeze(folder: Path, config: GenerateConfig) -> str:
    """Write the config where jobs find it, whatever is asked later; returns its digest."""
    text = _text(config)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    if not Root(folder).frozen(digest).exists():
        write_text(Root(folder).frozen(digest), text)
    return digest


def thaw(folder: Path, digest: str) -> GenerateConfig:
    """Return the config that was frozen.

    Raises:
        ConfigError: It is gone or damaged.
    """
    file = Root(folder).frozen(digest)
    try:
        return cast(GenerateConfig, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(GenerateConfig), OmegaConf.load(file))))
    except (OSError, OmegaConfBaseException) as error:
        raise ConfigError(f"The settings {file} of a submission cannot be read: {error}. Submit again.") from error


def key(config: GenerateConfig, stage: str) -> str:
    """Return a hash of the settings that decide which store a stage fills; where and how it runs is apart."""
    names = ["corpus", "degradation", "codec", "shards", "seed", *([] if stage == "codes" else ["teacher", "latents", "train"])]
    whole = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    assert isinstance(whole, dict)  # a config is no list
    whole["teacher"] = {k: v for k, v in whole["teacher"].items() if k in _FIRST_OF_TEACHER or v != getattr(TeacherConfig(), k)}
    return hashlib.sha256(json.dumps({name: whole[name] for name in names}, sort_keys=True).encode()).hexdigest()[:12]


def _text(config: GenerateConfig) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _with_calls(words: Sequence[str]) -> list[str]:
    """Return the words with audiocraft's number of U-Net calls where `teacher=mbd` is asked without one."""
    at = next((i for i, word in enumerate(words) if word in _MBD), None)
    if at is None or any(word.startswith("teacher.steps=") for word in words):
        return list(words)
    return [*words[:at], f"teacher.steps={CALLS}", *words[at:]]


def _with_cluster(words: Sequence[str], before: list[str]) -> list[str]:
    """Return the words with those of the cluster gathered into one, `cluster=[NAME,key=value,...]`."""
    named = [word.partition("=")[2] for word in words if word.startswith("cluster=")]
    keys = [word.removeprefix("cluster.") for word in words if word.startswith("cluster.")]
    rest = [word for word in words if not word.startswith(("cluster=", "cluster."))]
    if named or keys:
        changed = {word.partition("=")[0] for word in keys}
        old = [] if named and named[-1] != before[0] else [w for w in before[1:] if w.partition("=")[0] not in changed]
        rest.append("cluster=" + repr([named[-1] if named else before[0], *old, *keys]))
    return rest


def _merge(base: Any, word: str) -> Any:
    name, equals, value = word.partition("=")
    if not equals:
        raise ConfigError(f"{word!r} is no setting: write key=value, such as teacher.steps=18.")
    name = _SHORT.get(name, name)
    _check_key(name)
    try:
        return OmegaConf.merge(base, OmegaConf.from_dotlist([f"{name}={value}"]))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{name}={value} does not fit: {str(error).splitlines()[0]}") from error


def _check_key(name: str) -> None:
    """Refuse an unknown key, naming the valid ones of its group."""
    group: Any = GenerateConfig()
    parts = name.split(".")
    for depth, part in enumerate(parts):
        valid = [f.name for f in fields(group)] if is_dataclass(group) else []
        if part not in valid:
            where = f" in {'.'.join(parts[:depth])}" if depth else ""
            near = difflib.get_close_matches(part, valid, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"There is no setting {name!r}.{hint} Valid keys{where}: {', '.join(valid)}{'' if depth else ', cluster.KEY'}."
            )
        group = getattr(group, part)
