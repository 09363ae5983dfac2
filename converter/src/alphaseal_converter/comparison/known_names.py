"""Feature names that the weights themselves hold: evidence for the order, or against it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from alphaseal_converter.errors import RefusalError

_GROUPED = re.compile(r"feature (?P<joined>.+)|\('feature', '(?P<tuple>.+)'\)", re.DOTALL)
"""A name under qlib's header of two levels, as XGBoost joins it and as CatBoost prints it."""
_END = "the end of the list"


@dataclass(frozen=True)
class KnownNames:
    """Names of all features in the order of the training, as the library writes them; `holder` says where they stand.

    `spelled` turns a feature's own name into the library's spelling.  A model that takes its columns `by_name` needs
    the same names, in whatever order.
    """

    names: tuple[str, ...]
    holder: str
    spelled: Callable[[str], str] = str
    by_name: bool = False

    @property
    def positional(self) -> bool:
        """Whether the names are the numbers of the columns, which a library makes up where there are none."""
        return self.names == tuple(str(number) for number in range(len(self.names)))

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        """The names, and those without the upper level of a header of two."""
        found = [_GROUPED.fullmatch(name) for name in self.names]
        lower = tuple(m["joined"] or m["tuple"] if m else name for m, name in zip(found, self.names, strict=True))
        return (self.names,) if lower == self.names else (self.names, lower)

    def order(self, columns: Iterable[str]) -> tuple[str, ...] | None:
        """The `columns` that are meant, in the order of the training; None where the names say nothing.

        A name that is no column is kept as it is.  RefusalError ``order.unknown`` where two columns have one spelling.
        """
        if self.positional:
            return None
        meant: dict[str, list[str]] = {}
        for column in dict.fromkeys(columns):
            meant.setdefault(self.spelled(column), []).append(column)
        names = max(self.forms, key=lambda form: sum(name in meant for name in form))
        for name in names:
            if len(meant.get(name, ())) > 1:
                raise RefusalError(
                    "order.unknown",
                    f"{self.holder} has a name that two columns could have",
                    expected="one column",
                    found=f"{name}: {', '.join(meant[name])}",
                    next_step="pass --feature-order FILE with one feature name a line",
                )
        return tuple(meant[name][0] if name in meant else name for name in names)

    def check(self, resolved: Sequence[str], where: str) -> None:
        """RefusalError ``order.names_differ`` unless the features are those that the weights name, in their order."""
        found = tuple(self.spelled(name) for name in resolved)
        if self.positional and sorted(found) != sorted(self.names):
            return
        if any(found == form or (self.by_name and sorted(found) == sorted(form)) for form in self.forms):
            return
        raise self._set_differs(found, where) if self.by_name else self._order_differs(found, where)

    def _order_differs(self, found: Sequence[str], where: str) -> RefusalError:
        pairs = zip_longest(self.forms[-1], found, fillvalue=_END)
        place, (known, other) = next((place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1])
        return RefusalError(
            "order.names_differ",
            "the features of the run are not those that the weights name, or stand in another order",
            where=f"{where}, position {place}, the first that differs (counted from 0)",
            expected=f"{known}, as in {self.holder}",
            found=other,
            next_step="check that weights and run belong together; the order of the weights is taken without --feature-order",
        )

    def _set_differs(self, found: Sequence[str], where: str) -> RefusalError:
        known = self.forms[-1]
        odd = sorted(set(known) ^ set(found))[:10]
        return RefusalError(
            "order.names_differ",
            "the features of the run are not those that the weights name",
            where=where,
            expected=f"{len(known)} features as in {self.holder}",
            found=f"{len(found)} features; in one list only: {', '.join(odd)}",
            next_step="check that weights and run belong together",
        )
