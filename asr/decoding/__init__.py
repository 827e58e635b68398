"""Logits to text: greedy, closed vocabulary, beam search, alignment. Nothing to compile.

In: logits (T', V) float32, unnormalised. Out: `Hypothesis` objects, best first.

A new decoder is one file with one class (`Decoder.search`) and one line in DECODERS of
`asr.recipe`; recipes, the command line and the conformance tests then have it.
"""

from __future__ import annotations

from asr.decoding.alignment import (
    Alignment,
    align,
    character_spans,
    span_seconds,
    word_spans,
)
from asr.decoding.beam import BeamSearchDecoder
from asr.decoding.decoder import Decoder, decoder_class
from asr.decoding.grammar import Grammar, parse_grammar, read_grammar
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.hypothesis import Hypothesis, WordSpan, check_logits, log_softmax
from asr.decoding.lexicon import LexiconDecoder
from asr.decoding.phrases import HotWord, parse_hot_word, read_hot_words
from asr.language_model import LanguageModel
from asr.recipe import DECODERS, DecoderSettings
from asr.text.tokenizer import CharTokenizer

__all__ = ["DECODERS", "Alignment", "BeamSearchDecoder", "Decoder", "Grammar", "GreedyDecoder",
           "HotWord", "Hypothesis", "LexiconDecoder", "WordSpan", "align", "build_decoder",
           "character_spans", "check_logits", "decoder_class", "log_softmax", "parse_grammar",
           "parse_hot_word", "read_grammar", "read_hot_words", "span_seconds", "word_spans"]


def build_decoder(settings: DecoderSettings, tokenizer: CharTokenizer, *,
                  language_model: LanguageModel | None = None) -> Decoder:
    """The decoder that the settings name.

    Args:
        settings: kind and numbers.
        tokenizer: tokenizer of the model that makes the logits.
        language_model: None: read from `settings.lm`, if the decoder uses one.

    Raises:
        UsageError: the kind is unknown, or its settings do not suffice.
        TextError: a lexicon word with characters outside the alphabet.
        DataError: the language model cannot be read.
    """
    return decoder_class(settings.kind).from_settings(settings, tokenizer, language_model)
