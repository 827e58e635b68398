"""Two views of every utterance: their divergence, the loss of both, the batches of a recipe."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tf

import asr  # noqa: E402
from asr.corpora.tones import generate  # noqa: E402
from asr.errors import RecipeError, UsageError  # noqa: E402
from asr.network.views import divergence  # noqa: E402
from asr.recipe import ModelSettings, recipe_from_dict  # noqa: E402

SETTINGS = ModelSettings(stacking=3, subsampling=2, num_layers=2, units=5, layer_norm=True)
Y = {"labels": np.array([[2, 3, 4], [3, 4, 0]], np.int32), "num_labels": np.array([3, 2], np.int32)}
VIEWS = {"features": {"kind": "log_mel", "sample_rate": 8_000, "n_fft": 256, "win_length": 200,
                      "hop_length": 80, "n_mels": 12},
         "model": {"num_layers": 1, "units": 6}, "augment": {"warp": 0.2, "tempo": 0.1},
         "train": {"consistency": 0.3}}


def model_of(**options) -> asr.AcousticModel:
    keras.utils.set_random_seed(3)
    model = asr.AcousticModel(SETTINGS, 6, 9, seed=3, **options)
    model.compile("adam")
    return model


def batch_of(rng, *lengths: int, views: int = 2) -> dict:
    """Rows of these lengths with zeros beyond them."""
    found: dict = {"num_frames": np.array(lengths, np.int32)}
    for name in ("features", "second_view")[:views]:
        found[name] = rng.normal(size=(len(lengths), max(lengths), 6)).astype(np.float32)
        for row, length in zip(found[name], lengths, strict=True):
            row[length:] = 0.0
    return found


def test_the_divergence_and_its_gradient_are_those_of_the_formula(rng):
    logits = rng.normal(size=(4, 7, 5)).astype(np.float32)
    lengths = np.array([7, 3, 7, 3], np.int32)  # of two utterances, twice
    exact = np.exp(logits.astype(np.float64))
    exact /= exact.sum(axis=-1, keepdims=True)
    nats, gradient = 0.0, np.zeros(logits.shape)
    for row in range(4):
        other = exact[(row + 2) % 4]
        for t in range(lengths[row]):
            nats += float(np.sum(other[t] * np.log(other[t] / exact[row, t])))
            gradient[row, t] = exact[row, t] - other[t]  # the other one does not learn
    with tf.GradientTape() as tape:
        variable = tf.Variable(logits)
        found = divergence(variable, lengths)
    assert float(found) == pytest.approx(nats, rel=1e-5)
    np.testing.assert_allclose(tape.gradient(found, variable), gradient, atol=1e-6)


def test_two_equal_views_cost_what_one_does(rng):
    x = batch_of(rng, 30, 26)
    same = {**x, "second_view": x["features"]}
    one = {name: x[name] for name in ("features", "num_frames")}
    wanted = model_of().objective(one, Y)
    found = model_of(consistency=0.7).objective(same, Y)
    for mine, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)


def test_the_objective_is_the_mean_of_both_views_and_the_weighted_divergence(rng):
    x, model = batch_of(rng, 30, 26), model_of(consistency=0.5)
    logits, losses, found = model.objective(x, Y)
    views = [{"features": x[name], "num_frames": x["num_frames"]}
             for name in ("features", "second_view")]
    apart = [model(view).numpy() for view in views]
    np.testing.assert_allclose(logits, apart[0], atol=1e-5)
    np.testing.assert_allclose(losses, model.losses_of(views[0], Y, apart[0]), rtol=1e-5)
    sums = [float(tf.reduce_sum(model.losses_of(view, Y, one)))
            for view, one in zip(views, apart, strict=True)]
    lengths = np.tile(model.output_length(x["num_frames"]), 2)
    nats = sum(sums) + 0.5 * float(divergence(np.concatenate(apart), lengths))
    assert float(found) == pytest.approx(nats / (2 * 5), rel=1e-5)


def test_neither_padding_nor_the_rest_of_the_batch_changes_it(rng):
    model, x = model_of(consistency=0.5), batch_of(rng, 30, 26)
    whole = float(model.objective(x, Y)[-1]) * 5
    longer = {name: np.pad(array, [(0, 0), (0, 9), (0, 0)]) if array.ndim == 3 else array
              for name, array in x.items()}
    assert float(model.objective(longer, Y)[-1]) * 5 == pytest.approx(whole, rel=1e-5)
    rows = [float(model.objective({name: array[i:i + 1] for name, array in x.items()},
                                  {name: array[i:i + 1] for name, array in Y.items()})[-1])
            * int(Y["num_labels"][i]) for i in range(2)]
    assert sum(rows) == pytest.approx(whole, rel=1e-5)


def test_a_batch_with_one_view_is_refused_where_two_are_compared(rng):
    with pytest.raises(UsageError, match="compares two views, and the batches have one"):
        model_of(consistency=0.2).objective(batch_of(rng, 30, 26, views=1), Y)


def test_the_weight_is_saved_with_the_model():
    model = model_of(consistency=0.25)
    again = asr.AcousticModel.from_config(model.get_config())
    assert again.consistency == 0.25


def test_a_recipe_makes_batches_of_two_views_for_training_alone(tmp_path):
    generate(tmp_path, num_train=12, num_valid=4, num_test=1)
    recipe = recipe_from_dict(VIEWS)
    train = asr.dataset(tmp_path / "train.jsonl", recipe, training=True)
    plain = asr.dataset(tmp_path / "train.jsonl", recipe_from_dict({**VIEWS, "train": {}}),
                        training=True)
    assert set(train.element_spec[0]) == {"features", "second_view", "num_frames"}
    for (x, y), (one, labels) in zip(train, plain, strict=True):
        np.testing.assert_array_equal(x["features"], one["features"])
        np.testing.assert_array_equal(y["labels"], labels["labels"])
        assert x["second_view"].shape == x["features"].shape
        for first, second, length in zip(x["features"], x["second_view"], x["num_frames"],
                                         strict=True):
            assert np.abs(first - second).max() > 1e-3
            assert not np.any(second[int(length):])
    valid = asr.dataset(tmp_path / "valid.jsonl", recipe, tokenizer=train.tokenizer)
    assert set(valid.element_spec[0]) == {"features", "num_frames"}
    model = asr.AcousticModel(recipe, vocab_size=train.tokenizer.vocab_size)
    model.compile("adam", metrics=[asr.CharacterErrorRate(train.tokenizer)])
    history = model.fit(train, epochs=2, validation_data=valid, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    assert set(history) == {"loss", "cer", "val_loss", "val_cer"}


def test_two_views_that_cannot_differ_are_refused():
    with pytest.raises(RecipeError, match="nothing here makes them differ"):
        recipe_from_dict({"train": {"consistency": 0.2}})
    assert recipe_from_dict({"train": {"consistency": 0.2}, "model": {"dropout": 0.1}})
