"""A transcript of normalised words, in the words as they were written.

In: a transcript from forced alignment and the text that was given. Out: the same times, with `haʼ,`
where the network aligned `haʼ`.
"""

from __future__ import annotations

from dataclasses import replace

from asr.text import normalize
from asr.transcript import Transcript, Word


def as_written(transcript: Transcript, text: str, normalizer: str) -> Transcript:
    """The words of `text` with the times of the normalised ones.

    A written word that was normalised to several (well-known) has the time of all of them; one that
    was normalised to none (a dash) is joined to the word before it. Where a normaliser works across
    words (two hundred and five), the transcript stays as it is.

    Args:
        transcript: its words are those of `normalize(text, normalizer)`.
        text: as written.
        normalizer: a name in `asr.text.NORMALIZERS`.
    """
    written = text.split()
    parts = [normalize(word, normalizer).split() for word in written]
    if [word for part in parts for word in part] != [word.text for word in transcript.words]:
        return transcript
    words: list[Word] = []
    front = ""
    place = 0
    for shown, part in zip(written, parts, strict=True):
        if part:
            own = transcript.words[place:place + len(part)]
            confidence = sum(word.confidence for word in own) / len(own)
            words.append(Word(f"{front}{shown}", own[0].start, own[-1].end, confidence))
            place, front = place + len(part), ""
        elif words:
            words[-1] = replace(words[-1], text=f"{words[-1].text} {shown}")
        else:
            front += f"{shown} "
    return replace(transcript, text=" ".join(word.text for word in words), words=tuple(words))
