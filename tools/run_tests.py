"""``make test``: all tests on the cores there are; the research environment is used where it exists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run pytest and pass its exit status on."""
    environment = dict(os.environ)
    research = ROOT / ".environments/research/bin/python"
    if research.exists():
        environment.setdefault("ALPHASEAL_RESEARCH_PYTHON", str(research))
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--durations=10", *sys.argv[1:]]
    raise SystemExit(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
