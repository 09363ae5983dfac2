"""The system calls that an isolated program may make: a seccomp filter by allow-list, for Linux on x86-64.

Allowed is what Python, numpy, pandas, HDF5, pyarrow and torch need to compute with files of their own directory and with
threads; everything else fails: with EPERM, or with ENOSYS where a library then takes a way that is allowed.  Not on the
list, and therefore shut: sockets of every kind, new processes and programs, other processes, namespaces and mounts, message
queues and shared memory, watching of files, locks on files (another process of the machine could see them), modes, owners
and times of files, keys, io_uring, bpf, and what a newer kernel will bring.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from typing import Final

__all__ = ["ALLOWED", "OWN_PROCESS", "filter_program"]

ALLOWED: Final = {
    # memory
    "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "msync": 26, "madvise": 28, "membarrier": 324,
    # open files
    "read": 0, "write": 1, "close": 3, "lseek": 8, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20,
    "preadv": 295, "pwritev": 296, "preadv2": 327, "pwritev2": 328, "sendfile": 40, "copy_file_range": 326,
    "fsync": 74, "fdatasync": 75, "ftruncate": 77, "fallocate": 285, "fadvise64": 221, "close_range": 436,
    "dup": 32, "dup2": 33, "dup3": 292, "pipe": 22, "pipe2": 293,
    "poll": 7, "ppoll": 271, "select": 23, "pselect6": 270, "eventfd2": 290,
    "epoll_create1": 291, "epoll_ctl": 233, "epoll_wait": 232, "epoll_pwait": 281,
    # files by name: what may be reached so is decided by the file system (a root of its own, Landlock)
    "open": 2, "openat": 257, "stat": 4, "fstat": 5, "lstat": 6, "newfstatat": 262, "statx": 332, "statfs": 137,
    "fstatfs": 138, "access": 21, "faccessat": 269, "faccessat2": 439, "readlink": 89, "readlinkat": 267,
    "getdents": 78, "getdents64": 217, "getcwd": 79, "chdir": 80, "fchdir": 81, "umask": 95,
    "rename": 82, "renameat": 264, "renameat2": 316, "unlink": 87, "unlinkat": 263,
    # threads, and the end
    "futex": 202, "futex_waitv": 449, "set_robust_list": 273, "set_tid_address": 218, "rseq": 334, "arch_prctl": 158,
    "gettid": 186, "sched_yield": 24, "sched_getaffinity": 204, "sched_getparam": 143, "sched_getscheduler": 145,
    "sched_get_priority_max": 146, "sched_get_priority_min": 147, "getcpu": 309, "exit": 60, "exit_group": 231,
    # signals of its own
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "rt_sigpending": 127, "rt_sigtimedwait": 128,
    "rt_sigsuspend": 130, "sigaltstack": 131, "pause": 34, "alarm": 37, "setitimer": 38, "getitimer": 36,
    "restart_syscall": 219,
    # time
    "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "nanosleep": 35, "gettimeofday": 96, "time": 201,
    "times": 100,
    # what it may know of itself and of the machine
    "getpid": 39, "getppid": 110, "getpgrp": 111, "getpgid": 121, "getsid": 124, "getuid": 102, "geteuid": 107,
    "getgid": 104, "getegid": 108, "getresuid": 118, "getresgid": 120, "getgroups": 115, "uname": 63, "sysinfo": 99,
    "getrusage": 98, "getrlimit": 97, "setrlimit": 160, "getrandom": 318,
}  # fmt: skip
"""Calls by number, whatever their arguments; none of them reaches beyond the process, its files and its directory."""

OWN_PROCESS: Final = 0x7FFFFFFF
"""Stands in the filter, once, for the number of the process that it is installed in."""
_CLONE, _PRCTL, _PRLIMIT, _IOCTL, _FCNTL, _TGKILL = 56, 157, 302, 16, 72, 234
_BY_ARGUMENT: Final = (
    # A thread as glibc and as musl make one, and nothing else: no process, no namespace.
    (_CLONE, 0, (0x003D0F00, 0x007D0F00), errno.EPERM),
    # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA: names of threads and of memory.  PR_SET_PDEATHSIG, for one, is not there.
    (_PRCTL, 0, (15, 16, 0x53564D41), errno.EPERM),
    # Signals to itself (raise, abort), limits of itself.
    (_TGKILL, 0, (OWN_PROCESS,), errno.EPERM),
    (_PRLIMIT, 0, (0,), errno.EPERM),
    # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
    (_IOCTL, 1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451), errno.ENOTTY),
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC: no locks, leases, owners, seals or watching.
    (_FCNTL, 1, (0, 1, 2, 3, 4, 1030), errno.EPERM),
)
"""(number, which argument, the values that are allowed, the error otherwise); the kernel reads 32 bits of each of these."""
# Libraries have a second way where these are not known: clone, openat, no lock.
_UNKNOWN: Final = {"clone3": 435, "openat2": 437, "flock": 73}
_NEWEST: Final = 462  # mseal, Linux 6.10: what came later is answered as an older kernel would

_RETURN_ALLOW, _RETURN_ERRNO, _RETURN_KILL = 0x7FFF0000, 0x00050000, 0x80000000
_X86_64 = 0xC000003E
# linux/bpf_common.h, and offsets in struct seccomp_data (linux/seccomp.h)
_LOAD, _EQUAL, _GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
Instruction = tuple[int, int, int, int]


def filter_program() -> bytes:
    """The filter as an array of ``struct sock_filter``."""
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _X86_64),
        (_RETURN, 0, 0, _RETURN_KILL),  # the 32-bit interface has other numbers
        (_LOAD, 0, 0, _NUMBER),
        *_if_equal(_UNKNOWN.values(), _RETURN_ERRNO | errno.ENOSYS),
        (_GREATER, 0, 1, _NEWEST),  # calls of the x32 interface have numbers from 2**30 on
        (_RETURN, 0, 0, _RETURN_ERRNO | errno.ENOSYS),
        *_if_equal(sorted(ALLOWED.values()), _RETURN_ALLOW),
    ]
    for number, place, values, error in _BY_ARGUMENT:
        inner = [(_LOAD, 0, 0, _ARGUMENTS + 8 * place), *_if_equal(values, _RETURN_ALLOW)]
        inner.append((_RETURN, 0, 0, _RETURN_ERRNO | error))
        code += [(_EQUAL, 0, len(inner), number), *inner]
    code.append((_RETURN, 0, 0, _RETURN_ERRNO | errno.EPERM))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _if_equal(values: Iterable[int], verdict: int) -> list[Instruction]:
    """Return `verdict` where what was loaded is one of `values`."""
    return [step for value in values for step in ((_EQUAL, 0, 1, value), (_RETURN, 0, 0, verdict))]
