"""The verb ``alphaseal diff``: a difference in words, for the terminal, and as Markdown for a comment on a pull request.

Both are made from one list of sections, so that they say the same.  Names, texts and code come from the bundles, whose
author may be a language model: they are `Quoted`, bounded, and escaped where they are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from alphaseal import plain_text
from alphaseal.desk import diff
from alphaseal.desk.compilation import COMPILED
from alphaseal.desk.diff import Change, Code, Difference, Identity, MetricChange, NumberChange
from alphaseal.errors import DifferentError
from alphaseal.format import strict_json
from alphaseal.plain_text import Printable, printable
from alphaseal.terminal.console import Findings, Parser

_ROWS = 40
_CODE_LINES = 80
_CODE_COLUMNS = 160
_MAXIMUM_MARKDOWN = 60_000
"""GitHub takes comments of 65536 characters."""
_BEST_SHOWN = 10
_BEFORE_PARTING = 40
"""Characters that two long texts share, shown before those in which they differ."""

_AREAS = {
    "bundle": "Bundle",
    "model": "Model",
    "label": "What the model predicts (label)",
    "data": "Market data",
    "segments": "Periods of training and test",
    "stages": "Steps before the model",
    "missing values": "Missing and infinite values",
    "strategy": "Trading strategy of the backtest",
    "selection": "Choice of stocks",
    "metrics": "Conditions of the metrics",
    "source": "Where it comes from",
    "factors": "What became of the accepted factors",
    "order": "Proof of the feature order",
    "parity": "Proof of the numbers",
    "alpha graph": "Alpha features from price bars",
    "compiled factors": "Compiled factors from price bars",
    "drift limits": "Limits of the drift guard",
    "file sizes": "File sizes in bytes",
    "libraries": "Library versions at conversion",
}
_HEAVY = ("label", "segments", "stages", "missing values", "strategy", "selection", "data")
"""Areas whose change a reviewer must not overlook."""
_COMPUTED = ("origin", "dtype", "expression", "computes", "pandas")
_HEADLINE_METRICS = ("IC", "Rank IC", "1day.excess_return_with_cost.annualized_return")
_METRIC_WORDS = {
    "IC": "correlation of the score with the return that followed, mean of the days; higher is better",
    "ICIR": "IC divided by its own fluctuation; higher is steadier",
    "Rank IC": "as IC, of the ranks; higher is better",
    "Rank ICIR": "Rank IC divided by its own fluctuation",
    "1day.excess_return_with_cost.annualized_return": "return of the backtest above its benchmark in a year, costs paid",
    "1day.excess_return_with_cost.information_ratio": "that return divided by its own fluctuation",
    "1day.excess_return_with_cost.max_drawdown": "largest loss from a high, costs paid; nearer to 0 is better",
}


_WORDS = {
    "across": "looks at other stocks of the day",
    "anchor history_index": "anchor's place in the history",
    "anchor why": "why this anchor",
    "anchor reason": "why RD-Agent accepted it",
    "class_name": "class",
    "compilation": "compiled to graphs",
    "computes": "what its graphs compute",
    "expression": "formula",
    "family": "kind of model",
    "formulation": "formula in words",
    "framework": "library",
    "framework_version": "version of the library",
    "infinite": "infinite values",
    "look_ahead": "looks into the future",
    "look_back": "days of history",
    "missing": "missing values",
    "n_drop": "stocks replaced in a day",
    "numbers": "numbers (weights)",
    "origin": "kind",
    "pandas": "version of pandas whose meaning it has",
    "proof bound": "largest difference allowed in its proof",
    "reads": "columns that it reads",
    "road": "way to ONNX",
    "step_length": "days that a score looks at",
    "top_k": "stocks chosen (top k)",
    "topk": "stocks held",
    "used": "asked for by the model",
    "dtype": "number type",
}


class Quoted(str):
    """A text from a bundle."""

    __slots__ = ()


Cell = Union[str, tuple[str, ...]]


@dataclass(frozen=True)
class Table:
    """Rows of cells; a cell is a text, or several put together."""

    header: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]


@dataclass(frozen=True)
class CodeBlock:
    """Lines from a bundle, unchanged."""

    title: Cell
    lines: Sequence[str]


Block = Union[Cell, Table, CodeBlock]


@dataclass(frozen=True)
class Section:
    """A heading and what is below it; each text is a point of a list."""

    title: str
    blocks: Sequence[Block]


def add_diff(parser: Parser) -> None:
    """The arguments of ``diff``."""
    parser.add_argument("old", type=Path, metavar="OLD", help="bundle directory before")
    parser.add_argument("new", type=Path, metavar="NEW", help="bundle directory now")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="for a comment on a pull request")
    form.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--exit-code", action="store_true", help="exit status 4 where the bundles differ")


def run_diff(options: argparse.Namespace) -> Findings:
    """Compare two bundles; with ``--exit-code`` a difference is an error."""
    found = diff.difference(options.old, options.new)
    text = printable([]) if options.json else (as_markdown if options.markdown else as_text)(found)
    error = DifferentError(
        "diff.different",
        "the bundles differ",
        expected=f"sha256 {found.old.digest}",
        found=f"sha256 {found.new.digest}",
        next_step="review them",
    )
    return Findings(text, found.to_plain(), [error] if options.exit_code and not found.same else [])


def as_text(difference: Difference) -> Printable:
    """For the terminal."""
    lines = [line for section in _sections(difference) for line in _text_of(section)]
    while lines and not lines[-1]:
        lines.pop()
    return printable(lines)


def as_markdown(difference: Difference) -> Printable:
    """For a comment: below 65536 characters, sections that do not fit are named at the end."""
    parts, left_out, length = [], [], 0
    for section in _sections(difference):
        part = printable("\n\n".join(_markdown_of(section)).split("\n"))
        if length + len(part) > _MAXIMUM_MARKDOWN:
            left_out.append(section.title)
            continue
        parts.append(part)
        length += len(part) + 2
    if left_out:
        note = f"Left out, because a comment has its limits: {', '.join(left_out)}. `alphaseal diff` prints them."
        parts.append(printable([note]))
    return printable("\n\n".join(parts).split("\n"))


# --- content --------------------------------------------------------------------------------------------------------


def _sections(difference: Difference) -> Iterator[Section]:
    old, new = difference.old, difference.new
    if difference.same:
        yield Section(
            _heading(difference), [("The two are one bundle: ", Quoted(_which(old)), ", digest ", old.digest, ".")]
        )
        return
    yield Section(_heading(difference), list(_summary(difference)))
    identity = [
        ("name", Quoted(old.name), Quoted(new.name)),
        ("sequence", str(old.sequence), str(new.sequence)),
        ("digest (sha256)", old.digest, new.digest),
        ("created", old.created, new.created),
        ("ready for trading", _verdict(old), _verdict(new)),
    ]
    reasons = [
        (side, "is not ready: ", Quoted(code), " – ", Quoted(text))
        for side, which in (("OLD ", old), ("NEW ", new))
        for code, text in which.reasons
    ]
    note = "Signatures were not looked at; `alphaseal verify` does that."
    yield Section("Which bundles", [Table(("", "OLD", "NEW"), identity), *reasons, note])
    yield from _feature_sections(difference)
    yield from _number_section(difference)
    yield from _score_section(difference)
    yield _metric_section(difference.metrics)
    yield from _fact_sections(difference.facts)
    # The longest last: what does not fit into a comment must not be the label.
    yield from _code_section(difference.code)


def _heading(difference: Difference) -> str:
    return "No difference" if difference.same else "What changed"


def _which(identity: Identity) -> str:
    return f"{identity.name} {identity.sequence}"


def _verdict(identity: Identity) -> str:
    return "yes" if identity.ready else "no"


def _summary(difference: Difference) -> Iterator[Cell]:
    """What changed, a sentence each, the weightiest first."""
    old, new, features = difference.old, difference.new, difference.features
    yield ("From ", Quoted(_which(old)), " (OLD) to ", Quoted(_which(new)), " (NEW).")
    if old.ready != new.ready:
        yield f"The verdict changed: {'ready' if old.ready else 'not ready'} before, {'ready' if new.ready else 'NOT READY'} now."
    else:
        yield f"The verdict is the same: {'ready' if new.ready else 'not ready'} for trading."
    facts = {(change.area, change.what): change for change in difference.facts}
    if family := facts.get(("model", "family")):
        yield ("The model is of another kind: ", Quoted(str(family.old)), " before, ", Quoted(str(family.new)), " now.")
    changed = [code.name for code in difference.code if code.state == "changed" and code.kind == "factor"]
    computed = {change.area for change in features.changed if change.what in _COMPUTED} | set(changed)
    described = {change.area for change in features.changed if change.what != "used"} - computed
    counts = [(len(features.added), "added"), (len(features.removed), "removed"), (len(features.moved), "moved")]
    counts += [
        (len(computed), "computed otherwise"),
        (len(described), "described otherwise"),
        (features.common, "in both"),
    ]
    yield f"Features (inputs of the model): {', '.join(f'{count} {word}' for count, word in counts)}."
    if not any(area == "model" and what.startswith("digest of") for area, what in facts):
        yield "The model itself is the same file."
    if changed:
        yield (f"Factors whose code changed: {len(changed)} (", *_names(changed), ").")
    yield from _compilation_summary(features)
    if differing := [number for number in difference.numbers if number.relative is not None]:
        yield f"Fitted numbers of the preprocessing: {len(differing)} differ, the most by {_share(differing[0])}."
    for area in _HEAVY:
        if any(change.area == area for change in difference.facts):
            yield f"Changed too: {_AREAS[area]}."
    for metric in difference.metrics:
        if metric.name in _HEADLINE_METRICS and metric.old != metric.new:
            words = f"{_number(metric.old)} before, {_number(metric.new)} now ({_signed(metric.difference)})"
            yield (Quoted(metric.name), f": {words}.")
    yield from _score_summary(difference)


def _compilation_summary(features: diff.Features) -> Iterator[Cell]:
    """Factors that graphs compute on one side only: the caller of the other must bring their values."""
    found = {change.area: change for change in features.changed if change.what == "compilation"}
    lost = [name for name, change in found.items() if change.old == COMPILED]
    gained = [name for name, change in found.items() if change.new == COMPILED]
    if lost:
        yield (
            f"Factors that are no longer compiled, so that a table must give them: {len(lost)} (",
            *_names(lost),
            ").",
        )
    if gained:
        yield (f"Factors that are compiled now, and made of bars: {len(gained)} (", *_names(gained), ").")


def _names(names: Sequence[str]) -> list[str]:
    """Up to five names from a bundle, separated by commas."""
    parts: list[str] = []
    for name in names[:5]:
        parts += [", ", Quoted(name)] if parts else [Quoted(name)]
    return [*parts, f" and {len(names) - 5} more"] if len(names) > 5 else parts


def _score_summary(difference: Difference) -> Iterator[Cell]:
    scores = difference.scores
    if scores.reason is not None:
        yield ("Scores of both on the same rows: not comparable, because ", Quoted(scores.reason), ".")
        return
    for day in scores.days:
        # Of fewer than twice as many stocks, the best k say nothing: most are among them anyhow.
        k = max((k for k in day.top if 2 * k <= day.both), default=min(day.top))
        order = (
            "" if day.rank_correlation is None else f"rank correlation {day.rank_correlation:.3f} (1: the same order), "
        )
        yield f"The same rows scored by both, {day.date}: {order}{day.top[k]} of the best {k} stocks are the same."


def _feature_sections(difference: Difference) -> Iterator[Section]:
    features = difference.features
    blocks: list[Block] = []
    for title, listed in (("Added", features.added), ("Removed", features.removed)):
        rows = [
            (str(f.position + 1), Quoted(f.name), _origin(f.origin), f.dtype, Quoted(f.meaning or "")) for f in listed
        ]
        if rows:
            blocks.append(_table((title, "name", "kind", "number type", "meaning"), rows))
    if features.moved:
        moved = [(Quoted(m.name), str(m.old + 1), str(m.new + 1)) for m in features.moved]
        blocks.append(_table(("Moved", "place before", "place now"), moved))
    if features.changed:
        changed = [(Quoted(c.area), _fact(c.what), *_both(c.old, c.new)) for c in features.changed]
        blocks.append(_table(("Changed", "what", "before", "now"), changed))
    if blocks:
        yield Section("Features", blocks)


def _origin(origin: str) -> str:
    """The manifest's word with what it means."""
    words = {"alpha": "alpha (formula of qlib)", "sota": "sota (factor found by RD-Agent)", "base": "base column"}
    return words.get(origin, "unknown")


def _code_section(code: Sequence[Code]) -> Iterator[Section]:
    blocks: list[Block] = []
    for one in code:
        kind = "factor that is in neither model" if one.kind == "idle factor" else one.kind
        title = (f"{one.state}: {kind} ", Quoted(one.name))
        if one.lines is None or one.state == "removed":
            blocks.append((*title, f" ({one.note})") if one.note else title)
            continue
        # Every line of a new text is new, so its line numbers say nothing.
        lines = one.lines[1:] if one.state == "added" else one.lines
        shown = [line[:_CODE_COLUMNS] for line in lines[:_CODE_LINES]]
        if len(lines) > _CODE_LINES:
            shown.append(f"… {len(lines) - _CODE_LINES} more lines")
        blocks.append(CodeBlock(title, shown))
    if blocks:
        yield Section("Code (- before, + now)", blocks)


def _number_section(difference: Difference) -> Iterator[Section]:
    differing = [number for number in difference.numbers if number.relative is not None]
    alone = len(difference.numbers) - len(differing)
    blocks: list[Block] = []
    if differing:
        rows = [
            (Quoted(n.feature), Quoted(n.processor), _fact(n.parameter), _number(n.old), _number(n.new), _share(n))
            for n in differing[:_BEST_SHOWN]
        ]
        blocks.append(Table(("feature", "processor", "number", "before", "now", "difference"), rows))
        blocks.append(
            f"The largest {len(rows)} of {len(differing)} numbers that differ; the difference is a share of the larger one."
        )
    if alone:
        blocks.append(f"{alone} numbers are there on one side only: their processor or their feature is.")
    if blocks:
        yield Section("Numbers of the preprocessing", blocks)


def _share(number: NumberChange) -> str:
    relative = number.relative or 0.0
    return f"{relative:.2%}" if relative >= 1e-4 else f"{relative:.1e}"


def _score_section(difference: Difference) -> Iterator[Section]:
    scores = difference.scores
    if scores.reason is not None:
        yield Section("Scores on the same rows", [("not comparable: ", Quoted(scores.reason))])
        return
    tops = sorted({k for day in scores.days for k in day.top})
    days = [
        (
            day.date,
            str(day.both),
            f"{day.only_old} / {day.only_new}",
            "–" if day.rank_correlation is None else f"{day.rank_correlation:.4f}",
            *(f"{day.top.get(k, 0)} of {k}" for k in tops),
        )
        for day in scores.days
    ]
    header = ("day", "stocks in both", "only OLD / only NEW", "rank correlation", *(f"same in top {k}" for k in tops))
    blocks: list[Block] = [Table(header, days)]
    if scores.days:
        last = scores.days[-1].date
        best = [s for s in scores.stocks if s.date == last and s.new_rank is not None][:_BEST_SHOWN]
        rows = [
            (str(s.new_rank), Quoted(s.instrument), _number(s.new_score), str(s.old_rank or "–"), _number(s.old_score))
            for s in best
        ]
        blocks.append(Table((f"rank in NEW on {last}", "stock", "score in NEW", "rank in OLD", "score in OLD"), rows))
    if scores.by_name:
        blocks.append(("Taken for the same by their names alone: ", *_names(scores.by_name), "."))
    yield Section("Scores on the same rows (golden rows of NEW)", blocks)


def _metric_section(metrics: Sequence[MetricChange]) -> Section:
    """The metrics that we can explain first."""
    known = [*_METRIC_WORDS]
    rows = [
        (Quoted(m.name), _number(m.old), _number(m.new), _signed(m.difference), _METRIC_WORDS.get(m.name, ""))
        for m in sorted(metrics, key=lambda m: known.index(m.name) if m.name in known else len(known))
    ]
    if not rows:
        return Section("Metrics", ["Neither bundle has any."])
    return Section("Metrics, as qlib recorded them", [_table(("metric", "OLD", "NEW", "difference", ""), rows)])


def _fact_sections(facts: Sequence[Change]) -> Iterator[Section]:
    for area, title in _AREAS.items():
        rows = [(_fact(c.what), _value(c.old), _value(c.new)) for c in facts if c.area == area]
        if rows:
            yield Section(title, [_table(("", "before", "now"), rows)])


def _table(header: tuple[str, ...], rows: Sequence[tuple[Cell, ...]]) -> Table:
    if len(rows) <= _ROWS:
        return Table(header, rows)
    more = (f"… {len(rows) - _ROWS} more", *[""] * (len(header) - 1))
    return Table(header, [*rows[:_ROWS], more])


def _fact(name: str) -> str:
    """The name of a fact: a field of the manifest in words, or a key that somebody chose."""
    return _WORDS.get(name) or Quoted(name)


def _value(value: Any) -> Cell:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, str):
        return Quoted(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return Quoted("; ".join(value)) if value else "none"
    return Quoted(strict_json.dumps(value).decode())


def _both(old: Any, new: Any) -> tuple[Cell, Cell]:
    """Two values side by side; long texts that begin alike from shortly before they part."""
    if isinstance(old, str) and isinstance(new, str) and max(len(old), len(new)) > plain_text.MAXIMUM:
        parting = next((place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
        if parting > _BEFORE_PARTING:
            old, new = (f"…{text[parting - _BEFORE_PARTING :]}" for text in (old, new))
    return _value(old), _value(new)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _signed(value: float | None) -> str:
    return "–" if value is None else "0" if value == 0 else f"{value:+.4g}"


# --- printing -------------------------------------------------------------------------------------------------------


def _parts(cell: Cell) -> tuple[str, ...]:
    return cell if isinstance(cell, tuple) else (cell,)


def _plain(cell: Cell) -> str:
    return "".join(plain_text.one_line(part) if isinstance(part, Quoted) else part for part in _parts(cell))


def _marked(cell: Cell) -> str:
    return "".join(plain_text.inline_code(part) if isinstance(part, Quoted) else part for part in _parts(cell))


def _text_of(section: Section) -> Iterator[str]:
    yield section.title.upper()
    for block in section.blocks:
        if isinstance(block, Table):
            yield from _columns([block.header, *([_plain(cell) for cell in row] for row in block.rows)])
        elif isinstance(block, CodeBlock):
            yield f"  {_plain(block.title)}"
            yield from (f"    {plain_text.visible(line.expandtabs(4))}" for line in block.lines)
        else:
            yield f"  {_plain(block)}"
    yield ""


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with aligned columns; the last column is not cut."""
    widths = [min(48, max(len(row[place]) for row in rows)) for place in range(len(rows[0]))]
    for row in rows:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()


def _markdown_of(section: Section) -> Iterator[str]:
    yield f"### {section.title}"
    points: list[str] = []
    for block in section.blocks:
        if isinstance(block, (Table, CodeBlock)):
            if points:
                yield "\n".join(points)
                points = []
            yield _markdown_table(block) if isinstance(block, Table) else _markdown_code(block)
        else:
            points.append(f"- {_marked(block)}")
    if points:
        yield "\n".join(points)


def _markdown_table(table: Table) -> str:
    rows = [[_marked(cell) for cell in row] for row in table.rows]
    lines = [list(table.header), ["---"] * len(table.header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _markdown_code(block: CodeBlock) -> str:
    lines = [plain_text.visible(line.expandtabs(4)) for line in block.lines]
    return f"{_marked(block.title)}\n\n{plain_text.fenced(lines, 'diff')}"
