"""A decoder and a corpus are one file and one registry line: here each is added that way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "asr" / "assets" / "clips" / "1-rms.ogg"
# What `asr.recipe` and `asr.corpora` would hold, then the command line or Python.
LINES = """
import sys
from asr.recipe import DECODERS
from asr.corpora import CORPORA
DECODERS["backwards"] = "toy_decoder.BackwardsDecoder"
CORPORA["notes"] = "toy_corpus"
"""
DECODER = '''
"""Greedy decoding, read backwards."""
import numpy as np
from asr.decoding import Decoder, GreedyDecoder
from asr.decoding.hypothesis import Hypothesis


class BackwardsDecoder(Decoder):
    """Words in reverse order; the best `num_hypotheses` of one."""

    uses = ("num_hypotheses",)

    def __init__(self, tokenizer, num_hypotheses=1):
        super().__init__(tokenizer)
        self.num_hypotheses = num_hypotheses

    def search(self, log_probs):
        best = GreedyDecoder(self.tokenizer).search(log_probs)[0]
        text = " ".join(reversed(best.text.split()))
        return [Hypothesis(text, best.score, tuple(self.tokenizer.encode(text)))]
'''
CORPUS = '''
"""Field notes: one wav file a sentence, beside a text file of the same name.

    notes/monday.wav   notes/monday.txt
"""
from pathlib import Path

from asr.corpora.collect import Candidate, Checks, collect
from asr.corpora.download import Package

SUMMARY = "Field notes: a wav and a text file a sentence"
PARTS = {"all": Package("https://example.org/notes.tar.gz", "notes", ("notes/*",))}
DEFAULT_PART = "all"


def prepare(corpus_dir, *, label: str = "train", checks=None):
    """One split.

    Args:
        corpus_dir: the folder with notes/.
        label: the name of the only split,
            such as dev.
        checks: limits of duration.
    """
    return collect([Candidate(label, path.stem, path.with_suffix(".wav"), path.read_text(),
                              str(path)) for path in sorted(Path(corpus_dir).glob("*.txt"))],
                   checks or Checks())
'''


@pytest.fixture
def asr(tmp_path):
    """Runs Python with the two files on its path and the two lines in the registries."""
    (tmp_path / "toy_decoder.py").write_text(DECODER)
    (tmp_path / "toy_corpus.py").write_text(CORPUS)

    def call(*argv, code="from asr.cli import main; main(sys.argv[1:])", status=0):
        child = subprocess.run([sys.executable, "-c", LINES + code, *map(str, argv)], text=True,
                               capture_output=True, timeout=300, cwd=tmp_path,
                               env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"})
        assert child.returncode == status, child.stderr
        return child
    return call


def test_a_decoder_is_one_file_and_one_line(asr, tmp_path):
    assert asr("transcribe", CLIP, "--decoder", "backwards").stdout == "nine zero two four\n"
    assert asr("transcribe", CLIP, "--decoder", "backwards", "--nbest", 2).returncode == 0
    error = asr("transcribe", CLIP, "--decoder", "backwards", "--lm", "x.arpa", status=2).stderr
    assert "--lm is an option of the beam decoder, not of backwards" in error
    error = asr("transcribe", CLIP, "--decoder", "backwards", "--word-bonus", 1, status=2).stderr
    assert "--word-bonus does nothing in backwards decoding" in error
    receipt = asr("evaluate", ROOT / "asr/assets/digits.asr", CLIP.parent / "clips.jsonl",
                  "--decoder", "backwards").stdout
    assert "decoder backwards, num_hypotheses 1, pauses of at most 0.4 s " in receipt
    (tmp_path / "recipe.toml").write_text('[decoder]\nkind = "backwards"\n')
    code = ("import asr\nfrom asr.decoding import build_decoder\n"
            "recipe = asr.load_recipe('recipe.toml')\n"
            "recognizer = asr.load().with_decoder(recipe.decoder)\n"
            f"print(recognizer.transcribe({str(CLIP)!r}).text)")
    assert asr(code=code).stdout == "nine zero two four\n"


def test_a_corpus_is_one_file_and_one_line(asr, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "monday.txt").write_text("four two")
    code = ("import numpy, soundfile\nnoise = numpy.random.default_rng(1).normal(0, 0.1, 16000)\n"
            f"soundfile.write({str(notes / 'monday.wav')!r}, noise, 16000)\n"
            "from asr.cli import main; main(sys.argv[1:])")
    asr("prepare", "notes", notes, "out", "--label", "dev", "--jobs", 1, code=code)
    row = json.loads((tmp_path / "out" / "dev.jsonl").read_text())
    assert (row["id"], row["text"], row["duration"]) == ("monday", "four two", 1.0)
    told = " ".join(asr("prepare", "notes", "--help").stdout.split())
    assert "--label TEXT The name of the only split, such as dev." in told
    for verb in ("prepare", "download"):
        told = " ".join(asr(verb, "--help").stdout.split())
        assert "notes Field notes: a wav and a text file a sentence" in told
    code = ("from asr.corpora import load_corpus\n"
            "print(load_corpus('notes').prepare('notes')['train'][0].text)")
    assert asr(code=code).stdout == "four two\n"
    assert "--label" in asr("prepare", "fsdd", notes, "other", "--label", "dev", status=2).stderr
