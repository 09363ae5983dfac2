"""``make test``: all tests on the cores there are; the research environment is used where it exists, and made in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The full one trains models too and is made by `make research`; the small one has what the tests ask: rdagent and qlib.
ENVIRONMENTS = (ROOT / ".environments/research", ROOT / ".environments/beside")
VARIABLE = "ALPHASEAL_RESEARCH_PYTHON"


def research_python() -> str | None:
    """Python of a research environment: the one that was named, one that is there, or in CI a new one."""
    if named := os.environ.get(VARIABLE):
        return named
    ready = [directory for directory in ENVIRONMENTS if (directory / ".ready").exists()]
    if not ready and os.environ.get("CI"):
        requirements = ROOT / "tools/research/requirements-beside.txt"
        print("making an environment with rdagent and qlib for the tests …", flush=True)
        command = [
            sys.executable,
            str(ROOT / "tools/bootstrap.py"),
            str(ENVIRONMENTS[1]),
            "--research",
            str(requirements),
        ]
        if subprocess.run(command, check=False).returncode == 0:
            ready = [ENVIRONMENTS[1]]
    return str(ready[0] / "bin/python") if ready else None


def main() -> None:
    """Run pytest and pass its exit status on."""
    environment = dict(os.environ)
    python = research_python()
    if python is None:
        print(
            f"no research environment: tests with rdagent and qlib are skipped (make research, or {VARIABLE})",
            flush=True,
        )
    else:
        environment[VARIABLE] = python
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "auto",
        "--dist",
        "worksteal",
        "--durations=15",
        *sys.argv[1:],
    ]
    raise SystemExit(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
