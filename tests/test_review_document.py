"""The examples of docs/review.md are what `alphaseal diff --markdown` prints."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from locations import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))
try:
    import review
finally:
    sys.path.pop(0)

# What depends on the versions of libraries: digests and sizes of files that name them.
VARYING = {"Which bundles", "File sizes in bytes", "Library versions at conversion"}


def sections(markdown: str) -> dict[str, str]:
    """Text below each heading, digests left out."""
    parts = re.split(r"^### (.*)$", markdown, flags=re.MULTILINE)[1:]
    texts = [re.sub(r"[0-9a-f]{64}", "…", text).strip() for text in parts[1::2]]
    return {title: text for title, text in zip(parts[::2], texts, strict=True) if title not in VARYING}


def test_first_example_is_what_the_command_prints(tmp_path: Path) -> None:
    """Summary, features, scores, metrics, facts and code of the first example, from the tests' own data."""
    assert sections(review.example(1)) == sections(review.next_experiment(tmp_path))


def test_second_example_is_of_another_kind_of_model() -> None:
    """The second example shows a model of another kind, with its steps, numbers and code."""
    shown = sections(review.example(2))
    assert "The model is of another kind: `lightgbm` before, `network` now." in shown["What changed"]
    assert {"Features", "Model", "Steps before the model", "Code (- before, + now)"} <= set(shown)
