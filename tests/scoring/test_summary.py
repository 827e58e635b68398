"""`--summary sclite` is what sclite prints, character by character.

sclite_summary/*.txt are by sclite 2.4.10 (Debian's sctk), in that folder:
sclite -r NAME_ref.trn trn -h NAME_hyp.trn trn -i rm -o sum rsum dtl stdout > NAME.txt
(wide_hyp.trn had the long name that stands in wide.txt), and confidences.txt by
sclite -r confidences_ref.stm stm -h confidences_hyp.ctm ctm -o sum rsum dtl stdout
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from pathlib import Path

import pytest
import sclite_files as made

from asr.cli import run
from asr.scoring import read_pair, score
from asr.scoring.summary import sclite_summary, word_confidences

with_sclite = pytest.mark.skipif(made.COMMAND is None,
                                      reason="sclite (Debian's sctk) is missing")
FOLDER = Path(__file__).with_name("sclite_summary")
WIDE = "a_system_whose_name_is_so_long_that_it_is_wider_than_the_table_that_sclite_draws_below_it"


def scored(name, **options):
    pair = read_pair(FOLDER / f"{name}_ref.trn", FOLDER / f"{name}_hyp.trn", format="trn")
    return score(pair[0].texts, pair[1].texts, normalizer="case", alignment="sclite", draws=100,
                 **options)


@pytest.mark.parametrize("name, title", [
    ("speakers", "speakers_hyp.trn"), ("empty", "empty_hyp.trn"), ("wide", f"{WIDE}.trn")])
def test_the_summary_is_that_of_sclite(name, title):
    assert sclite_summary(scored(name), title) == (FOLDER / f"{name}.txt").read_text()


def test_command_prints_it_for_the_scripts_that_read_it(capsys, monkeypatch):
    monkeypatch.chdir(FOLDER)
    files = ["speakers_ref.trn", "speakers_hyp.trn", "--format", "trn", "--normalizer", "case"]
    assert run(["score", *files, "--summary", "sclite"]) == 0
    out = capsys.readouterr().out
    assert out == (FOLDER / "speakers.txt").read_text()
    # ESPnet: grep -e Avg -e SPKR -m 2, then bars to spaces, as in utils/show_result.sh
    heads, values = (line.replace("|", " ").split() for line in
                     [line for line in out.split("\n") if re.search("Avg|SPKR", line)][:2])
    assert heads == "SPKR # Snt # Wrd Corr Sub Del Ins Err S.Err".split()
    assert values == "Sum/Avg 5 20 75.0 15.0 10.0 15.0 40.0 80.0".split()
    # Kaldi: grep Sum of .sys, then awk for the column of errors
    assert next(line for line in out.split("\n") if "Sum" in line).split()[-3] == "40.0"
    assert re.search(r"Percent Total Error\s+=\s+([\d.]+)%", out)[1] == "40.0"
    assert run(["score", *files, "--summary", "sclite", "--json"]) == 2
    assert run(["score", *files, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["wer"] == 0.4


def test_confidences_of_a_ctm_give_the_column_nce(capsys, monkeypatch, tmp_path):
    """A speaker without words (#), one without an error (a number of 32 bits for none), a word
    without confidence, alternations on both sides, an @."""
    monkeypatch.chdir(FOLDER)
    files = ["confidences_ref.stm", "confidences_hyp.ctm"]
    assert run(["score", *files, "--normalizer", "case", "--summary", "sclite"]) == 0
    out, err = capsys.readouterr()
    assert out == (FOLDER / "confidences.txt").read_text()
    assert "| bob    |    1      6 |100.0    0.0    0.0    0.0    0.0    0.0 |-2147483.648 |" in out
    assert "2 words without a confidence that can be read; for NCE 0 was taken" in err
    (tmp_path / "h.ctm").write_text("f A 0.0 0.5 twenty 0.9\nf A 1.0 0.5 one 0.9\n")
    (tmp_path / "r.stm").write_text("f A anna 0 5 <o> it is 21\n")
    assert run(["score", str(tmp_path / "r.stm"), str(tmp_path / "h.ctm"), "--summary", "sclite",
                "--normalizer", "basic"]) == 0
    assert "NCE  " in capsys.readouterr().out
    (tmp_path / "h.ctm").write_text("f A 0.0 0.5 [noise 0.9\nf A 1.0 0.5 here] 0.9\n")
    assert run(["score", str(tmp_path / "r.stm"), str(tmp_path / "h.ctm"), "--summary", "sclite",
                "--non-speech", "drop"]) == 0
    out, err = capsys.readouterr()
    assert "NCE  " not in out and "joins words, so that no confidence belongs to" in err


def test_known_speakers_come_before_those_in_the_ids():
    out = sclite_summary(scored("speakers", speakers=dict.fromkeys(
        ["anna_1", "anna_2", "bob_1", "bob_2", "carl-longname-x_1"], "Eve")), "h")
    assert "| eve    |    5     20 | 75.0" in out and "anna" not in out.split("DETAILED")[0]


def test_ids_without_a_speaker_are_one_speaker():
    result = score(["a b", "c"], ["a x", "c"], draws=100)
    assert "| unknown |    2      3 | 66.7" in sclite_summary(result, "h")


def test_the_alignment_is_that_of_sclite_unless_named(tmp_path, capsys):
    (tmp_path / "r.trn").write_text("a b c (s_1)\n")
    (tmp_path / "h.trn").write_text("b x y (s_1)\n")
    files = [str(tmp_path / name) for name in ("r.trn", "h.trn")]
    for options, correct in (([], "33.3"), (["--alignment", "sclite"], "33.3"),
                             (["--alignment", "unit"], "0.0")):
        assert run(["score", *files, "--summary", "sclite", *options]) == 0
        line = next(line for line in capsys.readouterr().out.split("\n") if "Sum/Avg" in line)
        assert line.replace("|", " ").split()[3] == correct


@with_sclite
def test_confidences_beside_sclite(tmp_path, monkeypatch):
    """Random files: several channels, overlaps, alternations, optional words, odd confidences."""
    monkeypatch.chdir(tmp_path)
    for seed in range(12):
        draw = random.Random(seed)
        if seed % 2:
            (reference, hypothesis), kind, options = made.timed_files(seed), "stm", []
        else:
            reference, kind, hypothesis, options = made.marked_files(seed)
        if seed % 6 == 2:
            options = ["-c"]
        Path(f"r.{kind}").write_text(reference)
        Path("h.ctm").write_text("".join(
            line.removesuffix(" 0.5") + draw.choice(["", " 0", " 1", " NA", " 1.5", *[
                f" {draw.random():.3f}"] * 30]) * ("<ALT" not in line) + "\n"
            for line in hypothesis.splitlines()))
        expected = subprocess.run([*made.COMMAND, "-r", f"r.{kind}", kind, "-h", "h.ctm", "ctm",
                                   "-o", "sum", "rsum", "stdout", *options],
                                  capture_output=True, text=True, check=True).stdout
        name = "case+characters" if "-c" in options else "case"
        pair = read_pair(f"r.{kind}", "h.ctm", normalizer=name,
                         optionally_deletable="-D" in options)
        result = score(pair[0].texts, pair[1].texts, normalizer=name, alignment="sclite",
                       readings=pair[0].readings, speakers=pair[0].speakers or None, draws=100)
        known = word_confidences(result, pair[1].confidences)[0]
        assert sclite_summary(result, "h.ctm", known).startswith(expected)


@with_sclite
@pytest.mark.parametrize("seed", range(6))
def test_random_files_beside_sclite(tmp_path, rng, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    rng = type(rng)(type(rng.bit_generator)(seed))
    words, speakers = "a bb ccc dddd ee f gg hhh zz".split(), ("ann", "Bo", "cy-", "long.name")
    lines = []
    for number in range((1, 2, 7, 40, 41, 300)[seed]):
        spoken = list(rng.choice(words, rng.integers(0 if number else 1, 12)))
        noisy = [part for word in spoken for part in rng.choice(
            [word, word, word, word, "", str(rng.choice(words)), f"{word} x"]).split()]
        name = f"({speakers[rng.integers(1 + seed % 4)].strip('-')}-{number})"
        lines.append((f"{' '.join(spoken)} {name}\n", f"{' '.join(noisy)} {name}\n"))
    for name, side in zip(("r.trn", "h.trn"), zip(*lines, strict=True), strict=True):
        Path(name).write_text("".join(side))
    theirs = subprocess.run(
        "sctk sclite -r r.trn trn -h h.trn trn -i rm -o sum rsum dtl stdout".split(),
        capture_output=True, text=True, check=True).stdout
    reference, hypothesis = read_pair("r.trn", "h.trn", format="trn")
    result = score(reference.texts, hypothesis.texts, normalizer="case", alignment="sclite",
                   draws=100)
    assert sclite_summary(result, "h.trn") == theirs
