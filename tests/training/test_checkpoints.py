"""Checkpoints that were damaged, and what may never become the best one."""

from __future__ import annotations

import math
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from asr.errors import CheckpointError, InputWarning, TrainingStopped

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tf
SAID: list[str] = []  # what the last `restored` warned of


def network(*values: float) -> SimpleNamespace:
    """As much of a model as a checkpoint looks at."""
    variables = [keras.Variable(np.full((40, 50), value, np.float32)) for value in values]
    return SimpleNamespace(variables=variables[:1], ema_weights=[],
                           optimizer=SimpleNamespace(variables=variables[1:]))


def checkpoints(folder, model, run_id="mine"):
    from asr.training.checkpoints import Checkpoints
    return Checkpoints(folder / "checkpoints", model, run_id)


@pytest.fixture
def run(tmp_path):
    """Two checkpoints, of the epochs 1 and 2; all values are the epoch."""
    from asr.training.checkpoints import TrainingState
    model = network(0, 0)
    kept = checkpoints(tmp_path, model)
    for epoch in (1, 2):
        for variable in (*model.variables, *model.optimizer.variables):
            variable.assign(np.full((40, 50), epoch, np.float32))
        kept.save(TrainingState(epoch=epoch))
    return tmp_path


def restored(folder) -> int:
    """The epoch that comes back; weights, optimizer and state must agree about it."""
    model = network(-1, -1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", InputWarning)
        state = checkpoints(folder, model).restore()
    SAID[:] = [str(one.message) for one in said]
    assert state is not None
    for variable in (*model.variables, *model.optimizer.variables):
        np.testing.assert_array_equal(variable.numpy(), state.epoch)
    return state.epoch


def cut(share):
    return lambda content: content[:int(len(content) * share)]


def flipped(share):
    def flip(content: bytes) -> bytes:
        at = int(len(content) * share)
        return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1:]
    return flip


def zeroed(content: bytes) -> bytes:
    middle = len(content) // 3
    page = min(4_096, len(content) - middle)
    return content[:middle] + bytes(page) + content[middle + page:]


DAMAGE = {"empty": cut(0), "a tenth": cut(0.1), "half": cut(0.5), "almost whole": cut(0.999),
          "bit at a fifth": flipped(0.2), "bit in the middle": flipped(0.5),
          "page of zeros": zeroed, "deleted": None}


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(run, part, damage):
    newest = run / f"checkpoints/last/ckpt-2.{part}"
    change = DAMAGE[damage]
    if change is None:
        newest.unlink()
    else:
        newest.write_bytes(change(newest.read_bytes()))
    assert restored(run) == 1
    (said,) = SAID
    named = "newest checkpoint" if change is None and part == "index" else "ckpt-2: "
    assert named in said and "Going on from ckpt-1, after epoch 1" in said


@pytest.mark.parametrize("pointer", [None, b"", b"\xff\x00 no protocol buffer",
                                     b'model_checkpoint_path: "ckpt-1"\n'])
def test_the_newest_is_found_whatever_the_pointer_says(run, pointer):
    """A process that is killed between a checkpoint and its pointer leaves the old pointer."""
    path = run / "checkpoints/last/checkpoint"
    path.unlink()
    if pointer is not None:
        path.write_bytes(pointer)
    assert restored(run) == 2


def test_what_a_killed_writer_leaves_is_not_taken_for_a_checkpoint(run):
    folder = run / "checkpoints/last"
    for part in ("index", "data-00000-of-00001"):
        half = (folder / f"ckpt-2.{part}").read_bytes()[:100]
        (folder / f"ckpt-3.{part}.tempstate1234").write_bytes(half)
    (folder / "ckpt-3.data-00000-of-00001").write_bytes(half)  # renamed first, without its index
    assert restored(run) == 2
    assert not SAID and not list(folder.glob("*.tempstate*"))


def test_whatever_a_kill_leaves_of_a_save_is_the_epoch_before_or_the_new_one(run, tmp_path):
    """TensorFlow works in C++, out of reach of test_kills.py: every subset of changes is tried."""
    from asr.training.checkpoints import TrainingState
    folder, old, new = run / "checkpoints/last", tmp_path / "old", tmp_path / "new"
    shutil.copytree(folder, old)
    model = network(3, 3)
    kept = checkpoints(run, model)
    kept.restore()
    for variable in (*model.variables, *model.optimizer.variables):
        variable.assign(np.full((40, 50), 3, np.float32))
    kept.save(TrainingState(epoch=3))
    shutil.copytree(folder, new)
    changed = sorted({p.name for p in (*old.iterdir(), *new.iterdir())
                      if not ((old / p.name).exists() and (new / p.name).exists()
                              and (old / p.name).read_bytes() == (new / p.name).read_bytes())})
    assert len(changed) == 5  # two files come, two go, and the pointer
    for taken in range(1 << len(changed)):
        shutil.rmtree(folder)
        shutil.copytree(old, folder)
        for bit, name in enumerate(changed):
            if taken >> bit & 1:
                (folder / name).unlink(missing_ok=True)
                if (new / name).exists():
                    shutil.copy(new / name, folder / name)
        assert restored(run) in (2, 3)


def test_none_that_is_whole_is_an_error_that_names_them(run):
    for number in (1, 2):
        (run / f"checkpoints/last/ckpt-{number}.index").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"No checkpoint in .*ckpt-2: .*ckpt-1: .*Restore "
                                              "the folder from a copy") as error:
        restored(run)
    assert error.value.exit_code == 5
    for path in (run / "checkpoints/last").glob("*.index"):
        path.unlink()
    with pytest.raises(CheckpointError, match="index files are missing"):
        restored(run)


def test_a_pointer_without_checkpoints_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoints/last").mkdir(parents=True)
    (tmp_path / "checkpoints/last/checkpoint").touch()
    assert checkpoints(tmp_path, network(0, 0)).restore() is None


def test_files_of_another_run_are_not_taken(run, tmp_path):
    from asr.training.checkpoints import TrainingState
    (tmp_path / "other").mkdir()
    checkpoints(tmp_path / "other", network(9, 9), "theirs").save(TrainingState(epoch=9))
    for part in ("index", "data-00000-of-00001"):
        shutil.copy(tmp_path / f"other/checkpoints/last/ckpt-1.{part}",
                    run / f"checkpoints/last/ckpt-2.{part}")
    assert restored(run) == 1
    assert "ckpt-2: belongs to another run" in SAID[0]


def test_a_new_run_has_none(tmp_path):
    assert checkpoints(tmp_path, network(0, 0)).restore() is None


def test_too_little_room_is_said_before_anything_is_written(run, monkeypatch):
    from asr.training.checkpoints import TrainingState
    model = network(3, 3)
    kept = checkpoints(run, model)
    before = {p.name: p.read_bytes() for p in (run / "checkpoints/last").iterdir()}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    with pytest.raises(TrainingStopped, match="1 kB are free .* needs 3.* kB. Make room"):
        kept.save(TrainingState(epoch=3))
    assert {p.name: p.read_bytes() for p in (run / "checkpoints/last").iterdir()} == before


@pytest.mark.slow
def test_what_is_not_a_number_is_never_the_best_and_the_best_outlives_a_resume(tmp_path,
                                                                               monkeypatch):
    from asr.bundle import load_bundle
    from asr.recipe import load_recipe
    from asr.training import read_log, train
    from asr.training.validation import Validation

    honest, seen = Validation.of, []

    def of(logs, prefix=""):
        seen.append(honest(logs, prefix))
        odd = {1: {"wer": 0.5, "loss": 3.0}, 2: {"wer": 0.1, "loss": math.nan},
               3: {"wer": math.nan, "loss": 1.0}, 4: {"wer": math.inf, "loss": 1.0},
               5: {"wer": 0.5, "loss": 3.5}, 6: {"wer": 0.5, "loss": 2.5}}
        return replace(seen[-1], **odd[len(seen)])

    monkeypatch.setattr(Validation, "of", of)
    from asr.corpora.tones import generate
    generate(tmp_path / "tones", num_train=16, num_valid=8, num_test=2)
    page = load_recipe(Path(__file__).parents[2] / "recipes/tones.toml", [
        "data.generate=", f'data.train=["{tmp_path}/tones/train.jsonl"]',
        f'data.valid=["{tmp_path}/tones/valid.jsonl"]', "model.units=8", "train.epochs=6",
        "train.patience=0"])
    first = train(page, tmp_path / "run", stop_after_epochs=3, quiet=True)
    bundle = load_bundle(tmp_path / "run/best.asr")
    assert (first.best_epoch, first.best_wer, bundle.training["epoch"]) == (1, 0.5, 1)
    last = train(page, tmp_path / "run", quiet=True)
    assert (last.best_epoch, last.best_wer, last.epochs) == (6, 0.5, 6)
    assert [r["best"] for r in read_log(tmp_path / "run") if r["event"] == "epoch"] == [
        True, False, False, False, False, True]


def test_near_100_percent_the_characters_decide():
    from asr.training.checkpoints import TrainingState
    from asr.training.monitor import is_best
    from asr.training.validation import Validation

    def epoch(wer, cer, loss=2.0):
        return Validation(loss, wer, cer, 0.5, 10, None)

    griko_3, griko_12 = epoch(0.980, 0.744), epoch(0.985, 0.637)
    state = TrainingState(best_wer=0.980, best_cer=0.744, best_loss=2.0)
    assert is_best(griko_12, state)
    state = TrainingState(best_wer=0.985, best_cer=0.637, best_loss=2.0)
    assert not is_best(griko_3, state)
    assert (griko_3.criterion, epoch(0.8, 0.4).criterion) == ("cer", "wer")
    assert is_best(epoch(0.80, 0.9), state)  # words are read at last
    assert not is_best(epoch(0.81, 0.1), TrainingState(best_wer=0.5, best_cer=0.3, best_loss=1))
    assert is_best(epoch(0.985, 0.637, loss=1.9), state)  # the loss breaks ties
    assert is_best(griko_3, TrainingState())


def test_a_batch_grows_while_there_is_room_and_use_for_it(tmp_path):
    from asr.training.run_directory import RunDirectory
    from asr.training.setup import choose_batch_frames

    def device(room, busy_at):
        def rate(frames):
            if frames > room:
                raise TrainingStopped("does not fit into memory")
            return min(frames, busy_at)
        return rate

    assert choose_batch_frames(device(room=10**9, busy_at=60_000)) == 64_000
    assert choose_batch_frames(device(room=40_000, busy_at=10**9)) == 32_000
    assert choose_batch_frames(device(room=10**9, busy_at=10**9)) == 512_000
    assert choose_batch_frames(device(room=8_000, busy_at=1)) == 8_000
    with pytest.raises(TrainingStopped, match="does not fit"):
        choose_batch_frames(device(room=1, busy_at=1))
    with RunDirectory(tmp_path) as run:
        run.check_data(" ab", "1", {})
        assert run.remembered("batch_frames", lambda: 16_000) == 16_000
        (tmp_path / "checkpoints/last").mkdir(parents=True)
        (tmp_path / "checkpoints/last/ckpt-1.index").touch()
        run.check_data(" ab", "1", {})
        assert run.remembered("batch_frames", lambda: 32_000) == 16_000
