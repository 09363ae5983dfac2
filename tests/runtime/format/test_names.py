"""The one rule of names and paths."""

from __future__ import annotations

import pytest

from alphaseal.errors import MalformedError
from alphaseal.format import names


@pytest.mark.parametrize("name", ["", "A", "nul", "com1.txt", "a" * 65, "a\n", ".a", "a..b", "é"])
def test_names_outside_the_rule(name: str) -> None:
    """The one rule refuses in its own words, for names and for paths."""
    for check in (names.check_name, names.check_path):
        with pytest.raises(MalformedError):
            check(name, "test")
    with pytest.raises(MalformedError) as caught:
        names.check_path("/".join(["a" * 60] * 3), "test")
    assert caught.value.code == "path.rule"
