"""Fixtures that every test file may use."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before NumPy is imported. Each worker has a core; threads of BLAS that wait for each other
    # would take 8 % of both.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

# Before any test imports TensorFlow: quiet, and on the CPU that every machine has.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# The key that signs audio roots is never that of the person who runs the tests.
os.environ.setdefault("ASR_TEST_STATE", tempfile.mkdtemp(prefix="asr-state-"))
os.environ["XDG_STATE_HOME"] = os.environ["ASR_TEST_STATE"]

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

LONGEST_FIRST = ("test_training.py", "test_readme.py", "test_keras_page.py", "test_cli.py",
                 "test_linguist.py", "test_engineer.py", "test_keras.py",
                 "test_export.py", "test_feature_cache.py", "test_decoding_beam.py",
                 "test_decoding.py", "test_processes.py", "test_commands.py", "test_voices.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutations", type=int, default=2_000, help="of each reader, in the slow "
                     "fuzz tests (tests/test_fuzz.py)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes end at about the same time if the files that take minutes come first."""
    rank = {name: index for index, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20_261_122)


@pytest.fixture
def brief_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export is compared over 6 seconds instead of 60; one test of test_export.py and the
    benchmark keep the minute."""
    from asr.export import certificate

    monkeypatch.setattr(certificate, "LONGEST_SECONDS", 6.0)
    monkeypatch.setattr(certificate, "TIMED_RUNS", 1)
    monkeypatch.setattr(certificate, "TIMED_SECONDS", 1.0)
    clips = certificate.sample_clips
    monkeypatch.setattr(certificate, "sample_clips", lambda rate: clips(rate)[-2:])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings that are not part of the project; absent on most machines."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real recordings (../shared/data) are not on this machine")
    return SHARED_DATA
