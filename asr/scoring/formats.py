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
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr.errors import DataError, UsageError
from asr.files import write_atomic
from asr.parsing import show
from asr.scoring.ctm import CtmWord, read_ctm_noted, words_of_ctm
from asr.scoring.format_evidence import TRN, guess_formats, refuse_plain_beside_ids
from asr.scoring.result import Reading
from asr.scoring.sclite_notation import FRAGMENT, plain_word, settle, word_graph
from asr.scoring.text_lines import read_lines, read_objects
from asr.scoring.timed import StmLine, assign_words, in_case_of, read_stm, segment_texts
from asr.terminal import plural

FORMATS = ("plain", "kaldi", "trn", "jsonl", "stm", "ctm")
_SCLITE = ("trn", "stm", "ctm")  # they have alternations, optional words, fragments and tags
_ALTERNATION = re.compile(r"[{}]")
_SEVERAL = re.compile(r"[{}]|(?<!\S)@(?!\S)")
_OPTIONAL = re.compile(r"(?<!\S)\([^()\s]+\)(?!\S)")
_MARKED = re.compile(r"[@;*]")
_SENTENCE_MARKS = ("<s>", "</s>")
_TEXT_KEYS = {"reference": ("reference", "text"),
              "hypothesis": ("hypothesis", "pred_text", "text")}


@dataclass(frozen=True)
class TextFile:
    """The texts of a file by id; `speakers`, `durations` hold what the file says about them.

    `notes` are sentences for the person, such as that sentence marks were left out; `lines` says
    in which line of the file an id is. `readings` says of references in sclite's notation what
    they are a reading of. `confidences` has those of the words of a ctm, None where a word has no
    readable one, NaN for a word that was added; it is empty where no word has one.
    """

    format: str
    texts: dict[str, str]
    speakers: dict[str, str] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lines: dict[str, int] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    confidences: dict[str, list[float | None]] = field(default_factory=dict)


def read_pair(reference: str | Path, hypothesis: str | Path, *, format: str = "auto",  # noqa: A002
              hypothesis_format: str = "", normalizer: str = "basic",
              optionally_deletable: bool = False, fragments: bool = False,
              missing: str = "error") -> tuple[TextFile, TextFile]:
    """References and hypotheses from two files, in the same or in different formats.

    Of texts with alternatives such as { a / b c / @ } (trn and stm, or <ALT_BEGIN> of ctm) the
    readings come back that sclite scores; a note says how many there were.

    Args:
        reference, hypothesis: paths.
        format: one of `FORMATS`, or "auto": by the ending, else by what both files look like.
        hypothesis_format: where the second file is in another format, such as ctm against stm.
        normalizer: words are compared under it where an alternative is chosen.
        optionally_deletable: as sclite -D: a word in parentheses in trn, stm or ctm that the other
            side does not have counts as correct; it is then added there.
        fragments: as sclite -F: `hel-` in trn, stm or ctm is right for each word that begins so,
            `-lo` for each that ends so; the hypothesis then gets the reference's spelling.
        missing: "deletions" gives a reference without hypothesis an empty one.

    Raises:
        UsageError: an unknown format, or one with ids named beside plain lines.
        DataError: a file that cannot be read in its format, with file and line; files that look
            as if one had ids and the other none.
    """
    named = (_checked(format), _checked(hypothesis_format or format))
    formats = named
    if "auto" in named:
        guesses = guess_formats(reference, hypothesis)
        formats = tuple(guess if name == "auto" else name
                        for name, guess in zip(named, guesses, strict=True))
    if formats.count("plain") == 1:
        refuse_plain_beside_ids((reference, hypothesis), formats, named)
    if formats == ("stm", "ctm"):
        segments = read_stm(reference, braces=True)
        spoken, notes = read_ctm_noted(hypothesis, braces=True)
        spoken, more = in_case_of(spoken, segments, hypothesis)
        sides = (_stm(reference, segments),
                 _ctm(assign_words(spoken, segments, hypothesis), notes + more))
    else:
        sides = (_read(reference, formats[0], "reference", braces=True),
                 _read(hypothesis, formats[1], "hypothesis", braces=formats[0] in _SCLITE))
    first, second = (_noted(path, side, fragments, settled=sides[0].format in _SCLITE)
                     for path, side in zip((reference, hypothesis), sides, strict=True))
    if first.format in _SCLITE and second.format in _SCLITE:
        second = _in_case_of(first.texts, hypothesis, second)
    if missing == "deletions":
        second = replace(second, texts=dict.fromkeys(first.texts, "") | second.texts)
    if first.format in _SCLITE:
        return _settle_notation((reference, hypothesis), first, second, normalizer,
                                optionally_deletable, fragments)
    for asked, name, option in ((optionally_deletable, "optionally deletable words",
                                 "--optionally-deletable"),
                                (fragments, "fragments of words", "--fragments")):
        if asked:
            raise UsageError(f"{reference} was read as {first.format}, which has no {name}; "
                             "expected trn, stm or ctm. Name the format with --format, or leave "
                             f"out {option}.")
    return first, second


def read_texts(path: str | Path, format: str, *, role: str = "reference") -> TextFile:  # noqa: A002
    """The texts of one file.

    Args:
        path: the file, UTF-8.
        format: one of `FORMATS`.
        role: "reference" or "hypothesis"; decides which key of a JSONL row is read.

    Raises:
        DataError: not readable in this format, an id twice, or alternatives (`read_pair` chooses
            one); with file and line.
    """
    return _noted(path, _read(path, _checked(format), role))


def _read(path: str | Path, format: str, role: str, *,  # noqa: A002
          braces: bool = False) -> TextFile:
    if format == "jsonl":
        return _read_jsonl(path, role)
    if format == "stm":
        return _stm(path, read_stm(path, braces=braces))
    if format == "ctm":
        words, notes = read_ctm_noted(path, braces=braces)
        return _ctm(words_of_ctm(words), notes)
    file = TextFile(format, {})
    for number, line in enumerate(read_lines(path), 1):
        if format == "plain":
            file.texts[str(number)] = line
            continue
        if not line.strip() or (format == "trn" and line.lstrip().startswith(";;")):
            continue
        name, text = _split_line(line, format, f"{path}:{number}", braces)
        add_text(file.texts, name, text, f"{path}:{number}", file.lines.get(name))
        file.lines[name] = number
    return file


def _stm(path: str | Path, segments: list[StmLine]) -> TextFile:
    seen, again = set(), []
    for segment in segments:
        when = segment.file, segment.channel, segment.speaker, segment.start, segment.end
        again += [segment.line] * (when in seen)
        seen.add(when)
    notes = [f"{path}: {plural(len(again), 'segment has', 'segments have')} the file, channel, "
             f"speaker and times of another (the first in line {again[0]}); the first of them has "
             "all words and the others none, as in sclite. Remove lines that are there twice."
             ] if again else []
    return TextFile("stm", *segment_texts(segments), notes=tuple(notes),
                    lines={segment.id: segment.line for segment in segments})


def _ctm(words: Mapping[str, Sequence[CtmWord]], notes: tuple[str, ...]) -> TextFile:
    confidences = {}
    for name, found in words.items():
        confidences[name] = [piece.confidence for word in found for piece in word.pieces or (word,)
                             if piece.text.lower() not in _SENTENCE_MARKS]
    known = any(value is not None for values in confidences.values() for value in values)
    return TextFile("ctm", {name: " ".join([word.text for word in found])
                            for name, found in words.items()},
                    notes=notes, confidences=confidences if known else {})


def _in_case_of(known: Mapping[str, str], path: str | Path, file: TextFile) -> TextFile:
    """The file with the ids of the references, as far as only the case differs."""
    odd = [name for name in file.texts if name not in known]
    alike: dict[str, set[str]] = defaultdict(set)
    for name in known if odd else ():
        alike[name.casefold()].add(name)
    times = Counter(map(str.casefold, file.texts)) if odd else {}
    names = {name: next(iter(alike[name.casefold()])) for name in odd
             if len(alike[name.casefold()]) == times[name.casefold()] == 1}
    if not names:
        return file
    note = (f"{path}: {len(names):,} ids differ from those of the references only in case (the "
            f"first is {next(iter(names))[:80]!r}); they were taken for the same, as in sclite.")
    return replace(file, notes=(*file.notes, note),
                   texts={names.get(name, name): text for name, text in file.texts.items()},
                   lines={names.get(name, name): line for name, line in file.lines.items()},
                   confidences={names.get(name, name): values
                                for name, values in file.confidences.items()})


def _noted(path: str | Path, file: TextFile, fragments: bool = True, *,
           settled: bool = False) -> TextFile:
    """The file without sentence marks and tags, and what to say about that.

    An @ stays where readings are `settled` afterwards, because it decides between alignments.
    """
    sclite = file.format in _SCLITE
    marks, tags, notes, texts = 0, 0, [*file.notes], {}
    for name, text in file.texts.items():
        texts[name] = text
        if "<" in text:
            words = text.replace("{", " { ").replace("}", " } ").split() if sclite else text.split()
            kept = [word for word in words if word.lower() not in _SENTENCE_MARKS]
            marks += len(words) - len(kept)
            texts[name] = text = text if len(kept) == len(words) else " ".join(kept)
        if sclite and _MARKED.search(text):
            words = text.split()
            plain = [plain_word(word) for word in words]
            tags += sum(word not in ("@", other) for word, other in zip(words, plain, strict=True))
            if not _ALTERNATION.search(text):
                texts[name] = " ".join([word or "@" for word in plain if word or settled])
    if marks:
        notes.append(f"{path}: {plural(marks, 'sentence mark')} (<s>, </s>) are not words and "
                     "were left out.")
    if tags:
        notes.append(f"{path}: {plural(tags, 'word has', 'words have')} a tag after ; or a * at "
                     "their end; the word alone was scored, as in sclite.")
    found = 0 if fragments or not sclite else \
        sum(len(FRAGMENT.findall(text)) for text in texts.values())
    if found:
        notes.append(f"{path}: {plural(found, 'fragment')} of words (beginning or ending in -) "
                     f"{'was' if found == 1 else 'were'} compared like whole words, as in sclite "
                     "without -F (--fragments).")
    return replace(file, texts=texts, notes=tuple(notes))


def _settle_notation(paths: tuple[str | Path, str | Path], reference: TextFile,
                     hypothesis: TextFile, normalizer: str, optionally_deletable: bool,
                     fragments: bool) -> tuple[TextFile, TextFile]:
    """The readings that are scored, and what to say about them."""
    texts, heard, readings = dict(reference.texts), dict(hypothesis.texts), {}
    confidences = dict(hypothesis.confidences)
    alternatives = added = matched = required = 0
    for name, text in reference.texts.items():
        said = heard.get(name, "")
        alternatives += text.count("{") + said.count("{")
        required += len(_OPTIONAL.findall(text))
        if not (_SEVERAL.search(text) or _SEVERAL.search(said)
                or (optionally_deletable and re.search(r"[()]", text + said))
                or (fragments and (FRAGMENT.search(text) or FRAGMENT.search(said)))):
            continue
        where = [f"{path}:{side.lines[name]}" if name in side.lines else f"{path}: {name[:80]!r}"
                 for path, side in zip(paths, (reference, hypothesis), strict=True)]
        if optionally_deletable and hypothesis.format not in _SCLITE and re.search(r"[()]", said):
            raise DataError(f"{where[0]}: the hypothesis of {name[:80]!r} is {said[:80]!r}; "
                            f"expected no parentheses in {hypothesis.format} with "
                            "--optionally-deletable. Remove them.", code="text.optional")
        settled = settle(word_graph(text, where[0], optional=optionally_deletable),
                         word_graph(said, where[1], optional=optionally_deletable), normalizer,
                         where[0], fragments=fragments)
        readings[name] = Reading(text if text != settled.reference else "", settled.path)
        texts[name] = settled.reference
        if name in heard:
            heard[name] = settled.hypothesis
        if name in confidences:
            confidences[name] = [math.nan if place < 0 else confidences[name][place]
                                 for place in settled.places]
        added += settled.added
        matched += settled.matched
    notes = [*reference.notes]
    if alternatives:
        notes.append(f"{paths[0]}: of {plural(alternatives, 'alternation')} such as {{ a / b }} "
                     "the reading was scored that sclite takes.")
    if optionally_deletable:
        notes.append(f"{paths[0]}: {plural(required, 'optionally deletable word')} (in "
                     f"parentheses); {added:,} were not said and count as correct, as in sclite "
                     "-D: they were added to the hypotheses.")
    elif required:
        notes.append(f"{paths[0]}: {plural(required, 'optionally deletable word')} (in "
                     "parentheses) were required, as sclite requires them without -D "
                     "(--optionally-deletable).")
    if fragments:
        notes.append(f"{paths[0]}: {plural(matched, 'word was', 'words were')} right because of a "
                     "fragment (beginning or ending in -), as in sclite -F: the hypotheses have "
                     "the references' spelling there.")
    return (replace(reference, texts=texts, notes=tuple(notes), readings=readings),
            replace(hypothesis, texts=heard, confidences=confidences))


def write_texts(path: str | Path, texts: Mapping[str, str], format: str) -> None:  # noqa: A002
    """Write texts by id as plain, kaldi, trn or jsonl; `read_texts` gives them back.

    Raises:
        UsageError: the format needs times (see `asr.scoring.timed`, `asr.scoring.ctm`) or is
            unknown.
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


def add_text(texts: dict[str, str], name: str, text: str, where: str,
             first: int | None = None) -> None:
    """Add one entry; an id that is there already (in line `first`) is an error."""
    if name in texts:
        before = "" if first is None else f", first in line {first}"
        raise DataError(f"{where}: the id {name[:80]!r} occurs twice{before}; ids must be unique.",
                        code="text.duplicate_id")
    texts[name] = text


def _checked(name: str) -> str:
    if name not in (*FORMATS, "auto"):
        raise UsageError(f"Unknown text format {name!r}; expected one of auto, "
                         f"{', '.join(FORMATS)}.")
    return name


def _split_line(line: str, format: str, where: str,  # noqa: A002
                braces: bool = False) -> tuple[str, str]:
    if format == "kaldi":
        name, *rest = line.split(maxsplit=1)
        return name, rest[0].rstrip() if rest else ""
    match = TRN.match(line)
    if match is None:
        raise DataError(f"{where}: expected 'words (utterance-id)' as in sclite's trn, got "
                        f"{line[:80]!r}.", code="text.trn")
    if not braces and _ALTERNATION.search(match[1]):
        raise DataError(f"{where}: alternatives such as {{ a / b }} are not supported here, only "
                        "in a reference that is read with its hypothesis. Write one variant.",
                        code="text.alternation")
    return match[2], match[1].strip()


def _read_jsonl(path: str | Path, role: str) -> TextFile:
    file = TextFile("jsonl", {})
    for number, row in read_objects(path):
        where = f"{path}:{number}"
        name = row.get("id", row.get("audio_filepath"))
        key = next((key for key in _TEXT_KEYS[role] if key in row), None)
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}: expected a string id (or audio_filepath), got "
                            f"{'none' if name is None else show(name)}.",
                            code="text.id")
        if key is None or not isinstance(row[key], str):
            raise DataError(f"{where} utterance {name[:80]!r}: expected a string "
                            f"{' or '.join(_TEXT_KEYS[role])}, got "
                            f"{'none' if key is None else show(row[key])}.", code="text.missing")
        add_text(file.texts, name, row[key], where, file.lines.get(name))
        file.lines[name] = number
        if isinstance(row.get("speaker"), str):
            file.speakers[name] = row["speaker"]
        if isinstance(row.get("duration"), (int, float)) and not isinstance(row["duration"], bool):
            file.durations[name] = float(row["duration"])
    return file
