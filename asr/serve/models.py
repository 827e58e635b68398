"""Bundles by name, their decoders with hot words, and the check before the server is ready.

In: names and paths. Out: `ServedModel`, which gives the recogniser for the words of a request.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.bundle import reference_clip
from asr.decoding.lexicon import normalize_words
from asr.doctor.parity import TOLERANCE
from asr.errors import BundleError, UsageError
from asr.inference.windows import Windows
from asr.recognizer import Recognizer, load
from asr.serve.problems import Failure

MAX_VARIANTS = 4  # decoders with words of requests that are kept for each model
_NAME = re.compile(r"[\w.+@/-]{1,100}")


@dataclass(frozen=True)
class Wanted:
    """Words that one request asks for.

    Attributes:
        hot_words: phrases to expect, PHRASE or PHRASE:BOOST.
        lexicon: the only words to read, or none.
        num_hypotheses: readings to give.
    """

    hot_words: tuple[str, ...] = ()
    lexicon: tuple[str, ...] = ()
    num_hypotheses: int = 1


class ServedModel:
    """One bundle under a name.

    Args:
        name: what clients call it.
        recognizer: the recogniser.
        created: seconds since 1970, of the file.
    """

    def __init__(self, name: str, recognizer: Recognizer, created: int = 0):
        self.name = name
        self.recognizer = recognizer
        self.created = created
        self._variants: OrderedDict[Wanted, Recognizer] = OrderedDict()
        self._lock = threading.Lock()

    def recognizer_for(self, wanted: Wanted) -> Recognizer:
        """The recogniser with the words of a request; the last `MAX_VARIANTS` are kept.

        Raises:
            UsageError, TextError: words that cannot be.
        """
        if wanted == Wanted():
            return self.recognizer
        with self._lock:  # two requests with the same words build one decoder
            if wanted in self._variants:
                self._variants.move_to_end(wanted)
                return self._variants[wanted]
            knobs: dict = {}
            if wanted.lexicon:
                words = normalize_words(wanted.lexicon, self.recognizer.bundle.text.normalizer)
                knobs = {"kind": "lexicon", "lexicon": words, "grammar": ""}
            if wanted.hot_words:
                knobs |= {"kind": "beam", "hot_words": list(wanted.hot_words)}
            if wanted.num_hypotheses > 1:
                knobs |= {"kind": "beam", "num_hypotheses": wanted.num_hypotheses}
            built = self.recognizer.with_decoder(**knobs)
            self._variants[wanted] = built
            while len(self._variants) > MAX_VARIANTS:
                self._variants.popitem(last=False)
            return built

    def settings(self) -> dict:
        """What a client may know: no path of this machine."""
        told = self.recognizer.describe()
        return {"id": self.name, "sample_rate": self.recognizer.sample_rate} | {
            name: told[name] for name in ("decoder", "normalizer", "alphabet", "num_parameters",
                                          "bundle_hash", "engine")}

    def check(self) -> str:
        """Compute the bundle's reference clip and compare; this compiles the kernels, too.

        Returns:
            "verified"; "no reference" for a bundle without one, which has been run all the same.

        Raises:
            BundleError: this machine computes something else than the one of the training.
        """
        bundle, recognizer = self.recognizer.bundle, self.recognizer
        clip = reference_clip(recognizer.sample_rate)
        recognizer.transcribe(clip)
        if bundle.reference is None or bundle.network:
            return "no reference"
        features = bundle.reference.features
        logits, lengths = recognizer.engine.logits(
            features[np.newaxis], np.array([len(features)], np.int32))
        got, expected = logits[0, :lengths[0]], bundle.reference.logits
        if got.shape != expected.shape or not np.isfinite(got).all() \
                or np.abs(got - expected).max(initial=0.0) > TOLERANCE:
            raise BundleError(f"{self.name}: the logits of the reference clip differ from those in "
                              "the bundle. asr doctor --bundle FILE tells by how much.",
                              code="bundle.reference", path=bundle.path)
        return "verified"


class Models:
    """The models of a server by name; the first is the default.

    Args:
        models: at least one.

    Raises:
        UsageError: none, or a name twice.
    """

    def __init__(self, models: Iterable[ServedModel]):
        self.by_name: dict[str, ServedModel] = {}
        for model in models:
            if model.name in self.by_name:
                raise UsageError(f"Two models have the name {model.name!r}. Give one of them "
                                 "another: --model NAME=PATH.")
            self.by_name[model.name] = model
        if not self.by_name:
            raise UsageError("There is no model to serve. Give a bundle.")

    @property
    def default(self) -> ServedModel:
        """The model of requests that name none."""
        return next(iter(self.by_name.values()))

    def find(self, name: str | None) -> ServedModel:
        """The model of that name.

        Raises:
            Failure: 404, there is none.
        """
        if not name:
            return self.default
        if name not in self.by_name:
            raise Failure(404, f"There is no model {name[:100]!r}; there is "
                          f"{', '.join(self.by_name)}. The server gives a bundle another name with "
                          "--model NAME=PATH.", "model_not_found", param="model")
        return self.by_name[name]


def load_models(bundle: str | None, named: Sequence[str], max_seconds: float,
                engine: str = "auto") -> Models:
    """Load the bundles of a command line.

    Args:
        bundle: the default model, under the name of its file or run directory; None: the first of
            `named`, or the shipped one.
        named: NAME=PATH each.
        max_seconds: longer recordings are refused.
        engine: see `asr.load`.

    Raises:
        UsageError: a name that cannot be, or twice.
        BundleError: a bundle that cannot be used.
    """
    pairs: list[tuple[str, str | None]] = []
    if bundle is not None or not named:
        pairs.append((_stem(bundle), bundle))
    for text in named:
        name, separator, path = text.partition("=")
        if not separator or not path or not _NAME.fullmatch(name):
            raise UsageError(f"--model {text}: write NAME=PATH, such as digits=runs/digits; the "
                             "name of letters, digits and . _ + @ / -.")
        pairs.append((name, path))
    windows = Windows(max_seconds=max_seconds,
                      threshold_seconds=min(Windows().threshold_seconds, max_seconds))
    models = []
    for name, path in pairs:
        recognizer = load(path, engine=engine, windows=windows)
        where = recognizer.bundle.path
        created = int(os.stat(where).st_mtime) if where and os.path.exists(where) else 0
        models.append(ServedModel(name, recognizer, created))
    return Models(models)


def _stem(bundle: str | None) -> str:
    name = "digits" if bundle is None else Path(os.path.abspath(bundle)).name
    name = name.removesuffix(".asr").removesuffix(".onnx")
    return name if _NAME.fullmatch(name) else "model"
