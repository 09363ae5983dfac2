"""The manifest of a proven conversion: every fact in its typed place."""

from __future__ import annotations

import importlib.metadata
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any

import onnx

import alphaseal
from alphaseal.errors import MalformedError, UsageError
from alphaseal.format import manifest as m
from alphaseal.format.names import check_name
from alphaseal_converter.bundle.created import creation_time
from alphaseal_converter.bundle.sources import SourceTexts, accepted_factors
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.golden import golden_day_names
from alphaseal_converter.evidence.training_statistics import FeatureStatistics
from alphaseal_converter.factors import trial
from alphaseal_converter.factors.table import FactorsTable
from alphaseal_converter.locate.configuration import Component, TaskConfiguration, training_segment
from alphaseal_converter.plain import bounded_text, instant_text, json_value, short_text
from alphaseal_converter.processors.processor import Filling, RowProcessor
from alphaseal_converter.processors.selection import DropnaProcessor
from alphaseal_converter.proof.eligibility import Facts, judge_eligibility
from alphaseal_converter.session.anchor import SotaFactor, names_given_twice, newer_accepted
from alphaseal_converter.version import __version__

if TYPE_CHECKING:
    from alphaseal_converter.locate.artifacts import Predictions
    from alphaseal_converter.proof.proven import Proven
    from alphaseal_converter.proof.request import BuildRequest

DRIFT_LIMITS = m.DriftLimits(null_ratio=0.2, outside=0.1)
"""A fifth more missing than in training, or a tenth outside all training values, is another kind of data."""
DEFAULT_TOP_K = 50


def make_manifest(
    proven: Proven,
    request: BuildRequest,
    *,
    files: Sequence[m.File],
    sources: SourceTexts,
    factors_table: FactorsTable | None,
    statistics: Mapping[str, FeatureStatistics],
    golden_rows: int,
) -> m.Manifest:
    """The whole manifest; `files` are all files of the bundle but the manifest itself."""
    factors = accepted_factors(proven)
    created = creation_time(proven)
    features = [
        trial.describe(feature, proven.trials.get(feature.name))
        for feature in _features(proven, factors, sources, statistics)
    ]
    return m.Manifest(
        format=request.format,
        name=bundle_name(proven, request),
        sequence=request.sequence if request.sequence is not None else int(created.timestamp()),
        created=instant_text(created),
        expires=request.expires,
        producer=m.Producer(converter=__version__, packages=_packages(proven)),
        source=_source(proven, request),
        model=_model(proven),
        features=features,
        order=proven.order,
        stages=list(proven.stages),
        missing=_missing(proven),
        label=_label(proven.configuration),
        data=_data(proven),
        sota_factors=_sota(factors, sources, [feature.name for feature in features]),
        metrics=_metrics(proven),
        strategy=_strategy(proven.configuration),
        selection=_selection(proven.configuration),
        parity=proven.parity,
        golden=m.GoldenTable(
            file="golden.parquet",
            rows=golden_rows,
            judge=" and ".join(proven.parity.judges),
            days=golden_day_names(proven.golden),
        ),
        alphas=proven.alphas.description,
        drift=DRIFT_LIMITS,
        factors=_factor_table(factors_table),
        files=sorted(files, key=lambda file: file.path),
        eligibility=_eligibility(proven, features),
    )


def bundle_name(proven: Proven, request: BuildRequest) -> str:
    """--name, or one made from the task's (or the workspace's) own name."""
    if request.name is not None:
        try:
            return check_name(request.name, "--name")
        except MalformedError as error:
            raise UsageError(
                "usage.name", error.message, where="--name", expected=error.expected, found=error.found
            ) from None
    origin = (
        proven.task.task_id
        if proven.task is not None
        else f"scan-{proven.located.workspace.name}"
        if proven.located.workspace is not None
        else "scan"
    )
    plain = re.sub(r"[^a-z0-9_-]+", "-", origin.lower()).strip("-")
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


def _source(proven: Proven, request: BuildRequest) -> m.Source:
    located, task = proven.located, proven.task
    snapshot = None
    if task is not None:
        chosen = task.snapshot
        snapshot = m.Snapshot(
            path=chosen.path,
            sha256=chosen.sha256,
            signed=chosen.signed,
            authenticated=chosen.authenticated,
            history_length=chosen.history_length,
        )
    run = None
    if located.run is not None:
        end = located.run.end_time
        run = m.Run(
            experiment_id=located.run.experiment_id,
            run_id=located.run.run_id,
            end_time=None if end is None else instant_text(end),
            metrics_match=located.run.metrics_match,
        )
    weights = located.weights
    others = "".join(
        f"; another file {other.origin} {other.name} differs (sha256 {other.sha256})" for other in located.other_weights
    )
    return m.Source(
        task_id=short_text(task.task_id) if task is not None else None,
        snapshot=snapshot,
        anchor=_anchor(proven, request),
        run=run,
        weights=m.Weights(
            origin=weights.origin, path=weights.name, sha256=weights.sha256, size=weights.size, why=weights.why + others
        ),
        workspace=short_text(located.workspace.name) if located.workspace is not None else None,
    )


def _anchor(proven: Proven, request: BuildRequest) -> m.Anchor:
    anchor = proven.anchor
    if anchor is None:
        why = "the newest complete run below the workspace root, found without a session"
        return m.Anchor(
            rule="scan",
            why=why,
            history_index=None,
            loop=None,
            kind="unknown",
            experiment=None,
            hypothesis=None,
            reason=None,
        )
    item = anchor.item
    return m.Anchor(
        rule=request.anchor if request.anchor in ("auto", "model", "factor") else "index",  # type: ignore[arg-type]
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


def _features(
    proven: Proven, factors: Sequence[SotaFactor], sources: SourceTexts, statistics: Mapping[str, FeatureStatistics]
) -> list[m.Feature]:
    owners = {
        factor.name: (factor, sources.factors[i]) for i, factor in enumerate(factors) if factor.status == "in_model"
    }
    result = []
    for position, feature in enumerate(proven.features.features):
        factor, code = owners.get(feature.name, (None, sources.base.get(feature.name)))
        origin = feature.origin
        if origin == "sota" and factor is None:
            origin = "unknown"
        numbers = statistics[feature.name]
        invariance = proven.alphas.invariance.get(feature.name)
        look_back, inputs = proven.alphas.look_backs.get(feature.name), proven.alphas.inputs.get(feature.name)
        result.append(
            m.Feature(
                name=feature.name,
                origin=origin,
                dtype=feature.dtype,
                look_back=look_back,
                look_back_from=None if look_back is None else "expression",
                look_ahead=None,
                inputs=None if inputs is None else list(inputs),
                not_compiled=short_text(proven.alphas.not_compiled.get(feature.name)),
                expression=feature.expression,
                source=code,
                description=bounded_text(factor.description) if factor is not None else None,
                formulation=bounded_text(factor.formulation) if factor is not None else None,
                variables=_variables(factor) if factor is not None else None,
                used=None if proven.model.used is None else bool(proven.model.used[position]),
                statistics=_statistics(proven, numbers),
                statistics_missing=short_text(numbers.missing),
                invariance=None if invariance is None else dict(invariance),
            )
        )
    return result


def _variables(factor: SotaFactor) -> dict[str, str]:
    return {str(short_text(name)): str(bounded_text(text)) for name, text in factor.variables.items()}


def _statistics(proven: Proven, numbers: FeatureStatistics) -> m.Statistics | None:
    segment = training_segment(proven.configuration)
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


def _missing(proven: Proven) -> m.Missing:
    # A number fills what means of the day leave; the day's mean takes what clipping would.
    by_day = sorted(proven.processors, key=lambda part: isinstance(part, RowProcessor))
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


def _label(configuration: TaskConfiguration | None) -> m.Label:
    labels = configuration.labels if configuration is not None else ()
    processors = [_component(part) for part in configuration.learn_processors] if configuration is not None else []
    first = labels[0] if labels else None
    return m.Label(
        name=short_text(first.name) if first else None,
        expression=first.expression if first else None,
        processors=processors,
    )


def _component(part: Component) -> dict[str, Any]:
    return {"class": part.class_name, "module": part.module, "arguments": json_value(dict(part.kwargs))}


def _data(proven: Proven) -> m.Data:
    configuration, dataset = proven.configuration, proven.dataset
    segments = configuration.segments if configuration is not None else {}
    universe = configuration.instruments if configuration is not None else None
    loader = configuration.loader if configuration is not None else None
    if loader is None and dataset is not None:
        loader = dataset.loader
    return m.Data(
        frequency="day",
        instrument_format=instrument_format(proven.predictions),
        universe=bounded_text(universe if isinstance(universe, str) or universe is None else ", ".join(universe)),
        benchmark=short_text(configuration.benchmark) if configuration is not None else None,
        price_adjustment=None,
        segments={name: _segment(pair) for name, pair in segments.items() if pair[0] is not None},
        dataset_class=short_text(configuration.dataset.class_name) if configuration is not None else None,
        handler_class=short_text(configuration.handler.class_name) if configuration is not None else None,
        loader_classes=[str(short_text(part.class_name)) for part in loader.walk()] if loader is not None else [],
        calendar=proven.calendar,
        universes=proven.universes,
    )


def _segment(pair: tuple[date | None, date | None]) -> m.Segment:
    first, last = pair
    if first is None:
        raise RefusalError("task.form", "a segment has no first date")
    return m.Segment(first=first.isoformat(), last=None if last is None else last.isoformat())


def instrument_format(predictions: Predictions | None) -> m.InstrumentFormat:
    """The notation of the run's own instruments."""
    if predictions is None or not len(predictions.instruments):
        return m.InstrumentFormat(kind="qlib", pattern=m.INSTRUMENT_PATTERNS["qlib"], example="SH600000")
    instruments = sorted(set(predictions.instruments.tolist()))
    for kind, pattern in m.INSTRUMENT_PATTERNS.items():
        if all(re.match(pattern, name) for name in instruments):
            return m.InstrumentFormat(kind=kind, pattern=pattern, example=instruments[0])  # type: ignore[arg-type]
    strange = next(name for name in instruments if not re.match(m.INSTRUMENT_PATTERNS["other"], name))
    raise RefusalError(
        "data.instrument", "an instrument is written in a form that the format does not have", found=repr(strange)[:80]
    )


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


def _metrics(proven: Proven) -> m.Metrics:
    if proven.anchor is not None and proven.anchor.item.metrics is not None:
        found: Mapping[str, float | None] = proven.anchor.item.metrics
    else:
        found = proven.located.run.metrics if proven.located.run is not None else {}
    configuration = proven.configuration
    segment = configuration.segments.get("test") if configuration is not None else None
    return m.Metrics(
        segment=_segment(segment) if segment is not None and segment[0] is not None else None,
        costs=json_value(dict(configuration.costs)) if configuration is not None else {},
        values={name: value if value is not None and math.isfinite(value) else None for name, value in found.items()},
    )


def _strategy(configuration: TaskConfiguration | None) -> m.Strategy | None:
    strategy = configuration.strategy if configuration is not None else None
    if strategy is None:
        return None
    return m.Strategy(
        class_name=strategy.class_name, module=strategy.module, arguments=json_value(dict(strategy.kwargs))
    )


def _selection(configuration: TaskConfiguration | None) -> m.Selection:
    """The numbers of stocks of the run's strategy; n_drop only where it is qlib's TopkDropout or made after it."""
    strategy = configuration.strategy if configuration is not None else None
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


def _eligibility(proven: Proven, features: Sequence[m.Feature]) -> m.Eligibility:
    task, anchor, located = proven.task, proven.anchor, proven.located
    known = task is not None and anchor is not None
    return judge_eligibility(
        Facts(
            order=proven.order,
            parity=proven.parity,
            run_proven=located.run is not None and located.run.metrics_match,
            by_scan=anchor is None,
            anchor_index=anchor.item.index if anchor is not None else None,
            newer_accepted=[item.index for item in newer_accepted(task, anchor)]
            if task is not None and anchor is not None
            else [],
            unknown_features=[feature.name for feature in features if feature.origin == "unknown"],
            names_given_twice=names_given_twice(task, anchor)
            if known and task is not None and anchor is not None
            else [],
            processors_known=proven.processors_known,
            constant_scores=proven.constant_scores,
            looking_ahead=[feature.name for feature in features if feature.look_ahead],
            scores_not_recorded=proven.model.judged_by_its_own_code and proven.recorded is None,
            problems=[(problem.code, problem.text) for problem in located.problems],
        )
    )
