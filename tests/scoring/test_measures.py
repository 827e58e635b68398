"""MER, WIL, WIP and SER beside jiwer's own values, and what their intervals hold."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest

from asr.pages.report import score_report
from asr.scoring import score
from asr.scoring.bootstrap import bootstrap_rates
from asr.scoring.measures import measure

WORDS = "a b c d e f g".split()


def random_texts(rng, number=200):
    references = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(number)]
    hypotheses = [" ".join(word if rng.random() < 0.7 else rng.choice([*WORDS, "", "x y"])
                           for word in text.split()).strip() for text in references]
    return references, [" ".join(text.split()) for text in hypotheses]


@pytest.mark.parametrize("seed", range(5))
def test_measures_equal_jiwer(seed):
    references, hypotheses = random_texts(np.random.default_rng(seed))
    result = score(references, hypotheses, normalizer="none", draws=100)
    theirs = jiwer.process_words(references, hypotheses)
    ours = {name: found.rate for name, found in result.measures.items()}
    assert ours == pytest.approx({
        "wer": theirs.wer, "mer": theirs.mer, "wil": theirs.wil, "wip": theirs.wip,
        "cer": jiwer.cer(references, hypotheses),
        "ser": np.mean([a != b for a, b in zip(references, hypotheses, strict=True)])}, abs=1e-12)


@pytest.mark.parametrize("references, hypotheses", [
    (["a b"], [""]), (["a b"], ["x y z"]), (["a b"], ["a b"]), (["a", "b"], ["a c d", ""])])
def test_measures_equal_jiwer_at_the_ends(references, hypotheses):
    result = score(references, hypotheses, draws=100)
    theirs = jiwer.process_words(references, hypotheses)
    for name in ("wer", "mer", "wil", "wip"):
        assert result.measures[name].rate == pytest.approx(getattr(theirs, name)), name


def test_the_published_example():
    # Morris, Maier and Green 2004, table 1, as jiwer's own test_known_values has it
    for spoken, heard, wer, mer, wil in (("x", "x", 0, 0, 0), ("x", "x x y y", 3, 0.75, 0.75),
                                         ("x y x", "x z", 2 / 3, 2 / 3, 5 / 6),
                                         ("x", "y", 1, 1, 1), ("x", "y z", 2, 1, 1)):
        found = score([spoken], [heard], draws=100).measures
        assert [found[name].rate for name in ("wer", "mer", "wil")] == pytest.approx(
            [wer, mer, wil])


def test_intervals_come_from_the_same_draws_as_before(rng):
    words = np.column_stack([rng.integers(0, 4, (300, 3)), rng.integers(3, 20, 300)])
    found = measure(words, words)
    alone = bootstrap_rates(words[:, :3].sum(1)[:, None], words[:, 3:])[0]
    assert found["wer"].interval == found["cer"].interval == alone
    for name, one in found.items():
        assert one.interval.low < one.rate < one.interval.high, name
    assert found["wil"].interval.low == 1 - found["wip"].interval.high
    sentences = bootstrap_rates((words[:, :3].sum(1) > 0)[:, None].astype(int),
                                np.ones((300, 1), int))[0]
    assert found["ser"].interval == sentences


def test_the_interval_of_wip_holds_95_of_100_true_values(rng):
    inside = 0
    for seed in range(60):
        spoken = rng.integers(5, 15, 120)
        wrong = rng.binomial(spoken, 0.2)
        zeros = np.zeros_like(spoken)
        counts = np.column_stack([wrong, zeros, zeros, spoken])
        interval = measure(counts, counts, draws=400, seed=seed)["wip"].interval
        inside += interval.low <= 0.64 <= interval.high
    assert 51 <= inside <= 60


def test_without_an_error_the_rates_are_bounded_not_certain():
    found = score(["a b c d"] * 30, ["a b c d"] * 30, draws=100).measures
    bound = found["wer"].interval.high
    assert 0 < bound == found["mer"].interval.high == pytest.approx(3 / 120, rel=0.01)
    assert found["wil"].interval.high == pytest.approx(1 - (1 - bound) ** 2)
    assert (found["wip"].interval.low, found["wip"].interval.high) == (
        pytest.approx((1 - bound) ** 2), 1.0)
    assert "at least" in str(found["wip"].interval)
    assert found["ser"].interval.high == pytest.approx(3 / 30, rel=0.01)


def test_json_text_and_page_show_them():
    result = score(["a b c", "d e f"] * 6, ["a b x", "d e f"] * 6, draws=100)
    record = result.to_dict()
    assert record["ser"] == 0.5 and record["mer"] == pytest.approx(1 / 6)
    assert record["wip"] == pytest.approx((5 / 6) ** 2) == 1 - record["wil"]
    for name in ("wer", "cer", "mer", "wil", "wip", "ser"):
        assert record[f"{name}_interval"]["draws"] == 100
    line = next(line for line in result.lines() if line.startswith("MER 16.67 % ± "))
    assert "WIL 30.56 % ± " in line and "WIP 69.44 % ± " in line and "SER 50.00 % ± " in line
    assert line in score_report(result)
