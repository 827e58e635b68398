"""`asr init`, `asr recipe`, `asr info`: settings without reading the source."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
from layout_examples import speech

from asr.cli import GROUPS, VERBS, run
from asr.cli.recipe import ADVICE, _settings
from asr.errors import DataError
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.recipe import dump_recipe, load_recipe


def asr(capsys, *arguments) -> tuple[int, str, str]:
    code = run([os.fspath(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_has_every_verb_in_one_group(capsys):
    assert sorted(verb for verbs in GROUPS.values() for verb in verbs) == sorted(VERBS)
    out = asr(capsys, "--help")[1]
    assert all(f"\n{title}:\n" in out for title in GROUPS)


# asr recipe ---


def test_every_setting_is_explained(capsys):
    out = asr(capsys, "recipe")[1]
    for name, spec in _settings():
        assert re.search(rf"^{name} .*{re.escape(spec.metadata['help'])}$", out, re.MULTILINE)
    assert set(ADVICE) <= {name for name, _ in _settings()}


def test_one_setting_with_bounds_and_advice(capsys):
    assert asr(capsys, "recipe", "model.units")[1] == (
        "model.units = 256\n  Meaning: cells per direction.\n  Between 1 and 4096.\n  Advice: "
        f"{ADVICE['model.units']}\n  Set it: asr train RECIPE RUN --set model.units=VALUE, or in "
        "the recipe.\n")
    assert "One of: none, utterance, global, map." in asr(capsys, "recipe", "features.cmvn")[1]
    assert asr(capsys, "recipe", "train")[1].count("\ntrain.") > 10


def test_a_misspelt_setting_is_answered_with_the_nearest(capsys):
    code, _, err = asr(capsys, "recipe", "model.unit")
    assert code == 2 and "Did you mean model.units?" in err


def test_two_recipes_are_compared(capsys, tmp_path):
    (tmp_path / "a.toml").write_text("[model]\nunits = 64\n")
    (tmp_path / "b.toml").write_text("seed = 2\n[model]\nunits = 256\n")
    out = asr(capsys, "recipe", "--diff", tmp_path / "a.toml", tmp_path / "b.toml")[1]
    assert out == "seed         1  ->  2\nmodel.units  64  ->  256\n"
    assert "same settings" in asr(capsys, "recipe", "--diff", *[tmp_path / "a.toml"] * 2)[1]
    assert asr(capsys, "recipe", "model.units", "--diff", *[tmp_path / "a.toml"] * 2)[0] == 2


# asr init ---


def corpus(folder, *, speakers: int = 3, count: int = 12, text: str = "yes no", valid: int = 4,
           seconds: float = 1.5):
    audio = speech(folder / "a.wav", seconds)
    for name, size in (("train", count), ("dev", valid)):
        who = [f"{name if speakers > 1 else ''}{n % speakers}" for n in range(size)]
        write_manifest(folder / f"{name}.jsonl", [
            Utterance(f"{name}{n}", audio, text, seconds, who[n]) for n in range(size)])
    return folder


def test_a_recipe_is_written_with_reasons_and_can_be_read(capsys, tmp_path):
    data, path = corpus(tmp_path / "data", text="yes, no"), tmp_path / "mine.toml"
    code, out, err = asr(capsys, "init", data, "-o", path, "--no-trial", "--minutes", "5")
    assert (code, out) == (0, "")
    assert f"Next: asr train {path} runs/mine" in err
    assert "The normaliser basic drops: , 12." in err
    assert "the model will write words in noise" in err
    text = path.read_text("utf-8")
    assert "sample_rate = 8000  # Hz; most recordings have 8,000" in text
    recipe = load_recipe(path)
    assert recipe.data.train == (str(data / "train.jsonl"),)
    assert recipe.data.valid == (str(data / "dev.jsonl"),)
    assert recipe.text.alphabet == " enosy" and recipe.train.max_minutes == 5.0
    assert load_recipe(_written(tmp_path / "again.toml", dump_recipe(recipe))) == recipe
    code, _, err = asr(capsys, "init", data, "-o", path, "--no-trial")
    assert code == 2 and "exists and is kept" in err


def _written(path, text: str):
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("settings, words", [
    ({"speakers": 1}, "There is one speaker"), ({"speakers": 1}, "1 speaker is in training and in"),
    ({"text": "ñ yes"}, "minutes of speech are little"),
    ({"count": 3, "text": "yes x"}, "occur fewer than 5 times"),
    ({"text": "yes no " * 40}, "texts are too long for their audio"),
    ({"valid": 2}, "choose the best epoch by chance")])
def test_what_will_hurt_is_said(capsys, tmp_path, settings, words):
    data = corpus(tmp_path / "data", **settings)
    err = asr(capsys, "init", data, "-o", tmp_path / "m.toml", "--no-trial")[2]
    assert words in err and words in (tmp_path / "m.toml").read_text("utf-8")


def test_the_network_grows_with_the_hours(tmp_path):
    from asr.proposal.settings import propose
    from asr.proposal.survey import survey

    data = corpus(tmp_path / "data", text="the quick brown fox jumps over it", seconds=4.0)
    rows = [read_manifest(data / f"{name}.jsonl") for name in ("train", "dev")]
    found = survey(*rows)
    sizes = []
    for hours in (0.4, 1.6, 20, 400):
        model = propose(dataclasses.replace(found, hours=hours), ["a"], ["b"]).recipe.model
        sizes.append(model.num_layers * model.units)
    assert sizes == sorted(sizes) and len(set(sizes)) == 4


def test_development_data_that_differ_do_not_stop_the_run(tmp_path):
    from asr.proposal.settings import propose
    from asr.proposal.survey import survey

    data = corpus(tmp_path / "data", text="the quick brown fox", seconds=4.0)
    train, valid = (read_manifest(data / f"{name}.jsonl") for name in ("train", "dev"))

    def proposal(rows):
        found = propose(survey(train, rows), ["a"], ["b"])
        return found.recipe.data, [w for w in found.warnings if "will be left out" in w]

    plain, warnings = proposal(valid)
    assert plain.max_bad_fraction == 0.01 and not warnings
    longer = [dataclasses.replace(valid[0], duration=6.0), *valid[1:]]
    assert proposal(longer)[0].max_seconds == 7 and not proposal(longer)[1]
    lectures = [dataclasses.replace(valid[0], duration=90.0)] * 2
    foreign = [dataclasses.replace(valid[0], text="the quick brown ñandu")] * 3
    data, (warning,) = proposal([*lectures, *foreign, *valid[:1] * 85])
    assert data.max_seconds == plain.max_seconds and data.max_bad_fraction == 0.06  # 5 of 90
    assert "5 of 90 development utterances will be left out: 2 last" in warning
    assert "3 have characters that the training texts lack" in warning


def test_training_data_that_cannot_be_used_do_not_stop_the_run_either(tmp_path):
    """Texts too long for their audio, texts without a letter: `asr train` leaves them out."""
    from asr.features.lengths import feasible, feature_length, output_length
    from asr.proposal.settings import propose
    from asr.proposal.survey import survey

    data = corpus(tmp_path / "data", text="the quick brown fox", seconds=4.0)
    train, valid = (read_manifest(data / f"{name}.jsonl") for name in ("train", "dev"))
    fast = [dataclasses.replace(train[0], text="the quick brown fox " * 25)] * 3
    mute = [dataclasses.replace(train[0], text="?!")] * 2
    found = propose(survey([*fast, *mute, *train[:1] * 25], valid), ["a"], ["b"])
    assert found.recipe.data.max_bad_fraction == 0.17   # 5 of 30
    warning, = (w for w in found.warnings if "will be left out: " in w and "training" in w)
    assert "5 of 30 training utterances" in warning and "2 have no letter" in warning
    assert "3 are too short for their texts" in warning
    frames = output_length(feature_length(4 * 16_000, 160, 512), found.recipe.model)
    assert not feasible(frames, list(range(1, 475))), "which is what training refuses, too"
    with pytest.raises(DataError, match="None of 2 texts has a letter or a digit"):
        survey(mute, valid)


def test_recordings_that_cannot_be_read_are_named(capsys, tmp_path):
    """In development data, too: training leaves them out, and the run does not stop for them."""
    data = corpus(tmp_path / "data", text="the quick brown fox", seconds=4.0)
    valid = [dataclasses.replace(u, audio=data / f"{u.id}.wav")
             for u in read_manifest(data / "dev.jsonl")]
    whole = (data / "a.wav").read_bytes()
    for utterance in valid:
        utterance.audio.write_bytes(whole)
    write_manifest(data / "dev.jsonl", valid, overwrite=True)
    valid[0].audio.write_bytes(b"RIFF")
    code, _, err = asr(capsys, "init", data, "-o", tmp_path / "m.toml", "--no-trial")
    assert code == 0, err
    assert ("1 development utterance cannot be read and will be left out (dev0); the first: "
            f"{valid[0].audio} is") in err
    assert load_recipe(tmp_path / "m.toml").data.max_bad_fraction >= 1 / len(valid)
    valid[0].audio.write_bytes(whole[:-100])
    options = ("-o", tmp_path / "m.toml", "--no-trial", "--overwrite")
    assert "cannot be read" in asr(capsys, "init", data, *options)[2]
    code, _, err = asr(capsys, "init", data, *options, "--allow-truncated")
    assert code == 0 and "cannot be read" not in err
    assert "allow_truncated = true  # 1 recording is cut" in (tmp_path / "m.toml").read_text()
    for utterance in valid:
        utterance.audio.write_bytes(b"RIFF")
    code, _, err = asr(capsys, "init", data, *options)
    assert code == 4 and f"None of {len(valid)} development recordings can be read" in err


def sounds(folder, count: int, seconds: float, text: str = "", at: float = 3.0):
    folder.mkdir()
    write_manifest(folder / "train.jsonl", [
        Utterance(f"noise{n}", speech(folder / "n.wav", at), text, seconds, f"n{n}")
        for n in range(count)])
    return folder / "train.jsonl"


@pytest.mark.parametrize("count, speech_repeats, noise_repeats", [
    (3, 1, 2),  # 2.25 s beside 18 s
    (12, 2, 1),
    (48, 8, 1)])
def test_sounds_without_speech_are_a_fifth_of_an_epoch(capsys, tmp_path, count, speech_repeats,
                                                       noise_repeats):
    data, path = corpus(tmp_path / "data"), tmp_path / "m.toml"
    noise = sounds(tmp_path / "noise", count, 0.75)
    code, _, err = asr(capsys, "init", data, "-o", path, "--no-trial", "--noise", noise)
    assert code == 0 and "words in noise" not in err
    recipe = load_recipe(path)
    assert recipe.data.train == (str(data / "train.jsonl"), str(noise))
    assert recipe.data.repeats == (speech_repeats, noise_repeats) and recipe.data.non_speech
    assert recipe.augment.pad_max == 1.0, "or words in long noise are left out"
    share = 0.75 * count * noise_repeats
    assert share / (share + 18 * speech_repeats) == pytest.approx(0.2)


def test_clips_that_are_cut_close_have_quiet_at_both_ends(capsys, tmp_path):
    """As much in training as in reading: with more there, some speakers are read better, some
    worse (docs/results.md)."""
    data, path = corpus(tmp_path / "data", seconds=0.6, text="yes"), tmp_path / "m.toml"
    noise = sounds(tmp_path / "noise", 2, 1.0)
    for arguments in ([], ["--noise", noise]):
        code, _, _ = asr(capsys, "init", data, "-o", path, "--no-trial", "--overwrite", *arguments)
        assert code == 0
        recipe = load_recipe(path)
        assert (recipe.model.edge_frames, recipe.train.edge_frames) == (3, -1)


def test_a_long_sound_without_speech_is_used(capsys, tmp_path):
    data, path = corpus(tmp_path / "data"), tmp_path / "m.toml"
    noise = sounds(tmp_path / "noise", 2, 3.0)
    assert asr(capsys, "init", data, "-o", path, "--no-trial", "--noise", noise)[0] == 0
    assert load_recipe(path).data.max_seconds == 3.0


def test_the_sounds_are_mixed_under_speech_where_a_folder_has_no_others(capsys, tmp_path,
                                                                       monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = corpus(Path("data"), text="yes")
    noise = sounds(tmp_path / "noise", 2, 1.0)
    command = ["init", data, "-o", "m.toml", "--no-trial", "--overwrite", "--noise", noise]
    assert asr(capsys, *command)[0] == 0
    augment = load_recipe("m.toml").augment
    assert (augment.noise_dir, augment.noise_probability) == ("noise", 0.5)
    assert augment.concat_gap_max == 1.5, "single words are joined"
    speech(tmp_path / "noise" / "held-out.wav", 1.0)
    assert asr(capsys, *command)[0] == 0
    assert load_recipe("m.toml").augment.noise_probability == 0.0, "some are kept for a test"
    monkeypatch.chdir(tmp_path / "noise")
    (tmp_path / "noise" / "held-out.wav").unlink()
    command[1:4] = [tmp_path / "data", "-o", tmp_path / "m.toml"]
    assert asr(capsys, *command)[0] == 0
    assert load_recipe(tmp_path / "m.toml").augment.noise_probability == 0.0, "not searched"


def test_noise_with_a_text_is_refused(capsys, tmp_path):
    data, noise = corpus(tmp_path / "data"), sounds(tmp_path / "noise", 2, 1.0, "a dog")
    code, _, err = asr(capsys, "init", data, "-o", tmp_path / "m.toml", "--no-trial", "--noise",
                       noise)
    assert code == 4 and f"{noise}: noise0 has a text, 'a dog'" in err
    assert not (tmp_path / "m.toml").exists()


def test_the_normaliser_of_init_may_be_chosen(capsys, tmp_path):
    data = corpus(tmp_path / "data", text="ha?a !xoo, the quick brown fox", seconds=4.0)
    options = ("-o", tmp_path / "m.toml", "--no-trial", "--overwrite")
    assert "--replace '?=ʔ'" in asr(capsys, "init", data, *options)[2]
    asr(capsys, "init", data, *options, "--normalizer", "case")
    text = load_recipe(tmp_path / "m.toml").text
    assert text.normalizer == "case" and {"?", "!", ","} < set(text.alphabet)


def test_data_that_are_not_there_are_said_to_be_not_there(tmp_path, capsys):
    code, _, err = asr(capsys, "init", tmp_path / "none", "-o", tmp_path / "m.toml")
    assert code == 4 and f"{tmp_path / 'none'} does not exist" in err


def test_a_budget_that_does_not_suffice_is_said(capsys, tmp_path):
    data = corpus(tmp_path / "data", count=900)
    err = asr(capsys, "init", data, "-o", tmp_path / "m.toml", "--no-trial", "--minutes", "0.1")[2]
    assert "at least 8 are needed" in err


def test_single_words_are_joined_so_there_is_a_space(tmp_path, capsys):
    data = corpus(tmp_path / "data", text="yes", seconds=0.8)
    assert asr(capsys, "init", data, "-o", tmp_path / "m.toml", "--no-trial")[0] == 0
    recipe = load_recipe(tmp_path / "m.toml")
    assert recipe.augment.concat_max > 1 and recipe.text.alphabet == " esy"


def test_marks_that_are_letters_choose_the_normaliser(capsys, tmp_path):
    data = corpus(tmp_path / "data", text="o' ka:na ha'")
    err = asr(capsys, "init", data, "-o", tmp_path / "m.toml", "--no-trial")[2]
    assert "The normaliser marks drops" not in err
    recipe = load_recipe(tmp_path / "m.toml")
    assert recipe.text.normalizer == "marks" and "'" in recipe.text.alphabet


def test_data_without_a_development_set_are_refused(capsys, tmp_path):
    data = corpus(tmp_path / "data")
    (data / "dev.jsonl").unlink()
    code, _, err = asr(capsys, "init", data, "-o", tmp_path / "m.toml")
    assert code == 4 and "--split speaker --dev 10%" in err


# asr info ---


def test_what_a_model_is(capsys):
    code, out, err = asr(capsys, "info")
    assert code == 0 and "Next: asr transcribe" in err
    for words in ("16 characters: ' efghinorstuvwxz'", "40 numbers every 10 ms, 8,000 Hz",
                  "2 x 128 bidirectional LSTM", "lexicon, 10 words", "CC BY-SA 4.0"):
        assert words in out
    assert json.loads(asr(capsys, "info", "--json")[1])["alphabet"] == " efghinorstuvwxz"
    assert asr(capsys, "info", "nowhere.asr")[0] == 5


# The next command ---


def test_every_verb_has_a_next_command():
    from asr.cli.next_step import NEXT
    assert set(NEXT) | {"prepare", "download", "init", "train", "info"} == set(VERBS)


def test_the_next_command_is_for_a_person_at_a_terminal(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert "Next: asr init FOLDER" in asr(capsys, "recipe", "model.units")[2]
    assert "Next:" not in asr(capsys, "recipe", "model.nothing")[2]
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert asr(capsys, "recipe", "model.units")[2] == ""
