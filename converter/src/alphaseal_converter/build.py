"""From a task directory to a bundle: session, select, locate, resolve, models, graph, parity, write.

Everything is found and proven before a byte of the bundle is written, and the bundle appears whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from alphaseal.doctor import installed
from alphaseal.errors import UsageError
from alphaseal.keys import SigningKey
from alphaseal.manifest import (
    FIRST_FORMAT,
    FORMAT,
    Bound,
    Format,
    Order,
    Parity,
    ParityCase,
    Stage,
    TradingDays,
    Universes,
)
from alphaseal.output import check_target
from alphaseal.pipeline import Pipeline
from alphaseal.trading_days import described

from . import parity, values
from .alpha_part import GOLDEN_DAYS, AlphaPart, compile_features, prove_alphas, with_conventions
from .artifacts import DatasetState, Predictions, fitted_processors, read_dataset, read_predictions
from .artifacts import read_task_configuration as read_configuration
from .bar_replay import BarReplay, write_bar_values
from .configuration import TaskConfiguration
from .describe import factors_to_try, given_creation_time, instrument_format
from .errors import RefusalError
from .factors_table import column_names
from .families import FamilyContext, TrainedModel, read_trained_model
from .families.row_processors import raw_space
from .golden import GoldenRows, clean_days, golden_days, golden_probe
from .locate import Located, Weights, columns_elsewhere, locate, scan
from .market import Market
from .parity import Judge, Matrix, Probe, Vector
from .processors import Processor
from .replay import ReplayRequest, run_replay
from .replay_comparison import Replayed, compare_replay
from .replay_noise import NoiseOfBars, can_be_carried, in_words
from .resolve import FeatureOrder, Sources, read_given_order, resolve_order
from .runs import plain_file, read_file
from .select import Anchor, choose_anchor
from .session import Task, read_task
from .stages import Plan, stages_of
from .training_statistics import Training, find_training, training_segment
from .trial import Trial, TrialRequest, try_factors
from .units import with_units
from .universes import describe_universes
from .values import MINIMUM_DAYS, RawFile, Recorded
from .write import BuiltBundle, check_place, write_bundle

MODEL_FILE = "model.onnx"
MAXIMUM_CODE = 1 << 20
_SAMPLED_WINDOWS = 256
Progress = Callable[[str], None]


@dataclass(frozen=True)
class BuildRequest:
    """What ``alphaseal-convert build`` was asked for; the options are explained there."""

    out: Path
    task_directory: Path | None = None
    workspace_roots: Sequence[Path] = ()
    path_maps: Sequence[tuple[str, str]] = ()
    weights: Weights = "auto"
    anchor: str = "auto"
    run_model_code: bool = False
    features: Path | None = None
    feature_order: Path | None = None
    replay_with: Path | None = None
    provider: Path | None = None
    without_provider: bool = False
    session_key: Path | None = None
    name: str | None = None
    sequence: int | None = None
    with_factors: bool = True
    expires: str | None = None
    require_ready: bool = False
    trial: TrialRequest | None = None
    signing_key: SigningKey | None = None
    format: Format = FORMAT


@dataclass(frozen=True)
class Proven:
    """All that is known before writing: the run's parts, the graph and the proof of its numbers."""

    task: Task | None
    anchor: Anchor | None
    located: Located
    configuration: TaskConfiguration | None
    dataset: DatasetState | None
    processors_known: bool
    processors: Sequence[Processor]
    model_code: str | None
    model: TrainedModel
    features: FeatureOrder
    order: Order
    stages: Sequence[Stage]
    graphs: Mapping[str, bytes]
    parity: Parity
    predictions: Predictions | None
    recorded: Recorded | None
    scores: Vector | None
    """The graph's scores of the `recorded` predictions, in their order; None where these are."""
    raw: RawFile | None
    golden: Sequence[GoldenRows]
    alphas: AlphaPart
    calendar: TradingDays | None
    universes: Universes
    training: Training
    constant_scores: bool
    columns_elsewhere: frozenset[str]
    trials: Mapping[str, Trial] = field(default_factory=dict)
    """What running the SOTA factors showed, by feature; empty where no bars were named."""


def build(request: BuildRequest, progress: Progress = lambda text: None) -> BuiltBundle:
    """Build a bundle at `request.out`, which must not exist; RefusalError 20 and nothing written where it cannot be proven."""
    given_creation_time()
    if os.path.lexists(request.out):
        raise UsageError(
            "output.exists",
            "the bundle's place is taken",
            where=str(request.out),
            next_step="choose another --out, or remove it",
        )
    if not os.path.isdir(request.out.parent):
        raise UsageError(
            "output.no_parent", "the directory for the bundle does not exist", where=str(request.out.parent)
        )
    if request.signing_key is not None and request.sequence == 0:
        raise UsageError(
            "usage.sequence", "a signed bundle has a sequence number of at least 1", where="--sequence", found="0"
        )
    check_place(request.out)
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
    fitted = fitted_processors(dataset) if dataset is not None else ()
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
    partial = _Proof(model, plan, features, pipeline, raw, located, predictions, bars.market)
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
    if os.path.lexists(request.out):
        raise UsageError(
            "output.exists",
            "the file is already there",
            where=str(request.out),
            next_step="choose another --out, or remove it",
        )
    check_target(request.out)
    _, _, located = _find(request, progress)
    artifacts = located.artifacts
    configuration = read_configuration(artifacts.task) if artifacts.task is not None else None
    staged = request.out.with_name(f".{request.out.name}.{os.getpid()}.part")
    try:
        if request.replay_with is not None:
            progress("asking qlib for the raw values")
            replay_features(request, configuration, located, staged)
        else:
            dataset = read_dataset(artifacts.dataset) if artifacts.dataset is not None else None
            write_bar_values(request, located, configuration, dataset, staged, progress)
        count = len(column_names(staged))
        os.replace(staged, request.out)
    finally:
        staged.unlink(missing_ok=True)
    return count


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


def _no_workspace(located: Located) -> RefusalError:
    """Weights alone say neither the feature order nor how the features were normalised."""
    return RefusalError(
        "workspace.not_found",
        "the session holds the weights, but the workspace that says feature order and preprocessing was not found",
        found="; ".join(problem.text for problem in located.problems),
        next_step="name where workspaces are with --workspace-root or --map FROM=TO; "
        "if the workspace is gone, pass --feature-order and --features, and the bundle will not be ready",
    )


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


def replay_features(
    request: BuildRequest, configuration: TaskConfiguration | None, located: Located, out: Path
) -> Path:
    """Let the replay program write the raw values of the run's recorded predictions to `out`."""
    if request.replay_with is None:
        raise UsageError(
            "usage.replay",
            "no research environment",
            expected="--replay-with PYTHON, the interpreter of an environment with qlib",
        )
    if located.workspace is None:
        raise _no_workspace(located)
    if configuration is None:
        raise RefusalError(
            "replay.no_task",
            "the run's task configuration is gone, so qlib cannot rebuild its features",
            expected="artifacts/task in the run",
        )
    if located.artifacts.pred is None:
        raise RefusalError(
            "replay.no_predictions",
            "the run recorded no predictions to replay",
            expected="artifacts/pred.pkl in the run",
        )
    dates = read_predictions(located.artifacts.pred).dates
    # Trading days to calendar days, with room for long holidays; the program never leaves what the run itself loaded.
    history = timedelta(days=2 * configuration.step_len + 30) if configuration.step_len is not None else timedelta(0)
    return run_replay(
        request.replay_with,
        ReplayRequest(
            task=configuration.plain,
            workspace=located.workspace,
            out=out,
            provider=request.provider,
            path_map=request.path_maps,
            start=str(dates.min().astype(date) - history),
            end=str(dates.max()),
            allow_workspace_code=request.run_model_code,
        ),
    )


@dataclass(frozen=True)
class _Proof:
    """The two proofs: of the order, and of the numbers."""

    model: TrainedModel
    plan: Plan
    features: FeatureOrder
    pipeline: Pipeline
    raw: RawFile | None
    located: Located
    predictions: Predictions | None
    market: Market | None

    def prove_order(self, progress: Progress) -> tuple[Order, Replayed | None]:
        """Replay the recorded predictions where raw values are at hand."""
        evidence = list(self.features.evidence)
        if self.raw is None or self.predictions is None:
            return Order(proof=self.features.proof, evidence=evidence, replay=None), None
        progress("replaying the recorded predictions")
        where = str(self.located.artifacts.pred)
        recorded = values.join_values(
            self.raw, self.located.parquet, self.features.features, self.predictions, self.model.step_length, where
        )
        scores = self._score(recorded)
        try:
            replayed = compare_replay(recorded, self.raw, scores, self._bound(recorded), where, self._noise())
        except RefusalError as error:
            if self.located.other_weights:
                others = ", ".join(f"{other.origin} {other.name}" for other in self.located.other_weights)
                error.next_step = (
                    f"the weights of the {self.located.weights.origin} were taken, others differ ({others}): "
                    "try --weights workspace"
                )
            raise
        return Order(proof="replayed", evidence=evidence, replay=replayed.report), replayed

    def _noise(self) -> NoiseOfBars | None:
        """What the raw values may differ from qlib's; None where they are qlib's own, or where stages cross stocks."""
        if self.market is None or self.raw is None or self.raw.origin != "bars":
            return None
        if not can_be_carried(self.pipeline, len(self.plan.steps)):
            return None
        shift, scale = raw_space(self.plan.final, self.model.feature_count)
        borders = [borders * scale[place] + shift[place] for place, borders in enumerate(self.model.thresholds)]
        return NoiseOfBars(self.market, self.features.features, self.pipeline, borders)

    def _bound(self, recorded: Recorded | None) -> Bound:
        """The model's bound; where its rows are far from usual ones, the rounding of their own sums if that is larger.

        They are the real rows, or without any those that are drawn, so that golden rows are within it.
        """
        if self.model.rounding is None:
            return self.model.bound
        if recorded is None:
            return parity.widened(self.model.bound, self._rounding(self._probes(None)[0].values))
        inputs = values.after_stages(recorded, self.pipeline) if self.plan.steps else recorded
        return parity.widened(self.model.bound, self._rounding(inputs.values))

    def _rounding(self, inputs: Matrix) -> Vector:
        """[rows] what the rounding of each row's own sums explains; the model's bound knows of usual rows alone."""
        return np.zeros(len(inputs)) if self.model.rounding is None else self.model.rounding(self.plan.final)(inputs)

    def _score(self, recorded: Recorded) -> Vector:
        """The pipeline's scores of the recorded predictions, in their order."""
        rows, scores = self.pipeline.run(recorded.block, recorded.dates[0])
        found = np.full(len(recorded.block), np.nan)
        found[rows] = scores
        return found[recorded.rows]

    def _no_judge(self) -> str:
        """What a judge would have needed, in words."""
        framework = self.model.framework
        if installed(framework) is None:
            return f"{framework} is not installed"
        return f"{framework} is installed, but does not load, or lacks pandas for the categorical columns of the model"

    def prove_parity(self, replayed: Replayed | None, progress: Progress) -> tuple[Parity, list[GoldenRows]]:
        """Compare graph and judges, and choose the golden rows."""
        progress("comparing with the original")
        judge = parity.answer(lambda: self.model.judge(self.plan.final))
        if judge is None and replayed is None:
            raise RefusalError(
                "parity.no_judge",
                f"nothing to compare with: {self._no_judge()}, and there are no raw values to replay the predictions",
                next_step="install it, or pass --provider, --features or --replay-with",
            )
        cases: list[ParityCase] = []
        golden: list[GoldenRows] = []
        recorded = None if replayed is None else replayed.recorded
        bound = self._bound(recorded)
        if replayed is not None:
            recorded_judge, scores = "qlib's recorded predictions", replayed.scores
            expected = replayed.recorded.scores
            noise = replayed.explained.allowed
            cases.append(parity.compare("recorded predictions", recorded_judge, scores, expected, bound, noise))
            golden += self._golden_days(replayed, judge)
        if judge is not None:
            for probe in self._probes(recorded):
                expected = parity.answer(partial(judge.predict, probe.values))
                rounding = self._rounding(probe.values)
                found = self.pipeline.score_inputs(probe.values)
                cases.append(parity.compare(probe.case, judge.name, found, expected, bound, rounding))
                if self.pipeline.step_length == 1 and not self.plan.steps:
                    # The others score whole days, and a made-up row belongs to none.
                    golden.append(golden_probe(probe, expected, rounding <= (bound.absolute or 0.0)))
        if not golden:
            raise RefusalError(
                "parity.no_days",
                "this model scores whole days, and there are no raw values of any: its numbers cannot be proven",
                expected="raw values of the days of the recorded predictions",
                next_step="pass --provider, --features or --replay-with",
            )
        return self._report(cases, replayed, bound), golden

    def _golden_days(self, replayed: Replayed, judge: Judge | None) -> tuple[GoldenRows, ...]:
        """Days without a prediction that differs by noise; where there are too few, the original's own score of our raw
        values stands in the place of such a prediction."""
        recorded, rows = replayed.recorded, replayed.explained.rows
        days = clean_days(recorded, rows)
        if len(days) < MINIMUM_DAYS:
            if judge is None or self.model.batch_dependent or self.plan.steps:
                raise RefusalError(
                    "parity.no_days",
                    "on nearly every day a recorded prediction differs by the noise of qlib's own windows, so that no day "
                    "can prove the bundle on another machine",
                    found=f"{len(days)} days without",
                    next_step="let qlib compute the raw values with --replay-with",
                )
            inputs = recorded.block.values[values.window_rows(recorded, self.model.step_length, recorded.rows[rows])]
            scores = recorded.scores.copy()
            scores[rows] = judge.predict(inputs[:, 0] if self.model.step_length == 1 else inputs)
            recorded = replace(recorded, scores=scores)
            days = np.unique(recorded.dates)[-MINIMUM_DAYS:]
        return golden_days(recorded, days, self.model.step_length)

    def _probes(self, recorded: Recorded | None) -> tuple[Probe, ...]:
        """Inputs of the last graph: real ones, and ones made from the model's own thresholds.

        Behind other stages these are no raw values, but what the stages make of them.
        """
        if self.model.batch_dependent:
            return ()  # what a row scores depends on the rows beside it: whole days are the only proof
        shift, scale = raw_space(self.plan.final, self.model.feature_count)
        raw = not self.plan.steps
        dtypes = [feature.dtype if raw else "float64" for feature in self.features.features]
        inputs = None if recorded is None else recorded if raw else values.after_stages(recorded, self.pipeline)
        if self.model.step_length > 1:
            # Made-up windows without real ones around them would show nothing that a market can hold.
            if inputs is None:
                return ()
            windows = values.sample_windows(inputs, self.model.step_length, _SAMPLED_WINDOWS)
            return parity.make_window_probes(windows, dtypes, shift, scale)
        real = inputs.values if inputs is not None else None
        probes = parity.make_probes(self.model.thresholds, dtypes, shift, scale, real)
        return probes if real is None else (Probe("real rows", real), *probes)

    def _report(self, cases: list[ParityCase], replayed: Replayed | None, bound: Bound) -> Parity:
        outside = [case for case in cases if case.outside]
        judges = list(dict.fromkeys(case.judge for case in cases))
        if outside:
            wrong = "; ".join(
                f"{case.case}: {case.outside} of {case.rows} rows, largest {case.largest_ulp} ulp" for case in outside
            )
            raise RefusalError(
                "parity.out_of_bounds",
                "the graph does not give the numbers of the original",
                expected=f"every row near {' and '.join(judges)} ({bound.text})",
                found=wrong,
                next_step="report it with the model: this must not happen",
            )
        alone = all("recorded" in judge for judge in judges)
        notes = [f"{self._no_judge()} here: qlib's recorded predictions are the only judge"] * alone
        if replayed is not None and replayed.report.noise is not None:
            notes.append(in_words(replayed.report.noise, replayed.report.rows))
        return Parity(
            bound=bound,
            within_bound=True,
            judges=judges,
            cases=cases,
            days=None if replayed is None else parity.day_order(replayed.order),
            note="; ".join(notes) or None,
        )


__all__ = ["BuildRequest", "BuiltBundle", "Proven", "build", "prove", "replay_features", "write_raw_values"]
