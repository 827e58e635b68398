"""The pool of threads: order, errors, forks."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from asr.errors import UsageError
from asr.kernels import pool


def test_thread_count_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("ASR_NUM_THREADS", "3")
    assert pool.default_threads() == 3
    monkeypatch.setenv("ASR_NUM_THREADS", "none")
    with pytest.raises(UsageError, match="ASR_NUM_THREADS is 'none'"):
        pool.default_threads()
    monkeypatch.delenv("ASR_NUM_THREADS")
    assert pool.default_threads() >= 1


def test_pool_waits_for_every_task_before_it_raises():
    done = []

    def fail():
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        pool.run([fail, lambda: done.append(1), lambda: done.append(2)], threads=3)
    assert sorted(done) == [1, 2]
    assert pool.run([lambda: 1, lambda: 2], threads=2) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_pool_works_in_the_child_of_a_fork():
    code = ("import os\nfrom asr.kernels import pool\n"
            "pool.run([lambda: 1] * 3, 3)\n"
            "child = os.fork()\n"
            "if child == 0:\n    os._exit(0 if pool.run([lambda: 1] * 3, 3) == [1] * 3 else 1)\n"
            "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n")
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_stream_gives_each_result_as_soon_as_it_is_there(threads):
    release, done = threading.Event(), []

    def last():
        assert release.wait(30)
        return "last"

    stream = pool.stream([lambda: "a", lambda: "b", last], threads)
    assert [next(stream), next(stream)] == ["a", "b"]
    release.set()
    assert list(stream) == ["last"]

    def stop():
        raise KeyboardInterrupt

    stream = pool.stream([lambda: "a", stop, lambda: done.append(1)], threads)
    assert next(stream) == "a"
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert list(stream) == []
    stream = pool.stream([lambda: "a", *[lambda: done.append(2)] * 50], threads)
    assert next(stream) == "a"
    stream.close()
    assert list(stream) == []


def patiently(address, seen):
    """Linger for half a second."""
    number, deadline = ctypes.c_int64.from_address(address), time.monotonic() + 0.5
    while number.value == seen and time.monotonic() < deadline:
        time.sleep(0.001)


def names(count=3):
    """Tasks that tell their thread; they wait for one another, so each has its own."""
    together = threading.Barrier(count)

    def task():
        together.wait(30)
        return threading.current_thread().name

    return [task] * count


@pytest.fixture
def crew(monkeypatch):
    """A crew of two that notes how often a sleeping thread was woken."""
    pool._crews.pop(2, None)
    found, woken = pool._crew(2), []
    original = found.executor.submit
    monkeypatch.setattr(found.executor, "submit", lambda *a: woken.append(1) or original(*a))
    return found, woken


def test_threads_that_linger_take_the_next_work(crew):
    _, woken = crew
    first = pool.run(names(), 3, linger=patiently)
    for _ in range(20):
        assert sorted(pool.run(names(), 3, linger=patiently)) == sorted(first)
    assert len(woken) == 2, "both threads were woken once, for the first work"
    assert sorted(pool.run(names(), 3)) == sorted(first)  # the last one need not linger
    assert len(woken) == 2
    pool.run(names(), 3)
    assert len(woken) == 4


def test_threads_that_have_lingered_in_vain_are_woken(crew):
    found, woken = crew
    pool.run(names(), 3, linger=lambda address, seen: None)
    deadline = time.monotonic() + 30
    while found.lingering and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not found.lingering and not found.offered
    assert len(pool.run(names(), 3, linger=lambda address, seen: None)) == 3
    assert len(woken) == 4


def test_what_was_worked_on_does_not_linger(crew):
    class Memory:
        pass

    memory = Memory()
    still_there, release = weakref.ref(memory), threading.Event()
    start = threading.Barrier(3)

    def task(memory=memory):
        start.wait(30)

    pool.run([task] * 3, 3, linger=lambda address, seen: release.wait(30))
    del task, memory
    deadline = time.monotonic() + 30
    while still_there() is not None and time.monotonic() < deadline:
        time.sleep(0.001)
    found = still_there()
    release.set()
    assert found is None, "a thread that lingers holds on to the memory of its last work"


def test_no_work_is_lost_between_lingering_and_sleep():
    rng = random.Random(0)
    for number in range(300):
        pause = rng.choice([0, 0, 0.0001, 0.0005])
        assert pool.run([lambda: 1, lambda: 2, lambda: 3], 3,
                        linger=lambda address, seen, pause=pause: time.sleep(pause)) == [1, 2, 3]
        if number % 3 == 0:
            time.sleep(pause)


def test_an_error_reaches_the_caller_and_the_thread_lingers_on(crew):
    _, woken = crew
    start = threading.Barrier(3)

    def fail():
        start.wait(30)
        raise ValueError(threading.current_thread().name)

    with pytest.raises(ValueError):
        pool.run([fail] * 3, 3, linger=patiently)
    assert len(pool.run(names(), 3, linger=patiently)) == 3
    assert len(woken) == 2


def test_two_callers_at_once_get_their_own_results():
    def call(number):
        for _ in range(100):
            assert pool.run([lambda n=n: (number, n) for n in range(4)], 3,
                            linger=lambda address, seen: time.sleep(0.0002)) == [
                (number, n) for n in range(4)]

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(call, range(4), timeout=120))
