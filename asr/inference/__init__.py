"""From samples to logits, for recordings of any length.

windows.py          where a long recording is cut
long_recordings.py  window by window, with bounded memory
stopwatch.py        seconds spent in each stage
"""
