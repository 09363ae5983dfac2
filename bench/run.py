"""``make bench``: the goals of this project, each as a ratio measured in one run.

Processes are started afresh for every figure, in turns with what they are compared with.  Data are made once into
bench/.cache (2 GB; --quick 0.7 GB).  ``--json FILE`` keeps the figures.  qlib is measured where a Python has it:
ALPHASEAL_RESEARCH_PYTHON, or .environments/research (``make research``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measure import PROGRAMS, ROOT, Goal, Row, Usage, absolute, compare, in_turns, not_measured, run, table

CACHE = ROOT / "bench" / ".cache"
PYTHON = sys.executable
_BARE_GOALS = {"158x500": 2.0, "20x100": 1.5}
"""Times the bare imports, by features x trees."""
_HISTORY = (1000, 50)
_QUICK_HISTORY = (100, 50)


@dataclass(frozen=True)
class Setting:
    """What a run works with: repetitions, data (what data.py printed), a directory for output."""

    repetitions: int
    quick: bool
    data: dict[str, Any]
    scratch: Path


def main() -> int:
    """Measure, print the table; 1 where a goal is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and a tenth of the long history")
    parser.add_argument("--only", nargs="+", choices=list(_PARTS), default=list(_PARTS), help="some parts")
    options = parser.parse_args()
    dates, columns = _QUICK_HISTORY if options.quick else _HISTORY
    if "history" not in options.only:
        dates = _QUICK_HISTORY[0]
    CACHE.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {}
    if set(options.only) - _WITHOUT_DATA:
        made = run([PYTHON, str(ROOT / "bench" / "data.py"), str(CACHE), str(dates), str(columns)])
        data = json.loads(made.output.splitlines()[-1])
    with tempfile.TemporaryDirectory(prefix="run-", dir=CACHE) as scratch:
        setting = Setting(3 if options.quick else 7, options.quick, data, Path(scratch))
        rows = [row for part in options.only for row in _progress(part, _PARTS[part](setting))]
    print(table(rows))
    if options.json is not None:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        figures = [asdict(row) | {"met": row.met()} for row in rows]
        options.json.write_text(json.dumps({"machine": machine, "rows": figures}, indent=2) + "\n", encoding="utf-8")
    return 1 if any(row.met() is False for row in rows) else 0


def _progress(part: str, rows: Iterator[Row]) -> Iterator[Row]:
    print(f"measuring {part} …", file=sys.stderr, flush=True)
    yield from rows


# --- a new process to the top 50 ------------------------------------------------------------------------------------


def _cold(setting: Setting) -> Iterator[Row]:
    """A new process to the top 50 of 5000 stocks, against what it would be without a bundle, and against bare imports."""
    for name, files in setting.data["scoring"].items():
        out = str(setting.scratch / f"{name}.parquet")
        tail = [files["pandas_features"], files["date"], out]
        commands = {
            "ours": _score_command(files, files["features"], out),
            "ours, pandas' file": _score_command(files, files["pandas_features"], out),
            "bare imports": [PYTHON, str(PROGRAMS / "bare_imports.py")],
            "lightgbm + pandas": [PYTHON, str(PROGRAMS / "lightgbm_score.py"), files["model_text"], *tail],
        }
        research = _research_python()
        if research is not None:
            pickled = str(setting.scratch / f"{name}.pkl")
            run([research, str(PROGRAMS / "qlib_pickle.py"), files["model_text"], pickled])
            commands["unpickle + qlib + pandas"] = [research, str(PROGRAMS / "qlib_score.py"), pickled, *tail]
        runs = in_turns(commands, setting.repetitions)
        goal = Goal(_BARE_GOALS[name], at_most=True)
        for other in [other for other in runs if not other.startswith("ours")]:
            ours, theirs = runs["ours"], runs[other]
            bound = goal if other == "bare imports" else None
            what = f"to top 50, {name}, against {other}"
            yield compare(f"{what}: wall", "s", [r.wall for r in ours], [r.wall for r in theirs], bound)
            yield compare(f"{what}: CPU", "s", [r.cpu for r in ours], [r.cpu for r in theirs], bound)
            yield compare(f"{what}: peak memory", "MB", [r.memory for r in ours], [r.memory for r in theirs])
        same, pandas = runs["ours, pandas' file"], runs["lightgbm + pandas"]
        what = f"to top 50, {name}, both from pandas' file, against lightgbm + pandas"
        yield compare(f"{what}: wall", "s", [r.wall for r in same], [r.wall for r in pandas])
        if research is None:
            yield not_measured(
                f"to top 50, {name}, against unpickle + qlib + pandas", "no Python with qlib (make research)"
            )


def _score_command(files: dict[str, str], features: str, out: str) -> list[str]:
    command = [PYTHON, "-m", "alphaseal", "score", files["bundle"], "--allow-unsigned", "--features", features]
    return [*command, "--date", files["date"], "--top", "50", "--out", out]


def _research_python() -> str | None:
    """A Python with qlib, or None."""
    named = os.environ.get("ALPHASEAL_RESEARCH_PYTHON")
    path = Path(named) if named else ROOT / ".environments" / "research" / "bin" / "python"
    return str(path) if path.exists() else None


# --- the other parts ------------------------------------------------------------------------------------------------


def _predict(setting: Setting) -> Iterator[Row]:
    """Scoring alone: CPU of the graph against native LightGBM, one thread each, 5000 rows."""
    for name, files in setting.data["scoring"].items():
        command = [PYTHON, str(PROGRAMS / "predict_cpu.py"), files["bundle"], files["model_text"]]
        result = json.loads(run([*command, str(4 * setting.repetitions)]).output)
        if result["identical"] != 5000:
            raise SystemExit(f"bench: {name}: only {result['identical']} of 5000 rows have LightGBM's bits")
        goal = Goal(0.5, at_most=True) if name == "158x500" else None
        yield compare(f"scoring 5000 rows, {name}, against LightGBM: CPU", "s", result["ours"], result["other"], goal)


def _families(setting: Setting) -> Iterator[Row]:
    """Scoring alone: CPU of the graph against the library that trained the model, one thread each, 5000 rows."""
    for name, bound in _FAMILY_GOALS.items():
        command = [PYTHON, str(PROGRAMS / "family_cpu.py"), name, str(4 * setting.repetitions)]
        result = json.loads(run(command).output.splitlines()[-1])
        what = f"scoring 5000 rows, {name}, against its library: CPU"
        if "missing" in result:
            yield not_measured(what, f"{result['missing']} is not installed")
        else:
            yield compare(what, "s", result["ours"], result["other"], Goal(bound, at_most=True))


_FAMILY_GOALS = {
    **dict.fromkeys(("LightGBM 158x200", "DEnsemble 158x240", "XGBoost 158x300"), 0.5),
    # CatBoost's own engine is exceptionally fast.
    **dict.fromkeys(("CatBoost 158x500", "CatBoost Lossguide 158x200"), 3.0),
    **dict.fromkeys(("RandomForest 158x100", "GradientBoosting 158x100", "HistGradientBoosting 158x200"), 0.5),
    **dict.fromkeys(("LinearModel 158", "scaler and Ridge 158", "scaler and MLP 158"), 1.0),
    **dict.fromkeys(("network of rows", "network of windows (LSTM)"), 1.0),
}
"""Cases of family_cpu.py: times the library at most."""


def _history(setting: Setting) -> Iterator[Row]:
    """One date out of a long history, after the imports; and what its conversion takes."""
    history, date = setting.data["history"], setting.data["history_date"]
    factors = str(setting.scratch / "factors.parquet")
    converted = run([PYTHON, str(PROGRAMS / "rewrite.py"), history, factors])
    yield absolute("conversion of the history: peak memory", "MB", [converted.memory], Goal(600, at_most=True))
    program = [PYTHON, str(PROGRAMS / "read_day.py")]
    runs = in_turns(
        {
            "ours": [*program, "alphaseal", factors, date],
            "ours, pandas' file": [*program, "alphaseal", history, date],
            "pandas with filters": [*program, "pandas-filters", history, date],
        },
        setting.repetitions,
    )
    # The whole read takes gigabytes and ten seconds: fewer repetitions, with ours before and after each.
    whole = in_turns(
        {"ours": [*program, "alphaseal", factors, date], "pandas, whole file": [*program, "pandas", history, date]},
        1 if setting.quick else 2,
    )
    ours = [*runs["ours"], *whole["ours"]]
    # A tenth of the history says nothing about the goals of the whole.
    goals = {key: None if setting.quick else Goal(value, at_most=False) for key, value in _READ_GOALS.items()}
    for name, theirs in (
        ("pandas, whole file", whole["pandas, whole file"]),
        ("pandas with filters", runs["pandas with filters"]),
    ):
        what = f"one date of the history, against {name}"
        mine, other = [float(r.output) for r in ours], [float(r.output) for r in theirs]
        yield compare(f"{what}: wall after imports", "s", mine, other, goals.get((name, "wall")))
        memory = [r.memory for r in ours], [r.memory for r in theirs]
        yield compare(f"{what}: peak memory", "MB", *memory, goals.get((name, "memory")))
    same = [float(r.output) for r in runs["ours, pandas' file"]]
    filters = [float(r.output) for r in runs["pandas with filters"]]
    yield compare(
        "one date of the history, both from pandas' file, against pandas with filters: wall", "s", same, filters
    )


_READ_GOALS = {
    ("pandas, whole file", "wall"): 40.0,
    ("pandas, whole file", "memory"): 20.0,
    ("pandas with filters", "wall"): 4.0,
}


def _verify(setting: Setting) -> Iterator[Row]:
    """`alphaseal verify` of a small bundle, start-up included."""
    bundle = setting.data["scoring"]["20x100"]["bundle"]
    command = [PYTHON, "-m", "alphaseal", "verify", bundle, "--allow-unsigned"]
    runs = in_turns({"ours": command}, 3 * setting.repetitions)
    yield absolute("verify a small bundle: CPU", "s", [r.cpu for r in runs["ours"]], Goal(0.10, at_most=True))


def _alphas(setting: Setting) -> Iterator[Row]:
    """A new process to Alpha158's features of one day, against pandas and against qlib's own handler."""
    data = json.loads(run([PYTHON, str(ROOT / "bench" / "alpha_data.py"), str(CACHE)]).output.splitlines()[-1])

    def commands(market: str, research: str | None) -> dict[str, list[str]]:
        date, bars = data["date"], data[f"{market}.parquet"]
        found = {
            "ours": [PYTHON, str(PROGRAMS / "alphas_ours.py"), data["alphas.onnx"], data["alphas.json"], bars, date],
            "pandas": [PYTHON, str(PROGRAMS / "alphas_pandas.py"), bars, date],
        }
        if research is not None:
            found["qlib"] = [research, str(PROGRAMS / "alphas_qlib.py"), data["provider"], market, date]
        return {name: [*command, str(setting.scratch / f"{name}.parquet")] for name, command in found.items()}

    # qlib takes minutes for all stocks; --quick asks it for a tenth of them.
    market, stocks = ("some", 500) if setting.quick else ("all", 5000)
    all_stocks = commands("all", None)
    runs = in_turns(all_stocks, setting.repetitions)
    _require_near(setting, "pandas")
    what = "Alpha158 of one day, 5000 stocks"
    yield absolute(f"{what}: peak memory", "MB", [r.memory for r in runs["ours"]], Goal(300, at_most=True))
    yield from _alpha_rows(f"{what}, against pandas", runs["ours"], runs["pandas"], None)
    research = _research_python()
    if research is None:
        yield not_measured(f"{what}, against qlib", "no Python with qlib (make research)")
        return
    turns = {name: run(command) for name, command in commands(market, research).items() if name != "pandas"}
    _require_near(setting, "qlib")
    goal = None if setting.quick else Goal(20.0, at_most=False)
    yield from _alpha_rows(
        f"Alpha158 of one day, {stocks} stocks, against qlib's handler", [turns["ours"]], [turns["qlib"]], goal
    )


def _alpha_rows(what: str, ours: list[Usage], other: list[Usage], goal: Goal | None) -> Iterator[Row]:
    yield compare(f"{what}: wall", "s", [r.wall for r in ours], [r.wall for r in other], goal)
    yield compare(f"{what}: CPU", "s", [r.cpu for r in ours], [r.cpu for r in other])
    yield compare(f"{what}: peak memory", "MB", [r.memory for r in ours], [r.memory for r in other])


def _factors(setting: Setting) -> Iterator[Row]:
    """A new process to fifty compiled factors of one day, against the same programs run by pandas, and run isolated."""
    data = json.loads(run([PYTHON, str(ROOT / "bench" / "alpha_data.py"), str(CACHE)]).output.splitlines()[-1])
    folder, date, research = str(Path(data["all.parquet"]).parent), data["date"], _research_python()
    made = json.loads(run([PYTHON, str(ROOT / "bench" / "factor_data.py"), folder]).output.splitlines()[-1])

    def command(name: str, *more: str) -> list[str]:
        out = str(setting.scratch / f"{name}.parquet")
        program = str(PROGRAMS / f"factors_{name}.py")
        return [PYTHON, program, made["factors"], data["all.parquet"], date, out, *more]

    runs = in_turns({name: command(name) for name in ("ours", "pandas")}, setting.repetitions)
    _require_near(setting, "pandas")
    what = "50 factors of one day, 5000 stocks"
    yield absolute(f"{what}: peak memory", "MB", [r.memory for r in runs["ours"]], Goal(300, at_most=True))
    goal = Goal(30.0, at_most=False)
    yield from _alpha_rows(f"{what}, against pandas", runs["ours"], runs["pandas"], goal)
    if research is None:
        yield not_measured(f"{what}, against the isolated run", "no Python with qlib (make research)")
        return
    alone = run(command("isolated", research))
    _require_near(setting, "isolated")
    goal = Goal(50.0, at_most=False)
    yield from _alpha_rows(f"{what}, against the isolated run", runs["ours"], [alone], goal)


def _require_near(setting: Setting, other: str) -> None:
    """Whoever is compared with must have computed the same: the features of both, as they were just written."""
    paths = [str(setting.scratch / f"{name}.parquet") for name in ("ours", other)]
    result = json.loads(run([PYTHON, str(PROGRAMS / "alphas_difference.py"), *paths]).output)
    if not result["stocks"] or result["missing"] or result["largest"] > _ALPHA_TOLERANCE:
        raise SystemExit(f"bench: {other} has other features than ours: {result}")


_ALPHA_TOLERANCE = 1e-4
"""Of the largest value of a feature: pandas' sums over windows cancel otherwise than qlib's."""

_PARTS = {
    "alphas": _alphas,
    "factors": _factors,
    "cold": _cold,
    "predict": _predict,
    "families": _families,
    "verify": _verify,
    "history": _history,
}
_WITHOUT_DATA = {"alphas", "factors", "families"}
"""Parts that make what they need themselves."""

if __name__ == "__main__":
    raise SystemExit(main())
