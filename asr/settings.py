"""Settings as frozen dataclasses: fields with bounds and help, tables and TOML, checked.

In: a dataclass whose fields are `knob`s, a table. Out: an object of it. An unknown key, a wrong
type or an impossible number is an error with its place and a suggestion. `asr.recipe` has the
dataclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import field

from asr.errors import RecipeError, shorten


def knob(default, help, *, low=None, high=None, choices=None) -> typing.Any:  # noqa: A002
    """A dataclass field with its bounds and its one-line help."""
    return field(default=default, metadata={"help": help, "low": low, "high": high,
                                            "choices": choices})


def choices_of(settings: type, name: str) -> tuple[str, ...]:
    """What a setting may be, such as `choices_of(DecoderSettings, "kind")`."""
    (found,) = (f.metadata["choices"] for f in dataclasses.fields(settings) if f.name == name)
    return tuple(found)


def settings_from_dict(cls, table: Mapping, *, source: str, prefix: str = "", root=None):
    """One settings class from one table, every key, type and bound checked.

    Args:
        cls: a dataclass of `knob`s, or of such dataclasses.
        table: names and values.
        source: what has them, for errors.
        prefix: what precedes each name in errors, such as "train.".
        root: the class with the sections where a misspelt name is looked for too; None: cls.

    Raises:
        RecipeError: an unknown name, a wrong type, or a value out of bounds.
    """
    root = root or cls
    known = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in table.items():
        if key not in known:
            raise RecipeError(f"{source}: unknown key {prefix}{shorten(key, 200)}."
                              f"{_suggest(key, cls, prefix, root)}")
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise RecipeError(f"{source}: {prefix}{key} is a section, got {_show(value)}.")
            values[key] = settings_from_dict(hint, value, source=source, prefix=f"{prefix}{key}.",
                                             root=root)
        else:
            values[key] = _checked(value, hint, known[key], f"{source}: {prefix}{key}")
    return cls(**values)


def _checked(value, hint, spec, where: str):
    """A value of the type that the annotation names, within its bounds."""
    if isinstance(hint, types.GenericAlias):
        (item,) = {a for a in typing.get_args(hint) if a is not Ellipsis}
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{where} must be a list, got {_show(value)}.")
        return tuple(_checked(v, item, spec, where) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise RecipeError(f"{where} must be finite, got {_show(value)}.") from None
    if type(value) is not hint:
        raise RecipeError(f"{where} must be {_type_name(hint)}, got {_show(value)}.")
    if hint is float and not math.isfinite(value):
        raise RecipeError(f"{where} must be finite, got {_show(value)}.")
    low, high, choices = (spec.metadata[k] for k in ("low", "high", "choices"))
    if choices is not None and value not in choices:
        raise RecipeError(f"{where} must be one of {', '.join(map(repr, choices))}, "
                          f"got {_show(value)}.")
    if (low is not None and value < low) or (high is not None and value > high):
        raise RecipeError(f"{where} must be between {low:_} and {high:_}, got {_show(value)}.")
    return value


def _show(value: object) -> str:
    """A short form of what was given: it may have a megabyte."""
    if isinstance(value, int) and value.bit_length() > 1_000:  # too long to be spelled out
        return f"a number of about {round(value.bit_length() * math.log10(2)):,} digits"
    if isinstance(value, bool):
        return to_toml(value)
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # such a number, deep inside
        text = f"a {type(value).__name__}"
    return shorten(text, 200)


def _type_name(hint) -> str:
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[hint]


def _suggest(key: str, cls, prefix: str, root) -> str:
    """ Did you mean ...? Looks at this section first, then at every other."""
    names = [prefix + f.name for f in dataclasses.fields(cls)]
    for section in dataclasses.fields(root):
        if section.default_factory is not dataclasses.MISSING:
            names += [f"{section.name}.{f.name}"
                      for f in dataclasses.fields(typing.cast(type, section.default_factory))]
    close = difflib.get_close_matches(prefix + key, names, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def apply_override(table: dict, override: str) -> None:
    """Put `section.key=value` into a table; the value is TOML, or a bare word."""
    name, separator, text = override.partition("=")
    parts = name.strip().split(".")
    if not separator or not all(parts) or len(parts) > 2:
        raise RecipeError(f"--set {_show(override)}: write section.key=value, for example "
                          "train.epochs=5.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"--set {name}: the value is not TOML: "
                          f"{why_not_toml(error)}.") from error
    target = table
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise RecipeError(f"--set {_show(override)}: {part} is not a section.")
    target[parts[-1]] = value


def why_not_toml(error: Exception) -> str:
    """The end of a sentence about text that tomllib does not read."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a number is too long"


def to_toml(value) -> str:
    """A value of a recipe as TOML; a list for a tuple."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, str):
        # JSON strings are TOML strings, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
