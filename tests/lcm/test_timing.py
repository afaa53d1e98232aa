"""The stopwatch."""

from __future__ import annotations

import time

import pytest
import torch

from lcm.errors import LcmError
from lcm.timing import Stopwatch, warm_up


def test_time_goes_to_the_section_it_was_spent_in():
    watch = Stopwatch()
    for _ in range(2):
        with watch.section("network"):
            time.sleep(0.02)
    assert watch.seconds["network"] >= 0.04
    assert watch.seconds["encode"] == watch.seconds["decode"] == watch.seconds["copy"] == 0


def test_scores_name_every_section_the_total_and_the_real_time_factor():
    watch = Stopwatch()
    watch.seconds.update(encode=1.0, network=2.0, decode=0.5, copy=0.5)
    wanted = {"time_encode": 1.0, "time_network": 2.0, "time_decode": 0.5, "time_copy": 0.5, "time_total": 4.0, "rtf": 0.5}
    assert watch.scores(audio_s=8.0) == wanted


def test_a_section_that_raises_is_not_counted_and_the_watch_goes_on():
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch.section("encode"):
        _ = 1 / 0
    with watch.section("decode"):
        time.sleep(0.005)
    assert watch.seconds["encode"] == 0
    assert watch.total_s > 0


def test_sections_inside_each_other_are_refused():
    watch = Stopwatch()
    with watch.section("encode"), pytest.raises(LcmError, match="'copy' begins inside 'encode'"), watch.section("copy"):
        pass


def test_an_unknown_section_is_refused_with_the_valid_ones():
    with pytest.raises(LcmError, match=r"'netwrok'.*encode, network, decode, copy"), Stopwatch().section("netwrok"):
        pass


def test_a_reset_watch_starts_from_zero():
    watch = Stopwatch()
    with watch.section("copy"):
        time.sleep(0.002)
    watch.reset()
    assert watch.total_s == 0


def test_no_audio_has_no_real_time_factor():
    with pytest.raises(LcmError, match="audio_s is 0"):
        Stopwatch().scores(0)


def test_warming_up_runs_the_work():
    calls = []
    assert warm_up(lambda: calls.append(1), repeats=3) >= 0
    assert len(calls) == 3


@pytest.mark.gpu
def test_queued_cuda_work_is_charged_to_its_own_section():
    watch, matrix = Stopwatch("cuda"), torch.randn(8192, 8192, device="cuda")
    warm_up(lambda: matrix @ matrix, "cuda")
    with watch.section("network"):
        for _ in range(20):
            matrix @ matrix
    with watch.section("copy"):
        pass
    assert watch.seconds["network"] > 50 * watch.seconds["copy"]
