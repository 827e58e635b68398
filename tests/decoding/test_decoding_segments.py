"""Hours of logits, decoded from pause to pause."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recordings import pieces_of
from tiny_bundle import TOKENIZER

from asr.decoding import DECODERS, GreedyDecoder, Hypothesis, WordSpan, build_decoder
from asr.decoding.long_text import decode_segments, find_pause, join
from asr.errors import DataError
from asr.recipe import DecoderSettings
from asr.text.tokenizer import CharTokenizer

# --- decoding from pause to pause -----------------------------------------------------------------

def logits_of(text: str, stretch: int = 3) -> np.ndarray:
    """Frames that say the text: each character some frames long, "-" the blank."""
    labels = [0 if c == "-" else TOKENIZER.encode(c)[0] for c in text for _ in range(stretch)]
    logits = np.random.default_rng(0).normal(size=(len(labels), TOKENIZER.vocab_size))
    logits[np.arange(len(labels)), labels] += 9
    return logits.astype(np.float32)


def test_a_pause_with_a_space_comes_before_a_longer_blank():
    logits = logits_of("ab-------c- -de", stretch=1)
    assert find_pause(logits, 1, 14, TOKENIZER) == (11, 12)  # the space in "- -"
    assert find_pause(logits, 1, 9, TOKENIZER) == (5, 5)  # no space so early: the long blank
    assert find_pause(logits_of("abcdefgh", 1), 2, 6, TOKENIZER) == (6, 6)  # no pause at all
    logits = logits_of("a-  - -  -b", 1)
    logits[7:9, 1] += 9
    assert find_pause(logits, 1, 10, TOKENIZER) == (7, 9)  # the surest of three
    one_word = CharTokenizer("abcdefghi")  # the same labels, none of them a space
    assert find_pause(logits_of("ab----c", 1), 1, 6, one_word) == (4, 4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.integers(20, 90))
def test_a_greedy_text_does_not_depend_on_the_segments(sizes, segment):
    logits = logits_of("ab-c- -d-e- a--a -b- - -gh-a-- c" * 9)
    whole = GreedyDecoder(TOKENIZER).decode(logits)[0]
    found = decode_segments(GreedyDecoder(TOKENIZER), pieces_of(logits, sizes), segment)
    assert (found.text, found.rejected) == (whole.text, "")
    assert whole.score - 1e-6 <= found.score <= 0.7 * whole.score
    assert [(w.text, w.start) for w in found.words] == [(w.text, w.start) for w in whole.words]
    assert len(found.spans) == len(found.labels)
    assert found.confidence == pytest.approx(whole.confidence, abs=0.05)


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_every_decoder_copes_with_segments(kind):
    decoder = build_decoder(DecoderSettings(kind=kind, lexicon=("ab", "cd"), beam_width=4),
                            TOKENIZER)
    text = "ab- -cd--- ---ab- -"
    logits = logits_of((text * 8).rstrip(" -"))
    found = decode_segments(decoder, pieces_of(logits, [100]), 60)
    assert found.text == " ".join(["ab cd ab"] * 8)
    starts = [word.start for word in found.words]
    assert starts == sorted(starts) and abs(starts[3] - 3 * len(text)) <= 1


def test_joined_hypotheses():
    one = Hypothesis("a b", -1.0, (2, 1, 3), (WordSpan("a", 0, 1, 0.5), WordSpan("b", 3, 4, 0.5)),
                     0.5, spans=((0, 1), (1, 2), (3, 4)))
    two = Hypothesis("c", -2.0, (4,), (WordSpan("c", 2, 3, 0.8),), 0.8, spans=((2, 3),))
    silence = Hypothesis("", -0.5, confidence=0.3)
    both = join([(0, one), (10, silence), (20, two)])
    assert (both.text, both.score, both.labels) == ("a b c", -3.5, (2, 1, 3, 4))
    assert both.words[2] == WordSpan("c", 22, 23, 0.8) and both.spans[3] == (22, 23)
    assert both.confidence == pytest.approx(0.6)
    assert join([(0, silence), (5, dataclasses.replace(silence, confidence=0.9))]).confidence == 0.3
    no = dataclasses.replace(silence, rejected="call home")
    assert join([(0, no), (5, two), (9, no)]).rejected == "call home call home"


def test_no_logits_at_all():
    with pytest.raises(DataError, match="zero frames"):
        decode_segments(GreedyDecoder(TOKENIZER), [], 10)
