"""The directory of a bundle: special, deep, many, growing and linked files are refused soon."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from alphaseal.disk.verified import BundleFiles
from alphaseal.errors import AlphasealError
from alphaseal.format.manifest import File
from fuzz_bundle import small_bundle
from fuzz_mutations import write_tree
from small_directory import posix, refusal_of, small_directory


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The small signed bundle on disk."""
    return small_directory(tmp_path)


@posix
@pytest.mark.parametrize("name", ["manifest.json", "manifest.dsse.json", "model.onnx", "card.html"])
@pytest.mark.parametrize("kind", ["fifo", "link_to_a_device", "directory", "huge"])
def test_special_files_neither_hang_nor_swell(bundle: Path, name: str, kind: str) -> None:
    """A pipe without a writer, an endless device, a terabyte of nothing: refused at once."""
    (bundle / name).unlink()
    if kind == "fifo":
        os.mkfifo(bundle / name)
    elif kind == "link_to_a_device":
        (bundle / name).symlink_to("/dev/zero")
    elif kind == "directory":
        (bundle / name).mkdir()
    else:
        (bundle / name).touch()
        os.truncate(bundle / name, 1 << 40)
    started = time.process_time()
    assert refusal_of(bundle).exit in (11, 12)
    assert time.process_time() - started < 1.0


@posix
def test_deep_directories_are_refused(bundle: Path) -> None:
    """Directories deeper than a path can be long."""
    here = os.open(bundle, os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    try:
        assert refusal_of(bundle).code == "bundle.not_readable"
    finally:
        subprocess.run(["rm", "-rf", str(bundle)], check=True)


@posix
def test_many_files_are_refused_soon() -> None:
    """A directory of 60 000 files is not listed to its end (in memory: the disk would take most of the time)."""
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))
    bundle = place / f"alphaseal-many-{os.getpid()}"
    try:
        write_tree(bundle, dict(small_bundle().files))
        for number in range(60_000):
            os.close(os.open(bundle / "sources" / f"f{number}", os.O_CREAT))
        started = time.process_time()
        assert refusal_of(bundle).code == "tree.too_many"
        assert time.process_time() - started < 1.0
    finally:
        shutil.rmtree(bundle, ignore_errors=True)


def _reads(root: Path, entry: File) -> tuple[Callable[[str], object], ...]:
    """Both ways of reading the only file of a manifest."""
    files = BundleFiles(root, msgspec.structs.replace(small_bundle().manifest, files=[entry]))
    return files.read, files.check


@posix
def test_a_size_is_refused_before_anything_is_read(bundle: Path) -> None:
    """The manifest's size is compared with the file's first: nothing of the manifest's size is reserved."""
    entry = msgspec.structs.replace(small_bundle().manifest.file("card.html"), size=1 << 46)
    for read in _reads(bundle, entry):
        with pytest.raises(AlphasealError) as caught:
            read(entry.path)
        assert (caught.value.code, caught.value.found) == ("file.size", "35 bytes")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="files that say another size than they have")
def test_a_file_that_grows_while_it_is_read_is_refused() -> None:
    """Files of /proc say size 0 and have content: what is read is counted again."""
    entry = msgspec.structs.replace(small_bundle().manifest.file("card.html"), path="status", size=0)
    for read in _reads(Path("/proc/self"), entry):
        with pytest.raises(AlphasealError) as caught:
            read(entry.path)
        assert caught.value.code == "file.size"


@posix
def test_links_are_called_links(bundle: Path) -> None:
    """The message tells a link from a special file."""
    (bundle / "sources/more").symlink_to("conf.yaml")
    assert refusal_of(bundle).message == "symbolic link in the bundle"
