"""Engines that are installed programs: espeak-ng, flite and festival.

In: a voice and a text. Out: samples. The programs are run without a shell, read the text from
their standard input, and are stopped after a time limit.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from asr.errors import CorpusError
from asr.voices.respelling import FESTIVAL_PACKAGES, spelling
from asr.voices.speaker import Voice

PACKAGES = {"espeak-ng": "espeak-ng", "flite": "flite", "text2wave": "festival"}
# What festival says of a voice, or of the voice's language, that is not there.
_NO_VOICE = ("unbound variable : voice_", "could not open file")


def available_programs() -> list[str]:
    """Which of the three programs this machine has."""
    return [program for program in PACKAGES if shutil.which(program)]


def speak(program: str, voice: Voice, text: str, timeout: float) -> tuple[np.ndarray, int]:
    """One text by one of the three programs.

    Args:
        program: a key of `PACKAGES`.
        voice: its voice.
        text: words, with commas where a pause is wanted.
        timeout: seconds after which the program is stopped.

    Returns:
        (num_samples,) float32 and their rate in Hz.

    Raises:
        CorpusError: the program is missing, fails, takes too long, or writes no file.
        UsageError: the voice cannot say this text.
    """
    import soundfile

    spelled = spelling(voice, text)
    with tempfile.TemporaryDirectory(prefix="asr-voices-") as folder:
        wav = Path(folder) / "out.wav"
        try:
            done = subprocess.run(_command(program, voice, wav), input=spelled.encode("utf-8"),
                                  capture_output=True, timeout=timeout, cwd=folder, check=False)
        except FileNotFoundError as error:
            raise CorpusError(
                f"The speech program {program} is not installed; install it (on Debian "
                f"and Ubuntu: apt install {PACKAGES[program]}) or leave its voices out.",
                code="corpus.no_program") from error
        except subprocess.TimeoutExpired as error:
            raise CorpusError(f"{voice.id} took more than {timeout:g} s to say {text!r} and was "
                              "stopped; leave this voice out.", code="corpus.timeout") from error
        if done.returncode or not (wav.exists() and wav.stat().st_size):
            said = done.stderr.decode("utf-8", "replace").strip()[-200:]
            if program == "text2wave" and any(sign in said for sign in _NO_VOICE):
                package = FESTIVAL_PACKAGES.get(voice.name, "its festvox package")
                raise CorpusError(
                    f"festival has no voice {voice.name} ({said}); install it (on Debian and "
                    f"Ubuntu: apt install {package}) or leave it out.", code="corpus.no_program")
            raise CorpusError(f"{voice.id} failed to say {text!r} (exit {done.returncode}): "
                              f"{said or 'no message'}.", code="corpus.program_failed")
        audio, sample_rate = soundfile.read(wav, dtype="float32", always_2d=True)
    return audio.mean(axis=1), sample_rate


espeak_ng = partial(speak, "espeak-ng")
flite = partial(speak, "flite")
festival = partial(speak, "text2wave")


def _command(program: str, voice: Voice, wav: Path) -> list[str]:
    """The argument list; the text comes through standard input."""
    rate = voice.rate / voice.warp  # resampling to the warp changes the rate by it
    if program == "espeak-ng":
        return ["espeak-ng", "-v", voice.name, "-p", str(voice.pitch), "-s",
                str(round(150 * rate)), "-b", "1", "-w", str(wav), "--stdin"]
    if program == "flite":
        # A file name of "-" is the standard input.
        return ["flite", "-voice", voice.name, "-f", "-", "-o", str(wav), "--setf",
                f"duration_stretch={1 / rate:.3f}", "--setf",
                f"int_f0_target_mean={voice.pitch}"]
    return ["text2wave", "-eval", f"(voice_{voice.name})", "-eval",
            f"(Parameter.set 'Duration_Stretch {1 / rate:.3f})", "-o", str(wav)]
