"""Draws what `tests.benchmarks.rendering` has measured, as SVG: python -m tests.benchmarks.rendering_plot rendering.json rendering.svg"""

import json
import math
import sys
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 960, 430
TOP, BOTTOM = 62, 330
COLOURS = ("#9ecae1", "#4292c6", "#08519c", "#08306b")
OURS, THEIRS = "#08519c", "#d95f0e"
STYLE = "<style>text{font:13px sans-serif;fill:#222}.small{font-size:11px;fill:#555}.title{font-size:15px;font-weight:600}</style>"


class _LogAxis:
    """Positive values on a line of the drawing; powers of ten are marked."""

    def __init__(self, values: list[float], start: float, end: float):
        self.low, self.high = math.log10(min(values)) - 0.08, math.log10(max(values)) + 0.08
        self.start, self.end = start, end

    def position(self, value: float) -> float:
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(math.ceil(self.low), math.floor(self.high) + 1)]


def draw(result: dict) -> str:
    """The whole picture: time over triangles for each image size, and other renderers beside ours."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "numba"))
    peers = ", ".join(f"{name} {peer['version']}" for name, peer in result["peers"].items() if "version" in peer)
    load = f" (others kept {machine['load_before']:.0f} busy)" if machine["load_before"] >= 1 else ""
    notes = [
        f"{machine['processor']}, {machine['cores']} cores{load}; {versions}; {machine['date']}",
        f"Beside it: {peers}" if peers else "",
    ]
    parts = [_text(WIDTH - 10, HEIGHT - 28 + 16 * line, note, "small", "end") for line, note in enumerate(notes)]
    parts += _draw_sizes(result["cases"]) + _draw_peers(result["peers"])
    header = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    return f'{header}{STYLE}<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'


def _draw_sizes(cases: list[dict]) -> list[str]:
    """Curves of the time of a step with gradient; whiskers are quartiles, dashes are one core."""
    x = _LogAxis([case["triangles"] for case in cases], 70, 500)
    y = _LogAxis([1e3 * case["step"][key] for case in cases for key in ("quartile_1_s", "quartile_3_s")], BOTTOM, TOP)
    parts = [_text(70, 24, "Image and gradient of all vertices: colour, depth, silhouette", "title")]
    parts.append(_text(70, 44, "medians with quartiles; dashed: one core", "small"))
    parts += [
        _line(70, y.position(tick), 500, y.position(tick)) + _text(64, y.position(tick) + 4, f"{tick:g} ms", "", "end")
        for tick in y.ticks()
    ]
    parts += [_line(x.position(tick), TOP, x.position(tick), BOTTOM) for tick in x.ticks()]
    names = {1e3: "1 k", 1e4: "10 k", 1e5: "100 k", 1e6: "1 M"}
    parts += [_text(x.position(tick), BOTTOM + 18, names.get(tick, f"{tick:g}"), "", "middle") for tick in x.ticks()]
    parts.append(_text(285, BOTTOM + 38, "triangles", "", "middle"))
    most = max(case["threads"] for case in cases)
    sizes = sorted({tuple(case["size"]) for case in cases})
    for size, colour in zip(sizes, COLOURS[-len(sizes) :], strict=True):
        for threads in sorted({case["threads"] for case in cases}):
            chosen = [case for case in cases if tuple(case["size"]) == size and case["threads"] == threads]
            points = [(x.position(case["triangles"]), y.position(1e3 * case["step"]["median_s"])) for case in chosen]
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            dash = "" if threads == most else ' stroke-dasharray="3 4"'
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
            if threads == most:
                parts += [_whisker(a, case["step"], y, colour) for (a, _), case in zip(points, chosen, strict=True)]
                top = TOP + 8 + 16 * sizes.index(size)
                parts.append(f'<rect x="80" y="{top}" width="14" height="8" fill="{colour}"/>')
                parts.append(_text(100, top + 8, f"{size[1]}×{size[0]}", "small"))
    return parts


def _draw_peers(peers: dict[str, dict]) -> list[str]:
    """Two bars for each peer: its time, and ours for the same task."""
    known = {name: peer for name, peer in peers.items() if "theirs" in peer}
    if not known:
        return []
    times = [1e3 * peer[whose]["median_s"] for peer in known.values() for whose in ("theirs", "ours")]
    axis = _LogAxis([*times, min(times) / 1.5], 700, WIDTH - 110)
    parts = [_text(600, 24, "The same gradient by others, and here", "title")]
    pitch = min(72, (BOTTOM - TOP) / len(known))
    for row, (name, peer) in enumerate(known.items()):
        top = TOP + pitch * row
        parts.append(
            _text(692, top + 14, name, "", "end")
            + _text(692, top + 29, peer["what"].split(" of ")[1].replace(" triangles", ""), "small", "end")
        )
        for offset, whose, colour in ((2, "theirs", THEIRS), (20, "ours", OURS)):
            end = axis.position(1e3 * peer[whose]["median_s"])
            label = _time(peer[whose]["median_s"]) + (f" ({_ratio(peer['ratio'])}×)" if whose == "theirs" else "")
            parts.append(f'<rect x="{axis.start}" y="{top + offset:.1f}" width="{end - axis.start:.1f}" height="15" fill="{colour}"/>')
            parts.append(_text(end + 5, top + offset + 12, label, "small"))
    parts.append(_text(600, BOTTOM + 38, "logarithmic; orange: theirs, blue: the cpu backend, all cores", "small"))
    return parts


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _whisker(x: float, times: dict, axis: _LogAxis, colour: str) -> str:
    ends = [axis.position(1e3 * times[key]) for key in ("quartile_1_s", "quartile_3_s")]
    return f'<path d="M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}" stroke="{colour}" stroke-width="5" opacity="0.4"/>'


def _line(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(json.loads(Path(sys.argv[1]).read_text())))
