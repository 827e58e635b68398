r"""Sentences of old books (public domain), for voices to read and for a language model.

    apt download r-cran-janeaustenr
    python recipes/voices/novels.py r-cran-janeaustenr_1.0.0-1_all.deb data/novels.txt \
        --without ../shared/data/librispeech-scores/reference.tsv
    npm pack gutenberg@0.8.0
    python recipes/voices/novels.py r-cran-janeaustenr_1.0.0-1_all.deb gutenberg-0.8.0.tgz \
        data/books.txt --whole --without ../shared/data/librispeech-scores/reference.tsv

In: Debian's package (MIT) with Jane Austen's six novels; the npm package (MIT) with nine books of
Project Gutenberg. Out: a sentence a line, 5 to 24 words, without names that are abbreviated; with
`--whole`, for a language model, of any length, "Mr." as "mister". `--without` drops every sentence
that shares six words in a row with a test text, so that no test sentence is trained on.
"""

from __future__ import annotations

import argparse
import io
import re
import struct
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from asr.files import write_atomic
from asr.text import normalize

TEXTS = "janeaustenr/data/Rdata.rdb"  # R's lazy-load database, inside the package
BOOKS = re.compile(r"samples/catalog/.*/\d+\.txt$")  # of the npm package, without its "-8" copies
TITLES = {"Mr": "Mister", "Mrs": "Missus", "Dr": "Doctor"}
WORDS = (5, 24)
SHARED_WORDS = 6
_END = re.compile(r"(?<=[.!?;])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)[\"”]?\s+(?=[\"“A-Za-z])")
_STRING = re.compile(rb"\x00[\x04\x02]\x00\x09(....)", re.DOTALL)  # header of a string in R's XDR


def members(package: bytes) -> dict[str, bytes]:
    """Files of an `ar` archive, which a .deb is."""
    if not package.startswith(b"!<arch>\n"):
        raise SystemExit("this is not a Debian package")
    found, place = {}, 8
    while place + 60 <= len(package):
        name = package[place:place + 16].decode("ascii").strip().rstrip("/")
        size = int(package[place + 48:place + 58])
        found[name] = package[place + 60:place + 60 + size]
        place += 60 + size + size % 2
    return found


def books(database: bytes) -> list[list[str]]:
    """The lines of each book: compressed blocks, each after its length, of strings."""
    found, place = [], 0
    while place + 4 < len(database):
        block = zlib.decompressobj()
        data = block.decompress(database[place + 4:])
        place = len(database) - len(block.unused_data)
        lines = []
        for match in _STRING.finditer(data):
            (size,) = struct.unpack(">I", match[1])
            if size < 400:
                lines.append(data[match.end():match.end() + size].decode("utf-8", "replace"))
        found.append(lines)
    return found


def austen(package: bytes) -> list[list[str]]:
    """The lines of each novel of Debian's package."""
    data = next(data for name, data in members(package).items() if name.startswith("data.tar"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        name = next(n for n in archive.getnames() if n.endswith(TEXTS))
        file = archive.extractfile(name)
        return books(file.read() if file else b"")


def gutenberg(package: bytes) -> list[list[str]]:
    """The lines of each book of the npm package, without what Project Gutenberg says of itself."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for name in sorted(n for n in archive.getnames() if BOOKS.search(n)):
            file = archive.extractfile(name)
            lines = (file.read() if file else b"").decode("latin-1").splitlines()
            edges = [k for k, line in enumerate(lines)
                     if re.match(r"\*(\*\*)? ?(START|END)|End of (The )?Project", line)]
            first = max((k for k in edges if k < len(lines) / 2), default=-1)
            last = min((k for k in edges if k > len(lines) / 2), default=len(lines))
            found.append(lines[first + 1:last])
    return found


def sentences(lines: Iterable[str], *, whole: bool = False) -> list[str]:
    """Sentences that can be read as they are written, each once.

    Args:
        lines: the lines of a book.
        whole: of any length, with "Mr.", "Mrs." and "Dr." as words.
    """
    found: dict[str, None] = {}
    shortest, longest = (1, 100) if whole else WORDS
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        for part in _END.split(" ".join(paragraph.split())):
            text = part.replace("_", "").replace("--", ", ").replace("—", ", ").replace("’", "'")
            if whole:
                text = re.sub(r"\b(Mrs?|Dr)\b\.?", lambda match: TITLES[match[1]], text)
            text = " ".join(re.sub(r"[\"“”]", "", text).split())
            readable = re.fullmatch(r"[A-Za-z' ,.;:?!-]+", text) and not re.search(
                r"[A-Z]{3,}|\b(Mrs?|Dr)\b", text)
            if readable and shortest <= len(text.split()) <= longest:
                found[text.rstrip(",;:")] = None
    return list(found)


def runs_of(text: str) -> set[tuple[str, ...]]:
    """All runs of `SHARED_WORDS` words."""
    words = normalize(text, "basic").split()
    return {tuple(words[k:k + SHARED_WORDS]) for k in range(len(words) - SHARED_WORDS + 1)}


def main() -> None:
    """Write the sentences."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, nargs="+", metavar="PACKAGE")
    parser.add_argument("out", type=Path)
    parser.add_argument("--whole", action="store_true", help="for a language model: any length")
    parser.add_argument("--without", type=Path, help="test texts: id, tab, text")
    args = parser.parse_args()
    kept = [text for package in args.packages
            for lines in (gutenberg if package.suffix == ".tgz" else austen)(package.read_bytes())
            for text in sentences(lines, whole=args.whole)]
    kept = list(dict.fromkeys(kept))
    if args.without:
        test = set().union(*(runs_of(line.partition("\t")[2])
                             for line in args.without.read_text("utf-8").splitlines()))
        dropped = [text for text in kept if runs_of(text) & test]
        kept = [text for text in kept if text not in set(dropped)]
        print(f"{len(dropped)} sentences share {SHARED_WORDS} words in a row with a test text")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.out, "\n".join(kept) + "\n")
    print(f"{args.out}: {len(kept):,} sentences")


if __name__ == "__main__":
    main()
