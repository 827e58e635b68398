"""config.json and tokenizer.json of a bundle: settings, statistics, calibration; all checked.

In: settings or plain values. Out: plain values for JSON, and back attributes of a `Bundle`. An ONNX
file carries the same two texts, see `asr.bundle.onnx_file`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from asr.audio import RESAMPLER
from asr.decoding.calibration import Calibration, read_calibrations
from asr.errors import BundleError, RecipeError, UsageError
from asr.features import STATISTICS_NEEDED
from asr.network.quantization import KIND
from asr.network.weights import num_features
from asr.recipe import DecoderSettings, Recipe, recipe_from_dict, recipe_to_dict
from asr.text import normalizer_id
from asr.text.tokenizer import CharTokenizer
from asr.versions import installed

if TYPE_CHECKING:
    from asr.bundle import Bundle

CONFIG, TOKENIZER, LM = "config.json", "tokenizer.json", "lm.arpa.gz"
SETTINGS = ("features", "text", "model", "decoder")
MAX_ALPHABET = 20_000
MAX_TENSORS, MAX_RANK = 10_000, 8  # of a user's own network


def config_table(settings: Recipe | Bundle, cmvn: tuple[np.ndarray, np.ndarray] | None,
                 training: Mapping, calibration: Mapping[str, Calibration]) -> dict:
    """The content of config.json: plain values that `config_fields` reads.

    Args:
        settings: whatever has the sections features, text, model and decoder.
        cmvn, training, calibration: as for `save_bundle`.
    """
    table = {name: recipe_to_dict(getattr(settings, name)) for name in SETTINGS}
    table |= {"cmvn": None, "training": dict(training), "versions": _versions(),
              "resampler": RESAMPLER, "normalizer": normalizer_id(settings.text.normalizer)}
    if cmvn is not None:
        table["cmvn"] = {"mean": np.asarray(cmvn[0], "<f4").tolist(),
                         "std": np.asarray(cmvn[1], "<f4").tolist()}
    if calibration:
        table["calibration"] = {kind: one.to_dict() for kind, one in calibration.items()}
    return table


def config_fields(config: object, *, has_lm: bool, where: str) -> dict:
    """Attributes of a `Bundle` from the content of its config.json, all checked.

    Raises:
        BundleError: a section or a value is not what it must be; `where` opens the message.
    """
    expected = {*SETTINGS, "cmvn", "training", "versions", "resampler", "normalizer"}
    optional = {"calibration", "network", "quantization"}
    if not isinstance(config, dict) or set(config) - optional != expected:
        raise BundleError(f"{where} must hold exactly {', '.join(sorted(expected))}.",
                          code="bundle.schema")
    recipe = checked_recipe({name: config[name] for name in SETTINGS}, where)
    if config["resampler"] != RESAMPLER:
        raise BundleError(f"{where}: resampler {config['resampler']!r}, this program has "
                          f"{RESAMPLER!r}.", code="bundle.schema")
    if not isinstance(config["training"], dict) or not _is_text_table(config["versions"]) \
            or not isinstance(config["normalizer"], str):
        raise BundleError(f"{where}: training and versions must be tables, normalizer text.",
                          code="bundle.schema")
    check_lm(recipe.decoder, has_lm, where)
    if "network" in config:
        own_shapes(config["network"], where)
    if "quantization" in config and (config["quantization"] != KIND or "network" in config):
        raise BundleError(f"{where}: quantization must be {KIND!r}, of a network of "
                          "asr.AcousticModel.", code="bundle.schema")
    return {**{name: getattr(recipe, name) for name in SETTINGS},
            "cmvn": check_cmvn(config["cmvn"], recipe, where),
            "training": MappingProxyType(config["training"]),
            "versions": MappingProxyType(config["versions"]), "normalizer": config["normalizer"],
            "network": config["network"]["build"] if "network" in config else "",
            "quantization": config.get("quantization", ""),
            "calibration": MappingProxyType(read_calibrations(config.get("calibration", {}),
                                                              where))}


def read_tokenizer(table: object, where: str) -> CharTokenizer:
    """The alphabet of tokenizer.json.

    Raises:
        BundleError: it is not one; `where` opens the message.
    """
    alphabet = table.get("alphabet") if isinstance(table, dict) else None
    if not isinstance(alphabet, str) or table != {"type": "characters", "alphabet": alphabet} \
            or len(alphabet) > MAX_ALPHABET:
        raise BundleError(f"{where} must be {{\"type\": \"characters\", "
                          f"\"alphabet\": at most {MAX_ALPHABET:_} characters}}.",
                          code="bundle.schema")
    try:
        return CharTokenizer(alphabet)
    except UsageError as error:
        raise BundleError(f"{where}: {error}", code="bundle.schema") from error


def checked_recipe(table: Mapping, where: str) -> Recipe:
    """The settings of a bundle as the recipe that has them; BundleError if they cannot be."""
    for section in table.values():  # a name of a megabyte would make the error message one too
        if not isinstance(section, Mapping) or any(len(key) > 64 for key in section):
            raise BundleError(f"{where}: {', '.join(SETTINGS)} must be tables of knobs.",
                              code="bundle.schema")
    try:
        return recipe_from_dict(table, source=where)
    except RecipeError as error:
        raise BundleError(str(error)[:500], code="bundle.schema") from error


def _is_text_table(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def check_cmvn(value: object, recipe: Recipe, where: str):
    """(mean, std) float32, or None; present exactly if the features want it."""
    if (value is not None) != (recipe.features.cmvn in STATISTICS_NEEDED):
        raise BundleError(f"{where}: cmvn statistics {'are missing' if value is None else 'given'}"
                          f", but features.cmvn is {recipe.features.cmvn!r}.",
                          code="bundle.schema")
    if value is None:
        return None
    size = num_features(recipe.features)
    arrays = []
    for name in ("mean", "std"):
        numbers = value.get(name) if isinstance(value, dict) and len(value) == 2 else None
        if not isinstance(numbers, list) or len(numbers) != size or not all(
                type(n) in (int, float) and abs(n) < 1e30 for n in numbers):
            raise BundleError(f"{where}: cmvn.{name} must be {size} finite numbers.",
                              code="bundle.schema")
        arrays.append(np.array(numbers, np.float32))
    if not (arrays[1] > 0).all():
        raise BundleError(f"{where}: cmvn.std must be positive.", code="bundle.schema")
    return arrays[0], arrays[1]


def check_lm(decoder: DecoderSettings, present: bool, where: str) -> None:
    """decoder.lm names the member or nothing: a bundle never makes us open a path of its own."""
    if decoder.lm not in ("", LM) or bool(decoder.lm) != present:
        raise BundleError(f"{where}: decoder.lm is {decoder.lm[:80]!r} and the bundle has "
                          f"{'a' if present else 'no'} {LM}; both or neither.",
                          code="bundle.schema")


def own_shapes(table: object, where: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a user's own network; its function is a name, no code."""
    tensors = table.get("tensors") if isinstance(table, dict) else None
    if not isinstance(table, dict) or set(table) != {"build", "tensors"} \
            or not isinstance(table["build"], str) or not 0 < len(table["build"]) <= 200 \
            or not isinstance(tensors, dict) or not 0 < len(tensors) <= MAX_TENSORS \
            or not all(isinstance(shape, list) and len(shape) <= MAX_RANK
                       and all(type(n) is int and 0 < n < 2**31 for n in shape)
                       for shape in tensors.values()):
        raise BundleError(f"{where}: network must be the name of the function that builds it and "
                          "the shapes of its tensors.", code="bundle.schema")
    return {name: tuple(shape) for name, shape in tensors.items()}


def _versions() -> dict[str, str]:
    """Packages that can change a feature or a weight; from metadata, nothing is imported."""
    names = ("keras-asr", "keras", "librosa", "numpy", "soundfile", "soxr", "tensorflow")
    return {"python": platform.python_version(),
            **{name: version for name, version in installed(names).items() if version}}
