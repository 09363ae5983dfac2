"""Running programs that nobody has read: without network, files of others, processes, secrets, or more than their share.

The kernel's own means hold them: fresh namespaces with a root directory of their own, Landlock, a filter of system calls
by allow-list, resource limits (`launcher` lists them).  Where one is missing, nothing runs: `RefusalError`
``isolation.unavailable``.  No wait in here is without a limit, whatever a program does with what it was given.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.isolation import places as isolation_places
from alphaseal_converter.isolation.filter import filter_program

__all__ = ["IsolationLimits", "Sandbox", "run_isolated", "shared_sandbox"]

_LAUNCHER: Final = Path(__file__).resolve().with_name("launcher.py")
_RUNNER: Final = Path(__file__).resolve().with_name("runner.py")
_PROGRAMS: Final = "/program"
"""Where the runner and the program are inside; the working directory is another one."""
_MODULES: Final = "/program/modules"
_PLACE: Final = "/sandbox"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_TAIL_BYTES: Final = 4096
_START_SECONDS: Final = 300.0
"""The longest until the system stands: a research environment on a slow disk takes its time to import."""
_GRACE_SECONDS: Final = 30.0
"""Beyond a run's own limit, which the launcher's process 1 watches."""
_END_SECONDS: Final = 10.0
_SLOWEST_BYTES_PER_SECOND: Final = 4 << 20
# Libraries of the system, time zones, and what numerical libraries ask about the processor.
_SYSTEM: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/sys/devices/system/cpu",
)
_READABLE: Final = ("/proc/cpuinfo", "/proc/meminfo", "/dev/urandom", "/dev/random", "/dev/zero")
_ALLOW: Final = (
    "on Linux on x86-64 (kernel 5.13 or later, also in WSL 2), let this user make user namespaces: docs/ci.md says how, "
    "for Ubuntu, for containers and for hardened machines"
)


@dataclass(frozen=True)
class IsolationLimits:
    """What a run may use; `directory_bytes` and `files` bound its working directory with the inputs in it."""

    seconds: float = 120
    cpu_seconds: int = 240
    memory_bytes: int = 8 << 30
    """Address space, not resident memory: threads and mapped libraries count."""
    file_bytes: int = 1 << 30
    directory_bytes: int = 2 << 30
    """Held in memory, beside `memory_bytes`; files without a name count like any other."""
    files: int = 1000
    open_files: int = 256
    threads: int = 64
    output_bytes: int = 1 << 30


_DEFAULT: Final = IsolationLimits()


def run_isolated(
    program: Path,
    *,
    arguments: Sequence[str] = (),
    inputs: Mapping[str, bytes],
    outputs: Sequence[str],
    optional_outputs: Sequence[str] = (),
    python: Path | None = None,
    modules: Mapping[str, bytes] | None = None,
    limits: IsolationLimits = _DEFAULT,
    what: str = "the program",
) -> Mapping[str, bytes]:
    """Run the Python file `program` once, see `Sandbox.run`."""
    with Sandbox(program, python=python, modules=modules, what=what) as sandbox:
        return sandbox.run(
            arguments=arguments, inputs=inputs, outputs=outputs, optional_outputs=optional_outputs, limits=limits
        )


@lru_cache(maxsize=4)
def shared_sandbox(program: Path, python: Path | None, preload: tuple[str, ...]) -> Sandbox:
    """One for all runs of a program of ours with this Python, as long as we live: its libraries take seconds to import.

    The program can import `plain_table`, in which it answers.
    """
    sandbox = Sandbox(program, python=python, preload=preload, modules=_answer_modules())
    atexit.register(sandbox.close)
    return sandbox


def _answer_modules() -> dict[str, bytes]:
    source = Path(__file__).resolve().with_name("plain_table.py")
    top, _, wing = __package__.partition(".")
    packages = {f"{top}/__init__.py": b"", f"{top}/{wing}/__init__.py": b""}
    return packages | {f"{top}/{wing}/{source.name}": source.read_bytes()}


class Sandbox:
    """A closed-off system in which `program` can be run several times, each time in a fresh process that sees nothing of
    the runs before.

    `python` is the interpreter (default: the running one).  `modules` are files by path that the program can import.
    Modules named by `preload` are imported once, before anything runs, where they are there: they have to be as trusted as
    the interpreter.  Usable from several threads, one run at a time, and as a context manager: it ends all that is inside.
    `what` names the program in errors.
    """

    def __init__(
        self,
        program: Path,
        *,
        python: Path | None = None,
        preload: Sequence[str] = (),
        modules: Mapping[str, bytes] | None = None,
        what: str = "the program",
    ) -> None:
        self.program, self.preload, self.what = program, tuple(preload), what
        self.modules = dict(modules or {})
        self.interpreter = os.path.abspath(python if python is not None else sys.executable)
        self._child: _Child | None = None
        self._one_run = threading.Lock()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes; nothing is left of them.  A later run starts anew."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def run(
        self,
        *,
        arguments: Sequence[str] = (),
        inputs: Mapping[str, bytes],
        outputs: Sequence[str],
        optional_outputs: Sequence[str] = (),
        limits: IsolationLimits = _DEFAULT,
        what: str | None = None,
    ) -> Mapping[str, bytes]:
        """Run the program closed off from everything, and give back the files `outputs` that it wrote.

        Files of `optional_outputs` come with them where they were written.  `what` names this run in errors.

        The program sees a fresh directory (its working directory, HOME and TMPDIR) with `inputs` in it, the installation
        of the Python and the system's libraries, read-only, and no other file.  It runs without our environment and with
        no open file of ours.  Names of files are plain: letters, digits, ``_ . -``.

        RefusalError: `isolation.unavailable` (this system cannot close it off; nothing ran), `isolation.python` (the
        interpreter is none, or its installation would open everything), `isolation.time`,
        `isolation.memory`, `isolation.disk`, `isolation.threads`, `isolation.died` (with the last line that it said),
        `isolation.no_output`, `isolation.output` (an output is no plain file, or too large), `isolation.name`.
        """
        names = [*inputs, *outputs, *optional_outputs]
        if any(not _NAME.fullmatch(name) for name in names):
            raise RefusalError(
                "isolation.name", "files of an isolated program have plain names", found=", ".join(names)[:300]
            )
        order = {
            "program": f"{_PROGRAMS}/{self.program.name}",
            "arguments": list(arguments),
            "inputs": list(inputs),
            "outputs": [*outputs, *optional_outputs],
            "limits": asdict(limits),
        }
        with self._one_run:
            named = what or self.what
            if self._child is None:
                self._child = self._start(named)
            self._child.what = named
            try:
                found = self._child.run(order, list(inputs.values()), limits)
            except BaseException:
                # After a limit or a death the system still stands; after anything else nothing is known of it.
                if not self._child.stands:
                    self.close()
                raise
        result = {}
        for name, content in zip(order["outputs"], found, strict=True):
            if isinstance(content, bytes):
                result[name] = content
            elif content or name in outputs:
                raise _no_output(named, name, content)
        return result

    def _start(self, what: str) -> _Child:
        if not sys.platform.startswith("linux"):
            raise RefusalError(
                "isolation.unavailable",
                f"{what} was not run, because it cannot be closed off on {sys.platform}",
                next_step="use Linux, or WSL 2 on Windows",
            )
        bound, links, command = _layout(self.interpreter)
        programs = {f"{_PROGRAMS}/{path.name}": path.read_bytes() for path in (_RUNNER, self.program)}
        programs |= {f"{_MODULES}/{path}": content for path, content in self.modules.items()}
        order = {
            "bound": bound,
            "links": links,
            "readable": [*bound, *_READABLE, _PROGRAMS],
            "programs": {path: content.decode("latin-1") for path, content in programs.items()},
            "command": [command, "-I", "-B", f"{_PROGRAMS}/{_RUNNER.name}"],
            "modules": _MODULES,
            "environment": _environment(),
            "preload": list(self.preload),
            "filter": filter_program().hex(),
        }
        child = _Child(what)
        try:
            child.build(order)
        except BaseException:
            child.end()
            raise
        return child


def _no_output(what: str, name: str, there: bool | None) -> RefusalError:
    if there:
        return RefusalError("isolation.output", f"{name} of {what} is no plain file, or too large")
    return RefusalError("isolation.no_output", f"{what} did not write {name}")


def _environment() -> dict[str, str]:
    fresh = {"HOME": _PLACE, "TMPDIR": _PLACE, "PATH": "", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    # Locks on files are refused, since others could see them; HDF5 asks for one of every file otherwise.
    fresh["HDF5_USE_FILE_LOCKING"] = "FALSE"
    # A process that forks must have one thread; pyarrow's allocator would have a second one.
    fresh["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
    # Isolated programs make no directories: torch's compiler shall not want one of its own when it is imported.
    fresh["TORCHINDUCTOR_CACHE_DIR"] = _PLACE
    # The loader's path for a Python with a shared library.
    return fresh | {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


# ---- what of the machine's files is inside


@lru_cache(maxsize=8)
def _installation(interpreter: str) -> tuple[str, ...]:
    """The interpreter's real file, then the directories of its installation and packages, as it names them."""
    try:
        # `sys.executable` is what somebody says; the kernel knows which program we are.
        ours = os.path.realpath("/proc/self/exe") == os.path.realpath(interpreter)
        if ours and interpreter == os.path.abspath(sys.executable):
            executable, *roots = isolation_places.places()
        else:
            command = [interpreter, "-I", "-B", isolation_places.__file__]
            answer = subprocess.run(command, capture_output=True, check=True, timeout=60, cwd=os.sep)
            executable, *roots = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as problem:
        raise RefusalError(
            "isolation.python",
            f"{interpreter} does not start as a Python: {problem}",
            expected="a Python 3.10 or later",
            next_step="name another one with --python",
        ) from None
    home = os.path.realpath(os.path.expanduser("~"))
    # An installation at / or above a home directory would open everything.
    wide = [root for root in roots if os.path.commonpath([os.path.realpath(root), home]) == os.path.realpath(root)]
    if wide:
        raise RefusalError(
            "isolation.python",
            f"the installation of {interpreter} lies at {wide[0]}, above the files of users",
            expected="a Python whose installation holds nothing else",
            next_step="name another one with --python",
        )
    return (executable, *dict.fromkeys(roots))


def _layout(interpreter: str) -> tuple[list[str], list[tuple[str, str]], str]:
    """Real paths that are there inside, symbolic links beside them, and the path of the interpreter to be started."""
    executable, *roots = _installation(interpreter)
    links: dict[str, str] = {}
    hop = os.path.join(os.path.realpath(os.path.dirname(interpreter)), os.path.basename(interpreter))
    command, real = hop, {os.path.realpath(executable), os.path.realpath(interpreter)}
    while os.path.islink(hop):
        target = os.path.join(os.path.dirname(hop), os.readlink(hop))
        target = os.path.join(os.path.realpath(os.path.dirname(target)), os.path.basename(target))
        links[hop], hop = target, target
    for path in (*roots, *_SYSTEM):
        if os.path.exists(path):
            real.add(os.path.realpath(path))
            if os.path.realpath(path) != path:
                links[path] = os.path.realpath(path)
    bound: list[str] = []
    for path in sorted(real):
        if not _covered(path, bound):
            bound.append(path)
    # What lies in a directory that is there is there as it is outside.
    return bound, [(path, target) for path, target in links.items() if not _covered(path, bound)], command


def _covered(path: str, directories: Sequence[str]) -> bool:
    return any(os.path.commonpath([path, directory]) == directory for directory in directories)


# ---- the child


class _Child:
    """The launcher and all that is inside, over three pipes, from the start to the end; every wait has a deadline."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.built = self.stands = False
        self.tail = b""
        self.received = bytearray()
        orders_end, self.orders = os.pipe()
        self.reports, reports_end = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(_LAUNCHER), str(orders_end), str(reports_end)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=os.sep,
                env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
                pass_fds=(orders_end, reports_end),
                start_new_session=True,
            )
        except OSError as problem:
            os.close(self.orders)
            os.close(self.reports)
            raise RefusalError("isolation.unavailable", f"the child process cannot be started: {problem}") from None
        finally:
            os.close(orders_end)
            os.close(reports_end)
        assert self.process.stdout is not None
        self.output = self.process.stdout.fileno()
        for descriptor in (self.orders, self.reports, self.output):
            os.set_blocking(descriptor, False)

    def build(self, order: Mapping[str, object]) -> None:
        """Let the launcher build the system."""
        self._exchange([_frame(b"O", json.dumps(order).encode("ascii"))], b"S", time.monotonic() + _START_SECONDS)
        self.built = self.stands = True

    def run(
        self, order: Mapping[str, object], inputs: Sequence[bytes], limits: IsolationLimits
    ) -> list[bytes | bool | None]:
        """One run: of each output its content, None where it was not written, True where it is none that is read."""
        self.stands = False
        self.tail = b""
        parts = [_frame(b"R", json.dumps(order).encode("ascii"))]
        for content in inputs:
            parts += [b"I" + struct.pack("<Q", len(content)), content]
        size = sum(map(len, parts))
        deadline = time.monotonic() + limits.seconds + _GRACE_SECONDS + size / _SLOWEST_BYTES_PER_SECOND
        end = json.loads(self._exchange(parts, b"E", deadline)[1])
        status, limit = int(end["status"]), end["limit"]
        found: list[bytes | bool | None] = []
        if status == 0 and limit is None:
            outputs = order["outputs"]
            assert isinstance(outputs, list)
            deadline = (
                time.monotonic() + _GRACE_SECONDS + len(outputs) * limits.output_bytes / _SLOWEST_BYTES_PER_SECOND
            )
            for _ in outputs:
                kind, content = self._exchange([], b"FMB", deadline)
                found.append(content if kind == b"F" else True if kind == b"B" else None)
        self.stands = True
        if status != 0 or limit is not None:
            self._drain()
            raise self._death(status, limit, limits)
        return found

    def end(self) -> None:
        """End the launcher, and with it process 1 and all others; bounded."""
        os.close(self.orders)  # process 1 ends with it
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_SECONDS / 2)
        self.process.kill()  # process 1 asked the kernel to end with it
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_SECONDS / 2)
        os.close(self.reports)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _exchange(self, parts: Sequence[bytes], kinds: bytes, deadline: float) -> tuple[bytes, bytes]:
        """Send `parts`, read away what the program says, and give the next frame, which is of one of these kinds."""
        waiting = [memoryview(part) for part in parts if part]
        with selectors.DefaultSelector() as selector:
            selector.register(self.reports, selectors.EVENT_READ)
            selector.register(self.output, selectors.EVENT_READ)
            if waiting:
                selector.register(self.orders, selectors.EVENT_WRITE)
            while (frame := self._next_frame()) is None:
                if time.monotonic() > deadline:
                    raise self._limit("isolation.time", "did not end in its time")
                for key, _ in selector.select(max(0.0, min(1.0, deadline - time.monotonic()))):
                    if key.fd == self.orders:
                        waiting = self._send(waiting)
                        if not waiting:
                            selector.unregister(self.orders)
                    elif not self._receive(key.fd) and key.fd == self.output:
                        selector.unregister(self.output)
        kind, content = frame
        if kind == b"U":
            raise RefusalError(
                "isolation.unavailable",
                f"{self.what} was not run, because it cannot be closed off here: {content.decode('utf-8', 'replace')}",
                next_step=_ALLOW,
            )
        if kind not in kinds:
            raise self._lost("fell out of step")
        return kind, content

    def _next_frame(self) -> tuple[bytes, bytes] | None:
        if len(self.received) < 9:
            return None
        length = struct.unpack_from("<Q", self.received, 1)[0]
        if len(self.received) < 9 + length:
            return None
        frame = bytes(self.received[:1]), bytes(self.received[9 : 9 + length])
        del self.received[: 9 + length]
        return frame

    def _send(self, waiting: list[memoryview]) -> list[memoryview]:
        try:
            sent = os.write(self.orders, waiting[0][: 1 << 20])
        except BlockingIOError:
            return waiting
        except BrokenPipeError:
            return []  # its report says why, or that there is none
        rest = waiting[0][sent:]
        return [rest, *waiting[1:]] if rest else waiting[1:]

    def _receive(self, descriptor: int) -> bool:
        """Take what is there; False at the end of the program's words.  RefusalError at the end of the reports."""
        try:
            part = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return True
        if descriptor == self.output:
            self.tail = (self.tail + part)[-_TAIL_BYTES:]
        elif not part:
            self._drain()
            raise self._lost("ended")
        else:
            self.received += part
        return bool(part)

    def _lost(self, how: str) -> RefusalError:
        """The launcher is no help any more: before the system stood that is a system that cannot be had."""
        found = f"its last line: {self._last_line()}"
        if self.built:
            return RefusalError("isolation.died", f"the launcher of {self.what} {how}", found=found)
        return RefusalError(
            "isolation.unavailable",
            f"{self.what} was not run: its launcher {how}",
            found=found,
            next_step=_ALLOW,
        )

    def _drain(self) -> None:
        """What the program said last is still in the pipe."""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.output, 1 << 16):
                self.tail = (self.tail + part)[-_TAIL_BYTES:]

    def _last_line(self) -> str:
        said = self.tail.decode("utf-8", "replace").strip()
        return said.splitlines()[-1][:300] if said else "nothing"

    def _limit(self, code: str, text: str) -> RefusalError:
        return RefusalError(
            code, f"{self.what} {text} and was stopped", next_step="look at its code before you allow more"
        )

    def _death(self, status: int, limit: str | None, limits: IsolationLimits) -> RefusalError:
        last = self._last_line()
        if limit is None and status != 0 and re.search(r"No space left on device|ENOSPC", last):
            limit = "disk"
        if limit is None and status == -signal.SIGXCPU:
            return self._limit("isolation.time", f"used more than {limits.cpu_seconds} seconds of CPU")
        if limit == "time":
            return self._limit("isolation.time", f"took longer than {limits.seconds:g} seconds")
        if limit == "threads":
            return self._limit("isolation.threads", f"started more than {limits.threads} threads")
        if limit is None and status != 0 and "can't start new thread" in last:
            # It was faster than who counts its threads.
            text = (
                f"was given no further thread: {limits.threads} are allowed, in {limits.memory_bytes} bytes of memory"
            )
            return self._limit("isolation.threads", text)
        if limit == "disk":
            text = f"wrote more than {limits.directory_bytes} bytes or {limits.files} files"
            return self._limit("isolation.disk", text)
        # Python's, C++'s and OpenBLAS's words for it; SIGKILL is the system's own memory watch.
        if status == -signal.SIGKILL or re.search(r"MemoryError|bad_alloc|not enough memory|allocat", last):
            return self._limit("isolation.memory", f"needs more than {limits.memory_bytes} bytes of memory")
        ended = f"status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
        return RefusalError("isolation.died", f"{self.what} ended with {ended}", found=f"its last line: {last}")


def _frame(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<Q", len(content)) + content
