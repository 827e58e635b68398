"""Write down what another recogniser transcribes: labels for recordings that have none.

    pip install faster-whisper
    python recipes/voices/label.py ../shared/data/librispeech-unlabelled MODEL data/librispeech

MODEL is a folder or a name that faster-whisper knows, such as base. `OUT/heard.jsonl` keeps its
transcripts; a finished clip is not read again. OUT/train.jsonl and OUT/dev.jsonl (every tenth of
the sorted speakers) hold the texts as one says them, "chapter 2"
as "chapter two"; OUT/left.jsonl is
what is below --min-score, the mean log probability of a token, or cannot be spelled out.

The texts hold MODEL's errors: about 5 of 100 words of Whisper base on LibriSpeech's clean test set
(Radford and others, 2022, https://arxiv.org/abs/2212.04356). A speaker is what comes before the
first "-" of a file's name, as in LibriSpeech.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import soundfile

from asr.files import write_atomic
from asr.manifest import Utterance, write_manifest
from asr.manifest.roots import record_roots
from asr.text.english_numbers import spell_cardinal

DEV_EVERY = 10  # speakers
BEAM = 5
NUMBER = re.compile(r"\b(?<![.,])[0-9]{1,3}\b(?![.,][0-9])")  # a year can be said in several ways


def spoken(text: str) -> str:
    """Lower case without punctuation; numbers as words.

    Raises:
        ValueError: a sign, a year or an ordinal is left, or there is no word.
    """
    text = text.lower().replace("’", "'")
    text = re.sub(r"\bmr\b", "mister", re.sub(r"\bmrs\b", "missus", text))
    text = NUMBER.sub(lambda match: spell_cardinal(int(match[0])), text)
    text = " ".join(word.strip("'") for word in re.sub(r"[^a-z0-9'$%&]+", " ", text).split())
    if not re.fullmatch(r"[a-z' ]+", text):
        raise ValueError(f"{text!r} cannot be said")
    return text


def transcribed(folder: Path, model: str, found: Path) -> list[dict]:
    """Rows of the file, with those added that are new."""
    from faster_whisper import WhisperModel  # heavy, and only for this

    rows = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
    done = {row["id"] for row in rows}
    whisper = WhisperModel(model, device="cpu", compute_type="int8")
    with open(found, "a", encoding="utf-8") as log:
        for path in sorted(folder.glob("*.ogg")):
            if path.stem in done:
                continue
            segments = list(whisper.transcribe(str(path), language="en", beam_size=BEAM,
                                               condition_on_previous_text=False)[0])
            tokens = sum(len(s.tokens) for s in segments) or 1
            rows.append({"id": path.stem, "audio_filepath": str(path.resolve()),
                         "text": " ".join(s.text.strip() for s in segments),
                         "duration": soundfile.info(path).duration,
                         "speaker": path.stem.split("-")[0],
                         "score": round(sum(s.avg_logprob * len(s.tokens) for s in segments)
                                        / tokens, 4)})
            log.write(json.dumps(rows[-1], ensure_ascii=False) + "\n")
            log.flush()
    return rows


def main() -> None:
    """Transcribe, spell, divide by speaker, write."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--min-score", type=float, default=-0.6)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = transcribed(args.folder, args.model, args.out / "heard.jsonl")
    speakers = sorted({row["speaker"] for row in rows})
    dev = set(speakers[::DEV_EVERY])
    parts: dict[str, list[Utterance]] = {"train": [], "dev": []}
    left = []
    for row in sorted(rows, key=lambda row: row["id"]):
        try:
            text = spoken(row["text"])
        except ValueError:
            text = ""
        if not text or row["score"] < args.min_score:
            left.append(row)
            continue
        parts["dev" if row["speaker"] in dev else "train"].append(Utterance(
            row["id"], Path(row["audio_filepath"]), text, row["duration"], row["speaker"]))
    record_roots(args.out, [args.folder.resolve()])
    for name, utterances in parts.items():
        write_manifest(args.out / f"{name}.jsonl", utterances)
        hours = sum(one.duration for one in utterances) / 3600
        print(f"{name}: {len(utterances)} recordings, {hours:.2f} h")
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in left]
    write_atomic(args.out / "left.jsonl", "".join(lines))
    print(f"left: {len(left)} recordings")


if __name__ == "__main__":
    main()
