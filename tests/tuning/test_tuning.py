"""Tuning a language model: finds what helps, says so when nothing does, and stores the winner."""

from __future__ import annotations

import dataclasses
import gzip
import json
import types
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_bundle import TOKENIZER, write_bundle

from asr.bundle import load_bundle
from asr.cli import run
from asr.decoding import GreedyDecoder
from asr.errors import DataError, UsageError
from asr.language_model.kneser_ney import train_ngrams
from asr.language_model.ngram import build_ngram
from asr.manifest import Utterance
from asr.recipe import DecoderSettings, TextSettings
from asr.recognizer import load
from asr.tuning import DevSet, read_dev_set, tune, word_errors
from asr.tuning.plot import surface

TEXTS = ["bad head", "a bad bed", "feed a bad head", "bed a cab", "a cab had a bad bed"] * 6


def noisy_logits(text, rng):
    """Frames that spell the text, two a character, with so much noise that greedy errs."""
    path = [x for label in TOKENIZER.encode(text) for x in (label, 0)]
    logits = rng.normal(size=(len(path), TOKENIZER.vocab_size)).astype(np.float32)
    logits[np.arange(len(path)), path] += 2.0
    return logits


@pytest.fixture(scope="module")
def dev():
    rng = np.random.default_rng(4)
    return DevSet(tuple(map(str, range(30))), tuple(TEXTS), tuple(str(n % 10) for n in range(30)),
                  (None, *(noisy_logits(text, rng) for text in TEXTS[1:])), "basic")


def model_of(texts):
    trained = train_ngrams([text.split() for text in texts], 3)
    return build_ngram(trained.vocabulary, trained.tables)


def recognizer_of(**settings):
    bundle = types.SimpleNamespace(text=TextSettings(normalizer="basic"))
    return types.SimpleNamespace(tokenizer=TOKENIZER, bundle=bundle,
                                 decoder_settings=DecoderSettings(**settings))


RECOGNIZER = recognizer_of()


def test_a_model_of_the_texts_helps(dev):
    seen = []
    result = tune(RECOGNIZER, dev, model_of(TEXTS), "x.arpa", weights=(0.0, 1.0),
                  bonuses=(0.0, 1.0), beam_width=8,
                  progress=lambda done, most: seen.append((done, most)))
    assert result.helps and result.best.wer < 0.7 * result.greedy_wer
    assert result.without_wer == result.greedy_wer
    assert result.settings.kind == "beam" and result.settings.lm == "x.arpa"
    assert (result.settings.lm_weight, result.settings.word_bonus) == (
        result.best.lm_weight, result.best.word_bonus)
    assert result.best.wer == min(p.wer for p in result.points)
    assert result.gain.unit == "speaker" and result.gain.clusters == 10
    assert [done for done, _ in seen] == list(range(30, 30 * len(result.points) + 1, 30))
    assert all(done <= most for done, most in seen)
    assert all(point.utterances == 30 for point in result.points), "few are read by all"
    assert not any("does not help" in note for note in result.notes)
    errors = word_errors(dev, GreedyDecoder(TOKENIZER))
    assert errors[:, 0].sum() / errors[:, 1].sum() == result.greedy_wer
    assert errors[0].tolist() == [2, 2], "silence is two deletions"
    json.dumps(result.to_dict())
    root = xml.etree.ElementTree.fromstring(surface(result))
    assert len(root.findall("{*}rect")) >= 5


def test_a_model_of_other_texts_does_not_help(dev):
    result = tune(RECOGNIZER, dev, model_of(["gag egg", "fag hag"]), "x", weights=(0.0,),
                  bonuses=(0.0,), beam_width=4)
    assert not result.helps
    assert any("does not help" in note for note in result.notes)
    assert any("does not know" in note for note in result.notes)


def test_a_model_is_compared_with_the_bundles_own_decoder(dev):
    """A closed vocabulary helps by itself; that is no merit of a language model beside it."""
    words = tuple(sorted({word for text in TEXTS for word in text.split()}))
    for own in ({"kind": "lexicon", "lexicon": words}, {"kind": "beam", "lexicon": words},
                {"kind": "beam", "grammar": "\n".join(sorted(set(TEXTS))), "max_gap": 1_000.0}):
        result = tune(recognizer_of(**own), dev, model_of([" ".join(words)]), "x.arpa",
                      weights=(0.0,), bonuses=(0.0,), beam_width=16)
        assert result.without_wer < 0.7 * result.greedy_wer, "the vocabulary helps"
        assert not result.helps and result.best.wer < 0.7 * result.greedy_wer
        assert result.settings == DecoderSettings(**own | {
            "kind": "beam", "lm": "x.arpa", **{name: getattr(result.best, name) for name in (
                "beam_width", "lm_weight", "word_bonus")}})
        assert any("the gain over this bundle's decoder without it is within" in note
                   for note in result.notes)


def test_an_interval_of_one_utterance_means_nothing_and_writes_no_bundle(dev):
    one = DevSet(dev.ids[1:2], dev.references[1:2], ("anna",), dev.logits[1:2], "basic")
    result = tune(RECOGNIZER, one, model_of(TEXTS), "x.arpa", weights=(1.0,), bonuses=(0.0,),
                  beam_width=8)
    assert result.best.wer < result.greedy_wer and not result.helps
    assert any("One utterance says nothing about chance" in note for note in result.notes)
    few = DevSet(dev.ids[1:5], dev.references[1:5], ("",) * 4, dev.logits[1:5], "basic")
    result = tune(RECOGNIZER, few, model_of(TEXTS), "x.arpa", weights=(1.0,), bonuses=(0.0,),
                  beam_width=8)
    assert any("Only 4 utterances" in note for note in result.notes)


def test_a_weight_of_zero_is_told(dev):
    result = tune(RECOGNIZER, dev, model_of(TEXTS), "x.arpa", weights=(0.0,), bonuses=(0.0,),
                  beam_width=8, lexicon_only=True)
    assert result.helps and result.settings.lexicon_only
    assert any("The best weight is 0" in note for note in result.notes) == (
        result.best.lm_weight == 0)


def test_hot_words_of_the_bundle_stay(dev):
    result = tune(recognizer_of(kind="beam", hot_words=("Bad:0.5",)), dev, model_of(TEXTS), "x",
                  weights=(0.5,), bonuses=(0.0,), beam_width=4)
    assert result.settings.hot_words == ("Bad:0.5",)


def test_bad_grids(dev):
    for grids in ({"weights": ()}, {"bonuses": (1.0, 0.0)}):
        with pytest.raises(UsageError, match="rising"):
            tune(RECOGNIZER, dev, model_of(TEXTS), "x", **grids)
    for grids, match in (({"weights": (0.0, 500.0)}, "lm_weight must be between 0.0 and 100.0"),
                         ({"weights": (-1.0, 0.5)}, "lm_weight must be between"),
                         ({"bonuses": (-1_000.0, 0.0)}, "word_bonus must be between"),
                         ({"weights": (float("nan"),)}, "lm_weight must be finite"),
                         ({"beam_width": 4_097}, "beam_width must be between 1 and 4_096")):
        with pytest.raises(UsageError, match=match):
            tune(RECOGNIZER, dev, model_of(TEXTS), "x", **grids)


def test_no_winner_is_beyond_what_a_bundle_may_hold(dev):
    few = dataclasses.replace(dev, **{name: getattr(dev, name)[1:3] for name in (
        "ids", "references", "speakers", "logits")})
    result = tune(RECOGNIZER, few, model_of(TEXTS), "x", weights=(99.0, 100.0), bonuses=(0.0,),
                  beam_width=3_000)
    assert {point.beam_width for point in result.points} == {3_000}, "not 6,000"
    assert max(point.lm_weight for point in result.points) == 100


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for n in range(4):
        soundfile.write(tmp_path / f"{n}.wav", 0.1 * rng.normal(size=4_000), 8_000)
        rows.append({"id": str(n), "audio_filepath": f"{n}.wav", "text": "bad head",
                     "duration": 0.5})
    soundfile.write(tmp_path / "3.wav", np.zeros(4_000), 8_000)
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text.txt").write_text("\n".join(TEXTS))
    assert run(["lm", "train", str(tmp_path / "text.txt"), "-o", str(tmp_path / "lm.arpa")]) == 0
    write_bundle(tmp_path / "m.asr")
    return tmp_path


def test_the_command_line(recordings, capsys):
    command = ["tune", str(recordings / "m.asr"), str(recordings / "dev.jsonl"), "--lm",
               str(recordings / "lm.arpa"), "--weights", "0,1", "--bonuses", "0", "--beam-width",
               "4"]
    plot = recordings / "s.svg"
    capsys.readouterr()
    assert run([*command, "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert "greedy" in out and "95 % interval" in out and plot.read_text().startswith("<svg")
    assert run([*command, "--plot", str(plot)]) == 2
    assert "s.svg exists and is kept. Give another --plot" in capsys.readouterr().err
    assert run([*command, "-o", str(recordings / "none" / "tuned.asr")]) == 2
    assert "in a folder that exists" in capsys.readouterr().err
    assert run([*command, "-o", str(recordings / "text.txt")]) == 2
    assert "text.txt exists and is kept. Give another --output" in capsys.readouterr().err
    output = recordings / "tuned.asr"
    assert run([*command, "--json", "-o", str(output)]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert len(found["points"]) >= 2
    if found["helps"]:  # random weights: whatever it is, both branches must tell the truth
        bundle = load_bundle(output)
        assert bundle.decoder.kind == "beam" and bundle.lm
        assert bundle.training["tuning"]["wer"] == found["wer"]
    else:
        assert "not written" in captured.err and not output.exists()
    assert run([*command[:-2], "--weights", "x"]) == 2
    assert "rising numbers" in capsys.readouterr().err


def test_the_winner_travels_in_the_bundle(recordings, monkeypatch, capsys):
    monkeypatch.setattr("asr.tuning.Tuning.helps", True)
    output = recordings / "tuned.asr"
    assert run(["tune", str(recordings / "m.asr"), str(recordings / "dev.jsonl"), "--lm",
                str(recordings / "lm.arpa"), "--weights", "0.5", "--bonuses", "0", "--beam-width",
                "4", "-o", str(output)]) == 0
    again = ["tune", str(output), str(recordings / "dev.jsonl"), "--lm",
             str(recordings / "lm.arpa"), "--weights", "0.5", "--bonuses", "0", "--beam-width",
             "4", "-o", str(output)]
    assert run(again) == 0, "the bundle itself may be written anew"
    recognizer = load(output)
    assert recognizer.decoder_settings.kind == "beam"
    assert recognizer.bundle.training["tuning"]["beam_width"] in (4, 8)
    assert {"low", "high", "unit"} <= set(recognizer.bundle.training["tuning"]["gain"])
    assert recognizer.transcribe(recordings / "0.wav").text is not None


def test_a_file_that_is_called_as_the_member_of_a_bundle(recordings, monkeypatch):
    monkeypatch.setattr("asr.tuning.Tuning.helps", True)
    monkeypatch.chdir(recordings)
    Path("lm.arpa.gz").write_bytes(gzip.compress(Path("lm.arpa").read_bytes()))
    assert run(["tune", "m.asr", "dev.jsonl", "--lm", "lm.arpa.gz", "--weights", "0.5", "--bonuses",
                "0", "--beam-width", "4", "-o", "called.asr"]) == 0
    assert load_bundle(Path("called.asr")).lm
    Path("called.asr").unlink()
    Path("lm.arpa.gz").unlink()


def test_the_forward_pass(recordings):
    recognizer = load(recordings / "m.asr")
    utterances = [Utterance(str(n), recordings / f"{n}.wav", "Bad head!", 0.5) for n in range(4)]
    dev = read_dev_set(recognizer, utterances)
    assert dev.references == ("bad head",) * 4
    assert dev.logits[3] is None and all(row is not None for row in dev.logits[:3])
    part = Utterance("part", recordings / "0.wav", "Bad head!", 0.25)  # the first of two
    rows = read_dev_set(recognizer, [part, utterances[0]]).logits
    assert len(rows[0]) < 0.6 * len(rows[1])
    with pytest.raises(DataError, match="no word"):
        read_dev_set(recognizer, [Utterance("0", recordings / "0.wav", "!", 0.5)])
