import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext

import pytest

from sweeps import stopping
from sweeps.stopping import TO_BE_CONTINUED, Stopped, deferred, held_back, listening

ASKING = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2], ids=["TERM", "USR2"])


def ask(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # a signal is heard between two instructions


def listen(*numbers, keep=False, reached=None):
    """Get requests one by one, noting after each that work went on, and what is known then."""
    with listening(), deferred() if keep else nullcontext():
        for number in numbers:
            ask(number)
            reached.append(stopping.requested())


@ASKING
def test_a_request_is_raised_at_once_where_nothing_is_at_stake(number):
    reached = []
    with pytest.raises(Stopped):
        listen(number, reached=reached)
    assert reached == []


@ASKING
def test_a_request_is_kept_until_what_is_at_hand_is_finished(number):
    reached = []
    with pytest.raises(Stopped):
        listen(number, keep=True, reached=reached)
    assert reached == [True]


def test_a_second_request_changes_nothing():
    reached = []
    with pytest.raises(Stopped):
        listen(signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM, keep=True, reached=reached)
    assert reached == [True, True, True]


def test_a_second_request_does_not_disturb_the_cleaning_up_after_the_first():
    cleaned_up = []

    def work():
        with listening():
            try:
                ask(signal.SIGUSR2)
            finally:
                ask(signal.SIGTERM)
                cleaned_up.append(True)

    with pytest.raises(Stopped):
        work()
    assert cleaned_up == [True]


def test_ctrl_c_is_kept_the_first_time_and_raised_at_once_the_second():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        listen(signal.SIGINT, signal.SIGINT, keep=True, reached=reached)
    assert reached == [True]


@pytest.mark.parametrize("keep", [False, True])
def test_ctrl_c_stays_an_interrupt(keep):
    with pytest.raises(KeyboardInterrupt):
        listen(signal.SIGINT, keep=keep, reached=[])


def test_nested_blocks_keep_a_request_until_the_outer_one_ends():
    reached = []

    def work():
        with listening(), deferred():
            with deferred():
                ask(signal.SIGTERM)
            reached.append(True)

    with pytest.raises(Stopped):
        work()
    assert reached == [True]


def test_an_error_in_the_block_is_not_hidden_by_a_request():
    def work():
        with listening(), deferred():
            ask(signal.SIGTERM)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_a_request_of_an_earlier_point_does_not_stop_the_next():
    with pytest.raises(Stopped):
        listen(signal.SIGTERM, reached=[])
    with listening(), deferred():
        assert not stopping.requested()


def test_a_request_that_was_lost_in_a_clean_up_is_honoured_later(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)

    class Leaves:
        def __del__(self):
            ask(signal.SIGTERM)

    reached = []

    def work():
        with listening():
            Leaves()
            reached.append(True)
            stopping.honour()

    with pytest.raises(Stopped):
        work()
    assert reached == [True]


def test_handlers_are_as_before_afterwards_and_a_hosts_own_are_left_to_it():
    heard = []
    before = signal.signal(signal.SIGUSR2, lambda *_: heard.append(True))
    try:
        term = signal.getsignal(signal.SIGTERM)
        with listening():
            ask(signal.SIGUSR2)
            assert signal.getsignal(signal.SIGTERM) != term
        assert heard == [True]
        assert signal.getsignal(signal.SIGTERM) == term
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_in_another_thread_nothing_is_taken_over():
    found = []

    def look():
        with listening():
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]


def start(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_stopped_process_ends_with_the_code_of_one_to_be_continued_and_without_a_word():
    code = "from sweeps import stopping; stopping.install(); import os\ntry: os.kill(os.getpid(), 12)\nexcept Exception: pass"
    process = start(code.replace("12", str(int(signal.SIGUSR2))))
    assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == TO_BE_CONTINUED == 75


def test_a_process_that_is_still_starting_loses_no_request():
    code = "import time; time.sleep(0.5); print('begun', flush=True); from sweeps import stopping; stopping.install(); time.sleep(600)"
    with held_back():
        process = start(code)
    process.send_signal(signal.SIGUSR2)
    assert process.communicate(timeout=120) == ("begun\n", "")
    assert process.returncode == TO_BE_CONTINUED


def test_a_request_is_heard_where_the_parent_ignored_it():
    code = "from sweeps import stopping; stopping.install(); import time; print('ready', flush=True); time.sleep(600)"
    process = start(code, preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN))
    process.stdout.readline()
    process.send_signal(signal.SIGUSR2)
    assert process.wait(120) == TO_BE_CONTINUED


def test_a_request_at_the_very_end_changes_nothing():
    # the last thing that Python lets code do, when its handlers are gone
    code = """
import os, signal
from sweeps import stopping
class Last:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGUSR2):
        kill(pid, number)
stopping.install()
import builtins
builtins.last = Last()
print('end', flush=True)
"""
    process = start(code)
    assert process.communicate(timeout=120) == ("end\n", "")
    assert process.returncode == 0
