"""What to hold, sell and buy on a day, as the strategy chooses that the run's metrics belong to.

Source: ``qlib.contrib.strategy.signal_strategy.TopkDropoutStrategy.generate_trade_decision`` of qlib 0.9.7 with
``method_sell="bottom"`` and ``method_buy="top"``: the best stocks that are not held come into question, and of these and
the held ones together the `n_drop` worst that are held are sold.  qlib's own sort leaves equal scores in no certain
order; here they are in ascending order of instrument, as everywhere in a bundle.

What needs an exchange or a calendar stays with the caller: amounts and cash, and whether an order can be dealt (suspended
stocks, price limits; `forbid_all_trade_at_limit` speaks of nothing else).  A strategy that needs them to choose stocks is
refused by the name of its argument (strategy.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from alphaseal.advice.strategy import numbers_of_run
from alphaseal.arrow.columns import text_array
from alphaseal.errors import InputError, UsageError
from alphaseal.format.reasons import NO_ROW, NON_FINITE
from alphaseal.tables.instruments import normalise
from alphaseal.tables.request import Notation

if TYPE_CHECKING:
    from alphaseal.format.manifest import Manifest

PICK_SCHEMA = pa.schema(
    [("instrument", pa.string()), ("action", pa.string()), ("rank", pa.int32()), ("score", pa.float64())]
)
_ACTIONS = ("hold", "sell", "buy")
_COLUMN = "instrument"
UNSCORED_SCHEMA = pa.schema([("instrument", pa.string()), ("reason", pa.string())])


class RankedDay(Protocol):
    """The scores of a date (`alphaseal.scoring.scores.Scores`)."""

    @property
    def table(self) -> pa.Table: ...
    @property
    def excluded(self) -> pa.Table: ...
    @property
    def manifest(self) -> Manifest | None: ...
    def dates(self) -> int: ...


@dataclass(frozen=True)
class Picks:
    """`table`: instrument, action ("hold", "sell", "buy"), rank (int32), score (float64), in this order of actions, then
    by rank, then by instrument; rank and score are null where a held stock has none.  `unscored`: the held stocks without
    a score (instrument, reason: one of scores.py, `no_row` also for stocks that the table does not have at all)."""

    table: pa.Table
    unscored: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """pandas, polars and duckdb read the picks through this."""
        return self.table.__arrow_c_stream__(requested_schema)

    def instruments(self, action: str) -> list[str]:
        """The stocks of one action."""
        return [row["instrument"] for row in self.table.to_pylist() if row["action"] == action]


def picks(
    scores: RankedDay,
    holdings: Sequence[str],
    *,
    top_k: int | None = None,
    n_drop: int | None = None,
    instruments_from: str | None = None,
) -> Picks:
    """The day's picks from the scores of one date and the stocks that are held (their order does not matter).

    `top_k` and `n_drop` are those of the run where they are left out; who names both asks for qlib's TopkDropout with
    these numbers, whatever the run's strategy is.  `instruments_from` ("qlib", "ts") converts the holdings.

    A held stock without a score ranks below every scored one, as in qlib; so do stocks whose score is NaN or infinite,
    and they are never bought: their places stay empty.

    Raises UsageError `picks.strategy` (the run's strategy is another), `picks.argument` (one of its arguments cannot be
    followed here), `picks.number`, `picks.dates`, `usage.holdings` (no codes); InputError `picks.holdings` (more stocks than the strategy ever holds)
    and `instrument.pattern`.
    """
    if top_k is None or n_drop is None:
        run_top_k, run_n_drop = numbers_of_run(scores.manifest)
        top_k, n_drop = run_top_k if top_k is None else top_k, run_n_drop if n_drop is None else n_drop
    for name, number in (("top_k", top_k), ("n_drop", n_drop)):
        # qlib takes the last 0 of a list for the whole list: with n_drop 0 it sells everything.
        if number < 1:
            raise UsageError("picks.number", f"{name} must be at least 1", where=name, found=str(number))
    if (dates := scores.dates()) != 1:
        raise UsageError(
            "picks.dates", "picks are those of one date", expected="scores of one date", found=f"{dates} dates"
        )
    held = _held(scores, holdings, instruments_from)
    if len(held) > top_k + n_drop:
        raise InputError(
            "picks.holdings",
            "the strategy never holds so many stocks, and qlib's rule would buy nearly all others",
            where="holdings",
            expected=f"at most {top_k + n_drop} stocks (top_k {top_k} and n_drop {n_drop})",
            found=str(len(held)),
            next_step="sell down to the strategy's number of stocks first",
        )
    return _Day(scores).picks(held, top_k, n_drop)


def _held(scores: RankedDay, holdings: Sequence[str], instruments_from: str | None) -> list[str]:
    """The held stocks as the bundle names them, each once, ascending.

    A code in another notation would have no score, and all would be sold: the bundle's pattern is asked for.
    """
    given = None if isinstance(holdings, str | bytes) or not isinstance(holdings, Iterable) else list(holdings)
    if given is None or not all(isinstance(code, str) for code in given):
        raise UsageError(
            "usage.holdings",
            "holdings are a sequence of codes",
            where="holdings",
            expected='["SH600000", …]',
            found=repr(holdings)[:80],
        )
    codes = text_array(given)
    if scores.manifest is not None:
        try:
            codes = normalise(codes, Notation.of(scores.manifest.data.instrument_format, instruments_from))
        except InputError as error:
            raise error.saying(where="holdings") from None
    return sorted(set(codes.to_pylist()))


class _Day:
    """The scored stocks of a date in order of rank, and why others have no score."""

    def __init__(self, scores: RankedDay) -> None:
        self._table = scores.table.combine_chunks()
        self._names: list[str] = self._table["instrument"].to_pylist()
        self._places = {name: place for place, name in enumerate(self._names)}
        self._reasons: dict[str, str] = dict(
            zip(scores.excluded["instrument"].to_pylist(), scores.excluded["reason"].to_pylist(), strict=True)
        )

    def picks(self, held: Sequence[str], top_k: int, n_drop: int) -> Picks:
        """`held` differ and are at most top_k + n_drop; both numbers are at least 1."""
        now = set(held)
        not_finite = sorted(name for name, reason in self._reasons.items() if reason == NON_FINITE)
        candidates = [name for name in (*self._names, *not_finite) if name not in now][: n_drop + top_k - len(held)]
        together = sorted((*held, *candidates), key=self._order)
        sold = set(together[-n_drop:]) & now
        bought = [name for name in candidates[: len(sold) + top_k - len(held)] if name in self._places]
        actions = zip(_ACTIONS, (now - sold, sold, bought), strict=True)
        rows = [(name, action) for action, names in actions for name in sorted(names, key=self._order)]
        unscored = [name for name in held if name not in self._places]
        return Picks(
            self._rows(rows),
            pa.Table.from_arrays(
                [text_array(unscored), text_array([self._reasons.get(name, NO_ROW) for name in unscored])],
                schema=UNSCORED_SCHEMA,
            ),
        )

    def _order(self, name: str) -> tuple[int, str]:
        """By rank; then those without a score, by name."""
        return self._places.get(name, len(self._names)), name

    def _rows(self, rows: Sequence[tuple[str, str]]) -> pa.Table:
        places = np.array([self._places.get(name, -1) for name, _ in rows], np.int64)
        # Without `pa.array`, which imports pandas: a place that is not known is a null of the indices.
        valid = pa.py_buffer(np.packbits(places >= 0, bitorder="little"))
        indices = pa.Array.from_buffers(pa.int64(), len(places), [valid, pa.py_buffer(places)])
        return pa.Table.from_arrays(
            [
                text_array([name for name, _ in rows]),
                text_array([action for _, action in rows]),
                *(self._table[name].take(indices) for name in ("rank", "score")),
            ],
            schema=PICK_SCHEMA,
        )
