"""The voices of three programs with a pitch and rate each, the sample clips, and digit strings.

In: a seed. Out: `Voice` rows and texts. NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from asr.voices.respelling import DIGITS, FESTIVAL_PACKAGES, FESTIVAL_RESPELLINGS, RESPELLINGS
from asr.voices.speaker import Voice

_VERSION = 2  # of the strings; raised when the same arguments give others
ESPEAK_ACCENTS = ("en-us", "en", "en-us-nyc", "en-gb-x-rp", "en-gb-scotland", "en-029",
                  "en-gb-x-gbclan", "en-gb-x-gbcwmd")
ESPEAK_VARIANTS = (
    "m1", "f1", "m2", "f2", "m3", "f3", "m4", "f4", "m5", "f5", "m6", "m7", "m8", "klatt",
    "klatt2", "klatt3", "klatt4", "adam", "Alex", "Alicia", "Andrea", "Andy", "anika", "Annie",
    "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "Denis", "Diogo", "ed",
    "edward", "edward2", "Gene", "Gene2", "grandma", "grandpa", "gustave", "Henrique", "Hugo",
    "iven", "iven2", "iven3", "iven4", "Jacky", "john", "kaukovalta", "Lee", "linda", "marcelo",
    "Marco", "Mario", "max", "Michael", "michel", "miguel", "Mike", "norbert", "pablo", "paul",
    "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "steph2", "steph3", "Storm",
    "travis", "victor", "zac",
)
RESPELLED = 36  # of espeak-ng's speakers come from these languages, and as many again at the end
_RESPELLED_VARIANTS = ("m1", "f1", "m3", "f2", "m7", "f4", "klatt2", "john")
FLITE_VOICES = ("awb", "kal", "kal16", "rms", "slt")
# The clips of asr/assets: (name, beginning of the voice's id, what it says); `default_voices` puts
# the voices marked "unseen" into "valid", so that no recipe trains on them.
SAMPLE_CLIPS = (
    ("rms", "flite.rms.", "four two zero nine"),
    ("slt", "text2wave.cmu_us_slt_arctic_hts.", "one eight six three five"),
    ("ked", "text2wave.ked_diphone.", "nine five one"),
    ("slt-phone", "flite.slt.p1", "six four zero"),
    ("kal-unseen", "flite.kal16.p194", "two seven nine zero five three one"),
    ("american-unseen", "espeak-ng.en-us+m1.", "seven seven two"),
    ("scottish-unseen", "espeak-ng.en-gb-scotland+Andrea.", "zero three seven two eight six"),
    ("lancashire-unseen", "espeak-ng.en-gb-x-gbclan+steph2.", "eight one four"),
)
SAMPLE_TEXTS = tuple(text for _, _, text in SAMPLE_CLIPS)


def default_voices(seed: int = 1) -> list[Voice]:
    """Every voice of the three programs with a pitch and rate of its own: about 190.

    Args:
        seed: seed of pitches, rates and accents.
    """
    rng = np.random.default_rng([1, seed])
    voices = []
    for index, variant in enumerate(ESPEAK_VARIANTS):
        accent = ESPEAK_ACCENTS[index % len(ESPEAK_ACCENTS)]
        voices.append(Voice("espeak-ng", f"{accent}+{variant}", *_manner(rng, 30, 70)))
    voices += _respelled(0, _RESPELLED_VARIANTS, rng)
    for name in FLITE_VOICES:
        for low, high in ((85, 110), (110, 140), (150, 200)):
            voices.append(Voice("flite", name, *_manner(rng, low, high)))
    for name in [n for n in FESTIVAL_PACKAGES if n not in FESTIVAL_RESPELLINGS]:
        voices.append(Voice("text2wave", name, 0, round(float(rng.uniform(0.8, 1.2)), 2)))
    # What was added later comes last: the sample clips are of voices that keep their places here.
    for rates in ((0.75, 1.0), (1.0, 1.35)):
        for name in FESTIVAL_RESPELLINGS:
            voices.append(Voice("text2wave", name, 0, round(float(rng.uniform(*rates)), 2)))
    variants = [ESPEAK_VARIANTS[k] for k in rng.permutation(len(ESPEAK_VARIANTS))]
    return voices + _respelled(RESPELLED, variants, rng)


def _respelled(first: int, variants: Sequence[str], rng: np.random.Generator) -> list[Voice]:
    """`RESPELLED` of espeak-ng's speakers of other languages, the `first` one and on."""
    languages = list(RESPELLINGS)
    return [Voice("espeak-ng",
                  f"{languages[index % len(languages)]}+{variants[index % len(variants)]}",
                  *_manner(rng, 30, 70)) for index in range(first, first + RESPELLED)]


def _manner(rng: np.random.Generator, low: int, high: int) -> tuple[int, float]:
    """A pitch in low .. high and a speaking rate."""
    return int(rng.integers(low, high + 1)), round(float(rng.uniform(0.75, 1.35)), 2)



def digit_strings(count: int, seed: int = 1, *, max_digits: int = 7,
                  exclude: Iterable[str] = ()) -> list[str]:
    """Random digit strings such as "four zero nine", each once, 2 .. `max_digits` digits.

    Args:
        count: how many.
        seed: seed of the choice.
        max_digits: digits of the longest string.
        exclude: strings that must not occur, such as those of the sample clips.
    """
    rng = np.random.default_rng([_VERSION, seed])
    strings: dict[str, None] = {}
    banned = set(exclude)
    while len(strings) < count:
        text = " ".join(rng.choice(DIGITS, size=rng.integers(2, max_digits + 1)))
        if text not in banned:
            strings[text] = None
    return list(strings)
