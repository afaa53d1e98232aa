"""What the tests of the page in a browser share: the recordings, the window, and what a person does on the page."""

from __future__ import annotations

from headless import chirp, until
from selenium.webdriver.support.ui import Select

RATE_HZ, SECONDS = 24_000, 6.0
LOW_HZ, HIGH_HZ = 800, 6_500  # where two chirps begin: narrowing to 4 kHz leaves one of them
CAPTURED = "recording for the microphone.wav"
CAPTURE = """
const capture = navigator.mediaDevices?.getUserMedia;
if (capture) {
  navigator.mediaDevices.getUserMedia = async function (asked) {
    const stream = await capture.call(this, asked);
    window.captured = stream.getAudioTracks()[0].getSettings();
    return stream;
  };
}"""


def chirps(seconds=SECONDS):
    return 0.2 * sum(chirp(base, seconds, RATE_HZ) for base in (LOW_HZ, HIGH_HZ))


def find(browser, name):
    return browser.find_element("id", name)


def give(browser, path, narrow=""):
    """Choose a file and wait for its result."""
    Select(find(browser, "narrow")).select_by_value(narrow)
    find(browser, "file").send_keys(str(path))
    until(browser, lambda: ready(browser) and find(browser, "title").text == path.name)


def ready(browser):
    script = "return !result.hidden && !result.classList.contains('busy') && document.getElementById('state').textContent === ''"
    return browser.execute_script(script)


def state(browser):
    script = """return {position: Number(document.getElementById('position').value), label: play.getAttribute('aria-label'),
      chosen: document.querySelector('.track :checked')?.value, error: document.getElementById('error').innerText,
      heads: Array.from(document.querySelectorAll('.head'), head => parseFloat(head.style.left))}"""
    return browser.execute_script(script)
