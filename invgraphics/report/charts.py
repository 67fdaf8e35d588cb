"""Charts as inline SVG: no script, readable when printed and on a phone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from invgraphics.report.images import PALETTE

_WIDTH, _HEIGHT = 400.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 390.0, 12.0, 200.0
"""Edges of the plotting area in the drawing's own units."""
_LOG_RATIO = 20.0
"""Curves whose largest value is this many times the smallest are drawn on a logarithmic axis."""
_LOG_SPAN = 1e6
"""What lies this far below the largest value is left off a logarithmic axis."""


@dataclass(frozen=True)
class _Axis:
    """Values in [low, high] drawn between two positions."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def position(self, value: float | int) -> float:
        transform = math.log10 if self.logarithmic else float
        low, high = transform(self.low), transform(self.high)
        return self.start + (transform(value) - low) / (high - low) * (self.end - self.start)

    def shows(self, value: float | int) -> bool:
        return math.isfinite(value) and (not self.logarithmic or value >= self.low)

    def ticks(self) -> list[float]:
        """Round values on the axis: about three to six."""
        if self.logarithmic:
            return _log_ticks(self.low, self.high)
        span = self.high - self.low
        magnitude = 10.0 ** math.floor(math.log10(span / 3))
        step = next(factor * magnitude for factor in (1, 2, 5, 10) if span / (factor * magnitude) <= 5)
        return [k * step for k in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def draw_curves(curves: Mapping[str, Sequence[float]], x_label: str, y_label: str, emphasized: str = "total") -> str:
    """Curves over their index (0, 1, ...), with axes, units and a legend. Values that are not finite leave gaps.

    The y axis is logarithmic where the emphasized curve (all of them, if there is none) is positive and falls by more than a factor of
    20; values of other curves that it cannot show are left out.
    """
    shown = {name: values for name, values in curves.items() if any(math.isfinite(value) for value in values)}
    if not shown:
        return '<p class="note">no values recorded</p>'
    length = max(len(curve) for curve in shown.values())
    x_axis, y_axis = _Axis(0.0, float(max(length - 1, 1)), _LEFT, _RIGHT), _fit_y_axis(shown, emphasized)
    colours = _choose_colours(shown, emphasized)
    parts = [_draw_y_axis(y_axis), _draw_x_axis(x_axis), _draw_axis_labels(x_label, y_label + (" (log)" if y_axis.logarithmic else ""))]
    for name in sorted(shown, key=lambda name: name == emphasized):
        parts.append(_draw_curve(shown[name], x_axis, y_axis, colours[name], 2.4 if name == emphasized else 1.5))
    svg = f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img">{"".join(parts)}</svg>'
    return svg + _draw_legend(colours)


def draw_against_diagonal(points: Sequence[tuple[float, float]], x_label: str, y_label: str, joined: bool) -> str:
    """Points (x, y), not negative, on two axes from 0 to the largest of all values, with the line x = y; dots, or joined by a line."""
    most = 1.05 * max((max(point) for point in points), default=1.0) or 1.0
    x_axis, y_axis = _Axis(0.0, most, _LEFT, _RIGHT), _Axis(0.0, most, _BOTTOM, _TOP)
    places = [(x_axis.position(x), y_axis.position(y)) for x, y in points]
    diagonal = f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{_BOTTOM}" y2="{_TOP}" class="base" stroke-dasharray="4 4"/>'
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{PALETTE[0]}" fill-opacity="0.7"/>' for x, y in places)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    curve = f'<polyline points="{line}" fill="none" stroke="{PALETTE[0]}" stroke-width="2"/>' if joined else ""
    parts = [_draw_y_axis(y_axis), _draw_x_axis(x_axis), _draw_axis_labels(x_label, y_label), diagonal, curve, dots]
    return f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img">{"".join(parts)}</svg>'


def _fit_y_axis(curves: Mapping[str, Sequence[float]], emphasized: str) -> _Axis:
    values = [float(value) for curve in curves.values() for value in curve if math.isfinite(value)]
    deciding = [float(value) for value in curves.get(emphasized, ()) if math.isfinite(value)] or values
    if min(deciding) > 0 and max(deciding) > _LOG_RATIO * min(deciding):
        positive = [value for value in values if value > max(deciding) / _LOG_SPAN]
        return _Axis(min(positive) / 1.15, max(positive) * 1.15, _BOTTOM, _TOP, logarithmic=True)
    low, high = min(values), max(values)
    if 0 < low < 0.5 * high:
        low = 0.0
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return _Axis(low if low == 0.0 < high else low - margin, high + margin, _BOTTOM, _TOP)


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    if last - first >= 2:
        return [10.0**k for k in range(first, last + 1, math.ceil((last - first + 1) / 6))]
    return [m * 10.0**k for k in range(first - 1, last + 2) for m in (1, 2, 5) if low <= m * 10.0**k <= high]


def _draw_y_axis(axis: _Axis) -> str:
    parts = []
    for value in axis.ticks():
        y = axis.position(value)
        parts.append(f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="rule"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="tick">{format_value(value)}</text>')
    return "".join(parts)


def _draw_x_axis(axis: _Axis) -> str:
    parts = [f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{_BOTTOM}" y2="{_BOTTOM}" class="base"/>']
    for value in axis.ticks():
        if value == round(value):
            x = axis.position(value)
            parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 15}" text-anchor="middle" class="tick">{value:.0f}</text>')
    return "".join(parts)


def _draw_axis_labels(x_label: str, y_label: str) -> str:
    x, y = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
    below = f'<text x="{x}" y="{_HEIGHT - 6}" text-anchor="middle" class="axis">{escape(x_label)}</text>'
    return below + f'<text transform="translate(12 {y}) rotate(-90)" text-anchor="middle" class="axis">{escape(y_label)}</text>'


def _draw_curve(curve: Sequence[float], x_axis: _Axis, y_axis: _Axis, colour: str, width: float) -> str:
    """Lines through neighbouring values that can be shown; dots for values without such a neighbour."""
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(curve):
        if y_axis.shows(value):
            runs[-1].append((x_axis.position(index), y_axis.position(value)))
        else:
            runs.append([])
    parts = []
    for run in runs:
        if len(run) == 1:
            parts.append(f'<circle cx="{run[0][0]:.1f}" cy="{run[0][1]:.1f}" r="{width}" fill="{colour}"/>')
        elif run:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>')
    return "".join(parts)


def _choose_colours(curves: Mapping[str, Sequence[float]], emphasized: str) -> dict[str, str]:
    others = [name for name in curves if name != emphasized]
    colours = {emphasized: "#1d1f21"} if emphasized in curves else {}
    return colours | {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(others)}


def _draw_legend(colours: Mapping[str, str]) -> str:
    items = "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in colours.items())
    return f'<div class="legend">{items}</div>'


def format_value(value: float | int) -> str:
    """The value at a tick, short: 0, 250, 0.02, 1e-6."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
