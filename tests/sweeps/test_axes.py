"""The axes and presets that a user types: what points they make, and what `--help` says of them."""

import inspect
from collections import Counter
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from sweeps.config import Config, from_hydra, register
from sweeps.identity import key
from sweeps.options import CONF, FIELDS, TITLES, options

AXES = [
    *("codebook_blocks", "loss_weights", "step_counts", "objective", "conditioning", "teacher", "seed"),
    *("mbd_steps", "student_codebooks"),
]
REPOSITORY = Path(__file__).parents[2]


def composed(*words, hydra=True):
    register()
    with initialize_config_module("sweeps.conf", version_base="1.3"):
        return compose("config", list(words), return_hydra_config=hydra)


def resolved(*words):
    return from_hydra(composed(*words, hydra=False))


def points(*words):
    """The words of each point that hydra's own sweeper makes of a command."""
    params = composed(*[word for word in words if word.startswith("+") or "=" not in word]).hydra.sweeper.params or {}
    parsed = OverridesParser.create().parse_overrides([*(f"{name}={values}" for name, values in params.items()), *words])
    (batch,) = BasicSweeper.split_arguments(parsed, None)
    return batch


def values(batch, name):
    """How often each value of a setting is among the points."""
    return Counter(word.partition("=")[2] for point in batch for word in point if word.startswith(f"{name}="))


@pytest.mark.parametrize("axis", AXES)
def test_each_value_of_an_axis_is_a_point_of_its_own(axis):
    batch = points(f"+ablation={axis}")
    assert len(batch) > 1
    assert len({key(resolved(*point)) for point in batch}) == len(batch)


def test_axes_are_multiplied_when_several_are_named():
    batch = points("+ablation=[codebook_blocks,seed]")
    assert len(batch) == 15
    assert values(batch, "seed") == {"0": 5, "1": 5, "2": 5}
    assert set(values(batch, "blocks.partition").values()) == {3}
    assert len({key(resolved(*point)) for point in batch}) == 15


def test_a_value_on_the_command_line_picks_one_point_of_an_axis():
    (point,) = points("+ablation=codebook_blocks", "blocks.partition=[4,4]")
    assert resolved(*point).blocks.partition == [4, 4]


def test_step_counts_are_scored_at_one_two_and_four_sampling_steps_whatever_the_profile():
    assert resolved("+profile=smoke", "+ablation=step_counts").evaluate.steps == [1, 2, 4]


def test_an_ablation_sweeps_without_the_flag_multirun():
    assert all(composed(f"+ablation={axis}").hydra.mode.name == "MULTIRUN" for axis in ("seed", "codebook_blocks"))


def test_the_teacher_axis_changes_the_target_and_not_the_first_weights():
    configs = [resolved(*point) for point in points("+ablation=teacher")]
    assert [(c.data.target, c.teacher.steps) for c in configs] == [("hr", 18), ("teacher", 2), ("teacher", 18), ("mix", 18)]
    assert {(c.init, c.teacher.name, c.teacher.checkpoint) for c in configs} == {("teacher", "latent", "shipped")}


# Presets


def test_the_preset_full_is_three_seeds_of_three_axes_on_nodes_of_two_gpus():
    batch = points("+preset=full")
    assert len(batch) == 36
    assert set(values(batch, "seed")) == {"0", "1", "2"}
    config = composed("+preset=full")
    assert (config.hydra.launcher.cluster, config.train.devices, config.network.width) == ("2x48gb", 2, 512)


def test_the_preset_smoke_has_the_axes_of_full_and_stays_on_this_machine():
    small, full = composed("+preset=smoke"), composed("+preset=full")
    assert list(small.hydra.sweeper.params) == list(full.hydra.sweeper.params)
    assert len(points("+preset=smoke")) == 16
    assert small.hydra.runtime.choices["hydra/launcher"] == "basic"
    assert small.train.steps <= 20


def test_the_preset_paper_compares_the_reference_with_our_student_of_its_size_on_as_many_crops():
    assert values(points("+preset=paper"), "system") == {"reference": 3, "student": 3}
    theirs, ours = (resolved("+preset=paper", f"system={name}") for name in ("reference", "student"))
    assert (theirs.codec.name, theirs.codec.bandwidth_kbps) == ("encodec_24khz", 24.0)
    assert (theirs.reference.width, theirs.reference.heads, theirs.reference.depth) == (256, 8, 6)
    assert (theirs.objective.name, theirs.train.optimiser, theirs.train.rate, theirs.train.batch) == ("token_ce", "adamw", 2e-4, 2)
    assert theirs.train.steps * theirs.train.batch == ours.train.steps * ours.train.batch == 32 * 33_236
    assert (ours.network.width, ours.network.heads, ours.network.depth) == (256, 8, 6)
    assert ours.blocks.partition == [1] * 32


def test_the_preset_paper_is_the_references_experiment_and_all_its_systems_have_one_target():
    systems = [resolved("+preset=paper", f"system={name}") for name in ("reference", "student", "teacher")]
    assert {c.data.target for c in systems} == {"teacher"}
    assert {(c.teacher.name, c.teacher.bw, c.teacher.codebooks, c.teacher.steps) for c in systems} == {("mbd", 3.0, 32, 20)}
    assert {(c.degradation.family, c.degradation.cutoff_hz, c.degradation.variants) for c in systems} == {("reference", 6000.0, 1)}
    assert systems[0].reference.feedforward == 4 * systems[0].reference.width == 1024
    assert [c.teacher.checkpoint for c in systems] == ["shipped", f"{systems[1].root}/teacher.safetensors", "shipped"]


def test_the_preset_paper_trains_on_the_originals_where_that_is_asked():
    for name in ("reference", "student", "teacher"):
        config = resolved("+preset=paper", f"system={name}", "data.target=hr", "teacher.name=latent")
        assert (config.data.target, config.teacher.name) == ("hr", "latent")


def test_the_teacher_of_the_preset_paper_can_start_its_student():
    teacher, student = (resolved("+preset=paper", f"system={name}") for name in ("teacher", "student"))
    assert (teacher.objective.name, teacher.blocks.partition, teacher.init) == ("diffusion", [], "none")
    assert teacher.network == student.network
    assert student.teacher.checkpoint == f"{student.root}/teacher.safetensors"


@pytest.mark.parametrize("preset", ["full", "paper"])
def test_a_launcher_on_the_command_line_outweighs_the_presets(preset):
    assert composed(f"+preset={preset}").hydra.runtime.choices["hydra/launcher"] == "slurm_sweep"
    for launcher in ("basic", "submitit_slurm"):
        assert composed(f"+preset={preset}", f"hydra/launcher={launcher}").hydra.runtime.choices["hydra/launcher"] == launcher


# What --help says


def test_every_ablation_is_introduced_by_the_question_that_it_answers():
    assert all(text.endswith("?") for text in options("ablation").values())


@pytest.mark.parametrize("group", [folder.name for folder in sorted(CONF.iterdir()) if folder.is_dir() and folder.name != "__pycache__"])
def test_every_option_of_every_group_is_explained_in_one_line(group):
    assert group in TITLES
    for name, text in options(group).items():
        assert 20 < len(text) < 145, f"{group}={name}: {text}"


def test_the_launchers_that_hydra_knows_are_explained():
    from hydra.core.config_store import ConfigStore

    composed()
    known = {name.removesuffix(".yaml") for name in ConfigStore.instance().list("hydra/launcher")}
    assert set(options("hydra/launcher")) == known


def test_every_field_is_explained_where_the_help_says():
    config = Config()
    for names, file in FIELDS.items():
        assert (REPOSITORY / file).is_file()
        for name in names.split(", "):
            if name.endswith(".*") and name != "hydra.launcher.*":
                stage = getattr(config, name.removesuffix(".*"))
                assert inspect.getsourcefile(type(stage)) == str(REPOSITORY / file)
                assert all(field in inspect.getdoc(type(stage)) for field in vars(stage))
            elif "." not in name:
                assert f"{name}:" in inspect.getdoc(Config)
    assert {name.split(".")[0] for names in FIELDS for name in names.split(", ")} - {"hydra"} == set(vars(config)) - {"debug"}
