"""Outputs that only go to this machine: an address is refused, and no folder s3: is made."""

from __future__ import annotations

import importlib

import click
import pytest

from asr.cli import VERBS, run
from asr.cli.output_paths import PLACE, Output
from asr.corpora import CORPORA
from asr.errors import EXIT_USAGE

# Paths that are read; any other path of a command is an output.
READ = {"bundle", "manifests", "lm_path", "words_path", "grammar", "audio_root", "reference",
        "hypothesis", "speakers", "audio", "diff", "focus", "data", "columns", "verify", "words",
        "recordings", "noise", "other_words", "base", "manifest", "recipe", "against", "src",
        "texts", "model", "kokoro", "path", "token_file", "systems", "runs"}


def commands() -> dict[str, click.Command]:
    found = {}
    for verb, (module, _) in VERBS.items():
        command = getattr(importlib.import_module(module), verb)
        found[verb] = command
        if isinstance(command, click.Group):
            names = command.list_commands(click.Context(command))
            found |= {f"{verb} {name}": command.get_command(click.Context(command), name)
                      for name in (names if verb != "prepare" else ["folder", "voices"])}
    return found


def test_every_path_is_read_or_refuses_addresses():
    assert "folder" in CORPORA
    outputs, far = 0, set()
    for name, command in commands().items():
        for parameter in command.params:
            if isinstance(parameter.type, click.Path) and parameter.name not in READ:
                if parameter.type is PLACE:
                    far.add(name)
                else:
                    assert isinstance(parameter.type, Output), f"asr {name}: {parameter.name}"
                outputs += 1
    assert outputs >= 25
    assert far == {"align", "evaluate", "features"}


@pytest.mark.parametrize("arguments, name", [
    (["evaluate", "a.asr", "a.jsonl", "--report", "s3://b/x.html"], "--report"),
    (["compare", "a.jsonl", "b.jsonl", "--report", "https://user:word@h/x?key=word"], "--report"),
    (["shard", "a.jsonl", "gs://b/x"], "OUT"),
    (["train", "a.toml", "s3://b/x"], "RUN_DIR"),
    (["manifest", "export", "a.jsonl", "s3://b/x", "--to", "nemo"], "OUT"),
    (["prepare", "folder", "in", "s3://b/x"], "OUT"),
])
def test_an_address_is_refused_before_any_work(arguments, name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name}: got an address (" in line and "word" not in line
    assert not list(tmp_path.iterdir())


def test_a_cache_at_an_address_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text('[data]\ncache_dir = "s3://b/cache"\ngenerate = "tones"\n')
    assert run(["features", "a.toml"]) != 0
    assert "data.cache_dir must be a folder, not an address" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.toml"]
