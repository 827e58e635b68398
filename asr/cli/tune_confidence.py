"""`asr tune --confidence`: from `asr.tuning.calibration` to lines and a bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from asr.terminal import plural

if TYPE_CHECKING:
    from asr.recognizer import Recognizer
    from asr.tuning import DevSet
    from asr.tuning.calibration import Fit


def tune_confidence(recognizer: Recognizer, dev: DevSet, output: Path | None,
                    as_json: bool) -> None:
    """Calibrate the decoder of the bundle, print the result, store it.

    Args:
        recognizer: recogniser of the bundle.
        dev: utterances that it was not trained on.
        output: for the bundle; None: nothing is written.
        as_json: JSON instead of lines.

    Raises:
        DataError: too few words to learn from.
    """
    from asr.tuning.calibration import calibrate, judge

    fit = calibrate(judge(recognizer, dev))
    if output and fit.helps:  # before stdout, whose reader may be gone
        bundle = recognizer.bundle
        bundle.save(output, calibration={**bundle.calibration, fit.kind: fit.calibration})
    if as_json:
        print(json.dumps(fit.to_dict(), ensure_ascii=False, indent=1))
    else:
        print("\n".join(lines(fit)))
    if output and fit.helps:
        print(f"Wrote {output}.", file=sys.stderr)
    elif output:
        print(f"{output} is not written: the calibration does not help on words that it has not "
              "seen.", file=sys.stderr)


def lines(fit: Fit) -> list[str]:
    """The result for people."""
    from asr.decoding.calibration import EVIDENCE

    parameters = fit.calibration
    drawn = fit.after.interval.unit
    weights = {name: getattr(parameters, name) for name in EVIDENCE}
    terms = [f"{weight:.3f} {name}" for name, weight in weights.items() if weight]
    found = [f"before: {fit.before.line()}",
             f"after:  {fit.after.line()}",
             f"decoder {fit.kind}: log-odds = {' + '.join(terms) or 0} {parameters.bias:+.3f}",
             f"\"after\" is by {fit.folds} fits, each judged on {drawn}s that it has not seen; the "
             "bundle gets one fit to all."]
    if fit.left_out:
        found.append(f"{plural(fit.left_out, 'utterance is', 'utterances are')} left out, whose "
                     "words the normaliser joins.")
    return found
