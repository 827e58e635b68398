"""Compare the output of this machine with the reference that a bundle contains.

In: a bundle with a reference clip. Out: the largest difference of its features, by librosa and by
the NumPy twin, and of its logits, per engine.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from asr.bundle import Bundle
from asr.features import FeatureExtractor, normalize_features
from asr.features.twin import TWINS

TOLERANCE = 1e-4  # of logits
FEATURE_TOLERANCE = 1e-3  # standard deviations of a feature


def check_reference(bundle: Bundle, *, tensorflow: bool) -> dict:
    """Run every engine on the bundle's reference features and compare the logits.

    Returns:
        present (bool); features and engines: name -> {agrees, difference, message}.
    """
    if bundle.reference is None or bundle.network:  # a user's own network needs its function
        return {"present": False, "features": {}, "engines": {}}
    engines = ("numpy", "keras") if tensorflow else ("numpy",)
    libraries = ("librosa", "numpy") if bundle.features.kind in TWINS else ("librosa",)
    versions = ", ".join(f"{name} {bundle.versions[name]}" for name in ("librosa", "numpy")
                         if name in bundle.versions)
    return {"present": True, "versions": versions or "unknown versions",
            "features": {name: _compare_features(bundle, name) for name in libraries},
            "engines": {name: _compare(bundle, name) for name in engines}}


def _compare_features(bundle: Bundle, library: str) -> dict:
    reference = bundle.reference
    if reference is None:
        raise ValueError("The bundle has no reference clip.")
    settings = replace(bundle.features, trim_db=0.0)
    extractor = FeatureExtractor(settings, quick_start=library == "numpy")
    got = normalize_features(extractor.extract(reference.audio), settings, bundle.cmvn)
    if got.shape != reference.features.shape:
        return {"agrees": False, "difference": None, "message":
                f"features have shape {got.shape}, the bundle's {reference.features.shape}"}
    difference = float(np.abs(got - reference.features).max(initial=0.0))
    return {"agrees": difference <= FEATURE_TOLERANCE, "difference": difference,
            "message": f"features differ by up to {difference:.1e} standard deviations, "
                       f"{FEATURE_TOLERANCE:.0e} is allowed"}


def _compare(bundle: Bundle, name: str) -> dict:
    from asr.network.engine import build_engine

    reference = bundle.reference
    if reference is None:
        raise ValueError("The bundle has no reference clip.")
    engine = build_engine(name, bundle.model, bundle.num_features, bundle.tokenizer.vocab_size,
                          bundle.weights)
    features = reference.features[np.newaxis]
    logits, lengths = engine.logits(features, np.array([features.shape[1]], np.int32))
    got = logits[0, :lengths[0]]
    if got.shape != reference.logits.shape:
        return {"agrees": False, "difference": None,
                "message": f"logits have shape {got.shape}, the bundle's {reference.logits.shape}"}
    if not np.isfinite(got).all():
        return {"agrees": False, "difference": None, "message": "logits are not finite"}
    difference = float(np.abs(got - reference.logits).max(initial=0.0))
    return {"agrees": difference <= TOLERANCE, "difference": difference,
            "message": f"logits differ by up to {difference:.1e}, {TOLERANCE:.0e} is allowed"}
