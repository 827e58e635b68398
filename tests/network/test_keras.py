"""The network as a Keras model: compile, fit, evaluate, predict, save, export, mixed precision."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles import ctc_loss_by_enumeration

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tf

import asr  # noqa: E402
from asr.errors import RecipeError, UsageError  # noqa: E402
from asr.recipe import ModelSettings, recipe_from_dict  # noqa: E402

TOKENIZER = asr.CharTokenizer(" abcdefg")
SETTINGS = ModelSettings(stacking=3, subsampling=2, num_layers=2, units=5, dropout=0.2,
                         edge_frames=1)
CONV = ModelSettings(front_end="conv", conv_channels=2, subsampling=2, num_layers=1, units=4,
                     layer_norm=True)
Y = {"labels": np.array([[2, 3, 4], [3, 4, 0]], np.int32),
     "num_labels": np.array([3, 2], np.int32)}


def batch_of(rng, lengths=(30, 26), num_features=6) -> dict:
    features = np.zeros((len(lengths), max(lengths), num_features), np.float32)
    for row, length in zip(features, lengths, strict=True):
        row[:length] = rng.normal(size=(length, num_features))
    return {"features": features, "num_frames": np.array(lengths, np.int32)}


@pytest.fixture
def data(rng) -> tf.data.Dataset:
    """Two batches of different length."""
    batches = [(batch_of(rng), Y), (batch_of(rng, (22, 40)), Y)]
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature()
                                          ).apply(tf.data.experimental.assert_cardinality(2))


def signature():
    from asr.network.contract import batch_signature
    return batch_signature(6)


def model_of(settings=SETTINGS, **options) -> asr.AcousticModel:
    keras.utils.set_random_seed(3)
    return asr.AcousticModel(settings, 6, TOKENIZER.vocab_size, seed=3, **options)


def compiled(optimizer=None, **options):
    model = model_of()
    model.compile(optimizer or keras.optimizers.Adam(1e-2), loss=asr.CTCLoss(),
                  metrics=[asr.WordErrorRate(TOKENIZER)], **options)
    return model


def test_fit_evaluate_and_predict_are_keras_s(data, capsys):
    model = compiled()
    history = model.fit(data, epochs=3, validation_data=data, verbose=0).history
    assert set(history) == {"loss", "wer", "val_loss", "val_wer"}
    assert history["loss"][-1] < history["loss"][0]
    result = model.evaluate(data, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-6)
    assert model.evaluate(data, verbose=0) == [result["loss"], result["wer"]]
    logits = model.predict(data, verbose=0)
    lengths = [len(row) for row in logits]
    assert lengths == [model.output_length(n) for n in (30, 26, 22, 40)]
    x, _ = next(iter(data))
    np.testing.assert_allclose(logits[1], model(x)[1, :lengths[1]], atol=1e-5)
    model.summary()
    assert "lstm_1" in capsys.readouterr().out


def test_the_loss_is_nats_a_label_over_all_batches_whatever_their_size(data):
    model = compiled()
    nats = labels = 0.0
    for x, y in data:
        logits = model(x).numpy()
        for row, length, text, count in zip(logits, model.output_length(x["num_frames"]),
                                            y["labels"], y["num_labels"], strict=True):
            nats += float(asr.CTCLoss().call(
                {"labels": text[None], "num_labels": count[None], "num_frames": length[None]},
                row[None])[0])
            labels += int(count)
    assert model.evaluate(data, verbose=0)[0] == pytest.approx(nats / labels, rel=1e-5)


def test_the_loss_agrees_with_all_alignments_written_out(rng):
    logits = rng.normal(size=(1, 5, 4)).astype(np.float32)
    y = {"labels": np.array([[1, 2]], np.int32), "num_labels": np.array([2], np.int32),
         "num_frames": np.array([5], np.int32)}
    assert float(asr.CTCLoss()(y, logits)) == pytest.approx(
        ctc_loss_by_enumeration(logits[0], [1, 2]) / 2, rel=1e-5)


def test_the_error_rates_count_decoded_text():
    tokenizer = asr.CharTokenizer(" ab")  # labels: 1 space, 2 a, 3 b
    path = [[2, 1, 3, 3], [2, 2, 0, 2], [3, 0, 0, 0]]  # "a b", "aa", "b" in as many frames
    logits = 9.0 * np.eye(4, dtype=np.float32)[np.array(path)]
    y = {"labels": np.array([[2, 1, 2], [2, 2, 0], [3, 0, 0]], np.int32),  # "a a", "aa", "b"
         "num_labels": np.array([3, 2, 1], np.int32), "num_frames": np.array([4, 4, 1], np.int32)}
    words, characters = asr.WordErrorRate(tokenizer), asr.CharacterErrorRate(" ab")
    for metric in (words, characters):
        metric.update_state(y, logits)
    assert float(words.result()) == pytest.approx(1 / 4)
    assert float(characters.result()) == pytest.approx(1 / 6)
    logits[0] = np.nan  # reads as nothing: two deletions and three
    words.reset_state()
    words.update_state(y, logits)
    assert float(words.result()) == pytest.approx(2 / 4)
    words.reset_state()
    assert np.isnan(words.result())
    again = asr.WordErrorRate.from_config(words.get_config())
    assert (again.name, again.tokenizer.alphabet) == ("wer", " ab")


@pytest.mark.parametrize("settings", [SETTINGS, CONV], ids=["stack", "conv"])
def test_a_saved_model_is_the_same_and_goes_on_training(settings, rng, data, tmp_path):
    model = model_of(settings, intermediate_ctc=0.2)
    model.compile(keras.optimizers.Adam(1e-2), asr.CTCLoss(),
                  metrics=[asr.CharacterErrorRate(TOKENIZER)])
    model.fit(data, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    other = keras.saving.load_model(tmp_path / "m.keras")
    x = batch_of(rng)
    np.testing.assert_array_equal(model(x), other(x))
    assert other.settings == settings
    assert int(other.optimizer.iterations) == 2
    histories = [m.fit(data, epochs=1, verbose=0).history for m in (model, other)]
    assert set(histories[1]) == {"loss", "cer"}
    assert histories[1]["loss"] == pytest.approx(histories[0]["loss"], rel=0.3)  # other dropout


LOAD = """
import sys
import numpy as np
import tensorflow as tf
arrays = np.load("arrays.npz")
def difference(call):
    logits = call({"features": arrays["features"], "num_frames": arrays["num_frames"]})
    return float(np.abs(np.asarray(logits) - arrays["logits"]).max())
model = tf.saved_model.load("exported")
exported = difference(model.serve)
assert not [name for name in sys.modules if name.split(".")[0] == "asr"]
import asr
import keras
asr.AcousticModel  # registers the classes with Keras
print(exported, difference(keras.saving.load_model("m.keras")))
"""


def test_another_process_computes_the_same_from_both_kinds_of_files(rng, tmp_path):
    model, x = compiled(), batch_of(rng, (9, 40, 3))
    model.save(tmp_path / "m.keras")
    model.export(tmp_path / "exported", verbose=False)
    np.savez(tmp_path / "arrays.npz", **x, logits=model(x))
    child = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True,
                           timeout=240, cwd=tmp_path,
                           env={**os.environ, "PYTHONPATH": str(Path(asr.__file__).parents[1])})
    assert child.returncode == 0, child.stderr
    exported, saved = map(float, child.stdout.split())
    assert exported <= 1e-5 and saved == 0.0
    assert np.abs(model(x).numpy() - np.load(tmp_path / "arrays.npz")["logits"]).max() == 0


def test_an_export_holds_nothing_that_needs_python_or_a_gpu(tmp_path):
    model_of().export(tmp_path / "exported", verbose=False)
    graph = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"].graph
    definition = graph.as_graph_def()
    ops = {n.op for n in definition.node} | {
        n.op for f in definition.library.function for n in f.node_def}
    assert not {op for op in ops if "PyFunc" in op or "Cudnn" in op}


@pytest.mark.parametrize("policy", [
    pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"])
def test_mixed_precision_computes_in_16_bits_and_loses_in_32(policy, data, rng):
    model = model_of(dtype=policy)
    assert {layer.compute_dtype for layer in model.lstm_layers} == {policy.removeprefix("mixed_")}
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    x = batch_of(rng)
    assert model(x).dtype == tf.float32
    np.testing.assert_allclose(model(x), model_of()(x), atol=0.05)
    model.compile(keras.optimizers.Adam(1e-2), asr.CTCLoss())
    losses = model.fit(data, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (
        policy == "mixed_float16")


def test_accumulated_gradients_move_the_weights_at_the_last_of_them(data):
    model = compiled(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    before = model.get_named_weights()
    x, y = next(iter(data))
    model.train_on_batch(x, y)
    for name, value in model.get_named_weights().items():
        np.testing.assert_array_equal(value, before[name])
    model.train_on_batch(x, y)
    assert any((value != before[name]).any() for name, value in model.get_named_weights().items())


def test_several_steps_an_execution_are_the_same_steps(data):
    seen, weights = [], []
    for steps in (1, 3):
        model = compiled(keras.optimizers.SGD(0.01), steps_per_execution=steps)
        calls = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(
            batch))
        model.fit(data.repeat(2), epochs=1, verbose=0, callbacks=[calls])
        weights.append(model.get_named_weights())
    assert seen == [0, 1, 2, 3, 2, 5]
    for name, value in weights[1].items():
        np.testing.assert_allclose(value, weights[0][name], rtol=1e-4, atol=1e-6)


def test_eager_steps_are_for_debugging(data):
    assert np.isfinite(compiled(run_eagerly=True).fit(data, verbose=0).history["loss"]).all()


def test_wrong_use_gets_one_sentence(data, rng):
    model = model_of()
    with pytest.raises(UsageError, match="is a loss on dense labels.*CTCLoss"):
        model.compile("adam", loss="sparse_categorical_crossentropy")
    with pytest.raises(UsageError, match="must be a list, .*WordErrorRate.*'accuracy'"):
        model.compile("adam", metrics=["accuracy"])
    with pytest.raises(UsageError, match="XLA cannot compile"):
        model.compile("adam", jit_compile=True)
    model = compiled()
    x, y = batch_of(rng), np.array([[1, 2], [1, 0]])
    for wrong in ((x, y), (x["features"], y), (x, {"labels": y}), x,
                  ({"audio": x["features"]}, Y)):
        dataset = tf.data.Dataset.from_tensors(wrong)
        for use in (model.fit, model.evaluate):
            with pytest.raises(UsageError, match="A batch must be .*asr.dataset.*got"):
                use(dataset, verbose=0)
    with pytest.raises(UsageError, match="A batch must be"):
        model.predict(tf.data.Dataset.from_tensors(x["features"]), verbose=0)
    with pytest.raises(UsageError, match="Sample weights are not supported"):
        model.fit(tf.data.Dataset.from_tensors((x, Y, np.ones(2))), verbose=0)
    with pytest.raises(UsageError, match="got a dense array of shape .2, 2."):
        asr.CTCLoss()(y, model(x))
    with pytest.raises(UsageError, match="a table of labels, num_labels"):
        asr.WordErrorRate(TOKENIZER).update_state(Y, model(x))
    with pytest.raises(UsageError, match="takes no sample weights"):
        asr.CTCLoss()(Y, model(x), np.ones(2))
    with pytest.raises(UsageError, match="needs a recipe.*vocab_size"):
        asr.AcousticModel(SETTINGS, vocab_size=9)
    with pytest.raises(UsageError, match="not compiled"):
        model_of().train_step((x, Y))
    with pytest.raises(UsageError, match="must be a list, and of objects .* got <WordErrorRate"):
        model.compile("adam", metrics=asr.WordErrorRate(TOKENIZER))
    with pytest.raises(UsageError, match="metric 'wer' has 4 labels and the network 9 outputs"):
        model.compile("adam", metrics=[asr.WordErrorRate(" ab")])
    with pytest.raises(UsageError, match="WordErrorRate takes no sample weights"):
        asr.WordErrorRate(TOKENIZER).update_state(Y, model(x), np.ones(2))
    config = model.get_config()
    config["settings"]["units"] = 0
    with pytest.raises(RecipeError, match="units must be between"):
        asr.AcousticModel.from_config(config)


def test_batches_of_another_recipe_get_one_sentence(rng):
    """Other features, labels of another tokenizer, other types: no page of TensorFlow's."""
    x, few = batch_of(rng), batch_of(rng, num_features=5)
    model = compiled()
    for use in (lambda: model.predict(few, verbose=0), lambda: model(few),
                lambda: model.fit(few, Y, verbose=0), lambda: model.evaluate(few, Y, verbose=0)):
        with pytest.raises(UsageError, match="takes 6 features a frame, and this batch has 5"):
            use()
    with pytest.raises(UsageError, match="A batch must be .* got .2, 30, 6. float32"):
        model(x["features"])
    for wrong, sentence in (
            (({**x, "features": np.float64(x["features"])}, Y), "got .*30, 6. float64"),
            ((x, {**Y, "labels": np.float32(Y["labels"])}), "got .*2, 3. float32"),
            (({**x, "num_frames": np.int64([30, 26])}, Y), "'num_frames': .2,. int64"),
            (({**x, "num_frames": np.int32([30, 31])}, Y), "num_frames 31, .* room for 30"),
            ((x, {**Y, "num_labels": np.int32([3, 4])}), "num_labels 4, .* room for 3"),
            ((x, {**Y, "labels": Y["labels"] + 6}), "[Ll]abels? .* 1 .. 8")):
        for use in (model.fit, model.evaluate):
            with pytest.raises(UsageError, match=sentence) as caught:
                use(tf.data.Dataset.from_tensors(wrong), verbose=0)
            assert "\n" not in str(caught.value)
    own = asr.CTCModel.of(Small(5))  # says nothing of its outputs: the step finds out
    own.compile("adam", metrics=[asr.WordErrorRate(TOKENIZER)])
    with pytest.raises(UsageError, match="has 5 outputs, .* metric 'wer' 9 labels"):
        own.fit(x, Y, verbose=0)


def test_a_recipe_is_enough_to_build_one():
    recipe = recipe_from_dict({"features": {"n_mels": 7}, "model": {"units": 3, "num_layers": 1},
                               "train": {"intermediate_ctc": 0.5}, "seed": 9})
    model = asr.AcousticModel(recipe, vocab_size=4)
    assert (model.num_features, model.seed, model.intermediate_ctc) == (7, 9, 0.5)


def test_layers_are_frozen_or_slow(data):
    model = model_of()
    model.set_speeds(freeze=["lstm_0"], slow={"output": 0.0, "lstm_1": 0.5})
    model.compile(keras.optimizers.SGD(0.1), asr.CTCLoss())
    plain = model_of()
    plain.compile(keras.optimizers.SGD(0.1), asr.CTCLoss())
    start = model.get_named_weights()
    x, y = next(iter(data))
    for one in (model, plain):
        one.train_on_batch(x, y)
    moved = [{name: value - start[name] for name, value in one.get_named_weights().items()}
             for one in (model, plain)]
    for name, change in moved[0].items():
        if name.startswith(("lstm_0", "output")):
            assert not change.any(), name
        else:
            np.testing.assert_allclose(change, 0.5 * moved[1][name], rtol=1e-3, atol=1e-7)
    with pytest.raises(UsageError, match="no layer 'lstm_7'; its layers are lstm_0"):
        model_of().set_speeds(freeze=["lstm_7"])
    with pytest.raises(UsageError, match="Every layer is frozen"):
        model_of().set_speeds(freeze=["lstm_0", "lstm_1", "output"])


@keras.saving.register_keras_serializable(package="test")
class Small(keras.Model):
    """A network of somebody else's; `shift` makes it lie about its length."""

    def __init__(self, vocab_size=9, shift=0, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size, self.shift = vocab_size, shift
        self.gru = keras.layers.GRU(4, return_sequences=True)
        self.dense = keras.layers.Dense(vocab_size)

    def call(self, x, training=False):
        mask = tf.sequence_mask(x["num_frames"], tf.shape(x["features"])[1])
        hidden = self.gru(x["features"], mask=mask)[:, ::2]
        return self.dense(hidden)

    def output_length(self, num_frames):
        return -(-num_frames // 2) + self.shift

    def get_config(self):
        return {"vocab_size": self.vocab_size}


def test_a_network_of_ones_own_trains_saves_and_exports(data, rng, tmp_path):
    model = asr.CTCModel.of(Small())
    assert asr.CTCModel.of(model) is model
    model.compile(keras.optimizers.Adam(1e-2), metrics=[asr.WordErrorRate(TOKENIZER)])
    history = model.fit(data, epochs=4, validation_data=data, verbose=0).history
    assert history["val_loss"][-1] < history["val_loss"][0]
    x = batch_of(rng)
    model.save(tmp_path / "own.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "own.keras")(x), model(x))
    model.export(tmp_path / "own", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "own"))
    np.testing.assert_allclose(exported.serve({name: tf.constant(value) for name, value in
                                               x.items()}), model(x), atol=1e-5)


def test_a_network_that_does_not_say_its_length_is_refused():
    plain = keras.Sequential([keras.layers.Dense(4)])
    with pytest.raises(UsageError, match="does not say its output length.*network.output_length"):
        asr.CTCModel.of(plain)
    with pytest.raises(UsageError, match="must be a keras.Model, got dict"):
        asr.CTCModel.of({})
    for use in (lambda: asr.CTCModel().output_length(3), lambda: asr.CTCModel().compile("adam")):
        with pytest.raises(UsageError, match="Define output_length"):
            use()
