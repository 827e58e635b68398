"""The same batches with 1, 2 and 4 replicas: run by test_replicas.py, in a process of its own.

`python replicas_job.py devices N` splits this process into N logical CPU devices;
`python replicas_job.py process N` is one of N processes of TF_CONFIG. Prints one JSON line.
`python replicas_job.py train N RUN_DIR SETTING ...` trains the tones on N logical CPU devices.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from asr.data.batches import Batch, share_of_batch
from asr.data.items import BatchItem
from asr.network.framework import import_tensorflow
from asr.recipe import recipe_from_dict
from asr.training.cluster import place_of_process

RECIPE = recipe_from_dict({"model": {"num_layers": 3, "units": 8, "layer_norm": True},
                           "features": {"n_mels": 12}, "train": {"intermediate_ctc": 0.3}})
SIZES = (1, 2, 3, 5, 8)  # rows of a batch; fewer than the replicas, too; a third without a label


def batch(items: Batch) -> tuple[dict, dict]:
    """The arrays of some items; those of an item follow from its seed."""
    longest = max(item.num_frames for item in items.items)
    features = np.zeros([len(items), longest, 12], np.float32)
    labels = np.zeros([len(items), max(1, *(len(i.labels) for i in items.items))], np.int32)
    for row, item in enumerate(items.items):
        features[row, :item.num_frames] = np.random.default_rng(item.seed).normal(
            size=[item.num_frames, 12])
        labels[row, :len(item.labels)] = item.labels
    count = np.array([[i.num_frames, len(i.labels) if items.counts else -1]
                      for i in items.items], np.int32).T
    return ({"features": features, "num_frames": count[0]},
            {"labels": labels, "num_labels": count[1]})


def main(kind: str, count: int) -> dict:
    """Largest differences of loss and gradients to those of one replica."""
    place = place_of_process()
    import_tensorflow()
    import keras
    import tensorflow as tf

    from asr.network.model import AcousticModel
    from asr.network.replicas import join_processes, shared_gradients
    if kind == "devices":
        divide(count)
    replicas = join_processes("all", place.rank, place.world, 60.0)
    keras.utils.set_random_seed(1)
    model = AcousticModel(RECIPE, 12, 6)
    model.compile("adam")
    rng = np.random.default_rng(7)
    worst = {"loss": 0.0, "gradients": 0.0, "norm": 0.0}
    for size in SIZES:
        whole = Batch(tuple(BatchItem(
            (f"u{i}",), (i,), (0, 0), 1.0, i + 10 * size, tuple(rng.integers(1, 6, i % 3)),
            int(rng.integers(30, 90))) for i in range(size)))
        x, y = batch(share_of_batch(whole, replicas.rank, replicas.world))
        to_tensors = tf.nest.map_structure(tf.constant, (x, y))
        shared = tf.function(lambda x, y: vars_of(shared_gradients(model, replicas, x, y)),
                             jit_compile=False)(*to_tensors)
        alone = tf.function(lambda x, y: vars_of(model._gradients(x, y)),
                            jit_compile=False)(*tf.nest.map_structure(tf.constant, batch(whole)))
        worst["loss"] = max(worst["loss"], abs(float(shared[0] - alone[0])))
        for one, other in zip(shared[1], alone[1], strict=True):
            worst["gradients"] = max(worst["gradients"], float(tf.reduce_max(abs(one - other))))
            worst["norm"] = max(worst["norm"], float(tf.reduce_max(abs(other))))
    return {"replicas": replicas.count, "devices": len(replicas.devices), **worst}


def divide(count: int) -> None:
    """Make several logical devices of the CPU; before TensorFlow's first op."""
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * count)


def train(count: int, run_dir: str, settings: list[str]) -> None:
    """One run in one process, on all its devices."""
    import asr
    import_tensorflow(deterministic=True)
    divide(count)
    recipe = asr.load_recipe(Path(__file__).parents[2] / "recipes" / "tones.toml",
                             ["train.devices=all", *settings])
    asr.train(recipe, run_dir)


def vars_of(found) -> tuple:
    """Loss and gradients."""
    return found.loss, found.gradients


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    else:
        print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
