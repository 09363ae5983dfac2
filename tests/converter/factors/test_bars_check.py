"""Bars that factors are run on: those of the training, numbers, in the bundle's notation, and as many days as windows need."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alpha_bundles import DAYS, STOCKS, frame, golden_bars, write_bundle
from alphaseal.errors import AlphasealError, InputError
from alphaseal.format import manifest as m
from alphaseal.tables import origin as feature_origin
from alphaseal_converter.cli import main as convert
from alphaseal_converter.factors.compute import FeaturesRequest, FeaturesResult, compute_features
from alphaseal_converter.isolation.sandbox import IsolationLimits
from factor_bars import RESEARCH, needs_tables
from manifests import recorded_universe
from raising import refusal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation uses the Linux kernel's means")

SOURCE = """
import pandas as pd
pv = pd.read_hdf("daily_pv.h5", key="data")
order = list(pv.index.get_level_values("instrument").unique())
assert all(name[:2] in ("SH", "SZ") for name in order), order
{body}
value.to_frame("REV").to_hdf("result.h5", key="data")
"""
CLOSE = "value = pv['$close'] * 2"
STATIC = """
static = pd.read_parquet("static_factors.parquet")
value = pv[["$close"]].join(static["size"])["size"].astype("float64")
"""
DAY = DAYS[4]


def bundle_of(
    folder: Path, body: str = CLOSE, steps: int = 1, inputs: list[str] | None = None, bars: pa.Table | None = None
) -> Path:
    """A bundle with golden bars whose SOTA factor REV has code."""
    path = write_bundle(folder, steps=steps, bars=bars)
    source = path / "sources/factors/rev.py"
    source.parent.mkdir(parents=True)
    source.write_bytes(SOURCE.format(body=body).encode())
    manifest = m.parse((path / m.FILE_NAME).read_bytes())
    file = m.File(
        path="sources/factors/rev.py",
        size=source.stat().st_size,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        media_type="text/x-python",
        role="source",
        title=None,
    )
    features = [
        msgspec.structs.replace(one, source=file.path, inputs=inputs or ["close"]) if one.name == "REV" else one
        for one in manifest.features
    ]
    files = sorted([*manifest.files, file], key=lambda one: one.path)
    (path / m.FILE_NAME).write_bytes(m.encode(msgspec.structs.replace(manifest, features=features, files=files)))
    return path


def request(bundle: Path, rows: pd.DataFrame, folder: Path, **changes: Any) -> FeaturesRequest:
    bars = folder / "bars.parquet"
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), bars)
    fields = {"date": None if "dates" in changes else DAY, "python": Path(RESEARCH)} | changes
    limits = IsolationLimits(seconds=100, cpu_seconds=60)
    return FeaturesRequest(
        bundle, alphaseal.Trust.unsigned(), bars=bars, out=folder / "features.parquet", limits=limits, **fields
    )


def features_of(bundle: Path, rows: pd.DataFrame, folder: Path, **changes: Any) -> tuple[FeaturesResult, pd.DataFrame]:
    """The result, and the table that was written."""
    asked = request(bundle, rows, folder, **changes)
    return compute_features(asked), pq.read_table(asked.out).to_pandas()


def refused(bundle: Path, rows: pd.DataFrame, folder: Path, **changes: Any) -> AlphasealError:
    """The refusal; nothing is written."""
    asked = request(bundle, rows, folder, **changes)
    error = refusal(AlphasealError, compute_features, asked)
    assert not asked.out.exists()
    return error


def ts(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with 600000.SH for SH600000."""
    return rows.assign(instrument=rows.instrument.str[2:] + "." + rows.instrument.str[:2])


# --- the bars of the training -----------------------------------------------------------------------------------------


def _readjusted(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(close=np.where(rows.datetime >= DAYS[1], rows.close / 2, rows.close))


def _without_a_day(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows.datetime != DAYS[1]]


def _without_a_row(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows.datetime != DAYS[1]) | (rows.instrument != "SH600001")]


@needs_tables
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_readjusted, "bars.adjustment"),
        (_without_a_day, "bars.calendar"),
        (_without_a_row, "bars.suspended"),
    ],
)
def test_other_bars_than_those_of_the_training_are_refused(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], code: str
) -> None:
    """Another adjustment, a day or a row too few on the golden days: no factor runs, nothing is written."""
    bundle = bundle_of(tmp_path / "bundle", body="raise SystemExit('it ran')")
    assert refused(bundle, change(frame()), tmp_path).code == code


@needs_tables
def test_a_suspended_stock_needs_its_rows(tmp_path: Path) -> None:
    """Missing values of a suspended day are as in the training; without the row a shift by rows is another day's."""
    rows = frame()
    there = (rows.datetime != DAYS[1]) | (rows.instrument != "SH600001")
    suspended = rows.assign(close=rows.close.where(there), volume=rows.volume.where(there))
    golden = suspended[suspended.datetime.isin(DAYS[:3])]
    bundle = bundle_of(tmp_path / "bundle", bars=golden_bars(close=golden.close, volume=golden.volume))
    assert refused(bundle, rows[there], tmp_path).code == "bars.rows_missing"
    assert refused(bundle, rows, tmp_path).code == "bars.suspended"
    assert features_of(bundle, suspended, tmp_path)[0].warnings == ()


@needs_tables
def test_bars_of_the_training_pass(tmp_path: Path) -> None:
    """Equal bars, and those with another constant factor, give values without a warning; other days give a warning."""
    bundle = bundle_of(tmp_path / "bundle")
    result, table = features_of(bundle, frame(), tmp_path)
    assert result.warnings == ()
    np.testing.assert_array_equal(table["REV"], 2 * frame()[frame().datetime == DAY].close)
    assert features_of(bundle, frame().assign(close=frame().close * 3), tmp_path)[0].warnings == ()
    later, _ = features_of(bundle, frame()[frame().datetime >= DAYS[3]], tmp_path)
    assert len(later.warnings) == 1
    assert later.warnings[0] in later.text()


# --- units ------------------------------------------------------------------------------------------------------------

FREE = m.Scaling(per_stock=True, common=True, smallest=0.0625, largest=16.0, text="tried")


def of_units(bundle: Path, invariance: dict[str, m.Scaling] | None) -> Path:
    """The bundle as one whose manifest knows of units, and this of REV."""
    manifest = m.parse((bundle / m.FILE_NAME).read_bytes())
    assert manifest.alphas is not None
    features = [
        msgspec.structs.replace(one, invariance=invariance) if one.name == "REV" else one for one in manifest.features
    ]
    alphas = msgspec.structs.replace(manifest.alphas, units={})
    (bundle / m.FILE_NAME).write_bytes(m.encode(msgspec.structs.replace(manifest, features=features, alphas=alphas)))
    return bundle


@needs_tables
def test_code_of_factors_sees_the_units_of_its_columns(tmp_path: Path) -> None:
    """What is not known to be a ratio is none: other units are refused, and units that nothing shows."""
    bundle = of_units(bundle_of(tmp_path / "bundle"), None)
    later = frame()[frame().datetime >= DAYS[3]]
    assert features_of(bundle, frame(), tmp_path)[0].warnings == ()
    assert features_of(bundle, frame().assign(volume=1.0), tmp_path)[0].warnings == ()  # which REV does not read
    (tmp_path / "features.parquet").unlink()
    other = refused(bundle, frame().assign(close=frame().close * 3), tmp_path)
    assert (other.code, other.where) == ("bars.units", "the bars, close")
    assert refused(bundle, later, tmp_path).code == "bars.units_unproven"
    anchors = pa.Table.from_pandas(frame()[frame().datetime < DAYS[3]], preserve_index=False)
    shown, table = features_of(bundle, later, tmp_path, anchors=anchors)
    assert shown.warnings == ()
    assert table.equals(features_of(bundle, frame(), tmp_path)[1])
    taken, _ = features_of(bundle, later, tmp_path, units_as_trained=True)
    assert any("the caller says so" in warning for warning in taken.warnings)


@needs_tables
def test_trials_say_which_units_code_does_not_see(tmp_path: Path) -> None:
    """A factor that a trial found unchanged by constants takes any base that was tried, and asks for nothing."""
    bundle = of_units(bundle_of(tmp_path / "bundle"), {"price": FREE})
    assert features_of(bundle, frame().assign(close=frame().close * 3), tmp_path)[0].warnings == ()
    later, _ = features_of(bundle, frame()[frame().datetime >= DAYS[3]], tmp_path)
    assert len(later.warnings) == 1
    (tmp_path / "features.parquet").unlink()
    assert refused(bundle, frame().assign(close=frame().close * 20), tmp_path).code == "bars.units"


@needs_tables
def test_command_takes_anchors_and_units_as_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The options are those of `score`, with the same meaning."""
    bundle = of_units(bundle_of(tmp_path / "bundle"), None)
    asked = request(bundle, frame()[frame().datetime >= DAYS[3]], tmp_path)
    anchors = tmp_path / "anchors.parquet"
    pq.write_table(pa.Table.from_pandas(frame()[frame().datetime < DAYS[3]], preserve_index=False), anchors)
    arguments = ["features", str(bundle), "--bars", str(asked.bars), "--date", str(DAY), "--out", str(asked.out)]
    arguments += ["--allow-unsigned", "--python", RESEARCH]
    assert convert(arguments) == 18
    assert convert([*arguments, "--anchors", str(anchors)]) == 0
    assert convert([*arguments, "--units-as-trained"]) == 0
    capsys.readouterr()


# --- the universe of the factors, and days without trade -----------------------------------------------------------------


def with_universes(bundle: Path, context: list[str]) -> Path:
    """The same, whose factors were computed on STOCKS and on the context that is among `members`."""
    manifest = m.parse((bundle / m.FILE_NAME).read_bytes())
    members = [f"{code} 2024-01-02 2024-01-04" for code in sorted([*STOCKS, *(["SH000300"] if context else [])])]
    record = recorded_universe("all", members, "2024-01-02", "2024-01-04")
    known = m.Universes(
        factor=record,
        factor_missing=None,
        model=None,
        model_missing="not asked",
        boards={"SH60": 2, "SZ00": 1},
        context=["SH000300"],
        until="2024-01-04",
    )
    none = m.Convention(rows=0, episodes=0, longest=0, share=0.0)
    kinds = {field: none for field in m.Conventions.__struct_fields__ if field not in CONVENTION_FACTS}
    said = m.Conventions(
        fields=["close"],
        first="2023-01-02",
        last="2023-12-29",
        days=3,
        stock_days=700,
        absent=0,
        empty=0,
        **kinds,
    )
    assert manifest.alphas is not None
    changed = msgspec.structs.replace(
        manifest,
        data=msgspec.structs.replace(manifest.data, universes=known),
        alphas=msgspec.structs.replace(manifest.alphas, conventions=[said]),
    )
    (bundle / m.FILE_NAME).write_bytes(m.encode(changed))
    return bundle


CONVENTION_FACTS = ("fields", "first", "last", "days", "stock_days", "absent", "empty")
RANK = "value = pv.groupby('datetime')['$close'].rank()"


@needs_tables
def test_factors_do_not_see_what_they_did_not_see_in_training(tmp_path: Path) -> None:
    """A rank over stocks is the same with an index and a fund among the bars; a new stock is one of them."""
    bundle = with_universes(bundle_of(tmp_path / "bundle", body=RANK), [])
    plain, _ = features_of(bundle, frame(), tmp_path)
    assert plain.warnings == ()
    others = [frame()[frame().instrument == "SH600000"].assign(instrument=code) for code in ("SH000300", "SH510300")]
    result, table = features_of(bundle, pd.concat([frame(), *others]), tmp_path)
    assert dict(zip(table.instrument, table.REV, strict=True)) == {"SH600000": 1.0, "SH600001": 2.0, "SZ000001": 3.0}
    assert result.stocks == 3
    new = frame()[frame().instrument == "SH600000"].assign(instrument="SZ300001")
    new["close"] /= 100
    _, table = features_of(bundle, pd.concat([frame(), new]), tmp_path)
    assert dict(zip(table.instrument, table.REV, strict=True))["SZ300001"] == 1.0


@needs_tables
def test_an_index_that_factors_saw_must_be_there(tmp_path: Path) -> None:
    """Bars without an index that was among the factors' stocks are refused before any factor runs."""
    bundle = with_universes(bundle_of(tmp_path / "bundle", body="raise SystemExit('it ran')"), ["SH000300"])
    assert refused(bundle, frame(), tmp_path).code == "universe.incomplete"


@needs_tables
def test_filled_days_are_refused_for_factors(tmp_path: Path) -> None:
    """A row that repeats the day before, after the golden days: a factor may look at all stocks, so none runs."""
    bundle = with_universes(bundle_of(tmp_path / "bundle", body="raise SystemExit('it ran')"), [])
    rows = frame()
    stale = (rows.instrument == "SZ000001") & (rows.datetime == DAYS[4])
    rows.loc[stale, "close"] = rows.close[(rows.instrument == "SZ000001") & (rows.datetime == DAYS[3])].to_numpy()
    error = refused(bundle, rows, tmp_path)
    assert error.code == "bars.suspended"
    assert "SZ000001" in str(error)


# --- bars that cannot be used -----------------------------------------------------------------------------------------


@needs_tables
@pytest.mark.parametrize("change", ["text", "truth", "column", "unknown", "twice"])
def test_bars_without_numbers_are_refused_before_any_factor(tmp_path: Path, change: str) -> None:
    """Text, truth values, a column that a factor reads and the bars lack, a column twice: one refusal that names it."""
    inputs = {"column": ["close", "high"], "unknown": None}.get(change, ["close"])
    bundle = bundle_of(tmp_path / "bundle", body="raise SystemExit('it ran')", inputs=inputs)
    if change == "unknown":
        manifest = m.parse((bundle / m.FILE_NAME).read_bytes())
        features = [msgspec.structs.replace(one, inputs=None) for one in manifest.features]
        (bundle / m.FILE_NAME).write_bytes(m.encode(msgspec.structs.replace(manifest, features=features)))
    rows = frame()
    if change in ("text", "truth"):
        rows = rows.assign(close=rows.close.astype(str if change == "text" else bool))
    if change == "twice":
        rows["$close"] = rows.close + 1
    error = refused(bundle, rows, tmp_path)
    assert error.code == "factor.bars"
    assert ("close" if change in ("text", "truth", "twice") else "high") in error.message


@needs_tables
def test_stocks_as_categories_and_whole_numbers_are_read(tmp_path: Path) -> None:
    """Forms that pandas gives bars give the same features."""
    bundle = bundle_of(tmp_path / "bundle")
    _, plain = features_of(bundle, frame(), tmp_path)
    other = frame().assign(instrument=frame().instrument.astype("category"), volume=frame().volume.astype("int64"))
    _, table = features_of(bundle, other, tmp_path)
    pd.testing.assert_frame_equal(plain, table)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    """CSV is neither HDF5 nor parquet."""
    path = tmp_path / "bars.csv"
    frame().to_csv(path)
    bundle = bundle_of(tmp_path / "bundle")
    with pytest.raises(AlphasealError) as caught:
        compute_features(
            FeaturesRequest(bundle, alphaseal.Trust.unsigned(), bars=path, out=tmp_path / "features.parquet", date=DAY)
        )
    assert caught.value.code == "factor.bars"
    assert "HDF5" in str(caught.value.expected)


# --- windows ----------------------------------------------------------------------------------------------------------


@needs_tables
def test_a_window_model_gets_the_days_before(tmp_path: Path) -> None:
    """The file has the days of the window that ends with the date, and says so; the runtime scores from it."""
    bundle = bundle_of(tmp_path / "bundle", steps=2)
    result, table = features_of(bundle, frame(), tmp_path)
    assert (result.first, result.last, result.dates) == (str(DAYS[3]), str(DAY), 2)
    assert sorted(set(table["datetime"])) == [DAYS[3], DAY]
    origin = feature_origin.read_origin(tmp_path / "features.parquet")
    assert origin is not None
    assert origin.dates == [str(DAYS[3]), str(DAY)]
    opened = alphaseal.open(bundle, trust=alphaseal.Trust.unsigned())
    bars = pa.Table.from_pandas(frame(), preserve_index=False)
    assert len(opened.score(tmp_path / "features.parquet", bars=bars, date=DAY).table) == 3
    ranged, _ = features_of(bundle, frame(), tmp_path, dates=(str(DAYS[4]), str(DAYS[5])))
    assert (ranged.first, ranged.last) == (str(DAYS[3]), str(DAYS[5]))


@needs_tables
def test_bars_that_are_too_short_for_a_window_are_refused(tmp_path: Path) -> None:
    """Nothing shorter than the window is written for a date; a range without a beginning takes the days there are."""
    bundle = bundle_of(tmp_path / "bundle", steps=2)
    assert refused(bundle, frame(), tmp_path, date=DAYS[0]).code == "features.too_short"
    result, _ = features_of(bundle, frame(), tmp_path, dates=(None, str(DAYS[1])))
    assert (result.first, result.dates) == (str(DAYS[0]), 2)


# --- notations --------------------------------------------------------------------------------------------------------


@needs_tables
@pytest.mark.parametrize("both", [True, False])
def test_bars_in_another_notation_are_converted(tmp_path: Path, both: bool) -> None:
    """The factor sees the bundle's codes in bars and static table, whichever of them had to be converted."""
    bundle = bundle_of(tmp_path / "bundle", body=STATIC)
    static = frame().assign(size=np.arange(len(frame()), dtype=float)).drop(columns=["close", "volume"])
    path = tmp_path / "static.parquet"
    (ts(static) if both else static).set_index(["datetime", "instrument"]).to_parquet(path)
    _, plain = features_of(bundle, frame(), tmp_path, static=path) if not both else (None, None)
    _, table = features_of(bundle, ts(frame()), tmp_path, static=path, instruments_from="ts")
    assert sorted(table["instrument"]) == sorted(frame().instrument.unique())
    wanted = static[static.datetime == DAY].sort_values("instrument")["size"]
    np.testing.assert_array_equal(table["REV"], wanted)
    if plain is not None:
        pd.testing.assert_frame_equal(plain, table)


@needs_tables
def test_mixed_notations_are_refused(tmp_path: Path) -> None:
    """A table of both notations is told by the stocks that do not fit."""
    bundle = bundle_of(tmp_path / "bundle")
    rows = frame()
    mixed = pd.concat([ts(rows[rows.instrument != "SH600001"]), rows[rows.instrument == "SH600001"]])
    error = refused(bundle, mixed, tmp_path, instruments_from="ts")
    assert error.code == "factor.instruments"
    assert "SH600001" in error.message


@needs_tables
def test_the_command_takes_the_notation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the option the refusal names it; with it the file is written, and scores with bars in that notation."""
    bundle = bundle_of(tmp_path / "bundle")
    asked = request(bundle, ts(frame()), tmp_path)
    with pytest.raises(InputError) as caught:
        compute_features(asked)
    assert caught.value.code == "instrument.pattern"
    arguments = ["features", str(bundle), "--bars", str(asked.bars), "--date", str(DAY), "--out", str(asked.out)]
    arguments += ["--allow-unsigned", "--python", RESEARCH, "--instruments-from", "ts"]
    assert convert(arguments) == 0
    capsys.readouterr()
    opened = alphaseal.open(bundle, trust=alphaseal.Trust.unsigned())
    plain = opened.score(asked.out, bars=pa.Table.from_pandas(frame(), preserve_index=False), date=DAY)
    scores = opened.score(asked.out, bars=asked.bars, date=DAY, instruments_from="ts")
    assert scores.table.equals(plain.table)
    features = ts(pq.read_table(asked.out).to_pandas())
    with pytest.raises(InputError) as caught:
        opened.score(
            pa.Table.from_pandas(features, preserve_index=False),
            bars=pa.Table.from_pandas(frame(), preserve_index=False),
            date=DAY,
        )
    assert caught.value.where == "the features, column 'instrument'"
