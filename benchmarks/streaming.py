"""What streaming costs: error rates, latency, changed words, processor time; prints JSON lines.

    python benchmarks/streaming.py data/fsdd/test.jsonl
    python benchmarks/streaming.py data/en/dev.jsonl --bundle models/english.asr --join 1

Utterances of one speaker are joined to recordings of `--join` utterances, `--gap` seconds apart,
with room noise (-66 dB) before, between and after, and read 0.1 s at a time. By right context:

- offline: WER of the whole recordings by `Recognizer.transcribe`.
- streamed: WER of the last partial text of each utterance, before its final pass. Words become
  stable by a pass over the whole utterance so far: `--stable-pause 60` leaves that out, so that
  `streamed` is what the network reads with this right context alone.
- final: WER of the final texts.
- first: seconds of audio from the beginning of a word of a final text to the first moment that
  shows this word at its place in time, p50 and p99, and the share within 1 s; last: seconds of
  audio from the end of the last word to the final text, p50 and p99. Computing comes on top:
  `compute` is how long the longest piece of each recording took, p50 and p99.
- flicker: words shown that changed or went away afterwards, of all words shown.
- stable: seconds of audio from the end of a word of a final text to the first moment that shows it
  among those that never change, p50 and p99, the final text included.
- cpu: processor seconds a second of audio.

`--forget` reads every utterance without the statistics of those before it in the stream.
The right context was not chosen on a test split: give development data.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

import asr
from asr.live import StreamSettings
from asr.live.normalizing import OnlineNormalizer
from asr.scoring import score

PIECE = 0.1
NEAR = 0.3  # seconds between the middles of a word as it was shown and as it is in the end


def recordings(utterances: Iterable[asr.Utterance], join: int, rate: int, most: int,
               seconds_apart: float) -> list[tuple[str, np.ndarray]]:
    """(text, samples) of joined utterances."""
    by_speaker: dict[str, list] = {}
    for utterance in utterances:
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    generator = np.random.default_rng(1)
    found = []
    for _, utterances in sorted(by_speaker.items()):
        order = generator.permutation(len(utterances))
        for first in range(0, len(order) - join + 1, join):
            group = [utterances[i] for i in order[first:first + join]]
            gap = np.zeros(round(seconds_apart * rate), np.float32)
            pieces = [np.zeros(round(0.5 * rate), np.float32)]
            for utterance in group:
                pieces += [asr.load_audio(utterance.audio, sample_rate=rate,
                                          offset=utterance.offset,
                                          duration=utterance.duration or None), gap]
            audio = np.concatenate([*pieces, np.zeros(round(1.5 * rate), np.float32)])
            noise = 5e-4 * generator.standard_normal(len(audio), np.float32)
            found.append((" ".join(u.text for u in group), audio + noise))
    keep = generator.permutation(len(found))[:most]
    return [found[i] for i in keep]


class Reading:
    """One recording through a stream; what a reader sees is all finals and the partial text."""

    def __init__(self, recognizer: asr.Recognizer, audio: np.ndarray, right: float,
                 stable: float, lag: float):
        stream = recognizer.stream(right_context=right, stable_pause=stable, max_lag=lag)
        size = round(PIECE * recognizer.sample_rate)
        self.streamed: list[asr.Word] = []
        self.stable: list[float] = []
        self.final: list[asr.Word] = []
        self.last: list[float] = []
        self.compute = 0.0
        self.shown = self.changed = 0
        views: list[tuple[float, list[asr.Word]]] = [(0.0, [])]
        settled: list[tuple[float, int]] = []
        partial: tuple[asr.Word, ...] = ()
        for at in range(0, len(audio), size):
            before = time.perf_counter()
            finals = stream.feed(audio[at:at + size])
            partial_now = stream.partial()
            words, count = partial_now.words, len(partial_now.stable_text.split())
            self.compute = max(self.compute, time.perf_counter() - before)
            now = (at + size) / recognizer.sample_rate
            self._ended(finals, partial, now)
            partial = words
            views.append((now, [*self.final, *words]))
            settled.append((now, len(self.final) + count))
        self._ended(stream.finish(), partial, None)
        views.append((len(audio) / recognizer.sample_rate, self.final))
        settled.append((len(audio) / recognizer.sample_rate, len(self.final)))
        self.stable = [next(now for now, count in settled if count > i) - word.end
                       for i, word in enumerate(self.final)]
        for (_, old), (_, new) in itertools.pairwise(views):
            alike = next((i for i, (a, b) in enumerate(zip(old, new, strict=False))
                          if a.text != b.text), min(len(old), len(new)))
            self.changed += len(old) - alike
            self.shown += len(new) - alike
        self.first = [next(now for now, view in views if any(map(word_at(word), view))) - word.start
                      for word in self.final]

    def _ended(self, finals, partial, now) -> None:
        """The words of the last partial text that lie in these utterances, and the final ones."""
        until = finals[-1].duration if finals else 0.0
        self.streamed += [word for word in partial if middle(word) < until]
        for final in finals:
            self.final += final.words
            if now is not None and final.words:
                self.last.append(now - final.words[-1].end)


def middle(word: asr.Word) -> float:
    return (word.start + word.end) / 2


def word_at(word: asr.Word) -> Callable[[asr.Word], bool]:
    """Whether another one is this word: the same text at the same time."""
    return lambda other: other.text == word.text and abs(middle(other) - middle(word)) < NEAR


def measure(recognizer: asr.Recognizer, found: list[tuple[str, np.ndarray]], right: float,
            stable: float, lag: float) -> dict:
    started = time.process_time()
    readings = [Reading(recognizer, audio, right, stable, lag) for _, audio in found]
    cpu = time.process_time() - started
    seconds = sum(len(audio) for _, audio in found) / recognizer.sample_rate
    references = {str(i): text for i, (text, _) in enumerate(found)}
    wers = {}
    for name in ("streamed", "final"):
        texts = {str(i): " ".join(word.text for word in getattr(reading, name))
                 for i, reading in enumerate(readings)}
        wers[name] = 100 * score(references, texts).wer
    every = {name: [value for reading in readings for value in getattr(reading, name)]
             for name in ("first", "last", "stable")}
    return {"right_context": right, "max_lag": None if math.isinf(lag) else lag,
            **{name: round(value, 2) for name, value in wers.items()},
            **{name: [round(float(np.quantile(values, q)), 2) for q in (0.5, 0.99)]
               for name, values in every.items()},
            "within_1s": round(float(np.mean(np.array(every["first"]) <= 1.0)), 3),
            "compute": [round(float(np.quantile([r.compute for r in readings], q)), 3)
                        for q in (0.5, 0.99)],
            "flicker": round(sum(r.changed for r in readings) / sum(r.shown for r in readings), 3),
            "cpu": round(cpu / seconds, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--bundle", help="default: the shipped digits")
    parser.add_argument("--join", type=int, default=5, help="utterances a recording")
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--right", type=float, nargs="+", default=[0.3, 0.6, 1.0, 2.0])
    parser.add_argument("--gap", type=float, default=0.2, help="seconds between utterances")
    parser.add_argument("--stable-pause", type=float, default=0.5, help="60: no stable words")
    parser.add_argument("--max-lag", type=float, nargs="+", default=[StreamSettings.max_lag],
                        help="seconds; inf: words are stable by pauses alone")
    parser.add_argument("--forget", action="store_true", help="no utterance knows those before")
    arguments = parser.parse_args()
    if arguments.forget:
        OnlineNormalizer.remember = lambda self, features: None
    recognizer = asr.load(arguments.bundle)
    found = recordings(asr.read_manifest(arguments.manifest, audio_root=arguments.audio_root),
                       arguments.join,
                       recognizer.sample_rate, arguments.recordings, arguments.gap)
    references = {str(i): text for i, (text, _) in enumerate(found)}
    offline = {str(i): recognizer.transcribe(audio).text for i, (_, audio) in enumerate(found)}
    print(json.dumps({"recordings": len(found), "seconds": round(sum(
        len(audio) for _, audio in found) / recognizer.sample_rate),
        "offline": round(100 * score(references, offline).wer, 2)}), flush=True)
    for right, lag in itertools.product(arguments.right, arguments.max_lag):
        print(json.dumps(measure(recognizer, found, right, arguments.stable_pause, lag)),
              flush=True)


if __name__ == "__main__":
    main()
