from __future__ import annotations

import json
import subprocess
import sys
import time

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_scoring import edit_distance, kaldi_bootstrap, seeded_pairs
from pace import assert_quick

from asr.errors import DataError, UsageError
from asr.scoring import Conditions, Counts, align_words, bootstrap, score, with_conditions
from asr.scoring.bootstrap import bootstrap_rates, clusters_of, draw_sums
from asr.scoring.counts import count_characters, count_words

PAIRS = seeded_pairs(1_000, seed=7)


def test_edit_distance_oracle_by_hand():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance([], ["a", "b"]) == 2
    assert edit_distance(["a", "b", "c"], ["a", "c"]) == 1


@pytest.mark.parametrize("count, process, split", [
    (count_words, jiwer.process_words, str.split),
    (count_characters, jiwer.process_characters, list),
])
def test_counts_equal_jiwer_and_brute_force_on_1000_pairs(count, process, split):
    references, hypotheses = map(list, zip(*PAIRS, strict=True))
    counts = count(references, hypotheses)
    for row, (reference, hypothesis) in zip(counts, PAIRS, strict=True):
        assert row[:3].sum() == edit_distance(split(reference), split(hypothesis))
        assert row[3] == len(split(reference))
    whole = process(references, hypotheses)
    assert counts[:, :3].sum(0).tolist() == [whole.substitutions, whole.deletions,
                                             whole.insertions]
    for index in range(0, 1_000, 50):  # and pair by pair
        single = process(references[index], hypotheses[index])
        assert counts[index, :3].tolist() == [single.substitutions, single.deletions,
                                              single.insertions]


def test_score_equals_jiwer_over_the_corpus():
    references, hypotheses = map(list, zip(*PAIRS, strict=True))
    result = score(references, hypotheses, normalizer="none", draws=100)
    assert result.wer == pytest.approx(jiwer.wer(references, hypotheses), abs=1e-12)
    assert result.cer == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)
    assert result.words == result.raw_words
    assert sum(row.words.errors for row in result.rows) == result.words.errors


def test_by_hand():
    result = score({"a": "one two three four", "b": "five"},
                   {"b": "six seven five", "a": "one too three"}, draws=200)
    assert result.words == Counts(1, 1, 2, 5)
    assert result.wer == 4 / 5
    assert [row.id for row in result.rows] == ["a", "b"]
    assert result.rows[1].words == Counts(0, 0, 2, 1)
    assert str(result).startswith("WER 80.00 % ± ")
    assert str(result).endswith("(S 1 D 1 I 2 N 5)")


def test_wer_is_neither_clipped_nor_averaged():
    result = score(["a", "b c d e f g h i j"], ["x y z", "b c d e f g h i j"], draws=100)
    assert result.wer == 3 / 10  # a mean over sentences would be 1.5
    assert score(["a"], ["x y z"], draws=100).wer == 3.0


def test_big_numbers_are_grouped():
    text = " ".join(["word"] * 2_500)
    assert "S 0 D 2,500 I 0 N 2,500" in str(score([text], [""], draws=100))


def test_raw_and_normalised_side_by_side():
    result = score(["Hello, World!"], ["hello world"], draws=100)
    assert (result.words.errors, result.raw_words.errors) == (0, 2)
    assert "raw: WER 100.00 %" in "\n".join(result.lines())


def test_unicode_coding_is_never_an_error():
    assert score(["e\u0301te\u0301"], ["été"], normalizer="none", draws=100).wer == 0


def test_whitespace_never_makes_words_or_characters():
    result = score(["  a   b\u00a0 c\t"], ["a b c"], normalizer="none", draws=100)
    assert (result.words.errors, result.characters.errors) == (0, 0)


def test_empty_reference_beside_others_counts_its_insertions():
    result = score({"a": "", "b": "x"}, {"a": "y z", "b": "x"}, draws=100)
    assert result.words == Counts(0, 0, 2, 1)
    assert result.rows[0].words.rate is None


def test_rate_without_a_reference_is_none_never_0():
    assert Counts(0, 0, 0, 0).rate is None
    assert Counts(0, 0, 5, 0).to_dict()["rate"] is None


@pytest.mark.parametrize("references, hypotheses, message", [
    ({}, {}, "No utterance to score"),
    ([], [], "No utterance to score"),
    ({"a": "", "b": " "}, {"a": "", "b": "x"}, "None of 2 references has a word, so"),
    ({"a": "!?"}, {"a": "x"}, "has a word under the normaliser basic-"),
    ({"a": "x"}, {"b": "x"}, "ids differ: 1 without a hypothesis .'a'.; 1 without a reference"),
    ({"a": "x", "b": "y"}, {"a": "x"}, "1 without a hypothesis"),
    ({"a": "x"}, {"a": "x", "b": "y"}, "1 without a reference"),
    (["a"], ["a", "b"], "1 reference but 2 hypotheses"),
    (["a"], {"a": "b"}, "both be dicts by id, or both lists"),
    ({"a": "x"}, {"a": None}, "expected two strings"),
])
def test_what_cannot_be_scored_is_an_error_with_exit_code_4(references, hypotheses, message):
    with pytest.raises(DataError, match=message) as caught:
        score(references, hypotheses)
    assert caught.value.exit_code == 4


def test_long_lists_of_ids_are_shortened():
    with pytest.raises(DataError, match="'u2' and 7 more"):
        score({f"u{index}": "x" for index in range(10)}, {})


def test_order_does_not_matter():
    references = {str(index): pair[0] for index, pair in enumerate(PAIRS)}
    hypotheses = {str(index): pair[1] for index, pair in enumerate(PAIRS)}
    shuffled = dict(reversed(hypotheses.items()))
    one, two = (score(references, side, draws=100) for side in (hypotheses, shuffled))
    assert one == two


def test_skipped_utterances_are_listed():
    result = score({"a": "x", "b": "y"}, {"a": "x"}, skipped={"b": "audio.truncated"}, draws=100)
    assert result.receipt.skipped == (("b", "audio.truncated"),)
    assert result.receipt.utterances == 1
    assert "1 skipped" in result.receipt.line()
    with pytest.raises(DataError, match="'a' marked as skipped but transcribed"):
        score({"a": "x"}, {"a": "x"}, skipped={"a": "why"})


def test_receipt_names_every_condition():
    conditions = Conditions(decoder="greedy", bundle_hash="b" * 64, manifest_hash="c" * 64,
                            seed=3, real_time_factor=0.0123, extra={"silence": 0.0})
    result = score({"a": "x y"}, {"a": "x"}, speakers={"a": "anna"}, conditions=conditions,
                   draws=100)
    line = result.receipt.line()
    assert "\n" not in line
    for part in ("1 utterance, 1 speaker, 2 words", "0 skipped", "normaliser basic-3-",
                 "references ", "decoder greedy", "bundle bbbb", "manifest cccc", "seed 3",
                 "RTF 0.0123", "rapidfuzz ", "alignment unit"):
        assert part in line
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert record["receipt"]["manifest_hash"] == "c" * 64
    assert record["words"] == {"substitutions": 0, "deletions": 1, "insertions": 0,
                               "reference": 2, "rate": 0.5}
    later = with_conditions(result, Conditions(decoder="beam"))
    assert later.receipt.conditions.decoder == "beam"
    assert later.words == result.words


def test_reference_hash_is_of_the_set_not_its_order_or_coding():
    def hashed(references):
        hypotheses = dict.fromkeys(references, "x")
        return score(references, hypotheses, draws=100).receipt.reference_hash

    assert hashed({"a": "é", "b": "y"}) == hashed({"b": "y", "a": "e\u0301"})
    assert hashed({"a": "é", "b": "y"}) != hashed({"a": "y", "b": "é"})


def test_speakers_and_durations_as_lists():
    result = score(["x", "y", "z"], ["x", "q", "z"], speakers=["s", "t", ""],
                   durations=[1.0, 2.0, 3.0], draws=100)
    assert [row.speaker for row in result.rows] == ["s", "t", ""]
    assert [row.duration for row in result.rows] == [1.0, 2.0, 3.0]
    assert result.receipt.speakers == 2
    assert result.wer_interval is not None and result.wer_interval.clusters == 3
    with pytest.raises(DataError, match="1 speaker for 3 references"):
        score(["x", "y", "z"], ["x", "q", "z"], speakers=["s"])


# --- intervals ---------------------------------------------------------------------------------


def test_interval_reproduces_kaldi_within_monte_carlo_error(rng):
    words = rng.integers(3, 20, 130)
    errors = rng.binomial(words, 0.12)
    mean, half = kaldi_bootstrap(errors.tolist(), words.tolist(), 2_000, seed=5)
    interval = bootstrap_rates(errors[:, None], words[:, None])[0]
    assert interval is not None
    low, high = interval.kaldi
    # the mean of 2,000 draws has a standard error of sd / 45, the sd one of 1.6 %; four of each
    assert (low + high) / 2 == pytest.approx(mean, abs=4 * half / 1.96 / 2_000**0.5)
    assert (high - low) / 2 == pytest.approx(half, rel=4 / (2 * 2_000) ** 0.5)
    assert interval.low == pytest.approx(low, abs=0.2 * half)
    assert interval.high == pytest.approx(high, abs=0.2 * half)


def test_an4_has_two_points_of_luck(rng):
    """130 utterances, 773 words, 10 % WER: about ± 2.1 points by binomial arithmetic."""
    words = rng.multinomial(773 - 130, np.full(130, 1 / 130)) + 1
    interval = bootstrap_rates(rng.binomial(words, 0.1)[:, None], words[:, None])[0]
    assert interval is not None and 0.017 < interval.half_width < 0.026


def test_speakers_widen_the_interval(rng):
    speakers = [f"s{index % 12}" for index in range(600)]
    skill = rng.uniform(0.02, 0.4, 12)
    words = np.full((600, 1), 10)
    errors = np.array([rng.binomial(10, skill[index % 12]) for index in range(600)])[:, None]
    alone = bootstrap_rates(errors, words)[0]
    clustered = bootstrap_rates(errors, words, speakers=speakers)[0]
    assert alone is not None and clustered is not None
    assert (alone.unit, alone.clusters) == ("utterance", 600)
    assert (clustered.unit, clustered.clusters) == ("speaker", 12)
    assert clustered.half_width > 2 * alone.half_width


def test_coverage_of_the_interval(rng):
    """Of 200 drawn test sets about 95 % have the true rate inside."""
    inside = 0
    for trial in range(200):
        words = rng.integers(5, 15, 150)
        interval = bootstrap_rates(rng.binomial(words, 0.2)[:, None], words[:, None], draws=500,
                                   seed=trial)[0]
        assert interval is not None
        inside += interval.low <= 0.2 <= interval.high
    assert 180 <= inside <= 199


def test_draw_sums_has_the_right_moments_and_blocks_do_not_matter():
    values = np.array([[1, 10], [2, 10], [6, 10]])
    sums = draw_sums(values, 20_000, seed=1)
    assert (sums[:, 1] == 30).all()
    assert sums[:, 0].mean() == pytest.approx(9, abs=0.1)
    assert sums[:, 0].var() == pytest.approx(3 * values[:, 0].var(), rel=0.05)
    assert (draw_sums(values, 20_000, seed=1) == sums).all()
    assert (draw_sums(values, 20_000, seed=2) != sums).any()


def test_unknown_speakers_stand_alone():
    unit, group = clusters_of(4, ["a", "", "b", ""])
    assert unit == "speaker" and len(set(group.tolist())) == 4
    assert clusters_of(3, ["a", "a", ""])[0] == "utterance"
    assert clusters_of(2, None)[0] == "utterance"


def test_no_error_is_not_certainty():
    result = score(["a b c"] * 100, ["a b c"] * 100, draws=100)
    assert result.wer_interval is not None
    assert result.wer_interval.method == "rule of three"
    assert result.wer_interval.high == pytest.approx(3 / 300, rel=0.01)
    assert "rule of three" in result.notes()[0]


def test_notes_name_weak_intervals():
    texts = [f"a b {index}" for index in range(20)]
    spoken = ["a b x", *texts[1:]]
    few = score(texts, spoken, speakers=["s", "t"] * 10, draws=100)
    one = score(texts, spoken, speakers=["s"] * 20, draws=100)
    assert few.notes() == ["Only 2 speakers: the interval is likely too narrow."]
    assert "One speaker" in one.notes()[0]
    assert "Only 1 utterance:" in score(["a"], ["b"], draws=100).notes()[0]
    assert score(texts, spoken, draws=100).notes() == []


@pytest.mark.parametrize("setting, message", [
    ({"draws": 99}, "draws is 99"), ({"draws": 1.5e3}, "draws is 1500.0"),
    ({"confidence": 1.0}, "confidence is 1.0"), ({"confidence": 0.1}, "confidence is 0.1"),
    ({"normalizer": "bsic"}, "Did you mean 'basic'"),
])
def test_settings_out_of_range(setting, message):
    with pytest.raises(UsageError, match=message):
        score(["a"], ["b"], **setting)


def test_10_000_draws_of_2_500_utterances_take_less_than_a_second(rng):
    words = rng.integers(3, 20, (2_500, 2))
    errors = rng.binomial(words, 0.1)
    start = time.thread_time()  # of this thread: the machine may be busy
    bootstrap_rates(errors, words)
    assert time.thread_time() - start < 1


def test_same_seed_same_interval():
    references, hypotheses = map(list, zip(*PAIRS[:200], strict=True))
    one, two, other = (score(references, hypotheses, bootstrap_seed=seed, draws=500)
                       for seed in (1, 1, 2))
    assert one == two
    assert one.wer_interval != other.wer_interval


# --- alignment ---------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_alignment_spells_both_sides_and_costs_the_distance(reference, hypothesis):
    steps = align_words(" ".join(reference), " ".join(hypothesis))
    assert [step.reference for step in steps if step.reference is not None] == reference
    assert [step.hypothesis for step in steps if step.hypothesis is not None] == hypothesis
    assert sum(step.kind != "equal" for step in steps) == edit_distance(reference, hypothesis)
    assert all((step.reference == step.hypothesis) == (step.kind == "equal") for step in steps)


def test_count_lengths_must_match():
    with pytest.raises(ValueError, match="2 references but 1 hypothesis"):
        count_words(["a", "b"], ["a"])


def test_scoring_imports_no_tensorflow():
    code = ("import sys, asr.scoring; "
            "print([m for m in ('tensorflow', 'keras', 'scipy') if m in sys.modules])")
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            check=True, timeout=60)
    assert output.stdout.strip() == "[]"


def test_sums_of_very_many_utterances_come_from_their_limit(monkeypatch):
    """Against picked rows: quantiles within the noise of both, much less time; rare errors, whose
    sums are skewed, are still picked."""
    random = np.random.default_rng(2)
    words = random.integers(5, 36, 21_000)
    values = np.stack([random.binomial(words, 0.2), words], 1)
    assert_quick(lambda: draw_sums(values, 10_000, 0), 1)
    drawn = draw_sums(values, 10_000, 0)
    monkeypatch.setattr(bootstrap, "_MOST_PICKS", 10**12)
    picked = draw_sums(values, 2_000, 0)
    rates = [sums[:, 0] / sums[:, 1] for sums in (drawn, picked)]
    quantiles = [np.quantile(rate, [0.025, 0.5, 0.975]) for rate in rates]
    deviation = rates[1].std()
    assert np.abs(rates[0].std() / deviation - 1) < 0.06
    assert (np.abs(quantiles[0] - quantiles[1]) < 0.25 * deviation).all()
    rare = np.zeros((21_000, 2), np.int64)
    rare[:3, 0], rare[:, 1] = 1, 10
    assert not bootstrap._nearly_normal(rare) and bootstrap._nearly_normal(values)
