"""Where a conversion starts: at an accepted experiment of a task, or at a workspace that a scan found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from alphaseal_converter.session.anchor import Anchor
from alphaseal_converter.session.task import Task


@dataclass(frozen=True)
class FromTask:
    """The session says what was tried, what was accepted and why."""

    task: Task
    anchor: Anchor

    @property
    def name(self) -> str:
        return self.task.task_id

    @property
    def metrics(self) -> Mapping[str, float | None] | None:
        """The experiment's result."""
        return self.anchor.item.metrics

    @property
    def base_codes(self) -> Mapping[str, str]:
        """Code of the base factors that the experiment started from, by file name."""
        return self.anchor.item.base_feature_codes

    @property
    def model_code(self) -> str | None:
        """The session's copy of ``model.py``."""
        item = self.anchor.item
        workspaces = (item.workspace, *item.sub_workspaces)
        texts = [workspace.file_dict.get("model.py") for workspace in workspaces if workspace is not None]
        return next((text for text in texts if isinstance(text, str)), None)


@dataclass(frozen=True)
class FromScan:
    """No session names the run, so nothing is known of an experiment, its result and its factors."""

    workspace: Path

    metrics: ClassVar[None] = None
    base_codes: ClassVar[Mapping[str, str]] = {}
    model_code: ClassVar[None] = None

    @property
    def name(self) -> str:
        return f"scan-{self.workspace.name}"
