"""Tab completion, asked of the real shells."""

from __future__ import annotations

import importlib.util
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from alphaseal import cli
from alphaseal.desk.completion import ENDINGS, SCRIPTS
from alphaseal_converter import cli as converter
from alphaseal_converter.cli.completion import SCRIPTS as CONVERTER_SCRIPTS
from locations import REPOSITORY

SCRIPT_OF = {"alphaseal": SCRIPTS, "alphaseal-convert": CONVERTER_SCRIPTS}
COMPLETED = [
    ("alphaseal ver", "alphaseal verify"),
    ("alphaseal trust rev", "alphaseal trust revoke"),
    ("alphaseal diff old new --m", "alphaseal diff old new --markdown"),
    ("alphaseal score bundle --instruments-from q", "alphaseal score bundle --instruments-from qlib"),
    ("alphaseal completion po", "alphaseal completion powershell"),
    ("alphaseal verify --trust tru", "alphaseal verify --trust trust.json"),
    ("alphaseal verify tru", "alphaseal verify trust.json"),
    ("alphaseal-convert build task --weights se", "alphaseal-convert build task --weights session"),
    ("alphaseal-convert val", "alphaseal-convert validate"),
]
"""What is typed before the tab, and what stands there afterwards; trust.json is the only file there."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with one file."""
    (tmp_path / "trust.json").write_text("{}", encoding="utf-8")
    return tmp_path


def needs(shell: str) -> str:
    """The shell's program, or a skipped test."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    return program


def script(command: str, shell: str) -> Path:
    """Where the script of a command for a shell is."""
    return SCRIPT_OF[command] / f"{command}.{ENDINGS[shell]}"


def ask(program: list[str], place: Path) -> str:
    """What a shell prints; it has no complaint."""
    done = subprocess.run(program, cwd=place, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def maker() -> ModuleType:
    """tools/completions.py."""
    pytest.importorskip("shtab", reason="shtab is not installed (requirements/development.txt)")
    specification = importlib.util.spec_from_file_location("completions", REPOSITORY / "tools/completions.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_scripts_are_those_of_the_parsers() -> None:
    """What ships is what shtab makes of the parsers now; `make completions` writes it."""
    made = maker().scripts()
    assert len(made) == 2 * len(ENDINGS)
    assert {path.name: path.read_text("utf-8") for path in made} == {path.name: text for path, text in made.items()}


@pytest.mark.parametrize(("main", "command"), [(cli.main, "alphaseal"), (converter.main, "alphaseal-convert")])
@pytest.mark.parametrize("shell", ENDINGS)
def test_the_script_is_printed(main: Any, command: str, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is, byte for byte: nothing in it has to be escaped."""
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == script(command, shell).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", SCRIPT_OF)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_good_shell(command: str, shell: str, place: Path) -> None:
    """The shell reads its script without a complaint."""
    assert ask([needs(shell), "-n", str(script(command, shell))], place) == ""


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
def test_bash_completes(typed: str, completed: str, place: Path) -> None:
    """Asked through the function that `complete -F` names."""
    command = typed.split(maxsplit=1)[0]
    program = (
        'source "$1"\nread -ra COMP_WORDS <<< "$2"\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n'
        'function=$(complete -p "$3" | sed "s/.*-F \\([^ ]*\\).*/\\1/")\n'
        '"$function"\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    asked = [needs("bash"), "--norc", "-c", program, "bash", str(script(command, "bash")), typed, command]
    assert ask(asked, place).split() == completed.split()[-1:]


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
def test_fish_completes(typed: str, completed: str, place: Path) -> None:
    """Asked through fish's own `complete --do-complete`."""
    program = f"source {script(typed.split(maxsplit=1)[0], 'fish')}\ncomplete --do-complete '{typed}'"
    offered = ask([needs("fish"), "--no-config", "-c", program], place).splitlines()
    assert [line.split("\t")[0] for line in offered] == completed.split()[-1:]


@contextmanager
def interactive(program: list[str], place: Path) -> Iterator[int]:
    """A shell at a terminal of its own; gives the terminal's other end."""
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place)
        os.execvpe(program[0], program, os.environ | {"TERM": "dumb", "HOME": str(place)})
    try:
        yield terminal
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def read_until(terminal: int, mark: str, seconds: float = 30) -> str:
    """What a terminal shows up to a mark."""
    shown, end = "", time.monotonic() + seconds
    while mark not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        assert ready, f"no {mark!r} after {seconds} seconds: {shown!r}"
        shown += os.read(terminal, 65536).decode()
    return shown


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
def test_zsh_completes(place: Path) -> None:
    """Typed at an interactive zsh with a tab: what the command is then called with."""
    setup = [
        "PROMPT= RPROMPT= PROMPT_EOL_MARK=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D",
        *(f'eval "$(cat {script(command, "zsh")})"' for command in SCRIPT_OF),
        *(f'function {command}() {{ print -r -- "<<{command} $*>>" }}' for command in SCRIPT_OF),
        "print ready''now",
    ]
    with interactive([needs("zsh"), "-f", "-i"], place) as terminal:
        os.write(terminal, "\n".join([*setup, ""]).encode())
        read_until(terminal, "readynow")
        for typed, completed in COMPLETED:
            os.write(terminal, f"{typed}\t\n".encode())
            found = re.findall("<<(.*?)>>", read_until(terminal, ">>"))
            assert [line.strip() for line in found] == [completed]
        os.write(terminal, b"exit\n")


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
def test_powershell_completes(typed: str, completed: str, place: Path) -> None:
    """Asked through PowerShell's own `TabExpansion2`."""
    question = f"(TabExpansion2 -inputScript '{typed}' -cursorColumn {len(typed)}).CompletionMatches.CompletionText"
    program = f". '{script(typed.split(maxsplit=1)[0], 'powershell')}'\n{question}"
    offered = ask([needs("pwsh"), "-NoProfile", "-Command", program], place).split()
    assert [Path(word).name for word in offered] == completed.split()[-1:]


@pytest.mark.parametrize("command", SCRIPT_OF)
def test_powershell_script_is_whole(command: str) -> None:
    """Where no PowerShell is at hand: each verb has its options, and quotes and brackets are closed."""
    text = script(command, "powershell").read_text(encoding="utf-8")
    for verb in {"alphaseal": cli, "alphaseal-convert": converter}[command].command.COMMAND.verbs:
        assert re.search(rf"^    '_shtab_\w+_{verb}' = @\('-h', ", text, re.MULTILINE), verb
    assert all(line.count("'") % 2 == 0 for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert text.count("{") == text.count("}")
