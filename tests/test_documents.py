"""What the documents say happens: their commands run, their outputs are real, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from factor_bars import RESEARCH, needs_tables
from locations import REPOSITORY

READMES = ["README.md", "README.zh-CN.md"]
ALL_DOCUMENTS = sorted(
    path
    for folder in (".", "docs", "spec", "spec/adr", "runtime", "converter")
    for path in (REPOSITORY / folder).glob("*.md")
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMANDS = {"alphaseal": "alphaseal", "alphaseal-convert": "alphaseal_converter"}


def _blocks(document: str) -> list[tuple[str, str]]:
    """(language, text) of every fenced block, in order; a text block right below a sh block has the language `output`."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    blocks, commands_end = [], -1
    for match in _BLOCK.finditer(text):
        shown = match[1] == "text" and commands_end >= 0 and not text[commands_end : match.start()].strip()
        commands_end = match.end() if match[1] == "sh" else -1
        blocks.append(("output" if shown else match[1], match[2]))
    return blocks


def _environment(directory: Path) -> dict[str, str]:
    """The interpreter's own commands come first; where they are not installed, the sources stand in for them."""
    shims = directory / "bin"
    shims.mkdir()
    for command, module in _COMMANDS.items():
        if not Path(sys.executable).with_name(command).exists():
            shim = shims / command
            shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n', encoding="utf-8")
            shim.chmod(0o755)
    sources = os.pathsep.join(str(REPOSITORY / part / "src") for part in ("runtime", "converter"))
    path = os.pathsep.join([str(Path(sys.executable).parent), str(shims), os.environ["PATH"]])
    # The interpreter that runs the code of factors.
    variables = {"PYTHONPATH": sources, "OUT": str(directory / "out"), "RESEARCH_PYTHON": RESEARCH}
    return {**os.environ, "PATH": path, **variables}


def _run(block: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _assert_shown(expected: str, output: str) -> None:
    """Every line of a text block is a line of the output; an ellipsis stands for anything."""
    for line in expected.splitlines():
        pattern = ".*".join(re.escape(part) for part in line.split("…"))
        assert re.search(rf"^{pattern}$", output, re.MULTILINE), f"{line!r} is not in\n{output}"


# The Chinese README has the English one's blocks (`test_both_readmes_have_the_same_blocks`), so they are not run twice.
RUN = ["README.md", "docs/guide.md", "docs/ci.md", pytest.param("docs/daily-job.md", marks=needs_tables)]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the blocks are written for a POSIX shell")
@pytest.mark.parametrize("document", RUN)
def test_commands_of_the_document_run(document: str, tmp_path: Path) -> None:
    """Every sh block but those of make runs from the repository's root, and prints what the next text block shows."""
    environment = _environment(tmp_path)
    (tmp_path / "out").mkdir()
    output, ran = "", 0
    for language, text in _blocks(document):
        if language == "sh" and not text.startswith("make"):
            output = _run(text, environment)
            ran += 1
        elif language == "output":
            _assert_shown(text, output)
    assert ran >= 3


def test_both_readmes_have_the_same_blocks() -> None:
    """The Chinese README has the English one's commands and outputs, in the same order."""
    languages = ("sh", "output", "python")
    english, chinese = ([block for block in _blocks(name) if block[0] in languages] for name in READMES)
    assert english == chinese


def test_both_readmes_have_the_same_sections() -> None:
    """As many headings and table rows in one README as in the other."""

    def shape(name: str) -> tuple[list[str], int]:
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        return re.findall(r"^(#+) ", text, re.MULTILINE), len(re.findall(r"^\|", text, re.MULTILINE))

    assert shape("README.md") == shape("README.zh-CN.md")


@pytest.mark.parametrize("path", ALL_DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link names a file that is there and, behind a #, one of its headings."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_blocks(path)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        if anchor:
            assert anchor in _anchors(found), target


def _without_blocks(path: Path) -> str:
    return _BLOCK.sub("", path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    """Anchors as code forges make them: lower case, punctuation gone, spaces as hyphens."""
    headings = re.findall(r"^#+ (.+)$", _without_blocks(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", READMES)
def test_readme_names_every_file_of_the_old_hand_over(document: str) -> None:
    """Each file of the earlier hand-over has its row."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    files = ("sota_factors.json", "factor_columns.json", "model_metrics.json", "model_weights.pkl", "model.py")
    for name in (*files, "factor_*.py", "combined_factors_df.parquet"):
        assert re.search(rf"^\| `{re.escape(name)}` \|", text, re.MULTILINE), name


def test_guide_explains_every_reason() -> None:
    """Each code of the specification's table of reasons has its entry in the guide."""
    specification = (REPOSITORY / "spec/bundle-v1.md").read_text(encoding="utf-8")
    section = specification.split("#### Reason\n")[1].split("### 8.2")[0].split("| code |")[1]
    codes = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    guide = (REPOSITORY / "docs/guide.md").read_text(encoding="utf-8")
    assert codes
    assert [code for code in codes if f"| `{code}` |" not in guide] == []
