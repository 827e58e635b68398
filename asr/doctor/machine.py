"""The machine: versions, processor, threads, BLAS, graphics processors, compiler.

In: nothing. Out: plain dictionaries. Each function survives whatever is missing.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from functools import cache

from asr.kernels import processors
from asr.versions import installed


def versions() -> dict[str, str | None]:
    """Installed versions by package; None where a package is not installed."""
    return {"python": platform.python_version(), **installed()}


def processor() -> dict:
    """Name, system, and cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.split(":", 1)[1].strip() for line in file
                         if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux; the short name will do
    return {"name": name, "system": " ".join(platform.uname()[:3:2]),
            "cores": processors.usable()}


@cache
def tensorflow_problem() -> str | None:
    """None when TensorFlow and Keras work as this project needs them, else why not."""
    from asr.errors import UsageError
    from asr.network.framework import import_tensorflow

    try:
        import_tensorflow()
    except UsageError as error:
        return f"does not work: {error}"
    return None


def threads(missing: str | None) -> dict:
    """Threads of the LSTM kernels and of TensorFlow, and what sets them."""
    from asr.kernels import pool

    result: dict = {"kernels": pool.default_threads(), "tensorflow": None,
                    "environment": {name: os.environ[name] for name in
                                    ("ASR_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
                                    if name in os.environ}}
    if not missing:
        import tensorflow as tf

        try:
            from asr.network.op import num_threads
            result["kernels"] = num_threads()
        except ImportError:
            pass  # no numba, no kernels; `numba_state` says so
        result["tensorflow"] = (tf.config.threading.get_intra_op_parallelism_threads()
                                or result["kernels"])
    return result


def blas() -> list[dict]:
    """The linear algebra libraries of this process, with their threads where known."""
    import numpy as np

    try:
        import threadpoolctl
    except ImportError:
        build = np.show_config(mode="dicts")
        library = (build or {}).get("Build Dependencies", {}).get("blas", {})
        return [{"name": library.get("name"), "version": library.get("version"),
                 "threads": None}]
    return [{"name": f"{pool['internal_api']} ({pool.get('architecture', 'unknown')})",
             "version": pool["version"], "threads": pool["num_threads"]}
            for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def graphics_processors() -> list[dict]:
    """Every GPU that TensorFlow sees, and whether its memory grows as needed."""
    import tensorflow as tf

    return [{"name": gpu.name,
             "memory_growth": bool(tf.config.experimental.get_memory_growth(gpu))}
            for gpu in tf.config.get_visible_devices("GPU")]


def numba_state() -> dict:
    """Whether the kernels compile, for which vectors, and where the machine code is kept."""
    try:
        from asr.kernels import cpu, jit, simd
    except ImportError as error:
        return {"problem": f"{type(error).__name__}: {error}", "vector": None, "cache": None,
                "cache_candidates": []}
    folder = jit.cache_folder("asr.kernels")
    return {"problem": cpu.compile_problem(), "vector": simd.LANES,
            "cache": str(folder) if folder else None,
            "cache_candidates": [str(path) for path in jit.candidates()]}


def addresses() -> dict[str, bool]:
    """Which kinds of addresses `asr.audio.remote` can read here, by what is installed."""
    libraries = {"http": "aiohttp", "s3": "s3fs", "gs": "gcsfs"}
    return {kind: all(importlib.util.find_spec(name) is not None for name in ("fsspec", library))
            for kind, library in libraries.items()}
