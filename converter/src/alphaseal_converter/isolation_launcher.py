"""Gives up every right and then becomes the program: run by `isolation`, in the child, never imported.

Linux on x86-64 only, standard library only, Python 3.10 on.  Arguments: a JSON object (see `isolation`), and the file
descriptor that takes what went wrong; in that case the program does not start.  It closes when the program does start.

- **no files**: Landlock allows reading the Python installation and the system's libraries, and plain files in the
  working directory; no directory, link, pipe or device can be made.
- **no network, no processes, no other process**: a seccomp filter refuses the system calls; a network namespace without
  devices comes on top where the system hands one out.
- **no rights**: no capability is left, none can come back (PR_SET_NO_NEW_PRIVS), root becomes nobody if told so.
- **no more than**: memory, CPU time, file size, open files, threads.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """A protection that this system does not give."""


def main() -> None:
    order, report = json.loads(sys.argv[1]), int(sys.argv[2])
    try:
        if platform.machine() != "x86_64" or not sys.platform.startswith("linux") or sys.maxsize < 2**32:
            raise Unavailable(f"only Linux on x86_64 is supported, this is {sys.platform} on {platform.machine()}")
        restrict(order, report)
    except Unavailable as problem:
        give_up(report, str(problem))
    except OSError as problem:
        give_up(report, f"the child could not be closed off: {problem}")
    os.execve(order["python"], order["command"], order["environment"])


def give_up(report: int, reason: str) -> None:
    os.write(report, reason.encode("utf-8", "replace")[:2000])
    os._exit(1)


def restrict(order: dict[str, Any], report: int) -> None:
    os.set_inheritable(report, False)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    os.closerange(3, report)
    os.closerange(report + 1, highest + 1)
    os.chdir(order["directory"])
    threads = threads_of_user(order["user"] if order["user"] is not None else os.getuid())
    leave_network()
    ruleset = make_ruleset(order)
    drop_user(order["user"])
    set_limits(order["limits"], threads)
    if _LIBC.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        raise Unavailable("PR_SET_NO_NEW_PRIVS is refused")
    drop_capabilities()
    _LIBC.prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG: it does not outlive us
    checked(syscall(_LANDLOCK_RESTRICT, ruleset, 0), "Landlock")
    os.close(ruleset)
    install_filter()
    prove()


def syscall(number: int, *arguments: Any) -> int:
    """The raw call; pointers and integers only.  -1 with ctypes' errno where it fails."""
    return int(
        _LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    )


def checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        hint = " (Linux 5.13 or later with landlock among its security modules is needed)" if what == "Landlock" else ""
        raise Unavailable(f"{what} is not available: {os.strerror(number)}{hint}")
    return result


# ---- user, limits, namespaces


def leave_network() -> None:
    """Fresh network and IPC namespaces where the system allows; the filter refuses sockets either way."""
    new_user, new_ipc, new_network = 0x10000000, 0x08000000, 0x40000000
    _LIBC.unshare(ctypes.c_int(new_ipc | new_network | (0 if os.getuid() == 0 else new_user)))


def drop_user(user: int | None) -> None:
    if user is None:
        return
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def drop_capabilities() -> None:
    """All of them, in all sets: with no_new_privs a later exec as user 0 brings none back."""
    header = struct.pack("<Ii", 0x20080522, 0)  # version 3, this thread
    if syscall(126, ctypes.c_char_p(header), ctypes.c_char_p(bytes(24))):
        raise Unavailable("capabilities cannot be given up")


def threads_of_user(user: int) -> int:
    """Threads that the user runs now: RLIMIT_NPROC counts them all, not only ours."""
    count = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.stat(f"/proc/{entry}").st_uid == user:
                    count += len(os.listdir(f"/proc/{entry}/task"))
            except OSError:  # it has ended meanwhile
                continue
    return count


def set_limits(limits: dict[str, int], threads: int) -> None:
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: threads + limits["threads"],
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


# ---- files: Landlock (linux/landlock.h)

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1, 2, 4, 8, 32, 256, 1 << 14
_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_NEWER = (1 << 16) - 1  # from version 5 on: ioctl on devices
_NETWORK = 3  # from version 4 on: bind and connect of TCP
_SCOPES = 3  # from version 6 on: abstract Unix sockets and signals


def make_ruleset(order: dict[str, Any]) -> int:
    version = checked(syscall(_LANDLOCK_CREATE, None, 0, 1), "Landlock")
    handled = _ALL_BY_VERSION.get(version, _ALL_NEWER)
    fields = [handled, *([_NETWORK] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"<{len(fields)}Q", *fields)
    ruleset = checked(syscall(_LANDLOCK_CREATE, ctypes.c_char_p(attributes), len(attributes), 0), "Landlock")
    for path in order["readable"]:
        allow(ruleset, path, _READ_FILE | _READ_DIR)
    for path in order["executable"]:
        allow(ruleset, path, _EXECUTE | _READ_FILE)
    inside = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | (_TRUNCATE if version >= 3 else 0)
    allow(ruleset, order["directory"], inside)
    allow(ruleset, "/dev/null", _READ_FILE | _WRITE_FILE)
    return ruleset


def allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        rights &= _EXECUTE | _READ_FILE | _WRITE_FILE
    rule = struct.pack("<Qi", rights, descriptor)
    checked(syscall(_LANDLOCK_ADD, ruleset, 1, ctypes.c_char_p(rule), 0), "Landlock")
    os.close(descriptor)


# ---- system calls: a seccomp filter (linux/seccomp.h, linux/bpf_common.h), numbers of x86-64

_REFUSED = {
    # network; socketpair stays: its two ends reach nobody else
    "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "accept4": 288,
    # new processes; clone is looked at below, so that threads stay
    "fork": 57, "vfork": 58,
    # other processes
    "ptrace": 101, "kill": 62, "tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "pidfd_send_signal": 424, "pidfd_open": 434, "pidfd_getfd": 438,
    "process_madvise": 440, "process_mrelease": 448, "setpriority": 141, "sched_setparam": 142, "sched_setscheduler": 144,
    "sched_setaffinity": 203, "sched_setattr": 314, "ioprio_set": 251, "migrate_pages": 256, "move_pages": 279,
    # what Landlock does not look at: mode, owner, times and attributes of files
    "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "fchown": 93, "lchown": 94,
    "fchownat": 260, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280, "setxattr": 188, "lsetxattr": 189,
    "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "truncate": 76,
    "inotify_init": 253, "inotify_init1": 294, "name_to_handle_at": 303, "open_by_handle_at": 304,
    # memory that no limit counts, and what outlives the process
    "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "shmat": 30, "semget": 64, "msgget": 68, "mq_open": 240,
    "add_key": 248, "request_key": 249, "keyctl": 250,
    # ways around this filter, and parts of the kernel that no model needs
    "bpf": 321, "userfaultfd": 323, "perf_event_open": 298, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155,
    "chroot": 161, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "mount_setattr": 442, "syslog": 103, "personality": 135, "modify_ldt": 154, "vmsplice": 278, "quotactl": 179,
}  # fmt: skip
_CLONE, _CLONE3, _OPEN, _OPENAT, _OPENAT2, _TGKILL, _PRLIMIT = 56, 435, 2, 257, 437, 234, 302
_NEWEST = 462  # mseal, Linux 6.10: what came later is answered as an older kernel would
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_X86_64 = 0xC000003E
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_THREAD_FLAG = 0x00010000
_TRUNCATING, _ACCESS = os.O_TRUNC, os.O_ACCMODE


def install_filter() -> None:
    code = filter_program(os.getpid())
    content = b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(content, len(content))
    header = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(buffer))
    # PR_SET_SECCOMP with a filter: this process has one thread, so no other needs it.
    if _LIBC.prctl(22, 2, ctypes.c_char_p(header), 0, 0):
        raise Unavailable(f"seccomp filters are not available: {os.strerror(ctypes.get_errno())}")


def filter_program(process: int) -> list[tuple[int, int, int, int]]:
    """Instructions (code, jump if true, jump if false, value); a refused call fails with EPERM, an unknown with ENOSYS."""
    refused, unknown = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER, 0, 1, _NEWEST),  # calls of the x32 interface have numbers from 2**30 on
        (_RETURN, 0, 0, unknown),
    ]
    for number in (_CLONE3, _OPENAT2):  # their flags lie in memory, where no filter looks; libc falls back
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, unknown)]
    for number in sorted(_REFUSED.values()):
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refused)]
    code += [(_EQUAL, 0, 4, _CLONE), (_LOAD, 0, 0, _ARGUMENTS), (_ANY_BIT, 1, 0, _THREAD_FLAG)]
    code += [(_RETURN, 0, 0, refused), (_RETURN, 0, 0, _ALLOW)]
    # Signals to itself (abort), limits of itself.
    for number, itself in ((_TGKILL, process), (_PRLIMIT, 0)):
        code += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _ARGUMENTS), (_EQUAL, 1, 0, itself)]
        code += [(_RETURN, 0, 0, refused), (_RETURN, 0, 0, _ALLOW)]
    # Emptying a file that may only be read: Landlock looks at it from version 3 on only.
    for number, argument in ((_OPEN, 1), (_OPENAT, 2)):
        code += [(_EQUAL, 0, 5, number), (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)]
        code += [(_AND, 0, 0, _TRUNCATING | _ACCESS), (_EQUAL, 0, 1, _TRUNCATING), (_RETURN, 0, 0, refused)]
        code += [(_RETURN, 0, 0, _ALLOW)]
    return [*code, (_RETURN, 0, 0, _ALLOW)]


def prove() -> None:
    """What must fail now does fail."""
    import _socket

    for what, attempt in (
        ("a socket", lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)),
        ("the root directory", lambda: os.listdir("/")),
        ("a child process", os.fork),
        ("a signal", lambda: os.kill(os.getppid(), signal.SIGCONT)),
    ):
        try:
            outcome = attempt()
        except PermissionError:
            continue
        if outcome == 0 and what == "a child process":
            os._exit(1)
        raise Unavailable(f"{what} can still be had after all was closed off")


if __name__ == "__main__":
    main()
