"""The lowest declared versions of what the distributions ask for, as pip's requirements.

    python tools/lowest.py runtime 'converter[lightgbm]' > lowest.txt

They are those for the Python that runs.  A floor that nobody installs is a guess: `make matrix` runs the tests with these,
the job `lowest` of .github/workflows/ci.yml scores with them.  Needs pip alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


def requirements(part: str, python: str | None = None) -> Iterator[Requirement]:
    """What a distribution of this repository asks for: `runtime`, `converter`, `converter[lightgbm]`; on `python` ("3.12") or here."""
    name, extra = re.fullmatch(r"(\w+)(?:\[(\w+)\])?", part).groups()  # type: ignore[union-attr]
    project = tomllib.loads((ROOT / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else ())]
    asked = {} if python is None else {"python_version": python}
    for requirement in map(Requirement, lines):
        ours = requirement.name.startswith("alphaseal")
        if not ours and (requirement.marker is None or requirement.marker.evaluate(asked)):
            yield requirement


def lowest(parts: list[str], python: str | None = None) -> dict[str, str]:
    """Distribution -> the version that its floor names, without those of this repository."""
    found: dict[str, str] = {}
    for requirement in (each for part in parts for each in requirements(part, python)):
        (floor,) = [each for each in requirement.specifier if each.operator == ">="]
        other = found.setdefault(requirement.name, floor.version)
        if other != floor.version:
            raise SystemExit(f"{requirement.name} has two floors: {other} and {floor.version}")
    return found


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in lowest(sys.argv[1:]).items()))
