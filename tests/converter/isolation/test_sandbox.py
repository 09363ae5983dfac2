"""Hostile programs find nothing to reach and nothing to exhaust."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.isolation import sandbox as isolation
from alphaseal_converter.isolation.sandbox import IsolationLimits, run_isolated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation uses the Linux kernel's means")

SMALL = IsolationLimits(
    seconds=10, cpu_seconds=10, memory_bytes=1 << 30, file_bytes=8 << 20, directory_bytes=16 << 20, files=50
)

Run = Callable[..., Mapping[str, bytes]]

# The tried action's outcome goes to the file `answer`: "done", or the name of the error.
TRY = """
import sys
def attempt():
{body}
try:
    attempt()
    answer = "done"
except BaseException as problem:
    answer = type(problem).__name__
with open("answer", "w") as file:
    file.write(answer)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs program text isolated and gives the outputs back."""

    def start(
        text: str, outputs: tuple[str, ...] = ("answer",), limits: IsolationLimits = SMALL, **inputs: bytes
    ) -> Mapping[str, bytes]:
        program = tmp_path / "program.py"
        program.write_text(text, encoding="utf-8")
        return run_isolated(program, inputs=inputs, outputs=outputs, limits=limits)

    return start


def outcome(run: Run, body: str, **inputs: bytes) -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return run(TRY.format(body=lines), **inputs)["answer"].decode()


def refusal(run: Run, text: str, limits: IsolationLimits = SMALL) -> RefusalError:
    with pytest.raises(RefusalError) as caught:
        run(text, limits=limits)
    return caught.value


def test_inputs_go_in_and_outputs_come_out(run: Run) -> None:
    """A peaceful program reads its inputs, imports numpy and writes its output."""
    text = (
        "import numpy, os\ndata = open('given', 'rb').read()\nopen('answer', 'wb').write(data * int(numpy.array(2)))\n"
    )
    assert run(text, given=b"ab") == {"answer": b"abab"}


def test_arguments_arrive(tmp_path: Path) -> None:
    """Arguments are handed over as they are."""
    program = tmp_path / "program.py"
    program.write_text("import sys\nopen('answer', 'w').write('|'.join(sys.argv[1:]))\n")
    result = run_isolated(program, arguments=["a b", "$HOME"], inputs={}, outputs=["answer"], limits=SMALL)
    assert result["answer"] == b"a b|$HOME"


@pytest.mark.attack("sandbox: network")
@pytest.mark.parametrize(
    "body",
    [
        "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)",
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
        "import socket\nsocket.socket(socket.AF_UNIX).connect('/run/dbus/system_bus_socket')",
        "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import socket\nsocket.socket(socket.AF_INET6).bind(('::', 0))",
    ],
)
def test_no_network(run: Run, body: str) -> None:
    """No socket of any kind, not even to this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert outcome(run, body.replace("{port}", str(server.getsockname()[1]))) == "PermissionError"


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file that everybody may read, in a directory that everybody may enter, outside of the program's directory."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = Path(directory, "id_ed25519")
        path.write_text("secret")
        path.chmod(0o666)
        yield path


@pytest.mark.attack("sandbox: files of others")
@pytest.mark.parametrize(
    "body",
    [
        "open({path!r}).read()",
        "open({path!r}, 'a').write('more')",
        "open({path!r}, 'w')",
        "import os\nos.open({path!r}, os.O_RDONLY | os.O_TRUNC)",
        "import os\nos.truncate({path!r}, 0)",
        "import os\nos.unlink({path!r})",
        "import os\nos.chmod({path!r}, 0o777)",
        "import os\nos.utime({path!r})",
        "import os\nos.setxattr({path!r}, 'user.a', b'b')",
        "import os\nos.link({path!r}, 'mine')",
        "import os\nos.rename({path!r}, 'mine')",
        "import os\nos.symlink({path!r}, 'answer')",
        "import os\nos.listdir(os.path.dirname({path!r}))",
        "open(__import__('os').path.dirname({path!r}) + '/new', 'w')",
        "open('/etc/passwd').read()",
        "open('/proc/1/environ').read()",
        "import os\nopen(f'/proc/{{os.getppid()}}/environ').read()",
        "open('/proc/self/root/etc/passwd').read()",
        "import os\nos.listdir('/')",
        "import os\nos.mkdir('sub')",
        "import os\nos.mkfifo('pipe')",
    ],
)
def test_no_file_of_others(run: Run, secret: Path, body: str) -> None:
    """Nothing outside can be read, listed, written, moved, linked, or changed in mode, time or attributes."""
    before = secret.stat()
    # Not permitted, not there at all, or on a sealed file system.
    assert outcome(run, body.format(path=str(secret))) in ("PermissionError", "FileNotFoundError", "OSError")
    after = secret.stat()
    assert secret.read_text() == "secret"
    assert (before.st_mode, before.st_mtime_ns, before.st_nlink) == (after.st_mode, after.st_mtime_ns, after.st_nlink)


def test_the_python_installation_cannot_be_changed(run: Run) -> None:
    """What the program may read it may not write, empty or touch."""
    body = "import os, json\nos.close(os.open(json.__file__, os.O_RDONLY))\nos.open(json.__file__, os.O_RDONLY | os.O_TRUNC)"
    sealed = ("PermissionError", "OSError")
    assert outcome(run, body) in sealed
    assert outcome(run, "import os, json\nopen(json.__file__, 'a')") in sealed
    assert outcome(run, "import os, json\nopen(os.path.dirname(json.__file__) + '/evil.py', 'w')") in sealed


def test_no_environment_and_no_descriptor(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither variables nor open files of ours are there."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    text = (
        "import json, os\n"
        "own = os.open('.', os.O_RDONLY)\n"
        "links = {n: os.readlink(f'/proc/self/fd/{n}') for n in map(int, os.listdir('/proc/self/fd')) if n < own and n > 2}\n"
        "json.dump([dict(os.environ), links], open('answer', 'w'))\n"
    )
    with open(os.devnull) as held:
        os.set_inheritable(held.fileno(), True)
        environment, descriptors = json.loads(run(text)["answer"])
    given = {
        "HOME",
        "TMPDIR",
        "PATH",
        "LC_ALL",
        "OMP_NUM_THREADS",
        "HDF5_USE_FILE_LOCKING",
        "JE_ARROW_MALLOC_CONF",
        "TORCHINDUCTOR_CACHE_DIR",
    }
    assert set(environment) <= given | {"LD_LIBRARY_PATH"}
    assert descriptors == {}


@pytest.mark.attack("sandbox: processes")
@pytest.mark.parametrize(
    "body",
    [
        "import os\nos.fork()",
        "import os\nwhile True: os.fork()",
        "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'id'])",
        "import os\nos.posix_spawn('/bin/true', ['true'], {})",
        "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo done > answer'])",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.kill(-1, 9)",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))",
        "import os\nos.setpriority(os.PRIO_USER, os.getuid(), 19)",
    ],
)
def test_no_process(run: Run, body: str) -> None:
    """No child, no other program, no signal to anybody."""
    assert outcome(run, body) == "PermissionError"


CALL = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nresult = libc.syscall({arguments})\nraise OSError(ctypes.get_errno(), '') if result < 0 else None"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("425, 8, ctypes.create_string_buffer(256)", "PermissionError"),  # io_uring: sockets without the socket call
        ("435, ctypes.create_string_buffer(88), 88", "OSError"),  # clone3: ENOSYS
        ("272, 0x10000000", "PermissionError"),  # unshare: capabilities of a new user namespace
        ("319, b'memory', 0", "PermissionError"),  # memfd_create: memory that no limit counts
        ("29, 0, 1 << 20, 0o1666", "PermissionError"),  # shmget: outlives the process
        ("0x40000000 + 41, 2, 1, 0", "OSError"),  # socket by the x32 interface
        ("101, 16, 1, 0, 0", "PermissionError"),  # ptrace
        ("304, -100, ctypes.create_string_buffer(64), 0", "PermissionError"),  # open_by_handle_at: around all paths
    ],
)
def test_no_way_around_by_raw_system_calls(run: Run, arguments: str, error: str) -> None:
    """The calls that would lead around the other rules are refused themselves."""
    assert outcome(run, CALL.format(arguments=arguments)) == error


def test_the_32_bit_interface_is_fatal(run: Run) -> None:
    """int 0x80 reaches other call numbers; whoever uses it is ended."""
    text = (
        "import ctypes, mmap\n"
        "code = bytes.fromhex('b814000000cd80c3')\n"  # mov eax, 20 (getpid); int 0x80; ret
        "page = mmap.mmap(-1, 4096, prot=7)\npage.write(code)\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(address)()\n"
        "open('answer', 'w').write('done')\n"
    )
    assert refusal(run, text).code == "isolation.died"


def test_no_capability_is_left(run: Run) -> None:
    """All capability sets are empty, and no program can give one back."""
    status = run("open('answer', 'w').write(open('/proc/self/status').read())\n")["answer"].decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


def test_threads_work(run: Run) -> None:
    """Threads are not processes: numerical libraries may have them."""
    body = "import threading\nthread = threading.Thread(target=print)\nthread.start()\nthread.join()"
    assert outcome(run, body) == "done"


def test_endless_loop_is_stopped(run: Run) -> None:
    """The clock stops a program that does nothing else."""
    started = time.monotonic()
    problem = refusal(run, "while True: pass", IsolationLimits(seconds=1))
    assert problem.code == "isolation.time"
    assert time.monotonic() - started < 5


def test_processor_time_is_limited(run: Run) -> None:
    """CPU seconds are counted apart from the clock."""
    assert refusal(run, "while True: pass", IsolationLimits(seconds=20, cpu_seconds=1)).code == "isolation.time"


def test_sleeping_is_stopped(run: Run) -> None:
    """A program that ignores every signal it may ignore is stopped all the same."""
    text = "import signal, time\nfor n in (2, 15, 24): signal.signal(n, signal.SIG_IGN)\nprint('x' * 10**6, flush=True)\ntime.sleep(60)"
    assert refusal(run, text, IsolationLimits(seconds=1)).code == "isolation.time"


@pytest.mark.parametrize("text", ["x = bytearray(8 << 30)", "x = []\nwhile True: x.append(bytearray(1 << 24))"])
def test_huge_memory_is_stopped(run: Run, text: str) -> None:
    """Address space beyond the limit is not given."""
    assert refusal(run, text).code == "isolation.memory"


def test_many_threads_are_stopped(run: Run) -> None:
    """A bomb of threads ends with the program."""
    text = "import threading, time\nthreading.stack_size(65536)\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()"
    assert refusal(run, text).code in ("isolation.threads", "isolation.died")


@pytest.mark.parametrize(
    "text",
    [
        "for n in range(1000):\n    with open(f'f{n}', 'wb') as file: file.write(bytes(1 << 20))\nimport time; time.sleep(9)",
        "for n in range(100): open(f'f{n}', 'wb').close()\nimport time; time.sleep(9)",
    ],
)
def test_full_disk_is_prevented(run: Run, text: str) -> None:
    """Many files, or much in them, stop the program."""
    assert refusal(run, text).code == "isolation.disk"


def test_files_that_come_and_go_do_no_harm(run: Run) -> None:
    """A file that is gone when its size is looked at is no fault of ours."""
    text = "import os\nfor n in range(20000):\n    open('a', 'wb').close(); os.unlink('a')\nopen('answer', 'w')\n"
    assert run(text) == {"answer": b""}


def test_one_huge_file_is_prevented(run: Run) -> None:
    """A single file grows to its limit only."""
    assert outcome(run, "open('big', 'wb').write(bytes(64 << 20))") == "OSError"


def test_endless_output_is_read_away(run: Run) -> None:
    """Whoever floods standard output fills no memory of ours, and its last line is quoted."""
    problem = refusal(run, "import sys\nfor n in range(200000): print('flood' * 20)\nsys.exit('the last word')")
    assert (problem.code, "the last word" in str(problem.found)) == ("isolation.died", True)


@pytest.mark.parametrize("text", ["pass", "open('other', 'w')"])
def test_missing_output_is_named(run: Run, text: str) -> None:
    """A program that ends well without its output is refused."""
    assert refusal(run, text).code == "isolation.no_output"


def test_output_larger_than_allowed_is_refused(run: Run) -> None:
    """The size of an output is looked at before it is read."""
    limits = IsolationLimits(output_bytes=10)
    assert refusal(run, "open('answer', 'wb').write(bytes(11))", limits).code == "isolation.output"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\0b"])
def test_names_are_plain(tmp_path: Path, name: str) -> None:
    """No input or output leaves the directory by its name."""
    program = tmp_path / "program.py"
    program.write_text("pass")
    for inputs, outputs in (({name: b""}, []), ({}, [name])):
        with pytest.raises(RefusalError) as caught:
            run_isolated(program, inputs=inputs, outputs=outputs)
        assert caught.value.code == "isolation.name"


def test_nothing_is_left_behind(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is removed after a good end and after a bad one."""
    place = Path(tempfile.mkdtemp())
    os.chmod(place, 0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    run("open('answer', 'w')")
    refusal(run, "open('answer', 'w'); raise SystemExit(3)")
    assert list(place.iterdir()) == []
    place.rmdir()


@pytest.mark.usefixtures("without_isolation")
def test_without_protection_nothing_runs(tmp_path: Path) -> None:
    """Where the launcher cannot close the program off, the program does not start and the reason is told."""
    marker = Path(tempfile.gettempdir()) / f"alphaseal-started-{os.getpid()}"
    program = tmp_path / "program.py"
    program.write_text(f"open({str(marker)!r}, 'w')\nopen('answer', 'w')\n")
    with pytest.raises(RefusalError) as caught:
        run_isolated(program, inputs={}, outputs=["answer"])
    assert (caught.value.code, caught.value.exit) == ("isolation.unavailable", 20)
    assert "Landlock" in caught.value.message
    assert not marker.exists()


def test_root_becomes_nobody() -> None:
    """Root's program runs as nobody wherever nobody can read the Python; else it keeps its number without any right."""
    system = Path("/usr/bin/python3")
    if os.getuid() != 0 or not system.exists():
        pytest.skip("needs root and the system's Python")
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "program.py")
        program.write_text(
            "import os\nopen('answer', 'w').write(repr((os.getresuid(), os.getresgid(), os.getgroups())))"
        )
        result = run_isolated(program, inputs={}, outputs=["answer"], python=system, limits=SMALL)
    assert result["answer"] == b"((65534, 65534, 65534), (65534, 65534, 65534), [])"


def test_the_launcher_needs_the_standard_library_only() -> None:
    """The launcher runs with another Python, without its packages."""
    launcher = str(isolation._LAUNCHER)
    done = subprocess.run(
        [sys.executable, "-I", "-S", launcher, "{}", "1"], capture_output=True, check=False, timeout=30
    )
    assert b"ModuleNotFoundError" not in done.stderr
