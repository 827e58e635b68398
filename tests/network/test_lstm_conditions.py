"""Each condition of the fast kernels broken on purpose: that one is named, and no other."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from asr.errors import UsageError  # noqa: E402
from asr.kernels import cpu  # noqa: E402
from asr.network import layer  # noqa: E402
from asr.network.conditions import examine  # noqa: E402
from asr.network.layer import BidirectionalLSTM  # noqa: E402

pytestmark = pytest.mark.tf


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(layer, "gpu_is_visible", lambda: True)


def names(examination):
    return [condition.name for condition in examination.failed]


@pytest.mark.parametrize("broken, name, message", [
    (dict(use_cudnn=False), "use_cudnn", "use_cudnn is False"),
    (dict(activation="relu"), "activation", "activation is relu; it must be tanh"),
    (dict(recurrent_activation="tanh"), "recurrent_activation", "must be sigmoid"),
    (dict(recurrent_dropout=0.2), "recurrent_dropout", "recurrent_dropout is 0.2; it must be 0"),
    (dict(use_bias=False), "bias", "use_bias is False"),
    (dict(unroll=True), "unroll", "unroll is True"),
])
def test_a_stock_layer_with_one_broken_condition(gpu, broken, name, message):
    for wrap in (lambda inner: inner, keras.layers.Bidirectional):
        examination = examine(wrap(keras.layers.LSTM(2, return_sequences=True, **broken)))
        assert (examination.kernel, names(examination)) == ("generic", [name])
        assert message in examination.failed[0].message


def test_a_stock_layer_with_nothing_broken(gpu):
    examination = examine(keras.layers.LSTM(2, dropout=0.5, kernel_regularizer="l2"),
                          mask=[[True, True, False], [True, True, True]])
    assert (examination.kernel, examination.failed) == ("cudnn", ())


@pytest.mark.parametrize("mask, message", [
    ([[True, False, True]], "is not right-padded in row 0"),
    ([[True, True], [False, True]], "is not right-padded in row 1"),
    ([[True, True], [False, False]], "has no valid frame in row 1"),
])
def test_a_mask_that_cudnn_refuses(gpu, mask, message):
    examination = examine(keras.layers.LSTM(2), mask=mask)
    assert names(examination) == ["mask"] and message in examination.failed[0].message


def test_a_loop_over_a_cell_and_a_layer_without_lstm(gpu):
    assert names(examine(keras.layers.RNN(keras.layers.LSTMCell(2)))) == ["layer"]
    with pytest.raises(UsageError, match="has no LSTM in it"):
        examine(keras.layers.Dense(2))


def test_a_backward_direction_of_another_kind(gpu):
    ahead, back = (keras.layers.LSTM(2, return_sequences=True, go_backwards=backwards,
                                     activation=activation)
                   for backwards, activation in ((False, "tanh"), (True, "relu")))
    both = keras.layers.Bidirectional(ahead, backward_layer=back)
    assert examine(both).kernel == "generic" and names(examine(both)) == ["activation"]


def test_no_gpu():
    examination = examine(keras.layers.LSTM(2))
    assert (examination.kernel, names(examination)) == ("generic", ["gpu"])
    examination = examine(BidirectionalLSTM(2))
    assert (examination.kernel, names(examination)) == ("cpu", ["gpu"])


def test_ours_on_a_gpu(gpu):
    assert examine(BidirectionalLSTM(2)) == ("bidirectional_lstm", "cudnn", ()) or names(
        examine(BidirectionalLSTM(2))) == []
    examination = examine(BidirectionalLSTM(2, kernel="cpu"))
    assert names(examination) == ["kernel"] and 'kernel="cpu"' in examination.failed[0].message


def test_ours_asked_to_be_generic():
    examination = examine(BidirectionalLSTM(2, kernel="generic"))
    assert (examination.kernel, names(examination)) == ("generic", ["gpu", "kernel"])


def test_ours_in_float64():
    examination = examine(BidirectionalLSTM(2, dtype="float64"))
    assert (examination.kernel, names(examination)) == ("generic", ["gpu", "dtype"])
    with pytest.raises(UsageError, match="they compute in float32 and the layer in float64"):
        BidirectionalLSTM(2, kernel="cpu", dtype="float64")


def test_ours_without_numba(monkeypatch):
    monkeypatch.setattr(cpu, "compile_problem", lambda: "ImportError: numba needs NumPy 9")
    examination = examine(BidirectionalLSTM(2))
    assert (examination.kernel, names(examination)) == ("generic", ["gpu", "numba"])
    assert "numba needs NumPy 9" in examination.failed[1].message


def test_half_precision_policies_still_use_the_compiled_kernels():
    one = BidirectionalLSTM(3, dtype="mixed_bfloat16")
    y = one(np.ones((1, 4, 2), np.float32), np.array([3]))
    assert one.resolved_kernel == "cpu" and y.dtype == "bfloat16"


def test_the_slow_loop_is_said_once_not_for_every_layer(monkeypatch, caplog):
    monkeypatch.setattr(cpu, "compile_problem", lambda: "no LLVM for this test")
    assert {BidirectionalLSTM(2).resolved_kernel for _ in range(3)} == {"generic"}
    assert [record.getMessage().count("no LLVM for this test") for record in caplog.records] == [1]
