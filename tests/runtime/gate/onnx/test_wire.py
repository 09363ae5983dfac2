"""The bytes of a model, read strictly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fuzz_mutations import MODEL, Message, parse_message, write_message
from small_models import plain_trees, refusal_of


def with_tree_list(name: bytes, change: Callable[[Message], object]) -> bytes:
    """The plain trees after `change` of the fields of one attribute of the trees."""
    model = parse_message(plain_trees(), MODEL)
    graph = next(field[2] for field in model if field[0] == 7)
    lists = [entry[2] for field in graph if field[0] == 1 for entry in field[2] if entry[0] == 5]
    change(next(entry for entry in lists if entry[0][2] == name))
    return write_message(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda fields: fields.insert(3, [9, 2, b"x"]), "integers of an attribute are damaged"),
        (lambda fields: fields.insert(3, [None, 0, b"\x40" + b"\x80" * 11 + b"\x01"]), "an integer is too long"),
        (lambda fields: fields.insert(3, [None, 0, b"\x40" + b"\x80\x80\x00"]), "not in its shortest form"),
        (lambda fields: fields.pop(), "do not end with its type"),
        (lambda fields: fields.insert(len(fields) - 1, [8, 0, 0]), "differ in length"),
    ],
)
def test_lists_of_numbers_are_read_strictly(change: Callable[[Message], object], words: str) -> None:
    """The quick reading of a tree's numbers refuses what the slow one would."""
    assert words in str(refusal_of(with_tree_list(b"nodes_featureids", change)))


def test_roots_that_are_no_nodes_say_so() -> None:
    """A list of another length says that, before anything else is looked at."""
    assert "differ in length" in str(refusal_of(with_tree_list(b"nodes_trueleafs", lambda fields: fields.pop(1))))
