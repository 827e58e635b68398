"""How fast is the CTC loss with its gradient? Ours beside tf.nn.ctc_loss, prints JSON.

    python benchmarks/ctc.py
    python benchmarks/ctc.py --rounds 101 --threads 1

Both run in a tf.function of one process, with as many threads, on the same logits (normal, scale
3, seed 0) and as many labels in every row. They take turns (A B A B ...), so that other work on the
machine slows both; compare the ratio. "spread" is the distance of the quartiles. Before anything is
timed, both are compared with TensorFlow's loss and gradient in float64. TensorFlow's is the call of
`asr.network.ctc.by_tensorflow`, which runs where nothing compiles.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHAPES = ((16, 400, 29), (16, 400, 1000))
NUM_LABELS = 60


def measure(shape: tuple[int, int, int], rounds: int) -> dict:
    """Medians of one shape, in ms."""
    import numpy as np
    import tensorflow as tf

    from asr.network.ctc import by_tensorflow, ctc_loss

    batch, frames, vocab = shape
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(0, 3, shape), tf.float32)
    rest = (tf.constant([frames] * batch), tf.constant(rng.integers(1, vocab, (batch, NUM_LABELS)),
                                                       tf.int32), tf.constant([NUM_LABELS] * batch))

    def with_gradient(function):
        def run(logits):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                losses = function(logits, *rest)
            return losses, tape.gradient(losses, logits)
        return run

    contenders = {"ours": tf.function(with_gradient(ctc_loss)),
                  "tensorflow": tf.function(with_gradient(by_tensorflow))}
    results = {name: [x.numpy() for x in run(logits)] for name, run in contenders.items()}
    exact = [x.numpy() for x in with_gradient(by_tensorflow)(tf.cast(logits, tf.float64))]
    seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run(logits)[1].numpy()
            seconds[name].append(1e3 * (time.perf_counter() - start))
    row: dict = {"shape": shape, "labels": NUM_LABELS}
    for name, times in seconds.items():
        low, middle, high = statistics.quantiles(times, n=4)
        errors = [float(np.abs(x - y).max()) for x, y in zip(results[name], exact, strict=True)]
        row[name] = {"ms": round(middle, 2), "spread": round(high - low, 2),
                     "loss_error": errors[0], "gradient_error": errors[1]}
    row["ratio"] = round(row["ours"]["ms"] / row["tensorflow"]["ms"], 3)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    os.environ["ASR_NUM_THREADS"] = str(arguments.threads)
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    cpu = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
           if line.startswith("model name")] if Path("/proc/cpuinfo").exists() else []
    print(json.dumps({
        "benchmark": "ctc", "processor": cpu[0] if cpu else platform.processor(),
        "threads": arguments.threads, "tensorflow": tf.__version__, "rounds": arguments.rounds,
        "shapes": [measure(shape, arguments.rounds) for shape in SHAPES],
        "load_average": os.getloadavg()}, indent=1))


if __name__ == "__main__":
    main()
