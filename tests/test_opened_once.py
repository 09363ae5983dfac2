"""No verb opens a file of a bundle twice: what it verified is what it uses, whatever the path names a moment later."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal import cli
from alphaseal.cli import command
from alphaseal.disk import tree
from alphaseal.disk.verified import BundleFiles
from alphaseal.errors import DigestError
from alphaseal.format import manifest as m
from alphaseal_converter.cli import command as converter_command
from alphaseal_converter.cli import main as convert
from alphaseal_converter.factors.compute import complete_rows_only
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values
from factor_bars import DAY, RESEARCH, bars_table, needs_tables
from locations import DATA
from opened_files import run_watched

RELEASED = DATA / "released/factor"
UNSIGNED = "--allow-unsigned"
_BUILT = ["--builder", "urn:builder"]
Arguments = Callable[[Path, Path], list[str]]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the demo's task with a factor table, an envelope and a provenance, and beside it keys and bars."""
    place = tmp_path_factory.mktemp("signed")
    shutil.copytree(factor_plain_bundle(), place / "bundle")
    assert convert(["keygen", "--out", str(place / "a")]) == 0
    assert convert(["keygen", "--out", str(place / "b")]) == 0
    assert convert(["sign", str(place / "bundle"), "--key", str(place / "a.key")]) == 0
    assert convert(["attest", str(place / "bundle"), "--key", str(place / "a.key"), *_BUILT]) == 0
    pq.write_table(bars_table(), place / "bars.parquet")
    return place


def _features(place: Path) -> list[str]:
    return ["--features", str(raw_values(FACTOR_PLAIN / "truth/hist2_factor"))]


# verb -> (arguments after the verb, of the directory with everything and the bundle; exit status)
RUNTIME: dict[str, tuple[Arguments, int]] = {
    "verify": (lambda place, bundle: [str(bundle), UNSIGNED], 0),
    "show": (lambda place, bundle: [str(bundle)], 0),
    "diff": (lambda place, bundle: [str(bundle), str(RELEASED)], 0),
    "export": (lambda place, bundle: [str(bundle), UNSIGNED, "--layout", "aistock", "--out", "exported"], 0),
    "selftest": (lambda place, bundle: [str(bundle), UNSIGNED], 0),
    "score": (lambda place, bundle: [str(bundle), UNSIGNED, "--date", "2021-12-24", *_features(place)], 0),
    "install": (lambda place, bundle: [str(bundle), UNSIGNED, "--store", "store"], 0),
    "doctor": (lambda place, bundle: [str(bundle)], 0),
}
CONVERTER: dict[str, tuple[Arguments, int]] = {
    "validate": (lambda place, bundle: [str(bundle)], 0),
    "sign": (lambda place, bundle: [str(bundle), "--key", str(place / "a.key")], 0),
    "approve": (lambda place, bundle: [str(bundle), "--key", str(place / "b.key")], 0),
    "attest": (lambda place, bundle: [str(bundle), "--key", str(place / "a.key"), *_BUILT], 0),
    "provenance": (lambda place, bundle: [str(bundle), "--key", str(place / "a.pub")], 0),
}
READS_NO_BUNDLE = {"trust", "completion", "keygen", "inspect", "build", "replay", "factor"}
"""Verbs without a bundle among what they read; `build` opens what it has just written, in a place of its own."""
ELSEWHERE = {"current", "rollback", "anchor", "features"}
"""Verbs with a test of their own below."""


def test_every_verb_that_reads_bundles_is_watched() -> None:
    """A new verb has to be put into the lists above."""
    runtime, converter = set(command.COMMAND.verbs), set(converter_command.COMMAND.verbs)
    assert runtime == RUNTIME.keys() | {"current", "rollback", "anchor", "trust", "completion"}
    others = {"features", "doctor", "completion", "keygen", "inspect", "build", "replay", "factor"}
    assert converter == CONVERTER.keys() | others
    assert READS_NO_BUNDLE | ELSEWHERE | RUNTIME.keys() | CONVERTER.keys() >= runtime | converter


def _copied(signed: Path, tmp_path: Path) -> Path:
    bundle = tmp_path / "bundle"
    shutil.copytree(signed / "bundle", bundle)
    return bundle


@pytest.mark.attack("files: exchanged after the check")
@pytest.mark.parametrize(
    ("program", "verb"),
    [
        *(("alphaseal.cli.command", verb) for verb in RUNTIME),
        *(("alphaseal_converter.cli.command", verb) for verb in CONVERTER),
    ],
)
def test_verbs_open_each_file_once(signed: Path, tmp_path: Path, program: str, verb: str) -> None:
    """By the audit hook, and on Linux by the kernel, which sees what C++ opens."""
    bundle = _copied(signed, tmp_path)
    arguments, expected = (RUNTIME | CONVERTER)[verb]
    status, opened = run_watched(bundle, program, [verb, *arguments(signed, bundle)], tmp_path)
    assert status == expected
    assert opened["manifest.json"] == 1
    assert {path: count for path, count in opened.items() if count > 1} == {}


@pytest.mark.parametrize("layout", ["seed", "aistock", "strategy-package"])
def test_every_layout_is_exported_from_one_opening(signed: Path, tmp_path: Path, layout: str) -> None:
    """What is copied is verified while it is copied, and everything else before the result gets its name."""
    bundle = _copied(signed, tmp_path)
    arguments = ["export", str(bundle), UNSIGNED, "--layout", layout, "--out", "exported"]
    status, opened = run_watched(bundle, "alphaseal.cli.command", arguments, tmp_path)
    assert status == 0
    assert set(opened.values()) == {1}
    assert {entry.path for entry in m.parse((bundle / m.FILE_NAME).read_bytes()).files} <= opened.keys()


def test_stored_bundles_are_opened_once_by_a_rollback(signed: Path, tmp_path: Path) -> None:
    """A bundle of the store is verified and tried from one opening, and `current` opens none of it."""
    bundle, store = _copied(signed, tmp_path), tmp_path / "store"
    assert cli.main(["install", str(bundle), UNSIGNED, "--store", str(store)]) == 0
    sequence = m.parse((bundle / m.FILE_NAME).read_bytes()).sequence
    rollback = ["rollback", "--store", str(store), "--to", str(sequence), "--reason", "trial"]
    status, opened = run_watched(store / "bundles", "alphaseal.cli.command", rollback, tmp_path)
    assert status in (0, 2)
    assert {path: count for path, count in opened.items() if count > 1} == {}
    status, opened = run_watched(
        store / "bundles", "alphaseal.cli.command", ["current", "--store", str(store)], tmp_path
    )
    assert (status, opened.total()) == (0, 0)


@needs_tables
def test_features_are_computed_from_one_opening(signed: Path, tmp_path: Path) -> None:
    """Sources, golden bars and the factor table are read through the same open files from first to last."""
    bundle = _copied(signed, tmp_path)
    bars = ["--bars", str(signed / "bars.parquet"), "--date", DAY, "--python", RESEARCH, "--out", "features.parquet"]
    status, opened = run_watched(
        bundle, "alphaseal_converter.cli.command", ["features", str(bundle), UNSIGNED, *bars], tmp_path
    )
    assert status in (0, 20)
    assert opened["factors.parquet"] == opened["manifest.json"] == 1
    assert {path: count for path, count in opened.items() if count > 1} == {}


# --- what is used are the verified bytes --------------------------------------------------------------------------------


def _other_table(path: Path, place: Path) -> Path:
    """A table of the same form with other values."""
    table = pq.read_table(path)
    for position, name in enumerate(table.schema.names[2:], 2):
        kind = table.schema.field(name).type
        values = np.full(len(table), np.nan).astype(kind.to_pandas_dtype())
        table = table.set_column(position, table.schema.field(name), pa.array(values, kind))
    other = place / "other.parquet"
    pq.write_table(table, other, compression="zstd", store_schema=False)
    return other


@pytest.mark.attack("files: exchanged after the check")
@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be exchanged on Windows")
def test_a_table_that_is_exchanged_while_it_is_read_changes_nothing(signed: Path, tmp_path: Path) -> None:
    """A process swaps the factor table for another of its form as fast as it can; every reading is of the verified one."""
    bundle_place = _copied(signed, tmp_path)
    place = bundle_place / "factors.parquet"
    other, good = _other_table(place, tmp_path), tmp_path / "good.parquet"
    shutil.copy(place, good)
    bundle = alphaseal.open(bundle_place, trust=alphaseal.Trust.unsigned())
    expected = complete_rows_only(bundle)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for source in (other, good):
                os.link(source, tmp_path / "new.parquet")
                os.replace(tmp_path / "new.parquet", place)
                (tmp_path / "new.parquet").unlink(missing_ok=True)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        found = [complete_rows_only(bundle) for _ in range(30)]
    finally:
        stop.set()
        thread.join()
    assert set(found) == {expected}


@pytest.mark.attack("files: exchanged after the check")
@pytest.mark.parametrize("path", ["factors.parquet", "golden.parquet", "model.onnx"])
def test_a_file_that_is_changed_in_its_place_is_refused_when_it_is_used(
    signed: Path, tmp_path: Path, path: str
) -> None:
    """Whoever may write to the file can change an open one; its bytes are verified again with each use."""
    place = _copied(signed, tmp_path)
    bundle = alphaseal.open(place, trust=alphaseal.Trust.unsigned())
    bundle.verify()
    data = bundle.read(path)
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    with (place / path).open("r+b") as file:
        file.write(changed)
    with pytest.raises(DigestError) as caught:
        bundle.read(path)
    assert caught.value.code == "file.digest"


@pytest.mark.attack("files: exchanged after the check")
def test_blocks_of_a_large_file_are_verified_when_they_are_read(tmp_path: Path) -> None:
    """Each block of the open file that is read is the one that was verified; changed ones are refused, others are not."""
    import hashlib

    content = os.urandom((3 << 20) + 17)
    (tmp_path / "factors.parquet").write_bytes(content)
    entry = m.File(
        path="factors.parquet",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        media_type="x",
        role="factors",
        title=None,
    )

    class Listing:
        def file(self, path: str) -> m.File:
            return entry

    files = BundleFiles(tmp_path, Listing())  # type: ignore[arg-type]
    opened = files.verified("factors.parquet")
    assert opened.read() == content
    opened = files.verified("factors.parquet")
    changed = bytearray(content)
    changed[(1 << 20) + 5] ^= 1
    with (tmp_path / "factors.parquet").open("r+b") as file:
        file.write(changed)
    opened.seek(-20, 2)
    assert (opened.tell(), opened.read()) == (len(content) - 20, content[-20:])
    opened.seek(10)
    assert opened.read(100) == content[10:110]
    opened.seek((1 << 20) - 5)
    with pytest.raises(DigestError) as caught:
        opened.read(20)
    assert "after it was verified" in caught.value.message
    with pytest.raises(DigestError):
        files.verified("factors.parquet")
    files.close()
    with pytest.raises(ValueError, match="closed"):
        files.read("factors.parquet")


def test_a_bundle_that_is_closed_holds_no_file(signed: Path, tmp_path: Path) -> None:
    """Nothing of it is open then, so that its directory can be moved on any system."""
    place = _copied(signed, tmp_path)
    with alphaseal.open(place, trust=alphaseal.Trust.unsigned()) as bundle:
        bundle.verify()
        bundle.check_factors()
        assert bundle.files._open.keys() >= {"model.onnx", "factors.parquet"}
    assert not bundle.files._open
    assert tree.ENVELOPE_NAME in {path.name for path in place.iterdir()}
