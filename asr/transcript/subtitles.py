"""Words in time become subtitles, by the rules that editors use.

In: words with seconds. Out: `Cue`s of at most two lines. Pure functions, standard library only.

The rules are `SubtitleRules`, in one place: two lines of 42 characters, 1 to 7 seconds, at most 17
characters a second where the pauses allow it, two frames between cues (Netflix Timed Text Style
Guide, general requirements; BBC Subtitle Guidelines). Where to break is the cheapest path over all
ways to cut the words, as in line breaking of paragraphs (Knuth and Plass 1981): pauses, punctuation
and conjunctions are good places, articles and prepositions are bad ones. People who answer each
other faster than cues may follow share one, a line each, so that no cue falls behind the speech.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from asr.transcript import Word


@dataclass(frozen=True)
class SubtitleRules:
    """What a subtitle may be.

    Attributes:
        lines: lines of a cue, at most; 1 or 2.
        line_characters: characters of a line, at most.
        min_seconds, max_seconds: a cue is shown.
        characters_per_second: to be read at most, where the pauses leave the time.
        gap_frames, frames_per_second: between two cues, at least.
        pause: seconds of silence that end a cue in any case.
    """

    lines: int = 2
    line_characters: int = 42
    min_seconds: float = 1.0
    max_seconds: float = 7.0
    characters_per_second: float = 17.0
    gap_frames: int = 2
    frames_per_second: float = 25.0
    pause: float = 1.0

    @property
    def gap(self) -> float:
        """Seconds between two cues."""
        return self.gap_frames / self.frames_per_second


RULES = SubtitleRules()


@dataclass(frozen=True)
class Cue:
    """A stretch of words shown together as one subtitle.

    Attributes:
        start, end: seconds.
        text: one or two lines, separated by a line end.
    """

    start: float
    end: float
    text: str


# Words before which, and after which, a line is broken; English, German, French, Spanish.
_BEFORE = frozenset("""and but or nor so because that which who when where while if although though
    und aber oder denn sondern weil dass daß wenn obwohl ob der die das welche während
    et mais ou donc car que qui quand si parce lorsque y pero o porque cuando aunque""".split())
_NOT_AFTER = frozenset("""a an the of in on at to for with from by my your his her its our their
    ein eine einen einem einer der die das den dem des im am zum zur von mit für in an auf
    un une le la les de du des à au aux el los las una""".split())
_CLAUSE_ENDS = ",;:.!?…،؛。、！？"
_SHARED = 2.0         # price of a turn inside a cue; less than that of a cue 0.1 s too short
_SHARED_LINE = 2.0    # and of one that is not at the line break either


class _Piece(NamedTuple):
    """A word, or a part of one that is longer than a line."""

    text: str
    start: float
    end: float
    is_joined: bool = False   # to the piece before, without a space
    is_turn: bool = False     # another speaker begins


def cues(words: Sequence[Word], *, rules: SubtitleRules = RULES, speakers: Sequence[str] = (),
         duration: float = 0.0) -> list[Cue]:
    """Words as subtitles.

    Args:
        words: in order; those of one speaker together.
        rules: what a cue may be.
        speakers: names of the channels, from the first on; each turn begins with one.
        duration: seconds of the recording, beyond which the last cue stays only to last
            `min_seconds`.

    Example:
        >>> from asr.transcript import Word
        >>> cues([Word("one", 0.0, 0.4, 1.0), Word("two", 3.0, 3.4, 1.0)])
        [Cue(start=0.0, end=1.0, text='one'), Cue(start=3.0, end=4.0, text='two')]
    """
    pieces = _pieces(words, rules, speakers)
    groups: list[list[_Piece]] = []
    for stretch in _stretches(pieces, rules):
        groups += _best_cuts(stretch, rules)
    starts: list[float] = []
    for group in groups:
        earliest = starts[-1] + rules.min_seconds + rules.gap if starts else 0.0
        starts.append(max(group[0].start, earliest))
    found = []
    for number, (group, start) in enumerate(zip(groups, starts, strict=True)):
        last = number + 1 == len(groups)
        limit = max(duration, _end(group), start + rules.min_seconds) if last else \
            starts[number + 1] - rules.gap
        text = _lines(group, rules)
        read = len(text) / rules.characters_per_second
        end = max(_end(group), start + max(rules.min_seconds, read))
        found.append(Cue(start, min(end, limit, start + rules.max_seconds), text))
    return found


def _pieces(words: Sequence[Word], rules: SubtitleRules, speakers: Sequence[str]) -> list[_Piece]:
    pieces: list[_Piece] = []
    channel = -1
    for word in words:
        is_turn = word.channel != channel
        channel = word.channel
        text = " ".join(word.text.split())
        if is_turn and speakers and channel:
            text = f"{speakers[channel - 1]}: {text}"
        if not text:
            continue
        size = rules.line_characters
        parts = [text[i:i + size] for i in range(0, len(text), size)]
        step = (word.end - word.start) / len(parts)
        pieces += [_Piece(part, word.start + step * k, word.start + step * (k + 1), k > 0,
                          is_turn and not k) for k, part in enumerate(parts)]
    return pieces


def _stretches(pieces: Sequence[_Piece], rules: SubtitleRules) -> list[list[_Piece]]:
    """Cut at long pauses, in which all are silent."""
    found: list[list[_Piece]] = []
    spoken_until = 0.0
    for piece in pieces:
        if not found or piece.start - spoken_until > rules.pause:
            found.append([])
        found[-1].append(piece)
        spoken_until = max(spoken_until, piece.end)
    return found


def _best_cuts(pieces: Sequence[_Piece], rules: SubtitleRules) -> list[list[_Piece]]:
    """The cheapest way to cut a stretch into cues that fit."""
    count = len(pieces)
    cost = [0.0] + [math.inf] * count
    came_from = [0] * (count + 1)
    for stop in range(1, count + 1):
        characters = 0
        for start in range(stop - 1, -1, -1):
            characters += len(pieces[start].text) + (not pieces[start].is_joined)
            if characters > rules.lines * (rules.line_characters + 1) + 1:
                break
            price = cost[start] + _price(pieces, start, stop, rules)
            if price < cost[stop]:
                cost[stop], came_from[stop] = price, start
    groups = []
    while count:
        groups.append(list(pieces[came_from[count]:count]))
        count = came_from[count]
    return groups[::-1]


def _price(pieces: Sequence[_Piece], start: int, stop: int, rules: SubtitleRules) -> float:
    """What a cue costs: how badly it can be read, and how bad the break behind it is."""
    group = pieces[start:stop]
    spoken = _end(group) - group[0].start
    if len(group) > 1 and (spoken > rules.max_seconds or not _lines(group, rules)):
        return math.inf
    characters = sum(len(p.text) + (not p.is_joined) for p in group) - 1
    follows = pieces[stop] if stop < len(pieces) else None
    room = rules.max_seconds if follows is None else follows.start - group[0].start - rules.gap
    read = max(rules.min_seconds, characters / rules.characters_per_second)
    shown = min(max(spoken, read), max(room, 0.01), rules.max_seconds)
    price = 1.0 + 20.0 * max(0.0, rules.min_seconds - shown)
    price += 0.3 * max(0.0, characters / max(shown, 0.1) - rules.characters_per_second)
    turns = sum(p.is_turn for p in group[1:])
    price += (_SHARED + _SHARED_LINE) * turns - _SHARED_LINE * (turns > 0)
    if follows is not None:
        price += 1.0 - _break_quality(group[-1], follows)
        price += max(0.0, 1.0 - characters / rules.line_characters)   # not one word alone
    return price


def _break_quality(last: _Piece, following: _Piece) -> float:
    """How good it is to break between two words: -1 .. 1; 2 between two people."""
    if following.is_joined:
        return -1.0
    if following.is_turn:
        return 2.0
    if last.text[-1:] in _CLAUSE_ENDS:
        return 1.0
    quality = min(0.8, 2.0 * max(0.0, following.start - last.end))
    if following.text.casefold() in _BEFORE:
        quality = max(quality, 0.5)
    return quality - 0.8 * (last.text.casefold() in _NOT_AFTER)


def _lines(group: Sequence[_Piece], rules: SubtitleRules) -> str:
    """One or two lines; empty if they do not fit. The upper one is rarely the longer one.

    Two people have a line each, where both fit.
    """
    whole = _text(group)
    if len(whole) <= rules.line_characters and not (
            rules.lines > 1 and any(piece.is_turn for piece in group[1:])):
        return whole
    best, price = "", math.inf
    for place in range(1, len(group)) if rules.lines > 1 else ():
        upper, lower = _text(group[:place]), _text(group[place:])
        if max(len(upper), len(lower)) > rules.line_characters:
            continue
        here = abs(len(upper) - len(lower)) / rules.line_characters + 0.1 * (
            len(upper) > len(lower)) - _break_quality(group[place - 1], group[place])
        if here < price:
            best, price = f"{upper}\n{lower}", here
    return best


def _end(group: Sequence[_Piece]) -> float:
    """When the last of them has ended; people may talk at once."""
    return max(piece.end for piece in group)


def _text(group: Sequence[_Piece]) -> str:
    return "".join(("" if p.is_joined else " ") + p.text for p in group).strip()
