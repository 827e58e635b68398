"""CPU seconds and peak memory of `asr validate` and of a resume of `asr transcribe`; prints JSON.

    python benchmarks/many_recordings.py --rows 20000 40000
    python benchmarks/many_recordings.py --rows 1000000 --what validate

Rows are made up: a second, 12 words, 500 speakers. Each has a recording of its own, a link to one
one WAV file; with `parts`, 100 rows have one. `resume` gives a run a folder with every transcript.
`write` is what `asr transcribe` does beside recognition: it writes transcripts that are made up;
`--to s3://bucket/texts` writes them there.
Each size runs in a process of its own; `bytes_a_row` is how much its peak grew, over that of the
smallest size if there are several.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

WORDS = "the of and a to in is you that it he was for on are as with his they at be".split()
A_FOLDER = 1_000  # recordings


def recording(path: Path, seconds: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\1\0" * 16_000 * seconds)


def make(folder: Path, rows: int, parts: int) -> None:
    """A manifest of `rows` rows and its recordings, of which each is in `parts` rows."""
    rng = random.Random(1)
    last = folder
    with open(folder / "all.jsonl", "w", encoding="utf-8") as file:
        for i in range(rows):
            number = i // parts
            name = f"audio/{number // A_FOLDER:05d}/speaker{number % 500:03d}-{number:08d}.wav"
            if i % parts == 0:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if number % 30_000:  # a file of ext4 has 65,000 names at most
                    os.link(last, path)
                else:
                    recording(last := path, parts)
            file.write(json.dumps({
                "id": f"utterance-{i:08d}", "audio_filepath": name, "duration": 1.0,
                "text": " ".join(rng.choices(WORDS, k=12)), "speaker": f"speaker{number % 500:03d}",
                "offset": i % parts}) + "\n")


def measure(what: str, rows: int, to: str) -> dict:
    """In this process: seconds of CPU and the peak of the memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, rows, 100 if what == "parts" else 1)
        if what == "write":
            return {"what": what, "rows": rows, **written(folder, rows, to and f"{to}/{rows}")}
        if what == "resume":
            from asr.fleet.worklist import OutputFolder, find_items
            outputs = OutputFolder(folder / "out", "txt")
            items = find_items([str(folder / "audio")], recursive=True)[0]
            outputs.claim(items)
            for item in items:
                outputs.output(item).touch()
            arguments = ["transcribe", str(folder / "audio"), "-r", "-o", str(folder / "out")]
        else:
            arguments = ["validate", str(folder / "all.jsonl"), "--jobs", "1"]
        done = subprocess.run([sys.executable, "-c", _RUN, *arguments], check=True,
                              capture_output=True, text=True)
        return {"what": what, "rows": rows, **json.loads(done.stdout.splitlines()[-1])}


def written(folder: Path, rows: int, to: str) -> dict:
    """Seconds of this process for the transcripts of `rows` recordings, one file each."""
    from asr.fleet.transcribe import Outcome, transcribe_to_folder
    from asr.fleet.worklist import OutputFolder, find_items
    from asr.transcript import Transcript

    items = find_items([str(folder / "audio")], recursive=True)[0]
    transcript = Transcript(" ".join(WORDS[:12]))
    began, started = time.process_time(), time.perf_counter()
    for outcome in transcribe_to_folder(
            None, items, OutputFolder(to or folder / "out", "txt"), "txt",
            transcriber=lambda items, timings: (Outcome(item, transcript) for item in items)):
        if outcome.error:
            raise outcome.error
    used = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"code": 0, "cpu_seconds": round(used, 2), "peak_kilobytes": peak,
            "seconds": round(time.perf_counter() - started, 2),
            "transcripts_a_second": round(rows / used)}


_RUN = """
import json, resource, sys
from asr.cli import run
code = run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which begins with that of the process that started this one.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"code": code, "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
                  "peak_kilobytes": int(peak)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 40_000])
    parser.add_argument("--what", choices=("validate", "parts", "resume", "write"), nargs="+",
                        default=["validate", "parts", "resume"])
    parser.add_argument("--to", default="", help="with write: an address, such as s3://bucket/x")
    arguments = parser.parse_args()
    for what in arguments.what:
        first: dict = {}
        for rows in arguments.rows:
            found = measure(what, rows, arguments.to)
            if found["code"]:
                raise SystemExit(f"{what} ended with {found['code']}")
            if first:
                found["bytes_a_row"] = round(1_024 * (
                    found["peak_kilobytes"] - first["peak_kilobytes"]) / (rows - first["rows"]))
            first = first or found
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
