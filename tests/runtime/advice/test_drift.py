"""Drift guard: the day's features against the training values that the manifest tells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal import cli
from alphaseal.advice import drift
from alphaseal.arrow.columns import plain_name
from alphaseal.cli import advice as advice_text
from alphaseal.errors import InputError, UsageError
from alphaseal.format import manifest as m
from alphaseal.scoring.scores import rank_scores
from alphaseal.tables.feature_files import read_parquet
from alphaseal.tables.features import FeatureBlock
from alphaseal.tables.members.universe import Universe
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values
from manifests import example_manifest

LIMITS = m.DriftLimits(null_ratio=0.2, outside=0.1)
QUANTILES = {"min": -3.0, "0.01": -2.0, "0.5": 0.0, "0.99": 2.0, "max": 3.0}
DATE = "2021-12-24"


def feature(name: str, quantiles: dict[str, float] | None = None, **statistics: Any) -> m.Feature:
    """A feature of the example manifest with other training statistics; None: without any."""
    example = example_manifest().features[0]
    usual: dict[str, Any] = {"first": "2019-01-02", "last": "2020-12-31", "source": "test", "rows": 1000}
    usual |= {"null_ratio": 0.0, "infinite_ratio": 0.0, "quantiles": QUANTILES if quantiles is None else quantiles}
    known = m.Statistics(**(usual | statistics))
    changed = {"name": name, "statistics": known, "statistics_missing": None}
    return msgspec.structs.replace(example, **changed)


def unknown(name: str) -> m.Feature:
    """A feature without training statistics."""
    return msgspec.structs.replace(feature(name), statistics=None, statistics_missing="not in the table")


def block_of(*days: Any) -> FeatureBlock:
    """Matrices [rows, features], one a day; instruments SH600000 and on."""
    values = np.concatenate([np.asarray(day, np.float64) for day in days])
    names = [f"SH{600000 + row}" for day in days for row in range(len(day))]
    dates = np.repeat(np.datetime64("2024-01-02") + np.arange(len(days)), [len(day) for day in days])
    return FeatureBlock(dates, pa.array(names), np.ascontiguousarray(values), ())


def column(*values: float) -> list[list[float]]:
    """One feature's values of a day."""
    return [[value] for value in values]


def measured(values: list[list[float]], *features: m.Feature, limits: m.DriftLimits = LIMITS) -> list[dict[str, Any]]:
    """The rows of one day without their date."""
    rows = drift.measure(block_of(values), features, limits).table.to_pylist()
    assert {str(row.pop("datetime")) for row in rows} == {"2024-01-02"}
    return rows


def test_ratios_are_counted() -> None:
    """Missing and infinite are shares of the rows, outside of the finite values; an end itself is inside."""
    values = column(np.nan, np.inf, -np.inf, -3.0, 3.0, 3.1, 2.0, 2.1, 0.0, 0.0)
    (row,) = measured(values, feature("A"))
    assert row == {
        "feature": "A",
        "null_ratio": 0.1,
        "infinite_ratio": 0.2,
        "outside": 1 / 7,
        "outside_inner": 4 / 7,
        "verdict": "outside",
    }


@pytest.mark.parametrize(
    ("count", "value", "verdict"),
    [
        (2, np.nan, "within"),
        (3, np.nan, "missing"),
        (2, np.inf, "within"),
        (3, -np.inf, "infinite"),
        (1, 9.0, "within"),
        (2, -9.0, "outside"),
    ],
)
def test_a_limit_may_be_reached_and_not_passed(count: int, value: float, verdict: str) -> None:
    """Two of ten missing are allowed at 0.2, one of ten outside at 0.1."""
    (row,) = measured(column(*[value] * count, *[0.0] * (10 - count)), feature("A"))
    assert row["verdict"] == verdict


def test_training_values_that_were_missing_are_expected() -> None:
    """Only the excess over training counts."""
    values = column(*[np.nan] * 5, *[np.inf] * 2, 0.0, 0.0, 0.0)
    assert measured(values, feature("A"))[0]["verdict"] == "missing"
    assert measured(values, feature("A", null_ratio=0.4))[0]["verdict"] == "within"
    strict = m.DriftLimits(null_ratio=0.1, outside=0.1)
    assert measured(values, feature("A", null_ratio=0.5), limits=strict)[0]["verdict"] == "infinite"
    known = feature("A", null_ratio=0.5, infinite_ratio=0.2)
    assert measured(values, known, limits=strict)[0]["verdict"] == "within"


def test_several_reasons_are_all_told() -> None:
    """A feature that is missing, infinite and outside says so."""
    values = column(*[np.nan] * 3, *[np.inf] * 3, 9.0, 9.0, 0.0, 0.0)
    assert measured(values, feature("A"))[0]["verdict"] == "missing+infinite+outside"


def test_what_training_does_not_tell_is_not_known() -> None:
    """Without statistics nothing is judged; without quantiles only missing and infinite values are."""
    values = [[9.0, 9.0, np.nan, 9.0]] * 4
    rows = measured(values, unknown("A"), feature("B", {}), feature("C", {}), feature("D", {"strange": 1.0}))
    assert [row["verdict"] for row in rows] == ["not_known", "within", "missing", "within"]
    assert [row["outside"] for row in rows] == [None] * 4
    assert [row["outside_inner"] for row in rows] == [None] * 4
    assert rows[0]["null_ratio"] == 0.0


def test_nothing_finite_has_no_share_outside() -> None:
    """All missing: no share of nothing."""
    (row,) = measured(column(np.nan, np.inf), feature("A"))
    assert (row["outside"], row["outside_inner"]) == (None, None)


@pytest.mark.parametrize(
    ("quantiles", "outside"),
    [
        ({"0.01": -2.0, "0.99": 2.0}, 0.75),
        ({"max": 3.0, "min": -3.0, "0.5": 0.0}, 0.25),
        ({"0.05": -1.0, "0.5": 0.0, "1e-3": -2.5, "1.5": 99.0, "nan": 99.0}, 0.75),
    ],
)
def test_outermost_quantiles_are_the_ends(quantiles: dict[str, float], outside: float) -> None:
    """By level, not by place; keys that are no level do not count."""
    (row,) = measured(
        column(-9.0, -2.2, 0.0, 2.6) if "0.05" not in quantiles else column(-9.0, 1.0, 2.0, 0.0),
        feature("A", quantiles),
    )
    assert row["outside"] == outside


def test_many_rows_are_counted_as_few() -> None:
    """A date of more rows than are looked at at once, against numpy over all of them."""
    random = np.random.default_rng(3)
    values = random.standard_normal((1300, 3)) * [1.0, 2.0, 4.0]
    values[random.random(values.shape) < 0.3] = np.nan
    values[random.random(values.shape) < 0.1] = np.inf
    rows = measured(values.tolist(), feature("A"), feature("B"), feature("C"))
    for place, row in enumerate(rows):
        one = values[:, place]
        finite = one[np.isfinite(one)]
        assert row["null_ratio"] == np.isnan(one).sum() / 1300
        assert row["infinite_ratio"] == np.isinf(one).sum() / 1300
        assert row["outside"] == (np.abs(finite) > 3).sum() / len(finite)
        assert row["outside_inner"] == (np.abs(finite) > 2).sum() / len(finite)


def test_dates_are_measured_alone() -> None:
    """A bad day does not spread to a good one, and is told by its date."""
    found = drift.measure(block_of(column(0.0, 0.0), column(9.0, 9.0, 9.0)), [feature("A")], LIMITS)
    assert found.table["verdict"].to_pylist() == ["within", "outside"]
    assert [str(row["datetime"]) for row in found.out_of_range().to_pylist()] == ["2024-01-03"]
    assert found.dates() == 2
    assert found.summary() == "1 of 1 features out of range on 2024-01-02 to 2024-01-03 (A)"
    assert "2024-01-03  1: A" in advice_text.drift_text(found)
    assert "2024-01-02  " not in advice_text.drift_text(found)


def test_stocks_outside_of_the_universe_do_not_count() -> None:
    """A universe is what is scored; a date without one of its stocks has no rows."""
    block = block_of(column(0.0, 9.0), column(9.0))
    assert drift.measure(block, [feature("A")], LIMITS, Universe.of(["SH600001"])).table["outside"].to_pylist() == [1.0]
    first = drift.measure(block, [feature("A")], LIMITS, Universe.of(["SH600000"])).table
    assert first["outside"].to_pylist() == [0.0, 1.0]


def test_check_lists_the_features() -> None:
    """The error names each feature with its verdict, and the limits; within them there is none."""
    features = [feature("A"), feature("B"), feature("C")]
    found = drift.measure(block_of([[9.0, 0.0, np.nan]] * 3), features, LIMITS)
    with pytest.raises(InputError) as error:
        found.check()
    assert (error.value.code, error.value.found) == ("drift.out_of_range", "A outside, C missing")
    assert error.value.where == "features of 2024-01-02"
    assert "20% more missing" in str(error.value)
    drift.measure(block_of([[0.0, 0.0, 0.0]]), features, LIMITS).check()


def test_values_that_the_training_never_had_are_a_warning() -> None:
    """Where they are more than half of a date's, and the training's ends are known; fewer are a matter of `--strict`."""
    most, half = column(4.0, 5.0, 0.0), column(4.0, 5.0, 0.0, 0.0)
    known, ends = feature("A"), feature("A", {"0.01": -2.0, "0.99": 2.0})
    (said,) = drift.measure(block_of(most), [known], LIMITS).warnings([known])
    assert "A lie outside" in said
    assert drift.measure(block_of(half), [known], LIMITS).warnings([known]) == ()
    assert drift.measure(block_of(most), [ends], LIMITS).warnings([ends]) == ()
    assert drift.measure(block_of(most), [unknown("A")], LIMITS).warnings([unknown("A")]) == ()
    (several,) = drift.measure(block_of(most, half, most), [known], LIMITS).warnings([known])
    assert "and on 1 more dates" in several


def test_text_is_a_short_table() -> None:
    """Nothing where nothing is wrong; a line per feature; no more than a screen."""
    quiet = drift.measure(block_of([[0.0]]), [feature("A")], LIMITS)
    assert advice_text.drift_text(quiet) == ""
    assert quiet.summary() == "0 of 1 features out of range on 2024-01-02"
    lost = drift.measure(block_of([[0.0, 9.0]]), [unknown("A"), unknown("B")], LIMITS)
    assert lost.not_known() == ["A", "B"]
    assert advice_text.drift_text(lost) == (
        "drift: 0 of 2 features out of range on 2024-01-02, 2 not known (no training statistics)"
    )
    many = drift.measure(
        block_of([[9.0] * 40]), [feature(f"F{number}", {} if not number else None) for number in range(40)], LIMITS
    )
    lines = advice_text.drift_text(many).splitlines()
    assert lines[0] == "drift: 39 of 40 features out of range on 2024-01-02 (F1, F2, F3, F4, F5 and 34 more)"
    assert len(lines) == 24
    assert lines[3].split() == ["0.0%", "0.0%", "100.0%", "100.0%", "outside", "F1"]
    assert lines[-1] == "and 19 more (--json lists all)"
    single = drift.measure(block_of([[np.nan]]), [feature("A")], LIMITS)
    assert "not known" in advice_text.drift_text(single).splitlines()[-1]


def test_scores_without_a_bundle_know_no_drift() -> None:
    """Scores that were ranked by hand are told so."""
    with pytest.raises(UsageError) as error:
        rank_scores(block_of(column(0.0)), np.zeros(1), None).drift()
    assert error.value.code == "usage.drift"


# --- a real bundle ----------------------------------------------------------------------------------------------------


UNKNOWN, KNOWN = 1, 2
"""Positions of a feature without training statistics, and of one that tests change."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's bundle, with training statistics of all features but one: the demo's own factor table has no such days."""
    place = tmp_path_factory.mktemp("drift") / "bundle"
    shutil.copytree(factor_plain_bundle(), place)
    manifest = m.parse((place / m.FILE_NAME).read_bytes())
    block = read_parquet(raw_values(FACTOR_PLAIN / "truth/hist2_factor"), manifest.features)
    features = []
    for position, known in enumerate(manifest.features):
        values = block.values[:, position]
        finite = values[np.isfinite(values)]
        quantiles = dict(zip(QUANTILES, np.quantile(finite, [0.0, 0.01, 0.5, 0.99, 1.0]).tolist(), strict=True))
        ratios = {"null_ratio": float(np.isnan(values).mean()), "infinite_ratio": float(np.isinf(values).mean())}
        statistics = None if position == UNKNOWN else feature("", quantiles, **ratios).statistics
        features.append(msgspec.structs.replace(known, statistics=statistics))
    data = m.encode(msgspec.structs.replace(manifest, features=features))
    (place / m.FILE_NAME).write_bytes(data)
    return place


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """The demo's feature table."""
    return pq.read_table(raw_values(FACTOR_PLAIN / "truth/hist2_factor"))


def opened(directory: Path) -> tuple[alphaseal.Bundle, str]:
    """The bundle, and the name of the feature that tests change."""
    bundle = alphaseal.open(directory, trust=alphaseal.Trust.unsigned())
    return bundle, bundle.manifest.features[KNOWN].name


def shifted(table: pa.Table, name: str, days: int = 1) -> pa.Table:
    """The table with a feature moved far away on the last days."""
    place = next(i for i, written in enumerate(table.column_names) if plain_name(written) == name)
    dates = table["datetime"].cast(pa.date32())
    first = sorted(dates.unique().to_pylist())[-days]
    late = pc.greater_equal(dates, pa.scalar(first, pa.date32()))
    moved = pc.if_else(late, pc.add(table.column(place), 1e6), table.column(place))
    return table.set_column(place, table.column_names[place], moved)


def test_scores_of_a_bundle_know_their_drift(directory: Path, table: pa.Table) -> None:
    """`scores.drift()`, `bundle.drift` and the streamed dates say the same of a day that is as training was."""
    bundle, name = opened(directory)
    scores = bundle.score(table, date=DATE)
    found = scores.drift()
    assert found.table.num_rows == len(bundle.manifest.features)
    assert found.table.equals(bundle.drift(table, DATE).table)
    assert found.out_of_range().num_rows == 0
    assert found.not_known() == [bundle.manifest.features[UNKNOWN].name]
    known = found.table.filter(pc.equal(found.table["feature"], name)).to_pylist()[0]
    assert known["outside"] == 0.0
    assert 0.0 <= known["outside_inner"] < 0.2


def test_a_shifted_feature_is_found_from_table_and_file(directory: Path, table: pa.Table, tmp_path: Path) -> None:
    """A feature in another unit is out of range, by both readers."""
    bundle, name = opened(directory)
    wrong = shifted(table, name)
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    for source in (wrong, tmp_path / "wrong.parquet"):
        found = bundle.drift(source, DATE)
        assert found.out_of_range()["feature"].to_pylist() == [name]
        assert found.out_of_range()["outside"].to_pylist() == [1.0]


def command(bundle: alphaseal.Bundle, path: Path, *more: str) -> list[str]:
    return ["score", str(bundle.directory), "--allow-unsigned", "--features", str(path), *more]


def test_command_tells_and_strict_refuses(
    directory: Path, table: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --strict a table on standard error and the scores; with it exit 18 and no file."""
    bundle, name = opened(directory)
    path, out = tmp_path / "wrong.parquet", tmp_path / "scores.parquet"
    pq.write_table(shifted(table, name), path)
    assert cli.main(command(bundle, path, "--date", DATE)) == 0
    captured = capsys.readouterr()
    assert name in captured.err
    assert "drift" not in captured.out
    assert cli.main(command(bundle, path, "--date", DATE, "--json")) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)["result"]["drift"]
    assert captured.err == ""
    assert [row["feature"] for row in told["out_of_range"]] == [name]
    assert f"out of range on {DATE} ({name})" in told["summary"]
    assert cli.main(command(bundle, path, "--date", DATE, "--strict", "--out", str(out), "--json")) == 18
    refused = json.loads(capsys.readouterr().out)
    assert (refused["code"], refused["found"]) == ("drift.out_of_range", f"{name} outside")
    assert not out.exists()
    pq.write_table(table, path)
    assert cli.main(command(bundle, path, "--date", DATE, "--strict")) == 0


def test_range_is_told_by_date_and_refused_whole(
    directory: Path, table: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two bad days of a month: a line for each, and with --strict no file of the good ones either."""
    bundle, name = opened(directory)
    path, out = tmp_path / "wrong.parquet", tmp_path / "scores.csv"
    pq.write_table(shifted(table, name, days=2), path)
    assert cli.main(command(bundle, path, "--dates", ":")) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("2021")]
    assert [line.split()[0] for line in lines] == ["2021-12-23", DATE]
    assert cli.main(command(bundle, path, "--dates", ":", "--strict", "--out", str(out))) == 18
    assert not out.exists()
    assert list(tmp_path.iterdir()) == [path]
