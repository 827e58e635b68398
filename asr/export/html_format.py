"""HTML: one page that recognises speech in a browser, with the model and all code inside."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import UsageError
from asr.export.certificate import Exported
from asr.export.html_model import page_model, rounded
from asr.features.lengths import output_length
from asr.pages.frame import fill_page, page_file
from asr.pages.recorder import SCRIPTS, STYLES, recorder_body

if TYPE_CHECKING:
    from asr.bundle import Bundle
    from asr.export import Options
    from asr.recognizer import Recognizer

SUMMARY = "one HTML page that recognises speech in a browser, without a network"
SUFFIX = ".html"
QUANTIZED = ("float32",)
NEEDS: tuple[str, ...] = ()
EXTRA = ""
NODE = "node"  # runs the page's engine for the certificate
RUN_IN_NODE = """
const engine = require(process.argv[1]), fs = require("fs");
const page = fs.readFileSync(process.argv[2], "utf8");
const text = page.split('<script type="application/json" id="data">')[1].split("</script>")[0];
const model = engine.loadModel(JSON.parse(text).model);
let seconds = 0;
for (const line of fs.readFileSync(0, "utf8").split("\\n").filter(Boolean)) {
  const { rows, columns, data } = JSON.parse(line), bytes = Buffer.from(data, "base64");
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset,
    bytes.byteOffset + bytes.byteLength));
  const started = performance.now();
  const logits = engine.network(model, { rows, columns, values });
  seconds += (performance.now() - started) / 1000;
  console.log(Buffer.from(logits.values.buffer).toString("base64"));
}
console.log(seconds);
"""


def write(recognizer: Recognizer, path: Path, options: Options) -> Exported:
    """Write PATH: matrices as float16, or all of it as float32 with quantize="float32".

    Its certificate runs the engine of the page in Node, beside our own engine with the weights as
    the page has them.
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
    return Exported("html", "float16" if half else "", [path], engine, largest_batch=7,
                    notes=notes, runtime=(), reference=engine.reference)


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
        self._page, self._settings = page.resolve(), bundle.model
        self.reference = NumpyAcousticModel(bundle.model, bundle.num_features,
                                            bundle.tokenizer.vocab_size, bundle.weights)

    def logits(self, features: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray,
                                                                            np.ndarray]:
        """See `asr.network.engine.NumpyAcousticModel.logits`; each row runs alone."""
        import base64

        lines = [json.dumps({"rows": int(n), "columns": row.shape[1], "data": base64.b64encode(
            np.ascontiguousarray(row[:n], "<f4").tobytes()).decode()})
            for row, n in zip(features, num_frames, strict=True)]
        with tempfile.TemporaryDirectory() as folder:
            engine = Path(folder) / "engine.js"
            engine.write_text(engine_script(), encoding="utf-8")
            done = subprocess.run([NODE, "-e", RUN_IN_NODE, str(engine), str(self._page)],
                                  input="\n".join(lines), capture_output=True, text=True,
                                  check=False)
        if done.returncode:
            raise UsageError(f"Node cannot run the page's engine: {done.stderr.strip()[-300:]}")
        lengths = np.asarray(output_length(np.asarray(num_frames), self._settings))
        *encoded, seconds = done.stdout.split()
        self.seconds = float(seconds)
        rows = [np.frombuffer(base64.b64decode(line), "<f4") for line in encoded]
        labels = rows[0].size // int(lengths[0])
        logits = np.zeros((len(rows), int(lengths.max()), labels), np.float32)
        for target, row, length in zip(logits, rows, lengths, strict=True):
            target[:length] = row.reshape(-1, labels)
        return logits, lengths
