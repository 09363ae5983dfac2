"""``make check``: the table of wings, from the imports as they are: each with its modules, its lines and the wings it imports."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from test_architecture import EVERYBODYS, MODULES, WINGS, wing_of


def main() -> int:
    """See the module; tests/test_architecture.py holds that the table is what the imports are."""
    for distribution, wings in WINGS.items():
        lines = dict.fromkeys(wings, 0)
        count = dict.fromkeys(wings, 0)
        others = 0
        for name, path in MODULES[distribution].items():
            length = len(path.read_text(encoding="utf-8").splitlines())
            wing = wing_of(name)
            if wing in EVERYBODYS | {"__main__"}:
                others += length
            else:
                lines[wing] += length
                count[wing] += 1
        print(f"{distribution}: {sum(lines.values()) + others} lines, {others} of them outside of wings")
        for wing, below in wings.items():
            print(f"  {wing:<12} {count[wing]:>3} files {lines[wing]:>6} lines   {below}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
