"""`--summary sclite` is what sclite prints, character by character.

sclite_summary/*.txt are by sclite 2.4.10 (Debian's sctk), in that folder:
sclite -r NAME_ref.trn trn -h NAME_hyp.trn trn -i rm -o sum rsum dtl stdout > NAME.txt
(wide_hyp.trn had the long name that stands in wide.txt).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from asr.cli import run
from asr.scoring import read_pair, score
from asr.scoring.summary import sclite_summary

FOLDER = Path(__file__).with_name("sclite_summary")
WIDE = "a_system_whose_name_is_so_long_that_it_is_wider_than_the_table_that_sclite_draws_below_it"


def scored(name, **options):
    pair = read_pair(FOLDER / f"{name}_ref.trn", FOLDER / f"{name}_hyp.trn", format="trn")
    return score(pair[0].texts, pair[1].texts, normalizer="case", draws=100, **options)


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


def test_known_speakers_come_before_those_in_the_ids():
    out = sclite_summary(scored("speakers", speakers=dict.fromkeys(
        ["anna_1", "anna_2", "bob_1", "bob_2", "carl-longname-x_1"], "Eve")), "h")
    assert "| eve    |    5     20 | 75.0" in out and "anna" not in out.split("DETAILED")[0]
