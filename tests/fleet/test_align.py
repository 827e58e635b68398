"""Known texts to times: `Recognizer.align`, rows of a manifest, and `asr align`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from textgrid_reader import read_textgrid
from tiny_bundle import FEATURES, write_bundle

from asr.cli import run
from asr.errors import (
    EXIT_BUNDLE,
    EXIT_DATA,
    EXIT_OK,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
    DataError,
    TextError,
    UsageError,
)
from asr.fleet.align import Aligned, align_utterances
from asr.manifest import Utterance, write_manifest
from asr.recognizer import Recognizer, load
from asr.transcript import FORMATS, Transcript

RATE = FEATURES.sample_rate
CLIP = Path(__file__).parents[2] / "asr/assets/clips/1-rms.ogg"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr")


@pytest.fixture(scope="module")
def recognizer(bundle) -> Recognizer:
    return load(bundle)


@pytest.fixture
def audio(rng) -> np.ndarray:
    return (0.1 * rng.normal(size=RATE)).astype(np.float32)


@pytest.fixture
def clip(tmp_path, audio) -> Path:
    soundfile.write(tmp_path / "clip.wav", audio, RATE)
    return tmp_path / "clip.wav"


def asr(capsys, *arguments) -> tuple[int, str, str]:
    code = run([os.fspath(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# -- Python


def test_words_and_characters_of_a_text(recognizer, audio):
    found = recognizer.align(audio, "Bad,  cafe!")
    assert found.text == "Bad, cafe!", "as written"
    assert [w.text for w in found.words] == ["Bad,", "cafe!"]
    assert "".join(c.text for c in found.characters) == "badcafe"
    edges = [edge for w in found.words for edge in (w.start, w.end)]
    assert edges == sorted(edges) and 0 <= edges[0] and edges[-1] <= found.duration == 1.0
    first, second = found.characters[:3], found.characters[3:]
    for word, characters in zip(found.words, (first, second), strict=True):
        assert (characters[0].start, characters[-1].end) == (word.start, word.end)
        assert all(a.end == b.start for a, b in zip(characters, characters[1:], strict=False))
    assert found.score < 0 <= found.confidence <= 1


def test_the_right_text_is_surer_and_its_times_are_those_of_the_transcript():
    recognizer = load()
    heard = recognizer.transcribe(CLIP)
    found = recognizer.align(CLIP, "Four, two zero nine.")
    assert found.text == "Four, two zero nine." and heard.text == "four two zero nine"
    for ours, theirs in zip(found.words, heard.words, strict=True):
        assert (ours.start, ours.end) == pytest.approx((theirs.start, theirs.end), abs=0.05)
    wrong = recognizer.align(CLIP, "six six")
    assert wrong.score < found.score - 50 and wrong.confidence < 0.1 < found.confidence


def test_the_end_of_a_word_is_where_the_sound_stops(recognizer):
    """Noise, 0.3 s of nearly nothing, noise: whatever the network says, words end at the edges."""
    rng = np.random.default_rng(1)
    levels = np.repeat([1e-3, 0.2, 1e-3, 0.2, 1e-3], [1_600, 3_200, 2_400, 3_200, 1_600])
    audio = (levels * rng.normal(size=len(levels))).astype(np.float32)
    words = recognizer.align(audio, "a b").words
    assert words[0].end < words[1].start or words[0].end == pytest.approx(words[1].start)
    assert words[-1].end <= len(audio) / RATE


@pytest.mark.parametrize(("text", "kind", "match", "code"), [
    ("bad zoo", TextError, r"'z' \(U\+007A\)", "text.out_of_alphabet"),
    (" .,! ", DataError, "holds no word to align", "align.empty"),
    ("abcdefgh " * 20, DataError, "the text is too long for the audio", "align.infeasible")])
def test_texts_that_cannot_be(recognizer, audio, text, kind, match, code):
    with pytest.raises(kind, match=match) as error:
        recognizer.align(audio, text)
    assert error.value.code == code


def test_silence_has_no_words(recognizer):
    with pytest.raises(DataError, match="never gets louder") as error:
        recognizer.align(np.zeros(RATE, np.float32), "bad")
    assert error.value.code == "align.silent"


def test_rows_of_a_manifest_one_of_which_fails(recognizer, clip, audio):
    rows = [Utterance("a", clip, "bad", 1.0), Utterance("b", clip, "", 1.0),
            Utterance("c", clip, "cafe", 0.5, offset=0.5)]
    found = list(align_utterances(recognizer, rows))
    assert [bool(each.transcript) for each in found] == [True, False, True]
    assert found[2].transcript.duration == 0.5, "times count from the offset"
    assert found[1].record()["code"] == "align.empty" and found[1].record()["id"] == "b"
    with pytest.raises(UsageError, match="did not fail"):
        Aligned(rows[0], Transcript("bad")).record()


# -- the command


def test_a_docx_is_not_for_standard_output(bundle, clip, capsys, tmp_path):
    assert asr(capsys, "align", bundle, clip, "bad", "-f", "docx")[0] == 2
    assert asr(capsys, "align", bundle, clip, "bad", "-f", "docx", "-o", tmp_path / "o")[0] == 0
    assert (tmp_path / "o" / "clip.docx").read_bytes()[:2] == b"PK"


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "docx"])
def test_every_format_on_stdout(bundle, clip, capsys, format_):
    code, out, err = asr(capsys, "align", bundle, clip, "bad cafe", "-f", format_)
    assert (code, err) == (EXIT_OK, "")
    assert "bad" in out
    if format_ == "json":
        assert len(json.loads(out)["characters"]) == 7
    if format_ == "ctm":
        assert [line.split()[4] for line in out.splitlines()] == ["bad", "cafe"]
    if format_ == "textgrid":
        tiers = read_textgrid(out)
        assert [label for _, _, label in tiers["words"] if label] == ["bad", "cafe"]
        assert "".join(label for _, _, label in tiers["characters"]) == "badcafe"


def test_the_shipped_model_needs_no_name(capsys):
    code, out, _ = asr(capsys, "align", CLIP, "four two zero nine")
    assert code == EXIT_OK and len(out.splitlines()) == 4


def test_into_a_folder_and_never_over_a_file(bundle, clip, tmp_path, capsys):
    command = ("align", bundle, clip, "bad", "-f", "textgrid", "-o", tmp_path / "out")
    assert asr(capsys, *command) == (EXIT_OK, "", "")
    written = tmp_path / "out" / "clip.TextGrid"
    assert read_textgrid(written.read_text("utf-8"))["words"]
    written.write_text("mine")
    code, _, err = asr(capsys, *command)
    assert code == EXIT_USAGE and "clip.TextGrid exists; --overwrite" in err
    assert written.read_text() == "mine"
    assert asr(capsys, *command, "--overwrite")[0] == EXIT_OK
    assert written.read_text() != "mine"


def test_a_manifest(bundle, clip, tmp_path, capsys):
    rows = [Utterance("x/1", clip, "bad", 1.0), Utterance("2", clip, "zoo", 1.0),
            Utterance("3", clip, "cafe", 1.0)]
    write_manifest(tmp_path / "rows.jsonl", rows)
    command = ["align", bundle, "--manifest", tmp_path / "rows.jsonl"]
    code, out, err = asr(capsys, *command, "-f", "json")
    assert code == EXIT_SOME_FAILED
    assert [json.loads(line)["path"] for line in out.splitlines()] == ["x/1", "3"]
    failure = json.loads(err)
    assert (failure["id"], failure["code"]) == ("2", "text.out_of_alphabet")
    into = [*command, "-o", tmp_path / "out", "-f", "srt"]
    assert asr(capsys, *into)[0] == EXIT_SOME_FAILED
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["3.srt", "x_1.srt"]
    _, _, err = asr(capsys, *into)
    assert "2 of 3 files existed and were kept" in err


@pytest.mark.parametrize(("arguments", "code", "match"), [
    (["clip.wav"], EXIT_USAGE, "Give a recording and its text in quotes, or --manifest; got 1"),
    (["clip.wav", "bad", "cafe"], EXIT_USAGE, "got 3 arguments"),
    (["clip.wav", "bad", "--manifest", "m.jsonl"], EXIT_USAGE, "'clip.wav' is one too many"),
    (["clip.wav", "bad", "--overwrite"], EXIT_USAGE, "there is no --output-dir"),
    (["--manifest", "m.jsonl", "-f", "srt"], EXIT_USAGE, "no valid file on standard output"),
    (["missing.asr", "clip.wav", "bad"], EXIT_BUNDLE, "missing.asr"),
    (["missing.wav", "four"], EXIT_DATA, "missing.wav")])
def test_errors_are_one_sentence(clip, monkeypatch, capsys, arguments, code, match):
    monkeypatch.chdir(clip.parent)
    found, out, err = asr(capsys, "align", *arguments)
    assert (found, out) == (code, "")
    assert match in err and err.count("\n") == 1


def test_ids_that_share_a_file(bundle, clip, tmp_path, capsys):
    write_manifest(tmp_path / "rows.jsonl", [Utterance("a/b", clip, "bad", 1.0),
                                             Utterance("a b", clip, "bad", 1.0)])
    code, _, err = asr(capsys, "align", bundle, "--manifest", tmp_path / "rows.jsonl", "-o",
                       tmp_path / "out")
    assert code == EXIT_USAGE and "would share the file a_b" in err


def test_long_ids_have_files_of_their_own(bundle, clip, tmp_path, capsys):
    """One id that is no file name once stopped all of them."""
    names = ["a", 300 * "n", 301 * "n", 200 * "\u00e9"]
    write_manifest(tmp_path / "rows.jsonl", [Utterance(name, clip, "bad", 1.0) for name in names])
    command = ["align", bundle, "--manifest", tmp_path / "rows.jsonl", "-o", tmp_path / "out"]
    assert asr(capsys, *command)[0] == EXIT_OK
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(made) == 4 and "a.ctm" in made
    assert max(len(name.encode()) for name in made) <= 184
    assert "4 of 4 files existed and were kept" in asr(capsys, *command)[2]
