"""The graph of a conversion and its two proofs: of the order of the columns, and of the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from alphaseal.desk.doctor import installed
from alphaseal.format.manifest import Bound, Order, Parity, ParityCase, Stage
from alphaseal.scoring.pipeline import Pipeline
from alphaseal_converter.comparison import parity
from alphaseal_converter.comparison.parity import Judge, Matrix, Probe, Vector
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence import values
from alphaseal_converter.evidence.comparison import Replayed, compare_replay
from alphaseal_converter.evidence.golden import GoldenRows, clean_days, golden_days, golden_probe
from alphaseal_converter.evidence.noise import NoiseOfBars, can_be_carried, in_words
from alphaseal_converter.evidence.order import FeatureOrder
from alphaseal_converter.evidence.values import MINIMUM_DAYS, RawFile, Recorded
from alphaseal_converter.families import TrainedModel
from alphaseal_converter.graph.stages import StagePlan, stages_of
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.market.bars import Market
from alphaseal_converter.processors.sequence import raw_space
from alphaseal_converter.proof.request import Progress

MODEL_FILE = "model.onnx"
_SAMPLED_WINDOWS = 256


@dataclass(frozen=True)
class Proof:
    """A model whose order is known and whose graph is built (cut into `stages` where stocks are compared), to be proven by
    `raw` values; `market` is what they were computed from, or what is at hand beside them."""

    located: Located
    features: FeatureOrder
    model: TrainedModel
    plan: StagePlan
    stages: Sequence[Stage]
    graphs: Mapping[str, bytes]
    pipeline: Pipeline
    raw: RawFile | None
    market: Market | None

    @classmethod
    def of(
        cls, located: Located, features: FeatureOrder, model: TrainedModel, raw: RawFile | None, market: Market | None
    ) -> Proof:
        """Build the graph."""
        names = [feature.name for feature in features.features]
        dtypes = [feature.dtype for feature in features.features]
        if model.bind is not None:
            model = model.bind(names, dtypes)
        plan = stages_of(located.parts.processors, names, dtypes, model.step_length)
        graphs = {**plan.graphs(), MODEL_FILE: model.graph(plan.final)}
        universe = located.parts.configuration.instruments
        stages = plan.stages(MODEL_FILE, model.step_length, universe if isinstance(universe, str) else None)
        pipeline = Pipeline(
            stages, graphs.__getitem__, model.feature_count, names=names, batch_dependent=model.batch_dependent
        )
        return cls(located, features, model, plan, stages, graphs, pipeline, raw, market)

    @property
    def unused(self) -> set[str]:
        """Features that the model never asks for."""
        used = np.ones(len(self.features.features), np.bool_) if self.model.used is None else self.model.used
        return {feature.name for feature, asked in zip(self.features.features, used, strict=True) if not asked}

    def prove_order(self, progress: Progress) -> tuple[Order, Replayed | None]:
        """Replay the recorded predictions where raw values are at hand."""
        evidence = list(self.features.evidence)
        predictions = self.located.parts.predictions
        if self.raw is None or predictions is None:
            return Order(proof=self.features.proof, evidence=evidence, replay=None), None
        progress("replaying the recorded predictions")
        where = str(self.located.parts.artifacts.pred)
        recorded = values.join_values(
            self.raw, self.located.parquet, self.features.features, predictions, self.model.step_length, where
        )
        scores = self._score(recorded)
        try:
            replayed = compare_replay(recorded, self.raw, scores, self._bound(recorded), where, self._noise())
        except RefusalError as error:
            if self.model.batch_dependent:
                raise error.saying(
                    message=f"{error.message}; a score of this model depends on the other rows of its batch, qlib predicts batches "
                    "that mix days, and a bundle scores each day alone",
                    next_step="train a model whose score of a stock depends on no other row of the batch",
                ) from None
            if self.located.other_weights:
                others = ", ".join(f"{other.origin} {other.name}" for other in self.located.other_weights)
                taken = f"the weights of the {self.located.weights.origin} were taken, others differ ({others})"
                raise error.saying(next_step=f"{taken}: try --weights workspace") from None
            raise
        return Order(proof="replayed", evidence=evidence, replay=replayed.report), replayed

    def _noise(self) -> NoiseOfBars | None:
        """What the raw values may differ from qlib's; None where they are qlib's own, or where stages cross stocks."""
        if self.market is None or self.raw is None or self.raw.origin != "bars":
            return None
        if not can_be_carried(self.pipeline, len(self.plan.steps)):
            return None
        shift, scale = raw_space(self.plan.final, self.model.feature_count)
        borders = [borders * scale[place] + shift[place] for place, borders in enumerate(self.model.thresholds)]
        return NoiseOfBars(self.market, self.features.features, self.pipeline, borders)

    def _bound(self, recorded: Recorded | None) -> Bound:
        """The model's bound; where its rows are far from usual ones, the rounding of their own sums if that is larger.

        They are the real rows, or without any those that are drawn, so that golden rows are within it.
        """
        if self.model.rounding is None:
            return self.model.bound
        if recorded is None:
            return parity.widened(self.model.bound, self._rounding(self._probes(None)[0].values))
        inputs = values.after_stages(recorded, self.pipeline) if self.plan.steps else recorded
        return parity.widened(self.model.bound, self._rounding(inputs.values))

    def _rounding(self, inputs: Matrix) -> Vector:
        """[rows] what the rounding of each row's own sums explains; the model's bound knows of usual rows alone."""
        return np.zeros(len(inputs)) if self.model.rounding is None else self.model.rounding(self.plan.final)(inputs)

    def _score(self, recorded: Recorded) -> Vector:
        """The pipeline's scores of the recorded predictions, in their order."""
        rows, scores = self.pipeline.run(recorded.block, recorded.dates[0])
        found = np.full(len(recorded.block), np.nan)
        found[rows] = scores
        return found[recorded.rows]

    def _wanted(self) -> str:
        """The library that would judge, as pip names it."""
        version = self.model.framework_version
        return self.model.framework + ("" if version is None else f"=={version}")

    def _no_judge(self) -> str:
        """What a judge would have needed, in words."""
        framework, fitted = self.model.framework, self.model.framework_version
        found = installed(framework)
        if found is None:
            return f"{framework} is not installed"
        if framework == "scikit-learn" and fitted is not None and fitted != found:
            return f"{framework} {found} is installed, and the model was fitted by {fitted}, which alone says what it predicts"
        return f"{framework} is installed, but does not load, or lacks pandas for the categorical columns of the model"

    def prove_parity(self, replayed: Replayed | None, progress: Progress) -> tuple[Parity, list[GoldenRows]]:
        """Compare graph and judges, and choose the golden rows."""
        progress("comparing with the original")
        judge = parity.answer(lambda: self.model.judge(self.plan.final))
        if judge is None and replayed is None:
            raise RefusalError(
                "parity.no_judge",
                f"nothing to compare with: {self._no_judge()}, and there are no raw values to replay the predictions",
                next_step=f"pip install {self._wanted()} beside the converter, or pass --provider, --features or --replay-with",
            )
        cases: list[ParityCase] = []
        golden: list[GoldenRows] = []
        recorded = None if replayed is None else replayed.recorded
        bound = self._bound(recorded)
        if replayed is not None:
            recorded_judge, scores = "qlib's recorded predictions", replayed.scores
            expected = replayed.recorded.scores
            noise = replayed.explained.allowed
            cases.append(parity.compare("recorded predictions", recorded_judge, scores, expected, bound, noise))
            golden += self._golden_days(replayed, judge)
        if judge is not None:
            for probe in self._probes(recorded):
                expected = parity.answer(partial(judge.predict, probe.values))
                rounding = self._rounding(probe.values)
                found = self.pipeline.score_inputs(probe.values)
                cases.append(parity.compare(probe.case, judge.name, found, expected, bound, rounding))
                if self.pipeline.step_length == 1 and not self.plan.steps:
                    # The others score whole days, and a made-up row belongs to none.
                    golden.append(golden_probe(probe, expected, rounding <= (bound.absolute or 0.0)))
        if not golden:
            raise RefusalError(
                "parity.no_days",
                "this model scores whole days, and there are no raw values of any: its numbers cannot be proven",
                expected="raw values of the days of the recorded predictions",
                next_step="pass --provider, --features or --replay-with",
            )
        return self._report(cases, replayed, bound), golden

    def _golden_days(self, replayed: Replayed, judge: Judge | None) -> tuple[GoldenRows, ...]:
        """Days without a prediction that differs by noise; where there are too few, the original's own score of our raw
        values stands in the place of such a prediction."""
        recorded, rows = replayed.recorded, replayed.explained.rows
        days = clean_days(recorded, rows)
        if len(days) < MINIMUM_DAYS:
            if judge is None or self.model.batch_dependent or self.plan.steps:
                raise RefusalError(
                    "parity.no_days",
                    "on nearly every day a recorded prediction differs by the noise of qlib's own windows, so that no day "
                    "can prove the bundle on another machine",
                    found=f"{len(days)} days without",
                    next_step="let qlib compute the raw values with --replay-with",
                )
            inputs = recorded.block.values[values.window_rows(recorded, self.model.step_length, recorded.rows[rows])]
            scores = recorded.scores.copy()
            scores[rows] = judge.predict(inputs[:, 0] if self.model.step_length == 1 else inputs)
            recorded = replace(recorded, scores=scores)
            days = np.unique(recorded.dates)[-MINIMUM_DAYS:]
        return golden_days(recorded, days, self.model.step_length)

    def _probes(self, recorded: Recorded | None) -> tuple[Probe, ...]:
        """Inputs of the last graph: real ones, and ones made from the model's own thresholds.

        Behind other stages these are no raw values, but what the stages make of them.
        """
        if self.model.batch_dependent:
            return ()  # what a row scores depends on the rows beside it: whole days are the only proof
        shift, scale = raw_space(self.plan.final, self.model.feature_count)
        raw = not self.plan.steps
        dtypes = [feature.dtype if raw else "float64" for feature in self.features.features]
        inputs = None if recorded is None else recorded if raw else values.after_stages(recorded, self.pipeline)
        if self.model.step_length > 1:
            # Made-up windows without real ones around them would show nothing that a market can hold.
            if inputs is None:
                return ()
            windows = values.sample_windows(inputs, self.model.step_length, _SAMPLED_WINDOWS)
            return parity.make_window_probes(windows, dtypes, shift, scale)
        real = inputs.values if inputs is not None else None
        probes = parity.make_probes(self.model.thresholds, dtypes, shift, scale, real)
        return probes if real is None else (Probe("real rows", real), *probes)

    def _report(self, cases: list[ParityCase], replayed: Replayed | None, bound: Bound) -> Parity:
        outside = [case for case in cases if case.outside]
        judges = list(dict.fromkeys(case.judge for case in cases))
        if outside:
            wrong = "; ".join(
                f"{case.case}: {case.outside} of {case.rows} rows, largest {case.largest_ulp} ulp" for case in outside
            )
            raise RefusalError(
                "parity.out_of_bounds",
                "the graph does not give the numbers of the original",
                expected=f"every row near {' and '.join(judges)} ({bound.text})",
                found=wrong,
                next_step="report it with the model: this must not happen",
            )
        alone = all("recorded" in judge for judge in judges)
        notes = [f"{self._no_judge()} here: qlib's recorded predictions are the only judge"] * alone
        if replayed is not None and replayed.report.noise is not None:
            notes.append(in_words(replayed.report.noise, replayed.report.rows))
        return Parity(
            bound=bound,
            within_bound=True,
            judges=judges,
            cases=cases,
            days=None if replayed is None else parity.day_order(replayed.order),
            note="; ".join(notes) or None,
        )
