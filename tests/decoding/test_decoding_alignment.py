"""Forced alignment against every path written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_decoding import best_paths, collapse_path, median_spans

from asr.decoding import align, character_spans, log_softmax, span_seconds, word_spans
from asr.decoding.alignment import aligned, worst_gap
from asr.decoding.posterior import BAND, posterior_spans
from asr.errors import DataError, UsageError
from asr.text.tokenizer import CharTokenizer, frames_needed

TOKENIZER = CharTokenizer(" ab")


def random_log_probs(seed, num_frames):
    generator = np.random.default_rng(seed)
    return log_softmax((2 * generator.standard_normal((num_frames, 4))).astype(np.float32))


def painted(alignment, num_frames):
    """The path of an alignment, label by frame."""
    path = np.zeros(num_frames, dtype=int)
    for label, start, end in zip(alignment.labels, alignment.starts, alignment.ends, strict=True):
        assert (path[start:end] == 0).all()
        path[start:end] = label
    return path


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6))
def test_equals_the_best_of_all_paths_for_every_label_string(seed, num_frames):
    log_probs = random_log_probs(seed, num_frames)
    for labels, score in best_paths(log_probs).items():
        alignment = align(log_probs, labels)
        path = painted(alignment, num_frames)
        assert collapse_path(path) == labels
        assert alignment.score == pytest.approx(score, abs=1e-9)
        assert log_probs[np.arange(num_frames), path].sum() == pytest.approx(score, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6))
def test_spans_are_the_medians_over_all_paths(seed, num_frames):
    log_probs = random_log_probs(seed, num_frames)
    for labels, expected in median_spans(log_probs).items():
        if labels:
            best = align(log_probs, labels)
            spans = posterior_spans(log_probs, best.labels, best.starts, best.ends)
            assert [tuple(span) for span in spans] == expected


def test_oracle_of_median_spans_by_hand():
    # a- 0.18, -a 0.28, aa 0.42: of 0.88, 0.60 has begun with frame 0 and 0.18 is left with frame 1.
    log_probs = np.log(np.array([[0.4, 0.6], [0.3, 0.7]]))
    assert median_spans(log_probs) == {(): [], (1,): [(0, 2)]}
    assert median_spans(np.log(np.array([[0.8, 0.2], [0.1, 0.9]])))[1,] == [(1, 2)]


def test_spans_of_a_long_text_are_in_order_whatever_the_posteriors(rng):
    """The band moves along; where the best path is not the only one, the median may leave it."""
    labels = rng.integers(1, 4, size=3 * BAND)
    log_probs = log_softmax(rng.normal(size=(9 * BAND, 4)).astype(np.float32))
    best = align(log_probs, labels)
    spans = posterior_spans(log_probs, labels, best.starts, best.ends)
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
    assert spans[0, 0] >= 0 and spans[-1, 1] <= len(log_probs)
    assert (spans != np.stack([best.starts, best.ends], axis=1)).any()


def test_a_text_as_a_hypothesis():
    log_probs = random_log_probs(3, 20)
    found = aligned(log_probs, TOKENIZER.encode("ab b"), TOKENIZER)
    assert found.text == "ab b" and [w.text for w in found.words] == ["ab", "b"]
    assert found.score == align(log_probs, found.labels).score
    assert (found.words[0].start, found.words[0].end) == (found.spans[0][0], found.spans[1][1])
    assert len(found.spans) == len(found.labels) == 4


def test_the_gap_of_the_worst_word():
    """One wrong letter costs what it costs, however many right words stand around it."""
    path = [0, 2, 0, 1, 0, 3, 0, 0, 0, 1, 0, 2, 0]
    logits = np.where(np.arange(4) == np.array(path)[:, None], 6.0, 0.0).astype(np.float32)
    logits[7, 3] = 2.0  # where a second b would be, if there were one
    log_probs = log_softmax(logits)
    gaps = {text: worst_gap(log_probs, aligned(log_probs, TOKENIZER.encode(text), TOKENIZER))
            for text in ("a b a", "a a a", "a bb a", "")}
    assert gaps["a b a"] == 0.0
    assert gaps["a a a"] == pytest.approx(6.0), "one letter is another"
    assert gaps["a bb a"] == pytest.approx((6.0 - 2.0) / 2), "one letter of two too many"
    assert gaps[""] == pytest.approx(5 * 6.0 / 5), "five characters are heard, none is written"


def test_words_and_characters_of_peaky_frames():
    path = [0, 2, 2, 0, 3, 1, 0, 3, 0, 3, 0]
    logits = np.full((len(path), 4), -9.0, dtype=np.float32)
    logits[np.arange(len(path)), path] = 9.0
    log_probs = log_softmax(logits)
    labels = TOKENIZER.encode("ab bb")
    words = word_spans(log_probs, labels, TOKENIZER)
    assert [(w.text, w.start, w.end) for w in words] == [("ab", 1, 5), ("bb", 7, 10)]
    characters = character_spans(log_probs, labels, TOKENIZER)
    assert [(c.text, c.start, c.end) for c in characters] == [
        ("a", 1, 3), ("b", 4, 5), (" ", 5, 6), ("b", 7, 8), ("b", 9, 10)]
    assert all(w.confidence > 0.999 for w in (*words, *characters))
    assert span_seconds(words[1], 0.03, 10.0) == pytest.approx((0.21, 0.30))
    assert span_seconds(words[1], 0.03, 0.25) == pytest.approx((0.21, 0.25))
    assert span_seconds(words[1], 0.03, 0.29, -0.005) == pytest.approx((0.205, 0.29))
    assert span_seconds(characters[0], 0.03, 10.0, -0.04) == pytest.approx((0.0, 0.05))


def test_no_labels_is_silence():
    log_probs = random_log_probs(1, 5)
    alignment = align(log_probs, [])
    assert len(alignment.starts) == 0
    assert alignment.score == pytest.approx(log_probs[:, 0].sum())
    assert word_spans(log_probs, [], TOKENIZER) == ()


def test_exactly_enough_frames():
    labels = [2, 2, 3]
    alignment = align(random_log_probs(2, frames_needed(labels)), labels)
    assert painted(alignment, 4).tolist() == [2, 0, 2, 3]


def test_errors():
    with pytest.raises(DataError, match="3 labels need at least 4 output frames") as error:
        align(random_log_probs(1, 3), [2, 2, 3])
    assert error.value.code == "align.infeasible"
    for label in (0, 4, -1):
        with pytest.raises(UsageError, match=rf"Label {label} is outside 1 \.\. 3"):
            align(random_log_probs(1, 3), [label])
