"""A sealed bundle: links, names and questions that try to talk the verifier round."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import alphaseal
from alphaseal.errors import AlphasealError, NotReadableError
from fuzz_bundle import TRUST, UNSIGNED, small_bundle
from small_directory import posix, refusal_of, small_directory


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The small signed bundle on disk."""
    return small_directory(tmp_path)


def test_the_small_bundle_is_accepted(bundle: Path) -> None:
    """What the attacks start from is right."""
    assert {signer.name for signer in alphaseal.open(bundle, trust=TRUST).verify().signers} == {"approver", "ci"}


def test_a_directory_without_a_manifest_is_told_what_is_meant(tmp_path: Path) -> None:
    """Whoever names the directory above, or an empty one, is told which to name."""
    with pytest.raises(AlphasealError) as caught:
        alphaseal.open(tmp_path, trust=alphaseal.Trust.unsigned())
    assert caught.value.code == "tree.missing"
    assert caught.value.next_step == "name the directory that holds manifest.json"


@posix
def test_hard_links_are_harmless(bundle: Path, tmp_path: Path) -> None:
    """A file with a second name is a plain file: its verified buffer is the one that is used."""
    os.link(bundle / "model.onnx", tmp_path / "elsewhere")
    opened = alphaseal.open(bundle, trust=TRUST)
    before = opened.read("model.onnx")
    (tmp_path / "elsewhere").write_bytes(before[:-1] + b"\0")
    with pytest.raises(AlphasealError) as caught:
        opened.read("model.onnx")
    assert caught.value.code == "file.digest"


@posix
@pytest.mark.parametrize("swapped", ["model.onnx", "sources"])
def test_links_put_there_after_opening_lead_to_the_same_bytes_or_nowhere(
    bundle: Path, tmp_path: Path, swapped: str
) -> None:
    """A file that becomes a link is refused; through a directory that becomes one only the signed bytes are read."""
    opened = alphaseal.open(bundle, trust=TRUST)
    (bundle / swapped).rename(tmp_path / "away")
    (bundle / swapped).symlink_to(tmp_path / "away")
    if swapped == "sources":
        assert opened.read("sources/conf.yaml") == small_bundle().files["sources/conf.yaml"]
        (tmp_path / "away/conf.yaml").write_bytes(b"task: []\n")
    path = "sources/conf.yaml" if swapped == "sources" else swapped
    with pytest.raises(AlphasealError) as caught:
        opened.read(path)
    assert caught.value.code == ("file.digest" if swapped == "sources" else "tree.not_plain")
    assert refusal_of(bundle).code == "tree.not_plain"


@pytest.mark.parametrize("path", ["a" * 300, "a\0b", "nowhere", ""])
def test_names_of_no_directory(path: str, tmp_path: Path) -> None:
    """Names that no system has are an answer of ours, not one of the system's errors."""
    with pytest.raises(NotReadableError) as caught:
        alphaseal.open(tmp_path / path / "x", trust=UNSIGNED)
    assert caught.value.code == "bundle.not_readable"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare here")
def test_verify_works_with_the_network_cut(bundle: Path, tmp_path: Path) -> None:
    """In a network namespace of its own, without even a loopback interface, `alphaseal verify` says what it always says."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system makes no namespaces for us")
    from signed import known, policy, write_trust

    trust = write_trust(
        tmp_path / "trust.json", policy(known("ci"), known("approver", "approver"), thresholds={"ci": 1, "approver": 1})
    )
    command = ["unshare", "-rn", sys.executable, "-m", "alphaseal", "verify", str(bundle), "--trust", str(trust)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_questions_that_cannot_be_answered(bundle: Path) -> None:
    """A score needs a date or a range and not both; a file that the manifest does not list is not read."""
    opened = alphaseal.open(bundle, trust=TRUST)
    wrong: tuple[dict[str, Any], ...] = ({}, {"date": "2021-12-24", "dates": (None, None)})
    for dates in wrong:
        with pytest.raises(AlphasealError) as caught:
            opened.score(bundle / "factors.parquet", **dates)
        assert caught.value.code == "usage.date"
    with pytest.raises(AlphasealError) as caught:
        opened.read("nowhere")
    assert caught.value.code == "manifest.reference"
