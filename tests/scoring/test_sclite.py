"""What sclite makes of odd files; values by sclite of SCTK 2.4.12, unless a line says why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from asr.cli import run
from asr.errors import DataError
from asr.scoring import read_pair, read_texts, score
from asr.scoring.counts import count_words
from asr.scoring.sclite_notation import settle, word_graph

ANNA = "anna-001 four two zero\nanna-002 nine one\nbob-001 three three\n"


def files(tmp_path, reference, hypothesis, suffixes=(".txt", ".txt")):
    paths = [tmp_path / f"{name}{suffix}" for name, suffix in
             zip(("ref", "hyp"), suffixes, strict=True)]
    for path, text in zip(paths, (reference, hypothesis), strict=True):
        path.write_text(text)
    return paths


def scored(paths, **options):
    reference, hypothesis = read_pair(*paths, **options)
    return score(reference.texts, hypothesis.texts,
                 normalizer=options.get("normalizer", "basic")).words


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


# sclite 2.4.10 (Debian sctk), for lines "REF (s_1)" in r.trn and "HYP (s_1)" in h.trn:
# sclite -r r.trn trn -h h.trn trn -i spu_id -o pra stdout
ALTERNATIONS = [  # reference, hypothesis, #C #S #D #I
    ("four {five/5} zero", "four 5 zero", (3, 0, 0, 0)),
    ("four { five / 5 } zero", "four 5 zero", (3, 0, 0, 0)),
    ("four {five / 5 6} zero", "four 5 6 zero", (4, 0, 0, 0)),
    ("four {five / 5 6} zero", "four 5 zero", (3, 0, 1, 0)),
    ("{a / b c / @} x", "x", (1, 0, 0, 0)),
    ("{a / b c / @} x", "c x", (2, 0, 1, 0)),
    ("{a / {b / c} d} x", "c d x", (3, 0, 0, 0)),
    ("{a/{b/c}d}x", "c d x", (3, 0, 0, 0)),
    ("{a / @} x", "a x", (2, 0, 0, 0)),
    ("@ x", "x", (1, 0, 0, 0)),
    ("{ uh / @ } x", "um x", (1, 0, 0, 1)),
    ("{a / b / c d e} {f / g}", "c d e g", (4, 0, 0, 0)),
    ("{a b / c d} e", "a d e", (2, 1, 0, 0)),
    ("{ five / 5 6 7 } x", "a b x", (1, 1, 0, 1)),
    ("{ a } b", "a b", (2, 0, 0, 0)),
]


@pytest.mark.parametrize("reference, hypothesis, expected", ALTERNATIONS)
def test_alternations_are_scored_as_by_sclite(tmp_path, reference, hypothesis, expected):
    trn = files(tmp_path, f"{reference} (s_1)\nq (s_2)\n", f"{hypothesis} (s_1)\nq (s_2)\n",
                (".trn", ".trn"))
    ctm = "".join(f"t 1 {index / 100:.2f} 0.01 {word}\n"
                  for index, word in enumerate(hypothesis.split()))
    correct, *errors = expected
    for words in (scored(trn), scored(files(tmp_path, f"t 1 anna 0 2 <o> {reference}\nt 1 b 3 4 q",
                                            f"{ctm}t 1 3.5 0.1 q\n", (".stm", ".ctm")))):
        assert [words.substitutions, words.deletions, words.insertions] == errors
        assert words.reference == correct + sum(errors[:2]) + 1


def test_the_choice_is_said_and_follows_the_normaliser(tmp_path, capsys):
    paths = files(tmp_path, "a {Colour, red / x} b (u1)\n", "a color red b (u1)\n",
                  (".trn", ".trn"))
    reference, _ = read_pair(*paths, normalizer="english")
    assert reference.texts == {"u1": "a Colour, red b"}
    assert "of 1 alternation such as { a / b } the reading was scored" in reference.notes[0]
    assert run(["score", *map(str, paths), "--normalizer", "english"]) == 0
    assert "WER 0.00 %" in capsys.readouterr().out


def readings(text):
    """All readings of spaced alternatives, by brute force."""
    match = re.search(r"\{ ([^{}]*) \}", text)
    if not match:
        return {" ".join(word for word in text.split() if word != "@")}
    return set().union(*(readings(text[:match.start()] + choice + text[match.end():])
                         for choice in match[1].split(" / ")))


def test_the_cheapest_of_all_readings_is_taken(tmp_path):
    """Against all readings, enumerated, on random ones; sclite's costs."""
    random = np.random.default_rng(5)

    def words(count):
        return " ".join(random.choice(list("abc"), count))

    def part(depth=0):
        if random.random() < 0.6 or depth > 1:
            return words(random.integers(1, 3))
        inner = [part(depth + 1) if random.random() < 0.8 else "@"
                 for _ in range(random.integers(1, 4))]
        return "{ " + " / ".join(inner) + " }"

    for _ in range(200):
        text = " ".join(part() for _ in range(random.integers(1, 5)))
        heard = words(random.integers(0, 7))
        found = settle(word_graph(text, "x:1"), word_graph(heard, "x:1"), "basic", "x:1")
        variants = sorted(readings(text))
        counts = count_words([*variants, found.reference], [heard] * (len(variants) + 1), "sclite")
        costs = counts[:, :3] @ [4, 3, 3]
        assert found.reference in variants and found.hypothesis == heard, text
        assert costs[-1] == costs[:-1].min(), text


@pytest.mark.parametrize("text, message", [
    ("{ a / b", "a brace { that nothing closed"), ("a } b", "a brace } that nothing opened"),
    ("{ / a } b", "an empty alternative"), ("{a//b} c", "an empty alternative"),
    ("{a/} c", "an empty alternative"), ("{ } c", "an empty alternative"),
    ("{" * 51 + "a" + "}" * 51, "more than 50 braces")])
def test_broken_notation_is_refused_with_its_line(tmp_path, text, message):
    for paths in (files(tmp_path, f";; c\n{text} (u1)\n", "a (u1)\n", (".trn", ".trn")),
                  files(tmp_path, f";; c\nt 1 a 0 1 {text}\n", "t 1 0 1 a\n", (".stm", ".ctm"))):
        with pytest.raises(DataError, match=rf"ref\.\w+:2: got {re.escape(message)}.*expected"):
            read_pair(*paths)


def test_alternatives_in_a_hypothesis(tmp_path):
    """sclite takes them in trn, against trn and stm."""
    paths = files(tmp_path, "a x (s_1)\n{ y z / @ } b (s_2)\n",
                  "{ a / b } x (s_1)\n{ b / z b } (s_2)\n", (".trn", ".trn"))
    reference, hypothesis = read_pair(*paths)
    assert hypothesis.texts == {"s_1": "a x", "s_2": "b"}
    assert reference.texts == {"s_1": "a x", "s_2": "b"}


def alternation(*variants, channel="1"):
    """Lines of a ctm; a variant is a list of times and words."""
    lines = [f"t {channel} * * <ALT_BEGIN>"]
    for number, variant in enumerate(variants, 1):
        lines += [f"t {channel} {words}" for words in variant]
        lines.append(f"t {channel} * * <ALT{'_END' if number == len(variants) else ''}>")
    return "".join(line + "\n" for line in lines)


def test_alternations_in_a_ctm(tmp_path):
    """sclite: (3 0 0 0) and (3 0 0 1) with times; the last middle of an alternation decides."""
    ctm = ("t 1 0.1 .2 a\n" + alternation(["0.4 .2 x"], ["0.4 .2 b", "1.0 .2 c"])
           + "t 1 2.1 .2 d\n" + alternation(["2.4 .2 e", "2.6 .2 g"], []) + "t 1 3.0 .2 f\n")
    paths = files(tmp_path, "t 1 s 0 2 a b c\nt 1 s 2 4 d e f\n", ctm, (".stm", ".ctm"))
    reference, hypothesis = read_pair(*paths)
    assert list(hypothesis.texts.values()) == ["a b c", "d e g f"]
    assert "of 2 alternations" in reference.notes[0]
    late = alternation(["1.9 .1 x"], ["1.9 .4 b"])  # 2.1
    paths = files(tmp_path, "t 1 s 0 2 a\nt 1 s 2 4 b\n", "t 1 1 .1 a\n" + late, (".stm", ".ctm"))
    assert list(read_pair(*paths)[1].texts.values()) == ["a", "b"]
    both = files(tmp_path, "t 1 1 .1 a\n" + late, "t 1 1 .1 a\nt 1 1.9 .1 b\n", (".ctm", ".ctm"))
    reference, hypothesis = read_pair(*both)
    assert reference.texts == hypothesis.texts == {"t": "a b"}
    empty = files(tmp_path, "t 1 1 .1 a\n" + alternation([], ["1.9 .1 b", "2 .1 c"]),
                  "t 1 1 .1 a\nt 1 1.9 .1 b\n", (".ctm", ".ctm"))
    assert read_pair(*empty)[0].texts == {"t": "a b c"}  # sclite loses the b


@pytest.mark.parametrize("ctm, message", [
    ("t 1 * * <ALT_BEGIN>\nt 1 0 1 a\n", "hyp.ctm:1: got an <ALT_BEGIN> that nothing closes"),
    ("t 1 0 1 a\nt 1 * * <ALT_END>\n", "hyp.ctm:2: got <ALT_END> without <ALT_BEGIN>"),
    ("t 1 * * <ALT>\n", "hyp.ctm:1: got <ALT> without <ALT_BEGIN>"),
    ("t 1 * * <ALT_BEGIN>\nt 1 * * <alt_begin>\n", "hyp.ctm:2: got the next alternation"),
    ("t 1 * * <ALT_BEGIN>\nt 2 0 1 a\n", "hyp.ctm:2: got the next alternation, file or channel"),
    ("t 1 * * <ALT_BEGIN>\nt 1 0 1 1/2\n", "hyp.ctm:2: got 1/2 inside an alternation"),
    ("t 1 * * <ALT_BEGIN>\nt 1 * 1 a\n", "hyp.ctm:2: expected 'file channel start"),
    ("t 1 * * <ALT_BEGIN>\nt 1 * * <ALT_X>\n", "hyp.ctm:2: got <ALT_X> inside"),
    ("t 1 0 1 {a/b}\n", "hyp.ctm:1: alternatives are not supported here, and braces not")])
def test_broken_alternations_of_a_ctm_name_their_line(tmp_path, ctm, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read_pair(*files(tmp_path, "t 1 a 0 1 a\n", ctm, (".stm", ".ctm")))
    if "{" not in ctm:
        with pytest.raises(DataError, match="alternatives are not supported here"):
            read_texts(tmp_path / "hyp.ctm", "ctm")


def test_tags_and_stars_are_no_part_of_a_word(tmp_path):
    """sclite: 3 0 0 0 and 2 1 0 0."""
    paths = files(tmp_path, "a;x b\\;c d (s_1)\na* *b c (s_2)\n",
                  "a b\\;c;q d (s_1)\na b c* (s_2)\n", (".trn", ".trn"))
    reference, hypothesis = read_pair(*paths, normalizer="none")
    rows = score(reference.texts, hypothesis.texts, normalizer="none", draws=100).rows
    assert [(row.words.reference, row.words.errors) for row in rows] == [(3, 0), (3, 1)]
    assert "3 words have a tag after ; or a * at their end" in reference.notes[0]


# the same command with -D
OPTIONAL = [
    ("four two (uh) zero", "four two zero", (4, 0, 0, 0)),
    ("nine (%hesitation) one", "nine one", (3, 0, 0, 0)),
    ("four (uh) two", "four uh two", (3, 0, 0, 0)),
    ("four (uh) two", "four um two", (2, 1, 0, 0)),
    ("four (uh) two", "four two x", (3, 0, 0, 1)),
    ("a {(uh) / b} c", "a c", (3, 0, 0, 0)),
    ("a ((uh)) b", "a b", (3, 0, 0, 0)),
    ("(uh) (um) a", "x a", (2, 1, 0, 0)),
    ("a (uh) b (um) c", "a c", (4, 0, 1, 0)),
    ("{a / b} (uh) {c / d / @}", "b", (2, 0, 0, 0)),
    ("(hel-) lo", "lo", (2, 0, 0, 0)),
]


@pytest.mark.parametrize("reference, hypothesis, expected", OPTIONAL)
def test_optionally_deletable_words(tmp_path, reference, hypothesis, expected):
    paths = files(tmp_path, f"{reference} (s_1)\n", f"{hypothesis} (s_1)\n", (".trn", ".trn"))
    words = scored(paths, optionally_deletable=True)
    correct, *errors = expected
    assert [words.substitutions, words.deletions, words.insertions] == errors
    assert words.reference == correct + sum(errors[:2])


def test_optionally_deletable_on_the_command_line(tmp_path, capsys):
    """N 7, C 7 by sclite -D; each deleted word is said to stand in the hypotheses."""
    trn = files(tmp_path, "four two (uh) zero (u1)\nnine (%hesitation) one (u2)\n",
                "four two zero (u1)\nnine one (u2)\n", (".trn", ".trn"))
    stm = files(tmp_path, "t1 1 anna 0.00 2.00 <o,f0,female> four two (uh) zero\n"
                "t1 1 anna 2.00 4.00 <o,f0,female> nine (%hesitation) one\n",
                "t1 1 0.10 0.30 four 0.9\nt1 1 0.50 0.30 two 0.9\nt1 1 1.20 0.30 zero 0.9\n"
                "t1 1 2.10 0.30 nine 0.9\nt1 1 3.20 0.30 one 0.9\n", (".stm", ".ctm"))
    for paths in (trn, stm):
        assert run(["score", *map(str, paths), "--optionally-deletable", "--json"]) == 0
        out, err = capsys.readouterr()
        words = json.loads(out)["words"]
        assert (words["reference"], words["deletions"], words["rate"]) == (7, 0, 0)
        assert "2 optionally deletable words (in parentheses); 2 were not said" in err
    kaldi = files(tmp_path, ANNA, ANNA)
    assert run(["score", *map(str, kaldi), "--optionally-deletable"]) == 2


@pytest.mark.parametrize("reference, hypothesis, expected", [
    ("a b c", "a (uh) b (c)", (4, 0, 0, 0)), ("a (uh) c", "a (um) c", (2, 1, 0, 0)),
    ("a uh c", "a (uh) (d) c", (4, 0, 0, 0)), ("a x y c", "a (um) c", (2, 1, 1, 0))])
def test_optionally_deletable_words_of_a_hypothesis(tmp_path, reference, hypothesis, expected):
    """sclite -D: one that was not said in the reference is right, and a word more."""
    test_optionally_deletable_words(tmp_path, reference, hypothesis, expected)
    paths = files(tmp_path, f"{reference} (s_1)\n", f"s_1 {hypothesis}\n", (".trn", ".kaldi"))
    with pytest.raises(DataError, match="expected no parentheses in kaldi with --optionally-del"):
        read_pair(*paths, optionally_deletable=True)


@pytest.mark.parametrize("reference, hypothesis, message", [
    ("a (uh um) b", "a b", r"ref\.trn:1: got the parenthesis in '\(uh'"),
    ("( uh ) b", "b", "got the parenthesis in"), ("a (uh)b c", "a c", "got the parenthesis in"),
    ("a () b", "a b", "got the parenthesis in"),
    ("a b", "a (uh um) b", r"hyp\.trn:1: got the parenthesis in '\(uh'")])
def test_unclear_parentheses_are_refused(tmp_path, reference, hypothesis, message):
    paths = files(tmp_path, f"{reference} (u1)\n", f"{hypothesis} (u1)\n", (".trn", ".trn"))
    with pytest.raises(DataError, match=message):
        read_pair(*paths, optionally_deletable=True)
    read_pair(*paths)  # words, as in sclite without -D


def test_fragments_are_said(tmp_path):
    """sclite without -F: hel- against hello is a substitution, N 2."""
    paths = files(tmp_path, "hel- lo (u1)\n", "hello lo (u1)\n", (".trn", ".trn"))
    words = scored(paths)
    assert (words.reference, words.substitutions, words.errors) == (2, 1, 1)
    assert "1 fragment of words (beginning or ending in -) was compared like whole words" in \
        read_pair(*paths)[0].notes[0]


@pytest.mark.parametrize("reference, hypothesis, expected", [
    ("hel- b -lo", "hello c jello", (2, 1, 0, 0)), ("hello b", "hel- b", (2, 0, 0, 0)),
    ("a b", "a hel- b", (2, 0, 0, 1)), ("hel- x", "x", (1, 0, 1, 0)), ("- a", "b a", (1, 1, 0, 0)),
    ("{ th- / @ } a", "this a", (2, 0, 0, 0)), ("fi- la", "fig li-", (1, 1, 0, 0))])
def test_fragments_are_right_as_by_sclite(tmp_path, reference, hypothesis, expected):
    """sclite -F, with the command above."""
    paths = files(tmp_path, f"{reference} (s_1)\n", f"{hypothesis} (s_1)\n", (".trn", ".trn"))
    words = scored(paths, fragments=True, normalizer="none")
    correct, *errors = expected
    assert [words.substitutions, words.deletions, words.insertions] == errors
    assert words.reference == correct + sum(errors[:2])


def test_fragments_on_the_command_line(tmp_path, capsys):
    paths = files(tmp_path, "hel- a (u1)\n", "hello a (u1)\n", (".trn", ".trn"))
    assert run(["score", *map(str, paths), "--fragments", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["wer"] == 0 and json.loads(out)["receipt"]["rules"] == ["fragments"]
    assert "1 word was right because of a fragment" in err
    kaldi = files(tmp_path, ANNA, ANNA)
    assert run(["score", *map(str, kaldi), "--fragments"]) == 2


def test_an_optional_word_without_hypothesis_is_right(tmp_path, capsys):
    """Kaldi's mode=all with sclite's -D: the required word is deleted, the optional one is not."""
    paths = files(tmp_path, "a (uh) (u1)\nb (u2)\n", "b (u2)\n", (".trn", ".trn"))
    assert run(["score", *map(str, paths), "--optionally-deletable", "--missing", "deletions",
                "--json"]) == 0
    words = json.loads(capsys.readouterr().out)["words"]
    assert (words["reference"], words["deletions"], words["insertions"]) == (3, 1, 0)


@pytest.mark.parametrize("format", ["kaldi", "plain", "trn"])
def test_sentence_marks_of_any_format(tmp_path, format):  # noqa: A002
    line = "<S> four two </S> (u1)\n" if format == "trn" else "u1 <s> four two </s>\n"
    paths = files(tmp_path, line, line.replace("<s>", "").replace("</s>", ""))
    reference, hypothesis = read_pair(*paths, format=format)
    words = score(reference.texts, hypothesis.texts).words
    assert (words.reference, words.errors) == (2 + (format == "plain"), 0)
    assert reference.notes[0].endswith("2 sentence marks (<s>, </s>) are not words and were left "
                                       "out.")


# --- formats and ids ---------------------------------------------------------------------------


@pytest.mark.parametrize("reference, hypothesis, message", [
    ("u1 a b\nu2 c\nu3 d\n", "u1 a b\nu2 c\nu03 d\n", r"hyp\.txt:3: the id 'u03'"),
    ("a (u1)\nb (u2)\n", "a (u1)\nb\nc\n", r"hyp\.txt:2: got 'b', expected an utterance id"),
    ("a (u1)\nb (u2)\n", "one\ntwo\n", r"hyp\.txt:1: got 'one', expected an utterance id"),
    ('{"id": "u", "text": "a"}\n' * 2 + "odd\n", "a\nb\nc\n", r"hyp\.txt:1: got 'a'"),
    ("4 2 0\n1 2\n9 9\n", "4 2\n1 2\n9 9\n", r"ref\.txt:1: the line starts with '4', which may"),
    ("x-ray it\nmake-up on\n", "x-ray it\nmake-up off\n", "which may be an utterance id or a"),
    ("7-eleven is open\n", "7-eleven is shut\n", "which may be an utterance id or a word"),
    ("t A anna 0.0 1.5 one\nt A anna 1.5 2 two\n", "one\ntwo\n", r"hyp\.txt:1: got 'one'")])
def test_no_guess_against_the_evidence(tmp_path, reference, hypothesis, message, capsys):
    paths = files(tmp_path, reference, hypothesis)
    with pytest.raises(DataError, match=message):
        read_pair(*paths)
    assert run(["score", *map(str, paths)]) == 4
    assert run(["score", *map(str, paths), "--format", "plain"]) in (0, 4)  # 4: other numbers


def test_one_side_says_what_it_is(tmp_path):
    paths = files(tmp_path, "u1 a\nu2 b\n", "u1 a\nb\n", (".kaldi", ".txt"))
    with pytest.raises(DataError, match=r"hyp\.txt:2: got 'b', expected an utterance id"):
        read_pair(*paths)


def test_times_are_seen_without_an_ending(tmp_path):
    reference, hypothesis = read_pair(*files(tmp_path, "t A anna 0.0 1.5 <o> one\n",
                                             "t A 0.5 0.25 one\n"))
    assert (reference.format, hypothesis.format) == ("stm", "ctm")
    assert reference.texts == hypothesis.texts


def test_unmatched_and_repeated_ids_are_named_with_their_line(tmp_path, capsys):
    for hypothesis, message in (
            (ANNA.replace("bob-001", "bob-01"), "hyp.kaldi:3: the utterance ids differ: got "
             "'bob-01'"),
            (ANNA.rpartition("bob")[0], "ref.kaldi:3: the utterance ids differ: got 'bob-001'"),
            (ANNA.replace("anna-002", "anna-001"), "hyp.kaldi:2: the id 'anna-001' occurs twice, "
             "first in line 1")):
        paths = files(tmp_path, ANNA, hypothesis, (".kaldi", ".kaldi"))
        assert run(["score", *map(str, paths)]) == 4
        assert message in capsys.readouterr().err
    missing = files(tmp_path, ANNA, ANNA.rpartition("bob")[0], (".kaldi", ".kaldi"))
    assert run(["score", *map(str, missing), "--missing", "skip"]) == 0


# --- times -------------------------------------------------------------------------------------


def test_negative_durations_and_odd_confidences_are_said(tmp_path, capsys):
    """sclite accepts both; the middle 2.05 - 0.1 lies in the first segment: I 1, D 1."""
    paths = files(tmp_path, "t 1 a 0 2 one\nt 1 a 2 4 two\n",
                  "t 1 0.5 0.2 one NA\nt 1 2.05 -0.2 two 0.5\n", (".stm", ".ctm"))
    words = scored(paths)
    assert (words.reference, words.insertions, words.deletions) == (2, 1, 1)
    assert run(["score", *map(str, paths)]) == 0
    err = capsys.readouterr().err
    assert "1 word has a negative duration (the first in line 2)" in err
    assert "1 confidence is no number (the first in line 1: 'NA')" in err


def test_overlapping_segments_and_gaps(tmp_path):
    """sclite: the first of overlapping segments has all its words; the middle of a gap is later."""
    stm = "t 1 a 0 9 long one\nt 1 b 1 2 two\nt 1 b 3 4 x\nt 1 b 4 5 x\nt 1 b 5 6 x\n"
    _, heard = read_pair(*files(tmp_path, stm, "t 1 0.5 0.2 long\nt 1 1.2 .2 two\nt 1 7 .2 one\n",
                                (".stm", ".ctm")))
    assert list(heard.texts.values()) == ["long two one", "", "", "", ""]
    _, heard = read_pair(*files(tmp_path, "t 1 a 0 2 one\nt 1 a 3 4 two\n",
                                "t 1 2.4 0.2 x\n", (".stm", ".ctm")))
    assert list(heard.texts.values()) == ["", "x"]


def test_a_word_in_a_gap_goes_to_the_segment_after_it(tmp_path):
    """sclite, though the segment before is nearer: (1 0 0 0) and (0 1 0 0)."""
    paths = files(tmp_path, "t 1 a 0 2 one\nt 1 b 9 10 x\n", "t 1 0.8 0.2 one\nt 1 2.1 0.2 y\n",
                  (".stm", ".ctm"))
    _, heard = read_pair(*paths)
    assert list(heard.texts.values()) == ["one", "y"]
    words = scored(paths)
    assert (words.reference, words.substitutions, words.errors) == (2, 1, 1)
    ignored = files(tmp_path, "t 1 a 0 2 one\nt 1 b 2 4 ignore_time_segment_in_scoring\n"
                    "t 1 b 9 10 x\n", "t 1 .8 .2 one\nt 1 2.5 .2 y\nt 1 5 .2 z\nt 1 9.2 .2 x\n",
                    (".stm", ".ctm"))  # sclite: (1 0 0 0) and (1 0 0 1)
    assert list(read_pair(*ignored)[1].texts.values()) == ["one", "z x"]


def test_words_before_the_recording_are_taken_as_they_are(tmp_path):
    """sclite: (2 0 0 0) and (1 0 0 0)."""
    paths = files(tmp_path, "t 1 a 0 2 one two\nt 1 b 2 4 three\n",
                  "t 1 -0.5 0.3 one\nt 1 0.5 0.2 two\nt 1 2.1 0.2 three\n", (".stm", ".ctm"))
    assert scored(paths).errors == 0
    assert "1 word starts before 0 s (the first in line 1)" in read_pair(*paths)[1].notes[0]


def test_two_speakers_at_the_same_time(tmp_path):
    """stmValidator takes them; sclite: the first has all words, (2 0 0 1), (0 0 1 0), (1 0 0 0)."""
    paths = files(tmp_path, "t 1 a 0 2 one two\nt 1 b 0 2 three\nt 1 a 2 4 four\n",
                  "t 1 0.5 .2 one\nt 1 0.8 .2 three\nt 1 1.5 .2 two\nt 1 2.1 .2 four\n",
                  (".stm", ".ctm"))
    reference, hypothesis = read_pair(*paths)
    rows = score(reference.texts, hypothesis.texts, speakers=reference.speakers, draws=100).rows
    assert [(row.id, row.speaker, row.words.insertions, row.words.deletions) for row in rows] == [
        ("t-1-0000000-0002000", "a", 1, 0), ("t-1-0000000-0002000-b", "b", 0, 1),
        ("t-1-0002000-0004000", "a", 0, 0)]


def test_segments_of_one_speaker_may_overlap(tmp_path):
    """stmValidator takes them, sclite scores (3 0 0 0), (0 0 2 0), (0 0 1 0) and (0 0 1 0)."""
    paths = files(tmp_path, "t 1 a 0 2 one two c\nt 1 a 0 2 one two\nt 1 a 0 2 z\nt 1 a 1 2 y\n",
                  "t 1 0.5 .2 one\nt 1 0.8 .2 two\nt 1 1.2 .2 c\n", (".stm", ".ctm"))
    reference, hypothesis = read_pair(*paths)
    rows = score(reference.texts, hypothesis.texts, speakers=reference.speakers, draws=100).rows
    assert [(row.id, row.words.reference, row.words.deletions) for row in rows] == [
        ("t-1-0000000-0002000", 3, 0), ("t-1-0000000-0002000-a", 2, 2),
        ("t-1-0000000-0002000-a-2", 1, 1), ("t-1-0001000-0002000", 1, 1)]
    assert "2 segments have the file, channel, speaker and times of another (the first in " \
        "line 2)" in reference.notes[0]
    assert not read_pair(*files(tmp_path, "t 1 a 0 2 x\nt 1 a 1 3 y\nt 1 b 1 3 y\n",
                                "t 1 0 1 x\n", (".stm", ".ctm")))[0].notes


@pytest.mark.parametrize("suffixes, reference, hypothesis, message", [
    ((".trn", ".trn"), "a (S_1)\nb (s_2)\n", "x (S_2)\na (s_1)\n",
     "2 ids differ from those of the references only in case (the first is 'S_2')"),
    ((".stm", ".ctm"), "T a s 0 2 a\nT a s 2 4 b\n", "t A 0.8 .2 a\nt A 3 .2 x\n",
     "file and channel of 2 words differ from those of the references only in case (the first in "
     "line 1: 't' 'A')")])
def test_ids_and_channels_may_differ_in_case_as_in_sclite(tmp_path, suffixes, reference, hypothesis,
                                                          message, capsys):
    """sclite without -s: (1 0 0 0) and (0 1 0 0)."""
    paths = files(tmp_path, reference, hypothesis, suffixes)
    assert run(["score", *map(str, paths)]) == 0
    out, err = capsys.readouterr()
    assert "(S 1 D 0 I 0 N 2)" in out and message in err


@pytest.mark.parametrize("suffixes, reference, hypothesis, message", [
    ((".kaldi", ".kaldi"), "S_1 a\n", "s_1 a\n", "'S_1' differs only in case"),
    ((".trn", ".trn"), "a (S_1)\nb (s_1)\n", "a (S_1)\nb (s_1)\nc (\u017f_1)\n",
     "hyp.trn:3: the utterance ids differ: got '\u017f_1'"),
    ((".trn", ".trn"), "a (S_1)\n", "a (S_1)\nb (s_1)\n", "got 's_1', expected an id that"),
    ((".stm", ".ctm"), "T a s 0 2 one\nt A s 0 2 one\n", "t a 0.8 0.2 one\n",
     "file 't' channel 'a', which the references do not have")])
def test_where_only_the_case_of_ids_differs_that_is_said(tmp_path, suffixes, reference, hypothesis,
                                                         message, capsys):
    """In Kaldi text they differ; in the others where a file has both."""
    paths = files(tmp_path, reference, hypothesis, suffixes)
    assert run(["score", *map(str, paths)]) == 4
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind, speakers", [("spu_id", ["anna", "bob_x"]), ("wsj", ["ann", "bob"])])
def test_speakers_of_ids(tmp_path, kind, speakers, capsys):
    """As sclite -i: the part before - (else before _), the first three letters."""
    text = "a b (anna_1)\nc d (bob_x-2)\n"
    paths = files(tmp_path, text, text.replace("c", "e"), (".trn", ".trn"))
    out = tmp_path / "rows.jsonl"
    assert run(["score", *map(str, paths), "--id-speakers", kind, "--per-utterance",
                str(out)]) == 0
    assert [json.loads(line)["speaker"] for line in out.read_text().splitlines()] == speakers
    assert "2 speakers" in capsys.readouterr().out


def test_ids_without_speakers(tmp_path, capsys):
    paths = files(tmp_path, "a (u1)\n", "a (u1)\n", (".trn", ".trn"))
    assert run(["score", *map(str, paths), "--id-speakers", "spu_id"]) == 4
    assert "The id 'u1' has no - or _" in capsys.readouterr().err


def test_a_label_with_blanks_and_an_unknown_channel_name_their_line(tmp_path):
    with pytest.raises(DataError, match=r"ref\.stm:1: got the label '<o,', expected '<...>'"):
        read_pair(*files(tmp_path, "t 1 a 0 2 <o, f0, male> one\n", "", (".stm", ".ctm")))
    with pytest.raises(DataError, match=r"hyp\.ctm:2: 'x' belongs to file 'u' channel '1'"):
        read_pair(*files(tmp_path, "t 1 a 0 2 one\n", "t 1 0 1 one\nu 1 0 1 x\n",
                         (".stm", ".ctm")))


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


# --- formats that are not read, and long lines -------------------------------------------------


@pytest.mark.parametrize("name, text, kind", [
    ("x.srt", "1\n00:00:01,000 --> 00:00:02,000\nhello\n", "SubRip subtitles"),
    ("x.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n", "WebVTT subtitles"),
    ("x.csv", "id,text\nu1,hello\n", "a table"),
    ("x.tsv", "start\tend\ttext\n0\t900\thello\n", "a table of subtitles"),
    ("x.TextGrid", 'File type = "ooTextFile"\nObject class = "TextGrid"\n', "a Praat TextGrid"),
    ("x.txt", "1\n00:00:01,000 --> 00:00:02,000\nhello\n", "SubRip subtitles"),
    ("x", "\ufeffWEBVTT\n\n00:01.000 --> 00:02.000\nhello\n", "WebVTT subtitles"),
    ("x.txt", 'File type = "ooTextFile"\nObject class = "TextGrid"\n', "a Praat TextGrid")])
def test_other_formats_are_refused(tmp_path, name, text, kind, capsys):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    plain = tmp_path / "plain.txt"
    plain.write_text("hello\n")
    for pair in ((path, plain), (plain, path)):
        assert run(["score", *map(str, pair)]) == 4
        assert f"{name}: this is {kind}, which asr score does not read" in capsys.readouterr().err


@pytest.mark.parametrize("alignment, count", [("unit", 190_000), ("sclite", 20_000)])
def test_a_line_of_any_length_ends_soon(tmp_path, alignment, count, capsys):
    paths = files(tmp_path, "one two three four five six " * count + "\n",
                  "one two three four five " * count + "\n")
    assert run(["score", *map(str, paths), "--format", "plain", "--alignment", alignment]) == 4
    message = capsys.readouterr().err
    assert "Utterance '1': got" in message and "Cut the recording" in message
    assert len(message) < 4096


@pytest.mark.parametrize("reference, hypothesis, suffix", [
    ("a (NAME)\n", "a (u)\n", ".trn"), ("NAME a\n", "u a\n", ".kaldi"),
    ("NAME\n", "a (u)\n", ".trn"), ("a (u)\n", "a (NAME)\n", ".trn"),
    ('{"id": "NAME", "text": 3}\n', '{"id": "u", "text": "a"}\n', ".jsonl"),
    ("{ NAME (u)\n", "a (u)\n", ".trn"), ("a (NAME)\na (NAME)\n", "a (u)\n", ".trn")])
def test_no_message_is_long(tmp_path, reference, hypothesis, suffix, capsys):
    paths = files(tmp_path, *(text.replace("NAME", "x" * 5_000_000)
                              for text in (reference, hypothesis)), (suffix, suffix))
    assert run(["score", *map(str, paths)]) == 4
    assert len(capsys.readouterr().err) < 4096


@pytest.mark.parametrize("line", ["t{} 1 a 0 1 x", "t 1{} a 0 1 x", "t 1 a{} 0 1 x",
                                  "t 1 a 0 1{} x", "t 1 a 0 1 <{} x"])
def test_no_message_about_times_is_long(tmp_path, line, capsys):
    long = line.format("x" * 1_000_000)
    for reference, hypothesis in ((long, "t 1 0 1 x\n"), (f"{long}\n{long}\n", "t 1 0 1 x\n"),
                                  ("t 1 a 0 1 x\n", long.replace(" a ", " "))):
        paths = files(tmp_path, reference, hypothesis, (".stm", ".ctm"))
        run(["score", *map(str, paths)])
        assert len(capsys.readouterr().err) < 4096


def test_long_sequences_have_the_path_of_short_ones():
    """Rows of costs are kept and found again: the same alignment as with all of them."""
    from asr.scoring.sclite_kernels import trace_sequences
    random = np.random.default_rng(3)
    a, b = random.integers(0, 40, 1_300), random.integers(0, 40, 1_100)
    path = trace_sequences(a, b).tolist()
    costs = np.arange(len(b) + 1) * 3
    moves = []
    for word in a.tolist():
        before, costs = costs, costs + 3
        row = [1]
        for j in range(1, len(costs)):
            replaced = before[j - 1] + 4 * (b[j - 1] != word)
            deleted, inserted = before[j] + 3, costs[j - 1] + 3
            costs[j] = min(replaced, deleted, inserted)
            row.append((3 if b[j - 1] == word else 0) if costs[j] == replaced else
                       1 if deleted < inserted else 2)
        moves.append(row)
    i, j, expected = len(a), len(b), []
    while i or j:
        move = moves[i - 1][j] if i else 2
        expected.append(move)
        i, j = i - (move != 2), j - (move != 1)
    assert path == expected[::-1]


def test_stm_and_ctm_in_any_order(tmp_path):
    """sclite takes them as they stand and finds (1 0 0 2) and (0 0 2 0) in the first pair."""
    segments, words = ["t 1 a 2 4 four", "t 1 b 0 2 three x"], ["t 1 2.1 .2 four", "t 1 .8 .2 x",
                                                                "t 1 .5 .2 three"]
    for order in (1, -1):
        paths = files(tmp_path, "\n".join(segments[::order]), "\n".join(words[::order]),
                      (".stm", ".ctm"))
        assert scored(paths).errors == 0


def test_a_channel_without_words_is_deleted(tmp_path):
    """sclite: (1 0 0 0) and (0 0 1 0)."""
    paths = files(tmp_path, "t 1 a 0 2 one\nt 2 b 2 4 two\n", "t 1 0.8 0.2 one\n",
                  (".stm", ".ctm"))
    words = scored(paths)
    assert (words.reference, words.deletions, words.errors) == (2, 1, 1)


def test_a_long_ctm_is_one_piece(tmp_path):
    """sclite cuts at pauses after about 50 words: (118 0 2 2), of words that come 0.6 s late."""
    words = [f"w{number}" for number in range(120)]
    sides = ["".join(f"t 1 {number + late} 0.5 {word}\n" for number, word in enumerate(words))
             for late in (0, 0.6)]
    reference, hypothesis = read_pair(*files(tmp_path, *sides, (".ctm", ".ctm")))
    assert reference.texts == hypothesis.texts == {"t": " ".join(words)}


def test_each_row_of_the_table_names_a_test():
    """docs/scoring.md: what sclite, Kaldi and jiwer do."""
    root = Path(__file__).parents[2]
    known = set(re.findall(r"^def (test_\w+)", "".join(
        path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py")), re.MULTILINE))
    text = (root / "docs/scoring.md").read_text("utf-8")
    section = text.partition("## What sclite, Kaldi and jiwer do")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines()
            if line.startswith("|") and "---" not in line and "| Test |" not in line]
    assert len(rows) >= 25
    for row in rows:
        assert len(row) == 9, row
        named = re.findall(r"`(test_\w+)`", row[-2])
        assert named and set(named) <= known, row
