"""The verb ``alphaseal doctor``: what would stop the work on this machine, in its owner's files or in a bundle, and what to do.

A library that is looked at may be broken: this module imports none, each is loaded in a process of its own, and any other
fault becomes a finding.

Exit status 0 without a finding; otherwise the status of the first: 3 for the machine and for files that cannot be read, and for
a bundle the status of its error.
"""

from __future__ import annotations

import argparse
import base64
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from alphaseal.errors import AlphasealError, NotReadableError
from alphaseal.plain_text import one_line, printable
from alphaseal.terminal.console import Findings, Parser

MINIMUM_PYTHON = (3, 10)
_OLD_PYTHON = sys.version_info < (3, 11)
# What runtime/pyproject.toml asks for: the oldest that has wheels for the Python that runs.
LIBRARIES: dict[str, str] = {
    "numpy": "1.24" if sys.version_info < (3, 12) else "1.26" if sys.version_info < (3, 13) else "2.1",
    "onnxruntime": "1.21" if _OLD_PYTHON else "1.27",
    "pyarrow": "15" if sys.version_info < (3, 13) else "18",
    "cryptography": "42",
    "msgspec": "0.19",
}
MODULES = {"scikit-learn": "sklearn"}
"""Import name of a distribution that has two names."""
_TREES_FAULT = ("1.21", "1.24")
_SECONDS = 120
"""For a library to load: torch takes its time on a cold disk."""
# `sys.path` of this process, for what was put there by hand.
_LOAD = "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); importlib.import_module(sys.argv[2])"
_TRY_GRAPH = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from alphaseal.desk.doctor import run_graph; run_graph()"
)
_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "asimd", "sve")
# score = features + features, double [rows, 1]; ir_version 10, opset 18.
GRAPH = base64.b64decode(
    "CAo6WwogCghmZWF0dXJlcwoIZmVhdHVyZXMSBXNjb3JlIgNBZGQSBmRvY3RvcloYCghmZWF0dXJlcxIM"
    "CgoICxIGCgAKAggBYhUKBXNjb3JlEgwKCggLEgYKAAoCCAFCBAoAEBI="
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `error` is what is wrong with it."""

    name: str
    found: str
    error: AlphasealError | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


def add_doctor(parser: Parser) -> None:
    """The options of the verb."""
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="bundle directory to look at too")
    parser.add_argument("--trust", type=Path, metavar="FILE", help="trust file to look at; the bundle must be accepted")
    parser.add_argument("--store", type=Path, metavar="DIR", help="store of installed bundles to look at")
    parser.add_json()


def run_doctor(options: argparse.Namespace) -> Findings:
    """The verb."""
    checks = [*machine()]
    looks: dict[str, tuple[object, Callable[[], str]]] = {
        "trust file": (options.trust, lambda: _trust(options.trust)),
        "store": (options.store, lambda: _store(options.store)),
        "bundle": (options.bundle, lambda: _bundle(options.bundle, options.trust)),
    }
    checks += [look_at(name, look, checks) for name, (given, look) in looks.items() if given is not None]
    return report(checks)


def look_at(name: str, look: Callable[[], str], checks: Sequence[Check]) -> Check:
    """As `attempt`, unless a library was found broken before: a library that crashes would end this process."""
    broken = [check.name for check in checks if check.error is not None and check.error.code == "doctor.library"]
    return Check(name, f"not looked at without {', '.join(broken)}") if broken else attempt(name, look)


def report(checks: Sequence[Check]) -> Findings:
    """What was looked at, a line each, and what is wrong."""
    width = max(len(check.name) for check in checks)
    lines = [f"{'ok ' if check.ok else 'NOT'} {check.name.ljust(width)}  {check.found}" for check in checks]
    plain = [
        {
            "name": check.name,
            "ok": check.ok,
            "found": check.found,
            "code": None if check.error is None else check.error.code,
            "message": None if check.error is None else check.error.message,
            "next": None if check.error is None else check.error.next_step,
        }
        for check in checks
    ]
    return Findings(printable(lines), {"checks": plain}, [check.error for check in checks if check.error is not None])


def attempt(name: str, look: Callable[[], str]) -> Check:
    """What `look` says, or the error that it ends with, whatever that is."""
    try:
        return Check(name, look())
    except AlphasealError as error:
        return Check(name, error.message, error)
    except Exception as fault:
        message = f"cannot be looked at: {type(fault).__name__}: {one_line(str(fault))}"
        step = "mend what the lines above name, then run doctor again; report it if nothing else is wrong"
        return Check(name, message, NotReadableError("doctor.failed", f"the {name} {message}", next_step=step))


def machine() -> Iterator[Check]:
    """Python, the libraries, the processor, and whether a graph runs."""
    yield attempt("alphaseal", _own_version)
    yield _python()
    wanted = [(name, minimum, "pip install --upgrade alphaseal") for name, minimum in LIBRARIES.items()]
    found = libraries(wanted)
    yield from found
    yield Check("processor", _processor())
    yield look_at("onnx graph", _graph_of_its_own, found)


def libraries(wanted: Iterable[tuple[str, str, str]]) -> list[Check]:
    """Whether distributions are installed, new enough, and load; `wanted` has (name, oldest version, next step) of each.

    Each is loaded in a process of its own, several at once: a broken library may end its process.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(lambda each: library(*each), wanted))


def library(name: str, minimum: str, next_step: str) -> Check:
    """Whether a distribution is installed, new enough, and loads in a process of its own."""
    found = installed(name)
    if found is None:
        return Check(name, "not installed", _library(f"{name} is not installed", name, minimum, None, next_step))
    if numbers(found) < numbers(minimum):
        return Check(name, f"{found}, too old", _library(f"{name} is too old", name, minimum, found, next_step))
    problem = _problem(_LOAD, MODULES.get(name, name))
    if problem is not None:
        again = f"install it again: pip install --force-reinstall {name}"
        message = f"{name} does not load: {problem}"
        return Check(name, f"{found}, does not load: {problem}", _library(message, name, minimum, found, again))
    note = ""
    if name == "onnxruntime" and numbers(_TREES_FAULT[0]) <= numbers(found) < numbers(_TREES_FAULT[1]):
        note = "; it misreads some trees (its issue 24679), which the graphs of this format avoid"
    return Check(name, f"{found} ({minimum} or later{note})")


def _problem(program: str, *arguments: str) -> str | None:
    """What ended a small program of this Python, in a line; None where nothing did."""
    command = [sys.executable, "-c", program, json.dumps(sys.path), *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_SECONDS} seconds"
    except OSError as error:
        return f"{sys.executable or 'Python'} does not start: {error}"
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if line.strip()]
    ended = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    # An exception's line starts at the left edge; libraries print advice after it.
    lines = [line for line in said if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    return one_line((lines or said or [ended])[-1])


def _library(message: str, name: str, minimum: str, found: str | None, next_step: str) -> NotReadableError:
    return NotReadableError(
        "doctor.library", message, where=name, expected=f"{minimum} or later", found=found, next_step=next_step
    )


def installed(name: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """The release of a version, without what follows it: 2.13.0+cpu is (2, 13, 0)."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()


def _own_version() -> str:
    from alphaseal.version import __version__

    try:
        from alphaseal.format.manifest import FORMAT
    except ImportError:
        return __version__
    return f"{__version__}, bundle format {FORMAT}"


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info >= MINIMUM_PYTHON:
        return Check("python", found)
    error = NotReadableError(
        "doctor.python",
        "Python is too old",
        expected=f"{'.'.join(map(str, MINIMUM_PYTHON))} or later",
        found=found,
        next_step="install a newer Python",
    )
    return Check("python", f"{found}, too old", error)


def _processor() -> str:
    """Cores, and the vector instructions that Linux tells of: kernels differ with them, which the self-test sees."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        text = ""
    flags = {flag for line in text.splitlines() if line.startswith(("flags", "Features")) for flag in line.split()}
    known = ", ".join(flag for flag in _FLAGS if flag in flags) or "vector instructions not known"
    return f"{os.cpu_count() or 1} cores, {known}"


def _graph_of_its_own() -> str:
    """The trial graph in a process of its own: a library that was built for another processor ends it."""
    problem = _problem(_TRY_GRAPH)
    if problem is not None:
        raise NotReadableError(
            "doctor.graph",
            f"a trial graph does not run: {problem}",
            next_step="install it again: pip install --force-reinstall alphaseal onnxruntime numpy",
        )
    return "runs, and gives the right numbers"


def run_graph() -> None:
    """Score two rows with the trial graph; RuntimeError where the numbers are wrong."""
    import numpy as np

    from alphaseal.scoring.session import Graph

    scores = Graph(GRAPH, 1, "doctor").run(np.array([[1.5], [-2.0]])).tolist()
    if scores != [3.0, -4.0]:
        raise RuntimeError(f"onnxruntime adds wrongly here: {scores}, expected 3.0 and -4.0")


def _trust(path: Path) -> str:
    from alphaseal.trust.judgement import Trust

    trust = Trust.load(path)
    policy = trust.policy
    assert policy is not None
    now = trust.now()
    over = [key.name for key in policy.keys if key.not_after is not None and key.not_after <= now]
    expired = f", expired: {', '.join(over)}" if over else ""
    names = (
        "any bundle" if policy.bundles is None else f"bundles {', '.join(sorted(policy.bundles)) or 'of no name yet'}"
    )
    return f"{len(policy.keys)} keys{expired}; {names}"


def _store(path: Path) -> str:
    from alphaseal import store

    current = store.current(path)
    return f"in force: {current.name} {current.sequence}"


def _bundle(path: Path, trust_file: Path | None) -> str:
    """Everything that a first score would ask for, and the factor table too."""
    from alphaseal.bundle import open_bundle
    from alphaseal.trust.judgement import Trust

    trust = Trust.unsigned() if trust_file is None else Trust.load(trust_file)
    bundle = open_bundle(path, trust=trust)
    verified = bundle.verify()
    bundle.check_factors()
    tested = bundle.selftest()
    signed = "signatures not looked at (name a trust file)" if trust_file is None else "accepted by the trust file"
    ready = "ready" if verified.ready else "not ready"
    return f"{verified.name} {verified.sequence}, {ready}: {verified.files} files whole, {tested.rows} golden rows right, {signed}"


def versions() -> str:
    """The libraries of the runtime with their versions, for ``--version``."""
    return ", ".join(f"{name} {installed(name) or 'missing'}" for name in LIBRARIES)
