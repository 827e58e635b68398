"""One small corpus a layout: two good utterances, and one of each way to fail."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import soundfile

from asr.transcript.praat import textgrid as praat

RATE = 8_000


def speech(path: Path, seconds: float = 1.0, channels: int = 1) -> Path:
    """A recording with something in it; the second channel is an octave higher."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    tones = [0.1 * np.sin(2 * np.pi * 440 * (n + 1) * time) for n in range(channels)]
    soundfile.write(path, np.stack(tones, axis=1), RATE)
    return path


def junk(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"<html>no audio</html>")
    return path


def recordings(root: Path) -> None:
    """a and b are good; the others are not, each in its own way."""
    speech(root / "anna" / "a.wav")
    speech(root / "ben" / "b.flac")
    speech(root / "short.wav", 0.05)
    speech(root / "long.wav", 2.5)
    junk(root / "bad.wav")
    speech(root / "alone.wav")


def folder(root: Path) -> Path:
    recordings(root)
    (root / "anna" / "a.txt").write_text("Yes,\n  sir.\n", "utf-8")
    (root / "ben" / "b.json").write_text('{"transcript": "no", "speaker": "Benjamin"}')
    for name in ("short", "long", "bad"):
        (root / f"{name}.lab").write_text("x")
    speech(root / "broken.wav")
    (root / "broken.json").write_text("{")
    return root


def csv(root: Path) -> Path:
    recordings(root)
    (root / "table.tsv").write_text(
        "File\tSentence\tSpeaker_ID\tage\nanna/a.wav\tYes, \"sir\".\tanna\t3\n"
        "ben/b.flac\tno\tben\t\nshort.wav\tx\t\t\nlong.wav\tx\t\t\nbad.wav\tx\t\t\n"
        "gone.wav\tx\t\t\nalone.wav\t\t\t\nonly\n".replace('"', ""), "utf-8")
    return root / "table.tsv"


def textgrid(root: Path) -> Path:
    recordings(root)
    tiers = {"utterance": [(0.0, 1.0, "Yes, sir.")], "note": [(0.2, 0.3, "cough")]}
    (root / "anna" / "a.TextGrid").write_text(praat(tiers, 1.0), "utf-8")
    short = ('File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n<exists>\n1\n'
             '"IntervalTier"\n"utterance"\n0\n1\n1\n0\n1\n"n’o"\n')
    (root / "ben" / "b.textgrid").write_bytes(short.encode("utf-16"))
    for name, end in (("short", 0.05), ("long", 2.5), ("bad", 1.0)):
        (root / f"{name}.TextGrid").write_text(praat({"utterance": [(0, end, "x")]}, end))
    speech(root / "broken.wav")
    (root / "broken.TextGrid").write_text(praat(tiers, 1.0)[:300])
    return root


def eaf(rows: list[tuple[float, float, str]], tier: str = "utterance", who: str = "") -> str:
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="s{n}" TIME_VALUE="{round(start * 1000)}"/>'
                    f'<TIME_SLOT TIME_SLOT_ID="e{n}" TIME_VALUE="{round(end * 1000)}"/>'
                    for n, (start, end, _) in enumerate(rows))
    notes = "".join(f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{n}" TIME_SLOT_REF1="s{n}" '
                    f'TIME_SLOT_REF2="e{n}"><ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>'
                    "</ALIGNABLE_ANNOTATION></ANNOTATION>" for n, (_, _, text) in enumerate(rows))
    glosses = "".join(f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="g{n}" ANNOTATION_REF="a{n}">'
                      f"<ANNOTATION_VALUE>gloss {n}</ANNOTATION_VALUE></REF_ANNOTATION>"
                      "</ANNOTATION>"
                      for n in range(len(rows)))
    return ('<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT><HEADER>'
            '<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/talks/a.wav"/></HEADER>'
            f'<TIME_ORDER>{slots}</TIME_ORDER><TIER TIER_ID="{tier}" PARTICIPANT="{who}">{notes}'
            f'</TIER><TIER TIER_ID="gloss">{glosses}</TIER></ANNOTATION_DOCUMENT>')


def elan(root: Path) -> Path:
    recordings(root)
    (root / "anna" / "a.eaf").write_text(eaf([(0.0, 1.0, "Yes, sir.")], who="AN"), "utf-8")
    (root / "ben" / "b.eaf").write_text(eaf([(0.0, 1.0, "n’o")]), "utf-8")
    for name, end in (("short", 0.05), ("long", 2.5), ("bad", 1.0)):
        (root / f"{name}.eaf").write_text(eaf([(0.0, end, "x")]))
    speech(root / "broken.wav")
    (root / "broken.eaf").write_text("<ANNOTATION_DOCUMENT>")
    return root


def audacity(root: Path) -> Path:
    recordings(root)
    (root / "anna" / "a.txt").write_text("0.0\t1.0\tYes, sir.\n\\\t100\t200\n0.5\t0.5\tpoint\n")
    (root / "ben" / "b.txt").write_text("0,000000\t1,000000\tno\n")
    for name, end in (("short", 0.05), ("long", 2.5), ("bad", 1.0)):
        (root / f"{name}.txt").write_text(f"0\t{end}\tx\n")
    speech(root / "broken.wav")
    (root / "broken.txt").write_text("what is said\n")
    return root


def subtitles(root: Path) -> Path:
    recordings(root)
    (root / "anna" / "a.srt").write_text("\ufeff1\r\n00:00:00,000 --> 00:00:01,000\r\n<i>Yes,</i>"
                                         "\r\nsir.\r\n\r\n", "utf-8")
    (root / "ben" / "b.vtt").write_text("WEBVTT\n\nNOTE a\n\n1\n00:00.000 --> 00:01.000 align:end\n"
                                        "<v Benjamin>no &amp; yes</v>\n", "utf-8")
    for name, end in (("short", "00,050"), ("long", "02,500"), ("bad", "01,000")):
        (root / f"{name}.srt").write_text(f"1\n00:00:00,000 --> 00:00:{end}\nx\n")
    speech(root / "broken.wav")
    (root / "broken.srt").write_text("1\n00:00:09,000 --> 00:00:01,000\nx\n")
    return root


def huggingface(root: Path) -> Path:
    recordings(root / "train")
    rows = [("anna/a.wav", "Yes, sir.", "anna"), ("ben/b.flac", "no", "ben"),
            ("short.wav", "x", ""), ("long.wav", "x", ""),
            ("bad.wav", "x", ""), ("gone.wav", "x", ""),
            ("alone.wav", "", "")]
    (root / "train" / "metadata.csv").write_text(
        "file_name,transcription,speaker_id\n"
        + "".join(f'{name},"{text}",{who}\n' for name, text, who in rows) + "lonely\n", "utf-8")
    return root


def lhotse(root: Path) -> Path:
    recordings(root)
    speech(root / "stereo.wav", 1.0, 2)

    def recording(name: str, seconds: float, channels: int = 1) -> dict:
        return {"id": name, "sources": [{"type": "file", "channels": list(range(channels)),
                                         "source": name}], "sampling_rate": RATE,
                "num_samples": round(seconds * RATE), "duration": seconds}

    def cut(name: str, file: str, text: str, seconds: float = 1.0, **more) -> dict:
        return {"id": name, "start": 0, "duration": seconds, "channel": 0, "type": "MonoCut",
                "supervisions": [{"id": f"s-{name}", "recording_id": file, "start": 0.0,
                                  "duration": seconds, "channel": 0, "text": text,
                                  "speaker": "anna"}], "recording": recording(file, seconds)} | more

    rows = [cut("a", "anna/a.wav", "Yes, sir."), cut("b", "ben/b.flac", "no"),
            cut("short", "short.wav", "x", 0.05), cut("long", "long.wav", "x", 2.5),
            cut("bad", "bad.wav", "x"), cut("gone", "gone.wav", "x"),
            cut("mute", "alone.wav", " "), cut("none", "alone.wav", "x", supervisions=[]),
            cut("mixed", "alone.wav", "x", recording=None, type="MixedCut")]
    command = cut("command", "a.wav", "x")
    command["recording"]["sources"][0] |= {"type": "command", "source": "touch pwned |"}
    with gzip.open(root / "cuts_train.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in [*rows, command]) + "{\n")
    return root


def webdataset(root: Path) -> Path:
    recordings(root / "raw")

    def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))

    raw = root / "raw"
    with tarfile.open(root / "train-000000.tar", "w") as archive:
        add(archive, "a.wav", (raw / "anna" / "a.wav").read_bytes())
        add(archive, "a.json", b'{"text": "Yes, sir.", "speaker": "anna"}')
        for name in ("short", "long", "bad"):
            add(archive, f"{name}.wav", (raw / f"{name}.wav").read_bytes())
            add(archive, f"{name}.txt", b"x")
        add(archive, "mute.wav", (raw / "alone.wav").read_bytes())
        add(archive, "words.txt", b"x")
    with tarfile.open(root / "train-000001.tar", "w") as archive:
        add(archive, "../../b.flac", (raw / "ben" / "b.flac").read_bytes())
        add(archive, "../../b.txt", b"no\n")
        link = tarfile.TarInfo("c.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return root


EXAMPLES = {make.__name__: make for make in (folder, csv, textgrid, elan, audacity, subtitles,
                                             huggingface, lhotse, webdataset)}
# name: (utterances that the corpus lists, outcomes besides one too short and one too long)
_BESIDE = (7, {"ok": 2, "failed": 2, "invalid_text": 1})
EXPECTED = {
    "folder": _BESIDE, "csv": (8, {"ok": 2, "failed": 3, "invalid_text": 1}), "textgrid": _BESIDE,
    "elan": _BESIDE, "audacity": (8, {"ok": 2, "failed": 3, "invalid_text": 1}),
    "subtitles": _BESIDE,
    "huggingface": (8, {"ok": 2, "failed": 3, "invalid_text": 1}),
    "lhotse": (11, {"ok": 2, "failed": 5, "invalid_text": 2}),
    "webdataset": (7, {"ok": 2, "failed": 2, "invalid_text": 1}),
}
