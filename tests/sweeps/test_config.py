import math
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from lcm.objectives import OBJECTIVES, objective_of
from sweeps.config import Config, from_hydra, register, to_dict
from sweeps.point import run_point

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


def yamls(group):
    return pytest.mark.parametrize("path", sorted((CONF / group).glob("*.yaml")), ids=lambda p: p.stem)


@yamls("ablation")
def test_every_ablation_says_its_question_and_each_of_its_values_is_a_valid_point(path):
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[1].startswith("# ")
    params = yaml.safe_load(text)["hydra"]["sweeper"]["params"]
    for sweep in OverridesParser.create().parse_overrides([f"{key}={values}" for key, values in params.items()]):
        assert sweep.is_sweep_override(), f"{sweep.key_or_group} has one value"
        for value in sweep.sweep_string_iterator():
            config = resolved(f"+ablation={path.stem}", f"{sweep.input_line.split('=')[0]}={value}")
            assert objective_of(config.objective)


@yamls("objective")
def test_every_objective_is_a_config_of_a_few_lines_that_names_one(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 6
    assert lines[1].startswith("# ")
    config = resolved(f"objective={path.stem}")
    assert config.objective.name == path.stem.removesuffix("_euler").removesuffix("_alone")
    assert objective_of(config.objective)


def test_every_objective_has_a_config():
    assert {path.stem for path in (CONF / "objective").glob("*.yaml")} >= set(OBJECTIVES)


def test_the_demo_grid_has_twelve_points():
    params = yaml.safe_load((CONF / "ablation" / "demo.yaml").read_text())["hydra"]["sweeper"]["params"]
    sizes = [params["blocks.partition"].count("["), *(len(params[k].split(",")) for k in ("losses.hf_log_magnitude", "objective.stages"))]
    assert math.prod(sizes) == 12


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("objective.distance=foo", "cauchy, l2, pseudo_huber"),
        ("objective.name=edm", "token_ce"),
        ("train.decay=linear", "cosine, constant"),
        ("train.optimiser=sgd", "adamw, radam"),
        ("train.accumulate=3", r"multiple of 3"),
        ("blocks.output=token", "latents, tokens"),
        ("init=teachr", "teacher, none"),
        ("network.heads=5", r"multiple of 2 \* network.heads = 10"),
        ("data.crop_frames=40", "data.crop_frames to at least 47"),
        ("objective.teacher_forcing=true", "needs a cascade"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_made_for_it(override, named, tmp_path):
    with pytest.raises(Exception, match=named):
        run_point(resolved(override, f"root={tmp_path}/root"))
    assert not (tmp_path / "root").exists()
