"""card.html: what a bundle is, for the person who decides about it; one file that loads nothing and runs nothing.

The card is a file of the bundle, so it is rendered before the manifest is complete: it lists every file but itself and
cannot name the bundle's digest.  Each section is a function from `Card` to elements; `SECTIONS` is their order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from alphaseal.manifest import (
    CrossSectionStage,
    Feature,
    Manifest,
    Producer,
    Segment,
    SotaFactor,
    Source,
    Stage,
    Statistics,
    WindowStage,
)

from .card_style import STYLE_SHEET
from .markup import Child, Element, element, page

Fact = tuple[str, Union[Child, None]]
"""Name and value; None is not recorded."""


@dataclass(frozen=True)
class Card:
    """What the sections may show: the manifest without the card's own entry, and the texts of the sources by bundle path."""

    manifest: Manifest
    sources: Mapping[str, str]
    digest_note: str | None


def render_card(manifest: Manifest, sources: Mapping[str, str], digest_note: str | None = None) -> str:
    """The card as a self-contained HTML document; the same input gives the same text, with LF line ends.

    `manifest` is the manifest as far as it is known (no entry for the card itself), `sources` maps bundle paths
    (``sources/...``) to their text, which is shown and never interpreted.  `digest_note` is a sentence about where the
    bundle's digest can be found, shown beside the files.  The text always has a UTF-8 form.
    """
    card = Card(manifest, sources, digest_note)
    shown = [(anchor, title, section(card)) for anchor, title, section in SECTIONS]
    sections = [(anchor, title, body) for anchor, title, body in shown if body]
    navigation = element(
        "nav", element("ul", *(element("li", element("a", title, target=anchor)) for anchor, title, _ in sections))
    )
    main = [element("section", element("h2", title), *body, anchor=anchor) for anchor, title, body in sections]
    title = f"{manifest.name} {manifest.sequence}"
    return page(
        f"{title} · alphaseal model card", STYLE_SHEET, _header(card, navigation), element("main", *main), _footer(card)
    )


# --- the verdict ------------------------------------------------------------------------------------------------------


def _header(card: Card, navigation: Element) -> Element:
    manifest = card.manifest
    return element(
        "header",
        element("p", "alphaseal model card", style="kicker"),
        element("h1", manifest.name, " ", element("span", f"sequence {manifest.sequence}", style="sequence")),
        element("p", _lead(manifest), style="lead"),
        _banner(manifest),
        element("div", _parity_tile(manifest), _order_tile(manifest), _features_tile(manifest), style="tiles"),
        navigation,
    )


def _lead(manifest: Manifest) -> str:
    expiry = f", expires {manifest.expires}" if manifest.expires else ""
    return (
        f"{manifest.model.class_name}, {_count(len(manifest.features), 'feature')}, created {manifest.created}{expiry}"
    )


def _banner(manifest: Manifest) -> Element:
    if manifest.eligibility.ready:
        text = "Every check of the converter passed: feature order, scores and origin are proven."
        return element("div", element("p", "✓ Ready", style="word"), element("p", text), style="banner good")
    reasons = (
        element("li", element("strong", element("code", reason.code)), " ", reason.text)
        for reason in manifest.eligibility.reasons
    )
    text = f"{_count(len(manifest.eligibility.reasons), 'reason')} against using this bundle for trading:"
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
    elif rows and same == rows:
        word, mood = "✓ Bit-identical", "good"
    else:
        word, mood = "✓ Within bounds", "good"
    note = f"{same:,} of {rows:,} rows bit-identical; largest difference {worst:,} ulp, allowed {parity.bound_ulp:,}"
    return _tile("Parity with the original", word, note, mood)


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
    parts = [f"{origins.count(origin):,} {_ORIGINS[origin]}" for origin in _ORIGINS if origin in origins]
    used = [feature.used for feature in manifest.features]
    asked = f"; {used.count(True):,} asked for by the model" if None not in used else ""
    return _tile("Features", f"{len(origins):,}", ", ".join(parts) + asked)


_ORIGINS = {"alpha": "alpha", "sota": "SOTA", "base": "base", "unknown": "of unknown origin"}


# --- the proof --------------------------------------------------------------------------------------------------------


def _proof(card: Card) -> list[Element]:
    manifest = card.manifest
    parity, golden = manifest.parity, manifest.golden
    cases: list[list[Child]] = [
        [
            case.case,
            case.judge,
            f"{case.rows:,}",
            _of(case.bit_identical, case.rows),
            f"{case.largest_ulp:,}",
            _number(case.largest_difference),
        ]
        for case in parity.cases
    ]
    facts: list[Fact] = [
        ("Verdict", "within bounds" if parity.within_bound else "OUT OF BOUNDS"),
        ("Bound", f"{parity.bound_ulp:,} ulp (units in the last place of a double)"),
        ("Judges", ", ".join(parity.judges)),
    ]
    if (days := parity.days) is not None:
        facts.append(("Whole days", f"same order of all stocks on {_of(days.same_order, days.days)} days"))
        tops = sorted(days.same_top.items(), key=lambda item: _by_number(item[0]))
        facts += [(f"Top {top}", f"same stocks in the same order on {_of(same, days.days)} days") for top, same in tops]
    facts.append(
        (
            "Golden rows",
            f"{golden.rows:,} rows scored by {golden.judge}; whole days: {', '.join(golden.days) or 'none'}",
        )
    )
    if parity.note:
        facts.append(("Note", _text(parity.note)))
    return [
        element("h3", "Scores of the graph against the original"),
        _table(["Case", "Judge", "#Rows", "#Bit-identical", "#Largest ulp", "#Largest difference"], cases),
        _facts(*facts),
        element("h3", "Feature order"),
        *_order(manifest),
    ]


def _order(manifest: Manifest) -> list[Element]:
    order, replay = manifest.order, manifest.order.replay
    evidence: list[list[Child]] = [[element("code", item.code), item.text] for item in order.evidence]
    facts: list[Fact] = [("Proof", order.proof)]
    if replay is not None:
        facts += [
            (
                "Predictions",
                f"{_of(replay.rows, replay.recorded)} recorded predictions compared, {replay.first} to {replay.last}",
            ),
            ("Largest difference", f"{_number(replay.largest_difference)} ({replay.largest_ulp:,} ulp)"),
            ("Raw values from", _REPLAY_VALUES[replay.values]),
            ("Their sha256", _code(replay.values_sha256)),
        ]
    return [_facts(*facts), *([_table(["Evidence", "~What was found"], evidence)] if evidence else [])]


_REPLAY_VALUES = {
    "features_file": "a file of feature values",
    "qlib": "qlib itself",
    "bars": "bars, through the bundle's own graphs",
}


# --- what it is and where it came from --------------------------------------------------------------------------------


def _model(card: Card) -> list[Element]:
    model = card.manifest.model
    tensors: list[list[Child]] = [
        [side, element("code", tensor.name), tensor.dtype, _shape(tensor.shape)]
        for side, group in (("input", model.inputs), ("output", model.outputs))
        for tensor in group
    ]
    return [
        _facts(
            ("Family", model.family),
            ("Class", _code(model.class_name)),
            ("Framework", f"{model.framework} {model.framework_version or '(version not recorded)'}"),
            ("Road to ONNX", model.road),
            *((_words(name), _plain(value)) for name, value in sorted(model.facts.items())),
            (
                "Window",
                "none: each row is scored alone"
                if model.step_length == 1
                else f"{model.step_length} rows for each score",
            ),
            (
                "Other stocks",
                "a score depends on the other rows of the day"
                if model.batch_dependent
                else "a score does not depend on the other rows of the day",
            ),
            (
                "ONNX",
                f"IR {model.ir_version}, opsets {', '.join(f'{domain} {version}' for domain, version in sorted(model.opsets.items()))}",
            ),
        ),
        _table(["Tensor", "Name", "Dtype", "Shape"], tensors),
    ]


def _shape(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("rows" if size is None else str(size) for size in shape) + "]"


def _origin(card: Card) -> list[Element]:
    source = card.manifest.source
    anchor = source.anchor
    return [
        element("h3", "Anchor: the experiment whose model this is"),
        _facts(
            ("Task", source.task_id),
            ("Chosen", f"by the rule {anchor.rule}"),
            ("Why", _text(anchor.why)),
            ("History index", _optional(anchor.history_index)),
            ("Loop", _optional(anchor.loop)),
            ("Kind", f"{anchor.kind} experiment"),
            ("Experiment", anchor.experiment),
            ("Hypothesis", _text(anchor.hypothesis)),
            ("Accepted because", _text(anchor.reason)),
        ),
        element("h3", "Weights, run and session"),
        _facts(*_weights(source), *_session(source), *_producer(card.manifest.producer)),
    ]


def _weights(source: Source) -> list[Fact]:
    weights, run = source.weights, source.run
    facts: list[Fact] = [
        ("Weights", f"{weights.origin}: {weights.path} ({_size(weights.size)})"),
        ("Weights sha256", _code(weights.sha256)),
        ("Why these", _text(weights.why)),
        ("Workspace", source.workspace),
    ]
    if run is None:
        return [*facts, ("Run", None)]
    match = "are those of the anchor" if run.metrics_match else "are NOT those of the anchor"
    return [
        *facts,
        ("Run", f"{run.run_id} of experiment {run.experiment_id}"),
        ("Run ended", run.end_time),
        ("Run's metrics", match),
    ]


def _session(source: Source) -> list[Fact]:
    snapshot = source.snapshot
    if snapshot is None:
        return [("Snapshot", None)]
    return [
        ("Snapshot", f"{snapshot.path} ({_count(snapshot.history_length, 'experiment')} in its history)"),
        ("Snapshot sha256", _code(snapshot.sha256)),
        ("Session", _session_words(snapshot.signed, snapshot.authenticated)),
    ]


def _producer(producer: Producer) -> list[Fact]:
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(producer.packages.items()))
    return [("Built with", f"alphaseal-converter {producer.converter}"), ("Libraries", libraries)]


def _session_words(signed: bool, authenticated: bool) -> str:
    if authenticated:
        return "signed, and the signature was checked with the producer's key"
    return "signed, but no key was at hand: not authenticated" if signed else "not signed: not authenticated"


# --- metrics ----------------------------------------------------------------------------------------------------------

_METRIC_MEANINGS = {
    "IC": "mean over days of the correlation of score and label",
    "ICIR": "IC divided by its deviation over days",
    "Rank IC": "the same with ranks",
    "Rank ICIR": "Rank IC divided by its deviation over days",
    "1day.excess_return_with_cost.annualized_return": "return above the benchmark, a year, after costs",
    "1day.excess_return_with_cost.information_ratio": "its ratio to its deviation, a year",
    "1day.excess_return_with_cost.max_drawdown": "largest loss from a peak, after costs",
    "1day.excess_return_with_cost.mean": "mean a day, after costs",
    "1day.excess_return_with_cost.std": "deviation a day, after costs",
    "1day.excess_return_without_cost.annualized_return": "return above the benchmark, a year, before costs",
    "1day.excess_return_without_cost.information_ratio": "its ratio to its deviation, a year",
    "1day.excess_return_without_cost.max_drawdown": "largest loss from a peak, before costs",
    "1day.excess_return_without_cost.mean": "mean a day, before costs",
    "1day.excess_return_without_cost.std": "deviation a day, before costs",
    "l2.train": "mean squared error on the training segment",
    "l2.valid": "mean squared error on the validation segment",
}
"""Metrics as qlib names them, in the order of reading; what is not here follows by name."""


def _metrics(card: Card) -> list[Element]:
    metrics, strategy = card.manifest.metrics, card.manifest.strategy
    known = [name for name in _METRIC_MEANINGS if name in metrics.values]
    names = [*known, *sorted(set(metrics.values) - set(known))]
    rows: list[list[Child]] = [[name, _number(metrics.values[name]), _METRIC_MEANINGS.get(name, "")] for name in names]
    selection = card.manifest.selection
    return [
        element("p", f"As qlib recorded them, segment {_period(metrics.segment)}.", style="note"),
        _table(["Metric", "#Value", "~Meaning"], rows) if rows else _none("No metrics are recorded."),
        element("h3", "How they were made"),
        _facts(
            ("Costs", _plain(metrics.costs) if metrics.costs else None),
            ("Strategy", _code(".".join(filter(None, (strategy.module, strategy.class_name)))) if strategy else None),
            ("Its arguments", _plain(strategy.arguments) if strategy else None),
            ("Selection here", f"top {selection.top_k}, ties by {_words(selection.tie_break)}"),
        ),
    ]


# --- factors and features ---------------------------------------------------------------------------------------------

_STATUS_MOODS = {
    "in_model": "good",
    "review_rejected": "bad",
    "no_column": "bad",
    "deduplicated": "quiet",
    "newer_than_anchor": "warn",
}


def _sota_factors(card: Card) -> list[Element]:
    factors = card.manifest.sota_factors
    if not factors:
        return [_none("The history has no accepted factors.")]
    inside = sum(factor.status == "in_model" for factor in factors)
    head = element(
        "p",
        f"{inside} of {_count(len(factors), 'accepted factor')} in the model. The texts are the researcher's (a language model's) own words.",
        style="note",
    )
    return [head, *(_sota_factor(card, index, factor) for index, factor in enumerate(factors))]


def _sota_factor(card: Card, index: int, factor: SotaFactor) -> Element:
    position = "" if factor.position is None else f" at position {factor.position}"
    metrics = ", ".join(f"{name} {_number(value)}" for name, value in sorted(factor.metrics.items()))
    loop = "" if factor.loop is None else f", loop {factor.loop}"
    return element(
        "article",
        element("h3", factor.name, _badge(_words(factor.status) + position, _STATUS_MOODS[factor.status])),
        _facts(
            ("Reason", _text(factor.reason)),
            ("Formula", _code(factor.formulation)),
            ("Description", _text(factor.description)),
            ("Variables", _variables(factor.variables)),
            ("From", f"history index {factor.history_index}{loop}"),
            ("Hypothesis", _text(factor.hypothesis)),
            ("Accepted because", _text(factor.accepted_because)),
            ("Its experiment", metrics),
        ),
        _source_text(card, factor.source) if factor.source is not None else _none("No code is in the bundle."),
        anchor=f"factor-{index}",
    )


def _features(card: Card) -> list[Element]:
    features = card.manifest.features
    factor_of = {
        factor.position: index for index, factor in enumerate(card.manifest.sota_factors) if factor.position is not None
    }
    rows = [_feature_row(card, position, feature, factor_of.get(position)) for position, feature in enumerate(features)]
    heads = ["#Position", "Name", "Origin", "Dtype", "#Look-back", "Used", "#Null ratio", "~Expression or source"]
    described = [statistics for feature in features if (statistics := feature.statistics) is not None]
    periods = sorted({f"{one.first} to {one.last}, from {one.source}" for one in described})
    missing = sorted(
        {
            feature.statistics_missing
            for feature in features
            if feature.statistics is None and feature.statistics_missing
        }
    )
    return [
        element(
            "p",
            "In the order of the model; a live value is cast to the dtype of training first. Look-back is in trading days, the day itself included.",
            style="note",
        ),
        _table(heads, rows),
        *(element("p", f"Statistics of training values: {period}.", style="note") for period in periods),
        *(element("p", f"No statistics: {reason}", style="note") for reason in missing),
        *([_quantiles(features)] if described else []),
    ]


def _feature_row(card: Card, position: int, feature: Feature, factor: int | None) -> list[Child]:
    name = element("a", feature.name, target=f"factor-{factor}") if factor is not None else feature.name
    used = {True: "yes", False: "no", None: "unknown"}[feature.used]
    parts: list[Child] = [element("code", part) for part in (feature.expression, feature.source) if part is not None]
    if factor is None or _words_of(feature) != _words_of(card.manifest.sota_factors[factor]):
        variables = (f"{variable}: {text}" for variable, text in sorted((feature.variables or {}).items()))
        parts += [part for part in (feature.description, feature.formulation, *variables) if part]
    definition = element("div", *(element("div", part) for part in parts))
    return [
        str(position),
        element("strong", name),
        _ORIGINS[feature.origin],
        feature.dtype,
        "–" if feature.look_back is None else f"{feature.look_back:,}",
        used,
        "–" if feature.statistics is None else _ratio(feature.statistics),
        definition if definition.children else "–",
    ]


def _words_of(part: Feature | SotaFactor) -> tuple[object, ...]:
    """What a factor's article and a feature's row both may say; the row repeats it only where it differs."""
    return part.description, part.formulation, part.variables


def _ratio(statistics: Statistics) -> str:
    infinite = f" + {statistics.infinite_ratio:.2%} infinite" if statistics.infinite_ratio else ""
    return f"{statistics.null_ratio:.2%}{infinite}"


def _quantiles(features: Sequence[Feature]) -> Element:
    known = [(feature.name, feature.statistics) for feature in features if feature.statistics is not None]
    keys = sorted({key for _, statistics in known for key in statistics.quantiles}, key=_by_number)
    rows: list[list[Child]] = [
        [name, f"{statistics.rows:,}", *(_number(statistics.quantiles.get(key)) for key in keys)]
        for name, statistics in known
    ]
    return element(
        "details",
        element("summary", "Quantiles of finite training values"),
        _table(["Feature", "#Rows", *(f"#{key}" for key in keys)], rows),
    )


# --- preprocessing, label, data ---------------------------------------------------------------------------------------

_PROCESSOR_WORDS = {
    "RobustZScoreNorm": "subtract the fitted median, divide by the fitted scale; where clipping is on, limit to -3..3",
    "ZScoreNorm": "subtract the fitted mean, divide by the fitted deviation",
    "MinMaxNorm": "subtract the fitted minimum, divide by the fitted range",
    "Fillna": "replace missing values by a number",
    "FilterCol": "keep only these columns, in the order they had",
    "DropCol": "take these columns away",
    "DropnaLabel": "leave out rows without a label",
    "CSZScoreNorm": "over all stocks of the day: subtract the mean, divide by the deviation",
    "CSRankNorm": "over all stocks of the day: replace values by their scaled ranks",
}


def _preprocessing(card: Card) -> list[Element]:
    missing = card.manifest.missing
    stages = [block for number, stage in enumerate(card.manifest.stages, 1) for block in _stage(card, number, stage)]
    values = _facts(
        ("Missing values", _MISSING[missing.missing]),
        ("Infinite values", _INFINITE[missing.infinite]),
        ("In words", _text(missing.text)),
    )
    return [*stages, element("h3", "Missing and infinite values"), values]


_MISSING = {"native": "go to the model as they are", "filled": "are filled before the model"}
_INFINITE = {
    "native": "go to the model as they are",
    "clipped": "are clipped before the model",
    "refused": "are refused",
}


def _stage(card: Card, number: int, stage: Stage) -> list[Element]:
    names = [feature.name for feature in card.manifest.features]
    if isinstance(stage, CrossSectionStage):
        return [
            element("h3", f"Stage {number}: over all stocks of the day"),
            _facts(("Universe", _text(stage.universe))),
            _processor(stage.processor, names),
        ]
    if isinstance(stage, WindowStage):
        text = f"The last {stage.length} rows of each stock on the calendar; gaps are filled {_words(stage.fill)} (earlier row first, then later)."
        return [element("h3", f"Stage {number}: window"), element("p", text)]
    head = element("h3", f"Stage {number}: graph ", element("code", stage.file))
    if not stage.processors:
        return [head, element("p", "Raw values go into the model; nothing is scaled or filled.")]
    return [
        head,
        element("p", "Inside the graph, in this order, before the model:"),
        *(_processor(processor, names) for processor in stage.processors),
    ]


def _processor(processor: Mapping[str, Any], names: Sequence[str]) -> Element:
    """Name, words, single values, and the lists that have one value a column as one table."""
    title = str(processor.get("class", "processor"))
    lists = {key: value for key, value in processor.items() if isinstance(value, list) and len(value) > 1}
    singles = [
        (_words(key), _plain(value)) for key, value in sorted(processor.items()) if key != "class" and key not in lists
    ]
    columns = lists.pop("columns", None)
    groups: dict[int, list[str]] = {}
    for key in sorted(lists):
        groups.setdefault(len(lists[key]), []).append(key)
    if columns is not None and len(columns) not in groups:
        singles.append(("columns", ", ".join(_scalar(column) for column in columns)))
    tables = [
        _parameters(columns if columns and len(columns) == length else names, length, {key: lists[key] for key in keys})
        for length, keys in sorted(groups.items())
    ]
    words = _PROCESSOR_WORDS.get(title)
    return element(
        "article",
        element("h3", title),
        *([element("p", words, style="note")] if words else []),
        *([_facts(*singles)] if singles else []),
        *tables,
    )


def _parameters(names: Sequence[Any], length: int, lists: Mapping[str, Sequence[Any]]) -> Element:
    labels = [str(name) for name in names] if len(names) == length else [str(row) for row in range(length)]
    rows: list[list[Child]] = [
        [labels[row], *(_plain(values[row]) for values in lists.values())] for row in range(length)
    ]
    summary = f"{', '.join(_words(key) for key in lists)} of {_count(length, 'column')}"
    return element("details", element("summary", summary), _table(["Column", *(f"#{key}" for key in lists)], rows))


def _label(card: Card) -> list[Element]:
    label = card.manifest.label
    names = [feature.name for feature in card.manifest.features]
    facts = _facts(("Name", label.name), ("Expression", _code(label.expression)))
    note = element("p", "Processed for training only; a score is a forecast of the processed label:", style="note")
    return [
        facts,
        *([note, *(_processor(processor, names) for processor in label.processors)] if label.processors else []),
    ]


def _data(card: Card) -> list[Element]:
    data, table = card.manifest.data, card.manifest.factors
    segments: list[list[Child]] = [
        [name, segment.first, segment.last or "open"]
        for name, segment in sorted(data.segments.items(), key=lambda item: (item[1].first, item[0]))
    ]
    written = data.instrument_format
    return [
        _facts(
            ("Calendar", f"one row a {data.frequency}"),
            (
                "Instruments",
                element(
                    "span", f"{written.kind}, such as {written.example}, pattern ", element("code", written.pattern)
                ),
            ),
            ("Universe", data.universe),
            ("Benchmark", data.benchmark),
            ("Price adjustment", data.price_adjustment),
            ("Dataset", _code(data.dataset_class)),
            ("Handler", _code(data.handler_class)),
            ("Loaders", ", ".join(data.loader_classes)),
            (
                "Factor values",
                f"{table.file}: {table.rows:,} rows, {table.dates:,} dates, {table.instruments:,} instruments, {table.first} to {table.last}"
                if table
                else None,
            ),
            *([("Their columns", ", ".join(table.columns))] if table else []),
        ),
        _table(["Segment", "First day", "Last day"], segments) if segments else _none("No segments are recorded."),
    ]


# --- files ------------------------------------------------------------------------------------------------------------


def _other_sources(card: Card) -> list[Element]:
    of_factors = {factor.source for factor in card.manifest.sota_factors}
    return [_source_text(card, path) for path in sorted(set(card.sources) - of_factors)]


def _files(card: Card) -> list[Element]:
    rows: list[list[Child]] = [
        [element("code", file.path), file.role, file.media_type, _size(file.size), element("code", file.sha256)]
        for file in card.manifest.files
    ]
    note = "This card and manifest.json are files of the bundle too; the manifest, written last, has the card's own sha256."
    return [
        _table(["Path", "Role", "Media type", "#Size", "sha256"], rows),
        element("p", note, style="note"),
        *([element("p", card.digest_note, style="note")] if card.digest_note else []),
    ]


def _footer(card: Card) -> Element:
    text = (
        f"Bundle format {card.manifest.format}, written by alphaseal-converter {card.manifest.producer.converter}. "
        "This page describes and proves nothing by itself: `alphaseal verify` checks the files and signatures, `alphaseal selftest` the scores."
    )
    return element("footer", element("p", text))


SECTIONS: tuple[tuple[str, str, Callable[[Card], list[Element]]], ...] = (
    ("proof", "Proof", _proof),
    ("model", "Model", _model),
    ("origin", "Where it came from", _origin),
    ("metrics", "Metrics", _metrics),
    ("factors", "SOTA factors", _sota_factors),
    ("features", "Features", _features),
    ("preprocessing", "Preprocessing", _preprocessing),
    ("label", "Label", _label),
    ("data", "Data", _data),
    ("sources", "Other sources", _other_sources),
    ("files", "Files", _files),
)
"""Anchor, title and function of each section, in order of appearance; one that returns nothing is left out."""


# --- pieces -----------------------------------------------------------------------------------------------------------


def _facts(*facts: Fact) -> Element:
    """Names and values; what is None is shown as not recorded."""
    return element(
        "dl",
        *(part for name, value in facts for part in (element("dt", name), element("dd", _none_or(value)))),
        style="facts",
    )


def _none_or(value: Child | None) -> Child:
    return element("span", "not recorded", style="none") if value is None or value == "" else value


def _none(text: str) -> Element:
    return element("p", text, style="none")


def _table(heads: Sequence[str], rows: Sequence[Sequence[Child]]) -> Element:
    """A table in a box that scrolls by itself; a head that starts with ``#`` is of numbers, with ``~`` of long text."""
    styles = [{"#": "number", "~": "wide"}.get(head[:1], "short") for head in heads]
    titles = [head if style == "short" else head[1:] for head, style in zip(heads, styles, strict=True)]
    head_row = element(
        "tr", *(element("th", title, style=style, scope="col") for title, style in zip(titles, styles, strict=True))
    )
    body = (
        element("tr", *(element("td", value, style=style) for value, style in zip(row, styles, strict=True)))
        for row in rows
    )
    return element("div", element("table", element("thead", head_row), element("tbody", *body)), style="scroll")


def _text(text: str | None) -> Element | None:
    """Text by others, with its own line breaks."""
    return element("div", text, style="text") if text else None


def _code(text: str | None) -> Element | None:
    return element("code", text, style="text") if text else None


def _variables(variables: Mapping[str, str] | None) -> Element | None:
    return _facts(*((name, _text(text)) for name, text in sorted(variables.items()))) if variables else None


def _optional(number: int | None) -> str | None:
    return None if number is None else str(number)


def _badge(text: str, mood: str) -> Element:
    return element("span", text, style=f"badge {mood}")


def _source_text(card: Card, path: str) -> Element:
    text = card.sources.get(path)
    if text is None:
        return _none(f"The text of {path} is not shown here.")
    lines = len(text.splitlines())
    return element(
        "details", element("summary", f"{path} ({_count(lines, 'line')})"), element("pre", element("code", text))
    )


def _plain(value: Any, depth: int = 0) -> Child:
    """A JSON value: objects as facts, down to a depth where only their JSON text is readable."""
    if isinstance(value, Mapping) and value and depth < 3:
        return _facts(*((str(key), _plain(item, depth + 1)) for key, item in sorted(value.items())))
    if isinstance(value, list) and value and not any(isinstance(item, list | Mapping) for item in value):
        return ", ".join(_scalar(item) for item in value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A single value with all its digits."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _number(value: float | None) -> str:
    """Five significant digits; a dash where nothing is recorded."""
    return "–" if value is None else f"{value:.5g}"


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _size(size: int) -> str:
    return f"{size:,} bytes"


def _period(segment: Segment | None) -> str:
    return "not recorded" if segment is None else f"{segment.first} to {segment.last or 'open'}"


def _words(identifier: str) -> str:
    return identifier.replace("_", " ")


def _by_number(key: str) -> tuple[float, str]:
    """Sorts keys such as ``"5"``, ``"10"`` or ``"0.05"`` as numbers, others behind them by text."""
    try:
        number = float(key)
    except ValueError:
        number = math.inf
    return (number if math.isfinite(number) else math.inf), key
