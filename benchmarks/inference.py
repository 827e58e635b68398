"""One forward pass of a bidirectional LSTM network in several engines; one JSON object on stdout.

    python benchmarks/inference.py
    python benchmarks/inference.py --layers 3 --units 256 --batches 1 16 --threads 1 2

Ours with float32 and with 8-bit weights, onnxruntime with float32 and dynamic int8, LiteRT (one
recording at a time) and PyTorch's LSTM with the same sizes. Features to logits, random weights,
sequences of one length. The engines take turns, `--runs` times after one to warm up; reported are
the median, the quartiles, and the median of the quotients with our float32 time of the same turn.
Each number of threads is a process of its own. An engine that is not installed has a row that says
so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NAMES = ("ours float32", "ours int8", "onnxruntime float32", "onnxruntime int8", "LiteRT",
         "PyTorch")
THREADS = ("ASR_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MELS, LABELS = 80, " abcdefghijklmnopqrstuvwxyz'"

Run = Callable[[np.ndarray, np.ndarray], object]


def recognisers(args, folder: Path):
    """The network with random weights, as float32 and with 8 bits."""
    import asr
    from asr.bundle import save_bundle
    from asr.export.int8_bundle import quantize_bundle
    from asr.network.weights import weight_shapes
    from asr.recipe import DecoderSettings, FeatureSettings, ModelSettings, TextSettings
    from asr.text.tokenizer import CharTokenizer

    features, tokenizer = FeatureSettings(n_mels=MELS), CharTokenizer(LABELS)
    model = ModelSettings(num_layers=args.layers, units=args.units, stacking=3, subsampling=3)
    rng = np.random.default_rng(0)
    weights = {name: (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
               for name, shape in weight_shapes(model, MELS, tokenizer.vocab_size).items()}
    path = folder / "float32.asr"
    save_bundle(path, features=features, text=TextSettings(), model=model,
                decoder=DecoderSettings(), tokenizer=tokenizer, weights=weights)
    ours = asr.load(path, engine="numpy")
    quantize_bundle(ours, folder / "int8.asr")
    return ours, asr.load(folder / "int8.asr", engine="numpy")


def torch_run(args, threads: int) -> Run:
    """PyTorch's LSTM of the same sizes on stacked frames, with an output layer."""
    import torch

    torch.set_num_threads(threads)
    lstm = torch.nn.LSTM(3 * MELS, args.units, args.layers, batch_first=True, bidirectional=True)
    output = torch.nn.Linear(2 * args.units, len(LABELS) + 1)

    def run(features: np.ndarray, num_frames: np.ndarray):
        frames = features.shape[1] // 3
        stacked = features[:, :3 * frames].reshape(len(features), frames, 3 * MELS)
        with torch.inference_mode():
            return output(lstm(torch.from_numpy(stacked))[0])

    return run


def engines(args, threads: int, folder: Path) -> dict[str, Run | str]:
    """Name to a function, or to the reason why there is none."""
    from asr.export import Options, litert_format, onnx_format
    from asr.network.onnx_engine import OnnxAcousticModel

    ours, small = recognisers(args, folder)
    found: dict[str, Run | str] = {"ours float32": ours.engine.logits,
                                   "ours int8": small.engine.logits}

    def onnx(kind: str) -> Run:
        path = folder / f"{kind or 'float32'}.onnx"
        onnx_format.write(ours, path, Options(kind))
        return OnnxAcousticModel(path, threads=threads).logits

    def litert() -> Run:
        written = litert_format.write(ours, folder / "m.tflite", Options())
        return litert_format.LiteRtEngine(written.files[0].read_bytes(), threads).logits

    makers: dict[str, Callable[[], Run]] = {
        "onnxruntime float32": lambda: onnx(""), "onnxruntime int8": lambda: onnx("int8"),
        "LiteRT": litert, "PyTorch": lambda: torch_run(args, threads)}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError as error:
            found[name] = f"not installed: {error.name}"
    return found


def measure(args, threads: int) -> list[dict]:
    """Rows of this process, whose number of threads is set."""
    rng, rows = np.random.default_rng(1), []
    with tempfile.TemporaryDirectory() as folder:
        found = engines(args, threads, Path(folder))
        for batch in args.batches:
            features = rng.normal(size=(batch, args.frames, MELS)).astype(np.float32)
            lengths = np.full(batch, args.frames)
            times: dict[str, list[float]] = {name: [] for name in NAMES
                                             if callable(found[name])}
            for turn in range(args.runs + 1):
                for name, seconds in times.items():
                    started = time.perf_counter()
                    found[name](features, lengths)  # type: ignore[operator]
                    if turn:
                        seconds.append(time.perf_counter() - started)
            for name in NAMES:
                row = {"engine": name, "batch": batch, "threads": threads}
                if name in times:
                    low, middle, high = np.percentile(1e3 * np.array(times[name]), (25, 50, 75))
                    ratio = np.median(np.divide(times[name], times["ours float32"]))
                    row |= {"milliseconds": round(middle, 2),
                            "quartiles": [round(low, 2), round(high, 2)],
                            "of_our_float32": round(float(ratio), 3)}
                else:
                    row["missing"] = found[name]
                rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--frames", type=int, default=900, help="of 10 ms, before subsampling")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args, args.child)))
        return
    rows = []
    for threads in sorted(set(args.threads)):
        environment = os.environ | dict.fromkeys(THREADS, str(threads)) | {
            "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--child", str(threads)],
                              env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        rows += json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({"network": f"{args.layers} x {args.units}", "frames": args.frames,
                      "machine": platform.machine(), "cores": os.cpu_count(),
                      "runs": args.runs, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
