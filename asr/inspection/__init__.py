"""Inspect the network at work: every gate, every memory cell, and the output.

In: a bundle and the samples of one recording. Out: arrays (`network`), what of them to show
(`view`), a picture (`plot`, with matplotlib) or a page (`page`, with nothing).
`asr.Recognizer.inspect` and `asr inspect` are the doors.
"""

from __future__ import annotations

from asr.inspection.network import Inspection, LayerTrace, inspect_audio
from asr.inspection.view import View, choose

__all__ = ["Inspection", "LayerTrace", "View", "choose", "inspect_audio"]
