"""The reusable workflow that produces signed bundles: the steps of both jobs run as they stand, on a real task."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import alphaseal
from alphaseal import cli as runtime_cli
from alphaseal_converter.bundle import provenance
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values
from locations import REPOSITORY
from signed import key

WORKFLOW = REPOSITORY / ".github/workflows/bundle.yml"


SECRET = "${{ secrets.signing_key }}"


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """The variables of a runner: a checkout's directory, inputs, files for outputs; commands on the path.  No key."""
    private = key("ci")._private
    public = tmp_path / "ci.pub"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "ci.key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
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
    for job in ("build", "sign"):
        (tmp_path / job).mkdir()
    return {
        "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": sources,
        "HOME": str(tmp_path),
        "TASK": str(FACTOR_PLAIN),
        "WORKSPACES": str(FACTOR_PLAIN / "workspaces"),
        "FEATURES": str(raw_values(FACTOR_PLAIN / "truth/hist2_factor")),
        "NAME": "reversal",
        "TRUST": trust,
        "PREVIOUS": "",
        "COMMIT": "2" * 40,
        "GITHUB_SERVER_URL": "https://code.example",
        "GITHUB_REPOSITORY": "team/research",
        "GITHUB_SHA": "1" * 40,
        "GITHUB_RUN_ID": "7",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }


def workflow() -> dict[str, Any]:
    """The workflow as YAML says it."""
    return dict(yaml.safe_load(WORKFLOW.read_text(encoding="utf-8")))


def steps(job: str) -> list[dict[str, Any]]:
    """The steps of a job with commands, without what belongs to the runner: installing."""
    return [step for step in workflow()["jobs"][job]["steps"] if "run" in step and step["name"] != "Install"]


def run(step: dict[str, Any], environment: dict[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
    """One step as a runner starts it: `bash -e`, and pipes stop at an error only where the workflow names bash as its shell."""
    named = step.get("shell") or workflow().get("defaults", {}).get("run", {}).get("shell")
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail"] if named == "bash" else ["bash", "-e"]
    script = directory.parent / "step.sh"
    script.write_text(step["run"], encoding="utf-8")
    # What the workflow sets to words of its own; the rest are inputs, which are in `environment`.
    environment = environment | {name: value for name, value in workflow()["env"].items() if "${{" not in value}
    if step.get("env", {}).get("SIGNING_KEY") == SECRET:
        environment |= {"SIGNING_KEY": (directory.parent / "ci.key").read_text(encoding="utf-8")}
    return subprocess.run([*shell, script], cwd=directory, env=environment, capture_output=True, text=True, check=False)


def run_job(
    job: str, environment: dict[str, str], tmp_path: Path
) -> tuple[list[str], subprocess.CompletedProcess[str] | None]:
    """The steps of a job until one fails: names of those that ended well, and the one that did not."""
    ran: list[str] = []
    for step in steps(job):
        if step.get("if") == "failure()" or (step.get("if") == "inputs.previous != ''" and not environment["PREVIOUS"]):
            continue
        done = run(step, environment, tmp_path / job)
        if done.returncode:
            return ran, done
        ran.append(step["name"])
    return ran, None


def hand_over(place: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """What goes from one job to the other: the bundle as an artefact, the digest as an output."""
    shutil.copytree(tmp_path / "build/bundle", tmp_path / "sign/bundle")
    digest = (tmp_path / "output").read_text(encoding="utf-8").removeprefix("digest=").strip()
    (tmp_path / "output").unlink()
    inputs = {name: place[name] for name in place if name not in ("TASK", "WORKSPACES", "FEATURES", "NAME", "PREVIOUS")}
    return inputs | {"DIGEST": digest, "PREVIOUS": ""}


posix = pytest.mark.skipif(os.name == "nt", reason="the steps are written for a POSIX shell")


@posix
@pytest.mark.slow
def test_steps_make_a_bundle_that_the_trading_side_accepts(place: dict[str, str], tmp_path: Path) -> None:
    """Both jobs in order: a signed bundle, its provenance, its digest as an output, the difference in the summary."""
    previous = tmp_path / "before"
    command = ["alphaseal-convert", "build", place["TASK"], "--workspace-root", place["WORKSPACES"], "--anchor", "0"]
    subprocess.run([*command, "--name", "reversal", "--out", previous], env=place, check=True, capture_output=True)
    place["PREVIOUS"] = str(previous)
    for job in ("build", "sign"):
        # What lies in the checkout is nobody's module.
        (tmp_path / job / "json.py").write_text("raise SystemExit(9)\n", encoding="utf-8")
    ran, failed = run_job("build", place, tmp_path)
    assert failed is None, failed
    assert ran == ["A commit, not a branch", "Build and prove", "Compare with the bundle in force", "Digest"]
    assert not (tmp_path / "build/bundle/manifest.dsse.json").exists()
    signing = hand_over(place, tmp_path)
    ran, failed = run_job("sign", signing, tmp_path)
    assert failed is None, failed
    assert len(ran) == 4
    bundle = alphaseal.open(tmp_path / "sign/bundle", trust=alphaseal.Trust.load(place["TRUST"]))
    assert bundle.verify().ready
    assert (tmp_path / "output").read_text() == f"digest={bundle.digest}\n"
    assert bundle.digest in (tmp_path / "summary").read_text()
    statement = provenance.check(bundle.directory, [tmp_path / "ci.pub"]).statement
    assert statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"] == {"gitCommit": "1" * 40}
    assert json.loads((tmp_path / "sign/selftest.json").read_text())["bundle"] == bundle.digest


@posix
def test_a_refusal_stops_the_job_and_says_why(place: dict[str, str], tmp_path: Path) -> None:
    """A bundle that would not be ready: the building step fails and no other runs, nothing is there, the summary has the reason."""
    place["FEATURES"] = str(tmp_path / "none.parquet")
    ran, failed = run_job("build", place, tmp_path)
    assert ran == ["A commit, not a branch"]
    assert failed is not None
    assert failed.returncode == 3
    assert not (tmp_path / "build/bundle").exists()
    (tmp_path / "build/build.json").unlink()
    build = next(step for step in steps("build") if step["name"] == "Build and prove")
    without_proof = build | {"run": build["run"].replace('--features "$FEATURES"', "")}
    assert run(without_proof, place, tmp_path / "build").returncode == 20
    assert not (tmp_path / "build/bundle").exists()
    shown = json.loads(summary_of_failure(place, tmp_path))
    assert (shown["code"], shown["exit"]) == ("build.not_ready", 20)
    assert "order_not_replayed" in shown["found"]


@posix
def test_a_refusal_that_is_left_over_signs_nothing(place: dict[str, str], tmp_path: Path) -> None:
    """A runner that is used again: what an earlier build left is gone before a build that is refused, and gets no digest."""
    shutil.copytree(factor_plain_bundle(), tmp_path / "build/bundle")
    (tmp_path / "build/build.json").write_text(json.dumps({"result": {"digest": "3" * 64}}), encoding="utf-8")
    place["FEATURES"] = str(tmp_path / "none.parquet")
    assert run_job("build", place, tmp_path)[1] is not None
    assert not (tmp_path / "build/bundle").exists()
    assert not (tmp_path / "output").exists()


def other_digest(place: dict[str, str], bundle: Path) -> None:
    """The build said another digest than that of what arrived."""
    place["DIGEST"] = "0" * 64


def other_manifest(place: dict[str, str], bundle: Path) -> None:
    """One byte more than the build had."""
    with (bundle / "manifest.json").open("ab") as file:
        file.write(b" ")


def other_model(place: dict[str, str], bundle: Path) -> None:
    """A file that is not the one of the manifest."""
    model = bundle / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)


def further_file(place: dict[str, str], bundle: Path) -> None:
    """A file that the manifest does not list."""
    (bundle / "setup.py").write_text("raise SystemExit\n", encoding="utf-8")


def foreign_envelope(place: dict[str, str], bundle: Path) -> None:
    """Signatures that came from where the task is."""
    (bundle / "manifest.dsse.json").write_text("{}", encoding="utf-8")


@posix
@pytest.mark.parametrize(
    "harm", [other_digest, other_manifest, other_model, further_file, foreign_envelope], ids=lambda f: f.__name__
)
def test_nothing_is_signed_that_is_not_what_was_built(
    place: dict[str, str], tmp_path: Path, harm: Callable[[dict[str, str], Path], None]
) -> None:
    """A digest, manifest, file or envelope that is not the build's: the job ends before the step with the key."""
    bundle = tmp_path / "sign/bundle"
    shutil.copytree(factor_plain_bundle(), bundle)
    signing = place | {"DIGEST": hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()}
    harm(signing, bundle)
    before = sorted(path.name for path in bundle.iterdir())
    ran, failed = run_job("sign", signing, tmp_path)
    assert ran == []
    assert failed is not None
    assert sorted(path.name for path in bundle.iterdir()) == before
    assert not (tmp_path / "output").exists()


@posix
@pytest.mark.parametrize("ref", ["main", "v1.0", "2" * 39, "2" * 40 + "\nmain", ""])
def test_the_software_is_named_by_a_commit(place: dict[str, str], tmp_path: Path, ref: str) -> None:
    """A branch, a tag or a part of a commit stops the job at once."""
    ran, failed = run_job("build", place | {"COMMIT": ref}, tmp_path)
    assert (ran, failed is None) == ([], False)


def summary_of_failure(place: dict[str, str], tmp_path: Path) -> str:
    """The one line that the summary shows after a failure, in its block of code."""
    why = next(step for step in steps("build") if step.get("if") == "failure()")
    assert run(why, place, tmp_path / "build").returncode == 0
    opening, line, closing = (tmp_path / "summary").read_text().splitlines()
    assert (opening, closing) == ("```json", "```")
    return line


@pytest.mark.attack("terminal: a summary of a CI system")
@posix
def test_a_refusal_is_no_markdown_in_the_summary(place: dict[str, str], tmp_path: Path) -> None:
    """Whatever a refusal quotes, the summary shows it as one line of code: no image, no link, no end of the block."""
    place["NAME"] = "```\n# ![x](https://evil.example/x) <img src=x>\n::error::x ##[group]y \x1b[31m\u202e"
    build = next(step for step in steps("build") if step["name"] == "Build and prove")
    done = run(build, place, tmp_path / "build")
    assert done.returncode in (2, 20)
    said = done.stdout + (tmp_path / "build/build.json").read_text(encoding="utf-8")
    assert "\n::" not in said
    assert "##[" not in said
    line = summary_of_failure(place, tmp_path)
    assert line.isascii()
    assert not json.loads(line)["ok"]


def test_inputs_reach_the_shell_as_variables_only() -> None:
    """No script of the workflow holds an expression: it would be code of whoever wrote the input."""
    every = [step for job in workflow()["jobs"].values() for step in job["steps"]]
    assert [step["name"] for step in every if "${{" in step.get("run", "")] == []
