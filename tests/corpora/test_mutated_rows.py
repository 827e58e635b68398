"""Rows of which a part is gone, null, of another type or nested: one sentence, or an utterance."""

from __future__ import annotations

import copy
import json
import re
import warnings

import pytest
from layout_examples import RATE, speech

from asr.corpora import load_corpus
from asr.corpora.collect import Checks

VALUES = (None, "", "x", 0, -1, 2.5, 1e300, 10**400, True, [], {}, [None], [[]], {"a": None}, "\0",
          "\ud800", "x" * 300, [1, 2])
PYTHON = re.compile(r"None|True|False|\w+Error|' object|object of|indices|subscript|literal|"
                    r"hashable|dict\b")

RECORDING = {"id": "a.wav", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
             "sampling_rate": RATE, "num_samples": RATE, "duration": 1.0}
SUPERVISION = {"id": "s", "recording_id": "a.wav", "start": 0.0, "duration": 1.0, "channel": 0,
               "text": "yes", "speaker": "anna"}
CUT = {"id": "c", "start": 0, "duration": 1.0, "channel": 0, "supervisions": [SUPERVISION],
       "recording": RECORDING}
NEMO = {"audio_filepath": "a.wav", "text": "yes", "duration": 1.0, "offset": 0.0, "speaker": "x",
        "id": "i"}
METADATA = {"file_name": "a.wav", "transcription": "yes", "speaker_id": "x", "start": 0.0,
            "end": 1.0, "id": "i", "channel": 1, "split": "train"}
ROWS = {"cuts": ("lhotse", "cuts.jsonl", CUT), "supervisions": ("lhotse", "supervisions.jsonl",
                                                                SUPERVISION),
        "recordings": ("lhotse", "recordings.jsonl", RECORDING),
        "nemo": ("nemo", "train.jsonl", NEMO), "metadata": ("huggingface", "metadata.jsonl",
                                                            METADATA)}


def places(value, at=()):
    """Every path to a part of the value."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value) if isinstance(value, list)
                                                           else 0):
        yield from places(value[key], (*at, key))


def mutations(row: dict):
    for *above, last in filter(None, places(row)):
        for value in (*VALUES, "gone"):
            new = part = copy.deepcopy(row)
            for key in above:
                part = part[key]
            if value == "gone":
                del part[last]
            else:
                part[last] = value
            yield new
    yield from VALUES


def in_one_sentence(message: str, where: str) -> None:
    assert re.match(where, message), message
    assert not PYTHON.search(message) and "\n" not in message, message
    assert len(message) < 600 and message.count(". ") <= 2, message


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_read_or_refused_in_one_sentence(tmp_path, name):
    layout, file, good = ROWS[name]
    speech(tmp_path / "a.wav")
    (tmp_path / "recordings.jsonl").write_text(json.dumps(RECORDING) + "\n")
    (tmp_path / "supervisions.jsonl").write_text(json.dumps(SUPERVISION) + "\n")
    if layout != "lhotse":
        for other in ("recordings.jsonl", "supervisions.jsonl"):
            (tmp_path / other).unlink()
    rows = [good, *mutations(good)] if name != "recordings" else [*mutations(good), good]
    (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load_corpus(layout).prepare(tmp_path, checks=Checks(num_workers=1))
    assert len(rows) > 100 and found["train"][0].text == "yes"
    assert name == "recordings" or len(found.excluded) > len(rows) / 4
    for item in found.excluded:
        in_one_sentence(item.message, rf"{re.escape(file)}:\d+: ")
    for utterance in [u for split in found.values() for u in split]:
        assert not {*f"{utterance.id}{utterance.text}{utterance.speaker}"} & {*"[{"}


@pytest.mark.parametrize("good", [SUPERVISION | {"said": 1}, {"sentence": "yes", "speaker": "x"}])
def test_a_json_file_beside_a_recording(tmp_path, good):
    speech(tmp_path / "a.wav")
    rows = [good, *mutations(good)]
    for number, row in enumerate(rows):
        (tmp_path / f"a{number}.json").write_text(json.dumps(row))
        (tmp_path / f"a{number}.wav").symlink_to(tmp_path / "a.wav")
    found = load_corpus("folder").prepare(tmp_path, checks=Checks(num_workers=1))
    assert found["train"][0].text == "yes"
    for item in found.excluded:
        in_one_sentence(item.message, r"a\d*\.(json|wav): ")


VALUES_OF_CELLS = ("", "x", "-1", "1e300", "nan", "None", "a b", "\0", "..", "/etc/passwd", "1:00",
                   "1.0", "9" * 400, "é" * 300, "~")
TABLES = {
    "csv": ("t.csv", ",", "path,text,id,speaker,split,start,end,channel",
            "a.wav,yes,i,anna,train,0.0,1.0,1"),
    "commonvoice": ("train.tsv", "\t", "client_id\tpath\tsentence", "c\ta.wav\tyes"),
    "deepspeech": ("train.csv", ",", "wav_filename,wav_filesize,transcript", "a.wav,1,yes"),
    "ljspeech": ("metadata.csv", "|", "", "a|yes|yes"),
    "kaldi": ("segments", " ", "", "u a 0.0 1.0")}


@pytest.mark.parametrize("layout", TABLES)
def test_a_cell_is_read_or_refused_in_one_sentence(tmp_path, layout):
    file, sep, head, good = TABLES[layout]
    for folder in (".", "wavs", "clips"):
        speech(tmp_path / folder / "a.wav")
    if layout == "kaldi":
        (tmp_path / "wav.scp").write_text("a a.wav\n")
        (tmp_path / "text").write_text("u yes\n")
    cells = good.split(sep)
    rows = [cells, *([*cells[:n], *new, *cells[n + 1:]] for n in range(len(cells))
                     for new in [[], [cells[n]] * 2, *([value] for value in VALUES_OF_CELLS)])]
    for place in [rows] if layout != "kaldi" else [[row] for row in rows]:
        (tmp_path / file).write_text(f"{head}\n" * bool(head) + "".join(
            f"{sep.join(row)}\n" for row in place), "utf-8")
        with warnings.catch_warnings(action="ignore"):
            found = load_corpus(layout).prepare(tmp_path, checks=Checks(num_workers=1))
        assert layout == "kaldi" or len(found.excluded) > 5
        for item in found.excluded:
            assert re.match(r"[\w./]+(:\d+)?: ", item.message)
            assert not re.search(r"\w+Error|object|literal|end of data", item.message), item.message
