"""Where the converter writes: what cannot be written is said before the work, and nothing that is read is replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from alphaseal.errors import NotReadableError
from alphaseal_converter.build import build
from alphaseal_converter.cli import main
from bundles import FACTOR_PLAIN, factor_plain_bundle, factor_plain_request

SYSTEM = Path("/sys")
"""Of Linux: nobody, not even root, makes files there."""
LONG = "x" * 245
"""A name that a file may have, but not the temporary one beside it."""


def reply(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, int]:
    """Code and status of a command that ends with an error."""
    status = main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)["code"], status


@pytest.mark.parametrize("verb", ["build", "replay"])
def test_unwritable_places_are_named_before_the_work(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3, and not a fault of ours: there is not even a task to look at."""
    places = [tmp_path / LONG] + ([SYSTEM / "alphaseal"] if SYSTEM.is_dir() else [])
    for place in places:
        assert reply(capsys, verb, str(tmp_path / "absent"), "--out", str(place)) == ("output.not_writable", 3)
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_vanishes_is_no_fault_of_ours(tmp_path: Path) -> None:
    """Someone removes the directory between the first look and the writing."""
    (tmp_path / "parent").mkdir()

    def progress(text: str) -> None:
        if text == "writing the bundle":
            (tmp_path / "parent").rmdir()

    with pytest.raises(NotReadableError) as error:
        build(factor_plain_request(tmp_path / "parent" / "bundle"), progress)
    assert error.value.code == "output.not_writable"


def test_names_longer_than_the_system_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are no fault of ours either."""
    for verb in ("build", "replay"):
        assert reply(capsys, verb, str(FACTOR_PLAIN), "--out", str(tmp_path / ("x" * 5000)))[1] == 3


def test_replay_writes_nothing_into_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is inside a store was installed."""
    (tmp_path / "bundles").mkdir()
    (tmp_path / "current.json").write_bytes(b"{}")
    out = tmp_path / "raw.parquet"
    assert reply(capsys, "replay", str(FACTOR_PLAIN), "--out", str(out)) == ("usage.out", 2)


def test_features_leaves_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`features --out` refuses its bars and the bundle's files, and a signature's place that is one of its inputs."""
    bundle, bars = tmp_path / "bundle", tmp_path / "bars.parquet"
    shutil.copytree(factor_plain_bundle(), bundle)
    bars.write_bytes(b"bars")
    signature = tmp_path / "out.parquet.dsse.json"
    signature.write_bytes(b"trust")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    command = ["features", str(bundle), "--bars", str(bars), "--date", "2021-12-24"]
    for out in (bars, bundle / "golden.parquet", bundle / "new.parquet"):
        assert reply(capsys, *command, "--allow-unsigned", "--out", str(out)) == ("usage.out", 2)
    trusted = [*command, "--trust", str(signature), "--out", str(tmp_path / "out.parquet")]
    assert reply(capsys, *trusted) == ("usage.out", 2)
    unwritable = tmp_path / f"{LONG[:240]}.parquet"
    assert reply(capsys, *command, "--allow-unsigned", "--out", str(unwritable)) == ("output.not_writable", 3)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
