"""The table of processors, and the fitted ones of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.cross_section import CSRankNorm, CSZFillna, CSZScoreNorm, ProcessInf
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.normalisation import MinMaxNorm, RobustZScoreNorm, ZScoreNorm
from alphaseal_converter.processors.processor import Processor, column_groups
from alphaseal_converter.processors.selection import DropCol, DropnaLabel, DropnaProcessor, FilterCol
from alphaseal_converter.processors.tanh import TanhProcess

_MODULE = "qlib.data.dataset.processor"
_AT_INFERENCE: Sequence[type[Processor]] = (
    RobustZScoreNorm,
    ZScoreNorm,
    MinMaxNorm,
    Fillna,
    TanhProcess,
    FilterCol,
    DropCol,
    DropnaProcessor,
    CSZScoreNorm,
    CSRankNorm,
    CSZFillna,
    ProcessInf,
)
KINDS: Mapping[str, type[Processor]] = {kind.__name__: kind for kind in (*_AT_INFERENCE, DropnaLabel)}
"""Class of qlib's module -> kind.  A new one is its module here and its line above."""


def fitted_processors(records: Sequence[Record], where: str = "dataset") -> tuple[Processor, ...]:
    """The processors that shaped the model's input, in order, with their fitted numbers; `records` are qlib's objects.

    Those that touch the label only are left out.  A class that is not one of qlib's own in ``data.dataset.processor``,
    or one that the bundle cannot express, is `RefusalError` ``processor.unknown`` by name.
    """
    read = (
        _processor(record, f"{where}: infer processor {number} ({record.class_name})")
        for number, record in enumerate(records)
    )
    return tuple(processor for processor in read if processor is not None)


def _processor(record: Record, where: str) -> Processor | None:
    if isinstance(record.factory, Record) or record.factory.module != _MODULE:
        raise _unknown(record, where)
    kind = KINDS.get(record.class_name)
    if kind is None or not kind.reads_label:
        groups = column_groups(record, where)
        if groups is not None and "feature" not in groups:
            return None
    if kind is None:
        raise _unknown(record, where)
    return kind.read(record, where)


def _unknown(record: Record, where: str) -> RefusalError:
    *names, last = (kind.__name__ for kind in _AT_INFERENCE)
    return RefusalError(
        "processor.unknown",
        f"the processor {record.factory} cannot be carried into a bundle",
        where=where,
        expected=f"a processor of {_MODULE}: {', '.join(names)} or {last}",
        found=str(record.factory),
    )
