"""ARPA files, n-gram scores, the cache, and training, against KenLM and against the formula."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_decoding import ToyModel
from pace import assert_quick

from asr.errors import DataError, UsageError
from asr.language_model import load_ngram
from asr.language_model.arpa import read_arpa, write_arpa
from asr.language_model.kneser_ney import FALLBACK_DISCOUNTS, train_ngrams
from asr.language_model.ngram import build_ngram
from asr.language_model.ngram_cache import cache_path, read_cache, write_cache
from asr.language_model.ngram_kernel import ngram_step
from asr.language_model.packed_ngram import pack_lm, unpack_lm
from asr.language_model.prefix_tree import best_below, build_tree

TOY = """\\data\\
ngram 1=6
ngram 2=5
ngram 3=3

\\1-grams:
-1.2\t<unk>
-99\t<s>\t-0.3
-0.7\t</s>
-0.4\ta\t-0.2
-0.9\tb\t-0.5
-1.1\tc\t-0.1

\\2-grams:
-0.2\t<s> a\t-0.15
-0.6\ta b\t-0.25
-0.3\tb a\t-0.05
-0.8\tc </s>
-0.5\ta a\t-0.35

\\3-grams:
-0.1\t<s> a b
-0.2\ta b a
-0.15\tb a c

\\end\\
"""
# kenlm 0.3.0, `kenlm.Model("toy.arpa").full_scores(text)`, log10 of each word and of </s>.
KENLM = {
    "": [-1.0],
    "a b a c": [-0.2, -0.1, -0.2, -0.15, -0.8],
    "b b": [-1.2, -1.4, -1.2],
    "c a a b a": [-1.4, -0.5, -0.5, -0.95, -0.2, -0.95],
    "a x b": [-0.2, -1.55, -0.9, -1.2],
    "x x": [-1.5, -1.2, -0.7],
    "b a c c": [-1.2, -0.3, -0.15, -1.2, -0.8],
}
TEXT = ["the cat sat on the mat", "the cat ate the rat", "a rat sat on a mat", "the dog sat",
        "a dog ate a cat", "the rat", "the mat sat on the dog", "on the mat the cat sat"]
SENTENCES = [line.split() for line in TEXT]


@pytest.fixture
def toy(tmp_path):
    path = tmp_path / "toy.arpa"
    path.write_text(TOY)
    return path


@pytest.mark.parametrize("text", KENLM)
def test_scores_equal_kenlm(toy, text):
    model = load_ngram(toy)
    assert model.score_words(text.split()) / np.log(10) == pytest.approx(KENLM[text], abs=1e-5)
    assert sum(KENLM[text]) == pytest.approx(ToyModel(TOY).score(text.split()) / np.log(10))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abcx"), max_size=8), st.booleans(), st.booleans())
def test_scores_equal_the_formula(words, start, end):
    model = build_ngram(*_parse(TOY))
    expected = ToyModel(TOY).score(words, start=start, end=end)
    assert model.score_words(words, start=start, end=end).sum() == pytest.approx(expected, abs=1e-5)


def _parse(text):
    from asr.language_model.arpa import parse_arpa
    return parse_arpa(text.splitlines(), name="toy.arpa")


def test_a_prefix_that_is_not_listed_scores_by_back_off():
    pruned = TOY.replace("ngram 2=5", "ngram 2=4").replace("-0.6\ta b\t-0.25\n", "")
    model = build_ngram(*_parse(pruned))
    for words in ("a b a", "b a b a c", "a b b"):
        assert model.score_words(words.split()).sum() == pytest.approx(
            ToyModel(pruned).score(words.split()), abs=1e-5)


def test_gz_plain_and_cache_are_one_model(toy, tmp_path):
    packed = tmp_path / "toy.arpa.gz"
    packed.write_bytes(gzip.compress(TOY.encode()))
    models = [load_ngram(toy, cache=False), load_ngram(packed), load_ngram(packed)]
    assert cache_path(packed).exists() and not cache_path(toy).exists()
    for model in models:
        assert (model.order, model.counts, model.vocabulary) == (3, (6, 5, 3), models[0].vocabulary)
        for array, expected in zip(model.arrays, models[0].arrays, strict=True):
            assert np.array_equal(array, expected) and not array.flags.writeable
    assert models[0].num_bytes < 50 * sum(models[0].counts)
    assert repr(models[2]) == "NgramModel(order=3, counts=(6, 5, 3))"


def test_unigrams_have_no_context_to_start_in(tmp_path):
    """The state after <s> would lie behind the arrays, in memory that belongs to nobody."""
    path = tmp_path / "one.arpa"
    path.write_text("\\data\\\nngram 1=4\n\n\\1-grams:\n-1\t<unk>\n-99\t<s>\t-7\n-0.5\t</s>\n"
                    "-0.3\ta\n\n\\end\\\n")
    for model in (load_ngram(path), load_ngram(path)):  # the second one from the cache
        assert model.start_state == 0
        assert model.score_words(["a"])[0] == pytest.approx(-0.3 * np.log(10))


@pytest.mark.parametrize("name,change", [
    ("suffixes", lambda a: a + 1_000), ("suffixes", lambda a: a - 1),
    ("suffixes", lambda a: np.maximum(a, 5)), ("first_child", lambda a: a + 1_000),
    ("first_child", lambda a: -a), ("first_child", lambda a: a[:-1]),
    ("backoffs", lambda a: a[:-1]), ("words", lambda a: a[:-1]),
    ("log_probs", lambda a: a * np.nan)])
def test_a_hostile_cache_is_not_followed(toy, name, change):
    """Its checksum is right, its links lead out of the arrays."""
    expected = load_ngram(toy)
    hostile = expected.arrays._replace(**{name: change(getattr(expected.arrays, name))})
    assert write_cache(toy, expected.vocabulary, expected.order, expected.counts, hostile)
    assert read_cache(toy) is None
    again = load_ngram(toy)
    assert np.array_equal(again.score_words(["a", "b"]), expected.score_words(["a", "b"]))
    assert read_cache(toy) is not None


def test_a_stale_or_damaged_cache_is_made_anew(toy):
    load_ngram(toy)
    cache = cache_path(toy)
    whole = cache.read_bytes()
    generator = np.random.default_rng(0)
    damaged = [whole[:n] for n in (0, 5, 16, 100, len(whole) - 1)] + [whole + b"x", b"x" * 500]
    for place in generator.integers(0, len(whole), size=40):
        damaged.append(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1:])
    expected = load_ngram(toy, cache=False)
    for content in damaged:
        cache.write_bytes(content)
        model = load_ngram(toy)
        assert model.vocabulary == expected.vocabulary
        assert all(np.array_equal(a, b) for a, b in zip(model.arrays, expected.arrays, strict=True))
    toy.write_text(TOY.replace("-0.4\ta", "-0.45\ta"))
    os.utime(toy, ns=(1, 1))
    assert load_ngram(toy).score_words(["x", "a"])[1] / np.log(10) == pytest.approx(-0.45)


def test_a_folder_that_cannot_be_written_costs_only_time(toy, monkeypatch):
    def refuse(*_):
        raise OSError("read-only")
    monkeypatch.setattr("asr.language_model.ngram_cache.write_atomic", refuse)
    assert load_ngram(toy).order == 3
    assert not cache_path(toy).exists()


def test_a_model_without_unknown_word_gets_kenlms():
    text = TOY.replace("ngram 1=6", "ngram 1=5").replace("-1.2\t<unk>\n", "")
    model = build_ngram(*_parse(text))
    assert model.score_words(["x"], start=False, end=False)[0] == pytest.approx(-100 * np.log(10))
    assert model.counts[0] == 5
    assert not model.knows_unknown and build_ngram(*_parse(TOY)).knows_unknown


def test_without_unk_the_perplexity_is_that_of_the_known_words():
    """Not 10^17: kenlm and SRILM's ngram -ppl (ppl) leave such words out, too."""
    text = TOY.replace("ngram 1=6", "ngram 1=5").replace("-1.2\t<unk>\n", "")
    model = build_ngram(*_parse(text))
    value, tokens, unknown = model.perplexity([["a", "x", "b"], ["x"]])
    # a after <s> -0.2; b after an unknown word -0.9; </s> after b: -0.5 - 0.7; </s> alone -0.7
    assert (tokens, unknown) == (4, 2)
    assert np.log10(value) == pytest.approx((0.2 + 0.9 + 1.2 + 0.7) / 4, abs=1e-5)
    with pytest.raises(DataError, match="no known word"):
        build_ngram(*_parse(text.replace("-0.7\t</s>\n", "").replace("1=5", "1=4").replace(
            "-0.8\tc </s>\n", "").replace("2=5", "2=4"))).perplexity([["x"]])


@pytest.mark.parametrize("old,new,match", [
    ("\\data\\\n", "", r"toy.arpa ends after line \d+; expected \\data\\"),
    ("\\data\\\n", "x\n" * 1_001, r"toy.arpa:1001: no \\data\\ in the first 1,000 lines"),
    ("\\end\\", "\n" * 10_001, r"more than 10,000 empty lines"),
    ("\\end\\", "\\end\\\n" + "x" * 60_000 + ("\n" + "x" * 60_000) * 17, r"after \\end\\"),
    ("ngram 1=6", "ngram 1=" + "9" * 16, r"expected ngram 1=<count>"),
    ("ngram 1=6", "ngram 1=50000001", r"more than the limit of 50,000,000"),
    ("-0.4\ta", "-0.4\t" + "a" * 1_200_000, r"a line of more than 65,536 bytes"),
    ("ngram 2=5", "ngram 3=5", r"toy.arpa:3: expected ngram 2=<count>"),
    ("ngram 1=6", "ngram 1=\x1d6", r"expected ngram 1=<count>"),
    ("ngram 2=5", "ngram 2=x", r"expected ngram 2=<count>"),
    ("ngram 2=5", "ngram 2=6", r"expected log-probability"),
    ("ngram 2=5", "ngram 2=4", r"expected \\3-grams:"),
    ("-0.5\ta a", "-0.5\ta z", r"the word 'z' is not among the 1-grams"),
    ("-0.5\ta a", "0.5\ta a", r"at most 0"),
    ("-0.5\ta a", "nan\ta a", r"at most 0"),
    ("-0.5\ta a", "-inf\ta a", r"-99 for what never happens"),
    ("-0.5\ta a\t-0.35", "-0.5\ta a\t1e300", r"back-off weight is finite"),
    ("-0.5\ta a", "-0.5\ta", r"the word '-0.35' is not"),
    ("-0.5\ta a", "-0.5\ta a a", r"expected log-probability, 2 word"),
    ("-0.5\ta a", "-0.6\ta b", r"holds an n-gram twice"),
    ("-1.1\tc", "-1.1\tb", r"appears twice"),
    ("\\end\\", "", r"ends after line"),
    ("\\1-grams:", "\\2-grams:", r"expected \\1-grams:"),
])
def test_broken_files_are_named_with_their_line(tmp_path, old, new, match):
    path = tmp_path / "toy.arpa"
    path.write_text(TOY.replace(old, new, 1))
    with pytest.raises(DataError, match=match) as error:
        load_ngram(path)
    assert error.value.code == "lm.arpa" and "toy.arpa" in str(error.value)


# What idngram2lm of the CMU-Cambridge toolkit writes before the model.
CMU_CAMBRIDGE = """#############################################################################
## Copyright (c) 1996, Carnegie Mellon University, Cambridge University,
This is a CLOSED-vocabulary model
This file is in the ARPA-standard format introduced by Doug Paul.

Beginning of data mark: \\data\\
ngram 1=nr            # number of 1-grams
ngram 2=nr            # number of 2-grams

\\1-grams:
p_1     wd_1 bo_wt_1
\\2-grams:
p_2     wd_1 wd_2

end of data mark: \\end\\

"""


def test_what_other_toolkits_write_is_read(tmp_path):
    """A byte order mark, Windows lines, and words with white space that is none in ARPA."""
    path = tmp_path / "toy.arpa"
    for text in (CMU_CAMBRIDGE + TOY, "\ufeff" + TOY, TOY.replace("\n", "\r\n"),
                 TOY + "\nnotes after the end\n"):
        path.write_bytes(text.encode())
        assert read_arpa(path)[0] == ["<unk>", "<s>", "</s>", "a", "b", "c"]
        assert unpack_lm(pack_lm(path), "lm").vocabulary[-1] == "c", "in a bundle, too"
    path.write_text(TOY.replace("c", "c\u00a0d\u3000"))
    assert read_arpa(path)[0][-1] == "c\u00a0d\u3000"


def test_a_text_that_a_model_holds_to_be_impossible(tmp_path):
    path = tmp_path / "deep.arpa"
    path.write_text(TOY.replace("-0.4\ta", "-1e20\ta"))
    assert read_arpa(path)[1][0].log_probs[3] == np.float32(-1e20)
    with pytest.raises(DataError, match=r"10\^-.*e\+19 a token"):
        load_ngram(path).perplexity([["x", "a", "x"]])


def test_a_model_without_words_is_refused(tmp_path):
    path = tmp_path / "none.arpa"
    path.write_text("\\data\\\nngram 1=0\n\n\\1-grams:\n\n\\end\\\n")
    with pytest.raises(DataError, match=r"none.arpa:4: the model has no words"):
        load_ngram(path)


def test_a_damaged_gz_is_refused_although_its_text_ends(tmp_path):
    path = tmp_path / "toy.arpa.gz"
    packed = bytearray(gzip.compress(TOY.encode()))
    packed[-5] ^= 1  # of the checksum
    path.write_bytes(packed)
    with pytest.raises(DataError, match="Cannot read the language model .*CRC"):
        load_ngram(path)


def test_files_that_are_no_arpa(tmp_path):
    for content in (b"", b"\x00\xff" * 50, gzip.compress(TOY.encode())[:60], b"\x1f\x8bnot gz",
                    b"\\data\\\n" + b"".join(b"ngram %d=1\n" % n for n in range(1, 12))):
        path = tmp_path / "broken"
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_arpa(path)
    with pytest.raises(DataError, match="Cannot read the language model"):
        read_arpa(tmp_path / "none")


# --- trees


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=12))
def test_tree_finds_every_sequence(sequences):
    padded = np.zeros((len(sequences), 4), dtype=np.int64)
    for row, sequence in zip(padded, sequences, strict=True):
        row[:len(sequence)] = sequence
    tree = build_tree(padded, np.array([len(s) for s in sequences]))
    prefixes = {tuple(s[:n]) for s in sequences for n in range(len(s) + 1)} | {()}
    assert len(tree.symbols) == len(prefixes)
    for sequence, end in zip(sequences, tree.nodes, strict=True):
        node = 0
        for symbol in sequence:
            children = range(tree.first_child[node], tree.first_child[node + 1])
            (node,) = [c for c in children if tree.symbols[c] == symbol]
        assert node == end and tree.depths[node] == len(sequence)


def test_best_below():
    tree = build_tree(np.array([[1, 2], [1, 3], [2, 0]]), np.array([2, 2, 1]))
    values = np.full(5, -np.inf)
    values[tree.nodes] = [-3.0, -2.0, -5.0]
    assert best_below(tree, values).tolist() == [-2.0, -2.0, -5.0, -3.0, -2.0]


# --- training


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("prune", [(), (0, 1)])
def test_every_context_sums_to_one(order, prune):
    trained = train_ngrams(SENTENCES, order, prune=prune[:order])
    model = build_ngram(trained.vocabulary, trained.tables)
    for state in range(len(model.arrays.backoffs)):
        total = sum(np.exp(ngram_step(model.arrays, state, word)[0])
                    for word in range(len(model.vocabulary)) if model.vocabulary[word] != "<s>")
        assert total == pytest.approx(1.0, abs=1e-5)


# What the reader could mistake for its own syntax, and white space that is none in ARPA.
ODD = ("\\end\\", "\\data\\", "\\2-grams:", "ngram", "1=3", "-0.5", "#", "<s", "\u200b", "nan")


@settings(max_examples=150, deadline=None)
@given(corpus=st.lists(st.lists(st.one_of(st.sampled_from(("w0", "w1", "w2", "<unk>")),
                                          st.sampled_from(ODD)), min_size=1, max_size=9),
                       min_size=1, max_size=5),
       order=st.integers(1, 6), prune=st.sampled_from([(), (0, 1), (0, 0, 2), (0, 5)]),
       min_count=st.integers(1, 2), normalizer=st.sampled_from(["", "basic-1-5d3c1f2a"]))
def test_whatever_is_written_reads_back_and_sums_to_one(corpus, order, prune, min_count,
                                                        normalizer):
    try:
        trained = train_ngrams(corpus, order, prune=prune[:order], min_count=min_count)
    except DataError as error:
        assert "No word appears" in str(error)
        return
    text = write_arpa(*_of(trained), normalizer=normalizer)
    model = build_ngram(*_parse(text))
    assert model.vocabulary == tuple(trained.vocabulary)
    assert model.normalizer == normalizer
    assert sum(model.counts) == sum(len(table.words) for table in trained.tables)
    words = [n for n, word in enumerate(model.vocabulary) if word != "<s>"]
    for state in range(len(model.arrays.backoffs)):
        total = sum(np.exp(ngram_step(model.arrays, state, word)[0]) for word in words)
        assert total == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("corpus", [
    ["w1 w1 w0 w1 w1 w1", "w0 w1 w1 w1 w1 w1 w0 w1 w1"],  # wrote a back-off of -inf at order 3
    ["a a a b", "a a a b", "b a b a"]])
def test_no_context_is_left_without_a_way_out(corpus):
    for order in range(1, 6):
        trained = train_ngrams([line.split() for line in corpus], order)
        for table in trained.tables:
            assert np.isfinite(table.backoffs).all() and np.isfinite(table.log_probs).all()
        assert build_ngram(*_parse(write_arpa(*_of(trained)))).perplexity([["x"]])[0] < 1e6


def test_bigram_by_hand():
    trained = train_ngrams([["a", "b"], ["a"]], 2)
    model = ToyModel(write_arpa(trained.vocabulary, trained.tables))
    # Fallback discounts: 0.5 for 1, 1 for 2. Different words before: a 1 (<s>), b 1 (a),
    # </s> 2 (b, a); sum 4; freed 0.5 + 0.5 + 1 = 2; the uniform is 1 / 4 (<unk> </s> a b).
    assert trained.estimated == (False, False)
    assert trained.discounts == (FALLBACK_DISCOUNTS,) * 2
    unigram = {"a": 0.5 / 4 + 0.5 / 4, "b": 0.5 / 4 + 0.5 / 4, "</s>": 1 / 4 + 0.5 / 4,
               "<unk>": 0.5 / 4}
    for word, p in unigram.items():
        assert 10 ** model.log_probs[(word,)] == pytest.approx(p, rel=1e-5)
    # After a: b 1, </s> 1; freed 1 of 2.
    assert 10 ** model.log_probs[("a", "b")] == pytest.approx(
        0.5 / 2 + 0.5 * unigram["b"], rel=1e-5)
    assert 10 ** model.backoffs[("a",)] == pytest.approx(0.5, rel=1e-5)
    # After <s>: a 2 of 2; freed 1 of 2.
    assert 10 ** model.log_probs[("<s>", "a")] == pytest.approx(1 / 2 + 0.5 * 0.25, rel=1e-5)


@pytest.mark.parametrize("order,prune,counts,seen,unseen", [
    (1, (), (12,), 9.232139926633248, 10.002281649766617),
    (2, (), (12, 28), 5.9663027326535945, 6.988682802967994),
    (3, (), (12, 28, 34), 2.8605753944929275, 9.053706041933395),
    (3, (0, 0, 1), (12, 28, 5), 5.133592525550818, 8.050009388543998),
])
def test_perplexity_equals_lmplz(order, prune, counts, seen, unseen):
    """Kenlm 0.3.0, `lmplz -o ORDER --prune ... --discount_fallback` on TEXT."""
    model = build_ngram(*_of(train_ngrams(SENTENCES, order, prune=prune)))
    assert model.counts == counts
    assert model.perplexity(SENTENCES)[0] == pytest.approx(seen, rel=1e-5)
    assert model.perplexity([["the", "bird", "sat"]])[0] == pytest.approx(unseen, rel=1e-5)


def zipf_text(seed, lines):
    """Sentences over 5,000 words, the next word often one of three that go with the last."""
    rng = random.Random(seed)
    sentences = []
    for _ in range(lines):
        words = [int(5_000 * rng.random() ** 5)]
        while rng.random() < 0.9:
            follows = (7 * words[-1] + int(3 * rng.random() ** 2)) % 5_000
            words.append(follows if rng.random() < 0.6 else int(5_000 * rng.random() ** 5))
        sentences.append([f"w{n}" for n in words])
    return sentences


@pytest.mark.parametrize("order,prune,counts,seen,unseen", [
    (2, (), (4855, 23204), 20.42186803260323, 141.47950546396922),
    (4, (), (4855, 23204, 30827, 31519), 10.312498055639793, 149.51680958530622),
    (4, (0, 0, 1, 2), (4855, 23204, 2291, 297), 21.02390384956986, 148.64929583251185),
])
def test_perplexity_with_estimated_discounts_equals_lmplz(order, prune, counts, seen, unseen):
    """Kenlm 0.3.0, `lmplz -o ORDER [--prune ...]` on zipf_text(1, 4000), scored by its module."""
    trained = train_ngrams(zipf_text(1, 4_000), order, prune=prune)
    assert all(trained.estimated)
    model = build_ngram(*_of(trained))
    assert model.counts == counts
    assert model.perplexity(zipf_text(1, 4_000))[0] == pytest.approx(seen, rel=1e-5)
    assert model.perplexity(zipf_text(2, 300))[0] == pytest.approx(unseen, rel=1e-5)


def test_training_round_trip_prune_and_rare_words(tmp_path):
    trained = train_ngrams(SENTENCES, 3)
    path = tmp_path / "t.arpa"
    path.write_text(write_arpa(trained.vocabulary, trained.tables))
    model = load_ngram(path)
    direct = build_ngram(trained.vocabulary, trained.tables)
    perplexity, tokens, unknown = model.perplexity(SENTENCES)
    assert (tokens, unknown) == (sum(len(s) + 1 for s in SENTENCES), 0)
    assert trained.num_tokens == tokens
    assert perplexity == pytest.approx(direct.perplexity(SENTENCES)[0], rel=1e-5)
    assert perplexity < 8
    pruned = build_ngram(*_of(train_ngrams(SENTENCES, 3, prune=(0, 0, 1))))
    assert pruned.counts[:2] == model.counts[:2] and pruned.counts[2] < model.counts[2]
    rare = train_ngrams(SENTENCES, 2, min_count=3)
    assert "ate" not in rare.vocabulary and "the" in rare.vocabulary
    assert build_ngram(*_of(rare)).perplexity(SENTENCES)[2] > 0


def _of(trained):
    return trained.vocabulary, trained.tables


def test_training_errors():
    for order in (0, 11):
        with pytest.raises(UsageError, match="order must be between 1 and 10"):
            train_ngrams(SENTENCES, order)
    for prune in ((1,), (0, 2, 1), (0, 0, 0, 0)):
        with pytest.raises(UsageError, match="must start with 0"):
            train_ngrams(SENTENCES, 3, prune=prune)
    with pytest.raises(DataError, match="no text"):
        train_ngrams([[], []], 2)
    with pytest.raises(DataError, match="holds <s> or </s>"):
        train_ngrams([["a", "</s>"]], 2)
    with pytest.raises(DataError, match="no sentence"):
        build_ngram(*_parse(TOY)).perplexity([])


@pytest.mark.slow
def test_a_million_ngrams_load_in_a_second_from_cache(tmp_path):
    generator = np.random.default_rng(0)
    words = np.array([f"w{n}" for n in range(20_000)])
    drawn = words[(20_000 * generator.random(600_000) ** 3).astype(int)]
    trained = train_ngrams([list(row) for row in drawn.reshape(-1, 12)], 3)
    path = tmp_path / "big.arpa"
    path.write_text(write_arpa(trained.vocabulary, trained.tables))
    model = load_ngram(path)
    assert sum(model.counts) > 1_000_000
    assert_quick(lambda: load_ngram(path), 1)
    assert model.num_bytes / sum(model.counts) < 24


# --- ten thousand scores of KenLM


def random_tables():
    """N-grams of order 1 to 4; the same on every machine."""
    rng = random.Random(7)
    words = ["<unk>", "<s>", "</s>", *(f"w{n}" for n in range(60))]
    tables = [sorted((word,) for word in words)]
    for count in (900, 1_500, 1_200):
        contexts = [gram for gram in tables[-1] if gram[-1] not in ("</s>", "<unk>")]
        known, grams = set(tables[-1]), set()
        while len(grams) < count:  # KenLM wants the context and the suffix of each n-gram
            gram = (*rng.choice(contexts), rng.choice(words[2:]))
            if gram[1:] in known:
                grams.add(gram)
        tables.append(sorted(grams))
    return tables


def random_arpa(tables):
    """As ARPA text, with back-off weights everywhere."""
    rng = random.Random(8)
    parts = ["\\data\\", *(f"ngram {n}={len(t)}" for n, t in enumerate(tables, start=1))]
    for n, table in enumerate(tables, start=1):
        parts += ["", f"\\{n}-grams:"]
        for gram in table:
            score = -99.0 if gram == ("<s>",) else -rng.randint(1, 40_000) / 10_000
            ends = n == 4 or gram[-1] in ("</s>", "<unk>")
            backoff = "" if ends else f"\t{-rng.randint(0, 15_000) / 10_000}"
            parts.append(f"{score}\t{' '.join(gram)}{backoff}")
    return "\n".join([*parts, "", "\\end\\", ""])


def random_sentences(tables):
    """10,000 scored tokens in all: n-grams of the model, other words, and unknown ones."""
    rng = random.Random(9)
    sentences, tokens = [], 0
    while tokens < 10_000:
        sentence = []
        while len(sentence) < 16:
            if rng.random() < 0.6:
                sentence += [w for w in rng.choice(tables[-1]) if w not in ("<s>", "</s>")]
            else:
                sentence.append(f"w{rng.randrange(60)}" if rng.random() < 0.8 else "unheard")
        sentences.append(sentence[:10_000 - tokens - 1])
        tokens += len(sentences[-1]) + 1
    return sentences


def test_ten_thousand_scores_equal_kenlms(tmp_path):
    """Reference: kenlm_scores.txt, which kenlm 0.3.0 wrote (see its first line).

    kenlm.Model("random.arpa").full_scores(sentence), log10 of each word and of </s>, one sentence
    a line.
    """
    path, tables = tmp_path / "random.arpa", random_tables()
    path.write_text(random_arpa(tables))
    reference = (Path(__file__).parent / "kenlm_scores.txt").read_text().splitlines()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in reference[0], "the model differs from that which KenLM scored"
    model, sentences = load_ngram(path), random_sentences(tables)
    found = np.concatenate([model.score_words(s) for s in sentences]) / np.log(10)
    expected = np.array([float(x) for line in reference[1:] for x in line.split()])
    assert found.shape == expected.shape == (10_000,)
    assert np.abs(found - expected).max() < 1e-4
    known = np.concatenate([[w in model.word_numbers for w in (*s, "</s>")] for s in sentences])
    assert (~known).sum() > 100, "unknown words are among them"
