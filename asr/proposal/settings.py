"""From a survey to settings, each with its reason, and to what will hurt.

In: a `Survey` and a budget. Out: a `Proposal`. The sizes are those of the recipes of this project
(`recipes/`), which were measured, and between them by hours of speech.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from asr.features.lengths import feature_length
from asr.proposal.survey import Sounds, Survey
from asr.recipe import DataSettings, Recipe, recipe_from_dict
from asr.terminal import plural

MIN_COUNT = 5  # of a character in the training texts, below which it is hardly learnt
MAX_CLOSED = 60  # words, up to which the vocabulary is taken as closed
SHORT_SECONDS = 1.2  # median length, below which the clips are cut close
SINGLE_WORDS = 1.2  # a text, up to which the utterances are single words
TINY_HOURS = 0.15  # below which strong augmentation leaves too little to learn from
LOW_NOISE_DISTANCE = 15.0  # dB between speech and quiet
MAX_SECONDS = 30.0  # of an utterance; longer ones are left out
MIN_EPOCHS, MAX_EPOCHS = 8, 80
MAX_HOURS_HEARD = 30.0  # of small data, in all epochs together, where that is more epochs
NON_SPEECH_SHARE = 0.2  # of the sound of an epoch, as in the trial of docs/results.md
NON_SPEECH_PAD = 1.0  # seconds around words, at most: those in long noise are words, too
SHORT_BUDGET = 3.0  # minutes, in which only the smallest network learns a closed vocabulary
# hours of speech: (layers, units, dropout, peak learning rate, batch frames)
SIZES = ((0.5, 2, 128, 0.2, 4e-3, 2_000), (2.5, 3, 192, 0.3, 2.5e-3, 2_500),
         (8, 3, 192, 0.2, 2e-3, 4_000), (30, 3, 256, 0.2, 2e-3, 6_000),
         (120, 4, 320, 0.1, 1.5e-3, 8_000), (float("inf"), 5, 512, 0.1, 1e-3, 12_000))


@dataclass
class Proposal:
    """Settings with reasons.

    Attributes:
        table: section to key to value, as a recipe has them.
        reasons: "section.key" to a sentence.
        warnings: what will hurt, and what to do.
        epoch_hours: of sound in an epoch, with what is repeated.
    """

    table: dict[str, dict] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    epoch_hours: float = 0.0

    def set(self, key: str, value, reason: str = "") -> None:
        """Choose a value."""
        section, name = key.split(".")
        self.table.setdefault(section, {})[name] = value
        if reason:
            self.reasons[key] = reason

    @property
    def recipe(self) -> Recipe:
        """The settings, checked."""
        return recipe_from_dict(self.table, source="the proposal")


def propose(found: Survey, train: list[str], valid: list[str], minutes: float = 60.0,
            noise: Mapping[str, Sounds] | None = None) -> Proposal:
    """Every setting but those that depend on the machine; see `fit_to_budget`.

    Args:
        found: what was found in the data.
        train, valid: paths of the manifests.
        minutes: that training may take.
        noise: manifests of sounds without speech, and what each holds.
    """
    result = Proposal(epoch_hours=found.hours)
    result.set("data.train", train)
    result.set("data.valid", valid)
    _features(found, result)
    _text(found, result)
    _pauses(found, result)
    _network(found, result, minutes)
    _augmentation(found, result)
    if noise:
        _non_speech(found, result, noise)
    _warn(found, result)
    return result


def fit_to_budget(proposal: Proposal, found: Survey, minutes: float, seconds_per_frame: float,
                  how: str = "by a timed trial step") -> float:
    """Choose the epochs for a budget; returns the minutes of one epoch.

    Args:
        proposal: gets epochs, warm-up and averaging.
        found: what was found in the data.
        minutes: that training may take.
        seconds_per_frame: duration of training, from `asr.proposal.trial`.
        how: the duration was found.
    """
    frames = proposal.epoch_hours * 3_600 * 100
    per_epoch = frames * seconds_per_frame / 60
    affordable = int(minutes / per_epoch)
    most = max(MAX_EPOCHS, min(300, int(MAX_HOURS_HEARD / proposal.epoch_hours)))
    epochs = min(most, max(MIN_EPOCHS, affordable))
    proposal.set("train.epochs", epochs, f"one takes about {in_words(per_epoch)}, {how}")
    if affordable >= MIN_EPOCHS:
        proposal.set("train.max_minutes", float(minutes), "the budget; the learning rate follows "
                     "the clock")
    else:
        proposal.warnings.append(
            f"{minutes:g} minutes are {affordable} epochs here, and at least {MIN_EPOCHS} are "
            f"needed, {in_words(MIN_EPOCHS * per_epoch)}. Give --minutes, train on a machine with "
            "a GPU, or use a smaller model.units.")
    steps = frames / proposal.table["data"]["batch_frames"]
    proposal.set("train.warmup_steps", int(np.clip(2 * steps, 20, 1_000)), "about two epochs")
    proposal.set("train.ema", 0.998 if steps * epochs > 3_000 else 0.99 if steps * epochs > 500
                 else 0.9, f"about {steps * epochs:,.0f} steps in all")
    return per_epoch


def _non_speech(found: Survey, result: Proposal, noise: Mapping[str, Sounds]) -> None:
    """Repeat the shorter of speech and other sounds, so that these are their share of an epoch."""
    speech = result.table["data"]["train"]
    hours = sum(float(sounds.seconds.sum()) for sounds in noise.values()) / 3_600
    wanted = NON_SPEECH_SHARE / (1 - NON_SPEECH_SHARE) * found.hours / hours
    repeats = max(1, round(1 / wanted)), max(1, round(wanted))
    sound = repeats[0] * found.hours + repeats[1] * hours
    # Each end is padded in half of the cases, evenly up to the most.
    result.epoch_hours = sound + repeats[0] * found.num_utterances * NON_SPEECH_PAD / 2 / 3_600
    result.set("data.train", [*speech, *noise])
    result.set("data.repeats", [repeats[0]] * len(speech) + [repeats[1]] * len(noise),
               f"{100 * repeats[1] * hours / sound:.0f} % of an epoch are sounds without speech")
    result.set("data.non_speech", True, "nothing is said in them")
    data = result.table["data"]
    longest = np.ceil(max(sounds.seconds.max() for sounds in noise.values()))
    if data["max_seconds"] < longest <= MAX_SECONDS:
        result.set("data.max_seconds", float(longest), "the longest sound without speech")
        result.set("data.batch_frames", max(data["batch_frames"], int(longest * 100)),
                   result.reasons["data.batch_frames"])
    result.set("augment.pad_max", NON_SPEECH_PAD, "words in long noise are words, too")
    if "concat_max" in result.table["augment"]:
        result.set("augment.concat_gap_max", 1.5, "seconds, likewise")
    for sounds in noise.values():
        if sounds.folder:
            result.set("augment.noise_dir", str(sounds.folder), "the same sounds under speech")
            result.set("augment.noise_probability", 0.5)
            result.set("augment.noise_snr_min", 3.0, "dB")
            result.set("augment.noise_snr_max", 30.0, "dB")
            break


def _features(found: Survey, result: Proposal) -> None:
    rate = 16_000 if found.rate >= 16_000 else found.rate
    result.set("features.sample_rate", rate, f"Hz; most recordings have {found.rate:,}")
    window = round(rate * 0.025)
    result.set("features.n_fft", 1 << (window - 1).bit_length(), "samples, the next power of two")
    result.set("features.win_length", window, "samples, 25 ms")
    result.set("features.hop_length", round(rate * 0.01), "samples, 10 ms")
    result.set("features.n_mels", 40, "enough for a network of this size")
    if np.median(found.seconds) < 3:
        result.set("features.cmvn", "map", "short utterances say little about the room")
        result.set("features.cmvn_prior", 200, "frames")
    result.set("features.cmvn_range_db", 35.0, "long pauses count no more than the words")


def speakers_of(found: Survey) -> str:
    """How many there are."""
    return plural(len(found.speakers), "speaker") if found.speakers else "unknown speakers"


def _text(found: Survey, result: Proposal) -> None:
    result.set("text.normalizer", found.normalizer, "marks that are used like letters stay"
               if found.normalizer == "marks" else "lower case, no punctuation, letters stay")
    joined = " " * (found.words_per_text <= SINGLE_WORDS)   # single words will be joined
    result.set("text.alphabet", "".join(sorted({*found.characters, *joined})),
               f"{plural(len(found.characters), 'character')} of the training texts"
               f"{', and the space' if joined and ' ' not in found.characters else ''}")
    if len(found.words) <= MAX_CLOSED and min(found.words.values()) >= MIN_COUNT:
        result.set("decoder.kind", "lexicon", f"the texts consist of "
                                              f"{plural(len(found.words), 'word')}; "
                   "remove both lines if others may be said")
        result.set("decoder.lexicon", sorted(found.words))


def _pauses(found: Survey, result: Proposal) -> None:
    short = np.median(found.seconds) < 3
    result.set("decoder.max_pause", 0.4 if short else 0.6, "seconds; longer pauses are shortened, "
               "because training had none")


def _network(found: Survey, result: Proposal, minutes: float) -> None:
    _, layers, units, dropout, rate, batch = next(s for s in SIZES if found.hours <= s[0])
    if found.hours <= 0.5 and len(found.words) <= MAX_CLOSED and minutes <= SHORT_BUDGET:
        layers, units, dropout, rate = 1, 64, 0.0, 5e-3
    size = f"{found.hours:.2f} h of speech"
    usual = float(np.percentile(found.seconds, 99.5))
    longest = max((float(seconds.max()) for seconds in (found.seconds, found.valid_seconds)
                   if len(seconds) and seconds.max() < 1.5 * usual + 1), default=usual)
    limit = float(min(MAX_SECONDS, max(2, np.ceil(longest + 0.1))))
    result.set("data.max_seconds", limit, f"99.5 % of the utterances last at most {usual:.1f} s")
    result.set("data.batch_frames", max(batch, int(limit * 100)), f"10 ms each; {size}")
    subsampling = _subsampling(found)
    _left_out(found, result, limit, subsampling)
    is_short = np.median(found.seconds) < SHORT_SECONDS
    if layers < 3 or is_short:
        result.set("model.stacking", 3)
    else:
        result.set("model.front_end", "conv", "longer utterances")
        result.set("model.conv_channels", 32)
    result.set("model.subsampling", subsampling, "30 ms an output frame" if subsampling == 3 else
               "some texts are long for their audio")
    if is_short:
        result.set("model.edge_frames", 3, "the clips are cut close")
    result.set("model.num_layers", layers, size)
    result.set("model.units", units, size)
    result.set("model.dropout", dropout, "against learning by heart" if dropout else "small enough")
    result.set("model.layer_norm", layers > 1)
    result.set("train.learning_rate", rate, "the peak, for this size")
    result.set("train.weight_decay", 1e-2)
    if layers >= 3:
        result.set("train.intermediate_ctc", 0.3, "a second loss at the middle layer")


def _left_out(found: Survey, result: Proposal, limit: float, subsampling: int) -> None:
    """Let a run begin although more of the data than usual cannot be used, and say so."""
    allowed = DataSettings().max_bad_fraction
    for name, seconds, labels, foreign, empty, unreadable in (
            ("training", found.seconds, found.labels, 0, found.num_empty[0], found.unreadable[0]),
            ("development", found.valid_seconds, found.valid_labels, found.num_foreign,
             found.num_empty[1], found.unreadable[1])):
        short = seconds <= limit
        counts = {f"last longer than {limit:g} s": int(np.sum(~short)),
                  "have characters that the training texts lack": foreign,
                  "have no letter": empty,
                  "cannot be read": len(unreadable),
                  "are too short for their texts": int(np.sum(
                      short & (_frames(seconds, subsampling) < labels)))}
        share = sum(counts.values()) / max(1, len(seconds))
        if share <= DataSettings().max_bad_fraction:
            continue
        allowed = max(allowed, min(1.0, float(np.ceil(100 * share) / 100)))
        result.set("data.max_bad_fraction", allowed, "this much of the data is left out")
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count)
        result.warnings.append(
            f"{sum(counts.values()):,} of {len(seconds):,} {name} utterances will be left out: "
            f"{reasons}. Correct them; asr validate --recipe lists them.")


def _frames(seconds: np.ndarray, subsampling: int) -> np.ndarray:
    """Frames that the network writes, about a tenth fewer than it has, to be sure."""
    frames = np.array([feature_length(round(s * 16_000), 160, 512) for s in seconds])
    return frames / subsampling / 1.1


def _subsampling(found: Survey) -> int:
    for factor in (3, 2):
        if np.mean(_frames(found.seconds, factor) < found.labels) <= 0.002:
            return factor
    return 1


def _augmentation(found: Survey, result: Proposal) -> None:
    few = len(found.speakers) <= 8
    if found.hours > 0.5:
        result.set("augment.speeds", [0.9, 1.0, 1.1], "each is cached once")
    result.set("augment.warp", 0.2 if few and found.hours > TINY_HOURS else 0.1,
               f"{speakers_of(found)}: others speak with other "
               "voices")
    if few and len(found.speakers) > 1 and found.hours > TINY_HOURS:
        result.set("augment.tilt_db", 8.0, "other microphones")
        result.set("augment.curve_db", 4.0, "other rooms")
    result.set("augment.freq_masks", 2 if found.hours > TINY_HOURS else 1, "SpecAugment")
    result.set("augment.freq_mask_width", 8)
    result.set("augment.time_masks", 2 if np.median(found.seconds) > 2 else 1)
    result.set("augment.time_mask_width", 25)
    result.set("augment.time_mask_fraction", 0.15)
    if found.words_per_text <= SINGLE_WORDS:
        result.set("augment.concat_max", 5, "single words are joined to sentences of a speaker")
        result.set("augment.concat_single", 0.4)


def _warn(found: Survey, result: Proposal) -> None:
    say = result.warnings.append
    if found.hours < 0.2:
        minutes = plural(round(60 * found.hours), "minute of speech is", "minutes of speech are")
        say(f"{minutes} little; expect words of the training texts at most. Record more.")
    if len(found.speakers) == 1:
        say("There is one speaker: the model will know this voice alone. Add speakers, or use it "
            "for this one.")
    if not found.speakers:
        say("No speaker is named, so it is unknown whether new voices are understood. Name the "
            "speakers, for example by subfolders.")
    if found.shared_speakers:
        some = sorted(found.shared_speakers)
        say(f"{plural(len(some), 'speaker is', 'speakers are')} in training and in development "
            f"data ({', '.join(some[:3])}{', ...' if some[3:] else ''}): the error rate says "
            "nothing about new voices. Split by speaker: asr prepare ... --split speaker --dev "
            "10%.")
    if len(found.rates) > 1:
        low = {rate: count for rate, count in found.rates.items() if rate < 16_000}
        say("Sample rates are mixed: " + ", ".join(f"{plural(count, 'recording')} with {rate:,} Hz"
                                                   for rate, count in found.rates.items())
            + (". Where the low ones come from telephones, set augment.band_limit_probability."
               if low else ". All are resampled."))
    if not result.table["data"].get("non_speech"):
        say("Nothing here says that nothing is said, so the model will write words in noise. Make "
            "sounds without speech, asr prepare noise --made 60 data/noise, or cut recordings of "
            "yours, and give asr init --noise data/noise/train.jsonl.")
    rare = [c for c, n in found.characters.items() if n < MIN_COUNT]
    if rare:
        say(f"{plural(len(rare), 'character occurs', 'characters occur')} fewer than {MIN_COUNT} "
            f"times: {' '.join(sorted(rare)[:20])}. They will not be learnt; correct the texts, or "
            "replace them.")
    if too_long := int(np.sum(_frames(found.seconds, _subsampling(found)) < found.labels)):
        say(f"{plural(too_long, 'text is too long for its', 'texts are too long for their')} "
            "audio and will be left out: asr validate --recipe lists them.")
    if found.noise_db is not None and found.noise_db < LOW_NOISE_DISTANCE:
        say(f"Speech is only {found.noise_db:.0f} dB above the quiet parts: the recordings are "
            "noisy, or cut without pauses.")
    if (few := len(found.valid_seconds)) < 30:
        say(f"{plural(few, 'development utterance chooses', 'development utterances choose')} the "
            "best epoch by chance. Take more: --dev 10%.")
    for what, failed in zip(("training", "development"), found.unreadable, strict=True):
        if failed:
            names = list(failed)
            say(f"{plural(len(failed), f'{what} utterance')} cannot be read and will be left out "
                f"({', '.join(names[:3])}{', ...' * (len(names) > 3)}); the first: "
                f"{failed[names[0]]} asr validate lists them.")


def in_words(value: float) -> str:
    """Minutes as a person says them."""
    return f"{value * 60:.0f} s" if value < 1 else f"{value:.0f} min" if value < 120 else \
        f"{value / 60:.1f} h"
