import csv
import os
import shutil

import numpy as np
import pytest

from lcm.corpus import CorpusConfig, CorpusError, Manifest


def rejected(out):
    with (out / "rejected.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def test_bad_files_are_listed_with_reasons_and_the_rest_goes_on(speakers, built, record, tmp_path):
    (speakers / "anna0" / "empty.wav").touch()
    (speakers / "anna0" / "letter.wav").write_text("dear reader")
    record(speakers / "anna1" / "silent.wav", samples=np.zeros(4_000))
    record(speakers / "anna1" / "low.wav", rate=8_000)
    record(speakers / "anna2" / "nan.wav", samples=np.full(4_000, np.nan), subtype="FLOAT")
    record(speakers / "anna2" / "short.wav", seconds=0.01)
    cut = record(speakers / "anna3" / "cut.flac", seconds=1.0)
    cut.write_bytes(cut.read_bytes()[:9_000])
    (speakers / "anna3" / "readme.txt").write_text("no recording, no complaint")
    manifest, summary = built(speakers)
    reasons = {path: reason.split(":")[0] for path, reason in rejected(tmp_path / "corpus").items()}
    assert reasons == {
        "anna0/empty.wav": "empty",
        "anna0/letter.wav": "not audio",
        "anna1/silent.wav": "silent",
        "anna1/low.wav": "sample rate too low",
        "anna2/nan.wav": "not finite",
        "anna2/short.wav": "too short",
        "anna3/cut.flac": "truncated or damaged",
    }
    assert len(manifest.utterances) == 24
    counts = "1 empty, 1 not audio, 1 not finite, 1 sample rate too low, 1 silent, 1 too short, 1 truncated or damaged"
    assert f"Rejected: 7 ({counts})" in summary


def test_if_nothing_is_left_the_error_counts_the_reasons(tmp_path, built, record):
    record(tmp_path / "s" / "a.wav", samples=np.zeros(4_000))
    (tmp_path / "s" / "b.wav").touch()
    with pytest.raises(CorpusError, match=r"Every recording in .*s was rejected \(1 empty, 1 silent\)"):
        built(tmp_path / "s")


def test_a_folder_without_recordings_says_which_files_are_meant(tmp_path, built):
    (tmp_path / "s").mkdir()
    with pytest.raises(CorpusError, match=r"No recording in .*s for source 'folder'.*\.wav, \.flac, \.ogg or \.mp3"):
        built(tmp_path / "s")


def test_a_single_recording_cannot_be_trained_and_tested_on(tmp_path, built, record):
    record(tmp_path / "s" / "a.wav")
    with pytest.raises(CorpusError, match="No recording is left for the test split: 1 usable in all"):
        built(tmp_path / "s")


def test_speakers_are_disjoint_and_audio_is_found_by_the_manifest(speakers, built, tmp_path):
    manifest, _ = built(speakers)
    groups = [{u.speaker for u in manifest.split(name)} for name in ("train", "valid", "test")]
    assert all(groups)
    assert sum(map(len, groups)) == 6
    for utterance in Manifest.read(tmp_path / "corpus").utterances:
        assert manifest.audio_path(utterance).is_file()
        assert utterance.utterance == utterance.path.removesuffix(".flac").replace("/", "__")


def test_the_same_speech_elsewhere_has_the_same_identity(speakers, built, tmp_path):
    shutil.copytree(speakers, tmp_path / "copy")
    assert built(speakers)[0].identity == built(tmp_path / "copy", tmp_path / "other")[0].identity


def test_building_again_is_a_no_op_that_says_so(speakers, built, tmp_path):
    first, _ = built(speakers)
    before = (tmp_path / "corpus" / "manifest.csv").stat().st_mtime_ns
    second, summary = built(speakers)
    assert second == first
    assert "nothing to do" in summary
    assert (tmp_path / "corpus" / "manifest.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["file", "settings"])
def test_a_change_of_files_or_settings_builds_anew(speakers, built, record, change):
    first, _ = built(speakers)
    if change == "file":
        record(speakers / "anna0" / "more.wav")
    second, summary = built(speakers, seed=3 if change == "settings" else 0)
    assert second.identity != first.identity
    assert "nothing to do" not in summary


def test_a_build_that_was_cut_short_is_done_again(speakers, built, tmp_path):
    first, _ = built(speakers)
    (tmp_path / "corpus" / "manifest.json").unlink()
    assert built(speakers)[0] == first


def test_names_with_spaces_quotes_commas_and_other_scripts_are_fine(tmp_path, built, record):
    names = ["o'neil/a b.wav", 'quo"te/x,y.wav', "日本/こえ.flac", "ünï/ç.ogg", "$HOME/`ls`.wav", "UPPER/LOUD.WAV"]
    for name in names:
        record(tmp_path / "s" / name)
    manifest, _ = built(tmp_path / "s")
    assert {u.path for u in manifest.utterances} == set(names)
    assert Manifest.read(tmp_path / "corpus") == manifest


def test_a_name_that_is_not_utf_8_is_fine(tmp_path, built, record):
    record(tmp_path / "s" / "anna" / "plain.wav")
    record(tmp_path / "s" / "ben" / "x.wav").rename(tmp_path / "s" / "ben" / os.fsdecode(b"caf\xe9.wav"))
    manifest, _ = built(tmp_path / "s")
    read = Manifest.read(tmp_path / "corpus")
    assert read == manifest
    assert all(read.audio_path(u).is_file() for u in read.utterances)


def test_a_name_with_a_control_character_is_rejected(speakers, built, record, tmp_path):
    record(speakers / "anna0" / "two\nlines.wav")
    manifest, _ = built(speakers)
    assert len(manifest.utterances) == 24
    assert list(rejected(tmp_path / "corpus").values()) == ["unusable name: control character"]


def test_equal_stems_get_distinct_ids(tmp_path, built, record):
    for name in ("a/x.wav", "a/x.flac", "b/x.wav", "a__x.wav"):
        record(tmp_path / "s" / name)
    manifest, _ = built(tmp_path / "s")
    assert len({u.utterance for u in manifest.utterances}) == 4


def test_a_loop_of_links_ends_and_nothing_is_read_twice(speakers, built):
    (speakers / "anna0" / "loop").symlink_to(speakers, target_is_directory=True)
    (speakers / "again").symlink_to(speakers / "anna1", target_is_directory=True)
    assert len(built(speakers)[0].utterances) == 24


def test_a_folder_linked_into_the_tree_is_read(speakers, built, record, tmp_path):
    record(tmp_path / "elsewhere" / "zoe" / "1.wav")
    (speakers / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert "linked/zoe/1.wav" in {u.path for u in built(speakers)[0].utterances}


def test_a_dangling_link_is_rejected(speakers, built, tmp_path):
    (speakers / "anna0" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    built(speakers)
    assert rejected(tmp_path / "corpus")["anna0/gone.wav"].startswith("missing")


def test_a_speaker_pattern_names_speakers_and_rejects_what_it_does_not_match(tmp_path, built, record):
    for name in ("set1/anna-1.wav", "set2/anna-2.wav", "set1/ben-1.wav", "set2/odd.wav"):
        record(tmp_path / "s" / name)
    manifest, _ = built(tmp_path / "s", speaker_pattern=r"(?P<speaker>[a-z]+)-\d+\.wav$")
    expected = {"set1/anna-1.wav": "anna", "set2/anna-2.wav": "anna", "set1/ben-1.wav": "ben"}
    assert {u.path: u.speaker for u in manifest.utterances} == expected
    assert rejected(tmp_path / "corpus")["set2/odd.wav"].startswith("no speaker")


def test_a_single_speaker_is_split_by_file_with_a_warning(tmp_path, built, record):
    for i in range(10):
        record(tmp_path / "s" / f"{i}.wav")
    manifest, summary = built(tmp_path / "s")
    assert all(manifest.split(name) for name in ("train", "valid", "test"))
    assert "Warning: A single speaker: split by file" in summary


def test_a_test_root_is_the_test_split_and_nothing_else_is(speakers, built, record, tmp_path):
    for i in range(3):
        record(tmp_path / "unseen" / f"zoe{i}" / "0.flac")
    manifest, summary = built(speakers, test_root=str(tmp_path / "unseen"))
    assert {u.speaker for u in manifest.split("test")} == {"zoe0", "zoe1", "zoe2"}
    assert len(manifest.split("train")) + len(manifest.split("valid")) == 24
    assert all(manifest.audio_path(u).is_file() for u in manifest.utterances)
    assert "Warning" not in summary


def test_a_test_root_inside_the_root_is_not_trained_on(speakers, built):
    manifest, _ = built(speakers, test_root=str(speakers / "anna2"))
    assert {u.path for u in manifest.split("test")} == {f"anna2/{i}.flac" for i in range(4)}
    assert {u.speaker for u in manifest.split("test")} == {"anna2"}
    assert len(manifest.utterances) == 24


def test_a_test_speaker_who_is_trained_on_is_a_warning(speakers, built, record, tmp_path):
    record(tmp_path / "unseen" / "anna1" / "9.flac")
    _, summary = built(speakers, test_root=str(tmp_path / "unseen"))
    assert "Warning: 1 speaker(s) of the test are in training or validation too: anna1" in summary


def test_a_copy_of_a_recording_in_another_split_is_a_warning(speakers, built, tmp_path):
    (tmp_path / "unseen" / "zoe").mkdir(parents=True)
    shutil.copy(speakers / "anna1" / "0.flac", tmp_path / "unseen" / "zoe" / "0.flac")
    _, summary = built(speakers, test_root=str(tmp_path / "unseen"))
    assert "1 recording(s) are in more than one split as identical files" in summary


def test_max_seconds_keeps_a_part_and_says_how_many_it_left_out(speakers, built):
    manifest, summary = built(speakers, max_seconds=2.0)
    assert sum(u.seconds for u in manifest.utterances) < 2.3
    assert {u.split for u in manifest.utterances} == {"train", "valid", "test"}
    assert f"Left out beyond max_seconds: {24 - len(manifest.utterances)}" in summary


def libritts(root, record, *subsets):
    for subset in subsets:
        for speaker in range(1, 5):
            number = 100 * len(subset) + speaker
            for i in range(2):
                record(root / subset / str(number) / "77" / f"{number}_77_000001_00000{i}.wav")
    return root


def test_libritts_is_read_by_its_layout(tmp_path, built, record):
    root = libritts(tmp_path / "LibriTTS", record, "train-clean-100")
    record(root / "train-clean-100" / "stray.wav")
    (root / "train-clean-100" / "1501" / "77" / "1501_77_000001_000000.normalized.txt").write_text("text")
    manifest, _ = built(root, source="libritts")
    by_id = {u.utterance: u for u in manifest.utterances}
    assert len(by_id) == 8
    row = by_id["1501_77_000001_000000"]
    assert (row.speaker, row.path) == ("1501", "train-clean-100/1501/77/1501_77_000001_000000.wav")
    assert list(rejected(tmp_path / "corpus")) == ["train-clean-100/stray.wav"]


def test_libritts_subsets_are_chosen_and_a_missing_one_is_named(tmp_path, built, record):
    root = libritts(tmp_path / "LibriTTS", record, "dev-clean", "test-clean")
    manifest, _ = built(root, source="libritts", subsets=("dev-clean",))
    assert {u.path.split("/")[0] for u in manifest.utterances} == {"dev-clean"}
    assert {u.split for u in manifest.utterances} == {"train", "valid", "test"}
    with pytest.raises(CorpusError, match=r"No subset train-clean-100 in .*Subsets there are: dev-clean, test-clean"):
        built(root, source="libritts", subsets=("train-clean-100",))


def test_libritts_own_splits_are_kept_beside_a_training_subset(tmp_path, built, record):
    root = libritts(tmp_path / "LibriTTS", record, "train-clean-100", "dev-clean", "test-clean1")
    manifest, _ = built(root, source="libritts")
    expected = {"train-clean-100": "train", "dev-clean": "valid", "test-clean1": "test"}
    assert all(u.split == expected[u.path.split("/")[0]] for u in manifest.utterances)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test_fraction": 1.0}, "test_fraction = 1.0"),
        ({"valid_fraction": 0.6, "test_fraction": 0.5}, "a sum below 1"),
        ({"source": "folder", "speaker_pattern": "("}, "not a regular expression"),
        ({"source": "folder", "speaker_pattern": "abc"}, "no group named speaker"),
        ({"source": "demo", "test_root": "x"}, "works with source 'folder' only"),
    ],
)
def test_impossible_settings_are_refused_with_what_was_expected(settings, message):
    with pytest.raises(CorpusError, match=message):
        CorpusConfig(**settings)


def test_an_unknown_source_and_a_missing_folder_are_named(tmp_path, built):
    with pytest.raises(CorpusError, match="Valid sources are: demo, folder, libritts"):
        built(tmp_path, source="vctk")
    with pytest.raises(CorpusError, match=r"root = .*nowhere is not a folder"):
        built(tmp_path / "nowhere")
