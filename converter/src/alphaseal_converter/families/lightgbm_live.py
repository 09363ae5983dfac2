"""LightGBM's own objects from inert records, to be the judge of the numbers.

The object is the one that the user's code would call, the scikit-learn wrapper included, and it is handed what it was
trained on: a data frame with the names and the categorical columns that the model knows, else an array.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from alphaseal_converter.comparison.parity import Judge, Matrix, Vector
from alphaseal_converter.families.live import given_table, live_wrapper
from alphaseal_converter.models.lightgbm_saved import SavedLightgbm, known_names
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import apply_processors


def library() -> Any | None:
    """The installed lightgbm; None where there is none, or its shared library does not load."""
    try:
        import lightgbm
    except (ImportError, OSError):
        return None
    return lightgbm


def live_booster(lightgbm: Any, saved: SavedLightgbm) -> Any:
    """The Booster as its pickle gives it.  LightGBM's parser is only handed a text that ours has found to be proper."""
    booster = lightgbm.Booster(model_str=saved.text)
    booster.best_iteration = saved.best_iteration or -1
    return booster


def live_object(lightgbm: Any, saved: SavedLightgbm) -> Any:
    """The wrapper with its plain attributes around the Booster; the Booster where it was saved alone.

    A wrapper of LightGBM before 4.0 asks its Booster and nothing else, and the predict of later ones fails on it.  A
    wrapper needs scikit-learn; without it the Booster stands for it, once its parameters are found to be neutral.
    """
    booster = live_booster(lightgbm, saved)
    if saved.wrapper is None or not saved.hands_on or importlib.util.find_spec("sklearn") is None:
        return booster
    return live_wrapper(lightgbm, saved.wrapper, booster)


def judge(saved: SavedLightgbm, processors: Sequence[RowProcessor]) -> Judge | None:
    """``predict`` of the object behind the processors."""
    lightgbm, given = library(), given_table(known_names(saved), saved.category_columns)
    if lightgbm is None or given is None:
        return None
    model = live_object(lightgbm, saved)

    def predict(values: Matrix) -> Vector:
        scores: Vector = model.predict(given(apply_processors(values, processors))).astype("float64")
        return scores

    kind = "" if isinstance(model, lightgbm.Booster) else f", {type(model).__name__}.predict"
    return Judge(f"lightgbm {lightgbm.__version__}{kind}", predict)
