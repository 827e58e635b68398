"""How far word times are from the truth, on strings whose truth is known; JSON on stdout.

    python benchmarks/alignment.py data/fsdd --audio-root ../shared/data
    python benchmarks/alignment.py data/fsdd --audio-root ../shared/data --dev

Strings of two to seven FSDD clips of one speaker, between them 0.1 to 0.4 s of the speaker's own
background noise (as benchmarks/digits_loso.py makes them), are aligned with their texts by
`Recognizer.align`. The clips are the official test split, takes 0 to 4, which the shipped model has
not been trained on (it knows the speakers). --dev takes the training takes 5 to 14 instead: the
constants of asr/transcript/pauses.py were chosen there.

The truth, by two definitions:
    energy   where speech is inside a clip: the first and the last stretch of 10 ms (in steps of
             1 ms) that is at most 30 dB quieter than the loudest one of the clip;
    paste    where the clip begins and ends. Clips are cut close: speech starts 0 ms (median), 62 ms
             (95th percentile) after the paste.

Times by two methods:
    pauses   what users get: spans of labels, extended to the pauses around them;
    labels   the forward-backward spans of the labels alone.

The targets are a median error of onsets of 40 ms and 100 ms for 90 %, by energy and pauses.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from digits_loso import CLIPS_IN_STRING, SAMPLE_RATE, _background, _noise

from asr.audio import load_audio
from asr.decoding import check_logits, log_softmax
from asr.decoding.alignment import aligned
from asr.manifest import Utterance, read_manifest
from asr.recognizer import Recognizer, load
from asr.transcript.timing import to_transcript

STRETCH = SAMPLE_RATE // 100  # samples of 10 ms
STEP = SAMPLE_RATE // 1_000
RANGE_DB = 30.0
SEED = 5
TARGETS_MS = (40.0, 100.0)  # median, 90th percentile


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("fsdd", type=Path, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--bundle", help="instead of the shipped model")
    parser.add_argument("--strings", type=int, default=40, help="a speaker")
    parser.add_argument("--dev", action="store_true", help="training takes 5 to 14")
    options = parser.parse_args()
    rows = read_manifest(options.fsdd / ("train.jsonl" if options.dev else "test.jsonl"),
                         audio_root=options.audio_root)
    if options.dev:
        rows = [row for row in rows if int(row.id.rsplit("_", 1)[1]) < 15]
    recognizer = load(options.bundle)
    started = time.perf_counter()
    errors: dict[str, list[tuple[float, float]]] = {}
    words = 0
    for speaker in sorted({row.speaker for row in rows}):
        own = [row for row in rows if row.speaker == speaker]
        for audio, truth in strings(own, options.strings):
            words += len(truth)
            for method, found in times(recognizer, audio, [word for word, *_ in truth]).items():
                for (start, end), (_, spoken, pasted) in zip(found, truth, strict=True):
                    for name, (onset, offset) in (("energy", spoken), ("paste", pasted)):
                        errors.setdefault(f"{method} {name}", []).append(
                            (start - onset, end - offset))
    table = {name: {"onset": summary([a for a, _ in pairs]), "end": summary([b for _, b in pairs])}
             for name, pairs in errors.items()}
    reached = table["pauses energy"]["onset"]
    print(json.dumps({
        "clips": "train takes 5-14" if options.dev else "test takes 0-4",
        "bundle": str(recognizer.bundle.path), "words": words,
        "seconds": round(time.perf_counter() - started, 1), "milliseconds": table,
        "targets_reached": reached["median"] <= TARGETS_MS[0] and reached["p90"] <= TARGETS_MS[1],
    }, indent=1))


def strings(clips: list[Utterance], count: int):
    """Audio, and of each word its text, (onset, end) by energy and (onset, end) of the paste."""
    clips = sorted(clips, key=lambda row: row.id)
    audio = [load_audio(row.audio, sample_rate=SAMPLE_RATE) for row in clips]
    spectrum = np.median([_background(samples) for samples in audio], axis=0)
    rng = np.random.default_rng([SEED, *clips[0].speaker.encode()])
    for _ in range(count):
        size = int(rng.integers(CLIPS_IN_STRING[0], CLIPS_IN_STRING[1] + 1))
        parts = [_noise(spectrum, rng)]
        truth = []
        for index in rng.choice(len(clips), size, replace=False):
            at = sum(map(len, parts)) / SAMPLE_RATE
            first, last = speech_edges(audio[index])
            truth.append((clips[index].text, (at + first, at + last),
                          (at, at + len(audio[index]) / SAMPLE_RATE)))
            parts += [audio[index], _noise(spectrum, rng)]
        yield np.concatenate(parts).astype(np.float32), truth


def speech_edges(audio: np.ndarray) -> tuple[float, float]:
    """Seconds of the first and the last stretch that is at most 30 dB below the loudest one."""
    padded = np.pad(audio.astype(np.float64) ** 2, STRETCH // 2)
    power = np.convolve(padded, np.full(STRETCH, 1 / STRETCH), "valid")[::STEP]
    loud = np.flatnonzero(power >= power.max() * 10 ** (-RANGE_DB / 10))
    return loud[0] * STEP / SAMPLE_RATE, loud[-1] * STEP / SAMPLE_RATE


def times(recognizer: Recognizer, audio: np.ndarray, words: list[str]
          ) -> dict[str, list[tuple[float, float]]]:
    """Starts and ends of the words, by each method."""
    logits = recognizer.logits(recognizer.features(audio, SAMPLE_RATE))
    tokenizer = recognizer.tokenizer
    hypothesis = aligned(log_softmax(check_logits(logits, tokenizer.vocab_size)),
                         tokenizer.encode(" ".join(words)), tokenizer)
    found = {"pauses": recognizer.align(audio, " ".join(words), SAMPLE_RATE),
             "labels": to_transcript([hypothesis], recognizer.clock, len(audio) / SAMPLE_RATE)}
    return {name: [(w.start, w.end) for w in transcript.words]
            for name, transcript in found.items()}


def summary(errors: list[float]) -> dict[str, float]:
    """Median error with its sign (the bias), median and 90th percentile of its size."""
    values = 1e3 * np.array(errors)
    return {"bias": round(float(np.median(values)), 1),
            "median": round(float(np.median(np.abs(values))), 1),
            "p90": round(float(np.percentile(np.abs(values), 90)), 1)}


if __name__ == "__main__":
    main()
