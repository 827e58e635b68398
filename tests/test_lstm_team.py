"""Threads that share one sequence: the same bits as alone, and nobody waits for ever."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from asr import pool
from asr.lstm import cpu, sequences, team
from asr.lstm.simd import PANEL


def make_directions(rng, features, units, count=2):
    return [cpu.Direction(*(rng.normal(size=shape).astype(np.float32) * 0.3 for shape in
                            ((features, 4 * units), (units, 4 * units), (4 * units,))),
                          backwards=number % 2 == 1) for number in range(count)]


def test_team_size_leaves_work_for_every_member():
    assert team.size(threads=4, pieces=2, panels=8) == 2
    assert team.size(threads=2, pieces=2, panels=8) == 1
    assert team.size(threads=64, pieces=1, panels=64) == team.MOST
    assert team.size(threads=8, pieces=1, panels=3) == 1
    assert team.size(threads=8, pieces=0, panels=8) == team.MOST


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


@pytest.mark.parametrize("members", [2, 3, 4])
@pytest.mark.parametrize(("batch", "count"), [(1, 2), (1, 1), (3, 2)])
def test_a_team_computes_the_bits_of_one_thread(rng, monkeypatch, teams, batch, count, members):
    units = 6 * PANEL - 5  # the last member has padded units
    directions = make_directions(rng, 20, units, count)
    x = rng.normal(size=(batch, 150, 20)).astype(np.float32)  # more than one chunk of rows
    lengths = np.array([150, 7, 0][:batch])
    alone = cpu.infer(x, lengths, directions, threads=1)
    monkeypatch.setattr(team, "size", lambda *work: members)
    teams.clear()
    together = cpu.infer(x, lengths, directions, threads=count * batch * members)
    assert set(teams) == {members}
    np.testing.assert_array_equal(alone, together)


def test_many_teams_at_once_all_end(rng):
    directions = make_directions(rng, 8, 4 * PANEL)
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
def test_a_member_that_fails_is_not_waited_for(rng, monkeypatch, failing):
    directions = make_directions(rng, 8, 4 * PANEL)
    x = rng.normal(size=(1, 30, 8)).astype(np.float32)
    original, calls = sequences.forward_slice, iter(range(100))

    def forward_slice(*arguments):
        if next(calls) == failing:
            raise MemoryError("no memory for a member")
        original(*arguments)

    monkeypatch.setattr(sequences, "forward_slice", forward_slice)
    with pytest.raises(MemoryError, match="for a member"):
        cpu.infer(x, np.array([30]), directions, threads=4)


def test_a_thread_that_cannot_be_started_ends_the_team(rng, monkeypatch):
    directions = make_directions(rng, 8, 4 * PANEL)
    executor = pool._executor(3)
    original, calls = executor.submit, iter(range(100))

    def submit(work):
        if next(calls) == 1:
            raise RuntimeError("can't start new thread")
        return original(work)

    monkeypatch.setattr(executor, "submit", submit)
    with pytest.raises(RuntimeError, match="start new thread"):
        cpu.infer(rng.normal(size=(1, 30, 8)).astype(np.float32), np.array([30]), directions,
                  threads=4)


def test_the_system_has_a_function_that_lets_another_thread_run():
    assert team.give_way() != 0
