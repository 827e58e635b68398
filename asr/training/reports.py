"""Report the progress of a run: log, TensorBoard, table and best bundle.

In: records, and the network at its best epoch. Out: lines, event files, `best.asr`.
"""

from __future__ import annotations

import math
from pathlib import Path

import tensorflow as tf

from asr.bundle import save_bundle
from asr.inference.networks import reference_of
from asr.network.ctc_model import CTCModel
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

    def started_from(self, bundle: str, validation: Validation) -> None:
        """What the network of another bundle gets right before the first step."""
        self.table.write(f"{bundle} before the first step: WER {100 * validation.wer:.2f} %, CER "
                         f"{100 * validation.cer:.2f} %, loss {validation.loss:.3f}; best.asr "
                         "can only be as good or better")
        self.run.log({"event": "start", "valid_loss": validation.loss, "wer": validation.wer,
                      "cer": validation.cer})

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
                if math.isfinite(record[name]):
                    # tf.summary.scalar would need the tensorboard package only to write this.
                    tf.summary.write(name, tf.constant(record[name], tf.float32),
                                     metadata=_METADATA)
        self._writer.flush()


def save_bundle_of(model: CTCModel, path: Path, recipe: Recipe, data: Prepared,
                   state: TrainingState, validation: Validation) -> None:
    """Write the bundle of an epoch."""
    training = {"epoch": state.epoch, "minutes": round(state.seconds / 60, 2),
                "valid_wer": validation.wer, "valid_cer": validation.cer,
                "valid_utterances": len(data.valid.clips),
                "train_utterances": len(data.train.clips), "seed": recipe.seed,
                **({"lowest_sample_rate": data.lowest_rate} if data.lowest_rate else {})}
    save_bundle(path, features=recipe.features, text=recipe.text, model=recipe.model,
                decoder=recipe.decoder, tokenizer=data.tokenizer,
                weights=model.get_named_weights(), cmvn=data.cmvn, training=training,
                network=data.network, reference=reference_of(model, recipe, data.cmvn))
