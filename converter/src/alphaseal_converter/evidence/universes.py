"""The two universes of a run, and its context: what the manifest's `data.universes` says.

RD-Agent computes its factors on everything that the provider has (``D.instruments()``, the market "all"); the model is
trained on the market of its dataset.  What the run's own factor table holds counts more than what the provider says now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from alphaseal.arrow.columns import date_text, days_of, numbers_of, text_of
from alphaseal.format import manifest as m
from alphaseal.format.notations import INSTRUMENT_PATTERNS
from alphaseal.tables.features import TableColumns
from alphaseal.tables.members.boards import INDEX, Boards, board_of, counted, forms_of, kind_of
from alphaseal.tables.members.universe import Universe, canonical
from alphaseal.tables.parquet import decode, open_parquet, unlimited
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.artifacts import Predictions
from alphaseal_converter.locate.configuration import TaskConfiguration
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.market.bars import Market
from alphaseal_converter.market.provider import Provider

Spans = Mapping[str, Sequence[tuple[object, object]]]
EVERYTHING = "all"
_BATCH_ROWS = 65_536
_NO_CODE = "no feature of the model was computed by code"


def describe_universes(market: Market | None, absent: str, located: Located, *, coded: bool) -> m.Universes:
    """`absent` says why there is no market; `coded`: the model has features that code computed."""
    configuration, predictions = located.parts.configuration, located.parts.predictions
    model = _model_universe(market) if market is not None else None
    factor, factor_missing = (None, _NO_CODE) if not coded else _factor_universe(market, absent, located.parquet)
    if factor is not None and model is not None and factor.sha256 == model.sha256:
        factor = msgspec.structs.replace(factor, members=None)
    scored = set(predictions.instruments.tolist()) if predictions is not None else set()
    codes = sorted(market.universe if market is not None else scored)
    counts = counted(codes)
    return m.Universes(
        factor=factor,
        factor_missing=factor_missing,
        model=model,
        model_missing=None if model is not None else absent[:1000],
        boards=counts,
        context=_context(codes, counts, configuration, instrument_format(predictions).pattern),
        until=_until(configuration, predictions),
    )


def instrument_format(predictions: Predictions | None) -> m.InstrumentFormat:
    """The notation of the run's own instruments."""
    if predictions is None or not len(predictions.instruments):
        return m.InstrumentFormat(kind="qlib", pattern=INSTRUMENT_PATTERNS["qlib"], example="SH600000")
    instruments = sorted(set(predictions.instruments.tolist()))
    for kind, pattern in INSTRUMENT_PATTERNS.items():
        if all(re.match(pattern, name) for name in instruments):
            return m.InstrumentFormat(kind=kind, pattern=pattern, example=instruments[0])  # type: ignore[arg-type]
    strange = next(name for name in instruments if not re.match(INSTRUMENT_PATTERNS["other"], name))
    raise RefusalError(
        "data.instrument", "an instrument is written in a form that the format does not have", found=repr(strange)[:80]
    )


def _model_universe(market: Market) -> m.RecordedUniverse:
    named = market.instruments
    if not isinstance(named, str):
        return _recorded("list", f"{len(named)} codes named by the run", market.provider, _open(market.universe))
    everything = named.lower() == EVERYTHING
    text = f"market {named}: instruments/{named.lower()}.txt of the run's market data"
    return _recorded("all" if everything else "market", text, market.provider, _open(market.universe))


def _factor_universe(
    market: Market | None, absent: str, factor_table: Path | None
) -> tuple[m.RecordedUniverse | None, str | None]:
    """(the universe, why it is not known)."""
    if market is None:
        return None, absent[:1000]
    try:
        spans = _open(market.provider.universe(EVERYTHING))
    except RefusalError as error:
        return None, f"the provider does not say what it has: {error.message} ({error.code})"[:1000]
    text = "everything that the run's market data have (instruments/all.txt)"
    lives = _lives(factor_table) if factor_table is not None else {}
    if lives:
        boards = counted(lives)
        gone = [code for code in spans if code not in lives and board_of(code) not in boards]
        more = {code: [life] for code, life in lives.items() if code not in spans}
        spans = {**{code: found for code, found in spans.items() if code not in gone}, **more}
        text += f", without {len(gone)} whose kind the factor table does not have" if gone else ""
        text += f", and {len(more)} that only the factor table has" if more else ""
    return _recorded("all", text, market.provider, spans), None


def _open(universe: Mapping[str, Sequence[tuple[np.datetime64, np.datetime64]] | None]) -> Spans:
    return {code: [(None, None)] if spans is None else list(spans) for code, spans in universe.items()}


def _recorded(kind: m.UniverseKind, text: str, provider: Provider, spans: Spans) -> m.RecordedUniverse:
    """On the days of the provider's calendar, up to the last one that a span has."""
    given = Universe.of(spans)
    first, newest = provider.calendar[0], provider.calendar[-1]
    last = min(newest, max(first, np.datetime64(int(given.last.max(initial=0)), "D")))
    lines = canonical(given, first, last)
    return m.RecordedUniverse(
        kind=kind,
        text=text,
        first=str(first),
        last=str(last),
        count=len({line.split(" ")[0] for line in lines}),
        sha256=m.universe_digest(lines),
        members=lines if len(lines) <= m.MAXIMUM_MEMBERS else None,
    )


def _lives(factor_table: Path) -> dict[str, tuple[str, str]]:
    """First and last date of each code of the run's factor table; only its keys are read."""
    lives: dict[str, tuple[int, int]] = {}
    with open_parquet(factor_table) as file:
        plan = TableColumns.of(file.schema_arrow, ())
        for batch in decode(file, range(file.num_row_groups), [plan.date, plan.instrument], _BATCH_ROWS, unlimited()):
            days, encoded = days_of(batch.column(plan.date)), text_of(batch.column(plan.instrument)).dictionary_encode()
            codes = numbers_of(encoded.indices, np.dtype(np.int32))
            names = encoded.dictionary.to_pylist()
            for place in np.unique(codes).tolist():
                here = days[codes == place]
                first, last = lives.get(names[place], (int(here.min()), int(here.max())))
                lives[names[place]] = min(first, int(here.min())), max(last, int(here.max()))
    return {code: (date_text(first), date_text(last)) for code, (first, last) in lives.items()}


def _context(
    codes: Iterable[str], counts: Mapping[str, int], configuration: TaskConfiguration, pattern: str
) -> list[str]:
    """The benchmark as the bundle writes codes, and the indices among the market's stocks."""
    boards = Boards(counts)
    found = {code for code in codes if kind_of(board_of(code)) == INDEX and not boards.holds(code)}
    named = configuration.backtest.get("benchmark")
    for code in named if isinstance(named, list | tuple) else [named]:
        if isinstance(code, str):
            found |= {form for form in forms_of(code) if re.match(pattern, form)}
    return sorted(found)


def _until(configuration: TaskConfiguration, predictions: Predictions | None) -> str | None:
    if predictions is not None and len(predictions.dates):
        return str(predictions.dates.max())
    return None if configuration.end is None else configuration.end.isoformat()
