"""The one predicate that says whether a bundle may trade, each failure a code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alphaseal.format.factors import NotCompiledFactor
from alphaseal.format.manifest import Eligibility, Feature, Reason
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.proof.proven import Proven
from alphaseal_converter.session.anchor import names_given_twice, newer_accepted
from alphaseal_converter.session.origin import FromScan


def judge_eligibility(proven: Proven, features: Sequence[Feature]) -> Eligibility:
    """ready = order replayed, parity within bounds, against recorded predictions where the judge is code of the run, run
    proven to be the anchor's, every feature with one source that does not look ahead, no newer accepted experiment, not found by a scan."""
    found = [
        *_numbers(proven),
        *_source(proven.located),
        *_features(features),
        *((p.code, p.text) for p in proven.located.problems if p.code not in ("found_by_scan", "run_missing")),
    ]
    reasons = [Reason(code=code, text=text) for code, text in sorted(found)]
    return Eligibility(ready=not reasons, reasons=reasons)


def _numbers(proven: Proven) -> Iterator[tuple[str, str]]:
    parts = proven.located.parts
    if proven.order.proof != "replayed":
        yield (
            "order_not_replayed",
            "the feature order was not proven by replaying the recorded predictions "
            "(pass --features, --provider or --replay-with)",
        )
    if not proven.parity.within_bound:
        yield "parity_out_of_bounds", "the graph's scores differ from the judge's"
    if proven.model.judged_by_its_own_code and proven.replayed is None:
        yield (
            "scores_not_recorded",
            "only its own code, which nobody has read, says what the network scores: "
            "qlib's recorded predictions were not compared with it",
        )
    if not parts.processors_known:
        yield (
            "processors_unknown",
            "the run's dataset is gone, so it is not known whether the features were normalised in training",
        )
    if parts.predictions is not None and parts.predictions.constant:
        yield "constant_scores", "the recorded predictions are one and the same number"


def _source(located: Located) -> Iterator[tuple[str, str]]:
    if isinstance(located.origin, FromScan):
        yield "found_by_scan", "the weights were found by a scan, without a session that names them"
        return
    if located.run is None or not located.run.metrics_match:
        yield "run_not_proven", "no run is proven to be the anchor's"
    task, anchor = located.origin.task, located.origin.anchor
    if newer := ", ".join(str(item.index) for item in newer_accepted(task, anchor)):
        yield "newer_accepted", f"history {newer} was accepted after the anchor {anchor.item.index}"
    if twice := names_given_twice(task, anchor):
        text = "two accepted factors have one name, the column belongs to the last: " + ", ".join(twice)
        yield "factor_name_twice", text


def _features(features: Sequence[Feature]) -> Iterator[tuple[str, str]]:
    if unknown := [feature.name for feature in features if feature.origin == "unknown"]:
        text = "neither an expression nor an accepted factor explains: " + ", ".join(unknown)
        yield "feature_without_source", text
    if ahead := [f"{feature.name}{_seen(feature)}" for feature in features if feature.look_ahead]:
        yield "looks_ahead", "data after the date change the values of: " + ", ".join(ahead)
    misplaced = [
        f"{feature.name}{_seen(feature)}"
        for feature in features
        if isinstance(feature.compilation, NotCompiledFactor) and feature.compilation.code == "rows_misplaced"
    ]
    if misplaced:
        yield "rows_misplaced", "the code stores values in other rows than theirs: " + ", ".join(misplaced)


def _seen(feature: Feature) -> str:
    """Where in the code it was seen, if it was."""
    found = feature.compilation
    if not isinstance(found, NotCompiledFactor) or found.code not in ("looks_ahead", "rows_misplaced"):
        return ""
    return f" ({found.construct}{'' if found.line is None else f', line {found.line}'}: {found.why})"
