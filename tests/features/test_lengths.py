from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.features.lengths import CONV_TIME_STRIDES, feasible, feature_length, output_length
from asr.recipe import ModelSettings

MODELS = [ModelSettings(front_end=front_end, stacking=4, subsampling=subsampling)
          for front_end in ("stack", "conv") for subsampling in (1, 2, 3, 4)]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{m.front_end}-{m.subsampling}")
@given(num_frames=st.integers(1, 5_000))
@settings(max_examples=50, deadline=None)
def test_output_length_counts_the_positions_a_stride_visits(model, num_frames):
    strides = ((model.subsampling,) if model.front_end == "stack"
               else CONV_TIME_STRIDES[model.subsampling])
    positions = range(num_frames)
    for stride in strides:
        positions = range(len(positions[::stride]))
    assert output_length(num_frames, model) == len(positions)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{m.front_end}-{m.subsampling}")
def test_an_array_gives_what_its_elements_give(model):
    lengths = np.arange(0, 40, dtype=np.int32)
    together = output_length(lengths, model)
    assert together.dtype == np.int32
    assert together.tolist() == [output_length(int(t), model) for t in lengths]


def test_quiet_edges_add_to_what_there_is_and_to_nothing_else():
    for front_end in ("stack", "conv"):
        model = ModelSettings(front_end=front_end, subsampling=3, edge_frames=2)
        lengths = np.array([0, 1, 3, 4], np.int32)
        assert output_length(lengths, model).tolist() == [0, 5, 5, 6]
        assert output_length(lengths, model).dtype == np.int32
        assert [output_length(int(n), model) for n in lengths] == [0, 5, 5, 6]


def test_one_frame_is_never_lost():
    assert all(output_length(1, model) == 1 for model in MODELS)


def test_a_negative_length_is_refused():
    with pytest.raises(UsageError, match="0 or more; got -1"):
        output_length(-1, MODELS[0])


def test_feature_length_is_one_frame_a_hop():
    assert [feature_length(n, 160, 512) for n in (1, 159, 160, 161, 320)] == [1, 1, 2, 2, 3]
    assert [feature_length(n, 160, 511) for n in (1, 159, 160, 161, 320)] == [1, 1, 1, 2, 2]


def _writable(num_frames: int, labels: tuple[int, ...]) -> bool:
    """The slow, obvious reference: try every path of the CTC alphabet."""
    for path in itertools.product(range(3), repeat=num_frames):
        collapsed = tuple(key for key, _ in itertools.groupby(path) if key != 0)
        if collapsed == labels:
            return True
    return False


@given(num_frames=st.integers(0, 6), labels=st.lists(st.integers(1, 2), max_size=5))
@settings(max_examples=60, deadline=None)
def test_feasible_means_that_a_path_exists(num_frames, labels):
    assert feasible(num_frames, labels) == _writable(num_frames, tuple(labels))
