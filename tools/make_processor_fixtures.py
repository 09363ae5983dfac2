"""Writes tests/data/processors/qlib.json: what qlib's own processors make of small frames.

Run with an interpreter that has pyqlib (and pandas 2): ``python tools/make_processor_fixtures.py tests/data/processors``.
float32 numbers are written with the digits of their exact double; NaN and infinities are strings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import qlib
from qlib.data.dataset import processor

COLUMNS = ("A", "B", "C", "D")
DATES = pd.date_range("2020-01-01", periods=12)
FIT = {"fit_start_time": "2020-01-01", "fit_end_time": "2020-01-08", "fields_group": "feature"}


def frame(dtypes: list[str]) -> pd.DataFrame:
    """12 dates x 5 stocks; D is constant in the fit window; the last dates hold NaN, infinities and outliers."""
    generator = np.random.default_rng(3)
    index = pd.MultiIndex.from_product([DATES, list("vwxyz")], names=["datetime", "instrument"])
    values = generator.normal(size=(len(index), len(COLUMNS))) * [1.0, 1e-10, 1e6, 1.0] + [0.1, 0.0, 1e9, 0.0]
    values[:40, 3] = 2.5
    values[::7, 0] = np.nan
    values[45:48, 1] = [np.inf, -np.inf, 0.0]
    values[50:54, 2] = [np.nan, 2e9, -2e9, 1e9]
    columns = pd.MultiIndex.from_product([["feature"], COLUMNS])
    return pd.DataFrame(
        {column: values[:, i].astype(dtypes[i]) for i, column in enumerate(columns)}, index=index, columns=columns
    )


def numbers(values: Any) -> list[Any]:
    array = np.asarray(values).astype(np.float64)
    if array.ndim == 2:
        return [numbers(row) for row in array]
    return [value if np.isfinite(value) else str(value) for value in array.tolist()]


def run(fitted: Any, dtypes: list[str], names: dict[str, str]) -> dict[str, Any]:
    raw = frame(dtypes)
    fitted.fit(raw.copy())
    before = numbers(raw.values)
    after = fitted(raw)
    parameters = {name: getattr(fitted, attribute) for name, attribute in names.items()}
    return {
        "class": type(fitted).__name__,
        "dtype": str(next(iter(parameters.values())).dtype) if parameters else None,
        "parameters": {name: numbers(values) for name, values in parameters.items()},
        "clip": getattr(fitted, "clip_outlier", None),
        "value": getattr(fitted, "fill_value", None),
        "input": before,
        "output": numbers(after.values),
    }


def main() -> None:
    cases = {}
    centre = {"mean": "mean_train", "scale": "std_train"}
    for title, dtypes in {"float32": ["f4"] * 4, "float64": ["f8"] * 4, "mixed": ["f4", "f8", "f4", "f4"]}.items():
        for clip in (True, False):
            robust = processor.RobustZScoreNorm(clip_outlier=clip, **FIT)
            cases[f"robust_{'clipped' if clip else 'open'}_{title}"] = run(robust, dtypes, centre)
        cases[f"zscore_{title}"] = run(processor.ZScoreNorm(**FIT), dtypes, centre)
        cases[f"minmax_{title}"] = run(
            processor.MinMaxNorm(**FIT), dtypes, {"minimum": "min_val", "maximum": "max_val"}
        )
        cases[f"fill_{title}"] = run(processor.Fillna("feature", 0.5), dtypes, {})
    document = {"qlib": qlib.__version__, "pandas": pd.__version__, "columns": COLUMNS, "cases": cases}
    path = Path(sys.argv[1]) / "qlib.json"
    path.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
