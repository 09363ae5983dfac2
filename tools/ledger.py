"""What ``predict`` of every supported class reads, held against the ledger: ``ledger.py [LIBRARY ...] [--all]``.

``tools/ledger_probe`` records it with the real library: the Python attributes that are read, and for each of them and
each native parameter what another value does to the scores.  Here each of those objects goes through the converter.
It fails when an attribute is not in the ledger, when a parameter changes a score and is not, when a verdict does not
hold, or when the graph or the judge gives other scores than the object itself.

Without ``--all`` the libraries beside this interpreter are asked; with it also those of older years, each in an
environment of its own, which is made where it is missing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alphaseal.scoring.session import Graph
from alphaseal_converter.comparison.parity import answer, unexplained
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families import TrainedModel, read_trained_model
from alphaseal_converter.ledger import HANDLED, NEUTRAL, REFUSED, Entry
from pythons import find

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = {
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "catboost": "catboost",
    "scikit_learn": "sklearn",
    "qlib": "qlib",
}
"""Name here and in the ledger -> module."""


@dataclass(frozen=True)
class Environment:
    """Libraries of one time: which Python they were made for, and what to install."""

    name: str
    python: str
    requirements: str


OLDER = (
    Environment("ledger-2022", "3.10", "requirements/ledger-2022.txt"),
    Environment("ledger-2024", "3.11", "requirements/ledger-2024.txt"),
)


@dataclass
class Result:
    """One library's version: how much was looked at, and every contradiction."""

    library: str
    version: str
    counts: Counter[str] = field(default_factory=Counter)
    changing: dict[str, set[str]] = field(default_factory=dict)
    """What changes a score -> what became of it."""
    findings: list[str] = field(default_factory=list)
    unchanged: set[tuple[str, str]] = field(default_factory=set)


def hold(library: str, archive: Path) -> Result:
    """The record of one library against its ledger and the converter."""
    ledger = importlib.import_module(f"alphaseal_converter.ledger.{library}")
    with zipfile.ZipFile(archive) as found:
        report = json.loads(found.read("report.json"))
        result = Result(library, report["version"])
        result.findings += unlisted(ledger, report)
        result.counts["classes"] = len(report["reads"])
        result.counts["attributes"] = sum(len(names) for names in report["reads"].values())
        result.counts["parameters"] = len(report["tried"])
        for case in report["cases"]:
            judge_case(result, ledger, case, found)
    return result


def unlisted(ledger: Any, report: Mapping[str, Any]) -> Iterator[str]:
    """Attributes that were read, and parameters that the library lists, of which the ledger says nothing."""
    internal = getattr(ledger, "INTERNAL", ())
    for owner, names in sorted(report["reads"].items()):
        if owner.startswith(internal):
            continue
        known = ledger.ATTRIBUTES.get(owner)
        if known is None:
            yield f"{owner} is not in the ledger; predict reads {', '.join(sorted(names))}"
            continue
        yield from (f"{owner}.{name} is not in the ledger" for name in sorted(set(names) - set(known)))
    for name, others in sorted(report["natives"].items()):
        for other in {name, *others}:
            if ledger.native_key(other) not in ledger.NATIVE:
                yield f"the parameter {other} is not in the ledger"


def judge_case(result: Result, ledger: Any, case: Mapping[str, Any], archive: zipfile.ZipFile) -> None:
    """One changed object: what its library gives, what the converter makes of it, and what the ledger says."""
    name = f"{case['subject']}: {case['owner']}{'.' if case['owner'] else ''}{case['name']} = {case['value']}"
    entry = entry_of(ledger, case)
    if case["error"]:
        result.counts["the library itself fails"] += 1
        if case["kind"] == "base":
            result.findings.append(f"{case['subject']}: {case['error']}")
        return
    if not case["changed"] and case["kind"] != "base":
        # Of the values that change nothing one is enough: would the converter make something of it?
        if (case["owner"], case["name"]) in result.unchanged:
            return
        result.unchanged.add((case["owner"], case["name"]))
    weights = archive.read(f"weights/{case['key']}")
    rows = numbers(archive, case["rows"]).reshape(-1, case["columns"])
    expected = numbers(archive, f"scores/{case['key']}")
    result.counts["objects"] += 1
    made = converted(weights, rows, expected, judged=case["changed"] or case["kind"] == "base")
    if isinstance(made, str):
        outcome, wrong = f"refused: {made}", None
        result.counts[f"refused with {made}"] += 1
    else:
        outcome, wrong = HANDLED, made.differs
        result.findings += [f"{name}: {text}" for text in made.differs]
    if case["changed"]:
        result.counts["change a score"] += 1
        key = f"{case['owner'].rpartition('.')[2]}.{case['name']}" if case["owner"] else case["name"]
        result.changing.setdefault(key, set()).add(outcome if not wrong else "WRONG")
    result.findings += [f"{name}: {text}" for text in contradictions(case, entry, made)]


@dataclass(frozen=True)
class Converted:
    """How graph and judge compare with the object's own scores; empty where they agree."""

    differs: Sequence[str]


def converted(weights: bytes, rows: Any, expected: Any, *, judged: bool) -> Converted | str:
    """What the converter makes of an object, or the code of its refusal; its judge is asked too if `judged`."""
    try:
        model = read_trained_model(weights, "weights")
        scores = Graph(model.graph(()), model.feature_count, "model.onnx").run(rows)
        judge = answer(lambda: model.judge(())) if judged else None
        verdict = None if judge is None else answer(lambda: judge.predict(rows))
    except RefusalError as refusal:
        return refusal.code
    except Exception as fault:  # noqa: BLE001 - a fault of ours is a finding like any other
        return Converted([f"a fault of ours: {type(fault).__name__}: {str(fault).splitlines()[0][:200]}"])
    differs = list(compared(model, "the graph", scores, expected, rows))
    if judge is not None:
        differs += compared(model, judge.name, verdict, expected, rows)
    return Converted(differs)


def compared(model: TrainedModel, who: str, scores: Any, expected: Any, rows: Any) -> Iterator[str]:
    """A sentence where scores are outside the model's bound of those that the object gives."""
    rounding = None if model.rounding is None else model.rounding(())(rows)
    wrong = unexplained(model.bound, np.asarray(scores, dtype=np.float64).ravel(), expected, rounding)
    if wrong.any():
        yield f"{who} differs from the object's own predict in {int(wrong.sum())} of {len(wrong)} rows"


def contradictions(case: Mapping[str, Any], entry: Entry | None, made: Converted | str) -> Iterator[str]:
    """Where the ledger's verdict is not what happened."""
    if case["kind"] == "base":
        # What skl2onnx converts needs the scikit-learn that fitted it, and older ones are not installed here.
        if isinstance(made, str) and made != "model.sklearn_version":
            yield f"refused as it is: {made}"
        return
    if not case["changed"]:
        return
    if entry is None:
        yield "changes a score and is not in the ledger"
    elif entry.verdict == NEUTRAL:
        yield f"changes a score, and the ledger says that it is neutral: {entry.how}"
    elif entry.verdict == REFUSED and made != entry.how:
        yield f"is to be refused with {entry.how}, and was {'refused with ' + made if isinstance(made, str) else 'converted'}"


def entry_of(ledger: Any, case: Mapping[str, Any]) -> Entry | None:
    """The ledger's entry of what was changed."""
    if case["kind"] == "attribute":
        found: Entry | None = ledger.ATTRIBUTES.get(case["owner"], {}).get(case["name"])
        return found
    native: Entry | None = ledger.NATIVE.get(ledger.native_key(case["name"]))
    return native


def numbers(archive: zipfile.ZipFile, name: str) -> Any:
    """float64 values of an entry."""
    return np.frombuffer(archive.read(name), dtype="<f8")


# ---- environments


def probe(python: Path | str, library: str, out: Path) -> str | None:
    """Record one library with an interpreter; what it says where it fails."""
    command = [str(python), str(ROOT / "tools/ledger_probe"), library, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = " | ".join(done.stderr.strip().splitlines()[-3:])
    return None if done.returncode == 0 else f"status {done.returncode}: {said}"


def has(python: Path | str, library: str) -> bool:
    """Whether the interpreter has the library."""
    program = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({LIBRARIES[library]!r}) is None)"
    return subprocess.run([str(python), "-c", program], check=False).returncode == 0


def made(environment: Environment) -> Path | None:
    """The environment's interpreter, made where it is missing; None where this machine has no such Python."""
    place = ROOT / ".environments" / environment.name
    if not (place / ".ready").exists():
        if (python := find(environment.python)) is None:
            return None
        # Without dependencies: all are listed, and a build of XGBoost for CPUs needs no NVIDIA library.
        command = [python, ROOT / "tools/bootstrap.py", place, "--only", ROOT / environment.requirements]
        subprocess.run([str(part) for part in command], check=True)
    return place / "bin/python"


def interpreters(everything: bool) -> Iterator[tuple[str, Path | str]]:
    """Name and interpreter of each environment that is asked."""
    yield "here", sys.executable
    if not everything:
        return
    for environment in OLDER:
        python = made(environment)
        if python is None:
            print(f"{environment.name}: no Python {environment.python} on this machine: not asked", flush=True)
        else:
            yield environment.name, python
    research = ROOT / ".environments/research"
    if (research / ".ready").exists():
        yield "research", research / "bin/python"
    else:
        print("research: not made (make research): qlib's own classes are not asked", flush=True)


def report(result: Result) -> None:
    """The numbers, what changes a score, and every contradiction."""
    counted = ", ".join(f"{count} {what}" for what, count in result.counts.items())
    print(f"{result.library} {result.version}: {counted}")
    for name, outcomes in sorted(result.changing.items()):
        print(f"  {name}: {', '.join(sorted(outcomes))}")
    for finding in result.findings:
        print(f"  ! {finding}")


def main() -> None:
    """The command; ends with 1 where anything contradicts the ledger."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", nargs="*", choices=[*LIBRARIES, []], metavar="LIBRARY")
    parser.add_argument("--all", action="store_true", help="older versions and qlib too, each in its own environment")
    options = parser.parse_args()
    failed = asked = 0
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        for name, python in interpreters(options.all):
            for library in options.libraries or LIBRARIES:
                # The research environment has the versions of this one, and qlib.
                if not has(python, library) or (name == "research" and library != "qlib"):
                    continue
                out = Path(folder) / f"{name}-{library}.zip"
                problem = probe(python, library, out)
                asked += 1
                if problem is not None:
                    failed += 1
                    print(f"{library} in {name}: ! the probe failed: {problem}", flush=True)
                    continue
                result = hold(library, out)
                out.unlink()
                failed += bool(result.findings)
                report(result)
    raise SystemExit(1 if failed or not asked else 0)


if __name__ == "__main__":
    main()
