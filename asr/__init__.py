"""keras-asr: speech recognition that people train, run and trust on their own machines.

A recording passes audio, features, batches, LSTM, CTC, decoder, transcript and score, in this
order. Every stage is one module here, usable alone. Importing `asr` is light: a name is imported
when it is first used, and TensorFlow only by what trains.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "AsrError": "asr.errors",
    "Recipe": "asr.recipe", "load_recipe": "asr.recipe", "dump_recipe": "asr.recipe",
    "Utterance": "asr.manifest", "read_manifest": "asr.manifest", "write_manifest": "asr.manifest",
    "CharTokenizer": "asr.text.tokenizer",
    "normalize": "asr.text",
    "probe_audio": "asr.audio", "load_audio": "asr.audio",
    "log_mel": "asr.features", "mfcc": "asr.features",
    "GreedyDecoder": "asr.decoding", "LexiconDecoder": "asr.decoding",
    "AcousticModel": "asr.network.model", "CTCModel": "asr.network.ctc_model",
    "BidirectionalLSTM": "asr.network.layer", "CTCLoss": "asr.network.ctc",
    "WordErrorRate": "asr.network.metrics", "CharacterErrorRate": "asr.network.metrics",
    "dataset": "asr.training.dataset",
    "Recognizer": "asr.recognizer", "load": "asr.recognizer", "Windows": "asr.inference.windows",
    "train": "asr.training",
    "transcribe": "asr.recognizer", "align": "asr.recognizer",
    "evaluate": "asr.evaluation",
    "score": "asr.scoring",
}
__all__ = [*sorted(_HOME), "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'asr' has no attribute {name!r}; it offers "
                             f"{', '.join(__all__)}.")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


# The names are for type checkers; __getattr__ imports them.  (ruff sees no use)
# ruff: noqa: F401
if TYPE_CHECKING:
    from asr.audio import load_audio, probe_audio
    from asr.decoding import GreedyDecoder, LexiconDecoder
    from asr.errors import AsrError
    from asr.evaluation import evaluate
    from asr.features import log_mel, mfcc
    from asr.inference.windows import Windows
    from asr.manifest import Utterance, read_manifest, write_manifest
    from asr.network.ctc import CTCLoss
    from asr.network.ctc_model import CTCModel
    from asr.network.layer import BidirectionalLSTM
    from asr.network.metrics import CharacterErrorRate, WordErrorRate
    from asr.network.model import AcousticModel
    from asr.recipe import Recipe, dump_recipe, load_recipe
    from asr.recognizer import Recognizer, align, load, transcribe
    from asr.scoring import score
    from asr.text import normalize
    from asr.text.tokenizer import CharTokenizer
    from asr.training import train
    from asr.training.dataset import dataset
