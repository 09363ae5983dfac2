"""A machine that does not give every protection runs nothing; and whoever dies, nothing of a sandbox lives on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.isolation.sandbox import IsolationLimits, Sandbox, run_isolated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation uses the Linux kernel's means")

DENYING = """
import ctypes, struct, sys
from pathlib import Path
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.isolation.sandbox import IsolationLimits, run_isolated

# A filter of system calls that refuses one, as a container or a hardened machine does; it holds for all that follow.
number, first, error, program = *map(int, sys.argv[1:4]), sys.argv[4]
code = [(0x20, 0, 0, 0), (0x15, 0, 4, number)]
code += [(0x20, 0, 0, 16), (0x15, 1, 0, first), (0x06, 0, 0, 0x7FFF0000 if first >= 0 else 0x50000 | error)]
code += [(0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)]
if first < 0:
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)]
data = b"".join(struct.pack("<HBBI", *one) for one in code)
libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(data, len(data))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(buffer)), 0, 0) == 0
try:
    run_isolated(Path(program), inputs={}, outputs=["answer"], limits=IsolationLimits(seconds=20))
    print("ran")
except RefusalError as refusal:
    print(refusal.code, refusal.exit, refusal.message, "NEXT", refusal.next_step)
"""


@pytest.mark.attack("sandbox: a protection that is missing")
@pytest.mark.parametrize(
    ("name", "number", "first", "error", "words"),
    [
        ("unshare", 272, -1, errno.EPERM, "namespaces"),
        ("unshare, none left", 272, -1, errno.ENOSPC, "namespaces"),
        ("mount", 165, -1, errno.EPERM, "mounting"),
        ("mount, by a security module", 165, -1, errno.EACCES, "mounting"),
        ("pivot_root", 155, -1, errno.EPERM, "root directory"),
        ("umount2", 166, -1, errno.EPERM, "root directory"),
        ("mount_setattr", 442, -1, errno.ENOSYS, "sealing"),
        ("sethostname", 170, -1, errno.EPERM, "host name"),
        ("Landlock", 444, -1, errno.ENOSYS, "Landlock"),
        ("a rule of Landlock", 445, -1, errno.ENOSYS, "Landlock"),
        ("Landlock's end", 446, -1, errno.EPERM, "Landlock"),
        ("seccomp", 157, 22, errno.EINVAL, "seccomp"),
        ("no new privileges", 157, 38, errno.EINVAL, "NO_NEW_PRIVS"),
        ("capset", 126, -1, errno.EPERM, "capabilities"),
        ("another user", 117, -1, errno.EPERM, ""),
    ],
)
def test_without_a_protection_nothing_runs(
    tmp_path: Path, name: str, number: int, first: int, error: int, words: str
) -> None:
    """Refused with 20, with what is missing and how to allow it; the program is not started."""
    program = tmp_path / "program.py"
    program.write_text("open('answer', 'w')\n")
    command = [sys.executable, "-c", DENYING, str(number), str(first), str(error), str(program)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("isolation.unavailable 20 "), done.stdout + done.stderr
    assert words in done.stdout
    assert "docs/ci.md" in done.stdout.partition("NEXT")[2]


MASKING = """
import ctypes, sys
from pathlib import Path
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.isolation.sandbox import run_isolated

libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0
assert libc.mount(b"none", b"/", None, (1 << 18) | 16384, None) == 0
assert libc.mount(b"tmpfs", b"/proc/fs", b"tmpfs", 0, None) == 0
try:
    run_isolated(Path(sys.argv[1]), inputs={}, outputs=["answer"])
    print("ran")
except RefusalError as refusal:
    print(refusal.code, refusal.exit, refusal.message)
"""


@pytest.mark.attack("sandbox: a protection that is missing")
def test_a_container_with_a_masked_proc_runs_nothing(tmp_path: Path) -> None:
    """Where parts of /proc are hidden, as in a container, the kernel gives no private one: that is a refusal, not less."""
    if os.getuid() != 0:
        pytest.skip("only root can hide parts of /proc")
    program = tmp_path / "program.py"
    program.write_text("open('answer', 'w')\n")
    done = subprocess.run(
        [sys.executable, "-c", MASKING, str(program)], capture_output=True, text=True, timeout=300, check=False
    )
    if "AssertionError" in done.stderr:
        pytest.skip("this root may not mount either")
    assert done.stdout.startswith("isolation.unavailable 20 ")
    assert "mounting proc" in done.stdout


@pytest.mark.attack("sandbox: a protection that is missing")
def test_root_without_its_rights_is_closed_off_or_refused(tmp_path: Path) -> None:
    """As in a plain container, root without CAP_SYS_ADMIN: everything is there all the same, or nothing runs."""
    if os.getuid() != 0:
        pytest.skip("only root has rights to lose")
    program = tmp_path / "program.py"
    program.write_text("import os\nopen('answer', 'w').write(open('/proc/self/status').read())\n")
    text = (
        "import ctypes, os, sys\nctypes.CDLL(None).prctl(24, 21, 0, 0, 0)\n"  # PR_CAPBSET_DROP, CAP_SYS_ADMIN
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1], *sys.argv[2:]])\n"
    )
    inner = (
        "import sys\nfrom pathlib import Path\nfrom alphaseal_converter.isolation.sandbox import *\n"
        "from alphaseal_converter.errors import RefusalError\ntry:\n"
        "    print(run_isolated(Path(sys.argv[1]), inputs={}, outputs=['answer'])['answer'].decode())\n"
        "except RefusalError as refusal:\n    print(refusal.code)\n"
    )
    command = [sys.executable, "-c", text, inner, str(program)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    if done.stdout.strip() != "isolation.unavailable":
        fields = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == ["65534"] * 4
        assert (fields["Seccomp"], int(fields["CapPrm"], 16)) == ("2", 0)


# --- death --------------------------------------------------------------------------------------------------------------

SLEEPER = """
import ctypes, signal, threading, time
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
threading.Thread(target=time.sleep, args=(600,)).start()
open("started", "w")
time.sleep(600)
"""
PARENT = (
    "import sys\nfrom pathlib import Path\nfrom alphaseal_converter.isolation.sandbox import *\n"
    "from alphaseal_converter.errors import RefusalError\ntry:\n"
    "    run_isolated(Path(sys.argv[1]), inputs={}, outputs=['answer'], limits=IsolationLimits(seconds=300))\n"
    "except RefusalError as refusal:\n    print(refusal.code)\n"
)


def descendants(process: int) -> list[int]:
    """All processes below one, from the outside in."""
    found = []
    for thread in Path(f"/proc/{process}/task").iterdir() if Path(f"/proc/{process}/task").exists() else ():
        with suppress(OSError):
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def alive(process: int) -> bool:
    """Whether it runs; one that is dead and not yet fetched by whoever adopted it does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process with a sandbox in which a program sleeps, and the processes below: launcher, process 1, runner, program."""
    program = tmp_path / "program.py"
    program.write_text(SLEEPER)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(program)], stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    below: list[int] = []
    while len(below) < 4 and time.monotonic() < until:
        time.sleep(0.1)
        below = descendants(parent.pid)
    time.sleep(1)
    assert len(below) == 4
    yield parent, below
    for process in (parent.pid, *below):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    parent.wait()


@pytest.mark.attack("sandbox: outliving the parent")
@pytest.mark.parametrize("victim", ["parent", "launcher", "process 1", "runner", "program"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_death_of_one_is_the_end_of_all_inside(
    running: tuple[subprocess.Popen[str], list[int]], victim: str, number: signal.Signals
) -> None:
    """Whoever is killed, nothing of the sandbox is alive soon after; a parent that lives gets a refusal."""
    parent, below = running
    place = ["parent", "launcher", "process 1", "runner", "program"].index(victim)
    if victim in ("process 1", "program") and number == signal.SIGTERM:
        pytest.skip("they do not die of it: the kernel keeps it from one, the other ignores it")
    os.kill([parent.pid, *below][place], number)
    until = time.monotonic() + 30
    while any(map(alive, below)) and time.monotonic() < until:
        time.sleep(0.05)
    assert [process for process in below if alive(process)] == []
    if victim != "parent":
        assert parent.communicate(timeout=60)[0].startswith("isolation.")


@pytest.mark.attack("sandbox: outliving the parent")
def test_an_interrupt_leaves_nothing(running: tuple[subprocess.Popen[str], list[int]]) -> None:
    """Ctrl-C in the parent ends all that is inside."""
    parent, below = running
    parent.send_signal(signal.SIGINT)
    parent.wait(60)
    assert [process for process in below if alive(process)] == []


def test_a_runner_that_the_system_ended_is_made_anew(tmp_path: Path) -> None:
    """Where the system ends it for want of memory, the run says so, and the next one has another."""
    program = tmp_path / "program.py"
    program.write_text("import sys, time\ntime.sleep(float(sys.argv[1]))\nopen('answer', 'w')\n")
    with Sandbox(program) as sandbox:
        assert sandbox.run(arguments=["0"], inputs={}, outputs=["answer"]) == {"answer": b""}
        assert sandbox._child is not None
        _, runner = descendants(sandbox._child.process.pid)
        killer = threading.Timer(1.5, os.kill, (runner, signal.SIGKILL))
        killer.start()
        with pytest.raises(RefusalError) as caught:
            sandbox.run(arguments=["60"], inputs={}, outputs=["answer"])
        killer.join()
        assert caught.value.code == "isolation.memory"
        assert sandbox.run(arguments=["0"], inputs={}, outputs=["answer"]) == {"answer": b""}


def test_the_launcher_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait of the parent has an end, even where its own launcher says nothing."""
    from alphaseal_converter.isolation import sandbox as isolation

    launcher = tmp_path / "launcher.py"
    launcher.write_text("import time\ntime.sleep(600)\n")
    program = tmp_path / "program.py"
    program.write_text("pass")
    monkeypatch.setattr(isolation, "_LAUNCHER", launcher)
    monkeypatch.setattr(isolation, "_START_SECONDS", 1.0)
    monkeypatch.setattr(isolation, "_END_SECONDS", 1.0)
    started = time.monotonic()
    with pytest.raises(RefusalError) as caught:
        run_isolated(program, inputs={}, outputs=[], limits=IsolationLimits(seconds=1))
    assert caught.value.code == "isolation.time"
    assert time.monotonic() - started < 30
