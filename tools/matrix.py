"""``make matrix``: the tests on every Python, with the lowest and the newest versions of the dependencies; one table.

    matrix.py [--python 3.11 ...] [--versions floor|newest ...] [--fresh] [-- ARGUMENTS OF PYTEST]

``floor`` is what the two pyproject.toml files admit at least (tools/lowest.py), ``newest`` what the index has when the
environment is made (--fresh makes it anew).  A cell's environment is made where it is missing; a Python that this machine
lacks is said so and ends the run with 1, as a test that fails does.  With arguments of pytest these choose the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from dataclasses import dataclass
from pathlib import Path

from pip._vendor.packaging.version import Version

from bootstrap import ROOT
from lowest import lowest, requirements
from pythons import find

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
VERSIONS = ("floor", "newest")
PARTS = ["runtime", "converter"]
SHOWN = ("numpy", "pyarrow", "onnxruntime", "cryptography", "msgspec", "onnx")
# What the tests need beside what is tested, in the newest version that goes with it.
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "pandas", "polars", "duckdb", "lightgbm", "hatchling", "editables")
RUNTIME_TESTS = ["tests/runtime"]
# The converter's reading, weights and graphs: seconds each, without other families' libraries and without foreign code.
LIGHT = (
    "bundle/test_signing.py bundle/test_validate.py bundle/test_write.py decode/test_frames.py families/test_lightgbm.py "
    "families/test_linear.py graph/test_stages.py locate/test_artifacts.py locate/test_weights.py "
    "models/sklearn/test_rounding.py pickles/test_pickles.py processors/test_kinds.py session"
)
CONVERTER_TESTS = [f"tests/converter/{name}" for name in LIGHT.split()]


@dataclass(frozen=True)
class Cell:
    """One Python with one choice of versions."""

    python: str
    versions: str

    @property
    def place(self) -> Path:
        """Directory of its environment."""
        return ROOT / ".environments/matrix" / f"{self.python}-{self.versions}"

    def asked(self) -> list[str]:
        """What pip is asked for: every floor, or every name, and the tools."""
        if self.versions == "floor":
            ours = [f"{name}=={version}" for name, version in lowest(PARTS, self.python).items()]
        else:
            ours = sorted({requirement.name for part in PARTS for requirement in requirements(part, self.python)})
        return [*ours, *TOOLS]

    def interpreter(self, fresh: bool) -> Path | None:
        """The environment's Python, made where it is missing or was made for something else; None without such a Python."""
        asked = self.place.with_suffix(f"{self.place.suffix}.txt")
        text = "\n".join(self.asked()) + "\n"
        ready = self.place / ".ready"
        if fresh or not ready.exists() or asked.read_text(encoding="utf-8") != text:
            shutil.rmtree(self.place, ignore_errors=True)
            if (python := find(self.python)) is None:
                return None
            asked.parent.mkdir(parents=True, exist_ok=True)
            asked.write_text(text, encoding="utf-8")
            subprocess.run([python, ROOT / "tools/bootstrap.py", self.place, "--versions", asked], check=True)
        return self.place / "bin/python"


@dataclass
class Outcome:
    """What one run of pytest said."""

    text: str
    failed: list[str]


def installed(python: Path) -> dict[str, str]:
    """Versions of what is looked at, and the Python's own."""
    program = (
        "import importlib.metadata, json, platform, sys\n"
        "print(json.dumps({n: importlib.metadata.version(n) for n in sys.argv[1:]} | {'Python': platform.python_version()}))"
    )
    names = sorted({*SHOWN, *lowest(PARTS)})
    asked = subprocess.run([python, "-c", program, *names], capture_output=True, text=True, check=True)
    return dict(json.loads(asked.stdout))


def run(python: Path, report: Path, tests: list[str]) -> Outcome:
    """Run pytest with an environment and read what it reports."""
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not report.exists():
        return Outcome("did not run", [(done.stderr or done.stdout).strip().splitlines()[-1]])
    suite = xml.etree.ElementTree.parse(report).getroot()[0]
    wrong = [case for case in suite.iter("testcase") if {"failure", "error"} & {child.tag for child in case}]
    skipped, total = int(suite.get("skipped", 0)), int(suite.get("tests", 0))
    parts = [f"{total - skipped - len(wrong)} passed"]
    parts += [f"{len(wrong)} failed"] if wrong else []
    parts += [f"{skipped} skipped"] if skipped else []
    failed = [f"{case.get('classname')}::{case.get('name')}" for case in wrong]
    # pytest also fails without a failed test: nothing collected, an error of its own.
    return Outcome(", ".join(parts), failed or ([f"pytest ended with {done.returncode}"] if done.returncode else []))


def look(cell: Cell, fresh: bool, chosen: list[str]) -> tuple[list[str], list[str]]:
    """The row of a cell, and everything that is wrong with it."""
    name = f"{cell.python} {cell.versions}"
    python = cell.interpreter(fresh)
    if python is None:
        return [cell.python, cell.versions, *["–"] * len(SHOWN), "no such Python", ""], [
            f"{name}: no Python {cell.python} here"
        ]
    found = installed(python)
    wrong = []
    if cell.versions == "floor":
        for distribution, version in lowest(PARTS, cell.python).items():
            if Version(found[distribution]) != Version(version):
                wrong.append(f"{name}: {distribution} {found[distribution]} is not the floor {version}")
    outcomes = []
    suites = [("chosen", chosen)] if chosen else [("runtime", RUNTIME_TESTS), ("converter", CONVERTER_TESTS)]
    for suite, tests in suites:
        print(f"{name}: {suite} …", flush=True)
        report = cell.place.parent / f"{cell.place.name}-{suite}.xml"
        outcome = run(python, report, [*([] if chosen else ["-n", "auto"]), *tests])
        outcomes.append(outcome.text)
        wrong += [f"{name}: {failed}" for failed in outcome.failed]
    return [found["Python"], cell.versions, *(found[name] for name in SHOWN), *outcomes], wrong


def table(rows: list[list[str]]) -> str:
    """Rows as Markdown, columns aligned; the first is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def main() -> None:
    """Run the cells that are asked for and print one table, then what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument("--versions", nargs="+", choices=VERSIONS, default=VERSIONS)
    parser.add_argument("--fresh", action="store_true", help="make the environments anew")
    parser.add_argument(
        "tests", nargs="*", metavar="ARGUMENT", help="after --: arguments of pytest instead of all tests"
    )
    options = parser.parse_args()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    cells = [Cell(python, versions) for python in options.python for versions in options.versions]
    results = [look(cell, options.fresh, options.tests) for cell in cells]
    suites = ["chosen tests"] if options.tests else ["runtime", "converter, light"]
    print(table([["Python", "versions", *SHOWN, *suites], *(row for row, _ in results)]))
    wrong = [line for _, lines in results for line in lines]
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
