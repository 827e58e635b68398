"""The committed sample clips: small, readable, true to their manifest, held out of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import sample_clips
import soundfile

import asr
from asr.errors import CorpusError
from asr.manifest import read_manifest
from asr.voices import DIGITS
from asr.voices.digits import SAMPLE_CLIPS, SAMPLE_TEXTS, default_voices, digit_strings
from asr.voices.programs import PACKAGES, available_programs

FOLDER = Path(asr.__file__).parent / "assets" / "clips"


def test_committed_clips_are_what_the_table_says():
    rows = read_manifest(FOLDER / "clips.jsonl")
    assert [u.text for u in rows] == list(SAMPLE_TEXTS)
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 200_000
    for utterance in rows:
        info = soundfile.info(utterance.audio)
        assert info.duration == pytest.approx(utterance.duration, abs=0.01)
        assert set(utterance.text.split()) <= set(DIGITS)
    assert {soundfile.info(u.audio).subtype for u in rows} == {"OPUS", "PCM_16"}
    assert set(" ".join(SAMPLE_TEXTS).split()) == set(DIGITS)


def test_training_holds_out_every_string_and_the_voices_called_unseen():
    assert not set(SAMPLE_TEXTS) & set(digit_strings(2_000, 1, exclude=SAMPLE_TEXTS))
    assert all(" " in text for text in SAMPLE_TEXTS)  # a single digit could not be held out
    unseen = [v.id for v in default_voices()[::10]]  # prepare's valid_every
    for name, beginning, _ in SAMPLE_CLIPS:
        assert any(v.startswith(beginning) for v in unseen) == name.endswith("unseen")


def test_clips_can_be_made_again(tmp_path):
    if len(available_programs()) < len(PACKAGES):
        pytest.skip("needs espeak-ng, flite and festival")
    try:
        utterances = sample_clips.write(tmp_path / "clips")
    except CorpusError as error:
        pytest.skip(f"a voice is not installed: {error}")
    assert utterances == read_manifest(tmp_path / "clips" / "clips.jsonl")
    assert [u.id for u in utterances] == [u.id for u in read_manifest(FOLDER / "clips.jsonl")]


def test_a_voice_that_does_not_exist():
    with pytest.raises(CorpusError, match="begins with 'hal.9000'"):
        sample_clips.voice_named("hal.9000")
