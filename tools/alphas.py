"""Writes docs/alphas.md: every alpha expression and operator of the compiler against qlib itself.

    python tools/alphas.py --research PYTHON [--sample]

PYTHON has qlib (`make research` makes such an environment).  The market is the simulated one with some odd stocks; every
day of every stock is compared.  With --sample, tests/data/alphas is written anew too.  Ends with 1 where a goal is not met.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "converter" / "src"), str(ROOT / "runtime" / "src")]

from alpha_cases import EXPONENTIAL, KINDS, NOISE, OPERATORS, PAIRS, ROLLING, Kind
from alpha_comparison import LIMIT, Column, compare, read_recorded
from alpha_market import ODD, add_odd_stocks
from alphaseal_converter.alphas import CompiledAlphas
from alphaseal_converter.alphas.nodes import GAP, NOT_COMPILED, TAIL, Nodes
from alphaseal_converter.alphas.scaling import Scaling
from alphaseal_converter.alphas.syntax import parse

UNITS = """What a constant does that multiplies all prices, or all volumes, of a stock, as derived from the expressions. The
bundle's manifest says the same of its own features, with the ranges that the training's bars allow.

| word | meaning |
|---|---|
| – | the features do not read it |
| free | unchanged by any constant |
| free within a range | unchanged as long as the number or threshold that is named is negligible, in the bars of the training for constants of a range; outside, and where it is not (days without volume), seen |
| must be shown within a range | the same, but the number that is named is always seen: bars must show that they are in the range |
| seen | changed by any constant: bars must show that they have the units of the training |
"""
DOCUMENT = ROOT / "docs" / "alphas.md"
RECORDER = ROOT / "tools" / "research" / "record_alphas.py"
SAMPLE = ROOT / "tests" / "data" / "alphas"
SAMPLE_STOCKS = ("SH601050", "SH601085", "SH601183", "SZ002004", "SZ900001", "SZ900002", "SZ900005", "SZ900006")
_NOT_SAMPLED: tuple[Kind, ...] = ("infinity", "one value")
HEAD = f"""# Alpha features

Made by `python tools/alphas.py`, which ends with an error where a goal is not met. Do not edit.

The judge is qlib itself, asked for every expression on every day of every stock of the simulated market: listings,
delistings, suspensions, missing and zero volumes, and {len(ODD)} stocks that are odd on purpose: all prices and volumes constant;
constant for a while; one step in a hundred days; suspended most of the time; moving in the last bits only, with volumes of
zero; near the ends of float32.

| column | meaning |
|---|---|
| cells | values compared: days of stocks, times features |
| identical | of these with the same bits (NaN where qlib has NaN) |
| largest | largest difference, in units of the feature's own scale (the median size of its values) or of the value itself where that is larger |
| NaN | cells where only one of the two is NaN |

Goals: largest {LIMIT:g}, NaN 0. Cells at which qlib's own value is rounding noise are counted apart, in the last table.

The converter states for every cell how far qlib's value may be from the graph's (`alphaseal_converter/alphas/noise.py`): an
error analysis of the expression on the stock's own series. It is 0 where both sides compute alike, about one step of float32
in ordinary windows, and large or unknown where qlib's own value is rounding: the listed cells, and correlations over a few
nearly equal points. With it a replay from bars tells noise from a wrong model (spec section 8.1, `ReplayNoise`).
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--research", required=True, metavar="PYTHON")
    parser.add_argument("--sample", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        market = Path(folder) / "market"
        program = ROOT / "tools" / "research" / "simulate_market.py"
        subprocess.run([options.research, str(program), "--out", str(market), "--provider-only"], check=True)
        provider = add_odd_stocks(market / "qlib_bin", Path(folder) / "odd")
        measured = {
            name: _measured(options.research, provider, expressions, Path(folder) / "qlib.parquet")
            for name, expressions in (
                ("Alpha158", {"all": "@Alpha158"}),
                ("Alpha360", {"all": "@Alpha360"}),
                ("operators", OPERATORS),
            )
        }
        if options.sample:
            _write_sample(options.research, provider, Path(folder))
    text = _document(measured, _versions(options.research))
    DOCUMENT.write_text(text, encoding="utf-8", newline="\n")
    bad = [name for _, columns in measured.values() for name, column in columns.items() if not column.good]
    print(text if not bad else f"goals not met: {bad}")
    return 1 if bad else 0


def _ask(python: str, provider: Path, expressions: Mapping[str, str], out: Path, *more: str) -> None:
    listed = out.with_suffix(".json")
    listed.write_text(json.dumps(expressions), encoding="utf-8")
    command = [python, str(RECORDER), "--provider", str(provider), "--expressions", str(listed), "--out", str(out)]
    subprocess.run([*command, *more], check=True, stderr=subprocess.DEVNULL)


def _measured(
    python: str, provider: Path, expressions: Mapping[str, str], out: Path
) -> tuple[CompiledAlphas, dict[str, Column]]:
    _ask(python, provider, expressions, out)
    recorded = read_recorded(out)
    found = compare(recorded, provider)
    if recorded.refused or found.compiled.not_compiled:
        sys.exit(f"not computed: {recorded.refused} by qlib, {dict(found.compiled.not_compiled)} here")
    return found.compiled, found.columns


def _write_sample(python: str, provider: Path, folder: Path) -> None:
    kinds = {name: {entry.kind for entry in entries} for name, entries in NOISE.items()}
    chosen = {name: text for name, text in OPERATORS.items() if not kinds.get(name, set()) & set(_NOT_SAMPLED)}
    more = ["--instruments", ",".join(SAMPLE_STOCKS), "--sample", str(SAMPLE)]
    _ask(python, provider, {"158": "@Alpha158", "360": "@Alpha360"} | chosen, folder / "sample.parquet", *more)


def _versions(python: str) -> str:
    """Of the judge and of what is judged."""
    names = ("pyqlib", "pandas", "numpy")
    program = f"import importlib.metadata as m; print(*(f'{{n}} {{m.version(n)}}' for n in {names!r}), sep=', ')"
    judge = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
    return f"qlib's values by {judge}; the graphs' by onnxruntime {importlib.metadata.version('onnxruntime')}, on {platform.machine()}."


def _group(name: str) -> str:
    """The operator that a case is about."""
    if name in ROLLING or name in PAIRS:
        return name.split("_", maxsplit=1)[0]
    if name in EXPONENTIAL:
        return "EMA"
    return Nodes().lower(parse(OPERATORS[name])).operator


def _document(measured: Mapping[str, tuple[CompiledAlphas, dict[str, Column]]], versions: str) -> str:
    parts = [HEAD, f"Measured: {versions}\n"]
    for name in ("Alpha158", "Alpha360"):
        compiled, columns = measured[name]
        parts += [
            f"## {name}\n",
            f"{len(columns)} features of {', '.join(compiled.fields)} on {compiled.window} days of bars.\n",
            _table("features", columns, lambda feature: re.sub(r"\d+$", "", feature)),
        ]
    compiled, columns = measured["operators"]
    parts += [
        "## Operators\n",
        f"{len(columns)} expressions over prices, volumes, truth values, whole numbers, infinities, rolling results and windows of windows (`tests/alpha_cases.py`).\n",
        _table("operator", columns, _group),
        "## Listed cells\n",
        "At these cells the values may differ by anything; they are not in the tables above. Alpha158 and Alpha360 have none.\n",
        _listed(columns),
        "## Units\n",
        UNITS,
        *(f"{name}:\n\n{_units(compiled.scalings)}" for name, (compiled, _) in measured.items() if name != "operators"),
        "## Unlimited look-back\n",
        f"`EMA`, and `Mean`, `Sum`, `Std` … with a weight between 0 and 1 in the place of a window, read all days of a stock. Their windows are so long that the days before weigh less than {TAIL:g} even after {GAP} days without a value; the manifest's `truncated` says the weight. qlib itself loads only as many days before a query as the window's number, so its values of the first days of a query differ.\n",
        "`Ref` and windows of 0 days (all days from the first one that a query asks for) are refused.\n",
        "## Not compiled\n",
        "| operator | why |\n|---|---|\n" + "".join(f"| `{name}` | {why} |\n" for name, why in NOT_COMPILED.items()),
        "Also refused: later days (`Ref` of a negative number), signs before a series, chained comparisons, and operations for which pandas has no number, such as a difference of truth values.\n",
        "## The logarithm\n",
        "numpy computes a float32 logarithm with errors of up to 4 units in the last place where the processor has AVX2 or AVX-512, and a correlation of logarithms shows them (2e-5 in CORR5). The graph makes the same steps, to the last bit. Where qlib ran on a processor without these instructions, its own last bits differ.",
    ]
    return "\n".join(parts) + "\n"


def _table(title: str, columns: Mapping[str, Column], group_of: Callable[[str], str]) -> str:
    groups: dict[str, Column] = {}
    counts: dict[str, int] = {}
    for name, column in columns.items():
        group = group_of(name)
        groups.setdefault(group, Column()).add(column)
        counts[group] = counts.get(group, 0) + 1
    lines = [f"| {title} | number | cells | identical | largest | NaN |", "|---|---|---|---|---|---|"]
    lines += [_line(group, counts[group], column) for group, column in groups.items()]
    total = Column()
    for column in groups.values():
        total.add(column)
    return "\n".join([*lines, _line("**all**", len(columns), total)]) + "\n"


def _line(name: str, count: int, column: Column) -> str:
    share = "all" if column.identical == column.cells else f"{100 * column.identical / column.cells:.3f} %"
    largest = "0" if column.largest == 0 else f"{column.largest:.1e}"
    return f"| {name} | {count} | {_number(column.cells)} | {share} | {largest} | {column.wrong_nan} |"


def _units(scalings: Mapping[str, Mapping[str, Scaling]]) -> str:
    """What constants do, a line for all features of which the same is derived."""
    lines: dict[tuple[str, str], dict[str, None]] = {}
    counts: dict[tuple[str, str], int] = {}
    for name, units in scalings.items():
        said = _scaling(units.get("price")), _scaling(units.get("volume"))
        group = re.sub(r"\d+$", "", name)
        lines.setdefault(said, {})[name if group in scalings else group] = None
        counts[said] = counts.get(said, 0) + 1
    rows = [f"| {', '.join(groups)} | {counts[said]} | {' | '.join(said)} |" for said, groups in lines.items()]
    return "\n".join(["| features | number | price | volume |", "|---|---|---|---|", *rows]) + "\n"


def _scaling(scaling: Scaling | None) -> str:
    if scaling is None:
        return "–"
    if not scaling.unchanged:
        return "seen"
    words = ", ".join(sorted(scaling.guards | scaling.quantities))
    return "free" if scaling.exact else f"{'must be shown' if scaling.quantities else 'free'} within a range: {words}"


def _number(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _listed(columns: Mapping[str, Column]) -> str:
    lines = ["| expression | why | cells | of these beyond the limit |", "|---|---|---|---|"]
    for name, column in columns.items():
        for kind, (touched, differing) in column.listed.items():
            lines.append(f"| `{OPERATORS[name]}` | {kind} | {_number(touched)} | {differing} |")
    return "\n".join([*lines, "", *_meanings(KINDS.items())]) + "\n"


def _meanings(kinds: Iterable[tuple[str, str]]) -> Iterable[str]:
    return (f"- **{kind}**: {meaning}." for kind, meaning in kinds)


if __name__ == "__main__":
    sys.exit(main())
