"""ECE, NCE, AUC and risk against coverage: equal to what a loop over the words says."""

from __future__ import annotations

import html.parser
import math
from types import SimpleNamespace

import numpy as np
import pytest
from chromium import BINARY, Page
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_scoring import edit_distance

from asr.errors import DataError, UsageError
from asr.pages.confidence_charts import confidence_charts
from asr.pages.report import score_report
from asr.scoring import score
from asr.scoring.confidence import assess_confidence
from asr.scoring.reliability import (
    bins_of,
    judge_rows,
    judge_words,
    reliability,
    squared_calibration_error,
)
from asr.scoring.risk import check_targets, risk_coverage, round_rates
from asr.transcript import Transcript, Word

SEEDS = st.integers(0, 2**32 - 1)


def words_of(rng, count, levels=0):
    confidences = rng.beta(4, 1, count)
    if levels:
        confidences = np.round(confidences * levels) / levels
    return confidences, rng.random(count) < confidences ** 2


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 60), st.sampled_from([0, 3, 10]), st.integers(1, 20))
def test_numbers_equal_a_loop_over_the_words(seed, count, levels, bins):
    confidences, right = words_of(np.random.default_rng(seed), count, levels)
    found = reliability(confidences, right, bins=bins, draws=100)
    place = bins_of(confidences, bins)
    error = 0.0
    for number in set(place.tolist()):
        inside = [i for i in range(count) if place[i] == number]
        error += abs(sum(confidences[i] for i in inside) - sum(right[i] for i in inside)) / count
    assert found.ece == pytest.approx(error)
    assert found.brier == pytest.approx(sum((confidences[i] - right[i]) ** 2
                                            for i in range(count)) / count)
    assert sum(b.words for b in found.bins) == found.words == count
    assert found.ece == pytest.approx(sum(b.words * abs(b.confidence - b.right)
                                          for b in found.bins) / count)
    for i in range(count):
        for j in range(count):
            assert (confidences[i] != confidences[j]) or place[i] == place[j], "ties stay together"
    pairs = [(confidences[i], confidences[j]) for i in range(count) for j in range(count)
             if right[i] and not right[j]]
    if not pairs:
        assert found.auc is None and found.nce is None
        return
    assert found.auc == pytest.approx(sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs))
    p = right.mean()
    base = -p * math.log(p) - (1 - p) * math.log(1 - p)
    bits = sum(math.log(min(max(c if r else 1 - c, 1e-7), 1 - 1e-7))
               for c, r in zip(confidences, right, strict=True)) / count
    assert found.nce == pytest.approx((base + bits) / base)


def test_bins_are_of_equal_mass_and_order_does_not_matter():
    rng = np.random.default_rng(0)
    confidences, right = words_of(rng, 3_000)
    found = reliability(confidences, right)
    assert [b.words for b in found.bins] == [200] * 15
    shuffled = rng.permutation(3_000)
    again = reliability(confidences[shuffled], right[shuffled])
    assert again.ece == pytest.approx(found.ece) and again.nce == pytest.approx(found.nce)


def test_exact_confidences_show_chance_and_others_more():
    rng = np.random.default_rng(1)
    errors, chances = [], []
    for _ in range(30):
        confidences = rng.beta(4, 1, 500)
        found = reliability(confidences, rng.random(500) < confidences, draws=100)
        errors.append(found.ece)
        chances.append(found.chance)
    assert np.mean(errors) == pytest.approx(np.mean(chances), rel=0.1)
    confidences, right = words_of(rng, 500)  # too sure
    found = reliability(confidences, right)
    assert found.ece > 2 * found.chance and found.interval.low > found.chance


@pytest.mark.parametrize("words", [60, 600])
@pytest.mark.parametrize("off", [0.0, 0.1])
def test_the_squared_error_has_no_part_of_chance(words, off):
    """On average it is what the confidences are off by, squared, however few words there are."""
    rng = np.random.default_rng(3)
    found, plain = [], []
    for _ in range(400):
        true = rng.uniform(0.3, 0.85, words)
        right = rng.random(words) < true
        place = bins_of(true + off, 10)
        found.append(squared_calibration_error(true + off, right, place))
        sums = np.bincount(place, true + off - right)
        plain.append((sums ** 2 / np.bincount(place)).sum() / words)
    error = np.std(found) / math.sqrt(len(found))
    assert np.mean(found) == pytest.approx(off ** 2, abs=3.5 * error)
    assert np.mean(plain) > off ** 2 + 5 * error, "the plain mean square counts the noise"


def test_the_squared_error_by_hand():
    confidences, right = np.array([0.9, 0.9, 0.9, 0.1]), np.array([True, False, True, False])
    place = np.array([0, 0, 0, 1])
    # (0.9 - 2/3)^2 - (2/3 * 1/3) / 2 three times, and 0.1^2 for the bin of one word
    assert squared_calibration_error(confidences, right, place) == pytest.approx(
        (3 * ((0.9 - 2 / 3) ** 2 - 1 / 9) + 0.01) / 4)


def test_the_interval_covers_the_ece_of_the_population():
    rng = np.random.default_rng(2)
    everyone, truth = words_of(rng, 400_000)
    ece, inside = reliability(everyone, truth, draws=100).ece, 0
    for _ in range(30):
        chosen = rng.choice(len(everyone), 2_000)
        interval = reliability(everyone[chosen], truth[chosen], draws=200).interval
        inside += interval.low <= ece <= interval.high
    assert inside >= 25, "95 % of 30 is 28.5"


def test_whole_speakers_are_drawn():
    rng = np.random.default_rng(3)
    confidences = rng.beta(4, 1, 2_000)
    utterances = np.arange(2_000) // 10
    easy = np.repeat(rng.random(20) < 0.7, 100)  # a speaker is understood or is not
    right = rng.random(2_000) < np.where(easy, 0.95, 0.3)
    speakers = [f"s{n // 10}" for n in range(200)]
    alone = reliability(confidences, right, utterances=utterances).interval
    together = reliability(confidences, right, utterances=utterances, speakers=speakers).interval
    assert (alone.unit, together.unit, together.clusters) == ("utterance", "speaker", 20)
    assert together.high - together.low > 1.2 * (alone.high - alone.low)


def test_what_is_no_confidence():
    with pytest.raises(DataError, match="No word"):
        reliability(np.empty(0), np.empty(0, bool))
    for value in (np.nan, 1.1, -0.1):
        with pytest.raises(DataError, match="number from 0 to 1"):
            reliability(np.array([0.5, value]), np.array([True, False]))
    with pytest.raises(UsageError, match="as many verdicts"):
        reliability(np.array([0.5]), np.array([True, False]))
    with pytest.raises(UsageError, match="one bin or more"):
        reliability(np.array([0.5]), np.array([True]), bins=0)


# Which words are right.

@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
       st.lists(st.sampled_from("abc"), max_size=6))
def test_verdicts_are_those_of_the_error_count(reference, heard):
    found = judge_words([" ".join(reference)], [" ".join(heard)], [heard], "none")[0]
    assert found is not None and len(found) == len(heard)
    wrong = int((found == 0).sum())  # substitutions and insertions; the other errors are missing
    missing = len(reference) - int((found == 1).sum())
    errors = edit_distance(reference, heard)
    assert max(wrong, missing) <= errors <= wrong + missing


def test_the_normaliser_may_split_join_or_remove_words():
    def verdict(reference, heard, words):
        return judge_words([reference], [heard], [words], "basic")[0]

    assert verdict("one two", "one two", ["One,", "two."]).tolist() == [1, 1]
    assert verdict("one", "one", ["-", "one"]).tolist() == [-1, 1]
    assert verdict("one two", "one two", ["onetwo"]) is None


def rows_of(texts, heard, **more):
    names = [f"u{n}" for n in range(len(texts))]
    return score(dict(zip(names, texts, strict=True)), dict(zip(names, heard, strict=True)),
                 normalizer="none", draws=100, **more).rows


def test_rows_are_judged_word_by_word():
    rows = rows_of(["one two", "three"], ["one too", ""])
    words = {"u0": [Word("one", 0, 1, 0.9), Word("too", 1, 2, 0.4)], "u1": []}
    confidences, right, utterances, left_out = judge_rows(rows, words, "none")
    assert confidences.tolist() == [0.9, 0.4] and right.tolist() == [True, False]
    assert utterances.tolist() == [0, 0] and left_out == 0
    other = {"u0": [Word("onetwo", 0, 1, 0.9)], "u1": []}
    assert judge_rows(rows, other, "none")[3] == 1


# Risk against coverage.

@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 25), st.sampled_from([2, 5, 1_000]))
def test_every_point_is_the_error_rate_of_what_is_kept(seed, count, levels):
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(list("abc"), rng.integers(1, 5))) for _ in range(count)]
    heard = [" ".join(rng.choice(list("abc"), rng.integers(0, 5))) for _ in range(count)]
    rows = rows_of(texts, heard, durations=[float(n + 1) for n in range(count)])
    sure = {row.id: float(np.round(rng.random() * levels) / levels) for row in rows}
    found = risk_coverage(rows, sure, [0.1, 0.5, 1.0])
    assert [p.threshold for p in found.points] == sorted(set(sure.values()), reverse=True)
    for point in found.points:
        kept = [row for row in rows if sure[row.id] >= point.threshold]
        assert point.kept == len(kept) and point.sent == pytest.approx(1 - len(kept) / count)
        assert point.wer == pytest.approx(sum(row.words.errors for row in kept)
                                          / sum(row.words.reference for row in kept))
        assert point.sent_audio == pytest.approx(
            1 - sum(row.duration for row in kept) / sum(row.duration for row in rows))
    for target, point in found.targets.items():
        enough = [p for p in found.points if p.wer <= target]
        assert point == (max(enough, key=lambda p: p.kept) if enough else None)


def test_confidence_that_knows_the_errors_is_ideal_and_rises():
    rng = np.random.default_rng(6)
    texts = ["a b c d"] * 60
    heard = [" ".join("x" if rng.random() < p else w for w in "abcd") for p in rng.random(60)]
    rows = rows_of(texts, heard)
    known = {row.id: 1 - (row.words.rate or 0) for row in rows}
    found = risk_coverage(rows, known)
    rates = [p.wer for p in found.points]
    assert rates == sorted(rates) and rates == pytest.approx(found.ideal)
    guess = risk_coverage(rows, {row.id: float(rng.random()) for row in rows})
    for point in guess.points:  # nothing does better with as many utterances
        best = sorted(row.words.errors for row in rows)[:point.kept]
        assert point.wer >= sum(best) / (4 * point.kept) - 1e-12
    assert [p.kept for p in guess.points][-1] == 60 and guess.points[-1].sent == 0


def test_sentences():
    rows = rows_of(["a b"] * 10, ["a b"] * 8 + ["a x", "x x"], durations=[1.0] * 9 + [11.0])
    sure = {row.id: 1 - number / 10 for number, row in enumerate(rows)}
    assert risk_coverage(rows, sure, [0.06, 0.5, 0.0]).lines() == [
        "risk-coverage: send 10 % of the utterances (55 % of the audio) to a person to reach WER "
        "6 %: those below confidence 0.200",
        "risk-coverage: WER 50 % is reached without a person",
        "risk-coverage: send 20 % of the utterances (60 % of the audio) to a person to reach WER "
        "0 %: those below confidence 0.300"]
    backwards = {name: 1 - value for name, value in sure.items()}
    line = risk_coverage(rows, backwards, [0.05]).lines()[0]
    assert "out of reach by confidence" in line and "have 15.0 %" in line
    assert list(risk_coverage(rows, sure).targets) == [0.1, 0.05]
    assert list(risk_coverage(rows, backwards).targets) == [0.1], "the highest, out of reach"
    assert round_rates(0.7) == [0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005]


def test_refused_targets_and_confidences():
    rows = rows_of(["a"], ["a"])
    for target in (2.0, -0.1, math.nan):
        with pytest.raises(UsageError, match="fractions from 0 to 1"):
            check_targets([target])
    for sure in ({}, {"u0": math.nan}):
        with pytest.raises(DataError, match="'u0' has no confidence"):
            risk_coverage(rows, sure)


# The page.

def confident_score(count=300):
    rng = np.random.default_rng(7)
    texts, heard, transcripts = {}, {}, {}
    for number in range(count):
        name = f"u{number}"
        words = list(rng.choice(["one", "two", "<b>", "four"], 4))
        confidences = rng.beta(4, 1, 4)
        spoken = [w if rng.random() < c ** 2 else "x" for w, c in zip(words, confidences,
                                                                    strict=True)]
        texts[name], heard[name] = " ".join(words), " ".join(spoken)
        transcripts[name] = Transcript(heard[name], 0.0, tuple(
            Word(w, 0.0, 1.0, float(c)) for w, c in zip(spoken, confidences, strict=True)),
            float(confidences.mean()), 1.0)
    result = score(texts, heard, normalizer="none", draws=100,
                   durations=dict.fromkeys(texts, 1.0))
    return result, transcripts


def test_the_section_is_well_formed_and_says_the_numbers():
    result, transcripts = confident_score()
    report = assess_confidence(result, transcripts, "none", [0.1, 0.0])
    section = confidence_charts(report)
    depth: list[str] = []

    class Nesting(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            depth.append(tag)

        def handle_endtag(self, tag):
            assert depth.pop() == tag

        def handle_startendtag(self, tag, attrs):
            pass

    Nesting().feed(section)
    assert depth == [] and section.count("<svg") == 2
    assert f"ECE {100 * report.words.ece:.1f} %" in section and "WER 10 %" in section
    assert "nan" not in section


def test_no_word_recognised_and_words_that_cannot_be_judged():
    result = score({"a": "one", "b": "two"}, {"a": "", "b": ""}, draws=100)
    report = assess_confidence(result, {"a": Transcript(""), "b": Transcript("")}, "basic")
    assert report.words is None and report.to_dict()["words"] is None
    assert confidence_charts(report).count("<svg") == 1 and len(report.lines()) == 1
    joined = {"a": SimpleNamespace(words=[Word("one", 0, 1, 0.5)], confidence=0.5),
              "b": SimpleNamespace(words=[], confidence=1.0)}
    report = assess_confidence(result, joined, "basic")
    assert report.left_out == 1 and "1 utterance left out" in "\n".join(report.lines())
    assert "joins or splits" in confidence_charts(report)


@pytest.mark.skipif(BINARY is None, reason="no Chromium to open the page with")
def test_the_page_draws_both_and_fits_a_phone(tmp_path):
    result, transcripts = confident_score()
    page = score_report(result, confidence=assess_confidence(result, transcripts, "none"))
    (tmp_path / "r.html").write_text(page, encoding="utf-8")
    with Page() as browser:
        for width, phone in ((1280, False), (390, True)):
            browser.size(width, 800, phone=phone)
            browser.open(tmp_path / "r.html")
            assert browser.run("document.querySelectorAll('#confidence svg').length") == 2
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.run("document.querySelector('#confidence svg .ideal') !== null")
        assert browser.run("document.querySelector(\"nav a[href='#confidence']\") !== null")
        assert browser.problems == []
    assert "id='confidence'" not in score_report(result), "asr score has no confidences"
