"""ELAN's .eaf, read into tiers of intervals.

In: the XML of a file. Out: `Tiers`, with the participant of each tier. An annotation without a
time of its own (a translation, a gloss) has that of the annotation it refers to; several of one
tier that refer to the same one, as words or morphemes do, are one interval with all their labels.
Annotations that divide another one without times inside share it evenly, as ELAN shows them.
Reference: the EAF annotation format, EAFv3.0.xsd (mpi.nl/tools/elan). External entities and DTDs
are refused: the file may be from a stranger.
"""

from __future__ import annotations

from xml.etree import ElementTree

from asr.annotations import Labelled, Tiers
from asr.errors import DataError
from asr.parsing import number_of


def read_eaf(data: bytes, name: str) -> tuple[Tiers, dict[str, str], str]:
    """Tiers with labelled intervals, who speaks on each, and the recording.

    Args:
        data: the bytes of the file.
        name: what messages call it.

    Returns:
        Tiers in the order of the file; {tier: participant, may be empty}; the name of the first
        recording that the file refers to, without folders; empty if there is none.

    Raises:
        DataError: not an .eaf file, or an annotation without times.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise _broken(name, "it has a DTD, which no .eaf needs")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _broken(name, f"it is not XML ({error})") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise _broken(name, f"it is XML of another kind, {root.tag[:40]}")
    try:
        slots = {slot.attrib["TIME_SLOT_ID"]: number_of(slot.attrib["TIME_VALUE"]) / 1_000
                 for slot in root.iter("TIME_SLOT") if "TIME_VALUE" in slot.attrib}
    except (KeyError, ValueError) as error:
        raise _broken(name, f"a TIME_SLOT is wrong ({error})") from error
    times = _times(root, slots | _between(root, slots))
    tiers: Tiers = {}
    speakers: dict[str, str] = {}
    for tier in root.iter("TIER"):
        title = tier.get("TIER_ID", "")
        speakers[title] = tier.get("PARTICIPANT", "")
        found: list[Labelled] = []
        referring: dict[tuple[float, float], str] = {}
        for annotation in tier.iter():
            text = annotation.findtext("ANNOTATION_VALUE") or ""
            start, end = times.get(annotation.get("ANNOTATION_ID", ""), (0.0, 0.0))
            if not text.strip() or start >= end:
                continue
            if annotation.tag == "REF_ANNOTATION":
                before = referring.get((start, end))
                referring[start, end] = text if before is None else f"{before} {text}"
            else:
                found.append(Labelled(start, end, text))
        found += [Labelled(*span, text) for span, text in referring.items()]
        tiers[title] = sorted(found)
    return tiers, speakers, _media(root)


def _between(root: ElementTree.Element, slots: dict[str, float]) -> dict[str, float]:
    """Times of the slots that have none, between annotations of a tier that follow each other."""
    found: dict[str, float] = {}
    for tier in root.iter("TIER"):
        begin, inner = "", []
        for annotation in tier.iter("ALIGNABLE_ANNOTATION"):
            first = annotation.get("TIME_SLOT_REF1", "")
            last = annotation.get("TIME_SLOT_REF2", "")
            if not inner or inner[-1] != first:
                begin, inner = first, []
            if last not in slots:
                inner.append(last)
                continue
            if begin in slots:
                step = (slots[last] - slots[begin]) / (len(inner) + 1)
                found |= {slot: slots[begin] + step * k for k, slot in enumerate(inner, start=1)}
            inner = []
    return found


def _times(root: ElementTree.Element, slots: dict[str, float]) -> dict[str, tuple[float, float]]:
    """(start, end) of every annotation that has times, or refers to one that has."""
    times = {a.get("ANNOTATION_ID", ""): (slots[a.get("TIME_SLOT_REF1", "")],
                                          slots[a.get("TIME_SLOT_REF2", "")])
             for a in root.iter("ALIGNABLE_ANNOTATION")
             if a.get("TIME_SLOT_REF1") in slots and a.get("TIME_SLOT_REF2") in slots}
    waiting: dict[str, list[str]] = {}
    for a in root.iter("REF_ANNOTATION"):
        waiting.setdefault(a.get("ANNOTATION_REF", ""), []).append(a.get("ANNOTATION_ID", ""))
    known = list(times)
    for key in known:  # which grows
        for other in waiting.pop(key, ()):
            times[other] = times[key]
            known.append(other)
    return times


def _media(root: ElementTree.Element) -> str:
    for media in root.iter("MEDIA_DESCRIPTOR"):
        url = media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL") or ""
        if url:
            return url.replace("\\", "/").rpartition("/")[2]
    return ""


def _broken(name: str, reason: str) -> DataError:
    return DataError(f"{name} is not an ELAN file that can be read: {reason}. Save it again in "
                     "ELAN.", code="annotation.eaf", path=name)
