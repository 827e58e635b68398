"""`asr tune --warps`: from `asr.tuning.warps` to lines and a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.progress import count_on_stderr

if TYPE_CHECKING:
    from asr.manifest import Utterance
    from asr.recognizer import Recognizer
    from asr.tuning.warps import WarpTuning


def tune_warps(recognizer: Recognizer, utterances: Sequence[Utterance], factors: Sequence[float],
               allow_truncated: bool, output: Path | None, as_json: bool) -> None:
    """Try the warps, print the result, store it.

    Args:
        recognizer: recogniser of the bundle.
        utterances: by people whom it was not trained on.
        factors: factors on the frequency axis.
        allow_truncated: see `asr.audio.load_audio`.
        output: for the bundle; None: nothing is written.
        as_json: JSON instead of lines.

    Raises:
        UsageError: factors that cannot be.
    """
    from asr.tuning.warps import tune_warps as search

    with count_on_stderr("reading", piped=True) as progress:
        found = search(recognizer, utterances, factors, allow_truncated=allow_truncated,
                       progress=progress)
    if output and found.helps:  # before stdout, whose reader may be gone
        bundle = recognizer.bundle
        bundle.save(output, decoder=found.settings,
                    training={**bundle.training, "warps": found.to_dict()})
    print(json.dumps(found.to_dict(), ensure_ascii=False, indent=1) if as_json
          else "\n".join(lines(found)))
    if output and found.helps:
        print(f"Wrote {output}.", file=sys.stderr)
    elif output:
        print(f"{output} is not written: the gain is within chance.", file=sys.stderr)


def lines(found: WarpTuning) -> list[str]:
    """The result for people."""
    factors = " ".join(f"{factor:g}" for factor in found.settings.warps)
    gain = found.gain
    return [f"warps {factors}, tried below {found.settings.warp_below:g}: in {found.tried:.0%} of "
            f"the recordings, {found.passes:.2f} passes of the network",
            f"plain {100 * found.plain_wer:.2f} %, with warps {100 * found.wer:.2f} %, tried "
            f"everywhere {100 * found.everywhere_wer:.2f} %",
            f"gain {100 * (found.plain_wer - found.wer):.2f} points, 95 % interval "
            f"{100 * gain.low:.2f} .. {100 * gain.high:.2f} over {gain.clusters} {gain.unit}s",
            *found.notes]
