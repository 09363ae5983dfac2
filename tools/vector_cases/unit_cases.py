"""Units of bars: what a bundle asks to be shown, by the table itself or by anchors, and bars in other units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vector_cases.bar_cases import DATE, FEATURES, bar_bundle, stored
from vector_cases.base import UNSIGNED, Case, Edit, both, bundle, draft, put


def _unit(seen_by: list[str], exact: list[str], alike: list[str] | None = None, **others: Any) -> dict[str, Any]:
    """A member of `alphas.units`."""
    said = {"seen_by": seen_by, "exact": exact, "alike": alike or [], "smallest": None, "largest": None, "sizes": None}
    return said | others


EXACT = _unit(["CLOSE5"], ["CLOSE5"])
"""One stock of the small bundle's golden bars has a positive close on both days."""


def _says(units: dict[str, Any] | None) -> Edit:
    """A manifest of the present draft that says this of units."""
    return both(draft, put("alphas.units", units))


def _score(
    name: str,
    text: str,
    code: str,
    units: dict[str, Any],
    bars: str,
    *more: str,
    anchors: str | None = None,
) -> Case:
    arguments = [*UNSIGNED, "--bars", "bars.parquet", "--features", "features.parquet", "--date", DATE, *more]
    files = bar_bundle(edit=_says(units)) | {"bars.parquet": stored(bars), "features.parquet": stored("sota")}
    if anchors is not None:
        files |= {"anchors.parquet": stored(anchors)}
        arguments += ["--anchors", "anchors.parquet"]
    return Case(name, f"Input: {text}.", "score", arguments, 0 if code == "ok" else 18, code, files)


def cases() -> Iterator[Case]:
    """All of this module."""
    exact = {"close": EXACT}
    yield _score("units_of_golden_days", "bars whose golden days show the units", "ok", exact, "bars")
    yield _score(
        "units_of_ratios", "bars in another base, of which no feature asks anything", "ok", {}, "bars_adjusted"
    )
    yield _score("units_other", "bars in twice the units of the training", "bars.units", exact, "bars_adjusted")
    yield _score(
        "units_other_as_trained",
        "bars in twice the units of the training, and a caller who says that they are the training's",
        "bars.units",
        exact,
        "bars_adjusted",
        "--units-as-trained",
    )
    alike = {"close": _unit(["CLOSE5"], [], ["CLOSE5"])}
    yield _score(
        "units_alike", "bars in one multiple of the units, which a stage takes out", "ok", alike, "bars_adjusted"
    )
    within = {"close": _unit([], [], smallest=0.25, largest=4.0)}
    yield _score("units_within", "bars in a multiple that was tried", "ok", within, "bars_adjusted")
    beyond = {"close": _unit([], [], smallest=0.25, largest=1.5)}
    yield _score("units_beyond", "bars in a multiple that was not tried", "bars.units", beyond, "bars_adjusted")
    few = "bars_without_first_stock"
    yield _score(
        "units_unproven", "bars without the stock that the golden bars can show", "bars.units_unproven", exact, few
    )
    yield _score("units_of_anchors", "the same with anchors of the source", "ok", exact, few, anchors="bars")
    yield _score(
        "units_of_other_anchors",
        "anchors in twice the units of the training",
        "bars.units",
        exact,
        few,
        anchors="bars_adjusted",
    )
    yield _score("units_of_few_anchors", "anchors that are as few", "bars.units_unproven", exact, few, anchors=few)
    yield _score("units_as_trained", "the same on the caller's word", "ok", exact, few, "--units-as-trained")
    without = Case(
        "units_without_bars",
        "Input: units as trained, and no bars.",
        "score",
        [*UNSIGNED, "--features", "features.parquet", "--date", DATE, "--units-as-trained"],
        2,
        "usage.anchors",
        bundle(edit=draft),
    )
    yield without
    for name, text, units in (
        ("units_of_other_field", "of a field that the graph does not read", {"high": EXACT}),
        ("units_of_other_feature", "seen by a feature of another source", {"close": _unit(["REV_3D"], [])}),
        ("units_not_seen", "exact for a feature that does not see them", {"close": _unit([], [FEATURES[0]])}),
    ):
        yield Case(name, f"V4: units {text}.", "verify", UNSIGNED, 10, "manifest.alphas", bar_bundle(edit=_says(units)))
