"""Looking inside: the gates are those of the equations, and of the network that transcribes."""

from __future__ import annotations

import base64
import dataclasses
import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from chromium import BINARY, Page
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import FEATURES, MODEL, TOKENIZER, random_weights, write_bundle

import asr
import asr.bundle.find
import asr.inspection.view
from asr.cli import run
from asr.errors import EXIT_DATA, EXIT_OK, EXIT_USAGE, UsageError
from asr.inspection import Inspection, choose
from asr.inspection.network import MAX_SECONDS, trace_direction, trace_network
from asr.inspection.page import FULL_SCALE, page, page_data
from asr.inspection.plot import MAX_STEPS, picture
from asr.inspection.view import (
    DYNAMIC_RANGE,
    MAX_LABELS,
    PANELS,
    compact,
    label_name,
    lively_units,
    loudness,
    parse_units,
    shown_labels,
)
from asr.network.engine import NumpyAcousticModel
from asr.network.equations import forward
from asr.recipe import FeatureSettings, ModelSettings
from asr.recognizer import Recognizer
from asr.text.tokenizer import CharTokenizer

RATE = FEATURES.sample_rate
SMALL = {"num_layers": 2, "units": 12}
MODELS = {"stack": MODEL,
          "stack, no norm": ModelSettings(**SMALL, stacking=4, subsampling=3),
          "conv": ModelSettings(**SMALL, front_end="conv", conv_channels=4, subsampling=4),
          "quiet edges": ModelSettings(**SMALL, stacking=3, subsampling=2, edge_frames=3),
          "conv, norm": ModelSettings(**SMALL, front_end="conv", conv_channels=4, subsampling=2,
                                      layer_norm=True)}
NAMES = {"clip": "clip.wav", "bundle": "tiny.asr"}
HOSTILE = "</script><img src=x onerror=window.hacked=1> $\\frac{1}$ \u202e\x1b[31m"

needs_chromium = pytest.mark.skipif(BINARY is None, reason="no Chromium to open the page with")


def speech(seconds: float = 0.8, seed: int = 3) -> np.ndarray:
    """Noise that comes and goes, (num_samples,) float32."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    return (0.2 * rng.normal(size=len(time)) * (1 + np.sin(20 * time)) / 2).astype(np.float32)


def recognizer(folder: Path, **changes) -> Recognizer:
    return asr.load(write_bundle(folder / "tiny.asr", **changes))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Recognizer:
    return recognizer(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def inside(tiny) -> Inspection:
    return tiny.inspect(speech())


def test_doctests():
    assert doctest.testmod(asr.inspection.view).failed == 0


# -- the arrays


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=6, deadline=None)
@given(num_frames=st.integers(1, 70), seed=st.integers(0, 1_000))
def test_equations_hold_and_the_logits_are_those_of_the_engine(name, num_frames, seed):
    model = MODELS[name]
    weights = random_weights(model, FEATURES, 5, seed)
    features = np.random.default_rng(seed).normal(size=(num_frames, FEATURES.n_mels)).astype("f4")
    layers, logits = trace_network(model, weights, features, 5)
    engine = NumpyAcousticModel(model, FEATURES.n_mels, 5, weights)
    expected, lengths = engine.logits(features[np.newaxis], np.array([num_frames]))
    assert logits.shape == (lengths[0], 5) and logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected[0], rtol=0, atol=1e-4)
    assert len(layers) == model.num_layers
    for layer in layers:
        for trace, before in ((layer.forward, slice(None, -1)), (layer.backward, slice(1, None))):
            assert all(array.shape == (lengths[0], model.units) for array in trace)
            for gate in (trace.input_gate, trace.forget_gate, trace.output_gate):
                assert gate.min() >= 0 and gate.max() <= 1  # 1 - 1e-17 rounds to 1
            assert np.abs(trace.candidate).max() <= 1
            zero = np.zeros((1, model.units))
            held = np.vstack([zero, trace.memory[before]] if before.start is None
                             else [trace.memory[before], zero])
            np.testing.assert_allclose(trace.memory, trace.forget_gate * held
                                       + trace.input_gate * trace.candidate, atol=1e-12)
            np.testing.assert_allclose(trace.output, trace.output_gate * np.tanh(trace.memory),
                                       atol=1e-12)


def test_the_backward_direction_is_in_the_time_of_the_recording(rng):
    weights = random_weights()
    inputs = rng.normal(size=(30, 60))
    trace = trace_direction(inputs, weights, "lstm_0/backward")
    reference = forward(inputs[::-1], *(weights[f"lstm_0/backward/{part}"].astype(float)
                                        for part in ("kernel", "recurrent_kernel", "bias")))
    for array, expected in zip(trace, reference, strict=True):
        np.testing.assert_array_equal(array, expected[::-1])
    changed = inputs.copy()
    changed[10] += 1.0  # what it reads at frame 10 it has not read yet at frame 11
    other = trace_direction(changed, weights, "lstm_0/backward")
    np.testing.assert_array_equal(other.memory[11:], trace.memory[11:])
    assert (other.memory[:11] != trace.memory[:11]).any(axis=1).all()
    ahead = trace_direction(changed, weights, "lstm_0/forward")
    unchanged = trace_direction(inputs, weights, "lstm_0/forward")
    np.testing.assert_array_equal(ahead.memory[:10], unchanged.memory[:10])
    assert (ahead.memory[10:] != unchanged.memory[10:]).any(axis=1).all()


def test_an_inspection_is_what_transcribe_does(tiny, inside):
    audio = speech()
    features = tiny.features(audio)
    np.testing.assert_array_equal(inside.features, features)
    np.testing.assert_array_equal(inside.log_mel, features)
    np.testing.assert_array_equal(inside.normalized, tiny.normalized(features))
    np.testing.assert_allclose(inside.logits, tiny.logits(features), atol=1e-4)
    np.testing.assert_allclose(inside.posteriors.sum(axis=1), 1.0)
    assert (inside.posteriors.argmax(axis=1) == inside.logits.argmax(axis=1)).all()
    transcript = tiny.transcribe(audio)
    assert inside.text == transcript.text != ""
    assert [(w.text, w.start, w.end) for w in inside.transcript.words] == [
        (w.text, w.start, w.end) for w in transcript.words]
    assert inside.labels == ("", *TOKENIZER.alphabet)
    assert inside.num_units == MODEL.units and len(inside.layers) == 2
    assert inside.seconds_per_frame == tiny.seconds_per_frame
    assert inside.seconds_per_feature_frame == FEATURES.hop_length / RATE
    assert inside.end == pytest.approx(inside.start + len(inside.logits) * inside.seconds_per_frame)
    assert abs(inside.start) < inside.seconds_per_frame
    assert len(audio) / RATE < inside.end + 2 * inside.seconds_per_frame


def test_characters_lie_where_the_posteriors_say_them(inside):
    assert "".join(c.text for c in inside.characters) == inside.text
    for character in inside.characters:
        first, last = (round((time - inside.start) / inside.seconds_per_frame)
                       for time in (character.start, character.end))
        label = inside.labels.index(character.text)
        assert first < last
        assert inside.posteriors[first:last, label].max() == pytest.approx(character.confidence)
    starts = [c.start for c in inside.characters]
    assert starts == sorted(starts)


def test_another_rate_and_a_file(tiny, tmp_path):
    audio = speech()
    soundfile.write(tmp_path / "clip.wav", audio, RATE, subtype="FLOAT")
    by_path = tiny.inspect(tmp_path / "clip.wav")
    np.testing.assert_array_equal(by_path.logits, tiny.inspect(audio).logits)
    assert len(tiny.inspect(np.repeat(audio, 2), 2 * RATE).features) == len(by_path.features)


@pytest.mark.parametrize("changes", [{"kind": "mfcc"}, {"deltas": 2}])
def test_the_sound_is_a_log_mel_picture_whatever_the_features_are(tmp_path, changes):
    features = FeatureSettings(**{**FEATURES.__dict__, **changes})
    inside = recognizer(tmp_path, features=features).inspect(speech())
    assert inside.log_mel.shape == (len(inside.features), features.n_mels)
    assert inside.features.shape[1] != features.n_mels
    np.testing.assert_allclose(inside.log_mel, asr.log_mel(
        speech(), sample_rate=RATE, n_fft=256, win_length=200, hop_length=80, n_mels=20), atol=1e-5)
    assert inside.mel_frequencies.shape == (features.n_mels,)


def test_recordings_that_cannot_be_inspected(tiny, tmp_path):
    with pytest.raises(UsageError, match="never gets louder than -70 dB.*Give a recording with"):
        tiny.inspect(np.zeros(RATE, np.float32))
    with pytest.raises(UsageError, match=r"61\.0 s is too long .* 60 s at most. Cut out the part"):
        tiny.inspect(speech(MAX_SECONDS + 1))
    with pytest.raises(UsageError, match="not mono"):
        tiny.inspect(np.zeros((RATE, 2), np.float32))
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny.inspect(speech()).start = 1.0
    with pytest.raises(UsageError, match="file says its own"):
        tiny.inspect(tmp_path / "clip.wav", 8_000)


@pytest.mark.parametrize("layer, direction, message", [
    (0, "forward", "no layer 0; this network has layers 1 to 2"),
    (3, "forward", "no layer 3"), (1, "sideways", "no direction 'sideways'; choose forward or")])
def test_wrong_layers_and_directions(inside, layer, direction, message):
    with pytest.raises(UsageError, match=message):
        inside.trace(layer, direction)


def test_one_layer(tmp_path):
    inside = recognizer(tmp_path, model=ModelSettings(num_layers=1, units=3)).inspect(speech())
    with pytest.raises(UsageError, match="no layer 2; this network has only layer 1"):
        choose(inside, 2)
    view = choose(inside)  # fewer units than are shown of others
    assert sorted(view.units) == [0, 1, 2] and "all 3 cells" in view.which()
    assert "one bidirectional layer" in page(view, **NAMES)


def test_quiet_frames_that_the_network_adds(tmp_path):
    audio = speech()
    inside = recognizer(tmp_path, model=MODELS["quiet edges"]).inspect(audio)
    assert inside.start == pytest.approx(-3 * inside.seconds_per_frame)
    assert inside.end > len(audio) / RATE + 2 * inside.seconds_per_frame
    assert any("quiet frames" in sentence for sentence in choose(inside).how_to_read())
    assert picture(choose(inside), **NAMES)


# -- what is shown


@pytest.mark.parametrize("text, units", [
    ("0-15", tuple(range(16))), ("3,7,20-22", (3, 7, 20, 21, 22)), (" 5 ", (5,)),
    ("9, 1 - 2", (9, 1, 2))])
def test_units(text, units):
    assert parse_units(text, 128) == units
    assert parse_units(compact(units).replace("–", "-"), 128) == units


@pytest.mark.parametrize("text, message", [
    ("a", "not a list of units; write them like"), ("1,,2", "not a list"), ("-3", "not a list"),
    ("1-", "not a list"), ("²", "not a list"), ("0-128", "0 to 127"), ("128", "128 units"),
    ("5-2", "a range goes upwards"), ("1,0-3", "names a unit twice")])
def test_wrong_units(text, message):
    with pytest.raises(UsageError, match=message):
        parse_units(text, 128)


def test_lively_units_by_hand():
    memory = np.zeros((4, 5))
    memory[3, 0], memory[1, 2], memory[2, 4] = 9.0, -5.0, 7.0
    memory[:, 1] = 100.0  # large, but it never moves
    assert lively_units(memory, 3) == (2, 4, 0)
    assert len(lively_units(memory)) == 5


def test_a_view_is_the_rows_that_it_names(inside):
    view = choose(inside, 1, "backward", "7,2-3")
    assert view.units == (7, 2, 3) and view.named
    np.testing.assert_array_equal(view.trace.memory, inside.layers[0].backward.memory[:, [7, 2, 3]])
    assert view.which() == "Layer 1 of 2, backward; units 7, 2–3"
    assert choose(inside, 1, units="7").which() == "Layer 1 of 2, forward; unit 7"
    assert any("right to left" in sentence for sentence in view.how_to_read())
    default = choose(inside)
    assert (default.layer, default.direction, default.named) == (2, "forward", False)
    assert not any("right to left" in sentence for sentence in default.how_to_read())
    assert any("right to left" in sentence for sentence in default.how_to_read(both=True))


def test_colours_of_the_memory_end_where_few_values_lie_beyond(inside):
    view = choose(inside)
    memory = np.abs(view.trace.memory)
    assert (memory > view.memory_limit).mean() <= 0.02
    assert view.memory_limit <= memory.max() + 0.1


def test_loudness_is_in_decibels(inside):
    levels = loudness(inside)
    assert levels.max() == 0.0 and levels.min() >= -DYNAMIC_RANGE
    louder = np.array(inside.log_mel, np.float64)
    np.testing.assert_allclose(levels[louder.argmax() // louder.shape[1]].max(), 0.0)
    one, other = louder.reshape(-1)[:2]
    if min(levels.reshape(-1)[:2]) > -DYNAMIC_RANGE:
        assert levels[0, 0] - levels[0, 1] == pytest.approx(10 * (one - other) / np.log(10))


def test_labels(inside, tmp_path):
    assert shown_labels(inside) == [*range(1, 10), 0]
    assert [label_name(x) for x in ("", " ", "a")] == ["blank", "space", "a"]
    large = CharTokenizer("".join(map(chr, range(0x4E00, 0x4E00 + 90))))
    inside = recognizer(tmp_path, tokenizer=large).inspect(speech())
    labels = shown_labels(inside)
    assert len(labels) == MAX_LABELS and labels[-1] == 0 and labels[:-1] == sorted(labels[:-1])
    hidden = set(range(91)) - set(labels)
    peaks = inside.posteriors.max(axis=0)
    assert max(peaks[list(hidden)]) <= min(peaks[labels[:-1]])
    assert picture(choose(inside), **NAMES)  # no font here has these glyphs: boxes, no warning


def test_a_long_text_is_cut_in_the_headline(inside):
    text = "eins zwei " * 40
    long = dataclasses.replace(inside, transcript=dataclasses.replace(inside.transcript, text=text))
    assert choose(long).headline().startswith("“eins zwei") and choose(long).headline()[-2:] == "…”"
    assert len(choose(long).headline()) <= 112
    assert choose(inside).headline() == f"“{inside.text}”"


@pytest.mark.parametrize("text, message", [
    ("1", "not a stretch of time; write it like 1.5-4"), ("a-b", "not a stretch"),
    ("-1-2", "not a stretch"), ("2-3", "lasts 0.80 s"), ("0.5-0.2", "must go upwards by 0.02 s"),
    ("0.5-0.5", "shows nothing")])
def test_wrong_seconds(inside, text, message):
    with pytest.raises(UsageError, match=message):
        choose(inside, seconds=text)


def test_a_stretch_of_time(inside):
    view = choose(inside, seconds="0.2-0.5")
    assert view.span == (0.2, 0.5)
    assert choose(inside, seconds="0.2-9").span == (0.2, inside.end)
    step, start = inside.seconds_per_frame, inside.start
    first, last = round((0.2 - start) / step), round((0.5 - start) / step)
    assert view.units == lively_units(inside.trace(2).memory[first:last])
    assert data_of(page(view, **NAMES))["span"] == [0.2, 0.5]
    part, whole = (picture(v, format="svg", **NAMES) for v in (view, choose(inside)))
    assert len(part) < len(whole)


# -- the picture


def test_picture_formats(inside):
    view = choose(inside, units="0-3")
    png = picture(view, **NAMES)
    assert png.startswith(b"\x89PNG")
    assert png == picture(view, **NAMES)
    assert int.from_bytes(png[16:20], "big") > 1_800  # pixels across
    assert picture(view, format="pdf", **NAMES).startswith(b"%PDF")
    assert len(inside.logits) < MAX_STEPS
    with pytest.raises(UsageError, match=r"14\.0 s is too wide .* 10 s at most, such as --seconds"):
        picture(dataclasses.replace(view, span=(0.0, 14.0)), **NAMES)
    with pytest.raises(UsageError, match="no picture format 'jpg'; choose one of png, svg, pdf"):
        picture(view, format="jpg", **NAMES)


def test_picture_of_a_hostile_name_that_is_no_formula(inside):
    svg = picture(choose(inside, units="0"), clip="$\\frac$ \x07</svg>", bundle="a$b$c",
                  format="svg")
    assert b"</svg>" in svg[-20:] and svg.count(b"</svg>") == 1


def test_picture_without_matplotlib(inside, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r'needs matplotlib.*pip install "keras-asr\[plot\]"'):
        picture(choose(inside), **NAMES)
    assert page(choose(inside), **NAMES)


def test_a_text_of_nothing(tmp_path):
    weights = random_weights()
    weights["output/bias"] = np.array([50.0, *[0.0] * 9], np.float32)
    weights["output/kernel"] *= 0.0
    inside = recognizer(tmp_path, weights=weights).inspect(speech())
    assert inside.text == "" and inside.characters == ()
    assert "(nothing was understood)" in page(choose(inside), **NAMES)
    assert picture(choose(inside), **NAMES)


# -- the page


def data_of(text: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found)


def unpack(text: str, kind: str = "<i2") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).astype(float)


def test_the_page_holds_the_arrays(inside):
    view = choose(inside, 1, "backward", "7,2-3")
    data = data_of(page(view, **NAMES))
    steps = len(inside.logits)
    for number, layer in enumerate(data["layers"], start=1):
        for direction in ("forward", "backward"):
            shown = layer[direction]
            assert shown["units"] == [7, 2, 3]
            trace = choose(inside, number, direction, "7,2-3").trace
            for panel in PANELS:
                scale = shown["high"] if panel.kind == "memory" else 1.0
                values = unpack(shown["cells"][panel.name]).reshape(steps, 3) / FULL_SCALE * scale
                np.testing.assert_allclose(values, getattr(trace, panel.name),
                                           atol=1e-4 * max(1.0, scale))
    posteriors = unpack(data["posteriors"]).reshape(steps, -1) / FULL_SCALE
    np.testing.assert_allclose(posteriors, inside.posteriors[:, shown_labels(inside)], atol=1e-4)
    levels = unpack(data["sound"]["values"], "u1").reshape(inside.log_mel.shape)
    np.testing.assert_allclose((levels / 255 - 1) * DYNAMIC_RANGE, loudness(inside), atol=0.2)
    assert data["shown"] == [1, "backward"]
    assert base64.b64decode(data["mp3"])[:1] == b"\xff"
    assert page_data(view, with_sound=False)["mp3"] == ""


def test_too_much_for_one_page_shows_what_was_asked(inside, monkeypatch):
    monkeypatch.setattr("asr.inspection.page.MAX_VALUES", 10)
    data = data_of(page(choose(inside, 2, "backward"), **NAMES))
    assert [sorted(layer) for layer in data["layers"]] == [[], ["backward"]]


def test_the_page_needs_no_network(inside):
    text = page(choose(inside), **NAMES)
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:|//)""", text)
    assert len(text) < 400_000


def test_hostile_names_stay_text(inside):
    text = page(choose(inside), clip=HOSTILE, bundle=HOSTILE)
    assert "<img" not in text and "\x1b" not in text and "\u202e" not in text
    assert data_of(text)["frames"] == len(inside.logits)


# -- in a browser


@pytest.fixture(scope="module")
def browser():
    with Page() as opened:
        yield opened


@pytest.fixture
def opened(browser, inside, tmp_path):
    path = tmp_path / "inside.html"
    path.write_text(page(choose(inside, 1), clip=HOSTILE, bundle="tiny.asr"), encoding="utf-8")
    browser.problems.clear()
    browser.size(1280, 900)
    browser.open(path)
    yield browser
    assert browser.problems == []
    assert browser.requests[:1] == [path.resolve().as_uri()[:80]]
    assert all(each.startswith("data:") for each in browser.requests[1:])
    assert browser.run("typeof window.hacked") == "undefined"


def numbers(text: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in re.findall(r"−?\d+\.\d\d", text)]


def check_readout(browser: Page, inside: Inspection) -> None:
    """The sentence under the cursor holds the numbers of the arrays, and they add up."""
    state = browser.run("({ ...state, unit: shown.units[state.row] })")
    trace = inside.trace(state["layer"], state["direction"])
    t, unit = state["frame"], state["unit"]
    text = browser.run("document.querySelector('#readout p:last-child').textContent")
    f, held, i, g, c, o, tanh, h = numbers(text)
    assert f"Cell {unit}:" in text
    for shown, array in ((f, trace.forget_gate), (i, trace.input_gate), (g, trace.candidate),
                         (c, trace.memory), (o, trace.output_gate), (h, trace.output)):
        assert shown == pytest.approx(array[t, unit], abs=0.006)
    before = t - 1 if state["direction"] == "forward" else t + 1
    inner = 0 <= before < len(trace.memory)
    assert held == pytest.approx(trace.memory[before, unit] if inner else 0.0, abs=0.006)
    assert tanh == pytest.approx(np.tanh(trace.memory[t, unit]), abs=0.006)
    said = browser.run("document.querySelector('#readout p').textContent")
    best = inside.posteriors[t].argmax()
    share = 100 * inside.posteriors[t, best]
    assert f"says {label_name(inside.labels[best])} {share:.0f} %" in said


@needs_chromium
def test_hover_and_keys_read_the_arrays(opened, inside):
    check_readout(opened, inside)
    box = opened.run("(() => { const plot = document.querySelectorAll('.cells .plot')[3]; "
                     "plot.scrollIntoView({ block: 'center' }); "
                     "const b = plot.getBoundingClientRect(); "
                     "return [b.left, b.top, b.width, b.height]; })()")
    opened.send("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + 0.6 * box[2],
                y=box[1] + 0.9 * box[3])
    steps = len(inside.logits)
    assert opened.run("state.frame") == int(0.6 * steps)
    assert opened.run("state.row") == 10  # the last but one of twelve
    check_readout(opened, inside)
    opened.run("document.getElementById('figure').focus()")
    for key, field in (("ArrowLeft", "frame"), ("ArrowUp", "row")):
        before = opened.run(f"state.{field}")
        opened.key(key)
        assert opened.run(f"state.{field}") == before - 1
    check_readout(opened, inside)
    opened.run("move({ frame: -5 })")
    check_readout(opened, inside)  # before the first step the memory is empty


@needs_chromium
def test_no_sound_is_read_where_the_network_adds_quiet_frames(browser, tmp_path):
    inside = recognizer(tmp_path, model=MODELS["quiet edges"]).inspect(speech())
    (tmp_path / "page.html").write_text(page(choose(inside), **NAMES), encoding="utf-8")
    browser.open(tmp_path / "page.html")
    steps = len(inside.logits)
    for step, heard in ((0, False), (2, False), (3, True), (steps // 2, True), (steps - 1, False)):
        text = browser.run(f"move({{ frame: {step} }}); "
                           "document.querySelector('#readout p').textContent")
        assert ("dB" in text, "outside the recording" in text) == (heard, not heard)


@needs_chromium
def test_layers_and_directions_can_be_switched(opened, inside):
    for name, value in (("layer", "2"), ("direction", "backward")):
        opened.run(f"(() => {{ const box = document.getElementById('{name}'); box.value = "
                   f"'{value}'; box.dispatchEvent(new Event('change')); }})()")
        check_readout(opened, inside)
    assert "Layer 2 of 2, backward" in opened.run("document.getElementById('which').textContent")
    opened.run(f"move({{ frame: {len(inside.logits) - 1} }})")
    check_readout(opened, inside)


@needs_chromium
def test_pixels_are_the_values(opened, inside):
    """The colour of a gate near 0 is viridis's dark end, near 1 its light one."""
    trace, units = inside.trace(1), opened.run("shown.units")
    for row, unit in enumerate(units):
        for t in (0, len(trace.memory) // 2, len(trace.memory) - 1):
            gate = trace.forget_gate[t, unit]
            r, g, b, _ = opened.run(
                "[...document.querySelectorAll('.cells canvas')[2].getContext('2d')"
                f".getImageData({t}, {row}, 1, 1).data]")
            if gate < 0.02:
                assert r < 80 and g < 30 and b > 75
            elif gate > 0.98:
                assert r > 230 and g > 220
    axis = opened.run("[...document.querySelectorAll('.axis span')].map((n) => n.textContent)")
    assert axis[0] == "0" and axis[-1] == "time in seconds"


@needs_chromium
def test_all_panels_share_one_time_axis(opened):
    edges = opened.run("[...document.querySelectorAll('.plot')].map((plot) => { const b = "
                       "plot.getBoundingClientRect(); return [b.left, b.right]; })")
    assert len(edges) > 12
    assert {tuple(map(round, edge)) for edge in edges} == {tuple(map(round, edges[0]))}


@needs_chromium
def test_the_sound_moves_the_cursor(opened):
    opened.run("document.getElementById('play').click()")
    opened.wait("player.time > 0.3 || player.audio.ended")
    assert opened.run("player.audio.error") is None
    opened.wait("state.frame > 5")


@needs_chromium
def test_phone_dark_and_zoom(opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    light = opened.run(colour)
    opened.run("document.getElementById('theme').click()")
    assert opened.run(colour) != light
    wide = opened.run("track.offsetWidth")
    opened.run("document.getElementById('wider').click()")
    assert opened.run("track.offsetWidth") == pytest.approx(2 * wide, abs=2)
    opened.size(390, 844, phone=True)
    opened.wait("document.querySelector('.scroller').offsetWidth < 390")
    assert opened.run("document.documentElement.scrollWidth") <= 390


# -- the command line


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "tiny.asr")
    soundfile.write(tmp_path / "clip.wav", speech(), RATE)
    return tmp_path


def test_command(folder, capsys):
    assert run(["inspect", "tiny.asr", "clip.wav"]) == EXIT_OK
    out, err = capsys.readouterr()
    assert out == "clip-inspect.html\n"
    assert "Layer 2 of 2, forward; all 12 cells" in err
    text = (folder / "clip-inspect.html").read_text("utf-8")
    assert "Heard by tiny.asr" in text and data_of(text)["mp3"]
    assert run(["inspect", "clip.wav", "--bundle", "tiny.asr", "--layer", "1", "--direction",
                "backward", "--units", "0-4,9", "-o", "a.png", "-o", "b.html", "--no-sound"]) == 0
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
    data = data_of((folder / "b.html").read_text("utf-8"))
    assert data["mp3"] == "" and data["shown"] == [1, "backward"]
    assert data["layers"][0]["backward"]["units"] == [0, 1, 2, 3, 4, 9]


def test_the_command_overwrites_only_when_told(folder, capsys):
    (folder / "mine.html").write_text("mine")
    arguments = ["inspect", "tiny.asr", "clip.wav", "-o", "new.html", "-o", "mine.html"]
    assert run(arguments) == EXIT_USAGE
    assert "mine.html exists and is kept" in capsys.readouterr().err
    assert (folder / "mine.html").read_text() == "mine" and not (folder / "new.html").exists()
    assert run([*arguments, "--overwrite"]) == EXIT_OK
    assert "<html" in (folder / "mine.html").read_text("utf-8")


@pytest.mark.parametrize("arguments, message", [
    (["clip.wav", "--layer", "3"], "There is no layer 3; this network has layers 1 to 2."),
    (["clip.wav", "--units", "0-12"], "12 units a direction, 0 to 11"),
    (["clip.wav", "--units", "x"], "not a list of units"),
    (["clip.wav", "--seconds", "9-10"], "the recording lasts 0.80 s"),
    (["clip.wav", "-o", "x.jpg"], "ends in one of .html, .png, .svg, .pdf"),
    (["clip.wav", "-o", "no/x.png"], "there is no folder no. Make it first"),
    (["clip.wav", "-o", "x.png", "-o", "./x.png"], "names one file twice"),
    (["clip.wav", "clip.wav"], "one recording, got 2"), ([], "one recording, got 0"),
    (["silent.wav"], "nothing to see")])
def test_wrong_commands_are_one_sentence(folder, capsys, arguments, message):
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    before = set(folder.iterdir())
    assert run(["inspect", "tiny.asr", *arguments]) == EXIT_USAGE
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert set(folder.iterdir()) == before


def test_a_missing_recording_and_a_missing_bundle(folder, capsys):
    assert run(["inspect", "tiny.asr", "no.wav"]) == EXIT_DATA
    assert "no.wav does not exist" in capsys.readouterr().err


def test_a_run_directory_is_named_in_the_page(folder):
    (folder / "digits").mkdir()
    (folder / "tiny.asr").rename(folder / "digits" / "best.asr")
    assert run(["inspect", "digits", "clip.wav", "-o", "x.html"]) == EXIT_OK
    assert "Heard by digits/best.asr" in (folder / "x.html").read_text("utf-8")


def test_neither_tensorflow_nor_matplotlib_is_needed(folder):
    code = ("import sys\nfrom asr.cli import run\n"
            "assert run(['inspect', 'tiny.asr', 'clip.wav', '-o', 'x.html']) == 0\n"
            "print(*[m for m in ('tensorflow', 'keras', 'matplotlib') "
            "if m in sys.modules])")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=folder, text=True,
                          capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["x.html", ""]


# -- the shipped model


@pytest.mark.skipif(not asr.bundle.find.SHIPPED.is_file(), reason="nothing is shipped")
def test_the_shipped_model_shows_its_gates():
    recognizer = asr.load()
    clip = asr.bundle.find.SHIPPED.parent / "clips" / "1-rms.ogg"
    inside = recognizer.inspect(clip)
    np.testing.assert_allclose(inside.logits, recognizer.logits(inside.features), atol=1e-4)
    assert inside.text == recognizer.transcribe(clip).text
    view = choose(inside)
    assert len(view.units) == 16
    assert len(page(view, **NAMES)) < 300_000
