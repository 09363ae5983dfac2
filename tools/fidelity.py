"""``make fidelity``: docs/fidelity.md, how near the graphs are to the libraries that trained the models.

Two judges: qlib's own recorded predictions of real runs, and the original library on models trained here by it.
``--only`` measures some parts and prints them; ends with 1 where a goal is not met.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "converter" / "src"), str(ROOT / "runtime" / "src")]

import alphaseal
from alphaseal.format.manifest import Bound, Manifest
from alphaseal.scoring.near_ties import OrderComparison, compare_order
from alphaseal.scoring.numeric import allowed, ulp_distance
from alphaseal.scoring.session import Graph
from alphaseal_converter.build import build
from alphaseal_converter.comparison.parity import (
    TOP_COUNTS,
    Matrix,
    Vector,
    make_probes,
    make_window_probes,
    unexplained,
)
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families import TrainedModel
from alphaseal_converter.proof.request import BuildRequest
from family_cases import LIBRARIES, FamilyCase, Trained, cases, missing_library, refused
from locations import DATA, FIXTURES

DOCUMENT = ROOT / "docs" / "fidelity.md"
PACKAGES = (
    "numpy", "onnx", "onnxruntime", "lightgbm", "xgboost", "catboost", "scikit-learn", "skl2onnx", "onnxmltools",
    "torch", "onnxscript",
)  # fmt: skip
REAL = "real"
_DAY = 100
"""Rows of a day that is made up, for the order of stocks where a model has no real days."""
_TOP = 50
_SINGLE = ("XGBoost", "CatBoost", "Network")
"""Libraries whose scores, or the sums of them, are float32."""
_TREES = ("LightGBM", "XGBoost", "CatBoost", "DEnsemble")


@dataclass(frozen=True)
class Distance:
    """How far scores are from what they should be.

    `relative` and `single` (float32 units in the last place) are of each row's score, or of `size` where that is
    larger: a sum that comes out near zero is no nearer to it than its terms are large.
    """

    rows: int
    ulp: int
    single: float
    relative: float
    to_mean: float
    within: int

    @classmethod
    def of(cls, found: Vector, expected: Vector, bound: Bound, size: float, rounding: Vector | None = None) -> Distance:
        apart = ulp_distance(found, expected)
        finite = np.isfinite(found) & np.isfinite(expected)
        difference = np.abs(found[finite] - expected[finite])
        magnitude = np.maximum(np.abs(expected[finite]), size)
        unit = np.spacing(magnitude.astype(np.float32)).astype(np.float64)
        unlike = bool((apart[~finite] > 0).any())
        return cls(
            rows=len(found),
            ulp=int(apart.max(initial=np.uint64(0))),
            single=np.inf if unlike else float((difference / unit).max(initial=0.0)),
            relative=np.inf if unlike else float((difference / magnitude).max(initial=0.0)) if size else 0.0,
            to_mean=np.inf if unlike else _to_mean(difference, expected[finite]),
            within=len(found) - int(unexplained(bound, found, expected, rounding).sum()),
        )


def _to_mean(difference: Vector, expected: Vector) -> float:
    """The largest difference by the mean size of the scores: the sternest way to say it."""
    mean = float(np.abs(expected).mean()) if len(expected) else 0.0
    return float(difference.max()) / mean if mean else 0.0


def typical_size(scores: Vector, network: bool) -> float:
    """The mean size of the scores; of networks the largest, as their bound has it: their terms are larger than the sums."""
    sizes = np.abs(scores[np.isfinite(scores)])
    return float(sizes.max() if network else sizes.mean()) if len(sizes) else 0.0


@dataclass(frozen=True)
class Ranking:
    """The order of stocks, day by day: the lowest rank correlation, the most strangers in a top 50, days in one order."""

    correlation: float
    strangers: int
    days: OrderComparison

    @classmethod
    def of(
        cls, dates: npt.NDArray[np.datetime64], names: Sequence[str], found: Vector, expected: Vector, bound: Bound
    ) -> Ranking:
        instruments = np.asarray(names)
        correlations, strangers = [], 0
        for day in np.unique(dates):
            rows = np.flatnonzero(dates == day)
            correlations.append(_rank_correlation(found[rows], expected[rows]))
            ours, theirs = (rows[np.lexsort((instruments[rows], -scores[rows]))][:_TOP] for scores in (found, expected))
            strangers = max(strangers, len(set(ours) - set(theirs)))
        known = [value for value in correlations if not np.isnan(value)]
        order = compare_order(dates, names, found, expected, allowed(bound, expected), TOP_COUNTS)
        return cls(min(known, default=np.nan), strangers, order)


def _rank_correlation(left: Vector, right: Vector) -> float:
    """Spearman's, with mean ranks for ties; NaN where one side is constant."""
    ours, theirs = _mean_ranks(left), _mean_ranks(right)
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    size = np.sqrt((ours @ ours) * (theirs @ theirs))
    if np.array_equal(ours, theirs):  # the quotient may miss 1 by a bit
        return 1.0 if size else np.nan
    return float(ours @ theirs / size) if size else np.nan


def _mean_ranks(values: Vector) -> Vector:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Vector = (last - (counts - 1) / 2)[inverse]
    return ranks


# ---- models trained here


@dataclass(frozen=True)
class Row:
    """One case: its distance on real and made-up rows, its ranking, and what was not as it should be."""

    name: str
    road: str
    distance: Distance
    ranking: Ranking
    problems: tuple[str, ...]


def measure(case: FamilyCase) -> Row:
    """Train, convert, and compare with the library on the training rows and on the converter's own probes."""
    trained = case.train()
    model = trained.read()
    graph = Graph(model.graph(trained.processors), model.feature_count, "model.onnx", step_length=model.step_length)
    own = trained.predict(trained.rows)
    found = graph.run(trained.rows)
    probes = _probes(model, trained.rows)
    expected = np.concatenate([own, _judged(model, trained, probes)])
    size = typical_size(own, model.family == "network")
    rounding = None
    if model.rounding is not None:
        rounding = np.concatenate([np.zeros(len(own)), model.rounding(trained.processors)(probes)])
    distance = Distance.of(np.concatenate([found, graph.run(probes)]), expected, model.bound, size, rounding)
    real = Distance.of(found, own, model.bound, size)
    scored = np.isfinite(own) & np.isfinite(found)
    days = (np.arange(int(scored.sum())) // _DAY).astype("datetime64[D]")
    ranking = Ranking.of(days, [f"{row:06d}" for row in range(len(days))], found[scored], own[scored], model.bound)
    return Row(case.name, model.road, distance, ranking, _problems(case.family, model, distance, real, ranking.days))


def _probes(model: TrainedModel, rows: Matrix) -> Matrix:
    """The rows that ``build`` would try: at thresholds and beside them, with missing, infinite and tiny values."""
    count = model.feature_count
    dtypes, shift, scale = ["float64"] * count, np.zeros(count), np.ones(count)
    if model.step_length > 1:
        return np.concatenate([probe.values for probe in make_window_probes(rows[:200], dtypes, shift, scale)])
    return np.concatenate([probe.values for probe in make_probes(model.thresholds, dtypes, shift, scale, rows)])


def _judged(model: TrainedModel, trained: Trained, probes: Matrix) -> Vector:
    if model.family == "network":  # the live one: the judge would start another process for the same
        return trained.predict(probes)
    judge = model.judge(trained.processors)
    if judge is None:
        raise SystemExit(f"fidelity: {model.class_name} has no judge here")
    return judge.predict(probes)


def _problems(
    family: str, model: TrainedModel, distance: Distance, real: Distance, days: OrderComparison
) -> tuple[str, ...]:
    """The goals that this case does not meet; `real` is the distance on the training rows alone.

    A sum of products of inputs a million deviations away has the rounding of such sums, which only the bound knows.
    """
    exact = model.bound.ulp == 0
    checks = {
        "a row is outside of the family's bound": distance.within < distance.rows,
        "not bit-identical": exact and distance.ulp > 0,
        "more than 2e-15": family == "scikit-learn" and real.relative > 2e-15,
        "more than 2e-15 or 4e-15": family == "Linear" and _in_double(model) and real.relative > _linear_goal(model),
        "more than 1 float32 ulp": family in ("XGBoost", "CatBoost") and distance.single > 1,
        "more than 1e-6": not _in_double(model) and distance.relative > 1e-6,
        "another order of stocks": days.others > 0,
    }
    return tuple(text for text, wrong in checks.items() if wrong)


def _linear_goal(model: TrainedModel) -> float:
    return 2e-15 if model.feature_count < 100 else 4e-15


def _in_double(model: TrainedModel) -> bool:
    return model.family != "network" and model.facts.get("dtype") != "float32"


# ---- real runs


@dataclass(frozen=True)
class Run:
    """A real run of qlib: the folder of its truth, and how to ask for its bundle."""

    name: str
    truth: Path
    request: BuildRequest


def real_runs(out: Path) -> Iterator[Run]:
    """All accepted experiments and all runs of qlib alone, of the full set where it is, else of what a clone carries."""
    root = FIXTURES if FIXTURES.is_dir() else DATA
    for truth in sorted(root.glob("*/truth/hist*_*")):
        task = truth.parents[1]
        anchor = truth.name.removeprefix("hist").split("_")[0]
        key = task / "artifact_signing.key"
        request = BuildRequest(
            out=out / f"{task.name}-{truth.name}",
            task_directory=task,
            workspace_roots=[task / "workspaces"],
            features=_raw_values(truth),
            anchor=anchor,
            run_model_code=True,
            session_key=key if key.exists() else None,
        )
        yield Run(f"{task.name} {truth.name}", truth, request)
    for truth in sorted(root.glob("direct/*/truth")):
        case = truth.parent
        yield Run(
            f"direct {case.name}",
            truth,
            BuildRequest(
                out=out / f"direct-{case.name}", weights="scan", workspace_roots=[case], features=_raw_values(truth)
            ),
        )


def _raw_values(truth: Path) -> Path:
    told = json.loads((truth / "truth.json").read_text(encoding="utf-8"))
    return (truth / str(told["features_file"])).resolve()


@dataclass(frozen=True)
class RealRow:
    """A real run: against its recorded predictions, and against the library on raw rows and probes."""

    name: str
    manifest: Manifest
    distance: Distance
    ranking: Ranking
    problems: tuple[str, ...]


def measure_run(run: Run) -> RealRow:
    """Build the bundle, open it as the trading side does, score all recorded dates."""
    import pyarrow.parquet as pq

    bundle = alphaseal.open(build(run.request).path, trust=alphaseal.Trust.unsigned())
    recorded = pq.read_table(run.truth / "pred.parquet")
    keys = [("datetime", "ascending"), ("instrument", "ascending")]
    recorded = recorded.sort_by(keys)
    dates = recorded["datetime"].to_numpy().astype("datetime64[D]")
    assert run.request.features is not None
    scores = bundle.score(run.request.features, dates=(str(dates[0]), str(dates[-1]))).table.sort_by(keys)
    names = recorded["instrument"].to_pylist()
    if scores["instrument"].to_pylist() != names:
        raise SystemExit(f"fidelity: {run.name}: other stocks are scored than qlib scored")
    found, expected = (table["score"].to_numpy().astype(np.float64) for table in (scores, recorded))
    manifest = bundle.manifest
    network = manifest.model.family == "network"
    distance = Distance.of(found, expected, manifest.parity.bound, typical_size(expected, network))
    ranking = Ranking.of(dates, names, found, expected, manifest.parity.bound)
    days = ranking.days
    checks = {
        "a score is outside of the bound": distance.within < distance.rows,
        "another order of stocks": days.others > 0,
        "more than 1e-6": distance.relative > 1e-6,
    }
    return RealRow(run.name, manifest, distance, ranking, tuple(text for text, wrong in checks.items() if wrong))


# ---- the document


HEAD = """# Fidelity

Made by `make fidelity`, which ends with an error where a goal is not met. Do not edit.

The judge is never another ONNX run: it is what qlib recorded, or the library that trained the model, on the same raw rows.

| column | meaning |
|---|---|
| rows | rows compared; for models trained here the training rows, and rows that stand on a threshold or one float beside it, or hold missing, infinite, tiny and huge values (the probes of `alphaseal-convert build`) |
| ulp | largest distance in doubles; 0 is the same bits in every row; – beyond a million, which only float32 gives, and for networks |
| f32 ulp | the same in units of float32, of the row's score or of the mean size of the scores where that is larger (networks: of the largest score) |
| relative | largest difference, relative to the same |
| to mean | largest difference by the mean size of the scores: for networks several times the column before it, and above 1e-6 for some |
| same leaf, within bound | rows whose score is within the bound of the family: 0 ulp, which another leaf would not give, or the rounding of exp and log behind the sum of the leaves; of sums of products far from usual values (a probe's 0 in a column around a million) the rounding of the row's own terms |
| rank corr. | lowest Spearman correlation of a day |
| top 50 diff. | most stocks of a day's top 50 that are not in the other one |
| days, top 5/10/50 | days with the same order of all stocks, and of the first 5, 10 and 50, of all days; models trained here have made-up days of 100 rows |

Goals: LightGBM 0 ulp, but for the exp and log of objectives that have a link; XGBoost and CatBoost 1 float32 ulp and the same leaf for every row;
scikit-learn's linear models and MLP 2e-15; qlib's LinearModel 2e-15, from 100 features on 4e-15 (both on training rows); forests the same leaf for every row; networks 1e-6 of the score or of the largest one; the same order of all stocks on every day
but for near ties: scores that are no further apart than the bounds of both rows together.
"""


def document(only: Sequence[str]) -> tuple[str, list[str]]:
    """The document's text, and what is not as it should be."""
    problems: list[str] = []
    parts = [HEAD, _versions()] if len(only) == len(_parts()) else []
    if REAL in only:
        parts.append(_real_section(problems))
    parts += [_family_section(family, problems) for family in LIBRARIES if family in only]
    parts.append(_refused_section([family for family in LIBRARIES if family in only]))
    return "\n".join(part for part in parts if part), problems


def _parts() -> list[str]:
    return [REAL, *LIBRARIES]


def _versions() -> str:
    found = [f"alphaseal {alphaseal.__version__}", f"Python {'.'.join(platform.python_version_tuple()[:2])}"]
    for name in PACKAGES:
        try:
            # Without the part behind the plus: which build of torch it is depends on the machine.
            found.append(f"{name} {importlib.metadata.version(name).split('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name}: not installed")
    return f"Measured with {', '.join(found)}, on {platform.machine()}.\n"


def _real_section(problems: list[str]) -> str:
    lines = []
    with tempfile.TemporaryDirectory(prefix="alphaseal-fidelity-") as scratch:
        for run in real_runs(Path(scratch)):
            _progress(run.name)
            row = measure_run(run)
            problems += [f"{row.name}: {problem}" for problem in row.problems]
            model, judge, tried = row.manifest.model, *_against_library(row.manifest)
            mean = f"{row.distance.to_mean:.1e}" if row.distance.to_mean else "0"
            cells = (row.name, model.class_name.rpartition(".")[2], model.road, *_numbers(row.distance), mean)
            lines.append(_line((*cells, *_order(row.ranking), judge, tried)))
    head = (
        "run",
        "class",
        "road",
        "rows",
        "ulp",
        "relative",
        "to mean",
        *_ORDER_HEAD,
        "library",
        "library: rows, ulp or difference",
    )
    source = (
        "accepted experiments of three RD-Agent tasks and runs of qlib alone"
        if FIXTURES.is_dir()
        else "the runs that a clone carries"
    )
    text = f"## Real runs: against qlib's recorded predictions\n\nBundles of {source} (rdagent 1.0.0, qlib 0.9.7, simulated market), opened and scored as on the trading side.\n\n"
    return f"{text}{_table(head, lines)}"


def _against_library(manifest: Manifest) -> tuple[str, str]:
    """The parity report's own comparison with the original library: its name; rows and largest error of all cases."""
    own = [case for case in manifest.parity.cases if "recorded" not in case.judge]
    if not own:
        return "–", "–"
    rows, ulp = sum(case.rows for case in own), max(case.largest_ulp for case in own)
    exact = manifest.parity.bound.ulp is not None
    error = f"{ulp} ulp" if exact else f"{max(case.largest_difference for case in own):.1e}"
    return own[0].judge.split(",")[0].split("+")[0], f"{rows}, {error}"


def _family_section(family: str, problems: list[str]) -> str:
    missing = missing_library(family)
    if missing is not None:
        return f"## {family}\n\nNot measured: {missing} is not installed.\n"
    lines, roads = [], set()
    for case in cases(family).values():
        _progress(str(case))
        row = measure(case)
        roads.add(row.road)
        problems += [f"{case}: {problem}" for problem in row.problems]
        rows, ulp, relative = _numbers(row.distance, network=family == "Network")
        single = (f"{row.distance.single:.2g}",) if family in _SINGLE else ()
        leaf = (
            (f"{row.distance.within} of {row.distance.rows}",) if family in _TREES or family == "scikit-learn" else ()
        )
        mean = (f"{row.distance.to_mean:.1e}",) if family == "Network" else ()
        lines.append(_line((case.name, row.road, rows, ulp, *single, relative, *mean, *leaf, *_order(row.ranking))))
    mean_head = ("to mean",) if family == "Network" else ()
    single_head = ("f32 ulp",) if family in _SINGLE else ()
    leaf_head = ("same leaf",) if family in _TREES else ("within bound",) if family == "scikit-learn" else ()
    return f"## {family}\n\n{_table(('case', 'road', 'rows', 'ulp', *single_head, 'relative', *mean_head, *leaf_head, *_ORDER_HEAD), lines)}"


def _refused_section(families: Sequence[str]) -> str:
    lines = []
    for family in families:
        for case in refused(family).values():
            _progress(f"{case} (refused)")
            try:
                case.train().read()
            except RefusalError as refusal:
                lines.append(_line((family, case.name, f"`{refusal.code}`", refusal.message)))
            else:
                raise SystemExit(f"fidelity: {case} is not refused")
    return f"## Refused, by name\n\n{_table(('family', 'model', 'code', 'reason'), lines)}" if lines else ""


_ORDER_HEAD = ("rank corr.", f"top {_TOP} diff.", "days", "top 5/10/50")


def _numbers(distance: Distance, *, network: bool = False) -> tuple[str, str, str]:
    # Beyond a million doubles the count says no more than the relative error does.
    ulp = "–" if network or distance.ulp > 1_000_000 else str(distance.ulp)
    return str(distance.rows), ulp, "0" if distance.relative == 0 else f"{distance.relative:.1e}"


def _order(ranking: Ranking) -> tuple[str, ...]:
    days = ranking.days
    correlation = "–" if np.isnan(ranking.correlation) else f"{ranking.correlation:.8g}"
    top = "/".join(str(same) for same in days.same_top.values())
    return correlation, str(ranking.strangers), f"{days.same} of {days.days}", top


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _table(head: Sequence[str], lines: Sequence[str]) -> str:
    return "\n".join([_line(head), "|" + "---|" * len(head), *lines]) + "\n"


def _progress(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


def main() -> int:
    """Measure, write the document; 1 where a goal is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_parts(), help="measure these and print them")
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="the document (default: docs/fidelity.md)")
    options: Any = parser.parse_args()
    warnings.simplefilter("ignore")  # of the libraries, about small made-up data
    text, problems = document(options.only or _parts())
    if options.only:
        print(text)
    else:
        options.out.write_text(text, encoding="utf-8")
    for problem in problems:
        print(f"goal not met: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
