"""One bidirectional LSTM, four ways to run it, one set of weights.

equations.py  the cell as the textbook writes it: the oracle, and the thing to read first
cpu.py        compiled kernels for whole sequences, forward and backward; NumPy in, NumPy out
op.py         the same kernels as one TensorFlow operation with a gradient
layer.py      the Keras layer that picks cuDNN, the compiled kernels or the generic loop

Importing this package imports nothing else: TensorFlow stays out until layer.py or op.py is used.
"""
