"""The option `--channel`: left, right, a number, mix or each."""

from __future__ import annotations

import click

CHANNELS = {"mix": 0, "left": 1, "right": 2, "each": -1}


class Channel(click.ParamType):
    """left, right, a number from 1 on, mix or each."""

    name = "channel"

    def convert(self, value, param, ctx) -> int:
        """0 is the mix, -1 is each."""
        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        if text in CHANNELS:
            return CHANNELS[text]
        if text not in set("12345678"):
            self.fail(f"{value!r} is no channel; write left, right, 1 .. 8, mix or each.", param,
                      ctx)
        return int(text)
