from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic_tree import Tree, config, means

import analysis.figures
from analysis import load
from analysis.figures import NAMES, NotDrawn, draw, metric_by_axis, metric_by_blocks, save
from analysis.figures.__main__ import main
from analysis.figures.quality import pareto
from analysis.figures.spec import SPECS


@pytest.fixture(scope="module")
def results(full):
    return load(full.root)


@pytest.fixture(scope="module")
def drawn(results):
    before = results.table.copy()
    every = {name: draw(results, name) for name in NAMES}
    pd.testing.assert_frame_equal(results.table, before)  # drawing leaves the table as it was
    return every


def one_point(tree, **settings):
    tree.run("points/a-s0", tree.rows("a", 0, "student", 1, means(1.0, 15.0, 0.1)), config(**settings))
    return load(tree.root)


def test_every_figure_of_a_whole_sweep_is_drawn_or_says_what_to_do(drawn):
    reasons = {name: d.reason for name, d in drawn.items() if d.reason}
    assert set(reasons) == {"metric_by_discretisation", "metric_by_teacher_steps", "metric_by_cutoff"}
    assert all("sweep +ablation=" in reason or "evaluate with" in reason for reason in reasons.values())


def test_every_figure_is_a_documented_function_of_one_table_that_returns_a_figure(results):
    assert set(SPECS) == set(NAMES)
    for name in NAMES:
        function = getattr(analysis.figures, name)
        assert inspect.signature(function).return_annotation == "Figure"
        assert "Args:" in function.__doc__
    assert isinstance(metric_by_blocks(results.table), Figure)


def test_the_student_is_the_point_that_the_sweeps_author_named(tree):
    for name, partition in (("best", (8,)), ("named", (4, 4))):
        level = 1.0 + 0.3 * (name == "named")
        rows = [*tree.rows(name, 0, "student", 1, means(level, 15.0, 0.1)), *tree.rows(name, 0, "sinc", 0, means(5.0, 19.0, 0.1))]
        tree.run(f"points/{name}-s0", rows, config(partition=partition), curve=level, samples=[("ground_truth", 1), ("student", 0.7)])
    (tree.root / "report.json").write_text('{"student": "named"}')
    results = load(tree.root)
    data = {name: draw(results, name).data for name in ("results_table", "learning_curves", "spectrogram_grid")}
    table, curves = data["results_table"], data["learning_curves"]
    assert set(table["signature"][table["system"] == "student"].astype(str)) == {"named"}
    assert curves.groupby("signature")["role"].first().to_dict() == {"best": "best", "named": "chosen"}
    assert set(data["spectrogram_grid"]["run"]) == {"points/named-s0"}


def test_any_configuration_column_can_be_an_axis(results):
    figure = metric_by_axis(results.table, "config.losses.mr_stft", label="Weight")
    assert [axis.get_xlabel() for axis in figure.axes] == ["Weight", "Weight"]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["0.5", "1"]


def test_every_figure_is_saved_as_pdf_png_and_the_table_behind_it(drawn, tmp_path):
    shown = [d for d in drawn.values() if d.figure]
    for one in shown:
        pdf, png, csv = save(one, tmp_path)
        assert pdf.read_bytes()[:4] == b"%PDF"
        assert png.read_bytes()[1:4] == b"PNG"
        assert len(pd.read_csv(csv)) == len(one.data) > 0
    assert len(list(tmp_path.iterdir())) == 3 * len(shown) == 3 * (len(NAMES) - 3)


@pytest.mark.parametrize("name", ["quality_vs_speed", "metric_by_speaker", "results_table"])
def test_the_same_records_give_the_same_bytes(results, drawn, tmp_path, name):
    first, again = save(drawn[name], tmp_path / "a"), save(draw(results, name), tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_every_figure_fits_the_page_and_the_palette_has_no_two_equal_looks(drawn):
    assert {round(d.figure.get_figwidth(), 1) for d in drawn.values() if d.figure} == {7.2}
    looks = analysis.figures.style.COLOURS
    assert len(set(looks.values())) == len(looks)
    assert len(set(analysis.figures.style.MARKERS.values())) == len(analysis.figures.style.MARKERS)


def test_by_blocks_finds_the_effect_of_the_partition(drawn):
    data = drawn["metric_by_blocks"].data
    level = data[data["metric"] == "lsd_hf"].set_index("config.blocks.partition")["mean"]
    assert level["[8]"] - level["[4, 4]"] == pytest.approx(0.25, abs=0.05)
    assert level["[1, 1, 2, 4]"] == pytest.approx(level["[4, 4]"], abs=0.05)


@pytest.mark.parametrize("name", ["metric_by_blocks", "metric_by_loss_weight", "metric_by_steps"])
def test_sinc_and_codec_ceiling_stand_beside_every_quality_axis(drawn, name):
    for axis in drawn[name].figure.axes:
        named = " ".join(t.get_text() for t in axis.texts)
        assert "sinc" in named
        assert "codec ceiling" in named


def test_the_pareto_front_holds_what_no_system_beats(drawn):
    data = drawn["quality_vs_speed"].data
    front = set(data[data["lsd_hf_pareto"]]["system"].astype(str))
    assert {"zero_order_hold", "student", "teacher"} <= front
    assert not front & {"token_ce", "sinc", "codec_ceiling"}


def test_the_pareto_front_is_what_comparing_every_pair_gives():
    values = np.random.default_rng(0).integers(0, 12, (80, 2)).astype(float)  # with equals
    data = pd.DataFrame({"system": "student", "time_total": values[:, 0], "lsd_hf": values[:, 1]})
    data.loc[5, "lsd_hf"] = np.nan
    beaten = [any((o <= v).all() and (o < v).any() for o in data[["time_total", "lsd_hf"]].dropna().to_numpy()) for v in values]
    expected = ~np.array(beaten) & data["lsd_hf"].notna().to_numpy()
    assert 1 < expected.sum() < 20
    assert list(pareto(data, "time_total", "lsd_hf")) == list(expected)


def test_what_takes_no_time_stands_left_of_all_others_and_is_labelled(tree):
    for system, seconds in (("sinc", 0.0), ("student", 0.1), ("regression", 0.2)):
        rows = tree.rows(system, 0, system, 1, means(1.0, 15.0, seconds), noise=0, run_noise=0)
        rows = [[*r[:8], seconds, *r[9:]] if r[7] == "time_total" else r for r in rows]
        tree.run(f"points/{system}-s0", rows, config())
    drawn = draw(load(tree.root), "quality_vs_speed")
    assert drawn.data.set_index("system")["time_total"].to_dict() == pytest.approx({"sinc": 0.0, "student": 0.1, "regression": 0.2})
    assert any(t.get_text().endswith("(0 s)") for t in drawn.figure.axes[0].texts)
    assert drawn.figure.axes[0].get_xlim()[0] < 0.025


def test_the_codec_ceiling_never_takes_part_in_the_pareto_front():
    data = pd.DataFrame({"system": ["codec_ceiling", "student"], "time_total": [0.1, 0.2], "lsd_hf": [0.5, 1.0]})
    assert list(pareto(data, "time_total", "lsd_hf")) == [False, True]


def test_steps_are_drawn_by_objective_where_it_varies(tree):
    for name in ("ect", "cd"):
        rows = [r for n in (1, 2) for r in tree.rows(name, 0, "student", n, means(1.0, 15.0, 0.1))]
        tree.run(f"points/{name}-s0", rows, config(name))
    assert set(draw(load(tree.root), "metric_by_steps").data["config.objective.name"]) == {"ect", "cd"}


def test_of_several_loss_weights_the_one_with_most_levels_is_drawn(tree):
    for name, settings in (("a", {}), ("b", {"auto": {"si_sdr": 0.1}}), ("c", {"auto": {"si_sdr": 0.3}}), ("d", {"mr_stft": 0.5})):
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1)), config(**settings))
    drawn = draw(load(tree.root), "metric_by_loss_weight")
    assert drawn.figure.axes[0].get_xlabel() == "Calibrated share of the si_sdr term"
    assert sorted(set(drawn.data["config.losses.auto.si_sdr"])) == [0.0, 0.1, 0.3]


def test_what_has_nothing_to_show_is_skipped_with_its_reason(tree):
    results = one_point(tree)
    reasons = {name: draw(results, name).reason for name in NAMES}
    parts = {
        "metric_by_blocks": "blocks.partition does not vary", "metric_by_loss_weight": "no loss weight varies",
        "metric_by_steps": "one step count", "quality_vs_speed": "fewer than two systems", "tradeoff": "fewer than two points",
        "spectrogram_grid": "samples of two or more", "training_loss": "scalars.csv", "learning_curves": "scalars.csv",
        "metric_by_discretisation": "two discretisations", "metric_by_teacher_steps": "neither the teacher's steps",
        "lsd_over_frequency": "LSD in bands", "metric_by_cutoff": "evaluate.variant=1", "metric_by_speaker": "no system to compare",
        "gpu_hours": "train_seconds", "axis_effects": "no axis has two levels", "interaction_heatmap": "no two axes",
    }  # fmt: skip
    assert {name for name, reason in reasons.items() if reason} == set(parts)
    assert {name: reasons[name] for name, part in parts.items() if part not in reasons[name]} == {}


def test_a_metric_that_is_nan_everywhere_is_a_reason_not_an_empty_plot(tree):
    for name, partition in (("a", (8,)), ("b", (4, 4))):
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, {"lsd_hf": float("nan")}), config(partition=partition))
    results = load(tree.root)
    with pytest.raises(NotDrawn, match="no record of lsd_hf"):
        metric_by_blocks(results.table)
    assert [name for name in NAMES if not draw(results, name).reason] == []


def test_a_sweep_of_one_seed_and_one_speaker_is_drawn_as_far_as_it_goes(tmp_path):
    tree = Tree(tmp_path / "runs", speakers=1)
    for name, partition in (("a", (8,)), ("b", (4, 4))):
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1)), config(partition=partition))
    results = load(tree.root)
    shown = {name for name in NAMES if save(draw(results, name), tmp_path / "out")}
    assert shown >= {"results_table", "tradeoff", "axis_effects", "metric_by_blocks", "per_sample", "worst_clips"}
    assert "fewer than two test speakers" in draw(results, "metric_by_speaker").reason


def test_names_with_unicode_and_mathematics_are_drawn_as_they_are(tmp_path):
    tree = Tree(tmp_path / "試験 $x_1$")
    tree.utterances = lambda: [(f"Sprecherin Ä{s} $", f"ütt {s}-{u} $x_1$ 試") for s in range(3) for u in range(2)]
    for name, partition in (("größe $^", (8,)), ("β", (4, 4))):
        rows = [*tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1)), *tree.rows(name, 0, "sinc", 0, means(5.0, 19.0, 0.1))]
        tree.run(f"points/{name}-s0", rows, config(partition=partition), curve=1.2, train_seconds=60)
    results = load(tree.root)
    for name in ("metric_by_blocks", "metric_by_speaker", "worst_clips", "learning_curves", "gpu_hours"):
        assert save(draw(results, name), tmp_path / "out")
    assert set(draw(results, "worst_clips").data["utterance"]) == {utterance for _, utterance in tree.utterances()}


def test_the_command_draws_one_figure_and_names_its_file(full, tmp_path, capsys):
    assert main([str(full.root), "-o", str(tmp_path), "--only", "metric_by_steps"]) == 0
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".pdf", ".png"]
    assert "metric_by_steps.png" in capsys.readouterr().out


def test_an_unknown_figure_is_answered_with_the_names_there_are_before_anything_is_read(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere"), "-o", str(tmp_path), "--only", "pie"]) == 1
    assert "quality_vs_speed" in capsys.readouterr().err
