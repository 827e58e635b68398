"""One network from several runs of a recipe that began at the same weights: their mean.

In: recognisers, development data. Out: a bundle as large and as fast as each of them, and the WER
of all. Runs that began at the same trained network and saw the data in another order end near each
other, and the middle depends less on one seed; runs from random weights end anywhere, and their
mean is no network. Between a network and what it was fine-tuned to, with a share for each, lie
networks that have learnt the new and kept more of the old than the second.

References: Wortsman et al. 2022, "Model soups", ICML; Rame et al. 2022, "Diverse weight averaging",
NeurIPS; Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", CVPR.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr.bundle import Bundle
from asr.errors import AsrError, UsageError
from asr.evaluation import evaluate
from asr.files import place_new, require_new, staging_beside
from asr.inference.networks import reference_with
from asr.manifest import Utterance
from asr.recognizer import Recognizer, load
from asr.scoring import Score

# What may differ between runs whose weights are averaged. The alphabet is compared as a whole.
FREE = {"model.dropout", "text.alphabet"}


@dataclass(frozen=True)
class Averaged:
    """What `average_bundles` wrote.

    Attributes:
        path: the file.
        bundle_hash: that of the new bundle.
        names: paths of the bundles, in order.
        scores: their word error rates on the development data.
        score: that of their mean.
    """

    path: Path
    bundle_hash: str
    names: tuple[str, ...]
    scores: tuple[Score, ...]
    score: Score

    def lines(self) -> list[str]:
        """For a terminal."""
        rows = [*zip(self.names, self.scores, strict=True), ("their mean", self.score)]
        width = max(len(name) for name, _ in rows)
        return [f"{name:{width}}  WER {100 * score.wer:6.2f} %" for name, score in rows]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"path": str(self.path), "bundle_hash": self.bundle_hash, "wer": self.score.wer,
                "of": {name: score.wer for name, score in
                       zip(self.names, self.scores, strict=True)}}


def average_bundles(recognizers: Sequence[Recognizer], path: str | Path, dev: Sequence[Utterance],
                    *, shares: Sequence[float] = (), allow_truncated: bool = False) -> Averaged:
    """Write the bundle whose weights are the mean of the weights of others.

    Decoder and language model are those of the first. Calibrations are left out: they belong to
    the networks that they were fitted to.

    Args:
        recognizers: two or more, from `asr.load` with the engine numpy; the same alphabet,
            features and network.
        path: the new bundle; it must not exist.
        dev: utterances with texts that are no test data.
        shares: how much of each, in proportion; empty: as much of all.
        allow_truncated: for `dev`, see `asr.audio.load_audio`.

    Raises:
        UsageError: they do not fit together; networks of your own, or of 8 bits; the file exists.
        AsrError: the mean is worse than each of them ("average.wer"); nothing is written.
    """
    path, bundles = Path(path), [recognizer.bundle for recognizer in recognizers]
    _check(bundles)
    if shares and (len(shares) != len(bundles) or min(shares) < 0 or not sum(shares) < math.inf
                   or sum(shares) == 0):
        raise UsageError(f"shares are {', '.join(f'{share:g}' for share in shares)}; give one for "
                         f"each of the {len(bundles)} networks, 0 or more.")
    require_new(path)
    first = bundles[0]
    weights = {name: np.average([np.asarray(one.weights[name], np.float64) for one in bundles],
                                axis=0, weights=shares or None).astype(np.float32)
               for name in first.weights}
    scores = [evaluate(one, dev, allow_truncated=allow_truncated).score for one in recognizers]
    with staging_beside(path) as folder:
        written = folder / path.name
        digest = first.save(written, overwrite=False, weights=weights,
                            training=_training(bundles, shares),
                            reference=reference_with(first, weights))
        score = evaluate(load(written, engine="numpy", windows=recognizers[0].windows), dev,
                         allow_truncated=allow_truncated).score
        if score.wer > max(one.wer for one in scores):
            raise AsrError(f"{path} was not written: the mean has a WER of {100 * score.wer:.2f} "
                           f"%, the networks themselves "
                           f"{', '.join(f'{100 * one.wer:.2f}' for one in scores)} %. Average runs "
                           "that began at the same trained network (asr train --from).",
                           code="average.wer", path=path)
        place_new(written, path)
    return Averaged(path, digest, tuple(str(one.path) for one in bundles), tuple(scores), score)


def _check(bundles: Sequence[Bundle]) -> None:
    """Refuse what has no mean."""
    if len(bundles) < 2:
        raise UsageError(f"Got {len(bundles)} network; an average needs two or more.")
    for one in bundles:
        if one.network:
            raise UsageError(f"The network of {one.path} is one of your own ({one.network}); "
                             "averages are made of networks of asr.AcousticModel.")
        if one.quantized:
            raise UsageError(f"The weights of {one.path} have 8 bits; average the bundles from "
                             "which it was made, then asr quantize.")
    first = bundles[0]
    for other in bundles[1:]:
        if other.weights_hash == first.weights_hash:
            raise UsageError(f"{first.path} and {other.path} have the same weights; give runs with "
                             "different seeds (--set seed=2).")
        mine, theirs = _settings(first), _settings(other)
        differing = [f"{name} is {theirs[name]!r} in {other.path} and {mine[name]!r} in "
                     f"{first.path}" for name in mine if mine[name] != theirs[name]]
        if not _same_statistics(first, other):
            differing.append(f"{other.path} and {first.path} have other means and deviations of "
                             "features.cmvn, which are those of their training data")
        if differing:
            raise UsageError(f"These networks have no mean: {'; '.join(differing)}. Average runs "
                             "of one recipe.")


def _settings(bundle: Bundle) -> dict[str, Any]:
    """What must be the same beside the statistics of the training data, by name."""
    found = {f"{section}.{name}": value for section in ("features", "text", "model")
             for name, value in dataclasses.asdict(getattr(bundle, section)).items()}
    return {name: value for name, value in found.items() if name not in FREE} | {
        "the alphabet": bundle.tokenizer.alphabet}


def _same_statistics(first: Bundle, other: Bundle) -> bool:
    if first.cmvn is None or other.cmvn is None:
        return first.cmvn is other.cmvn
    return all(map(np.array_equal, first.cmvn, other.cmvn))


def _training(bundles: Sequence[Bundle], shares: Sequence[float]) -> dict[str, Any]:
    """What is known of the training of all; of numbers that differ, as in a licence, the list."""
    found: dict[str, Any] = {"averaged_from": [one.bundle_hash for one in bundles]}
    if shares:
        found["shares"] = list(shares)
    for key in dict.fromkeys(key for one in bundles for key in one.training):
        values = [one.training.get(key) for one in bundles]
        if key == "lowest_sample_rate":
            found[key] = min(value for value in values if value is not None)
        elif key not in ("valid_wer", "valid_cer"):  # of the runs, not of their mean
            found[key] = values[0] if all(value == values[0] for value in values) else values
    return found
