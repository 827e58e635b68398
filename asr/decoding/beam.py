"""CTC prefix beam search, with whatever is to be fused: language model, lexicon.

In: log-probabilities. Out: the n best hypotheses. Floor 1: NumPy, numba.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from asr.decoding.alignment import word_spans
from asr.decoding.decoder import Decoder
from asr.decoding.fusion import Fusion
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.lexicon import LexiconDecoder
from asr.decoding.ngram import NgramModel
from asr.decoding.ngram_fusion import character_part, is_character_model, word_part
from asr.decoding.phrases import HotWord, parse_hot_word, phrase_part
from asr.decoding.prefix_search import prefix_search
from asr.errors import UsageError
from asr.tokenizer import CharTokenizer


class BeamSearchDecoder(Decoder):
    """The most probable label strings, all their alignments summed.

    `score` of a hypothesis is the natural log of its probability, plus `lm_weight` times the
    language model's natural log, plus `word_bonus` for each word. `confidence` is its share of
    the last beam. Word spans come from a Viterbi alignment of the text.

    Args:
        tokenizer: of the model that made the logits.
        beam_width: prefixes kept after each frame. Wide enough, the search is exhaustive.
        language_model: n-grams of words, asked at word ends, or of characters, asked at every
            label; which one is told by its vocabulary.
        lm_weight: of the language model.
        word_bonus: nats a word; positive favours more words. Works without a language model too.
        lexicon: only these words can be read; None: any. The language model, if there is one,
            scores them.
        lexicon_only: only words that the language model knows can be read.
        unknown_bonus: nats for a word that the language model does not know, on top of what the
            model gives <unk>.
        look_ahead: charge the best word that can still come of it already inside a word, so that
            the beam does not fill up with beginnings of unlikely words.
        hot_words: phrases to expect, with boosts; or "PHRASE:BOOST" texts, see
            `asr.decoding.phrases`. They can be read whatever the lexicon says.
        num_hypotheses: readings returned at most.
        beam_threshold: prefixes this many nats below the best are dropped.
        label_threshold: labels whose log-probability in a frame is below this do not extend.

    Raises:
        UsageError: a number is out of bounds, the lexicon is closed but there is none, or the
            language model has hardly a word that the tokenizer can spell.

    Reference: Hannun et al. 2014, arXiv:1408.2873, algorithm 1.
    """

    def __init__(self, tokenizer: CharTokenizer, beam_width: int = 32, *,
                 language_model: NgramModel | None = None, lm_weight: float = 0.5,
                 word_bonus: float = 0.0, lexicon: Iterable[str] | None = None,
                 lexicon_only: bool = False, unknown_bonus: float = -5.0, look_ahead: bool = True,
                 hot_words: Iterable[HotWord | str] = (), num_hypotheses: int = 1,
                 beam_threshold: float = 30.0, label_threshold: float = -15.0):
        super().__init__(tokenizer)
        if beam_width < 1 or num_hypotheses < 1:
            raise UsageError(f"beam_width {beam_width} and num_hypotheses {num_hypotheses} must be "
                             "at least 1.")
        if beam_threshold <= 0 or label_threshold >= 0:
            raise UsageError(f"beam_threshold {beam_threshold} must be above 0 and label_threshold "
                             f"{label_threshold} below 0, in nats.")
        for name, value in (("lm_weight", lm_weight), ("word_bonus", word_bonus),
                            ("unknown_bonus", unknown_bonus)):
            if not math.isfinite(value):
                raise UsageError(f"{name} must be finite, got {value}.")
        if lexicon_only and language_model is None and lexicon is None:
            raise UsageError("lexicon_only needs a word language model or a lexicon.")
        self.beam_width = beam_width
        self.num_hypotheses = num_hypotheses
        self._thresholds = float(beam_threshold), float(label_threshold)
        self._rescue = None  # reads the best text where no prefix of the beam may end
        words = characters = phrases = None
        boosted = [parse_hot_word(item) if isinstance(item, str) else item for item in hot_words]
        if boosted:
            phrases = phrase_part(boosted, tokenizer)
        extra = [word for item in boosted for word in item.phrase.split()]
        lexicon = None if lexicon is None else list(lexicon)
        if language_model is not None and is_character_model(language_model, tokenizer):
            characters = character_part(language_model, tokenizer, lm_weight)
            language_model = None
            if lexicon_only and lexicon is None:
                raise UsageError("lexicon_only needs a word language model; this one is of "
                                 "characters.")
            if lexicon is not None:
                raise UsageError("A lexicon together with a character language model is not "
                                 "supported; use one of them, or a word language model.")
        if language_model is not None or lexicon is not None:
            words, spelled = word_part(
                language_model, tokenizer, lexicon, extra, weight=lm_weight, look_ahead=look_ahead,
                unknown_bonus=unknown_bonus, closed=lexicon_only or lexicon is not None)
            if words.closed:
                self._rescue = LexiconDecoder(tokenizer, spelled, word_bonus)
        space = tokenizer.encode(" ")[0] if " " in tokenizer.alphabet else -1
        self._fusion = Fusion(space, float(word_bonus), words, characters, None, phrases)

    def search(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """See `Decoder.search`; at most `num_hypotheses`, no text twice."""
        strings, lengths, _, totals = prefix_search(
            log_probs, self.beam_width, *self._thresholds, self._fusion)
        order = np.argsort(-totals, kind="stable")
        strings, lengths, totals = strings[order], lengths[order], totals[order]
        allowed = np.isfinite(totals)
        if not allowed.any() and self._rescue is not None:
            return self._rescue.search(log_probs)
        shares = np.exp(totals - np.logaddexp.reduce(totals))
        hypotheses: list[Hypothesis] = []
        seen = set()
        for place in np.flatnonzero(allowed):
            labels = strings[place, :lengths[place]]
            text = " ".join(self.tokenizer.decode(labels).split())
            if text in seen:  # the same words with a doubled space
                continue
            seen.add(text)
            hypotheses.append(Hypothesis(
                text, float(totals[place]), tuple(labels.tolist()),
                word_spans(log_probs, labels, self.tokenizer), min(1.0, float(shares[place]))))
            if len(hypotheses) == self.num_hypotheses:
                break
        return hypotheses
