"""HTML: one page that recognises speech in a browser, with the model and all code inside."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import UsageError
from asr.export.certificate import Exported
from asr.export.html_model import page_decoder, page_model, rounded
from asr.pages.frame import fill_page, page_file
from asr.pages.recorder import SCRIPTS, STYLES, recorder_body
from asr.recipe import DecoderSettings

if TYPE_CHECKING:
    from asr.bundle import Bundle
    from asr.export import Options
    from asr.recognizer import Recognizer

SUMMARY = "one HTML page that recognises speech in a browser, without a network"
SUFFIX = ".html"
QUANTIZED = ("float16", "float32")  # of which the first is the default
NEEDS: tuple[str, ...] = ()
EXTRA = ""
NODE = "node"  # runs the page's engine for the certificate
RUN_IN_NODE = """
const engine = require(process.argv[1]), fs = require("fs");
const page = fs.readFileSync(process.argv[2], "utf8"), wanted = process.argv[3];
const text = page.split('<script type="application/json" id="data">')[1].split("</script>")[0];
const model = engine.loadModel(JSON.parse(text).model);
let seconds = 0;
for (const line of fs.readFileSync(0, "utf8").split("\\n").filter(Boolean)) {
  const { rows, columns, data } = JSON.parse(line), bytes = Buffer.from(data, "base64");
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset,
    bytes.byteOffset + bytes.byteLength));
  if (wanted === "text") {
    console.log(JSON.stringify(engine.recognize(model, values).text));
    continue;
  }
  if (wanted === "layers") {
    engine.network(model, { rows, columns, values }, (name, y) => console.log(JSON.stringify({ name,
      rows: y.rows, data: Buffer.from(y.values.slice().buffer).toString("base64") })));
    continue;
  }
  const x = wanted === "samples" ? engine.normalize(model, engine.features(model, values))
    : { rows, columns, values };
  const started = performance.now();
  const logits = engine.network(model, x);
  seconds += (performance.now() - started) / 1000;
  console.log(Buffer.from(logits.values.buffer).toString("base64"));
}
console.log(seconds);
"""


def write(recognizer: Recognizer, path: Path, options: Options) -> Exported:
    """Write PATH: matrices as float16, or all of it as float32 with quantize="float32".

    Its certificate runs the engine of the page in Node, beside our own engine with the weights as
    the page has them; the texts of the sample clips are those that the page reads by itself.
    """
    if shutil.which(NODE) is None:
        raise UsageError("The page's engine is compared with ours in Node, and there is no node "
                         "on the path. Install Node.js 18 or later.")
    bundle, half = recognizer.bundle, options.quantize != "float32"
    page = render(bundle, "float16" if half else "")
    path.write_text(page, encoding="utf-8")
    notes = []
    if bundle.decoder.kind not in ("greedy", "lexicon"):
        notes.append(f"The page decodes greedily: it has no {bundle.decoder.kind} search and no "
                     "language model.")
    weights = rounded(bundle.weights) if half else bundle.weights
    engine = PageEngine(path, dataclasses.replace(bundle, weights=weights))
    kind = page_decoder(bundle)
    plain = DecoderSettings(kind=kind, lexicon=bundle.decoder.lexicon if kind == "lexicon" else (),
                            word_bonus=bundle.decoder.word_bonus,
                            max_pause=bundle.decoder.max_pause)
    return Exported("html", "float16" if half else "", [path], engine, engine.samples_to_logits,
                    notes=notes, runtime=(), reference=engine.reference, texts=engine.texts,
                    decoder=plain, layers=engine.layers)


def render(bundle: Bundle, quantize: str = "float16") -> str:
    """The page as text."""
    features, words = bundle.features, len(bundle.decoder.lexicon)
    heard = f"It knows {words} words and answers with nothing else." \
        if bundle.decoder.kind == "lexicon" else "It writes what it hears, letter by letter."
    title = f"Speech to text: {bundle.path.stem if bundle.path else 'a model'}"
    body = recorder_body(
        title, f"Speak, or drop recordings. {heard}",
        "Nothing leaves this page: the model is inside it and runs on your own device.",
        busy="Loading the model ...",
        footer=f"{bundle.model.num_layers} bidirectional LSTM layers of {bundle.model.units} "
               f"cells, {features.sample_rate} Hz. Model {bundle.bundle_hash[:12]}, made with "
               "keras-asr.")
    return fill_page(title, body, styles=STYLES, scripts=(*SCRIPTS, "recogniser.js"),
                     data={"model": page_model(bundle, quantize), "engine": engine_script()},
                     sources={"worker-src": "blob:"})


def engine_script() -> str:
    """The recogniser in JavaScript: for a worker and for Node."""
    return page_file("signal.js", "engine.js")


class PageEngine:
    """The engine of a page as Node runs it.

    Attributes:
        reference: our own engine with the weights as the page has them.
        seconds: seconds of the last run, without the start of Node.
    """

    name = "html"

    def __init__(self, page: Path, bundle: Bundle):
        from asr.network.engine import NumpyAcousticModel

        self.seconds = 0.0
        self._page, self._labels = page.resolve(), bundle.tokenizer.vocab_size
        self.reference = NumpyAcousticModel(bundle.model, bundle.num_features,
                                            bundle.tokenizer.vocab_size, bundle.weights)

    def logits(self, features: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray,
                                                                            np.ndarray]:
        """See `asr.network.engine.NumpyAcousticModel.logits`; each row runs alone."""
        rows = [row[:n] for row, n in zip(features, num_frames, strict=True)]
        return self._padded(self._run("logits", rows))

    def samples_to_logits(self, samples: np.ndarray, num_samples: np.ndarray
                          ) -> tuple[np.ndarray, np.ndarray]:
        """Samples (B, N) and lengths to logits, by the features of the page; each row alone."""
        rows = [row[:n, np.newaxis] for row, n in zip(samples, num_samples, strict=True)]
        return self._padded(self._run("samples", rows))

    def layers(self, features: np.ndarray, num_frames: np.ndarray) -> dict[str, np.ndarray]:
        """What each layer of the page gives of the first row, (1, T', D)."""
        import base64

        found = map(json.loads, self._run("layers", [features[0, :num_frames[0]]]))
        return {one["name"]: np.frombuffer(base64.b64decode(one["data"]), "<f4").reshape(
            1, one["rows"], -1) for one in found}

    def texts(self, clips: Sequence[np.ndarray]) -> list[str]:
        """What the page reads in recordings, (N,) samples at the model's rate each."""
        return [json.loads(line) for line in self._run("text", [clip[:, np.newaxis]
                                                                for clip in clips])]

    def _run(self, wanted: str, rows: Sequence[np.ndarray]) -> list[str]:
        """The lines that Node writes for matrices of float32, and `seconds`."""
        import base64

        lines = [json.dumps({"rows": len(row), "columns": row.shape[1], "data": base64.b64encode(
            np.ascontiguousarray(row, "<f4").tobytes()).decode()}) for row in rows]
        with tempfile.TemporaryDirectory() as folder:
            engine = Path(folder) / "engine.js"
            engine.write_text(engine_script(), encoding="utf-8")
            done = subprocess.run([NODE, "-e", RUN_IN_NODE, str(engine), str(self._page), wanted],
                                  input="\n".join(lines), capture_output=True, text=True,
                                  encoding="utf-8", check=False)
        if done.returncode:
            raise UsageError(f"Node cannot run the page's engine: {done.stderr.strip()[-300:]}")
        *results, seconds = done.stdout.rstrip("\n").split("\n")  # a text may hold other ends
        self.seconds = float(seconds)
        return results

    def _padded(self, encoded: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        import base64

        rows = [np.frombuffer(base64.b64decode(line), "<f4").reshape(-1, self._labels)
                for line in encoded]
        lengths = np.array([len(row) for row in rows], np.int64)
        logits = np.zeros((len(rows), int(lengths.max()), self._labels), np.float32)
        for target, row in zip(logits, rows, strict=True):
            target[:len(row)] = row
        return logits, lengths
