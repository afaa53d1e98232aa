"""The page's server over real connections, with real files."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile

from lcm.page.server import AT_ONCE
from lcm.page.trial import KEPT, Limits


def _ask(page, method, address, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port, timeout=60)
    connection.request(method, address, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def _restore(page, body, name="clip.wav", **settings):
    answer, content = _ask(page, "POST", f"/restore?{urlencode({'name': name, **settings})}", body)
    return answer.status, json.loads(content)


def _audio(page, address):
    answer, content = _ask(page, "GET", address)
    assert answer.status == 200
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return samples.T, rate


def _uploads(page):
    return [path.name for path in page.trials.folder.iterdir() if path.name.startswith("upload")]


def test_a_recording_comes_back_at_24_khz_with_its_facts_and_three_tracks_of_one_rate_and_length(page, written, narrow):
    status, said = _restore(page, written(narrow, 12_000, subtype="FLOAT"))
    assert status == 200
    assert (said["rate_hz"], said["output_rate_hz"], said["channels"], said["passed"], said["narrowed_hz"]) == (
        12_000, 24_000, 1, False, None,
    )  # fmt: skip
    assert said["seconds"] == pytest.approx(len(narrow) / 12_000)
    assert said["cutoff_hz"] == pytest.approx(6_000, abs=300)
    assert 0 < said["restore_s"] < said["all_s"]
    tracks = {name: _audio(page, address) for name, address in said["tracks"].items()}
    assert list(tracks) == ["original", "restored", "sinc"]
    assert {(samples.shape, rate) for samples, rate in tracks.values()} == {((1, 2 * len(narrow)), 24_000)}
    restored, sinc = tracks["restored"][0], tracks["sinc"][0]
    spectrum = np.abs(np.fft.rfft(np.hanning(restored.shape[1]) * [restored[0], sinc[0]]))
    hz = np.fft.rfftfreq(restored.shape[1], 1 / 24_000)
    assert spectrum[0, hz > 7_000].mean() > 100 * spectrum[1, hz > 7_000].mean()
    assert np.array_equal(_audio(page, said["download"])[0], restored)


def test_the_download_is_what_the_upscaler_gives_in_python(page, upscaler, written, narrow):
    _, said = _restore(page, written(narrow, 12_000, subtype="FLOAT"))
    assert np.array_equal(_audio(page, said["download"])[0][0], upscaler(narrow, 12_000).waveform)


@pytest.mark.parametrize(
    ("container", "subtype"), [("WAV", "PCM_U8"), ("WAV", "MS_ADPCM"), ("WAV", "DOUBLE"), ("FLAC", None), ("OGG", None), ("MP3", None)]
)
def test_stereo_of_any_format_stays_stereo(page, written, narrow, container, subtype):
    status, said = _restore(page, written(np.stack([narrow, -0.5 * narrow]), 12_000, container, subtype))
    assert status == 200, said
    samples, rate = _audio(page, said["download"])
    assert (samples.shape[0], rate) == (2, 24_000)
    assert samples.shape[1] == pytest.approx(2 * len(narrow), rel=0.1)


def test_a_narrowed_recording_is_played_beside_the_truth_at_its_own_rate(page, written, speech):
    from lcm.audio import resample

    status, said = _restore(page, written(resample(speech, 24_000, 48_000), 48_000, subtype="FLOAT"), narrow="4000")
    assert status == 200
    assert (said["narrowed_hz"], said["output_rate_hz"], said["player_rate_hz"]) == (4_000, 24_000, 48_000)
    assert said["cutoff_hz"] == pytest.approx(4_000, abs=200)
    tracks = {name: _audio(page, address)[0][0] for name, address in said["tracks"].items()}
    assert {len(samples) for samples in tracks.values()} == {2 * len(speech)}
    download, rate = _audio(page, said["download"])
    assert (download.shape, rate) == ((1, len(speech)), 24_000)
    hz = np.fft.rfftfreq(2 * len(speech), 1 / 48_000)
    above = {name: np.abs(np.fft.rfft(samples))[(hz > 4_500) & (hz < 10_000)].mean() for name, samples in tracks.items()}
    assert above["sinc"] < 0.01 * above["original"]
    assert above["restored"] > 5 * above["sinc"]


def test_narrowing_leaves_a_recording_that_has_no_more_as_it_is(page, written, narrow):
    assert _restore(page, written(narrow, 12_000), narrow="6000")[1]["narrowed_hz"] is None


def test_a_given_bandwidth_is_used(page, written, narrow):
    assert _restore(page, written(narrow, 12_000), cutoff="5000")[1]["cutoff_hz"] == 5_000


def test_a_full_band_recording_is_returned_unchanged_and_that_is_said(page, written):
    noise = np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)
    status, said = _restore(page, written(noise, 24_000, subtype="FLOAT"))
    assert (status, said["passed"]) == (200, True)
    assert np.array_equal(_audio(page, said["download"])[0][0], noise)


def test_silence_stays_silence(page, written):
    _, said = _restore(page, written(np.zeros(12_000), 12_000))
    assert not _audio(page, said["download"])[0].any()


BAD = {
    "empty": (b"", "0 bytes"),
    "text": (b"Dear Sir or Madam,\n" * 100, "not audio"),
    "html called wav": (b"<!doctype html><p>404", "not audio"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_audio_is_refused_by_its_own_name_alone(page, kind):
    body, reason = BAD[kind]
    status, said = _restore(page, body, f"{kind}.wav")
    assert status == 422
    assert said["error"].startswith(f"{kind}.wav: ")
    assert reason in said["error"]
    assert str(page.trials.folder) not in said["error"]
    assert _uploads(page) == []


def test_audio_that_cannot_be_restored_is_refused_with_the_reason(page, written, narrow):
    holed = narrow.copy()
    holed[700] = np.nan
    whole = written(narrow, 12_000)
    cases = {
        "700": written(holed, 12_000, subtype="FLOAT"),
        "truncated": whole[: len(whole) // 2],
        "no samples": written(np.zeros((0,)), 12_000),
        "300 channels": written(np.zeros((300, 64)), 12_000),
        "sample rate of 1000 Hz": written(narrow, 1_000),
    }
    for reason, body in cases.items():
        status, said = _restore(page, body)
        assert (status, said["error"].startswith("clip.wav: ")) == (422, True), said
        assert reason in said["error"]
    assert _uploads(page) == []
    assert _restore(page, whole)[0] == 200


def test_a_small_file_that_holds_more_than_the_longest_recording_is_refused_before_it_fills_memory(serving, written):
    with serving(Limits(seconds=30.0)) as page:
        body = written(np.zeros(31 * 24_000), 24_000, "FLAC")
        assert len(body) < 20_000
        status, said = _restore(page, body, "long.flac")
        assert (status, "longer than 30 s" in said["error"]) == (422, True)
        assert _restore(page, written(np.zeros(30 * 24_000), 24_000, "FLAC"))[0] == 200


def test_a_file_beyond_the_size_limit_is_refused_with_both_sizes_though_it_is_sent_whole(serving):
    with serving(Limits(bytes=2_000_000)) as page:
        status, said = _restore(page, bytes(9_000_000), "big.wav")
        assert status == 413
        assert said["error"].startswith("big.wav: the file has 9.0 MB; this page takes at most 2 MB.")
        assert list(page.trials.folder.iterdir()) == []


@pytest.mark.parametrize(
    "settings", [{"narrow": "x"}, {"narrow": "1999"}, {"narrow": "9" * 5000}, {"cutoff": "nan"}, {"cutoff": "-1"}, {"cutoff": "99"}]
)
def test_settings_out_of_range_are_refused_with_what_was_expected(page, written, narrow, settings):
    status, said = _restore(page, written(narrow, 12_000), **settings)
    assert (status, "expected" in said["error"]) == (422, True)


@pytest.mark.parametrize(
    "address",
    [
        "/../trial.py",
        "/static/index.html",
        "//etc/passwd",
        "/results/../upload.wav",
        "/results/x/original.wav",
        "/results/%2e%2e/original.wav",
        "/page.css/..",
    ],
)
def test_no_address_is_taken_as_a_path(page, address):
    answer, content = _ask(page, "GET", address)
    assert answer.status == 404
    assert "error" in json.loads(content)


def test_only_the_latest_results_are_kept(serving, written):
    with serving() as page:
        body = written(np.zeros(2_400), 24_000)
        said = [_restore(page, body)[1] for _ in range(KEPT + 1)]
        assert len(list(page.trials.folder.iterdir())) == KEPT
        answer, content = _ask(page, "GET", said[0]["download"])
        assert (answer.status, "kept no longer" in json.loads(content)["error"]) == (404, True)
        assert all(_ask(page, "GET", each["download"])[0].status == 200 for each in said[1:])


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}])
def test_other_sites_cannot_use_the_page_through_a_browser(page, headers):
    for method, address in (("POST", "/restore"), ("GET", "/")):
        answer, content = _ask(page, method, address, b"" if method == "POST" else None, **headers)
        assert (answer.status, "error" in json.loads(content)) == (403, True)


def test_the_page_answers_under_each_name_of_this_machine(page):
    for host in (f"127.0.0.1:{page.server_port}", f"localhost:{page.server_port}", "localhost:9", "[::1]:80"):
        answer, content = _ask(page, "GET", "/", Host=host)
        assert (answer.status, content.startswith(b"<!doctype html>")) == (200, True)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_it_listens_on_this_machine_alone_unless_told_otherwise(page):
    assert page.server_address[0] == "127.0.0.1"
    assert page.private


class Watched:
    """The real upscaler, and how many recordings were in it at once."""

    def __init__(self, upscaler):
        self.upscaler, self.inside, self.most = upscaler, 0, 0

    def __call__(self, *given, **settings):
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(0.05)
        try:
            return self.upscaler(*given, **settings)
        finally:
            self.inside -= 1


def test_recordings_sent_at_once_are_restored_one_by_one_and_alike(serving, upscaler, written, narrow):
    body, found = written(narrow, 12_000), []
    with serving() as page:
        page.trials._upscaler = Watched(upscaler)
        threads = [threading.Thread(target=lambda: found.append(_restore(page, body))) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [status for status, _ in found] == [200] * AT_ONCE
        assert page.trials._upscaler.most == 1
        first, *others = (_audio(page, said["download"])[0] for _, said in found)
        assert all(np.array_equal(first, other) for other in others)


def _begin(page, length):
    """Send the head of an upload and none of its body."""
    connection = socket.create_connection(("127.0.0.1", page.server_port), timeout=60)
    connection.sendall(f"POST /restore?name=slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode())
    return connection


def test_more_uploads_than_it_takes_at_once_are_told_to_come_again_and_a_client_that_goes_away_frees_its_place(serving, written, narrow):
    with serving() as page:
        body = written(narrow, 12_000)
        waiting = [_begin(page, len(body)) for _ in range(AT_ONCE)]
        _until(lambda: len(_uploads(page)) == AT_ONCE)
        status, said = _restore(page, body)
        assert (status, "try again" in said["error"]) == (503, True)
        for connection in waiting:
            connection.sendall(body[:100])
            connection.close()
        _until(lambda: _uploads(page) == [])
        _until(lambda: page.slots._value == AT_ONCE)
        assert _restore(page, body)[0] == 200


def _until(holds):
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_body_of_unstated_length_is_refused(page):
    def blocks():
        yield b"RIFF"

    answer, content = _ask(page, "POST", "/restore?name=x", blocks())
    assert (answer.status, "length" in json.loads(content)["error"]) == (411, True)


def test_a_failure_that_nobody_foresaw_is_an_answer_too_and_its_trace_is_in_the_terminal(serving, written, narrow, capfd):
    with serving() as page:
        page.trials._upscaler = None
        status, said = _restore(page, written(narrow, 12_000))
        assert (status, said["error"]) == (500, "clip.wav: the server failed; its terminal says why.")
        assert "TypeError" in capfd.readouterr().err
