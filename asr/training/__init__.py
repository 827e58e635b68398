"""Training: a recipe and a folder go in, a bundle and an honest log come out.

session.py is the page to read first. Importing this package does not import TensorFlow.
"""

from __future__ import annotations

from asr.training.run_directory import read_log
from asr.training.session import TrainingResult, train

__all__ = ["TrainingResult", "read_log", "train"]
