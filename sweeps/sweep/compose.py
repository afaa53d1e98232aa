"""Compose the configs of hundreds of points fast: hydra reads all YAML anew for each, 50 ms a point, and does so twice."""

from __future__ import annotations

import gc
from copy import deepcopy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, flag_override, open_dict


class FastLoader:
    """A config loader that composes once for all points which differ in values only; the rest is hydra's own.

    Values are set by hydra's own function on a copy, so errors are hydra's. The configs lack the node `hydra`, as a task's do.

    Args:
        loader: Hydra's.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        gc.freeze()  # what was imported stays: to look through it again and again for garbage takes a quarter of the time
        self._loader = loader
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._done: dict[tuple[str, ...], DictConfig] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the config of one point.

        Args:
            master_config: That of the sweep.
            sweep_overrides: Words of the point.
        """
        words = tuple(sweep_overrides)
        if words not in self._done:
            self._done[words] = self._compose(master_config, list(sweep_overrides))
        return self._done[words]

    def _compose(self, master: DictConfig, words: list[str]) -> DictConfig:
        if not isinstance(self._loader, ConfigLoaderImpl):
            return _without_hydra(self._loader.load_sweep_config(master, words))
        parsed = OverridesParser.create(config_loader=self._loader).parse_overrides(words)
        values = [override for override in parsed if self._is_value(override)]
        structure = tuple(str(override.input_line) for override in parsed if not self._is_value(override))
        if structure not in self._bases:
            self._bases[structure] = _without_hydra(self._loader.load_sweep_config(master, list(structure)))
        config = deepcopy(self._bases[structure])
        with flag_override(config, "struct", True):
            ConfigLoaderImpl._apply_overrides_to_config(values, config)
        return config

    def _is_value(self, override: Override) -> bool:
        """Return whether an override sets a value of ours; others choose files, change packages or hydra itself."""
        key = override.key_or_group
        return not self._loader.repository.group_exists(key) and override.package is None and not key.startswith("hydra")  # type: ignore[attr-defined]  # of the implementation


def _without_hydra(config: DictConfig) -> DictConfig:
    with open_dict(config):
        del config["hydra"]
    return config
