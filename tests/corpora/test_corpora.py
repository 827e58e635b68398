from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import layout_examples
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import asr.audio.probing
from asr.cli import run
from asr.corpora import CORPORA, load_corpus
from asr.corpora.collect import OUTCOMES, Candidate, Checks, collect
from asr.corpora.fsdd import leave_one_speaker_out
from asr.corpora.naming import unique_names
from asr.corpora.splitting import by_fraction, every_nth, split_everything
from asr.corpora.tables import found_path
from asr.errors import AsrError, CorpusError, UsageError
from asr.manifest import read_manifest, write_manifest
from asr.scoring.columns import label_by, read_columns

RATE = 8_000


def speech(path: Path, seconds: float = 1.0) -> Path:
    """A recording with something in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * 440 * time), RATE)
    return path


def junk(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"<html>no audio</html>")
    return path


# One small corpus a format: two good utterances, and one of each way to fail. ---------------------


def fsdd(root: Path) -> Path:
    for name in ("7_theo_0", "3_anna_12"):
        speech(root / "recordings" / f"{name}.wav")
    speech(root / "recordings" / "1_theo_1.wav", 0.05)
    speech(root / "recordings" / "1_theo_2.wav", 2.5)
    junk(root / "recordings" / "2_theo_9.wav")
    speech(root / "recordings" / "ten_theo_9.wav")
    return root


def kaldi(root: Path) -> Path:
    data = root / "train"
    data.mkdir(parents=True)
    speech(root / "WAVE" / "a.wav")
    speech(data / "b.wav")
    (data / "wav.scp").write_text(
        "a\tWAVE/a.wav\nb b.wav\nshort WAVE/short.wav\nlong WAVE/long.wav\nbad WAVE/bad.wav\n"
        "pipe touch pwned |\nark raw.ark:17\ngone WAVE/gone.wav\nmute WAVE/a.wav\n"
        "untold WAVE/a.wav\n")
    speech(root / "WAVE" / "short.wav", 0.05)
    speech(root / "WAVE" / "long.wav", 2.5)
    junk(root / "WAVE" / "bad.wav")
    (data / "text").write_text(
        "a\tYES\nb NO  NO\nshort A\nlong B\nbad C\npipe D\nark E\ngone F\nmute\nunknown G\n")
    (data / "utt2spk").write_text("a s1\nb s2\n")
    return data


def nemo(root: Path) -> Path:
    speech(root / "audio" / "a.wav")
    speech(root / "audio" / "b.wav")
    speech(root / "audio" / "short.wav", 0.05)
    speech(root / "audio" / "long.wav", 2.5)
    junk(root / "audio" / "bad.wav")
    rows = [{"audio_filepath": "audio/a.wav", "text": "yes", "duration": 1.0, "speaker": "s1"},
            {"audio_filepath": str(root / "audio" / "b.wav"), "text": "no", "lang": "en"},
            {"audio_filepath": "audio/short.wav", "text": "a"},
            {"audio_filepath": "audio/long.wav", "text": "b", "duration": 2.5},
            {"audio_filepath": "audio/bad.wav", "text": "c"},
            {"audio_filepath": "audio/gone.wav", "text": "d"},
            {"audio_filepath": "audio/a.wav", "text": "e", "duration": 9.0, "offset": 0.0},
            {"audio_filepath": "audio/a.wav", "text": " ", "duration": 0.5, "offset": 0.5},
            {"audio_filepath": 3, "text": "f"}, {"audio_filepath": "audio/a.wav"},
            {"audio_filepath": "", "text": "g"},
            {"audio_filepath": "audio/a.wav", "text": "h", "duration": "1"}]
    (root / "manifest.jsonl").write_text(
        "\ufeff" + "\r\n".join(map(json.dumps, rows)) + "\r\n{\"text\": NaN}\n", "utf-8")
    return root


def ljspeech(root: Path) -> Path:
    speech(root / "wavs" / "a.wav")
    speech(root / "wavs" / "b.flac")
    speech(root / "wavs" / "short.wav", 0.05)
    speech(root / "wavs" / "long.wav", 2.5)
    junk(root / "wavs" / "bad.wav")
    (root / "metadata.csv").write_text(
        "a|Ja.\nb|21|einundzwanzig\nshort|x\nlong|y\nbad|z\ngone|z\nmute||\n"
        "../a|z\nlonely\na|b|c|d\nbroken|\ufffd\n", "utf-8")
    return root


def librispeech(root: Path) -> Path:
    chapter = root / "LibriSpeech" / "dev-clean" / "84" / "121"
    for name, seconds in (("84-121-0000", 1.0), ("84-121-0001", 1.0), ("84-121-0002", 0.05),
                          ("84-121-0003", 2.5), ("84-121-0009", 1.0)):
        speech(chapter / f"{name}.flac", seconds)
    junk(chapter / "84-121-0004.flac")
    (chapter / "84-121.trans.txt").write_text(
        "84-121-0000 YES SIR\n84-121-0001 NO\n84-121-0002 A\n84-121-0003 B\n84-121-0004 C\n"
        "84-121-0005 GONE\n99-1-0000 WRONG\n")
    return root


def commonvoice(root: Path) -> Path:
    for name, seconds in (("a", 1.0), ("b", 1.0), ("short", 0.05), ("long", 2.5)):
        speech(root / "clips" / f"{name}.mp3", seconds)
    junk(root / "clips" / "bad.mp3")
    head = "client_id\tpath\tsentence\tup_votes\n"
    (root / "train.tsv").write_text(head + "c1\ta.mp3\tSay \"yes\"\t2\nc1\tshort.mp3\tx\t2\n"
                                    "c2\tlong.mp3\ty\t2\nc2\tbad.mp3\tz\t2\n"
                                    "c2\t../a.mp3\tz\t2\nc2\tonly\n")
    (root / "test.tsv").write_text(head + "c3\tb\tNo.\t2\nc3\tgone.mp3\tz\t2\n")
    return root


def deepspeech(root: Path) -> Path:
    rows = [("wav_filename", "wav_filesize", "transcript")]
    for name, seconds in (("a", 1.0), ("b", 1.0), ("short", 0.05), ("long", 2.5)):
        path = speech(root / "clips" / f"{name}.wav", seconds)
        rows.append((f"clips/{name}.wav", str(path.stat().st_size), f"say, \"{name}\""))
    junk(root / "clips" / "bad.wav")
    rows += [("clips/bad.wav", "", "c"), ("clips/gone.wav", "10", "d"),
             ("clips/a.wav", "many", "f"), ("a\0.wav", "1", "g"), ("clips/only.wav",)]
    with open(root / "train.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


EXAMPLES = {builder.__name__: builder for builder in (fsdd, kaldi, nemo, ljspeech, librispeech,
                                                      commonvoice, deepspeech)}
EXAMPLES |= layout_examples.EXAMPLES
# name: (utterances that the corpus lists, outcomes)
EXPECTED = {
    "fsdd": (6, {"ok": 2, "failed": 2}), "kaldi": (11, {"ok": 2, "failed": 5, "invalid_text": 2}),
    "nemo": (13, {"ok": 2, "failed": 8, "invalid_text": 1}),
    "ljspeech": (11, {"ok": 2, "failed": 5, "invalid_text": 2}),
    "librispeech": (8, {"ok": 2, "failed": 3, "invalid_text": 1}),
    "commonvoice": (8, {"ok": 2, "failed": 4}), "deepspeech": (9, {"ok": 2, "failed": 5}),
    **layout_examples.EXPECTED,
}


@pytest.fixture(params=CORPORA)
def example(request, tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    return request.param, EXAMPLES[request.param](root)


def prepared(name, src, **options):
    checks = Checks(max_seconds=2.0, extract_to=Path(src).parent / "extracted")
    return load_corpus(name).prepare(src, checks=checks, **options)


def everything(result):
    return [utterance for split in result.values() for utterance in split]


# Conformance: every corpus -----------------------------------------------------------------------


def test_every_corpus_has_an_example():
    assert list(EXAMPLES) == list(CORPORA) == list(EXPECTED)


def test_a_corpus_says_what_it_is(example):
    module = load_corpus(example[0])
    assert 10 < len(module.SUMMARY) < 80 and len(module.__doc__) > 100


def test_bad_items_are_counted_and_listed_and_stop_nothing(example, monkeypatch, tmp_path):
    name, src = example
    monkeypatch.chdir(tmp_path)
    result = prepared(name, src)
    listed, outcomes = EXPECTED[name]
    expected = dict.fromkeys(OUTCOMES, 0) | {"too_short": 1, "too_long": 1} | outcomes
    assert result.counts == expected
    assert sum(result.counts.values()) == listed, "nothing is lost"
    for item in result.excluded:
        record = item.as_record()
        assert record["stage"] == "prepare" and record["message"] and record["source"]
        assert json.dumps(record)
    assert not (tmp_path / "pwned").exists()


def test_the_good_utterances_are_complete(example, tmp_path):
    name, src = example
    result = prepared(name, src)
    utterances = everything(result)
    assert len({u.id for u in utterances}) == len(utterances) == 2
    for u in utterances:
        assert u.audio.is_absolute() and u.audio.is_file() and u.text == u.text.strip() != ""
        assert u.duration == pytest.approx(1.0, abs=0.06)   # MP3 pads to whole frames
        assert u.offset == 0.0
    for split, group in result.items():
        if group:
            write_manifest(tmp_path / f"{split}.jsonl", group)
            assert read_manifest(tmp_path / f"{split}.jsonl") == group


def test_importing_twice_gives_the_same(example):
    name, src = example
    first, second = prepared(name, src), prepared(name, src)
    assert dict(first) == dict(second) and first.excluded == second.excluded


def test_a_missing_folder_is_one_sentence(example, tmp_path):
    with pytest.raises(CorpusError, match="expected|Cannot read"):
        load_corpus(example[0]).prepare(tmp_path / "nowhere")


def test_an_empty_folder_is_one_sentence(example, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="expected|Cannot read|give the folder"):
        load_corpus(example[0]).prepare(tmp_path / "empty")


def test_the_command_writes_manifests_and_a_report(example, tmp_path, capsys):
    name, src = example
    out = tmp_path / "out"
    assert run(["prepare", name, str(src), str(out), "--max-seconds", "2"]) == 3
    captured = capsys.readouterr()
    assert captured.out == "" and "ok 2, failed" in captured.err
    assert "Left out, audio.too_long: 1 (" in captured.err and "--max-seconds" in captured.err
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert len(report["excluded"]) == EXPECTED[name][0] - 2
    manifests = sorted(out.glob("*.jsonl"))
    before = [path.read_bytes() for path in manifests]
    # Kaldi's lie in two folders above SRC, which nobody named.
    root = {"audio_root": src.parent} if name == "kaldi" else {}
    assert sum(len(read_manifest(p, **root)) for p in manifests) == 2, "no --audio-root is needed"
    assert run(["prepare", name, str(src), str(out)]) == 2
    assert "exists and was left as it is" in capsys.readouterr().err
    assert [path.read_bytes() for path in manifests] == before
    assert run(["prepare", name, str(src), str(out), "--max-seconds", "2", "--overwrite"]) == 3


# Each format -------------------------------------------------------------------------------------


def test_fsdd_official_split_and_texts(tmp_path):
    result = prepared("fsdd", fsdd(tmp_path))
    assert [(u.id, u.text, u.speaker) for u in result["test"]] == [("fsdd_7_theo_0", "seven",
                                                                    "theo")]
    assert [(u.id, u.text, u.speaker) for u in result["train"]] == [("fsdd_3_anna_12", "three",
                                                                     "anna")]


def test_fsdd_holds_a_speaker_out(tmp_path):
    result = prepared("fsdd", fsdd(tmp_path) / "recordings", hold_out="anna")
    assert {u.speaker for u in result["test"]} == {"anna"}
    assert {u.speaker for u in result["train"]} == {"theo"}
    with pytest.raises(UsageError, match="No speaker is called 'bob'; there are anna, theo"):
        prepared("fsdd", tmp_path, hold_out="bob")


def test_fsdd_folds_share_no_speaker(tmp_path):
    utterances = everything(prepared("fsdd", fsdd(tmp_path)))
    folds = list(leave_one_speaker_out(utterances))
    assert [speaker for speaker, _, _ in folds] == ["anna", "theo"]
    for speaker, train, test in folds:
        assert {u.speaker for u in test} == {speaker} and speaker not in {u.speaker for u in train}
        assert len(train) + len(test) == len(utterances)


def test_kaldi_never_runs_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = prepared("kaldi", kaldi(tmp_path))
    pipe = next(item for item in result.excluded if item.id == "pipe")
    assert "is not run" in pipe.message and not (tmp_path / "pwned").exists()
    assert [u.text for u in result["train"]] == ["YES", "NO  NO"]
    assert [u.speaker for u in result["train"]] == ["s1", "s2"]


def test_kaldi_segments(tmp_path):
    data = tmp_path / "test"
    speech(tmp_path / "long.wav", 10.0)
    data.mkdir()
    (data / "wav.scp").write_text("rec long.wav\n")
    (data / "segments").write_text("u1 rec 0.5 1.5\nu2 rec 9 -1\nu3 rec 3 2\nu4 rec 3\n"
                                   "u5 rec 9.5 30\nu6 other 0 1\n")
    (data / "text").write_text("u1 A\nu2 B\nu3 C\nu4 D\nu5 E\nu6 F\nu7 G\n")
    result = load_corpus("kaldi").prepare(tmp_path)
    assert [(u.id, u.offset, u.duration) for u in result["test"]] == [("u1", 0.5, 1.0),
                                                                      ("u2", 9.0, 1.0)]
    assert {item.id: item.code for item in result.excluded} == {
        "u3": "corpus.segment", "u4": "corpus.segment", "u5": "corpus.duration",
        "u6": "corpus.audio", "u7": "corpus.segment"}


def test_kaldi_dev_speakers_are_every_nth(tmp_path):
    data = tmp_path / "train"
    data.mkdir()
    audio = speech(tmp_path / "a.wav")
    speakers = [f"{k:04d}" for k in range(25)]
    utterances = [f"{s}-{n}" for s in speakers for n in range(2)]
    (data / "wav.scp").write_text("".join(f"{u} {audio}\n" for u in utterances))
    (data / "text").write_text("".join(f"{u} A\n" for u in utterances))
    (data / "utt2spk").write_text("".join(f"{u} {u[:4]}\n" for u in utterances))
    result = prepared("kaldi", data, dev_every=10)
    assert {u.speaker for u in result["dev"]} == {"0000", "0010", "0020"}
    assert len(result["dev"]) == 6 and len(result["train"]) == 44


def test_kaldi_lists_of_speakers_and_utterances_become_columns(tmp_path, capsys):
    data, out = kaldi(tmp_path), tmp_path / "o"
    for name, content in (("spk2age", "s1 7\ns2\t31\ns3 9\n"),
                          ("utt2lang", "b  zh \t tw\nmute en\n"), ("spk2utt", "s1 a\n"),
                          ("utt2dur", "a 1.0\n"), ("spk2", "s1 x\n")):
        (data / name).write_text(content)
    result = prepared("kaldi", data)
    assert result.columns == {"age": {"a": "7", "b": "31"}, "lang": {"b": "zh   tw"}}
    command = ["prepare", "kaldi", str(data), str(out), "--audio-root", str(tmp_path)]
    run(command)
    assert (out / "columns.tsv").read_text() == ("id\tage\tlang\na\t7\t\nb\t31\tzh tw\n"
                                                 "long\t\t\n")
    assert "columns.tsv has age, lang of the utterances" in capsys.readouterr().err
    columns = read_columns([out / "columns.tsv"], result["train"])
    assert label_by(["a", "b"], "age<18", columns) == {"a": (0.0, "below 18"),
                                                       "b": (1.0, "from 18")}
    run(command)
    assert "exists" in capsys.readouterr().err
    (data / "spk2age").unlink()
    (data / "utt2lang").unlink()
    run([*command, "--overwrite"])
    assert not (out / "columns.tsv").exists() and (out / "train.jsonl").exists()


def test_kaldi_refuses_a_repeated_id(tmp_path):
    kaldi(tmp_path)
    with open(tmp_path / "train" / "text", "a") as file:
        file.write("a AGAIN\n")
    with pytest.raises(CorpusError, match="'a' is on two lines"):
        prepared("kaldi", tmp_path)


def test_nemo_splits_keep_a_prompt_together(tmp_path):
    rows = []
    for k in range(200):
        speech(tmp_path / f"{k}.wav", 0.2)
        rows.append({"audio_filepath": f"{k}.wav", "text": f"Prompt {k % 50}{'!' * (k % 2)}",
                     "speaker": f"s{k % 7}"})
    (tmp_path / "all.json").write_text("\n".join(map(json.dumps, rows)))
    result = load_corpus("nemo").prepare(tmp_path / "all.json", checks=Checks(
        arrange=partial(split_everything, by="text", dev=0.1, test=0.2)))
    prompts = {split: {u.text.rstrip("!") for u in group} for split, group in result.items()}
    assert sum(map(len, prompts.values())) == 50, "no prompt in two splits"
    assert {split: len(group) for split, group in result.items()} == {"train": 140, "dev": 20,
                                                                      "test": 40}


def test_nemo_files_become_splits(tmp_path):
    for name in ("train_manifest.json", "manifest.dev.jsonl"):
        speech(tmp_path / f"{name}.wav")
        (tmp_path / name).write_text(json.dumps({"audio_filepath": f"{name}.wav", "text": "a"}))
    assert {k: len(v) for k, v in prepared("nemo", tmp_path).items()} == {"dev": 1, "train": 1}


def test_ljspeech_uses_the_spoken_form_and_a_fixed_dev_split(tmp_path):
    assert {u.text for u in everything(prepared("ljspeech", ljspeech(tmp_path)))} == {
        "Ja.", "einundzwanzig"}
    for k in range(30):
        speech(tmp_path / "wavs" / f"x{k:02d}.wav", 0.2)
    (tmp_path / "metadata.csv").write_text("".join(f"x{k:02d}|t\n" for k in reversed(range(30))))
    result = prepared("ljspeech", tmp_path)
    assert sorted(u.id for u in result["dev"]) == ["x00", "x10", "x20"]
    assert "dev" not in prepared("ljspeech", tmp_path, dev_every=0)


def test_commonvoice_keeps_official_splits_and_quotes(tmp_path):
    result = prepared("commonvoice", commonvoice(tmp_path))
    assert [(u.text, u.speaker) for u in result["train"]] == [('Say "yes"', "c1")]
    assert [(u.text, u.speaker) for u in result["test"]] == [("No.", "c3")]


def test_a_table_without_a_column_or_not_utf8_is_named(tmp_path):
    (tmp_path / "train.tsv").write_text("path\tsentence\n")
    with pytest.raises(CorpusError, match="has no column 'client_id'"):
        prepared("commonvoice", tmp_path)
    (tmp_path / "train.tsv").write_bytes(b"client_id\tpath\tsentence\nc\ta.mp3\t\xe4\n")
    with pytest.raises(CorpusError, match=r"train.tsv:2: byte 0xe4 is not UTF-8"):
        prepared("commonvoice", tmp_path)
    (tmp_path / "train.csv").write_text('"wav_filename\n')
    with pytest.raises(CorpusError, match="the header cannot be read"):
        prepared("deepspeech", tmp_path)


def test_a_list_that_is_no_list_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("asr.corpora.tables.MAX_TABLE_BYTES", 5)
    with pytest.raises(CorpusError, match="has more than 5 bytes"):
        prepared("ljspeech", ljspeech(tmp_path))


def test_deepspeech_reads_quoted_fields(tmp_path):
    result = prepared("deepspeech", deepspeech(tmp_path))
    assert [u.text for u in result["train"]] == ['say, "a"', 'say, "b"']
    assert any("wav_filesize must be a number" in item.message for item in result.excluded)


def test_deepspeech_keeps_a_row_with_a_stale_size(tmp_path):
    """wav_filesize sorts by length; recordings are re-encoded, the table stays."""
    for name in "abc":
        speech(tmp_path / f"{name}.wav")
    size = (tmp_path / "a.wav").stat().st_size
    (tmp_path / "train.csv").write_text(
        f"wav_filename,wav_filesize,transcript\na.wav,{size},a\nb.wav,44,b\nc.wav,45,c\n")
    with pytest.warns(UserWarning, match=r"train.csv:3: .*b.wav has 16,044 bytes, wav_filesize "
                                         r"says 44. It is used.* 1 more like it") as caught:
        result = prepared("deepspeech", tmp_path)
    assert [u.text for u in result["train"]] == ["a", "b", "c"] and not result.excluded
    assert len(caught) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a backslash separates folders there")
@pytest.mark.parametrize(("corpus", "audio", "page", "text"), [
    ("deepspeech", "sub/clip.wav", "train.csv",
     "wav_filename,wav_filesize,transcript\nsub\\clip.wav,,yes\n"),
    ("deepspeech", "sub/clip.wav", "csv/train.csv",
     "wav_filename,wav_filesize,transcript\n..\\sub\\clip.wav,,yes\n"),
    ("commonvoice", "clips/sub/clip.wav", "train.tsv",
     "client_id\tpath\tsentence\nc\tsub\\clip.wav\tyes\n"),
    ("nemo", "sub/clip.wav", "train.jsonl",
     '{"audio_filepath": "sub\\\\clip.wav", "text": "yes"}\n'),
    ("kaldi", "sub/clip.wav", "train/wav.scp", "u sub\\clip.wav\n")])
def test_paths_written_on_windows_are_found(tmp_path, corpus, audio, page, text):
    source = tmp_path / "back\\slash"   # the folder itself may have one in its name
    speech(source / audio)
    (source / page).parent.mkdir(exist_ok=True)
    (source / page).write_text(text, "utf-8")
    if corpus == "kaldi":
        (source / "train/text").write_text("u yes\n", "utf-8")
    result = prepared(corpus, (source / page).parent)
    (utterance,) = everything(result)
    assert utterance.audio.samefile(source / audio) and not result.excluded
    (source / audio).rename(source / "a\\b.wav")   # an existing name is never read in another way
    assert found_path(source / "a\\b.wav") == source / "a\\b.wav"
    (excluded,) = prepared(corpus, (source / page).parent).excluded
    assert excluded.code == "audio.missing" and "\\clip.wav" in excluded.path


def test_a_quote_that_nobody_closes_costs_one_row(tmp_path):
    for name in "abcd":
        speech(tmp_path / f"{name}.wav")
    (tmp_path / "train.csv").write_text('wav_filename,wav_filesize,transcript\r\na.wav,,a\r\n'
                                        'b.wav,,"b\r\nc.wav,,c\r\nd.wav,,"d"\r\n', newline="")
    result = prepared("deepspeech", tmp_path)
    assert [u.id for u in result["train"]] == ["a", "c", "d"]
    assert [(x.code, x.source) for x in result.excluded] == [("corpus.row", "train.csv:3")]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX names")
@pytest.mark.parametrize(("corpus", "audio", "page", "text"), [
    ("ljspeech", "wavs/größe.wav", "metadata.csv", "größe|süß\n"),
    ("kaldi", "größe.wav", "train/wav.scp", "u größe.wav\n"),
    ("nemo", "größe.wav", "train.jsonl", '{"audio_filepath": "größe.wav", "text": "süß"}\n'),
    ("commonvoice", "clips/größe.wav", "train.tsv",
     "client_id\tpath\tsentence\nc\tgröße.wav\tsüß\n"),
    ("deepspeech", "größe.wav", "train.csv",
     "wav_filename,wav_filesize,transcript\ngröße.wav,,süß\n")])
def test_names_in_lists_are_utf_8_whatever_the_locale(tmp_path, corpus, audio, page, text):
    """P6: the locale C, with Python's own remedies for it switched off."""
    source = tmp_path / "Wörter"
    speech(source / audio)
    (source / page).parent.mkdir(exist_ok=True)
    (source / page).write_text(text, "utf-8")
    if corpus == "kaldi":
        (source / "train/text").write_text("u süß\n", "utf-8")
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-m", "asr", "prepare", corpus, str(source),
                           str(tmp_path / "out"), "--jobs", "1"], env=env, capture_output=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    assert "udc" not in done.stderr.decode("utf-8")
    (manifest,) = (tmp_path / "out").glob("*.jsonl")
    (utterance,) = read_manifest(manifest, audio_root=source)
    assert (utterance.audio, utterance.text) == (source / audio, "süß")


# Shared parts ------------------------------------------------------------------------------------


def test_an_unknown_corpus_is_an_error_with_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean librispeech"):
        load_corpus("libri-speech")


def test_a_repeated_id_and_bad_names_are_listed(tmp_path):
    audio = speech(tmp_path / "a.wav")
    items = [Candidate("train", "a", audio, "yes", "list:1"),
             Candidate("test", "a", audio, "no", "list:2"),
             Candidate("train", "b\x1b", audio, "no", "list:3"),
             Candidate("train", "c", audio, "no", "list:4", speaker="x\ny"),
             Candidate("train", "", audio, "no", "list:5")]
    result = collect(items, Checks())
    assert [item.code for item in result.excluded] == ["corpus.duplicate_id"] + 3 * ["corpus.name"]
    assert "already that of list:1" in result.excluded[0].message


def test_progress_reaches_the_total(tmp_path):
    calls = []
    items = [Candidate("train", str(k), speech(tmp_path / f"{k}.wav"), "a", "") for k in range(3)]
    collect(items, Checks(progress=lambda done, total: calls.append((done, total))))
    assert calls == [(1, 3), (2, 3), (3, 3)]


CANDIDATES = st.lists(st.builds(
    lambda k, text, speaker: Candidate("train", f"u{k}", Path("/x"), f"t{text}", "", f"s{speaker}"),
    st.integers(0, 10_000), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=60,
    unique_by=lambda c: c.id)


@given(items=CANDIDATES, by=st.sampled_from(["text", "speaker", "utterance"]),
       share=st.floats(0.01, 0.5), seed=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_split_separates_groups_and_ignores_order(items, by, share, seed):
    key = {"text": lambda c: c.text, "speaker": lambda c: c.speaker, "utterance": lambda c: c.id}
    if len({key[by](c) for c in items}) == 1:
        with pytest.raises(UsageError, match="is 1 group, and none may be divided"):
            by_fraction(items, {"dev": share}, by=by)
        return
    split = by_fraction(items, {"dev": share}, by=by)
    groups = {name: {key[by](c) for c in split if c.split == name} for name in ("train", "dev")}
    assert not groups["train"] & groups["dev"]
    assert sorted(c.id for c in split) == sorted(c.id for c in items)
    assert groups["train"] and groups["dev"]
    shuffled = list(items)
    seed.shuffle(shuffled)
    assert {c.id: c.split for c in by_fraction(shuffled, {"dev": share}, by=by)} == \
        {c.id: c.split for c in split}


def test_impossible_splits_are_errors():
    items = [Candidate("train", "a", Path("/x"), "t", "list:1", ""),
             Candidate("dev", "b", Path("/x"), "t", "list:2", "s")]
    with pytest.raises(UsageError, match="60 % for test and 40 % for more leave nothing"):
        by_fraction(items, {"test": 0.6, "more": 0.4}, by="text")
    with pytest.raises(UsageError, match="has its own split 'dev'"):
        by_fraction(items, {"dev": 0.1}, by="text")
    with pytest.raises(UsageError, match="'a' has no speaker"):
        every_nth(items, 10, by="speaker", to="test")
    with pytest.raises(UsageError, match="Cannot split by 'colour'"):
        every_nth(items, 10, by="colour")
    with pytest.raises(UsageError, match="give 2 or more"):
        every_nth(items, 1, by="text")


def test_names_are_as_short_as_they_can_be():
    assert unique_names(["a/x.wav", "a/y.wav", "b/y.wav", "c/z.wav", "c/z.ogg"]) == {
        "a/x.wav": "x", "a/y.wav": "a/y", "b/y.wav": "b/y", "c/z.wav": "c/z.wav",
        "c/z.ogg": "c/z.ogg"}


def test_processes_see_what_one_process_sees(tmp_path):
    paths = [speech(tmp_path / f"{k}.wav", 0.2) for k in range(5)] + [junk(tmp_path / "bad.wav")]
    alone = asr.audio.probing.probe_all(paths, hashes=True, decode=True, num_workers=1)
    together = asr.audio.probing.probe_all(paths, hashes=True, decode=True, num_workers=2)
    assert {p: (r.info, r.sha256) for p, r in alone.items()} == \
        {p: (r.info, r.sha256) for p, r in together.items()}
    bad = together[tmp_path / "bad.wav"].error
    assert bad is not None and bad.code == alone[tmp_path / "bad.wav"].error.code
    assert bad.path == str(tmp_path / "bad.wav")


def _die(path, **_):
    os.kill(os.getpid(), 9)


def test_a_killed_process_is_an_error_and_no_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(asr.audio.probing, "_probe", _die)
    with pytest.raises(AsrError, match="was killed"):
        asr.audio.probing.probe_all([tmp_path / "a.wav", tmp_path / "b.wav"], num_workers=2)


# The command -------------------------------------------------------------------------------------


def test_an_option_of_another_corpus_is_refused(tmp_path, capsys):
    src, out = str(fsdd(tmp_path)), str(tmp_path / "o")
    assert run(["prepare", "fsdd", src, out, "--dev-every", "3"]) == 2
    assert "No such option '--dev-every'" in capsys.readouterr().err


def test_only_utterances_of_some_words(tmp_path, capsys):
    for name in ("7_theo_0", "7_theo_9", "3_theo_9"):
        speech(tmp_path / "recordings" / f"{name}.wav")
    prefix = ["prepare", "fsdd", str(tmp_path)]
    assert run([*prefix, str(tmp_path / "a"), "--only-words", "Seven, EIGHT!"]) == 0
    assert [u.id for u in read_manifest(tmp_path / "a" / "train.jsonl", audio_root=tmp_path)] == [
        "fsdd_7_theo_9"]
    assert (tmp_path / "a" / "test.jsonl").exists()
    assert run([*prefix, str(tmp_path / "b"), "--only-words", "nine"]) == 4
    assert "consists of the words 'nine' alone" in capsys.readouterr().err
    assert run([*prefix, str(tmp_path / "c"), "--only-words", "?"]) == 2
    assert "holds no word" in capsys.readouterr().err


def test_a_file_where_the_manifests_should_go_is_refused_before_the_import(tmp_path, capsys):
    (tmp_path / "out").touch()
    assert run(["prepare", "fsdd", str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 2
    assert "which is a file; name a folder" in capsys.readouterr().err


def test_overwriting_an_import_leaves_no_split_of_the_earlier_one(tmp_path, capsys):
    """What was dev once is train now: a dev.jsonl that stays would be a leak."""
    source, out = str(ljspeech(tmp_path / "src")), tmp_path / "out"
    run(["prepare", "ljspeech", source, str(out), "--jobs", "1"])
    kept = {"train.jsonl", "report.json", "audio_root.json"}
    assert {p.name for p in out.iterdir()} == {*kept, "dev.jsonl"}
    (out / "mine.jsonl").write_text("stays")
    run(["prepare", "ljspeech", source, str(out), "--jobs", "1", "--dev-every", "0", "--overwrite"])
    assert {p.name for p in out.iterdir()} == {*kept, "mine.jsonl"}
    assert f"{out / 'dev.jsonl'}: removed" in capsys.readouterr().err


def test_a_clean_import_exits_with_0(tmp_path, capsys):
    speech(tmp_path / "recordings" / "7_theo_0.wav")
    assert run(["prepare", "fsdd", str(tmp_path), str(tmp_path / "out")]) == 0
    assert "audio_root.json says so" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out")
    assert run(["prepare", "fsdd", str(tmp_path), str(tmp_path)]) == 0
    assert "audio_root" not in capsys.readouterr().err
    assert not (tmp_path / "audio_root.json").exists()


def test_a_corpus_without_a_usable_recording_is_an_error(tmp_path, capsys):
    junk(tmp_path / "recordings" / "7_theo_0.wav")
    assert run(["prepare", "fsdd", str(tmp_path), str(tmp_path / "out")]) == 4
    assert "No utterance of" in capsys.readouterr().err
    assert (tmp_path / "out" / "report.json").is_file()


# Real recordings ---------------------------------------------------------------------------------


def test_the_real_corpora(shared_data):
    official = load_corpus("fsdd").prepare(shared_data / "fsdd")
    assert (len(official["train"]), len(official["test"])) == (2_250, 250)
    read = load_corpus("kaldi").prepare(shared_data / "speechocean762" / "train", dev_every=10)
    assert (len(read["train"]), len(read["dev"])) == (2_240, 260)
    assert len({u.speaker for u in read["dev"]}) == 13
    german = load_corpus("ljspeech").prepare(shared_data / "kerstin")
    assert (len(german["train"]), len(german["dev"])) == (1_236, 138)
    for result in (official, read, german):
        assert result.excluded == []


def test_the_first_word_of_a_long_clip(tmp_path, rng):
    """A word, silence, and the start of the next word: what voice-activated recording leaves."""
    from asr.corpora import fsdd as corpus
    folder = tmp_path / "recordings"
    folder.mkdir()
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(3_200) / 8_000)
    for take, (start, hum) in enumerate(((0, 0.0), (4_000, 0.1))):
        audio = 0.002 * rng.standard_normal(24_000)
        audio += hum * np.sin(2 * np.pi * 50 * np.arange(24_000) / 8_000)
        audio[start:start + 3_200] += tone
        audio[23_000:] += tone[:1_000]
        soundfile.write(folder / f"7_jason_{take + 5}.flac", audio, 8_000)
    soundfile.write(folder / "8_jason_9.flac", np.zeros(24_000), 8_000)
    found = corpus.prepare(tmp_path, trim_db=6.0)
    first, second = found["train"]
    assert (first.offset, first.duration) == (0.001, pytest.approx(0.51, abs=0.03))
    assert second.offset == pytest.approx(0.4, abs=0.03)
    assert second.duration == pytest.approx(0.61, abs=0.05)
    assert [item.code for item in found.excluded] == ["corpus.silent"]
    assert [u.duration for u in corpus.prepare(tmp_path)["train"]] == [3, 3, 3]
