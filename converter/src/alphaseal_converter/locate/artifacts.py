"""The run's artefacts, read inertly and typed: predictions, configuration, fitted dataset, model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.configuration import (
    Component,
    Expression,
    Loader,
    Segment,
    TaskConfiguration,
    expressions,
    parse_date,
    parse_instruments,
    parse_segments,
    parse_task_configuration,
)
from alphaseal_converter.locate.runs import read_file
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.pickles import read_pickle
from alphaseal_converter.pickles.records import Global, Record
from alphaseal_converter.processors.kinds import (
    CrossSection,
    DropCol,
    DropnaProcessor,
    Fillna,
    FilterCol,
    MinMaxNorm,
    Processor,
    RobustZScoreNorm,
    TanhProcess,
    ZScoreNorm,
)

__all__ = [
    "Component",
    "DatasetState",
    "Expression",
    "Loader",
    "Predictions",
    "Segment",
    "TaskConfiguration",
    "fitted_processors",
    "read_dataset",
    "read_model",
    "read_predictions",
    "read_task_configuration",
]

_PROCESSOR_MODULE = "qlib.data.dataset.processor"
# Processors that qlib never runs when it predicts (is_for_infer is False), so they change no input of the model.
_NEVER_AT_INFERENCE = frozenset({"DropnaLabel"})


@dataclass(frozen=True)
class Predictions:
    """qlib's recorded scores, row by row in the file's own order.

    `dates` is datetime64[D] [rows], `instruments` object array of str [rows], `scores` float64 [rows].
    """

    dates: NDArray[np.datetime64]
    instruments: NDArray[np.object_]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class DatasetState:
    """The pickled dataset without its data: fitted processors and the loader that was used.

    `infer_processors` are the records that ran before the model, shared ones first.
    """

    dataset_class: str
    step_len: int | None
    handler_class: str
    infer_processors: tuple[Record, ...]
    learn_processors: tuple[Record, ...]
    loader: Loader | None
    segments: Mapping[str, Segment]
    instruments: str | tuple[str, ...] | None
    start: Any
    end: Any


def read_predictions(path: Path) -> Predictions:
    """``pred.pkl``: a frame with one column, or a series, indexed by (datetime, instrument)."""
    record = _record(path)
    if record.class_name == "DataFrame":
        frame = decode.as_frame(record, where=str(path))
        if len(frame.data) != 1:
            raise _form(path, "one column of scores", f"{len(frame.data)} columns")
        index, values = frame.index, frame.data[0]
    else:
        series = decode.as_series(record, where=str(path))
        index, values = series.index, series.values
    names = list(index.names)
    if len(names) != 2 or {"datetime", "instrument"} != set(names):
        raise _form(path, "an index of datetime and instrument", str(names))
    dates = np.asarray(index.levels[names.index("datetime")])
    if dates.dtype.kind != "M":
        raise _form(path, "dates in the index", str(dates.dtype))
    instruments = np.asarray(index.levels[names.index("instrument")], dtype=object)
    return Predictions(dates.astype("datetime64[D]"), instruments, np.asarray(values, dtype=np.float64))


def read_task_configuration(path: Path) -> TaskConfiguration:
    """The run's ``task``; it holds plain values only."""
    return parse_task_configuration(decode.as_plain(_read(path)), str(path))


def read_dataset(path: Path) -> DatasetState:
    """The run's ``dataset``: DatasetH or TSDatasetH with its handler, processors and loader."""
    record = _record(path)
    handler = record.get("handler")
    if not isinstance(handler, Record):
        raise _form(path, "a dataset with a handler", record.class_name)
    step_len = record.get("step_len")
    loader = handler.get("data_loader")
    return DatasetState(
        dataset_class=str(record.factory),
        step_len=step_len if isinstance(step_len, int) and not isinstance(step_len, bool) else None,
        handler_class=str(handler.factory),
        infer_processors=(
            *_records(handler.get("shared_processors")),
            *_records(handler.get("infer_processors")),
        ),
        learn_processors=_records(handler.get("learn_processors")),
        loader=_loader_state(loader, set()) if isinstance(loader, Record) else None,
        segments=parse_segments(decode.as_plain(record.get("segments"))),
        instruments=parse_instruments(handler.get("instruments")),
        start=parse_date(decode.as_plain(handler.get("start_time"))),
        end=parse_date(decode.as_plain(handler.get("end_time"))),
    )


def fitted_processors(state: DatasetState, where: str = "dataset") -> tuple[Processor, ...]:
    """The processors that shaped the model's input, in order, with their fitted numbers.

    Those that touch the label only are left out.  A class that is not one of qlib's own in ``data.dataset.processor``,
    or one that the bundle cannot express, is `RefusalError` ``processor.unknown`` by name.
    """
    converted = (
        _processor(record, f"{where}: infer processor {number} ({record.class_name})")
        for number, record in enumerate(state.infer_processors)
    )
    return tuple(processor for processor in converted if processor is not None)


def read_model(data: bytes, where: str) -> ModelRecord:
    """The object in a weights file, unopened beyond its class."""
    root = read_pickle(data, where=where).root
    if not isinstance(root, Record) or isinstance(root.factory, Record):
        raise RefusalError("model.form", "the weights file holds no object", where=where, found=type(root).__name__)
    return ModelRecord(root.factory.module, root.factory.name, root)


def _processor(record: Record, where: str) -> Processor | None:
    name = record.class_name
    if isinstance(record.factory, Record) or record.factory.module != _PROCESSOR_MODULE:
        raise _unknown_processor(record, where)
    if name in _NEVER_AT_INFERENCE:
        return None
    if name in ("FilterCol", "DropCol"):
        columns = _texts(record.get("col_list"), where)
        return FilterCol(columns) if name == "FilterCol" else DropCol(columns)
    groups = _groups(record, where)
    if name == "DropnaProcessor":
        return DropnaProcessor(
            features=groups is None or "feature" in groups, label=groups is None or "label" in groups
        )
    if groups is not None and "feature" not in groups:
        return None
    if name == "TanhProcess":
        return TanhProcess()
    if name in ("CSRankNorm", "CSZFillna", "ProcessInf"):
        return CrossSection(name)  # type: ignore[arg-type]  # one of the names above
    if name == "CSZScoreNorm":
        return CrossSection("CSZScoreNorm", _zscore_method(record, where))
    if name == "Fillna":
        return Fillna(None, _fill_value(record, where))
    if name in ("RobustZScoreNorm", "ZScoreNorm"):
        columns, (mean, scale) = _fitted(record, ("mean_train", "std_train"), where)
        if name == "ZScoreNorm":
            return ZScoreNorm(columns, mean, scale)
        return RobustZScoreNorm(columns, mean, scale, clip=bool(record.get("clip_outlier", True)))
    if name == "MinMaxNorm":
        columns, (minimum, maximum) = _fitted(record, ("min_val", "max_val"), where)
        return MinMaxNorm(columns, minimum, maximum)
    raise _unknown_processor(record, where)


def _unknown_processor(record: Record, where: str) -> RefusalError:
    return RefusalError(
        "processor.unknown",
        f"the processor {record.factory} cannot be carried into a bundle",
        where=where,
        expected=f"a processor of {_PROCESSOR_MODULE}: RobustZScoreNorm, ZScoreNorm, MinMaxNorm, Fillna, TanhProcess, "
        "FilterCol, DropCol, DropnaProcessor, CSZScoreNorm, CSRankNorm, CSZFillna or ProcessInf",
        found=str(record.factory),
    )


_ZSCORE_METHODS: Mapping[str, Literal["zscore", "robust"]] = {
    "qlib.utils.data.zscore": "zscore",
    "qlib.utils.data.robust_zscore": "robust",
}


def _zscore_method(record: Record, where: str) -> Literal["zscore", "robust"]:
    """The method of CSZScoreNorm, which keeps it as a function."""
    function = record.get("zscore_func")
    method = _ZSCORE_METHODS.get(str(function)) if isinstance(function, Global) else None
    if method is None:
        raise RefusalError(
            "processor.unknown",
            "the z-score of the processor is not one of qlib's own",
            where=where,
            expected=" or ".join(_ZSCORE_METHODS),
            found=str(function)[:200],
        )
    return method


def _groups(record: Record, where: str) -> tuple[str, ...] | None:
    """The column groups a processor works on; None for all."""
    value = record.get("fields_group")
    # CSZScoreNorm makes a list of its argument when it is called.
    if value is None or (isinstance(value, list) and None in value):
        return None
    groups = (value,) if isinstance(value, str) else _texts(value, where)
    if not set(groups) <= {"feature", "label"}:
        raise RefusalError(
            "processor.fields_group",
            "unknown column group",
            where=where,
            expected="feature or label",
            found=str(groups),
        )
    return groups


def _fitted(
    record: Record, names: Sequence[str], where: str
) -> tuple[tuple[str, ...], list[NDArray[np.float32] | NDArray[np.float64]]]:
    """Feature columns in fitted order, and the fitted arrays cut to them (label columns are left out)."""
    missing = [name for name in ("cols", *names) if record.get(name) is None]
    if missing:
        raise RefusalError(
            "processor.not_fitted",
            "the processor was never fitted",
            where=where,
            expected=", ".join(("cols", *names)),
            found=f"no {', '.join(missing)}",
        )
    plain = _columns(record, where)
    arrays = [decode.as_array(record.get(name), where=where) for name in names]
    wrong = [name for name, array in zip(names, arrays, strict=True) if array.shape != (len(plain),)]
    if wrong:
        raise RefusalError(
            "processor.columns",
            f"{', '.join(wrong)} and the columns differ in number",
            where=where,
            expected=str(len(plain)),
        )
    kept = np.array([number for number, (group, _) in enumerate(plain) if group != "label"], dtype=np.intp)
    return tuple(plain[number][1] for number in kept), [array[kept] for array in arrays]


def _columns(record: Record, where: str) -> list[tuple[str, str]]:
    """Fitted columns as (group, name), in fitted order; the group of a one-level header counts as ``feature``."""
    index = decode.as_index(record.get("cols"), where=where)
    groups = index.levels[0] if len(index.levels) > 1 else ["feature"] * len(index)
    return [(str(group), str(name)) for group, name in zip(groups, index.levels[-1], strict=True)]


def _texts(value: Any, where: str) -> tuple[str, ...]:
    """A list of names, or the array that numpy made of one (FilterCol unites its own with numpy)."""
    names = value if isinstance(value, list | tuple) else decode.as_array(value, where=where).tolist()
    if not all(isinstance(name, str) for name in names):
        raise RefusalError("processor.columns", "a list of names holds something else", where=where)
    return tuple(names)


def _fill_value(record: Record, where: str) -> float:
    value = decode.as_plain(record.get("fill_value", 0), where=where)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusalError(
            "processor.bad_fill", "the fill value is not a number", where=where, found=type(value).__name__
        )
    return float(value)


def _loader_state(record: Record, seen: set[int]) -> Loader:
    """A pickled loader: qlib's keep parsed columns in ``fields``, custom ones often keep their arguments.

    `seen` keeps a loader that contains itself, or one many times, from being entered again.
    """
    seen.add(id(record))
    fields = record.get("fields")
    found: Mapping[str, Any] = fields if isinstance(fields, dict) else record.attributes
    factory = record.factory
    return Loader(
        class_name=record.class_name,
        module=factory.module if not isinstance(factory, Record) else None,
        features=expressions(found.get("feature")),
        labels=expressions(found.get("label")),
        static_paths=(),
        children=tuple(_loader_state(child, seen) for child in _nested_loaders(record) if id(child) not in seen),
    )


def _nested_loaders(record: Record) -> Iterator[Record]:
    for value in record.attributes.values():
        for entry in value if isinstance(value, list | tuple) else (value,):
            if isinstance(entry, Record) and entry.class_name.endswith(("Loader", "DL")):
                yield entry


def _records(value: Any) -> tuple[Record, ...]:
    return tuple(entry for entry in value if isinstance(entry, Record)) if isinstance(value, list | tuple) else ()


def _read(path: Path) -> Any:
    return read_pickle(read_file(path), where=str(path)).root


def _record(path: Path) -> Record:
    root = _read(path)
    if not isinstance(root, Record):
        raise _form(path, "an object", type(root).__name__)
    return root


def _form(path: Path, expected: str, found: str) -> RefusalError:
    return RefusalError(
        "artifact.form",
        "the artefact has another form than qlib gives it",
        where=str(path),
        expected=expected,
        found=found,
    )
