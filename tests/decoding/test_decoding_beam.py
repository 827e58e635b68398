"""Prefix beam search against every alignment path written out, with and without fusion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_decoding import ToyModel, is_word_string, label_string_scores
from small_models import CHARACTER_ARPA, CHARACTER_MODEL, WORD_ARPA, WORD_MODEL, model_of

from asr.decoding import BeamSearchDecoder, GreedyDecoder, build_decoder, log_softmax
from asr.decoding.fusion import Fusion
from asr.decoding.grammar import parse_grammar
from asr.decoding.log_space import log_add
from asr.decoding.prefix_search import prefix_search
from asr.errors import DataError, TextError, UsageError
from asr.recipe import DecoderSettings
from asr.text.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer(" ab")
OPEN = {"beam_threshold": 1e9, "label_threshold": -1e9}


def random_log_probs(seed, num_frames, vocab_size=4):
    generator = np.random.default_rng(seed)
    return log_softmax((2 * generator.standard_normal((num_frames, vocab_size))).astype("f4"))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6))
def test_a_wide_beam_is_exhaustive(seed, num_frames):
    log_probs = random_log_probs(seed, num_frames)
    expected = label_string_scores(log_probs)
    strings, lengths, acoustic, totals = prefix_search(log_probs, 2_000, 1e9, -1e9,
                                                       Fusion(space=-1))
    found = {tuple(string[:n].tolist()): score
             for string, n, score in zip(strings, lengths, totals, strict=True)}
    assert set(found) == set(expected)
    for labels, score in expected.items():
        assert found[labels] == pytest.approx(score, abs=1e-9)
    assert np.array_equal(acoustic, totals)
    assert np.logaddexp.reduce(totals) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("knobs", [
    {}, {"language_model": WORD_MODEL}, {"language_model": CHARACTER_MODEL},
    {"language_model": WORD_MODEL, "lexicon_only": True, "beam_width": 1},
    {"lexicon": ["a", "ab"]}, {"grammar": parse_grammar("a b\nbb"), "max_gap": 0.5},
    {"language_model": WORD_MODEL, "look_ahead": False, "hot_words": ["ab:2"]}])
def test_the_text_alone_and_other_weights_are_those_of_the_whole_decoder(knobs):
    numbers = {"lm_weight": 1.7, "word_bonus": -0.5, "beam_width": knobs.pop("beam_width", 12)}
    built = BeamSearchDecoder(TOKENIZER, **knobs, **numbers)
    changed = BeamSearchDecoder(TOKENIZER, 3, lm_weight=0.0, word_bonus=4.0,
                                **knobs).reweighted(**numbers)
    for seed in range(30):
        log_probs = random_log_probs(seed, 8)
        expected = built.decode(log_probs)[0]
        found = changed.decode(log_probs)[0]
        assert (found.text, found.score) == (expected.text, pytest.approx(expected.score))
        assert built.text(log_probs) == changed.text(log_probs) == expected.text


def fused(log_probs, addition):
    """Best text by exhaustive search; `addition(text)` is minus infinity for a forbidden one."""
    totals = {labels: score + addition(TOKENIZER.decode(labels))
              for labels, score in label_string_scores(log_probs).items()}
    return max(totals.items(), key=lambda item: item[1])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6), st.sampled_from([0.3, 2.0]),
       st.sampled_from([0.0, 1.0, -2.0]), st.booleans(), st.booleans())
def test_word_model_equals_exhaustive_search(seed, num_frames, weight, bonus, closed, ahead):
    log_probs = random_log_probs(seed, num_frames)
    toy = ToyModel(WORD_ARPA)

    def addition(text):
        if closed and not is_word_string(text, ("a", "ab", "ba")):
            return -math.inf
        words = text.split()
        unknown = sum(word not in ("a", "ab", "ba") for word in words)
        return weight * toy.score(words) + bonus * len(words) - 1.5 * unknown

    labels, score = fused(log_probs, addition)
    best = BeamSearchDecoder(
        TOKENIZER, 2_000, language_model=WORD_MODEL, lm_weight=weight, word_bonus=bonus,
        lexicon_only=closed, unknown_bonus=-1.5, look_ahead=ahead, **OPEN).search(log_probs)[0]
    assert best.labels == labels
    assert best.score == pytest.approx(score, abs=1e-5)  # the model's numbers are float32


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6), st.sampled_from([0.3, 2.0]))
def test_character_model_equals_exhaustive_search(seed, num_frames, weight):
    log_probs = random_log_probs(seed, num_frames)
    toy = ToyModel(CHARACTER_ARPA)
    labels, score = fused(log_probs, lambda text: weight * toy.score(
        ["<space>" if c == " " else c for c in text]))
    best = BeamSearchDecoder(TOKENIZER, 2_000, language_model=CHARACTER_MODEL, lm_weight=weight,
                             **OPEN).search(log_probs)[0]
    assert best.labels == labels
    assert best.score == pytest.approx(score, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6), st.sampled_from([0.0, 1.5]))
def test_lexicon_without_a_model_sums_over_alignments(seed, num_frames, bonus):
    log_probs = random_log_probs(seed, num_frames)
    labels, score = fused(log_probs, lambda text: bonus * len(text.split())
                          if is_word_string(text, ("a", "bb")) else -math.inf)
    best = BeamSearchDecoder(TOKENIZER, 2_000, lexicon=["a", "bb"], word_bonus=bonus,
                             **OPEN).search(log_probs)[0]
    assert best.labels == labels
    assert best.score == pytest.approx(score, abs=1e-9)


def test_beam_one_equals_greedy_on_peaky_logits():
    rng = np.random.default_rng(5)
    for _ in range(20):
        path = rng.integers(0, 4, size=30)
        logits = np.full((30, 4), -6.0, dtype=np.float32)
        logits[np.arange(30), path] = 6.0
        assert (BeamSearchDecoder(TOKENIZER, 1).decode(logits)[0].text
                == GreedyDecoder(TOKENIZER).decode(logits)[0].text)


def test_default_pruning_changes_no_best_text_on_noisy_logits():
    tokenizer = CharTokenizer(" abcdefghijklmnopqrstuvwxyz'")
    rng = np.random.default_rng(9)
    for _ in range(5):
        logits = (2 * rng.standard_normal((100, tokenizer.vocab_size))).astype(np.float32)
        assert (BeamSearchDecoder(tokenizer, 32).decode(logits)[0]
                == BeamSearchDecoder(tokenizer, 32, **OPEN).decode(logits)[0])


def test_a_wider_beam_never_scores_lower_with_more_hypotheses_in_order():
    log_probs = random_log_probs(3, 40)
    scores = [BeamSearchDecoder(TOKENIZER, width).search(log_probs)[0].score
              for width in (1, 4, 16, 64, 256)]
    assert scores == sorted(scores)
    many = BeamSearchDecoder(TOKENIZER, 64, num_hypotheses=5).search(log_probs)
    assert len(many) == 5 and len({h.text for h in many}) == 5
    assert sum(h.confidence for h in many) <= 1 + 1e-9


def test_a_closed_lexicon_reads_something_even_where_the_beam_ends_inside_words():
    log_probs = random_log_probs(11, 30)
    decoder = BeamSearchDecoder(TOKENIZER, 1, lexicon=["abababab"])
    for seed in range(20):
        text = decoder.search(random_log_probs(seed, 30))[0].text
        assert is_word_string(text, ("abababab",))
    assert decoder.search(log_probs)


def test_unknown_words_can_be_read_with_an_open_vocabulary():
    logits = np.full((4, 4), -9.0, dtype=np.float32)
    logits[np.arange(4), [3, 0, 3, 0]] = 9.0
    assert BeamSearchDecoder(TOKENIZER, 8, language_model=WORD_MODEL).decode(logits)[0].text == "bb"
    assert BeamSearchDecoder(TOKENIZER, 8, language_model=WORD_MODEL, lexicon_only=True).decode(
        logits)[0].text in ("", "a", "ab", "ba")


def test_settings_build_the_decoder(tmp_path):
    path = tmp_path / "toy.arpa"
    path.write_text(WORD_ARPA)
    decoder = build_decoder(DecoderSettings(kind="beam", lm=str(path), beam_width=5), TOKENIZER)
    assert isinstance(decoder, BeamSearchDecoder) and decoder.beam_width == 5
    with pytest.raises(DataError, match="Cannot read the language model"):
        build_decoder(DecoderSettings(kind="beam", lm=str(tmp_path / "none")), TOKENIZER)


def test_errors():
    def decoder(**options):
        return BeamSearchDecoder(TOKENIZER, **options)

    for options, match in (
            ({"beam_width": 0}, "must be at least 1"),
            ({"num_hypotheses": 0}, "must be at least 1"),
            ({"beam_threshold": -1}, "beam_threshold is out of bounds"),
            ({"max_gap": math.nan}, "max_gap is out of bounds"),
            ({"label_threshold": 1}, "label_threshold is out of bounds"),
            ({"lm_weight": math.nan}, "lm_weight must be finite"),
            ({"word_bonus": math.inf}, "word_bonus must be finite"),
            ({"lexicon_only": True}, "needs a word language model or a lexicon"),
            ({"lexicon_only": True, "language_model": CHARACTER_MODEL}, "this one is of char"),
            ({"lexicon": ["a"], "language_model": CHARACTER_MODEL}, "together with a character"),
            ({"lexicon": ["a"], "grammar": parse_grammar("a")}, "leave the lexicon out"),
            ({"lexicon": []}, "lexicon is empty"),
            ({"lexicon": ["aab"], "language_model": WORD_MODEL}, "knows none of the words of "
             r"the lexicon \(not 'aab'"),
            ({"lexicon": ["a b"]}, "holds a space"),
            ({"language_model": model_of(WORD_ARPA.replace("a", "x").replace("dxtx", "data")
                                         .replace("grxms", "grams").replace("ngrxm", "ngram")
                                         .replace("b", "y"))}, "can write 0 of the 3 words"),
            ({"language_model": model_of(CHARACTER_ARPA.replace("\ta", "\tx").replace(" a", " x")
                                         .replace("<space>", "|").replace("\tb", "\ty")
                                         .replace(" b", " y"))}, None)):
        if match is None:
            decoder(**options)  # it still knows the space, a third of the alphabet
            continue
        with pytest.raises(UsageError, match=match):
            decoder(**options)
    with pytest.raises(UsageError, match="knows 0 of the 2"):
        BeamSearchDecoder(CharTokenizer("xy"), language_model=CHARACTER_MODEL)
    with pytest.raises(TextError, match="U\\+0078"):
        decoder(lexicon=["x"])


@settings(max_examples=50, deadline=None)
@given(st.floats(-700, 700), st.floats(-700, 700))
def test_log_add_is_numpys(a, b):
    assert log_add(a, b) == pytest.approx(np.logaddexp(a, b), rel=1e-14, abs=1e-19)
    assert log_add(a, -np.inf) == log_add(-np.inf, a) == a
    assert log_add(-np.inf, -np.inf) == -np.inf
