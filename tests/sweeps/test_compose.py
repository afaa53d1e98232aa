"""Composing many points at once gives what hydra would compose for each."""

from __future__ import annotations

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import open_dict

from sweeps.config import from_hydra, register, to_dict
from sweeps.sweep.compose import FastLoader

POINTS = [
    ["+ablation=codebook_blocks", "blocks.partition=[4,4]", "root=runs/a b"],
    ["+ablation=codebook_blocks", "blocks.partition=[8]", "root=runs/a b"],
    ["objective=cd", "objective.n=9"],
    ["objective=cd", "objective.n=36", "seed=3"],
    ["objective=regression", "seed=3"],
    ["+preset=demo", "+losses.auto={mr_stft:0.3}"],
    ["+preset=demo", "++losses.auto={}"],
    ["hydra.job.name=other", "train.steps=3"],
]


@pytest.fixture(scope="module")
def hydra():
    register()
    hydra = Hydra.create_main_hydra2("point", create_config_search_path("pkg://sweeps.conf"))
    yield hydra, hydra.compose_config("config", [], run_mode=RunMode.MULTIRUN, with_log_configuration=False)
    GlobalHydra.instance().clear()


def test_every_point_is_what_hydra_composes(hydra):
    one, master = hydra
    fast = FastLoader(one.config_loader)
    for words in POINTS:
        own = one.config_loader.load_sweep_config(master, words)
        with open_dict(own):
            del own["hydra"]
        assert to_dict(from_hydra(fast.load_sweep_config(master, words))) == to_dict(from_hydra(own)), words


def test_points_do_not_share_what_they_set(hydra):
    one, master = hydra
    fast = FastLoader(one.config_loader)
    first = fast.load_sweep_config(master, ["train.steps=3", "data.variants=2"])
    assert fast.load_sweep_config(master, ["train.steps=4"]).data.variants == 0
    assert first.train.steps == 3


def test_an_unknown_field_is_refused_as_hydra_does(hydra):
    one, master = hydra
    with pytest.raises(ConfigCompositionException, match=r"train\.stepps"):
        FastLoader(one.config_loader).load_sweep_config(master, ["train.stepps=3"])
