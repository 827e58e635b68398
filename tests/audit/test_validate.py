from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_bundle import write_bundle

from asr.audio import load_utterance
from asr.audit import leakage
from asr.audit.leakage import _Stretches
from asr.audit.validate import Target, validate
from asr.cli import run
from asr.errors import BundleError, ManifestError
from asr.features import FeatureExtractor
from asr.features.lengths import feasible, output_length
from asr.manifest import Row, Utterance, write_manifest
from asr.recipe import (
    FeatureSettings,
    ModelSettings,
    Recipe,
    TextSettings,
    dump_recipe,
    recipe_from_dict,
)
from asr.text.tokenizer import CharTokenizer

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
TARGET = Target(FeatureSettings(), ModelSettings(subsampling=3), "basic", ALPHABET,
                min_seconds=0.1, max_seconds=30.0)


def speech(path: Path, seconds: float = 1.0, rate: int = 16_000, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(size=round(seconds * rate))
    soundfile.write(path, 0.01 * noise, rate)
    return path


class Corpus:
    """Builds manifests in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows: dict[str, list[Utterance]] = {}
        self.count = 0

    def add(self, split: str, text: str = "yes sir", seconds: float = 1.0, **changes):
        self.count += 1
        name = f"u{self.count}"
        fields = {"id": name, "duration": seconds, "speaker": f"s{split}"} | changes
        if "audio" not in fields:
            fields["audio"] = speech(self.folder / f"{name}.wav", seconds, seed=self.count)
        self.rows.setdefault(split, []).append(Utterance(text=text, **fields))
        return self.rows[split][-1]

    def write(self) -> list[Path]:
        paths = []
        for split, rows in self.rows.items():
            paths.append(self.folder / f"{split}.jsonl")
            write_manifest(paths[-1], rows)
        return paths


@pytest.fixture
def corpus(tmp_path):
    return Corpus(tmp_path)


def found(report):
    return [(problem.code, problem.line, problem.id) for problem in report.problems]


def test_a_good_manifest_has_no_problem(corpus):
    corpus.add("train")
    corpus.add("train", "no", 0.5)
    report = validate(corpus.write(), target=TARGET)
    assert report.problems == [] and report.notes == []
    assert (report.num_utterances, report.seconds) == (2, 1.5)


def test_audio_that_cannot_be_used(corpus, tmp_path):
    cut = speech(tmp_path / "cut.wav")
    cut.write_bytes(cut.read_bytes()[:9_000])
    (tmp_path / "page.wav").write_text("<html>")
    (tmp_path / "folder.wav").mkdir()
    for name, audio in (("gone", "gone.wav"), ("cut", "cut.wav"), ("page", "page.wav"),
                        ("folder", "folder.wav")):
        corpus.add("train", id=name, audio=tmp_path / audio)
    corpus.add("train", id="short", seconds=0.05)
    corpus.add("train", id="long", seconds=31.0)
    assert found(validate(corpus.write(), target=TARGET)) == [
        ("audio.missing", 1, "gone"), ("audio.truncated", 2, "cut"),
        ("audio.unsupported", 3, "page"), ("audio.unreadable", 4, "folder"),
        ("audio.too_short", 5, "short"), ("audio.too_long", 6, "long")]


def test_damage_inside_is_found_by_decoding(corpus, tmp_path):
    path = speech(tmp_path / "bad.flac", 3.0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2:len(data) // 2 + 2_000] = bytes(2_000)
    path.write_bytes(data)
    corpus.add("train", seconds=3.0, audio=path)
    paths = corpus.write()
    assert found(validate(paths)) == []
    assert [code for code, _, _ in found(validate(paths, decode=True))] == ["audio.decode"]


@pytest.mark.parametrize("declared, offset, is_fine", [
    (1.0, 0.0, True), (1.09, 0.0, True), (0.91, 0.0, True), (1.2, 0.0, False), (0.8, 0.0, False),
    (0.5, 0.5, True), (0.5, 0.7, False), (0.2, 0.3, True),
])
def test_a_duration_that_disagrees(corpus, declared, offset, is_fine):
    audio = speech(corpus.folder / "a.wav", 1.0)
    corpus.add("train", seconds=declared, offset=offset, audio=audio)
    codes = [code for code, _, _ in found(validate(corpus.write()))]
    assert codes == ([] if is_fine else ["manifest.duration"])


def test_one_percent_of_a_long_recording_is_fine(corpus):
    audio = speech(corpus.folder / "a.wav", 20.0, rate=8_000)
    corpus.add("train", seconds=20.19, audio=audio)
    assert found(validate(corpus.write())) == []


def test_parts_of_one_recording_are_no_disagreement(corpus):
    audio = speech(corpus.folder / "a.wav", 4.0)
    for offset in (0.0, 1.0, 2.0):
        corpus.add("train", seconds=1.0, offset=offset, audio=audio)
    assert found(validate(corpus.write())) == []


def test_characters_are_listed_with_code_point_count_and_first_id(corpus):
    corpus.add("train", "yes")
    corpus.add("train", "größe öl")
    corpus.add("train", "öde \U0001f600 \u202e")
    report = validate(corpus.write(), target=TARGET)
    messages = {problem.message.split(" is")[0]: problem for problem in report.problems}
    assert set(messages) == {"'ö' (U+00F6)", "'ß' (U+00DF)"}, "basic drops emoji and bidi marks"
    problem = messages["'ö' (U+00F6)"]
    assert (problem.line, problem.id, problem.code) == (2, "u2", "text.out_of_alphabet")
    assert "occurs 3 times" in problem.message


def test_texts_are_normalised_first(corpus):
    corpus.add("train", "  YES, Sir!\t")
    corpus.add("train", "e\u0301")   # NFD: one character after NFC
    report = validate(corpus.write(), target=TARGET)
    assert [problem.message[:12] for problem in report.problems] == ["'é' (U+00E9)"]


@pytest.mark.parametrize("text", ["", "   ", "\t", "?!", "\u200d", "\U0001f600"])
def test_an_empty_text(corpus, text):
    corpus.add("train", text)
    assert found(validate(corpus.write(), target=TARGET)) == [("text.empty", 1, "u1")]


def test_an_empty_text_is_none_of_speech_where_the_recipe_says_so(corpus):
    corpus.add("train", "")
    corpus.add("train", "?!")
    target = Target.from_recipe(recipe_from_dict({"data": {"non_speech": True}}))
    (path,) = corpus.write()
    assert found(validate([path], target=target)) == [("text.empty", 2, "u2")]


def test_an_empty_text_without_a_target(corpus):
    corpus.add("train", " ")
    corpus.add("train", "?!")
    assert found(validate(corpus.write())) == [("text.empty", 1, "u1")]


def test_rows_that_cannot_be_read_are_listed_beside_the_others(corpus):
    corpus.add("train", id="a")
    corpus.add("train", "ö", id="b")
    (path,) = corpus.write()
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([lines[0], "{", lines[0], lines[1]] + ["["] * 60), "utf-8")
    report = validate([path], target=TARGET)
    codes = [code for code, _, _ in found(report)]
    assert codes == ["manifest.json", "manifest.duplicate_id"] + 60 * ["manifest.json"] + [
        "text.out_of_alphabet"], "all problems, without a cap"


def test_a_repeated_id_hides_nothing_else_of_its_row(corpus):
    corpus.add("train", id="a")
    corpus.add("train", "?!", id="b")
    (path,) = corpus.write()
    path.write_text(path.read_text("utf-8").replace('"b"', '"a"'), "utf-8")
    assert [code for code, _, _ in found(validate([path], target=TARGET))] == [
        "manifest.duplicate_id", "text.empty"]


def test_a_manifest_that_cannot_be_opened_is_a_problem(corpus, tmp_path):
    corpus.add("train")
    report = validate([tmp_path / "gone.jsonl", *corpus.write()])
    assert [problem.code for problem in report.problems] == ["manifest.unreadable"]
    with pytest.raises(ManifestError, match="audio root"):
        validate([tmp_path / "train.jsonl"], audio_root=tmp_path / "nowhere")


def test_another_rate_is_one_note(corpus):
    for _ in range(3):
        corpus.add("train", audio=speech(corpus.folder / "a.wav", rate=8_000, seconds=1.0))
    report = validate(corpus.write(), target=TARGET)
    assert report.problems == []
    assert [note.message for note in report.notes] == [
        "3 of 3 recordings have 8,000 Hz and will be resampled to 16,000 Hz."]


def test_a_recipe_without_an_alphabet_takes_that_of_the_first_manifest(corpus):
    corpus.add("train", "ja")
    corpus.add("test", "nein")
    report = validate(corpus.write(), target=Target(FeatureSettings(), ModelSettings(), "basic"))
    assert any("'aj'" in note.message for note in report.notes)
    assert {problem.message[:3] for problem in report.problems} == {"'n'", "'e'", "'i'"}


# CTC feasibility ---------------------------------------------------------------------------------


def test_infeasible_and_exactly_feasible(corpus):
    # 0.25 s at 16 kHz: 1 + 4_000 // 160 = 26 frames, ceil(26 / 3) = 9 outputs
    corpus.add("train", "a" * 5, 0.25)      # 5 labels + 4 repeats = 9: fits
    corpus.add("train", "a" * 5 + "b", 0.25)
    corpus.add("train", "abcdefghij", 0.25)
    report = validate(corpus.write(), target=TARGET)
    assert found(report) == [("ctc.infeasible", 2, "u2"), ("ctc.infeasible", 3, "u3")]
    assert "6 labels and 4 repeats, CTC needs at least 10 frames but the model will see 9" in \
        report.problems[0].message


def test_what_only_fits_at_normal_speed_is_a_note(corpus):
    corpus.add("train", "a" * 5, 0.25)
    fast = Target(FeatureSettings(), ModelSettings(subsampling=3), "basic", ALPHABET,
                  max_speed=1.1)
    report = validate(corpus.write(), target=fast)
    assert report.problems == []
    assert [note.code for note in report.notes] == ["ctc.infeasible_fast"]


@given(num_samples=st.integers(600, 9_000), rate=st.sampled_from([8_000, 16_000, 22_050]),
       text=st.text("ab", min_size=1, max_size=24), front_end=st.sampled_from(["stack", "conv"]),
       subsampling=st.integers(1, 4))
@example(num_samples=4_000, rate=16_000, text="aaaaa", front_end="stack", subsampling=3)
@settings(max_examples=40, deadline=None)
def test_the_verdict_is_that_of_the_frames_that_training_makes(
        tmp_path_factory, num_samples, rate, text, front_end, subsampling):
    folder = tmp_path_factory.mktemp("verdict")
    corpus = Corpus(folder)
    audio = speech(folder / "a.wav", num_samples / rate, rate)
    corpus.add("train", text, num_samples / rate, audio=audio)
    target = Target(FeatureSettings(n_mels=8), ModelSettings(
        front_end=front_end, stacking=4, subsampling=subsampling), "basic", "ab", min_seconds=0.0)
    samples = load_utterance(corpus.rows["train"][0], sample_rate=16_000)
    frames = len(FeatureExtractor(target.features).extract(samples))
    fits = feasible(output_length(frames, target.model), CharTokenizer("ab").encode(text))
    codes = [code for code, _, _ in found(validate(corpus.write(), target=target))]
    assert codes == ([] if fits else ["ctc.infeasible"])


# What splits share -------------------------------------------------------------------------------


def test_shared_ids_audio_speakers_and_texts(corpus):
    first = corpus.add("train", "yes")
    copied = corpus.folder / "copy.wav"
    copied.write_bytes(first.audio.read_bytes())
    corpus.add("test", "no", audio=copied)
    corpus.add("test", "maybe", id=first.id)
    corpus.add("test", "Yes!", speaker="strain")
    report = validate(corpus.write(), target=TARGET)
    assert found(report) == [("split.id", 2, "u1"), ("split.audio", 1, "u2"),
                             ("split.speaker", 3, "u4")]
    assert "train.jsonl:1 utterance 'u1'" in report.problems[1].message
    assert [note.message.split(" also")[0] for note in report.notes] == [
        "The normaliser basic drops: ! 1.", "1 of 3 texts"]


def test_shared_speakers_can_be_allowed(corpus):
    corpus.add("train", speaker="mia")
    corpus.add("test", "no", speaker="mia")
    corpus.add("test", "nobody", speaker="")
    paths = corpus.write()
    assert [code for code, _, _ in found(validate(paths))] == ["split.speaker"]
    report = validate(paths, shared_speakers=True)
    assert report.problems == [] and [n.code for n in report.notes] == ["split.speaker"]


def test_other_parts_of_one_recording_are_not_shared_audio(corpus):
    audio = speech(corpus.folder / "a.wav", 4.0)
    corpus.add("train", audio=audio)
    corpus.add("train", audio=audio, offset=1.0)
    corpus.add("test", "no", audio=audio, offset=2.0)
    corpus.add("test", "maybe", audio=audio, offset=1.5)
    assert found(validate(corpus.write())) == [("split.audio", 2, "u4")]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), min_size=1, max_size=12),
       st.integers(0, 20), st.integers(1, 5))
def test_an_overlapping_part_is_found_as_by_comparing_each(parts, start, length):
    rows = [Row(line, Utterance(f"u{line}", Path("/a.wav"), "", float(seconds),
                                offset=float(begin)))
            for line, (begin, seconds) in enumerate(parts, start=1)]
    overlapping = [row for row in rows if row.utterance.offset < start + length
                   and start < row.utterance.offset + row.utterance.duration]
    found_row = _Stretches(rows).overlapping(start, start + length)
    assert found_row in overlapping if overlapping else found_row is None


def test_many_parts_of_one_recording_are_compared_in_linear_time(monkeypatch):
    """20,000 parts in each of two manifests, none shared: 400 million pairs."""
    ends = []
    monkeypatch.setattr(leakage, "_end", lambda row, end=leakage._end: ends.append(1) or end(row))
    tables = {name: [Row(line, Utterance(f"{name}{line}", Path("/a.wav"), "", 1.0,
                                         offset=2.0 * line + place)) for line in range(20_000)]
              for place, name in enumerate(("train", "test"))}
    problems, _ = leakage.find_shared(tables, {Path("/a.wav"): "same"})
    assert not problems and len(ends) < 200_000


def test_against_is_compared_but_not_checked(corpus):
    copy = corpus.add("train", "yes").audio
    corpus.add("train", "")
    corpus.add("test", "no", id="u3", audio=copy)
    train, test = corpus.write()
    assert found(validate([test], against=[train])) == [("split.audio", 1, "u3")]


def test_a_manifest_given_twice_is_checked_once(corpus):
    corpus.add("train", "")
    (path,) = corpus.write()
    assert len(validate([path, str(path)]).problems) == 1


# The command -------------------------------------------------------------------------------------


def recipe_file(folder: Path, **data) -> str:
    from asr.recipe import DataSettings
    recipe = Recipe(text=TextSettings("basic", ALPHABET), data=DataSettings(**data))
    (folder / "r.toml").write_text(dump_recipe(recipe), "utf-8")
    return str(folder / "r.toml")


def test_the_command_lists_on_stdout_and_changes_nothing(corpus, tmp_path, capsys):
    corpus.add("train", "größe \x1b[31m")
    (path,) = corpus.write()
    before = {p: p.read_bytes() for p in sorted(tmp_path.iterdir())}
    assert run(["validate", str(path), "--recipe", recipe_file(tmp_path.parent)]) == 4
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{path}:1 utterance 'u1': ")
    assert "[text.out_of_alphabet]" in captured.out and "\x1b" not in captured.out + captured.err
    assert "4 text.out_of_alphabet" in captured.err
    assert {p: p.read_bytes() for p in sorted(tmp_path.iterdir())} == before


def test_the_command_says_that_all_is_well(corpus, capsys):
    corpus.add("train")
    assert run(["validate", *map(str, corpus.write())]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "1 utterance, 0.00 h: no problem." in captured.err


def test_json_is_all_that_stdout_holds(corpus, tmp_path, capsys):
    corpus.add("train", "", id="ü")
    corpus.add("test", "no")
    assert run(["validate", *map(str, corpus.write()), "--json"]) == 4
    table = json.loads(capsys.readouterr().out)
    assert table["counts"] == {"text.empty": 1} and table["utterances"] == 2
    assert table["problems"][0] == {
        "path": str(tmp_path / "train.jsonl"), "line": 1, "id": "ü", "code": "text.empty",
        "message": table["problems"][0]["message"]}


def test_the_recipe_names_the_audio_root(corpus, tmp_path):
    corpus.add("train")
    (tmp_path / "manifests").mkdir()
    write_manifest(tmp_path / "manifests" / "m.jsonl", corpus.rows["train"])
    manifest = str(tmp_path / "manifests" / "m.jsonl")
    assert run(["validate", manifest]) == 4
    assert run(["validate", manifest, "--audio-root", str(tmp_path)]) == 0
    assert run(["validate", manifest, "--allow-outside-root"]) == 0
    assert run(["validate", manifest, "--recipe", recipe_file(
        tmp_path, audio_root=str(tmp_path))]) == 0


def test_recipe_and_bundle_exclude_each_other(corpus, capsys):
    corpus.add("train")
    (path,) = corpus.write()
    assert run(["validate", str(path), "--recipe", "r", "--bundle", "b"]) == 2
    assert "not both" in capsys.readouterr().err


def test_a_bundle_judges_as_its_recipe_did(corpus, tmp_path):
    bundle = write_bundle(tmp_path / "tiny.asr")
    target = Target.from_bundle(bundle)
    assert target.alphabet and target.normalizer
    corpus.add("train", "ö" * 3)
    codes = [code for code, _, _ in found(validate(corpus.write(), target=target))]
    assert codes == ["text.out_of_alphabet"]
    (tmp_path / "bad.asr").write_bytes(b"no bundle")
    with pytest.raises(BundleError, match="bad.asr"):
        Target.from_bundle(tmp_path / "bad.asr")


def test_no_tensorflow_is_imported(corpus):
    corpus.add("train")
    (path,) = corpus.write()
    code = ("import sys; from asr.cli import run; rc = run(['validate', sys.argv[1]]); "
            "print(rc, [m for m in ('tensorflow', 'keras') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True,
                         check=True, timeout=60)
    assert out.stdout.strip() == "0 []"


# Real recordings ---------------------------------------------------------------------------------


def test_the_official_split_of_fsdd_is_flagged(shared_data, tmp_path, capsys):
    source = str(shared_data / "fsdd")
    assert run(["prepare", "fsdd", source, str(tmp_path / "same")]) == 0
    assert run(["prepare", "fsdd", source, str(tmp_path / "other"), "--hold-out", "theo"]) == 0
    for folder, code in (("same", 4), ("other", 0)):
        paths = [str(tmp_path / folder / f"{split}.jsonl") for split in ("train", "test")]
        assert run(["validate", *paths, "--audio-root", source, "--recipe",
                    recipe_file(tmp_path)]) == code
    assert "5 split.speaker" in capsys.readouterr().err
