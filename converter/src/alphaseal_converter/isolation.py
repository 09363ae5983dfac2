"""Running a program that nobody has read: without network, files of others, processes, secrets, or more than its share.

The kernel's own means hold it (Landlock, seccomp, resource limits, a network namespace): `isolation_launcher` lists
them.  Where one that is needed is missing, nothing runs: `RefusalError` ``isolation.unavailable``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from alphaseal_converter.errors import RefusalError

__all__ = ["IsolationLimits", "run_isolated"]

_LAUNCHER: Final = Path(__file__).resolve().with_name("isolation_launcher.py")
_NOBODY: Final = 65534
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_TAIL_BYTES: Final = 4096
_POLL_SECONDS: Final = 0.02
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
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/dev/urandom",
    "/dev/random",
)
_ASK: Final = (
    "import json, sys, sysconfig; "
    "print(json.dumps([sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, "
    "*(sysconfig.get_path(n) for n in ('stdlib', 'platstdlib', 'purelib', 'platlib'))]))"
)


@dataclass(frozen=True)
class IsolationLimits:
    """What the program may use; `directory_bytes` and `files` bound its working directory with the inputs in it."""

    seconds: float = 120
    cpu_seconds: int = 240
    memory_bytes: int = 8 << 30
    """Address space, not resident memory: threads and mapped libraries count."""
    file_bytes: int = 1 << 30
    directory_bytes: int = 2 << 30
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
    limits: IsolationLimits = _DEFAULT,
    what: str = "the program",
) -> Mapping[str, bytes]:
    """Run the Python file `program` closed off from everything, and give back the files `outputs` that it wrote.

    Files of `optional_outputs` come with them where they were written.

    The program sees a fresh directory (its working directory, HOME and TMPDIR) with `inputs` and itself in it, the
    installation of `python` (default: the running one) and the system's libraries, read-only.  It runs with ``-I -B``,
    with no environment and no open file of ours.  Names of files are plain: letters, digits, ``_ . -``.  `what` names
    it in errors.

    RefusalError: `isolation.unavailable` (this system cannot close it off; nothing ran), `isolation.time`,
    `isolation.memory`, `isolation.disk`, `isolation.threads`, `isolation.died` (with the last line that it said),
    `isolation.no_output`, `isolation.output` (an output is no plain file, or too large).
    """
    if not sys.platform.startswith("linux"):
        raise RefusalError(
            "isolation.unavailable",
            f"{what} was not run, because it cannot be closed off on {sys.platform}",
            next_step="use Linux, or WSL 2 on Windows",
        )
    names = [*inputs, *outputs, *optional_outputs]
    if any(not _NAME.fullmatch(name) for name in names) or program.name in inputs:
        raise RefusalError(
            "isolation.name", "files of an isolated program have plain names", found=", ".join(names)[:300]
        )
    interpreter = os.path.abspath(python if python is not None else sys.executable)
    executable, *roots = _installation(interpreter)
    user = _NOBODY if os.getuid() == 0 and all(map(_anyone_reads, [interpreter, *roots])) else None
    with _directory(user) as directory:
        for name, content in [*inputs.items(), (program.name, program.read_bytes())]:
            _place(directory / name, content, user)
        order = {
            "directory": str(directory),
            "readable": [*roots, *_SYSTEM],
            "executable": [executable, os.path.realpath(interpreter), *_loaders()],
            "python": interpreter,
            "command": [interpreter, "-I", "-B", program.name, *arguments],
            "environment": _environment(directory),
            "user": user,
            "limits": {
                "memory_bytes": limits.memory_bytes,
                "cpu_seconds": limits.cpu_seconds,
                "file_bytes": limits.file_bytes,
                "open_files": limits.open_files,
                "threads": limits.threads,
            },
        }
        _Run(interpreter, order, directory, limits, what).finish()
        there = [name for name in optional_outputs if os.path.lexists(directory / name)]
        return {name: _collect(directory / name, limits, what) for name in (*outputs, *there)}


def _environment(directory: Path) -> dict[str, str]:
    fresh = {"HOME": str(directory), "TMPDIR": str(directory), "PATH": "", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    # The loader's path for a Python with a shared library.
    return fresh | {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


@lru_cache(maxsize=8)
def _installation(interpreter: str) -> tuple[str, ...]:
    """The interpreter's real file, then the directories of its installation and packages."""
    try:
        answer = subprocess.run(
            [interpreter, "-I", "-c", _ASK], capture_output=True, check=True, timeout=60, cwd=os.sep
        )
        executable, *roots = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as problem:
        raise RefusalError(
            "isolation.unavailable",
            f"{interpreter} does not start as a Python: {problem}",
            expected="a Python 3.10 or later",
        ) from None
    home = os.path.realpath(os.path.expanduser("~"))
    resolved = dict.fromkeys(os.path.realpath(root) for root in roots)
    # An installation at / or above a home directory would open everything.
    wide = [root for root in resolved if os.path.commonpath([root, home]) == root]
    if wide:
        raise RefusalError(
            "isolation.unavailable", f"the installation of {interpreter} lies at {wide[0]}, above the files of users"
        )
    return (os.path.realpath(executable), *resolved)


def _anyone_reads(path: str) -> bool:
    """Whether a user without rights gets to `path`: root may keep its Python where nobody else can look."""
    real = Path(os.path.realpath(path))
    parents = all(parent.stat().st_mode & stat.S_IXOTH for parent in real.parents)
    return parents and real.stat().st_mode & (stat.S_IROTH | stat.S_IXOTH) == stat.S_IROTH | stat.S_IXOTH


def _loaders() -> list[str]:
    """The dynamic loader: the kernel executes it together with the interpreter."""
    found = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1")
    return [os.path.realpath(path) for path in found if os.path.exists(path)]


@contextmanager
def _directory(user: int | None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="alphaseal-"))
    try:
        if user is not None:
            os.chown(path, user, user)
        yield path.resolve()
    finally:
        shutil.rmtree(path)


def _place(path: Path, content: bytes, user: int | None) -> None:
    path.write_bytes(content)
    if user is not None:
        os.chown(path, user, user)


class _Run:
    """One child process, from its start to its end."""

    def __init__(
        self, interpreter: str, order: Mapping[str, object], directory: Path, limits: IsolationLimits, what: str
    ) -> None:
        self.directory, self.limits, self.what = directory, limits, what
        self.tail = b""
        read_end, write_end = os.pipe()
        try:
            self.process = subprocess.Popen(
                [interpreter, "-I", "-S", "-B", str(_LAUNCHER), json.dumps(order), str(write_end)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=os.sep,
                env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
                pass_fds=(write_end,),
                start_new_session=True,
            )
        except OSError as problem:
            os.close(read_end)
            raise RefusalError("isolation.unavailable", f"the child process cannot be started: {problem}") from None
        finally:
            os.close(write_end)
        self.report = read_end

    def finish(self) -> None:
        """Wait for the end within the limits; RefusalError where it was not a good one."""
        listener = threading.Thread(target=self._listen, daemon=True)
        listener.start()
        stopped: RefusalError | None = None
        try:
            deadline = time.monotonic() + self.limits.seconds
            while stopped is None:
                try:
                    self.process.wait(_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    stopped = self._excess(deadline)
        finally:
            # It has no children: the filter refuses them.  Also on KeyboardInterrupt nothing is left behind.
            self.process.kill()
            status = self.process.wait()
            listener.join()
            with os.fdopen(self.report, "rb") as report:
                reason = report.read(2000).decode("utf-8", "replace")
        if reason:
            raise RefusalError(
                "isolation.unavailable",
                f"{self.what} was not run, because it cannot be closed off here: {reason}",
                next_step="use a Linux system with Landlock and seccomp (kernel 5.13 or later, also in WSL 2)",
            )
        if stopped is None:
            stopped = self._excess(float("inf"))
        if stopped is not None:
            raise stopped
        if status != 0:
            raise self._death(status)

    def _listen(self) -> None:
        output = self.process.stdout
        assert output is not None
        with output:
            while chunk := os.read(output.fileno(), 1 << 16):
                self.tail = (self.tail + chunk)[-_TAIL_BYTES:]

    def _excess(self, deadline: float) -> RefusalError | None:
        """The limit that is broken now, of those that the kernel does not watch for us."""
        if time.monotonic() > deadline:
            return self._limit("isolation.time", f"took longer than {self.limits.seconds:g} seconds")
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            status = ""
        found = re.search(r"^Threads:\s+(\d+)", status, re.MULTILINE)
        if found and int(found[1]) > self.limits.threads:
            return self._limit("isolation.threads", f"started more than {self.limits.threads} threads")
        sizes = list(_sizes(self.directory))
        if len(sizes) > self.limits.files or sum(sizes) > self.limits.directory_bytes:
            return self._limit(
                "isolation.disk", f"wrote more than {self.limits.directory_bytes} bytes or {self.limits.files} files"
            )
        return None

    def _limit(self, code: str, text: str) -> RefusalError:
        return RefusalError(
            code, f"{self.what} {text} and was stopped", next_step="look at its code before you allow more"
        )

    def _death(self, status: int) -> RefusalError:
        said = self.tail.decode("utf-8", "replace").strip()
        last = said.splitlines()[-1][:300] if said else "nothing"
        if status == -signal.SIGXCPU:
            return self._limit("isolation.time", f"used more than {self.limits.cpu_seconds} seconds of CPU")
        # Python's, C++'s and OpenBLAS's words for it; SIGKILL is the system's own memory watch.
        if status == -signal.SIGKILL or re.search(r"MemoryError|bad_alloc|not enough memory|allocat", last):
            return self._limit("isolation.memory", f"needs more than {self.limits.memory_bytes} bytes of memory")
        ended = f"status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
        return RefusalError("isolation.died", f"{self.what} ended with {ended}", found=f"its last line: {last}")


def _sizes(directory: Path) -> Iterator[int]:
    """Bytes that each file takes; one that the program removes meanwhile takes none."""
    for entry in os.scandir(directory):
        with suppress(FileNotFoundError):
            yield entry.stat(follow_symlinks=False).st_blocks * 512


def _collect(path: Path, limits: IsolationLimits, what: str) -> bytes:
    """The content of an output; nothing but a plain file is opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RefusalError("isolation.no_output", f"{what} did not write {path.name}") from None
    except OSError as problem:
        raise RefusalError("isolation.output", f"{path.name} of {what} cannot be read: {problem.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size > limits.output_bytes:
            raise RefusalError("isolation.output", f"{path.name} of {what} is no plain file, or too large")
        return file.read(limits.output_bytes)
