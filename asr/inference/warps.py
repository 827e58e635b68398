"""Choose among a few frequency warps of each recording, by how sure the network is.

In: features of recordings, and the network. Out: the logits of the best warp of each. NumPy.

Vocal tract length normalisation without a model of the speaker (Lee and Rose 1996, "Speaker
normalization using efficient frequency warping procedures"): the mel axis of the features is
warped, so that the spectrum is computed once. The score of a warp is the log-probability of the
best path; all warps of a recording have equally many frames. The plain features go first, and the
warps are computed only where the network is less sure than `decoder.warp_below`. No decoder takes
part, so that transcribing, tuning, aligning and auditing see the same logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asr.decoding import log_softmax
from asr.errors import UsageError
from asr.features import FeatureExtractor
from asr.features.warping import warp_matrices
from asr.kernels.matmul import serial_matmul
from asr.recipe import FEATURE_KINDS, MAX_WARPS, DecoderSettings, FeatureSettings

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


def choose_warps(network: Network, count: int, warping: Warping) -> list[tuple[int, np.ndarray]]:
    """The best warp of each of `count` items, and its logits.

    What is chosen for an item depends on that item alone.

    Args:
        network: called twice at most: with all items unwarped, then with all warps of those that
            are unsure.
        count: number of items.
        warping: warps.

    Returns:
        (warp, logits (T', V) float32) of each item; warp 0 is the plain one, and wins a tie.
    """
    best = [(0, row) for row in network([(item, 0) for item in range(count)])]
    judged = [judge(row) for _, row in best]
    scores = [score for score, _ in judged]
    pairs = [(item, warp) for item in range(count) if judged[item][1] < warping.below
             for warp in range(1, len(warping.factors) + 1)]
    for (item, warp), row in zip(pairs, network(pairs) if pairs else [], strict=True):
        score = judge(row)[0]
        if score > scores[item]:  # never true of NaN, which the decoder reports
            scores[item], best[item] = score, (warp, row)
    return best


def described_warps(settings: DecoderSettings) -> str:
    """The warps for the receipt of a score, behind the description of the decoder.

    Example:
        >>> described_warps(DecoderSettings(warps=(0.9, 1.1)))
        ', warps 0.9 1.1 below 0.9'
    """
    factors = " ".join(f"{factor:g}" for factor in settings.warps)
    return f", warps {factors} below {settings.warp_below:g}" if factors else ""


def judge(logits: np.ndarray) -> tuple[float, float]:
    """How well an utterance's logits read, and how sure they are of its characters.

    Args:
        logits: (T', V) float32, T' >= 1.

    Returns:
        The log-probability of the best path, natural log; and the geometric mean of the
        probabilities of its labels, frame by frame without the blank ones: 0 .. 1, 0 where every
        frame is blank.
    """
    log_probs = log_softmax(np.ascontiguousarray(logits, np.float32))
    path, peaks = log_probs.argmax(axis=1), log_probs.max(axis=1)
    spoken = path > 0
    sure = math.exp(peaks[spoken].mean()) if spoken.any() else 0.0
    return float(peaks.sum()), sure
