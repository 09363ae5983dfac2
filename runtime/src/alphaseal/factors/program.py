"""A program of compiled factors, loaded: graph, stages across stocks, graph, … for the stocks of one day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alphaseal.errors import PolicyError
from alphaseal.factors import across
from alphaseal.format.factors import FactorSeries
from alphaseal.scoring.session import load_session, row_chunks, run_session, spread

if TYPE_CHECKING:
    from alphaseal.format.factors import FactorProgram, FactorStage

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
ROWS_PER_CALL = 256
"""Stocks that one call of a graph gets."""


@dataclass(frozen=True, eq=False)
class Window:
    """What a program reads of some stocks, for the newest of `window` days; each axis of days is oldest first.

    `bars` float32 [stocks, window, fields]; `begun` int64 [stocks]: day of the window on which the stock's series begins,
    not positive where it began at its first day or before; `listed` bool [stocks, window]: the series has the day;
    `tables` float64 [stocks, window, columns].
    """

    bars: npt.NDArray[np.float32]
    begun: npt.NDArray[np.int64]
    listed: Mask
    tables: Floats


@dataclass(frozen=True, eq=False)
class Columns:
    """`values` float64 [stocks, factors]; `known` bool [stocks, factors]: the value depends on the days of the window alone."""

    values: Floats
    known: Mask


class Program:
    """The loaded graphs of one program."""

    def __init__(self, description: FactorProgram, read: Callable[[str], bytes]) -> None:
        """`read` gives the verified bytes of a graph.

        Raises PolicyError `model.not_loadable`, and `model.signature` where a graph is not what the manifest says.
        """
        self.description = description
        self.factors = tuple(description.factors)
        self._sessions = [self._load(number, read) for number in range(len(description.graphs))]

    def _load(self, number: int, read: Callable[[str], bytes]) -> Any:
        told = self.description
        graph = told.graphs[number]
        session = load_session(read(graph.file), graph.file)
        shapes: list[tuple[str, str, list[int]]] = [
            ("bars", "tensor(float)", [told.window, len(told.fields)]),
            ("length", "tensor(int64)", []),
            ("tables", "tensor(double)", [told.window, len(told.columns)]),
            ("stages", "tensor(double)", [graph.taken]),
        ]
        said = [(name, kind, shape) for name, kind, shape in shapes if not shape or shape[-1]]
        said.append(("values", "tensor(double)", [graph.given]))
        ports = [*session.get_inputs(), *session.get_outputs()]
        found = [(port.name, port.type, list(port.shape)[1:]) for port in ports]
        if found != said or any(isinstance(port.shape[0], int) for port in ports):
            raise PolicyError(
                "model.signature",
                "a graph of compiled factors is not what the manifest says of it",
                where=graph.file,
                expected=str(said),
                found=str(found)[:300],
            )
        return session

    def compute(self, window: Window, threads: int | None = None) -> Columns:
        """The factors of the newest day.

        A stage across stocks sees the stocks of `window` and no others.  Where one of them takes part whose value depends
        on earlier days, no factor behind that stage is known, of any stock.
        """
        told = self.description
        length = np.clip(told.window - window.begun, 1, told.window)
        staged = np.zeros((len(length), 0))
        spoilt = np.zeros(len(length), np.bool_)
        values = np.zeros((len(length), 0))
        for number, graph in enumerate(told.graphs):
            values = self._call(number, window, length, staged, graph.given, threads)
            for stage in told.stages[number] if number < len(told.stages) else ():
                found, whole = self._stage(stage, values, window.listed)
                staged = np.concatenate([staged, found], axis=1)
                spoilt |= not whole
        series = [told.factors[name] for name in self.factors]
        known = np.stack([_known(one, values, told.window) for one in series], axis=1) & ~spoilt[:, None]
        return Columns(values[:, [one.first for one in series]], known)

    def _call(
        self,
        number: int,
        window: Window,
        length: npt.NDArray[np.int64],
        staged: Floats,
        width: int,
        threads: int | None,
    ) -> Floats:
        session = self._sessions[number]
        given: Mapping[str, npt.NDArray[Any]] = {
            "bars": window.bars,
            "length": length,
            "tables": window.tables,
            "stages": staged,
        }
        names = [port.name for port in session.get_inputs()]
        result = np.full((len(length), width), np.nan)

        def call(part: slice) -> None:
            result[part] = run_session(session, {name: np.ascontiguousarray(given[name][part]) for name in names})

        spread(call, row_chunks(len(length), ROWS_PER_CALL), threads)
        return result

    def _stage(self, stage: FactorStage, values: Floats, listed: Mask) -> tuple[Floats, bool]:
        """What a stage gives, and whether all that it saw is known."""
        days = stage.gives.days
        shape = (len(values), days)
        inputs = [_input(one, values, shape) for one in stage.inputs]
        place = 2 if stage.operator == "day_pair" else 1
        if isinstance(stage.inputs[place], FactorSeries):
            # A day without the stock's series has no row, whatever a graph fills there.
            inputs[place] = inputs[place] * listed[:, listed.shape[1] - days :]
        seen = inputs[place] != 0
        first = self.description.window - days
        whole = True
        for number, one in enumerate(stage.inputs):
            if isinstance(one, FactorSeries) and one.since is not None:
                early = np.arange(first, self.description.window) < values[:, one.since, None]
                # Whether a stock is in the mask, and in which group it is, counts for all; a value for those inside.
                whole &= not (early & (seen if number < place else listed[:, first:])).any()
        return across.run(stage, inputs), whole


def _input(one: FactorSeries | float | bool, values: Floats, shape: tuple[int, int]) -> Floats:
    """[stocks, days] of a series, or of a number."""
    if isinstance(one, FactorSeries):
        return values[:, one.first : one.first + one.days]
    return np.full(shape, float(one))


def _known(series: FactorSeries, values: Floats, window: int) -> Mask:
    if series.since is None:
        return np.ones(len(values), np.bool_)
    known: Mask = values[:, series.since] < window
    return known


__all__: Sequence[str] = ("Columns", "Program", "Window")
