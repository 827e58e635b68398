"""Training data: from a manifest to batches.

cache.py       features of a manifest, computed once and kept on disk
worker.py, extraction.py    the processes that compute them
shards.py      the files that hold them
items.py       clips become rows of a batch: speed, joined clips, gaps
batches.py     the plan of an epoch: buckets, order, limits
pipeline.py    tf.data with the batch contract

Importing this package imports nothing else; only pipeline.py needs TensorFlow.
"""
