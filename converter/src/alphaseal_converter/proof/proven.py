"""All that is known of a conversion before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from alphaseal.format.manifest import Order, Parity, Stage
from alphaseal_converter.evidence.comparison import Replayed
from alphaseal_converter.evidence.golden import GoldenRows
from alphaseal_converter.evidence.order import FeatureOrder
from alphaseal_converter.evidence.values import RawFile
from alphaseal_converter.factors.trial import Trial
from alphaseal_converter.families import TrainedModel
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.proof.bars import MarketFacts
from alphaseal_converter.session.anchor import SotaFactor


@dataclass(frozen=True)
class Proven:
    """All that is known before writing: what was found, the graph and the proof of its numbers."""

    located: Located
    model: TrainedModel
    model_code: str | None
    features: FeatureOrder
    sota_factors: Sequence[SotaFactor]
    """Every accepted factor of the task with its status, in history order; none of a scan."""
    stages: Sequence[Stage]
    graphs: Mapping[str, bytes]
    order: Order
    parity: Parity
    golden: Sequence[GoldenRows]
    raw: RawFile | None
    replayed: Replayed | None
    """The recorded predictions that the graph reproduces; None where there were no raw values of them."""
    market: MarketFacts
    trials: Mapping[str, Trial] = field(default_factory=dict)
    """What running the SOTA factors showed, by feature; empty where no bars were named."""
