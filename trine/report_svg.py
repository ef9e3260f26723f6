"""Charts of the report as inline SVG: stacked bars and a roofline. Colours and fonts are the page's CSS."""

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["Point", "columns", "legend", "roofline", "stack"]

WIDTH = 880
#: Classes of colour in the page's style sheet: c0 .. c7.
_COLOURS = 8

#: A point of the roofline: name, products per byte, products per second.
Point = tuple[str, float, float]


def _svg(height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label, quote=True)}">'
        + "".join(parts)
        + "</svg>"
    )


def _rect(x: float, y: float, width: float, height: float, colour: int, title: str) -> str:
    return (
        f'<rect class="c{colour % _COLOURS}" x="{x:.2f}" y="{y:.2f}" width="{max(width, 0):.2f}" '
        f'height="{max(height, 0):.2f}"><title>{escape(title)}</title></rect>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    klass = f' class="{kind}"' if kind else ""
    return f'<text{klass} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def legend(names: Sequence[str]) -> str:
    """Colours of series, as HTML."""
    items = (f'<span><i class="c{i % _COLOURS}"></i>{escape(name)}</span>' for i, name in enumerate(names))
    return f'<p class="legend">{"".join(items)}</p>'


def stack(rows: Mapping[str, Mapping[str, float]], label: str) -> str:
    """A bar of full width for each row, cut in proportion to its series."""
    parts, y = [], 4.0
    left = 150
    for name, series in rows.items():
        total, x = sum(series.values()) or 1.0, float(left)
        parts.append(_text(left - 8, y + 15, name, "end"))
        for colour, (kind, value) in enumerate(series.items()):
            width = (WIDTH - left) * value / total
            parts.append(_rect(x, y, width, 20, colour, f"{name}: {kind} {value:,.0f} ({value / total:.1%})"))
            if width > 44:
                parts.append(_text(x + width / 2, y + 15, f"{value / total:.1%}", "middle", "on"))
            x += width
        y += 26
    return _svg(y, label, parts)


def columns(bars: Mapping[str, Mapping[str, float]], label: str, unit: str) -> str:
    """A column for each bar, its series stacked; all on one scale from 0."""
    top, bottom, left, height = 12, 34, 64, 190
    most = max((sum(series.values()) for series in bars.values()), default=0) or 1.0
    parts = []
    for tick in _ticks(most):
        y = top + height * (1 - tick / most)
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(left - 6, y + 4, f"{tick:,.0f}", "end"))
    pitch = (WIDTH - left) / max(len(bars), 1)
    every = max(1, math.ceil(len(bars) / 30))
    for number, (name, series) in enumerate(bars.items()):
        x, y = left + pitch * number + 0.1 * pitch, float(top + height)
        for colour, (kind, value) in enumerate(series.items()):
            size = height * value / most
            y -= size
            parts.append(_rect(x, y, 0.8 * pitch, size, colour, f"{name}: {kind} {value:,.0f} {unit}"))
        if number % every == 0 or number + 1 == len(bars):
            parts.append(_text(x + 0.4 * pitch, top + height + 16, name, "middle"))
    return _svg(top + height + bottom, label, parts)


def _ticks(most: float) -> list[float]:
    """Four to eight round values from 0 to `most`."""
    step = 10.0 ** math.floor(math.log10(most))
    for part in (0.2, 0.5, 1.0):
        if most / (step * part) <= 8:
            step *= part
            break
    return [step * i for i in range(int(most / step) + 1)]


def roofline(
    points: Sequence[Point], memories: Mapping[str, float], peaks: Mapping[str, float], label: str
) -> str:
    """Products per second against products per byte, both logarithmic.

    memories: bytes a second by name (slopes); peaks: products a second by name (levels).
    """
    left, top, width, height = 74, 26, WIDTH - 90, 330
    tallest, fastest = max(peaks.values()), max(memories.values())
    corner = tallest / min(memories.values())
    xs = [point[1] for point in points] + [corner]
    x0, x1 = math.floor(math.log10(min(xs) / 2)), math.ceil(math.log10(max(xs) * 2))
    ys = [point[2] for point in points] + list(peaks.values())
    y0, y1 = math.floor(math.log10(min(ys) / 1.2)), math.ceil(math.log10(max(ys) * 1.5))

    def x(value: float) -> float:
        return left + width * (math.log10(value) - x0) / (x1 - x0)

    def y(value: float) -> float:
        return top + height * (y1 - math.log10(value)) / (y1 - y0)

    parts = []
    for power in range(x0, x1 + 1):
        at = x(10.0**power)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + height}"/>')
        parts.append(_text(at, top + height + 16, f"{10.0**power:g}", "middle"))
    for power in range(y0, y1 + 1):
        at = y(10.0**power)
        parts.append(f'<line class="grid" x1="{left}" x2="{left + width}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(_text(left - 6, at + 4, _si(10.0**power), "end"))
    parts.append(_text(left + width / 2, top + height + 34, "products per byte of memory traffic", "middle"))
    parts.append(_text(left, top - 10, "products a second"))
    low = max(10.0**x0, 10.0**y0 / fastest)
    for number, (name, rate) in enumerate(memories.items()):
        start, end = max(low, 10.0**y0 / rate), min(tallest / rate, 10.0**x1)
        kind = "roof" if number == 0 else "roof dashed"
        parts.append(
            f'<line class="{kind}" x1="{x(start):.1f}" y1="{y(start * rate):.1f}" x2="{x(end):.1f}" '
            f'y2="{y(end * rate):.1f}"><title>{escape(name)}: {_si(rate)}B/s</title></line>'
        )
    for number, (name, peak) in enumerate(peaks.items()):
        start = max(10.0**x0, peak / fastest)
        parts.append(
            f'<line class="roof" x1="{x(start):.1f}" x2="{left + width}" y1="{y(peak):.1f}" '
            f'y2="{y(peak):.1f}"/>'
        )
        below = 15 if number % 2 else -5  # levels may coincide
        parts.append(_text(left + width, y(peak) + below, f"{name}: {_si(peak)}/s", "end"))
    for number, (name, intensity, rate) in enumerate(points):
        at = (x(intensity), y(rate))
        colour, title = number % _COLOURS, f"{name}: {intensity:.2f} products a byte, {_si(rate)} products/s"
        parts.append(
            f'<circle class="c{colour}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="6">'
            f"<title>{escape(title)}</title></circle>"
        )
        parts.append(_text(at[0] + 10, at[1] + 5 + 14 * (number % 2), name))
    return _svg(top + height + 42, label, parts)


def _si(value: float) -> str:
    """Three digits and a prefix."""
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10.0**power:
            return f"{value / 10.0**power:.3g} {prefix}"
    return f"{value:.3g} "
