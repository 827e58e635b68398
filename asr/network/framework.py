"""Import TensorFlow once, with our settings: float32, few messages, memory as needed.

In: nothing. Out: a configured TensorFlow, or one sentence. Importing it takes seconds, so
nothing on the way to a transcript or a score does.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from asr.errors import UsageError


def import_tensorflow(*, deterministic: bool = False) -> None:
    """Import TensorFlow and Keras; their start-up noise is shown only if they fail.

    Args:
        deterministic: one thread and deterministic ops; must be asked for before the first op.

    Raises:
        UsageError: TensorFlow cannot be imported, Keras runs on another backend, or a
            configuration file sets another number type than float32.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The variable goes before ~/.keras/keras.json, which may name a backend for other projects.
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
        raise UsageError(f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}; this project runs on "
                         "tensorflow. Unset it.", code="usage.backend")
    try:
        with _quiet_stderr():
            import keras
            import tensorflow as tf
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
    except (ImportError, OSError) as error:  # without a temporary folder it cannot be imported
        raise UsageError(f"TensorFlow cannot be imported ({error}). Install keras-asr with its "
                         "dependencies; transcribing and scoring work without.",
                         code="usage.tensorflow") from error
    if keras.backend.backend() != "tensorflow" or keras.config.floatx() != "float32":
        raise UsageError(f"Keras runs on {keras.backend.backend()} with {keras.config.floatx()}; "
                         "this project needs tensorflow with float32. Look at KERAS_BACKEND and "
                         "~/.keras/keras.json.", code="usage.backend")
    if deterministic:
        os.environ["ASR_NUM_THREADS"] = "1"
        tf.config.experimental.enable_op_determinism()
        try:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # TensorFlow has run already; its thread count is what it is
            pass


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what native code writes to descriptor 2; replay it if the body fails."""
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # no descriptor 2, as under some services
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
