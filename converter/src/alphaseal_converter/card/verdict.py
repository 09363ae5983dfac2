"""The head of the card: what it is, whether it is ready, and how that was proven, before anything else."""

from __future__ import annotations

from alphaseal.format.manifest import Manifest
from alphaseal_converter.card.markup import Element, element
from alphaseal_converter.card.pieces import ORIGINS, Card, counted, segment_period, short_number


def header(card: Card, navigation: Element) -> Element:
    """Name, verdict with every reason, parity and proof of the order in one look, and the navigation."""
    manifest = card.manifest
    return element(
        "header",
        element("p", "alphaseal model card", style="kicker"),
        element("h1", manifest.name, " ", element("span", f"sequence {manifest.sequence}", style="sequence")),
        element("p", _lead(manifest), style="lead"),
        _banner(manifest),
        element(
            "div",
            _parity_tile(manifest),
            _order_tile(manifest),
            _features_tile(manifest),
            _signal_tile(manifest),
            style="tiles",
        ),
        navigation,
    )


def _lead(manifest: Manifest) -> str:
    expiry = f", expires {manifest.expires}" if manifest.expires else ""
    return (
        f"{manifest.model.class_name}, {counted(len(manifest.features), 'feature')}, created {manifest.created}{expiry}"
    )


def _banner(manifest: Manifest) -> Element:
    if manifest.eligibility.ready:
        text = "Every check of the converter passed: feature order, scores and origin are proven."
        return element("div", element("p", "✓ Ready", style="word"), element("p", text), style="banner good")
    reasons = (
        element("li", element("strong", element("code", reason.code)), " ", reason.text)
        for reason in manifest.eligibility.reasons
    )
    text = f"{counted(len(manifest.eligibility.reasons), 'reason')} against using this bundle for trading:"
    return element(
        "div",
        element("p", "✕ Not ready", style="word"),
        element("p", text),
        element("ul", *reasons),
        style="banner bad",
    )


def _tile(title: str, value: str, note: str, mood: str = "") -> Element:
    return element(
        "div",
        element("h4", title),
        element("p", value, style=f"value {mood}".strip()),
        element("p", note, style="note"),
        style="tile",
    )


def _parity_tile(manifest: Manifest) -> Element:
    parity = manifest.parity
    rows, same = sum(case.rows for case in parity.cases), sum(case.bit_identical for case in parity.cases)
    worst = max((case.largest_ulp for case in parity.cases), default=0)
    if not parity.within_bound:
        word, mood = "✕ Out of bounds", "bad"
    elif not rows:
        word, mood = "No rows compared", "warn"
    elif same == rows:
        word, mood = "✓ Bit-identical", "good"
    else:
        word, mood = "✓ Within bounds", "good"
    note = f"{same:,} of {rows:,} rows bit-identical; largest difference {worst:,} ulp (bound: {parity.bound.text})"
    return _tile("Parity", word, note, mood)


def _order_tile(manifest: Manifest) -> Element:
    replay = manifest.order.replay
    if manifest.order.proof == "replayed" and replay is not None:
        return _tile(
            "Feature order",
            "✓ Replayed",
            f"{replay.rows:,} of {replay.recorded:,} recorded predictions reproduced in this order",
            "good",
        )
    if manifest.order.proof == "evidence":
        return _tile(
            "Feature order",
            "Evidence only",
            "read from the run's own files; no recorded prediction was reproduced",
            "warn",
        )
    if manifest.order.proof == "given":
        return _tile("Feature order", "Given", "stated by the person who built the bundle", "warn")
    return _tile("Feature order", "Replayed", "no numbers of the replay are recorded", "warn")


def _features_tile(manifest: Manifest) -> Element:
    origins = [feature.origin for feature in manifest.features]
    parts = [f"{origins.count(origin):,} {ORIGINS[origin]}" for origin in ORIGINS if origin in origins]
    used = [feature.used for feature in manifest.features]
    asked = f"; {used.count(True):,} asked for by the model" if None not in used else ""
    return _tile("Features", f"{len(origins):,}", ", ".join(parts) + asked)


def _signal_tile(manifest: Manifest) -> Element:
    values = manifest.metrics.values
    yearly = "1day.excess_return_with_cost.annualized_return"
    parts = [f"Rank IC {short_number(values['Rank IC'])}"] if "Rank IC" in values else []
    gain = values.get(yearly)
    parts += [f"excess return a year after costs {gain:+.2%}"] if gain is not None else []
    title = f"IC {short_number(values['IC'])}" if "IC" in values else "–"
    return _tile("Performance", title, "; ".join([*parts, segment_period(manifest.metrics.segment)]))
