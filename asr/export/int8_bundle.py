"""A bundle with weights of 8 bits: a quarter of the size, run by the engine numpy.

In: a recogniser. Out: a smaller `.asr` file, with the WER before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import AsrError, UsageError
from asr.files import place_new, require_new, staging_beside
from asr.inference.networks import reference_with
from asr.manifest import Utterance
from asr.network.engine import NUMPY_FRONT_ENDS, NumpyAcousticModel
from asr.network.quantization import quantize
from asr.scoring import Comparison, compare

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

NAMES = ("float32", "int8")


@dataclass(frozen=True)
class Smaller:
    """What `quantize_bundle` wrote.

    Attributes:
        path: the file.
        bytes_before, bytes_after: sizes of both files.
        bundle_hash: that of the new bundle.
        comparison: float32 against int8 on the utterances; None without any.
    """

    path: Path
    bytes_before: int
    bytes_after: int
    bundle_hash: str
    comparison: Comparison | None = None

    def lines(self) -> list[str]:
        """For a terminal."""
        share = 100 * self.bytes_after / self.bytes_before
        size = (f"{self.bytes_before / 1e6:.2f} MB -> {self.bytes_after / 1e6:.2f} MB "
                f"({share:.1f} %)")
        return [size, *(self.comparison.lines() if self.comparison else ())]

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {"path": str(self.path), "bytes_before": self.bytes_before,
                "bytes_after": self.bytes_after, "bundle_hash": self.bundle_hash,
                "comparison": self.comparison and self.comparison.to_dict()}


def quantize_bundle(recognizer: Recognizer, path: str | Path, *,
                    verify: Sequence[Utterance] = (), max_wer_cost: float = 0.5,
                    allow_truncated: bool = False) -> Smaller:
    """Write the bundle with matrices as int8, one scale for each column.

    Language model, decoder and calibration are those of the original.

    Args:
        recognizer: from `asr.load`, with the engine numpy.
        path: the new bundle; it must not exist.
        verify: utterances with texts, to compare the WER of both.
        max_wer_cost: percentage points of WER that int8 may lose on `verify`.
        allow_truncated: for `verify`, see `asr.audio.load_audio`.

    Raises:
        UsageError: a network of your own, one that has 8 bits already or that numpy cannot run; or
            the file exists.
        AsrError: the WER costs too much ("quantize.wer"); nothing is written.
    """
    from asr.evaluation import evaluate
    from asr.recognizer import load

    path, bundle = Path(path), recognizer.bundle
    _check(recognizer)
    require_new(path)
    quantized = quantize(bundle.weights)
    training = {**bundle.training, "quantized_from": bundle.bundle_hash}
    rounded = {name: quantized[name].dequantized if name in quantized else array
               for name, array in bundle.weights.items()}  # as every engine has them
    comparison = None
    with staging_beside(path) as folder:
        written = folder / path.name
        digest = bundle.save(written, overwrite=False, quantized=quantized, training=training,
                             reference=reference_with(bundle, rounded))
        smaller = load(written, engine="numpy", windows=recognizer.windows)
        if verify:
            scores = [evaluate(one, verify, allow_truncated=allow_truncated).score
                      for one in (recognizer, smaller)]
            comparison = compare(*scores, names=NAMES)
            cost = 100 * -comparison.difference
            if cost > max_wer_cost:
                raise AsrError(f"{path} was not written: its WER is {100 * comparison.wers[1]:.2f} "
                               f"%, that of float32 {100 * comparison.wers[0]:.2f} %: more than "
                               f"{max_wer_cost:g} points. Raise --max-wer-cost, or keep float32.",
                               code="quantize.wer", path=path)
        size = written.stat().st_size
        place_new(written, path)
    before = bundle.path.stat().st_size if bundle.path else 0
    return Smaller(path, before or size, size, digest, comparison)


def float32_of(recognizer: Recognizer) -> Recognizer:
    """The same recogniser, computing with float32 weights: for programs without integers."""
    from asr.export.certificate import with_engine

    bundle = recognizer.bundle
    return with_engine(recognizer, NumpyAcousticModel(
        bundle.model, bundle.num_features, bundle.tokenizer.vocab_size, bundle.weights))


def _check(recognizer: Recognizer) -> None:
    bundle = recognizer.bundle
    if bundle.network:
        raise UsageError(f"The network of {bundle.path} is one of your own ({bundle.network}); "
                         "8 bits are for networks of asr.AcousticModel.")
    if bundle.quantized:
        raise UsageError(f"The weights of {bundle.path} have 8 bits already.")
    if recognizer.engine.name != "numpy" or bundle.model.front_end not in NUMPY_FRONT_ENDS:
        raise UsageError(f"A bundle of 8 bits is made for the engine numpy, this recogniser has "
                         f"the engine {recognizer.engine.name}. Give an .asr file.")
