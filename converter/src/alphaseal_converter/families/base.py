"""What every family of models is turned into before a graph is built and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alphaseal.format.manifest import Bound
from alphaseal_converter.comparison.known_names import KnownNames
from alphaseal_converter.comparison.parity import Judge, Matrix, Vector
from alphaseal_converter.processors.processor import RowProcessor


@dataclass(frozen=True)
class FamilyContext:
    """What a family may need beside the weights file.

    `model_code` is the text of the run's ``model.py``, None where there is none; it runs only where `run_model_code`
    says so, and then isolated, with `python` (default: the running one).  `dataset_class` is the class of the run's
    dataset (None: unknown), `step_length` the days of its windows (None: rows of one day).
    """

    model_code: str | None = None
    run_model_code: bool = False
    python: Path | None = None
    dataset_class: str | None = None
    step_length: int | None = None


@dataclass(frozen=True)
class Importance:
    """How much the model makes of each feature: `values` float64 [features], not negative; `meaning` says of what."""

    values: Vector
    meaning: str


EXACT = Bound(ulp=0, relative=None, absolute=None, text="bit-identical")


@dataclass(frozen=True)
class TrainedModel:
    """A model of any family, read inertly.

    `class_name` is what the weights file names, `road` the builder that makes the graph, `feature_count` the inputs per
    row.  `graph` serialises ONNX (raw values double [rows, features], or [rows, step_length, features] for windows, in;
    score double [rows, 1] out) with the fitted row-wise processors inside.  `judge` is the original library after the
    same processors, or None where it is not installed.  `used` says which features the model asks for, None where it
    uses all; `thresholds` are split values per feature in the space that the model sees, empty arrays where it has none.
    `bound` is the largest difference from the judge that the family's arithmetic allows, and with it which near ties there
    may be (`alphaseal.scoring.near_ties`).  `rounding`, where it is not None, says of raw rows [rows, features] behind the
    processors what the rounding of each row's own sums explains beyond that: float64 [rows], for rows far from those that
    the bound was made for.

    `known_names` are names of the features that the weights themselves hold, None where they hold none.

    `importance` is what the weights themselves say of single features, None where they say nothing.

    `bind`, where it is not None, is called with names and training dtypes of the features once their order is known and
    agrees with `known_names`, and gives the model to go on with.

    `judged_by_its_own_code` says that the judge is code of the run, which nobody has read: what it says of its scores
    counts beside qlib's recorded predictions only.
    """

    family: str
    class_name: str
    framework: str
    road: str
    feature_count: int
    thresholds: Sequence[Vector]
    bound: Bound
    facts: Mapping[str, Any]
    graph: Callable[[Sequence[RowProcessor]], bytes]
    judge: Callable[[Sequence[RowProcessor]], Judge | None]
    used: npt.NDArray[np.bool_] | None = None
    framework_version: str | None = None
    step_length: int = 1
    batch_dependent: bool = False
    rounding: Callable[[Sequence[RowProcessor]], Callable[[Matrix], Vector]] | None = None
    notes: tuple[str, ...] = field(default=())
    known_names: KnownNames | None = None
    importance: Importance | None = None
    bind: Callable[[Sequence[str], Sequence[str]], TrainedModel] | None = None
    judged_by_its_own_code: bool = False
