"""Threads that share one sequence: the same bits as alone, and nobody waits for ever."""

from __future__ import annotations

import ctypes
import os
import threading
import time

import numpy as np
import pytest

from asr.kernels import cpu, pool, sequences, team
from asr.kernels.simd import PANEL

UNITS = 2 * team.FEWEST_UNITS  # of a team of two


def make_directions(rng, features, units, count=2):
    return [cpu.Direction(*(rng.normal(size=shape).astype(np.float32) * 0.3 for shape in
                            ((features, 4 * units), (units, 4 * units), (4 * units,))),
                          backwards=number % 2 == 1) for number in range(count)]


@pytest.fixture(autouse=True)
def rested(monkeypatch):
    """No team has broken up yet, and none does because this machine is busy."""
    monkeypatch.setattr(team, "_rests_until", 0.0)
    monkeypatch.setattr(team, "_next_rest", team.REST)
    monkeypatch.setattr(team, "PATIENCE", 1 << 50)


def test_team_size_leaves_work_for_every_member():
    assert team.size(threads=4, pieces=2, units=256) == 2
    assert team.size(threads=2, pieces=2, units=256) == 1
    assert team.size(threads=64, pieces=1, units=2048) == team.MOST
    assert team.size(threads=8, pieces=1, units=128) == 1
    assert team.size(threads=8, pieces=0, units=512) == team.MOST


@pytest.fixture
def teams(monkeypatch):
    """The sizes of all teams that were formed."""
    formed = []
    original = team.Meeting

    def meeting(members):
        formed.append(members)
        return original(members)

    monkeypatch.setattr(team, "Meeting", meeting)
    return formed


@pytest.mark.parametrize(("batch", "count", "members"), [(1, 2, 2), (1, 1, 3), (1, 1, 4),
                                                         (3, 2, 2)])
def test_a_team_computes_the_bits_of_one_thread(rng, monkeypatch, teams, batch, count, members):
    units = 6 * PANEL - 5  # the last member has padded units
    directions = make_directions(rng, 20, units, count)
    x = rng.normal(size=(batch, 135, 20)).astype(np.float32)  # more than one chunk of rows
    lengths = np.array([135, 7, 0][:batch])
    alone = cpu.infer(x, lengths, directions, threads=1)
    monkeypatch.setattr(team, "size", lambda *work: members)
    teams.clear()
    together = cpu.infer(x, lengths, directions, threads=count * batch * members)
    assert set(teams) == {members} and not team.resting()
    np.testing.assert_array_equal(alone, together)


def test_on_a_busy_machine_a_team_breaks_up_and_none_is_formed_for_a_while(rng, monkeypatch,
                                                                         teams):
    directions = make_directions(rng, 8, UNITS)
    x = rng.normal(size=(1, 60, 8)).astype(np.float32)
    alone = cpu.infer(x, np.array([60]), directions, threads=1)
    original = sequences.forward_slice

    def late(sizes, part, memory, share):  # the second member has no processor for some time
        if share.member == 1:
            time.sleep(0.05)
        return original(sizes, part, memory, share)

    monkeypatch.setattr(sequences, "forward_slice", late)
    monkeypatch.setattr(team, "PATIENCE", 10_000)
    teams.clear()
    np.testing.assert_array_equal(cpu.infer(x, np.array([60]), directions, threads=4), alone)
    assert 2 in teams
    monkeypatch.setattr(team, "resting", lambda: True)
    teams.clear()
    np.testing.assert_array_equal(cpu.infer(x, np.array([60]), directions, threads=4), alone)
    assert 2 not in teams


def test_rests_become_longer_until_a_team_stays_together(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for rest in (team.REST, 2 * team.REST, 4 * team.REST):
        assert not team.resting() and not team.ended(together=False)
        now += 0.99 * rest
        assert team.resting()
        now += 0.02 * rest
    assert not team.resting() and team.ended(together=True)
    team.ended(together=False)
    now += 1.01 * team.REST
    assert not team.resting()
    for _ in range(20):
        team.ended(together=False)
    now += team.LONGEST_REST
    assert not team.resting()


def test_many_teams_at_once_all_end(rng, monkeypatch):
    monkeypatch.setattr(team, "PATIENCE", 100_000)
    monkeypatch.setattr(team, "LONGEST_REST", 0.0)
    directions = make_directions(rng, 8, UNITS)
    x = rng.normal(size=(1, 60, 8)).astype(np.float32)
    expected = cpu.infer(x, np.array([60]), directions, threads=1).tobytes()
    results = []
    workers = [threading.Thread(target=lambda: results.extend(
        cpu.infer(x, np.array([60]), directions, threads=4).tobytes() for _ in range(10)))
        for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert not worker.is_alive()
    assert results == [expected] * 60


@pytest.mark.parametrize("failing", [0, 1, 3])
def test_a_member_that_fails_is_not_waited_for_for_ever(rng, monkeypatch, failing):
    monkeypatch.setattr(team, "PATIENCE", 100_000)
    directions = make_directions(rng, 8, UNITS)
    x = rng.normal(size=(1, 30, 8)).astype(np.float32)
    original, calls = sequences.forward_slice, iter(range(100))

    def forward_slice(*arguments):
        if next(calls) == failing:
            raise MemoryError("no memory for a member")
        return original(*arguments)

    monkeypatch.setattr(sequences, "forward_slice", forward_slice)
    with pytest.raises(MemoryError, match="for a member"):
        cpu.infer(x, np.array([30]), directions, threads=4)


def test_a_thread_that_cannot_be_started_ends_the_team(rng, monkeypatch):
    monkeypatch.setattr(team, "PATIENCE", 100_000)
    directions = make_directions(rng, 8, UNITS)
    executor = pool._crew(6).executor  # of a size that no other test uses: no thread lingers
    original, calls = executor.submit, iter(range(100))

    def submit(*work):
        if next(calls) == 1:
            raise RuntimeError("can't start new thread")
        return original(*work)

    monkeypatch.setattr(executor, "submit", submit)
    with pytest.raises(RuntimeError, match="start new thread"):
        cpu.infer(rng.normal(size=(1, 30, 8)).astype(np.float32), np.array([30]), directions,
                  threads=7)


def test_the_system_has_both_functions_and_its_ticks_go_on():
    yields, ticks = team.c_functions()
    assert yields and ticks
    count = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(ticks)
    before = count(0)
    time.sleep(0.1)
    assert 2 <= count(0) - before <= 1_000


def test_a_thread_lingers_until_there_is_work_or_for_a_little_while(monkeypatch):
    offers = ctypes.c_int64(7)
    address = ctypes.addressof(offers)
    started = time.monotonic()
    team.linger(address, 6)
    team.linger(address, 7)
    assert time.monotonic() - started < 5
    timer = threading.Timer(0.05, lambda: setattr(offers, "value", 8))
    monkeypatch.setattr(team, "LINGER", 10**12)
    timer.start()
    while offers.value == 7:  # an infinitely patient thread would see it too, at once
        team.linger(address, 7)
    timer.join()


needs_places = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="threads cannot be kept here")


@needs_places
def test_threads_of_one_call_work_on_processors_of_their_own():
    allowed = os.sched_getaffinity(0)
    count = min(len(allowed), 4)
    places, found, inside = team.Processors(), [], threading.Barrier(count)

    def work():
        inside.wait(30)
        found.append(os.sched_getaffinity(0))
        return True

    threads = [threading.Thread(target=places.each_alone(work)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(one) for one in found] == [1] * count
    assert len(set.union(*found)) == count and set.union(*found) <= allowed


@needs_places
def test_threads_go_back_to_all_processors_whatever_happens(rng):
    allowed = os.sched_getaffinity(0)
    places = team.Processors()

    def fail():
        assert os.sched_getaffinity(0) <= allowed
        raise MemoryError

    with pytest.raises(MemoryError):
        places.each_alone(fail)()
    assert os.sched_getaffinity(0) == allowed
    cpu.infer(rng.normal(size=(1, 30, 8)).astype(np.float32), np.array([30]),
              make_directions(rng, 8, UNITS), threads=4)
    crew = pool._crew(3).executor
    seen = [crew.submit(os.sched_getaffinity, 0) for _ in range(12)]
    assert os.sched_getaffinity(0) == allowed
    assert all(one.result() == allowed for one in seen)


@pytest.mark.parametrize("broken", ["no function", "no processor", "not told", "not let"])
def test_where_threads_cannot_be_kept_they_work_all_the_same(monkeypatch, broken):
    def refuse(*_):
        raise OSError("not permitted")

    if broken == "no function":
        monkeypatch.setattr(team, "_processor", lambda: None)
    elif broken == "no processor":
        monkeypatch.setattr(team, "_processor", lambda: lambda: -1)
    elif broken == "not told":
        monkeypatch.setattr(os, "sched_getaffinity", refuse, raising=False)
    else:
        monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    places = team.Processors()
    assert [places.each_alone(lambda: True)() for _ in range(3)] == [True] * 3
