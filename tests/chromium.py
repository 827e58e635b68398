"""Headless Chromium over its debugging pipe: enough to click, type and look, with no package.

Commands go to the browser's file descriptor 3 and answers come from 4, as JSON that ends in NUL
(--remote-debugging-pipe). No port is opened and nothing is fetched.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

BINARY = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
               if path), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--mute-audio", "--autoplay-policy=no-user-gesture-required", "--hide-scrollbars",
         "--disable-dev-shm-usage")
# Puts the two pipes where the browser looks, by way of numbers that cannot collide with 3 and 4.
LAUNCH = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
    """One tab; `problems` collects uncaught exceptions and console errors, `dialogs` what it asked.

    Every dialog is answered with yes.
    """

    def __init__(self, timeout: float = 30.0, flags: Sequence[str] = ()):
        self.timeout, self.problems, self._serial, self._buffer = timeout, [], 0, b""
        self.dialogs: list[str] = []
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [sys.executable, "-S", "-c", LAUNCH, str(to_browser), str(from_browser),
                   str(BINARY), *FLAGS, *flags, "--remote-debugging-pipe",
                   f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(command, pass_fds=(to_browser, from_browser),
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self._session = None
        try:
            self._attach()
        except BaseException:
            self.__exit__()
            raise

    def _attach(self) -> None:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target,
                                  flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def open(self, address: Path | str) -> None:
        """Open a file or an address; `requests` begins with it."""
        self.requests: list[str] = []
        url = address if isinstance(address, str) else address.resolve().as_uri()
        self.send("Page.navigate", url=url)
        # A file of the tests has its data; an address of a server that it is there.
        there = f"location.href === {json.dumps(url)}" if isinstance(address, str) else \
            "document.getElementById('data') !== null"
        self.wait(f"document.readyState === 'complete' && {there}")

    def download_to(self, folder: Path) -> None:
        """Keep what the page saves."""
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def run(self, expression: str):
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        end = time.monotonic() + self.timeout
        while not self.run(condition):
            if time.monotonic() > end:
                raise AssertionError(f"still false after {self.timeout} s: {condition}")
            time.sleep(0.05)

    def choose_files(self, selector: str, *paths: Path) -> None:
        """What a person does with a file dialogue."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def key(self, key: str) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key,
                      **({"text": text} if text and kind == "keyDown" else {}))

    def size(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.send("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(data["data"]))

    def send(self, method: str, **params):
        serial = self._post(method, params)
        end = time.monotonic() + self.timeout
        while True:
            answer = self._next(end)
            if answer.get("id") == serial:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _post(self, method: str, params: dict) -> int:
        self._serial += 1
        message = {"id": self._serial, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._serial

    def _note(self, event: dict) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.problems.append(params["args"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"][:80])
        elif event.get("method") == "Page.javascriptDialogOpening":
            self.dialogs.append(params["type"])
            self._post("Page.handleJavaScriptDialog", {"accept": True})
        elif event.get("method") == "Network.webSocketCreated":
            self.requests.append(params["url"][:80])

    def _next(self, end: float) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"no answer from Chromium within {self.timeout} s")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise AssertionError("Chromium closed its pipe")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
