"""Conformance of every decoder, and what greedy and the closed vocabulary promise."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_decoding import (
    best_paths,
    collapse_path,
    every_path,
    is_word_string,
    label_string_scores,
)
from pace import assert_quick

from asr.decoding import (
    DECODERS,
    GreedyDecoder,
    LexiconDecoder,
    build_decoder,
    decoder_class,
    log_softmax,
)
from asr.decoding.hypothesis import collapse
from asr.decoding.lexicon import build_trie
from asr.errors import DataError, TextError, UsageError
from asr.recipe import DecoderSettings
from asr.text.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer(" abc")
WORDS = ("a", "ab", "bb", "cab", "abba")


def decoder_of_kind(kind):
    return build_decoder(DecoderSettings(kind=kind, lexicon=WORDS, beam_width=8), TOKENIZER)


def random_logits(seed, num_frames=30, vocab_size=TOKENIZER.vocab_size, scale=2.0):
    generator = np.random.default_rng(seed)
    return (scale * generator.standard_normal((num_frames, vocab_size))).astype(np.float32)


# --- the oracles themselves, against numbers worked by hand


def test_oracles_by_hand():
    assert collapse_path((0, 1, 1, 0, 1, 2, 2, 0)) == (1, 1, 2)
    log_probs = np.log(np.array([[0.6, 0.4], [0.3, 0.7]]))
    scores = label_string_scores(log_probs)
    assert math.exp(scores[()]) == pytest.approx(0.18)
    assert math.exp(scores[(1,)]) == pytest.approx(0.82)  # a-, -a, aa
    assert math.exp(best_paths(log_probs)[(1,)]) == pytest.approx(0.42)  # -a
    assert is_word_string("", WORDS) and is_word_string("a bb", WORDS)
    assert not is_word_string("a ", WORDS) and not is_word_string("ba", WORDS)


# --- conformance: every decoder of the registry


def check_decoder(decoder):
    """What every decoder promises; a new one is checked by being in the registry."""
    tokenizer = decoder.tokenizer
    vocab_size = tokenizer.vocab_size
    lengths = [1, 2, 7, 30, 12]
    batch = [random_logits(seed, n, vocab_size) for seed, n in enumerate(lengths)]
    single = [decoder.decode(logits) for logits in batch]
    for logits, hypotheses in zip(batch, single, strict=True):
        assert hypotheses, "there is always a reading"
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True) and np.isfinite(scores).all()
        assert len({h.labels for h in hypotheses}) == len(hypotheses)
        for h in hypotheses:
            assert h.text == " ".join(tokenizer.decode(h.labels).split())
            assert h.text == " ".join(w.text for w in h.words)
            assert 0 <= h.confidence <= 1
            assert len(h.spans) == len(h.labels)
            edges = [edge for w in h.words for edge in (w.start, w.end)]
            assert edges == sorted(edges) and all(w.start < w.end for w in h.words)
            assert not edges or 0 <= edges[0] and edges[-1] <= len(logits)
            assert all(0 <= w.confidence <= 1 for w in h.words)
            with pytest.raises(dataclasses.FrozenInstanceError):
                h.text = ""
        before = logits.copy()
        assert decoder.decode(logits) == hypotheses, "twice the same"
        assert np.array_equal(before, logits), "the input is left alone"
        assert decoder.decode(logits + 100)[0].text == hypotheses[0].text, "logits, unnormalised"
        assert decoder.decode(np.asfortranarray(logits))[0] == hypotheses[0]
    padded = np.full((len(batch), max(lengths) + 3, vocab_size), np.nan, dtype=np.float32)
    for row, logits in zip(padded, batch, strict=True):
        row[:len(logits)] = logits
    assert decoder.decode_batch(padded, lengths) == single, "padding and batching change nothing"
    order = [3, 0, 4, 2, 1]
    assert decoder.decode_batch(padded[order], np.array(lengths)[order], num_threads=1) == [
        single[i] for i in order]
    assert decoder.decode_batch(padded[:0], []) == []
    with pytest.raises(UsageError, match="classes do not belong to a tokenizer of"):
        decoder.decode(np.zeros((3, vocab_size + 1), np.float32))
    with pytest.raises(UsageError, match=r"expected \(frames, vocabulary\)"):
        decoder.decode(np.zeros((1, 3, vocab_size), np.float32))
    with pytest.raises(UsageError, match="floating point"):
        decoder.decode(np.zeros((3, vocab_size), np.int32))
    with pytest.raises(DataError, match="zero frames") as empty:
        decoder.decode(np.zeros((0, vocab_size), np.float32))
    assert empty.value.code == "decode.empty"
    for value, kind in ((np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")):
        broken = batch[3].copy()
        broken[5, 2] = value
        with pytest.raises(DataError, match=f"{kind} at frame 5, label 2"):
            decoder.decode(broken)
    with pytest.raises(UsageError, match="one length each"):
        decoder.decode_batch(padded, lengths[:-1])
    with pytest.raises(UsageError, match="do not fit batches of"):
        decoder.decode_batch(padded, [99] * len(batch))
    with pytest.raises(DataError, match="zero frames"):
        decoder.decode_batch(padded, [0] * len(batch))


@pytest.mark.parametrize("kind", DECODERS)
def test_conformance(kind):
    decoder = decoder_of_kind(kind)
    assert type(decoder) is decoder_class(kind)
    check_decoder(decoder)


@pytest.mark.parametrize("options", [
    {"num_hypotheses": 5}, {"hot_words": ("ab c:2", "cab")}, {"lexicon": WORDS},
    {"grammar": "a [b] c\ncab+", "max_gap": 1.0}, {"grammar": "(a | bb)*", "max_gap": 1000.0},
    {"grammar": "(a | bb)*", "hot_words": ("bb a:1.5",), "num_hypotheses": 3}], ids=str)
def test_conformance_of_every_option_of_the_beam(options):
    settings_ = DecoderSettings(kind="beam", beam_width=8, **options)
    check_decoder(build_decoder(settings_, TOKENIZER))


@pytest.mark.parametrize("kind", DECODERS)
def test_peaky_logits_give_the_text_they_spell(kind):
    path = TOKENIZER.encode("abba cab")
    frames = [0, 0, *(x for label in path for x in (label, label, 0))]
    logits = np.full((len(frames), TOKENIZER.vocab_size), -8.0, dtype=np.float32)
    logits[np.arange(len(frames)), frames] = 8.0
    best = decoder_of_kind(kind).decode(logits)[0]
    assert best.text == "abba cab"
    assert [(w.text, w.start, w.end) for w in best.words] == [("abba", 2, 13), ("cab", 17, 25)]
    assert best.confidence > 0.999
    assert best.score == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("kind", DECODERS)
def test_silence_is_the_empty_text(kind):
    logits = np.zeros((20, TOKENIZER.vocab_size), dtype=np.float32)
    logits[:, 0] = 20.0
    best = decoder_of_kind(kind).decode(logits)[0]
    assert (best.text, best.labels, best.words, best.confidence) == ("", (), (), 0.0)


def test_the_schema_and_the_registry_name_the_same_decoders():
    field = next(f for f in dataclasses.fields(DecoderSettings) if f.name == "kind")
    assert list(DECODERS) == list(field.metadata["choices"])
    with pytest.raises(UsageError, match="There is no decoder 'viterbi'"):
        build_decoder(DecoderSettings(kind="viterbi"), TOKENIZER)


@pytest.mark.parametrize("module", ["greedy", "lexicon"])
def test_examples_in_docstrings(module):
    results = doctest.testmod(importlib.import_module(f"asr.decoding.{module}"),
                              extraglobs={"np": np})
    assert results.attempted and not results.failed


# --- greedy


def test_log_softmax_is_exact_for_large_logits():
    log_probs = log_softmax(np.array([[1e4, 1e4, -1e4]], dtype=np.float32))
    assert log_probs[0, :2] == pytest.approx([-math.log(2)] * 2)
    assert log_probs[0, 2] == pytest.approx(-2e4 - math.log(2))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_collapse_equals_the_definition(path):
    labels, starts, ends = collapse(np.array(path, dtype=np.int64))
    assert tuple(labels) == collapse_path(path)
    for label, start, end in zip(labels, starts, ends, strict=True):
        assert set(path[start:end]) == {label}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_greedy_is_the_best_of_all_paths(seed, num_frames):
    log_probs = log_softmax(random_logits(seed, num_frames))
    path, score = max(every_path(log_probs), key=lambda item: item[1])
    best = GreedyDecoder(TOKENIZER).search(log_probs)[0]
    assert best.labels == collapse_path(path)
    assert best.score == pytest.approx(score, abs=1e-9)


def test_spaces_at_the_edges_and_doubled_do_not_reach_the_text():
    path = [*TOKENIZER.encode(" a"), 1, 0, *TOKENIZER.encode(" b ")]
    logits = np.full((len(path), TOKENIZER.vocab_size), -9.0, dtype=np.float32)
    logits[np.arange(len(path)), path] = 9.0
    best = GreedyDecoder(TOKENIZER).decode(logits)[0]
    assert best.text == "a b"
    assert best.labels == tuple(TOKENIZER.encode(" a  b "))


# --- closed vocabulary


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6),
       st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4),
       st.sampled_from([0.0, 1.5, -1.5]))
def test_lexicon_equals_exhaustive_search(seed, num_frames, words, bonus):
    log_probs = log_softmax(random_logits(seed, num_frames))
    candidates = {}
    for labels, score in best_paths(log_probs).items():
        text = TOKENIZER.decode(labels)
        if is_word_string(text, words):
            candidates[text] = score + bonus * len(text.split())
    best = LexiconDecoder(TOKENIZER, words, bonus).search(log_probs)[0]
    text = max(candidates, key=candidates.__getitem__)
    assert best.text == text
    assert best.score == pytest.approx(candidates[text], abs=1e-9)
    assert TOKENIZER.decode(best.labels) == text


def test_lexicon_without_a_space_writes_one_word_at_most():
    tokenizer = CharTokenizer("abc")
    for seed in range(20):
        logits = random_logits(seed, 20, tokenizer.vocab_size)
        assert LexiconDecoder(tokenizer, WORDS).decode(logits)[0].text in ("", *WORDS)


def test_lexicon_with_every_word_seen_is_never_another_text():
    for seed in range(20):
        text = LexiconDecoder(TOKENIZER, WORDS).decode(random_logits(seed, 40))[0].text
        assert is_word_string(text, WORDS)


def test_lexicon_errors():
    with pytest.raises(UsageError, match="at least one word"):
        LexiconDecoder(TOKENIZER, [])
    for word in ("", "a b", "a "):
        with pytest.raises(UsageError, match="is empty, holds a space"):
            LexiconDecoder(TOKENIZER, ["a", word])
    with pytest.raises(TextError, match=r"'x' \(U\+0078\)"):
        LexiconDecoder(TOKENIZER, ["ax"])


def test_trie_shares_prefixes():
    labels, parents, terminal = build_trie([[1, 2], [1, 2, 3], [2]])
    assert labels.tolist() == [0, 1, 2, 3, 2]
    assert parents.tolist() == [-1, 0, 1, 2, 0]
    assert terminal.tolist() == [False, False, True, True, True]


def test_lexicon_is_fast():
    words = "zero one two three four five six seven eight nine".split()
    tokenizer = CharTokenizer("".join(sorted(set(" ".join(words)))))
    decoder = LexiconDecoder(tokenizer, words)
    logits = random_logits(1, 300, tokenizer.vocab_size)
    decoder.decode(logits)  # compiles
    assert_quick(lambda: decoder.decode(logits), 0.01, tries=20)  # 2 ms
