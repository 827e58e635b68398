"""docs/serving.md and docs/examples/serve/: what they show works against a real server."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from serving import digits_model, served

from asr.serve.gate import ROUTES
from asr.serve.metrics import Metrics
from asr.serve.transcriptions import WITHOUT_EFFECT

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/serving.md").read_text("utf-8")
EXAMPLES = ROOT / "docs/examples/serve"
DOCKERFILE = re.sub(r"\\\n", " ", (EXAMPLES / "Dockerfile").read_text("utf-8"))
BLOCKS = re.findall(r"<!-- not run: [^\n]*test_serving_page.py runs it -->\n```(\w+)\n(.*?)```",
                    PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def server():
    with served(digits_model()) as one:
        yield one


def here(text: str, server) -> str:
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")


@pytest.mark.parametrize("line", [line for language, text in BLOCKS if language == "sh"
                                  for line in text.splitlines()])
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_curl(server, line):
    done = subprocess.run(shlex.split(here(line, server)), capture_output=True, text=True, cwd=ROOT,
                          check=True)
    assert "error" not in done.stdout
    if "srt" in line:
        assert re.match(r"1\n00:00:00,\d{3} --> 00:00:02,\d{3}\nfour two zero nine\n", done.stdout)
    elif "file=" in line:
        assert '"text":"four two zero nine"' in done.stdout
    else:
        assert '"id":"digits"' in done.stdout


def test_the_openai_block(server):
    pytest.importorskip("openai")
    (block,) = [text for language, text in BLOCKS if "from openai" in text]
    lines = run_python(here(block, server))
    promised = re.findall(r"print\(.*\)\s+# (.*)", block)
    assert lines == promised == ["four two zero nine", "['four', 'two', 'zero', 'nine']"]


def test_the_websocket_block(server):
    pytest.importorskip("websockets")
    (block,) = [text for language, text in BLOCKS if "websockets" in text]
    (line,) = run_python(here(block, server))
    assert line and set(line.split()) <= set(
        "zero one two three four five six seven eight nine".split())


def run_python(block: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_tables_are_those_of_the_code():
    shown = set(re.findall(r"`(?:GET|POST|WS) (/[^`]*)`", PAGE))
    assert shown == set(ROUTES) | {"/v1/models/NAME"}
    for name in WITHOUT_EFFECT:
        assert f"`{name}`" in PAGE
    named = set(re.findall(r"`(asr_\w+)(?:\{([\w,]+)\})?`", PAGE))
    registry = Metrics().registry
    for name, labels in named:
        metric = registry._names_to_collectors[name]
        assert ",".join(metric._labelnames) == labels, name
    assert {name for name, _ in named} >= {
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect() if family.name.startswith("asr_")}


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def test_the_dockerfile_installs_what_the_server_needs():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {re.match(r"[\w-]+", one)[0] for one in (
        *extras["dependencies"], *extras["optional-dependencies"]["serve"],
        *extras["optional-dependencies"]["av"])} - {"tensorflow"}
    (line,) = [one for one in instructions("RUN") if "-c /src/constraints.txt" in one]
    assert set(line.split("constraints.txt")[1].split()) == needed


def test_the_dockerfile_names_what_exists():
    for line in instructions("COPY"):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name
    assert instructions("USER") == ["10001"]
    (health,) = re.findall(r"HEALTHCHECK [^\n]*CMD (\[.*\])", DOCKERFILE)
    program = eval(health)  # noqa: S307 (our own list)
    assert program[0] == "python" and "/readyz" in program[2]
    compile(program[2], "HEALTHCHECK", "exec")
    check_serve(eval(instructions("CMD")[0]))  # noqa: S307


def test_the_health_check_tells_ready_from_not(server):
    (health,) = re.findall(r"HEALTHCHECK [^\n]*CMD (\[.*\])", DOCKERFILE)
    program = eval(health)[1:]  # noqa: S307
    command = [sys.executable, *(here(part, server) for part in program)]
    assert subprocess.run(command).returncode == 0
    server.state.failed = True
    try:
        assert subprocess.run(command, capture_output=True).returncode != 0
    finally:
        server.state.failed = False


def test_the_compose_file():
    yaml = pytest.importorskip("yaml")
    table = yaml.safe_load((EXAMPLES / "compose.yaml").read_text("utf-8"))
    (service,) = table["services"].values()
    assert service["read_only"] is True and service["user"] == "10001"
    assert service["cap_drop"] == ["ALL"] and service["ports"] == ["127.0.0.1:8000:8000"]
    context = (EXAMPLES / service["build"]["context"]).resolve()
    assert context == ROOT and (context / service["build"]["dockerfile"]).is_file()
    assert set(service["secrets"]) == set(table["secrets"])
    check_serve(service["command"])


def check_serve(command: list[str]) -> None:
    """The options of a command exist."""
    from asr.cli import VERBS
    from asr.cli.serve import serve

    assert command[0] == "serve" in VERBS
    context = serve.make_context("serve", command[1:])
    assert isinstance(context, click.Context) and context.params["host"] == "0.0.0.0"
