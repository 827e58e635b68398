"""A corpus of synthesised speech: many voices say some of the texts.

In: texts, voices, a folder. Out: 16 kHz FLAC files and the manifests `train.jsonl` (most voices)
and `valid.jsonl` (voices that are not in training). Interrupted work goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from asr.corpora.generated import CONTENT, content_hash, is_made
from asr.errors import CorpusError, UsageError
from asr.files import write_atomic
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.terminal import plural
from asr.voices import ENGINES, SAMPLE_RATE, Voice, available_engines, say, with_noise_bed
from asr.voices.respelling import spelling
from asr.voices.sound import flac_bytes

SPLITS = ("train", "valid")
_SETTINGS_NAME = "voices.json"
_PLAN_NAME = "plan.json"
_VERSION = 2  # raised when the same arguments give other prompts

Job = tuple[Voice, int, str, str, int]  # voice, number, text, prompt, seed of the noise


def prepare(out_dir: str | Path, texts: Sequence[str], voices: Sequence[Voice], *, seed: int = 1,
            always: Sequence[str] = (), texts_per_voice: int = 40, valid_every: int = 10,
            jobs: int = 2, progress: Callable[[int, int], None] | None = None,
            ) -> dict[str, list[Utterance]]:
    """Have every voice say some texts; write audio and manifests.

    Args:
        out_dir: folder for `<voice>/<number>.flac`, the manifests and `voices.json` (the
            settings and the licences, written last). A finished folder with the same settings is
            returned as it is; of an unfinished one with the same settings the files are kept.
        texts: what can be said, with single spaces; the reference is the text.
        voices: such as `asr.voices.voices_named(["hibari"])`; each once.
        seed: seed of which voice says what, and with pauses or without.
        always: texts that every voice says first.
        texts_per_voice: how many of `texts` each voice says besides.
        valid_every: every such voice, the first included, goes to "valid" with all it says.
        jobs: texts synthesised at once.
        progress: called with (files made, files in all).

    Raises:
        UsageError: fewer than two voices, a repeated voice, no text, a text that a voice cannot
            say, or `valid_every` below 2.
        CorpusError: an engine is missing, fails, takes too long, or makes no sound; or the folder
            holds other things.
    """
    out_dir = Path(out_dir).resolve()
    _check([*always, *texts], voices, valid_every)
    settings = {"version": _VERSION, "seed": seed, "texts_per_voice": texts_per_voice,
                "valid_every": valid_every, "voices": [v.id for v in voices],
                "always": list(always), "texts": list(texts),
                "licences": sorted({ENGINES[v.engine].licence for v in voices})}
    ours = {*settings["voices"], *(f"{split}.jsonl" for split in SPLITS), _PLAN_NAME}
    if is_made(out_dir, _SETTINGS_NAME, settings, ours, "voices"):
        return {split: read_manifest(out_dir / f"{split}.jsonl") for split in SPLITS}
    _say_once(voices, (*always, *texts)[0])
    work = _jobs(texts, voices, always, texts_per_voice, seed)
    kept = _resume(out_dir, settings)
    for voice in voices:
        (out_dir / voice.id).mkdir(parents=True, exist_ok=True)
    if not kept:
        write_atomic(out_dir / _PLAN_NAME, json.dumps({"plan": _plan(settings)}) + "\n")
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        utterances = []
        for utterance in pool.map(lambda job: _made(out_dir, job, kept), work):
            utterances.append(utterance)
            if progress:
                progress(len(utterances), len(work))
    valid_ids = {voice.id for voice in voices[::valid_every]}
    splits = {"train": [u for u in utterances if u.speaker not in valid_ids],
              "valid": [u for u in utterances if u.speaker in valid_ids]}
    for split, rows in splits.items():
        write_manifest(out_dir / f"{split}.jsonl", rows)
    (out_dir / _PLAN_NAME).unlink()
    write_atomic(out_dir / _SETTINGS_NAME,
                 json.dumps(settings | {CONTENT: content_hash(out_dir)}) + "\n")
    return splits


def _plan(settings: dict) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _resume(out_dir: Path, settings: dict) -> bool:
    """Whether the files of the folder are of an interrupted call with the same settings."""
    try:
        return json.loads((out_dir / _PLAN_NAME).read_bytes()) == {"plan": _plan(settings)}
    except (OSError, ValueError):
        return False


def _jobs(texts: Sequence[str], voices: Sequence[Voice], always: Sequence[str], count: int,
          seed: int) -> list[Job]:
    rng = np.random.default_rng([_VERSION, seed])
    return [(voice, number, text, prompt, int(rng.integers(2**32))) for voice in voices
            for number, (text, prompt) in enumerate(_prompts(texts, always, count, rng))]


def _prompts(texts: Sequence[str], always: Sequence[str], count: int, rng: np.random.Generator):
    """(reference, prompt) pairs of one voice: `always`, then texts, half with pauses."""
    chosen = rng.permutation(len(texts))[:count]
    for text in (*always, *(texts[int(k)] for k in chosen)):
        words = text.split(" ")
        pause = rng.uniform(0, 1)  # share of words followed by a pause
        # Punctuation of the text says where to pause; without any, half of the texts get some.
        if rng.uniform() < 0.5 and not any(mark in text for mark in ",.;:?!"):
            words = [w + ("," if rng.uniform() < pause else "") for w in words[:-1]] + words[-1:]
        yield text, " ".join(words)


def _made(out_dir: Path, job: Job, kept: bool) -> Utterance:
    """The recording of one job; one that is there is kept if `kept`."""
    voice, number, text, prompt, noise_seed = job
    path = out_dir / voice.id / f"{number:03d}.flac"
    seconds = _seconds(path) if kept else 0.0
    if not seconds:
        audio = with_noise_bed(say(voice, prompt), np.random.default_rng(noise_seed))
        write_atomic(path, flac_bytes(audio))
        seconds = len(audio) / SAMPLE_RATE
    return Utterance(id=f"{voice.id}.{number:03d}", audio=path, text=text, duration=seconds,
                     speaker=voice.id)


def _seconds(path: Path) -> float:
    """Duration of a recording that can be read to its end; 0 if not."""
    import soundfile

    try:
        return len(soundfile.read(path)[0]) / SAMPLE_RATE
    except (OSError, soundfile.LibsndfileError):
        return 0.0


def _check(texts: Sequence[str], voices: Sequence[Voice], valid_every: int) -> None:
    if len(voices) < 2 or not texts:
        raise UsageError(f"Got {plural(len(voices), 'voice')} and {plural(len(texts), 'text')}; "
                         "give at least one text and two voices, one to train and one to validate.")
    if valid_every < 2:
        raise UsageError(f"valid_every is {valid_every}, which leaves no voice to train on; give "
                         "2 or more.")
    ids = [voice.id for voice in voices]
    repeated = sorted({i for i in ids if ids.count(i) > 1})
    if repeated:
        raise UsageError(f"The voice {repeated[0]} is given twice; name each voice once.")
    unknown = sorted({v.engine for v in voices} - set(ENGINES))
    if unknown:
        raise UsageError(f"Unknown speech engine {unknown[0]!r}; known are {', '.join(ENGINES)}.")
    for voice in voices:
        for text in texts:
            spelling(voice, text)
    _require_engines(voices)


def try_engines(voices: Sequence[Voice]) -> None:
    """Let one voice of each engine say a word, before hours of work.

    Raises:
        CorpusError: an engine, or a voice of festival, is not installed, or fails.
    """
    _require_engines(voices)
    _say_once(voices, "two")


def _say_once(voices: Sequence[Voice], text: str) -> None:
    # The engines were looked for; only saying shows a voice of festival that is not there.
    trial = {v.name if v.engine == "text2wave" else v.engine: v for v in reversed(voices)}
    for voice in trial.values():
        say(voice, text)


def _require_engines(voices: Sequence[Voice]) -> None:
    missing = sorted({v.engine for v in voices} - set(available_engines()))
    if missing:
        raise CorpusError(f"Speech engines not installed: {', '.join(missing)}; install them "
                          f"({'; '.join(ENGINES[name].install for name in missing)}) or leave "
                          "their voices out.", code="corpus.no_program")
