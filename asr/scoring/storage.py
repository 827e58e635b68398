"""A score on disk: one JSONL row an utterance, the receipt beside it, and a CSV for people.

In: a `Score`. Out: `dev.jsonl`, `dev.receipt.json`, `dev.csv`; and the score back.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from asr.errors import DataError
from asr.results import current, write_together
from asr.scoring.bootstrap import DRAWS
from asr.scoring.comparison import stored_unlike
from asr.scoring.formats import read_pair, read_texts
from asr.scoring.result import Conditions, Reading, Score, ScoreRow, score
from asr.scoring.speakers import read_speakers
from asr.scoring.text_lines import parse_object, read_lines, read_objects
from asr.text import normalizer_id

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
CSV_COLUMNS = ("id", "speaker", "duration", "words", "substitutions", "deletions", "insertions",
               "wer", "cer", "reference", "hypothesis")


def save(result: Score, path: str | Path) -> Path:
    """Write the rows to `path` (JSONL) and the receipt beside it.

    Returns:
        The path of the receipt: `dev.jsonl` gets `dev.receipt.json`.
    """
    path = Path(path)
    receipt = receipt_path(path)
    write_together(path.parent, {
        path.name: "".join(json.dumps(row_dict(row), ensure_ascii=False) + "\n"
                           for row in result.rows),
        receipt.name: json.dumps(result.to_dict(), ensure_ascii=False, indent=1) + "\n"})
    return receipt


def load(path: str | Path, *, normalizer: str = "", draws: int = DRAWS) -> tuple[Score, dict]:
    """A saved score, counted again from its texts, with the receipt that lies beside it.

    Args:
        path: the JSONL file that `save` wrote, or the folder of `asr evaluate --output-dir`.
        normalizer: instead of the receipt's, or where there is no receipt ("basic" then).
        draws: number of draws of the bootstrap.

    Returns:
        The score, and the receipt as it was written ({} without one).

    Raises:
        DataError: a file that cannot be read, or a normaliser that this version does not have.
    """
    path = rows_path(path)
    rows = current(path)
    for number, row in read_objects(rows):
        if "hypothesis" not in row and "pred_text" not in row:
            raise DataError(f"{path}:{number}: no key hypothesis or pred_text; this is a manifest, "
                            "not a result. Give what `asr evaluate --output-dir` or `asr score "
                            "--per-utterance` wrote.", code="score.rows", path=path)
    references = read_texts(rows, "jsonl", role="reference")
    hypotheses = read_texts(rows, "jsonl", role="hypothesis")
    stored = read_receipt(path)
    receipt = stored.get("receipt", {})
    name = normalizer or str(receipt.get("normalizer") or "basic").split("-")[0]
    skipped = {entry["id"]: entry["reason"] for entry in receipt.get("skipped", [])}
    readings = {row["id"]: Reading(*(str(part) for part in row["reading"]))
                for _, row in read_objects(rows)
                if isinstance(row.get("reading"), list) and len(row["reading"]) == 2}
    result = score(references.texts, hypotheses.texts, normalizer=name,
                   alignment=str(receipt.get("alignment") or "unit"),
                   cer_spaces=receipt.get("cer_spaces") is not False,
                   rules=[str(rule) for rule in receipt.get("rules") or ()],
                   readings=readings, speakers=references.speakers or None,
                   durations=references.durations, skipped=skipped,
                   conditions=conditions_of(receipt), draws=draws)
    former = receipt.get("normalizer")
    if not normalizer and former and former != normalizer_id(name):
        raise DataError(f"{receipt_path(path)}: scored with the normaliser {former}, but this "
                        f"version has {normalizer_id(name)}; score both sides again, or name "
                        "the normaliser with --normalizer.", code="score.normalizer", path=path)
    return result, receipt


def rules_of(optionally_deletable: bool, fragments: bool) -> list[str]:
    """The options of `read_pair` as a receipt names them."""
    return ["optionally deletable words"] * optionally_deletable + ["fragments"] * fragments


def receipt_path(path: str | Path) -> Path:
    """Where the receipt of a rows file lies: `dev.jsonl` has `dev.receipt.json`."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".jsonl") + ".receipt.json")


def rows_path(path: str | Path) -> Path:
    """The rows file itself, or `utterances.jsonl` in a folder of `asr evaluate --output-dir`."""
    path = Path(path)
    return path / "utterances.jsonl" if path.is_dir() else path


def read_receipt(path: str | Path) -> dict:
    """What `save` wrote beside `path`; {} where there is nothing.

    Raises:
        DataError: the file is there but damaged, or that of an evaluation is missing.
    """
    path = rows_path(path)
    beside = current(receipt_path(path))
    if not beside.is_file() and path.name == "utterances.jsonl":
        beside = current(path.with_name("score.json"))  # as `asr evaluate --output-dir` names it
        if not beside.is_file():
            raise DataError(f"{path.parent} has {path.name} without score.json: an evaluation that "
                            "was killed, or copied in part. Evaluate again with --overwrite.",
                            code="score.receipt", path=path.parent)
    if not beside.is_file():
        return {}
    stored = parse_object("\n".join(read_lines(beside)), str(beside))
    receipt = stored.get("receipt")
    skipped = receipt.get("skipped", []) if isinstance(receipt, dict) else None
    if not isinstance(skipped, list) or not all(
            isinstance(entry, dict) and {"id", "reason"} <= entry.keys() for entry in skipped):
        raise DataError(f"{beside}: this is not a receipt that `asr evaluate` or `asr score` "
                        "wrote.", code="score.receipt", path=beside)
    return stored


def conditions_of(receipt: dict) -> Conditions:
    """The conditions in a stored receipt; a value of the wrong type counts as not given."""
    def typed(key: str, kinds: type | tuple[type, ...], default):
        value = receipt.get(key, default)
        return value if isinstance(value, kinds) and not isinstance(value, bool) else default

    return Conditions(
        decoder=typed("decoder", str, ""), bundle_hash=typed("bundle_hash", str, ""),
        manifest_hash=typed("manifest_hash", str, ""), seed=typed("seed", int, None),
        real_time_factor=typed("real_time_factor", (int, float), None),
        extra=typed("extra", dict, {}))


def row_dict(row: ScoreRow) -> dict:
    """One utterance as JSON; `wer` and `cer` are null where the reference is empty."""
    return {"id": row.id, "reference": row.reference, "hypothesis": row.hypothesis,
            "normalized_reference": row.normalized_reference,
            "normalized_hypothesis": row.normalized_hypothesis, "speaker": row.speaker,
            "duration": row.duration,
            **({"reading": [row.reading.written, row.reading.path]} if row.reading.path else {}),
            "words": row.words.reference,
            "substitutions": row.words.substitutions, "deletions": row.words.deletions,
            "insertions": row.words.insertions, "wer": row.words.rate,
            "characters": row.characters.reference,
            "character_errors": row.characters.errors, "cer": row.characters.rate}


def to_csv(rows: Iterable[ScoreRow], *, raw: bool = False) -> str:
    """A table for a spreadsheet.

    Args:
        rows: rows of a score.
        raw: write texts as they are. Otherwise a cell that a spreadsheet would run as a formula
            (it starts with = + - @, TAB or CR) gets a leading single quote (CWE-1236).
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        record = row_dict(row)
        writer.writerow([value if raw else safe_cell(value)
                         for value in (record[column] for column in CSV_COLUMNS)])
    return buffer.getvalue()


def safe_cell(value: object) -> object:
    """A text that a spreadsheet would run as a formula, made harmless; numbers stay numbers."""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return "'" + value
    return value


def load_systems(paths: Sequence[str | Path], *, names: Sequence[str], normalizer: str = "",
                 force: bool = False) -> list[Score]:
    """Saved scores that may be compared.

    Args:
        paths: JSONL files that `save` wrote, or folders of `asr evaluate --output-dir`.
        names: for messages.
        normalizer: score all again with this one.
        force: load them although their receipts differ; the normaliser is then that of the first.

    Raises:
        DataError: the receipts name another reference set or normaliser; the message says which.
    """
    receipts = [read_receipt(path).get("receipt", {}) for path in paths]
    for a, b in itertools.combinations(range(len(paths)), 2):
        unlike = [] if force else stored_unlike((receipts[a], receipts[b]))
        if normalizer:
            unlike = [reason for reason in unlike if not reason.startswith("normaliser")]
        if unlike:
            raise DataError(f"{names[a]} and {names[b]} cannot be compared: {'; '.join(unlike)}. "
                            "--normalizer scores all again with one normaliser, --force compares "
                            "what they have in common.", code="compare.unlike")
    if not normalizer and (force or not all(receipts)):
        # forced, the first one's; a side without a receipt follows the others
        chosen = receipts[0] if force else next(filter(None, receipts), {})
        normalizer = str(chosen.get("normalizer") or "basic").split("-")[0]
    return [load(path, normalizer=normalizer, draws=1_000)[0] for path in paths]


def score_systems(reference: str | Path, paths: Sequence[str | Path], *,
                  format: str = "auto", normalizer: str = "basic",  # noqa: A002
                  speakers: str | Path | None = None, alignment: str = "unit",
                  optionally_deletable: bool = False, fragments: bool = False) -> list[Score]:
    """Text files with hypotheses, scored against the same references.

    A reference with alternatives is read for each system as sclite reads it for that system alone.

    Args:
        reference, paths: files.
        format, optionally_deletable, fragments: as in `read_pair`.
        normalizer, alignment: as in `asr.scoring.score`.
        speakers: a Kaldi utt2spk file.

    Raises:
        DataError: as `asr.scoring.score` and `read_pair`.
    """
    scores = []
    for path in paths:
        references, hypotheses = read_pair(reference, path, format=format, normalizer=normalizer,
                                           optionally_deletable=optionally_deletable,
                                           fragments=fragments)
        known = read_speakers(speakers) if speakers else references.speakers or None
        scores.append(score(references.texts, hypotheses.texts, normalizer=normalizer,
                            alignment=alignment, readings=references.readings,
                            rules=rules_of(optionally_deletable, fragments), speakers=known,
                            durations=references.durations, draws=1_000))
    return scores
