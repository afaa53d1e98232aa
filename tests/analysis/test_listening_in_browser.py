"""The report's players in a real headless Chromium: what is heard is recorded where the page hands it to the device.

Every system's clip is a chirp in a band of its own, so that a recording tells which system was heard, and at which position.
"""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from headless import RECORD, centre, chirp, chromium, frames, messages, press, recording, until
from selenium.webdriver import Keys
from synthetic_tree import RATE_HZ, Tree, means

from analysis import load
from analysis.page import page
from analysis.players import audition
from analysis.tables import results
from analysis.worst import worst_clips

pytestmark = pytest.mark.browser
SECONDS = 8.0
BASES_HZ = {"ground_truth": 400, "sinc": 2400, "student-1": 4400, "teacher": 6400}


def _chirp(path, base_hz, seconds=SECONDS):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * chirp(base_hz, seconds, RATE_HZ), RATE_HZ)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    tree = Tree(tmp_path_factory.mktemp("sweep") / "runs")
    folder = tree.run("baselines", tree.rows("b", 0, "sinc", 0, means(5.1, 19.5, 0.001), copies=(False,)), {"seed": 0})
    own = tree.run("points/a-s0", tree.rows("a", 0, "student", 1, means(1.0, 15.0, 0.1)))
    clips = [utterance for _, utterance in tree.utterances()]
    for utterance in clips[:2]:
        for system, base in BASES_HZ.items():
            _chirp((own if system.startswith("student") else folder) / "samples" / utterance / f"{system}.flac", base)
    loaded = load(tree.root)
    file = tree.root / "index.html"
    heard = audition(loaded, worst_clips(loaded.table))
    file.write_text(page(loaded, results(loaded.table), [], {}, heard, {}), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as window:
        yield window


@pytest.fixture(params=["web audio", "muting"])
def browser(window, path, request):
    """Open the page afresh, with Web Audio and without it."""
    script = RECORD if request.param == "web audio" else "delete window.AudioContext;"
    added = window.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    window.get(path.as_uri())
    yield window
    window.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def _deck(browser, number=0):
    return centre(browser, browser.find_elements("css selector", ".deck")[number])


def _play(browser, number=0):
    deck = _deck(browser, number)
    deck.find_element("css selector", ".play").click()
    _wait(browser, number, 0.3)
    return deck


def _state(browser, number=0):
    script = """const players = document.querySelectorAll('[data-clip]')[arguments[0]];
      const deck = document.querySelectorAll('.deck')[arguments[0]];
      const tracks = Array.from(players.querySelectorAll('audio'));
      return {at: tracks.map(t => t.currentTime), running: tracks.map(t => !t.paused), muted: tracks.map(t => t.muted),
              now: performance.now() / 1000, place: Array.from(deck.querySelectorAll('[type=radio]'), r => r.checked).indexOf(true),
              chosen: deck.querySelector(':checked').parentElement.querySelector('.name').textContent,
              bar: Number(deck.querySelector('[type=range]').value), label: deck.querySelector('.play').getAttribute('aria-label')}"""
    return browser.execute_script(script, number)


def _wait(browser, number, seconds):
    until(browser, lambda: _state(browser, number)["bar"] >= seconds)


@pytest.mark.parametrize("browser", ["web audio"], indirect=True)
def test_what_is_heard_goes_on_at_the_same_position_without_a_gap_and_one_at_a_time(browser):
    _play(browser)
    _wait(browser, 0, 1.5)
    at = [_state(browser)["bar"]]
    press(browser, "3")
    at.append(_state(browser)["bar"])
    samples, rate = recording(browser)
    (before, at_before), (after, at_after) = (frames(samples, rate, BASES_HZ[name], SECONDS) for name in ("ground_truth", "student-1"))
    full = np.median(np.maximum(before, after))
    switched = int(np.flatnonzero(after > before)[0])
    assert 28 <= switched < len(before) - 40, "the recording does not span the switch"
    assert (before + after > 0.7 * full)[3:-3].all()
    assert ((before > 0.1 * full) & (after > 0.1 * full)).sum() <= 6  # frames of 5 ms: the cross-fade
    assert at[0] - 0.3 < np.median(at_before[switched - 20 : switched - 8]) + 14 * 0.005 < at[1] + 0.3
    jump = np.median(at_after[switched + 8 : switched + 28]) - np.median(at_before[switched - 28 : switched - 8])
    assert jump == pytest.approx(36 * 0.005, abs=0.05)
    assert all(frames(samples, rate, BASES_HZ[name], SECONDS)[0][3:-3].max() < 0.02 * full for name in ("sinc", "teacher"))


def test_a_switch_keeps_the_position_and_lets_one_system_through(browser):
    _play(browser)
    _wait(browser, 0, 1.0)
    for place, key in ((1, "2"), (3, "4"), (0, "1")):
        before = _state(browser)
        press(browser, key)
        after = _state(browser)
        assert after["place"] == place
        passed = after["at"][place] - before["at"][before["place"]]
        assert -0.1 < passed < after["now"] - before["now"] + 0.1  # a busy machine may stall the playing, nothing may hurry it
    until(browser, lambda: np.ptp(_state(browser)["at"]) < 0.1)
    state = _state(browser)
    assert all(state["running"])
    if not browser.execute_script("return window.AudioContext !== undefined"):
        assert state["muted"] == [False, True, True, True]


def test_space_plays_and_pauses_and_the_arrows_switch(browser):
    deck = _play(browser)
    deck.find_element("css selector", "input[type=radio]:checked").send_keys(Keys.ARROW_RIGHT)
    assert _state(browser)["chosen"] == "sinc"
    assert all(_state(browser)["running"])
    press(browser, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert _state(browser)["chosen"] == "teacher"
    press(browser, " ")
    paused = _state(browser)
    assert (paused["running"], paused["label"]) == ([False] * 4, "Play")
    press(browser, " ")
    _wait(browser, 0, paused["bar"] + 0.2)
    assert _state(browser)["label"] == "Pause"
    assert abs(_state(browser)["at"][3] - paused["at"][3]) < 2


def test_every_control_shows_where_the_focus_is(browser):
    deck = _deck(browser)
    deck.find_element("css selector", ".play").send_keys("")
    for _ in range(3):
        outline = "const e = document.activeElement; return getComputedStyle(e.closest('label') || e).outlineStyle"
        press(browser, Keys.TAB)
        assert browser.execute_script(outline) != "none"
    press(browser, Keys.TAB)


def test_one_clip_plays_at_a_time_and_goes_on_later_where_it_was(browser):
    _play(browser, 0)
    _wait(browser, 0, 1.0)
    _play(browser, 1)
    assert not any(_state(browser, 0)["running"])
    assert all(_state(browser, 1)["running"])
    left = _state(browser, 0)["bar"]
    _play(browser, 0)
    assert not any(_state(browser, 1)["running"])
    assert left - 0.1 < _state(browser, 0)["bar"] < left + 3


def test_the_bar_moves_the_position_and_the_end_stops_or_repeats(browser):
    deck = _deck(browser)
    bar = deck.find_element("css selector", "[type=range]")
    bar.send_keys(Keys.END, *[Keys.PAGE_DOWN])
    assert 6 < _state(browser)["bar"] < SECONDS - 0.3
    assert "of 0:08.0" in bar.get_attribute("aria-valuetext")
    press(browser, " ")
    until(browser, lambda: _state(browser)["label"] == "Play")
    assert not any(_state(browser)["running"])
    centre(browser, browser.find_element("css selector", "[data-option=repeat]")).click()
    _deck(browser).find_element("css selector", "[type=range]").send_keys(Keys.END, Keys.PAGE_DOWN, " ")
    until(browser, lambda: 0.1 < _state(browser)["bar"] < 3)
    assert _state(browser)["label"] == "Pause"


def test_hidden_names_are_letters_in_an_order_of_their_own_and_come_back(browser):
    def names():
        return browser.execute_script("return Array.from(document.querySelector('.deck').querySelectorAll('.name'), n => n.textContent)")

    assert names() == ["ground truth", "sinc", "student, 1 step", "teacher"]
    box = centre(browser, browser.find_element("css selector", "[data-option=blind]"))
    box.click()
    assert names() == list("ABCD")
    assert browser.execute_script("return document.querySelectorAll('.deck label[title]:not([title=\"\"])').length") == 0
    _play(browser)
    press(browser, "3")
    assert _state(browser)["chosen"] == "C"
    centre(browser, box).click()
    assert sorted(name.split(": ")[1] for name in names()) == ["ground truth", "sinc", "student, 1 step", "teacher"]
    assert [name[0] for name in names()] == list("ABCD")


def test_listening_leaves_no_console_message_and_asks_for_nothing_outside(browser):
    _play(browser, 0)
    _play(browser, 1)
    assert messages(browser) == []
    assert not [entry for entry in browser.get_log("performance") if '"url":"http' in entry["message"]]
