"""Measuring whole processes: wall time, CPU time and peak memory, in turns, so that a busy machine disturbs all alike.

Only the standard library is imported here and in run.py: Linux counts the memory of a parent towards its child's peak.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = Path(__file__).resolve().parent / "programs"


@dataclass(frozen=True)
class Usage:
    """One run of a process: seconds, seconds, megabytes of 2**20 bytes, and what it printed."""

    wall: float
    cpu: float
    memory: float
    output: str


def run(command: Sequence[str]) -> Usage:
    """Run a process to its end; SystemExit with its output where it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"bench: {' '.join(command)} ended with {process.returncode}:\n{output[-2000:]}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Usage(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit, output)


def in_turns(commands: Mapping[str, Sequence[str]], repetitions: int) -> dict[str, list[Usage]]:
    """`repetitions` runs of every command, A B C A B C …, after one of each that is not counted (caches, bytecode)."""
    for command in commands.values():
        run(command)
    runs: dict[str, list[Usage]] = {name: [] for name in commands}
    for _ in range(repetitions):
        for name, command in commands.items():
            runs[name].append(run(command))
    return runs


def _environment() -> dict[str, str]:
    """This tree's packages, with bytecode as an installed package has it (make forbids writing it)."""
    paths = [str(ROOT / "runtime" / "src"), str(ROOT / "converter" / "src")]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


@dataclass(frozen=True)
class Goal:
    """A bound of a figure: `at_most` or at least `value`."""

    value: float
    at_most: bool

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.value:g}"

    def met(self, figure: float) -> bool:
        return figure <= self.value if self.at_most else figure >= self.value


@dataclass(frozen=True)
class Row:
    """One line of the table.  `figure` is what the goal speaks of: a ratio, or `ours` itself where `other` is None."""

    what: str
    unit: str
    ours: float
    ours_minimum: float
    other: float | None = None
    other_minimum: float | None = None
    figure: float | None = None
    goal: Goal | None = None
    note: str | None = None

    def met(self) -> bool | None:
        return None if self.goal is None or self.figure is None else self.goal.met(self.figure)


def compare(what: str, unit: str, ours: Sequence[float], other: Sequence[float], goal: Goal | None = None) -> Row:
    """Medians of both sides; the ratio is ours / other where less is asked for, else other / ours (times better)."""
    mine, theirs = statistics.median(ours), statistics.median(other)
    figure = mine / theirs if goal is not None and goal.at_most else theirs / mine
    return Row(what, unit, mine, min(ours), theirs, min(other), figure, goal)


def absolute(what: str, unit: str, ours: Sequence[float], goal: Goal) -> Row:
    """A median against a bound."""
    return Row(what, unit, statistics.median(ours), min(ours), figure=statistics.median(ours), goal=goal)


def not_measured(what: str, why: str) -> Row:
    """A line that says what was missing."""
    return Row(what, "", 0.0, 0.0, note=f"not measured: {why}")


def table(rows: Sequence[Row]) -> str:
    """The rows for people: medians, in brackets the minima."""
    head = ("what", "ours (min)", "other (min)", "ratio", "goal", "met")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )


def _cells(row: Row) -> tuple[str, ...]:
    if row.note is not None:
        return (f"{row.what}: {row.note}", "", "", "", "", "")
    other = "" if row.other is None or row.other_minimum is None else _number(row.other, row.other_minimum, row.unit)
    ratio = "" if row.other is None else f"{row.figure:.2f}"
    met = {True: "yes", False: "NO", None: ""}[row.met()]
    goal = "" if row.goal is None else f"{row.goal}{'' if row.other is not None else ' ' + row.unit}"
    return (row.what, _number(row.ours, row.ours_minimum, row.unit), other, ratio, goal, met)


def _number(median: float, minimum: float, unit: str) -> str:
    return f"{median:.0f} ({minimum:.0f}) MB" if unit == "MB" else f"{median:.3f} ({minimum:.3f}) {unit}"
