"""The ChArUco board of the calibration: its drawing in exact millimetres, and where its corners are in an image.

Board frame: origin at the outer corner of the first square, x along the long side, y along the short side, z into the paper, as OpenCV
has it; metres.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from invgraphics.errors import InputError

_DICTIONARY_NAME = "DICT_4X4_50"
_MARKER_CELLS = 6
"""Cells across a marker: four of code and a black border."""
_A4_MM = (297.0, 210.0)
_PIXELS_PER_MM = 12
_POINTS_PER_MM = 72 / 25.4
_RULE_MM = 100.0


@dataclass(frozen=True)
class Board:
    """A chessboard with markers in its white squares. The count of rows is odd: older and newer OpenCV then agree on it."""

    columns: int = 7
    rows: int = 5
    square_m: float = 0.036
    """Side of a square, metres; measure it on the print."""
    marker_m: float = 0.027

    def __post_init__(self) -> None:
        """Checks that it can be drawn and told from others."""
        if self.columns < 3 or self.rows < 3 or self.rows % 2 == 0:
            raise InputError(f"a board of {self.columns}x{self.rows} squares cannot be used: at least 3x3, with an odd number of rows")
        if not 0 < self.marker_m < 0.95 * self.square_m:
            raise InputError(f"markers of {1000 * self.marker_m:g} mm do not fit into squares of {1000 * self.square_m:g} mm")

    @property
    def opencv(self) -> "cv2.aruco.CharucoBoard":
        """OpenCV's own."""
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, _DICTIONARY_NAME))
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_m, self.marker_m, dictionary)

    @property
    def corners(self) -> Float[np.ndarray, "n 3"]:
        """The inner corners of the squares, board frame, metres, in the order of their ids."""
        return self.opencv.getChessboardCorners().astype(np.float64)

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height."""
        return self.columns * self.square_m, self.rows * self.square_m


@dataclass(frozen=True)
class Sighting:
    """Corners of a board in an image."""

    ids: Int[np.ndarray, " n"]
    pixels: Float[np.ndarray, "n 2"]
    """(u, v), pixel centres at integers."""


def detect_board(image: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"], board: Board) -> Sighting:
    """The board's corners that are seen, refined below a pixel; none where there is no board. Colour is RGB."""
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(board.opencv).detectBoard(grey)
    if ids is None or len(ids) == 0:
        return Sighting(np.zeros(0, int), np.zeros((0, 2)))
    return Sighting(ids.reshape(-1).astype(int), corners.reshape(-1, 2).astype(np.float64))


def list_rectangles(board: Board) -> Float[np.ndarray, "n 4"]:
    """The board's black rectangles x, y, width, height in millimetres from its corner."""
    square, marker = 1000 * board.square_m, 1000 * board.marker_m
    rectangles, marker_id = [], 0
    margin, cell = (square - marker) / 2, marker / _MARKER_CELLS
    for row in range(board.rows):
        for column in range(board.columns):
            x, y = column * square, row * square
            if (row + column) % 2 == 0:
                rectangles.append((x, y, square, square))
                continue
            for i, j in _black_cells(marker_id):
                rectangles.append((x + margin + j * cell, y + margin + i * cell, cell, cell))
            marker_id += 1
    return np.array(rectangles)


def draw_png(board: Board, path: Path) -> None:
    """The board on an A4 page as an image whose resolution says its size."""
    width, height = (round(side * _PIXELS_PER_MM) for side in _A4_MM)
    page = np.full((height, width), 255, np.uint8)
    for x, y, w, h in np.round(_place_on_page(board) * _PIXELS_PER_MM).astype(int):
        page[y : y + h, x : x + w] = 0
    _, encoded = cv2.imencode(".png", page)
    path.write_bytes(_with_resolution(encoded.tobytes(), 1000 * _PIXELS_PER_MM))


def draw_pdf(board: Board, path: Path) -> None:
    """The board on an A4 page as lines and areas, exact at any resolution."""
    page_width, page_height = (side * _POINTS_PER_MM for side in _A4_MM)
    marks = [
        f"{x * _POINTS_PER_MM:.4f} {page_height - (y + h) * _POINTS_PER_MM:.4f} {w * _POINTS_PER_MM:.4f} {h * _POINTS_PER_MM:.4f} re"
        for x, y, w, h in _place_on_page(board)
    ]
    width, height = (1000 * side for side in board.size_m)
    label = (
        f"{board.columns} x {board.rows} squares of {1000 * board.square_m:g} mm, {width:g} x {height:g} mm; the rule is {_RULE_MM:g} mm"
    )
    text = f"BT /F1 8 Tf {12 * _POINTS_PER_MM:.2f} {4 * _POINTS_PER_MM:.2f} Td ({label}: print at 100 %, measure both) Tj ET"
    content = "0 g\n" + "\n".join(marks) + "\nf\n" + text + "\n"
    path.write_bytes(_pdf(content.encode("latin-1"), page_width, page_height))


def draw_board(board: Board, path: Path) -> None:
    """The board to print, as `.pdf` or `.png`.

    Raises:
        InputError: it does not fit on an A4 page, or the name ends otherwise.
    """
    writers = {".pdf": draw_pdf, ".png": draw_png}
    if path.suffix.lower() not in writers:
        raise InputError(f"{path} must end in {' or '.join(writers)}")
    width, height = (1000 * side for side in board.size_m)
    if width > _A4_MM[0] - 20 or height > _A4_MM[1] - 26:
        raise InputError(f"a board of {width:g} x {height:g} mm does not fit on an A4 page; make the squares smaller")
    path.parent.mkdir(parents=True, exist_ok=True)
    writers[path.suffix.lower()](board, path)


def _place_on_page(board: Board) -> Float[np.ndarray, "n 4"]:
    """The board in the middle of the page, and a rule of 100 mm below it, in whole twelfths of a millimetre."""
    width, height = (1000 * side for side in board.size_m)
    corner = np.floor(np.array([(_A4_MM[0] - width) / 2, (_A4_MM[1] - height) / 2 - 4]))
    rectangles = list_rectangles(board) + np.array([*corner, 0.0, 0.0])
    left, top = _A4_MM[0] - 12 - _RULE_MM, _A4_MM[1] - 6
    rule = [(left, top, _RULE_MM, 0.5)] + [(left + x, top - 2, 0.25, 2.5) for x in (0.0, _RULE_MM - 0.25)]
    return np.concatenate([rectangles, np.array(rule)])


def _black_cells(marker_id: int) -> list[tuple[int, int]]:
    """Rows and columns of a marker's black cells."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, _DICTIONARY_NAME))
    cells = cv2.aruco.generateImageMarker(dictionary, marker_id, _MARKER_CELLS)
    return [(int(i), int(j)) for i, j in np.argwhere(cells == 0)]


def _with_resolution(png: bytes, pixels_per_metre: int) -> bytes:
    """A PNG with its physical size: a pHYs chunk behind the header (PNG specification, 11.3.4.3)."""
    chunk = b"pHYs" + struct.pack(">IIB", pixels_per_metre, pixels_per_metre, 1)
    header_end = 8 + 25
    return png[:header_end] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[header_end:]


def _pdf(content: bytes, width: float, height: float) -> bytes:
    """A PDF of one page with this content stream (ISO 32000-1, 7.5)."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %.4f %.4f] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
        % (width, height),
        b"<< /Length %d >>\nstream\n" % len(content) + content + b"endstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    tail = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + tail
