"""A headless Chromium over the pipe of its DevTools protocol: opens a page, hears what it asks and complains of."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # containers forbid what it needs
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)
PIPES = 'exec "$@" 3<&{} 4>&{}'  # Chromium reads 3 and writes 4; sh knows numbers below 10 only
SECONDS = 60


class Browser:
    """One page of a running Chromium.

    Attributes:
        requests: The addresses that the page asked for, itself first.
        complaints: What it wrote to the console, and the errors that it threw.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._left, self._count = b"", 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._waiting_for: dict[str, Any] = {}
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A method of the protocol on the page."""
        return self._call(method, parameters, self._session)

    def open(self, path: Path, width: int = 1000, dark: bool = False, height: int = 900) -> None:
        """Show a file in a window of that width."""
        self.visit(path.absolute().as_uri(), width, dark, height)

    def visit(self, address: str, width: int = 1000, dark: bool = False, height: int = 900) -> None:
        """Load what stands at an address, also where only what follows its # is another."""
        self.requests.clear()
        self.complaints.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        for target in ("about:blank", address):
            self._waiting_for.pop("Page.loadEventFired", None)
            self.call("Page.navigate", url=target)
            while "Page.loadEventFired" not in self._waiting_for:
                self._hear(self._message())

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def shows(self, *texts: str, seconds: float = SECONDS) -> float:
        """Wait until the page shows all of the texts; how many seconds it took."""
        begun = time.monotonic()
        while True:
            shown = self.evaluate("document.body ? document.body.innerText : ''")
            missing = [text for text in texts if text not in shown]
            if not missing:
                return time.monotonic() - begun
            if time.monotonic() - begun > seconds:
                raise AssertionError(f"after {seconds:g} s the page does not show {missing}, but: {shown[-2000:]}")
            time.sleep(0.1)

    def click(self, expression: str) -> None:
        """Click the element that an expression finds, as soon as it does."""
        self.wait_for(f"(found => found ? (found.click(), true) : false)({expression})")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        begun = time.monotonic()
        while not self.evaluate(expression):
            if time.monotonic() - begun > SECONDS:
                raise AssertionError(f"after {SECONDS} s the page has no {expression}")
            time.sleep(0.1)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """The page as PNG; the whole of it, or what the window shows."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        """The page as it prints."""
        found = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        path.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        os.write(self._writing, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while (answer := self._message()).get("id") != self._count:
            self._hear(answer)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            piece = os.read(self._reading, 1 << 16)
            if not piece:
                raise AssertionError("chromium has ended")
            self._left += piece
        text, _, self._left = self._left.partition(b"\0")
        return json.loads(text)

    def _hear(self, message: dict[str, Any]) -> None:
        method, said = message.get("method", ""), message.get("params", {})
        self._waiting_for[method] = said
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(said)[:500])


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium for as long as it is used."""
    assert PROGRAM is not None
    to_it, from_us = os.pipe()
    to_us, from_it = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            ["bash", "-c", PIPES.format(to_it, from_it), "bash", PROGRAM, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_it, from_it),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_it)
        os.close(from_it)
        try:
            yield Browser(to_us, from_us)
        finally:
            os.close(from_us)
            os.close(to_us)
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
