"""The scripts of the pages, in Node: they compute what Python computes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.pages.frame import page_file
from asr.transcript import Transcript, Word, render

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
WORDS = ["one", "and", "the", "because", "Weißenburg,", "no.", "x" * 60, "नमस्ते", "שלום", "a&b",
         "-->", "<i>", "😀", "und", "wir"]


@pytest.fixture
def evaluate(tmp_path):
    """The value of a JavaScript expression over `input`, after some scripts of the pages."""
    def run(program: str, value, *scripts: str):
        (tmp_path / "input.json").write_text(json.dumps(value), encoding="utf-8")
        code = (page_file(*scripts) + "\nconst input = JSON.parse(require('fs').readFileSync("
                f"'input.json', 'utf8'));\nprocess.stdout.write(JSON.stringify({program}));\n")
        (tmp_path / "program.js").write_text(code, encoding="utf-8")
        done = subprocess.run([shutil.which("node"), "program.js"], cwd=tmp_path,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    return run


def test_every_asset_is_of_a_page():
    code = "".join(path.read_text("utf-8") for name in ("pages", "inspection", "export")
                   for path in (ROOT / "asr" / name).glob("*.py"))
    for path in (ROOT / "asr/pages/assets").iterdir():
        assert f'"{path.name}"' in code, f"no page has {path.name}"


def random_transcript(rng) -> Transcript:
    time, words = 0.0, []
    for _ in range(int(rng.integers(0, 60))):
        time += float(rng.choice([0.0, 0.01, 0.3, 0.7, 1.2, 4.0]))
        end = time + float(rng.choice([0.1, 0.25, 0.5, 3.0]))
        words.append(Word(str(rng.choice(WORDS)), round(time, 3), round(end, 3), 0.5))
        time = end
    return Transcript(" ".join(w.text for w in words), 0.0, tuple(words), 0.5, time + 0.4)


def test_subtitles_are_those_of_python(evaluate, rng):
    transcripts = [random_transcript(rng) for _ in range(200)]
    takes = [{"name": "a", "duration": t.duration, "words": [
        {"text": w.text, "start": w.start, "end": w.end, "confidence": w.confidence}
        for w in t.words]} for t in transcripts]
    got = evaluate("input.map(take => ['srt', 'vtt', 'txt'].map(kind => transcriptAs(kind, take)))",
                   takes, "subtitles.js")
    for transcript, (srt, vtt, txt) in zip(transcripts, got, strict=True):
        assert srt == render(transcript, "srt", "")
        assert vtt == render(transcript, "vtt", "")
        assert txt == transcript.text + "\n"


def test_rows_and_names_are_safe(evaluate):
    row, *stems = evaluate(
        r"[manifestRow('a', 'a.wav', ' one\ntwo\u001b[31m\u202e ', 1.23456),"
        " ...input.map(stemOf)]", ["../../etc/passwd", "my talk.final.wav", "ü 1.ogg", "...", ""],
        "subtitles.js")
    assert json.loads(row) == {"id": "a", "audio_filepath": "a.wav", "text": "one two",
                               "duration": 1.235}
    assert stems == ["etc_passwd", "my_talk_final", "ü_1", "recording", "recording"]


@pytest.mark.parametrize("rates", [(48_000, 16_000), (44_100, 16_000), (16_000, 8_000),
                                   (8_000, 16_000), (16_000, 16_000), (11_025, 7_999)])
def test_resampling_piece_by_piece_is_that_of_the_whole(evaluate, rng, rates):
    sound = rng.standard_normal(5_000).round(4).tolist()
    places = [0, *sorted(rng.integers(0, 5_000, 12).tolist()), 5_000]
    whole, pieces = evaluate(
        "(() => { const [sound, places, from, to] = input, s = Float32Array.from(sound);"
        "const r = new Resampler(from, to), all = places.slice(1).map((end, k) => "
        "r.push(s.slice(places[k], end)));"
        "all.push(r.push(new Float32Array(0), true));"
        "return [Array.from(resample(s, from, to)), Array.from(joined(all))]; })()",
        [sound, places, *rates], "signal.js")
    assert whole == pieces
    assert len(whole) == -(-5_000 * rates[1] // rates[0])


def test_wav_files_are_written_and_read(evaluate, rng, tmp_path):
    sound = rng.uniform(-1.2, 1.2, 501).astype(np.float32)
    written = evaluate("Array.from(writeWav(Float32Array.from(input), 16000))", sound.tolist(),
                       "signal.js")
    (tmp_path / "a.wav").write_bytes(bytes(written))
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == 16_000 and np.abs(samples - sound.clip(-1, 1)).max() <= 1 / 32_768
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"):
        stereo = np.stack([samples, samples / 2], axis=1)
        soundfile.write(tmp_path / "b.wav", stereo, 44_100, subtype=subtype)
        expected, _ = soundfile.read(tmp_path / "b.wav", dtype="float32")
        got = evaluate("(() => { const { samples, rate } = readWav(Uint8Array.from(input).buffer); "
                       "return [Array.from(samples), rate]; })()",
                       list((tmp_path / "b.wav").read_bytes()), "signal.js")
        assert got[1] == 44_100 and np.abs(got[0] - expected.mean(axis=1)).max() < 1e-6
    assert evaluate("readWav(Uint8Array.from([1, 2, 3]).buffer)", 0, "signal.js") is None


@pytest.mark.parametrize("text, expected", [
    ("one two three", [("one", 0.0, 1.0), ("two", 1.0, 2.0), ("three", 3.0, 4.0)]),
    ("one three", [("one", 0.0, 1.0), ("three", 3.0, 4.0)]),
    ("one zwei three", [("one", 0.0, 1.0), ("zwei", 1.0, 2.0), ("three", 3.0, 4.0)]),
    ("one two a b three", [("one", 0.0, 1.0), ("two", 1.0, 2.0), ("a", 2.0, 2.5), ("b", 2.5, 3.0),
                           ("three", 3.0, 4.0)]),
    ("one x two three", [("one", 0.0, 0.5), ("x", 0.5, 1.0), ("two", 1.0, 2.0),
                         ("three", 3.0, 4.0)]),
    ("one two three four", [("one", 0.0, 1.0), ("two", 1.0, 2.0), ("three", 3.0, 3.5),
                            ("four", 3.5, 4.0)]),
    ("", [])])
def test_corrected_words_keep_or_get_times(evaluate, text, expected):
    words = [{"text": "one", "start": 0, "end": 1, "confidence": 0.5},
             {"text": "two", "start": 1, "end": 2, "confidence": 0.5},
             {"text": "three", "start": 3, "end": 4, "confidence": 0.5}]
    got = evaluate("[retimed(input[0], input[1]), input[0]]", [words, text], "words.js")
    assert [(w["text"], w["start"], w["end"]) for w in got[0]] == expected
    assert all(("corrected" in w) == (w["text"] not in ("one", "two", "three"))
               and w["confidence"] == (1 if "corrected" in w else 0.5) for w in got[0])
    assert got[1] == words  # what was recognised stays as it was


def test_a_long_text_is_corrected_at_once(evaluate):
    words = [{"text": f"w{n}", "start": n, "end": n + 1, "confidence": 1} for n in range(20_000)]
    text = " ".join(w["text"] for w in words).replace("w10000 ", "new ")
    got = evaluate("retimed(input[0], input[1]).map(w => w.text).join(' ')", [words, text],
                   "words.js")
    assert got == text
