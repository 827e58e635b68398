"""Leave the middle of long pauses out of what the network reads, as a stream does.

In: features of a recording. Out: which output frames lie in the middle of a long pause; shorter
features for the network, and its logits put back into the time of the recording. NumPy.

A network that was trained on utterances reads a word worse when seconds of a room's quiet are
before it, and may find words in them. A stream ends an utterance at each pause; here the pause
becomes shorter. Blank frames replace what was left out, so that decoding, times, refusals and the
search for segments see the whole recording. `decoder.max_pause` says how long a pause may be; each
end of a pause keeps half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UsageError
from asr.feature_kinds import FEATURE_KINDS
from asr.features.normalization import NEPERS_PER_DB
from asr.recipe import DecoderSettings, FeatureSettings, ModelSettings
from asr.text.tokenizer import BLANK_ID
from asr.transcript.pauses import DIGITAL_SILENCE, speech_levels

LOUD_SHARE = 0.02  # of the frames are as loud as speech,
LOUD_SECONDS = 0.3  # but not more than a word has
RISE = 6 * NEPERS_PER_DB  # nats: what is 6 dB above the room may be a soft voice,
DEPTH = 12 * NEPERS_PER_DB  # and what is not 12 dB below speech as well
# What a network says of a frame that it has not read: nothing but blank, in any decoder.
OTHER_LOGIT = np.float32(-50.0)

Spans = Sequence[tuple[int, int]]
"""Output frames (first, stop) that are left out, in order and apart; edge frames not counted."""


@dataclass(frozen=True)
class LongPauses:
    """The rule by which pauses are shortened.

    Attributes:
        features: what the features are.
        model: front end and subsampling of the network.
        kept: feature frames that a pause keeps at each end; None: it stays whole.
    """

    features: FeatureSettings
    model: ModelSettings
    kept: int | None

    @classmethod
    def of(cls, features: FeatureSettings, model: ModelSettings, decoder: DecoderSettings
           ) -> LongPauses:
        """The rule that the settings name.

        Raises:
            UsageError: the features do not say how loud a frame is.
        """
        if not decoder.max_pause:
            return cls(features, model, None)
        if not FEATURE_KINDS[features.kind].says_loudness:
            raise UsageError(f"decoder.max_pause needs features that say how loud a frame is, and "
                             f"{features.kind} does not. Leave it out, or set it to 0.")
        frames = decoder.max_pause * features.sample_rate / features.hop_length
        return cls(features, model, max(1, round(frames / 2)))

    def find(self, features: np.ndarray) -> list[tuple[int, int]]:
        """The spans of a recording, or of a window of one; none where it is equally loud.

        Args:
            features: (T, F) float32, before normalisation.
        """
        levels, frames = speech_levels(features, self.features), len(features)
        if self.kept is None or levels is None or frames <= 2 * self.kept:
            return []
        loud = min(LOUD_SHARE * frames,
                   LOUD_SECONDS * self.features.sample_rate / self.features.hop_length)
        speech = np.partition(levels, -1 - int(loud))[-1 - int(loud)]
        stretches = np.lib.stride_tricks.sliding_window_view(levels, 2 * self.kept)
        room = stretches.min(axis=1) > DIGITAL_SILENCE
        floor = (stretches[room] if room.any() else stretches).mean(axis=1).min()
        quiet = levels < min(floor + RISE, speech - DEPTH)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
        spans, step = [], self.model.subsampling
        for begin, end in edges.reshape(-1, 2).tolist():
            if end - begin <= 2 * self.kept:
                continue
            first = -(-(begin + self.kept if begin else 0) // step)
            stop = (end - self.kept if end < frames else end) // step
            if stop > first:
                spans.append((first, stop))
        return spans

    def leave_out(self, features: np.ndarray, spans: Spans) -> np.ndarray:
        """The features without the spans, (t, F), 1 <= t <= T."""
        keep = np.ones(len(features), bool)
        for first, stop in spans:
            keep[first * self.model.subsampling:stop * self.model.subsampling] = False
        return features[keep] if spans else features

    def put_back(self, logits: np.ndarray, spans: Spans) -> np.ndarray:
        """Logits in the time of the recording, blank in the spans.

        Args:
            logits: (t', V) float32 of the shorter features.
            spans: what was left out.

        Returns:
            (T', V) float32.
        """
        if not spans:
            return logits
        whole = np.full((len(logits) + sum(stop - first for first, stop in spans),
                         logits.shape[1]), OTHER_LOGIT)
        whole[:, BLANK_ID] = 0.0
        read = np.ones(len(whole), bool)
        for first, stop in spans:
            read[self.model.edge_frames + first:self.model.edge_frames + stop] = False
        whole[read] = logits
        return whole


def described_pauses(settings: DecoderSettings) -> str:
    """The limit for the receipt of a score, behind the description of the decoder.

    Example:
        >>> described_pauses(DecoderSettings(max_pause=0.4))
        ', pauses of at most 0.4 s'
    """
    return f", pauses of at most {settings.max_pause:g} s" if settings.max_pause else ""
