"""Evaluation: utterances in = utterances scored + failed, and nothing is lost on the way."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_bundle import FEATURES, write_bundle

from asr.cli import run
from asr.errors import AudioError, DataError, UsageError
from asr.evaluation import evaluate, hash_manifests
from asr.files import sha256_file
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.recognizer import load
from asr.scoring import score

RATE = FEATURES.sample_rate


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr")


@pytest.fixture(scope="module")
def recognizer(bundle):
    return load(bundle)


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Five recordings of two speakers, the last of them silent; one holds two utterances."""
    rng = np.random.default_rng(0)
    utterances = []
    for number, seconds in enumerate((0.6, 0.4, 1.1, 0.8, 0.5)):
        path = tmp_path / f"{number}.wav"
        audio = 0.1 * rng.normal(size=int(seconds * RATE)) if number < 4 else np.zeros(RATE // 2)
        soundfile.write(path, audio, RATE)
        utterances.append(Utterance(f"u{number}", path, "bad cab fed", seconds,
                                    speaker=f"s{number % 2}"))
    first = utterances[2]
    utterances[2:3] = [replace(first, id="u2a", duration=0.5),
                       replace(first, id="u2b", offset=0.5, duration=0.6)]
    write_manifest(tmp_path / "test.jsonl", utterances)
    return tmp_path / "test.jsonl"


def asr(capsys, *arguments) -> tuple[int, str, str]:
    code = run([os.fspath(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_every_utterance_is_scored_and_silence_is_all_deletions(recognizer, manifest, monkeypatch):
    monkeypatch.setattr("asr.inference.loop.GROUP_SECONDS", 0.7)  # several chunks
    utterances = read_manifest(manifest)
    seen = []
    result = evaluate(recognizer, utterances, progress=lambda done, total: seen.append(done))
    assert result.score.receipt.utterances == len(utterances) == 6
    assert seen[-1] == 6 and seen == sorted(seen) and len(seen) > 2
    texts = {u.id: recognizer.transcribe(u.audio).text for u in utterances
             if not u.id.startswith("u2")}
    rows = {row.id: row for row in result.score.rows}
    for name, text in texts.items():
        assert rows[name].hypothesis == text
    assert rows["u4"].hypothesis == "" and rows["u4"].words.deletions == 3
    assert rows["u2a"].hypothesis != rows["u2b"].hypothesis
    again = score({u.id: u.text for u in utterances},
                  {name: row.hypothesis for name, row in rows.items()}, normalizer="none")
    assert result.wer == again.wer and result.cer == again.cer


def test_order_and_chunks_change_nothing(recognizer, manifest, monkeypatch):
    utterances = read_manifest(manifest)
    once = evaluate(recognizer, utterances)
    monkeypatch.setattr("asr.inference.loop.GROUP_SECONDS", 0.1)
    other = evaluate(recognizer, utterances[::-1])
    assert once.wer == other.wer
    assert ({r.id: r.hypothesis for r in once.score.rows}
            == {r.id: r.hypothesis for r in other.score.rows})


def test_what_cannot_be_used_stops_with_its_id_or_is_listed(recognizer, manifest):
    utterances = read_manifest(manifest)
    utterances[1].audio.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"^Utterance 'u1': .*1\.wav.* With on-error skip it is "
                                         "listed and the others are scored.$") as error:
        evaluate(recognizer, utterances)
    assert error.value.code == "audio.header"
    result = evaluate(recognizer, utterances, on_error="skip")
    assert [record["id"] for record in result.failed] == ["u1"]
    assert result.score.receipt.utterances + len(result.failed) == len(utterances)


def test_arguments_that_cannot_be(recognizer, manifest):
    utterances = read_manifest(manifest)
    with pytest.raises(UsageError, match="on_error is 'hide'; choose fail or skip"):
        evaluate(recognizer, utterances, on_error="hide")
    with pytest.raises(DataError, match="ids repeat"):
        evaluate(recognizer, [*utterances, utterances[0]])
    with pytest.raises(UsageError, match="normaliser 'loud'"):
        evaluate(recognizer, utterances, normalizer="loud")
    with pytest.raises(DataError):
        evaluate(recognizer, [])
    with pytest.raises(DataError):
        evaluate(recognizer, [replace(u, text="") for u in utterances])


def test_the_hash_of_manifests_is_of_their_bytes_in_order(manifest):
    other = manifest.with_name("other.jsonl")
    other.write_bytes(b"x")
    assert hash_manifests([manifest]) == sha256_file(manifest)
    assert hash_manifests([manifest, other]) != hash_manifests([other, manifest])


def test_the_command_writes_rows_and_receipt(capsys, bundle, manifest, tmp_path):
    code, out, err = asr(capsys, "evaluate", bundle, manifest, "--output-dir", tmp_path / "new/out",
                         "--report", tmp_path / "page.html")
    assert code == 0
    assert out.startswith("WER ") and "6 utterances, 2 speakers, 18 words" in out
    rows = [json.loads(line) for line in
            (tmp_path / "new/out/utterances.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["u0", "u1", "u2a", "u2b", "u3", "u4"]
    saved = json.loads((tmp_path / "new/out/score.json").read_text(encoding="utf-8"))
    direct = evaluate(load(bundle), read_manifest(manifest))
    assert (saved["wer"], saved["failed"]) == (pytest.approx(direct.wer), [])
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert err.count("written: ") >= 3
    for option, place in (("--output-dir", tmp_path / "new/out"),
                          ("--report", tmp_path / "page.html")):
        code, out, err = asr(capsys, "evaluate", bundle, manifest, option, place)
        assert (code, out) == (2, "") and "exists and is kept" in err
    code, _, err = asr(capsys, "evaluate", bundle, manifest, "--output-dir", tmp_path / "new/out",
                       "--overwrite")
    assert code == 0 and "written: " in err


def test_groups_by_columns_of_the_manifest_and_of_a_table(capsys, bundle, manifest, tmp_path):
    table = tmp_path / "table.tsv"
    table.write_text("id\tnoise\n" + "".join(f"{name}\tcafe\n" for name in ("u0", "u1", "u3")))
    code, out, _ = asr(capsys, "evaluate", bundle, manifest, "--by", "speaker", "--by", "noise",
                       "--columns", table, "--report", tmp_path / "page.html")
    assert code == 0
    by_speaker, by_noise = (part.splitlines() for part in out.split("\n\n")[1:])
    assert by_speaker[0].split() == ["speaker", "utterances", "words", "WER"]
    assert len(by_speaker) == 3 and {line.split()[0] for line in by_noise[1:]} == {
        "cafe", "(unknown)"}
    assert "By noise" in (tmp_path / "page.html").read_text(encoding="utf-8")
    code, out, _ = asr(capsys, "evaluate", bundle, manifest, "--by", "speaker", "--json")
    groups = json.loads(out)["groups"]["speaker"]
    assert sum(group["utterances"] for group in groups) == 6
    code, out, err = asr(capsys, "evaluate", tmp_path / "none.asr", manifest, "--by", "accent")
    assert (code, out) == (4, "")  # before the model is loaded
    assert "expected one of: duration, speaker" in err


def test_non_speech_is_dropped_on_both_sides(capsys, bundle, manifest):
    rows = manifest.read_text(encoding="utf-8").splitlines()
    first = json.loads(rows[0])
    first["text"] = f"[noise] {first['text']} <unk>"
    manifest.write_text("\n".join([json.dumps(first), *rows[1:]]) + "\n", encoding="utf-8")
    words = [json.loads(asr(capsys, "evaluate", bundle, manifest, "--json", *more)[1])[
        "words"]["reference"] for more in ((), ("--non-speech", "drop"))]
    assert words == [20, 18]


def test_json_is_all_that_stdout_holds_and_failures_are_lines_on_stderr(capsys, bundle, manifest):
    (manifest.parent / "0.wav").write_bytes(b"")
    code, out, err = asr(capsys, "evaluate", bundle, manifest, "--on-error", "skip", "--json")
    assert code == 3
    assert [r["id"] for r in json.loads(out)["failed"]] == ["u0"]
    assert json.loads(err)["code"] == "audio.empty"
    code, out, err = asr(capsys, "evaluate", bundle, manifest)
    assert (code, out) == (4, "")
    assert err.startswith("Error: Utterance 'u0': ") and len(err.splitlines()) == 1


@pytest.mark.parametrize(("content", "message"), [
    (None, "Cannot read the manifest .*: No such file or directory. `asr prepare` writes"),
    ("", "the file is empty"), ('{"id": 1', ":1: this is not JSON"),
    ('{"id": "a", "audio_filepath": "../../x.wav", "text": "a", "duration": 1}', "outside")])
def test_a_wrong_manifest_is_a_sentence_and_exit_code_4(capsys, bundle, tmp_path, content, message):
    path = tmp_path / "wrong.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    code, out, err = asr(capsys, "evaluate", bundle, path)
    assert (code, out) == (4, "")
    assert len(err.splitlines()) == 1
    with pytest.raises(DataError, match=message):
        read_manifest(path)


def test_places_that_cannot_be_written_are_refused_before_the_work(capsys, bundle, manifest,
                                                                   monkeypatch):
    monkeypatch.setattr("asr.recognizer.load", None)  # nothing is loaded
    for option, place in (("--output-dir", manifest), ("--report", manifest.parent),
                          ("--report", manifest.parent / "none/page.html")):
        code, out, err = asr(capsys, "evaluate", bundle, manifest, option, place)
        assert (code, out) == (2, "")
        assert str(place) in err and len(err.splitlines()) == 1


def test_unknown_choices_are_usage_errors(capsys, bundle, manifest):
    for option in ("--engine", "--decoder", "--normalizer", "--on-error"):
        code, _, err = asr(capsys, "evaluate", bundle, manifest, option, "best")
        assert code == 2
        assert "'best' is not one of" in err
