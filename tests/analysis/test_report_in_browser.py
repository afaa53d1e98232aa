"""The report opened in a real headless Chromium, from a file."""

from __future__ import annotations

import shutil

import pytest

from analysis.report import build

pytestmark = pytest.mark.browser
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required", "--window-size=1300,1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(full, tmp_path_factory):
    from selenium import webdriver as selenium  # from the extra `browser`, which `make install` takes

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.fail("no chromium and chromedriver on PATH: `make test-all` installs them (.ci/system-packages)")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"]})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    window.get("about:blank")
    window.get_log("performance")  # Debian's Chromium opens a start page of its own first: that is not the report's doing
    window.get(build(full.root, tmp_path_factory.mktemp("report")).as_uri())
    yield window
    window.quit()


def _column(browser, index):
    rows = "Array.from(document.querySelectorAll('#results-table tbody tr'), row => row.cells[arguments[0]].firstChild.textContent.trim())"
    return browser.execute_script(f"return {rows}", index)


def _header(browser, name):
    button = next(b for b in browser.find_elements("css selector", "#results-table th button") if b.text.startswith(name))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
    return button


def test_the_page_opens_without_console_messages_or_outside_requests(browser):
    urls = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert [url for url in urls if not url.startswith(("data:", "file:"))] == []
    assert not [entry for entry in browser.get_log("performance") if '"url":"http' in entry["message"]]


def test_every_image_is_shown(browser):
    assert browser.execute_script("return Array.from(document.images, i => i.naturalWidth > 400)") == [True] * 8


def test_a_click_sorts_by_value_and_a_second_one_reverses(browser):
    _header(browser, "LSD-HF").click()
    values = [float(text) for text in _column(browser, 2)]
    assert values == sorted(values)
    _header(browser, "LSD-HF").click()
    assert [float(text) for text in _column(browser, 2)] == sorted(values, reverse=True)


def test_the_keyboard_sorts_too_and_the_state_is_announced(browser):
    button = _header(browser, "system")
    button.send_keys("\ue007")  # Enter
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    assert _column(browser, 0) == sorted(_column(browser, 0), key=str.lower)


def test_every_player_has_a_duration_and_one_plays_at_a_time(browser):
    wait = """const done = arguments[0], all = Array.from(document.querySelectorAll('audio'));
      Promise.all(all.map(a => a.readyState > 0 ? a.duration : new Promise(r => a.addEventListener('loadedmetadata', () => r(a.duration)))))
        .then(async d => { await all[0].play(); await all[1].play(); await new Promise(r => setTimeout(r, 100));
                           done({durations: d, first: all[0].paused, second: all[1].currentTime}); }, e => done(String(e)));"""
    found = browser.execute_async_script(wait)
    assert found["durations"] == pytest.approx([1.2] * 14, abs=0.01)
    assert found["first"]
    assert found["second"] > 0


def test_nothing_runs_out_of_the_window_on_a_telephone(browser):
    browser.set_window_size(500, 900)
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
