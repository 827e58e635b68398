"""List the synthesised voices: programs, speakers, accents, and how each spells digits.

In: a seed. Out: `Voice` rows for `asr.corpora.voices`. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UsageError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
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
# A speaker of another language, as that language would spell the English digits: its own vowels,
# its own r, no th. One spelling a digit, in the order of DIGITS.
_CZECH = "zirou uan tu sri for fajv siks sevn ejt najn"
_FINNISH = "siirou uan tuu srii foor faiv siks seven eit nain"
_ITALIAN = "zirou uan tu tri for faiv siks seven eit nain"
RESPELLINGS = {
    "de": "siero wann tuh tri for feif sicks sewwen eit nein",
    "fr": "ziro ouane tou sri fore faïve sixe sèvène éïte naïne",
    "es": "sirou uan tu sri for faiv six seven eit nain",
    "it": "zirou uan tu tri for faiv six seven eit nain",
    "nl": "ziero wan toe srie foor faif siks seven eet najn",
    "pl": "zirou łan tu sri for fajw siks sewen ejt najn",
    "pt-br": "zirou uan tu tri for faiv siks seven eit nain",
    "sv": "siråo oann to tri får fajv sicks seven ejt najn",
    "el": "ζίροου ουάν του θρι φορ φάιβ σιξ σέβεν έιτ νάιν",
    "fi": _FINNISH,
    "ro": "zirou uan tu sri for faiv six seven eit nain",
    "tr": "zirou van tu tri for fayv siks sevın eyt nayn",
}
RESPELLED = 36  # of espeak-ng's speakers come from these languages, and as many again at the end
_RESPELLED_VARIANTS = ("m1", "f1", "m3", "f2", "m7", "f4", "klatt2", "john")
FLITE_VOICES = ("awb", "kal", "kal16", "rms", "slt")
# Festival's voices are recorded people, most of whom speak another language; and Debian's packages.
FESTIVAL_RESPELLINGS = {
    "lp_diphone": _ITALIAN,
    "pc_diphone": _ITALIAN,
    "upc_ca_ona_hts": "zirou uan tu sri for faiv sics seven eit nain",
    "czech_dita": _CZECH,
    "czech_krb": _CZECH,
    "czech_machac": _CZECH,
    "czech_ph": _CZECH,
    "suo_fi_lj_diphone": _FINNISH,
    "hy_fi_mv_diphone": _FINNISH,
    "msu_ru_nsh_clunits": "зироу уан ту три фор файв сикс севен эйт найн",
    "hindi_NSK_diphone": "जीरो वन् टू थ्री फोर् फाइव् सिक्स् सेवन् एट् नाइन्",
    "marathi_NSK_diphone": "झीरो वन् टू थ्री फोर् फाइव् सिक्स् सेवन् एट् नाइन्",
    "telugu_NSK_diphone": "జీరో వన్ టూ త్రీ ఫోర్ ఫైవ్ సిక్స్ సెవెన్ ఎయిట్ నైన్",
}
FESTIVAL_PACKAGES = {
    "cmu_us_slt_arctic_hts": "festvox-us-slt-hts",
    "kal_diphone": "festvox-kallpc16k",
    "ked_diphone": "festvox-kdlpc16k",
    "lp_diphone": "festvox-italp16k",
    "pc_diphone": "festvox-itapc16k",
    "upc_ca_ona_hts": "festvox-ca-ona-hts",
    "czech_dita": "festvox-czech-dita",
    "czech_krb": "festvox-czech-krb",
    "czech_machac": "festvox-czech-machac",
    "czech_ph": "festvox-czech-ph",
    "suo_fi_lj_diphone": "festvox-suopuhe-lj",
    "hy_fi_mv_diphone": "festvox-suopuhe-mv",
    "msu_ru_nsh_clunits": "festvox-ru",
    "hindi_NSK_diphone": "festvox-hi-nsk festival-hi",
    "marathi_NSK_diphone": "festvox-mr-nsk festival-mr",
    "telugu_NSK_diphone": "festvox-te-nsk festival-te",
}
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


@dataclass(frozen=True)
class Voice:
    """One speaker: a program, its voice, and how high and fast it speaks.

    Args:
        program: "espeak-ng", "flite" or "text2wave".
        name: the program's own name, for espeak-ng `language+variant`.
        pitch: espeak-ng 0 .. 99 (50 is its default), flite the mean in Hz; ignored by text2wave.
        rate: factor of the usual speaking rate, 0.5 .. 2.
    """

    program: str
    name: str
    pitch: int
    rate: float

    @property
    def id(self) -> str:
        """A name for manifests and files, such as `espeak-ng.en-us+f2.p50.r1.00`."""
        return f"{self.program}.{self.name}.p{self.pitch}.r{self.rate:.2f}"

    def spelling(self, text: str) -> str:
        """The text as this voice must read it: digits respelled for a voice of another language.

        Raises:
            UsageError: the voice reads another language and the text is not all digits.
        """
        table = {"espeak-ng": RESPELLINGS, "text2wave": FESTIVAL_RESPELLINGS}.get(self.program, {})
        spelling = table.get(self.name.partition("+")[0])
        if spelling is None:
            return text
        spelled: dict[str, str] = dict(zip(DIGITS, spelling.split(), strict=True))
        words = [(word.rstrip(","), word[len(word.rstrip(",")):]) for word in text.split()]
        unknown = [word for word, _ in words if word not in spelled]
        if unknown:
            raise UsageError(f"{self.id} can say the ten English digits only, got {unknown[0]!r}; "
                             "give it digit strings or use an English voice.")
        return " ".join(spelled[word] + comma for word, comma in words)


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


if __name__ == "__main__":  # the packages that the recipe of digits needs
    print(*FESTIVAL_PACKAGES.values())
