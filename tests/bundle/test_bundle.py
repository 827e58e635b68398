"""Bundles: what goes in comes out, and nothing hostile gets in (FAULTS.md S1 - S4)."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tiny_bundle
from forged_bundle import forge, forge_config, members, write_zip
from tiny_bundle import ARPA, FEATURES, MODEL, content, write_bundle

from asr.bundle import Reference, load_bundle, save_bundle
from asr.bundle.archive import parse_json
from asr.errors import EXIT_BUNDLE, EXIT_USAGE, BundleError, DataError, UsageError
from asr.features import FeatureExtractor
from asr.language_model.packed_ngram import unpack_lm
from asr.network.weights import check_tensors, lstm_inputs, num_features, weight_shapes
from asr.recipe import DecoderSettings, FeatureSettings, ModelSettings
from asr.text.tokenizer import CharTokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "model.asr"


def test_round_trip(path):
    rng = np.random.default_rng(1)
    features = FeatureSettings(**{**vars(FEATURES), "cmvn": "global"})
    mean, std = rng.normal(size=20).astype("f4"), rng.uniform(0.5, 2, 20).astype("f4")
    reference = Reference(rng.normal(size=800).astype("f4"), rng.normal(size=(11, 20)),
                          rng.normal(size=(6, 10)))
    given = content(features=features, cmvn=(mean, std), lm=b"gz", reference=reference,
                    decoder=DecoderSettings(kind="lexicon", lexicon=("a", "bäd"), lm="lm.arpa.gz"),
                    tokenizer=CharTokenizer(" abcdefgä"), training={"wer": 0.25, "note": "süß"})
    bundle_hash = save_bundle(path, **given)
    bundle = load_bundle(path)
    for name in ("features", "text", "model", "decoder", "tokenizer", "training", "lm"):
        assert getattr(bundle, name) == given[name], name
    assert bundle.bundle_hash == bundle_hash
    assert list(bundle.weights) == list(weight_shapes(MODEL, 20, 10))
    for name, array in bundle.weights.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, given["weights"][name])
    np.testing.assert_array_equal(bundle.cmvn, (mean, std))
    np.testing.assert_array_equal(bundle.reference.features, reference.features.astype("f4"))
    assert bundle.versions["numpy"] == np.__version__
    assert bundle.normalizer.startswith("basic-")
    assert bundle.num_features == 20


def test_equal_content_gives_equal_bytes_and_hash(path, tmp_path):
    first = save_bundle(path, **content())
    backwards = dict(reversed(content()["weights"].items()))
    second = save_bundle(tmp_path / "other.asr", **content(weights=backwards))
    assert first == second
    assert path.read_bytes() == (tmp_path / "other.asr").read_bytes()
    assert save_bundle(path, **content(training={"epochs": 4})) != first


def test_the_hash_covers_everything_but_the_weights_hash_only_weights(path, tmp_path):
    write_bundle(path)
    write_bundle(tmp_path / "b.asr", training={"epochs": 4})
    one, two = load_bundle(path), load_bundle(tmp_path / "b.asr")
    assert one.weights_hash == two.weights_hash
    assert one.bundle_hash != two.bundle_hash


@pytest.mark.parametrize("kind", ["log_mel", "mfcc"])
@pytest.mark.parametrize("deltas", [0, 1, 2])
def test_num_features_is_that_of_the_extractor(kind, deltas):
    settings = FeatureSettings(kind=kind, deltas=deltas)
    assert num_features(settings) == FeatureExtractor(settings).num_features


@pytest.mark.parametrize(("model", "expected"), [
    (ModelSettings(stacking=4), 4 * 21),
    (ModelSettings(front_end="conv", conv_channels=8), 6 * 8)])
def test_lstm_inputs(model, expected):
    assert lstm_inputs(model, 21) == expected


@pytest.mark.parametrize("packed", [False, True])
def test_the_language_model_of_the_decoder_is_taken_in(path, tmp_path, packed):
    arpa = tmp_path / "words.arpa"
    arpa.write_bytes(gzip.compress(ARPA.encode()) if packed else ARPA.encode())
    write_bundle(path, decoder=DecoderSettings(kind="beam", lm=str(arpa)))
    arpa.unlink()
    bundle = load_bundle(path)
    assert bundle.decoder.lm == "lm.arpa.gz"
    assert gzip.decompress(bundle.lm).decode() == ARPA
    model = unpack_lm(bundle.lm, "x")
    assert model.counts == (5,)
    again = bundle.save(tmp_path / "again.asr")
    assert again == bundle.bundle_hash
    assert (tmp_path / "again.asr").read_bytes() == path.read_bytes()


def test_language_models_that_cannot_be(path, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="Cannot read the language model"):
        write_bundle(path, decoder=DecoderSettings(kind="beam", lm=str(tmp_path / "none.arpa")))
    with pytest.raises(BundleError, match=r"has no lm\.arpa\.gz"):
        write_bundle(path, decoder=DecoderSettings(kind="beam", lm="lm.arpa.gz"))
    with pytest.raises(BundleError, match=r"has a lm\.arpa\.gz"):
        write_bundle(path, lm=b"x")
    for data in (b"x", gzip.compress(b"no arpa"), gzip.compress(ARPA.encode())[:40],
                 gzip.compress(bytes(10_000_000)), gzip.compress(b"\xff\xfe\n")):
        with pytest.raises(DataError):
            unpack_lm(data, "x")
    monkeypatch.setattr("asr.language_model.packed_ngram.MAX_NGRAMS", 4)
    with pytest.raises(DataError, match="5 n-grams are more than the limit of 4"):
        unpack_lm(gzip.compress(ARPA.encode()), "x")


# -- saving refuses what loading would refuse


@pytest.mark.parametrize(("changes", "message"), [
    ({"weights": {}}, "missing or not expected"),
    ({"weights": tiny_bundle.random_weights() | {"extra": np.zeros(1, "f4")}}, "extra"),
    ({"weights": tiny_bundle.random_weights() | {"output/bias": np.zeros(3, "f4")}},
     r"output/bias has shape \(3,\)"),
    ({"weights": tiny_bundle.random_weights() | {"output/bias": np.full(10, np.nan, "f4")}},
     "NaN or infinite"),
    ({"model": ModelSettings(units=5000), "weights": {}}, "model.units"),
    ({"cmvn": (np.zeros(20), np.ones(20))}, "cmvn statistics given"),
    ({"features": FeatureSettings(**{**vars(FEATURES), "cmvn": "global"})},
     "cmvn statistics are missing"),
    ({"reference": Reference(np.zeros(800), np.zeros((3, 20)), np.zeros((6, 10)))},
     "features has shape"),
])
def test_saving_checks(path, changes, message):
    with pytest.raises(BundleError, match=message):
        save_bundle(path, **content(**changes))
    assert not path.exists()


def test_saving_does_not_overwrite_when_told(path):
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        save_bundle(path, **content(), overwrite=False)
    assert path.read_bytes() == b"precious"


# -- S1: the container


def refused(path: Path, match: str = "asr") -> BundleError:
    with pytest.raises(BundleError, match=match) as caught:
        load_bundle(path)
    assert caught.value.exit_code == EXIT_BUNDLE
    assert str(path) in str(caught.value)
    return caught.value


def test_every_flipped_byte_is_noticed(path):
    """Those of the ZIP's own bookkeeping all, those of the members here and there."""
    data = bytearray(write_bundle(path).read_bytes())
    with zipfile.ZipFile(path) as archive:
        inside = np.zeros(len(data), bool)
        for info in archive.infolist():
            start = info.header_offset + len(info.FileHeader())
            inside[start:start + info.file_size] = True
    content = np.random.default_rng(3).choice(np.flatnonzero(inside), 100, replace=False)
    for position in (*np.flatnonzero(~inside), *content):
        for bit in (0x01, 0x10):
            data[position] ^= bit
            path.write_bytes(data)
            with pytest.raises((BundleError, UsageError)):
                load_bundle(path)
            data[position] ^= bit


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.999])
def test_truncated(path, fraction):
    data = write_bundle(path).read_bytes()
    path.write_bytes(data[:int(len(data) * fraction)])
    refused(path)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "sub/evil", "evil.txt", "C:\\evil"])
def test_extra_members_and_paths(path, tmp_path, name):
    parts = members(write_bundle(path))
    write_zip(path, parts | {name: b"x"})
    before = sorted(tmp_path.rglob("*"))
    refused(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/etc/evil").exists()


def test_an_extra_member_that_the_manifest_knows(path):
    write_bundle(path)
    forge(path, {"evil.py": b"x"})
    refused(path, "evil.py")


def test_duplicate_member(path):
    parts = members(write_bundle(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("config.json", parts["config.json"])
    refused(path, "twice")


def test_five_thousand_members(path):
    write_zip(path, {f"m{i}": b"" for i in range(5_000)})
    refused(path, "5_000 members")


def test_zip_bomb_is_refused_before_it_grows(path):
    parts = members(write_bundle(path))
    write_zip(path, parts | {"weights.safetensors": bytes(300_000_000)},
              compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    code = ("import re, sys\n"
            "from asr.bundle import load_bundle\n"
            "from asr.errors import BundleError\n"
            "try:\n    load_bundle(sys.argv[1])\n"
            "except BundleError as error:\n    print(error.code)\n"
            "status = open('/proc/self/status').read()\n"
            "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) // 1024)\n"
            "print('tensorflow' in sys.modules or 'keras' in sys.modules)\n")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True,
                          timeout=60, check=True)
    error_code, megabytes, heavy = done.stdout.split()
    assert error_code == "bundle.compressed"
    assert int(megabytes) < 300
    assert heavy == "False"


def test_a_large_config_is_refused_by_its_size(path):
    write_bundle(path)
    forge(path, {"config.json": b" " * 5_000_000})
    refused(path, "at most 4_000_000")


def test_symbolic_link(path):
    parts = members(write_bundle(path))
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = ((stat.S_IFLNK if name == "config.json" else stat.S_IFREG)
                                  | 0o644) << 16
            archive.writestr(info, data)
    refused(path, "link")


def test_encrypted(path):
    data = write_bundle(path).read_bytes()
    changed = bytearray(data)
    at = changed.rfind(b"PK\x01\x02")  # the last entry of the directory
    changed[at + 8] |= 1
    path.write_bytes(changed)
    refused(path, "encrypted")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "weights.safetensors",
                                  "manifest.json"])
def test_missing_member(path, name):
    parts = members(write_bundle(path))
    del parts[name]
    write_zip(path, parts)
    refused(path, "lacks|disagree")


def test_required_member_missing_from_the_manifest_too(path):
    write_bundle(path)
    forge(path, {"tokenizer.json": None})
    refused(path, r"lacks tokenizer\.json")


def test_wrong_hash_and_wrong_size(path):
    parts = members(write_bundle(path))
    manifest = json.loads(parts["manifest.json"])
    manifest["members"]["config.json"]["sha256"] = "0" * 64
    write_zip(path, parts | {"manifest.json": json.dumps(manifest).encode()})
    refused(path, "SHA-256")
    manifest["members"]["config.json"]["size"] += 1
    write_zip(path, parts | {"manifest.json": json.dumps(manifest).encode()})
    refused(path, "manifest.json says")


def test_a_changed_mel_setting_refuses_to_load(path):
    parts = members(write_bundle(path))
    changed = parts["config.json"].replace(b'"f_min": 0.0', b'"f_min": 9.0')
    assert changed != parts["config.json"]
    write_zip(path, parts | {"config.json": changed})
    refused(path, "damaged or edited")


@pytest.mark.parametrize(("manifest", "message"), [
    ({"schema_version": 2}, "bundle version 2"), ({"schema_version": True}, "version True"),
    ({"schema_version": 1.0}, "version 1.0"), ({"more": 1}, "unknown form"),
    ({"members": []}, "unknown form"),
    ({"members": {n: {} for n in ("config.json", "tokenizer.json", "weights.safetensors")}},
     "unknown form at")])
def test_odd_manifests(path, manifest, message):
    write_bundle(path)
    forge(path, {}, **manifest)
    refused(path, message)


@pytest.mark.parametrize("data", [b"", b"PK\5\6" + bytes(18), b"RIFF" + bytes(400), bytes(100_000),
                                  b"PK\5\6" + bytes(4) + b"\xff" * 14])
def test_no_zip(path, data):
    path.write_bytes(data)
    refused(path)


def test_no_such_file_folder_and_fifo(path, tmp_path):
    refused(path, "Cannot open")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        refused(path, "not a regular file")  # and does not wait for a writer


# -- S2: the configuration


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c["model"].update(units=10**12), "model.units must be between"),
    (lambda c: c["model"].update(num_layers=10**6), "model.num_layers must be between"),
    (lambda c: c["model"].update(units="12"), "whole number"),
    (lambda c: c["model"].update(units=12.0), "whole number"),
    (lambda c: c["model"].update(layers=3), "unknown key model.layers"),
    (lambda c: c["model"].update({"x" * 1_000_000: 3}), "tables of knobs"),
    (lambda c: c["features"].update(n_fft=16), "win_length"),
    (lambda c: c["features"].update(kind="exec"), "must be one of"),
    (lambda c: c["decoder"].update(kind="lexicon"), "lexicon"),
    (lambda c: c["decoder"].update(lm="/etc/passwd"), "decoder.lm is '/etc/passwd'"),
    (lambda c: c["decoder"].update(lm="lm.arpa.gz"), "has no lm.arpa.gz"),
    (lambda c: c.update(extra=1), "exactly"),
    (lambda c: c.pop("cmvn"), "exactly"),
    (lambda c: c.update(model=[]), "tables of knobs"),
    (lambda c: c.update(training=[]), "must be tables"),
    (lambda c: c.update(versions={"numpy": 2}), "must be tables"),
    (lambda c: c.update(normalizer=None), "normalizer text"),
    (lambda c: c.update(resampler="linear"), "resampler"),
    (lambda c: c["features"].update(cmvn="global"), "missing"),
    (lambda c: (c["features"].update(cmvn="global"), c.update(cmvn={"mean": [0.0], "std": [1.0]})),
     "20 finite numbers"),
    (lambda c: (c["features"].update(cmvn="global"),
                c.update(cmvn={"mean": [0.0] * 20, "std": [0.0] * 20})), "positive"),
    (lambda c: (c["features"].update(cmvn="global"),
                c.update(cmvn={"mean": ["0"] * 20, "std": [1.0] * 20})), "finite numbers"),
])
def test_odd_settings(path, change, message):
    write_bundle(path)
    forge_config(path, change)
    error = refused(path, message)
    assert len(str(error)) < 1_000


@pytest.mark.parametrize("text", [
    "[" * 100_000, '{"a": ' * 100_000, '{"features": NaN}', '{"features": Infinity}',
    '{"a":1,"a":2}', "", "{", "nul", "\ud800", '{"a": ' + "9" * 5_000 + "}"])
def test_hostile_json(path, text):
    write_bundle(path)
    forge(path, {"config.json": text.encode("utf-8", "surrogatepass")})
    assert len(str(refused(path))) < 1_000


def test_strict_json_accepts_json():
    assert parse_json('{"a": [1, "ü", null]}'.encode(), "x") == {"a": [1, "ü", None]}


@pytest.mark.parametrize("tokenizer", [
    [], {"type": "characters"}, {"type": "pickle", "alphabet": "ab"}, {"alphabet": "ab"},
    {"type": "characters", "alphabet": "aa"}, {"type": "characters", "alphabet": ""},
    {"type": "characters", "alphabet": "ab", "more": 1}, {"type": "characters", "alphabet": 3},
    {"type": "characters", "alphabet": "".join(map(chr, range(0x4E00, 0x4E00 + 20_001)))}])
def test_odd_tokenizers(path, tokenizer):
    write_bundle(path)
    forge(path, {"tokenizer.json": json.dumps(tokenizer).encode()})
    refused(path)


def test_a_missing_knob_means_its_default(path):
    write_bundle(path)
    forge_config(path, lambda c: c["decoder"].pop("beam_width"))
    assert load_bundle(path).decoder == DecoderSettings()


# -- S3: the weights


def weights_member(change) -> bytes:
    weights = tiny_bundle.random_weights()
    change(weights)
    return safetensors.numpy.save(weights)


@pytest.mark.parametrize("change", [
    lambda w: w.pop("output/bias"),
    lambda w: w.update(evil=np.zeros(3, "f4")),
    lambda w: w.update({"output/bias": np.zeros(11, "f4")}),
    lambda w: w.update({"output/bias": np.zeros((10, 1), "f4")}),
    lambda w: w.update({"output/bias": np.zeros(10, "f8")}),
    lambda w: w.update({"output/bias": np.zeros(20, "f2")}),
    lambda w: w.update({"output/bias": np.full(10, np.inf, "f4")}),
    lambda w: w.update({"output/bias": np.full(10, np.nan, "f4")}),
])
def test_odd_weights(path, change):
    write_bundle(path)
    forge(path, {"weights.safetensors": weights_member(change)})
    refused(path)


def test_an_object_array_or_a_pickle_as_weights(path):
    npz = io.BytesIO()
    np.savez(npz, weights=np.array([{"a": 1}, None], dtype=object))
    for data in (npz.getvalue(), pickle.dumps(tiny_bundle.random_weights())):
        write_bundle(path)
        forge(path, {"weights.safetensors": data})
        refused(path)


def test_safetensors_that_lie_about_themselves(path):
    good = members(write_bundle(path))["weights.safetensors"]
    length = int.from_bytes(good[:8], "little")
    header = good[8:8 + length]
    for data in ((2**60).to_bytes(8, "little") + good[8:],
                 good[:8] + header.replace(b'"F32"', b'"F33"', 1) + good[8 + length:],
                 good[:8] + b"[" * length + good[8 + length:],
                 good[:8] + header.replace(b"[0,", b"[4,", 1) + good[8 + length:]):
        write_bundle(path)
        forge(path, {"weights.safetensors": data})
        refused(path)


def test_a_network_larger_than_its_weights_is_refused_unread(path):
    write_bundle(path)
    forge_config(path, lambda c: c["model"].update(units=4_096, num_layers=16))
    refused(path, "bytes, the settings in config.json mean")


def test_odd_references(path):
    write_bundle(path)
    for arrays in ({}, {"audio": np.zeros(800, "f4")},
                   {"audio": np.zeros((1, 800), "f4"), "features": np.zeros((11, 20), "f4"),
                    "logits": np.zeros((6, 10), "f4")}):
        forge(path, {"reference.safetensors": safetensors.numpy.save(arrays)})
        refused(path)


def test_check_tensors_lists_no_more_than_five(path):
    with pytest.raises(BundleError, match=r"a0, a1, a2, a3, a4 \.\.\."):
        check_tensors({}, {f"a{i}": (1,) for i in range(9)}, "x")


# -- S4: models of others


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.pkl", "m.pt", "M.HDF5", "m.tflite"])
def test_foreign_names_are_refused_unopened(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"anything")
    with pytest.raises(UsageError, match="not supported.*executes code") as caught:
        load_bundle(path)
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("data", [b"\x89HDF\r\n\x1a\n" + bytes(99), pickle.dumps({"a": 1})])
def test_foreign_content_under_our_name(path, data):
    path.write_bytes(data)
    with pytest.raises(UsageError, match="executes code"):
        load_bundle(path)


def test_saved_model_folder(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(UsageError, match="SavedModel"):
        load_bundle(tmp_path)


def executing_calls(source: str) -> list[str]:
    """Names in a source file that load code from data, as line:name."""
    banned = {"load_model", "extractall", "eval", "exec", "pickle", "dill", "joblib", "marshal",
              "system", "popen", "unsafe_load"}
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None)]
        elif isinstance(node, ast.Call):
            names = [ast.unparse(node.func)]
            names += [k.arg for k in node.keywords if k.arg in ("shell", "allow_pickle")
                      and not (isinstance(k.value, ast.Constant) and k.value.value is False)]
        for name in filter(None, names):
            if set(name.split(".")) & (banned | {"shell", "allow_pickle"}) or \
                    name in ("yaml.load", "tf.saved_model.load"):
                found.append(f"{node.lineno}: {name}")
    return found


def test_no_source_file_loads_code_from_data():
    for file in sorted((ROOT / "asr").rglob("*.py")):
        # An export loads what it has just written, to prove it; no other file does.
        own = {"savedmodel_format.py": ["tf.saved_model.load"],
               "keras_format.py": ["keras.saving.load_model"]}.get(file.name, [])
        found = executing_calls(file.read_text(encoding="utf-8"))
        assert [call.split(": ")[1] for call in found] == own, file


@pytest.mark.parametrize("source", [
    "keras.models.load_model(x)", "import pickle", "from pickle import load", "eval(x)",
    "archive.extractall(x)", "run(x, shell=True)", "np.load(x, allow_pickle=True)",
    "yaml.load(x)", "os.system(x)"])
def test_that_scan_can_fail(source):
    assert executing_calls(source)


OWN = {"000/kernel": np.ones((3, 4), np.float32), "001/scale": np.float32(2.0)}


def test_a_network_of_ones_own_is_weights_and_a_name(path):
    save_bundle(path, **content(weights=OWN, network="my_network"))
    bundle = load_bundle(path)
    assert bundle.network == "my_network"
    assert {name: array.shape for name, array in bundle.weights.items()} == {
        "000/kernel": (3, 4), "001/scale": ()}
    np.testing.assert_array_equal(bundle.weights["000/kernel"], OWN["000/kernel"])
    assert load_bundle(write_bundle(path)).network == ""
    with pytest.raises(BundleError, match="NaN or infinite"):
        save_bundle(path, **content(weights={"000/a": np.float32(np.nan)}, network="f"))


@pytest.mark.parametrize("network", [
    None, "f", {}, {"build": "f"}, {"build": "", "tensors": {"a": [1]}},
    {"build": "f" * 300, "tensors": {"a": [1]}}, {"build": "f", "tensors": {}},
    {"build": "f", "tensors": {"a": 3}}, {"build": "f", "tensors": {"a": [0]}},
    {"build": "f", "tensors": {"a": [True]}}, {"build": "f", "tensors": {"a": [1] * 99}},
    {"build": "f", "tensors": {"a": [2**40]}}, {"build": 3, "tensors": {"a": [1]}},
    {"build": "f", "tensors": {str(i): [1] for i in range(10_001)}},
    {"build": "f", "tensors": {"a": [2**30, 2**30]}}, {"build": "f", "tensors": {"b": [3, 4]}}])
def test_odd_networks_of_ones_own(path, network):
    save_bundle(path, **content(weights=OWN, network="my_network"))

    def change(config):
        config["network"] = network
        if network is None:  # as if the weights were those of the settings
            del config["network"]

    forge_config(path, change)
    refused(path)
