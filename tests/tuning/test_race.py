"""The race of settings: everything is read by what wins, and little by what falls behind."""

from __future__ import annotations

import numpy as np
import pytest

from asr.cli import progress as progress_module
from asr.cli.progress import count_on_stderr
from asr.tuning.dev_set import DevSet
from asr.tuning.race import Key, Race


class Reader:
    """Wrong in every `period`-th utterance; the logits are the utterance's number."""

    def __init__(self, period):
        self.period = period

    def text(self, logits):
        return "no" if int(logits) % self.period == 0 else "yes"


def dev_of(count):
    return DevSet(tuple(map(str, range(count))), ("yes",) * count, ("",) * count,
                  tuple(map(np.float32, range(count))), "none")


def race_of(count, periods, **arguments):
    keys = [Key(float(n), 0.0, 8) for n in range(len(periods))]
    race = Race(dev_of(count), lambda key: Reader(periods[int(key.lm_weight)]),
                arguments.get("progress"), (len(keys),))
    race.run(keys)
    return race, keys


def test_a_small_set_is_read_by_all():
    race, keys = race_of(60, [2, 3, 5, 4])
    assert race.winner == keys[2]
    assert [len(race.errors[key]) for key in keys] == [60] * 4
    assert [race.wer(key) for key in keys] == pytest.approx([1 / 2, 1 / 3, 1 / 5, 1 / 4])
    assert race.in_order(keys[0])[:, 0].tolist() == [1, 0] * 30


def test_what_falls_behind_reads_little_and_its_rate_is_estimated():
    seen = []
    periods = [2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 50, 40, 60, 5, 5]
    race, keys = race_of(1_600, periods, progress=lambda *pair: seen.append(pair))
    assert race.winner == keys[13] and len(race.errors[keys[13]]) == 1_600
    assert [len(race.errors[key]) for key in keys[:3]] == [100] * 3
    assert sum(map(len, race.errors.values())) < 0.45 * 1_600 * len(keys)
    for key, period in zip(keys, periods, strict=True):
        assert race.wer(key) == pytest.approx(1 / period, abs=0.1)
    assert sorted(seen) == seen and seen[-1][0] == seen[-1][1], "the plan is what is done"
    count = len(seen)
    race.run(keys)
    assert len(seen) == count, "nothing is read twice"


def test_where_nobody_watches_lines_are_written(capsys, monkeypatch):
    clock = iter([0.0, 0.5, 2.0, 5.0, 13.0, 500.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    with count_on_stderr("tuning", piped=True) as show:
        for done in (1, 10, 20, 50, 100):
            show(done, 100)
    assert capsys.readouterr().err == ("tuning: 10%, about 18 s left\n"
                                       "tuning: 50%, about 13 s left\n")
    with count_on_stderr("tuning") as show:
        show(1, 2)
    assert capsys.readouterr().err == ""
