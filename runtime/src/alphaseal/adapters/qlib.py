"""A bundle as a model of qlib: `predict` for qlib's own records and backtests.

    from alphaseal.adapters.qlib import BundleModel

    model = BundleModel("bundle/", trust="trust.json")
    SignalRecord(model, dataset, recorder).generate()

It asks the dataset's handler for its raw data (``DK_R``), whatever processors the handler has: those of the training are
in the bundle, so a dataset configured for training is not normalised twice.  Nothing but this module and the replay program
imports qlib, and nothing imports this module.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd

try:
    from qlib.data.dataset import DatasetH
    from qlib.data.dataset.handler import DataHandlerLP
    from qlib.model.base import Model
except ImportError as error:
    from alphaseal.errors import UsageError as _UsageError

    raise _UsageError(
        "usage.not_installed",
        f"qlib cannot be imported: {error}",
        next_step="run this where qlib is: pip install pyqlib",
    ) from error

from alphaseal import Bundle
from alphaseal.adapters.batches import Scorer, TrustLike, as_trust
from alphaseal.errors import InputError, UsageError
from alphaseal.scoring import selftest
from alphaseal.tables.features import read_table
from alphaseal.tables.members.universe import Universe

Segment = str | slice | tuple[Any, Any]


class BundleModel(Model):  # type: ignore[misc]  # qlib is not typed
    """A trained model that comes from a bundle.

    `trust` is a Trust, or the path of a trust file, so that qlib's YAML can name it.  What is saved with qlib's recorder
    is place, digest and trust: another bundle in that place is refused later.
    """

    def __init__(self, bundle_path: str | os.PathLike[str], trust: TrustLike, allow_fit: bool = False) -> None:
        """Verifies the bundle and scores its golden rows; errors of `alphaseal.open`, `verify` and `selftest`.

        With `allow_fit` a call of `fit` does nothing, for ``qrun``, which fits every model.
        """
        self.bundle_path, self.trust, self.allow_fit = os.fspath(bundle_path), trust, allow_fit
        self.scorer = Scorer.of(bundle_path, as_trust(trust))
        _proven(self.scorer)

    def fit(self, dataset: Any, reweighter: Any = None) -> None:
        """UsageError ``usage.fit``, or nothing with `allow_fit`: a bundle is trained."""
        if not self.allow_fit:
            raise UsageError(
                "usage.fit",
                "the model of a bundle is trained already",
                where=self.bundle_path,
                next_step="call predict, or make it with allow_fit=True where qlib's workflow calls fit on every model",
            )

    def predict(self, dataset: Any, segment: Segment = "test") -> pd.Series:
        """float64 scores of a segment, indexed by (datetime, instrument): a row per row of the dataset that has a score.

        In order of date as the dataset; of a model on windows in order of instrument, as TSDatasetH gives them.  Rows
        without a single value are scored too: qlib's own models do so, and a backtest cannot trade them.

        InputError ``adapter.dataset`` where raw data cannot be had, and what the runtime raises: missing features, days
        that are too few.
        """
        bundle = _proven(self.scorer)
        frame, first, last = _raw_rows(dataset, segment, bundle.manifest.model.step_length)
        wanted = {feature.name for feature in bundle.manifest.features}
        # Columns are found by name: a handler may have more of them, in any order.
        chosen = frame.loc[:, [name in wanted for name in frame.columns]]
        scores = _score(bundle, chosen.reset_index(), first)
        # Of the history before the segment and of rows that a stage dropped there is no score.
        days = frame.index.get_level_values("datetime")
        index = frame.index[(days >= first) & (days <= last)]
        if bundle.manifest.model.step_length > 1:
            index = index.swaplevel().sort_values().swaplevel()
        return scores.reindex(index[index.isin(scores.index)])


def _proven(scorer: Scorer) -> Bundle:
    """The bundle, after its golden rows gave their scores in this process."""
    bundle = scorer.bundle()
    selftest.once(bundle.digest, "whole", bundle.selftest)
    return bundle


def _score(bundle: Bundle, frame: pd.DataFrame, first: pd.Timestamp) -> pd.Series:
    """Scores from the date `first` on, through the runtime's own stages."""
    block = read_table(frame, bundle.manifest.features, notation=bundle.notation())
    # The dataset's own instruments are the market of its days.
    market = Universe.of(block.instruments.unique().to_pylist())
    block = bundle.members(market, crosses=bundle.pipeline().needs_whole_day).choose(block)
    rows, scores = bundle.pipeline().run(block, np.datetime64(first, "D"))
    keys = [block.dates[rows].astype("datetime64[ns]"), np.array(block.instruments.to_pylist(), object)[rows]]
    return pd.Series(scores, index=pd.MultiIndex.from_arrays(keys, names=["datetime", "instrument"]))


def _raw_rows(dataset: Any, segment: Segment, step_length: int) -> tuple[pd.DataFrame, pd.Timestamp, pd.Timestamp]:
    """Raw features of a segment and of the days that windows need before it; first and last date of the segment."""
    raw = _raw_features(dataset)
    bounds = dataset.segments.get(segment) if isinstance(segment, str) else segment
    start, stop = (bounds.start, bounds.stop) if isinstance(bounds, slice) else bounds or (None, None)
    if bounds is None:
        raise UsageError(
            "usage.segment",
            "the dataset has no such segment",
            expected=", ".join(map(str, dataset.segments)),
            found=str(segment),
        )
    days = raw.index.get_level_values("datetime")
    calendar = days.unique().sort_values()
    inside = calendar[calendar.slice_indexer(start, stop)]
    if not len(inside):
        raise InputError(
            "features.date_absent",
            "the dataset has no rows in the segment",
            expected=f"{start} to {stop}",
            found="none",
        )
    oldest = calendar[max(0, calendar.get_loc(inside[0]) - (step_length - 1))]
    return raw[(days >= oldest) & (days <= inside[-1])], inside[0], inside[-1]


def _raw_features(dataset: Any) -> pd.DataFrame:
    """The handler's data before any processor: (datetime, instrument) x feature names."""
    handler = getattr(dataset, "handler", None)
    if not isinstance(dataset, DatasetH) or not isinstance(handler, DataHandlerLP):
        raise _no_raw_data(f"{type(dataset).__name__} with {type(handler).__name__}")
    if getattr(dataset, "flt_col", None) is not None:
        raise _no_raw_data("a dataset with flt_col, which leaves rows out")
    if handler.drop_raw or not hasattr(handler, "_data"):
        raise _no_raw_data("a handler that dropped its raw data, or was saved without data")
    return handler.fetch(slice(None), col_set="feature", data_key=DataHandlerLP.DK_R)


def _no_raw_data(found: str) -> InputError:
    return InputError(
        "adapter.dataset",
        "raw feature values cannot be had from this dataset",
        expected="DatasetH or TSDatasetH on a DataHandlerLP with drop_raw=False",
        found=found,
        next_step="the bundle normalises by itself and must not get values that are normalised already",
    )
