import math
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from sweeps.config import Config, from_hydra, register, to_dict

CONF = Path(__file__).parents[2] / "sweeps" / "conf"


def resolved(*overrides):
    register()
    with initialize_config_module("sweeps.conf", version_base="1.3"):
        return from_hydra(compose("config", list(overrides)))


def test_every_field_of_every_stage_can_be_overridden():
    tree = OmegaConf.structured(Config())
    for group, node in tree.items():
        for key in node if OmegaConf.is_config(node) else []:
            OmegaConf.update(tree, f"{group}.{key}", node[key])


def test_without_overrides_the_config_is_the_dataclasses():
    assert to_dict(resolved()) == to_dict(Config())


def test_an_override_reaches_its_dataclass():
    config = resolved("corpus.source=folder", "corpus.root=/speech", "blocks.partition=[2,6]", "train.steps=7")
    assert (config.corpus.source, config.corpus.root) == ("folder", "/speech")
    assert (config.blocks.partition, config.train.steps) == ([2, 6], 7)


def test_a_misspelled_key_is_refused_by_name():
    with pytest.raises(Exception, match="lerning_rate"):
        resolved("train.lerning_rate=1")


@pytest.mark.parametrize("path", sorted((CONF / "preset").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_composes(path):
    assert resolved(f"+preset={path.stem}") != Config()


@pytest.mark.parametrize("path", sorted((CONF / "ablation").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_ablation_says_its_question_in_a_line_and_turns_existing_fields(path):
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[1].startswith("# ")
    params = yaml.safe_load(text)["hydra"]["sweeper"]["params"]
    for key in params:
        assert OmegaConf.select(OmegaConf.structured(Config()), key, default=None) is not None, key


def test_the_demo_grid_has_twelve_points():
    params = yaml.safe_load((CONF / "ablation" / "demo.yaml").read_text())["hydra"]["sweeper"]["params"]
    sizes = [params["blocks.partition"].count("["), *(len(params[k].split(",")) for k in ("losses.mr_stft", "objective.stages"))]
    assert math.prod(sizes) == 12
