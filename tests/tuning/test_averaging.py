"""The mean of networks: what it is, what has none, and when nothing is written."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import soundfile
from made_recordings import speech
from tiny_bundle import FEATURES, MODEL, random_weights, write_bundle

import asr
from asr.bundle import load_bundle, reference_clip
from asr.cli import run
from asr.errors import AsrError, UsageError
from asr.export.int8_bundle import quantize_bundle
from asr.inference.networks import engine_of
from asr.manifest import Utterance, write_manifest
from asr.text.tokenizer import CharTokenizer
from asr.tuning.averaging import average_bundles


def near(seed: int) -> dict[str, np.ndarray]:
    """Weights of a run that went a little way from the start."""
    rng = np.random.default_rng(seed)
    return {name: (array + 0.02 * array.std() * rng.normal(size=array.shape)).astype(np.float32)
            for name, array in random_weights().items()}


def other_units(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same function with the units of the last layer in another order."""
    units, found = MODEL.units, {name: array.copy() for name, array in weights.items()}
    order = np.random.default_rng(4).permutation(units)
    gates = np.concatenate([order + units * gate for gate in range(4)])
    for name in ("kernel", "recurrent_kernel", "bias"):
        found[f"lstm_1/forward/{name}"] = found[f"lstm_1/forward/{name}"][..., gates]
    found["lstm_1/forward/recurrent_kernel"] = found["lstm_1/forward/recurrent_kernel"][order]
    for name in ("norm_1/gamma", "norm_1/beta", "output/kernel"):
        found[name][:units] = found[name][:units][order]
    return found


@pytest.fixture
def runs(tmp_path):
    """Two runs from one start."""
    return [asr.load(write_bundle(tmp_path / f"{seed}.asr", weights=near(seed), training={
        "seed": seed, "epochs": 3, "lowest_sample_rate": 8_000 * seed, "valid_wer": 0.1}),
        engine="numpy") for seed in (1, 2)]


@pytest.fixture
def dev(tmp_path, runs):
    """Recordings with the texts that the first run reads."""
    rows = []
    for number in range(4):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, speech(2.0, seed=number), 8_000)
        rows.append(Utterance(str(number), path, runs[0].transcribe(path).text, 2.0))
    assert all(row.text for row in rows)
    return rows


def test_weights_are_the_mean_and_all_else_is_of_the_first(runs, dev, tmp_path):
    found = average_bundles(runs, tmp_path / "mean.asr", dev)
    made = load_bundle(found.path)
    first, second = near(1), near(2)
    for name, array in made.weights.items():
        np.testing.assert_allclose(array, (first[name] + second[name]) / 2, rtol=1e-5, atol=1e-7)
        assert array.dtype == np.float32
    assert made.decoder == runs[0].bundle.decoder and made.bundle_hash == found.bundle_hash
    assert found.scores[0].wer == 0.0 and found.score.wer <= found.scores[1].wer
    assert made.training == {
        "averaged_from": [one.bundle.bundle_hash for one in runs], "seed": [1, 2], "epochs": 3,
        "lowest_sample_rate": 8_000}
    again = average_bundles(runs[::-1], tmp_path / "again.asr", dev)
    for name, array in load_bundle(again.path).weights.items():
        np.testing.assert_array_equal(array, made.weights[name])


def test_shares(runs, dev, tmp_path):
    found = average_bundles(runs, tmp_path / "mean.asr", dev, shares=(1, 3))
    made = load_bundle(found.path)
    first, second = near(1), near(2)
    for name, array in made.weights.items():
        np.testing.assert_allclose(array, 0.25 * first[name] + 0.75 * second[name], rtol=1e-5,
                                   atol=1e-7)
    assert made.training["shares"] == [1, 3]
    whole = average_bundles(runs, tmp_path / "first.asr", dev, shares=(2, 0))
    for name, array in load_bundle(whole.path).weights.items():
        np.testing.assert_array_equal(array, first[name])
    for wrong in ((1,), (1, -1), (0, 0), (1, float("nan"))):
        with pytest.raises(UsageError, match="give one for each of the 2 networks, 0 or more"):
            average_bundles(runs, tmp_path / "no.asr", dev, shares=wrong)


def test_the_reference_clip_has_the_logits_of_the_mean(tmp_path, dev):
    from asr.bundle import Reference
    from asr.features import FeatureExtractor

    audio = reference_clip(FEATURES.sample_rate)
    features = FeatureExtractor(FEATURES).extract(audio)
    clip = Reference(audio, features, np.zeros([1, 1], np.float32))
    both = []
    for seed in (1, 2):
        bundle = load_bundle(write_bundle(tmp_path / f"{seed}.asr", weights=near(seed)))
        logits, _ = engine_of(bundle, "numpy").logits(features[np.newaxis],
                                                      np.array([len(features)]))
        bundle.save(tmp_path / f"{seed}.asr", reference=dataclasses.replace(clip, logits=logits[0]))
        both.append(asr.load(tmp_path / f"{seed}.asr", engine="numpy"))
    average_bundles(both, tmp_path / "mean.asr", dev)
    made = load_bundle(tmp_path / "mean.asr")
    logits, _ = engine_of(made, "numpy").logits(features[np.newaxis], np.array([len(features)]))
    np.testing.assert_array_equal(made.reference.logits, logits[0])


def test_networks_that_began_elsewhere_have_no_mean(runs, dev, tmp_path):
    """Both read every word; their mean does not."""
    path = write_bundle(tmp_path / "other.asr", weights=other_units(near(1)))
    other = asr.load(path, engine="numpy")
    assert [other.transcribe(row.audio).text for row in dev] == [row.text for row in dev]
    with pytest.raises(AsrError, match="was not written: the mean has a WER of") as caught:
        average_bundles([runs[0], other], tmp_path / "mean.asr", dev)
    assert caught.value.code == "average.wer"
    assert not list(tmp_path.glob("*mean*"))


@pytest.mark.parametrize("changes,message", [
    ({"model": dataclasses.replace(MODEL, units=8)}, "model.units is 8 in .* and 12 in"),
    ({"features": dataclasses.replace(FEATURES, n_mels=24)}, "features.n_mels is 24 in"),
    ({"tokenizer": CharTokenizer(" abcdefgx")}, "the alphabet is ' abcdefgx' in"),
    ({"features": dataclasses.replace(FEATURES, cmvn="global"), "cmvn": (
        np.zeros(20, np.float32), np.ones(20, np.float32))}, "features.cmvn is 'global' in"),
    ({"weights": near(1)}, "have the same weights")])
def test_what_does_not_fit_together(runs, dev, tmp_path, changes, message):
    other = asr.load(write_bundle(tmp_path / "other.asr", **changes), engine="numpy")
    with pytest.raises(UsageError, match=message):
        average_bundles([runs[0], other], tmp_path / "mean.asr", dev)


def test_other_training_data_are_refused_without_their_numbers(runs, dev, tmp_path):
    """Weights behind other statistics read other features."""
    features = dataclasses.replace(FEATURES, cmvn="global")
    both = [asr.load(write_bundle(tmp_path / f"{mean}.asr", features=features, weights=near(mean),
                                  cmvn=(np.full(20, mean, np.float32), np.ones(20, np.float32))),
                     engine="numpy") for mean in (1, 2)]
    with pytest.raises(UsageError, match="have other means and deviations of features.cmvn") as it:
        average_bundles(both, tmp_path / "mean.asr", dev)
    assert len(str(it.value)) < 500


def test_dropout_may_differ(runs, dev, tmp_path):
    path = write_bundle(tmp_path / "other.asr", weights=near(2),
                        model=dataclasses.replace(MODEL, dropout=0.3))
    average_bundles([runs[0], asr.load(path, engine="numpy")], tmp_path / "mean.asr", dev)


def test_one_network_8_bits_and_own_networks_are_refused(runs, dev, tmp_path):
    with pytest.raises(UsageError, match="Got 1 network; an average needs two or more"):
        average_bundles(runs[:1], tmp_path / "mean.asr", dev)
    quantize_bundle(runs[1], tmp_path / "small.asr")
    with pytest.raises(UsageError, match="have 8 bits; average the bundles"):
        average_bundles([runs[0], asr.load(tmp_path / "small.asr")], tmp_path / "mean.asr", dev)
    runs[1].bundle = dataclasses.replace(runs[1].bundle, network="my_network")
    with pytest.raises(UsageError, match=r"one of your own \(my_network\)"):
        average_bundles(runs, tmp_path / "mean.asr", dev)
    (tmp_path / "there.asr").write_bytes(b"x")
    runs[1].bundle = dataclasses.replace(runs[1].bundle, network="")
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        average_bundles(runs, tmp_path / "there.asr", dev)
    assert (tmp_path / "there.asr").read_bytes() == b"x"


def test_the_verb(runs, dev, tmp_path, capsys):
    write_manifest(tmp_path / "dev.jsonl", dev)
    given = [str(tmp_path / name) for name in ("1.asr", "2.asr")]
    arguments = ["average", *given, "-o", str(tmp_path / "mean.asr"),
                 "--verify", str(tmp_path / "dev.jsonl")]
    assert run([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["of"]) == given and said["of"][given[0]] == 0.0
    assert said["bundle_hash"] == load_bundle(tmp_path / "mean.asr").bundle_hash
    assert run(arguments) == 2 and capsys.readouterr().err.count("\n") == 1
    assert run(["info", str(tmp_path / "mean.asr")]) == 0
    assert "; seed 1, 2" in capsys.readouterr().out
    (tmp_path / "mean.asr").unlink()
    assert run([*arguments, "--shares", "0.2"]) == 2
    assert "give one for each of the 2 networks" in capsys.readouterr().err
    assert run([*arguments, "--shares", "0.2", "--shares", "0.8"]) == 0
    assert load_bundle(tmp_path / "mean.asr").training["shares"] == [0.2, 0.8]
    capsys.readouterr()
    (tmp_path / "mean.asr").unlink()
    assert run(arguments) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("  ")[0].strip() for row in rows] == [*given, "their mean"]
    assert rows[0].endswith("WER   0.00 %")
