"""Raw alpha values of the recorded predictions, computed from the run's market data by our own graph, without qlib."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alphaseal_converter.alphas import CompiledAlphas, compile_alphas
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import alpha_columns
from alphaseal_converter.evidence.values import RawFile, open_raw_file
from alphaseal_converter.locate.artifacts import DatasetState, Predictions, read_predictions
from alphaseal_converter.locate.configuration import TaskConfiguration
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.market.bars import Market, Progress, find_market, write_alpha_values

if TYPE_CHECKING:
    from alphaseal_converter.proof.request import BuildRequest


@dataclass(frozen=True)
class BarReplay:
    """The compiled expressions of a run and the market data to compute them on.

    `market` is None where there are none, `absent` says why in words.  `named`: the data were asked for (--provider)
    and raw values come from nowhere else, so that what does not fit is a refusal instead of a reason.
    """

    compiled: CompiledAlphas | None
    market: Market | None
    absent: str
    named: bool

    @classmethod
    def find(
        cls,
        compiled: CompiledAlphas | None,
        located: Located,
        configuration: TaskConfiguration | None,
        request: BuildRequest,
        only_source: bool,
    ) -> BarReplay:
        """Look for the market data; `only_source`: no raw values were given and no qlib named.

        Raises RefusalError ``provider.*`` where the data were named, are the only source, and do not fit the run.
        """
        named = request.provider is not None and only_source
        if request.without_provider:
            return cls(compiled, None, "the market data were not to be used (--without-provider)", named=False)
        try:
            market, absent = find_market(request.provider, located.workspace, request.path_maps, configuration)
        except RefusalError as error:
            if named:
                raise
            market, absent = None, f"the market data named cannot be used: {error.message} ({error.code})"
        return cls(compiled, market, absent, named)

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


def write_bar_values(
    request: BuildRequest,
    located: Located,
    configuration: TaskConfiguration | None,
    dataset: DatasetState | None,
    out: Path,
    progress: Progress,
) -> None:
    """Write the alpha columns of the anchor's run to `out`; the others are in the run's own factor table.

    Raises RefusalError ``provider.*``, ``replay.no_predictions``.
    """
    if located.artifacts.pred is None:
        raise RefusalError(
            "replay.no_predictions",
            "the run recorded no predictions to replay",
            expected="artifacts/pred.pkl in the run",
        )
    market, absent = find_market(request.provider, located.workspace, request.path_maps, configuration)
    if market is None:
        raise RefusalError(
            "provider.not_found",
            "neither qlib nor its market data are at hand",
            found=absent,
            next_step="name qlib's data directory with --provider, or an environment with qlib with --replay-with",
        )
    loaders = [part.loader for part in (dataset, configuration) if part is not None and part.loader is not None]
    expressions = {e.name: e.expression for loader in loaders[:1] for part in loader.walk() for e in part.features}
    compiled = compile_alphas(expressions) if expressions else None
    step_length = configuration.step_len if configuration is not None else None
    _write(market, compiled, read_predictions(located.artifacts.pred), step_length or 1, out, progress)


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
