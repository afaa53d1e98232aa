"""Listening on the page in a real headless Chromium: switching, moving, recording, and the pictures that go with it."""

from __future__ import annotations

import time

import numpy as np
import pytest
import soundfile
from headless import RISE_HZ_S, centre, frames, messages, press, recording, until
from on_the_page import HIGH_HZ, LOW_HZ, RATE_HZ, SECONDS, find, give, ready, state
from selenium.webdriver import ActionChains, Keys

pytestmark = pytest.mark.browser


def test_a_switch_goes_on_at_the_same_position_without_a_gap_and_lets_one_track_through(browser, folder):
    give(browser, folder / "chirps.wav", narrow="4000")
    centre(browser, browser.find_elements("css selector", ".track label")[0]).click()
    press(browser, " ")
    until(browser, lambda: state(browser)["position"] > 1.5)
    press(browser, "3")
    samples, rate = recording(browser)
    assert rate == RATE_HZ
    (low, position), (high, _) = (frames(samples, rate, base, SECONDS) for base in (LOW_HZ, HIGH_HZ))
    full = np.median(low)
    switched = int(np.flatnonzero(high < 0.5 * full)[0])
    assert 28 <= switched < len(low) - 30, "the recording does not span the switch"
    assert (abs(low - full) < 0.15 * full)[4:-4].all()  # the band that both tracks have neither fades nor doubles
    assert high[4 : switched - 6].min() > 0.8 * full
    assert high[switched + 8 : -4].max() < 0.03 * full
    along = position[6:-6] - 0.005 * np.arange(len(position) - 12)
    assert np.ptp(np.convolve(along, np.ones(9) / 9, "valid")) < 0.06  # seconds: no jump in the position
    assert state(browser)["chosen"] == "sinc"


def test_keys_bar_and_pictures_move_and_stop_the_playing(browser, folder):
    give(browser, folder / "chirps.wav")
    picture = centre(browser, browser.find_elements("css selector", ".picture")[1])
    ActionChains(browser).move_to_element(picture).click().perform()
    moved = state(browser)
    assert moved["position"] == pytest.approx(SECONDS / 2, abs=0.1)
    assert moved["heads"] == pytest.approx([50] * 3, abs=2)
    press(browser, " ")
    until(browser, lambda: state(browser)["position"] > SECONDS / 2 + 0.3)
    press(browser, " ")
    paused = state(browser)
    time.sleep(0.2)
    assert state(browser) == paused
    assert paused["label"] == "Play"
    press(browser, "1")
    assert state(browser) == {**paused, "chosen": "original"}
    centre(browser, find(browser, "position")).send_keys(Keys.END)
    assert state(browser)["position"] == pytest.approx(SECONDS, abs=0.02)


def test_the_end_stops_or_begins_again(browser, folder):
    give(browser, folder / "silence.wav")
    press(browser, " ")
    until(browser, lambda: state(browser)["label"] == "Play" and state(browser)["position"] == 1.0)
    find(browser, "repeat").click()
    find(browser, "play").click()
    until(browser, lambda: state(browser)["position"] > 0.7)
    until(browser, lambda: 0 < state(browser)["position"] < 0.5)
    assert state(browser)["label"] == "Pause"


def _pixels(browser):
    """Return each spectrogram's brightness, [height, width]."""
    script = """return Array.from(document.querySelectorAll('canvas'), canvas => {
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      const sums = Array.from({length: data.length / 4}, (_, i) => data[4 * i] + data[4 * i + 1] + data[4 * i + 2]);
      return [canvas.height, canvas.width, sums]})"""
    return [np.array(data).reshape(height, width) for height, width, data in browser.execute_script(script)]


def test_spectrograms_show_what_each_track_holds_where_it_holds_it(browser, folder):
    give(browser, folder / "chirps.wav", narrow="4000")
    original, restored, sinc = _pixels(browser)
    height, width = original.shape
    assert width > 600
    assert {picture.shape for picture in (original, restored, sinc)} == {(height, width)}
    columns = slice(width // 3, width // 3 + 20)  # clear of the labels on either side
    seconds = (width // 3 + 10) / width * SECONDS
    rows = [int(height * (1 - (base + RISE_HZ_S * seconds) / 12_000)) for base in (LOW_HZ, HIGH_HZ)]
    bright = [[picture[row - 2 : row + 3, columns].max(0).mean() for row in rows] for picture in (original, restored, sinc)]
    assert min(bright[0]) > 400
    assert bright[1][0] > 400
    assert (bright[2][0] > 400, bright[2][1] < 60) == (True, True)
    quiet = [picture[rows[1] - 25 : rows[1] - 12, columns].mean() for picture in (original, sinc)]
    assert max(quiet) < 200
    edge = height * 2 // 3  # 4 kHz
    dashes = [(picture[edge - 1 : edge + 2].max(0) > 500).mean() for picture in (original, restored, sinc)]
    assert dashes == pytest.approx([0, 0.5, 0.5], abs=0.15)


def test_the_microphone_is_recorded_with_all_its_band_and_restored(browser, page):
    centre(browser, find(browser, "record")).click()
    until(browser, lambda: browser.execute_script("return parseFloat(elapsed.textContent.slice(2)) >= 2.5 && level.value > 0.1"))
    find(browser, "record").click()
    until(browser, lambda: ready(browser))
    assert find(browser, "title").text == "recording.wav"
    address = browser.execute_script("return new URL(download.href).pathname").rsplit("/", 1)[0].rsplit("/", 1)[1]
    samples, rate = soundfile.read(page.trials.file(address, "original"))
    assert (rate in (44_100, 48_000), samples.ndim) == (True, 1)
    assert len(samples) / rate > 2.4
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    chirp = [spectrum[(hz > base) & (hz < base + 200)].mean() for base in (LOW_HZ, HIGH_HZ)]
    assert min(chirp) > 20 * spectrum[(hz > 2_000) & (hz < 5_000)].mean()
    for cut in ("echoCancellation", "noiseSuppression", "autoGainControl"):
        assert browser.execute_script("return captured[arguments[0]]", cut) is False
    assert find(browser, "record").text == "Record"
    assert not find(browser, "recording").is_displayed()


def test_one_sample_is_shown_and_played(browser, folder):
    soundfile.write(folder / "one.wav", np.full(1, 0.1), 24_000)
    give(browser, folder / "one.wav")
    press(browser, " ")
    until(browser, lambda: state(browser)["label"] == "Play")
    assert messages(browser) == []
