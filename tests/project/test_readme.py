"""What the README, the help texts and the recipes say is executed, or at least exists."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from tiny_bundle import write_bundle

import asr.bundle.find
from asr import errors
from asr.cli import VERBS, cli, run
from asr.corpora.tones import WORDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {name: (ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md")}
QUICK = {"train": ["--set", "train.epochs=2"], "doctor": ["--no-timing"]}  # as documented, shorter
ELSEWHERE = ("download",)  # needs a network; tests/test_download.py has a server of its own
DIGITS = "zero one two three four five six seven eight nine".split()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


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
    (folder / "names.txt").write_text("la\nre do\n")
    (folder / "commands.txt").write_text("four two <d> nine\n<d> = zero | six\n")
    (folder / "reference.txt").write_text("one two three\nfour five\n")
    (folder / "hypothesis.txt").write_text("one too three\nfour five\n")
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


@pytest.mark.tf
def test_python_usage(clone):
    training, *_ = blocks("python")
    assert "asr.train(" in training
    assert len([line for line in training.splitlines() if line.strip()]) <= 15
    (digits, _), (wer, promised), (tones, words) = printed_and_promised(training)
    assert set(digits.split()) <= set(DIGITS) or not (ROOT / "asr/assets/digits.asr").exists()
    assert promised.startswith("WER 0.00 %")
    assert wer.startswith("WER ")
    assert float(wer.split()[1]) < 5.0  # other machines round differently
    assert set(words.split()) <= set(WORDS)
    assert len(set(tones.split()) ^ set(words.split())) <= 2


@pytest.mark.parametrize("block", blocks("python")[1:], ids=lambda block: block.split("\n")[2][:20])
def test_python_blocks_print_what_they_promise(clone, block):
    results = printed_and_promised(block)
    assert any(promised for _, promised in results)
    for line, promised in results:
        assert not promised or line == promised


# -- the command line


@pytest.mark.tf
def test_shell_commands(clone, capsys):
    documented = [argv for block in blocks("sh") for argv in commands(block)]
    assert {argv[1] for argv in documented} == set(VERBS), "a verb that the README does not show"
    for argv in documented:
        check_command(argv)
        if argv[1] in ELSEWHERE:
            continue
        code = run(argv[1:] + QUICK.get(argv[1], []))
        captured = capsys.readouterr()
        # These two judge the data, and the data here is noise.
        allowed = (0, errors.EXIT_DATA) if argv[1] in ("validate", "audit") else (0,)
        assert code in allowed, f"{shlex.join(argv)}: exit code {code}, {captured.err}"
    assert (clone / "out/talk.srt").is_file()
    assert "WER" in (clone / "tones.html").read_text("utf-8")


def test_make_and_pip_lines_of_the_readme():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for text in PAGES.values():
        for target in re.findall(r"\bmake ([a-z]+)\b(?=[`\s])", "\n".join(blocks("sh", text))):
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
    found = [argv for text in (README, *(path.read_text("utf-8") for path in
                                         sorted((ROOT / "benchmarks").glob("*.py"))))
             for argv in commands(text.replace("`python ", "\npython "), "python")
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


def test_relative_links_lead_somewhere():
    for name, text in PAGES.items():
        for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", text):
            assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}"


def test_the_exit_codes_are_those_of_the_code():
    section = README.split("| exit code |")[1].split("\n\n")[0]
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE)
              for code in row.split(",")}
    assert listed == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


def test_one_spelling():
    """British in prose, as the code writes it; names of the API keep theirs."""
    american = r"\b(normaliz|recogniz|optimiz|synthesiz|licens|color|behavior|center)\w*"
    for name, text in PAGES.items():
        prose = re.sub(r"```.*?```|`[^`]*`|https?://\S+|\[[^\]]*\]\([^)]*\)|<[^>]*>", " ", text,
                       flags=re.DOTALL)
        wrong = {match[0] for match in re.finditer(american, prose, re.IGNORECASE)}
        assert not wrong - {"License"}, f"{name}: {wrong}"


def test_no_machine_of_ours_is_named():
    names = re.compile(r"/work/|/root/|/home/[a-z]")
    files = [ROOT / name for name in (*PAGES, "CHANGELOG.md", "Makefile", "constraints.txt",
                                      "pyproject.toml", ".ci/run")]
    for path in (*files, *(ROOT / "recipes").glob("*.toml"), *(ROOT / "asr").rglob("*.py")):
        assert not names.search(path.read_text("utf-8")), path
