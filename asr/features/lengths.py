"""Lengths: samples -> feature frames -> output frames, and what CTC needs.

In: integers, or NumPy integer arrays. Out: the same. One implementation for the model,
the data stage and the validator, so that they cannot disagree about a frame.

    num_frames    = 1 + num_samples // hop_length                 T,  feature frames (centred);
                    an odd n_fft: 1 + (num_samples - 1) // hop_length
    output_length = ceil(T / subsampling) + 2 edge_frames         T', logits
    feasible      = T' >= num_labels + adjacent repeats

Lengths are integers, never ratios, and exact for every T >= 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from asr.errors import UsageError
from asr.recipe import ModelSettings
from asr.text.tokenizer import frames_needed

# One integer, or an integer array of any shape; what goes in comes out.
Lengths = TypeVar("Lengths", int, np.ndarray)

# Time strides of the two convolutions of the "conv" front end, by subsampling.
CONV_TIME_STRIDES = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2)}


def feature_length(num_samples: Lengths, hop_length: int, n_fft: int) -> Lengths:
    """T, the feature frames of `num_samples` >= 1 samples: one a hop, centred, so at least one.

    As librosa counts them: n_fft // 2 zeros at both ends, so an odd window needs one sample more.
    """
    return 1 + (num_samples - n_fft % 2) // hop_length


def output_length(num_frames: Lengths, settings: ModelSettings) -> Lengths:
    """T', the output frames of `num_frames` feature frames, for one length or an array.

    Args:
        num_frames: T >= 1 (padded rows of a batch may hold 0, which gives 0).
        settings: front end, subsampling, and the quiet frames it adds at both ends.

    Returns:
        ceil(T / subsampling) + 2 edge_frames. Both front ends come to this: frame stacking by
        definition, and the two convolutions because ceil(ceil(T / a) / b) == ceil(T / (a * b)).

    Raises:
        UsageError: a length is negative.
    """
    if num_frames < 0 if isinstance(num_frames, int) else np.any(np.asarray(num_frames) < 0):
        raise UsageError(f"A length is a count of frames, 0 or more; got {num_frames}.")
    if settings.front_end == "stack":
        inner = _ceil_divide(num_frames, settings.subsampling)
    else:
        first, second = CONV_TIME_STRIDES[settings.subsampling]
        inner = _ceil_divide(_ceil_divide(num_frames, first), second)
    if not settings.edge_frames:
        return inner
    spoken = np.minimum(inner, 1) if isinstance(inner, np.ndarray) else min(inner, 1)
    return inner + spoken * (2 * settings.edge_frames)


def frame_origin(settings: ModelSettings) -> float:
    """Where output frame 0 begins, in feature frames from the first one's centre.

    Output frame t looks at feature frames around one centre: with stacking at t * subsampling
    and the `stacking` - 1 after it, with convolutions at as many before t * subsampling as after.
    It represents the `subsampling` frames around that centre; feature frames are centred on their
    sample, so the result times `hop_length` samples is where it begins in the recording.

    Example:
        >>> frame_origin(ModelSettings(front_end="stack", stacking=3, subsampling=3))
        -0.5
    """
    centre = (settings.stacking - 1) / 2 if settings.front_end == "stack" else 0.0
    return centre - settings.subsampling / 2 - settings.edge_frames * settings.subsampling


def feasible(num_frames: int, labels: Sequence[int]) -> bool:
    """Whether CTC can write these labels on `num_frames` OUTPUT frames (after time strides).

    Equal neighbours need a blank between them (Graves et al. 2006, section 3). No label at all fits
    every recording: blanks alone.
    """
    if num_frames >= 2 * len(labels) - 1:  # though all were equal; mostly nothing is to be counted
        return True
    return num_frames >= frames_needed(labels)


def _ceil_divide(value: Lengths, divisor: int) -> Lengths:
    return -(-value // divisor)
