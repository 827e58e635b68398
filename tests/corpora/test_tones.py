"""The tones: deterministic, disjoint in speakers, exact on disk, never over someone's files."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import soundfile

from asr.corpora import tones
from asr.corpora.generated import content_hash
from asr.errors import CorpusError, UsageError
from asr.manifest import read_manifest


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones") / "corpus"
    return folder, tones.generate(folder, num_train=12, num_valid=3, num_test=3, seed=4)


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_gives_same_bytes_and_another_seed_other_ones(corpus, tmp_path):
    folder, _ = corpus
    tones.generate(tmp_path / "again", num_train=12, num_valid=3, num_test=3, seed=4)
    assert digests(tmp_path / "again") == digests(folder)
    tones.generate(tmp_path / "other", num_train=12, num_valid=3, num_test=3, seed=5)
    assert digests(tmp_path / "other")["train-0000.wav"] != digests(folder)["train-0000.wav"]


def test_counts_do_not_change_what_an_utterance_sounds_like(corpus, tmp_path):
    folder, _ = corpus
    tones.generate(tmp_path / "few", num_train=2, num_valid=1, num_test=1, seed=4)
    few, many = digests(tmp_path / "few"), digests(folder)
    assert all(few[name] == many[name] for name in few if name.endswith(".wav"))


def test_utterances_are_what_is_on_disk(corpus):
    folder, splits = corpus
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 12, "valid": 3,
                                                                   "test": 3}
    for split, rows in splits.items():
        read = read_manifest(folder / f"{split}.jsonl")
        assert [(u.id, u.text, u.speaker, u.audio) for u in read] == \
               [(u.id, u.text, u.speaker, u.audio) for u in rows]
        for utterance in read:
            info = soundfile.info(utterance.audio)
            assert (info.samplerate, info.channels, info.subtype) == (8_000, 1, "PCM_16")
            assert info.frames / 8_000 == pytest.approx(utterance.duration, abs=1e-3)
            assert 1 <= len(utterance.text.split()) <= tones.MAX_WORDS
            assert set(utterance.text.split()) <= set(tones.WORDS)


def test_splits_share_no_speaker():
    speakers = [set(s) for s in tones._SPEAKERS.values()]
    assert sum(map(len, speakers)) == len(set().union(*speakers))


def test_every_word_has_its_own_contour():
    contours = [(start, end) for start, end, _ in tones.WORDS.values()]
    assert len(set(contours)) == len(tones.WORDS) == 8
    pitches = sorted({pitch for contour in contours for pitch in contour})
    # Jitter is at most 7 % either way, so neighbours a fifth apart never meet.
    assert all(b / a >= 1.5 for a, b in zip(pitches, pitches[1:], strict=False))


@pytest.mark.parametrize("word", list(tones.WORDS))
def test_pitches_are_heard(word):
    """The strongest spectral line at either end is the pitch that the table gives."""
    start, end, seconds = tones.WORDS[word]
    tone = tones.tone_of(start, end, seconds, 0.4, level=1.0)
    assert 0.12 <= seconds <= 0.25 and 0.5 < np.abs(tone).max() <= 1.0
    quarter = len(tone) // 4
    for piece, pitch in ((tone[:quarter], start), (tone[-quarter:], end)):
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 8_000))
        assert np.argmax(spectrum) == pytest.approx(pitch, rel=0.03)


def test_sound_is_bounded_and_finite():
    audio = tones.sing(list(tones.WORDS), speaker=3, rng=np.random.default_rng(0))
    assert audio.dtype == np.float32 and np.isfinite(audio).all()
    assert 0.05 < np.abs(audio).max() <= 1.0


def test_the_same_corpus_is_returned_without_being_made_again(corpus):
    folder, splits = corpus
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    again = tones.generate(folder, num_train=12, num_valid=3, num_test=3, seed=4)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    assert [u.id for u in again["train"]] == [u.id for u in splits["train"]]


def test_an_interrupted_corpus_is_completed(corpus, tmp_path):
    folder, _ = corpus
    target = tmp_path / "cut"
    tones.generate(target, num_train=12, num_valid=3, num_test=3, seed=4)
    (target / "tones.json").unlink()
    (target / "audio" / "train-0003.wav").write_bytes(b"torn")
    tones.generate(target, num_train=12, num_valid=3, num_test=3, seed=4)
    assert digests(target) == digests(folder)


def test_nothing_foreign_is_touched(corpus, tmp_path):
    folder, _ = corpus
    with pytest.raises(CorpusError, match=r"holds tones made with other settings \(train\)"):
        tones.generate(folder, num_train=13, num_valid=3, num_test=3, seed=4)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(CorpusError, match="already holds 'thesis.tex'"):
        tones.generate(tmp_path, num_train=1, num_valid=1, num_test=1)
    with pytest.raises(UsageError, match="is a file"):
        tones.generate(tmp_path / "thesis.tex", num_train=1, num_valid=1, num_test=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_damaged_settings_are_named(tmp_path):
    (tmp_path / "tones.json").write_text("{")
    with pytest.raises(CorpusError, match="is not JSON"):
        tones.generate(tmp_path)


@pytest.mark.parametrize(("arguments", "match"), [
    ({"num_train": 0}, "num_train is 0"), ({"num_valid": -1}, "num_valid is -1"),
    ({"num_test": 0}, "num_test is 0"), ({"seed": -1}, "seed is -1"),
])
def test_impossible_arguments(tmp_path, arguments, match):
    with pytest.raises(UsageError, match=match):
        tones.generate(tmp_path / "x", **arguments)
    assert not (tmp_path / "x").exists()


def test_settings_name_version_and_seed(corpus):
    folder, _ = corpus
    written = json.loads((folder / "tones.json").read_text())
    assert written.pop("content") == content_hash(folder)
    assert written == {
        "version": 1, "seed": 4, "train": 12, "valid": 3, "test": 3}
