"""A valid manifest to start from: a LightGBM model of three features, with two SOTA factors of which one is inside."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from alphaseal.format import factors as f
from alphaseal.format import manifest as m
from alphaseal.format.notations import INSTRUMENT_PATTERNS

FACTOR_CODE = '''import pandas as pd


def calculate_REV_3D() -> None:
    """Three-day reversal & its sign: "a < b" is text."""
    daily = pd.read_hdf("daily_pv.h5", key="data")
    close = daily["$close"].unstack("instrument")
    factor = -(close / close.shift(3) - 1.0)
    result = factor.stack(dropna=False).to_frame("REV_3D")
    result.to_hdf("result.h5", key="data")
'''
REJECTED_CODE = "raise RuntimeError('limit prices are not in daily_pv.h5')\n"
CONFIGURATION = "task:\n  model:\n    class: LGBModel\n"


def sha256(text: str) -> str:
    """Digest of a text, for entries of files that do not exist."""
    return hashlib.sha256(text.encode()).hexdigest()


def recorded_universe(
    kind: m.UniverseKind, members: list[str], first: str, last: str, *, carried: bool = True
) -> m.RecordedUniverse:
    """A universe whose `members` are lines `CODE FIRST LAST` in order; not `carried`: the manifest has their digest alone."""
    return m.RecordedUniverse(
        kind=kind,
        text="the market",
        first=first,
        last=last,
        count=len({line.split()[0] for line in members}),
        sha256=m.universe_digest(members),
        members=members if carried else None,
    )


def example_sources() -> dict[str, str]:
    """Texts of the sources that `example_manifest` lists, by bundle path."""
    return {
        "sources/conf.yaml": CONFIGURATION,
        "sources/factors/000.py": FACTOR_CODE,
        "sources/factors/001.py": REJECTED_CODE,
    }


ROLES: dict[str, str] = {
    "alphas.onnx": "alphas",
    "card.html": "card",
    "factors.parquet": "factors",
    "golden.parquet": "golden",
    "golden_bars.parquet": "golden_bars",
}
"""Files of one role; other graphs are parts of the model, and the rest are sources."""


def file_entries(files: Mapping[str, bytes]) -> list[m.File]:
    """What a manifest says of files, by bundle path."""
    return [
        m.File(
            path=path,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            media_type="application/octet-stream",
            role=ROLES.get(path, "model" if path.endswith(".onnx") else "source"),  # type: ignore[arg-type]
            title=None,
        )
        for path, data in sorted(files.items())
    ]


def manifest_of(files: Mapping[str, bytes], features: list[m.Feature], *, steps: int = 1, **parts: Any) -> m.Manifest:
    """The example with these files and a graph of windows of `steps` days of these features; `parts` are other parts of it.

    It has neither factors nor alphas unless they are among the parts.
    """
    base = example_manifest()
    shape = [None, len(features)] if steps == 1 else [None, steps, len(features)]
    inputs = [m.Tensor(name="features", dtype="float64", shape=shape)]
    usual = {
        "features": features,
        "files": file_entries(files),
        "model": msgspec.structs.replace(base.model, step_length=steps, inputs=inputs),
        "stages": [m.GraphStage(file="model.onnx", processors=[])],
        "alphas": None,
        "factors": None,
    }
    return msgspec.structs.replace(base, **(usual | parts))


def example_manifest() -> m.Manifest:
    """A manifest that `manifest.parse(manifest.encode(...))` accepts; it is ready, and has no entry for a card."""
    factors = _sota_factors()
    return m.Manifest(
        format=m.FORMAT,
        name="reversal-demo",
        sequence=3,
        created="2022-03-09T20:55:01Z",
        expires=None,
        producer=m.Producer(converter="0.1.0", packages={"lightgbm": "4.7.0", "onnx": "1.19.1", "numpy": "2.4.6"}),
        source=_source(),
        model=_model(),
        features=_features(factors[0]),
        order=_order(),
        stages=[
            m.GraphStage(
                file="model.onnx", processors=[_normalisation(), {"class": "Fillna", "columns": None, "value": 0.0}]
            )
        ],
        missing=m.Missing(
            missing="filled",
            infinite="clipped",
            text="Missing values become 0 after scaling; infinite ones are limited to -3..3.",
        ),
        label=m.Label(
            name="LABEL0",
            expression="Ref($close, -2)/Ref($close, -1) - 1",
            processors=[{"class": "DropnaLabel"}, {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}}],
        ),
        data=_data(),
        sota_factors=factors,
        metrics=_metrics(),
        strategy=m.Strategy(
            class_name="TopkDropoutStrategy",
            module="qlib.contrib.strategy",
            arguments={"signal": "<PRED>", "topk": 50, "n_drop": 5},
        ),
        selection=m.Selection(top_k=50, n_drop=5, tie_break="score_descending_instrument_ascending"),
        parity=_parity(),
        golden=m.GoldenTable(
            file="golden.parquet", rows=118, judge="lightgbm 4.7.0", days=["2021-12-23", "2021-12-24"]
        ),
        alphas=m.AlphaGraph(
            file="alphas.onnx",
            window=5,
            fields=["close", "volume"],
            features=["CORR5", "STD5"],
            tolerances=[1e-5, 3e-7],
            truncated={},
            golden="golden_bars.parquet",
            golden_rows=295,
            date="2021-12-24",
        ),
        drift=m.DriftLimits(null_ratio=0.2, outside=0.1),
        factors=m.FactorTable(
            file="factors.parquet",
            columns=["REV_3D"],
            rows=2852,
            dates=46,
            instruments=62,
            first="2021-10-21",
            last="2021-12-24",
        ),
        files=_files(),
        eligibility=m.Eligibility(ready=True, reasons=[]),
    )


def compiled_manifest() -> m.Manifest:
    """The example with its factor compiled: a graph, a mean by sector and a rank of the day, and a graph behind them."""
    example = example_manifest()
    features = [
        msgspec.structs.replace(feature, compilation=_compilation()) if feature.name == "REV_3D" else feature
        for feature in example.features
    ]
    more = [
        ("compiled/0/graph_0.onnx", "alphas"),
        ("compiled/0/graph_1.onnx", "alphas"),
        ("golden_factors.parquet", "golden_bars"),
    ]
    files = [
        m.File(path=path, size=900, sha256=sha256(path), media_type="application/octet-stream", role=role, title=None)  # type: ignore[arg-type]
        for path, role in more
    ]
    compiled = f.CompiledFactors(
        programs=[_program()],
        static=[f.SideColumn(days=1, name="sector", dtype="text", missing=0.02)],
        fields=["close"],
        complete_rows=False,
        golden="golden_factors.parquet",
        golden_rows=120,
        date="2021-12-24",
        tolerances={"REV_3D": 1e-9},
    )
    return msgspec.structs.replace(
        example,
        features=features,
        compiled=compiled,
        files=sorted([*example.files, *files], key=lambda entry: entry.path),
    )


def _compilation() -> f.CompiledFactor:
    return f.CompiledFactor(
        source_sha256=sha256(FACTOR_CODE),
        pandas=2,
        expression="rank by day of -(close / close 3 rows before - 1) less its mean by day and sector",
        across=True,
        inputs=[
            f.FactorInput(table="bars", column="close", dtype="float32"),
            f.FactorInput(table="static", column="sector", dtype="text"),
        ],
        proof=f.FactorProof(
            judge="combined_factors_df.parquet",
            cells=2852,
            dates=46,
            instruments=62,
            same_bits=2790,
            noise=2,
            unknown=1,
            largest=3e-11,
            bound=1e-9,
            changed=420,
        ),
    )


def _program() -> f.FactorProgram:
    def series(first: int, days: int, dtype: str = "float64", since: int | None = None) -> f.FactorSeries:
        return f.FactorSeries(first=first, days=days, dtype=dtype, since=since)  # type: ignore[arg-type]

    nothing: dict[str, Any] = dict.fromkeys(("function", "ddof", "q", "method", "ascending", "percent"))
    mean = nothing | {"operator": "day", "function": "mean"}
    rank = nothing | {"operator": "day_rank", "method": "average", "ascending": True, "percent": True}
    value, mask, sector = series(0, 2, since=2), series(3, 2, "bool"), series(5, 2, "text")
    return f.FactorProgram(
        window=4,
        whole=False,
        fields=["close"],
        columns=[
            f.FactorColumn(table="bars", column=None, dtype="bool"),
            f.FactorColumn(table="day", column="weekday", dtype="int64"),
            f.FactorColumn(table="static", column="sector", dtype="text"),
        ],
        graphs=[
            f.FactorGraph(file="compiled/0/graph_0.onnx", taken=0, given=7),
            f.FactorGraph(file="compiled/0/graph_1.onnx", taken=4, given=2),
        ],
        stages=[
            [
                f.FactorStage(**mean, inputs=[value, mask, sector], gives=series(0, 2)),
                f.FactorStage(**rank, inputs=[value, True], gives=series(2, 2)),
            ]
        ],
        factors={"REV_3D": series(0, 1, since=1)},
    )


def _source() -> m.Source:
    return m.Source(
        task_id="2022-03-09_20-41-03-664071",
        snapshot=m.Snapshot(
            path="__session__/2/3_feedback",
            sha256=sha256("snapshot"),
            signed=False,
            authenticated=False,
            history_length=3,
        ),
        anchor=m.Anchor(
            rule="auto",
            why="newest accepted experiment of the history",
            history_index=2,
            loop=2,
            kind="factor",
            experiment="QlibFactorExperiment",
            hypothesis="Short-term losers recover within a few days, more so when turnover is unusually high.",
            reason="IC rose from 0.041 to 0.058 and the drawdown became smaller.\nKeep the reversal factor.",
        ),
        run=m.Run(
            experiment_id="146211",
            run_id="9d1f0c62aa574bb8a1a6bd0a04e8c0f1",
            end_time="2022-03-09T20:55:01Z",
            metrics_match=True,
        ),
        weights=m.Weights(
            origin="workspace",
            path="mlruns/146211/9d1f0c62aa574bb8a1a6bd0a04e8c0f1/artifacts/params.pkl",
            sha256=sha256("weights"),
            size=184_220,
            why="the run whose metrics are the experiment's",
        ),
        workspace="46797bef467848ea9d5ef3d9b6c75561",
    )


def _model() -> m.Model:
    return m.Model(
        family="lightgbm",
        class_name="qlib.contrib.model.gbdt.LGBModel",
        framework="lightgbm",
        framework_version="4.7.0",
        road="own builder",
        ir_version=10,
        opsets={"ai.onnx": 18, "ai.onnx.ml": 5},
        inputs=[m.Tensor(name="features", dtype="float64", shape=[None, 3])],
        outputs=[m.Tensor(name="score", dtype="float64", shape=[None, 1])],
        step_length=1,
        batch_dependent=False,
        facts={"trees": 57, "leaves": 11_970, "objective": "regression"},
    )


def _features(reversal: m.SotaFactor) -> list[m.Feature]:
    statistics = m.Statistics(
        first="2019-01-02",
        last="2020-12-31",
        source="the run's own training values",
        rows=28_964,
        null_ratio=0.0312,
        infinite_ratio=0.0004,
        quantiles={"0.01": -0.101, "0.5": 0.00042, "0.99": 0.0987},
        zero_ratio=0.0021,
        common_ratio=0.0167,
    )
    nothing = {"source": None, "description": None, "formulation": None, "variables": None}
    return [
        m.Feature(
            name="CORR5",
            origin="alpha",
            dtype="float32",
            look_back=5,
            look_back_from="expression",
            look_ahead=None,
            inputs=["close", "volume"],
            not_compiled=None,
            expression="Corr($close, Log($volume+1), 5)",
            used=True,
            statistics=statistics,
            statistics_missing=None,
            **nothing,
        ),
        m.Feature(
            name="REV_3D",
            origin="sota",
            dtype="float64",
            look_back=4,
            look_back_from="trial",
            look_ahead=False,
            inputs=["$close"],
            not_compiled=None,
            expression=None,
            source=reversal.source,
            description=reversal.description,
            formulation=reversal.formulation,
            variables=reversal.variables,
            used=True,
            statistics=statistics,
            statistics_missing=None,
        ),
        m.Feature(
            name="STD5",
            origin="alpha",
            dtype="float32",
            look_back=5,
            look_back_from="expression",
            look_ahead=None,
            inputs=["close"],
            not_compiled=None,
            expression="Std($close, 5)/$close",
            used=False,
            statistics=None,
            statistics_missing="the training values of this column are not at hand",
            **nothing,
        ),
    ]


def _order() -> m.Order:
    return m.Order(
        proof="replayed",
        evidence=[m.Evidence(code="loader.nested", text="NestedDataLoader sorts all columns by name")],
        replay=m.Replay(
            values="qlib",
            values_sha256=sha256("values"),
            rows=2369,
            recorded=2369,
            first="2021-11-01",
            last="2021-12-24",
            largest_difference=0.0,
            largest_ulp=0,
        ),
    )


def _normalisation() -> dict[str, object]:
    return {
        "class": "RobustZScoreNorm",
        "columns": ["CORR5", "REV_3D", "STD5"],
        "dtype": "float64",
        "mean": [-0.0871, 0.0003, 0.0182],
        "scale": [0.4412, 0.0391, 0.0107],
        "clip": True,
    }


def _data() -> m.Data:
    return m.Data(
        frequency="day",
        instrument_format=m.InstrumentFormat(kind="qlib", pattern=INSTRUMENT_PATTERNS["qlib"], example="SH600000"),
        universe="csi300",
        benchmark="SH000300",
        price_adjustment=None,
        segments={
            "train": m.Segment(first="2019-01-02", last="2020-12-31"),
            "valid": m.Segment(first="2021-01-04", last="2021-10-15"),
            "test": m.Segment(first="2021-11-01", last=None),
        },
        dataset_class="DatasetH",
        handler_class="DataHandlerLP",
        loader_classes=["NestedDataLoader", "Alpha158DL", "StaticDataLoader"],
    )


def _sota_factors() -> list[m.SotaFactor]:
    metrics = {"IC": 0.0582, "1day.excess_return_with_cost.annualized_return": -0.1155, "l2.valid": None}
    return [
        m.SotaFactor(
            name="REV_3D",
            status="in_model",
            reason="column of the run's factor table",
            history_index=2,
            loop=2,
            position=1,
            source="sources/factors/000.py",
            description="Negative return of the last three days; losers score high.",
            formulation=r"REV\_3D_{i,t} = -\left(\frac{close_{i,t}}{close_{i,t-3}} - 1\right)",
            variables={"close_{i,t}": "adjusted close of stock i on day t"},
            hypothesis="Short-term losers recover within a few days.",
            accepted_because="IC rose and the drawdown became smaller.",
            metrics=metrics,
        ),
        m.SotaFactor(
            name="UPLIMIT_TOUCH",
            status="no_column",
            reason="its code gave no values, so the run has no such column",
            history_index=2,
            loop=2,
            position=None,
            source="sources/factors/001.py",
            description="1 where the day's high touched the upper price limit.",
            formulation=None,
            variables=None,
            hypothesis=None,
            accepted_because=None,
            metrics=metrics,
        ),
    ]


def _metrics() -> m.Metrics:
    return m.Metrics(
        segment=m.Segment(first="2021-11-01", last="2021-12-24"),
        costs={
            "limit_threshold": 0.095,
            "deal_price": "close",
            "open_cost": 0.0005,
            "close_cost": 0.0015,
            "min_cost": 5,
        },
        values={
            "1day.excess_return_with_cost.annualized_return": -0.11546906776026633,
            "1day.excess_return_with_cost.information_ratio": -2.103730817620698,
            "1day.excess_return_with_cost.max_drawdown": -0.03557089815457553,
            "1day.excess_return_without_cost.annualized_return": -0.07396754695347697,
            "1day.ffr": 1.0,
            "1day.pos": None,
            "IC": 0.058243554770299945,
            "ICIR": 0.3991160943596376,
            "Rank IC": 0.05606033823329511,
            "Rank ICIR": 0.390283907151294,
            "l2.train": 0.9701891688624392,
            "l2.valid": 0.9744064225636052,
        },
    )


def _parity() -> m.Parity:
    def case(name: str, judge: str, rows: int) -> m.ParityCase:
        return m.ParityCase(
            case=name, judge=judge, rows=rows, largest_difference=0.0, largest_ulp=0, bit_identical=rows, outside=0
        )

    return m.Parity(
        bound=m.Bound(ulp=0, relative=None, absolute=None, text="sums in tree order, in double"),
        within_bound=True,
        judges=["lightgbm 4.7.0", "recorded predictions"],
        cases=[
            case("real rows", "lightgbm 4.7.0", 2369),
            case("around thresholds", "lightgbm 4.7.0", 20_000),
            case("all missing", "lightgbm 4.7.0", 8),
            case("test segment", "recorded predictions", 2369),
        ],
        days=m.DayOrder(days=40, same_order=40, same_top={"5": 40, "10": 40, "50": 40}, swaps=0, largest_gap=0.0),
        note=None,
    )


def _files() -> list[m.File]:
    def file(path: str, size: int, media_type: str, role: str) -> m.File:
        return m.File(path=path, size=size, sha256=sha256(path), media_type=media_type, role=role, title=None)  # type: ignore[arg-type]

    texts = [
        m.File(
            path=path,
            size=len(text.encode()),
            sha256=sha256(text),
            media_type="text/plain; charset=utf-8",
            role="source",
            title=None,
        )
        for path, text in example_sources().items()
    ]
    return sorted(
        [
            file("alphas.onnx", 9_402, "application/vnd.onnx", "alphas"),
            file("golden_bars.parquet", 5_120, "application/vnd.apache.parquet", "golden_bars"),
            file("factors.parquet", 48_120, "application/vnd.apache.parquet", "factors"),
            file("golden.parquet", 9_812, "application/vnd.apache.parquet", "golden"),
            file("model.onnx", 912_334, "application/onnx", "model"),
            *texts,
        ],
        key=lambda entry: entry.path,
    )
