"""The features that a bundle's graphs make of bars, made ready for one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alphaseal.errors import UsageError
from alphaseal.factors.features import BarFeatures
from alphaseal.factors.side_table import SideSource
from alphaseal.format.factors import CompiledFactor
from alphaseal.tables.members.membership import Membership

if TYPE_CHECKING:
    from alphaseal.bars.calendar import AlphaColumns
    from alphaseal.factors.daily import FactorColumns
    from alphaseal.format.manifest import Manifest
    from alphaseal.tables.members.universe import Universe
    from alphaseal.tables.request import Request


def opened(
    manifest: Manifest,
    alphas: AlphaColumns,
    factors: FactorColumns,
    static: Any,
    request: Request,
    universe: Universe | None,
) -> BarFeatures:
    """The loaded graphs with the caller's side table and universe.

    Raises UsageError `usage.static` where a side table is missing, or no compiled factor reads one; InputError `static.*`,
    `universe.differs`.
    """
    return BarFeatures(
        alphas,
        factors,
        Membership.of_factors(manifest.data, universe),
        _side_source(manifest, static, request),
        frozenset(feature.name for feature in manifest.features if feature.used is not False),
    )


def joined_features(manifest: Manifest) -> list[int]:
    """Places of the features of which a stock has all on a day, or none."""
    if manifest.compiled is None or not manifest.compiled.complete_rows:
        return []
    return [place for place, feature in enumerate(manifest.features) if feature.origin in ("sota", "base")]


def _side_source(manifest: Manifest, static: Any, request: Request) -> SideSource | None:
    columns = [] if manifest.compiled is None else manifest.compiled.static
    if not columns:
        if static is not None:
            raise UsageError(
                "usage.static",
                "no compiled factor of the bundle reads a side table",
                expected="no side table",
                next_step="leave --static out (static= in Python)",
            )
        return None
    if static is None:
        raise UsageError(
            "usage.static",
            "compiled factors of the bundle read a side table",
            expected="a table with " + ", ".join(column.name for column in columns),
            next_step="name it with --static FILE (static= in Python)",
        )
    readers: dict[str, list[str]] = {column.name: [] for column in columns}
    for feature in manifest.features:
        if isinstance(feature.compilation, CompiledFactor):
            for one in feature.compilation.inputs:
                if one.table == "static":
                    readers.setdefault(one.column, []).append(feature.name)
    return SideSource.of(static, columns, readers, request)
