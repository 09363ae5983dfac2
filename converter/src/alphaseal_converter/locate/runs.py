"""qlib's recorders as plain files: ``mlruns/<experiment>/<run>/{meta.yaml,metrics,artifacts}``.

mlflow is not used: its newest versions refuse the file store that qlib writes.  Nothing outside the workspace is read:
a link that leads out of it is refused.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from alphaseal.errors import NotReadableError
from alphaseal_converter.errors import RefusalError

MEBIBYTE = 1 << 20
_TEXT_LIMIT = 4 * MEBIBYTE
_ARTIFACT_LIMIT = 4096 * MEBIBYTE
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Artifacts:
    """The files of one run that the converter may need; None where absent."""

    params: Path | None = None
    dataset: Path | None = None
    task: Path | None = None
    pred: Path | None = None
    label: Path | None = None
    ic: Path | None = None
    ric: Path | None = None
    report_normal_1day: Path | None = None


@dataclass(frozen=True)
class Run:
    """One recorder.  `end_time` is UTC, None where meta.yaml has none; `metrics` holds the last value of each metric file.

    `metrics_match` is True once they were found equal to the anchor's result.  `complete` runs have weights and
    predictions; a failed run leaves only its task.
    """

    experiment_id: str
    run_id: str
    directory: Path
    end_time: datetime | None
    deleted: bool
    metrics: Mapping[str, float]
    metrics_match: bool
    artifacts: Artifacts

    @property
    def describes_inputs(self) -> bool:
        """It says which features there were, and how they were processed."""
        return (self.artifacts.task is not None or self.artifacts.dataset is not None) and not self.deleted

    @property
    def complete(self) -> bool:
        return self.artifacts.params is not None and self.artifacts.pred is not None and not self.deleted

    @property
    def lacks(self) -> str:
        """What an incomplete run misses, for messages."""
        missing = [
            name
            for name, path in (("params.pkl", self.artifacts.params), ("pred.pkl", self.artifacts.pred))
            if path is None
        ]
        return "deleted in mlflow" if self.deleted else f"without {' and '.join(missing)}"


def plain_file(path: Path, workspace: Path, limit: int = _ARTIFACT_LIMIT) -> Path | None:
    """`path` if it is a regular file of at most `limit` bytes inside `workspace`, links resolved; None if absent."""
    if not path.exists():
        return None
    if not path.resolve().is_relative_to(workspace.resolve()):
        raise RefusalError(
            "workspace.link_outside",
            "a link leads out of the workspace",
            where=str(path),
            found=str(path.resolve()),
            next_step="put the file itself there",
        )
    if not path.is_file():
        return None
    size = path.stat().st_size
    if size > limit:
        raise RefusalError(
            "workspace.file_too_large",
            "a file is larger than the converter reads",
            where=str(path),
            expected=f"at most {limit} bytes",
            found=f"{size} bytes",
        )
    return path


def read_file(path: Path) -> bytes:
    """The bytes of a file that `plain_file` let pass, or `NotReadableError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        raise NotReadableError("file.not_readable", message, where=str(path)) from None


def read_runs(workspace: Path) -> tuple[Run, ...]:
    """All runs below ``mlruns`` of a workspace, ordered by experiment and run id; () without any."""
    found = (run for experiment in _directories(workspace / "mlruns") for run in _directories(experiment))
    return tuple(_run(directory, workspace) for directory in found if _is_run(directory))


def read_result_table(workspace: Path) -> dict[str, float] | None:
    """``qlib_res.csv`` as metric name to value; None where the file is absent."""
    path = plain_file(workspace / "qlib_res.csv", workspace, _TEXT_LIMIT)
    if path is None:
        return None
    lines = read_file(path).decode("utf-8", "replace").splitlines()
    rows = [row for row in csv.reader(lines) if len(row) >= 2]
    return {row[0]: value for row in rows[1:] if (value := _number(row[1])) is not None}


def differing_metrics(expected: Mapping[str, float | None], found: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Names that can be compared, and those of them whose values differ by more than 1e-9 of the value.

    A result that is None (NaN or infinite in the session) equals a recorded value that is not finite; such a pair
    proves nothing and does not count as compared.
    """
    both = sorted(expected.keys() & found.keys())
    compared = [name for name in both if expected[name] is not None or math.isfinite(found[name])]
    return compared, [name for name in compared if not _equal(expected[name], found[name])]


def _equal(expected: float | None, found: float) -> bool:
    return expected is not None and math.isfinite(found) and math.isclose(expected, found, rel_tol=1e-9)


def _directories(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _is_run(directory: Path) -> bool:
    return (directory / "artifacts").is_dir() or (directory / "metrics").is_dir()


def _run(directory: Path, workspace: Path) -> Run:
    meta = _read_meta(directory / "meta.yaml", workspace)
    artifacts = directory / "artifacts"

    def artifact(name: str) -> Path | None:
        return plain_file(artifacts / name, workspace)

    return Run(
        experiment_id=directory.parent.name,
        run_id=directory.name,
        directory=directory,
        end_time=_time(meta.get("end_time")),
        deleted=meta.get("lifecycle_stage") == "deleted",
        metrics=_read_metrics(directory / "metrics", workspace),
        metrics_match=False,
        artifacts=Artifacts(
            params=artifact("params.pkl"),
            dataset=artifact("dataset"),
            task=artifact("task"),
            pred=artifact("pred.pkl"),
            label=artifact("label.pkl"),
            ic=artifact("sig_analysis/ic.pkl"),
            ric=artifact("sig_analysis/ric.pkl"),
            report_normal_1day=artifact("portfolio_analysis/report_normal_1day.pkl"),
        ),
    )


def _read_meta(path: Path, workspace: Path) -> dict[str, str]:
    """The flat ``key: value`` lines of mlflow's meta.yaml; nested or quoted forms do not occur in the keys we need."""
    file = plain_file(path, workspace, _TEXT_LIMIT)
    if file is None:
        return {}
    lines = read_file(file).decode("utf-8", "replace").splitlines()
    pairs = (line.partition(":") for line in lines if line[:1].isalpha())
    return {key: value.strip().strip("'\"") for key, _, value in pairs}


def _time(text: str | None) -> datetime | None:
    """mlflow's milliseconds since 1970; None for ``null`` (a run that never ended) and for nonsense."""
    if text is None or not text.isascii() or not text.isdigit():
        return None
    try:
        return _EPOCH + timedelta(milliseconds=int(text))
    except OverflowError:
        return None


def _read_metrics(directory: Path, workspace: Path) -> dict[str, float]:
    if not directory.is_dir():
        return {}
    values = {}
    for path in sorted(directory.iterdir()):
        file = plain_file(path, workspace, _TEXT_LIMIT)
        value = _last_value(read_file(file).decode("utf-8", "replace")) if file is not None else None
        if value is not None:
            values[path.name] = value
    return values


def _last_value(text: str) -> float | None:
    """The value mlflow calls latest: of all lines ``<ms> <value> <step>`` the one with the highest (step, ms)."""
    best: tuple[int, int] | None = None
    value = None
    for line in text.splitlines():
        parts = line.split()
        number = _number(parts[1]) if len(parts) >= 2 else None
        if number is None or not all(part.lstrip("-").isdigit() for part in (parts[0], *parts[2:3])):
            continue
        key = (int(parts[2]) if len(parts) > 2 else 0, int(parts[0]))
        if best is None or key >= best:
            best, value = key, number
    return value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
