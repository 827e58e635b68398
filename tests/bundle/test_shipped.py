"""The bundle that comes with the package: small, described, right, and blind to its batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import asr
from asr.bundle.find import SHIPPED
from asr.network.engine import pad_batch
from asr.recognizer import load

ASSETS = SHIPPED.parent
BATCHES = (1, 7, 32)


@pytest.fixture(scope="module")
def recognizer():
    return load()


@pytest.fixture(scope="module")
def utterances():
    return asr.read_manifest(ASSETS / "clips" / "clips.jsonl")


@pytest.fixture(scope="module")
def features(recognizer, utterances):
    """Normalised features of 32 recordings of very different lengths: the clips and pieces."""
    pieces = []
    for utterance in utterances:
        audio = recognizer.load_audio(utterance.audio)
        pieces += [audio, audio[:len(audio) // 2], audio[len(audio) // 3:], audio[:2_400]]
    return [recognizer.normalized(recognizer.features(piece)) for piece in pieces]


def logits_in_batches(engine, features, size: int) -> list[np.ndarray]:
    found = []
    for start in range(0, len(features), size):
        logits, lengths = engine.logits(*pad_batch(features[start:start + size]))
        found += [row[:length] for row, length in zip(logits, lengths, strict=True)]
    return found


def test_batch_size_and_order_change_no_logit_and_no_transcript(recognizer, features, rng):
    alone = logits_in_batches(recognizer.engine, features, 1)
    texts = [recognizer.decode(row).text for row in alone]
    assert len(features) == 32
    for size in BATCHES:
        order = rng.permutation(len(features))
        shuffled = logits_in_batches(recognizer.engine, [features[i] for i in order], size)
        for place, row in zip(order, shuffled, strict=True):
            np.testing.assert_allclose(row, alone[place], atol=1e-4)
            assert recognizer.decode(row).text == texts[place]


@pytest.mark.tf
def test_both_engines_hear_the_same(recognizer, features):
    pytest.importorskip("tensorflow")
    keras = load(engine="keras")
    for ours, theirs in zip(logits_in_batches(recognizer.engine, features, 32),
                            logits_in_batches(keras.engine, features, 32), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        assert recognizer.decode(ours).text == recognizer.decode(theirs).text


def test_the_stored_reference_is_reproduced(recognizer):
    reference = recognizer.bundle.reference
    assert reference is not None
    features = recognizer.features(reference.audio)
    np.testing.assert_allclose(recognizer.normalized(features), reference.features, atol=1e-3)
    np.testing.assert_allclose(recognizer.logits(features), reference.logits, atol=1e-3)


def test_the_sample_clips_are_heard(recognizer, utterances):
    report = asr.evaluate(recognizer, utterances)
    assert report.score.receipt.utterances == len(utterances) == 8
    assert report.wer <= 0.1, report


def test_silence_and_noise_are_not_digits(recognizer, rng):
    rate = recognizer.sample_rate
    assert recognizer.transcribe(np.zeros(2 * rate, np.float32)).text == ""
    assert recognizer.transcribe(1e-5 * rng.standard_normal(rate).astype(np.float32)).text == ""


def test_it_is_small_and_has_a_card(recognizer):
    assert SHIPPED.stat().st_size <= 6_000_000
    card = (ASSETS / "MODEL_CARD.md").read_text(encoding="utf-8")
    for word in ("CC BY-SA 4.0", "speechocean762", "leave-one-speaker-out", "Limits"):
        assert word in card, word
    assert Path(recognizer.bundle.path) == SHIPPED
