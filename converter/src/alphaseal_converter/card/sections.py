"""Sections of the card: performance, proof, model, origin, metrics, data, sources and files."""

from __future__ import annotations

from collections.abc import Sequence

from alphaseal.advice.strategy import describe_selection
from alphaseal.format.manifest import Manifest, Producer, ReplayNoise, Source, Universes
from alphaseal_converter.card import pictures
from alphaseal_converter.card.markup import Child, Element, element
from alphaseal_converter.card.pieces import (
    Card,
    Fact,
    absent,
    as_words,
    by_number,
    byte_size,
    code_text,
    counted,
    data_table,
    fact_list,
    optional_number,
    part_of,
    plain_value,
    prose,
    segment_period,
    short_number,
    source_text,
)


def proof(card: Card) -> list[Element]:
    """Parity case by case, whole days, golden rows, and what the feature order rests on."""
    manifest = card.manifest
    parity, golden = manifest.parity, manifest.golden
    cases: list[list[Child]] = [
        [
            case.case,
            case.judge,
            f"{case.rows:,}",
            part_of(case.bit_identical, case.rows),
            f"{case.largest_ulp:,}",
            short_number(case.largest_difference),
        ]
        for case in parity.cases
    ]
    facts: list[Fact] = [
        ("Verdict", "within bounds" if parity.within_bound else "OUT OF BOUNDS"),
        ("Bound", parity.bound.text),
        ("Judges", ", ".join(parity.judges)),
    ]
    if (days := parity.days) is not None:
        facts.append(("Whole days", f"same order of all stocks on {part_of(days.same_order, days.days)} days"))
        if days.swaps:
            gap = short_number(days.largest_gap or 0.0)
            facts.append(("Near ties", f"{days.swaps:,} pairs of stocks changed places, at most {gap} apart"))
        tops = sorted(days.same_top.items(), key=lambda item: by_number(item[0]))
        facts += [
            (f"Top {top}", f"same stocks in the same order on {part_of(same, days.days)} days") for top, same in tops
        ]
    facts.append(
        (
            "Golden rows",
            f"{golden.rows:,} rows scored by {golden.judge}; whole days: {', '.join(golden.days) or 'none'}",
        )
    )
    if parity.note:
        facts.append(("Note", prose(parity.note)))
    return [
        element("h3", "Scores of the graph against the original"),
        data_table(["Case", "Judge", "#Rows", "#Bit-identical", "#Largest ulp", "#Largest difference"], cases),
        fact_list(*facts),
        *pictures.agreement(card),
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
                f"{part_of(replay.rows, replay.recorded)} recorded predictions compared, {replay.first} to {replay.last}",
            ),
            ("Largest difference", f"{short_number(replay.largest_difference)} ({replay.largest_ulp:,} ulp)"),
            ("Raw values from", _REPLAY_VALUES[replay.values]),
            ("Their sha256", code_text(replay.values_sha256)),
        ]
        if replay.noise is not None:
            facts.append(("Noise of qlib's windows", _noise(replay.noise, replay.rows)))
    return [fact_list(*facts), *([data_table(["Evidence", "~What was found"], evidence)] if evidence else [])]


def _noise(noise: ReplayNoise, compared: int) -> str:
    named = ", ".join(f"{name} on {rows:,} rows" for name, rows in noise.features.items())
    largest = short_number(noise.largest_difference)
    return f"{part_of(noise.rows, compared)} recorded predictions differ for it, by up to {largest}: {named}"


_REPLAY_VALUES = {
    "features_file": "a file of feature values",
    "qlib": "qlib itself",
    "bars": "bars, through the bundle's own graphs",
}


def model(card: Card) -> list[Element]:
    """Family, class, road to ONNX, and the signature of the graph."""
    model = card.manifest.model
    tensors: list[list[Child]] = [
        [side, element("code", tensor.name), tensor.dtype, _shape(tensor.shape)]
        for side, group in (("input", model.inputs), ("output", model.outputs))
        for tensor in group
    ]
    return [
        fact_list(
            ("Family", model.family),
            ("Class", code_text(model.class_name)),
            ("Framework", f"{model.framework} {model.framework_version or '(version not recorded)'}"),
            ("Road to ONNX", model.road),
            *((as_words(name).capitalize(), plain_value(value)) for name, value in sorted(model.facts.items())),
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
        data_table(["Tensor", "Name", "Dtype", "Shape"], tensors),
    ]


def _shape(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("rows" if size is None else str(size) for size in shape) + "]"


def origin(card: Card) -> list[Element]:
    """Anchor and why, weights, run, session and producer."""
    source = card.manifest.source
    anchor = source.anchor
    return [
        element("h3", "Anchor: the experiment whose model this is"),
        fact_list(
            ("Task", source.task_id),
            ("Chosen", f"by the rule {anchor.rule}"),
            ("Why", prose(anchor.why)),
            ("History index", optional_number(anchor.history_index)),
            ("Loop", optional_number(anchor.loop)),
            ("Kind", f"{anchor.kind} experiment"),
            ("Experiment", anchor.experiment),
            ("Hypothesis", prose(anchor.hypothesis)),
            ("Accepted because", prose(anchor.reason)),
        ),
        element("h3", "Weights, run and session"),
        fact_list(*_weights(source), *_session(source), *_producer(card.manifest.producer)),
    ]


def _weights(source: Source) -> list[Fact]:
    weights, run = source.weights, source.run
    facts: list[Fact] = [
        ("Weights", f"{weights.origin}: {weights.path} ({byte_size(weights.size)})"),
        ("Weights sha256", code_text(weights.sha256)),
        ("Why these", prose(weights.why)),
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
        ("Snapshot", f"{snapshot.path} ({counted(snapshot.history_length, 'experiment')} in its history)"),
        ("Snapshot sha256", code_text(snapshot.sha256)),
        ("Session", _session_words(snapshot.signed, snapshot.authenticated)),
    ]


def _producer(producer: Producer) -> list[Fact]:
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(producer.packages.items()))
    return [("Built with", f"alphaseal-converter {producer.converter}"), ("Libraries", libraries)]


def _session_words(signed: bool, authenticated: bool) -> str:
    if authenticated:
        return "signed, and the signature was checked with the producer's key"
    return "signed, but no key was at hand: not authenticated" if signed else "not signed: not authenticated"


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


def metrics(card: Card) -> list[Element]:
    """Pictures, and the run's metrics under qlib's own names, with their segment, costs and strategy."""
    metrics, strategy = card.manifest.metrics, card.manifest.strategy
    known = [name for name in _METRIC_MEANINGS if name in metrics.values]
    names = [*known, *sorted(set(metrics.values) - set(known))]
    rows: list[list[Child]] = [
        [name, short_number(metrics.values[name]), _METRIC_MEANINGS.get(name, "")] for name in names
    ]
    selection = card.manifest.selection
    return [
        *pictures.performance(card),
        element("h3", "Metrics"),
        element("p", f"As qlib recorded them, segment {segment_period(metrics.segment)}.", style="note"),
        data_table(["Metric", "#Value", "~Meaning"], rows) if rows else absent("No metrics are recorded."),
        element("h3", "How they were made"),
        fact_list(
            ("Costs", plain_value(metrics.costs) if metrics.costs else None),
            (
                "Strategy",
                code_text(".".join(filter(None, (strategy.module, strategy.class_name)))) if strategy else None,
            ),
            ("Its arguments", plain_value(strategy.arguments) if strategy else None),
            ("Metrics belong to", describe_selection(card.manifest)),
            ("Selection here", f"top {selection.top_k}, ties by {as_words(selection.tie_break)}"),
        ),
    ]


def data(card: Card) -> list[Element]:
    """The market data of the training: calendar, instruments, universe, segments, factor values."""
    data, table = card.manifest.data, card.manifest.factors
    segments: list[list[Child]] = [
        [name, segment.first, segment.last or "open"]
        for name, segment in sorted(data.segments.items(), key=lambda item: (item[1].first, item[0]))
    ]
    written = data.instrument_format
    return [
        fact_list(
            ("Calendar", f"one row a {data.frequency}"),
            (
                "Instruments",
                element(
                    "span", f"{written.kind}, such as {written.example}, pattern ", element("code", written.pattern)
                ),
            ),
            ("Universe", data.universe),
            ("Benchmark", data.benchmark),
            *_who(data.universes),
            ("Price adjustment", data.price_adjustment),
            ("Dataset", code_text(data.dataset_class)),
            ("Handler", code_text(data.handler_class)),
            ("Loaders", ", ".join(data.loader_classes)),
            (
                "Factor values",
                f"{table.file}: {table.rows:,} rows, {table.dates:,} dates, {table.instruments:,} instruments, {table.first} to {table.last}"
                if table
                else None,
            ),
            *([("Their columns", ", ".join(table.columns))] if table else []),
        ),
        data_table(["Segment", "First day", "Last day"], segments) if segments else absent("No segments are recorded."),
    ]


def _who(universes: Universes | None) -> list[Fact]:
    """The universes of model and factors, and who is never ranked."""
    if universes is None:
        return []
    recorded = (
        ("Model's stocks", universes.model, universes.model_missing),
        ("Factors' stocks", universes.factor, universes.factor_missing),
    )
    facts: list[Fact] = [
        (name, why if part is None else f"{part.text}: {part.count} codes, {part.first} to {part.last}")
        for name, part, why in recorded
    ]
    return [*facts, ("Never ranked", ", ".join(universes.context) or None)]


def other_sources(card: Card) -> list[Element]:
    """Texts that belong to no factor: model code, configuration."""
    of_factors = {factor.source for factor in card.manifest.sota_factors}
    return [source_text(card, path) for path in sorted(set(card.sources) - of_factors)]


def files(card: Card) -> list[Element]:
    """Every file of the bundle that is known when the card is written."""
    rows: list[list[Child]] = [
        [element("code", file.path), file.role, file.media_type, byte_size(file.size), element("code", file.sha256)]
        for file in card.manifest.files
    ]
    note = "This card and manifest.json are files of the bundle too; the manifest, written last, has the card's own sha256."
    return [
        data_table(["Path", "Role", "Media type", "#Size", "sha256"], rows),
        element("p", note, style="note"),
        *([element("p", card.digest_note, style="note")] if card.digest_note else []),
    ]
