import pytest

from lcm.corpus.speakers import guess_speakers, match_speakers, utterance_ids


def test_a_name_prefix_shared_by_several_files_is_the_speaker():
    paths = ["vctk/p225_001.wav", "vctk/p225_002.wav", "vctk/p226_001.wav", "libri/1089_1_2.flac", "libri/1089_1_3.flac"]
    assert guess_speakers(paths)[0] == ["p225", "p225", "p226", "1089", "1089"]


@pytest.mark.parametrize(
    "paths",
    [
        ["anna/001_hello.wav", "anna/002_bye.wav", "ben/001_hello.wav", "ben/002_bye.wav"],  # counters in each folder
        ["anna/a.wav", "anna/b_1.wav", "ben/a.wav", "ben/b_1.wav"],  # not every name has a prefix
        ["anna/rec_1.wav", "anna/rec_2.wav", "ben/rec_1.wav", "ben/rec_2.wav"],  # one prefix for all
        ["anna/x1_a.wav", "anna/x2_a.wav", "ben/y1_a.wav", "ben/y2_a.wav"],  # a prefix for each file
    ],
)
def test_otherwise_the_folder_is_the_speaker(paths):
    assert guess_speakers(paths)[0] == ["anna", "anna", "ben", "ben"]


def test_files_in_the_root_itself_have_its_name_as_speaker():
    assert guess_speakers(["lj/LJ001-0001.wav", "lj/LJ001-0002.wav"])[0] == ["lj", "lj"]


def test_a_pattern_reads_the_speaker_from_anywhere_in_the_path():
    assert match_speakers(["set/anna/1.wav", "2.wav"], r"^[^/]+/(?P<speaker>[^/]+)/") == ["anna", None]


def test_ids_that_collide_are_told_apart_whatever_the_order():
    keys = ["a/b.wav", "a/b.flac", "c.wav"]
    ids = utterance_ids(["a__b", "a__b", "c"], keys)
    assert len(set(ids)) == 3
    assert ids[2] == "c"
    assert utterance_ids(["c", "a__b", "a__b"], ["c.wav", "a/b.flac", "a/b.wav"]) == [ids[2], ids[1], ids[0]]


def test_ids_can_name_a_folder_and_a_record_whatever_the_file_is_called():
    odd = ["*", "a|b", "..", ".hidden", "", "x" * 400, "é" * 200, b"caf\xe9".decode("utf-8", "surrogateescape")]
    ids = utterance_ids(odd, [str(i) for i in range(len(odd))])
    assert len(set(ids)) == len(odd)
    for name in ids:
        assert name
        assert not set(name) & set("*|/\\")
        assert not name.startswith(".")
        assert len(name.encode("utf-8")) <= 160
