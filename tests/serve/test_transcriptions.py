"""POST /v1/audio/transcriptions: right answers in every format, and errors that clients read."""

from __future__ import annotations

import json
import re

import pytest
from serving import CLIPS, RATE, digits_model, served, tiny_model, wav

import asr
from asr.serve.answers import FORMATS
from asr.serve.jobs import NAME
from asr.transcript import render

openai = pytest.importorskip("openai")
CLIP = CLIPS / "1-rms.ogg"


@pytest.fixture(scope="module")
def digits():
    with served(digits_model()) as server:
        yield server


@pytest.fixture(scope="module")
def client(digits):
    with openai.OpenAI(base_url=f"{digits.url}/v1", api_key="unused", max_retries=0,
                       timeout=50) as client:
        yield client


@pytest.fixture(scope="module")
def expected():
    return asr.load().transcribe(CLIP)


def test_openai_client_json(client):
    with CLIP.open("rb") as file:
        answer = client.audio.transcriptions.create(model="digits", file=file)
    assert answer.text == "four two zero nine"
    assert answer.usage.type == "duration" and answer.usage.seconds == 3


def test_openai_client_verbose_json(client, expected):
    answer = client.audio.transcriptions.create(
        model="digits", file=CLIP, response_format="verbose_json", language="en", temperature=0.2,
        timestamp_granularities=["word", "segment"])
    assert answer.language == "en" and answer.text == expected.text
    assert answer.duration == pytest.approx(expected.duration, abs=1e-3)
    assert [(w.word, w.start, w.end) for w in answer.words] == [
        (w.text, round(w.start, 3), round(w.end, 3)) for w in expected.words]
    (segment,) = answer.segments
    assert segment.text == expected.text and segment.end == answer.words[-1].end
    assert -0.1 < segment.avg_logprob <= 0 and 0 <= segment.no_speech_prob < 0.1
    assert json.loads(answer.model_dump_json())["words"][0]["confidence"] == \
        round(expected.words[0].confidence, 4)


def test_granularity_is_what_was_asked_for(digits):
    clip = CLIP.read_bytes()
    for asked, absent in (("word", "segments"), ("segment", "words")):
        table = digits.post(clip, response_format="verbose_json",
                            **{"timestamp_granularities[]": asked}).json()
        assert f"{asked}s" in table and absent not in table
    table = digits.post(clip, response_format="verbose_json").json()
    assert "segments" in table and "words" not in table


@pytest.mark.parametrize("format_", ["text", "srt", "vtt"])
def test_openai_client_texts(client, expected, format_):
    answer = client.audio.transcriptions.create(model="digits", file=CLIP, response_format=format_)
    wanted = render(expected, {"text": "txt"}.get(format_, format_), "")
    assert answer == wanted


def test_openai_client_events(client, expected):
    events = list(client.audio.transcriptions.create(model="digits", file=CLIP, stream=True))
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == expected.text


def test_models(client, digits):
    assert [model.id for model in client.models.list()] == ["digits"]
    assert client.models.retrieve("digits").owned_by == "keras-asr"
    with pytest.raises(openai.NotFoundError, match="no model 'whisper-1'; there is digits"):
        client.models.retrieve("whisper-1")


@pytest.mark.parametrize("path", sorted(CLIPS.glob("*.[of]*")), ids=lambda path: path.name)
def test_every_clip_is_what_the_library_says(digits, path):
    table = digits.post(path.read_bytes(), name=path.name).json()
    assert table["text"] == asr.load().transcribe(path).text != ""


def test_prompt_is_hot_words(tmp_path):
    with served(tiny_model(tmp_path)) as server:
        plain = server.post(wav(2)).json()["text"]
        hot = server.post(wav(2), prompt="bad:20, cab").json()["text"]
        assert hot.split().count("bad") > plain.split().count("bad")
        answer = server.post(wav(2), prompt="xyz")
        assert answer.status_code == 400 and "xyz" in answer.json()["error"]["message"]
        # ... and the server decodes as before
        assert server.post(wav(2)).json()["text"] == plain


def test_several_models_by_name(tmp_path):
    with served(tiny_model(tmp_path, "one"), tiny_model(tmp_path, "two"), batch=4) as server:
        first, second = (server.state.models.by_name[name].recognizer for name in ("one", "two"))
        for model in ("two", "one", "two", ""):
            assert server.post(model=model).status_code == 200
        # the check before readiness, then two requests each (none: the first model)
        assert len(first.batches) == len(second.batches) == 2 + (1 if first.batches else 0)


def test_silence_is_an_empty_text(digits):
    table = digits.post(wav(1, loud=0.0), response_format="verbose_json").json()
    assert table["text"] == "" and table["segments"] == [] and table["confidence"] == 0
    assert table["duration"] == 1


def problem(answer) -> dict:
    """The error of a response, whose form is OpenAI's."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and re.search(r"[.!:]", error["message"])
    return error


@pytest.mark.parametrize(("fields", "param", "code"), [
    ({"response_format": "docx"}, "response_format", "invalid_parameter"),
    ({"timestamp_granularities[]": "word"}, "timestamp_granularities", "invalid_parameter"),
    ({"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
     "timestamp_granularities", "invalid_parameter"),
    ({"stream": "maybe"}, "stream", "invalid_parameter"),
    ({"stream": "true", "response_format": "srt"}, "stream", "invalid_parameter"),
    ({"stream": "true", "response_format": "verbose_json", "timestamp_granularities[]": "word"},
     "stream", "invalid_parameter"),
    ({"language": "x" * 21}, "language", "invalid_parameter"),
    ({"beam": "9"}, "beam", "unknown_parameter"),
    ({"prompt": "a:b"}, None, "usage"),
    ({"model": ["a", "b"]}, "model", "invalid_parameter"),
])
def test_wrong_options(digits, fields, param, code):
    answer = digits.post(CLIP.read_bytes(), **fields)
    assert answer.status_code == 400
    assert (problem(answer)["param"], problem(answer)["code"]) == (param, code)


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(model="../../etc/passwd", file=CLIP)
    assert caught.value.code == "model_not_found" and caught.value.param == "model"


@pytest.mark.parametrize(("data", "code"), [
    (b"", "audio.empty"), (b"no recording at all", "audio.unsupported"),
    (wav()[:3_000], "audio.truncated"), (wav(0.001), "audio.too_short"),
])
def test_what_is_no_recording(digits, data, code):
    answer = digits.post(data)
    assert answer.status_code == 400
    assert problem(answer)["code"] == code and problem(answer)["param"] == "file"


def test_a_recording_that_is_too_long_is_refused_by_its_header(tmp_path):
    with served(tiny_model(tmp_path), max_seconds=1.0) as server:
        model = server.state.models.default.recognizer
        before = list(model.batches)
        answer = server.post(wav(1.5))
        assert (answer.status_code, problem(answer)["code"]) == (400, "audio.too_long")
        assert NAME in problem(answer)["message"]
        assert model.batches == before
        assert server.post(wav(0.9)).status_code == 200


def test_more_than_a_megabyte_goes_through_a_temporary_file(tmp_path):
    data = wav(70.0)
    assert len(data) > 1 << 20
    with served(tiny_model(tmp_path)) as server:
        table = server.post(data, response_format="verbose_json").json()
        assert table["duration"] == 70
        whole = server.state.models.default.recognizer.transcribe(_samples(data))
        assert table["text"] == whole.text != ""


def test_long_recordings_are_read_in_windows(tmp_path):
    from asr.inference.windows import Windows

    model = tiny_model(tmp_path)
    model.recognizer.windows = Windows(threshold_seconds=2.0, core_seconds=2.0,
                                       search_seconds=0.5, context_seconds=1.0)
    with served(model) as server:
        table = server.post(wav(9.0), response_format="verbose_json").json()
        assert table["duration"] == 9 and table["text"]


def test_no_transcript_and_no_name_in_the_log(tmp_path, caplog):
    caplog.set_level("INFO", logger="asr.serve")
    with served(tiny_model(tmp_path)) as server:
        text = server.post(wav(2), name="secret-name.wav").json()["text"]
    rows = [record.fields for record in caplog.records if record.getMessage() == "request"]
    assert rows[-1]["status"] == 200 and rows[-1]["audio_seconds"] == 2
    assert len(text) > 2 and text not in str(rows) and "secret-name" not in str(rows)
    with served(tiny_model(tmp_path), log_transcripts=True) as server:
        server.post(wav(2))
    rows = [record.fields for record in caplog.records if record.getMessage() == "request"]
    assert rows[-1]["text"] == text


def test_formats_are_openais():
    assert set(FORMATS) == {"json", "text", "srt", "vtt", "verbose_json"}


def _samples(data: bytes):
    import io

    import soundfile

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == RATE
    return samples
