"""Sessions written for tests: stand-ins for RD-Agent's classes under RD-Agent's own names, pickled for real."""

from __future__ import annotations

import pathlib
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pandas

from alphaseal_converter.session.task import Task, read_task
from locations import FIXTURES

_EXPERIMENT = "rdagent.scenarios.qlib.experiment"
_CLASSES = {
    "Loop": ("rdagent.app.qlib_rd_loop.quant", "QuantRDLoop"),
    "Trace": ("rdagent.scenarios.qlib.proposal.quant_proposal", "QuantTrace"),
    "FactorExperiment": (f"{_EXPERIMENT}.factor_experiment", "QlibFactorExperiment"),
    "ForkFactorExperiment": (f"{_EXPERIMENT}.quant_experiment", "QlibFactorExperiment"),
    "ModelExperiment": (f"{_EXPERIMENT}.model_experiment", "QlibModelExperiment"),
    "Feedback": ("rdagent.core.proposal", "HypothesisFeedback"),
    "Task": ("rdagent.components.coder.factor_coder.factor", "FactorTask"),
    "Workspace": (f"{_EXPERIMENT}.workspace", "QlibFBWorkspace"),
    "Reviews": ("rdagent.components.coder.CoSTEER.evaluators", "CoSTEERMultiFeedback"),
    "Review": ("rdagent.components.coder.CoSTEER.evaluators", "CoSTEERSingleFeedback"),
    "Running": ("rdagent.core.experiment", "RunningInfo"),
}
_MADE: dict[str, type] = {key: type(name, (), {"__module__": module}) for key, (module, name) in _CLASSES.items()}


@cache
def real_task(name: str) -> Task:
    """A task of the full set, read with its own key: this machine's own must not get in the way."""
    key = FIXTURES / name / "artifact_signing.key"
    return read_task(FIXTURES / name, key if key.exists() else None)


class WindowsPath:
    """Pickles as pathlib.WindowsPath does on Windows."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return pathlib.WindowsPath, self.parts


def make(kind: str, **attributes: Any) -> Any:
    """An object of one of RD-Agent's classes with exactly these attributes."""
    made = _MADE[kind]()
    made.__dict__.update(attributes)
    return made


def factor_experiment(
    *names: Any, kind: str = "FactorExperiment", approved: list[Any] | None = None, **more: Any
) -> Any:
    """A factor experiment with one task and workspace per name, and a result."""
    attributes: dict[str, Any] = {
        "sub_tasks": [make("Task", factor_name=name, factor_formulation="f", variables={}) for name in names],
        "sub_workspace_list": [make("Workspace", file_dict={"factor.py": f"# {name}"}) for name in names],
        "experiment_workspace": make("Workspace", file_dict={}, workspace_path=pathlib.PurePosixPath("/gone") / "ab12"),
        "running_info": make("Running", result=pandas.Series({"IC": 0.05})),
    }
    if approved is not None:
        reviews = [None if entry is None else make("Review", final_decision=entry) for entry in approved]
        attributes["prop_dev_feedback"] = make("Reviews", feedback_list=reviews)
    return make(kind, **{**attributes, **more})


def feedback(decision: Any = True, **more: Any) -> Any:
    """A feedback object with this decision."""
    return make("Feedback", decision=decision, reason="because", **more)


def write_snapshot(task: Path, loop: int, step: str, history: list[Any], **trace: Any) -> Path:
    """One snapshot file with this history below `task`."""
    path = task / "__session__" / str(loop) / step
    path.parent.mkdir(parents=True, exist_ok=True)
    with _importable():
        path.write_bytes(pickle.dumps(make("Loop", trace=make("Trace", hist=history, **trace))))
    return path


@contextmanager
def _importable() -> Iterator[None]:
    """pickle looks every class up by its name while it writes."""
    before = dict(sys.modules)
    try:
        for made in _MADE.values():
            parts = made.__module__.split(".")
            for end in range(1, len(parts) + 1):
                sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
            # Two modules may hold one class name; the attribute belongs to the module.
            setattr(sys.modules[made.__module__], made.__name__, made)
        yield
    finally:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]
