from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from analysis.figures.style import end_labels, footnote, panels, paper, plain_log, shortened, spread


@pytest.mark.parametrize(
    ("values", "moved"),
    [
        ([0.0, 1.0], [0.0, 1.0]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.55, 0.5, 0.52], [0.6233, 0.4233, 0.5233]),
        ([0.9, 0.1, 0.12], [0.9, 0.06, 0.16]),
        ([], []),
    ],
)
def test_names_move_as_little_as_keeps_them_apart(values, moved):
    gap = 0.1
    places = spread(values, gap)
    assert places == pytest.approx(moved, abs=1e-4)
    assert all(np.diff(sorted(places)) >= gap - 1e-9)


def test_names_stay_below_the_top():
    places = spread([0.99, 1.0, 0.98, 0.2], 0.1, top=1.0)
    assert places == pytest.approx([0.9, 1.0, 0.8, 0.2])


def test_names_at_line_ends_do_not_cover_each_other():
    with paper():
        figure, (axis,) = panels(1)
        axis.set_ylim(0, 10)
        end_labels(axis, [(y, f"line {y}", "black") for y in (5.0, 5.01, 5.02, 9.99)])
        figure.canvas.draw()
        boxes = sorted((t.get_window_extent() for t in axis.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_a_long_name_is_cut_in_its_middle():
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 10) == "abcde…hijk"


@pytest.mark.parametrize("limits", [(900, 1300), (0.05, 0.07), (3, 40), (0.001, 5000)])
def test_a_log_axis_has_plain_numbers_whatever_its_range(limits):
    with paper():
        figure, (axis,) = panels(1)
        axis.set_yscale("log")
        axis.set_ylim(*limits)
        plain_log(axis.yaxis)
        figure.canvas.draw()
    shown = [t.get_text() for t, y in zip(axis.get_yticklabels(), axis.get_yticks(), strict=True) if limits[0] <= y <= limits[1]]
    assert 3 <= len(shown) <= 8
    assert not any("10^" in text or "times" in text for text in shown)


def test_a_note_is_broken_before_the_edge_of_the_page():
    with paper():
        figure, _ = panels(1)
        footnote(figure, "quality of speech " * 20)
        figure.canvas.draw()
        assert figure._supxlabel.get_window_extent().x1 <= figure.bbox.x1
