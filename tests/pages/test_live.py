"""The page of `asr serve` in a real browser: microphone, files, corrections, downloads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from chromium import BINARY, Page

import asr
from asr.manifest import read_manifest
from asr.pages.live import live_page
from asr.transcript import Transcript, Word, render

pytest.importorskip("starlette", reason="the server's packages are not installed")
pytest.importorskip("uvicorn", reason="the server's packages are not installed")
pytest.importorskip("websockets", reason="the server's packages are not installed")
from live_server import HOSTILE, RATE, LiveServer, served  # noqa: E402

DIGITS = "zero one two three four five six seven eight nine".split()
CLIPS = asr.__path__[0] + "/assets/clips"
pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="Chromium is not installed"),
    # Of websockets' old interface, inside uvicorn.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:websockets"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:uvicorn")]
TAKE = "document.querySelector('.take')"
WORDS = f"[...{TAKE}.querySelectorAll('.words button')]"


@pytest.fixture(scope="module")
def recognizer():
    return asr.load()


@pytest.fixture(scope="module")
def spoken(recognizer):
    return recognizer.transcribe(f"{CLIPS}/1-rms.ogg")


@pytest.fixture(scope="module")
def server(recognizer):
    return LiveServer(recognizer)


@pytest.fixture(scope="module")
def browser(recognizer, server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    sound = asr.audio.resample(recognizer.load_audio(f"{CLIPS}/1-rms.ogg"), 8_000, 48_000)
    silence = np.zeros(24_000, np.float32)
    # Again and again: a busy machine may lose some of it.
    soundfile.write(folder / "mic.wav", np.concatenate([silence, sound]), 48_000,
                    subtype="PCM_16")
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             f"--use-file-for-fake-audio-capture={folder / 'mic.wav'}"]
    with served(server.app()) as address, Page(120.0, flags) as page:
        page.address = address
        yield page


@pytest.fixture
def page(browser):
    browser.problems.clear()
    browser.open(browser.address)
    browser.wait("document.documentElement.dataset.ready === 'yes'")
    yield browser
    assert browser.problems == []
    host = browser.address.split("/")[2]
    assert [url for url in browser.requests if not url.startswith(
        ("data:image/svg", f"http://{host}/", f"ws://{host}/v1/stream",
         f"blob:http://{host}/"))] == []  # the pictures are of the browser's own player
    assert browser.run("typeof window.hacked") == "undefined"


def set_value(page, selector: str, text: str) -> None:
    page.run(f"(() => {{ const box = document.querySelector({json.dumps(selector)}); "
             f"box.value = {json.dumps(text)}; box.dispatchEvent(new Event('change')); }})()")


def kept(page, folder, name: str) -> bytes:
    """What was saved; the browser writes it on its own time."""
    path = folder / name
    for _ in range(2_400):
        if path.exists() and path.stat().st_size:
            return path.read_bytes()
        page.run("new Promise(resolve => setTimeout(resolve, 50))")
    raise AssertionError(f"{name} was not saved; there is {sorted(folder.iterdir())}")


def test_the_page_is_one_file_with_one_style_and_one_script():
    text = live_page()
    for tag in ("style", "script"):
        assert text.count(f"<{tag}") == text.count(f"</{tag}>") == 1
    markup = text.split("<body>")[1].split("<script>")[0]
    assert "style=" not in markup and " on" + "click" not in markup
    assert not [line for line in text.split("\n") if "http://" in line or "src=" in line
                and "img-src" not in line]


def test_speech_becomes_words_while_it_is_spoken_and_then_training_data(
        page, server, tmp_path):
    page.download_to(tmp_path)
    set_value(page, "#hot", "seven, zero:2")
    page.key("r")
    page.wait("document.getElementById('record').textContent === 'Stop'")
    partial = f"{TAKE}?.querySelector('.partial').textContent"
    page.wait(f"{partial}?.trim().length > 0")
    assert page.run(f"{WORDS}.length") == 0  # nothing of it is certain yet
    assert page.run("Number(document.getElementById('level').value)") >= 0
    page.wait(f"{partial}.trim().split(' ').length > 3")
    stable, rest = page.run(f"['stable', 'open'].map(kind => {TAKE}.querySelector("
                            "`.partial .${kind}`).textContent)")
    assert stable in DIGITS and rest.startswith(" ") and "italic" == page.run(
        f"getComputedStyle({TAKE}.querySelector('.open')).fontStyle")
    page.key("r")
    page.wait(f"{TAKE}.querySelector('.tools').hidden === false")
    text = server.said.text
    assert page.run(f"{WORDS}.map(b => b.textContent).join(' ')") == text
    assert page.run(partial) == "" and set(text.split()) <= set(DIGITS)
    assert server.configs == [{"sample_rate": RATE, "words": 1, "model": "digits",
                               "hot_words": ["seven", "zero:2"]}]
    assert page.run(f"{TAKE}.querySelector('[role=log]').textContent.trim()") == text
    play_a_word(page)
    correct_and_keep(page, server, tmp_path)


def play_a_word(page) -> None:
    start, end = page.run("(() => { const word = Take.all[0].list.words[1]; "
                          "return [word.start, word.end]; })()")
    page.run(f"{WORDS}[1].click()")
    page.wait(f"Take.all[0].player.time > {start}")
    page.wait("Take.all[0].player.paused")
    assert end <= page.run("Take.all[0].player.time") < end + 1.0
    assert page.run("Take.all[0].player.audio.error") is None


def correct_and_keep(page, server, folder) -> None:
    page.run("document.activeElement.blur()")
    page.key("e")
    assert page.run("document.activeElement.tagName") == "TEXTAREA"
    words = server.said.text.split()
    corrected = " ".join(["well", words[0], "ELEVEN", *words[2:]])
    set_value(page, ".editor textarea", corrected)
    assert page.run(f"{WORDS}.map(b => b.textContent).join(' ')") == corrected
    assert page.run(f"{TAKE}.classList.contains('changed')")
    times = page.run("Take.all[0].list.words.map(w => [w.text, w.start, w.end, w.confidence])")
    assert all(0 <= start <= end for _, start, end, _ in times)
    assert [round(a[1], 3) for a in times[2:]] == [
        round(start, 3) for start in page.run("Take.all[0].heard.slice(1).map(w => w.start)")]
    assert page.run("Take.all[0].unsaved")
    for name in ("srt", "vtt", "json", "row"):
        page.run(f"{TAKE}.querySelector('button.{name}').click()")
    assert not page.run("Take.all[0].unsaved")
    stem = page.run("Take.all[0].id")
    transcript = Transcript(corrected, 0.0, tuple(Word(*row) for row in times), 0.0,
                            page.run("Take.all[0].duration"))
    assert kept(page, folder, f"{stem}.srt").decode() == render(transcript, "srt", "")
    assert kept(page, folder, f"{stem}.vtt").decode() == render(transcript, "vtt", "")
    assert json.loads(kept(page, folder, f"{stem}.json"))["text"] == corrected
    kept(page, folder, f"{stem}.wav")
    kept(page, folder, f"{stem}.jsonl")
    (row,) = read_manifest(folder / f"{stem}.jsonl")
    samples, rate = soundfile.read(row.audio, dtype="float32")
    assert (row.text, rate) == (corrected, RATE)
    assert row.duration == pytest.approx(len(samples) / rate, abs=1e-3)
    assert np.array_equal(samples, server.audio)  # the server got what the page keeps


def test_files_errors_and_hostile_answers(page, server, spoken, tmp_path):
    broken = "The recording is damaged at byte 4; send it whole."
    server.answers = {
        "broken.wav": (400, {"error": {"message": broken, "code": "audio.decode"}}),
        "silent.wav": (502, {}),
        "evil.wav": (200, {"duration": 1.0, "text": HOSTILE, "words": [
            {"word": HOSTILE, "start": 0.1, "end": 0.5, "confidence": 0.3},
            {"word": "ok", "start": "x", "end": None, "confidence": 7}]})}
    names = [f"{CLIPS}/1-rms.ogg"]
    for name in (*server.answers, "<b>evil.wav"):
        (tmp_path / name).write_bytes(b"no sound")
        names.append(tmp_path / name)
    server.answers["<b>evil.wav"] = server.answers["evil.wav"]
    set_value(page, "#hot", " new york ;x")
    # A dialogue, and then a drop: both ways in.
    page.choose_files("#file", names[0])
    page.wait(f"{TAKE}?.querySelector('.tools').hidden === false")
    assert page.run(f"{WORDS}.map(b => b.textContent).join(' ')") == spoken.text
    assert server.forms[-1] == {"model": "digits", "response_format": "verbose_json",
                                "timestamp_granularities[]": "word", "prompt": "new york, x"}
    assert page.run(f"{TAKE}.querySelector('canvas').dataset.drawn") == "yes"
    page.run("""(() => { const moved = new DataTransfer();
      for (const name of ['broken.wav', 'silent.wav', 'evil.wav', '<b>evil.wav']) {
        moved.items.add(new File(['no sound'], name)); }
      document.getElementById('drop').dispatchEvent(
        new DragEvent('drop', { dataTransfer: moved, bubbles: true, cancelable: true })); })()""")
    page.wait("document.querySelectorAll('.take').length === 5 && "
              "document.getElementById('state').textContent === '' && "
              f"{TAKE}.querySelector('.tools').hidden === false")
    told = page.run("[...document.querySelectorAll('.take')].reverse().map(take => "
                    "take.querySelector('.failure')?.textContent ?? '')")
    assert told[1] == broken and "answered 502" in told[2] and told[3:] == ["", ""]
    assert page.run(f"{WORDS}.map(b => [b.textContent, b.className])") == [
        [HOSTILE, "word poor"], ["ok", "word "]]
    assert page.run("document.querySelectorAll('.take img, .take b').length") == 0
    assert page.run(f"{TAKE}.querySelector('.row').hidden")  # no sound, no training data
    # A status of 400 and more is an error for the console, too; there are two.
    assert len(page.problems) == 2 and all("status of" in one for one in page.problems)
    page.problems.clear()


def test_a_stream_that_ends_early_says_why(page, server):
    server.refuse = "Nothing happened for 30 s."
    page.run("document.getElementById('record').click()")
    page.wait(f"{TAKE}?.querySelector('.failure') != null")
    assert page.run(f"{TAKE}.querySelector('.failure').textContent") == "Nothing happened for 30 s."
    assert page.run("document.getElementById('record').textContent") == "Speak"


def test_corrections_are_not_lost_without_a_question(page, server):
    page.dialogs.clear()
    page.choose_files("#file", f"{CLIPS}/1-rms.ogg")
    page.wait(f"{TAKE}?.querySelector('.tools').hidden === false")
    page.open(page.address)
    assert page.dialogs == []  # no text was corrected
    page.wait("document.documentElement.dataset.ready === 'yes'")
    page.choose_files("#file", f"{CLIPS}/1-rms.ogg")
    page.wait(f"{TAKE}?.querySelector('.tools').hidden === false")
    page.key("e")  # a person has used the page
    set_value(page, ".editor textarea", "one")
    page.open(page.address)
    assert page.dialogs == ["beforeunload"]
    page.wait("document.documentElement.dataset.ready === 'yes'")


def test_a_microphone_that_is_taken_away_ends_the_recording(page, server):
    page.run("""(() => { const media = navigator.mediaDevices;
      const open = media.getUserMedia.bind(media);
      media.getUserMedia = async (wanted) => { window.stream = await open(wanted);
        return window.stream; }; })()""")
    page.run("document.getElementById('record').click()")
    page.wait(f"{TAKE}?.querySelector('.partial').textContent.trim().length > 0")
    page.run("stream.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    page.wait(f"{TAKE}.querySelector('.tools').hidden === false")
    assert page.run("document.getElementById('record').textContent") == "Speak"
    assert page.run(f"{WORDS}.map(b => b.textContent).join(' ')") == server.said.text
    page.run(f"{TAKE}.querySelector('.remove').click()")
    assert page.run("[document.querySelectorAll('.take').length, Take.all.length]") == [0, 0]


def test_models_settings_labels_phone_and_dark(page):
    assert page.run("[...document.getElementById('model').options].map(o => o.value)") == [
        "digits", HOSTILE]
    shown = page.run("document.getElementById('settings').textContent")
    assert "decoder.kindlexicon" in shown and HOSTILE in shown and "beam_width16" in shown
    set_value(page, "#model", HOSTILE)
    assert "greedy" in page.run("document.getElementById('settings').textContent")
    nameless = page.run("""[...document.querySelectorAll('button, input, select, textarea, meter')]
      .filter(node => !(node.getAttribute('aria-label') || node.labels?.length
        || node.textContent.trim())).map(node => node.outerHTML)""")
    assert nameless == []
    colour = "getComputedStyle(document.body).backgroundColor"
    page.size(390, 844, phone=True)
    assert page.run("document.documentElement.scrollWidth") <= 390
    light = page.run(colour)
    page.size(390, 844, phone=True, dark=True)
    assert page.run(colour) != light
    page.run("document.getElementById('theme').click()")
    assert page.run(colour) == light
    page.size(1280, 900)
