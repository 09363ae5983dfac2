"""scikit-learn's own objects from inert records, to be the judge of the numbers.

Nothing is unpickled: a class is taken from the table below by its exact name, made without its constructor, and given
the decoded plain values as attributes.  What compiled code would follow blindly (child ids of trees) was checked by our
own parser before.  The installed scikit-learn must be the version that fitted the estimator.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alphaseal_converter.comparison.parity import Judge, Matrix, Vector
from alphaseal_converter.decode.frames import as_array, as_dtype, as_plain, shown
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.lightgbm_live import library, live_booster
from alphaseal_converter.models.lightgbm_saved import read_saved
from alphaseal_converter.models.sklearn import trees as trees
from alphaseal_converter.models.sklearn.estimators import BUILT_CLASSES, version_of
from alphaseal_converter.pickles.records import Global, Record
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import apply_processors

# Estimators of skl2onnx's road, and the parts of estimators that have attributes of their own.
_MORE_ESTIMATORS = frozenset(
    (
        "sklearn.preprocessing._data.Normalizer",
        "sklearn.preprocessing._data.Binarizer",
        "sklearn.preprocessing._data.PowerTransformer",
        "sklearn.feature_selection._univariate_selection.SelectKBest",
        "sklearn.cross_decomposition._pls.PLSRegression",
    )
)
_PARTS = frozenset(
    (
        "sklearn.dummy.DummyRegressor",
        "sklearn.impute._base.MissingIndicator",
        "sklearn.linear_model._base.LinearRegression",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.utils._bunch.Bunch",
    )
)
_PLAIN_CLASSES = BUILT_CLASSES | _MORE_ESTIMATORS | _PARTS
_LOSSES = frozenset(
    (
        "HalfSquaredError",
        "AbsoluteError",
        "HalfPoissonLoss",
        "HalfGammaLoss",
        "HalfTweedieLoss",
        "HalfTweedieLossIdentity",
        "PinballLoss",
        "HuberLoss",
    )
)
_LOSS_PARAMETERS = {"PinballLoss": {"quantile": 0.5}, "HuberLoss": {"quantile": 0.9}}
"""A loss is asked for its link alone when it predicts, so its parameters do not matter."""
# Attributes that prediction does not look at, and whose values are no plain data.
_NOT_NEEDED = frozenset((
    "_sklearn_version", "random_state", "_rng", "_random_state", "_feature_subsample_rng", "_optimizer",
    "_label_binarizer", "_bin_mapper_", "cv", "cv_results_", "scoring", "scorer_", "closs", "_seeds", "score_func",
))  # fmt: skip
_DEEPEST = 40


def installed_version() -> str | None:
    """The installed scikit-learn, None without one."""
    try:
        import sklearn
    except (ImportError, OSError):
        return None
    version: str = sklearn.__version__
    return version


def live_estimator(record: Record, where: str) -> Any:
    """The estimator as an object of the installed scikit-learn; errors as `live_parts`."""
    return live_parts(record, where)[0]


def live_parts(record: Record, where: str) -> tuple[Any, list[tuple[Record, Any]]]:
    """The estimator as an object of the installed scikit-learn, and each record in it with its object.

    RefusalError ``model.sklearn_missing``, ``model.sklearn_version``, and ``model.unsupported`` for what is not listed.
    """
    installed, fitted = installed_version(), version_of(record)
    if installed is None:
        raise RefusalError(
            "model.sklearn_missing",
            "scikit-learn is needed for this estimator and is not installed",
            where=where,
            expected=f"scikit-learn {fitted}",
            next_step=f"install scikit-learn=={fitted}",
        )
    if installed != fitted:
        raise RefusalError(
            "model.sklearn_version",
            "the estimator was fitted with another version of scikit-learn than the installed one",
            where=where,
            expected=f"scikit-learn {fitted}",
            found=f"scikit-learn {installed}",
            next_step=f"install scikit-learn=={fitted}",
        )
    building = _Building(where)
    return building.value(record), building.parts


class _Building:
    """One object graph; a record that occurs twice is one object."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._made: dict[int, Any] = {}
        self.parts: list[tuple[Record, Any]] = []
        self._depth = 0

    def value(self, value: Any) -> Any:
        """The live value of plain data, arrays, and records of listed classes."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RefusalError("pickle.nesting", "estimators are nested too deep", where=self._where)
        try:
            return self._value(value)
        finally:
            self._depth -= 1

    def _value(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if isinstance(value, list | tuple):
            members = [self.value(member) for member in value]
            return members if isinstance(value, list) else tuple(members)
        if isinstance(value, dict):
            return {self._key(key): self.value(member) for key, member in value.items()}
        if not isinstance(value, Record):
            raise self._unknown(value)
        if id(value) not in self._made:
            self._made[id(value)] = self._record(value)
        return self._made[id(value)]

    def _key(self, key: Any) -> Any:
        return key if isinstance(key, str | int) else as_plain(key, where=self._where)

    def _record(self, record: Record) -> Any:
        if not isinstance(record.factory, Global):
            raise self._unknown(record)
        path, module = str(record.factory), record.factory.module
        if path == "sklearn.tree._tree.Tree":
            return self._tree(record)
        if path == "lightgbm.basic.Booster":
            return self._booster(record)
        if module == "sklearn._loss.loss" and record.factory.name in _LOSSES:
            return self._class(record.factory)(**_LOSS_PARAMETERS.get(record.factory.name, {}))
        if path in _PLAIN_CLASSES:
            return self._object(record)
        if module.startswith("numpy.random"):
            return None
        if path == "numpy.dtype":
            return as_dtype(record, where=self._where)
        if path == "builtins.slice":
            return slice(*(as_plain(part, where=self._where) for part in record.args))
        if module.split(".")[0] == "numpy":
            return self._array(record)
        if module in ("builtins", "collections"):
            return as_plain(record, where=self._where)
        raise self._unknown(record)

    def _class(self, name: Global) -> Any:
        # Only reached with names of the tables above.
        return getattr(importlib.import_module(name.module), name.name)

    def _object(self, record: Record) -> Any:
        assert isinstance(record.factory, Global)
        kind = self._class(record.factory)
        if record.factory.name == "TreePredictor":
            return self._predictor(record, kind)
        made = kind.__new__(kind)
        self._made[id(record)] = made
        self.parts.append((record, made))
        for name, attribute in record.attributes.items():
            vars(made)[name] = None if name in _NOT_NEEDED else self.value(attribute)
        if "n_jobs" in vars(made):
            # With more jobs forests add their trees in an order that changes from run to run.
            made.n_jobs = None
        return made

    def _array(self, record: Record) -> Any:
        """A numpy array (writable, as unpickled ones are) or scalar; one of objects keeps its estimators."""
        state = record.state
        if isinstance(state, tuple) and len(state) == 5 and isinstance(state[4], list):
            members = np.empty(len(state[4]), dtype=object)
            for position, member in enumerate(state[4]):
                members[position] = self.value(member)
            return members.reshape(tuple(int(length) for length in state[1]))
        array = as_array(record, where=self._where)
        return array[()] if array.ndim == 0 else np.array(array)

    def _tree(self, record: Record) -> Any:
        count = as_plain(record.args[0], where=self._where) if record.args else 0
        trees.parse_tree(record, count, self._where)
        classes, outputs = as_array(record.args[1], where=self._where), record.args[2]
        if outputs != 1 or classes.tolist() != [1]:
            raise trees.multi_output(self._where, f"{outputs} outputs")
        tree = self._class(Global("sklearn.tree._tree", "Tree"))(count, np.array(classes, dtype=np.intp), 1)
        nodes, values = (self.value(record.get(name)) for name in ("nodes", "values"))
        # The depth is used for printing alone; the count must be that of the table.
        tree.__setstate__({"max_depth": 0, "node_count": len(nodes), "nodes": nodes, "values": values})
        return tree

    def _predictor(self, record: Record, kind: Any) -> Any:
        trees.parse_predictor(record, trees.MAXIMUM_INPUTS, self._where)
        parts = ("nodes", "binned_left_cat_bitsets", "raw_left_cat_bitsets")
        return kind(*(self.value(record.get(name)) for name in parts))

    def _booster(self, record: Record) -> Any:
        lightgbm = library()
        if lightgbm is None:
            raise RefusalError(
                "model.unsupported",
                "LightGBM is needed for this estimator and is not installed",
                where=self._where,
                next_step="install lightgbm",
            )
        return live_booster(lightgbm, read_saved(record, self._where))

    def _unknown(self, value: Any) -> RefusalError:
        name = shown(value)
        return RefusalError(
            "model.unsupported",
            f"{name} is not among the parts of scikit-learn that can be made again",
            where=self._where,
            found=name,
        )


def tolerant_predict(predict: Callable[[Any], Any], rows: Any) -> Any:
    """``predict``, with NaN for rows that it refuses; it refuses a whole table for one bad row."""
    scores = np.full(len(rows), np.nan)
    with np.errstate(over="ignore"):
        beyond_single = np.isinf(rows.astype(np.float32))
    bad = np.select([np.isnan(rows), np.isinf(rows), beyond_single], [3, 2, 1], 0)
    for kind in np.unique(bad.max(axis=1)):
        chosen = np.flatnonzero(bad.max(axis=1) == kind)
        if _predicted(predict, rows, chosen, scores):
            continue
        # Whether a row is refused depends on where its bad values stand: one question per pattern is enough.
        _, pattern = np.unique(bad[chosen], axis=0, return_inverse=True)
        for number in range(int(pattern.max()) + 1):
            _halve(predict, rows, chosen[pattern.ravel() == number], scores, alike=bool(kind > 1))
    return scores


def _halve(predict: Callable[[Any], Any], rows: Any, chosen: Any, scores: Any, *, alike: bool) -> None:
    """Rows that `predict` takes get their score; rows `alike` of which the first is refused are all refused."""
    if alike and not _predicted(predict, rows, chosen[:1], scores):
        return
    if not _predicted(predict, rows, chosen, scores) and len(chosen) > 1:
        for half in np.array_split(chosen, 2):
            _halve(predict, rows, half, scores, alike=False)


def _predicted(predict: Callable[[Any], Any], rows: Any, chosen: Any, scores: Any) -> bool:
    """Fills in the scores of the `chosen` rows; False where scikit-learn refuses them for NaN or infinity."""
    try:
        scores[chosen] = np.asarray(predict(rows[chosen]), dtype=np.float64).reshape(len(chosen))
    except ValueError as error:
        if "contains NaN" in str(error) or "contains infinity" in str(error):
            return False
        raise
    return True


def make_judge(
    live: Any,
    version: str | None,
    processors: Sequence[RowProcessor],
    given: Callable[[Matrix], Any],
    *,
    single: bool,
) -> Judge:
    """``predict`` of a live estimator behind the processors; rows that it refuses have the score NaN.

    `given` turns rows into the table that the estimator was fitted on.
    """

    def predict(values: Matrix) -> Vector:
        inputs = apply_processors(values, processors).astype(np.float32 if single else np.float64)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            # Where pandas is missing an estimator gets arrays, and scikit-learn would warn of the names.
            warnings.simplefilter("ignore")
            scores: Vector = tolerant_predict(lambda rows: live.predict(given(rows)), inputs)
        return scores

    return Judge(f"scikit-learn {version}", predict)
