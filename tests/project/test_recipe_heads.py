"""The commands in the head of every recipe, in order: each reads what an earlier one wrote.

The fast test follows the names; the slow one runs the commands as written, with one epoch, on a cut
of the corpora in ../shared/data.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import soundfile

from asr.cli import run
from asr.recipe import load_recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "recipes").glob("*.toml"))
MADE_HERE = ("data/", "runs/", "results/")  # everything else is there from the start
# What `asr prepare LAYOUT` writes, and what --dev-every adds.
SPLITS = {"fsdd": {"train", "test"}, "kaldi": {"train"}, "nemo": {"train"}, "ljspeech": {"train",
                                                                                        "dev"}}
PER_SPEAKER, SPEAKERS = 2, 20  # of the cut


def head_commands(page: Path) -> list[list[str]]:
    """The indented lines of the head; a backslash joins the next one."""
    head = re.match(r"(?:#.*\n)*", page.read_text("utf-8"))[0]
    head = re.sub(r"\\\n#\s*", " ", head)
    return [shlex.split(line) for line in re.findall(r"^#   (\S.*)", head, re.MULTILINE)]


def written_by(argv: list[str], recipe_data) -> set[str]:
    """The files and folders that a command makes."""
    match argv:
        case ["python", "recipes/voices/novels.py", *words]:
            return {word for word in words if word.startswith("data/")}
        case ["python", "recipes/voices/label.py", _, _, folder, *_]:
            return {f"{folder}/{split}.jsonl" for split in ("train", "dev")}
        case ["asr", "prepare", "voices", _, folder, *_]:
            return {f"{folder}/{split}.jsonl" for split in ("train", "valid")}
        case ["asr", "prepare", "noise", *words]:
            (folder,) = (word for word in words if word.startswith("data/"))
            return {f"{folder}/train.jsonl"}
        case ["asr", "prepare", layout, _, out, *options]:
            splits = SPLITS[layout] | ({"dev"} if "--dev-every" in options else set())
            return {f"{out}/{split}.jsonl" for split in splits}
        case ["asr", "train", _, folder, *_]:
            made = {folder, f"{folder}/best.asr"}
            if recipe_data.generate:
                made |= {f"{folder}/tones/{split}.jsonl" for split in ("train", "valid", "test")}
            return made
        case ["python", "benchmarks/digits_loso.py", _, folder, *options]:
            return {folder} | {f"{folder}/seed-{number}" for option, number in pairwise(options)
                               if option == "--seed"} | (
                {f"{folder}/average"} if "--average" in options else set())
    return {argv[argv.index("-o") + 1]} if "-o" in argv else set()


def read_by(argv: list[str], recipe_data) -> list[str]:
    """The paths below `MADE_HERE` that a command names, and those in its recipe."""
    paths = [word for word in argv if word.startswith(MADE_HERE)]
    if argv[:2] == ["asr", "train"]:
        data, start = recipe_data, ""
        if (ROOT / argv[2]).is_file():
            recipe = load_recipe(ROOT / argv[2])
            data, start = recipe.data, recipe.train.initial_bundle
        paths += [] if data.generate else [*data.train, *data.valid]
        paths += [start] if start.startswith(MADE_HERE) else []
    return paths


def unwritten(page: Path) -> list[str]:
    """What a command reads and no earlier one writes."""
    data, known, missing = load_recipe(page).data, set(), []
    for argv in head_commands(page):
        made = written_by(argv, data)
        folders = {str(Path(path).parent) for path in known | made}
        missing += [f"{' '.join(argv)}: {path}" for path in read_by(argv, data)
                    if path not in known | made | folders]
        known |= made
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_file_that_is_read_was_written_by_an_earlier_command(page):
    assert head_commands(page)
    assert unwritten(page) == []


def test_the_check_can_fail(tmp_path):
    page = tmp_path / "r.toml"
    page.write_text("#   asr prepare nemo ../shared/data/kathleen data/kathleen\n"
                    "#   asr train recipes/r.toml runs/r\n"
                    "[data]\ntrain = ['data/kathleen/all.jsonl']\n"
                    "valid = ['data/kathleen/train.jsonl']\n")
    assert unwritten(page) == ["asr train recipes/r.toml runs/r: data/kathleen/all.jsonl"]


def test_make_digits_runs_the_head_of_the_recipe():
    (block,) = re.findall(r"^digits: install.*\n((?:\t.*\n)+)",
                          (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    made = [shlex.split(line.replace("$(BIN)/", "").replace("$(DATA)", "../shared/data"))
            for line in block.replace("\\\n", " ").splitlines() if not line.startswith("\trm ")]
    head = [" ".join(argv) for argv in head_commands(ROOT / "recipes" / "digits.toml")]
    installs = [argv for argv in made if "pip" in argv]
    assert [argv[-1] for argv in installs] == [".[voices]"]
    for argv in made:
        if argv in installs:
            continue
        line = " ".join(word for word in argv if word != "--overwrite")
        assert line.removesuffix(" --set data.audio_root=../shared/data "
                                 "--set augment.noise_dir=../shared/data/noise-esc10") in head
    assert len(made) == 16


def cut_corpora(source: Path, target: Path) -> None:
    """A few utterances of each corpus, in its own layout."""
    def copy(name: str) -> None:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, target / name)

    for path in sorted((source / "fsdd/recordings").glob("*_[0-9].wav")):
        if path.stem.split("_")[1] in ("jackson", "theo") and path.stem[-1] in "056":
            copy(f"fsdd/recordings/{path.name}")
    train = source / "speechocean762/train"
    speakers: dict[str, list[str]] = {}
    texts = dict(line.split(None, 1) for line in (train / "text").read_text("utf-8").splitlines())
    digits = set("ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split())
    for line in (train / "utt2spk").read_text("utf-8").splitlines():
        name, speaker = line.split()
        listed = speakers.setdefault(speaker, [])
        listed.insert(0 if set(texts[name].split()) <= digits else len(listed), name)
    kept = {name for listed in list(speakers.values())[:SPEAKERS] for name in listed[:PER_SPEAKER]}
    # Those who say digits, too: the recipe for digits takes no other utterance.
    kept |= {listed[0] for listed in speakers.values()
             if set(texts[listed[0]].split()) <= digits}
    (target / "speechocean762/train").mkdir(parents=True)
    for file in ("wav.scp", "text", "utt2spk"):
        lines = [line for line in (train / file).read_text("utf-8").splitlines()
                 if line.split()[0] in kept]
        (target / "speechocean762/train" / file).write_text("\n".join(lines) + "\n", "utf-8")
        if file == "wav.scp":
            for line in lines:
                copy(f"speechocean762/{line.split()[1]}")
    rows = (source / "kathleen/manifest.jsonl").read_text("utf-8").splitlines()[:30]
    for row in rows:
        copy(f"kathleen/{json.loads(row)['audio_filepath']}")
    (target / "kathleen/manifest.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    rows = (source / "kerstin/metadata.csv").read_text("utf-8").splitlines()[:40]
    for row in rows:
        (found,) = (source / "kerstin/wavs").glob(f"{row.split('|')[0]}.*")
        copy(f"kerstin/wavs/{found.name}")
    (target / "kerstin/metadata.csv").write_text("\n".join(rows) + "\n", "utf-8")
    for path in sorted((source / "noise-esc10").rglob("*.ogg"))[::39]:  # of each of its five parts
        copy(str(path.relative_to(source)))


def few_voices(folder: str) -> None:
    """In the place of 172 synthesised voices, for which 18 programs would have to be there."""
    from asr.manifest import Utterance, write_manifest

    Path(folder).mkdir(parents=True)
    paths = sorted(Path("../shared/data/fsdd/recordings").glob("*.wav"))
    words = "zero one two three four five six seven eight nine".split()
    rows = [Utterance(f"{Path(folder).name}-{path.stem}", path.resolve(), words[int(path.name[0])],
                      soundfile.info(path).duration, "v") for path in paths]
    write_manifest(f"{folder}/train.jsonl", rows[::2])
    write_manifest(f"{folder}/valid.jsonl", rows[1::2])


@pytest.mark.slow
@pytest.mark.tf
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_runs_as_written(page, shared_data, tmp_path, monkeypatch, capsys):
    cut_corpora(shared_data, tmp_path / "shared/data")
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "recipes", clone / "recipes")
    (clone / "asr/assets").mkdir(parents=True)
    for bundle in ("digits.asr", "letters.asr"):  # where trainings begin
        shutil.copy(ROOT / "asr/assets" / bundle, clone / "asr/assets")
    monkeypatch.chdir(clone)
    for argv in head_commands(page):
        if argv[:2] == ["python", "recipes/voices/label.py"]:
            few_voices(argv[4])
            (Path(argv[4]) / "valid.jsonl").rename(Path(argv[4]) / "dev.jsonl")
            continue
        if argv[:2] == ["python", "recipes/voices/novels.py"]:  # tests/recipes/test_novels.py
            Path(next(word for word in argv if word.startswith("data/"))).write_text(
                "She was happy in her way.\nIt rained all day on the hill.\n")
            continue
        if argv[0] in ("apt", "npm", "pip", "python"):
            continue  # of the machine; hours, and tests/benchmarks
        if argv[1:3] == ["prepare", "voices"]:
            few_voices(argv[4])
            continue
        arguments = argv[1:]
        if arguments[0] == "train":  # one epoch; a cut has more of what a few cannot use
            arguments += ["--set", "train.epochs=1", "--set", "data.max_bad_fraction=0.5",
                          "--quiet"]
        code = run(arguments)
        err = capsys.readouterr().err
        # A network of one epoch gains nothing by a language model, so no bundle is written.
        assert code in (0, 3), f"{' '.join(argv)}: exit {code}: {err[-2_000:]}"
        if argv[1] == "tune" and not Path(argv[argv.index("-o") + 1]).exists():
            shutil.copy(argv[2], argv[argv.index("-o") + 1])
