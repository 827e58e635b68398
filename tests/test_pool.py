"""The pool of threads: order, errors, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from asr import pool
from asr.errors import UsageError


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
    code = ("import os\nfrom asr import pool\n"
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
