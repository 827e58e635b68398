"""Health, readiness, metrics, token, CORS, logs, the page's policy, and the end of the server."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import CLIPS, digits_model, served, tiny_model, wav
from test_limits import PATIENCE, free, until

from asr.cli.serve import is_loopback, read_token
from asr.errors import BundleError, UsageError
from asr.serve import information
from asr.serve.logs import JsonLines
from asr.serve.models import MAX_VARIANTS, Models, ServedModel, Wanted, load_models
from asr.serve.problems import Failure
from asr.serve.settings import ServerSettings

TOKEN = "0123456789abcdef-token"
ROOT = Path(__file__).parents[2]


def test_ready_once_the_reference_clip_is_verified():
    with served(digits_model()) as server, server.client() as client:
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/readyz").json() == {
            "ready": True, "ending": False, "models": {"digits": "verified"}}
        assert b"asr_ready 1.0" in client.get("/metrics").content


def test_not_ready_before_the_check_and_requests_wait(tmp_path):
    model = tiny_model(tmp_path)
    model.recognizer.gate.clear()
    with served(model, checked=False) as server, server.client() as client, \
            ThreadPoolExecutor(1) as threads:
        assert model.recognizer.begun.wait(PATIENCE)
        answer = client.get("/readyz")
        assert answer.status_code == 503 and answer.json()["models"] == {"tiny": "waiting"}
        assert client.get("/healthz").status_code == 200
        job = threads.submit(server.post)
        until(lambda: len(server.state.jobs._jobs) == 1)
        model.recognizer.gate.set()
        assert job.result().status_code == 200
        assert client.get("/readyz").json()["models"] == {"tiny": "no reference"}


def test_a_machine_that_computes_something_else_is_not_ready():
    model = digits_model()
    engine = model.recognizer.engine

    class Wrong:
        name = "wrong"

        def logits(self, *arrays):
            logits, lengths = engine.logits(*arrays)
            return logits + 0.01, lengths

    model.recognizer.engine = Wrong()
    with pytest.raises(BundleError, match="reference clip differ"):
        model.check()
    with served(model) as server, server.client() as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503 and "differ" in answer.json()["models"]["digits"]
        refused = server.post(wav())
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "60"
        assert b"asr_ready 0.0" in client.get("/metrics").content


def test_metrics_count(tmp_path):
    with served(tiny_model(tmp_path)) as server, server.client() as client:
        for _ in range(3):
            server.post(wav(2))
        server.post(b"none")
        client.get("/secret-path")
        text = client.get("/metrics").text
    found = {(sample.name, *sample.labels.values()): sample.value
             for family in text_string_to_metric_families(text) for sample in family.samples}
    route = "/v1/audio/transcriptions"
    assert found["asr_requests_total", route, "200"] == 3
    assert found["asr_requests_total", route, "400"] == 1
    assert found["asr_requests_total", "other", "404"] == 1 and "secret-path" not in text
    assert found["asr_request_seconds_count", route] == 4
    assert found["asr_audio_seconds_total", "tiny", "file"] == 6
    assert found["asr_work_seconds_total", "tiny", "file"] > 0
    assert found["asr_errors_total", "audio.unsupported"] == 1
    assert found["asr_batch_size_count",] == 3 and found["asr_batch_size_sum",] == 3
    assert found["asr_jobs_waiting",] == found["asr_jobs_working",] == 0
    assert found["asr_real_time_factor_count",] == 3
    if sys.platform == "linux":
        assert found["process_open_fds",] > 0


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/settings", "/metrics", "/nothing"])
def test_every_route_but_health_needs_the_token(tmp_path, path):
    with served(tiny_model(tmp_path), token=TOKEN) as server, server.client() as client:
        wrong = [{}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": "Bearer"},
                 {"Authorization": TOKEN}, {"Authorization": "Basic !!!"},
                 {"Authorization": "Basic \u00e9".encode("latin-1")},
                 {"Authorization": "Bearer \u00e9".encode("latin-1")}]
        for headers in wrong:
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert "Bearer" in answer.headers["WWW-Authenticate"]
        basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
        for value in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
            assert client.get(path, headers={"Authorization": value}).status_code != 401
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_uploads_and_websockets_need_the_token(tmp_path):
    import asyncio

    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    async def talk(url, headers):
        async with connect(url, additional_headers=headers) as socket:
            await socket.send('{"eof": 1}')
            return json.loads(await socket.recv())

    with served(tiny_model(tmp_path), token=TOKEN) as server:
        assert server.post().status_code == 401 and free(server)
        with pytest.raises(InvalidStatus) as refused:
            asyncio.run(talk(server.ws, {}))
        assert refused.value.response.status_code == 401
        assert asyncio.run(talk(server.ws, {"Authorization": f"Bearer {TOKEN}"})) == {"text": ""}


def test_cors_is_off_until_asked_for(tmp_path):
    asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST",
              "Access-Control-Request-Headers": "authorization"}
    path = "/v1/audio/transcriptions"
    with served(tiny_model(tmp_path), token=TOKEN) as server, server.client() as client:
        assert "access-control-allow-origin" not in client.options(path, headers=asking).headers
    with served(tiny_model(tmp_path), token=TOKEN, origins=("https://app.example",)) as server, \
            server.client() as client:
        answer = client.options(path, headers=asking)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.status_code == 200  # a preflight has no token
        other = client.options(path, headers=asking | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        answer = client.get("/v1/models", headers={"Origin": "https://app.example",
                                                   "Authorization": f"Bearer {TOKEN}"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_forms_of_other_sites_are_refused(tmp_path):
    with served(tiny_model(tmp_path), origins=("https://app.example",)) as server, \
            server.client() as client:
        for origin, status in (("https://evil.example", 403), ("null", 403), (server.url, 200),
                               ("https://app.example", 200)):
            answer = client.post("/v1/audio/transcriptions", files={"file": ("a.wav", wav())},
                                 headers={"Origin": origin})
            assert answer.status_code == status
        answer = client.post("/v1/audio/transcriptions", files={"file": ("a.wav", wav())},
                             headers={"Origin": "null", "Host": ""})
        assert answer.status_code == 403
        until(lambda: free(server))


def test_settings_tell_no_path(tmp_path):
    with served(tiny_model(tmp_path), max_queue=7) as server, server.client() as client:
        answer = client.get("/v1/settings")
    table = answer.json()
    assert table["default"] == "tiny" and table["limits"]["max_queue"] == 7
    assert table["models"][0]["decoder"]["kind"] == "greedy"
    assert table["models"][0]["sample_rate"] == 8_000 and str(tmp_path) not in answer.text


def test_the_page_has_a_strict_policy(tmp_path):
    with served(tiny_model(tmp_path)) as server, server.client() as client:
        answer = client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Type"].startswith("text/html") and "<title>" in answer.text
    assert policy.startswith("default-src 'none'; script-src ") and "unsafe" not in policy
    assert policy == information.security_policy(answer.text)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_security_policy_has_the_hash_of_each_script():
    policy = information.security_policy("<script>a()</script><STYLE media=x>b</STYLE>"
                                         "<script type=module>c()</script>")
    scripts, styles = policy.split("; ")[1:3]
    # printf 'a()' | openssl dgst -sha256 -binary | base64
    assert "'sha256-qVpDBgj7bpq5hMAcGp3AOc79J3Y1Z4HvySTwKrWDoy4='" in scripts
    assert scripts.count("sha256-") == 2 and styles.count("sha256-") == 1


def test_an_internal_error_is_logged_and_not_told(tmp_path, caplog):
    with served(tiny_model(tmp_path)) as server:
        server.state.models.default.recognizer_for = lambda wanted: 1 / 0
        answer = server.post()
        assert answer.status_code == 500 and answer.json()["error"]["code"] == "internal"
        assert "division" not in answer.text and "division" in caplog.text
        assert answer.headers["X-Request-Id"] in str(
            [record.fields for record in caplog.records if hasattr(record, "fields")])
        until(lambda: free(server))


def test_the_end_finishes_what_was_accepted(tmp_path):
    model = tiny_model(tmp_path)
    with served(model, batch=1) as server, ThreadPoolExecutor(3) as threads:
        model.recognizer.gate.clear()
        jobs = [threads.submit(server.post, wav(seed=n)) for n in range(3)]
        until(lambda: len(server.state.jobs._jobs) == 2)
        server.drain()
        until(server.state.draining.is_set)
        model.recognizer.gate.set()
        assert [job.result().status_code for job in jobs] == [200] * 3


def test_while_it_ends_nothing_more_is_taken(tmp_path):
    with served(tiny_model(tmp_path)) as server, server.client() as client:
        client.get("/healthz")
        server.state.draining.set()  # as `drain`, but it goes on listening
        answer = client.get("/readyz")
        assert answer.status_code == 503 and answer.json()["ending"]
        refused = server.post()
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "ending"
        server.state.draining.clear()


def start(*arguments: str, **environment) -> tuple[subprocess.Popen, str]:
    """`asr serve` as a process: it and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "asr", "serve", "--port", "0", *arguments], cwd=ROOT, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment)
    for line in process.stderr:
        row = json.loads(line) if line.startswith("{") else {}
        if row.get("event") == "listening":
            return process, row["url"].rstrip("/")
    raise AssertionError("it does not listen")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_digits_and_ends_with_a_signal(number):
    process, url = start()
    with process:
        with (CLIPS / "1-rms.ogg").open("rb") as file:
            answer = httpx.post(f"{url}/v1/audio/transcriptions", files={"file": file},
                                data={"response_format": "text"}, timeout=50)
        assert answer.text == "four two zero nine\n"
        loaded = httpx.get(f"{url}/readyz", timeout=50)
        process.send_signal(number)
        out, err = process.communicate(timeout=50)
    rows = [json.loads(line) for line in err.splitlines()]
    assert process.returncode == 0 and out == "" and loaded.status_code == 200
    assert rows[-1]["event"] == "ended" and "four" not in err


def test_the_command_imports_no_tensorflow():
    code = ("import sys; import asr.serve.app, asr.serve.connections, asr.serve.models; "
            "print({'tensorflow', 'keras', 'librosa'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "set()\n", done.stderr


def test_a_missing_extra_is_one_sentence():
    code = ("import sys; sys.modules['starlette'] = None\n"
            "from asr.cli import run; sys.exit(run(['serve']))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "pip install 'keras-asr[serve]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken(tmp_path):
    with served(tiny_model(tmp_path)) as server:
        done = subprocess.run(
            [sys.executable, "-m", "asr", "serve", str(tmp_path / "tiny.asr"), "--port",
             str(server.port)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert f"Cannot listen at 127.0.0.1, port {server.port}" in done.stderr.splitlines()[-1]


def test_tokens(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"\n{TOKEN}\n")
    assert read_token(path) == TOKEN
    for text in ("short", "a" * 20 + " b", "é" * 20, "a" * 20 + "\n" + "b"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match="openssl rand"):
            read_token(path)
    with pytest.raises(UsageError, match="Cannot read the token file"):
        read_token(tmp_path / "none")


@pytest.mark.parametrize(("host", "loopback"), [
    ("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
    ("192.168.0.1", False), ("example.org", False)])
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback


def test_names_of_models(tmp_path):
    tiny_model(tmp_path, "one")
    path = str(tmp_path / "one.asr")
    assert list(load_models(path, [f"b/2={path}"], 10.0).by_name) == ["one", "b/2"]
    assert load_models(path, [], 10.0).default.recognizer.windows.max_seconds == 10
    assert list(load_models(None, [f"a={path}"], 10.0).by_name) == ["a"]
    with pytest.raises(UsageError, match="Two models have the name 'one'"):
        load_models(path, [f"one={path}"], 10.0)
    for wrong in ("x", "=y", "a b=c", "a="):
        with pytest.raises(UsageError, match="write NAME=PATH"):
            load_models(None, [wrong], 10.0)
    with pytest.raises(UsageError, match="no model to serve"):
        Models([])
    with pytest.raises(Failure, match="There is no model 'x'; there is one"):
        load_models(path, [], 10.0).find("x")


def test_decoders_with_words_of_requests_are_bounded(tmp_path):
    model: ServedModel = tiny_model(tmp_path)
    first = Wanted(hot_words=("bad",))
    kept = model.recognizer_for(first)
    assert model.recognizer_for(Wanted(hot_words=("bad",))) is kept
    assert model.recognizer_for(Wanted(lexicon=("Cab",))).decoder_settings.lexicon == ("cab",)
    for number in range(MAX_VARIANTS):
        model.recognizer_for(Wanted(hot_words=(f"bad:{number + 1}",)))
    assert model.recognizer_for(first) is not kept
    assert len(model._variants) == MAX_VARIANTS
    assert model.recognizer_for(Wanted(num_hypotheses=3)).decoder_settings.num_hypotheses == 3


def test_settings_are_checked():
    with pytest.raises(UsageError, match="max_queue must be above 0"):
        ServerSettings(max_queue=0)


def test_log_lines_are_json(caplog):
    from asr.serve.logs import log

    caplog.set_level("INFO", logger="asr.serve")
    log("an event", number=3, text="\x1b[31m")
    try:
        raise ValueError("why")
    except ValueError as error:
        log("broken", error=error)
    lines = [JsonLines().format(record) for record in caplog.records]
    rows = [json.loads(line) for line in lines]
    assert rows[0]["event"] == "an event" and rows[0]["number"] == 3 and "\x1b" not in lines[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rows[0]["time"])
    assert "ValueError: why" in rows[1]["traceback"] and "\n" not in lines[1]


def test_help_lines_are_short_and_grouped():
    done = subprocess.run([sys.executable, "-m", "asr", "serve", "--help"], capture_output=True,
                          text=True, cwd=ROOT, check=True)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Limits of a request:" in done.stdout and "x>=" not in done.stdout
    from asr.cli.serve import serve

    for option in serve.params:
        assert not option.opts[0].startswith("--") or option.opts[0] in done.stdout
