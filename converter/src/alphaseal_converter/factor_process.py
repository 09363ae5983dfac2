"""Isolated runs of factors' code: the bars as `factor_program` wants them, and the plain numbers that come back.

`factor_runner` and `trial` work through this.  Nothing of the caller's HDF5 and nothing that a factor writes is opened
here; what a child answers is checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeGuard

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal import strict_json
from alphaseal.errors import NotReadableError
from alphaseal.period import Period

from .errors import RefusalError
from .isolation import IsolationLimits, run_isolated

PROGRAM: Final = Path(__file__).resolve().with_name("factor_program.py")
MAXIMUM_ANSWER: Final = 16 << 20
_KEYS: Final = ("datetime", "instrument")
_SIGNATURES: Final = {"given.parquet": b"PAR1", "given.h5": b"\x89HDF\r\n\x1a\n"}
Days = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class FactorBars:
    """Bars in the form that the factors read, and what is known of them."""

    data: bytes
    """``daily_pv.h5`` of all days."""
    static: bytes | None
    days: tuple[str, ...]
    columns: tuple[str, ...]
    keys: Keyed
    """Stocks and days of the period asked for; 0 where a stock's bars of the day are all missing."""
    stocks: tuple[str, ...] = ()
    """Of all days."""
    compared: pa.Table | None = None
    """What `Needs.compared` asked for: `datetime`, `instrument` and the fields that there are, float32."""


@dataclass(frozen=True)
class Needs:
    """What bars must have, and what is wanted of them besides."""

    columns: tuple[str, ...] = ()
    """Plain names of columns that must be there."""
    before: int = 0
    """How many days before the period belong to its keys, as far as there are so many."""
    compared: tuple[str, str, tuple[str, ...]] | None = None
    """First day, last day and fields that are compared with other bars; a day more comes on either side."""
    rewriting: tuple[str, str, str] | None = None
    """How codes of stocks are rewritten (`instruments.rewriting`), None to leave them."""
    without: tuple[str, ...] = ()
    """Stocks whose rows are left out, as the bundle writes them."""


@dataclass(frozen=True)
class Keyed:
    """Values by day (datetime64[D]) and stock, in no order, no pair twice."""

    days: Days
    stocks: npt.NDArray[np.object_]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Runner:
    """How isolated runs are made: with which Python and within which limits."""

    python: Path | None
    limits: IsolationLimits

    def call(
        self, verb: str, order: Mapping[str, Any], inputs: Mapping[str, bytes], outputs: Sequence[str], what: str
    ) -> tuple[dict[str, Any], Mapping[str, bytes]]:
        """One run of the program; RefusalError ``isolation.*``, or ``factor.*`` with the problem that the program tells."""
        size = sum(map(len, inputs.values()))
        limits = replace(
            self.limits,
            # The directory holds the inputs, a part of them as the factor sees it, and what comes out.
            directory_bytes=self.limits.directory_bytes + 4 * size,
            file_bytes=self.limits.file_bytes + 2 * size,
            output_bytes=self.limits.output_bytes + 4 * size,
        )
        found = run_isolated(
            PROGRAM,
            arguments=[verb],
            inputs={**inputs, "order.json": json.dumps(order).encode()},
            outputs=["answer.json"],
            optional_outputs=outputs,
            python=self.python,
            limits=limits,
            what=what,
        )
        answer = strict_json.loads(found["answer.json"], where=f"the answer of {what}", maximum_bytes=MAXIMUM_ANSWER)
        if not isinstance(answer, dict):
            raise RefusalError("factor.answer", f"{what} gave no answer that can be read")
        problem = answer.get("problem")
        if problem is not None:
            raise _problem(problem, what)
        missing = [name for name in outputs if name not in found]
        if missing:
            raise RefusalError("factor.answer", f"{what} gave no {', '.join(missing)}")
        return answer, found


def _problem(problem: Any, what: str) -> RefusalError:
    """What the program tells of; its words are data of a process that nobody trusts."""
    code, text = (problem.get(key) if isinstance(problem, dict) else None for key in ("code", "text"))
    if not isinstance(code, str) or not isinstance(text, str) or not code.isidentifier() or len(code) > 40:
        return RefusalError("factor.answer", f"{what} gave no answer that can be read")
    step = "name the Python of the research environment with --python" if code == "python" else None
    return RefusalError(f"factor.{code}", text[:1000], where=what, next_step=step)


def read_file(path: Path) -> bytes:
    """Content of a file of the caller; NotReadableError `bars.not_readable`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotReadableError(
            "bars.not_readable", f"the file cannot be read: {error.strerror}", where=str(path)
        ) from None


def prepare(
    runner: Runner,
    bars: bytes,
    ending: str,
    static: bytes | None,
    period: Period,
    history: tuple[str, int, int] | None = None,
    needs: Needs | None = None,
) -> FactorBars:
    """Let an isolated child read the bars (`ending`: ``.parquet``, or HDF5) and write them as the factors read them.

    `history` (day, n, m) keeps n days before that day and m after it.  RefusalError `factor.*`.
    """
    needs = needs if needs is not None else Needs()
    given = "given.parquet" if ending == ".parquet" else "given.h5"
    if not bars.startswith(_SIGNATURES[given]):
        raise RefusalError(
            "factor.bars",
            "the bars are no file of the kind that their name says",
            expected="an HDF5 file (daily_pv.h5), or a parquet file whose name ends in .parquet",
            found=f"a file that begins with {bars[:16]!r}",
            next_step="write the bars as parquet",
        )
    order: dict[str, Any] = {"file": given, "first": _iso(period.first), "last": _iso(period.last), "history": history}
    order |= {"columns": needs.columns, "before": needs.before, "rewriting": needs.rewriting, "static": None}
    order |= {"compared": needs.compared, "without": needs.without}
    inputs, outputs = {given: bars}, ["bars.h5", "keys.bin"]
    if static is not None and needs.rewriting is not None:
        order["static"] = "given_static.parquet"
        inputs["given_static.parquet"] = static
        outputs.append("static.parquet")
    if needs.compared is not None:
        outputs.append("compared.bin")
    answer, found = runner.call("prepare", order, inputs, outputs, "the reader of the bars")
    days, columns, stocks = answer.get("days"), answer.get("columns"), answer.get("stocks")
    if not _texts(days) or not _texts(columns) or not _texts(stocks):
        raise RefusalError("factor.answer", "the reader of the bars gave no answer that can be read")
    compared = None if needs.compared is None else _read_compared(answer, found["compared.bin"])
    keys = read_values(answer, found["keys.bin"])
    return FactorBars(
        found["bars.h5"],
        found.get("static.parquet", static),
        tuple(days),
        tuple(columns),
        keys,
        tuple(stocks),
        compared,
    )


def _read_compared(answer: Mapping[str, Any], data: bytes) -> pa.Table:
    """``compared.bin``: days and places as in every ``.bin``, then float32 of each field."""
    names, fields = answer.get("instruments"), answer.get("compared")
    if not _texts(names) or not _texts(fields) or len({*fields, *_KEYS}) != len(fields) + len(_KEYS):
        raise RefusalError("factor.answer", "the child's answer cannot be read")
    width = 8 + 4 * len(fields)
    count = len(data) // width
    places = np.frombuffer(data, "<i4", count, 4 * count)
    if len(data) % width or (count and (places.min() < 0 or places.max() >= len(names))):
        raise RefusalError("factor.answer", "the child's answer cannot be read")
    days = np.frombuffer(data, "<i4", count)
    values = np.frombuffer(data, "<f4", len(fields) * count, 8 * count).reshape(len(fields), count)
    return pa.table(
        {
            "datetime": pa.array(days.astype("datetime64[D]"), pa.date32()),
            "instrument": pa.array(names, pa.string()).take(pa.array(places, pa.int32())),
            **{field: pa.array(column.astype(np.float32)) for field, column in zip(fields, values, strict=True)},
        }
    )


def _iso(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def read_values(answer: Mapping[str, Any], data: bytes) -> Keyed:
    """A ``.bin`` of the program with the stocks that its answer lists; RefusalError `factor.answer` where they do not fit."""
    names = answer.get("instruments")
    if not _texts(names) or len(data) % 16:
        raise RefusalError("factor.answer", "the child's answer cannot be read")
    count = len(data) // 16
    days = np.frombuffer(data, "<i4", count).astype("datetime64[D]")
    places = np.frombuffer(data, "<i4", count, 4 * count)
    if count and (places.min() < 0 or places.max() >= len(names)):
        raise RefusalError("factor.answer", "the child's answer cannot be read")
    stocks = np.array(names, np.object_)[places] if count else np.empty(0, np.object_)
    return Keyed(days, stocks, np.frombuffer(data, "<f8", count, 8 * count).astype(np.float64))


def factor_inputs(bars: FactorBars, source: bytes) -> dict[str, bytes]:
    """What the run of a factor sees, before `factor_program` lays it out as RD-Agent does."""
    static = {"static.parquet": bars.static} if bars.static is not None else {}
    return {"bars.h5": bars.data, "factor.py": source, **static}
