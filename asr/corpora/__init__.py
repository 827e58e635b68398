"""Import published corpora as manifests: one file a corpus.

In: a corpus folder. Out: `Imported`, which is {split: [Utterance]} with counters and a list of
everything that was left out.

A corpus module has a docstring that shows its layout, `SUMMARY` (one line), and

    prepare(corpus_dir, *, checks=Checks(), ...) -> Prepared

whose further keyword arguments (int, float, str or a tuple of str, with a line under "Args:")
become options of `asr prepare`; and `looks_like(path) -> bool`, for a folder given to another
layout. It reads names and texts, and leaves the recordings to `asr.corpora.collect`. With
`PARTS` and `DEFAULT_PART` (`asr.corpora.download.Package`) `asr download` can fetch it. To add
one, write the file and a line here; the conformance tests in tests/corpora/test_corpora.py then
ask for an example of it.
"""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType

from asr.errors import UsageError

CORPORA = {
    "fsdd": "asr.corpora.fsdd",
    "kaldi": "asr.corpora.kaldi",
    "nemo": "asr.corpora.nemo",
    "ljspeech": "asr.corpora.ljspeech",
    "librispeech": "asr.corpora.librispeech",
    "commonvoice": "asr.corpora.commonvoice",
    "deepspeech": "asr.corpora.deepspeech",
    "folder": "asr.corpora.folder",
    "csv": "asr.corpora.csv",
    "textgrid": "asr.corpora.textgrid",
    "elan": "asr.corpora.elan",
    "audacity": "asr.corpora.audacity",
    "subtitles": "asr.corpora.subtitles",
    "huggingface": "asr.corpora.huggingface",
    "lhotse": "asr.corpora.lhotse",
    "webdataset": "asr.corpora.webdataset",
}


def load_corpus(name: str) -> ModuleType:
    """The module of a corpus; it is imported when it is first asked for.

    Raises:
        UsageError: there is no such corpus.
    """
    if name not in CORPORA:
        close = difflib.get_close_matches(name, CORPORA, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UsageError(f"There is no corpus {name!r}.{hint} Known are {', '.join(CORPORA)}.")
    return importlib.import_module(CORPORA[name])
