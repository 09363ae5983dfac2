"""Feature names that the weights themselves hold: evidence for the order, or against it."""

from __future__ import annotations

from collections.abc import Sequence

from alphaseal_converter.errors import RefusalError

_GROUP = "feature "
"""Of a header of two levels, as XGBoost joins them."""


def check_names(known: Sequence[str], resolved: Sequence[str], where: str) -> None:
    """RefusalError ``order.names_differ`` unless `resolved` are the `known` names in their order, or none are known."""
    if known and [name.removeprefix(_GROUP) for name in known] != list(resolved):
        raise names_differ(known, resolved, where)


def names_differ(known: Sequence[str], resolved: Sequence[str], where: str) -> RefusalError:
    """The refusal of features that are not those that the weights name, in their order."""
    return RefusalError(
        "order.names_differ",
        "the features of the run are not those that the weights name, or stand in another order",
        where=where,
        expected=", ".join(known[:10]),
        found=", ".join(resolved[:10]),
        next_step="check that weights and run belong together",
    )
