"""A run of minutes is refused by name, wherever its configuration or its predictions say so."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.artifacts import read_predictions
from alphaseal_converter.locate.configuration import parse_task_configuration
from alphaseal_converter.locate.frequency import DAY


def task(handler: dict[str, Any]) -> dict[str, Any]:
    """A task as qlib records it, with these arguments of its handler."""
    kwargs = {"instruments": "all", **handler}
    block = {"class": "Alpha158", "module_path": "qlib.contrib.data.handler", "kwargs": kwargs}
    dataset = {"class": "DatasetH", "kwargs": {"handler": block, "segments": {}}}
    return {"model": {"class": "LGBModel"}, "dataset": dataset}


@pytest.mark.parametrize("freq", [*sorted(DAY), "Day"])
def test_days_are_days_in_every_word(freq: str) -> None:
    """qlib's own words."""
    assert parse_task_configuration(task({"freq": freq}), "task").handler.kwargs["freq"] == freq


@pytest.mark.parametrize(
    "handler",
    [
        {"freq": "1min"},
        {"freq": "week"},
        {"data_loader": {"class": "QlibDataLoader", "kwargs": {"config": {"feature": ["$close"]}, "freq": "5min"}}},
        {
            "data_loader": {
                "class": "QlibDataLoader",
                "kwargs": {"config": {}, "freq": {"feature": "day", "label": "30min"}},
            }
        },
        {
            "data_loader": {
                "class": "NestedDataLoader",
                "kwargs": {"dataloader_l": [{"class": "Alpha158DL", "kwargs": {"freq": "1min"}}]},
            }
        },
    ],
)
def test_other_frequencies_are_refused_with_their_place(handler: dict[str, Any]) -> None:
    """In the handler, in its loader, in one of several loaders, or for one group of columns."""
    with pytest.raises(RefusalError) as caught:
        parse_task_configuration(task(handler), "task")
    assert caught.value.code == "run.frequency"
    assert "dataset.handler" in str(caught.value.where)
    assert caught.value.found in {"1min", "5min", "30min", "week"}


@pytest.mark.parametrize("kind", [pd.DataFrame, pd.Series])
def test_predictions_within_a_day_are_refused(kind: Any, tmp_path: Path) -> None:
    """Where nothing is left but the predictions."""
    times = pd.date_range("2021-01-04 09:30", periods=3, freq="1min")
    index = pd.MultiIndex.from_product([times, ["SH600000"]], names=["datetime", "instrument"])
    values = np.arange(3.0)
    frame = pd.DataFrame({"score": values}, index=index) if kind is pd.DataFrame else pd.Series(values, index=index)
    path = tmp_path / "pred.pkl"
    path.write_bytes(pickle.dumps(frame))
    with pytest.raises(RefusalError) as caught:
        read_predictions(path)
    assert (caught.value.code, caught.value.found) == ("run.frequency", "a prediction of 2021-01-04T09:30:00")
