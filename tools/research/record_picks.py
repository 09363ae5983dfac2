"""Record what qlib's own TopkDropoutStrategy sells and buys for random scores and random holdings.

    python record_picks.py OUT.json [SEED [CASES]]

Scores are continuous or have ties, some are NaN; there are fewer stocks than `topk` in some cases, and holdings outside of
the scored stocks in most.  The strategy class is qlib's; it runs against an exchange that deals every order.  Two of its
choices are left to chance by qlib, and made certain here: pandas' default sort puts equal scores in no order (here: as
they stood), and held stocks come out of a set (here: ascending).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from qlib.backtest.position import Position
from qlib.backtest.utils import CommonInfrastructure, LevelInfrastructure
from qlib.contrib.strategy.signal_strategy import TopkDropoutStrategy

DAY = pd.Timestamp("2024-01-02")
_sort_values = pd.Series.sort_values


def _stable(self: pd.Series, **options: Any) -> pd.Series:
    return _sort_values(self, **{"kind": "stable", **options})


class SortedPosition(Position):  # type: ignore[misc]  # qlib has no types
    """qlib's position, whose stocks are in a certain order."""

    def get_stock_list(self) -> list[str]:
        return sorted(super().get_stock_list())


class Calendar:
    """One step, of one day."""

    def get_trade_step(self) -> int:
        return 0

    def get_step_time(self, trade_step: int = 0, shift: int = 0) -> tuple[pd.Timestamp, pd.Timestamp]:
        return DAY, DAY

    def get_freq(self) -> str:
        return "day"


class Exchange:
    """Deals everything at a price of 1."""

    def is_stock_tradable(self, **_: Any) -> bool:
        return True

    def check_order(self, order: Any) -> bool:
        return True

    def deal_order(self, order: Any, position: Position) -> tuple[float, float, float]:
        return order.amount, 0.0, 1.0

    def get_deal_price(self, **_: Any) -> float:
        return 1.0

    def get_factor(self, **_: Any) -> float:
        return 1.0

    def round_amount_by_trade_unit(self, amount: float, factor: float) -> float:
        return amount


def decide(
    scores: dict[str, float | None], held: list[str], topk: int, n_drop: int, **arguments: Any
) -> tuple[list[str], list[str]]:
    """(sold, bought) by qlib's strategy, in its own order."""
    index = pd.MultiIndex.from_tuples([(DAY, name) for name in scores], names=["datetime", "instrument"])
    signal = pd.Series([np.nan if score is None else score for score in scores.values()], index, dtype=float)
    position = SortedPosition(cash=1e6, position_dict={name: {"amount": 100.0, "price": 1.0} for name in held})
    for name in held:
        position.position[name]["count_day"] = 1
    strategy = TopkDropoutStrategy(
        topk=topk,
        n_drop=n_drop,
        signal=signal,
        trade_exchange=Exchange(),
        level_infra=LevelInfrastructure(trade_calendar=Calendar()),
        common_infra=CommonInfrastructure(trade_account=SimpleNamespace(current_position=position)),
        **arguments,
    )
    orders = strategy.generate_trade_decision().get_decision()
    return [o.stock_id for o in orders if o.direction == o.SELL], [o.stock_id for o in orders if o.direction == o.BUY]


def case(random: np.random.Generator) -> dict[str, Any]:
    """One random day and what qlib does on it."""
    topk, n_drop = int(random.integers(1, 31)), int(random.integers(1, 9))
    names = [f"SH{600000 + number}" for number in range(int(random.integers(1, 81)))]
    values = np.round(random.standard_normal(len(names)) / 100, 7)
    if random.random() < 0.5:
        values = np.round(values, int(random.integers(2, 4)))  # ties
    values[random.random(len(names)) < random.choice([0.0, 0.0, 0.1, 0.6])] = np.nan
    scores = {
        name: None if np.isnan(value) else float(value) for name, value in zip(names, values.tolist(), strict=True)
    }
    outside = [f"SZ{300000 + number}" for number in range(int(random.integers(0, 4)))]
    most = min(topk + n_drop, len(names) + len(outside))
    count = min(topk, most) if random.random() < 0.6 else int(random.integers(0, most + 1))
    held = sorted(random.permutation([*names, *outside])[:count].tolist())
    sold, bought = decide(scores, held, topk, n_drop)
    return {"topk": topk, "n_drop": n_drop, "scores": scores, "held": held, "sold": sorted(sold), "bought": bought}


def main() -> None:
    """See the module."""
    out, seed = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    pd.Series.sort_values = _stable
    random = np.random.default_rng(seed)
    cases = [case(random) for _ in range(count)]
    # One case a line.
    out.write_text("[\n" + ",\n".join(json.dumps(one) for one in cases) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
