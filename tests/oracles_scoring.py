"""Slow, obvious references for scoring: edit distance by recursion, bootstrap by a loop."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence


def edit_distance(reference: Sequence, hypothesis: Sequence) -> int:
    """The fewest substitutions, deletions and insertions, by the definition."""

    @functools.cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(distance(i - 1, j - 1) + (reference[i - 1] != hypothesis[j - 1]),
                   distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(reference), len(hypothesis))


def kaldi_bootstrap(errors: Sequence[int], words: Sequence[int], replications: int,
                    seed: int) -> tuple[float, float]:
    """Mean and 1.96 sd as in Kaldi's src/bin/compute-wer-bootci.cc, one draw at a time."""
    draw = random.Random(seed)
    rates = []
    for _ in range(replications):
        picks = [draw.randrange(len(errors)) for _ in errors]
        rates.append(sum(errors[p] for p in picks) / sum(words[p] for p in picks))
    mean = sum(rates) / replications
    return mean, 1.96 * math.sqrt(sum(rate * rate for rate in rates) / replications - mean * mean)


def seeded_pairs(count: int, seed: int, vocabulary: int = 30) -> list[tuple[str, str]]:
    """Pairs of sentences with substituted, dropped and invented words; some of them empty."""
    draw = random.Random(seed)
    words = [f"w{index}" + "xyz"[index % 3] * (index % 4) for index in range(vocabulary)]
    pairs = []
    for _ in range(count):
        reference = [draw.choice(words) for _ in range(draw.choice([0, 1, 2, 5, 9, 14]))]
        hypothesis = []
        for word in reference:
            roll = draw.random()
            if roll < 0.1:
                continue
            hypothesis.append(word if roll < 0.75 else draw.choice(words))
            if roll > 0.9:
                hypothesis.append(draw.choice(words))
        if not reference and draw.random() < 0.5:
            hypothesis = [draw.choice(words)]
        pairs.append((" ".join(reference), " ".join(hypothesis)))
    return pairs


def paired_draws(errors_a: Sequence[int], errors_b: Sequence[int], words: Sequence[int],
                 replications: int, seed: int) -> list[float]:
    """Differences of WER on the same drawn utterances, one draw at a time, sorted."""
    draw = random.Random(seed)
    differences = []
    for _ in range(replications):
        picks = [draw.randrange(len(words)) for _ in words]
        total = sum(words[p] for p in picks)
        differences.append(sum(errors_a[p] - errors_b[p] for p in picks) / total)
    return sorted(differences)


def sign_flip_p(differences: Sequence[int]) -> float:
    """Two-sided mid-p of the mean by flipping every combination of signs; ties count half."""
    observed = abs(sum(differences))
    number = len(differences)
    hits = 0.0
    for mask in range(2**number):
        total = sum(-d if mask >> k & 1 else d for k, d in enumerate(differences))
        hits += 0.5 * (abs(total) >= observed) + 0.5 * (abs(total) > observed)
    return hits / 2**number
