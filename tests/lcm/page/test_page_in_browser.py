"""The page in a real headless Chromium: files in, results and errors out, keys, and nothing asked for outside."""

from __future__ import annotations

import re
import time

import pytest
import soundfile
from headless import centre, messages, press, until
from on_the_page import find, give, ready, state
from selenium.webdriver import Keys
from selenium.webdriver.support.ui import Select

pytestmark = pytest.mark.browser
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), letter => letter.charCodeAt(0)), data = new DataTransfer();
data.items.add(new File([bytes], arguments[1]));
document.querySelector('main').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));"""
FOCUSED = """
const focused = document.activeElement;
return [focused.id || focused.name, getComputedStyle(focused.closest('.button, .track label') || focused).outlineStyle]"""


def test_a_chosen_file_is_restored_and_its_facts_are_shown(browser, folder):
    give(browser, folder / "speech.flac")
    facts = find(browser, "facts").text
    for fact in ("0:02.0, stereo, 12 kHz", "6 kHz bandwidth", "24 kHz restored file", " s to restore ("):
        assert fact in facts
    tracks = [element.text.split("\n")[0] for element in browser.find_elements("css selector", ".track label")]
    assert tracks == ["1 original as given", "2 restored through the model", "3 sinc plain resampling"]
    assert state(browser) == {"position": 0, "label": "Play", "chosen": "restored", "error": "", "heads": [0, 0, 0]}
    assert messages(browser) == []


def test_a_dropped_file_is_restored(browser, folder):
    import base64

    browser.execute_script(DROP, base64.b64encode((folder / "speech.flac").read_bytes()).decode(), "dropped <b>&.flac")
    until(browser, lambda: ready(browser))
    assert find(browser, "title").text == "dropped <b>&.flac"


def test_the_download_has_the_output_rate_and_twice_the_samples_and_a_name_after_the_file(browser, folder, tmp_path):
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    give(browser, folder / "speech.flac")
    centre(browser, find(browser, "download")).click()
    path = tmp_path / "speech-restored.wav"
    until(browser, path.exists)
    info = soundfile.info(path)
    assert (info.frames, info.samplerate, info.channels) == (48_000, 24_000, 2)


def test_a_bad_file_is_an_error_in_one_line_and_a_good_one_afterwards_clears_it(browser, folder):
    give(browser, folder / "speech.flac")
    find(browser, "file").send_keys(str(folder / "letter.wav"))
    until(browser, lambda: state(browser)["error"])
    assert state(browser)["error"].startswith("letter.wav: not audio: ")
    assert not find(browser, "result").is_displayed()
    give(browser, folder / "speech.flac")
    assert not find(browser, "error").is_displayed()


def test_a_file_beyond_the_limit_is_refused_with_both_sizes(serving, window, folder, tmp_path):
    from lcm.page.trial import Limits

    with serving(Limits(bytes=100_000)) as small:
        window.get(small.address)
        path = tmp_path / "big.wav"
        path.write_bytes(bytes(260_000))
        window.execute_async_script("fetch('/limits').then(arguments[0])")
        find(window, "file").send_keys(str(path))
        until(window, lambda: state(window)["error"])
        assert state(window)["error"].startswith("big.wav: the file has 0.3 MB; this page takes at most 0.1 MB.")


def test_a_server_that_cannot_be_reached_is_an_error_in_words(browser, folder):
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **conditions})
    find(browser, "file").send_keys(str(folder / "speech.flac"))
    until(browser, lambda: state(browser)["error"])
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **conditions})
    assert "the server cannot be reached" in state(browser)["error"]


def test_full_band_and_silent_recordings_are_called_so(browser, folder):
    give(browser, folder / "noise.wav")
    assert "full-band already and is returned unchanged" in find(browser, "note").text
    give(browser, folder / "silence.wav")
    assert find(browser, "note").text == "It is silent, and stays so."


def test_changing_the_band_restores_the_same_recording_again(browser, folder):
    give(browser, folder / "noise.wav")
    Select(find(browser, "narrow")).select_by_value("6000")
    until(browser, lambda: "6 kHz bandwidth" in find(browser, "facts").text)
    assert "narrowed to 6 kHz, then plain resampling" in find(browser, "tracks").text


def test_a_name_that_another_site_points_here_is_not_answered(window, page):
    window.get(page.address.replace("127.0.0.1", "elsewhere.test"))
    assert "This page answers only under its own address." in window.page_source
    assert "Speech super-resolution" not in window.page_source


def test_without_https_elsewhere_the_microphone_is_refused_in_words_and_files_work(serving, window, folder):
    with serving(host="0.0.0.0") as exposed:
        window.get(exposed.address.replace("0.0.0.0", "elsewhere.test"))
        find(window, "record").click()
        until(window, lambda: state(window)["error"])
        assert "only to pages under 127.0.0.1, localhost or https" in state(window)["error"]
        give(window, folder / "speech.flac")


def test_while_a_recording_waits_its_name_and_the_seconds_are_said(browser, page, folder):
    with page.trials._lock:
        find(browser, "file").send_keys(str(folder / "speech.flac"))
        until(browser, lambda: re.fullmatch(r"\d+ s", find(browser, "waited").text))
        assert find(browser, "state").text == "Restoring speech.flac ..."
    until(browser, lambda: ready(browser))
    assert find(browser, "waited").text == ""


def test_the_latest_of_two_recordings_given_at_once_is_shown(browser, page, folder):
    with page.trials._lock:
        find(browser, "file").send_keys(str(folder / "noise.wav"))
        find(browser, "file").send_keys(str(folder / "speech.flac"))
        until(browser, lambda: find(browser, "state").text == "Restoring speech.flac ...")
    until(browser, lambda: ready(browser))
    time.sleep(0.5)
    assert (find(browser, "title").text, "stereo" in find(browser, "facts").text) == ("speech.flac", True)


def test_every_control_can_be_reached_by_keys_and_shows_its_focus(browser, folder):
    give(browser, folder / "speech.flac")
    browser.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(12):
        press(browser, Keys.TAB)
        reached.append(browser.execute_script(FOCUSED))
    named = [name for name, _ in reached]
    for name in ("file", "record", "narrow", "cutoff", "again", "play", "position", "repeat", "download", "track"):
        assert name in named
    assert all(style != "none" for name, style in reached if name)


def test_nothing_is_asked_for_outside(browser, folder, page):
    give(browser, folder / "speech.flac")
    press(browser, " ")
    asked = [entry["message"] for entry in browser.get_log("performance") if "Network.requestWillBeSent" in entry["message"]]
    assert len(asked) > 8
    assert all(page.address in message for message in asked if '"url":"http' in message)
    assert messages(browser) == []
