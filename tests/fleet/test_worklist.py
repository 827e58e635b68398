"""Which recordings, and the names of their transcripts."""

from __future__ import annotations

import json
import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.fleet.worklist import Item, OutputFolder, _clean, find_items, other_audio


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def names(items) -> list[str]:
    return [os.path.basename(item.path or "-") for item in items]


@pytest.fixture
def tree(tmp_path):
    touch(tmp_path, "b.wav", "a.FLAC", "notes.txt", ".hidden.wav", "sub/c.mp3", "sub/deep/d.ogg")
    return tmp_path


def test_files_folders_globs_and_stdin(tree):
    t = str(tree)
    assert names(find_items([t])[0]) == ["a.FLAC", "b.wav"]
    assert names(find_items([t], recursive=True)[0]) == ["a.FLAC", "b.wav", "c.mp3", "d.ogg"]
    assert names(find_items([f"{t}/*.wav"])[0]) == ["b.wav"]
    assert names(find_items([f"{t}/**/*.ogg"])[0]) == ["d.ogg"]
    assert names(find_items([f"{t}/notes.txt"])[0]) == ["notes.txt"]  # named, so taken
    assert names(find_items(["-"])[0]) == ["-"]
    items, _ = find_items(["-"])
    assert (items[0].name, items[0].source) == ("-", "-")


def test_a_file_named_twice_comes_once(tree, monkeypatch):
    monkeypatch.chdir(tree)
    items, errors = find_items(["b.wav", "./b.wav", str(tree / "b.wav"), ".", "*.wav"])
    assert names(items) == ["b.wav", "a.FLAC"]
    assert not errors


def test_a_name_with_glob_characters_is_a_file_first(tmp_path):
    touch(tmp_path, "take[1].wav")
    assert names(find_items([str(tmp_path / "take[1].wav")])[0]) == ["take[1].wav"]


def test_what_names_nothing_is_an_error(tree):
    (tree / "empty").mkdir()
    t = str(tree)
    items, errors = find_items([f"{t}/none.wav", f"{t}/*.xyz", f"{t}/empty", f"{t}/b.wav"])
    assert names(items) == ["b.wav"]
    assert [e.code for e in errors] == ["audio.missing"] * 3
    assert "does not exist" in str(errors[0])
    assert "--recursive" in str(errors[2])


def test_a_folder_that_may_not_be_listed_is_an_error(tree, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if os.path.basename(path) == "deep":
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)   # the tests may run as root, whom nothing stops
    items, errors = find_items([str(tree)], recursive=True)
    assert names(items) == ["a.FLAC", "b.wav", "c.mp3"]
    assert [(e.code, e.path) for e in errors] == [("audio.unreadable", str(tree / "sub/deep"))]
    items, errors = find_items([str(tree / "sub/deep")])
    assert not items
    assert [str(e) for e in errors] == [f"{tree / 'sub/deep'} cannot be listed: Permission denied. "
                                        "Check the permissions of this folder."]


def test_recordings_of_other_kinds_are_named(tree):
    touch(tree, "x.dss", "Y.DSS", "sub/z.mp2", ".hidden.dss")
    upper, lower = str(tree / "Y.DSS"), str(tree / "x.dss")
    assert other_audio([str(tree), lower]) == {".dss": [upper, lower]}
    assert other_audio([str(tree)], recursive=True) == {
        ".dss": [upper, lower], ".mp2": [str(tree / "sub/z.mp2")]}


def test_a_dangling_link_is_an_item_whose_loading_fails(tmp_path):
    (tmp_path / "link.wav").symlink_to(tmp_path / "nowhere.wav")
    items, errors = find_items([str(tmp_path / "link.wav")])
    assert (names(items), errors) == (["link.wav"], [])


# -- output names


def claimed(folder, *inputs, recursive=False, suffix="txt") -> dict[str, str]:
    items, _ = find_items(inputs, recursive=recursive)
    outputs = OutputFolder(folder, suffix)
    outputs.claim(items)
    return {item.path: outputs.output(item).relative_to(folder).as_posix() for item in items}


def test_names_follow_the_recordings(tree, tmp_path):
    result = claimed(tmp_path / "out", str(tree), recursive=True)
    assert list(result.values()) == ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"]
    assert (tmp_path / "out" / "sub" / "deep").is_dir()


def test_two_x_in_different_folders(tmp_path):
    touch(tmp_path, "one/x.wav", "two/x.wav", "three/x.wav", "one/x.flac", "one/X.mp3")
    inputs = [str(tmp_path / n) for n in ("one/x.wav", "two/x.wav", "three/x.wav", "one/x.flac",
                                          "one/X.mp3")]
    result = claimed(tmp_path / "out", *inputs)
    assert list(result.values()) == ["x.txt", "two-x.txt", "three-x.txt", "one-x.txt", "X-2.txt"]
    assert len({v.casefold() for v in result.values()}) == 5


def test_names_stay_whatever_else_comes_later(tmp_path):
    touch(tmp_path, "one/x.wav", "two/x.wav")
    one, two = str(tmp_path / "one/x.wav"), str(tmp_path / "two/x.wav")
    out = tmp_path / "out"
    assert claimed(out, two) == {two: "x.txt"}
    assert claimed(out, one, two) == {one: "one-x.txt", two: "x.txt"}
    assert claimed(out, two, one, suffix="srt") == {two: "x.srt", one: "one-x.srt"}


def test_files_of_other_origin_are_left_alone(tmp_path):
    touch(tmp_path, "in/x.wav", "out/x.txt")
    assert list(claimed(tmp_path / "out", str(tmp_path / "in")).values()) == ["in-x.txt"]


def test_claims_are_on_disk_before_they_are_used(tmp_path):
    touch(tmp_path, "x.wav")
    claimed(tmp_path / "out", str(tmp_path / "x.wav"))
    (row,) = (tmp_path / "out" / "index.jsonl").read_text().splitlines()
    assert json.loads(row) == {"source": str(tmp_path / "x.wav"), "output": "x"}


def test_runs_that_share_a_folder_claim_different_names(tmp_path):
    """Both have opened the folder before either claims, as xargs -P does it."""
    touch(tmp_path, "a/x.wav", "b/x.wav")
    items = [find_items([str(tmp_path / name)])[0] for name in "ab"]
    runs = [OutputFolder(tmp_path / "out", "txt") for _ in items]
    for run, found in zip(runs, items, strict=True):
        run.claim(found)
    names = [run.output(found[0]).name for run, found in zip(runs, items, strict=True)]
    assert names == ["x.txt", "b-x.txt"]
    later = OutputFolder(tmp_path / "out", "txt")
    later.claim(items[0] + items[1])
    assert [later.output(item).name for item in items[0] + items[1]] == names


def test_recordings_of_one_name_are_named_in_linear_time(tmp_path, monkeypatch):
    """As `**/audio.wav` finds them: 3,000 names are tried about once each."""
    items = [Item(str(tmp_path / f"{number}/mic/audio.wav"), "audio.wav")
             for number in range(3_000)]
    tried, free = [], OutputFolder._free
    monkeypatch.setattr(OutputFolder, "_free", lambda self, stem: tried.append(stem) or free(
        self, stem))
    outputs = OutputFolder(tmp_path / "out", "txt")
    outputs.claim(items)
    assert len({outputs.output(item) for item in items}) == len(items)
    assert [outputs.output(item).name for item in items[:4]] == [
        "audio.txt", "mic-audio.txt", "audio-2.txt", "audio-3.txt"]
    assert len(tried) <= 3 * len(items)
    again = OutputFolder(tmp_path / "out", "txt")
    again.claim(items)
    assert [again.output(item) for item in items] == [outputs.output(item) for item in items]


@pytest.mark.parametrize("content", ["nonsense", "[]", '{"source": "a"}',
                                     '{"source": "a", "output": "../up"}',
                                     '{"source": "a", "output": "/etc/x"}',
                                     '{"source": 3, "output": "x"}', "[" * 100_000])
def test_an_index_that_is_not_ours(tmp_path, content):
    (tmp_path / "index.jsonl").write_text(content)
    with pytest.raises(UsageError, match=r"index\.jsonl:1 is not a row"):
        OutputFolder(tmp_path, "txt")


def test_an_unreadable_index(tmp_path):
    (tmp_path / "index.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="Cannot read"):
        OutputFolder(tmp_path, "txt")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="Cannot make the output folder"):
        OutputFolder(tmp_path / "file" / "out", "txt")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX names")
def test_odd_names(tmp_path):
    odd = ["new\nline.wav", "tab\there.wav", os.fsdecode(b"latin-\xe4.wav"), "colon:x.wav",
           "..wav", "...wav", "x" * 250 + ".wav", "ü" * 120 + ".wav", "-.wav", " .wav"]
    for name in odd:
        (tmp_path / name).write_bytes(b"")
    result = claimed(tmp_path / "out", *(str(tmp_path / name) for name in odd))
    assert len(set(result.values())) == len(odd)
    for stem in result.values():
        (tmp_path / "out" / stem).write_text("x")  # every one can be written
        assert stem.encode("utf-8")
    items, _ = find_items([str(tmp_path / odd[2])])
    assert items[0].name.endswith("latin-\\xe4.wav")


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1))
def test_clean_names_are_plain_file_names(name):
    cleaned = _clean(name)
    assert "/" not in cleaned
    assert cleaned not in (".", "..")
    assert len(cleaned.encode()) <= 181
    assert cleaned.isprintable() or not name.isprintable()
