"""The page that recognises speech: the same transcripts in a real browser, and no network."""

import base64
import dataclasses
import json
import re
import subprocess

import numpy as np
import pytest
import soundfile
from chromium import BINARY, Page
from test_export import CLIPS, VARIANTS, brief, small  # noqa: F401 (a fixture)

import asr
from asr.bundle import reference_clip
from asr.bundle.find import SHIPPED
from asr.errors import AsrError, UsageError
from asr.export import export, html_format, html_model
from asr.features import normalize_features
from asr.manifest import read_manifest
from asr.network.engine import NumpyAcousticModel
from asr.text.tokenizer import CharTokenizer

needs_chromium = pytest.mark.skipif(BINARY is None, reason="Chromium is not installed")
pytestmark = pytest.mark.skipif(html_format.shutil.which("node") is None,
                                reason="Node is not installed")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "digits.html"
    path.write_text(html_format.render(asr.load().bundle), encoding="utf-8")
    return path


def run_engine(bundle, clips, tmp_path, quantize=""):
    """What the page's engine makes of samples, in Node."""
    (tmp_path / "engine.js").write_text(html_format.engine_script())
    (tmp_path / "in.json").write_text(json.dumps(
        {"model": html_model.page_model(bundle, quantize), "clips": [c.tolist() for c in clips]}))
    program = (
        "const e=require('./engine.js'),fs=require('fs');"
        "const d=JSON.parse(fs.readFileSync('in.json')),m=e.loadModel(d.model);"
        "console.log(JSON.stringify(d.clips.map(c=>{c=Float32Array.from(c);"
        "const f=e.features(m,c),l=e.network(m,e.normalize(m,f)),r=e.recognize(m,c);"
        "return{features:Array.from(f.values),logits:Array.from(l.values),text:r.text,"
        "words:r.words,pauses:e.longPauses(m,f)}})))")
    done = subprocess.run(["node", "-e", program], cwd=tmp_path, check=True, capture_output=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_step_equals_python(tmp_path, variant):
    recognizer = small(tmp_path, variant)
    clips = [reference_clip(8000), reference_clip(8000)[:1], reference_clip(8000)[:999]]
    for clip, got in zip(clips, run_engine(recognizer.bundle, clips, tmp_path), strict=True):
        features = recognizer.features(clip)
        assert np.abs(np.reshape(got["features"], features.shape) - features).max() < 1e-4
        logits = recognizer.logits(features)
        assert np.abs(np.reshape(got["logits"], logits.shape) - logits).max() < 1e-3
        expected = recognizer.transcribe(clip)
        assert got["text"] == expected.text
        assert [(w["text"], w["start"], w["end"], w["confidence"]) for w in got["words"]] == [
            (w.text, pytest.approx(w.start, abs=1e-4), pytest.approx(w.end, abs=1e-4),
             pytest.approx(w.confidence, abs=1e-4)) for w in expected.words]


def test_sample_clips_have_the_words_times_and_confidences_of_python(tmp_path):
    recognizer = asr.load()
    rows = read_manifest(CLIPS / "clips.jsonl")
    clips = [recognizer.load_audio(row.audio) for row in rows]
    for clip, got in zip(clips, run_engine(recognizer.bundle, clips, tmp_path, "float16"),
                         strict=True):
        expected = recognizer.transcribe(clip)
        assert got["text"] == expected.text
        for mine, word in zip(got["words"], expected.words, strict=True):
            assert mine["start"] == pytest.approx(word.start, abs=0.031)  # a frame of rounding
            assert mine["confidence"] == pytest.approx(word.confidence, abs=0.02)


# Half of 0.25 and of 0.65 s ends in half a frame, which Python rounds to the even number.
@pytest.mark.parametrize("max_pause", [
    0.25, *(pytest.param(rest, marks=pytest.mark.slow) for rest in (0.4, 0.65, 0.01))])
def test_long_pauses_are_shortened_as_in_python(tmp_path, max_pause):
    recognizer = asr.load()
    assert recognizer.pauses.kept
    recognizer = recognizer.with_decoder(max_pause=max_pause)
    bundle = dataclasses.replace(recognizer.bundle, decoder=recognizer.decoder_settings)
    clip = recognizer.load_audio(CLIPS / "1-rms.ogg")
    rng = np.random.default_rng(3)
    room, silence = rng.normal(0, 5e-4, 30_000).astype("f4"), np.zeros(20_000, "f4")
    audios = [np.concatenate(parts) for parts in (
        (room, clip, room, clip, room), (clip, silence, clip, room), (silence, clip, room[:9_000]),
        (clip, room[:5_300], clip), (clip, 0.1 * clip, room[:8_000], clip))]
    found = 0
    for audio, got in zip(audios, run_engine(bundle, audios, tmp_path), strict=True):
        spans = recognizer.pauses.find(recognizer.features(audio))
        assert [tuple(span) for span in got["pauses"]] == spans
        found += bool(spans)
        expected = recognizer.transcribe(audio)
        assert got["text"] == expected.text
        assert [(w["start"], w["end"], w["confidence"]) for w in got["words"]] == [
            (pytest.approx(w.start, abs=1e-4), pytest.approx(w.end, abs=1e-4),
             pytest.approx(w.confidence, abs=1e-3)) for w in expected.words]
    assert found >= 3


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["", "float16"])
def test_fifty_test_clips_and_the_sample_clips_equal_python(shared_data, tmp_path, quantize):
    """Take 0 of FSDD's official test set: ten digits of five speakers."""
    recognizer = asr.load()
    bundle = recognizer.bundle
    paths = sorted((shared_data / "fsdd" / "recordings").glob("*_0.wav"))
    assert len(paths) == 50
    clips = [recognizer.load_audio(path) for path in (*paths, *sorted(CLIPS.glob("*-*")))]
    weights = html_model.rounded(bundle.weights) if quantize else bundle.weights
    engine = NumpyAcousticModel(bundle.model, bundle.num_features, bundle.tokenizer.vocab_size,
                                weights)
    for clip, got in zip(clips, run_engine(bundle, clips, tmp_path, quantize), strict=True):
        assert got["text"] == recognizer.transcribe(clip).text
        features = recognizer.features(clip)
        normalized = normalize_features(features, bundle.features, bundle.cmvn)
        logits, _ = engine.logits(normalized[np.newaxis], np.array([len(normalized)], np.int32))
        assert np.abs(np.reshape(got["logits"], logits[0].shape) - logits[0]).max() < 1e-3


def test_resampling_keeps_a_tone_and_removes_what_would_fold(tmp_path):
    (tmp_path / "engine.js").write_text(html_format.engine_script())
    program = (
        "const e=require('./engine.js');const tone=f=>Float32Array.from({length:48000},"
        "(_,i)=>Math.sin(2*Math.PI*f*i/48000));const rms=x=>Math.sqrt(x.slice(1000,7000)"
        ".reduce((s,v)=>s+v*v,0)/6000);console.log(JSON.stringify([1000,3500,4600,9000]"
        ".map(f=>rms(e.resample(tone(f),48000,8000)))))")
    done = subprocess.run(["node", "-e", program], cwd=tmp_path, check=True, capture_output=True)
    kept, high, folded, far = json.loads(done.stdout)
    assert kept == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert high == pytest.approx(np.sqrt(0.5), rel=0.05)
    assert folded < 0.005 and far < 0.001


def test_a_beam_bundle_becomes_greedy_and_says_so(tmp_path):
    from asr.recipe import DecoderSettings
    recognizer = small(tmp_path, decoder=DecoderSettings(kind="beam"))
    result = export(recognizer, tmp_path / "p.html", quantize="float32")
    assert any("decodes greedily" in note for note in result.notes)


@pytest.mark.parametrize("quantize", ["", "float16", "float32"])
def test_the_certificate_runs_features_network_and_decoder_of_the_page(tmp_path, quantize):
    found = export(small(tmp_path), tmp_path / "p.html", quantize=quantize)
    assert found.tolerance and found.quantized == ("" if quantize == "float32" else "float16")
    assert [(one.entry, one.batch) for one in found.batches] == [
        (entry, size) for entry in ("features", "samples") for size in (1, 7, 32)]
    assert found.same_transcripts == (2, 2)


@pytest.mark.parametrize(("right", "wrong", "words"), [
    ("Math.log(Math.max(energy, 1e-10))", "Math.log(Math.max(energy, 1e-3))", "its features"),
    ("Math.tanh(c[u])", "c[u]", "first layer that differs is lstm_0"),
    ('words.map((word) => word.text).join(" ")', '"wrong"', "sample transcripts differ")])
@pytest.mark.parametrize("quantize", ["", "float32"])
def test_a_page_that_computes_something_else_is_refused(tmp_path, monkeypatch, right, wrong, words,
                                                         quantize):
    script = html_format.engine_script()
    assert right in script
    monkeypatch.setattr(html_format, "engine_script", lambda: script.replace(right, wrong))
    with pytest.raises(AsrError, match=words):
        export(small(tmp_path), tmp_path / "p.html", quantize=quantize)
    assert not list(tmp_path.glob("p*"))


def test_features_that_a_page_does_not_compute_are_refused_in_one_sentence(tmp_path):
    bundle = small(tmp_path).bundle
    for changes, name in (({"preemphasis": 0.97}, "preemphasis"), ({"kind": "pcen"}, "pcen")):
        odd = dataclasses.replace(bundle, features=dataclasses.replace(bundle.features, **changes))
        with pytest.raises(UsageError, match=f"not {name}. Export with --format onnx"):
            html_model.page_model(odd)


def test_the_digits_page_is_below_3_megabytes(digits):
    assert digits.stat().st_size < 3e6


def test_hostile_names_stay_text(tmp_path):
    bundle = asr.load().bundle
    evil = "<img src=x onerror=alert(1)>"
    hostile = dataclasses.replace(bundle, path=SHIPPED.with_name(f"{evil}.asr"))
    page = html_format.render(hostile)
    assert "<img src=x" not in page and page.count("</script>") == 2


@needs_chromium
def test_an_alphabet_of_markup_stays_text_in_the_browser(tmp_path):
    """The digits model with other characters: what it reads looks like tags."""
    bundle = asr.load().bundle
    other = str.maketrans(bundle.tokenizer.alphabet, " <>/scriptalx(1)")
    hostile = dataclasses.replace(
        bundle, tokenizer=CharTokenizer(bundle.tokenizer.alphabet.translate(other)),
        decoder=dataclasses.replace(bundle.decoder, lexicon=tuple(
            word.translate(other) for word in bundle.decoder.lexicon)),
        path=SHIPPED.with_name("<script>alert(1)<script>.asr"))
    page_path = tmp_path / "hostile.html"
    page_path.write_text(html_format.render(hostile), encoding="utf-8")
    clip = asr.load().load_audio(CLIPS / "1-rms.ogg")
    name = "<img src=x onerror=alert(1)>.wav"
    soundfile.write(tmp_path / name, clip, 8000, subtype="FLOAT")
    data = base64.b64encode((tmp_path / name).read_bytes()).decode()
    with Page(120.0) as page:
        page.open(page_path)
        page.wait("document.documentElement.dataset.ready === 'yes'")
        page.run(f"""(() => {{
          const moved = new DataTransfer();
          moved.items.add(new File([Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0))],
            {json.dumps(name)}, {{ type: "audio/wav" }}));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop",
            {{ dataTransfer: moved, bubbles: true, cancelable: true }})); }})()""")
        page.wait("document.querySelector('.take .tools')?.hidden === false")
        words = page.run("[...document.querySelectorAll('.words button')]"
                         ".map((b) => b.textContent)")
        assert " ".join(words) == asr.load().transcribe(clip).text.translate(other)
        assert any("<" in word for word in words)
        assert page.run("document.querySelector('.take h3 bdi').textContent") == name
        assert page.run("document.querySelectorAll('main img, main script').length") == 0
        assert page.run("document.scripts.length") == 2
        assert page.dialogs == [] and page.problems == []


@needs_chromium
def test_files_become_words_in_a_browser(digits, tmp_path):
    recognizer = asr.load()
    clip = recognizer.load_audio(CLIPS / "1-rms.ogg")
    soundfile.write(tmp_path / "<b>one.wav", clip, 8000, subtype="FLOAT")
    files = sorted(CLIPS.glob("*-*"))
    (tmp_path / "no.wav").write_bytes(b"this is no sound")
    with Page(120.0) as page:
        page.open(digits)
        page.wait("document.documentElement.dataset.ready === 'yes'")
        page.choose_files("#file", tmp_path / "<b>one.wav", *files, tmp_path / "no.wav")
        page.wait(f"document.querySelectorAll('.take').length === {len(files) + 2}"
                  " && document.getElementById('state').textContent === ''")
        texts = page.run("[...document.querySelectorAll('.take')].reverse().map(take => "
                         "[...take.querySelectorAll('.words button')].map(b => b.textContent)"
                         ".join(' '))")
        assert texts[0] == recognizer.transcribe(clip).text
        # The browser changes the rate of what is no WAV: the words are the same all the same, but
        # for those of which the model itself is not sure.
        read = [word for path in files for word in recognizer.transcribe(path).words]
        shown = " ".join(texts[1:-1]).split()
        unsure = [word.confidence < 0.7 for word in read]
        assert len(shown) == len(read) and sum(unsure) <= 2
        assert [one == word.text or doubt for one, word, doubt in zip(
            shown, read, unsure, strict=True)] == [True] * len(read)
        assert page.run("document.querySelector('.take .failure').textContent").startswith(
            "This browser cannot read")
        assert page.run("document.querySelectorAll('.take b').length") == 0
        page.run("document.querySelectorAll('.words button')[0].click()")
        factor = page.run("document.documentElement.dataset.rtf")
        assert float(factor) > 0
        shown = page.run("document.querySelector('footer').textContent")
        assert re.search(r"Real-time factor on this device: 0\.\d{3} \(seconds", shown)
        assert page.problems == []
        assert [url for url in page.requests if not url.startswith(
            ("file:", "blob:", "data:image/svg"))] == []  # the pictures of the player's buttons


@needs_chromium
def test_a_microphone_becomes_words_while_it_listens(digits, tmp_path):
    recognizer = asr.load()
    rate = 48_000
    sound = asr.audio.resample(recognizer.load_audio(CLIPS / "1-rms.ogg"), 8000, rate)
    silence = np.zeros(rate // 2, np.float32)
    soundfile.write(tmp_path / "mic.wav", np.concatenate([silence, sound, silence, silence]), rate,
                    subtype="PCM_16")
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             f"--use-file-for-fake-audio-capture={tmp_path / 'mic.wav'}%noloop"]
    with Page(120.0, flags) as page:
        page.open(digits)
        page.wait("document.documentElement.dataset.ready === 'yes'")
        page.run("document.getElementById('record').click()")
        first = recognizer.transcribe(CLIPS / "1-rms.ogg").text.split()[0]
        page.wait(f"document.querySelector('.words')?.textContent.includes('{first}')")
        assert page.run("document.getElementById('record').textContent") == "Stop"
        page.wait("document.querySelectorAll('.words button').length >= 3")
        page.run("document.getElementById('record').click()")
        page.wait("document.querySelector('.take .tools').hidden === false")
        assert page.problems == []
