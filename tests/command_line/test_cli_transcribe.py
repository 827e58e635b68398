"""`asr transcribe`: several formats, files, channels, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from textgrid_reader import read_textgrid

from asr.annotations.cues import read_subtitles
from asr.annotations.elan import read_eaf
from asr.cli import run
from asr.fleet.transcribe import Item, transcribe_items
from asr.recognizer import load

CLIPS = Path(__file__).parents[2] / "asr" / "assets" / "clips"
ONE, OTHER = CLIPS / "1-rms.ogg", CLIPS / "2-slt.ogg"


def asr(capsys, *arguments) -> tuple[int, str, str]:
    code = run([os.fspath(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def call(tmp_path_factory) -> Path:
    """A call: one sample clip on the left channel, another one on the right, after it."""
    from asr import load_audio

    left, right = (load_audio(path, sample_rate=8_000) for path in (ONE, OTHER))
    both = np.random.default_rng(1).normal(size=(len(left) + len(right) + 8_000, 2)) * 1e-4
    both[:len(left), 0] += left
    both[len(left) + 8_000:, 1] += right
    path = tmp_path_factory.mktemp("call") / "call.wav"
    soundfile.write(path, both, 8_000, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def texts(call) -> list[str]:
    """What is said on each channel, by itself."""
    from asr import load
    both, rate = soundfile.read(call, dtype="float32")
    return [load().transcribe(np.ascontiguousarray(both[:, n]), rate).text for n in (0, 1)]


def test_each_channel_is_a_speaker_in_order_of_time(capsys, call, texts, tmp_path):
    code, out, _ = asr(capsys, "transcribe", call, "--channel", "each", "--json")
    assert code == 0
    table = json.loads(out)
    assert table["speakers"] == ["left", "right"]
    said = {who: " ".join(s["text"] for s in table["segments"] if s["speaker"] == who)
            for who in ("left", "right")}
    assert said == {"left": texts[0], "right": texts[1]}
    starts = [segment["start"] for segment in table["segments"]]
    assert starts == sorted(starts)
    assert asr(capsys, "transcribe", call, "--channel", "each", "--speakers", "Anna, Ben", "-o",
               tmp_path / "c.srt", "-o", tmp_path / "c.ctm", "-o", tmp_path / "c.TextGrid", "-o",
               tmp_path / "c.eaf")[0] == 0
    cues = read_subtitles((tmp_path / "c.srt").read_text("utf-8"), "c.srt")
    assert cues[0][0].text.startswith("Anna: ")
    assert any(cue.text.startswith("Ben: ") for cue, _ in cues)
    assert {line.split()[1] for line in (tmp_path / "c.ctm").read_text().splitlines()} == {"A", "B"}
    tiers = read_textgrid((tmp_path / "c.TextGrid").read_text("utf-8"))
    assert [t for t in tiers if t.startswith("words")] == ["words Anna", "words Ben"]
    found, speakers, media = read_eaf((tmp_path / "c.eaf").read_bytes(), "c.eaf")
    assert speakers["utterance@Ben"] == "Ben" and media == "call.wav"
    assert " ".join(i.text for i in found["utterance@Ben"]) == texts[1]


@pytest.mark.parametrize("channel, number", [("left", 0), ("right", 1), ("2", 1)])
def test_one_channel(capsys, call, texts, channel, number):
    assert asr(capsys, "transcribe", call, "--channel", channel)[:2] == (0, texts[number] + "\n")


def test_each_channel_of_standard_input(call, texts):
    command = [sys.executable, "-m", "asr", "transcribe", "-", "--channel", "each"]
    done = subprocess.run(command, input=call.read_bytes(), capture_output=True, check=True)
    assert done.stdout.decode().startswith("left: ") and texts[1].encode() in done.stdout


def test_channels_that_are_not_there(capsys, call):
    code, _, err = asr(capsys, "transcribe", call, "--channel", "3")
    assert code == 3 and "has 2 channels, so there is no channel 3" in err
    code, _, err = asr(capsys, "transcribe", call, "--channel", "each", "--speakers", "Anna")
    assert code == 3 and "has 2 channels, but 1 speaker is named" in err
    code, _, err = asr(capsys, "transcribe", call, "--channel", "each", "--speakers", "Jo, Jo")
    assert code == 2 and "--speakers names 'Jo' twice" in err and "Jo 1,Jo 2" in err
    assert asr(capsys, "transcribe", ONE, "--channel", "each")[0] == 0, "mono is one speaker"
    assert "--channel each" in asr(capsys, "transcribe", call, "--speakers", "A,B")[2]


def test_several_formats_into_a_folder_and_what_exists_is_kept(capsys, tmp_path):
    out = tmp_path / "out"
    command = ["transcribe", ONE, OTHER, "-f", "txt", "-f", "srt", "-f", "txt", "-o", out]
    assert asr(capsys, *command)[0] == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "1-rms.srt", "1-rms.txt", "2-slt.srt", "2-slt.txt", "index.jsonl"]
    assert (out / "1-rms.txt").read_text() == "four two zero nine\n"
    (out / "1-rms.srt").unlink()
    (out / "1-rms.txt").write_text("mine")
    code, _, err = asr(capsys, *command)
    assert code == 0 and "1 of 2 transcripts existed" in err
    assert (out / "1-rms.srt").exists() and (out / "1-rms.txt").read_text() == "mine"


def test_one_recording_into_one_file(capsys, tmp_path):
    path = tmp_path / "talk.srt"
    assert asr(capsys, "transcribe", ONE, "-o", path) == (0, "", "")
    assert path.read_text("utf-8").startswith("1\n00:00:")
    code, _, err = asr(capsys, "transcribe", ONE, "-o", path)
    assert code == 2 and "exists and is kept" in err
    assert asr(capsys, "transcribe", ONE, "-o", path, "--overwrite")[0] == 0


@pytest.mark.parametrize("arguments, words", [
    ([ONE, "-f", "txt", "-f", "srt"], "not fit on standard output"),
    ([ONE, "-f", "docx"], "not fit on standard output"),
    ([ONE, OTHER, "-o", "a.srt"], "do not fit into the file"),
    ([ONE, "-f", "vtt", "-o", "a.srt"], "contradict"),
    ([ONE, "-o", "a.srt", "-o", "folder"], "give one folder, or files whose endings"),
    ([ONE, "-o", "nowhere/a.srt"], "expected the name of a file in a folder that exists")])
def test_outputs_that_cannot_be(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = asr(capsys, "transcribe", *arguments)
    assert code == 2 and words in err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["runs/mine", "NOT_THERE"])
def test_a_model_that_is_not_there_is_not_replaced_by_another(capsys, name):
    code, out, err = asr(capsys, "transcribe", name, ONE)
    assert (code, out) == (2, "") and f"{name} does not exist" in err and "nor a model" in err


def test_a_lower_sample_rate_is_said(capsys, tmp_path):
    path = tmp_path / "phone.wav"
    soundfile.write(path, np.random.default_rng(1).normal(size=8_000) * 0.1, 4_000)
    assert "lower sample rate than the" in asr(capsys, "transcribe", path)[2]


@pytest.mark.parametrize("lowest,said", [(4_000, False), (8_000, True), ("8 kHz", True)])
def test_a_sample_rate_of_the_training_data_is_not_remarked_on(tmp_path, lowest, said):
    path = tmp_path / "phone.wav"
    soundfile.write(path, np.random.default_rng(1).normal(size=8_000) * 0.1, 4_000)
    recognizer = load()
    recognizer.bundle = replace(recognizer.bundle, training={"lowest_sample_rate": lowest})
    notices = []
    item = Item(str(path), "phone.wav")
    assert list(transcribe_items(recognizer, [item], notice=notices.append))
    assert ["lower sample rate" in line for line in notices] == [True] * said


def test_paragraphs(capsys, call):
    code, out, _ = asr(capsys, "transcribe", call, "--channel", "each", "--paragraphs")
    assert code == 0 and out.startswith("left: ") and "\n\nright: " in out


def test_left_alone_names_media_and_what_to_install(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("asr.audio.av_decoder.find_spec", lambda name: None)
    for name in ("a.m4a", "b.avi", "notes.txt", *(f"{n}.dss" for n in range(5))):
        (tmp_path / name).touch()
    (tmp_path / "c.ogg").write_bytes(ONE.read_bytes())
    code, _, err = asr(capsys, "transcribe", tmp_path)
    assert code == 0 and ("Left alone: 1 .avi (b.avi), 5 .dss (0.dss, 1.dss, 2.dss, ...), "
                          "1 .m4a (a.m4a); --json lists all.") in err
    assert "pip install 'keras-asr[av]'" in err
    _, _, err = asr(capsys, "transcribe", tmp_path, "--json")
    left = next(json.loads(line) for line in err.splitlines() if "notice" in line)["files"]
    assert sorted(map(str, tmp_path.glob("*.dss"))) == [f for f in left if f.endswith(".dss")]


def test_too_few_names_are_refused_before_the_recording_is_read(call, capsys, monkeypatch):
    """An hour of two channels would be transcribed first."""
    from asr.inference import loading

    def never(*_, **__):
        raise AssertionError("it was read")

    monkeypatch.setattr(loading, "load_audio", never)
    code, _, err = asr(capsys, "transcribe", call, "--channel", "each", "--speakers", "Anna")
    assert code == 3 and "has 2 channels, but 1 speaker is named" in err


@pytest.mark.parametrize("name", ["talk.pdf", "talk.wav", "talk.html", "talk.asr", "talk.onnx"])
def test_an_ending_of_no_transcript_makes_no_folder(call, capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    code, _, err = asr(capsys, "transcribe", call, "-o", name)
    assert code == 2 and f"-o {name}: transcripts have no such format" in err and ".srt" in err
    assert not (tmp_path / name).exists()
    (tmp_path / name).mkdir()  # unless a folder is called so
    assert asr(capsys, "transcribe", call, "-o", name)[0] == 0
    (tmp_path / "v1.2").mkdir()
    assert asr(capsys, "transcribe", call, "-o", "v1.3")[0] == 0
