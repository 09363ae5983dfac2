"""``make attacks``: runs every hostile test and writes the table of attacks into SECURITY.md.

A hostile test carries ``@pytest.mark.attack("class of attack")``, and every case of it counts as one attempt; a test that
makes many says so: ``@pytest.mark.attack("damaged graphs", attempts=5000)``.  The table has a line for each class: how many
attempts, what came of them, and where they are.  ``--check`` runs nothing and compares classes and attempts with the table.
Ends with 1 where an attempt succeeded, or the table is another one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from run_tests import ENVIRONMENTS

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
MARK = "mark.attack("
DOCUMENT = ROOT / "SECURITY.md"
BEGIN, END = "<!-- attacks: written by make attacks -->", "<!-- attacks: end -->"


@dataclass
class Class:
    """The attempts of one class by what came of them, and the modules that make them."""

    attempts: int = 0
    failed: int = 0
    skipped: int = 0
    places: set[str] = field(default_factory=set)

    def result(self) -> str:
        """In words, for the table."""
        if self.failed:
            return f"**{self.failed} succeeded**"
        ran = self.attempts - self.skipped
        return "all stopped" if not self.skipped else f"{ran} stopped, {self.skipped} not tried on that machine"


class Registry:
    """A plugin of pytest that keeps the hostile tests and counts what becomes of them."""

    def __init__(self) -> None:
        self.classes: defaultdict[str, Class] = defaultdict(Class)
        self.marks: dict[str, tuple[str, int]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Notes the class and the attempts of each hostile test."""
        for item in items:
            mark = item.get_closest_marker("attack")
            if mark is None:
                continue
            name, attempts = str(mark.args[0]), int(mark.kwargs.get("attempts", 1))
            self.marks[item.nodeid] = name, attempts
            self.classes[name].attempts += attempts
            self.classes[name].places.add(item.path.relative_to(ROOT).as_posix())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that is red anywhere, in its fixtures too, is an attempt that succeeded."""
        if report.nodeid not in self.marks or report.passed:
            return
        name, attempts = self.marks.pop(report.nodeid)
        found = self.classes[name]
        if report.skipped:
            found.skipped += attempts
        else:
            found.failed += attempts

    def lines(self, results: bool) -> list[str]:
        """The lines of the table; without `results` as far as they are known before a test runs."""
        found = []
        for name, one in sorted(self.classes.items()):
            places = ", ".join(f"[{Path(place).stem}]({place})" for place in sorted(one.places))
            found.append(f"| {name} | {one.attempts} | " + (f"{one.result()} | {places} |" if results else ""))
        return found


def table_of(text: str) -> tuple[str, list[str], str]:
    """What stands before the table's lines in the document, the lines, and what stands behind them."""
    before, begin, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{DOCUMENT.name} has no place for the table: {BEGIN} … {END}")
    return before, [line for line in inside.splitlines() if line.startswith("| ")][1:], after


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="run nothing, compare the classes with the table")
    parser.add_argument("tests", nargs="*", help="only these, for a look; nothing is written")
    options = parser.parse_args()
    registry = Registry()
    # Only modules with such tests: to import the others takes longer than all that is done here.
    tests = options.tests or [str(path) for path in sorted(TESTS.rglob("test_*.py")) if MARK in path.read_text("utf-8")]
    more = ["--collect-only"] if options.check else []
    os.environ.update({one.variable: python for one in ENVIRONMENTS if (python := one.named()) is not None})
    status = pytest.main(["-q", "-m", "attack", "--rootdir", str(ROOT), *more, *tests], plugins=[registry])
    before, lines, after = table_of(DOCUMENT.read_text(encoding="utf-8"))
    if options.check:
        wanted = registry.lines(results=False)
        right = len(lines) == len(wanted) and all(map(str.startswith, lines, wanted))
        print(
            "the table is that of the tests" if right else f"the table of {DOCUMENT.name} is another one: make attacks"
        )
        return 0 if right else 1
    found = registry.lines(results=True)
    print("\n".join(found))
    if not options.tests and status == pytest.ExitCode.OK:
        head = ["| class of attack | attempts | result | tests |", "|---|---|---|---|"]
        DOCUMENT.write_text(before + "\n".join([BEGIN, "", *head, *found, "", END]) + after, encoding="utf-8")
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main())
