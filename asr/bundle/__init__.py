"""Store a trained recogniser as one file that is safe to open: checked data, never code.

In: settings, tokenizer, weights. Out: `*.asr`, and back a `Bundle`. NumPy, safetensors.

    manifest.json         schema version; size and SHA-256 of every other member
    config.json           features, text, model, decoder (all knobs); cmvn; training; versions;
                          network: for a user's own network the name of the function that builds it,
                          and its tensors
    tokenizer.json        the alphabet, in label order
    weights.safetensors   float32, exactly the tensors of `asr.network.weights.weight_shapes`, or
                          those of `network`; with `quantization`, matrices are int8 and each has
                          a tensor NAME.scale
    lm.arpa.gz            optional n-gram language model
    reference.safetensors optional: a clip with its features and logits, for `asr doctor --bundle`

The file is a ZIP whose members are stored, with fixed timestamps: equal content, equal bytes.
A setting that is missing in config.json means its default, so a new knob's default must keep the
old behaviour; one that is unknown or out of bounds refuses to load. `calibration`, `network`
and `quantization` are in config.json only where there is one. The function of `network` is never
in the file: pass it when the bundle is loaded, `asr.load(path, build=function)`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from asr.bundle.archive import Archive, json_bytes, write_archive
from asr.bundle.config import (
    CONFIG,
    LM,
    SETTINGS,
    TOKENIZER,
    check_cmvn,
    check_lm,
    checked_recipe,
    config_fields,
    config_table,
    own_shapes,
    read_tokenizer,
)
from asr.decoding.calibration import Calibration, calibration_kind, read_calibrations
from asr.errors import BundleError, UsageError
from asr.features.lengths import feature_length, output_length
from asr.files import write_atomic
from asr.network.quantization import KIND, SCALE, Quantized, check_quantized, quantized_names
from asr.network.weights import check_tensors, num_features, read_tensors, weight_shapes
from asr.recipe import (
    DecoderSettings,
    FeatureSettings,
    ModelSettings,
    Recipe,
    TextSettings,
    recipe_to_dict,
)
from asr.text.tokenizer import CharTokenizer

SCHEMA_VERSION = 1
WEIGHTS, REFERENCE = "weights.safetensors", "reference.safetensors"
LIMITS = {CONFIG: 4_000_000, TOKENIZER: 1_000_000, WEIGHTS: 2_000_000_000, LM: 500_000_000,
          REFERENCE: 50_000_000}
HEADER_ALLOWANCE = 1_000_000  # bytes of safetensors header beyond the numbers themselves
FOREIGN_SUFFIXES = {".keras", ".h5", ".hdf5", ".pkl", ".pickle", ".joblib", ".pt", ".pth",
                    ".ckpt", ".pb", ".tflite", ".onnx", ".nemo"}
FOREIGN_MAGIC = {b"\x89HDF": "HDF5", b"\x80\x02": "a pickle", b"\x80\x03": "a pickle",
                 b"\x80\x04": "a pickle", b"\x80\x05": "a pickle"}


@dataclass(frozen=True, eq=False)
class Reference:
    """A clip with the model's output, to detect later differences.

    Attributes:
        audio: (num_samples,) float32 at the bundle's sample rate.
        features: (T, F) float32, after normalisation: what the network saw.
        logits: (T', V) float32.
    """

    audio: np.ndarray
    features: np.ndarray
    logits: np.ndarray


def reference_clip(sample_rate: int) -> np.ndarray:
    """A second of buzzing sweeps over faint noise: speech-like, and not a recording.

    Returns:
        (sample_rate,) float32, the same on every machine.
    """
    time = np.arange(sample_rate) / sample_rate
    pitch = 2 * np.pi * np.cumsum(120 + 60 * np.sin(2 * np.pi * 1.5 * time)) / sample_rate
    voice = np.sum([np.sin(k * pitch) / k for k in range(1, 12)], axis=0)
    syllables = np.clip(np.sin(2 * np.pi * 3 * time), 0, None)
    noise = np.random.Generator(np.random.PCG64(7)).uniform(-1, 1, sample_rate)
    return (0.15 * voice * syllables + 0.003 * noise).astype(np.float32)


@dataclass(frozen=True, eq=False)  # compare bundle_hash: arrays have no truth value
class Bundle:
    """The content of one model file, all of it checked.

    Attributes:
        features, text, model, decoder: the settings it was trained with.
        tokenizer: labels and characters.
        weights: tensor name -> float32 array, exactly those of `weight_shapes`.
        cmvn: (mean, std), each (F,) float32, if features.cmvn is "global" or "map".
        training: whatever the trainer noted: plain values.
        versions: package name -> version, of the machine that made it.
        normalizer: `asr.text.normalizer_id` of the texts it learnt from.
        lm: the gzipped ARPA language model, or None.
        reference: see `Reference`, or None.
        calibration: kind of decoder (`asr.decoding.calibration.kinds`) -> what makes its
            confidences probabilities; {} before `asr tune --confidence`.
        network: name of the function that builds the user's own network; "": `AcousticModel`.
        quantization: "int8" if the matrices are stored as integers; `weights` are then these,
            times their scales.
        quantized: the integers, by name of the matrix.
        bundle_hash: SHA-256 over the hashes of all members: equal content, equal hash.
        weights_hash: SHA-256 of the weights alone.
        path: where it was read from.
    """

    features: FeatureSettings
    text: TextSettings
    model: ModelSettings
    decoder: DecoderSettings
    tokenizer: CharTokenizer
    weights: Mapping[str, np.ndarray] = field(repr=False)
    cmvn: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)
    training: Mapping = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    normalizer: str = ""
    lm: bytes | None = field(default=None, repr=False)
    reference: Reference | None = field(default=None, repr=False)
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    network: str = ""
    quantization: str = ""
    quantized: Mapping[str, Quantized] = field(default_factory=dict, repr=False)
    bundle_hash: str = ""
    weights_hash: str = ""
    path: Path | None = None

    @property
    def num_features(self) -> int:
        """F."""
        return num_features(self.features)

    def save(self, path: str | Path, *, overwrite: bool = True, **changes) -> str:
        """Write it again with some arguments of `save_bundle` changed; returns the new hash.

        A calibration does not outlive what it was fitted to: new weights drop all of them, a new
        decoder drops the one of its kind.
        """
        names = (*SETTINGS, "tokenizer", "weights", "cmvn", "training", "lm", "reference",
                 "network", "quantized")
        if "weights" in changes:
            changes.setdefault("quantized", None)
        decoder = changes.get("decoder", self.decoder)
        stale = calibration_kind(decoder) if decoder != self.decoder else ""
        changes.setdefault("calibration", {} if "weights" in changes else {
            kind: one for kind, one in self.calibration.items() if kind != stale})
        return save_bundle(path, overwrite=overwrite,
                           **{name: getattr(self, name) for name in names} | changes)


def save_bundle(path: str | Path, *, features: FeatureSettings, text: TextSettings,
                model: ModelSettings, decoder: DecoderSettings, tokenizer: CharTokenizer,
                weights: Mapping[str, np.ndarray],
                cmvn: tuple[np.ndarray, np.ndarray] | None = None,
                training: Mapping | None = None, lm: bytes | None = None,
                reference: Reference | None = None,
                calibration: Mapping[str, Calibration] | None = None,
                network: str = "", quantized: Mapping[str, Quantized] | None = None,
                overwrite: bool = True) -> str:
    """Write a bundle: the whole file or none of it; equal content gives equal bytes.

    Args:
        path: the final name.
        features, text, model, decoder: the recipe's sections.
        tokenizer: labels and characters.
        weights: tensor name -> array; must be exactly those of `weight_shapes`, finite. Those of
            a user's own network may be any.
        cmvn: (mean, std), each (F,); required if and only if features.cmvn is "global" or "map".
        training: plain values to keep (epochs, validation WER, ...); JSON must hold them.
        lm: a gzipped ARPA language model; None: the file that decoder.lm names, if it does.
        reference: a clip for `asr doctor --bundle`.
        calibration: kind of decoder -> `Calibration`.
        network: name of the function that builds the user's own network; "": `AcousticModel`.
        quantized: the matrices as integers, from `asr.network.quantization.quantize`; they are
            stored instead of those in `weights`. None or empty: float32.
        overwrite: False makes an existing file an error.

    Returns:
        The bundle hash.

    Raises:
        BundleError: the content contradicts itself, or a weight is not finite.
        DataError: the language model cannot be read.
        FileExistsError, OSError: see `asr.files.write_atomic`.
    """
    from safetensors.numpy import save

    where = f"Cannot write {path}"
    if lm is None and decoder.lm not in ("", LM):
        from asr.language_model.packed_ngram import pack_lm  # imports numba; reading needs none

        lm = pack_lm(decoder.lm)
    decoder = dataclasses.replace(decoder, lm=decoder.lm and LM)
    sections = recipe_to_dict(Recipe(features=features, text=text, model=model, decoder=decoder))
    recipe = checked_recipe({name: sections[name] for name in SETTINGS}, where)
    arrays = {name: np.asarray(array, "<f4", order="C") for name, array in weights.items()}
    shapes = {name: array.shape for name, array in arrays.items()} if network else \
        weight_shapes(model, num_features(features), tokenizer.vocab_size)
    if quantized and network:
        raise BundleError(f"{where}: the weights of a network of your own ({network}) have no "
                          "form of 8 bits.", code="bundle.schema")
    check_tensors(arrays, shapes, where)
    config = config_table(recipe, cmvn, training or {}, calibration or {})
    if network:
        config["network"] = {"build": network,
                             "tensors": {name: list(shape) for name, shape in shapes.items()}}
        own_shapes(config["network"], where)
    stored = {name: arrays[name] for name in shapes}
    if quantized:
        check_quantized(quantized, shapes, where)
        config["quantization"] = KIND
        for name, (values, scale) in quantized.items():
            stored[name] = np.ascontiguousarray(values)
            stored[name + SCALE] = np.ascontiguousarray(scale, "<f4")
    check_cmvn(config["cmvn"], recipe, where)
    read_calibrations(config.get("calibration", {}), where)
    check_lm(decoder, lm is not None, where)
    members = {CONFIG: json_bytes(config), TOKENIZER: json_bytes(tokenizer.to_dict()),
               WEIGHTS: save(stored)}
    if lm is not None:
        members[LM] = lm
    if reference is not None:
        arrays = {f.name: np.ascontiguousarray(getattr(reference, f.name), "<f4")
                  for f in dataclasses.fields(Reference)}
        _check_reference(arrays, recipe, tokenizer, where)
        members[REFERENCE] = save(arrays)
    data, bundle_hash = write_archive(members, SCHEMA_VERSION)
    write_atomic(path, data, overwrite=overwrite)
    return bundle_hash


def load_bundle(path: str | Path) -> Bundle:
    """Read and check a bundle; nothing in it is executed, unpacked or imported.

    Raises:
        UsageError: a Keras, TensorFlow, PyTorch or pickle file, which would execute code.
        BundleError: damaged, edited, hostile, of another version, or in contradiction to itself.
    """
    path = Path(path)
    refuse_foreign(path)
    with Archive(path, limits=LIMITS, required={CONFIG, TOKENIZER, WEIGHTS},
                 schema_version=SCHEMA_VERSION) as archive:
        where = f"{path}: {CONFIG}"
        config = archive.read_json(CONFIG)
        fields = config_fields(config, has_lm=LM in archive, where=where)
        recipe = Recipe(**{name: fields[name] for name in SETTINGS})
        tokenizer = read_tokenizer(archive.read_json(TOKENIZER), f"{path}: {TOKENIZER}")
        shapes = own_shapes(config["network"], where) if fields["network"] else weight_shapes(
            recipe.model, num_features(recipe.features), tokenizer.vocab_size)
        weights, quantized = _read_weights(archive, shapes, fields["quantization"])
        reference = None
        if REFERENCE in archive:
            arrays = read_tensors(archive.read(REFERENCE), f"{path}: {REFERENCE}")
            _check_reference(arrays, recipe, tokenizer, f"{path}: {REFERENCE}")
            reference = Reference(**arrays)
        return Bundle(
            **fields, tokenizer=tokenizer, weights=MappingProxyType(weights), reference=reference,
            quantized=MappingProxyType(quantized),
            lm=archive.read(LM) if LM in archive else None, bundle_hash=archive.sha256,
            weights_hash=archive.digest(WEIGHTS), path=path)


def refuse_foreign(path: Path) -> None:
    """Name the framework of a foreign model instead of reporting a damaged bundle.

    Raises:
        UsageError: the name or the first bytes are those of a format whose loader runs code.
    """
    kind = path.suffix.lower() if path.suffix.lower() in FOREIGN_SUFFIXES else ""
    if path.is_dir() and any((path / name).exists() for name in ("saved_model.pb",
                                                                 "keras_metadata.pb")):
        kind = "a TensorFlow SavedModel"
    elif not kind and path.is_file():
        with open(path, "rb") as file:
            kind = FOREIGN_MAGIC.get(file.read(4), "") or kind
        with open(path, "rb") as file:
            kind = kind or FOREIGN_MAGIC.get(file.read(2), "")
    if kind:
        raise UsageError(f"{path} is not supported ({kind}): opening such a file executes code "
                         "that it may carry. Give an .asr bundle, which is data only; `asr train` "
                         "writes one as best.asr.", code="bundle.foreign", path=path)


def _read_weights(archive: Archive, shapes: dict[str, tuple[int, ...]], quantization: str
                  ) -> tuple[dict[str, np.ndarray], dict[str, Quantized]]:
    """The tensors; their total size is compared with the settings before a byte is read."""
    names = quantized_names(shapes) if quantization else []
    expected = 4 * sum(map(math.prod, shapes.values())) + sum(
        4 * shapes[name][-1] - 3 * math.prod(shapes[name]) for name in names)
    size = archive.size(WEIGHTS)
    where = f"{archive.path}: {WEIGHTS}"
    if not expected < size <= expected + HEADER_ALLOWANCE:
        raise BundleError(f"{where} has {size:_} bytes, the settings in {CONFIG} mean "
                          f"{expected:_} and a header.", code="bundle.weights", path=archive.path)
    found = read_tensors(archive.read(WEIGHTS), where, names)
    check_tensors(found, shapes | {name + SCALE: shapes[name][-1:] for name in names}, where)
    quantized = {name: Quantized(found[name], found[name + SCALE]) for name in names}
    check_quantized(quantized, shapes if quantization else {}, where)
    return {name: quantized[name].dequantized if name in quantized else found[name]
            for name in shapes}, quantized


def _check_reference(arrays: Mapping[str, np.ndarray], recipe: Recipe, tokenizer: CharTokenizer,
                     where: str) -> None:
    samples = arrays["audio"].size if "audio" in arrays else 0
    frames = feature_length(samples, recipe.features.hop_length, recipe.features.n_fft)
    check_tensors(arrays, {
        "audio": (samples,), "features": (frames, num_features(recipe.features)),
        "logits": (output_length(frames, recipe.model), tokenizer.vocab_size)}, where)
