"""Name one synthesised speaker: an engine, its voice, pitch, rate and size of the vocal tract.

In: the parts or an id. Out: `Voice`. NumPy only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UsageError

_ID = re.compile(r"(?P<engine>[a-z0-9-]+)\.(?P<name>.+)\.p(?P<pitch>\d+)\.r(?P<rate>\d+\.\d+)"
                 r"(?:\.w(?P<warp>\d+\.\d+))?")


@dataclass(frozen=True)
class Voice:
    """One speaker.

    Args:
        engine: a name of `asr.voices.ENGINES`.
        name: the engine's own name; for espeak-ng `language+variant`, for kokoro also a blend of
            two voices, `af_bella+am_adam@0.40` (0.40 is the share of the second one), and
            `~fr` or another accent of `asr.voices.accents` behind it.
        pitch: espeak-ng 0 .. 99 (50 is its default), flite the mean in Hz, hibari percent of its
            own pitch; the others ignore it.
        rate: factor of the usual speaking rate, 0.5 .. 2.
        warp: factor of all frequencies, 0.7 .. 1.4: above 1 a smaller speaker, with a higher
            pitch. The rate stays.
    """

    engine: str
    name: str
    pitch: int = 0
    rate: float = 1.0
    warp: float = 1.0

    @property
    def id(self) -> str:
        """A name for manifests and files, such as `espeak-ng.en-us+f2.p50.r1.00`."""
        size = "" if self.warp == 1 else f".w{self.warp:.2f}"
        return f"{self.engine}.{self.name}.p{self.pitch}.r{self.rate:.2f}{size}"


def voice_of(text: str) -> Voice:
    """The voice with this id.

    Raises:
        UsageError: it is not an id, or a factor is out of bounds.

    Example:
        >>> voice_of("kokoro.af_bella+am_adam@0.40.p0.r1.10").name
        'af_bella+am_adam@0.40'
    """
    match = _ID.fullmatch(text)
    if not match:
        raise UsageError(f"{text!r} is not the id of a voice; expected ENGINE.NAME.pPITCH.rRATE or "
                         "with .wWARP at the end, such as kokoro.af_bella.p0.r1.00. List them with "
                         "asr prepare voices --list.")
    voice = Voice(match["engine"], match["name"], int(match["pitch"]), float(match["rate"]),
                  float(match["warp"] or 1))
    if not 0.5 <= voice.rate <= 2 or not 0.7 <= voice.warp <= 1.4:
        raise UsageError(f"{text!r}: the rate must be between 0.5 and 2, the warp between 0.7 and "
                         "1.4.")
    return voice


def blends(names: Sequence[str], count: int, seed: int = 1) -> list[str]:
    """Names of blends of two different voices, each pair at most once.

    Args:
        names: at least two.
        count: how many; fewer if there are not so many pairs.
        seed: seed of pairs and shares.
    """
    rng = np.random.default_rng([3, seed])
    pairs = [(a, b) for index, a in enumerate(names) for b in names[index + 1:]]
    chosen = rng.permutation(len(pairs))[:count]
    return [f"{pairs[k][0]}+{pairs[k][1]}@{rng.uniform(0.35, 0.65):.2f}" for k in chosen]
