"""Synthesised voices: with stand-in programs everywhere, with the real ones where installed."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest
import soundfile
import synthesise as voices
from voice_list import (
    DIGITS,
    FESTIVAL_PACKAGES,
    FESTIVAL_RESPELLINGS,
    RESPELLINGS,
    Voice,
    default_voices,
)

from asr.errors import CorpusError, UsageError
from asr.manifest import read_manifest

ESPEAK = Voice("espeak-ng", "en-us+m1", 50, 1.0)
PAIR = [ESPEAK, Voice("flite", "rms", 100, 1.1)]
STAND_IN = """#!/usr/bin/env python3
import math, struct, sys, time, wave
text = sys.stdin.buffer.read().decode("utf-8")
path = sys.argv[sys.argv.index("-w" if "-w" in sys.argv else "-o") + 1]
with open(__file__ + ".log", "a", encoding="utf-8") as log:
    print(sys.argv[1:], text, file=log)
{action}
samples = [round(level * math.sin(k / 5)) for k in range(2000 + 400 * len(text))]
with wave.open(path, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(22050)
    file.writeframes(struct.pack(f"<{{len(samples)}}h", *samples))
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function that installs stand-ins for all three programs and returns their folder."""
    def install(action="level = 9000"):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name in voices.PACKAGES:
            (folder / name).write_text(STAND_IN.format(action=action))
            (folder / name).chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder
    return install


def test_voices_are_many_distinct_and_seeded():
    one = default_voices(1)
    assert len(one) >= 120 and len({v.id for v in one}) == len(one)
    assert one == default_voices(1) != default_voices(2)
    assert {v.program for v in one} == set(voices.PACKAGES)


def test_every_respelling_has_ten_different_words():
    for voice, spelling in (RESPELLINGS | FESTIVAL_RESPELLINGS).items():
        words = spelling.split()
        assert len(words) == len(set(words)) == len(DIGITS), voice


def test_every_voice_of_festival_has_its_debian_package():
    used = {v.name for v in default_voices() if v.program == "text2wave"}
    assert used == set(FESTIVAL_PACKAGES) > set(FESTIVAL_RESPELLINGS)


def test_digit_strings_are_distinct_seeded_and_hold_out_what_they_must():
    strings = voices.digit_strings(200, 3)
    assert strings == voices.digit_strings(200, 3) and len(set(strings)) == 200
    assert all(2 <= len(s.split()) <= 7 and set(s.split()) <= set(DIGITS) for s in strings)
    assert not set(strings[:50]) & set(voices.digit_strings(200, 3, exclude=strings[:50]))


def test_a_voice_of_another_language_reads_respelled_digits():
    german = Voice("espeak-ng", "de+f1", 50, 1.0)
    assert german.spelling("one, five two") == "wann, feif tuh"
    assert ESPEAK.spelling("one, five two") == "one, five two"
    with pytest.raises(UsageError, match="ten English digits only, got 'hello'"):
        german.spelling("one hello")
    assert Voice("text2wave", "czech_ph", 0, 1.0).spelling("two, five") == "tu, fajv"
    assert Voice("text2wave", "kal_diphone", 0, 1.0).spelling("two, five") == "two, five"


def test_prepare_writes_what_it_says(program, tmp_path):
    program()
    pool = voices.digit_strings(20, 1)
    chosen = [ESPEAK, Voice("flite", "rms", 100, 1.1), Voice("text2wave", "kal_diphone", 0, 0.9)]
    out = tmp_path / "out"
    splits = voices.prepare(out, pool, chosen, texts_per_voice=5, valid_every=2)
    assert [len(splits[s]) for s in ("train", "valid")] == [15, 30]
    assert {u.speaker for u in splits["train"]} == {chosen[1].id}
    for split, rows in splits.items():
        assert read_manifest(out / f"{split}.jsonl") == rows
        for utterance in rows:
            info = soundfile.info(utterance.audio)
            assert (info.samplerate, info.channels, info.format) == (16_000, 1, "FLAC")
            assert info.frames / 16_000 == pytest.approx(utterance.duration, abs=1e-3)
            assert utterance.text in {*DIGITS, *pool}
    assert [u.text for u in splits["train"]][:10] == list(DIGITS)


def test_the_text_never_becomes_an_argument(program, tmp_path):
    folder = program()
    for name in voices.PACKAGES:
        voices.say(Voice(name, "x", 50, 1.0), "--version; $(touch pwned)")
        log = (folder / f"{name}.log").read_text()
        arguments, _, text = log.rpartition("] ")
        assert "pwned" not in arguments and text.strip() == "--version; $(touch pwned)"


def test_a_finished_folder_is_returned_and_an_unfinished_one_made_again(program, tmp_path):
    folder = program()
    out = tmp_path / "out"
    first = voices.prepare(out, ["one two"], PAIR)
    calls = (folder / "espeak-ng.log").read_text()
    assert voices.prepare(out, ["one two"], PAIR) == first
    assert (folder / "espeak-ng.log").read_text() == calls
    (out / "voices.json").unlink()
    first["valid"][3].audio.write_bytes(b"torn")
    assert voices.prepare(out, ["one two"], PAIR) == first
    assert soundfile.info(first["valid"][3].audio).frames > 0


def test_nothing_foreign_is_touched(program, tmp_path):
    program()
    out = tmp_path / "out"
    voices.prepare(out, ["one two"], PAIR)
    with pytest.raises(CorpusError, match=r"holds voices made with other settings \(seed\)"):
        voices.prepare(out, ["one two"], PAIR, seed=2)
    (out / "voices.json").write_text("{")
    with pytest.raises(CorpusError, match="is not JSON"):
        voices.prepare(out, ["one two"], PAIR)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("mine")
    with pytest.raises(CorpusError, match="already holds 'thesis.tex'"):
        voices.prepare(tmp_path / "home", ["one two"], PAIR)
    with pytest.raises(CorpusError, match="is a file"):
        voices.prepare(tmp_path / "home" / "thesis.tex", ["one two"], PAIR)


def test_impossible_arguments(program, tmp_path):
    program()
    with pytest.raises(UsageError, match="Got 1 voices"):
        voices.prepare(tmp_path / "x", ["one"], [ESPEAK])
    with pytest.raises(UsageError, match="0 texts"):
        voices.prepare(tmp_path / "x", [], PAIR)
    with pytest.raises(UsageError, match="given twice"):
        voices.prepare(tmp_path / "x", ["one"], [ESPEAK, ESPEAK])
    with pytest.raises(UsageError, match="Unknown speech program 'hal'"):
        voices.prepare(tmp_path / "x", ["one"], [ESPEAK, Voice("hal", "9000", 1, 1.0)])
    with pytest.raises(UsageError, match="valid_every is 1"):
        voices.prepare(tmp_path / "x", ["one"], PAIR, valid_every=1)
    assert not (tmp_path / "x").exists()


def test_a_missing_program_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert voices.available_programs() == []
    with pytest.raises(CorpusError, match="not installed: text2wave.*apt install festival"):
        voices.prepare(tmp_path / "x", ["one"], [Voice("text2wave", x, 0, 1.0) for x in "ab"])
    with pytest.raises(CorpusError, match="espeak-ng is not installed"):
        voices.say(ESPEAK, "one")


def test_a_missing_voice_of_festival_is_named_before_anything_is_said(program, tmp_path):
    folder = program("if 'voice_czech_ph' in str(sys.argv): "
                     "sys.exit('SIOD ERROR: unbound variable : voice_czech_ph')\nlevel = 9000")
    with pytest.raises(CorpusError, match="no voice czech_ph .*apt install festvox-czech-ph"):
        voices.prepare(tmp_path / "x", ["one"], [ESPEAK, Voice("text2wave", "czech_ph", 0, 1.0)])
    assert not (folder / "espeak-ng.log").exists() and not (tmp_path / "x").exists()


def test_a_mistake_of_festival_is_not_taken_for_a_missing_voice(program):
    program("sys.exit('SIOD ERROR: wrong type of argument to car')")
    with pytest.raises(CorpusError, match=r"failed to say 'one' \(exit 1\): SIOD ERROR"):
        voices.say(Voice("text2wave", "kal_diphone", 0, 1.0), "one")


@pytest.mark.parametrize(("action", "match"), [
    ("sys.exit('no such voice')", r"failed to say 'one' \(exit 1\): no such voice"),
    ("sys.exit(0)", r"failed to say 'one' \(exit 0\): no message"),
    ("sys.exit(open(path, 'wb').close())", r"failed to say 'one' \(exit 0\): no message"),
    ("time.sleep(60)", "took more than 0.2 s"),
    ("level = 0", "wrote silence for 'one'"),
])
def test_a_program_that_misbehaves(program, action, match):
    program(action)
    with pytest.raises(CorpusError, match=match):
        voices.say(ESPEAK, "one", timeout=0.2 if "sleep" in action else 20)


def test_silence_around_the_speech_is_bounded(program):
    quiet = np.concatenate([np.zeros(8_000), np.ones(100), np.zeros(8_000)]).astype(np.float32)
    assert len(voices.trimmed(quiet, 8_000)) == pytest.approx(1_700, abs=2)


def test_the_noise_bed_lies_as_far_below_the_speech_as_it_says():
    speech = np.sin(np.arange(16_000) / 5).astype(np.float32)
    for seed in range(20):
        noise = voices.with_noise_bed(speech, np.random.default_rng(seed)) - speech
        below = 10 * np.log10(np.mean(speech ** 2) / np.mean(noise ** 2))
        assert 24.9 < below < 55.1


@pytest.mark.parametrize("name", list(voices.PACKAGES))
def test_the_real_program_speaks(name):
    if name not in voices.available_programs():
        pytest.skip(f"{name} is not installed")
    voice = next(v for v in default_voices() if v.program == name)
    try:
        short, long = (voices.say(voice, text) for text in ("one", "one two three four five"))
    except CorpusError as error:
        pytest.skip(f"{voice.id} is not installed: {error}")
    assert short.dtype == np.float32 and np.abs(short).max() == pytest.approx(0.5, abs=1e-3)
    assert 0.2 < len(short) / 16_000 < len(long) / 16_000 < 6
