"""Hot words: the boost is what the unit says, on whole words, and leaves all other texts alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_decoding import label_string_scores

from asr.decoding import BeamSearchDecoder, HotWord, log_softmax, parse_hot_word
from asr.decoding.phrases import DEFAULT_BOOST, normalize_hot_word, phrase_part
from asr.errors import TextError, UsageError
from asr.language_model.ngram import build_ngram
from asr.text.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer(" ab")
OPEN = {"beam_threshold": 1e9, "label_threshold": -1e9}
PHRASES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ab", "a b", "b a", "aab", "a b a", "ba ab", "b a b"]),
              st.sampled_from([-1.0, 0.5, 1.0, 3.0])),
    min_size=1, max_size=4, unique_by=lambda item: item[0])


def credit(text, phrases):
    """Boost times length for every place where a phrase stands as whole words."""
    padded = f" {text} "
    return sum(boost * len(phrase) for phrase, boost in phrases for place in range(len(padded))
               if padded.startswith(f" {phrase} ", place))


def walk(part, labels):
    state, total = 0, 0.0
    for label in labels:
        total += part.gains[state, label]
        state = part.targets[state, label]
    return total + part.final[state]


@settings(max_examples=60, deadline=None)
@given(PHRASES)
def test_every_text_gets_exactly_its_credit(phrases):
    part = phrase_part([HotWord(*item) for item in phrases], TOKENIZER)
    for length in range(7):
        for letters in itertools.product(" ab", repeat=length):
            text = "".join(letters)
            assert walk(part, TOKENIZER.encode(text)) == pytest.approx(credit(text, phrases))


def test_without_a_space_in_the_alphabet_phrases_are_found_anywhere():
    tokenizer = CharTokenizer("ab")
    part = phrase_part([HotWord("ab", 1.0), HotWord("b", 3.0)], tokenizer)
    for text in ("", "a", "ab", "bab", "abab", "bbb"):
        expected = 2 * text.count("ab") + 3 * text.count("b")
        assert walk(part, tokenizer.encode(text)) == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6), PHRASES)
def test_the_search_equals_exhaustive_search(seed, num_frames, phrases):
    generator = np.random.default_rng(seed)
    log_probs = log_softmax((2 * generator.standard_normal((num_frames, 4))).astype("f4"))
    totals = {labels: score + credit(TOKENIZER.decode(labels), phrases)
              for labels, score in label_string_scores(log_probs).items()}
    decoder = BeamSearchDecoder(TOKENIZER, 2_000, hot_words=[HotWord(*item) for item in phrases],
                                **OPEN)
    best = decoder.search(log_probs)[0]
    assert best.score == pytest.approx(max(totals.values()), abs=1e-9)
    assert totals[best.labels] == pytest.approx(best.score, abs=1e-9)


def test_a_hot_word_outside_the_language_model_and_the_lexicon_is_heard():
    from test_decoding_beam import WORD_MODEL
    logits = np.full((6, 4), -2.0, dtype=np.float32)
    logits[np.arange(6), [3, 0, 3, 0, 2, 0]] = 1.0  # "bba", which no list knows
    open_ = BeamSearchDecoder(TOKENIZER, 64, language_model=WORD_MODEL, lm_weight=2.0)
    assert open_.decode(logits)[0].text != "bba"
    for options in ({"language_model": WORD_MODEL, "lm_weight": 2.0},
                    {"language_model": WORD_MODEL, "lexicon_only": True},
                    {"lexicon": ["a", "ab"]}):
        decoder = BeamSearchDecoder(TOKENIZER, 64, hot_words=["bba:3"], **options)
        assert decoder.decode(logits)[0].text == "bba"
    assert build_ngram  # the fixture's builder is the one under test elsewhere


def test_phrases_are_written_as_transcripts_are():
    assert normalize_hot_word("Weißenburg:8", "german") == "weißenburg:8.0"
    assert normalize_hot_word("New  York", "basic") == f"new york:{DEFAULT_BOOST}"
    with pytest.raises(UsageError, match="leaves nothing of it"):
        normalize_hot_word("!:2", "basic")


def test_parsing_and_errors():
    assert parse_hot_word("Weißenburg:8") == HotWord("Weißenburg", 8.0)
    assert parse_hot_word("new  york: -2.5") == HotWord("new york", -2.5)
    assert parse_hot_word("a").boost > 0
    for text in ("", ":3", "a:x", "a:nan", "a:"):
        with pytest.raises(UsageError, match="write PHRASE or PHRASE:BOOST"):
            parse_hot_word(text)
    for text in ("a:1e308", "a:-101"):
        with pytest.raises(UsageError, match="between -100 and 100; 1 to 2 is usual"):
            parse_hot_word(text)
    with pytest.raises(UsageError, match="must not be empty"):
        phrase_part([HotWord(" ")], TOKENIZER)
    with pytest.raises(UsageError, match="be finite"):
        phrase_part([HotWord("a", math.inf)], TOKENIZER)
    with pytest.raises(TextError, match=r"The hot word 'x' holds 'x' \(U\+0078\)"):
        phrase_part([HotWord("x")], TOKENIZER)
