"""Training as Keras users know it: asr.dataset with fit, callbacks in asr.train, own networks."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import asr
from asr.bundle import load_bundle
from asr.errors import DataError, UsageError
from asr.manifest import read_manifest
from asr.recipe import Recipe, load_recipe
from asr.training import read_log

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tf

TONES = Path(__file__).parents[2] / "recipes/tones.toml"


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    from asr.corpora.tones import generate
    folder = tmp_path_factory.mktemp("tones")
    generate(folder, num_train=80, num_valid=24, num_test=4)
    return folder


def recipe_for(tones: Path, *overrides: str) -> Recipe:
    return load_recipe(TONES, [
        "data.generate=", f'data.train=["{tones}/train.jsonl"]',
        f'data.valid=["{tones}/valid.jsonl"]', f"data.cache_dir={tones}/cache", "model.units=16",
        "train.epochs=3", "train.warmup_steps=0", "data.batch_frames=2_000", *overrides])


@pytest.fixture(scope="module")
def page(tones):
    """What every Keras user tries first, as far as the trained model."""
    recipe = recipe_for(tones, "model.units=48", "data.batch_frames=1_500")
    train = asr.dataset(tones / "train.jsonl", recipe, training=True)
    valid = asr.dataset(tones / "valid.jsonl", recipe, tokenizer=train.tokenizer)
    keras.utils.set_random_seed(1)
    model = asr.AcousticModel(recipe, vocab_size=train.tokenizer.vocab_size)
    model.compile(keras.optimizers.Adam(5e-3, global_clipnorm=5.0), loss=asr.CTCLoss(),
                  metrics=[asr.WordErrorRate(train.tokenizer)])
    stop = keras.callbacks.EarlyStopping("val_wer", patience=6, mode="min",
                                         restore_best_weights=True)
    history = model.fit(train, validation_data=valid, epochs=30, verbose=0, callbacks=[stop])
    return recipe, train, valid, model, history.history


def test_the_page_learns_the_tones(page):
    recipe, train, valid, model, history = page
    assert min(history["val_wer"]) <= 0.1, history["val_wer"]
    assert model.evaluate(valid, verbose=0, return_dict=True)["wer"] == pytest.approx(
        min(history["val_wer"]))


def test_a_network_that_keras_trained_becomes_a_recogniser_and_back(page, tones, tmp_path):
    recipe, train, valid, model, _ = page
    recognizer = asr.Recognizer.from_keras(model, recipe, train.tokenizer)
    row = read_manifest(tones / "valid.jsonl")[0]
    assert recognizer.transcribe(row.audio).text == row.text
    recognizer.save(tmp_path / "tones.asr")
    loaded = asr.load(tmp_path / "tones.asr")
    assert loaded.transcribe(row.audio).text == row.text
    assert loaded.bundle.reference is not None
    x, _ = next(iter(valid))
    np.testing.assert_array_equal(loaded.keras_model()(x), model(x))
    np.testing.assert_array_equal(asr.load(tmp_path / "tones.asr", "keras").keras_model()(x),
                                  model(x))
    with pytest.raises(UsageError, match="outputs, the tokenizer 4 labels"):
        asr.Recognizer.from_keras(model, recipe, asr.CharTokenizer("abc"))
    with pytest.raises(UsageError, match="other settings than the recipe"):
        asr.Recognizer.from_keras(model, recipe_for(tones), train.tokenizer)
    with pytest.raises(UsageError, match="network of your own: give build=function"):
        asr.Recognizer.from_keras(gru_stack(recipe, 40, 5), recipe, train.tokenizer)
    with pytest.raises(UsageError, match="needs the mean and std of training: cmvn=train.cmvn"):
        asr.Recognizer.from_keras(model, recipe_for(tones, "model.units=48", "features.cmvn=global"
                                                    ), train.tokenizer)


def test_every_pass_is_another_epoch_of_the_same_number_of_batches(tones):
    recipe = recipe_for(tones, "augment.speeds=[0.9,1.0]", "augment.time_masks=1")
    data = asr.dataset(tones / "train.jsonl", recipe, training=True)
    passes = [list(data) for _ in range(3)]
    assert [len(p) for p in passes] == [int(data.cardinality())] * 3
    firsts = {p[0][0]["features"].numpy().tobytes() for p in passes}
    assert len(firsts) == 3
    assert all(sum(len(x["num_frames"]) for x, _ in p) == 80 for p in passes)
    again = asr.dataset(tones / "train.jsonl", recipe, training=True)
    np.testing.assert_array_equal(next(iter(again))[0]["features"], passes[0][0][0]["features"])


def test_a_dataset_says_what_it_lacks(tones, tmp_path, caplog):
    recipe = recipe_for(tones)
    with pytest.raises(UsageError, match="needs the labels of training"):
        asr.dataset(tones / "valid.jsonl", recipe)
    train = asr.dataset(tones / "train.jsonl", recipe_for(tones, "features.cmvn=global"), True)
    assert [part.shape for part in train.cmvn] == [(train.element_spec[0]["features"].shape[-1],)
                                                   ] * 2
    with pytest.raises(UsageError, match="needs the mean and std of the training set"):
        asr.dataset(tones / "valid.jsonl", recipe_for(tones, "features.cmvn=global"),
                    tokenizer=train.tokenizer)
    few = read_manifest(tones / "train.jsonl")[:9]
    spoken = asr.dataset(few, recipe_for(tones, "features.cmvn=global"), True)
    silent = [replace(u, id=f"{u.id}-silent", text="") for u in
              read_manifest(tones / "train.jsonl")[9:20]]
    mixed = asr.dataset(few + silent, recipe_for(tones, "features.cmvn=global",
                                                 "data.non_speech=true"), True)
    np.testing.assert_array_equal(mixed.cmvn, spoken.cmvn)  # of voices, not of noise
    with pytest.raises(DataError, match="training: 9 of 9 utterances cannot be used.*alphabet"):
        asr.dataset(few, recipe, True, tokenizer=asr.CharTokenizer("xyz"))
    own = asr.dataset(few, recipe_for(tones, "data.cache_dir="), True)
    folder = Path(own.temporary_cache.name)
    assert any(folder.iterdir()) and own.excluded == []
    own.temporary_cache.cleanup()


class Recorder(keras.callbacks.Callback):
    """What a user's callback sees of a run."""

    def __init__(self):
        super().__init__()
        self.begun, self.epochs, self.logs = 0, [], []

    def on_train_begin(self, logs=None):
        self.begun += 1

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)
        self.logs.append(dict(logs))


def test_one_fit_over_all_epochs_and_another_when_it_resumes(tones, tmp_path):
    first, second = Recorder(), Recorder()
    recipe = recipe_for(tones)
    asr.train(recipe, tmp_path / "run", callbacks=[first], stop_after_epochs=1, quiet=True)
    asr.train(recipe, tmp_path / "run", callbacks=[second], quiet=True)
    assert (first.begun, first.epochs, second.begun, second.epochs) == (1, [0], 1, [1, 2])
    assert second.params["epochs"] == 3
    assert second.params["steps"] > 1
    log = [r for r in read_log(tmp_path / "run") if r["event"] == "epoch"]
    for seen, record in zip(first.logs + second.logs, log, strict=True):
        assert {"loss", "val_loss", "val_wer", "val_cer"} <= set(seen)
        assert seen["loss"] == pytest.approx(record["loss"], rel=1e-5)
        assert (seen["val_wer"], seen["val_cer"]) == (record["wer"], record["cer"])


def test_every_callback_of_keras_does_its_work_in_a_run(tones, tmp_path):
    class Falls(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.seen = float(self.model.optimizer.learning_rate)

    recipe = recipe_for(tones, "train.epochs=9", "train.decay=constant")
    remembered = Falls()
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=100.0),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="val_wer",
                                        mode="min", save_best_only=True),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=100.0),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(), remembered]
    callbacks[0].patience = 3
    result = asr.train(recipe, tmp_path / "run", callbacks=callbacks, quiet=True)
    assert result.epochs == 4, "EarlyStopping stops the run"
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text("utf-8").splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert {"val_loss", "val_wer", "val_cer"} <= set(rows[0])
    saved = keras.saving.load_model(tmp_path / "best.keras")
    assert saved.vocab_size == load_bundle(tmp_path / "run/best.asr").tokenizer.vocab_size
    rates = [r["learning_rate"] for r in read_log(tmp_path / "run") if r["event"] == "epoch"]
    assert rates == pytest.approx([rates[0], rates[0], rates[0] / 2, rates[0] / 4])


@pytest.mark.slow
def test_a_learning_rate_scheduler_replaces_the_schedule(tones, tmp_path):
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))
    asr.train(recipe_for(tones), tmp_path / "run", callbacks=[schedule], quiet=True)
    rates = [r["learning_rate"] for r in read_log(tmp_path / "run") if r["event"] == "epoch"]
    assert rates == pytest.approx([0.01, 0.005, 0.01 / 3])


def test_stop_training_is_honoured_in_an_epoch_and_the_run_goes_on(tones, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    stopped = asr.train(recipe_for(tones), tmp_path / "run", callbacks=[Stop()], quiet=True)
    assert stopped.epochs == 1
    assert asr.train(recipe_for(tones), tmp_path / "run", quiet=True).epochs == 3


def test_tensorboard_s_callback(tones, tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra [tensorboard]")
    board = keras.callbacks.TensorBoard(str(tmp_path / "board"))
    asr.train(recipe_for(tones, "train.epochs=1"), tmp_path / "run", callbacks=[board], quiet=True)
    assert {p.name for p in (tmp_path / "board").iterdir()} >= {"train", "validation"}


def test_callbacks_that_report_elsewhere(tones, tmp_path, capsys):
    import http.server
    import threading
    received = []

    class Keep(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    history = keras.callbacks.History()
    with http.server.HTTPServer(("127.0.0.1", 0), Keep) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monitor = keras.callbacks.RemoteMonitor(f"http://127.0.0.1:{server.server_port}",
                                                send_as_json=True)
        asr.train(recipe_for(tones, "train.epochs=1"), tmp_path / "run", quiet=True,
                  callbacks=[history, monitor, keras.callbacks.ProgbarLogger()])
        server.shutdown()
    (epoch,) = [r for r in read_log(tmp_path / "run") if r["event"] == "epoch"]
    assert history.history["val_wer"] == [epoch["wer"]]
    assert [(r["epoch"], r["val_wer"]) for r in received] == [(0, epoch["wer"])]
    assert not capsys.readouterr().out  # as with fit(verbose=0)


def test_callbacks_that_cannot_work_are_refused(tones, tmp_path):
    with pytest.raises(UsageError, match="BackupAndRestore is not needed"):
        asr.train(recipe_for(tones), tmp_path / "run",
                  callbacks=[keras.callbacks.BackupAndRestore(str(tmp_path))])
    with pytest.raises(UsageError, match="SwapEMAWeights is not needed: .* train.ema"):
        asr.train(recipe_for(tones), tmp_path / "run", callbacks=[keras.callbacks.SwapEMAWeights()])
    with pytest.raises(UsageError, match="must be keras.callbacks.Callback objects; got 'csv'"):
        asr.train(recipe_for(tones), tmp_path / "run", callbacks=["csv"])


def gru_stack(recipe, num_features, vocab_size):
    """A functional model."""
    step = recipe.model.subsampling
    features = keras.Input((None, num_features), name="features")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    hidden = keras.layers.Conv1D(24, 3, strides=step, padding="same", activation="relu")(features)
    hidden = keras.layers.Bidirectional(keras.layers.GRU(24, return_sequences=True))(hidden)
    logits = keras.layers.Dense(vocab_size)(hidden)
    model = keras.Model({"features": features, "num_frames": num_frames}, logits)
    model.output_length = lambda n: -(-n // step)
    return model


def test_a_network_of_ones_own_trains_resumes_and_is_used_like_every_other(tones, tmp_path):
    recipe, run = recipe_for(tones, "train.epochs=6", "train.ema=0.5"), tmp_path / "run"
    asr.train(recipe, run, build=gru_stack, stop_after_epochs=1, quiet=True)
    with pytest.raises(UsageError, match="was built by gru_stack, this call builds it by "
                                         "asr.AcousticModel"):
        asr.train(recipe, run, quiet=True)
    result = asr.train(recipe, run, build=gru_stack, quiet=True)
    losses = [r["valid_loss"] for r in read_log(run) if r["event"] == "epoch"]
    assert (result.epochs, len(losses)) == (6, 6)
    assert losses[-1] < 0.9 * losses[0]
    recognizer = asr.load(run, build=gru_stack)
    valid = read_manifest(tones / "valid.jsonl")
    report = asr.evaluate(recognizer, valid)
    assert report.wer == pytest.approx(result.best_wer, abs=0.02)
    heard = recognizer.transcribe(valid[0].audio)
    assert all(0 <= word.start < word.end <= heard.duration for word in heard.words)
    recognizer.save(tmp_path / "copy.asr")
    assert load_bundle(tmp_path / "copy.asr").network == "gru_stack"
    assert "gru_stack" in repr(recognizer)
    config = json.loads(json.dumps(recognizer.describe()))
    assert config["training"]["epoch"] == result.best_epoch
    with pytest.raises(UsageError, match=r"never holds code.*asr.load\(.*build=gru_stack\)"):
        asr.load(run)
    with pytest.raises(UsageError, match="engine numpy runs networks of asr.AcousticModel"):
        asr.load(run, "numpy", build=gru_stack)
    with pytest.raises(UsageError, match="cannot be looked into"):
        recognizer.inspect(valid[0].audio)
    with pytest.raises(UsageError, match="narrow builds another network"):
        def narrow(recipe, num_features, vocab_size):
            return _small(recipe, num_features, vocab_size)
        asr.load(run, build=narrow)
    with pytest.raises(UsageError, match="leave out build"):
        asr.load(build=gru_stack)


def _small(recipe, num_features, vocab_size):
    model = keras.Sequential([keras.layers.Dense(vocab_size)])

    class Small(keras.Model):
        def call(self, x):
            return model(x["features"])[:, ::recipe.model.subsampling]

        def output_length(self, n):
            return -(-n // recipe.model.subsampling)

    return Small()


def test_a_network_that_does_not_fit_the_recipe_is_refused(tones, tmp_path):
    def sparse(recipe, num_features, vocab_size):
        model = _small(recipe, num_features, vocab_size)
        model.output_length = lambda n: -(-n // 7)
        return model

    def wide(recipe, num_features, vocab_size):
        return _small(recipe, num_features, vocab_size + 1)

    for build, sentence in ((sparse, "sparse: output_length.2. is 1; the recipe has "
                                     "model.subsampling = 1 .*which mean 2"),
                            (wide, "wide: 2 utterances of 13 frames give .*expected logits"),
                            (lambda *a: keras.Sequential([]), "does not say its output length")):
        with pytest.raises(UsageError, match=sentence):
            asr.train(recipe_for(tones, "model.subsampling=1"), tmp_path / build.__name__,
                      build=build, quiet=True)
    fewer = recipe_for(tones, "model.edge_frames=2", "train.edge_frames=1")
    with pytest.raises(UsageError, match="train.edge_frames = 1 is for asr.AcousticModel"):
        asr.train(fewer, tmp_path / "fewer", build=_small, quiet=True)


def test_every_kept_checkpoint_can_be_exported(tones, tmp_path, capsys):
    from asr.cli import run as command
    recipe, run = recipe_for(tones, "train.epochs=5", "train.ema=0.5"), tmp_path / "run"
    result = asr.train(recipe, run, quiet=True)
    epochs = {r["epoch"]: r for r in read_log(run) if r["event"] == "epoch"}
    capsys.readouterr()
    assert command(["train", str(run / "recipe.toml"), str(run), "--export", "last"]) == 0
    assert capsys.readouterr().out.strip() == str(run / "last.asr")
    valid = read_manifest(tones / "valid.jsonl")
    for which in ("last", "4", str(result.best_epoch)):
        path = asr.training.export_checkpoint(run, which)
        bundle = load_bundle(path)
        epoch = bundle.training["epoch"]
        assert epoch == (5 if which == "last" else int(which))
        assert bundle.training["valid_wer"] == epochs[epoch]["wer"]
        assert asr.evaluate(asr.load(path), valid).wer == pytest.approx(
            epochs[epoch]["wer"], abs=1e-12)
    best = load_bundle(run / "best.asr")
    assert load_bundle(run / f"epoch-{result.best_epoch}.asr").weights_hash == best.weights_hash
    with pytest.raises(UsageError, match="Epoch 77 of .* is not kept; these are: .*4, 5"):
        asr.training.export_checkpoint(run, "77")
    with pytest.raises(UsageError, match="give last, or the number of an epoch"):
        asr.training.export_checkpoint(run, "best")
    with pytest.raises(UsageError, match="has no recipe.toml: it is no run directory"):
        asr.training.export_checkpoint(tmp_path, "last")
    with pytest.raises(UsageError, match="was built by asr.AcousticModel"):
        asr.training.export_checkpoint(run, "last", build=gru_stack)


def test_from_is_the_initial_bundle(tones, tmp_path, capsys):
    from asr.cli import run as command
    asr.train(recipe_for(tones, "train.epochs=1"), tmp_path / "first", quiet=True)
    sets = [f"--set={name}={value}" for name, value in {
        "data.generate": "", "data.train": f'["{tones}/train.jsonl"]',
        "data.valid": f'["{tones}/valid.jsonl"]', "data.cache_dir": f"{tones}/cache",
        "train.epochs": 1, "train.learning_rate": 1e-4}.items()]
    code = command(["train", str(TONES), str(tmp_path / "second"), *sets,
                    "--from", str(tmp_path / "first")])
    assert code == 2
    assert "model.units is 16 there and 64 here" in capsys.readouterr().err
    code = command(["train", str(TONES), str(tmp_path / "second"), *sets, "--set=model.units=16",
                    "--from", str(tmp_path / "first")])
    assert code == 0
    assert load_recipe(tmp_path / "second/recipe.toml").train.initial_bundle == str(
        tmp_path / "first")


@pytest.mark.slow
def test_mixed_precision_is_a_setting(tones, tmp_path):
    asr.train(recipe_for(tones, "train.mixed_precision=bfloat16", "train.epochs=2"),
              tmp_path / "run", quiet=True)
    losses = [r["loss"] for r in read_log(tmp_path / "run") if r["event"] == "epoch"]
    assert losses[1] < losses[0]
    assert keras.config.dtype_policy().name == "float32"


def test_fine_tuning_can_only_end_at_or_below_its_start(page, tones, tmp_path, capsys):
    _, train, _, model, _ = page
    recipe = recipe_for(tones, "model.units=48")
    start = tmp_path / "start.asr"
    asr.Recognizer.from_keras(model, recipe, train.tokenizer).save(start)
    wild = recipe_for(tones, "model.units=48", f"train.initial_bundle={start}", "train.epochs=1",
                      "train.learning_rate=5.0", 'train.freeze=["lstm_0"]',
                      "text.alphabet=" + train.tokenizer.alphabet + "q")
    result = asr.train(wild, tmp_path / "run")
    said = capsys.readouterr().err
    assert "new: 'q' (U+0071)" in said
    assert f"{start} before the first step: WER {100 * result.best_wer:.2f} %" in said
    begun, epoch = [r for r in read_log(tmp_path / "run") if r["event"] in ("start", "epoch")]
    assert epoch["wer"] > begun["wer"] == result.best_wer <= 0.1
    assert result.best_epoch == 0
    assert "(what it started from)" in str(result)
    first, last = load_bundle(start), load_bundle(tmp_path / "run/best.asr")
    for name, weights in first.weights.items():
        if not name.startswith("output"):  # which has one label more
            np.testing.assert_array_equal(last.weights[name], weights)
    np.testing.assert_array_equal(
        load_bundle(asr.training.export_checkpoint(tmp_path / "run", "1")).weights[
            "lstm_0/forward/kernel"], first.weights["lstm_0/forward/kernel"])
