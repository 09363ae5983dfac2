"""What foreign code may try, one probe a test: nothing outside answers, nothing outside changes, everything ends.

Probes that leave their process as it is share one; each is a function body whose outcome is written down: the error that
stopped it, or ``done``.  `attack` names their class for the table in SECURITY.md.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.isolation.sandbox import IsolationLimits, Sandbox, run_isolated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation uses the Linux kernel's means")

LIMITS = IsolationLimits(
    seconds=20, cpu_seconds=10, memory_bytes=1 << 30, file_bytes=8 << 20, directory_bytes=16 << 20, files=50, threads=32
)

HEAD = """
import ctypes, errno, fcntl, json, mmap, os, resource, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
OUTSIDE = json.load(open("outside.json"))

def call(number, *arguments):
    'A raw system call; OSError where it fails.'
    made = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *made)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def buffer(size=256):
    return ctypes.create_string_buffer(size)

outcomes = {}
def probe(name):
    def run(body):
        try:
            body()
            outcomes[name] = "done"
        except socket.gaierror:
            outcomes[name] = "no name"
        except OSError as problem:
            outcomes[name] = errno.errorcode.get(problem.errno, str(problem))
        except BaseException as problem:
            outcomes[name] = type(problem).__name__
    return run
"""

REFUSED = {"EPERM", "EACCES", "ENOSYS", "ENOENT", "EROFS", "ENOTTY", "no name"}
"""Not permitted, not known, not there, sealed, no terminal, not resolved."""

NETWORK = {
    "connect to this machine": "socket.create_connection(('127.0.0.1', OUTSIDE['port']), 2)",
    "send a datagram to this machine": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "listen": "socket.create_server(('127.0.0.1', 0))",
    "listen by IPv6": "socket.socket(socket.AF_INET6).bind(('::', 0))",
    "a named socket": "socket.socket(socket.AF_UNIX).connect(OUTSIDE['stream'])",
    "an abstract socket": "socket.socket(socket.AF_UNIX).connect('\\0' + OUTSIDE['abstract'])",
    "a pair of datagram sockets": "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.sendto(b'x', OUTSIDE['datagram'])",
    "a pair of stream sockets": "socket.socketpair()",
    "a pair of packet sockets": "call(53, 1, 5, 0, buffer())",
    "hand over a descriptor": "call(46, 1, buffer(), 0)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "raw IP": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "raw packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "the host of a virtual machine": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "the kernel's cryptography": "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
    "Bluetooth": "call(41, 31, 3, 1)",
    "the socket call itself": "call(41, 2, 1, 0)",
    "the socket call of x32": "call(0x40000000 + 41, 2, 1, 0)",
    "io_uring": "call(425, 8, buffer())",
    "a name": "socket.getaddrinfo('localhost', 80, socket.AF_INET, 0, 0, 0)\nsocket.gethostbyname('example.com')",
}
FILES = {
    "read a secret of the machine": "open(OUTSIDE['secret']).read()",
    "see that a file is there": "os.stat(OUTSIDE['secret'])",
    "list a directory outside": "os.listdir(os.path.dirname(OUTSIDE['secret']))",
    "write outside": "open(OUTSIDE['secret'], 'a')",
    "make a file outside": "open(os.path.dirname(OUTSIDE['secret']) + '/new', 'w')",
    "remove outside": "os.unlink(OUTSIDE['secret'])",
    "rename into the sandbox": "os.rename(OUTSIDE['secret'], 'mine')",
    "read the users": "open('/etc/passwd').read()",
    "read the passwords": "open('/etc/shadow').read()",
    "list homes": "os.listdir('/home')",
    "list the root": "os.listdir('/')",
    "list the temporary files": "os.listdir('/tmp')",
    "the old root": "os.listdir('/outside')",
    "up and out": "open('../../../../etc/passwd').read()",
    "out by the own directory's link": "open('/proc/self/cwd/../etc/passwd').read()",
    "out by process 1": "os.listdir('/proc/1/root')",
    "environment of process 1": "open('/proc/1/environ').read()",
    "memory of process 1": "open('/proc/1/mem', 'rb').read(1)",
    "environment of the parent": "open(f'/proc/{os.getppid()}/environ').read()",
    "memory of the parent": "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    "descriptors of the parent": "os.listdir(f'/proc/{os.getppid()}/fd')",
    "list processes": "os.listdir('/proc')",
    "settings of the kernel": "open('/proc/sys/kernel/core_pattern', 'w').write('x')",
    "read settings of the kernel": "open('/proc/sys/kernel/hostname').read()",
    "the kernel's emergency keys": "open('/proc/sysrq-trigger', 'w').write('h')",
    "loads of the machine": "open('/proc/loadavg').read()",
    "devices": "os.listdir('/sys/class/net')",
    "a disk": "os.open('/dev/sda', os.O_RDONLY)",
    "the machine's memory": "os.open('/dev/mem', os.O_RDONLY)",
    "the kernel's log": "os.open('/dev/kmsg', os.O_RDONLY)",
    "the terminal": "os.open('/dev/tty', os.O_RDWR)",
    "shared memory by name": "open('/dev/shm/x', 'w')",
    "make a file at the root": "open('/x', 'w')",
    "make a file in /dev": "open('/dev/x', 'w')",
    "change the runner": "open('/program/runner.py', 'a')",
    "change the program": "open(sys.argv[0], 'a')",
    "change the installation": "open(json.__file__, 'a')",
    "empty a file of the installation": "os.open(json.__file__, os.O_RDONLY | os.O_TRUNC)",
    "add to the installation": "open(os.path.dirname(json.__file__) + '/evil.py', 'w')",
    "truncate by name": "os.truncate(json.__file__, 0)",
    "a symbolic link": "os.symlink('/etc/passwd', 'link')",
    "a hard link": "os.link('outside.json', 'link')",
    "a hard link to the installation": "os.link(json.__file__, 'link')",
    "a pipe with a name": "os.mkfifo('pipe')",
    "a device": "os.mknod('device', 0o20666, os.makedev(1, 1))",
    "a directory": "os.mkdir('directory')",
    "a mode": "os.chmod('outside.json', 0o4777)",
    "a mode by descriptor": "os.fchmod(os.open('outside.json', os.O_RDONLY), 0o4777)",
    "an owner": "os.chown('outside.json', 0, 0)",
    "times": "os.utime('outside.json')",
    "attributes": "os.setxattr('outside.json', 'user.a', b'b')",
    "flags of a file": "fcntl.ioctl(os.open('outside.json', os.O_RDONLY), 0x40086602, struct.pack('l', 16))",
    "watch a directory": "call(294, 0)",
    "watch what others open": "call(300, 0xC00 | 2, 0)",
    "mark what to watch": "call(301, 0, 1, 0x20, -100, ctypes.c_char_p(b'/usr'))",
    "watch by dnotify": "fcntl.fcntl(os.open('.', os.O_RDONLY), 1026, 1)",
    "a lease": "fcntl.fcntl(os.open('outside.json', os.O_RDONLY), 1024, 0)",
    "lock a file that others see": "fcntl.flock(os.open(json.__file__, os.O_RDONLY), fcntl.LOCK_EX)",
    "lock a part of it": "fcntl.lockf(os.open(json.__file__, os.O_RDONLY), fcntl.LOCK_SH)",
    "a file by its handle": "call(304, -100, buffer(64), 0)",
    "the handle of a file": "call(303, -100, ctypes.c_char_p(b'outside.json'), buffer(), buffer(), 0)",
    "mount": "call(165, ctypes.c_char_p(b'none'), ctypes.c_char_p(b'/sandbox'), ctypes.c_char_p(b'tmpfs'), 0, 0)",
    "unmount": "call(166, ctypes.c_char_p(b'/sandbox'), 2)",
    "another root": "os.chroot('.')",
    "exchange the root": "call(155, ctypes.c_char_p(b'.'), ctypes.c_char_p(b'.'))",
    "a tree of mounts": "call(428, -100, ctypes.c_char_p(b'/usr'), 1)",
    "a file system": "call(430, ctypes.c_char_p(b'tmpfs'), 0)",
    "attributes of mounts": "call(442, -100, ctypes.c_char_p(b'/usr'), 0x8000, buffer(32), 32)",
    "flush all disks": "call(162)",
    "quotas": "call(179, 0, 0, 0, 0)",
    "accounting": "call(163, 0)",
    "open with rules of its own": "call(437, -100, ctypes.c_char_p(b'/usr'), buffer(24), 24)",
}
PROCESSES = {
    "fork": "os.fork() or os._exit(0)",
    "vfork": "call(58) or os._exit(0)",
    "clone": "call(56, 17, 0, 0, 0, 0) or os._exit(0)",
    "clone into a user namespace": "call(56, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0)",
    "clone3": "call(435, buffer(88), 88)",
    "another program": "os.execv('/bin/sh', ['sh'])",
    "the same program again": "os.execv(sys.executable, [sys.executable, '-c', ''])",
    "a program by descriptor": "call(322, 0, ctypes.c_char_p(b''), 0, 0, 0x1000)",
    "spawn": "os.posix_spawn(sys.executable, [sys.executable], {})",
    "a shell": "__import__('subprocess').run(['id'])",
    "kill the parent": "os.kill(os.getppid(), 9)",
    "kill process 1": "os.kill(1, 9)",
    "kill all": "os.kill(-1, 9)",
    "signal a group": "os.killpg(os.getpgrp(), 9)",
    "signal a thread of the parent": "call(234, os.getppid(), os.getppid(), 9)",
    "signal a thread by number": "call(200, os.getppid(), 9)",
    "queue a signal": "call(129, os.getppid(), 9, buffer())",
    "open a process": "os.pidfd_open(os.getppid())",
    "take a descriptor": "call(438, 3, 1, 0)",
    "read the parent's memory": "call(310, os.getppid(), buffer(), 1, buffer(), 1, 0)",
    "write the parent's memory": "call(311, os.getppid(), buffer(), 1, buffer(), 1, 0)",
    "trace the parent": "call(101, 16, os.getppid(), 0, 0)",
    "be traced": "call(101, 0, 0, 0, 0)",
    "compare processes": "call(312, os.getpid(), os.getppid(), 0, 0, 0)",
    "limits of the parent": "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))",
    "limits of all": "call(160, 0, struct.pack('QQ', 10**6, 10**6))",
    "priority": "os.setpriority(os.PRIO_USER, 0, 19)",
    "scheduling": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "a processor": "os.sched_setaffinity(0, {0})",
    "outlive the parent": "call(157, 1, 0, 0, 0, 0)",
    "adopt orphans": "call(157, 36, 1, 0, 0, 0)",
    "be no dump": "call(157, 4, 0, 0, 0, 0)",
    "keep capabilities": "call(157, 8, 1, 0, 0, 0)",
    "a filter of its own": "call(317, 1, 0, buffer())",
    "a user namespace": "call(272, 0x10000000)",
    "a network namespace": "call(272, 0x40000000)",
    "the namespace of another": "call(308, 0, 0)",
    "become root": "os.setuid(0)",
    "become root's group": "os.setgid(0)",
    "become any": "os.setresuid(0, 0, 0)",
    "groups": "os.setgroups([0])",
    "capabilities": "call(126, ctypes.c_char_p(struct.pack('<Ii', 0x20080522, 0)), ctypes.c_char_p(b'\\xff' * 24))",
    "a session": "os.setsid()",
    "a message queue": "call(68, 0x4834, 0o1666)",
    "send to a message queue": "call(69, 0, buffer(), 1, 0o4000)",
    "semaphores": "call(64, 0x4834, 1, 0o1666)",
    "shared memory": "call(29, 0x4834, 4096, 0o1666)",
    "a POSIX queue": "call(240, ctypes.c_char_p(b'x'), 0o102, 0o666, 0)",
    "keys": "call(248, ctypes.c_char_p(b'user'), ctypes.c_char_p(b'a'), ctypes.c_char_p(b'b'), 1, -5)",
    "a key ring": "call(250, 0, -3, 1)",
    "bpf": "call(321, 5, buffer(), 64)",
    "performance counters": "call(298, buffer(), 0, -1, -1, 0)",
    "faults in user space": "call(323, 0)",
    "memory without a file": "os.memfd_create('x')",
    "secret memory": "call(447, 0)",
    "pinned memory": "call(149, buffer(), 4096)",
    "another personality": "call(135, 0x0040000)",
    "segments": "call(154, 1, buffer(), 16)",
    "ports": "call(172, 3)",
    "a module of the kernel": "call(175, buffer(), 1, ctypes.c_char_p(b''))",
    "another kernel": "call(246, 0, 0, buffer(), 0)",
    "restart": "call(169, 0xFEE1DEAD, 672274793, 0x1234567, 0)",
    "the clock": "time.clock_settime(time.CLOCK_REALTIME, 0)",
    "a host name": "call(170, ctypes.c_char_p(b'x'), 1)",
    "the kernel's messages": "call(103, 3, buffer(), 256)",
    "swap": "call(167, ctypes.c_char_p(b'outside.json'), 0)",
}
KINDS = {"sandbox: network": NETWORK, "sandbox: files of others": FILES, "sandbox: processes and kernel": PROCESSES}


@pytest.fixture(scope="module")
def outside() -> Iterator[dict[str, Any]]:
    """A machine with a secret, a server and sockets; where they are."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        secret = place / "id_ed25519"
        secret.write_text("secret")
        secret.chmod(0o666)
        stream, datagram, abstract = (
            socket.socket(socket.AF_UNIX, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_STREAM)
        )
        names = {"stream": str(place / "stream"), "datagram": str(place / "datagram")}
        stream.bind(names["stream"])
        datagram.bind(names["datagram"])
        abstract.bind(f"\0alphaseal-{os.getpid()}")
        for path in names.values():
            os.chmod(path, 0o777)
        stream.listen()
        abstract.listen()
        with socket.create_server(("127.0.0.1", 0)) as server, stream, datagram, abstract:
            for one in (server, stream, datagram, abstract):
                one.setblocking(False)
            given = {"secret": str(secret), "port": server.getsockname()[1], "abstract": f"alphaseal-{os.getpid()}"}
            yield given | names | {"sockets": (server, stream, datagram, abstract)}


UNPRIVILEGED = """
import json, os, sys, tempfile
from pathlib import Path
import encodings.idna, encodings.latin_1
from alphaseal_converter.isolation import sandbox as isolation
os.setgroups([])
os.setresgid(12345, 12345, 12345)
os.setresuid(12345, 12345, 12345)
sys.executable = sys.argv[1]
inputs = {"outside.json": sys.argv[3].encode()}
limits = isolation.IsolationLimits(**json.loads(sys.argv[4]))
found = isolation.run_isolated(Path(sys.argv[2]), inputs=inputs, outputs=["answer"], limits=limits)
sys.stdout.write(found["answer"].decode())
"""
"""Runs a program isolated as a user without any rights, who has no account either."""


def anybodys_python() -> str:
    """A Python that every user can start; skips where there is none, or where this process cannot become another user."""
    if os.getuid() != 0:
        pytest.skip("not root: all other tests are run by a user without rights")
    for path in ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable):
        real = Path(os.path.realpath(path))
        if real.exists() and all(parent.stat().st_mode & 1 for parent in real.parents) and real.stat().st_mode & 1:
            return path
    pytest.skip("no Python that every user can start")


@pytest.fixture(scope="module", params=["as we are", "without rights"])
def outcomes(request: pytest.FixtureRequest, outside: dict[str, Any]) -> Mapping[str, str]:
    """What became of each probe, all of them tried in one process; by this user, and where it is root by another one."""
    text = [HEAD]
    for probes in KINDS.values():
        for name, body in probes.items():
            lines = "".join(f"    {line}\n" for line in body.splitlines())
            text.append(f"@probe({name!r})\ndef body():\n{lines}")
    text.append("json.dump(outcomes, open('answer', 'w'))\n")
    given = json.dumps({key: value for key, value in outside.items() if key != "sockets"})
    # Where any user may read it.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        program = Path(directory) / "probes.py"
        program.write_text("\n".join(text), encoding="utf-8")
        if request.param == "without rights":
            arguments = [anybodys_python(), str(program), given, json.dumps(asdict(LIMITS))]
            command = [sys.executable, "-c", UNPRIVILEGED, *arguments]
            answer = subprocess.run(command, check=True, capture_output=True, timeout=300).stdout
        else:
            inputs = {"outside.json": given.encode()}
            answer = run_isolated(program, inputs=inputs, outputs=["answer"], limits=LIMITS)["answer"]
    found: dict[str, str] = json.loads(answer)
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.attack(kind)) for kind, probes in KINDS.items() for name in probes],
)
def test_out_of_reach(outcomes: Mapping[str, str], name: str) -> None:
    """It is refused, not known or not there."""
    assert outcomes[name] in REFUSED


def test_nothing_arrived_and_nothing_changed(outcomes: Mapping[str, str], outside: dict[str, Any]) -> None:
    """After all of that no socket of the machine has anything, and the secret is as it was."""
    server, stream, datagram, abstract = outside["sockets"]
    assert len(outcomes) == sum(map(len, KINDS.values())) >= 80
    for one in (server, stream, abstract):
        with pytest.raises(BlockingIOError):
            one.accept()
    with pytest.raises(BlockingIOError):
        datagram.recv(100)
    assert Path(outside["secret"]).read_text() == "secret"
    assert len(os.listdir(Path(outside["secret"]).parent)) == 3


# --- what a probe cannot survive, or what looks at the process itself --------------------------------------------------


def isolated(
    text: str, tmp_path: Path, limits: IsolationLimits = LIMITS, outputs: tuple[str, ...] = ("answer",)
) -> Any:
    """The outputs of a program text, or the refusal that it ends with."""
    program = tmp_path / "program.py"
    program.write_text(text, encoding="utf-8")
    try:
        return run_isolated(program, inputs={}, outputs=outputs, limits=limits)
    except RefusalError as refusal:
        return refusal


ITSELF = {
    "no capability in any set": "assert set(field('CapInh') + field('CapPrm') + field('CapEff') + field('CapAmb')) == {'0'}",
    "no new privileges": "assert field('NoNewPrivs') == '1'",
    "a filter": "assert field('Seccomp') == '2'",
    "nobody": "assert os.getresuid() == os.getresgid() == (65534,) * 3 and not set(os.getgroups()) - {65534}",
    "one user in its namespace": "assert open('/proc/self/uid_map').read().split()[0::2] == ['65534', '1']",
    "no process but its own": "assert os.getpid() < 10 and os.getppid() == 2",
    "a host name that says nothing": "assert os.uname().nodename == 'sandbox'",
    "no network device": "assert [n for _, n in socket.if_nameindex()] == ['lo']",
    "no descriptor of ours": "assert sorted(map(int, os.listdir('/proc/self/fd')))[:3] == [0, 1, 2] and descriptors() == 3",
    "no variable of ours": "assert not {n for n in os.environ if n.startswith(('AWS', 'PYTHON', 'SSH', 'VIRTUAL'))}",
    "one place to write": "assert [line.split()[4] for line in open('/proc/self/mountinfo') if ' rw,' in line.split(' - ')[0]"
    " and not line.split()[4].startswith(('/dev/', '/proc'))] == ['/sandbox']",
    "nothing of the machine's root": "assert not [line for line in open('/proc/self/mountinfo') if line.split()[4] == '/outside']",
}


@pytest.mark.attack("sandbox: what the process is")
@pytest.mark.parametrize("check", ITSELF.values(), ids=ITSELF.keys())
def test_the_process_is_nobody_in_a_world_of_its_own(
    check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Identity, rights, namespaces and descriptors, as the process sees them itself."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    text = (
        "import os, socket\nstatus = dict(l.split(':', 1) for l in open('/proc/self/status') if ':' in l)\n"
        "def field(name): return ''.join(sorted(set(status[name].strip())))\n"
        "def descriptors():\n    own = os.open('.', os.O_RDONLY)\n    return own\n"
        f"try:\n    {check}\nexcept OSError as problem:\n    if problem.errno not in (1, 13): raise\nopen('answer', 'w')\n"
    )
    assert isolated(text, tmp_path) == {"answer": b""}


ENDS = {
    # time
    "an endless loop": ("while True: pass", "isolation.time"),
    "sleep that hears no signal": (
        "for n in (2, 15, 24): signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)",
        "isolation.time",
    ),
    "a stopped process": ("signal.raise_signal(signal.SIGSTOP)", "isolation.time"),
    "a thread that never ends": ("threading.Thread(target=time.sleep, args=(60,)).start()", "isolation.time"),
    "an exit handler that never ends": ("import atexit\natexit.register(time.sleep, 60)", "isolation.time"),
    "a flood of words": ("while True: print('x' * 10**6)", "isolation.time"),
    "words to nobody": ("os.close(1)\nos.close(2)\ntime.sleep(60)", "isolation.time"),
    "a full pipe": ("r, w = os.pipe()\nwhile True: os.write(w, b'x' * 65536)", "isolation.time"),
    "a lock that nobody opens": ("lock = threading.Lock()\nlock.acquire()\nlock.acquire()", "isolation.time"),
    "a timer that starts again": (
        "signal.signal(14, lambda *a: None)\nsignal.setitimer(0, 0.001, 0.001)\nwhile True: pass",
        "isolation.time",
    ),
    # memory
    "a large block": ("bytearray(8 << 30)", "isolation.memory"),
    "many blocks": ("kept = []\nwhile True: kept.append(bytearray(1 << 24))", "isolation.memory"),
    "mapped memory": ("kept = []\nwhile True: kept.append(mmap.mmap(-1, 1 << 26))", None),
    "shared mapped memory": ("kept = []\nwhile True: kept.append(mmap.mmap(-1, 1 << 26, mmap.MAP_SHARED))", None),
    "deep recursion": ("sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()", None),
    "stacks of threads": (
        "threading.stack_size(256 << 20)\nfor n in range(16): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        None,
    ),
    "many threads": (
        "threading.stack_size(65536)\nwhile True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "isolation.threads",
    ),
    # disk
    "a large file": ("open('x', 'wb').write(bytes(64 << 20))", "isolation.died"),
    "many files": ("for n in range(1000): open(f'f{n}', 'w')", "isolation.disk"),
    "much in files": ("for n in range(20): open(f'f{n}', 'wb').write(bytes(4 << 20))", "isolation.disk"),
    "files without a name": (
        "kept = []\nfor n in range(20):\n    kept.append(open('f', 'wb'))\n    os.unlink('f')\n    kept[-1].write(bytes(4 << 20))\n"
        "    kept[-1].flush()",
        "isolation.disk",
    ),
    "temporary files without a name": (
        "kept = [os.open('.', os.O_TMPFILE | os.O_RDWR) for n in range(20)]\nfor one in kept: os.write(one, bytes(4 << 20))",
        "isolation.disk",
    ),
    "files filled by holes": (
        "for n in range(20): os.posix_fallocate(os.open(f'f{n}', 66), 0, 4 << 20)",
        "isolation.disk",
    ),
    "many descriptors": ("kept = []\nwhile True: kept.append(os.open('/dev/null', 0))", "isolation.died"),
    # the end itself
    "abort": ("os.abort()", "isolation.died"),
    "a segmentation fault": ("ctypes.string_at(0)", "isolation.died"),
    "the 32-bit interface": (
        "page = mmap.mmap(-1, 4096, prot=7)\npage.write(bytes.fromhex('b814000000cd80c3'))\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()",
        "isolation.died",
    ),
}


@pytest.mark.attack("sandbox: time, memory and disk")
@pytest.mark.parametrize(("text", "code"), ENDS.values(), ids=ENDS.keys())
def test_everything_ends(text: str, code: str | None, tmp_path: Path) -> None:
    """Within seconds of its limit, with the limit's name; None: with any."""
    limits = replace(LIMITS, seconds=3 if code == "isolation.time" else 20)
    started = time.monotonic()
    found = isolated(
        f"import ctypes, mmap, os, signal, sys, threading, time\n{text}\nopen('answer', 'w')\n", tmp_path, limits
    )
    assert time.monotonic() - started < 60
    assert isinstance(found, RefusalError)
    assert found.code == (code or found.code)
    assert found.code != "isolation.unavailable"


RESULTS = {
    "none": ("pass", "isolation.no_output"),
    "another name": ("open('Answer', 'w')", "isolation.no_output"),
    "one that was removed": ("open('answer', 'w')\nos.unlink('answer')", "isolation.no_output"),
    "too large": ("open('answer', 'wb').write(bytes(2000))", "isolation.output"),
    "too large, with holes": ("os.truncate(os.open('answer', 66), 10**6)", "isolation.output"),
    "a bad end with an output": ("open('answer', 'w')\nos._exit(3)", "isolation.died"),
    "an end by signal with an output": ("open('answer', 'w')\nsignal.raise_signal(9)", "isolation.memory"),
}


@pytest.mark.attack("sandbox: results")
@pytest.mark.parametrize(("text", "code"), RESULTS.values(), ids=RESULTS.keys())
def test_results_that_are_none(text: str, code: str, tmp_path: Path) -> None:
    """Only a plain file of its own, written by a program that ended well, comes out."""
    limits = replace(LIMITS, output_bytes=1000)
    found = isolated(f"import os, signal, threading, time\n{text}\n", tmp_path, limits)
    assert isinstance(found, RefusalError)
    assert found.code == code


@pytest.mark.attack("sandbox: results")
@pytest.mark.parametrize("kind", ["frames", "replies"])
def test_words_of_the_program_are_no_reports(kind: str, tmp_path: Path) -> None:
    """Whatever it writes to whichever descriptor, it is not taken for what its keepers say."""
    frame = "b'F' + (4).to_bytes(8, 'little') + b'evil'" if kind == "frames" else "b'{\"ended\": 0}\\n'"
    text = (
        "import os\nfor number in range(1, 1024):\n    try:\n"
        f"        for _ in range(3): os.write(number, {frame})\n    except OSError: pass\n"
        "open('answer', 'w').write('mine')\n"
    )
    assert isolated(text, tmp_path) == {"answer": b"mine"}


# --- one run after the other --------------------------------------------------------------------------------------------

LEFT = {
    "a file": ("open('kept', 'w')", "os.path.exists('kept')"),
    "a file elsewhere": ("pass", "os.path.exists('/sandbox/kept')"),
    "a variable": ("os.environ['KEPT'] = '1'", "'KEPT' in os.environ"),
    "a module": ("import sys; sys.modules['kept'] = sys", "'kept' in __import__('sys').modules"),
    "a name of builtins": ("__import__('builtins').kept = 1", "hasattr(__import__('builtins'), 'kept')"),
    "another function of numpy": ("import numpy; numpy.mean = None", "__import__('numpy').mean is None"),
    "a directory": ("os.chdir('/')", "os.getcwd() != '/sandbox'"),
    "a signal": ("import signal; signal.signal(14, signal.SIG_IGN)", "__import__('signal').getsignal(14) == 1"),
    "a descriptor": ("os.dup2(1, 99)", "'99' in os.listdir('/proc/self/fd')"),
    "a limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (77, 77))",
        "__import__('resource').getrlimit(7)[0] == 77",
    ),
}


@pytest.mark.attack("sandbox: from run to run")
@pytest.mark.parametrize(("keep", "there"), LEFT.values(), ids=LEFT.keys())
def test_nothing_goes_from_run_to_run(keep: str, there: str, tmp_path: Path) -> None:
    """A second run in the same closed-off system finds nothing of the first, also of modules that both share."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import os, sys\nif sys.argv[1] == 'keep':\n    {keep}\n    out = '/sandbox/answer'\n"
        f"else:\n    out = 'answer'\n    assert not ({there})\nopen(out, 'w')\n"
    )
    with Sandbox(program, preload=("numpy",)) as sandbox:
        for argument in ("keep", "look"):
            assert sandbox.run(arguments=[argument], inputs={}, outputs=["answer"], limits=LIMITS) == {"answer": b""}


def test_a_limit_of_one_run_leaves_the_next(tmp_path: Path) -> None:
    """After a run that was stopped, or that died, the system goes on."""
    program = tmp_path / "program.py"
    program.write_text("import os, sys, time\nexec(sys.argv[1])\nopen('answer', 'w').write(str(os.getpid()))\n")
    short = replace(LIMITS, seconds=1)
    with Sandbox(program) as sandbox:
        for text, code in (("time.sleep(60)", "isolation.time"), ("os._exit(2)", "isolation.died")):
            with pytest.raises(RefusalError) as caught:
                sandbox.run(arguments=[text], inputs={}, outputs=["answer"], limits=short)
            assert caught.value.code == code
        assert int(sandbox.run(arguments=["pass"], inputs={}, outputs=["answer"], limits=LIMITS)["answer"]) > 2


@pytest.mark.attack("sandbox: time, memory and disk")
def test_inputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Inputs larger than the directory may be: the program does not start."""
    program = tmp_path / "program.py"
    program.write_text("open('answer', 'w')")
    with Sandbox(program) as sandbox:
        with pytest.raises(RefusalError) as caught:
            sandbox.run(inputs={"large": bytes(20 << 20), "small": b"x"}, outputs=["answer"], limits=LIMITS)
        assert caught.value.code == "isolation.disk"
        assert sandbox.run(inputs={"small": b"x"}, outputs=["answer"], limits=LIMITS) == {"answer": b""}


def test_threads_of_this_process_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Several systems at once, each with its own."""
    found: list[Any] = []
    texts = [f"open('answer', 'w').write('{number}')" for number in range(3)]
    places = [tmp_path / str(number) for number in range(3)]
    for place in places:
        place.mkdir()
    threads = [
        threading.Thread(target=lambda text=text, place=place: found.append(isolated(text, place)))
        for text, place in zip(texts, places, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(one["answer"] for one in found) == [b"0", b"1", b"2"]
