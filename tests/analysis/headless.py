"""A real headless Chromium for the tests of pages, and what is heard there, recorded where a page hands it to the device.

A chirp in a band of its own tells which track was heard, and at which position.
"""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager

import numpy as np
import pytest
from scipy.signal import butter, hilbert, sosfiltfilt

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1300,1000",
)  # fmt: skip

RISE_HZ_S, AFTER_S = 100.0, 0.35
RECORD = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    if (window.recorder?.context !== this.context) window.recorder = Object.assign(this.context.createAnalyser(), { fftSize: 32768 });
    connect.call(this, window.recorder);
  }
  return connect.call(this, to, ...rest);
};
addEventListener("keydown", event => {
  if (!/^[1-9]$/.test(event.key) || !window.recorder) return;
  const { context, fftSize } = window.recorder, end = context.currentTime + AFTER_S;
  window.recorded = null;
  const take = () => {
    if (context.currentTime < end) return setTimeout(take, 2);
    const samples = new Float32Array(fftSize);
    window.recorder.getFloatTimeDomainData(samples);
    window.recorded = [Array.from(samples), context.sampleRate];
  };
  take();
}, true);""".replace("AFTER_S", str(AFTER_S))
"""Keeps what is handed to the device; the page itself takes it, `AFTER_S` after a digit was pressed, however late the driver answers."""


@contextmanager
def chromium(profile, *flags):
    """Yield a window on an empty page that logs its console and its requests."""
    from selenium import webdriver as selenium  # from the extra `browser`, which `make install` takes

    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.fail("no chromium and chromedriver on PATH: `make test-all` installs them (.ci/system-packages)")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"]})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    window.set_script_timeout(30)
    window.get("about:blank")
    window.get_log("performance")  # Debian's Chromium opens a start page of its own first: that is not the report's doing
    yield window
    window.quit()


def messages(window):
    """Return what the console has said since the last call."""
    return [entry for entry in window.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def centre(window, element):
    window.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    return element


def press(window, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(window).send_keys(*keys).perform()


def until(window, holds, seconds=60):
    """Wait until something holds; the time is a patience with a busy machine, and no bound that is tested."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, window.execute_script("return document.body.innerText")
        time.sleep(0.02)


def chirp(base_hz, seconds, rate_hz):
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    return np.sin(2 * np.pi * (base_hz * at + RISE_HZ_S * at**2 / 2))


def recording(window):
    """Return the 32,768 samples that were heard until `AFTER_S` after the last digit was pressed, and their rate."""
    until(window, lambda: window.execute_script("return Boolean(window.recorded)"))
    samples, rate = window.execute_script("return window.recorded")
    return np.array(samples), rate


def frames(samples, rate, base_hz, seconds, length_s=0.005):
    """Return the level of one chirp's band, and the position that the chirp has, by frame."""
    band = butter(4, (base_hz - 150, base_hz + RISE_HZ_S * seconds + 150), "bandpass", fs=rate, output="sos")
    analytic, size = hilbert(sosfiltfilt(band, samples)), int(length_s * rate)
    cut = len(samples) // size * size
    turned = np.diff(np.unwrap(np.angle(analytic)), append=0)[:cut].reshape(-1, size)
    level = np.sqrt((np.abs(analytic)[:cut].reshape(-1, size) ** 2).mean(1))
    return level, (np.median(turned, axis=1) * rate / (2 * np.pi) - base_hz) / RISE_HZ_S
