"""A small network with random weights as a bundle: quick to make, useless, and well formed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asr.bundle import save_bundle
from asr.network.weights import num_features, weight_shapes
from asr.recipe import DecoderSettings, FeatureSettings, ModelSettings, TextSettings
from asr.text.tokenizer import CharTokenizer

FEATURES = FeatureSettings(sample_rate=8_000, n_fft=256, win_length=200, hop_length=80, n_mels=20)
MODEL = ModelSettings(num_layers=2, units=12, stacking=3, subsampling=2, layer_norm=True)
TOKENIZER = CharTokenizer(" abcdefgh")
ARPA = ("\\data\\\nngram 1=5\n\n\\1-grams:\n-1\t<s>\n-1\t</s>\n-1\t<unk>\n-0.3\tbad\n-0.3\tcab\n\n"
        "\\end\\\n")


def random_weights(model: ModelSettings = MODEL, features: FeatureSettings = FEATURES,
                   vocab_size: int = TOKENIZER.vocab_size, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that keep signals alive and write words of several letters."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in weight_shapes(model, num_features(features), vocab_size).items():
        scale = 6.0 if name == "output/kernel" else 3.0 if name.startswith("lstm") else 1.0
        weights[name] = (scale * rng.normal(size=shape) / np.sqrt(max(shape[0], 1))
                         ).astype(np.float32)
    return weights


def content(**changes) -> dict:
    """The arguments of `save_bundle`, with some of them changed."""
    model = changes.get("model", MODEL)
    features = changes.get("features", FEATURES)
    tokenizer = changes.get("tokenizer", TOKENIZER)
    if "weights" not in changes:
        changes["weights"] = random_weights(model, features, tokenizer.vocab_size)
    return {"features": features, "text": TextSettings(), "model": model,
            "decoder": DecoderSettings(), "tokenizer": tokenizer,
            "training": {"epochs": 3}} | changes


def write_bundle(path: Path, **changes) -> Path:
    """A bundle on disk."""
    save_bundle(path, **content(**changes))
    return path
