"""Synthesised voices: with stand-in programs everywhere, with the real ones where installed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr import voices
from asr.cli import run
from asr.errors import CorpusError, UsageError
from asr.manifest import read_manifest
from asr.voices import DIGITS, Voice, corpus, hibari, kokoro, programs, sound
from asr.voices.digits import SAMPLE_TEXTS, default_voices, digit_strings
from asr.voices.respelling import (
    FESTIVAL_PACKAGES,
    FESTIVAL_RESPELLINGS,
    RESPELLINGS,
    spelling,
)
from asr.voices.speaker import blends, voice_of

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
        for name in programs.PACKAGES:
            (folder / name).write_text(STAND_IN.format(action=action))
            (folder / name).chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder
    return install


def test_voices_are_many_distinct_and_seeded():
    one = default_voices(1)
    assert len(one) >= 120 and len({v.id for v in one}) == len(one)
    assert one == default_voices(1) != default_voices(2)
    assert {v.engine for v in one} == set(programs.PACKAGES)


def test_every_respelling_has_ten_different_words():
    for voice, words_of in (RESPELLINGS | FESTIVAL_RESPELLINGS).items():
        words = words_of.split()
        assert len(words) == len(set(words)) == len(DIGITS), voice


def test_every_voice_of_festival_has_its_debian_package():
    used = {v.name for v in default_voices() if v.engine == "text2wave"}
    assert used == set(FESTIVAL_PACKAGES) > set(FESTIVAL_RESPELLINGS)


def test_digit_strings_are_distinct_seeded_and_hold_out_what_they_must():
    strings = digit_strings(200, 3)
    assert strings == digit_strings(200, 3) and len(set(strings)) == 200
    assert all(2 <= len(s.split()) <= 7 and set(s.split()) <= set(DIGITS) for s in strings)
    assert not set(strings[:50]) & set(digit_strings(200, 3, exclude=strings[:50]))


def test_a_voice_of_another_language_reads_respelled_digits():
    german = Voice("espeak-ng", "de+f1", 50, 1.0)
    assert spelling(german, "one, five two") == "wann, feif tuh"
    assert spelling(ESPEAK, "one, five two") == "one, five two"
    with pytest.raises(UsageError, match="ten English digits only, got 'hello'"):
        spelling(german, "one hello")
    assert spelling(Voice("text2wave", "czech_ph", 0, 1.0), "two, five") == "tu, fajv"
    assert spelling(Voice("text2wave", "kal_diphone", 0, 1.0), "two, five") == "two, five"


def test_prepare_writes_what_it_says(program, tmp_path):
    program()
    pool = digit_strings(20, 1)
    chosen = [ESPEAK, Voice("flite", "rms", 100, 1.1), Voice("text2wave", "kal_diphone", 0, 0.9)]
    out = tmp_path / "out"
    splits = corpus.prepare(out, pool, chosen, always=DIGITS, texts_per_voice=5, valid_every=2)
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
    for name in programs.PACKAGES:
        voices.say(Voice(name, "x", 50, 1.0), "--version; $(touch pwned)")
        log = (folder / f"{name}.log").read_text()
        arguments, _, text = log.rpartition("] ")
        assert "pwned" not in arguments and text.strip() == "--version; $(touch pwned)"


def test_a_finished_folder_is_returned_and_an_unfinished_one_made_again(program, tmp_path):
    folder = program()
    out = tmp_path / "out"
    first = corpus.prepare(out, ["one two"], PAIR)
    calls = (folder / "espeak-ng.log").read_text()
    assert corpus.prepare(out, ["one two"], PAIR) == first
    assert (folder / "espeak-ng.log").read_text() == calls
    (out / "voices.json").unlink()
    first["valid"][0].audio.write_bytes(b"torn")
    assert corpus.prepare(out, ["one two"], PAIR) == first
    assert soundfile.info(first["valid"][0].audio).frames > 0


def test_after_an_interruption_what_was_made_is_kept(program, tmp_path, monkeypatch):
    program()
    out, pool = tmp_path / "out", digit_strings(8, 1)
    whole = corpus.prepare(tmp_path / "whole", pool, PAIR, jobs=1)

    class Killed(BaseException):
        pass

    def stop(done, total):
        if done == 10:
            raise Killed
    with pytest.raises(Killed):
        corpus.prepare(out, pool, PAIR, jobs=1, progress=stop)
    assert not (out / "voices.json").exists()
    said = []
    speak = corpus.say
    monkeypatch.setattr(corpus, "say", lambda *a: said.append(a) or speak(*a))
    again = corpus.prepare(out, pool, PAIR, jobs=1)
    assert len(said) < 10
    for split in whole:
        assert [u.text for u in again[split]] == [u.text for u in whole[split]]
        for one, other in zip(whole[split], again[split], strict=True):
            assert one.audio.read_bytes() == other.audio.read_bytes()
    assert sorted(p.name for p in out.iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir())


def test_nothing_foreign_is_touched(program, tmp_path):
    program()
    out = tmp_path / "out"
    corpus.prepare(out, ["one two"], PAIR)
    with pytest.raises(CorpusError, match=r"holds voices made with other settings \(seed\)"):
        corpus.prepare(out, ["one two"], PAIR, seed=2)
    (out / "voices.json").write_text("{")
    with pytest.raises(CorpusError, match="is not JSON"):
        corpus.prepare(out, ["one two"], PAIR)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("mine")
    with pytest.raises(CorpusError, match="already holds 'thesis.tex'"):
        corpus.prepare(tmp_path / "home", ["one two"], PAIR)
    with pytest.raises(UsageError, match="is a file"):
        corpus.prepare(tmp_path / "home" / "thesis.tex", ["one two"], PAIR)


def test_impossible_arguments(program, tmp_path):
    program()
    with pytest.raises(UsageError, match="Got 1 voice "):
        corpus.prepare(tmp_path / "x", ["one"], [ESPEAK])
    with pytest.raises(UsageError, match="0 texts"):
        corpus.prepare(tmp_path / "x", [], PAIR)
    with pytest.raises(UsageError, match="given twice"):
        corpus.prepare(tmp_path / "x", ["one"], [ESPEAK, ESPEAK])
    with pytest.raises(UsageError, match="Unknown speech engine 'hal'"):
        corpus.prepare(tmp_path / "x", ["one"], [ESPEAK, Voice("hal", "9000", 1, 1.0)])
    with pytest.raises(UsageError, match="valid_every is 1"):
        corpus.prepare(tmp_path / "x", ["one"], PAIR, valid_every=1)
    assert not (tmp_path / "x").exists()


def test_a_missing_program_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.available_programs() == []
    with pytest.raises(CorpusError, match="not installed: text2wave.*apt install festival"):
        corpus.prepare(tmp_path / "x", ["one"], [Voice("text2wave", x, 0, 1.0) for x in "ab"])
    with pytest.raises(CorpusError, match="espeak-ng is not installed"):
        voices.say(ESPEAK, "one")


def test_a_missing_voice_of_festival_is_named_before_anything_is_said(program, tmp_path):
    folder = program("if 'voice_czech_ph' in str(sys.argv): "
                     "sys.exit('SIOD ERROR: unbound variable : voice_czech_ph')\nlevel = 9000")
    with pytest.raises(CorpusError, match="no voice czech_ph .*apt install festvox-czech-ph"):
        corpus.prepare(tmp_path / "x", ["one"], [ESPEAK, Voice("text2wave", "czech_ph", 0, 1.0)])
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
    assert len(sound.trimmed(quiet, 8_000)) == pytest.approx(1_700, abs=2)


def test_the_noise_bed_lies_as_far_below_the_speech_as_it_says():
    speech = np.sin(np.arange(16_000) / 5).astype(np.float32)
    for seed in range(20):
        noise = voices.with_noise_bed(speech, np.random.default_rng(seed)) - speech
        below = 10 * np.log10(np.mean(speech ** 2) / np.mean(noise ** 2))
        assert 24.9 < below < 55.1


@pytest.mark.parametrize("name", list(programs.PACKAGES))
def test_the_real_program_speaks(name):
    if name not in programs.available_programs():
        pytest.skip(f"{name} is not installed")
    voice = next(v for v in default_voices() if v.engine == name)
    try:
        short, long = (voices.say(voice, text) for text in ("one", "one two three four five"))
    except CorpusError as error:
        pytest.skip(f"{voice.id} is not installed: {error}")
    assert short.dtype == np.float32 and np.abs(short).max() == pytest.approx(0.5, abs=1e-3)
    assert 0.2 < len(short) / 16_000 < len(long) / 16_000 < 6


def test_an_id_names_its_voice():
    for voice in (*default_voices(), *voices.voices_named(["kokoro", "kokoro-blends", "hibari",
                                                           "kokoro-accents"])):
        assert voice_of(voice.id) == voice
    with pytest.raises(UsageError, match="is not the id of a voice"):
        voice_of("af_bella")
    with pytest.raises(UsageError, match="rate must be between"):
        voice_of("hibari.heart.p100.r9.00")


def test_blends_are_different_pairs():
    names = blends(kokoro.ENGLISH, 56, 2)
    assert len({name.partition("@")[0] for name in names}) == 56
    assert len(blends(["a", "b", "c"], 10)) == 3


def test_voices_from_sets_ids_and_files(tmp_path):
    listed = tmp_path / "voices.txt"
    listed.write_text(f"# two\n{ESPEAK.id}\n\n{PAIR[1].id}  # the second\n")
    assert voices.voices_named([str(listed), ESPEAK.id]) == PAIR
    with pytest.raises(UsageError, match="no set of voices, no id and no file; sets are programs"):
        voices.voices_named(["kokorro"])


class _Kokoro:
    """In the place of kokoro-onnx: a tone as long as the text."""

    voices = {"af_bella": np.zeros((3, 1, 256), np.float32),
              "am_adam": np.ones((3, 1, 256), np.float32)}
    heard: list[tuple[float, float, str]] = []

    def create(self, text, style, speed, language):
        self.heard.append((float(style.mean()), speed, language))
        return np.sin(np.arange(2_400 * len(text)) / 9).astype(np.float32), 24_000


def test_kokoro_blends_and_warps(tmp_path, monkeypatch):
    for variable in (kokoro.MODEL, kokoro.VOICES):
        (tmp_path / variable).write_text("x")
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(kokoro, "_model", lambda model, voices: (_Kokoro(), _Kokoro.voices))
    long = voices.say(voice_of("kokoro.af_bella+am_adam@0.40.p0.r1.00.w1.25"), "hello")
    assert _Kokoro.heard[-1] == (pytest.approx(0.4), pytest.approx(0.8), "en-us")
    assert len(long) == pytest.approx(12_000 / 24_000 * 16_000 / 1.25, abs=30)
    with pytest.raises(UsageError, match="Kokoro has no voice 'hal'; it has af_bella, am_adam"):
        voices.say(Voice("kokoro", "hal"), "hello")


def test_kokoro_without_its_files(monkeypatch, tmp_path):
    monkeypatch.delenv(kokoro.MODEL, raising=False)
    with pytest.raises(CorpusError, match="KOKORO_MODEL is not there.*--kokoro MODEL VOICES"):
        voices.say(Voice("kokoro", "af_bella"), "hello")
    for variable in (kokoro.MODEL, kokoro.VOICES):
        (tmp_path / variable).write_text("not a model")
        monkeypatch.setenv(variable, str(tmp_path / variable))
    with pytest.raises(CorpusError, match="kokoro-onnx|cannot be loaded as Kokoro"):
        voices.say(Voice("kokoro", "af_bella"), "hello")


@pytest.mark.slow
def test_the_real_kokoro_speaks():
    if not kokoro.is_available():
        pytest.skip("KOKORO_MODEL and KOKORO_VOICES name no files, or kokoro-onnx is missing")
    audio = voices.say(Voice("kokoro", "bm_lewis"), "four, two, nine.")
    assert 0.5 < len(audio) / 16_000 < 4


def test_the_real_hibari_changes_pitch_and_size():
    if not hibari.available_names():
        pytest.skip("hibari-tts is not installed")
    text = "Seven swans swim slowly."
    plain, low = (voices.say(Voice("hibari", "heart", pitch), text) for pitch in (100, 60))
    assert len(plain) == pytest.approx(len(low), rel=0.1)
    assert _pitch(low) == pytest.approx(0.6 * _pitch(plain), rel=0.15)
    small = voices.say(Voice("hibari", "heart", 100, 1.0, 1.2), text)
    assert len(small) == pytest.approx(len(plain), rel=0.15)  # the rate stays
    assert _pitch(small) == pytest.approx(_pitch(plain), rel=0.15)  # the pulses take it back
    again = voices.say(Voice("hibari", "heart", 60), text)
    assert np.array_equal(low, again)
    with pytest.raises(UsageError, match="hibari has no voice 'hal' on this machine"):
        voices.say(Voice("hibari", "hal", 100), text)


def _pitch(audio) -> float:
    """Median over the loud frames of the best lag of the autocorrelation, as Hz."""
    found = []
    for start in range(0, len(audio) - 1_024, 256):
        frame = audio[start:start + 1_024] * np.hanning(1_024)
        if np.square(frame).mean() > 0.2 * np.square(audio).mean():
            power = np.abs(np.fft.rfft(frame, 4_096)) ** 2
            lags = np.fft.irfft(power)[:1_024]
            found.append(16_000 / (40 + int(np.argmax(lags[40:320]))))
    return float(np.median(found))


def test_the_verb(program, tmp_path, capsys):
    program()
    texts = tmp_path / "texts.txt"
    texts.write_text("one\ntwo\n\none two  three\none\n")
    listed = tmp_path / "voices.txt"
    listed.write_text(f"{ESPEAK.id}\n{PAIR[1].id}\n")
    command = ["prepare", "voices", str(texts), str(tmp_path / "out"), "--voices", str(listed),
               "--every-voice", "2"]
    assert run(command) == 0
    err = capsys.readouterr().err
    assert "train.jsonl: 3 utterances of 1 voice," in err
    assert "flite and its voices, BSD-like" in err
    rows = read_manifest(tmp_path / "out" / "train.jsonl")
    assert [u.text for u in rows] == ["one", "two", "one two three"]
    assert run(command[:-1] + ["9"]) == 2
    assert "--every-voice is 9, but" in capsys.readouterr().err
    assert run(["prepare", "voices", "--list", "--voices", "flite"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 15 and "15 voices; sets: programs" in err
    assert run(["prepare", "voices", "--packages", "--voices", "programs"]) == 0
    packages = capsys.readouterr().out.split()
    assert run(["prepare", "voices", "--check", "--voices", str(listed)]) == 0
    assert "2 voices can speak: espeak-ng, flite." in capsys.readouterr().err
    assert packages[:3] == ["espeak-ng", "flite", "festival"] and len(packages) == 22
    assert run(["prepare", "voices", str(texts)]) == 2
    assert "needs TEXTS, a file with a text a line, and OUT" in capsys.readouterr().err
    (tmp_path / "empty.txt").write_text(" \n")
    assert run(["prepare", "voices", str(tmp_path / "empty.txt"), str(tmp_path / "x")]) == 2
    assert "holds no text" in capsys.readouterr().err
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    assert run(["prepare", "voices", str(tmp_path / "latin.txt"), str(tmp_path / "x")]) == 2
    assert "is not UTF-8" in capsys.readouterr().err
    assert run(["prepare", "voices", str(tmp_path / "no.txt"), str(tmp_path / "x")]) == 2
    assert "Cannot read the texts" in capsys.readouterr().err


def test_the_texts_of_the_recipe_are_the_digits_and_strings():
    lines = (Path(__file__).parents[2] / "recipes" / "digits.txt").read_text("utf-8").splitlines()
    assert lines == [*DIGITS, *digit_strings(400, exclude=SAMPLE_TEXTS)]
