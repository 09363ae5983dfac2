"""qlib's market data without qlib: what is read is what qlib reads, and damage of any kind is a refusal."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from alphaseal.bars.calendar import Bars
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.market.provider import configured_provider, open_provider, read_bars
from bundles import FACTOR_PLAIN, raw_values
from raising import refusal

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON")
FIELDS = ("open", "high", "low", "close", "volume", "factor", "vwap")
ALL = slice(None)
EVER = (None, None)


def day(text: str) -> np.datetime64:
    return np.datetime64(text, "D")


def write(root: Path, files: dict[str, str | bytes | npt.NDArray[Any]]) -> Path:
    """A small provider; text is written as it is, arrays as float32."""
    for name, content in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, np.ndarray):
            content = content.astype("<f4").tobytes()
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def small(root: Path, **changed: str | bytes | npt.NDArray[Any]) -> Path:
    """Four days, two stocks: one from the first day on, one listed on the second and gone after the third."""
    files: dict[str, str | bytes | npt.NDArray[Any]] = {
        "calendars/day.txt": "2024-01-02\n2024-01-03\n2024-01-04\n2024-01-05\n",
        "instruments/two.txt": "SH600000\t2024-01-02\t2024-01-05\nSZ000001\t2024-01-03\t2024-01-04\n",
        "features/sh600000/close.day.bin": np.array([0, 1, 2, np.nan, 4]),
        "features/sz000001/close.day.bin": np.array([1, 5, 6]),
    }
    return write(root, files | changed)


def refused(call: Callable[[], object]) -> str:
    error = refusal(RefusalError, call)
    assert error.exit == 20
    return error.code


def two(root: Path, days: slice = ALL, fields: tuple[str, ...] = ("close",)) -> Bars:
    provider = open_provider(root)
    return read_bars(provider, provider.universe("two"), fields, days, EVER)


def test_bars_are_those_of_the_files(tmp_path: Path) -> None:
    """Calendar, stocks, values, starts and rows of a small provider, whole and from a later day on."""
    bars = two(small(tmp_path))
    assert bars.instruments == ("SH600000", "SZ000001")
    assert bars.dates.tolist() == [date(2024, 1, n) for n in (2, 3, 4, 5)]
    assert bars.values.dtype == np.float32
    nan = np.nan
    assert np.array_equal(bars.values[:, :, 0], [[1, 2, nan, 4], [nan, 5, 6, nan]], equal_nan=True)
    assert bars.first.tolist() == [0, 1]
    assert bars.present.tolist() == [[True] * 4, [False, True, True, False]]
    later = two(tmp_path, slice(2, 4))
    assert np.array_equal(later.values[:, :, 0], [[nan, 4], [6, nan]], equal_nan=True)
    assert later.first.tolist() == [0, 0]
    assert later.present.tolist() == [[True, True], [True, False]]


def test_rows_keep_to_the_spans_and_values_do_not(tmp_path: Path) -> None:
    """A stock that left the market and came back has rows in both spans; its values stay for the windows between."""
    lines = "SH600000\t2024-01-02\t2024-01-02\nSH600000\t2024-01-05 00:00:00\t2099-12-31\n"
    bars = two(small(tmp_path, **{"instruments/two.txt": lines}))
    assert bars.present.tolist() == [[True, False, False, True]]
    assert bars.values[0, 1, 0] == 2


def test_rows_keep_to_the_dates_that_the_run_loaded(tmp_path: Path) -> None:
    """First and last date of the handler cut rows, not values; a list of codes has no spans."""
    provider = open_provider(small(tmp_path))
    universe = provider.universe(["SZ000001", "SH600000"])
    bars = read_bars(provider, universe, ["close"], ALL, (date(2024, 1, 3), date(2024, 1, 3)))
    assert bars.present.tolist() == [[False, True, False, False]] * 2
    assert bars.values[0, 0, 0] == 1


def test_a_stock_without_files_has_no_rows(tmp_path: Path) -> None:
    """As in qlib: nothing at all is no row."""
    small(tmp_path)
    shutil.rmtree(tmp_path / "features/sz000001")
    assert two(tmp_path).instruments == ("SH600000",)


def test_the_digest_is_what_sha256sum_says_of_the_files(tmp_path: Path) -> None:
    """One digest over the lines of sha256sum, sorted by path, of exactly the files that were read."""
    provider = open_provider(small(tmp_path, **{"features/sh600000/open.day.bin": np.array([0, 1])}))
    read_bars(provider, provider.universe("two"), ["close"], ALL, EVER)
    names = ["calendars/day.txt", "features/sh600000/close.day.bin", "features/sz000001/close.day.bin"]
    names.append("instruments/two.txt")
    lines = "".join(f"{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    assert provider.digest() == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "provider.calendar"),
        ("2024-01-02\n2024-01-02\n", "provider.calendar"),
        ("2024-01-03\n2024-01-02\n", "provider.calendar"),
        ("2024-13-02\n", "provider.calendar"),
        ("2024-01-02 09:30:00\n", "provider.calendar"),
        ("pickle\n", "provider.calendar"),
        (b"\xff\xfe\x00", "provider.text"),
    ],
)
def test_a_damaged_calendar_is_refused(content: str | bytes, code: str, tmp_path: Path) -> None:
    """Nothing but ascending dates."""
    assert refused(lambda: open_provider(small(tmp_path, **{"calendars/day.txt": content}))) == code


def test_a_directory_without_a_calendar_is_no_provider(tmp_path: Path) -> None:
    """The refusal says what should be there."""
    assert refused(lambda: open_provider(tmp_path)) == "provider.not_found"
    assert refused(lambda: open_provider(tmp_path / "none")) == "provider.not_found"


@pytest.mark.parametrize(
    "line",
    [
        "SH600000",
        "SH600000\t2024-01-02",
        "SH600000 2024-01-02 2024-01-05",
        "SH600000\tnever\t2024-01-05",
        "../../etc\t2024-01-02\t2024-01-05",
        "a/b\t2024-01-02\t2024-01-05",
        "..\t2024-01-02\t2024-01-05",
        "\t2024-01-02\t2024-01-05",
        "X" * 65 + "\t2024-01-02\t2024-01-05",
    ],
)
def test_a_damaged_line_of_instruments_is_refused(line: str, tmp_path: Path) -> None:
    """A code that could leave the directory, or a line that is none, is named with its number."""
    lines = f"SH600000\t2024-01-02\t2024-01-05\n{line}\n"
    provider = open_provider(small(tmp_path, **{"instruments/two.txt": lines}))
    with pytest.raises(RefusalError) as caught:
        provider.universe("two")
    assert caught.value.code == "provider.instruments"
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize("name", ["three", "../two", "two/../two", "", "..", "/etc/passwd"])
def test_a_market_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    """So is a name that is no plain one."""
    provider = open_provider(small(tmp_path))
    assert refused(lambda: provider.universe(name)) == "provider.market"


@pytest.mark.parametrize(
    "content",
    [
        b"\x00" * 9,
        b"\x00",
        b"",
        np.array([np.nan, 1, 2]),
        np.array([np.inf, 1, 2]),
        np.array([-1, 1, 2]),
        np.array([0.5, 1, 2]),
        np.array([3, 1, 2]),
        np.array([0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_damaged_file_of_bars_is_refused(content: bytes | npt.NDArray[Any], tmp_path: Path) -> None:
    """Torn, without a day to begin on, or longer than the calendar."""
    small(tmp_path, **{"features/sh600000/close.day.bin": content})
    assert refused(lambda: two(tmp_path)) == "provider.damaged"


def test_a_file_without_values_is_as_none(tmp_path: Path) -> None:
    """qlib reads an empty series from it."""
    small(tmp_path, **{"features/sh600000/close.day.bin": np.array([2])})
    assert two(tmp_path).instruments == ("SZ000001",)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (np.array([1, 5]), "2024-01-03 to 2024-01-03"),
        (np.array([2, 5, 6]), "2024-01-04 to 2024-01-05"),
        (np.array([1, 5, 6, 7]), "2024-01-03 to 2024-01-05"),
    ],
    ids=["empty", "cut", "later", "longer"],
)
def test_fields_of_a_stock_over_other_days_are_refused(
    content: bytes | npt.NDArray[Any], found: str, tmp_path: Path
) -> None:
    """qlib would fill up a cut file with missing values; here it is named, and what the other fields have."""
    others = {f"features/sz000001/{name}.day.bin": np.array([1, 7, 8]) for name in ("open", "volume")}
    small(tmp_path, **others, **{f"features/sh600000/{name}.day.bin": np.zeros(5) for name in ("open", "volume")})
    fields = ("close", "open", "volume")
    assert two(tmp_path, fields=fields).values.shape == (2, 4, 3)
    damaged = tmp_path / "features/sz000001/close.day.bin"
    write(tmp_path, {"features/sz000001/close.day.bin": content})
    with pytest.raises(RefusalError) as caught:
        two(tmp_path, slice(0, 1), fields)
    assert (caught.value.code, caught.value.where) == ("provider.damaged", str(damaged))
    assert caught.value.found == found
    if found != "an empty file":
        assert caught.value.expected == "2024-01-03 to 2024-01-04, as open.day.bin"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("name", ["features/sh600000/close.day.bin", "features/sh600000", "calendars/day.txt"])
def test_links_and_directories_in_place_of_files_are_refused(name: str, tmp_path: Path) -> None:
    """Only plain files below the directory are read."""
    root, place = small(tmp_path / "data"), tmp_path / "data" / name
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert refused(lambda: two(root)) == "provider.damaged"
    place.unlink()
    if place.suffix:
        place.mkdir()
        assert refused(lambda: two(root)) == "provider.damaged"


@pytest.mark.parametrize(
    ("content", "missing"),
    [(None, 4), (np.array([1]), 4), (np.array([2, 8]), 3)],
    ids=["no file", "no values", "later"],
)
def test_a_field_that_a_stock_lacks_or_has_later_is_missing(
    content: npt.NDArray[Any] | None, missing: int, tmp_path: Path
) -> None:
    """As in qlib, whose data of other vendors have such stocks; the others keep theirs."""
    small(tmp_path, **{"features/sz000001/open.day.bin": np.array([1, 7, 8])})
    whole = two(tmp_path, fields=("close", "open"))
    if content is not None:
        write(tmp_path, {"features/sz000001/vwap.day.bin": content})
    found = two(tmp_path, fields=("close", "open", "vwap"))
    stock = found.instruments.index("SZ000001")
    assert int(np.isnan(found.values[stock, :, 2]).sum()) == missing
    np.testing.assert_array_equal(found.values[:, :, :2], whole.values)
    np.testing.assert_array_equal(found.present, whole.present)


def test_a_field_that_no_stock_has_is_missing(tmp_path: Path) -> None:
    """Yahoo has no vwap; where no stock has any of the fields, or a name is none that a file can have, that is refused."""
    found = two(small(tmp_path), fields=("close", "vwap"))
    assert np.isnan(found.values[:, :, 1]).all()
    assert not np.isnan(found.values[:, :, 0]).all()
    assert refused(lambda: two(tmp_path, fields=("vwap", "turn"))) == "provider.field_missing"
    assert refused(lambda: two(tmp_path, fields=("../close",))) == "provider.field"


def test_a_file_of_any_size_is_not_read(tmp_path: Path) -> None:
    """A file larger than a calendar can be is refused before it is read."""
    small(tmp_path)
    with (tmp_path / "features/sh600000/close.day.bin").open("wb") as file:
        file.truncate(1 << 33)
    assert refused(lambda: two(tmp_path)) == "provider.damaged"


def test_the_configured_place_is_found_through_the_map(tmp_path: Path) -> None:
    """The workspace's YAML names the producer's path; two places that are both there are none."""
    root = small(tmp_path / "here" / "qlib_bin")
    yaml = 'qlib_init:\n    provider_uri: "/data/rdagent/market/qlib_bin"\n    region: cn\n{% if x %}\n'
    workspace = write(tmp_path / "workspace", {"conf.yaml": yaml})
    assert configured_provider(workspace, []) is None
    maps = [("/data/rdagent/market", str(tmp_path / "here"))]
    assert configured_provider(workspace, maps) == root
    write(workspace, {"other.yml": f"provider_uri: '{small(tmp_path / 'second')}'  # another\n"})
    assert configured_provider(workspace, maps) is None
    assert configured_provider(None, maps) is None


def test_the_simulated_market_is_that_of_the_recorded_runs(market: Path) -> None:
    """Rows of the market on the days of the truth, and an elementwise feature of them bit for bit."""
    provider = open_provider(market)
    bars = read_bars(provider, provider.universe("demo62"), ["high", "low", "open"], ALL, EVER)
    truth = pq.read_table(raw_values(FACTOR_PLAIN / "truth/hist2_factor"), columns=["datetime", "instrument", "KLEN"])
    truth = truth.sort_by([("datetime", "ascending"), ("instrument", "ascending")])
    dates = truth["datetime"].to_numpy().astype("datetime64[D]")
    keys, values = [], []
    for place in np.flatnonzero(np.isin(bars.dates, dates)):
        rows = np.flatnonzero(bars.present[:, place])
        keys += [(bars.dates[place], bars.instruments[row]) for row in rows]
        high, low, opened = bars.values[rows, place].T
        values.append((high - low) / opened)
    assert keys == list(zip(dates, truth["instrument"].to_pylist(), strict=True))
    assert np.concatenate(values).tobytes() == pc.fill_null(truth["KLEN"], np.nan).to_numpy().tobytes()


@pytest.mark.skipif(not RESEARCH, reason="ALPHASEAL_RESEARCH_PYTHON names no Python with qlib")
@pytest.mark.slow
def test_every_bar_is_qlibs(market: Path, tmp_path: Path) -> None:
    """All fields of all stocks and days: the rows and the bits that qlib's own reader gives."""
    program = f"""
import numpy as np, qlib
from qlib.data import D
qlib.init(provider_uri={str(market)!r}, region="cn", kernels=1, expression_cache=None, dataset_cache=None)
frame = D.features(D.instruments("demo62"), {["$" + name for name in FIELDS]!r}).swaplevel().sort_index()
frame.reset_index().to_parquet({str(tmp_path / "bars.parquet")!r})

"""
    subprocess.run([str(RESEARCH), "-c", program], check=True, capture_output=True)
    table = pq.read_table(tmp_path / "bars.parquet")
    provider = open_provider(market)
    bars = read_bars(provider, provider.universe("demo62"), FIELDS, ALL, EVER)
    stocks, days = np.nonzero(bars.present)
    order = np.lexsort((stocks, days))
    stocks, days = stocks[order], days[order]
    assert table["instrument"].to_pylist() == [bars.instruments[stock] for stock in stocks]
    assert np.array_equal(table["datetime"].to_numpy().astype("datetime64[D]"), bars.dates[days])
    for place, name in enumerate(FIELDS):
        theirs = table["$" + name].to_numpy()
        assert theirs.dtype == np.float32
        assert np.array_equal(theirs, bars.values[stocks, days, place], equal_nan=True)
    assert len(table) > 40_000
