"""Hot words: counted as whole words, and the boost that the F-score wants, or none."""

from __future__ import annotations

import json
import math
import types

import numpy as np
import pytest
import soundfile
from test_tuning import noisy_logits
from tiny_bundle import TOKENIZER, write_bundle

from asr.bundle import load_bundle
from asr.bundle.config import LM
from asr.cli import run
from asr.decoding import HotWord
from asr.decoding.phrases import read_hot_words
from asr.errors import DataError, TextError, UsageError
from asr.recipe import DecoderSettings, TextSettings
from asr.recognizer import load
from asr.tuning import DevSet
from asr.tuning.hot_words import (
    HotCounts,
    HotDecoders,
    count_hot_words,
    f_score_gain,
    total_counts,
    tune_hot_words,
)

TEXTS = ["a cab had a bead", "feed a bad head", "cedge bed", "a bad cedge fed a cab",
         "head a bed"] * 6
RARE = ["cedge", "Bead"]


def recognizer_of(settings=None):
    bundle = types.SimpleNamespace(text=TextSettings(normalizer="basic"), lm=None, path=None)
    return types.SimpleNamespace(tokenizer=TOKENIZER, bundle=bundle,
                                 decoder_settings=settings or DecoderSettings())


@pytest.fixture(scope="module")
def dev():
    rng = np.random.default_rng(11)
    return DevSet(tuple(map(str, range(30))), tuple(TEXTS), tuple(str(n % 10) for n in range(30)),
                  (None, *(noisy_logits(text, rng) for text in TEXTS[1:])), "basic")


def test_counts_by_hand():
    rows = count_hot_words(["ann met ann", "", "new york", "a b"],
                           ["ann met joann ann ann", "ann", "new yorker", "a b"],
                           ["ann", "new york"])
    assert rows.tolist() == [[2, 2, 1, 3, 2], [0, 0, 1, 0, 1], [1, 0, 0, 2, 1], [0, 0, 0, 2, 0]]
    counts = total_counts(rows)
    assert counts == HotCounts(spoken=3, found=2, false_alarms=2, words=7, errors=4)
    assert counts.recall == pytest.approx(2 / 3) and counts.precision == 0.5
    assert counts.f_score == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert counts.false_alarms_per_thousand == pytest.approx(2_000 / 7)
    assert counts.wer == pytest.approx(4 / 7)
    nothing = HotCounts(0, 0, 0, 5, 0)
    assert nothing.recall is None and nothing.precision is None and nothing.f_score == 0


def test_the_interval_of_the_gain():
    before = np.array([[1, 0, 0, 3, 1]] * 20)
    after = np.array([[1, 1, 0, 3, 0]] * 20)
    gain = f_score_gain(before, after, [""] * 20)
    assert (gain.low, gain.high, gain.unit) == (1.0, 1.0, "utterance")
    mixed = f_score_gain(before, np.array([[1, n % 2, n % 3, 3, 0] for n in range(20)]), [""] * 20)
    assert 0 < mixed.low < mixed.high < 1


def test_a_boost_that_helps(dev):
    seen = []
    result = tune_hot_words(recognizer_of(), dev, [HotWord("cedge", 9.0), "Bead"],
                            boosts=(0.5, 1.0, 20.0), progress=lambda *now: seen.append(now))
    assert result.helps and 0 < result.boost < 20
    assert result.phrases == ("cedge", "bead")
    without, best = result.tried[0.0], result.tried[result.boost]
    assert best.recall > without.recall and best.f_score > without.f_score
    assert best.f_score == max(c.f_score for c in result.tried.values())
    assert result.tried[20.0].false_alarms > best.false_alarms, "the cost of too much"
    assert result.settings.kind == "beam"
    assert result.settings.hot_words == tuple(f"{p}:{result.boost:g}" for p in ("cedge", "bead"))
    assert result.gain.unit == "speaker" and not result.notes
    assert seen[-1][0] == len(result.tried) <= seen[-1][1]
    json.dumps(result.to_dict())


def test_a_boost_that_does_not_help(dev):
    texts = ("", *TEXTS[1:])
    easy = DevSet(dev.ids, texts, dev.speakers, (None, *map(spelled, texts[1:])), "basic")
    result = tune_hot_words(recognizer_of(), easy, ["cedge", "face"], boosts=(0.5, 1.0))
    assert not result.helps and result.boost == 0.0 and result.settings.hot_words == ()
    assert any("does not help" in note for note in result.notes)
    assert any("1 of 2 phrases are never spoken" in note for note in result.notes)


def spelled(text):
    path = [x for label in TOKENIZER.encode(text) for x in (label, 0)]
    logits = np.full((len(path), TOKENIZER.vocab_size), -9.0, np.float32)
    logits[np.arange(len(path)), path] = 9.0
    return logits


def test_the_edge_of_the_grid_is_said(dev):
    result = tune_hot_words(recognizer_of(), dev, RARE, boosts=(0.1,))
    if result.boost == 0.1:
        assert any("edge of the grid" in note for note in result.notes)


def test_bad_arguments(dev):
    for boosts in ((), (1.0, 0.5), (0.0, 1.0), (1.0, 200.0), (math.nan,)):
        with pytest.raises(UsageError, match="must be positive, rising"):
            tune_hot_words(recognizer_of(), dev, RARE, boosts=boosts)
    for phrases in ([], ["cedge", "!"]):
        with pytest.raises(UsageError, match="needs one phrase at least"):
            tune_hot_words(recognizer_of(), dev, phrases)
    with pytest.raises(TextError, match="U\\+007A"):
        tune_hot_words(recognizer_of(), dev, ["zed"])
    with pytest.raises(DataError, match="None of the hot words \\(gag\\) is"):
        tune_hot_words(recognizer_of(), dev, ["gag"])


def test_the_base_keeps_its_language_model(tmp_path):
    arpa = tmp_path / "lm.arpa"
    (tmp_path / "t.txt").write_text("\n".join(TEXTS))
    assert run(["lm", "train", str(tmp_path / "t.txt"), "-o", str(arpa), "--order", "2"]) == 0
    settings = DecoderSettings(kind="beam", lm=str(arpa), beam_width=7, hot_words=("cab:1",))
    decoders = HotDecoders(recognizer_of(settings), RARE)
    assert decoders.at(0).language_model.order == 2
    assert decoders.settings_at(1.5).hot_words == ("cedge:1.5", "bead:1.5")
    assert decoders.settings_at(0).hot_words == ()
    assert decoders.settings_at(0).beam_width == 7
    packed = load(write_bundle(tmp_path / "lm.asr", decoder=settings))
    assert packed.decoder_settings.lm == LM
    assert HotDecoders(packed, RARE).at(2.0).language_model.order == 2


def test_lists(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("\ufeffnew york\n\nann:2.5\n", encoding="utf-8")
    assert [(w.phrase, w.boost) for w in read_hot_words(path)][1] == ("ann", 2.5)
    path.write_text("ann\nbob:x\n")
    with pytest.raises(UsageError, match=r"list.txt:2: Hot word 'bob:x'"):
        read_hot_words(path)
    path.write_text("\n\n")
    with pytest.raises(DataError, match="holds no hot word"):
        read_hot_words(path)
    path.write_bytes(b"\xff")
    for bad in (path, tmp_path / "none"):
        with pytest.raises(DataError, match="Cannot read the hot words"):
            read_hot_words(bad)


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for n in range(3):
        soundfile.write(tmp_path / f"{n}.wav", 0.1 * rng.normal(size=4_000), 8_000)
        rows.append({"id": str(n), "audio_filepath": f"{n}.wav", "text": "bad head",
                     "duration": 0.5})
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "names.txt").write_text("Head\n")
    write_bundle(tmp_path / "m.asr")
    return tmp_path


def test_the_command_line(recordings, capsys, monkeypatch):
    command = ["tune", str(recordings / "m.asr"), str(recordings / "dev.jsonl")]
    listed = [*command, "--hot-words", str(recordings / "names.txt"), "--boosts", "1,40",
              "--beam-width", "4"]
    assert run(listed) == 0
    out = capsys.readouterr().out
    assert "recall %" in out and "best boost" in out and "1 phrase, spoken 3 times" in out
    assert run([*listed, "--json", "-o", str(recordings / "out.asr")]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert {"0", "1", "40"} <= set(found["tried"])
    assert found["tried"]["40"]["recall"] == 1.0, "no network resists that"
    if not found["helps"]:
        assert "is not written: the gain is within chance" in captured.err
    monkeypatch.setattr("asr.tuning.hot_words.HotTuning.helps", True)
    assert run([*listed, "-o", str(recordings / "out.asr"), "--overwrite"]) == 0
    bundle = load_bundle(recordings / "out.asr")
    assert bundle.decoder.kind == "beam" and bundle.decoder.beam_width == 4
    assert bundle.training["hot_words"]["phrases"] == ["head"]
    assert bundle.decoder.hot_words == (f"head:{bundle.training['hot_words']['boost']:g}",)
    capsys.readouterr()
    for extra in ([], ["--lm", "x.arpa", "--hot-words", "y.txt"]):
        assert run([*command, *extra]) == 2
        assert "one thing at a time" in capsys.readouterr().err
    (recordings / "names.txt").write_text("zebra\n")
    assert run(listed) == 4
    assert "U+007A" in capsys.readouterr().err
