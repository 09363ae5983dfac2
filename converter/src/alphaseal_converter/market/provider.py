"""qlib's market data, read without qlib: the calendar, the instruments of a market, and the binary files of bars.

::

    calendars/day.txt                    one date a line, ascending
    instruments/<market>.txt             code <tab> first date <tab> last date; several lines for several spans
    features/<code, lower>/<field>.day.bin   little-endian float32: the calendar index of the first day, then one value a day

Source of the rules: qlib 0.9.7, `data/storage/file_storage.py` and `data/data.py` (`LocalInstrumentProvider`,
`inst_calculator`).  Nothing but plain files below the directory is read, each of a bounded size.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt

from alphaseal.bars.calendar import Bars
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.runs import plain_file, read_file
from alphaseal_converter.locate.workspaces import translate
from alphaseal_converter.session.history import recorded_path

MAXIMUM_DAYS = 100_000
MAXIMUM_LINES = 1_000_000
MAXIMUM_VALUES = 1 << 28
_TEXT_LIMIT = 64 << 20
_FIELD_LIMIT = 4 * (MAXIMUM_DAYS + 1)
_CODE = re.compile(r"[A-Za-z0-9_^](?:[A-Za-z0-9_.^-]{0,62}[A-Za-z0-9_^-])?")
_FIELD = re.compile(r"[A-Za-z0-9_]{1,64}")
_MARKET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_MIDNIGHT = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[ T]00:00:00)?")
_CONFIGURED = re.compile(r"""^\s*provider_uri:\s*["']?([^"'\n{#]+?)["']?\s*(?:#.*)?$""", re.MULTILINE)
# Names that Windows keeps for devices: qlib gives their directories a prefix (`utils.code_to_fname`).
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{kind}{number}" for kind in ("COM", "LPT") for number in range(10))}

_RESTORE = "restore the file, or write the market data anew"

Days = npt.NDArray[np.datetime64]
Span = tuple[np.datetime64, np.datetime64]
_Series = tuple[int, npt.NDArray[np.float32]]
Universe = Mapping[str, "tuple[Span, ...] | None"]
"""Instrument -> the spans in which it belongs to the market, both ends included; None: always."""


@dataclass(frozen=True)
class Provider:
    """A directory of qlib's day data.  `calendar`: datetime64[D], ascending.  `digests`: every file read so far."""

    root: Path
    calendar: Days
    digests: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """sha256 over the lines ``<sha256>  <path>`` of all files read, by path: what sha256sum prints of them."""
        lines = "".join(f"{self.digests[path]}  {path}\n" for path in sorted(self.digests))
        return hashlib.sha256(lines.encode("utf-8")).hexdigest()

    def universe(self, instruments: str | Sequence[str]) -> Universe:
        """The stocks of a market with their spans, or a list of codes, which are there always.

        Raises RefusalError ``provider.market`` (no such market), ``provider.instruments`` (a line that is none).
        """
        if not isinstance(instruments, str):
            return {_code(name, str(self.root)): None for name in instruments}
        path = f"instruments/{instruments.lower()}.txt"
        data = self._read(path, _TEXT_LIMIT) if _MARKET.fullmatch(instruments) else None
        if data is None:
            there = sorted(entry.stem for entry in (self.root / "instruments").glob("*.txt"))
            raise RefusalError(
                "provider.market",
                "the market data do not have the run's market",
                where=str(self.root / "instruments"),
                expected=f"{instruments[:64]}.txt",
                found=", ".join(there[:40]) or "no market",
                next_step="name the data that the run was trained on with --provider",
            )
        spans: dict[str, list[Span]] = {}
        for number, line in _lines(data, self.root / path):
            cells = line.split("\t")
            first, last = (_date(cell) for cell in cells[1:3]) if len(cells) >= 3 else (None, None)
            if first is None or last is None:
                raise RefusalError(
                    "provider.instruments",
                    "a line of the market's instruments is not a code and two dates",
                    where=f"{self.root / path}, line {number}",
                    expected="CODE<tab>YYYY-MM-DD<tab>YYYY-MM-DD",
                    found=repr(line[:80]),
                )
            spans.setdefault(_code(cells[0], f"{self.root / path}, line {number}"), []).append((first, last))
        return {name: tuple(found) for name, found in spans.items()}

    def place(self, instrument: str, name: str) -> str:
        """Where the file of one field is, below `root`."""
        folder = f"_qlib_{instrument}" if instrument.upper() in _DEVICES else instrument
        return f"features/{folder.lower()}/{name.lower()}.day.bin"

    def values(self, instrument: str, name: str) -> _Series | None:
        """(calendar index of the first value, float32 values one a day) of one field; None where there is no value.

        Raises RefusalError ``provider.damaged``.
        """
        path = self.place(instrument, name)
        data = self._read(path, _FIELD_LIMIT)
        if data is None:
            return None
        content = np.frombuffer(data[: len(data) // 4 * 4], dtype="<f4")
        start = float(content[0]) if len(content) else 0.0
        wrong = None
        if not data:
            wrong = "an empty file"
        elif len(data) % 4:
            wrong = f"{len(data)} bytes, no whole number of float32"
        elif not start.is_integer() or start < 0:
            wrong = f"first day {start}"
        elif len(content) and int(start) + len(content) - 1 > len(self.calendar):
            wrong = f"{len(content) - 1} days from day {int(start)} on, the calendar has {len(self.calendar)}"
        if wrong is not None:
            raise RefusalError(
                "provider.damaged",
                "a file of bars is not what qlib writes",
                where=str(self.root / path),
                expected="float32: the calendar index of the first day, then one value a day",
                found=wrong,
                next_step=_RESTORE,
            )
        return (int(start), content[1:].astype(np.float32)) if len(content) > 1 else None

    def _read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, None where it is absent; RefusalError ``provider.damaged`` for anything but a plain file."""
        place = self.root
        for part in path.split("/"):
            place = place / part
            try:
                mode = place.lstat().st_mode
            except OSError:
                return None
            directory = place != self.root / path
            if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)) or place.stat().st_size > limit:
                raise RefusalError(
                    "provider.damaged",
                    "not a plain file of the market data",
                    where=str(place),
                    expected=f"directories and files, no links, at most {limit} bytes",
                    next_step="put the files themselves there",
                )
        data = read_file(self.root / path)
        self.digests[path] = hashlib.sha256(data).hexdigest()
        return data


def open_provider(root: Path) -> Provider:
    """Read the calendar of a directory of day data.

    Raises RefusalError ``provider.not_found`` (no such directory, or no calendar in it), ``provider.calendar``.
    """
    provider = Provider(root, np.array([], dtype="datetime64[D]"))
    data = provider._read("calendars/day.txt", _TEXT_LIMIT)  # noqa: SLF001 - of its own class
    if data is None:
        raise RefusalError(
            "provider.not_found",
            "no market data of qlib here",
            where=str(root),
            expected="calendars/day.txt, instruments/ and features/",
            next_step="name qlib's data directory with --provider DIR",
        )
    where = root / "calendars/day.txt"
    days: list[np.datetime64] = []
    for number, line in _lines(data, where):
        day = _date(line.strip())
        if day is None or (days and day <= days[-1]) or len(days) >= MAXIMUM_DAYS:
            raise RefusalError(
                "provider.calendar",
                "the calendar is not a list of ascending dates",
                where=f"{where}, line {number}",
                expected=f"YYYY-MM-DD after the line before, at most {MAXIMUM_DAYS} days",
                found=repr(line[:80]),
            )
        days.append(day)
    if not days:
        raise RefusalError("provider.calendar", "the calendar is empty", where=str(where))
    return Provider(root, np.array(days, dtype="datetime64[D]"), provider.digests)


def configured_provider(workspace: Path | None, path_maps: Sequence[tuple[str, str]]) -> Path | None:
    """The market data that the workspace's YAML files name, where exactly one such directory is there (through --map).

    The files may be unrendered Jinja, which no YAML reader takes; RD-Agent writes the line literally.
    """
    if workspace is None:
        return None
    found: dict[Path, Path] = {}
    for path in sorted(workspace.glob("*.y*ml")):
        place = plain_file(path, workspace, _TEXT_LIMIT)
        text = read_file(place).decode("utf-8", "replace") if place is not None else ""
        for named in _CONFIGURED.findall(text):
            for candidate in _candidates(named, path_maps):
                if (candidate / "calendars").is_dir():
                    found.setdefault(candidate.resolve(), candidate)
                    break
    return next(iter(found.values())) if len(found) == 1 else None


def _candidates(named: str, path_maps: Sequence[tuple[str, str]]) -> tuple[Path, ...]:
    recorded = recorded_path(named)
    mapped = translate(recorded, path_maps) if recorded is not None else ()
    absolute = PurePosixPath(named).is_absolute() or PureWindowsPath(named).is_absolute()
    # A relative path was relative to wherever the run was started: not known here.  Looking at a share would already
    # be a call to the machine that the file names.
    absolute = absolute and not named.startswith(("//", "\\\\"))
    own = (Path(named).expanduser(),) if absolute or named.startswith("~") else ()
    return (*mapped, *own)


def read_bars(
    provider: Provider, universe: Universe, fields: Sequence[str], days: slice, rows: tuple[date | None, date | None]
) -> Bars:
    """Bars of all stocks of `universe` on the calendar's days `days`; stocks without any file are left out, as in qlib.

    A stock's series begins on the first day of its files.  Its rows are the days that they have, within
    its spans and `rows` (both ends included), whatever the values; values beyond them are there for the windows, as in
    qlib.  A field that a stock, or every stock, has no file of, or that begins later, has missing values there, as in qlib.
    All fields of a stock end on one day, as qlib's `scripts/dump_bin.py` writes them: qlib itself would fill up what a file
    lost with missing values.  Raises RefusalError ``provider.field_missing`` (no stock has any of them), ``provider.damaged``,
    ``provider.too_large``.
    """
    calendar = provider.calendar[days]
    first_day = days.indices(len(provider.calendar))[0]
    if len(universe) * len(calendar) * len(fields) > MAXIMUM_VALUES:
        raise RefusalError(
            "provider.too_large",
            "the period's bars do not fit into memory",
            expected=f"at most {MAXIMUM_VALUES} values",
            found=f"{len(universe)} stocks, {len(calendar)} days, {len(fields)} fields",
        )
    names, parts, firsts, lasts, present = [], [], [], [], []
    uneven: list[_Uneven] = []
    for name in sorted(universe):
        series = {column: found for column in fields if (found := provider.values(name, _field(column))) is not None}
        if not series:
            continue
        other = _uneven(provider, name, series)
        if other is not None:
            uneven.append(other)
            continue
        values = np.full((len(calendar), len(fields)), np.nan, np.float32)
        for place, column in enumerate(fields):
            if column in series:
                _put(values[:, place], first_day, *series[column])
        start = min(begin for begin, _ in series.values())
        end = max(begin + len(found) for begin, found in series.values())
        index = np.arange(first_day, first_day + len(calendar))
        names.append(name)
        parts.append(values)
        firsts.append(max(0, start - first_day))
        lasts.append(min(len(calendar), end - first_day) - 1)
        present.append((index >= start) & (index < end) & _inside(calendar, universe[name], rows))
    if uneven:
        raise _damaged(uneven)
    if not names:
        raise RefusalError(
            "provider.field_missing",
            "no stock of the market has a file of any field that the run's expressions read",
            where=str(provider.root / "features"),
            expected=", ".join(fields),
            found="no stock with files",
            next_step="name the data that the run was trained on with --provider",
        )
    return Bars(
        dates=calendar,
        instruments=tuple(names),
        values=np.stack(parts),
        first=np.array(firsts, np.int64),
        last=np.array(lasts, np.int64),
        present=np.stack(present),
    )


@dataclass(frozen=True)
class _Uneven:
    """A file that has other days than the other fields of its stock, both in words."""

    where: Path
    expected: str
    found: str


def _uneven(provider: Provider, instrument: str, series: Mapping[str, _Series]) -> _Uneven | None:
    """The first field that ends on another day than most fields of the stock; of two as many, the later is right."""
    spans = {column: (start, len(values)) for column, (start, values) in series.items()}
    ends = {column: start + length for column, (start, length) in spans.items()}
    usual, _ = max(Counter(ends.values()).items(), key=lambda counted: (counted[1], counted[0]))
    model = next(name for name, end in ends.items() if end == usual)
    for column, end in ends.items():
        if end != usual:
            place = provider.place(instrument, column)
            shown = PurePosixPath(provider.place(instrument, model)).name
            expected = f"{_span(provider.calendar, spans[model])}, as {shown}"
            return _Uneven(provider.root / place, expected, _span(provider.calendar, spans[column]))
    return None


def _span(calendar: Days, span: tuple[int, int]) -> str:
    start, length = span
    return f"{calendar[start]} to {calendar[start + length - 1]}"


def _damaged(uneven: Sequence[_Uneven]) -> RefusalError:
    first = uneven[0]
    more = f"; {len(uneven)} stocks are like that" if len(uneven) > 1 else ""
    return RefusalError(
        "provider.damaged",
        "the files of a stock do not end on the same day",
        where=str(first.where),
        expected=first.expected,
        found=first.found + more,
        next_step=_RESTORE,
    )


def _put(column: npt.NDArray[np.float32], first_day: int, start: int, values: npt.NDArray[np.float32]) -> None:
    """Lay a series that begins on calendar day `start` into a column that begins on day `first_day`."""
    low, high = max(start, first_day), min(start + len(values), first_day + len(column))
    if low < high:
        column[low - first_day : high - first_day] = values[low - start : high - start]


def _inside(
    calendar: Days, spans: tuple[Span, ...] | None, rows: tuple[date | None, date | None]
) -> npt.NDArray[np.bool_]:
    inside = np.ones(len(calendar), np.bool_)
    if spans is not None:
        inside = np.zeros(len(calendar), np.bool_)
        for first, last in spans:
            inside |= (calendar >= first) & (calendar <= last)
    if rows[0] is not None:
        inside &= calendar >= np.datetime64(rows[0], "D")
    if rows[1] is not None:
        inside &= calendar <= np.datetime64(rows[1], "D")
    return inside


def _lines(data: bytes, where: Path) -> list[tuple[int, str]]:
    """Numbered lines that are not blank; RefusalError ``provider.text`` where it is no text or too long."""
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise RefusalError("provider.text", "a file of the market data is not UTF-8 text", where=str(where)) from None
    if len(lines) > MAXIMUM_LINES:
        raise RefusalError(
            "provider.text", "a file of the market data has too many lines", where=str(where), found=str(len(lines))
        )
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _date(text: str) -> np.datetime64 | None:
    found = _MIDNIGHT.fullmatch(text.strip())
    try:
        return np.datetime64(date.fromisoformat(found.group(1)), "D") if found is not None else None
    except ValueError:
        return None


def _code(name: str, where: str) -> str:
    """A code that can be a directory's name on every system, whoever wrote it."""
    if not _CODE.fullmatch(name):
        raise RefusalError(
            "provider.instruments", "an instrument is written in a form that no file can have", where=where,
            expected="letters, digits, _ . ^ -, at most 64", found=repr(name[:80]),
        )  # fmt: skip
    return name


def _field(name: str) -> str:
    if not _FIELD.fullmatch(name):
        raise RefusalError(
            "provider.field", "a field is written in a form that no file can have", found=repr(name[:80])
        )
    return name
