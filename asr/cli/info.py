"""`asr info BUNDLE`: what a model is and what it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import click

from asr.cli.next_step import typed
from asr.errors import EXIT_OK
from asr.terminal import plural


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON object.")
def info(bundle: Path | None, as_json: bool) -> int:
    """What BUNDLE is: alphabet, features, network, decoder, training data, licence.

    BUNDLE is an .asr file or a run directory; without one, the shipped digits recogniser.

    \b
    Example:
      asr info runs/mine
    """  # noqa: D301 (click reads the backspace)
    from asr.bundle import load_bundle
    from asr.bundle.find import SHIPPED, find_bundle
    from asr.inference.long_pauses import described_pauses
    from asr.inference.warps import described_warps

    path = Path(find_bundle(bundle))
    found = load_bundle(path)
    if as_json:
        from asr.recognizer import load
        click.echo(json.dumps(load(path).describe(), ensure_ascii=False, indent=1))
        return EXIT_OK
    features, model, training = found.features, found.model, dict(found.training)
    alphabet = found.tokenizer.alphabet
    front = (f"{model.stacking} frames stacked" if model.front_end == "stack" else
             f"convolutions with {model.conv_channels} channels")
    rows = {
        "bundle": f"{path} ({path.stat().st_size / 1e6:.1f} MB)",
        "alphabet": f"{plural(len(alphabet), 'character')}: {alphabet!r}",
        "texts": f"normaliser {found.normalizer}",
        "features": f"{features.kind}, {found.num_features} numbers every "
                    f"{1_000 * features.hop_length / features.sample_rate:g} ms, "
                    f"{features.sample_rate:,} Hz, normalisation {features.cmvn}",
        "network": f"{front}, {model.num_layers} x {model.units} bidirectional LSTM, "
                   f"{plural(sum(int(w.size) for w in found.weights.values()), 'weight')}"
                   f"{', matrices as int8 with a scale for each column' * bool(found.quantized)}",
        "decoder": found.decoder.kind + (f", {plural(len(found.decoder.lexicon), 'word')}"
                                         if found.decoder.lexicon else "")
                   + described_warps(found.decoder) + described_pauses(found.decoder),
        "training": "; ".join(f"{key} {_listed(value)}" for key, value in training.items()
                              if isinstance(value, (str, int, float, list)) and value != ""),
        "made with": ", ".join(f"{name} {version}" for name, version in found.versions.items()),
        "licence": "CC BY-SA 4.0, see asr/assets/MODEL_CARD.md" if path.resolve() ==
                   Path(SHIPPED).resolve() else str(training.get("licence") or "not stated"),
    }
    width = max(map(len, rows))
    for name, text in rows.items():
        click.echo(f"{name:<{width}}  {text}")
    click.echo(f"Next: {typed('asr', 'transcribe', path, 'RECORDING')}", err=True)
    return EXIT_OK


def _listed(value: object) -> str:
    """One value, or those of several runs whose weights were averaged."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
