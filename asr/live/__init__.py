"""Recognise speech while it is spoken: samples in pieces in, partial and final texts out.

`stream.py` is what people use, by `Recognizer.stream`; `network.py` runs the bidirectional network
chunk by chunk; `normalizing.py` normalises its features; `ending.py` decides where an utterance
ends; `samples.py` makes the pieces alike. NumPy only.
"""

from asr.live.stream import Partial, Stream, StreamSettings

__all__ = ["Partial", "Stream", "StreamSettings"]
