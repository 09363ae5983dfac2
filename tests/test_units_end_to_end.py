"""Units of bars with real bundles: other bases of adjustment for ratios, lots and yuan refused, anchors for the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal.cli import main as alphaseal_command
from alphaseal.errors import InputError
from test_bars_end_to_end import SOTA, UNSIGNED, bars_file, built_from_bars

DATE = "2021-12-24"
PRICES = ("open", "high", "low", "close", "vwap")


def scaled(table: pa.Table, columns: tuple[str, ...], factor: Any) -> pa.Table:
    """Columns times a number, or times one for each row."""
    for name in columns:
        values = (table[name].to_numpy().astype(np.float64) * factor).astype(np.float32)
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return table


@pytest.fixture(scope="module")
def bars() -> pa.Table:
    return pq.read_table(bars_file())


def scores_of(bundle: alphaseal.Bundle, table: pa.Table, **choices: Any) -> dict[str, float]:
    found = bundle.score(SOTA, bars=table, date=DATE, **choices).table
    return dict(zip(found["instrument"].to_pylist(), found["score"].to_pylist(), strict=True))


def constants(table: pa.Table) -> np.ndarray:
    """One for each stock, from a third to 24, by row."""
    names = sorted(set(table["instrument"].to_pylist()))
    factors = dict(zip(names, np.geomspace(1 / 3, 24, len(names)), strict=True))
    return np.array([factors[name] for name in table["instrument"].to_pylist()])


@pytest.mark.slow
def test_the_manifest_says_what_each_feature_sees(market: Path) -> None:
    """Of RD-Agent's twenty alphas all are free of the prices' base; correlations and days without volume see the volume."""
    manifest = alphaseal.open(built_from_bars(market), trust=UNSIGNED).manifest
    assert manifest.alphas is not None
    assert manifest.alphas.units is not None
    alphas = {feature.name: feature for feature in manifest.features if feature.origin == "alpha"}
    assert all(feature.invariance for feature in alphas.values())
    seen = {
        unit: {
            name
            for name, feature in alphas.items()
            if unit in (feature.invariance or {}) and not (feature.invariance or {})[unit].per_stock
        }
        for unit in ("price", "volume")
    }
    assert seen == {"price": set(), "volume": {"CORR5", "CORR10", "CORR20", "CORR60", "VSTD5"}}
    used = {name for name in seen["volume"] if alphas[name].used is not False}
    assert set(manifest.alphas.units["volume"].seen_by) == set(manifest.alphas.units["volume"].exact) == used != set()
    assert manifest.alphas.units["close"].seen_by == []
    assert all(feature.invariance is None for feature in manifest.features if feature.origin != "alpha")
    assert not (manifest.alphas.golden_rows < 20 * 58)


def test_another_base_of_prices_changes_no_score(market: Path, bars: pa.Table) -> None:
    """Prices times a constant of each stock: scored, by the same leaves but for rounding."""
    bundle = alphaseal.open(built_from_bars(market), trust=UNSIGNED)
    right = scores_of(bundle, bars)
    other = scores_of(bundle, scaled(bars, PRICES, constants(bars)))
    assert other.keys() == right.keys()
    same = [abs(other[name] - right[name]) < 1e-9 for name in right]
    assert sum(same) >= len(same) - 2


@pytest.mark.case("volume_in_lots")
def test_lots_and_other_volumes_are_refused(market: Path, bars: pa.Table) -> None:
    """By the golden days in the table; without them by what nothing shows, and by size even with anchors."""
    bundle = alphaseal.open(built_from_bars(market), trust=UNSIGNED)
    lots = scaled(bars, ("volume",), 0.01)
    mixed = scaled(bars, ("volume",), np.where(pc.starts_with(bars["instrument"], "SH").to_numpy(), 0.01, 1.0))
    for table in (lots, mixed, scaled(bars, ("volume",), constants(bars))):
        with pytest.raises(InputError) as error:
            scores_of(bundle, table)
        assert (error.value.code, error.value.where) == ("bars.units", "the bars, volume")


def test_tables_without_golden_days_need_anchors(market: Path, bars: pa.Table, tmp_path: Path, capsys: Any) -> None:
    """A day before the golden ones: refused; the same scores with anchors, from a file or from the store; lots by size."""
    manifest = alphaseal.open(built_from_bars(market), trust=UNSIGNED).manifest
    assert manifest.alphas is not None
    first = min(pq.read_table(built_from_bars(market) / manifest.alphas.golden)["datetime"].to_pylist())
    dates = pc.cast(bars["datetime"], pa.date32())
    before, golden = bars.filter(pc.less(dates, first)), bars.filter(pc.greater_equal(dates, first))
    day = str(max(pc.cast(before["datetime"], pa.date32()).to_pylist()))
    for name, table in (("bars", before), ("anchors", golden), ("lots", scaled(before, ("volume",), 0.01))):
        pq.write_table(table, tmp_path / f"{name}.parquet")

    def score(name: str, *more: str) -> dict[str, Any]:
        capsys.readouterr()
        arguments = ["score", str(built_from_bars(market)), "--allow-unsigned", "--json", "--date", day]
        features = str(tmp_path / "features.parquet")
        alphaseal_command([*arguments, "--bars", str(tmp_path / f"{name}.parquet"), "--features", features, *more])
        reply: dict[str, Any] = json.loads(capsys.readouterr().out)
        return reply

    sota = [feature.name for feature in manifest.features if feature.origin == "sota"]
    rows = before.filter(pc.equal(pc.cast(before["datetime"], pa.date32()), pa.scalar(day).cast(pa.date32())))
    table = rows.select(["datetime", "instrument"])
    for name in sota:
        table = table.append_column(name, pa.array(np.zeros(len(rows))))
    pq.write_table(table, tmp_path / "features.parquet")
    assert score("bars")["code"] == "bars.units_unproven"
    shown = score("bars", "--anchors", str(tmp_path / "anchors.parquet"))
    assert (shown["code"], shown["result"]["warnings"]) == ("ok", [])
    source = ("--store", str(tmp_path / "store"), "--source", "vendor")
    assert score("bars", "--anchors", str(tmp_path / "anchors.parquet"), *source)["code"] == "ok"
    kept = score("bars", *source)
    assert kept["result"]["rows"] == shown["result"]["rows"]
    assert kept["result"]["units"] == {"volume": "anchors"}
    taken = score("bars", "--units-as-trained")
    assert taken["result"]["rows"] == shown["result"]["rows"]
    assert taken["result"]["units"] == {"volume": "as trained, not shown"}
    assert score("lots", *source)["code"] == "bars.units"
