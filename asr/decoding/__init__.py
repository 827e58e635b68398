"""Logits to text: greedy, closed vocabulary, beam search, alignment. Nothing to compile.

In: logits (T', V) float32, unnormalised. Out: `Hypothesis` objects, best first.

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
from asr.decoding.beam import BeamSearchDecoder
from asr.decoding.decoder import Decoder
from asr.decoding.grammar import Grammar, parse_grammar, read_grammar
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.hypothesis import Hypothesis, WordSpan, check_logits, log_softmax
from asr.decoding.lexicon import LexiconDecoder
from asr.decoding.phrases import HotWord, parse_hot_word, read_hot_words
from asr.errors import UsageError
from asr.language_model import LanguageModel, load_ngram
from asr.recipe import DecoderSettings
from asr.text.tokenizer import CharTokenizer

DECODERS: dict[str, type[Decoder]] = {
    "greedy": GreedyDecoder,
    "lexicon": LexiconDecoder,
    "beam": BeamSearchDecoder,
}

__all__ = ["DECODERS", "Alignment", "BeamSearchDecoder", "Decoder", "Grammar", "GreedyDecoder",
           "HotWord", "Hypothesis", "LexiconDecoder", "WordSpan", "align", "build_decoder",
           "character_spans", "check_logits", "log_softmax", "parse_grammar", "parse_hot_word",
           "read_grammar", "read_hot_words", "span_seconds", "word_spans"]


def build_decoder(settings: DecoderSettings, tokenizer: CharTokenizer, *,
                  language_model: LanguageModel | None = None) -> Decoder:
    """The decoder that the settings name.

    Args:
        settings: kind and numbers.
        tokenizer: of the model that makes the logits.
        language_model: for "beam"; None: read from `settings.lm`, if that names a file.

    Raises:
        UsageError: the kind is unknown, or its settings do not suffice.
        TextError: a lexicon word with characters outside the alphabet.
        DataError: the language model cannot be read.
    """
    if settings.kind == "greedy":
        return GreedyDecoder(tokenizer)
    if settings.kind == "lexicon":
        return LexiconDecoder(tokenizer, settings.lexicon, settings.word_bonus)
    if settings.kind == "beam":
        if language_model is None and settings.lm:
            language_model = load_ngram(settings.lm)
        return BeamSearchDecoder(
            tokenizer, settings.beam_width, language_model=language_model,
            lm_weight=settings.lm_weight, word_bonus=settings.word_bonus,
            unknown_bonus=settings.unknown_bonus, lexicon_only=settings.lexicon_only,
            lexicon=settings.lexicon or None, hot_words=settings.hot_words,
            grammar=parse_grammar(settings.grammar) if settings.grammar else None,
            max_gap=settings.max_gap, num_hypotheses=settings.num_hypotheses)
    raise UsageError(f"There is no decoder {settings.kind!r}; choose one of "
                     f"{', '.join(DECODERS)}.")
