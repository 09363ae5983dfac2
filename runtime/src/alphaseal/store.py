"""The store of the trading side: which bundle is in force, changed in one step, forwards only unless told otherwise.

    bundles/<digest>/   installed bundles, each verified in place before anything names it
    current.json        which one is in force, the highest sequence ever in force, and what was done when
    staging/            a copy in the making; the next install removes what a stopped one left
    sources.json        what anchors showed of sources of bars (`alphaseal.sources`)
    lock                held by the process that changes the store

`current.json` is the only truth of that and is replaced whole, so that a process that is stopped at any instant leaves the old
bundle in force or the new one.  There are no links: it holds on Windows too.  A store holds bundles of one name.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from alphaseal import bundle as bundle_module
from alphaseal.bundle import Bundle
from alphaseal.disk import files, tree
from alphaseal.disk.targets import STORE_STATE
from alphaseal.errors import DigestError, NotReadableError, RollbackError, UsageError
from alphaseal.format import manifest, strict_json
from alphaseal.format.documents import Kind, Rule
from alphaseal.format.parts import Count, Instant, Name, Part, Sha256, Short
from alphaseal.trust.judgement import Trust

T = TypeVar("T", bound=Part)
FORMAT = "1.0"
FILE_NAME = STORE_STATE
MAXIMUM_BYTES = 16 << 20


class Entry(Part, frozen=True, kw_only=True):
    """One bundle of the store."""

    sequence: Count
    digest: Sha256


class Event(Part, frozen=True, kw_only=True):
    """One change of what is in force."""

    action: Literal["install", "rollback"]
    at: Annotated[Instant, Meta(description="by the clock that counted then")]
    sequence: Count
    digest: Sha256
    reason: Short | None


class State(Part, frozen=True, kw_only=True):
    """current.json: everything a store knows, in one file."""

    format: Literal["1.0"]
    name: Annotated[Name, Meta(description="of all bundles of this store")]
    current: Annotated[Entry, Meta(description="in force")]
    highest: Annotated[Entry, Meta(description="of the highest sequence that was ever in force; never goes back")]
    history: Annotated[list[Event], Meta(min_length=1, description="oldest first")]


@dataclass(frozen=True)
class Current:
    """The bundle that is in force."""

    path: Path
    name: str
    sequence: int
    digest: str
    highest_sequence: int


def install(path: str | os.PathLike[str], store: str | os.PathLike[str], *, trust: Trust) -> Current:
    """Verify a bundle wholly, copy it into the store, and put it in force.

    Any error of opening, verifying and the self-test; RollbackError (``store.*``) where it is not newer than what was in
    force, of another name, or in force with other signatures; the store is then as it was.  Installing what is in force
    again changes nothing.
    """
    root = Path(store)
    source = bundle_module.open_bundle(path, trust=trust)
    make(root)
    with locked(root):
        state = _read(root)
        # Before anything is copied: what must not come into force is not kept either.
        _check_succession(state, source)
        target = root / "bundles" / source.digest
        entry = Entry(sequence=source.manifest.sequence, digest=source.digest)
        if state is not None and state.current == entry:
            _check_signatures(target, source)
            _verify(target, source.digest, trust)
        else:
            _copy(root, source, target, trust)
            state = _advance(state, source.manifest.name, entry, trust)
            _write(root, state)
    return _current(root, state)


def rollback(store: str | os.PathLike[str], *, to: int, reason: str, trust: Trust) -> Current:
    """Put the installed bundle of sequence `to` in force again, and record why.

    The highest sequence stays: an install must still be newer than everything that was ever in force.
    """
    root = Path(store)
    if not reason.strip() or len(reason) > 1000:
        raise UsageError(
            "usage.reason",
            "a rollback needs a reason",
            expected="1 to 1000 characters",
            found=f"{len(reason)} characters",
        )
    _require(root)  # a store is made by its first install, not by the lock of a rollback
    with locked(root):
        state = _require(root)
        installed = {event.sequence: event.digest for event in state.history}
        if to == state.current.sequence or to not in installed:
            others = ", ".join(str(sequence) for sequence in sorted(installed) if sequence != state.current.sequence)
            raise UsageError(
                "usage.sequence",
                "no other bundle of that sequence was installed here",
                where=str(root),
                expected=f"one of {others or 'none'}",
                found=str(to),
            )
        _verify(root / "bundles" / installed[to], installed[to], trust)
        entry = Entry(sequence=to, digest=installed[to])
        event = Event(action="rollback", at=trust.now(), sequence=to, digest=entry.digest, reason=reason)
        state = msgspec.structs.replace(state, current=entry, history=[*state.history, event])
        _write(root, state)
    return _current(root, state)


def current(store: str | os.PathLike[str]) -> Current:
    """The bundle in force; NotReadableError where there is none.  The caller who opens the bundle verifies it."""
    root = Path(store)
    return _current(root, _require(root))


def parse(data: bytes, where: str) -> State:
    """Read current.json strictly, version first; MalformedError (``json.*``, ``store.*``)."""
    return document(State).read(data, where)


def document(kind: type[T]) -> Kind[T]:
    """One of the store's files as it is read."""
    version = Rule("store.version", "unknown version of a store", expected=repr(FORMAT))
    return Kind("store.schema", kind, MAXIMUM_BYTES, version=version, known=(FORMAT,))


def _check_succession(state: State | None, source: Bundle) -> None:
    """A newer bundle of the store's name, or the very one that is in force."""
    if state is None:
        return
    name, sequence = source.manifest.name, source.manifest.sequence
    if name != state.name:
        raise RollbackError(
            "store.name",
            "the store holds bundles of another name",
            where=str(source.directory),
            expected=state.name,
            found=name,
            next_step="use another --store",
        )
    highest = state.highest
    if sequence < highest.sequence:
        raise RollbackError(
            "store.sequence",
            "a newer bundle was in force here",
            where=str(source.directory),
            expected=f"a sequence above {highest.sequence}",
            found=str(sequence),
            next_step="to go back on purpose: alphaseal rollback --to SEQUENCE --reason TEXT",
        )
    if sequence == highest.sequence and source.digest != highest.digest:
        raise RollbackError(
            "store.sequence_reused",
            "another bundle of the same sequence was in force here",
            where=str(source.directory),
            expected=f"sha256 {highest.digest}, or a sequence above {highest.sequence}",
            found=f"sha256 {source.digest}",
            next_step="ask the producer: a sequence number is used once",
        )
    if sequence == highest.sequence and state.current != highest:
        raise RollbackError(
            "store.rolled_back",
            "this bundle was rolled back",
            where=str(source.directory),
            expected=f"a sequence above {highest.sequence}",
            found=str(sequence),
            next_step=f"to return to it on purpose: alphaseal rollback --to {sequence} --reason TEXT",
        )


def _copy(root: Path, source: Bundle, target: Path, trust: Trust) -> None:
    """A verified copy at `target`: what is verified is the copy, and it gets its name only then."""
    staging = root / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        os.makedirs(staging)
        files.write_new(staging / manifest.FILE_NAME, manifest.encode(source.manifest))
        if source.envelope is not None:
            files.write_new(staging / tree.ENVELOPE_NAME, source.envelope)
        for entry in source.manifest.files:
            _copy_file(source, entry, staging)
        _verify(staging, source.digest, trust)
        for directory in [*sorted(path for path in staging.rglob("*") if path.is_dir()), staging]:
            files.synchronise_directory(directory)
        os.makedirs(target.parent, exist_ok=True)
        # What an install left that was stopped before anything named it; its signatures may be other ones.
        _remove(target)
        os.rename(staging, target)
        files.synchronise_directory(target.parent)
    except OSError as error:
        raise not_writable(root, error) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copy_file(source: Bundle, entry: manifest.File, staging: Path) -> None:
    place = staging / entry.path
    os.makedirs(place.parent, exist_ok=True)
    descriptor = files.create(place)
    try:
        source.files.check(entry.path, lambda chunk: files.write_all(descriptor, chunk))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(directory: Path) -> None:
    """Take a directory away, if it is there."""
    if os.path.lexists(directory):
        shutil.rmtree(directory)


def _check_signatures(target: Path, source: Bundle) -> None:
    """Leave the bundle in force as it is: the second installer may trust less than the first one.

    A copy without an envelope offers nothing, and one with the same offers nothing new.
    """
    place = target / tree.ENVELOPE_NAME
    try:
        installed = place.read_bytes() if os.path.lexists(place) else None
    except OSError as error:
        raise NotReadableError(
            "store.not_readable", f"the store cannot be read: {error.strerror}", where=str(place)
        ) from None
    if source.envelope is not None and source.envelope != installed:
        raise RollbackError(
            "store.signatures",
            "this bundle is in force with other signatures",
            where=str(source.directory),
            expected="the envelope that was installed"
            if installed is not None
            else "a bundle without an envelope, as it was installed",
            found="another one",
            next_step="to take other signatures: sign a bundle of a new sequence, or install this one into another --store",
        )


def _verify(path: Path, digest: str, trust: Trust) -> None:
    """All steps, V1 to V9, of an installed bundle."""
    # Closed before the copy gets its name: Windows renames no directory whose files are open.
    with bundle_module.open_bundle(path, trust=trust) as bundle:
        if bundle.digest != digest:
            raise DigestError(
                "store.digest",
                "the bundle in the store is another one",
                where=str(path),
                expected=digest,
                found=bundle.digest,
            )
        bundle.verify()
        bundle.selftest()


def _advance(state: State | None, name: str, entry: Entry, trust: Trust) -> State:
    event = Event(action="install", at=trust.now(), sequence=entry.sequence, digest=entry.digest, reason=None)
    history = [*state.history, event] if state is not None else [event]
    return State(format="1.0", name=name, current=entry, highest=entry, history=history)


def _require(root: Path) -> State:
    state = _read(root)
    if state is None:
        raise NotReadableError(
            "store.empty",
            "nothing is installed",
            where=str(root),
            next_step="alphaseal install BUNDLE --store DIR --trust FILE",
        )
    return state


def _read(root: Path) -> State | None:
    data = read_file(root / FILE_NAME)
    return None if data is None else parse(data, str(root / FILE_NAME))


def read_file(place: Path) -> bytes | None:
    """A bounded read of one of the store's files, None where it is not there; NotReadableError `store.not_readable`."""
    try:
        with place.open("rb") as file:
            return file.read(MAXIMUM_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotReadableError(
            "store.not_readable", f"the store cannot be read: {error.strerror}", where=str(place)
        ) from None


def _write(root: Path, state: State) -> None:
    """The step that counts: before it the old bundle is in force, after it the new one."""
    replace_file(root, FILE_NAME, state)


def replace_file(root: Path, name: str, content: Part) -> None:
    """Put a file of the store in its place, whole; NotReadableError `store.not_writable`."""
    plain: dict[str, Any] = msgspec.to_builtins(content)
    data = strict_json.dumps(plain)
    try:
        files.replace(root / name, data)
    except OSError as error:
        raise not_writable(root, error) from None


def _current(root: Path, state: State) -> Current:
    path = root / "bundles" / state.current.digest
    return Current(path, state.name, state.current.sequence, state.current.digest, state.highest.sequence)


def make(root: Path) -> None:
    """The directory of a store, if it is not there; NotReadableError `store.not_writable`."""
    try:
        with suppress(FileExistsError):  # a file of that name: the lock says so
            os.makedirs(root, exist_ok=True)
    except OSError as error:
        raise not_writable(root, error) from None


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the store's lock; the system lets go of it when the process ends, however it ends."""
    try:
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise not_writable(root, error) from None
    try:
        try:
            _lock(descriptor)
        except OSError:
            raise NotReadableError(
                "store.locked",
                "the store is being changed by another process",
                where=str(root),
                next_step="try again when it is done",
            ) from None
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    """OSError where another process holds it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def not_writable(root: Path, error: OSError) -> NotReadableError:
    """What the caller can do about an error of the system while the store is changed."""
    return NotReadableError(
        "store.not_writable",
        f"the store cannot be written: {error.strerror}",
        where=str(root),
        next_step="choose another --store, or make this one writable",
    )
