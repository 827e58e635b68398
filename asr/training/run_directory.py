"""The folder of one training run: locked, self-contained, compatible with its recipe or refused.

    recipe.toml      resolved          versions.json   packages, machine, run id
    excluded.jsonl   utterances that were not trained on, with the reason
    data.json        alphabet, and a hash of what is trained on
    log.jsonl        one record an epoch and an event     tensorboard/   the same for TensorBoard
    checkpoints/     last and best, by tf.train.CheckpointManager        best.asr   the bundle
    recordings.json  SHA-256 of the audio, to find what is in two splits
    cache/           features, unless data.cache_dir says otherwise

Nothing in it is ever deleted but rotated checkpoints of our own.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
import uuid
from pathlib import Path

from asr.errors import CheckpointError, UsageError
from asr.files import lock, write_atomic
from asr.kernels import processors
from asr.recipe import Recipe, dump_recipe, load_recipe, recipe_to_dict
from asr.versions import installed

# What may change between two parts of one run: how long and on what, never what is learnt.
MAY_CHANGE = {"train.epochs", "train.max_minutes", "train.patience", "train.nonfinite_patience",
              "data.num_workers", "data.cache_dir", "data.max_bad_fraction"}


class RunDirectory:
    """One run's folder, held exclusively while it is open.

    Args:
        path: created if it does not exist.

    Raises:
        UsageError: the path is a file, cannot be written, or another training holds it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
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
        """Let go of the folder."""
        self._lock.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def bundle_path(self) -> Path:
        """Where the best model so far is."""
        return self.path / "best.asr"

    def begin(self, recipe: Recipe) -> bool:
        """Write or check `recipe.toml` and `versions.json`; True if the run existed before.

        Raises:
            UsageError: the run was begun with settings that cannot be mixed with these.
            CheckpointError: `versions.json` cannot be read.
        """
        recipe_path = self.path / "recipe.toml"
        existed = recipe_path.exists()
        if existed and self._has_learnt():
            self._check_compatible(load_recipe(recipe_path), recipe)
        versions_path = self.path / "versions.json"
        if versions_path.exists():
            try:
                self.run_id = str(json.loads(versions_path.read_text(encoding="utf-8"))["run_id"])
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(f"{versions_path} is damaged ({error}); restore it or start "
                                      "a new run directory.", path=versions_path) from error
        else:
            self.run_id = uuid.uuid4().hex
            write_atomic(versions_path, json.dumps(
                {"run_id": self.run_id, **describe_machine()}, indent=2) + "\n")
        write_atomic(recipe_path, dump_recipe(recipe))
        return existed

    def _has_learnt(self) -> bool:
        """Before the first checkpoint a wrong path or number in the recipe can be put right."""
        return any((self.path / "checkpoints").rglob("ckpt-*")) or self.bundle_path.exists()

    def _check_compatible(self, old: Recipe, new: Recipe) -> None:
        before, after = _flat(recipe_to_dict(old)), _flat(recipe_to_dict(new))
        changed = [key for key in before if before[key] != after[key] and key not in MAY_CHANGE]
        if changed:
            details = "; ".join(f"{key} was {before[key]!r}, is {after[key]!r}" for key in changed)
            raise UsageError(f"incompatible: {self.path} was begun with other settings: {details}. "
                             "Restore them or train into a new run directory.",
                             code="run.incompatible", path=self.path)

    def check_data(self, alphabet: str, data_hash: str) -> bool:
        """Hold the data against those of the part before, and write `data.json`.

        Args:
            alphabet: the tokenizer's; labels of another one mean other characters.
            data_hash: of everything that an epoch is planned from.

        Returns:
            True if the same alphabet writes other data: the run can go on, but not exactly.

        Raises:
            UsageError: what was learnt so far spells with another alphabet.
            CheckpointError: `data.json` cannot be read.
        """
        path = self.path / "data.json"
        changed = False
        if path.exists() and self._has_learnt():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
                old = str(before["alphabet"])
                changed = before["sha256"] != data_hash
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(f"{path} is damaged ({error}); restore it or start a new "
                                      "run directory.", path=path) from error
            if old != alphabet:
                raise UsageError(f"incompatible: {self.path} was begun with the alphabet {old!r} "
                                 f"(vocab hash {_short_hash(old)}), these texts have {alphabet!r} "
                                 f"({_short_hash(alphabet)}). Restore the texts, or train into a "
                                 "new run directory; text.alphabet in the recipe keeps an alphabet "
                                 "whatever the texts are.", code="run.incompatible", path=self.path)
        write_atomic(path, json.dumps({"alphabet": alphabet, "sha256": data_hash},
                                      ensure_ascii=False, indent=2) + "\n")
        return changed

    def log(self, record: dict) -> None:
        """Append one JSON line to `log.jsonl`."""
        line = json.dumps({"time": round(time.time(), 3), **record}, ensure_ascii=False)
        with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def write_jsonl(self, name: str, records: list[dict]) -> Path:
        """Write a whole JSONL file of this run."""
        path = self.path / name
        write_atomic(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
        return path


def read_log(run_dir: str | Path) -> list[dict]:
    """The records of `log.jsonl`; a last line torn by a crash is left out."""
    records = []
    path = Path(run_dir) / "log.jsonl"
    if not path.exists():
        return records
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def describe_machine() -> dict:
    """Package versions, Python, processor: what a number needs beside it."""
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
