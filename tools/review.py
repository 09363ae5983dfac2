"""Writes the examples of docs/review.md: `alphaseal diff --markdown` of real bundles, built here from real leftovers.

``python tools/review.py`` (with torch, and the full set of leftovers beside the repository, for the second example).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
for part in ("runtime/src", "converter/src", "tests"):
    sys.path.insert(0, str(ROOT / part))

from alphaseal.desk.diff import difference
from alphaseal.desk.diff_report import as_markdown
from alphaseal_converter.build import build
from alphaseal_converter.proof.request import BuildRequest
from bundles import factor_plain_request, raw_values
from locations import FIXTURES

DOCUMENT = ROOT / "docs/review.md"


def next_experiment(directory: Path) -> str:
    """The task of the demo, first and last accepted experiment."""
    old = factor_plain_request(directory / "old", anchor="0", features=None, name="demo", sequence=1)
    new = factor_plain_request(directory / "new", name="demo", sequence=2)
    return as_markdown(difference(build(old).path, build(new).path))


def network_for_trees(directory: Path) -> str:
    """A task in which a network takes the place of LightGBM, on two new factors."""
    root = FIXTURES / "quant_signed"
    paths = [
        build(
            BuildRequest(
                out=directory / f"{index}",
                task_directory=root,
                workspace_roots=[root / "workspaces"],
                features=raw_values(root / f"truth/hist{index}_factor"),
                anchor=str(index),
                run_model_code=True,
                name="quant",
                sequence=index + 1,
            )
        ).path
        for index in (0, 2)
    ]
    return as_markdown(difference(*paths))


def example(number: int) -> str:
    """What the document shows as this example."""
    found = re.search(rf"<!-- example {number}: begin -->\n(.*?)<!-- example {number}: end -->", _text(), re.DOTALL)
    if found is None:
        raise SystemExit(f"{DOCUMENT} has no example {number}")
    return found[1].strip()


def _text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def main() -> None:
    """Put both examples into the document."""
    for number, make in enumerate((next_experiment, network_for_trees), 1):
        with TemporaryDirectory() as directory:
            shown = f"<!-- example {number}: begin -->\n{make(Path(directory))}\n<!-- example {number}: end -->"
        pattern = rf"<!-- example {number}: begin -->\n.*?<!-- example {number}: end -->"
        text = re.sub(pattern, shown.replace("\\", r"\\"), _text(), flags=re.DOTALL)
        DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
