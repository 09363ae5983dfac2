"""All that is known of a conversion before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from alphaseal.format.manifest import Order, Parity, Stage, TradingDays, Universes
from alphaseal_converter.comparison.parity import Vector
from alphaseal_converter.evidence.alphas import AlphaPart
from alphaseal_converter.evidence.golden import GoldenRows
from alphaseal_converter.evidence.order import FeatureOrder
from alphaseal_converter.evidence.training_statistics import Training
from alphaseal_converter.evidence.values import RawFile, Recorded
from alphaseal_converter.factors.trial import Trial
from alphaseal_converter.families import TrainedModel
from alphaseal_converter.locate.artifacts import DatasetState, Predictions
from alphaseal_converter.locate.configuration import TaskConfiguration
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.processors.processor import Processor
from alphaseal_converter.session.anchor import Anchor
from alphaseal_converter.session.task import Task


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
