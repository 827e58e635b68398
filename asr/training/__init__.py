"""Training: from a recipe and a folder to a bundle and a log.

Read session.py first, then loop.py. Importing this package does not import TensorFlow.
"""

from __future__ import annotations

from asr.training.export import export_checkpoint
from asr.training.run_directory import read_log
from asr.training.session import TrainingResult, train

__all__ = ["TrainingResult", "export_checkpoint", "read_log", "train"]
