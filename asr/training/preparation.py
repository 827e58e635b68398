"""Prepare the data of a run: read manifests, check and normalise texts, cache features.

In: a recipe. Out: `Prepared` with tokenizer, feature caches, clips, and excluded utterances with
their reasons. TensorFlow is not imported yet: the feature processes are spawned before it.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.audio.content_hashes import hash_files
from asr.audio.probing import probe_all
from asr.augment import noise_files
from asr.data.batches import gather_clips
from asr.data.cache import FeatureCache, Spread, build_cache, missing_bytes
from asr.data.items import Clip, PlanSettings
from asr.data.recordings import Recordings
from asr.errors import DataError, ManifestError, RecipeError
from asr.features import training_statistics
from asr.features.lengths import feasible, output_length
from asr.manifest import Utterance, read_manifest
from asr.recipe import Recipe
from asr.terminal import plural
from asr.text import normalize
from asr.text.tokenizer import CharTokenizer, build_alphabet, describe
from asr.training.room import require_room
from asr.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Split:
    """The training or the validation set: feature cache, clips, texts by utterance id."""

    cache: FeatureCache | Recordings
    clips: list[Clip]
    texts: dict[str, str]


@dataclass(frozen=True)
class Prepared:
    """The prepared data of a run.

    Attributes:
        tokenizer: maps texts to labels.
        train, valid: cached and labelled.
        cmvn: (mean, std) of the training features, if features.cmvn is "global" or "map".
        epoch_clips: training clips of one epoch, repeated according to data.repeats.
        excluded: one record per excluded utterance: id, split, code, message.
        plan: batch bounds and length-changing augmentation.
        noise_hash: hash of the bytes of the noise recordings; empty without noise.
        network: the name of the function that builds the user's own network; "": none.
        lowest_rate: Hz, of up to 100 training recordings evenly spread; 0: none could be probed.
    """

    tokenizer: CharTokenizer
    train: Split
    valid: Split
    cmvn: tuple[np.ndarray, np.ndarray] | None
    epoch_clips: list[Clip]
    excluded: list[dict]
    plan: PlanSettings
    noise_hash: str = ""
    network: str = ""
    lowest_rate: int = 0

    @property
    def data_hash(self) -> str:
        """SHA-256 of the ids of the epoch clips, in order, and of what `contents` says of each."""
        contents = self.contents
        listed = [(clip.id, contents[f"train {clip.id}"]) for clip in self.epoch_clips]
        return _digest((listed, sorted(contents.items())))

    @property
    def contents(self) -> dict[str, str]:
        """What the run is trained on and measured with: a hash by split and utterance id.

        Each is of labels, lengths, and the bytes of the recording; "noise" is of all noises.
        """
        table = {f"{name} {clip.id}": _digest(
            (clip.labels, [(r.speed, r.num_frames, split.cache.rows[r.row].key)
                           for r in clip.renditions]))[:16]
            for name, split in (("train", self.train), ("valid", self.valid))
            for clip in split.clips}
        return table | ({"noise": self.noise_hash} if self.noise_hash else {})


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "surrogateescape")).hexdigest()


def prepare(recipe: Recipe, run: RunDirectory, say: Callable[[str], None],
            network: str = "", spread: Spread | None = None) -> Prepared:
    """Read manifests, check and normalise texts, extract features.

    Args:
        recipe: the settings of the run.
        run: holds generated data and the default cache.
        say: prints one line.
        network: see `Prepared`.
        spread: see `asr.data.cache.build_cache`.

    Raises:
        ManifestError: a manifest cannot be read.
        DataError: more than `data.max_bad_fraction` of a split is excluded, or everything is, or
            every text is empty.
        TrainingStopped: features and checkpoints do not fit on the disk.
    """
    manifests = _manifests(recipe, run)
    excluded: list[dict] = []
    texts: dict[str, dict[str, str]] = {}
    chosen: dict[str, list[Utterance]] = {}
    sizes: dict[str, int] = {}
    for split, utterances in manifests.items():
        sizes[split] = len(utterances)
        texts[split] = {u.id: normalize(u.text, recipe.text.normalizer) for u in utterances}
        chosen[split] = of_usable_length(utterances, recipe, split, excluded)
    alphabet = recipe.text.alphabet or build_alphabet(texts["train"].values())
    tokenizer = CharTokenizer(alphabet)
    for split in chosen:
        chosen[split] = writable(chosen[split], texts[split], tokenizer, split, excluded,
                                 non_speech=recipe.data.non_speech)
    run.write_jsonl("excluded.jsonl", excluded)
    listed = run.path / "excluded.jsonl"
    refuse_too_many(excluded, sizes, recipe, listed)  # before the slow feature extraction
    _warn_of_overlap(chosen, run.path / "recordings.json", say)
    wanted_speeds = {"train": recipe.augment.speeds, "valid": (1.0,)}
    folder = (Path(recipe.data.cache_dir) if recipe.data.cache_dir else run.path / "cache")
    if spread:
        folder = folder.absolute()  # for workers in other folders
    require_room(recipe, run.path, tokenizer.vocab_size, folder, sum(
        missing_bytes(chosen[split], recipe.features, folder, speeds=speeds,
                      allow_truncated=recipe.data.allow_truncated)
        for split, speeds in wanted_speeds.items() if recipe.data.reader == "cache"))
    splits = {}
    for split, speeds in wanted_speeds.items():
        cache = cached(chosen[split], recipe, folder, speeds, say, spread)
        splits[split] = labelled(split, cache, chosen[split], texts[split], tokenizer, recipe,
                                 excluded)
        if not any(clip.labels for clip in splits[split].clips):
            raise DataError(f"Nothing is said in any recording of data.{split}; add some with a "
                            "text.")
    run.write_jsonl("excluded.jsonl", excluded)
    refuse_too_many(excluded, sizes, recipe, listed)
    say_excluded(excluded, sizes, listed, say)
    for split in splits:
        if cut := len({row.id for row in splits[split].cache.rows if row.cut}):
            say(f"{split}: {plural(cut, 'recording is', 'recordings are')} cut; what is left of "
                "them is used (data.allow_truncated).")
    cmvn = statistics_of(splits["train"], recipe)
    repeats = _repeats(recipe)
    epoch_clips = [clip for clip in splits["train"].clips
                   for _ in range(repeats.get(clip.id, 1))]
    return Prepared(tokenizer, splits["train"], splits["valid"], cmvn, epoch_clips, excluded,
                    PlanSettings.from_recipe(recipe, tokenizer), _noise_hash(recipe, folder),
                    network, _lowest_rate(chosen["train"]))


def _lowest_rate(utterances: list[Utterance]) -> int:
    """The lowest sample rate of some local recordings, in Hz; 0 without any."""
    local = [u.audio for u in utterances if isinstance(u.audio, Path)]
    probes = probe_all(local[::1 + len(local) // 100], num_workers=1)
    return min((probe.info.sample_rate for probe in probes.values() if probe.info), default=0)


def statistics_of(split: Split, recipe: Recipe) -> tuple[np.ndarray, np.ndarray] | None:
    """(mean, std) of the features at speed 1, if features.cmvn needs them.

    Of recordings in which something is said: with "map" they are what is expected of a voice
    before there is enough of it. Summed in the order of the ids: the order of a manifest
    changes nothing, not even by rounding.
    """
    spoken = {clip.id for clip in split.clips if clip.labels}
    rows = sorted((row.id, i) for i, row in enumerate(split.cache.rows)
                  if row.speed == 1.0 and row.id in spoken)
    return training_statistics((split.cache.read(i) for _, i in rows), recipe.features)


def require_files(recipe: Recipe) -> None:
    """Check that the files of a recipe exist, before a run directory is created.

    Raises:
        RecipeError: there is no manifest in it, or its noise folder or bundle does not exist.
        ManifestError: a manifest does not exist; the message has the command that makes it.
    """
    noise = recipe.augment.noise_dir if recipe.augment.noise_probability else ""
    for key, path in (("augment.noise_dir", noise),
                      ("train.initial_bundle", recipe.train.initial_bundle)):
        if path and not Path(path).exists():
            raise RecipeError(f"{key} is {path!r}, which does not exist in {Path.cwd()}. Correct "
                              f"the path: --set {key}=PATH")
    if recipe.data.generate:
        return
    if not recipe.data.train or not recipe.data.valid:
        raise RecipeError("data.train and data.valid must each name at least one manifest; "
                          "`asr prepare` makes them from a corpus.")
    missing = [path for path in (*recipe.data.train, *recipe.data.valid) if not Path(path).exists()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ManifestError(f"The manifest {missing[0]}{more} of the recipe does not exist in "
                            f"{Path.cwd()}. Make it: asr prepare CORPUS SOURCE "
                            f"{Path(missing[0]).parent}; the head of the recipe says from what.",
                            code="manifest.unreadable", path=missing[0])


def _manifests(recipe: Recipe, run: RunDirectory) -> dict[str, list[Utterance]]:
    if recipe.data.generate == "tones":
        from asr.corpora.tones import generate
        made = generate(run.path / "tones", seed=recipe.seed)
        return {"train": made["train"], "valid": made["valid"]}
    root = recipe.data.audio_root or None
    read = {}
    for split, paths in (("train", recipe.data.train), ("valid", recipe.data.valid)):
        read[split] = [u for path in paths for u in read_manifest(path, audio_root=root)]
        repeated = [name for name, count in Counter(u.id for u in read[split]).items() if count > 1]
        if repeated:
            raise DataError(f"data.{split}: {plural(len(repeated), 'id occurs', 'ids occur')} "
                            f"twice over its manifests, first {repeated[0]!r}; ids must be unique.",
                            code="manifest.duplicate_id")
    return read


def _repeats(recipe: Recipe) -> dict[str, int]:
    """Repetitions per epoch of each training utterance that is used more than once."""
    root = recipe.data.audio_root or None
    return {u.id: times for path, times in zip(recipe.data.train, recipe.data.repeats, strict=False)
            if times > 1 for u in read_manifest(path, audio_root=root)}


def of_usable_length(utterances: list[Utterance], recipe: Recipe, split: str,
                     excluded: list[dict]) -> list[Utterance]:
    """Exclude what is shorter than data.min_seconds or longer than max_seconds."""
    low, high = recipe.data.min_seconds, recipe.data.max_seconds
    kept = []
    for u in utterances:
        if low <= u.duration <= high:
            kept.append(u)
            continue
        code = "audio.too_short" if u.duration < low else "audio.too_long"
        excluded.append(_record(u.id, split, code, f"{u.duration:.2f} s is outside {low} .. "
                                                   f"{high} s (data.min_seconds, max_seconds)"))
    return kept


def writable(utterances: list[Utterance], texts: dict[str, str], tokenizer: CharTokenizer,
             split: str, excluded: list[dict], *, non_speech: bool = False) -> list[Utterance]:
    """Exclude utterances with characters outside the alphabet, or empty texts.

    With `non_speech`, a text without any character says that nothing is said, and stays; one of
    which the normaliser leaves nothing does not.
    """
    kept = []
    for u in utterances:
        text = texts[u.id]
        unknown = tokenizer.unknown(text)
        if not text.strip() and not (non_speech and not u.text):
            excluded.append(_record(u.id, split, "text.empty", f"no label is left of {u.text!r}"))
        elif unknown:
            excluded.append(_record(u.id, split, "text.out_of_alphabet",
                                    f"{text!r} holds {', '.join(map(describe, unknown))}"))
        else:
            kept.append(u)
    return kept


def _noise_hash(recipe: Recipe, folder: Path) -> str:
    if not recipe.augment.noise_probability:
        return ""
    files = noise_files(recipe.augment.noise_dir, recipe.augment.noise_names)
    hashes = hash_files(files, memory=folder / "hashes.json")
    return _digest(sorted(getattr(found, "sha256", "") for found in hashes.values()))[:16]


def cached(utterances: list[Utterance], recipe: Recipe, folder: Path,
           speeds: tuple[float, ...], say: Callable[[str], None],
           spread: Spread | None = None) -> FeatureCache | Recordings:
    """The features of the utterances at these speeds, extracted where `folder` lacks them.

    Or, with data.reader = "tensorflow-io", what reads the recordings in the graph.
    """
    if not utterances:
        raise DataError("No utterance is left after the checks; `asr validate` lists why.")
    if recipe.data.reader == "tensorflow-io":
        return Recordings(utterances, recipe, speeds)
    started = time.perf_counter()
    cache = build_cache(utterances, recipe.features, folder, speeds=speeds,
                        num_workers=recipe.data.num_workers,
                        allow_truncated=recipe.data.allow_truncated, spread=spread)
    if cache.num_extracted:
        took = time.perf_counter() - started
        hop = recipe.features.hop_length / recipe.features.sample_rate
        audio = hop * sum(r.num_frames for r in cache.rows) * cache.num_extracted / len(cache.rows)
        say(f"features of {audio / 3600:.2f} h extracted in {took:.0f} s, "
            f"{audio / took:,.0f} x real time")
    return cache


def labelled(split: str, cache: FeatureCache | Recordings, utterances: list[Utterance],
             texts: dict[str, str], tokenizer: CharTokenizer, recipe: Recipe,
             excluded: list[dict]) -> Split:
    """Clips with labels; excludes failed recordings and texts that are too long for CTC."""
    failed = {record["id"] for record in cache.failed}
    excluded.extend(_record(r["id"], split, r["code"], r["message"]) for r in cache.failed)
    longest = {}
    for row in cache.rows:
        longest[row.id] = max(longest.get(row.id, 0), row.num_frames)
    labels = {}
    for u in utterances:
        if u.id in failed:
            continue
        encoded = tokenizer.encode(texts[u.id])
        frames = output_length(longest[u.id], recipe.training_model)
        if feasible(frames, encoded):
            labels[u.id] = encoded
        else:
            excluded.append(_record(u.id, split, "ctc.infeasible",
                                    f"{plural(len(encoded), 'label')} on {frames} output frames"))
    return Split(cache, gather_clips(cache.rows, labels), {k: texts[k] for k in labels})


def _warn_of_overlap(chosen: dict[str, list[Utterance]], memory: Path,
                     say: Callable[[str], None]) -> None:
    """Warn if recordings or ids are in both splits; for `asr validate` this is an error."""
    hashes = hash_files((u.audio for us in chosen.values() for u in us), memory=memory)

    def recordings(split: str) -> set:
        return {(getattr(hashes[u.audio], "sha256", u.audio), u.offset) for u in chosen[split]}

    shared = len(recordings("train") & recordings("valid"))
    ids = len({u.id for u in chosen["train"]} & {u.id for u in chosen["valid"]})
    if shared or ids:
        say(f"warning: {plural(shared, 'recording')} and {plural(ids, 'id')} are in both "
            "data.train and data.valid; the validation WER is too optimistic.")


def refuse_too_many(excluded: list[dict], sizes: dict[str, int], recipe: Recipe,
                    file: Path | None = None) -> None:
    """Stop if more utterances are excluded than the recipe allows; `file` lists all of them."""
    for split, size in sizes.items():
        records = [r for r in excluded if r["split"] == split]
        if len(records) > recipe.data.max_bad_fraction * size:
            raise DataError(f"{_summary(records, split, size, file)} That is more than "
                            f"data.max_bad_fraction = {recipe.data.max_bad_fraction}: fix them, "
                            "remove them from the manifest, or raise the limit.",
                            code="data.too_many_bad")


def say_excluded(excluded: list[dict], sizes: dict[str, int], file: Path | None,
                 say: Callable[[str], None]) -> None:
    """One line for each split that lost utterances."""
    for split, size in sizes.items():
        if records := [r for r in excluded if r["split"] == split]:
            say(_summary(records, split, size, file))


def _summary(records: list[dict], split: str, size: int, file: Path | None) -> str:
    counts = Counter(r["code"] for r in records)
    reasons = ", ".join(f"{n} {code}" for code, n in counts.most_common())
    return (f"{split}: {len(records)} of {plural(size, 'utterance')} cannot be used ({reasons}), "
            f"first {records[0]['id']!r}: {records[0]['message'].rstrip('.')}. "
            + (f"All: {file}." if file else ""))


def _record(utterance_id: str, split: str, code: str, message: str) -> dict:
    return {"id": utterance_id, "split": split, "code": code, "message": message}


def settings_summary(recipe: Recipe) -> str:
    """Describe the network in one line."""
    m = recipe.model
    front = (f"{m.stacking} frames stacked" if m.front_end == "stack" else
             f"2 convolutions of {m.conv_channels} channels")
    kept = ("every frame", "every 2nd frame", "every 3rd frame", "every 4th frame")
    edges = f", {m.edge_frames} quiet frames at both ends" * bool(m.edge_frames)
    if recipe.training_model != m:
        edges += f", {recipe.train.edge_frames} in training"
    return (f"{front}, {kept[m.subsampling - 1]} kept{edges}, {m.num_layers} x {m.units} "
            f"bidirectional LSTM")
