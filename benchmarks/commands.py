r"""Ten digits as commands, from a list of words: right on strangers, quiet on other speech? JSON.

    asr prepare fsdd ../shared/data/fsdd data/fsdd
    printf 'zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n' > digits.txt
    asr commands digits.txt digits-commands.asr --minutes 20
    python benchmarks/commands.py digits-commands.asr --data ../shared/data --plot det.svg
    python benchmarks/commands.py digits.txt --data ../shared/data --recordings 1 5 20 --half a b
    python benchmarks/commands.py names.asr --words-of data/speechocean762/dev.jsonl

Right: the 500 takes of each FSDD speaker, and of fsdd-jason without its silence. Other speech:
LibriSpeech (251 speakers), kathleen, kerstin, and the noises of ESC-10, each recording cut at its
pauses as a device would get it (of 0.2 s and more); every piece that is taken for a digit is a
false accept, true digits included, because no one wrote down where they are. The network that
`asr commands` begins at has learnt letters from 202 of these readers and from kathleen; --without
leaves out the recordings of a manifest (recipes/letters.toml makes data/librispeech/train.jsonl).

The limit in the bundle was chosen on synthesised voices; "right_percent_at" says what a limit of
either measure reads that lets 1, 2, 5, 10 pieces of other speech an hour through. Settings were
chosen on the speakers jackson and theo (DEV); the four others are the test. --quiet puts the clips,
which are cut close, into a room: 0.5 s before and 1.7 s behind at -66 dB, as `benchmarks/quiet.py`;
--snr DB adds a recording of ESC-10's fifth part so far below the words.

--recordings N: for each half of the speakers
a model is trained with N takes a word of the other half (half a: jackson, george, jason; half b:
the others; --half chooses); a line of JSON each, once it is there.

--words-of MANIFEST: instead of the digits, the words of the bundle's list, cut out of the sentences
of the manifest by aligning (--aligner): shorter and less clear than a word that is said alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from quiet import under

from asr.audio import load_audio
from asr.augment import noise_files
from asr.errors import AsrError, AudioError
from asr.files import write_atomic
from asr.inference.loop import infer
from asr.inference.tasks import Task
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.manifest.roots import record_roots
from asr.recipe import NEVER_REFUSED
from asr.recognizer import Recognizer, load
from asr.text import normalize
from asr.tuning.dev_set import DevSet
from asr.tuning.plot import det_curve
from asr.tuning.refusal import MEASURES, Judgement, judge_refusals

Clips = list[tuple[np.ndarray, str]]  # samples, word
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DEV = ("jackson", "theo")
HALF_A = ("jackson", "george", "jason")  # and half b: theo, nicolas, yweweler
FRAME = 0.01  # seconds
AROUND = 0.05  # seconds, at both ends of a word that is cut out of a sentence
RATES = (1, 2, 5, 10)  # false accepts an hour
SHORTEST, PAUSE, MARGIN = 0.15, 0.2, 0.1  # seconds
SOURCES = {"librispeech": "librispeech-unlabelled/*.ogg", "kathleen": "kathleen/audio/*",
           "kerstin": "kerstin/wavs/*", "noise": "noise-esc10/*/*"}


def pieces(audio: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """What lies between pauses: the level is 12 dB above the quiet tenth, or within 35 dB of the
    loudest moment, whichever is higher.
    """
    size = round(FRAME * rate)
    count = len(audio) // size
    if not count:
        return
    level = 10 * np.log10(np.mean(audio[:count * size].reshape(count, size) ** 2, axis=1) + 1e-10)
    floor = max(np.quantile(level, 0.1) + 12, level.max() - 35)
    loud = np.flatnonzero(level > min(floor, level.max() - 3))
    starts = np.flatnonzero(np.diff(loud, prepend=-10**6) > PAUSE / FRAME)
    for first, last in zip(starts, [*starts[1:], len(loud)], strict=True):
        begin, end = loud[first], loud[last - 1] + 1
        if (end - begin) * FRAME >= SHORTEST:
            margin = round(MARGIN * rate)
            yield audio[max(0, begin * size - margin):end * size + margin]


def digits_of(data: Path, rate: int) -> dict[str, Clips]:
    """Clips by speaker."""
    found: dict[str, Clips] = {}
    for path in sorted([*(data / "fsdd/recordings").glob("*.wav"),
                        *(data / "fsdd-jason/recordings").glob("*.flac")]):
        digit, speaker, _ = path.stem.split("_")
        try:
            audio = load_audio(path, sample_rate=rate)
        except AudioError:  # 0_jason_27 has 21 ms
            continue
        if speaker == "jason":  # 3 s with silence: the longest piece
            audio = max(pieces(audio, rate), key=len, default=audio)
        found.setdefault(speaker, []).append((audio, DIGITS[int(digit)]))
    return found


def words_of(manifest: Path, root: Path, aligner: Path, phrases: set[str], rate: int) -> Clips:
    """Words of the list in the sentences of a manifest."""
    reader, found = load(aligner), []
    for row in read_manifest(manifest, audio_root=root):
        if not phrases & set(normalize(row.text, "basic").split()):
            continue
        audio = load_audio(row.audio, sample_rate=rate)
        try:
            said = reader.align(row.audio, row.text)
        except AsrError as error:
            print(f"{row.id} is left out: {error.message}", file=sys.stderr)
            continue
        for word in said.words:
            if (text := normalize(word.text, "basic")) in phrases:
                begin, end = (round(rate * t) for t in (word.start - AROUND, word.end + AROUND))
                found.append((audio[max(0, begin):end], text))
    return found


def in_quiet(clips: Clips, rate: int) -> Clips:
    """The clips in a quiet room."""
    rng = np.random.default_rng(1)
    return [(padded + 5e-4 * rng.standard_normal(len(padded), np.float32), text)
            for padded, text in ((np.pad(audio, (round(0.5 * rate), round(1.7 * rate))), text)
                                 for audio, text in clips)]


def in_noise(clips: Clips, rate: int, data: Path, snr: float) -> Clips:
    """The clips in a quiet room in which a recording is played, so many dB below the words."""
    noises = [load_audio(path, sample_rate=rate)
              for path in noise_files(data / "noise-esc10", "5-*")]
    room = [(text, audio) for audio, text in in_quiet(clips, rate)]
    return [(audio, text) for text, audio in under(room, noises, snr, rate)]


def judged(recognizer: Recognizer, clips: Clips) -> dict[str, Judgement]:
    """The clips read without refusing, with their distances by each measure."""
    tasks = [Task(number, audio, str(number)) for number, (audio, _) in enumerate(clips)]
    logits = tuple(result.logits for result in infer(recognizer, tasks))
    texts = tuple(text for _, text in clips)
    dev = DevSet(texts, texts, ("",) * len(texts), logits,
                 recognizer.bundle.text.normalizer)
    return judge_refusals(recognizer, dev, [len(a) / recognizer.sample_rate for a, _ in clips])


def other_speech(recognizer: Recognizer, data: Path, every: int, without: frozenset[str]
                 ) -> dict[str, dict[str, Judgement]]:
    """Pieces of the sources, with the duration of their recordings shared among them: judged by
    each measure. `without` has names of recordings that are left out.
    """
    found = {}
    for name, pattern in SOURCES.items():
        clips, seconds = [], 0.0
        paths = [path for path in sorted(data.glob(pattern)) if path.name not in without]
        for path in paths[::every]:
            audio = load_audio(path, sample_rate=recognizer.sample_rate)
            seconds += len(audio) / recognizer.sample_rate
            clips += [(piece, "") for piece in pieces(audio, recognizer.sample_rate)]
        if not clips:
            print(f"no recordings {data / pattern}: {name} is left out", file=sys.stderr)
            continue
        found[name] = {
            measure: Judgement(measure, one.gaps, np.zeros(len(clips), bool), one.right,
                               np.full(len(clips), seconds / len(clips)))
            for measure, one in judged(recognizer, clips).items()}
    return found


def results(recognizer: Recognizer, data: Path, said: dict[str, Clips], every: int,
            room: Callable[[Clips, int], Clips] | None = None,
            without: frozenset[str] = frozenset()) -> dict:
    """Accuracy by speaker, false accepts by source, at the limit of the bundle; and the curve."""
    settings = recognizer.decoder_settings
    measure = "max_gap" if settings.max_doubt == NEVER_REFUSED else "max_doubt"
    limit = getattr(settings, measure)
    rate = recognizer.sample_rate
    every_spoken = {name: judged(recognizer, room(clips, rate) if room else clips)
                    for name, clips in said.items()}
    every_other = other_speech(recognizer, data, every, without)
    spoken = {name: one[measure] for name, one in every_spoken.items()}
    others = {name: one[measure] for name, one in every_other.items()}
    rows = {name: {"right_percent": percent(one.right & (one.gaps <= limit)),
                   "right_without_refusing": percent(one.right),
                   "refused_percent": percent(one.gaps > limit)} for name, one in spoken.items()}
    accepts = {name: {"accepted": int((one.gaps <= limit).sum()), "pieces": len(one.gaps),
                      "hours": round(one.hours, 2),
                      "per_hour": round(float((one.gaps <= limit).sum()) / one.hours, 2)}
               for name, one in others.items()}
    right = [row["right_percent"] for name, row in rows.items() if name not in DEV]
    speech = [one for name, one in others.items() if name != "noise"]
    test = [one for name, one in spoken.items() if name not in DEV]
    return {"measure": measure, "limit": round(limit, 3), "speakers": rows,
            "right_percent_test": round(float(np.mean(right)), 1) if right else None,
            "others": accepts,
            "per_hour_speech": round(sum(int((one.gaps <= limit).sum()) for one in speech)
                                     / sum(one.hours for one in speech), 2),
            "right_percent_at": {
                kind: {name: right_at([one[name] for speaker, one in every_spoken.items()
                                       if (speaker in DEV) == (kind == "dev")],
                                      [one[name] for source, one in every_other.items()
                                       if source != "noise"]) for name in MEASURES}
                for kind in ("dev", "test")},
            "curve": curve(test, speech) if test else []}


def right_at(spoken: list[Judgement], others: list[Judgement]) -> dict[str, float]:
    """What is right, in percent, where a limit lets 1, 2, 5, 10 pieces an hour through."""
    if not spoken or not others:
        return {}
    wrong = np.sort(np.concatenate([one.gaps for one in others]))
    hours = sum(one.hours for one in others)
    found = {}
    for rate in RATES:
        allowed = int(rate * hours)
        limit = wrong[allowed] if allowed < len(wrong) else np.inf  # the first that is refused
        found[str(rate)] = percent(np.concatenate([one.right & (one.gaps < limit)
                                                   for one in spoken]))
    return found


def curve(spoken: list[Judgement], others: list[Judgement]) -> list[dict]:
    """False accepts an hour against what is missed, at 60 limits."""
    gaps = np.concatenate([one.gaps for one in spoken])
    right = np.concatenate([one.right for one in spoken])
    wrong = np.concatenate([one.gaps for one in others])
    hours = sum(one.hours for one in others)
    limits = np.unique(np.quantile(gaps[np.isfinite(gaps)], np.linspace(0, 1, 60)))
    return [{"limit": round(float(limit), 3),
             "missed_percent": percent(~(right & (gaps <= limit))),
             "per_hour": round(float((wrong <= limit).sum()) / hours, 3)} for limit in limits]


def percent(which: np.ndarray) -> float:
    """A share in percent."""
    return round(100 * float(which.mean()), 1)


def trained(words: Path, data: Path, number: int, minutes: float, work: Path,
            halves: Sequence[str], seed: int) -> Iterator[tuple[Recognizer, tuple[str, ...]]]:
    """For each half of the speakers, a model with `number` takes a word of the other half.

    `seed` draws the takes, and is that of `asr commands`: its voices, noise and weights.
    """
    everyone = sorted(digits_of(data, 8_000))
    for name in halves:
        tested = tuple(s for s in everyone if (s in HALF_A) == (name == "a"))
        others = [speaker for speaker in everyone if speaker not in tested]
        rng = np.random.default_rng([number, seed])
        rows = []
        for digit, word in enumerate(DIGITS):
            paths = [p for s in others for p in sorted(
                [*(data / "fsdd/recordings").glob(f"{digit}_{s}_*.wav"),
                 *(data / "fsdd-jason/recordings").glob(f"{digit}_{s}_*.flac")])]
            for k in rng.permutation(len(paths))[:number].tolist():
                seconds = len(load_audio(paths[k], sample_rate=8_000)) / 8_000
                rows.append(Utterance(paths[k].stem, paths[k].resolve(), word, seconds))
        folder = work / f"{number}{name}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        record_roots(folder, [data])
        write_manifest(folder / "real.jsonl", rows)
        out = folder / "digits.asr"
        if not out.exists():
            subprocess.run([sys.executable, "-m", "asr", "commands", str(words), str(out),
                            "--recordings", str(folder / "real.jsonl"), "--minutes", str(minutes),
                            "--seed", str(seed)],
                           stdout=sys.stderr, check=True)  # stdout is for JSON
        yield load(out), tested


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a bundle of asr commands; with --recordings the "
                        "list of words")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--every", type=int, default=1, help="use every so many recordings of "
                        "other speech")
    parser.add_argument("--recordings", type=int, nargs="*", default=[])
    parser.add_argument("--half", nargs="+", choices=("a", "b"), default=("a", "b"),
                        help="with --recordings: the speakers that are tested")
    parser.add_argument("--without", type=Path, action="append", default=[], metavar="MANIFEST",
                        help="leave recordings of this manifest out of the other speech: the "
                        "model has learnt from them; may be repeated")
    parser.add_argument("--words-of", type=Path, metavar="MANIFEST",
                        help="cut the words out of the sentences of this manifest")
    parser.add_argument("--aligner", type=Path, default=Path("models/english.asr"))
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1, help="with --recordings")
    parser.add_argument("--work", type=Path, default=Path("runs/commands"))
    parser.add_argument("--quiet", action="store_true", help="with a quiet room around the clips")
    parser.add_argument("--snr", type=float, metavar="DB", help="likewise, with noise in it")
    parser.add_argument("--plot", type=Path, metavar="OUT.svg", help="the DET curve")
    options = parser.parse_args()
    room = in_quiet if options.quiet else None
    if options.snr is not None:
        room = partial(in_noise, data=options.data, snr=options.snr)
    without = frozenset(row.audio.name for path in options.without
                        for row in read_manifest(path, audio_root=options.data))
    if not options.recordings:
        recognizer = load(options.model)
        rate = recognizer.sample_rate
        if options.words_of:  # few of each speaker: all as one
            phrases = set(recognizer.decoder_settings.grammar.splitlines())
            said = {options.words_of.stem: words_of(options.words_of, options.data,
                                                    options.aligner, phrases, rate)}
        else:
            said = digits_of(options.data, rate)
        found = {"recordings_a_word": 0,
                 **results(recognizer, options.data, said, options.every, room, without)}
        if options.plot:
            write_atomic(options.plot, det_curve(
                "Words as commands: people of the test, other speech",
                [(row["per_hour"], row["missed_percent"] / 100) for row in found["curve"]]))
        print(json.dumps(found, indent=1))
        return
    for number in options.recordings:
        for recognizer, tested in trained(options.model, options.data, number, options.minutes,
                                          options.work, options.half, options.seed):
            said = {name: clips for name, clips
                    in digits_of(options.data, recognizer.sample_rate).items() if name in tested}
            found = results(recognizer, options.data, said, options.every, room, without)
            print(json.dumps({"recordings_a_word": number, "seed": options.seed, "tested": tested,
                              **found}), flush=True)


if __name__ == "__main__":
    main()
