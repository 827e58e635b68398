from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_scoring import seeded_pairs

from asr.cli import run
from asr.errors import DataError, UsageError
from asr.scoring import align_words, load, read_pair, read_texts, save, score, to_csv, write_texts
from asr.scoring.ctm import CtmWord, read_ctm, words_of_ctm, write_ctm
from asr.scoring.format_evidence import guess_formats
from asr.scoring.pairing import settle_missing
from asr.scoring.pra import pra, pra_block
from asr.scoring.speakers import read_speakers
from asr.scoring.storage import receipt_path, safe_cell
from asr.scoring.timed import StmLine, assign_words, read_stm, write_stm

HOSTILE = ["=cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "+1", "-1", "<script>alert(1)</script>",
           "\x1b[31mred", "two\nlines", 'quote"s', "a,b"]


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format, content, expected", [
    ("plain", "one\n\ntwo words\n", {"1": "one", "2": "", "3": "two words"}),
    ("plain", "a", {"1": "a"}),
    ("plain", "a\n", {"1": "a"}),
    ("plain", b"\xef\xbb\xbfa\r\nb\r\n", {"1": "a", "2": "b"}),
    ("plain", "one\u2028line\x85still\n", {"1": "one\u2028line\x85still"}),
    ("kaldi", "u1 one two\nu2\n\nu3 x\n", {"u1": "one two", "u2": "", "u3": "x"}),
    ("trn", "one (two) three (u1)\n (u2)\n;; comment\n", {"u1": "one (two) three", "u2": ""}),
    ("jsonl", '{"id": "u1", "text": "one"}\n\n{"audio_filepath": "a/b.wav", "text": ""}\n',
     {"u1": "one", "a/b.wav": ""}),
    ("ctm", ";; c\nf A 1.0 0.1 two\nf A 0.0 0.5 one 0.9\ng 1 0 1 x\n", {"f": "one two", "g": "x"}),
    ("ctm", "f A 0 1 one\nf B 0 1 two\n", {"f-A": "one", "f-B": "two"}),
    ("stm", ";; c\nf A anna 0 1.5 <o,f0> one two\nf A bob 1.5 2 three\nf A bob 2 3\n",
     {"f-A-0000000-0001500": "one two", "f-A-0001500-0002000": "three",
      "f-A-0002000-0003000": ""}),
])
def test_read(write, format, content, expected):
    assert read_texts(write("x", content), format).texts == expected


def test_one_character_lines_count(write):
    """jiwer's command drops them: three lines score 0.333 there and 0.5 by its API."""
    reference, hypothesis = write("r", "a\nb c\nd\n"), write("h", "x\nb c\nd e\n")
    sides = read_pair(reference, hypothesis, format="plain")
    assert score(sides[0].texts, sides[1].texts, draws=100).wer == 0.5


def test_json_keys_by_role(write):
    path = write("x.jsonl", '{"id": "u", "reference": "r", "hypothesis": "h", "text": "t", '
                            '"speaker": "s", "duration": 2}\n')
    assert read_texts(path, "jsonl", role="reference").texts == {"u": "r"}
    hypotheses = read_texts(path, "jsonl", role="hypothesis")
    assert (hypotheses.texts, hypotheses.speakers, hypotheses.durations) == (
        {"u": "h"}, {"u": "s"}, {"u": 2.0})
    nemo = write("nemo.json", '{"audio_filepath": "a.wav", "text": "r", "pred_text": "h"}\n')
    sides = read_pair(nemo, nemo)
    assert [side.texts for side in sides] == [{"a.wav": "r"}, {"a.wav": "h"}]


@pytest.mark.parametrize("format, content, message", [
    ("kaldi", "u1 a\nu1 b\n", "x:2: the id 'u1' occurs twice"),
    ("trn", "a (u1)\nb (u1)\n", "x:2: the id 'u1' occurs twice"),
    ("trn", "no id\n", r"x:1: expected 'words \(utterance-id\)'"),
    ("trn", "{ a / b } (u1)\n", "x:1: alternatives such as { a / b } are not supported"),
    ("jsonl", '{"id": "u", "text": "a"}\n{"id": "u", "text": "b"}\n', "x:2: the id 'u' occurs"),
    ("jsonl", '{"id": "u", "id": "v", "text": "a"}\n', "x:1: this is not JSON: the key 'id'"),
    ("jsonl", '{"id": "u", "text": "a", "duration": NaN}\n', "NaN is not a JSON number"),
    ("jsonl", '["u"]\n', r"x:1: expected a JSON object, got \[.u.\]"),
    ("jsonl", "{nonsense}\n", "x:1: this is not JSON"),
    ("jsonl", "[" * 200_000, "x:1: "),
    ("jsonl", '{"id": "u", "text": "\\ud800"}\n', "x:1: this is not JSON: .*surrogates"),
    ("jsonl", '{"text": "a"}\n', r"x:1: expected a string id \(or audio_filepath\), got none"),
    ("jsonl", '{"id": 3, "text": "a"}\n', "expected a string id .*got 3"),
    ("jsonl", '{"id": "u"}\n', "'u': expected a string reference or text, got none"),
    ("jsonl", '{"id": "u", "text": null}\n', "expected a string reference or text, got null"),
    ("stm", "f A anna 0\n", "x:1: expected 'file channel speaker start end"),
    ("stm", "f A anna 2 1 words\n", "x:1: expected 'file channel speaker start end"),
    ("stm", "f A anna x 1 words\n", "x:1: expected 'file channel speaker"),
    ("stm", "f A anna 0 1 { a / b }\n", "x:1: alternatives"),
    ("ctm", "f A 0 1\n", "x:1: expected 'file channel start duration word"),
    ("ctm", "f A nan 1 a\n", "x:1: expected 'file channel start duration word"),
    ("ctm", "f A 0 1 <ALT_BEGIN>\n", "x:1: alternatives"),
    ("plain", b"a\nb\xff\n", "x:2: byte 0xff is not UTF-8"),
    ("plain", "a".encode("utf-16"), "this is UTF-16; save it as UTF-8"),
])
def test_what_cannot_be_read_names_file_and_line(write, format, content, message):
    with pytest.raises(DataError, match=message):
        read_texts(write("x", content), format)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_texts(tmp_path / "none", "plain")


def test_utt2spk(write):
    assert read_speakers(write("a", "u1 s1\n\nu2 s1\n")) == {"u1": "s1", "u2": "s1"}
    with pytest.raises(DataError, match=":1: expected 'utterance speaker', got 'u1'"):
        read_speakers(write("b", "u1\n"))
    with pytest.raises(DataError, match="'u1' occurs twice"):
        read_speakers(write("c", "u1 s\nu1 t\n"))


# --- formats that say themselves what they are ---------------------------------------------------


@pytest.mark.parametrize("reference, hypothesis, expected", [
    (("a.trn", ""), ("b.ctm", ""), ("trn", "ctm")),
    (("a.txt", "one (u1)\ntwo (u2)\n"), ("b.txt", "one (u1)\n (u2)\n"), ("trn", "trn")),
    (("a", '{"id": "u"}\n'), ("b", '{"id": "u"}\n'), ("jsonl", "jsonl")),
    (("text", "utt-1 one two\nutt-2 x\n"), ("hyp", "utt-2 x\nutt-1\n"), ("kaldi", "kaldi")),
    (("a", "hello world\nbye now\n"), ("b", "hello word\nbye now\n"), ("plain", "plain")),
    (("a", "1 cat\n2 dogs\n"), ("b", "1 cat\n3 dogs\n"), ("plain", "plain")),
    (("a", "x1 cat\nx1 dog\n"), ("b", "x1 cat\nx1 dog\n"), ("plain", "plain")),
    (("a.stm", ""), ("b", "u-1 a\nu-2 b\n"), ("stm", "kaldi")),
    (("a", ""), ("b", ""), ("plain", "plain")),
])
def test_auto(write, reference, hypothesis, expected):
    assert guess_formats(write(*reference), write(*hypothesis)) == expected


def test_plain_beside_ids_is_refused(write):
    with pytest.raises(DataError, match="b.txt:1: .*plain lines have no ids to match"):
        read_pair(write("a.trn", "a (u)\n"), write("b.txt", "a\n"))
    with pytest.raises(UsageError, match="plain lines have no ids to match"):
        read_pair(write("a.trn", "a (u)\n"), write("b.txt", "a\n"), hypothesis_format="plain")
    with pytest.raises(UsageError, match="Unknown text format 'tnr'"):
        read_pair("a", "b", format="tnr")


# --- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["plain", "kaldi", "trn", "jsonl"])
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text("abé( )'.\u2028", max_size=12), min_size=1, max_size=4))
def test_written_texts_come_back(tmp_path_factory, format, texts):
    path = tmp_path_factory.mktemp("w") / "x"
    named = {str(index): " ".join(text.split()) for index, text in enumerate(texts, 1)}
    write_texts(path, named, format)
    assert read_texts(path, format).texts == named


@pytest.mark.parametrize("texts, format, message", [
    ({"a": "x\ny"}, "plain", "holds a line break"),
    ({"a b": "x"}, "kaldi", "ids hold no space"),
    ({"a(b": "x"}, "trn", "ids hold no space or parenthesis"),
    ({"": "x"}, "kaldi", "ids hold no space"),
])
def test_what_a_format_cannot_hold(tmp_path, texts, format, message):
    with pytest.raises(DataError, match=message):
        write_texts(tmp_path / "x", texts, format)
    assert not (tmp_path / "x").exists()


def test_texts_have_no_times(tmp_path):
    with pytest.raises(UsageError, match="without times cannot be written as ctm"):
        write_texts(tmp_path / "x", {"a": "b"}, "ctm")


# --- times -------------------------------------------------------------------------------------

SEGMENTS = [StmLine("f", "A", "anna", 0.0, 2.0, "one two", "<o>"),
            StmLine("f", "A", "bob", 3.0, 4.0, "three"),
            StmLine("f", "A", "x", 5.0, 6.0, "IGNORE_TIME_SEGMENT_IN_SCORING"),
            StmLine("g", "A", "bob", 0.0, 1.0, "four")]


def words(*times):
    return [CtmWord("f", "A", start, 0.2, text) for start, text in times]


def test_words_go_where_their_middle_lies():
    found = assign_words(words((1.0, "two"), (0.1, "one"), (3.1, "three"), (5.1, "noise"),
                               (1.85, "edge"), (2.2, "near-first"), (2.7, "near-second")),
                         SEGMENTS)
    assert {name: [word.text for word in words] for name, words in found.items()} == {
        "f-A-0000000-0002000": ["one", "two", "edge"],
        "f-A-0003000-0004000": ["near-first", "near-second", "three"],
        "g-A-0000000-0001000": []}


def test_words_of_an_unknown_channel_are_an_error():
    with pytest.raises(DataError, match="file 'f' channel 'B', which the references do not have"):
        assign_words([CtmWord("f", "B", 0, 1, "x")], SEGMENTS)


def test_stm_and_ctm_come_back(tmp_path):
    write_stm(tmp_path / "a.stm", SEGMENTS)
    assert read_stm(tmp_path / "a.stm") == SEGMENTS
    spoken = [CtmWord("f", "A", 0.5, 0.25, "one", 0.5), CtmWord("f", "A", 1.0, 0.25, "two")]
    write_ctm(tmp_path / "a.ctm", spoken)
    assert read_ctm(tmp_path / "a.ctm") == spoken
    assert words_of_ctm(spoken) == {"f": spoken}
    with pytest.raises(DataError, match="'two words' cannot be in stm or ctm"):
        write_ctm(tmp_path / "b.ctm", [CtmWord("f", "A", 0, 1, "two words")])


def test_ctm_against_stm(tmp_path, capsys):
    write_stm(tmp_path / "r.stm", SEGMENTS)
    write_ctm(tmp_path / "h.ctm", words((0.1, "one"), (1.0, "too"), (3.2, "three")))
    assert run(["score", str(tmp_path / "r.stm"), str(tmp_path / "h.ctm")]) == 0
    out, err = capsys.readouterr()
    assert "(S 1 D 1 I 0 N 4)" in out and "3 utterances, 2 speakers, 4 words" in out
    assert "Read as stm and ctm." in err


# --- alignments --------------------------------------------------------------------------------

# Printed by sclite 2.4.10 (-i spu_id -o pra) for these trn files.
SCLITE = """\
id: (spk1_u1)
Scores: (#C #S #D #I) 4 1 1 1
REF:  the CAT sat **** on THE mat\x20
HYP:  the HAT sat DOWN on *** mat\x20
Eval:     S       I       D      \x20

id: (spk1_u2)
Scores: (#C #S #D #I) 2 0 0 0
REF:  hello world\x20
HYP:  hello world\x20
Eval:            \x20

id: (spk2_u1)
Scores: (#C #S #D #I) 0 0 0 1
REF:  **\x20
HYP:  UH\x20
Eval: I \x20

id: (spk2_u2)
Scores: (#C #S #D #I) 0 0 3 0
REF:  ONE TWO THREE\x20
HYP:  *** *** *****\x20
Eval: D   D   D    \x20
"""


def test_pra_is_what_sclite_prints():
    result = score({"spk1_u1": "the cat sat on the mat", "spk1_u2": "hello world", "spk2_u1": "",
                    "spk2_u2": "one two three"},
                   {"spk1_u1": "the hat sat down on mat", "spk1_u2": "hello world",
                    "spk2_u1": "uh", "spk2_u2": ""}, draws=100)
    assert pra(result.rows) == SCLITE


def test_pra_columns_line_up_for_wide_and_combining_characters():
    for reference, hypothesis in (("你好 a", "a"), ("x\u0331 b", "y b"), ("straße", "strasse")):
        *_, top, bottom, marks = pra_block("u", align_words(reference, hypothesis)).splitlines()
        assert len({len(re.sub("[\u4e00-\u9fff]", "xx", line.replace("\u0331", "")))
                    for line in (top, bottom, marks)}) == 1


@pytest.mark.skipif(not (shutil.which("sclite") or os.path.exists("/usr/lib/sctk/bin/sclite")),
                    reason="NIST's sclite is not installed (Debian package sctk)")
def test_counts_against_sclite(tmp_path):
    """sclite weighs S 4, I and D 3: N is the same and its total is never below the minimum."""
    pairs = [pair for pair in seeded_pairs(300, seed=3) if pair[0]]
    references = {f"s_u{index}": pair[0] for index, pair in enumerate(pairs)}
    hypotheses = {f"s_u{index}": pair[1] for index, pair in enumerate(pairs)}
    write_texts(tmp_path / "r", references, "trn")
    write_texts(tmp_path / "h", hypotheses, "trn")
    binary = shutil.which("sclite") or "/usr/lib/sctk/bin/sclite"
    output = subprocess.run([binary, "-r", "r", "trn", "-h", "h", "trn", "-i", "spu_id", "-o",
                             "pra", "stdout"], cwd=tmp_path, capture_output=True, text=True,
                            check=True, timeout=60).stdout
    theirs = [[int(number) for number in line.split(")")[1].split()]
              for line in output.splitlines() if line.startswith("Scores:")]
    ids = re.findall(r"^id: \((.*)\)", output, re.MULTILINE)
    ours = {row.id: row.words for row in score(references, hypotheses, draws=100).rows}
    assert len(theirs) == len(ours)
    same = 0
    for name, (correct, substituted, deleted, inserted) in zip(ids, theirs, strict=True):
        counts = ours[name]
        assert correct + substituted + deleted == counts.reference
        assert substituted + deleted + inserted >= counts.errors
        same += substituted + deleted + inserted == counts.errors
    assert same > 0.95 * len(ours)


# --- storage -----------------------------------------------------------------------------------


def test_a_saved_score_comes_back(tmp_path):
    result = score({"a": "One two.", "b": "x"}, {"a": "one too", "b": "x"}, normalizer="english",
                   speakers={"a": "s", "b": "t"}, durations={"a": 1.5, "b": 2.0},
                   skipped={"c": "audio.empty"})
    assert save(result, tmp_path / "dev.jsonl") == tmp_path / "dev.receipt.json"
    again, receipt = load(tmp_path / "dev.jsonl")
    assert again == result
    assert receipt["normalizer"] == result.receipt.normalizer
    rows = [json.loads(line) for line in (tmp_path / "dev.jsonl").read_text().splitlines()]
    assert rows[0]["id"] == "a" and rows[0]["substitutions"] == 1 and rows[0]["wer"] == 0.5
    raw, _ = load(tmp_path / "dev.jsonl", normalizer="none")
    assert raw.words == result.raw_words


def test_rows_without_receipt(write):
    path = write("x.jsonl", '{"id": "a", "reference": "A b", "hypothesis": "a"}\n')
    result, receipt = load(path)
    assert receipt == {} and result.words.deletions == 1
    assert result.receipt.normalizer.startswith("basic")


@pytest.mark.parametrize("receipt, message", [
    ('{"receipt": 3}', "not a receipt"), ("{}", "not a receipt"), ("[]", "expected a JSON object"),
    ('{"receipt": {"skipped": ["x"]}}', "not a receipt"),
    ('{"receipt": {"normalizer": "basic-0-0000"}}', "scored with the normaliser basic-0-0000"),
])
def test_damaged_receipt(write, receipt, message):
    path = write("x.jsonl", '{"id": "a", "reference": "A b", "hypothesis": "a"}\n')
    receipt_path(path).write_text(receipt)
    with pytest.raises(DataError, match=message):
        load(path)


def test_conditions_of_the_wrong_type_are_not_believed(write):
    path = write("x.jsonl", '{"id": "a", "reference": "A b", "hypothesis": "a"}\n')
    receipt_path(path).write_text('{"receipt": {"decoder": 3, "seed": true, "bundle_hash": "b"}}')
    result, _ = load(path)
    conditions = result.receipt.conditions
    assert (conditions.decoder, conditions.seed, conditions.bundle_hash) == ("", None, "b")


@pytest.mark.parametrize("text", HOSTILE)
def test_csv_cells_are_text(text):
    result = score({"a": "x", text: text}, {"a": "x", text: text}, normalizer="none", draws=100)
    rows = list(csv.reader(io.StringIO(to_csv(result.rows))))
    assert len(rows) == 3 and all(len(row) == 11 for row in rows)
    assert rows[2][0] == safe_cell(text)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in rows[2])
    raw = list(csv.reader(io.StringIO(to_csv(result.rows, raw=True))))
    assert raw[2][0] == text and raw[2][9] == text


def test_numbers_in_csv_stay_numbers():
    assert safe_cell(-1.5) == -1.5 and safe_cell(None) is None and safe_cell(" =1") == "' =1"


# --- command -----------------------------------------------------------------------------------


def test_command_writes_everything(write, tmp_path, capsys):
    reference = write("ref", "u-1 One two\nu-2 =x\n")
    hypothesis = write("hyp", "u-2 =x\nu-1 one too\n")
    speakers = write("utt2spk", "u-1 anna\nu-2 bob\n")
    arguments = ["score", reference, hypothesis, "--speakers", speakers, "--per-utterance",
                 tmp_path / "o.jsonl", "--csv", tmp_path / "o.csv", "--pra", tmp_path / "o.pra"]
    assert run([str(argument) for argument in arguments]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("WER 33.33 % ± ") and "2 speakers" in out
    assert err == "Read as kaldi and kaldi.\n"
    assert load(tmp_path / "o.jsonl")[0].words.substitutions == 1
    assert "'=x" in (tmp_path / "o.csv").read_text()
    assert "HYP:  one TOO" in (tmp_path / "o.pra").read_text()


def test_command_json(write, capsys):
    reference, hypothesis = write("r.trn", "a b (u)\n"), write("h.trn", "a (u)\n")
    assert run(["score", str(reference), str(hypothesis), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["wer"] == 0.5 and record["receipt"]["utterances"] == 1


@pytest.mark.parametrize("reference, hypothesis", [("", ""), ("\n\n", "a\nb\n"), ("a\n", "a\nb\n")])
def test_without_a_score_json_says_null_and_the_exit_code_is_4(write, capsys, reference,
                                                               hypothesis):
    arguments = ["score", str(write("r", reference)), str(write("h", hypothesis)), "--json",
                 "--format", "plain"]
    assert run(arguments) == 4
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert record["wer"] is None and record["cer"] is None
    assert record["error"]["code"].startswith("score.") and err.startswith("Error: ")


@pytest.mark.parametrize("policy, code, expected", [
    ("error", 4, ""), ("deletions", 0, "D 1 I 0 N 2"), ("skip", 0, "D 0 I 0 N 1")])
def test_missing_hypotheses(write, capsys, policy, code, expected):
    reference, hypothesis = write("r.trn", "a (u1)\nb (u2)\n"), write("h.trn", "a (u1)\n")
    assert run(["score", str(reference), str(hypothesis), "--missing", policy]) == code
    out, err = capsys.readouterr()
    assert expected in out
    assert ("skipped 'u2': no hypothesis" in err) == (policy == "skip")


def test_settle_missing():
    assert settle_missing({"a": "x"}, {}, "error") == ({}, {})
    assert settle_missing({"a": "x"}, {}, "deletions") == ({"a": ""}, {})
    assert settle_missing({"a": "x"}, {}, "skip") == ({}, {"a": "no hypothesis"})


def test_command_units(tmp_path, capsys):
    """sclite -e utf-8 -c NOASCII: (7 1 1 0)."""
    (tmp_path / "r").write_text("u1 我们用 python\nu2 手机x 好 了\n")
    (tmp_path / "h").write_text("u1 我门用 python\nu2 手机x 好\n")
    files = [str(tmp_path / "r"), str(tmp_path / "h")]
    saved = str(tmp_path / "s.jsonl")
    assert run(["score", *files, "--units", "mixed", "--per-utterance", saved]) == 0
    out = capsys.readouterr().out
    assert "(S 1 D 1 I 0 N 9)" in out and "normaliser basic+mixed-" in out
    assert run(["score", *files, "--units", "characters"]) == 0
    out = capsys.readouterr().out
    assert "(S 1 D 1 I 0 N 14)" in out and "normaliser basic+characters-" in out
    assert run(["score", *files, "--units", "mixed", "--normalizer", "basic+characters"]) == 2
    assert "names other units than 'mixed'; expected one" in capsys.readouterr().err
    assert run(["compare", saved, saved, "--units", "characters"]) == 2
    assert run(["compare", saved, saved, "--units", "mixed"]) == 2
    assert run(["compare", saved, saved]) == 0
    assert run(["compare", files[1], files[1], "--reference", files[0], "--units", "mixed"]) == 0


def test_command_non_speech(tmp_path, capsys):
    (tmp_path / "ref.trn").write_text("yes [laughter] no (s-1)\n")
    (tmp_path / "hyp.trn").write_text("yes no <unk> (s-1)\n")
    files = [str(tmp_path / "ref.trn"), str(tmp_path / "hyp.trn"), "--format", "trn"]
    saved = str(tmp_path / "rows.jsonl")
    assert run(["score", *files]) == 0
    assert "(S 2 D 0 I 0 N 3)" in capsys.readouterr().out
    assert run(["score", *files, "--non-speech", "drop", "--per-utterance", saved]) == 0
    out = capsys.readouterr().out
    assert "(S 0 D 0 I 0 N 2)" in out and "normaliser basic+drop-" in out
    assert run(["compare", saved, saved, "--draws", "100"]) == 0  # the receipt knows
    assert "on 2 words" in capsys.readouterr().out
    assert run(["compare", saved, saved, "--non-speech", "drop"]) == 2
    assert run(["compare", *files[:2], "--reference", files[0], "--non-speech", "drop",
                "--draws", "100"]) == 0
    assert "on 2 words" in capsys.readouterr().out
