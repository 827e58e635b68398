"""A view as one HTML file with hover: no network, no library, opens by e-mail.

In: a `View`. Out: HTML with the arrays inside, which its own script draws. It shares the
frame, the style, the colours and the player of the other pages.
"""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np

from asr.audio import resample
from asr.inspection.network import DIRECTIONS, Inspection
from asr.inspection.view import (
    DYNAMIC_RANGE,
    PANELS,
    View,
    choose,
    label_name,
    loudness,
    shown_labels,
)
from asr.network.equations import Trace
from asr.pages.clips import CLIP_RATE, encode_mp3
from asr.pages.frame import THEME, escape, fill_page, visible
from asr.terminal import plural

MAX_VALUES = 4_000_000  # of all gates, two bytes each: beyond that only the asked layer comes along
FULL_SCALE = 32_767  # arrays travel as int16: a gate is true to 0.00003
_KEYS = ("<p class='soft wide'>Keys, after a click into the picture: <kbd>←</kbd> <kbd>→</kbd> "
         "time, <kbd>↑</kbd> <kbd>↓</kbd> cell, <kbd>space</kbd> listen.</p>")


def page(view: View, *, clip: str, bundle: str, with_sound: bool = True) -> str:
    """The HTML of an inspection.

    The page opens at the layer and direction of the view and can show the others too, as long as
    all of them together stay below MAX_VALUES.

    Args:
        view: from `choose`.
        clip, bundle: names for the title.
        with_sound: embed the recording, so that it plays while the cursor moves.
    """
    inspection = view.inspection
    model = (f"{len(inspection.layers)} bidirectional layers" if len(inspection.layers) > 1
             else "one bidirectional layer")
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in view.how_to_read(both=True))
    body = (
        f"<header><div class='top'><h1>Inside the LSTM: {escape(clip)}</h1>{THEME}</div>"
        f"<p class='headline' dir='auto'>{escape(view.headline())}</p>"
        f"<p>Heard by {escape(bundle)}: {model} of {inspection.num_units} cells a direction. "
        f"{inspection.transcript.duration:.2f} s, {plural(len(inspection.logits), 'step')} of "
        f"{1000 * inspection.seconds_per_frame:g} ms.</p>"
        f"<details open><summary>How to read this</summary><ul>{sentences}</ul></details></header>"
        "<noscript><p class='note'>The picture needs a browser with scripts on.</p></noscript>"
        "<div class='tools' id='tools'></div><p id='which' class='soft'></p>"
        "<div id='figure' class='card' tabindex='0' role='group' aria-label='Sound, gates, memory "
        "and posteriors over time; arrow keys move time and cell'></div>"
        "<div id='readout' class='card' role='status' aria-live='polite'></div>" + _KEYS)
    return fill_page(f"Inside the LSTM: {clip}", body, data=page_data(view, with_sound),
                     styles=("inspect.css",),
                     scripts=("signal.js", "picture.js", "player.js", "inspect.js"))


def page_data(view: View, with_sound: bool = True) -> dict:
    """What the script reads; arrays as base64 of little-endian integers, time first."""
    inspection = view.inspection
    labels = shown_labels(inspection)
    levels = loudness(inspection)
    return {
        "start": inspection.start, "step": inspection.seconds_per_frame,
        "frames": len(inspection.logits),
        "layers": [{direction: _direction(each) for direction, each in layer.items()}
                   for layer in _views(view)],
        "shown": [view.layer, view.direction], "span": view.span,
        "panels": [panel._asdict() for panel in PANELS],
        "sound": {"step": inspection.seconds_per_feature_frame, "frames": len(levels),
                  "low": -DYNAMIC_RANGE, "hertz": inspection.mel_frequencies.round(1).tolist(),
                  "values": _pack((levels / DYNAMIC_RANGE + 1.0) * 255, "u1")},
        "labels": [visible(label_name(inspection.labels[v])) for v in labels],
        "posteriors": _pack(inspection.posteriors[:, labels] * FULL_SCALE, "<i2"),
        "words": [[visible(w.text), w.start, w.end] for w in inspection.transcript.words],
        "characters": [[visible(c.text), c.start, c.end] for c in inspection.characters],
        "mp3": _mp3(inspection) if with_sound else ""}


def _views(view: View) -> list[dict[str, View]]:
    """By layer and direction; only the view itself where all of them are too much."""
    inspection = view.inspection
    count = (len(inspection.layers) * len(DIRECTIONS) * len(PANELS) * len(view.units)
             * len(inspection.logits))
    units = ",".join(map(str, view.units)) if view.named else ""
    layers: list[dict[str, View]] = []
    for layer in range(1, len(inspection.layers) + 1):
        layers.append({
            direction: view if (layer, direction) == (view.layer, view.direction)
            else replace(choose(inspection, layer, direction, units), span=view.span)
            for direction in DIRECTIONS
            if count <= MAX_VALUES or (layer, direction) == (view.layer, view.direction)})
    return layers


def _direction(view: View) -> dict:
    trace: Trace = view.trace
    high = max(1.0, float(np.abs(trace.memory).max()))
    return {"units": view.units, "which": view.which(), "high": high, "limit": view.memory_limit,
            "cells": {panel.name: _pack(getattr(trace, panel.name) * FULL_SCALE
                                        / (high if panel.kind == "memory" else 1.0), "<i2")
                      for panel in PANELS}}


def _pack(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.rint(array).astype(kind).tobytes()).decode("ascii")


def _mp3(inspection: Inspection) -> str:
    samples = inspection.samples
    if inspection.sample_rate != CLIP_RATE:
        samples = resample(samples, inspection.sample_rate, CLIP_RATE)
    return base64.b64encode(encode_mp3(samples)).decode("ascii")
