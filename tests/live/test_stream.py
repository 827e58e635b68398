"""Streams: finals are those of files, stable text stays, memory is bounded, and bad pieces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recordings import speech as made_speech
from tiny_bundle import write_bundle

from asr import load, load_audio
from asr.errors import AudioError, UsageError
from asr.features import normalize_features
from asr.live import Stream, StreamSettings, utterance
from asr.live.ending import pause_after
from asr.live.network import ChunkedNetwork, Contexts
from asr.live.normalizing import OnlineNormalizer
from asr.network.engine import pad_batch
from asr.recipe import FeatureSettings

CLIPS = sorted((Path(__file__).parents[2] / "asr" / "assets" / "clips").glob("*.ogg"))
RATE = 8_000  # of the shipped model


@pytest.fixture(scope="module")
def recognizer():
    return load()


def noise(seconds: float, seed: int = 1, level: float = 1e-3) -> np.ndarray:
    return (level * np.random.default_rng(seed).normal(size=round(seconds * RATE))
            ).astype(np.float32)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Three clips in a room, with pauses."""
    clips = [load_audio(path, sample_rate=RATE) for path in CLIPS[:3]]
    audio = np.concatenate([noise(0.5), *(part for clip in clips for part in (clip, noise(1.5)))])
    return audio + noise(len(audio) / RATE, 2)


def heard(recognizer, audio, cuts=(), **options) -> tuple[list, list]:
    """Finals, and the partials after each piece."""
    stream = recognizer.stream(**options)
    finals, partials = [], []
    for piece in np.split(audio, sorted(cuts)):
        finals += stream.feed(piece)
        partials.append(stream.partial())
    return finals + stream.finish(), partials


@pytest.mark.parametrize("right", [0.3, 0.6, 2.0])
def test_a_chunk_moves_no_frame(recognizer, right):
    """The quiet frames that the network adds before an utterance are kept once, and the logits of
    what it has read with all of its context are those of one pass."""
    clip = load_audio(CLIPS[0], sample_rate=RATE)
    frames = int(np.ceil(right / recognizer.clock.seconds_per_frame))
    chunked = ChunkedNetwork(recognizer, Contexts(10_000, frames),
                             OnlineNormalizer(recognizer.bundle.features, recognizer.bundle.cmvn))
    model = recognizer.bundle.model
    for block in np.split(clip, range(2_400, len(clip), 2_400)):
        chunked.feed(block)
        chunked.advance()
        available = len(chunked.features()) // model.subsampling
        assert len(chunked.logits()) == available + 2 * model.edge_frames
        assert chunked.num_kept == max(0, available - frames)
    if right == 2.0:  # next to nothing was kept before the end
        window = chunked._normalize(chunked.features())[:available * model.subsampling]
        whole, lengths = recognizer.engine.logits(*pad_batch([window]))
        np.testing.assert_allclose(chunked.logits()[-50:], whole[0, :lengths[0]][-50:], atol=1e-4)


@pytest.mark.parametrize("right", [0.3, 0.6, 2.0])
def test_words_are_shown_where_they_are_said(recognizer, right):
    clip = np.concatenate([load_audio(CLIPS[0], sample_rate=RATE), noise(1.5)])
    finals, partials = heard(recognizer, clip, range(0, len(clip), 2_400), right_context=right)
    assert [final.text for final in finals] == ["four two zero nine"]
    shown = next(p for p in reversed(partials) if len(p.words) == 4 and not p.stable_text)
    for word, final in zip(shown.words, finals[0].words, strict=True):
        assert final.start - 0.1 < word.start < word.end < final.end + 0.1


def test_each_clip_is_an_utterance_with_the_times_of_the_stream(recognizer, speech):
    finals, _ = heard(recognizer, speech, range(0, len(speech), 500))
    assert len(finals) == 3
    starts = np.cumsum([0.5 * RATE] + [len(load_audio(path, sample_rate=RATE)) + 1.5 * RATE
                                       for path in CLIPS[:2]]) / RATE
    for final, start, path in zip(finals, starts, CLIPS, strict=False):
        length = len(load_audio(path, sample_rate=RATE)) / RATE
        assert start - 0.2 < final.words[0].start < final.words[-1].end < start + length + 0.2
        assert final.words[-1].end <= final.duration


def test_a_final_is_the_offline_text_of_its_segment(recognizer, speech):
    from asr.live import stream as module

    class Listening:
        """The recogniser; keeps what it is given to transcribe."""

        def __init__(self):
            self.segments = []

        def __getattr__(self, name):
            return getattr(recognizer, name)

        def transcribe(self, audio):
            found = recognizer.transcribe(audio)
            self.segments.append((found, audio.copy()))
            return found

    listening = Listening()
    stream = module.Stream(listening, RATE, StreamSettings())
    finals = stream.feed(speech) + stream.finish()
    at = 0
    assert len(finals) == 3
    for final in finals:
        segment = next(audio for found, audio in reversed(listening.segments)
                       if (found.text, found.score) == (final.text, final.score))
        places = np.flatnonzero(speech[at:] == segment[0]) + at
        start = next(p for p in places if np.array_equal(speech[p:p + len(segment)], segment))
        offline = load().transcribe(speech[start:start + len(segment)])
        assert (final.text, final.confidence) == (offline.text, offline.confidence)
        for mine, theirs in zip(final.words, offline.words, strict=True):
            assert mine.start == pytest.approx(theirs.start + start / RATE)
            assert mine.end == pytest.approx(theirs.end + start / RATE)
        at = start + len(segment)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 75_000), max_size=12), st.sampled_from([8_000, 16_000, 44_100]))
def test_any_cutting_gives_the_same(recognizer, speech, cuts, rate):
    audio = speech[:75_000]
    whole = heard(recognizer, audio, sample_rate=rate)[0]
    assert heard(recognizer, audio, cuts, sample_rate=rate)[0] == whole


def test_stable_text_stays_and_begins_every_later_text(recognizer, speech):
    stream, shown, open_finals = recognizer.stream(stable_pause=0.2), "", 0
    changed = 0
    for piece in np.split(speech, range(800, len(speech), 800)):
        ended = stream.feed(piece)
        partial = stream.partial()
        if ended:
            assert (ended[0].text + " ").startswith(shown and shown + " ")
            shown, open_finals = "", open_finals + len(ended)
        assert partial.stable_text.startswith(shown)
        assert partial.text.startswith(partial.stable_text)
        assert partial.text == " ".join(word.text for word in partial.words)
        changed += partial.stable_text != shown
        shown = partial.stable_text
    assert open_finals == 3 and changed >= 3


@pytest.mark.parametrize("shift", [0.0, -0.1, 0.1])
def test_a_pause_that_ends_the_utterance_is_read_once(recognizer, speech, shift, monkeypatch):
    """Stable and final words are those of the same samples, so stable words change no final; also
    where a later pass sees the last word end a block earlier or later."""
    read, transcribe, pauses = [], recognizer.transcribe, []
    monkeypatch.setattr(recognizer, "transcribe", lambda audio: (
        read.append(len(audio)), transcribe(audio))[1])
    monkeypatch.setattr(utterance, "pause_after", lambda *args: max(
        0.0, pause_after(*args) + shift * (pauses.append(1) or len(pauses) % 2)))
    finals, partials = heard(recognizer, speech, range(0, len(speech), 800))
    assert len(finals) == len(read) == 3
    if not shift:  # else words may become stable with the end alone
        assert {final.text for final in finals} <= {partial.stable_text for partial in partials}
    monkeypatch.setattr(utterance, "pause_after", pause_after)
    finals = heard(recognizer, speech, range(0, len(speech), 800))[0]
    read.clear()
    assert ([final.text for final in heard(recognizer, speech, stable_pause=60)[0]]
            == [final.text for final in finals])
    assert len(read) == 3


class Gated:
    """A network of random weights that writes nothing where it is quiet."""

    name = "gated"

    def __init__(self, recognizer):
        self.engine, self.model = recognizer.engine, recognizer.bundle.model

    def logits(self, features, num_frames):
        logits, lengths = self.engine.logits(features, num_frames)
        edge = self.model.edge_frames
        for row, logit in zip(features, logits, strict=True):
            quiet = row.mean(axis=1)[::self.model.subsampling] < -0.5
            logit[edge:edge + len(quiet)][quiet[:len(logit) - edge], 0] = 50.0
            logit[:edge, 0] = logit[edge + len(quiet):, 0] = 50.0
        return logits, lengths


@pytest.fixture(scope="module")
def fickle(tmp_path_factory):
    """A recogniser that changes its mind all the time."""
    found = load(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr"))
    found.engine = Gated(found)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_stable_words_begin_the_final_text_whatever_the_network_does(fickle, seed, monkeypatch):
    split, splits = Stream._split, []
    monkeypatch.setattr(Stream, "_split", lambda self, finals: (
        splits.append(1), split(self, finals))[1])
    stream = fickle.stream(end_pause=1.0, stable_pause=0.2, right_context=0.2, max_utterance=9.0)
    stable, times, finals = "", [], []
    for piece in np.split(made_speech(20, seed), range(800, 160_000, 800)):
        for final in stream.feed(piece):
            assert (final.text + " ").startswith(stable and stable + " ")
            finals.append(final)
            times += [edge for word in final.words for edge in (word.start, word.end)]
            stable = ""
        partial = stream.partial()
        assert (partial.stable_text + " ").startswith(stable and stable + " ")
        assert (partial.text + " ").startswith(partial.stable_text and partial.stable_text + " ")
        edges = [edge for word in partial.words for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        stable = partial.stable_text
    rest = stream.finish()
    assert not rest or (rest[0].text + " ").startswith(stable and stable + " ")
    assert len(splits) > 2 and len(finals) > 2
    assert times == sorted(times)


READERS = {"greedy": {"kind": "greedy"}, "beam": {"kind": "beam", "beam_width": 8},
           "lexicon": {"kind": "beam", "beam_width": 8,
                       "lexicon": ["bad", "cab", "fade", "hedge", "a", "face"]}}


@pytest.mark.parametrize("reader", sorted(READERS))
@pytest.mark.parametrize("seed,lag,stable_pause", [
    (0, 0.3, 0.2), (1, 0.5, 60), (2, 1.0, 0.2), (3, 2.0, 60)])
def test_no_word_is_later_than_the_lag(fickle, reader, seed, lag, stable_pause):
    """Stable words begin every later text, and none joins them from before the lag. A word that was
    being spoken then may be read otherwise, so its start counts."""
    stream = fickle.with_decoder(**READERS[reader]).stream(
        max_lag=lag, stable_pause=stable_pause, end_pause=0.8, right_context=0.2,
        max_utterance=9.0)
    audio = made_speech(12, seed)
    stable, seen, at, sizes = [], [], 0, np.random.default_rng(seed)
    while True:
        size = int(sizes.integers(1, 801))
        finals = stream.feed(audio[at:at + size]) if at < len(audio) else stream.finish()
        for i, final in enumerate(finals):
            texts = [word.text for word in final.words]
            assert final.text.split() == texts
            assert "".join(one.text for one in final.characters) == "".join(texts)
            assert i or texts[:len(stable)] == stable
            for count, floor in seen if not i else ():
                assert all(word.end >= floor - 1e-6 for word in final.words[count:])
            stable, seen = [], []
        if at >= len(audio):
            break
        at += size
        partial = stream.partial()
        words = [word.text for word in partial.words]
        count = len(partial.stable_text.split())
        assert words[:len(stable)] == stable and count >= len(stable)
        assert partial.text.split() == words
        late = stream.seconds - lag
        assert not partial.words or all(word.end >= late - 1e-6 for word in partial.words[count:])
        for before, floor in seen:
            assert all(word.end >= floor - 1e-6 for word in partial.words[before:])
        stable = words[:count]
        if partial.words:
            seen.append((count, min([late, *(word.start for word in partial.words[count:])])))


@pytest.mark.parametrize("reader", sorted(READERS))
def test_words_of_an_utterance_without_pauses_become_stable(fickle, reader):
    audio = made_speech(20, 3)
    found = {lag: heard(fickle.with_decoder(**READERS[reader]), audio, range(0, len(audio), 800),
                        stable_pause=60, right_context=0.2, max_lag=lag)[1]
             for lag in (0.5, np.inf)}
    assert not any(partial.stable_text for partial in found[np.inf])
    assert sum(len(partial.stable_text) > 0 for partial in found[0.5]) > 20


def test_a_lag_that_is_never_reached_changes_nothing(recognizer, fickle, speech):
    for model, audio in ((recognizer, speech), (fickle, made_speech(20, 1))):
        endless, long, default = (
            heard(model, audio, range(0, len(audio), 800), **options)
            for options in ({"max_lag": np.inf}, {"max_lag": 1e9, "stable_pause": 60}, {}))
        assert endless == default or StreamSettings.max_lag < np.inf
        assert long == heard(model, audio, range(0, len(audio), 800), stable_pause=60,
                             max_lag=np.inf)


def test_a_grammar_has_no_stable_words(recognizer, speech):
    closed = recognizer.with_decoder(kind="beam", grammar="four two zero nine", lexicon=[])
    _, partials = heard(closed, speech[:40_000], range(0, 40_000, 800), stable_pause=0.1,
                        max_lag=0.5)
    assert any(partial.text for partial in partials)
    assert not any(partial.stable_text for partial in partials)


def test_the_utterances_before_are_the_prior():
    rng = np.random.default_rng(0)
    loud, quiet = (rng.normal(mean, spread, (count, 4)).astype(np.float32)
                   for mean, spread, count in ((3, 2, 500), (0, 1, 10)))
    normalize = OnlineNormalizer(FeatureSettings(cmvn="utterance"), None)
    assert np.abs(normalize(quiet).mean(axis=0)).max() < 1e-5
    normalize.remember(loud)
    assert normalize(quiet).mean() < -1 and abs(normalize(loud).mean()) < 0.05
    statistics = np.zeros(4, np.float32), np.ones(4, np.float32)
    leveled = OnlineNormalizer(FeatureSettings(cmvn="map"), statistics)
    alone = leveled(quiet)
    np.testing.assert_allclose(alone, normalize_features(
        quiet, FeatureSettings(cmvn="map"), statistics), atol=1e-6)
    leveled.remember(loud)
    assert leveled(quiet).mean() < alone.mean() - 1


@pytest.mark.parametrize("kind", ["utterance", "map"])
def test_a_long_quiet_beginning_counts_little_after_a_loud_utterance(kind):
    rng = np.random.default_rng(0)
    loud, quiet = (rng.normal(mean, 1, (count, 4)).astype(np.float32)
                   for mean, count in ((3, 500), (-9, 5_000)))
    statistics = (np.zeros(4, np.float32), np.ones(4, np.float32)) if kind == "map" else None

    def moved(range_db: float) -> float:
        settings = FeatureSettings(cmvn=kind, cmvn_range_db=range_db)
        normalize = OnlineNormalizer(settings, statistics)
        np.testing.assert_allclose(normalize(quiet), normalize_features(
            quiet, settings, statistics), atol=1e-5)
        normalize.remember(loud)
        before = normalize(loud)
        after = normalize(np.concatenate([quiet, loud]))[len(quiet):]
        normalize.remember(quiet)
        assert np.isfinite(normalize(quiet)).all()
        return float(np.abs(after - before).mean() + np.abs(normalize(loud) - before).mean())

    assert moved(30.0) < 0.7 * moved(0.0)


def test_quiet_before_the_second_utterance_is_quiet_for_the_network(recognizer):
    """The level of the first one is known then; the first one has only the quiet itself."""
    class Watched:
        """The engine of the recogniser; keeps the first chunk that it is given."""

        name = "watched"
        first = None

        def logits(self, features, num_frames):
            if self.first is None:
                self.first = features[0, :20].mean()
            return recognizer.engine.logits(features, num_frames)

    clip, listening = load_audio(CLIPS[0], sample_rate=RATE), load()
    listening.engine = Watched()
    stream = listening.stream()
    stream.feed(np.concatenate([noise(0.5), clip]))
    alone = listening.engine.first
    assert len(stream.feed(noise(1.5, 2))) == 1
    listening.engine.first = None
    stream.feed(noise(0.6, 3))
    assert listening.engine.first < alone - 0.5


@pytest.mark.parametrize("lead", [0.6, 1.7, 3.4])
def test_a_long_quiet_lead_is_dropped_once_words_begin(recognizer, lead):
    """It would change the statistics of the utterance, and with them what is read."""
    clip = load_audio(CLIPS[0], sample_rate=RATE)
    stream = recognizer.stream()
    room = noise(lead + len(clip) / RATE)  # it goes on under the words
    stream.feed(room + np.concatenate([np.zeros(len(room) - len(clip), np.float32), clip]))
    partial = stream.partial()
    assert partial.text.startswith("four two zero")
    start = stream._start / RATE
    assert 0.3 <= partial.words[0].start - start <= 1.1
    assert abs(partial.words[0].start - lead) < 0.5
    assert [final.text for final in stream.finish()] == ["four two zero nine"]


def test_partial_text_comes_within_a_second(recognizer, speech):
    """At the end of a word's labels plus a second, the word is in the partial text."""
    final = heard(recognizer, speech)[0][0]
    stream = recognizer.stream()
    for word in final.words[:-1]:
        upto = round((word.end + 1.0) * RATE)
        stream.feed(speech[round(stream.seconds * RATE):upto])
        assert word.text in stream.partial().text.split()


def test_memory_is_bounded_over_hours(recognizer):
    """Two hours of silence, then of speech without a pause, from a network that costs nothing."""
    class Quick:
        """Every tenth frame is a label, as long as there is sound."""

        name = "quick"

        def logits(self, features, num_frames):
            length = -(-features.shape[1] // recognizer.bundle.model.subsampling)
            edge = recognizer.bundle.model.edge_frames
            logits = np.zeros((1, length + 2 * edge, recognizer.tokenizer.vocab_size), np.float32)
            logits[..., 0] = 1
            logits[:, ::10, 3] = 2
            return logits, np.array([logits.shape[1]], np.int32)

    quick = load()
    quick.engine = Quick()
    quick = quick.with_decoder(kind="greedy")
    tone = np.arange(RATE * 20) / RATE
    tone = (0.1 * np.sin(1e4 * tone) * np.sin(9 * tone) ** 8).astype(np.float32)
    for piece, expected in ((np.zeros_like(tone), False), (tone, True)):
        stream, finals, held = quick.stream(max_utterance=10.0), 0, []
        for _ in range(12):
            finals += len(stream.feed(piece))
            held.append(stream._open.num_samples / RATE)
        assert max(held) <= 10.3 and bool(finals) is expected
        assert stream.seconds == pytest.approx(240, abs=0.2)


@pytest.mark.parametrize("piece", [np.zeros(0, np.float32), np.zeros(99_999, np.float32),
                                   noise(5, level=1e-5)])
def test_silence_has_no_text(recognizer, piece):
    finals, partials = heard(recognizer, piece)
    assert not finals and partials[-1].text == ""


@pytest.mark.parametrize("piece,error,message", [
    (np.zeros((5, 2), np.float32), UsageError, r"shape \(5, 2\).*expected \(n,\) floating point"),
    (np.zeros(5, np.int16), UsageError, "type int16"),
    ([0.0], UsageError, "not mono audio"),
    (np.array([0.0, np.nan], np.float32), AudioError, "not finite"),
    (np.array([np.inf]), AudioError, "not finite"),
    (np.array([20_000.0]), AudioError, "scale 16-bit samples")])
def test_pieces_that_cannot_be(recognizer, piece, error, message):
    stream = recognizer.stream()
    with pytest.raises(error, match=message):
        stream.feed(piece)
    assert stream.feed(noise(0.2)) == []  # the stream goes on


@pytest.mark.parametrize("options,message", [
    ({"end_pause": 0}, "end_pause is 0; expected 0.1 to 60"), ({"chunk": "1"}, "chunk is '1'"),
    ({"right_context": float("nan")}, "right_context is nan"), ({"sample_rate": -1}, "1,000 to"),
    ({"max_lag": 0.2}, "max_lag is 0.2; expected at least chunk, 0.3 seconds"),
    ({"max_lag": float("nan")}, "max_lag is nan"),
    ({"pause": 1.0}, "no setting pause; it has end_pause")])
def test_settings_that_cannot_be(recognizer, options, message):
    with pytest.raises(UsageError, match=message):
        recognizer.stream(**options)


def test_a_closed_stream_says_so(recognizer):
    stream = recognizer.stream()
    assert stream.finish() == []
    for use in (stream.finish, stream.partial, lambda: stream.feed(noise(1))):
        with pytest.raises(UsageError, match="stream is closed"):
            use()


def test_a_lost_packet_does_not_hide_the_pause(recognizer, speech):
    """50 ms of digital zeros in a pause of room noise."""
    audio = speech.copy()
    first = heard(recognizer, speech)[0][0]
    at = round((first.words[-1].end + 0.1) * RATE)
    audio[at:at + 400] = 0
    finals = heard(recognizer, audio)[0]
    assert [f.text for f in finals][0] == first.text and len(finals) == 3


class Babbling:
    """A network that finds words in everything."""

    name = "babbling"

    def __init__(self, engine):
        self.engine = engine

    def logits(self, features, num_frames):
        logits, lengths = self.engine.logits(features, num_frames)
        logits[:, :, 0] = -50.0
        return logits, lengths


def test_noise_has_no_words(monkeypatch):
    """Whatever the network finds in it."""
    recognizer = load()
    monkeypatch.setattr(recognizer, "engine", Babbling(recognizer.engine))
    assert all(recognizer.transcribe(noise(3, seed)).text for seed in range(5))
    for seed in range(5):
        finals, partials = heard(recognizer, noise(8, seed))
        assert not finals and partials[-1].text == ""


def test_every_kind_of_normalisation(recognizer, speech):
    for kind in ("utterance", "none"):
        bundle = replace(recognizer.bundle, features=replace(
            recognizer.bundle.features, cmvn=kind), cmvn=None)
        other = load()
        other.bundle = bundle
        finals, _ = heard(other, speech[:50_000])
        assert isinstance(finals, list)
