"""The one predicate that says whether a bundle may trade, each failure a code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alphaseal.format.manifest import Eligibility, Order, Parity, Reason


@dataclass(frozen=True)
class Facts:
    """What the predicate looks at."""

    order: Order
    parity: Parity
    run_proven: bool
    by_scan: bool
    anchor_index: int | None
    newer_accepted: Sequence[int]
    unknown_features: Sequence[str]
    names_given_twice: Sequence[str]
    processors_known: bool
    constant_scores: bool
    problems: Sequence[tuple[str, str]]
    looking_ahead: Sequence[str] = ()
    scores_not_recorded: bool = False
    """What the model scores is known from its own code alone, without recorded predictions beside it."""


def judge_eligibility(facts: Facts) -> Eligibility:
    """ready = order replayed, parity within bounds, against recorded predictions where the judge is code of the run, run
    proven to be the anchor's, every feature with one source that does not look ahead, no newer accepted experiment, not found by a scan."""
    reasons = [
        *_order(facts),
        *_source(facts),
        *_features(facts),
        *(
            Reason(code=code, text=text)
            for code, text in facts.problems
            if code not in ("found_by_scan", "run_missing")
        ),
    ]
    reasons.sort(key=lambda reason: (reason.code, reason.text))
    return Eligibility(ready=not reasons, reasons=reasons)


def _order(facts: Facts) -> list[Reason]:
    reasons = []
    if facts.order.proof != "replayed":
        text = (
            "the feature order was not proven by replaying the recorded predictions "
            "(pass --features, --provider or --replay-with)"
        )
        reasons.append(Reason(code="order_not_replayed", text=text))
    if not facts.parity.within_bound:
        reasons.append(Reason(code="parity_out_of_bounds", text="the graph's scores differ from the judge's"))
    if facts.scores_not_recorded:
        text = (
            "only its own code, which nobody has read, says what the network scores: "
            "qlib's recorded predictions were not compared with it"
        )
        reasons.append(Reason(code="scores_not_recorded", text=text))
    if not facts.processors_known:
        text = "the run's dataset is gone, so it is not known whether the features were normalised in training"
        reasons.append(Reason(code="processors_unknown", text=text))
    if facts.constant_scores:
        reasons.append(Reason(code="constant_scores", text="the recorded predictions are one and the same number"))
    return reasons


def _source(facts: Facts) -> list[Reason]:
    reasons = []
    if facts.by_scan:
        reasons.append(
            Reason(code="found_by_scan", text="the weights were found by a scan, without a session that names them")
        )
    elif not facts.run_proven:
        reasons.append(Reason(code="run_not_proven", text="no run is proven to be the anchor's"))
    if facts.newer_accepted:
        newer = ", ".join(str(index) for index in facts.newer_accepted)
        reasons.append(
            Reason(code="newer_accepted", text=f"history {newer} was accepted after the anchor {facts.anchor_index}")
        )
    return reasons


def _features(facts: Facts) -> list[Reason]:
    reasons = []
    if facts.unknown_features:
        text = "neither an expression nor an accepted factor explains: " + ", ".join(facts.unknown_features)
        reasons.append(Reason(code="feature_without_source", text=text))
    if facts.names_given_twice:
        text = "two accepted factors have one name, the column belongs to the last: " + ", ".join(
            facts.names_given_twice
        )
        reasons.append(Reason(code="factor_name_twice", text=text))
    if facts.looking_ahead:
        text = "data after the date change the values of: " + ", ".join(facts.looking_ahead)
        reasons.append(Reason(code="looks_ahead", text=text))
    return reasons
