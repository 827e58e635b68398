"""Characters and labels: what is in no alphabet, or no label, never passes (FAULTS.md T1, T3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import TextError, UsageError
from asr.text.tokenizer import (
    BLANK_ID,
    CharTokenizer,
    build_alphabet,
    count_repeats,
    describe,
    frames_needed,
)

TOKENIZER = CharTokenizer(" abcä")


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=" abcä", max_size=30))
def test_text_comes_back_and_the_blank_is_never_written(text):
    labels = TOKENIZER.encode(text)
    assert TOKENIZER.decode(labels) == text
    assert all(BLANK_ID < label < TOKENIZER.vocab_size for label in labels)


def test_labels_follow_the_alphabet():
    assert TOKENIZER.encode(" aä") == [1, 2, 5]
    assert TOKENIZER.vocab_size == 6 and TOKENIZER.blank_id == BLANK_ID == 0
    assert TOKENIZER.encode("") == []


@pytest.mark.parametrize(("text", "named"), [
    ("aX", "'X' (U+0058)"), ("a\tb", "'\\t' (U+0009)"), ("a\r", "'\\r' (U+000D)"),
    ("\u200da", "'\\u200d' (U+200D)"), ("a\u202e", "'\\u202e' (U+202E)"),
    ("😀", "'😀' (U+1F600)"), ("a\u0308", "'\u0308' (U+0308)"), ("a\u00a0b", "'\\xa0' (U+00A0)")])
def test_what_the_alphabet_lacks_is_named_with_its_code_point(text, named):
    with pytest.raises(TextError, match="is not in the alphabet.*drop the utterance") as error:
        TOKENIZER.encode(text)
    assert named in str(error.value)
    assert error.value.code == "text.out_of_alphabet"
    assert len(TOKENIZER.unknown(text + text)) == 1


@pytest.mark.parametrize("label", [BLANK_ID, -1, 6, 10**9])
def test_a_blank_or_a_label_outside_the_vocabulary_is_an_error(label):
    with pytest.raises(ValueError, match=f"Label {label} is outside 1 .. 5; 0 is the blank"):
        TOKENIZER.decode([1, label])


def test_alphabets_that_cannot_be():
    with pytest.raises(UsageError, match="alphabet is empty"):
        CharTokenizer("")
    with pytest.raises(UsageError, match=r"repeats 'a' \(U\+0061\), 'b' \(U\+0062\); write each"):
        CharTokenizer("abba")


def test_equal_alphabets_are_equal_tokenizers():
    assert CharTokenizer("ab") == CharTokenizer("ab") != CharTokenizer("ba")
    assert len({CharTokenizer("ab"), CharTokenizer("ab"), CharTokenizer("ba")}) == 2
    assert repr(CharTokenizer("ab")) == "CharTokenizer('ab')"
    assert CharTokenizer("ab").to_dict() == {"type": "characters", "alphabet": "ab"}
    assert CharTokenizer("ab") != "ab"


def test_an_alphabet_is_the_sorted_characters_of_any_order_of_texts():
    assert build_alphabet(["b a", "äa"]) == build_alphabet(["äa", "b a"]) == " abä"
    assert build_alphabet([]) == ""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 3), max_size=12))
def test_ctc_needs_a_blank_between_equal_neighbours(labels):
    path = []
    for label in labels:  # the shortest path, written out
        path += [BLANK_ID, label] if path and path[-1] == label else [label]
    assert frames_needed(labels) == len(path) == len(labels) + count_repeats(labels)


def test_invisible_characters_can_be_seen():
    assert describe("\u200b") == "'\\u200b' (U+200B)"
