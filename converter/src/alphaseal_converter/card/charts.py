"""Charts as inline SVG: text as text, colours from the style sheet, a title and a description in words.

Days are drawn one beside the other, without gaps for days without trading.  Where there are more days than a screen has
columns, each column is drawn from its lowest to its highest value, so that no extreme is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from alphaseal_converter.card.markup import Child, Element, drawn, element

Vector = npt.NDArray[np.float64]
Days = npt.NDArray[np.datetime64]
Style = Literal["first", "second"]
Unit = Literal["number", "percent"]

WIDTH, HEIGHT = 480.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 468.0, 12.0, 220.0
_COLUMNS = 600
_LABELS = 3


@dataclass(frozen=True)
class Series:
    """One line: `values` float64, NaN where there is none; the second style is dashed as well as of another colour."""

    name: str
    values: Vector
    style: Style = "first"


def figure(title: str, finding: Child, *body: Element) -> Element:
    """A picture with its title, and in a sentence what it shows."""
    return element("figure", element("h4", title), element("p", finding, style="note"), *body)


def line_chart(anchor: str, title: str, description: str, days: Days, lines: Sequence[Series], unit: Unit) -> Element:
    """Lines over days, with a legend that names them."""
    scale = _Scale.of(np.concatenate([[0.0], *(series.values for series in lines)]), unit)
    drawn_lines = [_line(series, scale) for series in lines]
    return _plot(
        _canvas(anchor, title, description, [*_y_axis(scale), *_day_axis(days), *drawn_lines]),
        legend(*((f"line {series.style}", series.name) for series in lines)),
    )


def bar_chart(anchor: str, title: str, description: str, days: Days, values: Vector) -> Element:
    """One bar from zero for each day, and a dashed line at their mean."""
    scale = _Scale.of(np.append(values, 0.0), "number")
    count = len(values)
    width = max(0.7, 0.7 * (_RIGHT - _LEFT) / min(count, _COLUMNS))
    strokes = "".join(
        f"M{_position(place, count):.1f} {scale.y(low):.1f}V{scale.y(high):.1f}"
        for place, low, high in _columns(values, from_zero=True)
    )
    marks = [drawn("path", d=strokes, style=f"bars w{min(12, round(width))}")]
    mean = float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
    if math.isfinite(mean):
        y = scale.y(mean)
        marks.append(drawn("line", x1=_LEFT, y1=y, x2=_RIGHT, y2=y, style="line second"))
    return _plot(
        _canvas(anchor, title, description, [*_y_axis(scale), *_day_axis(days), *marks]),
        legend(("area", "one day"), ("line second", "their mean")),
    )


def histogram(anchor: str, title: str, description: str, edges: Vector, counts: npt.NDArray[np.int64]) -> Element:
    """Counts as bars that touch."""
    scale = _Scale.of(np.concatenate([[0.0], counts.astype(np.float64)]), "number")
    across = _Across.of(float(edges[0]), float(edges[-1]))
    bars = [
        drawn(
            "rect",
            x=across.x(left),
            y=scale.y(count),
            width=across.x(right) - across.x(left),
            height=scale.y(0.0) - scale.y(count),
            style="area",
        )
        for left, right, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
        if count
    ]
    return _plot(_canvas(anchor, title, description, [*_y_axis(scale), *across.axis(), *bars]))


def scatter(anchor: str, title: str, description: str, x: Vector, y: Vector, lowest: float, highest: float) -> Element:
    """Dots, and the line on which both are equal."""
    scale, across = _Scale.of(np.array([lowest, highest]), "number"), _Across.of(lowest, highest)
    dots = "".join(
        f"M{across.x(left):.1f} {scale.y(up):.1f}h0" for left, up in zip(x.tolist(), y.tolist(), strict=True)
    )
    line = drawn(
        "line", x1=across.x(lowest), y1=scale.y(lowest), x2=across.x(highest), y2=scale.y(highest), style="equal"
    )
    return _plot(
        _canvas(
            anchor, title, description, [*_y_axis(scale), *across.axis(), drawn("path", d=dots, style="dots"), line]
        ),
        legend(("dots", "rows"), ("equal", "equal scores")),
    )


def bar(share: float, style: Style = "first") -> Element:
    """A bar of a table's cell, `share` between 0 and 1 of its width; the number stands beside it."""
    length = 100 * min(max(share, 0.0), 1.0)
    return drawn(
        "svg",
        drawn("rect", x=0.0, y=0.0, width=length, height=10.0, style=f"fill {style}"),
        style="bar",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


@dataclass(frozen=True)
class _Scale:
    """The vertical axis: `ticks` in the unit's own numbers, the lowest and highest are the ends."""

    ticks: tuple[float, ...]
    unit: Unit

    @classmethod
    def of(cls, values: Vector, unit: Unit) -> _Scale:
        """An axis with round ticks around the finite `values` and zero-width ranges widened."""
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        return cls(_ticks(low, high), unit)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return _BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP)


@dataclass(frozen=True)
class _Across:
    """The horizontal axis of numbers."""

    ticks: tuple[float, ...]

    @classmethod
    def of(cls, low: float, high: float) -> _Across:
        return cls(_ticks(low, high))

    def x(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return _LEFT + (value - low) / (high - low) * (_RIGHT - _LEFT)

    def axis(self) -> list[Element]:
        labels = _labels(self.ticks, "number")
        parts = [drawn("line", x1=_LEFT, y1=_BOTTOM, x2=_RIGHT, y2=_BOTTOM, style="zero")]
        return parts + [
            drawn(
                "text", label, x=self.x(tick), y=_BOTTOM + 20, text_anchor="end" if tick == self.ticks[-1] else "middle"
            )
            for tick, label in zip(self.ticks, labels, strict=True)
        ]


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Four to seven round numbers from at most `low` to at least `high`."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(high) / 2 or 1.0
        low, high = low - room, high + room
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(step * number for number in range(first, last + 1))


def _labels(ticks: Sequence[float], unit: Unit) -> list[str]:
    """The ticks in words, all with the same number of decimals."""
    factor, sign = (100.0, "%") if unit == "percent" else (1.0, "")
    step = (ticks[1] - ticks[0]) * factor
    if not 1e-5 <= step < 1e6:
        return [f"{tick * factor:.3g}{sign}" for tick in ticks]
    decimals = next(digits for digits in range(8) if abs(round(step, digits) - step) < 1e-6 * step)
    texts = [f"{tick * factor:,.{decimals}f}{sign}" for tick in ticks]
    return [text.removeprefix("-") if not float(tick) else text for tick, text in zip(ticks, texts, strict=True)]


def _y_axis(scale: _Scale) -> list[Element]:
    parts: list[Element] = []
    for tick, label in zip(scale.ticks, _labels(scale.ticks, scale.unit), strict=True):
        y = scale.y(tick)
        parts.append(drawn("line", x1=_LEFT, y1=y, x2=_RIGHT, y2=y, style="grid" if tick else "zero"))
        parts.append(drawn("text", label, x=_LEFT - 6, y=y + 4, text_anchor="end"))
    return parts


def _day_axis(days: Days) -> list[Element]:
    """The first, the last and a day between them."""
    count = len(days)
    places = sorted({round(part * (count - 1) / (_LABELS - 1)) for part in range(_LABELS)})
    anchors = ("start", *["middle"] * (len(places) - 2), "end") if len(places) > 1 else ("middle",)
    return [
        drawn(
            "text",
            str(days[place]),
            x={"start": _LEFT, "end": _RIGHT}.get(anchor, _position(place, count)),
            y=_BOTTOM + 20,
            text_anchor=anchor,
        )
        for place, anchor in zip(places, anchors, strict=True)
    ]


def _position(place: float, count: int) -> float:
    """The middle of a day's column."""
    return _LEFT + (place + 0.5) * (_RIGHT - _LEFT) / count


def _columns(values: Vector, from_zero: bool = False) -> list[tuple[float, float, float]]:
    """(place, lowest, highest) of each column that has a value; bars begin at zero."""
    found = []
    for part in np.array_split(np.arange(len(values)), min(len(values), _COLUMNS)):
        numbers = values[part][np.isfinite(values[part])]
        if len(numbers):
            low, high = float(numbers.min()), float(numbers.max())
            bounds = (min(low, 0.0), max(high, 0.0)) if from_zero else (low, high)
            found.append((float(part.mean()), *bounds))
    return found


def _line(series: Series, scale: _Scale) -> Element:
    count = len(series.values)
    parts: list[str] = []
    for place, low, high in _columns(series.values):
        x, command = _position(place, count), "L" if parts else "M"
        parts.append(f"{command}{x:.1f} {scale.y(low):.1f}" + (f"V{scale.y(high):.1f}" if high > low else ""))
    if len(parts) == 1:
        parts.append("h0")  # a single day is a dot
    return drawn("path", d="".join(parts), style=f"line {series.style}")


def _plot(*parts: Element) -> Element:
    return element("div", *parts, style="plot")


def legend(*entries: tuple[str, str]) -> Element:
    """What is drawn how: style and name of each entry."""
    parts: list[Child] = []
    for style, name in entries:
        parts += [_swatch(style), f"{name} "]
    return element("p", *parts, style="legend")


def _swatch(style: str) -> Element:
    if style == "dots":
        shape = drawn("path", d="M12 6h0", style=style)
    elif style.startswith("line") or style == "equal":
        shape = drawn("line", x1=0.0, y1=6.0, x2=24.0, y2=6.0, style=style)
    else:
        shape = drawn("rect", x=8.0, y=1.0, width=8.0, height=10.0, style=style)
    return drawn("svg", shape, style="swatch", viewBox="0 0 24 12", aria_hidden="true")


def _canvas(anchor: str, title: str, description: str, parts: Sequence[Element]) -> Element:
    return drawn(
        "svg",
        drawn("title", title, id=f"{anchor}-title"),
        drawn("desc", description, id=f"{anchor}-text"),
        *parts,
        style="chart",
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        role="img",
        aria_labelledby=f"{anchor}-title {anchor}-text",
    )
