import time

import numpy as np
import pytest

from lcm.audio import load_mono_24k, read
from lcm.corpus import CorpusConfig, CorpusError, build
from lcm.corpus.demo import VOICES, plan, synthesise_corpus


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.glob("*/*.flac"))}


def test_the_demo_speech_is_the_same_to_the_bit_every_time(tmp_path):
    first = contents(synthesise_corpus(tmp_path / "a", 3, 2))
    assert len(first) == 6
    time.sleep(1.1)  # espeak-ng seeds its noise with the time in seconds unless told otherwise
    assert first == contents(synthesise_corpus(tmp_path / "b", 3, 2))


def test_demo_speech_in_the_cache_is_used_again(tmp_path):
    folder = synthesise_corpus(tmp_path, 2, 1)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    assert synthesise_corpus(tmp_path, 2, 1) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*")} == before


def test_speech_left_by_a_killed_process_is_not_taken_for_the_corpus(tmp_path):
    whole = contents(synthesise_corpus(tmp_path / "a", 2, 1))
    name = synthesise_corpus(tmp_path / "a", 2, 1).name
    (tmp_path / "b" / f"{name}.1.part" / "f1").mkdir(parents=True)
    assert contents(synthesise_corpus(tmp_path / "b", 2, 1)) == whole


def test_demo_speech_has_content_from_6_to_11_khz_and_no_clipping(tmp_path):
    folder = synthesise_corpus(tmp_path, 2, 2)
    for path in folder.glob("*/*.flac"):
        assert read(path)[1] == 22_050
        samples = load_mono_24k(path)
        power = np.abs(np.fft.rfft(samples)) ** 2
        hz = np.fft.rfftfreq(len(samples), 1 / 24_000)
        high_db = 10 * np.log10(power[(hz > 6_000) & (hz < 10_500)].sum() / power.sum())
        assert high_db > -35
        assert 0.1 < np.abs(samples).max() < 0.95


def test_the_default_size_suits_a_demo(tmp_path):
    manifest = build(CorpusConfig(), tmp_path)
    minutes = {name: sum(u.seconds for u in manifest.split(name)) / 60 for name in ("train", "valid", "test")}
    assert 7.5 < minutes["train"] < 10
    assert 0.3 < minutes["valid"] < 1
    assert 1 < minutes["test"] < 2
    assert {u.speaker for u in manifest.split("test")}.isdisjoint(u.speaker for u in manifest.split("train"))
    assert {u.bandwidth_hz for u in manifest.utterances} == {11_025.0}


def test_voices_do_not_repeat_themselves():
    for i in range(len(VOICES)):
        lines = [line["text"] for line in plan(20, 16) if line["voice"]["name"] == VOICES[i].name]
        assert len(set(lines)) == 16


@pytest.mark.parametrize(("voices", "utterances"), [(1, 6), (21, 6), (20, 0), (20, 17)])
def test_an_impossible_size_is_refused_with_the_range(voices, utterances):
    with pytest.raises(CorpusError, match="expected 2 to 20 voices and 1 to 16 utterances"):
        plan(voices, utterances)
