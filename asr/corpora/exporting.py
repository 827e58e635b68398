"""A manifest in the layouts of other programs: lhotse, Kaldi, NeMo, Hugging Face, DeepSpeech.

In: utterances and the name of their split. Out: a new folder, written whole or not at all, that
`asr prepare` reads back as the same utterances. What a layout cannot say is an error that names the
row; nothing is left out. Paths of recordings become absolute; only Hugging Face copies them.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from asr.audio import AudioInfo, probe_audio
from asr.audio.source import open_regular
from asr.audio.tar import split_path
from asr.errors import DataError, UsageError
from asr.files import place_new, staging_beside, write_atomic
from asr.manifest import Utterance, duration_tolerance
from asr.manifest.address import Address, split_part

_SPACE = re.compile(r"\s")

Probe = Callable[[Path | Address], AudioInfo]


def export_manifest(utterances: Sequence[Utterance], folder: str | Path, layout: str, *,
                    split: str = "train", allow_truncated: bool = False) -> Path:
    """Write a manifest in another layout.

    Args:
        utterances: at least one.
        folder: made new; its parent must exist.
        layout: one of `LAYOUTS`.
        split: what the layout calls this part of the corpus.
        allow_truncated: see `asr.audio.probe_audio`.

    Returns:
        The folder.

    Raises:
        UsageError: an unknown layout, or the folder exists.
        DataError: a row that the layout has no place for.
        AudioError: a recording that must be looked at and cannot be read.
    """
    folder = Path(folder)
    if layout not in LAYOUTS:
        raise UsageError(f"There is no layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    if os.path.lexists(folder):
        raise UsageError(f"{folder} exists and is kept. Name a new folder.", path=folder)
    if not folder.absolute().parent.is_dir():
        raise UsageError(f"{folder.parent} is no folder. Make it first.", path=folder.parent)
    with staging_beside(folder) as staging:
        (made := staging / folder.name).mkdir()
        LAYOUTS[layout](utterances, made, split,
                        partial(probe_audio, allow_truncated=allow_truncated))
        place_new(made, folder)
    return folder


def _lhotse(utterances: Sequence[Utterance], folder: Path, split: str, probe: Probe) -> None:
    """recordings_SPLIT.jsonl.gz and supervisions_SPLIT.jsonl.gz; channels count from 0."""
    recordings: dict[str, dict] = {}
    supervisions = []
    for u, (recording, audio) in zip(utterances, _recording_ids(utterances), strict=True):
        if recording not in recordings:
            info = probe(u.audio)
            recordings[recording] = {
                "id": recording, "sources": [{
                    "type": "url" if isinstance(u.audio, Address) else "file",
                    "channels": list(range(info.channels)), "source": audio}],
                "sampling_rate": info.sample_rate, "num_samples": info.num_samples,
                "duration": info.duration, "channel_ids": list(range(info.channels))}
        channels = recordings[recording]["channel_ids"]
        channel = u.channel - 1 if u.channel else 0 if len(channels) == 1 else channels
        supervisions.append({"id": u.id, "recording_id": recording, "start": u.offset,
                             "duration": u.duration, "channel": channel, "text": u.text}
                            | ({"speaker": u.speaker} if u.speaker else {}))
    for kind, rows in (("recordings", recordings.values()), ("supervisions", supervisions)):
        packed = gzip.compress(_json_lines(rows).encode(), mtime=0)
        write_atomic(folder / f"{kind}_{split}.jsonl.gz", packed)


def _kaldi(utterances: Sequence[Utterance], folder: Path, split: str, _: Probe) -> None:
    """SPLIT/ with wav.scp, segments, text, utt2spk and spk2utt, sorted by bytes."""
    tables: dict[str, dict[str, str]] = {name: {} for name in (
        "wav.scp", "segments", "text", "utt2spk", "spk2utt")}
    for u, (recording, audio) in zip(utterances, _recording_ids(utterances), strict=True):
        _refuse_channel(u, "Kaldi")
        speaker = u.speaker or u.id
        for what, name in (("id", u.id), ("speaker", speaker), ("id of a recording", recording)):
            if _SPACE.search(name):
                raise _misfit(u, f"Kaldi allows no space in the {what} {name!r}")
        if audio.endswith("|") or isinstance(u.audio, Address):
            raise _misfit(u, f"Kaldi would run {audio!r} as a command, or cannot open it")
        tables["wav.scp"][recording] = audio
        tables["segments"][u.id] = f"{recording} {u.offset!r} {round(u.offset + u.duration, 6)!r}"
        tables["text"][u.id] = " ".join(u.text.split())
        tables["utt2spk"][u.id] = speaker
        tables["spk2utt"][speaker] = f"{tables['spk2utt'].get(speaker, '')} {u.id}".strip()
    (folder / split).mkdir()
    for name, rows in tables.items():
        ordered = sorted(rows.items(), key=lambda row: row[0].encode())
        write_atomic(folder / split / name, "".join(f"{key} {value}\n" for key, value in ordered))


def _nemo(utterances: Sequence[Utterance], folder: Path, split: str, _: Probe) -> None:
    """SPLIT.json, one object a line; NeMo passes over the keys that it does not know."""
    rows = []
    for u in utterances:
        _refuse_channel(u, "NeMo")
        row = {"audio_filepath": _audio(u), "text": u.text, "duration": u.duration, "id": u.id}
        rows.append(row | ({"offset": u.offset} if u.offset else {})
                    | ({"speaker": u.speaker} if u.speaker else {}))
    write_atomic(folder / f"{split}.json", _json_lines(rows))


def _deepspeech(utterances: Sequence[Utterance], folder: Path, split: str, probe: Probe) -> None:
    """SPLIT.csv; a row is a whole recording, without speaker and id."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("wav_filename", "wav_filesize", "transcript"))
    for u in utterances:
        _refuse_part(u, "DeepSpeech", probe)
        writer.writerow((_audio(u), os.stat(u.audio).st_size, " ".join(u.text.split())))
    write_atomic(folder / f"{split}.csv", text.getvalue())


def _huggingface(utterances: Sequence[Utterance], folder: Path, split: str, probe: Probe) -> None:
    """An audiofolder: SPLIT/metadata.jsonl and copies of the recordings beside it."""
    (folder / split / "audio").mkdir(parents=True)
    rows = []
    for number, u in enumerate(utterances):
        _refuse_part(u, "Hugging Face's audiofolder", probe)
        name = f"audio/{number:07d}{u.audio.suffix.lower()}"
        with open_regular(u.audio) as file, open(folder / split / name, "xb") as copy:
            shutil.copyfileobj(file, copy)
        rows.append({"file_name": name, "transcription": u.text, "id": u.id,
                     "speaker": u.speaker})
    write_atomic(folder / split / "metadata.jsonl", _json_lines(rows))


LAYOUTS: dict[str, Callable[[Sequence[Utterance], Path, str, Probe], None]] = {
    "lhotse": _lhotse, "kaldi": _kaldi, "nemo": _nemo, "huggingface": _huggingface,
    "deepspeech": _deepspeech}


def _recording_ids(utterances: Sequence[Utterance]) -> list[tuple[str, str]]:
    """(id, place) of each row's recording: the id is that of its first utterance."""
    first: dict[str, str] = {}
    return [(first.setdefault(place, u.id), place) for u, place in
            ((u, _audio(u)) for u in utterances)]


def _audio(u: Utterance) -> str:
    """The absolute path or address, which must be a line of text and no part of a tar file."""
    place = str(u.audio)
    if split_path(u.audio) if isinstance(u.audio, Path) else split_part(place)[1]:
        raise _misfit(u, f"{place} is in a tar file, which other programs do not open by a path; "
                      "export the manifest that was packed")
    try:
        place.encode("utf-8")
    except UnicodeEncodeError:
        raise _misfit(u, f"the name {place!a} is not UTF-8") from None
    if "\n" in place or "\r" in place:
        raise _misfit(u, f"the name {place!r} has more than one line")
    return place


def _refuse_channel(u: Utterance, layout: str) -> None:
    if u.channel:
        raise _misfit(u, f"{layout} has no place for channel {u.channel} of a recording")


def _refuse_part(u: Utterance, layout: str, probe: Probe) -> None:
    _refuse_channel(u, layout)
    if isinstance(u.audio, Address):
        raise _misfit(u, f"{layout} needs files, and {u.audio} is an address")
    seconds = probe(u.audio).duration
    if u.offset or abs(seconds - u.duration) > duration_tolerance(u.duration):
        raise _misfit(u, f"{layout} has whole recordings, and this row is {u.duration:g} s from "
                      f"{u.offset:g} s on of {seconds:g} s")


def _misfit(u: Utterance, reason: str) -> DataError:
    return DataError(f"Utterance {u.id!r}: {reason}. Choose another layout (lhotse has room for "
                     "everything), or change the row. Nothing was written.", code="export.row",
                     path=u.audio)


def _json_lines(rows: Iterable[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
