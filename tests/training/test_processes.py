"""When a training run starts processes: before TensorFlow, whose threads do not survive a fork."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import soundfile

from asr.manifest import Utterance, write_manifest

WATCHED = """
import json, sys
started = []
def watch(event, arguments):
    if arguments[:1] == ("lscpu",):  # numpy.testing of NumPy 1.26, when it is imported
        return
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"):
        started.append("tensorflow" in sys.modules)
sys.addaudithook(watch)
import asr
asr.train(asr.load_recipe("page.toml"), "run", quiet=True)
print(json.dumps([started, "librosa" in sys.modules]))
"""
PAGE = """
[data]
train = ["all.jsonl"]
valid = ["all.jsonl"]
num_workers = 2
[model]
num_layers = 1
units = 4
[train]
epochs = 1
"""


@pytest.mark.tf
def test_workers_start_before_tensorflow_and_nothing_forks_after_it(tmp_path, rng):
    rows = []
    for name in ("a", "b", "c", "d"):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, rng.normal(scale=0.1, size=8_000), 16_000)
        rows.append(Utterance(name, path, name, 0.5))
    write_manifest(tmp_path / "all.jsonl", rows)
    (tmp_path / "page.toml").write_text(PAGE)
    done = subprocess.run([sys.executable, "-c", WATCHED], cwd=tmp_path, capture_output=True,
                          text=True, check=True, timeout=300)
    with_tensorflow, uses_librosa = json.loads(done.stdout.splitlines()[-1])
    assert uses_librosa
    assert with_tensorflow and not any(with_tensorflow)
