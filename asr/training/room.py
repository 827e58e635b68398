"""Is there room on the disk for a run? Asked before the first recording is decoded.

In: a recipe and how much its features will need. Out: nothing, or an error with the sizes.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import defaultdict
from pathlib import Path

from asr.errors import TrainingStopped
from asr.network.weights import num_features, weight_shapes
from asr.recipe import Recipe

CHECKPOINTS = 6  # two of the last, two of the best, and each has a third while it is written
SLOTS = 2  # values that AdamW keeps of each weight


def require_room(recipe: Recipe, run_dir: Path, vocab_size: int, cache_dir: Path,
                 feature_bytes: int) -> None:
    """Refuse a run that would fill its disk.

    Args:
        recipe: the settings; the network's size follows from them.
        run_dir: where checkpoints and bundles go; what is there already counts as room.
        vocab_size: V.
        cache_dir: where features go.
        feature_bytes: still to be written there.

    Raises:
        TrainingStopped: less is free than will be written.
    """
    shapes = weight_shapes(recipe.model, num_features(recipe.features), vocab_size)
    weights = 4 * sum(map(math.prod, shapes.values()))
    copies = CHECKPOINTS * (1 + SLOTS + bool(recipe.train.ema)) + 2  # best.asr, old and new
    checkpoint_bytes = max(0, copies * weights - _size(run_dir / "checkpoints"))
    needs: dict[int, list[tuple[Path, int, str]]] = defaultdict(list)
    for folder, size, what in ((cache_dir, feature_bytes, "features"),
                               (run_dir, checkpoint_bytes, "checkpoints")):
        if size:  # no cache is made where recordings are read in the graph
            needs[os.stat(folder).st_dev].append((folder, size, what))
    for parts in needs.values():
        folder = parts[0][0]
        free = shutil.disk_usage(folder).free
        if free < sum(size for _, size, _ in parts):
            what = " and ".join(f"{readable(size)} of {name}" for _, size, name in parts)
            raise TrainingStopped(f"{readable(free)} are free at {folder}, the run will write "
                                  f"about {what}. Make room, or name another run directory or "
                                  "cache folder (data.cache_dir); nothing was trained yet.",
                                  code="train.no_room", path=folder)


def readable(size: float) -> str:
    """Bytes for people.

    Example:
        >>> readable(512), readable(1_234), readable(5_600_000)
        ('512 bytes', '1.23 kB', '5.6 MB')
    """
    if size < 1_000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1_000
        if size < 1_000 or unit == "GB":
            return f"{size:.3g} {unit}"
    raise ValueError(size)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
