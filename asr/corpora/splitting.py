"""Splits for corpora whose makers give none: deterministic, and never one group in two splits.

In: candidates. Out: the same ones, with other splits.
Splitting happens before recordings are looked at, so one damaged file moves no other utterance.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from asr.corpora.collect import Candidate, Excluded
from asr.errors import UsageError
from asr.terminal import plural
from asr.text import normalize

Items = list[Candidate | Excluded]

GROUPS: dict[str, Callable[[Candidate], str]] = {
    "text": lambda item: normalize(item.text, "basic"),   # "Yes!" and "yes" are one prompt
    "speaker": lambda item: item.speaker,
    "utterance": lambda item: item.id,
}


def every_nth(items: Iterable[Candidate | Excluded], nth: int, *, by: str, split: str = "train",
              to: str = "dev") -> Items:
    """Every nth group, in sorted order and starting with the first, moves to another split.

    Args:
        items: candidates, and rows already excluded, which stay.
        nth: 0 moves nothing; else 2 or more.
        by: a name in `GROUPS`: what is kept together.
        split: only candidates of this split are looked at.
        to: the split that receives them.

    Raises:
        UsageError: `nth` is 1 or negative, `to` exists already, or candidates lack a speaker.
    """
    items = list(items)
    if not nth:
        return items
    if nth < 2:
        raise UsageError(f"Every {nth}th cannot be set aside; give 2 or more, or 0 for none.")
    _check(items, by, (to,), split)
    key = GROUPS[by]
    groups = sorted({key(item) for item in _of(items, split)})
    chosen = set(groups[::nth])
    return [replace(item, split=to) if isinstance(item, Candidate) and item.split == split
            and key(item) in chosen else item for item in items]


def by_fraction(items: Iterable[Candidate | Excluded], fractions: dict[str, float], *, by: str,
                split: str = "train") -> Items:
    """Move groups, in an order that depends on their names alone, until each split has its share.

    Args:
        items: candidates, and rows already excluded, which stay.
        fractions: {split: share of the utterances}, such as {"dev": 0.1}.
        by: a name in `GROUPS`: what is kept together.
        split: where the groups are taken from.

    Raises:
        UsageError: the shares leave nothing for `split`, a split exists already, or candidates
            lack a speaker.
    """
    items = list(items)
    fractions = {name: share for name, share in fractions.items() if share}
    if not fractions:
        return items
    if min(fractions.values()) < 0 or sum(fractions.values()) >= 1:
        spelt = " and ".join(f"{100 * share:g} % for {name}" for name, share in fractions.items())
        raise UsageError(f"{spelt} leave nothing for {split}; expected shares of 0 or more, less "
                         "than 100 % together.")
    _check(items, by, tuple(fractions), split)
    key = GROUPS[by]
    groups: dict[str, int] = defaultdict(int)
    for item in _of(items, split):
        groups[key(item)] += 1
    if len(groups) <= len(fractions):
        are = f"{'is' if len(groups) == 1 else 'are'} {plural(len(groups), 'group')}"
        raise UsageError(f"By {by} there {are}, and none may "
                         f"be divided, so there cannot be {len(fractions) + 1} splits; split by "
                         f"{' or '.join(sorted(set(GROUPS) - {by}))}.")
    order = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest())
    total = sum(groups.values())
    target: dict[str, str] = {}
    for number, (name, share) in enumerate(fractions.items(), start=1):
        wanted = share * total
        spare = len(fractions) - number + 1   # groups that the splits after this one need
        while wanted > 0 and len(order) > spare:
            # One that is far too big comes last: a speaker with half of everything is for training.
            group = next((g for g in order if groups[g] <= 1.5 * wanted), None)
            if group is None and name in target.values():
                break
            group = group or min(order, key=lambda g: groups[g])
            order.remove(group)
            target[group] = name
            wanted -= groups[group]
    return [replace(item, split=target.get(key(item), split)) if isinstance(item, Candidate)
            and item.split == split else item for item in items]


def split_everything(items: Items, *, by: str, dev: float = 0.0, test: float = 0.0) -> Items:
    """`by_fraction` from `train`, or from the only split that there is, which becomes `train`.

    Raises:
        UsageError: as `by_fraction`; or there are several splits and none is `train`.
    """
    names = {item.split for item in items if isinstance(item, Candidate)}
    if len(names) == 1:
        items = [replace(item, split="train") if isinstance(item, Candidate) else item
                 for item in items]
    elif names and "train" not in names:
        raise UsageError(f"The corpus has the splits {', '.join(sorted(names))} and none is "
                         "train; use them, or prepare one of them alone.")
    return by_fraction(items, {"dev": dev, "test": test}, by=by)


def _of(items: Items, split: str) -> list[Candidate]:
    return [item for item in items if isinstance(item, Candidate) and item.split == split]


def _check(items: Items, by: str, new: tuple[str, ...], split: str) -> None:
    if by not in GROUPS:
        raise UsageError(f"Cannot split by {by!r}; expected one of {', '.join(GROUPS)}.")
    taken = {item.split for item in items if isinstance(item, Candidate)} & set(new)
    if taken:
        raise UsageError(f"The corpus has its own split {taken.pop()!r}; use it, or leave the "
                         "option for a split away.")
    unnamed = next((item for item in _of(items, split) if not item.speaker), None)
    if unnamed and by == "speaker":
        raise UsageError(f"{unnamed.source}: utterance {unnamed.id!r} has no speaker, so speakers "
                         "cannot be kept apart; split by text or by utterance.")
