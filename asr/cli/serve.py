"""`asr serve`: models behind an HTTP interface, a websocket and a page.

In: argv. Out: a server until a signal ends it; its address and its log on stderr.
"""

from __future__ import annotations

import ipaddress
import math
import re
import sys
from pathlib import Path

import click

from asr.cli.decoding import engine_option
from asr.cli.inputs import truncated_option
from asr.cli.notices import warnings_as_notices
from asr.errors import EXIT_OK, UsageError
from asr.parsing import read_limited

INSTALL = "asr serve needs more packages: pip install 'keras-asr[serve]'."
MIN_TOKEN = 16  # characters
_RANGE = re.compile(r"; (?:[\d_.]+<=?)?x(?:[<>]=?[\d_.]+)?(?=\])")  # said by the error
GROUPS = {
    "Models": ("models", "engine"),
    "Where it listens, and who may use it": ("host", "port", "token_file", "origins",
                                             "wyoming_port", "wyoming_language"),
    "How much at a time": ("workers", "batch", "max_queue", "max_streams"),
    "Live speech": ("max_lag",),
    "Limits of a request": ("max_body", "max_seconds", "timeout", "allow_truncated"),
    "Log": ("log_transcripts",),
}


class _Grouped(click.Command):
    """Options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = {param.name: param.get_help_record(ctx) for param in self.get_params(ctx)
                if isinstance(param, click.Option)}
        grouped = {name for names in GROUPS.values() for name in names}
        others = {"Help": tuple(name for name in rows if name not in grouped)}
        for title, names in (GROUPS | others).items():
            with formatter.section(title):
                formatter.write_dl([(row[0], _RANGE.sub("", row[1])) for name in names
                                    if (row := rows[name])])


@click.command(cls=_Grouped, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", required=False)
@click.option("--model", "models", multiple=True, metavar="NAME=PATH",
              help="A further bundle under a name. Repeatable.")
@engine_option
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen at; 0.0.0.0: all of this machine.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8_000, show_default=True,
              metavar="N", help="Port; 0: a free one.")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE",
              help="Clients must present the token in this file.")
@click.option("--cors", "origins", multiple=True, metavar="ORIGIN",
              help="A web site whose scripts may use it. Repeatable.")
@click.option("--wyoming-port", type=click.IntRange(0, 65_535), metavar="N",
              help="Answer Home Assistant, too; 10300 is usual.")
@click.option("--wyoming-language", default="en", show_default=True, metavar="CODE",
              help="The language that it is told.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              metavar="N", help="Threads for short recordings; a pass uses all processors.")
@click.option("--batch", type=click.IntRange(1, 128), default=16, show_default=True,
              metavar="N", help="Waiting recordings that are transcribed together.")
@click.option("--max-queue", type=click.IntRange(1), default=128, show_default=True,
              metavar="N", help="Requests at a time; more get 503.")
@click.option("--max-streams", type=click.IntRange(1), default=32, show_default=True,
              metavar="N", help="Websockets at a time; more get 503.")
@click.option("--max-body", type=click.FloatRange(0, min_open=True), default=25.0,
              show_default=True, metavar="MIB", help="Size of a request; more gets 413.")
@click.option("--max-seconds", type=click.FloatRange(0, min_open=True), default=3_600.0,
              show_default=True, metavar="S", help="Length of a recording.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=120.0,
              show_default=True, metavar="S", help="Time from a request to its answer.")
@click.option("--max-lag", type=click.FloatRange(0.3), default=math.inf,
              show_default=True, metavar="S", help="Words of a stream that ended so long ago never "
              "change; inf: only those before a pause.")
@truncated_option
@click.option("--log-transcripts", is_flag=True, help="Write what was said into the log.")
def serve(bundle: str | None, models: tuple[str, ...], engine: str, host: str, port: int,
          token_file: Path | None, origins: tuple[str, ...], wyoming_port: int | None,
          wyoming_language: str, workers: int, batch: int,
          max_queue: int, max_streams: int, max_body: float, max_seconds: float, timeout: float,
          max_lag: float, allow_truncated: bool, log_transcripts: bool) -> int:
    """Serve models to browsers, scripts and apps.

    BUNDLE is an .asr file or a run directory; without one the shipped digits recogniser is served.
    There is a page at /, an interface that OpenAI's clients speak at /v1, and vosk-server's
    websocket at /v1/stream and /. The log is JSON on stderr. SIGTERM or Ctrl-C ends it after the
    answers to what it has accepted.

    \b
    Examples:
      asr serve
      asr serve runs/mine --port 9000
      asr serve --model digits=runs/digits --model whisper-1=runs/english
      asr serve runs/mine --host 0.0.0.0 --token-file token.txt
    """  # noqa: D301 (click reads the backspace)
    token = None if token_file is None else read_token(token_file)
    _require_packages()
    from asr.serve.app import create_app
    from asr.serve.connections import Server
    from asr.serve.logs import log, log_to_stderr
    from asr.serve.models import load_models
    from asr.serve.settings import MIB, ServerSettings

    settings = ServerSettings(
        workers=workers, batch=batch, max_body=round(max_body * MIB), max_seconds=max_seconds,
        max_queue=max_queue, max_streams=max_streams, timeout=timeout, token=token,
        max_lag=max_lag, allow_truncated=allow_truncated,
        origins=origins, log_transcripts=log_transcripts)
    found = load_models(bundle, models, max_seconds, engine)
    _check_access(host, token, wyoming_port)
    log_to_stderr()
    names = ", ".join(found.by_name)

    def tell(taken: int) -> None:
        log("listening", url=_url(host, taken), models=list(found.by_name),
            wyoming_port=server.wyoming and server.wyoming.port)
        if sys.stderr.isatty():
            print(f"Serving {names} at {_url(host, taken)} (the page; the interface is at /v1). "
                  "Ctrl-C ends it.", file=sys.stderr)

    with warnings_as_notices(lambda line: log("warning", message=line), count_equal=True):
        server = Server(create_app(found, settings), host, port, on_start=tell, wyoming=None
                        if wyoming_port is None else (wyoming_port, wyoming_language))
        try:
            server.run()
        except (SystemExit, OSError):
            raise UsageError(f"Cannot listen at {host}, port {port}: it is taken, or not of this "
                             "machine. Give another --port, or --port 0.") from None
    log("ended")
    return EXIT_OK


def _require_packages() -> None:
    """Refuse to start without the packages of the extra.

    Raises:
        UsageError: one is missing.
    """
    try:
        import asr.serve.connections  # noqa: F401 (imports them all)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "asr":
            raise
        raise UsageError(f"{INSTALL} ({error.name} is missing.)", code="serve.missing") from error


def _check_access(host: str, token: str | None, wyoming_port: int | None) -> None:
    """Say who can use a server that other machines reach.

    Raises:
        UsageError: a token, and a second way in that has none.
    """
    if is_loopback(host):
        return
    if token is None:
        print(f"Warning: {host} can be reached from other machines and there is no token: anyone "
              "who reaches it can use it. Give --token-file FILE.", file=sys.stderr)
    elif wyoming_port is not None:
        raise UsageError(f"The Wyoming protocol has no token, so it would be open at {host}. Leave "
                         "out --wyoming-port or --token-file, or start a second server for it.")


def read_token(path: Path) -> str:
    """The token in a file, without the white space around it.

    Raises:
        UsageError: the file cannot be read, or its content is no token.
    """
    try:
        token = read_limited(path).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the token file {path}: {error}.", path=path) from error
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{path} holds no token: expected one line of at least {MIN_TOKEN} "
                         "characters without spaces. Make one: openssl rand -hex 32", path=path)
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(host: str, port: int) -> str:
    shown = "127.0.0.1" if host == "0.0.0.0" else host
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
