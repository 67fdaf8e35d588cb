"""The viewer as a person uses it: in a (headless) Chromium, by mouse, judged by what the screen shows."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from invgraphics.output import load_scene
from tests.browser import Browser, needs_chromium, wait_for
from tests.invgraphics.export_scene import write_output
from tests.invgraphics.tabletop import BALL_COLOURS, Tabletop, write_frame

pytest.importorskip("viser", reason="viser is not installed")

from invgraphics.commands.live import Session
from invgraphics.viewer.layers import BY_SPREAD
from invgraphics.viewer.page import ViewerPage

pytestmark = needs_chromium

SIZE = (900, 500)
"""Of the screen, pixels: small, for it is drawn without a GPU."""
CANVAS_WIDTH = 500
"""Pixels of it that the panel leaves."""


@pytest.fixture
def browser(tmp_path: Path):
    with Browser(tmp_path / "browser", *SIZE) as browser:
        yield browser


FAILED = Path(tempfile.gettempdir()) / "viewer_failed.png"


def visit(browser: Browser, url: str) -> None:
    """Opens the viewer, without its remark that there is no GPU."""
    browser.open(url)
    browser.wait_for_text("Support plane")
    browser.hide("[class*=Notification]")


def until(browser: Browser, question: Callable[[np.ndarray], bool], seconds: float = 120.0) -> np.ndarray:
    """The canvas as soon as it looks as asked."""
    end = time.monotonic() + seconds
    while True:
        canvas = browser.picture()[:, :CANVAS_WIDTH].astype(int)
        if question(canvas):
            return canvas
        if time.monotonic() > end:
            browser.screenshot(FAILED)
            raise AssertionError(f"the canvas never looked as asked: see {FAILED}; {browser.console}")
        time.sleep(0.1)


def reddish(canvas: np.ndarray) -> int:
    """Pixels of a strong red: the left half of the made-up box."""
    red, green, blue = np.moveaxis(canvas, -1, 0)
    return int(((red > 120) & (green < 0.45 * red) & (blue < 0.45 * red)).sum())


def greenish(canvas: np.ndarray) -> int:
    red, green, blue = np.moveaxis(canvas, -1, 0)
    return int(((green > 100) & (red < 0.6 * green) & (blue < 0.6 * green)).sum())


def test_a_scene_is_seen_and_its_layers_come_and_go(browser: Browser, tmp_path: Path):
    write_output(tmp_path / "out", with_samples=True)
    page = ViewerPage(port=8311)
    session = Session(page)
    session.show(tmp_path / "out")
    try:
        visit(browser, page.url)
        browser.wait_for_text("2 objects")
        until(browser, lambda canvas: reddish(canvas) > 500 and greenish(canvas) > 500)
        browser.click_control("Meshes")
        until(browser, lambda canvas: reddish(canvas) < 250)
        browser.click_control("Meshes")
        until(browser, lambda canvas: reddish(canvas) > 500)
        page._paint.value = BY_SPREAD
        until(browser, lambda canvas: greenish(canvas) < 250)
        browser.wait_for_text("10 mm or more")
        page._paint.value = "as seen"
        before = until(browser, lambda canvas: greenish(canvas) > 500)
        browser.click_text("Grasps")
        browser.wait_for_text("75 % of 8 trials")
        browser.click_control("Show the hand")
        until(browser, lambda canvas: (np.abs(canvas - before).max(-1) > 60).sum() > 1000)
        assert [line for line in browser.console if "uncaught" in line] == []
    finally:
        session.close()
        page.close()


def find_ball(canvas: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of what has about that hue, in pixels of the screen; all 0 where little has."""
    wanted = np.array(colour) / np.linalg.norm(colour)
    alike = canvas / np.maximum(np.linalg.norm(canvas, axis=-1, keepdims=True), 1) @ wanted > 0.97
    if alike.sum() < 400:
        return 0.0, 0.0, 0.0, 0.0
    v, u = np.nonzero(alike)
    low, high = np.percentile([u, v], 2, axis=1), np.percentile([u, v], 98, axis=1)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def test_boxes_drawn_on_the_photograph_are_reconstructed(browser: Browser, tmp_path: Path):
    table = Tabletop()
    frame = write_frame(tmp_path / "frame", table, masks=False)
    command = [sys.executable, "-m", "invgraphics", "view", str(frame), "--port", "8321", "--out", str(tmp_path / "out")]
    viewer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = viewer.stdout.readline()
        assert line.startswith("look at http://")
        visit(browser, line.split()[2])
        browser.click_text("Boxes")
        browser.click_text("Draw boxes")
        browser.wait_for_text("Back to the scene")
        canvas = until(browser, lambda canvas: all(find_ball(canvas, colour)[2] for colour in BALL_COLOURS[:2]))
        for colour in BALL_COLOURS[:2]:
            x0, y0, x1, y1 = find_ball(canvas, colour)
            margin = 0.12 * (x1 - x0)
            browser.drag((x0 - margin, y0 - margin), (x1 + margin, y1 + margin))
        browser.wait_for_text("box 1:")
        browser.click_text("Reconstruct")
        browser.wait_for_text("reconstructing")
        browser.open("about:blank")  # To draw without a GPU would take the run's time.
        wait_for(lambda: (tmp_path / "out" / "scene.json").is_file(), 240.0, "the reconstruction")
        visit(browser, line.split()[2])
        browser.wait_for_text("finished:")
        browser.wait_for_text("2 objects")
    finally:
        viewer.send_signal(signal.SIGINT)
        assert viewer.wait(timeout=60) == 130
        viewer.stdout.close()
    scene = load_scene(tmp_path / "out")
    T_camera_world = scene.camera.T_camera_world
    for item, (_, centre, radius) in zip(scene.objects, table._place_balls(), strict=True):
        assert np.linalg.norm((T_camera_world @ item.T_world_object)[:3, 3].numpy() - centre) < 0.4 * radius
