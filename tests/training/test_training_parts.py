"""The parts of training that need no TensorFlow: schedule, coach, run directory, alphabets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from oracles import ctc_loss_by_enumeration

from asr.errors import CheckpointError, ManifestError, RecipeError, UsageError
from asr.recipe import Recipe, TrainSettings, load_recipe, recipe_from_dict
from asr.text.tokenizer import CharTokenizer
from asr.training import coach, train
from asr.training.run_directory import RunDirectory, read_log
from asr.training.schedule import is_over, learning_rate, progress
from asr.training.table import EpochTable


def test_warm_up_then_decay_to_the_final_rate():
    settings = TrainSettings(learning_rate=1.0, final_learning_rate=0.1, warmup_steps=10)
    rates = [learning_rate(settings, step, progress(settings, step, 100, 0.0))
             for step in range(101)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == pytest.approx(rates[10], rel=0.05)
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_the_clock_pulls_the_decay_along():
    settings = TrainSettings(max_minutes=10)
    assert progress(settings, 10, 100, 0.0) == pytest.approx(0.1)
    assert progress(settings, 10, 100, 300.0) == pytest.approx(0.5)
    assert progress(settings, 10, 100, 6_000.0) == 1.0
    constant = TrainSettings(decay="constant", warmup_steps=0, learning_rate=0.5)
    assert learning_rate(constant, 99, 0.99) == 0.5


def test_the_floor_is_the_best_constant_distribution(rng):
    labels, frames, vocab = [[1, 2], [2, 2]], [4, 4], 3
    floor = coach.listening_floor(frames, labels, vocab)
    unigram = np.array([1, 1, 3]) / 4  # of labels 0 (unused), 1, 2
    grid = []
    for q in (0.5, 0.6, 0.7):
        probs = np.array([1 - q, q * 0.25, q * 0.75])
        logits = np.tile(np.log(probs), (4, 1))
        grid.append(sum(ctc_loss_by_enumeration(logits, x) for x in labels) / 4)
    assert unigram[2] == 0.75
    assert floor == pytest.approx(min(grid), abs=0.05)
    assert floor <= min(grid) + 1e-9


def facts(**changes):
    return coach.EpochFacts(**{"epoch": 3, "steps": 200, "loss": 2.8, "floor": 2.9,
                               "blank_share": 0.99, "emitted": 0, "gap": 0.3, **changes})


def test_the_coach_raises_the_alarm_only_when_exchanged_labels_do_as_well():
    assert coach.advice(facts()).alarm
    assert coach.advice(facts(emitted=50, loss=1.0)).alarm
    assert not coach.advice(facts(epoch=2)).alarm
    assert not coach.advice(facts(steps=100)).alarm
    assert "still on the blank plateau" in coach.advice(facts(gap=5.0)).text
    assert "normal so far" in coach.advice(facts(gap=5.0, emitted=100)).text


def test_the_table_shows_the_coach_first_and_when_an_alarm_begins_or_ends(capsys):
    table = EpochTable()
    good, better, bad = (coach.Advice("good"), coach.Advice("better"),
                         coach.Advice("bad", alarm=True))
    for epoch, advice in enumerate([good, better, bad, bad, good], start=1):
        table.coach(advice, epoch)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["  coach: good", "  coach: bad", "  coach: good"]


def test_the_pairing_gap_counts_standard_errors(rng):
    right = rng.normal(10, 1, 200)
    assert abs(coach.pairing_gap(right, right + rng.normal(0, 1, 200))) < 4
    assert coach.pairing_gap(right, right + 1 + rng.normal(0, 1, 200)) > 8
    assert coach.pairing_gap(right[:5], right[:5] + 1) is None


def test_a_run_directory_is_held_by_one_training(tmp_path):
    with RunDirectory(tmp_path / "run"), pytest.raises(UsageError, match="in use by another"):
        RunDirectory(tmp_path / "run")
    RunDirectory(tmp_path / "run").close()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Cannot use"):
        RunDirectory(tmp_path / "file")


@pytest.mark.parametrize("name", ["talk.wav", "train.jsonl", "speaker", "model.asr"])
def test_a_folder_of_something_else_is_no_run(tmp_path, name):
    """A run among recordings would make a model of their folder, and its files hard to tell."""
    for kept in ("my.toml", "README.md", "nohup.out", ".DS_Store", "cache"):
        (tmp_path / kept).touch()
    with RunDirectory(tmp_path):
        pass  # notes and recipes may be there
    (tmp_path / ".lock").unlink()
    (tmp_path / name).touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=f"is no run, but holds {name}. Name a new folder"):
        RunDirectory(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "recipe.toml").touch()  # a run, of which somebody removed the lock
    with RunDirectory(tmp_path):
        pass


def test_other_settings_or_vocabulary_are_refused_before_training(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.begin(Recipe())
        first = run.run_id
        run.begin(recipe_from_dict({"seed": 7}))  # nothing is learnt yet: any setting may change
        assert load_recipe(tmp_path / "recipe.toml").seed == 7
        run.begin(Recipe())
    (tmp_path / "checkpoints/last").mkdir(parents=True)
    (tmp_path / "checkpoints/last/ckpt-1.index").touch()
    with RunDirectory(tmp_path) as run:
        run.begin(recipe_from_dict({"train": {"epochs": 3}}))
        assert load_recipe(tmp_path / "recipe.toml").train.epochs == 3
        assert run.run_id == first
        with pytest.raises(UsageError, match="incompatible.*text.alphabet was '', is 'ab'"):
            run.begin(recipe_from_dict({"text": {"alphabet": "ab"}}))
    (tmp_path / "versions.json").write_text("{", encoding="utf-8")
    with RunDirectory(tmp_path) as run, pytest.raises(CheckpointError, match="damaged"):
        run.begin(recipe_from_dict({"train": {"epochs": 3}}))


def test_another_alphabet_and_other_data_are_refused_by_name(tmp_path):
    mine = {"train a": "1", "train b": "2", "valid c": "3"}
    with RunDirectory(tmp_path) as run:
        run.begin(Recipe())
        run.check_data(" ab", "1", {})
        run.check_data(" abc", "2", mine)  # nothing is learnt yet: put right
    (tmp_path / "checkpoints/last").mkdir(parents=True)
    (tmp_path / "checkpoints/last/ckpt-1.index").touch()
    with RunDirectory(tmp_path) as run:
        run.check_data(" abc", "2", mine)
        for other, said in (({**mine, "train b": "9"}, "1 changed .first 'train b'"),
                            ({"train a": "1", "valid c": "3"}, "1 gone .first 'train b'"),
                            ({**mine, "train d": "4"}, "1 new .first 'train d'"),
                            (mine, "their order is another")):
            with pytest.raises(UsageError, match=f"incompatible.*other data.*{said}"):
                run.check_data(" abc", "3", other)
        run.check_data(" abc", "2", mine)
        with pytest.raises(UsageError, match="incompatible.*' abc' .vocab hash .*have ' abz'"):
            run.check_data(" abz", "2", mine)
        (tmp_path / "data.json").write_text("{}", encoding="utf-8")
        with pytest.raises(CheckpointError, match="damaged"):
            run.check_data(" abc", "2", mine)
        (tmp_path / "data.json").unlink()  # a run of an older version
        run.check_data(" abc", "2", mine)


def test_a_run_is_over_when_epochs_clock_or_patience_are_spent():
    settings = TrainSettings(epochs=10, max_minutes=2, patience=3)
    stands = {"epoch": 5, "best_epoch": 4, "seconds": 60.0}
    assert not is_over(settings, **stands)
    assert is_over(settings, **{**stands, "epoch": 10})
    assert is_over(settings, **{**stands, "seconds": 120.0})
    assert is_over(settings, **{**stands, "best_epoch": 2})
    assert not is_over(TrainSettings(epochs=10), **{**stands, "seconds": 1e6, "best_epoch": 0})


def test_a_finished_run_says_so_at_once_and_more_epochs_go_on(tmp_path, capsys, monkeypatch):
    class GoesOn(Exception):
        pass

    def prepare(*arguments):
        raise GoesOn

    monkeypatch.setattr("asr.training.session.prepare", prepare)
    page = {"data": {"generate": "tones"}, "train": {"epochs": 4}}
    with RunDirectory(tmp_path) as run:
        run.begin(recipe_from_dict(page))
        run.log({"event": "finished", "epochs": 4, "best_wer": 0.125, "best_epoch": 3,
                 "minutes": 1.5, "excluded": 2})
    with pytest.raises(GoesOn):  # the log alone is no model
        train(recipe_from_dict(page), tmp_path)
    (tmp_path / "best.asr").touch()
    result = train(recipe_from_dict(page), tmp_path)
    assert "is finished. To go on, raise train.epochs" in capsys.readouterr().err
    assert str(result).endswith("4 epochs, 1.5 min, best validation WER 12.50 % (epoch 3)")
    assert (result.finished, result.excluded) == (True, 2)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(GoesOn):
        train(recipe_from_dict({**page, "train": {"epochs": 5}}), tmp_path)
    with RunDirectory(tmp_path) as run:
        run.log({"event": "resumed"})
    with pytest.raises(GoesOn):  # a part was begun after it, and not ended
        train(recipe_from_dict({**page, "train": {"epochs": 5}}), tmp_path)


def test_missing_manifests_are_named_with_the_command_that_makes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = {"data": {"train": ["data/x/train.jsonl"], "valid": ["data/x/dev.jsonl"]}}
    with pytest.raises(ManifestError, match=r"data/x/train.jsonl \(and 1 more\).*does not exist.*"
                                            r"asr prepare CORPUS SOURCE data/x; the head"):
        train(recipe_from_dict(page), "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("page", [
    {"augment": {"noise_dir": "nowhere", "noise_probability": 0.5}},
    {"train": {"initial_bundle": "nowhere"}}])
def test_noise_and_bundles_that_are_missing_are_said_before_any_work(tmp_path, page):
    with pytest.raises(RecipeError, match="is 'nowhere', which does not exist in .* --set"):
        train(recipe_from_dict({"data": {"generate": "tones"}, **page}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_network_in_one_line():
    from asr.training.preparation import settings_summary
    page = {"model": {"front_end": "stack", "stacking": 3, "subsampling": 3, "num_layers": 2,
                      "units": 8}}
    assert settings_summary(recipe_from_dict(page)) == (
        "3 frames stacked, every 3rd frame kept, 2 x 8 bidirectional LSTM")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_signal_leaves_at_once(name, code):
    script = ("import os, signal\n"
              "from asr.training.signals import SignalWatch\n"
              "with SignalWatch() as watch:\n"
              f"    os.kill(os.getpid(), signal.{name})\n"
              "    print(watch.received, flush=True)\n"
              f"    os.kill(os.getpid(), signal.{name})\n"
              "    print('still here', flush=True)\n")
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                           timeout=60)
    assert child.returncode == code
    assert child.stdout.split() == [str(int(getattr(signal, name)))]
    assert f"{name}: finishing this step and writing a checkpoint" in child.stderr


def test_the_files_of_the_user_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with RunDirectory(tmp_path) as run:
        run.begin(Recipe())
        run.log({"event": "x"})
        run.write_jsonl("excluded.jsonl", [{"id": "a"}])
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as file:
        file.write('{"torn')
    assert [r["event"] for r in read_log(tmp_path)] == ["x"]
    assert json.loads((tmp_path / "versions.json").read_text(encoding="utf-8"))["packages"]


def test_an_alphabet_is_remapped_by_character(rng):
    from asr.training.initial import remap_rows
    old, new = CharTokenizer("abc"), CharTokenizer("cxa")
    kernel, bias = rng.normal(size=(4, 4)).astype("f4"), rng.normal(size=4).astype("f4")
    new_kernel, new_bias = remap_rows(old, new, kernel, bias, rng)
    for label, source in ((0, 0), (1, 3), (3, 1)):
        np.testing.assert_array_equal(new_kernel[:, label], kernel[:, source])
        assert new_bias[label] == bias[source]
    assert new_bias[2] < bias.min()


def test_slow_layers_are_read_or_refused():
    from asr.training.initial import slow_layers
    assert slow_layers(["lstm_0:0.1", "output:1"]) == {"lstm_0": 0.1, "output": 1.0}
    for wrong in ("lstm_0", "lstm_0:2", ":0.5", "lstm_0:x"):
        with pytest.raises(RecipeError, match="write LAYER:FACTOR"):
            slow_layers([wrong])


def test_alphabets_are_compared_by_character():
    from asr.training.initial import alphabet_difference
    assert alphabet_difference(CharTokenizer(" ab"), CharTokenizer("ba ")) == (
        "alphabet: 3 characters as before")
    assert alphabet_difference(CharTokenizer(" ab"), CharTokenizer(" bcß")) == (
        "alphabet: 2 characters as before; new: 'c' (U+0063), 'ß' (U+00DF); no longer there: "
        "'a' (U+0061)")


def test_what_differs_from_the_initial_bundle_is_named_before_any_work(tmp_path):
    from tiny_bundle import FEATURES, MODEL, write_bundle

    from asr.recipe import recipe_to_dict
    path = write_bundle(tmp_path / "start.asr")
    sections = recipe_to_dict(Recipe(features=FEATURES, model=MODEL))
    page = {"data": {"generate": "tones"}, "train": {"initial_bundle": str(path)},
            "features": {**sections["features"], "n_mels": 40},
            "model": {**sections["model"], "dropout": 0.5, "subsampling": 1, "layer_norm": False}}
    with pytest.raises(UsageError, match="features.n_mels is 20 there and 40 here; "
                                         "model.layer_norm is True there and False here.*--set "
                                         "features.n_mels=20 --set model.layer_norm=true"):
        train(recipe_from_dict(page), tmp_path / "run")
    assert not (tmp_path / "run").exists()
