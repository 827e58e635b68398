"""The acoustic model: what is computed, apart from how fast.

equations.py   the LSTM cell as the textbook writes it, the oracle of every engine
layer.py       the Keras layer that picks cuDNN, the compiled kernels or the generic loop
op.py          the compiled kernels as one TensorFlow operation with a gradient
model.py       features to logits: front end, stacked bidirectional LSTM, projection
ctc_model.py   what every network trained by CTC shares: step, saving, export
contract.py    the signature and the checks of a batch
named_weights.py    names of a model's variables, layers that learn slowly, averaged weights
ctc.py         the loss, from explicit lengths
metrics.py     word and character error rate as Keras metrics
weights.py     names and shapes of all tensors
engine.py      the same weights run by NumPy or by Keras, for inference
framework.py   TensorFlow and Keras imported late, with a clear error
conditions.py  when cuDNN can run, and what prevents it

Importing this package imports nothing else.
"""
