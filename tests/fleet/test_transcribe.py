"""The loop that cannot lose work (PEERS.md point 36)."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_bundle import FEATURES, write_bundle

import asr.fleet.transcribe
import asr.inference.loop
from asr.cli import run
from asr.errors import EXIT_INTERRUPTED, AsrError, DataError, UsageError
from asr.files import lock
from asr.fleet.transcribe import (
    Outcome,
    Timings,
    read_stdin,
    transcribe_items,
    transcribe_to_folder,
)
from asr.fleet.worklist import Item, OutputFolder, find_items
from asr.recognizer import load

RATE = FEATURES.sample_rate


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr")


@pytest.fixture(scope="module")
def recognizer(bundle):
    return load(bundle)


def record(path: Path, seconds: float = 0.5, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    audio = rng.normal(size=int(seconds * RATE)) * 0.1
    soundfile.write(path, audio * (1 + np.sin(np.arange(len(audio)) / 700)), RATE)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five recordings and three troubles, in two folders."""
    for number, seconds in enumerate((0.5, 1.5, 0.2, 0.9)):
        record(tmp_path / "in" / f"{number}.wav", seconds, number)
    record(tmp_path / "in" / "x.wav", seed=8)
    record(tmp_path / "in" / "sub" / "x.wav", seed=9)
    (tmp_path / "in" / "bad.wav").write_bytes(b"RIFF, but no more")
    (tmp_path / "in" / "empty.wav").write_bytes(b"")
    (tmp_path / "in" / "text.wav").write_text("hello")
    return tmp_path / "in"


def items_of(folder: Path) -> list[Item]:
    return find_items([str(folder)], recursive=True)[0]


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name != "index.jsonl"}


def test_outcomes_come_in_order_and_nothing_is_lost(recognizer, folder, monkeypatch):
    monkeypatch.setattr(asr.inference.loop, "GROUP_ITEMS", 2)
    items, timings = items_of(folder), Timings()
    outcomes = list(transcribe_items(recognizer, items, timings))
    assert [o.item for o in outcomes] == items
    failed = {o.item.relative.name: o.error.code for o in outcomes if o.error}
    assert failed.keys() == {"bad.wav", "empty.wav", "text.wav"}
    assert failed["empty.wav"] == "audio.empty"
    for outcome in outcomes:
        if outcome.error is None:
            assert outcome.transcript == recognizer.transcribe(outcome.item.path)
        else:
            assert outcome.record()["path"] == outcome.item.name
            assert outcome.record().keys() == {"path", "stage", "code", "message"}
            assert outcome.stage == "load"
    assert timings.audio == pytest.approx(4.1)
    assert timings.wall > 0
    assert timings.to_dict()["real_time_factor"] > 0


def test_groups_are_bounded_by_audio(recognizer, folder, monkeypatch):
    sizes = []
    original = recognizer.logits_batch
    monkeypatch.setattr(recognizer, "logits_batch",
                        lambda rows: sizes.append(sum(map(len, rows))) or original(rows))
    monkeypatch.setattr(asr.inference.loop, "GROUP_SECONDS", 1.6)
    outcomes = list(transcribe_items(recognizer, items_of(folder)))
    assert sum(o.error is None for o in outcomes) == 6
    assert max(sizes) <= 170  # frames of 10 ms


def test_into_a_folder(recognizer, folder, tmp_path):
    out = OutputFolder(tmp_path / "out", "txt")
    outcomes = list(transcribe_to_folder(recognizer, items_of(folder), out, "txt"))
    written = contents(tmp_path / "out")
    assert set(written) == {"0.txt", "1.txt", "2.txt", "3.txt", "x.txt", "sub/x.txt"}
    assert written["x.txt"] == recognizer.transcribe(folder / "x.wav").text + "\n"
    assert written["sub/x.txt"] == recognizer.transcribe(folder / "sub" / "x.wav").text + "\n"
    assert written["x.txt"] != written["sub/x.txt"]
    assert all(o.output.exists() for o in outcomes if not o.error)


def test_what_exists_is_kept_unless_told(recognizer, folder, tmp_path):
    out = tmp_path / "out"
    first = list(transcribe_to_folder(recognizer, items_of(folder), OutputFolder(out, "txt"),
                                      "txt"))
    assert not any(o.kept for o in first)
    (out / "1.txt").write_text("corrected by hand\n")
    again = list(transcribe_to_folder(recognizer, items_of(folder), OutputFolder(out, "txt"),
                                      "txt"))
    assert sum(o.kept for o in again) == 6
    assert (out / "1.txt").read_text() == "corrected by hand\n"
    new = list(transcribe_to_folder(recognizer, items_of(folder), OutputFolder(out, "txt"), "txt",
                                    overwrite=True))
    assert not any(o.kept for o in new)
    assert (out / "1.txt").read_text() != "corrected by hand\n"


def test_a_full_disk_is_a_record_and_leaves_nothing_torn(recognizer, folder, tmp_path,
                                                         monkeypatch):
    original = asr.fleet.output_places.write_atomic

    def full(path, data, **options):
        if path.name == "1.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, data, **options)

    monkeypatch.setattr(asr.fleet.output_places, "write_atomic", full)
    outcomes = list(transcribe_to_folder(recognizer, items_of(folder),
                                         OutputFolder(tmp_path / "out", "txt"), "txt"))
    (failure,) = [o for o in outcomes if o.stage == "write"]
    assert failure.error.code == "output.write"
    assert "No space left" in str(failure.error)
    assert "1.txt" not in contents(tmp_path / "out")
    assert len(contents(tmp_path / "out")) == 5


def test_one_recording_that_breaks_the_network_does_not_break_the_others(recognizer, folder,
                                                                        monkeypatch):
    original = type(recognizer).logits_batch

    def fragile(self, rows):
        if any(len(row) == 151 for row in rows):
            raise MemoryError("too long")
        return original(self, rows)

    monkeypatch.setattr(type(recognizer), "logits_batch", fragile)
    outcomes = {o.item.relative.as_posix(): o for o in transcribe_items(recognizer,
                                                                        items_of(folder))}
    assert outcomes["1.wav"].stage == "model"
    assert outcomes["1.wav"].error.code == "memory"
    assert "1.wav: out of memory" in str(outcomes["1.wav"].error)
    assert outcomes["0.wav"].transcript == recognizer.transcribe(folder / "0.wav")


def test_a_decoder_that_fails_on_one(recognizer, folder, monkeypatch):
    original = type(recognizer).decode

    def fragile(self, logits, duration=None, features=None, start=0.0):
        if duration == 1.5:
            raise DataError("not finite", code="decode.nonfinite")
        return original(self, logits, duration, features)

    monkeypatch.setattr(type(recognizer), "decode", fragile)
    outcomes = {o.item.relative.as_posix(): o for o in transcribe_items(recognizer,
                                                                        items_of(folder))}
    assert (outcomes["1.wav"].stage, outcomes["1.wav"].error.code) == ("decode",
                                                                       "decode.nonfinite")
    assert sum(o.error is not None for o in outcomes.values()) == 4


def test_silence_is_an_empty_transcript_not_a_failure(recognizer, tmp_path):
    soundfile.write(tmp_path / "quiet.wav", np.zeros(8_000), RATE)
    (outcome,) = transcribe_items(recognizer, items_of(tmp_path))
    assert outcome.transcript.text == ""
    assert outcome.transcript.duration == 1.0


def test_nothing_to_do(recognizer):
    assert list(transcribe_items(recognizer, [])) == []


def test_what_another_run_has_finished_meanwhile_is_kept(recognizer, folder, tmp_path, monkeypatch):
    """Two runs of the same command at the same time."""
    def render(*arguments, **options) -> str:
        (tmp_path / "out" / "x.txt").write_text("theirs", encoding="utf-8")
        return "ours"

    monkeypatch.setattr(asr.fleet.transcribe, "render", render)
    items, _ = find_items([str(folder / "x.wav")])
    (outcome,) = transcribe_to_folder(recognizer, items, OutputFolder(tmp_path / "out", "txt"),
                                      "txt")
    assert (outcome.kept, outcome.error) == (True, None)
    assert (tmp_path / "out" / "x.txt").read_text(encoding="utf-8") == "theirs"


def test_unknown_format(recognizer, tmp_path):
    with pytest.raises(UsageError, match="no format 'doc'"):
        list(transcribe_to_folder(recognizer, [], OutputFolder(tmp_path, "doc"), "doc"))


def test_only_failures_have_a_record(tmp_path):
    item = Item("a.wav", "a.wav")
    assert Outcome(item, error=AsrError("x", code="y"), stage="load").record() == {
        "path": "a.wav", "stage": "load", "code": "y", "message": "x"}
    with pytest.raises(UsageError, match="did not fail"):
        Outcome(item).record()


def test_standard_input_is_bounded(monkeypatch):
    import io

    monkeypatch.setattr(asr.fleet.transcribe, "MAX_STREAM_BYTES", 10)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x" * 10)))
    assert read_stdin() == b"x" * 10
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x" * 11)))
    with pytest.raises(AsrError, match="more than 10 bytes"):
        read_stdin()
    monkeypatch.setattr("sys.stdin", None)  # asr transcribe - <&-
    with pytest.raises(AsrError, match="Standard input is closed"):
        read_stdin()


def test_a_second_recording_from_standard_input_is_never_taken_for_the_first(
        recognizer, folder, tmp_path, monkeypatch):
    import io

    def pipe(**options) -> Outcome:
        sound = (folder / "x.wav").read_bytes()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(sound)))
        (outcome,) = transcribe_to_folder(recognizer, [Item(None, "stdin")],
                                          OutputFolder(tmp_path / "out", "txt"), "txt", **options)
        return outcome

    assert pipe().output == tmp_path / "out" / "stdin.txt"
    again = pipe()
    assert (again.error.code, again.kept) == ("output.exists", False)
    assert pipe(overwrite=True).output == tmp_path / "out" / "stdin.txt"


# -- a run that is killed


def command(bundle, folder, out) -> list[str]:
    return [sys.executable, "-m", "asr", "transcribe", str(bundle), str(folder), "--recursive",
            "--output-dir", str(out)]


@pytest.mark.parametrize("failpoint", ["file.before_rename", "file.after_rename",
                                       "transcript.written:2.txt", "transcript.written:x.txt"])
def test_kill_9_and_rerun(bundle, folder, tmp_path, failpoint):
    expected = tmp_path / "expected"
    recognizer = load(bundle)
    list(transcribe_to_folder(recognizer, items_of(folder), OutputFolder(expected, "txt"), "txt"))
    out = tmp_path / "out"
    killed = subprocess.run(command(bundle, folder, out), capture_output=True, timeout=120,
                            env={**os.environ, "ASR_TESTING": "1", "ASR_FAILPOINT": failpoint})
    assert killed.returncode == -signal.SIGKILL
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.txt")}
    again = subprocess.run(command(bundle, folder, out), capture_output=True, text=True,
                           timeout=120)
    assert again.returncode == 3  # the three bad files
    finished = {name: text for name, text in contents(out).items() if not name.startswith(".")}
    assert finished == contents(expected)
    assert (out / "index.jsonl").read_text() == (expected / "index.jsonl").read_text()
    for path, time_ns in before.items():
        assert path.stat().st_mtime_ns == time_ns  # what was finished was not made again
    if before:
        assert f"{len(before)} of 9 transcripts existed and were kept" in again.stderr


@pytest.mark.skipif(os.name == "nt", reason="locks of POSIX")
def test_litter_of_a_killed_run_is_swept_by_the_next(tmp_path, folder):
    items = items_of(folder)
    out = OutputFolder(tmp_path / "out", "txt")
    out.claim(items)
    dead, alive, foreign = (tmp_path / "out" / name for name in (
        ".1.txt.asr-abcd1234.tmp", ".2.txt.asr-abcd1234.tmp", ".mine.tmp"))
    for path in (dead, alive, foreign):
        path.write_bytes(b"half")
    with open(alive, "rb") as file:
        lock(file.fileno())  # as the process does that writes it
        out.claim(items)
        assert (dead.exists(), alive.exists(), foreign.exists()) == (False, True, True)


def test_an_interrupted_run_keeps_what_is_finished(bundle, folder, tmp_path, monkeypatch, capsys):
    from asr.recognizer import Recognizer

    original, count = Recognizer.decode, []

    def interrupted(self, logits, duration=None, features=None, start=0.0):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return original(self, logits, duration, features)

    monkeypatch.setattr(Recognizer, "decode", interrupted)
    arguments = ["transcribe", str(bundle), str(folder), "-o", str(tmp_path / "out")]
    assert run(arguments) == EXIT_INTERRUPTED
    assert len(contents(tmp_path / "out")) == 2
    assert re.search("Interrupted", capsys.readouterr().err)
    monkeypatch.setattr(Recognizer, "decode", original)
    assert run(arguments) == 3
    assert len(contents(tmp_path / "out")) == 5


def test_json_in_a_folder_names_the_source(recognizer, folder, tmp_path):
    list(transcribe_to_folder(recognizer, items_of(folder), OutputFolder(tmp_path / "o", "json"),
                              "json"))
    assert json.loads((tmp_path / "o" / "0.json").read_text())["path"] == str(folder / "0.wav")
