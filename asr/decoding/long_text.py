"""Decode hours of logits in segments that end at pauses.

In: logits as they come, any number of frames at a time. Out: one hypothesis of all. NumPy.

Searches need memory that grows with frames times labels, and a text of hours has no single reading
worth keeping in a beam. So frames are collected until there are enough, and decoded up to the
longest pause among the later ones: a run of blanks and spaces, with a space if there is one. That
space is left out, being what joins the two texts. Splitting there changes no word of a greedy text,
because words end at spaces anyway; a language model begins a new sentence at each cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from asr.decoding.decoder import Decoder
from asr.decoding.hypothesis import Hypothesis
from asr.text.tokenizer import BLANK_ID, CharTokenizer


def decode_segments(decoder: Decoder, logits: Iterable[np.ndarray], segment_frames: int
                    ) -> Hypothesis:
    """The text of a recording whose logits come in pieces.

    Args:
        decoder: any.
        logits: (n, V) float32, unnormalised; in all at least one frame.
        segment_frames: length of the shortest segment; the longest has about twice as many.

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
            end, following = find_pause(held, segment_frames, 2 * segment_frames,
                                        decoder.tokenizer)
            parts.append((start, decoder.decode(held[:end])[0]))
            held, start = held[following:], start + following
    if held is None:
        held = np.empty((0, decoder.tokenizer.vocab_size), np.float32)
    if len(held) or not parts:
        parts.append((start, decoder.decode(held)[0]))
    return join(parts)


def find_pause(logits: np.ndarray, low: int, high: int, tokenizer: CharTokenizer
               ) -> tuple[int, int]:
    """Where to cut: in the longest pause.

    A pause is a run of frames whose best label is the blank or a space. Runs with a space come
    before runs without, which may lie inside of a word.

    Args:
        logits: (T', V) float32, T' >= high.
        low, high: frames to look at, 0 < low < high.
        tokenizer: says which label is the space.

    Returns:
        The frame before which one segment ends, and the frame with which the next one begins: on
        both sides of the surest space of the pause (a sure one that stays at an edge would make a
        closed vocabulary put a word before it); without a space both are the middle, without a
        pause both are `high`.
    """
    best = logits[low:high].argmax(axis=1)
    space = tokenizer.encode(" ")[0] if " " in tokenizer.alphabet else -1
    first, last = max(_runs((best == BLANK_ID) | (best == space)), default=(high - low, high - low),
                      key=lambda run: ((best[run[0]:run[1]] == space).any(), run[1] - run[0]))
    first, last = low + first, low + last
    sureness = logits[first:last, space] - logits[first:last, BLANK_ID]
    end, following = max(_runs(best[first - low:last - low] == space),
                         default=((last - first) // 2,) * 2,
                         key=lambda run: sureness[run[0]:run[1]].sum())
    return first + end, first + following


def _runs(marks: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each run of True, ends exclusive."""
    padded = np.concatenate([[False], marks, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def join(parts: Sequence[tuple[int, Hypothesis]]) -> Hypothesis:
    """One hypothesis of consecutive ones.

    `score` is the sum, without the spaces at cuts. `confidence` is the mean of the parts, each
    weighted by its words: for a calibrated decoder the expected share of right words, for a
    beam its typical share. Without any word it is that of the least certain part. `rejected` names
    all that was rejected.

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
