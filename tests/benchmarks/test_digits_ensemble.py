"""The mean of the posteriors of several runs."""

from __future__ import annotations

import numpy as np
import pytest
from scripts import script

from asr.tuning import DevSet

ensemble = script("digits_ensemble")


def dev_set(*logits: np.ndarray | None) -> DevSet:
    names = tuple("abc"[:len(logits)])
    return DevSet(names, names, names, logits, "basic")


def test_probabilities_are_averaged_frame_by_frame():
    rng = np.random.default_rng(1)
    one, other = (rng.normal(size=(7, 4)).astype(np.float32) for _ in range(2))
    mean = ensemble.mean_posteriors([dev_set(one), dev_set(other + 3)]).logits[0]
    wanted = sum(np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (one, other)) / 2
    found = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert mean.dtype == np.float32


def test_silence_stays_silence():
    logits = np.zeros((2, 3), np.float32)
    both = ensemble.mean_posteriors([dev_set(None, logits), dev_set(None, logits)])
    assert both.logits[0] is None and both.logits[1].shape == (2, 3)


def test_networks_that_keep_other_frames_are_refused():
    with pytest.raises(SystemExit, match=r"a: .* \[\(4, 3\), \(6, 3\)\]; .* one model.subsampling"):
        ensemble.mean_posteriors([dev_set(np.zeros((4, 3), np.float32)),
                                  dev_set(np.zeros((6, 3), np.float32))])


def test_runs_are_counted(tmp_path, monkeypatch):
    """A speaker with one run is left out; none with two is a sentence."""
    (tmp_path / "seed-1/a/run").mkdir(parents=True)
    (tmp_path / "seed-1/a/run/best.asr").touch()
    monkeypatch.setattr(ensemble, "read_fsdd", lambda fsdd, root: [
        type("Row", (), {"speaker": "a"})])
    monkeypatch.setattr("sys.argv", ["x", str(tmp_path), "fsdd"])
    with pytest.raises(SystemExit, match="no speaker with two runs"):
        ensemble.main()
