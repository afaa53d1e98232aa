"""Which job gets which shards, in which arrays, and which jobs still live."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lcm.store import StoreError
from slurm.submission import Submissions, into_arrays, into_elements


@pytest.mark.parametrize(("shards", "processes", "each"), [(24, 2, 4), (7, 2, 3), (1, 2, 4), (5, 1, 1), (1000, 2, 7)])
def test_every_shard_goes_to_one_process_and_no_process_has_too_many(shards: int, processes: int, each: int):
    elements = into_elements(range(10, 10 + shards), processes=processes, shards_per_process=each)
    assert [s for element in elements for process in element for s in process] == list(range(10, 10 + shards))
    assert all(len(element) == processes and max(map(len, element)) <= each for element in elements)


def test_jobs_are_as_even_as_can_be():
    sizes = [len(process) for element in into_elements(range(17), processes=2, shards_per_process=4) for process in element]
    assert max(sizes) - min(sizes) <= 1


def test_no_shards_make_no_jobs():
    assert into_elements([], processes=2, shards_per_process=4) == []


ARRAYS = [(24, 10, 4), (24, 10, 2), (24, 10, 1), (5, 1001, 64), (1, 2, 1), (100, 10, 64)]


@pytest.mark.parametrize(("elements", "largest", "parallel"), ARRAYS)
def test_arrays_cover_all_elements_with_indices_below_the_largest_and_never_more_at_once_than_allowed(elements, largest, parallel):
    lanes = into_arrays(elements, largest=largest, parallel=parallel)
    assert [e for lane in lanes for e in range(lane.start, lane.stop)] == list(range(elements))
    assert all(lane.stop - lane.start < largest and lane.parallel >= 1 for lane in lanes)
    heads = {number: lane.parallel for number, lane in enumerate(lanes) if lane.after is None}
    assert sum(heads.values()) <= max(parallel, 1)


def test_an_array_of_a_lane_follows_one_that_allows_as_many_at_once():
    lanes = into_arrays(100, largest=10, parallel=5)
    assert all(lane.parallel == lanes[lane.after].parallel for lane in lanes if lane.after is not None)


def test_a_submission_is_read_as_it_was_written(tmp_path: Path):
    submissions = Submissions(tmp_path)
    written = submissions.write(replace(submissions.new("codes", "slurm", [[[0], [1]], [[2], []]]), jobs=["7_0", "7_1"]))
    assert submissions.read(written.name) == written
    assert written.shards() == [0, 1, 2]
    assert written.shards({"7_1"}) == [2]


def test_jobs_that_slurm_knows_are_live_and_others_are_not(tmp_path: Path):
    submissions = Submissions(tmp_path)
    written = submissions.write(replace(submissions.new("codes", "slurm", [[[0]], [[1]]]), jobs=["7_0", "7_1"]))
    assert submissions.live({"7_1": "running", "8_0": "another's"}) == {written.name: ["7_1"]}


def test_a_cancelled_submission_is_not_live_whatever_slurm_says(tmp_path: Path):
    submissions = Submissions(tmp_path)
    written = submissions.write(replace(submissions.new("codes", "slurm", [[[0]]]), jobs=["7_0"]))
    submissions.cancel(written.name)
    assert submissions.live({"7_0": "running"}) == {}
    assert submissions.read(written.name).cancelled is not None


def test_a_local_job_is_live_while_its_process_is_submitits(tmp_path: Path):
    submissions = Submissions(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "submitit"]) as process:
        pids = [str(process.pid), str(os.getppid()), "99999999"]
        written = submissions.write(replace(submissions.new("codes", "local", [[[0]], [[1]], [[2]]]), jobs=pids))
        assert submissions.live({})[written.name] == [str(process.pid)]
        process.kill()
    assert submissions.live({}) == {}


def test_a_damaged_submission_is_named(tmp_path: Path):
    submissions = Submissions(tmp_path)
    written = submissions.new("codes", "slurm", [[[0]]])
    submissions.path(written.name).write_text("{")
    with pytest.raises(StoreError, match=written.name):
        submissions.read(written.name)


def test_a_job_whose_id_was_never_written_is_found_by_its_name_and_keeps_its_shards(tmp_path: Path):
    from slurm.scheduler import Job

    submissions = Submissions(tmp_path)
    written = submissions.write(replace(submissions.new("codes", "slurm", [[[0]], [[1]], [[2]]]), jobs=["7_0"]))
    queue = {"8_0": Job("8_0", "PENDING", name=written.job_name), "9": Job("9", "RUNNING", name="another")}
    assert submissions.live(queue) == {written.name: ["8_0"]}
    assert written.shards(["8_0"]) == [1, 2]
