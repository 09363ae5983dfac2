"""The manifest of a proven conversion: every fact in its typed place."""

from __future__ import annotations

import importlib.metadata
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any

import msgspec
import onnx

import alphaseal
from alphaseal.errors import MalformedError, UsageError
from alphaseal.format import manifest as m
from alphaseal.format.factors import CompiledFactor, NotCompiledFactor
from alphaseal.format.names import check_name
from alphaseal_converter.bundle.created import creation_time
from alphaseal_converter.bundle.sources import SourceTexts
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.golden import golden_day_names
from alphaseal_converter.evidence.training_statistics import FeatureStatistics
from alphaseal_converter.evidence.universes import instrument_format
from alphaseal_converter.factors import trial
from alphaseal_converter.factors.table import FactorsTable
from alphaseal_converter.locate.configuration import Component, TaskConfiguration
from alphaseal_converter.locate.runs import Run
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.plain import bounded_text, instant_text, json_value, short_text
from alphaseal_converter.processors.processor import Filling, Processor, RowProcessor
from alphaseal_converter.processors.selection import DropnaProcessor
from alphaseal_converter.proof.eligibility import judge_eligibility
from alphaseal_converter.proof.proven import Proven
from alphaseal_converter.proof.request import BuildRequest
from alphaseal_converter.session.anchor import SotaFactor
from alphaseal_converter.session.origin import FromScan, FromTask
from alphaseal_converter.version import __version__

DRIFT_LIMITS = m.DriftLimits(null_ratio=0.2, outside=0.1)
"""A fifth more missing than in training, or a tenth outside all training values, is another kind of data."""
DEFAULT_TOP_K = 50


def make_manifest(
    proven: Proven,
    request: BuildRequest,
    files: Sequence[m.File],
    sources: SourceTexts,
    factors_table: FactorsTable | None,
    statistics: Mapping[str, FeatureStatistics],
    golden_rows: int,
) -> m.Manifest:
    """The whole manifest of a bundle with these `files`; the card, which shows it, is added to them when it is written."""
    located, parts = proven.located, proven.located.parts
    created = creation_time(parts)
    features = [
        _judged(trial.describe(feature, proven.trials.get(feature.name)), feature)
        for feature in _features(proven, sources, statistics)
    ]
    return m.Manifest(
        format=request.format,
        name=_bundle_name(located, request),
        sequence=request.sequence if request.sequence is not None else int(created.timestamp()),
        created=instant_text(created),
        expires=request.expires,
        producer=m.Producer(converter=__version__, packages=_packages(proven)),
        source=_source(located, request.anchor),
        model=_model(proven),
        features=features,
        order=proven.order,
        stages=list(proven.stages),
        missing=_missing(parts.processors),
        label=_label(parts.configuration),
        data=_data(proven),
        sota_factors=_sota(proven.sota_factors, sources, [feature.name for feature in features]),
        metrics=_metrics(located),
        strategy=_strategy(parts.configuration),
        selection=_selection(parts.configuration),
        parity=proven.parity,
        golden=m.GoldenTable(
            file="golden.parquet",
            rows=golden_rows,
            judge=" and ".join(proven.parity.judges),
            days=golden_day_names(proven.golden),
        ),
        alphas=proven.market.alphas.description,
        drift=DRIFT_LIMITS,
        factors=_factor_table(factors_table),
        files=sorted(files, key=lambda file: file.path),
        eligibility=judge_eligibility(proven, features),
        compiled=proven.market.factors.description,
    )


def _bundle_name(located: Located, request: BuildRequest) -> str:
    """--name, or one made from the task's (or the workspace's) own name."""
    if request.name is not None:
        try:
            return check_name(request.name, "--name")
        except MalformedError as error:
            raise UsageError(
                "usage.name", error.message, where="--name", expected=error.expected, found=error.found
            ) from None
    plain = re.sub(r"[^a-z0-9_-]+", "-", located.origin.name.lower()).strip("-")
    return check_name(f"rdagent-{plain}"[:64].rstrip("-"), "bundle name")


def _packages(proven: Proven) -> dict[str, str]:
    """Versions of what took part; the framework only where it was the judge."""
    versions = {"alphaseal": alphaseal.__version__}
    names = ["numpy", "onnx", "onnxruntime", "pyarrow"]
    judged = [judge for judge in proven.parity.judges if "recorded" not in judge]
    names += [proven.model.framework] if judged else []
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):  # qlib's own linear model needs no package
            versions[name] = importlib.metadata.version(name)
    return versions


def _source(located: Located, rule: str) -> m.Source:
    """Where the model comes from; `rule` is the anchor that was asked for."""
    origin, run, weights = located.origin, located.run, located.weights
    others = "".join(
        f"; another file {other.origin} {other.name} differs (sha256 {other.sha256})" for other in located.other_weights
    )
    return m.Source(
        task_id=short_text(origin.task.task_id) if isinstance(origin, FromTask) else None,
        # Its fields are those of the same names.
        snapshot=msgspec.convert(origin.task.snapshot, m.Snapshot, from_attributes=True)
        if isinstance(origin, FromTask)
        else None,
        anchor=_anchor(origin, rule),
        run=_run(run) if run is not None else None,
        weights=m.Weights(
            origin=weights.origin, path=weights.name, sha256=weights.sha256, size=weights.size, why=weights.why + others
        ),
        workspace=short_text(located.workspace.name) if located.workspace is not None else None,
    )


def _run(run: Run) -> m.Run:
    return m.Run(
        experiment_id=run.experiment_id,
        run_id=run.run_id,
        end_time=None if run.end_time is None else instant_text(run.end_time),
        metrics_match=run.metrics_match,
    )


def _anchor(origin: FromTask | FromScan, rule: str) -> m.Anchor:
    if isinstance(origin, FromScan):
        return m.Anchor(
            rule="scan",
            why="the newest complete run below the workspace root, found without a session",
            history_index=None,
            loop=None,
            kind="unknown",
            experiment=None,
            hypothesis=None,
            reason=None,
        )
    anchor, item = origin.anchor, origin.anchor.item
    return m.Anchor(
        rule=rule if rule in ("auto", "model", "factor") else "index",  # type: ignore[arg-type]
        why=anchor.why,
        history_index=item.index,
        loop=item.loop,
        kind=anchor.kind if anchor.kind != "other" else "unknown",
        experiment=short_text(item.experiment_class),
        hypothesis=bounded_text(item.hypothesis),
        reason=bounded_text(item.reason),
    )


def _model(proven: Proven) -> m.Model:
    graph = onnx.load_from_string(proven.graphs["model.onnx"])
    model = proven.model
    window = [model.step_length] if model.step_length > 1 else []
    shape: list[int | None] = [None, *window, model.feature_count]
    return m.Model(
        family=model.family,
        class_name=model.class_name,
        framework=model.framework,
        framework_version=model.framework_version,
        road=model.road,
        ir_version=graph.ir_version,
        opsets={opset.domain or "ai.onnx": opset.version for opset in graph.opset_import},
        inputs=[m.Tensor(name=graph.graph.input[0].name, dtype="float64", shape=shape)],
        outputs=[m.Tensor(name=graph.graph.output[0].name, dtype="float64", shape=[None, 1])],
        step_length=model.step_length,
        batch_dependent=model.batch_dependent,
        facts=json_value(dict(model.facts)),
    )


def _features(proven: Proven, sources: SourceTexts, statistics: Mapping[str, FeatureStatistics]) -> list[m.Feature]:
    pairs = zip(proven.sota_factors, sources.factors, strict=True)
    owners = {factor.name: (factor, code) for factor, code in pairs if factor.status == "in_model"}
    alphas, segment = proven.market.alphas, proven.located.parts.configuration.training_segment
    compiled = proven.market.factors
    look_backs, reads = {**alphas.look_backs, **compiled.look_backs}, {**alphas.inputs, **compiled.inputs}
    result = []
    for position, feature in enumerate(proven.features.features):
        factor, code = owners.get(feature.name, (None, sources.base.get(feature.name)))
        origin = feature.origin
        if origin == "sota" and factor is None:
            origin = "unknown"
        numbers = statistics[feature.name]
        invariance = alphas.invariance.get(feature.name) or compiled.invariance.get(feature.name)
        look_back, inputs = look_backs.get(feature.name), reads.get(feature.name)
        result.append(
            m.Feature(
                name=feature.name,
                origin=origin,
                dtype=feature.dtype,
                look_back=look_back,
                look_back_from=None if look_back is None else "expression",
                look_ahead=None,
                inputs=None if inputs is None else list(inputs),
                not_compiled=short_text(alphas.not_compiled.get(feature.name)),
                expression=feature.expression,
                source=code,
                description=bounded_text(factor.description) if factor is not None else None,
                formulation=bounded_text(factor.formulation) if factor is not None else None,
                variables=_variables(factor) if factor is not None else None,
                used=None if proven.model.used is None else bool(proven.model.used[position]),
                statistics=_statistics(segment, numbers),
                statistics_missing=short_text(numbers.missing),
                invariance=None if invariance is None else dict(invariance),
                compilation=compiled.compilations.get(feature.name),
            )
        )
    return result


def _judged(tried: m.Feature, feature: m.Feature) -> m.Feature:
    """What a trial of the code found, where nothing better is known: the expression of a compiled factor shows look-back and
    columns, and following the code shows a look-ahead that no cut of the bars may reach."""
    found = feature.compilation
    if isinstance(found, CompiledFactor):
        names = ("look_back", "look_back_from", "inputs", "invariance")
        return msgspec.structs.replace(tried, look_ahead=False, **{name: getattr(feature, name) for name in names})
    if isinstance(found, NotCompiledFactor) and found.code == "looks_ahead":
        return msgspec.structs.replace(tried, look_ahead=True)
    return tried


def _variables(factor: SotaFactor) -> dict[str, str]:
    return {str(short_text(name)): str(bounded_text(text)) for name, text in factor.variables.items()}


def _statistics(segment: tuple[date, date] | None, numbers: FeatureStatistics) -> m.Statistics | None:
    if numbers.values is None or segment is None:
        return None
    found = numbers.values
    return m.Statistics(
        first=segment[0].isoformat(),
        last=segment[1].isoformat(),
        source=numbers.source,
        rows=found.rows,
        null_ratio=found.null_ratio,
        infinite_ratio=found.infinite_ratio,
        quantiles=dict(found.quantiles),
        zero_ratio=found.zero_ratio,
        common_ratio=found.common_ratio,
    )


def _missing(processors: Sequence[Processor]) -> m.Missing:
    # A number fills what means of the day leave; the day's mean takes what clipping would.
    by_day = sorted(processors, key=lambda part: isinstance(part, RowProcessor))
    fills = [part.becomes for part in by_day if isinstance(part, Filling)]
    infinite = [part.infinite for part in reversed(by_day) if part.infinite is not None]
    if any(isinstance(part, DropnaProcessor) and part.features for part in by_day):
        missing = "a stock with a missing value gets no score"
    elif fills:
        missing = f"a missing value becomes {fills[-1]}"
    else:
        missing = "a missing value stays missing: the model has its own rule for it"
    return m.Missing(
        missing="filled" if fills else "native",
        infinite="clipped" if infinite else "native",
        text=f"{missing}; an infinite value {infinite[-1] if infinite else 'enters the model as it is'}",
    )


def _label(configuration: TaskConfiguration) -> m.Label:
    first = configuration.labels[0] if configuration.labels else None
    return m.Label(
        name=short_text(first.name) if first else None,
        expression=first.expression if first else None,
        processors=[_component(part) for part in configuration.learn_processors],
    )


def _component(part: Component) -> dict[str, Any]:
    return {"class": part.class_name, "module": part.module, "arguments": json_value(dict(part.kwargs))}


def _data(proven: Proven) -> m.Data:
    parts, configuration = proven.located.parts, proven.located.parts.configuration
    universe, loader = configuration.instruments, parts.loader
    return m.Data(
        frequency="day",
        instrument_format=instrument_format(parts.predictions),
        universe=bounded_text(universe if isinstance(universe, str) or universe is None else ", ".join(universe)),
        benchmark=short_text(configuration.benchmark),
        price_adjustment=None,
        segments={name: _segment(pair) for name, pair in configuration.segments.items() if pair[0] is not None},
        dataset_class=short_text(configuration.dataset.class_name or None),
        handler_class=short_text(configuration.handler.class_name or None),
        loader_classes=[str(short_text(part.class_name)) for part in loader.walk()] if loader is not None else [],
        calendar=proven.market.calendar,
        universes=proven.market.universes,
    )


def _segment(pair: tuple[date | None, date | None]) -> m.Segment:
    first, last = pair
    if first is None:
        raise RefusalError("task.form", "a segment has no first date")
    return m.Segment(first=first.isoformat(), last=None if last is None else last.isoformat())


def _sota(factors: Sequence[SotaFactor], sources: SourceTexts, names: Sequence[str]) -> list[m.SotaFactor]:
    return [
        m.SotaFactor(
            name=str(short_text(factor.name)),
            status=factor.status,
            reason=factor.reason,
            history_index=factor.history_index,
            loop=factor.loop,
            position=names.index(factor.name) if factor.status == "in_model" else None,
            source=sources.factors[i],
            description=bounded_text(factor.description),
            formulation=bounded_text(factor.formulation),
            variables=_variables(factor),
            hypothesis=bounded_text(factor.hypothesis),
            accepted_because=bounded_text(factor.accepted_reason),
            metrics=dict(factor.metrics),
        )
        for i, factor in enumerate(factors)
    ]


def _metrics(located: Located) -> m.Metrics:
    found: Mapping[str, float | None] | None = located.origin.metrics
    if found is None:
        found = located.run.metrics if located.run is not None else {}
    configuration = located.parts.configuration
    segment = configuration.segments.get("test", (None, None))
    return m.Metrics(
        segment=_segment(segment) if segment[0] is not None else None,
        costs=json_value(dict(configuration.costs)),
        values={name: value if value is not None and math.isfinite(value) else None for name, value in found.items()},
    )


def _strategy(configuration: TaskConfiguration) -> m.Strategy | None:
    strategy = configuration.strategy
    if strategy is None:
        return None
    return m.Strategy(
        class_name=strategy.class_name, module=strategy.module, arguments=json_value(dict(strategy.kwargs))
    )


def _selection(configuration: TaskConfiguration) -> m.Selection:
    """The numbers of stocks of the run's strategy; n_drop only where it is qlib's TopkDropout or made after it."""
    strategy = configuration.strategy
    arguments = strategy.kwargs if strategy is not None else {}

    def number(name: str, least: int) -> int | None:
        found = arguments.get(name)
        return found if type(found) is int and least <= found <= 1_000_000 else None

    dropout = strategy is not None and strategy.class_name.endswith("TopkDropoutStrategy")
    return m.Selection(
        top_k=number("topk", 1) or DEFAULT_TOP_K,
        n_drop=number("n_drop", 0) if dropout else None,
        tie_break="score_descending_instrument_ascending",
    )


def _factor_table(table: FactorsTable | None) -> m.FactorTable | None:
    if table is None:
        return None
    return m.FactorTable(
        file="factors.parquet",
        columns=[name for name, _ in table.columns],
        rows=table.rows,
        dates=table.dates,
        instruments=table.instruments,
        first=table.first.isoformat(),
        last=table.last.isoformat(),
    )
