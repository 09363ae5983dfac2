"""Pictures of the card: how the model did, its scores against the recorded ones, what it looks at, what is missing.

Under each picture stands whether its numbers are those that the run recorded as metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from alphaseal_converter.card import charts
from alphaseal_converter.card.charts import Series, figure
from alphaseal_converter.card.markup import Child, Element, element
from alphaseal_converter.card.performance import DAYS_A_YEAR, Absent, Correlations, Returns
from alphaseal_converter.card.pieces import Card, absent, badge, counted, data_table, short_number

Vector = npt.NDArray[np.float64]

_FIRST_ROWS = 20
_SAME = 1e-9
"""Numbers of a picture and of the metrics are sums of the same doubles in another order."""


def performance(card: Card) -> list[Element]:
    """Correlations, excess return and drawdown day by day, and where the scores lie."""
    measured = card.performance
    parts: list[Element] = []
    missing: list[Element] = []
    for title, pictures in (
        ("Excess return and drawdown", _returns(card, measured.returns)),
        ("Correlation of score and label", _correlations(card, measured.correlations)),
        ("Scores", _distribution(card)),
    ):
        if isinstance(pictures, Absent):
            missing.append(absent(f"{title}: no picture, because {pictures.why}."))
        else:
            parts += pictures
    return [*([element("div", *parts, style="charts")] if parts else []), *missing]


def _correlations(card: Card, found: Correlations | Absent) -> list[Element] | Absent:
    if isinstance(found, Absent):
        return found
    source = "Computed here from pred.pkl and label.pkl, as the run holds no ic.pkl." if found.computed else None
    daily = [
        figure(
            f"Daily {name}",
            _finding(_daily_words(values), _recorded(card, name, _mean(values), "The mean", name), source),
            charts.bar_chart(f"chart-{anchor}", f"Daily {name}", _described(found.days, values), found.days, values),
        )
        for name, anchor, values in (("IC", "ic", found.ic), ("Rank IC", "rank-ic", found.rank_ic))
    ]
    sums = [np.nancumsum(values) for values in (found.ic, found.rank_ic)]
    title = "Cumulative IC and rank IC"
    lines = [Series("IC", sums[0]), Series("rank IC", sums[1], "second")]
    words = f"Sums of the daily values: {short_number(sums[0][-1])} and {short_number(sums[1][-1])} at the end. A steady rise is better than a few good days."
    text = f"IC: {_described(found.days, sums[0])} Rank IC: {_described(found.days, sums[1])}"
    return [*daily, figure(title, words, charts.line_chart("chart-sums", title, text, found.days, lines, "number"))]


def _returns(card: Card, found: Returns | Absent) -> list[Element] | Absent:
    if isinstance(found, Absent):
        return found
    both = {"without_cost": found.without_cost, "with_cost": found.with_cost}
    sums = {name: np.nancumsum(values) for name, values in both.items()}
    falls = {name: values - np.maximum.accumulate(values) for name, values in sums.items()}
    names = {"with_cost": "after costs", "without_cost": "before costs"}

    def chart(anchor: str, title: str, lines: dict[str, Vector]) -> Element:
        text = " ".join(f"{names[name].capitalize()}: {_described(found.days, lines[name])}" for name in names)
        series = [
            Series(names["with_cost"], lines["with_cost"]),
            Series(names["without_cost"], lines["without_cost"], "second"),
        ]
        return charts.line_chart(anchor, title, text, found.days, series, "percent")

    gain = (
        f"{_percent(sums['with_cost'][-1])} after costs and {_percent(sums['without_cost'][-1])} before, in "
        f"{counted(len(found.days), 'day')}; daily returns less the benchmark's, added up as qlib does, not compounded."
    )
    fall = (
        f"At worst {_percent(falls['with_cost'].min())} after costs and {_percent(falls['without_cost'].min())} before, "
        "from the highest sum so far."
    )
    year = _mean(found.with_cost) * DAYS_A_YEAR
    yearly = _recorded(
        card,
        "1day.excess_return_with_cost.annualized_return",
        year,
        f"At {DAYS_A_YEAR} days a year that is {_percent(year)} after costs, which",
        "annualized return",
    )
    deepest = _recorded(
        card,
        "1day.excess_return_with_cost.max_drawdown",
        float(falls["with_cost"].min()),
        "The figure after costs",
        "largest drawdown",
    )
    return [
        figure(
            "Cumulative excess return",
            _finding(gain, yearly),
            chart("chart-excess", "Cumulative excess return over the benchmark", sums),
        ),
        figure("Drawdown", _finding(fall, deepest), chart("chart-drawdown", "Drawdown of the excess return", falls)),
    ]


def _distribution(card: Card) -> list[Element] | Absent:
    found = card.performance.distribution
    if isinstance(found, Absent):
        return found
    low, high = short_number(float(found.edges[0])), short_number(float(found.edges[-1]))
    words = (
        f"{counted(found.rows, 'recorded score')} of {counted(found.days, 'day')}, from {low} to {high}; "
        f"mean {short_number(found.mean)}, deviation {short_number(found.deviation)}."
    )
    title = "Distribution of scores"
    return [figure(title, words, charts.histogram("chart-scores", title, words, found.edges, found.counts))]


def agreement(card: Card) -> list[Element]:
    """Scores of the bundle's graph against those that qlib recorded."""
    found = card.performance.agreement
    if isinstance(found, Absent):
        return [absent(f"Scores against recorded ones: no picture, because {found.why}.")]
    title = "Scores of this bundle against recorded scores"
    words = (
        f"{counted(found.rows, 'row')}: across the score that qlib recorded, upwards the score of model.onnx. "
        f"Largest difference {short_number(found.largest_difference)} (bound: {card.manifest.parity.bound.text})."
    )
    picture = charts.scatter("chart-parity", title, words, found.recorded, found.ours, found.lowest, found.highest)
    return [element("div", figure(title, words, picture), style="charts")]


def importance(card: Card) -> list[Element]:
    """What the model looks at most, by what its weights say."""
    found = card.performance.importance
    if isinstance(found, Absent):
        return [absent(f"Importance of features: no picture, because {found.why}.")]
    names = [feature.name for feature in card.manifest.features]
    total, most = float(found.values.sum()), float(found.values.max())
    if len(names) != len(found.values) or not most > 0 or not math.isfinite(total):
        return [absent("Importance of features: no picture, because the weights give none to any feature.")]
    order = np.argsort(-found.values, kind="stable").tolist()
    rows: list[list[Child]] = [
        [names[place], charts.bar(float(found.values[place]) / most), f"{float(found.values[place]) / total:.1%}"]
        for place in order
    ]
    unused = int((found.values == 0).sum())
    words = f"Share of the whole; {found.meaning}."
    words += f" {counted(unused, 'feature')} with none." if unused else ""
    return [figure("Importance", words, *_folded(["Feature", "=", "#Share"], rows))]


def missing_values(card: Card) -> list[Element]:
    """Null ratios of each feature in the training rows and in the rows of the recorded predictions."""
    tested = card.performance.missing
    rows: list[tuple[str, float | None, float | None]] = []
    without = 0
    for place, feature in enumerate(card.manifest.features):
        training = feature.statistics.null_ratio if feature.statistics is not None else None
        test = None if isinstance(tested, Absent) else float(tested[place])
        without += training is None
        if max(training or 0.0, test or 0.0) > 0:
            rows.append((feature.name, training, test))
    words = "Share of rows without a value."
    notes = [f"No training values of {counted(without, 'feature')} are at hand."] if without else []
    notes += [f"No test rows, because {tested.why}."] if isinstance(tested, Absent) else []
    if not rows:
        return [figure("Missing values", " ".join(["No feature misses a value where values are known.", *notes]))]
    rows.sort(key=lambda row: -max(row[1] or 0.0, row[2] or 0.0))
    full = max(rows[0][1] or 0.0, rows[0][2] or 0.0, 0.2)
    words += f" A full bar is {full:.0%}."
    unlisted = len(card.manifest.features) - len(rows)
    notes += [f"The other {unlisted:,} miss none."] if unlisted and not without else []
    heads = ["Feature", "=", "#Training", "#Test"]
    shown: list[list[Child]] = [
        [name, _two_bars(training, test, full), _share(training), _share(test)] for name, training, test in rows
    ]
    names = charts.legend(("fill first", "in training"), ("fill second", "in the test segment"))
    return [figure("Missing values", " ".join([words, *notes]), names, *_folded(heads, shown))]


def _two_bars(training: float | None, test: float | None, full: float) -> Element:
    pairs: tuple[tuple[float | None, charts.Style], ...] = ((training, "first"), (test, "second"))
    return element("div", *(charts.bar(ratio / full, style) for ratio, style in pairs if ratio is not None))


def _folded(heads: Sequence[str], rows: Sequence[Sequence[Child]]) -> list[Element]:
    """The first rows, and the others folded away."""
    first, others = rows[:_FIRST_ROWS], rows[_FIRST_ROWS:]
    if len(others) <= 5:  # not worth a fold
        return [data_table(heads, rows)]
    summary = element("summary", f"{len(others):,} more")
    return [data_table(heads, first), element("details", summary, data_table(heads, others))]


def _finding(*parts: Child | None) -> Element:
    shown = [part for part in parts if part is not None]
    return element("span", *(piece for part in shown for piece in (part, " ")))


def _recorded(card: Card, metric: str, value: float, subject: str, name: str) -> Child | None:
    """Whether `value` is the metric that the run recorded; nothing where it recorded none."""
    recorded = card.manifest.metrics.values.get(metric)
    if recorded is None:
        return None
    if abs(value - recorded) <= _SAME:
        return f"{subject} equals the recorded {name}."
    text = f"{subject} does not equal the recorded {name} of {short_number(recorded)}: picture and metrics differ."
    return element("span", badge("differs", "bad"), " ", text)


def _daily_words(values: Vector) -> str:
    known = values[np.isfinite(values)]
    gaps = f", {counted(len(values) - len(known), 'day')} without a value" if len(known) < len(values) else ""
    return f"Mean {short_number(_mean(values))}, above zero on {int((known > 0).sum()):,} of {counted(len(known), 'day')}{gaps}."


def _described(days: npt.NDArray[np.datetime64], values: Vector) -> str:
    """A chart in words, for who cannot see it."""
    known = values[np.isfinite(values)]
    if not len(known):
        return f"{counted(len(days), 'day')} from {days[0]} to {days[-1]}, none with a value."
    return (
        f"{counted(len(days), 'day')} from {days[0]} to {days[-1]}; lowest {short_number(float(known.min()))}, "
        f"highest {short_number(float(known.max()))}, last {short_number(float(known[-1]))}."
    )


def _mean(values: Vector) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _percent(value: float) -> str:
    return f"{value:+.2%}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
