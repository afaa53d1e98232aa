from __future__ import annotations

import pandas as pd
import pytest
from synthetic_tree import Tree, config, means

from analysis import load
from analysis.choose import choose_student
from analysis.figures import NAMES, NotDrawn, draw, metric_by_blocks, metric_by_loss_weight, metric_by_steps, quality_vs_speed, save
from analysis.figures.__main__ import main
from analysis.figures.quality import pareto


@pytest.fixture(scope="module")
def results(full):
    return load(full.root)


def _texts(figure):
    return [t.get_text() for axis in figure.axes for t in axis.texts]


def test_every_figure_of_a_whole_sweep_is_drawn(results):
    assert {name: draw(results, name).reason for name in NAMES} == dict.fromkeys(NAMES, "")


def test_a_figure_is_saved_as_pdf_png_and_the_table_behind_it(results, tmp_path):
    drawn = draw(results, "metric_by_blocks")
    pdf, png, csv = save(drawn, tmp_path)
    assert pdf.read_bytes()[:4] == b"%PDF"
    assert png.read_bytes()[1:4] == b"PNG"
    assert len(pd.read_csv(csv)) == len(drawn.data) == 6


def test_the_same_records_give_the_same_image(results, tmp_path):
    first, again = (save(draw(results, "quality_vs_speed"), tmp_path / n)[1].read_bytes() for n in "ab")
    assert first == again


def test_drawing_leaves_the_table_as_it_was(results):
    before = results.table.copy()
    for name in NAMES:
        draw(results, name)
    pd.testing.assert_frame_equal(results.table, before)


def test_by_blocks_finds_the_effect_of_the_partition(results):
    data = metric_by_blocks(results.table)[1]
    level = data[data["metric"] == "lsd_hf"].set_index("config.blocks.partition")["mean"]
    assert level["[8]"] - level["[4, 4]"] == pytest.approx(0.25, abs=0.05)
    assert level["[1, 1, 2, 4]"] == pytest.approx(level["[4, 4]"], abs=0.05)


@pytest.mark.parametrize("figure", [metric_by_blocks, metric_by_loss_weight, metric_by_steps])
def test_sinc_and_codec_ceiling_stand_beside_every_quality_axis(results, figure):
    for axis in figure(results.table)[0].axes:
        named = " ".join(t.get_text() for t in axis.texts)
        assert "sinc" in named
        assert "codec ceiling" in named


def test_the_pareto_front_holds_what_no_system_beats(results):
    data = quality_vs_speed(results.table)[1]
    front = set(data[data["lsd_hf_pareto"]]["system"].astype(str))
    assert {"zero_order_hold", "student", "teacher"} <= front
    assert not front & {"token_ce", "sinc", "codec_ceiling"}


def test_steps_are_drawn_by_objective_where_it_varies(tree):
    for name in ("ect", "cd"):
        rows = [r for n in (1, 2) for r in tree.rows(name, 0, "student", n, means(1.0, 15.0, 0.1))]
        tree.run(f"points/{name}-s0", rows, config(name))
    assert set(metric_by_steps(load(tree.root).table)[1]["config.objective.name"]) == {"ect", "cd"}


def test_the_loss_of_every_objective_has_a_panel(tree):
    names = ("ect", "ct", "cd", "rose", "pairs")
    for name in names:
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1)), config(name), curve=True)
    shown = [axis.get_title(loc="left") for axis in draw(load(tree.root), "training_loss").figure.axes if axis.get_visible()]
    assert sorted(shown) == sorted(f"{name} (1 run)" for name in names)


def test_of_several_loss_weights_the_one_with_most_levels_is_drawn(tree):
    for name, settings in (("a", {}), ("b", {"auto": {"si_sdr": 0.1}}), ("c", {"auto": {"si_sdr": 0.3}}), ("d", {"mr_stft": 0.5})):
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1)), config(**settings))
    figure, data = metric_by_loss_weight(load(tree.root).table)
    assert figure.axes[0].get_xlabel() == "Calibrated share of the si_sdr term"
    assert sorted(set(data["config.losses.auto.si_sdr"])) == [0.0, 0.1, 0.3]


def test_the_codec_ceiling_never_takes_part_in_the_pareto_front():
    data = pd.DataFrame({"system": ["codec_ceiling", "student"], "time_total": [0.1, 0.2], "lsd_hf": [0.5, 1.0]})
    assert list(pareto(data, "time_total", "lsd_hf")) == [False, True]


def test_an_axis_that_does_not_vary_is_skipped_with_its_reason(tree):
    tree.run("points/a-s0", tree.rows("a", 0, "student", 1, means(1.0, 15.0, 0.1)), config())
    results = load(tree.root)
    reasons = {name: draw(results, name).reason for name in NAMES}
    assert "blocks.partition does not vary" in reasons["metric_by_blocks"]
    assert "no loss weight varies" in reasons["metric_by_loss_weight"]
    assert "one step count" in reasons["metric_by_steps"]
    assert "fewer than two systems" in reasons["quality_vs_speed"]
    assert "fewer than two points" in reasons["tradeoff"]
    assert "no utterance has samples" in reasons["spectrogram_grid"]
    assert "scalars.csv" in reasons["training_loss"]


def test_a_metric_that_is_nan_everywhere_is_a_reason_not_an_empty_plot(tree):
    nowhere = float("nan")
    for name, partition in (("a", (8,)), ("b", (4, 4))):
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, {"lsd_hf": nowhere}), config(partition=partition))
    with pytest.raises(NotDrawn, match="no record of lsd_hf"):
        metric_by_blocks(load(tree.root).table)


def test_names_with_unicode_and_mathematics_are_drawn_as_they_are(tmp_path):
    tree = Tree(tmp_path / "試験 $x_1$")
    for name, partition in (("größe $^", (8,)), ("β", (4, 4))):
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1)), config(partition=partition))
    assert save(draw(load(tree.root), "metric_by_blocks"), tmp_path / "out")


def test_the_student_of_a_sweep_around_a_centre_is_its_centre(tree):
    for name, partition, weight in (("a", (8,), 1.0), ("b", (8,), 0.5), ("c", (4, 4), 1.0)):
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1)), config(partition=partition, mr_stft=weight))
    chosen = choose_student(load(tree.root).table)
    assert (chosen.signature, chosen.on_test) == ("a", False)


def test_the_student_of_a_full_grid_is_the_best_one_and_that_is_said(results):
    chosen = choose_student(results.table)
    assert chosen.signature in ("ect-4-4-1.0", "ect-1-1-2-4-1.0")
    assert chosen.on_test


def test_the_command_draws_one_figure_and_names_its_file(full, tmp_path, capsys):
    assert main([str(full.root), "-o", str(tmp_path), "--only", "metric_by_steps"]) == 0
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".pdf", ".png"]
    assert "metric_by_steps.png" in capsys.readouterr().out


def test_an_unknown_figure_is_answered_with_the_names_there_are(full, tmp_path, capsys):
    assert main([str(full.root), "-o", str(tmp_path), "--only", "pie"]) == 1
    assert "quality_vs_speed" in capsys.readouterr().err
