"""``make test``: all tests on the cores there are; environments of their own are used where they exist, and made in CI.

    run_tests.py [--fast | --coverage | ARGUMENTS OF PYTEST]

``--fast`` (``make test-fast``) runs the tests of a module's own rules, which start nothing and build no bundle of a real task;
``--coverage`` (``make coverage``) runs them in one process, counts the lines of both packages that they reach, and ends with 1
below `LEAST_COVERED` per cent.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAST = [
    "tests/test_architecture.py",
    "tests/test_schema.py",
    "tests/test_spec.py",
    "tests/test_json_corpus.py",
    "tests/runtime/advice",
    "tests/runtime/arrow",
    "tests/runtime/bars/test_calendar.py",
    "tests/runtime/bars/test_conventions.py",
    "tests/runtime/bars/test_jumps.py",
    "tests/runtime/format",
    "tests/runtime/gate/onnx",
    "tests/runtime/gate/parquet",
    "tests/runtime/gate/test_data_golden.py",
    "tests/runtime/gate/test_model.py",
    "tests/runtime/scoring",
    "tests/runtime/tables",
    "tests/runtime/test_errors.py",
    "tests/runtime/test_sealed.py",
    "tests/runtime/trust",
    "tests/converter/bundle/test_validate.py",
    "tests/converter/card/test_card.py",
    "tests/converter/comparison",
    "tests/converter/decode",
    "tests/converter/graph",
    "tests/converter/locate",
    "tests/converter/models",
    "tests/converter/pickles/test_pickles.py",
    "tests/converter/processors",
    "tests/converter/session",
]
ALONE = [f"tests/runtime/adapters/test_{name}.py" for name in ("ray", "spark", "integration_documents")]
"""Spark and Ray bring their own processes, and are started once, on a machine that does nothing else."""
IN_PARALLEL = ["-n", "auto", "--dist", "worksteal"]
LEAST_COVERED = 57.0


@dataclass(frozen=True)
class Environment:
    """A Python of its own for some tests: the variable that names it, where it may be, and what CI puts into the last place."""

    variable: str
    places: tuple[str, ...]
    requirements: str
    contents: str
    target: str
    option: str = "--research"

    def named(self) -> str | None:
        """The interpreter that the variable names, or one that is in its place."""
        ready = [ROOT / place for place in self.places if (ROOT / place / ".ready").exists()]
        return os.environ.get(self.variable) or (str(ready[0] / "bin/python") if ready else None)

    def make(self) -> subprocess.Popen[bytes]:
        """Start to install it."""
        print(f"making an environment with {self.contents} for the tests …", flush=True)
        program, place = ROOT / "tools/bootstrap.py", ROOT / self.places[-1]
        return subprocess.Popen([sys.executable, program, place, self.option, ROOT / self.requirements])


ENVIRONMENTS = (
    # The full one trains models too and is made by `make research`; the small one has what the tests ask: rdagent and qlib.
    Environment(
        "ALPHASEAL_RESEARCH_PYTHON",
        (".environments/research", ".environments/beside"),
        "tools/research/requirements-beside.txt",
        "rdagent and qlib",
        "research",
    ),
    Environment(
        "ALPHASEAL_ADAPTERS_PYTHON",
        (".environments/adapters",),
        "requirements/adapters.txt",
        "MLflow, Spark, Ray and qlib",
        "adapters",
    ),
    Environment(
        "ALPHASEAL_OLDEST_ONNXRUNTIME",
        (".environments/onnxruntime-oldest",),
        "requirements/onnxruntime-oldest.txt",
        "the oldest onnxruntime",
        "test",
        "--only",
    ),
)


def pytest(arguments: list[str], environment: dict[str, str], report: Path | None = None) -> int:
    """Exit status of one run of pytest, which writes its outcomes into `report`."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments, *([f"--junitxml={report}"] if report else [])]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def skipped(reports: list[Path]) -> str:
    """One line: how many tests were skipped, what they need, and the command that runs them; "" where none was."""
    needs: Counter[str] = Counter()
    for report in filter(Path.exists, reports):
        for skip in xml.etree.ElementTree.parse(report).getroot().iter("skipped"):
            reason = skip.get("message", "")
            targets = [one.target for one in ENVIRONMENTS if one.variable in reason]
            full = re.search(r"leftovers|fixtures|full set|real files", reason)
            other = "the full set of leftovers" if full else "something else that is not here"
            needs[targets[0] if targets else other] += 1
    if not needs:
        return ""
    made = [one.target for one in ENVIRONMENTS if one.target in needs]
    parts = [f"{f'make {need}' if need in made else need} ({count})" for need, count in needs.most_common()]
    command = f"; to run them: make {' '.join(made)} && make test" if made else ""
    return f"skipped {needs.total()} tests, which need {', '.join(parts)}{command}"


def variables_of_environments() -> dict[str, str]:
    """The environment's variables with the interpreters that are there; a line for each that is not."""
    variables = dict(os.environ)
    for environment in ENVIRONMENTS:
        if (python := environment.named()) is None:
            print(f"tests with {environment.contents} are skipped: no {environment.variable}", flush=True)
        else:
            variables[environment.variable] = python
    return variables


def everything() -> int:
    """All tests, those of Spark and Ray behind the others; the last line says what was skipped."""
    missing = [environment for environment in ENVIRONMENTS if environment.named() is None]
    # In CI, all at once: much of the time is waiting for the index.
    for making in [environment.make() for environment in missing if os.environ.get("CI")]:
        making.wait()
    variables = variables_of_environments()
    with tempfile.TemporaryDirectory() as directory:
        reports = [Path(directory, name) for name in ("together.xml", "alone.xml")]
        # `make test` has run the architecture test in `make check`.
        ignored = ["tests/test_architecture.py", *ALONE]
        together = [*IN_PARALLEL, "--durations=15", *(f"--ignore={path}" for path in ignored)]
        statuses = [
            pytest(together, variables, reports[0]),
            pytest(["--durations=5", *ALONE], variables, reports[1]),
        ]
        print(skipped(reports), flush=True)
    return max(statuses, key=abs)


def coverage() -> int:
    """The fast tests in one process, and how many lines they reach."""
    program = [sys.executable, "-m", "coverage"]
    tests = subprocess.run([*program, "run", "-m", "pytest", "-q", "-m", "not slow", *FAST], cwd=ROOT, check=False)
    shown = subprocess.run(
        [*program, "report", "--skip-covered", f"--fail-under={LEAST_COVERED}"], cwd=ROOT, check=False
    )
    return tests.returncode or shown.returncode


def main() -> None:
    """Run pytest and pass its exit status on."""
    chosen = sys.argv[1:]
    if chosen == ["--coverage"]:
        raise SystemExit(coverage())
    if chosen == ["--fast"]:
        raise SystemExit(pytest([*IN_PARALLEL, "-m", "not slow", *FAST], dict(os.environ)))
    if chosen:
        raise SystemExit(pytest([*IN_PARALLEL, "--durations=15", *chosen], variables_of_environments()))
    raise SystemExit(everything())


if __name__ == "__main__":
    main()
