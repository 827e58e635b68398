"""Digits without a speaker: folds, seeds, the table, and a whole small run."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from scripts import BENCHMARKS, script

from asr.manifest import Utterance, write_manifest

loso = script("digits_loso")


def evaluation(errors: list[int], words: list[int]) -> SimpleNamespace:
    """What a table needs of one: counts of each utterance."""
    rows = [SimpleNamespace(words=SimpleNamespace(errors=e, reference=n))
            for e, n in zip(errors, words, strict=True)]
    return SimpleNamespace(score=SimpleNamespace(rows=rows, wer=sum(errors) / sum(words)))


def test_a_rate_is_the_mean_over_seeds_and_an_interval_draws_utterances_with_all_their_readings():
    """Two utterances are wrong with every seed: no surer than with one."""
    wrong = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    once = evaluation(wrong, [1] * 10)
    other = evaluation([0] * 10, [2] * 10)
    one = loso.table({"a": [{"isolated": once, "strings": other}]})
    three = loso.table({"a": [{"isolated": once, "strings": other}] * 3})
    cell = three["speakers"]["a"]["isolated"]
    assert cell["wer"] == 20.0 and cell["seeds"] == [20.0] * 3
    assert {**cell, "seeds": [20.0]} == one["speakers"]["a"]["isolated"]
    mixed = loso.table({"a": [{"isolated": once, "strings": other},
                              {"isolated": evaluation([0] * 10, [1] * 10), "strings": other}],
                        "b": [{"isolated": other, "strings": once}] * 2})
    assert mixed["speakers"]["a"]["isolated"]["wer"] == 10.0
    assert mixed["speakers"]["a"]["isolated"]["seeds"] == [20.0, 0.0]
    assert mixed["mean"]["isolated"]["wer"] == 5.0
    assert mixed["mean"]["isolated"]["seeds"] == [10.0, 0.0]
    text = loso.markdown(mixed)
    assert "| a | 10.0 (" in text and "seeds: 20.0, 0.0 |" in text
    assert "seeds" not in loso.markdown(one)


def test_folds_leave_out_one_or_several():
    speakers = ["jackson", "theo", "lucas"]
    assert loso.folds_of([], speakers) == {name: [name] for name in speakers}
    assert loso.folds_of(["jackson+theo", "lucas"], speakers) == {
        "jackson+theo": ["jackson", "theo"], "lucas": ["lucas"]}
    with pytest.raises(SystemExit, match="no speaker is called anna"):
        loso.folds_of(["jackson+anna"], speakers)
    with pytest.raises(SystemExit, match="left out twice"):
        loso.folds_of(["jackson+theo", "theo"], speakers)


def test_the_run_of_a_speaker_is_the_one_without_him(tmp_path):
    for name in ("jackson+theo", "lucas"):
        (tmp_path / name / "run").mkdir(parents=True)
        (tmp_path / name / "run/best.asr").touch()
    (tmp_path / "theo").mkdir()  # his tests
    assert loso.run_of(tmp_path, "theo") == tmp_path / "jackson+theo/run/best.asr"
    assert loso.run_of(tmp_path, "lucas") == tmp_path / "lucas/run/best.asr"
    assert loso.run_of(tmp_path, "jack") is None
    (tmp_path / "lucas/mean.asr").touch()
    assert loso.run_of(tmp_path, "lucas") == tmp_path / "lucas/mean.asr", "with --start-share"


@pytest.mark.slow
@pytest.mark.tf
def test_two_speakers_left_out_with_two_seeds(tmp_path):
    rng = np.random.default_rng(3)
    rows = []
    (tmp_path / "audio").mkdir()
    for speaker in ("anna", "ben", "carla"):
        for take in range(12):
            path = tmp_path / f"audio/{take}_{speaker}.wav"
            tone = 0.3 * np.sin(np.arange(3_200) * (0.2 + 0.3 * (take % 2)))
            soundfile.write(path, tone + 0.01 * rng.normal(size=3_200), 8_000)
            rows.append(Utterance(path.stem, path, ("one", "two")[take % 2], 0.4, speaker))
    (tmp_path / "fsdd").mkdir()
    write_manifest(tmp_path / "fsdd/train.jsonl", rows[::2])
    write_manifest(tmp_path / "fsdd/test.jsonl", rows[1::2])
    (tmp_path / "r.toml").write_text(
        '[data]\ntrain = ["fsdd/train.jsonl"]\nvalid = ["fsdd/test.jsonl"]\naudio_root = "audio"\n'
        "[features]\nsample_rate = 8000\nhop_length = 80\n"
        "[model]\nnum_layers = 1\nunits = 8\n[train]\nepochs = 1\n")
    def run(out: str, *options: str) -> None:
        done = subprocess.run(
            [sys.executable, str(BENCHMARKS / "digits_loso.py"), "fsdd", out, "--recipe", "r.toml",
             "--audio-root", "audio", "--hold-out", "anna+carla", "--seed", "2", *options],
            cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    run("out", "--seed", "1", "--average")
    run("tuned", "--from", "out", "--start-share", "0.25")
    tuned = loso.load(tmp_path / "tuned/seed-2/anna+carla/mean.asr").bundle
    assert tuned.training["shares"] == [0.25, 0.75]
    start = (tmp_path / "tuned/seed-2/anna+carla/train.log").read_text()
    assert "out/seed-2/anna+carla/run/best.asr before the first step" in start
    rates = json.loads((tmp_path / "out/table.json").read_text())
    assert list(rates["speakers"]) == ["anna", "carla"]
    assert all(len(row[test]["seeds"]) == 2 for row in rates["speakers"].values() for test in row)
    assert rates["average"]["speakers"].keys() == rates["speakers"].keys()
    mean = loso.load(tmp_path / "out/average/anna+carla/run").bundle.training
    assert sorted(mean["seed"]) == [1, 2] and len(mean["averaged_from"]) == 2
    weights = [(tmp_path / f"out/seed-{seed}/anna+carla/run/best.asr").read_bytes()
               for seed in (1, 2)]
    assert weights[0] != weights[1]
    assert "ben" in (tmp_path / "out/seed-2/anna+carla/train.jsonl").read_text()
    assert "anna" not in (tmp_path / "out/seed-2/anna+carla/train.jsonl").read_text()
