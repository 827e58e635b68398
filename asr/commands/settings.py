"""The recipe of a command recogniser: small, trained on voices in noise and rooms.

In: manifests and a budget. Out: a `Recipe`, the same kind that people write by hand.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from asr.bundle import Bundle
from asr.recipe import FeatureSettings, ModelSettings, Recipe, recipe_from_dict
from asr.transcript.timing import FrameClock

MAX_PAUSE = 0.4  # seconds, decoder.max_pause: people record a command with quiet around it
MAX_EPOCHS = 10_000  # --minutes ends the training
# 8 kHz: telephones, cheap microphones and old recordings are all read alike, and half of the
# columns is half of the network.
FEATURES = {"kind": "log_mel", "sample_rate": 8_000, "n_fft": 256, "win_length": 200,
            "hop_length": 80, "n_mels": 40, "f_min": 60.0, "cmvn": "map", "cmvn_prior": 200,
            "cmvn_range_db": 35.0}
AUGMENT = {"warp": 0.2, "tempo": 0.25, "tilt_db": 8.0, "curve_db": 4.0,
           # Narrow microphones, and noise suppressors that leave [s] and [f] out.
           "band_limit_probability": 0.3, "band_limit_min_hz": 2_000.0,
           "unvoiced_probability": 0.3,
           "reverb_probability": 0.5, "noise_probability": 0.6, "noise_snr_min": 3.0,
           "noise_snr_max": 30.0, "freq_masks": 2, "freq_mask_width": 8, "time_masks": 1,
           "time_mask_width": 15, "time_mask_fraction": 0.1,
           "pad_max": 1.0}  # of quiet, max_pause leaves 0.2 s at each end, but not of noise
# Seconds of quiet at both ends of what is read; in training there is less: voices begin and end
# with some quiet of their own, while a recording may be cut where the word begins.
EDGE = 0.2
MODEL = {"stacking": 3, "subsampling": 3, "num_layers": 2, "units": 64,
         "dropout": 0.2, "layer_norm": True}
TRAIN = {"learning_rate": 4e-3, "final_learning_rate": 1e-5, "warmup_steps": 100,
         "weight_decay": 1e-2, "ema": 0.995, "edge_frames": 3}
FROM_BASE = {"learning_rate": 1.5e-3}  # a start that knows speech is not to be lost


def recipe_of(train: list[Path], repeats: list[int], valid: Path, noise: Path, *, minutes: float,
              seed: int, epochs: int = 0, base: Bundle | None = None) -> Recipe:
    """The recipe.

    Args:
        train: manifests.
        repeats: how often an epoch uses each.
        valid: manifest of voices that are not in training; it chooses the epoch.
        noise: folder of noises.
        minutes: of training; the learning rate follows the clock.
        seed: for all random choices.
        epochs: at most; 0: as many as fit into the minutes.
        base: a bundle to begin from, with its features and network but for dropout and edges;
            None: random weights, and those above.
    """
    features, model, settings = FEATURES, MODEL, TRAIN
    if base is not None:
        features, model = dataclasses.asdict(base.features), dataclasses.asdict(base.model)
        model["dropout"] = MODEL["dropout"]
        settings = {**TRAIN, **FROM_BASE, "initial_bundle": str(base.path)}
    clock = FrameClock.of(FeatureSettings(**features), ModelSettings(**model))
    edges = {"edge_frames": max(TRAIN["edge_frames"], round(EDGE / clock.seconds_per_frame))}
    return recipe_from_dict({
        "seed": seed,
        "data": {"train": list(map(str, train)), "repeats": repeats, "valid": [str(valid)],
                 "batch_frames": 5_000, "max_seconds": 10.0, "non_speech": len(train) > 1},
        "text": {"normalizer": "basic"},
        "features": features,
        "augment": {**AUGMENT, "noise_dir": str(noise)},
        "model": model | edges,
        "train": {**settings, "epochs": epochs or MAX_EPOCHS, "max_minutes": minutes},
    }, source="asr commands")
