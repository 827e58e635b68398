"""More than two systems: Holm's correction, the table, and what stays as with two."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.cli import run
from asr.errors import DataError, UsageError
from asr.scoring import compare, compare_many, score
from asr.scoring.ranking import bootstrap_p, holm

NAMES = ("poor", "good", "fair", "also good")
RATES = (0.4, 0.05, 0.2, 0.06)


def spoil(rng, texts, rate):
    return [" ".join("x" if rng.random() < rate else word for word in text.split())
            for text in texts]


@pytest.fixture
def systems(rng):
    texts = [" ".join(rng.choice(list("abcdef"), 8)) for _ in range(150)]
    return [score(texts, spoil(rng, texts, rate), draws=100) for rate in RATES]


@pytest.mark.parametrize("given_p, corrected", [  # R 4: p.adjust(p, "holm")
    ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
    ([0.04, 0.001, 0.5], [0.08, 0.003, 0.5]), ([0.6, 0.5], [1.0, 1.0]), ([0.03], [0.03]),
    ([0.02, 0.02], [0.04, 0.04])])
def test_holm_equals_r(given_p, corrected):
    assert holm(given_p) == pytest.approx(corrected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(values):
    """Marcus, Peritz and Gabriel 1976: reject where every subset that holds it is rejected."""
    places = range(len(values))
    for k, corrected in enumerate(holm(values)):
        largest = max(min(1.0, len(some) * min(values[j] for j in some))
                      for size in range(1, len(values) + 1)
                      for some in itertools.combinations(places, size) if k in some)
        assert corrected == pytest.approx(largest)


def test_the_best_comes_first_and_every_pair_once(systems):
    ranking = compare_many(systems, NAMES, draws=500)
    assert ranking.names == ("good", "also good", "fair", "poor")
    assert [(pair.better, pair.other) for pair in ranking.pairs] == list(
        itertools.combinations(ranking.names, 2))
    assert [pair.different for pair in ranking.pairs] == [False, True, True, True, True, True]
    assert ranking.verdicts() == [
        "good is better than fair and poor.", "also good is better than fair and poor.",
        "fair is better than poor.", "Cannot be told apart: good and also good."]


def test_a_pair_is_what_two_systems_give(systems):
    ranking = compare_many(systems, NAMES, draws=500)
    pair = next(pair for pair in ranking.pairs if {pair.better, pair.other} == {"fair", "poor"})
    alone = compare(systems[0], systems[2], names=("poor", "fair"), draws=500)
    assert pair.comparison.to_dict() == alone.to_dict()
    assert pair.p >= bootstrap_p(alone.difference, alone.paired)
    matched = [one.comparison.segments.p for one in ranking.pairs]
    assert [one.matched_p for one in ranking.pairs] == holm(matched)


def test_equal_systems_are_rarely_called_different():
    """Without the correction one of ten pairs is called different in about a third of the sets."""
    rng, found, alone = np.random.default_rng(5), 0, 0
    texts = ["a b c d e f g h"] * 30
    for _ in range(25):
        scores = [score(texts, spoil(rng, texts, 0.2), draws=100) for _ in range(5)]
        pairs = compare_many(scores, "abcde", draws=200).pairs
        found += any(pair.different for pair in pairs)
        alone += any(bootstrap_p(pair.comparison.difference, pair.comparison.paired) < 0.05
                     for pair in pairs)
    assert found <= 4 < alone


def test_same_differences_everywhere_and_one_utterance():
    same = [score(["a b"] * 8, [text] * 8, draws=100) for text in ("a b", "a x", "y x")]
    ranking = compare_many(same, "abc", draws=100)
    assert [pair.p for pair in ranking.pairs] == pytest.approx([6 / 256] * 3, rel=0.7)
    assert all(pair.different for pair in ranking.pairs)
    one = [score(["a b"], [text], draws=100) for text in ("a b", "a x", "y x")]
    assert not any(pair.different for pair in compare_many(one, "abc", draws=100).pairs)


def test_what_cannot_be_compared_is_refused(systems):
    with pytest.raises(UsageError, match="expected three or more"):
        compare_many(systems[:2], NAMES[:2])
    with pytest.raises(UsageError, match="different names"):
        compare_many(systems[:3], ("a", "b", "a"))
    with pytest.raises(DataError, match="cannot be compared: reference set"):
        compare_many([*systems[:2], score(["a b"], ["a b"], draws=100)], ("a", "b", "c"))


def test_command_text_and_json(tmp_path, capsys, rng):
    texts = [" ".join(rng.choice(list("abcdef"), 8)) for _ in range(60)]
    for name, rate in (("ref", 0), ("old", 0.5), ("new", 0.05), ("mid", 0.25)):
        (tmp_path / f"{name}.trn").write_text("".join(
            f"{text} (s_{k})\n" for k, text in enumerate(spoil(rng, texts, rate))))
    files = [str(tmp_path / f"{name}.trn") for name in ("old", "new", "mid")]
    options = ["--reference", str(tmp_path / "ref.trn"), "--draws", "500"]
    assert run(["compare", *files, *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith("3 systems on 480 words, the best first\nnew  WER ")
    assert "corrected for 3 tests (Holm)" in out and "new is better than mid and old." in out
    assert run(["compare", *files, *options, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["correction"], record["tests"]) == ("Holm", 3)
    assert [system["name"] for system in record["systems"]] == ["new", "mid", "old"]
    assert all(pair["different"] and pair["p"] <= pair["p_corrected"] for pair in record["pairs"])
    assert run(["compare", *files, *options, "--report", str(tmp_path / "r.html")]) == 2
    assert "--report shows two systems, got 3" in capsys.readouterr().err
    assert run(["compare", files[0], *options]) == 2


def test_saved_scores_of_three_systems(tmp_path, capsys):
    for name, hypothesis in (("a", "x y z"), ("b", "x y q"), ("c", "x q q")):
        (tmp_path / f"{name}.txt").write_text((hypothesis + "\n") * 20)
        (tmp_path / "ref.txt").write_text("x y z\n" * 20)
        normalizer = "none" if name == "c" else "basic"
        assert run(["score", str(tmp_path / "ref.txt"), str(tmp_path / f"{name}.txt"),
                    "--per-utterance", str(tmp_path / f"{name}.jsonl"), "--normalizer",
                    normalizer]) == 0
    saved = [str(tmp_path / f"{name}.jsonl") for name in "abc"]
    capsys.readouterr()
    assert run(["compare", *saved]) == 4
    assert "a and c cannot be compared: normaliser" in capsys.readouterr().err
    assert run(["compare", *saved, "--normalizer", "basic", "--draws", "200"]) == 0
    assert "a is better than b and c." in capsys.readouterr().out
