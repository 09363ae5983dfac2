"""Errors as they are shown."""

from __future__ import annotations

import pytest

import alphaseal
from alphaseal.errors import NotReadableError
from fuzz_bundle import UNSIGNED


def test_long_places_are_shortened() -> None:
    """A path of thousands of letters leaves its beginning and its end in a message."""
    place = "/".join(["directory"] * 1000) + "/manifest.json"
    error = NotReadableError("bundle.not_readable", "no bundle directory", where=place)
    assert error.where is not None
    assert len(error.where) == 399
    assert error.where.startswith("directory/")
    assert error.where.endswith("/manifest.json")
    for length in (400, 10):
        assert NotReadableError("a.b", "c", where="x" * length).where == "x" * length
    with pytest.raises(NotReadableError) as caught:
        alphaseal.open(place, trust=UNSIGNED)
    assert len(str(caught.value)) < 700
