"""Ids for corpora that name recordings but not utterances.

In: paths as a corpus writes them. Out: {path: id}; the split in the name of a file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

SPLIT_WORDS = ("train", "training", "dev", "val", "valid", "validation", "test", "eval")


def unique_names(paths: Iterable[str]) -> dict[str, str]:
    """The file name without its suffix where that is unique, else as much of the path as is.

    Example:
        >>> unique_names(["a/one.wav", "b/one.wav", "b/two.wav"])
        {'a/one.wav': 'a/one', 'b/one.wav': 'b/one', 'b/two.wav': 'two'}
    """
    known = list(dict.fromkeys(paths))
    pure = {path: PurePosixPath(path.replace("\\", "/")) for path in known}
    short = Counter(p.stem for p in pure.values())
    longer = Counter(str(p.with_suffix("")) if p.name else path for path, p in pure.items())
    names = {}
    for path, p in pure.items():
        without = str(p.with_suffix("")) if p.name else path
        names[path] = (p.stem if short[p.stem] == 1 and p.stem else
                       without if longer[without] == 1 else path)
    return names


def split_word(stem: str) -> str:
    """The name of a file from a word for a split on, such as train, dev or val; else all of it.

    Example:
        >>> split_word("mini_libri_dev-clean-2"), split_word("my-Training"), split_word("latest")
        ('dev-clean-2', 'train', 'latest')
    """
    word = re.search(rf"(?<![^\W\d_])(?:{'|'.join(SPLIT_WORDS)})(?![^\W\d_])", stem, re.IGNORECASE)
    if not word:
        return stem
    return word[0].lower().replace("training", "train") + stem[word.end():]


def split_name(stem: str) -> str:
    """The split in the name of a shard or manifest: without numbers and signs at its edges.

    Example:
        >>> split_name("train-00000-of-00002"), split_name("dev_0"), split_name("_000")
        ('train', 'dev', 'train')
        >>> split_name("voices-train-000")
        'train'
    """
    stem = split_word(stem)
    name = re.sub(r"(?:[-_. ]*(?:\d+|of(?=[-_. ]*\d)))+$", "", stem).strip("-_. ")
    return name or "train"
