"""What there is of features, as facts: recipes are checked by them without computing anything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureKind:
    """What the project must know of a kind of features without computing it.

    Args:
        columns: the setting that counts its columns, or their number.
        log_power: columns are natural logs of mel power, on which the augmentations of
            `asr.recipe.LEVEL_CHANGES` and cmvn = "map" work.
        says_loudness: `asr.transcript.pauses.speech_levels` finds it in the columns.
        memory_seconds: how far back a frame depends on the recording, besides its own window.
    """

    columns: str | int
    log_power: bool = False
    says_loudness: bool = False
    memory_seconds: float = 0.0


# The function of the same name in asr/features/kinds.py computes it.
FEATURE_KINDS: dict[str, FeatureKind] = {
    "log_mel": FeatureKind("n_mels", log_power=True, says_loudness=True),
    "mfcc": FeatureKind("n_mfcc", says_loudness=True),
    "pcen": FeatureKind("n_mels", memory_seconds=8.0),  # 20 of its time constants
}
