from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_tree import config, means

import analysis.curves
from analysis import load
from analysis.curves import POINTS, load_curves
from analysis.figures import draw, learning_curves, training_loss
from analysis.figures.curves import LINES, ROWS, SHOWN
from analysis.figures.spec import SPECS


def scalars(runs, name="total", steps=10, objective="ect"):
    """Return the curves of runs, a name and a level each, in the form of `load_curves`."""
    rows = [
        {"run": f"{point}-s{seed}", "signature": point, "seed": seed, "step": step, "name": name, "value": level + 1 / (1 + step)}
        for (point, seed), level in runs.items() for step in range(steps)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    there = frame["signature"].nunique()
    return frame.assign(objective=objective, label=frame["signature"], role="", points=there, runs=len(runs))


def data_of(figure, table):
    return SPECS[figure].pair(table)[1]


def test_the_loss_of_every_objective_has_a_panel(tree):
    names = ("ect", "ct", "cd", "rose", "pairs")
    for name in names:
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, {"lsd_hf": 1.0}), config(name), curve=True)
    shown = [axis.get_title(loc="left") for axis in draw(load(tree.root), "training_loss").figure.axes if axis.get_visible()]
    assert sorted(shown) == sorted(f"{name} (1 run)" for name in names)


def test_of_very_many_runs_some_are_drawn_from_the_lowest_to_the_highest_and_that_is_said():
    table = scalars({(f"p{i}", 0): i for i in range(300)})
    figure = training_loss(table)
    assert len(figure.axes[0].lines) == LINES
    assert figure.axes[0].get_title(loc="left") == "ect (24 of 300 runs)"
    assert "some" in figure._supxlabel.get_text()
    assert {"p0-s0", "p299-s0"} <= set(data_of("training_loss", table)["run"])


def test_a_long_curve_is_thinned_and_keeps_its_last_value():
    table = scalars({("p", 0): 1.0}, steps=10_000)
    drawn = data_of("training_loss", table)
    assert ROWS / 2 < len(drawn) <= ROWS
    assert drawn["step"].max() == 9_999


def test_learning_curves_are_the_mean_over_seeds_with_its_spread():
    table = scalars({("p", 0): 1.0, ("p", 1): 1.2, ("q", 0): 2.0}, name="valid/lsd_hf")
    last = data_of("learning_curves", table).query("step == 9").set_index("signature")
    assert list(last.loc["p", ["mean", "low", "high", "seeds"]]) == pytest.approx([1.2, 1.1, 1.3, 2])
    assert last.loc["q", "seeds"] == 1


def test_of_many_points_the_chosen_the_best_and_few_others_have_a_line_the_rest_a_band():
    table = scalars({(f"p{i}", 0): i for i in range(40)}, name="valid/lsd_hf")
    table["role"] = table["signature"].map({"p7": "chosen", "p0": "best"}).fillna("")
    figure, data = SPECS["learning_curves"].pair(table)
    drawn = set(data.loc[data["drawn"], "signature"])
    assert len(drawn) == len(figure.axes[0].lines) == SHOWN
    assert {"p0", "p7", "p1", "p39"} <= drawn
    assert "32 other points" in figure._supxlabel.get_text()
    assert {"p7 (chosen)", "p0 (best student)"} <= {t.get_text() for t in figure.axes[0].texts}


def test_two_validation_metrics_have_two_panels_and_one_key():
    table = pd.concat([scalars({("p", 0): 1.0, ("q", 0): 2.0}, name=f"valid/{m}") for m in ("lsd_hf", "si_sdr", "mr_stft")])
    figure = learning_curves(table)
    assert [axis.get_ylabel() for axis in figure.axes] == ["LSD-HF (↓ better)", "SI-SDR (dB, ↑ better)"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["1  q", "2  p"]
    assert [sorted(t.get_text() for t in axis.texts) for axis in figure.axes] == [["1", "2"], ["1", "2"]]


def test_without_validation_the_loss_of_the_chosen_points_objective_is_shown():
    table = pd.concat([scalars({("p", 0): 1.0}, objective="ect"), scalars({("q", 0): 9.0, ("r", 0): 8.0}, objective="cd")])
    table["role"] = table["signature"].map({"p": "chosen"}).fillna("")
    figure, data = SPECS["learning_curves"].pair(table)
    assert set(data["signature"]) == {"p"}
    assert "train.validate_every=0" in figure._supxlabel.get_text()


def test_curves_come_with_the_names_and_the_roles_of_their_points(full):
    curves = load_curves(load(full.root)).drop_duplicates("signature").set_index("signature")
    assert curves["label"]["ect-8-0.5"] == "ect one block mr_stft 0.5"
    assert list(curves.index[curves["role"] != ""]) in (["ect-4-4-1.0"], ["ect-1-1-2-4-1.0"])
    assert (curves["points"] == 8).all()
    assert curves["runs"].to_dict()["tce"] == 3


def test_the_learning_curve_of_a_whole_sweep_ends_at_each_points_known_level(full):
    data = draw(load(full.root), "learning_curves").data
    last = data[data["step"] == data["step"].max()].set_index("signature")
    assert last["mean"]["ect-8-1.0"] - last["mean"]["ect-4-4-1.0"] == pytest.approx(0.25, abs=1e-5)
    assert (last["high"] - last["low"]).to_numpy() == pytest.approx(0.02, abs=1e-5)


@pytest.fixture
def sweep(tree):
    for number in range(POINTS + 15):
        rows = tree.rows(f"p{number:02d}", 0, "student", 1, {"lsd_hf": 1.0 + 0.01 * number}, run_noise=0)
        tree.run(f"points/p{number:02d}-s0", list(rows)[:2], config(mr_stft=0.01 * number), curve=1.0 + 0.01 * number)
    return load(tree.root)


def test_of_a_large_sweep_a_spread_sample_is_read_and_that_is_said(sweep):
    curves = load_curves(sweep)
    read = sorted(set(curves["signature"]))
    assert POINTS - 2 <= len(read) <= POINTS
    assert {"p00", "p54"} <= set(read)
    assert np.diff([int(name[1:]) for name in read]).max() <= 3
    assert f"{len(read)} of {POINTS + 15} points were read" in draw(sweep, "learning_curves").figure._supxlabel.get_text()


def test_what_is_read_is_bounded_and_the_chosen_point_is_always_read(sweep, monkeypatch):
    monkeypatch.setattr(analysis.curves, "BYTES", 5_000)
    curves = load_curves(sweep)
    assert 1 < curves["signature"].nunique() < 6
    assert "chosen" in set(curves["role"])
    monkeypatch.setattr(analysis.curves, "BYTES", 1)
    assert load_curves(sweep)["signature"].nunique() == 1


def test_a_run_whose_config_names_no_objective_has_its_curve_all_the_same(tree):
    tree.run("points/a-s0", tree.rows("a", 0, "student", 1, {"lsd_hf": 1.0}), config(), curve=1.0)
    tree.run("points/b-s0", tree.rows("b", 0, "student", 1, {"lsd_hf": 1.0}), {}, curve=1.0)
    assert load_curves(load(tree.root)).groupby("signature")["objective"].first().to_dict() == {"a": "ect", "b": "training"}
    assert draw(load(tree.root), "training_loss").figure


def test_a_run_that_has_not_finished_has_its_curve_all_the_same(tree):
    tree.run("points/a-s0", tree.rows("a", 0, "student", 1, means(1.0, 15.0, 0.1)), config(), curve=1.0)
    tree.run("points/b-s0", tree.rows("b", 0, "student", 1, means(1.0, 15.0, 0.1)), config(), curve=1.5, state="running")
    folder = tree.run("points/c-s0", tree.rows("c", 0, "student", 1, means(1.0, 15.0, 0.1)), config(), curve=1.5)
    (folder / "scalars.csv").write_bytes(b"\x00\xff")
    curves = load_curves(load(tree.root))
    assert curves.groupby("signature")["label"].first().to_dict() == {"a": "ect #a", "b": "ect #b"}
    assert draw(load(tree.root), "learning_curves").figure
