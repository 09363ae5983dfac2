"""Statistics of each feature over the rows that the model was trained on, or the reason why there are none.

They are what a live day is compared with, so a number about other rows would be worse than none: a factor table without
its incomplete rows says that nothing is ever missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alphaseal.bars.calendar import AlphaColumns
from alphaseal.errors import InputError
from alphaseal.plain_text import listed
from alphaseal.tables.feature_files import read_parquet
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import AlphaPart
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.evidence.training_rows import (
    RowDrops,
    TrainingRows,
    row_drops,
    rows_of_block,
    rows_of_file,
    rows_of_market,
)
from alphaseal_converter.evidence.values import RawFile
from alphaseal_converter.factors.table import ColumnStatistics, column_names, column_statistics
from alphaseal_converter.locate.configuration import TaskConfiguration
from alphaseal_converter.locate.parts import RunParts
from alphaseal_converter.market.bars import Market, Progress, sampled_days, write_alpha_days

_NOT_AT_HAND = "its training values are not at hand (pass --features with them, or --provider)"


@dataclass(frozen=True)
class FeatureStatistics:
    """Statistics of one feature over the training segment, or why there are none."""

    values: ColumnStatistics | None
    source: str
    missing: str | None


@dataclass(frozen=True)
class Training:
    """What is known of the rows that the model was trained on, in the training segment of the run's configuration.

    `rows` are those of the run's market, None where it is not at hand, which `absent` says in words.  `sample` is a file of
    alpha features on some of their days, `sampled` says which.
    """

    configuration: TaskConfiguration
    drops: RowDrops = RowDrops()
    rows: TrainingRows | None = None
    absent: str = ""
    sample: Path | None = None
    sampled: str = ""


def find_training(
    parts: RunParts,
    features: Sequence[OrderedFeature],
    model_class: str,
    market: Market | None,
    absent: str,
    alphas: AlphaPart,
    scratch: Path,
    progress: Progress,
) -> Training:
    """The rows of the training and a sample of their alpha features; `absent` says why there is no market."""
    configuration, segment = parts.configuration, parts.configuration.training_segment
    if segment is None:
        return Training(configuration, absent="the run's training segment is not known")
    drops = row_drops(configuration, parts.processors, [feature.name for feature in features], model_class)
    known = Training(configuration, drops, absent=absent)
    if market is None:
        return known
    fields = sorted({field for read in alphas.inputs.values() for field in read}) or ["close"]
    try:
        rows = rows_of_market(market, fields, configuration, segment, drops)
    except RefusalError as refusal:
        return replace(known, absent=f"{refusal.message} ({refusal.code})")
    if not rows.chosen.any():
        return replace(known, absent="the market data have no row of the training segment")
    if alphas.graph is None or alphas.description is None:
        return replace(known, rows=rows, sampled=f"all {len(rows.dates)} days")
    days = sampled_days(rows.dates, len(rows.instruments))
    columns = AlphaColumns(alphas.graph, alphas.description)
    write_alpha_days(market, columns, days, rows.of, scratch / "training.parquet", progress)
    sampled = f"{len(days)} of {len(rows.dates)} days of the run's market data, evenly spread"
    return replace(known, rows=rows, sample=scratch / "training.parquet", sampled=sampled)


def feature_statistics(
    training: Training,
    features: Sequence[OrderedFeature],
    table: Path | None,
    columns: Iterable[str],
    raw: RawFile | None,
) -> dict[str, FeatureStatistics]:
    """Of every feature; `columns` are those of the run's factor `table`, `raw` the file of raw values that was given."""
    in_table = set(columns) if table is not None else set()
    found = _of_market(training, features, table, in_table)
    rest = [feature for feature in features if feature.name not in found or found[feature.name].values is None]
    if raw is not None and raw.origin == "features_file" and rest:
        from_file = _of_file(training, rest, table, in_table, raw)
        found |= {
            name: numbers for name, numbers in from_file.items() if numbers.values is not None or name not in found
        }
    known = training.configuration.training_segment is not None
    missing = FeatureStatistics(None, "", _NOT_AT_HAND if known else training.absent)
    return {feature.name: found.get(feature.name, missing) for feature in features}


def _of_market(
    training: Training, features: Sequence[OrderedFeature], table: Path | None, in_table: set[str]
) -> dict[str, FeatureStatistics]:
    """Of what the market's rows and the factor table, joined to them, tell."""
    rows = training.rows
    if rows is None:
        why = f"the rows that the model was trained on are not known: {training.absent}"
        return {feature.name: FeatureStatistics(None, "", why) for feature in features if feature.name in in_table}
    places: dict[str, Path] = {}
    if training.sample is not None:
        places = dict.fromkeys((name for name, _ in column_names(training.sample)), training.sample)
    if table is not None:
        places |= dict.fromkeys(in_table, table)
    known = [feature for feature in features if feature.name in places]
    if training.drops.features:
        return _without_incomplete(training, rows, known, features, places)
    sampled = rows if training.sample is None else _sampled(training.sample, known, places, rows.words)
    found = {}
    for feature in known:
        if feature.name in in_table:
            found[feature.name] = _told(f"the run's factor table, joined to {rows.words}", rows, places, feature)
        else:
            source = f"alphas.onnx on {training.sampled}: {rows.words}"
            found[feature.name] = _told(source, sampled, places, feature)
    return found


def _sampled(sample: Path, known: Sequence[OrderedFeature], places: Mapping[str, Path], words: str) -> TrainingRows:
    """The rows of the sample."""
    alpha = next((feature for feature in known if places[feature.name] == sample), None)
    return rows_of_block(read_parquet(sample, [] if alpha is None else [alpha]), words)


def _told(source: str, rows: TrainingRows, places: Mapping[str, Path], feature: OrderedFeature) -> FeatureStatistics:
    try:
        values = rows.joined(places[feature.name], feature)
    except InputError as error:
        why = "it has no row of the training segment" if error.code == "features.date_absent" else error.message
        return FeatureStatistics(None, "", f"{source}: {why}")
    return FeatureStatistics(column_statistics(values, rows.days()), source, None)


def _without_incomplete(
    training: Training,
    rows: TrainingRows,
    known: Sequence[OrderedFeature],
    features: Sequence[OrderedFeature],
    places: Mapping[str, Path],
) -> dict[str, FeatureStatistics]:
    """Where rows that miss a feature were left out: of the sampled days, on which all features are at hand together."""
    lacking = sorted(training.drops.features - set(places))
    if lacking:
        why = f"the run left out rows that miss a feature, and the training values of {listed(lacking)} are not at hand"
        return {feature.name: FeatureStatistics(None, "", why) for feature in features}
    if training.sample is not None:
        rows = _sampled(training.sample, known, places, rows.words)
    values = {}
    for feature in known:
        try:
            values[feature.name] = rows.joined(places[feature.name], feature)
        except InputError as error:
            why = f"the training values of {feature.name}: {error.message}"
            return {feature.name: FeatureStatistics(None, "", why) for feature in features}
    complete = ~np.logical_or.reduce([np.isnan(values[name]) for name in sorted(training.drops.features)])
    if not complete.any():
        why = "the run left out rows that miss a feature, and no sampled row has all of them"
        return {feature.name: FeatureStatistics(None, "", why) for feature in features}
    source = f"{training.sampled}: {rows.words} and no missing feature"
    days = rows.days()[complete]
    return {
        name: FeatureStatistics(column_statistics(column[complete], days), source, None)
        for name, column in values.items()
    }


def _of_file(
    training: Training, features: Sequence[OrderedFeature], table: Path | None, in_table: set[str], raw: RawFile
) -> dict[str, FeatureStatistics]:
    """Of what the file of raw values tells, which has the rows of the run's loader, and of the table joined to them."""
    configuration, segment = training.configuration, training.configuration.training_segment
    inside = [feature for feature in features if feature.name in raw.dtypes]
    if not inside or segment is None:
        return {}
    source = "the raw values given for the replay"
    if training.drops.features:
        why = f"{source}: the run left out rows that miss a feature"
        return {feature.name: FeatureStatistics(None, "", why) for feature in inside}
    try:
        rows = rows_of_file(raw.path, inside[0], configuration, segment, training.drops)
    except (InputError, RefusalError) as error:
        absent = error.code == "features.date_absent"
        why = f"{source}: {'it has no row of the training segment' if absent else error.message}"
        return {feature.name: FeatureStatistics(None, "", why) for feature in inside}
    places = dict.fromkeys(raw.dtypes, raw.path)
    found = {feature.name: _told(f"{source}: {rows.words}", rows, places, feature) for feature in inside}
    if table is not None:
        places = dict.fromkeys(in_table, table)
        for feature in features:
            if feature.name in in_table and feature.name not in found:
                words = f"the run's factor table, joined to the rows of {source}: {rows.words}"
                found[feature.name] = _told(words, rows, places, feature)
    return found
