# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG text: lines over two axes, and a heat map of counts.

Every number is written with two decimals, so equal data give equal text. Colours are CSS custom
properties with a fallback: a page may restyle them, and the text also stands alone as a file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from itertools import count
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]

FONT_SIZE_PX = 12
_STROKES = ("var(--series-1, #0b5fa5)", "var(--series-2, #b8420a)")
_REFERENCE = "var(--reference, #6b7680)"
_GRID = "var(--grid, #dfe4e8)"
_HEAT = "var(--heat, #0b5fa5)"
_ON_HEAT = "var(--on-heat, #ffffff)"
_DARK_CELL = Fraction(4, 5)
"""From this share on, white text is easier to read on a cell than black text (WCAG contrast)."""
_CHARACTER_PX = 6.6
"""About the mean width of a letter, to leave room for names."""
_MOST_MARKERS = 40
_LEFT_PX, _TOP_PX, _RIGHT_PX, _BOTTOM_PX = 52, 24, 14, 44


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line.

    Args:
        label: What the line is.
        points: (x, y) in data coordinates, in the order in which they are joined.
        style: 0 is a full line in the first colour, 1 a dashed one in the second, so that the two
            can be told apart without seeing colours.
        marked: Whether each point gets a dot (left out beyond 40 points).
        joined: Whether a line joins the points; without it every point gets a dot.
    """

    label: str
    points: tuple[Point, ...]
    style: int = 0
    marked: bool = False
    joined: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: its title, its ends, and where its ticks are."""

    label: str
    low: float
    high: float
    ticks: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A line chart.

    Args:
        title: What it shows, read aloud by screen readers.
        x: The horizontal axis.
        y: The vertical axis.
        series: The lines, drawn in this order.
        reference: A thin dashed line, such as chance; may be empty.
        mark: An x that is singled out by a vertical line with a label; or None.
        width: Of the plotting area, in pixels.
        height: Of the plotting area, in pixels.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    reference: tuple[Point, ...] = ()
    mark: tuple[float, str] | None = None
    width: int = 420
    height: int = 220

    def place(self, point: Point) -> tuple[float, float]:
        """Data coordinates to pixels."""
        across = (point[0] - self.x.low) / (self.x.high - self.x.low)
        up = (point[1] - self.y.low) / (self.y.high - self.y.low)
        return _LEFT_PX + across * self.width, _TOP_PX + (1.0 - up) * self.height


def build_axis(label: str, values: Iterable[float], *, whole: bool = False) -> Axis:
    """An axis with round ticks around the values; `whole` keeps ticks on integers."""
    numbers = [Fraction(value) for value in values] or [Fraction(0)]
    low, high = min(numbers), max(numbers)
    if low == high:
        margin = Fraction(1, 2) if whole else max(abs(low) / 10, Fraction(1, 10))
        low, high = low - margin, high + margin
    step = _step((high - low) / 5, whole=whole)
    if not whole:
        low, high = low // step * step, -(-high // step) * step
    first = -(-low // step)
    ticks = tuple(step * index for index in range(first, high // step + 1))
    return Axis(label=label, low=float(low), high=float(high), ticks=ticks)


def unit_axis(label: str) -> Axis:
    """An axis from 0 to 1 with ticks at fifths."""
    return Axis(label=label, low=0.0, high=1.0, ticks=tuple(Fraction(i, 5) for i in range(6)))


def line_chart(plot: Plot) -> str:
    """Draw lines over two axes."""
    parts = [
        _open(plot.title, _LEFT_PX + plot.width + _RIGHT_PX, _TOP_PX + plot.height + _BOTTOM_PX)
    ]
    parts += _axes(plot)
    if plot.reference:
        parts.append(_path(plot, plot.reference, f"stroke:{_REFERENCE};stroke-dasharray:2 4"))
    if plot.mark is not None:
        parts += _mark(plot, *plot.mark)
    for series in plot.series:
        dash = ";stroke-dasharray:6 3" if series.style % 2 else ""
        stroke = _STROKES[series.style % len(_STROKES)]
        if series.joined:
            parts.append(_path(plot, series.points, f"stroke:{stroke};stroke-width:2{dash}"))
        is_marked = series.marked and len(series.points) <= _MOST_MARKERS
        if is_marked or not series.joined:
            parts += [_dot(plot.place(point), stroke) for point in series.points]
    return "".join([*parts, "</svg>"])


def legend_swatch(style: int) -> str:
    """A short piece of the line that `style` draws, for a legend in the page's own text."""
    dash = ";stroke-dasharray:6 3" if style % 2 else ""
    line = f'<path d="M0 5H26" style="fill:none;stroke:{_STROKES[style]};stroke-width:2{dash}"/>'
    return f'<svg width="26" height="10" viewBox="0 0 26 10" aria-hidden="true">{line}</svg>'


def heat_map(title: str, names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Draw a confusion matrix: rows are true classes, columns what they were called.

    The darkness of a cell is its share of its row; the text is the count, and below it the share.
    """
    side = 96 if len(names) <= 4 else 64 if len(names) <= 8 else 48
    longest = max(len(_short(name)) for name in names) * _CHARACTER_PX
    tilted = longest > side - 6
    left, top = 40 + longest, 34 + (longest * 0.65 if tilted else 10)
    overhang = longest * 0.8 if tilted else 8
    height = top + side * len(names) + 8
    parts = [_open(title, round(left + side * len(names) + overhang), round(height))]
    middle_x, middle_y = left + side * len(names) / 2, top + side * len(names) / 2
    bold = "text-anchor:middle;font-weight:600"
    parts.append(_text((middle_x, 14), "called by the model", bold))
    turned = f' transform="rotate(-90 14 {middle_y:.2f})"'
    parts.append(_text((14, middle_y), "true class", bold, turned))
    for index, name in enumerate(names):
        centre = side * (index + 0.5)
        parts.append(_text((left - 8, top + centre + 4), _short(name), "text-anchor:end"))
        tilt = f' transform="rotate(-40 {left + centre:.2f} {top - 8:.2f})"' if tilted else ""
        anchor = "" if tilted else "text-anchor:middle"
        parts.append(_text((left + centre, top - 8), _short(name), anchor, tilt))
    for row, counts in enumerate(matrix):
        for column, number in enumerate(counts):
            corner = (left + side * column, top + side * row)
            share = Fraction(number, sum(counts)) if sum(counts) else Fraction(0)
            parts.append(_cell(corner, side, number, share))
    return "".join([*parts, "</svg>"])


def _step(at_least: Fraction, *, whole: bool) -> Fraction:
    for exponent in count(0 if whole else -12):
        for digit in (1, 2, 5):
            step = digit * Fraction(10) ** exponent
            if step >= at_least:
                return step
    raise AssertionError("the powers of ten have no end")  # pragma: no cover


def _open(title: str, width: int, height: int) -> str:
    words = escape(title, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{words}" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif" font-size="{FONT_SIZE_PX}" fill="currentColor">'
        f"<title>{words}</title>"
    )


def _axes(plot: Plot) -> list[str]:
    left, right = _LEFT_PX, _LEFT_PX + plot.width
    top, bottom = _TOP_PX, _TOP_PX + plot.height
    parts = []
    for tick in plot.y.ticks:
        y = plot.place((plot.x.low, float(tick)))[1]
        parts.append(_rule(f"M{left} {y:.2f}H{right}"))
        parts.append(_text((left - 7, y + 4), _label(tick, plot.y.ticks), "text-anchor:end"))
    for tick in plot.x.ticks:
        x = plot.place((float(tick), plot.y.low))[0]
        parts.append(_rule(f"M{x:.2f} {top}V{bottom}"))
        place = (x, bottom + 17.0)
        parts.append(_text(place, _label(tick, plot.x.ticks), "text-anchor:middle"))
    style = "text-anchor:middle"
    parts.append(_text(((left + right) / 2, bottom + 36.0), plot.x.label, style))
    middle = (top + bottom) / 2
    turned = f' transform="rotate(-90 13 {middle:.2f})"'
    parts.append(_text((13, middle), plot.y.label, style, turned))
    outline = "fill:none;stroke:currentColor;stroke-opacity:0.55"
    parts.append(f'<path d="M{left} {top}V{bottom}H{right}" style="{outline}"/>')
    return parts


def _mark(plot: Plot, x: float, label: str) -> list[str]:
    across, top = plot.place((x, plot.y.high))
    line = f'<path d="M{across:.2f} {top:.2f}V{_TOP_PX + plot.height}" '
    line += f'style="fill:none;stroke:{_REFERENCE};stroke-dasharray:3 3"/>'
    third = 3 * (across - _LEFT_PX) / plot.width
    anchor = "start" if third < 1 else "middle" if third < 2 else "end"
    return [line, _text((across, top - 8), label, f"text-anchor:{anchor}")]


def _path(plot: Plot, points: Sequence[Point], style: str) -> str:
    placed = (plot.place(point) for point in points)
    data = "L".join(f"{x:.2f} {y:.2f}" for x, y in placed)
    return f'<path d="M{data}" style="fill:none;stroke-linejoin:round;{style}"/>' if data else ""


def _rule(data: str) -> str:
    return f'<path d="{data}" style="fill:none;stroke:{_GRID}"/>'


def _dot(place: Point, colour: str) -> str:
    return f'<circle cx="{place[0]:.2f}" cy="{place[1]:.2f}" r="2.6" style="fill:{colour}"/>'


def _text(place: Point, words: str, style: str, attributes: str = "") -> str:
    styled = f' style="{style}"' if style else ""
    return f'<text x="{place[0]:.2f}" y="{place[1]:.2f}"{styled}{attributes}>{escape(words)}</text>'


def _label(tick: Fraction, ticks: Sequence[Fraction]) -> str:
    decimals = 0
    while decimals < 12 and any((number * 10**decimals).denominator != 1 for number in ticks):
        decimals += 1
    return format(float(tick), f".{decimals}f")


def _cell(corner: Point, side: int, number: int, share: Fraction) -> str:
    x, y = corner
    box = f'<rect x="{x:.2f}" y="{y:.2f}" width="{side - 2}" height="{side - 2}" rx="3" '
    box += f'style="fill:{_HEAT};fill-opacity:{float(max(share, Fraction(1, 25))):.2f}"/>'
    fill = f";fill:{_ON_HEAT}" if share >= _DARK_CELL else ""
    middle = x + side / 2 - 1
    main = f"text-anchor:middle;font-weight:600{fill}"
    small = f"text-anchor:middle;font-size:{FONT_SIZE_PX - 2}px{fill}"
    percent = f"{float(share * 100):.0f} %" if share else ""
    return (
        box
        + _text((middle, y + side / 2 - 1), str(number), main)
        + _text((middle, y + side / 2 + 13), percent, small)
    )


def _short(name: str, most: int = 20) -> str:
    return name if len(name) <= most else name[: most - 1] + "\u2026"
