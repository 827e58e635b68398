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


def counted_units(folder, seed):
    reference, hypothesis, options = made.character_files(seed)
    name = "case+mixed" if "NOASCII" in options else "case+characters"
    return counted(written(folder, (reference, hypothesis), ("trn", "trn")), name,
                   optionally_deletable="-D" in options)


def test_characters_and_alternations(tmp_path):
    """-c and -c NOASCII: which of the readings that cost the same sclite takes."""
    assert [made.totals(counted_units(tmp_path, seed)) for seed in range(made.CHARACTERS)] == \
        VALUES["units"]


@pytest.mark.parametrize("name, expected", [
    ("case+characters", (5, 2, 0, 1)), ("case", (2, 1, 0, 1))])
def test_the_reading_after_characters(tmp_path, name, expected):
    """By sclite with -c and without: the characters of `a uvw-xyz` would cost the same."""
    texts = ("{ a uvw-xyz / uvw xyz } k (s_1)\n", "a uvw x_w k (s_1)\n")
    assert counted(written(tmp_path, texts, ("trn", "trn")), name) == {"s_1": [*expected]}


MANDARIN = ("""今天 天气 很 好 (s_1)
我们 用 python 写 程序 (s_2)
他 说 { 嗯 / 呃 } 我 不 知道 (s_3)
请 打开 wi-fi 和 蓝牙 (t_1)
北京 大学 在 海淀区 ABC 公司 (t_2)
""", """今天 天汽 很 好 (s_1)
我门 用 pyxhon 写 程 序 (s_2)
他 说 呃 我 知道 了 (s_3)
请 打 开 wifi 蓝牙 (t_1)
北京 大学 海淀 abc 公司 吗 (t_2)
""")


def test_a_gb_file_is_converted(tmp_path, capsys):
    """sclite -e gb -c: (41 3 5 2), -e gb -c NOASCII: (30 4 4 2), of the bytes before iconv."""
    paths = [tmp_path / "ref.trn", tmp_path / "hyp.trn"]
    for path, text in zip(paths, MANDARIN, strict=True):
        path.write_bytes(text.encode("gb18030"))
    command = ["score", *map(str, paths), "--normalizer", "case", "--alignment", "sclite"]
    assert run(command) == 4
    assert "ref.trn:1: byte 0xbd is not UTF-8; convert the file from the encoding that it has " \
        "(iconv -f gb18030 -t utf-8 for Chinese" in capsys.readouterr().err
    for path in paths:
        path.write_text(path.read_bytes().decode("gb18030"), encoding="utf-8")
    assert run([*command, "--cer-spaces", "no"]) == 0
    out = capsys.readouterr().out
    assert "CER" in out and "(S 3 D 5 I 2 N 49)" in out.splitlines()[1]
    for units, expected in (("characters", "(S 3 D 5 I 2 N 49)"), ("mixed", "(S 4 D 4 I 2 N 38)")):
        assert run([*command, "--units", units]) == 0
        assert expected in capsys.readouterr().out.splitlines()[0]
    if made.COMMAND:
        for options, expected in ((["-c"], [41, 3, 5, 2]), (["-c", "NOASCII"], [30, 4, 4, 2])):
            assert made.totals(made.run_sclite(*MANDARIN, ("trn", "trn"), "-e", "gb", *options,
                                               encoding="gb18030")) == expected


def test_case_beyond_ascii(tmp_path):
    """sclite -e utf-8 babel_vietnamese folds 2 of 6 words, babel_turkish 4, after sed here too."""
    hypothesis = "đường ấm ışık iyi ılık öğe (s_1)\n"
    reference = "Đường ẤM IŞIK İYİ Ilık ÖĞE (s_1)\n"
    found = counted(written(tmp_path, ("Đường ẤM (s_1)\n", "đường ấm (s_1)\n"), ("trn", "trn")))
    assert found["s_1"] == [2, 0, 0, 0]
    assert counted(written(tmp_path, (reference, hypothesis), ("trn", "trn")))["s_1"][1] == 2
    folded = reference.replace("İ", "i").replace("I", "ı")
    assert counted(written(tmp_path, (folded, hypothesis), ("trn", "trn")))["s_1"] == [6, 0, 0, 0]


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
        reference, hypothesis, options = made.character_files(seed)
        assert counted_units(tmp_path, seed) == \
            made.run_sclite(reference, hypothesis, ("trn", "trn"), *options)


@with_sclite
def test_the_summary_is_that_of_sclite(tmp_path, monkeypatch, capsys):
    """Letter by letter, where both files have the same order."""
    monkeypatch.chdir(tmp_path)
    for seed in range(4):
        sides = [sorted(text.splitlines(), key=lambda line: int(re.split("[_)]", line)[-2]))
                 for text in made.trn_files(seed)]
        for name, lines in zip("rh", sides, strict=True):
            Path(f"{name}.trn").write_text("".join(line + "\n" for line in lines))
        units = ("words", "characters")[seed > 1]
        expected = subprocess.run([*made.COMMAND, "-r", "r.trn", "trn", "-h", "h.trn", "trn", "-i",
                                   "spu_id", "-f", "0", "-o", "sum", "rsum", "dtl", "stdout",
                                   *["-c"] * (seed > 1)],
                                  capture_output=True, text=True, check=True).stdout
        assert run(["score", "r.trn", "h.trn", "--normalizer", "case", "--alignment", "sclite",
                    "--summary", "sclite", "--units", units]) == 0
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
