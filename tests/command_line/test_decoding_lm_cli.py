"""`asr lm train` and `asr lm info`, from text to ARPA and back."""

from __future__ import annotations

import gzip
import json

import pytest

from asr.cli import run
from asr.errors import DataError
from asr.language_model import load_ngram
from asr.language_model.training_text import read_sentences

TEXT = "The cat sat.\n\nThe cat ate the rat!\nA dog sat on a mat\n"


def test_train_and_info(tmp_path, capsys):
    source, output = tmp_path / "text.txt", tmp_path / "lm.arpa.gz"
    source.write_text(TEXT)
    assert run(["lm", "train", str(source), "-o", str(output), "--order", "3", "--normalizer",
                "basic"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "n-grams of 17 tokens" in captured.err
    assert "0.5, 1 and 1.5 are used" in captured.err
    assert output.read_bytes()[:2] == b"\x1f\x8b"
    model = load_ngram(output, cache=False)
    assert {"the", "cat", "mat"} <= set(model.vocabulary) and "cat." not in model.vocabulary
    assert run(["lm", "info", str(output), "--perplexity", str(source), "--normalizer", "basic",
                "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["order"], found["units"], found["perplexity"][0]["tokens"]) == (3, "words", 17)
    assert found["perplexity"][0]["unknown"] == 0
    assert run(["lm", "info", str(output), "--perplexity", str(source)]) == 0
    assert "unknown (" in capsys.readouterr().out
    first = output.read_bytes()
    again = ["lm", "train", str(source), "-o", str(output), "--order", "3", "--normalizer", "basic"]
    assert run(again) == 2
    assert "exists and is kept" in capsys.readouterr().err
    assert run([*again, "--overwrite"]) == 0
    assert output.read_bytes() == first, "the same text gives the same file"


def test_character_units_and_manifests(tmp_path, capsys):
    source, output = tmp_path / "m.jsonl", tmp_path / "lm.arpa"
    source.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n"
                              for n, text in enumerate(["ab ba", "b  a"])))
    assert run(["lm", "train", str(source), "-o", str(output), "--order", "2", "--units",
                "characters"]) == 0
    assert set(load_ngram(output).vocabulary) == {"<unk>", "<s>", "</s>", "<space>", "a", "b"}
    capsys.readouterr()
    assert run(["lm", "info", str(output)]) == 0
    assert "characters" in capsys.readouterr().out


def test_texts(tmp_path):
    packed = tmp_path / "t.txt.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbfa b\n \nc\n"))
    assert list(read_sentences([packed])) == [["a", "b"], ["c"]]
    assert list(read_sentences([packed], units="characters")) == [["a", "<space>", "b"], ["c"]]
    for name, content, match in (("x.jsonl", b"{}\n", r"x.jsonl:1: expected a manifest row"),
                                 ("y.jsonl", b'{"text": 1}\n', "must be a string"),
                                 ("z.txt", b"\xff\xfe", "Cannot read the text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=match):
            list(read_sentences([tmp_path / name]))


def test_bad_arguments(tmp_path, capsys):
    source = tmp_path / "t.txt"
    source.write_text("a b\n")
    arguments = ["lm", "train", str(source), "-o", str(tmp_path / "o.arpa")]
    assert run([*arguments, "--prune", "x"]) == 2
    assert "whole numbers" in capsys.readouterr().err
    assert run([*arguments, "--order", "0"]) == 2
    assert run(["lm", "info", str(tmp_path / "none")]) == 4
    assert not (tmp_path / "o.arpa").exists()
    capsys.readouterr()
    assert run([*arguments, "--min-count", "2"]) == 4
    assert "No word appears 2 times (the most frequent one 1 times)" in capsys.readouterr().err
    assert not (tmp_path / "o.arpa").exists()


@pytest.mark.parametrize("output,match", [
    ("t.txt", "is one of the texts"), (".", "name of a file"), ("none/o.arpa", "name of a file")])
def test_the_text_is_never_written_over(tmp_path, capsys, output, match):
    source = tmp_path / "t.txt"
    source.write_text("a b\n")
    assert run(["lm", "train", str(source), "-o", str(tmp_path / output), "--overwrite"]) == 2
    assert match in capsys.readouterr().err
    assert source.read_text() == "a b\n"
