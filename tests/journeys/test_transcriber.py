"""A transcriber: an m4a with a person on each channel, to subtitles, Word and ELAN."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from journey_steps import commands, refused, travel

from asr.annotations.cues import read_subtitles
from asr.annotations.elan import read_eaf
from asr.audio import load_audio

av = pytest.importorskip("av", reason="PyAV is the extra keras-asr[av]")
docx = pytest.importorskip("docx", reason="python-docx is the extra keras-asr[docx]")

CLIPS = Path(__file__).parents[2] / "asr" / "assets" / "clips"
ENGLISH = CLIPS.parents[2] / "models" / "english.asr"
SAID = (CLIPS / "1-rms.ogg", CLIPS / "2-slt.ogg")
RATE = 16_000


def interview(path: Path, minutes: float, said: tuple[Path, Path] = SAID) -> None:
    """Two people who answer each other with these, over the noise of a room."""
    rng = np.random.default_rng(1)
    clips = [load_audio(name, sample_rate=RATE) for name in said]
    both = 3e-5 * rng.normal(size=(round(minutes * 60 * RATE), 2)).astype(np.float32)
    now, turn = RATE, 0
    while now + len(clips[turn]) < len(both):
        both[now:now + len(clips[turn]), turn] += clips[turn]
        now += len(clips[turn]) + round(rng.uniform(0.8, 2.0) * RATE)
        turn = 1 - turn
    with av.open(str(path), "w", format="ipod") as output:
        stream = output.add_stream("aac", rate=RATE, layout="stereo")
        stream.bit_rate = 128_000
        for start in range(0, len(both), 1_024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(both[start:start + 1_024].T), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


@pytest.mark.slow
def test_the_same_with_real_people(tmp_path, monkeypatch, shared_data, capsys):
    monkeypatch.chdir(tmp_path)
    kathleen = sorted((shared_data / "kathleen" / "audio").iterdir())[0]
    kerstin = sorted((shared_data / "kerstin" / "wavs").iterdir())[0]
    interview(tmp_path / "interview.m4a", 3.0, (kathleen, kerstin))
    travel([line.replace("interview.m4a", f"{ENGLISH} interview.m4a", 1)
            for line in commands("transcriber")], capsys)
    cues = [cue for cue, _ in read_subtitles(Path("interview.srt").read_text("utf-8"), "srt")]
    assert {cue.text.split(": ")[0] for cue in cues if ": " in cue.text} == {"Anna", "Ben"}
    assert all(b.start - a.end >= 0.079 for a, b in zip(cues, cues[1:], strict=False))
    assert Path("interview.docx").stat().st_size > 5_000
    tiers, *_ = read_eaf(Path("interview.eaf").read_bytes(), "eaf")
    assert all(tiers[f"utterance@{who}"] for who in ("Anna", "Ben"))


@pytest.mark.parametrize("minutes", [1.0, pytest.param(25.0, marks=pytest.mark.slow)])
def test_from_an_m4a_to_srt_docx_and_eaf(tmp_path, monkeypatch, capsys, minutes):
    monkeypatch.chdir(tmp_path)
    interview(tmp_path / "interview.m4a", minutes)
    lines = commands("transcriber")
    refused(capsys, lines[0].replace("interview.m4a", "inter.m4a"), "does not exist")
    refused(capsys, lines[0].replace("interview.m4a", "MODEL interview.m4a"), "nor a model")
    refused(capsys, lines[0].replace("Anna,Ben", "Anna"), "has 2 channels, but 1 speaker is")
    travel(lines, capsys)
    cues = [cue for cue, _ in read_subtitles(Path("interview.srt").read_text("utf-8"), "srt")]
    assert cues[0].text.startswith("Anna: ") and any(c.text.startswith("Ben: ") for c in cues)
    assert all(b.start - a.end >= 0.079 for a, b in zip(cues, cues[1:], strict=False))
    assert all(0.999 <= cue.end - cue.start <= 7.001 for cue in cues)
    tiers, speakers, media = read_eaf(Path("interview.eaf").read_bytes(), "eaf")
    assert set(speakers.values()) == {"Anna", "Ben"} and media == "interview.m4a"
    assert all(len(tiers[f"utterance@{who}"]) > 3 for who in ("Anna", "Ben"))
    starts = sorted((i.start, who) for who in ("Anna", "Ben") for i in tiers[f"utterance@{who}"])
    assert starts[0][1] == "Anna"
    document = docx.Document(io.BytesIO(Path("interview.docx").read_bytes()))
    assert document.paragraphs[1].text.startswith("[00:00:0") and "Ben: " in "".join(
        p.text for p in document.paragraphs)
    text = Path("interview.txt").read_text("utf-8")
    assert text.startswith("Anna: ") and "\n\nBen: " in text
    refused(capsys, lines[0], "exists and is kept")
    data = Path("interview.m4a").read_bytes()
    Path("cut.m4a").write_bytes(data[:len(data) // 2])
    refused(capsys, "asr transcribe cut.m4a", "cut.m4a")
