"""Frequency warps: which one is chosen, by what, and that each recording chooses by itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_recordings import RATE, speech
from tiny_bundle import FEATURES, TOKENIZER, write_bundle

import asr.recognizer
from asr.audio import resample
from asr.audio.recording import blocks_of
from asr.cli import run
from asr.decoding import GreedyDecoder
from asr.decoding.calibration import Calibration
from asr.decoding.evidence import CalibratedDecoder
from asr.errors import BundleError, RecipeError, UsageError
from asr.evaluation import evaluate
from asr.features import FeatureExtractor, normalize_features
from asr.features.warping import warp_matrices
from asr.inference.long_recordings import window_logits
from asr.inference.loop import infer, transcribe_tasks
from asr.inference.stopwatch import Stopwatch
from asr.inference.tasks import Task
from asr.inference.warps import Warping, choose_warps, sureness
from asr.inference.windows import Windows, cut_windows
from asr.manifest import Utterance, write_manifest
from asr.recipe import DecoderSettings, FeatureSettings, load_recipe
from asr.recognizer import load
from asr.tuning.dev_set import read_dev_set

FACTORS = (0.85, 1.0, 1.2)
CLIPS = Path(asr.recognizer.__file__).parent / "assets" / "clips"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr")


@pytest.fixture(scope="module")
def plain(bundle):
    return load(bundle)


@pytest.fixture(scope="module")
def warped(plain):
    return plain.with_decoder(warps=FACTORS, warp_below=1.0)


def best_path(logits) -> float:
    """The oracle of the score: the log of the probability of the best path."""
    x = np.asarray(logits, np.float64)
    return float((x.max(axis=1) - np.logaddexp.reduce(x, axis=1)).sum())


def results(recognizer, audios, work=infer):
    found = list(work(recognizer, [Task(k, audio, str(k)) for k, audio in enumerate(audios)]))
    assert [one.error for one in found] == [None] * len(audios)
    return found


# --- settings -------------------------------------------------------------------------------------

def test_factors_are_tried_once_and_the_plain_features_always():
    def of(*factors, below=0.5):
        return Warping.of(FEATURES, DecoderSettings(warps=factors, warp_below=below))

    warping = of(0.9, 1.0, 1.1, 0.9)
    assert warping is not None and warping.factors == (0.9, 1.1) and warping.below == 0.5
    assert [warping.factor(warp) for warp in range(3)] == [1.0, 0.9, 1.1]
    assert of() is None and of(1.0) is None and of(0.9, below=0.0) is None
    row = np.random.default_rng(0).normal(size=(7, 20)).astype("f4")
    assert warping.apply(row, 0) is row
    matrix = warp_matrices(FeatureExtractor(FEATURES).mel_frequencies, np.array([1.1]))[0]
    np.testing.assert_allclose(warping.apply(row, 2), row @ matrix, atol=1e-6)


@pytest.mark.parametrize(("features", "factors", "message"), [
    ({"kind": "mfcc"}, (0.9,), "has mfcc with deltas = 0"),
    ({"kind": "pcen"}, (0.9,), "has pcen with"), ({"deltas": 1}, (0.9,), "deltas = 1"),
    ({}, [0.7 + 0.05 * k for k in range(10)], "has 9 factors, expected at most 8")])
def test_what_cannot_be_warped_is_refused(features, factors, message):
    settings = DecoderSettings(warps=tuple(map(float, np.round(factors, 2))))
    with pytest.raises(UsageError, match=message):
        Warping.of(dataclasses.replace(FeatureSettings(), **features), settings)


def test_a_recipe_and_a_bundle_are_checked(tmp_path, plain):
    page = tmp_path / "a.toml"
    page.write_text("[decoder]\nwarps = [0.9, 1.1]\n")
    assert load_recipe(page).decoder.warps == (0.9, 1.1)
    for override, message in (("features.deltas=1", "decoder.warps work on log-mel"),
                              ("decoder.warps=[0.5]", "between 0.7 and 1.4"),
                              (f"decoder.warps={[0.9] * 9}", "has 9 factors")):
        with pytest.raises(RecipeError, match=message):
            load_recipe(page, [override])
    with pytest.raises(RecipeError, match="warps must be between"):
        plain.with_decoder(warps=[2.0])
    with pytest.raises(BundleError, match="decoder.warps work on log-mel"):
        write_bundle(tmp_path / "b.asr", features=dataclasses.replace(FEATURES, deltas=1),
                     decoder=DecoderSettings(warps=(0.9,)))


# --- the choice -----------------------------------------------------------------------------------

GREEDY = GreedyDecoder(TOKENIZER)


def row_of(*sharpness):
    """Logits whose best label in frame t leads by sharpness[t]; above 0 a letter, else blank."""
    logits = np.zeros((len(sharpness), TOKENIZER.vocab_size), "f4")
    for frame, value in enumerate(sharpness):
        logits[frame, 2 if value > 0 else 0] = abs(value)
    return logits


def test_how_sure_the_network_is():
    expected = np.exp(best_path(row_of(3.0, 1.0)) / 2)  # silence makes it no surer
    assert sureness(row_of(3.0, -9.0, 1.0)) == pytest.approx(expected) and 0 < expected < 1
    assert sureness(row_of(-9.0, -9.0)) == 0.0
    assert sureness(row_of(3.0)) == pytest.approx(sureness(row_of(3.0, -9.0, -9.0)))


def test_only_the_unsure_are_tried_and_the_best_is_kept():
    nan = np.full((1, TOKENIZER.vocab_size), np.nan, "f4")
    table = [[row_of(9.0), None, None],             # sure
             [row_of(1.0), row_of(0.5), row_of(2.0)],
             [row_of(1.0), row_of(1.0), row_of(0.9)],  # a tie
             [row_of(1.0), nan, row_of(1.5)], [row_of(-9.0), row_of(4.0), row_of(-9.5)]]
    asked = []

    def network(pairs):
        asked.append(list(pairs))
        return [table[item][warp] for item, warp in pairs]

    warping = Warping((0.9, 1.1), np.zeros((2, 1, 1), "f4"), 0.9)
    chosen, _ = choose_warps(network, GREEDY, len(table), warping)
    assert [warp for warp, _ in chosen] == [0, 2, 0, 2, 2]
    assert all(row is table[item][warp] for item, (warp, row) in enumerate(chosen))
    assert asked == [[(k, 0) for k in range(5)], [(k, w) for k in range(1, 5) for w in (1, 2)]]
    assert choose_warps(network, GREEDY, 0, warping)[0] == []


def test_broken_logits_stay_for_the_decoder_to_report():
    nan = np.full((1, TOKENIZER.vocab_size), np.nan, "f4")
    warping = Warping((0.9,), np.zeros((1, 1, 1), "f4"), 1.0)
    ((warp, row),), _ = choose_warps(lambda pairs: [nan for _ in pairs], GREEDY, 1, warping)
    assert warp == 0 and row is nan


# --- the recogniser -------------------------------------------------------------------------------

SPOKEN = speech(2.0, seed=15)  # reads otherwise under the best warp
AUDIOS = [speech(s, seed=i) for i, s in enumerate((0.3, 2.0, 0.05, 1.0, 0.7, 1.5, 0.31, 3.0))]


def test_the_logits_are_those_of_the_best_path(plain, warped):
    matrices = warp_matrices(FeatureExtractor(FEATURES).mel_frequencies, np.array(FACTORS))
    found = results(warped, AUDIOS)
    for audio, result in zip(AUDIOS, found, strict=True):
        features = plain.features(audio)
        logits = [plain.logits(features if factor == 1 else features @ matrix)
                  for factor, matrix in zip(FACTORS, matrices, strict=True)]
        best = int(np.argmax([best_path(row) for row in logits]))
        assert result.warp == FACTORS[best] and result.logits is not None
        np.testing.assert_allclose(result.logits, logits[best], atol=1e-4)
        np.testing.assert_array_equal(result.features, features)  # of the pauses: unwarped
    assert len({one.warp for one in found}) == 3
    assert plain.warping is None and {one.warp for one in results(plain, AUDIOS)} == {1.0}


def test_the_decoder_judges(plain, warped):
    """A vocabulary, calibrated or not, chooses by its own scores."""
    lexicon = warped.with_decoder(kind="lexicon", lexicon=["bad", "cab"])
    found = results(lexicon, AUDIOS)
    matrices = warp_matrices(FeatureExtractor(FEATURES).mel_frequencies, np.array(FACTORS))
    for audio, result in zip(AUDIOS, found, strict=True):
        features = plain.features(audio)
        logits = [plain.logits(features if factor == 1 else features @ matrix)
                  for factor, matrix in zip(FACTORS, matrices, strict=True)]
        scores = [lexicon.decoder.decode(row)[0].score for row in logits]
        assert result.warp == FACTORS[int(np.argmax(scores))]
    assert [one.warp for one in found] != [one.warp for one in results(warped, AUDIOS)]
    calibrated = lexicon.with_decoder(CalibratedDecoder(lexicon.decoder, Calibration(bias=-1.0)))
    assert [one.warp for one in results(calibrated, AUDIOS)] == [one.warp for one in found]


def test_order_and_company_change_nothing(warped):
    alone = [warped.transcribe(audio) for audio in AUDIOS]
    assert warped.transcribe_batch(AUDIOS) == alone
    assert warped.transcribe_batch(AUDIOS[::-1]) == alone[::-1]
    for audio, one, other in zip(AUDIOS, results(warped, AUDIOS),
                                 results(warped, AUDIOS, transcribe_tasks), strict=True):
        (single,) = results(warped, [audio])
        np.testing.assert_array_equal(one.logits, single.logits)
        assert one.warp == other.warp == single.warp
        assert other.transcript == warped.decode(one.logits, one.duration, one.features)


def test_who_is_sure_is_not_tried(plain):
    limits = sorted(sureness(plain.logits(plain.features(audio))) for audio in AUDIOS)
    for tried in (0, 3, len(AUDIOS)):
        below = limits[tried] if tried < len(limits) else 1.0
        some = plain.with_decoder(warps=FACTORS, warp_below=below)
        seen: list[int] = []

        def counting(rows, forward=some.logits_batch, seen=seen):
            seen.append(len(rows))
            return forward(rows)

        some.logits_batch = counting
        results(some, AUDIOS)
        assert seen == [len(AUDIOS), *[2 * tried] * (tried > 0)]


def test_a_decoder_of_ones_own_and_another_kind_keep_the_warps(warped):
    assert warped.with_decoder(warped.decoder).warping is warped.warping
    beam = warped.with_decoder(kind="beam", beam_width=4)
    assert beam.warping is not None and beam.warping.factors == (0.85, 1.2)
    assert warped.with_decoder(warps=[]).warping is None


@pytest.mark.parametrize("cmvn", ["utterance", "map", "global"])
def test_each_window_of_a_long_recording_chooses(tmp_path, cmvn):
    features = dataclasses.replace(FEATURES, cmvn=cmvn)
    statistics = (np.full(20, -8, "f4"), np.full(20, 2, "f4")) if cmvn != "utterance" else None
    windows = Windows(threshold_seconds=2, core_seconds=2, context_seconds=1, search_seconds=0.5,
                      batch=2)
    path = write_bundle(tmp_path / "a.asr", features=features, cmvn=statistics,
                        decoder=DecoderSettings(warps=FACTORS, warp_below=1.0))
    recognizer = load(path, windows=windows)
    audio = speech(15)
    survey, pieces = window_logits(recognizer, blocks_of(audio), Stopwatch())
    cores = list(pieces)
    whole = recognizer.features(audio)
    matrices = warp_matrices(FeatureExtractor(features).mel_frequencies, np.array(FACTORS))
    read = [list(cut_windows([normalize_features(whole if f == 1 else whole @ m, features,
                                                 statistics)], survey.plan, 2))
            for f, m in zip(FACTORS, matrices, strict=True)]
    chosen = set()
    for number, (window, core) in enumerate(zip(survey.plan, cores, strict=True)):
        rows = [recognizer.engine.logits(some[number][np.newaxis], np.array([len(some[number])]))
                [0][0][window.first - window.start:window.last - window.start] for some in read]
        best = int(np.argmax([best_path(row) for row in rows]))
        np.testing.assert_allclose(core, rows[best], atol=2e-3)
        chosen.add(best)
    assert len(survey.plan) > 5 and len(chosen) > 1
    assert recognizer.transcribe(audio).text
    quiet = recognizer.transcribe(np.zeros(5 * RATE, "f4"))
    assert (quiet.text, quiet.duration) == ("", 5.0)


def test_a_smaller_and_a_larger_speaker_are_warped_back():
    """All frequencies times 1.4, or divided by it: the shipped network chooses against it."""
    recognizer = load().with_decoder(warps=[0.8, 0.9, 1.1, 1.2], warp_below=1.0)
    clips = [recognizer.load_audio(path) for path in sorted(CLIPS.glob("*.ogg"))]
    mean = {factor: np.mean([one.warp for one in results(
        recognizer, [resample(clip, round(8_000 * factor), 8_000) for clip in clips])])
        for factor in (1 / 1.4, 1.4)}
    assert len(clips) > 5 and mean[1 / 1.4] < 1.0 < mean[1.4]


def test_tuning_scoring_and_aligning_see_the_same_logits(tmp_path, warped, plain):
    utterances = []
    for number, audio in enumerate(AUDIOS[:3]):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, audio, RATE, subtype="FLOAT")
        utterances.append(Utterance(str(number), path, "bad cab", len(audio) / RATE))
    dev = read_dev_set(warped, utterances)
    scored = evaluate(warped, utterances)
    for row, utterance, result in zip(dev.logits, utterances, results(warped, AUDIOS[:3]),
                                      strict=True):
        np.testing.assert_array_equal(row, result.logits)
        assert scored.transcripts[utterance.id].text == warped.decode(result.logits).text
    assert scored.score.receipt.conditions.decoder == "greedy, warps 0.85 1 1.2 below 1"
    assert evaluate(plain, utterances).score.receipt.conditions.decoder == "greedy"
    aligned = warped.align_result(results(warped, AUDIOS[7:])[0], "bad")
    assert warped.align(AUDIOS[7], "bad") == aligned


# --- the commands ---------------------------------------------------------------------------------

@pytest.fixture
def recording(tmp_path) -> Path:
    soundfile.write(tmp_path / "a.wav", SPOKEN, RATE, subtype="FLOAT")
    return tmp_path / "a.wav"


def test_the_options(bundle, recording, plain, warped, capsys):
    def text(*options):
        assert run(["transcribe", str(bundle), str(recording), "-f", "txt", *options]) == 0
        return capsys.readouterr().out.strip()

    found = text("--warps", "0.85,1,1.2", "--warp-below", "1")
    assert found == warped.transcribe(SPOKEN).text != plain.transcribe(SPOKEN).text
    assert text("--warps", "none") == text() == plain.transcribe(SPOKEN).text
    kind = warped.with_decoder(kind="beam").transcribe(SPOKEN).text
    assert text("--warps", "0.85,1.2", "--warp-below", "1", "--decoder", "beam") == kind


@pytest.mark.parametrize(("options", "message"), [
    (["--warps", "0.9;1.1"], "--warps is '0.9;1.1'; expected factors such as 0.9,1.1, or none"),
    (["--warps", "3"], "warps must be between 0.7 and 1.4"),
    (["--warp-below", "0.5"], "--warp-below needs warps; this bundle has none")])
def test_options_that_cannot_be(bundle, recording, options, message, capsys):
    assert run(["transcribe", str(bundle), str(recording), *options]) == 2
    assert message in capsys.readouterr().err


def test_the_receipt_names_the_warps(bundle, recording, capsys):
    manifest = recording.parent / "a.jsonl"
    write_manifest(manifest, [Utterance("u", recording, "bad cab", 2.0)])
    assert run(["evaluate", str(bundle), str(manifest), "--warps", "0.9,1.1", "--json"]) == 0
    assert "warps 0.9 1.1 below" in json.dumps(json.loads(capsys.readouterr().out))


def test_the_final_text_of_live_speech_is_that_of_the_warps(plain, warped):
    texts = []
    for recognizer in (plain, warped):
        stream = recognizer.stream()
        finals = stream.feed(SPOKEN) + stream.finish()
        texts.append(" ".join(final.text for final in finals))
        assert texts[-1] == recognizer.transcribe(SPOKEN).text
    assert texts[0] != texts[1]
