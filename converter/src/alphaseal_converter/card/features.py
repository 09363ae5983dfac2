"""Sections of the card: SOTA factors, features in model order, preprocessing, label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alphaseal.desk import compilation
from alphaseal.format.factors import CompiledFactor, CompiledFactors, FactorProgram
from alphaseal.format.manifest import (
    CrossSectionStage,
    DropMissingStage,
    Feature,
    Manifest,
    SotaFactor,
    Stage,
    Statistics,
    WindowStage,
)
from alphaseal_converter.card import pictures
from alphaseal_converter.card.markup import Child, Element, element
from alphaseal_converter.card.pieces import (
    ORIGINS,
    Card,
    Fact,
    absent,
    as_words,
    badge,
    by_number,
    code_text,
    counted,
    data_table,
    fact_list,
    plain_value,
    prose,
    scalar,
    short_number,
    source_text,
    variable_list,
)
from alphaseal_converter.processors.kinds import KINDS

_FIRST_METRICS = {
    "IC": "IC",
    "Rank IC": "rank IC",
    "1day.excess_return_with_cost.annualized_return": "excess return a year after costs",
    "1day.excess_return_with_cost.max_drawdown": "largest drawdown",
}
"""Metrics that are shown at once, and their names in words; the others are folded away."""

_STATUS_MOODS = {
    "in_model": "good",
    "review_rejected": "bad",
    "no_column": "bad",
    "deduplicated": "quiet",
    "newer_than_anchor": "warn",
}


def sota_factors(card: Card) -> list[Element]:
    """One article for each accepted factor, in the model or not, with its words, numbers and code."""
    factors = card.manifest.sota_factors
    if not factors:
        return [absent("The history has no accepted factors.")]
    inside = sum(factor.status == "in_model" for factor in factors)
    head = element(
        "p",
        f"{inside} of {counted(len(factors), 'accepted factor')} in the model. Texts and code are quoted from the task.",
        style="note",
    )
    return [head, *(_sota_factor(card, index, factor) for index, factor in enumerate(factors))]


def _sota_factor(card: Card, index: int, factor: SotaFactor) -> Element:
    position = "" if factor.position is None else f" at position {factor.position}"
    loop = "" if factor.loop is None else f", loop {factor.loop}"
    inside = dict(enumerate(card.manifest.features)).get(-1 if factor.position is None else factor.position)
    badges, compiled = _compilation(inside)
    return element(
        "article",
        element("h3", factor.name, badge(as_words(factor.status) + position, _STATUS_MOODS[factor.status]), *badges),
        fact_list(
            ("Reason", prose(factor.reason)),
            ("Formula", code_text(factor.formulation)),
            ("Description", prose(factor.description)),
            ("Variables", variable_list(factor.variables)),
            *compiled,
            ("From", f"history index {factor.history_index}{loop}"),
            ("Hypothesis", prose(factor.hypothesis)),
            ("Accepted because", prose(factor.accepted_because)),
            ("Its experiment", _experiment(factor.metrics)),
        ),
        source_text(card, factor.source) if factor.source is not None else absent("No code is in the bundle."),
        anchor=f"factor-{index}",
    )


def _compilation(feature: Feature | None) -> tuple[list[Element], list[Fact]]:
    """Whether graphs make the feature of bars: what they compute and how near they come, or why none does."""
    found = None if feature is None else feature.compilation
    if found is None:
        return [], []
    if not isinstance(found, CompiledFactor):
        return [badge("not compiled", "warn")], [("Compiled", f"no: {compilation.reason(found)}")]
    others = "of this stock and of others on the day" if found.across else "of this stock alone"
    reads = ", ".join(f"{one.column} of the {_TABLES[one.table]} ({one.dtype})" for one in found.inputs)
    return [badge("compiled", "good")], [
        ("Compiled", f"to graphs that make it of rows {others}, with the meaning of pandas {found.pandas}"),
        ("Computes", code_text(found.expression)),
        ("Reads", reads),
        ("Proof", f"against {found.proof.judge}: {compilation.proven(found.proof)}"),
        ("Compiled code sha256", code_text(found.source_sha256)),
    ]


_TABLES = {"bars": "bars", "static": "side table", "day": "date"}


def features(card: Card) -> list[Element]:
    """The input columns in model order, and the statistics of their training values."""
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
        data_table(heads, rows),
        element("div", *pictures.importance(card), *pictures.missing_values(card), style="charts"),
        *(element("p", f"Statistics of training values: {period}.", style="note") for period in periods),
        *(element("p", f"No statistics: {reason}", style="note") for reason in missing),
        *([_quantiles(features)] if described else []),
        element("h3", "Computed from bars"),
        _from_bars(card.manifest),
        *([] if card.manifest.compiled is None else _programs(card.manifest.compiled)),
    ]


def _from_bars(manifest: Manifest) -> Element:
    """What the bundle's own graph of alpha expressions computes, and how near it comes to qlib."""
    alphas = manifest.alphas
    if alphas is None:
        return absent("The bundle computes no feature from bars: all values come from outside.")
    rows: list[list[Child]] = [
        [name, short_number(tolerance), short_number(alphas.truncated[name]) if name in alphas.truncated else "–"]
        for name, tolerance in zip(alphas.features, alphas.tolerances, strict=True)
    ]
    head = element("summary", f"{counted(len(rows), 'feature')} and how near they come to qlib's own values")
    return element(
        "div",
        fact_list(
            ("Graph", element("code", alphas.file)),
            ("Bars", f"{', '.join(alphas.fields)}, of {counted(alphas.window, 'trading day')}"),
            ("Checked on", f"{counted(alphas.golden_rows, 'bar')} up to {alphas.date}, in {alphas.golden}"),
        ),
        element("details", head, data_table(["Feature", "#Largest difference allowed", "#Weight of older days"], rows)),
    )


def _programs(compiled: CompiledFactors) -> list[Element]:
    """What the bundle's programs of compiled factors read, and how near they must come on this machine's golden factors."""
    rows: list[list[Child]] = [
        [", ".join(program.factors), str(program.window), _read_by(program), _in_order(program)]
        for program in compiled.programs
    ]
    side = [f"{column.name} ({column.dtype}, at most {column.missing:.2%} missing)" for column in compiled.static]
    tolerances: list[list[Child]] = [
        [name, short_number(tolerance)] for name, tolerance in sorted(compiled.tolerances.items())
    ]
    head = element("summary", f"{counted(len(tolerances), 'factor')} and the difference that the self-test allows")
    golden = f"{counted(compiled.golden_rows, 'row')} of {', '.join(compiled.fields)} up to {compiled.date}, in {compiled.golden}"
    return [
        element("h3", "Compiled factors"),
        fact_list(("Side table", ", ".join(side) or "none is read"), ("Checked on", golden)),
        data_table(["Factors", "#Days of bars", "~Reads", "Computed by"], rows),
        element("details", head, data_table(["Factor", "#Largest difference allowed"], tolerances)),
    ]


def _read_by(program: FactorProgram) -> str:
    columns = [f"{column.column or 'rows'} of the {_TABLES[column.table]}" for column in program.columns]
    return ", ".join([*program.fields, *columns])


def _in_order(program: FactorProgram) -> str:
    """Graphs, and the operations across stocks between them."""
    parts = [stage.function or "rank" for stages in program.stages for stage in stages]
    return f"{counted(len(program.graphs), 'graph')}" + (f", across stocks: {', '.join(parts)}" if parts else "")


def _experiment(metrics: Mapping[str, float | None]) -> Element | None:
    """The metrics of the whole experiment that a factor came with."""
    if not metrics:
        return None
    first = [f"{words} {short_number(metrics[name])}" for name, words in _FIRST_METRICS.items() if name in metrics]
    rows: list[list[Child]] = [[name, short_number(value)] for name, value in sorted(metrics.items())]
    every = element(
        "details", element("summary", f"all {counted(len(rows), 'metric')}"), data_table(["Metric", "#Value"], rows)
    )
    return element("div", ", ".join(first), every)


def _feature_row(card: Card, position: int, feature: Feature, factor: int | None) -> list[Child]:
    name = element("a", feature.name, target=f"factor-{factor}") if factor is not None else feature.name
    used = {True: "yes", False: "no", None: "unknown"}[feature.used]
    parts: list[Child] = [element("code", part) for part in (feature.expression, feature.source) if part is not None]
    if factor is None or _words_of(feature) != _words_of(card.manifest.sota_factors[factor]):
        variables = (f"{variable}: {text}" for variable, text in sorted((feature.variables or {}).items()))
        parts += [part for part in (feature.description, feature.formulation, *variables) if part]
    if feature.inputs:
        parts.append(element("span", f"reads {', '.join(feature.inputs)}", style="note"))
    if feature.look_ahead:
        parts.append(badge("data after the day changed its value", "bad"))
    if isinstance(feature.compilation, CompiledFactor):
        parts.append(element("span", "made of bars by compiled graphs", style="note"))
    if feature.not_compiled is not None:
        parts.append(element("span", f"not computed from bars: {feature.not_compiled}", style="note"))
    definition = element("div", *(element("div", part) for part in parts))
    return [
        str(position),
        element("strong", name),
        ORIGINS[feature.origin],
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
    keys = sorted({key for _, statistics in known for key in statistics.quantiles}, key=by_number)
    rows: list[list[Child]] = [
        [name, f"{statistics.rows:,}", *(short_number(statistics.quantiles.get(key)) for key in keys)]
        for name, statistics in known
    ]
    return element(
        "details",
        element("summary", "Quantiles of finite training values"),
        data_table(["Feature", "#Rows", *(f"#{key}" for key in keys)], rows),
    )


def preprocessing(card: Card) -> list[Element]:
    """What happens to raw values before the model, stage by stage, with the fitted numbers."""
    missing = card.manifest.missing
    stages = [block for number, stage in enumerate(card.manifest.stages, 1) for block in _stage(card, number, stage)]
    values = fact_list(
        ("Missing values", _MISSING[missing.missing]),
        ("Infinite values", _INFINITE[missing.infinite]),
        ("In words", prose(missing.text)),
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
            fact_list(("Universe", prose(stage.universe))),
            _processor(stage.processor, names),
        ]
    if isinstance(stage, DropMissingStage):
        looked_at = "any feature" if stage.columns is None else "one of " + ", ".join(stage.columns)
        return [
            element("h3", f"Stage {number}: rows left out"),
            element("p", f"Rows that miss {looked_at} get no score."),
        ]
    if isinstance(stage, WindowStage):
        text = f"The last {stage.length} rows of each stock on the calendar; gaps are filled {as_words(stage.fill)} (earlier row first, then later)."
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
        (as_words(key), plain_value(value))
        for key, value in sorted(processor.items())
        if key != "class" and key not in lists
    ]
    columns = lists.pop("columns", None)
    groups: dict[int, list[str]] = {}
    for key in sorted(lists):
        groups.setdefault(len(lists[key]), []).append(key)
    if columns is not None and len(columns) not in groups:
        singles.append(("columns", ", ".join(scalar(column) for column in columns)))
    tables = [
        _parameters(columns if columns and len(columns) == length else names, length, {key: lists[key] for key in keys})
        for length, keys in sorted(groups.items())
    ]
    kind = KINDS.get(title)
    words = None if kind is None else kind.words
    return element(
        "article",
        element("h3", title),
        *([element("p", words, style="note")] if words else []),
        *([fact_list(*singles)] if singles else []),
        *tables,
    )


def _parameters(names: Sequence[Any], length: int, lists: Mapping[str, Sequence[Any]]) -> Element:
    labels = [str(name) for name in names] if len(names) == length else [str(row) for row in range(length)]
    rows: list[list[Child]] = [
        [labels[row], *(plain_value(values[row]) for values in lists.values())] for row in range(length)
    ]
    summary = f"{', '.join(as_words(key) for key in lists)} of {counted(length, 'column')}"
    return element("details", element("summary", summary), data_table(["Column", *(f"#{key}" for key in lists)], rows))


def label(card: Card) -> list[Element]:
    """What the model was trained to predict."""
    label = card.manifest.label
    names = [feature.name for feature in card.manifest.features]
    facts = fact_list(("Name", label.name), ("Expression", code_text(label.expression)))
    note = element("p", "Processed for training only; a score is a forecast of the processed label:", style="note")
    return [
        facts,
        *([note, *(_processor(processor, names) for processor in label.processors)] if label.processors else []),
    ]
