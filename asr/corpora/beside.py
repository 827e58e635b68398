"""Recordings with an annotation file of the same name beside them.

In: a folder. Out: (recording, annotation file) pairs and candidates, for the layouts `folder`,
`textgrid`, `elan`, `audacity` and `subtitles`.

A subfolder train, dev, val, test or such is the split; the subfolder right above a recording is the
speaker, if it is not the split.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from asr.annotations import Labelled, Tiers
from asr.audio.source import OTHER_MEDIA, is_recording
from asr.corpora.collect import EACH, SHOWN, Candidate, Checks, Excluded, LeftAlone, told_apart
from asr.corpora.naming import SPLIT_WORDS, split_word, unique_names
from asr.corpora.tables import corpus_folder
from asr.errors import CorpusError, DataError, UsageError
from asr.terminal import plural

Content = TypeVar("Content")

# Names of tiers that hold what is said, in the order of preference.
TIER_NAMES = ("utterance", "utterances", "transcription", "transcript", "text", "phrase",
              "phrases", "sentence", "sentences", "ort", "orthography", "words", "word")


@dataclass(frozen=True)
class Pair:
    """A recording and the file with what is said in it.

    Attributes:
        audio: the recording.
        annotation: the file beside it; None where there is none.
        split, speaker: split and speaker of the folders above; the speaker may be empty.
        name: unique in the corpus.
    """

    audio: Path
    annotation: Path | None
    split: str
    speaker: str
    name: str

    @property
    def source(self) -> str:
        """Where the text comes from, for messages."""
        return (self.annotation or self.audio).name

    def without(self, what: str) -> Excluded:
        """The pair as a recording without the annotation that is wanted."""
        return Excluded("invalid_text", self.name, self.source, str(self.audio), "text.missing",
                        f"{self.audio.name}: there is no {what} of the same name beside it.")

    def failed(self, error: DataError) -> Excluded:
        """The pair with the reason why its annotation cannot be read."""
        return Excluded("failed", self.name, self.source, str(self.audio), error.code,
                        error.message)


def find_pairs(corpus_dir: str | Path, suffixes: Sequence[str], wanted: str,
               notes: list[str] | None = None) -> list[Pair]:
    """Every recording below a folder, with the file beside it that has one of the suffixes.

    Args:
        corpus_dir: the folder.
        suffixes: file endings of annotation files, in the order of preference; any capitalisation.
        wanted: what the folder should look like, for messages.
        notes: gets sentences on annotation files without a recording, and on other media.

    Raises:
        CorpusError: no folder, or no recording in it has such a file.
    """
    root = corpus_folder(corpus_dir, wanted)
    found: list[tuple[Path, Path | None]] = []
    alone: list[str] = []
    media: list[str] = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name[:1] != ".")
        beside = {_alike(name): name for name in files}
        for name in sorted(files):
            if name[:1] == "." or not is_recording(name):
                continue
            stem = os.path.splitext(name)[0]
            note = next((beside[key] for suffix in suffixes for key in (
                _alike(stem + suffix), _alike(name + suffix)) if key in beside), None)
            found.append((Path(folder) / name, None if note is None else Path(folder) / note))
        known = {_alike(part) for name in files if is_recording(name)
                 for part in (name, os.path.splitext(name)[0])}
        for name in (name for name in sorted(files) if name[:1] != "."):
            path = Path(folder, name).relative_to(root).as_posix()
            if any(_alike(name).endswith(suffix.casefold())
                   and _alike(name[:-len(suffix)]) not in known for suffix in suffixes):
                alone.append(path)
            if os.path.splitext(name)[1].lower() in OTHER_MEDIA:
                media.append(path)
    if not any(note for _, note in found):
        raise CorpusError(f"{corpus_dir} holds {plural(len(found), 'recording')} and none has a "
                          f"{' or '.join(suffixes)} file beside it; expected {wanted}.",
                          path=corpus_dir)
    if notes is not None:
        notes += [LeftAlone(names, reason) for names, reason in (
            (alone, "there is no recording of the same name beside them; copy or rename it"),
            (media, "recordings of this kind are not read; convert them: ffmpeg -i INPUT -ar 16000 "
                    "-ac 1 OUTPUT.wav")) if names]
    relative = [audio.relative_to(root) for audio, _ in found]
    names = unique_names(path.as_posix() for path in relative)
    return [_pair(audio, note, path, names[path.as_posix()])
            for (audio, note), path in zip(found, relative, strict=True)]


def _alike(name: str) -> str:
    """The same for a name in other capitals, and with é as one character or as two, as macOS."""
    return unicodedata.normalize("NFC", name).casefold()


def _pair(audio: Path, note: Path | None, relative: Path, name: str) -> Pair:
    folders = list(relative.parts[:-1])
    split = "train"
    if folders and folders[0].casefold() in SPLIT_WORDS:
        split = split_word(folders.pop(0).casefold())
    return Pair(audio, note, split, folders[-1] if folders else "", name)


def has_pair(path: Path, suffixes: Sequence[str]) -> bool:
    """Whether a folder, or a subfolder of it, has a recording with such a file beside it."""
    try:
        find_pairs(path, suffixes, "")
    except CorpusError:
        return False
    return True


def annotated(pairs: Iterable[Pair], what: str, read: Callable[[Path], Content],
              candidates: Callable[[Pair, Content], Iterable[Candidate | Excluded]]
              ) -> Iterator[Candidate | Excluded]:
    """The utterances of all pairs; pairs without an annotation that can be read are excluded.

    Args:
        pairs: recordings with annotation files.
        what: the kind of file, for messages.
        read: gives what an annotation file holds, or raises DataError.
        candidates: makes utterances of it.
    """
    for pair in pairs:
        if pair.annotation is None:
            yield pair.without(what)
            continue
        try:
            content = read(pair.annotation)
        except DataError as error:
            yield pair.failed(error)
            continue
        yield from candidates(pair, content)


def timed(pair: Pair, rows: Sequence[tuple[Labelled, str, int]]) -> Iterator[Candidate | Excluded]:
    """One utterance a labelled interval: (interval, speaker, channel; 0 is the mix of all)."""
    if not rows:
        yield Excluded("invalid_text", pair.name, pair.source, str(pair.audio), "text.empty",
                       f"{pair.source} has no label.")
    yield from told_apart(
        Excluded("failed", f"{pair.name}-{start:.3f}", f"{pair.source}:{start:.3f}",
                 str(pair.audio), "annotation.point", f"{pair.source}: the label {text[:60]!r} "
                 f"is a point at {start:.3f} s, without duration.") if start == end else
        Candidate(pair.split, f"{pair.name}-{start:.3f}{f'-{channel}' * (channel > 0)}", pair.audio,
                  " ".join(text.split()), f"{pair.source}:{start:.3f}", speaker or pair.speaker,
                  start, end - start, channel, is_part=True)
        for (start, end, text), speaker, channel in rows)


def tier_candidates(pairs: Iterable[Pair], tiers: tuple[str, ...], checks: Checks, what: str,
                    read: Callable[[Path], tuple[Tiers, dict[str, str]]], notes: list[str]
                    ) -> Iterator[Candidate | Excluded]:
    """The utterances of tiers: those that are named, or the one that must be meant.

    Args:
        pairs: recordings with annotation files.
        tiers: names; empty: the only tier with labels, or the one with a usual name. Of several,
            each is one speaker.
        checks: whose `channel` may say that the n-th tier is about the n-th channel.
        what: the kind of file, for messages.
        read: gives tiers and {tier: speaker}.
        notes: gets which tiers were taken.

    Raises:
        UsageError: it is not clear which tier is meant, or no file has a tier of that name.
    """
    used: dict[str, int] = dict.fromkeys(tiers, 0)
    names: dict[str, None] = {}  # of tiers with labels

    def of_pair(pair: Pair, content: tuple[Tiers, dict[str, str]]
                ) -> Iterator[Candidate | Excluded]:
        found, speakers = content
        names.update(dict.fromkeys(tier for tier in found if found[tier]))
        chosen = [t for t in tiers if t in found] if tiers else _usual(found, pair.source)
        if not any(found[tier] for tier in chosen):
            yield Excluded("invalid_text", pair.name, pair.source, str(pair.audio), "text.empty",
                           f"{pair.source} has no label in "
                           f"{'the tiers ' + ', '.join(tiers) if tiers else 'any tier'}.")
            return
        rows = []
        for number, tier in enumerate(chosen, start=1):
            used[tier] = used.get(tier, 0) + len(found[tier])
            speaker = speakers.get(tier) or (tier if len(tiers) > 1 else "")
            channel = number if checks.channel == EACH else 0
            rows += [(interval, speaker, channel) for interval in found[tier]]
        yield from timed(pair, rows)

    yield from annotated(pairs, what, read, of_pair)
    unused = [tier for tier in tiers if not used[tier]]
    if unused:
        some = ", ".join(map(repr, list(names)[:SHOWN])) + ", ..." * (len(names) > SHOWN)
        raise UsageError(f"No file has a tier {unused[0]!r} with labels; there "
                         f"{'are ' + some if names else 'is none'}. Names are case-sensitive; "
                         "points have no duration.")
    notes.append("Tiers: " + ", ".join(f"{tier} ({plural(count, 'label')})"
                                       for tier, count in used.items()))


def _usual(found: Tiers, source: str) -> list[str]:
    filled = [tier for tier, intervals in found.items() if intervals]
    if len(filled) <= 1:
        return filled
    for name in TIER_NAMES:
        same = [tier for tier in filled if tier.casefold() == name]
        if same:
            return same[:1]
    raise UsageError(f"{source} has the tiers {', '.join(filled)}; name the one with what is said: "
                     f"--tier {filled[0]!r} (repeat the option where each speaker has a tier).")
