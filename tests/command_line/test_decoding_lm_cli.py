"""`asr lm train` and `asr lm info`, from text to ARPA and back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

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
    assert found["normalizer"].startswith("basic-3-") and found["notes"] == []
    assert run(["lm", "info", str(output), "--perplexity", str(source), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found, "the model knows its normaliser"
    assert run(["lm", "info", str(output), "--perplexity", str(source), "--normalizer",
                "none"]) == 0
    captured = capsys.readouterr()
    assert "unknown words" in captured.out
    assert "this text has none-1" in captured.err
    first = output.read_bytes()
    again = ["lm", "train", str(source), "-o", str(output), "--order", "3", "--normalizer", "basic"]
    assert run(again) == 2
    assert "exists and is kept" in capsys.readouterr().err
    assert run([*again, "--overwrite"]) == 0
    assert output.read_bytes() == first, "the same text gives the same file"


def test_a_perplexity_that_means_nothing_says_so(tmp_path, capsys):
    """A8 of ../shared/data/faults: without <unk> it was 10^17, without a word about it."""
    source, arpa = tmp_path / "text.txt", tmp_path / "no_unk.arpa"
    source.write_text("a zebra a\n")
    arpa.write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-99\t<s>\n-0.5\t</s>\n-0.2\ta\n\n\\end\\\n")
    assert run(["lm", "info", str(arpa), "--perplexity", str(source)]) == 0
    captured = capsys.readouterr()
    assert f"perplexity {10 ** 0.3:.2f} on 3 tokens, 1 unknown word\n" in captured.out
    assert "has no <unk>" in captured.err and "does not name the normaliser" in captured.err


def test_probabilities_above_1_and_a_model_without_ends_of_sentences(tmp_path, capsys):
    source, arpa = tmp_path / "text.txt", tmp_path / "m.arpa"
    source.write_text("a b\n")
    page = ("\\data\\\nngram 1=4\n\n\\1-grams:\n-99\t<s>\n-0.5\t</s>\n-0.2\ta\tBACK\n-0.3\tb\n\n"
            "\\end\\\n")
    arpa.write_text(page.replace("BACK", "0"))
    assert run(["lm", "info", str(arpa), "--perplexity", str(source)]) == 0
    assert f"perplexity {10 ** (1 / 3):.2f} on 3 tokens" in capsys.readouterr().out
    two = page.replace("\\end", "\\2-grams:\n-0.1\t<s> a\n\n\\end").replace("BACK", "400")
    arpa.write_text(two.replace("ngram 1=4", "ngram 1=4\nngram 2=1"))
    assert run(["lm", "info", str(arpa), "--perplexity", str(source)]) == 4
    captured = capsys.readouterr()
    assert "no probability is above 1" in captured.err and "perplexity" not in captured.out
    arpa.write_text(page.replace("-0.5\t</s>\n", "").replace("=4", "=3").replace("BACK", "0"))
    assert run(["lm", "info", str(arpa), "--perplexity", str(source)]) == 0
    captured = capsys.readouterr()
    assert f"perplexity {10 ** 0.25:.2f} on 2 tokens" in captured.out
    assert "has no </s>, so the ends of sentences" in captured.err


def test_a_model_of_another_normaliser_is_refused_where_it_decodes(tmp_path, capsys):
    source, arpa = tmp_path / "text.txt", tmp_path / "english.arpa"
    source.write_text("one two\nthree four\n")
    assert run(["lm", "train", str(source), "-o", str(arpa), "--order", "2", "--normalizer",
                "english"]) == 0
    clip = Path(__file__).parents[2] / "asr/assets/clips/1-rms.ogg"
    assert run(["transcribe", str(clip), "--lm", str(arpa)]) == 2
    assert "lm train TEXTS --normalizer basic" in capsys.readouterr().err


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
                                 ("z.txt", "a\n你".encode("gb18030"),
                                  r"Cannot read the text .*z.txt: byte 0xc4 is not UTF-8; convert "
                                  "the file from .*gb18030")):
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
    assert "No word appears 2 times (the most frequent one 1 time)" in capsys.readouterr().err
    assert not (tmp_path / "o.arpa").exists()


@pytest.mark.parametrize("output,match", [
    ("t.txt", "is one of the texts"), (".", "name of a file"), ("none/o.arpa", "name of a file")])
def test_the_text_is_never_written_over(tmp_path, capsys, output, match):
    source = tmp_path / "t.txt"
    source.write_text("a b\n")
    assert run(["lm", "train", str(source), "-o", str(tmp_path / output), "--overwrite"]) == 2
    assert match in capsys.readouterr().err
    assert source.read_text() == "a b\n"
