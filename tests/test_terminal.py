"""One way to the terminal: nothing that came from outside can steer it."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
import unicodedata
import warnings
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.cli import VERBS, run
from asr.cli.notices import SHOWN, warnings_as_notices
from asr.errors import AsrError, InputWarning, out_of_memory, shorten
from asr.terminal import STDOUT, ReaderGone, Terminal, own_controls, visible

PACKAGE = Path(__file__).parents[1] / "asr"
ESCAPES = "b\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\u202e"


@given(st.text())
def test_no_control_character_passes_and_all_else_does(text):
    shown = visible(text)
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\t\n"]
    kept = "".join(c for c in text if unicodedata.category(c) != "Cc"
                   and not re.match("[\u202a-\u202e\u2066-\u2069]", c))
    if kept == text:
        assert shown == text


@given(st.dictionaries(st.text(), st.text()))
def test_json_stays_the_same_json(table):
    assert json.loads(visible(json.dumps(table, ensure_ascii=False))) == table


@pytest.fixture
def verb(monkeypatch):
    """A verb of our own: `asr told`."""
    def add(work) -> None:
        module = type(sys)("asr.cli.told")
        module.told = click.command()(work)
        monkeypatch.setitem(sys.modules, "asr.cli.told", module)
        monkeypatch.setitem(VERBS, "told", ("asr.cli.told", "For a test."))
    return add


def test_whatever_prints_goes_through_it(verb, capsys):
    def work() -> None:
        print(ESCAPES)
        print(ESCAPES, file=sys.stderr)
        click.echo(ESCAPES)
        click.echo(ESCAPES, err=True)
        sys.stdout.write(ESCAPES + "\n")
        sys.stderr.writelines([ESCAPES, "\n"])
        warnings.warn(ESCAPES, stacklevel=1)
        raise AsrError(ESCAPES)

    verb(work)
    assert run(["told"]) == 1
    assert run(["--debug", "told"]) == 1
    assert run([ESCAPES]) == 2  # click's own message
    assert run(["train", "--" + ESCAPES]) == 2
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "b\\x1b[2J" in text
        assert visible(text) == text
    assert err.count("Warning: b\\x1b") == 2 and "UserWarning" not in err


def test_there_is_no_other_way_out():
    """No stream but sys.stdout and sys.stderr is written to, but for the files named here."""
    other_ways = re.compile(r"__std(?:out|err)__|std(?:out|err)\.buffer|os\.write\([12],"
                            r"|std(?:out|err)\.raw|fdopen\([12]\b|Console\((?!file=own_controls)|/dev/tty"
                            r"|logging\.(?:Stream|basicConfig|lastResort)")
    allowed = {"terminal.py", "network/framework.py"}  # the way itself; TensorFlow's last log
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")
             if other_ways.search(path.read_text(encoding="utf-8"))}
    assert found <= allowed, found - allowed
    moving = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")
              if "own_controls(" in path.read_text(encoding="utf-8")}
    assert moving <= {"terminal.py", "cli/progress.py", "cli/listen.py", "data/extraction.py",
                      "training/table.py"}


def test_the_check_can_fail():
    assert re.search(r"Console\((?!file=own_controls)", "Console(stderr=True)")


class Broken(io.StringIO):
    def __init__(self, error: OSError):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def test_errors_carry_the_name_of_the_stream():
    with pytest.raises(OSError, match="No space") as full:
        Terminal(Broken(OSError(errno.ENOSPC, "No space left on device")), STDOUT).write("x")
    assert full.value.filename == STDOUT
    with pytest.raises(ReaderGone):
        Terminal(Broken(BrokenPipeError()), STDOUT).write("x")
    closed, quiet = Terminal(None, STDOUT), Terminal(None, "standard error")
    with pytest.raises(OSError, match="it is closed"):
        closed.write("x")
    closed.write("")
    quiet.write("nobody reads it")
    closed.raw.close()
    quiet.raw.close()
    assert own_controls(sys.stderr) is sys.stderr


@pytest.mark.parametrize("error, said, code", [
    (MemoryError(), "Out of memory", 1), (OSError(errno.ENOMEM, "Cannot allocate"), "Out of memory",
                                          1),
    (RuntimeError("can't start new thread"), "Out of memory", 1),
    (OSError(errno.ENOSPC, "No space left on device", "x.json"), "use x.json: No space.*Make room",
     1),
    (OSError(errno.ENOSPC, "No space left on device"), "Cannot write: No space.*Make room", 1),
    (OSError(errno.EIO, "Input/output error", "m.jsonl"), "m.jsonl: Input/output error.*disk or "
     "network drive", 1),
    (OSError(errno.ESTALE, "Stale file handle", "m.jsonl"), "Stale file handle.*network drive", 1),
    (PermissionError(errno.EACCES, "Permission denied", "x"), "Cannot use x: Permission denied", 2),
    (ZeroDivisionError("x" * 9_000), "Internal error: ZeroDivisionError", 1)])
def test_every_kind_of_failure_is_one_sentence_with_its_code(verb, capsys, error, said, code):
    def work() -> None:
        raise error

    verb(work)
    assert run(["told"]) == code
    err = capsys.readouterr().err
    assert re.search(said, err) and len(err.encode()) <= 4_096 and err.count("\n") == 1


def test_a_gone_reader_is_quiet(verb, capsys, monkeypatch):
    verb(lambda: print("x"))
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError()))
    assert run(["told"]) == 141
    assert capsys.readouterr().err == ""


def test_the_same_notice_is_counted():
    lines: list[str] = []
    with warnings_as_notices(lines.append):
        for number in range(10_000):
            warnings.warn(InputWarning(f"{number}.wav is cut", "audio.truncated"), stacklevel=1)
        for _ in range(2):  # a recording that is read for each of its channels
            warnings.warn(InputWarning("0.wav is cut", "audio.truncated"), stacklevel=1)
        warnings.warn("another", stacklevel=1)
    assert lines[:SHOWN] == [f"Warning: {number}.wav is cut" for number in range(SHOWN)]
    assert lines[SHOWN:] == ["Warning: another", "Warning: 9,997 more of the same kind "
                             "(audio.truncated); 10,000 in all."]


def test_uploads_without_a_name_are_each_counted():
    lines: list[str] = []
    with warnings_as_notices(lines.append, count_equal=True):
        for _ in range(SHOWN + 2):
            warnings.warn(InputWarning("The recording is cut", "audio.truncated"), stacklevel=1)
    assert lines[-1].endswith(f"{SHOWN + 2} in all.")


@given(st.text(max_size=300), st.integers(100, 250))
def test_messages_are_bounded(text, limit):
    assert len(shorten(text, limit).encode("utf-8", "replace")) <= limit
    assert len(text.encode("utf-8", "replace")) > limit or shorten(text, limit) == text


def test_errors_are_bounded_and_memory_is_told_apart():
    assert len(AsrError("x" * 1_000_000).message) < 4_096
    long = "/" + 100_000 * "x"
    assert len(json.dumps(AsrError(f"{long} is not there.", path=long).as_record("load"))) < 4_096
    assert AsrError("x", path=long[:4_000]).as_record("load")["path"] == long[:4_000]
    assert not out_of_memory(RuntimeError("other")) and not out_of_memory(OSError(errno.EIO, ""))
