r"""Long recordings in windows against one pass over all of them; one JSON object on stdout.

    python benchmarks/windows.py digits=asr/assets/digits.asr,data/fsdd/train.jsonl \
        english=runs/read_english/best.asr,data/kathleen/train.jsonl --audio-root ../shared/data

For each NAME=BUNDLE,MANIFEST, clips in seeded random order make one recording of --minutes. It is
transcribed in one pass, then in windows with several lengths of context, with joins where it is
quiet and, for comparison, wherever they fall. Reported: at how many joins the text differs (every
difference is counted at the join that is nearest, however far), output frames whose best label
differs, the word error rate of both against the texts of the clips (a model may know the clips from
training: the difference counts, not the rate).

Then clips make a FLAC file of --hours, which `asr transcribe` reads in a process of its own with
one thread: times real time by the clock and by processor time, and peak memory.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from asr.audio.recording import blocks_of
from asr.inference.long_recordings import window_logits
from asr.inference.stopwatch import Stopwatch
from asr.inference.windows import Windows
from asr.manifest import Utterance, read_manifest
from asr.recognizer import Recognizer, load
from asr.scoring import score

NEAR_SECONDS = 5.0  # a difference so close to a join is laid to its charge
CHILD = """
import json, resource, sys, time
from asr.cli import run
code = run(sys.argv[1:])
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"code": code, "peak_mib": round(peak), "cpu": time.process_time()}),
      file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME=BUNDLE,MANIFEST")
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--contexts", type=float, nargs="+", default=[2.0, 5.0, 10.0, 20.0])
    parser.add_argument("--core", type=float, default=Windows().core_seconds)
    parser.add_argument("--hours", type=float, default=3.0, help="0: leave the long file out")
    arguments = parser.parse_args()
    report = {"machine": platform.machine(), "cores": os.cpu_count(),
              "threads": os.environ.get("ASR_NUM_THREADS", "all"), "sets": {}}
    for item in arguments.sets:
        name, _, rest = item.partition("=")
        bundle, _, manifest = rest.partition(",")
        recognizer = load(bundle)
        clips = shuffled(read_manifest(manifest, audio_root=arguments.audio_root))
        report["sets"][name] = {"bundle": bundle, "manifest": manifest}
        if arguments.minutes:
            report["sets"][name]["joins"] = compare(recognizer, clips, arguments)
        if arguments.hours:
            report["sets"][name]["long"] = time_long(recognizer, bundle, clips, arguments.hours)
    report["load_average"] = os.getloadavg()
    print(json.dumps(report, indent=2))


def shuffled(utterances: list[Utterance]) -> list[Utterance]:
    order = np.random.default_rng(1).permutation(len(utterances))
    return [utterances[int(i)] for i in order]


def clip_audio(recognizer: Recognizer, clips: list[Utterance], seconds: float
               ) -> Iterator[tuple[np.ndarray, str]]:
    """Clips, again and again, until they last so long."""
    total = 0.0
    while True:
        for clip in clips:
            audio = recognizer.load_audio(clip.audio)
            total += len(audio) / recognizer.sample_rate
            yield audio, clip.text
            if total >= seconds:
                return


def compare(recognizer: Recognizer, clips: list[Utterance], arguments: argparse.Namespace) -> dict:
    pairs = list(clip_audio(recognizer, clips, arguments.minutes * 60))
    audio, text = np.concatenate([a for a, _ in pairs]), " ".join(t for _, t in pairs)
    started = time.process_time()
    full = recognizer.logits(recognizer.features(audio))
    seconds = time.process_time() - started
    transcript = recognizer.decode(full)
    rows = []
    for context in arguments.contexts:
        for search in dict.fromkeys((Windows().search_seconds, 0.0)):
            recognizer.windows = Windows(threshold_seconds=1, core_seconds=arguments.core,
                                         context_seconds=context, search_seconds=search)
            rows.append(one_comparison(recognizer, audio, text, full, transcript))
    return {"minutes": round(len(audio) / recognizer.sample_rate / 60, 2),
            "core_seconds": arguments.core, "one_pass_cpu_seconds": round(seconds, 2),
            "one_pass_wer": wer(recognizer, text, transcript.text),
            "words": len(transcript.words), "windows": rows}


def one_comparison(recognizer: Recognizer, audio: np.ndarray, text: str, full: np.ndarray,
                   transcript) -> dict:
    started = time.process_time()
    survey, pieces = window_logits(recognizer, blocks_of(audio), Stopwatch())
    logits = np.concatenate(list(pieces))
    seconds = time.process_time() - started
    found = recognizer.transcribe_blocks(blocks_of(audio))
    joins = np.array([w.first for w in survey.plan[1:]]) * recognizer.seconds_per_frame
    places = differences(transcript.words, found.words)
    nearest = [int(np.abs(joins - place).argmin()) for place in places]
    near = [j for j, p in zip(nearest, places, strict=True) if abs(joins[j] - p) <= NEAR_SECONDS]
    return {"context_seconds": recognizer.windows.context_seconds,
            "search_seconds": recognizer.windows.search_seconds, "joins": len(joins),
            "joins_with_a_difference": len(set(nearest)),
            "joins_with_a_difference_within_5_s": len(set(near)),
            "word_differences": len(places), "word_differences_within_5_s": len(near),
            "largest_logit_difference": float(np.abs(logits - full).max().round(4)),
            "frames_with_another_best_label": float(
                (logits.argmax(axis=1) != full.argmax(axis=1)).mean().round(5)),
            "wer": wer(recognizer, text, found.text), "cpu_seconds": round(seconds, 2)}


def differences(expected, found) -> list[float]:
    """Times, in seconds, of the words that are replaced, missing or added."""
    matcher = difflib.SequenceMatcher(None, [w.text for w in expected], [w.text for w in found],
                                      autojunk=False)
    places: list[float] = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            places += [(w.start + w.end) / 2 for w in (expected[a:b] or found[c:d])]
    return places


def wer(recognizer: Recognizer, reference: str, hypothesis: str) -> float:
    result = score({"all": reference}, {"all": hypothesis},
                   normalizer=recognizer.bundle.text.normalizer)
    return round(result.wer, 5)


def time_long(recognizer: Recognizer, bundle: str, clips: list[Utterance], hours: float) -> dict:
    """`asr transcribe` of a file of hours, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.flac"
        with soundfile.SoundFile(path, "w", recognizer.sample_rate, 1, format="FLAC",
                                 subtype="PCM_16") as file:
            for audio, _ in clip_audio(recognizer, clips, hours * 3_600):
                file.write(audio)
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", CHILD, "transcribe", bundle, str(path), "--json", "--timings"],
            capture_output=True, text=True, check=True,
            env={**os.environ, "ASR_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
                 "OPENBLAS_NUM_THREADS": "1"})
        wall = time.perf_counter() - started
    result = json.loads(done.stdout)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    timings = next(line["timings"] for line in lines if "timings" in line)
    seconds = result["duration"]
    return {"hours": round(seconds / 3_600, 3), "said": lines[0].get("notice"),
            "exit_code": lines[-1]["code"], "peak_mib": lines[-1]["peak_mib"],
            "wall_seconds": round(wall, 1), "x_real_time_wall": round(seconds / wall, 1),
            "cpu_seconds": round(lines[-1]["cpu"], 1),
            "x_real_time_per_core": round(seconds / lines[-1]["cpu"], 1), "timings": timings,
            "words": len(result["words"]), "last_word_ends": result["words"][-1]["end"]}


if __name__ == "__main__":
    main()
