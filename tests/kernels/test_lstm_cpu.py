"""The compiled kernels against the textbook equations; no TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.kernels import cpu, memory, products, sequences, team
from asr.kernels.batch_slices import plan
from asr.network import equations


def make_directions(rng, features, units, count=2, scale=0.4):
    return [cpu.Direction(*(rng.normal(size=shape).astype(np.float32) * scale for shape in
                            ((features, 4 * units), (units, 4 * units), (4 * units,))),
                          backwards=number % 2 == 1) for number in range(count)]


def relative(got, expected):
    return np.abs(got - expected).max(initial=0) / (np.abs(expected).max(initial=0) + 1e-30)


SHAPES = dict(batch=st.integers(1, 20), steps=st.integers(1, 24), features=st.integers(1, 45),
              units=st.sampled_from([1, 2, 5, 16, 31, 32, 33, 48]), count=st.sampled_from([1, 2]),
              threads=st.sampled_from([1, 2, 3, 4, 9]), seed=st.integers(0, 2 ** 32 - 1))


@settings(max_examples=40, deadline=None)
@given(**SHAPES)
def test_outputs_and_gradients_agree_with_the_equations(batch, steps, features, units, count,
                                                        threads, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, steps, features)).astype(np.float32)
    lengths = rng.integers(1, steps + 1, batch)
    directions = make_directions(rng, features, units, count)
    y, kept = cpu.run_forward(x, lengths, directions, threads=threads)
    expected = equations.forward_batch(x, lengths, directions)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_array_equal(cpu.infer(x, lengths, directions, threads=threads), y)

    upstream = rng.normal(size=y.shape).astype(np.float32)
    got = cpu.run_backward(x, lengths, directions, y, kept, upstream, threads=threads)
    dx, sums = equations.backward_batch(x, lengths, directions, upstream)
    assert relative(got.inputs, dx) < 1e-4
    for mine, theirs in zip(got.directions, sums, strict=True):
        for part, want in zip(mine, theirs, strict=True):
            assert part.shape == want.shape and relative(part, want) < 1e-4


@settings(max_examples=15, deadline=None)
@given(**{**SHAPES, "batch": st.integers(2, 20)})
def test_padding_changes_nothing_bit_for_bit(batch, steps, features, units, count, threads, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, steps + 1, batch)
    directions = make_directions(rng, features, units, count)
    x = rng.normal(size=(batch, steps, features)).astype(np.float32)
    upstream = rng.normal(size=(batch, steps, count * units)).astype(np.float32)
    results = []
    for garbage, extra in ((0.0, 0), (np.nan, 0), (1e30, 7)):
        padded_x = np.full((batch, steps + extra, features), garbage, np.float32)
        padded_dy = np.full((batch, steps + extra, count * units), garbage, np.float32)
        for b, length in enumerate(lengths):
            padded_x[b, :length], padded_dy[b, :length] = x[b, :length], upstream[b, :length]
        y, kept = cpu.run_forward(padded_x, lengths, directions, threads=threads)
        gradients = cpu.run_backward(padded_x, lengths, directions, y, kept, padded_dy,
                                     threads=threads)
        assert (y[:, steps:] == 0).all() and (gradients.inputs[:, steps:] == 0).all()
        results.append([y[:, :steps], gradients.inputs[:, :steps],
                        *(part for parts in gradients.directions for part in parts)])
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_one_sequence_alone_is_the_same_sequence_in_a_batch(rng):
    directions = make_directions(rng, 6, 8)
    x = rng.normal(size=(5, 9, 6)).astype(np.float32)
    lengths = np.array([9, 1, 4, 9, 7])
    together = cpu.infer(x, lengths, directions)
    for b, length in enumerate(lengths):
        alone = cpu.infer(x[b:b + 1, :length], lengths[b:b + 1], directions)
        np.testing.assert_array_equal(alone[0], together[b, :length])


def test_gradients_match_finite_differences_of_the_kernel_itself(rng):
    """Independent of the oracle; float32, so the step is large and the bound loose."""
    directions = make_directions(rng, 4, 3)
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    lengths = np.array([5, 1, 3])
    y, kept = cpu.run_forward(x, lengths, directions)
    upstream = rng.normal(size=y.shape).astype(np.float32)
    gradients = cpu.run_backward(x, lengths, directions, y, kept, upstream)
    for number, name in enumerate(("kernel", "recurrent_kernel", "bias")):
        for d in (0, 1):
            toward = rng.normal(size=getattr(directions[d], name).shape).astype(np.float32)
            change = []
            for sign in (1, -1):
                moved = list(directions)
                moved[d] = moved[d]._replace(**{name: getattr(moved[d], name)
                                                + sign * np.float32(1e-2) * toward})
                change.append((cpu.infer(x, lengths, moved).astype(np.float64) * upstream).sum())
            expected = (gradients.directions[d][number] * toward).sum()
            assert (change[0] - change[1]) / 2e-2 == pytest.approx(expected, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("threads", [1, 4])
def test_repeats_bit_for_bit_also_from_many_threads_at_once(rng, threads):
    directions = make_directions(rng, 20, 33)
    x = rng.normal(size=(7, 40, 20)).astype(np.float32)
    lengths = rng.integers(1, 41, 7)

    def step():
        y, kept = cpu.run_forward(x, lengths, directions, threads=threads)
        gradients = cpu.run_backward(x, lengths, directions, y, kept, y, threads=threads)
        return b"".join(a.tobytes() for a in (y, gradients.inputs, *gradients.directions[0],
                                              *gradients.directions[1]))

    results = {step()}
    workers = [threading.Thread(target=lambda: results.update(step() for _ in range(5)))
               for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 1


def test_sequences_of_length_zero_and_an_empty_batch(rng):
    directions = make_directions(rng, 3, 2)
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    y, kept = cpu.run_forward(x, np.array([0, 4]), directions)
    assert (y[0] == 0).all() and (y[1] != 0).any()
    gradients = cpu.run_backward(x, np.array([0, 4]), directions, y, kept, y)
    assert (gradients.inputs[0] == 0).all()
    for lengths in (np.array([0, 0]), np.zeros(0, np.int32)):
        y, kept = cpu.run_forward(x[:len(lengths)], lengths, directions)
        gradients = cpu.run_backward(x[:len(lengths)], lengths, directions, y, kept, y)
        assert (y == 0).all() and (gradients.directions[0][0] == 0).all()


def test_a_broken_input_shows_in_the_output_and_not_in_its_neighbours(rng):
    directions = make_directions(rng, 3, 40)
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    x[0, 2, 1] = np.nan
    y = cpu.infer(x, np.array([4, 4]), directions)
    assert np.isnan(y[0, 2:, :40]).all() and np.isfinite(y[0, :2, :40]).all()
    assert np.isfinite(y[1]).all()


def test_huge_inputs_saturate(rng):
    directions = make_directions(rng, 3, 4)
    x = np.full((1, 3, 3), 1e30, np.float32)
    y = cpu.infer(x, np.array([3]), directions)
    np.testing.assert_allclose(y, equations.forward_batch(x, [3], directions), atol=1e-5)


def test_bidirectional_forward_takes_plain_triples_and_any_memory_order(rng):
    ahead, back = make_directions(rng, 3, 2)
    x = np.asfortranarray(rng.normal(size=(2, 4, 3)))  # float64, other order
    y = cpu.bidirectional_forward(x, [4, 2], ahead[:3], back[:3])
    np.testing.assert_allclose(
        y, equations.forward_batch(x, [4, 2], [ahead, back]), atol=1e-5)


@pytest.mark.parametrize("batch, frames, units, threads", [
    (1, 9, 5, 1), (1, 30, 2 * team.FEWEST_UNITS, 4), (3, 7, 40, 4), (9, 12, 33, 2), (2, 0, 4, 2)])
def test_weights_packed_once_give_the_same_bits_again_and_again(rng, batch, frames, units, threads):
    ahead, back = (one[:3] for one in make_directions(rng, 6, units))
    packed = cpu.pack(ahead, back)
    for _ in range(2):
        x = rng.normal(size=(batch, frames, 6)).astype(np.float32)
        n = rng.integers(0, frames + 1, batch)
        np.testing.assert_array_equal(
            cpu.packed_forward(x, n, packed=packed, threads=threads),
            cpu.bidirectional_forward(x, n, ahead, back, threads=threads))
    with pytest.raises(UsageError, match="kernel has shape"):
        cpu.packed_forward(np.zeros((1, 2, 5)), np.array([2]), packed=packed)
    with pytest.raises(UsageError, match="recurrent_kernel has shape"):
        cpu.pack(ahead, (back[0], back[1][:1], back[2]))


@pytest.mark.parametrize("change, message", [
    (dict(inputs=np.zeros((2, 3))), "inputs have shape"),
    (dict(inputs=np.zeros((2, 4, 0))), "must be at least 1"),
    (dict(num_frames=[1, 2, 3]), "expected 2 integers"),
    (dict(num_frames=[1.0, 2.0]), "expected 2 integers"),
    (dict(num_frames=[1, 5]), "expected 0 .. 4"),
    (dict(num_frames=[-1, 4]), "expected 0 .. 4"),
    (dict(kernel=np.zeros((3, 7))), r"kernel has shape \(3, 7\)"),
    (dict(recurrent_kernel=np.zeros((3, 8))), "recurrent_kernel has shape"),
    (dict(bias=np.zeros(9)), r"bias has shape \(9,\), expected \(8,\)"),
])
def test_shapes_that_do_not_fit_are_refused_before_any_pointer_is_used(change, message):
    good = dict(inputs=np.zeros((2, 4, 3)), num_frames=[4, 2])
    weights = dict(kernel=np.zeros((3, 8)), recurrent_kernel=np.zeros((2, 8)), bias=np.zeros(8))
    first = tuple(weights.values())
    for name, value in change.items():
        (good if name in good else weights)[name] = value
    with pytest.raises(UsageError, match=message):
        cpu.bidirectional_forward(**good, forward=first, backward=tuple(weights.values()))


def test_backward_refuses_what_another_call_kept(rng):
    directions = make_directions(rng, 3, 2)
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    y, kept = cpu.run_forward(x, [4, 2], directions)
    with pytest.raises(UsageError, match="kept.cells has shape"):
        cpu.run_backward(x, [4, 3], directions, y, kept, y)
    with pytest.raises(UsageError, match="gradient has shape"):
        cpu.run_backward(x, [4, 2], directions, y, kept, y[:1])


def test_input_gradient_can_be_left_out(rng):
    directions = make_directions(rng, 3, 2)
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    y, kept = cpu.run_forward(x, [4, 2], directions)
    with_it = cpu.run_backward(x, [4, 2], directions, y, kept, y)
    without = cpu.run_backward(x, [4, 2], directions, y, kept, y, input_gradient=False)
    assert without.inputs is None
    np.testing.assert_array_equal(without.directions[1][0], with_it.directions[1][0])


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), max_size=30), num_slices=st.integers(1, 6))
def test_slices_hold_every_sequence_once_and_count_its_rows(lengths, num_slices):
    array = np.array(lengths, np.int64)
    slices = plan(array, num_slices)
    assert sorted(np.concatenate([s.sequences for s in slices])) == list(range(len(lengths)))
    assert sum(int(s.offsets[-1]) for s in slices) == sum(lengths)
    for part in slices:
        live = [int((part.lengths > t).sum()) for t in range(len(part.offsets) - 1)]
        assert np.diff(part.offsets).tolist() == live


@pytest.mark.parametrize("rows, depth, columns", [(1, 1, 1), (7, 3, 2), (8, 16, 1), (21, 5, 3)])
def test_product_is_a_matrix_product(rng, rows, depth, columns):
    columns *= products.PANEL
    a, b, c = (rng.normal(size=shape).astype(np.float32) for shape in
               ((rows, depth), (depth, columns), (rows, columns)))
    panels = memory.aligned(depth, columns)
    products.pack_panels(depth, columns, b.ctypes.data, columns * 4, panels.ctypes.data)
    expected = c + a.astype(np.float64) @ b
    products.product(rows, depth, columns, a.ctypes.data, products.ROWS * depth * 4, depth * 4, 4,
                     panels.ctypes.data, c.ctypes.data, products.PANEL * 4, columns * 4)
    np.testing.assert_allclose(c, expected, atol=1e-4)


def test_memory_is_aligned_and_used_again():
    memory.release()
    first = memory.aligned(300, 1000)
    address = first.ctypes.data
    assert address % 64 == 0 and first.shape == (300, 1000)
    view = first[10:20]
    del first
    assert memory.aligned(300, 1000).ctypes.data != address  # a view still looks at it
    del view
    assert memory.aligned(299, 1001, zero=True).ctypes.data == address  # same size class
    assert memory.release() > 0 and memory.release() == 0


def test_memory_that_waits_is_bounded(monkeypatch):
    memory.release()
    monkeypatch.setattr(memory, "KEEP", 3_000_000)
    arrays = [memory.aligned(1 << 18) for _ in range(8)]
    arrays.clear()
    assert 0 < memory.release() <= 3_000_000


@given(st.integers(1, 1 << 40))
def test_size_classes_waste_at_most_an_eighth(size):
    block = memory.size_class(size)
    assert size <= block <= size * 1.125 + memory.LINE
    assert memory.size_class(block) == block


def run_child(code: str, **environment) -> subprocess.CompletedProcess:
    base = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    return subprocess.run([sys.executable, "-c", code], env={**base, **environment}, text=True,
                          capture_output=True, timeout=120, cwd=Path(__file__).parents[2])


def test_nothing_here_imports_tensorflow():
    child = run_child("import asr.kernels.cpu, asr.network.equations, asr.doctor.warm, sys\n"
                      "assert asr.kernels.cpu.compile_problem() is None\n"
                      "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))")
    assert child.stdout == "[]\n", child.stderr


@pytest.mark.slow
@pytest.mark.parametrize("features, lanes", [({"avx2": True, "avx": True}, 8), ({"neon": True}, 4),
                                             ({}, 4)])
def test_other_processors_get_other_tiles_and_the_same_numbers(tmp_path, features, lanes):
    code = ("import llvmlite.binding as llvm\nreal = llvm.get_host_cpu_features\n"
            f"llvm.get_host_cpu_features = lambda: {features}\nfrom asr.kernels import simd\n"
            "llvm.get_host_cpu_features = real\n"
            "import numpy as np\nfrom asr.kernels import cpu\nfrom asr.network import equations\n"
            f"assert simd.LANES == {lanes}\nrng = np.random.default_rng(0)\n"
            "shapes = (11, 36), (9, 36), (36,)\n"
            "ds = [cpu.Direction(*(rng.normal(size=s) for s in shapes), b) for b in (0, 1)]\n"
            "x, n = rng.normal(size=(9, 7, 11)), rng.integers(1, 8, 9)\n"
            "y, kept = cpu.run_forward(x, n, ds)\n"
            "g = cpu.run_backward(x, n, ds, y, kept, y)\n"
            "dx, sums = equations.backward_batch(x, n, ds, y)\n"
            "assert np.abs(y - equations.forward_batch(x, n, ds)).max() < 1e-5\n"
            "assert np.abs(g.inputs - dx).max() < 1e-3 * np.abs(dx).max()\n"
            "for a, b in zip(g.directions, sums):\n"
            "    for c, d in zip(a, b):\n"
            "        assert np.abs(c - d).max() < 1e-3 * np.abs(d).max()\n")
    child = run_child(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert child.returncode == 0, child.stderr


def test_a_failing_compiler_is_a_sentence(monkeypatch):
    monkeypatch.setattr(sequences, "forward_slice",
                        lambda *_: (_ for _ in ()).throw(RuntimeError("no LLVM here")))
    monkeypatch.setattr(cpu, "forward_problem", cpu.forward_problem.__wrapped__)
    assert cpu.forward_problem() == "RuntimeError: no LLVM here"
    assert cpu.compile_problem.__wrapped__() == "RuntimeError: no LLVM here"
    monkeypatch.undo()
    monkeypatch.setattr(cpu, "forward_problem", cpu.forward_problem.__wrapped__)
    monkeypatch.setattr(cpu, "infer", lambda *_, **__: np.array([np.nan]))
    assert "returned" in cpu.forward_problem() and "returned" in cpu.compile_problem.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setattr(sequences, "backward_slice",
                        lambda *_: (_ for _ in ()).throw(RuntimeError("no backward pass")))
    assert cpu.forward_problem.__wrapped__() is None
    assert cpu.compile_problem.__wrapped__() == "RuntimeError: no backward pass"


def test_warm_compiles_and_says_so(capsys, monkeypatch):
    from asr.doctor import warm

    assert warm.main() == 0
    output = capsys.readouterr().err
    assert "Compiling for LSTM" in output and "Compiling for decoding" in output

    def missing():
        raise ImportError("no numba")

    monkeypatch.setattr(cpu, "compile_problem", lambda: "no LLVM here")
    monkeypatch.setitem(warm.KERNELS, "decoding", missing)
    assert warm.main() == 1
    output = capsys.readouterr().err
    assert "cannot: no LLVM here" in output and "cannot: ImportError: no numba" in output
