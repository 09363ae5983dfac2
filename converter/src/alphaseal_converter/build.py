"""From a task directory to a bundle: session, select, locate, resolve, models, graph, parity, write.

Everything is found and proven before a byte of the bundle is written, and the bundle appears whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec

from alphaseal.disk.files import require_free
from alphaseal.disk.targets import check_target, check_writable, replacing
from alphaseal.errors import UsageError
from alphaseal.format.manifest import FIRST_FORMAT
from alphaseal_converter.bundle.created import given_creation_time
from alphaseal_converter.bundle.sources import factors_to_try
from alphaseal_converter.bundle.write import BuiltBundle, write_bundle
from alphaseal_converter.emission.tables import SideFile
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import GOLDEN_DAYS
from alphaseal_converter.evidence.compiled import TracedFactor, trace_factors
from alphaseal_converter.evidence.order import FeatureOrder, read_given_order, resolve_order
from alphaseal_converter.evidence.values import RawFile, open_raw_file
from alphaseal_converter.factors.table import column_names
from alphaseal_converter.factors.trial import try_factors
from alphaseal_converter.families import FamilyContext, TrainedModel, read_trained_model
from alphaseal_converter.locate.parts import RunParts
from alphaseal_converter.locate.runs import plain_file, read_file
from alphaseal_converter.locate.weights import Located, locate, scan
from alphaseal_converter.proof.bars import BarReplay, write_bar_values
from alphaseal_converter.proof.prove import Proof
from alphaseal_converter.proof.proven import Proven
from alphaseal_converter.proof.qlib_replay import no_workspace, replay_features
from alphaseal_converter.proof.request import BuildRequest, Progress
from alphaseal_converter.session.anchor import SotaFactor, choose_anchor, sota_factors
from alphaseal_converter.session.origin import FromScan
from alphaseal_converter.session.task import read_task

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
    with tempfile.TemporaryDirectory(prefix="alphaseal-build-") as scratch:
        proven = prove(request, Path(scratch), progress)
        if request.trial is not None:
            trials = try_factors(request.trial, factors_to_try(proven), proven.located.parquet, progress)
            proven = replace(proven, trials=trials)
        progress("writing the bundle")
        return write_bundle(proven, request, progress)


def prove(request: BuildRequest, scratch: Path, progress: Progress) -> Proven:
    """Find and prove everything; nothing is written but raw values into `scratch`."""
    located = _find(request, progress)
    model, model_code = _read(request, located, progress)
    features, raw, bars = _order(request, located, model, scratch, progress)
    progress("building the graph")
    proof = Proof.of(located, features, model, raw, bars.market)
    return _prove(request, proof, bars, model_code, scratch, progress)


def write_raw_values(request: BuildRequest, progress: Progress = lambda text: None) -> int:
    """The verb ``replay``: raw values of the anchor's run at `request.out`; returns how many features they are.

    They are qlib's, or without `request.replay_with` the alpha columns that our own graph makes of the market data.
    """
    _require_free(request.out, "the file is already there")
    check_target(request.out)
    located = _find(request, progress)
    with replacing(request.out) as staged:
        if request.replay_with is not None:
            progress("asking qlib for the raw values")
            replay_features(request, located, staged)
        else:
            write_bar_values(request, located, staged, progress)
        return len(column_names(staged))


def _require_free(out: Path, taken: str) -> None:
    next_step = "choose another --out, or remove it"
    require_free(out, UsageError("output.exists", taken, where=str(out), next_step=next_step))


def _find(request: BuildRequest, progress: Progress) -> Located:
    """The anchor of a session and its run; a scan has neither session nor anchor."""
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
        return scan(request.workspace_roots[0])
    if request.task_directory is None:
        raise UsageError(
            "usage.task", "no task directory", expected="TASK_DIR, or --weights scan with --workspace-root"
        )
    progress("reading the session")
    task = read_task(request.task_directory, request.session_key, progress)
    anchor = choose_anchor(task, request.anchor)
    progress("looking for the run")
    return locate(
        anchor, task, weights=request.weights, workspace_roots=request.workspace_roots, path_maps=request.path_maps
    )


def _read(request: BuildRequest, located: Located, progress: Progress) -> tuple[TrainedModel, str | None]:
    """The model, and the code of the run that it may be made by."""
    progress("reading the model")
    if located.workspace is None and request.feature_order is None:
        raise no_workspace(located)
    context = FamilyContext(
        dataset_class=located.parts.dataset_class,
        step_length=located.parts.step_length,
        model_code=_model_code(located),
        run_model_code=request.run_model_code,
    )
    model = read_trained_model(located.weights.data, located.weights.label, context)
    if (context.step_length or 1) != model.step_length:
        if context.dataset_class is None:
            raise RefusalError(
                "model.no_dataset",
                f"the model takes windows of {model.step_length} rows, and the run's dataset, which says what they are made of, is gone",
                where=located.weights.label,
                expected="artifacts/dataset, or artifacts/task with a TSDatasetH, in the run",
                next_step="name a copy of the workspace that still has it with --workspace-root, or train again",
            )
        raise RefusalError(
            "model.dataset_mismatch",
            f"the run's dataset gives windows of {context.step_length or 1} rows, the {model.family} model takes {model.step_length}",
            expected="a model and a dataset of one run",
            next_step="check that weights and run belong together",
        )
    return model, context.model_code


def _model_code(located: Located) -> str | None:
    """The text of ``model.py``: the workspace's file is what the run imported; the session's copy where it is gone."""
    if located.workspace is not None:
        path = plain_file(located.workspace / "model.py", located.workspace)
        if path is not None:
            return read_file(path)[:MAXIMUM_CODE].decode("utf-8", "backslashreplace")
    return located.origin.model_code


def _order(
    request: BuildRequest, located: Located, model: TrainedModel, scratch: Path, progress: Progress
) -> tuple[FeatureOrder, RawFile | None, BarReplay]:
    """Which column of the model is which feature, raw values to prove it where there are any, and the market data."""
    raw = _given_values(request, located, scratch, progress)
    _check_processors_fitted(located.parts)
    given = read_given_order(request.feature_order) if request.feature_order is not None else None
    dtypes = raw.dtypes if raw is not None else {}
    features = resolve_order(located, dtypes, model.feature_count, given, model.known_names)
    predictions = located.parts.predictions
    side = SideFile.of(request.static) if request.static is not None and _compiles(request) else None
    factors = _traced_factors(request, located, features, side, progress)
    progress("compiling the alpha expressions")
    bars = BarReplay.find(features.features, factors, side, located, request, raw is None)
    return features, raw or bars.raw_values(predictions, model.step_length, scratch, progress), bars


def _traced_factors(
    request: BuildRequest, located: Located, features: FeatureOrder, side: SideFile | None, progress: Progress
) -> dict[str, TracedFactor]:
    """The code of the model's SOTA factors, followed; nothing of a bundle that has no place for it."""
    if not _compiles(request):
        return {}
    codes = {
        factor.name: factor.code
        for factor in _sota_factors(located, features)
        if factor.status == "in_model" and factor.code is not None
    }
    return trace_factors(codes, progress, side)


def _compiles(request: BuildRequest) -> bool:
    return request.compile_factors and request.format != FIRST_FORMAT


def _given_values(request: BuildRequest, located: Located, scratch: Path, progress: Progress) -> RawFile | None:
    """Raw values from the file that was named, or from qlib in the environment that was named."""
    if request.features is not None:
        return open_raw_file(request.features, "features_file")
    if request.replay_with is None:
        return None
    progress("asking qlib for the raw values")
    return open_raw_file(replay_features(request, located, scratch / "raw.parquet"), "qlib")


def _check_processors_fitted(parts: RunParts) -> None:
    """Configured processors without the dataset that holds their fitted numbers: forgetting them would score wrong."""
    if parts.dataset is None and parts.configuration.infer_processors:
        raise RefusalError(
            "processor.not_fitted",
            "the run normalised its features, but the dataset that holds the fitted numbers is gone",
            expected="artifacts/dataset in the run",
            found=", ".join(part.class_name for part in parts.configuration.infer_processors),
            next_step="name a copy of the workspace that still has it with --workspace-root",
        )


def _prove(
    request: BuildRequest, proof: Proof, bars: BarReplay, model_code: str | None, scratch: Path, progress: Progress
) -> Proven:
    """The order, the numbers, and what the market data prove."""
    order, replayed = proof.prove_order(progress)
    parity, golden = proof.prove_parity(replayed, progress)
    # Of 1.0 golden bars are those of the window.
    least_days = 0 if request.format == FIRST_FORMAT else GOLDEN_DAYS
    recorded = None if replayed is None else replayed.recorded
    market = bars.facts(proof, recorded, golden, least_days, scratch, progress)
    if market.alphas.note is not None:
        parity = msgspec.structs.replace(parity, note="; ".join(filter(None, (parity.note, market.alphas.note))))
    return Proven(
        located=proof.located,
        model=proof.model,
        model_code=model_code,
        features=proof.features,
        sota_factors=_sota_factors(proof.located, proof.features),
        stages=proof.stages,
        graphs=proof.graphs,
        order=order,
        parity=parity,
        golden=golden,
        raw=proof.raw,
        replayed=replayed,
        market=market,
    )


def _sota_factors(located: Located, features: FeatureOrder) -> tuple[SotaFactor, ...]:
    origin = located.origin
    if isinstance(origin, FromScan):
        return ()
    columns = located.columns if located.parquet is not None else None
    names = [feature.name for feature in features.features]
    return sota_factors(origin.task, origin.anchor, columns, names, located.elsewhere())


__all__ = ["BuiltBundle", "build", "prove", "write_raw_values"]
