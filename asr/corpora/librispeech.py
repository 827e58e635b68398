"""LibriSpeech: 1,000 hours of English audio books; mini LibriSpeech has the same layout.

    LibriSpeech/dev-clean/84/121123/84-121123.trans.txt      {utterance id} {WORDS}
    LibriSpeech/dev-clean/84/121123/84-121123-0000.flac      {speaker}-{chapter}-{number}.flac

Each subset is a split under its own name; speakers of different subsets are disjoint.
Source: https://www.openslr.org/12, CC BY 4.0. Reference: Panayotov et al. 2015, ICASSP.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.download import Package
from asr.corpora.tables import corpus_folder, read_lines
from asr.errors import CorpusError

SUMMARY = "LibriSpeech: English audio books, 16 kHz FLAC"
SUBSETS = ("train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "dev-other",
           "test-clean", "test-other", "train-clean-5", "dev-clean-2")

_SITE = "https://www.openslr.org/resources/"

# Sizes and SHA-256 as published by TensorFlow Datasets (url_checksums/librispeech.txt); not
# downloaded by us. Of the two parts of mini LibriSpeech no SHA-256 was found, so there is none.
DEFAULT_PART = "dev-clean"
PARTS = {
    name: Package(f"{_SITE}{resource}/{name}.tar.gz", f"LibriSpeech/{name}",
                  (f"LibriSpeech/{name}/*", "LibriSpeech/*.TXT"), size=size, sha256=sha256)
    for resource, name, size, sha256 in (
        (12, "dev-clean", 337_926_286,
         "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
        (12, "dev-other", 314_305_928,
         "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
        (12, "test-clean", 346_663_984,
         "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
        (12, "test-other", 328_757_843,
         "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"),
        (12, "train-clean-100", 6_387_309_499,
         "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"),
        (12, "train-clean-360", 23_049_477_885,
         "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf"),
        (12, "train-other-500", 30_593_501_606,
         "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2"),
        (31, "train-clean-5", None, None),
        (31, "dev-clean-2", None, None),
    )
}


def prepare(corpus_dir: str | Path, *, checks: Checks | None = None) -> Imported:
    """One split a subset that is there.

    Args:
        corpus_dir: the folder that holds the subsets, or its parent.
        checks: limits of duration.

    Raises:
        CorpusError: no subset is there, or a transcript cannot be read.
    """
    folder = corpus_folder(corpus_dir, "the folder LibriSpeech/ with subsets such as dev-clean/")
    if (folder / "LibriSpeech").is_dir():
        folder = folder / "LibriSpeech"
    subsets = [name for name in SUBSETS if (folder / name).is_dir()]
    if not subsets:
        raise CorpusError(f"{folder} holds no subset of LibriSpeech; expected a folder such as "
                          "dev-clean.", path=folder)
    items = [item for name in subsets for chapter in sorted((folder / name).glob("*/*"))
             if chapter.is_dir() for item in _candidates(name, chapter)]
    return collect(items, checks or Checks())


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return (path / "LibriSpeech").is_dir() or any((path / name).is_dir() for name in SUBSETS)


def _candidates(split: str, chapter: Path) -> Iterator[Candidate | Excluded]:
    """The utterances of one chapter: those of its transcript, then recordings without one."""
    speaker = chapter.parent.name
    listed = set()
    for transcript in sorted(chapter.glob("*.trans.txt")):
        for source, line in read_lines(transcript):
            identifier, _, text = line.partition(" ")
            if not identifier.startswith(f"{speaker}-{chapter.name}-") or "/" in identifier:
                yield Excluded("failed", identifier[:80], source, "", "corpus.name",
                               f"{source}: the id {identifier[:80]!r} does not begin with "
                               f"{speaker}-{chapter.name}-.")
                continue
            listed.add(identifier)
            yield Candidate(split, identifier, chapter / f"{identifier}.flac", text, source,
                            speaker)
    for audio in sorted(chapter.glob("*.flac")):
        if audio.stem not in listed:
            yield Excluded("invalid_text", audio.stem, audio.name, str(audio), "text.empty",
                           f"{audio.name}: no transcript has a line for it.")
