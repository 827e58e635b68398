"""The examination as one screen of text.

In: the dictionary of `asr.doctor.examine`. Out: lines for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator

from asr.doctor.tensorflow_io import lines
from asr.terminal import plural

KERNELS = {"cudnn": "cuDNN", "cpu": "compiled CPU", "generic": "generic loop"}


def render(report: dict) -> str:
    """Render one screen, most important last: what runs, how fast, what is broken."""
    return "\n".join([*_machine(report), "", *_layers(report), *_timings(report), "",
                      *lines(report["tensorflow_io"], report["addresses"]),
                      *_reference(report["reference"]),
                      "", *_verdict(report["problems"])])


def _machine(report: dict) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items()
                         if version)
    processor, threads, numba = report["processor"], report["threads"], report["numba"]
    yield from _wrapped("versions", versions)
    yield (f"processor      {processor['name']}, {plural(processor['cores'], 'core')}, "
           f"{processor['system']}")
    settings = " ".join(f"{k}={v}" for k, v in threads["environment"].items())
    yield (f"threads        kernels {threads['kernels']}, TensorFlow "
           f"{threads['tensorflow'] or '-'}{'; ' + settings if settings else ''}")
    for library in report["blas"]:
        yield (f"BLAS           {library['name']} {library['version']}, threads "
               f"{library['threads'] or 'unknown'}")
    for gpu in report["gpus"]:
        growth = "grows as needed" if gpu["memory_growth"] else "TAKEN WHOLE (set memory growth)"
        yield f"GPU            {gpu['name']}, memory {growth}"
    if not report["gpus"]:
        yield "GPU            none that TensorFlow can see"
    if numba["problem"]:
        yield f"compiler       cannot run: {numba['problem']}"
    else:
        kept = (f"kept in {numba['cache']}" if numba["cache"] else "NOT KEPT, compiled in every "
                f"process; make one of these writable: {', '.join(numba['cache_candidates'])}")
        yield f"compiler       numba, {numba['vector']} floats a vector; code {kept}"


def _wrapped(title: str, text: str, width: int = 84) -> Iterator[str]:
    line = ""
    for word in text.split(", "):
        if line and len(line) + len(word) > width:
            yield f"{title:<14} {line}"
            title, line = "", ""
        line += (", " if line else "") + word
    yield f"{title:<14} {line}"


def _layers(report: dict) -> Iterator[str]:
    yield f"LSTM layers of {report['model']}"
    shown: tuple = ()
    for row in report["layers"]:
        yield (f"  {row['layer']:<8} {row['inputs']:>5} -> 2 x {row['units']:<5} "
               f"{KERNELS[row['kernel']]}")
        reasons = tuple(f"{KERNELS[c['blocks']]} does not run: {c['name']}: {c['message']}"
                        for c in row["failed"])
        if reasons != shown:
            yield from (f"           {reason}" for reason in reasons)
        shown = reasons


def _timings(report: dict) -> Iterator[str]:
    timings = report["timings"]
    if not timings:
        return
    yield (f"training step of one layer ({timings['batch']} x {timings['frames']} frames, "
           f"{timings['inputs']} -> 2 x {timings['units']}), best of three")
    for kernel, seconds in timings["seconds"].items():
        yield (f"  {KERNELS[kernel]:<14} {seconds * 1e3:9.1f} ms   "
               f"{timings['times_fastest'][kernel]:5.2f} x the fastest")


def _reference(reference: dict | None) -> Iterator[str]:
    if reference is None:
        return
    if not reference["present"]:
        yield "reference      the bundle carries no reference clip"
    for part, results in (("features", reference["features"]), ("engine", reference["engines"])):
        for name, result in results.items():
            yield (f"reference      {name} {part}: {'agrees' if result['agrees'] else 'DIFFERS'}; "
                   f"{result['message']}")


def _verdict(problems: list[str]) -> Iterator[str]:
    yield from (f"PROBLEM        {problem}" for problem in problems)
    if not problems:
        yield "Nothing is broken."
