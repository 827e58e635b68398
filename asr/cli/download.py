"""`asr download`: fetch a corpus or a published bundle.

In: arguments. Out: files in a folder; what was checked on stderr.
"""

from __future__ import annotations

from pathlib import Path

import click

from asr.cli.next_step import typed
from asr.cli.output_paths import OUTPUT
from asr.cli.progress import count_on_stderr
from asr.corpora import CORPORA, load_corpus
from asr.errors import EXIT_OK, UsageError


class _Download(click.Command):
    """A command whose help lists the corpora that have an address."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Corpora"):
            formatter.write_dl([(name, module.SUMMARY) for name in CORPORA
                                if hasattr(module := load_corpus(name), "PARTS")])
        from asr.bundle.published import MODELS
        with formatter.section("Bundles"):
            formatter.write_dl([(name, model.summary) for name, model in MODELS.items()])
        super().format_epilog(ctx, formatter)


@click.command(cls=_Download, epilog="""\b
Examples:
  asr download librispeech corpora/librispeech --part dev-clean
  asr download models/english
""")
@click.argument("corpus")
@click.argument("dest", type=OUTPUT, required=False)
@click.option("--part", "parts", multiple=True, help="Which archive, such as dev-clean; may be "
              "repeated. Each corpus has a small default.")
@click.option("--url", help="Fetch the part from this mirror; size and checksum stay the same.")
@click.option("--keep-archive", is_flag=True, help="Do not remove the archive at the end.")
@click.option("--sha256", help="Bundles: the checksum of another release.")
def download(corpus: str, dest: Path | None, parts: tuple[str, ...], url: str | None,
             keep_archive: bool, sha256: str | None) -> int:
    """Fetch CORPUS into DEST: resumed after an interruption, checked, then unpacked.

    A bundle such as models/english becomes DEST/models/english.asr; DEST is this folder if it is
    not given. Its address is --url, or $ASR_MODELS_URL/english.asr.
    """
    import dataclasses

    if corpus.startswith("models/"):
        return _download_bundle(corpus, dest or Path(), url or "", sha256 or "")
    if dest is None:
        raise UsageError(f"asr download {corpus} needs a folder: asr download {corpus} DEST.")

    from asr.corpora.download import fetch

    module = load_corpus(corpus)
    known = getattr(module, "PARTS", None)
    if not known:
        raise UsageError(f"{corpus} has no address to download from; get it from its makers "
                         f"({(module.__doc__ or '').splitlines()[0]}).")
    parts = parts or (module.DEFAULT_PART,)
    if url and len(parts) > 1:
        raise UsageError("--url is the address of one archive; give one --part.")
    for part in parts:
        if part not in known:
            raise UsageError(f"{corpus} has no part {part!r}; it has {', '.join(known)}.")
    for part in parts:
        archive = dataclasses.replace(known[part], url=url) if url else known[part]
        with count_on_stderr(part, unit="bytes") as show:
            digest = fetch(archive, dest, keep_archive=keep_archive, progress=show)
        place = dest / archive.provides
        if not digest:
            click.echo(f"{place} is there already; nothing was fetched.", err=True)
        elif archive.sha256 is None:
            click.echo(f"{place}: fetched. There is no published checksum of this archive; the "
                       f"SHA-256 of what came is {digest}.", err=True)
        else:
            click.echo(f"{place}: fetched, SHA-256 as published.", err=True)
    click.echo(f"Next: {typed('asr', 'prepare', corpus, dest, 'OUT')}", err=True)
    return EXIT_OK


def _download_bundle(name: str, dest: Path, url: str, sha256: str) -> int:
    """Fetch one bundle; see `download`."""
    from asr.bundle.published import archive_of, fetch_bundle

    path = dest / f"{name}.asr"
    with count_on_stderr(name, unit="bytes") as show:
        digest = fetch_bundle(archive_of(name, url, sha256), path, show)
    click.echo(f"{path}: fetched, SHA-256 as published." if digest
               else f"{path} is there already; nothing was fetched.", err=True)
    click.echo(f"Next: {typed('asr', 'transcribe', path, 'YOUR.wav')}", err=True)
    return EXIT_OK
