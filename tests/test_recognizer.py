"""The recogniser: one object from audio to transcript."""

from __future__ import annotations

import dataclasses
import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_bundle
from tiny_bundle import FEATURES, TOKENIZER, write_bundle

import asr.bundle.find
import asr.recognizer
from asr.audio.loudness import is_silent
from asr.bundle import load_bundle
from asr.bundle.find import find_bundle
from asr.decoding import GreedyDecoder
from asr.errors import AudioError, BundleError, UsageError
from asr.features import FeatureExtractor, cmvn
from asr.network.engine import NumpyAcousticModel
from asr.recipe import DecoderSettings, FeatureSettings
from asr.recognizer import Recognizer, load
from asr.transcript import Transcript, Word

RATE = FEATURES.sample_rate


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr")


@pytest.fixture(scope="module")
def recognizer(bundle_path) -> Recognizer:
    return load(bundle_path)


def speech(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """Noise whose colour changes, which the random network writes as words."""
    rng = np.random.default_rng(seed)
    audio = rng.normal(size=int(seconds * RATE)) * 0.1
    audio *= 1 + np.sin(np.arange(len(audio)) / 700)
    return audio.astype(np.float32)


def test_doctests():
    assert doctest.testmod(asr.recognizer).failed == 0


def test_transcribe_a_path_and_an_array(recognizer, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech(), RATE, subtype="FLOAT")
    from_path = recognizer.transcribe(tmp_path / "a.wav")
    from_array = recognizer.transcribe(speech())
    assert isinstance(from_path, Transcript)
    assert from_path == from_array
    assert from_path == recognizer.transcribe(str(tmp_path / "a.wav"), )
    assert from_path.text
    assert from_path.duration == 1.0


def test_words_lie_in_the_recording_in_order(recognizer):
    transcript = recognizer.transcribe(speech(2.0))
    assert transcript.text == " ".join(w.text for w in transcript.words)
    times = [t for w in transcript.words for t in (w.start, w.end)]
    assert times == sorted(times)
    assert all(w.start < w.end <= 2.0 and 0 <= w.confidence <= 1 for w in transcript.words)
    assert isinstance(transcript.words[0], Word)


def test_what_is_trimmed_at_the_start_does_not_move_words(tmp_path):
    """The network reads the same; the words lie as much later as silence was put in front."""
    settings = dataclasses.replace(FEATURES, trim_db=40.0)
    trimming = load(write_bundle(tmp_path / "trim.asr", features=settings))
    silence = np.zeros(8 * 512, np.float32)  # whole steps of librosa.effects.trim
    padded = np.concatenate([silence, speech(2.0), silence])
    start = trimming.seconds_trimmed(padded)
    assert 0 < start <= len(silence) / RATE
    for work in (trimming.transcribe, lambda audio: trimming.align(audio, "a b")):
        inner, whole = work(padded[round(start * RATE):]), work(padded)
        assert whole.text == inner.text and whole.duration == len(padded) / RATE
        for word, later in zip((*inner.words, *inner.characters),
                               (*whole.words, *whole.characters), strict=True):
            assert (later.start, later.end) == pytest.approx((word.start + start, word.end + start))
    inside = trimming.inspect(padded)
    assert len(inside.samples) < len(padded) and len(inside.log_mel) == len(inside.features)


def test_a_kind_without_a_twin_transcribes(tmp_path):
    settings = dataclasses.replace(FEATURES, kind="pcen")
    recognizer = load(write_bundle(tmp_path / "pcen.asr", features=settings))
    transcript = recognizer.transcribe(speech())
    assert transcript.text and transcript.words[-1].end <= 1.0
    child = subprocess.run(  # it is said once in a process
        [sys.executable, "-c", "import asr, sys; [asr.load(sys.argv[1]) for _ in range(2)]",
         str(tmp_path / "pcen.asr")], capture_output=True, text=True, check=True)
    assert child.stderr.count("computed by librosa: the start takes some seconds") == 1
    windows = dataclasses.replace(recognizer.windows, threshold_seconds=1.0)
    assert load(tmp_path / "pcen.asr", windows=windows).transcribe(speech(3.0)).duration == 3.0


def test_word_times_are_output_frames(recognizer):
    logits = np.full((6, TOKENIZER.vocab_size), -20.0, np.float32)
    logits[:, 0] = 0.0
    logits[2:4] = -20.0
    logits[2, TOKENIZER.encode("a")[0]] = logits[3, TOKENIZER.encode("b")[0]] = 0.0
    (word,) = recognizer.decode(logits).words
    step = FEATURES.hop_length * 2 / RATE  # subsampling 2
    assert recognizer.seconds_per_frame == step
    assert (word.text, word.start, word.end) == ("ab", 2 * step, 4 * step)
    assert recognizer.decode(logits, duration=3.5 * step).words[0].end == 3.5 * step


def test_batches_equal_singles_in_any_order(recognizer):
    audios = [speech(s, seed=i) for i, s in enumerate((0.3, 2.0, 0.05, 1.0, 0.7, 1.5, 0.31))]
    alone = [recognizer.transcribe(audio).text for audio in audios]
    assert [t.text for t in recognizer.transcribe_batch(audios)] == alone
    assert [t.text for t in recognizer.transcribe_batch(audios[::-1])] == alone[::-1]
    assert recognizer.transcribe_batch([]) == []


def test_another_rate_is_resampled(recognizer):
    from asr.audio import resample

    audio = resample(speech(), RATE, 16_000)
    transcript = recognizer.transcribe(audio, sample_rate=16_000)
    assert transcript.duration == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("audio", [np.zeros(8_000, "f4"), np.full(8_000, 1e-5, "f4"),
                                   np.zeros(300, "f4"),
                                   np.random.default_rng(0).normal(size=4_000).astype("f4") / 1e4])
def test_silence_gives_the_empty_transcript(recognizer, audio):
    transcript = recognizer.transcribe(audio)
    assert (transcript.text, transcript.words) == ("", ())
    assert transcript.duration == len(audio) / RATE


def test_a_short_sound_is_not_silence():
    audio = np.zeros(16_000, np.float32)
    assert is_silent(audio, 16_000)
    assert is_silent(np.zeros(3, np.float32), 16_000)
    audio[8_000:8_400] = 0.01
    assert not is_silent(audio, 16_000)
    assert not is_silent(audio[8_000:8_003], 16_000)


def test_the_stages_stand_alone(recognizer):
    features = recognizer.features(speech())
    assert features.shape == (101, 20)
    np.testing.assert_allclose(features, FeatureExtractor(FEATURES).extract(speech()), atol=1e-5)
    logits = recognizer.logits(features)
    assert logits.shape == (51, TOKENIZER.vocab_size)
    assert logits.dtype == np.float32
    assert recognizer.decode(logits, 1.0) == recognizer.transcribe(speech())
    assert GreedyDecoder(recognizer.tokenizer).decode(logits)[0].text == \
        recognizer.transcribe(speech()).text


@pytest.mark.parametrize("kind", ["none", "utterance", "global"])
def test_normalisation(tmp_path, kind, rng):
    settings = FeatureSettings(**{**vars(FEATURES), "cmvn": kind})
    statistics = (rng.normal(size=20), rng.uniform(1, 2, 20)) if kind == "global" else None
    recognizer = load(write_bundle(tmp_path / "m.asr", features=settings, cmvn=statistics))
    x = rng.normal(size=(7, 20)).astype("f4")
    expected = {"none": x, "utterance": cmvn(x)}.get(kind)
    if statistics:
        expected = cmvn(x, *(s.astype("f4") for s in statistics))
    np.testing.assert_allclose(recognizer.normalized(x), expected, rtol=1e-6)


def test_with_decoder(recognizer):
    other = recognizer.with_decoder(kind="lexicon", lexicon=("abc", "def"))
    assert set(other.transcribe(speech()).text.split()) <= {"abc", "def"}
    assert other.engine is recognizer.engine
    assert recognizer.decoder_settings.kind == "greedy"
    assert other.with_decoder(DecoderSettings()).transcribe(speech()) == \
        recognizer.transcribe(speech())
    decoder = GreedyDecoder(TOKENIZER)
    assert recognizer.with_decoder(decoder).decoder is decoder
    with pytest.raises(UsageError, match=r"unknown key beam_with\. Did you mean beam_width"):
        recognizer.with_decoder(beam_with=3)
    with pytest.raises(UsageError, match="kind must be one of 'greedy'"):
        recognizer.with_decoder(kind="best")
    with pytest.raises(UsageError, match="beam_width must be between"):
        recognizer.with_decoder(kind="beam", beam_width=0)


def test_a_language_model_inside_the_bundle(tmp_path):
    from tiny_bundle import ARPA

    (tmp_path / "words.arpa").write_text(ARPA)
    settings = DecoderSettings(kind="beam", beam_width=8, lm=str(tmp_path / "words.arpa"),
                               lm_weight=20.0, word_bonus=2.0)
    recognizer = load(write_bundle(tmp_path / "m.asr", decoder=settings))
    (tmp_path / "words.arpa").unlink()
    with_lm = recognizer.transcribe(speech()).text
    without = recognizer.with_decoder(lm="", word_bonus=0.0).transcribe(speech()).text
    assert with_lm != without
    assert recognizer.with_decoder(kind="greedy").transcribe(speech()).text


@pytest.mark.parametrize(("decoder", "match"), [
    (DecoderSettings(kind="beam", grammar="a (b"), r"grammar:1: \( without \)"),
    (DecoderSettings(kind="beam", grammar="(" * 9_999), "more than 100 brackets"),
    (DecoderSettings(kind="beam", hot_words=("zoo:2",)), "hot word 'zoo' holds 'z'"),
    (DecoderSettings(kind="beam", hot_words=("a:1e9",)), "between -100 and 100"),
    (DecoderSettings(kind="lexicon", lexicon=("zoo",)), "not in the alphabet"),
])
def test_a_decoder_that_cannot_be_built_is_the_bundles_fault(tmp_path, decoder, match):
    path = write_bundle(tmp_path / "m.asr", decoder=decoder)
    with pytest.raises(BundleError, match=rf"m\.asr: its decoder cannot be built: .*{match}"):
        load(path)


def test_describe_and_repr(recognizer, bundle_path):
    about = recognizer.describe()
    assert about["bundle"] == str(bundle_path)
    assert about["engine"] == "numpy"
    assert about["num_parameters"] == sum(w.size for w in tiny_bundle.random_weights().values())
    assert repr(recognizer).startswith("Recognizer(")
    assert "2 x 12 bidirectional LSTM" in repr(recognizer)
    assert isinstance(recognizer.engine, NumpyAcousticModel)


# -- loading


def test_a_run_directory_means_its_best_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"holds no best\.asr"):
        load(tmp_path)
    write_bundle(tmp_path / "best.asr")
    assert load(tmp_path).bundle.bundle_hash == load_bundle(tmp_path / "best.asr").bundle_hash
    assert find_bundle(tmp_path) == tmp_path / "best.asr"
    assert load(str(tmp_path)).bundle.path == tmp_path / "best.asr"


def test_the_shipped_bundle_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(asr.bundle.find, "SHIPPED", tmp_path / "none.asr")
    with pytest.raises(BundleError, match="ships no bundle"):
        load()
    monkeypatch.setattr(asr.bundle.find, "SHIPPED", write_bundle(tmp_path / "ours.asr"))
    assert load().bundle.path == tmp_path / "ours.asr"


def test_a_missing_file_a_foreign_model_and_a_saved_model(tmp_path):
    with pytest.raises(BundleError, match="Cannot open the bundle"):
        load(tmp_path / "none.asr")
    with pytest.raises(UsageError, match="executes code"):
        load(tmp_path / "model.keras")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UsageError, match="SavedModel"):
        load(tmp_path)


@pytest.mark.tf
def test_both_engines_write_the_same(bundle_path, recognizer):
    keras = load(bundle_path, engine="keras")
    audios = [speech(s, seed=i) for i, s in enumerate((0.3, 2.0, 0.05, 1.0))]
    assert [t.text for t in keras.transcribe_batch(audios)] == \
        [t.text for t in recognizer.transcribe_batch(audios)]


def test_transcribing_imports_no_tensorflow(bundle_path, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech(), RATE)
    code = ("import sys, asr\n"
            "print(asr.load(sys.argv[1]).transcribe(sys.argv[2]).text)\n"
            "print([m for m in ('tensorflow', 'keras', 'librosa', 'rich') if m in sys.modules])\n")
    done = subprocess.run([sys.executable, "-c", code, bundle_path, tmp_path / "a.wav"],
                          capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# -- refusals


@pytest.mark.parametrize("peak", [1e30, np.inf, np.nan])
def test_samples_that_are_no_sound_are_one_sentence(recognizer, peak):
    """Without a warning before it (they are errors here)."""
    with pytest.raises(AudioError, match=r"must lie in \[-1, 1\], got a peak of"):
        recognizer.transcribe(np.full(8_005, peak, np.float32))


@pytest.mark.parametrize("audio", [[0.1] * 800, 7, None])
def test_what_is_neither_recording_nor_array(recognizer, audio):
    with pytest.raises(UsageError, match="is no recording; give a path"):
        recognizer.transcribe(audio)


def test_wrong_arrays(recognizer):
    for audio in (np.zeros((2, 800), "f4"), np.zeros(800, "i2")):
        with pytest.raises(UsageError, match="is not mono audio"):
            recognizer.transcribe(audio)
    for rate in (-1, 0, float("nan")):
        with pytest.raises(UsageError, match="must be a positive number of Hz"):
            recognizer.transcribe(np.zeros(800, "f4"), sample_rate=rate)
    with pytest.raises(UsageError, match="a file says its own"):
        recognizer.transcribe("a.wav", sample_rate=8_000)
    with pytest.raises(AudioError, match="NaN|finite"):
        recognizer.transcribe(np.full(8_000, np.nan, "f4"))


@pytest.mark.parametrize("shape", [(20,), (0, 20), (5, 19)])
def test_wrong_features(recognizer, shape):
    with pytest.raises(UsageError, match=r"expected \(frames, 20\)"):
        recognizer.logits(np.zeros(shape, "f4"))
