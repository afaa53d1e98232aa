from __future__ import annotations

import shutil

import pytest
from synthetic_tree import Tree, config, means

from analysis import load
from analysis.clips import title
from analysis.players import NO_ROOM, NOT_KEPT, STUDENT_NOT_KEPT, audition
from analysis.worst import worst_clips


@pytest.fixture
def heard(tree):
    """Return a function that gives what the page plays; two clips have samples of every system."""
    rows = tree.rows("b", 0, "sinc", 0, means(5.0, 19.0, 0.1), copies=(False,))
    fixed = [("ground_truth", 1), ("degraded", 0), ("sinc", 0), ("teacher", 0.8), ("linear", 0.1), ("codec_ceiling", 0.9)]
    tree.run("baselines", [*rows, *tree.rows("b", 0, "codec_ceiling", 0, means(0.9, 19.0, 0.1))], samples=fixed)
    tree.run("points/a-s0", tree.rows("a", 0, "student", 1, means(1.0, 15.0, 0.1)), config(), samples=[("student-1", 0.7)])

    def choose(**settings):
        results = load(tree.root)
        return audition(results, worst_clips(results.table), **settings)

    return choose


def _keep(tree, utterance, systems=("student-1", "ground_truth", "degraded")):
    folder = tree.root / "points/a-s0/samples"
    source = folder / tree.utterances()[0][1] / "student-1.flac"
    for system in systems:
        (folder / utterance).mkdir(exist_ok=True)
        shutil.copy(source, folder / utterance / f"{system}.flac")


def _failures(heard, **settings):
    return {failure.utterance: failure for failure in heard(**settings).failures}


def test_clips_to_listen_to_have_every_system_in_listening_order(heard):
    clip = heard().listening[0]
    titles = ["ground truth", "degraded", "sinc", "student, 1 step", "teacher", "codec ceiling", "linear"]
    assert [player.title for player in clip.players] == titles
    assert [player.seconds for player in clip.players] == pytest.approx([1.2] * 7)


def test_failures_are_worst_first_with_values_and_a_reason_where_there_is_no_audio(heard):
    failures = heard().failures
    assert [failure.rank for failure in failures] == list(range(1, 11))
    values = [float(failure.scores[0][1]) for failure in failures]
    assert values == sorted(values, reverse=True)
    assert {failure.scores[0][0] for failure in failures} == {"student, 1 step"}
    silent = [failure for failure in failures if not failure.heard_at]
    assert {failure.reason for failure in silent} == {NOT_KEPT}
    assert "evaluate.worst" in NOT_KEPT


def test_a_kept_clip_is_played_among_the_failures_and_not_among_the_clips_to_listen_to(heard, tree):
    worst = heard().failures[0].utterance
    _keep(tree, worst)
    found = heard()
    assert [player.title for player in found.failures[0].clip.players] == ["ground truth", "degraded", "student, 1 step"]
    assert found.failures[0].reason == ""
    assert worst not in [clip.utterance for clip in found.listening]


def test_a_failure_without_the_students_audio_says_so(heard, tree):
    worst = heard().failures[0].utterance
    _keep(tree, worst, ("ground_truth",))
    failure = heard().failures[0]
    assert len(failure.clip.players) == 1
    assert failure.reason == STUDENT_NOT_KEPT


def test_audio_that_is_on_the_page_already_is_pointed_to(tmp_path):
    tree = Tree(tmp_path / "runs", speakers=1, clips=2)
    tree.run("baselines", tree.rows("b", 0, "sinc", 0, means(5.0, 19.0, 0.1), copies=(False,)), samples=[("ground_truth", 1)])
    tree.run("points/a-s0", tree.rows("a", 0, "student", 1, means(1.0, 15.0, 0.1)), config(), samples=[("student-1", 0.7)])
    results = load(tree.root)
    found = audition(results, worst_clips(results.table))
    assert {f.utterance: f.heard_at for f in found.failures} == {clip.utterance: i for i, clip in enumerate(found.listening, start=1)}
    assert all(failure.clip is None for failure in found.failures)


def test_clips_to_listen_to_are_served_first_from_the_budget_and_what_did_not_fit_is_said(heard, tree):
    worst = heard().failures[0].utterance
    _keep(tree, worst)
    sizes = [clip.size for clip in heard().listening]
    whole, tight = heard(budget=sum(sizes) + heard().failures[0].clip.size), heard(budget=sum(sizes))
    assert (whole.no_room, whole.failures[0].reason) == ({}, "")
    assert len(tight.listening) == 2
    assert list(tight.no_room) == [worst]
    assert (tight.failures[0].clip, tight.failures[0].reason) == (None, NO_ROOM)
    assert len(heard(budget=max(sizes)).listening) == 1
    assert heard(budget=0).listening == []


def test_a_file_that_is_no_audio_is_left_out_and_named(heard, tree):
    path = tree.root / "baselines/samples" / tree.utterances()[0][1] / "sinc.flac"
    path.write_bytes(b"no flac")
    found = heard()
    assert list(found.unreadable) == [path.relative_to(tree.root).as_posix()]
    assert [len(clip.players) for clip in found.listening] == [6, 7]


@pytest.mark.parametrize(("stem", "name"), [("student-1", "student, 1 step"), ("flow-32", "flow, 32 steps"),
                                            ("ground_truth", "ground truth"), ("something-else", "something-else")])  # fmt: skip
def test_a_sample_is_named_as_in_the_tables(stem, name):
    assert title(stem) == name
