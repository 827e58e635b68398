"""Files score as with sclite, to the last count: values by its program, see sclite_files.py."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import sclite_files as made

from asr.cli import run
from asr.scoring import read_pair, score
from asr.scoring.counts import count_characters, count_words
from asr.scoring.focus import focus_on, read_focus

VALUES = json.loads(made.VALUES.read_text())
PUBLISHED = Path(__file__).parents[3] / "shared/data/librispeech-scores"
with_sclite = pytest.mark.skipif(made.COMMAND is None, reason="sclite (Debian's sctk) is missing")


def counted(paths, normalizer="case", **options):
    """Correct, substituted, deleted, inserted words of each utterance."""
    reference, hypothesis = read_pair(*paths, normalizer=normalizer, **options)
    result = score(reference.texts, hypothesis.texts, normalizer=normalizer, alignment="sclite",
                   readings=reference.readings, draws=100)
    return {row.id: [row.words.reference - row.words.substitutions - row.words.deletions,
                     row.words.substitutions, row.words.deletions, row.words.insertions]
            for row in result.rows}


def written(folder, texts, suffixes):
    paths = [folder / f"{name}.{suffix}" for name, suffix in
             zip(("ref", "hyp"), suffixes, strict=True)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


def test_trn_files(tmp_path):
    """Alternations in every second file."""
    found = [counted(written(tmp_path, made.trn_files(seed), ("trn", "trn")))
             for seed in range(made.FILES)]
    assert [made.totals(rows) for rows in found] == VALUES["trn"]
    assert found[:made.IN_FULL] == VALUES["utterances"]


def test_timed_files(tmp_path):
    """Gaps, overlaps, ignored segments, words on boundaries, negative times, alternations."""
    found = [counted(written(tmp_path, made.timed_files(seed), ("stm", "ctm")))
             for seed in range(made.FILES)]
    assert [made.totals(rows) for rows in found] == VALUES["timed"]


def counted_marked(folder, seed):
    reference, kind, hypothesis, options = made.marked_files(seed)
    paths = written(folder, (reference, hypothesis), (kind, "ctm"))
    return made.totals(counted(paths, optionally_deletable="-D" in options))


def test_marked_files(tmp_path):
    """Alternations and optional words in ctm, against stm and ctm, with and without -D."""
    assert [counted_marked(tmp_path, seed) for seed in range(made.FILES)] == VALUES["marked"]


def counted_mixed(folder, seed):
    reference, hypothesis, options = made.mixed_files(seed)
    return made.totals(counted(written(folder, (reference, hypothesis), ("trn", "trn")),
                               "case+mixed", optionally_deletable="-D" in options))


def test_mixed_units(tmp_path):
    """-c NOASCII: characters beyond ASCII are words, also in alternations and optional words."""
    assert [counted_mixed(tmp_path, seed) for seed in range(made.CHARACTERS)] == VALUES["mixed"]


def as_kaldi(words, name):
    return f"{name} {words}\n"


def as_jsonl(words, name):
    return json.dumps({"id": name, "text": words}) + "\n"


def as_plain(words, name):
    return words + "\n"


@pytest.mark.parametrize("write", [as_kaldi, as_jsonl, as_plain])
def test_files_of_other_formats(tmp_path, write):
    """The texts of trn files, in the same order on both sides."""
    found, letters = [], []
    for seed in range(made.FILES):
        lines = [sorted((line.rstrip(")").rpartition("(") for line in text.splitlines()),
                        key=lambda parts: parts[2])
                 for text in made.trn_files(seed, alternations=False)]
        texts = ["".join(write(words.strip(), name) for words, _, name in side) for side in lines]
        name = write.__name__[3:]
        reference, hypothesis = read_pair(*written(tmp_path, texts, ("txt", "txt")), format=name)
        sides = [[" ".join(side.texts[key].split()) for key in reference.texts]
                 for side in (reference, hypothesis)]
        found.append(_values(count_words(*sides, "sclite")))
        if seed < made.CHARACTERS:
            joined = [[text.replace(" ", "") for text in side] for side in sides]
            letters.append(_values(count_characters(*joined, "sclite")))
    assert found == VALUES["plain"]
    assert letters == VALUES["characters"]


def _values(counts):
    substitutions, deletions, insertions, words = counts.sum(0).tolist()
    return [words - substitutions - deletions, substitutions, deletions, insertions]


@pytest.mark.parametrize("options", made.OPTIONS, ids=" ".join)
def test_the_published_test_data(tmp_path, options):
    """Alternations on both sides, fragments, optional words, tags; with both options the values
    are those that SCTK publishes (testdata/base/test7.pra)."""
    paths = written(tmp_path, [path.read_text() for path in made.PUBLISHED], ("trn", "trn"))
    assert counted(paths, fragments="-F" in options, optionally_deletable="-D" in options) == \
        VALUES["published"][" ".join(options)]


def test_the_published_summary():
    """The last line of testdata/base/test7.sys: 57 sentences, 260 words, 67.7 27.3 5.0 12.7."""
    correct, substituted, deleted, inserted = made.totals(VALUES["published"]["-F -D"])
    words = correct + substituted + deleted
    assert len(VALUES["published"]["-F -D"]) == 57 and words == 260
    assert [round(100 * number / words, 1) for number in
            (correct, substituted, deleted, inserted)] == [67.7, 27.3, 5.0, 12.7]


@with_sclite
def test_the_stored_values_are_those_of_sclite(tmp_path):
    """Side by side, where it is installed: other files than the stored ones, and some of these."""
    for seed in (0, 1):
        assert made.totals(made.run_sclite(*made.trn_files(seed), ("trn", "trn"))) == \
            VALUES["trn"][seed]
        assert made.totals(made.run_sclite(*made.timed_files(seed), ("stm", "ctm"))) == \
            VALUES["timed"][seed]
    for seed in range(1_000, 1_010):
        texts = made.trn_files(seed)
        assert counted(written(tmp_path, texts, ("trn", "trn"))) == \
            made.run_sclite(*texts, ("trn", "trn"))
        texts = made.timed_files(seed)
        assert made.totals(counted(written(tmp_path, texts, ("stm", "ctm")))) == \
            made.totals(made.run_sclite(*texts, ("stm", "ctm")))
        reference, kind, hypothesis, options = made.marked_files(seed)
        assert counted_marked(tmp_path, seed) == made.totals(
            made.run_sclite(reference, hypothesis, (kind, "ctm"), *options))
        reference, hypothesis, options = made.mixed_files(seed)
        assert counted_mixed(tmp_path, seed) == made.totals(
            made.run_sclite(reference, hypothesis, ("trn", "trn"), *options))


@with_sclite
def test_the_summary_is_that_of_sclite(tmp_path, monkeypatch, capsys):
    """Letter by letter, where both files have the same order."""
    monkeypatch.chdir(tmp_path)
    for seed in range(4):
        sides = [sorted(text.splitlines(), key=lambda line: int(re.split("[_)]", line)[-2]))
                 for text in made.trn_files(seed)]
        for name, lines in zip("rh", sides, strict=True):
            Path(f"{name}.trn").write_text("".join(line + "\n" for line in lines))
        expected = subprocess.run([*made.COMMAND, "-r", "r.trn", "trn", "-h", "h.trn", "trn", "-i",
                                   "spu_id", "-f", "0", "-o", "sum", "rsum", "dtl", "stdout"],
                                  capture_output=True, text=True, check=True).stdout
        assert run(["score", "r.trn", "h.trn", "--normalizer", "case", "--alignment", "sclite",
                    "--summary", "sclite"]) == 0
        assert capsys.readouterr().out == expected


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"{PUBLISHED} is not there")
@pytest.mark.parametrize("system, all_words, others, listed", [
    ("baseline", (1_501, 225, 195, 3.6538), (725, 190, 195, 2.3710), (776, 35, 0, 14.0774)),
    ("biased", (751, 160, 131, 1.9819), (452, 130, 131, 1.5230), (299, 30, 0, 5.7108))])
def test_published_librispeech_tables(system, all_words, others, listed):
    """Le and others, Interspeech 2021: S, D, I and WER of all words, of the words on no list and
    of the rare words, as published."""
    sides = [dict(line.split("\t") for line in
                  (PUBLISHED / f"{name}.tsv").read_text().splitlines())
             for name in ("reference", system)]
    result = score(*sides, normalizer="none", alignment="sclite", draws=100)
    focus = focus_on(result, read_focus(PUBLISHED / "focus.jsonl", set(sides[0]), "none"))
    parts = (result.words, focus.others, focus.on_list)
    assert [part.reference for part in parts] == [52_576, 46_815, 5_761]
    assert [(part.substitutions, part.deletions, part.insertions, round(100 * part.rate, 4))
            for part in parts] == [all_words, others, listed]
