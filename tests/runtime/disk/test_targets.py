"""Where results are written: never over what is read, into a bundle or a store, and not found out after the work."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from alphaseal import cli
from alphaseal.disk.targets import check_target, replacing
from alphaseal.errors import NotReadableError, UsageError
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values
from raising import refusal

TRUTH = FACTOR_PLAIN / "truth/hist2_factor"
SYSTEM = Path("/sys")
"""Of Linux: nobody, not even root, makes files there."""


def refused(path: Path, **reads: object) -> str:
    error = refusal(UsageError, check_target, path, **reads)
    assert error.exit == 2
    return error.code


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A file that is read."""
    path = tmp_path / "given.parquet"
    path.write_bytes(b"given")
    return path


def test_an_input_is_never_a_target(given: Path, tmp_path: Path) -> None:
    """By its name, by another path to it, by a link, and by a second name of the same file."""
    (tmp_path / "directory").mkdir()
    os.link(given, tmp_path / "second.parquet")
    names = [given, tmp_path / "directory" / ".." / given.name, tmp_path / "second.parquet"]
    if os.name != "nt":
        (tmp_path / "link.parquet").symlink_to(given)
        (tmp_path / "there").symlink_to(tmp_path, target_is_directory=True)
        names += [tmp_path / "link.parquet", tmp_path / "there" / given.name]
    for path in names:
        assert refused(path, inputs=[None, given]) == "usage.out"
    assert given.read_bytes() == b"given"
    check_target(tmp_path / "other.parquet", inputs=[None, given])


def test_bundles_and_stores_are_no_places(tmp_path: Path) -> None:
    """Not the bundle's directory itself, no file in it however deep, nothing in a store; beside them is right."""
    bundle, store = tmp_path / "bundle", tmp_path / "store"
    (bundle / "parts").mkdir(parents=True)
    (store / "bundles").mkdir(parents=True)
    (store / "current.json").write_bytes(b"{}")
    for path in (bundle, bundle / "new.csv", bundle / "parts" / "new.csv", store / "current.json", store / "new.csv"):
        assert refused(path, bundle=bundle) == "usage.out"
    check_target(tmp_path / "new.csv", bundle=bundle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "store"]


@pytest.mark.skipif(os.name == "nt", reason="/dev is of POSIX")
def test_only_plain_files_are_replaced(tmp_path: Path) -> None:
    """A device or a directory of the name is not replaced; an older result is."""
    assert refused(Path(os.devnull)) == "usage.out"
    assert refused(tmp_path) == "usage.out"
    (tmp_path / "old.csv").write_bytes(b"old")
    check_target(tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_bytes() == b"old"


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    """A directory that is not there, one that is a file, and a name too long: before the work and in it."""
    (tmp_path / "file").write_bytes(b"")
    places = [tmp_path / "absent" / "x.csv", tmp_path / "file" / "x.csv", tmp_path / f"{'x' * 245}.csv"]
    places += [SYSTEM / "alphaseal.csv"] if SYSTEM.is_dir() else []
    for path in places:
        with pytest.raises(NotReadableError) as error:
            check_target(path)
        assert (error.value.code, error.value.exit) == ("output.not_writable", 3)
        with pytest.raises(NotReadableError) as error, replacing(path) as temporary:
            temporary.write_bytes(b"")
        assert error.value.code == "output.not_writable"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_score_leaves_everything_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`score --out` refuses its features, its other files, the bundle and a directory, before it opens anything."""
    bundle, features = tmp_path / "bundle", tmp_path / "features.parquet"
    shutil.copytree(factor_plain_bundle(), bundle)
    shutil.copyfile(raw_values(TRUTH), features)
    universe = tmp_path / "universe.csv"
    universe.write_text("SH600000\n", encoding="utf-8")
    (tmp_path / "directory.csv").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    command = ["score", str(bundle), "--allow-unsigned", "--features", str(features), "--universe", str(universe)]
    for out in (features, universe, bundle / "golden.parquet", bundle / "new.csv", tmp_path / "directory.csv"):
        assert cli.main([*command, "--date", "2021-12-24", "--out", str(out), "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["code"] == "usage.out"
    # Before any work: the date, which is none, is not looked at yet.
    assert cli.main([*command, "--date", "1", "--out", str(tmp_path / "absent/x.csv"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["code"] == "output.not_writable"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_selftest_leaves_the_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`selftest --report` neither replaces a file of the bundle nor adds one, and says at once what cannot be written."""
    bundle = tmp_path / "bundle"
    shutil.copytree(factor_plain_bundle(), bundle)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    for report, status in ((bundle / "manifest.json", 2), (bundle / "new.json", 2), (tmp_path / "absent/x.json", 3)):
        assert cli.main(["selftest", str(bundle), "--allow-unsigned", "--report", str(report), "--json"]) == status
        assert json.loads(capsys.readouterr().out)["code"] == {2: "usage.out", 3: "output.not_writable"}[status]
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
