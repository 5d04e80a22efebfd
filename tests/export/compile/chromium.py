"""A headless Chromium that a test drives through two pipes, by the DevTools protocol."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import F_DUPFD, fcntl
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
_WAIT_S = 20


class Page:
    """A page in a browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        """Take the browser's first page; it reads from and writes to these pipes."""
        self._out = os.fdopen(to_browser, "wb", 0)
        self._in = os.fdopen(from_browser, "rb", 0)
        self._session: dict[str, str] = {}
        self._number = 0
        self._read = b""
        self.complaints: list[Any] = []
        pages = [each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Return what a method of the protocol returns; what the page throws meanwhile goes to `complaints`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        self._out.write(json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(answer["params"]["exceptionDetails"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
        raise EOFError("the browser ended")

    def open(self, address: str) -> None:
        """Go to an address, and wait until the page is there."""
        self.call("Page.navigate", url=address)
        self.wait(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Return the value of an expression once it is true."""
        end = time.monotonic() + _WAIT_S
        while time.monotonic() < end:
            if value := self.value(expression):
                return value
            time.sleep(0.05)
        pytest.fail(f"{expression} is not true after {_WAIT_S} s; the page threw {self.complaints}")

    def type(self, text: str) -> None:
        """Write into what has the focus, a character at a time."""
        for character in text:
            self.call("Input.insertText", text=character)

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" not in self._read:
                block = self._in.read(65536)
                if not block:
                    return
                self._read += block
            message, self._read = self._read.split(b"\0", 1)
            yield json.loads(message)


@contextmanager
def page() -> Iterator[Page]:
    """Start a browser, or skip the test if there is none, and end it afterwards."""
    program, shell = shutil.which("chromium"), shutil.which("bash")
    if program is None or shell is None:
        pytest.skip("chromium is not installed (Debian: chromium)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser_reads, to_browser = os.pipe()
        from_browser, browser_writes = os.pipe()
        theirs = [fcntl(each, F_DUPFD, 10) for each in (browser_reads, browser_writes)]  # above 3 and 4, where they go
        redirected = f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
        browser = subprocess.Popen(
            [shell, "-c", redirected, "chromium", program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=theirs,
        )
        for each in (browser_reads, browser_writes, *theirs):
            os.close(each)
        try:
            yield Page(to_browser, from_browser)
        finally:
            browser.terminate()
            browser.wait(20)


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine's loopback, and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""
