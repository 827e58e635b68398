"""A list of words becomes a recogniser: what is read, warned of, made and refused."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
import pytest
from tiny_bundle import FEATURES, MODEL, write_bundle

from asr.bundle import load_bundle
from asr.bundle.find import LETTERS
from asr.cli import run
from asr.commands import corpus, make, pronunciation
from asr.commands.fillers import filler_texts, read_filler_words, sound_alikes
from asr.commands.phrases import read_phrases
from asr.commands.pronunciation import Pronunciation, distance, pronounce, warnings_of
from asr.commands.settings import recipe_of
from asr.corpora.tones import tone_of
from asr.doctor.parity import check_reference
from asr.errors import DataError, UsageError
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.recipe import NEVER_REFUSED, DecoderSettings, dump_recipe, load_recipe
from asr.recognizer import load
from asr.tuning.refusal import Judgement
from asr.voices import ENGINES, Synthesizer, Voice

WORDS = ["do", "re mi"]
OTHERS = [f"w{chr(97 + k)}{chr(97 + 7 * k % 26)}" for k in range(24)]


def spoken(voice, text, timeout):
    """One glide a letter: a stand-in that a small network can learn."""
    pieces = []
    for letter in text.replace(",", "").replace(" ", ""):
        place = zlib.crc32(letter.encode())
        low, high = 300 + place % 900, 300 + place // 1_000 % 900
        pieces.append(tone_of(low * voice.warp, high * voice.warp, 0.12 / voice.rate, 0.4,
                              level=0.5))
    return np.concatenate(pieces).astype(np.float32), 8_000


@pytest.fixture
def voices(monkeypatch):
    monkeypatch.setitem(ENGINES, "tones", Synthesizer(spoken, "made", ""))
    monkeypatch.setattr("asr.voices.corpus.available_engines", lambda: list(ENGINES))
    monkeypatch.setattr(corpus, "TUNING_TEXTS", 20)
    rng = np.random.default_rng(1)
    return [Voice("tones", f"v{n}", 0, round(float(rng.uniform(0.9, 1.1)), 2),
                  round(float(rng.uniform(0.95, 1.05)), 2)) for n in range(6)]


def test_phrases_are_read_as_transcripts_write_them(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# a robot\nTurn LEFT!\n\n stop \n")
    assert read_phrases(path) == ["turn left", "stop"]


@pytest.mark.parametrize(("text", "message"), [
    ("stop\nstop!\n", r"words.txt:2: 'stop' is in line 1 already"),
    ("stop\nchannel 2\n", r"words.txt:2: 'channel 2' must be written in letters"),
    ("stop\n...\n", r"words.txt:2: '...' must be written in letters"),
    ("stop\n", "holds 1 phrase; expected 2 to 500"),
    ("stop\n" + "a" * 101, "has 101 characters"),
])
def test_what_cannot_be_a_phrase_is_refused(tmp_path, text, message):
    (tmp_path / "words.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_phrases(tmp_path / "words.txt")


def test_an_unreadable_list_is_one_sentence(tmp_path, capsys):
    assert run(["commands", str(tmp_path / "none.txt"), str(tmp_path / "o.asr")]) == 4
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "few.txt").write_text("a\n")
    with pytest.raises(DataError, match="give 20 or more"):
        read_filler_words(tmp_path / "few.txt")


def test_the_distance_of_sounds():
    assert distance("lIt", "lIt") == 0 and distance("", "") == 0 and distance("ab", "kd") == 1
    assert distance("pɪn", "bɪn") == pytest.approx(0.5 / 3) == distance("bɪn", "pɪn")
    assert distance("kæt", "kʌt") == pytest.approx(0.5 / 3) and distance("to", "tops") == 0.5


def test_what_will_be_hard_is_said_before_the_work():
    told = warnings_of({"two": Pronunciation("tu"), "too": Pronunciation("tu"),
                        "light": Pronunciation("lIt"), "right": Pronunciation("ɹIt"),
                        "zorg": Pronunciation("zɔɹɡ", ("zorg",)),
                        "banana": Pronunciation("bənænə")})
    told = [line for line in told if "is installed" not in line]
    assert len(told) == 5
    assert sum("'two' and 'too' sound the same" in line for line in told) == 1
    assert sum("'light' and 'right' sound alike" in line for line in told) == 1
    assert sum("'zorg' in 'zorg' is in no lexicon" in line for line in told) == 1
    assert sum("is very short" in line for line in told) == 2
    assert not any("banana" in line for line in told)


def test_without_a_lexicon_letters_are_compared_and_that_is_said(monkeypatch):
    monkeypatch.setattr(pronunciation, "_hibari", lambda: None)
    monkeypatch.setattr(pronunciation.shutil, "which", lambda name: None)
    assert pronounce(["turn left"]) == {"turn left": Pronunciation("turnleft")}
    assert "compared by their letters" in warnings_of(pronounce(["turn left", "stop"]))[0]


def test_espeak_says_how_words_sound(monkeypatch):
    if not pronunciation.shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is not installed")
    monkeypatch.setattr(pronunciation, "_hibari", lambda: None)
    found = pronounce(["two", "too", "seven", "turn left"])
    assert found["two"] == found["too"] and found["seven"].phonemes.startswith("s")
    assert distance(found["two"].phonemes, found["seven"].phonemes) > 0.5


def test_hibari_knows_words_and_guesses_others():
    pytest.importorskip("hibari")
    found = pronounce(["two", "too", "zorgblat"])
    assert found["two"].phonemes == found["too"].phonemes == "tu" and not found["two"].guessed
    assert found["zorgblat"].guessed == ("zorgblat",)


def test_other_speech_holds_no_command_and_many_sound_alikes():
    words = read_filler_words()
    assert len(words) == 1_875 and len(set(words)) == len(words)
    commands = {"two": Pronunciation("tu"), "go on": Pronunciation("ɡOɑn")}
    others = {"do": Pronunciation("du"), "to": Pronunciation("tu"), "go": Pronunciation("ɡO"),
              "new": Pronunciation("nu"), "wonderful": Pronunciation("wʌndəɹfəl")}
    alike = sound_alikes(commands, others)
    assert alike[0] == "do" and "wonderful" not in alike
    assert "to" not in alike, "it cannot be told from the command"
    assert "go" not in alike, "a part of a command is not to be refused by itself"
    texts = filler_texts(list(commands), words, alike, 500, np.random.default_rng(1))
    assert len(texts) == 500 and not set(texts) & set(commands)
    assert sum(text in alike for text in texts) > 100
    assert any("two" in text.split() and text != "two" for text in texts), "inside a sentence"


def test_every_voice_has_one_task():
    voices = [Voice("tones", str(n)) for n in range(20)]
    for count in (3, 4, 20):
        train, valid, tuning = corpus.split_voices(voices[:count], seed=1)
        assert sorted(v.name for v in [*train, *valid, *tuning]) == sorted(
            v.name for v in voices[:count])
        assert train and valid and tuning


def test_the_recipe_is_one_that_people_can_read(tmp_path):
    recipe = recipe_of([tmp_path / "a.jsonl"], [1], tmp_path / "v.jsonl", tmp_path, minutes=5,
                       seed=3)
    (tmp_path / "r.toml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "r.toml") == recipe and recipe.train.max_minutes == 5


@pytest.mark.parametrize(("edge_frames", "hop_length", "expected"), [
    (0, 80, 10), (24, 80, 10), (0, 160, 5), (0, 400, 3)])
def test_the_quiet_is_in_seconds_whatever_the_base_has(edge_frames, hop_length, expected,
                                                       tmp_path):
    """0.2 s of frames of two hops each; but never less than in training."""
    features = dataclasses.replace(FEATURES, n_fft=512, win_length=400, hop_length=hop_length)
    base = load_bundle(write_bundle(
        tmp_path / "base.asr", features=features,
        model=dataclasses.replace(MODEL, edge_frames=edge_frames, dropout=0.5)))
    recipe = recipe_of([tmp_path / "a.jsonl"], [1], tmp_path / "v.jsonl", tmp_path, minutes=5,
                       seed=3, base=base)
    assert (recipe.model.edge_frames, recipe.train.edge_frames) == (expected, 3)
    assert recipe.features == base.features
    assert recipe.model == dataclasses.replace(base.model, edge_frames=expected, dropout=0.2)
    assert recipe.train.initial_bundle == str(base.path)


def test_from_a_list_to_a_bundle(tmp_path, voices):
    others = tmp_path / "others.txt"
    others.write_text("\n".join(OTHERS))
    rows = [Utterance(f"real{n}", tmp_path / f"{n}.flac", text, 1.0)
            for n, text in enumerate(["do", "wa we", ""])]
    for row in rows:
        row.audio.write_bytes(corpus_clip())
    write_manifest(tmp_path / "real.jsonl", rows)
    said: list[str] = []
    arguments = {"voices": voices, "epochs": 1, "minutes": 5.0, "filler_words": others,
                 "recordings": [tmp_path / "real.jsonl"], "say": said.append, "base": None}
    made = make.make_commands(WORDS, tmp_path / "o.asr", tmp_path / "work", **arguments)
    bundle = load_bundle(made.bundle)
    assert made.size == made.bundle.stat().st_size < make.MAX_BYTES
    assert bundle.decoder.grammar == "do\nre mi" and bundle.decoder.kind == "beam"
    assert getattr(bundle.decoder, made.refusal.measure) == made.refusal.point.limit
    assert made.refusal.point.limit < NEVER_REFUSED
    assert bundle.training["refusal"]["inside"] == 10 and bundle.training["voices"] == 6
    assert any("1 recording of the phrases, 1 of other speech and 1 of noise" in line
               for line in said)
    train = read_manifest(tmp_path / "work/train.jsonl")
    assert {u.text for u in train} > set(WORDS)
    valid = read_manifest(tmp_path / "work/valid.jsonl")
    assert sorted(u.text for u in valid) == sorted(5 * WORDS)
    assert not {u.speaker for u in train} & {u.speaker for u in valid}
    recipe = load_recipe(made.recipe)
    assert recipe.decoder == bundle.decoder and recipe.data.repeats == (1, 14)
    assert (bundle.model.edge_frames, recipe.train.edge_frames) == (7, 3), "0.2 s when it reads"
    assert load(made.bundle).transcribe(rows[0].audio).text in {"", *WORDS}
    with pytest.raises(FileExistsError):  # the work is kept: only the writing is tried again
        make.make_commands(WORDS, tmp_path / "o.asr", tmp_path / "work", **arguments)
    again = make.make_commands(WORDS, tmp_path / "p.asr", tmp_path / "work", **arguments)
    assert again.bundle.read_bytes() == made.bundle.read_bytes()


@pytest.mark.slow
def test_training_begins_at_the_base_and_the_result_is_small(tmp_path, voices, monkeypatch):
    others = tmp_path / "others.txt"
    others.write_text("\n".join(OTHERS))
    arguments = {"voices": voices, "epochs": 1, "minutes": 5.0, "filler_words": others}
    first = make.make_commands(WORDS, tmp_path / "a.asr", tmp_path / "a", base=None, **arguments)
    with monkeypatch.context() as patch:
        patch.setattr(make, "MAX_BYTES", 100_000)
        made = make.make_commands(WORDS, tmp_path / "b.asr", tmp_path / "b", base=first.bundle,
                                  **arguments)
    recipe = load_recipe(made.recipe)
    assert recipe.train.initial_bundle == str(first.bundle)
    assert recipe.train.learning_rate < load_recipe(first.recipe).train.learning_rate
    bundle = load_bundle(made.bundle)
    assert bundle.quantized and made.size < first.size / 2
    assert bundle.decoder.grammar == "do\nre mi"
    assert bundle.model.edge_frames == 7, "0.2 s of quiet around what is read"
    assert check_reference(bundle, tensorflow=False)["engines"]["numpy"]["agrees"]
    made = make.make_commands(WORDS, tmp_path / "c.asr", tmp_path / "c", **arguments)
    assert load_recipe(made.recipe).train.initial_bundle == str(LETTERS)
    assert load_bundle(made.bundle).decoder.grammar == "do\nre mi"


@pytest.mark.parametrize(("phrases", "measure"), [
    (["do", "re"], "max_doubt"), (["do", "re mi"], "max_gap")])
def test_single_words_are_refused_by_what_is_better_on_people(phrases, measure, tmp_path,
                                                              monkeypatch):
    """Voices prefer the other measure here: they have the last word on longer phrases alone."""
    recognizer = load(write_bundle(tmp_path / "g.asr", decoder=DecoderSettings(
        kind="beam", beam_width=8, grammar="bad head\nfeed a cab")))
    inside = np.arange(40) < 20
    judged = {name: Judgement(name, np.where(inside, 0.1, others), inside, inside, np.ones(40))
              for name, others in (("max_gap", 3.0), ("max_doubt", 0.05))}
    monkeypatch.setattr(make, "read_dev_set", lambda *_: None)
    monkeypatch.setattr(make, "judge_refusals", lambda *_: judged)
    high = {name: dataclasses.replace(one, gaps=50.0 * one.gaps) for name, one in judged.items()}
    found = make.calibrate(recognizer, [], phrases)
    assert found.measure == measure
    limits = {name: getattr(found.settings, name) for name in ("max_gap", "max_doubt")}
    assert limits == {"max_gap": NEVER_REFUSED, "max_doubt": NEVER_REFUSED} | {measure: 0.1}
    monkeypatch.setattr(make, "judge_refusals", lambda *_: high)
    found = make.calibrate(recognizer, [], phrases)
    assert found.point.limit == (make.MOST_DOUBT if measure == "max_doubt" else 5.0)


def test_a_base_that_cannot_be_read_is_refused_before_the_work(tmp_path, capsys):
    words = tmp_path / "words.txt"
    words.write_text("turn left\nstop now\n")
    code = run(["commands", str(words), str(tmp_path / "o.asr"), "--from", str(words)])
    assert code == 5 and capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["words.txt"]


def corpus_clip() -> bytes:
    """A second of sound."""
    from asr.voices.sound import flac_bytes

    return flac_bytes(0.3 * np.sin(np.arange(16_000) / 9).astype(np.float32))


def test_too_few_voices(tmp_path, voices):
    with pytest.raises(UsageError, match="2 voices are too few"):
        make.make_commands(WORDS, tmp_path / "o.asr", tmp_path / "w", voices=voices[:2])


def test_the_verb_warns_and_refuses_to_overwrite(tmp_path, capsys):
    (tmp_path / "words.txt").write_text("two\ntoo\n")
    out = tmp_path / "o.asr"
    assert run(["commands", str(tmp_path / "words.txt"), str(out), "--check"]) == 0
    assert "'two' and 'too' sound" in capsys.readouterr().out and not out.exists()
    out.write_bytes(b"x")
    assert run(["commands", str(tmp_path / "words.txt"), str(out)]) == 2
    assert out.read_bytes() == b"x"
