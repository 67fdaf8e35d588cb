"""Charts as inline SVG: no script, readable when printed and on a phone."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from invgraphics.report.images import PALETTE

_WIDTH, _HEIGHT = 400, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 12, 40
_LOG_RATIO = 20.0
"""Curves whose largest value is this many times the smallest are drawn on a logarithmic axis."""


def draw_curves(curves: Mapping[str, Sequence[float]], x_label: str, y_label: str, emphasized: str = "total") -> str:
    """Curves over their index (0, 1, ...), with axes, units and a legend. Values that are not finite leave gaps.

    The y axis is logarithmic where every value is positive and they span more than a factor of 20.
    """
    shown = {name: list(values) for name, values in curves.items() if any(math.isfinite(value) for value in values)}
    values = [value for curve in shown.values() for value in curve if math.isfinite(value)]
    if not values:
        return '<p class="note">no values recorded</p>'
    logarithmic = _is_logarithmic(shown, emphasized)
    if logarithmic:
        floor = max(shown.get(emphasized, values)) * 1e-6
        values = [value for value in values if value > floor]
    low, high = _value_range(values, logarithmic)
    length = max(len(curve) for curve in shown.values())
    y_of = _scale(low, high, _HEIGHT - _BOTTOM, _TOP, logarithmic)
    x_of = _scale(0.0, float(max(length - 1, 1)), _LEFT, _WIDTH - _RIGHT, logarithmic=False)
    parts = [
        _draw_y_axis(_ticks(low, high, logarithmic), y_of),
        _draw_x_axis(length, x_of),
        _draw_axis_labels(x_label, y_label, logarithmic),
    ]
    colours = _choose_colours(shown, emphasized)
    for name in sorted(shown, key=lambda name: name == emphasized):
        parts.append(_draw_curve(shown[name], x_of, y_of, low, logarithmic, colours[name], 2.4 if name == emphasized else 1.5))
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'
    return svg + _draw_legend(colours)


def _is_logarithmic(curves: Mapping[str, Sequence[float]], emphasized: str) -> bool:
    """Decided by the emphasized curve where there is one: terms may be zero, the log axis then leaves those points out."""
    deciding = curves.get(emphasized) or [value for curve in curves.values() for value in curve]
    finite = [value for value in deciding if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > _LOG_RATIO


def _value_range(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if logarithmic:
        return low / 1.15, high * 1.15
    low = min(low, 0.0) if low < 0.5 * high else low
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return (low if low == 0.0 else low - margin), high + margin


def _scale(low: float, high: float, start: float, end: float, logarithmic: bool):
    """The map of values in [low, high] to positions in [start, end]."""
    transform = math.log10 if logarithmic else float
    a, b = transform(low), transform(high)
    return lambda value: start + (transform(value) - a) / (b - a) * (end - start)


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round values within [low, high]: at most six."""
    if logarithmic:
        return _log_ticks(low, high)
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    for factor in (1, 2, 5, 10):
        if (high - low) / (factor * step) <= 5:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    if len(decades) >= 3:
        return [10.0**k for k in decades][:: math.ceil(len(decades) / 6)]
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    candidates = [m * 10.0**k for k in exponents for m in (1, 2, 5)]
    return [value for value in candidates if low <= value <= high]


def _draw_y_axis(ticks: Sequence[float], y_of) -> str:
    lines = []
    for value in ticks:
        y = y_of(value)
        lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="rule"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="tick">{format_value(value)}</text>')
    return "".join(lines)


def _draw_x_axis(length: int, x_of) -> str:
    base = _HEIGHT - _BOTTOM
    parts = [f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}" class="base"/>']
    for value in _ticks(0.0, max(length - 1, 1), logarithmic=False):
        if value == round(value):
            text = f'<text x="{x_of(value):.1f}" y="{base + 15}" text-anchor="middle" class="tick">{value:.0f}</text>'
            parts.append(text)
    return "".join(parts)


def _draw_axis_labels(x_label: str, y_label: str, logarithmic: bool) -> str:
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    y_text = escape(y_label) + (" (log)" if logarithmic else "")
    return (
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle" class="axis">{escape(x_label)}</text>'
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle" class="axis">{y_text}</text>'
    )


def _draw_curve(curve: Sequence[float], x_of, y_of, low: float, logarithmic: bool, colour: str, width: float) -> str:
    runs: list[list[str]] = [[]]
    for index, value in enumerate(curve):
        if not math.isfinite(value) or (logarithmic and value < low):
            runs.append([])
        else:
            runs[-1].append(f"{x_of(index):.1f},{y_of(value):.1f}")
    lines = [
        f'<polyline points="{" ".join(run)}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>'
        for run in runs
        if len(run) > 1
    ]
    dots = [run[0].split(",") for run in runs if len(run) == 1]
    return "".join(lines) + "".join(f'<circle cx="{x}" cy="{y}" r="{width}" fill="{colour}"/>' for x, y in dots)


def _choose_colours(curves: Mapping[str, Sequence[float]], emphasized: str) -> dict[str, str]:
    others = [name for name in curves if name != emphasized]
    colours = {emphasized: "#1d1f21"} if emphasized in curves else {}
    return colours | {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(others)}


def _draw_legend(colours: Mapping[str, str]) -> str:
    items = "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in colours.items())
    return f'<div class="legend">{items}</div>'


def format_value(value: float) -> str:
    """A tick's value, short: 0, 250, 0.02, 1.5e-6, 10<sup>-4</sup> as 1e-4."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
