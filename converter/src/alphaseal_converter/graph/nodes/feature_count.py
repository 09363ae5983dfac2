"""The check that every builder of a scoring graph starts with."""

from __future__ import annotations

from collections.abc import Sequence

from alphaseal.errors import UsageError
from alphaseal_converter.processors.kinds import Normalisation, RowProcessor


def check_feature_count(processors: Sequence[RowProcessor], n_features: int) -> None:
    """UsageError `graph.feature_count` unless each normalisation covers the model's features."""
    counts = [len(processor.columns) for processor in processors if isinstance(processor, Normalisation)]
    if any(count != n_features for count in counts):
        raise UsageError(
            "graph.feature_count",
            "model and processors differ in the number of features",
            expected=str(n_features),
            found=", ".join(str(count) for count in counts),
        )
