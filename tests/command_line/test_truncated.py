"""--allow-truncated: at every verb that reads audio, with the same meaning and one warning."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile

from asr.audio import read_header
from asr.bundle import load_bundle
from asr.cli import cli, run

CLIP = Path(__file__).parents[2] / "asr/assets/clips/1-rms.ogg"
DIGITS = CLIP.parents[1] / "digits.asr"
TEXT = "four two zero nine"
LOST = 16  # bytes: 8 samples
NO_AUDIO = {  # verbs that decode no recording of the user's
    "compare", "completion", "doctor", "download", "info", "lm info", "lm train", "recipe", "score",
    "shard",           # packs the bytes of recordings as they are
    "prepare tones", "prepare voices",  # make recordings
}


def verbs(command: click.Command, name: str = ""):
    """(name, command) of every verb, those of groups too."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for part in command.list_commands(context):
            found = command.get_command(context, part)
            assert found is not None
            yield from verbs(found, f"{name} {part}".strip())
    else:
        yield name, command


def test_every_verb_that_reads_audio_has_it():
    found = dict(verbs(cli))
    assert {"transcribe", "serve", "commands", "manifest export", "prepare csv"} <= set(found)
    without = {name for name, command in found.items()
               if "--allow-truncated" not in {o for p in command.params for o in p.opts}}
    assert without == NO_AUDIO & set(found)


@pytest.fixture
def cut(tmp_path) -> Path:
    """cut.wav lacks 0.5 ms and whole.ogg nothing; both.jsonl has both."""
    samples, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / "cut.wav", samples, rate)
    data = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[:-LOST])
    shutil.copy(CLIP, tmp_path / "whole.ogg")
    bundle = load_bundle(DIGITS)
    bundle.save(tmp_path / "near.asr", weights={
        name: np.float32(1.0001) * array for name, array in bundle.weights.items()})
    seconds = (len(samples) - LOST // 2) / rate
    (tmp_path / "both.jsonl").write_text("".join(
        json.dumps({"id": name, "audio_filepath": name, "text": TEXT, "duration": seconds}) + "\n"
        for name in ("cut.wav", "whole.ogg")))
    return tmp_path


@pytest.mark.parametrize("arguments", [
    ["quantize", DIGITS, "-o", "small.asr", "--verify", "both.jsonl"],
    ["average", DIGITS, "near.asr", "-o", "mean.asr", "--verify", "both.jsonl"],
    ["export", DIGITS, "digits.onnx", "--verify", "both.jsonl"],
    ["manifest", "export", "both.jsonl", "out", "--to", "lhotse"],
    ["manifest", "export", "both.jsonl", "out", "--to", "huggingface"],
    ["manifest", "export", "both.jsonl", "out", "--to", "deepspeech"],
    ["listen", DIGITS, "cut.wav"],
], ids=lambda arguments: " ".join(map(str, arguments[:2] + arguments[-1:])))
def test_refused_without_it_and_told_with_it(cut, arguments, capsys, monkeypatch,
                                             brief_certificate):
    if arguments[0] == "export":
        pytest.importorskip("onnx", reason="onnx is the extra keras-asr[onnx]")
    monkeypatch.chdir(cut)
    before = sorted(p.name for p in cut.iterdir())
    command = [str(argument) for argument in arguments]
    assert run(command) in (3, 4)
    assert "is cut" in capsys.readouterr().err
    assert sorted(p.name for p in cut.iterdir()) == before
    assert run([*command, "--allow-truncated"]) == 0
    said = capsys.readouterr()
    assert said.err.count("cut.wav is cut") == 1, said.err
    if arguments[0] == "listen":
        assert said.out == f"{TEXT}\n"
    if "lhotse" in arguments:
        (path,) = (cut / "out").glob("recordings_*.jsonl.gz")
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        declared = {row["id"]: row["num_samples"] for row in rows}
        assert declared["whole.ogg"] - declared["cut.wav"] == LOST // 2


def test_channels_of_a_cut_recording_stay_apart(tmp_path, capsys):
    """Its header alone says how many there are; mixed, two people would talk at once."""
    samples, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / "call.wav", np.stack([samples, 0 * samples + 1e-4], 1), rate)
    whole = tmp_path / "call.wav"
    whole.write_bytes(whole.read_bytes()[:-400])
    assert read_header(whole).channels == 2
    command = ["transcribe", str(whole), "--channel", "each", "-f", "json", "--stdout"]
    assert run([*command[:-1], "--allow-truncated"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert {word["channel"] for word in found["words"]} == {1}
    assert found["segments"][0]["speaker"] == "left"
    assert said.err.count("is cut") == 1


def test_long_rows_of_a_cut_recording_are_read(tmp_path, capsys):
    """A row that is longer than one pass of the network, ten minutes, is read in windows."""
    samples, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / "long.wav", np.tile(samples, 300), rate)
    path = tmp_path / "long.wav"
    path.write_bytes(path.read_bytes()[:-LOST])
    seconds = (300 * len(samples) - LOST // 2) / rate
    (tmp_path / "m.jsonl").write_text(json.dumps(
        {"id": "a", "audio_filepath": "long.wav", "text": " ".join([TEXT] * 300),
         "duration": seconds}) + "\n")
    command = ["evaluate", str(DIGITS), str(tmp_path / "m.jsonl"), "--json"]
    assert run(command) == 4
    capsys.readouterr()
    assert run([*command, "--allow-truncated"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["wer"] < 0.1
    assert said.err.count("is cut") == 1
