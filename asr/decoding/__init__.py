"""Logits to text: greedy, closed vocabulary, alignment. NumPy and numba, nothing to compile.

In: logits (T', V) float32, unnormalised. Out: `Hypothesis` objects, best first. Floor 1.

A new decoder is one class with one method (`Decoder.search`), one line in DECODERS and one branch
of `build_decoder`; the conformance tests run on it by themselves.
"""

from __future__ import annotations

from asr.decoding.alignment import (
    Alignment,
    align,
    character_spans,
    span_seconds,
    word_spans,
)
from asr.decoding.decoder import Decoder
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.hypothesis import Hypothesis, WordSpan, check_logits, log_softmax
from asr.decoding.lexicon import LexiconDecoder
from asr.errors import UsageError
from asr.recipe import DecoderSettings
from asr.tokenizer import CharTokenizer

DECODERS: dict[str, type[Decoder]] = {
    "greedy": GreedyDecoder,
    "lexicon": LexiconDecoder,
}

__all__ = ["DECODERS", "Alignment", "Decoder", "GreedyDecoder", "Hypothesis", "LexiconDecoder",
           "WordSpan", "align", "build_decoder", "character_spans", "check_logits", "log_softmax",
           "span_seconds", "word_spans"]


def build_decoder(settings: DecoderSettings, tokenizer: CharTokenizer) -> Decoder:
    """The decoder that the settings name.

    Raises:
        UsageError: the kind is unknown, or its settings do not suffice.
        TextError: a lexicon word with characters outside the alphabet.
    """
    if settings.kind == "greedy":
        return GreedyDecoder(tokenizer)
    if settings.kind == "lexicon":
        return LexiconDecoder(tokenizer, settings.lexicon, settings.word_bonus)
    raise UsageError(f"There is no decoder {settings.kind!r}; choose one of "
                     f"{', '.join(DECODERS)}.")
