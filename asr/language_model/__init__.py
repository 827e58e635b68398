"""N-gram language models: read, train, pack, query. No decoder is needed to use them.

In: ARPA files, KenLM's binary files, text. Out: a `LanguageModel`, natural logs of probabilities.

A file a step: `arpa.py` text to tables; `kneser_ney.py` training text to tables; `ngram.py` tables
to flat arrays for the compiled search, `ngram_cache.py` the same arrays on disk; `kenlm_model.py`
binary files through the module `kenlm`; `packed_ngram.py` the copy inside a bundle.
"""

from asr.language_model.model import LanguageModel
from asr.language_model.ngram import NgramModel, load_ngram

__all__ = ["LanguageModel", "NgramModel", "load_ngram"]
