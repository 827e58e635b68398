"""Recognise speech while it is spoken: samples in pieces in, partial and final texts out.

`stream.py` is what people use, by `Recognizer.stream`; `utterance.py` has the text so far
and the words that stay; `network.py` runs the bidirectional network chunk by chunk;
`normalizing.py` normalises its features; `ending.py` decides where an utterance ends; `samples.py`
makes the pieces alike. NumPy only.
"""

from asr.live.stream import Stream
from asr.live.utterance import Partial, StreamSettings

__all__ = ["Partial", "Stream", "StreamSettings"]
