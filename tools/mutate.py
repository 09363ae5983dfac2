"""``make mutants``: every `raise` of the verifier and of the sandbox replaced by nothing, one at a time; a test must turn red.

First the tests run once with every `raise` reporting itself, which tells the tests that reach it.  Then each mutant is put
first on the path of a forked process that has the heavy libraries loaded, and those tests run until one fails.  A `raise`
that no test reaches has survived, and so has one without which its tests stay green.  Calls of a local ``refuse(…)`` count
as a `raise`.  Of the sandbox, which runs in processes of its own, each step that closes it off counts too (`_STEPS`), and all of
its tests are run against each mutant.  Ends with 1 below ``--least`` per cent killed.  For Linux and macOS: processes are forked.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "runtime/src/alphaseal"
CONVERTER_SOURCES = ROOT / "converter/src/alphaseal_converter"
PACKAGE = Path(tempfile.mkdtemp(prefix="mutate-")) / "alphaseal"
CONVERTER = PACKAGE.with_name("alphaseal_converter")
"""The sources as they were at the start, whoever works on them meanwhile."""
MODULES = (
    "sealed", "bundle", "disk.verified", "disk.tree", "format.names", "format.strict_json", "format.manifest",
    "format.factor_rules",
    "trust.envelope", "trust.keys", "trust.judgement", "trust.policy", "scoring.selftest", "scoring.golden",
    "gate.model", "gate.data", "gate.onnx.wire", "gate.onnx.parts", "gate.onnx.shapes", "gate.onnx.layers",
    "gate.onnx.trees", "gate.onnx.rows", "gate.parquet.footer", "gate.parquet.thrift", "gate.parquet.pages",
    "advice.strategy", "advice.picks", "advice.drift", "format.documents", "trust.conditions",
)  # fmt: skip
_WALLS = (
    "tests/converter/isolation/test_sandbox_probes.py",
    "tests/converter/isolation/test_sandbox_denied.py",
    "tests/converter/isolation/test_sandbox.py",
)
SANDBOX = {
    **dict.fromkeys(("isolation.sandbox", "isolation.launcher", "isolation.runner"), _WALLS),
    "isolation.plain_table": ("tests/converter/isolation/test_plain_table.py",),
    "factors.process": (
        "tests/converter/factors/test_process.py",
        "tests/converter/factors/test_compute.py",
        "tests/converter/factors/test_bars_check.py",
    ),
    "factors.search": ("tests/converter/factors/test_trial.py",),
}
"""Modules of the converter, with the tests that must notice."""
_STEPS = ("checked", "seal", "set_limits", "install_filter", "prove", "drop_rights")
TESTS = (
    "tests/runtime", "tests/test_vectors.py::test_vector", "tests/test_json_corpus.py",
    "tests/converter/bundle/test_signing.py", "tests/test_end_to_end.py::test_changed_bundle_is_refused",
    "tests/test_end_to_end.py::test_scoring_verifies_what_it_uses_when_it_uses_it", "tests/test_opened_once.py",
)  # fmt: skip
LEFT_OUT = (
    "adapters",
    "test_model_mutations.py",
    "test_pipeline.py",
    "test_features.py",
    "test_store.py",
    "test_cross_section.py",
    "test_windows.py",
    "test_imports.py",
)
"""Slow, or of what reads and scores tables: that is no part of the verifier.  The fuzz of tests/test_fuzz.py is left out too:
it takes so long that a mutant would count as killed by the clock."""
HEAVY = (
    "numpy",
    "pyarrow",
    "pyarrow.parquet",
    "onnxruntime",
    "onnx",
    "msgspec",
    "cryptography",
    "jsonschema",
    "lightgbm",
    "pandas",
    "polars",
    "pytest",
    "hypothesis",
)
_SECONDS = 120
_SANDBOX_SECONDS = 900
_FEW = 6
"""Tests of a first try; most mutants fall to them."""
_REPORT = "__import__('_reached').reached({})"
_REACHED = """
import os
_seen = set()
def reached(place):
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if test and (place, test) not in _seen:
        _seen.add((place, test))
        with open(os.environ["MUTATE_REACHED"], "a") as file:
            file.write(f"{place}\\t{test}\\n")
"""


@dataclass(frozen=True)
class Place:
    """One `raise` (or call of `refuse`): positions are of the text, lines from 1."""

    module: str
    line: int
    end_line: int
    column: int
    end_column: int

    @property
    def id(self) -> str:
        return f"{self.module}:{self.line}"


def file_of(module: str) -> Path:
    """The module's text as it was at the start."""
    return (CONVERTER if module in SANDBOX else PACKAGE).joinpath(*module.split(".")).with_suffix(".py")


def places(module: str) -> Iterator[Place]:
    """Every statement of a module that refuses, or closes something off."""
    names = _STEPS if module in SANDBOX else ("refuse",)
    for node in ast.walk(ast.parse(file_of(module).read_text(encoding="utf-8"))):
        is_call = (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id in names
        )
        if isinstance(node, ast.Raise) or is_call:
            assert isinstance(node, ast.stmt)
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            yield Place(module, node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)


def without(place: Place, instead: str = "pass") -> str:
    """The text of the module with `instead` in the place of the statement; line numbers stay."""
    lines = file_of(place.module).read_bytes().split(b"\n")
    first, last = place.line - 1, place.end_line - 1
    tail = lines[last][place.end_column :]
    lines[first] = lines[first][: place.column] + instead.encode() + (tail if first == last else b"")
    for number in range(first + 1, last + 1):
        lines[number] = tail if number == last and tail.strip() else b""
    return b"\n".join(lines).decode()


def reporting(module: str) -> str:
    """The text of a module in which every refusal reports itself first; both stand in one line, as the grammar allows."""
    lines = file_of(module).read_bytes().split(b"\n")
    for place in places(module):
        line = lines[place.line - 1]
        lines[place.line - 1] = (
            line[: place.column] + _REPORT.format(repr(place.id)).encode() + b"; " + line[place.column :]
        )
    return b"\n".join(lines).decode()


def copy_with(folder: Path, texts: dict[str, str]) -> Path:
    """A copy of the packages below `folder`, with other texts of some modules."""
    for package in {CONVERTER if module in SANDBOX else PACKAGE for module in texts}:
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    for module, text in texts.items():
        (folder / file_of(module).relative_to(PACKAGE.parent)).write_text(text, encoding="utf-8")
    return folder


def in_fork(package: Path, arguments: list[str], environment: dict[str, str], seconds: float, log: Path) -> int | None:
    """Exit status of pytest in a forked process that imports alphaseal from `package`; None where it took too long."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.setpgid(0, 0)
            os.environ.update(environment)
            os.environ["PYTHONPATH"] = os.pathsep.join([str(package), str(ROOT / "converter/src"), str(ROOT / "tests")])
            sys.path[:0] = [str(package), str(ROOT / "converter/src"), str(ROOT / "tests")]
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.chdir(ROOT)
            use_prebuilt()
            import pytest

            status = int(
                pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--tb=line", *arguments])
            )
        finally:
            os._exit(status)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def use_prebuilt() -> None:
    """Tests take the bundle that was built once, instead of building it in every process."""
    import bundles

    path = Path(os.environ["MUTATE_BUNDLE"])
    bundles.factor_plain_bundle = lambda: path  # type: ignore[assignment]


def build_bundle(folder: Path) -> Path:
    """The tests' usual bundle, by the sources as they are."""
    program = f"import shutil, bundles; shutil.copytree(bundles.factor_plain_bundle(), {str(folder / 'bundle')!r})"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "runtime/src", ROOT / "converter/src", ROOT / "tests"))),
    }
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    return folder / "bundle"


def who_reaches(folder: Path, tests: list[str], environment: dict[str, str]) -> dict[str, list[str]]:
    """Place -> tests that reach it, the shortest names first; a red test here is an error of the sources as they are."""
    package = copy_with(folder / "reporting", {module: reporting(module) for module in MODULES})
    (package / "_reached.py").write_text(_REACHED, encoding="utf-8")
    found, log = folder / "reached", folder / "reporting.log"
    found.touch()
    status = in_fork(
        package,
        [*tests, *(f"--ignore-glob=*/{name}" for name in LEFT_OUT)],
        {**environment, "MUTATE_REACHED": str(found)},
        900,
        log,
    )
    if status != 0:
        sys.exit(f"the tests do not pass before anything is changed ({status}):\n{log.read_text()[-3000:]}")
    reached: dict[str, set[str]] = defaultdict(set)
    for line in found.read_text(encoding="utf-8").splitlines():
        place, _, test = line.partition("\t")
        reached[place].add(test)
    return {place: sorted(names, key=lambda name: (len(name), name)) for place, names in reached.items()}


def verdict(place: Place, tests: list[str], environment: dict[str, str]) -> str:
    """The word killed, survived (its tests stay green) or not reached."""
    if not tests:
        return "not reached"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = copy_with(folder / "package", {place.module: without(place)})
        seconds = _SANDBOX_SECONDS if place.module in SANDBOX else _SECONDS
        for some in (tests[:_FEW], tests[_FEW:]):
            # 0: green.  Everything else (red, an error while importing, too slow) tells the mutant.
            if some and in_fork(package, ["-x", *some], environment, seconds, folder / "log") != 0:
                return "killed"
    return "survived"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--least", type=float, default=95.0)
    parser.add_argument("--only", help="one module, or module:line")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--json", type=Path, help="write every verdict there")
    options = parser.parse_args()
    for sources, package in ((SOURCES, PACKAGE), (CONVERTER_SOURCES, CONVERTER)):
        shutil.copytree(sources, package, ignore=shutil.ignore_patterns("__pycache__"))
    atexit.register(shutil.rmtree, PACKAGE.parent, ignore_errors=True)
    for library in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    every = [*MODULES, *SANDBOX]
    wanted = [place for module in every for place in places(module) if options.only in (None, module, place.id)]
    tests = [str(ROOT / test) for test in TESTS]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {"MUTATE_BUNDLE": str(build_bundle(folder)), "PYTHONDONTWRITEBYTECODE": "1"}
        reached = who_reaches(folder, tests, environment) if any(place.module in MODULES for place in wanted) else {}
        for module in {place.module for place in wanted} & set(SANDBOX):
            reached |= {place.id: [str(ROOT / test) for test in SANDBOX[module]] for place in places(module)}
        print(
            f"{len(wanted)} places, {sum(place.id in reached for place in wanted)} reached, after {time.monotonic() - started:.0f} s",
            flush=True,
        )
        with ThreadPoolExecutor(options.jobs) as pool:
            verdicts = []
            for place, found in zip(
                wanted,
                pool.map(lambda place: verdict(place, reached.get(place.id, []), environment), wanted),
                strict=True,
            ):
                verdicts.append(found)
                if found != "killed":
                    print(f"{found:12} {place.id}: {_text_of(place)}", flush=True)
    return report(wanted, verdicts, options.least, options.json, time.monotonic() - started)


def _text_of(place: Place) -> str:
    lines = file_of(place.module).read_text(encoding="utf-8").splitlines()[place.line - 1 : place.end_line]
    return " ".join(line.strip() for line in lines)[:140]


def report(wanted: list[Place], verdicts: list[str], least: float, out: Path | None, seconds: float) -> int:
    """Print the share that was killed; the exit status."""
    killed = verdicts.count("killed")
    share = 100 * killed / max(1, len(wanted))
    print(
        f"{killed} of {len(wanted)} killed ({share:.1f} %), {verdicts.count('survived')} survived, {verdicts.count('not reached')} not reached, {seconds:.0f} s"
    )
    if out is not None:
        entries: list[dict[str, Any]] = [
            {**asdict(place), "verdict": found} for place, found in zip(wanted, verdicts, strict=True)
        ]
        out.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return 0 if share >= least else 1


if __name__ == "__main__":
    raise SystemExit(main())
