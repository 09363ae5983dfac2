"""The run's artefacts, read inertly and typed: predictions, configuration, fitted dataset, model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.configuration import Loader, TaskConfiguration, expressions, parse_task_configuration
from alphaseal_converter.locate.frequency import not_of_days
from alphaseal_converter.locate.runs import read_file
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.pickles import read_pickle
from alphaseal_converter.pickles.records import Record


@dataclass(frozen=True)
class Predictions:
    """qlib's recorded scores, row by row in the file's own order.

    `dates` is datetime64[D] [rows], `instruments` object array of str [rows], `scores` float64 [rows].
    """

    dates: NDArray[np.datetime64]
    instruments: NDArray[np.object_]
    scores: NDArray[np.float64]

    @property
    def constant(self) -> bool:
        """All scores are one and the same number."""
        return len(np.unique(self.scores)) == 1


@dataclass(frozen=True)
class DatasetState:
    """The pickled dataset without its data: fitted processors and the loader that was used.

    `infer_processors` are the records that ran before the model, shared ones first.
    """

    dataset_class: str
    step_len: int | None
    infer_processors: tuple[Record, ...]
    loader: Loader | None


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
    days = dates.astype("datetime64[D]")
    if (odd := np.flatnonzero(days != dates)).size:
        raise not_of_days(str(path), f"a prediction of {dates[odd[0]].astype('datetime64[s]')}")
    return Predictions(days, instruments, np.asarray(values, dtype=np.float64))


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
        infer_processors=(
            *_records(handler.get("shared_processors")),
            *_records(handler.get("infer_processors")),
        ),
        loader=_loader_state(loader, set()) if isinstance(loader, Record) else None,
    )


def read_model(data: bytes, where: str) -> ModelRecord:
    """The object in a weights file, unopened beyond its class."""
    root = read_pickle(data, where=where).root
    if not isinstance(root, Record) or isinstance(root.factory, Record):
        raise RefusalError("model.form", "the weights file holds no object", where=where, found=type(root).__name__)
    return ModelRecord(root.factory.module, root.factory.name, root)


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
