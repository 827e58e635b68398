"""Do frequency warps help on development data, and where are they worth their passes?

In: a `Recognizer`, utterances, factors. Out: a `WarpTuning`: word error rates, and the limit of
`decoder.warp_below` with which development recordings go through the network twice, on average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr.errors import UsageError
from asr.inference.warps import sureness
from asr.manifest import Utterance
from asr.recipe import DecoderSettings
from asr.recognizer import Recognizer
from asr.scoring.bootstrap import (
    Interval,
    cluster_sums,
    clusters_of,
    draw_sums,
    interval_of,
)
from asr.tuning import DRAWS, narrow_notes, word_errors
from asr.tuning.dev_set import DevSet, read_dev_set

PASSES = 2.0  # of the network, mean over recordings


@dataclass(frozen=True)
class WarpTuning:
    """What `tune_warps` found.

    Attributes:
        settings: the decoder's, with the warps and the limit.
        plain_wer, wer, everywhere_wer: word error rates without warps, with `settings`, and with
            the warps tried everywhere.
        tried: share of recordings in which `settings` try the warps.
        passes: passes of the network with `settings`, mean over recordings.
        gain: interval of `plain_wer` minus `wer`, over drawn speakers or utterances.
        words: reference words.
        notes: sentences for the person.
    """

    settings: DecoderSettings
    plain_wer: float
    wer: float
    everywhere_wer: float
    tried: float
    passes: float
    gain: Interval
    words: int
    notes: tuple[str, ...]

    @property
    def helps(self) -> bool:
        """Whether the gain is more than chance."""
        return self.gain.above_zero

    def to_dict(self) -> dict:
        """Plain values, for JSON and for the bundle."""
        return {"warps": list(self.settings.warps), "warp_below": self.settings.warp_below,
                "plain_wer": self.plain_wer, "wer": self.wer,
                "everywhere_wer": self.everywhere_wer, "tried": self.tried, "passes": self.passes,
                "gain": self.gain.to_dict(), "helps": self.helps, "words": self.words,
                "notes": list(self.notes)}


def tune_warps(recognizer: Recognizer, utterances: Sequence[Utterance], factors: Sequence[float],
               *, allow_truncated: bool = False,
               progress: Callable[[int, int], None] | None = None) -> WarpTuning:
    """Read the utterances without and with warps, and set the limit.

    Args:
        recognizer: its decoder reads; warps of its own are replaced.
        utterances: development data, by people whom the network was not trained on.
        factors: factors on the frequency axis, see `decoder.warps`.
        allow_truncated: see `asr.audio.load_audio`.
        progress: called with (readings done, readings to be done).

    Raises:
        AudioError: a recording cannot be used.
        DataError: no utterance, or no word in any reference.
        UsageError: factors that cannot be, or none but 1.
    """
    everywhere = recognizer.with_decoder(warps=list(factors), warp_below=1.0)
    if everywhere.warping is None:
        raise UsageError(f"The warps {list(factors)} hold no factor besides 1; give some such as "
                         "0.9,1.1.")

    def read(one: Recognizer, turn: int) -> DevSet:
        def advance(done: int, total: int) -> None:
            if progress:
                progress(turn * total + done, 2 * total)

        return read_dev_set(one, utterances, allow_truncated=allow_truncated, progress=advance)

    plain, warped = read(recognizer.with_decoder(warps=[]), 0), read(everywhere, 1)
    extra = len(everywhere.warping.factors)
    sure = np.array([1.0 if row is None else sureness(row) for row in plain.logits])
    below = _limit(sure, (PASSES - 1.0) / extra)
    tried = sure < below
    errors = [word_errors(dev, recognizer.decoder) for dev in (plain, warped)]
    chosen = np.where(tried[:, np.newaxis], errors[1], errors[0])
    words = int(chosen[:, 1].sum())
    unit, group = clusters_of(len(chosen), plain.speakers if any(plain.speakers) else None)
    saved = errors[0][:, 0] - chosen[:, 0]
    sums = draw_sums(cluster_sums(np.stack([saved, chosen[:, 1]], axis=1), group), DRAWS, 0)
    gain = interval_of(sums[:, 0], sums[:, 1], 0.95, unit, int(group.max()) + 1)
    rates = [float(one[:, 0].sum() / words) for one in (errors[0], chosen, errors[1])]
    settings = replace(everywhere.decoder_settings, warp_below=below)
    return WarpTuning(settings, rates[0], rates[1], rates[2], float(tried.mean()),
                      1.0 + extra * float(tried.mean()), gain, words, tuple(narrow_notes(gain)))


def _limit(sure: np.ndarray, share: float) -> float:
    """The largest limit with three digits below which at most this share lies."""
    allowed = int(share * len(sure))
    if allowed >= len(sure):
        return 1.0
    limit = np.floor(1_000 * np.sort(sure)[allowed]) / 1_000
    return float(min(max(limit, 0.0), 1.0))
