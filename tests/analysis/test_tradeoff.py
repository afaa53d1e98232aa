from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from synthetic_tree import config, means

from analysis import load
from analysis.figures import draw, save, tradeoff
from analysis.figures.tradeoff import NUMBERED, marks

POINTS = {  # name: (objective, MR-STFT weight, LSD-HF, SI-SDR, Frechet, HF bias); on LSD-HF x Frechet the front is ect, ect-m, rose
    "ect": ("ect", 0.0, 1.40, 18.0, 50.0, -3.0),
    "ect-m": ("ect", 0.1, 1.30, 19.0, 90.0, -2.0),
    "cd": ("cd", 0.0, 1.45, 17.0, 60.0, 2.5),
    "rose": ("rose", 0.0, 1.20, 21.0, 300.0, -6.0),
    "ct": ("ct", 0.0, 1.60, 15.0, 400.0, 0.5),
}


@pytest.fixture
def results(tree):
    for name, (objective, weight, lsd_hf, si_sdr, frechet, bias) in POINTS.items():
        for seed in range(3 if name != "cd" else 1):
            scores = means(lsd_hf, si_sdr, 0.1, frechet=frechet, hf_bias=bias)
            tree.run(f"points/{name}-s{seed}", tree.rows(name, seed, "student", 1, scores), config(objective, mr_stft=weight))
    rows = [*tree.rows("b", 0, "codec_ceiling", 0, means(1.1, 21.5, 0.1, frechet=40))]
    rows += tree.rows("b", 0, "degraded_codes", 0, means(1.9, 21.4, 0.1, frechet=900))
    rows += tree.rows("b", 0, "sinc", 0, means(5.0, 22.0, 0.1, frechet=9e4, hf_bias=-30), copies=(False,))
    tree.run("baselines", rows, config(mr_stft=0.0))
    return load(tree.root)


def _front(data, x, y):
    return set(data["signature"][data[f"front_{x}_{y}"]])


def test_the_pareto_front_of_each_panel_is_the_known_one(results):
    data = marks(results.table)
    assert _front(data, "lsd_hf", "frechet_hf") == {"ect", "ect-m", "rose"}
    assert _front(data, "si_sdr", "frechet_hf") == {"ect", "ect-m", "rose"}
    assert _front(data, "lsd_hf", "hf_bias") == {"ct", "ect-m", "rose"}


def test_references_are_drawn_beside_the_points_and_are_on_no_front(results):
    data = marks(results.table)
    references = data[data["reference"]]
    assert set(references["system"]) == {"codec_ceiling", "degraded_codes", "sinc"}
    assert not references.filter(like="front_").to_numpy().any()


def test_there_is_one_mark_a_point_filled_where_a_loss_was_on(results):
    figure, data = tradeoff(results.table), marks(results.table)
    assert sorted(data["signature"][~data["reference"]]) == sorted(POINTS)
    lines = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "")]
    ect = [line for line in lines if line.get_color() == "#0072B2"]
    assert {line.get_markerfacecolor() for line in ect} == {"white", "#0072B2"}
    filled = next(line for line in ect if line.get_markerfacecolor() != "white")
    assert filled.get_xdata()[0] == data.set_index("signature")["lsd_hf"]["ect-m"]


def test_objectives_differ_in_colour_and_in_shape(results):
    figure = tradeoff(results.table)
    handles = {t.get_text(): h for t, h in zip(figure.legends[0].get_texts(), figure.legends[0].legend_handles, strict=True)}
    looks = [(handles[name].get_color(), handles[name].get_marker()) for name in ("ect", "ct", "cd", "rose", "codec ceiling", "sinc")]
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 6


def test_the_key_names_what_differs(results):
    key = [t.get_text() for t in tradeoff(results.table).legends[1].get_texts()]
    assert {text.split("  ")[1] for text in key} == {"ect", "ect mr_stft 0.1", "cd", "rose", "ct"}


def test_bars_are_drawn_for_points_with_three_seeds_alone(results):
    figure, data = tradeoff(results.table), marks(results.table)
    bars = [segment for collection in figure.axes[0].collections for segment in collection.get_segments()]
    assert len(bars) == 2 * (len(POINTS) - 1)
    assert data.set_index("signature")["seeds"]["cd"] == 1


def test_bars_are_the_t_interval_of_the_runs_means(results):
    rows = results.table[(results.table["signature"] == "ect") & (results.table["metric"] == "lsd_hf") & results.table["low_band_copy"]]
    runs = rows.groupby("seed")["value"].mean().to_numpy()
    row = marks(results.table).set_index("signature").loc["ect"]
    half = scipy_stats.t.ppf(0.975, 2) * runs.std(ddof=1) / np.sqrt(3)
    assert (row["lsd_hf"], row["lsd_hf_high"]) == pytest.approx((runs.mean(), runs.mean() + half))


def test_left_is_better_in_every_panel_and_frechet_is_on_a_log_axis(results):
    axes = tradeoff(results.table).axes
    assert [axis.get_xlabel().split(" (")[0] for axis in axes] == ["LSD-HF", "SI-SDR", "LSD-HF", "SI-SDR"]
    assert [axis.xaxis_inverted() for axis in axes] == [False, True, False, True]
    assert [axis.get_yscale() for axis in axes] == ["log", "log", "linear", "linear"]


def test_a_reference_that_would_squeeze_the_points_is_named_instead(results):
    axis = tradeoff(results.table).axes[0]
    assert any("off scale" in t.get_text() and "sinc\u00a0(" in t.get_text() for t in axis.texts)
    assert axis.get_xlim()[1] < 3


def test_of_a_large_sweep_the_front_and_each_objectives_best_are_named(results, tree):
    generator = np.random.default_rng(0)
    for number in range(NUMBERED + 5):
        scores = means(1.7 + 0.01 * number, 14 - generator.uniform(), 0.1, frechet=500 + number, hf_bias=-9 - 0.1 * number)
        rows = tree.rows(f"x{number}", 0, "student", 1, scores, run_noise=0)
        tree.run(f"points/x{number}-s0", rows, config("pairs", mr_stft=0.01 * number))
    data = marks(load(tree.root).table).set_index("signature")
    assert (data["number"] > 0).sum() < NUMBERED
    assert (data.loc[["ect", "ect-m", "rose", "ct", "cd", "x0"], "number"] > 0).all()


def test_the_figure_is_saved_with_its_table(results, tmp_path):
    drawn = draw(results, "tradeoff")
    pdf, png, csv = save(drawn, tmp_path)
    assert pdf.suffix + png.suffix == ".pdf.png"
    table = pd.read_csv(csv)
    assert len(table) == len(POINTS) + 3
    assert {"label", "losses", "frechet_hf_low", "front_lsd_hf_frechet_hf"} <= set(table.columns)


def test_a_sweep_without_the_bias_has_the_other_panels(results):
    table = results.table[results.table["metric"] != "hf_bias"]
    assert len(tradeoff(table).axes) == 2
