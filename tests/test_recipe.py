"""Reading recipes: TOML in and out, overrides, and every way to get one wrong."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import EXIT_USAGE, RecipeError
from asr.recipe import (
    DataSettings,
    DecoderSettings,
    ModelSettings,
    Recipe,
    TextSettings,
    TrainSettings,
    dump_recipe,
    load_recipe,
    recipe_from_dict,
    recipe_to_dict,
)
from asr.settings import settings_from_dict


def write(tmp_path, text: str):
    path = tmp_path / "page.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_page_is_the_default(tmp_path):
    assert load_recipe(write(tmp_path, "")) == Recipe()
    assert load_recipe(write(tmp_path, dump_recipe(Recipe()))) == Recipe()


def test_values_arrive_with_their_types(tmp_path):
    recipe = load_recipe(write(tmp_path, 'seed = 7\n[train]\nlearning_rate = 1e-4\nclip_norm = 2\n'
                                         '[augment]\nspeeds = [1, 1.1]\n[data]\n'
                                         'train = ["a.jsonl", "ä.jsonl"]\n'))
    assert recipe.seed == 7
    assert recipe.train.learning_rate == 1e-4
    assert recipe.train.clip_norm == 2.0
    assert isinstance(recipe.train.clip_norm, float)
    assert recipe.augment.speeds == (1.0, 1.1)
    assert recipe.data.train == ("a.jsonl", "ä.jsonl")


def test_overrides(tmp_path):
    path = write(tmp_path, "[train]\nepochs = 3\n")
    recipe = load_recipe(path, ["train.epochs=5", "model.units = 32", "seed=9",
                                "decoder.kind=beam", 'data.train=["a", "b"]', "text.alphabet=ab"])
    assert (recipe.train.epochs, recipe.model.units, recipe.seed) == (5, 32, 9)
    assert (recipe.decoder.kind, recipe.data.train) == ("beam", ("a", "b"))
    assert recipe.text.alphabet == "ab"


@settings(max_examples=60, deadline=None)
@given(alphabet=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
       rate=st.floats(1e-7, 10.0), layers=st.integers(1, 16), norm=st.booleans(),
       speeds=st.lists(st.floats(0.5, 2.0), min_size=1, max_size=4),
       words=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1,
                      max_size=4))
def test_what_is_dumped_loads_again(tmp_path_factory, alphabet, rate, layers, norm, speeds, words):
    recipe = dataclasses.replace(
        Recipe(), text=TextSettings(alphabet=alphabet), train=TrainSettings(learning_rate=rate),
        model=ModelSettings(num_layers=layers, layer_norm=norm),
        augment=dataclasses.replace(Recipe().augment, speeds=tuple(speeds)),
        data=DataSettings(train=tuple(words), repeats=(2,) * len(words)),
        decoder=DecoderSettings(kind="lexicon", lexicon=tuple(words)))
    path = tmp_path_factory.getbasetemp() / "dumped.toml"
    path.write_text(dump_recipe(recipe), encoding="utf-8", newline="")
    assert load_recipe(path) == recipe
    assert recipe_from_dict(recipe_to_dict(recipe)) == recipe


@pytest.mark.parametrize(("text", "message"), [
    ("[train]\nlearnig_rate = 1", r"page\.toml: unknown key train\.learnig_rate\. "
                                  r"Did you mean train\.learning_rate\?"),
    ("epochs = 1", r"unknown key epochs\."),
    ("[qqq]\nx = 1", r"unknown key qqq\.$"),
    ("[model]\nlearning_rate = 1", r"unknown key model\.learning_rate\. Did you mean "
                                   r"train\.learning_rate\?"),
    ("train = 3", r"train is a section, got 3"),
    ("[train]\nepochs = 2.5", r"train\.epochs must be a whole number, got 2\.5"),
    ("[train]\nepochs = true", r"train\.epochs must be a whole number, got true"),
    ('[train]\nlearning_rate = "1e-3"', r"train\.learning_rate must be a number, got '1e-3'"),
    ("[train]\nlearning_rate = true", r"train\.learning_rate must be a number, got true"),
    ("[train]\nlearning_rate = nan", r"train\.learning_rate must be finite, got nan"),
    ("[train]\nlearning_rate = inf", r"train\.learning_rate must be finite, got inf"),
    ("[train]\nepochs = 0", r"train\.epochs must be between 1 and 10_000, got 0"),
    ("[model]\nlayer_norm = 1", r"model\.layer_norm must be true or false, got 1"),
    ("[text]\nalphabet = 1", r"text\.alphabet must be a string, got 1"),
    ('[data]\ntrain = "a.jsonl"', r"data\.train must be a list, got 'a\.jsonl'"),
    ("[data]\ntrain = [1]", r"data\.train must be a string, got 1"),
    ('[features]\nkind = "plp"',
     r"features\.kind must be one of 'log_mel', 'mfcc', 'pcen', got 'plp'"),
    ("seed = -1", r"seed must be between 0 and 2_147_483_647, got -1"),
    ("a = ", r"page\.toml is not TOML: Invalid value"),
    ("[train]\nepochs = 1\nepochs = 2", r"is not TOML: Cannot overwrite a value"),
])
def test_what_is_refused(tmp_path, text, message):
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(write(tmp_path, text))
    assert caught.value.exit_code == EXIT_USAGE
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_foreign_line_ends_do_no_harm(tmp_path):
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbfseed = 7\r\n[train]\r\nepochs = 3\r\n")
    recipe = load_recipe(tmp_path / "r.toml")
    assert (recipe.seed, recipe.train.epochs) == (7, 3)


@pytest.mark.parametrize(("table", "message"), [
    ({"features": {"win_length": 600}}, r"features\.win_length 600 must not exceed .*n_fft 512"),
    ({"features": {"hop_length": 401}}, r"features\.hop_length 401 must not exceed"),
    ({"features": {"f_max": 8_001.0}}, r"features\.f_max 8001\.0 must not exceed half"),
    ({"features": {"f_min": 8_000.0}}, r"features\.f_min 8000\.0 must lie below"),
    ({"features": {"kind": "mfcc", "n_mfcc": 90}}, r"features\.n_mfcc 90 must not exceed"),
    ({"augment": {"speeds": []}}, r"augment\.speeds must name at least one factor"),
    ({"augment": {"noise_snr_min": 31.0}}, r"noise_snr_min must not exceed noise_snr_max"),
    ({"augment": {"noise_probability": 0.5}}, r"noise_probability needs augment\.noise_dir"),
    ({"model": {"stacking": 2}}, r"model\.stacking 2 must be at least model\.subsampling 3"),
    ({"data": {"train": ["a"], "repeats": [1, 2]}}, r"data\.repeats must have one number a "
                                                    r"manifest of data\.train: 1, got 2"),
    ({"data": {"min_seconds": 9.0, "max_seconds": 9.0}}, r"data\.min_seconds must be below"),
    ({"decoder": {"kind": "lexicon"}}, r'"lexicon" needs decoder\.lexicon'),
    ({"features": {"cmvn": "map", "deltas": 1}}, r'cmvn = "map" works on log-mel'),
    ({"features": {"cmvn_range_db": 30.0, "kind": "mfcc"}}, r"cmvn_range_db works with"),
    ({"features": {"cmvn_range_db": 30.0, "cmvn": "global"}}, r"cmvn_range_db works with"),
    ({"features": {"cmvn_range_db": 5.0}}, r"cmvn_range_db must be 0 or at least 10, got 5"),
    ({"features": {"kind": "mfcc"}, "augment": {"warp": 0.1}}, r"work on log-mel features"),
])
def test_what_contradicts_itself(table, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from_dict(table, source="page.toml")


@pytest.mark.parametrize("override", ["train.epochs", "=5", "a.b.c=1", ".epochs=1", "train.=1"])
def test_malformed_overrides(tmp_path, override):
    with pytest.raises(RecipeError, match=r"write section\.key=value"):
        load_recipe(write(tmp_path, ""), [override])


def test_an_override_below_a_number(tmp_path):
    with pytest.raises(RecipeError, match="seed is not a section"):
        load_recipe(write(tmp_path, "seed = 1"), ["seed.x=1"])


def test_an_override_with_a_typo(tmp_path):
    with pytest.raises(RecipeError, match=r"Did you mean train\.epochs\?"):
        load_recipe(write(tmp_path, ""), ["train.epoch=1"])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(RecipeError, match="Cannot read the recipe .*none.toml"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="Cannot read the recipe"):
        load_recipe(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"seed = 1 # \xe4")
    with pytest.raises(RecipeError, match="Cannot read the recipe .*latin.toml"):
        load_recipe(tmp_path / "latin.toml")


def test_settings_of_one_class():
    made = settings_from_dict(DecoderSettings, {"kind": "beam", "beam_width": 4}, source="x")
    assert (made.kind, made.beam_width) == ("beam", 4)
    with pytest.raises(RecipeError, match="x: unknown key widht"):
        settings_from_dict(DecoderSettings, {"widht": 4}, source="x")


def test_a_page_that_starts_from_a_bundle_learns_slowly_unless_it_says_how(tmp_path):
    page = tmp_path / "page.toml"
    page.write_text('[train]\ninitial_bundle = "a.asr"\n', encoding="utf-8")
    assert load_recipe(page).train.learning_rate == 3e-4
    assert load_recipe(page, ["train.learning_rate=0.01"]).train.learning_rate == 0.01
    page.write_text("[train]\nepochs = 2\n", encoding="utf-8")
    assert load_recipe(page).train.learning_rate == 1e-3
    assert load_recipe(page, ["train.initial_bundle=b.asr"]).train.learning_rate == 3e-4
