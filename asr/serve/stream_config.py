"""What a client of the websocket configures: {"config": {...}} of vosk-server's protocol.

In: the object. Out: `Config`, or why the stream is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asr.parsing import StrictJsonError, parse_json
from asr.serve.models import Models, ServedModel, Wanted

SAMPLE_RATE = 16_000  # Hz, of a client that names none
RATES = (4_000, 192_000)
MAX_PHRASES = 10_000
MAX_ALTERNATIVES = 10
UNSUPPORTED, DAMAGED = 1003, 1007  # codes of a close


class Refused(Exception):
    """Why a stream is closed.

    Args:
        code: with which the websocket is closed.
        message: a sentence.
    """

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


@dataclass
class Config:
    """What a client configured.

    Attributes:
        model: the model.
        sample_rate: Hz.
        words: with words and times.
        max_alternatives: above 0: readings, in vosk's form.
        hot_words: phrases to expect.
        phrase_list: the only words to read.
    """

    model: ServedModel
    sample_rate: int = SAMPLE_RATE
    words: bool = True
    max_alternatives: int = 0
    hot_words: tuple[str, ...] = ()
    phrase_list: tuple[str, ...] = ()

    @property
    def wanted(self) -> Wanted:
        """Words of the decoder."""
        lexicon = tuple(dict.fromkeys(word for phrase in self.phrase_list
                                      for word in phrase.split() if word != "[unk]"))
        return Wanted(self.hot_words, lexicon, max(1, self.max_alternatives))

    def update(self, table: Any, models: Models) -> None:
        """Take over the settings that we know; others are vosk's, and have no meaning here.

        Raises:
            Refused: a value that cannot be.
            Problem: there is no such model.
        """
        if not isinstance(table, dict):
            raise Refused(DAMAGED, "config must be an object.")
        if "model" in table:
            name = table["model"]
            self.model = models.find(name if isinstance(name, str) else "?")
        rate = table.get("sample_rate", self.sample_rate)
        if isinstance(rate, str) and rate.isdecimal():  # some clients quote it
            rate = int(rate[:9])
        if isinstance(rate, bool) or not isinstance(rate, int | float) \
                or not RATES[0] <= rate <= RATES[1] or rate != int(rate):
            raise Refused(DAMAGED, f"sample_rate must be a whole number of Hz, {RATES[0]} to "
                          f"{RATES[1]}.")
        self.sample_rate = int(rate)
        self.words = bool(table.get("words", self.words))
        count = table.get("max_alternatives", self.max_alternatives)
        if not isinstance(count, int) or not 0 <= count <= MAX_ALTERNATIVES:
            raise Refused(DAMAGED, f"max_alternatives must be 0 to {MAX_ALTERNATIVES}.")
        self.max_alternatives = int(count)
        for name in ("hot_words", "phrase_list"):
            if name in table:
                setattr(self, name, _phrases(table, name))


def _phrases(table: dict, name: str) -> tuple[str, ...]:
    """A list of texts, or such a list as JSON in a text, which vosk's older clients send."""
    value = table[name]
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except StrictJsonError:
            raise Refused(DAMAGED, f"{name} must be a list of texts.") from None
    if not isinstance(value, list) or len(value) > MAX_PHRASES \
            or not all(isinstance(one, str) for one in value):
        raise Refused(DAMAGED, f"{name} must be a list of at most {MAX_PHRASES:,} texts.")
    return tuple(value)
