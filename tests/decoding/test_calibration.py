"""Confidence: evidence equals enumeration, calibration finds the temperature, and ECE is honest."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from forged_bundle import forge_config
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_decoding import ToyModel, label_string_scores
from scipy.optimize import minimize
from small_models import CHARACTER_ARPA, CHARACTER_MODEL, WORD_ARPA, WORD_MODEL
from tiny_bundle import TOKENIZER, write_bundle

from asr.bundle import load_bundle
from asr.cli import run
from asr.decoding import BeamSearchDecoder, GreedyDecoder, log_softmax
from asr.decoding.calibration import (
    EVIDENCE,
    Calibration,
    calibration_kind,
    kinds,
    read_calibrations,
)
from asr.decoding.evidence import (
    MAX_LOG_ODDS,
    SQUARE,
    CalibratedDecoder,
    calibrated,
    log_odds,
    segment_log_probability,
    with_shares,
    word_evidence,
)
from asr.decoding.hypothesis import Hypothesis, WordSpan
from asr.decoding.ngram_fusion import fit_of_words
from asr.errors import BundleError, DataError, UsageError
from asr.language_model.arpa import parse_arpa
from asr.language_model.ngram import build_ngram
from asr.recipe import DecoderSettings
from asr.recognizer import load
from asr.text.tokenizer import CharTokenizer
from asr.tuning import DevSet
from asr.tuning.calibration import Judged, calibrate, cross_fitted, fit, judge, pooled

SEEDS = st.integers(0, 2**32 - 1)


def overconfident(words=4_000, temperature=3.0, bias=0.0, seed=0, speakers=20):
    """Words whose log-odds are too large by a known temperature, and off by a known bias."""
    rng = np.random.default_rng(seed)
    true = rng.normal(1.0, 1.5, words)
    right = rng.random(words) < 1 / (1 + np.exp(-true))
    claimed = np.clip(temperature * (true - bias), -MAX_LOG_ODDS, MAX_LOG_ODDS)
    utterances = np.arange(words) // 10
    evidence = np.column_stack([claimed, rng.normal(size=(words, 2)), np.full((words, 2), 16.0),
                                claimed * np.abs(claimed) / SQUARE])
    return Judged("greedy", evidence, 1 / (1 + np.exp(-claimed)), right, utterances,
                  tuple(f"s{n % speakers}" for n in range(words // 10)))


# Evidence.

@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 5), st.sampled_from(["a", "b", "ab", "aa", "aba"]), st.booleans())
def test_the_segment_posterior_sums_every_alignment(seed, num_frames, word, spaced):
    tokenizer = CharTokenizer(" ab" if spaced else "ab")
    logits = np.random.default_rng(seed).normal(size=(num_frames, tokenizer.vocab_size))
    log_probs = log_softmax(logits.astype(np.float32))
    wanted = [score for labels, score in label_string_scores(log_probs).items()
              if tokenizer.decode(labels).strip() == word]
    space = tokenizer.encode(" ")[0] if spaced else -1
    found = segment_log_probability(log_probs, np.array(tokenizer.encode(word)), space)
    if wanted:
        assert found == pytest.approx(np.logaddexp.reduce(wanted), abs=1e-9)
    else:
        assert found == -np.inf


def test_evidence_lies_between_the_neighbours_and_is_bounded():
    rng = np.random.default_rng(1)
    log_probs = log_softmax(rng.normal(size=(40, TOKENIZER.vocab_size)).astype(np.float32) * 4)
    words = GreedyDecoder(TOKENIZER).search(log_probs)[0].words
    assert len(words) > 2
    rows = word_evidence(log_probs, words, TOKENIZER)
    assert rows.shape == (len(words), len(EVIDENCE)) and (abs(rows[:, :5]) <= MAX_LOG_ODDS).all()
    np.testing.assert_allclose(1 / (1 + np.exp(-rows[:, 0])), [w.confidence for w in words],
                               rtol=1e-6)
    window = np.ascontiguousarray(log_probs[words[0].end:words[2].start])
    labels = np.array(TOKENIZER.encode(words[1].text))
    alone = segment_log_probability(window, labels, TOKENIZER.encode(" ")[0])
    assert rows[1, 1] == pytest.approx(float(log_odds(np.array([alone]))[0]))
    assert rows[1, 2] == pytest.approx(float(log_odds(np.array([alone / len(labels)]))[0]))
    assert (rows[:, 3:5] == MAX_LOG_ODDS).all(), "greedy has no beam to share, no language model"
    np.testing.assert_allclose(rows[:, 5], np.sign(rows[:, 0]) * rows[:, 0] ** 2 / 4)


def test_log_odds_of_certain_and_impossible():
    found = log_odds(np.array([0.0, -1e-20, np.log(0.5), -1e4]))
    assert found.tolist() == [MAX_LOG_ODDS, MAX_LOG_ODDS, 0.0, -MAX_LOG_ODDS]


def test_shares_count_the_readings_that_agree_on_a_place():
    spans = [WordSpan(w, 2 * n, 2 * n + 1, 0.5) for n, w in enumerate(["a", "b", "a", "c"])]
    readings = [["a", "b", "a", "c"], ["b", "a", "c"], ["a", "b", "c"], ["d"], []]
    shares = np.array([0.4, 0.3, 0.2, 0.06, 0.04])
    found = with_shares(spans, readings, shares)
    assert [round(w.share, 6) for w in found] == [0.6, 0.9, 0.7, 0.9]
    assert with_shares([], readings, shares) == ()


def test_beam_search_says_what_part_of_the_beam_agrees():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(30, TOKENIZER.vocab_size)).astype(np.float32) * 2
    decoder = BeamSearchDecoder(TOKENIZER, 16, num_hypotheses=16)
    found = decoder.decode(logits)
    for one in found:
        for word in one.words:
            assert one.confidence - 1e-9 <= word.share <= 1.0
    assert any(0 < word.share < 1 for word in found[0].words)


@pytest.mark.parametrize("text", ["a", "a ab", "a ab a", "ba", "x a"])
def test_a_word_fits_as_well_as_the_model_says_of_it_and_of_what_follows(text):
    words = text.split()
    toy = ToyModel(WORD_ARPA)  # natural logs of whole prefixes; an end is a word of its own
    scores = np.diff([0.0, *(toy.score(words[:n], end=False) for n in range(1, len(words) + 1)),
                      toy.score(words)])
    found = fit_of_words(WORD_MODEL, words, characters=False)
    np.testing.assert_allclose(found, (scores[:-1] + scores[1:]) / 2, atol=1e-5)


def test_the_characters_of_a_word_and_its_space_are_one_probability():
    toy = ToyModel(CHARACTER_ARPA)
    first = toy.score(["a", "b", "<space>"], end=False)
    ended = toy.score(["a", "b", "<space>", "a"])
    found = fit_of_words(CHARACTER_MODEL, ["ab", "a"], characters=True)
    # "ab" with its space, then "a" with </s>; the last word has nothing after it.
    np.testing.assert_allclose(found, [(first + ended - first) / 2, ended - first], atol=1e-5)
    assert len(fit_of_words(CHARACTER_MODEL, [], characters=True)) == 0


def test_a_model_without_an_end_judges_the_last_word_alone():
    lines = [line for line in WORD_ARPA.splitlines() if "</s>" not in line]
    endless = build_ngram(*parse_arpa([line.replace("1=6", "1=5").replace("2=5", "2=4")
                                       for line in lines], name="endless"))
    own = endless.score_words(["a", "ab"])
    np.testing.assert_allclose(fit_of_words(endless, ["a", "ab"], characters=False),
                               [own.mean(), own[1]])


def test_beam_search_says_how_well_words_fit_where_there_is_a_model():
    logits = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32) * 2
    tokenizer = CharTokenizer(" ab")
    plain, fused = (BeamSearchDecoder(tokenizer, 16, language_model=model).decode(logits)[0]
                    for model in (None, WORD_MODEL))
    assert {word.language for word in plain.words} == {1.0}
    wanted = np.exp(fit_of_words(WORD_MODEL, [w.text for w in fused.words], characters=False))
    assert [word.language for word in fused.words] == pytest.approx(wanted.tolist())


# The calibration itself.

@pytest.mark.parametrize(("temperature", "bias"), [(3.0, 0.0), (0.5, 0.0), (2.0, 1.0)])
def test_the_temperature_is_found_and_the_error_halves(temperature, bias):
    result = calibrate(overconfident(temperature=temperature, bias=bias))
    assert result.calibration.peak == pytest.approx(1 / temperature, rel=0.12)
    assert result.calibration.bias == pytest.approx(bias, abs=0.15)
    assert result.calibration.segment < 0.1 and result.calibration.share == 0
    assert result.after.ece < result.before.ece / 2 and result.after.ece <= 0.05
    assert result.after.ece < 2 * result.after.chance
    assert result.helps and result.folds == 10
    assert result.after.interval.unit == "speaker" and result.after.interval.clusters == 20
    assert result.calibration.words == 4_000
    json.dumps(result.to_dict())


def test_the_fit_is_the_optimum_that_another_optimiser_finds():
    judged = overconfident(words=500, seed=3)

    def cost(p):
        odds = judged.evidence[:, [0, 1, 5]] @ p[:3] + p[3]
        return (np.logaddexp(0, -np.where(judged.right, 1, -1) * odds).sum()
                + 0.5 * ((p - np.array([1.0, 0.0, 0.0, 0.0])) ** 2).sum())

    best = minimize(cost, np.array([1.0, 0.1, 0.1, 0.0]),
                    bounds=[(0, None), (0, None), (0, None), (None, None)]).x
    found = fit(judged)
    np.testing.assert_allclose([found.peak, found.segment, found.square, found.bias], best,
                               atol=2e-4)


def test_a_bend_between_doubt_and_certainty_is_found():
    """As on digits: sure words are as right as they say, doubtful ones are less far from even."""
    judged = overconfident(temperature=1.0, seed=13)
    true = judged.evidence[:, 0]
    claimed = np.sign(true) * 2 * np.sqrt(np.abs(true))  # true == claimed |claimed| / 4
    bent = judged.evidence.copy()
    bent[:, 0], bent[:, 5] = claimed, claimed * np.abs(claimed) / SQUARE
    straight = bent.copy()
    straight[:, 5] = 0.0
    raw = 1 / (1 + np.exp(-claimed))
    results = {name: calibrate(dataclasses.replace(judged, evidence=evidence, raw=raw))
               for name, evidence in (("bent", bent), ("straight", straight))}
    assert results["bent"].calibration.square == pytest.approx(1.0, abs=0.15)
    assert results["bent"].calibration.peak < 0.2
    assert results["bent"].after.ece < 0.7 * results["straight"].after.ece


def test_no_weight_is_negative_and_hopeless_data_do_not_diverge():
    judged = overconfident(words=400, temperature=8.0, bias=-1.0, seed=5)
    backwards = dataclasses.replace(judged, evidence=-judged.evidence, raw=1 - judged.raw)
    found = fit(backwards)
    assert found.peak == 0 and found.segment >= 0
    certain = dataclasses.replace(judged, right=judged.evidence[:, 0] > 0)  # separable
    assert np.isfinite(dataclasses.astuple(fit(certain))).all()


def test_true_confidences_are_left_as_they_are():
    result = calibrate(overconfident(temperature=1.0, seed=7))
    assert result.calibration.peak == pytest.approx(1.0, abs=0.1)
    assert result.after.ece <= result.before.ece + 0.01


def test_the_language_counts_only_where_there_is_a_model():
    judged = overconfident(words=2_000, seed=11)
    evidence = judged.evidence.copy()
    evidence[:, 4], evidence[:, 0] = evidence[:, 0], 0.0  # only the model knows
    judged = dataclasses.replace(judged, evidence=evidence)
    weights = {kind: fit(dataclasses.replace(judged, kind=kind)).language for kind in kinds()}
    assert weights.pop("beam+lm") == pytest.approx(1 / 3, rel=0.15)
    assert set(weights.values()) == {0.0}


def test_one_number_for_all_words_is_no_help():
    judged = overconfident(temperature=1.3, seed=8)
    useless = dataclasses.replace(judged, evidence=np.zeros_like(judged.evidence))
    result = calibrate(useless)
    assert result.after.ece < result.before.ece and not result.helps


def test_cross_fitting_judges_by_fits_to_others():
    judged = overconfident(words=600, speakers=3, seed=9)
    found, folds = cross_fitted(judged)
    assert folds == 3
    own = np.array([judged.speakers[n] == "s0" for n in judged.utterances])
    others = dataclasses.replace(judged, evidence=judged.evidence[~own], right=judged.right[~own])
    np.testing.assert_allclose(found[own], fit(others).probabilities(judged.evidence[own]))
    alone = dataclasses.replace(judged, utterances=np.zeros(600, np.int64), speakers=("",))
    with pytest.raises(DataError, match="One utterance is too little"):
        cross_fitted(alone)


@pytest.mark.parametrize("learn", [calibrate, fit])
def test_too_few_words_are_refused(learn):
    judged = overconfident(words=200)
    for right in (np.ones(200, bool), np.arange(200) < 19):
        with pytest.raises(DataError, match="too few to calibrate"):
            learn(dataclasses.replace(judged, right=right))


def test_sets_are_pooled_in_order():
    first, second = overconfident(words=100), overconfident(words=50, seed=1)
    both = pooled([first, second])
    assert len(both.right) == 150 and both.utterances.max() == 14
    assert both.speakers == first.speakers + second.speakers
    with pytest.raises(UsageError, match="cannot be pooled"):
        pooled([first, dataclasses.replace(second, kind="beam")])
    with pytest.raises(UsageError, match="none cannot be pooled"):
        pooled([])


@pytest.mark.parametrize(("values", "match"), [
    ({"peak": -0.1}, "peak is -0.1.*0 or more"), ({"bias": float("nan")}, "bias is nan"),
    ({"segment": float("inf")}, "segment is inf"), ({"share": True}, "share is True"),
    ({"peak": "1"}, "peak is '1'"), ({"words": -1}, "words is -1"), ({"errors": 1.5}, "errors is")])
def test_parameters_out_of_bounds(values, match):
    with pytest.raises(UsageError, match=match):
        Calibration(**values)


def test_kinds_of_decoders():
    assert calibration_kind(DecoderSettings()) == "greedy"
    assert calibration_kind(DecoderSettings(kind="beam")) == "beam"
    assert calibration_kind(DecoderSettings(kind="beam", lm="x.arpa")) == "beam+lm"


# In a recogniser and its bundle.

LOGITS = (np.random.default_rng(4).normal(size=(50, TOKENIZER.vocab_size)) * 3).astype(np.float32)
CALIBRATION = Calibration(peak=0.4, segment=0.3, bias=-1.0, words=100, errors=20)


def test_a_calibrated_decoder_changes_confidences_and_nothing_else():
    plain = GreedyDecoder(TOKENIZER)
    log_probs = log_softmax(LOGITS)
    before, after = plain.search(log_probs)[0], CalibratedDecoder(plain, CALIBRATION).decode(
        LOGITS)[0]
    wanted = CALIBRATION.probabilities(word_evidence(log_probs, before.words, TOKENIZER))
    assert [word.confidence for word in after.words] == pytest.approx(wanted.tolist())
    assert after.confidence == pytest.approx(wanted.mean())
    assert (after.text, after.score, after.labels) == (before.text, before.score, before.labels)
    same = calibrated(before, log_probs, TOKENIZER, Calibration())
    assert [w.confidence for w in same.words] == pytest.approx(
        [w.confidence for w in before.words], abs=1e-6)


def test_empty_and_rejected_texts():
    logits = np.zeros((3, 3), np.float32)  # blank, space, a
    log_probs = log_softmax(logits)
    tokenizer = CharTokenizer(" a")
    silence = calibrated(Hypothesis("", -1.0), log_probs, tokenizer, CALIBRATION)
    assert silence.confidence == pytest.approx((2 / 3) ** 3)
    rejected = Hypothesis("", -1.0, confidence=0.0, rejected="a")
    assert calibrated(rejected, log_probs, tokenizer, CALIBRATION) is rejected


def test_the_calibration_travels_and_belongs_to_its_decoder(tmp_path):
    path = write_bundle(tmp_path / "m.asr", calibration={"greedy": CALIBRATION})
    bundle = load_bundle(path)
    assert bundle.calibration == {"greedy": CALIBRATION}
    recognizer = load(path)
    plain = load(write_bundle(tmp_path / "plain.asr"))
    ours, theirs = recognizer.decode(LOGITS), plain.decode(LOGITS)
    assert ours.text == theirs.text and ours.confidence != theirs.confidence
    beam = recognizer.with_decoder(kind="beam", beam_width=4)
    assert beam.decode(LOGITS) == plain.with_decoder(kind="beam", beam_width=4).decode(LOGITS)
    assert beam.with_decoder(kind="greedy").decode(LOGITS) == ours

    def saved(**changes):
        bundle.save(tmp_path / "again.asr", **changes)
        return load_bundle(tmp_path / "again.asr").calibration

    assert saved() == saved(training={"x": 1}) == {"greedy": CALIBRATION}
    assert saved(decoder=DecoderSettings(kind="beam")) == {"greedy": CALIBRATION}
    assert saved(decoder=DecoderSettings(word_bonus=1.0)) == {}, "another greedy decoder"
    assert saved(weights=dict(bundle.weights)) == {}, "another network"
    assert saved(weights=dict(bundle.weights), calibration={"beam": CALIBRATION}) == {
        "beam": CALIBRATION}


def test_bundles_without_a_calibration_are_as_before(tmp_path):
    first = write_bundle(tmp_path / "a.asr")
    second = write_bundle(tmp_path / "b.asr", calibration={})
    assert first.read_bytes() == second.read_bytes()
    assert b'"calibration"' not in first.read_bytes() and load_bundle(first).calibration == {}
    assert not isinstance(load(first).decoder, CalibratedDecoder)


GOOD = CALIBRATION.to_dict()


def test_a_bundle_from_before_some_evidence_gives_it_no_weight():
    older = {name: value for name, value in GOOD.items()
             if name not in ("letter", "language", "square")}
    assert read_calibrations({"greedy": older}, "here") == {"greedy": CALIBRATION}


@pytest.mark.parametrize("value", [
    [], {"voice": GOOD}, {"greedy": 1}, {"greedy": {"peak": 1}}, {"greedy": {**GOOD, "x": 1}},
    {"greedy": {**GOOD, "peak": -1}}, {"greedy": {**GOOD, "bias": 1e300}},
    {"greedy": {**GOOD, "bias": "A" * 10_000}}])
def test_wrong_values_in_a_bundle(tmp_path, value):
    path = write_bundle(tmp_path / "m.asr")
    forge_config(path, lambda config: config.update(calibration=value))
    with pytest.raises(BundleError, match="calibration") as caught:
        load_bundle(path)
    assert len(str(caught.value)) < 1_000
    with pytest.raises(BundleError, match="calibration"):
        read_calibrations(value, "here")


# From recordings to a calibrated bundle.

def test_judging_decodes_without_an_earlier_calibration():
    decoder = CalibratedDecoder(GreedyDecoder(TOKENIZER), CALIBRATION)
    recognizer = SimpleNamespace(decoder=decoder, decoder_settings=DecoderSettings())
    text = decoder.decode(LOGITS)[0].text
    words = text.split()
    dev = DevSet(("a", "b", "c"), (text, " ".join(["x", *words[1:]]), "gone"), ("s", "s", ""),
                 (LOGITS, LOGITS, None), "none")
    found = judge(recognizer, dev)
    assert found.right.tolist() == [True] * len(words) + [False] + [True] * (len(words) - 1)
    assert found.utterances.tolist() == [0] * len(words) + [1] * len(words)
    plain = GreedyDecoder(TOKENIZER).decode(LOGITS)[0]
    assert found.raw[:len(words)].tolist() == [word.confidence for word in plain.words]
    assert found.kind == "greedy" and found.left_out == 0


@pytest.fixture
def recordings(tmp_path):
    """Noise, whose references are what the network hears, or in every third recording not."""
    rng = np.random.default_rng(0)
    recognizer = load(write_bundle(tmp_path / "m.asr"))
    rows = []
    for number in range(75):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.normal(size=4_000), 8_000)
        text = recognizer.transcribe(path).text
        rows.append({"id": str(number), "audio_filepath": path.name, "duration": 0.5,
                     "speaker": f"s{number % 4}", "text": text if number % 3 else "hah"})
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_tune_confidence_and_evaluate(recordings, capsys, monkeypatch):
    command = ["tune", str(recordings / "m.asr"), str(recordings / "dev.jsonl"), "--confidence"]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "before: word confidence: ECE" in out and "log-odds = " in out
    monkeypatch.setattr("asr.tuning.calibration.Fit.helps", True)
    output = recordings / "calibrated.asr"
    assert run([*command, "--json", "-o", str(output)]) == 0
    found = json.loads(capsys.readouterr().out)
    stored = load_bundle(output).calibration
    assert stored["greedy"].to_dict() == found["calibration"] and found["folds"] == 4
    assert run(["evaluate", str(output), str(recordings / "dev.jsonl"), "--target-wer", "1",
                "--report", str(recordings / "r.html"), "--output-dir", str(recordings)]) == 0
    out = capsys.readouterr().out
    assert "word confidence: ECE " in out and "risk-coverage: " in out
    page = (recordings / "r.html").read_text("utf-8")
    assert "Are the confidences true?" in page and "What should a person look at?" in page
    table = json.loads((recordings / "score.json").read_text("utf-8"))["confidence"]
    assert table["words"]["words"] == stored["greedy"].words
    assert table["risk_coverage"]["targets"][0]["wer"] == 0.01
    row = json.loads((recordings / "utterances.jsonl").read_text("utf-8").splitlines()[0])
    assert len(row["word_confidences"]) == len(row["hypothesis"].split())
    assert row["confidence"] == pytest.approx(np.mean(row["word_confidences"]), abs=1e-3)


def test_what_does_not_help_is_not_written(recordings, capsys, monkeypatch):
    monkeypatch.setattr("asr.tuning.calibration.Fit.helps", False)
    command = ["tune", str(recordings / "m.asr"), str(recordings / "dev.jsonl"), "--confidence"]
    assert run([*command, "-o", str(recordings / "x.asr")]) == 0
    assert "is not written" in capsys.readouterr().err and not (recordings / "x.asr").exists()


def test_tune_wants_one_thing(recordings, capsys):
    for options in ([], ["--confidence", "--lm", "x.arpa"]):
        assert run(["tune", str(recordings / "m.asr"), str(recordings / "dev.jsonl"),
                    *options]) == 2
        assert "one thing at a time" in capsys.readouterr().err
    assert run(["evaluate", str(recordings / "m.asr"), str(recordings / "dev.jsonl"),
                "--target-wer", "200"]) == 2
    assert "0.02 is 2 %" in capsys.readouterr().err
