"""Choose among a few frequency warps of each recording, by how well the decoder reads them.

In: features of recordings, network and decoder. Out: the logits of the best warp of each. NumPy.

Vocal tract length normalisation without a model of the speaker (Lee and Rose 1996, "Speaker
normalization using efficient frequency warping procedures"): the mel axis of the features is
warped, so that the spectrum is computed once. What is compared is what the decoder maximises: the
log-probability of its best reading, language model and vocabulary included. All warps of a
recording have equally many frames. The plain features go first, and the warps are computed only
where the network is less sure than `decoder.warp_below`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from asr.decoding import Decoder, log_softmax
from asr.errors import UsageError
from asr.feature_kinds import FEATURE_KINDS
from asr.features import FeatureExtractor
from asr.features.warping import warp_matrices
from asr.kernels import pool
from asr.kernels.matmul import serial_matmul
from asr.recipe import MAX_WARPS, DecoderSettings, FeatureSettings

Network = Callable[[Sequence[tuple[int, int]]], list[np.ndarray]]
"""(item, warp) pairs, warp 0 is the plain one -> logits (T', V) float32 of each."""


@dataclass(frozen=True)
class Warping:
    """The warps to choose among.

    Attributes:
        factors: without 1, each once; above 1 reads a shorter vocal tract, such as a child's, as if
            it were longer.
        matrices: (N, F, F) float32, one a factor.
        below: `decoder.warp_below`, 0 .. 1.
    """

    factors: tuple[float, ...]
    matrices: np.ndarray
    below: float

    @classmethod
    def of(cls, features: FeatureSettings, decoder: DecoderSettings) -> Warping | None:
        """The warps that the settings name; None: only the plain features.

        Raises:
            UsageError: the features cannot be warped, or there are too many factors.
        """
        factors = tuple(dict.fromkeys(factor for factor in decoder.warps if factor != 1.0))
        if not factors or not decoder.warp_below:
            return None
        if features.deltas or not FEATURE_KINDS[features.kind].log_power:
            raise UsageError(f"decoder.warps work on log-mel features without deltas, and this "
                             f"model has {features.kind} with deltas = {features.deltas}. Leave "
                             "the warps out.")
        if len(factors) > MAX_WARPS:
            raise UsageError(f"decoder.warps has {len(factors)} factors, expected at most "
                             f"{MAX_WARPS}; each costs a pass of the network.")
        centres = FeatureExtractor(features, quick_start=True).mel_frequencies
        return cls(factors, warp_matrices(centres, np.array(factors)), decoder.warp_below)

    def factor(self, warp: int) -> float:
        """The factor of a warp; 0 is the plain one."""
        return self.factors[warp - 1] if warp else 1.0

    def apply(self, features: np.ndarray, warp: int) -> np.ndarray:
        """(T, F) float32, before normalisation, with the frequency axis of warp 0 .. N."""
        return serial_matmul(features, self.matrices[warp - 1]) if warp else features


def choose_warps(network: Network, decoder: Decoder, count: int, warping: Warping
                 ) -> tuple[list[tuple[int, np.ndarray]], float]:
    """The best warp of each of `count` items, and its logits.

    What is chosen for an item depends on that item alone.

    Args:
        network: called twice at most: with all items unwarped, then with all warps of those that
            are unsure.
        decoder: its scores are compared, on all cores.
        count: number of items.
        warping: warps.

    Returns:
        (warp, logits (T', V) float32) of each item, warp 0 is the plain one and wins a tie; and how
        many seconds the decoder took.
    """
    best = [(0, row) for row in network([(item, 0) for item in range(count)])]
    unsure = [item for item in range(count) if sureness(best[item][1]) < warping.below]
    pairs = [(item, warp) for item in unsure for warp in range(1, len(warping.factors) + 1)]
    rows = [*(best[item][1] for item in unsure), *(network(pairs) if pairs else [])]
    started = time.perf_counter()
    scores = pool.run([partial(_score, decoder, row) for row in rows], pool.default_threads())
    seconds = time.perf_counter() - started
    highest = dict(zip(unsure, scores, strict=False))
    tried = zip(pairs, rows[len(unsure):], scores[len(unsure):], strict=True)
    for (item, warp), row, score in tried:
        if score > highest[item]:
            highest[item], best[item] = score, (warp, row)
    return best, seconds


def _score(decoder: Decoder, logits: np.ndarray) -> float:
    """The decoder's; the worst of all for broken logits, which are reported when they are read."""
    return decoder.score(logits) if np.isfinite(logits).all() else -math.inf


def described_warps(settings: DecoderSettings) -> str:
    """The warps for the receipt of a score, behind the description of the decoder.

    Example:
        >>> described_warps(DecoderSettings(warps=(0.9, 1.1)))
        ', warps 0.9 1.1 below 0.9'
    """
    factors = " ".join(f"{factor:g}" for factor in settings.warps)
    return f", warps {factors} below {settings.warp_below:g}" if factors else ""


def sureness(logits: np.ndarray) -> float:
    """How sure the network is of its labels: 0 .. 1; NaN for broken logits.

    The geometric mean of the probabilities of the labels on the best path, frame by frame without
    the blank ones, so that silence changes nothing; 0 where every frame is blank.

    Args:
        logits: (T', V) float32, T' >= 1.
    """
    log_probs = log_softmax(np.ascontiguousarray(logits, np.float32))
    spoken = log_probs.argmax(axis=1) > 0
    return float(np.exp(log_probs.max(axis=1)[spoken].mean())) if spoken.any() else 0.0
