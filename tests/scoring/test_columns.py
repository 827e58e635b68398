"""Error rates by any column of a manifest or of a table."""

from __future__ import annotations

import json

import pytest

from asr.cli import run
from asr.errors import DataError
from asr.scoring import score
from asr.scoring.columns import MAX_VALUES, group_by, group_lines, label_by, read_columns

NUMBER = 30


def rows(number=NUMBER):
    """Utterance k of 4 words has an error where k is a multiple of 3."""
    return score({f"u{k}": "a b c d" for k in range(number)},
                 {f"u{k}": "a b c x" if k % 3 == 0 else "a b c d" for k in range(number)},
                 speakers={f"u{k}": f"s{k % 2}" for k in range(number)},
                 durations={f"u{k}": 1.0 + k for k in range(number)}, draws=100).rows


def labelled(column, values):
    ids = [f"u{k}" for k in range(len(values))]
    return label_by(ids, column, {column: dict(zip(ids, values, strict=True))})


def groups(column, columns, number=NUMBER):
    some = rows(number)
    return group_by(some, label_by([row.id for row in some], column, columns))


def test_texts_come_with_the_highest_rate_first():
    found = groups("noise", {"noise": {f"u{k}": ("street", "cafe", "none")[k % 3]
                                       for k in range(NUMBER - 1)}})
    assert [(group.label, group.utterances, group.words.errors) for group in found] == [
        ("street", 10, 10), ("(unknown)", 1, 0), ("cafe", 10, 0), ("none", 9, 0)]
    assert found[0].words.rate == 0.25 and found[0].interval.clusters == 2


def test_numbers_come_in_order_and_many_in_ranges():
    found = groups("level", {"level": {f"u{k}": str(10 - k % 3) for k in range(NUMBER)}})
    assert [group.label for group in found] == ["8", "9", "10"]
    found = groups("snr", {"snr": {f"u{k}": k / 2 for k in range(NUMBER)}})
    assert [group.utterances for group in found] == [6] * 5
    assert found[0].label == "0 to 2.9" and found[-1].label == "11.6 to 14.5"
    assert sum(group.words.reference for group in found) == 4 * NUMBER


def test_speaker_and_duration_need_no_table():
    columns = read_columns([], rows())
    assert {group.label for group in groups("speaker", columns)} == {"s0", "s1"}
    assert sum(group.utterances for group in groups("duration", columns)) == NUMBER


def test_true_false_and_null():
    labels = labelled("far", [True, False, None, ""])
    assert [label for _, label in labels.values()] == ["True", "False", "(unknown)", "(unknown)"]


def test_equal_numbers_give_fewer_ranges():
    labels = labelled("snr", [5.0] * 100 + list(range(20)))
    assert 1 < len(set(labels.values())) <= 5


def test_numbers_are_divided_in_two_where_it_is_asked():
    values = [6, "17.5", 18, None, "x"]
    columns = {"age": {f"u{k}": value for k, value in enumerate(values)}}
    labels = label_by([f"u{k}" for k in range(5)], "age<18", columns)
    assert [label for _, label in labels.values()] == ["below 18", "below 18", "from 18",
                                                       "(unknown)", "(unknown)"]
    exact = label_by(["u0"], "a<b", {"a<b": {"u0": "yes"}})
    assert [label for _, label in exact.values()] == ["yes"]
    with pytest.raises(DataError, match="got the column 'age<x', in which no utterance"):
        label_by(["u0"], "age<x", columns)


@pytest.mark.parametrize("values, message", [
    ([None, ""], "in which no utterance has a value; expected one of: none is known"),
    ([["a"], "b"], r"got \"\['a'\]\", expected texts, numbers, true or false"),
    ([f"t{k}" for k in range(MAX_VALUES + 1)], "got 1,001 different values for 1,001 utterances")])
def test_columns_that_cannot_be_meant_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        labelled("odd", values)


@pytest.mark.parametrize("name, content", [
    ("t.csv", 'id,noise,note\nu1,cafe,"a, b"\nu2,none,\n'),
    ("t.tsv", "id\tnoise\tnote\nu1\tcafe\ta, b\nu2\tnone\t\n"),
    ("t.jsonl", '{"id": "u1", "noise": "cafe", "note": "a, b"}\n'
                '{"id": "u2", "noise": "none", "note": ""}\n')])
def test_tables_of_three_kinds(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    columns = read_columns([path], [])
    assert columns["noise"] == {"u1": "cafe", "u2": "none"}
    assert columns["note"] == {"u1": "a, b", "u2": ""}


@pytest.mark.parametrize("name, content, message", [
    ("t.csv", "name,noise\nu1,cafe\n", r"t\.csv:2: got none as id"),
    ("t.csv", "id,noise\nu1,cafe\nu1,none\n", r"t\.csv:3: the id 'u1' occurs twice, first in"),
    ("t.csv", "id,noise\nu1\n", r"t\.csv:2: got 1 field, expected 2"),
    ("t.csv", "id,id\nu1,u1\n", r"t\.csv:1: got a header with a name twice"),
    ("t.csv", 'id,noise\n"u1"x,cafe\n', r"t\.csv:2: this is not CSV"),
    ("t.jsonl", '{"id": 3}\n', r"t\.jsonl:1: got 3 as id")])
def test_tables_with_faults_are_refused_with_their_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_columns([path], [])


def test_the_table_for_a_terminal():
    lines = group_lines("noise", groups("noise", {"noise": {f"u{k}": ("street", "cafe")[k % 2]
                                                            for k in range(NUMBER)}}))
    assert lines[0].split() == ["noise", "utterances", "words", "WER"]
    assert lines[1].startswith(("street", "cafe")) and "60  8.33 %" in lines[1]


def test_command_with_a_manifest_and_a_table(tmp_path, capsys):
    with open(tmp_path / "ref.jsonl", "w") as ref, open(tmp_path / "hyp.jsonl", "w") as hyp, open(
            tmp_path / "more.csv", "w") as more:
        more.write("id,age\n")
        for k in range(12):
            row = {"id": f"u{k}", "text": "a b c", "noise": "cafe" if k % 2 else "none"}
            ref.write(json.dumps(row) + "\n")
            hyp.write(json.dumps({"id": f"u{k}", "text": "a b x" if k % 2 else "a b c"}) + "\n")
            more.write(f"u{k},{'old' if k < 6 else 'young'}\n")
    files = [str(tmp_path / "ref.jsonl"), str(tmp_path / "hyp.jsonl")]
    options = ["--by", "noise", "--by", "age", "--columns", str(tmp_path / "more.csv")]
    page = tmp_path / "report.html"
    assert run(["score", *files, *options, "--report", str(page)]) == 0
    tables = capsys.readouterr().out.split("\n\n")[1:]
    assert [table.split()[0] for table in tables] == ["noise", "age"]
    assert "cafe" in tables[0] and "33.33 %" in tables[0]
    assert "By noise" in page.read_text() and "By age" in page.read_text()
    assert run(["score", *files, *options, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)["groups"]
    assert [group["label"] for group in record["noise"]] == ["cafe", "none"]
    assert record["noise"][0]["wer"] == pytest.approx(1 / 3)
    assert run(["score", *files, "--by", "nois"]) == 4
    assert "expected one of: noise. Name" in capsys.readouterr().err
