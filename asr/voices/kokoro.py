"""The engine kokoro: Kokoro-82M by the library kokoro-onnx, 54 voices and blends of two.

In: a voice and a text, the paths of the model and of the voices. Out: samples. The model
(Apache-2.0) is not part of this package; give its two files by `KOKORO_MODEL` and `KOKORO_VOICES`.
"""

from __future__ import annotations

import os
import re
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from asr.errors import CorpusError, UsageError
from asr.voices.accents import ACCENTS, accented
from asr.voices.speaker import Voice

MODEL, VOICES = "KOKORO_MODEL", "KOKORO_VOICES"  # environment variables, paths
INSTALL = "pip install 'keras-asr[voices]'"
# The first letter is the language: American and British English; the others, which speak English
# with an accent, are Spanish, French, Hindi, Italian, Japanese, Brazilian Portuguese and Chinese.
ENGLISH = (
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole",
    "af_nova", "af_river", "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir",
    "am_liam", "am_michael", "am_onyx", "am_puck", "am_santa", "bf_alice", "bf_emma",
    "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis")
ACCENTED = (
    "ef_dora", "em_alex", "em_santa", "ff_siwis", "hf_alpha", "hf_beta", "hm_omega", "hm_psi",
    "if_sara", "im_nicola", "jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo",
    "pf_dora", "pm_alex", "pm_santa", "zf_xiaobei", "zf_xiaoni", "zf_xiaoxiao", "zf_xiaoyi",
    "zm_yunjian", "zm_yunxi", "zm_yunxia", "zm_yunyang")
# Whose voices go with an accent: of the language itself or of its neighbours, else any.
_NEIGHBOURS = {"fr": "fi", "de": "fiep", "south": "iep", "british": "b"}
_NAME = re.compile(r"(?P<a>[a-z_]+)(?:\+(?P<b>[a-z_]+)@(?P<share>0\.\d+))?(?:~(?P<accent>[a-z]+))?")


def accent_names(each: int, seed: int = 1) -> list[str]:
    """Names of speakers with an accent: a blend of an English voice and one of the neighbours.

    Args:
        each: how many of every accent.
        seed: of pairs and shares.
    """
    rng = np.random.default_rng([6, seed])
    names = []
    for accent in ACCENTS:
        others = [name for name in (*ENGLISH, *ACCENTED) if name[0] in _NEIGHBOURS[accent]]
        for _ in range(each):
            other = others[int(rng.integers(len(others)))]
            native = [name for name in ENGLISH if name != other]
            names.append(f"{native[int(rng.integers(len(native)))]}+{other}"
                         f"@{rng.uniform(0.35, 0.65):.2f}~{accent}")
    return list(dict.fromkeys(names))


def is_available() -> bool:
    """Whether both files are named and there, and the library is installed."""
    from importlib.util import find_spec

    named = [os.environ.get(name, "") for name in (MODEL, VOICES)]
    return all(named) and all(map(os.path.isfile, named)) and bool(find_spec("kokoro_onnx"))


def kokoro(voice: Voice, text: str, timeout: float) -> tuple[np.ndarray, int]:
    """One text by Kokoro.

    Args:
        voice: `af_bella`, a blend such as `af_bella+am_adam@0.40`, or one of them with an accent of
            `asr.voices.accents`, `af_bella~fr`.
        text: words with punctuation.
        timeout: is not needed: the model has no loop of its own.

    Returns:
        (num_samples,) float32 and their rate in Hz.

    Raises:
        CorpusError: a file or the library is missing, or the model fails.
        UsageError: there is no such voice.
    """
    model, styles = _model(_file(MODEL), _file(VOICES))
    parts = _NAME.fullmatch(voice.name)
    names = [name for name in (parts["a"], parts["b"]) if name] if parts else [voice.name]
    for name in names:
        if name not in styles:
            raise UsageError(f"Kokoro has no voice {name!r}; it has "
                             f"{', '.join(sorted(styles))}.")
    accent = parts["accent"] if parts else None
    if accent and accent not in ACCENTS:
        raise UsageError(f"There is no accent {accent!r}; there are {', '.join(ACCENTS)}.")
    style = styles[names[0]]
    if parts and parts["b"]:
        share = float(parts["share"])
        style = (1 - share) * style + share * styles[names[1]]
    language = "en-gb" if names[0].startswith("b") else "en-us"
    speed = float(np.clip(voice.rate / voice.warp, 0.5, 2))
    try:
        if accent:
            rng = np.random.default_rng(zlib.crc32(voice.name.encode()))
            said = accented(model.tokenizer.phonemize(text, "en-us"), accent, rng)
            return model.create(said, style.astype(np.float32), speed, "en-us", is_phonemes=True)
        return model.create(text, style.astype(np.float32), speed, language)
    except (ValueError, RuntimeError) as error:
        raise CorpusError(f"{voice.id} failed to say {text!r}: {error}.",
                          code="corpus.program_failed") from error


def _file(variable: str) -> str:
    path = os.environ.get(variable, "")
    if not path or not Path(path).is_file():
        raise CorpusError(
            f"Kokoro's file {path!r} of the environment variable {variable} is not there; give the "
            "ONNX model and the voices (asr prepare voices --kokoro MODEL VOICES), or leave its "
            "voices out.", code="corpus.no_program", path=path)
    return path


@lru_cache(maxsize=1)
def _model(model: str, voices: str):
    try:
        import onnxruntime
        from kokoro_onnx import Kokoro
    except ImportError as error:
        raise CorpusError(f"Kokoro's voices need kokoro-onnx: {INSTALL}. Or leave them out.",
                          code="corpus.no_program") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads are over the texts
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        loaded = Kokoro.from_session(session, voices)
    except Exception as error:  # onnxruntime has no exception of its own in Python
        raise CorpusError(f"{model} and {voices} cannot be loaded as Kokoro's model and voices: "
                          f"{error}.", path=model) from error
    # Each look-up in the archive reads it again.
    return loaded, {name: np.asarray(loaded.voices[name]) for name in loaded.get_voices()}
