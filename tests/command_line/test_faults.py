"""Rows of ../shared/data/faults/README.md, each with the right value; inputs are made here.

A4, A5, A6, A10, A18: tests/audio/test_odd_files.py; A9: tests/corpora; A11: tests/test_kills.py;
A12, A15d: tests/data/test_feature_cache.py and below; all numbers and nestings: tests/test_fuzz.py.
"""

from __future__ import annotations

import errno
import http.client
import io
import json
import os
import re
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from forged_bundle import forge, members
from pace import assert_quick
from tiny_bundle import write_bundle

from asr.audio import load_audio, probe_audio
from asr.cli import run
from asr.errors import AudioError, InputWarning, UsageError

CLIP = Path(__file__).parents[2] / "asr/assets/clips/1-rms.ogg"
TEXT = "four two zero nine"
ESCAPES = "b\x1b[2J\x1b]0;owned\x07"
RECIPE = """seed = 1
[data]
generate = "tones"
batch_frames = 2_000
[features]
sample_rate = 16_000
n_mels = 20
[model]
num_layers = 1
units = 8
[train]
epochs = 2
warmup_steps = 5
"""


def manifest(folder: Path, **files: str) -> Path:
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps({"id": name, "audio_filepath": file, "text": TEXT,
                                        "duration": 2.204}) + "\n"
                            for name, file in files.items()), encoding="utf-8")
    return path


# -- A13: an I/O error of one recording is that recording's


@pytest.fixture
def with_eio(tmp_path) -> Path:
    """Three recordings; reading the one in the middle answers EIO."""
    for name in ("a", "z"):
        shutil.copy(CLIP, tmp_path / f"{name}.ogg")
    (tmp_path / "m.wav").symlink_to("/proc/self/mem")
    return tmp_path


eio = pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="Linux")


@eio
def test_transcribe_makes_the_others(with_eio, capsys):
    assert run(["transcribe", str(with_eio), "-o", str(with_eio / "out")]) == 3
    assert sorted(p.name for p in (with_eio / "out").glob("*.txt")) == ["a.txt", "z.txt"]
    assert re.search(r"m\.wav +load +audio\.unreadable +.*Input/output error",
                     capsys.readouterr().err)


@eio
@pytest.mark.parametrize("verb", ["align", "evaluate", "validate", "audit", "prepare"])
def test_every_other_verb_names_it_and_goes_on(with_eio, capsys, verb):
    rows = manifest(with_eio, a="a.ogg", m="m.wav", z="z.ogg")
    out = str(with_eio / "out")
    arguments, code, said = {
        "align": (["--manifest", str(rows), "-o", out], 3, "audio.unreadable"),
        "evaluate": ([str(CLIP.parents[1] / "digits.asr"), str(rows), "--on-error", "skip",
                      "--output-dir", out], 3, "audio.unreadable"),
        "validate": ([str(rows), "--decode"], 4, "Input/output error"),
        "audit": ([str(rows)], 0, "1 recording could not be read"),
        "prepare": (["nemo", str(rows), out], 3, "failed 1")}[verb]
    if verb in ("align", "evaluate", "validate", "audit"):
        arguments.append("--allow-outside-root")
    assert run([verb, *arguments]) == code
    text = "".join(capsys.readouterr())
    assert said in text and "nternal" not in text
    if verb == "evaluate":
        kept = (Path(out) / "utterances.jsonl").read_text(encoding="utf-8")
        assert [json.loads(line)["hypothesis"] for line in kept.splitlines()] == [TEXT, TEXT]
    if verb == "prepare":
        assert len((Path(out) / "train.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("kind, subtype", [("WAV", "PCM_16"), ("FLAC", "PCM_16"),
                                           ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_a_disk_that_fails_in_the_middle_is_no_damage_of_the_file(kind, subtype, rng):
    file = io.BytesIO()
    soundfile.write(file, 0.1 * rng.normal(size=200_000), 16_000, format=kind, subtype=subtype)
    for good in (100, 5_000, len(file.getvalue()) // 2):
        source = io.BufferedReader(_Raw(file.getvalue(), good))
        with pytest.raises(AudioError, match="cannot be read: Stale file handle") as error:
            load_audio(source, sample_rate=16_000)
        assert error.value.code == "audio.unreadable"


class _Raw(io.RawIOBase):
    """A file on a disk that fails from some byte on."""

    def __init__(self, data: bytes, good: int):
        self.data, self.good, self.at = data, good, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + (0, self.at, len(self.data))[whence]
        return self.at

    def readinto(self, buffer) -> int:
        if self.at >= self.good:
            raise OSError(errno.ESTALE, "Stale file handle")
        piece = self.data[self.at:min(self.good, self.at + len(buffer))]
        buffer[:len(piece)] = piece
        self.at += len(piece)
        return len(piece)


# -- A6b, A10c: silence and cut recordings


def test_silence_with_a_text_is_a_finding(tmp_path, capsys):
    soundfile.write(tmp_path / "s.flac", np.zeros(32_000), 16_000)
    half = np.concatenate([np.zeros(16_000), 0.1 * np.sin(np.arange(16_000) / 5)])
    soundfile.write(tmp_path / "half.flac", half, 16_000)
    (tmp_path / "m.jsonl").write_text("".join(
        json.dumps({"id": name, "audio_filepath": file, "text": "four", "duration": seconds,
                    "offset": offset}) + "\n" for name, file, offset, seconds in (
            ("whole", "s.flac", 0.0, 2.0), ("part", "half.flac", 0.0, 1.0),
            ("sound", "half.flac", 1.0, 1.0))), encoding="utf-8")
    for arguments in (["validate", "--decode"], ["audit"]):
        assert run([*arguments, str(tmp_path / "m.jsonl")]) == 4
        out = capsys.readouterr().out
        assert out.count("[audio.silent]") == 2 and "'whole'" in out and "'part'" in out
    assert run(["transcribe", str(tmp_path / "s.flac"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["confidence"] == 0.0


@pytest.fixture
def cut(tmp_path) -> Path:
    """A WAV file of 1 s that lacks 0.5 ms, and a whole one."""
    file = io.BytesIO()
    samples, rate = soundfile.read(CLIP)
    soundfile.write(file, samples[:rate], rate, format="WAV")
    (tmp_path / "cut.wav").write_bytes(file.getvalue()[:-16])
    shutil.copy(CLIP, tmp_path / "whole.ogg")
    return tmp_path


def test_one_option_one_meaning_at_every_verb(cut, capsys):
    missing = 8 / soundfile.info(cut / "whole.ogg").samplerate
    with pytest.warns(InputWarning, match="is cut"):
        info = probe_audio(cut / "cut.wav", allow_truncated=True)
    assert info.duration == pytest.approx(1.0 - missing)
    (cut / "wav.scp").write_text("c cut.wav\nd whole.ogg\n")
    (cut / "text").write_text(f"c four\nd {TEXT}\n")
    out = cut / "out"
    assert run(["prepare", "kaldi", str(cut), str(out)]) == 3
    shutil.rmtree(out)
    capsys.readouterr()
    assert run(["prepare", "kaldi", str(cut), str(out), "--allow-truncated"]) == 0
    assert "1 recording is cut" in capsys.readouterr().err
    (made,) = out.glob("*.jsonl")
    rows = [json.loads(line) for line in made.read_text().splitlines()]
    assert rows[0]["duration"] == pytest.approx(1.0 - missing)
    digits = str(CLIP.parents[1] / "digits.asr")
    root = ["--audio-root", str(cut)]
    for arguments, refused in (
            (["validate", str(made), *root], 4), (["evaluate", digits, str(made), *root], 4),
            (["align", "--manifest", str(made), *root], 3), (["tune", digits, str(made), *root,
                                                              "--confidence"], 4),
            (["inspect", str(cut / "cut.wav"), "-o", str(cut / "i.html")], 4),
            (["transcribe", str(cut / "cut.wav")], 3)):
        assert run(arguments) == refused, arguments
        assert "is cut" in "".join(capsys.readouterr())
        accepted = run([*arguments, "--allow-truncated"])
        said = "".join(capsys.readouterr())
        # Eight words are too few to calibrate with, which is said after they were read.
        assert accepted == 0 or arguments[0] == "tune" and "--allow-truncated" not in said, said


# -- A7, A12: the disk


def test_a_full_disk_is_refused_before_the_first_feature(tmp_path, capsys, monkeypatch):
    (tmp_path / "r.toml").write_text(RECIPE)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    assert run(["train", str(tmp_path / "r.toml"), str(tmp_path / "run"), "--quiet"]) == 1
    assert re.search("Error: 10 kB are free at .*about 2.67 MB of features and 371 kB of "
                     "checkpoints. Make room", capsys.readouterr().err)
    assert not list((tmp_path / "run").rglob("shard-*"))
    assert not (tmp_path / "run/best.asr").exists()


def test_other_data_are_refused_before_tensorflow_starts(tmp_path):
    """The same as below without the epochs."""
    from asr.corpora.tones import generate
    from asr.recipe import load_recipe
    from asr.training.preparation import prepare
    from asr.training.run_directory import RunDirectory

    made = generate(tmp_path / "tones", num_train=4, num_valid=2, num_test=1)
    (tmp_path / "r.toml").write_text(RECIPE.replace(
        'generate = "tones"', f"train = ['{tmp_path}/tones/train.jsonl']\n"
        f"valid = ['{tmp_path}/tones/valid.jsonl']"))
    recipe = load_recipe(tmp_path / "r.toml")

    def begin() -> None:
        with RunDirectory(tmp_path / "run") as opened:
            opened.begin(recipe)
            found = prepare(recipe, opened, print)
            opened.check_data(found.tokenizer.alphabet, found.data_hash, found.contents)

    begin()
    (tmp_path / "run/checkpoints/last").mkdir(parents=True)
    (tmp_path / "run/checkpoints/last/ckpt-1.index").touch()
    begin()
    for split in ("train", "valid"):
        path = made[split][1].audio
        whole = path.read_bytes()
        path.write_bytes(whole[:-4] + b"\1\0\1\0")
        with pytest.raises(UsageError, match=f"1 changed .first '{split} {split}-0001'"):
            begin()
        path.write_bytes(whole)
        begin()


@pytest.mark.slow
@pytest.mark.tf
def test_what_is_changed_between_stop_and_resume_is_never_trained_on(tmp_path, capsys):
    """a12_damage.py: a recording, a text, a bit of the cache, lines of the log."""
    from asr.corpora.tones import generate

    generate(tmp_path / "tones", num_train=20, num_valid=8, num_test=2)
    page = RECIPE.replace('generate = "tones"', "train = ['tones/train.jsonl']\n"
                          "valid = ['tones/valid.jsonl']")
    (tmp_path / "r.toml").write_text(page)
    run_dir = tmp_path / "run"
    command = ["train", "r.toml", str(run_dir), "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert run([*command, "--stop-after", "1"]) == 0
        capsys.readouterr()
        for path, change in ((tmp_path / "tones/audio/train-0003.wav", lambda data: data[:-4]
                              + b"\1\0\1\0"),
                             (tmp_path / "tones/audio/valid-0002.wav", lambda data: data[:-4]
                              + b"\1\0\1\0"),
                             (tmp_path / "tones/train.jsonl", lambda data: data.replace(
                                 b'"text": "', b'"text": "do ', 1))):
            whole = path.read_bytes()
            path.write_bytes(change(whole))
            assert run(command) == 2
            assert "was started with other data: recordings or texts are 1 changed (first '" \
                in capsys.readouterr().err
            path.write_bytes(whole)
        # All of them: one may hold the changed recordings alone, which nothing reads now.
        shards = sorted(run_dir.glob("cache/features-*/shard-*.safetensors"))
        for shard in shards:
            data = bytearray(shard.read_bytes())
            data[len(data) // 2] ^= 2
            shard.write_bytes(data)
        with open(run_dir / "log.jsonl", "ab") as log:
            log.write(b"7\n\xff\xfe\x00\n")
        assert run(command) == 0
        err = capsys.readouterr().err
        assert any(f"{shard} is damaged" in err for shard in shards)
        assert "log.jsonl has damaged lines, which are left out: 2" in err


# -- A15 to A17


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("page, said", [
    (f"seed = {deep(5_000)}", "nested too deeply"), (f"seed = {'9' * 5_000}", "number is too long"),
    (f"seed = 0x{'f' * 5_000}", "a number of about 6,021 digits"),
    (f"[train]\nlearning_rate = 1{'0' * 400}", "must be finite"),
    (f"seed = '{'x' * 1_000_000}'", "must be a whole number")])
def test_numbers_and_nestings_of_a_recipe(tmp_path, capsys, page, said):
    (tmp_path / "r.toml").write_text(page)
    assert run(["train", str(tmp_path / "r.toml"), str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err) < 4_096
    name, _, value = page.replace("[train]\n", "train.").partition(" = ")
    assert run(["train", str(CLIP.parents[3] / "recipes/tones.toml"), str(tmp_path / "run"),
                "--set", f"{name}={value}"]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err) < 4_096


@pytest.mark.parametrize("find, replace", [
    (b'"word_bonus": 0.0', b'"word_bonus": 1' + b"0" * 400),
    (b'"word_bonus": 0.0', b'"word_bonus": 1e400'),
    (b'"beam_width": 16', b'"beam_width": ' + b"9" * 5_000),
    (b'"beam_width": 16', b'"beam_width": ' + b"[" * 5_000)])
def test_numbers_of_a_bundle(tmp_path, capsys, find, replace):
    path = write_bundle(tmp_path / "b.asr")
    config = members(path)["config.json"]
    if find not in config:
        find = re.search(b'"beam_width": [0-9]+|' + re.escape(find), config)[0]
    forge(path, {"config.json": config.replace(find, replace)})
    assert run(["transcribe", str(path), str(CLIP)]) == 5
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and len(err) < 4_096


def test_a_version_of_a_megabyte_is_a_short_message(tmp_path, capsys):
    path = write_bundle(tmp_path / "b.asr")
    forge(path, {}, schema_version="7" * 1_000_000)
    assert run(["transcribe", str(path), str(CLIP)]) == 5
    assert len(capsys.readouterr().err.encode()) <= 4_096


@pytest.mark.skipif(sys.platform == "win32", reason="names of POSIX")
def test_names_from_outside_never_steer_the_terminal(tmp_path, capsys, monkeypatch):
    """a16_escapes.sh: files, a key, a bundle's member, an HTTP status line."""
    for suffix, content in (("ogg", CLIP.read_bytes()[:3_000]), ("arpa", b"junk\n"),
                            ("trn", b"x (u1)\ny\n"), ("toml", b"seed = [\n")):
        (tmp_path / f"{ESCAPES}.{suffix}").write_bytes(content)
    (tmp_path / "key.toml").write_text('"x\\u001b[2J" = 1\n')
    member = write_bundle(tmp_path / "member.asr")
    forge(member, {}, members={ESCAPES: {"size": 1, "sha256": "0"}})

    def answer(self, request, *_, **__):
        raise urllib.error.HTTPError(request.full_url, 404, f"Not {ESCAPES} Found",
                                     http.client.HTTPMessage(), io.BytesIO())

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", answer)
    monkeypatch.chdir(tmp_path)
    for arguments in (["align", f"{ESCAPES}.ogg", "four"], ["inspect", f"{ESCAPES}.ogg"],
                      ["lm", "info", f"{ESCAPES}.arpa"],
                      ["score", f"{ESCAPES}.trn", f"{ESCAPES}.trn"],
                      ["train", f"{ESCAPES}.toml", "run"], ["train", "key.toml", "run"],
                      ["transcribe", f"{ESCAPES}.asr", str(CLIP)],
                      ["transcribe", "member.asr", str(CLIP)],
                      ["prepare", "kaldi", ESCAPES, "out"],
                      ["compare", f"{ESCAPES}.jsonl", f"{ESCAPES}.jsonl"],
                      ["evaluate", f"{ESCAPES}.asr", f"{ESCAPES}.jsonl"],
                      ["download", "fsdd", "dl", "--url", "http://127.0.0.1:9/x.zip"],
                      ["transcribe", f"{ESCAPES}.ogg", "--json"], ["validate", ESCAPES],
                      [ESCAPES], ["--debug", "train", f"{ESCAPES}.toml", "run"]):
        assert run(arguments) != 0
        out, err = capsys.readouterr()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", out + err), arguments
        assert "\\x1b" in out + err or "\\u001b" in out + err, arguments


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="POSIX")
@pytest.mark.parametrize("arguments, code, said", [
    (["train", "/dev/zero", "run"], 2, "more than 16_777_216 bytes"),
    (["score", "/dev/zero", "/dev/zero"], 4, "more than 1_000_000 bytes"),
    (["compare", "/dev/zero", "/dev/zero"], 4, "more than 1_000_000 bytes"),
    (["transcribe", str(CLIP), "--words", "/dev/zero"], 4, "more than 16_777_216 characters"),
    (["transcribe", str(CLIP), "--grammar", "/dev/zero"], 4, "a grammar at most 2,000,000"),
    (["lm", "train", "/dev/zero", "-o", "lm.arpa"], 4, "more than 1_000_000 characters"),
    (["validate", "/dev/zero"], 4, "not a regular file"),
    (["transcribe", "/dev/zero"], 3, "no regular file"),
    (["info", "/dev/zero"], 5, "not a regular")])
def test_a_file_without_an_end_is_refused(tmp_path, capsys, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("asr.scoring.text_lines.MAX_TEXTS", 1_000_000)
    monkeypatch.setattr("asr.language_model.training_text.MAX_LINE", 1_000_000)
    assert run(arguments) == code
    text = "".join(capsys.readouterr())
    assert said in text and len(text) < 4_096


def test_a_number_in_an_option_has_any_length(capsys):
    for value in ("9" * 5_000, "\u00b2", "0", "-1", "9"):
        assert run(["transcribe", str(CLIP), f"--channel={value}"]) == 2
        err = capsys.readouterr().err
        assert "is no channel" in err or len(value) > 1 and "Invalid value" in err
        assert "nternal" not in err and len(err) < 4_096


def bad_rows(path: Path, number: int) -> Path:
    path.write_bytes(b"".join(b'{"id": "u%d", "text": 7}\n' % i for i in range(number)))
    return path


def test_many_bad_rows_are_counted_and_the_first_are_shown(tmp_path, capsys):
    rows = bad_rows(tmp_path / "m.jsonl", 10_000)
    assert run(["validate", str(rows)]) == 4
    out, err = capsys.readouterr()
    assert len(out) < 20_000 and out.count("[manifest.type]") == 21
    assert "9,980 more like these [manifest.type]" in out
    assert "20,000 manifest.missing_key, 10,000 manifest.type" in err
    assert run(["validate", str(rows), "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["manifest.type"] == 10_000 and len(found["problems"]) == 40
    assert run(["validate", str(rows), "--all"]) == 4
    assert len(capsys.readouterr().out.splitlines()) == 30_000


@pytest.mark.slow
def test_a_million_bad_rows_take_less_than_30_seconds(tmp_path, capsys):
    rows = bad_rows(tmp_path / "m.jsonl", 1_000_000)

    def validate():
        assert run(["validate", str(rows)]) == 4
        assert len(capsys.readouterr().out) < 20_000

    assert_quick(validate, 30)
