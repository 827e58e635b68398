"""CTC prefix beam search with language model, lexicon, hot words or grammar.

In: log-probabilities. Out: the n best hypotheses. NumPy, numba.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from asr.decoding.alignment import aligned, doubt, worst_gap
from asr.decoding.automaton import arcs_of, best_path, num_cells
from asr.decoding.decoder import Decoder
from asr.decoding.evidence import with_shares
from asr.decoding.fusion import Fusion
from asr.decoding.grammar import Grammar, grammar_part, parse_grammar
from asr.decoding.hypothesis import (
    Hypothesis,
    WordSpan,
    check_logits,
    hypothesis_from_path,
    log_softmax,
)
from asr.decoding.lexicon import MAX_CHARACTERS, LexiconDecoder
from asr.decoding.ngram_fusion import (
    character_part,
    fit_of_words,
    word_part,
)
from asr.decoding.phrases import HotWord, parse_hot_word, phrase_part
from asr.decoding.prefix_search import prefix_search
from asr.errors import UsageError
from asr.language_model import LanguageModel, load_ngram
from asr.recipe import NEVER_REFUSED, DecoderSettings
from asr.text.tokenizer import CharTokenizer

MAX_CELLS = 250_000_000  # of the exact search through a grammar, 4 bytes each


class BeamSearchDecoder(Decoder):
    """Finds the label strings with the highest summed probability of all alignments.

    `score` of a hypothesis is the natural log of its probability, plus `lm_weight` times the
    language model's natural log, plus `word_bonus` for each word. `confidence` is its share of
    the probability of the last beam. Word spans come from an alignment of the text.

    Args:
        tokenizer: the tokenizer of the model.
        beam_width: prefixes kept after each frame. A large value makes the search exhaustive.
        language_model: n-grams of words, scored at word ends, or of characters, scored at every
            label; its vocabulary decides.
        lm_weight: weight of the language model.
        word_bonus: nats per word; positive values favour more words. Needs no language model.
        lexicon: restrict the output to these words; None: any word. A language model scores them.
        lexicon_only: restrict the output to the vocabulary of the language model.
        unknown_bonus: nats for a word outside the vocabulary of the language model, in addition
            to the score of <unk>.
        look_ahead: inside a word, add the score of its best completion, so that beginnings of
            unlikely words do not fill the beam.
        hot_words: phrases to expect, with boosts; or "PHRASE:BOOST" texts, see
            `asr.decoding.phrases`. They need not be in the lexicon.
        grammar: restrict the output to its sentences, see `asr.decoding.grammar`.
        max_gap: with a grammar, the largest score difference, in nats per character, between a
            word of the best sentence and unrestricted decoding. Beyond it the text is empty and
            `rejected` has the sentence.
        max_doubt: the same by `asr.decoding.alignment.doubt` of the best sentence.
        num_hypotheses: maximum number of hypotheses.
        beam_threshold: prefixes this many nats below the best are dropped.
        label_threshold: labels with a lower log-probability in a frame do not extend a prefix.

    Raises:
        UsageError: a number is out of bounds, options exclude each other, `lexicon_only` has no
            vocabulary, or the tokenizer cannot spell the words of the language model.
        TextError: a word of lexicon, hot words or grammar has characters outside the alphabet.

    Reference: Hannun et al. 2014, arXiv:1408.2873, algorithm 1.
    """

    uses = ("beam_width", "lm", "lm_weight", "word_bonus", "unknown_bonus", "lexicon_only",
            "lexicon", "hot_words", "grammar", "max_gap", "max_doubt",
            "num_hypotheses")

    def __init__(self, tokenizer: CharTokenizer, beam_width: int = 32, *,
                 language_model: LanguageModel | None = None, lm_weight: float = 0.5,
                 word_bonus: float = 0.0, lexicon: Iterable[str] | None = None,
                 lexicon_only: bool = False, unknown_bonus: float = -5.0, look_ahead: bool = True,
                 hot_words: Iterable[HotWord | str] = (), grammar: Grammar | None = None,
                 max_gap: float = NEVER_REFUSED, max_doubt: float = NEVER_REFUSED,
                 num_hypotheses: int = 1,
                 beam_threshold: float = 30.0, label_threshold: float = -15.0):
        super().__init__(tokenizer)
        for name, value, low in (
                ("beam_width", beam_width, 1), ("num_hypotheses", num_hypotheses, 1),
                ("beam_threshold", beam_threshold, 0), ("label_threshold", -label_threshold, 0),
                ("max_gap", max_gap, 0), ("max_doubt", max_doubt, 0)):
            if not value >= low:
                raise UsageError(f"{name} is out of bounds; its size must be at least {low}, got "
                                 f"{value}.")
        for name, value in (("lm_weight", lm_weight), ("word_bonus", word_bonus),
                            ("unknown_bonus", unknown_bonus)):
            if not math.isfinite(value):
                raise UsageError(f"{name} must be finite, got {value}.")
        _check_together(language_model, tokenizer, lexicon is not None, lexicon_only,
                        grammar is not None)
        self.beam_width = beam_width
        self.language_model = language_model
        self.num_hypotheses = num_hypotheses
        self._characters = np.array(["", *tokenizer.alphabet])
        self.max_gap, self.max_doubt = float(max_gap), float(max_doubt)
        self._thresholds = float(beam_threshold), float(label_threshold)
        self._lexicon = None  # decodes if no prefix of the beam is a complete text
        boosted = [parse_hot_word(item) if isinstance(item, str) else item for item in hot_words]
        phrases = phrase_part(boosted, tokenizer) if boosted else None
        words = characters = None
        if language_model is not None and language_model.space:
            characters = character_part(language_model, tokenizer, lm_weight)
        elif language_model is not None or lexicon is not None:
            words, spelled = word_part(
                language_model, tokenizer, None if lexicon is None else list(lexicon),
                [word for item in boosted for word in item.phrase.split()], weight=1.0,
                look_ahead=look_ahead, unknown_bonus=unknown_bonus,
                closed=lexicon_only or lexicon is not None)
            # What look-ahead adds at weight 1: in the tree, and outside of it with the bonus.
            bonus = float(unknown_bonus) if language_model is not None and look_ahead else 0.0
            self._ahead = words.ahead, words.unknown_ahead - bonus, bonus
            if words.closed and sum(map(len, spelled)) <= MAX_CHARACTERS:
                self._lexicon = LexiconDecoder(tokenizer, spelled, word_bonus)
        sentences = None if grammar is None else grammar_part(grammar, tokenizer)
        self._arcs = None if sentences is None else arcs_of(sentences)
        self._fusion = Fusion(
            tokenizer.encode(" ")[0] if " " in tokenizer.alphabet else -1, float(word_bonus), words,
            characters, sentences, phrases)
        self._fusion = self.reweighted(lm_weight, word_bonus, beam_width)._fusion

    @classmethod
    def from_settings(cls, settings: DecoderSettings, tokenizer: CharTokenizer,
                      language_model: LanguageModel | None = None) -> BeamSearchDecoder:
        """See `Decoder.from_settings`; the language model is read from `settings.lm`.

        Raises:
            DataError: the language model cannot be read.
        """
        table = {name: getattr(settings, name) for name in cls.uses}
        path = table.pop("lm")
        return cls(tokenizer, **table | {
            "language_model": language_model or (load_ngram(path) if path else None),
            "lexicon": settings.lexicon or None,
            "grammar": parse_grammar(settings.grammar) if settings.grammar else None})

    @classmethod
    def describe(cls, settings: DecoderSettings) -> str:
        """See `Decoder.describe`; lists are given by their number and a hash."""
        text = f"beam {settings.beam_width}"
        if settings.lm:
            text += f", lm {Path(settings.lm).name} weight {settings.lm_weight:g}"
        for name, items in (("lexicon", settings.lexicon), ("hot words", settings.hot_words)):
            text += f", {name} {_fingerprint(*items)}" if items else ""
        if settings.grammar:
            text += f", grammar {_fingerprint(settings.grammar)} gap {settings.max_gap:g}"
            if settings.max_doubt < NEVER_REFUSED:
                text += f" doubt {settings.max_doubt:g}"
        if settings.lexicon_only:
            text += ", known words only"
        return f"{text}, word bonus {settings.word_bonus:g}"

    def search(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """See `Decoder.search`; at most `num_hypotheses` different texts."""
        hypotheses = self._readings(log_probs)
        best = hypotheses[0]
        if self._arcs is not None and self._is_refused(log_probs, best):
            return [dataclasses.replace(best, text="", labels=(), words=(), spans=(),
                                        confidence=0.0, rejected=best.text)]
        return hypotheses

    def _is_refused(self, log_probs: np.ndarray, best: Hypothesis) -> bool:
        return (self.max_gap < NEVER_REFUSED and worst_gap(log_probs, best) > self.max_gap
                or self.max_doubt < NEVER_REFUSED
                and doubt(best, self._fusion.word_bonus) > self.max_doubt)

    def text(self, logits: np.ndarray) -> str:
        """See `Decoder.text`: without the alignment, which takes as long as a narrow search."""
        if self._arcs is not None:
            return super().text(logits)
        log_probs = log_softmax(check_logits(logits, self.tokenizer.vocab_size))
        strings, _, _, totals = prefix_search(
            log_probs, self.beam_width, *self._thresholds, self._fusion)
        best = int(np.argmax(totals))
        if not np.isfinite(totals[best]):
            return self._rescue(log_probs)[0].text
        return " ".join(self._texts(strings[best:best + 1])[0].split())

    def reweighted(self, lm_weight: float, word_bonus: float, beam_width: int) -> BeamSearchDecoder:
        """The same decoder with other numbers; its vocabulary is shared, not built again."""
        other = copy.copy(self)
        other.beam_width = beam_width
        words, characters = self._fusion.words, self._fusion.characters
        if words is not None:
            words = words._replace(weight=float(lm_weight), ahead=lm_weight * self._ahead[0],
                                   unknown_ahead=lm_weight * self._ahead[1] + self._ahead[2])
        if characters is not None:
            characters = characters._replace(weight=float(lm_weight))
        other._fusion = self._fusion._replace(word_bonus=float(word_bonus), words=words,
                                              characters=characters)
        if self._lexicon is not None:
            other._lexicon = copy.copy(self._lexicon)
            other._lexicon.word_bonus = float(word_bonus)
        return other

    def _readings(self, log_probs: np.ndarray) -> list[Hypothesis]:
        strings, lengths, _, totals = prefix_search(
            log_probs, self.beam_width, *self._thresholds, self._fusion)
        order = np.argsort(-totals, kind="stable")
        strings, lengths, totals = strings[order], lengths[order], totals[order]
        allowed = np.flatnonzero(np.isfinite(totals))
        if not len(allowed):
            return self._rescue(log_probs)
        shares = np.exp(totals - np.logaddexp.reduce(totals))
        readings = [text.split() for text in self._texts(strings[allowed])]
        hypotheses: list[Hypothesis] = []
        seen = set()
        for place, words in zip(allowed, readings, strict=True):
            if tuple(words) in seen:  # the same words with a doubled space
                continue
            seen.add(tuple(words))
            found = aligned(log_probs, strings[place, :lengths[place]], self.tokenizer)
            hypotheses.append(dataclasses.replace(
                found, score=float(totals[place]),
                confidence=min(1.0, float(shares[place])) if words else 0.0,
                words=self._in_context(with_shares(found.words, readings, shares[allowed]))))
            if len(hypotheses) == self.num_hypotheses:
                break
        return hypotheses

    def _texts(self, strings: np.ndarray) -> list[str]:
        """The texts of (N, L) label strings, right-padded with 0.

        One NumPy call for all: a Python loop over labels holds the interpreter lock for so long
        that four threads are no faster than two.
        """
        characters = self._characters[strings]
        return characters.view(f"U{strings.shape[1]}")[:, 0].tolist()

    def _in_context(self, words: tuple[WordSpan, ...]) -> tuple[WordSpan, ...]:
        """The words with their language model probabilities."""
        if self.language_model is None:
            return words
        fits = fit_of_words(self.language_model, [word.text for word in words],
                            characters=self._fusion.characters is not None)
        return tuple(dataclasses.replace(word, language=math.exp(fit))
                     for word, fit in zip(words, np.minimum(fits, 0.0).tolist(), strict=True))

    def _rescue(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """The best alignment path, if no prefix of the beam is a complete text."""
        if self._lexicon is not None and self._lexicon.fits(len(log_probs)):
            return self._lexicon.search(log_probs)
        if self._arcs is not None and num_cells(log_probs, self._arcs) <= MAX_CELLS:
            path, score = best_path(log_probs, self._arcs)
            if math.isfinite(score):
                return [hypothesis_from_path(path, log_probs, score, self.tokenizer)]
        # Too short for every sentence of the grammar, or too long for an exact search.
        return [Hypothesis("", float(log_probs[:, 0].sum()), confidence=0.0)]


def _fingerprint(*texts: str) -> str:
    """How many, and eight digits of the SHA-256 of all of them."""
    return f"{len(texts)} ({hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:8]})"


def _check_together(language_model: LanguageModel | None, tokenizer: CharTokenizer, lexicon: bool,
                    lexicon_only: bool, grammar: bool) -> None:
    """Check options that exclude or need each other."""
    characters = language_model is not None and bool(language_model.space)
    rules = [
        (lexicon_only and language_model is None and not lexicon,
         "lexicon_only needs a word language model or a lexicon"),
        (lexicon_only and characters,
         "lexicon_only needs a word language model; this one is of characters"),
        (lexicon and characters, "A lexicon together with a character language model is not "
         "supported; use one of them, or a word language model"),
        (grammar and (lexicon or lexicon_only),
         "A grammar is a closed vocabulary already; leave the lexicon out"),
    ]
    for broken, message in rules:
        if broken:
            raise UsageError(f"{message}.")
