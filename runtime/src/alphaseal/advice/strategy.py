"""The strategy that a bundle's metrics belong to: whether its choice of stocks can be repeated here, and its numbers.

Source: the arguments of ``qlib.contrib.strategy.signal_strategy.TopkDropoutStrategy`` of qlib 0.9.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from alphaseal.errors import UsageError

if TYPE_CHECKING:
    from alphaseal.format.manifest import Manifest

_QLIB_CLASS = "TopkDropoutStrategy"
_QLIB_MODULES = (None, "qlib.contrib.strategy", "qlib.contrib.strategy.signal_strategy")
_WITHOUT_EFFECT = frozenset((
    "topk", "n_drop", "signal", "model", "dataset", "risk_degree", "forbid_all_trade_at_limit", "trade_exchange",
    "level_infra", "common_infra", "outer_trade_decision",
))  # fmt: skip
"""Arguments that choose no stocks: what to read, how much to trade, where orders go; and the two numbers themselves."""
_ALLOWED: Mapping[str, tuple[Callable[[Any], bool], str, str]] = {
    "method_sell": (lambda value: value == "bottom", "'bottom'", "stocks drawn at random cannot be drawn again"),
    "method_buy": (lambda value: value == "top", "'top'", "stocks drawn at random cannot be drawn again"),
    # A stock that was bought on an earlier day has been held for one day at least.
    "hold_thresh": (
        lambda value: type(value) is int and value <= 1,
        "at most 1",
        "how long a stock has been held is not known here: that needs the trading calendar",
    ),
    "only_tradable": (
        lambda value: value is False,
        "false",
        "which stocks can be traded is not known here: that needs the exchange",
    ),
}
"""Arguments that choose stocks -> what can be done here, in words, and why nothing else can."""


def numbers_of_run(manifest: Manifest | None) -> tuple[int, int]:
    """(top_k, n_drop) of the run, whose strategy is qlib's TopkDropout and can be followed here; UsageError otherwise."""
    strategy = None if manifest is None else manifest.strategy
    if manifest is None or strategy is None or manifest.selection.n_drop is None or not _is_qlibs(manifest):
        raise UsageError(
            "picks.strategy",
            "the run's strategy is not qlib's TopkDropout, and no other is reproduced here",
            expected=_QLIB_CLASS,
            found="none recorded" if strategy is None else f"{strategy.module or 'no module'}, {strategy.class_name}",
            next_step="name both numbers (top_k, n_drop) to pick by TopkDropout all the same; the metrics are not those of such picks",
        )
    for name, value in strategy.arguments.items():
        if name in _WITHOUT_EFFECT:
            continue
        allowed, expected, why = _ALLOWED.get(name, (_never, "no such argument", "qlib's own class does not have it"))
        if not allowed(value):
            raise UsageError(
                "picks.argument",
                f"the run's strategy cannot be followed: {why}",
                where=f"argument {name!r} of {strategy.class_name}",
                expected=expected,
                found=repr(value)[:80],
                next_step="name both numbers (top_k, n_drop) to pick without this argument; the metrics are not those of such picks",
            )
    return manifest.selection.top_k, manifest.selection.n_drop


def describe_selection(manifest: Manifest) -> str:
    """Which selection the recorded metrics belong to, in words."""
    strategy, selection = manifest.strategy, manifest.selection
    if strategy is None:
        return "not recorded"
    if not _is_qlibs(manifest) or selection.n_drop is None:
        return f"{strategy.class_name}, not reproduced here"
    words = f"TopkDropout: hold {selection.top_k}, replace {selection.n_drop} a day"
    try:
        numbers_of_run(manifest)
    except UsageError as error:
        return f"{words}; not reproduced here: {error.where}"
    return words


def _is_qlibs(manifest: Manifest) -> bool:
    strategy = manifest.strategy
    return strategy is not None and strategy.class_name == _QLIB_CLASS and strategy.module in _QLIB_MODULES


def _never(value: Any) -> bool:
    return False
