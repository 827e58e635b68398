"""JSON from somebody else: what the standard says and no more.

In: text. Out: a value of the standard library's `json`. Floor 0. Python's reader takes NaN,
Infinity and a key that stands twice (the last one wins, in silence), and lets nesting overflow its
stack; a manifest, a score or a bundle with one of those is not what its writer meant.
"""

from __future__ import annotations

import json

LONGEST_KEY = 80  # characters of a key that are shown


class StrictJsonError(ValueError):
    """Not JSON; the message is the reason, without file and line, which the caller knows."""


def parse_json(text: str, *, surrogates: bool = False) -> object:
    """The value of a JSON text.

    Args:
        text: one value.
        surrogates: let escapes of half a surrogate pair pass: Python writes the bytes of a file
            name that are not UTF-8 so.

    Raises:
        StrictJsonError: not JSON, NaN or Infinity, a key that stands twice in one object, half of
            a surrogate pair, or nesting too deep for Python's stack.

    Example:
        >>> parse_json('{"id": "a", "duration": 1.5}')
        {'id': 'a', 'duration': 1.5}
        >>> parse_json('{"id": "a", "id": "b"}')
        Traceback (most recent call last):
        asr.strict_json.StrictJsonError: the key 'id' stands twice
    """
    try:
        value = _DECODER.decode(text)
        if not surrogates and "\\ud" in text.lower():  # an escape may be half of a surrogate pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise StrictJsonError("it is nested too deeply") from None
    except ValueError as error:
        raise StrictJsonError(str(error)) from None
    return value


def _pairs(pairs: list[tuple[str, object]]) -> dict:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = ascii(next(key for key in keys if keys.count(key) > 1))
        raise ValueError(f"the key {repeated[:LONGEST_KEY]} stands twice")
    return table


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)
