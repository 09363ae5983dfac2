"""Where the tests find real input."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "tests" / "data"
"""Small real files that a clone of the project alone carries."""
SHARED = REPOSITORY.parent / "shared"
FIXTURES = SHARED / "fixtures"
"""The full set of leftovers of RD-Agent and qlib; absent in a clone of the project alone."""
