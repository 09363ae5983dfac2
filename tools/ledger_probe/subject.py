"""A trained object, the rows that it is asked about, and the call that a user would make."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np


class Change(NamedTuple):
    """A native parameter, its other value, and what makes the object that has it."""

    name: str
    value: Any
    make: Callable[[], Any]


class Subject(NamedTuple):
    """`rows` float64 [rows, features] are what a table would hold; `predict` makes of them what the class is asked with.

    `natives` yields changes that no attribute shows.
    """

    name: str
    trained: Any
    rows: np.ndarray
    predict: Callable[[Any, np.ndarray], Any]
    natives: Callable[[Any], Iterator[Change]] = lambda trained: iter(())


class Case(NamedTuple):
    """A changed object: `weights` is its pickle (empty where it cannot be pickled), `scores` what its own class gives.

    `error` says why there are none.  `kind` is ``base``, ``attribute`` (of class `owner`) or ``native``.
    """

    subject: str
    kind: str
    owner: str
    name: str
    value: str
    weights: bytes
    scores: np.ndarray | None
    error: str


def again(trained: Any) -> Any:
    """The object as it comes out of its own pickle."""
    return pickle.loads(pickle.dumps(trained))


def case(
    subject: Subject, make: Callable[[], Any], kind: str, owner: str = "", name: str = "", value: Any = ""
) -> Case:
    """What the class itself gives for the object after a pickle."""
    weights, scores, error = b"", None, ""
    try:
        weights = pickle.dumps(make())
    except Exception as problem:  # what cannot be pickled reaches nobody
        error = _said(problem)
    if weights:
        scores, error = scores_of(subject, lambda: pickle.loads(weights))
    return Case(subject.name, kind, owner, name, repr(value)[:80], weights, scores, error)


def scores_of(subject: Subject, make: Callable[[], Any]) -> tuple[np.ndarray | None, str]:
    """float64 [rows], or None and why not: whatever a library makes of a changed object is a finding."""
    try:
        given = np.asarray(subject.predict(make(), subject.rows), dtype=np.float64)
    except Exception as problem:
        return None, _said(problem)
    return (given, "") if given.shape == (len(subject.rows),) else (None, f"scores of shape {given.shape}")


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {str(problem)[:200]}"
