"""The published schemas and the hook, used with the tools of others."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alphaseal.disk import tree
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.trust import policy as trust_file
from locations import REPOSITORY
from manifests import example_manifest
from signed import known, policy, signed_bundle

SCHEMAS = REPOSITORY / "schemas"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A valid document of each kind that people keep in repositories, by the name of its schema."""
    directory = tmp_path_factory.mktemp("documents")
    bundle = signed_bundle(directory / "bundle", "ci")
    (directory / "trust.json").write_bytes(trust_file.encode(policy(known("ci"))))
    return {
        "manifest": bundle / m.FILE_NAME,
        "envelope": bundle / tree.ENVELOPE_NAME,
        "trust": directory / "trust.json",
    }


def broken(documents: dict[str, Path], kind: str, directory: Path) -> Path:
    """The document with a value that its schema does not allow."""
    value = json.loads(documents[kind].read_bytes())
    part = {"manifest": "features", "envelope": "signatures", "trust": "keys"}[kind]
    value[part][0]["name" if kind == "trust" else "dtype" if kind == "manifest" else "keyid"] = "No such thing"
    path = directory / "broken.json"
    path.write_bytes(strict_json.dumps(value))
    return path


@pytest.mark.parametrize("kind", ["manifest", "envelope", "trust"])
def test_check_jsonschema_agrees(kind: str, documents: dict[str, Path], tmp_path: Path) -> None:
    """check-jsonschema takes the schema and the document, and refuses the broken one at its place."""
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(SCHEMAS / f"{kind}.schema.json")]
    good = subprocess.run([*command, str(documents[kind])], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    bad = subprocess.run(
        [*command, str(broken(documents, kind, tmp_path))], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    assert "[0]" in bad.stdout


def test_check_jsonschema_accepts_the_schemas_themselves() -> None:
    """Every published schema is one by the metaschema it names."""
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--check-metaschema", *map(str, SCHEMAS.glob("*.json"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hook_runs_in_pre_commit(tmp_path: Path) -> None:
    """A repository that uses the hook: a good manifest and trust file pass, a broken one stops with its JSON path."""
    if importlib.util.find_spec("pre_commit") is None or shutil.which("git") is None:
        pytest.skip("pre-commit is not installed")
    repository, environment = _repository(tmp_path)
    manifest = repository / "bundles/demo/manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(m.encode(example_manifest()))
    (repository / "trust.json").write_bytes(trust_file.encode(policy(known("ci"))))
    (repository / "package.json").write_text("{}", encoding="utf-8")
    assert _hook(repository, environment).returncode == 0
    value = json.loads(manifest.read_bytes())
    value["features"][0]["dtype"] = "float16"
    manifest.write_bytes(strict_json.dumps(value))
    done = _hook(repository, environment)
    assert done.returncode == 1
    assert "$.features[0].dtype" in done.stdout
    assert "package.json" not in done.stdout


def _repository(directory: Path) -> tuple[Path, dict[str, str]]:
    """A git repository whose configuration names the hook, and an environment in which the command is there."""
    hooks, repository, shims = directory / "hooks", directory / "repository", directory / "bin"
    for made in (hooks, repository, shims):
        made.mkdir()
    sources = os.pathsep.join(str(REPOSITORY / part / "src") for part in ("runtime", "converter"))
    shim = shims / "alphaseal-convert"
    shim.write_text(
        f'#!/bin/sh\nPYTHONPATH="{sources}" exec "{sys.executable}" -m alphaseal_converter "$@"\n', encoding="utf-8"
    )
    shim.chmod(0o755)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(shims), os.environ["PATH"]]),
        "PRE_COMMIT_HOME": str(directory / "cache"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    shutil.copyfile(REPOSITORY / ".pre-commit-hooks.yaml", hooks / ".pre-commit-hooks.yaml")
    for place in (hooks, repository):
        _git(place, environment, "init", "--quiet")
    _git(hooks, environment, "add", ".")
    _git(hooks, environment, "commit", "--quiet", "-m", "hooks")
    revision = _git(hooks, environment, "rev-parse", "HEAD")
    (repository / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {hooks}\n  rev: {revision}\n  hooks:\n  - id: alphaseal-validate\n", encoding="utf-8"
    )
    return repository, environment


def _git(place: Path, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=place, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _hook(repository: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    _git(repository, environment, "add", ".")
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color", "never"]
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
