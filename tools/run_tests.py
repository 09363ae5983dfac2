"""``make test``: all tests on the cores there are; environments of their own are used where they exist, and made in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Environment:
    """A Python of its own for some tests: the variable that names it, where it may be, and what CI puts into the last place."""

    variable: str
    places: tuple[str, ...]
    requirements: str
    contents: str
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
    ),
    Environment(
        "ALPHASEAL_ADAPTERS_PYTHON",
        (".environments/adapters",),
        "requirements/adapters.txt",
        "MLflow, Spark, Ray and qlib",
    ),
    Environment(
        "ALPHASEAL_OLDEST_ONNXRUNTIME",
        (".environments/onnxruntime-oldest",),
        "requirements/onnxruntime-oldest.txt",
        "the oldest onnxruntime",
        "--only",
    ),
)


def pytest(arguments: list[str], environment: dict[str, str]) -> int:
    """Exit status of one run of pytest."""
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *arguments], cwd=ROOT, env=environment).returncode


def main() -> None:
    """Run pytest and pass its exit status on."""
    missing = [environment for environment in ENVIRONMENTS if environment.named() is None]
    # In CI, both at once: much of the time is waiting for the index.
    for making in [environment.make() for environment in missing if os.environ.get("CI")]:
        making.wait()
    variables = dict(os.environ)
    for environment in ENVIRONMENTS:
        if (python := environment.named()) is None:
            print(f"tests with {environment.contents} are skipped: no {environment.variable}", flush=True)
        else:
            variables[environment.variable] = python
    every = ["-n", "auto", "--dist", "worksteal", "--durations=15", *sys.argv[1:]]
    if sys.argv[1:]:
        raise SystemExit(pytest(every, variables))
    # Spark and Ray bring their own processes, and are started once, on a machine that does nothing else.
    statuses = [
        pytest([*every, "--ignore=tests/runtime/adapters"], variables),
        pytest(["--durations=5", "tests/runtime/adapters"], variables),
    ]
    raise SystemExit(max(statuses, key=abs))


if __name__ == "__main__":
    main()
