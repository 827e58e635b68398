"""Texts out of a Debian package: the archive, the strings, the sentences."""

from __future__ import annotations

import io
import struct
import sys
import tarfile
import zlib

import pytest
from scripts import VOICES, script

novels = script("novels", VOICES)


def package(lines: list[str]) -> bytes:
    """A .deb with one book."""
    strings = b"".join(b"\x00\x04\x00\x09" + struct.pack(">I", len(line)) + line.encode()
                       for line in lines)
    database = struct.pack(">I", len(strings)) + zlib.compress(strings)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:xz") as archive:
        info = tarfile.TarInfo("./usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")
        info.size = len(database)
        archive.addfile(info, io.BytesIO(database))
    content = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n"), ("data.tar.xz", tar.getvalue())):
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        content += data + b"\n" * (len(data) % 2)
    return content


LINES = ["CHAPTER I", "", "She was happy in _her_ way, and", "nobody saw it. \"It rained all day",
         "on the hill.\" Mr. Hill came home at six.", "", "Short one."]


def test_sentences_of_a_package(tmp_path, monkeypatch, capsys):
    deb, tests, out = (tmp_path / name for name in ("a.deb", "tests.tsv", "data/out.txt"))
    deb.write_bytes(package(LINES))
    tests.write_text("1-2\tAND IT RAINED ALL DAY ON THE HILL\n")
    monkeypatch.setattr(sys, "argv", ["novels.py", str(deb), str(out)])
    novels.main()
    assert out.read_text().splitlines() == ["She was happy in her way, and nobody saw it.",
                                            "It rained all day on the hill."]
    monkeypatch.setattr(sys, "argv", ["novels.py", str(deb), str(out), "--without", str(tests)])
    novels.main()
    assert out.read_text().splitlines() == ["She was happy in her way, and nobody saw it."]
    assert "1 sentences share 6 words" in capsys.readouterr().out


def test_another_file(tmp_path):
    with pytest.raises(SystemExit, match="is not a Debian package"):
        novels.members(b"PK")
