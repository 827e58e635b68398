"""What can be said of a cluster without one."""

from __future__ import annotations

import importlib.util
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from asr.cli import run
from asr.errors import EXIT_USAGE, UsageError
from asr.fleet.cluster import _ADDRESS, Cluster, _knock, _undisturbed


@pytest.mark.parametrize(("options", "says"), [
    (["--workers", "2"], "--engine ray"),
    (["--engine", "ray", "--engine", "local"], "one of"),
    (["--engine", "numpy", "--engine", "keras"], "one of"),
    (["--address", "auto"], "--engine ray")])
def test_contradictions(options, says, capsys):
    assert run(["transcribe", "a.wav", *options]) == EXIT_USAGE
    assert says in capsys.readouterr().err


def test_without_ray_one_sentence_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name, *rest: None if name == "ray" else find(name, *rest))
    with pytest.raises(UsageError, match=r"keras-asr\[ray\]"):
        next(Cluster().run(lambda: list, [1], lambda item, error: error))


@pytest.mark.parametrize("address", ["", "auto", "[::1]:6379", "ray://head:10001", "h.example:1"])
def test_addresses(address):
    found = _ADDRESS.fullmatch(address)
    assert found or address in ("", "auto")
    assert not found or found["host"] in ("[::1]", "head", "h.example")


@pytest.mark.parametrize("address", ["head", "head:", ":1", "head:0", "head:65536", "head:1x",
                                     "http://head:1", "a b:1", "head:1/x", "head:１"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError, match="HOST:PORT"):
        _knock(address)


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n"])
def test_what_listens_must_be_ray(says):
    """Ray would wait for minutes for the answer of something else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_one, args=(server, says))
        thread.start()
        with pytest.raises(OSError, match="something else than Ray"):
            _knock(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


def _answer_one(server: socket.socket, says: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(says)


def test_what_says_settings_of_http_2_may_be_ray():
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100])
        thread = threading.Thread(target=_answer_one, args=(server, settings))
        thread.start()
        _knock(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


# Ctrl-C while Ray ends ---------------------------------------------------------------------------


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, also where a shell runs these tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_until_the_end_has_ended(heard):
    done = []
    with pytest.raises(KeyboardInterrupt), _undisturbed():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_hide_what_ended_the_run(heard):
    with pytest.raises(KeyError):
        try:
            raise KeyError("first")
        finally:
            with _undisturbed():
                signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_failing_end_is_told_after_the_handler_is_back(heard):
    with pytest.raises(OSError), _undisturbed():
        raise OSError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_thread_leaves_signals_alone(heard):
    found = []

    def end() -> None:
        with _undisturbed():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c(heard):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _undisturbed():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
