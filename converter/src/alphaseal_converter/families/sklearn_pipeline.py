"""scikit-learn: estimators and whole pipelines, and the reasons for those that cannot be converted.

Two roads.  Our own reads the fitted numbers and builds every node in double, without scikit-learn.  Where it does not
know a class, skl2onnx converts the estimator (see `sklearn_skl2onnx`), which needs the version that fitted it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np

from alphaseal.format.manifest import Bound
from alphaseal_converter.comparison.known_names import KnownNames
from alphaseal_converter.comparison.parity import Judge, Vector
from alphaseal_converter.decode.frames import as_plain, shown
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import EXACT, TrainedModel
from alphaseal_converter.families.linear import rounding_bound, row_rounding_of
from alphaseal_converter.families.live import given_table
from alphaseal_converter.families.sklearn_live import live_estimator, make_judge
from alphaseal_converter.graph.sklearn_steps import build_chain_graph
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.models.sklearn.estimators import (
    Estimator,
    UnknownEstimatorError,
    check_copies,
    known_names,
    parse_estimator,
    version_of,
)
from alphaseal_converter.models.sklearn.steps import (
    Chain,
    Elementwise,
    Impute,
    Linear,
    Mean,
    Network,
    Project,
    Quantile,
    Trees,
    last_bits,
    scaled_space,
    walk,
)
from alphaseal_converter.models.sklearn.trees import single_boundaries
from alphaseal_converter.models.trees import TransformKind, malformed, thresholds_by_feature, used_features
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.processor import RowProcessor

_USUAL = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
"""Values of normalised inputs."""
# Estimators that no road can carry, and why.
_REFUSED = {
    "TransformedTargetRegressor": "a transformed label: fit the model on the label itself",
    "KernelRidge": "kernels: a score would need every training row",
    "GaussianProcessRegressor": "kernels: a score would need every training row",
    "SVR": "onnxruntime computes support vectors in float32, which is not this model",
    "NuSVR": "onnxruntime computes support vectors in float32, which is not this model",
    "KNeighborsRegressor": "neighbours: its graph needs a loop over all training rows, which a bundle does not carry",
    "AdaBoostRegressor": "a weighted median of trees, which onnxruntime has in float32 only",
    "GridSearchCV": "a search: pickle its best_estimator_",
    "RandomizedSearchCV": "a search: pickle its best_estimator_",
    "LGBMClassifier": "a classifier: its predictions are classes, not scores to rank by",
}


def read(record: ModelRecord, where: str) -> TrainedModel:
    """The trained model of a scikit-learn record; RefusalError ``model.unsupported`` names what stands in the way."""
    _refuse_named(str(record.record.factory), where)
    check_copies(record.record, where)
    try:
        estimator = parse_estimator(record.record, where)
    except UnknownEstimatorError as unknown:
        _refuse_named(unknown.path, where)
        from alphaseal_converter.families import sklearn_skl2onnx

        return sklearn_skl2onnx.read(record, unknown.path, where)
    model = _Model(str(record), record.record, estimator, where, known_names(record.record, where))
    return model.trained(estimator.single)


def _refuse_named(path: str, where: str) -> None:
    name = path.rsplit(".", 1)[-1]
    reason = _REFUSED.get(name)
    if reason is None and name.endswith(("Classifier", "ClassifierCV")):
        reason = "a classifier: its predictions are classes, not scores to rank by"
    if reason is not None:
        raise RefusalError(
            "model.unsupported",
            f"{name} cannot be converted: {reason}",
            where=where,
            found=path,
            next_step="train a regressor",
        )


@dataclass(frozen=True, eq=False)
class _Model:
    """A chain with all that turns it into a `TrainedModel`."""

    class_name: str
    record: Record
    estimator: Estimator
    where: str
    known: KnownNames | None

    def trained(self, single: bool) -> TrainedModel:
        """`single`: the table that the estimator is handed is float32, and it computes in float32."""
        chain, count = self.estimator.chain, self.estimator.input_count
        return TrainedModel(
            family="sklearn",
            class_name=self.class_name,
            framework="scikit-learn",
            framework_version=version_of(self.record),
            road="alphaseal.sklearn",
            feature_count=count,
            used=_used(chain),
            thresholds=_thresholds(chain, count),
            bound=_bound(self.record, chain, single),
            facts=_facts(chain),
            graph=lambda processors: build_chain_graph(processors, chain, count, single),
            judge=lambda processors: self.judge(processors, single),
            rounding=row_rounding_of(chain, single) if _ends_in_sums(chain) else None,
            known_names=self.known,
            bind=self.bind,
        )

    def bind(self, names: Sequence[str], dtypes: Sequence[str]) -> TrainedModel:
        """A table is float32 where all its features are."""
        single = self.estimator.single or all(dtype == "float32" for dtype in dtypes)
        return replace(self.trained(single), bind=None)

    def judge(self, processors: Sequence[RowProcessor], single: bool) -> Judge | None:
        """scikit-learn's own ``predict``; None where it is not there in the version that fitted the estimator."""
        try:
            live = live_estimator(self.record, self.where)
        except RefusalError as refusal:
            if refusal.code in ("model.sklearn_missing", "model.sklearn_version", "model.unsupported"):
                return None
            raise
        given = given_table(self.known, self.estimator.category_columns)
        if given is None:
            return None
        return make_judge(live, version_of(self.record), processors, given, single=single)


def _bound(record: Record, chain: Chain, single: bool) -> Bound:
    """Trees behind exact steps are exact; sums of products are as near as two libraries can be."""
    steps = walk(chain)
    ensembles = [step for step in steps if isinstance(step, Trees)]
    kinds = {step.model.transform.kind for step in ensembles}
    if kinds - {TransformKind.IDENTITY, TransformKind.SIGNED_SQUARE} and not (single or _ends_in_sums(chain)):
        return Bound(ulp=4, relative=None, absolute=None, text="4 ulp: exp of two mathematical libraries")
    if not last_bits(chain):
        return _summing_bound(record, ensembles)
    widest = max([_terms(step) for step in steps], default=1)
    if isinstance(chain[-1], Trees) and not single:
        return Bound(
            ulp=0,
            relative=None,
            absolute=None,
            text="the same leaf for every row: bit-identical, though its inputs are not",
        )
    return rounding_bound(chain, widest, single)


def _summing_bound(record: Record, ensembles: Sequence[Trees]) -> Bound:
    """A forest with several jobs adds its trees in the order in which its threads finish."""
    final = record
    while isinstance(final.get("steps"), list) and final.get("steps"):
        final = final.get("steps")[-1][1]
    jobs = as_plain(final.get("n_jobs")) if isinstance(final, Record) else None
    if jobs is not None and not isinstance(jobs, int):
        raise malformed("n_jobs is no whole number", record.class_name, found=shown(jobs))
    forests = [step.model for step in ensembles if step.model.average]
    if jobs in (None, 1) or not forests:
        return EXACT
    count = max(len(model.trees) for model in forests)
    largest = max(float(np.abs(tree.leaf_value).max()) for model in forests for tree in model.trees)
    return Bound(
        ulp=None,
        relative=None,
        absolute=max(count * largest * 2.0**-52, 2.0**-1000),
        text=f"scikit-learn adds {count} trees in another order each time (n_jobs={jobs})",
    )


def _ends_in_sums(chain: Chain) -> bool:
    """Whether the score itself is a sum whose last bits depend on the library, and not the leaf that such sums lead to."""
    return last_bits(chain) and not isinstance(chain[-1], Trees)


def _terms(step: object) -> int:
    if isinstance(step, Linear):
        return len(step.coefficients)
    if isinstance(step, Project):
        return len(step.components)
    if isinstance(step, Network):
        return sum(len(weights) for weights in step.weights)
    if isinstance(step, Mean):
        return len(step.members)
    return 1


def _used(chain: Chain) -> Any:
    if len(chain) and isinstance(chain[-1], Trees) and all(isinstance(step, Elementwise) for step in chain[:-1]):
        return used_features(chain[-1].model)
    return None


def _thresholds(chain: Chain, count: int) -> list[Vector]:
    """Raw values to test at: splits brought back through scalers, quantiles, or what scalers bring to usual numbers.

    Behind other steps there are none that raw values could stand at.
    """
    chain = tuple(
        step for step in chain if not (isinstance(step, Impute) and len(step.kept) == count and not len(step.indicated))
    )
    if not chain:
        return [np.empty(0)] * count
    if isinstance(chain[0], Quantile):
        return [np.unique(column) for column in chain[0].quantiles.T]
    scalers = list(takewhile(lambda step: isinstance(step, Elementwise), chain))
    shift, scale = (np.broadcast_to(part, (count,)) for part in scaled_space(scalers))
    last = chain[-1]
    if isinstance(last, Trees) and len(scalers) == len(chain) - 1:
        splits = thresholds_by_feature(last.model)
        if last.check is not None and last.check.single:
            splits = [np.concatenate([values, single_boundaries(values)]) for values in splits]
    else:
        splits = [_USUAL if scalers else np.empty(0)] * count
    raw = [values * scale[position] + shift[position] for position, values in enumerate(splits)]
    return [np.unique(values[np.isfinite(values)]) for values in raw]


def _facts(chain: Chain) -> dict[str, Any]:
    steps = walk(chain)
    ensembles = [step.model for step in steps if isinstance(step, Trees)]
    return {
        "steps": [type(step).__name__.lower() for step in steps],
        "trees": sum(len(model.trees) for model in ensembles),
        "leaves": sum(tree.n_leaves for model in ensembles for tree in model.trees),
        "unscored_rows": "rows that scikit-learn refuses (NaN or infinity where a step takes none) get no score",
    }
