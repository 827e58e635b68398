"""Transcripts as documents of other programs: Word's .docx and ELAN's .eaf.

In: a transcript. Out: the content of a file. python-docx is an extra; .eaf is plain XML.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from asr.errors import UsageError
from asr.transcript.segments import paragraphs, segments

if TYPE_CHECKING:
    from asr.transcript import Transcript

_EAF = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_MEDIA_TYPES = {".wav": "audio/x-wav", ".mp4": "video/mp4", ".mp3": "audio/mpeg"}


def docx(transcript: Transcript, name: str, clock, plain) -> bytes:
    """A .docx with one paragraph an utterance group: time, speaker, text.

    Args:
        transcript: what was said.
        name: name of the recording; the title.
        clock, plain: functions of `asr.transcript`.

    Raises:
        UsageError: python-docx is not installed.
    """
    try:
        from docx import Document
    except ImportError as error:
        raise UsageError("Writing .docx needs python-docx: pip install 'keras-asr[docx]'.") \
            from error
    document = Document()
    document.core_properties.author = ""
    document.add_heading(_xml_text(plain(PurePath(name).name)), level=1)
    for group in paragraphs(segments(transcript)):
        paragraph = document.add_paragraph()
        paragraph.add_run(f"[{clock(group[0].start, '.')[:8]}] ").italic = True
        if group[0].speaker:
            paragraph.add_run(f"{_xml_text(plain(group[0].speaker))}: ").bold = True
        paragraph.add_run(_xml_text(plain(" ".join(segment.text for segment in group))))
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def eaf(transcript: Transcript, name: str, plain) -> str:
    """An ELAN document: for each speaker a tier of utterances and one of words.

    Args:
        transcript: what was said.
        name: name of the recording, which ELAN looks for beside the .eaf or at its path.
        plain: function of `asr.transcript`.
    """
    rows: dict[str, list[tuple[float, float, str]]] = {}
    speakers: dict[str, str] = {}
    found = segments(transcript)
    for who in dict.fromkeys([*transcript.speakers, *(s.speaker for s in found)] or [""]):
        end = f"@{who}" if who else ""
        own = [segment for segment in found if segment.speaker == who]
        rows[f"utterance{end}"] = [(s.start, s.end, s.text) for s in own]
        rows[f"word{end}"] = [(w.start, w.end, w.text) for s in own for w in s.words]
        speakers |= {f"utterance{end}": who, f"word{end}": who}
    return _eaf_document(rows, speakers, name, plain)


def _eaf_document(tiers: Mapping[str, Sequence[tuple[float, float, str]]],
                  speakers: Mapping[str, str], name: str, plain) -> str:
    root = ElementTree.Element("ANNOTATION_DOCUMENT", {
        "AUTHOR": "", "DATE": "1970-01-01T00:00:00+00:00", "FORMAT": "3.0", "VERSION": "3.0",
        "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
        "xsi:noNamespaceSchemaLocation": _EAF})
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "",
                                                     "TIME_UNITS": "milliseconds"})
    file = PurePath(_xml_text(plain(name)))
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", {
        "MEDIA_URL": f"file:///{file.as_posix().lstrip('/')}",
        "RELATIVE_MEDIA_URL": f"./{file.name}",
        "MIME_TYPE": _MEDIA_TYPES.get(file.suffix.lower(), "audio/*")})
    order = ElementTree.SubElement(root, "TIME_ORDER")
    number, slots = 0, []
    for tier, intervals in tiers.items():
        element = ElementTree.SubElement(root, "TIER", {
            "TIER_ID": _xml_text(plain(tier)), "LINGUISTIC_TYPE_REF": "default-lt"})
        if speakers.get(tier):
            element.set("PARTICIPANT", _xml_text(plain(speakers[tier])))
        for start, end, text in _milliseconds(intervals):
            number += 1
            slots += [(start, f"ts{number}a"), (end, f"ts{number}b")]
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(element, "ANNOTATION"), "ALIGNABLE_ANNOTATION",
                {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": f"ts{number}a",
                 "TIME_SLOT_REF2": f"ts{number}b"})
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = _xml_text(plain(text))
    for value, slot in sorted(slots, key=lambda pair: pair[0]):   # over all tiers, as ELAN's
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(value)})
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", {
        "LINGUISTIC_TYPE_ID": "default-lt", "TIME_ALIGNABLE": "true",
        "GRAPHIC_REFERENCES": "false"})
    ElementTree.indent(root, " ")
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _milliseconds(intervals: Iterable[tuple[float, float, str]]
                  ) -> Iterable[tuple[int, int, str]]:
    """Whole milliseconds, in order, without overlap: ELAN refuses others on one tier."""
    reached = 0
    for start, end, text in intervals:
        first = max(reached, round(start * 1_000))
        reached = max(first + 1, round(end * 1_000))
        yield first, reached, text


def _xml_text(text: str) -> str:
    """Without what XML 1.0 cannot hold: half surrogates and two code points."""
    return "".join(c for c in text if c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff")
