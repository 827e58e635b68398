"""The calibration that turns evidence for a word into the probability that it is right.

In: log-odds of `asr.decoding.evidence`. Out: probabilities. NumPy. It is plain data that
travels in the bundle, one for each kind of decoder; `asr.tuning.calibration` fits it.

The log-odds are pooled with a weight each and a bias. A weight is an inverse temperature: 0.5
halves the log-odds, a temperature of 2 (Guo et al. 2017, "On calibration of modern neural
networks"). The bias is Platt's (1999): without it a word at even odds would have to be right half
of the time, which an undertrained network's words are not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from asr.decoding.decoder import decoder_class
from asr.errors import BundleError, UsageError
from asr.recipe import DECODERS, DecoderSettings

EVIDENCE = ("peak", "segment", "letter", "share", "language", "square")
PARAMETERS = (*EVIDENCE, "bias")
LATER = {"letter", "language", "square"}  # than the first bundles, where a missing one means 0
MAX_PARAMETER = 1e6


@dataclass(frozen=True)
class Calibration:
    """Evidence to probability: the sigmoid of the weighted sum of log-odds, plus the bias.

    The default leaves the word's `peak` as it is.

    Attributes:
        peak, segment, letter, share, language, square: weights of the evidence, at least 0: more
            of it never makes a word less sure.
        bias: log-odds.
        words, errors: that it was fitted on, for the reader.

    Raises:
        UsageError: a parameter that is not finite, or a weight below 0.
    """

    peak: float = 1.0
    segment: float = 0.0
    letter: float = 0.0
    share: float = 0.0
    language: float = 0.0
    square: float = 0.0
    bias: float = 0.0
    words: int = 0
    errors: int = 0

    def __post_init__(self):
        for name in PARAMETERS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) \
                    or not abs(value) <= MAX_PARAMETER or (value < 0 and name != "bias"):
                raise UsageError(f"The calibration's {name} is {value!r}; expected a finite number"
                                 f"{'' if name == 'bias' else ', 0 or more'}.")
        for name in ("words", "errors"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise UsageError(f"The calibration's {name} is {getattr(self, name)!r}; expected "
                                 "a whole number, 0 or more.")

    def probabilities(self, evidence: np.ndarray) -> np.ndarray:
        """(N,) probabilities that the words are right.

        Args:
            evidence: (N, 6) float64 in the order of EVIDENCE, from `word_evidence`.

        Example:
            >>> evidence = np.array([[2.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
            >>> Calibration(peak=0.5).probabilities(evidence).round(3).tolist()
            [0.731]
        """
        odds = evidence @ np.array([getattr(self, name) for name in EVIDENCE]) + self.bias
        return 1 / (1 + np.exp(-np.clip(odds, -700, 700)))

    def to_dict(self) -> dict:
        """Plain values, for the bundle."""
        return dataclasses.asdict(self)


def calibration_kind(settings: DecoderSettings) -> str:
    """Which calibration belongs to a decoder; one with a language model knows other evidence.

    Example:
        >>> calibration_kind(DecoderSettings(kind="beam", lm="en.arpa.gz"))
        'beam+lm'
    """
    return settings.kind + ("+lm" if uses_lm(settings) else "")


def uses_lm(settings: DecoderSettings) -> bool:
    """Whether the settings name a language model and a decoder that uses one."""
    return bool(settings.lm) and "lm" in decoder_class(settings.kind).uses


def kinds() -> list[str]:
    """Every value of `calibration_kind`."""
    return [kind + end for kind in DECODERS
            for end in ("", "+lm") if not end or "lm" in decoder_class(kind).uses]


def read_calibrations(value: object, where: str) -> dict[str, Calibration]:
    """Kind of decoder to calibration, from the plain values that a bundle holds.

    Args:
        value: kind -> the table of `Calibration.to_dict`.
        where: for the message.

    Raises:
        BundleError: an unknown kind, a parameter that is missing, unknown or out of bounds.
    """
    names = {field.name for field in dataclasses.fields(Calibration)}
    if not isinstance(value, Mapping) or not set(value) <= set(kinds()) or not all(
            isinstance(table, Mapping) and names - LATER <= set(table) <= names
            for table in value.values()):
        raise BundleError(f"{where}: calibration must map kinds of decoder ({', '.join(kinds())}) "
                          f"to tables of exactly {', '.join(sorted(names))}.",
                          code="bundle.schema")
    try:
        return {kind: Calibration(**table) for kind, table in value.items()}
    except UsageError as error:
        raise BundleError(f"{where}: {str(error)[:500]}", code="bundle.schema") from error
