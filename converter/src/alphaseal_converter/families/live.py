"""What the judges of all families share: attributes of an inert record, and the table that a model was trained on."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from alphaseal_converter.comparison.known_names import KnownNames
from alphaseal_converter.comparison.parity import Matrix
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles.records import Record


def plain_attributes(record: Record) -> dict[str, Any]:
    """The attributes with their plain values; None for functions, classes and other objects, which are never made again."""
    found: dict[str, Any] = {}
    for name, value in record.attributes.items():
        try:
            found[name] = decode.as_plain(value)
        except RefusalError:
            found[name] = None
    return found


def live_wrapper(library: Any, wrapper: Record, booster: Any) -> Any:
    """A scikit-learn wrapper of the library with its plain attributes around the Booster."""
    kind = getattr(library, wrapper.class_name)
    made = kind.__new__(kind)
    vars(made).update(plain_attributes(wrapper))
    made._Booster, made.n_jobs = booster, 1  # noqa: SLF001 - the library has no other way
    return made


def given_table(known: KnownNames | None, category_columns: Sequence[int] = ()) -> Callable[[Matrix], Any] | None:
    """What turns rows into the table that a model was trained on: a data frame with the names that it knows, or an array.

    None where it takes a frame with categorical columns and pandas is not installed; names alone can be done without.
    """
    if importlib.util.find_spec("pandas") is None:
        return None if category_columns else lambda rows: rows
    if known is None and not category_columns:
        return lambda rows: rows

    def frame(rows: Matrix) -> Any:
        import pandas

        names = list(known.names) if known is not None else [str(number) for number in range(rows.shape[1])]
        table = pandas.DataFrame(rows, columns=names)
        # The categories that these rows happen to have: bringing them to those of the training is the library's work.
        return table.astype({names[column]: "category" for column in category_columns})

    return frame
