"""From a task directory to its history: every snapshot is read, the one with the longest history is used.

RD-Agent writes one snapshot per step, ``__session__/<loop>/<step>_<name>``.  The history grows only in the last steps
of a loop (``record`` in 1.0.0, ``feedback`` in the user's fork) and is empty in ``0/1_coding``, so neither a fixed
name nor a file date finds the right one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from alphaseal.errors import AlphasealError, NotReadableError
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles import read_pickle
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.pickles.signed import SessionKey, find_session_key, open_session_file
from alphaseal_converter.session.history import HistoryItem, read_history, sequence

Progress = Callable[[str], None]

_SNAPSHOT_NAME = re.compile(r"([0-9]{1,9})_(.+)")
_LOOP_NAME = re.compile(r"[0-9]{1,9}")
# Each snapshot is read in a child process of its own; two at a time keep two cores busy and memory bounded.
_CONCURRENT_CHILDREN = 2


@dataclass(frozen=True)
class Snapshot:
    """One snapshot file; `path` is relative to the task directory with forward slashes."""

    path: str
    sha256: str
    loop: int
    step: int
    step_name: str
    signed: bool
    authenticated: bool
    history_length: int


@dataclass(frozen=True)
class UnreadableSnapshot:
    """A snapshot that was refused, with the rule it broke."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True)
class Task:
    """What one task directory says.

    `snapshot` is the one whose history is used, `snapshots` all that were read in order of (loop, step), `globals_`
    every class the chosen snapshot names, none of which was imported.
    """

    task_id: str
    directory: Path
    snapshot: Snapshot
    snapshots: tuple[Snapshot, ...]
    unreadable: tuple[UnreadableSnapshot, ...]
    history: tuple[HistoryItem, ...]
    globals_: tuple[str, ...]

    @property
    def accepted(self) -> tuple[HistoryItem, ...]:
        """The accepted experiments, oldest first."""
        return tuple(item for item in self.history if item.accepted)


@dataclass(frozen=True)
class _File:
    path: Path
    relative: str
    loop: int
    step: int
    step_name: str


@dataclass(frozen=True)
class _Read:
    snapshot: Snapshot
    root: Record
    globals_: tuple[str, ...]


def find_task_directory(directory: Path) -> Path:
    """The ``log/<stamp>`` directory that `directory` is, or is the one parent of; its ``__session__`` stands for it.

    A directory with several tasks below it is refused with their list; one without any is not readable (exit 3).  So is
    a place inside ``__session__``: the newest snapshot is used, and whoever names another must not get that one.
    """
    if directory.resolve().name == "__session__" and directory.is_dir():
        return directory.resolve().parent
    if (
        session := next((part for part in directory.resolve().parents if part.name == "__session__"), None)
    ) is not None:
        raise NotReadableError(
            "task.snapshot",
            "a part of a session, not a task; the newest snapshot of a task is used",
            where=str(directory),
            expected="the task's log/<timestamp> directory",
            next_step=f"name {session.parent}",
        )
    if not directory.is_dir():
        raise NotReadableError("task.not_found", "no such task directory", where=str(directory))
    if (directory / "__session__").is_dir():
        return directory
    found = sorted(
        path.parent
        for pattern in ("*/__session__", "log/*/__session__")
        for path in directory.glob(pattern)
        if path.is_dir()
    )
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotReadableError(
            "task.no_session",
            "no session in this directory",
            where=str(directory),
            expected="__session__/<loop>/<step>_<name>, here or below log/<stamp>",
            next_step="name the task's log/<timestamp> directory",
        )
    raise RefusalError(
        "task.several",
        "several tasks in this directory",
        where=str(directory),
        found=", ".join(path.relative_to(directory).as_posix() for path in found),
        next_step="name one of them",
    )


def read_task(task_dir: Path, key_file: Path | None = None, progress: Progress | None = None) -> Task:
    """Read every snapshot of a task and take the history of the one with the longest, then of the newest.

    The newest snapshot by (loop, step) must be readable: it may hold the longest history, and to use an older one
    without having seen it would be a guess.  Other unreadable snapshots are listed in `Task.unreadable`.  Where a key
    was named (`find_session_key`), a snapshot that it did not sign is none that could be read.
    """
    directory = find_task_directory(task_dir)
    files = _snapshot_files(directory)
    key = find_session_key(key_file)
    best: _Read | None = None
    snapshots: list[Snapshot] = []
    unreadable: list[UnreadableSnapshot] = []
    for number, (file, outcome) in enumerate(_read_all(files, key)):
        if progress:
            progress(f"read {file.relative} ({number + 1} of {len(files)})")
        if isinstance(outcome, AlphasealError):
            if number == 0:
                raise _newest_unreadable(file, outcome)
            unreadable.append(UnreadableSnapshot(file.relative, outcome.code, str(outcome)))
            continue
        snapshots.append(outcome.snapshot)
        if best is None or _rank(outcome.snapshot) > _rank(best.snapshot):
            best = outcome
    assert best is not None, "the newest snapshot was read, or an error was raised"
    trace = best.root.get("trace")
    return Task(
        task_id=directory.resolve().name,
        directory=directory,
        snapshot=best.snapshot,
        snapshots=tuple(sorted(snapshots, key=lambda s: (s.loop, s.step))),
        unreadable=tuple(unreadable),
        history=read_history(trace, best.snapshot.path),
        globals_=best.globals_,
    )


def _rank(snapshot: Snapshot) -> tuple[int, int, int]:
    return snapshot.history_length, snapshot.loop, snapshot.step


def _snapshot_files(directory: Path) -> list[_File]:
    """All snapshot files, newest first by loop and step as NUMBERS ("10" is newer than "9")."""
    files = []
    for loop in (directory / "__session__").iterdir():
        if not (_LOOP_NAME.fullmatch(loop.name) and loop.is_dir()):
            continue
        for path in loop.iterdir():
            match = _SNAPSHOT_NAME.fullmatch(path.name)
            if match and path.is_file():
                relative = path.relative_to(directory).as_posix()
                files.append(_File(path, relative, int(loop.name), int(match[1]), match[2]))
    if not files:
        raise RefusalError(
            "session.empty",
            "the session holds no snapshot",
            where=str(directory / "__session__"),
            expected="<loop>/<step>_<name>",
        )
    return sorted(files, key=lambda f: (f.loop, f.step, f.step_name), reverse=True)


def _read_all(files: list[_File], key: SessionKey | None) -> Iterator[tuple[_File, _Read | AlphasealError]]:
    """Outcomes in the order of `files`; at most `_CONCURRENT_CHILDREN` graphs are read ahead and held."""
    with ThreadPoolExecutor(_CONCURRENT_CHILDREN) as pool:
        # The newest alone first: if it is refused, nothing else needs to be read.
        yield files[0], _read(files[0], key)
        for start in range(1, len(files), _CONCURRENT_CHILDREN):
            chunk = files[start : start + _CONCURRENT_CHILDREN]
            yield from zip(chunk, pool.map(lambda file: _read(file, key), chunk), strict=True)


def _read(file: _File, key: SessionKey | None) -> _Read | AlphasealError:
    try:
        opened = open_session_file(file.path, key)
        contents = read_pickle(opened.payload, where=file.relative)
        root = contents.root
        trace = root.get("trace") if isinstance(root, Record) else None
        if not isinstance(root, Record) or not isinstance(trace, Record):
            raise RefusalError(
                "session.no_trace",
                "the snapshot is not a loop of RD-Agent",
                where=file.relative,
                expected="an object with a trace",
                found=root.class_name if isinstance(root, Record) else type(root).__name__,
            )
        snapshot = Snapshot(
            path=file.relative,
            sha256=opened.sha256,
            loop=file.loop,
            step=file.step,
            step_name=file.step_name,
            signed=opened.signed,
            authenticated=opened.authenticated,
            history_length=len(sequence(trace.get("hist"))),
        )
        return _Read(snapshot, root, tuple(sorted({str(name) for name in contents.globals})))
    except AlphasealError as error:
        return error


def _newest_unreadable(file: _File, error: AlphasealError) -> AlphasealError:
    """The refusal for the newest snapshot; what concerns the named key keeps its own code and its way out."""
    if error.code in ("session.wrong_key", "session.not_signed"):
        return error
    return RefusalError(
        "session.unreadable",
        f"the newest snapshot cannot be read, and an older one may lack its history: {error.message}",
        where=error.where or file.relative,
        expected=error.expected,
        found=error.found,
        next_step=error.next_step or "restore the file, or move it away if you know that it holds nothing new",
    )
