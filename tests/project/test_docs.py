"""README.md and docs/: short, complete, and true about files, rooms, contracts and names."""

from __future__ import annotations

import importlib.util
import re

import pytest
from test_architecture import FLOORS
from test_readme import DOCUMENTS, PAGES, ROOT

import asr

ARCHITECTURE = PAGES["docs/architecture.md"]
# Files of this repository; what begins with runs/ or data/ belongs to the reader.
PATH = re.compile(r"(?<![\w/.~-])((?:asr|recipes|benchmarks|tests|notebooks|docs)/[\w./*-]*[\w*/])")
TOP_LEVEL = re.compile(r"`((?:[A-Z]+\.md|Makefile|mkdocs\.yml|pyproject\.toml|constraints\.txt))`")
AVOIDED = re.compile(r"\b(stands?|anew|who(?:m)?ever|shall|nobody|hears?|heard)\b", re.IGNORECASE)


def test_readme_is_short():
    lines = PAGES["README.md"].splitlines()
    assert len(lines) <= 150
    results = PAGES["README.md"].split("## Results")[1].split("## ")[0]
    rows = re.findall(r"^\|(?! task|--).*\|$", results, re.MULTILINE)
    assert 1 <= len(rows) <= 10


def test_every_page_is_on_the_site():
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages == set(DOCUMENTS) - {"README.md"}


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page):
    text = re.sub(r"https?://\S+", "", PAGES[page])
    for name in (*PATH.findall(text), *TOP_LEVEL.findall(text)):
        assert list(ROOT.glob(name.rstrip("/"))), f"{page} names {name}"


@pytest.mark.parametrize("page", DOCUMENTS)
def test_plain_words(page):
    prose = re.sub(r"```.*?```|`[^`]*`|https?://\S+", " ", PAGES[page], flags=re.DOTALL)
    assert not AVOIDED.findall(prose), f"{page}: see CONTRIBUTING.md"


def marked(name: str) -> str:
    """The text block of docs/architecture.md below a comment."""
    return re.search(rf"<!-- {name} -->\n```text\n(.*?)```", ARCHITECTURE, re.DOTALL)[1]


def test_the_picture_of_the_rooms_is_the_table_of_the_tests():
    drawn = {int(match[1]): set(re.split(r" {2,}", match[2].strip())[:-1]) for match in
             re.finditer(r"^(\d)  (.*)$", marked("floors"), re.MULTILINE)}
    assert drawn == {floor: set(names.split()) for floor, names in FLOORS.items()}, \
        "draw the rooms in docs/architecture.md as FLOORS of test_architecture.py has them"


def test_every_room_is_described():
    rooms = ARCHITECTURE.split("| room | content |")[1].split("\n\n")[0]
    listed = set(re.findall(r"`asr/(\w+)(?:\.py|/)`", rooms))
    assert listed - {"assets"} == set(" ".join(FLOORS.values()).split()) - {"__init__", "__main__"}


def test_the_contract_is_the_one_of_the_code():
    source = (ROOT / "asr/data/pipeline.py").read_text("utf-8")
    for line in marked("contract").splitlines():
        assert line in source, line


def test_the_names_beside_files_are_in_these_files():
    """`path`, `name`: the walks and the table of changes say where a name is defined or used."""
    found = [(path, name) for path, name in
             re.findall(r"`(asr/[\w/]+\.py)`,\s+`(\w+)`", ARCHITECTURE)]
    found += [(path, name) for name, path in
              re.findall(r"`([\w.]+)`\s+of\s+`(asr/[\w/]+\.py)`", ARCHITECTURE)]
    assert len(found) > 25
    for path, name in found:
        source = (ROOT / path).read_text("utf-8")
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", source), f"docs/architecture.md: {name} of {path}"


@pytest.mark.parametrize(("number", "most"), [(1, 10), (2, 5)])
def test_a_walk_has_few_stops(number, most):
    walk = ARCHITECTURE.split(f"## Walk {number}")[1].split("\n## ")[0]
    assert 3 < len(re.findall(r"^\d+\. `asr/", walk, re.MULTILINE)) <= most


def test_the_api_page_names_what_exists():
    names = re.findall(r"^::: (\S+)$", PAGES["docs/api.md"], re.MULTILINE)
    assert {name.rsplit(".", 1)[-1] for name in names} >= set(asr.__all__) - {
        "__version__", "AsrError"}
    for name in names:
        module, attribute = name, ""
        while True:
            try:
                spec = importlib.util.find_spec(module)
            except ModuleNotFoundError:
                spec = None
            if spec is not None:
                break
            module, _, attribute = module.rpartition(".")
            assert module, name
        if attribute:
            with open(spec.origin, encoding="utf-8") as file:
                assert re.search(rf"^(?:def|class) {attribute}\b", file.read(), re.MULTILINE) or \
                    re.search(rf"\b{attribute}\b", name), name
