"""Word error rates that a reviewer believes; useful for the output of any recogniser.

    from asr.scoring import score

    result = score({"utt1": "one two three"}, {"utt1": "one too three"}, normalizer="english")
    print(result)                  # WER 33.33 % ± 0.0 (S 1 D 0 I 0 N 3)
    print(result.receipt.line())   # what exactly was scored, and how

This package stands alone: jiwer and NumPy, no TensorFlow, no audio.
"""

from asr.scoring.bootstrap import Interval
from asr.scoring.counts import Counts, Step, align
from asr.scoring.formats import read_pair, read_texts, write_texts
from asr.scoring.result import Conditions, Receipt, Row, Score, score, with_conditions
from asr.scoring.storage import load, save, to_csv

__all__ = ["Conditions", "Counts", "Interval", "Receipt", "Row", "Score", "Step", "align", "load",
           "read_pair", "read_texts", "save", "score", "to_csv", "with_conditions", "write_texts"]
