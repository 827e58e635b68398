"""Closed grammars: what is read, what is accepted, and that the search keeps to it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_decoding import best_paths, label_string_scores
from pace import assert_quick

from asr.decoding import BeamSearchDecoder, log_softmax, parse_grammar, read_grammar
from asr.decoding import grammar as grammar_module
from asr.decoding.automaton import arcs_of, best_path, num_cells
from asr.decoding.grammar import grammar_part
from asr.decoding.prefix_search import prefix_search
from asr.errors import DataError, TextError, UsageError
from asr.text.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer(" ab")
GRAMMARS = ["a", "a b\nab", "(a | b b) a*", "[a] b+", "a [a | b] [b]", "<x> <x>\n<x> = a | b a",
            "a*", "(a | ab | abb)", "((a b)+ | b)*"]


def language(grammar, words, longest):
    return {" ".join(text) for n in range(longest + 1)
            for text in itertools.product(words, repeat=n) if grammar.accepts(" ".join(text))}


@pytest.mark.parametrize("text,sentences", [
    ("a\nb a\n# comment\n\n", {"a", "b a"}),
    ("(a | b) [a]", {"a", "b", "a a", "b a"}),
    ("a+ b", {"a b", "a a b"}),
    ("a* b", {"b", "a b", "a a b"}),
    ("(a | b)+*", {" ".join(t) for n in range(4) for t in itertools.product("ab", repeat=n)}),
    ("x <y>\n<y> = a | <z> b\n<z> = [a]", {"x a", "x b", "x a b"}),
    ("#JSGF V1.0 UTF-8;\ngrammar g;\n/* two\nlines */\npublic <s> = a (b |\n c); // end\n<u> = z;",
     {"a b", "a c"}),
    ("[a]*b", {"b", "a b", "a a b"}),
    ("a [b] | b", {"a", "a b", "b"}),
    ('"a b" c | "a"', {"a b c", "a"}),
    ("a <NULL> b | c <VOID>", {"a b"}),
])
def test_languages(text, sentences):
    grammar = parse_grammar(text)
    assert language(grammar, "abcxyz" if len(sentences) < 10 else "ab", 3) == sentences


# The sentences of x, y and z with at most three words that pocketsphinx 5 accepts (Jsgf,
# FsgModel.accept). Where it differs, or reads no grammar at all, the reason is beside.
HEAD = "#JSGF V1.0;\ngrammar g;\n"
JSGF = [
    ("public <a> = x <a> | y;", {"y", "x y", "x x y"}),
    ("public <a> = x <b> | y;\n<b> = z <a>;", {"y", "x z y"}),
    ("public <a> = x (<a> | y);", {"x y", "x x y"}),
    ("public <a> = x [<a>];", {"x", "x x", "x x x"}),
    ("public <a> = x <NULL> y;", {"x y"}),
    ("public <a> = x (y | <NULL>);", {"x", "x y"}),
    ("public <a> = x {t x} y {u};", {"x y"}),
    ("public <a> = x {t \\} z; http://x} y;", {"x y"}),
    ("public <a> = (x y)*;", {"", "x y"}),
    ("public <a> = <g.b> x; <b> = y;", {"y x"}),
    ("public <a> = x | y <VOID>;", {"x"}),  # theirs accepts nothing; the note has it so
    ('public <a> = "x y" z;', {"x y z"}),  # theirs has the quotes in the word
    ('public <a> = "x"; // "y\npublic <b> = z', {"x", "z"}),  # theirs takes one public rule
]


@pytest.mark.parametrize("text,sentences", JSGF)
def test_jsgf(text, sentences):
    assert language(parse_grammar(HEAD + text), "xyz", 3) == sentences


@pytest.mark.parametrize("text,match", [
    ("import <other.r>;\npublic <a> = x <r>;", "g:3: import is not supported"),
    ("public <a> = /0.3/ x | /0.7/ y;", "g:3: '/0.3/' is a weight of JSGF"),
    ("public <a> = x <a> y | y;", "<a> calls itself before its end"),
    ("public <a> = <a> x | y;", "<a> calls itself before its end"),
    ("public <a> = (x <a>)* y;", "<a> calls itself before its end"),
    ("public <a> = x <b> z;\n<b> = y <a>;", "g:4: the rule <a> calls itself before its end"),
    ("public <a> = x <a>;", "no sentence that comes to an end"),
    ("public <a> = <VOID>;", "no sentence that comes to an end"),
    ("public <a> = x | ;", "an empty alternative"), ("public <a> = {t};", None),
    ("x y z;", "g:3: expected a rule"), ("<a> = x;", "no sentence, pattern or public rule"),
    ('public <a> = "";', "a phrase without words"), ('public <a> = "x', "cannot read"),
    ("public <a> = x {t;", "cannot read"), ("public <NULL> = x;", "defined twice"),
    ("public <a> = x / y;", "cannot read '/ y;'"), ("public <a> = x = y;", "unexpected '='")])
def test_what_jsgf_has_and_we_do_not_is_never_read_as_words(text, match):
    if match is None:
        assert language(parse_grammar(HEAD + text), "xyz", 3) == {""}
        return
    with pytest.raises(DataError, match=match):
        parse_grammar(HEAD + text, name="g")


# A14 of ../shared/data/faults: 2.4 GB and no end in a minute, or 22 s.
@pytest.mark.parametrize("text", [
    "[one] " * 30_000, "(one*)* " * 20_000, "[a] [b] " * 2_000, "(a | b)* a" + " (a | b)" * 40,
    "a " * 1_100_000, "\n".join(f"<r{n}> = <r{n + 1}> <r{n + 1}>" for n in range(90))
    + "\n<r90> = a\n<r0>"])
def test_a_hostile_grammar_is_refused_at_once(text):
    def refuse():
        with pytest.raises(DataError) as error:
            parse_grammar(text)
        assert error.value.code == "grammar.size" and len(str(error.value)) < 300

    assert_quick(refuse, 2)


def test_the_automaton_over_labels_is_bounded_too():
    """200,000 states of a tokenizer with 20,000 characters would take 16 GB."""
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 19_000)))
    with pytest.raises(DataError, match=r"more than 1,052 states"):
        grammar_part(parse_grammar("\n".join(letters)), CharTokenizer(letters))


@pytest.mark.parametrize("text,match", [
    ("", "holds no sentence"), ("# comment", "holds no sentence"), ("<a> = b", "no sentence"),
    ("x\na (b", r"g:2: \( without \)"), ("a )", "unexpected"), ("[a", r"\[ without \]"),
    ("a | ", "empty alternative"), ("()", "empty alternative"), ("* a", "nothing before it"),
    ("<x>", "rule <x> is not defined"), ("<x>\n<x> = <x> a", "calls itself"),
    ("(" * 5_000 + "a" + ")" * 5_000, "g:1: more than 100 brackets and rules"),
    ("\n".join(f"<r{n}> = <r{n + 1}>" for n in range(3_000)) + "\n<r0>", "more than 100 brackets"),
    ("<x>\n<x> = a\n<x> = b", r"g:3: the rule <x> is defined twice"), ("a <b c", "cannot read"),
])
def test_broken_grammars(text, match):
    with pytest.raises(DataError, match=match):
        parse_grammar(text, name="g")


def test_files_and_limits(tmp_path, monkeypatch):
    path = tmp_path / "g.txt"
    path.write_text("licht an\nlicht aus\n", encoding="utf-8-sig")
    assert read_grammar(path).words == ["an", "aus", "licht"]
    with pytest.raises(DataError, match="Cannot read the grammar"):
        read_grammar(tmp_path / "none")
    large = parse_grammar("aaaaaaaaaaaaaaaaaaaaaaaaaa")
    monkeypatch.setattr(grammar_module, "MAX_STATES", 10)
    with pytest.raises(DataError, match="more than 10 states"):
        parse_grammar("a b c d e f g h i j k")
    with pytest.raises(DataError, match="more than 10 states"):
        grammar_part(large, TOKENIZER)


def test_words_must_be_spelled():
    with pytest.raises(TextError, match=r"The grammar's word 'x' holds 'x' \(U\+0078\)"):
        grammar_part(parse_grammar("x"), TOKENIZER)
    with pytest.raises(UsageError, match="alphabet has no space"):
        grammar_part(parse_grammar("a b"), CharTokenizer("ab"))
    part = grammar_part(parse_grammar("a | b"), CharTokenizer("ab"))
    assert part.accepting.sum() == 4  # from the two copies of the start


@pytest.mark.parametrize("text", GRAMMARS)
def test_the_label_automaton_is_the_grammar(text):
    grammar = parse_grammar(text)
    part = grammar_part(grammar, TOKENIZER)
    for length in range(8):
        for letters in itertools.product(" ab", repeat=length):
            labels, state = TOKENIZER.encode("".join(letters)), 0
            for label in labels:
                state = part.targets[state, label] if state >= 0 else -1
            spelled = "".join(letters)
            expected = spelled == " ".join(spelled.split()) and grammar.accepts(spelled)
            assert bool(state >= 0 and part.accepting[state]) == expected


def random_log_probs(seed, num_frames):
    generator = np.random.default_rng(seed)
    return log_softmax((2 * generator.standard_normal((num_frames, 4))).astype("f4"))


def inside(grammar, labels):
    text = TOKENIZER.decode(labels)
    return text == " ".join(text.split()) and grammar.accepts(text)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6), st.sampled_from(GRAMMARS))
def test_search_and_best_path_equal_exhaustive_search(seed, num_frames, text):
    log_probs = random_log_probs(seed, num_frames)
    grammar = parse_grammar(text)
    paths = {labels: score for labels, score in best_paths(log_probs).items()
             if inside(grammar, labels)}
    sums = {labels: score for labels, score in label_string_scores(log_probs).items()
            if inside(grammar, labels)}
    decoder = BeamSearchDecoder(TOKENIZER, 2_000, grammar=grammar, max_gap=1e9,
                                beam_threshold=1e9, label_threshold=-1e9)
    path, score = best_path(log_probs, arcs_of(grammar_part(grammar, TOKENIZER)))
    best = decoder.search(log_probs)[0]
    if not paths:  # the frames are too few for any sentence
        assert score == -np.inf and (best.text, best.confidence) == ("", 0.0)
        return
    assert score == pytest.approx(max(paths.values()), abs=1e-9)
    assert log_probs[np.arange(num_frames), path].sum() == pytest.approx(score, abs=1e-9)
    assert best.score == pytest.approx(max(sums.values()), abs=1e-9)
    assert sums[best.labels] == pytest.approx(best.score, abs=1e-9)


def test_a_narrow_beam_still_reads_a_sentence():
    grammar = parse_grammar("abababab\nbababa")
    decoder = BeamSearchDecoder(TOKENIZER, 1, grammar=grammar, max_gap=1e9)
    for seed in range(20):
        assert decoder.search(random_log_probs(seed, 30))[0].text in ("abababab", "bababa")


def test_the_exact_search_is_left_out_where_it_would_eat_the_memory(monkeypatch):
    decoder = BeamSearchDecoder(TOKENIZER, 1, grammar=parse_grammar("abababab"), max_gap=1e9)
    log_probs = next(found for found in (random_log_probs(seed, 30) for seed in range(50))
                     if prefix_search(found, 1, 30.0, -15.0, decoder._fusion)[3][0] == -np.inf)
    arcs = decoder._arcs
    assert num_cells(log_probs, arcs) == 30 * (len(arcs.accepting) + len(arcs.labels))
    assert decoder.search(log_probs)[0].text == "abababab"
    monkeypatch.setattr("asr.decoding.beam.MAX_CELLS", num_cells(log_probs, arcs) - 1)
    found = decoder.search(log_probs)[0]
    assert (found.text, found.confidence) == ("", 0.0)


def test_what_is_not_in_the_grammar_is_rejected_and_named():
    def spoken(text):
        path = [label for character in TOKENIZER.encode(text) for label in (character, 0)]
        logits = np.full((len(path), 4), -6.0, dtype=np.float32)
        logits[np.arange(len(path)), path] = 6.0
        return logits
    decoder = BeamSearchDecoder(TOKENIZER, 16, grammar=parse_grammar("ab ba\nbb"), max_gap=3.0)
    heard = decoder.decode(spoken("ab ba"))[0]
    assert (heard.text, heard.rejected) == ("ab ba", "")
    other = decoder.decode(spoken("aaaa a"))[0]
    assert other.text == "" and other.rejected in ("ab ba", "bb") and other.confidence == 0.0
    assert other.words == () and np.isfinite(other.score)
