"""Compile everything that is compiled, once: `python -m asr.lstm.warm`.

In: nothing. Out: machine code on disk; what was done, on stderr. Called by `make install`, so
that no later command waits for the compiler.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time

# Modules with compiled kernels; each has warm() -> None, or compile_problem() -> str | None.
KERNEL_MODULES = ("asr.lstm.cpu", "asr.decoding.kernels")


def warm(module_name: str) -> str | None:
    """Compile the kernels of one module; None when it worked, else one line of why not."""
    module = importlib.import_module(module_name)
    if hasattr(module, "compile_problem"):
        return module.compile_problem()
    module.warm()
    return None


def main() -> int:
    """Warm every module that is there; 1 if one of them cannot be compiled."""
    failed = 0
    for name in KERNEL_MODULES:
        if importlib.util.find_spec(name) is None:
            continue
        started = time.perf_counter()
        print(f"Compiling the kernels of {name} (once per machine) ...", file=sys.stderr)
        problem = warm(name)
        seconds = time.perf_counter() - started
        if problem is None:
            print(f"  ready in {seconds:.1f} s", file=sys.stderr)
        else:
            failed = 1
            print(f"  cannot: {problem}. A slower path runs instead.", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
