"""Are wrong references found? 2 % of the transcripts are swapped on purpose; prints JSON.

    python benchmarks/suspects.py BUNDLE MANIFEST --audio-root DATA

The claim of `asr audit`: at least 90 % of the swapped ones are in the first 5 % of the ranking.
References that were wrong before are there too, so the real precision is better than it looks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from pathlib import Path

from asr.audit import Audit
from asr.audit.suspects import rank_suspects
from asr.manifest import Utterance, read_manifest
from asr.recognizer import load


def swap(utterances: list[Utterance], share: float, seed: int) -> tuple[list[Utterance], set[str]]:
    """Some utterances get the text of another; ids of those whose text really changed."""
    chosen = random.Random(seed).sample(range(len(utterances)),
                                        max(2, round(share * len(utterances))))
    mixed, changed = list(utterances), set()
    for one, other in zip(chosen, chosen[1:] + chosen[:1], strict=True):
        mixed[one] = dataclasses.replace(utterances[one], text=utterances[other].text)
        if mixed[one].text != utterances[one].text:
            changed.add(utterances[one].id)
    return mixed, changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    recognizer = load(arguments.bundle)
    utterances = read_manifest(arguments.manifest, audio_root=arguments.audio_root)
    found, swapped = [], []
    for seed in range(arguments.seeds):
        mixed, changed = swap(utterances, arguments.share, seed)
        listed = Audit(suspects=rank_suspects(recognizer, mixed)).listed
        found.append(len({suspect.utterance.id for suspect in listed} & changed))
        swapped.append(len(changed))
    print(json.dumps({"utterances": len(utterances), "swapped": swapped, "found": found,
                      "recall_in_first_5_percent": round(sum(found) / sum(swapped), 4)}))


if __name__ == "__main__":
    main()
