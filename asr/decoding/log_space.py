"""Sums of probabilities that are given as logarithms. For compiled code.

In: natural logarithms. Out: the logarithm of the sum, float64.
"""

from __future__ import annotations

import numpy as np

from asr.kernels.jit import compiled

NOTHING = -np.inf


@compiled
def log_add(a, b):
    """log(exp(a) + exp(b)); either may be minus infinity."""
    if a < b:
        a, b = b, a
    if b == NOTHING or a - b > 45.0:  # exp(-45) is below half an ulp of 1
        return a
    return a + np.log1p(np.exp(b - a))
