"""Features to logits by a file that `asr export --format onnx` wrote, run by onnxruntime.

In: padded batches of normalised features. Out: logits (B, T', V) float32 and their lengths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from asr.errors import BundleError, UsageError
from asr.network.engine import check_batch
from asr.versions import installed

MISSING = ("{path} needs onnxruntime, which is not installed. Run: pip install "
           "\"keras-asr[onnx]\"")
MAX_BYTES = 2_000_000_000  # of one protobuf message


class OnnxAcousticModel:
    """The network as onnxruntime runs it on a CPU.

    Args:
        path: the file; it is read once and checked by onnxruntime. It holds data and standard
            operators, and can load no library.
        threads: that onnxruntime may use; 0: one a core.

    Raises:
        BundleError: it cannot be read, or is not an ONNX file of ours.
        UsageError: onnxruntime is not installed.
    """

    name = "onnx"

    def __init__(self, path: str | Path, threads: int = 0):
        if not installed(["onnxruntime"])["onnxruntime"]:
            raise UsageError(MISSING.format(path=path))
        import onnxruntime

        self.path = Path(path)
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise BundleError(f"{path} has more than {MAX_BYTES:_} bytes.",
                                  code="bundle.size", path=path)
            data = self.path.read_bytes()
        except OSError as error:
            raise BundleError(f"Cannot read {path}: {error.strerror}.", code="bundle.open",
                              path=path) from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(data, options,
                                                         providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of exception for each kind
            raise BundleError(f"{path} is not an ONNX file that onnxruntime can run "
                              f"({str(error).splitlines()[0][:300]}).", code="bundle.schema",
                              path=path) from error
        self.metadata: Mapping[str, str] = \
            self._session.get_modelmeta().custom_metadata_map
        self.inputs = [one.name for one in self._session.get_inputs()]
        self.layer_names = [one.name for one in self._session.get_outputs()
                            if one.name not in ("logits", "num_logits")]

    def logits(self, features: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray,
                                                                            np.ndarray]:
        """See `asr.network.engine.NumpyAcousticModel.logits`."""
        features, num_frames = check_batch(features, num_frames, np.shape(features)[-1])
        return self._run({"features": features, "num_frames": num_frames.astype(np.int32)})

    def samples_to_logits(self, samples: np.ndarray, num_samples: np.ndarray
                          ) -> tuple[np.ndarray, np.ndarray]:
        """Logits of the entry that takes samples.

        Args:
            samples: (B, N) float32 in [-1, 1], at the model's rate; right-padded.
            num_samples: (B,) integers.
        """
        return self._run({"samples": samples.astype(np.float32, copy=False),
                          "num_samples": num_samples.astype(np.int32)})

    def layers(self, features: np.ndarray, num_frames: np.ndarray) -> dict[str, np.ndarray]:
        """What each layer gives, of a file that was built with `layers=True`."""
        values = self._session.run(self.layer_names, {"features": features,
                                                      "num_frames": num_frames.astype(np.int32)})
        return dict(zip(self.layer_names, map(np.asarray, values), strict=True))

    def _run(self, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        logits, lengths = self._session.run(["logits", "num_logits"], inputs)
        return np.asarray(logits), np.asarray(lengths).astype(np.int64)
