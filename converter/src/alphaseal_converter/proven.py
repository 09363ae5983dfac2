"""All that is known of a conversion before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from alphaseal.manifest import Order, Parity, Stage, TradingDays, Universes
from alphaseal_converter.alpha_part import AlphaPart
from alphaseal_converter.artifacts import DatasetState, Predictions
from alphaseal_converter.configuration import TaskConfiguration
from alphaseal_converter.families import TrainedModel
from alphaseal_converter.golden import GoldenRows
from alphaseal_converter.locate import Located
from alphaseal_converter.parity import Vector
from alphaseal_converter.processors import Processor
from alphaseal_converter.resolve import FeatureOrder
from alphaseal_converter.select import Anchor
from alphaseal_converter.session import Task
from alphaseal_converter.training_statistics import Training
from alphaseal_converter.trial import Trial
from alphaseal_converter.values import RawFile, Recorded


@dataclass(frozen=True)
class Proven:
    """All that is known before writing: the run's parts, the graph and the proof of its numbers."""

    task: Task | None
    anchor: Anchor | None
    located: Located
    configuration: TaskConfiguration | None
    dataset: DatasetState | None
    processors_known: bool
    processors: Sequence[Processor]
    model_code: str | None
    model: TrainedModel
    features: FeatureOrder
    order: Order
    stages: Sequence[Stage]
    graphs: Mapping[str, bytes]
    parity: Parity
    predictions: Predictions | None
    recorded: Recorded | None
    scores: Vector | None
    """The graph's scores of the `recorded` predictions, in their order; None where these are."""
    raw: RawFile | None
    golden: Sequence[GoldenRows]
    alphas: AlphaPart
    calendar: TradingDays | None
    universes: Universes
    training: Training
    constant_scores: bool
    columns_elsewhere: frozenset[str]
    trials: Mapping[str, Trial] = field(default_factory=dict)
    """What running the SOTA factors showed, by feature; empty where no bars were named."""
