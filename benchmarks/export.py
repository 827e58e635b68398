"""Every export format beside our own engine: size, difference, speed, WER. Prints JSON.

    python benchmarks/export.py asr/assets/digits.asr asr/assets/clips/clips.jsonl
    python benchmarks/export.py runs/digits data/fsdd/test.jsonl --audio-root ../shared/data

Each row is the certificate that `asr export` writes: logits are compared over batches of 1, 7 and
32 recordings from one frame to a minute. Seconds are medians of runs that alternate with ours.
`float64` is how far our own float32 engine is from the same network in float64, on a minute of
speech: the limit of what a comparison of two float32 engines can show.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

import asr  # noqa: E402
from asr.errors import AsrError  # noqa: E402
from asr.export import FORMATS, certificate, export  # noqa: E402
from asr.manifest import read_manifest  # noqa: E402
from asr.network.numpy_layers import quiet_edges, stack_frames  # noqa: E402
from asr.network.weights import LAYER_NORM_EPSILON  # noqa: E402

ROWS = (("onnx", ""), ("onnx", "int8"), ("litert", ""), ("litert", "float16"), ("litert", "int8"),
        ("savedmodel", ""), ("html", ""), ("html", "float32"))


def float64_logits(bundle, features: np.ndarray) -> np.ndarray:
    """The network in float64: (T, F) normalised features of one utterance -> (T', V)."""
    s, w = bundle.model, {name: a.astype(np.float64) for name, a in bundle.weights.items()}
    x = stack_frames(quiet_edges(features.astype(np.float64), s.edge_frames * s.subsampling),
                     s.stacking, s.subsampling)

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    def direction(x, name):
        projected = x @ w[f"{name}/kernel"] + w[f"{name}/bias"]
        h = c = np.zeros(s.units)
        rows = []
        for row in projected:
            i, f, g, o = np.split(row + h @ w[f"{name}/recurrent_kernel"], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            rows.append(h)
        return np.array(rows)

    for layer in range(s.num_layers):
        ahead = direction(x, f"lstm_{layer}/forward")
        back = direction(x[::-1], f"lstm_{layer}/backward")[::-1]
        x = np.concatenate([ahead, back], axis=1)
        if s.layer_norm:
            centred = x - x.mean(axis=1, keepdims=True)
            x = centred / np.sqrt((centred ** 2).mean(axis=1, keepdims=True) + LAYER_NORM_EPSILON)
            x = x * w[f"norm_{layer}/gamma"] + w[f"norm_{layer}/beta"]
    return x @ w["output/kernel"] + w["output/bias"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("manifest")
    parser.add_argument("--audio-root", type=Path)
    args = parser.parse_args()
    recognizer = asr.load(args.bundle, engine="numpy")
    utterances = read_manifest(args.manifest, audio_root=args.audio_root)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, quantize in ROWS:
            if name not in FORMATS:
                continue
            path = Path(folder) / f"{name}-{quantize}.bin"
            try:
                found = export(recognizer, path, name, quantize=quantize, verify=utterances,
                               max_wer_cost=100.0)
            except AsrError as error:
                rows.append({"format": name, "quantize": quantize, "error": str(error)})
                continue
            v = found.verification
            rows.append({
                "format": name, "quantize": quantize, "megabytes": round(found.size / 1e6, 2),
                "largest_difference": float(f"{found.largest_difference:.1e}"),
                "seconds_per_second": round(found.exported_seconds, 5),
                "ours": round(found.ours_seconds, 5), "same_transcripts": v.identical,
                "utterances": v.utterances, "wer": round(v.exported_wer, 3),
                "our_wer": round(v.ours_wer, 3)})
    result = {"bundle": args.bundle, "manifest": args.manifest, "machine": platform.processor()
              or platform.machine(), "cores": os.cpu_count(), "rows": rows}
    if recognizer.bundle.model.front_end == "stack":
        clip = certificate.mixed_clips(certificate.sample_clips(recognizer.sample_rate),
                                  recognizer.sample_rate, 1, 60.0)[0]
        features = recognizer.features(clip)
        exact = float64_logits(recognizer.bundle, recognizer.normalized(features))
        result["float64"] = float(np.abs(recognizer.logits(features) - exact).max())
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
