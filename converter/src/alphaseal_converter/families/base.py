"""What every family of models is turned into before a graph is built and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from alphaseal.manifest import Bound

from ..parity import Judge, Vector
from ..processors import RowProcessor

EXACT = Bound(ulp=0, relative=None, absolute=None, text="bit-identical")


@dataclass(frozen=True)
class TrainedModel:
    """A model of any family, read inertly.

    `class_name` is what the weights file names, `road` the builder that makes the graph, `feature_count` the inputs per
    row.  `graph` serialises ONNX (raw values double [rows, features], or [rows, step_length, features] for windows, in;
    score double [rows, 1] out) with the fitted row-wise processors inside.  `judge` is the original library after the
    same processors, or None where it is not installed.  `used` says which features the model asks for, None where it
    uses all; `thresholds` are split values per feature in the space that the model sees, empty arrays where it has none.
    `bound` is the largest difference from the judge that the family's arithmetic allows; `exact_order` demands the same
    order of all stocks of a day, else the top counts of `parity.TOP_COUNTS` alone.
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
    exact_order: bool = True
    notes: tuple[str, ...] = field(default=())
