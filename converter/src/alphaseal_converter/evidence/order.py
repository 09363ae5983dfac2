"""Which column of the model is which feature, and on what evidence.

qlib hands LightGBM bare values, so its models know no names; where weights do, they must agree.  The order is that of the frame which the run's loader returned, and
that depends on the loader's class (qlib's NestedDataLoader sorts by name, others do not) and on the processors that drop
columns; it is never the order of the factor table alone.  What is found here is evidence; `build` proves it by replaying
the recorded predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alphaseal.errors import AlphasealError, NotReadableError, UsageError
from alphaseal.format import strict_json
from alphaseal.format.manifest import Evidence
from alphaseal.plain_text import listed
from alphaseal_converter.comparison.known_names import KnownNames
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.configuration import Expression, Loader
from alphaseal_converter.locate.parts import RunParts
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.processors.normalisation import Normalisation
from alphaseal_converter.processors.processor import Processor

Origin = Literal["alpha", "sota", "base", "unknown"]
Proof = Literal["evidence", "given"]

ALPHA_DTYPE: Literal["float32"] = "float32"  # qlib's provider stores and returns float32
_SORTING_LOADERS = ("NestedDataLoader",)
_PLAIN_LOADERS = ("QlibDataLoader", "Alpha158DL", "Alpha360DL")
_PLAIN_HANDLERS = ("Alpha158", "Alpha158vwap", "Alpha360", "Alpha360vwap")


@dataclass(frozen=True)
class OrderedFeature:
    """One column of the model; `dtype` is that of the frame it was trained from."""

    name: str
    dtype: Literal["float32", "float64"]
    origin: Origin
    expression: str | None


@dataclass(frozen=True)
class FeatureOrder:
    """All columns in model order, and what says so."""

    features: tuple[OrderedFeature, ...]
    proof: Proof
    evidence: tuple[Evidence, ...]


def resolve_order(
    located: Located,
    raw_dtypes: Mapping[str, str],
    feature_count: int,
    given: Sequence[str] | None,
    known: KnownNames | None,
) -> FeatureOrder:
    """The model's features in order.

    `raw_dtypes` are the columns of a --features file, `known` are names that the weights hold themselves.

    Raises RefusalError: ``order.unknown`` (nothing says it), ``order.disagree`` (two sources differ),
    ``order.names_differ`` (the weights name others, or in another order), ``order.count`` (not as many as the model
    has), ``order.loader`` (a loader class whose rule is not known), ``order.name_twice``, ``order.dtype_unknown``.
    """
    found = _by_processors(located.parts.processors), _by_loader(located)
    orders = [order for order in found if order is not None]
    if given is not None:
        orders.append((tuple(given), Evidence(code="given", text="--feature-order")))
    only_given = len(orders) == 1 and given is not None
    weighed = _by_weights(known, located, raw_dtypes) if known is not None else None
    if weighed is not None and not orders:
        orders.append(weighed)
    if not orders:
        raise RefusalError(
            "order.unknown",
            "nothing says in which order the model saw its features: the run's dataset has no fitted columns and its task configuration is missing",
            expected="artifacts/dataset or artifacts/task in the run",
            next_step="pass --feature-order FILE with one feature name a line; the bundle will then not be ready",
        )
    names, first = orders[0]
    for other, evidence in orders[1:]:
        if other != names:
            raise _disagreement(names, first, other, evidence)
    _check_names(names, feature_count, first)
    if known is not None:
        known.check(names, located.weights.label)
    if weighed is not None and weighed not in orders:
        orders.append(weighed)
    features = tuple(_feature(name, located, raw_dtypes) for name in names)
    alone = only_given and weighed is None
    return FeatureOrder(features, "given" if alone else "evidence", tuple(evidence for _, evidence in orders))


def _by_weights(
    known: KnownNames, located: Located, raw_dtypes: Mapping[str, str]
) -> tuple[tuple[str, ...], Evidence] | None:
    """Names that the weights themselves hold, as the run's columns are called."""
    names = known.order((*located.columns, *_expressions(located.parts), *raw_dtypes))
    if names is None:
        return None
    return names, Evidence(code="names_in_weights", text=f"the weights name their features: {known.holder}")


def _disagreement(names: Sequence[str], first: Evidence, other: Sequence[str], second: Evidence) -> RefusalError:
    """The first position at which two orders differ; a list of all names would hide it."""
    place = next((place for place, pair in enumerate(zip(names, other, strict=False)) if pair[0] != pair[1]), None)
    place = min(len(names), len(other)) if place is None else place
    here, there = (order[place] if place < len(order) else "the end of the list" for order in (names, other))
    alike = "the same names in another order" if sorted(names) == sorted(other) else "not the same names"
    return RefusalError(
        "order.disagree",
        f"two sources give different feature orders, {alike}: {first.code} ({len(names)} names) and {second.code} ({len(other)} names)",
        where=f"position {place}, the first that differs (counted from 0)",
        expected=f"{here} ({first.text})",
        found=f"{there} ({second.text})",
        next_step="look at both lists: alphaseal-convert inspect TASK_DIR --json prints the run's columns",
    )


def _check_names(names: Sequence[str], feature_count: int, evidence: Evidence) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise RefusalError(
            "order.name_twice", "two features have one name", where=evidence.code, found=listed(repeated, most=40)
        )
    if len(names) != feature_count:
        raise RefusalError(
            "order.count",
            "the number of features differs from the model's",
            where=evidence.code,
            expected=f"{feature_count} features",
            found=f"{len(names)}: {listed(names, most=40)}",
        )


def _by_processors(processors: Sequence[Processor]) -> tuple[tuple[str, ...], Evidence] | None:
    """Columns that a processor was fitted on, in their order, less what later processors drop."""
    for position, processor in enumerate(processors):
        if isinstance(processor, Normalisation) and processor.columns:
            text = f"columns of the fitted {type(processor).__name__} in the run's dataset"
            names = _selected(processor.columns, processors[position:])
            return names, Evidence(code="fitted_processor_columns", text=text)
    return None


def _selected(names: tuple[str, ...], processors: Sequence[Processor]) -> tuple[str, ...]:
    """What FilterCol and DropCol leave."""
    for processor in processors:
        names = processor.left(names)
    return names


def _by_loader(located: Located) -> tuple[tuple[str, ...], Evidence] | None:
    """The rule of the run's own loader class."""
    loader = located.parts.configuration.loader
    if loader is None:
        ordered = _by_handler(located.parts)
    elif loader.class_name in _SORTING_LOADERS:
        names = {name for part in loader.walk() for name in _own_names(part, located)}
        ordered = tuple(sorted(names)), f"{loader.class_name} sorts all columns by name"
    elif loader.class_name in _PLAIN_LOADERS:
        ordered = _own_names(loader, located), f"{loader.class_name} keeps the order of its expressions"
    elif loader.class_name == "StaticDataLoader":
        ordered = _own_names(loader, located), "StaticDataLoader keeps the order of its table"
    else:
        ordered = _by_custom_loader(loader, located)
    if ordered is None:
        return None
    names_in_order, text = ordered
    return _selected(names_in_order, located.parts.processors), Evidence(code="loader_class", text=text)


def _by_handler(parts: RunParts) -> tuple[tuple[str, ...], str] | None:
    """Handlers that bring their own list of expressions; it is in the dataset artefact."""
    name = parts.configuration.handler.class_name
    if name not in _PLAIN_HANDLERS or not parts.computed:
        return None
    return tuple(alpha.name for alpha in parts.computed), f"{name} keeps the order of its own expressions"


def _by_custom_loader(loader: Loader, located: Located) -> tuple[tuple[str, ...], str]:
    """A loader of the user that joins expressions with one table: expressions as listed, then the table's columns."""
    if loader.children or not loader.features or len(loader.static_paths) != 1:
        raise RefusalError(
            "order.loader",
            "the run's loader is none of qlib's and does not look like one that joins expressions with a factor table",
            where=f"{loader.module or '?'}.{loader.class_name}",
            expected="qlib's loaders, or arguments with feature expressions and one table",
            next_step="pass --feature-order FILE; the bundle will then not be ready",
        )
    names = (*(feature.name for feature in loader.features), *_table_names(loader, located))
    return names, f"{loader.class_name}: expressions in the order of the configuration, then the factor table's columns"


def _own_names(loader: Loader, located: Located) -> tuple[str, ...]:
    """Names that this loader itself computes or reads, without those of nested ones."""
    if loader.class_name == "StaticDataLoader":
        return _table_names(loader, located)
    if loader.features:
        return tuple(feature.name for feature in loader.features)
    if loader.class_name in _PLAIN_LOADERS:
        return tuple(alpha.name for alpha in located.parts.computed)
    if loader.class_name in _SORTING_LOADERS:
        return ()
    raise RefusalError(
        "order.loader",
        "a nested loader is none of qlib's",
        where=f"{loader.module or '?'}.{loader.class_name}",
        next_step="pass --feature-order FILE; the bundle will then not be ready",
    )


def _table_names(loader: Loader, located: Located) -> tuple[str, ...]:
    if located.parquet is None:
        raise RefusalError(
            "factors.missing",
            "the run was trained on a factor table that is not in its workspace",
            where=", ".join(loader.static_paths),
            next_step="name the workspace that still has it with --workspace-root",
        )
    return tuple(located.columns)


def _feature(name: str, located: Located, raw_dtypes: Mapping[str, str]) -> OrderedFeature:
    """Origin and training dtype; of a table and an expression of one name the table is loaded later and wins."""
    expressions = _expressions(located.parts)
    if name in located.columns:
        base = (Path(file).stem for file in located.origin.base_codes)
        origin: Origin = "base" if name in base else "sota"
        return OrderedFeature(name, _float(located.columns[name], name), origin, None)
    if name in expressions:
        return OrderedFeature(name, ALPHA_DTYPE, "alpha", expressions[name])
    dtype = raw_dtypes.get(name)
    if dtype is None:
        raise RefusalError(
            "order.dtype_unknown",
            "a feature is neither an expression of the configuration nor a column of the factor table, so its training dtype is not known",
            found=name,
            next_step="pass --features FILE with the raw values as the run had them",
        )
    return OrderedFeature(name, _float(dtype, name), "unknown", None)


def _expressions(parts: RunParts) -> dict[str, str]:
    """By name: those that the dataset's loaders computed, and as configured."""
    configured = parts.configuration.loader
    found: tuple[Expression, ...] = (*parts.computed, *(configured.computed if configured is not None else ()))
    return {column.name: column.expression for column in found}


def _float(dtype: str, name: str) -> Literal["float32", "float64"]:
    """The dtype that the column has in the model's frame: whole numbers and bools are widened to float64 by qlib."""
    if dtype in ("float", "float32"):
        return "float32"
    if dtype in ("double", "float64") or dtype.startswith(("int", "uint", "bool")):
        return "float64"
    raise RefusalError(
        "factors.column_type", "a factor is not numeric", where=name, expected="float32 or float64", found=dtype
    )


def read_given_order(path: Path) -> tuple[str, ...]:
    """Names from a file: one a line, or a JSON list of strings."""
    try:
        data = path.read_bytes()
        if data.lstrip().startswith(b"["):
            names = strict_json.loads(data, where=str(path), maximum_bytes=1 << 20)
            if not all(isinstance(name, str) for name in names):
                raise UsageError("order.file", "a name in the list is not a string", where=str(path))
            return tuple(names)
        return tuple(line.strip() for line in data.decode("utf-8").splitlines() if line.strip())
    except OSError as error:
        message = f"cannot read the feature order: {error.strerror}"
        raise NotReadableError("order.not_readable", message, where=str(path)) from None
    except UnicodeDecodeError:
        raise UsageError("order.file", "the feature order is not UTF-8 text", where=str(path)) from None
    except AlphasealError as error:
        raise UsageError(
            "order.file", error.message, where=str(path), expected="one name a line, or a JSON list"
        ) from None
