"""`asr tune --warps`: the limit, the word error rates, and when a bundle is written."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from made_recordings import RATE, speech
from tiny_bundle import write_bundle

from asr.cli import run
from asr.errors import UsageError
from asr.evaluation import evaluate
from asr.inference.warps import sureness
from asr.manifest import Utterance, write_manifest
from asr.recognizer import load
from asr.tuning.warps import tune_warps

FACTORS = [0.85, 1.0, 1.2]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return load(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr"))


@pytest.fixture(scope="module")
def utterances(recognizer, tmp_path_factory):
    """What the warps read is what was said: without them half of it is wrong."""
    folder = tmp_path_factory.mktemp("audio")
    warped = recognizer.with_decoder(warps=FACTORS, warp_below=1.0)
    rows = []
    for number in range(12):
        audio = speech(0.5 + 0.1 * number, seed=number)
        soundfile.write(folder / f"{number}.wav", audio, RATE, subtype="FLOAT")
        rows.append(Utterance(str(number), folder / f"{number}.wav",
                              warped.transcribe(audio).text or "a", len(audio) / RATE,
                              speaker=f"s{number % 4}"))
    return rows


def test_the_rates_are_those_of_the_settings(recognizer, utterances):
    found = tune_warps(recognizer, utterances, FACTORS)
    assert found.settings.warps == tuple(FACTORS)
    rates = [evaluate(recognizer.with_decoder(**knobs), utterances).wer for knobs in (
        {}, {"warps": FACTORS, "warp_below": found.settings.warp_below},
        {"warps": FACTORS, "warp_below": 1.0})]
    assert [found.plain_wer, found.wer, found.everywhere_wer] == pytest.approx(rates)
    assert rates[0] > rates[1] >= rates[2]
    sure = [sureness(recognizer.logits(recognizer.features(str(u.audio)))) for u in utterances]
    tried = np.mean(np.array(sure) < found.settings.warp_below)
    assert found.tried == tried and 0.3 < tried <= 0.5  # two warps more: half of the recordings
    assert found.passes == 1 + 2 * tried <= 2.0
    assert found.helps and found.gain.low <= found.plain_wer - found.wer <= found.gain.high


def test_one_warp_is_worth_trying_everywhere(recognizer, utterances):
    found = tune_warps(recognizer.with_decoder(warps=[1.3]), utterances, [0.85])
    assert (found.settings.warp_below, found.passes, found.settings.warps) == (1.0, 2.0, (0.85,))
    with pytest.raises(UsageError, match="hold no factor besides 1"):
        tune_warps(recognizer, utterances, [1.0])


def test_the_command_writes_what_helps(recognizer, utterances, tmp_path, capsys):
    manifest, out = tmp_path / "dev.jsonl", tmp_path / "out.asr"
    write_manifest(manifest, utterances)
    command = ["tune", str(recognizer.bundle.path), str(manifest), "--allow-outside-root",
               "--warps", "0.85,1.2", "-o", str(out)]
    assert run([*command, "--json"]) == 0
    said = capsys.readouterr()
    table = json.loads(said.out)
    assert f"Wrote {out}" in said.err and table["helps"] and table["warps"] == [0.85, 1.2]
    stored = load(out)
    assert stored.decoder_settings.warp_below == table["warp_below"] < 1
    assert stored.warping is not None and stored.warping.factors == (0.85, 1.2)
    assert stored.bundle.training["warps"]["wer"] == table["wer"]
    assert evaluate(stored, utterances).wer == pytest.approx(table["wer"])
    assert run(["info", str(out)]) == 0
    assert "greedy, warps 0.85 1.2 below 0." in capsys.readouterr().out


def test_the_command_writes_nothing_within_chance(recognizer, utterances, tmp_path, capsys):
    manifest, out = tmp_path / "dev.jsonl", tmp_path / "out.asr"
    write_manifest(manifest, [utterances[0]])
    command = ["tune", str(recognizer.bundle.path), str(manifest), "--allow-outside-root"]
    assert run([*command, "--warps", "0.85", "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert "the gain is within chance" in said.err and not out.exists()
    assert "tried below 1: in 100% of the recordings, 2.00 passes" in said.out
    assert run([*command, "--warps", "0.85", "--confidence"]) == 2
    assert run([*command, "--warps", "much"]) == 2
    assert "expected factors such as 0.9,1.1" in capsys.readouterr().err
