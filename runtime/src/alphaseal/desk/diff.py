"""What changed from one bundle to the next, at the level of meaning: what a reviewer of a pull request needs.

No signature is judged here: the reader of a difference may be the person who decides about signing.  All files of both bundles
are checked against their manifests first; then the manifests and the checked files are compared.
"""

from __future__ import annotations

import difflib
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from alphaseal.bundle import Bundle, open_bundle
from alphaseal.desk.compilation import outcome
from alphaseal.format.factors import CompiledFactor
from alphaseal.format.manifest import (
    CrossSectionStage,
    DropMissingStage,
    Feature,
    GraphStage,
    Manifest,
    WindowStage,
    to_plain,
)
from alphaseal.format.parts import Part
from alphaseal.trust.judgement import Trust

if TYPE_CHECKING:
    from alphaseal.desk.diff_scores import ScoreComparison

_MAXIMUM_CODE_BYTES = 1 << 18
_MAXIMUM_CODE_LINES = 3_000
"""Longer texts are not compared line by line: difflib's time grows with the square."""
_FEATURE_FACTS = (
    "origin", "dtype", "expression", "look_back", "look_ahead", "inputs", "description", "formulation", "variables",
    "used", "not_compiled",
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """Which bundle it is, and its verdict; `reasons` are (code, text)."""

    name: str
    sequence: int
    digest: str
    created: str
    ready: bool
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Change:
    """One fact that changed; None where a side does not have it."""

    area: str
    what: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Placed:
    """A feature that only one of the bundles has; `position` counts from 0, as in the manifest."""

    name: str
    position: int
    origin: str
    dtype: str
    meaning: str | None


@dataclass(frozen=True)
class Moved:
    """A feature of both bundles whose place in their common order changed; positions count from 0."""

    name: str
    old: int
    new: int


@dataclass(frozen=True)
class Features:
    """The model's inputs: `moved` is the smallest number of moves that explains the new order."""

    added: tuple[Placed, ...]
    removed: tuple[Placed, ...]
    moved: tuple[Moved, ...]
    changed: tuple[Change, ...]
    common: int


@dataclass(frozen=True)
class Code:
    """A source that is new, gone or different; `lines` is its unified diff, None where none was made.

    `kind` is `factor`, `idle factor` (accepted, but no input of either model) or `file`; `state` is `added`, `removed` or
    `changed`.
    """

    name: str
    kind: str
    state: str
    lines: tuple[str, ...] | None
    note: str | None


@dataclass(frozen=True)
class NumberChange:
    """One fitted number of the preprocessing; `relative` is the difference as a share of the larger one, None where a
    side does not have it."""

    processor: str
    parameter: str
    feature: str
    old: float | None
    new: float | None
    relative: float | None


@dataclass(frozen=True)
class MetricChange:
    """One metric as qlib recorded it; `difference` is new minus old."""

    name: str
    old: float | None
    new: float | None
    difference: float | None


@dataclass(frozen=True)
class Difference:
    """Everything that `alphaseal diff` says."""

    same: bool
    old: Identity
    new: Identity
    facts: tuple[Change, ...]
    features: Features
    code: tuple[Code, ...]
    numbers: tuple[NumberChange, ...]
    metrics: tuple[MetricChange, ...]
    scores: ScoreComparison

    def to_plain(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def difference(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> Difference:
    """Compare two bundle directories.

    Raises the errors of opening a bundle, and DigestError where a file does not match its manifest.  A graph that the gate
    refuses is not an error: the difference then has no scores.
    """
    from alphaseal.desk.diff_scores import compare_scores

    # Reading is not trusting; and what expired is still what it was, so the instant that counts is before any expiry.
    trust = Trust.unsigned(at=datetime(1970, 1, 1, tzinfo=timezone.utc))
    before, after = open_bundle(old, trust=trust), open_bundle(new, trust=trust)
    for bundle in (before, after):
        for entry in bundle.manifest.files:
            # V6: equal manifests are equal bundles only if each has the files of its manifest
            bundle.files.check(entry.path)
    a, b = before.manifest, after.manifest
    return Difference(
        same=before.digest == after.digest,
        old=_identity(before),
        new=_identity(after),
        facts=_changes(_facts(a), _facts(b)),
        features=compare_features(a.features, b.features),
        code=tuple(_code(before, after)),
        numbers=_numbers(a, b),
        metrics=_metrics(a, b),
        scores=compare_scores(before, after),
    )


def _identity(bundle: Bundle) -> Identity:
    manifest, eligibility = bundle.manifest, bundle.manifest.eligibility
    reasons = tuple((reason.code, reason.text) for reason in eligibility.reasons)
    return Identity(
        manifest.name, manifest.sequence, bundle.digest, manifest.created, ready=eligibility.ready, reasons=reasons
    )


# --- single facts ---------------------------------------------------------------------------------------------------


def _facts(manifest: Manifest) -> dict[tuple[str, str], Any]:
    """Every single fact that is compared as it is, by (area, name), in the order in which it is told."""
    plain = to_plain(manifest)
    facts: dict[tuple[str, str], Any] = {}

    def add(area: str, values: Mapping[str, Any], *, without: Sequence[str] = ()) -> None:
        facts.update({(area, name): value for name, value in values.items() if name not in without})

    add("bundle", {name: plain[name] for name in ("format", "expires")})
    source, model = plain["source"], plain["model"]
    add("model", model, without=("facts", "inputs", "outputs"))
    add("model", model["facts"])
    add("model", {f"digest of {file['path']}": file["sha256"] for file in plain["files"] if file["role"] == "model"})
    add("label", plain["label"])
    add("data", plain["data"], without=("segments", "instrument_format", "universes", "calendar"))
    add("data", {"instrument_format": plain["data"]["instrument_format"]["kind"]})
    add("data", _universes(plain["data"]))
    add("segments", {name: _period(segment) for name, segment in plain["data"]["segments"].items()})
    add("stages", {"in order": _stages(manifest)})
    add("stages", _whole_parameters(manifest))
    add("missing values", plain["missing"], without=("text",))
    add("strategy", {} if plain["strategy"] is None else plain["strategy"], without=("arguments",))
    add("strategy", {} if plain["strategy"] is None else plain["strategy"]["arguments"])
    add("selection", plain["selection"])
    segment = plain["metrics"]["segment"]
    add("metrics", {"segment": segment and _period(segment)})
    add("metrics", {f"costs {name}": value for name, value in plain["metrics"]["costs"].items()})
    add("source", {"task_id": source["task_id"], "workspace": source["workspace"]})
    add("source", {f"anchor {name}": source["anchor"][name] for name in source["anchor"]})
    add("source", {f"weights {name}": source["weights"][name] for name in ("origin", "sha256", "size")})
    add("source", {"run_id": source["run"] and source["run"]["run_id"]})
    add("factors", {_factor_name(f, manifest): f.status for f in manifest.sota_factors})
    add("order", {"proof": plain["order"]["proof"], "rows replayed": (plain["order"]["replay"] or {}).get("rows")})
    add("parity", _parity(manifest))
    add("alpha graph", _alphas(plain["alphas"]))
    add("compiled factors", _compiled(manifest))
    add("drift limits", plain["drift"])
    add("file sizes", {file["path"]: file["size"] for file in plain["files"] if file["role"] != "source"})
    add("file sizes", {"all files": sum(file["size"] for file in plain["files"])})
    add("libraries", {"converter": plain["producer"]["converter"], **plain["producer"]["packages"]})
    return facts


def _universes(data: Mapping[str, Any]) -> dict[str, Any]:
    """Who is a stock, without the thousands of members; nothing of a manifest of 1.0."""
    facts: dict[str, Any] = {}
    if (calendar := data.get("calendar")) is not None:
        facts["trading days"] = f"{_period(calendar)}, {len(calendar['closed'])} weekdays closed"
    known = data.get("universes") or {}
    for name in ("model", "factor"):
        if (universe := known.get(name)) is not None:
            said = (
                f"{universe['text']}, {universe['count']} codes, {_period(universe)}, sha256 {universe['sha256'][:12]}"
            )
            facts[f"universe of the {name}"] = said
    if known:
        facts["context, never ranked"] = known["context"]
    return facts


def _period(segment: Mapping[str, Any]) -> str:
    return f"{segment['first']} to {segment['last'] or 'the end'}"


def _stages(manifest: Manifest) -> list[str]:
    return [_stage(stage) for stage in manifest.stages]


def _stage(stage: Part) -> str:
    if isinstance(stage, WindowStage):
        return f"window of the last {stage.length} days, gaps filled by {stage.fill}"
    if isinstance(stage, CrossSectionStage):
        return f"over all stocks of the day: {_class(stage.processor)}"
    if isinstance(stage, DropMissingStage):
        return "rows with a missing value are dropped"
    if isinstance(stage, GraphStage):
        inside = ", ".join(_class(processor) for processor in stage.processors)
        return f"model graph{f' with {inside} inside' if inside else ''}"
    return type(stage).__name__


def _class(processor: Mapping[str, Any]) -> str:
    return str(processor.get("class", "a processor"))


def _parity(manifest: Manifest) -> dict[str, Any]:
    parity = manifest.parity
    facts: dict[str, Any] = {
        "within bound": parity.within_bound,
        "bound": parity.bound.text,
        "judges": parity.judges,
        "rows": sum(case.rows for case in parity.cases),
        "rows not bit-identical": sum(case.rows - case.bit_identical for case in parity.cases),
        "rows outside the bound": sum(case.outside for case in parity.cases),
        "largest difference": max((case.largest_difference for case in parity.cases), default=None),
    }
    if parity.days is not None:
        facts["days in another order"] = parity.days.days - parity.days.same_order
        facts["pairs that changed places within near ties"] = parity.days.swaps or 0
    if manifest.order.replay is not None:
        noise = manifest.order.replay.noise
        facts["recorded predictions that differ by noise"] = noise.rows if noise is not None else 0
    return facts


def _alphas(alphas: Mapping[str, Any] | None) -> dict[str, Any]:
    if alphas is None:
        return {"in the bundle": False}
    names = ("window", "fields", "truncated")
    return {"in the bundle": True, "features": len(alphas["features"]), **{name: alphas[name] for name in names}}


def _compiled(manifest: Manifest) -> dict[str, Any]:
    compiled = manifest.compiled
    if compiled is None:
        return {"in the bundle": False}
    graphs = [graph.file for program in compiled.programs for graph in program.graphs]
    return {
        "in the bundle": True,
        "features": len(compiled.tolerances),
        "window": max(program.window for program in compiled.programs),
        "fields": compiled.fields,
        "side table": [f"{column.name} ({column.dtype})" for column in compiled.static],
        "operations across stocks": sum(len(stages) for program in compiled.programs for stages in program.stages),
        **{f"digest of {path}": manifest.file(path).sha256 for path in graphs},
    }


def _factor_name(factor: Any, manifest: Manifest) -> str:
    """The name alone where only one feature has it."""
    once = sum(other.name == factor.name for other in manifest.sota_factors) == 1
    return str(factor.name) if once else f"{factor.name} of history {factor.history_index}"


def _changes(old: Mapping[tuple[str, str], Any], new: Mapping[tuple[str, str], Any]) -> tuple[Change, ...]:
    keys = dict.fromkeys([*old, *new])
    areas = list(dict.fromkeys(area for area, _ in keys))
    found = [Change(*key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
    return tuple(sorted(found, key=lambda change: areas.index(change.area)))


# --- features -------------------------------------------------------------------------------------------------------


def compare_features(old: Sequence[Feature], new: Sequence[Feature]) -> Features:
    """Features by name: added, removed, moved, and described or computed otherwise."""
    before = {feature.name: place for place, feature in enumerate(old)}
    after = {feature.name: place for place, feature in enumerate(new)}
    common = [name for name in after if name in before]
    staying = _longest_rising([before[name] for name in common])
    return Features(
        added=tuple(_placed(new, place) for name, place in after.items() if name not in before),
        removed=tuple(_placed(old, place) for name, place in before.items() if name not in after),
        moved=tuple(Moved(name, before[name], after[name]) for name in common if before[name] not in staying),
        changed=tuple(
            change for name in common for change in _feature_changes(old[before[name]], new[after[name]], name)
        ),
        common=len(common),
    )


def _placed(features: Sequence[Feature], place: int) -> Placed:
    feature = features[place]
    return Placed(feature.name, place, feature.origin, feature.dtype, feature.description or feature.expression)


def _longest_rising(numbers: Sequence[int]) -> set[int]:
    """A longest rising subsequence of different numbers: those that stay when the fewest others move (patience sorting)."""
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int | None] = []
    for place, number in enumerate(numbers):
        pile = bisect_left(tails, number)
        previous.append(ends[pile - 1] if pile else None)
        tails[pile : pile + 1], ends[pile : pile + 1] = [number], [place]
    chosen: set[int] = set()
    last = ends[-1] if ends else None
    while last is not None:
        chosen.add(numbers[last])
        last = previous[last]
    return chosen


def _feature_changes(old: Feature, new: Feature, name: str) -> Iterator[Change]:
    for fact in _FEATURE_FACTS:
        # Whether a feature is used is known of trees only: another kind of model is no news about each of them.
        known = fact != "used" or None not in (old.used, new.used)
        if known and getattr(old, fact) != getattr(new, fact):
            yield Change(name, fact, getattr(old, fact), getattr(new, fact))
    before, after = _compilation(old), _compilation(new)
    for fact, value in before.items():
        if value != after[fact]:
            yield Change(name, fact, value, after[fact])
    if old.statistics != new.statistics:
        yield Change(name, "training values", _values(old), _values(new))


def _compilation(feature: Feature) -> dict[str, Any]:
    """What the code of a factor was compiled to, by fact; None where it was not, or where nobody tried."""
    compilation = feature.compilation
    found = compilation if isinstance(compilation, CompiledFactor) else None
    return {
        "compilation": None if compilation is None else outcome(compilation),
        "computes": found and found.expression,
        "pandas": found and found.pandas,
        "across": found and found.across,
        "reads": found and [f"{one.table}:{one.column}" for one in found.inputs],
        "proof bound": found and found.proof.bound,
    }


def _values(feature: Feature) -> str | None:
    """The training values in a line."""
    known = feature.statistics
    if known is None:
        return None
    median = known.quantiles.get("0.5")
    middle = "" if median is None else f", median {median:.4g}"
    return f"{known.first} to {known.last}, {known.null_ratio:.2%} missing{middle}"


# --- code -----------------------------------------------------------------------------------------------------------


def _code(old: Bundle, new: Bundle) -> Iterator[Code]:
    before, after = _sources(old.manifest), _sources(new.manifest)
    inputs = {feature.name for feature in (*old.manifest.features, *new.manifest.features)}
    for key in dict.fromkeys([*after, *before]):
        left, right = before.get(key), after.get(key)
        if left and right and old.manifest.file(left).sha256 == new.manifest.file(right).sha256:
            continue
        state = "changed" if left and right else "added" if right else "removed"
        kind = "idle factor" if key[0] == "factor" and key[1] not in inputs else key[0]
        yield _compare_code(key[1], kind, state, old.read(left) if left else b"", new.read(right) if right else b"")


def _sources(manifest: Manifest) -> dict[tuple[str, str, int], str]:
    """Path of every source by (factor or file, name, how many of that name came before); features of the model first."""
    features = [(feature.name, feature.source) for feature in manifest.features]
    factors = [(factor.name, factor.source) for factor in manifest.sota_factors]
    named = [("factor", name, path) for name, path in (*features, *factors) if path is not None]
    files = [("file", file.title or file.path, file.path) for file in manifest.files if file.role == "source"]
    found: dict[tuple[str, str, int], str] = {}
    seen: Counter[tuple[str, str]] = Counter()
    taken: set[str] = set()
    for kind, name, path in (*named, *files):
        if path not in taken:
            found[kind, name, seen[kind, name]] = path
            seen[kind, name] += 1
            taken.add(path)
    return found


def _compare_code(name: str, kind: str, state: str, old: bytes, new: bytes) -> Code:
    before, after = (data.decode("utf-8", "replace").splitlines() for data in (old, new))
    if max(len(old), len(new)) > _MAXIMUM_CODE_BYTES or max(len(before), len(after)) > _MAXIMUM_CODE_LINES:
        return Code(name, kind, state, None, f"too long to compare: {len(old)} and {len(new)} bytes")
    lines = list(difflib.unified_diff(before, after, "old", "new", lineterm="", n=3))[2:]
    if not lines:
        # Only what a line does not hold: its end.
        return Code(name, kind, state, None, "only the ends of lines differ")
    return Code(name, kind, state, tuple(lines), None)


# --- numbers --------------------------------------------------------------------------------------------------------


def _processors(manifest: Manifest) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every processor of the stages, with a name that says which one it is where there are several of its class."""
    seen: Counter[str] = Counter()
    for stage in manifest.stages:
        inside = stage.processors if isinstance(stage, GraphStage) else []
        for processor in [stage.processor] if isinstance(stage, CrossSectionStage) else inside:
            seen[_class(processor)] += 1
            number = seen[_class(processor)]
            yield _class(processor) + (f" ({number})" if number > 1 else ""), processor


def _columns(manifest: Manifest, processor: Mapping[str, Any]) -> list[str]:
    columns = processor.get("columns")
    if isinstance(columns, list):
        return [str(column) for column in columns]
    return [feature.name for feature in manifest.features]


def _fitted(manifest: Manifest) -> dict[tuple[str, str, str], float]:
    """The numbers that a processor has for every feature, by (processor, parameter, feature)."""
    found: dict[tuple[str, str, str], float] = {}
    for name, processor in _processors(manifest):
        columns = _columns(manifest, processor)
        for parameter, value in processor.items():
            if _is_fitted(value, columns):
                found.update({(name, parameter, c): float(n) for c, n in zip(columns, value, strict=True)})
    return found


def _is_fitted(value: Any, columns: Sequence[str]) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(columns)
        and all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in value)
    )


def _whole_parameters(manifest: Manifest) -> dict[str, Any]:
    """What a processor has once for all features."""
    found: dict[str, Any] = {}
    for name, processor in _processors(manifest):
        columns = _columns(manifest, processor)
        for parameter, value in processor.items():
            if parameter not in ("class", "columns") and not _is_fitted(value, columns):
                found[f"{name} {parameter}"] = value
        found[f"{name} features"] = len(columns)
    return found


def _numbers(old: Manifest, new: Manifest) -> tuple[NumberChange, ...]:
    """Fitted numbers that differ: first the numbers that both sides have, largest difference first, then the rest."""
    before, after = _fitted(old), _fitted(new)
    found = []
    for key in dict.fromkeys([*before, *after]):
        left, right = before.get(key), after.get(key)
        if left != right:
            found.append(NumberChange(*key, left, right, _relative(left, right)))
    return tuple(sorted(found, key=lambda n: (n.relative is None, -(n.relative or 0.0), n.processor, n.parameter)))


def _relative(old: float | None, new: float | None) -> float | None:
    if old is None or new is None:
        return None
    return abs(new - old) / max(abs(old), abs(new))


def _metrics(old: Manifest, new: Manifest) -> tuple[MetricChange, ...]:
    """Every metric of either side, equal ones included."""
    before, after = old.metrics.values, new.metrics.values
    found = []
    for name in dict.fromkeys([*before, *after]):
        left, right = before.get(name), after.get(name)
        between = right - left if left is not None and right is not None else None
        found.append(MetricChange(name, left, right, between))
    return tuple(found)
