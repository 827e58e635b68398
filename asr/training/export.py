"""A bundle of any checkpoint that a run has kept: `asr train --export last|EPOCH`.

In: a run directory. Out: `last.asr` or `epoch-N.asr` in it. Imports TensorFlow when it is called.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from asr.bundle import load_bundle, save_bundle
from asr.errors import CheckpointError, UsageError
from asr.inference.networks import reference_of
from asr.network.framework import import_tensorflow
from asr.network.weights import network_name
from asr.recipe import load_recipe
from asr.text.tokenizer import CharTokenizer
from asr.training.run_directory import RunDirectory, read_log


def export_checkpoint(run_dir: str | Path, which: str = "last", *,
                      build: Callable | None = None) -> Path:
    """Write the bundle of a checkpoint; the run itself stays as it is.

    Args:
        run_dir: folder of a run that has finished at least one epoch.
        which: "last", or the number of an epoch. The two newest checkpoints are kept, and those of
            the two best epochs.
        build: the function that built the run's network, if it is one of your own.

    Returns:
        The path of the bundle.

    Raises:
        UsageError: the folder is no run directory or in use, or the epoch is not kept.
        CheckpointError: the checkpoint is damaged or belongs to another network.
    """
    if which != "last" and not which.isdecimal():
        raise UsageError(f"--export {which!r}: give last, or the number of an epoch.")
    path = Path(run_dir)
    for name in ("recipe.toml", "data.json", "versions.json"):
        if not (path / name).is_file():
            raise UsageError(f"{path} has no {name}: it is no run directory, or its training has "
                             "not begun.", path=path)
    with RunDirectory(path):
        return _export(path, which, build)


def _export(path: Path, which: str, build: Callable | None) -> Path:
    recipe = load_recipe(path / "recipe.toml")
    recipe = replace(recipe, train=replace(recipe.train, initial_bundle=""))
    data = json.loads((path / "data.json").read_text(encoding="utf-8"))
    tokenizer, network = CharTokenizer(data["alphabet"]), data.get("network", "")
    if network != network_name(build):
        raise UsageError(f"The network of {path} was built by {network or 'asr.AcousticModel'}; "
                         f"export it with asr.training.export_checkpoint(run_dir, {which!r}"
                         + (f", build={network})." if network else ")."), path=path)
    best = load_bundle(path / "best.asr") if (path / "best.asr").is_file() else None
    import_tensorflow()
    from asr.training.checkpoints import Checkpoints
    from asr.training.setup import build_network

    model = build_network(recipe, tokenizer, build)
    run_id = json.loads((path / "versions.json").read_text(encoding="utf-8"))["run_id"]
    checkpoints = Checkpoints(path / "checkpoints", model, run_id)
    kept = checkpoints.kept()
    if not kept:
        raise CheckpointError(f"{path} has no checkpoint yet.", path=path)
    epoch = max(kept) if which == "last" else int(which)
    if epoch not in kept:
        raise UsageError(f"Epoch {epoch} of {path} is not kept; these are: "
                         f"{', '.join(map(str, sorted(kept)))}.", path=path)
    state = checkpoints.restore_from(kept[epoch])
    model.swap_ema()
    record = next((r for r in reversed(read_log(path))
                   if r["event"] == "epoch" and r["epoch"] == epoch), {})
    cmvn = best.cmvn if best else None
    training = {**(best.training if best else {}), "epoch": epoch, "seed": recipe.seed,
                "minutes": round(state.seconds / 60, 2), "valid_wer": record.get("wer"),
                "valid_cer": record.get("cer")}
    target = path / ("last.asr" if which == "last" else f"epoch-{epoch}.asr")
    save_bundle(target, features=recipe.features, text=recipe.text, model=recipe.model,
                decoder=recipe.decoder, tokenizer=tokenizer, weights=model.get_named_weights(),
                cmvn=cmvn, training=training, network=network,
                reference=reference_of(model, recipe, cmvn))
    return target
