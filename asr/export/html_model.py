"""What a page needs of a bundle, as plain values: settings, alphabet, lexicon, weights as text.

In: a bundle. Out: a dictionary for JSON, read by `loadModel` of asr/pages/assets/engine.js.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping

import numpy as np

from asr.bundle import Bundle
from asr.decoding.calibration import PARAMETERS
from asr.errors import UsageError
from asr.export.spectrum import not_computed, spectrum
from asr.features.lengths import frame_origin

MATRICES = ("kernel", "recurrent_kernel")  # of float16; vectors stay as they are: they are small


def page_model(bundle: Bundle, quantize: str = "float16") -> dict:
    """The model of a page.

    Args:
        bundle: features log_mel or mfcc; a decoder other than greedy and lexicon becomes greedy.
        quantize: "float16" or "" for float32.

    Raises:
        UsageError: features that the page cannot compute.
    """
    if odd := not_computed(bundle.features):
        raise UsageError(f"A page computes log_mel and mfcc from samples, not {odd}. Export with "
                         "--format onnx, whose entry for features takes any.")
    constants = spectrum(bundle.features)
    kind = page_decoder(bundle)
    calibration = bundle.calibration.get(kind)
    cmvn = bundle.cmvn
    return {
        "features": dataclasses.asdict(bundle.features), "model": dataclasses.asdict(bundle.model),
        "decoder": {"kind": kind, "word_bonus": bundle.decoder.word_bonus,
                    "max_pause": bundle.decoder.max_pause},
        "labels": ["", *bundle.tokenizer.alphabet],
        "lexicon": [bundle.tokenizer.encode(word) for word in bundle.decoder.lexicon]
        if kind == "lexicon" else [],
        "calibration": {name: getattr(calibration, name) for name in PARAMETERS}
        if calibration else None,
        "cmvn": {"mean": cmvn[0].tolist(), "std": cmvn[1].tolist()} if cmvn else None,
        "window": constants.window.tolist(), "before": constants.before,
        "filters": [_sparse(row) for row in constants.filters],
        "frame_origin": frame_origin(bundle.model),
        "weights": {name: _tensor(name, array, quantize)
                    for name, array in bundle.weights.items()}}


def page_decoder(bundle: Bundle) -> str:
    """The kind of decoder that the page has for a bundle."""
    return "lexicon" if bundle.decoder.kind == "lexicon" else "greedy"


def _sparse(row: np.ndarray) -> list:
    """A filter as [its first bin, its weights]."""
    used = np.flatnonzero(row)
    return [int(used[0]), row[used[0]:used[-1] + 1].tolist()] if len(used) else [0, []]


def rounded(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights as a page of float16 has them, in float32.

    Raises:
        UsageError: a weight that half precision cannot hold.
    """
    result = {}
    for name, array in weights.items():
        if name.rsplit("/", 1)[1] in MATRICES:
            with np.errstate(over="ignore"):
                array = array.astype(np.float16).astype(np.float32)
            if not np.isfinite(array).all():
                raise UsageError(f"{name} holds numbers above 65504, which float16 cannot. Export "
                                 "with --quantize float32.")
        result[name] = array
    return result


def _tensor(name: str, array: np.ndarray, quantize: str) -> dict:
    half = quantize == "float16" and name.rsplit("/", 1)[1] in MATRICES
    data = np.ascontiguousarray(array, "<f2" if half else "<f4").tobytes()
    return {"shape": list(array.shape), "type": "float16" if half else "float32",
            "data": base64.b64encode(data).decode()}
