"""Files are the old or the new one, never torn, whatever happens in between."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from asr.files import lock, sha256_file, staging_beside, sync_folder, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes_replace_what_was(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "süß\n")
    assert path.read_bytes() == "süß\n".encode()
    write_atomic(path, b"\x00new")
    assert path.read_bytes() == b"\x00new"
    assert names(tmp_path) == ["a.txt"]


def test_an_existing_file_is_kept_when_asked(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "mine", overwrite=False)
    with pytest.raises(FileExistsError) as error:
        write_atomic(path, "yours", overwrite=False)
    assert error.value.filename == str(path)
    assert path.read_text(encoding="utf-8") == "mine"
    assert names(tmp_path) == ["a.txt"]


def test_disks_without_links_modes_and_folder_sync_are_served(tmp_path, monkeypatch):
    """exFAT sticks and network drives; each answers in its own way."""
    def refuse(code):
        def call(*arguments, **_):
            raise OSError(code, os.strerror(code), str(arguments[0]))
        return call

    synced = os.fsync
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    monkeypatch.setattr(os, "chmod", refuse(errno.EPERM))
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced(descriptor) if stat.S_ISREG(
        os.fstat(descriptor).st_mode) else refuse(errno.EINVAL)(descriptor))
    path = tmp_path / "a.txt"
    write_atomic(path, "mine", overwrite=False)
    with pytest.raises(FileExistsError):
        write_atomic(path, "yours", overwrite=False)
    assert (path.read_text(encoding="utf-8"), names(tmp_path)) == ("mine", ["a.txt"])
    monkeypatch.setattr(os, "link", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "b.txt", "x", overwrite=False)
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_very_long_name_has_room_for_the_temporary_one(tmp_path):
    path = tmp_path / ("n" * 250)
    write_atomic(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_no_litter_and_the_name_that_was_asked_for(
        tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"asr.files.os.{step}", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_atomic(path, "new")
    assert error.value.filename == str(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_that_is_not_there_is_named_by_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        write_atomic(tmp_path / "none/a.txt", b"x")
    assert error.value.filename == str(tmp_path / "none/a.txt")


@pytest.mark.parametrize(("failpoint", "found"), [("file.before_rename", "old"),
                                                  ("file.after_rename", "new"), ("", "new")])
def test_kill_9_leaves_one_of_the_two(tmp_path, failpoint, found):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    child = subprocess.run([sys.executable, "-c", "import sys; from asr.files import write_atomic; "
                            "write_atomic(sys.argv[1], 'new')", path], timeout=60,
                           env={**os.environ, "ASR_TESTING": "1", "ASR_FAILPOINT": failpoint})
    assert child.returncode == (-signal.SIGKILL if failpoint else 0)
    assert path.read_text(encoding="utf-8") == found


def test_failpoints_sleep_outside_tests(tmp_path):
    child = subprocess.run([sys.executable, "-c", "import sys; from asr.files import write_atomic; "
                            "write_atomic(sys.argv[1], 'new')", tmp_path / "a"], timeout=60,
                           env={**{k: v for k, v in os.environ.items() if k != "ASR_TESTING"},
                                "ASR_FAILPOINT": "file.before_rename"})
    assert child.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="devices are files on Unix")
def test_devices_pipes_and_open_files_are_written_and_stay(tmp_path):
    """`--pra /dev/stdout` replaced the name in /dev by a file where the user may write there."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE) as reader:
        write_atomic(fifo, "through")
        assert reader.communicate(timeout=20)[0] == b"through"
    write_atomic("/dev/null", b"nothing")
    assert stat.S_ISFIFO(fifo.stat().st_mode) and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    program = ("from asr.files import write_atomic; print('first'); "
               "write_atomic('/dev/stdout', 'second\\n'); print('third')")
    out = tmp_path / "out"
    with out.open("wb") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
    assert out.read_text() == "first\nsecond\nthird\n" and names(tmp_path) == ["fifo", "out"]


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


@pytest.mark.skipif(os.name == "nt", reason="Windows opens no folder")
def test_a_killed_export_is_cleared_up_by_the_next_and_a_living_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("asr.files._SWEPT", set())
    dead, living = (tmp_path / f".m.onnx.asr-{name * 8}.tmp" for name in "ab")
    for folder in (dead, living):
        (folder / "inside").mkdir(parents=True)
        (folder / "inside/x").write_text("x")
    descriptor = os.open(living, os.O_RDONLY)
    lock(descriptor)
    with pytest.raises(OSError) as error, staging_beside(tmp_path / "m.onnx") as staging:
        assert staging.parent == tmp_path and names(tmp_path) == sorted((staging.name, living.name))
        raise OSError(errno.ENOSPC, "No space left on device")
    os.close(descriptor)
    assert error.value.filename == str(tmp_path / "m.onnx") and names(tmp_path) == [living.name]
