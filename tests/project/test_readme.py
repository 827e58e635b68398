"""What README, docs/, the help texts and the recipes say is executed, or at least exists.

Every `sh` and `python` block of README.md and docs/*.md runs once, in a folder that looks like a
clone, or has `<!-- not run: reason -->` directly above it. The block of docs/keras.md that
notebooks/03_your_own_network.ipynb runs is executed by .ci/legs, with all notebooks
(test_notebooks.py).
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pytest
import soundfile
from tiny_bundle import write_bundle

import asr.bundle.find
from asr import errors
from asr.cli import VERBS, cli, run
from asr.corpora.tones import WORDS, generate
from asr.manifest import read_manifest
from asr.recognizer import load
from asr.training.run_directory import read_log

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = ["README.md", *(f"docs/{name}" for name in re.findall(  # in the order of the site
    r"^  - [^:\n]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))]
PAGES = {name: (ROOT / name).read_text("utf-8") for name in (*DOCUMENTS, "CONTRIBUTING.md")}
QUICK = {  # as documented, shorter: few epochs, features once and in this process
    "train": [f"--set={setting}" for setting in ("train.epochs=2", "data.num_workers=1",
                                                 "data.cache_dir=features")],
    "doctor": ["--no-timing"]}
DIGITS = "zero one two three four five six seven eight nine".split()


class Block(NamedTuple):
    """A fenced block: page and line of the fence, language, content, and why it is not run."""

    page: str
    line: int
    language: str
    content: str
    not_run: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, text: str | None = None) -> list[Block]:
    text = PAGES[page] if text is None else text
    return [Block(page, text.count("\n", 0, match.start(2)) + 1, match[2], match[3], match[1] or "")
            for match in re.finditer(r"(?:^<!-- not run: ([^\n]+?) -->\n)?^```(\w+)\n(.*?)^```",
                                     text, re.DOTALL | re.MULTILINE)]


LANGUAGES = ("sh", "python", "toml", "json", "text", "console")  # the first two are executed
BLOCKS = [block for page in DOCUMENTS for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python" and not block.not_run]
TRAINING = [block for block in PYTHON if "asr.train(" in block.content]
SHELL = [block for block in BLOCKS if block.language == "sh" and not block.not_run]


def commands(text: str, verb: str = "asr") -> list[list[str]]:
    """Lines that begin with the command, at the start of a line or of a comment.

    A backslash at the end of a line joins the next one.
    """
    text = re.sub(r"\\\n[ \t]*#?[ \t]*", " ", text)
    found = re.findall(rf"^[ \t]*(?:#[ \t]*)?(?:\.venv/bin/|\$\(BIN\)/)?({verb} [^\n]*)", text,
                       re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found]


def check_command(argv: list[str]) -> None:
    """The verb and every option exist; values of a choice are among them."""
    command, arguments = cli, argv[1:]
    context = click.Context(cli, info_name="asr")
    while isinstance(command, click.Group):
        while arguments[0] in ("--debug", "--help", "--version"):
            arguments = arguments[1:]
            if not arguments:
                return
        name, *arguments = arguments
        command = command.get_command(context, name)
        assert command is not None, f"there is no {' '.join(argv[:-len(arguments) or None])}"
    if arguments != ["--help"]:
        command.make_context(argv[1], list(arguments))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder that looks like a clone to the documented commands, with small data."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    shutil.copytree(ROOT / "asr/assets", folder / "asr/assets")
    rng = np.random.default_rng(5)

    def noise(path: Path, seconds: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.normal(size=int(8_000 * seconds)), 8_000)

    noise(folder / "talk.wav", 1.0)
    for digit in range(10):
        for take in (0, 7):
            noise(folder / f"corpora/fsdd/recordings/{digit}_anna_{take}.wav", 0.6)
    for fold in (1, 5):
        noise(folder / f"corpora/noise-esc10/{fold}-rain.wav", 2.0)
    (folder / "names.txt").write_text("la\nre do\n")
    (folder / "commands.txt").write_text("four two <d> nine\n<d> = zero | six\n")
    (folder / "words.txt").write_text("four\ntwo\nnine\n")
    (folder / "recordings/wavs").mkdir(parents=True)  # of the guide
    made = generate(folder / "made", num_train=60, num_valid=1, num_test=1)["train"]
    for u in made:
        shutil.copy(u.audio, folder / f"recordings/wavs/{u.id}.wav")
    (folder / "recordings/metadata.csv").write_text("".join(f"{u.id}|{u.text}\n" for u in made))
    for block in BLOCKS:
        if block.language == "toml" and (name := re.match(r"# (\w+\.toml)\n", block.content)):
            (folder / name[1]).write_text(block.content)
    (folder / "reference.txt").write_text("one two three\nfour five\n")
    (folder / "hypothesis.txt").write_text("one too three\nfour five\n")
    (folder / "second.txt").write_text("one two three\nfour five\n")  # of docs/scoring.md
    (folder / "third.txt").write_text("one two\nfour nine\n")
    (folder / "words.txt").write_text("two\nfive\n")
    (folder / "table.csv").write_text("id,noise\n1,cafe\n2,none\n")
    return folder


@pytest.fixture
def clone(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    if not asr.bundle.find.SHIPPED.is_file():
        monkeypatch.setattr(asr.bundle.find, "SHIPPED", write_bundle(project / "tiny.asr"))
    return project


# -- Python


def printed_and_promised(block: str) -> list[tuple[str, str]]:
    """What each print of a block wrote, and what the comment behind it says; "" without one."""
    promised = [(match[1] or "").strip() for match in
                re.finditer(r"^print\(.*?\)\s*(?:#\s*(.*))?$", block, re.MULTILINE)]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(block, "README.md", "exec"), {"__name__": "__readme__"})  # noqa: S102
    lines = out.getvalue().splitlines()
    return list(zip(lines, promised, strict=False))


def check_run_of_tones(run: Path) -> None:
    """The tones are learnt, the bundle reads as training validated, and every file is there."""
    log = [record for record in read_log(run) if record["event"] == "epoch"]
    assert min(record["wer"] for record in log) == 0.0
    assert not any(record["coach"].startswith("labels") for record in log)
    recognizer = load(run)
    for row in read_manifest(run / "tones/valid.jsonl")[:10]:
        assert recognizer.transcribe(row.audio).text == row.text
    for name in ("recipe.toml", "versions.json", "log.jsonl", "excluded.jsonl", "best.asr",
                 "checkpoints/last/checkpoint", "checkpoints/best/checkpoint", "tensorboard"):
        assert (run / name).exists(), name


@pytest.mark.tf
def test_python_usage(clone):
    """Trains recipes/tones.toml to the end, the only test that does."""
    (training,) = TRAINING
    assert len([line for line in training.content.splitlines() if line.strip()]) <= 15
    (digits, _), (wer, promised), (tones, words) = printed_and_promised(training.content)
    assert set(digits.split()) <= set(DIGITS) or not (ROOT / "asr/assets/digits.asr").exists()
    assert promised.startswith("WER 0.00 %")
    assert wer.startswith("WER ")
    assert float(wer.split()[1]) < 5.0  # other machines round differently
    assert set(words.split()) <= set(WORDS)
    assert len(set(tones.split()) ^ set(words.split())) <= 2
    check_run_of_tones(clone / "runs/first")


@pytest.mark.parametrize("block", [block for block in PYTHON if block not in TRAINING],
                         ids=lambda block: block.place)
def test_python_blocks_print_what_they_promise(clone, block):
    results = printed_and_promised(block.content)
    assert any(promised for _, promised in results)
    for line, promised in results:
        assert not promised or line == promised


# -- the command line


@pytest.mark.tf
def test_shell_commands(clone, capsys, brief_certificate):
    """All pages in their order: a page may use what a page before it made. Each line runs once."""
    done = []
    for block in SHELL:
        argvs = commands(block.content)
        lines = [line for line in re.sub(r"\\\n", " ", block.content).splitlines() if line.strip()]
        assert len(argvs) == len(lines), \
            f"{block.place}: a line is no command of ours; mark the block <!-- not run: reason -->"
        for argv in argvs:
            check_command(argv)
            if argv in done:
                continue
            done.append(argv)
            code = run(argv[1:] + QUICK.get(argv[1], []))
            captured = capsys.readouterr()
            # These two judge the data, and the data here is noise.
            allowed = (0, errors.EXIT_DATA) if argv[1] in ("validate", "audit") else (0,)
            assert code in allowed, \
                f"{block.place}: {shlex.join(argv)}: exit code {code}, {captured.err}"
    assert (clone / "out/talk.srt").is_file()
    assert (clone / "transcripts/train-0000.json").is_file()
    assert "WER" in (clone / "tones.html").read_text("utf-8")


def test_every_verb_is_documented():
    shown = {argv[1] for block in BLOCKS if block.language == "sh"
             for argv in commands(block.content)}
    assert shown == set(VERBS), "a verb that README and docs/ do not show"


def test_blocks_that_are_not_run_say_why():
    for page in PAGES:
        for block in blocks(page):
            assert block.language in LANGUAGES, block.place
            assert not block.not_run or len(block.not_run) > 8, block.place
    first, second = blocks("README.md", "<!-- not run: needs a network -->\n```sh\na\n```\n\n"
                                        "```python\nb\n```\n")
    assert (first.line, first.not_run) == (2, "needs a network")
    assert (second.line, second.not_run, second.content) == (6, "", "b\n")


def test_make_and_pip_lines_of_the_readme():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for page, text in PAGES.items():
        shell = "\n".join(b.content for b in blocks(page) if b.language == "sh")
        for target in re.findall(r"\bmake ([a-z]+)\b(?=[`\s])", shell):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"
        for extra in re.findall(r"\[([a-z]+)\]\"", text):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"no extra {extra}"


SOURCES = {**PAGES, "Makefile": (ROOT / "Makefile").read_text("utf-8"),
           **{path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in
              (*sorted((ROOT / "recipes").glob("*.toml")), *sorted((ROOT / "asr").rglob("*.md")),
               *sorted((ROOT / "asr/cli").glob("*.py")))}}
INLINE = {name: [shlex.split(line) for line in re.findall(r"`(asr [a-z][^`…]*?)`", text)
                 if "..." not in line and not re.search(r"\b[A-Z]{3,}\b", line)]
          for name, text in SOURCES.items()}


@pytest.mark.parametrize("name", [n for n, text in SOURCES.items() if commands(text)])
def test_documented_commands_exist(name):
    for argv in commands(SOURCES[name]):
        if argv[1] not in ("is", "has") and argv[1].islower() and "=" not in argv[1]:
            check_command(argv)


@pytest.mark.parametrize("name", [n for n, found in INLINE.items() if found])
def test_verbs_named_in_passing_exist(name):
    for argv in INLINE[name]:
        if argv[1].islower():
            assert argv[1] in VERBS, shlex.join(argv)


def test_help_is_laid_out():
    """A raw docstring shows click's backspace to the reader."""
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        for each in (command, *getattr(command, "commands", {}).values()):
            text = each.get_help(click.Context(each))
            assert "\\b" not in text
            assert all(len(line) <= 80 or line.startswith("    asr ") for line in
                       text.splitlines()), verb


@pytest.mark.parametrize("line", [f"{verb} --nonsense" for verb in VERBS] + ["transcripe a.wav"])
def test_the_check_of_commands_can_fail(line):
    with pytest.raises((AssertionError, click.UsageError)):
        check_command(["asr", *line.split()])


def test_benchmark_commands_exist():
    found = [argv for text in (*PAGES.values(), *(path.read_text("utf-8") for path in
                                                  sorted((ROOT / "benchmarks").glob("*.py"))))
             for argv in commands(re.sub("`(python [^`]*)`", r"\n\1\n", text), "python")
             if argv[1].startswith("benchmarks/")]
    assert found
    for argv in found:
        source = (ROOT / argv[1]).read_text("utf-8")
        for option in argv[2:]:
            if option.startswith("--"):
                assert f'"{option.rstrip("`,|")}"' in source, f"{argv[1]} has no {option}"


# -- the file map, links, tables


def file_map() -> list[str]:
    section = README.split("## Files")[1].split("## ")[0]
    return [path for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
            for path in re.findall(r"`([^`]+)`", row)]


def test_the_files_of_the_map_exist():
    for path in file_map():
        assert list(ROOT.glob(path)), f"the README lists {path}"


def test_every_room_is_on_the_map():
    listed = {found for pattern in file_map() for found in ROOT.glob(pattern)}
    rooms = {path for path in (ROOT / "asr").iterdir()
             if path.suffix == ".py" or (path / "__init__.py").exists()}
    missing = {path.relative_to(ROOT).as_posix() for path in rooms - listed} - {"asr/__main__.py"}
    assert not missing


GENERATED = ("docs/export.md", "digits.html")  # docs/live_example.py makes it


def test_relative_links_lead_somewhere():
    for name, text in PAGES.items():
        for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", text):
            if (name, target) != GENERATED:
                assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("hooks", [True, False])
def test_the_site_has_the_page_that_it_links(tmp_path, hooks):
    """The hook of mkdocs.yml adds it; without, `mkdocs build --strict` refuses the link."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    page, name = GENERATED
    assert f"]({name})" in PAGES[page]
    settings = (ROOT / "mkdocs.yml").read_text("utf-8")
    hook = re.findall(r"^hooks:\n  - (\S+)", settings, re.MULTILINE)[0]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"[a page]({name})\n")
    (tmp_path / "mkdocs.yml").write_text(
        "site_name: a\n" + (f"hooks: [{ROOT / hook}]\n" if hooks else "")
        + settings[settings.index("validation:"):settings.index("nav:\n  -")])
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict"],
                          cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == hooks, done.stderr
    if hooks:
        assert "Speech to text: digits" in (tmp_path / "site" / name).read_text("utf-8")


def test_the_exit_codes_are_those_of_the_code():
    section = PAGES["docs/deployment.md"].split("| exit code |")[1].split("\n\n")[0]
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE)
              for code in row.split(",")}
    assert listed == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


def test_one_spelling():
    """British in prose, as the code writes it; names of the API keep theirs."""
    american = r"\b(normaliz|recogniz|optimiz|synthesiz|licens|color|behavior|center)\w*"
    for name, text in PAGES.items():
        prose = re.sub(r"```.*?```|`[^`]*`|https?://\S+|\[[^\]]*\]\([^)]*\)|<[^>]*>|::: \S+", " ",
                       text, flags=re.DOTALL)
        wrong = {match[0] for match in re.finditer(american, prose, re.IGNORECASE)}
        assert not wrong - {"License"}, f"{name}: {wrong}"


def test_no_machine_of_ours_is_named():
    names = re.compile(r"/work/|/root/|/home/[a-z]")
    files = [ROOT / name for name in (*PAGES, "CHANGELOG.md", "Makefile", "constraints.txt",
                                      "pyproject.toml", ".ci/run")]
    for path in (*files, *(ROOT / "recipes").glob("*.toml"), *(ROOT / "asr").rglob("*.py")):
        assert not names.search(path.read_text("utf-8")), path
