import dataclasses
from pathlib import Path

import pytest

from lcm.corpus import CorpusError, Manifest, Utterance


def utterances():
    odd = Utterance('a "quoted", näme', 'a "quoted", näme.wav', "名前", "train", 1.234567, "ab" * 32, 24_000, 12_000.0)
    return (odd, dataclasses.replace(odd, utterance="b", path="b.wav", split="test", sha256="cd" * 32))


def test_a_manifest_is_read_back_as_it_was_written(tmp_path):
    manifest = Manifest(utterances(), Path("/somewhere/else"))
    manifest.write(tmp_path / "corpus")
    assert Manifest.read(tmp_path / "corpus") == manifest
    assert manifest.audio_path(manifest.utterances[1]) == Path("/somewhere/else/b.wav")


def test_the_columns_are_those_of_the_contract(tmp_path):
    Manifest(utterances(), tmp_path).write(tmp_path)
    header = (tmp_path / "manifest.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "utterance,path,speaker,split,seconds,sha256,sample_rate_hz,bandwidth_hz"


def test_a_corpus_whose_recordings_lie_inside_can_be_moved(tmp_path):
    Manifest(utterances(), tmp_path / "old" / "audio").write(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert Manifest.read(tmp_path / "new").root == tmp_path / "new" / "audio"


def test_a_file_name_that_is_not_utf_8_survives(tmp_path):
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    manifest = Manifest((dataclasses.replace(utterances()[0], path=name),), tmp_path)
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path).utterances[0].path == name


def test_the_identity_tells_ids_contents_and_splits_and_nothing_else():
    first, second = utterances()
    identity = Manifest((first, second), Path("/a")).identity
    assert identity == Manifest((second, dataclasses.replace(first, path="moved.wav")), Path("/b")).identity
    for change in ({"utterance": "c"}, {"sha256": "ef" * 32}, {"split": "valid"}):
        assert identity != Manifest((dataclasses.replace(first, **change), second), Path("/a")).identity


def test_a_changed_row_is_noticed(tmp_path):
    Manifest(utterances(), tmp_path).write(tmp_path)
    table = tmp_path / "manifest.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",test,", ",train,"), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"manifest\.csv was changed"):
        Manifest.read(tmp_path)


def test_a_missing_manifest_says_what_to_do(tmp_path):
    with pytest.raises(CorpusError, match=r"manifest\.csv is missing: build the corpus"):
        Manifest.read(tmp_path)


def test_a_split_is_asked_for_by_name():
    manifest = Manifest(utterances(), Path("/a"))
    assert [u.utterance for u in manifest.split("test")] == ["b"]
    with pytest.raises(CorpusError, match="Valid splits are: train, valid, test"):
        manifest.split("dev")
