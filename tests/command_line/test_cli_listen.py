"""`asr listen`: a microphone that is made up, recordings in its place, files, and no microphone."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from asr import load_audio
from asr.annotations.cues import read_subtitles
from asr.cli import run
from asr.live import StreamSettings
from asr.recognizer import Recognizer
from asr.serve.settings import ServerSettings

CLIPS = Path(__file__).parents[2] / "asr" / "assets" / "clips"
RATE = 48_000


def asr(capsys, *arguments) -> tuple[int, str, str]:
    code = run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


class Microphone(types.ModuleType):
    """What `asr.audio.microphone` uses of sounddevice; plays samples, then ends as told."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self, samples: np.ndarray, end: BaseException | None):
        super().__init__("sounddevice")
        self.samples, self.end = samples, end

    def query_devices(self, device=None, kind=None):
        found = {"name": "Studio", "max_input_channels": 2, "default_samplerate": float(RATE)}
        if kind is None:
            return [{"name": "Speaker", "max_input_channels": 0, "default_samplerate": 1.0}, found]
        if device not in (None, 1, "Studio"):
            raise ValueError(f"No input device matching {device!r}")
        return found

    def InputStream(self, *, channels, samplerate, dtype, blocksize, callback, device):  # noqa: N802
        assert (channels, samplerate, dtype) == (1, RATE, "float32")
        module = self

        class Stream:
            active = False

            def __enter__(self):
                for at in range(0, len(module.samples), blocksize):
                    callback(module.samples[at:at + blocksize, None], 0, None, None)
                if module.end:
                    raise module.end
                return self

            def __exit__(self, *_):
                pass

        return Stream()


@pytest.fixture
def microphone(monkeypatch):
    """Puts a microphone there that hears two clips."""
    def install(end: BaseException | None = None) -> None:
        noise = np.random.default_rng(1).normal(size=2 * RATE) * 1e-4
        heard = [part for name in ("1-rms", "2-slt")
                 for part in (load_audio(CLIPS / f"{name}.ogg", sample_rate=RATE), noise)]
        samples = np.concatenate(heard).astype(np.float32)
        monkeypatch.setitem(sys.modules, "sounddevice", Microphone(samples, end))
    return install


def test_a_line_an_utterance_and_a_file_at_the_end(capsys, microphone, tmp_path):
    microphone()
    code, out, err = asr(capsys, "listen", "--seconds", 7, "-o", tmp_path / "talk.srt")
    assert code == 0 and "48,000 Hz" in err
    first, second = out.splitlines()
    assert first == "four two zero nine" and second.endswith("six three five")
    cues = read_subtitles((tmp_path / "talk.srt").read_text(), "talk.srt")
    assert [cue.text for cue, _ in cues] == out.splitlines()
    assert cues[0][0].end < cues[1][0].start


def test_a_microphone_that_stops_is_said_and_nothing_is_lost(capsys, microphone, tmp_path):
    microphone()
    code, out, err = asr(capsys, "listen", "-o", tmp_path / "talk.txt")
    assert code == 4 and "has stopped: was it unplugged?" in err
    assert out.splitlines()[0] == "four two zero nine" and len(out.splitlines()) == 2
    assert (tmp_path / "talk.txt").read_text().split() == out.split()


def test_ctrl_c_ends_it(capsys, microphone, tmp_path):
    microphone(KeyboardInterrupt())
    code, out, _ = asr(capsys, "listen", "-o", tmp_path / "all.txt", "-f", "json")
    assert code == 0
    assert json.loads((tmp_path / "all.txt").read_text())["text"] == " ".join(out.split())


def test_devices(capsys, microphone):
    microphone()
    assert asr(capsys, "listen", "--list-devices")[1] == "1: Studio (2 channels, 48,000 Hz)\n"
    code, _, err = asr(capsys, "listen", "--device", "Phone")
    assert code == 2 and "no microphone 'Phone' here" in err and "1: Studio" in err
    assert asr(capsys, "listen", "--device", "1", "--seconds", "1")[0] == 0


def test_without_sounddevice(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, out, err = asr(capsys, "listen")
    assert (code, out) == (2, "") and "pip install 'keras-asr[mic]'" in err


def test_a_recording_in_its_place(capsys):
    code, out, _ = asr(capsys, "listen", CLIPS / "1-rms.ogg", "--json")
    assert code == 0 and json.loads(out)["text"] == "four two zero nine"


@pytest.mark.parametrize("option,expected", [
    ([], StreamSettings.max_lag), (["--max-lag", "1.5"], 1.5)])
def test_the_lag_reaches_the_stream(capsys, monkeypatch, option, expected):
    given, stream = [], Recognizer.stream
    monkeypatch.setattr(Recognizer, "stream", lambda self, **options: (
        given.append(options["max_lag"]), stream(self, **options))[1])
    assert asr(capsys, "listen", CLIPS / "1-rms.ogg", *option)[0] == 0
    assert given == [expected] and ServerSettings().max_lag == StreamSettings.max_lag


@pytest.mark.parametrize("arguments,words", [
    (["nope.wav"], "neither a model nor a recording"),
    (["-o", "a.xyz"], "No format has the ending"),
    ([CLIPS / "1-rms.ogg", CLIPS / "2-slt.ogg"], "one recording, not 2"),
    (["-f", "srt"], "name it: -o talk.srt"), (["--end-pause", "0"], "0.1<=x<=60"),
    (["--max-lag", "0.2"], "x>=0.3")])
def test_what_cannot_be(capsys, arguments, words):
    code, out, err = asr(capsys, "listen", *arguments)
    assert (code, out) == (2, "") and words in err
