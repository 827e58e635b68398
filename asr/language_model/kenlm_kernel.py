"""Call from the compiled search into a language model that only Python can query.

In: the number of a model, a state and a word. Out: nats and the next state. Numba.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from asr.kernels.jit import compiled, objmode

# By `LanguageModel.handle`; an entry goes when its model goes.
MODELS: WeakValueDictionary[int, Any] = WeakValueDictionary()


def ask(handle: int, state: int, word: int) -> tuple[float, int]:
    """One step of the model with this handle; see `KenlmModel.step`."""
    return MODELS[handle].step(state, word)


@compiled(nogil=False)
def step_outside(handle, state, word):
    """`ask`, from compiled code; holds the interpreter lock while it runs."""
    with objmode(nats="float64", after="int64"):
        nats, after = ask(handle, state, word)
    return nats, after
