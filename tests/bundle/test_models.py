"""The bundles of models/ are those that `asr download` expects, and work."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from asr import load
from asr.bundle.published import MODELS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", MODELS)
def test_a_published_bundle_is_the_one_of_the_repository(name):
    path = ROOT / f"{name}.asr"
    if not path.exists():
        pytest.skip("the repository's bundles are not here")
    data = path.read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (MODELS[name].sha256, MODELS[name].size)
    assert len(data) <= 12_000_000
    assert f"# Model card: `{path.name}`" in (path.parent / "MODEL_CARD.md").read_text("utf-8")
    recognizer = load(path)
    found = recognizer.transcribe(ROOT / "asr/assets/clips/1-rms.ogg")
    assert found.text and all(0 <= word.confidence <= 1 for word in found.words)
