"""The options of decoders, which `asr transcribe` and `asr evaluate` share.

In: a command. Out: the same with options, which arrive as one dictionary of settings.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from asr.errors import UsageError
from asr.recipe import DecoderSettings
from asr.settings import choices_of

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

engine_option = click.option(
    "--engine", type=click.Choice(["auto", "numpy", "keras", "onnx"]),
    default="auto", help="auto is numpy, which starts quickly, or what an exported file is made "
    "for; keras uses a GPU if there is one.")
_OPTIONS = (
    click.option("--warps", type=str, metavar="FACTORS", help="Choose among these factors on the "
                 "frequency axis for each recording, such as 0.9,1.1; none: not."),
    click.option("--warp-below", type=click.FloatRange(0, 1), help="Try the warps where the plain "
                 "reading is less sure than this; 1: everywhere."),
    click.option("--max-pause", type=click.FloatRange(0, 60), metavar="SECONDS", help="How much of "
                 "a pause the network reads, half at each end of it; 0: all."),
    click.option("--decoder", type=click.Choice(choices_of(DecoderSettings, "kind")),
                 help="Another decoder than the bundle's; the options below choose beam."),
    click.option("--beam-width", type=int, help="Prefixes that the beam decoder keeps."),
    click.option("--lm", type=str, help="An n-gram language model in ARPA form."),
    click.option("--lm-weight", type=float, help="Weight of the language model."),
    click.option("--word-bonus", type=float, help="Nats a word: above 0 favours more words."),
    click.option("--lexicon-only", is_flag=True, help="Read only words of the language model, or "
                 "of the bundle's lexicon."),
    click.option("--hot-word", "hot_words", multiple=True, metavar="PHRASE[:BOOST]",
                 help="A phrase to expect; boost in nats a character. Repeatable."),
    click.option("--grammar", type=str, metavar="FILE", help="Read only sentences of this grammar, "
                 "in place of the bundle's lexicon: lines of patterns, or JSGF."),
    click.option("--words", "lexicon", type=str, metavar="FILE", help="Read only these words, any "
                 "number of them in any order: one a line."),
    click.option("--max-gap", type=float, help="Refuse recordings in which a word of the grammar's "
                 "nearest sentence fits worse, by so many nats a character, than free decoding; "
                 "3 is a start. Default: refuse none."),
)
_NBEST = click.option("--nbest", type=click.IntRange(min=1), help="Show this many readings, where "
                      "there are so many.")


def decoder_options(command: Callable | None = None, *, nbest: bool = False) -> Callable:
    """Add the options; the command gets their `DecoderSettings` knobs as `knobs`.

    Args:
        command: the function below the other options.
        nbest: with `--nbest`.
    """
    if command is None:
        return functools.partial(decoder_options, nbest=nbest)

    @functools.wraps(command)
    def wrapped(*arguments, decoder, beam_width, lm, lm_weight, word_bonus, lexicon_only, hot_words,
                grammar, lexicon, max_gap, warps, warp_below, max_pause, nbest=None, **others):
        table = {"beam_width": beam_width, "lm": lm, "lm_weight": lm_weight,
                 "word_bonus": word_bonus, "lexicon_only": lexicon_only or None,
                 "hot_words": list(hot_words) or None, "grammar": grammar, "lexicon": lexicon,
                 "max_gap": max_gap, "num_hypotheses": nbest}
        knobs = _knobs(decoder, {name: value for name, value in table.items()
                                 if value is not None})
        # These are of the features: every kind of decoder has them.
        knobs |= {} if warps is None else {"warps": factors_of(warps)}
        knobs |= {} if warp_below is None else {"warp_below": warp_below}
        knobs |= {} if max_pause is None else {"max_pause": max_pause}
        return command(*arguments, knobs=knobs, **others)

    for option in reversed((*_OPTIONS, _NBEST) if nbest else _OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _knobs(decoder: str | None, knobs: dict) -> dict:
    """The settings to change; an option without --decoder chooses the beam search, which has all.

    Raises:
        UsageError: the decoder that was named does not use an option.
        DataError: the grammar cannot be read.
    """
    wanted = [name for name in knobs if name != "word_bonus"]  # see `with_knobs`
    if decoder and wanted:
        from asr.decoding import decoder_class

        idle: list[str] = [name for name in wanted if name not in decoder_class(decoder).uses]
        if idle:
            option = {"hot_words": "hot-word", "num_hypotheses": "nbest",
                      "lexicon": "words"}.get(idle[0], idle[0])
            raise UsageError(f"--{option.replace('_', '-')} is an option of the beam decoder, not "
                             f"of {decoder}; leave out --decoder {decoder}.")
    kind = decoder or ("lexicon" if wanted == ["lexicon"] else "beam" if wanted else None)
    if "grammar" in knobs and "lexicon" in knobs:
        raise UsageError("--words and --grammar both say what may be read; give one of them.")
    if "grammar" in knobs:
        knobs |= {"grammar": grammar_text(knobs["grammar"]), "lexicon": []}
    if "lexicon" in knobs and knobs["lexicon"]:
        from asr.decoding.lexicon import read_words

        knobs |= {"lexicon": read_words(knobs["lexicon"]), "grammar": ""}
    return knobs | ({"kind": kind} if kind else {})


def factors_of(text: str) -> list[float]:
    """The numbers of `--warps`; none is the empty list.

    Raises:
        UsageError: something else.
    """
    try:
        return [] if text.strip() == "none" else [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--warps is {text[:80]!r}; expected factors such as 0.9,1.1, or "
                         "none.") from None


def with_knobs(recognizer: Recognizer, knobs: dict) -> Recognizer:
    """The recogniser with these settings; an option that would do nothing is an error.

    Raises:
        UsageError: see `Recognizer.with_decoder`, or an option whose object is missing.
    """
    if not knobs:
        return recognizer
    from asr.decoding import decoder_class
    from asr.decoding.lexicon import normalize_words

    if knobs.get("lexicon"):
        knobs = knobs | {"lexicon": normalize_words(knobs["lexicon"],
                                                    recognizer.bundle.text.normalizer)}
    other = recognizer.with_decoder(**knobs)
    settings = other.decoder_settings
    for name, idle, message in (
            ("word_bonus", "word_bonus" not in decoder_class(settings.kind).uses,
             f"--word-bonus does nothing in {settings.kind} decoding; add --decoder beam"),
            ("lm_weight", not settings.lm,
             "--lm-weight needs a language model; this bundle has none. Add --lm FILE"),
            ("warp_below", not settings.warps,
             "--warp-below needs warps; this bundle has none. Add --warps 0.9,1.1"),
            ("max_gap", not settings.grammar,
             "--max-gap needs a grammar; this bundle has none. Add --grammar FILE")):
        if name in knobs and idle:
            raise UsageError(f"{message}.")
    return other


def grammar_text(path: str) -> str:
    """The text of a grammar file, checked here, where its errors can name file and line."""
    from pathlib import Path

    from asr.decoding.grammar import read_grammar

    read_grammar(path)
    return Path(path).read_text(encoding="utf-8-sig")
