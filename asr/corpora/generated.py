"""A corpus that the project makes itself: is it there already, whole and the same?

In: its folder and the settings that made it. Out: yes, no, or why it is left alone.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from asr.errors import CorpusError
from asr.files import parse_json


def is_made(out_dir: Path, settings_name: str, settings: dict, ours: Collection[str],
            what: str) -> bool:
    """Whether the folder holds exactly this corpus; an unfinished one is to be made again.

    Args:
        out_dir: the folder.
        settings_name: the file with the settings, which is written last.
        settings: those asked for; comparable after a trip through JSON.
        ours: other names that the generator writes.
        what: "tones", for messages.

    Raises:
        CorpusError: it is a file, holds something else, or a corpus with other settings.
    """
    if not out_dir.exists():
        return False
    if not out_dir.is_dir():
        raise CorpusError(f"{out_dir} is a file; name a folder for the {what}.", path=out_dir)
    path = out_dir / settings_name
    if path.exists():
        try:
            found = parse_json(path.read_bytes())
        except ValueError as error:
            raise CorpusError(f"{path} is not JSON ({error}); delete the folder and make the "
                              f"{what} again.", path=path) from error
        if found == settings:
            return True
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
