"""Long pauses: what the network does not read, and that nothing else moves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_bundle import write_bundle

import asr.recognizer
from asr.audio.recording import blocks_of
from asr.cli import run
from asr.errors import RecipeError, UsageError
from asr.evaluation import evaluate
from asr.inference.long_pauses import LongPauses
from asr.inference.loop import infer, transcribe_tasks
from asr.inference.tasks import Task
from asr.inference.windows import Windows
from asr.manifest import Utterance
from asr.recipe import DecoderSettings, FeatureSettings, ModelSettings, load_recipe
from asr.recognizer import load

CLIPS = Path(asr.recognizer.__file__).parent / "assets" / "clips"
RATE = 8_000
FEATURES = FeatureSettings(sample_rate=RATE, n_fft=256, win_length=200, hop_length=80, n_mels=4)
MODEL = ModelSettings(stacking=3, subsampling=3, edge_frames=2)
DB = np.log(10) / 10


def rule(max_pause=0.4, features=FEATURES, model=MODEL) -> LongPauses:
    return LongPauses.of(features, model, DecoderSettings(max_pause=max_pause))


def rows(*stretches) -> np.ndarray:
    """(T, 4) features of (frames, dB) stretches, in log power."""
    return np.concatenate([np.full((frames, 4), level * DB, np.float32)
                           for frames, level in stretches])


# --- where ----------------------------------------------------------------------------------------

WORD = (50, -20)


@pytest.mark.parametrize(("stretches", "spans"), [
    ([WORD, (100, -60), WORD], [(24, 43)]),  # 70 .. 130 of frames 50 .. 150, in threes
    ([WORD, (40, -60), WORD], []),  # as long as a pause may be
    ([WORD, (42, -60), WORD], []),  # one output frame does not fit into two frames
    ([WORD, (47, -60), WORD], [(24, 25)]),
    ([(100, -60), WORD], [(0, 26)]),  # an end of the recording keeps nothing
    ([WORD, (100, -60)], [(24, 50)]),
    ([WORD, (101, -60)], [(24, 50)]),  # the last output frame has a third of its frames
    ([(60, -60), WORD, (60, -60)], [(0, 13), (44, 56)]),
    ([WORD, (100, -60), WORD, (100, -58), WORD], [(24, 43), (74, 93)]),
    ([WORD, (100, -60), WORD, (100, -53), WORD], [(24, 43)]),  # 7 dB above the room
    ([WORD, (100, -30), WORD], []),  # not far below speech
    ([WORD, (100, -33), WORD], [(24, 43)]),
    ([(300, -60)], []), ([WORD, WORD], []), ([(1, -20)], []),
    ([WORD, (100, -100), WORD, (100, -60), WORD], [(24, 43), (74, 93)]),  # digital silence
    ([WORD, (100, -100), WORD], [(24, 43)]),
    ([(30, -100), (20, -75), WORD, (100, -60), WORD], [(0, 10), (40, 60)]),  # a gate opens
    ([WORD, (50, -60), (2, -20), (50, -60), WORD], [(24, 26), (41, 44)])])
def test_the_middle_of_long_pauses_is_found(stretches, spans):
    pauses = rule()
    features = rows(*stretches)
    assert pauses.find(features) == spans
    left = pauses.leave_out(features, spans)
    assert len(left) == len(features) - sum(
        min(3 * stop, len(features)) - 3 * first for first, stop in spans) and len(left)


def test_a_word_is_found_in_a_minute_of_quiet_and_a_click_is_none():
    features = rows((3_000, -60), (40, -20), (3_000, -60))
    assert rule().find(features) == [(0, 993), (1020, 2013)]
    assert rule().find(rows((3_000, -60), (3, -20), (3_000, -60))) == []


def test_a_pause_is_read_whole_without_the_setting():
    features = rows(WORD, (500, -60), WORD)
    pauses = LongPauses.of(FEATURES, MODEL, DecoderSettings())
    assert pauses.find(features) == []
    assert pauses.leave_out(features, []) is features and pauses.put_back(features, []) is features


def test_the_loudness_of_mfcc_is_its_first_coefficient():
    settings = dataclasses.replace(FEATURES, kind="mfcc", n_mfcc=5)
    levels = rows(WORD, (100, -60), WORD)[:, :1] * np.sqrt(4)
    features = np.concatenate([levels, np.zeros((len(levels), 4), "f4")], axis=1)
    assert rule(features=settings).find(features) == [(24, 43)]


@pytest.mark.parametrize("subsampling", [1, 2, 3, 4])
def test_what_is_put_back_is_where_it_was(subsampling):
    """Features whose rows count, and a network that copies the first of each group."""
    rng = np.random.default_rng(subsampling)
    model = ModelSettings(stacking=4, subsampling=subsampling, edge_frames=3)
    pauses = rule(0.1, model=model)
    for _ in range(200):
        stretches = [(int(rng.integers(1, 60)), float(rng.choice([-20, -60, -61, -70])))
                     for _ in range(rng.integers(1, 8))]
        features = rows(*stretches)
        spans = pauses.find(features)
        numbered = np.repeat(np.arange(1, len(features) + 1, dtype="f4")[:, None], 3, axis=1)
        read = pauses.leave_out(numbered, spans)[::subsampling]
        edges = np.full((3, 3), -1, "f4")
        whole = pauses.put_back(np.concatenate([edges, read, edges]), spans)
        expected = np.concatenate([edges, numbered[::subsampling], edges])
        for first, stop in spans:
            expected[3 + first:3 + stop] = [0, -50, -50]
        np.testing.assert_array_equal(whole, expected)


# --- recordings -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def whole():
    return load().with_decoder(max_pause=0.0)


@pytest.fixture(scope="module")
def cut(whole):
    return whole.with_decoder(max_pause=0.4)


@pytest.fixture(scope="module")
def clip(whole):
    return whole.load_audio(CLIPS / "1-rms.ogg")


def room(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 5e-4, round(seconds * RATE)).astype("f4")


def spaced(clip, *gaps):
    """The clip between stretches of a room's quiet."""
    parts = [room(gaps[0], 9)]
    for number, gap in enumerate(gaps[1:]):
        parts += [clip, room(gap, number)]
    return np.concatenate(parts)


def frames_read(recognizer, audios, monkeypatch):
    counted = []
    plain = type(recognizer).logits_batch
    with monkeypatch.context() as patch:
        patch.setattr(type(recognizer), "logits_batch", lambda self, features: (
            counted.extend(map(len, features)), plain(self, features))[1])
        found = recognizer.transcribe_batch(audios)
    return found, sum(counted)


def test_words_keep_their_times_and_the_network_reads_less(whole, cut, clip, monkeypatch):
    audio = spaced(clip, 3.0, 5.0, 2.0)
    (read,), few = frames_read(cut, [audio], monkeypatch)
    (plain,), all_of = frames_read(whole, [audio], monkeypatch)
    assert read.text == plain.text == "four two zero nine four two zero nine"
    seconds = len(clip) / RATE
    assert few < (2 * seconds + 4 * 0.4) * 100 < all_of == 1 + len(audio) // 80
    for one, other in zip(read.words, plain.words, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=0.05)
    alone = cut.transcribe(clip)
    for shift, words in ((3.0, read.words[:4]), (8.0 + seconds, read.words[4:])):
        assert [word.start - shift for word in words] == pytest.approx(
            [word.start for word in alone.words], abs=0.06)
    assert read.duration == pytest.approx(len(audio) / RATE)


def test_the_length_of_a_pause_changes_no_logit_of_speech(cut, clip):
    """Ten seconds of the same quiet are read as one second is, bit by bit."""
    quiet = np.tile(room(0.1), 100)[:80 * 1000]
    short = np.concatenate([clip, quiet[:RATE * 1 - len(clip) % 240], clip])
    long = np.concatenate([clip, quiet[:RATE * 10 - len(clip) % 240], clip])
    one, other = (cut.transcribe(audio) for audio in (short, long))
    assert one.text == other.text
    assert [w.start for w in one.words[:4]] == [w.start for w in other.words[:4]]
    assert [w.start + 9 for w in one.words[4:]] == pytest.approx(
        [w.start for w in other.words[4:]], abs=0.02)


def test_each_recording_is_read_by_itself(cut, clip):
    audios = [spaced(clip, 0.1, 4.0, 0.1), clip, room(2.0), np.zeros(RATE, "f4"),
              spaced(clip, 2.0, 0.05), clip[:400]]
    together = cut.transcribe_batch(audios)
    assert together == [cut.transcribe(audio) for audio in audios]
    backwards = cut.transcribe_batch(audios[::-1])[::-1]
    assert together == backwards


def test_a_recording_in_windows_is_read_alike(cut, clip):
    audio = spaced(clip, 1.0, 6.0, 3.0, 5.0, 0.3)
    windows = load(windows=Windows(core_seconds=8, context_seconds=3, search_seconds=1,
                                   threshold_seconds=1)).with_decoder(max_pause=0.4)
    read, once = windows.transcribe(audio), cut.transcribe(audio)
    assert read.text == once.text == " ".join(["four two zero nine"] * 4)
    assert [w.start for w in read.words] == pytest.approx([w.start for w in once.words], abs=0.05)
    (result,) = infer(windows, [Task(0, audio, "a")])
    (plain,) = infer(windows.with_decoder(max_pause=0.0), [Task(0, audio, "a")])
    assert result.logits.shape == plain.logits.shape
    unread = (result.logits[:, 1:] == -50).all(axis=1)
    assert 0.4 < unread.mean() < 0.8 and not (plain.logits == -50).any()
    assert windows.transcribe_blocks(blocks_of(audio)).text == read.text


def test_texts_are_aligned_over_long_pauses(whole, cut, clip):
    audio = spaced(clip, 2.0, 4.0, 2.0)
    text = "four two zero nine four two zero nine"
    one, other = (model.align(audio, text) for model in (cut, whole))
    assert [w.start for w in one.words] == pytest.approx([w.start for w in other.words], abs=0.06)
    assert one.score <= 0


def test_warps_are_chosen_over_the_same_frames(cut, clip):
    warped = cut.with_decoder(warps=[0.9, 1.1], warp_below=1.0)
    audio = spaced(clip, 2.0, 4.0, 2.0)
    (result,) = transcribe_tasks(warped, [Task(0, audio, "a")])
    (plain,) = transcribe_tasks(cut, [Task(0, audio, "a")])
    assert result.logits.shape == plain.logits.shape and result.transcript.text
    assert ((result.logits == -50).any(axis=1) == (plain.logits == -50).any(axis=1)).all()


def test_steady_noise_is_read_whole(cut, whole, clip, monkeypatch):
    loud = clip * 0.2 + np.random.default_rng(1).normal(0, 0.05, len(clip)).astype("f4")
    audio = np.concatenate([loud[:100], loud, loud])
    assert frames_read(cut, [audio], monkeypatch)[1] == frames_read(whole, [audio], monkeypatch)[1]


# --- settings and receipts ------------------------------------------------------------------------

def test_features_without_loudness_are_refused(tmp_path):
    page = tmp_path / "a.toml"
    page.write_text("[decoder]\nmax_pause = 0.4\n")
    assert load_recipe(page).decoder.max_pause == 0.4
    with pytest.raises(RecipeError, match="how loud a frame is, and pcen does not"):
        load_recipe(page, ["features.kind=pcen"])
    with pytest.raises(RecipeError, match="max_pause must be between 0.0 and 60.0"):
        load_recipe(page, ["decoder.max_pause=-1"])
    with pytest.raises(UsageError, match="pcen does not. Leave it out"):
        rule(features=dataclasses.replace(FEATURES, kind="pcen"))


def test_a_bundle_keeps_the_setting_and_a_score_says_it(tmp_path, clip):
    path = write_bundle(tmp_path / "a.asr", decoder=DecoderSettings(max_pause=0.5))
    assert load(path).pauses.kept == round(0.25 * load(path).sample_rate / load(
        path).bundle.features.hop_length)
    soundfile.write(tmp_path / "a.wav", clip, RATE)
    row = Utterance("a", tmp_path / "a.wav", "four two zero nine", len(clip) / RATE)
    result = evaluate(load().with_decoder(max_pause=0.5), [row])
    assert ", pauses of at most 0.5 s" in result.score.receipt.conditions.decoder
    assert "pauses" not in evaluate(load().with_decoder(max_pause=0.0),
                                    [row]).score.receipt.conditions.decoder


def test_the_command_line_sets_it(tmp_path, clip, capsys):
    path = tmp_path / "a.wav"
    soundfile.write(path, spaced(clip, 1.0, 3.0, 1.0), RATE)
    assert run(["transcribe", str(path), "--max-pause", "0.4", "--format", "json"]) == 0
    words = json.loads(capsys.readouterr().out)["words"]
    assert len(words) == 8 and words[4]["start"] > 4 + len(clip) / RATE - 0.1
    assert run(["info"]) == 0
    assert run(["transcribe", str(path), "--max-pause", "-1"]) == 2
