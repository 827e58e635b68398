"""A trained model for other programs: written, then proven to compute the same.

In: a recogniser. Out: files in a format of FORMATS, and a certificate beside them that says how
far their logits are from ours. A file that does not agree is not kept.

To add a format: one module with `SUMMARY`, `SUFFIX`, `QUANTIZED`, `NEEDS` (packages), `EXTRA`
(what installs them) and `write`, and one line here.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import AsrError, UsageError
from asr.export.certificate import Certificate, Exported, certify
from asr.files import place_new, require_new, staging_beside, write_atomic
from asr.manifest import Utterance
from asr.versions import installed

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

FORMATS = {
    "onnx": "asr.export.onnx_format",
    "litert": "asr.export.litert_format",
    "html": "asr.export.html_format",
    "savedmodel": "asr.export.savedmodel_format",
    "keras": "asr.export.keras_format",
}
CERTIFICATE = ".certificate.json"  # behind the name of the exported file
MAX_WER_COST = 0.5  # percentage points that a quantised file may lose on the manifest, by default


@dataclass(frozen=True)
class Options:
    """What a format may be asked for.

    Attributes:
        quantize: "", "float16" or "int8"; a format lists what it has.
    """

    quantize: str = ""


def format_of(path: Path, name: str = "") -> str:
    """The format by name, or by the ending of the file.

    Raises:
        UsageError: unknown, or the ending belongs to no format.
    """
    if name:
        if name not in FORMATS:
            raise UsageError(f"There is no format {name!r}; choose one of {', '.join(FORMATS)}.")
        return name
    for known, module in FORMATS.items():
        if path.suffix.lower() == importlib.import_module(module).SUFFIX:
            return known
    raise UsageError(f"{path} has the ending of no format. Add --format, one of "
                     f"{', '.join(FORMATS)}.")


def export(recognizer: Recognizer, path: str | Path, format: str = "", *, quantize: str = "",
           verify: Sequence[Utterance] = (), max_wer_cost: float = MAX_WER_COST,
           allow_truncated: bool = False,
           progress: Callable[[str], None] | None = None) -> Certificate:
    """Write the model in another format, and prove it.

    Args:
        recognizer: from `asr.load`, with the engine numpy.
        path: the file to write; some formats write a second one beside it. None may exist.
        format: a name of FORMATS; "": by the ending of `path`.
        quantize: a smaller file: "float16" or "int8", where the format has it.
        verify: utterances with texts whose transcripts are compared too.
        max_wer_cost: percentage points of WER that a quantised file may lose on `verify`.
        allow_truncated: for `verify`, see `asr.audio.load_audio`.
        progress: told in a sentence what happens.

    Returns:
        The certificate, which is also written as PATH.certificate.json.

    Raises:
        UsageError: unknown format or option, a file exists, or a package is missing.
        AsrError: the exported file does not compute the same ("export.parity"); nothing is kept.
    """
    path = Path(path)
    name = format_of(path, format)
    module = importlib.import_module(FORMATS[name])
    if quantize not in ("", *module.QUANTIZED):
        raise UsageError(f"The format {name} has no {quantize!r}; it has "
                         f"{', '.join(module.QUANTIZED) or 'none smaller than float32'}.")
    missing = [package for package, version in installed(module.NEEDS).items()
               if version is None]
    if missing:
        raise UsageError(f"The format {name} needs {' and '.join(missing)}. "
                         f"Run: pip install \"keras-asr[{module.EXTRA}]\"")
    if recognizer.bundle.network:
        raise UsageError(f"The network of {recognizer.bundle.path} is one of your own "
                         f"({recognizer.bundle.network}); an export knows the layers of "
                         "asr.AcousticModel alone. Save it with Keras: "
                         "recognizer.keras_model().save(PATH)")
    if recognizer.engine.name != "numpy":
        raise UsageError(f"An export starts from a bundle and its engine numpy, not from the "
                         f"engine {recognizer.engine.name}. Give the .asr file.")
    if recognizer.bundle.quantized:
        from asr.export.int8_bundle import float32_of

        recognizer = float32_of(recognizer)
    certificate_path = path.with_name(path.name + CERTIFICATE)
    require_new(path, certificate_path)
    with staging_beside(path) as folder:
        exported: Exported = module.write(recognizer, folder / path.name, Options(quantize))
        if recognizer.bundle.quantized:
            exported.notes.append("The bundle has weights of 8 bits; the file has the same "
                                  "weights as float32, and was compared with our engine computing "
                                  "in float32.")
        if recognizer.warping is not None:
            exported.notes.append(
                "The file does not choose among decoder.warps: that takes a pass of the network "
                f"for each. {'asr.load of it does.' if name == 'onnx' else 'The bundle does.'}")
        if recognizer.decoder_settings.max_pause and name != "html":
            exported.notes.append(
                "The file reads long pauses whole: decoder.max_pause works before the network. "
                f"{'asr.load of it' if name == 'onnx' else 'The bundle'} shortens them.")
        if exported.quantized and exported.reference is None and not verify:
            exported.notes.append(f"What {exported.quantized} costs in WER was not measured. Add "
                                  "--verify MANIFEST.")
        names = [file.name for file in exported.files]
        require_new(*(path.with_name(name) for name in names))
        if progress:
            progress("comparing with our own engine")
        certificate = certify(recognizer, exported, verify=verify, max_wer_cost=max_wer_cost,
                              allow_truncated=allow_truncated)
        if certificate.problem:
            raise AsrError(f"{path} was not written: {certificate.problem}",
                           code="export.parity", path=path)
        written = folder / certificate_path.name
        write_atomic(written, json.dumps(certificate.to_dict(), indent=2, ensure_ascii=False)
                     + "\n")
        for file in (*exported.files, written):
            place_new(file, path.with_name(file.name))
    return certificate
