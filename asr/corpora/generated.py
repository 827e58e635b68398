"""Check whether a generated corpus exists already, complete and with the same settings.

In: its folder and the settings that made it. Out: yes, no, or why it is left alone.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection
from pathlib import Path

from asr.errors import CorpusError, InputWarning, UsageError
from asr.files import sha256_file
from asr.parsing import parse_json

CONTENT = "content"  # key of the hash in the settings' file
SUFFIXES = (".wav", ".flac", ".jsonl")


def content_hash(out_dir: Path, suffixes: Collection[str] = SUFFIXES) -> str:
    """SHA-256 over names and bytes of the recordings and manifests of a corpus."""
    digest = hashlib.sha256()
    for path in sorted(p for p in out_dir.rglob("*") if p.suffix in suffixes and p.is_file()):
        name = path.relative_to(out_dir).as_posix()
        digest.update(f"{name} {sha256_file(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def is_made(out_dir: Path, settings_name: str, settings: dict, ours: Collection[str],
            what: str, suffixes: Collection[str] = SUFFIXES) -> bool:
    """Whether the folder holds exactly this corpus; an unfinished one is to be made again.

    So is one whose files are not those that were written, with a warning.

    Args:
        out_dir: the folder.
        settings_name: the file with the settings, which is written last.
        settings: those asked for; comparable after a trip through JSON.
        ours: other names that the generator writes.
        what: "tones", for messages.
        suffixes: suffixes of the files that are hashed.

    Raises:
        UsageError: it is a file.
        CorpusError: it holds something else, or a corpus with other settings.
    """
    if not out_dir.exists():
        return False
    if not out_dir.is_dir():
        raise UsageError(f"{out_dir} is a file; name a folder for the {what}.", path=out_dir)
    path = out_dir / settings_name
    if path.exists():
        try:
            found = parse_json(path.read_bytes())
        except ValueError as error:
            raise CorpusError(f"{path} is not JSON ({error}); delete the folder and make the "
                              f"{what} again.", path=path) from error
        hashed = found.pop(CONTENT, None) if isinstance(found, dict) else None
        if found == settings:
            if hashed in (None, content_hash(out_dir, suffixes)):
                return True
            warnings.warn(InputWarning(f"{out_dir} is damaged: its files are not those that were "
                                       f"written. The {what} are made again.", "corpus.damaged"),
                          stacklevel=3)
            return False
        other = sorted(key for key in {*settings, *found} if settings.get(key) != found.get(key)) \
            if isinstance(found, dict) else ["form"]
        raise CorpusError(f"{out_dir} holds {what} made with other settings ({', '.join(other)}). "
                          "Delete it or name another folder.", path=out_dir)
    foreign = sorted(p.name for p in out_dir.iterdir()
                     if p.name not in ours and not p.name.endswith(".tmp"))
    if foreign:
        raise CorpusError(f"{out_dir} already holds {foreign[0]!r}; name an empty folder for the "
                          f"{what}.", path=out_dir)
    return False
