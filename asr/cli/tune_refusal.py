"""`asr tune --refusal`: from `asr.tuning.refusal` to lines, a curve and a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.recognizer import Recognizer
    from asr.tuning import DevSet


def tune_refusal(recognizer: Recognizer, dev: DevSet, seconds: Sequence[float], per_hour: float,
                 output: Path | None, plot: Path | None, as_json: bool) -> None:
    """Find the limit of the grammar, print what it does, store it.

    Args:
        recognizer: its decoder has a grammar.
        dev: utterances that it was not trained on: of the grammar, and of other speech.
        seconds: duration of each.
        per_hour: false accepts allowed.
        output: for the bundle; None: nothing is written.
        plot: for the trade-off as SVG; None: none.
        as_json: JSON instead of lines.

    Raises:
        DataError: too few utterances of either kind.
        UsageError: the decoder has no grammar.
    """
    from asr.files import write_atomic
    from asr.tuning.plot import det_curve
    from asr.tuning.refusal import judge_refusals
    from asr.tuning.refusal import tune_refusal as search

    judged = judge_refusals(recognizer, dev, seconds)
    result = search(recognizer, judged, per_hour=per_hour)
    if plot:
        curve = [(p.per_hour, 1 - p.right) for p in judged[result.measure].curve()]
        write_atomic(plot, det_curve("Phrases missed, and other speech taken for one", curve,
                                     (result.point.per_hour, 1 - result.point.right)))
    if output:  # before stdout, whose reader may be gone
        bundle = recognizer.bundle
        bundle.save(output, decoder=result.settings,
                    training={**bundle.training, "refusal": result.to_dict()})
    print(json.dumps(result.to_dict(), ensure_ascii=False, indent=1) if as_json
          else "\n".join(result.lines()))
    if output:
        print(f"Wrote {output}.", file=sys.stderr)
