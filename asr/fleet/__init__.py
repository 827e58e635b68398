"""Many recordings, without losing work.

worklist.py    what there is to do, and how outputs are named
transcribe.py  recordings to transcripts
align.py       recordings and known texts to times
cluster.py     work in shards on a Ray cluster; shards.py, features.py, audit.py use it
training.py    one training in several processes of a cluster
"""
