"""A trained object, the rows that it is asked about, and the call that a user would make."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

_SECONDS = 60
"""For one answer; a child that takes longer waits for itself."""


class Change(NamedTuple):
    """A native parameter, its other value, and what makes the object that has it."""

    name: str
    value: Any
    make: Callable[[], Any]


class Subject(NamedTuple):
    """`rows` float64 [rows, features] are what a table would hold; `predict` makes of them what the class is asked with.

    `natives` yields changes that no attribute shows.  Of what is `traced_only` no object goes to the converter.
    """

    name: str
    trained: Any
    rows: np.ndarray
    predict: Callable[[Any, np.ndarray], Any]
    natives: Callable[[Any], Iterator[Change]] = lambda trained: iter(())
    traced_only: bool = False


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


class Wanted(NamedTuple):
    """A case that is to be made: what `Case` says of it, and what makes the object."""

    kind: str
    owner: str
    name: str
    value: Any
    make: Callable[[], Any]


def cases(subject: Subject, wanted: list[Wanted], base: np.ndarray | None = None) -> list[Case]:
    """What the class itself gives for each object after a pickle.

    With `base`, its scores unchanged, only of objects that give other ones, and of the first that does not.  All are
    asked in a child process, because a changed object can end the process or wait for itself; then another goes on.
    """
    found: list[Case] = []
    done = 0
    while done < len(wanted):
        answers, ended = _child(lambda: _answers(subject, wanted[done:], base))  # noqa: B023 - called before it changes
        found += [answer for answer in answers if answer is not None]
        done += len(answers)
        if done < len(wanted):
            found.append(_failed(subject, wanted[done], ended))
            done += 1
    return found


def _answers(subject: Subject, wanted: list[Wanted], base: np.ndarray | None) -> Iterator[Case | None]:
    quiet = False
    for one in wanted:
        if base is not None:
            scores, _ = _asked(subject, one.make)
            same = scores is not None and alike(scores, base)
            if scores is None or (same and quiet):
                yield None
                continue
            quiet = quiet or same
        yield _case(subject, one)


def alike(scores: np.ndarray, base: np.ndarray) -> bool:
    """Whether they differ by no more than products do that a library adds in another order from call to call."""
    size = np.abs(base[np.isfinite(base)]).max(initial=0.0)
    return bool(np.allclose(scores, base, rtol=1e-12, atol=1e-12 * size, equal_nan=True))


def _case(subject: Subject, one: Wanted) -> Case:
    try:
        weights = pickle.dumps(one.make())
    except Exception as problem:  # what cannot be pickled reaches nobody
        return _failed(subject, one, _said(problem))
    scores, error = _asked(subject, lambda: pickle.loads(weights))
    return Case(subject.name, one.kind, one.owner, one.name, repr(one.value)[:80], weights, scores, error)


def _failed(subject: Subject, one: Wanted, error: str) -> Case:
    return Case(subject.name, one.kind, one.owner, one.name, repr(one.value)[:80], b"", None, error)


def _asked(subject: Subject, make: Callable[[], Any]) -> tuple[np.ndarray | None, str]:
    """The scores, or why there are none: whatever a library makes of a changed object is a finding."""
    try:
        # A copy: a transformer with copy=False changes what it is given.
        given = np.asarray(subject.predict(make(), subject.rows.copy()), dtype=np.float64)
    except Exception as problem:
        return None, _said(problem)
    return (given, "") if given.shape == (len(subject.rows),) else (None, f"scores of shape {given.shape}")


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {str(problem)[:200]}"


def _child(ask: Callable[[], Iterator[Any]]) -> tuple[list[Any], str]:
    """The answers that a child process gives one after the other until it ends, and how it ended."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        with os.fdopen(sending, "wb") as stream:
            for answer in ask():
                signal.alarm(_SECONDS)
                pickle.dump(answer, stream)
                stream.flush()
        os._exit(0)
    os.close(sending)
    answers = []
    with os.fdopen(receiving, "rb") as stream:
        while True:
            try:
                answers.append(pickle.load(stream))
            except (EOFError, pickle.UnpicklingError):
                break
    _, status = os.waitpid(child, 0)
    return answers, f"the process ended with status {status}"
