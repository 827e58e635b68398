"""The phrases of a command recogniser.

In: a text file. Out: phrases as the transcripts will write them.
"""

from __future__ import annotations

from pathlib import Path

from asr.errors import DataError
from asr.terminal import plural
from asr.text import normalize
from asr.text.reading import read_text_file

NORMALIZER = "basic"
MAX_PHRASES = 500
MAX_LENGTH = 100  # characters


def read_phrases(path: str | Path) -> list[str]:
    """The phrases of a UTF-8 file, one a line; empty lines and lines with # are left out.

    Returns:
        Lower case, single spaces, each once, in the order of the file.

    Raises:
        DataError: the file cannot be read, a line holds no letter or a digit, is too long or
            occurs twice, or there are fewer than 2 phrases or more than 500.
    """
    lines = read_text_file(path, "phrases", code="commands.file").splitlines()
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        phrase = _checked(line, f"{path}:{number}", path)
        if phrase in found:
            raise DataError(f"{path}:{number}: {phrase!r} is in line {found[phrase]} already; "
                            "write each phrase once.", code="commands.file", path=path)
        found[phrase] = number
    if not 2 <= len(found) <= MAX_PHRASES:
        raise DataError(f"{path} holds {plural(len(found), 'phrase')}; expected 2 to "
                        f"{MAX_PHRASES}, one a "
                        "line.", code="commands.file", path=path)
    return list(found)


def _checked(line: str, where: str, path: str | Path) -> str:
    phrase = " ".join(normalize(line, NORMALIZER).split())
    if not any(c.isalpha() for c in phrase) or any(c.isdigit() for c in phrase):
        raise DataError(f"{where}: {line.strip()[:40]!r} must be written in letters, as it is "
                        "said: \"two\", not \"2\".", code="commands.file", path=path)
    if len(phrase) > MAX_LENGTH:
        raise DataError(f"{where}: {phrase[:40]!r}... has {plural(len(phrase), 'character')}; at "
                        f"most {MAX_LENGTH} are allowed.", code="commands.file", path=path)
    return phrase
