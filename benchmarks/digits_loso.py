"""The digit recipe on speakers outside its training: one training run for each FSDD speaker.

    python benchmarks/digits_loso.py data/fsdd runs/digits-loso --audio-root ../shared/data
    python benchmarks/digits_loso.py data/fsdd runs/digits-loso --hold-out theo --minutes 6 --jobs 1
    python benchmarks/digits_loso.py data/fsdd runs/digits-dev --hold-out jackson+theo \
        --seed 1 --seed 2 --seed 3 --audio-root ../shared/data

`--hold-out jackson+theo` is one fold, a model without both, to choose settings by. `--also`
adds a folder of `asr prepare fsdd`, such as data/fsdd-jason, made with --trim-db 6: a sixth fold.
`--from FOLDER` fine-tunes the networks of an earlier call; with `--start-share` the mean of both
is tested.
With `--seed` every fold runs once for each, in OUT/seed-N; with `--average` the network that is the
mean of these runs (`asr average`) is tested, too, in OUT/average.

For every fold the recipe runs as it is, with its own FSDD manifest replaced by all recordings
of the other four speakers. Nothing of the fifth is used before the test: the best epoch is chosen
on the recipe's validation set, which holds no FSDD. Two tests a speaker:

    isolated  his 500 clips, one digit each;
    strings   100 strings of 2 to 7 of his clips, 0.1 to 0.4 s of his own background noise between
              and around them, with a fixed seed: OUT/<speaker>/strings/*.wav and strings.jsonl.

Writes OUT/table.json and OUT/table.md and prints both. Rates are means over the seeds. Intervals of
one speaker are 95 % over his utterances, each with the readings of all seeds; that of the mean is
over speakers, of which there are five. With `--average` the second table is of the averaged
networks. A finished fold is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from asr.audio import load_audio
from asr.corpora.fsdd import leave_one_speaker_out
from asr.evaluation import Evaluation, evaluate
from asr.files import write_atomic
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.recipe import load_recipe
from asr.recognizer import load
from asr.scoring.bootstrap import bootstrap_rates
from asr.tuning.averaging import average_bundles

SAMPLE_RATE = 8_000  # Hz, of FSDD
NUM_STRINGS = 100
CLIPS_IN_STRING = (2, 7)
GAP_SECONDS = (0.1, 0.4)
QUIET_SHARE = 0.1  # of a clip's frames are taken for its background
FRAME = 256  # samples
SEED = 5


def read_fsdd(folder: Path, audio_root: Path | None) -> list[Utterance]:
    """All takes of all speakers: both official splits."""
    return [u for name in ("train", "test")
            for u in read_manifest(folder / f"{name}.jsonl", audio_root=audio_root)]


def make_strings(clips: list[Utterance], folder: Path) -> list[Utterance]:
    """Digit strings of one speaker as WAV files; the same for the same clips.

    Args:
        clips: all of one speaker.
        folder: for the files.

    Returns:
        NUM_STRINGS utterances.
    """
    clips = sorted(clips, key=lambda u: u.id)
    audio = [load_audio(u.audio, sample_rate=SAMPLE_RATE, offset=u.offset,
                        duration=u.duration if u.offset else None) for u in clips]
    # The clips are cut close, many hold no pause at all: the median clip, frequency by frequency.
    spectrum = np.median([_background(a) for a in audio], axis=0)
    rng = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    strings = []
    for number in range(NUM_STRINGS):
        size = int(rng.integers(CLIPS_IN_STRING[0], CLIPS_IN_STRING[1] + 1))
        chosen = rng.choice(len(clips), size, replace=False)
        parts = [_noise(spectrum, rng)]
        for index in chosen:
            parts += [audio[index], _noise(spectrum, rng)]
        joined = np.concatenate(parts)
        path = folder / f"{number:03d}.wav"
        soundfile.write(path, joined, SAMPLE_RATE, subtype="PCM_16")
        strings.append(Utterance(
            id=f"string_{clips[0].speaker}_{number:03d}", audio=path.resolve(),
            text=" ".join(clips[index].text for index in chosen),
            duration=len(joined) / SAMPLE_RATE, speaker=clips[0].speaker))
    return strings


def _background(audio: np.ndarray) -> np.ndarray:
    """(FRAME // 2 + 1,) mean power of the quietest frames of a clip."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, FRAME)[::FRAME // 4]
    energy = (frames ** 2).sum(axis=1)
    quiet = frames[np.argsort(energy, kind="stable")[:max(1, int(QUIET_SHARE * len(frames)))]]
    return np.mean(np.abs(np.fft.rfft(quiet * np.hanning(FRAME))) ** 2, axis=0)


def _noise(spectrum: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A gap: stationary noise with this power spectrum."""
    samples = int(rng.uniform(*GAP_SECONDS) * SAMPLE_RATE)
    white = np.fft.rfft(rng.standard_normal(samples))
    places = np.linspace(0, len(spectrum) - 1, len(white))
    shape = np.sqrt(np.interp(places, np.arange(len(spectrum)), spectrum)
                    / (np.hanning(FRAME) ** 2).sum())
    return np.fft.irfft(white * shape, samples).astype(np.float32)


def folds_of(names: list[str], speakers: list[str]) -> dict[str, list[str]]:
    """Folds by name, with the speakers that each leaves out; no names: each speaker alone."""
    folds = {name: name.split("+") for name in names or speakers}
    every = [one for left_out in folds.values() for one in left_out]
    unknown = set(every) - set(speakers)
    if unknown:
        raise SystemExit(f"no speaker is called {', '.join(sorted(unknown))}")
    if len(every) > len(set(every)):
        raise SystemExit("a speaker is left out twice; name each once")
    return folds


def run_of(out: Path, speaker: str) -> Path | None:
    """The network whose training had none of a speaker; None: there is none in this folder."""
    found = [path.parent.parent for path in sorted(out.glob("*/run/best.asr"))
             if speaker in path.parent.parent.name.split("+")]
    return network_of(found[0]) if found else None


def network_of(fold: Path) -> Path:
    """What is tested of a fold: the best of its run, or the mean of that and what it began at."""
    return fold / "mean.asr" if (fold / "mean.asr").exists() else fold / "run/best.asr"


def train_fold(args: argparse.Namespace, fold: Path, train: list[Utterance], settings: list[str]
               ) -> None:
    """Run the recipe on these utterances of FSDD, in a process of its own, in `fold`/run."""
    manifest = fold / "train.jsonl"
    fold.mkdir(parents=True, exist_ok=True)
    write_manifest(manifest, train)
    overrides = [*args.overrides, *settings]
    recipe = load_recipe(args.recipe, overrides)
    manifests = [str(manifest) if Path(name).parent.name == "fsdd" else name
                 for name in recipe.data.train]
    if manifests == list(recipe.data.train):
        raise SystemExit(f"{args.recipe} names no manifest of the folder fsdd in data.train")
    settings = [f"data.cache_dir={args.out / 'cache'}", *overrides,
                f"data.train={json.dumps(manifests)}"]
    if args.start:
        start = args.start / fold.relative_to(args.out) / "run/best.asr"
        settings.append(f"train.initial_bundle={json.dumps(str(start))}")
    if args.minutes:
        settings.append(f"train.max_minutes={args.minutes}")
    command = [sys.executable, "-m", "asr", "train", str(args.recipe), str(fold / "run")]
    for setting in settings:
        command += ["--set", setting]
    done = fold / "trained"
    if not done.exists():
        with open(fold / "train.log", "a", encoding="utf-8") as log:
            subprocess.run(command, check=True, stderr=log, stdout=log, env={**os.environ})
        write_atomic(done, "")
    if args.start_share and not (fold / "mean.asr").exists():
        average_bundles([load(one, engine="numpy") for one in (start, fold / "run")],
                        fold / "mean.asr", validation_of(args),
                        shares=(args.start_share, 1 - args.start_share))


def test_fold(run: Path, folder: Path, test: list[Utterance]) -> dict[str, Evaluation]:
    """Isolated clips and strings of a speaker that the run was not trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    strings = make_strings(test, folder / "strings")
    write_manifest(folder / "strings.jsonl", strings)
    recognizer = load(run)
    results = {"isolated": evaluate(recognizer, test), "strings": evaluate(recognizer, strings)}
    for name, result in results.items():
        result.write(folder / name)
    return results


def average_fold(args: argparse.Namespace, name: str) -> None:
    """The mean of the runs of a fold with all seeds, in OUT/average."""
    target = args.out / "average" / name / "run" / "best.asr"
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    average_bundles([load(network_of(args.out / f"seed-{seed}" / name), engine="numpy")
                     for seed in args.seeds], target, validation_of(args))


def validation_of(args: argparse.Namespace) -> list[Utterance]:
    """The validation set of the recipe."""
    data = load_recipe(args.recipe, args.overrides).data
    return [u for manifest in data.valid
            for u in read_manifest(manifest, audio_root=data.audio_root or args.audio_root)]


def table(results: dict[str, list[dict[str, Evaluation]]]) -> dict:
    """Speaker by speaker, and the mean over speakers: rates and intervals in percent.

    Args:
        results: speaker to the evaluations of each seed.
    """
    rows: dict[str, dict] = {speaker: {} for speaker in results}
    mean = {}
    for test in ("isolated", "strings"):
        counts = {speaker: sum(np.array([[r.words.errors, r.words.reference]
                                         for r in tests[test].score.rows]) for tests in seeds)
                  for speaker, seeds in results.items()}  # each (utterances, 2), over all seeds
        rates = {}
        for speaker, found in counts.items():
            rates[speaker] = found[:, 0].sum() / found[:, 1].sum()
            (interval,) = bootstrap_rates(found[:, :1], found[:, 1:])
            rows[speaker][test] = {**_cell(rates[speaker], interval), "seeds": [
                round(100 * tests[test].score.wer, 2) for tests in results[speaker]]}
        names = [speaker for speaker, found in counts.items() for _ in found]
        every = np.concatenate(list(counts.values()))
        (interval,) = bootstrap_rates(every[:, :1], every[:, 1:], speakers=names)
        mean[test] = {**_cell(float(np.mean(list(rates.values()))), interval), "seeds": [
            round(float(np.mean(seed)), 2) for seed in zip(
                *(row[test]["seeds"] for row in rows.values()), strict=True)]}
    return {"speakers": rows, "mean": mean}


def _cell(wer: float, interval) -> dict:
    return {"wer": round(100 * wer, 2), "low": round(100 * interval.low, 2),
            "high": round(100 * interval.high, 2)}


def markdown(rates: dict) -> str:
    """The table for people."""
    lines = ["| Speaker left out | isolated clips, WER % (95 %) | strings, WER % (95 %) |",
             "|---|---|---|"]
    for speaker, row in [*rates["speakers"].items(), ("**mean**", rates["mean"])]:
        cells = [f"{row[test]['wer']:.1f} ({row[test]['low']:.1f}–{row[test]['high']:.1f})"
                 + ("; seeds: " + ", ".join(f"{one:.1f}" for one in row[test]["seeds"])
                    if len(row[test]["seeds"]) > 1 else "")
                 for test in ("isolated", "strings")]
        lines.append(f"| {speaker} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fsdd", type=Path, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/digits.toml"))
    parser.add_argument("--from", type=Path, dest="start", metavar="FOLDER",
                        help="begin at the networks of the same folds and seeds in the OUT of an "
                        "earlier call, in place of the recipe's")
    parser.add_argument("--start-share", type=float, default=0.0, metavar="SHARE",
                        help="test the mean of each network and what it began at, of which this is "
                        "the share (asr average)")
    parser.add_argument("--average", action="store_true",
                        help="test the mean of the runs with all seeds, too")
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--hold-out", action="append", default=[], metavar="SPEAKER[+SPEAKER]",
                        help="only these folds, without one speaker or several; may be repeated")
    parser.add_argument("--seed", action="append", default=[], type=int, dest="seeds",
                        help="run every fold with it; may be repeated; default: the recipe's")
    parser.add_argument("--also", action="append", default=[], type=Path, metavar="FOLDER",
                        help="another folder with train.jsonl and test.jsonl; may be repeated")
    parser.add_argument("--minutes", type=float, default=0.0, help="instead of the recipe's")
    parser.add_argument("--jobs", type=int, default=1, help="folds trained at once")
    parser.add_argument("--set", action="append", default=[], dest="overrides",
                        metavar="SECTION.KEY=VALUE", help="another setting of the recipe")
    args = parser.parse_args()
    if args.start_share and not args.start:
        parser.error("--start-share needs --from")
    if args.average and len(args.seeds) < 2:
        parser.error("--average needs two --seed or more")
    return args


def main() -> None:
    """Train what is not trained, test, print."""
    args = parse()
    clips = [u for folder in (args.fsdd, *args.also) for u in read_fsdd(folder, args.audio_root)]
    by_speaker = {speaker: test for speaker, _, test in leave_one_speaker_out(clips)}
    folds = folds_of(args.hold_out, list(by_speaker))
    places = {args.out / f"seed-{seed}": [f"seed={seed}"] for seed in args.seeds} \
        or {args.out: []}
    work = [(place / name, [u for u in clips if u.speaker not in left_out], settings)
            for place, settings in places.items() for name, left_out in folds.items()]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda one: train_fold(args, *one), work))

    def tested(places: list[Path]) -> dict:
        return table({speaker: [test_fold(network_of(place / name), place / speaker,
                                          by_speaker[speaker]) for place in places]
                      for name, left_out in folds.items() for speaker in left_out})

    rates = tested(list(places))
    tables = markdown(rates)
    if args.average:
        for name in folds:
            average_fold(args, name)
        rates["average"] = tested([args.out / "average"])
        tables += "\nThe mean of these runs:\n\n" + markdown(rates["average"])
    write_atomic(args.out / "table.json", json.dumps(rates, indent=2) + "\n")
    write_atomic(args.out / "table.md", tables)
    print(json.dumps(rates))
    print(tables)


if __name__ == "__main__":
    main()
