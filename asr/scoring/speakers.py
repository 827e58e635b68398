"""Who speaks in which utterance: Kaldi's utt2spk, or the ids themselves as sclite reads them.

In: a path, or ids. Out: speakers by utterance id.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from asr.errors import DataError, UsageError
from asr.scoring.formats import add_text
from asr.scoring.text_lines import read_lines


def read_speakers(path: str | Path) -> dict[str, str]:
    """Speakers by utterance id from a Kaldi utt2spk file: "utterance speaker" a line.

    Raises:
        DataError: a line that is not two words, or an id twice.
    """
    speakers: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 2:
            raise DataError(f"{path}:{number}: expected 'utterance speaker', got {line!r}.",
                            code="text.speaker", path=path)
        add_text(speakers, parts[0], parts[1], f"{path}:{number}")
    return speakers


ID_TYPES = ("spu_id", "wsj")


def speakers_of_ids(names: Iterable[str], id_type: str) -> dict[str, str]:
    """Speakers by utterance id as sclite's -i takes them from the ids themselves.

    Args:
        names: ids.
        id_type: "spu_id" (also rm and swb: up to the first -, without one up to the first _), or
            "wsj" (also atis: the first three characters).

    Raises:
        UsageError: an unknown type.
        DataError: an id without - and _.

    Example:
        >>> speakers_of_ids(["anna-1", "b_o-2", "4k0c0301"], "wsj")
        {'anna-1': 'ann', 'b_o-2': 'b_o', '4k0c0301': '4k0'}
        >>> speakers_of_ids(["anna-1", "b_o-2"], "spu_id")
        {'anna-1': 'anna', 'b_o-2': 'b_o'}
    """
    if id_type not in ID_TYPES:
        raise UsageError(f"Unknown type of ids {id_type!r}; expected {' or '.join(ID_TYPES)}.")
    speakers = {}
    for name in names:
        end = 3 if id_type == "wsj" else name.find("-" if "-" in name else "_")
        if end < 0:
            raise DataError(f"The id {name[:80]!r} has no - or _; expected 'speaker-utterance' or "
                            "'speaker_utterance' as in sclite's spu_id. Name the speakers with "
                            "--speakers.", code="text.speaker")
        speakers[name] = name[:end]
    return speakers
