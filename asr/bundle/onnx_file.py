"""An exported ONNX file as a bundle without weights: its settings travel in its metadata.

In: a file that `asr export --format onnx` wrote. Out: a `Bundle` and the engine that runs it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from asr.bundle import LIMITS, Bundle
from asr.bundle.config import CONFIG, LM, TOKENIZER, config_fields, config_table, read_tokenizer
from asr.errors import BundleError, UsageError
from asr.network.onnx_engine import OnnxAcousticModel
from asr.parsing import StrictJsonError, parse_json

PREFIX = "asr."  # of our keys in the metadata


def metadata(bundle: Bundle, entry: str) -> dict[str, str]:
    """What an exported graph of this bundle says of itself, for us and for other programs.

    Returns:
        `asr.config.json`, `asr.tokenizer.json`: as in a bundle; `asr.entry`; `asr.bundle`: its
        hash; `asr.lm`: SHA-256 of the language model beside the file, or "". For other programs:
        `labels` (a JSON list, label 0 is the blank), `sample_rate` (Hz), `frame_seconds` and
        `first_frame_seconds` (when output frame 0 begins), `decoder`.
    """
    from asr.transcript.timing import FrameClock

    clock = FrameClock.of(bundle.features, bundle.model)
    config = config_table(bundle, bundle.cmvn, bundle.training, bundle.calibration)
    config |= {"versions": dict(bundle.versions), "normalizer": bundle.normalizer}
    plain = {
        f"{PREFIX}{CONFIG}": config, f"{PREFIX}{TOKENIZER}": bundle.tokenizer.to_dict(),
        "labels": ["", *bundle.tokenizer.alphabet], "sample_rate": bundle.features.sample_rate,
        "frame_seconds": clock.seconds_per_frame, "first_frame_seconds": clock.seconds(0),
        "decoder": config["decoder"]}
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in plain.items()}
    return texts | {f"{PREFIX}entry": entry, f"{PREFIX}bundle": bundle.bundle_hash,
                    f"{PREFIX}lm": hashlib.sha256(bundle.lm).hexdigest() if bundle.lm else ""}


def metadata_text(bundle: Bundle, entry: str) -> str:
    """`metadata` as one JSON object, for a format that cannot hold it itself."""
    texts = {name: json.loads(text) if name[:4] != PREFIX or name.endswith(".json") else text
             for name, text in metadata(bundle, entry).items()}
    return json.dumps(texts, ensure_ascii=False, indent=1)


def language_model_path(path: Path) -> Path:
    """Where the language model of an exported file lies: beside it."""
    return path.with_name(f"{path.name}.{LM}")


def load_onnx(path: str | Path) -> tuple[Bundle, OnnxAcousticModel]:
    """The settings and the engine of an exported file.

    Raises:
        BundleError: not one of ours, damaged, or its language model is not beside it.
        UsageError: onnxruntime is missing, or the file's entry takes samples.
    """
    path = Path(path)
    engine = OnnxAcousticModel(path)
    known, where = engine.metadata, f"{path}: metadata"
    if f"{PREFIX}{CONFIG}" not in known:
        raise BundleError(f"{path} is an ONNX file without the settings of keras-asr. Give one "
                          "that `asr export --format onnx` wrote.", code="bundle.schema",
                          path=path)
    if "features" not in engine.inputs:
        raise UsageError(f"{path} takes samples; the recogniser computes features itself. Give "
                         "the file of the other entry, which `asr export` wrote beside it.")
    try:
        config, alphabet = (parse_json(known.get(f"{PREFIX}{name}", ""))
                            for name in (CONFIG, TOKENIZER))
    except StrictJsonError as error:
        raise BundleError(f"{where}: {error}.", code="bundle.schema", path=path) from error
    digest, lm = known.get(f"{PREFIX}lm", ""), None
    if digest:
        beside = language_model_path(path)
        if not beside.is_file():
            raise BundleError(f"{path} decodes with a language model, and {beside} is not there. "
                              "Put it back beside the file.", code="bundle.open", path=beside)
        if beside.stat().st_size > LIMITS[LM]:
            raise BundleError(f"{beside} has more than {LIMITS[LM]:_} bytes.", code="bundle.size",
                              path=beside)
        lm = beside.read_bytes()
        if hashlib.sha256(lm).hexdigest() != digest:
            raise BundleError(f"{beside} is not the language model that {path} was exported with.",
                              code="bundle.hash", path=beside)
    fields = config_fields(config, has_lm=lm is not None, where=where)
    bundle = Bundle(**fields, tokenizer=read_tokenizer(alphabet, where), weights={}, lm=lm,
                    bundle_hash=engine.sha256, path=path)
    return bundle, engine
