"""Training of n-gram models: interpolated modified Kneser-Ney.

In: sentences as lists of words (or characters). Out: the tables of an ARPA file. NumPy.

    P(w | h) = (a(hw) - D(a(hw))) / a(h.) + gamma(h) P(w | h')      h' is h without its oldest word

a is the count of the highest order and of n-grams that begin with <s>, and the number of different
words before it for all others; D depends on the order and on whether a is 1, 2 or more.
Reference: Chen and Goodman 1998, TR-10-98, section 3; Heafield et al. 2013, ACL, for pruning.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import DataError, UsageError
from asr.language_model.arpa import MAX_ORDER, SENTENCE_END, SENTENCE_START, UNKNOWN, ArpaTable
from asr.terminal import plural

NEVER = -99.0  # log10, as every toolkit writes the probability of <s>
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # lmplz --discount_fallback
NO_DISCOUNT = 1e-6


@dataclass(frozen=True)
class TrainedNgrams:
    """What `train_ngrams` found.

    Attributes:
        vocabulary: the words by number.
        tables: one for each order that has n-grams.
        discounts: for each order, D for counts 1, 2, and 3 or more.
        estimated: for each order, whether the discounts are from the text (True) or the fallback,
            because the text is too small or too regular for an estimate.
        num_tokens: words and </s> that were counted.
    """

    vocabulary: list[str]
    tables: list[ArpaTable]
    discounts: tuple[tuple[float, float, float], ...]
    estimated: tuple[bool, ...]
    num_tokens: int


@dataclass
class _Level:
    """The n different n-grams of one order."""

    words: np.ndarray  # (n, order)
    raw: np.ndarray  # (n,) how often each is seen
    counts: np.ndarray  # (n,) a, see the formula above
    prefix: np.ndarray  # (n,) row in the order below, without the last word
    suffix: np.ndarray  # (n,) row in the order below, without the first word


def train_ngrams(sentences: Iterable[Sequence[str]], order: int, *, prune: Sequence[int] = (),
                 min_count: int = 1) -> TrainedNgrams:
    """Estimate a model.

    Args:
        sentences: words, without <s> and </s>; empty sentences are left out.
        order: longest n-gram, 1 .. 10.
        prune: for each order, n-grams seen at most this often are dropped; the last number holds
            for the orders above, numbers must not fall, and the first is 0.
        min_count: rarer words count as <unk>.

    Raises:
        UsageError: order or prune cannot be used.
        DataError: there are no sentences, no word is as frequent as `min_count`, or a word is <s>
            or </s>, is empty or holds white space.
    """
    if not 1 <= order <= MAX_ORDER:
        raise UsageError(f"The order must be between 1 and {MAX_ORDER}, got {order}.")
    limits = [*prune, *[prune[-1] if prune else 0] * order][:order]
    if limits[0] != 0 or limits != sorted(limits) or len(prune) > order:
        raise UsageError(f"prune {tuple(prune)} must start with 0, must not fall, and has at most "
                         f"{order} numbers.")
    vocabulary, tokens, sentence = _number(sentences, min_count)
    levels = _count(vocabulary, tokens, sentence, order)
    start = vocabulary.index(SENTENCE_START)
    levels[0].counts[start] = 0  # it is never predicted
    estimates = [_discounts(level.counts) for level in levels]
    probabilities, gammas, kept = [], [], []
    lower = np.full(1, 1.0 / (len(vocabulary) - 1))
    for level, limit, (discounts, _) in zip(levels, limits, estimates, strict=True):
        keep = level.raw > limit if limit else np.ones(len(level.raw), dtype=bool)
        taken = np.array((0.0, *discounts))[np.minimum(level.counts, 3)]
        totals = np.bincount(level.prefix, level.counts, len(lower))
        freed = np.bincount(level.prefix, np.where(keep, taken, level.counts), len(lower))
        gamma = np.divide(freed, totals, out=np.ones(len(lower)), where=totals > 0)
        lower = ((level.counts - taken) / np.maximum(totals[level.prefix], 1)
                 + gamma[level.prefix] * lower[level.suffix])
        probabilities.append(lower)
        gammas.append(gamma)
        kept.append(keep)
    tables = []
    for n, (level, keep) in enumerate(zip(levels, kept, strict=True)):
        backoffs = np.log10(gammas[n + 1]) if n + 1 < order else np.zeros(len(keep))
        log_probs = np.log10(probabilities[n])
        if n == 0:
            log_probs[start] = NEVER
        tables.append(ArpaTable(level.words[keep].astype(np.int32),
                                log_probs[keep].astype(np.float32),
                                backoffs[keep].astype(np.float32)))
    while not len(tables[-1].words):  # longer than every sentence, or all pruned
        tables.pop()
    return TrainedNgrams(vocabulary, tables, tuple(values for values, _ in estimates),
                         tuple(found for _, found in estimates), int((tokens != start).sum()))


def _number(sentences: Iterable[Sequence[str]],
            min_count: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Vocabulary, all tokens with <s> and </s> around each sentence, sentence of each token."""
    texts = [list(words) for words in sentences]
    texts = [words for words in texts if words]
    if not texts:
        raise DataError("There is no text to train a language model on.", code="lm.empty")
    seen = Counter(word for words in texts for word in words)
    if SENTENCE_START in seen or SENTENCE_END in seen:
        raise DataError(f"The text holds {SENTENCE_START} or {SENTENCE_END}; they are added, leave "
                        "them out.", code="lm.text")
    odd = next((word for word in seen if len(word.split()) != 1), None)
    if odd is not None:
        raise DataError(f"The word {odd!r} is empty or holds white space, which separates words in "
                        "ARPA files; split it.", code="lm.text")
    words = sorted(word for word, count in seen.items()
                   if count >= min_count and word not in UNKNOWN)
    if not words:
        raise DataError(f"No word appears {plural(min_count, 'time')} (the most frequent one "
                        f"{plural(max(seen.values()), 'time')}), so that all of them would be "
                        f"{UNKNOWN[0]}. Give a smaller min_count, or more text.", code="lm.empty")
    vocabulary = [UNKNOWN[0], SENTENCE_START, SENTENCE_END, *words]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    tokens = [numbers.get(word, 0) for text in texts
              for word in (SENTENCE_START, *text, SENTENCE_END)]
    sentence = np.repeat(np.arange(len(texts)), [len(text) + 2 for text in texts])
    return vocabulary, np.array(tokens, dtype=np.int64), sentence


def _count(vocabulary: list[str], tokens: np.ndarray, sentence: np.ndarray,
           order: int) -> list[_Level]:
    """Every n-gram of every order, none across sentences; level k holds order k + 1."""
    size = len(vocabulary)
    raw = np.bincount(tokens, minlength=size)
    nothing = np.zeros(size, dtype=np.int64)
    levels = [_Level(np.arange(size)[:, None], raw, raw.copy(), nothing, nothing)]
    ids = tokens  # row of the n-gram that starts at each token
    for n in range(2, order + 1):
        places = max(0, len(sentence) - n + 1)
        inside = np.flatnonzero(sentence[n - 1:] == sentence[:places])
        keys = ids[inside] * size + tokens[inside + n - 1]
        _, first, place, raw = np.unique(keys, return_index=True, return_inverse=True,
                                         return_counts=True)
        first = inside[first]
        levels.append(_Level(tokens[first[:, None] + np.arange(n)], raw, raw.copy(), ids[first],
                             ids[first + 1]))
        ids = np.full(len(tokens), -1)
        ids[inside] = place
    start = vocabulary.index(SENTENCE_START)
    for level, above in itertools.pairwise(levels):
        before = np.bincount(above.suffix, minlength=len(level.raw))
        level.counts = np.where(level.words[:, 0] == start, level.raw, before)
    return levels


def _discounts(counts: np.ndarray) -> tuple[tuple[float, float, float], bool]:
    """D for counts of 1, 2, and 3 or more (Chen and Goodman, eq. 26); False: the fallback."""
    t = np.bincount(np.minimum(counts, 5), minlength=6)[:5].astype(float)
    if (t[1:4] == 0).any():
        return FALLBACK_DISCOUNTS, False
    y = t[1] / (t[1] + 2 * t[2])
    values = tuple(float(j - (j + 1) * y * t[j + 1] / t[j]) for j in (1, 2, 3))
    # Without a discount nothing is left for what was not seen: a back-off of zero.
    if any(not NO_DISCOUNT < value <= j for j, value in enumerate(values, start=1)):
        return FALLBACK_DISCOUNTS, False
    return values, True  # type: ignore[return-value]
