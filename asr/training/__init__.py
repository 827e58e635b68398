"""Training: a recipe and a folder go in, a bundle and an honest log come out.

run.py is the page to read first. Importing this package does not import TensorFlow.
"""

from __future__ import annotations

from asr.training.run import TrainingResult, train
from asr.training.run_directory import read_log

__all__ = ["TrainingResult", "read_log", "train"]
