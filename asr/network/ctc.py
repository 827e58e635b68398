"""The CTC loss from explicit integer lengths, by TensorFlow's sparse path; blank = 0.

In: logits and labels of the batch contract (`asr.data.pipeline`). Out: one loss an
utterance, in nats.
Reference: Graves, Fernández, Gomez, Schmidhuber 2006, ICML.

`keras.losses.CTC` takes the padded length for everybody's length and TensorFlow's dense form gives
finite nonsense for impossible labels, so neither is used. The sparse form is exact, and refuses an
empty label: `asr.features.lengths.feasible` is asked before, by utterance id.
"""

from __future__ import annotations

import tensorflow as tf

from asr.text.tokenizer import BLANK_ID

# cuDNN's CTC holds labels up to this length (pytorch#53505); longer ones go to the CPU kernel.
CUDNN_MAX_LABELS = 256


def ctc_loss(logits: tf.Tensor, num_frames: tf.Tensor, labels: tf.Tensor,
             num_labels: tf.Tensor) -> tf.Tensor:
    """Negative log-probability of each utterance's labels, summed over all alignments.

    Args:
        logits: (B, T', V) float32, unnormalised; anything beyond `num_frames` is ignored and
            gets a zero gradient.
        num_frames: (B,) int32, output frames, >= 1.
        labels: (B, L) int32 in 1 .. V - 1, right-padded with 0.
        num_labels: (B,) int32, 1 <= num_labels; num_labels + repeats <= num_frames, or the loss
            of that utterance is inf.

    Returns:
        (B,) float32, nats.
    """
    valid = tf.sequence_mask(num_frames, tf.shape(logits)[1])[:, :, tf.newaxis]
    logits = tf.where(valid, tf.cast(logits, tf.float32), 0.0)
    indices = tf.where(tf.sequence_mask(num_labels, tf.shape(labels)[1]))
    sparse = tf.SparseTensor(indices, tf.gather_nd(labels, indices),
                             tf.shape(labels, out_type=tf.int64))
    return tf.nn.ctc_loss(sparse, logits, None,  # type: ignore  (sparse labels have no lengths)
                          logit_length=num_frames, logits_time_major=False, blank_index=BLANK_ID)
