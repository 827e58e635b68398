"""Free Spoken Digit Dataset: isolated English digits, 8 kHz, trimmed.

    recordings/7_jackson_32.wav        {digit}_{speaker}_{take}.wav or .flac

Official test set: takes 0 to 4; train: the rest. Both hold the same speakers, so a result on it
says nothing about a new voice. `hold_out` and `leave_one_speaker_out` give the honest split.
Source: https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from asr.audio import load_audio
from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.download import Package
from asr.corpora.tables import corpus_folder
from asr.errors import AudioError, CorpusError, UsageError
from asr.manifest import Utterance

SUMMARY = "Free Spoken Digit Dataset: isolated English digits"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAMPLE_RATE = 8_000  # Hz
OFFICIAL_TEST_TAKES = range(0, 5)

_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)")
_MEMBERS = ("recordings/*.wav", "README.md", "LICENSE*", "metadata.py")
_SITE = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/"

# v1.0.9 (2,500 clips, 5 speakers): size and SHA-256 as published by TensorFlow Datasets
# (audio/spoken_digit/checksums.tsv); not downloaded by us. v1.0.10 (6 speakers): no checksum
# of this archive is published, so there is none here.
DEFAULT_PART = "v1.0.9"
PARTS = {
    "v1.0.9": Package(_SITE + "v1.0.9.tar.gz", "recordings", _MEMBERS, strip=1, size=11_975_353,
                      sha256="8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0"),
    "v1.0.10": Package(_SITE + "v1.0.10.tar.gz", "recordings", _MEMBERS, strip=1),
}


def prepare(corpus_dir: str | Path, *, hold_out: str = "", trim_db: float = 0.0,
            checks: Checks | None = None) -> Imported:
    """The official splits, or one speaker against the others.

    Args:
        corpus_dir: the folder that holds `recordings/`, or that folder itself.
        hold_out: a speaker; all takes of it become `test`, all of the others `train`.
        trim_db: keep the first word alone, so many dB above the background of the recording; 0
            keeps all. For recordings with silence, or the start of another word, behind it.
        checks: limits of duration.

    Raises:
        CorpusError: there are no recordings.
        UsageError: no speaker is called `hold_out`.
    """
    folder = corpus_folder(corpus_dir, "the folder with FSDD's recordings/")
    if (folder / "recordings").is_dir():
        folder = folder / "recordings"
    items = list(_candidates(folder, trim_db))
    if not items:
        raise CorpusError(f"{folder} holds no .wav or .flac file; expected "
                          "{digit}_{speaker}_{take}.wav, such as 7_jackson_32.wav.", path=folder)
    if hold_out:
        speakers = sorted({item.speaker for item in items if isinstance(item, Candidate)})
        if hold_out not in speakers:
            raise UsageError(f"No speaker is called {hold_out!r}; there are "
                             f"{', '.join(speakers)}.")
        items = [replace(item, split="test" if item.speaker == hold_out else "train")
                 if isinstance(item, Candidate) else item for item in items]
    return collect(items, checks or Checks())


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return any(re.match(r"\d_\w+_\d+\.(wav|flac)", p.name) for p in path.glob("recordings/*.*"))


def first_word(audio: np.ndarray, sample_rate: int, above_db: float) -> tuple[float, float] | None:
    """Where the first word of a recording is.

    Args:
        audio: (num_samples,) float32; what lies below 120 Hz is not looked at.
        sample_rate: Hz.
        above_db: dB above the background, the 40th percentile of the levels of 10 ms.

    Returns:
        Start and end in seconds, with up to 0.1 s around the word; None without speech. A pause
        of more than 0.2 s ends the word.
    """
    size = sample_rate // 100
    count = len(audio) // size
    if count < 10:
        return None
    from scipy.signal import butter, sosfiltfilt

    sections = butter(4, 120, "highpass", fs=sample_rate, output="sos")
    frames = sosfiltfilt(sections, audio)[:count * size].reshape(count, size)
    level = 10 * np.log10(np.convolve(np.square(frames).mean(axis=1), np.ones(3) / 3, "same")
                          + 1e-12)
    loud = np.flatnonzero(level > max(np.percentile(level, 40) + above_db, level.max() - 35))
    if not len(loud):
        return None
    pauses = np.flatnonzero(np.diff(loud) > 20)
    last = int(loud[pauses[0]] if len(pauses) else loud[-1])
    # Never 0: a row without an offset means the whole recording.
    return max(0.001, (int(loud[0]) - 10) / 100), min(count, last + 11) / 100


def leave_one_speaker_out(
        utterances: Iterable[Utterance]) -> Iterator[tuple[str, list[Utterance], list[Utterance]]]:
    """Every fold: (speaker, all utterances of the others, all utterances of this speaker).

    Args:
        utterances: all takes of all speakers: both splits of `prepare` together.
    """
    utterances = list(utterances)
    for speaker in sorted({utterance.speaker for utterance in utterances}):
        yield (speaker, [u for u in utterances if u.speaker != speaker],
               [u for u in utterances if u.speaker == speaker])


def _candidates(folder: Path, trim_db: float) -> Iterator[Candidate | Excluded]:
    for path in sorted([*folder.glob("*.wav"), *folder.glob("*.flac")]):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            yield Excluded("failed", path.stem, path.name, str(path), "corpus.name",
                           f"{path.name}: expected {{digit}}_{{speaker}}_{{take}}.wav.")
            continue
        split = "test" if int(match["take"]) in OFFICIAL_TEST_TAKES else "train"
        found = Candidate(split, f"fsdd_{path.stem}", path, DIGITS[int(match["digit"])], path.name,
                          speaker=match["speaker"])
        yield _trimmed(found, trim_db) if trim_db else found


def _trimmed(found: Candidate, trim_db: float) -> Candidate | Excluded:
    """The same recording, its first word alone."""
    try:
        audio = load_audio(found.audio, sample_rate=SAMPLE_RATE)
    except AudioError as error:
        return Excluded("failed", found.id, found.source, str(found.audio), error.code,
                        error.message)
    place = first_word(audio, SAMPLE_RATE, trim_db)
    if place is None:
        return Excluded("failed", found.id, found.source, str(found.audio), "corpus.silent",
                        f"{found.source}: nothing is {trim_db:g} dB above the background.")
    return replace(found, offset=place[0], duration=place[1] - place[0])
