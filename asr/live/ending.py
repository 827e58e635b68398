"""Where an utterance ends.

In: the logits and the loudness of an utterance so far. Out: how long nothing has been said.

The network says when the last label was, and the loudness whether its sound has died away. In
steady noise the loudness says nothing; then a longer time without a label ends the utterance.
"""

from __future__ import annotations

import numpy as np

from asr.features.normalization import NEPERS_PER_DB
from asr.transcript.pauses import MAX_TAIL, quiet_frames
from asr.transcript.timing import FrameClock

DEEP = 12 * NEPERS_PER_DB  # nats: 12 dB below the loudest speech is quiet in any case
NEAR_SECONDS = 0.1  # between a label and its sound
CLICK_SECONDS = 0.03  # what is louder for a shorter time does not end a pause


def is_steady(levels: np.ndarray | None) -> bool:
    """Whether it has been equally loud throughout: noise, in which a network may find words.

    Args:
        levels: (T,) how loud each feature frame is; None: not known.
    """
    return levels is not None and (not len(levels) or
                                   quiet_frames(levels, float(levels.max())) is None)


def pause_after(labels: np.ndarray, levels: np.ndarray | None, seconds: float,
                clock: FrameClock) -> float:
    """How long it has been quiet at the end of an utterance, in seconds.

    Args:
        labels: (n,) output frames whose best label is no blank, n >= 1.
        levels: (T,) how loud each feature frame is; None: not known.
        seconds: duration of the utterance so far.
        clock: clock of the network.

    Returns:
        The time since the last label, if it has been quiet that long; else how long it has been
        quiet, and no less than the time since the last label minus `MAX_TAIL`, the longest that a
        word is taken to go on.
    """
    first, label = int(labels[0]), int(labels[-1])
    since = max(0.0, seconds - clock.seconds(label + 1))
    if levels is None or not len(levels):
        return since
    begin, end = (min(len(levels) - 1, max(0, round(clock.cell(at)))) for at in (first, label + 1))
    speech, tail = float(levels[begin:].max()), levels[end:]
    quiet = tail < speech - DEEP
    if (room := quiet_frames(tail, speech)) is not None:
        quiet |= room
    return max(min(since, _still(quiet, clock.hop)), since - MAX_TAIL)


def first_spoken(labels: np.ndarray, levels: np.ndarray | None, clock: FrameClock) -> int | None:
    """The first label that is not in the quiet before the speech, where a network may find words.

    Args:
        labels, levels, clock: as for `pause_after`.

    Returns:
        An output frame; the first one if all of them are in what is quieter than the
        speech, None if all lie in the quiet of the room.
    """
    if levels is None or not len(levels):
        return int(labels[0])
    speech = float(levels.max())
    room = quiet_frames(levels, speech)
    quiet = levels < speech - DEEP
    if room is not None:
        quiet |= room
    reach = round(NEAR_SECONDS / clock.hop)

    def lies_in(where: np.ndarray, label: int) -> bool:
        cell = round(clock.cell(label))
        return bool(where[max(0, cell - reach):max(0, cell + reach + 1)].all())

    for label in map(int, labels):
        if not lies_in(quiet, label):
            return label
    if room is not None and all(lies_in(room, int(label)) for label in labels):
        return None
    return int(labels[0])


def _still(quiet: np.ndarray, hop: float) -> float:
    """Seconds that it has been quiet at the end, clicks left out."""
    click = round(CLICK_SECONDS / hop)
    loud = np.flatnonzero(~quiet)
    for end in loud[::-1]:
        if end - click >= 0 and not quiet[end - click:end + 1].any():
            return (len(quiet) - 1 - int(end)) * hop
    return len(quiet) * hop
