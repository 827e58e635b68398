"""The CTC loss and its gradient on the CPU, exact in the log domain; blank = 0.

In: NumPy arrays. Out: NumPy arrays. Fast with numba, the same without; never TensorFlow.
Reference: Graves, Fernández, Gomez, Schmidhuber 2006, ICML, sections 4.1 and 4.2.

States of L labels: blank, label 1, blank, ..., label L, blank; S = 2 L + 1. A path is in one state
a frame; it stays, goes one state on, or skips a blank between two labels that differ. Sums of path
probabilities are kept as logarithms in float64, so nothing underflows however unlikely a label is.
Posteriors are float32, for the gradient alone. Utterances are divided among threads; each result
depends on its own utterance only.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from asr.errors import UsageError
from asr.kernels import jit, pool
from asr.kernels.jit import compiled
from asr.kernels.memory import aligned

NEGLIGIBLE = -40.0  # a logarithm whose number, beside one, is below the precision of float64

# exp in float32, by reduction to |r| <= log(2) / 2 and a polynomial (Cephes, expf).
F = np.float32
SMALLEST, ZERO, ONE, HALF = F(-87.0), F(0.0), F(1.0), F(0.5)
LOG2_E, LOG_2_HIGH, LOG_2_LOW = F(1.44269504088896341), F(0.693359375), F(-2.12194440e-4)
P0, P1, P2 = F(1.9875691500e-4), F(1.3981999507e-3), F(8.3334519073e-3)
P3, P4, P5 = F(4.1665795894e-2), F(1.6666665459e-1), F(5.0000001201e-1)


def ctc_loss(logits: np.ndarray, num_frames: np.ndarray, labels: np.ndarray,
             num_labels: np.ndarray, *, threads: int | None = None
             ) -> tuple[np.ndarray, np.ndarray]:
    """Losses and their gradients with respect to the logits.

    Args:
        logits: (B, T, V) float32, unnormalised; values beyond a length are not read.
        num_frames: (B,) integers, 0 .. T.
        labels: (B, L) integers in 1 .. V - 1; values beyond a length are ignored.
        num_labels: (B,) integers, 0 .. L. Without labels the loss is that of blanks alone.
        threads: at most so many; None follows ASR_NUM_THREADS, else the processors.

    Returns:
        (B,) float32, nats, and (B, T, V) float32, zero beyond num_frames. Labels that no path of
        positive probability writes have the loss inf and a zero gradient; NaN or +inf among the
        logits of an utterance gives NaN for both.

    Raises:
        UsageError: shapes that do not fit together; a length or a label out of range.
    """
    logits, num_frames, labels, num_labels = _checked(logits, num_frames, labels, num_labels)
    losses, gradient = np.empty(len(logits), np.float32), aligned(*logits.shape)

    def work(i: int) -> None:
        frames, states = num_frames[i], 2 * num_labels[i] + 1
        scales = np.empty(logits.shape[2], np.int32)
        losses[i] = _utterance(logits[i, :frames], labels[i, :num_labels[i]], gradient[i],
                               scales, scales.view(np.float32), np.empty(frames),
                               np.empty((frames, states + 2)), np.empty((2, states + 2)))

    longest_first = np.argsort(-num_frames * (num_labels + 1), kind="stable").tolist()
    pool.run([lambda i=i: work(i) for i in longest_first], threads or pool.default_threads())
    return losses, gradient


@cache
def problem() -> str | None:
    """None when the kernel compiles and runs here, else one line that says why not."""
    if jit.numba is None:
        return "numba cannot be imported"
    one = np.ones(1, np.int64)
    try:
        losses, _ = ctc_loss(np.zeros((1, 1, 2), np.float32), one, one[np.newaxis], one, threads=1)
    except Exception as error:  # numba raises what it likes; the caller decides
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None if abs(losses[0] - math.log(2)) < 1e-6 else f"the compiled loss is {losses[0]}"


def _checked(logits, num_frames, labels, num_labels):
    logits, labels = np.ascontiguousarray(logits, np.float32), np.asarray(labels)
    num_frames, num_labels = np.asarray(num_frames), np.asarray(num_labels)
    if logits.ndim != 3 or labels.ndim != 2 or len(labels) != len(logits) or not logits.shape[2]:
        raise UsageError(f"CTC: logits have shape {logits.shape} and labels {labels.shape}; "
                         "expected (batch, frames, classes) and (batch, labels).")
    for name, lengths, most in (("num_frames", num_frames, logits.shape[1]),
                                ("num_labels", num_labels, labels.shape[1])):
        if lengths.shape != logits.shape[:1] or lengths.dtype.kind not in "iu":
            raise UsageError(f"CTC: {name} has shape {lengths.shape} and type {lengths.dtype}, "
                             f"expected {len(logits)} integers, one per utterance.")
        if lengths.size and not (lengths.min() >= 0 and lengths.max() <= most):
            raise UsageError(f"CTC: {name} runs from {lengths.min()} to {lengths.max()}, expected "
                             f"0 .. {most}.")
    used = labels[np.arange(labels.shape[1]) < num_labels[:, np.newaxis]]
    if labels.dtype.kind not in "iu" or used.size and not (
            used.min() >= 1 and used.max() < logits.shape[2]):
        raise UsageError(f"CTC: labels must be integers in 1 .. {logits.shape[2] - 1}; they have "
                         f"type {labels.dtype}" + (f" and run from {used.min()} to {used.max()}."
                                                   if used.size else "."))
    return (logits, num_frames.astype(np.int64), np.ascontiguousarray(labels, np.int64),
            num_labels.astype(np.int64))


@compiled
def _softmax(logits, result, scales, scale):
    """Fill `result` with the softmax of one frame; returns the logarithm of its denominator.

    Args:
        logits, result: (V,) float32.
        scales, scale: scratch memory, (V,) int32 and the same memory as float32.

    Returns:
        float64; NaN if a logit is NaN or +inf, or all are -inf.
    """
    count = len(logits)
    largest, odd = logits[0], 0
    for k in range(count):
        x = logits[k]
        odd += x != x
        largest = x if x > largest else largest
    if odd or not abs(largest) < np.inf:
        return np.nan
    for k in range(count):  # exp, in a form that LLVM turns into vectors
        x = logits[k] - largest
        small = x if x > SMALLEST else SMALLEST
        power = np.floor(small * LOG2_E + HALF)
        r = small - power * LOG_2_HIGH - power * LOG_2_LOW
        series = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
        result[k] = series * r * r + r + ONE if x > SMALLEST else ZERO
        scales[k] = (np.int32(power) + np.int32(127)) << np.int32(23)
    a = b = c = d = 0.0
    for k in range(count):
        result[k] *= scale[k]
    for k in range(0, count - 3, 4):
        a += result[k]
        b += result[k + 1]
        c += result[k + 2]
        d += result[k + 3]
    for k in range(count // 4 * 4, count):
        a += result[k]
    total = a + b + (c + d)
    share = np.float32(1.0 / total)
    for k in range(count):
        result[k] *= share
    return largest + math.log(total)


@compiled
def _log_sum(a, b, c):
    """log(exp(a) + exp(b) + exp(c)); each may be -inf."""
    if a < b:
        a, b = b, a
    if a < c:
        a, c = c, a
    rest = 0.0
    if b - a > NEGLIGIBLE:  # false for the NaN of two infinities
        rest = math.exp(b - a)
    if c - a > NEGLIGIBLE:
        rest += math.exp(c - a)
    return a if rest == 0.0 else a + math.log(1.0 + rest)


@compiled
def _utterance(logits, labels, gradient, scales, scale, denominators, alpha, beta):
    """The loss of one utterance, its gradient filled in.

    Only states are visited that can be reached by frame t and from which the end can still be:
    max(0, S - 2 (T - t)) .. min(S, 2 t + 2) - 1.

    Args:
        logits: (T, V) float32 without padding.
        labels: (L,) int64.
        gradient: (T or more, V) float32, filled.
        scales, scale: as `_softmax`.
        denominators: (T,) float64, scratch memory.
        alpha: (T, S + 2) float64, scratch memory: paths up to and with frame t, two columns of
            -inf before state 0.
        beta: (2, S + 2) float64, scratch memory: paths from a frame on, two columns of -inf
            behind the last state.
    """
    frames = len(logits)
    states = 2 * len(labels) + 1
    gradient[frames:] = ZERO
    needed = len(labels)
    for i in range(1, len(labels)):
        needed += labels[i] == labels[i - 1]
    for t in range(frames):
        denominators[t] = _softmax(logits[t], gradient[t], scales, scale)
        if math.isnan(denominators[t]):
            gradient[:frames] = np.nan
            return np.nan
    if needed > frames:
        gradient[:frames] = ZERO
        return np.inf
    if frames == 0:
        return 0.0  # no labels either: the empty path

    for t in range(frames):
        first, last = max(0, states - 2 * (frames - t)), min(states, 2 * t + 2)
        alpha[t, :2] = -np.inf
        alpha[t, 2 + last:] = -np.inf
        blank = np.float64(logits[t, 0]) - denominators[t]
        for s in range(first, last):
            if t == 0:
                before = 0.0
            elif s % 2 == 0:
                before = _log_sum(alpha[t - 1, s + 2], alpha[t - 1, s + 1], -np.inf)
            else:
                skipped = -np.inf
                if s > 1 and labels[s // 2] != labels[s // 2 - 1]:
                    skipped = alpha[t - 1, s]
                before = _log_sum(alpha[t - 1, s + 2], alpha[t - 1, s + 1], skipped)
            if s % 2 == 0:
                alpha[t, s + 2] = before + blank
            else:
                alpha[t, s + 2] = before + (np.float64(logits[t, labels[s // 2]])
                                            - denominators[t])
    total = _log_sum(alpha[frames - 1, states + 1], alpha[frames - 1, states], -np.inf)
    if total == -np.inf:
        gradient[:frames] = ZERO
        return np.inf

    beta[:] = -np.inf
    for t in range(frames - 1, -1, -1):
        first, last = max(0, states - 2 * (frames - t)), min(states, 2 * t + 2)
        now, after = beta[t % 2], beta[1 - t % 2]  # from frame t on, from frame t + 1 on
        blank = np.float64(logits[t, 0]) - denominators[t]
        blanks = 0.0
        now[:first] = -np.inf
        for s in range(first, last):
            if t == frames - 1:
                behind = 0.0
            elif s % 2 == 0:
                behind = _log_sum(after[s], after[s + 1], -np.inf)
            else:
                skipped = -np.inf
                if s + 2 < states and labels[s // 2] != labels[s // 2 + 1]:
                    skipped = after[s + 2]
                behind = _log_sum(after[s], after[s + 1], skipped)
            share = alpha[t, s + 2] + behind - total
            share = math.exp(share) if share > NEGLIGIBLE else 0.0
            if s % 2 == 0:
                now[s] = behind + blank
                blanks += share
            else:
                label = labels[s // 2]
                now[s] = behind + (np.float64(logits[t, label]) - denominators[t])
                gradient[t, label] -= np.float32(share)
        gradient[t, 0] -= np.float32(blanks)
    return -total
