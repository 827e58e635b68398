"""Work on a local Ray cluster of two nodes: order, bounds, and everything that can die."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cluster_jobs import Job, trivial
from local_cluster import two_nodes, wait_for, workers_in
from tiny_bundle import FEATURES, write_bundle

from asr.cli import run
from asr.errors import EXIT_DATA, EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE, AsrError
from asr.fleet.cluster import TRIES, Cluster

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed; `make test-ray`")
TESTS = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,  # a cluster starts in about ten seconds
    # Ray leaves sockets and log files of its own to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray"),
]


@pytest.fixture(scope="module")
def nodes():
    """Two nodes on this machine, and a way to add and remove others."""
    with two_nodes() as found:
        yield found


def lost(item: int, error: AsrError) -> str:
    return f"{item}: {error.code}"


def test_outcomes_come_in_order_though_the_first_shard_is_slow(nodes, tmp_path):
    job = Job(str(tmp_path), slow_first=True)
    assert list(Cluster(nodes.address).run(job, range(100), lost, shard_items=7)) == [
        2 * number for number in range(100)]
    assert len({p.name.split("-")[1] for p in tmp_path.glob("shard-*")}) == 2, "both nodes work"


def test_no_more_is_taken_than_is_worked_on(nodes):
    taken = 0

    def items():
        nonlocal taken
        while taken < 1_000_000:
            taken += 1
            yield taken

    outcomes = Cluster(nodes.address, workers=2).run(trivial, items(), lost, shard_items=10)
    assert next(outcomes) == 1
    assert taken <= 10 * 2 * 4 + 10
    outcomes.close()


def test_a_worker_that_is_killed_loses_nothing(nodes, tmp_path):
    job = Job(str(tmp_path), once=33)
    assert list(Cluster(nodes.address).run(job, range(60), lost, shard_items=10)) == [
        2 * number for number in range(60)]
    assert (tmp_path / "once").exists()


def test_an_item_that_kills_its_workers_is_named_and_the_others_are_done(nodes, tmp_path):
    job = Job(str(tmp_path), poison=13)
    outcomes = list(Cluster(nodes.address).run(job, range(40), lost, shard_items=10))
    assert outcomes == [2 * n if n != 13 else "13: worker.died" for n in range(40)]
    # It died in its shard, then alone; never more often.
    assert len([p for p in tmp_path.glob("started-*")]) <= 2 + 1 + TRIES


def test_a_node_that_is_killed_in_the_middle(nodes, tmp_path):
    other = nodes.add_node(num_cpus=1, object_store_memory=100_000_000)
    nodes.wait_for_nodes()
    gate = tmp_path / "gate"
    outcomes: list = []
    job = Job(str(tmp_path), gate=str(gate))
    thread = threading.Thread(target=lambda: outcomes.extend(
        Cluster(nodes.address).run(job, range(90), lost, shard_items=10)))
    thread.start()
    try:
        wait_for(lambda: list(tmp_path.glob(f"shard-{other.node_id}-*")))
        nodes.remove_node(other, allow_graceful=False)
        gate.touch()
    finally:
        gate.touch()
        thread.join(240)
    assert outcomes == [2 * number for number in range(90)]


def test_an_error_of_the_work_ends_the_run_with_its_own_sentence(nodes, tmp_path):
    with pytest.raises(AsrError, match="no/such/bundle"):
        from functools import partial

        from asr.cli.engine_options import open_recognizer
        from asr.fleet.shards import transcribe_on
        from asr.fleet.worklist import find_items

        items, _ = find_items([str(recordings(tmp_path, 2))])
        list(transcribe_on(Cluster(nodes.address), partial(
            open_recognizer, "/no/such/bundle.asr", "auto", {}), items))


def test_a_million_rows_do_not_fill_the_memory_of_the_driver(nodes):
    """A process of its own, whose peak is its own."""
    code = ("import resource, sys, time\n"
            "from cluster_jobs import trivial\n"
            "from asr.fleet.cluster import Cluster\n"
            f"outcomes = Cluster({nodes.address!r}, 2).run(trivial, range(1_000_000), None,"
            " shard_items=5_000)\n"
            "assert sum(1 for _ in outcomes) == 1_000_000\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 1 << 20, "kilobytes"


def recordings(folder: Path, count: int) -> Path:
    (folder / "in").mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        soundfile.write(folder / "in" / f"{number}.wav", rng.normal(size=4_000) * 0.1,
                        FEATURES.sample_rate)
    return folder / "in"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_transcripts_are_those_of_one_machine_byte_for_byte(nodes, tmp_path, capsys):
    source, bundle = recordings(tmp_path, 9), write_bundle(tmp_path / "tiny.asr")
    (source / "bad.wav").write_bytes(b"RIFF, but no more")
    command = ["transcribe", "--bundle", str(bundle), str(source), "-f", "json", "-f", "txt"]
    assert run([*command, "-o", str(tmp_path / "local")]) == EXIT_SOME_FAILED
    alone = capsys.readouterr().err
    cluster = ["--engine", "ray", "--address", nodes.address]
    assert run([*command, "-o", str(tmp_path / "ray"), *cluster]) == EXIT_SOME_FAILED
    assert capsys.readouterr().err == alone, "the same table of failures"
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    (tmp_path / "ray" / "3.json").unlink()
    assert run([*command, "-o", str(tmp_path / "ray"), *cluster]) == EXIT_SOME_FAILED
    assert "8 of 10 transcripts existed" in capsys.readouterr().err, "a rerun goes on"
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_evaluate_and_align_are_those_of_one_machine(nodes, tmp_path, capsys):
    source, bundle = recordings(tmp_path, 6), write_bundle(tmp_path / "tiny.asr")
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(json.dumps({
        "id": path.stem, "audio_filepath": f"in/{path.name}", "text": "bad cab",
        "duration": 0.5}) + "\n" for path in sorted(source.iterdir())))
    cluster = ["--engine", "ray", "--address", nodes.address]
    tables = []
    for more in ([], cluster):
        assert run(["evaluate", str(bundle), str(manifest), "--json", *more]) == EXIT_OK
        table = json.loads(capsys.readouterr().out)
        table.pop("conditions", None)
        tables.append({key: value for key, value in table.items() if "time" not in key})
    assert tables[0]["wer"] == tables[1]["wer"] and tables[0]["groups"] == tables[1]["groups"]
    for name, more in (("local", []), ("ray", cluster)):
        assert run(["align", "--bundle", str(bundle), "--manifest", str(manifest), "-f", "json",
                    "-o", str(tmp_path / name), *more]) == EXIT_OK
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_a_driver_that_is_killed_goes_on(nodes, tmp_path):
    """Killed after its third transcript; the second run keeps three and makes the others."""
    source, bundle = recordings(tmp_path, 9), write_bundle(tmp_path / "tiny.asr")
    command = ["transcribe", "--bundle", str(bundle), str(source)]
    assert run([*command, "-o", str(tmp_path / "local")]) == EXIT_OK
    cluster = [*command, "-o", str(tmp_path / "ray"), "--engine", "ray", "--address",
               nodes.address]
    died = subprocess.run([sys.executable, "-m", "asr", *cluster], env={
        **os.environ, "ASR_TESTING": "1", "ASR_FAILPOINT": "transcript.written:2.txt"})
    assert died.returncode == -9
    assert len(list((tmp_path / "ray").glob("*.txt"))) == 3
    assert run(cluster) == EXIT_OK
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_features_are_those_of_one_machine(nodes, tmp_path):
    """The same arrays; one recording that is no recording is listed in both."""
    from asr.data.cache import build_cache
    from asr.fleet.features import extract_on
    from asr.manifest import Utterance

    source = recordings(tmp_path, 12)
    (source / "bad.wav").write_bytes(b"RIFF, but no more")
    rows = [Utterance(path.stem, path, "bad", 0.5) for path in sorted(source.iterdir())]
    alone = build_cache(rows, FEATURES, tmp_path / "local", num_workers=1)
    spread = build_cache(rows, FEATURES, tmp_path / "ray",
                         spread=lambda config, tasks: extract_on(Cluster(nodes.address), config,
                                                                 tasks))
    assert spread.rows == alone.rows and spread.failed == alone.failed
    assert spread.num_extracted == alone.num_extracted == 13
    for index in range(len(alone)):
        np.testing.assert_array_equal(spread.read(index), alone.read(index))


def packed(folder: Path, source: Path) -> Path:
    """The recordings as two splits in tar shards, the first of the one again in the other."""
    from asr.corpora.sharding import Settings, write_shards
    from asr.manifest import Utterance

    rows = [Utterance(path.stem, path, "bad cab", 0.5) for path in sorted(source.iterdir())]
    write_shards({"train": rows[:-2], "test": [*rows[-2:], Utterance("again", rows[0].audio,
                                                                    "bad", 0.5)]},
                 folder / "shards", Settings(shard_recordings=3))
    return folder / "shards"


def test_an_audit_is_that_of_one_machine(nodes, tmp_path, capsys):
    """Of recordings in tar shards; one is a copy, one is none."""
    source, bundle = recordings(tmp_path, 8), write_bundle(tmp_path / "tiny.asr")
    (source / "2.wav").write_bytes(b"RIFF, but no more")
    shards = packed(tmp_path, source)
    command = ["audit", str(shards / "train.jsonl"), str(shards / "test.jsonl"), "--bundle",
               str(bundle), "--json"]
    assert run(command) == EXIT_DATA
    alone = capsys.readouterr()
    assert run([*command, "--engine", "ray", "--address", nodes.address]) == EXIT_DATA
    assert capsys.readouterr() == alone
    assert json.loads(alone.out)["leaks"][0]["code"] == "split.audio"


def test_transcripts_of_shards_are_those_of_one_machine(nodes, tmp_path):
    source, bundle = recordings(tmp_path, 8), write_bundle(tmp_path / "tiny.asr")
    shards = packed(tmp_path, source)
    command = ["transcribe", "--bundle", str(bundle), *map(str, sorted(shards.glob("*.tar")))]
    assert run([*command, "-o", str(tmp_path / "local")]) == EXIT_OK
    assert run([*command, "-o", str(tmp_path / "ray"), "--engine", "ray", "--address",
                nodes.address]) == EXIT_OK
    found = [{str(path.relative_to(tmp_path / name)): path.read_bytes()
              for path in (tmp_path / name).rglob("*.txt")} for name in ("local", "ray")]
    assert found[0] == found[1] and len(found[0]) == 9
    assert len({name.split("/")[0] for name in found[0]}) == 3, "a folder for each shard"


@pytest.mark.tf
def test_a_training_whose_features_a_cluster_extracts(nodes, tmp_path):
    pytest.importorskip("tensorflow")
    from asr.corpora.tones import generate
    from asr.training import read_log

    generate(tmp_path / "tones", num_train=24, num_valid=8, num_test=2)
    recipe = str(TESTS.parent / "recipes/tones.toml")
    settings = ["data.generate=", f'data.train=["{tmp_path}/tones/train.jsonl"]',
                f'data.valid=["{tmp_path}/tones/valid.jsonl"]', "data.batch_frames=1500",
                "model.units=8", "train.epochs=1", "train.deterministic=true"]
    losses = []
    for name, more in (("local", []), ("ray", ["--engine", "ray", "--address", nodes.address])):
        done = subprocess.run([sys.executable, "-m", "asr", "train", recipe, str(tmp_path / name),
                               "--quiet", *(f"--set={one}" for one in settings), *more],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        losses.append([(row["loss"], row["valid_loss"]) for row in read_log(tmp_path / name)
                       if row["event"] == "epoch"])
    assert losses[0] == losses[1] and len(losses[0]) == 1


def several_processes():
    path = TESTS.parent / "benchmarks" / "several_processes.py"
    spec = importlib.util.spec_from_file_location("several_processes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.tf
@pytest.mark.skipif(not os.path.exists("/proc/self/cwd"), reason="workers are found in /proc")
def test_a_training_in_the_cluster_goes_on_when_a_worker_is_killed(nodes, tmp_path):
    """The losses of every epoch are those of two processes of TF_CONFIG that ran through."""
    pytest.importorskip("tensorflow")
    from asr.corpora.tones import generate

    run = several_processes()
    generate(tmp_path / "tones", num_train=24, num_valid=8, num_test=2)
    settings = ["data.generate=", f'data.train=["{tmp_path}/tones/train.jsonl"]',
                f'data.valid=["{tmp_path}/tones/valid.jsonl"]', "data.batch_frames=1500",
                "model.units=8", "train.epochs=12", "train.ema=0.9", "train.deterministic=true"]
    command = [sys.executable, "-m", "asr", "train", str(run.RECIPE), "ray",
               *(f"--set={one}" for one in settings), "--engine", "ray", "--address",
               nodes.address, "--workers", "2"]
    with open(tmp_path / "said", "w") as said, subprocess.Popen(
            command, stdout=said, stderr=said, cwd=tmp_path) as driver:
        wait_for(lambda: run.epochs_of(tmp_path / "ray") or driver.poll() is not None, 3_600)
        assert driver.poll() is None, (tmp_path / "said").read_text()
        workers = workers_in(tmp_path, driver.pid)
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
    text = (tmp_path / "said").read_text()
    assert driver.returncode == 0, text
    assert text.count("A worker was lost") == 1 and "12 epochs" in text
    assert text.count("training utterances") == 2, "each start says it once"
    assert not (tmp_path / "ray" / ".ray").exists()
    assert run.finish(run.start(tmp_path / "whole", 2, settings)) == [0, 0]
    whole, killed = ({row["epoch"]: (row["loss"], row["valid_loss"], row["wer"]) for row in
                      run.epochs_of(tmp_path / name)} for name in ("whole", "ray"))
    assert killed == whole and len(whole) == 12


@pytest.mark.tf
def test_an_error_of_a_training_in_the_cluster_is_its_own_sentence(nodes, tmp_path, capfd):
    pytest.importorskip("tensorflow")
    command = ["train", str(TESTS.parent / "recipes/tones.toml"), str(tmp_path / "run"), "--engine",
               "ray", "--address", nodes.address, "--workers"]
    assert run([*command, "200"]) == EXIT_USAGE
    assert "the cluster has" in capfd.readouterr().err
    assert run([*command, "1", "--set", "data.max_seconds=0.1", "--set",
                "data.min_seconds=0.01"]) == EXIT_DATA
    assert "audio.too_long" in capfd.readouterr().err


DOCUMENTED = [shlex.split(line) for line in re.findall(
    r"^(asr [^\n#]*--engine ray[^\n#]*)", (TESTS.parent / "docs/scale.md").read_text("utf-8"),
    re.MULTILINE)]


def test_the_page_shows_a_command_of_every_kind():
    assert sorted({argv[1] for argv in DOCUMENTED}) == ["audit", "features", "train", "transcribe"]


@pytest.mark.tf
@pytest.mark.parametrize("argv", DOCUMENTED, ids=" ".join)
def test_the_commands_of_the_page(nodes, tmp_path, monkeypatch, capfd, argv):
    """Each line with "--engine ray" of docs/scale.md, with small data in place of the reader's."""
    if argv[1] == "train":
        pytest.importorskip("tensorflow")
    from asr.corpora.tones import generate

    monkeypatch.chdir(tmp_path)
    generate(tmp_path / "data", num_train=24, num_valid=8, num_test=4)
    (tmp_path / "my.toml").write_text(
        '[data]\ntrain = ["data/train.jsonl"]\nvalid = ["data/valid.jsonl"]\n'
        "[model]\nnum_layers = 1\nunits = 4\n[train]\nepochs = 1\n")
    places = {"/shared/recordings": str(tmp_path / "data"), "/shared/cache": str(tmp_path / "c"),
              "/shared/runs/mine": str(tmp_path / "run"), "auto": nodes.address, "4": "2",
              "asr/assets/clips": str(TESTS.parent / "asr/assets/clips"),
              "runs/mine": str(write_bundle(tmp_path / "tiny.asr"))}
    argv = [places.get(word, word) for word in argv]
    if "--address" not in argv:
        argv += ["--address", nodes.address]  # not another cluster on this machine
    code = run(argv[1:])
    said = capfd.readouterr()
    assert code in ((EXIT_OK, EXIT_DATA) if argv[1] == "audit" else (EXIT_OK,)), said.err
    made = {"transcribe": "transcripts/**/*.txt", "features": "c/*/*", "train": "run/best.asr"}
    assert argv[1] == "audit" or list(tmp_path.glob(made[argv[1]]))


def test_a_cluster_that_is_not_there(capsys):
    assert run(["transcribe", str(TESTS.parent / "asr/assets/clips"), "--engine", "ray",
                "--address", "127.0.0.1:1"]) == EXIT_USAGE
    assert "does not answer" in capsys.readouterr().err
