from __future__ import annotations

import pytest
from synthetic_tree import config, means

from analysis import load
from analysis.choose import choose_student, headline_steps, system_points
from analysis.points import headline_points, points, readable


def _point(tree, name, settings, system="student", steps=(1,), level=1.3, seeds=(0,)):
    for seed in seeds:
        rows = [r for n in steps for r in tree.rows(name, seed, system, n, means(level, 20.0, 0.1))]
        tree.run(f"points/{name}-s{seed}", rows, settings)


@pytest.fixture
def sweep(tree):
    """Write one student of each objective, variations of ect, and the systems beside them."""
    for name, own in (("ect", {"stages": 8}), ("ct", {"n": 36}), ("cd", {"n": 36, "target_ema": 0.95}), ("rose", {"n": 30}), ("pairs", {})):
        _point(tree, name, config(name, mr_stft=0.0, **own))
    _point(tree, "ect-2", config("ect", mr_stft=0.0, stages=2), level=1.2)
    _point(tree, "ect-m", config("ect", mr_stft=0.1, stages=8), level=1.4)
    _point(tree, "ect-a", config("ect", mr_stft=0.0, stages=8, auto={"si_sdr": 0.3}))
    _point(tree, "ect-b", config("ect", partition=(8,), mr_stft=0.0, stages=8))
    _point(tree, "cd-20", config("cd", mr_stft=0.0, n=18, target_ema=0.95))
    _point(tree, "cd-18", config("cd", mr_stft=0.0, n=36, target_ema=0.0))
    _point(tree, "reg", config("regression", mr_stft=0.0), "regression")
    _point(tree, "reg-m", config("regression", mr_stft=0.1), "regression")
    _point(tree, "diff", config("diffusion", mr_stft=0.0), "teacher", steps=(18,))
    tree.run("teachers/t", tree.rows("t", 0, "teacher", 18, means(1.3, 20.0, 0.9)), config("ect", mr_stft=0.1))
    tree.run("baselines", tree.rows("b", 0, "codec_ceiling", 0, means(1.2, 21.0, 0.1)), config("ect", mr_stft=0.1))
    return load(tree.root)


def test_points_are_named_by_their_objective_and_what_differs(sweep):
    names = points(sweep.table).drop_duplicates("signature").set_index("signature")["label"].to_dict()
    assert names == {
        "ect": "ect", "ct": "ct", "cd": "cd", "rose": "rose", "pairs": "pairs", "ect-2": "ect stages 2", "ect-m": "ect mr_stft 0.1",
        "ect-a": "ect si_sdr auto 0.3", "ect-b": "ect one block", "cd-20": "cd n 18", "cd-18": "cd target_ema 0",
        "reg": "regression", "reg-m": "regression mr_stft 0.1", "diff": "diffusion #diff", "t": "diffusion #t", "b": "codec ceiling",
    }  # fmt: skip


def test_the_losses_of_a_point_are_its_own_and_baselines_have_none(sweep):
    losses = points(sweep.table).drop_duplicates("signature").set_index("signature")["losses"]
    assert losses[losses != ""].to_dict() == {"ect-m": "mr_stft 0.1", "ect-a": "si_sdr 0.3", "reg-m": "mr_stft 0.1"}


def test_points_are_sorted_by_lsd_hf(sweep):
    table = readable(headline_points(sweep.table))
    assert table["point"].iloc[0] == "ect stages 2"
    assert table["point"].iloc[-1] == "ect mr_stft 0.1"
    assert "codec ceiling" not in set(table["point"])


def test_a_point_has_its_means_over_seeds_and_both_times(tree):
    _point(tree, "a", config(), seeds=(0, 1, 2))
    row = headline_points(load(tree.root).table).iloc[0]
    assert row["seeds"] == 3
    assert row["lsd_hf"] == pytest.approx(1.3, abs=0.2)
    assert row["time_network"] < row["time_total"]
    assert row["frechet_hf_low"] < row["frechet_hf"] < row["frechet_hf_high"]


def test_students_of_every_objective_take_part_in_the_choice_of_the_centre(sweep):
    chosen = choose_student(sweep.table)
    assert (chosen.signature, chosen.on_test) == ("ect-2", True)  # no single value of n is most frequent: the best stands for all


def test_the_rival_nearest_the_student_is_chosen_by_its_losses_and_not_by_the_objective(sweep):
    assert system_points(sweep.table, "ect-m")["regression"] == "reg-m"
    assert system_points(sweep.table, "cd-20")["regression"] == "reg"


def test_of_several_teachers_the_students_own_stands_for_the_teacher(tree):
    for name in ("t1", "t2"):
        own = config() | {"teacher": {"checkpoint": name}}
        tree.run(f"teachers/{name}", tree.rows(name, 0, "teacher", 18, means(1.3, 20.0, 0.9)), own | {"init": "none", "jobs": 2})
        _point(tree, f"s-{name}", own)
    table = load(tree.root).table
    assert [system_points(table, f"s-{name}")["teacher"] for name in ("t1", "t2")] == ["t1", "t2"]


def test_a_flow_model_is_shown_at_its_most_steps_and_a_student_at_one(tree):
    _point(tree, "s", config("ect"), steps=(1, 2, 4))
    _point(tree, "f", config("flow"), "teacher", steps=(1, 4, 32))
    table = load(tree.root).table
    flow = table.assign(system=table["system"].astype(str).replace("teacher", "flow"))
    assert dict(zip(*headline_steps(flow)[["system", "steps"]].drop_duplicates().T.to_numpy(), strict=True)) == {"student": 1, "flow": 32}
    assert set(headline_points(flow)["label"]) == {"ect", "flow"}


def test_settings_that_change_no_result_are_no_difference(tree):
    for name, jobs in (("a", 1), ("b", 2)):
        _point(tree, name, config() | {"jobs": jobs, "root": f"runs/{name}"})
    assert set(points(load(tree.root).table)["label"]) == {"ect #a", "ect #b"}
