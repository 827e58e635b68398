"""Calibrating what a grammar refuses: so many false accepts an hour, and not one more."""

from __future__ import annotations

import dataclasses
import json
import math
import xml.etree.ElementTree

import numpy as np
import pytest
import soundfile
from test_tuning import noisy_logits
from tiny_bundle import TOKENIZER, write_bundle

from asr.bundle import load_bundle
from asr.cli import run
from asr.errors import DataError, UsageError
from asr.recipe import NEVER_REFUSED, DecoderSettings
from asr.recognizer import load
from asr.tuning import DevSet
from asr.tuning.plot import det_curve
from asr.tuning.refusal import (
    SILENT,
    Judgement,
    judge_refusals,
    limit_of,
    limit_that_keeps,
    tune_refusal,
)

SETTINGS = DecoderSettings(kind="beam", beam_width=8, grammar="bad head\nfeed a cab")


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return load(write_bundle(tmp_path_factory.mktemp("bundle") / "g.asr", decoder=SETTINGS))


def judgement(inside, others, seconds=3600.0):
    """Gaps of sentences that are read rightly, and of other speech of so many seconds each."""
    gaps = np.array([*inside, *others], dtype=float)
    within = np.arange(len(gaps)) < len(inside)
    return Judgement("max_gap", gaps, within, within, np.where(within, 1.0, seconds))


INSIDE = np.linspace(0, 1.1, 12)
OTHERS = np.arange(1.0, 13.0)  # 12 hours


@pytest.mark.parametrize("per_hour", [0.0, 0.1, 0.25])
def test_as_many_pass_as_were_allowed(recognizer, per_hour):
    judged = judgement(4 * INSIDE, OTHERS)
    found = limit_of(recognizer, judged, per_hour=per_hour)
    assert found.point.accepted == math.floor(12 * per_hour) == int(
        (OTHERS <= found.settings.max_gap).sum())
    assert found.point.per_hour == pytest.approx(found.point.accepted / 12)
    assert found.point.right == pytest.approx((4 * INSIDE <= found.settings.max_gap).mean())
    assert found.hours == pytest.approx(12) and found.inside == found.others == 12
    assert found.never.accepted == 12 and found.never.right == 1
    json.dumps(found.to_dict())


def test_the_limit_is_no_higher_than_the_sentences_need(recognizer):
    found = limit_of(recognizer, judgement(INSIDE, OTHERS + 50), per_hour=0.0)
    assert found.settings.max_gap == pytest.approx(1.6) and found.point.right == 1
    assert any("none of it may pass" in line for line in found.lines())


def test_ties_do_not_let_more_pass(recognizer):
    found = limit_of(recognizer, judgement(4 * INSIDE, [2.0] * 12), per_hour=0.5)
    assert found.point.accepted == 0 and found.keeps_its_word and found.settings.max_gap < 2
    found = limit_of(recognizer, judgement(INSIDE, [0.0] * 12), per_hour=0.5)
    assert found.point.accepted == 12 and not found.keeps_its_word
    assert any("cannot be told" in line for line in found.lines())
    fine = dataclasses.replace(judgement(INSIDE, OTHERS), measure="max_doubt")
    both = {"max_gap": judgement(INSIDE, [0.0] * 12), "max_doubt": fine}
    assert tune_refusal(recognizer, both, per_hour=0.0).measure == "max_doubt"


def test_silence_is_never_let_through(recognizer):
    found = limit_of(recognizer, judgement(INSIDE, [SILENT] * 12), per_hour=1.0)
    assert found.point.accepted == 0 and found.settings.max_gap < NEVER_REFUSED


def test_the_measure_that_keeps_more_wins(recognizer):
    coarse, fine = judgement(0 * INSIDE, 0 * OTHERS), judgement(INSIDE, OTHERS + 50)
    fine = dataclasses.replace(fine, measure="max_doubt")
    coarse = dataclasses.replace(coarse, right=coarse.gaps < 0)
    found = tune_refusal(recognizer, {"max_gap": coarse, "max_doubt": fine}, per_hour=0.0)
    assert found.measure == "max_doubt" and found.point.right == 1
    assert found.settings.max_gap == NEVER_REFUSED > found.settings.max_doubt


@pytest.mark.parametrize(("keep", "limit"), [(1.0, 11.0), (0.9, 10.0), (0.5, 5.0), (0.01, 0.0)])
def test_a_share_of_the_sentences_is_kept(recognizer, keep, limit):
    judged = judgement(np.arange(12.0), OTHERS - 0.5)
    found = limit_that_keeps(recognizer, judged, keep)
    assert found.settings.max_gap == found.point.limit == limit
    assert found.point.right >= keep and found.point.accepted == (OTHERS - 0.5 <= limit).sum()
    assert found.keep == keep and found.allowed is None and found.keeps_its_word
    json.dumps(found.to_dict())


def test_the_limit_is_no_higher_than_allowed_although_less_is_kept(recognizer):
    judged = judgement(np.arange(12.0), OTHERS - 0.5)
    assert limit_that_keeps(recognizer, judged, 0.9, at_most=4.25).point.limit == 4.25
    assert limit_that_keeps(recognizer, judged, 0.5, at_most=9.0).point.limit == 5.0
    found = tune_refusal(recognizer, {"max_gap": judged}, keep=0.9, at_most=4.25)
    assert found.settings.max_gap == 4.25 and found.point.right == pytest.approx(5 / 12)


def test_of_two_limits_that_keep_the_same_the_one_that_refuses_more_wins(recognizer):
    coarse = judgement(INSIDE, OTHERS - 1)
    fine = dataclasses.replace(judgement(INSIDE, OTHERS + 50), measure="max_doubt")
    found = tune_refusal(recognizer, {"max_gap": coarse, "max_doubt": fine}, keep=1.0)
    assert found.measure == "max_doubt" and found.point.accepted == 0
    assert found.settings.max_gap == NEVER_REFUSED


def test_a_sentence_read_wrongly_is_none_to_keep(recognizer):
    judged = judgement([0.0] * 9 + [7.0] * 3, OTHERS)
    judged = dataclasses.replace(judged, right=judged.right & (judged.gaps < 7))
    assert limit_that_keeps(recognizer, judged, 1.0).settings.max_gap == 0
    with pytest.raises(DataError, match="No utterance of the grammar is read rightly"):
        limit_that_keeps(recognizer, dataclasses.replace(judged, right=judged.right & False), 1.0)
    for keep in (0.0, 1.01):
        with pytest.raises(UsageError, match="more than 0, at most 1"):
            limit_that_keeps(recognizer, judged, keep)


def test_too_little_data_and_wrong_numbers(recognizer):
    with pytest.raises(DataError, match="12 utterances of the grammar and 3 of other speech"):
        limit_of(recognizer, judgement(INSIDE, OTHERS[:3]))
    with pytest.raises(UsageError, match="give 0 or more"):
        limit_of(recognizer, judgement(INSIDE, OTHERS), per_hour=-1.0)
    dev = DevSet(("a",), ("a",), ("",), (None,), "basic")
    with pytest.raises(UsageError, match="--grammar FILE"):
        judge_refusals(recognizer.with_decoder(kind="greedy"), dev, [1.0])


def test_judging_reads_without_refusing(recognizer):
    rng = np.random.default_rng(3)
    texts = ["bad head", "feed a cab", "a bad bed", "bad head"]
    logits = (*(noisy_logits(text, rng) for text in texts[:3]), None)
    dev = DevSet(tuple("abcd"), tuple(texts), ("",) * 4, logits, "basic")
    strict = recognizer.with_decoder(SETTINGS, max_gap=0.0)
    both = judge_refusals(strict, dev, [1.0, 2.0, 3.0, 4.0])
    assert np.array_equal(both["max_gap"].right, both["max_doubt"].right)
    assert both["max_doubt"].gaps[2] > both["max_doubt"].gaps[:2].max() > 0
    judged = both["max_gap"]
    assert judged.inside.tolist() == [True, True, False, True]
    assert judged.right.tolist() == [True, True, False, False], "silence is not the sentence"
    assert judged.gaps[3] == SILENT and judged.gaps[2] > judged.gaps[:2].max()
    assert judged.hours == pytest.approx(3 / 3600)
    points = judged.curve()
    assert [p.accepted for p in points] == sorted(p.accepted for p in points)
    root = xml.etree.ElementTree.fromstring(
        det_curve("a < b", [(p.per_hour, 1 - p.right) for p in points], (1.0, 0.5)))
    assert len(root.findall("{*}circle")) == 1


def test_the_curve_never_rises_where_limits_let_the_same_number_through():
    points = [(0.0, 0.8), (0.0, 1.0), (2.0, 0.3), (0.5, 0.6), (0.5, 0.75), (2.0, 0.5)]
    root = xml.etree.ElementTree.fromstring(det_curve("", points))
    (line,) = root.findall("{*}polyline")
    heights = [float(pair.split(",")[1]) for pair in line.attrib["points"].split()]
    assert heights == sorted(heights) and len(set(heights)) == 6, "missed falls: down is larger"


def test_the_verb_writes_the_limit(tmp_path, capsys):
    rng = np.random.default_rng(1)
    bundle = write_bundle(tmp_path / "plain.asr")
    (tmp_path / "phrases.txt").write_text("bad head\nfeed a cab\n")
    rows = []
    for number in range(24):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(8_000), 8_000)
        rows.append({"id": str(number), "audio_filepath": path.name, "duration": 1.0,
                     "text": "bad head" if number % 2 else "a bed"})
    dev = tmp_path / "dev.jsonl"
    dev.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, plot = tmp_path / "tuned.asr", tmp_path / "det.svg"
    command = ["tune", str(bundle), str(dev), "--refusal"]
    assert run(command) == 2 and "--grammar FILE" in capsys.readouterr().err
    assert run([*command, "--grammar", str(tmp_path / "phrases.txt"), "-o", str(out), "--plot",
                str(plot), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    tuned = load_bundle(out)
    limits = {"max_gap": tuned.decoder.max_gap, "max_doubt": tuned.decoder.max_doubt}
    assert limits.pop(result["measure"]) == result["limit"] < NEVER_REFUSED
    assert set(limits.values()) == {NEVER_REFUSED}
    assert tuned.decoder.grammar == "bad head\nfeed a cab\n"
    assert tuned.training["refusal"]["others"] == 12 and plot.read_text().startswith("<svg")
    assert run(["tune", str(bundle), str(dev), "--confidence", "--refusal"]) == 2
    assert run(["tune", str(bundle), str(dev), "--confidence", "--grammar", str(dev)]) == 2
    assert TOKENIZER.vocab_size == tuned.tokenizer.vocab_size
