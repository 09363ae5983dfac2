"""A network over a whole market: does an honest one pass the proof, and is one with two features swapped refused?

    python tools/network_market.py [--stocks 5000] [--days 250] [--networks 12] [--json]

A market is simulated, its bars go through the product's own alpha graph, an MLP is trained on them by torch and recorded
as qlib's GeneralPTNN records it: float32 predictions in batches, in pred.pkl.  Then ``alphaseal-convert build`` proves it
(`--run-model-code`), and once more with two features of the run's loader in each other's place.  The scores of more
networks are compared the way it was done before near ties had a rule: on how many days another top 5, 10 or 50.  Ends with
1 where the honest network is refused, or the other is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("tests", "converter/src", "runtime/src", "tools/research")]

from simulate_market import simulate, trading_days

from alphaseal.bars.calendar import AlphaColumns, Bars
from alphaseal.scoring.near_ties import OrderComparison, compare_order
from alphaseal.scoring.numeric import allowed
from alphaseal.scoring.session import Graph
from alphaseal_converter.alphas import compile_alphas
from alphaseal_converter.build import build
from alphaseal_converter.comparison.parity import TOP_COUNTS
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import describe_graph
from alphaseal_converter.families import FamilyContext, read_trained_model
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.normalisation import RobustZScoreNorm
from alphaseal_converter.proof.request import BuildRequest
from stand_ins import StandIn, pickled, stand_in

EXPRESSIONS = {
    "ROC5": "Ref($close,5)/$close",
    "ROC20": "Ref($close,20)/$close",
    "ROC60": "Ref($close,60)/$close",
    "MA5": "Mean($close,5)/$close",
    "MA20": "Mean($close,20)/$close",
    "STD5": "Std($close,5)/$close",
    "STD20": "Std($close,20)/$close",
    "BETA10": "Slope($close,10)/$close",
    "RSQR20": "Rsquare($close,20)",
    "RESI10": "Resi($close,10)/$close",
    "MAX20": "Max($high,20)/$close",
    "MIN20": "Min($low,20)/$close",
    "RANK10": "Rank($close,10)",
    "KLEN": "($high-$low)/$open",
    "KMID": "($close-$open)/$open",
    "CORR10": "Corr($close,Log($volume+1),10)",
    "CORD5": "Corr($close/Ref($close,1),Log($volume/Ref($volume,1)+1),5)",
    "VMA5": "Mean($volume,5)/($volume+1e-12)",
    "VSTD20": "Std($volume,20)/($volume+1e-12)",
    "VSUMP10": "Sum(Greater($volume-Ref($volume,1),0),10)/(Sum(Abs($volume-Ref($volume,1)),10)+1e-12)",
}
SWAPPED = ("STD5", "RSQR20")
PROCESSORS = "qlib.data.dataset.processor"
BATCH = 2000
"""Of qlib's GeneralPTNN, where nothing else is said."""
CODE = '''"""The network as a language model would write it."""

import torch.nn as nn


class Net(nn.Module):
    def __init__(self, num_features, num_timesteps=None):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(num_features),
            nn.Linear(num_features, 64), nn.ReLU(),
            nn.Linear(64, 32), nn.ReLU(),
            nn.Linear(32, 1),
        )

    def forward(self, x):
        return self.layers(x)


model_cls = Net
'''


@dataclass(frozen=True)
class Panel:
    """`values` float32 [rows, features] by date, then instrument, `label` float32 [rows]; keys of each row.

    `center` and `scale` float32 [features] are what RobustZScoreNorm fits.
    """

    dates: NDArray[np.datetime64]
    instruments: list[str]
    values: NDArray[np.float32]
    label: NDArray[np.float32]
    center: NDArray[np.float32]
    scale: NDArray[np.float32]

    def inputs(self) -> NDArray[np.float32]:
        """What the network sees: RobustZScoreNorm and Fillna, as qlib computes them in a frame of float32."""
        found: NDArray[np.float32] = np.clip((self.values - self.center) / self.scale, -3, 3)
        return np.nan_to_num(found, nan=0.0)


def simulated(stocks: int, days: int) -> Panel:
    """The alpha values of a simulated market on its last days, by the product's own graph."""
    compiled = compile_alphas(EXPRESSIONS)
    assert compiled.graph is not None
    columns = AlphaColumns(compiled.graph, describe_graph(compiled))
    calendar = trading_days("2019-01-02", "2022-12-30")[: days + compiled.window]
    names = [f"SH{600000 + number}" if number < 4000 else f"SZ{number - 4000:06d}" for number in range(stocks)]
    frames = simulate(calendar, names, np.random.default_rng(20260122))
    values = np.stack([frames[field].to_numpy(np.float32).T for field in columns.fields], axis=2)
    order = np.argsort(names)
    bars = Bars(
        dates=calendar.to_numpy().astype("datetime64[D]"),
        instruments=tuple(names[place] for place in order),
        values=values[order],
        first=np.zeros(stocks, np.int64),
        present=np.ones(values.shape[:2], np.bool_),
    )
    close = bars.values[:, :, columns.fields.index("close")]
    chosen = range(compiled.window, len(calendar))
    parts, labels = [], []
    for day in chosen:
        parts.append(columns.compute(bars, day, np.arange(stocks)))
        later = min(day + 1, len(calendar) - 1)
        labels.append(close[:, later] / close[:, day] - 1)
    table = np.concatenate(parts)
    center = np.nanmedian(table, axis=0)
    return Panel(
        np.repeat(bars.dates[list(chosen)], stocks),
        list(bars.instruments) * len(chosen),
        table,
        np.concatenate(labels).astype(np.float32),
        center,
        ((np.nanmedian(np.abs(table - center), axis=0) + 1e-12) * 1.4826).astype(np.float32),
    )


def trained(panel: Panel, seed: int) -> Any:
    """A network of CODE, trained by torch for a few hundred steps."""
    module = types.ModuleType("model")
    exec(CODE, module.__dict__)
    torch.manual_seed(seed)
    network = module.__dict__["model_cls"](panel.values.shape[1])
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    inputs, target = torch.from_numpy(panel.inputs()), torch.from_numpy(panel.label * 50)
    chosen = torch.randint(0, len(inputs), (300, BATCH), generator=torch.Generator().manual_seed(seed))
    network.train()
    for rows in chosen:
        optimiser.zero_grad()
        loss = ((network(inputs[rows])[:, 0] - target[rows]) ** 2).mean()
        loss.backward()
        optimiser.step()
    network.eval()
    return network


def predicted(network: Any, panel: Panel) -> NDArray[np.float32]:
    """As ``GeneralPTNN.predict``: one batch after the other, in float32."""
    values = panel.inputs()
    with torch.no_grad():
        parts = [network(torch.from_numpy(values[at : at + BATCH])).numpy() for at in range(0, len(values), BATCH)]
    return np.concatenate(parts)[:, 0]


def weights_of(network: Any, count: int) -> bytes:
    """params.pkl: the object that qlib pickles, its class made up where qlib is not installed."""
    module = types.ModuleType("model")
    module.__dict__["Net"] = type(network)
    state = {
        "fitted": True,
        "pt_model_uri": "model.model_cls",
        "pt_model_kwargs": {"num_features": count},
        "batch_size": BATCH,
        "dnn_model": network,
    }
    with mock.patch.dict(sys.modules, {"model": module}):
        return stand_in("qlib.contrib.model.pytorch_general_nn", "GeneralPTNN", state)


def dataset_of(panel: Panel, names: list[str]) -> bytes:
    """The run's dataset: its handler's fitted processors, with these names for the columns as they stand."""
    columns = pd.MultiIndex.from_product([["feature"], names])
    places = [list(EXPRESSIONS).index(name) for name in names]
    fitted = {"cols": columns, "mean_train": panel.center[places], "std_train": panel.scale[places]}
    processors = [
        StandIn(PROCESSORS, "RobustZScoreNorm", {"fields_group": "feature", "clip_outlier": True, **fitted}),
        StandIn(PROCESSORS, "Fillna", {"fields_group": "feature", "fill_value": 0}),
    ]
    state = {"infer_processors": processors, "learn_processors": [], "shared_processors": [], "instruments": "all"}
    handler = StandIn("qlib.data.dataset.handler", "DataHandlerLP", state)
    return pickled(StandIn("qlib.data.dataset", "DatasetH", {"handler": handler, "segments": {}}))


def write_run(workspace: Path, panel: Panel, network: Any, scores: NDArray[np.float32], names: list[str]) -> None:
    """A workspace as qlib leaves it: weights, predictions and the task, whose loader has the features in this order."""
    artifacts = workspace / "mlruns/1/0123456789abcdef0123456789abcdef/artifacts"
    artifacts.mkdir(parents=True)
    (workspace / "model.py").write_text(CODE, encoding="utf-8")
    meta = "artifact_uri: file:///data/run\nend_time: 1796000000000\nrun_id: 0123456789abcdef0123456789abcdef\n"
    (artifacts.parent / "meta.yaml").write_text(meta, encoding="utf-8")
    (artifacts / "params.pkl").write_bytes(weights_of(network, len(names)))
    (artifacts / "dataset").write_bytes(dataset_of(panel, names))
    days = (str(panel.dates[0]), str(panel.dates[-1]))
    loader = {
        "class": "QlibDataLoader",
        "kwargs": {"config": {"feature": [[EXPRESSIONS[name] for name in names], names], "label": [["0"], ["LABEL0"]]}},
    }
    handler = {
        "class": "DataHandlerLP",
        "module_path": "qlib.contrib.data.handler",
        "kwargs": {"start_time": days[0], "end_time": days[1], "instruments": "all", "data_loader": loader},
    }
    dataset = {"class": "DatasetH", "kwargs": {"handler": handler, "segments": {"test": list(days)}}}
    task = {"model": {"class": "GeneralPTNN", "kwargs": {}}, "dataset": dataset, "record": []}
    (artifacts / "task").write_bytes(pickled(task))
    index = pd.MultiIndex.from_arrays(
        [pd.to_datetime(panel.dates), panel.instruments], names=["datetime", "instrument"]
    )
    pd.DataFrame({"score": scores}, index=index).to_pickle(artifacts / "pred.pkl")


def write_features(path: Path, panel: Panel) -> None:
    """Raw values, as `--features` takes them."""
    columns = {name: pa.array(panel.values[:, place]) for place, name in enumerate(EXPRESSIONS)}
    keys = {"datetime": pa.array(panel.dates), "instrument": pa.array(panel.instruments)}
    pq.write_table(pa.table(keys | columns), path)


def compared(panel: Panel, network: Any, scores: NDArray[np.float32]) -> OrderComparison:
    """The graph's order of every day beside torch's, with the bound of the family."""
    context = FamilyContext(model_code=CODE, run_model_code=True, dataset_class="DatasetH")
    model = read_trained_model(weights_of(network, panel.values.shape[1]), "params.pkl", context)
    processors = (
        RobustZScoreNorm(tuple(EXPRESSIONS), panel.center, panel.scale),
        Fillna(0.0),
    )
    graph = Graph(model.graph(processors), model.feature_count, "model.onnx")
    expected = scores.astype(np.float64)
    found = graph.run(panel.values.astype(np.float64))
    return compare_order(panel.dates, panel.instruments, found, expected, allowed(model.bound, expected), TOP_COUNTS)


def _progress(kind: str, text: str) -> None:
    print(f"{kind}: {text} …", file=sys.stderr)


def proof(panel: Panel, folder: Path) -> dict[str, Any]:
    """What build says of the honest run, and of the one with two features swapped."""
    network = trained(panel, 1)
    scores = predicted(network, panel)
    write_features(folder / "raw.parquet", panel)
    found: dict[str, Any] = {"rows": len(scores)}
    names = list(EXPRESSIONS)
    swapped = [dict(zip(SWAPPED, SWAPPED[::-1], strict=True)).get(name, name) for name in names]
    for kind, order in (("honest", names), ("swapped", swapped)):
        workspace = folder / kind
        write_run(workspace, panel, network, scores, order)
        start = time.perf_counter()
        request = BuildRequest(
            out=folder / f"{kind}-bundle",
            weights="scan",
            workspace_roots=[workspace],
            features=folder / "raw.parquet",
            run_model_code=True,
            with_factors=False,
        )
        try:
            manifest = build(request, partial(_progress, kind)).manifest
            days, replay = manifest.parity.days, manifest.order.replay
            assert days is not None
            assert replay is not None
            found[kind] = {
                "built": True,
                "largest_difference": replay.largest_difference,
                "days": days.days,
                "same_order": days.same_order,
                "same_top": days.same_top,
                "swaps": days.swaps,
                "largest_gap": days.largest_gap,
            }
        except RefusalError as refusal:
            found[kind] = {"built": False, "code": refusal.code, "message": refusal.message}
        found[kind]["seconds"] = round(time.perf_counter() - start, 1)
    return found


def before(panel: Panel, networks: int) -> Iterator[dict[str, Any]]:
    """Of some honest networks: days on which the best 5, 10 or 50 were others, which was a refusal on a single one."""
    for seed in range(2, networks + 2):
        network = trained(panel, seed)
        order = compared(panel, network, predicted(network, panel))
        yield {
            "days": order.days,
            "same_order": order.same,
            "same_top": {str(top): days for top, days in order.same_top.items()},
            "swaps": order.swaps,
            "largest_gap": order.largest_gap,
            "other_order_now": order.others,
            "refused_before": min(order.same_top.values()) < order.days,
        }
        print(f"network {seed}: {order}", file=sys.stderr)


def in_words(found: dict[str, Any]) -> str:
    honest, swapped, others = found["honest"], found["swapped"], found["before"]
    lines = [f"{found['stocks']} stocks, {found['days']} days, {found['rows']} recorded predictions of an MLP"]
    if honest["built"]:
        lines.append(
            f"honest   built in {honest['seconds']} s: {honest['same_order']} of {honest['days']} days in the same order, "
            f"{honest['swaps']} pairs changed places within near ties, at most {honest['largest_gap']:.3g} apart; largest "
            f"difference of a score {honest['largest_difference']:.3g}; same top 5/10/50 on "
            + "/".join(str(days) for days in honest["same_top"].values())
        )
    else:
        lines.append(f"honest   REFUSED: {honest['code']}: {honest['message']}")
    lines.append(
        f"swapped  {'BUILT' if swapped['built'] else 'refused: ' + swapped['code'] + ': ' + swapped['message']}"
    )
    if others:
        refused = sum(one["refused_before"] for one in others)
        pairs = sum(one["swaps"] for one in others)
        lines.append(
            f"before   {refused} of {len(others)} honest networks would have been refused for another top 5, 10 or 50; "
            f"now {sum(one['other_order_now'] > 0 for one in others)}; {pairs} pairs within near ties in all"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stocks", type=int, default=5000)
    parser.add_argument("--days", type=int, default=250)
    parser.add_argument(
        "--networks", type=int, default=12, help="more networks for the comparison with the rule before"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    panel = simulated(options.stocks, options.days)
    with tempfile.TemporaryDirectory() as folder:
        found = {"stocks": options.stocks, "days": options.days, **proof(panel, Path(folder))}
    found["before"] = list(before(panel, options.networks))
    print(json.dumps(found) if options.json else in_words(found))
    return 0 if found["honest"]["built"] and found["swapped"].get("code") == "order.replay_differs" else 1


if __name__ == "__main__":
    sys.exit(main())
