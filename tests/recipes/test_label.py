"""Labels of another recogniser: numbers as words, speakers divided, doubtful ones left out."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scripts import VOICES, script

from asr.manifest import read_manifest

label = script("label", VOICES)


@pytest.mark.parametrize(("heard", "said"), [
    ("Chapter 17. Mrs. Lynde, at 300!", "chapter seventeen missus lynde at three hundred"),
    ("The dogs’ bone — ’twas well-known", "the dogs bone twas well known"),
    ("Mr. Smith's", "mister smith's")])
def test_texts_as_one_says_them(heard, said):
    assert label.spoken(heard) == said


@pytest.mark.parametrize("heard", ["in 1848 he", "the 1st", "20% of", "2.5 miles", "1,000", " -- "])
def test_what_can_be_said_in_several_ways_is_none(heard):
    with pytest.raises(ValueError, match="cannot be said"):
        label.spoken(heard)


class Model:
    """What faster-whisper gives: segments with tokens and their mean log probability."""

    calls = 0

    def __init__(self, name, **_):
        assert name == "base"

    def transcribe(self, path, **_):
        Model.calls += 1
        number = int(Path(path).stem.split("-")[0])
        text, score = {3: ("In 1848.", -0.1), 4: ("hm", -0.9)}.get(number, ("Chapter 2", -0.2))
        part = types.SimpleNamespace(text=text, tokens=[1, 2], avg_logprob=score)
        return iter([part, types.SimpleNamespace(text=" ends", tokens=[3] * 4, avg_logprob=score)]
                    ), None


def test_a_folder_is_labelled_once_and_divided_by_speaker(tmp_path, monkeypatch, capsys):
    module = types.ModuleType("faster_whisper")
    module.WhisperModel = Model
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    monkeypatch.setattr(Model, "calls", 0)
    (tmp_path / "in").mkdir()
    for speaker in range(1, 13):
        soundfile.write(tmp_path / "in" / f"{speaker:02d}-1-0.ogg",
                        0.1 * np.random.default_rng(speaker).normal(size=4_000), 8_000)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["label.py", str(tmp_path / "in"), "base", str(out)])
    for _ in range(2):
        label.main()
    assert Model.calls == 12, "a finished clip is not read again"
    train, dev = (read_manifest(out / f"{name}.jsonl") for name in ("train", "dev"))
    assert [u.speaker for u in dev] == ["01", "11"] and len(train) == 8
    assert train[0].text == "chapter two ends" and train[0].duration == 0.5
    left = [json.loads(line) for line in (out / "left.jsonl").read_text().splitlines()]
    assert [(row["speaker"], row["score"]) for row in left] == [("03", -0.1), ("04", -0.9)]
    assert "train: 8 recordings" in capsys.readouterr().out
