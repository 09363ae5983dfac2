"""The converter inside an RD-Agent environment: installs beside rdagent and pyqlib, changes neither, imports neither."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from bundles import FACTOR_PLAIN, raw_values
from commands import output_of

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON", "")
needs_research = pytest.mark.skipif(
    not RESEARCH, reason="ALPHASEAL_RESEARCH_PYTHON names no Python with rdagent and qlib"
)


@needs_research
@pytest.mark.slow
def test_pip_would_change_nothing_that_is_there(wheels: Path) -> None:
    """Asked to install both distributions into the research environment, pip adds packages and replaces none."""
    before = dict(
        line.lower().split("==")
        for line in output_of(RESEARCH, "-m", "pip", "list", "--format=freeze").splitlines()
        if "==" in line
    )
    plan = output_of(RESEARCH, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", *wheels.glob("*.whl"))
    added = {
        item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"]
        for item in json.loads(plan)["install"]
    }
    replaced = {
        name: (before[name], version)
        for name, version in added.items()
        if before.get(name, version) != version and not name.startswith("alphaseal")
    }
    assert replaced == {}


@needs_research
@pytest.mark.slow
def test_it_works_there_and_imports_neither(wheels: Path, tmp_path: Path) -> None:
    """An overlay on the research environment builds the bundle in its Python; rdagent and qlib still import afterwards."""
    overlay = tmp_path / "overlay"
    output_of(RESEARCH, "-m", "venv", "--system-site-packages", overlay)
    site = next((overlay / "lib").glob("python*/site-packages"))
    research_site = output_of(RESEARCH, "-c", "import site; print(site.getsitepackages()[0])").strip()
    (site / "research.pth").write_text(research_site, encoding="utf-8")
    python = overlay / "bin/python"
    output_of(python, "-m", "pip", "install", "--quiet", *wheels.glob("*.whl"))
    program = (
        "import sys; from alphaseal_converter.cli import main; status = main(sys.argv[1:]); "
        "loaded = {'rdagent', 'qlib', 'pickle_'} & {name.split('.')[0] for name in sys.modules}; assert not loaded, loaded; sys.exit(status)"
    )
    out = tmp_path / "bundle"
    text = output_of(
        *(python, "-c", program, "build", FACTOR_PLAIN, "--workspace-root", FACTOR_PLAIN / "workspaces"),
        *("--features", raw_values(FACTOR_PLAIN / "truth/hist2_factor"), "--out", out),
    )
    assert text.startswith("ready")
    output_of(
        python,
        "-c",
        "import rdagent, qlib, onnx, mlflow; from qlib.contrib.model.gbdt import LGBModel; from rdagent.core.proposal import Trace",
    )


def test_converter_never_loads_them_here() -> None:
    """In this environment too: a whole build leaves neither rdagent nor qlib among the loaded modules."""
    program = "import sys, alphaseal_converter.build, alphaseal_converter.cli.story; assert not {'rdagent', 'qlib', 'pandas'} & {name.split('.')[0] for name in sys.modules}"
    output_of(sys.executable, "-c", program)
