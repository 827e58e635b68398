"""`asr prepare`: a corpus on disk becomes one manifest per split.

In: arguments. Out: OUT/<split>.jsonl, OUT/report.json and OUT/audio_root.json; what was left out,
by reason, and a table on stderr.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.channel import Channel
from asr.cli.inputs import TRUNCATED_HELP
from asr.cli.next_step import typed
from asr.cli.noise import noise
from asr.cli.output_paths import OUTPUT, refuse_any_existing
from asr.cli.progress import count_on_stderr
from asr.cli.values import Replacement, ShareType
from asr.cli.voices import voices
from asr.corpora import CORPORA, load_corpus
from asr.errors import EXIT_OK, EXIT_SOME_FAILED, CorpusError, UsageError
from asr.manifest import Utterance, manifest_content
from asr.manifest.roots import RECORD, record_roots
from asr.parsing import parse_json
from asr.results import settle, write_together
from asr.terminal import plural

if TYPE_CHECKING:
    from asr.corpora.collect import Excluded

REPORT = "report.json"
COLUMNS = "columns.tsv"  # what else is known of the utterances, by id
# What to do about utterances that were left out; messages of other codes say it themselves.
_REMEDIES = {
    "annotation.point": "Label the stretch in which it is said, not a point.",
    "audio.too_short": "Lower --min-seconds to take them.",
    "audio.too_long": "Raise --max-seconds to take them, or split them at pauses.",
    "audio.missing": "Copy the recordings, or name their folder: --audio-root.",
    "corpus.audio": "Copy the recordings, or name their folder: --audio-root.",
    "corpus.duplicate_id": "Give each utterance an id of its own.",
    "corpus.duration": "Correct the times; they lie outside of the recording.",
    "corpus.row": "Correct these rows.",
    "text.empty": "Write down what is said, or leave them out.",
    "text.missing": "Write down what is said, or leave them out.",
}


MADE = {"voices": voices, "noise": noise}  # utterances that no corpus lists


class _Layouts(click.Group):
    """One command a layout; its help is the docstring of its module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*CORPORA, *MADE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name.startswith("-"):
            return None
        if cmd_name in MADE:
            return MADE[cmd_name]
        module = load_corpus(cmd_name)
        params = [click.Argument(["src"], type=click.Path(path_type=Path)),
                  click.Argument(["out"], type=OUTPUT),
                  *_own_options(module.prepare), *(option() for option in _OPTIONS)]
        paragraphs = inspect.cleandoc(module.__doc__ or "").split("\n\n")
        text = "\n\n".join(f"\b\n{p}" if p.startswith(" ") else p for p in paragraphs)
        return click.Command(
            cmd_name, params=params, callback=partial(_prepare, cmd_name),
            short_help=module.SUMMARY, help=text,
            epilog=f"\b\nExample:\n  asr prepare {cmd_name} corpora/mine data/mine --split speaker "
            "--dev 10% --test 10%")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Layouts (asr prepare LAYOUT --help shows the folder)"):
            formatter.write_dl([(name, load_corpus(name).SUMMARY) for name in CORPORA])
        with formatter.section("Made here (asr prepare voices --help)"):
            formatter.write_dl([(name, command.short_help or "") for name, command in
                                MADE.items()])


def _own_options(function) -> list[click.Parameter]:
    """Options from the keyword arguments of a layout's `prepare` and from their docstrings.

    A tuple is an option that may be repeated, called by its singular.
    """
    lines = re.findall(r"^        ([a-z_, ]+): ((?:.+\n)(?: {12}.+\n)*)", function.__doc__ or "",
                       re.MULTILINE)
    told = {name: " ".join(text.split()) for names, text in lines for name in names.split(", ")}
    options: list[click.Parameter] = []
    for name, argument in inspect.signature(function, eval_str=True).parameters.items():
        if name in ("corpus_dir", "checks"):
            continue
        many = argument.annotation not in (int, float, str)
        flag = f"--{(name[:-1] if many else name).replace('_', '-')}"
        text = told[name].replace("`", "")
        options.append(click.Option([flag, name], type=str if many else argument.annotation,
                                    multiple=many, help=text[:1].upper() + text[1:]
                                    + (" May be repeated." if many else "")))
    return options


def _option(*names: str, **settings):
    return lambda: click.Option(list(names), **settings)


_OPTIONS = (
    _option("--split", "split_by", type=click.Choice(["speaker", "text", "utterance"]),
            help="Make splits and never divide a speaker, or a text, between them. Default with "
            "--dev or --test: speaker."),
    _option("--dev", type=ShareType(), default=0.0, metavar="SHARE", help="What goes to dev, to "
            "choose settings with, such as 10%."),
    _option("--test", type=ShareType(), default=0.0, metavar="SHARE", help="What goes to test, to "
            "measure with, such as 10%."),
    _option("--channel", type=Channel(), default="mix", metavar="CHANNEL", help="Which channel of "
            "the recordings is meant: left, right, a number from 1 on, mix (the mean of all, the "
            "default), or each (the n-th tier is about the n-th channel)."),
    _option("--audio-root", type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="Folder of the recordings where they are not below SRC."),
    _option("--replace", "replacements", type=Replacement(), multiple=True, metavar="OLD=NEW",
            help="Write NEW where the texts have OLD, such as '?=ʔ' where a keyboard lacked the "
            "letter. May be repeated."),
    _option("--only-words", metavar="WORDS", help="Keep the utterances that consist of these words "
            "alone, such as \"zero one two\"; case and punctuation do not matter."),
    _option("--min-seconds", type=float, default=0.1, show_default=True, help="Shorter utterances "
            "are left out."),
    _option("--max-seconds", type=float, default=60.0, show_default=True, help="Longer utterances "
            "are left out."),
    _option("--allow-truncated", is_flag=True, help=TRUNCATED_HELP),
    _option("--jobs", type=click.IntRange(0), default=0, show_default=True, help="Processes that "
            "look at recordings; 0: as many as pay."),
    _option("--overwrite", is_flag=True, help="Replace an earlier import: its manifests and its "
            "report."),
)


@click.command(cls=_Layouts, subcommand_metavar="LAYOUT SRC OUT", epilog="""\b
Examples:
  asr prepare folder recordings data/mine --split speaker --dev 10% --test 10%
  asr prepare textgrid corpora/talks data/talks --tier utterance
""")
def prepare() -> None:
    """Turn the corpus SRC into manifests OUT/train.jsonl, OUT/dev.jsonl and so on.

    LAYOUT says how the corpus is laid out. A bad recording or row never stops the import: it is
    counted by reason, and listed in OUT/report.json. Exit code 3 if anything was left out.
    """


def _prepare(corpus: str, src: Path, out: Path, split_by: str | None, dev: float, test: float,
             channel: int, audio_root: Path | None, replacements: tuple[tuple[str, str], ...],
             only_words: str | None, min_seconds: float, max_seconds: float,
             allow_truncated: bool, jobs: int, overwrite: bool, **options) -> int:
    """One import; see `prepare`."""
    from asr.corpora.collect import SHOWN, Checks, LeftAlone
    from asr.corpora.splitting import split_everything

    module = load_corpus(corpus)
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if (dev or test) and options.get("dev_every", 0) is None:
        given["dev_every"] = 0   # one way to make splits, the one that was asked for
    if channel < 0 and "tiers" not in options:
        raise UsageError(f"--channel each is for layouts with a tier for each speaker; {corpus} "
                         "has none. Give left, right, a number or mix.")
    if split_by and not dev and not test:
        raise UsageError(f"--split {split_by} needs shares: --dev 10% --test 10%.")
    if out.is_dir():
        settle(out)
    refuse_any_existing([out / REPORT], overwrite)   # before an hour of work, not after it
    if out.exists() and not out.is_dir():
        raise UsageError(f"OUT is {out}, which is a file; name a folder.", path=out)
    shares = {"by": split_by or "speaker", "dev": dev, "test": test} if dev or test else {}
    arrange = partial(split_everything, **shares) if shares else None
    with count_on_stderr("Looking at recordings") as show:
        checks = Checks(min_seconds, max_seconds, jobs, show, audio_root=audio_root,
                        extract_to=out / "audio", channel=channel, arrange=arrange,
                        allow_truncated=allow_truncated, replacements=dict(replacements))
        try:
            prepared = module.prepare(src, checks=checks, **given)
        except CorpusError as error:
            raise _with_guess(error, corpus, src, out) from error
    if not prepared.counts["ok"] and (other := _guess(corpus, src)):
        prepared.notes.append(_looks_like(other, src, out))
    splits = {split: chosen for split in sorted(prepared, key=_in_order)
              if (chosen := _of_words(prepared[split], only_words))}
    paths = {split: out / f"{split}.jsonl" for split in splits}
    table = _columns(prepared.columns, splits)
    new = [*paths.values(), *[out / COLUMNS] * bool(table)]
    refuse_any_existing(new, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    stale = _earlier_files(out) - set(new)
    given |= shares | ({"only_words": only_words} if only_words else {})
    given |= {"replace": dict(replacements)} if replacements else {}
    if allow_truncated:
        given["allow_truncated"] = True
    report = {"corpus": corpus, "options": given, "counts": prepared.counts,
              "cut": prepared.num_cut,
              "columns": table.partition("\n")[0].split("\t")[1:],
              "splits": {split: _summary(splits[split]) for split in splits},
              "left_alone": [{"reason": note.reason, "files": note.files}
                             for note in prepared.notes if isinstance(note, LeftAlone)],
              "excluded": [item.as_record() for item in prepared.excluded]}
    files = {paths[split].name: manifest_content(paths[split], utterances)
             for split, utterances in splits.items()}
    if table:
        files[COLUMNS] = table
    files[REPORT] = json.dumps(report, ensure_ascii=True, indent=1) + "\n"
    # A dev.jsonl that stayed would hold what is train now: all of it is one result.
    write_together(out, files, remove=[path.name for path in stale], overwrite=overwrite)
    for path in sorted(stale):
        click.echo(f"{path}: removed; it was of the import that this one replaces", err=True)
    for line in [*prepared.notes, *_left_out(prepared.excluded)]:
        bounded = isinstance(line, LeftAlone) and line.files[SHOWN:]
        click.echo(f"{line} {out / REPORT} lists all." if bounded else line, err=True)
    counts = ", ".join(f"{name.replace('_', ' ')} {count:,}"
                       for name, count in prepared.counts.items())
    cut = plural(prepared.num_cut, "recording is", "recordings are")
    counts += f"; {cut} cut, and what is left of them is used" * bool(prepared.num_cut)
    click.echo(f"{corpus}: {counts}", err=True)
    if not splits:
        raise CorpusError(f"No utterance of {src} could be used; {out / REPORT} says why of each."
                          if not prepared.counts["ok"] else f"No utterance of {src} consists of "
                          f"the words {only_words!r} alone.", path=src)
    for line in [*_table(report["splits"]), *_about_texts(splits)]:
        click.echo(line, err=True)
    if table:
        click.echo(f"{out / COLUMNS} has {', '.join(prepared.columns)} of the utterances: asr "
                   f"evaluate --columns {out / COLUMNS} --by {next(iter(prepared.columns))}",
                   err=True)
    elsewhere = _keep_roots(splits, src, out, audio_root, getattr(module, "AUDIO_BESIDE", False))
    if prepared.excluded:
        click.echo(f"What was left out is listed in {out / REPORT}.", err=True)
    first = paths.get("train") or next(iter(paths.values()))
    click.echo(f"Next: the same command with {typed('--audio-root', elsewhere, '--overwrite')}: "
               "the manifests then know where the recordings are." if elsewhere else
               f"Next: {typed('asr', 'validate', *paths.values())}, then "
               f"{typed('asr', 'init', out, '-o', 'mine.toml')}" if "train" in paths else
               f"Next: {typed('asr', 'validate', first)}", err=True)
    return EXIT_SOME_FAILED if prepared.excluded else EXIT_OK


def _in_order(split: str) -> int:
    """Training first, then what settings are chosen with, then the test; others as they come."""
    words = ("train", "dev", "val", "test", "eval")
    return next((n for n, word in enumerate(words) if split.startswith(word)), len(words))


def _guess(corpus: str, src: Path) -> str:
    """The layout that a folder looks like, if it is another one; empty if none fits."""
    if not src.exists():
        return ""
    # The most telling first: a folder of label tracks is also one of recordings with .txt files.
    names = ["kaldi", "lhotse", "nemo", "textgrid", "elan", "audacity", "subtitles", "webdataset",
             "fsdd", "librispeech", "ljspeech", "commonvoice", "deepspeech", "huggingface", "csv"]
    for name in dict.fromkeys([*names, *CORPORA]):
        looks_like = getattr(load_corpus(name), "looks_like", None)
        try:
            if name != corpus and looks_like and looks_like(src):
                return name
        except OSError:
            continue
    return ""


def _looks_like(other: str, src: Path, out: Path) -> str:
    return f"It looks like the layout {other}: {typed('asr', 'prepare', other, src, out)}"


def _with_guess(error: CorpusError, corpus: str, src: Path, out: Path) -> CorpusError:
    other = _guess(corpus, src)
    return error if not other else CorpusError(
        f"{error.message} {_looks_like(other, src, out)}", code=error.code, path=error.path)


def _left_out(excluded: list[Excluded]) -> list[str]:
    """One line a reason: how many, the first three, one whole message and what to do."""
    groups: dict[str, list[Excluded]] = defaultdict(list)
    for item in excluded:
        groups[item.code].append(item)
    lines = []
    for code, items in sorted(groups.items(), key=lambda pair: -len(pair[1])):
        names = ", ".join(item.id or item.source for item in items[:3])
        remedy = _REMEDIES.get(code, "")
        lines.append(f"Left out, {code}: {len(items):,} ({names}{', ...' if items[3:] else ''}). "
                     f"{'The first: ' if items[1:] else ''}{items[0].message}"
                     f"{f' {remedy}' if remedy else ''}")
    return lines


def _table(splits: dict[str, dict]) -> list[str]:
    """Hours, utterances, speakers and characters of each split."""
    head = ("split", "hours", "utterances", "speakers", "characters")
    rows = [head, *((name, f"{row['hours']:.2f}", f"{row['utterances']:,}",
                     f"{row['speakers']:,}", f"{row['characters']:,}")
                    for name, row in splits.items())]
    width = max(len(row[0]) for row in rows)
    return [f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in cells) for name, *cells in rows]


def _about_texts(splits: dict[str, list[Utterance]]) -> list[str]:
    """What the usual normaliser drops, and characters that training would never see."""
    from asr.text import normalize
    from asr.text.evidence import report, show
    lines = report([u.text for group in splits.values() for u in group], "basic")
    if "train" in splits:
        known = set().union(*(normalize(u.text, "none").lower() for u in splits["train"]))
        for name, group in splits.items():
            new = set().union(*(normalize(u.text, "none").lower() for u in group)) - known
            if new:
                lines.append(f"Characters of {name} that train lacks: "
                             f"{', '.join(map(show, sorted(new)[:20]))}.")
    return lines


def _keep_roots(splits: dict[str, list[Utterance]], src: Path, out: Path,
                audio_root: Path | None, beside: bool) -> str:
    """Write down where the recordings are, if the user named the place; else return what to name.

    Where that cannot be written down, every command needs it, which is said.
    """
    from asr.audio import display_name
    named = [os.path.realpath(src if src.is_dir() else src.parent),
             *([os.path.realpath(audio_root)] if audio_root else [])]
    home = os.path.realpath(out)
    folders = {os.path.realpath(u.audio.parent) for group in splits.values() for u in group
               if isinstance(u.audio, Path)}
    outside = {folder for folder in folders if not Path(folder).is_relative_to(home)}
    if beside and outside:
        common = os.path.commonpath(outside)
        if os.path.dirname(named[0]) in map(str, Path(common).parents):
            named.append(common)   # WAVE/ beside the data directory train/, never what holds both
    used = [root for root in dict.fromkeys(named)
            if any(Path(f).is_relative_to(root) for f in outside)]
    missing = sorted(f for f in outside if not any(Path(f).is_relative_to(r) for r in used))
    if used and record_roots(out, used):
        click.echo(f"The recordings are in {' and '.join(map(display_name, used))}; {out / RECORD} "
                   "says so to the other commands.", err=True)
    elif used:
        click.echo("Where the recordings are could not be written down: use the manifests with "
                   f"--audio-root {display_name(os.path.commonpath(sorted(outside)))}.", err=True)
        return ""
    else:
        (out / RECORD).unlink(missing_ok=True)
    if not missing:
        return ""
    click.echo("The recordings are not below SRC, and no other folder was named: other commands "
               "will not open them.", err=True)
    return display_name(os.path.commonpath(missing))


def _earlier_files(out: Path) -> set[Path]:
    """What the report of an earlier import into this folder lists: manifests, columns."""
    try:
        report = parse_json((out / REPORT).read_bytes())
        return {out / f"{split}.jsonl" for split in report["splits"] if Path(split).name == split
                } | ({out / COLUMNS} if report.get("columns") else set())
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _columns(columns: dict[str, dict[str, str]], splits: dict[str, list[Utterance]]) -> str:
    """TSV with a header: id and every column, a row an utterance; "" without columns."""
    ids = [u.id for found in splits.values() for u in found]
    known = {name: values for name, values in columns.items() if not values.keys().isdisjoint(ids)}
    rows = [["id", *known], *([i, *(values.get(i, "") for values in known.values())] for i in ids)]
    return "".join("\t".join(" ".join(cell.split()) if k else cell for k, cell in enumerate(row))
                   + "\n" for row in rows) if known else ""


def _of_words(utterances: list[Utterance], words: str | None) -> list[Utterance]:
    """The utterances whose words are all in `words`; all of them without a list."""
    from asr.text import normalize
    if words is None:
        return utterances
    known = set(normalize(words, "basic").split())
    if not known:
        raise UsageError(f"--only-words {words!r} holds no word.")
    return [u for u in utterances if set(normalize(u.text, "basic").split()) <= known]


def _summary(utterances: list[Utterance]) -> dict:
    return {"utterances": len(utterances),
            "hours": round(sum(u.duration for u in utterances) / 3_600, 4),
            "speakers": len({u.speaker for u in utterances if u.speaker}),
            "characters": len(set().union(*(u.text.lower() for u in utterances)) - {" "})}
