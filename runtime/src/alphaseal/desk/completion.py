"""Tab completion for bash, zsh, fish and PowerShell: scripts made from the parsers themselves, so that neither can lag behind.

A script holds plain tables of words and asks no program when the key is pressed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_INSTALL = {
    "bash": 'eval "$({command} completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$({command} completion zsh)"    # in ~/.zshrc, after compinit',
    "fish": "{command} completion fish > ~/.config/fish/completions/{command}.fish",
    "powershell": "{command} completion powershell | Out-String | Invoke-Expression   # in $PROFILE",
}


@dataclass
class Words:
    """What may follow one path of verbs: verbs, options with their help, choices of options' and positional values.

    `values` is for options that take a value: the words to choose from, or nothing where it is a file or free text.
    """

    verbs: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    positional: tuple[str, ...] = ()


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for one shell of `SHELLS`."""
    writers = {"bash": _bash, "zsh": _zsh, "fish": _fish, "powershell": _powershell}
    comment = f"# {parser.prog}: {_INSTALL[shell].format(command=parser.prog)}"
    return "\n".join([comment, *writers[shell](parser.prog, words_of(parser))])


def words_of(parser: argparse.ArgumentParser) -> dict[tuple[str, ...], Words]:
    """The words after each path of verbs; the path () is the command itself."""
    return dict(_walk(parser, ()))


def _walk(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Words]]:
    words = Words()
    below: Mapping[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        text = _help(action)
        if isinstance(action, argparse._SubParsersAction):
            below = action.choices
            words.verbs = {choice.dest: _help(choice) for choice in action._choices_actions}
        elif action.option_strings:
            words.options.update(dict.fromkeys(action.option_strings, text))
            if action.nargs != 0:
                chosen = tuple(map(str, action.choices or ()))
                words.values.update(dict.fromkeys(action.option_strings, chosen))
        elif action.choices is not None:
            words.positional = tuple(map(str, action.choices))
    yield path, words
    for verb, parser_below in below.items():
        yield from _walk(parser_below, (*path, verb))


def _help(action: argparse.Action) -> str:
    """Our own help text, without what would need quoting in some shell."""
    return re.sub(r"[^\w .,;:/()-]", " ", (action.help or "").replace("%(default)s", "")).strip()


def _name(command: str) -> str:
    return "_" + re.sub(r"\W", "_", command)


def _plain_options(words: Words) -> list[str]:
    return [option for option in words.options if option.startswith("--")]


# --- bash -----------------------------------------------------------------------------------------------------------


def _bash(command: str, table: Mapping[tuple[str, ...], Words]) -> Iterator[str]:
    """A function that finds the path of verbs on the line, then offers words; files where there are none."""
    yield f"{_name(command)}() {{"
    yield '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" path="" word'
    yield '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield '    case "$path/$word" in'
    for path in table:
        if path:
            yield f"      {_bash_path(path)}) path={_bash_path(path)} ;;"
    yield "    esac"
    yield "  done"
    yield "  COMPREPLY=()"
    yield '  case "$path $previous" in'
    for path, words in table.items():
        for option, values in words.values.items():
            offer = f" {_bash_offer(values)};" if values else ""
            yield f'    "{_bash_path(path)} {option}"){offer} return ;;'
    yield "  esac"
    yield '  case "$path" in'
    for path, words in table.items():
        ahead = [*words.verbs, *words.positional]
        yield f'    "{_bash_path(path)}")'
        yield f"      if [[ $current == -* ]]; then {_bash_offer(_plain_options(words))}"
        yield f"      else {_bash_offer(ahead)}; fi ;;"
    yield "  esac"
    yield "}"
    yield f"complete -o bashdefault -o default -F {_name(command)} {command}"


def _bash_offer(words: Sequence[str]) -> str:
    return 'COMPREPLY=($(compgen -W "' + " ".join(words) + '" -- "$current"))'


def _bash_path(path: Sequence[str]) -> str:
    return "".join(f"/{verb}" for verb in path)


# --- zsh ------------------------------------------------------------------------------------------------------------


def _zsh(command: str, table: Mapping[tuple[str, ...], Words]) -> Iterator[str]:
    """As for bash, with zsh's own words."""
    yield f"{_name(command)}() {{"
    yield '  local current="${words[CURRENT]}" previous="${words[CURRENT-1]}" route="" word'
    yield "  local -a offered"
    yield '  for word in "${(@)words[2,CURRENT-1]}"; do'
    yield '    case "$route/$word" in'
    for path in table:
        if path:
            yield f"      {_bash_path(path)}) route={_bash_path(path)} ;;"
    yield "    esac"
    yield "  done"
    yield '  case "$route $previous" in'
    for path, words in table.items():
        for option, values in words.values.items():
            offer = f"compadd -- {' '.join(values)}" if values else "_files"
            yield f'    "{_bash_path(path)} {option}") {offer}; return ;;'
    yield "  esac"
    yield '  case "$route" in'
    for path, words in table.items():
        described = [*words.verbs.items(), *((word, "") for word in words.positional)]
        options = [(option, words.options[option]) for option in _plain_options(words)]
        yield f'    "{_bash_path(path)}")'
        yield f"      if [[ $current == -* ]]; then offered=({_zsh_words(options)}); _describe option offered"
        if described:
            yield f"      else offered=({_zsh_words(described)}); _describe value offered; fi ;;"
        else:
            yield "      else _files; fi ;;"
    yield "  esac"
    yield "}"
    yield f"compdef {_name(command)} {command}"


def _zsh_words(words: Sequence[tuple[str, str]]) -> str:
    return " ".join("'" + word + ":" + text.replace(":", " ") + "'" for word, text in words)


# --- fish -----------------------------------------------------------------------------------------------------------


def _fish(command: str, table: Mapping[tuple[str, ...], Words]) -> Iterator[str]:
    """A line of `complete` for each word, under the condition that the verbs before it are there."""
    yield f"complete -c {command} -e"
    for path, words in table.items():
        condition = _fish_condition(path, words)
        for verb, text in words.verbs.items():
            yield f"complete -c {command} -f -n '{condition}' -a {verb} -d '{text}'"
        for word in words.positional:
            yield f"complete -c {command} -f -n '{condition}' -a {word}"
        seen = "; and ".join(f"__fish_seen_subcommand_from {verb}" for verb in path)
        for option in _plain_options(words):
            values = words.values.get(option)
            takes = "" if values is None else f" -x -a '{' '.join(values)}'" if values else " -r -F"
            where = f" -n '{seen}'" if seen else ""
            yield f"complete -c {command}{where} -l {option[2:]}{takes} -d '{words.options[option]}'"


def _fish_condition(path: Sequence[str], words: Words) -> str:
    seen = [f"__fish_seen_subcommand_from {verb}" for verb in path]
    ahead = [*words.verbs, *words.positional]
    none_yet = [f"not __fish_seen_subcommand_from {' '.join(ahead)}"] if ahead else []
    return "; and ".join([*seen, *none_yet])


# --- PowerShell -----------------------------------------------------------------------------------------------------


def _powershell(command: str, table: Mapping[tuple[str, ...], Words]) -> Iterator[str]:
    """A block that returns the words; without one PowerShell completes files."""
    yield f"Register-ArgumentCompleter -Native -CommandName '{command}' -ScriptBlock {{"
    yield "  param($wordToComplete, $commandAst, $cursorPosition)"
    yield "  $table = @{"
    for path, words in table.items():
        ahead = [*words.verbs, *words.positional, *_plain_options(words)]
        yield f"    '{_bash_path(path)}' = @({_quoted(ahead)})"
    yield "  }"
    yield "  $values = @{"
    for path, words in table.items():
        for option, values in words.values.items():
            if option.startswith("--"):
                yield f"    '{_bash_path(path)} {option}' = @({_quoted(values)})"
    yield "  }"
    yield "  $path = ''"
    yield "  $previous = ''"
    yield "  foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {"
    yield "    if ($element.Extent.EndOffset -ge $cursorPosition -and $wordToComplete) { break }"
    yield '    $word = "$element"'
    yield '    if ($table.ContainsKey("$path/$word")) { $path = "$path/$word" }'
    yield "    $previous = $word"
    yield "  }"
    yield '  $offered = if ($values.ContainsKey("$path $previous")) { $values["$path $previous"] } else { $table[$path] }'
    yield '  $offered | Where-Object { $_ -like "$wordToComplete*" } | ForEach-Object {'
    yield "    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)"
    yield "  }"
    yield "}"


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)
