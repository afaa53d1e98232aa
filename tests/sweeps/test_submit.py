"""What of a sweep is submitted, and what a sweep would take: from the disk alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lcm.errors import LcmError
from lcm.paths import Root, Run
from slurm.cluster import load_cluster
from slurm.site import Site
from slurm.submission import Submissions
from sweeps.point import run_point
from sweeps.sweep.cost import hours, measured, memory
from sweeps.sweep.dry_run import report
from sweeps.sweep.freeze import freeze, points, root_of, write_frozen
from sweeps.sweep.preparation import check_prepared
from sweeps.sweep.record import Sweep, write_sweep
from sweeps.sweep.settings import LauncherConfig, LauncherNode
from sweeps.sweep.submit import Launched, busy_keys, sort, submit_points

HERE = load_cluster("local")


@pytest.fixture(scope="module")
def frozen(tiny):
    """A point that is done and one with another rate."""
    configs = [freeze(config, HERE) for config in (tiny, replace(tiny, train=replace(tiny.train, rate=2e-4)))]
    run_point(configs[0])
    return configs


def _sorted(configs, root=None):
    named = points(configs, [[f"number={number}"] for number in range(len(configs))])
    return sort(root or root_of(configs[0]), named, dict(enumerate(configs)))


def test_a_point_that_is_done_is_left_out_and_its_folder_is_known(frozen):
    found = _sorted(frozen)
    assert found.submit == [1]
    assert found.lines == ["1 of 2 points are done"]
    assert all(len(point.run) == len("0123456789ab-s0") for point in found.points)


def test_a_point_that_is_to_be_evaluated_in_another_way_is_not_done(frozen):
    other = replace(frozen[0], evaluate=replace(frozen[0].evaluate, steps=[2]))
    assert _sorted([other]).submit == [0]
    assert _sorted([other]).points[0].run == _sorted(frozen).points[0].run  # no new training


def test_a_point_given_twice_is_submitted_once(frozen):
    found = _sorted([frozen[1], replace(frozen[1], jobs=3)])
    assert (found.submit, len(found.points)) == ([0], 1)


def test_where_the_precision_is_found_out_on_the_node_a_done_point_is_still_known(frozen):
    auto = [replace(config, train=replace(config.train, precision="auto")) for config in frozen]
    found = _sorted(auto)
    assert found.submit == [1]
    assert found.points[1].run == ""


def test_where_the_precision_is_found_out_on_the_node_a_trained_point_is_not_trained_again_in_another(frozen):
    other = replace(frozen[0], evaluate=replace(frozen[0].evaluate, steps=[2]))
    found = _sorted([replace(other, train=replace(other.train, precision="auto"))])
    assert (found.submit, found.points[0].run) == ([0], _sorted([other]).points[0].run)


def test_what_is_still_to_be_prepared_is_known_by_what_the_points_share(frozen, tmp_path):
    configs = [replace(config, root=str(tmp_path)) for config in [*frozen, replace(frozen[0], seed=1)]]
    configs[1] = replace(configs[1], data=replace(configs[1].data, target="teacher"))
    found = _sorted(configs)
    assert set(found.needs) == {0, 1, 2}
    assert found.needs[0] == found.needs[2] != found.needs[1]


def test_what_a_live_job_has_is_busy_by_what_it_is_not_by_its_number(frozen, tmp_path, monkeypatch):
    root = Root(tmp_path)
    configs = [replace(config, root=str(tmp_path)) for config in frozen]
    named = points(configs, [["a"], ["b"]])
    submission = Submissions(root.folder).new("sweep", "slurm", [[[0]], [[1]]], "earlier")
    Submissions(root.folder).write(replace(submission, jobs=["7_0", "7_1"]))
    write_sweep(root, Sweep("earlier", "", "", "", "", [], {}, named))
    monkeypatch.setattr("slurm.scheduler.live_jobs", lambda: {"7_1": object()})
    assert busy_keys(root) == {named[1].key}
    assert _sorted(configs[::-1], root).submit == [1]  # the other's number there


def test_a_dry_run_names_points_jobs_script_memory_and_time(frozen):
    before = sorted(root_of(frozen[0]).sweeps.glob("*"))
    settings = LauncherConfig(cluster="2x48gb", over={"partition": "gpu", "tasks_per_node": 1}, pack=2, evaluation="after")
    text = "\n".join(report(root_of(frozen[0]), points(frozen, [["a"], ["b"]]), dict(enumerate(frozen)), settings))
    for part in ("2 points", "1 to submit", "#SBATCH --partition=gpu", "sweep: 1 jobs of 1 tasks of 2 points", "evaluate: 1 jobs"):
        assert part in text
    assert "GB a process at most" in text
    assert "GPU-hours of training" in text
    assert sorted(root_of(frozen[0]).sweeps.glob("*")) == before


def test_the_time_is_that_of_finished_points_whose_steps_are_the_same(frozen, tmp_path):
    root, run = Root(tmp_path), Run(tmp_path / "points" / "known-s0")
    write_frozen(run.config, frozen[0])
    run.write_status("done", step=2, train_seconds=7.0)
    longer = replace(frozen[1], train=replace(frozen[1].train, steps=1000, rate=1.0))
    assert hours(root, [longer]).hours == pytest.approx(3500 / 3600)
    wider = replace(longer, network=replace(longer.network, width=64))
    assert hours(root, [wider]).hours is None
    assert "1 points of other kinds" in hours(root, [longer, wider]).note


def test_a_run_of_another_version_does_not_hinder_the_estimate(frozen, tmp_path):
    run = Run(tmp_path / "points" / "old-s0")
    run.write_status("done", step=2, train_seconds=7.0)
    run.config.write_text("gone: 3")
    assert measured(Root(tmp_path)) == {}


def test_the_memory_of_a_half_precision_point_can_be_estimated_where_there_is_none(frozen):
    half = replace(frozen[0], train=replace(frozen[0].train, precision="16-mixed", estimate=False, devices=2))
    assert memory([half]).gb > 0


def test_memory_is_unknown_before_there_is_a_corpus(frozen, tmp_path):
    found = memory([replace(frozen[0], root=str(tmp_path))])
    assert found.gb is None
    assert "slurm submit" in found.note


def test_fields_of_the_profile_are_settings_of_the_launcher():
    fields = {"time": "08:00:00", "flags": {"reservation": "night"}, "partition": None}
    given = {"cluster": "2x48gb", "pack": 2, **fields, "over": {}, "evaluation_over": None}
    settings = LauncherConfig.from_hydra(given)
    assert (settings.pack, settings.profile().time_min, settings.profile().flags) == (2, 480, {"reservation": "night"})
    assert settings.with_words(["time=01:00:00", "flags.exclusive=true"]).profile().time_min == 60
    assert json.dumps(settings.over)  # it is kept in the sweep's record
    assert LauncherNode().partition is None


@pytest.mark.parametrize("word", ["tiem=3", "time=never", "kind=local"])
def test_a_wrong_word_over_the_profile_is_refused(word):
    with pytest.raises(LcmError):
        LauncherConfig().with_words([word]).profile()


def test_what_an_earlier_preparation_said_is_forgotten_when_another_is_submitted(frozen, tmp_path, monkeypatch):
    root = Root(tmp_path)
    configs = [replace(config, root=str(tmp_path)) for config in frozen]
    done = Launched(root, Sweep("again", "", "", "", "", [], {}, points(configs, [["a"], ["b"]])))
    root.sweep("again").prepared(0).parent.mkdir(parents=True)
    root.sweep("again").prepared(0).write_text('{"error": "no corpus"}')
    monkeypatch.setattr("slurm.submit.start", lambda at, submission, *_, **__: replace(submission, jobs=["7"] * len(submission.elements)))
    settings = LauncherConfig(cluster="2x48gb")
    submit_points(done, Site(settings.profile(), root.folder), settings, [0, 1], {0: "corpus", 1: "corpus"})
    assert [submission.stage for submission in done.submissions] == ["prepare", "sweep"]
    assert "no corpus" not in check_prepared(root.sweep("again"), 1, {1: 0})
