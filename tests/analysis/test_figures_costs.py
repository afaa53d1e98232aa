from __future__ import annotations

import pytest
from synthetic_tree import config, means

from analysis import load
from analysis.costs import load_costs
from analysis.figures import draw, gpu_hours
from analysis.figures.hours import BARS
from analysis.figures.spec import SPECS


def point(tree, name, seed=0, hours=1.0, devices=1, weight=0.1, **more):
    settings = config(mr_stft=weight)
    settings["train"]["devices"] = devices
    rows = list(tree.rows(name, seed, "student", 1, {"lsd_hf": 1.0}))[:2]
    return tree.run(f"points/{name}-s{seed}", rows, settings, train_seconds=hours * 3600, **more)


def test_hours_are_training_time_times_devices_over_all_seeds(tree):
    point(tree, "a", 0, 1.0, devices=2, gpus=["g", "g"])
    point(tree, "a", 1, 1.5, devices=2, gpus=["g", "g"])
    point(tree, "b", 0, 2.0, gpus=["g"])
    drawn = draw(load(tree.root), "gpu_hours")
    dearest = [["ect devices 2", 5.0, 2, 5.0], ["ect", 2.0, 1, 7.0]]
    assert drawn.data[["label", "hours", "runs", "cumulative"]].to_numpy().tolist() == dearest
    assert drawn.figure.axes[0].get_title(loc="left") == "7 GPU-hours in 2 points"


def test_hours_without_a_gpu_are_named_cpu_hours(tree):
    point(tree, "a", hours=0.5)
    figure = gpu_hours(load_costs(load(tree.root)))
    assert figure.axes[0].get_xlabel() == "CPU-hours"
    assert "CPU-hours (0.5)" in figure._supxlabel.get_text()
    assert "GPU" not in figure._supxlabel.get_text()


def test_gpus_and_cpus_are_told_apart(tree):
    point(tree, "a", gpus=["g"])
    point(tree, "b", weight=0.3)
    (point(tree, "c", weight=0.5) / "provenance.json").unlink()
    figure, data = SPECS["gpu_hours"].pair(load_costs(load(tree.root)))
    assert set(data["kind"]) == {"GPU", "CPU", "device"}
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["GPU", "CPU", "device"]
    assert figure.axes[0].get_xlabel() == "Device-hours"


def test_failed_runs_have_cost_their_hours_too(tree):
    point(tree, "a", 0, 1.0)
    point(tree, "a", 1, 0.25, state="failed", error="out of memory")
    data = draw(load(tree.root), "gpu_hours").data
    assert data[["signature", "hours", "unfinished", "runs"]].to_numpy().tolist() == [["a", 1.25, 0.25, 2]]


def test_a_point_without_records_is_named_by_its_objective_and_signature(tree):
    point(tree, "a", 0, 1.0)
    point(tree, "bcdefghi", 0, 0.5, state="running")
    assert draw(load(tree.root), "gpu_hours").data["label"].to_list() == ["ect", "ect #bcdefg"]


def test_a_damaged_status_or_a_missing_number_is_left_out(tree):
    point(tree, "a")
    (point(tree, "b", weight=0.3) / "status.json").write_text("{")
    point(tree, "c", hours=0, weight=0.5)
    (point(tree, "d", weight=0.7) / "status.json").write_text('{"state": "done", "train_seconds": "long"}')
    assert load_costs(load(tree.root))["signature"].to_list() == ["a"]


def test_of_very_many_points_the_dearest_have_bars_and_all_are_in_the_sum(tree):
    for number in range(BARS + 5):
        point(tree, f"p{number}", hours=1 + number, weight=0.01 * (number + 1))
    figure, data = SPECS["gpu_hours"].pair(load_costs(load(tree.root)))
    assert len(data) == BARS + 5
    assert data["cumulative"].iloc[-1] == sum(1 + n for n in range(BARS + 5))
    assert len(figure.axes[0].patches) == BARS
    assert f"the {BARS} dearest of {BARS + 5} points" in figure._supxlabel.get_text()


def texts(drawn):
    return [t.get_text() for t in drawn.figure.axes[0].texts]


def test_the_results_table_prints_each_mean_with_its_interval(full):
    drawn = draw(load(full.root), "results_table")
    row = drawn.data[(drawn.data["system"] == "token_ce") & (drawn.data["metric"] == "lsd_hf")].iloc[0]
    shown = texts(drawn)
    assert f"{row['mean']:.2f}" in shown
    assert f"[{row['low']:.2f}, {row['high']:.2f}]" in shown
    assert shown.index("zero-order hold") > shown.index("regression, 1 step") > shown.index("student, 1 step")


def test_the_best_trained_system_is_bold_and_equals_as_printed_too(tree):
    for name, lsd_hf in (("student", 1.2001), ("regression", 1.2), ("token_ce", 1.5)):
        rows = tree.rows(name, 0, name, 1, means(lsd_hf, 15.0, 0.1), run_noise=0, noise=0)
        tree.run(f"points/{name}", rows, config())
    tree.run("baselines", tree.rows("b", 0, "codec_ceiling", 0, means(0.9, 15.0, 0.1)), config())
    drawn = draw(load(tree.root), "results_table")
    lsd_hf = drawn.data[drawn.data["metric"] == "lsd_hf"].set_index("system")
    printed = lsd_hf["mean"].map("{:.2f}".format)
    assert printed["student"] == printed["regression"]
    assert lsd_hf["best"].to_dict() == {"student": True, "regression": True, "token_ce": False, "codec_ceiling": False}


def test_metrics_without_records_have_no_column(tree):
    tree.run("points/a-s0", tree.rows("a", 0, "student", 1, {"lsd_hf": 1.0, "stoi": float("nan")}), config())
    shown = texts(draw(load(tree.root), "results_table"))
    assert "LSD-HF" in shown
    assert "SI-SDR" not in shown


@pytest.mark.parametrize("name", ["results_table", "gpu_hours"])
def test_nothing_to_print_is_a_reason(tree, name):
    tree.run("points/a-s0", tree.rows("a", 0, "student", 1, {"estoi": 1.0}), config())
    assert draw(load(tree.root), name).reason
