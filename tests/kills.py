"""Stopping a process at every single thing that it does to the disk.

`python tests/kills.py install STORE_BEFORE BUNDLE TRUST SCRATCH` (``rollback``, ``sign`` too) runs the action again and
again in a forked child that ends without warning at its first, second, third … write, flush, rename, new file or new
directory, a write half done; after each it prints what is in force, as one line of JSON, and what the same action does when it is tried again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import alphaseal
from alphaseal import store
from alphaseal.scoring import selftest

STOPPED = 77
AGAIN_EVERY = 3  # after how many of the stops the same action is tried again; flushing takes the time here
CALLS = ("write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "open")


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked")


def killed(verb: str, before: Path, other: object, tmp_path: Path, trust: Path) -> list[dict[str, Any]]:
    """What this program saw, one entry for each place where the process was stopped; the last one was not."""
    arguments = [sys.executable, __file__, verb, str(before), str(other), str(trust), str(tmp_path / "scratch")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert {entry["status"] for entry in seen[:-1]} == {STOPPED}
    assert seen[-1]["status"] == 0
    return seen


def _stop_at(number: int) -> None:
    """From now on this process ends at its `number`-th call that changes the disk."""
    left = number

    def watched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal left
            if name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR):
                return original(*arguments, **keywords)
            left -= 1
            if left == 0:
                if name == "write":
                    original(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os._exit(STOPPED)
            return original(*arguments, **keywords)

        return call

    for name in CALLS:
        setattr(os, name, watched(name, getattr(os, name)))


def in_child(action: Callable[[], object], number: int | None) -> int:
    """Exit status of `action` in a child that is stopped at its `number`-th change (None: not at all)."""
    child = os.fork()
    if child == 0:
        try:
            if number is not None:
                _stop_at(number)
            action()
        except alphaseal.AlphasealError as error:
            os._exit(error.exit)
        else:
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(verb: str, before: Path, other: str, trust_path: Path, scratch: Path) -> None:
    """See the module; `other` is the bundle to install, the sequence to go back to, or the key to sign with."""
    trust = alphaseal.Trust.load(trust_path)
    # The self-test reads and computes; it changes nothing on the disk, and would take most of the time here.
    selftest.run = lambda *_: None  # type: ignore[assignment]
    number = 0
    while True:
        number += 1
        place = scratch / "place" / "it"
        shutil.rmtree(place.parent, ignore_errors=True)
        place.parent.mkdir(parents=True)
        if before.exists():
            shutil.copytree(before, place)

        def action(place: Path = place) -> object:
            if verb == "install":
                return store.install(other, place, trust=trust)
            if verb == "rollback":
                return store.rollback(place, to=int(other), reason="test", trust=trust)
            from alphaseal_converter.bundle import signing

            return signing.sign(place, signing.read_signing_key(other, None))

        status = in_child(action, number)
        found = _in_force(place, trust) if verb != "sign" else _signed(place)
        seen = {"status": status, "found": found}
        if number % AGAIN_EVERY == 0 or status != STOPPED:
            seen["again"] = in_child(action, None)
            seen["after"] = _in_force(place, trust) if verb != "sign" else _signed(place)
        print(json.dumps(seen), flush=True)
        if status != STOPPED:
            return


def _in_force(place: Path, trust: alphaseal.Trust) -> int | None:
    """Sequence of the bundle in force after it was verified wholly; None where nothing is."""
    try:
        current = store.current(place)
    except alphaseal.AlphasealError as error:
        if error.code != "store.empty":
            raise
        return None
    return alphaseal.open(current.path, trust=trust).verify().sequence


def _signed(place: Path) -> bool:
    """Whether the bundle is signed; it opens either way."""
    return alphaseal.open(place, trust=alphaseal.Trust.unsigned()).verify().signed


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]))
