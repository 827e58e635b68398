"""The LSTM with weights of 8 bits: near float32; the same bits in any batch and team."""

import os
import subprocess
import sys

import numpy as np
import pytest

from asr.kernels import cpu, int8
from asr.network.quantization import quantize

SIZES = [(1, 1), (3, 5), (16, 8), (37, 20), (130, 200)]  # features, units


def layer(features: int, units: int, seed: int = 0):
    """Both directions as integers, and the same weights as float32."""
    rng = np.random.default_rng(seed)
    integers, floats = [], []
    for _ in range(2):
        found = quantize({"w": rng.normal(size=(features, 4 * units)) / features ** 0.5,
                          "u": rng.normal(size=(units, 4 * units)) / units ** 0.5})
        bias = rng.normal(size=4 * units).astype(np.float32)
        integers.append(int8.Weights(*found["w"], *found["u"], bias))
        floats.append((found["w"].dequantized, found["u"].dequantized, bias))
    return integers, floats


def check_sizes() -> None:
    """Every size: near float32, zeros in the padding, the same bits alone, in teams, in batches."""
    for features, units in SIZES:
        integers, floats = layer(features, units)
        packed = cpu.pack_int8(*integers)
        lengths = np.array([23, 1, 0, 40, 7, 40, 12, 3, 9, 31, 2])
        x = np.random.default_rng(1).normal(size=(len(lengths), 40, features)).astype(np.float32)
        exact = cpu.bidirectional_forward(x, lengths, *floats, threads=1)
        found = cpu.packed_forward(x, lengths, packed=packed, threads=1)
        assert np.abs(found - exact).max() < 2e-3, (features, units)
        for threads in (2, 3):
            again = cpu.packed_forward(x, lengths, packed=packed, threads=threads)
            assert again.tobytes() == found.tobytes(), (features, units, threads)
        for row, length, result in zip(x, lengths, found, strict=True):
            assert not result[length:].any()
            for threads in (1, 4):  # four: a team where there are enough units
                alone = cpu.packed_forward(row[None], np.array([length]), packed=packed,
                                           threads=threads)
                assert alone[0].tobytes() == result.tobytes(), (features, units, threads)


def test_near_float32_and_the_same_bits_in_any_batch():
    check_sizes()


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
def test_on_other_processors(processor):
    """LLVM compiles for them; what the processor is missing is computed with more instructions."""
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "",
                   "OPENBLAS_CORETYPE": "Haswell",
                   "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", "import test_int8 as t; t.check_sizes()"],
                         env=environment, cwd=os.path.dirname(__file__), capture_output=True,
                         text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr


def test_sums_cannot_overflow():
    """The largest weights and inputs, all of one sign, as many as a wide layer has."""
    for features in (512, 1_500):
        units, rows = 8, 3
        integers = [int8.Weights(np.full((features, 4 * units), sign * 127, np.int8),
                                 np.full(4 * units, 1e-5, np.float32),
                                 np.zeros((units, 4 * units), np.int8),
                                 np.zeros(4 * units, np.float32),
                                 np.zeros(4 * units, np.float32)) for sign in (1, -1)]
        x = np.ones((1, rows, features), np.float32)
        found = cpu.packed_forward(x, np.array([rows]), packed=cpu.pack_int8(*integers))
        floats = [(one.kernel * one.kernel_scale, one.recurrent_kernel * one.recurrent_scale,
                   one.bias) for one in integers]
        exact = cpu.bidirectional_forward(x, np.array([rows]), *floats)
        np.testing.assert_allclose(found, exact, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_broken_input_shows_in_its_own_sequence_only(value):
    integers, _ = layer(37, 20)
    packed = cpu.pack_int8(*integers)
    x = np.random.default_rng(1).normal(size=(2, 6, 37)).astype(np.float32)
    good = cpu.packed_forward(x, np.array([6, 6]), packed=packed)
    x[1, 3, 5] = value
    found = cpu.packed_forward(x, np.array([6, 6]), packed=packed)
    assert found[0].tobytes() == good[0].tobytes()
    assert np.isnan(found[1, 3:, :20]).all() and np.isnan(found[1, :4, 20:]).all()


def test_silence_is_zero_times_any_weight():
    integers, floats = layer(16, 8)
    x = np.zeros((1, 5, 16), np.float32)
    found = cpu.packed_forward(x, np.array([5]), packed=cpu.pack_int8(*integers))
    np.testing.assert_allclose(found, cpu.bidirectional_forward(x, np.array([5]), *floats),
                               atol=1e-3)
