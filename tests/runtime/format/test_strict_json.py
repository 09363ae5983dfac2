"""JSON is counted before it is built."""

from __future__ import annotations

import pytest

from alphaseal.errors import MalformedError
from alphaseal.format import strict_json


@pytest.mark.parametrize("text", ["[" + "[]," * 300_000 + "0]", "[" + "0," * 600_000 + "0]", '"' + r"\"[" * 300_000])
def test_json_of_too_many_parts_is_refused_before_it_is_built(text: str) -> None:
    """A text within its size that becomes a hundred times as much memory is refused by counting."""
    with pytest.raises(MalformedError) as caught:
        strict_json.loads(text.encode(), where="x", maximum_bytes=12 << 20)
    assert caught.value.code == ("json.syntax" if text.startswith('"') else "json.size")


def test_brackets_and_quotes_in_strings_are_no_structure() -> None:
    """Escaped quotes and backslashes inside strings hide no bracket and invent none."""
    value = {'a"[[[': "\\", "b\\": '\\"[{', "c": ['\\\\"']}
    data = strict_json.dumps(value)
    assert strict_json.loads(data, where="x", maximum_bytes=1000) == value
