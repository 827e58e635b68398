"""Compiled code, and everything that exists only for speed.

cpu.py         whole LSTM sequences, forward and backward; NumPy in, NumPy out
call.py, pieces.py    one call of cpu.py: its checked arrays; each piece of its work
sequences.py, products.py, simd.py, memory.py, batch_slices.py    what cpu.py is made of
team.py        threads that share one sequence
pool.py, processors.py    the threads of this process, and how many processors it may use
ctc.py         the CTC loss and its gradient, in the log domain
jit.py         numba, with the machine code kept on disk
matmul.py      matrix products on the calling thread

Importing this package imports nothing else. No room below or beside it depends on how it works.
"""
