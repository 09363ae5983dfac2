"""What must be shown of a field of bars, by the features that read it."""

from __future__ import annotations

from collections.abc import Mapping

from alphaseal.format.manifest import FieldUnit, Scaling, Sizes


def field_unit(scalings: Mapping[str, Scaling | None], sizes: Sizes | None) -> FieldUnit:
    """What must be shown of a field that these features read, by what is known of them (None: nothing)."""
    known = [scaling for scaling in scalings.values() if scaling is not None]
    common = {name for name, scaling in scalings.items() if scaling is not None and scaling.common}
    within = {name for name, scaling in scalings.items() if scaling is not None and scaling.smallest is not None}
    seen_by = [name for name, scaling in scalings.items() if scaling is None or not scaling.per_stock]
    return FieldUnit(
        seen_by=seen_by,
        exact=[name for name in seen_by if name not in common | within],
        alike=[name for name in seen_by if name in common],
        smallest=max((scaling.smallest for scaling in known if scaling.smallest is not None), default=None),
        largest=min((scaling.largest for scaling in known if scaling.largest is not None), default=None),
        sizes=sizes,
    )
