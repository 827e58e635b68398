"""The decoder options of `asr transcribe` and `asr evaluate`, on the shipped model and clips."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.bundle import load_bundle
from asr.cli import run
from asr.errors import EXIT_DATA, EXIT_OK, EXIT_USAGE
from asr.recognizer import load

ASSETS = Path(__file__).parents[2] / "asr/assets"
CLIP = ASSETS / "clips/1-rms.ogg"
TEXT = "four two zero nine"


def asr(capsys, *arguments) -> tuple[int, str, str]:
    code = run([os.fspath(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def grammar(tmp_path: Path, text: str) -> Path:
    (tmp_path / "grammar.txt").write_text(text)
    return tmp_path / "grammar.txt"


def test_readings_as_text_and_json(capsys):
    code, out, _ = asr(capsys, "transcribe", CLIP, "--nbest", "3")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == EXIT_OK and rows[0][0] == TEXT and len(rows) == 3
    scores = [float(score) for _, score, _ in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= float(confidence) <= 1 for _, _, confidence in rows)
    _, out, _ = asr(capsys, "transcribe", CLIP, "--nbest", "3", "-f", "json")
    found = json.loads(out)["alternatives"]
    assert [row["text"] for row in found] == [text for text, _, _ in rows]
    assert json.loads(out)["text"] == found[0]["text"]


def test_readings_of_several_recordings_name_theirs(capsys):
    _, out, _ = asr(capsys, "transcribe", CLIP, ASSETS / "clips/2-slt.ogg", "--nbest", "2")
    assert [Path(line.split("\t")[0]).name for line in out.splitlines()] == [
        "1-rms.ogg", "1-rms.ogg", "2-slt.ogg", "2-slt.ogg"]


def test_one_reading_looks_as_ever(capsys):
    assert asr(capsys, "transcribe", CLIP, "--nbest", "1")[1] == TEXT + "\n"
    _, out, _ = asr(capsys, "transcribe", CLIP, "--nbest", "1", "-f", "json")
    assert "alternatives" not in json.loads(out)


def test_characters_where_asked_for(capsys):
    _, out, _ = asr(capsys, "transcribe", CLIP, "-f", "json", "--characters")
    assert "".join(c["text"] for c in json.loads(out)["characters"]) == TEXT.replace(" ", "")


def test_a_hot_word_is_heard_and_an_unlikely_one_is_not(capsys):
    """The lexicon is closed, hot words are read all the same: 'nin' is no digit."""
    _, out, _ = asr(capsys, "transcribe", CLIP, "--hot-word", "nin:5", "--hot-word", "six:0.1")
    assert out == "four two zero nin\n"
    assert asr(capsys, "transcribe", CLIP, "--hot-word", "six six:1")[1] == TEXT + "\n"


def test_a_grammar_in_place_of_the_lexicon(tmp_path, capsys):
    path = grammar(tmp_path, "four two <d> nine\n<d> = zero | six\n")
    code, out, err = asr(capsys, "transcribe", CLIP, "--grammar", path)
    assert (code, out, err) == (EXIT_OK, TEXT + "\n", "")


def test_not_in_the_grammar(tmp_path, capsys):
    path = grammar(tmp_path, "three eight\nsix six six\n")
    code, out, err = asr(capsys, "transcribe", CLIP, "--grammar", path, "--max-gap", "3")
    assert (code, out) == (EXIT_OK, "\n")
    assert re.fullmatch(r".*1-rms\.ogg: not in the grammar; the nearest sentence is "
                        r"'(three eight|six six six)'\.\n", err)
    _, out, err = asr(capsys, "transcribe", CLIP, "--grammar", path, "--json", "--max-gap", "3")
    assert json.loads(out)["text"] == "" and err == ""
    assert json.loads(out)["rejected"] in ("three eight", "six six six")
    _, out, _ = asr(capsys, "transcribe", CLIP, "--grammar", path)
    assert out.strip() in ("three eight", "six six six"), "what is not calibrated refuses nothing"


def test_words_close_the_vocabulary_without_training_again(tmp_path, capsys):
    """The bundle's own words are ten; of two, any number in any order is read."""
    path = tmp_path / "words.txt"
    path.write_text("# two digits\nNine\n\nFOUR,\n", encoding="utf-8-sig")
    code, out, err = asr(capsys, "transcribe", CLIP, "--words", path)
    assert (code, err) == (EXIT_OK, "")
    assert out.split()[0] == "four" and out.split()[-1] == "nine"
    assert set(out.split()) == {"four", "nine"}
    _, out, _ = asr(capsys, "transcribe", CLIP, "--words", path, "--nbest", "2")
    assert set(out.splitlines()[0].split("\t")[0].split()) == {"four", "nine"}, "the beam, too"
    code, out, _ = asr(capsys, "evaluate", ASSETS / "digits.asr", ASSETS / "clips/clips.jsonl",
                       "--words", path)
    assert code == EXIT_OK and re.search(r"decoder lexicon", out)


def test_a_grammar_travels_in_the_bundle(tmp_path):
    text = "four two <d> nine\n<d> = zero | six\n"
    strict = load().with_decoder(kind="beam", lexicon=[], grammar=text, max_gap=5.0)
    strict.bundle.save(tmp_path / "strict.asr", decoder=strict.decoder_settings)
    assert load_bundle(tmp_path / "strict.asr").decoder.grammar == text
    assert load(tmp_path / "strict.asr").transcribe(CLIP).text == TEXT


def test_evaluate_takes_the_same_options(tmp_path, capsys):
    path = grammar(tmp_path, "<d>+\n<d> = zero|one|two|three|four|five|six|seven|eight|nine\n")
    code, out, _ = asr(capsys, "evaluate", ASSETS / "digits.asr", ASSETS / "clips/clips.jsonl",
                       "--grammar", path, "--hot-word", "two:0.1", "--beam-width", "8")
    assert code == EXIT_OK
    assert re.search(r"decoder beam 8, hot words 1 \(\w{8}\), grammar 1 \(\w{8}\) gap 1000, ", out)


@pytest.mark.parametrize(("options", "code", "match"), [
    (["--decoder", "greedy", "--hot-word", "two"], EXIT_USAGE,
     "--hot-word is an option of the beam decoder, not of greedy"),
    (["--decoder", "lexicon", "--nbest", "2"], EXIT_USAGE, "--nbest is an option of the beam"),
    (["--words", "none.txt"], EXIT_DATA, "Cannot read the words none.txt"),
    (["--words", "phrases.txt"], EXIT_DATA, r"phrases.txt:2: 'new york' are several words"),
    (["--words", "hyphen.txt"], EXIT_USAGE, "writes the word 'e-mail' as 'e mail'"),
    (["--words", "empty.txt"], EXIT_DATA, "holds no word"),
    (["--words", "hyphen.txt", "--grammar", "empty.txt"], EXIT_USAGE, "give one of them"),
    (["--words", "hyphen.txt", "--decoder", "greedy"], EXIT_USAGE, "--words is an option of"),
    (["--hot-word", "two:x"], EXIT_USAGE, "write PHRASE or PHRASE:BOOST"),
    (["--hot-word", "zwölf"], EXIT_DATA, r"The hot word 'zwölf' holds 'ö' \(U\+00F6\)"),
    (["--grammar", "missing.txt"], EXIT_DATA, "Cannot read the grammar missing.txt"),
    (["--beam-width", "0"], EXIT_USAGE, "beam_width must be between"),
    (["--decoder", "greedy", "--word-bonus", "1"], EXIT_USAGE, "add --decoder beam"),
    (["--lm-weight", "1"], EXIT_USAGE, "this bundle has none. Add --lm FILE"),
    (["--max-gap", "1"], EXIT_USAGE, "this bundle has none. Add --grammar FILE"),
    (["--nbest", "2", "-f", "srt"], EXIT_USAGE, "--nbest is shown by txt and json; srt has one")])
def test_errors_are_one_sentence(tmp_path, monkeypatch, capsys, options, code, match):
    monkeypatch.chdir(tmp_path)
    for name, text in (("phrases", "one\nnew york\n"), ("hyphen", "e-mail\n"), ("empty", "#\n")):
        Path(f"{name}.txt").write_text(text)
    found, out, err = asr(capsys, "transcribe", CLIP, *options)
    assert (found, out) == (code, "")
    assert re.search(match, err) and err.count("\n") == 1


def test_a_grammar_with_an_error_names_its_line(tmp_path, capsys):
    path = grammar(tmp_path, "one two\nthree (four\n")
    code, _, err = asr(capsys, "transcribe", CLIP, "--grammar", path)
    assert code == EXIT_DATA and re.search(r"grammar\.txt:2: \( without \)", err)


def test_silence_has_no_confidence(tmp_path, capsys):
    """A6b of ../shared/data/faults: nothing was found, so nothing is sure."""
    soundfile.write(tmp_path / "zeros.wav", np.zeros(16_000), 8_000)
    _, out, _ = asr(capsys, "transcribe", tmp_path / "zeros.wav", "--json")
    assert (json.loads(out)["text"], json.loads(out)["confidence"]) == ("", 0.0)
