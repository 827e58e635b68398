"""How fast the prefix beam search is, beside other decoders; one JSON object on stdout.

    python benchmarks/decoding.py --peers-python ~/peers/bin/python
    python benchmarks/decoding.py --batch --threads 1 2 4

Posteriors are exchanged as .npz, so the peers (fast-ctc-decode, flashlight-text, pyctcdecode) run
in an environment of their own; one that is not installed there is left out. tf.nn runs here with
--tensorflow. "flat" posteriors are noise around a text, the hard case for pruning; "peaky" ones
are what a trained network writes. Every decoder gets the same arrays, with one core. Shown are the
median processor time of the utterances, which other work on the machine disturbs little, and the
character error against the text that is hidden in them.

--batch adds, for each number of threads, wall and processor milliseconds an utterance of
`decode_batch` and `cores`, their ratio: how many cores worked on average. `speedup` is wall time
against one thread, which only an idle machine shows; where others compute too, processor time that
does not grow with the threads is what can be seen: no thread waits spinning for another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ALPHABET = " 'abcdefghijklmnopqrstuvwxyz"
PEERS = ("fast-ctc-decode", "flashlight-text", "pyctcdecode")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--utterances", type=int, default=10)
    parser.add_argument("--beams", type=int, nargs="+", default=[32, 100])
    parser.add_argument("--peers-python", help="an interpreter that has some of the peers")
    parser.add_argument("--tensorflow", action="store_true", help="also time tf.nn")
    parser.add_argument("--batch", action="store_true", help="time decode_batch")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4], help="with --batch")
    parser.add_argument("--worker", nargs=2, metavar=("PEER", "NPZ"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(run_peer(*options.worker, options.beams)))
        return
    result = {"frames": options.frames, "utterances": options.utterances, "cores": os.cpu_count(),
              "load": os.getloadavg()[0], "machine": platform.processor() or platform.machine(),
              "python": platform.python_version(), "rows": []}
    for kind, sharpness in (("flat", 3.5), ("peaky", 7.0)):
        logits, texts = make_posteriors(options.utterances, options.frames, sharpness)
        found = {"keras-asr": ours(logits, options.beams, options.threads if options.batch else [])}
        if options.tensorflow:
            found["tf.nn"] = tensorflow_decoder(logits, options.beams)
        if options.peers_python:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "posteriors.npz"
                np.savez(path, logits=logits)
                found |= {peer: call_peer(options, peer, path) for peer in PEERS}
        for name, rows in found.items():
            for row in rows or ():
                row["cer"] = round(character_error(texts, row.pop("texts")), 4)
                result["rows"].append({"posteriors": kind, "decoder": name, **row})
    print(json.dumps(result, indent=1))


def make_posteriors(count: int, frames: int, sharpness: float) -> tuple[np.ndarray, list[str]]:
    """(count, frames, V) float32 logits around hidden texts of one character in three frames."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=1.5, size=(count, frames, len(ALPHABET) + 1)).astype(np.float32)
    texts = []
    for row in logits:
        letters = rng.integers(1, len(ALPHABET) + 1, size=frames // 3)
        texts.append("".join(ALPHABET[letter - 1] for letter in letters))
        path = np.zeros(frames, dtype=int)
        path[:3 * len(letters)].reshape(-1, 3)[:, 1] = letters
        row[np.arange(frames), path] += sharpness
    return logits, texts


def timed(decode: Callable[[int], str], count: int) -> tuple[float, list[str]]:
    """Median milliseconds of processor time an utterance, after one warm-up, and the texts."""
    decode(0)
    seconds, texts = [], []
    for i in range(count):
        start = time.process_time()
        texts.append(decode(i))
        seconds.append(time.process_time() - start)
    return round(1e3 * float(np.median(seconds)), 2), texts


def ours(logits: np.ndarray, beams: list[int], threads: list[int]) -> list[dict]:
    from asr.decoding import BeamSearchDecoder
    from asr.text.tokenizer import CharTokenizer

    rows = []
    for beam in beams:
        decoder = BeamSearchDecoder(CharTokenizer(ALPHABET), beam)
        labels: list = [None] * len(logits)

        def decode(i: int, decoder=decoder, labels=labels) -> str:
            labels[i] = decoder.decode(logits[i])[0].labels  # the raw string, as the peers give
            return ""

        milliseconds, _ = timed(decode, len(logits))
        row = {"beam": beam, "milliseconds": milliseconds,
               "texts": [decoder.tokenizer.decode(item) for item in labels]}
        if threads:
            row["batch"] = batches(decoder, np.concatenate([logits] * 8), threads)
        rows.append(row)
    return rows


def batches(decoder, logits: np.ndarray, threads: list[int]) -> list[dict]:
    """Wall and processor time of `decode_batch` for each number of threads; the best of three."""
    lengths, rows = [logits.shape[1]] * len(logits), []
    for count in threads:
        runs = []
        for _ in range(3):
            wall, processor = time.perf_counter(), time.process_time()
            decoder.decode_batch(logits, lengths, num_threads=count)
            runs.append((time.perf_counter() - wall, time.process_time() - processor))
        wall, processor = min(runs)
        first = rows[0]["wall_ms"] if rows else 1e3 * wall / len(logits)
        rows.append({"threads": count, "wall_ms": round(1e3 * wall / len(logits), 2),
                     "processor_ms": round(1e3 * processor / len(logits), 2),
                     "cores": round(processor / wall, 2),
                     "speedup": round(first / (1e3 * wall / len(logits)), 2)})
    return rows


def tensorflow_decoder(logits: np.ndarray, beams: list[int]) -> list[dict]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    moved = np.concatenate([logits[..., 1:], logits[..., :1]], axis=-1)  # its blank is the last
    rows = []
    for beam in beams:
        def decode(i: int, beam=beam) -> str:
            decoded, _ = tf.nn.ctc_beam_search_decoder(moved[i][:, None], [logits.shape[1]], beam)
            return "".join(ALPHABET[label] for label in decoded[0].values.numpy())
        milliseconds, texts = timed(decode, len(logits))
        rows.append({"beam": beam, "milliseconds": milliseconds, "texts": texts})
    return rows


def call_peer(options: argparse.Namespace, peer: str, path: Path) -> list[dict]:
    """Run one peer in its own interpreter; an empty list where it is not installed."""
    command = [options.peers_python, __file__, "--worker", peer, str(path), "--beams",
               *map(str, options.beams)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        print(f"{peer} is left out: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return []
    return json.loads(done.stdout.splitlines()[-1])


def run_peer(peer: str, path: str, beams: list[int]) -> list[dict]:
    """In the peers' environment: NumPy and the peer, nothing of ours."""
    logits = np.load(path)["logits"]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs = (shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))).astype(np.float32)
    build = {"fast-ctc-decode": fast_ctc, "flashlight-text": flashlight,
             "pyctcdecode": pyctc}[peer]
    rows = []
    for beam in beams:
        milliseconds, texts = timed(build(log_probs, beam), len(logits))
        rows.append({"beam": beam, "milliseconds": milliseconds, "texts": texts})
    return rows


def fast_ctc(log_probs: np.ndarray, beam: int) -> Callable[[int], str]:
    import fast_ctc_decode

    probabilities = np.exp(log_probs)
    return lambda i: fast_ctc_decode.beam_search(probabilities[i], "_" + ALPHABET, beam, 1e-3)[0]


def flashlight(log_probs: np.ndarray, beam: int) -> Callable[[int], str]:
    from flashlight.lib.text.decoder import (
        CriterionType,
        LexiconFreeDecoder,
        LexiconFreeDecoderOptions,
        ZeroLM,
    )

    options = LexiconFreeDecoderOptions(
        beam_size=beam, beam_size_token=log_probs.shape[-1], beam_threshold=30.0, lm_weight=0.0,
        sil_score=0.0, log_add=True, criterion_type=CriterionType.CTC)
    decoder = LexiconFreeDecoder(options, ZeroLM(), 1, 0, [])

    def decode(i: int) -> str:
        frames, labels = log_probs[i].shape
        tokens = decoder.decode(log_probs[i].ctypes.data, frames, labels)[0].tokens
        collapsed = [b for a, b in zip([0, *tokens], tokens) if a != b and b > 0]  # noqa: B905
        return "".join(ALPHABET[label - 1] for label in collapsed)
    return decode


def pyctc(log_probs: np.ndarray, beam: int) -> Callable[[int], str]:
    from pyctcdecode import build_ctcdecoder

    decoder = build_ctcdecoder(["", *ALPHABET])
    return lambda i: decoder.decode(log_probs[i], beam_width=beam)


def character_error(references: list[str], hypotheses: list[str]) -> float:
    errors = sum(edit_distance(r, h) for r, h in zip(references, hypotheses, strict=True))
    return errors / sum(map(len, references))


def edit_distance(a: str, b: str) -> int:
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y)))
        previous = row
    return previous[-1]


if __name__ == "__main__":
    main()
