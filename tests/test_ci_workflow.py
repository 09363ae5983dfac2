"""The reusable workflow that produces signed bundles: its steps run as they stand, on a real task."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import alphaseal
from alphaseal import cli as runtime_cli
from alphaseal_converter import provenance
from bundles import FACTOR_PLAIN, raw_values
from locations import REPOSITORY
from signed import key

WORKFLOW = REPOSITORY / ".github/workflows/bundle.yml"


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """The variables of a runner: a checkout's directory, the secret, files for outputs; commands on the path."""
    private = key("ci")._private
    public = tmp_path / "ci.pub"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    trust = str(tmp_path / "trust.json")
    assert runtime_cli.main(["trust", "init", trust, "--threshold", "ci=1", "--bundle", "reversal"]) == 0
    assert runtime_cli.main(["trust", "add", trust, "--key", str(public), "--name", "ci", "--role", "ci"]) == 0
    shims = tmp_path / "bin"
    shims.mkdir()
    modules = {"alphaseal": "alphaseal", "alphaseal-convert": "alphaseal_converter", "python": ""}
    for command, module in modules.items():
        run = f"-m {module} " if module else ""
        (shims / command).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {run}"$@"\n', encoding="utf-8")
        (shims / command).chmod(0o755)
    sources = os.pathsep.join(str(REPOSITORY / part / "src") for part in ("runtime", "converter"))
    (tmp_path / "checkout").mkdir()
    return {
        "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": sources,
        "HOME": str(tmp_path),
        "TASK": str(FACTOR_PLAIN),
        "WORKSPACES": str(FACTOR_PLAIN / "workspaces"),
        "FEATURES": str(raw_values(FACTOR_PLAIN / "truth/hist2_factor")),
        "NAME": "reversal",
        "TRUST": trust,
        "SIGNING_KEY": secret,
        "PREVIOUS": "",
        "GITHUB_SERVER_URL": "https://code.example",
        "GITHUB_REPOSITORY": "team/research",
        "GITHUB_SHA": "1" * 40,
        "GITHUB_RUN_ID": "7",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }


def steps() -> list[dict[str, Any]]:
    """The steps with commands, without what belongs to the runner: installing, and what asks the forge."""
    job = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["bundle"]
    return [
        step for step in job["steps"] if "run" in step and step["name"] not in ("Install", "Comment the difference")
    ]


def run(step: dict[str, Any], environment: dict[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
    """One step as a runner starts it: bash, stopping at the first error, also inside a pipe."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="the steps are written for a POSIX shell")
def test_steps_make_a_bundle_that_the_trading_side_accepts(place: dict[str, str], tmp_path: Path) -> None:
    """All steps in order: a signed bundle, its provenance, its digest as an output, the difference in the summary."""
    previous = tmp_path / "before"
    command = ["alphaseal-convert", "build", place["TASK"], "--workspace-root", place["WORKSPACES"], "--anchor", "0"]
    subprocess.run([*command, "--name", "reversal", "--out", previous], env=place, check=True, capture_output=True)
    place["PREVIOUS"] = str(previous)
    checkout = tmp_path / "checkout"
    ran = []
    for step in steps():
        if step.get("if") != "failure()":
            done = run(step, place, checkout)
            assert done.returncode == 0, f"{step['name']}\n{done.stdout}\n{done.stderr}"
            ran.append(step["name"])
    assert len(ran) == 5
    bundle = alphaseal.open(checkout / "bundles/reversal", trust=alphaseal.Trust.load(place["TRUST"]))
    assert bundle.verify().ready
    assert (tmp_path / "output").read_text() == f"digest={bundle.digest}\n"
    assert bundle.digest in (tmp_path / "summary").read_text()
    statement = provenance.check(bundle.directory, [tmp_path / "ci.pub"]).statement
    assert statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"] == {"gitCommit": "1" * 40}
    assert json.loads((checkout / "selftest.json").read_text())["bundle"] == bundle.digest


@pytest.mark.skipif(os.name == "nt", reason="the steps are written for a POSIX shell")
def test_a_refusal_stops_the_job_and_says_why(place: dict[str, str], tmp_path: Path) -> None:
    """A bundle that would not be ready: the building step fails, nothing is there, the summary has the reason."""
    place["WORKSPACES"] = str(FACTOR_PLAIN / "workspaces")
    build, *_, why = steps()
    without_proof = build | {"run": build["run"].replace('--features "$FEATURES"', "")}
    done = run(without_proof, place, tmp_path / "checkout")
    assert done.returncode == 20
    assert not (tmp_path / "checkout/bundles/reversal").exists()
    assert run(why, place, tmp_path / "checkout").returncode == 0
    opening, line, closing = (tmp_path / "summary").read_text().splitlines()
    assert (opening, closing) == ("```json", "```")
    shown = json.loads(line)
    assert (shown["code"], shown["exit"]) == ("build.not_ready", 20)
    assert "order_not_replayed" in shown["found"]


@pytest.mark.attack("terminal: a summary of a CI system")
@pytest.mark.skipif(os.name == "nt", reason="the steps are written for a POSIX shell")
def test_a_refusal_is_no_markdown_in_the_summary(place: dict[str, str], tmp_path: Path) -> None:
    """Whatever a refusal quotes, the summary shows it as one line of code: no image, no link, no end of the block."""
    hostile = "```\n# ![x](https://evil.example/x) <img src=x>\n::error::x ##[group]y \x1b[31m\u202e"
    place["NAME"] = hostile
    build, *_, why = steps()
    done = run(build, place, tmp_path / "checkout")
    assert done.returncode in (2, 20)
    assert "\n::" not in done.stdout
    assert "##[" not in done.stdout
    assert run(why, place, tmp_path / "checkout").returncode == 0
    opening, line, closing = (tmp_path / "summary").read_text().splitlines()
    assert (opening, closing) == ("```json", "```")
    assert line.isascii()
    assert not json.loads(line)["ok"]


def test_inputs_reach_the_shell_as_variables_only() -> None:
    """No script of the workflow holds an expression: it would be code of whoever wrote the input."""
    job = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["bundle"]
    assert [step["name"] for step in job["steps"] if "${{" in step.get("run", "")] == []
