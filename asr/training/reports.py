"""Report the progress of a run: log, TensorBoard, table and best bundle.

In: records, and the network at its best epoch. Out: lines, event files, `best.asr`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from asr.bundle import Reference, reference_clip, save_bundle
from asr.features import FeatureExtractor, normalize_features
from asr.network.model import AcousticModel
from asr.recipe import Recipe
from asr.training.checkpoints import TrainingState
from asr.training.coach import Advice
from asr.training.preparation import Prepared
from asr.training.run_directory import RunDirectory
from asr.training.table import EpochTable
from asr.training.validation import Validation

SCALARS = ("loss", "valid_loss", "wer", "cer", "frames_per_second", "data_wait", "learning_rate",
           "blank_share")
_METADATA = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1)


class Reports:
    """Writes records to `log.jsonl`, TensorBoard and the table.

    Args:
        run: the run directory.
        table: the table on stderr.
    """

    def __init__(self, run: RunDirectory, table: EpochTable):
        self.run = run
        self.table = table
        self._writer = tf.summary.create_file_writer(str(run.path / "tensorboard"))

    def resumed(self, state: TrainingState) -> None:
        """The run continues from a checkpoint."""
        self.table.write(f"going on in epoch {state.epoch + 1}"
                         + (f", after {state.batch} of its batches" if state.batch else ""))
        self.run.log({"event": "resumed", "epoch": state.epoch, "batch": state.batch})

    def skipped_step(self, record: dict) -> None:
        """A step had a non-finite loss or gradient."""
        self.run.log(record)
        self.table.write(f"warning: step skipped, loss {record['loss']}, gradient norm "
                         f"{record['gradient_norm']}, utterances {', '.join(record['ids'][:5])}")

    def epoch(self, record: dict, advice: Advice) -> None:
        """An epoch is finished."""
        self.run.log(record)
        self._tensorboard(record)
        self.table.row(record)
        self.table.coach(advice, record["epoch"])

    def _tensorboard(self, record: dict) -> None:
        with self._writer.as_default(step=record["epoch"]):
            for name in SCALARS:
                if record[name] is not None:
                    # tf.summary.scalar would need the tensorboard package only to write this.
                    tf.summary.write(name, tf.constant(record[name], tf.float32),
                                     metadata=_METADATA)
        self._writer.flush()


def save_best(path: Path, recipe: Recipe, data: Prepared, model: AcousticModel,
              state: TrainingState, validation: Validation) -> None:
    """Write the bundle of the best epoch so far."""
    training = {"epoch": state.epoch, "minutes": round(state.seconds / 60, 2),
                "valid_wer": validation.wer, "valid_cer": validation.cer,
                "valid_utterances": len(validation.hypotheses),
                "train_utterances": len(data.train.clips), "seed": recipe.seed}
    save_bundle(path, features=recipe.features, text=recipe.text, model=recipe.model,
                decoder=recipe.decoder, tokenizer=data.tokenizer,
                weights=model.get_named_weights(), cmvn=data.cmvn, training=training,
                reference=_reference(recipe, data, model))


def _reference(recipe: Recipe, data: Prepared, model: AcousticModel) -> Reference:
    """Features and logits of a synthetic clip, which `asr doctor --bundle` compares with."""
    audio = reference_clip(recipe.features.sample_rate)
    untrimmed = replace(recipe.features, trim_db=0.0)
    features = normalize_features(FeatureExtractor(untrimmed).extract(audio), untrimmed, data.cmvn)
    logits = model({"features": features[np.newaxis],
                    "num_frames": np.array([len(features)], np.int32)})
    return Reference(audio, features, logits.numpy()[0])
