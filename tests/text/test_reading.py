"""Lists that a user writes: every reader says which file cannot be read, why, and what to do."""

from __future__ import annotations

import pytest

from asr.commands.fillers import read_filler_words
from asr.commands.phrases import read_phrases
from asr.decoding.grammar import read_grammar
from asr.decoding.lexicon import read_words
from asr.decoding.phrases import read_hot_words
from asr.errors import DataError
from asr.parsing import CONVERT
from asr.text.reading import read_text_file

READERS = {"commands.file": (read_phrases, "phrases"), "lexicon.file": (read_words, "words"),
           "hot_words.file": (read_hot_words, "hot words"),
           "grammar.read": (read_grammar, "grammar"), "words": (read_filler_words, "words")}


@pytest.mark.parametrize("code", READERS)
def test_a_list_that_cannot_be_read_names_file_reason_and_remedy(code, tmp_path):
    read, what = READERS[code]
    latin = tmp_path / "latin.txt"
    latin.write_bytes("nächste\nzurück\n".encode("latin-1"))
    for path, reason in (
            (tmp_path / "none.txt", "No such file or directory. Give the path of a text file"),
            (tmp_path, "Is a directory. Give the path of a text file"),
            (latin, f"byte 0xe4 is not UTF-8; {CONVERT}")):
        with pytest.raises(DataError) as raised:
            read(path)
        assert raised.value.message == f"Cannot read the {what} {path}: {reason}."
        assert raised.value.code == ("commands.file" if code == "words" else code)


def test_windows_files_and_limits(tmp_path):
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufeffübung\r\nzwei\r\n".encode())
    assert read_text_file(path, "words", code="x") == "übung\nzwei\n"
    assert read_text_file(path, "words", code="x", most=3) == "übu"
