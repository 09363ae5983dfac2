"""``python tools/ledger_probe LIBRARY OUT.zip``: what predict of each class reads, and what changes its scores."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import warnings
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

# Before numpy: a child of a process that computes with several threads waits for ever.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ledger_probe.mutations import objects_in, others
from ledger_probe.subject import Case, Subject, Wanted, again, alike, cases
from ledger_probe.tracing import Tracer

_SUBJECTS = 4
"""An attribute is changed in so many of them: a scaler is a scaler in front of any model."""


def of_attributes(
    subject: Subject, packages: tuple[str, ...], reads: dict[str, dict[str, str]], asked: Counter[tuple[str, str]]
) -> list[Wanted]:
    """Each attribute that was read, with each other value that it could have; of some subjects (`asked`), not of all."""
    found = []
    holders = objects_in(subject.trained, packages)
    for owner, names in sorted(reads.items()):
        holder = holders.get(owner)
        for name in sorted(set(names) - {"__dict__"}) if holder is not None else ():
            asked[owner, name] += 1
            if asked[owner, name] > _SUBJECTS:
                continue
            for other in others(vars(holder).get(name, getattr(type(holder), name, None))):
                make = partial(_changed, subject.trained, packages, owner, name, other)
                found.append(Wanted("attribute", owner, name, other, make))
    return found


def _changed(trained: Any, packages: tuple[str, ...], owner: str, name: str, value: Any) -> Any:
    changed = again(trained)
    vars(objects_in(changed, packages)[owner])[name] = value
    return changed


def investigate(module: Any) -> tuple[dict[str, dict[str, str]], set[str], list[tuple[Subject, list[Case]]]]:
    """Attributes by class and native parameters tried over all subjects, and each with its cases, the unchanged one first."""
    reads: dict[str, dict[str, str]] = {}
    tried: set[str] = set()
    results = []
    asked: Counter[tuple[str, str]] = Counter()
    for subject in module.subjects():
        pickled = again(subject.trained)
        with Tracer(*module.PACKAGES) as tracer:
            subject.predict(pickled, subject.rows)
        for owner, names in tracer.reads.items():
            reads.setdefault(owner, {}).update(names)
        if subject.traced_only:
            continue
        unchanged = Wanted("base", "", "", "", partial(again, subject.trained))
        made = cases(subject, [unchanged, *of_attributes(subject, module.PACKAGES, tracer.reads, asked)])
        natives = [Wanted("native", "", *change) for change in subject.natives(subject.trained)]
        tried.update(one.name for one in natives)
        if made[0].scores is not None:
            made += cases(subject, natives, made[0].scores)
        results.append((subject, made))
    return reads, tried, results


def write(out: Path, module: Any) -> None:
    """A zip of ``report.json``, the rows of each subject, and each case's weights and scores."""
    reads, tried, results = investigate(module)
    listed = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (subject, made_of_it) in enumerate(results):
            archive.writestr(f"rows/{number}", _bytes(subject.rows))
            base = made_of_it[0].scores
            for place, made in enumerate(made_of_it):
                key = f"{number}/{place}"
                archive.writestr(f"weights/{key}", made.weights)
                if made.scores is not None:
                    archive.writestr(f"scores/{key}", _bytes(made.scores))
                changed = made.scores is not None and (base is None or not alike(made.scores, base))
                entry = {"key": key, "rows": f"rows/{number}", "columns": subject.rows.shape[1], "changed": changed}
                kept = ("subject", "kind", "owner", "name", "value", "error")
                listed.append({**entry, **{field: getattr(made, field) for field in kept}})
        report = {
            "version": module.VERSION,
            "python": sys.version.split()[0],
            "reads": reads,
            "natives": module.listed_parameters(),
            "tried": sorted(tried),
        }
        archive.writestr("report.json", json.dumps({**report, "cases": listed}))


def _bytes(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    stream.write(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return stream.getvalue()


def main() -> None:
    """The command."""
    warnings.filterwarnings("ignore")
    library, out = sys.argv[1:]
    write(Path(out), importlib.import_module(f"ledger_probe.{library}_subjects"))


if __name__ == "__main__":
    main()
