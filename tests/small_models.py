"""Two n-gram models that are small enough to be computed by hand: of words and of characters."""

from __future__ import annotations

from asr.language_model.arpa import parse_arpa
from asr.language_model.ngram import build_ngram

WORD_ARPA = """\\data\\
ngram 1=6
ngram 2=5
ngram 3=2

\\1-grams:
-1.2\t<unk>
-99\t<s>\t-0.3
-0.7\t</s>
-0.4\ta\t-0.2
-0.9\tab\t-0.5
-1.1\tba\t-0.1

\\2-grams:
-0.2\t<s> a\t-0.15
-0.6\ta ab\t-0.25
-0.3\tab a
-0.8\tba </s>
-0.5\ta a\t-0.35

\\3-grams:
-0.1\t<s> a ab
-0.2\ta ab a

\\end\\
"""
CHARACTER_ARPA = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-2\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.4\ta\t-0.2
-0.5\tb\t-0.4
-0.8\t<space>\t-0.1

\\2-grams:
-0.2\t<s> a
-0.3\ta b
-0.4\tb <space>
-0.1\t<space> a

\\end\\
"""


def model_of(text):
    return build_ngram(*parse_arpa(text.splitlines(), name="toy"))


WORD_MODEL, CHARACTER_MODEL = model_of(WORD_ARPA), model_of(CHARACTER_ARPA)
