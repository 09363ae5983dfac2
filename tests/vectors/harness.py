"""Runs the vectors through the command line of a verifier, in any language.  Standard library only.

    python tests/vectors/harness.py --command 'alphaseal' [DIRECTORY]

In a copy of v1/base, with the vector's files laid over it and its `setup` steps done, `COMMAND VERB ARGUMENTS... --json`
must end with the vector's exit status and print one JSON object with its `code`, and with what its `result` says.  Exit
status 1 on any difference.  The vectors of sessions are run the same way, by a command that reads sessions:

    python tests/vectors/harness.py --command 'alphaseal-convert' tests/vectors/sessions
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TIMEOUT = 60
"""Seconds; a verifier that takes longer on a vector hangs."""


def find(directory: Path) -> list[Path]:
    """The vectors of a directory, or the one that it is."""
    return (
        [directory]
        if (directory / "vector.json").exists()
        else sorted(path.parent for path in directory.glob("*/vector.json"))
    )


def read(vector: Path) -> dict[str, Any]:
    """Content of vector.json."""
    value: dict[str, Any] = json.loads((vector / "vector.json").read_bytes())
    return value


def prepare(vector: Path, target: Path) -> dict[str, Any]:
    """The base, the vector's own files over it, then its steps, in `target`.

    OSError or NotImplementedError where this system cannot do a step.
    """
    shutil.copytree(vector.parent / "base", target)
    shutil.copytree(vector, target, dirs_exist_ok=True)
    value = read(vector)
    for step in value.get("setup", []):
        _do(step, target)
    return value


def exchange(vector: dict[str, Any], root: Path, opened: str) -> None:
    """Called when a reader has opened the file `opened` for the first time: do what the race of a vector says of it."""
    for step in vector.get("exchange", []):
        if step["path"] == opened:
            os.replace(root / step["target"], root / step["path"])


def _do(step: dict[str, Any], root: Path) -> None:
    path, operation = root / step["path"], step["op"]
    if operation == "symlink":
        path.symlink_to(step["target"], target_is_directory=(path.parent / step["target"]).is_dir())
    elif operation == "hardlink":
        os.link(root / step["target"], path)
    elif operation == "rename":
        path.rename(root / step["target"])
    elif operation == "remove":
        path.unlink()
    elif operation == "mkdir":
        path.mkdir()
    elif operation == "rmdir":
        path.rmdir()
    elif operation == "write":
        path.write_bytes(step["text"].encode("utf-8"))
    elif operation == "repeat":
        path.write_text(step["before"] + step["text"] * step["count"] + step["after"], encoding="utf-8", newline="")
    elif operation == "files":
        for number in range(step["count"]):
            (path / str(number)).touch()
    elif operation == "extend":
        os.truncate(path, step["size"])
    elif operation == "fifo":
        if not hasattr(os, "mkfifo"):
            raise NotImplementedError("this system has no pipes in directories")
        os.mkfifo(path)
    else:
        raise ValueError(f"unknown step {operation}")


def difference(vector: dict[str, Any], status: int, output: str, errors: str) -> str | None:
    """What is not as the vector says; None where all is."""
    if "Traceback" in errors:
        return "a traceback on standard error"
    try:
        printed = json.loads(output)
        code = printed["code"]
    except (ValueError, KeyError, TypeError):
        return f"exit {status} and no JSON object with a code on standard output"
    found, expected = (status, code), (vector["exit"], vector["code"])
    if found != expected:
        return f"exit {found[0]} {found[1]}, expected {expected[0]} {expected[1]}"
    return _lacking(vector.get("result"), printed.get("result"), "result")


def _lacking(expected: Any, found: Any, path: str) -> str | None:
    """Where `found` does not hold what `expected` says; objects may hold more."""
    if isinstance(expected, dict) and isinstance(found, dict):
        differences = (_lacking(value, found.get(key), f"{path}.{key}") for key, value in expected.items())
        return next((text for text in differences if text is not None), None)
    return None if expected in (None, found) else f"{path} is {found!r}, expected {expected!r}"


def environment(vector: dict[str, Any]) -> dict[str, str]:
    """This process's environment with the vector's variables; those without a value are taken away."""
    changes = vector.get("environment", {})
    kept = {name: value for name, value in os.environ.items() if name not in changes}
    return kept | {name: value for name, value in changes.items() if value is not None}


def run(command: list[str], vector: Path) -> tuple[str, str]:
    """(ok, different or skipped; why) of one vector."""
    with tempfile.TemporaryDirectory(prefix="vector-") as directory:
        copy = Path(directory) / "vector"
        if "exchange" in read(vector):
            return "skipped", "a race, which only the reader's own tests can set up"
        try:
            value = prepare(vector, copy)
        except (OSError, NotImplementedError) as error:
            return "skipped", f"cannot be set up on this system: {error}"
        arguments = [*command, value["verb"], *value["arguments"], "--json"]
        try:
            done = subprocess.run(
                arguments, cwd=copy, env=environment(value), capture_output=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return "different", f"not finished after {TIMEOUT} seconds"
        found = difference(
            value, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )
        return ("ok", "") if found is None else ("different", found)


def main() -> int:
    """Run all vectors and print a table."""
    parser = argparse.ArgumentParser(description="Run the vectors through a verifier.")
    parser.add_argument("--command", required=True, help="the verifier's command, such as 'alphaseal'")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="vectors at once")
    parser.add_argument(
        "directory", nargs="?", type=Path, default=HERE / "v1", metavar="DIRECTORY", help="vectors, or one vector"
    )
    options = parser.parse_args()
    vectors, command = find(options.directory), shlex.split(options.command)
    counts = {"ok": 0, "different": 0, "skipped": 0}
    with ThreadPoolExecutor(options.jobs) as pool:
        for vector, (outcome, why) in zip(vectors, pool.map(lambda path: run(command, path), vectors), strict=True):
            counts[outcome] += 1
            value = read(vector)
            print(f"{outcome:9}  {value['exit']:>3}  {value['code']:28}  {vector.name}  {why}".rstrip())
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    return 1 if counts["different"] or not vectors else 0


if __name__ == "__main__":
    sys.exit(main())
