"""The texts of others that a bundle carries, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alphaseal_converter.factors import trial
from alphaseal_converter.factors.table import column_names
from alphaseal_converter.session.anchor import SotaFactor, sota_factors

if TYPE_CHECKING:
    from alphaseal_converter.proof.proven import Proven


@dataclass(frozen=True)
class SourceTexts:
    """Inert texts that go below sources/: bundle path -> text, their real names, and whose they are.

    `factors` is parallel to `sota_factors(...)`: the path of each factor's code or None; `base` maps a base feature to
    the path of its code.
    """

    texts: Mapping[str, str]
    titles: Mapping[str, str]
    factors: Sequence[str | None]
    base: Mapping[str, str]


def accepted_factors(proven: Proven) -> tuple[SotaFactor, ...]:
    """The SOTA factors of the task with their status, in history order; none without a session."""
    if proven.task is None or proven.anchor is None:
        return ()
    parquet = proven.located.parquet
    columns = [name for name, _ in column_names(parquet)] if parquet is not None else None
    names = [feature.name for feature in proven.features.features]
    return sota_factors(proven.task, proven.anchor, columns, names, proven.columns_elsewhere)


def factors_to_try(proven: Proven) -> list[trial.TriedFactor]:
    """The features of the model that a factor's code computes, in model order."""
    base = proven.anchor.item.base_feature_codes if proven.anchor is not None else {}
    codes: dict[str, str | None] = {Path(name).stem: code for name, code in base.items()}
    codes |= {factor.name: factor.code for factor in accepted_factors(proven) if factor.status == "in_model"}
    return [
        trial.TriedFactor(feature.name, feature.dtype, code)
        for feature in proven.features.features
        if feature.origin in ("sota", "base") and (code := codes.get(feature.name)) is not None
    ]
