"""Training from tar shards is training from files: the same features, plans, losses, weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asr.bundle import load_bundle
from asr.corpora.sharding import Settings, write_shards
from asr.data import recordings
from asr.manifest import read_manifest
from asr.recipe import load_recipe
from asr.training import read_log
from asr.training.preparation import Prepared, prepare
from asr.training.run_directory import RunDirectory

RECIPE = Path(__file__).parents[2] / "recipes/tones.toml"


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    """files/, and the same in shards/, in another order."""
    from asr.corpora.tones import generate
    folder = tmp_path_factory.mktemp("tones")
    generate(folder / "files", num_train=60, num_valid=16, num_test=4)
    write_shards({name: read_manifest(folder / f"files/{name}.jsonl")
                  for name in ("train", "valid")}, folder / "shards",
                 Settings(seed=3, shard_recordings=25))
    return folder


def overrides(place: Path, *more: str) -> list[str]:
    return ["data.generate=", f'data.train=["{place}/train.jsonl"]',
            f'data.valid=["{place}/valid.jsonl"]', "data.batch_frames=1_500", "model.units=16",
            "train.epochs=3", "train.warmup_steps=0", "features.cmvn=global",
            "augment.speeds=[0.9, 1.0]", "train.deterministic=true", *more]


def prepared(place: Path, run: Path) -> Prepared:
    with RunDirectory(run) as directory:
        return prepare(load_recipe(RECIPE, overrides(place)), directory, print)


def test_features_plans_and_statistics_are_bit_for_bit_the_same(tones, tmp_path):
    files, shards = (prepared(tones / name, tmp_path / name) for name in ("files", "shards"))
    assert [row.id for row in files.train.cache.rows] != [row.id for row in shards.train.cache.rows]
    assert shards.contents == files.contents and shards.data_hash == files.data_hash
    assert [clip.id for clip in shards.epoch_clips] == [clip.id for clip in files.epoch_clips]
    for mine, theirs in zip(shards.cmvn, files.cmvn, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    arrays = [{(row.id, row.speed): part.train.cache.read(i)
               for i, row in enumerate(part.train.cache.rows)} for part in (files, shards)]
    assert arrays[0].keys() == arrays[1].keys() and len(arrays[0]) == 120
    for key, array in arrays[0].items():
        np.testing.assert_array_equal(arrays[1][key], array)


def test_a_cache_of_the_files_is_that_of_the_shards(tones, tmp_path):
    """It is named after the bytes of the recordings, wherever they are."""
    from asr.data.cache import build_cache
    settings = load_recipe(RECIPE).features
    for place, made in (("files", 60), ("shards", 0)):
        rows = read_manifest(tones / place / "train.jsonl")
        assert build_cache(rows, settings, tmp_path).num_extracted == made


@pytest.mark.slow
def test_other_processes_read_shards(tones, tmp_path):
    from asr.data.cache import build_cache
    settings = load_recipe(RECIPE).features
    rows = read_manifest(tones / "shards/train.jsonl")
    cache = build_cache(rows, settings, tmp_path, num_workers=2)
    assert len(cache) == 60 and not cache.failed


def test_the_tensorflow_io_reader_says_that_it_reads_no_shards(tones, tmp_path, monkeypatch):
    """It says so before it needs tensorflow-io."""
    monkeypatch.setattr(recordings, "require_tensorflow_io", lambda: None)
    found = recordings.Recordings(read_manifest(tones / "shards/train.jsonl"),
                                  load_recipe(RECIPE, overrides(tones / "shards")))
    assert len(found.failed) == 60 and "data.reader" in found.failed[0]["message"]
    assert not found.rows


@pytest.mark.slow
@pytest.mark.tf
def test_the_losses_and_the_weights_are_those_of_files(tones, tmp_path):
    for name in ("files", "shards"):
        command = [sys.executable, "-m", "asr", "train", str(RECIPE), str(tmp_path / name),
                   "--quiet", *(f"--set={one}" for one in overrides(tones / name))]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    epochs = [[{key: row[key] for key in ("epoch", "loss", "valid_loss", "wer")}
               for row in read_log(tmp_path / name) if row["event"] == "epoch"]
              for name in ("files", "shards")]
    assert len(epochs[0]) == 3 and json.dumps(epochs[0]) == json.dumps(epochs[1])
    files, shards = (load_bundle(tmp_path / name / "best.asr") for name in ("files", "shards"))
    assert shards.weights_hash == files.weights_hash
