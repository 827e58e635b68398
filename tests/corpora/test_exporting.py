"""A manifest goes out in each layout and comes back the same; the peers' own readers agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.cli import run
from asr.cli.manifest import LAYOUTS as OFFERED
from asr.corpora import load_corpus
from asr.corpora.collect import EACH, Checks
from asr.corpora.exporting import LAYOUTS, export_manifest
from asr.errors import EXIT_DATA, EXIT_OK, EXIT_USAGE, DataError
from asr.manifest import Utterance, read_manifest, write_manifest

PARTS = ("lhotse", "kaldi", "nemo")  # layouts with rows that are parts of recordings


@pytest.fixture
def rows(tmp_path) -> list[Utterance]:
    """Three whole recordings; the speakers of two are known."""
    found = []
    for number, seconds in enumerate((0.5, 0.75, 1.0)):
        path = tmp_path / f"über {number}.wav"
        rng = np.random.default_rng(number)
        soundfile.write(path, 0.1 * rng.normal(size=int(seconds * 8_000)), 8_000)
        found.append(Utterance(f"utt-{number}", path, f"quite, \"good\" ünø {number}", seconds,
                               ("", "anna", "ben")[number]))
    return found


def parts(rows: list[Utterance]) -> list[Utterance]:
    return [replace(rows[2], id="a", offset=0.0, duration=0.4),
            replace(rows[2], id="b", offset=0.25, duration=0.5),
            replace(rows[2], id="c", offset=0.9, duration=0.1), *rows[:2]]  # 1.0 - 0.9 < 0.1


def back(folder: Path, layout: str) -> list[Utterance]:
    prepared = load_corpus(layout).prepare(folder, checks=Checks(channel=EACH))
    assert not prepared.excluded and list(prepared) == ["train"]
    return sorted(prepared["train"], key=lambda u: u.id)


def test_the_command_offers_every_layout():
    assert set(OFFERED) == set(LAYOUTS)


@pytest.mark.parametrize("layout", PARTS)
def test_there_and_back(rows, tmp_path, layout):
    rows = parts(rows)
    found = back(export_manifest(rows, tmp_path / "out", layout), layout)
    if layout == "kaldi":  # every utterance has a speaker there
        rows = [replace(u, speaker=u.speaker or u.id) for u in rows]
    assert found == sorted(rows, key=lambda u: u.id)


def test_lhotse_keeps_channels(rows, tmp_path):
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.random.default_rng(0).normal(size=(8_000, 2)) * 0.1, 8_000)
    rows = [Utterance("left", stereo, "one", 1.0, channel=1), Utterance("mix", stereo, "two", 1.0),
            Utterance("right", stereo, "three", 0.5, offset=0.5, channel=2)]
    assert back(export_manifest(rows, tmp_path / "out", "lhotse"), "lhotse") == rows


def test_deepspeech_there_and_back(rows, tmp_path):
    found = back(export_manifest(rows, tmp_path / "out", "deepspeech"), "deepspeech")
    assert [(u.audio, u.text, u.duration) for u in found] == [
        (u.audio, u.text, u.duration) for u in rows]


def test_huggingface_there_and_back(rows, tmp_path):
    found = back(export_manifest(rows, tmp_path / "out", "huggingface"), "huggingface")
    assert [(u.audio.read_bytes(), u.text, u.duration, u.speaker) for u in found] == [
        (u.audio.read_bytes(), u.text, u.duration, u.speaker) for u in rows]


@pytest.mark.filterwarnings("ignore::Warning:lhotse")
def test_lhotse_itself_reads_it(rows, tmp_path):
    lhotse = pytest.importorskip("lhotse", reason="lhotse is not installed")
    rows = parts(rows)
    out = export_manifest(rows, tmp_path / "out", "lhotse")
    recordings = lhotse.RecordingSet.from_file(out / "recordings_train.jsonl.gz")
    supervisions = lhotse.SupervisionSet.from_file(out / "supervisions_train.jsonl.gz")
    lhotse.validate_recordings_and_supervisions(recordings, supervisions, read_data=True)
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    cuts = {cut.supervisions[0].id: cut for cut in cuts.trim_to_supervisions(
        keep_overlapping=False)}
    for u in rows:
        cut = cuts[u.id]
        assert (cut.start, cut.duration, cut.supervisions[0].text) == (u.offset, u.duration, u.text)
        samples, _ = soundfile.read(u.audio, dtype="float32")
        start = round(8_000 * u.offset)
        np.testing.assert_array_equal(cut.load_audio()[0],
                                      samples[start:start + round(8_000 * u.duration)])


@pytest.mark.slow  # importing datasets takes seconds
@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("kind", ["json", "audiofolder"])
def test_datasets_itself_reads_it(rows, tmp_path, kind):
    """The metadata by its JSON reader, and the audiofolder; from version 4 on by torchcodec."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    out = export_manifest(rows, tmp_path / "out", "huggingface")
    cache = str(tmp_path / "cache")
    if kind == "audiofolder":
        if int(datasets.__version__.split(".")[0]) >= 4:
            pytest.importorskip("torchcodec", reason="audiofolder needs torchcodec")
        found = datasets.load_dataset("audiofolder", data_dir=str(out), split="train",
                                      cache_dir=cache)
        found = found.cast_column("audio", datasets.Audio(decode=False))
        files = [Path(row["audio"]["path"]) for row in found]
    else:
        found = datasets.load_dataset("json", data_files=str(out / "train" / "metadata.jsonl"),
                                      split="train", cache_dir=cache)
        files = [out / "train" / row["file_name"] for row in found]
    assert [row["transcription"] for row in found] == [u.text for u in rows]
    assert [file.read_bytes() for file in files] == [u.audio.read_bytes() for u in rows]


@pytest.mark.parametrize(("layout", "change", "says"), [
    ("kaldi", {"id": "a b"}, "no space"), ("kaldi", {"channel": 1}, "channel"),
    ("nemo", {"channel": 1}, "channel"), ("deepspeech", {"offset": 0.1}, "whole"),
    ("huggingface", {"duration": 0.2}, "whole")])
def test_what_a_layout_cannot_say_is_an_error_and_nothing_is_left(rows, tmp_path, layout, change,
                                                                  says):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=says):
        export_manifest([*rows[:2], replace(rows[2], **change)], tmp_path / "out", layout)
    assert sorted(tmp_path.iterdir()) == before


def test_the_command(rows, tmp_path, capsys):
    write_manifest(tmp_path / "dev.jsonl", rows)
    command = ["manifest", "export", str(tmp_path / "dev.jsonl"), str(tmp_path / "out"), "--to"]
    assert run([*command, "nemo"]) == EXIT_OK
    lines = (tmp_path / "out" / "dev.json").read_text("utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == [u.text for u in rows]
    assert run([*command, "kaldi"]) == EXIT_USAGE
    assert "exists and is kept" in capsys.readouterr().err
    rows[0] = replace(rows[0], channel=1)
    write_manifest(tmp_path / "dev.jsonl", rows)
    command[3] += "-2"
    assert run([*command, "nemo"]) == EXIT_DATA


@pytest.mark.parametrize("layout", LAYOUTS)
def test_recordings_in_tar_shards(rows, tmp_path, layout):
    """Copied, or refused: no other program opens such a path."""
    from asr.corpora.sharding import write_shards

    write_shards({"train": rows}, tmp_path / "shards")
    packed = read_manifest(tmp_path / "shards/train.jsonl")
    if layout == "huggingface":
        found = back(export_manifest(packed, tmp_path / "out", layout), layout)
        assert {(u.text, u.audio.read_bytes()) for u in found} == {
            (u.text, u.audio.read_bytes()) for u in rows}
        return
    with pytest.raises(DataError, match="is in a tar file"):
        export_manifest(packed, tmp_path / "out", layout)
    assert not (tmp_path / "out").exists()
