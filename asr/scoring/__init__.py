"""Word error rates with intervals and a receipt, for the output of any recogniser.

    from asr.scoring import score

    result = score({"utt1": "one two three"}, {"utt1": "one too three"}, normalizer="english")
    print(result)                  # WER 33.33 % (S 1 D 0 I 0 N 3)
    print(result.receipt.line())   # what exactly was scored, and how

It needs only RapidFuzz and NumPy, no TensorFlow, no audio.
"""

from asr.scoring.bootstrap import Interval
from asr.scoring.comparison import Comparison, compare
from asr.scoring.counts import Counts, Step, align_words
from asr.scoring.formats import read_pair, read_texts, write_texts
from asr.scoring.measures import Measure
from asr.scoring.ranking import Ranking, compare_many
from asr.scoring.result import Conditions, Receipt, Score, ScoreRow, score, with_conditions
from asr.scoring.storage import load, load_systems, save, score_systems, to_csv

__all__ = ["Comparison", "Conditions", "Counts", "Interval", "Measure", "Ranking", "Receipt",
           "Score", "ScoreRow", "Step", "align_words", "compare", "compare_many", "load",
           "load_systems", "read_pair", "read_texts", "save", "score", "score_systems", "to_csv",
           "with_conditions", "write_texts"]
