"""Text files of other toolkits: plain lines, Kaldi text, sclite trn, JSONL; ctm and stm.

In: a path and a format. Out: texts by utterance id, and back.

    plain   one utterance a line; the id is the line number, so the two files must run in parallel
    kaldi   utt-1 some words                        the id is the first word of the line
    trn     some words (utt-1)                      the id is in the last parentheses (NIST sclite)
    jsonl   {"id": "utt-1", "text": "some words"}   or reference, hypothesis, pred_text (NeMo)
    stm     call A anna 0.0 3.2 <o> some words      a reference with times (NIST)
    ctm     call A 0.41 0.30 some 0.98              one recognised word a line, with times (NIST)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import DataError, UsageError
from asr.files import write_atomic
from asr.scoring.text_lines import read_lines, read_objects
from asr.scoring.timed import assign_words, read_ctm, read_stm, segment_texts, texts_of_ctm

FORMATS = ("plain", "kaldi", "trn", "jsonl", "stm", "ctm")
_SUFFIXES = {".trn": "trn", ".jsonl": "jsonl", ".json": "jsonl", ".stm": "stm", ".ctm": "ctm",
             ".kaldi": "kaldi"}
_TRN = re.compile(r"^(.*)\(([^()\s]+)\)\s*$", re.DOTALL)
_ALTERNATION = re.compile(r"[{}]")
_ID_LIKE = re.compile(r"[\d_\-./]")
_SURELY_ID = re.compile(r"(?=.*\d)(?=.*[^\W\d_]).*[_\-.]")  # a digit, a letter and a separator
_OPTIONAL = re.compile(r"(?<!\S)\([^()\s]+\)(?!\S)")
_SENTENCE_MARKS = ("<s>", "</s>")
_TEXT_KEYS = {"reference": ("reference", "text"),
              "hypothesis": ("hypothesis", "pred_text", "text")}


@dataclass(frozen=True)
class TextFile:
    """The texts of a file by id; `speakers`, `durations` hold what the file says about them.

    `notes` are sentences for the person, such as that sentence marks were left out.
    """

    format: str
    texts: dict[str, str]
    speakers: dict[str, str] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_pair(reference: str | Path, hypothesis: str | Path, *, format: str = "auto",  # noqa: A002
              hypothesis_format: str = "") -> tuple[TextFile, TextFile]:
    """References and hypotheses from two files, in the same or in different formats.

    Args:
        reference, hypothesis: paths.
        format: one of `FORMATS`, or "auto": by the ending, else by what both files look like.
        hypothesis_format: where the second file is in another format, such as ctm against stm.

    Raises:
        UsageError: an unknown format, or a plain file beside one with ids.
        DataError: a file that cannot be read in its format, with file and line.
    """
    formats = [_checked(format), _checked(hypothesis_format or format)]
    if "auto" in formats:
        guesses = guess_formats(reference, hypothesis)
        formats = [guess if name == "auto" else name
                   for name, guess in zip(formats, guesses, strict=True)]
    if formats == ["stm", "ctm"]:
        segments = read_stm(reference)
        return (_noted(reference, TextFile("stm", *segment_texts(segments)), "reference"),
                TextFile("ctm", assign_words(read_ctm(hypothesis), segments, hypothesis)))
    if formats.count("plain") == 1:
        raise UsageError(f"{reference} was read as {formats[0]} and {hypothesis} as {formats[1]}: "
                         "plain lines have no ids to match. Name the formats with --format and "
                         "--hyp-format.")
    return (read_texts(reference, formats[0], role="reference"),
            read_texts(hypothesis, formats[1], role="hypothesis"))


def read_texts(path: str | Path, format: str, *, role: str = "reference") -> TextFile:  # noqa: A002
    """The texts of one file.

    Args:
        path: the file, UTF-8.
        format: one of `FORMATS`.
        role: "reference" or "hypothesis"; decides which key of a JSONL row is read.

    Raises:
        DataError: not readable in this format, or an id twice; with file and line.
    """
    if _checked(format) == "jsonl":
        return _read_jsonl(path, role)
    if format == "stm":
        return _noted(path, TextFile("stm", *segment_texts(read_stm(path))), role)
    if format == "ctm":
        return TextFile("ctm", texts_of_ctm(read_ctm(path)))
    texts: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        if format == "plain":
            texts[str(number)] = line
            continue
        if not line.strip() or (format == "trn" and line.lstrip().startswith(";;")):
            continue
        name, text = _split_line(line, format, f"{path}:{number}")
        add_text(texts, name, text, f"{path}:{number}")
    return _noted(path, TextFile(format, texts), role)


def guess_formats(reference: str | Path, hypothesis: str | Path) -> tuple[str, str]:
    """Formats by file ending; without a telling one, by the content of both files.

    Kaldi text is recognised where the first words of all lines are distinct, the same in both
    files, and look like ids (hold a digit or one of _ - . /). Where most lines of a file end like
    trn or start with what is surely an id (a digit, a letter and one of _ - .), it is not plain
    lines: what does not fit is an error, not a word.

    Raises:
        DataError: most lines of a file have ids, and a line of either does not fit.
    """
    names = [_SUFFIXES.get(Path(path).suffix.lower(), "") for path in (reference, hypothesis)]
    if all(names):
        return names[0], names[1]
    sides = [[line for line in read_lines(path) if line.strip()] if not name else []
             for name, path in zip(names, (reference, hypothesis), strict=True)]
    for index, lines in enumerate(sides):
        if not names[index] and lines:
            trn = [_TRN.match(line) is not None for line in lines if line.lstrip()[:2] != ";;"]
            if 2 * sum(trn) > len(trn):
                names[index] = "trn"  # reading it names a line that does not fit
            elif all(line.lstrip().startswith("{") for line in lines):
                names[index] = "jsonl"
    first = [[line.split()[0] for line in lines] for lines in sides]
    alike = set(first[0]) == set(first[1]) or any(names)
    for index, words in enumerate(first):
        if not names[index]:
            ids = words and len(set(words)) == len(words) and all(map(_ID_LIKE.search, words))
            names[index] = "kaldi" if alike and ids else "plain"
    if names == ["plain", "plain"]:
        _refuse_ids_as_words(reference, hypothesis)
    return names[0], names[1]


def _refuse_ids_as_words(reference: str | Path, hypothesis: str | Path) -> None:
    """Files without a telling name, one of them mostly with ids: say which line does not fit."""
    sides = [(path, [(number, line.split()[0]) for number, line in enumerate(read_lines(path), 1)
                     if line.strip()]) for path in (reference, hypothesis)]
    if not any(2 * sum(map(bool, (_SURELY_ID.match(word) for _, word in rows))) > len(rows)
               for _, rows in sides):
        return
    remedy = ("Correct it, or say how the files are to be read: --format kaldi (ids first) or "
              "--format plain (no ids).")
    for path, rows in sides:
        seen: dict[str, int] = {}
        for number, word in rows:
            where = f"{path}:{number}"
            if not _ID_LIKE.search(word):
                raise DataError(f"{where}: the line starts with {word!r}, where most lines start "
                                f"with an utterance id. {remedy}", code="text.format", path=path)
            if word in seen:
                raise DataError(f"{where}: the id {word!r} repeats that of line {seen[word]}. "
                                f"{remedy}", code="text.duplicate_id", path=path)
            seen[word] = number
    known = {word for _, word in sides[0][1]}
    for number, word in sides[1][1]:
        if word not in known:
            raise DataError(f"{hypothesis}:{number}: the id {word!r} is not in {reference}. "
                            f"{remedy}", code="score.ids", path=hypothesis)
    found = {word for _, word in sides[1][1]}
    number, word = next((n, w) for n, w in sides[0][1] if w not in found)
    raise DataError(f"{reference}:{number}: the id {word!r} is not in {hypothesis}. {remedy}",
                    code="score.ids", path=reference)


def _noted(path: str | Path, file: TextFile, role: str) -> TextFile:
    """The file without sentence marks and empty alternatives, and what to say about that."""
    if file.format == "plain":
        return file
    marks, notes, texts = 0, [], {}
    for name, text in file.texts.items():
        words = text.split()
        kept = [word for word in words if word not in _SENTENCE_MARKS and not (
            word == "@" and file.format in ("trn", "stm"))]
        marks += sum(word in _SENTENCE_MARKS for word in words)
        texts[name] = text if len(kept) == len(words) else " ".join(kept)
    if marks:
        notes.append(f"{path}: {marks:,} sentence marks (<s>, </s>) are not words and were left "
                     "out.")
    optional = sum(len(_OPTIONAL.findall(text)) for text in texts.values()) \
        if file.format in ("trn", "stm") and role == "reference" else 0
    if optional:
        notes.append(f"{path}: {optional:,} optionally deletable words (in parentheses) were "
                     "required, as sclite requires them without -D.")
    return TextFile(file.format, texts, file.speakers, file.durations, tuple(notes))


def write_texts(path: str | Path, texts: Mapping[str, str], format: str) -> None:  # noqa: A002
    """Write texts by id as plain, kaldi, trn or jsonl; `read_texts` gives them back.

    Raises:
        UsageError: the format needs times (stm and ctm: see `asr.scoring.timed`) or is unknown.
        DataError: an id or a text that the format cannot hold.
    """
    if _checked(format) in ("stm", "ctm", "auto"):
        raise UsageError(f"Texts without times cannot be written as {format}; expected plain, "
                         "kaldi, trn or jsonl.")
    lines = []
    for name, text in texts.items():
        if format == "jsonl":
            lines.append(json.dumps({"id": name, "text": text}, ensure_ascii=False))
            continue
        if "\n" in text or "\r" in text:
            raise DataError(f"Utterance {name!r}: the text holds a line break, which {format} "
                            "cannot hold; write jsonl, or normalise it.", code="text.newline")
        if format != "plain" and (not name or re.search(r"\s", name)
                                  or (format == "trn" and re.search(r"[()]", name))):
            raise DataError(f"The id {name!r} cannot be written as {format}; ids hold no space"
                            f"{' or parenthesis' if format == 'trn' else ''}.", code="text.id")
        if format == "trn":
            lines.append(f"{text} ({name})")
        else:
            lines.append(text if format == "plain" else f"{name} {text}".rstrip())
    write_atomic(path, "".join(line + "\n" for line in lines))


def read_speakers(path: str | Path) -> dict[str, str]:
    """Speakers by utterance id from a Kaldi utt2spk file: "utterance speaker" a line.

    Raises:
        DataError: a line that is not two words, or an id twice.
    """
    speakers: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 2:
            raise DataError(f"{path}:{number}: expected 'utterance speaker', got {line!r}.",
                            code="text.speaker", path=path)
        add_text(speakers, parts[0], parts[1], f"{path}:{number}")
    return speakers


def add_text(texts: dict[str, str], name: str, text: str, where: str) -> None:
    """Add one entry; an id that is there already is an error."""
    if name in texts:
        raise DataError(f"{where}: the id {name!r} stands twice; ids must be unique.",
                        code="text.duplicate_id")
    texts[name] = text


def _checked(name: str) -> str:
    if name not in (*FORMATS, "auto"):
        raise UsageError(f"Unknown text format {name!r}; expected one of auto, "
                         f"{', '.join(FORMATS)}.")
    return name


def _split_line(line: str, format: str, where: str) -> tuple[str, str]:  # noqa: A002
    if format == "kaldi":
        name, *rest = line.split(maxsplit=1)
        return name, rest[0].rstrip() if rest else ""
    match = _TRN.match(line)
    if match is None:
        raise DataError(f"{where}: expected 'words (utterance-id)' as in sclite's trn, got "
                        f"{line[:80]!r}.", code="text.trn")
    if _ALTERNATION.search(match[1]):
        raise DataError(f"{where}: alternatives such as {{ a / b }} are not supported; scoring "
                        "them as words would be wrong. Write one variant.",
                        code="text.alternation")
    return match[2], match[1].strip()


def _read_jsonl(path: str | Path, role: str) -> TextFile:
    file = TextFile("jsonl", {})
    for number, row in read_objects(path):
        where = f"{path}:{number}"
        name = row.get("id", row.get("audio_filepath"))
        key = next((key for key in _TEXT_KEYS[role] if key in row), None)
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}: expected a string id (or audio_filepath), got {name!r}.",
                            code="text.id")
        if key is None or not isinstance(row[key], str):
            raise DataError(f"{where} utterance {name!r}: expected a string "
                            f"{' or '.join(_TEXT_KEYS[role])}, got "
                            f"{'none' if key is None else repr(row[key])}.", code="text.missing")
        add_text(file.texts, name, row[key], where)
        if isinstance(row.get("speaker"), str):
            file.speakers[name] = row["speaker"]
        if isinstance(row.get("duration"), (int, float)) and not isinstance(row["duration"], bool):
            file.durations[name] = float(row["duration"])
    return file
