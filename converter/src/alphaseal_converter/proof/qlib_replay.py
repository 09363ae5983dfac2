"""Ask qlib for the raw feature values of a run: starts the replay program in the research environment.

qlib is never imported here.  The program is handed a plain configuration and runs with an environment of its own:
no PYTHONPATH, no user site, an empty home, an empty working directory.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from alphaseal.errors import UsageError
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.weights import Located
from alphaseal_converter.proof.request import BuildRequest

PROGRAM = Path(__file__).resolve().parents[1] / "programs" / "replay.py"


@dataclass(frozen=True)
class ReplayRequest:
    """What the replay program needs to know; the fields are explained there.

    `start` and `end` are ISO dates or None (as far as the run's own data go); `out` is the parquet file to write.
    """

    task: Mapping[str, Any]
    workspace: Path
    out: Path
    provider: Path | None = None
    path_map: Sequence[tuple[str, str]] = ()
    start: str | None = None
    end: str | None = None
    allow_workspace_code: bool = False

    def to_json(self) -> str:
        """The request as the program reads it; RefusalError ``replay.task_not_plain`` for anything but plain values."""
        fields = {
            "task": self.task,
            "workspace": str(self.workspace.absolute()),
            "provider": None if self.provider is None else str(self.provider.absolute()),
            "path_map": [list(pair) for pair in self.path_map],
            "start": self.start,
            "end": self.end,
            "out": str(self.out.absolute()),
            "allow_workspace_code": self.allow_workspace_code,
        }
        try:
            return json.dumps(fields, default=_iso_date)
        except (TypeError, ValueError) as error:
            raise RefusalError("replay.task_not_plain", f"the run's task configuration is not plain: {error}") from None


def run_replay(python: Path, request: ReplayRequest, *, seconds: float = 1800) -> Path:
    """Write the run's raw feature values to `request.out` and return that path.

    `python` is the interpreter of an environment with qlib.  Raises RefusalError ``replay.*``: the program's own
    refusals by their code, ``replay.python`` (it cannot be started), ``replay.timeout``, ``replay.failed`` (it died).
    """
    text = request.to_json()
    with tempfile.TemporaryDirectory(prefix="alphaseal-replay-") as scratch:
        # -I: PYTHON* variables, the user's site and the folder of the program stay out of its imports.
        command = [str(python), "-I", str(PROGRAM)]
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, encoding="utf-8", errors="replace",
                timeout=seconds, cwd=scratch, env=_clean_environment(scratch), check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RefusalError("replay.timeout", f"the replay did not end within {seconds:g} seconds") from None
        except OSError as error:
            next_step = "name the Python of the research environment with --replay-with"
            raise RefusalError("replay.python", f"cannot run {python}: {error.strerror}", next_step=next_step) from None
    refusal = _refusal(done)
    if refusal is not None:
        raise refusal
    return request.out


def _iso_date(value: object) -> str:
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} in it")


def _clean_environment(home: str) -> dict[str, str]:
    """Only what a program needs to start; SYSTEMROOT because sockets and randomness need it on Windows."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return kept | {"HOME": home, "USERPROFILE": home, "TMPDIR": home, "TEMP": home, "LANG": "C.UTF-8"}


def _refusal(done: subprocess.CompletedProcess[str]) -> RefusalError | None:
    """The program's reply as an error; None when it succeeded."""
    lines = done.stdout.strip().splitlines()
    try:
        reply = json.loads(lines[-1]) if lines else None
    except ValueError:
        reply = None
    if isinstance(reply, dict) and reply.get("ok") is True and done.returncode == 0:
        return None
    if isinstance(reply, dict) and isinstance(reply.get("message"), str):
        return RefusalError(str(reply.get("code")), reply["message"], next_step=reply.get("next"))
    said = done.stderr.strip().splitlines()
    last = said[-1] if said else f"exit status {done.returncode}"
    return RefusalError("replay.failed", f"the replay program died: {last}")


def no_workspace(located: Located) -> RefusalError:
    """Weights alone say neither the feature order nor how the features were normalised."""
    return RefusalError(
        "workspace.not_found",
        "the session holds the weights, but the workspace that says feature order and preprocessing was not found",
        found="; ".join(problem.text for problem in located.problems),
        next_step="name where workspaces are with --workspace-root or --map FROM=TO; "
        "if the workspace is gone, pass --feature-order and --features, and the bundle will not be ready",
    )


def replay_features(request: BuildRequest, located: Located, out: Path) -> Path:
    """Let the replay program write the raw values of the run's recorded predictions to `out`."""
    if request.replay_with is None:
        raise UsageError(
            "usage.replay",
            "no research environment",
            expected="--replay-with PYTHON, the interpreter of an environment with qlib",
        )
    if located.workspace is None:
        raise no_workspace(located)
    configuration = located.parts.configuration
    if not configuration.recorded:
        raise RefusalError(
            "replay.no_task",
            "the run's task configuration is gone, so qlib cannot rebuild its features",
            expected="artifacts/task in the run",
        )
    dates = located.parts.to_replay().dates
    # Trading days to calendar days, with room for long holidays; the program never leaves what the run itself loaded.
    history = timedelta(days=2 * configuration.step_len + 30) if configuration.step_len is not None else timedelta(0)
    return run_replay(
        request.replay_with,
        ReplayRequest(
            task=configuration.plain,
            workspace=located.workspace,
            out=out,
            provider=request.provider,
            path_map=request.path_maps,
            start=str(dates.min().astype(date) - history),
            end=str(dates.max()),
            allow_workspace_code=request.run_model_code,
        ),
    )
