"""What the project itself installs and runs: locks with hashes, actions by commit, keys in one job, floors that are installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from locations import REPOSITORY

# Last, since tests and tools have modules of one name.
sys.path.append(str(REPOSITORY / "tools"))
import bootstrap
import lock
import lowest
import matrix

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
UNHASHED = {"torch.txt"}
"""Requirements without hashes; the file says why."""
INSTALLED = sorted(
    path
    for pattern in ("requirements/*.txt", "tools/research/requirements-*.txt")
    for path in REPOSITORY.glob(pattern)
    if path.name not in UNHASHED
)
_PIN = re.compile(r"[a-zA-Z0-9][\w.-]*(?:\[[\w,-]+\])?==[\w.!+]+(?: ; [^\\]+)?")
_USES = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def jobs(workflow: Path) -> dict[str, Any]:
    """The jobs of a workflow."""
    return dict(yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"])


def wanted(path: Path) -> list[str]:
    """The lines of an ``.in`` file and of those that it names."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            lines += wanted(path.parent / line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            lines.append(line)
    return lines


@pytest.mark.parametrize("path", INSTALLED, ids=lambda path: path.name)
def test_everything_installed_has_a_version_and_hashes(path: Path) -> None:
    """Each requirement of a lock is one version with the hashes of its files, and torch is in none."""
    entries = list(bootstrap.entries(path))
    assert entries
    for entry in entries:
        first, *hashes = entry.replace("\\", "").splitlines()
        assert _PIN.fullmatch(first.strip()), first
        assert hashes, first
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64} *", line) for line in hashes), first
        assert not first.startswith(("torch==", "nvidia-cu")), first


@pytest.mark.parametrize("made", lock.LOCKS, ids=lambda made: Path(made.path).name)
def test_a_lock_has_what_its_file_asks_for(made: lock.Lock) -> None:
    """Every line of the ``.in`` file stands in the lock, with the version that it names; a stale lock is found."""
    found: dict[str, set[str]] = {}
    for entry in bootstrap.entries(REPOSITORY / f"{made.path}.txt"):
        name, version = lock.pin(entry)[0].split("==")
        found.setdefault(name.split("[")[0].lower(), set()).add(version)
    for line in wanted(REPOSITORY / f"{made.path}.in"):
        name, _, version = line.split(";")[0].strip().partition("==")
        versions = found[name.split("[")[0].lower()]
        assert not version or version in versions, line


def test_every_lock_is_made() -> None:
    """No file with pins is written by hand but torch's; each lock has its ``.in`` file."""
    assert {REPOSITORY / f"{made.path}.txt" for made in lock.LOCKS} == set(INSTALLED)
    assert "-r" not in (REPOSITORY / "requirements/torch.txt").read_text(encoding="utf-8")


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    """pip does not install a wheel of the right name and version whose bytes have another hash."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, REPOSITORY / "runtime"],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    version = wheel.name.split("-")[1]
    asked = tmp_path / "asked.txt"
    asked.write_text(f"alphaseal=={version} \\\n    --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    target = tmp_path / "target"
    options = ("--no-index", "--find-links", str(tmp_path), "--target", str(target))
    with pytest.raises(SystemExit):
        bootstrap.install_locked(Path(sys.executable), asked, *options)
    assert not target.exists()
    assert "hash" in _said(asked, *options).lower()


def _said(asked: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pip", "install", "--require-hashes", *options, "-r", str(asked)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(workflow: Path) -> None:
    """Every action has a full commit and its version beside it; one action has one commit in all workflows."""
    lines = [line for line in workflow.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert _USES.fullmatch(line.split("uses:")[1].strip()), line
    everywhere = "\n".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    pins = set(re.findall(r"uses: (\S+@.+)", everywhere))
    assert len(pins) == len({pin.split("@")[0] for pin in pins})


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_tokens_read_only(workflow: Path) -> None:
    """No workflow has a token that writes, but the one job that comments; no checkout leaves its token behind; no cache."""
    text = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert text["permissions"] in ({}, {"contents": "read"})
    for name, job in jobs(workflow).items():
        wider = (
            {"pull-requests": "write"} if (workflow.name, name) == ("bundle.yml", "comment") else {"contents": "read"}
        )
        assert job.get("permissions", {}) in ({}, wider)
        for step in job["steps"]:
            action = step.get("uses", "").split("@")[0]
            assert not action.startswith("actions/cache")
            if action == "actions/checkout":
                assert step["with"]["persist-credentials"] is False
            if action == "actions/setup-python":
                assert "cache" not in step["with"]


def test_the_key_is_where_no_task_is() -> None:
    """The secret is named in one step of one job; that job sees the bundle as an artefact, and no input that names a task."""
    build, sign, comment = (
        jobs(REPOSITORY / ".github/workflows/bundle.yml")[name] for name in ("build", "sign", "comment")
    )
    assert "secrets." not in yaml.safe_dump([build, comment])
    with_key = [step["name"] for step in sign["steps"] if "secrets." in yaml.safe_dump(step)]
    assert with_key == ["Sign the digest, say where it came from"]
    assert "secrets." not in yaml.safe_dump({key: value for key, value in sign.items() if key != "steps"})
    assert not re.search(r"inputs\.(task|workspaces|features|previous|runner)\b", yaml.safe_dump(sign))
    assert sign["runs-on"] != build["runs-on"]
    names = [step.get("name") or step["uses"].split("@")[0] for step in sign["steps"]]
    order = ["actions/download-artifact", "Verify before anything is signed", *with_key]
    assert [name for name in names if name in order] == order
    assert "alphaseal-convert build" not in yaml.safe_dump(sign)


def test_what_the_jobs_install_is_locked() -> None:
    """Both jobs install wheels of a lock, by hash, and the project from a checkout; the signing lock has no model library."""
    for name, locked in (("build", "bundle"), ("sign", "signing")):
        (install,) = [
            step["run"]
            for step in jobs(REPOSITORY / ".github/workflows/bundle.yml")[name]["steps"]
            if step.get("name") == "Install"
        ]
        lines = [line for line in install.splitlines() if " install " in line]
        assert f"--require-hashes --only-binary :all: -r .alphaseal/requirements/{locked}.txt" in lines[0]
        assert "--no-deps --no-build-isolation" in lines[1]
        assert len(lines) == 2
    signing = (REPOSITORY / "requirements/signing.txt").read_text(encoding="utf-8")
    assert not re.search(r"^(lightgbm|xgboost|catboost|scikit-learn|torch|pandas)==", signing, re.MULTILINE)


@pytest.mark.parametrize("python", matrix.PYTHONS)
def test_floors_are_what_the_matrix_installs(python: str) -> None:
    """Each dependency of both distributions has one floor for each Python, and the floor cell asks pip for exactly these."""
    floors = lowest.lowest(matrix.PARTS, python)
    asked = matrix.Cell(python, "floor").asked()
    assert asked == [*(f"{name}=={version}" for name, version in floors.items()), *matrix.TOOLS]
    named = {requirement.name for part in matrix.PARTS for requirement in lowest.requirements(part, python)}
    assert named == set(floors) >= {"numpy", "pyarrow", "onnxruntime", "cryptography", "msgspec"}
    assert matrix.Cell(python, "newest").asked() == [*sorted(named), *matrix.TOOLS]


def test_the_ci_runs_the_pythons_of_the_matrix() -> None:
    """The job of the lowest versions and the matrix have the same Pythons, and the lowest is what both distributions ask for."""
    ci = jobs(REPOSITORY / ".github/workflows/ci.yml")["lowest"]
    assert tuple(ci["strategy"]["matrix"]["python"]) == matrix.PYTHONS
    for part in matrix.PARTS:
        text = (REPOSITORY / part / "pyproject.toml").read_text(encoding="utf-8")
        assert f'requires-python = ">={matrix.PYTHONS[0]}"' in text


def test_the_matrix_runs_files_that_are_there() -> None:
    """Every test that the matrix names exists."""
    assert [name for name in (*matrix.RUNTIME_TESTS, *matrix.CONVERTER_TESTS) if not (REPOSITORY / name).exists()] == []
