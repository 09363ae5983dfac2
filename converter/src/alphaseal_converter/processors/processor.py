"""What a kind of processor tells of itself; formulas and attributes are those of qlib 0.9.7, ``qlib.data.dataset.processor``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from alphaseal.format.parts import Dtype
from alphaseal.plain_text import listed
from alphaseal_converter.comparison.parity import Matrix
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.pickles.records import Record

WIDE: Dtype = "float64"
Columns = tuple[Dtype, ...]
"""The dtype of each feature where a processor stands."""


class Processor:
    """A fitted processor; its class has the name of qlib's, and says what differs from what stands here."""

    words: ClassVar[str | None] = None
    """What it does, for the card."""
    reads_label: ClassVar[bool] = False
    """Whether one that works on the label alone matters to the model's input: any other is left out."""
    centres: ClassVar[bool] = False
    """Whether one constant for all stocks of the day is taken out."""

    @classmethod
    def read(cls, record: Record, where: str) -> Processor | None:
        """With the numbers of qlib's object; None where it changes no input.  Raises RefusalError `processor.*`."""
        return cls()

    def describe(self) -> dict[str, Any]:
        """As the manifest lists it."""
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {"class": type(self).__name__, **fields}

    @property
    def infinite(self) -> str | None:
        """What becomes of an infinite value, in words, where none comes out, whatever goes in."""
        return None

    def left(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The columns that go on, in their order."""
        return names

    def reduced(self, names: tuple[str, ...], selected_later: bool, where: str) -> Processor | None:
        """What it is of the model's features, None where that is nothing; RefusalError as `sequence.check_sequence`.

        `selected_later` says whether a later one takes columns away, which matters to none that treats each alone.
        """
        return self

    def after(self, columns: Columns) -> Columns:
        """The dtypes behind it."""
        return columns


class RowProcessor(Processor, ABC):
    """One that looks at a row alone and becomes nodes of a graph, which numpy judges: the two are written apart.

    Any other becomes a stage of its own, which the runtime computes, or is gone when columns are chosen.
    """

    @abstractmethod
    def in_numpy(self, values: Matrix) -> Matrix:
        """float64 [rows, features] as qlib makes them of such; overflow and invalid operations give values."""

    @abstractmethod
    def in_onnx(self, builder: GraphBuilder, features: str) -> str:
        """Adds nodes from `features` (double [rows, features] or [rows, days, features]) to the result (same shape)."""

    def typed(self, names: Sequence[str], columns: Columns) -> RowProcessor:
        """With what it must know of the features in front of it."""
        return self


class Filling(ABC):
    """A processor behind which no value is missing that it could fill."""

    @property
    @abstractmethod
    def becomes(self) -> str:
        """What a missing value is then, in words."""


def column_groups(record: Record, where: str) -> tuple[str, ...] | None:
    """The groups of columns that a processor works on; None for all."""
    value = record.get("fields_group")
    # CSZScoreNorm makes a list of its argument when it is called.
    if value is None or (isinstance(value, list) and None in value):
        return None
    groups = (value,) if isinstance(value, str) else texts(value, where)
    if not set(groups) <= {"feature", "label"}:
        raise RefusalError(
            "processor.fields_group",
            "unknown column group",
            where=where,
            expected="feature or label",
            found=str(groups),
        )
    return groups


def texts(value: Any, where: str) -> tuple[str, ...]:
    """A list of names, or the array that numpy made of one (FilterCol unites its own with numpy)."""
    names = value if isinstance(value, list | tuple) else decode.as_array(value, where=where).tolist()
    if not all(isinstance(name, str) for name in names):
        raise RefusalError("processor.columns", "a list of names holds something else", where=where)
    return tuple(names)


def refuse_columns(message: str, where: str, columns: Sequence[str]) -> RefusalError:
    return RefusalError("processor.columns", message, where=where, found=listed(columns, most=10))
