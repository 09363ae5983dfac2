"""The verb ``alphaseal-convert doctor``: what would stop a conversion on this machine, and whether a model or a task can be read.

Exit status 0 without a finding; otherwise the status of the first: 3 for the machine and for what cannot be opened, 20 for a file
or a task that the converter refuses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from alphaseal.desk import doctor as runtime
from alphaseal.desk.doctor import Check
from alphaseal.terminal.console import Findings, Parser
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.version import __version__

# What converter/pyproject.toml asks for: the oldest that has wheels for the Python that runs.
LIBRARIES = {"onnx": "1.16" if sys.version_info < (3, 13) else "1.18", "jsonschema": "4.18"}
# Its extras: distribution -> (oldest version, extra, what it is for).
EXTRAS = {
    "lightgbm": ("3.3.5", "lightgbm", "judges LightGBM models"),
    "xgboost": ("1.7", "xgboost", "judges XGBoost models"),
    "catboost": ("1.2", "catboost", "judges CatBoost models"),
    "scikit-learn": ("1.3", "sklearn", "builds and judges scikit-learn models"),
    "skl2onnx": ("1.17", "sklearn", "builds scikit-learn models that we do not build ourselves"),
    "torch": ("2.5", "network", "builds and judges networks"),
    "onnxscript": ("0.5", "network", "builds networks"),
}
_TRIAL = "import sys; open('answer.txt', 'w').write('closed off')\n"


def add_doctor(parser: Parser) -> None:
    """The arguments of ``doctor``."""
    parser.add_json()
    parser.add_argument(
        "target", type=Path, nargs="?", metavar="MODEL_FILE|TASK_DIR", help="weights file or task to look at too"
    )


def run_doctor(options: argparse.Namespace) -> Findings:
    """Look at this machine, and at the target where there is one."""
    checks = [
        Check("converter", __version__),
        *runtime.machine(),
        *_libraries(),
        runtime.attempt("isolation", _isolation),
    ]
    if options.target is not None:
        look = _task if options.target.is_dir() else _model
        name = "task" if options.target.is_dir() else "model file"
        checks.append(runtime.look_at(name, lambda: look(options.target), checks))
    return runtime.report(checks)


def versions() -> str:
    """The converter's own libraries with their versions, for ``--version``."""
    return ", ".join(f"{name} {runtime.installed(name) or 'missing'}" for name in (*LIBRARIES, *EXTRAS))


def _libraries() -> Iterator[Check]:
    asked = [(name, minimum, "pip install --upgrade alphaseal-converter") for name, minimum in LIBRARIES.items()]
    for name, (minimum, extra, _) in EXTRAS.items():
        # A missing extra is not a fault: only the family that needs it asks for it.
        if runtime.installed(name) is not None:
            asked.append((name, minimum, f"pip install --upgrade 'alphaseal-converter[{extra}]'"))
    found = {check.name: check for check in runtime.libraries(asked)}
    yield from (found[name] for name in LIBRARIES)
    for name, (_, extra, purpose) in EXTRAS.items():
        absent = Check(name, f"not installed; {purpose} (alphaseal-converter[{extra}])")
        yield found.get(name, absent)


def _isolation() -> str:
    """Whether a program can be isolated here: code of networks and factors runs only isolated."""
    import tempfile

    from alphaseal_converter.isolation.sandbox import run_isolated

    with tempfile.TemporaryDirectory(prefix="alphaseal-doctor-") as directory:
        program = Path(directory) / "trial.py"
        program.write_text(_TRIAL, encoding="utf-8")
        try:
            answer = run_isolated(program, inputs={}, outputs=["answer.txt"], what="a trial program")
        except RefusalError as refusal:
            text = f"not here, so networks and features are refused and factors not tried: {refusal.message}"
            return f"{text}; docs/ci.md says how to allow it"
    assert answer["answer.txt"] == b"closed off"
    return f"works on {sys.platform}: code of networks and factors can run"


def _task(path: Path) -> str:
    """The history and the anchor; workspaces are not looked for."""
    from alphaseal_converter.session.anchor import choose_anchor
    from alphaseal_converter.session.task import read_task

    task = read_task(path)
    anchor = choose_anchor(task)
    unreadable = f", {len(task.unreadable)} snapshots unreadable" if task.unreadable else ""
    return (
        f"task {task.task_id}: {len(task.history)} experiments, {len(task.accepted)} accepted, "
        f"anchor history {anchor.item.index} ({anchor.kind}){unreadable}; next: alphaseal-convert inspect"
    )


def _model(path: Path) -> str:
    """Family and inputs of a weights file, read inertly; nothing of it runs."""
    from alphaseal_converter.families import read_trained_model
    from alphaseal_converter.locate.runs import read_file

    try:
        trained = read_trained_model(read_file(path), str(path))
    except RefusalError as refusal:
        if refusal.code in ("model.code_missing", "model.code_not_allowed"):
            return "network, weights readable; its graph needs the run's model.py: build with --run-model-code"
        raise
    facts = ", ".join(f"{name} {value}" for name, value in trained.facts.items())
    return f"{trained.family} ({trained.class_name}), {trained.feature_count} features, {facts}"
