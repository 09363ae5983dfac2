"""From a task directory to a bundle: session, select, locate, resolve, models, graph, parity, write.

Everything is found and proven before a byte of the bundle is written, and the bundle appears whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from alphaseal.bars.trading_days import described
from alphaseal.disk.files import require_free
from alphaseal.disk.targets import check_target, check_writable, replacing
from alphaseal.errors import UsageError
from alphaseal.format.manifest import FIRST_FORMAT
from alphaseal.scoring.pipeline import Pipeline
from alphaseal_converter.bundle.created import given_creation_time
from alphaseal_converter.bundle.manifest import instrument_format
from alphaseal_converter.bundle.sources import factors_to_try
from alphaseal_converter.bundle.write import BuiltBundle, write_bundle
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence import values
from alphaseal_converter.evidence.alphas import GOLDEN_DAYS, compile_features, prove_alphas, with_conventions
from alphaseal_converter.evidence.order import Sources, read_given_order, resolve_order
from alphaseal_converter.evidence.training_statistics import find_training
from alphaseal_converter.evidence.units import with_units
from alphaseal_converter.evidence.universes import describe_universes
from alphaseal_converter.evidence.values import RawFile
from alphaseal_converter.factors.table import column_names
from alphaseal_converter.factors.trial import try_factors
from alphaseal_converter.families import FamilyContext, TrainedModel, read_trained_model
from alphaseal_converter.graph.stages import stages_of
from alphaseal_converter.locate.artifacts import DatasetState, read_dataset, read_predictions
from alphaseal_converter.locate.artifacts import read_task_configuration as read_configuration
from alphaseal_converter.locate.configuration import TaskConfiguration, training_segment
from alphaseal_converter.locate.runs import plain_file, read_file
from alphaseal_converter.locate.weights import Located, columns_elsewhere, locate, scan
from alphaseal_converter.processors.kinds import fitted_processors
from alphaseal_converter.proof.bars import BarReplay, write_bar_values
from alphaseal_converter.proof.prove import Proof
from alphaseal_converter.proof.proven import Proven
from alphaseal_converter.proof.qlib_replay import _no_workspace, replay_features
from alphaseal_converter.proof.request import BuildRequest, Progress
from alphaseal_converter.session.anchor import Anchor, choose_anchor
from alphaseal_converter.session.task import Task, read_task

MODEL_FILE = "model.onnx"
MAXIMUM_CODE = 1 << 20


def build(request: BuildRequest, progress: Progress = lambda text: None) -> BuiltBundle:
    """Build a bundle at `request.out`, which must not exist; RefusalError 20 and nothing written where it cannot be proven."""
    given_creation_time()
    _require_free(request.out, "the bundle's place is taken")
    if not os.path.isdir(request.out.parent):
        raise UsageError(
            "output.no_parent", "the directory for the bundle does not exist", where=str(request.out.parent)
        )
    if request.signing_key is not None and request.sequence == 0:
        raise UsageError(
            "usage.sequence", "a signed bundle has a sequence number of at least 1", where="--sequence", found="0"
        )
    check_writable(request.out)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alphaseal-build-")))
        proven = prove(request, scratch, progress)
        if request.trial is not None:
            trials = try_factors(request.trial, factors_to_try(proven), proven.located.parquet, progress)
            proven = replace(proven, trials=trials)
        progress("writing the bundle")
        return write_bundle(proven, request, progress)


def prove(request: BuildRequest, scratch: Path, progress: Progress) -> Proven:
    """Find and prove everything; nothing is written but raw values into `scratch`."""
    task, anchor, located = _find(request, progress)
    artifacts = located.artifacts
    configuration = read_configuration(artifacts.task) if artifacts.task is not None else None
    dataset = read_dataset(artifacts.dataset) if artifacts.dataset is not None else None
    progress("reading the model")
    if located.workspace is None and request.feature_order is None:
        raise _no_workspace(located)
    context = _family_context(request, anchor, located, configuration, dataset)
    weights = f"{located.weights.origin}: {located.weights.name}"
    model = read_trained_model(located.weights.data, weights, context)
    _check_dataset_kind(context, model)
    raw = _raw_values(request, configuration, located, scratch, progress)
    fitted = fitted_processors(dataset.infer_processors) if dataset is not None else ()
    _check_processors_fitted(configuration, dataset)
    sources = Sources(
        configuration=configuration,
        processors=fitted,
        alphas=tuple(e for part in dataset.loader.walk() for e in part.features)
        if dataset is not None and dataset.loader is not None
        else (),
        table=column_names(located.parquet) if located.parquet is not None else (),
        table_path=located.parquet,
        base_codes=tuple(Path(name).stem for name in anchor.item.base_feature_codes) if anchor is not None else (),
        raw_dtypes=raw.dtypes if raw is not None else {},
    )
    given = read_given_order(request.feature_order) if request.feature_order is not None else None
    features = resolve_order(sources, model.feature_count, given, model.known_names, weights)
    predictions = read_predictions(artifacts.pred) if artifacts.pred is not None else None
    progress("compiling the alpha expressions")
    bars = BarReplay.find(compile_features(features.features), located, configuration, request, raw is None)
    if raw is None:
        raw = bars.raw_values(predictions, model.step_length, scratch, progress)
    names = [feature.name for feature in features.features]
    if model.bind is not None:
        model = model.bind(names, [feature.dtype for feature in features.features])
    plan = stages_of(fitted, names, [feature.dtype for feature in features.features], model.step_length)
    progress("building the graph")
    graphs = {**plan.graphs(), MODEL_FILE: model.graph(plan.final)}
    universe = configuration.instruments if configuration is not None else None
    stages = plan.stages(MODEL_FILE, model.step_length, universe if isinstance(universe, str) else None)
    pipeline = Pipeline(
        stages, graphs.__getitem__, model.feature_count, names=names, batch_dependent=model.batch_dependent
    )
    partial = Proof(model, plan, features, pipeline, raw, located, predictions, bars.market)
    order, replayed = partial.prove_order(progress)
    recorded = None if replayed is None else replayed.recorded
    report, golden = partial.prove_parity(replayed, progress)
    # Of 1.0 golden bars are those of the window.
    least_days = 0 if request.format == FIRST_FORMAT else GOLDEN_DAYS
    alphas = prove_alphas(bars.compiled, features.features, bars.market, bars.absent, recorded, golden, least_days)
    if alphas.note is not None:
        report = msgspec.structs.replace(report, note="; ".join(filter(None, (report.note, alphas.note))))
    segment = training_segment(configuration)
    training = find_training(
        configuration,
        fitted,
        features.features,
        model.class_name,
        (bars.market, bars.absent),
        alphas,
        scratch,
        progress,
    )
    unused = (
        {name for name, used in zip(names, model.used, strict=True) if not used} if model.used is not None else set()
    )
    alphas = with_units(alphas, bars.compiled, stages, unused, bars.market, segment, progress)
    universes = describe_universes(
        bars.market,
        bars.absent,
        configuration,
        predictions,
        located.parquet,
        coded=any(feature.origin != "alpha" for feature in features.features),
        pattern=instrument_format(predictions).pattern,
    )
    alphas = with_conventions(alphas, bars.market, segment, model.step_length, universes.context)
    return Proven(
        task=task,
        anchor=anchor,
        located=located,
        configuration=configuration,
        dataset=dataset,
        processors_known=dataset is not None or (configuration is not None and not configuration.infer_processors),
        processors=fitted,
        model_code=context.model_code,
        model=model,
        features=features,
        order=order,
        stages=stages,
        graphs=graphs,
        parity=report,
        predictions=predictions,
        recorded=recorded,
        scores=None if replayed is None else replayed.scores,
        raw=raw,
        golden=golden,
        alphas=alphas,
        calendar=described(bars.market.provider.calendar) if bars.market is not None else None,
        universes=universes,
        training=training,
        columns_elsewhere=columns_elsewhere(anchor, task, request.workspace_roots, request.path_maps)
        if task is not None and anchor is not None
        else frozenset(),
        constant_scores=predictions is not None and len(np.unique(predictions.scores)) == 1,
    )


def write_raw_values(request: BuildRequest, progress: Progress = lambda text: None) -> int:
    """The verb ``replay``: raw values of the anchor's run at `request.out`; returns how many features they are.

    They are qlib's, or without `request.replay_with` the alpha columns that our own graph makes of the market data.
    """
    _require_free(request.out, "the file is already there")
    check_target(request.out)
    _, _, located = _find(request, progress)
    artifacts = located.artifacts
    configuration = read_configuration(artifacts.task) if artifacts.task is not None else None
    with replacing(request.out) as staged:
        if request.replay_with is not None:
            progress("asking qlib for the raw values")
            replay_features(request, configuration, located, staged)
        else:
            dataset = read_dataset(artifacts.dataset) if artifacts.dataset is not None else None
            write_bar_values(request, located, configuration, dataset, staged, progress)
        return len(column_names(staged))


def _require_free(out: Path, taken: str) -> None:
    next_step = "choose another --out, or remove it"
    require_free(out, UsageError("output.exists", taken, where=str(out), next_step=next_step))


def _find(request: BuildRequest, progress: Progress) -> tuple[Task | None, Anchor | None, Located]:
    """Session, anchor and artefacts; a scan has neither session nor anchor."""
    if request.weights == "scan":
        if request.task_directory is not None:
            raise UsageError(
                "usage.scan",
                "a scan looks at workspaces only",
                next_step="leave TASK_DIR out, or use --weights workspace",
            )
        if request.session_key is not None:
            raise UsageError("usage.scan", "a scan reads no session; --session-key does not go with it")
        if len(request.workspace_roots) != 1:
            raise UsageError(
                "usage.scan", "a scan needs exactly one --workspace-root", found=str(len(request.workspace_roots))
            )
        return None, None, scan(request.workspace_roots[0])
    if request.task_directory is None:
        raise UsageError(
            "usage.task", "no task directory", expected="TASK_DIR, or --weights scan with --workspace-root"
        )
    progress("reading the session")
    task = read_task(request.task_directory, request.session_key, progress)
    anchor = choose_anchor(task, request.anchor)
    progress("looking for the run")
    located = locate(
        anchor, task, weights=request.weights, workspace_roots=request.workspace_roots, path_maps=request.path_maps
    )
    return task, anchor, located


def _family_context(
    request: BuildRequest,
    anchor: Anchor | None,
    located: Located,
    configuration: TaskConfiguration | None,
    dataset: DatasetState | None,
) -> FamilyContext:
    """What the weights file alone does not say of the model."""
    known = [part.step_len for part in (configuration, dataset) if part is not None and part.step_len is not None]
    dataset_class = configuration.dataset.class_name if configuration is not None else None
    if dataset_class is None and dataset is not None:
        dataset_class = dataset.dataset_class.rpartition(".")[2]
    return FamilyContext(
        model_code=_model_code(anchor, located),
        run_model_code=request.run_model_code,
        dataset_class=dataset_class,
        step_length=known[0] if known else None,
    )


def _model_code(anchor: Anchor | None, located: Located) -> str | None:
    """The text of ``model.py``: the workspace's file is what the run imported; the session's copy where it is gone."""
    if located.workspace is not None:
        path = plain_file(located.workspace / "model.py", located.workspace)
        if path is not None:
            return read_file(path)[:MAXIMUM_CODE].decode("utf-8", "backslashreplace")
    if anchor is None:
        return None
    workspaces = (anchor.item.workspace, *anchor.item.sub_workspaces)
    texts = [workspace.file_dict.get("model.py") for workspace in workspaces if workspace is not None]
    return next((text for text in texts if isinstance(text, str)), None)


def _check_dataset_kind(context: FamilyContext, model: TrainedModel) -> None:
    """A model of single rows cannot have been trained on windows, nor the other way round."""
    if (context.step_length or 1) != model.step_length:
        raise RefusalError(
            "model.dataset_mismatch",
            f"the run's dataset gives windows of {context.step_length or 1} rows, the {model.family} model takes {model.step_length}",
            expected="a model and a dataset of one run",
            next_step="check that weights and run belong together",
        )


def _check_processors_fitted(configuration: TaskConfiguration | None, dataset: DatasetState | None) -> None:
    """Configured processors without the dataset that holds their fitted numbers: forgetting them would score wrong."""
    if dataset is None and configuration is not None and configuration.infer_processors:
        names = ", ".join(part.class_name for part in configuration.infer_processors)
        raise RefusalError(
            "processor.not_fitted",
            "the run normalised its features, but the dataset that holds the fitted numbers is gone",
            expected="artifacts/dataset in the run",
            found=names,
            next_step="name a copy of the workspace that still has it with --workspace-root",
        )


def _raw_values(
    request: BuildRequest, configuration: TaskConfiguration | None, located: Located, scratch: Path, progress: Progress
) -> RawFile | None:
    """Raw values from the file that was named, or from qlib in the environment that was named."""
    if request.features is not None:
        return values.open_raw_file(request.features, "features_file")
    if request.replay_with is None:
        return None
    progress("asking qlib for the raw values")
    out = replay_features(request, configuration, located, scratch / "raw.parquet")
    return values.open_raw_file(out, "qlib")


__all__ = ["BuildRequest", "BuiltBundle", "Proven", "build", "prove", "replay_features", "write_raw_values"]
