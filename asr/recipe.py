"""Every knob of a training run, as frozen dataclasses; TOML in and out.

In: a TOML page, `section.key=value` overrides. Out: a checked `Recipe`.
An unknown key, a wrong type or an impossible number is an error with file, key and suggestion.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import RecipeError
from asr.feature_kinds import FEATURE_KINDS
from asr.parsing import read_page, why_unread
from asr.settings import apply_override, knob, settings_from_dict, to_toml, why_not_toml

SCHEMA_VERSION = 1
FINE_TUNING_RATE = 3e-4  # of a page that starts from a bundle and names no learning rate
NEVER_REFUSED = 1_000.0  # decoder.max_gap
MAX_WARPS = 8  # decoder.warps; each is a pass of the network
WARP_BELOW = 0.9  # decoder.warp_below
# The augmentations that only log-mel features allow.
LEVEL_CHANGES = ("noise_probability", "reverb_probability", "band_limit_probability",
                 "unvoiced_probability", "warp", "tilt_db", "curve_db", "gain_db")
# A decoder is one file and one line here: its name in recipes and on the command line, its class.
DECODERS = {
    "greedy": "asr.decoding.greedy.GreedyDecoder",
    "lexicon": "asr.decoding.lexicon.LexiconDecoder",
    "beam": "asr.decoding.beam.BeamSearchDecoder",
}


@dataclass(frozen=True)
class DataSettings:
    """Which utterances, and how they are put into batches."""

    train: tuple[str, ...] = knob((), "manifests to train on; paths from the working directory")
    valid: tuple[str, ...] = knob((), "manifests for model selection; never the test set")
    repeats: tuple[int, ...] = knob((), "how often an epoch uses each manifest of data.train; "
                                    "empty: once", low=1, high=1_000)
    audio_root: str = knob("", "folder that holds the audio when it is not beside the manifests")
    cache_dir: str = knob("", "feature cache; empty: <run_dir>/cache")
    reader: str = knob("cache", "features from the cache, or computed in TensorFlow's graph from "
                       "the recordings (asr.data.recordings)", choices=("cache", "tensorflow-io"))
    generate: str = knob("", "a corpus that the project makes itself", choices=("", "tones"))
    batch_frames: int = knob(8_000, "feature frames a batch at most, padding included; 0: 8,000, "
                             "and on a GPU as many as a trial step finds room and use for",
                             low=0, high=10_000_000)
    max_utterances: int = knob(64, "utterances a batch at most", low=1, high=4_096)
    min_seconds: float = knob(0.1, "shorter recordings are excluded and listed", low=0.0, high=60)
    max_seconds: float = knob(30.0, "longer recordings are excluded and listed", low=0.1, high=600)
    non_speech: bool = knob(False, "recordings whose text is empty teach the network to read "
                                   "nothing, and in data.valid a word read there is an error; "
                                   "otherwise they are excluded and listed")
    num_workers: int = knob(0, "feature processes; 0: one a core", low=0, high=256)
    allow_truncated: bool = knob(False, "use what is left of a cut recording")
    max_bad_fraction: float = knob(0.01, "share of unusable utterances that stops the run",
                                   low=0.0, high=1.0)


@dataclass(frozen=True)
class TextSettings:
    """How transcripts become labels."""

    normalizer: str = knob("basic", "see asr.text",
                          choices=("none", "case", "basic", "marks", "english", "german"))
    alphabet: str = knob("", "the characters, each once; empty: those of the training texts")


@dataclass(frozen=True)
class FeatureSettings:
    """Audio to features, in librosa's words; every number travels in the bundle."""

    kind: str = knob("log_mel", "log_mel, mfcc or pcen", choices=FEATURE_KINDS)
    sample_rate: int = knob(16_000, "Hz; every recording is resampled to it", low=4_000,
                            high=192_000)
    n_fft: int = knob(512, "samples", low=16, high=16_384)
    win_length: int = knob(400, "samples", low=16, high=16_384)
    hop_length: int = knob(160, "samples", low=8, high=16_384)
    n_mels: int = knob(80, "triangular filters", low=1, high=512)
    f_min: float = knob(0.0, "Hz, lower edge of the first filter", low=0.0, high=96_000)
    f_max: float = knob(0.0, "Hz, upper edge of the last filter; 0: sample_rate / 2", low=0.0,
                        high=96_000)
    n_mfcc: int = knob(13, "cepstral coefficients (mfcc only)", low=1, high=128)
    deltas: int = knob(0, "0 none, 1 with delta, 2 with delta and delta-delta", low=0, high=2)
    cmvn: str = knob("utterance", "mean and variance normalisation; map: of the utterance, with "
                     "the training set as prior", choices=("none", "utterance", "global", "map"))
    cmvn_prior: int = knob(100, "frames that the prior counts for (cmvn = \"map\")", low=1,
                           high=100_000)
    cmvn_range_db: float = knob(0.0, "frames so far below the mean power count in cmvn at most as "
                                "much as all others: pauses; 0: all count", low=0.0, high=120.0)
    htk: bool = knob(False, "HTK's mel scale instead of Slaney's")
    norm: str = knob("slaney", "filters of unit area, or of height 1", choices=("slaney", "none"))
    window: str = knob("hann", "of each frame", choices=("hann", "hamming", "blackman", "boxcar"))
    preemphasis: float = knob(0.0, "share of each sample taken from the next; 0: none", low=0.0,
                              high=1.0)
    trim_db: float = knob(0.0, "cut off what lies so far below the loudest moment at both ends; "
                          "0: nothing", low=0.0, high=120.0)

    @property
    def num_features(self) -> int:
        """F, the columns of a feature array, deltas included."""
        columns = FEATURE_KINDS[self.kind].columns
        return (getattr(self, columns) if isinstance(columns, str) else columns) * (1 + self.deltas)


@dataclass(frozen=True)
class AugmentSettings:
    """What training, and only training, does to features (asr.augment says how)."""

    speeds: tuple[float, ...] = knob((1.0,), "speed factors; each is cached once", low=0.5,
                                     high=2.0)
    freq_masks: int = knob(0, "SpecAugment bands set to the mean", low=0, high=16)
    freq_mask_width: int = knob(15, "mel bins at most", low=1, high=256)
    time_masks: int = knob(0, "SpecAugment stretches set to the mean", low=0, high=64)
    time_mask_width: int = knob(30, "frames at most", low=1, high=1_000)
    time_mask_fraction: float = knob(0.2, "share of the utterance at most, each", low=0.0, high=1.0)
    noise_dir: str = knob("", "folder of noise recordings, searched recursively")
    noise_names: str = knob("*", "those whose file names fit this pattern, such as [1-4]-*")
    noise_probability: float = knob(0.0, "share of utterances with noise", low=0.0, high=1.0)
    noise_snr_min: float = knob(5.0, "dB", low=-20, high=80)
    noise_snr_max: float = knob(30.0, "dB", low=-20, high=80)
    warp: float = knob(0.0, "vocal tract length: frequency axis times 1 ± this", low=0.0,
                       high=0.5)
    tempo: float = knob(0.0, "time axis times 1 ± this", low=0.0, high=0.5)
    gain_db: float = knob(0.0, "level ± this", low=0.0, high=40)
    tilt_db: float = knob(0.0, "spectral tilt over the band ± this: microphones and rooms",
                          low=0.0, high=40)
    curve_db: float = knob(0.0, "smooth random equaliser, standard deviation of its points: "
                           "microphones and rooms", low=0.0, high=20)
    reverb_probability: float = knob(0.0, "share of utterances in a random room", low=0.0, high=1.0)
    reverb_seconds_max: float = knob(0.6, "longest reverberation time, to -60 dB, seconds",
                                     low=0.1, high=5)
    band_limit_probability: float = knob(0.0, "share of utterances losing their upper band",
                                         low=0.0, high=1.0)
    band_limit_min_hz: float = knob(3_000.0, "lowest upper edge of such a band, Hz", low=500,
                                    high=96_000)
    unvoiced_probability: float = knob(0.0, "share of utterances with damped voiceless sounds: "
                                       "noise suppressors", low=0.0, high=1.0)
    concat_max: int = knob(1, "clips of one speaker joined to a string, 1 .. this, on the fly",
                           low=1, high=32)
    concat_pattern: str = knob("", "only utterances whose id matches this regular expression are "
                               "joined; empty: all")
    concat_single: float = knob(0.0, "share of such strings that are one clip, besides those drawn "
                                "by chance", low=0.0, high=1.0)
    concat_gap_max: float = knob(0.5, "seconds between joined clips, at most", low=0.0, high=5)
    concat_gain_db: float = knob(0.0, "level of each joined clip ± this", low=0.0, high=40)
    concat_quiet_db: float = knob(0.0, "how far the quiet between joined clips may lie below the "
                                  "quietest moments within them", low=0.0, high=60)
    pad_max: float = knob(0.0, "seconds of background at each end of utterances that are not "
                          "joined, at most; half have none", low=0.0, high=5)
    pause_probability: float = knob(0.0, "share of utterances with a long pause, before, between "
                                    "or behind the words", low=0.0, high=1.0)
    pause_max: float = knob(2.0, "seconds of background in such a pause, at most", low=0.0, high=10)

    @property
    def changes_levels(self) -> bool:
        """Whether features are changed in a way that only log-mel features allow."""
        return any(getattr(self, name) for name in LEVEL_CHANGES)


@dataclass(frozen=True)
class ModelSettings:
    """The network: front end, stacked bidirectional LSTM, output."""

    front_end: str = knob("stack", "frame stacking, or a small convolution",
                          choices=("stack", "conv"))
    stacking: int = knob(3, "consecutive frames joined (stack only)", low=1, high=16)
    conv_channels: int = knob(32, "channels of the two 3x3 convolutions (conv only)", low=1,
                              high=512)
    subsampling: int = knob(3, "input frames per output frame", low=1, high=4)
    edge_frames: int = knob(0, "output frames at the utterance's quietest level added before and "
                            "behind it: for clips that are cut close", low=0, high=100)
    num_layers: int = knob(3, "bidirectional LSTM layers", low=1, high=16)
    units: int = knob(256, "cells per direction", low=1, high=4_096)
    dropout: float = knob(0.0, "on the input of every LSTM layer and of the output", low=0.0,
                          high=0.9)
    layer_norm: bool = knob(False, "normalise between layers")


@dataclass(frozen=True)
class TrainSettings:
    """How the weights are found."""

    epochs: int = knob(20, "passes over the training set", low=1, high=10_000)
    max_minutes: float = knob(0.0, "stop after the epoch that passes this; the schedule follows "
                              "the clock; 0: no limit", low=0.0, high=100_000)
    learning_rate: float = knob(1e-3, "peak; 3e-4 where a page has initial_bundle and no rate",
                                low=1e-7, high=10.0)
    final_learning_rate: float = knob(1e-5, "at the end of the decay", low=0.0, high=10.0)
    warmup_steps: int = knob(200, "linear from 0", low=0, high=1_000_000)
    decay: str = knob("cosine", "after the warm-up", choices=("constant", "linear", "cosine"))
    weight_decay: float = knob(0.0, "AdamW, matrices only", low=0.0, high=1.0)
    clip_norm: float = knob(5.0, "global gradient norm", low=1e-3, high=1e6)
    patience: int = knob(0, "epochs without a better validation WER; 0: never stop early", low=0,
                         high=10_000)
    ema: float = knob(0.0, "validate and keep an exponential moving average of the weights with "
                      "this momentum; 0: none", low=0.0, high=0.99999)
    edge_frames: int = knob(-1, "in training, in place of model.edge_frames, which a recording is "
                            "read with; -1: the same", low=-1, high=100)
    intermediate_ctc: float = knob(0.0, "share of a second CTC loss at the middle LSTM layer, in "
                                   "training alone", low=0.0, high=0.9)
    chunk_probability: float = knob(0.0, "share of batches whose backward layers begin again at "
                                    "chunks of random length: for live recognition", low=0.0,
                                    high=1.0)
    chunk_seconds_min: float = knob(0.5, "shortest such chunk", low=0.05, high=60)
    chunk_seconds_max: float = knob(2.0, "longest such chunk", low=0.05, high=60)
    deterministic: bool = knob(False, "one thread, deterministic ops: bit for bit reproducible")
    devices: str = knob("auto", "auto: one device; all: every GPU, or every logical CPU, shares "
                        "each batch", choices=("auto", "all"))
    scale_learning_rate: str = knob("none", "factor on the learning rates by the number n of "
                                    "replicas: 1, n or its root",
                                    choices=("none", "linear", "sqrt"))
    lost_after: float = knob(300.0, "seconds without an answer after which another process of "
                             "TF_CONFIG is lost and the run ends", low=1.0, high=86_400.0)
    nonfinite_patience: int = knob(3, "non-finite losses in a row that stop the run", low=1,
                                   high=1_000)
    initial_bundle: str = knob("", "start from this bundle's weights (rows follow characters); "
                               "asr train --from")
    freeze: tuple[str, ...] = knob((), "layers that keep the weights they start with, such as "
                                   "lstm_0")
    slow: tuple[str, ...] = knob((), "LAYER:FACTOR, layers whose steps are this fraction, 0 .. 1")
    mixed_precision: str = knob("", "layers compute in 16 bits, weights, output and loss in 32; "
                                "pays on a GPU", choices=("", "bfloat16", "float16"))


@dataclass(frozen=True)
class DecoderSettings:
    """How logits become text; travels in the bundle."""

    kind: str = knob("greedy", "see asr.decoding", choices=DECODERS)
    lexicon: tuple[str, ...] = knob((), "the closed vocabulary of the lexicon decoder")
    beam_width: int = knob(32, "prefixes kept (beam)", low=1, high=4_096)
    lm: str = knob("", "n-gram language model, ARPA (beam)")
    lm_weight: float = knob(0.5, "beam with a language model", low=0.0, high=100.0)
    word_bonus: float = knob(0.0, "nats a word (beam, lexicon)", low=-100.0, high=100.0)
    unknown_bonus: float = knob(-5.0, "nats for a word that the language model does not know",
                                low=-100.0, high=100.0)
    lexicon_only: bool = knob(False, "read only words that the language model knows")
    hot_words: tuple[str, ...] = knob((), "PHRASE or PHRASE:BOOST, nats a character (beam)")
    grammar: str = knob("", "the sentences that may be said, the text itself (beam); see "
                        "asr.decoding.grammar")
    max_gap: float = knob(NEVER_REFUSED, "nats a character by which a word of the nearest sentence "
                          "of the grammar may fit worse than free decoding; 1000: no recording "
                          "is refused", low=0.0, high=NEVER_REFUSED)
    max_doubt: float = knob(NEVER_REFUSED, "nats a character by which the probability of the "
                            "grammar's nearest sentence may be below 1; 1000: no recording is "
                            "refused; see asr tune --refusal", low=0.0, high=NEVER_REFUSED)
    num_hypotheses: int = knob(1, "readings returned at most (beam)", low=1, high=100)
    warps: tuple[float, ...] = knob((), "factors on the frequency axis to choose among, each "
                                    "recording its own, such as [0.9, 1.1]; 1 is always tried",
                                    low=0.7, high=1.4)
    warp_below: float = knob(WARP_BELOW, "the warps are tried where the plain reading is less sure "
                             "than this; 1: everywhere", low=0.0, high=1.0)
    max_pause: float = knob(0.0, "seconds of a pause that are read; 0: all", low=0.0, high=60.0)


@dataclass(frozen=True)
class Recipe:
    """One training run; `load_recipe` reads it, `dump_recipe` writes it, equal both ways."""

    seed: int = knob(1, "seed of every random choice", low=0, high=2**31 - 1)
    data: DataSettings = field(default_factory=DataSettings)
    text: TextSettings = field(default_factory=TextSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    decoder: DecoderSettings = field(default_factory=DecoderSettings)

    @property
    def training_model(self) -> ModelSettings:
        """The network as it is trained, with train.edge_frames."""
        edges = self.train.edge_frames
        return self.model if edges < 0 else dataclasses.replace(self.model, edge_frames=edges)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe page.

    Args:
        path: a TOML file.
        overrides: `section.key=value`, value in TOML (a bare word is taken as a string).

    Raises:
        RecipeError: the file cannot be read, a key is unknown, a value has the wrong type or
            is out of bounds, or settings contradict each other.
    """
    path = Path(path)
    try:
        # Editors on Windows write a byte order mark, which TOML does not know.
        table = tomllib.loads(read_page(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"Cannot read the recipe {path}: {why_unread(path, error)}. Give the "
                          "path of a .toml file, such as recipes/tones.toml.", path=path) from error
    except (ValueError, RecursionError) as error:  # also a number of more than 4,300 digits
        raise RecipeError(f"{path} is not TOML: {why_not_toml(error)}.", path=path) from error
    for override in overrides:
        apply_override(table, override)
    train = table.get("train")
    if isinstance(train, dict) and train.get("initial_bundle"):
        train.setdefault("learning_rate", FINE_TUNING_RATE)
    return recipe_from_dict(table, source=str(path))


def recipe_from_dict(table: Mapping, *, source: str = "recipe") -> Recipe:
    """A checked recipe from nested tables; `source` names them in errors."""
    recipe = settings_from_dict(Recipe, table, source=source)
    _check_together(recipe, source)
    return recipe


def recipe_to_dict(recipe: Recipe) -> dict:
    """Nested tables of plain values, tuples as lists."""
    def plain(value) -> typing.Any:
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return list(value) if isinstance(value, tuple) else value
    return plain(recipe)


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as TOML; `load(dump(r)) == r`."""
    lines, table = [], recipe_to_dict(recipe)
    for key, value in table.items():
        if not isinstance(value, dict):
            lines.append(f"{key} = {to_toml(value)}")
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *(f"{name} = {to_toml(item)}"
                                        for name, item in value.items())]
    return "\n".join(lines) + "\n"


def _check_together(recipe: Recipe, source: str) -> None:
    """What no single bound can say."""
    f, a, m = recipe.features, recipe.augment, recipe.model
    nyquist = f.sample_rate / 2
    log_power = FEATURE_KINDS[f.kind].log_power and not f.deltas
    rules = [
        (f.win_length <= f.n_fft, f"features.win_length {f.win_length} must not exceed "
                                  f"features.n_fft {f.n_fft}"),
        (f.hop_length <= f.win_length, f"features.hop_length {f.hop_length} must not exceed "
                                       f"features.win_length {f.win_length}"),
        (f.f_max <= nyquist, f"features.f_max {f.f_max} must not exceed half of "
                             f"features.sample_rate, {nyquist}"),
        (f.f_min < (f.f_max or nyquist), f"features.f_min {f.f_min} must lie below the upper edge "
                                         f"{f.f_max or nyquist}"),
        (f.kind != "mfcc" or f.n_mfcc <= f.n_mels, f"features.n_mfcc {f.n_mfcc} must not exceed "
                                                   f"features.n_mels {f.n_mels}"),
        (bool(a.speeds), "augment.speeds must name at least one factor, such as [1.0]"),
        (a.noise_snr_min <= a.noise_snr_max, "augment.noise_snr_min must not exceed noise_snr_max"),
        (not a.noise_probability or bool(a.noise_dir),
         "augment.noise_probability needs augment.noise_dir"),
        (m.front_end != "stack" or m.stacking >= m.subsampling,
         f"model.stacking {m.stacking} must be at least model.subsampling {m.subsampling}, or "
         "frames would be skipped"),
        (recipe.train.edge_frames <= m.edge_frames, f"train.edge_frames "
         f"{recipe.train.edge_frames} must not exceed model.edge_frames {m.edge_frames}"),
        (recipe.train.chunk_seconds_min <= recipe.train.chunk_seconds_max,
         "train.chunk_seconds_min must not exceed chunk_seconds_max"),
        (not recipe.data.repeats or len(recipe.data.repeats) == len(recipe.data.train),
         f"data.repeats must have one number a manifest of data.train: "
         f"{len(recipe.data.train)}, got {len(recipe.data.repeats)}"),
        (recipe.data.min_seconds < recipe.data.max_seconds,
         "data.min_seconds must be below data.max_seconds"),
        ("://" not in recipe.data.cache_dir,
         "data.cache_dir must be a folder, not an address; copy the features to a disk"),
        (recipe.decoder.kind != "lexicon" or bool(recipe.decoder.lexicon),
         "decoder.kind = \"lexicon\" needs decoder.lexicon, the list of words"),
        (not recipe.decoder.warps or log_power,
         "decoder.warps work on log-mel features without deltas"),
        (len(recipe.decoder.warps) <= MAX_WARPS,
         f"decoder.warps has {len(recipe.decoder.warps):,} factors, expected at most {MAX_WARPS}"),
        (not recipe.decoder.max_pause or FEATURE_KINDS[f.kind].says_loudness,
         f"decoder.max_pause needs features that say how loud a frame is, and {f.kind} does not"),
        (f.cmvn != "map" or log_power,
         "features.cmvn = \"map\" works on log-mel features without deltas"),
        (not f.cmvn_range_db or f.cmvn_range_db >= 10,
         f"features.cmvn_range_db must be 0 or at least 10, got {f.cmvn_range_db:g}"),
        (not f.cmvn_range_db or log_power and f.cmvn in ("utterance", "map"),
         "features.cmvn_range_db works with features.cmvn = \"utterance\" and \"map\", on log-mel "
         "features without deltas"),
        (recipe.data.reader == "cache" or f.kind in ("log_mel", "mfcc") and a.concat_max == 1
         and not (f.deltas or f.trim_db or a.pad_max or a.pause_probability
                  or recipe.data.allow_truncated),
         "data.reader = \"tensorflow-io\" has no pcen, deltas, trim_db, augment.concat_max, "
         "augment.pad_max, augment.pause_probability or data.allow_truncated; set data.reader = "
         "\"cache\""),
        (log_power or not a.changes_levels,
         f"augment.{', '.join(LEVEL_CHANGES)} work on log-mel features without deltas"),
    ]
    for holds, message in rules:
        if not holds:
            raise RecipeError(f"{source}: {message}.")
