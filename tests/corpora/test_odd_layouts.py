"""What people really have: odd but legal folders, tables and annotation files."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import unicodedata

import pytest
from layout_examples import RATE, speech

from asr.cli import run
from asr.corpora import load_corpus
from asr.corpora.collect import Checks
from asr.corpora.columns import seconds
from asr.manifest import read_manifest
from asr.transcript.praat import textgrid as praat


def rows(name: str, src, **options) -> list[tuple]:
    """(text, offset, duration) of train, and an error if anything was left out."""
    result = load_corpus(name).prepare(src, **options)
    assert not result.excluded, [item.message for item in result.excluded]
    return [(u.text, u.offset, u.duration) for u in result["train"]]


# Tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, encoding", [
    ('\ufeffPath;Sentence;Start;End\r\na.wav;"yes; sir";0,5;1,25\r\n', "utf-8"),
    ('path, sentence ,start,end\na.wav, "yes; sir", 0.5 ,1.25\n', "utf-8"),
    ('\n\nsep=;\npath;sentence;start;end\na.wav;"yes; sir";0:00:00.5;00:01,25\n', "utf-8"),
    ("path\tsentence\tstart_ms\tend_ms\r\na.wav\tyes; sir\t500\t1250\r\n", "utf-16"),
    ('path,sentence,start,end\ra.wav,"yes;\rsir",0.5,1.25\r', "utf-8"),
    ('"path","sentence, as said","start","end"\na.wav,"yes;\nsir","0,5","1,25"\n', "utf-8")])
def test_tables_of_other_programs(tmp_path, text, encoding):
    speech(tmp_path / "a.wav", 2.0)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    columns = ("text=sentence, as said",) if "as said" in text else ()
    assert rows("csv", tmp_path, columns=columns) == [("yes; sir", 0.5, 0.75)]


def test_an_unclosed_quote_swallows_no_row_behind_it(tmp_path):
    for name in "abc":
        speech(tmp_path / f"{name}.wav")
    (tmp_path / "t.csv").write_text('path,sentence\na.wav,"yes\nb.wav,no\nc.wav,"maybe\nso"\n')
    result = load_corpus("csv").prepare(tmp_path)
    assert [u.text for u in result["train"]] == ["no", "maybe so"]
    assert [item.source for item in result.excluded] == ["t.csv:2"]


def test_times_with_a_comma_or_colons():
    assert [seconds({"start": text}, "start") for text in ("1,5", "1:02.5", "1:00:00", " 2 ")] == [
        1.5, 62.5, 3_600.0, 2.0]
    for text in ("1,5.0", "1,000,5", "1:2:3:4", "-0:01", "1_0", "\u0663", "nan", "inf"):
        with pytest.raises(ValueError, match="expected seconds"):
            seconds({"start": text}, "start")


def test_channels_and_speakers_may_start_at_one_time(tmp_path):
    speech(tmp_path / "a.wav", 2.0, 2)
    (tmp_path / "t.csv").write_text("path,text,start,end,channel,speaker\na.wav,yes,0,1,1,A\n"
                                    "a.wav,no,0,1,2.0,B\na.wav,so,0,1,2,C\na.wav,no,0,1,2,B\n")
    result = load_corpus("csv").prepare(tmp_path)
    assert [u.id for u in result["train"]] == ["a-0.000-1", "a-0.000-2", "a-0.000-2_2"]
    assert [item.code for item in result.excluded] == ["corpus.duplicate_id"], "a copy is one"


def test_tables_are_splits_by_the_word_in_their_names(tmp_path):
    speech(tmp_path / "a.wav")
    for name in ("village_train", "village_dev"):
        (tmp_path / f"{name}.csv").write_text(f"id,path,text\n{name},a.wav,yes\n")
    assert list(load_corpus("csv").prepare(tmp_path)) == ["dev", "train"]


def test_val_and_eval_are_splits_and_never_trained_on(tmp_path):
    from pathlib import Path

    from asr.proposal.survey import find_manifests

    for name in ("train", "my_val", "eval2000", "an4_test", "more"):
        (tmp_path / f"{name}.jsonl").touch()
    train, valid = find_manifests([tmp_path])
    assert [Path(p).stem for p in train] == ["more", "train"] and valid[0].stem == "my_val"
    speech(tmp_path / "in" / "val" / "anna" / "a.wav")
    (tmp_path / "in" / "val" / "anna" / "a.txt").write_text("yes")
    found = load_corpus("folder").prepare(tmp_path / "in")
    assert list(found) == ["val"] and found["val"][0].speaker == "anna"


def test_one_way_of_splitting_is_enough(tmp_path, capsys):
    """ljspeech sets some aside by itself; --dev takes the place of that."""
    for n in range(10):
        speech(tmp_path / "in" / "wavs" / f"{n}.wav", 0.2)
    (tmp_path / "in" / "metadata.csv").write_text("".join(f"{n}|Text {n}|text {n}\n"
                                                          for n in range(10)))
    assert run(["prepare", "ljspeech", str(tmp_path / "in"), str(tmp_path / "o"), "--split", "text",
                "--dev", "20%", "--test", "10%"]) == 0
    assert [len(read_manifest(tmp_path / "o" / f"{split}.jsonl"))
            for split in ("train", "dev", "test")] == [7, 2, 1]
    assert capsys.readouterr().err.count(f"{tmp_path / 'in'};") == 1, "the folder once"


# Folders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_the_same_however_an_accent_is_spelt(tmp_path, forms):
    audio, text = (unicodedata.normalize(form, "ñandú") for form in forms)
    speech(tmp_path / "in" / f"{audio}.wav", 1.0)
    (tmp_path / "in" / f"{text}.TXT").write_text("yes")
    assert rows("folder", tmp_path / "in") == [("yes", 0.0, 1.0)]
    (tmp_path / "t.csv").write_text(f"path,text\nin\\{text}.wav,yes\n", "utf-8")
    assert rows("csv", tmp_path) == [("yes", 0.0, 1.0)]


def test_a_speaker_may_be_a_number(tmp_path):
    speech(tmp_path / "x" / "a.wav")
    (tmp_path / "x" / "a.json").write_text('{"text": "yes", "speaker": 7}')
    assert load_corpus("folder").prepare(tmp_path)["train"][0].speaker == "7"


def test_what_lies_beside_is_told(tmp_path, capsys):
    for name in ("a.wav", "b.flac"):
        speech(tmp_path / "in" / name)
    (tmp_path / "in" / "a.srt").write_text("1\n0:00:00,0 --> 0:00:01,0\nyes\n")
    (tmp_path / "in" / "b.vtt").touch()
    (tmp_path / "in" / "more").mkdir()
    for name in ("a.en.srt", "c.srt", "d.ape", "e.wmv", "f.wmv", "more/g.wmv", "a.vtt"):
        (tmp_path / "in" / name).touch()
    assert run(["prepare", "subtitles", str(tmp_path / "in"), str(tmp_path / "o")]) == 3
    said = capsys.readouterr().err
    assert "Left alone: 2 (a.en.srt, c.srt). The reason: there is no recording" in said
    assert "Left alone: 4 (d.ape, e.wmv, f.wmv, ...). The reason: recordings of this kind" in said
    assert f"{tmp_path / 'o' / 'report.json'} lists all." in said
    left = json.loads((tmp_path / "o" / "report.json").read_text())["left_alone"]
    assert [one["files"] for one in left] == [["a.en.srt", "c.srt"],
                                              ["d.ape", "e.wmv", "f.wmv", "more/g.wmv"]]
    assert "text.empty: 1 (b). b.vtt has no label." in said


def test_letters_are_replaced(tmp_path, capsys):
    speech(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "a.txt").write_text("ha?a ||xam =ana")
    assert run(["prepare", "folder", str(tmp_path / "in"), str(tmp_path / "o"), "--replace", "?=ʔ",
                "--replace", "||=ǁ", "--replace", "==ǂ"]) == 0
    assert read_manifest(tmp_path / "o" / "train.jsonl")[0].text == "haʔa ǁxam ǂana"
    for wrong in ("x", "=x", ""):
        assert run(["prepare", "folder", "in", "o", "--replace", wrong]) == 2
        assert "write OLD=NEW" in capsys.readouterr().err


def test_a_point_of_audacity_is_told(tmp_path):
    speech(tmp_path / "a.wav", 2.0)
    (tmp_path / "a.txt").write_text("0,5\t1,0\tyes\n0,5\t1,5\tno\n1\t1\tclick\n1.2\t1.2\t\n")
    result = load_corpus("audacity").prepare(tmp_path)
    assert [(u.id, u.text) for u in result["train"]] == [("a-0.500", "yes"), ("a-0.500_2", "no")]
    assert [(item.id, item.code) for item in result.excluded] == [("a-1.000", "annotation.point")]


def test_tiers_may_start_at_one_time_or_be_empty(tmp_path):
    for name, tiers in (("talk", {"A": [(0.0, 1.0, "yes")], "B": [(0.0, 1.2, "no")]}),
                        ("mute", {"A": []}), ("other", {"C": [(0.0, 1.0, "x")]})):
        speech(tmp_path / f"{name}.wav", 2.0)
        (tmp_path / f"{name}.TextGrid").write_text(praat(tiers, 2.0))
    result = load_corpus("textgrid").prepare(tmp_path, tiers=("A", "B"))
    assert [(u.text, u.speaker) for u in result["train"]] == [("yes", "A"), ("no", "B")]
    assert [(item.id, item.code) for item in result.excluded] == [("mute", "text.empty"),
                                                                  ("other", "text.empty")]


EAF = """<ANNOTATION_DOCUMENT><TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="t2"/>
<TIME_SLOT TIME_SLOT_ID="t3"/><TIME_SLOT TIME_SLOT_ID="t4" TIME_VALUE="1500"/></TIME_ORDER>
<TIER TIER_ID="line"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a" TIME_SLOT_REF1="t1"
 TIME_SLOT_REF2="t4"><ANNOTATION_VALUE>a b c</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER><TIER TIER_ID="divided">{divided}</TIER><TIER TIER_ID="referring">{referring}</TIER>
</ANNOTATION_DOCUMENT>"""


def test_words_of_elan_that_have_no_times_of_their_own(tmp_path):
    speech(tmp_path / "a.wav", 2.0)
    (tmp_path / "a.eaf").write_text(EAF.format(
        divided="".join(f'<ALIGNABLE_ANNOTATION ANNOTATION_ID="w{n}" TIME_SLOT_REF1="t{n}" '
                        f'TIME_SLOT_REF2="t{n + 1}"><ANNOTATION_VALUE>{word}</ANNOTATION_VALUE>'
                        "</ALIGNABLE_ANNOTATION>" for n, word in enumerate("abc", start=1)),
        referring="".join(f'<REF_ANNOTATION ANNOTATION_ID="r{word}" ANNOTATION_REF="a">'
                          f"<ANNOTATION_VALUE>{word}</ANNOTATION_VALUE></REF_ANNOTATION>"
                          for word in "abc")))
    assert rows("elan", tmp_path, tiers=("divided",)) == [
        ("a", 0.0, 0.5), ("b", 0.5, 0.5), ("c", 1.0, 0.5)], "as ELAN shows them"
    assert rows("elan", tmp_path, tiers=("referring",)) == [("a b c", 0.001, 1.499)]


@pytest.mark.parametrize("name, file, text", [
    ("folder", "a.txt", "café"), ("audacity", "a.txt", "0\t1\tcafé\n"),
    ("subtitles", "a.srt", "1\n0:00:00,0 --> 0:00:01,0\ncafé\n"),
    ("textgrid", "a.TextGrid", praat({"x": [(0.0, 1.0, "café")]}, 1.0)),
    ("csv", "t.csv", "path,text\na.wav,café\n")])
def test_text_files_of_windows(tmp_path, capsys, name, file, text):
    speech(tmp_path / "in" / "a.wav", 1.0)
    (tmp_path / "in" / file).write_bytes(text.encode("cp1252"))
    command = ["prepare", name, str(tmp_path / "in"), str(tmp_path / "o"), "--overwrite"]
    assert run(command) == 4
    assert "byte 0xe9 is not UTF-8; give --encoding, such as cp1252" in capsys.readouterr().err
    assert run([*command, "--encoding", "cp1252"]) == 0
    assert [u.text for u in read_manifest(tmp_path / "o" / "train.jsonl")] == ["café"]
    for wrong in ("cp12345", "hex"):
        assert run([*command, "--encoding", wrong]) == 2
        assert f"--encoding {wrong}: there is no such encoding" in capsys.readouterr().err
    (tmp_path / "in" / file).write_text(text, "utf-8-sig")   # it says itself what it is
    assert run([*command, "--encoding", "cp1252"]) == 0
    assert [u.text for u in read_manifest(tmp_path / "o" / "train.jsonl")] == ["café"]


# lhotse, WebDataset ------------------------------------------------------------------------------


def cut(name: str, *supervisions, **more) -> dict:
    recording = {"id": "a", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
                 "sampling_rate": RATE, "num_samples": 2 * RATE, "duration": 2.0}
    return {"id": name, "start": 0.5, "duration": 1.0, "channel": 0, "type": "MonoCut",
            "supervisions": list(supervisions), "recording": recording} | more


def supervision(name: str, **more) -> dict:
    return {"id": name, "recording_id": "a", "start": 0.0, "duration": 1.0, "channel": 0,
            "text": "yes", "speaker": "anna"} | more


def write_cuts(path, *cuts) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in cuts))


def test_every_manifest_of_a_split_is_read(tmp_path):
    """train-clean-100 and -360 are one split of two files; none replaces the other."""
    speech(tmp_path / "a.wav", 2.0)
    for name in ("train-clean-100", "train-clean-360", "dev-other"):
        write_cuts(tmp_path / f"libri_cuts_{name}.jsonl.gz", cut(name, supervision("s")))
    result = load_corpus("lhotse").prepare(tmp_path)
    assert {split: [u.id for u in found] for split, found in result.items()} == {
        "dev-other": ["dev-other"], "train-clean": ["train-clean-100", "train-clean-360"]}


@pytest.mark.parametrize("row", [
    cut("x", "words"), cut("x", supervisions=[[]]), cut("x", supervision("s", start="soon")),
    cut("x", supervision("s", duration=[1])), cut("x", supervision("s"), start="0"),
    cut("x", supervisions=7), cut("x", supervision("s", text=[5]))])
def test_a_cut_that_is_none_stops_nothing(tmp_path, row):
    speech(tmp_path / "a.wav", 2.0)
    write_cuts(tmp_path / "cuts.jsonl.gz", row, cut("good", supervision("s")))
    result = load_corpus("lhotse").prepare(tmp_path)
    assert [u.id for u in result["train"]] == ["good"]
    assert [(item.id, item.code) for item in result.excluded] == [("x", "corpus.row")]


def test_what_begins_before_its_cut_is_known_from_the_cut_on(tmp_path):
    speech(tmp_path / "a.wav", 2.0)
    write_cuts(tmp_path / "cuts.jsonl.gz", cut("x", supervision("s", start=-0.25)))
    assert rows("lhotse", tmp_path) == [("yes", 0.5, 0.75)]


def test_a_broken_json_in_a_shard_is_no_missing_text(tmp_path):
    data = speech(tmp_path / "a.wav").read_bytes()
    with tarfile.open(tmp_path / "voices-train-000.tar", "w") as archive:
        for name, content in (("a.wav", data), ("a.json", b"{bad"), ("b.wav", data),
                              ("b.txt", b"yes")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    result = load_corpus("webdataset").prepare(tmp_path, checks=Checks(extract_to=tmp_path / "o"))
    assert [u.id for u in result["train"]] == ["b"]
    assert [(item.id, item.code) for item in result.excluded] == [("a", "corpus.row")]


# What is said at the end -------------------------------------------------------------------------


def test_what_is_said_can_be_typed(tmp_path, capsys):
    """Splits in the order of their use, and quotes around names with spaces."""
    src, out = tmp_path / "my recordings", tmp_path / "my data"
    for n in range(10):
        speech(src / f"{n}.wav", 0.2)
        (src / f"{n}.txt").write_text(f"text {n}")
    assert run(["prepare", "folder", str(src), str(out), "--split", "text", "--dev", "20,5 %",
                "--test", "0.1"]) == 0
    files = " ".join(f"'{out}/{split}.jsonl'" for split in ("train", "dev", "test"))
    assert f"Next: asr validate {files}, then asr init '{out}' -o mine.toml" in \
        capsys.readouterr().err
    assert len(read_manifest(out / "dev.jsonl")) == 2
    assert run(["prepare", "kaldi", str(src), str(out), "--overwrite"]) == 4
    assert f"asr prepare folder '{src}' '{out}'" in capsys.readouterr().err


def test_many_tables_are_one_line(tmp_path, capsys):
    """A data set of a hundred shards says once which columns were taken."""
    for n in range(40):
        speech(tmp_path / "in" / f"{n}.wav", 0.3)
        text = "words" if n == 7 else f"text{n}" if n > 34 else "sentence"
        (tmp_path / "in" / f"part-{n:02}.csv").write_text(f"path,{text}\n{n}.wav,ja\n")
    command = ["prepare", "csv", str(tmp_path / "in"), str(tmp_path / "out")]
    assert run(command) != 0, "text35 is no usual name"
    for n in range(35, 40):
        (tmp_path / "in" / f"part-{n:02}.csv").write_text(
            f"{'path audio clip file wav'.split()[n - 35]},text\n{n}.wav,ja\n")
    capsys.readouterr()
    assert run(command) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if ": audio = " in line or
             "more tables" in line]
    assert lines == ["part-00.csv and 33 others: audio = path, text = sentence",
                     "part-07.csv: audio = path, text = words",
                     "part-35.csv: audio = path, text = text",
                     "4 more tables have other columns; --column ROLE=NAME chooses them."]


@pytest.mark.parametrize("count", [1, 2])
def test_a_part_that_begins_at_0_is_no_mistake(tmp_path, count, capsys):
    """A label over the first second of three; a row without an offset would mean all of it."""
    speech(tmp_path / "in" / "a.wav", 3.0)
    (tmp_path / "in" / "a.csv").write_text("path,text,start,end\n" + "".join(
        f"a.wav,ja,{n},{n + 1}\n" for n in range(count)))
    assert run(["prepare", "csv", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    rows = read_manifest(tmp_path / "out" / "a.jsonl" if (tmp_path / "out/a.jsonl").exists()
                         else tmp_path / "out" / "train.jsonl")
    assert [(u.offset, u.duration) for u in rows] == (
        [(0.001, 0.999)] if count == 1 else [(0.0, 1.0), (1.0, 1.0)])
    (made,) = (tmp_path / "out").glob("*.jsonl")
    assert run(["validate", str(made)]) == 0, capsys.readouterr().out


def test_a_tier_that_is_not_there_is_answered_with_those_that_are(tmp_path, capsys):
    speech(tmp_path / "a.wav", 2.0)
    (tmp_path / "a.eaf").write_text(EAF.format(divided="", referring=""))
    command = ["prepare", "elan", str(tmp_path), str(tmp_path / "out"), "--tier", "Line"]
    assert run(command) == 2
    assert "No file has a tier 'Line' with labels; there are 'line'." in capsys.readouterr().err
