"""What is said of inputs that are used all the same: one sentence, and a count where it repeats.

In: warnings. Out: lines on stderr, without the line of code that said it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from asr.errors import InputWarning, shorten

SHOWN = 3  # of one kind; the others are counted
REMEMBERED = 100_000  # sentences, so that none is counted twice


@contextmanager
def warnings_as_notices(show: Callable[[str], None], *, count_equal: bool = False
                        ) -> Iterator[None]:
    """Show warnings about inputs as sentences, the first `SHOWN` of each kind; count the others.

    Args:
        show: writes one line.
        count_equal: an equal sentence is another input, such as an upload without a name; False:
            it is the same recording, read again.
    """
    counts: Counter[str] = Counter()
    said: set[int] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        shown = warnings.showwarning

        def notice(message, category, *place, **more) -> None:
            if not issubclass(category, UserWarning):
                shown(message, category, *place, **more)
                return
            kind = message.code if isinstance(message, InputWarning) else str(message)
            sentence = hash((kind, str(message)))
            if isinstance(message, InputWarning) and sentence in said and not count_equal:
                return
            if len(said) < REMEMBERED:
                said.add(sentence)
            counts[kind] += 1
            if counts[kind] <= SHOWN:
                show(f"Warning: {shorten(str(message))}")

        warnings.showwarning = notice
        try:
            yield
        finally:
            for kind, count in counts.items():
                if count > SHOWN:
                    show(f"Warning: {count - SHOWN:,} more of the same kind ({shorten(kind)}); "
                         f"{count:,} in all.")
