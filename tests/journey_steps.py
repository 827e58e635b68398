"""Commands of a journey, copied from docs/own-recordings.md, and the recordings they need."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import soundfile

from asr.cli import run
from asr.corpora.tones import SAMPLE_RATE, generate
from asr.manifest import Utterance

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TAKES = 40  # of each digit of each person
PAGE = Path(__file__).parents[1] / "docs" / "own-recordings.md"
MAX_COMMANDS = 8
# The tones as words of a language with letters that are not ASCII, in more than one notation.
WORDS = {"do": "ɖoʼ", "re": "rɛ˥", "mi": "mĩ", "fa": "fa꞉", "so": "ʃo", "la": "la˩", "ti": "ti'",
         "da": "ɗa",
         **dict(zip(DIGITS, ("ziʼro", "wãn", "tu꞉", "θri˥", "fɔ", "fai'v", "sıks", "sɛvn", "ɛit",
                             "nɑin"), strict=True))}


def commands(journey: str) -> list[str]:
    """The commands of the block that names `tests/journeys/test_<journey>.py`."""
    block = re.search(rf"<!-- not run: tests/journeys/test_{journey}\.py runs these commands -->\n"
                      r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    lines = block[1].splitlines()
    assert 1 <= len(lines) <= MAX_COMMANDS
    return lines


def travel(lines: list[str], capsys, *, minutes: float = 0.3,
           epochs: int | None = 12) -> str:
    """Run each in the working directory; the budget of the page would be an hour.

    Training ends after `epochs`, so that a busy machine learns as much; None: by the clock.

    Returns:
        What the commands said, on both streams.
    """
    said = ""
    for line in lines:
        line = line.replace("--minutes 60", f"--minutes {minutes}")
        if epochs and line.startswith("asr train "):
            line += (f" --set train.max_minutes=0 --set train.epochs={epochs}"
                     " --set data.num_workers=1")  # processes that import librosa take longer
        code = run(shlex.split(line)[1:])
        out, err = capsys.readouterr()
        assert code == 0, f"{line}\n{out}{err}"
        said += out + err
    return said


def refused(capsys, line: str, *words: str) -> None:
    """A command with bad input: one sentence that has these words, and files as they were."""
    before = {p: p.stat().st_mtime_ns for p in Path.cwd().rglob("*") if p.is_file()}
    code = run(shlex.split(line)[1:])
    out, err = capsys.readouterr()
    assert code in (2, 3, 4, 5), f"{line}: {code}\n{err}"
    assert "Traceback" not in err and all(word in err for word in words), f"{line}\n{err}"
    now = {p: p.stat().st_mtime_ns for p in Path.cwd().rglob("*") if p.is_file()}
    assert {p: now.get(p) for p in before} == before, "nothing is lost"


def tones(folder: Path) -> dict[str, list[Utterance]]:
    """The corpus of the project."""
    return generate(folder)


def digits(fsdd: Path) -> dict[str, list[Utterance]]:
    """Digits of real people, FSDD's: three for training, one for each of the other splits."""
    found: dict[str, list[Utterance]] = {"train": [], "valid": [], "test": []}
    for path in sorted((fsdd / "recordings").glob("*.wav")):
        digit, who, take = path.stem.split("_")
        if int(take) < TAKES:
            split = {"jackson": "test", "yweweler": "valid"}.get(who, "train")
            found[split].append(Utterance(id=path.stem, audio=path, text=DIGITS[int(digit)],
                                          duration=soundfile.info(path).duration, speaker=who))
    return found


def joined(rows: list[Utterance], gap: float = 0.4) -> tuple[np.ndarray, list[tuple]]:
    """Utterances in one recording: samples, and (start, end, text) of each."""
    rng = np.random.default_rng(1)
    pieces, labels, now = [], [], 0.0
    for row in rows:
        audio, _ = soundfile.read(row.audio, dtype="float32")
        pause = 1e-4 * rng.normal(size=round(gap * SAMPLE_RATE)).astype(np.float32)
        pieces += [pause, audio]
        labels.append((now + gap, now + gap + len(audio) / SAMPLE_RATE, row.text))
        now += gap + len(audio) / SAMPLE_RATE
    return np.concatenate(pieces), labels
