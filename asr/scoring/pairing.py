"""Which hypothesis belongs to which reference; whatever does not fit is an error, not a guess.

In: two dicts by utterance id, or two lists. Out: the pairs that are scored. Also which reading
of a reference with alternatives is scored: the one nearest to its hypothesis.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from asr.errors import DataError
from asr.scoring.text_lines import Arc
from asr.text import normalize

Texts = Mapping[str, str] | Sequence[str]

# sclite's weights decide between readings with the same number of errors
_ERROR = 1_000_000_000
_SUBSTITUTION, _OTHER, _LEFT_OUT = _ERROR + 4, _ERROR + 3, 2
_MOST_CELLS = 20_000_000


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
            raise DataError(f"{len(references)} references but {len(hypotheses)} hypotheses; "
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
        raise DataError(f"{len(values)} {name} for {len(references)} references; give one each, "
                        "or a dict by id.", code="score.length")
    keys = references if isinstance(references, Mapping) else map(str, range(1, len(values) + 1))
    by_id = dict(zip(keys, values, strict=True))
    return [by_id[identifier] for identifier in ids]


def _some(names: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
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
            remedy = ("Correct the id" if side else "Correct the id, or choose with --missing "
                      "what becomes of a reference without hypothesis")
            raise DataError(f"{where}: the utterance ids differ: got {odd[0]!r}, expected an id "
                            f"that {files[1 - side]} has, too ({len(odd):,} of them lack a "
                            f"partner). {remedy}.", code="score.ids", path=files[side])


def nearest_reading(arcs: Sequence[Arc], hypothesis: str, normalizer: str,
                    where: str) -> tuple[str, str, int]:
    """The reading of a reference that has the fewest errors against a hypothesis.

    Equal numbers of errors are decided by sclite's weights (substitution 4, deletion and insertion
    3). An optional word that was not said is no error: it stands in both texts that come back, as
    it counts among the correct words in sclite -D.

    Args:
        arcs: from `asr.scoring.text_lines.word_graph`.
        hypothesis: what was recognised.
        normalizer: words are compared under it.
        where: file and line, for the message.

    Returns:
        The reference, the hypothesis, and how many optional words were added to the latter.

    Raises:
        DataError: the two are too long for it.
    """
    keys = {word: normalize(word, normalizer).split() for word in
            {arc.word for arc in arcs} | set(hypothesis.split())}
    raw = hypothesis.split()
    heard = [(key, index) for index, word in enumerate(raw) for key in keys[word]]
    if (sum(len(keys[arc.word]) + 1 for arc in arcs) + 1) * (len(heard) + 1) > _MOST_CELLS:
        raise DataError(f"{where}: got {len(arcs):,} words with alternatives or optional ones "
                        f"against {len(raw):,}; expected at most {_MOST_CELLS:,} pairs of words. "
                        "Cut the utterance.", code="score.long")
    numbers = {key: number for number, key in enumerate(dict.fromkeys(key for key, _ in heard))}
    spoken = np.array([numbers[key] for key, _ in heard], np.int64)
    steps = np.arange(len(heard) + 1) * _OTHER
    costs: dict[int, np.ndarray] = {0: steps.copy()}
    best: dict[int, list] = {}
    for arc in arcs:  # by source, so that what leads to it is complete
        # a node is closed under insertions when its first arc is followed
        column = costs[arc.source]
        column[:] = np.minimum.accumulate(column - steps) + steps
        table = [column]
        for key in keys[arc.word]:
            before = table[-1]
            after = before + _OTHER
            hit = before[:-1] + np.where(spoken == numbers.get(key, -1), 0, _SUBSTITUTION)
            after[1:] = np.minimum(after[1:], hit)
            table.append(np.minimum.accumulate(after - steps) + steps)
        end = table[-1].copy()
        if arc.optional:
            end = np.minimum(end, column + _LEFT_OUT)
        best.setdefault(arc.target, []).append((arc, table, end))
        costs[arc.target] = (np.minimum(costs[arc.target], end) if arc.target in costs
                             else end.copy())
    node, place, words, added = max(costs), len(heard), [], []
    last = costs[node]
    last[:] = np.minimum.accumulate(last - steps) + steps
    while node:
        while not any(end[place] == costs[node][place] for _, _, end in best[node]):
            place -= 1  # a word that nobody said
        arc, table, end = next(way for way in best[node]
                               if way[2][place] == costs[node][place])
        if arc.word:
            words.append(arc.word)
        if arc.optional and end[place] == table[0][place] + _LEFT_OUT:
            added.append((heard[place - 1][1] + 1 if place else 0, arc.word))
        else:
            place = _back(table, [keys[arc.word], spoken, numbers], place)
        node = arc.source
    for index, word in added:  # from the last to the first
        raw.insert(index, word)
    return " ".join(reversed(words)), " ".join(raw) if added else hypothesis, len(added)


def _back(table: list[np.ndarray], known: list, place: int) -> int:
    """Where in the hypothesis the word began whose cost table this is."""
    keys, spoken, numbers = known
    for level in range(len(keys), 0, -1):
        before, after = table[level - 1], table[level]
        number = numbers.get(keys[level - 1], -1)
        while True:
            price = after[place]
            if place and price == before[place - 1] + (0 if spoken[place - 1] == number
                                                       else _SUBSTITUTION):
                place -= 1
                break
            if price == before[place] + _OTHER:
                break
            place -= 1  # an insertion after the word
    return place
