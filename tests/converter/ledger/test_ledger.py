"""What predict of every supported class reads, with the libraries that are installed here, against the ledger."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from alphaseal_converter.families import FAMILIES
from alphaseal_converter.ledger import HANDLED, NEUTRAL, REFUSED
from alphaseal_converter.ledger import catboost as catboost_ledger
from alphaseal_converter.ledger import lightgbm as lightgbm_ledger
from alphaseal_converter.ledger import qlib as qlib_ledger
from alphaseal_converter.ledger import scikit_learn as scikit_learn_ledger
from alphaseal_converter.ledger import xgboost as xgboost_ledger
from alphaseal_converter.models.sklearn.estimators import BUILT_CLASSES
from locations import REPOSITORY

MODULES = {"lightgbm": "lightgbm", "xgboost": "xgboost", "catboost": "catboost", "scikit_learn": "sklearn"}
LEDGERS = (lightgbm_ledger, xgboost_ledger, catboost_ledger, scikit_learn_ledger, qlib_ledger)


@pytest.mark.slow
@pytest.mark.parametrize("library", MODULES)
def test_nothing_that_predict_reads_is_missing(library: str) -> None:
    """Every attribute that is read is listed, and every changed object scores as itself or is refused as the ledger says."""
    if importlib.util.find_spec(MODULES[library]) is None or importlib.util.find_spec("pandas") is None:
        pytest.skip(f"{MODULES[library]} is not installed")
    program = REPOSITORY / "tools/ledger.py"
    done = subprocess.run([sys.executable, program, library], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "change a score" in done.stdout


def test_every_class_that_is_converted_has_its_ledger() -> None:
    """The table of families and the ledgers name the same classes."""
    listed = {name for ledger in LEDGERS for name in ledger.ATTRIBUTES}
    assert {name for name in FAMILIES if not name.endswith("LGBMClassifier")} <= listed
    assert listed >= BUILT_CLASSES


def test_verdicts_are_complete() -> None:
    """Each entry is one of three verdicts and says how, with which code, or why."""
    for ledger in LEDGERS:
        entries = [entry for names in ledger.ATTRIBUTES.values() for entry in names.values()]
        for entry in (*entries, *ledger.NATIVE.values()):
            assert entry.verdict in (HANDLED, REFUSED, NEUTRAL)
            assert len(entry.how) > 3
            if entry.verdict == REFUSED:
                assert entry.how.split(".")[0] in ("model", "order")


def test_the_ledger_needs_no_library() -> None:
    """Its modules run on an old Python beside an old library: they import nothing but each other and the standard library."""
    folder = Path(lightgbm_ledger.__file__).parent
    program = (
        "import sys, types, importlib\n"
        "package = types.ModuleType('alphaseal_converter'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['alphaseal_converter'] = package\n"
        "for name in ('lightgbm', 'xgboost', 'catboost', 'scikit_learn', 'qlib'):\n"
        "    importlib.import_module(f'alphaseal_converter.ledger.{name}')\n"
        "assert not {'numpy', 'onnx', 'msgspec'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program, str(folder.parent)], check=True)
