"""Draws `docs/images/overview.png` from the report of a demo: `make demo`, then `.venv/bin/python docs/make_overview.py`."""

import base64
import re
from pathlib import Path

import cv2
import numpy as np

PANELS = {
    "Colour image": "one RGB-D image",
    "Measured depth": "and its depth",
    "Render of the reconstructed scene": "the scene, rendered",
    "from its right": "its meshes, from the right",
    "held": "the grasp, carried out",
}
"""Start of the caption in the report, and what the overview says."""
WIDTH, HEIGHT, GAP, STRIP = 320, 240, 8, 34


def main() -> None:
    """Reads demo_out/report.html, writes the picture."""
    root = Path(__file__).parents[1]
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]*)"', (root / "demo_out/report.html").read_text())
    panels = [_draw_panel(next(data for data, caption in pictures if caption.startswith(start)), says) for start, says in PANELS.items()]
    gap = np.full((HEIGHT + STRIP, GAP, 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    cv2.imwrite(str(root / "docs/images/overview.png"), np.concatenate(row, axis=1), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _draw_panel(data: str, says: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    panel = np.full((HEIGHT + STRIP, WIDTH, 3), 255, np.uint8)
    panel[:HEIGHT] = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    cv2.putText(panel, says, (2, HEIGHT + 23), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (60, 60, 60), 1, cv2.LINE_AA)
    return panel


if __name__ == "__main__":
    main()
