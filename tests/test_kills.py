"""After a kill at any instant: the old result or the new one, whole, and nothing left behind."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
LEFTOVERS = (".asr-", ".tmp", "unpacking-")


def nothing_is_left(folder: Path) -> None:
    left = [p.name for p in folder.rglob("*") if any(part in p.name for part in LEFTOVERS)]
    assert not left, left


def command(*arguments) -> int:
    from asr.cli import run

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return run([str(argument) for argument in arguments])


def a_wav(path: Path, seed: int = 0) -> None:
    import soundfile

    soundfile.write(path, 0.1 * np.random.default_rng(seed).normal(size=4_000), 8_000)


def prepare(root: Path) -> int:
    """`asr prepare --overwrite` with other options than before: rows move between splits."""
    from killing import survive

    from asr.manifest import read_manifest

    before = root / "before"
    (before / "kd/train").mkdir(parents=True)
    lists = {"wav.scp": "train/{0}.wav", "text": "four two", "utt2spk": "{0}"}
    for index, name in enumerate("abcd"):
        a_wav(before / f"kd/train/{name}.wav", index)
        for file, value in lists.items():
            with open(before / f"kd/train/{file}", "a", encoding="utf-8") as lines:
                lines.write(f"{name}-1 {value.format(name)}\n")
    os.chdir(root)
    assert command("prepare", "kaldi", before / "kd", before / "out", "--dev-every", 2) == 0
    old, new = {"train": {"b-1", "d-1"}, "dev": {"a-1", "c-1"}}, {"train": {"a-1", "b-1", "c-1",
                                                                          "d-1"}}

    def ids(folder: Path) -> dict[str, set[str]]:
        found = {}
        for split in ("train", "dev"):
            try:
                rows = read_manifest(folder / f"out/{split}.jsonl", allow_outside_root=True)
                found[split] = {u.id for u in rows}
            except ValueError:
                pass
        return found

    def plain_ids(folder: Path, split: str) -> set[str]:
        """As a program reads it that knows nothing of a journal."""
        path = folder / f"out/{split}.jsonl"
        return {json.loads(line)["id"] for line in path.read_text().splitlines()} \
            if path.exists() else set()

    def work(folder: Path) -> None:
        assert command("prepare", "kaldi", folder / "kd", folder / "out", "--overwrite") == 0

    def check(folder: Path) -> None:
        assert ids(folder) in (old, new)
        assert not plain_ids(folder, "train") & plain_ids(folder, "dev")
        work(folder)
        assert ids(folder) == new
        assert not (folder / "out/dev.jsonl").exists()
        nothing_is_left(folder)

    return survive(before, root / "scratch", work, check)


def evaluation(root: Path) -> int:
    """`Evaluation.write` over an older evaluation."""
    from killing import survive

    from asr.evaluation import Evaluation
    from asr.scoring import score
    from asr.scoring.storage import load_systems
    from asr.transcript import Transcript

    def evaluated(texts: dict[str, str]) -> Evaluation:
        return Evaluation(score({"a": "one two", "b": "three"}, texts, draws=100),
                          {name: Transcript(text) for name, text in texts.items()})

    old, new = evaluated({"a": "one two", "b": "tree"}), evaluated({"a": "one", "b": "three"})
    (root / "before").mkdir()
    old.write(root / "before/kept")
    old.write(root / "before/results")

    def hypotheses(folder: Path) -> list[str]:
        kept, found = load_systems([folder / "kept", folder / "results"], names=["A", "B"])
        assert [row.hypothesis for row in kept.rows] == ["one two", "tree"]
        return [row.hypothesis for row in found.rows]

    def check(folder: Path) -> None:
        assert hypotheses(folder) in (["one two", "tree"], ["one", "three"])
        new.write(folder / "results")
        assert hypotheses(folder) == ["one", "three"]
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch", lambda f: new.write(f / "results") and None,
                   check)


def first_evaluation(root: Path) -> int:
    """... and where there was none: a part of it is no result."""
    from killing import survive

    from asr.errors import DataError
    from asr.evaluation import Evaluation
    from asr.scoring import score
    from asr.scoring.storage import load
    from asr.transcript import Transcript

    new = Evaluation(score({"a": "one"}, {"a": "one"}, draws=100), {"a": Transcript("one")})
    (root / "before/results").mkdir(parents=True)

    def check(folder: Path) -> None:
        try:
            assert load(folder / "results")[0].wer == 0
        except DataError:
            assert not (folder / "results/score.json").exists()
        new.write(folder / "results")
        assert load(folder / "results")[0].wer == 0
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch", lambda f: new.write(f / "results") and None,
                   check)


def saved_score(root: Path) -> int:
    """`asr score --per-utterance` over an older one: rows and receipt."""
    from killing import survive

    from asr.scoring import save, score
    from asr.scoring.storage import load

    old = score({"a": "one two"}, {"a": "one too"}, draws=100)
    new = score({"a": "one two"}, {"a": "one two"}, normalizer="english", draws=100)
    (root / "before").mkdir()
    save(old, root / "before/s.jsonl")

    def check(folder: Path) -> None:
        found, receipt = load(folder / "s.jsonl")
        assert (found.wer, receipt["normalizer"][:4]) in ((0.5, "basi"), (0.0, "engl"))
        save(new, folder / "s.jsonl")
        assert load(folder / "s.jsonl")[0].wer == 0
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch", lambda f: save(new, f / "s.jsonl") and None,
                   check)


def features(root: Path) -> int:
    """The feature cache: finished shards stay, others are made again, nothing is torn."""
    from killing import survive

    from asr.data.cache import build_cache
    from asr.manifest import Utterance
    from asr.recipe import FeatureSettings

    settings = FeatureSettings(sample_rate=8_000, n_fft=256, win_length=200, hop_length=80,
                               n_mels=10)
    (root / "before").mkdir()
    rows = []
    for index in range(3):
        a_wav(root / f"{index}.wav", index)
        rows.append(Utterance(f"u{index}", root / f"{index}.wav", "x", 0.5))
    expected = build_cache(rows, settings, root / "expected")

    def work(folder: Path) -> None:
        for row in rows:  # a shard each
            build_cache([row], settings, folder / "cache", num_workers=1)

    def check(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a kill is no damage
            cache = build_cache(rows, settings, folder / "cache", num_workers=1)
        for index in range(3):
            np.testing.assert_array_equal(cache.read(index), expected.read(index))
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch", work, check)


def bundle(root: Path) -> int:
    """`best.asr` of the next epoch over the one before."""
    from killing import survive
    from tiny_bundle import write_bundle

    from asr.bundle import load_bundle

    (root / "before").mkdir()
    hashes = {load_bundle(write_bundle(root / "before/best.asr", training={"epoch": epoch})
                          ).bundle_hash for epoch in (2, 1)}

    def work(folder: Path) -> None:
        write_bundle(folder / "best.asr", training={"epoch": 2})

    def check(folder: Path) -> None:
        assert load_bundle(folder / "best.asr").bundle_hash in hashes
        work(folder)
        assert load_bundle(folder / "best.asr").training["epoch"] == 2
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch", work, check)


def run_directory(root: Path) -> int:
    """What a training writes before TensorFlow starts."""
    from killing import survive

    from asr.recipe import Recipe
    from asr.training.run_directory import RunDirectory, read_log

    (root / "before").mkdir()

    def work(folder: Path) -> None:
        with RunDirectory(folder / "run") as run:
            run.begin(Recipe())
            run.write_jsonl("excluded.jsonl", [{"id": "a"}])
            run.check_data(" ab", "1", {"train a": "1"})
            run.log({"event": "epoch", "epoch": 1})

    def check(folder: Path) -> None:
        work(folder)
        assert read_log(folder / "run")[-1]["epoch"] == 1
        assert json.loads((folder / "run/data.json").read_text())["alphabet"] == " ab"
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch", work, check)


def tones(root: Path) -> int:
    """A corpus that the project makes: an unfinished one is made again."""
    from killing import survive

    from asr.corpora.tones import generate

    (root / "before").mkdir()
    counts = {"num_train": 2, "num_valid": 1, "num_test": 1}
    expected = generate(root / "expected", **counts)

    def check(folder: Path) -> None:
        made = generate(folder / "tones", **counts)
        for split, rows in made.items():
            assert [u.text for u in rows] == [u.text for u in expected[split]]
            assert [u.audio.read_bytes() for u in rows] == [u.audio.read_bytes()
                                                            for u in expected[split]]
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch",
                   lambda f: generate(f / "tones", **counts) and None, check)


def transcripts(root: Path) -> int:
    """`asr transcribe -o`: each transcript is whole or not there; a second run makes the rest."""
    from killing import survive

    from asr.fleet import transcribe as fleet
    from asr.fleet.worklist import OutputFolder, find_items
    from asr.transcript import Transcript

    (root / "before/in").mkdir(parents=True)
    for name in "abc":
        a_wav(root / f"before/in/{name}.wav")

    def texts(recognizer, items, *arguments, **options):
        for item in items:
            yield fleet.Outcome(item, Transcript(item.relative.stem))

    fleet.transcribe_items = texts

    def work(folder: Path) -> None:
        items, _ = find_items([str(folder / "in")])
        list(fleet.transcribe_to_folder(None, items, OutputFolder(folder / "out", "txt"), "txt"))

    def check(folder: Path) -> None:
        for name in "abc":
            path = folder / f"out/{name}.txt"
            assert not path.exists() or path.read_text() == f"{name}\n"
        work(folder)
        assert [(folder / f"out/{name}.txt").read_text() for name in "abc"] == ["a\n", "b\n", "c\n"]
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch", work, check)


def archive(root: Path) -> int:
    """Unpacking: the corpus folder appears whole or not at all."""
    from killing import survive

    from asr.corpora.unpack import unpack

    (root / "before/work").mkdir(parents=True)
    with tarfile.open(root / "before/c.tar.gz", "w:gz") as file:
        for name in ("corpus/a.txt", "corpus/b/c.txt", "README"):
            info = tarfile.TarInfo(name)
            info.size = 5
            file.addfile(info, io.BytesIO(b"hello"))

    def work(folder: Path) -> None:
        unpack(folder / "c.tar.gz", folder / "dest", work=folder / "work", provides="corpus",
               members=("*",))

    def check(folder: Path) -> None:
        if not (folder / "dest/corpus").exists():
            work(folder)
            nothing_is_left(folder)
        assert (folder / "dest/corpus/b/c.txt").read_text() == "hello"
        assert (folder / "dest/corpus/a.txt").read_text() == "hello"

    return survive(root / "before", root / "scratch", work, check)


def shards(root: Path) -> int:
    """`asr shard`: the folder appears whole or not at all; a second run makes the rest."""
    from killing import survive

    from asr.corpora.sharding import Settings, write_shards
    from asr.manifest import Utterance

    (root / "before").mkdir()
    for seed, name in enumerate("abc"):
        a_wav(root / f"before/{name}.wav", seed)

    def work(folder: Path) -> None:
        rows = [Utterance(name, folder / f"{name}.wav", name, 0.5) for name in "abc"]
        write_shards({"train": rows}, folder / "out", Settings(seed=1, shard_recordings=2))

    work(root / "before")
    expected = {path.name: path.read_bytes() for path in (root / "before/out").iterdir()}
    for path in (root / "before/out").iterdir():
        path.unlink()
    (root / "before/out").rmdir()

    def check(folder: Path) -> None:
        if not (folder / "out").exists():
            work(folder)
        found = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
        assert found.keys() == expected.keys()
        assert all(found[name] == expected[name] for name in found if name != "shards.json")
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch", work, check)


def exported(root: Path) -> int:
    """`asr manifest export`: the folder appears whole or not at all, and clears up after others."""
    from killing import survive

    from asr import files
    from asr.corpora.exporting import export_manifest
    from asr.manifest import Utterance

    (root / "before").mkdir()
    a_wav(root / "before/a.wav", 1)

    def work(folder: Path) -> None:
        files._SWEPT.clear()
        export_manifest([Utterance("a", folder / "a.wav", "a", 0.5, speaker="s")], folder / "out",
                        "kaldi")

    work(root / "before")
    names = {path.name for path in (root / "before/out/train").iterdir()}
    shutil.rmtree(root / "before/out")

    def check(folder: Path) -> None:
        if not (folder / "out").exists():
            work(folder)
        assert {path.name for path in (folder / "out/train").iterdir()} == names
        files._SWEPT.clear()
        files._sweep_once(folder)
        nothing_is_left(folder)

    return survive(root / "before", root / "scratch", work, check)


JOBS = {job.__name__: job for job in (prepare, evaluation, first_evaluation, saved_score, features,
                                      bundle, run_directory, tones, transcripts, archive, shards,
                                      exported)}


# features and tones take most of a minute on a slow core: nightly.
@pytest.mark.parametrize("job", [
    pytest.param(job, marks=pytest.mark.slow) if job in ("features", "tones") else job
    for job in JOBS])
def test_a_kill_at_any_file_operation_leaves_a_whole_result(job, tmp_path):
    done = subprocess.run([sys.executable, Path(__file__).with_name("killing.py"), job, tmp_path],
                          capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(
                              [str(Path(__file__).parents[1]), str(Path(__file__).parent)])})
    assert done.returncode == 0, done.stderr[-3_000:]
    assert int(done.stdout) >= 3  # there was something to be killed
