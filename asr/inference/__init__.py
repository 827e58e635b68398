"""From recordings to logits and transcripts.

loop.py             THE inference loop: tasks in, logits or transcripts or errors out
tasks.py            tasks, results, seconds by stage
warps.py            which frequency warp of a recording reads best
long_pauses.py      what of a long pause is not read
loading.py          a recording to samples and features
acoustics.py        samples to logits, with one bundle
networks.py, decoders.py    the engine and the decoder of a bundle
windows.py          where a long recording is cut
long_recordings.py  window by window, with bounded memory
stopwatch.py        seconds spent in each stage
"""
