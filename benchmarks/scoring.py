"""How fast scores with intervals come: time and memory on one core, prints JSON, a line each.

    python benchmarks/scoring.py                    ours, then jiwer and sclite where they are
    python benchmarks/scoring.py --alone --pairs 20000 --report
    python benchmarks/scoring.py --peer jiwer       one of them alone

The claim: 100,000 pairs of about 20 words, word and character errors, raw and normalised, and
intervals of 10,000 draws over utterances with their receipt: at most 15 s of one slow core. Texts
are made from a seed: a vocabulary of 2,000 words, 5 % deleted, 15 % substituted, 2 % inserted.

jiwer counts words and characters of the same pairs as they are: no normaliser, no interval. sclite
counts words only, in lower case, from trn files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"


def make_pairs(count: int, seed: int = 1) -> tuple[dict[str, str], dict[str, str]]:
    """References and hypotheses by id."""
    draw = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgk"
    words = sorted({"".join(draw.choice(letters) for _ in range(draw.randint(2, 9)))
                    for _ in range(2_000)})
    references, hypotheses = {}, {}
    for index in range(count):
        spoken = [draw.choice(words) for _ in range(draw.randint(5, 35))]
        heard = []
        for word in spoken:
            roll = draw.random()
            if roll > 0.05:
                heard.append(word if roll > 0.2 else draw.choice(words))
            if roll > 0.98:
                heard.append(draw.choice(words))
        references[f"utt-{index:06d}"] = " ".join(spoken).capitalize() + "."
        hypotheses[f"utt-{index:06d}"] = " ".join(heard)
    return references, hypotheses


def measure(pairs: int, options: dict, report: bool) -> dict:
    references, hypotheses = make_pairs(pairs)
    before = peak_megabytes()
    from asr.scoring import score
    start = clock()
    result = score(references, hypotheses, **options)
    record = {"system": "keras-asr", "pairs": pairs, "words": result.words.reference, **options,
              "score": str(result), "receipt": result.receipt.line(), **spent(start, before)}
    if report:
        from asr.pages.report import write_report
        start = clock()
        with tempfile.TemporaryDirectory() as folder:
            path = write_report(Path(folder) / "report.html", result, tables=False)[0]
            record["report"] = {"megabytes": round(path.stat().st_size / 1e6, 2),
                                **spent(start, before)}
    return record


def measure_jiwer(pairs: int) -> dict:
    """Words and characters, jiwer's own defaults."""
    try:
        import jiwer
    except ImportError:
        return {"system": "jiwer", "missing": "pip install jiwer"}
    sides = [list(side.values()) for side in make_pairs(pairs)]
    before, start = peak_megabytes(), clock()
    words, characters = jiwer.process_words(*sides), jiwer.process_characters(*sides)
    return {"system": "jiwer", "pairs": pairs, "wer": round(words.wer, 5),
            "cer": round(characters.cer, 5), **spent(start, before)}


def measure_sclite(pairs: int) -> dict:
    """Words alone, a summary of the speakers."""
    command = next(([path, *rest] for path, *rest in
                    ((shutil.which("sctk"), "sclite"), (shutil.which("sclite"),)) if path), None)
    if command is None:
        return {"system": "sclite", "missing": "apt-get install sctk"}
    with tempfile.TemporaryDirectory() as folder:
        for name, side in zip("rh", make_pairs(pairs), strict=True):
            Path(folder, name).write_text("".join(f"{text} ({key})\n" for key, text in
                                                  side.items()))
        start = time.perf_counter()
        done = subprocess.run([*command, "-r", f"{folder}/r", "trn", "-h", f"{folder}/h", "trn",
                               "-i", "spu_id", "-o", "sum", "stdout", "-f", "0"],
                              capture_output=True, text=True, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = next(line for line in done.stdout.splitlines() if "Sum/Avg" in line)
    return {"system": "sclite", "pairs": pairs, "sum": " ".join(total.split()),
            "wall_seconds": round(time.perf_counter() - start, 2),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
            "peak_megabytes": round(used.ru_maxrss / 1024)}


def clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def spent(start: tuple[float, float], before: float) -> dict:
    wall, cpu = (now - then for now, then in zip(clock(), start, strict=True))
    return {"wall_seconds": round(wall, 2), "cpu_seconds": round(cpu, 2),
            "peak_megabytes": round(peak_megabytes()), "before_megabytes": round(before)}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--normalizer", default="english")
    parser.add_argument("--alignment", default="unit", help="unit or sclite")
    parser.add_argument("--report", action="store_true", help="also write the HTML report")
    parser.add_argument("--alone", action="store_true", help="leave jiwer and sclite out")
    parser.add_argument("--peer", choices=("jiwer", "sclite"), help="measure this one instead")
    arguments = parser.parse_args()
    if arguments.peer:
        peer = {"jiwer": measure_jiwer, "sclite": measure_sclite}[arguments.peer]
        print(json.dumps(peer(arguments.pairs)))
        return
    print(json.dumps(measure(arguments.pairs, {"normalizer": arguments.normalizer,
                                               "alignment": arguments.alignment},
                             arguments.report)), flush=True)
    for name in () if arguments.alone else ("jiwer", "sclite"):  # each with its own peak of memory
        subprocess.run([sys.executable, __file__, "--pairs", str(arguments.pairs), "--peer", name],
                       check=True)


if __name__ == "__main__":
    main()
