"""A bundle as a model of MLflow, logged, registered and loaded like any other.

    import alphaseal.adapters.mlflow as bundles

    info = bundles.log_model("bundle/", trust="trust.json", name="model")
    model = bundles.load_model(info.model_uri, trust="trust.json")       # opens the bundle and nothing else
    model = mlflow.pyfunc.load_model(info.model_uri)                     # trust file named by ALPHASEAL_TRUST
    scores = model.predict(frame)

The artefact holds the bundle's own files below ``data/bundle/`` and MLflow's descriptions, and no pickle.  Whom to trust is said
by the side that loads, in its environment; a configuration that the artefact carries is refused.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

import alphaseal
from alphaseal import Bundle, Trust
from alphaseal.adapters.batches import DATE, HISTORY, INSTRUMENT, Scorer, TrustLike, as_trust
from alphaseal.disk import tree
from alphaseal.errors import NotReadableError, NotTrustedError, UsageError
from alphaseal.format import manifest as m
from alphaseal.scoring import golden
from alphaseal.tables.members.universe import Stocks
from alphaseal.version import __version__

try:
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
except ImportError as error:
    raise UsageError(
        "usage.not_installed",
        f"MLflow cannot be imported: {error}",
        next_step="pip install 'alphaseal[mlflow]'",
    ) from error

FLAVOR_NAME = "alphaseal"
TRUST_VARIABLE = "ALPHASEAL_TRUST"
"""Environment variable of the side that loads: the path of its trust file, or `ALLOW_UNSIGNED`."""
ALLOW_UNSIGNED = "allow-unsigned"
_DATA = "data/bundle"
_EXAMPLE_VALUES = 200_000
_TYPES = {"float32": DataType.float, "float64": DataType.double}


class BundleModel:
    """What `load_model` gives: `predict` with one row out per row in."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    @property
    def bundle(self) -> Bundle:
        return self.scorer.bundle()

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """datetime, instrument, score (float64, NaN without one), excluded (why it has none), a row per row of the input,
        in its order and with its index.

        `model_input` is a DataFrame (or what the runtime takes as a table) with datetime, instrument and the features by
        name.  Days must be whole where the model looks at other rows too; rows before the first whole window are excluded
        as ``history``.  InputError as the runtime raises it.
        """
        frame = model_input if isinstance(model_input, pd.DataFrame) else pa.table(model_input).to_pandas()
        scored = self.scorer.score(pa.Table.from_pandas(frame, preserve_index=DATE not in frame.columns)).to_pandas()
        keys = _keys(frame)
        found = scored.set_index([pd.to_datetime(scored[DATE]), INSTRUMENT])[["score", "excluded"]].reindex(keys)
        known = keys.isin(pd.MultiIndex.from_arrays([pd.to_datetime(scored[DATE]), scored[INSTRUMENT]]))
        found.loc[~known, "excluded"] = HISTORY
        result = found.reset_index()
        result.columns = [DATE, INSTRUMENT, "score", "excluded"]
        return result.set_index(frame.index) if DATE in frame.columns else result


def save_model(
    path: str | os.PathLike[str],
    bundle_path: str | os.PathLike[str],
    *,
    trust: TrustLike,
    mlflow_model: Any = None,
    pip_requirements: list[str] | None = None,
    validate_serving_input: bool = False,
) -> None:
    """Verify the bundle, score its golden rows, and write it as a model of MLflow into the directory `path`.

    Errors of `alphaseal.open`, `verify` and `selftest`; nothing is written then.  `mlflow_model` and
    `validate_serving_input` are MLflow's own.
    """
    trust = as_trust(trust)
    source = alphaseal.open(bundle_path, trust=trust)
    manifest = source.manifest
    described = Model() if mlflow_model is None else mlflow_model
    facts = {"bundle": manifest.name, "sequence": manifest.sequence, "digest": source.digest, "data": _DATA}
    described.add_flavor(FLAVOR_NAME, **facts)
    requirements = [f"alphaseal[mlflow]=={__version__}"]
    with tempfile.TemporaryDirectory() as directory:
        copied = Path(directory, Path(_DATA).name)
        _copy(source, copied)
        # What is verified and tried is the copy that MLflow gets.
        bundle = alphaseal.open(copied, trust=trust)
        bundle.verify()
        bundle.selftest()
        # A module that loads a directory: MLflow's other way, a Python object, would be pickled.
        mlflow.pyfunc.save_model(
            os.fspath(path),
            loader_module=__name__,
            data_path=str(copied),
            mlflow_model=described,
            signature=signature_of(manifest),
            input_example=input_example(bundle),
            pip_requirements=requirements if pip_requirements is None else pip_requirements,
        )


def log_model(bundle_path: str | os.PathLike[str], *, trust: TrustLike, name: str = "model", **options: Any) -> Any:
    """`save_model` into the active run; gives MLflow's ModelInfo.

    `options` are those of ``mlflow.models.Model.log`` (registered_model_name, metadata, tags) and of `save_model`.
    """
    # MLflow would load the new model from the artefact to try it, under a trust that this side need not have.
    options = {"validate_serving_input": False} | options
    return Model.log(None, sys.modules[__name__], name=name, bundle_path=os.fspath(bundle_path), trust=trust, **options)


def load_model(
    model_uri: str, *, trust: TrustLike, universe: Stocks | None = None, dst_path: str | None = None
) -> BundleModel:
    """The bundle of a logged model, opened under `trust`.

    Only the bundle of the artefact is read: MLflow's own ``pyfunc.load_model`` runs what the artefact's MLmodel names, so
    it is for artefacts of a store whose writers you trust.  `universe`, as in `Bundle.score`, names the market's stocks
    where the model needs that.
    """
    local = Path(mlflow.artifacts.download_artifacts(artifact_uri=model_uri, dst_path=dst_path))
    return BundleModel(_scorer(local / _DATA, trust, universe))


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> BundleModel:
    """Called by ``mlflow.pyfunc.load_model`` with the bundle's directory; the trust is that of this environment."""
    if model_config:
        raise NotTrustedError(
            "adapter.model_config",
            "a model configuration says nothing here: the artefact could have brought it",
            found=", ".join(map(str, model_config))[:200],
            next_step=f"name your trust file in the environment: {TRUST_VARIABLE}=trust.json",
        )
    named = os.environ.get(TRUST_VARIABLE)
    if not named:
        raise NotTrustedError(
            "trust.unsigned",
            "no trust is named for bundles of MLflow models",
            where=f"environment variable {TRUST_VARIABLE}",
            next_step=f"set {TRUST_VARIABLE} to your trust file, or to {ALLOW_UNSIGNED} if you know where the model comes from",
        )
    return BundleModel(_scorer(Path(path), Trust.unsigned() if named == ALLOW_UNSIGNED else named))


def signature_of(manifest: m.Manifest) -> Any:
    """Input: datetime, instrument, the features in model order with their training dtypes.  Output: as `predict`."""
    keys = [ColSpec(DataType.datetime, DATE), ColSpec(DataType.string, INSTRUMENT)]
    features = [ColSpec(_TYPES[feature.dtype], feature.name) for feature in manifest.features]
    results = [ColSpec(DataType.double, "score"), ColSpec(DataType.string, "excluded", required=False)]
    return ModelSignature(inputs=Schema([*keys, *features]), outputs=Schema([*keys, *results]))


def input_example(bundle: Bundle) -> pd.DataFrame | None:
    """Golden rows with their keys: a few where rows are scored alone, else the golden days whole, or None if too large."""
    manifest = bundle.manifest
    table = golden.read_golden(bundle)
    rows = table.filter(pa.compute.is_valid(table[INSTRUMENT])).drop_columns(["case", "score"])
    if manifest.model.step_length == 1 and not bundle.pipeline().needs_whole_day:
        rows = rows.slice(0, 8)
    if not len(rows) or len(rows) * len(manifest.features) > _EXAMPLE_VALUES:
        return None
    frame = rows.to_pandas()
    frame[DATE] = pd.to_datetime(frame[DATE])
    return frame


def _scorer(directory: Path, trust: TrustLike, universe: Stocks | None = None) -> Scorer:
    if not directory.is_dir():
        raise NotReadableError(
            "bundle.not_readable", "the model holds no bundle", where=str(directory), expected="a model of log_model"
        )
    scorer = Scorer.of(directory, trust, universe=universe)
    scorer.bundle().selftest()
    return scorer


def _copy(bundle: Bundle, target: Path) -> None:
    """The files of the bundle, each verified as it is copied, and the envelopes beside them."""
    for entry in bundle.manifest.files:
        place = target / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "wb") as file:
            bundle.files.check(entry.path, file.write)
    (target / m.FILE_NAME).write_bytes(m.encode(bundle.manifest))
    if bundle.envelope is not None:
        (target / tree.ENVELOPE_NAME).write_bytes(bundle.envelope)
    if os.path.lexists(bundle.directory / tree.PROVENANCE_NAME):
        data = tree.read_bounded(bundle.directory, tree.PROVENANCE_NAME, tree.MAXIMUM_ENVELOPE)
        (target / tree.PROVENANCE_NAME).write_bytes(data)


def _keys(frame: pd.DataFrame) -> pd.MultiIndex:
    keyed = frame if DATE in frame.columns else frame.reset_index()
    return pd.MultiIndex.from_arrays([pd.to_datetime(keyed[DATE]), keyed[INSTRUMENT].astype(object)])


__all__ = ["BundleModel", "input_example", "load_model", "log_model", "save_model", "signature_of"]
