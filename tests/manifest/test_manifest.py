from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import assert_quick

import asr.manifest.rows
from asr.errors import EXIT_DATA, ManifestError
from asr.manifest import (
    MAX_PROBLEMS,
    Utterance,
    read_manifest,
    scan_manifest,
    write_manifest,
)

GOOD = {"id": "a", "audio_filepath": "a.wav", "text": "yes", "duration": 0.5}


def row(**changes) -> bytes:
    """A good row with some keys changed; None removes a key."""
    table = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    return json.dumps(table).encode()


@pytest.fixture
def manifest(tmp_path):
    """Write bytes as a manifest and return its path."""
    def write(*lines: bytes) -> Path:
        path = tmp_path / "m.jsonl"
        path.write_bytes(b"\n".join(lines))
        return path
    return write


def problems_of(path, **options):
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    assert caught.value.exit_code == EXIT_DATA
    return caught.value


def test_a_row_becomes_an_utterance(manifest, tmp_path):
    path = manifest(row(speaker="mia", offset=1), row(id="b", duration=3), b"")
    first, second = read_manifest(path)
    assert first == Utterance("a", tmp_path.resolve() / "a.wav", "yes", 0.5, "mia", 1.0)
    assert (second.speaker, second.offset, second.duration) == ("", 0.0, 3.0)
    assert isinstance(second.duration, float) and first.audio.is_absolute()


# M1: strict parsing ----------------------------------------------------------------------------

ONE_LINE_FAULTS = {
    "bad json": (b'{"id": ', "not JSON", "manifest.json"),
    "trailing comma": (b'{"id": "a",}', "not JSON", "manifest.json"),
    "two objects": (row() + row(id="b"), "not JSON", "manifest.json"),
    "no object": (b'["a"]', r'a row is a JSON object, got \["a"\]', "manifest.json"),
    "deep": (b"[" * 200_000, "nested too deeply", "manifest.json"),
    "huge integer": (row().replace(b"0.5", b"9" * 5_000), "not JSON", "manifest.json"),
    "nan": (row().replace(b"0.5", b"NaN"), "NaN is not a JSON number", "manifest.json"),
    "infinity": (row().replace(b"0.5", b"-Infinity"), "-Infinity is not", "manifest.json"),
    "overflow": (row().replace(b"0.5", b"1e999"), "1e999 is too large a number", "manifest.json"),
    "duplicate key": (b'{"id": "a", "id": "b"}', "'id' occurs twice", "manifest.json"),
    "missing key": (row(text=None), "key 'text' is missing", "manifest.missing_key"),
    "unknown key": (row(speakr="x"), "unknown key 'speakr'", "manifest.unknown_key"),
    "zero duration": (row(duration=0), "duration must be .* above 0", "manifest.type"),
    "boolean duration": (row(duration=True), "got true", "manifest.type"),
    "text duration": (row(duration="1.0"), "got '1.0'", "manifest.type"),
    "negative offset": (row(offset=-1), "offset must be .* 0 or more", "manifest.type"),
    "text number": (row(text=3), "text must be a string, got 3", "manifest.type"),
    "null speaker": (row().replace(b"0.5", b'0.5, "speaker": null'), "got null", "manifest.type"),
    "empty id": (row(id=""), "id is empty", "manifest.type"),
    "control in id": (row(id="a\nb"), "id holds a control character", "manifest.type"),
    "escape in speaker": (row(speaker="\x1b[31m"), "speaker holds a control", "manifest.type"),
    "surrogate in text": (row(text="\ud800"), "half of a surrogate pair", "manifest.type"),
    "empty path": (row(audio_filepath=""), "audio_filepath is empty", "manifest.type"),
    "NUL in path": (row(audio_filepath="a\0.wav"), "NUL", "manifest.type"),
    "surrogate in path": (row(audio_filepath="\ud800"), "is no file name", "manifest.type"),
    "not UTF-8": (row().replace(b"yes", b"\xff"), r"0xff at position \d+", "manifest.encoding"),
    "binary": (bytes(range(256)).replace(b"\n", b""), "NUL.*not UTF-8", "manifest.encoding"),
    "empty line": (b"  ", "the line is empty", "manifest.line"),
}


@pytest.mark.parametrize("name", ONE_LINE_FAULTS)
def test_a_faulty_line_is_named(manifest, name):
    line, message, code = ONE_LINE_FAULTS[name]
    error = problems_of(manifest(line))
    assert [problem.line for problem in error.problems] == [1]
    with pytest.raises(ManifestError, match=message):
        raise error
    assert code is None or error.code == error.problems[0].code == code
    assert "m.jsonl:1" in str(error)


def test_all_faults_are_listed_with_their_lines(manifest):
    error = problems_of(manifest(row(), b"{", row(duration=0, text=1), row(), row(id="b")))
    assert [(p.line, p.code) for p in error.problems] == [
        (2, "manifest.json"), (3, "manifest.type"), (3, "manifest.type"),
        (3, "manifest.duplicate_id"), (4, "manifest.duplicate_id")]
    assert "m.jsonl has 5 problems; no row was used." in str(error)
    assert "already that of line 1" in str(error)


def test_the_list_is_capped(manifest):
    path = manifest(*[b"{"] * 80)
    error = problems_of(path)
    assert len(error.problems) == MAX_PROBLEMS and f"The first {MAX_PROBLEMS} are" in str(error)
    assert len(scan_manifest(path)[1]) == 80


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(("start", "end", "said"), [
    (BOM, b"", "m.jsonl:1: the file starts with a byte order mark"), (b"", b"\r", "CR LF"),
    (BOM, b"\r", "byte order mark.* CR LF")])
def test_what_windows_editors_write_is_read_with_one_note(manifest, start, end, said):
    """The rows are those of the file without the mark and with LF."""
    rows = [row(), row(id="b", text="nein, \ufeff"), row(id="c")]
    right = read_manifest(manifest(*rows, b""))
    path = manifest(*[(start if not k else b"") + line + end for k, line in enumerate(rows)], b"")
    with pytest.warns(UserWarning, match=said) as caught:
        assert read_manifest(path) == right
    assert len(caught) == 1
    notes = []
    assert [r.utterance for r in scan_manifest(path, notes=notes)[0]] == right
    assert [(n.line, n.code) for n in notes] == (
        [(1, "manifest.bom")] * bool(start) + [(1, "manifest.crlf")] * bool(end))


def test_a_second_byte_order_mark_is_no_json(manifest):
    with pytest.warns(UserWarning, match="byte order mark"), \
            pytest.raises(ManifestError, match="not JSON"):
        read_manifest(manifest(BOM + BOM + row()))
    assert problems_of(manifest(row(), BOM + row(id="b"))).code == "manifest.json"


def test_a_byte_order_mark_hides_no_other_fault(manifest):
    with pytest.warns(UserWarning, match="byte order mark"):
        error = problems_of(manifest(BOM + row(text=None) + b"\r", row(id="b") + b"\r", b""))
    assert [p.code for p in error.problems] == ["manifest.missing_key"]


def test_a_row_that_can_be_understood_is_a_row_with_a_problem(manifest):
    """So that `asr validate` looks at its recording, too."""
    path = manifest(row(), row(id="b", lang="de"), row(),
                    row(id="c", lang="de", audio_filepath="/etc/passwd"))
    rows, problems = scan_manifest(path)
    assert [r.line for r in rows] == [1, 2, 3]
    assert [p.code for p in problems] == [f"manifest.{code}" for code in (
        "unknown_key", "duplicate_id", "unknown_key", "path_escape")]


def test_a_file_that_is_no_text_is_one_problem(manifest):
    path = manifest(row())
    path.write_text("\n".join(3 * [row().decode()]), encoding="utf-16")
    rows, problems = scan_manifest(path)
    assert (rows, [(p.line, p.code) for p in problems]) == ([], [(1, "manifest.encoding")])


def test_a_long_line_is_bounded_and_the_next_is_read(manifest, monkeypatch):
    monkeypatch.setattr(asr.manifest.rows, "MAX_LINE_BYTES", 200)
    rows, problems = scan_manifest(manifest(row(), row(id="b", text="x" * 1_000), row(id="c")))
    assert [r.line for r in rows] == [1, 3]
    assert [(p.line, p.code) for p in problems] == [(2, "manifest.line")]


def test_a_line_of_one_mebibyte_is_refused(manifest):
    with pytest.raises(ManifestError, match="1,048,576 bytes or more"):
        read_manifest(manifest(row(text="x" * (1 << 20))))


def test_an_empty_file_is_an_error(manifest):
    with pytest.raises(ManifestError, match="the file is empty"):
        read_manifest(manifest(b""))


@pytest.mark.parametrize("name", ["missing.jsonl", "nul\0.jsonl"])
def test_a_file_that_cannot_be_opened(tmp_path, name):
    with pytest.raises(ManifestError, match="Cannot read the manifest"):
        read_manifest(tmp_path / name)


def test_a_folder_or_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ManifestError, match="not a regular file"):
            read_manifest(path)


# M2: where paths may lead ----------------------------------------------------------------------

ESCAPES = ["../x.wav", "/etc/passwd", "~/x.wav", "~", "file:///etc/passwd", "ftp://host/x.wav",
           "data:audio/wav;base64,AA", "in/../../x.wav", "leading/link.wav", "folder-link/x.wav",
           "folder-link/../x.wav/..", "..", ".", "in/"]


@pytest.fixture
def tree(tmp_path):
    """outside/x.wav beside root/, which holds links that lead out of it."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "leading").mkdir(parents=True)
    (root / "in").mkdir()
    outside.mkdir()
    (outside / "x.wav").touch()
    (root / "in" / "x.wav").touch()
    (root / "leading" / "link.wav").symlink_to(outside / "x.wav")
    (root / "leading" / "inner.wav").symlink_to(root / "in" / "x.wav")
    (root / "folder-link").symlink_to(outside, target_is_directory=True)
    return root


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_path_may_not_leave_the_folder(tree, escape):
    (tree / "m.jsonl").write_bytes(row(audio_filepath=escape))
    error = problems_of(tree / "m.jsonl")
    assert error.code == "manifest.path_escape"
    assert "--audio-root" in str(error) or "expected" in str(error)


@pytest.mark.parametrize("inside", ["in/x.wav", "./in//x.wav", "in/../in/x.wav", "missing/x.wav",
                                    "leading/inner.wav", "a:b.wav", "new\nline.wav", "ümlaut.wav"])
def test_a_path_inside_is_fine(tree, inside):
    (tree / "m.jsonl").write_bytes(row(audio_filepath=inside))
    (utterance,) = read_manifest(tree / "m.jsonl")
    assert utterance.audio == Path(os.path.normpath(tree.resolve() / inside))


def test_an_absolute_path_inside_is_fine(tree):
    (tree / "m.jsonl").write_bytes(row(audio_filepath=str(tree / "in" / "x.wav")))
    assert read_manifest(tree / "m.jsonl")[0].audio.name == "x.wav"


def test_audio_root_opens_one_folder_more(tree):
    (tree / "m.jsonl").write_bytes(row(audio_filepath="../outside/x.wav"))
    (utterance,) = read_manifest(tree / "m.jsonl", audio_root=tree.parent / "outside")
    assert utterance.audio.is_file()
    with pytest.raises(ManifestError, match="outside of .* and "):
        read_manifest(tree / "m.jsonl", audio_root=tree / "in")
    with pytest.raises(ManifestError, match="audio root .* is not a folder"):
        read_manifest(tree / "m.jsonl", audio_root=tree / "nowhere")


def test_a_sibling_with_the_same_prefix_is_outside(tree):
    (tree.parent / "root2").mkdir()
    (tree / "m.jsonl").write_bytes(row(audio_filepath="../root2/x.wav"))
    assert problems_of(tree / "m.jsonl").code == "manifest.path_escape"


def test_allow_outside_root(tree):
    (tree / "m.jsonl").write_bytes(row(audio_filepath="/etc/passwd"))
    assert read_manifest(tree / "m.jsonl", allow_outside_root=True)[0].audio == Path("/etc/passwd")
    (tree / "m.jsonl").write_bytes(row(audio_filepath="ftp://host/x.wav"))
    with pytest.raises(ManifestError, match="an address that begins with s3://, gs://"):
        read_manifest(tree / "m.jsonl", allow_outside_root=True)


def test_a_manifest_reached_through_a_link(tree, tmp_path):
    (tree / "m.jsonl").write_bytes(row(audio_filepath="in/x.wav"))
    (tmp_path / "way").symlink_to(tree, target_is_directory=True)
    assert read_manifest(tmp_path / "way" / "m.jsonl")[0].audio.is_file()


# Writing ---------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
NAME = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
PATH = NAME.filter(lambda n: n not in (".", "..") and "/" not in n)


@given(rows=st.lists(st.tuples(NAME, PATH, TEXT, st.floats(1e-3, 1e5), NAME,
                               st.floats(0, 1e5)), min_size=1, unique_by=lambda r: r[0]))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("round").resolve()
    utterances = [Utterance(i, folder / p, t, d, s, o) for i, p, t, d, s, o in rows]
    write_manifest(folder / "m.jsonl", utterances)
    assert read_manifest(folder / "m.jsonl") == utterances


def test_paths_are_relative_to_the_manifest(tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "m.jsonl"
    write_manifest(path, [Utterance("ä", tmp_path / "audio" / "x y.wav", "grüß", 1.5)])
    assert path.read_text("utf-8") == (
        '{"id": "ä", "audio_filepath": "../audio/x y.wav", "text": "grüß", "duration": 1.5, '
        '"speaker": "", "offset": 0.0}\n')
    assert read_manifest(path, audio_root=tmp_path)[0].text == "grüß"


def test_a_file_name_that_is_not_utf8_survives(tmp_path):
    audio = tmp_path.resolve() / os.fsdecode(b"\xff.wav")
    write_manifest(tmp_path / "m.jsonl", [Utterance("a", audio, "ja", 1.0)])
    assert read_manifest(tmp_path / "m.jsonl")[0].audio == audio


@pytest.mark.parametrize("bad, message", [
    (Utterance("", Path("/x.wav"), "a", 1.0), "id is empty"),
    (Utterance("a", Path("/x.wav"), "a", float("nan")), "duration must be"),
    (Utterance("ok", Path("/x.wav"), "a", 1.0), "row 1 has the same id"),
])
def test_a_bad_utterance_writes_nothing(tmp_path, bad, message):
    with pytest.raises(ManifestError, match=message):
        write_manifest(tmp_path / "m.jsonl", [Utterance("ok", Path("/x.wav"), "a", 1.0), bad])
    assert list(tmp_path.iterdir()) == []


def test_no_utterance_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match="no utterance to write"):
        write_manifest(tmp_path / "m.jsonl", [])


def test_an_existing_manifest_is_kept_when_asked(tmp_path):
    utterances = [Utterance("a", tmp_path / "x.wav", "a", 1.0)]
    write_manifest(tmp_path / "m.jsonl", utterances, overwrite=False)
    before = (tmp_path / "m.jsonl").read_bytes()
    with pytest.raises(ManifestError, match="exists and was left as it is"):
        write_manifest(tmp_path / "m.jsonl", utterances * 1, overwrite=False)
    assert (tmp_path / "m.jsonl").read_bytes() == before
    write_manifest(tmp_path / "m.jsonl", utterances)


# Promises --------------------------------------------------------------------------------------


def test_a_hundred_thousand_rows_are_quick(tmp_path):
    utterances = [Utterance(f"utt_{k:06d}", tmp_path / f"s{k % 100}" / f"{k}.wav",
                            "WE CALL IT BEAR ÜBER", 1.0 + k / 7, f"s{k % 100}")
                  for k in range(100_000)]
    write_manifest(tmp_path / "m.jsonl", utterances)
    def read():
        rows = read_manifest(tmp_path / "m.jsonl")
        assert rows[-1].text == utterances[-1].text and len(rows) == 100_000

    assert_quick(read, 5)  # about 1.5 s


def test_the_ascii_locale_changes_nothing(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [Utterance("ü", tmp_path / "ü\n.wav", "ß", 1.0)])
    code = ("import sys; from asr.manifest import *; from pathlib import Path; "
            "p = Path(sys.argv[1]); u = read_manifest(p / 'm.jsonl'); "
            "write_manifest(p / 'copy.jsonl', u)")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60,
                   env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0",
                        "PYTHONCOERCECLOCALE": "0"})
    assert json.loads((tmp_path / "copy.jsonl").read_text("utf-8")) == \
        json.loads((tmp_path / "m.jsonl").read_text("utf-8"))


def test_the_module_is_light():
    code = ("import asr.manifest, sys; "
            "print([m for m in ('tensorflow', 'numpy', 'soundfile') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
