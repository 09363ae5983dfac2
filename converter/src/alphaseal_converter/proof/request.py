"""What ``alphaseal-convert build`` was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from alphaseal.format.manifest import FORMAT, Format
from alphaseal.trust.keys import SigningKey
from alphaseal_converter.factors.trial import TrialRequest
from alphaseal_converter.locate.weights import Weights

Progress = Callable[[str], None]


@dataclass(frozen=True)
class BuildRequest:
    """What ``alphaseal-convert build`` was asked for; the options are explained there."""

    out: Path
    task_directory: Path | None = None
    workspace_roots: Sequence[Path] = ()
    path_maps: Sequence[tuple[str, str]] = ()
    weights: Weights = "auto"
    anchor: str = "auto"
    run_model_code: bool = False
    features: Path | None = None
    feature_order: Path | None = None
    replay_with: Path | None = None
    provider: Path | None = None
    without_provider: bool = False
    session_key: Path | None = None
    name: str | None = None
    sequence: int | None = None
    with_factors: bool = True
    compile_factors: bool = True
    static: Path | None = None
    """The side table that factors' code reads (static_factors.parquet)."""
    python: Path | None = None
    """With pandas and tables: compiled factors are compared with it on changed bars."""
    expires: str | None = None
    require_ready: bool = False
    trial: TrialRequest | None = None
    signing_key: SigningKey | None = None
    format: Format = FORMAT
