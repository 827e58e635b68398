"""Synthesise speech in many voices with installed programs: espeak-ng, flite, festival.

For the recipe of digits: `python recipes/voices/synthesise.py data/voices`.
In: texts, voices, a folder. Out: 16 kHz FLAC files and the manifests `train.jsonl` (most voices)
and `valid.jsonl` (voices that are not in training).

The programs are espeak-ng (accents times speaker variants times pitch and rate), flite and
festival's text2wave. They are run without a shell, read the text from their standard input, and
are stopped after a time limit. What they say belongs to the user: none of the voices
named here (GPL, LGPL and BSD-like licences) puts a condition on the recordings it makes.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from voice_list import DIGITS, FESTIVAL_PACKAGES, SAMPLE_TEXTS, Voice, default_voices

from asr.corpora.generated import CONTENT, content_hash, is_made
from asr.errors import CorpusError, UsageError
from asr.files import write_atomic
from asr.manifest import Utterance, read_manifest, write_manifest

SAMPLE_RATE = 16_000  # Hz, of the files written
TIMEOUT = 30.0  # seconds for one text
SPLITS = ("train", "valid")
PACKAGES = {"espeak-ng": "espeak-ng", "flite": "flite", "text2wave": "festival"}
# What festival says of a voice, or of the voice's language, that is not there.
_NO_VOICE = ("unbound variable : voice_", "could not open file")
_SETTINGS_NAME = "voices.json"
NOISE_BED = (25.0, 55.0)  # dB below the speech; no recording of a person has digital silence
_VERSION = 2  # raised when the same arguments give other prompts


def digit_strings(count: int, seed: int = 1, *, max_digits: int = 7,
                  exclude: Iterable[str] = ()) -> list[str]:
    """Random digit strings such as "four zero nine", each once, 2 .. `max_digits` digits.

    Args:
        exclude: strings that must not occur, such as those of the sample clips.
    """
    rng = np.random.default_rng([_VERSION, seed])
    strings: dict[str, None] = {}
    banned = set(exclude)
    while len(strings) < count:
        text = " ".join(rng.choice(DIGITS, size=rng.integers(2, max_digits + 1)))
        if text not in banned:
            strings[text] = None
    return list(strings)


def available_programs() -> list[str]:
    """Which of the three programs this machine has."""
    return [program for program in PACKAGES if shutil.which(program)]


def prepare_digits(out_dir: str | Path, *, num_workers: int = 2) -> dict[str, list[Utterance]]:
    """The voices of the digit recipe: 40 utterances in each of about 190, without the clips'.

    Args:
        out_dir: as for `prepare`.
        num_workers: programs running at once.
    """
    return prepare(out_dir, digit_strings(400, exclude=SAMPLE_TEXTS), default_voices(),
                   texts_per_voice=30, num_workers=num_workers)


def prepare(out_dir: str | Path, texts: Sequence[str], voices: Sequence[Voice], *, seed: int = 1,
            texts_per_voice: int = 40, valid_every: int = 10,
            num_workers: int = 2) -> dict[str, list[Utterance]]:
    """Have every voice say the ten digits and some of the texts; write audio and manifests.

    Args:
        out_dir: folder for `<voice>/<number>.flac`, the manifests and `voices.json` (the
            settings, written last). A finished folder with the same settings is returned as it is.
        texts: what can be said, in lower case with single spaces; the reference is the text.
        voices: such as `default_voices()`; each id once.
        seed: seed of which voice says what, and with pauses or without.
        texts_per_voice: how many of the texts each voice says besides the ten digits.
        valid_every: every such voice, the first included, goes to "valid" with all it says.
        num_workers: programs running at once.

    Raises:
        UsageError: fewer than two voices, a repeated voice, no text, a text that a voice cannot
            say, or `valid_every` below 2.
        CorpusError: a program is missing, fails, takes too long, or writes no sound; or the folder
            holds other things.
    """
    out_dir = Path(out_dir).resolve()
    _check(texts, voices, valid_every)
    settings = {"version": _VERSION, "seed": seed, "texts_per_voice": texts_per_voice,
                "valid_every": valid_every, "voices": [v.id for v in voices],
                "texts": list(texts)}
    ours = {*settings["voices"], *(f"{split}.jsonl" for split in SPLITS)}
    if is_made(out_dir, _SETTINGS_NAME, settings, ours, "voices"):
        return {split: read_manifest(out_dir / f"{split}.jsonl") for split in SPLITS}
    for voice in {v.name: v for v in voices if v.program == "text2wave"}.values():
        say(voice, DIGITS[0])  # the programs were looked for; only saying shows festival's voices
    rng = np.random.default_rng([_VERSION, seed])
    jobs = [(voice, number, text, prompt, int(rng.integers(2**32))) for voice in voices
            for number, (text, prompt) in enumerate(_prompts(texts, texts_per_voice, rng))]
    for voice in voices:
        (out_dir / voice.id).mkdir(parents=True, exist_ok=True)

    def work(job) -> Utterance:
        voice, number, text, prompt, noise_seed = job
        audio = with_noise_bed(say(voice, prompt), np.random.default_rng(noise_seed))
        path = out_dir / voice.id / f"{number:03d}.flac"
        write_atomic(path, _flac_bytes(audio))
        return Utterance(id=f"{voice.id}.{number:03d}", audio=path, text=text,
                         duration=len(audio) / SAMPLE_RATE, speaker=voice.id)

    with ThreadPoolExecutor(max_workers=num_workers) as pool:
        utterances = list(pool.map(work, jobs))
    valid_ids = {voice.id for voice in voices[::valid_every]}
    splits = {"train": [u for u in utterances if u.speaker not in valid_ids],
              "valid": [u for u in utterances if u.speaker in valid_ids]}
    for split, rows in splits.items():
        write_manifest(out_dir / f"{split}.jsonl", rows)
    write_atomic(out_dir / _SETTINGS_NAME,
                 json.dumps(settings | {CONTENT: content_hash(out_dir)}) + "\n")
    return splits


def say(voice: Voice, prompt: str, *, timeout: float = TIMEOUT) -> np.ndarray:
    """One text in one voice.

    Args:
        prompt: words, with commas where a pause is wanted.
        timeout: seconds after which the program is stopped.

    Returns:
        (num_samples,) float32 at 16 kHz, peak 0.5, up to 0.1 s of silence kept at either end.

    Raises:
        CorpusError: the program is missing, fails, takes too long, or writes no sound.
        UsageError: the voice cannot say this text.
    """
    import soundfile
    import soxr

    spelled = voice.spelling(prompt)
    with tempfile.TemporaryDirectory(prefix="asr-voices-") as folder:
        wav = Path(folder) / "out.wav"
        command = _command(voice, wav)
        try:
            done = subprocess.run(command, input=spelled.encode("utf-8"), capture_output=True,
                                  timeout=timeout, cwd=folder, check=False)
        except FileNotFoundError as error:
            raise CorpusError(
                f"The speech program {voice.program} is not installed; install it (on Debian "
                f"and Ubuntu: apt install {PACKAGES[voice.program]}) or leave its voices out.",
                code="corpus.no_program") from error
        except subprocess.TimeoutExpired as error:
            raise CorpusError(f"{voice.id} took more than {timeout:g} s to say {prompt!r} and was "
                              "stopped; leave this voice out.", code="corpus.timeout") from error
        if done.returncode or not (wav.exists() and wav.stat().st_size):
            said = done.stderr.decode("utf-8", "replace").strip()[-200:]
            if voice.program == "text2wave" and any(sign in said for sign in _NO_VOICE):
                package = FESTIVAL_PACKAGES.get(voice.name, "its festvox package")
                raise CorpusError(
                    f"festival has no voice {voice.name} ({said}); install it (on Debian and "
                    f"Ubuntu: apt install {package}) or leave it out.", code="corpus.no_program")
            raise CorpusError(f"{voice.id} failed to say {prompt!r} (exit {done.returncode}): "
                              f"{said or 'no message'}.", code="corpus.program_failed")
        audio, sample_rate = soundfile.read(wav, dtype="float32", always_2d=True)
    audio = trimmed(audio.mean(axis=1), sample_rate)
    if not len(audio):
        raise CorpusError(f"{voice.id} wrote silence for {prompt!r}; leave this voice out.",
                          code="corpus.silent")
    audio = soxr.resample(audio, sample_rate, SAMPLE_RATE)
    return (0.5 / np.abs(audio).max() * audio).astype(np.float32)


def with_noise_bed(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speech over the faint noise of a room and a microphone.

    Args:
        audio: (num_samples,) float32, not silent.
        rng: chooses the noise, its level (`NOISE_BED` below the speech) and its colour, from white
            to brown.

    Returns:
        (num_samples,) float32.
    """
    spectrum = np.fft.rfft(rng.standard_normal(len(audio)))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** -rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum, len(audio))
    wanted = np.sqrt(np.mean(audio ** 2)) * 10 ** (-rng.uniform(*NOISE_BED) / 20)
    return (audio + noise * (wanted / np.sqrt(np.mean(noise ** 2)))).astype(np.float32)


def _command(voice: Voice, wav: Path) -> list[str]:
    """The argument list; the text comes through standard input."""
    if voice.program == "espeak-ng":
        return ["espeak-ng", "-v", voice.name, "-p", str(voice.pitch), "-s",
                str(round(150 * voice.rate)), "-b", "1", "-w", str(wav), "--stdin"]
    if voice.program == "flite":
        # A file name of "-" is the standard input.
        return ["flite", "-voice", voice.name, "-f", "-", "-o", str(wav), "--setf",
                f"duration_stretch={1 / voice.rate:.3f}", "--setf",
                f"int_f0_target_mean={voice.pitch}"]
    if voice.program == "text2wave":
        return ["text2wave", "-eval", f"(voice_{voice.name})", "-eval",
                f"(Parameter.set 'Duration_Stretch {1 / voice.rate:.3f})", "-o", str(wav)]
    raise UsageError(f"Unknown speech program {voice.program!r}; known are "
                     f"{', '.join(PACKAGES)}.")


def _prompts(texts: Sequence[str], count: int, rng: np.random.Generator):
    """(reference, prompt) pairs of one voice: the ten digits, then texts, half with pauses."""
    chosen = rng.permutation(len(texts))[:count]
    for text in (*DIGITS, *(texts[int(k)] for k in chosen)):
        words = text.split(" ")
        pause = rng.uniform(0, 1)  # share of words followed by a pause
        if rng.uniform() < 0.5:
            words = [w + ("," if rng.uniform() < pause else "") for w in words[:-1]] + words[-1:]
        yield text, " ".join(words)


def trimmed(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Without leading and trailing silence beyond 0.1 s (below 1 % of the peak)."""
    peak = np.abs(audio).max(initial=0.0)
    loud = np.flatnonzero(np.abs(audio) > 0.01 * peak) if peak > 1e-4 else np.zeros(0, int)
    if not len(loud):
        return audio[:0]
    margin = sample_rate // 10
    return audio[max(0, loud[0] - margin):loud[-1] + margin]


def _flac_bytes(audio: np.ndarray) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _check(texts: Sequence[str], voices: Sequence[Voice], valid_every: int) -> None:
    if len(voices) < 2 or not texts:
        raise UsageError(f"Got {len(voices)} voices and {len(texts)} texts; give at least one "
                         "text and two voices, one to train and one to validate.")
    if valid_every < 2:
        raise UsageError(f"valid_every is {valid_every}, which leaves no voice to train on; give "
                         "2 or more.")
    ids = [voice.id for voice in voices]
    repeated = sorted({i for i in ids if ids.count(i) > 1})
    if repeated:
        raise UsageError(f"The voice {repeated[0]} is given twice; name each voice once.")
    for voice in voices:
        _command(voice, Path("out.wav"))
        for text in texts:
            voice.spelling(text)
    missing = sorted({v.program for v in voices} - set(available_programs()))
    if missing:
        packages = " ".join(PACKAGES[program] for program in missing)
        raise CorpusError(f"Speech programs not installed: {', '.join(missing)}; install them (on "
                          f"Debian and Ubuntu: apt install {packages}) or leave their voices "
                          "out.", code="corpus.no_program")


if __name__ == "__main__":
    prepare_digits(sys.argv[1])
