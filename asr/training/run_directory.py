"""The folder of one training run: locked, self-contained, checked against the recipe.

    recipe.toml      resolved          versions.json   packages, machine, run id
    excluded.jsonl   excluded utterances, with the reason
    data.json        alphabet, and a hash of the training data
    log.jsonl        one record per epoch and event       tensorboard/   the same for TensorBoard
    checkpoints/     last and best, by tf.train.CheckpointManager        best.asr   the bundle
    recordings.json  SHA-256 of the audio, to find recordings that are in both splits
    cache/           features, unless data.cache_dir is set

Only old checkpoints of the run are deleted from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

from asr.errors import NO_ROOM, CheckpointError, InputWarning, UsageError, shorten
from asr.files import lock, write_atomic
from asr.kernels import processors
from asr.parsing import parse_json, read_whole_objects
from asr.recipe import Recipe, dump_recipe, load_recipe, recipe_to_dict
from asr.versions import installed

# Settings that may change when a run is resumed: duration, paths and limits of data checks.
MAY_CHANGE = {"train.epochs", "train.max_minutes", "train.patience", "train.nonfinite_patience",
              "train.lost_after",
              "data.num_workers", "data.cache_dir", "data.max_bad_fraction"}
# What shows that a folder is a run, and what may be in one before its first: notes, recipes, logs
# of a shell, prepared features.
OF_A_RUN = (".lock", "recipe.toml", "versions.json", "checkpoints", "best.asr")
MAY_BE_THERE = {"cache", "lost+found"}, {".toml", ".md", ".txt", ".log", ".out", ".err", ".sh"}


class RunDirectory:
    """The folder of one run, locked while it is open.

    Args:
        path: created if it does not exist.

    Raises:
        UsageError: the path is a file, cannot be written, is locked by another training, or is a
            folder of something else.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        _refuse_others(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            raise UsageError(f"Cannot use {path} as a run directory: {error.strerror}. "
                             "Name a folder that can be written.", path=path) from error
        try:
            lock(self._lock.fileno())
        except OSError as error:
            self._lock.close()
            raise UsageError(f"{path} is in use by another training. Wait for it, stop it, or "
                             "name another run directory.", code="run.locked",
                             path=path) from error
        self.run_id = ""

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def bundle_path(self) -> Path:
        """The bundle of the best epoch so far."""
        return self.path / "best.asr"

    def begin(self, recipe: Recipe) -> None:
        """Check the recipe of a run that exists; write `recipe.toml` and `versions.json`.

        Raises:
            UsageError: the run was started with incompatible settings.
            CheckpointError: `versions.json` cannot be read.
        """
        recipe_path = self.path / "recipe.toml"
        if recipe_path.exists() and self._has_learnt():
            self._check_compatible(load_recipe(recipe_path), recipe)
        versions_path = self.path / "versions.json"
        if versions_path.exists():
            try:
                self.run_id = str(parse_json(versions_path.read_bytes())["run_id"])
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(f"{versions_path} is damaged ({error}); restore it or start "
                                      "a new run directory.", path=versions_path) from error
        else:
            self.run_id = uuid.uuid4().hex
            write_atomic(versions_path, json.dumps(
                {"run_id": self.run_id, **describe_machine()}, indent=2) + "\n")
        write_atomic(recipe_path, dump_recipe(recipe))

    def _has_learnt(self) -> bool:
        """Whether a checkpoint exists; before the first one any setting may be corrected."""
        return any((self.path / "checkpoints").rglob("ckpt-*")) or self.bundle_path.exists()

    def _check_compatible(self, old: Recipe, new: Recipe) -> None:
        before, after = _flat(recipe_to_dict(old)), _flat(recipe_to_dict(new))
        changed = [key for key in before if before[key] != after[key] and key not in MAY_CHANGE]
        if changed:
            details = "; ".join(f"{key} was {before[key]!r}, is {after[key]!r}" for key in changed)
            raise UsageError(f"incompatible: {self.path} was started with other settings: "
                             f"{details}. Restore them or train into a new run directory.",
                             code="run.incompatible", path=self.path)

    def check_data(self, alphabet: str, data_hash: str, contents: dict[str, str],
                   network: str = "") -> None:
        """Compare the data with those of the previous part of the run; write `data.json`.

        Args:
            alphabet: from the tokenizer; it defines the meaning of the labels.
            data_hash, contents, network: see `asr.training.preparation.Prepared`.

        Raises:
            UsageError: the network was trained with another alphabet, on other data, or is another
                network.
            CheckpointError: `data.json` cannot be read.
        """
        path = self.path / "data.json"
        before: dict = {}
        if path.exists() and self._has_learnt():
            try:
                before = parse_json(path.read_bytes())  # type: ignore[assignment]
                old, built = str(before["alphabet"]), str(before.get("network", ""))
                changed = before["sha256"] != data_hash
                earlier = dict(before["contents"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(f"{path} is damaged ({error}); restore it or start a new "
                                      "run directory.", path=path) from error
            if built != network:
                raise UsageError(f"incompatible: the network of {self.path} was built by "
                                 f"{built or 'asr.AcousticModel'}, this call builds it by "
                                 f"{network or 'asr.AcousticModel'}. Give asr.train the same "
                                 "build=, or train into a new run directory.",
                                 code="run.incompatible", path=self.path)
            if old != alphabet:
                raise UsageError(f"incompatible: {self.path} was started with the alphabet {old!r} "
                                 f"(vocab hash {_short_hash(old)}), these texts have {alphabet!r} "
                                 f"({_short_hash(alphabet)}). Restore the texts, or train into a "
                                 "new run directory; text.alphabet in the recipe keeps an alphabet "
                                 "whatever the texts are.", code="run.incompatible", path=self.path)
            if changed:
                raise UsageError(f"incompatible: {self.path} was started with other data: "
                                 f"{_difference(earlier, contents)}. Restore them, or train into a "
                                 "new run directory; train.initial_bundle in the recipe starts "
                                 "from the weights of this one.", code="run.data_changed",
                                 path=self.path)
        record = {**before, "alphabet": alphabet, "sha256": data_hash, "contents": contents}
        if network:
            record["network"] = network
        write_atomic(path, json.dumps(record, ensure_ascii=False, indent=1) + "\n")

    def remembered(self, name: str, find: Callable[[], int]) -> int:
        """A number that was found when the run began; found now if it has not begun.

        Args:
            name: its name in `data.json`, which `check_data` has written.
            find: measures it.
        """
        path = self.path / "data.json"
        record: dict = parse_json(path.read_bytes())  # type: ignore[assignment]
        if name not in record or not self._has_learnt():
            record[name] = find()
            write_atomic(path, json.dumps(record, ensure_ascii=False, indent=2) + "\n")
        return int(record[name])

    def log(self, record: dict) -> None:
        """Append one JSON line to `log.jsonl`."""
        line = json.dumps({"time": round(time.time(), 3), **record}, ensure_ascii=False)
        with open(self.path / "log.jsonl", "a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a process was killed while it wrote a line
                    line = "\n" + line
            file.write(f"{line}\n".encode())

    def write_jsonl(self, name: str, records: list[dict]) -> None:
        """Write or replace a JSONL file of this run."""
        write_atomic(self.path / name,
                     "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def _refuse_others(path: Path) -> None:
    """A folder of recordings, say, is no place for the files of a run.

    Raises:
        UsageError: it is neither new, nor empty, nor a run.
    """
    if not path.is_dir() or any((path / name).exists() for name in OF_A_RUN):
        return
    names, suffixes = MAY_BE_THERE
    others = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith(".")
                    and entry.name not in names and entry.suffix.lower() not in suffixes)
    if others:
        more = f" and {len(others) - 1:,} more" * (len(others) > 1)
        raise UsageError(f"{path} is no run, but holds {shorten(others[0], 80)}{more}. Name a new "
                         "folder.", path=path)


def _difference(before: dict[str, str], after: dict[str, str]) -> str:
    """What differs, with counts and the first names."""
    kinds = {"changed": [name for name in before if after.get(name, before[name]) != before[name]],
             "gone": [name for name in before if name not in after],
             "new": [name for name in after if name not in before]}
    found = [f"{len(names):,} {kind} (first {names[0]!r})" for kind, names in kinds.items()
             if names]
    return f"recordings or texts are {', '.join(found)}" if found else "their order is another"


def read_log(run_dir: str | Path) -> list[dict]:
    """The records of `log.jsonl`, without what a crash or a bad disk left of a line.

    It is written for people, and nothing is trained on it: damaged lines are left out, with one
    warning that counts them.
    """
    path = Path(run_dir) / "log.jsonl"
    if not path.exists():
        return []
    records, damaged = read_whole_objects(path)
    if damaged:
        warnings.warn(InputWarning(f"{path} has damaged lines, which are left out: {damaged:,}. "
                                   "They are reports for people; the run goes on.", "run.log"),
                      stacklevel=2)
    return records


def describe_machine() -> dict:
    """Versions of the packages and of Python, and the processor, for reproducing results."""
    return {"python": platform.python_version(), "platform": platform.platform(),
            "processor": _processor(), "cpus": processors.usable(), "packages": installed()}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:8]


def _flat(table: dict) -> dict:
    """{"train": {"epochs": 2}} -> {"train.epochs": 2}."""
    flat = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{name}": item for name, item in value.items()})
        else:
            flat[key] = value
    return flat
