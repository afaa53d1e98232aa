"""The report opened in a real headless Chromium, from a file."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from headless import centre, chromium, messages, until
from selenium.webdriver import Keys
from selenium.webdriver.support.ui import Select

from analysis import load
from analysis.figures import NAMES
from analysis.page import page
from analysis.players import Audition
from analysis.report import build
from analysis.tables import results

pytestmark = pytest.mark.browser
BATCH = 300
"""Rows that are laid out at once."""
LSD_HF = 6
"""Column of the run table."""


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as window:
        yield window


@pytest.fixture(scope="module")
def path(full, tmp_path_factory):
    return build(full.root, tmp_path_factory.mktemp("report"))


@pytest.fixture
def browser(window, path):
    window.set_window_size(1300, 1000)
    window.get(path.as_uri())
    return window


def _column(browser, index, table="results-table"):
    script = """const rows = document.querySelectorAll(`#${arguments[1]} tbody tr`);
      return Array.from(rows, row => row.cells[arguments[0]].firstChild?.textContent.trim())"""
    return browser.execute_script(script, index, table)


def _header(browser, name, table="results-table"):
    button = next(b for b in browser.find_elements("css selector", f"#{table} th button") if b.text.startswith(name))
    return centre(browser, button)


def _filter(browser, table="runs-table"):
    """Return the filter above a table: its field, its lists by label, its count."""
    form = browser.execute_script("return document.getElementById(arguments[0]).closest('.scroll').previousElementSibling", table)
    labels = form.find_elements("css selector", "label:has(select)")
    lists = {label.text.splitlines()[0]: label.find_element("css selector", "select") for label in labels}
    return centre(browser, form.find_element("css selector", "input")), lists, form.find_element("css selector", "output")


def test_the_page_opens_without_console_messages_or_outside_requests(browser):
    urls = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert messages(browser) == []
    assert [url for url in urls if not url.startswith(("data:", "file:"))] == []
    assert not [entry for entry in browser.get_log("performance") if '"url":"http' in entry["message"]]


def test_every_figure_is_shown_and_opens_at_full_size_by_keyboard(browser, path):
    drawn = [name for name in NAMES if (path.parent / "figures" / f"{name}.png").is_file()]
    images = """const all = document.querySelectorAll('.figures img');
      return Array.from(all, i => [i.closest('figure').id, i.naturalWidth > 400, i.width > 400])"""
    assert browser.execute_script(images) == [[name, True, True] for name in drawn]
    centre(browser, browser.find_element("css selector", f"#{drawn[1]} button")).send_keys(Keys.ENTER)
    dialog = browser.find_element("css selector", "dialog")
    assert dialog.is_displayed()
    assert browser.execute_script("const i = arguments[0].querySelector('img'); return i.width === i.naturalWidth", dialog)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()


def test_a_click_sorts_by_value_and_a_second_one_reverses(browser):
    _header(browser, "LSD-HF").click()
    values = [float(text) for text in _column(browser, 2)]
    assert values == sorted(values)
    _header(browser, "LSD-HF").click()
    assert [float(text) for text in _column(browser, 2)] == sorted(values, reverse=True)


def test_the_keyboard_sorts_too_and_the_state_is_announced(browser):
    button = _header(browser, "system")
    button.send_keys(Keys.ENTER)
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    assert _column(browser, 0) == sorted(_column(browser, 0), key=str.lower)


def test_words_all_have_to_match_and_the_count_is_announced(browser):
    field, _, count = _filter(browser)
    assert count.text == "25 of 25 runs shown"
    assert count.get_attribute("aria-live") == "polite"
    field.send_keys("ECT s1")
    assert count.text == "6 of 25 runs shown"
    assert all("ect" in run and run.endswith("s1") for run in _column(browser, 0, "runs-table"))
    field.send_keys(" nowhere")
    assert (count.text, _column(browser, 0, "runs-table")) == ("0 of 25 runs shown", [])


def test_a_list_a_word_and_sorting_combine_and_escape_clears_the_filter(browser):
    field, lists, count = _filter(browser)
    assert set(lists) == {"seed", "blocks.partition", "losses.mr_stft", "objective.name"}  # every run is done: there is no state to choose
    Select(lists["blocks.partition"]).select_by_visible_text("[8]")
    field.send_keys("s2")
    assert count.text == "2 of 25 runs shown"
    _header(browser, "LSD-HF", "runs-table").click()
    values = [float(text) for text in _column(browser, LSD_HF, "runs-table")]
    assert len(values) == 2
    assert values == sorted(values)
    field.send_keys(Keys.ESCAPE)
    assert count.text == "25 of 25 runs shown"
    assert field.get_attribute("value") == ""
    assert Select(lists["blocks.partition"]).first_selected_option.text == "any"
    every = [float(text) for text in _column(browser, LSD_HF, "runs-table") if text]
    assert every == sorted(every)


def test_a_run_without_a_value_is_chosen_as_none_and_sorts_last(browser):
    _, lists, count = _filter(browser)
    Select(lists["blocks.partition"]).select_by_visible_text("(none)")
    assert (count.text, _column(browser, 0, "runs-table")) == ("1 of 25 runs shown", ["baselines"])
    Select(lists["blocks.partition"]).select_by_visible_text("any")
    for _ in range(2):
        _header(browser, "blocks.partition", "runs-table").click()
        assert _column(browser, 0, "runs-table")[-1] == "baselines"


def test_points_are_filtered_too(browser):
    field, lists, count = _filter(browser, "points-table")
    field.send_keys("one block")
    assert (count.text, lists) == ("2 of 9 points shown", {})
    assert all("one block" in name for name in _column(browser, 0, "points-table"))


def test_a_negative_number_is_found_as_it_is_typed(browser):
    field, _, _ = _filter(browser, "points-table")
    bias = _column(browser, 7, "points-table")[0]
    assert bias.startswith("−")
    field.send_keys(bias.replace("−", "-"))
    assert bias in _column(browser, 7, "points-table")


@pytest.fixture(scope="module")
def long_path(full, tmp_path_factory):
    """A page with 2,000 runs in its run table."""
    loaded, draw = load(full.root), np.random.default_rng(0)
    runs = pd.concat([loaded.runs] * 80, ignore_index=True)
    runs["run"] = [f"{run}-{number}" for number, run in enumerate(runs["run"])]
    runs["state"] = draw.choice(["done", "failed"], len(runs))
    path = tmp_path_factory.mktemp("long") / "index.html"
    path.write_text(page(replace(loaded, runs=runs), results(loaded.table), [], {}, Audition(), {}), encoding="utf-8")
    return path


def test_of_two_thousand_runs_filtering_and_sorting_lay_out_a_batch(window, long_path):
    """The layout is what takes time."""
    window.get(long_path.as_uri())
    field, lists, count = _filter(window)
    assert len(_column(window, 0, "runs-table")) == BATCH
    field.send_keys("ect s1")
    assert (count.text, len(_column(window, 0, "runs-table"))) == ("480 of 2000 runs shown", BATCH)
    field.send_keys(Keys.ESCAPE)
    _header(window, "run", "runs-table").click()
    assert (count.text, len(_column(window, 0, "runs-table"))) == ("2000 of 2000 runs shown", BATCH)
    assert _column(window, 0, "runs-table")[:2] == ["baselines-0", "baselines-25"]
    Select(lists["state"]).select_by_visible_text("failed")
    assert int(re.match(r"\d+", count.text)[0]) == pytest.approx(1000, abs=150)


def test_the_rest_of_a_long_table_comes_when_one_scrolls_to_it_under_the_same_header(window, long_path):
    window.get(long_path.as_uri())
    shown = len(_column(window, 0, "runs-table"))
    window.execute_script("const box = document.getElementById('runs-table').closest('.scroll'); box.scrollTop = box.scrollHeight")
    until(window, lambda: shown < len(_column(window, 0, "runs-table")) <= 2000)
    place = """const box = document.getElementById('runs-table').closest('.scroll');
      const top = element => element.getBoundingClientRect().top;
      return [top(box.querySelector('thead th')) - top(box), box.scrollTop]"""
    top, scrolled = window.execute_script(place)
    assert scrolled > 1000
    assert 0 <= top < 5


def test_without_script_there_are_plain_players_and_whole_tables(window, path):
    window.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    window.get(path.as_uri())
    try:
        players = window.find_elements("css selector", "audio[controls]")
        assert len(players) == 14
        assert all(player.is_displayed() for player in players)
        assert not window.find_elements("css selector", ".deck")
        assert len(window.find_elements("css selector", "#runs-table tbody tr")) == 25
    finally:
        window.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", [420, 800, 1300])
def test_nothing_runs_out_of_the_window(browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_from_its_paper(browser, mode):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": mode}]})
    colours = """const of = (e, p) => getComputedStyle(document.querySelector(e))[p].match(/[\\d.]+/g).slice(0, 3).map(Number);
      const inks = ['.answer', '.small', '.verdict.better', '.verdict.worse', '.verdict.no', 'caption', 'a'];
      return [of('body', 'backgroundColor'), inks.map(e => of(e, 'color'))]"""
    paper, inks = browser.execute_script(colours)
    assert min(_contrast(ink, paper) for ink in inks) >= 4.5  # WCAG 2, level AA


def _contrast(one, other):
    def luminance(rgb):
        parts = np.array(rgb) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
