"""Many recordings, without losing work.

worklist.py    what there is to do, and how outputs are named
transcribe.py  recordings to transcripts
align.py       recordings and known texts to times
"""
