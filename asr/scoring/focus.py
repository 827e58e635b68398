"""WER over the words that matter and over the rest: B-WER and U-WER of the biasing literature.

In: a score and lists of words. Out: both error rates with intervals. NumPy.

As the scorer of Le and others (2021, "Contextualized Streaming End-to-End Speech Recognition with
Trie-Based Deep Biasing and Shallow Fusion", Interspeech; facebookresearch/fbai-speech) counts them:
a reference word on the list, right, confused or missed, belongs to B, any other to U; an inserted
word belongs to B if it is on the list itself. The lists are normalised as the texts are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import DataError
from asr.scoring.bootstrap import CONFIDENCE, DRAWS, Interval, resample
from asr.scoring.breakdown import Group
from asr.scoring.counts import Counts, Step
from asr.scoring.result import Score, align_rows, rate_line
from asr.scoring.text_lines import parse_object, read_lines
from asr.terminal import plural
from asr.text import normalize

_KINDS = {"substitute": 0, "delete": 1, "insert": 2}


@dataclass(frozen=True)
class FocusLists:
    """The words that matter in each utterance, by id, and whether each has a list of its own."""

    words: Mapping[str, frozenset[str]]
    own: bool


@dataclass(frozen=True)
class Focus:
    """Errors on the listed words and on all others.

    `listed` is the number of different words on the lists, `unspoken` how many of them no
    reference holds in an utterance whose list has them.
    """

    on_list: Counts
    others: Counts
    on_list_interval: Interval | None
    others_interval: Interval | None
    utterances: int
    listed: int
    unspoken: int
    own: bool

    def lines(self) -> list[str]:
        """B-WER, U-WER and the size of the lists, for a terminal."""
        kind = "one list an utterance" if self.own else "one list for all"
        return [rate_line("B-WER", self.on_list, self.on_list_interval) + " of the listed words",
                rate_line("U-WER", self.others, self.others_interval) + " of all others",
                f"{plural(self.listed, 'listed word')} ({kind}), {self.unspoken:,} of them in no "
                "reference"]

    def groups(self) -> list[Group]:
        """The two as groups, for the table of a report; all utterances are in both."""
        return [Group("B-WER (listed)", self.utterances, self.on_list,
                      self.on_list_interval),
                Group("U-WER (others)", self.utterances, self.others, self.others_interval)]

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {"b_wer": self.on_list.rate, "u_wer": self.others.rate,
                "b_words": self.on_list.to_dict(), "u_words": self.others.to_dict(),
                "b_wer_interval": self.on_list_interval and self.on_list_interval.to_dict(),
                "u_wer_interval": self.others_interval and self.others_interval.to_dict(),
                "listed": self.listed, "unspoken": self.unspoken,
                "one_list_an_utterance": self.own}


def focus_on(result: Score, lists: FocusLists, *, draws: int = DRAWS,
             confidence: float = CONFIDENCE, seed: int = 0) -> Focus:
    """B-WER and U-WER of a score.

    Args:
        result: from `asr.scoring.score`.
        lists: from `read_focus` or `one_list`, for every utterance of `result`.
        draws, confidence, seed: as in `asr.scoring.bootstrap.bootstrap_rates`.

    Raises:
        UsageError: draws or confidence out of range.
    """
    rows = result.rows
    steps = align_rows(rows, result.receipt.alignment)
    wanted = [lists.words[row.id] for row in rows]
    counts = count_focus(steps, wanted)
    columns = np.stack([counts[:, :3].sum(1), counts[:, 3], counts[:, 4:7].sum(1), counts[:, 7]], 1)
    speakers = None if result.receipt.speakers is None else [row.speaker for row in rows]
    drawn = resample(columns, speakers=speakers, draws=draws, confidence=confidence, seed=seed)
    listed = frozenset().union(*set(wanted))
    spoken = frozenset().union(*(words.intersection(row.normalized_reference.split())
                                 for words, row in zip(wanted, rows, strict=True)))
    sums = counts.sum(0).tolist()
    return Focus(Counts(*sums[:4]), Counts(*sums[4:]), drawn.rate(0, 1), drawn.rate(2, 3),
                 len(rows), len(listed), len(listed - spoken), lists.own)


def count_focus(alignments: Iterable[Sequence[Step]],
                lists: Iterable[Collection[str]]) -> np.ndarray:
    """Errors on listed words and on others of each utterance.

    Args:
        alignments: as from `asr.scoring.result.align_rows`.
        lists: the words that matter, one collection an alignment.

    Returns:
        (num_utterances, 8) int64: S, D, I, N of the listed words, then of the others.
    """
    counts = []
    for steps, words in zip(alignments, lists, strict=True):
        row = [0] * 8
        for step in steps:
            word = step.hypothesis if step.reference is None else step.reference
            start = 0 if word in words else 4
            if step.kind != "equal":
                row[start + _KINDS[step.kind]] += 1
            row[start + 3] += step.reference is not None
        counts.append(row)
    return np.array(counts, np.int64).reshape(-1, 8)


def one_list(words: Iterable[str], ids: Iterable[str], normalizer: str) -> FocusLists:
    """The same words for every utterance.

    Example:
        >>> one_list(["Colour"], ["u1"], "english").words
        {'u1': frozenset({'color'})}
    """
    chosen = frozenset(part for word in words for part in normalize(word, normalizer).split())
    return FocusLists(dict.fromkeys(ids, chosen), own=False)


def read_focus(path: str | Path, ids: Collection[str], normalizer: str) -> FocusLists:
    """Lists of words from a file.

    One word a line is a list for all utterances. A list an utterance is "id word word ..." a line,
    or JSON lines {"id": "u1", "words": ["...", "..."]}; an utterance without such words has its
    line, too.

    Args:
        path: the file, UTF-8.
        ids: ids of the utterances that are scored.
        normalizer: normaliser of the score; one word may become several.

    Raises:
        DataError: the file cannot be read, is empty, mixes both kinds, names an unknown id or one
            twice, lacks an utterance, or a word has nothing left when it is normalised.
    """
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    if not lines:
        raise DataError(f"{path}: got no word, expected one a line. Write the words that matter.",
                        code="focus.empty", path=path)
    if lines[0][1].lstrip().startswith("{"):
        entries = [(number, *_entry(line, f"{path}:{number}")) for number, line in lines]
    else:
        split = [(number, line.split()) for number, line in lines]
        alone = all(len(words) == 1 for _, words in split)
        if alone or not any(words[0] in ids for _, words in split):
            odd = next((entry for entry in split if len(entry[1]) > 1), None)
            if odd:
                raise DataError(f"{path}:{odd[0]}: got {' '.join(odd[1])[:80]!r}, expected one "
                                "word a line, or in each line an utterance's id and its words. "
                                "Correct the line.", code="focus.line", path=path)
            return one_list([word for number, (word,) in split
                             if _words([word], normalizer, f"{path}:{number}")], ids, normalizer)
        entries = [(number, words[0], words[1:]) for number, words in split]
    chosen: dict[str, frozenset[str]] = {}
    for number, name, words in entries:
        where = f"{path}:{number}"
        if name in chosen or name not in ids:
            fault = "occurs twice" if name in chosen else "is not that of a scored utterance"
            raise DataError(f"{where}: the id {name!r} {fault}; expected one line for each "
                            "utterance. Correct the id.", code="focus.ids", path=path)
        chosen[name] = _words(words, normalizer, where)
    lacking = [name for name in ids if name not in chosen]
    if lacking:
        raise DataError(f"{path}: got no line for {plural(len(lacking), 'utterance')}, such as "
                        f"{lacking[0]!r}; expected one for each. Add the id, without words where "
                        "none matters.", code="focus.ids", path=path)
    return FocusLists(chosen, own=True)


def _entry(line: str, where: str) -> tuple[str, list[str]]:
    row = parse_object(line, where)
    name, words = row.get("id"), row.get("words")
    if not isinstance(name, str) or not isinstance(words, list) or not all(
            isinstance(word, str) for word in words):
        raise DataError(f"{where}: got {line[:80]!r}, expected {{\"id\": \"...\", \"words\": "
                        "[\"...\"]}. Correct the line.", code="focus.line")
    return name, words


def _words(words: Sequence[str], normalizer: str, where: str) -> frozenset[str]:
    found: set[str] = set()
    for word in words:
        parts = normalize(word, normalizer).split()
        if not parts:
            raise DataError(f"{where}: got {word!r}, of which the normaliser {normalizer} leaves "
                            "nothing; expected a word. Remove it.", code="focus.word")
        found.update(parts)
    return frozenset(found)
