"""The page at `/` with the server that it is made for: policy, files, streams, errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from chromium import BINARY, Page
from serving import CLIPS, CountingStream, digits_model, served

import asr
from asr.recognizer import Recognizer

pytestmark = pytest.mark.skipif(BINARY is None, reason="Chromium is not installed")
TAKE = "document.querySelector('.take')"
WORDS = f"[...{TAKE}.querySelectorAll('.words button')].map(b => b.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "mic.wav"
    sound = asr.audio.resample(asr.load().load_audio(CLIPS / "1-rms.ogg"), 8_000, 48_000)
    soundfile.write(path, np.concatenate([np.zeros(48_000, np.float32), sound]), 48_000,
                    subtype="PCM_16")
    with Page(120.0, ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                      f"--use-file-for-fake-audio-capture={path}"]) as page:
        yield page


def opened(browser, server):
    browser.problems.clear()
    browser.open(server.url + "/")
    browser.wait("document.documentElement.dataset.ready === 'yes'")
    return browser


def check(page, server) -> None:
    """No console error, and nothing asked of another server."""
    assert page.problems == []
    host = server.url.split("/")[2]
    assert [url for url in page.requests if not url.startswith(
        ("data:", f"{server.url}/", f"ws://{host}/v1/stream", f"blob:{server.url}/"))] == []


def test_files_and_settings(browser, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF no sound")
    expected = asr.load().transcribe(CLIPS / "1-rms.ogg").text
    with served(digits_model()) as server:
        page = opened(browser, server)
        shown = page.run("document.getElementById('settings').textContent")
        assert "sample_rate8000" in shown and "lexicon" in shown
        page.choose_files("#file", CLIPS / "1-rms.ogg")
        page.wait(f"{TAKE}?.querySelector('.tools').hidden === false")
        assert page.run(WORDS) == expected.split()
        page.run(f"{TAKE}.querySelector('.words button').click()")
        page.wait("Take.all[0].player.time > 0")
        check(page, server)
        page.choose_files("#file", tmp_path / "broken.wav")
        page.wait(f"{TAKE}.querySelector('.failure') != null")
        told = page.run(f"{TAKE}.querySelector('.failure').textContent")
        assert told and "answered" not in told  # the server's own sentence
        page.problems.clear()  # the status of the refusal
        page.run("(() => { document.getElementById('hot').value = 'one:x'; })()")
        page.choose_files("#file", CLIPS / "1-rms.ogg")
        page.wait(f"{TAKE}.querySelector('.failure')?.textContent.includes('one:x')")
        page.problems.clear()
        check(page, server)


def test_a_file_that_is_too_large_is_not_sent(browser):
    with served(digits_model(), max_body=1_000) as server:
        page = opened(browser, server)
        page.choose_files("#file", CLIPS / "1-rms.ogg")
        page.wait(f"{TAKE}?.querySelector('.failure') != null")
        assert "MiB; this server takes 0.000954 MiB" in page.run(
            f"{TAKE}.querySelector('.failure').textContent")
        assert not any("transcriptions" in url for url in page.requests)
        check(page, server)


def test_utterances_end_while_the_stream_goes_on(browser):
    model = digits_model()
    model.recognizer.stream = lambda sample_rate, **_: CountingStream(sample_rate)
    with served(model) as server:
        page = opened(browser, server)
        page.run("document.getElementById('record').click()")
        page.wait(f"{TAKE}?.querySelector('.partial').textContent.startsWith('open ')")
        page.wait(f"{TAKE}.querySelectorAll('.words button').length >= 2")
        page.run("document.getElementById('record').click()")
        page.wait(f"{TAKE}.querySelector('.tools').hidden === false")
        words = page.run(WORDS)
        assert words == [f"u{n}" for n in range(len(words))]
        assert page.run(f"{TAKE}.querySelector('.partial').textContent") == ""
        assert page.run(f"{TAKE}.querySelector('.failure')") is None
        check(page, server)


def test_a_stream_that_the_server_refuses(browser):
    with served(digits_model(), max_streams=1) as server:
        page = opened(browser, server)
        page.run(f"(() => {{ window.other = new WebSocket({json.dumps(server.ws + '/v1/stream')}); "
                 "return new Promise(resolve => { other.onopen = resolve; }); })()")
        page.run("document.getElementById('record').click()")
        page.wait(f"{TAKE}?.querySelector('.failure') != null")
        assert "takes no stream now" in page.run(f"{TAKE}.querySelector('.failure').textContent")
        page.run("other.close()")
        page.problems.clear()  # the refused handshake
        check(page, server)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(Recognizer, "stream"), reason="there is no streaming yet")
def test_spoken_digits_appear(browser):
    with served(digits_model()) as server:
        page = opened(browser, server)
        page.run("document.getElementById('record').click()")
        page.wait(f"{TAKE}?.querySelectorAll('.words button').length >= 4")
        page.run("document.getElementById('record').click()")
        page.wait(f"{TAKE}.querySelector('.tools').hidden === false")
        spoken = asr.load().transcribe(CLIPS / "1-rms.ogg").text.split()
        assert set(page.run(WORDS)) <= {*spoken, *"zero one two three four five six seven eight "
                                        "nine".split()}
        check(page, server)
