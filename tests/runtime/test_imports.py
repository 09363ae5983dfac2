"""What start-up may cost: which modules the runtime loads, looked at in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from locations import REPOSITORY

HEAVY = {"numpy", "onnxruntime", "pyarrow", "pandas"}
_REPORT = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def _modules(program: str) -> set[str]:
    """Top-level names of all modules that are loaded after `program`."""
    paths = [str(REPOSITORY / "runtime" / "src"), str(REPOSITORY / "converter" / "src")]
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{_REPORT}"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 20 features and 100 trees, with features.parquet of three dates beside it."""
    directory = tmp_path_factory.mktemp("imports")
    sys.path.insert(0, str(REPOSITORY / "bench"))
    try:
        from data import SMALL, names, write_bundle
    finally:
        sys.path.pop(0)
    lightgbm = pytest.importorskip("lightgbm")
    random = np.random.default_rng(1)
    values = random.standard_normal((300, SMALL.features))
    training = lightgbm.Dataset(values, values[:, 0], feature_name=names(SMALL.features))
    text = lightgbm.train({"verbosity": -1, "num_threads": 1}, training, 3).model_to_string()
    write_bundle(directory / "bundle", SMALL, text)
    keys = {
        "datetime": pa.array(np.repeat(np.array(["2024-01-02", "2024-01-03", "2024-01-04"], "datetime64[D]"), 100)),
        "instrument": [f"SH{600_000 + index % 100}" for index in range(300)],
    }
    columns = {name: values[:, index] for index, name in enumerate(names(SMALL.features))}
    pq.write_table(pa.table(keys | columns), directory / "features.parquet")
    (directory / "universe.txt").write_text("SH600000\nSH600001\nSH601999\n", encoding="utf-8")
    return directory / "bundle"


def test_importing_the_runtime_is_light() -> None:
    """``import alphaseal`` loads neither numpy, onnxruntime, pyarrow nor pandas."""
    assert not _modules("import alphaseal") & HEAVY


def test_verify_is_light(bundle: Path) -> None:
    """``alphaseal verify`` checks a bundle without numpy, onnxruntime, pyarrow and pandas."""
    arguments = ["verify", str(bundle), "--allow-unsigned"]
    assert not _modules(f"from alphaseal.cli import main\nassert main({arguments!r}) == 0") & HEAVY


@pytest.mark.parametrize(
    "choice",
    [
        ["--date", "2024-01-04"],
        ["--date", "2024-01-04", "--top", "5", "--out", "OUT.parquet"],
        ["--date", "2024-01-04", "--out", "OUT.csv"],
        ["--date", "2024-01-04", "--universe", "UNIVERSE", "--json"],
        ["--dates", "2024-01-03:", "--top", "2"],
    ],
    ids=" ".join,
)
def test_scoring_never_loads_pandas(bundle: Path, tmp_path: Path, choice: list[str]) -> None:
    """A whole run of ``alphaseal score`` leaves pandas alone, although it is installed here."""
    pytest.importorskip("pandas")
    given = [
        part.replace("OUT", str(tmp_path / "out")).replace("UNIVERSE", str(bundle.parent / "universe.txt"))
        for part in choice
    ]
    features = str(bundle.parent / "features.parquet")
    arguments = ["score", str(bundle), "--allow-unsigned", "--features", features, *given]
    loaded = _modules(f"from alphaseal.cli import main\nassert main({arguments!r}) == 0")
    assert {"numpy", "onnxruntime", "pyarrow"} <= loaded
    assert "pandas" not in loaded


def test_tools_of_the_command_line_are_light() -> None:
    """``--version`` and ``completion`` load none of the libraries: they tell of versions and options only."""
    program = "from alphaseal.cli import main\nassert main(['completion', 'bash']) == 0\n"
    program += "try:\n    main(['--version'])\nexcept SystemExit:\n    pass"
    assert not _modules(program) & (HEAVY | {"cryptography"})


@pytest.mark.parametrize(
    ("verb", "own"), [("verify", "options verify"), ("score", "advice options output score")], ids=["verify", "score"]
)
def test_a_verb_loads_no_other_verb(bundle: Path, verb: str, own: str) -> None:
    """Of the command its table, the module of the verb and what that uses; nothing of the desk, the store and the sources."""
    arguments = [verb, str(bundle), "--allow-unsigned"]
    if verb == "score":
        arguments += ["--features", str(bundle.parent / "features.parquet"), "--date", "2024-01-04"]
    expected = {"alphaseal.cli", "alphaseal.cli.command", *(f"alphaseal.cli.{module}" for module in own.split())}
    check = (
        "import sys\nbehind = ('alphaseal.cli', 'alphaseal.desk', 'alphaseal.store', 'alphaseal.sources')\n"
        f"assert {{name for name in sys.modules if name.startswith(behind)}} == {expected!r}"
    )
    _modules(f"from alphaseal.cli import main\nassert main({arguments!r}) == 0\n{check}")


def test_a_new_verb_is_a_module_and_a_line(tmp_path: Path) -> None:
    """Nothing else knows the verbs: parser, help, ``--json`` and the run follow from the table."""
    (tmp_path / "greeting.py").write_text(
        "from alphaseal.plain_text import printable\n"
        "def add_greet(parser):\n    parser.add_argument('whom')\n    parser.add_json()\n"
        "def run_greet(options):\n    return printable(['hello ' + options.whom]), {'whom': options.whom}\n",
        encoding="utf-8",
    )
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from dataclasses import replace\nfrom alphaseal.cli.command import COMMAND\n"
        "from alphaseal.terminal.console import run_command\n"
        "command = replace(COMMAND, verbs={**COMMAND.verbs, 'greet': ('greeting', 'say hello')})\n"
        "assert 'greet' in command.parser([]).format_help()\n"
        "assert run_command(command, ['greet', 'you']) == 0\nassert run_command(command, ['greet']) == 2\n"
    )
    assert "greeting" in _modules(program)
