"""Code, recipes and model cards avoid the words that CONTRIBUTING.md lists."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest
from test_docs import AVOIDED, ROOT

FILES = sorted(path.relative_to(ROOT).as_posix()
               for folder in ("asr", "benchmarks", "notebooks", "recipes")
               for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in
               (*(ROOT / "recipes").rglob("*.toml"), *(ROOT / "recipes").rglob("*.md"),
                *ROOT.glob("models/*.md"), *ROOT.glob("asr/assets/*.md")))
OLD_STYLE = re.compile(r"\b(stands?|stood|anew|who(?:m)?ever|shall|nobody|somebody)\b",
                       re.IGNORECASE)
# "seed: of the bootstrap." and "Of the bootstrap.": the noun is missing.
DETACHED = re.compile(r"^\s*(?:[a-z_][a-z_, ]*: of|Of) (?:the|an?|its|each|every|that|this)\b",
                      re.MULTILINE)
WORDS_AS_DATA = {"asr/text/english.py"}  # "shan't"


def prose_of(source: str) -> tuple[list[str], list[str]]:
    """(docstrings and comments, all other strings) of a module."""
    tree = ast.parse(source)
    told = [ast.get_docstring(node, clean=False) or "" for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    told += [token.string.lstrip("# ") for token in
             tokenize.generate_tokens(io.StringIO(source).readline)
             if token.type == tokenize.COMMENT]
    strings = [node.value for node in ast.walk(tree)
               if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return told, strings


def faults(source: str) -> set[str]:
    told, strings = prose_of(source)
    found = {match[0] for text in told for match in AVOIDED.finditer(re.sub("`[^`]*`", " ", text))}
    found |= {match[0] for text in strings for match in OLD_STYLE.finditer(text)}
    return found | {match[0].strip() for text in (*told, *strings)
                    for match in DETACHED.finditer(text)}


@pytest.mark.parametrize("name", FILES)
def test_plain_words(name):
    if name in WORDS_AS_DATA:
        pytest.skip("words as data")
    assert not faults((ROOT / name).read_text("utf-8")), f"{name}: see CONTRIBUTING.md"


@pytest.mark.parametrize("name", PAGES)
def test_recipes_and_model_cards(name):
    prose = re.sub("`[^`]*`", " ", (ROOT / name).read_text("utf-8"))
    assert not AVOIDED.findall(prose), f"{name}: see CONTRIBUTING.md"


def test_the_check_can_fail():
    source = '''
def f():
    """What stands here.

    Args:
        seed: of the bootstrap.
    """
    raise ValueError("whoever")  # heard anew
'''
    assert faults(source) == {"anew", "heard", "seed: of the", "stands", "whoever"}
    assert not faults('x = 1  # plain\n"""Width of the beam."""\n')
    assert Path(ROOT / "CONTRIBUTING.md").read_text("utf-8").count("detached genitive") == 1
