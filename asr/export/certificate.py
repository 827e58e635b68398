"""The proof that an exported file computes what our own engine computes.

In: a recogniser and what was exported from it. Out: a `Certificate`: the largest difference of
logits over batches of mixed lengths, transcripts compared, sizes, speed, versions.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.audio import load_audio
from asr.bundle import reference_clip
from asr.bundle.find import SHIPPED
from asr.errors import AsrError
from asr.files import sha256_file
from asr.manifest import Utterance
from asr.network.engine import NumpyAcousticModel, pad_batch
from asr.terminal import plural
from asr.versions import installed

if TYPE_CHECKING:
    from asr.network.engine import Engine
    from asr.recipe import DecoderSettings
    from asr.recognizer import Recognizer

# For a float32 logit: 1e-4, and 1e-5 of the utterance's largest. Where a word begins, a step of
# rounding in one frame grows over the next ones: two correct float32 engines then differ from
# float64 by as much (benchmarks/export.py prints it).
TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 1e-5
BATCHES = (1, 7, 32)
LONGEST_SECONDS = 60.0
JUNK = 1e4  # fills the padding: whatever lies there must change nothing
TIMED_SECONDS = 10.0  # the recording that speed is measured with
TIMED_RUNS = 5  # of each, alternating; the median counts

ToLogits = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass
class Exported:
    """What a format wrote, and how to run it.

    Attributes:
        format, quantized: names.
        files: what was written, the model first.
        engine: runs the model: normalised features to logits.
        from_samples: samples (B, N) and lengths to logits, if the format has that entry.
        longest_frames: feature frames that it takes; 0: any number.
        notes: sentences that the user must know.
        runtime: packages whose versions belong into the certificate.
        layers: results of each layer by name, for features and lengths; None: not available.
        reference: our engine with the weights as the file has them, rounded to half precision;
            logits are compared with its, transcripts with those of the bundle.
        texts: samples of recordings to what the file itself reads in them, where it decodes; None:
            ours decodes its logits.
        decoder: the settings that such a file decodes by, for ours beside it.
    """

    format: str
    quantized: str
    files: list[Path]
    engine: Engine
    from_samples: ToLogits | None = None
    longest_frames: int = 0
    notes: list[str] = field(default_factory=list)
    runtime: Sequence[str] = ()
    layers: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]] | None = None
    reference: Engine | None = None
    texts: Callable[[Sequence[np.ndarray]], list[str]] | None = None
    decoder: DecoderSettings | None = None


@dataclass(frozen=True)
class Trial:
    """One comparison.

    Attributes:
        entry: "features" or "samples".
        batch: utterances; a format that takes one at a time runs each alone.
        seconds: shortest and longest utterance.
        largest_difference: largest difference of any logit.
        share_of_tolerance: the largest difference over what is allowed there; above 1 is too much.
    """

    entry: str
    batch: int
    seconds: tuple[float, float]
    largest_difference: float
    share_of_tolerance: float


@dataclass(frozen=True)
class Verification:
    """Both engines on utterances with texts.

    Attributes:
        utterances, identical: how many, and how many with the same transcript.
        ours_wer, exported_wer: percent.
        ours_rtf, exported_rtf: seconds of the whole run per second of audio.
    """

    utterances: int
    identical: int
    ours_wer: float
    exported_wer: float
    ours_rtf: float | None
    exported_rtf: float | None


@dataclass(frozen=True)
class Certificate:
    """See the module; `problem` is "" if the file may be used."""

    format: str
    quantized: str
    bundle_hash: str
    files: list[dict]
    tolerance: dict | None
    batches: list[Trial]
    same_transcripts: tuple[int, int]
    verification: Verification | None
    ours_seconds: float
    exported_seconds: float
    notes: list[str]
    versions: dict
    problem: str = ""
    model: dict = field(default_factory=dict)

    @cached_property
    def largest_difference(self) -> float:
        """The largest difference of any logit of any batch."""
        return max(batch.largest_difference for batch in self.batches)

    @property
    def size(self) -> int:
        """Bytes of the model file."""
        return self.files[0]["bytes"]

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return {**asdict(self), "largest_difference": self.largest_difference,
                "seconds_per_second_of_audio": {"ours": self.ours_seconds,
                                                "exported": self.exported_seconds}}

    def line(self) -> str:
        """One line for a terminal."""
        same, clips = self.same_transcripts
        text = (f"{self.format}{' ' + self.quantized if self.quantized else ''}: largest "
                f"difference {self.largest_difference:.1e}, {same} of {clips} sample transcripts "
                f"equal, {self.size / 1e6:.2f} MB, {self.exported_seconds:.4f} s a second of "
                f"audio (ours {self.ours_seconds:.4f})")
        if self.verification:
            v = self.verification
            text += (f"; {v.identical} of {v.utterances} transcripts equal, WER "
                     f"{v.ours_wer:.2f} -> {v.exported_wer:.2f} %")
        return text


def certify(recognizer: Recognizer, exported: Exported, *, verify: Sequence[Utterance] = (),
            max_wer_cost: float = 0.5, allow_truncated: bool = False) -> Certificate:
    """Compare; see `Certificate`.

    Args:
        recognizer: ours, with the engine numpy.
        exported: the files and how to run them.
        verify: utterances with texts.
        max_wer_cost: percentage points of WER on `verify` that a quantised file may lose.
        allow_truncated: for `verify`, see `asr.audio.load_audio`.
    """
    # Without a reference logits differ by design: the WER decides.
    quantized = bool(exported.quantized) and exported.reference is None
    clips = sample_clips(recognizer.sample_rate)
    ours = with_engine(recognizer, exported.reference or recognizer.engine)
    entries = ("features", "samples") if exported.from_samples else ("features",)
    batches = [compare(ours, exported, clips, entry, size) for entry in entries for size in BATCHES]
    theirs = with_engine(recognizer, exported.engine)
    reads = exported.texts or (lambda clips: [theirs.transcribe(clip).text for clip in clips])
    plain = recognizer.with_decoder(exported.decoder) if exported.decoder else recognizer
    same = sum(plain.transcribe(clip).text == text
               for clip, text in zip(clips, reads(clips), strict=True))
    verification = (compare_transcripts(recognizer, theirs, verify, allow_truncated)
                    if verify else None)
    ours_seconds, exported_seconds = _speed(recognizer, exported, clips)
    largest = max(batch.largest_difference for batch in batches)
    problem = ""
    if not quantized and not max(batch.share_of_tolerance for batch in batches) <= 1:
        good = all(one.share_of_tolerance <= 1 for one in batches if one.entry == "features")
        where = "; from samples alone, so its features differ" if good else \
            _first_layer(ours, exported, clips)
        problem = (f"its logits differ by {largest:.2e}, more than {TOLERANCE:g} and "
                   f"{RELATIVE_TOLERANCE:g} of the largest logit{where}.")
    elif not quantized and same < len(clips):
        problem = f"{len(clips) - same} of {plural(len(clips), 'sample transcript')} differ."
    elif verification and verification.exported_wer - verification.ours_wer > max_wer_cost:
        problem = (f"its WER is {verification.exported_wer:.2f} %, ours {verification.ours_wer:.2f}"
                   f" %: more than {max_wer_cost:g} points. Raise --max-wer-cost, or quantise "
                   "less.")
    elif not np.isfinite(largest):
        problem = "its logits are not finite."
    return Certificate(
        exported.format, exported.quantized, recognizer.bundle.bundle_hash,
        [{"name": file.name, "bytes": file.stat().st_size, "sha256": sha256_file(file)}
         if file.is_file() else {"name": file.name, "bytes": _folder_bytes(file), "sha256": ""}
         for file in exported.files],
        None if quantized else {"absolute": TOLERANCE, "relative": RELATIVE_TOLERANCE}, batches,
        (same, len(clips)), verification, ours_seconds, exported_seconds, exported.notes,
        {"python": platform.python_version(), "machine": platform.machine(),
         **installed(("keras-asr", "numpy", *exported.runtime))}, problem, _model(recognizer))


def _model(recognizer: Recognizer) -> dict:
    """What a program that runs the file must know."""
    return {"labels": ["", *recognizer.tokenizer.alphabet], "sample_rate": recognizer.sample_rate,
            "frame_seconds": recognizer.seconds_per_frame,
            "first_frame_seconds": recognizer.clock.seconds(0)}


def sample_clips(sample_rate: int) -> list[np.ndarray]:
    """Sounds to compare with: the sample clips that come along, and the reference clip."""
    clips = [load_audio(path, sample_rate=sample_rate)
             for path in sorted((SHIPPED.parent / "clips").glob("*-*"))]
    return [*clips, reference_clip(sample_rate)]


def compare(recognizer: Recognizer, exported: Exported, clips: Sequence[np.ndarray], entry: str,
            size: int) -> Trial:
    """The largest difference of logits over one batch of mixed lengths, padded with junk."""
    rate = recognizer.sample_rate
    longest = LONGEST_SECONDS
    if exported.longest_frames:
        hop = recognizer.bundle.features.hop_length / rate
        longest = min(longest, (exported.longest_frames - 1) * hop)
    audios = mixed_clips(clips, rate, size, longest)
    worst = share = 0.0
    ours = recognizer.logits_batch([recognizer.features(audio) for audio in audios])
    if entry == "samples":
        lengths = np.array([len(audio) for audio in audios])
        padded = np.full((size, int(lengths.max())), 0.5, np.float32)
        run = exported.from_samples
        rows = audios
    else:
        rows = [recognizer.normalized(recognizer.features(audio)) for audio in audios]
        padded, lengths = pad_batch(rows)
        padded[:] = JUNK
        run = exported.engine.logits
    if run is None:
        raise AsrError(f"{exported.format} has no entry for {entry}")
    for target, row in zip(padded, rows, strict=True):
        target[:len(row)] = row
    logits, num_logits = run(padded, lengths)
    for index, (expected, count) in enumerate(zip(ours, num_logits, strict=True)):
        if int(count) != len(expected):
            return Trial(entry, size, _span(audios, rate), float("inf"), float("inf"))
        difference = float(np.abs(logits[index, :count] - expected).max())
        allowed = TOLERANCE + RELATIVE_TOLERANCE * float(np.abs(expected).max())
        worst, share = max(worst, difference), max(share, difference / allowed)
    return Trial(entry, size, _span(audios, rate), worst, round(share, 3))


def compare_transcripts(ours: Recognizer, theirs: Recognizer,
                        utterances: Sequence[Utterance], allow_truncated: bool = False
                        ) -> Verification:
    """Both recognisers over a manifest, by `asr.evaluation`: the same loop as any other WER."""
    from asr.evaluation import evaluate

    results = [evaluate(one, utterances, on_error=on_error, allow_truncated=allow_truncated)
               for one, on_error in ((ours, "fail"), (theirs, "skip"))]
    texts = [{name: t.text for name, t in result.transcripts.items()} for result in results]
    return Verification(
        len(texts[0]), sum(texts[0][name] == texts[1].get(name) for name in texts[0]),
        100 * results[0].wer, 100 * results[1].wer,
        *(result.timings.real_time_factor for result in results))


def with_engine(recognizer: Recognizer, engine: Engine) -> Recognizer:
    """The same recogniser with another engine; the decoder is shared."""
    import copy

    other = copy.copy(recognizer)
    other.engine = engine
    return other


def mixed_clips(clips: Sequence[np.ndarray], rate: int, size: int,
                longest: float) -> list[np.ndarray]:
    """`size` recordings, from one frame to `longest` seconds, evenly spread in the logarithm."""
    stream = np.concatenate([np.concatenate(clips)] * 2)
    stream = np.tile(stream, 1 + int(longest * rate) // len(stream) * 2 + 1)
    counts = np.geomspace(1, longest * rate, size).astype(int) if size > 1 \
        else np.array([int(longest * rate)])
    rng = np.random.default_rng(size)
    starts = rng.integers(0, len(stream) - counts.max(), size)
    return [stream[start:start + count] for start, count in
            zip(starts, rng.permutation(counts), strict=True)]


def _span(audios: Sequence[np.ndarray], rate: int) -> tuple[float, float]:
    seconds = [len(audio) / rate for audio in audios]
    return round(min(seconds), 5), round(max(seconds), 3)


def _speed(recognizer: Recognizer, exported: Exported,
           clips: Sequence[np.ndarray]) -> tuple[float, float]:
    """Seconds per second of audio, ours and theirs: features to logits of one recording."""
    seconds = TIMED_SECONDS
    if exported.longest_frames:
        hop = recognizer.bundle.features.hop_length / recognizer.sample_rate
        seconds = min(seconds, (exported.longest_frames - 1) * hop)
    audio = mixed_clips(clips, recognizer.sample_rate, 1, seconds)[0]
    batch, lengths = pad_batch([recognizer.normalized(recognizer.features(audio))])
    engines = (recognizer.engine, exported.engine)
    times: list[list[float]] = [[], []]
    for run in range(TIMED_RUNS + 1):  # the first warms up
        for mine, engine in zip(times, engines, strict=True):
            started = time.perf_counter()
            engine.logits(batch, lengths)
            if run:
                passed = time.perf_counter() - started
                mine.append(getattr(engine, "seconds", passed))  # without the start of a process
    return tuple(float(np.median(one)) / seconds for one in times)  # type: ignore[return-value]


def _first_layer(recognizer: Recognizer, exported: Exported, clips: Sequence[np.ndarray]) -> str:
    """In words: which layer is the first to differ, if the format can show its layers."""
    if exported.layers is None or not isinstance(recognizer.engine, NumpyAcousticModel):
        return ""
    batch, lengths = pad_batch([recognizer.normalized(recognizer.features(clips[0]))])
    theirs = exported.layers(batch, lengths)
    for name, ours, counts in recognizer.engine.layers(batch, lengths):
        if name not in theirs:
            continue
        other = theirs[name][0, :counts[0]]
        difference = float(np.abs(other - ours[0, :counts[0]]).max())
        if not difference <= TOLERANCE:  # activations, of the order of 1
            return f"; the first layer that differs is {name}, by {difference:.2e}"
    return "; every layer before the output agrees"


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
