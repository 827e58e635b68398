"""The next command to type, for a person at a terminal."""

from __future__ import annotations

import shlex
import sys

# What usually follows a verb; the others say it themselves, with names.
NEXT = {
    "validate": "asr init FOLDER -o mine.toml, or asr train RECIPE RUN",
    "audit": "asr init FOLDER -o mine.toml, or asr train RECIPE RUN",
    "recipe": "asr init FOLDER -o mine.toml writes a recipe for your data",
    "lm": "asr tune MODEL DEV.jsonl --lm LM weighs a language model",
    "tune": "asr evaluate MODEL TEST.jsonl",
    "transcribe": "asr score REFERENCE HYPOTHESIS if you know what was said; asr align times it",
    "features": "asr train RECIPE RUN with the same data.cache_dir",
    "shard": "asr validate OUT/NAME.jsonl; use it as any other manifest",
    "manifest": "asr prepare LAYOUT reads such a folder back",
    "commands": "asr listen MODEL.asr, or asr tune MODEL.asr DEV.jsonl --refusal with recordings",
    "average": "asr evaluate MEAN.asr TEST.jsonl; asr tune MEAN.asr DEV.jsonl --confidence",
    "quantize": "asr evaluate SMALL.asr TEST.jsonl",
    "listen": "asr transcribe MODEL RECORDING reads a file at once",
    "serve": "docs/serving.md has clients, limits and how to run it for others",
    "align": "open the result, for example in Praat (-f textgrid) or ELAN (-f eaf)",
    "evaluate": "asr tune MODEL DEV.jsonl --lm LM lowers the error rate; --report shows each error",
    "score": "asr compare A B tells whether two systems differ",
    "compare": "asr evaluate MODEL TEST.jsonl --report PAGE.html shows each error",
    "inspect": "asr transcribe MODEL RECORDING",
    "export": "asr doctor tells what runs here; docs/deployment.md how to use the files",
    "doctor": "asr transcribe RECORDING",
}


def typed(*words: object) -> str:
    """A command, or paths, as they are typed: in quotes where there are spaces.

    Example:
        >>> typed("asr", "validate", "my data/train.jsonl")
        "asr validate 'my data/train.jsonl'"
    """
    return shlex.join(map(str, words))


def say_next(arguments: list[str]) -> None:
    """Print what usually follows the verb of a command that worked, if a person sees stderr."""
    verb = next((word for word in arguments if not word.startswith("-")), "")
    told = {"--json", "--help", "-h", "--version"} & set(arguments)
    if verb in NEXT and not told and sys.stderr.isatty():
        print(f"Next: {NEXT[verb]}", file=sys.stderr)
