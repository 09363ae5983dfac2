"""Bundles that tests build once from the real input that a clone carries."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from alphaseal_converter.build import build
from alphaseal_converter.proof.request import BuildRequest
from locations import DATA

FACTOR_PLAIN = DATA / "factor_plain"
DIRECT = ("lgb_nested_loader", "lgb_ordered_loader", "lgb_alpha158_filter")


def truth_of(folder: Path) -> dict[str, Any]:
    """What qlib itself said of a run."""
    truth: dict[str, Any] = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return truth


def raw_values(folder: Path) -> Path:
    """The raw feature values behind a truth folder."""
    return (folder / str(truth_of(folder)["features_file"])).resolve()


def factor_plain_request(out: Path, **changes: Any) -> BuildRequest:
    """The demo's build: an RD-Agent task whose weights are in its session."""
    defaults: dict[str, Any] = {
        "task_directory": FACTOR_PLAIN,
        "workspace_roots": [FACTOR_PLAIN / "workspaces"],
        "features": raw_values(FACTOR_PLAIN / "truth/hist2_factor"),
    }
    return BuildRequest(out=out, **(defaults | changes))


def direct_request(case: str, out: Path, **changes: Any) -> BuildRequest:
    """A qlib run without RD-Agent, found by a scan."""
    folder = DATA / "direct" / case
    defaults: dict[str, Any] = {
        "weights": "scan",
        "workspace_roots": [folder],
        "features": raw_values(folder / "truth"),
    }
    return BuildRequest(out=out, **(defaults | changes))


@cache
def factor_plain_bundle() -> Path:
    """A finished bundle of the demo's task, built once per test process; tests copy it before they change it."""
    return build(factor_plain_request(Path(mkdtemp(prefix="alphaseal-test-")) / "bundle")).path
