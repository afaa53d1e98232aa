"""The page in a real headless Chromium: what is heard is recorded where the page hands it to the device."""

from __future__ import annotations

import time

import numpy as np
import pytest
import soundfile
from headless import centre, chromium, messages
from scipy.signal import butter, hilbert, sosfiltfilt
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import Select

pytestmark = pytest.mark.browser
RATE_HZ, SECONDS, RISE_HZ_S = 24_000, 6.0, 100.0
LOW_HZ, HIGH_HZ = 800, 6_500  # where two chirps begin: narrowing to 4 kHz leaves one of them
RECORD = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    if (window.recorder?.context !== this.context) window.recorder = Object.assign(this.context.createAnalyser(), { fftSize: 32768 });
    connect.call(this, window.recorder);
  }
  return connect.call(this, to, ...rest);
};
const capture = navigator.mediaDevices?.getUserMedia;
if (capture) {
  navigator.mediaDevices.getUserMedia = async function (asked) {
    const stream = await capture.call(this, asked);
    window.captured = stream.getAudioTracks()[0].getSettings();
    return stream;
  };
}"""
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), letter => letter.charCodeAt(0)), data = new DataTransfer();
data.items.add(new File([bytes], arguments[1]));
document.querySelector('main').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));"""
FOCUSED = """
const focused = document.activeElement;
return [focused.id || focused.name, getComputedStyle(focused.closest('.button, .track label') || focused).outlineStyle]"""
CAPTURED = "recording for the microphone.wav"


def _chirps(seconds=SECONDS):
    at = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return sum(0.2 * np.sin(2 * np.pi * (base * at + RISE_HZ_S * at**2 / 2)) for base in (LOW_HZ, HIGH_HZ))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, speech):
    folder = tmp_path_factory.mktemp("recordings")
    soundfile.write(folder / "chirps.wav", _chirps(), RATE_HZ)
    soundfile.write(folder / "speech.flac", np.stack([speech, 0.5 * speech])[:, ::2].T, 12_000)
    soundfile.write(folder / "silence.wav", np.zeros(12_000), 12_000)
    soundfile.write(folder / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 24_000), 24_000)
    soundfile.write(folder / CAPTURED, np.tile(_chirps(2.0), 3), RATE_HZ, subtype="PCM_16")
    (folder / "letter.wav").write_text("Dear Sir or Madam,\n" * 50)
    return folder


@pytest.fixture(scope="module")
def window(tmp_path_factory, folder):
    capture = (
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
        f"--use-file-for-fake-audio-capture={folder / CAPTURED}", "--host-resolver-rules=MAP elsewhere.test 127.0.0.1",
    )  # fmt: skip
    with chromium(tmp_path_factory.mktemp("chromium"), *capture) as window:
        window.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD})
        yield window


@pytest.fixture
def browser(window, page):
    window.get_log("performance")
    window.get(page.address)
    messages(window)
    return window


def _find(browser, name):
    return browser.find_element("id", name)


def _give(browser, path, narrow=""):
    """Choose a file and wait for its result."""
    Select(_find(browser, "narrow")).select_by_value(narrow)
    _find(browser, "file").send_keys(str(path))
    _until(browser, lambda: _ready(browser) and _find(browser, "title").text == path.name)


def _ready(browser):
    script = "return !result.hidden && !result.classList.contains('busy') && document.getElementById('state').textContent === ''"
    return browser.execute_script(script)


def _until(browser, holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, browser.execute_script("return document.body.innerText")
        time.sleep(0.02)


def _state(browser):
    script = """return {position: Number(document.getElementById('position').value), label: play.getAttribute('aria-label'),
      chosen: document.querySelector('.track :checked')?.value, error: document.getElementById('error').innerText,
      heads: Array.from(document.querySelectorAll('.head'), head => parseFloat(head.style.left))}"""
    return browser.execute_script(script)


def _press(browser, *keys):
    ActionChains(browser).send_keys(*keys).perform()


def _recording(browser):
    script = """const samples = new Float32Array(recorder.fftSize);
      recorder.getFloatTimeDomainData(samples);
      return [Array.from(samples), recorder.context.sampleRate]"""
    samples, rate = browser.execute_script(script)
    return np.array(samples), rate


def _frames(samples, rate, base_hz, length_s=0.005):
    """Return the level of one chirp's band, and the position that the chirp has, by frame."""
    band = butter(4, (base_hz - 150, base_hz + RISE_HZ_S * SECONDS + 150), "bandpass", fs=rate, output="sos")
    analytic, size = hilbert(sosfiltfilt(band, samples)), int(length_s * rate)
    cut = len(samples) // size * size
    turned = np.diff(np.unwrap(np.angle(analytic)), append=0)[:cut].reshape(-1, size)
    level = np.sqrt((np.abs(analytic)[:cut].reshape(-1, size) ** 2).mean(1))
    return level, (np.median(turned, axis=1) * rate / (2 * np.pi) - base_hz) / RISE_HZ_S


def test_a_chosen_file_is_restored_and_its_facts_are_shown(browser, folder):
    _give(browser, folder / "speech.flac")
    facts = _find(browser, "facts").text
    for fact in ("0:02.0, stereo, 12 kHz", "6 kHz bandwidth", "24 kHz restored file", " s to restore ("):
        assert fact in facts
    tracks = [element.text.split("\n")[0] for element in browser.find_elements("css selector", ".track label")]
    assert tracks == ["1 original as given", "2 restored through the model", "3 sinc plain resampling"]
    assert _state(browser) == {"position": 0, "label": "Play", "chosen": "restored", "error": "", "heads": [0, 0, 0]}
    assert messages(browser) == []


def test_a_dropped_file_is_restored(browser, folder):
    import base64

    browser.execute_script(DROP, base64.b64encode((folder / "speech.flac").read_bytes()).decode(), "dropped <b>&.flac")
    _until(browser, lambda: _ready(browser))
    assert _find(browser, "title").text == "dropped <b>&.flac"


def test_a_switch_goes_on_at_the_same_position_without_a_gap_and_lets_one_track_through(browser, folder):
    _give(browser, folder / "chirps.wav", narrow="4000")
    centre(browser, browser.find_elements("css selector", ".track label")[0]).click()
    _press(browser, " ")
    _until(browser, lambda: _state(browser)["position"] > 1.5)
    _press(browser, "3")
    time.sleep(0.35)
    samples, rate = _recording(browser)
    assert rate == RATE_HZ
    (low, position), (high, _) = (_frames(samples, rate, base) for base in (LOW_HZ, HIGH_HZ))
    full = np.median(low)
    switched = int(np.flatnonzero(high < 0.5 * full)[0])
    assert 20 < switched < len(low) - 30, "the recording does not span the switch"
    assert (abs(low - full) < 0.15 * full)[4:-4].all()  # the band that both tracks have neither fades nor doubles
    assert high[4 : switched - 6].min() > 0.8 * full
    assert high[switched + 8 : -4].max() < 0.03 * full
    along = position[6:-6] - 0.005 * np.arange(len(position) - 12)
    assert np.ptp(np.convolve(along, np.ones(9) / 9, "valid")) < 0.06  # seconds: no jump in the position
    assert _state(browser)["chosen"] == "sinc"


def test_keys_bar_and_pictures_move_and_stop_the_playing(browser, folder):
    _give(browser, folder / "chirps.wav")
    picture = centre(browser, browser.find_elements("css selector", ".picture")[1])
    ActionChains(browser).move_to_element(picture).click().perform()
    state = _state(browser)
    assert state["position"] == pytest.approx(SECONDS / 2, abs=0.1)
    assert state["heads"] == pytest.approx([50] * 3, abs=2)
    _press(browser, " ")
    _until(browser, lambda: _state(browser)["position"] > SECONDS / 2 + 0.3)
    _press(browser, " ")
    paused = _state(browser)
    time.sleep(0.2)
    assert _state(browser) == paused
    assert paused["label"] == "Play"
    _press(browser, "1")
    assert _state(browser) == {**paused, "chosen": "original"}
    centre(browser, _find(browser, "position")).send_keys(Keys.END)
    assert _state(browser)["position"] == pytest.approx(SECONDS, abs=0.02)


def test_the_end_stops_or_begins_again(browser, folder):
    _give(browser, folder / "silence.wav")
    _press(browser, " ")
    _until(browser, lambda: _state(browser)["label"] == "Play" and _state(browser)["position"] == 1.0)
    _find(browser, "repeat").click()
    _find(browser, "play").click()
    _until(browser, lambda: _state(browser)["position"] > 0.7)
    _until(browser, lambda: 0 < _state(browser)["position"] < 0.5)
    assert _state(browser)["label"] == "Pause"


def _pixels(browser):
    """Return each spectrogram's brightness, [height, width]."""
    script = """return Array.from(document.querySelectorAll('canvas'), canvas => {
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      const sums = Array.from({length: data.length / 4}, (_, i) => data[4 * i] + data[4 * i + 1] + data[4 * i + 2]);
      return [canvas.height, canvas.width, sums]})"""
    return [np.array(data).reshape(height, width) for height, width, data in browser.execute_script(script)]


def test_spectrograms_show_what_each_track_holds_where_it_holds_it(browser, folder):
    _give(browser, folder / "chirps.wav", narrow="4000")
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


def test_the_download_has_the_output_rate_and_twice_the_samples_and_a_name_after_the_file(browser, folder, tmp_path):
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    _give(browser, folder / "speech.flac")
    centre(browser, _find(browser, "download")).click()
    path = tmp_path / "speech-restored.wav"
    _until(browser, path.exists)
    info = soundfile.info(path)
    assert (info.frames, info.samplerate, info.channels) == (48_000, 24_000, 2)


def test_a_bad_file_is_an_error_in_one_line_and_a_good_one_afterwards_clears_it(browser, folder):
    _give(browser, folder / "speech.flac")
    _find(browser, "file").send_keys(str(folder / "letter.wav"))
    _until(browser, lambda: _state(browser)["error"])
    assert _state(browser)["error"].startswith("letter.wav: not audio: ")
    assert not _find(browser, "result").is_displayed()
    _give(browser, folder / "speech.flac")
    assert not _find(browser, "error").is_displayed()


def test_a_file_beyond_the_limit_is_refused_with_both_sizes(serving, window, folder, tmp_path):
    from lcm.page.trial import Limits

    with serving(Limits(bytes=100_000)) as small:
        window.get(small.address)
        path = tmp_path / "big.wav"
        path.write_bytes(bytes(260_000))
        window.execute_async_script("fetch('/limits').then(arguments[0])")
        _find(window, "file").send_keys(str(path))
        _until(window, lambda: _state(window)["error"])
        assert _state(window)["error"].startswith("big.wav: the file has 0.3 MB; this page takes at most 0.1 MB.")


def test_a_server_that_cannot_be_reached_is_an_error_in_words(browser, folder):
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **conditions})
    _find(browser, "file").send_keys(str(folder / "speech.flac"))
    _until(browser, lambda: _state(browser)["error"])
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **conditions})
    assert "the server cannot be reached" in _state(browser)["error"]


def test_full_band_and_silent_recordings_are_called_so(browser, folder):
    _give(browser, folder / "noise.wav")
    assert "full-band already and is returned unchanged" in _find(browser, "note").text
    _give(browser, folder / "silence.wav")
    assert _find(browser, "note").text == "It is silent, and stays so."


def test_changing_the_band_restores_the_same_recording_again(browser, folder):
    _give(browser, folder / "noise.wav")
    Select(_find(browser, "narrow")).select_by_value("6000")
    _until(browser, lambda: "6 kHz bandwidth" in _find(browser, "facts").text)
    assert "narrowed to 6 kHz, then plain resampling" in _find(browser, "tracks").text


def test_the_microphone_is_recorded_with_all_its_band_and_restored(browser, page):
    centre(browser, _find(browser, "record")).click()
    _until(browser, lambda: browser.execute_script("return parseFloat(elapsed.textContent.slice(2)) >= 2.5 && level.value > 0.1"))
    _find(browser, "record").click()
    _until(browser, lambda: _ready(browser))
    assert _find(browser, "title").text == "recording.wav"
    address = browser.execute_script("return new URL(download.href).pathname").rsplit("/", 1)[0].rsplit("/", 1)[1]
    samples, rate = soundfile.read(page.trials.file(address, "original"))
    assert (rate in (44_100, 48_000), samples.ndim) == (True, 1)
    assert 2.4 < len(samples) / rate < 8
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    chirp = [spectrum[(hz > base) & (hz < base + 200)].mean() for base in (LOW_HZ, HIGH_HZ)]
    assert min(chirp) > 20 * spectrum[(hz > 2_000) & (hz < 5_000)].mean()
    for cut in ("echoCancellation", "noiseSuppression", "autoGainControl"):
        assert browser.execute_script("return captured[arguments[0]]", cut) is False
    assert _find(browser, "record").text == "Record"
    assert not _find(browser, "recording").is_displayed()


def test_a_name_that_another_site_points_here_is_not_answered(window, page):
    window.get(page.address.replace("127.0.0.1", "elsewhere.test"))
    assert "This page answers only under its own address." in window.page_source
    assert "Speech super-resolution" not in window.page_source


def test_without_https_elsewhere_the_microphone_is_refused_in_words_and_files_work(serving, window, folder):
    with serving(host="0.0.0.0") as exposed:
        window.get(exposed.address.replace("0.0.0.0", "elsewhere.test"))
        _find(window, "record").click()
        _until(window, lambda: _state(window)["error"])
        assert "only to pages under 127.0.0.1, localhost or https" in _state(window)["error"]
        _give(window, folder / "speech.flac")


def test_while_a_recording_waits_its_name_and_the_seconds_are_said(browser, page, folder):
    with page.trials._lock:
        _find(browser, "file").send_keys(str(folder / "speech.flac"))
        _until(browser, lambda: _find(browser, "waited").text == "1 s")
        assert _find(browser, "state").text == "Restoring speech.flac ..."
    _until(browser, lambda: _ready(browser))
    assert _find(browser, "waited").text == ""


def test_the_latest_of_two_recordings_given_at_once_is_shown(browser, page, folder):
    with page.trials._lock:
        _find(browser, "file").send_keys(str(folder / "noise.wav"))
        _find(browser, "file").send_keys(str(folder / "speech.flac"))
        _until(browser, lambda: _find(browser, "state").text == "Restoring speech.flac ...")
    _until(browser, lambda: _ready(browser))
    time.sleep(0.5)
    assert (_find(browser, "title").text, "stereo" in _find(browser, "facts").text) == ("speech.flac", True)


def test_one_sample_is_shown_and_played(browser, folder):
    soundfile.write(folder / "one.wav", np.full(1, 0.1), 24_000)
    _give(browser, folder / "one.wav")
    _press(browser, " ")
    _until(browser, lambda: _state(browser)["label"] == "Play")
    assert messages(browser) == []


def test_every_control_can_be_reached_by_keys_and_shows_its_focus(browser, folder):
    _give(browser, folder / "speech.flac")
    browser.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(12):
        _press(browser, Keys.TAB)
        reached.append(browser.execute_script(FOCUSED))
    named = [name for name, _ in reached]
    for name in ("file", "record", "narrow", "cutoff", "again", "play", "position", "repeat", "download", "track"):
        assert name in named
    assert all(style != "none" for name, style in reached if name)


def test_nothing_is_asked_for_outside(browser, folder, page):
    _give(browser, folder / "speech.flac")
    _press(browser, " ")
    asked = [entry["message"] for entry in browser.get_log("performance") if "Network.requestWillBeSent" in entry["message"]]
    assert len(asked) > 8
    assert all(page.address in message for message in asked if '"url":"http' in message)
    assert messages(browser) == []
