"""`asr lm train` and `asr lm info`: n-gram language models; no TensorFlow."""

from __future__ import annotations

import gzip
import json
import math
import sys
from pathlib import Path

import click

from asr.cli.output_paths import OUTPUT, refuse_existing, refuse_inputs, refuse_no_file
from asr.terminal import plural


@click.group()
def lm() -> None:
    """N-gram language models for the beam search."""


@lm.command()
@click.argument("texts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=OUTPUT,
              metavar="OUT.arpa.gz", help="ARPA file; packed if the name ends in .gz.")
@click.option("--order", default=4, show_default=True, help="Words of the longest n-gram.")
@click.option("--prune", default="0", show_default=True, metavar="0,0,1",
              help="For each order, n-grams seen at most this often are dropped; the last number "
              "holds for the orders above.")
@click.option("--min-count", default=1, show_default=True, help="Rarer words become <unk>.")
@click.option("--units", type=click.Choice(("words", "characters")), default="words",
              show_default=True)
@click.option("--normalizer", default="none", show_default=True,
              help="none, basic, english or german: the one of the recogniser.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.arpa.gz if it exists.")
def train(texts: tuple[Path, ...], output: Path, order: int, prune: str, min_count: int,
          units: str, normalizer: str, overwrite: bool) -> None:
    """Train an interpolated modified Kneser-Ney model on TEXTS.

    TEXTS are files with one sentence a line (plain or .gz), or .jsonl manifests, whose
    transcripts are taken.

    \b
    Examples:
      asr lm train data/train.jsonl --normalizer basic --order 3 -o lm.arpa.gz
      asr lm train books.txt.gz --prune 0,0,1 -o books.arpa.gz
    """  # noqa: D301 (click reads the backspace)
    from asr.errors import UsageError
    from asr.files import write_atomic
    from asr.language_model.arpa import write_arpa
    from asr.language_model.kneser_ney import train_ngrams
    from asr.language_model.training_text import read_sentences
    from asr.text import normalizer_id

    try:
        limits = [int(number) for number in prune.split(",")]
    except ValueError:
        raise UsageError(f"--prune {prune!r}: write whole numbers with commas, such as 0,0,1."
                         ) from None
    refuse_inputs((output,), texts, as_="one of the texts")
    refuse_existing(output, overwrite, other="another --output")
    refuse_no_file(output, "--output")
    model = train_ngrams(read_sentences(texts, normalizer=normalizer, units=units), order,
                         prune=limits, min_count=min_count)
    text = write_arpa(model.vocabulary, model.tables, normalizer=normalizer_id(normalizer)).encode()
    write_atomic(output, gzip.compress(text, mtime=0) if output.suffix == ".gz" else text,
                 overwrite=overwrite)
    for n, estimated in enumerate(model.estimated, start=1):
        if not estimated:
            print(f"Order {n}: the text is too small or too regular to estimate discounts; "
                  "0.5, 1 and 1.5 are used.", file=sys.stderr)
    sizes = " + ".join(f"{len(table.words):,}" for table in model.tables)
    print(f"{output}: {sizes} n-grams of {plural(model.num_tokens, 'token')}.", file=sys.stderr)


@lm.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--perplexity", "texts", multiple=True, type=click.Path(path_type=Path),
              metavar="TEXT", help="Perplexity on a text or manifest; may be repeated.")
@click.option("--normalizer", help="The normaliser of that text. [default: that of the training "
              "texts, which files of asr lm train name; else none]")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def info(model: Path, texts: tuple[Path, ...], normalizer: str | None, as_json: bool) -> None:
    """What a language model holds, and how well it predicts a text."""
    from asr.language_model import load_ngram
    from asr.language_model.training_text import read_sentences

    ngrams = load_ngram(model)
    normalizer, notes = _normalizer_of(ngrams.normalizer, normalizer) if texts else ("none", [])
    units = "characters" if ngrams.space else "words"
    total = sum(ngrams.counts)
    found = {"path": str(model), "order": ngrams.order, "units": units,
             "vocabulary": len(ngrams.vocabulary), "ngrams": list(ngrams.counts),
             "bytes": ngrams.num_bytes, "bytes_per_ngram": round(ngrams.num_bytes / total, 1),
             "normalizer": ngrams.normalizer, "perplexity": [], "notes": notes}
    for path in texts:
        value, tokens, unknown = ngrams.perplexity(
            read_sentences([path], normalizer=normalizer, units=units))
        found["perplexity"].append({
            "path": str(path), "perplexity": value, "tokens": tokens, "unknown": unknown,
            "bits_per_token": math.log2(value)})
        if ngrams.sentence_end < 0:
            notes.append(f"The model has no </s>, so the ends of sentences in {path} are not "
                         "counted: the perplexity must not be compared with that of a model that "
                         "has it.")
        if unknown and not ngrams.knows_unknown:
            notes.append(f"The model has no <unk>, so it says nothing of "
                         f"{plural(unknown, 'unknown word')} in {path}: the perplexity is that of "
                         "the known words and must not be compared with that of another "
                         "vocabulary.")
    for note in notes:
        print(note, file=sys.stderr)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    print(f"order {ngrams.order}, {units}, vocabulary {len(ngrams.vocabulary):,}")
    if ngrams.normalizer:
        print(f"normaliser {ngrams.normalizer}")
    for n, count in enumerate(ngrams.counts, start=1):
        print(f"{n}-grams {count:,}")
    print(f"{ngrams.num_bytes / 1e6:.1f} MB in memory, {found['bytes_per_ngram']} bytes an n-gram")
    for row in found["perplexity"]:
        print(f"{row['path']}: perplexity {row['perplexity']:.2f} on "
              f"{plural(row['tokens'], 'token')}, "
              f"{plural(row['unknown'], 'unknown word')}")


def _normalizer_of(trained: str, wanted: str | None) -> tuple[str, list[str]]:
    """The normaliser of a text whose perplexity is asked for, and what must be said of it.

    Args:
        trained: id of the training texts' normaliser, "" where the model does not say.
        wanted: by the user.
    """
    from asr.text import NORMALIZERS, normalizer_id

    own = trained.partition("-")[0]
    name = wanted or (own if own in NORMALIZERS else "none")
    if not trained and wanted is None:
        return name, ["The model does not name the normaliser of its training texts, so the text "
                      "is read as it is; --normalizer NAME changes that."]
    if trained and trained != normalizer_id(name):
        return name, [f"The model was trained on texts of the normaliser {trained}, this text has "
                      f"{normalizer_id(name)}: its perplexity is too high."]
    return name, []
