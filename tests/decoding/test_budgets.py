"""What a stranger's model may cost: every budget is a sentence, at once (A14 of the faults)."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from forged_bundle import forge, forge_config, members, write_zip
from pace import assert_quick
from tiny_bundle import ARPA, write_bundle

from asr.bundle import LIMITS, WEIGHTS
from asr.bundle.config import CONFIG, LM, TOKENIZER
from asr.decoding import HotWord, LexiconDecoder, grammar, grammar_syntax, lexicon, phrases
from asr.decoding.phrases import phrase_part
from asr.errors import AsrError, UsageError
from asr.language_model import arpa, packed_ngram
from asr.recipe import MAX_WARPS, DecoderSettings
from asr.recognizer import load
from asr.text.tokenizer import CharTokenizer

SECONDS = 2
MEGABYTES = 500
LINES = gzip.compress(b"\n" * (1 << 24))  # gzip members one after the other are one file


def decoder(**knobs):
    return lambda path: forge_config(path, lambda config: config["decoder"].update(
        kind="beam", **knobs))


def many_members(path):
    write_zip(path, members(path) | {f"member-{n}": b"x" for n in range(40)})


def large_member(path):
    forge(path, {"tokenizer.json": b" " * 1_000_001})


def language_model(data):
    def change(path):
        forge(path, {"lm.arpa.gz": data})
        forge_config(path, lambda config: config["decoder"].update(kind="beam", lm="lm.arpa.gz"))
    return change


def head(*counts):
    return "\\data\\\n" + "".join(f"ngram {n}={count}\n" for n, count in enumerate(counts, 1))


HOSTILE = {
    "members": (many_members, "44 members, a bundle a handful"),
    "member": (large_member, "a tokenizer.json of 1_000_001 bytes, at most 1_000_000"),
    "hot word": (decoder(hot_words=["ab " * 300_000]), "1 hot word of 900,000 characters"),
    "long hot word": (decoder(hot_words=["ab " * 100]), "has 300 characters, at most 200"),
    "hot words": (decoder(hot_words=["a"] * 300_000), "300,000 hot words"),
    "hot letters": (decoder(hot_words=["ab" * 100] * 5_000), "of 1,000,000 characters"),
    "optional parts": (decoder(grammar="[ab] " * 30_000), "too intricate"),
    "stars in stars": (decoder(grammar="(ab*)* " * 20_000), "more than 100,000 states"),
    "deep brackets": (decoder(grammar="(" * 200_000), "more than 100 brackets"),
    "beam": (decoder(beam_width=10_000), "beam_width must be between 1 and 4_096"),
    "hypotheses": (decoder(num_hypotheses=10_000), "num_hypotheses must be between 1 and 100"),
    "lexicon word": (decoder(lexicon=["a" * 1_000_000, *["b"] * 1_000]),
                     "more than 100 characters"),
    "lexicon": (decoder(lexicon=["ab" * 40] * 40_000), "more than 2,000,000 characters"),
    "empty lines": (language_model(LINES * 640), "more than 10,000 empty lines"),
    "one line": (language_model(gzip.compress(b"\\data\\\nngram 1=") + gzip.compress(
        b"1" * (1 << 24)) * 640), "a line of more than 65,536 bytes"),
    "gzip ratio": (language_model(gzip.compress((head(999, 4_000_000) + "\n\\1-grams:\n" + "".join(
        f"-1 w{n} 0\n" for n in range(999)) + "\n\\2-grams:\n").encode()) + gzip.compress(
            b"-1 w1 w1\n" * 1_000_000) * 4), "times as much text as packed bytes"),
    "n-grams": (language_model(gzip.compress(head(9, 5_000_000).encode())),
                "more than the limit of 5,000,000"),
    "notes": (language_model(gzip.compress(ARPA.encode()) + gzip.compress(
        b"notes\n" * (1 << 20)) * 200), "of text after"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused_at_once(name, tmp_path):
    change, message = HOSTILE[name]
    path = write_bundle(tmp_path / "hostile.asr")
    change(path)

    def refuse():
        with pytest.raises(AsrError, match=message) as error:
            load(path)
        assert len(str(error.value)) < 2_000

    assert_quick(refuse, SECONDS)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the peak there")
@pytest.mark.parametrize("name", HOSTILE)
def test_in_a_process_of_its_own_it_stays_below_the_memory(name, tmp_path):
    change, message = HOSTILE[name]
    path = write_bundle(tmp_path / "hostile.asr")
    change(path)
    # Not ru_maxrss: a child inherits the largest size of the process that started it.
    source = ("import re, sys\nfrom asr.cli import run\n"
              "code = run(['transcribe', *sys.argv[1:]])\n"
              "text = open('/proc/self/status').read()\n"
              "print(code, int(re.search(r'VmHWM:\\s*(\\d+)', text)[1]) // 1024)")
    clip = "asr/assets/clips/1-rms.ogg"
    done = subprocess.run([sys.executable, "-c", source, str(path), clip], text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    code, megabytes = map(int, done.stdout.split()[-2:])
    assert code == 5 and message in done.stderr
    assert megabytes < MEGABYTES


def test_the_docs_state_the_budgets():
    page = (Path(__file__).parents[2] / "docs/file-formats.md").read_text("utf-8")
    section = page.split("### Budgets")[1].split("\n## ")[0]
    stated = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", section)}
    bounds = DecoderSettings.__dataclass_fields__
    assert stated == {
        32, *bundle_limits(), arpa.MAX_NGRAMS, packed_ngram.MAX_NGRAMS, arpa.MAX_LINE_BYTES,
        arpa.FREE_TEXT_BYTES, arpa.MAX_GZIP_RATIO, arpa.MAX_BLANK_LINES, arpa.MAX_HEADER_LINES,
        phrases.MAX_HOT_WORDS, phrases.MAX_PHRASE, phrases.MAX_CHARACTERS, phrases.MAX_CELLS,
        grammar_syntax.MAX_TEXT, grammar_syntax.MAX_DEPTH, grammar.MAX_STATES, grammar.MAX_CELLS,
        grammar.MAX_STEPS, lexicon.MAX_WORD, lexicon.MAX_CHARACTERS,
        *(bounds[name].metadata["high"] for name in ("beam_width", "num_hypotheses")),
        MAX_WARPS, 2, MEGABYTES}


def bundle_limits():
    return (LIMITS[name] for name in (CONFIG, TOKENIZER, WEIGHTS, LM))


def test_many_labels_times_many_states_are_refused():
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 19_000)))
    with pytest.raises(UsageError, match="the product must not exceed 20,000,000"):
        phrase_part([HotWord(letters[n:n + 100]) for n in range(0, 2_000, 100)],
                    CharTokenizer(letters))


def test_as_many_hot_words_as_are_allowed_are_quick():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice([*"abcdefghij"], 15)) for _ in range(10_000)]
    parts = []
    assert_quick(lambda: parts.append(phrase_part([HotWord(word) for word in words],
                                                  CharTokenizer(" abcdefghij"))), SECONDS)
    assert len(parts[0].targets) > 100_000


def test_a_long_recording_and_many_words_are_too_much_for_the_exact_search():
    found = LexiconDecoder(CharTokenizer(" ab"), ["ab" * 40])
    assert found.fits(1_000) and not found.fits(10_000_000)
    with pytest.raises(UsageError, match="Use the beam decoder"):
        found.search(np.broadcast_to(np.float64(0.0), (10_000_000, 4)))
