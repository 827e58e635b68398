"""Whatever bytes a reader is given: it reads them or says why not in one sentence.

Each reader gets mutations of a good file: bits, pieces and numbers changed. A few hundred a reader
in the suite; `pytest -m slow tests/test_fuzz.py --mutations 100000` tries more, from another seed.
"""

from __future__ import annotations

import gzip
import http.client
import io
import json
import os
import random
import tarfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from forged_bundle import forge, members
from layout_examples import eaf
from tiny_bundle import write_bundle

from asr.errors import MAX_MESSAGE_BYTES, AsrError

QUICK = 250
NUMBERS = [b"-1", b"0", b"1e400", b"-1e-400", b"9" * 30, b"9" * 5_000, b"1" + b"0" * 400, b"NaN",
           b"0x" + b"f" * 4_500, b"-0.0", b"1e308", b"18446744073709551616"]
PIECES = [b"null", b"[]", b"{}", b"true", b'""', b"[" * 6_000, b'{"a":' * 3_000, b"\x00",
          b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\x1b[2J", b"\r\n",
          b"\n", b"\\", b'"', b"\t", b"=", b"-" * 3_000, b"../..", b"\xc3\xa9", b" " * 2_000, b"#",
          b"\x1d", b"\x0c", b"\xc2\x85", b"\xe2\x80\xa8", b"\xc2\xa0", b"_",
          b"\xc2\xb2", b"\xd9\xa3"]
Read = Callable[[bytes], object]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few changes, anywhere."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(data) + 1)
        stop = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 200)))
        kind = rng.randrange(7)
        if kind == 0 and data:
            at = rng.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]
        elif kind == 1:
            data = data[:at] + data[stop:]
        elif kind == 2:
            data = data[:stop] + data[at:stop] * rng.choice((1, 2, 50)) + data[stop:]
        elif kind == 3:
            data = data[:at] + rng.choice(PIECES) + data[stop if rng.random() < 0.5 else at:]
        elif kind == 4:
            data = data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[stop:]
        elif kind == 5 and (digits := [i for i, byte in enumerate(data) if 48 <= byte < 58]):
            first = last = rng.choice(digits)
            while last < len(data) and (48 <= data[last] < 58 or data[last] in b".e-+"):
                last += 1
            data = data[:first] + rng.choice(NUMBERS) + data[last:]
        elif kind == 6:
            data = data[:at]
    return data


def file_reader(path: Path, read: Callable[[Path], object]) -> Read:
    def reader(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)
    return reader


# Each gives the good bytes and what reads them.

def recipe(folder: Path) -> tuple[bytes, Read]:
    from asr.recipe import load_recipe

    page = (Path(__file__).parents[1] / "recipes/tones.toml").read_bytes()
    return page, file_reader(folder / "r.toml", load_recipe)


def override(folder: Path) -> tuple[bytes, Read]:
    from asr.recipe import load_recipe

    page = Path(__file__).parents[1] / "recipes/tones.toml"
    return b"train.learning_rate=0.001", lambda data: load_recipe(
        page, [data.decode("utf-8", "surrogateescape")])


def manifest(folder: Path) -> tuple[bytes, Read]:
    from asr.manifest import read_manifest

    rows = [{"id": f"u{i}", "audio_filepath": f"a/{i}.wav", "text": "one twö", "duration": 1.5,
             "speaker": "s", "offset": 0.25} for i in range(3)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(), \
        file_reader(folder / "m.jsonl", read_manifest)


def nemo(folder: Path) -> tuple[bytes, Read]:
    from asr.corpora.nemo import prepare

    return (b'{"audio_filepath": "a.wav", "text": "one", "duration": 1.5, "offset": 0.5}\n' * 2,
            file_reader(folder / "m.jsonl", prepare))


def bundle_file(folder: Path) -> tuple[bytes, Read]:
    from asr.bundle import load_bundle

    return write_bundle(folder / "good.asr").read_bytes(), file_reader(folder / "b.asr",
                                                                       load_bundle)


def bundle_config(folder: Path) -> tuple[bytes, Read]:
    """A config with right sizes and hashes around it."""
    from asr.bundle import load_bundle

    good = write_bundle(folder / "good.asr").read_bytes()
    path = folder / "b.asr"

    def read(data: bytes) -> object:
        path.write_bytes(good)
        forge(path, {"config.json": data})
        return load_bundle(path)

    return members(folder / "good.asr")["config.json"], read


def bundle_weights(folder: Path) -> tuple[bytes, Read]:
    from asr.network.weights import read_tensors

    data = members(write_bundle(folder / "good.asr"))["weights.safetensors"]
    return data[:2_000], lambda changed: read_tensors(changed + data[2_000:], "weights")


def bundle_manifest(folder: Path) -> tuple[bytes, Read]:
    """The table of members inside the ZIP."""
    from forged_bundle import write_zip

    from asr.bundle import load_bundle

    parts = members(write_bundle(folder / "good.asr"))

    def read(data: bytes) -> object:
        write_zip(folder / "b.asr", {**parts, "manifest.json": data})
        return load_bundle(folder / "b.asr")

    return parts["manifest.json"], read


def arpa(folder: Path) -> tuple[bytes, Read]:
    from asr.language_model.arpa import read_arpa

    text = ("\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-1\t<s>\t-0.3\n-1\t</s>\n"
            "-0.5\tone\t-0.2\n-0.6\ttwo\n\n\\2-grams:\n-0.1\t<s> one\n-0.2\tone two\n\n\\end\\\n")
    return text.encode(), file_reader(folder / "l.arpa", read_arpa)


def arpa_gz(folder: Path) -> tuple[bytes, Read]:
    from asr.language_model.arpa import read_arpa

    return gzip.compress(arpa(folder)[0], mtime=0), file_reader(folder / "l.arpa.gz", read_arpa)


def lm_cache(folder: Path) -> tuple[bytes, Read]:
    from asr.language_model.ngram import load_ngram
    from asr.language_model.ngram_cache import cache_path

    (folder / "l.arpa").write_bytes(arpa(folder)[0])
    load_ngram(folder / "l.arpa")
    path = cache_path(folder / "l.arpa")

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return load_ngram(folder / "l.arpa")

    return path.read_bytes(), read


def grammar(folder: Path) -> tuple[bytes, Read]:
    from asr.decoding.grammar import read_grammar

    return (b"[please] call (anna | bob) now*\n<digit> = one | two+;\n", file_reader(
        folder / "g.txt", read_grammar))


def hot_words(folder: Path) -> tuple[bytes, Read]:
    from asr.decoding.phrases import read_hot_words

    return b"anna smith:1.5\nbob\n", file_reader(folder / "w.txt", read_hot_words)


def annotations(folder: Path) -> tuple[bytes, Read]:
    """Praat's, ELAN's, subtitles' and Audacity's, one after the other."""
    from asr.annotations.cues import read_labels, read_subtitles
    from asr.annotations.elan import read_eaf
    from asr.annotations.textgrid import read_textgrid
    from asr.transcript.praat import textgrid

    parts = (textgrid({"words": [(0.0, 1.5, "one")]}, 2.0), eaf([(0.0, 0.5, "a"), (1.0, 2.0, "b")]),
             "1\n00:00:01,5 --> 0:00:02.75\n<b>one</b>\n", "0.5\t1\tyes sir\n")
    readers = (read_textgrid, lambda text, name: read_eaf(text.encode(), name), read_subtitles,
               read_labels)

    def read(data: bytes) -> None:
        for reader, part in zip(readers, data.decode("utf-8", "replace").split("----\n"),
                                strict=False):
            with suppress(AsrError):
                reader(part, "a")

    return "----\n".join(parts).encode(), read


def scored_texts(folder: Path) -> tuple[bytes, Read]:
    """STM, CTM and trn."""
    from asr.scoring.formats import read_texts

    def read(data: bytes) -> None:
        for name, part in zip(("stm", "ctm", "trn"), data.split(b"----\n"), strict=False):
            (folder / "a").write_bytes(part)
            with suppress(AsrError):
                read_texts(folder / "a", name)

    return (b";; c\na A s 0.5 1.5 <o,f0> one (uh) two\n----\na A 0.5 0.25 one 0.9\n----\n"
            b"one two- (s_1)\n"), read


def run_files(folder: Path) -> tuple[bytes, Read]:
    """log.jsonl, versions.json and data.json of a run, one after the other in one file."""
    from asr.pages.report import read_curve
    from asr.recipe import Recipe
    from asr.training.run_directory import RunDirectory, read_log

    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/ckpt-1.index").touch()

    def read(data: bytes) -> None:
        for name, part in zip(("log.jsonl", "versions.json", "data.json"),
                              data.split(b"----\n"), strict=False):
            (run / name).write_bytes(part)
        read_log(run)
        read_curve(run / "log.jsonl")
        with RunDirectory(run) as opened:
            opened.begin(Recipe())
            opened.check_data(" ab", "1", {"train a": "1"})

    return (b'{"event": "epoch", "epoch": 1, "wer": 0.5, "cer": NaN}\n{"event": "finished"}\n----\n'
            b'{"run_id": "ab12", "python": "3.11"}----\n'
            b'{"alphabet": " ab", "sha256": "1", "contents": {"train a": "1"}}'), read


def cache_header(folder: Path) -> tuple[bytes, Read]:
    """The header of a shard of features; what is believed lies inside the file."""
    from asr.data.shards import ShardReader, damaged_shards, read_indexes, write_shard

    rng = np.random.default_rng(0)
    path = folder / write_shard(folder, [(f"k{i}", rng.normal(size=(5, 3)).astype("f4"), 400, False)
                                         for i in range(3)])
    good = path.read_bytes()
    start = 8 + int.from_bytes(good[:8], "little")

    def read(data: bytes) -> None:
        path.write_bytes(len(data).to_bytes(8, "little") + data + good[start:])
        found = read_indexes(folder, 3)
        damaged = damaged_shards(folder, found.items(), 3)
        reader = ShardReader(folder, 3)
        for place in found.values():
            if place.shard not in damaged:
                assert reader.read(place).shape == (place.num_frames, 3)

    return good[8:start], read


def cache_shard(folder: Path) -> tuple[bytes, Read]:
    from asr.data.shards import damaged_shards, read_indexes, write_shard

    path = folder / write_shard(folder, [("k", np.zeros((5, 3), "f4"), 400, False)])
    return path.read_bytes(), file_reader(path, lambda _: damaged_shards(
        folder, read_indexes(folder, 3).items(), 3))


def hash_memory(folder: Path) -> tuple[bytes, Read]:
    from asr.audio.content_hashes import hash_files

    (folder / "a.wav").write_bytes(b"x")
    table = {str(folder / "a.wav"): [1, 2, 3, 4, "ab"]}
    return json.dumps(table).encode(), file_reader(
        folder / "h.json", lambda path: hash_files([folder / "a.wav"], memory=path))


def journal(folder: Path) -> tuple[bytes, Read]:
    """The journal of a result: no file outside of the folder is reached."""
    from asr.results import JOURNAL, current, settle

    outside = folder / "mine.txt"
    outside.write_text("mine")
    place = folder / "out"
    table = {"staging": ".asr-result-abcd1234", "files": ["a.jsonl"], "remove": ["b.jsonl"]}

    def read(data: bytes) -> None:
        (place / ".asr-result-abcd1234").mkdir(parents=True, exist_ok=True)
        (place / ".asr-result-abcd1234/a.jsonl").write_text("x")
        (place / JOURNAL).write_bytes(data)
        assert place in current(place / "a.jsonl").parents
        settle(place)
        assert outside.read_text() == "mine"

    return json.dumps(table).encode(), read


def transcript_index(folder: Path) -> tuple[bytes, Read]:
    from asr.fleet.worklist import OutputFolder

    return (b'{"source": "/a/b.wav", "output": "b"}\n' * 2, file_reader(
        folder / "index.jsonl", lambda path: OutputFolder(folder, "txt")))


def receipt(folder: Path) -> tuple[bytes, Read]:
    from asr.scoring import save, score
    from asr.scoring.storage import load

    path = save(score({"a": "one two"}, {"a": "one"}, draws=100), folder / "s.jsonl")
    return path.read_bytes(), file_reader(path, lambda _: load(folder / "s.jsonl", draws=100))


def score_rows(folder: Path) -> tuple[bytes, Read]:
    from asr.scoring import save, score
    from asr.scoring.storage import load

    save(score({"a": "one two"}, {"a": "one"}, draws=100), folder / "s.jsonl")
    path = folder / "s.jsonl"
    return path.read_bytes(), file_reader(path, lambda _: load(path, draws=100))


def archive(folder: Path) -> tuple[bytes, Read]:
    from asr.corpora.unpack import unpack

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name in ("corpus/a.txt", "corpus/b.txt"):
            info = tarfile.TarInfo(name)
            info.size = 5
            made.addfile(info, io.BytesIO(b"hello"))
    count = 0

    def read(data: bytes) -> None:
        nonlocal count
        count += 1
        (folder / "work").mkdir(exist_ok=True)
        path = folder / "c.tar.gz"
        path.write_bytes(gzip.compress(data, 1))
        try:
            unpack(path, folder / f"dest{count}", work=folder / "work", provides="corpus",
                   members=("*",))
        finally:
            assert not list((folder / "work").iterdir())

    return file.getvalue()[:3_072], read


def archive_gz(folder: Path) -> tuple[bytes, Read]:
    from asr.corpora.unpack import unpack

    data, _ = archive(folder)
    (folder / "work").mkdir(exist_ok=True)
    return gzip.compress(data, mtime=0), file_reader(folder / "c.tar.gz", lambda path: unpack(
        path, folder / "other", work=folder / "work", provides="corpus/none", members=("*",)))


class _Socket(io.BytesIO):
    def makefile(self, *_):
        return self


def http_answer(folder: Path) -> tuple[bytes, Read]:
    """Status line, headers and body as a server sends them."""
    from asr.corpora.download import Package, download

    def read(data: bytes) -> None:
        def opened(self, request, *_, **__):
            response = http.client.HTTPResponse(_Socket(data))  # type: ignore[arg-type]
            response.begin()
            if response.status >= 300:
                raise urllib.error.HTTPError(request.full_url, response.status, response.reason,
                                             response.headers, response)
            return response

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(urllib.request.OpenerDirector, "open", opened)
            download(Package("http://example.org/c.tar.gz", "corpus", ("*",)), folder, attempts=2,
                     pause=0)
        (folder / "c.tar.gz").unlink()

    body = gzip.compress(b"x" * 100, mtime=0)
    return (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Range: bytes 0-9/%d\r\n"
            b"ETag: \"a\"\r\nContent-Type: application/gzip\r\nLast-Modified: now\r\n\r\n%s"
            % (len(body), len(body), body)), read


def part_notes(folder: Path) -> tuple[bytes, Read]:
    """What a broken transfer left beside the part."""
    from asr.corpora.download import Package, download

    def read(data: bytes) -> None:
        (folder / "c.tar.gz.part").write_bytes(b"\x1f\x8b")
        (folder / "c.tar.gz.part.json").write_bytes(data)

        def opened(self, request, *_, **__):
            raise urllib.error.URLError(OSError(f"no {request.headers}"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(urllib.request.OpenerDirector, "open", opened)
            download(Package("http://example.org/c.tar.gz", "corpus", ("*",)), folder, attempts=1)

    return b'{"version": "abc"}', read


READERS = {reader.__name__: reader for reader in (
    recipe, override, manifest, nemo, bundle_file, bundle_config, bundle_manifest, bundle_weights,
    arpa, arpa_gz, lm_cache, grammar, hot_words, annotations, scored_texts, run_files,
    cache_header, cache_shard, hash_memory, journal, transcript_index, receipt, score_rows, archive,
    archive_gz, http_answer, part_notes)}


def attack(name: str, folder: Path, count: int, seed: int) -> None:
    good, read = READERS[name](folder)
    rng = random.Random(f"{name} {seed}")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore", UserWarning)
        patch.setattr(os, "fsync", lambda descriptor: None)  # nobody kills this process
        for number in range(count):
            data = mutated(good, rng)
            try:
                read(data)
            except AsrError as error:
                assert len(str(error).encode("utf-8", "replace")) <= MAX_MESSAGE_BYTES
            except Exception as error:
                (folder / "culprit").write_bytes(data)
                raise AssertionError(f"mutation {number} of {name}: {type(error).__name__}: "
                                     f"{str(error)[:500]}; bytes {data[:200]!r}") from error


@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_read_or_refused_in_one_sentence(name, tmp_path):
    attack(name, tmp_path, QUICK, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_mutations(name, tmp_path, request):
    attack(name, tmp_path, request.config.getoption("--mutations"), seed=2)


def test_the_mutations_change_something_and_the_good_files_are_read(tmp_path):
    for name in READERS:
        folder = tmp_path / name
        folder.mkdir()
        good, read = READERS[name](folder)
        assert mutated(good, random.Random(0)) != good or mutated(good, random.Random(1)) != good
        if name not in ("archive_gz", "part_notes"):  # which end in an error
            read(good)
