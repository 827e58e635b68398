"""Options of `asr score` and `asr compare`: how files of texts are read."""

from __future__ import annotations

import click

FORMATS = ("auto", "plain", "kaldi", "trn", "jsonl", "stm", "ctm")
non_speech_option = click.option(
    "--non-speech", type=click.Choice(("words", "drop")), default="words", show_default=True,
    help="Whether [laughter], <unk> and (noise) are words.")
units_option = click.option(
    "--units", type=click.Choice(("words", "mixed", "characters")), default="words",
    show_default=True,
    help="mixed: each character beyond ASCII is a word of its own (sclite -c NOASCII), for Chinese "
    "with English words. characters: each character is (sclite -c).")
