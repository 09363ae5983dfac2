"""Builds a closed-off system for programs that nobody has read, and watches over them: run by `isolation`, never imported.

Linux on x86-64 only, standard library only, Python 3.10 on.  Arguments: two file descriptors, of a pipe with orders and of
one with reports (frames, see `Wire`).  The processes:

    launcher    enters fresh user, mount, PID, IPC, network and UTS namespaces; waits for the end
     └ init     process 1 of the PID namespace; builds a root directory of its own, watches clock, threads and disk; when it
       │        ends, for whatever reason, the kernel ends all others; it ends when its parent or the order's writer does
       └ runner `runner`: a user namespace of its own in which only an unprivileged user exists, no capability
         └ the program of one run: Landlock and seccomp on top

- **no files**: the root directory is a small tmpfs, sealed; in it, read-only, the Python installation and the system's
  libraries.  The one place to write is a tmpfs of limited size, fresh for each run.
- **no host user 0**: the user namespace of the program knows one number, nobody's where root calls, else the caller's own.
- **nothing runs where anything of this is missing**: the reason is reported instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import select
import signal
import stat
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_NOBODY = 65534
_PLACE = "/sandbox"
_POLL_SECONDS = 0.02
_READY_SECONDS = 120.0
_KILL_SECONDS = 10.0
_FOR_WANT_OF_MEMORY = -int(signal.SIGKILL)
_OUTSIDE = "/outside"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_NEW_MOUNT, _NEW_UTS, _NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NETWORK = (
    *(0x00020000, 0x04000000, 0x08000000),
    *(0x10000000, 0x20000000, 0x40000000),
)
_READ_ONLY, _NO_SETUID, _NO_DEVICES, _NO_EXECUTE, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
_DETACH = 2
_PIVOT_ROOT, _CAPSET, _MOUNT_SETATTR = 155, 126, 442
_LANDLOCK = 444, 445, 446  # landlock_create_ruleset, landlock_add_rule, landlock_restrict_self: for the runner
_MORE_THREADS = 8
"""So many more than allowed can be made: whoever has them is seen and stopped, instead of being told that there are no more."""


class Unavailable(Exception):
    """A protection that this system does not give."""


class Gone(Exception):
    """Whoever gave orders is not there any more."""


class Wire:
    """Frames of one letter, a length (little-endian, 8 bytes) and so many bytes; in both directions.

    Orders: ``O`` the system to build, ``R`` a run, each followed by as many ``I`` (an input's content) as it names.
    Reports: ``U`` why nothing runs; ``S`` the system stands; of each run ``E`` its end, then its files, each ``F`` (content),
    ``M`` (not there) or ``B`` (no plain file, or too large), in the order in which they were named.
    """

    def __init__(self, orders: int, reports: int) -> None:
        self.orders, self.reports = orders, reports

    def read(self, kind: bytes) -> Iterator[bytes]:
        """The parts of the next frame, which is of that kind; Gone where there is none."""
        head = b"".join(self._parts(9))
        if head[:1] != kind:
            raise Gone
        return self._parts(struct.unpack("<Q", head[1:])[0])

    def object(self, kind: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(b"".join(self.read(kind)))
        return found

    def _parts(self, count: int) -> Iterator[bytes]:
        while count:
            part = os.read(self.orders, min(count, 1 << 20))
            if not part:
                raise Gone
            count -= len(part)
            yield part

    def head(self, kind: bytes, length: int) -> None:
        self._write(kind + struct.pack("<Q", length))

    def send(self, kind: bytes, content: bytes = b"") -> None:
        self.head(kind, len(content))
        self._write(content)

    def part(self, content: bytes) -> None:
        self._write(content)

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self.reports, view) :]


def main() -> None:
    wire = Wire(int(sys.argv[1]), int(sys.argv[2]))
    try:
        if platform.machine() != "x86_64" or not sys.platform.startswith("linux") or sys.maxsize < 2**32:
            raise Unavailable(f"only Linux on x86_64 is supported, this is {sys.platform} on {platform.machine()}")
        order = wire.object(b"O")
        close_others({0, 1, 2, wire.orders, wire.reports})
        checked(syscall(_LANDLOCK[0], None, 0, 1), "Landlock (Linux 5.13 or later, among its security modules)")
        order["threads"] = _MORE_THREADS + threads_of_user(_NOBODY if os.geteuid() == 0 else os.geteuid())
        enter_namespaces()
        init = os.fork()
        if init == 0:
            Init(wire, order).main()
    except Gone:
        os._exit(1)
    except (Unavailable, OSError) as problem:
        unavailable(wire, problem)
    os.close(wire.orders)
    os.close(wire.reports)
    os.waitpid(init, 0)
    os._exit(0)


def unavailable(wire: Wire, problem: Exception) -> None:
    with contextlib.suppress(OSError):
        wire.send(b"U", str(problem).encode("utf-8", "replace")[:2000])
    os._exit(1)


def close_others(kept: set[int]) -> None:
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in kept:
            with contextlib.suppress(OSError):  # the one that listed them
                os.close(number)


def threads_of_user(user: int) -> int:
    """Threads that the user runs now: RLIMIT_NPROC counts them all before Linux 5.14, later those of the namespace."""
    count = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.stat(f"/proc/{entry}").st_uid == user:
                    count += len(os.listdir(f"/proc/{entry}/task"))
            except OSError:  # it has ended meanwhile
                continue
    return count


# ---- namespaces


def enter_namespaces() -> None:
    """This process in fresh namespaces, with all rights in them and none outside; the PID namespace is its children's."""
    user, group = os.geteuid(), os.getegid()
    ready, go = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        # From outside: a process cannot map more than its own number into its own new namespace.
        os.close(go)
        there = os.read(ready, 1)
        os._exit(write_maps(os.getppid(), user, group) if there else errno.ESRCH)
    os.close(ready)
    kinds = _NEW_USER | _NEW_MOUNT | _NEW_PID | _NEW_IPC | _NEW_NETWORK | _NEW_UTS
    try:
        checked(_LIBC.unshare(ctypes.c_int(kinds)), "a set of user, mount, PID, IPC, network and UTS namespaces")
    finally:
        os.write(go, b"x")
        os.close(go)
        number = os.waitstatus_to_exitcode(os.waitpid(mapper, 0)[1])
    if number:
        raise Unavailable(f"users cannot be mapped into a namespace: {os.strerror(abs(number))}")
    if user == 0:
        os.setgroups([])


def write_maps(process: int, user: int, group: int) -> int:
    """Root keeps its number for the building, beside nobody's for the program; anybody else is nobody inside.  An errno."""
    try:
        if user != 0:
            write_text(f"/proc/{process}/setgroups", "deny")
        for name, number in (("uid_map", user), ("gid_map", group)):
            both = f"0 0 1\n{_NOBODY} {_NOBODY} 1\n" if user == 0 else f"{_NOBODY} {number} 1\n"
            write_text(f"/proc/{process}/{name}", both)
    except OSError as problem:
        return problem.errno or errno.EIO
    return 0


def write_text(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def checked(result: int, what: str) -> int:
    if result < 0:
        raise Unavailable(f"{what} is refused by this system: {os.strerror(ctypes.get_errno())}")
    return result


def syscall(number: int, *arguments: Any) -> int:
    """The raw call; pointers and integers only.  -1 with ctypes' errno where it fails."""
    return int(
        _LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    )


# ---- a root directory of its own


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    text = [ctypes.c_char_p(part.encode() if part is not None else None) for part in (source, target, kind, options)]
    checked(
        _LIBC.mount(text[0], text[1], text[2], ctypes.c_ulong(flags), text[3]), f"mounting {kind or source} at {target}"
    )


def seal(path: str, attributes: int, recursive: bool = True) -> None:
    """Set attributes of a mount and of those below it; there is no way back for whoever is inside."""
    request = struct.pack("<4Q", attributes, 0, 0, 0)
    flags = 0x8000 if recursive else 0  # AT_RECURSIVE
    place = ctypes.c_char_p(path.encode())
    checked(syscall(_MOUNT_SETATTR, -100, place, flags, ctypes.c_char_p(request), len(request)), f"sealing {path}")


def build_root(order: dict[str, Any]) -> None:
    """Become the only user of a sealed root directory: read-only what the order names, a place to write, devices, /proc."""
    mount("none", "/", None, _RECURSIVE | _PRIVATE)
    base = next(path for path in ("/tmp", "/run", "/usr") if os.path.isdir(path))  # noqa: S108 - hidden below
    mount("tmpfs", base, "tmpfs", _NO_SETUID | _NO_DEVICES, "size=16m,nr_inodes=4k,mode=0755")
    os.mkdir(base + _OUTSIDE, 0o700)
    places = (ctypes.c_char_p(path.encode()) for path in (base, base + _OUTSIDE))
    checked(syscall(_PIVOT_ROOT, *places), "a root directory of its own")
    os.chdir("/")
    for path in order["bound"]:
        bind(path, _READ_ONLY | _NO_SETUID | _NO_DEVICES)
    for path in _DEVICES:
        bind(path, _NO_SETUID | _NO_EXECUTE)
    for path, target in order["links"]:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(target, path)
    os.mkdir("/proc", 0o555)
    mount("proc", "/proc", "proc", _NO_SETUID | _NO_DEVICES | _NO_EXECUTE)
    for path, text in order["programs"].items():
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, "wb") as file:
            file.write(text.encode("latin-1"))  # bytes, as JSON carries them
    os.mkdir(_PLACE, 0o755)
    checked(_LIBC.umount2(ctypes.c_char_p(_OUTSIDE.encode()), _DETACH), "leaving the machine's own root directory")
    os.rmdir(_OUTSIDE)
    seal("/", _READ_ONLY, recursive=False)
    name = b"sandbox"
    checked(_LIBC.sethostname(ctypes.c_char_p(name), len(name)), "a host name of its own")
    checked(_LIBC.setdomainname(ctypes.c_char_p(name), len(name)), "a domain name of its own")


def bind(path: str, attributes: int) -> None:
    """The machine's file or directory at the same place, with attributes that it keeps."""
    source = _OUTSIDE + path
    try:
        directory = stat.S_ISDIR(os.stat(source).st_mode)
    except FileNotFoundError:
        return
    os.makedirs(path if directory else os.path.dirname(path), mode=0o755, exist_ok=True)
    if not directory:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
    mount(source, path, None, _BIND | _RECURSIVE)
    seal(path, attributes)


# ---- process 1


class Init:
    """Builds the system, then carries out runs one after the other.  Ends with the writer of its orders."""

    def __init__(self, wire: Wire, order: dict[str, Any]) -> None:
        self.wire, self.order = wire, order
        self.runner = 0
        self.replies = self.runner_orders = -1
        self.unread = b""

    def main(self) -> None:
        try:
            # PR_SET_PDEATHSIG: it ends with the launcher.  Nothing inside can take that back.
            _LIBC.prctl(1, int(signal.SIGKILL), 0, 0, 0)
            # The kernel keeps signals of its own children from process 1 where it has no handler for them.
            for number in (signal.SIGINT, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            build_root(self.order)
            self.start_runner()
            self.wire.send(b"S")
            while True:
                self.run(self.wire.object(b"R"))
        except Gone:
            os._exit(0)
        except (Unavailable, OSError) as problem:
            unavailable(self.wire, problem)
        finally:
            # Also for a fault of ours: nothing goes on without process 1.
            traceback.print_exc()
            os._exit(1)

    # -- the runner

    def start_runner(self) -> None:
        """A process without rights, in a user namespace in which there is nobody but nobody."""
        preloads: list[list[str]] = [self.order["preload"], []]
        for preload in preloads:
            self.spawn_runner()
            self.tell(self.setting(preload))
            ready = self.reply(time.monotonic() + _READY_SECONDS)
            if ready.get("ready") == "yes":
                return
            if ready.get("ready") != "threads":
                raise Unavailable(ready.get("unavailable") or "the Python that is to run the program does not start")
            if self.has_runner():
                self.end_runner()
        raise Unavailable("the Python that is to run the program has threads before it runs anything")

    def setting(self, preload: list[str]) -> dict[str, Any]:
        ours = {"preload": preload, "writable": ["/dev/null"], "place": _PLACE, "landlock": _LANDLOCK}
        return ours | {key: self.order[key] for key in ("readable", "filter", "modules")}

    def spawn_runner(self) -> None:
        orders, self.runner_orders = os.pipe()
        self.replies, replies = os.pipe()
        mapped, go = os.pipe()
        entered, said = os.pipe()
        self.runner = os.fork()
        if self.runner == 0:
            try:
                checked(_LIBC.unshare(ctypes.c_int(_NEW_USER)), "a user namespace of the program's own")
                os.write(said, b"x")
                os.close(go)
                os.read(mapped, 1)
                self.become_runner(orders, replies)
            except (Unavailable, OSError) as problem:
                os.write(replies, json.dumps({"unavailable": str(problem)[:500]}).encode("ascii") + b"\n")
            os._exit(1)
        for descriptor in (orders, replies, mapped, said):
            os.close(descriptor)
        if os.read(entered, 1):
            for name in ("uid_map", "gid_map"):
                write_text(f"/proc/{self.runner}/{name}", f"{_NOBODY} {_NOBODY} 1\n")
        os.close(go)
        os.close(entered)

    def become_runner(self, orders: int, replies: int) -> None:
        with contextlib.suppress(PermissionError):  # where setgroups is denied, there is nothing that it could add
            os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        if _LIBC.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
            raise Unavailable("PR_SET_NO_NEW_PRIVS is refused")
        # All capabilities, in all sets: with no_new_privs no exec brings any back.
        header = struct.pack("<Ii", 0x20080522, 0)  # version 3, this thread
        if syscall(_CAPSET, ctypes.c_char_p(header), ctypes.c_char_p(bytes(24))):
            raise Unavailable("capabilities cannot be given up")
        nothing = os.open("/dev/null", os.O_RDWR)
        os.dup2(nothing, 0)
        close_others({0, 1, 2, orders, replies})
        for descriptor in (orders, replies):
            os.set_inheritable(descriptor, True)
        command = [*self.order["command"], str(orders), str(replies)]
        try:
            os.execve(command[0], command, self.order["environment"])
        except PermissionError:
            raise Unavailable(
                f"{command[0]} cannot be read by an unprivileged user, as which the program would run: make its "
                "installation readable for all (chmod -R a+rX), or name another Python"
            ) from None

    def has_runner(self) -> bool:
        """Whether it is still there: the system itself may end it, for want of memory."""
        return self.runner != 0

    def end_runner(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.runner, signal.SIGKILL)
        os.waitpid(self.runner, 0)
        os.close(self.replies)
        os.close(self.runner_orders)
        self.unread = b""
        self.runner = 0

    def tell(self, text: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # its reply, or that there is none, tells why
            os.write(self.runner_orders, json.dumps(text).encode("ascii") + b"\n")

    def reply(self, deadline: float, look: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """The runner's next reply; {} where it has ended, or the deadline is over, or `look`, which is asked now and then,
        says that it is enough.  Gone where the writer of the orders is gone."""
        while b"\n" not in self.unread:
            if time.monotonic() > deadline or look():
                return {}
            poll = select.poll()
            poll.register(self.replies, select.POLLIN)
            # Nobody writes to it during a run: what can happen is that it is closed.
            poll.register(self.wire.orders, 0)
            for descriptor, _ in poll.poll(1000 * _POLL_SECONDS):
                if descriptor == self.wire.orders:
                    raise Gone
                part = os.read(self.replies, 1 << 16)
                if not part:
                    self.end_runner()
                    return {}
                self.unread += part
        line, _, self.unread = self.unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    # -- one run

    def run(self, order: dict[str, Any]) -> None:
        """A fresh place to write, the inputs in it, a fresh process; when it has ended, and nothing is left of it, its files."""
        if not self.has_runner():
            self.start_runner()
        limits = order["limits"]
        size = f"size={limits['directory_bytes']},nr_inodes={limits['files'] + 2}"
        flags = _NO_SETUID | _NO_DEVICES | _NO_EXECUTE
        mount("tmpfs", _PLACE, "tmpfs", flags, f"{size},mode=0700,uid={_NOBODY},gid={_NOBODY}")
        try:
            if not self.place_inputs(order["inputs"]):
                self.wire.send(b"E", json.dumps({"status": 0, "limit": "disk"}).encode())
                return
            limit, status = self.watch(order)
            self.kill_others()
            self.wire.send(b"E", json.dumps({"status": status, "limit": limit}).encode())
            if status == 0 and limit is None:
                for name in order["outputs"]:
                    self.give(os.path.join(_PLACE, name), limits["output_bytes"])
        finally:
            checked(_LIBC.umount2(ctypes.c_char_p(_PLACE.encode()), _DETACH), "clearing up after a run")

    def place_inputs(self, names: list[str]) -> bool:
        """Write the inputs that follow on the wire; False where they do not fit (the rest of them is read away)."""
        fits = True
        for name in names:
            descriptor = -1
            with contextlib.suppress(OSError):
                descriptor = os.open(os.path.join(_PLACE, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                os.fchown(descriptor, _NOBODY, _NOBODY)
            for part in self.wire.read(b"I"):
                view = memoryview(part)
                while view and descriptor >= 0:
                    try:
                        view = view[os.write(descriptor, view) :]
                    except OSError:
                        os.close(descriptor)
                        descriptor = -1
            fits = fits and descriptor >= 0
            if descriptor >= 0:
                os.close(descriptor)
        return fits

    def watch(self, order: dict[str, Any]) -> tuple[str | None, int]:
        """(the limit that was broken, exit status) of one process of the runner, which is then no more."""
        limits = dict(order["limits"])
        threads, limits["threads"] = limits["threads"], limits["threads"] + self.order["threads"]
        self.tell({key: order[key] for key in ("program", "arguments")} | {"limits": limits})
        started = self.reply(time.monotonic() + _READY_SECONDS)
        if not self.has_runner():
            return None, _FOR_WANT_OF_MEMORY
        if "started" not in started:
            raise Unavailable(started.get("unavailable") or "the process for the program does not start")
        process = int(started["started"])
        broken: list[str | None] = []

        def look() -> bool:
            found = "threads" if threads_of(process) > threads else "disk" if is_full() else None
            broken.extend([] if found is None else [found])
            return found is not None

        ended = self.reply(time.monotonic() + limits["seconds"], look)
        if "ended" in ended:
            return ("disk" if is_full() and ended["ended"] else None), int(ended["ended"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        if not self.has_runner():
            return (broken[0] if broken else None), _FOR_WANT_OF_MEMORY
        ended = self.reply(time.monotonic() + _KILL_SECONDS)
        if "ended" not in ended:
            raise Unavailable("a process could not be ended")
        return broken[0] if broken else "time", int(ended["ended"])

    def kill_others(self) -> None:
        """There is no way for a program to leave a process behind; whatever is there all the same ends now."""
        for number in filter(str.isdigit, os.listdir("/proc")):
            if int(number) not in (1, self.runner):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(number), signal.SIGKILL)

    def give(self, path: str, most: int) -> None:
        """Report the content of an output; nothing but a plain file of its own is opened."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            self.wire.send(b"M")
            return
        except OSError:
            self.wire.send(b"B")
            return
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size > most:
                self.wire.send(b"B")
                return
            self.wire.head(b"F", status.st_size)
            left = status.st_size
            while left:
                part = os.read(descriptor, min(left, 1 << 20))
                left -= len(part)
                self.wire.part(part)
        finally:
            os.close(descriptor)


def threads_of(process: int) -> int:
    try:
        with open(f"/proc/{process}/status", "rb") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(b"Threads:")), 0)
    except OSError:
        return 0


def is_full() -> bool:
    found = os.statvfs(_PLACE)
    return found.f_bavail == 0 or found.f_favail == 0


if __name__ == "__main__":
    main()
