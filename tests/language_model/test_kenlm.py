"""KenLM's binary files: a real one, and the module's interface in Python where it is not installed.

GOLDEN is what kenlm 0.3.0 wrote for `test_ngram.TOY` (probing hash tables, the default of
build_binary). The last test runs where the extra is installed.
"""

from __future__ import annotations

import base64
import gc
import struct
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
from oracles_decoding import ToyModel
from test_ngram import KENLM, TOY

from asr.bundle import load_bundle
from asr.cli import run
from asr.decoding import BeamSearchDecoder, build_decoder
from asr.errors import DataError, UsageError
from asr.language_model import NgramModel, load_ngram
from asr.language_model.arpa import parse_arpa
from asr.language_model.kenlm_kernel import MODELS, ask, step_outside
from asr.language_model.kenlm_model import KenlmModel, is_kenlm_binary
from asr.language_model.ngram import build_ngram
from asr.language_model.packed_ngram import pack_lm
from asr.recipe import DecoderSettings
from asr.text.tokenizer import CharTokenizer

GOLDEN = zlib.decompress(base64.b85decode(
    "c-qU&O)OBz$yLZGDJihh*U!#KO-##7%}LQq&d=3P&QD2INXswEO)OC;OD!tS%+FIW<zhg9274f}pAks>2Lg}?BUFYN"
    "OdhaD7Gs0btSD*_03<J%oqhR|xHvmVZtH`lT@t+&H&_{P1FoF!A8U&rWHX_O7t|^4wQMT|+ik9;HL3Pb_bV1OHM3^U"
    "+z;{u1H-XHK=wXkV`Gqe8_u3NV|Vt9&%U&@G_e29p6Rg%itUBz<M_ms(X!E4c-BlwpnSu=HNCe*m=n|10L=jD+p7>e"
    "Wnb3>8*LyPY<}zey0si4;eF|8%j_Zcp@PXrmYECQ@1Fv)%h-7HzQ&@rA8M;>T0w3A+Of|;X!&!k9eSrgd}MuUU)uTp"
    "*iOs?xy|ZIw)6Rr>=clCo6@{&I|iF#Al3&Gi3~{$$qWGFZ-e~"))
TOKENIZER = CharTokenizer(" abc")


class State:
    """`kenlm.State`: the words that the model can still use; compared and hashed by value."""

    def __init__(self):
        self.context = ()

    def __eq__(self, other):
        return self.context == other.context

    def __hash__(self):
        return hash(self.context)


class Model:
    """`kenlm.Model`, as far as it is used, over the text of an ARPA file."""

    order = 3

    def __init__(self, path):
        if Path(path).read_bytes()[90:92] == b"!!":
            raise OSError(f"Cannot read model '{path}'")
        self.toy = ToyModel(TOY)

    def NullContextWrite(self, state):
        state.context = ()

    def BeginSentenceWrite(self, state):
        state.context = ("<s>",)

    def BaseScore(self, before, word, after):
        known = word if (word,) in self.toy.log_probs else "<unk>"
        context = (*before.context, known)[-2:]
        while context and context not in self.toy.backoffs:
            context = context[1:]
        after.context = context
        return self.toy.word(known, before.context)


@pytest.fixture
def module(monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", types.SimpleNamespace(Model=Model, State=State))


@pytest.fixture
def binary(tmp_path):
    path = tmp_path / "toy.bin"
    path.write_bytes(GOLDEN)
    return path


def random_logits(seed, frames=30):
    rng = np.random.default_rng(seed)
    return (2 * rng.standard_normal((frames, TOKENIZER.vocab_size))).astype(np.float32)


def test_a_binary_is_told_by_its_first_bytes(binary, tmp_path, module):
    assert is_kenlm_binary(binary) and not is_kenlm_binary(tmp_path / "none")
    (tmp_path / "toy.arpa").write_text(TOY)
    assert not is_kenlm_binary(tmp_path / "toy.arpa")
    assert isinstance(load_ngram(tmp_path / "toy.arpa"), NgramModel)
    model = load_ngram(binary)
    assert isinstance(model, KenlmModel)
    assert model.vocabulary == ("<unk>", "<s>", "</s>", "a", "b", "c")
    assert repr(model) == "KenlmModel(order=3, counts=(6, 5, 3))"
    assert model.num_bytes == len(GOLDEN)


@pytest.mark.parametrize("text", KENLM)
def test_scores(binary, module, text):
    model = load_ngram(binary)
    assert model.score_words(text.split()) / np.log(10) == pytest.approx(KENLM[text], abs=1e-6)
    assert model.perplexity([text.split()])[1] == len(KENLM[text])


@pytest.mark.parametrize("options", [
    {"lm_weight": 1.0}, {"lm_weight": 2.0, "look_ahead": False, "word_bonus": 1.0},
    {"lexicon_only": True}])
def test_the_beam_reads_with_it_as_with_the_arpa_file(binary, module, options):
    arrays = build_ngram(*parse_arpa(TOY.splitlines(), name="toy"))
    one = BeamSearchDecoder(TOKENIZER, 16, language_model=load_ngram(binary), **options)
    two = BeamSearchDecoder(TOKENIZER, 16, language_model=arrays, **options)
    gc.collect()  # the decoder keeps its model
    for seed in range(10):
        (a,), (b,) = one.decode(random_logits(seed)), two.decode(random_logits(seed))
        assert a.labels == b.labels
        assert a.score == pytest.approx(b.score, abs=1e-4)
    batch = np.stack([random_logits(seed) for seed in range(4)])
    assert one.decode_batch(batch, [30] * 4, num_threads=4) == [one.decode(row) for row in batch]


def test_a_character_model(tmp_path, module, monkeypatch):
    from small_models import CHARACTER_ARPA, CHARACTER_MODEL
    monkeypatch.setitem(globals(), "TOY", CHARACTER_ARPA)
    path = tmp_path / "characters.bin"
    path.write_bytes(GOLDEN)
    model = KenlmModel(path, CHARACTER_MODEL.vocabulary, CHARACTER_MODEL.counts)
    tokenizer = CharTokenizer(" ab")
    for seed in range(5):
        logits = random_logits(seed)[:, :4]
        (a,) = BeamSearchDecoder(tokenizer, 16, language_model=model).decode(logits)
        (b,) = BeamSearchDecoder(tokenizer, 16, language_model=CHARACTER_MODEL).decode(logits)
        assert a.labels == b.labels and a.score == pytest.approx(b.score, abs=1e-4)


def test_the_way_out_of_compiled_code(binary, module):
    model = load_ngram(binary)
    for function in (ask, step_outside):
        nats, state = function(model.handle, model.start_state, model.number("a"))
        assert nats == pytest.approx(-0.2 * np.log(10)) and state > 1
        assert function(model.handle, 0, model.number("x"))[0] == pytest.approx(-1.2 * np.log(10))
    assert model.unigrams([3, 4]) == pytest.approx(np.log(10) * np.array([-0.4, -0.9]))
    assert model.handle in MODELS
    handle = model.handle
    del model
    gc.collect()
    assert handle not in MODELS


def test_without_the_module(binary, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(UsageError, match=r"pip install 'keras-asr\[kenlm\]'") as error:
        load_ngram(binary)
    assert error.value.code == "lm.kenlm" and "or give the ARPA file" in str(error.value)
    assert run(["lm", "info", str(binary)]) == 2
    assert "toy.bin is a binary file of KenLM" in capsys.readouterr().err


def test_files_that_cannot_be_used(binary, module):
    cases = [(GOLDEN[:60].replace(b"version 5", b"version 4") + GOLDEN[60:], "another version"),
             (GOLDEN[:34] + b"incomplete\n" + GOLDEN[45:], "unfinished"),
             (GOLDEN[:70], "ends within its header"),
             (GOLDEN[:88] + b"\x63" + GOLDEN[89:], "claims order 99"),
             (GOLDEN[:110], "claims order 3"),
             (GOLDEN[:100] + b"\0" + GOLDEN[101:], "without its vocabulary"),
             (GOLDEN[:-10], "does not end with its vocabulary"),
             (GOLDEN[:-2] + b"\xff\0", "not UTF-8"),
             (GOLDEN[:90] + b"!!" + GOLDEN[92:], "Cannot read the language model")]
    for content, match in cases:
        binary.write_bytes(content)
        with pytest.raises(DataError, match=match) as error:
            load_ngram(binary)
        assert error.value.code == "lm.kenlm" and str(binary) in str(error.value)


def test_a_word_that_ends_like_the_first(binary, module):
    counts = struct.pack("<Q", 7)
    binary.write_bytes(GOLDEN[:108] + counts + GOLDEN[116:] + b"x<unk>\0")
    assert load_ngram(binary).vocabulary[-2:] == ("c", "x<unk>")


def test_settings_info_and_bundles(binary, module, capsys):
    decoder = build_decoder(DecoderSettings(kind="beam", lm=str(binary)), TOKENIZER)
    assert isinstance(decoder, BeamSearchDecoder)
    assert isinstance(decoder.language_model, KenlmModel)
    assert run(["lm", "info", str(binary)]) == 0
    assert "order 3, words, vocabulary 6" in capsys.readouterr().out
    with pytest.raises(UsageError, match="a bundle carries ARPA text"):
        pack_lm(binary)


def test_tuning_refuses_before_it_works(binary, module, tmp_path, capsys):
    from tiny_bundle import write_bundle
    write_bundle(tmp_path / "m.asr")
    (tmp_path / "dev.jsonl").write_text("")
    assert run(["tune", str(tmp_path / "m.asr"), str(tmp_path / "dev.jsonl"), "--lm", str(binary),
                "-o", str(tmp_path / "out.asr")]) == 2
    assert "a bundle carries ARPA text" in capsys.readouterr().err
    assert load_bundle(tmp_path / "m.asr").lm is None


def test_the_real_module(binary, tmp_path):
    pytest.importorskip("kenlm", reason="the extra kenlm is not installed")
    (tmp_path / "toy.arpa").write_text(TOY)
    model = load_ngram(binary)
    for text, scores in KENLM.items():
        assert model.score_words(text.split()) / np.log(10) == pytest.approx(scores, abs=1e-6)
    arrays = load_ngram(tmp_path / "toy.arpa")
    for seed in range(10):
        (a,), (b,) = (BeamSearchDecoder(TOKENIZER, 16, language_model=m).decode(random_logits(seed))
                      for m in (model, arrays))
        assert a.labels == b.labels and a.score == pytest.approx(b.score, abs=1e-4)
