"""Manifests as tar shards: a million small recordings become a thousand large files.

In: utterances by the name of their manifest. Out: a new folder, written whole or not at all:

    train-000000.tar      yes_0017.flac, yes_0017.json, ...   WebDataset: files of one key are a row
    train.jsonl           the manifest; its recordings are train-000000.tar/yes_0017.flac and so on
    train.remote.jsonl    the same rows at an address, if one is given
    shards.json           how it was made
    SHA256SUMS            for `sha256sum -c`

The bytes of each recording are those of its file, so features and transcripts are the same. A
recording of which a manifest has several parts is there once. Shards grow in a hidden folder beside
the new one; the same arguments go on there after an interruption. With `upload` each shard goes to
the address when it is full, and train-000000.json stays here: which of its bytes are which file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr.audio.objects import Objects
from asr.audio.source import is_recording, open_regular, open_source, reading
from asr.audio.tar import MAX_MEMBERS, SUFFIX, list_members
from asr.errors import AsrError, AudioError, UsageError
from asr.files import alone, place_new, sha256_file, told_of, write_atomic
from asr.manifest import Utterance, manifest_content
from asr.manifest.address import Address, is_address
from asr.parsing import StrictJsonError, parse_json

RECORD, SUMS = "shards.json", "SHA256SUMS"
FORMAT = 1
DEFAULT_BYTES = 500_000_000
MAX_RECORDINGS = MAX_MEMBERS // 2  # in a shard: each has a row beside it
MAX_KEY = 80  # characters: of 100 that every reader of tar files knows

_ODD = re.compile(r"[^A-Za-z0-9_-]")  # WebDataset cuts a key at its first dot
_SHARD = re.compile(r"(.*)-[0-9]{6,}\.tar", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")  # in an address as it is
_CHUNK = 1 << 20
_BLOCK = 512

Progress = Callable[[int, int], None]  # recordings done, recordings in all


@dataclass(frozen=True)
class Settings:
    """How manifests are packed.

    Args:
        seed: decides the order of the recordings; None keeps that of the manifest.
        shard_bytes: a shard is full when its recordings have so many bytes.
        shard_recordings: or when there are so many of them; 0: up to `MAX_RECORDINGS`.
        address: folder to which the shards will be copied, such as "s3://speech/shards"; "":
            none.
        upload: copy them there, to s3:// or gs://, and keep none of them here.
    """

    seed: int | None = 0
    shard_bytes: int = DEFAULT_BYTES
    shard_recordings: int = 0
    address: str = ""
    upload: bool = False


@dataclass(frozen=True)
class _Recording:
    """One recording, its name in a shard, and the rows that use it."""

    audio: Path | Address
    key: str
    suffix: str
    rows: tuple[Utterance, ...]

    @property
    def member(self) -> str:
        return self.key + self.suffix


def write_shards(manifests: Mapping[str, Sequence[Utterance]], folder: str | Path,
                 settings: Settings | None = None, *, progress: Progress | None = None
                 ) -> dict[str, int]:
    """Pack manifests and their recordings into tar shards.

    Args:
        manifests: rows by name, such as "train"; each gets its own shards.
        folder: made new; its parent must exist.
        settings: order and sizes.
        progress: called with (recordings done, recordings in all).

    Returns:
        Shards by name.

    Raises:
        UsageError: the folder exists, an interrupted run had other arguments, or the address is
            none, or cannot be written or has shards of these names.
        AsrError: a shard cannot be uploaded; the same arguments go on with it.
        AudioError: a recording cannot be read; nothing appears, and finished shards are kept for
            the next run.
    """
    settings = settings or Settings()
    given, folder = Path(folder), Path(os.path.realpath(folder))
    _check(folder, settings, manifests)
    far = Objects(settings.address) if settings.upload else None
    work = folder.with_name(f".{folder.name}.asr-shards")
    with told_of(given, work.name), alone(_made(work)):
        _refuse_existing(folder)
        if far and not (work / RECORD).exists():
            _refuse_taken(far, manifests)
        packed = {name: _in_order(rows, settings.seed) for name, rows in manifests.items()}
        _claim(work, {"format": FORMAT, "seed": settings.seed,
                      "shard_bytes": settings.shard_bytes,
                      "shard_recordings": settings.shard_recordings, "address": settings.address,
                      **({"upload": True} if far else {}),
                      "manifests": {name: _digest(some) for name, some in packed.items()}})
        total, done, sums, counts = sum(map(len, packed.values())), 0, [], {}
        for name, recordings in packed.items():
            counts[name] = 0
            for tar, some, digest in _pack(work, folder, name, recordings, settings, far):
                counts[name] += 1
                sums.append(f"{digest}  {tar.name}\n")
                done += len(some)
                if progress:
                    progress(done, total)
        write_atomic(work / SUMS, "".join(sums))
        place_new(work, folder)
    return counts


def _made(work: Path) -> Path:
    """The folder of an unfinished run, made if this is the first."""
    work.mkdir(exist_ok=True)
    return work


def _pack(work: Path, folder: Path, name: str, recordings: list[_Recording], settings: Settings,
          far: Objects | None) -> Iterator[tuple[Path, list[_Recording], str]]:
    """The shards of one manifest, with SHA-256, and then the manifest itself."""
    rows: list[Utterance] = []
    remote: list[Utterance] = []
    for tar, some, places, digest in _fill(work, name, recordings, settings, far):
        if not far:
            rows += _moved(some, lambda one, tar=tar: folder / tar.name / one.member)
        if settings.address:
            there = f"{settings.address.rstrip('/')}/{tar.name}"
            remote += _moved(some, lambda one, places=places, there=there: Address(
                f"{there}#bytes={places[one.member].start}-{places[one.member].stop - 1}"))
        yield tar, some, digest
    for path, some in ((f"{name}.jsonl", rows), (f"{name}.remote.jsonl", remote)):
        if some:
            write_atomic(work / path, manifest_content(folder / path, some))


def _moved(recordings: Iterable[_Recording], place: Callable[[_Recording], Path | Address]
           ) -> Iterator[Utterance]:
    for one in recordings:
        audio = place(one)
        for row in one.rows:
            yield replace(row, audio=audio)


def _check(folder: Path, settings: Settings, names: Collection[str]) -> None:
    if not folder.parent.is_dir():
        raise UsageError(f"{folder.parent} is no folder. Make it first.", path=folder.parent)
    _refuse_existing(folder)
    if settings.address and not (is_address(settings.address)
                                 and all(map(_PLAIN.fullmatch, names))):
        raise UsageError(f"--address {settings.address}: expected the address of a folder, such as "
                         "s3://speech/shards, and manifests whose names have only letters, digits, "
                         "dots, - and _.")
    if settings.address and (taken := {f"{name}.remote" for name in names} & set(names)):
        raise UsageError(f"With --address, {min(taken)}.jsonl is written by this command. "
                         "Rename the manifest.")


def _refuse_existing(folder: Path) -> None:
    if os.path.lexists(folder):
        raise UsageError(f"{folder} exists and is kept. Name a new folder.", path=folder)


def _refuse_taken(far: Objects, names: Collection[str]) -> None:
    """Refuse an address that cannot be listed, or that has shards of these names."""
    try:
        there = [name for name, _ in far.listed()
                 if (found := _SHARD.fullmatch(name)) and found[1] in names]
    except OSError as error:
        raise UsageError(f"{far.address} cannot be listed: {error.strerror}. Check the network, "
                         "the address and its credentials.") from error
    if there:
        raise UsageError(f"{far.address}/{there[0]} exists and is kept. Give another --address.")


def _claim(work: Path, plan: dict) -> None:
    """Write down what is made, or compare it with what an interrupted run made.

    Raises:
        UsageError: that was something else.
    """
    record = work / RECORD
    try:
        earlier = parse_json(record.read_bytes())
    except FileNotFoundError:
        write_atomic(record, json.dumps(plan, indent=1) + "\n")
        return
    except StrictJsonError:
        earlier = None
    if earlier != plan:
        raise UsageError(f"{work} has shards of an interrupted run with other arguments or other "
                         f"rows. Give the same ones to go on, or remove it: rm -r {work}",
                         path=work)


def _digest(recordings: Iterable[_Recording]) -> str:
    digest = hashlib.sha256()
    for one in recordings:
        digest.update(repr((one.key, str(one.audio), one.rows)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _in_order(rows: Sequence[Utterance], seed: int | None) -> list[_Recording]:
    """The recordings in the order in which they are packed, each with a name of its own."""
    by_audio: dict[Path | Address, list[Utterance]] = {}
    for row in rows:
        by_audio.setdefault(row.audio, []).append(row)
    groups = list(by_audio.items())
    if seed is not None:
        groups = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    taken: dict[str, int] = {}  # people unpack shards on disks that know no capitals
    recordings = []
    for audio, some in groups:
        key = stem = _ODD.sub("_", some[0].id)[:MAX_KEY]
        number = taken.get(stem.casefold(), 0)
        while key.casefold() in taken:
            number += 1
            key = f"{stem}-{number}"
        taken[stem.casefold()] = max(1, number)
        taken.setdefault(key.casefold(), 1)
        suffix = audio.suffix.lower() if is_recording(f"x{audio.suffix}") else ".audio"
        recordings.append(_Recording(audio, key, suffix, tuple(some)))
    return recordings


def _fill(work: Path, name: str, recordings: list[_Recording], settings: Settings,
          far: Objects | None
          ) -> Iterator[tuple[Path, list[_Recording], dict[str, range], str]]:
    """Shard by shard: the file, which recordings are in it, and where; what is there is kept.

    The last is its SHA-256.
    """
    start = number = 0
    while start < len(recordings):
        tar = work / f"{name}-{number:06d}{SUFFIX}"
        uploaded = tar.with_suffix(".json")
        if far and uploaded.exists():
            places, digest = _read_places(uploaded)
        else:
            if not tar.exists():
                write_atomic(tar, _pieces(recordings[start:], settings), overwrite=False)
            with open_regular(tar) as file:
                places = list_members(file, str(tar))
            digest = sha256_file(tar)
        names = list(places)
        some = recordings[start:start + sum(not member.endswith(".json") for member in names)]
        wanted = [file for one in some for file in (one.member, f"{one.key}.json")]
        if not names or names != wanted:
            wrong = tar if tar.exists() else uploaded
            raise UsageError(f"{wrong} is not what this command wrote. Remove it and run again.",
                             path=wrong)
        if far and not uploaded.exists():
            _upload(tar, far)
            write_atomic(uploaded, json.dumps({"sha256": digest, "files": {
                name: [place.start, place.stop] for name, place in places.items()}}) + "\n")
        if far:
            tar.unlink(missing_ok=True)
        yield tar, some, places, digest
        start, number = start + len(some), number + 1


def _upload(tar: Path, far: Objects) -> None:
    try:
        far.put(tar.name, tar)
    except OSError as error:
        raise AsrError(f"Cannot write {far.address}/{tar.name}: {error.strerror}. Check the "
                       "network, the address and its credentials, and run the same command again.",
                       code="output.write", path=f"{far.address}/{tar.name}") from error


def _read_places(path: Path) -> tuple[dict[str, range], str]:
    """What is in a shard that was uploaded, and its SHA-256; nothing if the file is not ours."""
    try:
        table = parse_json(path.read_bytes())
        return ({name: range(*place) for name, place in table["files"].items()},
                str(table["sha256"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, ""


def _pieces(recordings: Iterable[_Recording], settings: Settings) -> Iterator[bytes]:
    """The bytes of one shard, up to where it is full."""
    size = 0
    for count, one in enumerate(recordings, start=1):
        with open_source(one.audio) as (file, name):
            with reading(name):
                length = file.seek(0, os.SEEK_END)
                file.seek(0)
            yield _header(one.member, length)
            yield from _content(file, length, name)
        row = json.dumps(_sample(one), ensure_ascii=False).encode()
        yield _header(f"{one.key}.json", len(row)) + row + _padding(len(row))
        size += length
        if size >= settings.shard_bytes or count == (settings.shard_recordings or MAX_RECORDINGS):
            break
    yield bytes(2 * _BLOCK)


def _content(file: BinaryIO, length: int, name: str) -> Iterator[bytes]:
    left = length
    while left:
        with reading(name):
            data = file.read(min(left, _CHUNK))
        if not data:
            raise AudioError(f"{name} changed while it was read. Do not write to recordings while "
                             "they are read.", code="audio.changed", path=name)
        left -= len(data)
        yield data
    yield _padding(length)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)  # no owner, no time: the same recordings, the same bytes
    member.size = size
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _sample(one: _Recording) -> dict:
    """What readers of WebDataset find beside the recording; of several parts, all of them."""
    rows = [{"id": u.id, "text": u.text, "speaker": u.speaker, "duration": u.duration}
            | ({"offset": u.offset} if u.offset else {})
            | ({"channel": u.channel} if u.channel else {}) for u in one.rows]
    return rows[0] if len(rows) == 1 else {"utterances": rows}
