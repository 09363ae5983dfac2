"""What both commands print of hostile texts: nothing in it acts on a terminal, on a log or on a CI system."""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import alphaseal
from alphaseal import cli as runtime
from alphaseal.errors import AlphasealError, MalformedError, UsageError
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.plain_text import UNSEEN, printable, printable_json
from alphaseal_converter import cli as converter
from converter.sessions import factor_experiment, feedback, make, write_snapshot
from locations import REPOSITORY
from manifests import example_manifest

BASE = REPOSITORY / "tests/vectors/v1/base"
EVIL = (
    "::error::a\x1b]0;title\x07\x1b[31m\r\n::warning::b\n##[add-mask]c\n \t::set-output name=x::d ##vso[task.setvariable x]e"
    "\x00\x08\x7f\x85\x9b31m\u202etext\u2066 \u200b\u200d\ufeff\u2028\u2029\ue000\U000e0041\xad\u115f%0A::error::f"
)
SHORT = EVIL[:60]
MAY_NOT = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co")
COMMAND = re.compile(r"##[\w.-]*\[|^\s*::|%0[aAdD]", re.MULTILINE)


def problems(text: str, as_json: bool = False) -> list[str]:
    """What of a command's output acts on who reads it."""
    found = {f"U+{ord(c):04X}" for c in text if c != "\n" and unicodedata.category(c) in MAY_NOT}
    found |= {repr(match[0]) for match in COMMAND.finditer(text) if not (as_json and match[0].startswith("%"))}
    return sorted(found)


# ---- the rule


@pytest.mark.attack("terminal: characters and commands in texts", attempts=sys.maxunicode)
def test_every_character_that_acts_is_an_escape() -> None:
    """Of all characters of Unicode those that control, hide or turn text around are printed as escapes, no letter is."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        shown = printable([character])
        category = unicodedata.category(character)
        if category in MAY_NOT:
            assert shown.isascii(), hex(code)
            assert int(shown.lstrip("\\xuU"), 16) == code
        elif category[0] in "LNPS" and not UNSEEN.match(character):
            assert shown == character, hex(code)


def test_letters_of_any_script_stay() -> None:
    """Chinese, accents, pictures and Windows paths are printed as they are."""
    text = r"因子 ß é \U is C:\Users\x → 📈 # 1 :: 2 100% ## title"
    assert printable([text]) == text


@pytest.mark.attack("terminal: characters and commands in texts")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", r"\x3a:error::x"),
        ("\t ::error::x", r"\x09 ::error::x"),
        ("  ::error::x", r"  \x3a:error::x"),
        ("\u3000::error::x", "\u3000\\x3a:error::x"),
        ("a ::error::x", "a ::error::x"),
        ("x ##[group]y", r"x \x23#[group]y"),
        ("x ##vso[task.complete]y", r"x \x23#vso[task.complete]y"),
        ("###[x]", r"#\x23#[x]"),
        ("##teamcity[x]", r"\x23#teamcity[x]"),
        ("%0a::x", r"\x250a::x"),
        ("one\ntwo", r"one\x0atwo"),
    ],
)
def test_commands_of_ci_systems_are_broken(text: str, shown: str) -> None:
    """What GitHub, Azure or TeamCity would take for a command in a log is none any more, and is done to no text twice."""
    assert printable([text]) == shown
    assert printable([shown]) == shown


def test_json_keeps_its_values() -> None:
    """The escapes of ``--json`` are JSON's own: a program reads the very texts."""
    shown = printable_json(json.dumps({EVIL: EVIL}))
    assert json.loads(shown) == {EVIL: EVIL}
    assert problems(shown, as_json=True) == []


@pytest.mark.attack("terminal: characters and commands in texts")
def test_an_error_is_one_harmless_line() -> None:
    """A message says nothing but itself, whatever stands in its parts."""
    error = UsageError("usage.arguments", EVIL, where=EVIL, expected=EVIL, found=EVIL, next_step=EVIL)
    assert problems(str(error)) == []
    assert "\n" not in str(error)


# ---- hostile bundles and sessions


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*path, number))
    elif isinstance(value, str):
        yield path


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


Admits = Callable[[dict[str, Any]], bool]


def hostile(plain: dict[str, Any], admits: Admits) -> tuple[dict[str, Any], int]:
    """A manifest whose every free text and every free name is hostile, and how many there are: what a reader `admits`."""
    changed = 0
    for path in list(_leaves(plain)):
        parent, before = _at(plain, path[:-1]), _at(plain, path)
        for text in (EVIL, SHORT, SHORT + before):
            parent[path[-1]] = text
            if admits(plain):
                changed += 1
                break
            parent[path[-1]] = before
    for path in {path[:-1] for path in _leaves(plain) if isinstance(_at(plain, path[:-1]), dict)}:
        _at(plain, path)[EVIL] = EVIL
        if admits(plain):
            changed += 1
        else:
            del _at(plain, path)[EVIL]
    return plain, changed


def _parsed(plain: dict[str, Any]) -> bool:
    try:
        m.parse(strict_json.dumps(plain))
    except MalformedError:
        return False
    return True


def _verified_in(directory: Path) -> Admits:
    """Whether the bundle still passes all steps with this manifest."""

    def admits(plain: dict[str, Any]) -> bool:
        if not _parsed(plain):
            return False
        (directory / "manifest.json").write_bytes(strict_json.dumps(plain))
        try:
            opened = alphaseal.open(directory, trust=alphaseal.Trust.unsigned())
            opened.verify()
            opened.selftest()
        except AlphasealError:
            return False
        return True

    return admits


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle of the vectors with hostile texts, in a directory of a hostile name."""
    directory = tmp_path_factory.mktemp("terminal") / "::\x1b[31m##[x]\u202e" / "bundle"
    shutil.copytree(BASE / "bundle", directory)
    plain, changed = hostile(json.loads((directory / "manifest.json").read_bytes()), _verified_in(directory))
    assert changed > 20
    (directory / "manifest.json").write_bytes(strict_json.dumps(plain))
    return directory


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a verb, for people and with ``--json``; both outputs must do no harm.  Gives status and text of the first."""

    def run(
        main: Callable[[list[str]], int], *arguments: Any, json_too: bool = True, twice: bool = True
    ) -> tuple[int, str]:
        texts: list[tuple[int, str]] = []
        for extra in ([], ["--json"]) if json_too else ([],):
            if extra and not twice:
                continue
            status = main([*map(str, arguments), *extra])
            captured = capfd.readouterr()
            if extra:
                json.loads(captured.out)
            for text in (captured.out, captured.err):
                assert problems(text, as_json=bool(extra)) == [], arguments
            texts.append((status, captured.out + captured.err))
        return texts[0]

    return run


Said = Callable[..., tuple[int, str]]


@pytest.mark.attack("terminal: a hostile bundle, every verb")
def test_verbs_of_the_trading_side_print_nothing_that_acts(bundle: Path, said: Said, tmp_path: Path) -> None:
    """Each verb of ``alphaseal`` on a bundle of hostile texts, in a directory of a hostile name."""
    main, unsigned = runtime.main, "--allow-unsigned"
    other = tmp_path / "other"
    shutil.copytree(BASE / "bundle", other)
    assert said(main, "show", bundle)[0] == 0
    assert said(main, "verify", bundle, unsigned)[0] == 0
    assert said(main, "selftest", bundle, unsigned)[0] == 0
    for first, second in ((bundle, other), (other, bundle)):
        assert said(main, "diff", first, second)[0] == 0
        assert said(main, "diff", first, second, "--markdown", json_too=False)[0] == 0
    status, text = said(
        main, "score", bundle, unsigned, "--features", BASE / "features.parquet", "--date", "2024-01-02"
    )
    assert status in (0, 18), text
    assert said(main, "score", bundle, unsigned, "--features", bundle / "manifest.json", "--date", EVIL)[0] != 0
    for layout in ("seed", "aistock", "strategy-package"):
        said(
            main,
            "export",
            bundle,
            unsigned,
            "--layout",
            layout,
            "--out",
            tmp_path / f"{SHORT[:5]}{layout}",
            twice=False,
        )
    store = tmp_path / "\x1b]0;x\x07##[x]"
    assert said(main, "install", bundle, unsigned, "--store", store)[0] == 0
    assert said(main, "current", "--store", store)[0] == 0
    assert said(main, "rollback", "--store", store, "--to", "9", "--reason", EVIL)[0] == 2
    said(main, "doctor", bundle, "--store", store, "--trust", tmp_path / EVIL[:20])


@pytest.mark.attack("terminal: a hostile bundle, every verb")
def test_refusals_of_the_trading_side_print_nothing_that_acts(bundle: Path, said: Said, tmp_path: Path) -> None:
    """Arguments, trust files, manifests and file names that are refused are named harmlessly."""
    main = runtime.main
    for verb in (
        "show",
        "verify",
        "diff",
        "export",
        "selftest",
        "score",
        "trust",
        "install",
        "current",
        "rollback",
        "doctor",
    ):
        assert said(main, verb, EVIL.replace("\x00", ""))[0] in (2, 3), verb
    assert said(main, EVIL)[0] == 2
    trust = tmp_path / "trust.json"
    assert said(main, "trust", "init", trust, "--bundle", EVIL)[0] == 2
    assert said(main, "trust", "init", trust, "--any-bundle", twice=False)[0] == 0
    assert said(main, "trust", "revoke", trust, "--key", EVIL)[0] == 2
    assert said(main, "verify", bundle, "--trust", trust)[0] == 14
    trust.write_bytes(strict_json.dumps({"format": EVIL}))
    assert said(main, "trust", "show", trust)[0] == 10
    extra = bundle.parent / "extra"
    shutil.copytree(bundle, extra)
    (extra / SHORT.replace("\x00", "").replace("/", "")).write_text("x")
    assert said(main, "verify", extra, "--allow-unsigned")[0] == 12
    (extra / "manifest.json").write_bytes(json.dumps({"format": "1.0", EVIL: EVIL}).encode())
    assert said(main, "show", extra)[0] == 10


@pytest.mark.attack("terminal: a hostile bundle, every verb")
def test_show_of_a_full_manifest_prints_nothing_that_acts(said: Said, tmp_path: Path) -> None:
    """A manifest in which every optional part is there, and hostile, is shown and compared harmlessly."""
    for number, name in enumerate(("one", "two")):
        plain, changed = hostile(m.to_plain(example_manifest()), _parsed)
        assert changed > 60
        plain["sequence"] = number + 1
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_bytes(strict_json.dumps(plain))
    status, text = said(runtime.main, "show", tmp_path / "one")
    assert (status, "title" in text) == (0, True)
    assert said(runtime.main, "diff", tmp_path / "one", tmp_path / "two")[0] == 12


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task whose every text is hostile, and so are the names of its snapshots."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ARTIFACT_SIGNING_KEY", raising=False)
    evil = EVIL + "\ud800"
    directory = tmp_path / "log" / "::2024\x1b[31m##[x]\u202e"
    workspace = make("Workspace", file_dict={evil: evil}, workspace_path=evil)
    running = make("Running", result={evil: 1.0, "IC": 0.05})
    names = {"factor_name": evil, "factor_formulation": evil, "variables": {evil: evil}, "factor_description": evil}
    experiment = factor_experiment(
        evil,
        sub_tasks=[make("Task", **names)],
        hypothesis=evil,
        experiment_workspace=workspace,
        sub_workspace_list=[workspace],
        running_info=running,
        base_features={evil: evil},
    )
    rejected = factor_experiment(evil, hypothesis=evil, approved=[False])
    review = feedback(True, observations=evil, hypothesis_evaluation=evil, exception=evil)
    review.__dict__["reason"] = evil
    history = [(experiment, review), (rejected, feedback(evil))]
    write_snapshot(directory, 1, "4_\x1b]0;x\x07\u202e::x", history)
    broken = write_snapshot(directory, 0, "1_##[x]\u2066", [])
    broken.write_bytes(b"c" + EVIL.encode()[:40] + b"\nx\n.")
    return directory


@pytest.mark.attack("terminal: a hostile session, every verb")
@pytest.mark.slow
def test_verbs_of_the_research_side_print_nothing_that_acts(
    task: Path, bundle: Path, said: Said, tmp_path: Path
) -> None:
    """Each verb of ``alphaseal-convert`` on a session and a bundle of hostile texts and names."""
    main = converter.main
    status, text = said(main, "inspect", task)
    assert status == 0, text
    assert "title" in text
    assert said(main, "build", task, "--out", tmp_path / "out")[0] == 20
    assert said(main, "build", task, "--out", tmp_path / "out", "--anchor", EVIL)[0] == 2
    assert said(main, "build", "--weights", "scan", "--workspace-root", task, "--out", tmp_path / "out")[0] == 20
    assert said(main, "replay", task, "--out", tmp_path / "raw.parquet")[0] == 20
    assert said(main, "doctor", task)[0] in (0, 3, 20)
    snapshot = next(path for path in task.rglob("1_*") if path.is_file())
    assert said(main, "doctor", snapshot)[0] in (3, 20)
    assert said(main, "inspect", snapshot)[0] == 3
    key = tmp_path / "\x1b[31mkey\u202e"
    assert said(main, "keygen", "--out", key, twice=False)[0] == 0
    copy = tmp_path / "::copy\x1b[0m"
    shutil.copytree(bundle, copy)
    assert said(main, "sign", copy, "--key", f"{key}.key")[0] == 0
    assert said(main, "approve", copy, "--key", f"{key}.key")[0] == 14
    uri = [
        "--builder",
        "https://ci.example/##[x]::%0A",
        "--source",
        "https://ci.example/##[y]",
        "--revision",
        EVIL.replace("\x00", ""),
    ]
    said(main, "attest", copy, "--key", f"{key}.key", *uri)
    said(main, "provenance", copy, "--key", f"{key}.pub")
    assert said(main, "validate", copy, task / "absent\x1b[31m")[0] in (3, 10)
    damaged = tmp_path / "##[d]\u202e.json"
    damaged.write_bytes(json.dumps({EVIL: EVIL, "format": "1.0"}).encode())
    assert said(main, "validate", damaged)[0] == 10
    said(
        main,
        "features",
        copy,
        "--key",
        f"{key}.pub",
        "--bars",
        damaged,
        "--date",
        "2024-01-02",
        "--out",
        tmp_path / "f.parquet",
    )
    assert said(main, EVIL)[0] == 2
