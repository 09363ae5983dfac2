"""Raw alpha values of the recorded predictions, computed from the run's market data by our own graph, without qlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alphaseal.bars.trading_days import described
from alphaseal.format.manifest import TradingDays, Universes
from alphaseal_converter.alphas import CompiledAlphas, compile_alphas
from alphaseal_converter.emission.tables import SideFile
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import (
    AlphaPart,
    alpha_columns,
    compile_features,
    prove_alphas,
    with_conventions,
)
from alphaseal_converter.evidence.compiled import CompiledPart, TracedFactor, prove_factors
from alphaseal_converter.evidence.factor_table import Research
from alphaseal_converter.evidence.golden import GoldenRows
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.evidence.training_statistics import Training, find_training
from alphaseal_converter.evidence.units import with_units
from alphaseal_converter.evidence.universes import describe_universes
from alphaseal_converter.evidence.values import RawFile, Recorded, open_raw_file
from alphaseal_converter.factors.process import Runner
from alphaseal_converter.isolation.sandbox import IsolationLimits
from alphaseal_converter.locate.artifacts import Predictions
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.market.bars import Market, Progress, find_market, write_alpha_values
from alphaseal_converter.proof.prove import Proof
from alphaseal_converter.proof.request import BuildRequest


@dataclass(frozen=True)
class MarketFacts:
    """What the run's market data prove and say: features from bars, rows of the training, universes, trading days."""

    alphas: AlphaPart
    factors: CompiledPart
    training: Training
    universes: Universes
    calendar: TradingDays | None


@dataclass(frozen=True)
class BarReplay:
    """The compiled expressions of a run and the market data to compute them on.

    `market` is None where there are none, `absent` says why in words.  `named`: the data were asked for (--provider)
    and raw values come from nowhere else, so that what does not fit is a refusal instead of a reason.
    """

    compiled: CompiledAlphas | None
    factors: Mapping[str, TracedFactor]
    market: Market | None
    absent: str
    named: bool
    side: SideFile | None = None
    """The side table of the factors' code."""
    runner: Runner | None = None
    """How pandas is asked what the code of factors gives; None: it is not."""

    @classmethod
    def find(
        cls,
        features: Sequence[OrderedFeature],
        factors: Mapping[str, TracedFactor],
        side: SideFile | None,
        located: Located,
        request: BuildRequest,
        only_source: bool,
    ) -> BarReplay:
        """Look for the market data; `only_source`: no raw values were given and no qlib named.

        Raises RefusalError ``provider.*`` where the data were named, are the only source, and do not fit the run.
        """
        named = request.provider is not None and only_source
        compiled = compile_features(features)
        if request.without_provider:
            absent = "the market data were not to be used (--without-provider)"
            return cls(compiled, factors, None, absent, named=False)
        try:
            market, absent = _find_market(request, located)
        except RefusalError as error:
            if named:
                raise
            market, absent = None, f"the market data named cannot be used: {error.message} ({error.code})"
        return cls(compiled, factors, market, absent, named, side, _runner(request))

    def raw_values(
        self, predictions: Predictions | None, step_length: int, scratch: Path, progress: Progress
    ) -> RawFile | None:
        """The alpha columns of all days of the recorded predictions, and of those before that windows need.

        None where there are no predictions, no market data, or (unless the data were named) not every alpha feature can
        be computed.  Raises RefusalError ``provider.not_compiled``, and ``provider.*`` for data that do not fit.
        """
        if self.market is None or predictions is None or (self.compiled is None and not self.named):
            return None
        try:
            return self._raw_values(self.market, predictions, step_length, scratch, progress)
        except RefusalError as error:
            if self.named:
                raise
            progress(f"the market data at hand do not replay the run: {error.message}")
            return None

    def _raw_values(
        self, market: Market, predictions: Predictions, step_length: int, scratch: Path, progress: Progress
    ) -> RawFile:
        out = scratch / "bars.parquet"
        _write(market, self.compiled, predictions, step_length, out, progress)
        raw = open_raw_file(out, "bars")
        return replace(raw, sha256=market.provider.digest(), where=f"the bars in {market.provider.root}")

    def facts(
        self,
        proof: Proof,
        recorded: Recorded | None,
        golden: Sequence[GoldenRows],
        least_days: int,
        scratch: Path,
        progress: Progress,
    ) -> MarketFacts:
        """Prove the alpha graph on the golden days, with bars of `least_days` days at least; the other facts beside it."""
        features, model, located = proof.features.features, proof.model, proof.located
        market, parts = self.market, located.parts
        coded = any(feature.origin != "alpha" for feature in features)
        universes = describe_universes(market, self.absent, located, coded=coded)
        research = Research(market, self.absent, located.parquet, universes.factor, self.side, self.runner)
        factors = prove_factors(self.factors, features, research, progress)
        # The golden bars of the alpha graph show the units of what the factors read, too.
        compiled = compile_features(features, factors.fields) if factors.fields else self.compiled
        alphas = prove_alphas(compiled, features, market, self.absent, recorded, golden, least_days, factors.fields)
        if alphas.description is None:
            factors = factors.without_programs(
                "the bundle has no graph of alpha features, whose golden bars show units"
            )
        training = find_training(parts, features, model.class_name, market, self.absent, alphas, scratch, progress)
        segment = parts.configuration.training_segment
        alphas = with_units(alphas, compiled, proof.stages, proof.unused, market, segment, factors.invariance, progress)
        window = 0 if alphas.description is None else max(alphas.description.window, factors.window)
        alphas = with_conventions(alphas, market, segment, window + model.step_length - 1, universes.context)
        calendar = described(market.provider.calendar) if market is not None else None
        return MarketFacts(alphas, factors, training, universes, calendar)


def _runner(request: BuildRequest) -> Runner | None:
    python = request.python if request.python is not None or request.trial is None else request.trial.python
    return None if python is None else Runner(python, IsolationLimits())


def _find_market(request: BuildRequest, located: Located) -> tuple[Market | None, str]:
    return find_market(request.provider, located.workspace, request.path_maps, located.parts.configuration)


def write_bar_values(request: BuildRequest, located: Located, out: Path, progress: Progress) -> None:
    """Write the alpha columns of the anchor's run to `out`; the others are in the run's own factor table.

    Raises RefusalError ``provider.*``, ``replay.no_predictions``.
    """
    parts, predictions = located.parts, located.parts.to_replay()
    market, absent = _find_market(request, located)
    if market is None:
        raise RefusalError(
            "provider.not_found",
            "neither qlib nor its market data are at hand",
            found=absent,
            next_step="name qlib's data directory with --provider, or an environment with qlib with --replay-with",
        )
    loader = parts.dataset.loader if parts.dataset is not None else None
    loader = loader or parts.configuration.loader
    expressions = {column.name: column.expression for column in (loader.computed if loader is not None else ())}
    compiled = compile_alphas(expressions) if expressions else None
    _write(market, compiled, predictions, parts.configuration.step_len or 1, out, progress)


def _write(
    market: Market,
    compiled: CompiledAlphas | None,
    predictions: Predictions,
    step_length: int,
    out: Path,
    progress: Progress,
) -> None:
    columns = alpha_columns(compiled) if compiled is not None else None
    refused = compiled.not_compiled if compiled is not None else {}
    if refused or columns is None:
        reasons = "; ".join(f"{name}: {why}" for name, why in sorted(refused.items()))
        raise RefusalError(
            "provider.not_compiled",
            "not every expression of the run can be computed from bars, so that its predictions cannot be replayed",
            found=reasons[:1000] or "no alpha feature",
            next_step="let qlib compute the raw values with --replay-with, or pass --features",
        )
    first, last = predictions.dates.min(), predictions.dates.max()
    write_alpha_values(market, columns, (market.days_before(first, step_length - 1), last), out, progress)
