"""The score of a set of transcripts, with its intervals and its receipt.

In: references and hypotheses by utterance id. Out: `Score`: WER and CER with intervals, one row an
utterance, and the receipt. RapidFuzz and NumPy.

WER is sum(S + D + I) / sum(N) over the corpus. It is never averaged over sentences, never clipped,
and without a reference word there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from asr.errors import DataError
from asr.scoring.bootstrap import CONFIDENCE, DRAWS, FEW_CLUSTERS, Interval
from asr.scoring.counts import (
    Counts,
    Step,
    align_many,
    count_characters,
    count_words,
    refuse_long,
    steps_of,
)
from asr.scoring.measures import NAMES, Measure, measure
from asr.scoring.pairing import Texts, attached, hash_references, match_texts
from asr.terminal import plural
from asr.text import normalize, normalizer_id
from asr.versions import installed

SCHEMA = 1
_PACKAGES = ("keras-asr", "jiwer", "rapidfuzz", "numpy", "tensorflow", "keras", "librosa")


@dataclass(frozen=True)
class Conditions:
    """What only the caller knows about a score; every field may stay empty.

    `decoder` is its name with its settings, `bundle_hash` and `manifest_hash` are SHA-256,
    `seed` is the run's, `real_time_factor` is seconds of computing per second of audio, and
    `extra` takes anything else that is JSON (such as words per minute of silence).
    """

    decoder: str = ""
    bundle_hash: str = ""
    manifest_hash: str = ""
    seed: int | None = None
    real_time_factor: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reference in sclite's notation was before one of its readings was taken.

    `written`: the reference as its file has it, "" where that is the reading. `path`: sclite's
    alignment of it with the hypothesis, one letter of = S D I a step. (That of the reading alone
    can be another of the same cost.)
    """

    written: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One utterance: the texts as they were given, as they were compared, and the errors.

    `reading` is there where the reference's file allows several and `reference` is one of them.
    """

    id: str
    reference: str
    hypothesis: str
    normalized_reference: str
    normalized_hypothesis: str
    words: Counts
    characters: Counts
    speaker: str = ""
    duration: float | None = None
    reading: Reading = Reading()

    @property
    def written(self) -> str:
        """The reference as its file has it."""
        return self.reading.written or self.reference


@dataclass(frozen=True)
class Receipt:
    """The conditions of a score.

    `alignment` is "unit" or "sclite"; `cer_spaces`: whether a space is a character; `rules` names
    what else decides about right and wrong, such as "fragments".
    """

    utterances: int
    skipped: tuple[tuple[str, str], ...]
    words: int
    characters: int
    speakers: int | None
    normalizer: str
    reference_hash: str
    conditions: Conditions
    versions: Mapping[str, str]
    alignment: str = "unit"
    cer_spaces: bool = True
    rules: tuple[str, ...] = ()

    def line(self) -> str:
        """The receipt in one line, for people."""
        speakers = "" if self.speakers is None else f", {plural(self.speakers, 'speaker')}"
        parts = [f"{plural(self.utterances, 'utterance')}{speakers}, "
                 f"{plural(self.words, 'word')}", f"{len(self.skipped):,} skipped",
                 f"normaliser {self.normalizer}", f"alignment {self.alignment}",
                 *["CER without spaces"] * (not self.cer_spaces), *self.rules,
                 f"references {self.reference_hash[:12]}"]
        known = self.conditions
        for name, value in (("decoder", known.decoder), ("bundle", known.bundle_hash[:12]),
                            ("manifest", known.manifest_hash[:12])):
            if value:
                parts.append(f"{name} {value}")
        if known.seed is not None:
            parts.append(f"seed {known.seed}")
        if known.real_time_factor is not None:
            parts.append(f"RTF {known.real_time_factor:.3g}")
        parts += [f"{name} {value}" for name, value in known.extra.items()]
        parts.append(", ".join(f"{name} {version}" for name, version in self.versions.items()))
        return " · ".join(parts)

    def to_dict(self) -> dict:
        """The receipt as JSON, for machines."""
        known = self.conditions
        return {"schema": SCHEMA, "utterances": self.utterances,
                "skipped": [{"id": name, "reason": reason} for name, reason in self.skipped],
                "words": self.words, "characters": self.characters, "speakers": self.speakers,
                "normalizer": self.normalizer, "alignment": self.alignment,
                "cer_spaces": self.cer_spaces, "rules": list(self.rules),
                "reference_hash": self.reference_hash,
                "decoder": known.decoder, "bundle_hash": known.bundle_hash,
                "manifest_hash": known.manifest_hash, "seed": known.seed,
                "real_time_factor": known.real_time_factor, "extra": dict(known.extra),
                "versions": dict(self.versions)}


@dataclass(frozen=True)
class Score:
    """WER, CER and other measures of a set of utterances; rates are fractions, not percent.

    `words` and `characters` are counted on the normalised text, `raw_words` and `raw_characters`
    on the text as given (Unicode NFC only). `measures` has "wer", "cer", "mer", "wil", "wip" and
    "ser", see `asr.scoring.measures`. `print(score)` shows one line, `score.receipt.line()` the
    conditions.
    """

    words: Counts
    characters: Counts
    raw_words: Counts
    raw_characters: Counts
    measures: Mapping[str, Measure]
    rows: tuple[ScoreRow, ...]
    receipt: Receipt

    @property
    def wer_interval(self) -> Interval | None:
        """The interval of the word error rate."""
        return self.measures["wer"].interval

    @property
    def cer_interval(self) -> Interval | None:
        """The interval of the character error rate."""
        return self.measures["cer"].interval

    @property
    def wer(self) -> float:
        """Word error rate, a fraction; may pass 1."""
        return self.words.errors / self.words.reference

    @property
    def cer(self) -> float:
        """Character error rate, a fraction; may pass 1."""
        return self.characters.errors / self.characters.reference

    def __str__(self) -> str:
        return rate_line("WER", self.words, self.wer_interval)

    def lines(self) -> list[str]:
        """WER, CER, the other measures, the raw rates, notes and the receipt, for a terminal."""
        raw = "raw: " + ", ".join(
            f"{name} {percent(counts.rate)}" for name, counts in
            (("WER", self.raw_words), ("CER", self.raw_characters)))
        return [str(self), rate_line("CER", self.characters, self.cer_interval),
                self.other_measures(), raw, *self.notes(), self.receipt.line()]

    def other_measures(self) -> str:
        """MER, WIL, WIP and SER in one line."""
        return ", ".join(with_interval(NAMES[name], found.rate, found.interval)
                         for name, found in self.measures.items() if name not in ("wer", "cer"))

    def notes(self) -> list[str]:
        """What weakens the interval, in words; empty when nothing does."""
        interval = self.wer_interval
        if interval is None:
            return []
        if interval.method == "rule of three":
            return [f"No error in {plural(self.words.reference, 'word')}: the true rate may still "
                    f"be {percent(interval.high)} (rule of three)."]
        if interval.unit == "speaker" and interval.clusters < FEW_CLUSTERS:
            return [f"Only {interval.clusters} speakers: the interval is likely too narrow."]
        if interval.clusters < FEW_CLUSTERS:
            return [f"Only {plural(interval.clusters, 'utterance')}: the interval is likely too "
                    "narrow."]
        if self.receipt.speakers == 1:
            return ["One speaker: the interval says nothing about other speakers."]
        return []

    def to_dict(self) -> dict:
        """Everything but the rows, as JSON."""
        intervals = {f"{name}_interval": found.interval and found.interval.to_dict()
                     for name, found in self.measures.items()}
        return {**{name: found.rate for name, found in self.measures.items()},
                "words": self.words.to_dict(),
                "characters": self.characters.to_dict(), "raw_words": self.raw_words.to_dict(),
                "raw_characters": self.raw_characters.to_dict(),
                **intervals, "notes": self.notes(), "receipt": self.receipt.to_dict()}


def score(references: Texts, hypotheses: Texts, *, normalizer: str = "basic",
          alignment: str = "unit", cer_spaces: bool = True, rules: Sequence[str] = (),
          readings: Mapping[str, Reading] | None = None,
          speakers: Mapping[str, str] | Sequence[str] | None = None,
          durations: Mapping[str, float] | Sequence[float] | None = None,
          skipped: Mapping[str, str] | None = None, conditions: Conditions | None = None,
          draws: int = DRAWS, confidence: float = CONFIDENCE, bootstrap_seed: int = 0) -> Score:
    """Compare hypotheses with references.

    Args:
        references, hypotheses: dicts from utterance id to text (matched by id, in any order), or
            two lists of the same length (matched by position; ids are then "1", "2", ...).
        normalizer: one of `asr.text.NORMALIZERS`; the raw rates are reported beside it.
        alignment: "unit" counts the fewest errors, as jiwer and Kaldi do; "sclite" has its weights
            (substitution 4, insertion and deletion 3) and its ties, and so its S, D and I.
        cer_spaces: whether a space between words is a character; sclite -c takes none.
        rules: what the caller did to the texts that decides about right and wrong; kept in the
            receipt, and scores with other rules are not compared.
        readings: id to what the reference is a reading of, from `asr.scoring.read_pair`: it
            identifies the test set, and has sclite's alignment.
        speakers: id to speaker (or a list). Known speakers widen the interval honestly: whole
            speakers are resampled. "" is unknown.
        durations: id to seconds (or a list), kept in the rows for the report.
        skipped: id to reason, of utterances that have no hypothesis because something failed.
            They are listed in the receipt and not scored; they may, but need not, be among
            the references.
        conditions: what the caller knows: decoder, hashes, seed, real-time factor.
        draws, confidence, bootstrap_seed: see `asr.scoring.bootstrap.bootstrap_rates`.

    Returns:
        The `Score`; `print()` gives "WER 8.31 % ± 0.6 (S 2,103 D 402 I 330 N 34,117)".

    Raises:
        DataError: no utterance, no word in any reference, ids that differ, lists of different
            length, an utterance both skipped and transcribed, or one too long to be aligned.
        UsageError: an unknown normaliser or alignment, draws or confidence out of range.

    Example:
        >>> print(score({"a": "one two three four"}, {"a": "one too three"}, draws=100))
        WER 50.00 % (S 1 D 1 I 0 N 4)
    """
    identifier = normalizer_id(normalizer)
    reasons = dict(skipped or {})
    texts = match_texts(references, hypotheses, reasons)
    ids = list(texts)
    raw = [[" ".join(normalize(text, "none").split()) for text in side]
           for side in zip(*texts.values(), strict=True)]
    compared = [[" ".join(normalize(text, normalizer).split()) for text in side]
                for side in zip(*texts.values(), strict=True)]
    refuse_long(ids, raw[0], raw[1], alignment)
    refuse_long(ids, compared[0], compared[1], alignment)
    words, characters = _counted(compared, alignment, cer_spaces)
    known = readings or {}
    for index in (index for index, name in enumerate(ids) if name in known):
        path = _path(known[ids[index]], compared[0][index], compared[1][index], alignment)
        if path:
            words[index, :3] = [path.count(letter) for letter in "SDI"]
    if not words[:, 3].any():
        emptied = f" under the normaliser {identifier}" if any(raw[0]) else ""
        raise DataError(f"None of {plural(len(ids), 'reference')} has a word{emptied}, so "
                        "there is no word error rate. Check that the first file holds the "
                        "references.", code="score.no_words")
    of_speaker = attached(speakers, ids, references, "speakers", "")
    of_duration = attached(durations, ids, references, "durations", None)
    measures = measure(words, characters, draws=draws, confidence=confidence,
                       speakers=None if speakers is None else of_speaker, seed=bootstrap_seed)
    rows = tuple(
        ScoreRow(name, texts[name][0], texts[name][1], reference, hypothesis, Counts(*word_counts),
                 Counts(*character_counts), speaker, duration, known.get(name, Reading()))
        for name, reference, hypothesis, word_counts, character_counts, speaker, duration in
        zip(ids, *compared, words.tolist(), characters.tolist(), of_speaker, of_duration,
            strict=True))
    receipt = Receipt(
        utterances=len(rows), skipped=tuple(reasons.items()), words=int(words[:, 3].sum()),
        characters=int(characters[:, 3].sum()), normalizer=identifier,
        speakers=None if speakers is None else len(set(of_speaker) - {""}),
        reference_hash=hash_references({row.id: row.written for row in rows}),
        conditions=conditions or Conditions(), versions=package_versions(), alignment=alignment,
        cer_spaces=cer_spaces, rules=tuple(rules))
    raw_words, raw_characters = words.copy(), characters.copy()
    rewritten = [row for row, pairs in enumerate(zip(*raw, *compared, strict=True))
                 if pairs[:2] != pairs[2:]]  # the others have the same errors either way
    if rewritten:
        raw_words[rewritten], raw_characters[rewritten] = _counted(
            [[side[row] for row in rewritten] for side in raw], alignment, cer_spaces)
    return Score(total(words), total(characters), total(raw_words), total(raw_characters),
                 measures, rows, receipt)


def align_rows(rows: Sequence[ScoreRow], alignment: str) -> Iterator[list[Step]]:
    """The word alignment of each row; `alignment` is that of the score's receipt."""
    found = align_many([row.normalized_reference for row in rows],
                       [row.normalized_hypothesis for row in rows], alignment)
    for row, steps in zip(rows, found, strict=True):
        sides = row.normalized_reference, row.normalized_hypothesis
        path = _path(row.reading, *sides, alignment)
        yield steps_of(path, *sides) if path else steps


def _path(reading: Reading, reference: str, hypothesis: str, alignment: str) -> str:
    """Sclite's alignment of a reading, where that is asked for and is of these very texts."""
    path = reading.path
    sizes = (len(path) - path.count("I"), len(path) - path.count("D"))
    fits = sizes == (len(reference.split()), len(hypothesis.split()))
    return path if alignment == "sclite" and fits else ""


def _counted(sides: Sequence[Sequence[str]], alignment: str,
             cer_spaces: bool) -> tuple[np.ndarray, np.ndarray]:
    """Word and character errors of each pair."""
    letters = sides if cer_spaces else [[text.replace(" ", "") for text in side] for side in sides]
    return (count_words(sides[0], sides[1], alignment),
            count_characters(letters[0], letters[1], alignment))


def package_versions() -> dict[str, str]:
    """Installed versions of what can change a score; nothing is imported for it."""
    return {name: version for name, version in installed(_PACKAGES).items() if version}


def with_conditions(result: Score, conditions: Conditions) -> Score:
    """The same score under other conditions, for what is known only afterwards."""
    return replace(result, receipt=replace(result.receipt, conditions=conditions))


def total(counts: np.ndarray) -> Counts:
    """The sum over utterances of (num_utterances, 4) counts."""
    return Counts(*counts.sum(0).tolist())


def rate_line(name: str, counts: Counts, interval: Interval | None) -> str:
    """A rate as one line: "WER 8.31 % ± 0.6 (S 2,103 D 402 I 330 N 34,117)"."""
    return (f"{with_interval(name, counts.rate, interval)} (S {counts.substitutions:,} "
            f"D {counts.deletions:,} I {counts.insertions:,} N {counts.reference:,})")


def with_interval(name: str, rate: float | None, interval: Interval | None) -> str:
    """A rate and its interval: "WER 8.31 % ± 0.6"; from one utterance alone there is none."""
    return " ".join(filter(None, (name, percent(rate), str(interval or ""))))


def percent(rate: float | None) -> str:
    """A fraction as "8.31 %", None as "undefined"."""
    return "undefined" if rate is None or not math.isfinite(rate) else f"{100 * rate:.2f} %"
