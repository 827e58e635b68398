"""The reader that decodes in TensorFlow's graph; most of it needs `make test-tfio`."""

from __future__ import annotations

import http.server
import importlib.util
import json
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from asr.data import recordings
from asr.data.cache import build_cache
from asr.data.recordings import Recordings, require_tensorflow_io
from asr.errors import RecipeError, UsageError
from asr.manifest import Utterance
from asr.manifest.address import Address
from asr.recipe import FeatureSettings, Recipe, recipe_from_dict

RATE = 16_000
CONTENT = {"WAV": ("PCM_U8", "PCM_16", "PCM_24", "FLOAT"), "FLAC": ("PCM_16", "PCM_24"),
           "MP3": ("MPEG_LAYER_III",), "OGG": ("VORBIS",)}


def works() -> bool:
    try:
        require_tensorflow_io()
    except UsageError:
        return False
    return True


needs_tfio = pytest.mark.skipif(not works(), reason="tensorflow-io does not fit this TensorFlow; "
                                "`make test-tfio` runs this")


def voice(seconds=1.0, rate=RATE, seed=0):
    """Noise of speech's colour, with faint noise of all colours."""
    rng = np.random.default_rng(seed)
    audio = np.cumsum(rng.normal(size=round(seconds * rate)))
    audio -= np.convolve(audio, np.ones(400) / 400, "same")
    return 0.4 * audio / np.abs(audio).max() + rng.normal(scale=0.01, size=len(audio))


def recording(folder, name, audio, rate=RATE, **how) -> Utterance:
    path = folder / name
    soundfile.write(path, audio, rate, **how)
    return Utterance(path.stem, path, "a", soundfile.info(path).duration)


def features_of(utterances, speeds=(1.0,), **settings):
    recipe = Recipe(features=FeatureSettings(**settings))
    return Recordings(utterances, recipe, speeds), recipe


# -- everywhere


def test_versions_that_do_not_fit_are_one_sentence(monkeypatch):
    monkeypatch.setattr(recordings, "installed", lambda names: {"tensorflow": "2.21.0",
                                                                "tensorflow-io": None})
    with pytest.raises(UsageError, match=r"works with TensorFlow 2\.16 and 2\.17 .* here are "
                       r"tensorflow 2\.21\.0 and tensorflow-io \(not installed\) on Python 3\..*"
                       r'pip install "keras-asr\[tfio\]"; or set data\.reader = "cache"'):
        require_tensorflow_io()
    monkeypatch.setattr(recordings, "installed", lambda names: {"tensorflow": "2.17.1",
                                                                "tensorflow-io": "0.37.1"})
    require_tensorflow_io()


@pytest.mark.parametrize("table", [
    {"features": {"kind": "pcen"}}, {"features": {"deltas": 1}}, {"features": {"trim_db": 30.0}},
    {"augment": {"concat_max": 2}}, {"augment": {"pad_max": 0.5}},
    {"data": {"allow_truncated": True}}])
def test_what_the_graph_does_not_compute_is_refused(table):
    with pytest.raises(RecipeError, match='set data.reader = "cache"'):
        recipe_from_dict({**table, "data": {**table.get("data", {}), "reader": "tensorflow-io"}})
    recipe_from_dict(table)


def test_rows_and_what_cannot_be_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "require_tensorflow_io", lambda: None)
    good = recording(tmp_path, "a.wav", voice(2.0))
    rows = [good, replace(good, id="part", offset=0.5, duration=1.0),
            recording(tmp_path, "b.wav", voice(), subtype="PCM_32"),
            recording(tmp_path, "c.opus", voice(), format="OGG", subtype="OPUS"),
            Utterance("none", tmp_path / "none.wav", "", 1.0)]
    found, _ = features_of(rows, speeds=(1.0, 1.1))
    assert [(row.id, row.speed) for row in found.rows] == [("a", 1.0), ("a", 1.1), ("part", 1.0),
                                                           ("part", 1.1)]
    assert found.rows[2].num_frames == 101 and found.sources[2].start == 8_000
    assert [record["code"] for record in found.failed] == ["audio.unsupported"] * 2 + [
        "audio.missing"]
    assert "holds OGG OPUS, which tensorflow-io does not decode" in found.failed[1]["message"]


# -- with tensorflow-io


@needs_tfio
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("container, subtype", [
    (container, subtype) for container, subtypes in CONTENT.items() for subtype in subtypes])
def test_features_equal_the_cache(tmp_path, container, subtype, channels):
    audio = voice(1.3)
    audio = audio if channels == 1 else np.stack([audio, 0.5 * audio], axis=1)
    u = recording(tmp_path, f"a.{container.lower()}", audio, format=container, subtype=subtype)
    part = replace(u, id="part", offset=0.31, duration=0.5)
    for settings in ({}, {"kind": "mfcc", "preemphasis": 0.97, "window": "hamming", "htk": True}):
        found, recipe = features_of([u, part], **settings)
        cache = build_cache([u, part], recipe.features, tmp_path / "cache", on_error="fail")
        for index in range(2):
            assert replace(found.rows[index], key=cache.rows[index].key) == cache.rows[index]
            np.testing.assert_allclose(found.read(index), cache.read(index), atol=1e-3)


@needs_tfio
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_in_place(tmp_path, rate):
    """Equal to the cache where both filters pass: up to 85 % of the lower band edge."""
    u = recording(tmp_path, "a.wav", voice(1.0, rate), rate)
    found, recipe = features_of([u])
    cache = build_cache([u], recipe.features, tmp_path / "cache")
    assert abs(len(found.read(0)) - len(cache.read(0))) <= 1
    from asr.features import FeatureExtractor
    bands = FeatureExtractor(recipe.features).mel_frequencies < 0.85 * min(rate, RATE) / 2
    ours, theirs = (x[2:99, bands] for x in (found.read(0), cache.read(0)))
    np.testing.assert_allclose(ours, theirs, atol=2e-2)


@needs_tfio
def test_no_python_runs_for_an_utterance(tmp_path):
    """Decoding, resampling, spectrum and filters are operations of the graph."""
    found, _ = features_of([recording(tmp_path, "a.wav", voice())])
    graph = found.graph._one.get_concrete_function().graph.as_graph_def()
    ops = {node.op for function in graph.library.function for node in function.node_def} | {
        node.op for node in graph.node}
    assert not {op for op in ops if "PyFunc" in op}
    for name in ("AudioDecodeWAV", "AudioDecodeFlac", "AudioDecodeMP3", "AudioDecodeVorbis",
                 "AudioResample", "RFFT"):
        assert any(name in op for op in ops), f"{name} is not in {sorted(ops)}"


@needs_tfio
def test_a_faster_voice_is_shorter(tmp_path):
    u = recording(tmp_path, "a.wav", voice(1.1))
    found, recipe = features_of([u], speeds=(1.0, 1.1))
    cache = build_cache([u], recipe.features, tmp_path / "cache", speeds=(1.0, 1.1))
    assert found.rows[1].num_frames == len(found.read(1)) == cache.rows[1].num_frames == 101
    ours, theirs = found.read(1)[2:-2, :60], cache.read(1)[2:-2, :60]
    np.testing.assert_allclose(ours, theirs, atol=5e-2)


@needs_tfio
def test_recordings_at_an_address_are_read_by_its_file_systems(tmp_path, monkeypatch):
    import functools

    recording(tmp_path, "a.flac", voice())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/a.flac"
        found, recipe = features_of([Utterance("a", Address(address), "a", 1.0)])
        local, _ = features_of([Utterance("a", tmp_path / "a.flac", "a", 1.0)])
        np.testing.assert_array_equal(found.read(0), local.read(0))
        # The same file systems read for everything else where fsspec is not installed.
        from asr.audio import remote
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec",
                            lambda name, *rest: None if name == "fsspec" else find(name, *rest))
        assert remote.read_address(address) == (tmp_path / "a.flac").read_bytes()
    finally:
        server.shutdown()
        server.server_close()


@needs_tfio
def test_s3_is_read_by_its_file_system(tmp_path, monkeypatch):
    pytest.importorskip("moto", reason="moto, the local S3 server, is not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    recording(tmp_path, "a.wav", voice())
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
                            "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1",
                            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                            "S3_ENDPOINT": f"http://127.0.0.1:{port}", "S3_USE_HTTPS": "0",
                            "S3_VERIFY_SSL": "0"}.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="speech")
        client.put_object(Bucket="speech", Key="a.wav", Body=(tmp_path / "a.wav").read_bytes())
        # In a child: tensorflow-io 0.37.1 ends a process that has read from S3 with "pure virtual
        # method called" when it exits, after all its work.
        child = ("import sys, numpy as np\nfrom asr.data.recordings import Recordings\n"
                 "from asr.manifest import Utterance\nfrom asr.manifest.address import Address\n"
                 "from asr.recipe import Recipe\n"
                 "found = Recordings([Utterance('a', Address('s3://speech/a.wav'), 'a', 1.0)], "
                 "Recipe())\nnp.save(sys.argv[1], found.read(0))")
        subprocess.run([sys.executable, "-c", child, str(tmp_path / "s3.npy")], timeout=120)
        local, _ = features_of([Utterance("a", tmp_path / "a.wav", "a", 1.0)])
        np.testing.assert_array_equal(np.load(tmp_path / "s3.npy"), local.read(0))
    finally:
        server.stop()


@needs_tfio
def test_batches_are_those_of_the_cached_reader(tmp_path):
    """The same plan gives the same tensors: augmented by the same ops, from the same seeds."""
    from asr.augment.graph import FeatureAugmenter
    from asr.data.batches import gather_clips, plan_epoch
    from asr.data.items import PlanSettings
    from asr.data.pipeline import training_dataset
    from asr.features import FeatureExtractor
    from asr.recipe import AugmentSettings, ModelSettings

    rows = [recording(tmp_path, f"{i}.wav", voice(0.5 + 0.1 * i, seed=i)) for i in range(7)]
    found, recipe = features_of(rows)
    cache = build_cache(rows, recipe.features, tmp_path / "cache")
    augment = AugmentSettings(tempo=0.1, warp=0.1, gain_db=6.0, freq_masks=1, time_masks=1)
    augmenter = FeatureAugmenter(augment, recipe.features, mel_frequencies=FeatureExtractor(
        recipe.features).mel_frequencies)
    clips = gather_clips(cache.rows, {u.id: [1, 2] for u in rows})
    plan = plan_epoch(clips, PlanSettings(300, 4, ModelSettings(), tempo=0.1), 1, 0)
    batches = [list(training_dataset(source, plan, augmenter, start=1))
               for source in (cache, found)]
    assert len(batches[0]) == len(batches[1]) == len(plan) - 1
    for (x, y), (other_x, other_y) in zip(*batches, strict=True):
        np.testing.assert_allclose(other_x["features"], x["features"], atol=1e-3)
        for mine, other in ((x["num_frames"], other_x["num_frames"]),
                            (y["labels"], other_y["labels"]),
                            (y["num_labels"], other_y["num_labels"])):
            np.testing.assert_array_equal(mine, other)


@needs_tfio
@pytest.mark.slow
def test_a_recipe_trains_to_the_same_error_rate(tmp_path, capsys):
    """The tones, with either reader, and how fast each reads."""
    from pathlib import Path

    import asr

    page = Path(__file__).parents[2] / "recipes" / "tones.toml"
    results = {}
    for reader in ("cache", "tensorflow-io"):
        recipe = asr.load_recipe(page, [f"data.reader={reader}"])
        asr.train(recipe, tmp_path / reader, quiet=True)
        report = asr.evaluate(asr.load(tmp_path / reader),
                              asr.read_manifest(tmp_path / reader / "tones" / "test.jsonl"))
        lines = (tmp_path / reader / "log.jsonl").read_text().splitlines()
        log = [json.loads(line) for line in lines]
        epochs = [record for record in log if record["event"] == "epoch"]
        results[reader] = (report.wer, np.median([e["frames_per_second"] for e in epochs[1:]]),
                           np.median([e["data_wait"] for e in epochs[1:]]))
    with capsys.disabled():
        for reader, (wer, speed, wait) in results.items():
            print(f"\n{reader}: WER {100 * wer:.2f} %, {speed / 100:,.0f} x real time in training, "
                  f"{100 * wait:.0f} % of it waiting for data")
    assert abs(results["cache"][0] - results["tensorflow-io"][0]) <= 0.05
