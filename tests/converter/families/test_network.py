"""Networks of RD-Agent become graphs that score as the network does, or are refused by the reason."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from alphaseal_converter.build import build
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families import FamilyContext, TrainedModel, read_trained_model
from alphaseal_converter.locate.artifacts import read_dataset
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.nodes.embed import OPERATORS, embed
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.kinds import fitted_processors
from alphaseal_converter.processors.normalisation import RobustZScoreNorm
from alphaseal_converter.proof.request import BuildRequest
from graphs import row_processors
from locations import DATA, FIXTURES
from raising import refusal

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="the full set of fixtures is not here")
CASES = [
    "model_plain/hist0_model",
    "model_plain/hist1_model",
    "quant_signed/hist1_model",
    "quant_signed/hist2_factor",
    "quant_signed/hist4_model",
]


# ---- real networks


@dataclass(frozen=True)
class Case:
    """One real run: its truth, weights, code and dataset."""

    folder: Path
    truth: Mapping[str, Any]

    @property
    def workspace(self) -> Path:
        return self.folder / str(self.truth["workspace"])

    @property
    def weights(self) -> bytes:
        return (self.workspace / str(self.truth["artifacts"]) / "params.pkl").read_bytes()

    @property
    def context(self) -> FamilyContext:
        return FamilyContext(
            model_code=(self.workspace / "model.py").read_text(encoding="utf-8"),
            run_model_code=True,
            dataset_class=self.truth["dataset"],
            step_length=self.truth["step_len"],
        )


def load(name: str) -> Case:
    task, case = name.split("/")
    folder = FIXTURES / task / "truth" / case
    return Case(folder, json.loads((folder / "truth.json").read_text(encoding="utf-8")))


def raw_inputs(case: Case) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Raw values of every recorded score, [rows, F] or [rows, T, F], and the scores.

    A window is the last T rows of the table's calendar; a day on which the stock has no row repeats the one before,
    at the start the one after (qlib's ffill+bfill).
    """
    table = pq.read_table(case.folder / case.truth["features_file"])
    values = np.column_stack([table[name].to_numpy().astype(np.float64) for name in case.truth["model_features"]])
    dates, stocks = (
        np.asarray(table[name].to_pylist(), dtype=kind)
        for name, kind in (("datetime", "M8[D]"), ("instrument", object))
    )
    recorded = pq.read_table(case.folder / "pred.parquet")
    wanted = list(
        zip(
            np.asarray(recorded["datetime"].to_pylist(), dtype="M8[D]"), recorded["instrument"].to_pylist(), strict=True
        )
    )
    row_of = {key: row for row, key in enumerate(zip(dates, stocks, strict=True))}
    scores = recorded["score"].to_numpy().astype(np.float64)
    if not case.truth["windows"]:
        return values[[row_of[key] for key in wanted]], scores
    # qlib looks at no day further back than step_len before the segment.
    length, days = case.truth["step_len"], np.unique(dates)
    days = days[max(0, np.searchsorted(days, np.datetime64(case.truth["segments"]["test"][0])) - length) :]
    position = {day: number for number, day in enumerate(days)}
    blocks = []
    for day, stock in wanted:
        end = position[day]
        rows = [row_of.get((days[at], stock), -1) if at >= 0 else -1 for at in range(end - length + 1, end + 1)]
        for number in range(1, length):
            rows[number] = rows[number - 1] if rows[number] < 0 else rows[number]
        for number in range(length - 2, -1, -1):
            rows[number] = rows[number + 1] if rows[number] < 0 else rows[number]
        blocks.append(values[rows])
    return np.stack(blocks), scores


def score(graph: bytes, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["score"], {"features": values})[0]).ravel()


@needs_torch
@needs_fixtures
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_real_networks_score_as_recorded(name: str) -> None:
    """Graph and judge give qlib's own predictions within 1e-6, and the graph in any batches."""
    case = load(name)
    model = read_trained_model(case.weights, name, case.context)
    dataset = read_dataset(case.workspace / case.truth["artifacts"] / "dataset")
    processors = row_processors(fitted_processors(dataset.infer_processors), case.truth["model_features"])
    graph = model.graph(processors)
    values, recorded = raw_inputs(case)
    scores = score(graph, values)
    largest = np.abs(recorded).max()
    assert len(scores) == 2369
    assert np.abs(scores - recorded).max() <= 1e-6 * largest
    judge = model.judge(processors)
    assert judge is not None
    assert np.abs(judge.predict(values) - recorded).max() <= 1e-6 * largest
    for size in (1, 2, 7, 64):
        alone = np.concatenate([score(graph, values[start : start + size]) for start in range(0, 3 * size, size)])
        assert np.abs(alone - scores[: 3 * size]).max() <= 1e-6 * largest
    assert not model.batch_dependent
    assert model.step_length == (case.truth["step_len"] or 1)
    assert model.graph(processors) == graph
    _check_form(graph)


def _check_form(graph: bytes) -> None:
    model = onnx.ModelProto.FromString(graph)
    ours = {"IsNaN", "Sub", "Div", "Greater", "Less", "Where", "Cast", "Identity"}
    assert (model.ir_version, {entry.domain: entry.version for entry in model.opset_import}) == (
        10,
        {"": 18, "ai.onnx.ml": 5},
    )
    assert {node.op_type for node in model.graph.node} <= OPERATORS | ours
    assert not model.functions
    assert not model.metadata_props
    assert all(
        not node.doc_string and not node.metadata_props and node.name.startswith(("n", "score"))
        for node in model.graph.node
    )
    assert b"/tmp" not in graph


@needs_fixtures
def test_without_the_flag_nothing_runs_and_the_refusal_explains() -> None:
    """The refusal says what would run, why, where, and how to allow it."""
    case = load(CASES[0])
    with pytest.raises(RefusalError) as caught:
        read_trained_model(case.weights, "params.pkl", replace(case.context, run_model_code=False))
    assert (caught.value.code, caught.value.exit) == ("model.code_not_allowed", 20)
    text = str(caught.value)
    assert all(word in text for word in ("model.BatchNormMLP", "model.py", "--run-model-code", "without network"))


@needs_fixtures
def test_without_its_code_a_network_is_refused() -> None:
    """No model.py, no network."""
    case = load(CASES[0])
    with pytest.raises(RefusalError) as caught:
        read_trained_model(case.weights, "params.pkl", replace(case.context, model_code=None))
    assert caught.value.code == "model.code_missing"


@needs_fixtures
def test_windows_of_another_length_are_refused() -> None:
    """A network built for 20 days does not take the windows of a dataset that makes 60."""
    case = load(CASES[1])
    with pytest.raises(RefusalError) as caught:
        read_trained_model(case.weights, "params.pkl", replace(case.context, step_length=60))
    assert caught.value.code == "model.dataset_mismatch"


def test_a_network_on_windows_without_its_dataset_is_told_so(tmp_path: Path) -> None:
    """Weights and code alone: how windows are made is not known, and no dataset is blamed that is not there."""
    workspace, found = tmp_path / "workspace", next((DATA / "model_plain/workspaces").iterdir())
    workspace.mkdir()
    shutil.copy(next(found.glob("mlruns/*/*/artifacts/params.pkl")), workspace)
    shutil.copy(found / "model.py", workspace)
    (tmp_path / "order.txt").write_text("\n".join(f"F{number}" for number in range(20)) + "\n")
    request = BuildRequest(
        out=tmp_path / "bundle",
        weights="scan",
        workspace_roots=[workspace],
        feature_order=tmp_path / "order.txt",
        run_model_code=True,
    )
    with pytest.raises(RefusalError) as caught:
        build(request)
    assert caught.value.code == "model.no_dataset"


@needs_fixtures
def test_a_python_without_torch_is_named(tmp_path: Path) -> None:
    """The refusal names the extra that is missing."""
    if torch is not None:
        pytest.skip("torch is installed here")
    case = load(CASES[0])
    with pytest.raises(RefusalError) as caught:
        read_trained_model(case.weights, "params.pkl", case.context)
    assert caught.value.code == "model.torch_missing"
    assert "alphaseal-converter[network]" in str(caught.value)


# ---- networks made here, each with one trap


class GeneralPTNN:
    """Pickles under qlib's name."""


GeneralPTNN.__module__ = "qlib.contrib.model.pytorch_general_nn"

Made = tuple[bytes, FamilyContext, Any]
Make = Callable[..., Made]


@pytest.fixture
def make() -> Iterator[Make]:
    """Trains nothing: builds `Net` from code, and pickles it as qlib does."""
    parts = GeneralPTNN.__module__.split(".")
    packages = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    before = {name: sys.modules.get(name) for name in ("model", *packages)}

    def start(
        code: str, change: Callable[[Any], None] = lambda net: None, windows: int | None = None, **attributes: Any
    ) -> Made:
        text = f"import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n{code}\nmodel_cls = Net\n"
        module = types.ModuleType("model")
        exec(text, module.__dict__)
        sys.modules["model"] = module
        sys.modules.update({name: types.ModuleType(name) for name in packages})
        sys.modules[GeneralPTNN.__module__].GeneralPTNN = GeneralPTNN  # type: ignore[attr-defined]
        kwargs = {"num_features": 6} | ({"num_timesteps": windows} if windows else {})
        torch.manual_seed(7)
        network = module.model_cls(**kwargs)
        change(network)
        outer = GeneralPTNN()
        outer.__dict__.update(
            fitted=True, pt_model_uri="model.model_cls", pt_model_kwargs=kwargs, batch_size=50, dnn_model=network
        )
        outer.__dict__.update(attributes)
        dataset = "TSDatasetH" if windows else "DatasetH"
        context = FamilyContext(text, True, dataset_class=dataset, step_length=windows)
        return pickle.dumps(outer), context, network

    yield start
    for name, module in before.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module


def read(made: Made) -> TrainedModel:
    return read_trained_model(made[0], "params.pkl", made[1])


def refused(made: Made) -> RefusalError:
    return refusal(RefusalError, read, made)


def net(forward: str, build: str = "self.line = nn.Linear(num_features, 1)", arguments: str = "num_features") -> str:
    lines = "".join(f"        {line}\n" for line in forward.splitlines())
    built = "".join(f"        {line}\n" for line in build.splitlines())
    return f"class Net(nn.Module):\n    def __init__(self, {arguments}):\n        super().__init__()\n{built}\n    def forward(self, x):\n{lines}"


NORMALISED = (RobustZScoreNorm(tuple("abcdef"), np.zeros(6), np.ones(6)), Fillna(0.0))


def agrees(made: Made, windows: int | None = None) -> TrainedModel:
    """Graph and network have the same scores on rows with missing and infinite values, after the usual processors."""
    model = read(made)
    values = np.random.default_rng(3).standard_normal((130, windows, 6) if windows else (130, 6)) * 3
    values[::5, ..., 2] = np.nan
    values[::7, ..., 3] = np.inf
    processed = np.nan_to_num(np.clip(values, -3, 3), nan=0.0).astype(np.float32)
    with torch.no_grad():
        expected = made[2].eval()(torch.from_numpy(processed)).numpy().ravel()
    rows = values[:, 0] if windows == 1 else values
    assert np.isfinite(expected).all()
    assert np.abs(score(model.graph(NORMALISED), rows) - expected).max() <= 1e-6 * np.abs(expected).max()
    return model


@needs_torch
def test_a_flat_output_counts_as_one_column(make: Make) -> None:
    """Scores of shape (rows,) are taken as qlib's ravel takes them."""
    agrees(make(net("return self.line(x).squeeze(-1)")))


@needs_torch
def test_two_columns_are_refused(make: Make) -> None:
    """No column is chosen in silence."""
    assert (
        refused(make(net("return self.line(x)", "self.line = nn.Linear(num_features, 2)"))).code == "model.multi_output"
    )


@needs_torch
def test_a_tuple_of_outputs_is_refused(make: Make) -> None:
    """One tensor of scores, nothing beside it."""
    assert refused(make(net("return self.line(x), x"))).code == "model.multi_output"


@needs_torch
def test_dropout_that_never_ends_is_refused(make: Make) -> None:
    """F.dropout without its training flag draws at random in production too."""
    assert refused(make(net("return self.line(F.dropout(x, 0.5))"))).code == "model.random"


@needs_torch
def test_dropout_and_batch_norm_are_in_evaluation_mode(make: Make) -> None:
    """A network that was saved in training mode scores with its running statistics."""
    build = "self.body = nn.Sequential(nn.Linear(num_features, 9), nn.BatchNorm1d(9), nn.Dropout(0.5))\nself.line = nn.Linear(9, 1)"

    def train(network: Any) -> None:
        network.train()
        for _ in range(3):
            network(torch.randn(20, 6) * 5 + 1)

    agrees(make(net("return self.line(self.body(x))", build), train))


@needs_torch
@pytest.mark.slow
def test_a_frozen_batch_size_is_refused(make: Make) -> None:
    """qlib's ALSTM fixes the size of the exported batch in both exporters: no graph, and both reasons."""
    build = "self.inner = nn.Linear(num_features, 5)\nself.line = nn.Linear(5 * num_timesteps, 1)"
    forward = "x = x.view(len(x), 4, 6)\nreturn self.line(torch.tanh(self.inner(x)).reshape(len(x), -1))"
    made = make(net(forward, build, "num_features, num_timesteps"), windows=4)
    problem = refused(made)
    assert problem.code == "model.not_exportable"
    assert "TorchScript" in str(problem.found)
    assert "dynamo" in str(problem.found)


@needs_torch
@pytest.mark.slow
def test_a_branch_on_values_is_refused(make: Make) -> None:
    """A branch that tracing would bake in is found by rows of the other side."""
    problem = refused(make(net("if x.sum() > 0:\n    return self.line(x)\nreturn self.line(-x)")))
    assert problem.code == "model.not_exportable"


@needs_torch
def test_a_baked_branch_on_missing_values_is_harmless_behind_a_fill_only(make: Make) -> None:
    """`if isnan` exports without its branch: right where no missing value can come, refused where one can."""
    model = agrees(make(net("if torch.isnan(x).any():\n    x = torch.nan_to_num(x) + 1\nreturn self.line(x)")))
    with pytest.raises(RefusalError) as caught:
        model.graph(())
    assert caught.value.code == "model.missing_values"


@needs_torch
def test_scores_that_depend_on_the_batch_are_declared(make: Make) -> None:
    """A network that subtracts the mean of its batch is marked, and judged as one batch."""
    model = agrees(make(net("return self.line(x - x.mean(dim=0, keepdim=True))")))
    assert model.batch_dependent
    assert model.notes
    judge = model.judge(NORMALISED)
    rows = np.random.default_rng(1).standard_normal((130, 6))
    assert judge is not None
    assert judge.predict(rows) == pytest.approx(score(model.graph(NORMALISED), rows), abs=1e-5)


@needs_torch
def test_a_batch_of_one_without_a_score_is_refused(make: Make) -> None:
    """Dividing by the deviation over the batch gives no number for a single stock."""
    assert refused(make(net("return self.line((x - x.mean(0)) / x.std(0))"))).code == "model.not_finite"


@needs_torch
@pytest.mark.slow
def test_a_transformer_with_its_own_mask(make: Make) -> None:
    """A mask and a position table that are made in the code, and a buffer outside of the state_dict."""
    build = (
        "self.entry = nn.Linear(num_features, 8)\n"
        "layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)\n"
        "self.body = nn.TransformerEncoder(layer, 1)\nself.line = nn.Linear(8, 1)\n"
        "self.register_buffer('place', torch.randn(1, num_timesteps, 8), persistent=False)"
    )
    forward = (
        "mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))\n"
        "return self.line(self.body(self.entry(x) + self.place, mask=mask)[:, -1])"
    )
    agrees(make(net(forward, build, "num_features, num_timesteps"), windows=5), 5)


@needs_torch
def test_the_dynamo_exporter_is_tried_when_the_first_fails(make: Make) -> None:
    """What TorchScript cannot export, the other exporter does, through operators that we know."""
    pytest.importorskip("onnxscript")
    model = agrees(
        make(net("return self.line(torch.special.erfcx(x * 0) * x) + torch.linalg.vecdot(x, x).unsqueeze(-1)"))
    )
    assert model.road == "torch.onnx.export (dynamo)"


@needs_torch
def test_weights_of_another_shape_are_refused(make: Make) -> None:
    """Code that was changed after training is found out by its tensors."""
    weights, context, network = make(net("return self.line(x)", "self.line = nn.Linear(num_features, 1, bias=False)"))
    assert context.model_code is not None
    changed = context.model_code.replace("bias=False", "bias=True")
    assert refused((weights, replace(context, model_code=changed), network)).code == "model.code_mismatch"


@needs_torch
def test_another_layer_of_equal_shape_is_refused(make: Make) -> None:
    """Code that was changed where no tensor shows it is found out by the classes of its layers."""
    weights, context, network = make(
        net("return self.line(self.bend(x))", "self.line = nn.Linear(num_features, 1)\nself.bend = nn.ReLU()")
    )
    assert context.model_code is not None
    problem = refused((weights, replace(context, model_code=context.model_code.replace("nn.ReLU", "nn.Tanh")), network))
    assert problem.code == "model.code_mismatch"
    assert "bend" in problem.message


@needs_torch
def test_attributes_that_training_changed_come_back(make: Make) -> None:
    """Plain attributes have the pickled values, not those of a fresh network."""

    def change(network: Any) -> None:
        network.factor = 3.0

    agrees(
        make(
            net("return self.line(x) * self.factor", "self.line = nn.Linear(num_features, 1)\nself.factor = 1.0"),
            change,
        )
    )


@needs_torch
def test_windows_of_one_day_are_rows(make: Make) -> None:
    """A network of windows of one day takes rows, as the format has it."""
    made = make(net("return self.line(x[:, -1])", arguments="num_features, num_timesteps"), windows=1)
    assert agrees(made, 1).step_length == 1


@needs_torch
def test_hostile_code_gets_nothing(make: Make, tmp_path: Path) -> None:
    """model.py that reads a file of others when it is imported ends there."""
    secret = tmp_path / "key"
    secret.write_text("secret")
    weights, context, network = make(net("return self.line(x)"))
    problem = refused(
        (weights, replace(context, model_code=f"open({str(secret)!r}).read()\n{context.model_code}"), network)
    )
    assert problem.code == "isolation.died"
    assert "FileNotFoundError" in str(problem.found)


@needs_torch
@pytest.mark.attack("networks: forged answers", attempts=5)
def test_forged_answers_are_refused(make: Make) -> None:
    """model.py that writes the answer itself does not get its graph through."""
    weights, context, network = make(net("return self.line(x)"))
    begin = "import os\nimport numpy as np\nfrom alphaseal_converter.isolation.plain_table import Texts, Told, encode_answer\n"
    rows = "none = Texts([], np.full(5, -1, 'i4'))\ndata = encode_answer({'score': np.zeros(5, 'f4'), 'torch': none, 'error': none})"
    for answer in ("data = b'{}'", "data = b''", "data = encode_answer({'score': np.zeros(5, 'f4')})", rows):
        forged = f"{begin}{answer}\nopen('answer.bin', 'wb').write(data)\nos._exit(0)\n"
        assert refused((weights, replace(context, model_code=forged), network)).code == "model.code_answer"
    told = "data = encode_answer(Told('model.ready', 'all is well'))"
    forged = f"{begin}{told}\nopen('answer.bin', 'wb').write(data)\nos._exit(0)\n"
    assert refused((weights, replace(context, model_code=forged), network)).code == "model.code_mismatch"


@needs_torch
@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"fitted": False}, "model.untrained"),
        ({"dnn_model": None}, "model.untrained"),
        ({"pt_model_uri": "qlib.contrib.model.pytorch_gru_ts.GRUModel"}, "model.unsupported"),
        ({"pt_model_uri": "os.system"}, "model.unsupported"),
        ({"pt_model_kwargs": {"d_feat": 6}}, "model.form"),
    ],
)
def test_other_records_are_refused(make: Make, attributes: Mapping[str, Any], code: str) -> None:
    """What is no trained network of model.py is refused before anything runs."""
    assert refused(make(net("return self.line(x)"), **attributes)).code == code


# ---- what may come out of an exporter (no torch needed)


def foreign(*nodes: onnx.NodeProto, opset: int = 18, **parts: Any) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        parts.get("initializer", []),
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], **parts.get("model", {})
    ).SerializeToString()


def outside() -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    return tensor


BRANCH = helper.make_graph(
    [helper.make_node("Identity", ["x"], ["b"])], "b", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)]
)


@pytest.mark.parametrize(
    "content",
    [
        b"no model",
        foreign(helper.make_node("Tanh", ["x"], ["y"]), opset=21),
        foreign(helper.make_node("Tanh", ["x"], ["y"], domain="com.microsoft")),
        foreign(helper.make_node("RandomNormalLike", ["x"], ["y"])),
        foreign(helper.make_node("If", ["x"], ["y"], then_branch=BRANCH, else_branch=BRANCH)),
        foreign(helper.make_node("MatMul", ["x", "w"], ["y"]), initializer=[outside()]),
        foreign(
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            initializer=[helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [1.0, np.nan])],
        ),
        foreign(helper.make_node("MatMul", ["x", "absent"], ["y"])),
    ],
)
def test_foreign_graphs_are_refused(content: bytes) -> None:
    """Other opsets and domains, chance, branches, data outside, missing weights and damaged graphs do not go over."""
    with pytest.raises(RefusalError) as caught:
        embed(GraphBuilder(), content, "features")
    assert caught.value.code == "graph.foreign"


def test_only_what_the_output_needs_goes_over() -> None:
    """Names, texts and unused nodes of the exporter stay behind."""
    nodes = [
        helper.make_node("Tanh", ["x"], ["unused"]),
        helper.make_node("ReduceSum", ["x", "axes"], ["y"], name="secret", doc_string="/tmp/x"),
    ]
    content = foreign(*nodes, initializer=[helper.make_tensor("axes", TensorProto.INT64, [1], [1])])
    builder = GraphBuilder()
    values = builder.cast("features", TensorProto.FLOAT)
    model = builder.model(2, builder.cast(embed(builder, content, values), TensorProto.DOUBLE))
    assert [node.op_type for node in onnx.load_from_string(model).graph.node] == [
        "Cast",
        "ReduceSum",
        "Cast",
        "Identity",
    ]
    assert b"secret" not in model
    assert score(model, np.array([[1.0, 2.0]])).tolist() == [3.0]
