"""V1, V5 and V6: what lies on disk, in both directions, and the sizes and digests of it.

What git cannot hold, and names that not every file system has, are steps of `setup`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vector_cases.base import FACTOR_CODE, TRUSTED, UNSIGNED, Case, both, bundle, put, signed, with_trust

_FACTOR = "bundle/sources/factors/000.txt"


def _write(path: str, text: str = "x") -> dict[str, Any]:
    return {"op": "write", "path": path, "text": text}


def _symlink(path: str, target: str) -> list[dict[str, Any]]:
    """A link in the place of what is there; `target` as seen from the link."""
    return [{"op": "remove", "path": path}, {"op": "symlink", "path": path, "target": target}]


def _moved_out(path: str, outside: str, target: str) -> list[dict[str, Any]]:
    return [{"op": "rename", "path": path, "target": outside}, {"op": "symlink", "path": path, "target": target}]


SETUPS: dict[str, tuple[list[dict[str, Any]], str, int, str]] = {
    # name: steps, code, exit, text
    "manifest_absent": (
        [{"op": "remove", "path": "bundle/manifest.json"}],
        "tree.missing",
        12,
        "V1: there is no manifest.json",
    ),
    "manifest_symlink": (
        _moved_out("bundle/manifest.json", "outside.json", "../outside.json"),
        "tree.not_plain",
        12,
        "V1: manifest.json is a symbolic link to the right bytes",
    ),
    "manifest_directory": (
        [{"op": "remove", "path": "bundle/manifest.json"}, {"op": "mkdir", "path": "bundle/manifest.json"}],
        "tree.not_plain",
        12,
        "V1: manifest.json is a directory",
    ),
    "manifest_fifo": (
        [{"op": "remove", "path": "bundle/manifest.json"}, {"op": "fifo", "path": "bundle/manifest.json"}],
        "tree.not_plain",
        12,
        "V1: manifest.json is a pipe that nobody writes to",
    ),
    "manifest_8_mib_and_1": (
        [{"op": "extend", "path": "bundle/manifest.json", "size": (8 << 20) + 1}],
        "file.size",
        11,
        "V1: manifest.json has one byte more than 8 MiB",
    ),
    "manifest_case": (
        [{"op": "rename", "path": "bundle/manifest.json", "target": "bundle/manifest.jsn"}],
        "tree.missing",
        12,
        "V1: the manifest has another name",
    ),
    "envelope_12_mib_and_1": (
        [
            _write("bundle/manifest.dsse.json"),
            {"op": "extend", "path": "bundle/manifest.dsse.json", "size": (12 << 20) + 1},
        ],
        "file.size",
        11,
        "V1: manifest.dsse.json has one byte more than 12 MiB",
    ),
    "envelope_symlink": (
        [_write("outside.json"), {"op": "symlink", "path": "bundle/manifest.dsse.json", "target": "../outside.json"}],
        "tree.not_plain",
        12,
        "V1: manifest.dsse.json is a symbolic link",
    ),
    "envelope_dangling_symlink": (
        [{"op": "symlink", "path": "bundle/manifest.dsse.json", "target": "nowhere"}],
        "tree.not_plain",
        12,
        "V1: manifest.dsse.json is a symbolic link to nothing",
    ),
    "envelope_directory": (
        [{"op": "mkdir", "path": "bundle/manifest.dsse.json"}],
        "tree.not_plain",
        12,
        "V1: manifest.dsse.json is a directory",
    ),
    "model_absent": ([{"op": "remove", "path": "bundle/model.onnx"}], "tree.missing", 12, "V5: the graph is missing"),
    "source_absent": (
        [{"op": "rename", "path": "bundle/sources", "target": "outside"}],
        "tree.missing",
        12,
        "V5: the directory of the sources is missing",
    ),
    "extra_file": ([_write("bundle/readme.txt")], "tree.extra", 12, "V5: a file that is not listed"),
    "extra_empty_file": ([_write("bundle/extra", "")], "tree.extra", 12, "V5: an empty file that is not listed"),
    "extra_file_deep": (
        [_write("bundle/sources/factors/001.txt")],
        "tree.extra",
        12,
        "V5: a file in a subdirectory that is not listed",
    ),
    "extra_second_manifest": (
        [_write("bundle/sources/manifest.json")],
        "tree.extra",
        12,
        "V5: a fixed name in a subdirectory",
    ),
    "extra_python_cache": (
        [{"op": "mkdir", "path": "bundle/__pycache__"}, _write("bundle/__pycache__/a.cpython-311.pyc")],
        "tree.extra",
        12,
        "V5: a directory that Python left behind",
    ),
    "hidden_file": ([_write("bundle/.hidden")], "tree.name", 12, "V5: a hidden file"),
    "upper_case_file": ([_write("bundle/Model.txt")], "tree.name", 12, "V5: a name with an upper-case letter"),
    "space_in_name": (
        [_write("bundle/model (1).onnx")],
        "tree.name",
        12,
        "V5: a name with a space, as a download makes it",
    ),
    "backslash_in_name": ([_write("bundle/sources\\000.py")], "tree.name", 12, "V5: a name with a backslash"),
    "trailing_dot_in_name": ([_write("bundle/model.onnx.")], "tree.name", 12, "V5: a name with a dot at its end"),
    "reserved_name": ([_write("bundle/nul.txt")], "tree.name", 12, "V5: a name that Windows reserves"),
    "line_end_in_name": ([_write("bundle/model\n.onnx")], "tree.name", 12, "V5: a name with a line end"),
    "confusable_name": ([_write("bundle/m\u043edel.onnx")], "tree.name", 12, "V5: a name with a Cyrillic o"),
    "upper_case_directory": (
        [{"op": "rename", "path": "bundle/sources", "target": "bundle/Sources"}],
        "tree.name",
        12,
        "V5: a directory in upper case",
    ),
    "file_symlink": (
        _moved_out("bundle/model.onnx", "outside.onnx", "../outside.onnx"),
        "tree.not_plain",
        12,
        "V5: the graph is a symbolic link to the right bytes",
    ),
    "file_symlink_inside": (
        _symlink(_FACTOR, "../../golden.parquet"),
        "tree.not_plain",
        12,
        "V5: a source is a symbolic link into the bundle",
    ),
    "file_symlink_dangling": (
        _symlink(_FACTOR, "nowhere"),
        "tree.not_plain",
        12,
        "V5: a source is a symbolic link to nothing",
    ),
    "directory_symlink": (
        _moved_out("bundle/sources", "outside", "../outside"),
        "tree.not_plain",
        12,
        "V5: the directory of the sources is a symbolic link",
    ),
    "symlink_loop": (
        [{"op": "symlink", "path": "bundle/loop", "target": "."}],
        "tree.not_plain",
        12,
        "V5: a symbolic link to the bundle itself",
    ),
    "extra_fifo": ([{"op": "fifo", "path": "bundle/pipe"}], "tree.not_plain", 12, "V5: a pipe"),
    "file_fifo": (
        [{"op": "remove", "path": _FACTOR}, {"op": "fifo", "path": _FACTOR}],
        "tree.not_plain",
        12,
        "V5: a source is a pipe that nobody writes to",
    ),
    "empty_directory": (
        [{"op": "mkdir", "path": "bundle/empty"}],
        "tree.empty_directory",
        12,
        "V5: an empty directory",
    ),
    "empty_directory_deep": (
        [{"op": "mkdir", "path": "bundle/sources/factors/empty"}],
        "tree.empty_directory",
        12,
        "V5: an empty directory inside another",
    ),
    "empty_directory_for_file": (
        [{"op": "remove", "path": "bundle/model.onnx"}, {"op": "mkdir", "path": "bundle/model.onnx"}],
        "tree.empty_directory",
        12,
        "V5: the graph is an empty directory",
    ),
    "too_many": (
        [{"op": "mkdir", "path": "bundle/many"}, {"op": "files", "path": "bundle/many", "count": 50_001}],
        "tree.too_many",
        12,
        "V5: fifty thousand files and one",
    ),
    "directory_for_file": (
        [
            {"op": "rename", "path": "bundle/model.onnx", "target": "a"},
            {"op": "mkdir", "path": "bundle/model.onnx"},
            {"op": "rename", "path": "a", "target": "bundle/model.onnx/model.onnx"},
        ],
        "tree.missing",
        12,
        "V5: the graph lies in a directory of its name",
    ),
}
SIZES: dict[str, tuple[str, bytes, str, str]] = {
    "model_longer": ("model.onnx", b"\0", "file.size", "the graph has a byte more"),
    "golden_longer": ("golden.parquet", b"\0", "file.size", "the golden rows have a byte more"),
    "source_longer": ("sources/factors/000.txt", b"\n", "file.size", "a source has a line end more"),
}


def cases() -> Iterator[Case]:
    for name, (setup, code, status, text) in SETUPS.items():
        yield Case(f"tree_{name}", f"{text}.", "verify", UNSIGNED, status, code, bundle(), setup)
    for name, (path, more, code, text) in SIZES.items():
        files = bundle()
        files[f"bundle/{path}"] += more
        yield Case(f"file_{name}", f"V6: {text}.", "verify", UNSIGNED, 11, code, files)
    for path in ("model.onnx", "golden.parquet", "sources/factors/000.txt"):
        name, files = path.split(".")[0].replace("/", "_"), bundle()
        data = files[f"bundle/{path}"]
        shorter, other = (
            {**files, f"bundle/{path}": data[:-1]},
            {**files, f"bundle/{path}": data[:-1] + bytes([data[-1] ^ 1])},
        )
        yield Case(f"file_{name}_shorter", f"V6: {path} has a byte less.", "verify", UNSIGNED, 11, "file.size", shorter)
        yield Case(
            f"file_{name}_bit", f"V6: one bit of {path} is another.", "verify", UNSIGNED, 11, "file.digest", other
        )
    yield from _more()


def _more() -> Iterator[Case]:
    empty = bundle() | {_FACTOR: b""}
    yield Case("file_emptied", "V6: a source is empty.", "verify", UNSIGNED, 11, "file.size", empty)
    crlf = FACTOR_CODE.replace(b"\n", b"\r\n")
    same_size = both(put("files.2.size", len(crlf)))
    converted = bundle(edit=same_size) | {_FACTOR: crlf}
    yield Case(
        "file_line_ends",
        "V6: a source with the line ends of Windows, of the right size.",
        "verify",
        UNSIGNED,
        11,
        "file.digest",
        converted,
    )
    huge = bundle(edit=put("files.2.size", 1 << 35))
    yield Case(
        "file_size_of_gigabytes",
        "V6: a size of 32 GiB; nothing is reserved for it.",
        "verify",
        UNSIGNED,
        11,
        "file.size",
        huge,
    )
    swapped = bundle()
    swapped["bundle/model.onnx"], swapped["bundle/golden.parquet"] = (
        swapped["bundle/golden.parquet"],
        swapped["bundle/model.onnx"],
    )
    yield Case("file_exchanged", "V6: two files in each other's place.", "verify", UNSIGNED, 11, "file.size", swapped)
    for verb, arguments in (
        ("selftest", UNSIGNED),
        ("score", [*UNSIGNED, "--features", "features.parquet", "--date", "2024-01-03"]),
    ):
        from vector_cases.tables import features

        files = bundle() | ({"features.parquet": features()} if verb == "score" else {})
        data = files["bundle/model.onnx"]
        files["bundle/model.onnx"] = data[:-1] + bytes([data[-1] ^ 1])
        yield Case(
            f"file_model_bit_at_{verb}",
            f"V6: one bit of the graph is another, seen by {verb}.",
            verb,
            arguments,
            11,
            "file.digest",
            files,
        )
    everything = with_trust(signed(bundle(), "ci"))
    changed = {**everything, _FACTOR: FACTOR_CODE.replace(b"inert", b"INERT")}
    yield Case(
        "file_of_signed_bundle",
        "V6: a source of a signed bundle was exchanged.",
        "verify",
        TRUSTED,
        11,
        "file.digest",
        changed,
    )
    extra = everything | {"bundle/notes.txt": b"x"}
    yield Case(
        "tree_extra_file_signed", "V5: a file was added to a signed bundle.", "verify", TRUSTED, 12, "tree.extra", extra
    )
    linked = [{"op": "hardlink", "path": "second-name.onnx", "target": "bundle/model.onnx"}]
    yield Case(
        "hard_link", "V5: a hard link is a plain file and passes.", "verify", UNSIGNED, 0, "ok", bundle(), linked
    )
    provenance = bundle() | {"bundle/provenance.dsse.json": b"{}\n"}
    yield Case(
        "provenance_beside",
        "V5: provenance.dsse.json may be there and is not looked at.",
        "verify",
        UNSIGNED,
        0,
        "ok",
        provenance,
    )
    yield Case(
        "linked_bundle",
        "V1: the bundle's own directory may be a symbolic link.",
        "verify",
        ["link", "--allow-unsigned"],
        0,
        "ok",
        bundle(),
        [{"op": "symlink", "path": "link", "target": "bundle"}],
    )
