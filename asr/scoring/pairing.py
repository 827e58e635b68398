"""Pair hypotheses with references; what does not fit is an error, not a guess.

In: two dicts by utterance id, or two lists. Out: the pairs that are scored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from asr.errors import DataError
from asr.terminal import plural
from asr.text import normalize

Texts = Mapping[str, str] | Sequence[str]


def match_texts(references: Texts, hypotheses: Texts,
                skipped: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Reference and hypothesis of each utterance that is scored, by id, in reference order.

    Raises:
        DataError: ids that differ, lists of different length, nothing to score, a text that is
            no string, an utterance both skipped and transcribed.
    """
    if isinstance(references, Mapping) != isinstance(hypotheses, Mapping):
        raise DataError("References and hypotheses must both be dicts by id, or both lists.",
                        code="score.kinds")
    if not isinstance(references, Mapping) or not isinstance(hypotheses, Mapping):
        if len(references) != len(hypotheses):
            raise DataError(f"{plural(len(references), 'reference')} but "
                            f"{plural(len(hypotheses), 'hypothesis', 'hypotheses')}; "
                            "texts without ids are matched by position and need equal numbers.",
                            code="score.length")
        references = {str(index): text for index, text in enumerate(references, 1)}  # type: ignore
        hypotheses = {str(index): text for index, text in enumerate(hypotheses, 1)}  # type: ignore
    both = [name for name in skipped if name in hypotheses]
    if both:
        raise DataError(f"{_some(both)} marked as skipped but transcribed; an utterance is "
                        "scored or skipped, not both.", code="score.skipped")
    wanted = [name for name in references if name not in skipped]
    missing = [name for name in wanted if name not in hypotheses]
    extra = [name for name in hypotheses if name not in references]
    if missing or extra:
        parts = [f"{len(missing)} without a hypothesis ({_some(missing)})"] * bool(missing)
        parts += [f"{len(extra)} without a reference ({_some(extra)})"] * bool(extra)
        raise DataError(f"The utterance ids differ: {'; '.join(parts)}. Every reference needs "
                        "one hypothesis of the same id; list the ones that failed as skipped.",
                        code="score.ids")
    if not wanted:
        raise DataError(f"No utterance to score ({len(skipped)} skipped), so there is no word "
                        "error rate.", code="score.empty")
    pairs = {name: (references[name], hypotheses[name]) for name in wanted}
    for name, pair in pairs.items():
        if not all(isinstance(text, str) for text in pair):
            raise DataError(f"Utterance {name!r}: the texts are {pair!r}; expected two strings.",
                            code="score.text")
    return pairs


def hash_references(references: Mapping[str, str]) -> str:
    """SHA-256 over the sorted (id, reference) pairs, in NFC: the identity of a test set."""
    digest = hashlib.sha256()
    for name in sorted(references):
        pair = [name, normalize(references[name], "none")]
        digest.update(json.dumps(pair, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def attached(values, ids: list[str], references: Texts, name: str, default) -> list:
    """The value of each scored utterance from a dict by id or a list in reference order."""
    if values is None:
        return [default] * len(ids)
    if isinstance(values, Mapping):
        return [values.get(identifier, default) for identifier in ids]
    if len(values) != len(references):
        raise DataError(f"{plural(len(values), name.removesuffix('s'))} for "
                        f"{plural(len(references), 'reference')}; give one each, or a dict by id.",
                        code="score.length")
    keys = references if isinstance(references, Mapping) else map(str, range(1, len(values) + 1))
    by_id = dict(zip(keys, values, strict=True))
    return [by_id[identifier] for identifier in ids]


def _some(names: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:limit])
    return shown + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def settle_missing(references: Mapping[str, str], hypotheses: Mapping[str, str],
                   policy: str) -> tuple[dict[str, str], dict[str, str]]:
    """What becomes of references without a hypothesis.

    Args:
        references, hypotheses: texts by id.
        policy: "error" leaves them (scoring will refuse), "deletions" gives them an empty
            hypothesis (Kaldi's mode=all), "skip" lists them as skipped (Kaldi's mode=present).

    Returns:
        The hypotheses to score, and the skipped ids with their reason.
    """
    missing = [name for name in references if name not in hypotheses]
    texts = dict(hypotheses)
    if policy == "deletions":
        texts |= dict.fromkeys(missing, "")
    return texts, dict.fromkeys(missing, "no hypothesis") if policy == "skip" else {}


def refuse_unmatched(references: Mapping[str, str], hypotheses: Mapping[str, str],
                     files: tuple[object, object], lines: tuple[Mapping[str, int],
                                                                Mapping[str, int]],
                     policy: str) -> None:
    """Name the line of the first id that the other file does not have.

    Args:
        references, hypotheses: texts by id.
        files: the paths of both, for the message.
        lines: the line of each id in both files, as far as they have one.
        policy: as in `settle_missing`; other than "error", a reference may lack a hypothesis.

    Raises:
        DataError: there is such an id.
    """
    sides = (references, hypotheses)
    for side in (1, 0) if policy == "error" else (1,):
        odd = [name for name in sides[side] if name not in sides[1 - side]]
        if odd:
            line = lines[side].get(odd[0])
            where = f"{files[side]}:{line}" if line else str(files[side])
            alike = next((name for name in sides[1 - side]
                          if name.casefold() == odd[0].casefold()), None)
            case = "" if alike is None else f"; {alike[:80]!r} differs only in case"
            remedy = ("Correct the id" if side else "Correct the id, or choose with --missing "
                      "what becomes of a reference without hypothesis")
            raise DataError(f"{where}: the utterance ids differ: got {odd[0][:80]!r}, expected "
                            f"an id that {files[1 - side]} has, too ({len(odd):,} of them lack a "
                            f"partner{case}). {remedy}.", code="score.ids", path=files[side])
