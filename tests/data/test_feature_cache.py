"""Feature cache: right numbers, never stale, resumed, and no process left behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from asr.audio import content_hashes as content_hashes
from asr.audio import load_audio
from asr.augment import change_speed
from asr.data import cache as feature_cache
from asr.data import extraction as feature_pool
from asr.data.cache import build_cache, cache_key
from asr.errors import AsrError, AudioError, DataError, InputWarning, UsageError
from asr.features import FeatureExtractor, global_cmvn_statistics
from asr.manifest import Utterance
from asr.recipe import FeatureSettings

RATE = 16_000
SETTINGS = FeatureSettings(n_mels=20)


@pytest.fixture
def corpus(tmp_path, rng) -> list[Utterance]:
    """Twelve short recordings, two speakers."""
    (tmp_path / "audio").mkdir()
    utterances = []
    for index in range(12):
        samples = rng.uniform(-0.3, 0.3, 3_000 + 800 * index)
        path = tmp_path / "audio" / f"u{index}.wav"
        soundfile.write(path, samples, RATE)
        utterances.append(Utterance(f"u{index}", path, "text", len(samples) / RATE,
                                    speaker="ab"[index % 2]))
    return utterances


@pytest.fixture
def cache_dir(tmp_path) -> Path:
    return tmp_path / "cache"


def features_of(utterance: Utterance, speed=1.0, settings=SETTINGS) -> np.ndarray:
    audio = load_audio(utterance.audio, sample_rate=settings.sample_rate)
    return FeatureExtractor(settings).extract(change_speed(audio, speed))


def shards(cache_dir: Path) -> list[Path]:
    return sorted(cache_dir.glob("features-*/shard-*.safetensors"))


# --- the right numbers ------------------------------------------------------------------------

@pytest.mark.parametrize("num_workers", [1, 2])
def test_rows_hold_the_features_of_their_utterance(corpus, cache_dir, num_workers):
    """And the progress counts them."""
    speeds, seen = (0.9, 1.0, 1.1), []
    cache = build_cache(corpus, SETTINGS, cache_dir, speeds=speeds, num_workers=num_workers,
                        progress=lambda *state: seen.append(state))
    done, total, seconds = seen[-1]
    assert done == total == 36 and seen == sorted(seen)
    assert seconds == pytest.approx(sum(u.duration for u in corpus) * (1 / 0.9 + 1 + 1 / 1.1))
    assert [(row.id, row.speed) for row in cache.rows] == [
        (u.id, speed) for u in corpus for speed in speeds]
    assert len(cache) == 36 and cache.num_extracted == 36 and not cache.failed
    for index, row in enumerate(cache.rows):
        utterance = corpus[row.utterance_index]
        expected = features_of(utterance, row.speed)
        features = cache.read(index)
        np.testing.assert_allclose(features, expected, atol=1e-5)
        assert features.dtype == np.float32
        assert row.num_frames == len(expected) and row.speaker == utterance.speaker
        assert row.num_samples == pytest.approx(utterance.duration * RATE / row.speed, abs=1)


def test_what_is_read_outlives_the_cache(corpus, cache_dir):
    cache = build_cache(corpus, SETTINGS, cache_dir)
    features, expected = cache.read(3), features_of(corpus[3])
    del cache
    shards(cache_dir)[0].unlink()
    np.testing.assert_array_equal(features, expected)


@pytest.mark.parametrize("damage", ["cut", "removed", "a folder"])
def test_a_shard_that_fails_while_it_is_used_is_one_sentence(corpus, cache_dir, damage):
    """Mapped, a file that becomes shorter or a disk that fails would end the process (SIGBUS)."""
    cache = build_cache(corpus, SETTINGS, cache_dir)
    cache.read(3)
    for path in shards(cache_dir):
        if damage == "cut":
            os.truncate(path, 100)
        else:
            path.unlink()
            if damage == "a folder":
                path.mkdir()
    with pytest.raises(DataError, match="can no longer be read .*Check the disk") as error:
        cache.read(3)
    assert error.value.code == "cache.unreadable"


def test_parts_of_one_recording(tmp_path, cache_dir, rng):
    samples = rng.uniform(-0.3, 0.3, RATE * 4)
    soundfile.write(tmp_path / "long.wav", samples, RATE, subtype="FLOAT")
    parts = [Utterance(f"p{k}", tmp_path / "long.wav", "", 1.0, offset=float(k)) for k in range(4)]
    cache = build_cache(parts, SETTINGS, cache_dir)
    for k in range(4):
        expected = FeatureExtractor(SETTINGS).extract(samples[k * RATE:(k + 1) * RATE])
        np.testing.assert_allclose(cache.read(k), expected, atol=1e-4)


def test_twins_are_made_once(corpus, cache_dir):
    twins = [*corpus, *(replace(u, id=f"twin-{u.id}") for u in corpus)]
    cache = build_cache(twins, SETTINGS, cache_dir)
    assert cache.num_extracted == 12 and len(cache) == 24
    np.testing.assert_array_equal(cache.read(2), cache.read(14))


def test_statistics_are_those_of_speed_one(corpus, cache_dir):
    cache = build_cache(corpus, SETTINGS, cache_dir, speeds=(1.0, 1.1))
    expected = global_cmvn_statistics(features_of(u) for u in corpus)
    np.testing.assert_allclose(cache.statistics(), expected, rtol=1e-4)
    only = global_cmvn_statistics([features_of(corpus[0], 1.1)])
    np.testing.assert_allclose(cache.statistics([1]), only, rtol=1e-4)


def test_no_utterances_make_an_empty_cache(cache_dir):
    cache = build_cache([], SETTINGS, cache_dir)
    assert len(cache) == 0 and cache.failed == []


def test_shards_are_safetensors(corpus, cache_dir):
    cache = build_cache(corpus, SETTINGS, cache_dir)
    kept = [array for shard in shards(cache_dir) for array in load_file(shard).values()]
    expected = [cache.read(index) for index in range(len(cache))]
    assert len(kept) == len(expected) == 12 and kept[0].shape[1] == 20
    for array in expected:
        assert any(np.array_equal(array, other) for other in kept)


# --- never stale, never twice -----------------------------------------------------------------

def test_a_second_time_nothing_is_made(corpus, cache_dir):
    first = build_cache(corpus, SETTINGS, cache_dir)
    before = {path: path.stat().st_mtime_ns for path in shards(cache_dir)}
    second = build_cache(corpus, SETTINGS, cache_dir)
    assert second.num_extracted == 0 and second.rows == first.rows
    assert {path: path.stat().st_mtime_ns for path in shards(cache_dir)} == before


def test_more_utterances_and_speeds_are_added(corpus, cache_dir):
    build_cache(corpus[:5], SETTINGS, cache_dir)
    cache = build_cache(corpus[::-1], SETTINGS, cache_dir, speeds=(1.1, 1.0))
    assert cache.num_extracted == 24 - 5
    for index, row in enumerate(cache.rows):
        np.testing.assert_allclose(
            cache.read(index), features_of(corpus[::-1][row.utterance_index], row.speed), atol=1e-5)


def test_a_changed_file_is_made_again(corpus, cache_dir, rng):
    build_cache(corpus, SETTINGS, cache_dir)
    path = corpus[4].audio
    status, length = path.stat(), path.stat().st_size
    soundfile.write(path, rng.uniform(-0.3, 0.3, round(corpus[4].duration * RATE)), RATE)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as deceitful as possible
    assert path.stat().st_size == length and path.stat().st_mtime_ns == status.st_mtime_ns
    cache = build_cache(corpus, SETTINGS, cache_dir)
    assert cache.num_extracted == 1
    np.testing.assert_allclose(cache.read(4), features_of(corpus[4]), atol=1e-5)


def test_hashes_are_remembered_only_when_settled(corpus, tmp_path, monkeypatch):
    memory = tmp_path / "hashes.json"
    paths = [u.audio for u in corpus]
    content_hashes.hash_files(paths, memory=memory)
    assert not memory.exists()  # the files are younger than two seconds
    monkeypatch.setattr(content_hashes, "SETTLED_NS", -10**12)
    hashes = content_hashes.hash_files(paths, memory=memory)
    assert len(json.loads(memory.read_text())) == 12
    monkeypatch.setattr(hashlib, "sha256", lambda *_: 1 / 0)
    assert content_hashes.hash_files(paths, memory=memory) == hashes
    with pytest.raises(ZeroDivisionError):
        memory.write_text("{not json")
        content_hashes.hash_files(paths, memory=memory)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_large_and_small_files_hash_alike(tmp_path, size):
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(range(250)) * (size // 250) + bytes(size % 250))
    (found,) = content_hashes.hash_files([path], memory=tmp_path / "a.json").values()
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("change", [
    {"n_mels": 21}, {"sample_rate": 8_000}, {"n_fft": 1_024}, {"win_length": 300},
    {"hop_length": 100}, {"f_min": 20.0}, {"f_max": 7_000.0}, {"kind": "mfcc"}, {"kind": "pcen"},
    {"deltas": 1}, {"htk": True}, {"norm": "none"}, {"window": "hamming"}, {"preemphasis": 0.97},
    {"trim_db": 30.0}])
def test_another_setting_is_another_folder(corpus, cache_dir, change):
    build_cache(corpus[:1], SETTINGS, cache_dir)
    other = replace(SETTINGS, **change)
    cache = build_cache(corpus[:1], other, cache_dir)
    assert cache.num_extracted == 1 and cache_key(other) != cache_key(SETTINGS)
    np.testing.assert_allclose(cache.read(0), features_of(corpus[0], settings=other), atol=1e-4)


def test_what_does_not_change_the_numbers_shares_the_folder():
    assert cache_key(SETTINGS) == cache_key(replace(SETTINGS, cmvn="map", cmvn_prior=7,
                                                    cmvn_range_db=30.0))
    assert cache_key(SETTINGS) == cache_key(replace(SETTINGS, n_mfcc=20))
    mfcc = replace(SETTINGS, kind="mfcc")
    assert cache_key(mfcc) != cache_key(replace(mfcc, n_mfcc=12))


def test_every_field_of_the_settings_is_in_the_key(monkeypatch):
    before = cache_key(SETTINGS)
    for name in ("FEATURES_VERSION", "RESAMPLER", "FORMAT_VERSION"):
        with monkeypatch.context() as patch:
            patch.setattr(feature_cache, name, "another")
            assert cache_key(SETTINGS) != before
    monkeypatch.setattr(feature_cache, "installed", lambda names: dict.fromkeys(names, "0.99"))
    assert cache_key(SETTINGS) != before  # another librosa may round otherwise


@pytest.mark.parametrize("damage", ["shard gone", "shard cut", "header cut", "header damaged",
                                    "bit of a feature", "bit of the header", "offset outside",
                                    "offset below 0", "deep", "long number"])
def test_damaged_shards_are_made_again(corpus, cache_dir, damage):
    build_cache(corpus, SETTINGS, cache_dir)
    (shard,) = shards(cache_dir)
    if damage == "shard gone":
        shard.unlink()
    elif damage == "shard cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "header cut":
        shard.write_bytes(shard.read_bytes()[:30])
    elif damage == "header damaged":
        shard.write_bytes(shard.read_bytes().replace(b'"shape"', b'"shapE"'))
    elif damage.startswith("bit"):
        data = bytearray(shard.read_bytes())
        data[len(data) // 2 if damage == "bit of a feature" else 60] ^= 2
        shard.write_bytes(data)
    else:
        data = shard.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        first = next(key for key in header if key != "__metadata__")
        if damage.startswith("offset"):
            shift = 10**9 if damage == "offset outside" else -(10**9)
            header[first]["data_offsets"] = [n + shift for n in header[first]["data_offsets"]]
        text = {"deep": "[" * 5_000, "long number": '{"a": ' + "9" * 5_000 + "}"}.get(
            damage, json.dumps(header)).encode()
        shard.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])
    sentinel = shard.parent / "notes of the user.txt"
    sentinel.write_text("mine")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", InputWarning)
        cache = build_cache(corpus, SETTINGS, cache_dir)
    assert [str(shard) in str(one.message) for one in said] == [True] * (damage != "shard gone")
    assert cache.num_extracted == 12 and sentinel.exists()
    np.testing.assert_allclose(cache.read(7), features_of(corpus[7]), atol=1e-5)


# --- what cannot be used ----------------------------------------------------------------------

@pytest.fixture
def spoilt(corpus, tmp_path) -> list[Utterance]:
    corpus[1].audio.write_bytes(b"")
    corpus[3].audio.write_bytes(corpus[3].audio.read_bytes()[:-500])
    missing = Utterance("gone", tmp_path / "gone.wav", "", 1.0)
    beyond = replace(corpus[5], id="beyond", offset=9.0)
    return [*corpus, missing, beyond]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_unusable_recordings_are_listed(spoilt, cache_dir, num_workers):
    cache = build_cache(spoilt, SETTINGS, cache_dir, speeds=(1.0, 1.1), num_workers=num_workers)
    assert {(r["id"], r["code"]) for r in cache.failed} == {
        ("u1", "audio.empty"), ("u3", "audio.truncated"), ("gone", "audio.missing"),
        ("beyond", "audio.offset")}
    for record in cache.failed:
        assert set(record) == {"path", "stage", "code", "message", "id"}
        assert record["stage"] == "features"
    assert len(cache) == 20 and {row.id for row in cache.rows}.isdisjoint(
        r["id"] for r in cache.failed)
    assert build_cache(spoilt, SETTINGS, cache_dir).failed == cache.failed


@pytest.mark.parametrize("num_workers", [1, 2])
def test_on_error_fail_raises_the_first(spoilt, cache_dir, num_workers):
    with pytest.raises(AudioError, match="Utterance '(u1|u3|gone|beyond)'"):
        build_cache(spoilt, SETTINGS, cache_dir, on_error="fail", num_workers=num_workers)


def test_limits_hold_for_kept_features_too(corpus, cache_dir):
    build_cache(corpus, SETTINGS, cache_dir)
    cache = build_cache(corpus, SETTINGS, cache_dir, min_seconds=0.3, max_seconds=0.5)
    assert {row.id for row in cache.rows} == {u.id for u in corpus if 0.3 <= u.duration <= 0.5}
    assert {r["code"] for r in cache.failed} == {"audio.too_short", "audio.too_long"}


def test_a_file_that_changes_between_hash_and_decode(corpus, cache_dir, monkeypatch):
    original = feature_cache.hash_files

    def hash_then_touch(paths, **arguments):
        hashes = original(paths, **arguments)
        os.utime(corpus[2].audio, ns=(1, 1))
        return hashes

    monkeypatch.setattr(feature_cache, "hash_files", hash_then_touch)
    cache = build_cache(corpus, SETTINGS, cache_dir)
    assert [(r["id"], r["code"]) for r in cache.failed] == [("u2", "audio.changed")]


@pytest.mark.parametrize("arguments, message", [
    ({"speeds": ()}, "different factors"), ({"speeds": (1.0, 1.0)}, "different factors"),
    ({"speeds": (3.0,)}, "different factors"), ({"on_error": "ignore"}, "on_error")])
def test_arguments_that_cannot_be(corpus, cache_dir, arguments, message):
    with pytest.raises(UsageError, match=message):
        build_cache(corpus, SETTINGS, cache_dir, **arguments)


def test_a_folder_that_cannot_be_made(corpus, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be made"):
        build_cache(corpus, SETTINGS, tmp_path / "file" / "cache")


# --- processes --------------------------------------------------------------------------------

def test_a_bar_is_shown_on_a_terminal(corpus, cache_dir, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")  # a dumb one, such as that of an editor, gets no bar
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    build_cache(corpus, SETTINGS, cache_dir)
    captured = capsys.readouterr()
    assert "features" in captured.err and not captured.out


@pytest.mark.parametrize("failpoint, survivors", [
    ("features.worker", 0), ("file.before_rename", 0), ("file.after_rename", 1)])
def test_a_killed_worker_is_an_error_and_the_work_resumes(
        corpus, cache_dir, monkeypatch, failpoint, survivors):
    """P3, and no process or lock is left."""
    build_cache([], SETTINGS, cache_dir)  # the folder's own files are not what shall fail
    with monkeypatch.context() as patch:
        patch.setenv("ASR_TESTING", "1")
        patch.setenv("ASR_FAILPOINT", failpoint)
        with pytest.raises(AsrError, match="killed by SIGKILL"):
            build_cache(corpus, SETTINGS, cache_dir, num_workers=2)
    assert not [t for t in threading.enumerate() if t.name == feature_pool.THREAD_NAME]
    assert len(shards(cache_dir)) >= survivors
    cache = build_cache(corpus, SETTINGS, cache_dir)
    assert (cache.num_extracted == 12) == (survivors == 0) and len(cache) == 12
    assert not list(cache.folder.glob("*.tmp")) and not list(cache.folder.glob(".*.tmp"))


def test_a_worker_killed_from_outside(corpus, cache_dir, monkeypatch):
    spawn, processes = feature_pool._spawn, []

    def spawn_and_kill(log):
        process = spawn(log)
        processes.append(process)
        if len(processes) == 2:
            os.kill(process.pid, signal.SIGKILL)
        return process

    monkeypatch.setattr(feature_pool, "_spawn", spawn_and_kill)
    monkeypatch.setattr(feature_cache, "MIN_SHARD_SECONDS", 0.1)
    with pytest.raises(AsrError, match="killed by SIGKILL"):
        build_cache(corpus, SETTINGS, cache_dir, num_workers=2)
    assert all(process.returncode is not None for process in processes)


def test_a_worker_that_cannot_start_says_why(corpus, cache_dir, monkeypatch):
    monkeypatch.setattr(feature_pool, "_START", "raise SystemExit('no such thing')")
    with pytest.raises(AsrError, match="exit code 1: no such thing"):
        build_cache(corpus, SETTINGS, cache_dir, num_workers=2)


def test_interrupted_work_resumes_at_the_next_shard(corpus, cache_dir, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_SECONDS", 0.5)
    monkeypatch.setattr(feature_cache, "MIN_SHARD_SECONDS", 0.5)

    def interrupt(done, total, seconds):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache(corpus, SETTINGS, cache_dir, progress=interrupt)
    kept = shards(cache_dir)
    assert kept
    cache = build_cache(corpus, SETTINGS, cache_dir)
    assert 0 < cache.num_extracted < 12 and len(cache) == 12
    assert set(kept) < set(shards(cache_dir))
    for index, utterance in enumerate(corpus):
        np.testing.assert_allclose(cache.read(index), features_of(utterance), atol=1e-5)


def test_interrupted_processes_end_and_their_shards_stay(corpus, cache_dir, monkeypatch):
    monkeypatch.setattr(feature_cache, "MIN_SHARD_SECONDS", 0.3)

    def interrupt(done, total, seconds):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache(corpus, SETTINGS, cache_dir, num_workers=2, progress=interrupt)
    assert not [t for t in threading.enumerate() if t.name == feature_pool.THREAD_NAME]
    assert len(build_cache(corpus, SETTINGS, cache_dir)) == 12


def test_a_full_disk_is_one_sentence(corpus, cache_dir, monkeypatch):
    build_cache([], SETTINGS, cache_dir)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("asr.data.shards.write_atomic", full)
        with pytest.raises(AsrError, match="No space left on device. Make room") as caught:
            build_cache(corpus, SETTINGS, cache_dir)
        assert caught.value.code == "cache.write"
    patch_child = feature_pool._START.replace(
        "from asr.data.worker import main;",
        "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096)); "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from asr.data.worker import main;")
    monkeypatch.setattr(feature_pool, "_START", patch_child)
    with pytest.raises(AsrError, match="File too large. Make room"):
        build_cache(corpus, SETTINGS, cache_dir, num_workers=2)
    assert shards(cache_dir) == []


def test_two_processes_share_one_folder(corpus, cache_dir, capsys, monkeypatch):
    """The second waits, then finds everything done."""
    started, results = threading.Event(), []

    def slow(done, total, seconds):
        started.set()
        time.sleep(0.05)

    first = threading.Thread(target=lambda: results.append(
        build_cache(corpus, SETTINGS, cache_dir, progress=slow)))
    first.start()
    started.wait(20)
    second = build_cache(corpus, SETTINGS, cache_dir)
    first.join()
    assert second.num_extracted == 0 and results[0].num_extracted == 12
    assert "Waiting for another process" in capsys.readouterr().err


def test_a_script_without_a_main_guard_makes_features_with_librosa_and_without_tensorflow(
        corpus, cache_dir, tmp_path):
    """In workers, then in the script's own process.

    `multiprocessing` would start this script again in each of its processes.
    """
    rows = [(u.id, str(u.audio), u.duration) for u in corpus]
    (tmp_path / "script.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom asr.data.cache import build_cache\n"
        "from asr.manifest import Utterance\nfrom asr.recipe import FeatureSettings\n"
        f"rows = [Utterance(i, Path(p), '', d) for i, p, d in {rows!r}]\n"
        "for workers in (2, 1):\n"
        f"    cache = build_cache(rows, FeatureSettings(n_mels=10 * workers), {str(cache_dir)!r}, "
        "num_workers=workers)\n"
        "    print(len(cache), [m for m in ('librosa', 'tensorflow', 'keras')"
        " if m in sys.modules])\n")
    done = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True,
                          text=True, timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(
                              [str(Path(__file__).parents[2]), *sys.path])})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["12 []", "12 ['librosa']"]


def test_many_rows_choose_processes_and_few_do_not(corpus, monkeypatch):
    job = feature_cache.Cut("a", 0.0, 1.0, (), (("k", 1.0),), "a")
    assert feature_cache._count_workers(0, [job] * 50) == 1
    assert feature_cache._count_workers(3, [job]) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert feature_cache._count_workers(0, [job] * 500) == 3


def test_tasks_are_shared_out_and_bounded():
    jobs = [feature_cache.Cut("a", 0.0, 10.0, (), (("k", 1.0),), "a")] * 1_000
    for workers in (1, 4):
        tasks = feature_cache._cut(jobs, workers)
        assert [job for task in tasks for job in task] == jobs
        assert max(len(task) for task in tasks) * 10 <= feature_cache.SHARD_SECONDS + 10
        assert workers == 1 or len(tasks) >= 8 * workers
    assert feature_cache._cut([], 2) == []
