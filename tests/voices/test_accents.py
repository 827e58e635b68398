"""Accents: phonemes of English as speakers of other languages say them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from asr.errors import UsageError
from asr.voices import Voice, kokoro, voice_of, voices_named
from asr.voices.accents import ACCENTS, accented

# As espeak-ng's en-us writes the digits.
DIGITS = "zˈiəɹoʊ wˌʌn tˈuː θɹˈiː fˈɔːɹ fˈaɪv sˈɪks sˈɛvən ˈeɪt nˈaɪn".split()


class _Always(np.random.Generator):
    """Every habit, or none."""

    def __init__(self, value: float):
        super().__init__(np.random.PCG64(1))
        self.value = value

    def uniform(self, low=0.0, high=1.0, size=None):
        return np.full(size, self.value)


@pytest.mark.parametrize(("accent", "said"), [
    ("fr", "zˈiəʁo wˌœn tsˈy sʁˈi fˈɔʁ fˈaɪv sˈiks sˈɛvɛn ˈet nˈaɪn"),
    ("de", "sˈiəʁoː vˌan tˈuː sʁˈiː fˈɔɐ fˈaɪf sˈɪks sˈɛvən ˈeːt nˈaɪn"),
    ("south", "sˈieɾo wˌan tˈu tɾˈi fˈoɾ fˈaɪv sˈiks sˈɛven ˈet nˈaɪn"),
    ("british", "zˈiəɹəʊ wˌʌn tˈuː θɹˈiː fˈɔː fˈaɪv sˈɪks sˈɛvən ˈeɪt nˈaɪn")])
def test_all_habits_of_an_accent(accent, said):
    assert [accented(phonemes, accent, _Always(0.0)) for phonemes in DIGITS] == said.split()
    if accent != "british":  # which has habits that all speakers share
        assert [accented(p, accent, _Always(1.0)) for p in DIGITS] == DIGITS


@pytest.mark.parametrize("accent", ACCENTS)
def test_a_speaker_has_the_same_habits_in_every_text(accent):
    """What is said of words together is what is said of each."""
    for seed in range(20):
        alone = [accented(p, accent, np.random.default_rng(seed)) for p in DIGITS[::-1]]
        together = accented(" ".join(DIGITS[::-1]), accent, np.random.default_rng(seed))
        assert together == " ".join(alone)  # "zero" is the last


def test_speakers_of_one_accent_differ():
    said = {" ".join(accented(p, "de", np.random.default_rng(seed)) for p in DIGITS)
            for seed in range(30)}
    assert len(said) > 20
    assert all(0 < habit.share <= 1 and re.compile(habit.pattern)
               for habits in ACCENTS.values() for habit in habits)


def test_the_set_has_every_accent_and_neighbouring_voices():
    voices = voices_named(["kokoro-accents"])
    assert [v.id for v in voices] == [v.id for v in voices_named(["kokoro-accents"])]
    assert all(voice_of(v.id) == v for v in voices)
    accents = [v.name.rpartition("~")[2] for v in voices]
    assert set(accents) == set(ACCENTS) and min(map(accents.count, ACCENTS)) >= 12
    others = {a: {v.name.split("+")[1][0] for v in voices if v.name.endswith(f"~{a}")}
              for a in ACCENTS}
    assert others["british"] == {"b"} and others["fr"] <= {"f", "i"}


class _Kokoro:
    """In the place of kokoro-onnx, with its phonemes."""

    styles = {"af_bella": np.zeros((3, 1, 256), np.float32)}
    heard: list[tuple[str, bool]] = []

    @property
    def tokenizer(self):
        return self

    def phonemize(self, text, language):
        assert (text, language) == ("three", "en-us")
        return "θɹˈiː"

    def create(self, text, style, speed, language, is_phonemes=False):
        self.heard.append((text, is_phonemes))
        return np.sin(np.arange(24_000) / 9).astype(np.float32), 24_000


def test_a_voice_with_an_accent_gets_phonemes(monkeypatch, tmp_path):
    for variable in (kokoro.MODEL, kokoro.VOICES):
        (tmp_path / variable).write_text("x")
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(kokoro, "_model", lambda model, voices: (_Kokoro(), _Kokoro.styles))
    for name in ("af_bella~fr", "af_bella~de", "af_bella~south", "af_bella"):
        kokoro.kokoro(Voice("kokoro", name), "three", 1.0)
    assert [plain for _, plain in _Kokoro.heard] == [True, True, True, False]
    assert any(said != "θɹˈiː" for said, _ in _Kokoro.heard[:3]) and _Kokoro.heard[3][0] == "three"
    again = list(_Kokoro.heard)
    kokoro.kokoro(Voice("kokoro", "af_bella~fr"), "three", 1.0)
    assert _Kokoro.heard[-1] == again[0]
    with pytest.raises(UsageError, match="no accent 'nl'; there are fr, de, south, british"):
        kokoro.kokoro(Voice("kokoro", "af_bella~nl"), "three", 1.0)


@pytest.mark.slow
def test_the_real_kokoro_has_an_accent():
    if not kokoro.is_available():
        pytest.skip("KOKORO_MODEL and KOKORO_VOICES name no files, or kokoro-onnx is missing")
    audio = [kokoro.kokoro(Voice("kokoro", f"af_bella{end}"), "three, four.", 1.0)[0]
             for end in ("", "~fr", "~de")]
    assert len({len(a) for a in audio}) == 3, "other phonemes have other durations"
