"""Values of options: a share of everything, a replacement of letters."""

from __future__ import annotations

import re

import click


class ShareType(click.ParamType):
    """A share of everything, such as 10% or 0.1."""

    name = "share"

    def convert(self, value, param, ctx) -> float:
        """0 .. 1, exclusive of 1."""
        text = str(value).strip()
        try:
            share = float(text.rstrip("% ").replace(",", ".")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            self.fail(f"{value!r} is no share; write 10% or 0.1.", param, ctx)
        return share


class Replacement(click.ParamType):
    """What to write in the place of some letters, such as ?=ʔ."""

    name = "replacement"

    def convert(self, value, param, ctx) -> tuple[str, str]:
        """(letters, what is written in their place); the first of the letters may be "="."""
        found = re.fullmatch("(.[^=]*)=(.*)", value, re.DOTALL)
        if not found:
            self.fail(f"{value!r} is no replacement; write OLD=NEW, such as '?=ʔ'.", param, ctx)
        return found[1], found[2]
