"""Recordings in tar files: the same samples, and nothing that a stranger's tar file can do."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.audio import load_audio, probe_audio, source, tar
from asr.audio.content_hashes import hash_files
from asr.audio.recording import open_recording
from asr.audio.tar import list_members, on_disk, split_path
from asr.cli import run
from asr.errors import EXIT_DATA, AudioError
from asr.manifest import Utterance, read_manifest, write_manifest

RATE = 8_000


def wav(seed: int = 0, seconds: float = 0.5) -> bytes:
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(seed).normal(size=round(seconds * RATE))
    soundfile.write(file, noise, RATE, format="WAV")
    return file.getvalue()


def pack(path: Path, *members: tuple[str, bytes], **options) -> Path:
    with tarfile.open(path, "w", **options) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def shard(tmp_path) -> Path:
    return pack(tmp_path / "a.tar", ("one.wav", wav(1)), ("deep/two.wav", wav(2)),
                ("./three.wav", wav(3)), ("one.json", b"{}"))


@pytest.mark.parametrize(("name", "seed"), [("one.wav", 1), ("deep/two.wav", 2),
                                            ("three.wav", 3), ("./three.wav", 3)])
@pytest.mark.parametrize("in_memory", [1 << 24, 0])  # small recordings, and large ones
def test_the_samples_are_those_of_the_file(shard, name, seed, in_memory, monkeypatch):
    monkeypatch.setattr(source, "_IN_MEMORY_BYTES", in_memory)
    path = os.path.join(shard, name)
    assert split_path(path) == (str(shard), name)
    np.testing.assert_array_equal(load_audio(path, sample_rate=16_000),
                                  load_audio(wav(seed), sample_rate=16_000))
    part = load_audio(path, sample_rate=RATE, offset=0.25, duration=0.125)
    np.testing.assert_array_equal(part, load_audio(wav(seed), sample_rate=RATE)[2_000:3_000])
    with open_recording(path, sample_rate=RATE) as recording:
        blocks = np.concatenate(list(recording.blocks()))
    np.testing.assert_array_equal(blocks, load_audio(wav(seed), sample_rate=RATE))


def test_two_large_recordings_of_one_tar_file_are_not_mixed_up(tmp_path, monkeypatch):
    """What is remembered of a large recording is remembered of that part of the file."""
    monkeypatch.setattr(source, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("asr.audio.unchanged.SETTLED_NS", -10**12)
    shard = pack(tmp_path / "a.tar", ("long.wav", wav(1, 1.0)), ("short.wav", wav(2, 0.25)))
    assert probe_audio(shard / "long.wav").num_samples == 8_000
    assert probe_audio(shard / "short.wav").num_samples == 2_000


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar(tmp_path, form):
    long = "x" * 90 + "/" + "y" * (150 if form != tarfile.USTAR_FORMAT else 80) + ".wav"
    shard = pack(tmp_path / "a.tar", ("über.wav", wav(1)), (long, wav(2)), format=form)
    for name, seed in (("über.wav", 1), (long, 2)):
        np.testing.assert_array_equal(load_audio(shard / name, sample_rate=RATE),
                                      load_audio(wav(seed), sample_rate=RATE))


def test_a_folder_may_be_called_tar(tmp_path):
    (tmp_path / "b.tar").mkdir()
    (tmp_path / "b.tar/one.wav").write_bytes(wav())
    assert split_path(tmp_path / "b.tar/one.wav") is None
    assert len(load_audio(tmp_path / "b.tar/one.wav", sample_rate=RATE)) == 4_000
    assert on_disk(tmp_path / "b.tar/one.wav") == str(tmp_path / "b.tar/one.wav")
    pack(tmp_path / "b.tar/c.tar", ("one.wav", wav()))
    assert len(load_audio(tmp_path / "b.tar/c.tar/one.wav", sample_rate=RATE)) == 4_000


def test_what_is_not_there_or_no_plain_file(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("link.wav", tarfile.SYMTYPE), ("hard.wav", tarfile.LNKTYPE),
                           ("fifo.wav", tarfile.FIFOTYPE), ("null.wav", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name in ("twice.wav", "twice.wav", "../out.wav", "/abs.wav", "good.wav"):
            member = tarfile.TarInfo(name)
            member.size = len(wav())
            archive.addfile(member, io.BytesIO(wav()))
    for name in ("link", "hard", "fifo", "null"):
        with pytest.raises(AudioError, match="is a link, a device"):
            load_audio(path / f"{name}.wav", sample_rate=RATE)
    with pytest.raises(AudioError, match="is there twice"):
        load_audio(path / "twice.wav", sample_rate=RATE)
    for name in ("../out.wav", "/abs.wav"):
        with pytest.raises(AudioError, match="leads out"):
            load_audio(f"{path}/{name}", sample_rate=RATE)
    for name in ("other.wav", "deep/good.wav"):
        with pytest.raises(AudioError, match="holds no file") as caught:
            load_audio(path / name, sample_rate=RATE)
        assert caught.value.code == "audio.missing"
    with open(path, "rb") as file:
        found = list_members(file, "a.tar")
    assert list(found) == ["good.wav"]
    assert path.read_bytes()[found["good.wav"].start:found["good.wav"].stop] == wav()


def damaged(tmp_path: Path, data: bytes) -> AudioError:
    path = tmp_path / "bad.tar"
    path.write_bytes(data)
    with pytest.raises(AudioError) as caught:
        load_audio(path / "one.wav", sample_rate=RATE)
    assert caught.value.code == "audio.unreadable" and str(path) in str(caught.value)
    return caught.value


def test_no_tar_file(tmp_path, shard):
    import gzip
    damaged(tmp_path, b"")
    damaged(tmp_path, b"no tar file at all" * 100)
    damaged(tmp_path, gzip.compress(shard.read_bytes()))
    assert "is cut" in str(damaged(tmp_path, shard.read_bytes()[:5_000]))


def test_a_compressed_tar_file_is_named(tmp_path, shard):
    import gzip
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(shard.read_bytes()))
    with pytest.raises(AudioError, match="not compressed"):
        load_audio(tmp_path / "a.tar.gz/one.wav", sample_rate=RATE)


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "MAX_MEMBERS", 2)
    error = damaged(tmp_path, pack(tmp_path / "a.tar", *((f"{n}.wav", b"") for n in range(3))
                                   ).read_bytes())
    assert "more than 2 files" in str(error)


def header(**fields) -> bytes:
    """A header with fields that the tarfile module would not write, and a right checksum."""
    data = bytearray(tarfile.TarInfo(fields.pop("name", "one.wav")).tobuf(tarfile.USTAR_FORMAT))
    for start, value in fields.values():
        data[start:start + len(value)] = value
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


def test_sizes_that_lie(tmp_path):
    huge = (124, b"\x80" + (1 << 62).to_bytes(11, "big"))
    negative = (124, b"\xff" * 11 + b"\x00")
    extended = (156, b"x")
    for fields in ({"size": huge}, {"size": negative}, {"size": huge, "kind": extended},
                   {"size": negative, "kind": extended}, {"size": huge, "kind": (156, b"L")}):
        damaged(tmp_path, header(**fields) + bytes(2_048))
    pax = b"%d size=-1024\n" % 14
    damaged(tmp_path, header(size=(124, b"%011o\0" % len(pax)), kind=extended)
            + pax.ljust(512, b"\0") + header() + bytes(2_048))
    chain = header(size=(124, b"%011o\0" % 0), kind=extended) * 3_000  # each announces the next
    damaged(tmp_path, chain)


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 255)), min_size=1, max_size=12),
       st.integers(0, 14_000))
def test_any_damage_is_an_audio_error(tmp_path, changes, length):
    data = bytearray(pack(tmp_path / "f.tar", ("one.wav", wav(1)), ("two.wav", wav(2)),
                          format=tarfile.PAX_FORMAT).read_bytes()[:length])
    for place, value in changes:
        if place < len(data):
            data[place] = value
    (tmp_path / "f.tar").write_bytes(data)
    try:
        load_audio(tmp_path / "f.tar/one.wav", sample_rate=RATE)
    except AudioError:
        pass


def test_headers_are_read_once_and_again_when_the_file_changes(shard, monkeypatch):
    monkeypatch.setattr(tar, "SETTLED_NS", -10**12)
    reads = []
    read = tar._read_headers
    monkeypatch.setattr(tar, "_read_headers", lambda *args: reads.append(1) or read(*args))
    for _ in range(3):
        load_audio(shard / "one.wav", sample_rate=RATE)
        load_audio(shard / "deep/two.wav", sample_rate=RATE)
    assert len(reads) == 1
    pack(shard, ("new.wav", wav()))
    assert len(load_audio(shard / "new.wav", sample_rate=RATE)) == 4_000
    with pytest.raises(AudioError, match="holds no file"):
        load_audio(shard / "one.wav", sample_rate=RATE)
    assert len(reads) == 2


def test_what_is_remembered_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "SETTLED_NS", -10**12)
    monkeypatch.setattr(tar, "_MOST_REMEMBERED", 6)
    monkeypatch.setattr(tar, "_remembered", type(tar._remembered)())
    for number in range(8):
        shard = pack(tmp_path / f"{number}.tar", ("one.wav", wav()), ("two.wav", wav()))
        load_audio(shard / "one.wav", sample_rate=RATE)
    assert len(tar._remembered) == 2


def test_hashes_are_those_of_the_files(shard, tmp_path):
    (tmp_path / "one.wav").write_bytes(wav(1))
    found = hash_files([shard / "one.wav", tmp_path / "one.wav", shard / "none.wav"],
                       memory=tmp_path / "hashes.json")
    assert found[shard / "one.wav"].sha256 == found[tmp_path / "one.wav"].sha256
    assert found[shard / "none.wav"].code == "audio.missing"


def test_a_manifest_stays_in_its_folder(shard, tmp_path, capsys):
    """A link that is called a tar file leads out of the folder as any link does."""
    rows = [Utterance("a", shard / "one.wav", "one", 0.5)]
    write_manifest(tmp_path / "rows.jsonl", rows)
    assert '"a.tar/one.wav"' in (tmp_path / "rows.jsonl").read_text()
    assert read_manifest(tmp_path / "rows.jsonl") == rows
    (tmp_path / "in").mkdir()
    os.symlink(shard, tmp_path / "in/a.tar")
    for place in ("a.tar/one.wav", "a.tar/deep/two.wav", "../a.tar/one.wav"):
        (tmp_path / "in/rows.jsonl").write_text(
            f'{{"id": "a", "audio_filepath": "{place}", "text": "one", "duration": 0.5}}\n')
        assert run(["validate", str(tmp_path / "in/rows.jsonl")]) == EXIT_DATA
        assert "manifest.path_escape" in capsys.readouterr().out
