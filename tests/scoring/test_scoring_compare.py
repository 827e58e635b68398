from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from oracles_scoring import paired_draws, sign_flip_p

from asr.cli import run
from asr.errors import DataError, UsageError
from asr.scoring import align_words, compare, load_systems, save, score, score_systems
from asr.scoring.comparison import points, words_needed
from asr.scoring.significance import (
    _test_mean,
    binomial_p,
    error_segments,
    matched_pairs,
    mcnemar,
    paired_bootstrap,
)

WORDS = [f"w{index}" for index in range(50)]


def system(rng, references, error_rate, speakers=None):
    """Hypotheses with substitutions at a rate, and a score."""
    hypotheses = {name: " ".join(word if kept else "x" for word, kept in
                                 zip(text.split(), rng.random(text.count(" ") + 1) > error_rate,
                                     strict=True))
                  for name, text in references.items()}
    return score(references, hypotheses, draws=100, speakers=speakers)


def corpus(rng, utterances, length=8):
    return {f"u{index}": " ".join(rng.choice(WORDS, length)) for index in range(utterances)}


# --- segments and tests ------------------------------------------------------------------------


@pytest.mark.parametrize("reference, a, b, expected", [
    ("a b c d", "a b c d", "a b c d", []),
    ("a b c d", "x b c d", "a b c d", [(1, 0)]),
    ("a b c d", "x b c y", "a b c d", [(1, 0), (1, 0)]),   # two good words in between
    ("a b c", "x b y", "a b c", [(2, 0)]),                 # only one
    ("a b c d", "x b c d", "a b c y", [(1, 0), (0, 1)]),
    ("a b c d", "x b c d", "a y c d", [(1, 1)]),
    ("a b c d", "x b e c y", "a b c d", [(3, 0)]),         # an insertion breaks the good words
    ("a b", "a b e", "a b", [(1, 0)]),                     # and one at the end counts
    ("", "e f", "", [(2, 0)]),
    ("a b c d e", "a c d e", "a b c d e", [(1, 0)]),
])
def test_segments_by_hand(reference, a, b, expected):
    assert error_segments(align_words(reference, a), align_words(reference, b)) == expected


def test_segments_hold_every_error(rng):
    references = corpus(rng, 200)
    a, b = system(rng, references, 0.3), system(rng, references, 0.2)
    found = [error_segments(align_words(x.normalized_reference, x.normalized_hypothesis),
                            align_words(y.normalized_reference, y.normalized_hypothesis))
             for x, y in zip(a.rows, b.rows, strict=True)]
    sums = np.array([pair for segments in found for pair in segments]).sum(0)
    assert sums.tolist() == [a.words.errors, b.words.errors]


def test_matched_pairs_by_hand():
    """Differences 1, 1, 1, -1, 0, 1: mean 0.5, sd sqrt(0.7), z = 0.5 / sqrt(0.7 / 6)."""
    result = _test_mean(np.array([1.0, 1, 1, -1, 0, 1]))
    z = 0.5 / math.sqrt(0.7 / 6)
    assert result.z == pytest.approx(z)
    assert result.p == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_matched_pairs_without_spread_is_no_certainty():
    assert _test_mean(np.array([1.0, 1.0])).p == 0.5       # a sign test on two
    assert _test_mean(np.array([1.0])).p == 1.0
    assert _test_mean(np.array([])).p == 1.0
    assert _test_mean(np.zeros(5)).p == 1.0
    assert _test_mean(np.array([-1.0, -1.0])).z == -math.inf


def test_matched_pairs_against_flipping_all_signs(rng):
    """The normal approximation is near the exact permutation test."""
    for _ in range(5):
        differences = rng.integers(-3, 5, 12)
        assert _test_mean(differences.astype(float)).p == pytest.approx(
            sign_flip_p(differences.tolist()), abs=0.06)


@pytest.mark.parametrize("first, second, expected", [
    (10, 2, 2 * (1 + 12 + 66) / 4096), (2, 10, 2 * 79 / 4096), (0, 0, 1.0), (3, 3, 1.0),
    (5, 0, 2 / 32),
])
def test_binomial_by_hand(first, second, expected):
    assert binomial_p(first, second) == pytest.approx(expected)


def test_binomial_is_continuous_where_it_becomes_normal():
    assert binomial_p(530, 470) == pytest.approx(binomial_p(531, 470), abs=0.01)


def test_mcnemar_counts_utterances():
    references = dict.fromkeys("abcde", "one two")
    a = score(references, {**references, "a": "one", "b": "x"}, draws=100)
    b = score(references, {**references, "a": "one", "c": "x", "d": "x", "e": "x"}, draws=100)
    result = mcnemar(a.rows, b.rows)
    assert (result.only_a, result.only_b) == (3, 1)
    assert result.p == binomial_p(3, 1)


def test_paired_bootstrap_against_a_loop(rng):
    references = corpus(rng, 60)
    a, b = system(rng, references, 0.25), system(rng, references, 0.2)
    errors = [[row.words.errors for row in side.rows] for side in (a, b)]
    slow = paired_draws(*errors, [8] * 60, 2_000, seed=3)
    fast = paired_bootstrap(a.rows, b.rows)
    spread = slow[-50] - slow[49]
    assert fast.interval.low == pytest.approx(slow[49], abs=0.1 * spread)
    assert fast.interval.high == pytest.approx(slow[-50], abs=0.1 * spread)
    assert fast.improved == pytest.approx(sum(d > 0 for d in slow) / 2_000, abs=0.05)


def test_equal_systems_are_rarely_called_different(rng):
    """Two systems of the same quality: about 4 of 80 comparisons may see a difference."""
    alarms = [0, 0]
    for trial in range(80):
        references = corpus(rng, 60)
        a, b = system(rng, references, 0.2), system(rng, references, 0.2)
        result = paired_bootstrap(a.rows, b.rows, draws=400, seed=trial).interval
        alarms[0] += not result.low <= 0 <= result.high
        alarms[1] += matched_pairs(a.rows, b.rows).p < 0.05
    assert all(alarm <= 12 for alarm in alarms)


# --- verdicts ----------------------------------------------------------------------------------


def test_better_in_words(rng):
    references = corpus(rng, 400)
    result = compare(system(rng, references, 0.3), system(rng, references, 0.2))
    assert result.different and result.difference > 0
    assert re.fullmatch(r"B is better: \d+\.\d points, 95 % interval \d+\.\d to \d+\.\d\.",
                        result.verdict)
    assert result.segments.p < 1e-6 and result.paired.improved > 0.999
    mirrored = compare(system(rng, references, 0.2), system(rng, references, 0.3))
    assert mirrored.verdict.startswith("A is better: ")


def test_not_told_apart_in_words(rng):
    references = corpus(rng, 100)
    result = compare(system(rng, references, 0.21), system(rng, references, 0.2))
    assert not result.different
    assert re.fullmatch(r"A and B cannot be told apart on 800 words; about [\d,]+ would be needed "
                        r"to see a difference of \d\.\d points \(with 80 % chance\)\.",
                        result.verdict)
    assert result.words_needed is not None and result.words_needed >= 1_600


def test_words_needed_are_enough(rng):
    """Test sets of the predicted size do show the difference in about four of five cases."""
    seen = 0
    needed = words_needed(8 * 300, 0.06, _deviation(rng))
    assert needed is not None
    for trial in range(40):
        references = corpus(rng, needed // 8)
        a, b = system(rng, references, 0.26), system(rng, references, 0.2)
        result = paired_bootstrap(a.rows, b.rows, draws=400, seed=trial).interval
        seen += result.low > 0
    assert 24 <= seen <= 39


def _deviation(rng):
    references = corpus(rng, 300)
    a, b = system(rng, references, 0.26), system(rng, references, 0.2)
    return paired_bootstrap(a.rows, b.rows).interval.deviation


def test_the_same_output_twice(rng):
    references = corpus(rng, 20)
    a = system(rng, references, 0.2)
    result = compare(a, a)
    assert result.verdict == ("A and B cannot be told apart on 160 words: they made equally many "
                              "errors.")
    assert result.changed == [] and result.words_needed is None
    json.dumps(result.to_dict(), allow_nan=False)


def test_speakers_are_drawn_when_known(rng):
    references = corpus(rng, 60)
    speakers = {name: f"s{index % 4}" for index, name in enumerate(references)}
    result = compare(system(rng, references, 0.2, speakers), system(rng, references, 0.2, speakers))
    assert (result.paired.interval.unit, result.paired.interval.clusters) == ("speaker", 4)
    assert "Only 4 speakers: the interval is likely too narrow." in result.notes


def test_changed_utterances_largest_first():
    references = {"a": "1 2 3", "b": "1 2 3", "c": "1 2 3"}
    one = score(references, {"a": "1 2 3", "b": "1 2", "c": "1 2 3"}, draws=100)
    two = score(references, {"a": "1 2 x", "b": "1 2", "c": ""}, draws=100)
    assert [pair[0].id for pair in compare(one, two).changed] == ["c", "a"]


def test_points():
    assert [points(value) for value in (0.018, 0.0004, 0.0, -0.05)] == ["1.8", "0.04", "0.0",
                                                                       "-5.0"]


# --- refusals ----------------------------------------------------------------------------------


def test_unlike_normalisers_are_refused_by_name():
    a = score({"u": "One two"}, {"u": "one"}, normalizer="basic", draws=100)
    b = score({"u": "One two"}, {"u": "one"}, normalizer="none", draws=100)
    with pytest.raises(DataError, match=r"normaliser \(normalizer\) basic-3-\w+ against none-1"):
        compare(a, b)
    with pytest.raises(DataError, match="no reference word in common"):
        compare(a, b, force=True)


def test_unlike_references_are_refused_by_name_and_forced_on_request():
    a = score({"u": "one two", "v": "x", "w": "y"}, {"u": "one", "v": "x", "w": "y"}, draws=100)
    b = score({"u": "one two", "v": "z"}, {"u": "one two", "v": "z"}, draws=100)
    with pytest.raises(DataError, match=r"reference set \(reference_hash\) .*: 1 utterance only "
                                        r"in the first, 0 only in the second, 1 with another"):
        compare(a, b)
    forced = compare(a, b, force=True)
    assert [pair[0].id for pair in forced.pairs] == ["u"]
    assert forced.left_out == ("v", "w")
    assert "Forced although they differ" in forced.notes[0]
    assert "2 utterances left out" in forced.notes[1]


def test_settings(rng):
    a = system(rng, corpus(rng, 5), 0.2)
    with pytest.raises(UsageError, match="draws is 3"):
        compare(a, a, draws=3)


# --- command -----------------------------------------------------------------------------------


@pytest.fixture
def two_runs(tmp_path, rng):
    references = corpus(rng, 100)
    for name, rate in (("old", 0.4), ("new", 0.1)):
        (tmp_path / name).mkdir()
        save(system(rng, references, rate), tmp_path / name / f"{name}.jsonl")
    return [str(tmp_path / name / f"{name}.jsonl") for name in ("old", "new")]


def test_command(two_runs, capsys):
    assert run(["compare", *two_runs]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("new is better: ")
    for part in ("old  WER ", "new  WER ", "Difference ", "MAPSSWE", "McNemar", "changed"):
        assert part in out
    assert run(["compare", *two_runs, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["different"] is True and record["names"] == ["old", "new"]


def test_command_refuses_unlike_receipts(two_runs, capsys):
    receipt = two_runs[1].removesuffix(".jsonl") + ".receipt.json"
    stored = json.loads(Path(receipt).read_text())
    stored["receipt"]["normalizer"] = "english-9-00000000"
    Path(receipt).write_text(json.dumps(stored))
    assert run(["compare", *two_runs]) == 4
    assert "normaliser (normalizer) basic-3-" in capsys.readouterr().err
    assert run(["compare", *two_runs, "--normalizer", "english"]) == 0
    assert run(["compare", *two_runs, "--force"]) == 0


def test_command_on_text_files(tmp_path, capsys):
    (tmp_path / "r.trn").write_text("one two (u1)\nthree four (u2)\n")
    (tmp_path / "a.trn").write_text("one too (u1)\nthree for (u2)\n")
    (tmp_path / "b.trn").write_text("one two (u1)\nthree four (u2)\n")
    (tmp_path / "spk").write_text("u1 s1\nu2 s2\n")
    arguments = ["compare", str(tmp_path / "a.trn"), str(tmp_path / "b.trn"), "--reference",
                 str(tmp_path / "r.trn"), "--speakers", str(tmp_path / "spk")]
    assert run(arguments) == 0
    assert capsys.readouterr().out.startswith("b is better: 50.0 points")


def test_names_of_files_cannot_drive_the_terminal(tmp_path, capsys):
    for name in ("a\x1b[31m.trn", "b.trn", "r.trn"):
        (tmp_path / name).write_text("one two (u1)\n")
    assert run(["compare", str(tmp_path / "a\x1b[31m.trn"), str(tmp_path / "b.trn"),
                "--reference", str(tmp_path / "r.trn")]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "a␛[31m and b cannot be told apart" in out


def test_a_side_without_a_receipt_follows_the_receipt_of_one(two_runs):
    receipt = two_runs[1].removesuffix(".jsonl") + ".receipt.json"
    Path(receipt).write_text('{"receipt": {}}')
    a, b = load_systems(two_runs, names="AB")
    assert a.receipt.normalizer == b.receipt.normalizer


def test_folders_of_evaluate(tmp_path, rng, capsys):
    references = corpus(rng, 30)
    for name, rate in (("old", 0.5), ("new", 0.1)):
        result = system(rng, references, rate)
        (tmp_path / name).mkdir()
        receipt = save(result, tmp_path / name / "utterances.jsonl")
        receipt.rename(tmp_path / name / "score.json")
    assert run(["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.startswith("new is better: ")
    stored = tmp_path / "new" / "score.json"
    stored.write_text(stored.read_text().replace("basic-3-", "basic-7-"))
    assert run(["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 4


def test_a_manifest_is_no_result(two_runs, tmp_path, capsys):
    manifest = tmp_path / "test.jsonl"
    manifest.write_text('{"id": "u1", "text": "a b"}\n', encoding="utf-8")
    assert run(["compare", str(two_runs[0]), str(manifest)]) == 4
    assert "test.jsonl:1: no key hypothesis" in capsys.readouterr().err


def alternations(tmp_path):
    """Three utterances; sclite reads 'x y', '@' and 'c' for system A, 'z', 'uh' and 'c' for B."""
    texts = {"ref": "a { x y / z } b (s_1)\n{ uh / @ } a b (s_2)\nc d e (s_3)\n",
             "a": "a x y b (s_1)\na b q (s_2)\nc d (s_3)\n",
             "b": "a z c (s_1)\nuh a b (s_2)\nc d e (s_3)\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.trn").write_text(text)
    return [tmp_path / f"{name}.trn" for name in texts]


@pytest.mark.parametrize("alignment", ["unit", "sclite"])
def test_each_system_has_its_own_reading_of_alternations(tmp_path, alignment):
    """sclite, each system alone: A 9 words, D 1 and I 1; B 9 words, S 1."""
    reference, a, b = alternations(tmp_path)
    sides = score_systems(reference, [a, b], alignment=alignment)
    assert [(side.words.reference, side.words.substitutions, side.words.deletions,
             side.words.insertions) for side in sides] == [(9, 0, 1, 1), (9, 1, 0, 0)]
    assert [row.reference for row in sides[0].rows] == ["a x y b", "a b", "c d e"]
    assert [row.reference for row in sides[1].rows] == ["a z b", "uh a b", "c d e"]
    found = compare(*sides, draws=1_000)
    assert (len(found.pairs), found.left_out) == (3, ())
    assert found.wers == (2 / 9, 1 / 9) and found.difference == pytest.approx(1 / 9)
    assert found.segments.segments == 3  # s_1 and s_2 as a whole, s_3 by its words
    assert found.utterances.only_a == 1 and found.utterances.only_b == 2


def test_each_side_has_its_own_number_of_words(tmp_path):
    """sclite: A reads 'x y z' and has 4 words, B reads 'w' and has 2; both make one error."""
    for name, text in (("ref", "{ x y z / w } a (s_1)\n"), ("a", "x y z b (s_1)\n"),
                       ("b", "w b (s_1)\n")):
        (tmp_path / f"{name}.trn").write_text(text)
    sides = score_systems(tmp_path / "ref.trn", [tmp_path / "a.trn", tmp_path / "b.trn"])
    found = compare(*sides, draws=200)
    assert found.wers == (1 / 4, 1 / 2) and found.difference == -1 / 4
    assert found.paired.interval.low == found.paired.interval.high == -1 / 4  # one utterance
    assert found.paired.improved == 0


def test_saved_scores_keep_reading_and_alignment(tmp_path):
    reference, a, b = alternations(tmp_path)
    for path in (a, b):
        assert run(["score", str(reference), str(path), "--alignment", "sclite", "--cer-spaces",
                    "no", "--per-utterance", str(path.with_suffix(".jsonl"))]) == 0
    sides = load_systems([a.with_suffix(".jsonl"), b.with_suffix(".jsonl")], names=("a", "b"))
    fresh = score_systems(reference, [a, b], alignment="sclite")
    for side, again in zip(sides, fresh, strict=True):
        assert side.words == again.words and side.receipt.alignment == "sclite"
        assert [row.written for row in side.rows] == [row.written for row in again.rows]
        assert not side.receipt.cer_spaces
        assert side.receipt.reference_hash == again.receipt.reference_hash
    assert compare(*sides, draws=200).wers == (2 / 9, 1 / 9)


def test_another_alignment_or_rule_is_not_compared(tmp_path, capsys):
    reference, a, b = alternations(tmp_path)
    first = score_systems(reference, [a, b])[0]
    second = score_systems(reference, [a, b], alignment="sclite")[1]
    with pytest.raises(DataError, match=r"alignment \(alignment\) unit against sclite"):
        compare(first, second)
    third = score_systems(reference, [a, b], fragments=True)[1]
    with pytest.raises(DataError, match=r"scoring rules \(rules\) none against fragments"):
        compare(first, third)
    for path, options in ((a, []), (b, ["--fragments"])):
        assert run(["score", str(reference), str(path), *options, "--per-utterance",
                    str(path.with_suffix(".jsonl"))]) == 0
    capsys.readouterr()
    assert run(["compare", str(a.with_suffix(".jsonl")), str(b.with_suffix(".jsonl"))]) == 4
    assert "scoring rules (rules) none against fragments" in capsys.readouterr().err
    assert run(["compare", str(a), str(b), "--reference", str(reference), "--fragments",
                "--alignment", "sclite", "--optionally-deletable"]) == 0
