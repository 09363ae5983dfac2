"""``factor_data.py FOLDER``: the programs of fifty compiled factors beside the bars that alpha_data.py made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "converter" / "src"), str(ROOT / "runtime" / "src")]

from factor_codes import sources

from alphaseal_converter.emission.compile import compile_factors
from alphaseal_converter.emission.describe import described
from alphaseal_converter.evidence.compiled import like_windows, trace_factors

WHOLE = frozenset({"bars"})


def main() -> None:
    """Trace, compile together what a build would, and say where it is."""
    folder = Path(sys.argv[1])
    codes = sources()
    traced = {name: one.meanings[0] for name, one in trace_factors(codes, lambda text: None).items() if one.meanings}
    if traced.keys() != codes.keys():
        raise SystemExit(f"bench: not compiled: {sorted(codes.keys() - traced.keys())}")
    windows = {name: compile_factors({name: one}, WHOLE).window for name, one in traced.items()}
    parts = []
    for number, names in enumerate(like_windows(windows)):
        program = compile_factors({name: traced[name] for name in sorted(names)}, WHOLE)
        part, files = described(program, str(number), whole=True)
        parts.append(msgspec.to_builtins(part))
        (folder / "factors" / str(number)).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / "factors" / name).write_bytes(data)
    (folder / "factors/programs.json").write_text(json.dumps(parts))
    (folder / "factors/sources.json").write_text(json.dumps(codes))
    print(json.dumps({"factors": str(folder / "factors")}))


if __name__ == "__main__":
    main()
