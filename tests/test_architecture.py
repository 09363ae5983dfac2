"""The rules of the house that no single module can see."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from locations import REPOSITORY

RUNTIME = REPOSITORY / "runtime/src/alphaseal"
CONVERTER = REPOSITORY / "converter/src/alphaseal_converter"
STANDARD = set(sys.stdlib_module_names)
RUNTIME_MAY = {"alphaseal", "numpy", "onnxruntime", "pyarrow", "cryptography", "msgspec"}
CONVERTER_MAY = RUNTIME_MAY | {"alphaseal_converter", "onnx", "jsonschema"}
# The original libraries as judges of their own family's numbers, each in its own module and nowhere else.
JUDGES = {
    "families/lightgbm_live.py": {"lightgbm"},
    # A wrapper that was fitted on a frame is asked with a frame.
    "families/live.py": {"pandas"},
    "families/xgboost.py": {"xgboost"},
    "families/catboost.py": {"catboost"},
    "families/sklearn_live.py": {"sklearn"},
    "families/sklearn_skl2onnx.py": {"skl2onnx", "sklearn"},
    "export_program.py": {"torch"},
}
# A bundle inside another system: each adapter names its own and no other module does, and none is imported by another.
# qlib.py is the second file that may name qlib: it is a model of qlib, so it runs where qlib is and nowhere else.
ADAPTERS = {
    "qlib.py": {"qlib", "pandas"},
    "mlflow.py": {"mlflow", "pandas"},
    "spark.py": {"pyspark"},
    "ray.py": set(),
}
# The replay program is run by the research environment's own Python and is the only file that may name qlib.
REPLAY_PROGRAM = CONVERTER / "replay_program.py"
# The factors' code needs pandas; the program that runs it is run isolated, by the research environment's own Python.
FACTOR_PROGRAM = CONVERTER / "factor_program.py"
EXECUTING = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "runpy"}


def modules(root: Path) -> list[Path]:
    """All Python files of a package."""
    return sorted(path for path in root.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Top-level names of everything a file imports, anywhere in it; relative imports are of its own package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", modules(RUNTIME), ids=lambda path: path.name)
def test_runtime_imports_only_its_dependencies(path: Path) -> None:
    """The runtime needs five distributions and never the converter."""
    assert set(imports(path)) - STANDARD <= RUNTIME_MAY


@pytest.mark.parametrize("path", modules(CONVERTER), ids=lambda path: path.name)
def test_converter_never_imports_rdagent_or_qlib(path: Path) -> None:
    """No module of the converter imports the libraries whose pickles it reads, but replay program and qlib's adapter."""
    name = path.relative_to(CONVERTER).as_posix()
    judges = JUDGES.get(name, set()) | ADAPTERS.get(name, set())
    allowed = CONVERTER_MAY | judges | ({"numpy", "pandas", "qlib"} if path == REPLAY_PROGRAM else set())
    allowed |= {"numpy", "pandas"} if path == FACTOR_PROGRAM else set()
    assert set(imports(path)) - STANDARD <= allowed


@pytest.mark.parametrize("path", modules(CONVERTER), ids=lambda path: path.name)
def test_adapters_are_imported_by_nobody(path: Path) -> None:
    """The converter does without the systems that its adapters serve."""
    names = {Path(name).stem for name in ADAPTERS}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("alphaseal_converter")):
            assert (node.module or "").split(".")[-1] not in names
            assert not names & {alias.name for alias in node.names}


@pytest.mark.parametrize("path", modules(RUNTIME) + modules(CONVERTER), ids=lambda path: path.name)
def test_nothing_can_execute_what_a_file_says(path: Path) -> None:
    """No module imports an unpickler, and none calls eval, exec, compile or __import__."""
    assert not set(imports(path)) & EXECUTING
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__"}


def test_runtime_is_importable_without_posix_modules() -> None:
    """Every module of the runtime imports on a system without resource, fcntl, pwd, grp, termios (Windows has none)."""
    program = (
        "import sys, importlib, pathlib\n"
        "for name in ('resource', 'fcntl', 'pwd', 'grp', 'termios', 'tty', 'pty', 'posix_ipc'): sys.modules[name] = None\n"
        f"for path in sorted(pathlib.Path({str(RUNTIME)!r}).rglob('*.py')):\n"
        "    if path.stem != '__main__': importlib.import_module('alphaseal.' + path.stem if path.stem != '__init__' else 'alphaseal')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_no_private_place_is_named() -> None:
    """No file of the project names a directory of a machine or the host of a package registry."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    private = re.compile(r"(?<![\w.])/(?:work|opt/envs|root|home/\w+)/|pypi\.org|registry\.npmjs|files\.pythonhosted")
    found = []
    for name in listed.decode().split("\0"):
        path = REPOSITORY / name
        if (
            path.suffix in {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".cfg", ".sh", ""}
            and path.is_file()
        ):
            text = path.read_bytes().decode("utf-8", "replace")
            if path != Path(__file__) and private.search(text) and not name.startswith("tests/data/"):
                found.append(name)
    assert found == []


PRINTING = {
    "print": {"console.py", "replay_program.py", "isolation_places.py"},
    "Printable": {"plain_text.py"},
    "complain": {"cli.py", "console.py"},
}
"""Who may call what; the programs among them answer the process that started them."""


@pytest.mark.parametrize("path", [*modules(RUNTIME), *modules(CONVERTER)], ids=lambda path: path.name)
def test_only_the_console_prints(path: Path) -> None:
    """Nobody else prints or writes to the standard streams, and `Printable` is made where texts are escaped, nowhere else."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PRINTING:
            assert path.name in PRINTING[node.func.id], f"{path.name}:{node.lineno}"
        # isatty and the like do no harm, and a child's answer is read by its parent.
        if isinstance(node, ast.Attribute) and node.attr in ("write", "writelines") and path.name != "console.py":
            assert ast.unparse(node.value) not in ("sys.stdout", "sys.stderr", "sys.stdout.buffer"), (
                f"{path.name}:{node.lineno}"
            )
