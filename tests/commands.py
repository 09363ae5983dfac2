"""Commands, in this process and in others."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from collections.abc import Callable
from typing import Any


def run(main: Callable[[list[str]], int], *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON object of one of the two commands, in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = main([*map(str, arguments), "--json"])
    answer: dict[str, Any] = json.loads(out.getvalue())
    assert answer["exit"] == status
    return status, answer


def answer_of(main: Callable[[list[str]], int], *arguments: object) -> dict[str, Any]:
    """The JSON object alone."""
    return run(main, *arguments)[1]


def output_of(*command: object, **options: Any) -> str:
    """What a program prints; a failure shows what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)
