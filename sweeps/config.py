"""The config of one point, composed of each stage's own dataclass. YAML holds differences only."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lcm.blocks import PRIORS
from lcm.codec import CodecConfig
from lcm.corpus import CorpusConfig
from lcm.data import DataConfig
from lcm.degrade import DegradationConfig
from lcm.errors import LcmError
from lcm.evaluate import EvaluateConfig
from lcm.losses import LossConfig
from lcm.network import NetworkConfig
from lcm.objectives import ObjectiveConfig
from lcm.reference import ReferenceConfig
from lcm.schedule import ScheduleConfig
from lcm.teachers import TeacherConfig
from lcm.training.optim import TrainConfig

_PLAIN: dict[str, dict[str, Any]] = {}


@dataclass
class BlocksConfig:
    """Codebook blocks.

    Attributes:
        codebooks: Codebooks K that the student has, the first of those in the codes store (codec.bandwidth_kbps); 0: all.
        partition: Codebooks per block, coarse to fine; empty means one block of all.
        output: `latents` (straight to the decoder) or `tokens` (requantised block by block).
        prior: `normal`, N(0, 1), or `condition`, N(c, 1): the state is the residual to the degraded audio's latents.
        weights: Loss weight of each block; empty means by variance.
    """

    partition: list[int] = field(default_factory=list)
    output: str = "latents"
    prior: str = "normal"
    weights: list[float] = field(default_factory=list)
    codebooks: int = 0

    def __post_init__(self) -> None:
        check_choice("blocks.output", self.output, ("latents", "tokens"))
        check_choice("blocks.prior", self.prior, PRIORS)


@dataclass
class Config:
    """One point of a sweep. The defaults are what won on a speaker-disjoint slice of the training speech (README, results).

    Attributes:
        root: Folder of everything that this corpus and its sweeps leave on disk.
        seed: Seed of the point; kept apart from its signature.
        init: `teacher` (start from the latent teacher's weights) or `none`.
        shards: Shards of the stores.
        jobs: Processes that fill the stores.
        scratch: Folder on this node's own disk, such as `$TMPDIR`, to which stores are copied before training reads them; empty: none.
        debug: Run short, in the foreground, into a folder of its own.
    """

    root: str = "runs/default"
    seed: int = 0
    init: str = "teacher"
    shards: int = 4
    jobs: int = 1
    scratch: str = ""
    debug: bool = False
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    blocks: BlocksConfig = field(default_factory=BlocksConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    losses: LossConfig = field(default_factory=lambda: LossConfig(hf_log_magnitude=1.0, si_sdr=0.5))
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        check_choice("init", self.init, ("teacher", "none"))


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that would otherwise be taken for another.

    Raises:
        LcmError: It is none of the choices.
    """
    if value not in choices:
        raise LcmError(f"{name}={value!r} is unknown: choose one of {', '.join(choices)}.")


def register() -> None:
    """Make the config known to hydra as `base`."""
    ConfigStore.instance().store(name="base", node=Config)


def from_hydra(config: DictConfig) -> Config:
    """Turn hydra's config into dataclasses, resolved."""
    return cast(Config, OmegaConf.to_object(config))


def to_dict(config: Config) -> dict[str, Any]:
    """Return the config as plain containers; a group that was seen before is not converted again."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {name: _plain(repr(value), value) if is_dataclass(value) else value for name, value in values.items()}


def _plain(key: str, value: Any) -> dict[str, Any]:
    """Return a group as OmegaConf would hold it, which makes floats of whole numbers where a field is a float."""
    key = f"{type(value).__name__} {key}"
    if key not in _PLAIN:
        _PLAIN[key] = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.structured(value), resolve=True))
    return deepcopy(_PLAIN[key])


def to_yaml(config: Config) -> str:
    """Return the config as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


@cache
def _schema() -> DictConfig:
    return cast(DictConfig, OmegaConf.structured(Config))  # merging copies it


def read_config(file: Path) -> Config:
    """Read a frozen config.

    Raises:
        LcmError: It cannot be read, or is none of this version.
    """
    try:
        merged = OmegaConf.merge(_schema(), OmegaConf.load(file))
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        lines = str(error).splitlines()
        raise LcmError(f"The config {file} cannot be read: {lines[0] if lines else error}. Submit the sweep again.") from error
    return from_hydra(cast(DictConfig, merged))
