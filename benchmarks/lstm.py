"""How fast is the LSTM? Ours, inside TensorFlow and without it, beside stock Keras and PyTorch.

    python benchmarks/lstm.py --torch-python /path/to/venv/bin/python > lstm.json

Every contender is a process of its own with the same number of threads. In each round they run
one after another (A B C A B C ...), so that a busy machine is busy for all; compare the ratios
of the medians. A "step" is forward and backward with all gradients through 3 bidirectional
layers of 256 units; lengths of the variable case are uniform in 100 .. 800 (seed 0).
`cpu_seconds` is processor time of all threads, which a busy machine inflates less. Prints JSON.
"ours" is the layer in a tf.function; "ours_numpy" the same kernels as `asr transcribe` calls them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

LAYERS, UNITS, FEATURES = 3, 256, 80
PAUSE = 0.05  # seconds before a run: OpenMP's threads, and ours, look for more work for a while
CONTENDERS = ("ours", "ours_numpy", "keras", "torch", "torch_packed")


def lengths_of(case: str):
    """((B,) lengths, is it a training step) of a case such as step:16:400 or forward:1:400."""
    import numpy as np

    kind, batch, frames = case.split(":")
    if frames == "variable":
        return np.random.default_rng(0).integers(100, 801, int(batch)), kind == "step"
    return np.full(int(batch), int(frames)), kind == "step"


# --- one contender, in a process of its own --------------------------------------------------


def tensorflow_case(kernel: str, threads: int):
    """Make run(case) for our layer ("cpu") or for Keras's own, with masks ("keras")."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")
    import keras
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.set_visible_devices([], "GPU")
    keras.utils.set_random_seed(0)
    if kernel == "keras":
        layers = [keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True))
                  for _ in range(LAYERS)]
    else:
        from asr.network.layer import BidirectionalLSTM
        layers = [BidirectionalLSTM(UNITS, kernel=kernel) for _ in range(LAYERS)]

    def stack(x, n, training):
        mask = tf.sequence_mask(n, tf.shape(x)[1]) if kernel == "keras" else None
        for layer in layers:
            x = (layer(x, mask=mask, training=training) if kernel == "keras"
                 else layer(x, n, training=training))
        return x

    @tf.function(reduce_retracing=True)
    def forward(x, n):
        return stack(x, n, False)

    @tf.function(reduce_retracing=True)
    def step(x, n):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(stack(x, n, True) ** 2)
        return tape.gradient(loss, [w.value for layer in layers for w in layer.weights])

    def run(case):
        lengths, training = lengths_of(case)
        shape = len(lengths), int(lengths.max()), FEATURES
        x = tf.constant(np.random.default_rng(1).normal(size=shape).astype("float32"))
        n = tf.constant(lengths.astype("int32"))
        result = step(x, n) if training else forward(x, n)
        return lambda: (step if training else forward)(x, n)[-1].numpy(), result

    return run


def numpy_case(threads: int):
    """Make run(case) for our kernels alone, as the NumPy engine calls them; forward only."""
    import numpy as np

    from asr.kernels import cpu

    rng = np.random.default_rng(0)

    def direction(features):
        shapes = (features, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)
        return tuple(rng.normal(scale=0.05, size=shape).astype("float32") for shape in shapes)

    layers = [cpu.pack(direction(features), direction(features))
              for features in (FEATURES, *[2 * UNITS] * (LAYERS - 1))]

    def run(case):
        n, _ = lengths_of(case)
        x = np.random.default_rng(1).normal(size=(len(n), n.max(), FEATURES)).astype("float32")

        def forward():
            outputs = x
            for layer in layers:
                outputs = cpu.packed_forward(outputs, n, packed=layer, threads=threads)
            return outputs

        return forward, forward()

    return run


def torch_case(packed: bool, threads: int):
    """Make run(case) for PyTorch: packed sequences, or padded with reversal by hand."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    whole = torch.nn.LSTM(FEATURES, UNITS, LAYERS, batch_first=True, bidirectional=True)
    single = torch.nn.ModuleList(
        torch.nn.LSTM(FEATURES if i == 0 else 2 * UNITS, UNITS, batch_first=True)
        for i in range(LAYERS) for _ in "fb")

    def padded(x, lengths):
        position = torch.arange(x.shape[1])[None, :]
        ahead = torch.where(position < lengths[:, None], lengths[:, None] - 1 - position, position)
        for i in range(LAYERS):
            turn = ahead[:, :, None]
            back, _ = single[2 * i + 1](x.gather(1, turn.expand(-1, -1, x.shape[2])))
            x = torch.cat([single[2 * i](x)[0], back.gather(1, turn.expand(-1, -1, UNITS))], -1)
        return x

    def stack(x, lengths):
        if packed:
            rnn = torch.nn.utils.rnn
            y, _ = whole(rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False))
            return rnn.pad_packed_sequence(y, batch_first=True)[0]
        if int(lengths.min()) == int(lengths.max()):
            return whole(x)[0]
        return padded(x, lengths)

    def run(case):
        lengths, training = lengths_of(case)
        shape = len(lengths), int(lengths.max()), FEATURES
        x = torch.from_numpy(np.random.default_rng(1).normal(size=shape).astype("float32"))
        n = torch.from_numpy(lengths)

        def step():
            if not training:
                with torch.no_grad():
                    return stack(x, n)
            for module in (whole, single):
                module.zero_grad()
            (stack(x, n) ** 2).mean().backward()
        return step, step()

    return run


def worker(name: str, threads: int) -> None:
    """Answer every case on stdin with one JSON line of timings on stdout."""
    if name.startswith("torch"):
        make = torch_case(name == "torch_packed", threads)
    elif name == "ours_numpy":
        make = numpy_case(threads)
    else:
        make = tensorflow_case({"ours": "cpu"}.get(name, name), threads)
    ready, base = {}, peak_bytes(reset=True)
    for line in sys.stdin:
        case = line.strip()
        if case not in ready:
            peak_bytes(reset=True)
            ready[case], _ = make(case)
            ready[case]()
        time.sleep(PAUSE)
        before = time.process_time()
        started = time.perf_counter()
        ready[case]()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time() - before,
                          "peak_mib": (peak_bytes() - base) / 2 ** 20}), flush=True)


def peak_bytes(reset: bool = False) -> int:
    """Largest resident memory so far; `reset` starts again where the system can (Linux)."""
    if reset:
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            pass
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- the comparison ---------------------------------------------------------------------------


class Contender:
    """A worker process that stays for the whole comparison."""

    def __init__(self, name: str, python: str, threads: int):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(
            [os.path.dirname(os.path.dirname(os.path.abspath(__file__))), *sys.path[1:1]])}
        self.name = name
        self.process = subprocess.Popen(
            [python, __file__, "--worker", name, "--threads", str(threads)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment)

    def run(self, case: str) -> dict:
        """Timings of one repetition of a case."""
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"The process of {self.name} ended during {case}.")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def start(names, torch_python: str | None, threads: int) -> list[Contender]:
    return [Contender(name, torch_python if name.startswith("torch") else sys.executable, threads)
            for name in names if torch_python or not name.startswith("torch")]


def compare(case: str, contenders: list[Contender], rounds: int) -> dict:
    """Medians of every contender over rounds A B C A B C, and the ratios of ours to each."""
    runs = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            runs[contender.name].append(contender.run(case))
    result = {name: {key: statistics.median(run[key] for run in values)
                     for key in ("seconds", "cpu_seconds", "peak_mib")} | {
                         f"best_{key}": min(run[key] for run in values)
                         for key in ("seconds", "cpu_seconds")}
              for name, values in runs.items()}
    ours = {name: values for name, values in result.items() if name.startswith("ours")}
    peers = {name: values for name, values in result.items() if name not in ours}
    return result | {f"ratio_of_{name}_to": {peer: ratios(own, values)
                                             for peer, values in peers.items()}
                     for name, own in ours.items()}


def ratios(own: dict, peer: dict) -> dict:
    return {"median": own["seconds"] / peer["seconds"],
            "best": own["best_seconds"] / peer["best_seconds"],
            "best_cpu": own["best_cpu_seconds"] / peer["best_cpu_seconds"],
            "peak_memory": own["peak_mib"] / max(peer["peak_mib"], 1e-9)}


def linear_fit(points: dict[int, float]) -> dict:
    """Least squares seconds = a + b n; r2 near one means that the cost grows linearly."""
    import numpy as np

    n, seconds = np.array(list(points)), np.array(list(points.values()))
    slope, intercept = np.polyfit(n, seconds, 1)
    rest = seconds - slope * n - intercept
    return {"seconds": points, "slope": slope, "intercept": intercept,
            "r2": 1 - (rest ** 2).sum() / ((seconds - seconds.mean()) ** 2).sum()}


def matrix_rate(rounds: int = 5) -> float:
    """Operations per second of one large float32 matrix product (NumPy's BLAS)."""
    import numpy as np

    a, b = np.ones((4096, 1024), np.float32), np.ones((1024, 1024), np.float32)
    best = min(_timed(lambda: a @ b) for _ in range(rounds))
    return 2 * 4096 * 1024 * 1024 / best


def _timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def step_operations(case: str) -> float:
    """Multiply-adds, counted as two, of the real frames of a case."""
    lengths, training = lengths_of(case)
    inputs = FEATURES + (LAYERS - 1) * 2 * UNITS
    per_frame = 2 * (inputs + LAYERS * UNITS) * 4 * UNITS * 2  # both directions
    return float(lengths.sum()) * per_frame * (3 if training else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", help="a Python that can import torch")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--only", default="", metavar="CASE",
                        help="only the cases that begin so (forward:1), and no linear fits")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.threads)
        return
    frames, variable = (20, 20) if arguments.quick else (400, "variable")
    forward = "ours", "ours_numpy", "keras", "torch"
    cases = {f"step:16:{frames}": ("ours", "keras", "torch"),
             f"step:16:{variable}": ("ours", "keras", "torch", "torch_packed"),
             f"forward:1:{frames}": forward, f"forward:16:{frames}": forward}
    report = {"machine": {"processor": platform.processor() or platform.machine(),
                          "threads": arguments.threads, "load": os.getloadavg()},
              "rounds": arguments.rounds, "cases": {}}
    cases = {case: names for case, names in cases.items() if case.startswith(arguments.only)}
    for case, names in cases.items():  # fresh processes, so that memory is that of the case
        contenders = start(names, arguments.torch_python, arguments.threads)
        result = compare(case, contenders, arguments.rounds)
        rate = matrix_rate()
        floor = step_operations(case) / rate
        result["floor"] = {"operations": step_operations(case), "matrix_rate": rate,
                           "seconds": floor, "ours_over_floor":
                               result["ours"]["best_seconds"] / floor}
        report["cases"][case] = result
        for contender in contenders:
            contender.close()
        print(f"{case}: {json.dumps(result['ratio_of_ours_to'])}", file=sys.stderr)
    if arguments.only:
        print(json.dumps(report, indent=2))
        return
    (ours,) = start(("ours",), None, arguments.threads)
    sizes = (5, 10, 20) if arguments.quick else (100, 200, 400, 800)
    best = {case: min(ours.run(case)["seconds"] for _ in range(arguments.rounds)) for case in
            [f"step:16:{n}" for n in sizes] + [f"step:{b}:{frames}" for b in (4, 8, 16, 32)]}
    report["linear_in_frames"] = linear_fit({n: best[f"step:16:{n}"] for n in sizes})
    report["linear_in_batch"] = linear_fit({b: best[f"step:{b}:{frames}"] for b in (4, 8, 16, 32)})
    ours.close()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
