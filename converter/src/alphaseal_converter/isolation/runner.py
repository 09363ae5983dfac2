"""Runs programs that nobody has read, each in a fresh process of its own: started by `launcher`, never imported.

It is the second process of a closed-off system of its own, has no rights, and waits for orders.  For each order it forks;
the fork gives up what is left, proves that it is gone, and becomes the program.  Nothing unread ever runs in this process:
what it has imported beforehand (``preload``, libraries of the installation) is clean in every fork.

Standard library only, Python 3.10 on.  Arguments: the file descriptors of orders and of replies, lines of JSON:

- in: ``{"preload": [...], "readable": [...], "writable": [...], "place": ..., "landlock": [...], "filter": hex,
  "modules": path}``, then for each run ``{"program": path, "arguments": [...], "limits": {...}}``;
- out: ``{"ready": ...}`` once; for each run ``{"started": pid}`` and ``{"ended": status}``, or ``{"unavailable": reason}``.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import struct
import sys
import threading
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """A protection that this system does not give."""


def main() -> None:
    orders, replies = int(sys.argv[1]), int(sys.argv[2])
    with os.fdopen(orders, encoding="utf-8") as lines:
        setting = json.loads(lines.readline())
        sys.path.insert(0, setting["modules"])
        for name in setting["preload"]:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001, S112 - the program says what it lacks, in its own words
                continue
        if len(os.listdir("/proc/self/task")) > 1:
            # A fork has one thread only: a library that counts on others would wait for them for ever.
            reply(replies, {"ready": "threads"})
            return
        reply(replies, {"ready": "yes"})
        for line in lines:
            order = json.loads(line)
            child = os.fork()
            if child == 0:
                become(order, setting, replies)
                break
            _, status = os.waitpid(child, 0)
            reply(replies, {"ended": os.waitstatus_to_exitcode(status)})
        else:
            return
    # In the fork, with nothing of ours open: now it is the program.
    run_as_main(order)


def reply(replies: int, text: dict[str, Any]) -> None:
    os.write(replies, json.dumps(text).encode("ascii") + b"\n")


def become(order: dict[str, Any], setting: dict[str, Any], replies: int) -> None:
    """All closed off; where that fails the reason is told and the process ends."""
    try:
        os.chdir(setting["place"])
        restrict(order["limits"], setting)
    except (Unavailable, OSError) as problem:
        reply(replies, {"unavailable": f"the program could not be closed off: {problem}"[:500]})
        os._exit(1)
    reply(replies, {"started": os.getpid()})
    os.close(replies)


def run_as_main(order: dict[str, Any]) -> None:
    sys.argv = [order["program"], *order["arguments"]]
    loader = importlib.machinery.SourceFileLoader("__main__", order["program"])
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("__main__", loader))  # type: ignore[arg-type]
    sys.modules["__main__"] = module
    loader.exec_module(module)
    # It ends as an interpreter does, but for taking apart all that is imported, in a copy of its own: seconds for torch.
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    module.__dict__.clear()
    atexit._run_exitfuncs()  # noqa: SLF001 - as the end of a Python program does
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def restrict(limits: dict[str, int], setting: dict[str, Any]) -> None:
    set_limits(limits)
    if _LIBC.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        raise Unavailable("PR_SET_NO_NEW_PRIVS is refused")
    ruleset = make_ruleset(setting)
    checked(syscall(setting["landlock"][2], ruleset, 0), "Landlock")
    os.close(ruleset)
    install_filter(bytes.fromhex(setting["filter"]))
    prove()


def syscall(number: int, *arguments: Any) -> int:
    """The raw call; pointers and integers only.  -1 with ctypes' errno where it fails."""
    return int(
        _LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    )


def checked(result: int, what: str) -> int:
    if result < 0:
        raise Unavailable(f"{what} is not available: {os.strerror(ctypes.get_errno())}")
    return result


def set_limits(limits: dict[str, int]) -> None:
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: limits["threads"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        # One second more of the hard CPU limit: the soft one's signal (SIGXCPU, not SIGKILL) names the reason.
        soft, most = value, value + (kind == resource.RLIMIT_CPU)
        if hard != resource.RLIM_INFINITY:
            soft, most = min(soft, hard), min(most, hard)
        resource.setrlimit(kind, (soft, most))


# ---- files: Landlock (linux/landlock.h), the second wall behind a root directory of its own

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = 2, 4, 8, 32, 256, 1 << 14
_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_NEWER = (1 << 16) - 1  # from version 5 on: ioctl on devices
_NETWORK = 3  # from version 4 on: bind and connect of TCP
_SCOPES = 3  # from version 6 on: abstract Unix sockets and signals


def make_ruleset(setting: dict[str, Any]) -> int:
    create, add, _ = setting["landlock"]
    version = checked(syscall(create, None, 0, 1), "Landlock")
    handled = _ALL_BY_VERSION.get(version, _ALL_NEWER)
    fields = [handled, *([_NETWORK] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"<{len(fields)}Q", *fields)
    ruleset = checked(syscall(create, ctypes.c_char_p(attributes), len(attributes), 0), "Landlock")
    for path in [*setting["readable"], "/proc/self"]:
        allow(add, ruleset, path, _READ_FILE | _READ_DIR)
    for path in setting["writable"]:
        allow(add, ruleset, path, _READ_FILE | _WRITE_FILE)
    inside = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | (_TRUNCATE if version >= 3 else 0)
    allow(add, ruleset, setting["place"], inside)
    return ruleset


def allow(add: int, ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        rights &= _READ_FILE | _WRITE_FILE
    rule = struct.pack("<Qi", rights, descriptor)
    checked(syscall(add, ruleset, 1, ctypes.c_char_p(rule), 0), "Landlock")
    os.close(descriptor)


# ---- system calls: the filter of `filter`


def install_filter(code: bytes) -> None:
    placeholder, process = struct.pack("<I", 0x7FFFFFFF), struct.pack("<I", os.getpid())
    if code.count(placeholder) != 1:
        raise Unavailable("the filter of system calls has no place for the process")
    # `filter.OWN_PROCESS`
    code = code.replace(placeholder, process)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    # PR_SET_SECCOMP with a filter: this process has one thread, so no other needs it.
    if _LIBC.prctl(22, 2, ctypes.c_char_p(header), 0, 0):
        raise Unavailable(f"seccomp filters are not available: {os.strerror(ctypes.get_errno())}")


def prove() -> None:
    """What must fail now does fail."""
    import _socket

    for what, attempt in (
        ("a socket", lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)),
        ("a pair of sockets", lambda: _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_DGRAM)),
        ("the root directory", lambda: os.listdir("/")),
        ("a child process", os.fork),
        ("another program", lambda: os.execv(sys.executable, [sys.executable, "-c", "raise SystemExit(1)"])),
        ("a signal", lambda: os.kill(os.getppid(), signal.SIGCONT)),
    ):
        try:
            outcome = attempt()
        except PermissionError:
            continue
        if outcome == 0 and what == "a child process":
            os._exit(1)
        raise Unavailable(f"{what} can still be had after all was closed off")
    if 0 in (os.getuid(), os.geteuid()):
        raise Unavailable("the program would run as root")


if __name__ == "__main__":
    main()
