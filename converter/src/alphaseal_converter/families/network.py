"""Networks of RD-Agent: qlib's GeneralPTNN around a class of the workspace's ``model.py``.

The weights are read inertly.  What the network computes with them only its code says, which a language model wrote and
nobody has read: it runs on request only, isolated, to export a graph and to score.  Torch has two exporters; the first
graph that is proven equal to the network itself is kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from alphaseal.errors import PolicyError
from alphaseal.format.manifest import Bound
from alphaseal.gate.model import Limits, check_model
from alphaseal.scoring.session import load_session
from alphaseal_converter.comparison.parity import Judge, Matrix, Vector
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.decode.tensors import NetworkState, read_network_state
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import FamilyContext, TrainedModel
from alphaseal_converter.isolation.plain_table import Column, Texts, Told, decode_answer
from alphaseal_converter.isolation.sandbox import IsolationLimits, shared_sandbox
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.nodes.embed import embed
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.processor import Filling, RowProcessor
from alphaseal_converter.processors.sequence import add_processors, apply_processors

Single = npt.NDArray[np.float32]

# Run by path: importing it would import torch here.
_PROGRAM: Final = Path(__file__).resolve().parents[1] / "programs" / "export.py"
_EXPORTERS: Final = ("TorchScript", "dynamo")
"""In the order they are tried; the second needs onnxscript and takes longer."""
_WHAT: Final = "the code of model.py"
_ANY_ROWS: Final = Limits(rows_alone=False)
"""For the gate, before it is known whether a score depends on the rows beside it."""
_LIMITS: Final = IsolationLimits(seconds=600, cpu_seconds=1200)
_RELATIVE: Final = 1e-6
_PROBE_ROWS: Final = 200
_SEED: Final = 20260122
_DEFAULT_BATCH: Final = 2000
"""Of GeneralPTNN, where the record does not say."""


@dataclass(frozen=True)
class _Network:
    """All that the isolated program needs, and what its inputs look like."""

    state: NetworkState
    kwargs: Mapping[str, Any]
    variable: str
    code: str
    python: Path | None
    feature_count: int
    step_length: int | None
    batch_size: int
    where: str

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of what the network takes per score."""
        return (self.feature_count,) if self.step_length is None else (self.step_length, self.feature_count)


@dataclass(frozen=True)
class _Answer:
    """What the isolated program gave back: scores per batch, and the exported graph or why there is none."""

    version: str
    scores: Sequence[Single]
    graph: bytes
    error: str | None


@dataclass(frozen=True)
class _Proven:
    """The export that was kept; whether it also equals the network for rows with missing and with infinite values.

    `version` is torch's, `scores` are the network's own of the plain probes, `scale` is about the largest of them.
    """

    exporter: str
    content: bytes
    version: str
    scores: Sequence[Single]
    scale: float
    missing: bool
    infinite: bool


@dataclass(frozen=True)
class _Probes:
    """Batches of model inputs: numbers only, then with missing, then with infinite values."""

    plain: Sequence[Single]
    missing: Single
    infinite: Single


def read_in_context(record: ModelRecord, where: str, context: FamilyContext) -> TrainedModel:
    """The trained network, its code run isolated once to export and prove it.

    RefusalError: `model.form`, `model.untrained`, `model.unsupported` (the class is not of ``model.py``),
    `model.dataset_mismatch`, `model.code_missing`, `model.code_not_allowed`, `model.torch_missing`,
    `model.code_mismatch`, `model.multi_output`, `model.random`, `model.not_exportable`, and those of `isolation` and
    `torch_tensors`.
    """
    network = _read(record, where, context)
    probes = _make_probes(network)
    proven = _prove(network, probes)
    batch_dependent = not _rows_are_independent(proven.scores, proven.scale) or not _keeps_rows_apart(network, proven)
    notes = (
        ("the score of a row depends on the other rows of its batch: a day is scored as one batch",)
        if batch_dependent
        else ()
    )
    scoring = replace(network, batch_size=0) if batch_dependent else network
    return TrainedModel(
        family="network",
        class_name=str(record),
        framework="torch",
        framework_version=proven.version,
        road=f"torch.onnx.export ({proven.exporter})",
        feature_count=network.feature_count,
        thresholds=[np.zeros(0)] * network.feature_count,
        bound=Bound(
            ulp=None,
            relative=_RELATIVE,
            absolute=_RELATIVE * proven.scale,
            text="float32 sums in another order: 1e-6 of the score, or of the largest score of the trial rows",
        ),
        facts={
            "network": network.state.classes[""],
            "modules": len(network.state.classes),
            "numbers": int(sum(tensor.size for tensor in network.state.tensors.values())),
        },
        graph=lambda processors: _graph(network, proven, processors),
        judge=lambda processors: _judge(scoring, proven.version, processors),
        step_length=network.step_length or 1,
        batch_dependent=batch_dependent,
        notes=notes,
        judged_by_its_own_code=True,
    )


# ---- what the weights file and the run say


def _read(record: ModelRecord, where: str, context: FamilyContext) -> _Network:
    module = record.record.get("dnn_model")
    if record.record.get("fitted") is not True or not isinstance(module, Record):
        raise RefusalError("model.untrained", "the GeneralPTNN holds no trained network", where=where)
    uri = record.record.get("pt_model_uri")
    location, _, variable = uri.rpartition(".") if isinstance(uri, str) else ("", "", "")
    if location != "model" or not variable.isidentifier():
        raise RefusalError(
            "model.unsupported",
            "the network's class is not one of the workspace's model.py",
            where=where,
            expected="model.model_cls",
            found=decode.shown(uri),
        )
    kwargs = decode.as_plain(record.record.get("pt_model_kwargs"), where=where)
    if not isinstance(kwargs, dict) or not _positive(kwargs.get("num_features")):
        raise RefusalError("model.form", "the network's arguments do not say num_features", where=where)
    batch_size = record.record.get("batch_size")
    return _Network(
        state=read_network_state(module, where),
        kwargs=kwargs,
        variable=variable,
        code=_allowed_code(str(module.factory), where, context),
        python=context.python,
        feature_count=kwargs["num_features"],
        step_length=_step_length(kwargs, where, context),
        batch_size=batch_size if _positive(batch_size) else _DEFAULT_BATCH,
        where=where,
    )


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _step_length(kwargs: Mapping[str, Any], where: str, context: FamilyContext) -> int | None:
    """Days per window, None for rows of one day: what the dataset gave the network in training."""
    built_for = kwargs.get("num_timesteps")
    if context.dataset_class is None:
        return built_for if _positive(built_for) else None
    if context.step_length is not None and built_for not in (None, context.step_length):
        raise RefusalError(
            "model.dataset_mismatch",
            "the network was built for windows of another length than the dataset makes",
            where=where,
            expected=f"num_timesteps {context.step_length}, the step_len of {context.dataset_class}",
            found=f"num_timesteps {built_for}",
        )
    return context.step_length


def _allowed_code(class_name: str, where: str, context: FamilyContext) -> str:
    if context.model_code is None:
        raise RefusalError(
            "model.code_missing",
            f"the network {class_name} is defined by the workspace's model.py, which is not there",
            where=where,
            next_step="put the model.py of the run back into its workspace",
        )
    if not context.run_model_code:
        raise RefusalError(
            "model.code_not_allowed",
            f"what the network {class_name} computes stands only in its model.py, code that a language model wrote: "
            "to export the network it has to run",
            where=where,
            expected="the flag --run-model-code",
            next_step=(
                "read model.py, then pass --run-model-code: it runs in a child process without network, environment, "
                "other processes or any file but its own directory and Python's libraries, with limits of time and memory"
            ),
        )
    return context.model_code


# ---- the isolated program


def _run(network: _Network, batches: Sequence[Single], exporter: str | None = None) -> _Answer:
    tensors, tensor_bytes = _pack(list(network.state.tensors.values()))
    entries, batch_bytes = _pack(list(batches))
    request = {
        "exporter": exporter,
        "variable": network.variable,
        "kwargs": dict(network.kwargs),
        "classes": dict(network.state.classes),
        "attributes": dict(network.state.attributes),
        "tensors": [{"name": name, **entry} for name, entry in zip(network.state.tensors, tensors, strict=True)],
        "batches": entries,
    }
    inputs = {
        "request.json": json.dumps(request).encode(),
        "model.py": network.code.encode("utf-8", "surrogatepass"),
        "tensors.bin": tensor_bytes,
        "batches.bin": batch_bytes,
    }
    try:
        files = shared_sandbox(_PROGRAM, network.python, ("torch",)).run(
            inputs=inputs, outputs=["answer.bin"], optional_outputs=["graph.onnx"], limits=_LIMITS, what=_WHAT
        )
    except RefusalError as problem:
        if problem.code == "isolation.died" and "No module named 'torch'" in str(problem.found):
            raise RefusalError(
                "model.torch_missing",
                "torch is needed to export a network and is not installed",
                where=network.where,
                next_step="install alphaseal-converter[network], or name a Python that has torch",
            ) from None
        raise
    return _parse(files, [len(batch) for batch in batches], network.where)


def _pack(arrays: Sequence[npt.NDArray[Any]]) -> tuple[list[dict[str, Any]], bytes]:
    """Dtype, shape and place of each array, and their bytes one after the other, each at a multiple of 8."""
    entries, parts, offset = [], [], 0
    for array in arrays:
        content = np.ascontiguousarray(array).tobytes()
        entries.append({"dtype": array.dtype.name, "shape": list(array.shape), "offset": offset})
        parts.append(content + bytes(-len(content) % 8))
        offset += len(parts[-1])
    return entries, b"".join(parts)


def _parse(files: Mapping[str, bytes], lengths: Sequence[int], where: str) -> _Answer:
    """The answer is of a process that ran unread code: it is checked as any foreign file."""
    try:
        answer = decode_answer(files["answer.bin"])
        if isinstance(answer, Told):
            known = {"model.code_mismatch", "model.multi_output", "model.random"}
            code = answer.code if answer.code in known else "model.code_mismatch"
            raise RefusalError(code, answer.text[:500], where=where)
        if list(answer) != ["score", "torch", "error"]:
            raise ValueError("other columns than scores, version and error")
        scores, version, error = answer.values()
        if not isinstance(scores, np.ndarray) or scores.dtype != np.float32 or len(scores) != sum(lengths):
            raise ValueError(f"no scores of {sum(lengths)} rows")
        texts = [_one_text(version), _one_text(error)]
    except ValueError as problem:
        raise RefusalError(
            "model.code_answer", f"the isolated program gave no usable answer: {problem}"[:300], where=where
        ) from None
    batches = np.split(scores, np.cumsum(lengths)[:-1])
    return _Answer((texts[0] or "")[:60], batches, files.get("graph.onnx", b""), texts[1])


def _one_text(column: Column) -> str | None:
    """The text of all rows, as far as it is one, cut; None where they have none."""
    if not isinstance(column, Texts) or len(column.names) > 1:
        raise ValueError("a text that is none")
    return column.names[0][:300] if column.names else None


# ---- proof


def _make_probes(network: _Network) -> _Probes:
    """Inputs in the space that the network sees, as RobustZScoreNorm and Fillna leave them, and worse."""
    generator = np.random.default_rng(_SEED)
    rows = generator.standard_normal((_PROBE_ROWS, *network.row_shape)).astype(np.float32)
    rows[20:40] = np.clip(rows[20:40] * 4, -3, 3)
    rows[40:50] = 0
    rows[50:60] = rows[50:60, ..., :1]  # all features of a day equal
    rows[60:70] *= np.float32(1e-3)
    missing, infinite = rows[:64].copy(), rows[:64].copy()
    missing[generator.random(missing.shape) < 0.05] = np.nan
    infinite[generator.random(infinite.shape) < 0.02] = np.inf
    # The first batch is the example that exporters trace: its size is none that follows, and no 1.
    # The order matters to _rows_are_independent.
    plain = [rows[:7], rows[:1], rows[:2], rows[:64], rows, rows[::-1], rows[45:46], rows[150:151]]
    plain += [np.zeros_like(rows[:7]), np.full_like(rows[:2], -3), np.full_like(rows[:2], 3)]
    return _Probes([np.ascontiguousarray(batch) for batch in plain], missing, infinite)


def _scale(scores: Sequence[Single], where: str) -> float:
    """The power of two above the largest score of the plain probes; all of them must be numbers."""
    together = np.concatenate(scores)
    if not np.isfinite(together).all():
        raise RefusalError(
            "model.not_finite",
            "the network gives scores that are no numbers for ordinary rows, alone or in batches",
            where=where,
        )
    largest = float(np.abs(together).max())
    return 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0


def _rows_are_independent(scores: Sequence[Single], scale: float) -> bool:
    """Whether a row has one score in every batch: cut off, turned round, alone."""
    seven, one, two, many, whole, turned, zeros, alone = scores[:8]
    pairs = [(seven, whole[:7]), (one, whole[:1]), (two, whole[:2]), (many, whole[:64]), (turned, whole[::-1])]
    pairs += [(zeros, whole[45:46]), (alone, whole[150:151])]
    return all(_difference(left, right, scale) <= _RELATIVE for left, right in pairs)


def _keeps_rows_apart(network: _Network, proven: _Proven) -> bool:
    """Whether the runtime's gate can show it of the graph; where it cannot, a day is scored as one batch all the same."""
    try:
        check_model(_assemble(network, proven.content, ()), "the exported graph")
    except PolicyError as problem:
        if problem.code != "model.rows":
            raise
        return False
    return True


def _difference(scores: Single, expected: Single, scale: float) -> float:
    """Largest difference as a part of the larger of the expected score and `scale`; infinite where only one is missing."""
    left, right = scores.astype(np.float64), expected.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        parts = np.where(same, 0.0, np.abs(left - right) / np.maximum(np.abs(right), scale))
    return float(np.where(np.isnan(parts), np.inf, parts).max(initial=0.0))


def _prove(network: _Network, probes: _Probes) -> _Proven:
    """The first export that equals the network on all plain batches."""
    reasons = []
    for exporter in _EXPORTERS:
        answer = _run(network, [*probes.plain, probes.missing, probes.infinite], exporter)
        scores = answer.scores[:-2]
        scale = _scale(scores, network.where)
        try:
            if answer.error is not None:
                raise RefusalError("graph.foreign", answer.error)
            session = _session(_assemble(network, answer.graph, ()))
            worst = max(_differences(network, session, probes.plain, scores, scale))
            if worst > _RELATIVE:
                raise RefusalError("graph.foreign", f"scores differ by {worst:.1e} of their size")
        except (RefusalError, PolicyError) as problem:
            reasons.append(f"{exporter}: {problem}")
            continue
        beyond = _differences(network, session, (probes.missing, probes.infinite), answer.scores[-2:], scale)
        missing, infinite = (difference <= _RELATIVE for difference in beyond)
        return _Proven(exporter, answer.graph, answer.version, scores, scale, missing, infinite)
    raise RefusalError(
        "model.not_exportable",
        "no exporter gives a graph that computes what the network computes, for batches of any size",
        where=network.where,
        expected=f"the network's scores within {_RELATIVE:g} on {len(probes.plain)} batches of 1 to {_PROBE_ROWS} rows",
        found="; ".join(reasons)[:1000],
        next_step="the forward of model.py must not fix the batch size or branch on values",
    )


def _differences(
    network: _Network,
    session: Any,
    batches: Sequence[Single],
    expected: Sequence[Single],
    scale: float,
) -> list[float]:
    # A window of one day goes into the graph as a row.
    inputs = [batch[:, 0] if network.step_length == 1 else batch for batch in batches]
    return [_difference(_score(session, batch), own, scale) for batch, own in zip(inputs, expected, strict=True)]


def _session(content: bytes) -> Any:
    """As the runtime does it: through its gate first, then in its own way."""
    check_model(content, "the exported graph", limits=_ANY_ROWS)
    return load_session(content, "the exported graph")


def _score(session: Any, batch: Single) -> Single:
    try:
        (scores,) = session.run(None, {"features": batch.astype(np.float64)})
    except Exception as problem:  # noqa: BLE001 - as above: a frozen batch size ends here
        raise _ort_refusal(problem) from None
    if scores.shape != (len(batch), 1):
        raise RefusalError("graph.foreign", f"{scores.shape} scores for {len(batch)} rows")
    return np.asarray(scores, dtype=np.float32).reshape(-1)


def _ort_refusal(problem: Exception) -> RefusalError:
    return RefusalError("graph.foreign", f"onnxruntime: {str(problem).splitlines()[0][:250]}")


# ---- the graph and the judge


def _assemble(network: _Network, content: bytes, processors: Sequence[RowProcessor]) -> bytes:
    builder = GraphBuilder()
    values = builder.cast(add_processors(builder, processors, "features"), TensorProto.FLOAT)
    if network.step_length == 1:
        # The format's inputs of one day are rows; the network was trained on windows of one day.
        values = builder.add("Unsqueeze", values, builder.constant([1]))
    score = builder.cast(embed(builder, content, values), TensorProto.DOUBLE)
    return builder.model(network.feature_count, score, network.step_length or 1)


def _graph(network: _Network, proven: _Proven, processors: Sequence[RowProcessor]) -> bytes:
    """The proven export behind the processors; refused where values reach it that the proof does not cover."""
    missing, infinite = True, True
    for processor in processors:
        missing = missing and not isinstance(processor, Filling)
        infinite = infinite and processor.infinite is None
    for reached, covered, kind in ((missing, proven.missing, "missing"), (infinite, proven.infinite, "infinite")):
        if reached and not covered:
            raise RefusalError(
                f"model.{kind}_values",
                f"for rows with {kind} values the exported graph and the network differ, and no processor removes them",
                where=network.where,
            )
    return _assemble(network, proven.content, processors)


def _judge(network: _Network, version: str, processors: Sequence[RowProcessor]) -> Judge:
    """Torch itself, in batches as qlib's GeneralPTNN.predict makes them (all rows at once for batch size 0)."""

    def predict(values: Matrix) -> Vector:
        with np.errstate(over="ignore"):
            inputs = apply_processors(values, processors).astype(np.float32)
        inputs = inputs.reshape(len(values), *network.row_shape)
        size = network.batch_size or max(len(inputs), 1)
        batches = [inputs[start : start + size] for start in range(0, len(inputs), size)]
        scores = _run(network, batches).scores if batches else [np.zeros(0, np.float32)]
        return np.concatenate(scores).astype(np.float64)

    return Judge(f"torch {version}", predict)
