"""A recurrent layer and a read-out at the last frame, trained by Adam; NumPy only.

In: batches of `lstm_problems`. Out: answers, gradients, better weights. The LSTM is one
direction of this project's compiled kernels (`asr.kernels.cpu`), the same that run inside
`BidirectionalLSTM`; the plain networks are written out here. No TensorFlow.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from lstm_problems import Batch, Problem

from asr.kernels import cpu

Weights = dict[str, np.ndarray]


class Layer(Protocol):
    """A recurrent layer that shows its output at the last frame of each sequence."""

    weights: Weights

    def forward(self, inputs: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray, object]:
        """Last outputs (B, U), and what `backward` needs."""
        ...

    def backward(self, kept, gradient: np.ndarray) -> Weights:
        """Gradients of the weights; `gradient` is (B, U), of the last outputs."""
        ...


class Lstm:
    """One direction of `asr.kernels.cpu`, weights in Keras's layout.

    Args:
        chrono: the longest memory expected, in frames. Forget biases become log(uniform(1,
            chrono - 1)) and input biases their negative, so that the cells forget on all time
            scales up to it (Tallec and Ollivier 2018). None is Keras's start: forget bias 1.
    """

    def __init__(self, rng: np.random.Generator, features: int, units: int,
                 chrono: int | None = None):
        bias = np.zeros((4, units), np.float32)  # gate order i, f, c, o
        bias[1] = 1.0 if chrono is None else np.log(rng.uniform(1, chrono - 1, units))
        if chrono is not None:
            bias[0] = -bias[1]
        self.weights = {"kernel": glorot(rng, features, 4 * units),
                        "recurrent_kernel": np.hstack([orthogonal(rng, units) for _ in range(4)]),
                        "bias": bias.ravel()}

    def forward(self, inputs, num_frames):
        """Last outputs (B, U); the kernels keep gates and cells."""
        directions = [cpu.Direction(**self.weights)]
        outputs, kept = cpu.run_forward(inputs, num_frames, directions, threads=1)
        rows = np.arange(len(inputs))
        return outputs[rows, num_frames - 1], (inputs, num_frames, directions, outputs, kept)

    def backward(self, kept, gradient):
        """Back-propagation through every frame, not truncated."""
        inputs, num_frames, directions, outputs, activations = kept
        upstream = np.zeros_like(outputs)
        upstream[np.arange(len(inputs)), num_frames - 1] = gradient
        result = cpu.run_backward(inputs, num_frames, directions, outputs, activations, upstream,
                                  input_gradient=False, threads=1)
        return dict(zip(self.weights, result.directions[0], strict=True))


class PlainRnn:
    """h_t = squash(x_t W + h_{t-1} U + b): a recurrent network without gates.

    Args:
        kind: "tanh" starts from an orthogonal U, as keras.layers.SimpleRNN does; "relu" from the
            identity, the IRNN of Le, Jaitly and Hinton 2015.
    """

    def __init__(self, rng: np.random.Generator, features: int, units: int, kind: str = "tanh"):
        self.relu = kind == "relu"
        self.weights = {
            "kernel": (rng.normal(0, 0.01, (features, units)).astype("f4") if self.relu
                       else glorot(rng, features, units)),
            "recurrent_kernel": np.eye(units, dtype="f4") if self.relu else orthogonal(rng, units),
            "bias": np.zeros(units, np.float32)}

    def forward(self, inputs, num_frames):
        """Last outputs (B, U); keeps every output, (T + 1, B, U) with the zero before the first."""
        kernel, recurrent, bias = self.weights.values()
        pushes = np.ascontiguousarray((inputs @ kernel + bias).transpose(1, 0, 2))
        outputs = np.zeros((len(pushes) + 1, *pushes.shape[1:]), np.float32)
        for t, push in enumerate(pushes):
            push += outputs[t] @ recurrent
            np.maximum(push, 0, out=outputs[t + 1]) if self.relu else np.tanh(push, outputs[t + 1])
        return outputs[num_frames, np.arange(len(inputs))], (inputs, num_frames, outputs)

    def backward(self, kept, gradient):
        """Back-propagation through every frame, not truncated."""
        inputs, num_frames, outputs = kept
        transposed = np.ascontiguousarray(self.weights["recurrent_kernel"].T)
        slopes = (outputs[1:] > 0).astype("f4") if self.relu else 1 - outputs[1:] ** 2
        upstream = np.zeros_like(slopes)
        upstream[num_frames - 1, np.arange(len(inputs))] = gradient
        carried = np.zeros_like(gradient)
        for t in range(len(slopes) - 1, -1, -1):
            slopes[t] *= upstream[t] + carried  # now dL / d(what is squashed)
            carried = slopes[t] @ transposed
        flat = slopes.reshape(-1, slopes.shape[-1])
        before = outputs[:-1].reshape(flat.shape)
        frames = inputs.transpose(1, 0, 2).reshape(len(flat), -1)
        return {"kernel": frames.T @ flat, "recurrent_kernel": before.T @ flat,
                "bias": flat.sum(axis=0)}


def glorot(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Uniform weights of Glorot and Bengio 2010, (rows, columns) float32."""
    limit = np.sqrt(6 / (rows + columns))
    return rng.uniform(-limit, limit, (rows, columns)).astype("f4")


def orthogonal(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random rotation, (size, size) float32."""
    rotation, triangle = np.linalg.qr(rng.normal(size=(size, size)))
    return (rotation * np.sign(np.diag(triangle))).astype("f4")


class Step(NamedTuple):
    """What one training step saw before it changed the weights."""

    loss: float
    correct: np.ndarray  # (B,) booleans
    gradient_norm: float


class Network:
    """A recurrent layer and a linear read-out; squared error for numbers, cross entropy else.

    Args:
        clip: longest gradient; a longer one is scaled down (Pascanu et al. 2013).
    """

    def __init__(self, problem: Problem, layer: Layer, rng: np.random.Generator, *,
                 learning_rate: float, clip: float = 1.0):
        units = len(layer.weights["recurrent_kernel"])
        self.problem, self.layer, self.clip = problem, layer, clip
        self.readout = {"output": glorot(rng, units, problem.classes),
                        "offset": np.zeros(problem.classes, np.float32)}
        self.optimizer = Adam(learning_rate)

    @property
    def num_weights(self) -> int:
        """Numbers that are learnt."""
        return sum(weight.size for weight in (*self.layer.weights.values(),
                                              *self.readout.values()))

    def answer(self, batch: Batch) -> np.ndarray:
        """(B, 1) numbers or (B, classes) probabilities."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._squash(self._read(self.layer.forward(batch.inputs, batch.num_frames)[0]))

    def train(self, batch: Batch) -> Step:
        """One step of Adam on one batch, also where the network has grown beyond all numbers."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._train(batch)

    def _train(self, batch: Batch) -> Step:
        last, kept = self.layer.forward(batch.inputs, batch.num_frames)
        outputs = self._squash(self._read(last))
        if self.problem.classes == 1:
            wrong = outputs - batch.targets[:, None]
            loss, wrong = float((wrong ** 2).mean()), 2 * wrong
        else:
            wrong = outputs - np.eye(self.problem.classes, dtype="f4")[batch.targets]
            chosen = outputs[np.arange(len(outputs)), batch.targets]
            loss = float(-np.log(np.maximum(chosen, 1e-30)).mean())
        wrong = wrong.astype("f4") / len(wrong)
        gradients = self.layer.backward(kept, wrong @ self.readout["output"].T)
        gradients |= {"output": last.T @ wrong, "offset": wrong.sum(axis=0)}
        norm = float(np.sqrt(sum((g.astype("f8") ** 2).sum() for g in gradients.values())))
        if np.isfinite(norm):  # else this batch teaches nothing; the loss shows it
            scale = min(1.0, self.clip / max(norm, 1e-30))
            self.optimizer.step(self.layer.weights | self.readout,
                                {name: scale * g for name, g in gradients.items()})
        return Step(loss, self.problem.correct(outputs, batch.targets), norm)

    def _read(self, last: np.ndarray) -> np.ndarray:
        return last @ self.readout["output"] + self.readout["offset"]

    def _squash(self, logits: np.ndarray) -> np.ndarray:
        if self.problem.classes == 1:
            return logits
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


class Adam:
    """Kingma and Ba 2015; changes the weights in place."""

    def __init__(self, learning_rate: float, decay: tuple[float, float] = (0.9, 0.999)):
        self.learning_rate, self.decay = learning_rate, decay
        self.moments: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.steps = 0

    def step(self, weights: Weights, gradients: Weights) -> None:
        """Move every weight against its gradient."""
        self.steps += 1
        fade, fade_squares = self.decay
        rate = self.learning_rate * np.sqrt(1 - fade_squares ** self.steps) / (
            1 - fade ** self.steps)
        for name, gradient in gradients.items():
            mean, square = self.moments.setdefault(
                name, (np.zeros_like(gradient), np.zeros_like(gradient)))
            mean += (1 - fade) * (gradient - mean)
            square += (1 - fade_squares) * (gradient ** 2 - square)
            weights[name] -= (rate * mean / (np.sqrt(square) + 1e-8)).astype("f4")
