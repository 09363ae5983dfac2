"""The small signed bundle of the fuzzer as a directory, and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import alphaseal
from alphaseal.errors import AlphasealError
from fuzz_bundle import TRUST, small_bundle
from fuzz_mutations import write_tree
from raising import refusal

posix = pytest.mark.skipif(os.name != "posix", reason="links and special files as POSIX has them")


def small_directory(directory: Path) -> Path:
    """The bundle, written below a directory."""
    write_tree(directory / "bundle", dict(small_bundle().files))
    return directory / "bundle"


def refusal_of(path: Path) -> AlphasealError:
    """What opening and verifying says."""
    return refusal(AlphasealError, lambda: alphaseal.open(path, trust=TRUST).verify())
