"""Tables that others made: which column holds what, by the usual names.

In: the names of columns, or the keys of an object. Out: {role: column}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from asr.errors import UsageError
from asr.manifest.rows import MAX_CHANNELS
from asr.parsing import number_of, show
from asr.terminal import plural

# role: names of columns in lower case, the most telling first.
GUESSES: dict[str, tuple[str, ...]] = {
    "audio": ("audio_filepath", "audio_path", "audio_file", "wav_filename", "file_name", "filename",
              "filepath", "audio", "recording", "wav", "path", "file", "clip"),
    "text": ("text", "transcript", "transcription", "sentence", "normalized_text", "utterance",
             "reference", "orthography", "words", "label"),
    "id": ("id", "utt_id", "utterance_id", "segment_id", "uid", "key"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id", "participant"),
    "split": ("split", "subset", "partition", "set", "fold"),
    "start": ("start", "start_time", "offset", "begin", "onset", "start_s", "start_ms"),
    "end": ("end", "end_time", "stop", "offset_end", "end_s", "end_ms"),
    "duration": ("duration", "dur", "length", "duration_s", "duration_ms"),
    "channel": ("channel",),
}

_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,4}):(\d{1,2}(?:\.\d*)?)", re.ASCII)


class Taken:
    """Which columns were taken of which tables, in lines that a person reads: equal ones once."""

    SHOWN = 3

    def __init__(self) -> None:
        self._tables: dict[str, list[str]] = {}

    def add(self, table: str, columns: Mapping[str, str]) -> None:
        """Note the columns of one table.

        Args:
            table: its name.
            columns: {role: column}.
        """
        chosen = ", ".join(f"{role} = {name}" for role, name in columns.items())
        self._tables.setdefault(chosen, []).append(table)

    def notes(self) -> list[str]:
        """Such as "train-00000.parquet and 41 others: audio = audio, text = sentence"."""
        lines = []
        for chosen, names in list(self._tables.items())[:self.SHOWN]:
            others = len(names) - 1
            more = f" and {plural(others, 'other', 'others')}" if others else ""
            lines.append(f"{names[0]}{more}: {chosen}")
        rest = sum(map(len, list(self._tables.values())[self.SHOWN:]))
        return lines + [f"{plural(rest, 'more table has', 'more tables have')} other columns; "
                        "--column ROLE=NAME chooses them."] * bool(rest)


def guess_columns(names: Iterable[str], given: Iterable[str] = (), where: str = "the table",
                  required: Iterable[str] = ("audio", "text")) -> dict[str, str]:
    """Which column has which role.

    Args:
        names: names of the columns.
        given: "role=column", which come before what is guessed.
        where: what messages call the table.
        required: roles that must be found.

    Raises:
        UsageError: a role or column that is not there.

    Example:
        >>> guess_columns(["Path", "Sentence", "age"])
        {'audio': 'Path', 'text': 'Sentence'}
    """
    names = list(names)
    chosen: dict[str, str] = {}
    for pair in given:
        role, _, column = pair.partition("=")
        if role not in GUESSES or column not in names:
            raise UsageError(f"--column {pair}: expected ROLE=NAME with a role of "
                             f"{', '.join(GUESSES)} and a column of {where}: "
                             f"{', '.join(names)[:300]}.")
        chosen[role] = column
    lower = {name.strip().casefold(): name for name in reversed(names)}
    for role, usual in GUESSES.items():
        column = next((lower[name] for name in usual if name in lower
                       and lower[name] not in chosen.values()), None)
        if column is not None:
            chosen.setdefault(role, column)
    for role in required:
        if role not in chosen:
            raise UsageError(f"{where} has no column whose name says that it is the {role}; name "
                             f"it: --column {role}=NAME, with one of {', '.join(names)[:300]}.")
    return {role: chosen[role] for role in GUESSES if role in chosen}


def words(row: Mapping[str, object], key: str | None) -> str:
    """A text in a row, such as an id or what is said; a number as it is written; "" without one.

    Raises:
        ValueError: it is something else.
    """
    value = row.get(key) if key else None
    if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
        raise ValueError(f"{key} is {show(value)}, expected text")
    return "" if value is None else str(value)


def channel(row: Mapping[str, object], key: str | None) -> int:
    """The channel in a row, from 1 on; 0, the mix of all, where there is none.

    Raises:
        ValueError: it is something else.
    """
    text = words(row, key).strip()
    number = int(text[0]) if re.fullmatch(r"[0-9](\.0*)?", text) else -1 if text else 0
    if not 0 <= number <= MAX_CHANNELS:
        raise ValueError(f"{key} is {show(text)}, expected 1 for the first channel, 2 for the "
                         f"second, at most {MAX_CHANNELS}")
    return number


def text_and_speaker(row: Mapping[str, object]) -> tuple[str, str | None]:
    """What is said and by whom, under the usual names in any capitalisation.

    Returns:
        Text and speaker; a speaker of None is not named.

    Raises:
        ValueError: a value is no text, or no key is that of a text.
    """
    named = {key.casefold(): value for key, value in row.items()}
    told = [key for key in GUESSES["text"] if key in named]
    if row and not told:
        raise ValueError(f"it has the keys {', '.join(row)[:200]}, expected one of "
                         f"{', '.join(GUESSES['text'])}")
    said = next((key for key in told if isinstance(named[key], str)), told[0] if told else None)
    who = next((key for key in GUESSES["speaker"] if named.get(key) not in (None, "")), None)
    return words(named, said), words(named, who) if who else None


def seconds(row: Mapping[str, object], column: str | None) -> float | None:
    """A time in a row, in seconds; a column that ends in _ms has milliseconds.

    A decimal comma is read, and so are hours and minutes before colons: 0:01:23.5.

    Raises:
        ValueError: it is no number, or none of a time.
    """
    value = row.get(column) if column else None
    if value is None or value == "":
        return None
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise ValueError(f"{column} is {show(value)}, expected seconds")
    text = str(value).strip()
    text = text.replace(",", ".") if text.count(",") == 1 and "." not in text else text
    if clock := _CLOCK.fullmatch(text):
        return int(clock[1] or 0) * 3_600 + int(clock[2]) * 60 + float(clock[3])
    try:
        number = number_of(text)
    except ValueError:
        raise ValueError(f"{column} is {show(value)}, expected seconds") from None
    if number < 0:
        raise ValueError(f"{column} is {show(value)}, expected seconds of 0 or more")
    return number / 1_000 if str(column).casefold().endswith("_ms") else number


def segment(row: Mapping[str, object], columns: Mapping[str, str]) -> tuple[float, float | None]:
    """(offset, duration) in seconds that a row asks for; a duration of None is all of it.

    Raises:
        ValueError: a time that cannot be.
    """
    start = seconds(row, columns.get("start"))
    end = seconds(row, columns.get("end"))
    duration = seconds(row, columns.get("duration")) if end is None else end - (start or 0.0)
    if end is not None and duration is not None and duration <= 0:
        raise ValueError(f"it ends at {end:g} s, not after its start")
    return start or 0.0, duration
