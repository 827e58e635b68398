"""Sounds in which nobody speaks: made, cut into pieces, prepared, counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_bundle import write_bundle

from asr.audio import load_audio, load_utterance
from asr.augment import noise_files
from asr.cli import run
from asr.errors import DataError, UsageError
from asr.manifest import read_manifest
from asr.voices.noises import KINDS, cut_pieces, make_noises, noise
from asr.voices.sound import flac_bytes


@pytest.fixture
def sounds(tmp_path):
    """Two recordings of 5 s in two folders, and one of digital silence."""
    for name, kind in (("a/1-bang", "bursts"), ("b/2-hum", "hum")):
        path = tmp_path / "sounds" / f"{name}.flac"
        path.parent.mkdir(parents=True)
        path.write_bytes(flac_bytes(noise(kind, np.random.default_rng(1))))
    (tmp_path / "sounds/a/1-nothing.flac").write_bytes(flac_bytes(np.zeros(8_000, np.float32)))
    return tmp_path / "sounds"


@pytest.mark.parametrize("kind", KINDS)
def test_made_noises(kind):
    audio = noise(kind, np.random.default_rng(1))
    assert audio.shape == (80_000,) and np.abs(audio).max() == pytest.approx(0.5)
    assert not np.array_equal(audio, noise(kind, np.random.default_rng(2)))


def test_noises_are_made_once_and_of_each_kind(tmp_path):
    make_noises(tmp_path, 1, 7)
    names = sorted(path.stem for path in tmp_path.iterdir())
    assert names == sorted(f"{KINDS[n % 6]}-{n:02d}" for n in range(7))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "hum-01.flac").write_bytes(b"kept")
    make_noises(tmp_path, 1, 7)
    assert (tmp_path / "hum-01.flac").read_bytes() == b"kept"
    assert {p: b for p, b in before.items() if p.stem != "hum-01"}.items() <= {
        p: p.read_bytes() for p in tmp_path.iterdir()}.items()


def test_pieces_are_as_long_as_the_recordings(sounds, tmp_path):
    files, out = noise_files(sounds), tmp_path / "pieces"
    rows = cut_pieces(noise_files(sounds, "[12]-[bh]*"), out, seed=3)
    assert len(rows) == 5, "10 s in pieces of 2.25 s"
    for u in rows:
        assert 0.5 <= u.duration <= 4.0 and u.offset == 0
        assert len(load_audio(u.audio, sample_rate=16_000)) == round(16_000 * u.duration)
        assert u.text == "" and u.speaker in ("1-bang", "2-hum") and u.speaker in u.id
    assert sorted(out.iterdir()) == sorted(u.audio for u in rows)
    rows = cut_pieces(files, out, seed=3)
    assert {u.speaker for u in rows} <= {"1-bang", "2-hum"}, "no digital silence"
    assert sorted(out.iterdir()) == sorted(u.audio for u in rows), "no piece of the call before"
    first = [u.audio.read_bytes() for u in rows]
    assert cut_pieces(files, out, seed=3) == rows
    assert [u.audio.read_bytes() for u in rows] == first
    assert cut_pieces(files, tmp_path / "other", seed=4) != rows
    assert {u.speaker for u in cut_pieces(noise_files(sounds, "2-*"), out, 9)} == {"2-hum"}
    (whole,) = cut_pieces(noise_files(sounds / "b"), out, 1, seconds=(9.0, 9.0))
    assert whole.duration == 5.0
    with pytest.raises(DataError, match="holds no audio called '7-\\*'"):
        noise_files(sounds, "7-*")
    with pytest.raises(UsageError, match="the shortest first"):
        cut_pieces(files, out, seconds=(2.0, 1.0))


def test_a_piece_is_a_part_of_its_recording_and_rises_from_silence(sounds, tmp_path):
    whole = load_audio(sounds / "a/1-bang.flac", sample_rate=16_000)
    for piece in cut_pieces(noise_files(sounds, "1-b*"), tmp_path / "pieces", 3):
        audio = load_utterance(piece, sample_rate=16_000)
        inner = audio[2_400:-2_400]  # 0.15 s of fades
        last = len(whole) - len(inner)
        fits = np.all([np.abs(whole[k:last + k] - inner[k]) < 1e-4 for k in range(0, 1_000, 20)],
                      axis=0)
        (begin,) = np.flatnonzero(fits)
        part = whole[begin - 2_400:begin + len(inner) + 2_400]
        np.testing.assert_allclose(part[2_400:-2_400], inner, atol=1e-4)
        for before, after in ((part[:2_400], audio[:2_400]), (part[::-1][:2_400],
                                                              audio[::-1][:2_400])):
            assert np.abs(after[:100]).max() < 0.01 * np.abs(before).max()
            np.testing.assert_allclose(after[1_200], 0.5 * before[1_200], atol=1e-3)


def test_the_verb(sounds, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["prepare", "noise", str(sounds), str(out), "--names", "[12]-[bh]*"]) == 0
    said = capsys.readouterr().err
    assert "pieces of 2 recordings, 0.00 h" in said and "data.non_speech = true" in said
    rows = read_manifest(out / "train.jsonl")
    assert rows and {u.text for u in rows} == {""}, "no --audio-root is needed"
    assert run(["prepare", "noise", str(sounds), str(out)]) == 2
    assert "exists and was left as it is" in capsys.readouterr().err
    assert run(["prepare", "noise", str(out)]) == 2
    assert "needs SRC, a folder of recordings, and OUT" in capsys.readouterr().err
    assert run(["prepare", "noise", str(tmp_path / "none"), str(tmp_path / "x")]) == 2
    assert "is no folder" in capsys.readouterr().err
    before = {p: p.read_bytes() for p in out.rglob("*.flac")}
    for source in (out, tmp_path):  # pieces of pieces, read while they are replaced
        assert run(["prepare", "noise", str(source), str(out), "--overwrite"]) == 2
        assert "in OUT/pieces, which is replaced" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in out.rglob("*.flac")} == before
    made = ["prepare", "noise", str(tmp_path / "made"), "--made"]
    assert run([*made, "6", "--names", "hum-*"]) == 2
    assert "leave it out with --made" in capsys.readouterr().err
    assert run([*made, "6"]) == 0
    rows = read_manifest(tmp_path / "made/train.jsonl")
    assert {u.speaker for u in rows} <= {f"{kind}-{n:02d}" for n, kind in enumerate(KINDS)}
    assert sorted(p.stem for p in (tmp_path / "made/made").iterdir()) == sorted(
        f"{kind}-{n:02d}" for n, kind in enumerate(KINDS))
    before = (tmp_path / "made/made/hum-01.flac").read_bytes()
    (tmp_path / "made/train.jsonl").unlink()
    assert run([*made, "2", "--seed", "2"]) == 2, "sounds of a run that was interrupted"
    assert "exists and was left as it is" in capsys.readouterr().err
    assert (tmp_path / "made/made/hum-01.flac").read_bytes() == before
    (tmp_path / "made/made/mine.flac").write_bytes(before)
    assert run([*made, "2", "--seed", "2", "--overwrite"]) == 0
    assert {p.name for p in (tmp_path / "made/made").iterdir()} == {
        "coloured-00.flac", "hum-01.flac", "mine.flac"}, "what somebody else put there stays"
    assert (tmp_path / "made/made/hum-01.flac").read_bytes() != before
    rows = read_manifest(tmp_path / "made/train.jsonl")
    assert {u.speaker for u in rows} == {"coloured-00", "hum-01"}, "no sound of the run before"


def test_words_on_pieces_are_counted(sounds, tmp_path, capsys):
    assert run(["prepare", "noise", str(sounds), str(tmp_path / "noise")]) == 0
    (tmp_path / "one.wav").write_bytes((sounds / "b/2-hum.flac").read_bytes())
    (tmp_path / "test.jsonl").write_text(json.dumps(
        {"id": "one", "audio_filepath": "one.wav", "text": "a", "duration": 5.0}) + "\n")
    bundle = write_bundle(tmp_path / "tiny.asr")
    command = ["audit", str(tmp_path / "test.jsonl"), "--bundle", str(bundle), "--silence",
               "--noise"]
    rates = []
    for place in (tmp_path / "noise/train.jsonl", sounds):
        assert run([*command, str(place)]) == 0
        rates.append([line for line in capsys.readouterr().out.splitlines()
                      if "words per minute of recordings" in line])
    assert all(len(lines) == 1 for lines in rates)
