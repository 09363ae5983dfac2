"""Bounds of a manifest."""

from __future__ import annotations

import time

import msgspec
import pytest

from alphaseal.errors import MalformedError
from alphaseal.format import manifest as m
from manifests import example_manifest


def test_files_together_have_a_bound() -> None:
    """64 GiB of files are a bundle, one byte more is not: `verify` would hash whatever is signed."""
    manifest = example_manifest()
    rest = sum(entry.size for entry in manifest.files[1:])
    for size, code in ((m.MAXIMUM_TOTAL - rest, None), (m.MAXIMUM_TOTAL - rest + 1, "manifest.size")):
        files = [msgspec.structs.replace(manifest.files[0], size=size), *manifest.files[1:]]
        data = m.encode(msgspec.structs.replace(manifest, files=files))
        if code is None:
            m.parse(data)
        else:
            with pytest.raises(MalformedError) as caught:
                m.parse(data)
            assert caught.value.code == code


def test_a_manifest_of_many_files_is_read_quickly() -> None:
    """Ten thousand files are compared with their directories, not with each other."""
    example = example_manifest()
    more = [
        m.File(
            path=f"sources/f{number:05d}.py",
            size=1,
            sha256="0" * 64,
            media_type="text/plain",
            role="source",
            title=None,
        )
        for number in range(9_990)
    ]
    data = m.encode(
        msgspec.structs.replace(example, files=sorted([*example.files, *more], key=lambda entry: entry.path))
    )
    started = time.process_time()
    m.parse(data)
    assert time.process_time() - started < 1.0
