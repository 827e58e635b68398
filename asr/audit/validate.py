"""List every problem of a manifest, with line and id; change nothing.

In: manifests, and what they are for (a recipe or a bundle). Out: a `Report`. Without
TensorFlow. Audio, text and CTC feasibility are judged by the same functions that training uses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr.audio import MAX_SECONDS, MIN_SECONDS
from asr.audio.loudness import SILENCE_DB
from asr.audio.probing import Probe, Spread, probe_all
from asr.audit.leakage import find_shared
from asr.errors import ManifestError
from asr.features.lengths import feasible, feature_length, output_length
from asr.manifest import Findings, Problem, Row, duration_tolerance, scan_manifest
from asr.manifest.address import Address
from asr.recipe import FeatureSettings, ModelSettings, Recipe
from asr.terminal import plural
from asr.text import normalize
from asr.text.evidence import report as about_texts
from asr.text.tokenizer import CharTokenizer, build_alphabet, count_repeats, describe

Progress = Callable[[int, int], None]
Audio = str | Path | Address  # of a row: a path is a string here, for there may be millions


@dataclass(frozen=True)
class Target:
    """What the data has to fit: the part of a recipe or bundle that judges data.

    Args:
        features, model: sample rate and frame counts.
        normalizer: a name in `asr.text.NORMALIZERS`.
        alphabet: the characters; empty: those of the first manifest's texts.
        min_seconds, max_seconds: what training takes.
        max_speed: the fastest speed perturbation, which leaves the fewest frames.
        non_speech: an empty text says that nothing is said.
        valid: manifests that training validates with, in which a text may not be empty even so.
    """

    features: FeatureSettings
    model: ModelSettings
    normalizer: str
    alphabet: str = ""
    min_seconds: float = MIN_SECONDS
    max_seconds: float = MAX_SECONDS
    max_speed: float = 1.0
    non_speech: bool = False

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Target:
        """What a training run with this recipe needs."""
        return cls(recipe.features, recipe.training_model, recipe.text.normalizer,
                   recipe.text.alphabet, recipe.data.min_seconds, recipe.data.max_seconds,
                   max(recipe.augment.speeds), recipe.data.non_speech)

    @classmethod
    def from_bundle(cls, path: str | Path) -> Target:
        """What evaluation with this bundle needs.

        Raises:
            BundleError: the bundle cannot be read.
        """
        from asr.bundle import load_bundle
        bundle = load_bundle(path)
        return cls(bundle.features, bundle.model, bundle.text.normalizer,
                   bundle.tokenizer.alphabet)


@dataclass
class Report:
    """All that was found.

    Args:
        problems: what makes data unusable or a result doubtful, in the order of the files.
        notes: what is worth knowing and needs no action.
        num_cut: recordings that are cut, of which what is left is used.
        num_utterances: rows that could be read.
        seconds: seconds of speech in them.
    """

    problems: Findings = field(default_factory=Findings)
    notes: Findings = field(default_factory=Findings)
    num_cut: int = 0
    num_utterances: int = 0
    seconds: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """Problems by code, the most frequent first, also of those that are not listed."""
        return dict(self.problems.counts.most_common())

    def to_dict(self) -> dict:
        """What `asr validate --json` prints."""
        return {"utterances": self.num_utterances, "seconds": round(self.seconds, 3),
                "counts": self.counts, "problems": [vars(p) for p in self.problems],
                "notes": [vars(p) for p in self.notes]}


def validate(manifests: Sequence[str | Path], *, target: Target | None = None,
             against: Sequence[str | Path] = (), audio_root: str | Path | None = None,
             allow_outside_root: bool = False, shared_speakers: bool = False,
             decode: bool = False, allow_truncated: bool = False, per_code: int | None = None,
             num_workers: int = 0,
             progress: Progress | None = None, reading: Progress | None = None,
             spread: Spread | None = None) -> Report:
    """Check everything; change nothing.

    Args:
        manifests: those to check; if there are several, also for what they share.
        target: what the data is for; None checks only what holds for any purpose.
        against: manifests to compare with, which are not checked themselves.
        audio_root, allow_outside_root: see `asr.manifest.read_manifest`.
        shared_speakers: a speaker in two manifests is a note, not a problem.
        decode: decode every recording, which finds damage that a header cannot show, and silence
            that has a text.
        allow_truncated: use what is left of a cut recording, and count it.
        per_code: how many problems and notes of a code are kept; None: all.
        num_workers: processes; 0: as many as pay.
        progress: called with (done, total) recordings.
        reading: called with (done, total) bytes of each manifest before.
        spread: see `asr.audio.probing.probe_all`.

    Raises:
        ManifestError: the audio root is not a folder.
    """
    report = Report(Findings(per_code), Findings(per_code))
    tables: dict[str, list[Row]] = {}
    names = list(dict.fromkeys(map(str, manifests)))
    for path in dict.fromkeys((*map(str, against), *names)):
        findings = report.problems if path in names else Findings(0)
        tables[path] = _scan(path, audio_root, allow_outside_root, report.notes, findings,
                             reading)
    compare = len(tables) > 1
    probes = _probe(tables, compare, decode, allow_truncated, num_workers, progress, spread)
    report.num_cut = sum(probe.cut for probe in probes.values())
    if target is not None and not target.alphabet and names:
        target = _with_alphabet(target, names[0], tables[names[0]], report)
    for path in names:
        _check_manifest(path, tables[path], probes, target, report)
        if target is not None:
            report.notes += [Problem(path, 0, "", "text.dropped", line) for line in about_texts(
                [row.utterance.text for row in tables[path]], target.normalizer)]
    if compare:
        problems, notes = find_shared(tables, {path: probe.sha256 for path, probe in
                                               probes.items()}, shared_speakers=shared_speakers)
        for found, into in ((problems, report.problems), (notes, report.notes)):
            for problem in found:
                into.add(*vars(problem).values())
    return report


def _scan(path: str, audio_root, allow_outside_root, notes: Findings, findings: Findings,
          progress: Progress | None) -> list[Row]:
    try:
        odd: list[Problem] = []
        rows, _ = scan_manifest(path, audio_root=audio_root, notes=odd, findings=findings,
                                allow_outside_root=allow_outside_root, progress=progress,
                                as_path=str)
        for note in odd:
            notes.add(*vars(note).values())
        return rows
    except ManifestError as error:
        if error.code == "manifest.audio_root":
            raise
        findings.add(path, 0, "", error.code, error.message)
        return []


def _probe(tables, hashes: bool, decode: bool, allow_truncated: bool, num_workers: int, progress,
           spread) -> dict[Audio, Probe]:
    paths = dict.fromkeys(row.utterance.audio for rows in tables.values() for row in rows)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, len(paths))

    return probe_all(paths, hashes=hashes, decode=decode, num_workers=num_workers,
                     allow_truncated=allow_truncated, progress=advance, spread=spread)


def _with_alphabet(target: Target, path: str, rows: list[Row], report: Report) -> Target:
    alphabet = build_alphabet(normalize(row.utterance.text, target.normalizer) for row in rows)
    report.notes.add(path, 0, "", "text.alphabet", "the recipe gives no alphabet; that of this "
                     f"manifest is used: {alphabet!r}.")
    return replace(target, alphabet=alphabet)


def _check_manifest(path: str, rows: list[Row], probes: dict[Audio, Probe],
                    target: Target | None, report: Report) -> None:
    report.num_utterances += len(rows)
    report.seconds += sum(row.utterance.duration for row in rows)
    shared = _shared_recordings(rows)
    tokenizer = CharTokenizer(target.alphabet) if target and target.alphabet else None
    characters: dict[str, _Character] = {}
    rates: Counter[int] = Counter()
    for row in rows:
        probe = probes[row.utterance.audio]
        found = _audio_problems(row, probe, row.utterance.audio in shared, target)
        if probe.info is not None:
            rates[probe.info.sample_rate] += 1
        found += _text_problems(row, target, tokenizer, characters)
        if not found and target and tokenizer:
            found = _length_problems(row, probe, target, tokenizer, report, path)
        for problem in found:
            report.problems.add(path, row.line, row.utterance.id, *problem)
        for note in probe.notes:
            report.notes.add(path, row.line, row.utterance.id, *note)
    for character, seen in characters.items():
        report.problems.add(
            path, seen.line, seen.id, "text.out_of_alphabet",
            f"{describe(character)} is not in the alphabet; it occurs "
            f"{plural(seen.count, 'time')}, here "
            "first. Extend the alphabet, choose a normaliser that maps it, or drop these "
            "utterances.")
    for rate, count in rates.items():
        if target and rate != target.features.sample_rate:
            report.notes.add(
                path, 0, "", "audio.resampled", f"{count:,} of {plural(len(rows), 'recording')} "
                                                "have "
                f"{rate:,} Hz and will be resampled to {target.features.sample_rate:,} Hz.")


def _shared_recordings(rows: list[Row]) -> set[Audio]:
    """Recordings of which several rows have a part."""
    seen: set[Audio] = set()
    shared: set[Audio] = set()
    for row in rows:
        audio = row.utterance.audio
        (shared if audio in seen else seen).add(audio)
    return shared


Found = list[tuple[str, str]]   # (code, message)
SILENT = ("audio.silent", f"the recording never gets louder than {SILENCE_DB:g} dB of full scale "
          "over 25 ms, but has a text. Record or copy it again, or drop it.")


def _audio_problems(row: Row, probe: Probe, is_shared: bool, target: Target | None) -> Found:
    utterance = row.utterance
    if probe.info is None:
        error = probe.error
        return [(error.code, error.message)] if error else []
    found: Found = []
    whole = probe.info.duration
    tolerance = duration_tolerance(utterance.duration)
    is_part = utterance.offset > 0 or is_shared   # several rows may be parts of one recording
    end = utterance.offset + utterance.duration
    if end > whole + tolerance or (not is_part and end < whole - tolerance):
        found.append(("manifest.duration", f"the row says {utterance.duration:.3f} s"
                      f"{f' from {utterance.offset:.3f} s on' if utterance.offset else ''}, the "
                      f"recording has {whole:.3f} s. Correct duration, or look whether it is the "
                      "right recording."))
    low, high = ((target.min_seconds, target.max_seconds) if target
                 else (MIN_SECONDS, MAX_SECONDS))
    seconds = min(utterance.duration, whole - utterance.offset)
    if seconds < low:
        found.append(("audio.too_short", f"{max(seconds, 0.0):.3f} s, at least {low:g} s are "
                      "needed. Drop it."))
    elif probe.is_silent(utterance.offset, seconds) and utterance.text.strip():
        found.append(SILENT)
    elif seconds > high:
        found.append(("audio.too_long", f"{seconds:.1f} s, at most {high:g} s are taken. Split "
                      "it, or raise data.max_seconds."))
    return found


@dataclass
class _Character:
    """One character outside the alphabet: where it came first, and how often it came."""

    line: int
    id: str
    count: int = 0


def _text_problems(row: Row, target: Target | None, tokenizer: CharTokenizer | None,
                   characters: dict[str, _Character]) -> Found:
    text = row.utterance.text
    normalized = normalize(text, target.normalizer) if target else text
    if not text and target and target.non_speech:
        return []
    if not normalized.strip():
        after = f" after the normaliser {target.normalizer!r}" if target and text.strip() else ""
        return [("text.empty", f"the text {text[:80]!r} is empty{after}; there is nothing to learn "
                 "or to score. Transcribe it, or drop it.")]
    unknown = tokenizer.unknown(normalized) if tokenizer else []
    for character in unknown:
        seen = characters.setdefault(character, _Character(row.line, row.utterance.id))
        seen.count += normalized.count(character)
    return []


def _length_problems(row: Row, probe: Probe, target: Target, tokenizer: CharTokenizer,
                     report: Report, path: str) -> Found:
    """Whether CTC can write the text on the frames that the model will have left."""
    text = normalize(row.utterance.text, target.normalizer)
    if tokenizer.unknown(text) or probe.info is None:
        return []
    labels = tokenizer.encode(text)
    frames = _output_frames(row, probe, target, 1.0)
    needed = len(labels) + count_repeats(labels)
    what = (f"the transcript has {plural(len(labels), 'label')} and {count_repeats(labels)} "
            f"repeats, CTC needs at least {needed} frames but the model will see ")
    if not feasible(frames, labels):
        return [("ctc.infeasible", f"{what}{frames}. Lower model.subsampling or drop the "
                 "utterance.")]
    fewest = _output_frames(row, probe, target, target.max_speed)
    if target.max_speed > 1 and not feasible(fewest, labels):
        report.notes.add(path, row.line, row.utterance.id, "ctc.infeasible_fast",
                         f"{what}{fewest} at speed {target.max_speed:g}, at which it is left out.")
    return []


def _output_frames(row: Row, probe: Probe, target: Target, speed: float) -> int:
    """T' of a row: samples after resampling, feature frames, then time strides."""
    info, utterance = probe.info, row.utterance
    if info is None:
        return 0
    start = round(utterance.offset * info.sample_rate)
    stop = start + max(1, round(utterance.duration * info.sample_rate))
    if stop >= info.num_samples - duration_tolerance(utterance.duration) * info.sample_rate:
        stop = info.num_samples   # as asr.audio.load_utterance does: rows round their durations
    samples = round((stop - start) * target.features.sample_rate / info.sample_rate / speed)
    frames = feature_length(samples, target.features.hop_length, target.features.n_fft)
    return output_length(frames, target.model)
