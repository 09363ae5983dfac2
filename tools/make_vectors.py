"""Writes tests/vectors/v1: bundles that a verifier must accept or refuse, with the exit status and code of each.

    python tools/make_vectors.py [DIRECTORY]

Beside it (`sessions`) it writes sessions of RD-Agent with and without signatures, and in `printed_texts.json` how texts of
others are printed.

No clock, no random numbers, test keys from fixed texts, ONNX written field by field: the same bytes on every machine.
Parquet files are taken from tests/vectors/tables (see vector_cases/tables.py).
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "runtime" / "src")]

from vector_cases import (
    bar_cases,
    factor_cases,
    factor_values,
    file_cases,
    graph_cases,
    limit_cases,
    origin_cases,
    printed_texts,
    session_cases,
    table_cases,
    text_cases,
    trust_cases,
    unit_cases,
    universe_cases,
    version_cases,
)
from vector_cases.base import Case, bundle, check_names
from vector_cases.tables import features


def all_cases() -> list[Case]:
    """Every vector, in order of name."""
    modules = (
        *(text_cases, version_cases, trust_cases, file_cases, graph_cases, limit_cases),
        *(table_cases, origin_cases, bar_cases, factor_cases, factor_values, unit_cases, universe_cases),
    )
    return check_names(case for module in modules for case in module.cases())


def base_files() -> dict[str, bytes]:
    """What every vector is laid over: the small bundle, and a table that fits it."""
    return bundle() | {"features.parquet": features()}


def own_files(case: Case, base: dict[str, bytes]) -> dict[str, bytes]:
    """What a vector has of its own, or other than the base; none of the base is taken away but by `setup`."""
    assert {path for path in base if path.startswith("bundle/")} <= case.files.keys() | _moved(case), case.name
    changed = {path: data for path, data in case.files.items() if base.get(path) != data}
    return {**changed, "README.md": f"{case.text}\n".encode(), "vector.json": case.vector()}


def _moved(case: Case) -> set[str]:
    """Paths of the base that the vector's own steps take away."""
    return {step["path"] for step in case.setup if step["op"] in ("remove", "rename")}


def write(files: dict[str, bytes], directory: Path) -> None:
    """Files below a directory."""
    for path, data in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def write_vectors(cases: list[Case], base: dict[str, bytes], out: Path) -> None:
    """A directory of vectors anew."""
    if out.exists():
        # Nobody's directory is taken away because of a wrong argument.
        if not (out / "base").is_dir():
            sys.exit(f"{out} is there and holds no vectors")
        shutil.rmtree(out)
    write(base, out / "base")
    for case in cases:
        write(own_files(case, base), out / case.directory)
    refused = sum(case.exit != 0 for case in cases)
    print(f"{len(cases)} vectors in {out}: {refused} to refuse, {len(cases) - refused} to accept")


def texts() -> bytes:
    """The file of printed texts: JSON of ASCII, so that the file itself does nothing to who reads it."""
    value = {
        "printed": [{"name": name, "text": text, "line": line} for name, (text, line) in printed_texts.TEXTS.items()],
        "json": [
            {"name": name, "text": text, "string": string} for name, (text, string) in printed_texts.JSON_TEXTS.items()
        ],
    }
    return json.dumps(value, indent=2).encode("ascii") + b"\n"


def main() -> None:
    """Write all vectors anew."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/vectors/v1"
    write_vectors(all_cases(), base_files(), out)
    write_vectors(check_names(session_cases.cases()), session_cases.base_files(), out.with_name("sessions"))
    out.with_name("printed_texts.json").write_bytes(texts())


if __name__ == "__main__":
    main()
