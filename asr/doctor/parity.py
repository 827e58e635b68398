"""Compare the output of this machine with the reference that a bundle contains.

In: a bundle with a reference clip. Out: per engine, the largest difference of the logits.
"""

from __future__ import annotations

import numpy as np

from asr.bundle import Bundle

TOLERANCE = 1e-4  # of logits


def check_reference(bundle: Bundle, *, tensorflow: bool) -> dict:
    """Run every engine on the bundle's reference features and compare the logits.

    Returns:
        present (bool); engines: name -> {agrees, difference, message}.
    """
    if bundle.reference is None or bundle.network:  # a user's own network needs its function
        return {"present": False, "engines": {}}
    engines = ("numpy", "keras") if tensorflow else ("numpy",)
    return {"present": True, "engines": {name: _compare(bundle, name) for name in engines}}


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
