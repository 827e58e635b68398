"""Which format two text files have, by their names and lines; a line that does not fit is refused.

In: two paths. Out: two names of `asr.scoring.formats.FORMATS`, or an error with file and line.
"""

from __future__ import annotations

import re
from pathlib import Path

from asr.errors import DataError, UsageError
from asr.scoring.text_lines import read_lines

TRN = re.compile(r"^(.*)\(([^()\s]+)\)\s*$", re.DOTALL)
_SUFFIXES = {".trn": "trn", ".jsonl": "jsonl", ".json": "jsonl", ".stm": "stm", ".ctm": "ctm",
             ".kaldi": "kaldi"}
_ID_LIKE = re.compile(r"[\d_\-./]")
_SURELY_ID = re.compile(r"(?=.*\d)(?=.*[^\W\d_])")  # a digit and a letter
_OBJECT = re.compile(r'\s*\{\s*"')
_SECONDS = r"\s+(?:\d+\.\d+\s+-?\d+(?:\.\d+)?|\d+\s+-?\d+\.\d+)"  # two, one with a decimal point
_TIMED = {"stm": re.compile(rf"\s*\S+\s+\S+\s+\S+{_SECONDS}(?:\s|$)"),
          "ctm": re.compile(rf"\s*\S+\s+\S+{_SECONDS}\s+\S")}
_NOT_READ = {".srt": "SubRip subtitles", ".vtt": "WebVTT subtitles", ".csv": "a table",
             ".textgrid": "a Praat TextGrid", ".eaf": "an ELAN file", ".ass": "subtitles",
             ".json3": "subtitles", ".ttml": "subtitles"}
_SUBTITLE = re.compile(r"\s*(?:\d+:)?\d+:\d+[.,]\d+\s+-->\s")
_REMEDY = ("Correct the line, or say how the files are to be read with --format and --hyp-format: "
           "kaldi (ids first), trn (ids last), plain (no ids).")


def guess_formats(reference: str | Path, hypothesis: str | Path) -> tuple[str, str]:
    """Formats by file ending; without a telling one, by the content of both files.

    Where most lines of a file end like trn, are JSON objects or have times as in stm and ctm, that
    is its format. Kaldi text is recognised where the first words of all lines are distinct, the
    same in both files, and look like ids (hold a digit or one of _ - . /). What most lines of a
    file are is not forgotten for the others: a line that does not fit is an error, not words.

    Raises:
        DataError: most lines of a file start with an id (a letter and a digit) and a line of
            either does not fit; or the first words may be ids as well as words; or a file is one
            of subtitles, a table or an annotation with times.
    """
    paths = (reference, hypothesis)
    for path in paths:
        _refuse_other_formats(path)
    names = [_SUFFIXES.get(Path(path).suffix.lower(), "") for path in paths]
    if all(names):
        return names[0], names[1]
    lines = [[] if name else _filled_lines(path) for name, path in zip(names, paths, strict=True)]
    sides = [[(number, line.split(maxsplit=1)[0]) for number, line in side] for side in lines]
    for index, side in enumerate(lines):
        if not names[index]:
            names[index] = _evident(side)
    left = [index for index in (0, 1) if not names[index]]
    same = len(left) == 2 and {word for _, word in sides[0]} == {word for _, word in sides[1]}
    for index in left:
        words = [word for _, word in sides[index]]
        ids = words and len(set(words)) == len(words) and all(map(_ID_LIKE.search, words))
        names[index] = "kaldi" if ids and (same or len(left) == 1) else "plain"
    if names == ["plain", "plain"]:
        _refuse_ids_as_words(paths, sides)
    elif names == ["kaldi", "kaldi"] and same and not (
            _mostly_ids(sides[0]) and len(sides[0]) > 1):
        names = _ids_or_words(paths, lines, sides)
    return names[0], names[1]


def _refuse_other_formats(path: str | Path) -> None:
    """Subtitles, tables and annotations would be scored as plain lines, numbers and times too."""
    kind = _NOT_READ.get(Path(path).suffix.lower())
    if not kind and Path(path).is_file():
        with open(path, "rb") as file:
            head = file.read(2_000).decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
        kind = ("WebVTT subtitles" if head[:1] and head[0].startswith("WEBVTT") else
                "a Praat TextGrid" if any("ooTextFile" in line for line in head[:2]) else
                "a table of subtitles" if head[:1] == ["start\tend\ttext"] else
                "SubRip subtitles" if any(map(_SUBTITLE.match, head[:3])) else None)
    if kind:
        raise DataError(f"{path}: this is {kind}, which asr score does not read; expected one "
                        "utterance a line. Write Kaldi text (id first), trn (id last), JSONL, or "
                        "ctm against stm.", code="text.format", path=path)


def _filled_lines(path: str | Path) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]


def _evident(numbered: list[tuple[int, str]]) -> str:
    """The format that most lines of a file have and no other text has; "" where there is none."""
    lines = [line for _, line in numbered if line.lstrip()[:2] != ";;"]
    for name, pattern in (("trn", TRN), ("jsonl", _OBJECT), *_TIMED.items()):
        if 2 * sum(pattern.match(line) is not None for line in lines) > len(lines):
            return name  # reading it names a line that does not fit
    return ""


def _mostly_ids(rows: list[tuple[int, str]]) -> bool:
    return 2 * len({word for _, word in rows if _SURELY_ID.match(word)}) > len(rows)


def _ids_or_words(paths: tuple, lines: list, sides: list) -> list[str]:
    """Distinct first words, the same in both files, that may also be numbers or compounds."""
    if all(len(line.split()) == 1 for side in lines for _, line in side):
        return ["plain", "plain"]  # ids alone would leave nothing to score
    if all(re.search(r"[_./]", word) for side in sides for _, word in side):
        return ["kaldi", "kaldi"]
    number, word = sides[0][0]
    raise DataError(f"{paths[0]}:{number}: the line starts with {word!r}, which may be an "
                    f"utterance id or a word, and {paths[1]} has the same first words; expected "
                    f"ids with a letter and a digit, or words. {_REMEDY}", code="text.format",
                    path=paths[0])


def _refuse_ids_as_words(paths: tuple, sides: list) -> None:
    """Files without a telling name, one of them mostly with ids: say which line does not fit."""
    if not any(map(_mostly_ids, sides)):
        return
    for path, rows in zip(paths, sides, strict=True):
        seen: dict[str, int] = {}
        for number, word in rows:
            where = f"{path}:{number}"
            if not _ID_LIKE.search(word):
                raise DataError(f"{where}: the line starts with {word!r}, where most lines start "
                                f"with an utterance id. {_REMEDY}", code="text.format", path=path)
            if word in seen:
                raise DataError(f"{where}: the id {word!r} repeats that of line {seen[word]}. "
                                f"{_REMEDY}", code="text.duplicate_id", path=path)
            seen[word] = number
    for this, other in ((1, 0), (0, 1)):
        known = {word for _, word in sides[other]}
        for number, word in sides[this]:
            if word not in known:
                raise DataError(f"{paths[this]}:{number}: the id {word!r} is not in "
                                f"{paths[other]}. {_REMEDY}", code="score.ids", path=paths[this])


def refuse_plain_beside_ids(paths: tuple, formats: tuple, named: tuple) -> None:
    """One file has ids and the other was taken for plain lines: name the first line without."""
    odd = formats.index("plain")
    text = (f"{paths[0]} was read as {formats[0]} and {paths[1]} as {formats[1]}: plain lines have "
            "no ids to match.")
    if named[odd] == "plain":
        raise UsageError(f"{text} Name the formats with --format and --hyp-format.")
    seen = set()
    for number, line in enumerate(read_lines(paths[odd]), 1):
        word = next(iter(line.split()), "")
        if formats[1 - odd] == "trn":
            fits = not word or TRN.match(line)
        else:
            fits = not word or (_ID_LIKE.search(word) and word not in seen)
        seen.add(word)
        if not fits:
            raise DataError(f"{paths[odd]}:{number}: got {line[:80]!r}, expected an utterance id "
                            f"of its own as in {paths[1 - odd]}. {text} {_REMEDY}",
                            code="text.format", path=paths[odd])
    raise DataError(f"{paths[odd]}: got no line, or none that does not fit. {text} {_REMEDY}",
                    code="text.format", path=paths[odd])
