"""Respell English digits for voices of other languages: their own vowels, their own r, no th.

In: a voice and digits. Out: what the voice has to read.
"""

from __future__ import annotations

from asr.errors import UsageError
from asr.voices.speaker import Voice

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
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


def spelling(voice: Voice, text: str) -> str:
    """The text as this voice must read it: digits respelled for a voice of another language.

    Raises:
        UsageError: the voice reads another language and the text is not all digits.
    """
    table = {"espeak-ng": RESPELLINGS, "text2wave": FESTIVAL_RESPELLINGS}.get(voice.engine, {})
    respelled = table.get(voice.name.partition("+")[0])
    if respelled is None:
        return text
    spelled: dict[str, str] = dict(zip(DIGITS, respelled.split(), strict=True))
    words = [(word.rstrip(",."), word[len(word.rstrip(",.")):]) for word in text.split()]
    unknown = [word for word, _ in words if word not in spelled]
    if unknown:
        raise UsageError(f"{voice.id} can say the ten English digits only, got {unknown[0]!r}; "
                         "give it digit strings or use an English voice.")
    return " ".join(spelled[word] + mark for word, mark in words)


def speaks_english(voice: Voice) -> bool:
    """Whether the voice reads any English text, not only respelled digits."""
    table = {"espeak-ng": RESPELLINGS, "text2wave": FESTIVAL_RESPELLINGS}.get(voice.engine, {})
    return voice.name.partition("+")[0] not in table
