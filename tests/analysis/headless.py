"""A real headless Chromium for the tests of the page."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1300,1000",
)  # fmt: skip


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
