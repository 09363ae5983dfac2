"""What LightGBM's own ``predict`` reads from a saved object beside the trees: best round, categories, parameters, names.

The rules are those of ``Booster.predict``, ``_data_from_pandas`` and ``LGBMModel.predict``; `alphaseal_converter.ledger`
lists every attribute and parameter, and a test holds that list against the library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alphaseal_converter.comparison.known_names import KnownNames
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.ledger import REFUSED
from alphaseal_converter.ledger.lightgbm import NATIVE, PARAMETER_OF
from alphaseal_converter.models.lightgbm import feature_infos, feature_names, parse_model_text, stated_categories
from alphaseal_converter.models.lightgbm_text import lightgbm_text
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.models.trees import FloatArray, TreeEnsembleModel, malformed, used_features
from alphaseal_converter.pickles.records import Record

_WRAPPERS = frozenset(("lightgbm.sklearn.LGBMRegressor", "lightgbm.sklearn.LGBMRanker"))
_LARGEST_INTEGER = 2**53
"""Whole numbers up to it are doubles."""
_OFF = frozenset(("none", "false", "-"))
"""A switch that is off, as LightGBM reads it (any case)."""
# Names of predict's own arguments: the wrapper of 4.0 and later would give them twice, and its predict fails.
_ARGUMENTS = frozenset(("validate_features",))


@dataclass(frozen=True)
class SavedLightgbm:
    """A Booster and what its object adds to it.

    `model` has the categories in its `raw_categories`; `names` are those of the text, empty where LightGBM made them
    up; `wrapper` is the scikit-learn object around the Booster, None where there is none.
    """

    text: str
    best_iteration: int | None
    model: TreeEnsembleModel
    names: tuple[str, ...]
    category_columns: tuple[int, ...]
    """Those that were categorical in the frame of the training, used by a split or not."""
    wrapper: Record | None
    hands_on: bool
    """Whether the wrapper was saved by LightGBM 4.0 or later, which hands its parameters on to the native predict."""
    unknown: tuple[str, ...]
    """Parameters of the wrapper that no supported LightGBM knows: it passes them on and ignores them."""


def read_saved(model: ModelRecord | Record, where: str, *, given_frames: bool = True) -> SavedLightgbm:
    """The trained model of a qlib ``LGBModel``, a ``Booster``, an ``LGBMRegressor`` or an ``LGBMRanker``.

    `given_frames`: whether what predicts is handed data frames, whose categorical columns LightGBM turns into codes;
    qlib and scikit-learn's transformers hand over bare values.

    RefusalError ``model.categorical`` for categories that no table of numbers can carry or whose columns are not
    certain, ``model.predict_parameter`` for a parameter that changes what predict gives; and those of
    `parse_model_text` and `lightgbm_text`.
    """
    record = model.record if isinstance(model, ModelRecord) else model
    text, best_iteration = lightgbm_text(model, where)
    parsed = parse_model_text(text, best_iteration)
    categories = _categories(record, text, where)
    columns: tuple[int, ...] = ()
    if categories:
        if not given_frames or str(record.factory).startswith("qlib."):
            raise _categorical(
                "the model was trained on categorical columns of a data frame, and what hands it its rows gives bare values",
                where,
                found=f"{len(categories)} categorical columns",
            )
        columns = _columns(categories, parsed, text, where)
        parsed = replace(parsed, raw_categories=_raw_categories(categories, columns, parsed, text, where))
    wrapper = record if str(record.factory) in _WRAPPERS else None
    unknown = _check_parameters(wrapper, where) if wrapper is not None else ()
    hands_on = "_handle" in _booster_of(record).attributes  # before 4.0 the text was in `handle`
    return SavedLightgbm(text, best_iteration, parsed, _own_names(text), columns, wrapper, hands_on, unknown)


def _booster_of(record: Record) -> Record:
    for name in ("model", "_Booster"):
        inner = record.get(name)
        record = inner if isinstance(inner, Record) else record
    return record


def _own_names(text: str) -> tuple[str, ...]:
    names = feature_names(text)
    return () if names == tuple(f"Column_{number}" for number in range(len(names))) else names


def known_names(saved: SavedLightgbm) -> KnownNames | None:
    """The names that the text states."""
    return KnownNames(saved.names, "LightGBM's feature_names", _spelled) if saved.names else None


def _spelled(name: str) -> str:
    """A feature's name as LightGBM writes it into its text; other characters that it does not take, it refuses."""
    return name.replace(" ", "_")


def _check_parameters(wrapper: Record, where: str) -> tuple[str, ...]:
    """The wrapper's further parameters, which LightGBM 4.0 and later hand on to the native predict."""
    others = wrapper.get("_other_params")
    unknown = []
    for name, value in others.items() if isinstance(others, dict) else ():
        known = PARAMETER_OF.get(str(name))
        refused = known is not None and NATIVE[known].verdict == REFUSED and not _is_off(value)
        if refused or str(name) in _ARGUMENTS:
            raise RefusalError(
                "model.predict_parameter",
                f"the {wrapper.class_name} predicts with {name}, which changes its scores or makes them fail",
                where=where,
                expected=f"no {name}, or the default",
                found=f"{name}={str(value)[:40]}",
                next_step=f"take it off and pickle again: model._other_params.pop({str(name)!r})",
            )
        if known is None:
            unknown.append(str(name))
    return tuple(unknown)


def _is_off(value: Any) -> bool:
    return str(value).lower() in _OFF


# ---- categories of a data frame


def _categories(record: Record, text: str, where: str) -> Sequence[Any]:
    """The categories of each categorical column in the order of the frame, which the Booster's attribute holds."""
    stated = stated_categories(text)
    attribute = _booster_of(record).get("pandas_categorical", stated)
    # What is no plain data (intervals, dates) never gets into a model text either.
    held = decode.as_plain(attribute, where=f"{where}: pandas_categorical") if attribute is not stated else stated
    if not held and not stated:
        return ()
    if _comparable(held) != _comparable(stated):
        raise malformed("the categories of the Booster and of its text differ", where)
    if not isinstance(held, list) or not all(isinstance(values, list) for values in held):
        raise malformed("the categories are not one list per column", f"{where}: pandas_categorical")
    return held


def _comparable(value: Any) -> Any:
    """Lists of scalars with the type in sight: True, 1 and "1" are three categories."""
    if isinstance(value, list | tuple):
        return [_comparable(member) for member in value]
    return (type(value).__name__, value)


def _columns(categories: Sequence[Any], model: TreeEnsembleModel, text: str, where: str) -> tuple[int, ...]:
    """The columns that the lists belong to, in their order, which the text does not say.

    LightGBM says of each column what it saw: codes of an unordered category, else a range.  Where a column with a range
    (or one that was constant) could be a category too, an ordered one or one that ``categorical_feature`` left out, the
    lists might be any of them, and there is no telling.
    """
    infos, names = feature_infos(text), feature_names(text)
    if len(infos) != model.n_features:
        raise malformed("feature_infos and the features differ in number", where)
    columns = [number for number, info in enumerate(infos) if info != "none" and not info.startswith("[")]
    longest = max(len(values) for values in categories)
    doubtful = [number for number, info in enumerate(infos) if number not in columns and _may_be_codes(info, longest)]
    fit = len(columns) == len(categories) and all(
        _largest_code(infos[column]) < len(values) for column, values in zip(columns, categories, strict=True)
    )
    if not fit or doubtful:
        places = ", ".join(names[number] for number in sorted((*columns, *doubtful)))
        raise _categorical(
            "the model was trained on categorical columns of a data frame, and it does not say for certain which they are",
            where,
            expected=f"{len(categories)} columns with codes, and no other whose values could be codes",
            found=places[:300],
        )
    return tuple(columns)


def _raw_categories(
    categories: Sequence[Any], columns: Sequence[int], model: TreeEnsembleModel, text: str, where: str
) -> Mapping[int, FloatArray]:
    """`TreeEnsembleModel.raw_categories` of the columns that a split looks at."""
    names, used = feature_names(text), used_features(model)
    found = {column: _values(values, names[column], where) for column, values in zip(columns, categories, strict=True)}
    return {column: values for column, values in found.items() if used[column] and len(values)}


def _may_be_codes(info: str, longest: int) -> bool:
    bounds = re.fullmatch(r"\[([-+.\w]+):([-+.\w]+)\]", info)
    if bounds is None:
        return True  # none: constant, or nothing to split on
    try:
        low, high = float(bounds[1]), float(bounds[2])
    except ValueError:
        return True
    return low.is_integer() and high.is_integer() and low >= 0 and high < longest


def _largest_code(info: str) -> int:
    codes = info.split(":")
    return max(int(code) for code in codes) if all(re.fullmatch(r"-?\d{1,10}", code) for code in codes) else 2**31


def _values(values: Sequence[Any], name: str, where: str) -> FloatArray:
    """The categories of one column as float64, each exactly."""
    for value in values:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INTEGER
        if not whole and not (isinstance(value, float) and np.isfinite(value)):
            raise _categorical(
                f"the model was trained on categories of the column {name} that a table of numbers cannot hold",
                where,
                expected="numbers",
                found=f"{value!r}"[:60],
            )
    found = np.array([float(value) for value in values])
    if len(np.unique(found)) != len(found):
        raise malformed("a category is there twice", f"{where}: pandas_categorical")
    return found


def _categorical(message: str, where: str, *, expected: str | None = None, found: str | None = None) -> RefusalError:
    return RefusalError(
        "model.categorical",
        message,
        where=where,
        expected=expected,
        found=found,
        next_step="train on numbers: give each categorical column its own codes (frame[column].cat.codes) before fit, "
        "and name it in categorical_feature",
    )
