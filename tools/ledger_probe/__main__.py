"""``python tools/ledger_probe LIBRARY OUT.zip``: what predict of each class reads, and what changes its scores."""

from __future__ import annotations

import importlib
import io
import json
import sys
import warnings
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ledger_probe.mutations import objects_in, others
from ledger_probe.subject import Case, Subject, again, case, scores_of
from ledger_probe.tracing import Tracer

_VALUES = 2


def attribute_cases(subject: Subject, packages: tuple[str, ...], reads: dict[str, dict[str, str]]) -> list[Case]:
    """One case for each attribute that was read and each other value that it could have."""
    found = []
    for owner, names in sorted(reads.items()):
        for name in sorted(names):
            holder = objects_in(subject.trained, packages).get(owner)
            if holder is None or name == "__dict__":
                continue
            for other in others(vars(holder).get(name, getattr(type(holder), name, None))):
                make = partial(_changed, subject.trained, packages, owner, name, other)
                found.append(case(subject, make, "attribute", owner, name, other))
    return found


def _changed(trained: Any, packages: tuple[str, ...], owner: str, name: str, value: Any) -> Any:
    changed = again(trained)
    vars(objects_in(changed, packages)[owner])[name] = value
    return changed


def native_cases(subject: Subject, base: np.ndarray, tried: set[str]) -> list[Case]:
    """One case for each native parameter's value that changes a score, and one of a value that does not.

    Of each name two values that the library takes are tried, so that a value out of its range hides nothing.
    """
    found: list[Case] = []
    quiet, taken = False, Counter()
    for change in subject.natives(subject.trained):
        tried.add(change.name)
        if taken[change.name] == _VALUES:
            continue
        scores, _ = scores_of(subject, change.make)
        if scores is None:
            continue
        taken[change.name] += 1
        changed = not np.array_equal(scores, base, equal_nan=True)
        if changed or not quiet:
            found.append(case(subject, change.make, "native", "", change.name, change.value))
        quiet = quiet or not changed
    return found


def investigate(module: Any) -> tuple[dict[str, dict[str, str]], set[str], list[tuple[Subject, list[Case]]]]:
    """Attributes by class and native parameters tried over all subjects, and each with its cases, the unchanged one first."""
    reads: dict[str, dict[str, str]] = {}
    tried: set[str] = set()
    results = []
    for subject in module.subjects():
        pickled = again(subject.trained)
        with Tracer(*module.PACKAGES) as tracer:
            subject.predict(pickled, subject.rows)
        for owner, names in tracer.reads.items():
            reads.setdefault(owner, {}).update(names)
        cases = [case(subject, partial(again, subject.trained), "base")]
        cases += attribute_cases(subject, module.PACKAGES, tracer.reads)
        if cases[0].scores is not None:
            cases += native_cases(subject, cases[0].scores, tried)
        results.append((subject, cases))
    return reads, tried, results


def write(out: Path, module: Any) -> None:
    """A zip of ``report.json``, the rows of each subject, and each case's weights and scores."""
    reads, tried, results = investigate(module)
    listed = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (subject, cases) in enumerate(results):
            archive.writestr(f"rows/{number}", _bytes(subject.rows))
            base = cases[0].scores
            for place, made in enumerate(cases):
                key = f"{number}/{place}"
                archive.writestr(f"weights/{key}", made.weights)
                if made.scores is not None:
                    archive.writestr(f"scores/{key}", _bytes(made.scores))
                changed = made.scores is not None and not np.array_equal(made.scores, base, equal_nan=True)
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
