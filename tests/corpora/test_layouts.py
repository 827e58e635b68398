"""From a folder of recordings to manifests: layouts, splits, what is said, what is trusted."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from layout_examples import EXAMPLES, eaf, folder, speech

from asr.audio import load_utterance
from asr.cli import run
from asr.corpora import load_corpus
from asr.corpora.collect import Checks
from asr.corpora.columns import guess_columns, seconds
from asr.errors import ManifestError, UsageError
from asr.manifest import read_manifest, scan_manifest
from asr.manifest.roots import RECORD
from asr.transcript.praat import textgrid as praat

GOOD = {"folder": {"Yes, sir.", "no"}, "csv": {"Yes, sir.", "no"}, "textgrid": {"Yes, sir.", "n’o"},
        "elan": {"Yes, sir.", "n’o"}, "audacity": {"Yes, sir.", "no"},
        "subtitles": {"Yes, sir.", "no & yes"}, "huggingface": {"Yes, sir.", "no"},
        "lhotse": {"Yes, sir.", "no"}, "webdataset": {"Yes, sir.", "no"}}
SPEAKERS = {"folder": {"anna", "Benjamin"}, "csv": {"anna", "ben"}, "textgrid": {"anna", "ben"},
            "elan": {"AN", "ben"}, "audacity": {"anna", "ben"}, "subtitles": {"anna", "Benjamin"},
            "huggingface": {"anna", "ben"}, "lhotse": {"anna"}, "webdataset": {"anna", ""}}


@pytest.mark.parametrize("name", EXAMPLES)
def test_texts_and_speakers(name, tmp_path):
    src = EXAMPLES[name](tmp_path / "corpus")
    result = load_corpus(name).prepare(src, checks=Checks(max_seconds=2.0,
                                                          extract_to=tmp_path / "out"))
    assert list(result) == ["train"]
    assert {u.text for u in result["train"]} == GOOD[name]
    assert {u.speaker for u in result["train"]} == SPEAKERS[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_wrong_layout_names_the_right_one(name, tmp_path, capsys):
    src = EXAMPLES[name](tmp_path / "corpus")
    assert run(["prepare", "librispeech", str(src), str(tmp_path / "out")]) == 4
    said = capsys.readouterr().err
    if name == "csv":   # a file is no folder, whatever is in it
        assert "is not a folder" in said
    assert f"It looks like the layout {name}: asr prepare {name} {src}" in said


def test_help_lists_every_layout_and_shows_its_folder(capsys):
    assert run(["prepare", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name}" in out for name in EXAMPLES)
    assert run(["prepare", "webdataset", "--help"]) == 0
    out = capsys.readouterr().out
    assert "train-000000.tar    0001.flac" in out and "asr prepare webdataset" in out


# Tiers, columns, channels ------------------------------------------------------------------------


def talk(root, tiers) -> None:
    speech(root / "talk.wav", 4.0, 2)
    (root / "talk.TextGrid").write_text(praat(tiers, 4.0), "utf-8")


def test_tiers_are_speakers_and_channels(tmp_path):
    talk(tmp_path, {"A": [(0.0, 1.0, "yes")], "B": [(1.0, 2.5, "no")]})
    with pytest.raises(UsageError, match="has the tiers A, B; name the one.*--tier 'A'"):
        load_corpus("textgrid").prepare(tmp_path)
    with pytest.raises(UsageError, match="No file has a tier 'C'"):
        load_corpus("textgrid").prepare(tmp_path, tiers=("A", "C"))
    result = load_corpus("textgrid").prepare(tmp_path, tiers=("A", "B"), checks=Checks(channel=-1))
    rows = result["train"]
    assert [(u.text, u.speaker, u.channel, u.offset, u.duration) for u in rows] == [
        ("yes", "A", 1, 0.0, 1.0), ("no", "B", 2, 1.0, 1.5)]
    assert result.notes == ["Tiers: A (1 label), B (1 label)"]
    peaks = [np.abs(np.fft.rfft(load_utterance(u, sample_rate=8_000))).argmax() / u.duration
             for u in rows]
    assert peaks == pytest.approx([440, 880], abs=2), "each row is heard on its own channel"


def test_a_channel_that_is_not_there_is_counted(tmp_path):
    folder(tmp_path)
    result = load_corpus("folder").prepare(tmp_path, checks=Checks(channel=2))
    assert {item.code for item in result.excluded} >= {"audio.channel"} and not result["train"]


def test_annotations_without_times_have_those_they_refer_to(tmp_path):
    speech(tmp_path / "a.wav", 2.0)
    (tmp_path / "a.eaf").write_text(eaf([(0.0, 0.5, "yes"), (0.5, 1.5, "no")]))
    rows = load_corpus("elan").prepare(tmp_path, tiers=("gloss",))["train"]
    assert [(u.text, u.offset, u.duration) for u in rows] == [("gloss 0", 0.0, 0.5),
                                                              ("gloss 1", 0.5, 1.0)]


def test_a_dtd_is_refused(tmp_path):
    speech(tmp_path / "a.wav")
    (tmp_path / "a.eaf").write_text('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    result = load_corpus("elan").prepare(tmp_path)
    assert [item.code for item in result.excluded] == ["annotation.eaf"]


def test_columns_are_guessed_shown_and_named(tmp_path, capsys):
    speech(tmp_path / "a.wav", 3.0, 2)
    (tmp_path / "t.csv").write_text("rec;words said;start_ms;end_ms;channel;Set\n"
                                    "a.wav;yes;500;1500;2;dev\na.wav;no;0;9;;x/../y\n")
    assert run(["prepare", "csv", str(tmp_path), str(tmp_path / "o")]) == 2
    assert "--column audio=NAME, with one of rec, words said" in capsys.readouterr().err
    assert run(["prepare", "csv", str(tmp_path), str(tmp_path / "o"), "--column", "audio=rec",
                "--column", "text=words said"]) == 3
    assert "t.csv: audio = rec, text = words said, split = Set, start = start_ms, end = end_ms" in \
        capsys.readouterr().err
    row, = read_manifest(tmp_path / "o" / "dev.jsonl")
    assert (row.offset, row.duration, row.channel, row.text) == (0.5, 1.0, 2, "yes")
    assert sorted(p.name for p in tmp_path.rglob("*.jsonl")) == ["dev.jsonl"], "no path as a split"


def test_a_role_or_column_that_is_not_there():
    with pytest.raises(UsageError, match="expected ROLE=NAME with a role of audio, text"):
        guess_columns(["path", "text"], ["colour=path"])
    with pytest.raises(ValueError, match="expected seconds"):
        seconds({"start": "soon"}, "start")
    assert seconds({"end_ms": "1500"}, "end_ms") == 1.5


# Splits ------------------------------------------------------------------------------------------


def speakers(root, count: int, each: int = 5):
    for who in range(count):
        for n in range(each):
            speech(root / f"s{who}" / f"{n}.wav", 0.2)
            (root / f"s{who}" / f"{n}.txt").write_text(f"text {n % 3}")
    return root


def test_splits_divide_no_speaker_and_end_with_a_table(tmp_path, capsys):
    src, out = speakers(tmp_path / "in", 10), tmp_path / "out"
    assert run(["prepare", "folder", str(src), str(out), "--split", "speaker", "--dev", "10%",
                "--test", "20%"]) == 0
    rows = {split: read_manifest(out / f"{split}.jsonl") for split in ("train", "dev", "test")}
    assert [len(group) for group in rows.values()] == [35, 5, 10]
    who = [{u.speaker for u in group} for group in rows.values()]
    assert sum(map(len, who)) == 10
    table = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert ["split", "hours", "utterances", "speakers", "characters"] in table
    assert ["dev", "0.00", "5", "1", "6"] in table


def test_one_big_speaker_stays_in_training(tmp_path):
    src = speakers(tmp_path / "in", 6, each=2)
    for n in range(20):
        speech(src / "big" / f"{n}.wav", 0.2)
        (src / "big" / f"{n}.txt").write_text("yes")
    assert run(["prepare", "folder", str(src), str(tmp_path / "o"), "--dev", "0.1"]) == 0
    assert {u.speaker for u in read_manifest(tmp_path / "o" / "train.jsonl")} >= {"big"}


@pytest.mark.parametrize("arguments, words", [
    (["--dev", "10%", "--test", "10%"], "are 2 groups, and none may be divided"),
    (["--split", "speaker"], "needs shares"), (["--dev", "many"], "is no share"),
    (["--dev", "60%", "--test", "60%"], "leave nothing for train"),
    (["--channel", "middle"], "is no channel"),
    (["--channel", "each"], "is for layouts with a tier for each speaker")])
def test_splits_that_cannot_be(tmp_path, capsys, arguments, words):
    src = speakers(tmp_path / "in", 2)
    assert run(["prepare", "folder", str(src), str(tmp_path / "o"), *arguments]) == 2
    assert words in capsys.readouterr().err


# A manifest works alone, and a stranger's reaches nothing ----------------------------------------


def imported(tmp_path):
    src, out = speakers(tmp_path / "in", 2), tmp_path / "data" / "deep"
    assert run(["prepare", "folder", str(src), str(out)]) == 0
    return src, out


def test_a_prepared_manifest_works_alone(tmp_path, capsys):
    _, out = imported(tmp_path)
    assert len(read_manifest(out / "train.jsonl")) == 10
    assert run(["validate", str(out / "train.jsonl")]) == 0


@pytest.mark.parametrize("change", [
    lambda record: record | {"audio_roots": ["/"]}, lambda record: record | {"signature": "0" * 64},
    lambda record: record | {"signature": 7}, lambda record: {"audio_roots": ["/"]},
    lambda record: record | {"audio_roots": "/"}, lambda record: []])
def test_a_record_that_this_user_did_not_write_is_not_believed(tmp_path, change):
    _, out = imported(tmp_path)
    record = json.loads((out / RECORD).read_text())
    (out / RECORD).write_text(json.dumps(change(record)))
    with pytest.raises(ManifestError, match="outside of .*audio_root.json (was|cannot)") as error:
        read_manifest(out / "train.jsonl")
    assert error.value.code == "manifest.path_escape"


def test_another_users_record_is_not_believed(tmp_path, monkeypatch):
    _, out = imported(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    with pytest.raises(ManifestError, match="was not written by this user"):
        read_manifest(out / "train.jsonl")
    assert not (tmp_path / "other").exists(), "reading makes no key"


def test_a_record_opens_its_own_folder_and_no_other(tmp_path):
    src, out = imported(tmp_path)
    rows = (out / "train.jsonl").read_text().splitlines()
    row = json.loads(rows[0])
    speech(tmp_path / "secret.wav")
    (src / "link.wav").symlink_to(tmp_path / "secret.wav")
    for path in (tmp_path / "secret.wav", src / "link.wav"):
        (out / "other.jsonl").write_text(json.dumps(row | {"audio_filepath": str(path)}) + "\n")
        assert [p.code for p in scan_manifest(out / "other.jsonl")[1]] == ["manifest.path_escape"]


def test_without_a_place_for_the_key_the_root_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    src, out = speakers(tmp_path / "in", 2), tmp_path / "out"
    assert run(["prepare", "folder", str(src), str(out)]) == 0
    assert f"use the manifests with --audio-root {os.path.realpath(src)}" in capsys.readouterr().err
    assert len(read_manifest(out / "train.jsonl", audio_root=src)) == 10


def test_recordings_that_were_not_named_need_their_root(tmp_path, capsys):
    audio = speech(tmp_path / "elsewhere" / "a.wav")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "t.csv").write_text(f"path,text\n{audio},yes\n")
    command = ["prepare", "csv", str(tmp_path / "list"), str(tmp_path / "out")]
    assert run(command) == 0
    assert f"--audio-root {audio.parent}" in capsys.readouterr().err
    with pytest.raises(ManifestError, match="outside of"):
        read_manifest(tmp_path / "out" / "train.jsonl")
    assert run([*command, "--overwrite", "--audio-root", str(audio.parent)]) == 0
    assert len(read_manifest(tmp_path / "out" / "train.jsonl")) == 1


def test_paths_are_looked_for_below_the_audio_root(tmp_path):
    speech(tmp_path / "audio" / "x" / "a.wav")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "t.csv").write_text("path,text\nx/a.wav,yes\n")
    assert run(["prepare", "csv", str(tmp_path / "list"), str(tmp_path / "out"), "--audio-root",
                str(tmp_path / "audio")]) == 0
    assert len(read_manifest(tmp_path / "out" / "train.jsonl")) == 1


# What the texts hold -----------------------------------------------------------------------------


def test_what_the_normaliser_drops_is_said(tmp_path, capsys):
    for n in range(12):
        speech(tmp_path / "in" / f"{n}.wav", 0.2)
        (tmp_path / "in" / f"{n}.txt").write_text("o' mana ka:na, haʼ", "utf-8")
    assert run(["prepare", "folder", str(tmp_path / "in"), str(tmp_path / "o")]) == 0
    said = capsys.readouterr().err
    assert "The normaliser basic drops:" in said and "' 12" in said and ", 12" in said
    assert '\' may be a letter here: 12 words' in said and 'text.normalizer = "marks"' in said
    assert "ʼ" not in said, "a modifier letter stays"


def test_parquet_with_audio_inside(tmp_path, capsys):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is the extra keras-asr[parquet]")
    from pyarrow import parquet

    good = speech(tmp_path / "raw" / "a.flac").read_bytes()
    (tmp_path / "in" / "data").mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist([
        {"audio": {"bytes": good, "path": "a.flac"}, "sentence": "Ja.", "client_id": 7},
        {"audio": {"bytes": b"no audio", "path": "../../b.wav"}, "sentence": "x", "client_id": 8},
        {"audio": {"bytes": None, "path": "/etc/passwd"}, "sentence": "x", "client_id": 8},
        {"audio": {"bytes": None, "path": None}, "sentence": "x", "client_id": 8},
        {"audio": {"bytes": good, "path": None}, "sentence": None, "client_id": 8}]),
        tmp_path / "in" / "data" / "validation-00000-of-00001.parquet")
    out = tmp_path / "out"
    assert run(["prepare", "huggingface", str(tmp_path / "in"), str(out)]) == 3
    row, = read_manifest(out / "validation.jsonl")
    assert (row.text, row.speaker) == ("Ja.", "7") and row.audio.read_bytes() == good
    assert row.audio.is_relative_to(out / "audio")
    assert "ok 1, failed 3, too short 0, too long 0, invalid text 1" in capsys.readouterr().err
    (tmp_path / "in" / "data" / "x.parquet").write_bytes(b"PAR1 and no more")
    assert run(["prepare", "huggingface", str(tmp_path / "in"), str(tmp_path / "o2")]) == 4
    assert "cannot be read as parquet" in capsys.readouterr().err


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.parquet").touch()
    assert run(["prepare", "huggingface", str(tmp_path / "in"), str(tmp_path / "out")]) == 4
    assert "pip install 'keras-asr[parquet]'" in capsys.readouterr().err


def test_kaldi_recordings_in_a_folder_beside_are_found(tmp_path):
    speech(tmp_path / "corpus" / "WAVE" / "a" / "1.wav")
    data = tmp_path / "corpus" / "train"
    data.mkdir()
    (data / "wav.scp").write_text("u1 WAVE/a/1.wav\n")
    (data / "text").write_text("u1 YES\n")
    assert run(["prepare", "kaldi", str(data), str(tmp_path / "o")]) == 0
    assert len(read_manifest(tmp_path / "o" / "train.jsonl")) == 1
    roots = json.loads((tmp_path / "o" / RECORD).read_text())["audio_roots"]
    assert roots == [str(tmp_path / "corpus" / "WAVE" / "a")], "no more than what holds them"
    speech(tmp_path / "corpus" / "b.wav")
    (data / "wav.scp").write_text("u1 b.wav\n")
    assert run(["prepare", "kaldi", str(data), str(tmp_path / "p")]) == 0
    assert not (tmp_path / "p" / RECORD).exists(), "the folder that holds both was not named"
