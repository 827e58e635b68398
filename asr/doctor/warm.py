"""Compile what most commands use, once: `python -m asr.doctor.warm`.

In: nothing. Out: machine code on disk; what was done, on stderr. Called by `make install`, so
that later commands do not wait for the compiler. Rare kinds of beams (hot words with a grammar or
with characters' n-grams, a grammar with a language model, KenLM's own files) are left out: each
takes some seconds when it is first used.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def warm_lstm() -> str | None:
    """Run the LSTM kernels on one number; None when it worked, else one line of why not."""
    from asr.kernels import cpu

    return cpu.compile_problem()


def warm_ctc() -> str | None:
    """Run the CTC loss on one frame; None when it worked, else one line of why not."""
    from asr.kernels import ctc

    return ctc.problem()


def warm_decoding() -> str | None:
    """Run every decoder and the alignment on three frames."""
    import numpy as np

    from asr.decoding import (
        BeamSearchDecoder,
        GreedyDecoder,
        LexiconDecoder,
        align,
        log_softmax,
        parse_grammar,
    )
    from asr.language_model.kneser_ney import train_ngrams
    from asr.language_model.model import SPACE_TOKENS
    from asr.language_model.ngram import build_ngram
    from asr.text.tokenizer import CharTokenizer

    tokenizer = CharTokenizer(" ab")
    trained = train_ngrams([["a", "ab"]], 2)
    words = build_ngram(trained.vocabulary, trained.tables)
    trained = train_ngrams([["a", SPACE_TOKENS[0], "b"]], 2)
    characters = build_ngram(trained.vocabulary, trained.tables)
    logits = np.zeros((3, tokenizer.vocab_size), np.float32)
    for decoder in (GreedyDecoder(tokenizer), LexiconDecoder(tokenizer, ("a", "ab")),
                    BeamSearchDecoder(tokenizer, 2),
                    BeamSearchDecoder(tokenizer, 2, lexicon=("a", "ab")),
                    BeamSearchDecoder(tokenizer, 2, language_model=words),
                    BeamSearchDecoder(tokenizer, 2, language_model=characters),
                    BeamSearchDecoder(tokenizer, 2, hot_words=["ab"]),
                    BeamSearchDecoder(tokenizer, 2, lexicon=("a", "ab"), hot_words=["ab"]),
                    BeamSearchDecoder(tokenizer, 2, language_model=words, hot_words=["ab"]),
                    BeamSearchDecoder(tokenizer, 2, grammar=parse_grammar("a ab\nb"))):
        decoder.decode(logits)
    align(log_softmax(logits), [2])
    return None


def warm_librosa() -> str | None:
    """Compute every kind of features: librosa compiles a part of itself, half a minute once."""
    import numpy as np

    from asr.feature_kinds import FEATURE_KINDS
    from asr.features import FeatureExtractor
    from asr.recipe import FeatureSettings

    audio = np.linspace(-0.5, 0.5, 16_000, dtype=np.float32)
    for kind in FEATURE_KINDS:
        settings = FeatureSettings(kind, deltas=2, preemphasis=0.97, trim_db=60.0)
        FeatureExtractor(settings).extract(audio)
    return None


KERNELS: dict[str, Callable[[], str | None]] = {"LSTM": warm_lstm, "CTC": warm_ctc,
                                              "decoding": warm_decoding,
                                              "librosa": warm_librosa}


def main() -> int:
    """Warm all of `KERNELS`; 1 if something cannot be compiled."""
    failed = 0
    for name, warm in KERNELS.items():
        started = time.perf_counter()
        print(f"Compiling for {name} (once per machine) ...", file=sys.stderr)
        try:
            problem = warm()
        except ImportError as error:
            problem = f"{type(error).__name__}: {error}"
        if problem is None:
            print(f"  ready in {time.perf_counter() - started:.1f} s", file=sys.stderr)
        else:
            failed = 1
            print(f"  cannot: {problem}. A slower path runs instead.", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
