"""How fast scores with intervals come: time and memory on one core, prints JSON.

    python benchmarks/scoring.py                    100,000 pairs, about a minute at most
    python benchmarks/scoring.py --pairs 20000 --report
    python benchmarks/scoring.py --peer             jiwer alone on the same pairs, without intervals

The claim: 100,000 pairs of about 10 words, word and character errors, raw and normalised, two
intervals of 10,000 draws over utterances: under 60 s and under 1 GB on one core. Texts are made
from a seed: a vocabulary of 2,000 words, 5 % deleted, 15 % substituted, 2 % inserted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
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
        spoken = [draw.choice(words) for _ in range(draw.randint(3, 17))]
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


def measure(pairs: int, normalizer: str, report: bool, peer: bool) -> dict:
    references, hypotheses = make_pairs(pairs)
    before = peak_megabytes()
    if peer:
        import jiwer
        start = clock()
        output = jiwer.process_words(list(references.values()), list(hypotheses.values()))
        characters = jiwer.process_characters(list(references.values()), list(hypotheses.values()))
        return {"peer": f"jiwer {jiwer.__version__}" if hasattr(jiwer, "__version__") else "jiwer",
                "pairs": pairs, "wer": output.wer, "cer": characters.cer, **spent(start, before)}
    from asr.scoring import score
    start = clock()
    result = score(references, hypotheses, normalizer=normalizer)
    record = {"pairs": pairs, "words": result.words.reference, "normalizer": normalizer,
              "wer": round(result.wer, 5), "score": str(result), **spent(start, before)}
    if report:
        from asr.pages.report import write_report
        start = clock()
        with tempfile.TemporaryDirectory() as folder:
            path = write_report(Path(folder) / "report.html", result, tables=False)[0]
            record["report"] = {"megabytes": round(path.stat().st_size / 1e6, 2),
                                **spent(start, before)}
    return record


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
    parser.add_argument("--normalizer", default="basic")
    parser.add_argument("--report", action="store_true", help="also write the HTML report")
    parser.add_argument("--peer", action="store_true", help="measure jiwer instead")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.pairs, arguments.normalizer, arguments.report,
                             arguments.peer)))


if __name__ == "__main__":
    main()
