"""A whole training run: it learns, resumes bit for bit, stops with a sentence, loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asr.bundle import load_bundle
from asr.errors import (
    CheckpointError,
    DataError,
    InputWarning,
    Interrupted,
    RecipeError,
    TrainingStopped,
    UsageError,
)
from asr.evaluation import evaluate
from asr.manifest import read_manifest, write_manifest
from asr.recipe import Recipe, load_recipe, recipe_from_dict
from asr.recognizer import load
from asr.training import read_log, train

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tf

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = ("model.units=16", "train.epochs=4", "train.warmup_steps=0", "train.ema=0.9",
         "model.dropout=0.1", "augment.time_masks=1", "augment.speeds=[0.9, 1.0]",
         "train.weight_decay=0.01", "train.intermediate_ctc=0.2")


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    """A small corpus of tones; its cache is shared by the tests of this file."""
    from asr.corpora.tones import generate
    folder = tmp_path_factory.mktemp("tones")
    generate(folder, num_train=60, num_valid=32, num_test=4)
    return folder


def recipe_for(tones: Path, *overrides: str) -> Recipe:
    return load_recipe(RECIPES / "tones.toml", [
        "data.generate=", f'data.train=["{tones}/train.jsonl"]',
        f'data.valid=["{tones}/valid.jsonl"]', f"data.cache_dir={tones}/cache",
        "data.batch_frames=1_500", *SMALL, *overrides])


@pytest.fixture(scope="module")
def whole(tones, tmp_path_factory) -> Path:
    """A run of 4 epochs without a break."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(recipe_for(tones), run, quiet=True).epochs == 4
    return run


@pytest.fixture(scope="module")
def stopped(tones, tmp_path_factory) -> Path:
    """The same, stopped after 2 of its 4 epochs; to be copied."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    assert not train(recipe_for(tones), run, stop_after_epochs=2, quiet=True).finished
    return run


@pytest.fixture
def half(stopped, tmp_path) -> Path:
    """A copy of `stopped` to go on from."""
    return shutil.copytree(stopped, tmp_path / "half")


def run_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "asr", *arguments], capture_output=True,
                          text=True, timeout=240, env={**os.environ, **environment})


def overrides_of(recipe: Recipe) -> list[str]:
    return [f"--set=data.generate={recipe.data.generate}",
            f"--set=data.train={json.dumps(recipe.data.train)}",
            f"--set=data.valid={json.dumps(recipe.data.valid)}",
            f"--set=data.cache_dir={recipe.data.cache_dir}", "--set=data.batch_frames=1_500",
            *[f"--set={item}" for item in SMALL]]


def epochs_of(run: Path) -> list[dict]:
    return [{k: r[k] for k in ("epoch", "loss", "valid_loss", "wer", "learning_rate")}
            for r in read_log(run) if r["event"] == "epoch"]


@pytest.mark.slow
def test_2_plus_2_epochs_are_4_bit_for_bit(tones, tmp_path):
    recipe = recipe_for(tones)
    command = ["train", str(RECIPES / "tones.toml"), *overrides_of(recipe), "--quiet",
               "--set=train.deterministic=true"]
    whole = run_cli(*command, str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    for _ in range(2):
        part = run_cli(*command, str(tmp_path / "parts"), "--stop-after=2")
        assert part.returncode == 0, part.stderr
    _assert_same_run(tmp_path / "whole", tmp_path / "parts")


def _assert_same_run(one: Path, other: Path) -> None:
    assert epochs_of(one) == epochs_of(other)
    assert (load_bundle(one / "best.asr").weights_hash
            == load_bundle(other / "best.asr").weights_hash)
    reader, copy = (tf.train.load_checkpoint(tf.train.latest_checkpoint(
        str(run / "checkpoints/last"))) for run in (one, other))
    names = sorted(reader.get_variable_to_shape_map())
    assert names == sorted(copy.get_variable_to_shape_map())
    for name in names:
        if name.startswith("variables"):
            np.testing.assert_array_equal(reader.get_tensor(name), copy.get_tensor(name), name)


def test_resume_in_one_process_goes_on_exactly(tones, whole, half):
    second = train(recipe_for(tones), half, quiet=True)
    assert second.finished and second.epochs == 4
    for mine, theirs in zip(epochs_of(whole), epochs_of(half), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)


def test_a_signal_in_the_middle_of_an_epoch_loses_no_step(tones, whole, tmp_path):
    import keras

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM") as stop:
        train(recipe_for(tones), tmp_path / "parts", callbacks=[Interrupt()], quiet=True)
    assert stop.value.exit_code == 143
    train(recipe_for(tones), tmp_path / "parts", quiet=True)
    for mine, theirs in zip(epochs_of(whole), epochs_of(tmp_path / "parts"), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)


def poisoned(monkeypatch, guilty: set[str]) -> None:
    """Features of some utterances are not finite, as if a disk had lied."""
    from asr.data.cache import FeatureCache
    honest = FeatureCache.read

    def read(self, index):
        features = honest(self, index)
        return np.full_like(features, np.nan) if self.rows[index].id in guilty else features

    monkeypatch.setattr(FeatureCache, "read", read)


def test_a_nan_utterance_is_skipped_and_named(tones, tmp_path, monkeypatch):
    poisoned(monkeypatch, {"train-0003"})
    result = train(recipe_for(tones, "train.epochs=2"), tmp_path / "run", quiet=True)
    events = [r for r in read_log(tmp_path / "run") if r["event"] == "nonfinite"]
    assert [r["ids"] for r in events] == [["train-0003"]] * 2
    assert result.epochs == 2
    weights = load_bundle(tmp_path / "run/best.asr").weights
    assert all(np.isfinite(w).all() for w in weights.values())


def test_a_loss_that_stays_nan_stops_and_keeps_a_checkpoint(tones, tmp_path, monkeypatch):
    poisoned(monkeypatch, {f"train-{i:04d}" for i in range(60)})
    with pytest.raises(TrainingStopped, match=r"not finite 3 times in a row, last for train-\d+"):
        train(recipe_for(tones), tmp_path / "run", quiet=True)
    assert list((tmp_path / "run/checkpoints/last").glob("ckpt-*.index"))


def test_damaged_checkpoints_fall_back_to_the_one_before(tones, half):
    run = half
    newest, before = sorted((run / "checkpoints/last").glob("ckpt-*.data*"), reverse=True)[:2]
    content = newest.read_bytes()
    for damaged in (b"", content[:len(content) // 2],
                    content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]):
        newest.write_bytes(damaged)
        with pytest.warns(InputWarning, match="Going on from ckpt-"):
            again = train(recipe_for(tones), run, stop_after_epochs=1, quiet=True)
        assert again.epochs == 2
        events = [r for r in read_log(run) if r["event"] == "resumed"]
        assert events[-1]["epoch"] in (1, 2)
        newest = sorted((run / "checkpoints/last").glob("ckpt-*.data*"), reverse=True)[0]
    for path in (run / "checkpoints/last").glob("ckpt-*.index"):
        path.write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="can be used"):
        train(recipe_for(tones), run, quiet=True)


def test_a_checkpoint_of_another_run_is_not_taken(tones, whole, half):
    shutil.rmtree(half / "checkpoints/last")
    shutil.copytree(whole / "checkpoints/last", half / "checkpoints/last")
    with pytest.raises(CheckpointError, match="belongs to another run"):
        train(recipe_for(tones), half, quiet=True)


def test_shuffled_labels_raise_the_alarm_and_right_ones_never(tones, tmp_path, rng):
    from dataclasses import replace

    from asr.manifest import read_manifest
    for split in ("train", "valid"):
        utterances = read_manifest(tones / f"{split}.jsonl")
        texts = rng.permutation([u.text for u in utterances])
        write_manifest(tones / f"shuffled-{split}.jsonl",
                       [replace(u, text=str(t)) for u, t in zip(utterances, texts, strict=True)])
    overrides = ["train.epochs=4", "data.max_utterances=1", "data.batch_frames=4_000",
                 "train.learning_rate=1e-2"]
    train(recipe_for(tones, *overrides, f'data.train=["{tones}/shuffled-train.jsonl"]',
                     f'data.valid=["{tones}/shuffled-valid.jsonl"]',
                     "data.max_bad_fraction=0.5"), tmp_path / "shuffled", quiet=True)
    coach = [r["coach"] for r in read_log(tmp_path / "shuffled") if r["event"] == "epoch"]
    assert coach[2].startswith("labels or time axis look broken")
    train(recipe_for(tones, *overrides), tmp_path / "right", quiet=True)
    coach = [r["coach"] for r in read_log(tmp_path / "right") if r["event"] == "epoch"]
    assert not any(c.startswith("labels") for c in coach)


def test_what_cannot_be_trained_on_is_listed_with_its_reason(tones, tmp_path):
    from dataclasses import replace

    from asr.manifest import read_manifest
    utterances = read_manifest(tones / "train.jsonl")
    bad = [replace(utterances[0], text="do 7"), replace(utterances[1], text="..."),
           replace(utterances[2], text="do re mi fa " * 20),
           replace(utterances[3], duration=0.01)]
    write_manifest(tones / "bad.jsonl", bad + utterances[4:])
    overrides = [f'data.train=["{tones}/bad.jsonl"]', "text.alphabet= adefilmorst",
                 "train.epochs=1"]
    fresh = f"data.cache_dir={tmp_path}/cache"
    with pytest.raises(DataError, match="train: 3 of 60 utterances cannot.*first 'train-000.*All"):
        train(recipe_for(tones, *overrides, fresh), tmp_path / "strict", quiet=True)
    assert len((tmp_path / "strict/excluded.jsonl").read_text("utf-8").splitlines()) == 3
    assert not (tmp_path / "cache").exists(), "refused before an hour of features"
    with pytest.raises(DataError, match="train: 4 of 60 utterances .*1 ctc.infeasible"):
        train(recipe_for(tones, *overrides, "data.max_bad_fraction=0.055"), tmp_path / "strict",
              quiet=True)
    result = train(recipe_for(tones, *overrides, "data.max_bad_fraction=0.1"), tmp_path / "run",
                   quiet=True)
    records = [json.loads(line) for line in
               (tmp_path / "run/excluded.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {r["id"]: r["code"] for r in records} == {
        "train-0000": "text.out_of_alphabet", "train-0001": "text.empty",
        "train-0002": "ctc.infeasible", "train-0003": "audio.too_short"}
    assert result.excluded == 4


def test_recordings_without_a_word_teach_to_read_nothing(tones, tmp_path):
    rows = read_manifest(tones / "train.jsonl")
    quiet = [replace(u, id=f"quiet-{n}", text="") for n, u in enumerate(rows[:9])]
    quiet.append(replace(rows[9], id="dots", text="..."))
    write_manifest(tones / "quiet.jsonl", rows + quiet)
    recipe = recipe_for(tones, f'data.train=["{tones}/quiet.jsonl"]', "train.epochs=1",
                        "data.max_bad_fraction=0.5")
    run = train(recipe, tmp_path / "without", quiet=True)
    assert run.excluded == 10
    recipe = replace(recipe, data=replace(recipe.data, non_speech=True, batch_frames=200))
    run = train(recipe, tmp_path / "with", quiet=True)  # batches of one, some without any label
    assert run.excluded == 1, "a text of which nothing is left is a fault all the same"
    log = [r for r in read_log(tmp_path / "with") if r["event"] == "epoch"]
    assert np.isfinite([log[-1]["loss"], log[-1]["valid_loss"]]).all()


def test_a_word_in_a_recording_without_one_is_an_error_of_validation(tones, whole, tmp_path):
    rows = read_manifest(tones / "valid.jsonl")
    spoken = [replace(u, id=f"spoken-{n}", text="") for n, u in enumerate(rows[:5])]
    words = sum(len(u.text.split()) for u in rows)
    write_manifest(tones / "spoken.jsonl", spoken)
    recipe = recipe_for(tones, f"train.initial_bundle={whole}/best.asr", "train.epochs=1",
                        "data.non_speech=true", "train.learning_rate=1e-7",
                        "train.final_learning_rate=0.0",
                        f'data.valid=["{tones}/valid.jsonl","{tones}/spoken.jsonl"]')
    train(recipe, tmp_path / "run", quiet=True)
    (start,) = [r for r in read_log(tmp_path / "run") if r["event"] == "start"]
    read = evaluate(load(whole), rows)
    inserted = {row.id: len(row.hypothesis.split()) for row in read.score.rows}
    inserted = sum(inserted[u.id] for u in rows[:5])
    assert inserted > 0
    assert start["wer"] == pytest.approx(read.score.wer + inserted / words)
    recipe = replace(recipe, data=replace(recipe.data, valid=(f"{tones}/spoken.jsonl",)))
    with pytest.raises(DataError, match="Nothing is said in any recording of data.valid"):
        train(recipe, tmp_path / "nothing", quiet=True)


def test_fine_tuning_follows_characters(tones, whole, tmp_path):
    base = f"train.initial_bundle={whole}/best.asr"
    mixed = recipe_for(tones, base, "model.dropout=0.3", "text.alphabet=tsromlifeda q",
                       "train.epochs=1", "train.learning_rate=1e-7",
                       "train.final_learning_rate=0.0")
    train(mixed, tmp_path / "second", quiet=True)
    first, second = read_log(whole), read_log(tmp_path / "second")
    kept = load_bundle(whole / "best.asr").training["epoch"]
    best = next(r for r in first if r["event"] == "epoch" and r["epoch"] == kept)
    tuned = [r for r in second if r["event"] == "epoch"]
    assert tuned[-1]["valid_loss"] == pytest.approx(best["valid_loss"], rel=0.05)
    train(recipe_for(tones, base, "model.subsampling=1", "train.epochs=1"), tmp_path / "finer",
          quiet=True)  # the same weights at another time step
    steps = [load_bundle(run / "best.asr").model.subsampling for run in (whole, tmp_path / "finer")]
    assert steps[1] == 1 != steps[0]
    with pytest.raises(UsageError, match="model.units is 16 there and 8 here.*--set "
                                         "model.units=16"):
        train(recipe_for(tones, base, "model.units=8"), tmp_path / "third", quiet=True)
    assert not (tmp_path / "third").exists()  # before any work


def test_errors_of_use(tones, tmp_path):
    with pytest.raises(RecipeError, match="must each name at least one manifest"):
        train(recipe_from_dict({}), tmp_path / "a", quiet=True)
    with pytest.raises(UsageError, match="stop_after_epochs"):
        train(recipe_for(tones), tmp_path / "b", stop_after_epochs=-1)


def test_edited_texts_are_refused_when_a_run_goes_on(tones, tmp_path):
    edited = recipe_for(tones, *[f'data.{split}=["{tmp_path}/{split}.jsonl"]'
                                 for split in ("train", "valid")], f"data.audio_root={tones}",
                        "train.epochs=2")
    for split in ("train", "valid"):  # paths are relative to the manifest
        write_manifest(tmp_path / f"{split}.jsonl", read_manifest(tones / f"{split}.jsonl"))
    train(edited, tmp_path / "run", stop_after_epochs=1, quiet=True)
    rows = {split: read_manifest(tones / f"{split}.jsonl") for split in ("train", "valid")}
    for split, utterances in rows.items():
        write_manifest(tmp_path / f"{split}.jsonl", [replace(u, text=u.text.replace("f", "v"))
                                                     for u in utterances])
    with pytest.raises(UsageError, match="incompatible.*alphabet.*vocab hash"):
        train(edited, tmp_path / "run")
    for split, utterances in rows.items():
        write_manifest(tmp_path / f"{split}.jsonl", utterances[:-1])
    with pytest.raises(UsageError, match="other data.*2 gone .first 'train train-"):
        train(edited, tmp_path / "run")
    for split, utterances in rows.items():
        write_manifest(tmp_path / f"{split}.jsonl", utterances)
    assert train(edited, tmp_path / "run").epochs == 2


def test_a_full_disk_stops_with_a_sentence_and_keeps_what_was(tones, half):
    run = half
    before = {p.name: p.read_bytes() for p in (run / "checkpoints/last").glob("ckpt-*")}
    script = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
              "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000));"
              "from asr.cli import main; main(sys.argv[1:])")
    child = subprocess.run(
        [sys.executable, "-c", script, "train", str(RECIPES / "tones.toml"), str(run),
         *overrides_of(recipe_for(tones)), "--set=train.epochs=3", "--quiet"],
        capture_output=True, text=True, timeout=240)
    assert child.returncode == 1, child.stderr
    assert "Traceback" not in child.stderr
    for name, content in before.items():
        assert (run / "checkpoints/last" / name).read_bytes() == content
    assert train(recipe_for(tones, "train.epochs=3"), run, quiet=True).epochs == 3


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_disk_that_fails_in_an_epoch_is_one_sentence_and_the_run_goes_on(split, tmp_path):
    import keras

    from asr.corpora.tones import generate

    generate(tmp_path, num_train=20, num_valid=32, num_test=4)
    recipe = recipe_for(tmp_path, "train.epochs=2")

    class DiskFails(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.fail(split == "train")

        def on_epoch_end(self, epoch, logs=None):
            self.fail(epoch == 0)

        def fail(self, now):
            for path in Path(recipe.data.cache_dir).rglob("shard-*") if now else ():
                os.truncate(path, path.stat().st_size // 50)

    with pytest.raises(DataError, match="can no longer be read .*start again"):
        train(recipe, tmp_path / "run", quiet=True, callbacks=[DiskFails()])
    with pytest.warns(InputWarning, match="is damaged"):
        assert train(recipe, tmp_path / "run", quiet=True).epochs == 2


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", ["ckpt.before_save", "ckpt.after_save", "file.before_rename",
                                       "file.after_rename"])
def test_kill_9_at_any_point_and_resume_is_the_uninterrupted_run(failpoint, tones, tmp_path):
    recipe = recipe_for(tones)
    command = ["train", str(RECIPES / "tones.toml"), *overrides_of(recipe), "--quiet",
               "--set=train.deterministic=true"]
    assert run_cli(*command, str(tmp_path / "whole")).returncode == 0
    assert run_cli(*command, str(tmp_path / "parts"), "--stop-after=1").returncode == 0
    killed = run_cli(*command, str(tmp_path / "parts"), ASR_TESTING="1", ASR_FAILPOINT=failpoint)
    assert killed.returncode == -signal.SIGKILL
    (tmp_path / "parts/mine.txt").write_text("stays", encoding="utf-8")
    assert run_cli(*command, str(tmp_path / "parts")).returncode == 0
    mine = {r["epoch"]: r for r in epochs_of(tmp_path / "parts")}  # a repeated epoch is the same
    assert list(mine.values()) == epochs_of(tmp_path / "whole")
    assert (load_bundle(tmp_path / "whole/best.asr").weights_hash
            == load_bundle(tmp_path / "parts/best.asr").weights_hash)
    assert (tmp_path / "parts/mine.txt").read_text(encoding="utf-8") == "stays"


def test_recordings_in_both_splits_are_said(tones, tmp_path, capsys):
    both = [f'data.valid=["{tones}/train.jsonl"]', "train.epochs=1"]
    train(recipe_for(tones, *both), tmp_path / "run")
    assert "60 recordings and 60 ids are in both" in capsys.readouterr().err
