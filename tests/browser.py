"""A headless Chromium that a test drives, over the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/."""

import base64
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
import pytest

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path")

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--remote-debugging-port=0",
)


_PATIENCE = 120.0
"""Seconds: a page drawn without a GPU on a machine that does other things, too, takes its time."""


class Browser:
    """One page of a browser of its own. Use it as a context manager."""

    def __init__(self, folder: Path, width: int = 1280, height: int = 800):
        """`folder` is for what the browser keeps; the page has `width` x `height` pixels."""
        self._folder, self._size = folder, (width, height)
        self.console: list[str] = []
        """What the page has printed, and the exceptions that it did not catch."""

    def __enter__(self) -> "Browser":
        from websockets.sync.client import connect

        window = f"--window-size={self._size[0]},{self._size[1]}"
        command = [str(CHROMIUM), *_FLAGS, window, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = wait_for(self._read_port, seconds=_PATIENCE, what="Chromium's port")
        with urlopen(f"http://127.0.0.1:{port}/json/list") as reply:
            page = next(target for target in json.load(reply) if target["type"] == "page")
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None)
        self._numbers = itertools.count(1)
        for domain in ("Page", "Runtime"):
            self.command(f"{domain}.enable")
        width, height = self._size
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=_PATIENCE)

    def _read_port(self) -> str | None:
        path = self._folder / "DevToolsActivePort"
        lines = path.read_text().splitlines() if path.is_file() else []
        return lines[0] if lines else None

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends one command and returns its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_PATIENCE))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.consoleAPICalled":
            arguments = message["params"]["args"]
            self.console.append(" ".join(str(item.get("value", item.get("description", ""))) for item in arguments))
        elif message.get("method") == "Runtime.exceptionThrown":
            self.console.append(f"uncaught: {message['params']['exceptionDetails']}")

    def open(self, url: str) -> None:
        """Goes to a page."""
        self.command("Page.navigate", url=url)

    def hide(self, selector: str) -> None:
        """From now on the page shows no elements of a CSS selector."""
        self.evaluate(f"void document.head.insertAdjacentHTML('beforeend', {json.dumps(f'<style>{selector} {{display: none}}</style>')})")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, of which a promise is awaited."""
        result = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_until(self, expression: str, seconds: float = _PATIENCE) -> Any:
        """The value of an expression as soon as it is true."""
        return wait_for(lambda: self.evaluate(expression), seconds, expression)

    def wait_for_text(self, text: str, seconds: float = _PATIENCE) -> None:
        """Waits until the page shows a text."""
        self.wait_until(f"document.body !== null && document.body.innerText.includes({json.dumps(text)})", seconds)

    def mouse(self, kind: str, x: float, y: float, buttons: int = 1) -> None:
        """A mouse event at a pixel of the page: `mousePressed`, `mouseMoved` or `mouseReleased`, of the left button."""
        self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 5) -> None:
        """Presses at one pixel, moves to another, lets go."""
        self.mouse("mouseMoved", *start, buttons=0)
        self.mouse("mousePressed", *start)
        for k in range(1, steps + 1):
            share = k / steps
            self.mouse("mouseMoved", *((1 - share) * a + share * b for a, b in zip(start, end, strict=True)))
        self.mouse("mouseReleased", *end, buttons=0)

    def click(self, x: float, y: float) -> None:
        """Presses and lets go at a pixel."""
        self.mouse("mouseMoved", x, y, buttons=0)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y, buttons=0)

    def click_text(self, text: str, kinds: str = "button, [role=tab]") -> None:
        """Clicks the element of some kinds (a CSS selector) that holds a text and nothing else."""
        find = f"[...document.querySelectorAll({json.dumps(kinds)})].find(e => e.innerText.trim() === {json.dumps(text)})"
        box = self.wait_until(
            f"(() => {{ const e = {find}; if (!e) return null; e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.click(*box)

    def click_control(self, label: str) -> None:
        """Clicks the checkbox that stands beside a label."""
        find = f"[...document.querySelectorAll('label')].find(e => e.innerText.trim() === {json.dumps(label)})"
        box = self.wait_until(
            f"(() => {{ let e = {find}; while (e && !e.querySelector('input[type=checkbox]')) e = e.parentElement; if (!e) return null;"
            " e = e.querySelector('input[type=checkbox]'); e.scrollIntoView({block: 'center'});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.click(*box)

    def picture(self) -> np.ndarray:
        """(h, w, 3) uint8 sRGB: what the page looks like."""
        data = base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    def screenshot(self, path: Path) -> None:
        """Saves what the page looks like (PNG)."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))


def wait_for(question: Any, seconds: float, what: str) -> Any:
    """The first true answer; `TimeoutError` names what was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = question()
        if answer:
            return answer
        time.sleep(0.05)
    raise TimeoutError(f"waited {seconds} s for {what}")
