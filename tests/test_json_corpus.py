"""The parsing cases of JSONTestSuite: nothing that is not JSON is read, and what is JSON by a rule of the specification only."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphaseal.errors import MalformedError
from alphaseal.format import strict_json
from locations import SHARED

CORPUS = SHARED / "corpora/json/test_parsing"
CASES = sorted(CORPUS.glob("*.json"))
REFUSED = {
    # Section 7: no key twice.
    "y_object_duplicated_key.json": "json.duplicate_key",
    "y_object_duplicated_key_and_value.json": "json.duplicate_key",
    # Section 7: a number of more than 64 characters.
    "y_number_double_close_to_zero.json": "json.number",
}
"""Cases that are JSON and not JSON of this format, with the rule."""

pytestmark = pytest.mark.skipif(not CASES, reason="shared/corpora/json is not here")


def code_of(path: Path) -> str:
    """``ok``, or the code that the bytes are refused with; any other exception passes through."""
    try:
        strict_json.loads(path.read_bytes(), where=path.name, maximum_bytes=1 << 20)
    except MalformedError as error:
        return error.code
    return "ok"


def _cases(kind: str) -> list[Path]:
    return [path for path in CASES if path.name.startswith(kind)]


@pytest.mark.parametrize("path", _cases("n_"), ids=lambda path: path.stem)
def test_what_is_not_json_is_refused(path: Path) -> None:
    """Every n_ case."""
    assert code_of(path).startswith("json.")


@pytest.mark.parametrize("path", _cases("y_"), ids=lambda path: path.stem)
def test_what_is_json_is_read(path: Path) -> None:
    """Every y_ case, but those that a rule of the specification refuses."""
    assert code_of(path) == REFUSED.get(path.name, "ok")


@pytest.mark.parametrize("path", _cases("i_"), ids=lambda path: path.stem)
def test_what_is_up_to_the_reader_never_crashes(path: Path) -> None:
    """Every i_ case is read or refused by a code of ours."""
    assert code_of(path) == "ok" or code_of(path).startswith("json.")


def test_corpus_is_whole() -> None:
    """All kinds of cases are there, and every exception of ours is one of them."""
    counts = {kind: len(_cases(kind)) for kind in ("n_", "y_", "i_")}
    assert counts == {"n_": 188, "y_": 95, "i_": 35}
    assert set(REFUSED) <= {path.name for path in CASES}
