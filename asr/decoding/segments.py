"""Hours of logits to one text: decoded in segments that end where nothing is being said.

In: logits as they come, any number of frames at a time. Out: one hypothesis of all. Floor 1: NumPy.

Searches need memory that grows with frames times labels, and a text of hours has no single reading
worth keeping in a beam. So frames are collected until there are enough, and decoded up to the
longest pause among the later ones: a run of blanks and spaces, with a space if there is one.
Splitting there changes no word of a greedy text, because words end at spaces anyway; a language
model begins a new sentence at each cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from asr.decoding.decoder import Decoder
from asr.decoding.hypothesis import Hypothesis
from asr.tokenizer import BLANK_ID, CharTokenizer


def decode_segments(decoder: Decoder, logits: Iterable[np.ndarray], segment_frames: int
                    ) -> Hypothesis:
    """The text of a recording whose logits come in pieces.

    Args:
        decoder: any.
        logits: (n, V) float32, unnormalised; in all at least one frame.
        segment_frames: of the shortest segment; the longest has about twice as many.

    Returns:
        `join` of the best hypotheses of the segments; frames count from the first logit.

    Raises:
        UsageError, DataError: as `Decoder.decode`.
    """
    parts: list[tuple[int, Hypothesis]] = []
    held, start = None, 0
    for piece in logits:
        held = piece if held is None else np.concatenate([held, piece])
        while len(held) >= 2 * segment_frames:
            cut = find_pause(held, segment_frames, 2 * segment_frames, decoder.tokenizer)
            parts.append((start, decoder.decode(held[:cut])[0]))
            held, start = held[cut:], start + cut
    if held is None:
        held = np.empty((0, decoder.tokenizer.vocab_size), np.float32)
    if len(held) or not parts:
        parts.append((start, decoder.decode(held)[0]))
    return join(parts)


def find_pause(logits: np.ndarray, low: int, high: int, tokenizer: CharTokenizer) -> int:
    """The frame in low + 1 .. high before which to cut: the middle of the longest pause.

    A pause is a run of frames whose best label is the blank or a space. Runs with a space come
    before runs without, which may lie inside of a word. No pause at all: `high`.

    Args:
        logits: (T', V) float32, T' >= high.
        low, high: frames to look at.
        tokenizer: says which label is the space.
    """
    best = logits[low:high].argmax(axis=1)
    space = tokenizer.encode(" ")[0] if " " in tokenizer.alphabet else BLANK_ID
    gap = np.concatenate([[False], (best == BLANK_ID) | (best == space), [False]])
    edges = np.flatnonzero(gap[1:] != gap[:-1])
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    first, last = max(runs, default=(high - low, high - low),
                      key=lambda run: ((best[run[0]:run[1]] == space).any(), run[1] - run[0]))
    return low + max(1, (first + last) // 2)


def join(parts: Sequence[tuple[int, Hypothesis]]) -> Hypothesis:
    """One hypothesis of consecutive ones.

    `score` is the sum. `confidence` is the mean of the parts, each weighted by its words: of a
    calibrated decoder the share of all words to be expected right, of a beam its typical share.
    Without any word it is that of the least certain part. `rejected` names all that was rejected.

    Args:
        parts: (first output frame, hypothesis), in order, at least one.
    """
    words = tuple(replace(word, start=word.start + offset, end=word.end + offset)
                  for offset, part in parts for word in part.words)
    count = sum(len(part.words) for _, part in parts)
    total = sum(len(part.words) * part.confidence for _, part in parts)
    return Hypothesis(
        text=" ".join(part.text for _, part in parts if part.text),
        score=sum(part.score for _, part in parts),
        labels=tuple(label for _, part in parts for label in part.labels), words=words,
        spans=tuple((first + offset, last + offset)
                    for offset, part in parts for first, last in part.spans),
        confidence=total / count if count else min(p.confidence for _, p in parts),
        rejected=" ".join(part.rejected for _, part in parts if part.rejected))
