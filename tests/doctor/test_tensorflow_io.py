"""What doctor says of tensorflow-io and of addresses: with fakes, and for real (make test-tfio)."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from asr.data.recordings import require_tensorflow_io
from asr.doctor import machine, tensorflow_io
from asr.errors import UsageError

WORKING = """
import io, numpy as np, soundfile
__version__ = "9.9"
class audio:
    @staticmethod
    def decode_flac(data, dtype=None):
        return soundfile.read(io.BytesIO(data), dtype="int16")[0][:, None]
    decode_wav = decode_flac
    @staticmethod
    def decode_mp3(data):
        return soundfile.read(io.BytesIO(data), dtype="float32")[0][:, None]
    decode_vorbis = decode_mp3
    @staticmethod
    def resample(x, rate_in, rate_out):
        return x[::2]
"""


TENSORFLOW = """
import types
int16 = "int16"
io = types.SimpleNamespace(gfile=types.SimpleNamespace(
    get_registered_schemes=lambda: ["", "ram", "s3", "http", "https", "gs"]))
"""


def probe_with(tmp_path, monkeypatch, source: str) -> dict:
    """The probe with fakes of tensorflow_io and tensorflow first on the path of the child."""
    (tmp_path / "tensorflow_io.py").write_text(source)
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tensorflow_io.probe((sys.executable,))


def test_tensorflow_io_that_works(tmp_path, monkeypatch):
    result = probe_with(tmp_path, monkeypatch, WORKING)
    assert (result["importable"], result["version"]) == (True, "9.9"), result
    assert set(result["parts"].values()) == {"works"}
    assert set(result["parts"]) == {"decode_wav", "decode_flac", "decode_mp3", "decode_vorbis",
                                    "resample", "file_systems"}


def test_tensorflow_io_without_its_file_systems(tmp_path, monkeypatch):
    monkeypatch.setattr("test_tensorflow_io.TENSORFLOW", TENSORFLOW.replace('"s3", ', ""))
    result = probe_with(tmp_path, monkeypatch, WORKING)
    assert result["parts"]["file_systems"] == "ValueError: no file system for s3"


def test_tensorflow_io_whose_native_decoder_fails_when_called(tmp_path, monkeypatch):
    broken = WORKING + ("    @staticmethod\n    def decode_flac(data, dtype=None):\n"
                        "        raise NotImplementedError('undefined symbol: _ZN10tensorflow')\n")
    result = probe_with(tmp_path, monkeypatch, broken)
    assert result["importable"]
    assert "undefined symbol" in result["parts"]["decode_flac"]
    assert result["parts"]["decode_wav"] == result["parts"]["resample"] == "works"


def test_tensorflow_io_that_decodes_to_something_else(tmp_path, monkeypatch):
    other = WORKING.replace('"int16")[0][:, None]', '"int16")[0][:, None] + 1')
    result = probe_with(tmp_path, monkeypatch, other)
    assert "decoded to other samples" in result["parts"]["decode_flac"]


@pytest.mark.parametrize("source, message", [
    ("raise ImportError('libtensorflow_io.so: cannot open')", "libtensorflow_io.so"),
    ("import os; os.abort()", "ended the process with code -6"),
])
def test_tensorflow_io_that_cannot_be_imported(tmp_path, monkeypatch, source, message):
    result = probe_with(tmp_path, monkeypatch, source)
    assert not result["importable"] and message in result["message"]


def test_tensorflow_io_that_dies_in_one_part(tmp_path, monkeypatch):
    deadly = WORKING + ("    @staticmethod\n    def resample(x, rate_in, rate_out):\n"
                        "        import os; os.abort()\n")
    result = probe_with(tmp_path, monkeypatch, deadly)
    assert result["parts"]["decode_wav"] == "works"
    assert result["parts"]["resample"] == "not answered: the process ended"
    assert "file_systems" not in result["parts"]


def test_tensorflow_io_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorflow_io, "TIMEOUT", 1)
    result = probe_with(tmp_path, monkeypatch, "import time; time.sleep(60)")
    assert result["message"] == "no answer within 1 s"


def test_tensorflow_io_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(tensorflow_io.importlib.util, "find_spec", lambda name: None)
    assert tensorflow_io.probe()["message"] == "not installed"


def test_all_parts_work_where_the_versions_fit():
    try:
        require_tensorflow_io()
    except UsageError as error:
        pytest.skip(str(error))
    assert set(tensorflow_io.probe()["parts"].values()) == {"works"}
    assert tensorflow_io.reader_problem() is None


def test_the_screen_says_what_reads_here(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in (
        "tensorflow_io", "s3fs") else object())
    assert machine.addresses() == {"http": True, "s3": False, "gs": True}
    monkeypatch.undo()
    state = {"importable": True, "version": "0.37.1", "message": "",
             "parts": {"decode_wav": "works"}, "reader": None}
    lines = list(tensorflow_io.lines(state, {"http": True, "s3": False, "gs": True}))
    assert lines == [
        "tensorflow-io  0.37.1 imports; decode_wav: works",
        'reader         data.reader = "tensorflow-io" works here',
        'addresses      http:// and https:// yes; s3:// no; gs:// yes: pip install '
        '"keras-asr[remote]"']
    state |= {"importable": False, "message": "not installed", "reader": "Versions do not fit."}
    lines = list(tensorflow_io.lines(state, {"http": True, "s3": True, "gs": True}))
    assert lines[:2] == ["tensorflow-io  not installed (nothing here needs it)",
                         'reader         data.reader = "tensorflow-io" does not work here: '
                         'Versions do not fit.']
    assert lines[2].endswith("gs:// yes")
