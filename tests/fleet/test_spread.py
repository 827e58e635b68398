"""An audit and the features of a training, worked on elsewhere: the results of one machine.

The cluster here is a stand-in in this process, which pickles what would go over the network;
test_cluster.py has Ray.
"""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_bundle import FEATURES, write_bundle

from asr.cli import run
from asr.errors import EXIT_DATA, EXIT_OK, EXIT_USAGE, AsrError
from asr.fleet import cluster
from asr.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes/tones.toml"


class StandIn:
    """Works on items in this process; `poison` is a path that kills every worker."""

    poison = ""
    runs = 0

    def __init__(self, address: str = "", workers: int = 0):
        assert address == "auto"
        self.workers = workers

    def run(self, start, items: Iterable, lost, *, notice=None, shard_items: int = 32) -> Iterator:
        type(self).runs += 1
        coming = iter(items)
        work = pickle.loads(pickle.dumps(start))()
        while some := list(itertools.islice(coming, min(shard_items, 3))):
            killed = [item for item in some if self.poison and self.poison in str(item)]
            for item in killed:
                yield lost(item, AsrError("3 workers died of it.", code="worker.died"))
            kept = [item for item in some if item not in killed]
            yield from pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(kept)))))


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(cluster, "Cluster", StandIn)
    monkeypatch.setattr(StandIn, "poison", "")
    monkeypatch.setattr(StandIn, "runs", 0)
    return StandIn


@pytest.fixture
def manifests(tmp_path) -> list[Path]:
    """Two; a copy in the second, silence with a text, a cut recording, and one that is none."""
    (tmp_path / "in").mkdir()
    rate = FEATURES.sample_rate
    for number in range(9):
        noise = 0.1 * np.random.default_rng(number).normal(size=rate)
        soundfile.write(tmp_path / f"in/{number}.wav", noise, rate)
    noise, _ = soundfile.read(tmp_path / "in/1.wav")
    soundfile.write(tmp_path / "in/7.wav", 0.5 * noise, rate)
    soundfile.write(tmp_path / "in/3.wav", np.zeros(rate), rate)
    whole = (tmp_path / "in/4.wav").read_bytes()
    (tmp_path / "in/4.wav").write_bytes(whole[:-900])
    (tmp_path / "in/8.wav").write_bytes(b"RIFF, but no more")
    paths = []
    for name, numbers in (("train", range(5)), ("test", range(5, 9))):
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps({
            "id": f"u{n}", "audio_filepath": f"in/{n}.wav", "text": f"bad {'abcdefghe'[n]}",
            "duration": 1.0}) + "\n" for n in numbers))
    return paths


def audited(capsys, *arguments: object) -> tuple[int, dict, str]:
    code = run(["audit", *map(str, arguments), "--json", "--allow-truncated"])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


@pytest.mark.filterwarnings("always")
def test_an_audit_is_that_of_one_machine(manifests, tmp_path, stand_in, capsys):
    bundle = write_bundle(tmp_path / "tiny.asr")
    command = [*manifests, "--bundle", bundle]
    alone = audited(capsys, *command)
    assert stand_in.runs == 0
    spread = audited(capsys, *command, "--engine", "ray", "--address", "auto")
    assert stand_in.runs == 3
    assert spread == alone
    code, found, said = alone
    assert code == EXIT_DATA
    assert [leak["code"] for leak in found["leaks"]] == ["split.copy"]
    assert [one["id"] for one in found["silent"]] == ["u3"]
    assert found["suspects"][0]["reasons"] and "cut" in said


def test_an_audit_in_which_a_recording_kills_its_workers(manifests, tmp_path, stand_in,
                                                         monkeypatch, capsys):
    monkeypatch.setattr(stand_in, "poison", "6.wav")
    _, found, _ = audited(capsys, *manifests, "--bundle", write_bundle(tmp_path / "tiny.asr"),
                          "--engine", "ray", "--address", "auto")
    assert any("2 recordings could not be read, among them 'u6'" in note["message"]
               for note in found["notes"])
    assert [one["reasons"] for one in found["suspects"]] == [["worker.died"]]


def test_what_is_kept_in_memory_is_the_same(manifests, tmp_path, stand_in, monkeypatch):
    from asr.audit import fingerprint
    from asr.fleet.audit import spread_on
    from asr.manifest import read_manifest

    rows = [u for path in manifests for u in read_manifest(path)]
    monkeypatch.setattr(fingerprint, "_KEPT_BYTES", 20_000)  # of two recordings and a half
    alone = fingerprint.fingerprints(rows, allow_truncated=False)
    spread = fingerprint.fingerprints(rows, spread=spread_on(cluster.Cluster("auto")).prints)
    assert spread.waveforms.keys() == alone.waveforms.keys() and len(alone.waveforms) == 3
    assert (spread.failed, spread.silent) == (alone.failed, alone.silent)
    np.testing.assert_array_equal(spread.vectors, alone.vectors)


@pytest.fixture
def tones(tmp_path) -> list[str]:
    from asr.corpora.tones import generate

    generate(tmp_path / "tones", num_train=24, num_valid=8, num_test=2)
    return ["data.generate=", f'data.train=["{tmp_path}/tones/train.jsonl"]',
            f'data.valid=["{tmp_path}/tones/valid.jsonl"]', "data.batch_frames=1500",
            "features.cmvn=global"]


def test_training_data_that_a_cluster_prepared(tmp_path, tones, stand_in):
    from asr.fleet.features import extract_on
    from asr.training.preparation import prepare
    from asr.training.run_directory import RunDirectory

    found = {}
    for name, spread in (("local", None), ("ray", partial(extract_on, cluster.Cluster("auto"))),
                         ("ray", partial(extract_on, cluster.Cluster("auto")))):
        with RunDirectory(tmp_path / name) as directory:
            found[name] = prepare(load_recipe(RECIPE, tones), directory, print, spread=spread)
    assert stand_in.runs == 2, "once for each split; the second time nothing is left to do"
    local, ray = found["local"], found["ray"]
    assert ray.contents == local.contents and ray.excluded == local.excluded
    np.testing.assert_array_equal(ray.cmvn, local.cmvn)
    for index in range(len(local.train.cache)):
        np.testing.assert_array_equal(ray.train.cache.read(index), local.train.cache.read(index))


def test_the_option_of_asr_train(tmp_path, tones, stand_in, monkeypatch, capsys):
    given = []
    monkeypatch.setattr("asr.training.train", lambda *_, spread=None, **__: given.append(spread))
    command = ["train", str(RECIPE), str(tmp_path / "run"), "--quiet",
               *(f"--set={one}" for one in tones)]
    engine = ["--engine", "ray", "--address", "auto"]
    assert run(command) == EXIT_OK and run([*command, *engine]) == EXIT_OK
    assert given[0] is None and given[1].args[0].__class__ is stand_in
    assert run([*command, *engine, "--set=data.reader=tensorflow-io"]) == EXIT_USAGE
    assert "data.reader" in capsys.readouterr().err
