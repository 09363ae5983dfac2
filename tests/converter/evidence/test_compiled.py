"""SOTA factors from code to programs: what is proven is compiled, and whatever the tracer was told is caught by the recorded values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphaseal.format.factors import CompiledFactor, NotCompiledFactor
from alphaseal_converter.emission.tables import SideFile
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.compiled import CompiledPart, prove_factors, trace_factors
from alphaseal_converter.evidence.factor_table import Research
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.factors.process import Runner
from alphaseal_converter.factors.table import column_names
from alphaseal_converter.isolation.sandbox import IsolationLimits
from alphaseal_converter.market.bars import Market
from alphaseal_converter.market.provider import open_provider, read_bars
from bundles import FACTOR_PLAIN
from factor_bars import RESEARCH, needs_tables

pytestmark = pytest.mark.slow
TABLE = FACTOR_PLAIN / "workspaces/46797bef467848ea9d5ef3d9b6c75561/combined_factors_df.parquet"
REVERSAL = """
import pandas as pd

def calculate_REV_3D():
    df = pd.read_hdf("daily_pv.h5", key="data")
    close = df["$close"]
    {body}
    value = 1 - close / close.groupby(level="instrument").shift(days)
    value.to_frame("REV_3D").to_hdf("result.h5", key="data")

if __name__ == "__main__":
    calculate_REV_3D()
"""


def opened(market: Path) -> Market:
    """The simulated market, all of its stocks on all days."""
    provider = open_provider(market)
    return Market(provider, provider.universe("demo62"), (None, None), "demo62")


def part_of(codes: dict[str, str], market: Path | None, table: Path | None = TABLE) -> CompiledPart:
    """What becomes of these factors, proven by the demo's factor table."""
    dtypes = dict(column_names(TABLE))
    features = [OrderedFeature(name=name, origin="sota", dtype=dtypes[name], expression=None) for name in codes]  # type: ignore[arg-type]
    traced = trace_factors(codes, lambda text: None)
    opened_market = None if market is None else opened(market)
    return prove_factors(traced, features, Research(opened_market, "no market data", table), lambda text: None)


def refusal(part: CompiledPart, name: str = "REV_3D") -> NotCompiledFactor:
    found = part.compilations[name]
    assert isinstance(found, NotCompiledFactor)
    return found


def test_a_factor_that_gives_its_column_is_compiled(market: Path) -> None:
    """Every recorded cell is compared; the window is the factor's look-back, and golden bars hold its values."""
    part = part_of({"REV_3D": REVERSAL.format(body="days = 3")}, market)
    found = part.compilations["REV_3D"]
    assert isinstance(found, CompiledFactor)
    assert (found.proof.cells, found.proof.same_bits, found.proof.unknown, found.proof.largest) == (2569, 2569, 0, 0.0)
    assert part.look_backs == {"REV_3D": 4}
    assert part.inputs == {"REV_3D": ["close"]}
    assert part.description is not None
    assert part.golden is not None
    assert [program.window for program in part.description.programs] == [4]
    values = part.golden["factor:REV_3D"].drop_null().to_numpy()
    assert 40 < len(values) <= 64
    assert np.isfinite(values).all()


LIES = {
    "by what the stand-in lacks": "days = 3 if hasattr(pd, 'api') and hasattr(pd.api, 'extensions') else 4",
    "by where a class comes from": "days = 4 if 'alphaseal' in type(df).__module__ else 3",
    "by the modules that are loaded": "import sys\n    days = 3 if 'pandas._libs' in sys.modules else 4",
    "by the environment": "import os\n    days = 3 if os.environ.get('HOME') == '/home/quant' else 4",
}


@pytest.mark.attack("code in a factor")
@pytest.mark.parametrize("body", LIES.values(), ids=LIES.keys())
def test_code_that_behaves_differently_when_it_is_followed_is_caught(body: str, market: Path) -> None:
    """The recorded column is what real pandas gave: the trace says another number of days, and is not believed."""
    found = refusal(part_of({"REV_3D": REVERSAL.format(body=body)}, market))
    assert found.code in {"differs", "unknown_construct", "other_input", "control_flow", "fails"}
    if found.code == "differs":
        assert "of 2569 cells" in found.why


def test_the_lie_goes_through_to_the_proof(market: Path) -> None:
    """At least one lie is followed to its end, so that it is the recorded values that catch it."""
    codes = {refusal(part_of({"REV_3D": REVERSAL.format(body=body)}, market)).code for body in LIES.values()}
    assert "differs" in codes


def test_look_ahead_is_seen_in_the_code(market: Path) -> None:
    """No recorded value is needed: the line that takes later rows is named."""
    found = refusal(part_of({"REV_3D": REVERSAL.format(body="days = -3")}, market))
    assert (found.code, found.line) == ("looks_ahead", 8)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"market": None}, "no market data"),
        ({"table": None}, "no column of the run's factor table"),
    ],
)
def test_what_cannot_be_proven_is_not_compiled(change: dict[str, object], why: str, market: Path) -> None:
    """The factor keeps its code, and the manifest says what was missing."""
    given: dict[str, object] = {"market": market} | change
    found = refusal(part_of({"REV_3D": REVERSAL.format(body="days = 3")}, **given))  # type: ignore[arg-type]
    assert found.code == "not_proven"
    assert why in found.why


def test_a_field_that_the_market_lacks_is_named(market: Path) -> None:
    """A fork's bars have turnovers, which these have not."""
    code = REVERSAL.format(body="days = 3").replace('df["$close"]', 'df["amount"]')
    assert "lack a field that it reads: amount" in refusal(part_of({"REV_3D": code}, market)).why


def test_without_alpha_features_nothing_shows_the_units(market: Path) -> None:
    """Programs go with the golden bars of the alpha graph, or not at all."""
    part = part_of({"REV_3D": REVERSAL.format(body="days = 3")}, market).without_programs("no graph of alpha features")
    assert part.description is None
    assert refusal(part).why == "no graph of alpha features"


def test_factors_of_like_windows_share_a_program(market: Path) -> None:
    """A long window is no burden of the short ones; one that misses its column leaves the others as they are."""
    sources = {
        "REV_3D": REVERSAL.format(body="days = 3"),
        "VOLUME_JUMP_2D": REVERSAL.format(body="days = 2\n    close = df['$volume']")
        .replace(
            '1 - close / close.groupby(level="instrument").shift(days)',
            'close / close.groupby(level="instrument").shift(days) - 1',
        )
        .replace("REV_3D", "VOLUME_JUMP_2D"),
        "GAP_OPEN_1D": REVERSAL.format(body="days = 1").replace("REV_3D", "GAP_OPEN_1D"),
        "TURNOVER_Z_40D": REVERSAL.format(body="days = 0")
        .replace(
            '1 - close / close.groupby(level="instrument").shift(days)',
            "df['$volume'].groupby(level='instrument').transform("
            "lambda v: (v - v.rolling(40, min_periods=15).mean()) / v.rolling(40, min_periods=15).std())",
        )
        .replace("REV_3D", "TURNOVER_Z_40D"),
    }
    part = part_of(sources, market)
    assert refusal(part, "GAP_OPEN_1D").code == "differs"
    assert part.description is not None
    assert [sorted(program.factors) for program in part.description.programs] == [
        ["REV_3D", "VOLUME_JUMP_2D"],
        ["TURNOVER_Z_40D"],
    ]


SECTORS = """
import pandas as pd

def calculate_SPREAD():
    df = pd.read_hdf("daily_pv.h5", key="data")
    side = pd.read_parquet("static_factors.parquet")
    df = df.join(side[["sector", "pe", "shares"]], how="left")
    ratio = df["$close"].astype("float64") * df["shares"] / df["pe"]
    mean = ratio.groupby([df.index.get_level_values("datetime"), df["sector"]]).transform("mean")
    (ratio / mean - 1).to_frame("SPREAD").to_hdf("result.h5", key="data")

calculate_SPREAD()
"""


def side_table(market: Path, out: Path) -> tuple[Path, Path]:
    """(a side table, a factor table of `SECTORS` on it): texts, whole numbers, missing values and missing rows."""
    provider = open_provider(market)
    bars = read_bars(provider, provider.universe("all"), ("close",), slice(0, None), (None, None))
    chance = np.random.default_rng(4)
    stock, day = np.nonzero(bars.present)
    pe, shares = np.exp(chance.normal(3, 0.5, len(day))), chance.integers(1, 50, len(day))
    pe[chance.random(len(day)) < 0.02] = np.nan
    sector = np.array(["bank", "food", "tech"], object)[stock % 3]
    sector[chance.random(len(day)) < 0.01] = None
    there = chance.random(len(day)) > 0.05
    there[stock == 5] = True
    dates, names = bars.dates[day].astype("datetime64[ns]"), np.array(bars.instruments, object)[stock]
    keys = {"datetime": dates, "instrument": names.tolist()}
    columns = {
        "sector": sector.tolist(),
        "pe": pe,
        "shares": shares,
        "flag": shares > 20,
        "odd": shares.astype(np.int32),
    }
    side = pa.table({**columns, **keys}).filter(pa.array(there))
    # As pandas writes a table with this index.
    told = [
        {"name": name, "field_name": name, "pandas_type": "", "numpy_type": "object", "metadata": None} for name in keys
    ]
    metadata = {"index_columns": list(keys), "column_indexes": [], "columns": told, "pandas_version": "2.2.3"}
    pq.write_table(side.replace_schema_metadata({"pandas": json.dumps(metadata)}), out / "static.parquet")
    ratio = np.where(there, bars.values[stock, day, 0].astype(np.float64) * shares / pe, np.nan)
    group = {name: number for number, name in enumerate(("bank", "food", "tech"))}
    key = day * 4 + np.array([group.get(name, 3) for name in sector])
    known = ~np.isnan(ratio)
    sums, counts = (np.bincount(key[known], weights, key.max() + 1) for weights in (ratio[known], None))
    total = sums / np.maximum(counts, 1)
    value = np.where(key % 4 == 3, np.nan, ratio / total[key] - 1)
    pq.write_table(pa.table({"('feature', 'SPREAD')": value, **keys}), out / "table.parquet")
    return out / "static.parquet", out / "table.parquet"


def spread(market: Path, side: Path | None, table: Path, runner: Runner | None = None) -> CompiledPart:
    file = None if side is None else SideFile.of(side)
    features = [OrderedFeature(name="SPREAD", origin="sota", dtype="float64", expression=None)]
    research = Research(opened(market), recorded=table, side=file, runner=runner)
    return prove_factors(
        trace_factors({"SPREAD": SECTORS}, lambda text: None, file), features, research, lambda text: None
    )


@needs_tables
def test_a_side_table_is_read_described_and_proven(market: Path, tmp_path: Path) -> None:
    """Texts as groups, whole numbers, rows that it lacks; pandas itself gives the same on changed bars."""
    side, table = side_table(market, tmp_path)
    assert SideFile.of(side).dtypes == {"sector": "text", "pe": "float64", "shares": "int64", "flag": "bool"}
    part = spread(market, side, table, Runner(Path(RESEARCH), IsolationLimits()))
    found = part.compilations["SPREAD"]
    assert isinstance(found, CompiledFactor), found
    assert (found.proof.cells, found.proof.unknown) == (43841, 0)
    assert (found.proof.changed or 0) > 3000
    assert {(one.table, one.column, one.dtype) for one in found.inputs} == {
        ("bars", "close", "float32"),
        ("static", "pe", "float64"),
        ("static", "sector", "text"),
        ("static", "shares", "int64"),
    }
    assert part.inputs["SPREAD"] == ["close", "static:pe", "static:sector", "static:shares"]
    assert part.invariance["SPREAD"].keys() == {"price"}
    assert part.description is not None
    columns = {one.name: one for one in part.description.static}
    assert {name: one.days for name, one in columns.items()} == {"pe": 1, "sector": 1, "shares": 1}
    assert 0.05 < columns["shares"].missing < columns["pe"].missing < 0.4
    assert part.golden is not None
    assert part.golden.column_names[2:] == [
        "close",
        "static:",
        "static:pe",
        "static:sector",
        "static:shares",
        "factor:SPREAD",
    ]
    assert set(part.golden["static:"].to_pylist()) <= {0.0, 1.0}


def test_without_its_side_table_a_factor_says_how_to_name_it(market: Path, tmp_path: Path) -> None:
    """Not that a file is not found."""
    _, table = side_table(market, tmp_path)
    found = refusal(spread(market, None, table), "SPREAD")
    assert (found.code, found.line) == ("other_input", 6)
    assert found.why == "it reads static_factors.parquet: name the run's own with --static"


def test_another_side_table_is_a_difference(market: Path, tmp_path: Path) -> None:
    """Values of another day prove nothing; two rows of one date and stock are no table."""
    side, table = side_table(market, tmp_path)
    given = pq.read_table(side)
    moved = given.set_column(1, "pe", pa.chunked_array([np.roll(given["pe"].to_numpy(), 1)]))
    pq.write_table(moved, tmp_path / "moved.parquet")
    assert refusal(spread(market, tmp_path / "moved.parquet", table), "SPREAD").code == "differs"
    pq.write_table(pa.concat_tables([given, given.slice(7, 1)]), tmp_path / "twice.parquet")
    with pytest.raises(RefusalError) as caught:
        spread(market, tmp_path / "twice.parquet", table)
    assert (caught.value.code, caught.value.found) == ("factor.static", "1 rows too many")
    pq.write_table(given.drop_columns(["instrument"]), tmp_path / "keys.parquet")
    with pytest.raises(RefusalError, match="lacks key columns"):
        SideFile.of(tmp_path / "keys.parquet")
