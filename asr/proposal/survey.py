"""What some manifests hold, as far as it decides about settings.

In: training and development utterances. Out: a `Survey`. Recordings are probed; the noise is
measured on a sample of them. Without TensorFlow.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.audio import load_utterance
from asr.audio.loudness import LoudnessMeter
from asr.audio.probing import probe_all
from asr.augment import noise_files
from asr.corpora.naming import split_word
from asr.errors import AudioError, DataError
from asr.manifest import Utterance
from asr.terminal import plural
from asr.text import normalize
from asr.text.evidence import marks_that_are_letters
from asr.text.evidence import report as about

NOISE_SAMPLE = 40  # utterances whose noise is measured
QUIET, LOUD = 10, 90  # percentiles of the loudness, taken as noise and speech


@dataclass(frozen=True)
class Survey:
    """What the data are.

    Attributes:
        hours: hours of training speech.
        num_utterances: rows of training.
        speakers: speakers of training; empty where the corpus names none.
        shared_speakers: in training and in development data.
        rates: Hz to recordings, the most frequent first.
        seconds: (N,) lengths of the training utterances.
        valid_seconds: (M,) those of the development data.
        num_foreign: development texts with characters that those of training lack.
        num_empty: texts of training, and of development, of which the normaliser leaves nothing.
        normalizer: basic or marks, see `asr.text.evidence`, or what was asked for.
        characters: characters of the normalised training texts, with counts.
        words: the same of words.
        labels: (N,) characters of each normalised text, plus its repeats.
        valid_labels: (M,) those of the development data.
        noise_db: median distance of speech and quiet in dB; None if it could not be measured.
        unreadable: ids of training, and of development, utterances whose recordings cannot be
            read, with what is wrong with each.
        num_cut: recordings that are cut, of which what is left is used.
        about_texts: sentences on what the normaliser drops.
    """

    hours: float
    num_utterances: int
    speakers: frozenset[str]
    shared_speakers: frozenset[str]
    rates: dict[int, int]
    seconds: np.ndarray
    valid_seconds: np.ndarray
    num_foreign: int
    num_empty: tuple[int, int]
    normalizer: str
    characters: Counter[str]
    words: Counter[str]
    labels: np.ndarray
    valid_labels: np.ndarray
    noise_db: float | None
    unreadable: tuple[dict[str, str], dict[str, str]]
    num_cut: int = 0
    about_texts: tuple[str, ...] = ()

    @property
    def words_per_text(self) -> float:
        """The mean."""
        return sum(self.words.values()) / self.num_utterances

    @property
    def rate(self) -> int:
        """Hz of most recordings."""
        return next(iter(self.rates))


def survey(train: Sequence[Utterance], valid: Sequence[Utterance],
           normalizer: str | None = None, allow_truncated: bool = False) -> Survey:
    """Look at texts, headers and some recordings.

    Args:
        train, valid: utterances to train on, and to validate with.
        normalizer: None: basic or marks, by evidence.
        allow_truncated: see `asr.audio.load_audio`.

    Raises:
        DataError: no recording of one of the two can be read, or no text has a letter.
    """
    probes = probe_all({u.audio for u in (*train, *valid)}, allow_truncated=allow_truncated)
    rates = Counter(probes[u.audio].info.sample_rate for u in train   # type: ignore[union-attr]
                    if probes[u.audio].info)
    bad = [{u.id: str(probes[u.audio].error) for u in rows if probes[u.audio].info is None}
           for rows in (train, valid)]
    for what, rows, failed in zip(("training", "development"), (train, valid), bad, strict=True):
        if len(failed) == len(rows):
            raise DataError(f"None of {plural(len(rows), f'{what} recording')} can be read; "
                            f"the first: {probes[rows[0].audio].error}", path=rows[0].audio)
    texts = [u.text for u in train]
    normalizer = normalizer or ("marks" if marks_that_are_letters(texts) else "basic")
    normalized = [normalize(text, normalizer) for text in texts]
    characters = Counter("".join(normalized))
    if not characters.keys() - {" "}:
        raise DataError(f"None of {plural(len(train), 'text')} has a letter or a digit, the "
                        f"first is {texts[0][:60]!r}. Write down what is said.",
                        path=train[0].audio)
    valid_texts = [normalize(u.text, normalizer) for u in valid]
    foreign = sum(bool(set(text) - {*characters, " "}) for text in valid_texts)
    empty = tuple(sum(not text.strip() for text in found) for found in (normalized, valid_texts))
    speakers = frozenset(u.speaker for u in train if u.speaker)
    return Survey(
        sum(u.duration for u in train) / 3_600, len(train), speakers,
        speakers & {u.speaker for u in valid}, dict(rates.most_common()),
        np.array([u.duration for u in train]), np.array([u.duration for u in valid]), foreign,
        (empty[0], empty[1]), normalizer, characters,
        Counter(word for text in normalized for word in text.split()),
        _labels(normalized), _labels(valid_texts),
        _noise(train, allow_truncated), (bad[0], bad[1]), sum(p.cut for p in probes.values()),
        tuple(about(texts, normalizer)))


@dataclass(frozen=True)
class Sounds:
    """A manifest of sounds in which nothing is said.

    Args:
        seconds: (num_utterances,) of each.
        folder: the one that holds their recordings and no others, which may be mixed under speech;
            None: there is no such folder.
    """

    seconds: np.ndarray
    folder: Path | None


def non_speech(rows: Sequence[Utterance], manifest: Path) -> Sounds:
    """What a manifest of sounds in which nothing is said holds.

    Raises:
        DataError: there is none, or one has a text; the manifest is named.
    """
    for row in rows:
        if row.text:
            raise DataError(f"{manifest}: {row.id} has a text, {row.text[:60]!r}; expected sounds "
                            "in which nothing is said, as `asr prepare noise` writes them.",
                            path=manifest)
    if not rows:
        raise DataError(f"{manifest} holds no utterance.", path=manifest)
    return Sounds(np.array([row.duration for row in rows]), _folder_of(rows))


def _folder_of(rows: Sequence[Utterance]) -> Path | None:
    """The folder with exactly these recordings, from the working directory if it is below it.

    None, too, if the working directory is in it.
    """
    if not all(isinstance(row.audio, Path) for row in rows):
        return None
    recordings = {os.path.realpath(str(row.audio)) for row in rows}
    folder = os.path.commonpath([os.path.dirname(path) for path in recordings])
    if Path.cwd().is_relative_to(folder):  # such as /, where the search could take minutes
        return None
    if {os.path.realpath(path) for path in noise_files(folder)} != recordings:
        return None
    near = os.path.relpath(folder)
    return Path(folder if near.startswith(os.pardir) else near)


def _labels(texts: Sequence[str]) -> np.ndarray:
    return np.array([len(t) + sum(a == b for a, b in zip(t, t[1:], strict=False)) for t in texts])


def _noise(rows: Sequence[Utterance], allow_truncated: bool) -> float | None:
    distances = []
    for row in rows[::max(1, len(rows) // NOISE_SAMPLE)]:
        try:
            audio = load_utterance(row, sample_rate=8_000, allow_truncated=allow_truncated)
        except AudioError:
            continue
        meter = LoudnessMeter(8_000)
        for _ in meter.listen([audio]):
            pass
        powers = meter.powers[meter.powers > 10 ** -8.5]   # digital silence is no room
        if len(powers) >= 10:
            quiet, loud = np.percentile(powers, [QUIET, LOUD])
            distances.append(10 * np.log10(loud / quiet))
    return float(np.median(distances)) if distances else None


def find_manifests(data: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Manifests to train on and to validate with, as `asr prepare` names them.

    Args:
        data: folders with train.jsonl and dev.jsonl or valid.jsonl, or manifests; those with dev
            or val in their names validate, those with test or eval are left for the end, the others
            train.

    Raises:
        DataError: a path does not exist, or one of the two is missing.
    """
    for path in data:
        if not path.exists():
            raise DataError(f"{path} does not exist; expected a folder as `asr prepare` writes it, "
                            "or manifests.", path=path)
    files = [file for path in data for file in (sorted(path.glob("*.jsonl")) if path.is_dir()
                                                else [path])]
    valid = [p for p in files if split_word(p.stem).startswith(("dev", "val"))]
    train = [p for p in files if p not in valid
             and not split_word(p.stem).startswith(("test", "eval"))]
    where = ", ".join(map(str, data))
    if not train:
        raise DataError(f"{where} holds no manifest to train on; expected a folder with "
                        "train.jsonl, as `asr prepare` writes it.", path=where)
    if not valid:
        raise DataError(f"{where} holds no manifest to validate with; prepare the data again with "
                        "--split speaker --dev 10%, or add a dev.jsonl.", path=where)
    return train, valid
