"""Tab completion, asked of the real shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from alphaseal.cli import command
from alphaseal.desk.completion import script, words_of
from alphaseal.terminal.console import SHELLS
from alphaseal_converter.cli import command as converter_command

COMMANDS = {"alphaseal": command._parser(""), "alphaseal-convert": converter_command._parser("")}


def needs(shell: str) -> str:
    """The shell's program, or a skipped test."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    return program


def bash_offers(command: str, line: str, directory: Path) -> list[str]:
    """What bash offers at the end of `line`, asked through the function that `complete -F` names."""
    source = directory / "completion.bash"
    source.write_text(script("bash", COMMANDS[command]), encoding="utf-8")
    program = (
        'source "$1"\n'
        'read -ra COMP_WORDS <<< "$2"\n[[ "$2" == *" " ]] && COMP_WORDS+=("")\n'
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
        'function=$(complete -p "$3" | sed "s/.*-F \\([^ ]*\\).*/\\1/")\n'
        '"$function"\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [needs("bash"), "--norc", "-c", program, "bash", str(source), line, command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return sorted(done.stdout.split())


def test_tables_are_those_of_the_parsers() -> None:
    """Every verb of a command, and every option of a verb that its help names, is in the table."""
    words = words_of(COMMANDS["alphaseal"])
    assert set(words[()].verbs) == set(command._VERBS)
    assert set(words["trust",].verbs) >= {"init", "add", "revoke", "show"}
    assert {"--markdown", "--json", "--exit-code"} <= set(words["diff",].options)
    assert words["score",].values["--instruments-from"] == ("qlib", "ts")
    assert words["completion",].positional == SHELLS
    assert "--json" not in words["diff",].values
    converter = words_of(COMMANDS["alphaseal-convert"])
    assert converter["build",].values["--weights"] == ("auto", "session", "workspace", "scan")


@pytest.mark.parametrize(
    ("command", "line", "expected"),
    [
        ("alphaseal", "alphaseal ver", ["verify"]),
        ("alphaseal", "alphaseal trust ", ["add", "init", "revoke", "show"]),
        ("alphaseal", "alphaseal diff old new --m", ["--markdown"]),
        ("alphaseal", "alphaseal score bundle --instruments-from ", ["qlib", "ts"]),
        ("alphaseal", "alphaseal completion p", ["powershell"]),
        ("alphaseal", "alphaseal verify --trust ", []),
        ("alphaseal-convert", "alphaseal-convert build task --weights s", ["scan", "session"]),
        ("alphaseal-convert", "alphaseal-convert val", ["validate"]),
    ],
)
def test_bash_offers_what_the_parser_knows(command: str, line: str, expected: list[str], tmp_path: Path) -> None:
    """Verbs, verbs of verbs, options and choices; nothing (so that bash offers files) where a file is expected."""
    offered = bash_offers(command, line, tmp_path)
    assert offered == expected


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_script_is_good_shell(command: str, shell: str, tmp_path: Path) -> None:
    """The shell reads its script without a complaint."""
    (tmp_path / "script").write_text(script(shell, COMMANDS[command]), encoding="utf-8")
    done = subprocess.run([needs(shell), "-n", str(tmp_path / "script")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_zsh_offers_verbs_and_choices(tmp_path: Path) -> None:
    """With zsh's own helpers written down, the function offers the verbs, and the choices of an option."""
    program = needs("zsh")
    (tmp_path / "completion.zsh").write_text(script("zsh", COMMANDS["alphaseal"]), encoding="utf-8")
    test = (
        "compdef() { :; }\n_files() { print files; }\n_describe() { print -l -- ${offered%%:*}; }\n"
        'compadd() { shift; print -l -- "$@"; }\n'
        f"source {tmp_path}/completion.zsh\n"
        "words=(alphaseal ''); CURRENT=2; _alphaseal; print =\n"
        "words=(alphaseal score --instruments-from ''); CURRENT=4; _alphaseal; print =\n"
        "words=(alphaseal verify ''); CURRENT=3; _alphaseal\n"
    )
    done = subprocess.run([program, "-f", "-c", test], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    verbs, choices, files = done.stdout.split("=\n")
    assert set(verbs.split()) == set(command._VERBS)
    assert choices.split() == ["qlib", "ts"]
    assert files.split() == ["files"]


def test_fish_offers_verbs_and_choices(tmp_path: Path) -> None:
    """fish's own `complete --do-complete` offers verbs, options and choices."""
    program = needs("fish")
    (tmp_path / "completion.fish").write_text(script("fish", COMMANDS["alphaseal"]), encoding="utf-8")
    asked = ["alphaseal ver", "alphaseal trust ", "alphaseal score --instruments-from ", "alphaseal diff --mark"]
    test = f"source {tmp_path}/completion.fish\n" + "".join(
        f"complete --do-complete '{line}'\necho =\n" for line in asked
    )
    done = subprocess.run([program, "--no-config", "-c", test], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    offered = [{line.split("\t")[0] for line in part.splitlines()} for part in done.stdout.split("=\n")]
    assert offered[0] == {"verify"}
    assert {"add", "init", "revoke", "show"} <= offered[1]
    assert offered[2] == {"qlib", "ts"}
    assert offered[3] == {"--markdown"}


def test_powershell_offers_verbs(tmp_path: Path) -> None:
    """PowerShell's own completion offers a verb."""
    program = needs("pwsh")
    source = script("powershell", COMMANDS["alphaseal"])
    ask = "(TabExpansion2 -inputScript 'alphaseal ver' -cursorColumn 13).CompletionMatches.CompletionText"
    done = subprocess.run(
        [program, "-NoProfile", "-Command", f"{source}\n{ask}"], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["verify"]


def test_powershell_tables_hold_every_verb() -> None:
    """Where no PowerShell is at hand: each path of verbs has its table, in quotes that nothing ends early."""
    text = script("powershell", COMMANDS["alphaseal"])
    for verb in command._VERBS:
        assert f"    '/{verb}' = @(" in text
    assert all(line.count("'") % 2 == 0 for line in text.splitlines())
    assert text.count("{") == text.count("}")
