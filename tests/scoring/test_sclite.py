"""What sclite makes of odd files; values by sclite of SCTK 2.4.12, unless a line says why."""

from __future__ import annotations

import pytest

from asr.cli import run
from asr.errors import DataError
from asr.scoring import read_pair, score

ANNA = "anna-001 four two zero\nanna-002 nine one\nbob-001 three three\n"


def files(tmp_path, reference, hypothesis, suffixes=(".txt", ".txt")):
    paths = [tmp_path / f"{name}{suffix}" for name, suffix in
             zip(("ref", "hyp"), suffixes, strict=True)]
    for path, text in zip(paths, (reference, hypothesis), strict=True):
        path.write_text(text)
    return paths


def scored(paths):
    reference, hypothesis = read_pair(*paths)
    return score(reference.texts, hypothesis.texts).words


@pytest.mark.parametrize("hypothesis, message", [
    (ANNA.replace("bob-001", "bob-01"), r"hyp\.txt:3: the id 'bob-01' is not in .*ref\.txt"),
    (ANNA.replace("anna-002", "anna-001"), r"hyp\.txt:2: the id 'anna-001' repeats that of line 1"),
    (ANNA.replace("bob-001 ", ""), r"hyp\.txt:3: the line starts with 'three', where most lines"),
    ("four two zero\nnine one\nthree three\n", r"hyp\.txt:1: the line starts with 'four'"),
    (ANNA.rpartition("bob")[0], r"ref\.txt:3: the id 'bob-001' is not in .*hyp\.txt")])
def test_ids_are_never_scored_as_words(tmp_path, hypothesis, message, capsys):
    """Kaldi's compute-wer matches by id; the texts have 7 words, not 13."""
    paths = files(tmp_path, ANNA, hypothesis)
    with pytest.raises(DataError, match=message):
        read_pair(*paths)
    assert run(["score", *map(str, paths)]) == 4
    read_pair(*paths, format="plain")  # when told


def test_matching_ids_are_kaldi_text(tmp_path):
    reference, hypothesis = read_pair(*files(tmp_path, ANNA, ANNA))
    assert reference.format == hypothesis.format == "kaldi"
    assert scored(files(tmp_path, ANNA, ANNA)).reference == 7


@pytest.mark.parametrize("text", ["7-eleven is open\nit is late\nwe go\n", "4 2 0\n1 2\n9 9 9\n",
                                  "mother-in-law\nx-ray\nwell-known\n"])
def test_plain_lines_stay_plain(tmp_path, text):
    reference, _ = read_pair(*files(tmp_path, text, text.replace("late", "soon")
                                    .replace("1 2", "2 1").replace("x-ray", "ray")))
    assert reference.format == "plain"


def test_one_odd_line_of_a_trn_is_named(tmp_path):
    good = "a b (u1)\nc (u2)\nd (u3)\n"
    with pytest.raises(DataError, match=r"hyp\.txt:2: expected 'words \(utterance-id\)'"):
        read_pair(*files(tmp_path, good, good.replace("c (u2)", "c")))


@pytest.mark.parametrize("text", ["four {five/5} zero (u1)\n", "four { five / 5 } zero (u1)\n",
                                  "{uh / @} four (u1)\n"])
def test_alternatives_are_refused_never_words(tmp_path, text):
    """sclite supports them: N 3, C 3 for the first two. Ours says that it does not."""
    paths = files(tmp_path, text, "four 5 zero (u1)\n", (".trn", ".trn"))
    with pytest.raises(DataError, match="alternatives .* are not supported"):
        read_pair(*paths)


def test_sentence_marks_are_no_words(tmp_path, capsys):
    """sclite scores them as words (N 9); speech has 5."""
    paths = files(tmp_path, "<s> four two zero </s> (u1)\n<s> nine one </s> (u2)\n",
                  "four two zero (u1)\nnine one (u2)\n", (".trn", ".trn"))
    words = scored(paths)
    assert (words.reference, words.errors) == (5, 0)
    assert run(["score", *map(str, paths)]) == 0
    assert "4 sentence marks (<s>, </s>) are not words" in capsys.readouterr().err


def test_optionally_deletable_words_are_required_and_that_is_said(tmp_path, capsys):
    """As sclite without -D: N 7, D 2."""
    paths = files(tmp_path, "four two (uh) zero (u1)\nnine (%hesitation) one (u2)\n",
                  "four two zero (u1)\nnine one (u2)\n", (".trn", ".trn"))
    words = scored(paths)
    assert (words.reference, words.deletions, words.errors) == (7, 2, 2)
    assert run(["score", *map(str, paths)]) == 0
    assert "2 optionally deletable words (in parentheses) were required" in capsys.readouterr().err


def test_stm_fields_are_separated_by_any_white_space(tmp_path):
    paths = files(tmp_path, "talk\tA\tanna\t0\t4.00\t<o,X,Y>\thello you\n",
                  "talk A 0.5 0.3 hello\ntalk A 1.5 0.3 you\n", (".stm", ".ctm"))
    words = scored(paths)
    assert (words.reference, words.errors) == (2, 0)


@pytest.mark.parametrize("marker", ["ignore_time_segment_in_scoring",
                                    "IGNORE_TIME_SEGMENT_IN_SCORING",
                                    "so Ignore_Time_Segment_In_Scoring now"])
def test_ignored_segments_in_any_case_and_anywhere(tmp_path, marker):
    paths = files(tmp_path, f"talk 1 inter 0 2.00 <o,,unknown> {marker}\n"
                  "talk 1 anna 2 4 <o,X,Y> hello big world\n",
                  "talk 1 1.0 0.3 uh\ntalk 1 2.1 0.3 hello\ntalk 1 2.8 0.3 big\n"
                  "talk 1 3.3 0.3 world\n", (".stm", ".ctm"))
    words = scored(paths)
    assert (words.reference, words.errors) == (3, 0)


def test_a_word_on_a_boundary_belongs_to_the_later_segment(tmp_path):
    paths = files(tmp_path, "t 1 a 0 2 one\nt 1 a 2 4 two\n",
                  "t 1 0.5 0.2 one\nt 1 1.9 0.2 two\n", (".stm", ".ctm"))
    assert scored(paths).errors == 0


def test_comments_after_blanks(tmp_path):
    paths = files(tmp_path, "  ;; a remark\na b (u1)\n", "a b (u1)\n", (".trn", ".trn"))
    assert scored(paths).errors == 0
