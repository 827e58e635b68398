"""What does training from another model win, with minutes of speech? JSON on stdout.

    python benchmarks/adaptation.py digits --data ../shared/data
    asr prepare ljspeech ../shared/data/kerstin data/kerstin
    python benchmarks/adaptation.py german --from english.asr data/kerstin --minutes 5 15 45 95

digits: the shipped model and a speaker outside its training (fsdd-jason, without the silence
around the words; with --from a model of another fold also others): 10 clips, one a digit, train;
another 40 are the test; mean of --draws draws. The last epoch counts: 10 clips are no validation.

german: read English to German, one woman, beside the same network from scratch with the same
steps. The dev sentences are halved: one half chooses the epoch, the other is the test.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from commands import DIGITS, pieces

from asr.audio import load_audio
from asr.bundle import load_bundle
from asr.bundle.find import find_bundle
from asr.errors import AudioError
from asr.evaluation import evaluate
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.recipe import Recipe, load_recipe
from asr.recognizer import load
from asr.training import export_checkpoint, train
from asr.voices.sound import SAMPLE_RATE, flac_bytes

ADAPT, TEST = 1, 4  # clips a digit


def speaker_clips(data: Path, speaker: str, folder: Path) -> list[Utterance]:
    """The takes of a speaker, trimmed by energy."""
    source, suffix = ("fsdd-jason", "flac") if speaker == "jason" else ("fsdd", "wav")
    rows = []
    for path in sorted((data / source / "recordings").glob(f"*_{speaker}_*.{suffix}")):
        try:
            audio = load_audio(path, sample_rate=SAMPLE_RATE)
        except AudioError:  # 0_jason_27 has 21 ms
            continue
        audio = max(pieces(audio, SAMPLE_RATE), key=len, default=audio)
        clip = folder / f"{path.stem}.flac"
        clip.write_bytes(flac_bytes(audio))
        rows.append(Utterance(path.stem, clip, DIGITS[int(path.stem[0])],
                              len(audio) / SAMPLE_RATE, speaker))
    return rows


def digits(options: argparse.Namespace) -> dict:
    """Errors on 40 clips of the speaker before and after hearing 10 others."""
    start = find_bundle(options.start) if options.start else Path("asr/assets/digits.asr")
    bundle = load_bundle(start)
    rows = []
    for draw in range(options.draws):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            clips = speaker_clips(options.data, options.speaker, folder)
            rng = np.random.default_rng([draw, 5])
            adapt, test = [], []
            for word in DIGITS:
                takes = [clips[k] for k in rng.permutation(len(clips)) if clips[k].text == word]
                adapt += takes[:ADAPT]
                test += takes[ADAPT:ADAPT + TEST]
            write_manifest(folder / "adapt.jsonl", adapt)
            # Validation needs a manifest of its own; what it says is not used.
            (folder / "check").mkdir()
            checks = []
            for one in adapt:
                copy = folder / "check" / one.audio.name
                copy.write_bytes(Path(one.audio).read_bytes())
                checks.append(dataclasses.replace(one, id=f"check-{one.id}", audio=copy))
            write_manifest(folder / "check/check.jsonl", checks)
            recipe = adapted(bundle, start, folder, options.epochs)
            train(recipe, folder / "run", quiet=True)
            after = load(export_checkpoint(folder / "run", "last"))
            wers = [evaluate(model, test).wer for model in (load(start), after)]
            rows.append({"draw": draw, "before": round(100 * wers[0], 1),
                         "after": round(100 * wers[1], 1)})
    before, after = (float(np.mean([row[key] for row in rows])) for key in ("before", "after"))
    return {"speaker": options.speaker, "clips": 10 * ADAPT, "test_clips": 10 * TEST,
            "draws": rows, "before_percent": round(before, 1), "after_percent": round(after, 1),
            "errors_removed_percent": round(100 * (1 - after / before), 1) if before else None}


def adapted(bundle, start: Path, folder: Path, epochs: int) -> Recipe:
    """The recipe of docs/fine-tuning.md for a new speaker: few steps, mild augmentation."""
    recipe = Recipe(features=bundle.features, text=dataclasses.replace(
        bundle.text, alphabet=bundle.tokenizer.alphabet), model=bundle.model,
        decoder=bundle.decoder)
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, train=(str(folder / "adapt.jsonl"),),
                                 repeats=(16,), valid=(str(folder / "check/check.jsonl"),),
                                 batch_frames=2_500),
        augment=dataclasses.replace(recipe.augment, warp=0.1, tempo=0.15, tilt_db=4.0, gain_db=6.0,
                                    freq_masks=1, freq_mask_width=6),
        train=dataclasses.replace(recipe.train, epochs=epochs, learning_rate=1e-3, warmup_steps=20,
                                  weight_decay=1e-2, initial_bundle=str(start)))


def german(options: argparse.Namespace) -> list[dict]:
    """WER on half of the dev sentences, from the bundle and from scratch."""
    start = find_bundle(options.start)
    bundle = load_bundle(start)
    source = read_manifest(options.prepared / "train.jsonl", audio_root=options.data)
    dev = read_manifest(options.prepared / "dev.jsonl", audio_root=options.data)
    page = load_recipe("recipes/german.toml")
    known = set(page.text.alphabet)
    dev = [u for u in dev if set(u.text.lower()) - set(".,;:!?-–\"„“()/'") <= known]
    options.work.mkdir(parents=True, exist_ok=True)
    valid = options.prepared / "adaptation-valid.jsonl"
    write_manifest(valid, dev[::2])
    rows = []
    for minutes in options.minutes:
        order = np.random.default_rng(5).permutation(len(source))
        chosen, seconds = [], 0.0
        for k in order:
            if seconds < 60 * minutes:
                chosen.append(source[k])
                seconds += source[k].duration
        manifest = options.prepared / f"adaptation-{minutes:g}.jsonl"
        write_manifest(manifest, chosen)
        row = {"minutes": minutes, "utterances": len(chosen)}
        for name, initial, rate in (("from_english", str(start), options.rate),
                                    ("from_scratch", "", 2e-3)):
            recipe = Recipe(
                data=dataclasses.replace(page.data, train=(str(manifest),), valid=(str(valid),),
                                         audio_root=str(options.data)),
                text=page.text, features=bundle.features, model=bundle.model,
                augment=page.augment, decoder=page.decoder,
                train=dataclasses.replace(page.train, epochs=options.epochs, learning_rate=rate,
                                          intermediate_ctc=0.0, initial_bundle=initial))
            train(recipe, options.work / f"{name}-{minutes:g}")
            score = evaluate(load(options.work / f"{name}-{minutes:g}"), dev[1::2]).score
            row |= {f"{name}_wer": round(100 * score.wer, 1),
                    f"{name}_cer": round(100 * score.cer, 1)}
        row["lower_percent"] = round(100 * (1 - row["from_english_wer"] / row["from_scratch_wer"]),
                                     1)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kinds = parser.add_subparsers(required=True)
    one = kinds.add_parser("digits")
    one.add_argument("--speaker", default="jason")
    one.add_argument("--draws", type=int, default=5)
    one.add_argument("--epochs", type=int, default=60)
    one.set_defaults(work_of=digits)
    two = kinds.add_parser("german")
    two.add_argument("prepared", type=Path, help="folder with train.jsonl and dev.jsonl")
    two.add_argument("--minutes", type=float, nargs="+", default=[5, 15, 45, 95])
    two.add_argument("--epochs", type=int, default=30)
    two.add_argument("--rate", type=float, default=1e-3)
    two.add_argument("--work", type=Path, default=Path("runs/adaptation"))
    two.set_defaults(work_of=german)
    for kind in (one, two):
        kind.add_argument("--from", dest="start", help="the bundle to start from",
                          required=kind is two)
        kind.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    print(json.dumps(options.work_of(options), indent=1))


if __name__ == "__main__":
    main()
