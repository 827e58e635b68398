"""Examine the machine: what runs, how fast, and what prevents a faster path.

In: nothing, a bundle, or a recipe. Out: one dictionary (`examine`), one screen (`report.render`).
Everything is tried, not looked up: a version number proves nothing.
"""

from __future__ import annotations

from pathlib import Path

from asr.doctor.kernels import layer_kernels, time_kernels
from asr.doctor.machine import (
    blas,
    graphics_processors,
    numba_state,
    processor,
    tensorflow_problem,
    threads,
    versions,
)
from asr.doctor.parity import check_reference
from asr.doctor.tensorflow_io import probe
from asr.errors import AsrError

__all__ = ["examine", "probe"]


def examine(bundle: str | Path | None = None, recipe: str | Path | None = None, *,
            measure: bool = True) -> dict:
    """Examine everything; a broken part does not stop the rest.

    Args:
        bundle: an .asr file or run directory; its reference clip is transcribed again.
        recipe: a TOML page. Without both: the shipped bundle, else the default recipe.
        measure: time every kernel that can run here (a few seconds).

    Returns:
        A dictionary of plain values: versions, processor, threads, blas, gpus, numba, model,
        layers, timings, tensorflow_io, reference, and `problems`, sentences about what is broken
        (not merely slow); empty on a healthy machine.

    Raises:
        BundleError, RecipeError, UsageError: the given file cannot be read.
    """
    source, settings, num_features, loaded = _model(bundle, recipe)
    missing = tensorflow_problem()
    report = {"versions": versions(), "processor": processor(), "threads": threads(missing),
              "blas": blas(), "gpus": [] if missing else graphics_processors(),
              "numba": numba_state(), "model": source, "tensorflow": missing or "works",
              "layers": layer_kernels(settings, num_features, tensorflow=not missing),
              "timings": None, "tensorflow_io": probe(), "reference": None}
    if measure:
        report["timings"] = time_kernels(settings, num_features, tensorflow=not missing)
    if loaded is not None:
        report["reference"] = check_reference(loaded, tensorflow=not missing)
    report["problems"] = list(_problems(report))
    return report


def _model(bundle, recipe):
    """(name, ModelSettings, F, the bundle if there is one) of what is examined."""
    from asr.bundle import load_bundle
    from asr.bundle.find import find_bundle
    from asr.network.weights import num_features
    from asr.recipe import Recipe, load_recipe

    if recipe is not None:
        page = load_recipe(recipe)
        return str(recipe), page.model, num_features(page.features), None
    try:
        path = find_bundle(bundle)
    except AsrError:
        if bundle is not None:
            raise
        page = Recipe()
        return "the default recipe", page.model, num_features(page.features), None
    loaded = load_bundle(path)
    return str(path), loaded.model, loaded.num_features, loaded


def _problems(report: dict):
    if report["tensorflow"] != "works":
        why = report["tensorflow"].rstrip(".")
        yield f"TensorFlow {why}; training cannot run, transcribing can."
    if report["numba"]["problem"]:
        yield f"The compiled kernels cannot run: {report['numba']['problem']}."
    for name, result in (report["reference"] or {}).get("engines", {}).items():
        if not result["agrees"]:
            yield (f"The {name} engine does not reproduce the bundle's reference clip: "
                   f"{result['message']}.")
