"""A caller's side table (`static_factors.parquet`: fundamentals, money flow, sectors) on the days and stocks of bars.

A factor's code joins such a table by date and stock, and so it is here: of a date counts the row of that date.  A row of a
later date than the one that is scored is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from alphaseal.arrow.columns import numbers_of, plain_name
from alphaseal.bars.source import names_of
from alphaseal.errors import InputError
from alphaseal.factors.daily import EMPTY, SideTable
from alphaseal.plain_text import listed
from alphaseal.tables.features import FeatureColumn, TableColumns, is_file, read_table, table_of
from alphaseal.tables.parquet import Budget, decode, groups_of, open_parquet
from alphaseal.tables.period import Period

if TYPE_CHECKING:
    from alphaseal.bars.calendar import Bars
    from alphaseal.format.factors import SideColumn
    from alphaseal.tables.features import FeatureBlock
    from alphaseal.tables.request import Request

_WHERE = "the side table"
_SLACK = 0.05
"""Share of a day's stocks that may lack a value beyond what the recorded table's worst day lacked."""


@dataclass(frozen=True, eq=False)
class SideSource:
    """A side table that was looked at for its columns; `readers` are the features that need each."""

    table: Any
    names: Mapping[str, str]
    """Plain name -> name in the table."""
    columns: Sequence[SideColumn]
    readers: Mapping[str, Sequence[str]]
    request: Request

    @classmethod
    def of(
        cls, table: Any, columns: Sequence[SideColumn], readers: Mapping[str, Sequence[str]], request: Request
    ) -> SideSource:
        """`table` is the path of a parquet file, its bytes, or a table in memory.

        Raises InputError `static.missing_column`, and `features.*` where it is no table.
        """
        table = table if is_file(table) else table_of(table)
        known = {plain: name for name in names_of(table) if (plain := plain_name(name)) is not None}
        missing = [column.name for column in columns if column.name not in known]
        if missing:
            needed = "; ".join(f"{name} by {listed(sorted(readers.get(name, ())))}" for name in missing)
            raise InputError(
                "static.missing_column",
                "the side table lacks columns that compiled factors read",
                where=_WHERE,
                expected=f"{needed}"[:500],
                found=", ".join(sorted(known))[:300],
                next_step="add these columns, as they were in the static_factors.parquet of the research",
            )
        return cls(table, known, columns, readers, request)

    def on(self, bars: Bars, days: range) -> SideTable:
        """The table on the days and stocks of `bars`; the days at the positions `days` are scored.

        Raises InputError `static.date_absent`, `static.values_missing`, `static.column_type`, and `features.*`,
        `instrument.*` for rows that cannot be read.
        """
        shape = bars.present.shape
        rows = np.zeros(shape, np.bool_)
        values = {column.name: np.full(shape, EMPTY.get(column.dtype, np.nan)) for column in self.columns}
        missing = {column.name: np.ones(shape, np.bool_) for column in self.columns}
        block = self._read(bars.dates[0], bars.dates[-1])
        if block is not None:
            places = {name: place for place, name in enumerate(bars.instruments)}
            encoded = block.instruments.dictionary_encode()
            stocks = np.array([places.get(name, -1) for name in encoded.dictionary.to_pylist()], np.int64)
            stock = stocks[numbers_of(encoded.indices, np.dtype(np.int32))]
            day = np.minimum(np.searchsorted(bars.dates, block.dates), shape[1] - 1)
            inside = (stock >= 0) & (bars.dates[day] == block.dates)
            at = stock[inside], day[inside]
            rows[at] = True
            for number, column in enumerate(self.columns):
                found = block.values[inside, number]
                missing[column.name][at] = np.isnan(found)
                empty = EMPTY.get(column.dtype)
                values[column.name][at] = found if empty is None else np.where(np.isnan(found), empty, found)
        for day_of in days:
            self._check_day(bars, day_of, rows, missing)
        return SideTable(values, rows)

    def _check_day(self, bars: Bars, day: int, rows: npt.NDArray[np.bool_], missing: Mapping[str, Any]) -> None:
        """Every day that the factors of the scored `day` look at has the table's rows and values, nearly as in training."""
        for column in self.columns:
            for seen in range(max(0, day + 1 - column.days), day + 1):
                there = bars.present[:, seen]
                if not there.any():
                    continue
                if not rows[there, seen].any():
                    raise InputError(
                        "static.date_absent",
                        "the side table has no row on a date that compiled factors look at",
                        where=_WHERE,
                        expected=f"rows on {bars.dates[seen]}, for {listed(sorted(self.readers.get(column.name, ())))}",
                        found="none",
                        next_step="give the table's rows of this date too; a missing table is never taken for missing values",
                    )
                share = float(missing[column.name][there, seen].mean())
                if share > column.missing + _SLACK:
                    raise InputError(
                        "static.values_missing",
                        "a column of the side table is empty, or far emptier than it ever was in the research",
                        where=f"{_WHERE}, column {column.name!r} on {bars.dates[seen]}",
                        expected=f"values for all but {column.missing:.1%} of the stocks with bars",
                        found=f"none for {share:.1%}",
                        next_step="load the table again: factors of missing values would be scored without a word",
                    )

    def _read(self, first: np.datetime64, last: np.datetime64) -> FeatureBlock | None:
        plain = self._plain((first, last))
        features = [
            FeatureColumn(column.name, "float32" if column.dtype == "float32" else "float64") for column in self.columns
        ]
        try:
            return read_table(plain, features, dates=(first, last), notation=self.request.notation)
        except InputError as error:
            if error.code != "features.date_absent":
                raise error.saying(where=_WHERE) from None
            return None

    def _plain(self, dates: tuple[Any, Any]) -> Any:
        """Keys and columns as a table of numbers: texts become places in a list, truth values 0 and 1."""
        table = self._rows(dates) if is_file(self.table) else self.table
        for column in self.columns:
            if column.dtype in ("text", "bool"):
                name = self.names[column.name]
                place = table.schema.get_field_index(name)
                table = table.set_column(place, name, _codes(table.column(place), column.name, column.dtype))
        return table

    def _rows(self, dates: tuple[Any, Any]) -> Any:
        with open_parquet(self.table) as file:
            keys = TableColumns.of(file.schema_arrow, [])
            wanted = [keys.date, keys.instrument, *(self.names[column.name] for column in self.columns)]
            groups = groups_of(file, keys.date, Period.of(None, dates))
            budget = Budget.of_file(file, self.request.limits)
            batches = list(decode(file, groups, wanted, keys.batch_rows, budget))
            schema = pa.schema([file.schema_arrow.field(name) for name in wanted])
        return pa.Table.from_batches(batches) if batches else schema.empty_table()


def _codes(column: Any, name: str, dtype: str) -> Any:
    """int32 numbers of a column of texts or truth values; null where there is none."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    right = pa.types.is_boolean(kind) if dtype == "bool" else pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not right:
        raise InputError(
            "static.column_type",
            "a column of the side table is of another kind than in the research",
            where=f"{_WHERE}, column {name!r}",
            expected="texts" if dtype == "text" else "true and false",
            found=str(column.type),
        )
    if dtype == "bool":
        return pc.cast(column, pa.int32())
    return pc.dictionary_encode(pc.cast(column, pa.string())).combine_chunks().indices
