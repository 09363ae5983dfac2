"""The manifest of a bundle, format 1: the typed form, its reader and its one byte form.

`schemas/manifest.schema.json` is generated from these classes (``make schemas``), and so is `manifest-1.0.schema.json`;
spec/bundle-v1.md says what the fields mean.  Every field is always present; what is not known is null.

One typed form serves every version of the format: a field without a default is of 1.0, one with the default None came
with 1.1.  A manifest of 1.0 has none of those that came later, and they are None when it is read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta

from alphaseal.errors import MalformedError
from alphaseal.format import instants, names, strict_json
from alphaseal.format.documents import Kind, Rule
from alphaseal.format.factors import CompiledFactor, CompiledFactors, NotCompiledFactor
from alphaseal.format.notations import INSTRUMENT_PATTERNS
from alphaseal.format.parts import (
    Count,
    Date,
    Dtype,
    Instant,
    Name,
    Part,
    Path,
    Positive,
    Ratio,
    Sha256,
    Short,
    Text,
)

Format = Literal["1.0", "1.1-draft"]
FORMATS: tuple[Format, ...] = ("1.0", "1.1-draft")
"""What this reader reads, oldest first."""
FIRST_FORMAT: Format = "1.0"
FORMAT: Format = "1.1-draft"
"""What the converter writes unless it is asked for another."""
FILE_NAME = "manifest.json"
MAXIMUM_BYTES = 8 << 20
MAXIMUM_TOTAL = 64 << 30
"""Bytes of all files together: `verify` hashes them all, whatever they are."""
MAXIMUM_MEMBERS = 20_000
"""Spans of a universe that a manifest lists; of a larger one it has the digest alone."""

UniverseKind = Literal["all", "market", "list"]
Member = Annotated[
    str,
    Meta(pattern=r"^[!-~]{1,64} [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)", description="a span"),
]


class Producer(Part, frozen=True, kw_only=True):
    """Who wrote the bundle."""

    converter: Annotated[Short, Meta(description="version of alphaseal-converter")]
    packages: Annotated[dict[str, Short], Meta(description="versions of the libraries that took part")]


class Snapshot(Part, frozen=True, kw_only=True):
    """The session file that the history was read from."""

    path: Annotated[Text, Meta(description="relative to the task directory")]
    sha256: Sha256
    signed: bool
    authenticated: Annotated[bool, Meta(description="true: its HMAC was checked with the producer's key")]
    history_length: Count


class Anchor(Part, frozen=True, kw_only=True):
    """The accepted experiment whose trained model is in the bundle."""

    rule: Annotated[Literal["auto", "model", "factor", "index", "scan"], Meta(description="how it was asked for")]
    why: Text
    history_index: Count | None
    loop: Annotated[Count | None, Meta(description="null where the session does not record it")]
    kind: Literal["factor", "model", "unknown"]
    experiment: Annotated[Short | None, Meta(description="class name of the experiment")]
    hypothesis: Text | None
    reason: Annotated[Text | None, Meta(description="why the experiment was accepted, in the words of the feedback")]


class Run(Part, frozen=True, kw_only=True):
    """The qlib recorder that trained the model."""

    experiment_id: Short
    run_id: Short
    end_time: Instant | None
    metrics_match: Annotated[bool, Meta(description="the run's metrics are those of the anchor")]


class Weights(Part, frozen=True, kw_only=True):
    """The file that the model was read from."""

    origin: Literal["session", "workspace", "scan"]
    path: Annotated[Text, Meta(description="inside the workspace, or the key in the session's file_dict")]
    sha256: Sha256
    size: Count
    why: Text


class Source(Part, frozen=True, kw_only=True):
    """Where everything came from."""

    task_id: Short | None
    snapshot: Snapshot | None
    anchor: Anchor
    run: Run | None
    weights: Weights
    workspace: Annotated[Short | None, Meta(description="name of the anchor's workspace directory")]


class Tensor(Part, frozen=True, kw_only=True):
    """One input or output of the graph."""

    name: Short
    dtype: Dtype
    shape: Annotated[list[int | None], Meta(description="null is the row axis", max_length=4)]


class Model(Part, frozen=True, kw_only=True):
    """What kind of model it is and which way it took to ONNX."""

    family: Short
    class_name: Annotated[Short, Meta(description="class that the weights file names")]
    framework: Short
    framework_version: Short | None
    road: Annotated[Short, Meta(description="builder that made the graph")]
    ir_version: Count
    opsets: dict[str, Count]
    inputs: list[Tensor]
    outputs: list[Tensor]
    step_length: Annotated[int, Meta(ge=1, le=100_000, description="rows of the window; 1: no window")]
    batch_dependent: Annotated[bool, Meta(description="true: a score depends on the other rows of the day")]
    facts: Annotated[dict[str, Any], Meta(description="numbers for people: trees, leaves, objective")]


class Statistics(Part, frozen=True, kw_only=True):
    """Values that the model was trained on, of one feature."""

    first: Date
    last: Date
    source: Short
    rows: Count
    null_ratio: Ratio
    infinite_ratio: Ratio
    quantiles: Annotated[dict[str, float], Meta(description="of finite values; empty where there is none")]
    zero_ratio: Annotated[Ratio | None, Meta(description="share of zeros among the finite values")] = None
    common_ratio: Annotated[
        Ratio | None,
        Meta(description="largest share, on any day, of finite values that repeat the day's most common one"),
    ] = None


class Scaling(Part, frozen=True, kw_only=True):
    """What a constant c > 0 that multiplies all fields of one unit does to a feature."""

    per_stock: Annotated[bool, Meta(description="true: a constant of each stock changes nothing")]
    common: Annotated[
        bool,
        Meta(description="true: one constant for all stocks changes nothing that leaves the stages before a graph"),
    ]
    smallest: Annotated[
        Positive | None,
        Meta(description="constants that were shown to change nothing; null: none was, or all change nothing"),
    ]
    largest: Positive | None
    text: Annotated[Short, Meta(description="the same for people: the degree, or why nothing is known")]


class Feature(Part, frozen=True, kw_only=True):
    """One input column of the model; its position in the list is its position in the model."""

    name: Short
    origin: Literal["alpha", "sota", "base", "unknown"]
    dtype: Annotated[Dtype, Meta(description="training dtype: a live value is cast to it first")]
    look_back: Annotated[Count | None, Meta(description="trading days of history needed, the day itself included")]
    look_back_from: Annotated[
        Literal["expression", "trial"] | None,
        Meta(description="trial: the shortest history that gave the recorded value"),
    ]
    look_ahead: Annotated[bool | None, Meta(description="true: data after the date changed the value; null: not tried")]
    inputs: Annotated[list[Short] | None, Meta(description="columns read; of bars without the dollar sign")]
    not_compiled: Annotated[
        Short | None, Meta(description="why alphas.onnx lacks this alpha feature; null where it has it or it is none")
    ]
    expression: Annotated[Text | None, Meta(description="qlib expression of an alpha feature")]
    source: Annotated[Path | None, Meta(description="file of the bundle with the code of a SOTA feature, inert text")]
    description: Text | None
    formulation: Text | None
    variables: Annotated[dict[str, Text] | None, Meta(description="as the researcher wrote them")]
    used: Annotated[bool | None, Meta(description="false: no tree asks for it")]
    statistics: Statistics | None
    statistics_missing: Annotated[Short | None, Meta(description="why statistics is null")]
    invariance: Annotated[
        dict[Short, Scaling] | None,
        Meta(description="by unit that the feature reads: price, or a field; null: not known"),
    ] = None
    compilation: Annotated[
        Union[CompiledFactor, NotCompiledFactor, None],
        Meta(description="of a SOTA feature: what its code was compiled to, or why not; null: it was not tried"),
    ] = None


class Evidence(Part, frozen=True, kw_only=True):
    """One fact that the feature order rests on."""

    code: Short
    text: Text


class NoiseExample(Part, frozen=True, kw_only=True):
    """One recorded prediction that differs by the noise of its alpha features."""

    date: Date
    instrument: Short
    difference: Annotated[Positive | None, Meta(description="null where only one of the scores is there")]
    features: Annotated[list[Short], Meta(description="whose noise explains it, most first")]


class ReplayNoise(Part, frozen=True, kw_only=True):
    """Recorded predictions outside the bound that the model gives for raw values within the noise of qlib's windows."""

    rows: Count
    rounding: Annotated[Count, Meta(description="of these, rows that four float32 steps of each feature explain")]
    largest_difference: Positive
    features: Annotated[dict[str, Count], Meta(description="feature -> rows that its noise explains")]
    examples: Annotated[list[NoiseExample], Meta(max_length=100, description="the first of the rows")]


class Replay(Part, frozen=True, kw_only=True):
    """qlib's recorded predictions, reproduced from raw features in this order."""

    values: Annotated[Literal["features_file", "qlib", "bars"], Meta(description="where the raw values came from")]
    values_sha256: Sha256
    rows: Annotated[Count, Meta(description="recorded predictions compared")]
    recorded: Annotated[Count, Meta(description="recorded predictions there are")]
    first: Date
    last: Date
    largest_difference: float
    largest_ulp: Annotated[Count, Meta(description="units in the last place of a double")]
    noise: Annotated[ReplayNoise | None, Meta(description="null: every compared prediction is within the bound")] = None


class Order(Part, frozen=True, kw_only=True):
    """Where the feature order comes from and how it was proven."""

    proof: Literal["replayed", "evidence", "given"]
    evidence: list[Evidence]
    replay: Replay | None


class CrossSectionStage(Part, frozen=True, kw_only=True, tag="cross_section", tag_field="stage"):
    """A processor over all stocks of the day, computed by the runtime; the universe of the day is its context."""

    processor: dict[str, Any]
    universe: Text


class DropMissingStage(Part, frozen=True, kw_only=True, tag="drop_missing", tag_field="stage"):
    """Rows that miss a value here get no score, and are not there for the stages that follow."""

    columns: Annotated[list[Short] | None, Meta(description="features that are looked at; null: all")]


class WindowStage(Part, frozen=True, kw_only=True, tag="window", tag_field="stage"):
    """The last rows of each stock on the calendar (qlib's TSDatasetH)."""

    length: Annotated[int, Meta(ge=2, le=100_000)]
    fill: Literal["ffill+bfill"]


class GraphStage(Part, frozen=True, kw_only=True, tag="graph", tag_field="stage"):
    """An ONNX graph; the fitted processors inside it are repeated here in words and numbers."""

    file: Path
    processors: list[dict[str, Any]]


Stage = Union[CrossSectionStage, DropMissingStage, WindowStage, GraphStage]


class Missing(Part, frozen=True, kw_only=True):
    """What happens to missing and infinite values; as in training."""

    missing: Literal["native", "filled"]
    infinite: Literal["native", "clipped", "refused"]
    text: Text


class Label(Part, frozen=True, kw_only=True):
    """What the model was trained to predict."""

    name: Short | None
    expression: Text | None
    processors: Annotated[list[dict[str, Any]], Meta(description="learn processors as configured")]


class Segment(Part, frozen=True, kw_only=True):
    """First and last date, both included."""

    first: Date
    last: Date | None


class InstrumentFormat(Part, frozen=True, kw_only=True):
    """How instruments are written; the pattern belongs to the kind and cannot be chosen freely."""

    kind: Literal["qlib", "ts", "other"]
    pattern: Short
    example: Short


class RecordedUniverse(Part, frozen=True, kw_only=True):
    """Which instruments there were on which days, as far as the market data of the build told."""

    kind: Annotated[
        UniverseKind,
        Meta(description="everything that the provider had; a market with spans; named codes, which are there always"),
    ]
    text: Annotated[Text, Meta(description="what it is, in words")]
    first: Annotated[Date, Meta(description="the members are known from this day on")]
    last: Annotated[Date, Meta(description="and up to this day")]
    count: Annotated[Count, Meta(description="codes that are members on some of these days")]
    sha256: Annotated[Sha256, Meta(description="of the canonical form")]
    members: Annotated[
        Annotated[list[Member], Meta(max_length=MAXIMUM_MEMBERS)] | None,
        Meta(description="the canonical form, a line for each span; null: too many, only the digest is there"),
    ]


class Universes(Part, frozen=True, kw_only=True):
    """Who is a stock: whom the factors saw, whom the model was trained on, and who is never ranked."""

    factor: Annotated[RecordedUniverse | None, Meta(description="of the bars that code of factors was computed on")]
    factor_missing: Annotated[Short | None, Meta(description="why factor is null")]
    model: Annotated[RecordedUniverse | None, Meta(description="the market of the model's dataset")]
    model_missing: Annotated[Short | None, Meta(description="why model is null")]
    boards: Annotated[dict[str, Count], Meta(description="first letters of the model's codes -> how many codes")]
    context: Annotated[
        list[Short], Meta(description="codes that are never ranked: the benchmark, indices among stocks")
    ]
    until: Annotated[Date | None, Meta(description="last day that the run looked at")]


class TradingDays(Part, frozen=True, kw_only=True):
    """The days of the training's market data: Monday to Friday, but for those listed."""

    first: Date
    last: Date
    closed: Annotated[list[Date], Meta(max_length=MAXIMUM_MEMBERS, description="no trading days, Monday to Friday")]
    opened: Annotated[list[Date], Meta(max_length=MAXIMUM_MEMBERS, description="trading days, Saturday or Sunday")]


class Data(Part, frozen=True, kw_only=True):
    """The market data that the model was trained on."""

    frequency: Literal["day"]
    instrument_format: InstrumentFormat
    universe: Text | None
    benchmark: Short | None
    price_adjustment: Annotated[Short | None, Meta(description="null: the run does not record it")]
    segments: dict[str, Segment]
    dataset_class: Short | None
    handler_class: Short | None
    loader_classes: list[Short]
    calendar: Annotated[TradingDays | None, Meta(description="null: the market data were not at hand")] = None
    universes: Annotated[Universes | None, Meta(description="null: of a build that did not look")] = None


class SotaFactor(Part, frozen=True, kw_only=True):
    """One sub-task of an accepted factor experiment."""

    name: Short
    status: Literal["in_model", "review_rejected", "no_column", "deduplicated", "newer_than_anchor"]
    reason: Text
    history_index: Count
    loop: Count | None
    position: Annotated[Count | None, Meta(description="of the feature in the model; null unless in_model")]
    source: Path | None
    description: Text | None
    formulation: Text | None
    variables: dict[str, Text] | None
    hypothesis: Text | None
    accepted_because: Text | None
    metrics: Annotated[dict[str, float | None], Meta(description="of the experiment that the factor came with")]


class Metrics(Part, frozen=True, kw_only=True):
    """Metrics of the anchor as qlib recorded them, under qlib's own names."""

    segment: Segment | None
    costs: Annotated[dict[str, Any], Meta(description="the backtest's exchange arguments")]
    values: Annotated[dict[str, float | None], Meta(description="null where qlib recorded NaN")]


class Strategy(Part, frozen=True, kw_only=True):
    """The strategy that the backtest metrics belong to."""

    class_name: Short
    module: Short | None
    arguments: dict[str, Any]


class Selection(Part, frozen=True, kw_only=True):
    """Defaults for choosing stocks by score."""

    top_k: Annotated[int, Meta(ge=1, le=1_000_000)]
    n_drop: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | None,
        Meta(description="stocks that TopkDropout replaces in a day; null: the run's strategy is another"),
    ]
    tie_break: Literal["score_descending_instrument_ascending"]


class Bound(Part, frozen=True, kw_only=True):
    """The largest allowed difference from the judge's score; a row is within it when it meets any part that is not null."""

    ulp: Annotated[Count | None, Meta(description="units in the last place of a double; 0 is bit-identical")]
    relative: Annotated[Positive | None, Meta(description="of the judge's score")]
    absolute: Annotated[Positive | None, Meta(description="in units of the score")]
    text: Annotated[Short, Meta(description="where the bound comes from")]


class ParityCase(Part, frozen=True, kw_only=True):
    """One group of rows on which the graph was compared with the judge."""

    case: Short
    judge: Annotated[Short, Meta(description="the original library, or the run's recorded predictions")]
    rows: Count
    largest_difference: float
    largest_ulp: Count
    bit_identical: Count
    outside: Annotated[Count, Meta(description="rows that are not within the bound")]


class DayOrder(Part, frozen=True, kw_only=True):
    """The order of all stocks of a day against the recorded predictions."""

    days: Count
    same_order: Count
    same_top: Annotated[dict[str, Count], Meta(description="top k -> days with the same stocks in the same order")]
    swaps: Annotated[
        Count | None, Meta(description="pairs of stocks that changed places within near ties, on the other days")
    ] = None
    largest_gap: Annotated[
        Positive | None, Meta(description="largest difference of the recorded scores of such a pair; 0 without any")
    ] = None


class Parity(Part, frozen=True, kw_only=True):
    """How the numbers were proven."""

    bound: Bound
    within_bound: bool
    judges: list[Short]
    cases: list[ParityCase]
    days: DayOrder | None
    note: Text | None


class File(Part, frozen=True, kw_only=True):
    """One file of the bundle."""

    path: Path
    size: Count
    sha256: Sha256
    media_type: Short
    role: Literal["model", "alphas", "golden", "golden_bars", "factors", "source", "card"]
    title: Annotated[Short | None, Meta(description="real name of a source; its path is a number")]


class FactorTable(Part, frozen=True, kw_only=True):
    """What factors.parquet holds."""

    file: Path
    columns: list[Short]
    rows: Count
    dates: Count
    instruments: Count
    first: Date
    last: Date


class GoldenTable(Part, frozen=True, kw_only=True):
    """What golden.parquet holds: raw features and the score that the judge gave."""

    file: Path
    rows: Count
    judge: Short
    days: Annotated[list[Date], Meta(description="days that are there whole")]


class Sizes(Part, frozen=True, kw_only=True):
    """Of the medians of a field's positive training values, one for each stock."""

    low: Annotated[Positive, Meta(description="a hundredth of the stocks has less")]
    median: Positive
    high: Annotated[Positive, Meta(description="a hundredth of the stocks has more")]


class FieldUnit(Part, frozen=True, kw_only=True):
    """What must be shown of one field of a caller's bars; the ratio is its value over that of the training."""

    seen_by: Annotated[
        list[Short], Meta(description="used features that a constant can change: the field must be shown")
    ]
    exact: Annotated[list[Short], Meta(description="of these the ones that any constant changes: the ratio is 1")]
    alike: Annotated[
        list[Short],
        Meta(description="of these the ones that a constant of one stock changes: the ratio is one for all"),
    ]
    smallest: Annotated[Positive | None, Meta(description="least ratio that changes no other used feature; null: any")]
    largest: Positive | None
    sizes: Annotated[Sizes | None, Meta(description="null: the training's bars were not at hand")]


class Convention(Part, frozen=True, kw_only=True):
    """How often rows of one kind occur in the bars of the training."""

    rows: Annotated[Count, Meta(description="rows of this kind")]
    episodes: Annotated[Count, Meta(description="runs of such rows on consecutive days of a stock")]
    longest: Annotated[Count, Meta(description="rows of the longest run")]
    share: Annotated[
        Positive, Meta(description="runs that meet a stretch of days, for each of its rows; what most stretches have")
    ]


class Conventions(Part, frozen=True, kw_only=True):
    """What the bars of the training look like on days without trade, as seen in some of their fields."""

    fields: Annotated[list[Short], Meta(min_length=1, max_length=64, description="fields looked at")]
    first: Date
    last: Date
    days: Annotated[int, Meta(ge=1, le=200_000, description="days of a stretch: those that a score looks at")]
    stock_days: Annotated[Count, Meta(description="days of all stocks between their first and their last row")]
    absent: Annotated[Count, Meta(description="days without a row")]
    empty: Annotated[Count, Meta(description="rows without a value")]
    missing: Annotated[Convention, Meta(description="days without a row, and rows without a value")]
    not_positive: Annotated[Convention, Meta(description="a price that is zero or negative")]
    stale: Annotated[Convention, Meta(description="no volume, with the prices or the close of the day before")]
    without_price: Annotated[Convention, Meta(description="values, but a price is missing")]
    without_volume: Annotated[Convention, Meta(description="prices, but another field is missing")]
    zero_volume: Annotated[Convention, Meta(description="a volume of zero, with prices of the day")]
    repeated: Annotated[Convention, Meta(description="the day before again, in every field")]
    same_prices: Annotated[Convention, Meta(description="the prices of the day before, with another volume")]
    same_volume: Annotated[Convention, Meta(description="the volume of the day before, with other prices")]
    interpolated: Annotated[
        Convention, Meta(description="the day before lies half way between its neighbours in every field")
    ]


class Moves(Part, frozen=True, kw_only=True):
    """How far the close moved from one day to the next in the training: its ratio to the last one before."""

    lowest: Annotated[Positive, Meta(description="but for the few lowest, which may be errors")]
    highest: Annotated[Positive, Meta(description="but for the few highest")]


class AlphaGraph(Part, frozen=True, kw_only=True):
    """Bars in, alpha features out.

    Input `bars`: float32 [rows, window, fields], oldest day first, NaN where a value is missing; input `length`: int64
    [rows], how many of these days the stock has been there, the last one included.  Output `alphas`: float32 [rows, features].
    """

    file: Path
    window: Annotated[int, Meta(ge=1, le=10_000, description="trading days of bars, the day itself included")]
    fields: Annotated[
        list[Short], Meta(min_length=1, max_length=64, description="bar columns in the graph's order, no dollar sign")
    ]
    features: Annotated[list[Short], Meta(min_length=1, description="features in the order of the output's columns")]
    tolerances: Annotated[
        list[Positive], Meta(description="largest difference from qlib's value on the golden bars, one per feature")
    ]
    truncated: Annotated[
        dict[str, Positive],
        Meta(description="features of unlimited look-back -> weight of the days before the window; 0 is none"),
    ]
    golden: Annotated[Path, Meta(description="bars of stocks whose alpha features golden.parquet has on `date`")]
    golden_rows: Count
    date: Date
    units: Annotated[
        dict[Short, FieldUnit] | None,
        Meta(description="fields whose ratio to the training a used feature can see; null: not known"),
    ] = None
    conventions: Annotated[
        Annotated[list[Conventions], Meta(max_length=2)] | None,
        Meta(description="of the bars of the training, the one of more fields first; null: they were not at hand"),
    ] = None
    moves: Annotated[
        Moves | None, Meta(description="null: the training's bars were not at hand, or have too few closes")
    ] = None


class DriftLimits(Part, frozen=True, kw_only=True):
    """How far a day's features may be from the training values before ``--strict`` refuses them."""

    null_ratio: Annotated[Ratio, Meta(description="excess of missing values over training, share of the day's stocks")]
    outside: Annotated[Ratio, Meta(description="share of finite values beyond the outermost training quantiles")]


class Reason(Part, frozen=True, kw_only=True):
    """One reason why the bundle is not ready."""

    code: Short
    text: Text


class Eligibility(Part, frozen=True, kw_only=True):
    """The verdict: ready is true exactly when there is no reason."""

    ready: bool
    reasons: list[Reason]


class Manifest(Part, frozen=True, kw_only=True):
    """Everything a reader must know about a bundle."""

    format: Format
    name: Name
    sequence: Count
    created: Instant
    expires: Instant | None
    producer: Producer
    source: Source
    model: Model
    features: Annotated[list[Feature], Meta(min_length=1, max_length=10_000)]
    order: Order
    stages: Annotated[list[Stage], Meta(min_length=1, max_length=16)]
    missing: Missing
    label: Label
    data: Data
    sota_factors: list[SotaFactor]
    metrics: Metrics
    strategy: Strategy | None
    selection: Selection
    parity: Parity
    golden: GoldenTable
    alphas: AlphaGraph | None
    drift: DriftLimits
    factors: FactorTable | None
    files: Annotated[list[File], Meta(min_length=2, max_length=10_000)]
    eligibility: Eligibility
    compiled: Annotated[
        CompiledFactors | None, Meta(description="graphs that make SOTA features of bars; null: none")
    ] = None

    def file(self, path: str) -> File:
        """The entry of one path; MalformedError ``manifest.reference`` where there is none."""
        for entry in self.files:
            if entry.path == path:
                return entry
        raise MalformedError(
            "manifest.reference", "manifest names a file that it does not list", where=FILE_NAME, found=path
        )


def additions(kind: type[Part]) -> frozenset[str]:
    """The fields of a part that came with 1.1: those with a default."""
    return frozenset(field.name for field in msgspec.structs.fields(kind) if field.default is not msgspec.NODEFAULT)


def to_plain(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON values, with the fields of its own version."""
    plain: dict[str, Any] = msgspec.to_builtins(manifest)
    if manifest.format == FIRST_FORMAT:
        _remove_additions(manifest, plain)
    return plain


def _remove_additions(value: Any, plain: Any) -> None:
    """Take out of `plain`, which is `value` in plain JSON values, what 1.0 does not have."""
    if isinstance(value, Part):
        for name in additions(type(value)):
            del plain[name]
        for name in plain.keys() & set(value.__struct_fields__):
            _remove_additions(getattr(value, name), plain[name])
    elif isinstance(value, dict):
        for name, item in value.items():
            _remove_additions(item, plain[name])
    elif isinstance(value, list):
        for item, plain_item in zip(value, plain, strict=True):
            _remove_additions(item, plain_item)


def encode(manifest: Manifest) -> bytes:
    """The one byte form of a manifest."""
    return strict_json.dumps(to_plain(manifest))


def universe_digest(members: list[str]) -> str:
    """sha256 over the lines of a universe's canonical form, each with its line feed."""
    return hashlib.sha256("".join(f"{line}\n" for line in members).encode("utf-8")).hexdigest()


def digest(data: bytes) -> str:
    """The bundle's digest: sha256 of the bytes of manifest.json, lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


DOCUMENT = Kind(
    "manifest.schema",
    Manifest,
    MAXIMUM_BYTES,
    version=Rule(
        "manifest.version",
        "unknown format version",
        expected=" or ".join(map(repr, FORMATS)),
        next_step="use a runtime of that format version",
    ),
    known=FORMATS,
    form=Rule(
        "manifest.byte_form",
        "manifest is not in its one byte form",
        expected="sorted keys, two spaces, LF, shortest numbers",
    ),
    plain=to_plain,
)


def parse(data: bytes, where: str = FILE_NAME) -> Manifest:
    """Read a manifest strictly.  The version is looked at first: an unknown one is refused before the body is judged."""
    manifest = DOCUMENT.read(data, where)
    _check_meaning(manifest, where)
    return manifest


def _check_meaning(manifest: Manifest, where: str) -> None:
    """Rules between fields, which a schema cannot say."""

    def refuse(code: str, message: str, found: str) -> None:
        raise MalformedError(f"manifest.{code}", message, where=where, found=found[:200])

    names.check_name(manifest.name, f"{where} name")
    paths = [names.check_path(entry.path, f"{where} files") for entry in manifest.files]
    if paths != sorted(set(paths)):
        refuse("files_order", "files must be listed once each, sorted by path", ", ".join(paths))
    reserved = {FILE_NAME, "manifest.dsse.json", "provenance.dsse.json"} & {path.split("/")[0] for path in paths}
    if reserved:
        refuse("files_reserved", "files lists a name that the format reserves", ", ".join(sorted(reserved)))
    folders = {path[:place] for path in paths for place, letter in enumerate(path) if letter == "/"}
    if clash := folders & set(paths):
        refuse("files_clash", "a file cannot be a directory too", ", ".join(sorted(clash)))
    if (total := sum(entry.size for entry in manifest.files)) > MAXIMUM_TOTAL:
        refuse("size", f"the files have more than {MAXIMUM_TOTAL} bytes together", str(total))
    if wrong := [
        text for text in (manifest.created, manifest.expires) if text is not None and instants.read(text) is None
    ]:
        refuse("instant", "no day of the calendar", wrong[0])
    feature_names = [feature.name for feature in manifest.features]
    if len(set(feature_names)) != len(feature_names):
        refuse(
            "feature_twice",
            "feature names must differ",
            ", ".join(sorted(name for name, number in Counter(feature_names).items() if number > 1)),
        )
    if manifest.eligibility.ready != (not manifest.eligibility.reasons):
        refuse("eligibility", "ready must be true exactly when there is no reason", str(manifest.eligibility.ready))
    kind = manifest.data.instrument_format.kind
    if manifest.data.instrument_format.pattern != INSTRUMENT_PATTERNS[kind]:
        refuse("instrument_pattern", f"pattern is not that of kind {kind}", manifest.data.instrument_format.pattern)
    _check_graphs(manifest, refuse)
    if (universes := manifest.data.universes) is not None:
        for name, universe in (("factor", universes.factor), ("model", universes.model)):
            if universe is not None and universe.members is not None and (fault := _not_canonical(universe)):
                refuse("universe", f"the members of data.universes.{name} are not in their one form", fault)
    _check_references(manifest, where)


def _check_graphs(manifest: Manifest, refuse: Callable[[str, str, str], None]) -> None:
    """Rules about the graphs that make features of bars: of alphas.onnx, and of compiled factors."""
    compiled, alphas = manifest.compiled, manifest.alphas
    if compiled is not None:
        from alphaseal.format.factor_rules import check_programs

        check_programs(compiled, partial(refuse, "compiled", "programs of compiled factors do not fit together"))
    factors = set() if compiled is None else set(compiled.tolerances)
    said = {feature.name for feature in manifest.features if isinstance(feature.compilation, CompiledFactor)}
    if others := said ^ factors:
        refuse("compiled", "features that programs compute are not those that say so", ", ".join(sorted(others)))
    if alphas is not None:
        _check_alphas(manifest, alphas, factors, refuse)
        if twice := factors & set(alphas.features):
            refuse("compiled", "alphas.onnx gives features that programs compute too", ", ".join(sorted(twice)))
    if compiled is not None and (unread := set(compiled.fields) - set(alphas.fields if alphas is not None else ())):
        refuse("compiled", "the fields of compiled factors are among those of alphas", ", ".join(sorted(unread)))


def _check_alphas(
    manifest: Manifest, alphas: AlphaGraph, factors: AbstractSet[str], refuse: Callable[[str, str, str], None]
) -> None:
    """`factors` are the features that programs of compiled factors make."""
    unknown = set(alphas.features) - {feature.name for feature in manifest.features}
    if unknown or _repeats(alphas.features) or _repeats(alphas.fields):
        refuse("alphas", "alphas.onnx must give features of the model, each once", ", ".join(sorted(unknown)))
    if len(alphas.tolerances) != len(alphas.features):
        refuse("alphas", "every feature of alphas.onnx has a tolerance", str(len(alphas.tolerances)))
    for field, unit in (alphas.units or {}).items():
        known = {*alphas.features, *factors} >= set(unit.seen_by) >= {*unit.exact, *unit.alike}
        if not known or field not in alphas.fields:
            refuse("alphas", "units are those of the graph's fields, seen by features made of bars", field)


def _repeats(texts: Sequence[str]) -> bool:
    return len(set(texts)) != len(texts)


def _not_canonical(universe: RecordedUniverse) -> str | None:
    """What is wrong with the members of a universe, or with what is said of them."""
    lines = [line.split(" ") for line in universe.members or ()]
    try:
        spans = [(code, date.fromisoformat(first), date.fromisoformat(last)) for code, first, last in lines]
    except ValueError:
        return "a date that is no day of the calendar"
    if any(not universe.first <= first <= last <= universe.last for _, first, last in lines):
        return "a span that ends before it begins, or outside the days of the record"
    for (earlier, _, end), (later, begin, _) in pairwise(spans):
        if later < earlier or (later == earlier and begin.toordinal() <= end.toordinal() + 1):
            return "spans that are not sorted, overlap, or go on without a gap"
    if (codes := len({code for code, _, _ in spans})) != universe.count:
        return f"{codes} codes, said are {universe.count}"
    found = universe_digest(universe.members or [])
    return None if found == universe.sha256 else f"sha256 {found}"


def _check_references(manifest: Manifest, where: str) -> None:
    roles: dict[str, set[str]] = {
        role: set() for role in ("model", "alphas", "golden", "golden_bars", "factors", "source")
    }
    roles["golden"].add(manifest.golden.file)
    if manifest.alphas is not None:
        roles["alphas"].add(manifest.alphas.file)
        roles["golden_bars"].add(manifest.alphas.golden)
    if manifest.compiled is not None:
        roles["alphas"].update(graph.file for program in manifest.compiled.programs for graph in program.graphs)
        roles["golden_bars"].add(manifest.compiled.golden)
    for stage in manifest.stages:
        if isinstance(stage, GraphStage):
            roles["model"].add(stage.file)
    if manifest.factors is not None:
        roles["factors"].add(manifest.factors.file)
    sources = [*(feature.source for feature in manifest.features), *(factor.source for factor in manifest.sota_factors)]
    roles["source"].update(source for source in sources if source is not None)
    for role, referenced in roles.items():
        listed = {entry.path for entry in manifest.files if entry.role == role}
        # Sources may be listed without a factor that names them (model code, configuration); the other roles may not.
        if referenced - listed or (role != "source" and listed - referenced):
            raise MalformedError(
                "manifest.reference",
                f"files with role {role} are not those that the manifest refers to",
                where=where,
                expected=", ".join(sorted(referenced))[:200],
                found=", ".join(sorted(listed))[:200],
            )
