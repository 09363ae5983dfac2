"""Moves of the close from day to day: what is recorded of a training, and which stocks of a table jump."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from alphaseal.bars.calendar import Bars
from alphaseal.bars.jumps import FIRST_ROWS, Extremes, JumpCheck, ratios
from alphaseal.errors import InputError
from alphaseal.format.manifest import Moves

Closes = npt.NDArray[np.float32]
DAYS = 10
CALM = Moves(lowest=0.9, highest=1.1)


def closes_of(stocks: int, days: int, seed: int = 1, width: float = 0.02) -> Closes:
    """Stocks whose close moves by a few hundredths a day."""
    moves = np.random.default_rng(seed).normal(0, width, (stocks, days))
    return (10 * np.exp(np.cumsum(moves, axis=1))).astype(np.float32)


def looked(closes: Closes, *, settled: bool = True, moves: Moves = CALM, days: int = DAYS) -> list[dict[str, int]]:
    """Stock -> position of its jump, of each day of a table."""
    dates = np.datetime64("2024-01-01") + np.arange(closes.shape[1])
    names = tuple(f"SH6{place:05d}" for place in range(len(closes)))
    there = np.ones(closes.shape, np.bool_)
    bars = Bars(dates, names, closes[:, :, None], np.zeros(len(closes), np.int64), there)
    check = JumpCheck.of(moves, ["close"], days)
    assert check is not None
    scope, known = np.ones(len(closes), np.bool_), np.full(closes.shape, settled)
    refused, found = check.look(bars, scope, known, range(closes.shape[1]))
    assert [set(said) for said in found] == [{names[n] for n in np.flatnonzero(day)} for day in refused.T]
    return [{name: int((day - dates[0]).astype(int)) for name, day in said.items()} for said in found]


def recorded(closes: Closes, since: int = 0, begun: bool = True) -> Moves | None:
    extremes = Extremes()
    for part in np.array_split(closes, 3):
        extremes.add(part, np.full(len(part), begun), since)
    return extremes.moves()


def test_moves_are_the_extremes_but_for_three_rows() -> None:
    """The fourth lowest and the fourth highest ratio of the training's days, in whatever parts its stocks come."""
    closes = closes_of(30, 200)
    every = np.sort(ratios(closes)[0][:, 5:].ravel())
    said = recorded(closes, 5)
    assert said is not None
    assert (said.lowest, said.highest) == (every[3], every[-4])
    # A handful of errors changes nothing but which row is the fourth.
    closes[0, 100] *= 50
    odd = recorded(closes, 5)
    assert odd is not None
    assert 1 < odd.highest < 1.2
    assert recorded(closes[:1, :4]) is None


def test_first_rows_of_new_stocks_are_not_recorded() -> None:
    """A stock that begins in the training moves without a limit at first; missing days lie between a close and the last."""
    closes = closes_of(9, 100)
    closes[:, 40:44] = np.nan
    wild = closes.copy()
    wild[:, 1 : FIRST_ROWS - 1 : 2] *= 3
    said = recorded(wild, begun=False)
    assert said is not None
    assert 0.85 < said.lowest < 1 < said.highest < 1.15
    assert np.isnan(ratios(closes)[0][:, 40:44]).all()
    assert np.allclose(ratios(closes)[0][:, 44], closes[:, 44] / closes[:, 39])


def test_a_split_leaves_its_stock_out_as_long_as_windows_reach_over_it() -> None:
    """On the days whose stretch has both the close before it and the one after it, and on no other."""
    for factor in (0.1, 0.5, 1 / 1.5, 1.5, 10.0):
        closes = closes_of(5, 60)
        closes[2, 30:] *= factor
        found = looked(closes)
        assert [day for day, said in enumerate(found) if said] == list(range(30, 30 + DAYS - 1))
        assert all(said == {"SH600002": 30} for said in found if said)


def test_a_split_during_a_suspension_is_one() -> None:
    """The close before the missing days counts, where the stretch has it."""
    closes = closes_of(2, 60)
    closes[1, 28:30], closes[1, 30:] = np.nan, closes[1, 30:] / 2
    assert [day for day, said in enumerate(looked(closes)) if said] == list(range(30, 27 + DAYS))


def test_real_moves_are_none() -> None:
    """Days at a limit of 20 % whatever the training had, and half as far again as it moved itself."""
    closes = closes_of(50, 300, width=0.05)
    assert not any(looked(np.clip(closes, 0, None), moves=Moves(lowest=0.8, highest=1.2)))
    limit = np.full((1, 40), 10, np.float32)
    limit[:, 20:], limit[:, 30:] = 12, 9.6
    assert not any(looked(limit))
    wild = np.full((1, 40), 10, np.float32)
    wild[:, 20:] = 4
    assert not any(looked(wild, moves=Moves(lowest=0.5, highest=2.0)))


def test_new_stocks_may_move_at_first() -> None:
    """Of a code that nobody knows the first rows of the stretch are not looked at; later ones are."""
    closes = closes_of(1, 60)
    closes[:, 5:] *= 3
    assert not any(looked(closes, settled=False, days=50)[: FIRST_ROWS + 5])
    closes[:, 40:] *= 3
    assert looked(closes, settled=False, days=50)[59] == {"SH600000": 40}


def test_nothing_before_the_stretch_counts() -> None:
    """A day's verdict is the same whatever the table has before."""
    closes = closes_of(4, 80)
    closes[1, 33:] *= 2
    whole, part = looked(closes), looked(closes[:, 35:])
    assert [set(said) for said in whole[35 + DAYS :]] == [set(said) for said in part[DAYS:]]


def test_words() -> None:
    """The refusal and the warning name stock, day, what the training had, and what mends it."""
    check = JumpCheck.of(CALM, ["volume", "close"], DAYS)
    assert check is not None
    day = np.datetime64("2024-02-01")
    error = check.refusal({"SH600000": day}, day)
    assert isinstance(error, InputError)
    assert error.code == "bars.jump"
    for text in (str(error), check.warning([(day, {"SH600000": day}), (day + 1, {"SH600000": day})])):
        for part in ("SH600000 on 2024-02-01", "0.9 to 1.1", "adjusted as those of the training"):
            assert part in text
    assert JumpCheck.of(None, ["close"], DAYS) is None
    assert JumpCheck.of(CALM, ["volume"], DAYS) is None


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_what_is_no_price_is_no_move(value: float) -> None:
    """Zeros, negative and missing closes are the business of others; the next close is compared with the one before them."""
    closes = closes_of(2, 40)
    closes[0, 20] = value
    assert not any(looked(closes))
