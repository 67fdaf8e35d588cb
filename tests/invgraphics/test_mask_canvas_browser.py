"""The canvas in a browser: gestures become masks, masks come back as pictures. JupyterLab's part, passing both on, is played here."""

import base64
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from invgraphics.segment import DepthColourPrompts, MaskEditor
from invgraphics.widgets import MaskCanvas
from tests.browser import Browser, needs_chromium
from tests.invgraphics.tabletop import Tabletop, find_box

TRUTH = Tabletop().observe().masks
TRAITS = ("plain", "marked", "size", "objects", "selected", "status")
PAGE = """
window.sent = [];
const state = %(state)s, listeners = {};
window.model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; sent.push({ kind: "set", name, value }); },
  save_changes: () => {},
  send: (message) => sent.push(message),
  on: (event, listener) => { (listeners[event] ??= []).push(listener); },
  off: (event, listener) => { listeners[event] = listeners[event].filter((other) => other !== listener); },
  receive: (changes) => {
    const changed = Object.keys(changes).filter((name) => JSON.stringify(changes[name]) !== JSON.stringify(state[name]));
    Object.assign(state, changes);
    changed.forEach((name) => (listeners[`change:${name}`] ?? []).forEach((listener) => listener()));
  },
  listening: () => Object.values(listeners).flat().length,
};
const style = document.createElement("style");
style.textContent = %(style)s;
document.head.append(style);
import("data:text/javascript;base64,%(script)s").then((widget) => { window.leave = widget.default.render({ model, el: document.body }); })
"""


class Notebook:
    """A page with one canvas, and what a kernel would do for it."""

    def __init__(self, browser: Browser):
        observation = Tabletop().observe(with_masks=False)
        self.browser = browser
        self.canvas = MaskCanvas(MaskEditor(observation, DepthColourPrompts(observation, torch.Generator().manual_seed(0))))
        folder = files("invgraphics.widgets")
        browser.open("about:blank")
        parts = {
            "state": json.dumps(self.state()),
            "style": json.dumps((folder / "mask_canvas.css").read_text()),
            "script": base64.b64encode((folder / "mask_canvas.js").read_bytes()).decode(),
        }
        browser.evaluate(PAGE % parts)
        self.left, self.top, self.width = browser.evaluate(
            "(() => { const r = document.querySelector('canvas').getBoundingClientRect(); return [r.left, r.top, r.width]; })()"
        )

    def state(self) -> dict:
        return {name: getattr(self.canvas, name) for name in TRAITS}

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Of an image point on the page."""
        scale = self.width / self.canvas.size[0]
        return self.left + scale * (x + 0.5), self.top + scale * (y + 0.5)

    def pass_on(self) -> list[dict]:
        """What the page has sent goes to the widget, and its state back."""
        gestures = self.browser.evaluate("sent.splice(0)")
        for gesture in gestures:
            if gesture["kind"] == "set":
                setattr(self.canvas, gesture["name"], gesture["value"])
            else:
                self.canvas.obey(gesture)
        self.browser.evaluate(f"model.receive({json.dumps(self.state())})")
        return gestures

    def masks(self) -> torch.Tensor:
        return self.canvas.editor.masks()


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    with Browser(tmp_path / "browser", 700, 500) as browser:
        yield Notebook(browser)
        assert browser.console == []


def centre(mask: torch.Tensor) -> tuple[float, float]:
    y, x = torch.nonzero(mask).double().mean(0).tolist()
    return x, y


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


@needs_chromium
def test_gestures_in_a_browser_make_masks(notebook: Notebook) -> None:
    browser = notebook.browser
    x0, y0, x1, y1 = find_box(TRUTH[0].numpy())
    browser.drag(notebook.place(x1 - 0.5, y1 - 0.5), notebook.place(x0 - 0.5, y0 - 0.5))
    (box,) = notebook.pass_on()
    assert box["box"] == pytest.approx([x1, y1, x0, y0], abs=0.5)
    assert iou(notebook.masks()[0], TRUTH[0]) > 0.9

    browser.click_text("+ object")
    notebook.pass_on()
    browser.click_text("On it")
    browser.click(*notebook.place(*centre(TRUTH[1])))
    (point,) = notebook.pass_on()
    assert (point["x"] - 0.5, point["y"] - 0.5) == pytest.approx(centre(TRUTH[1]), abs=0.6)
    assert iou(notebook.masks()[1], TRUTH[1]) > 0.9
    browser.wait_for_text("object 1: ")

    browser.click_text("Erase")
    x, y = centre(TRUTH[1])
    browser.drag(notebook.place(x - 6, y), notebook.place(x + 6, y))
    notebook.pass_on()
    assert not notebook.masks()[1][round(y), round(x) - 4 : round(x) + 5].any()
    browser.click_text("Undo")
    notebook.pass_on()
    assert notebook.masks()[1][round(y), round(x)]


@needs_chromium
def test_the_page_shows_the_masks_and_leaves_nothing_behind(notebook: Notebook) -> None:
    browser = notebook.browser
    browser.click_text("On it")
    browser.click(*notebook.place(*centre(TRUTH[0])))
    notebook.pass_on()
    x, y = (round(value) for value in centre(TRUTH[0]))
    pixel = f"[...document.querySelector('canvas').getContext('2d').getImageData({x + 7}, {y + 7}, 1, 1).data]"
    red, _, blue, _ = browser.wait_until(f"((p) => p[2] > p[0] ? p : null)({pixel})")
    assert blue > red, "the red ball has taken the blue of object 0"
    browser.evaluate("leave()")
    assert browser.evaluate("model.listening()") == 0
