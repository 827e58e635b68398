"""One conformance suite for every page in recipes/, and no knob that nothing reads."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from pathlib import Path

import pytest

from asr.errors import RecipeError
from asr.recipe import Recipe, dump_recipe, load_recipe, recipe_from_dict, recipe_to_dict

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "recipes").glob("*.toml"))
HEADER = {  # what a reader wants to know before an hour is spent
    "the machine": r"\bcores?\b|\bCPU\b|\bGPU\b",
    "minutes": r"\d[\d.,]*\s*(min|minutes?|h|hours?|s|seconds?)\b",
    "peak memory": r"\d[\d.,]*\s*(MB|GB|MiB|GiB)\b",
    "the measured result": r"\bWER\b.*\d|\d.*\bWER\b",
}
SECTIONS = {f.name: f.default_factory for f in dataclasses.fields(Recipe)
            if f.default_factory is not dataclasses.MISSING}
KNOBS = [(section, f.name) for section, settings in SECTIONS.items()
         for f in dataclasses.fields(settings)]


def header(page: Path) -> list[str]:
    """The comment lines at the top, without "# "."""
    lines = []
    for line in page.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return lines


@functools.cache
def names_read(path: Path) -> set[str]:
    """Every attribute that a module reads, however it is called."""
    return {node.attr for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Attribute)}


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request) -> Path:
    return request.param


def test_there_are_recipes():
    assert {"tones", "digits", "read_english"} <= {page.stem for page in PAGES}


def test_loads_and_comes_back_the_same(page, tmp_path):
    recipe = load_recipe(page)
    copy = tmp_path / "recipe.toml"
    copy.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(copy) == recipe
    assert recipe_from_dict(recipe_to_dict(recipe)) == recipe


def test_the_header_says_what_and_how(page):
    title, *rest = header(page)
    assert len(title) > 20
    assert title[0].isupper()
    commands = [line for line in rest if line.startswith("asr train ")]
    assert commands, f"{page.name}: no line with the command"
    assert any(f"recipes/{page.name} runs/" in command for command in commands)


@pytest.mark.parametrize("what", HEADER)
def test_the_header_has_the_figures(page, what):
    text = "\n".join(header(page)[1:])
    assert re.search(HEADER[what], text), f"{page.name}: the header does not say {what}"


def test_fits_on_a_page(page):
    lines = page.read_text("utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100


def test_numbers_have_units(page):
    """Hertz, samples, seconds, decibels: a bare number of those is a guess."""
    for line in page.read_text("utf-8").splitlines():
        if re.match(r"(sample_rate|win_length|hop_length)\s*=", line):
            assert "#" in line, f"{page.name}: {line!r} has no unit"


@pytest.mark.parametrize(("section", "knob"), KNOBS)
def test_every_knob_is_read_somewhere(section, knob):
    readers = [path for path in (ROOT / "asr").rglob("*.py")
               if path.name != "recipe.py" and knob in names_read(path)]
    assert readers, f"nothing in asr/ reads {section}.{knob}"


@pytest.mark.parametrize(("section", "knob"), KNOBS)
def test_every_knob_explains_itself(section, knob):
    (spec,) = [f for f in dataclasses.fields(SECTIONS[section]) if f.name == knob]
    assert len(spec.metadata["help"]) > 1
    if spec.type in ("int", "float"):
        assert spec.metadata["low"] is not None
        assert spec.metadata["high"] is not None


@pytest.mark.parametrize(("section", "knob"), KNOBS)
def test_a_slip_of_the_finger_is_an_error_with_a_suggestion(section, knob):
    typo = knob[:-1] if len(knob) > 3 else knob + knob[-1]
    if (section, typo) in KNOBS:
        pytest.skip("is a knob of its own")
    with pytest.raises(RecipeError, match=rf"unknown key {section}\.{typo}\. Did you mean "):
        recipe_from_dict({section: {typo: 1}})


def test_the_check_of_readers_can_fail(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("def f(recipe):\n    return recipe.train.epochs\n")
    assert names_read(module) == {"train", "epochs"}
