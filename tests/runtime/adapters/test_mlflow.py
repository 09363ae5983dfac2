"""A bundle as a model of MLflow: logged without a pickle, loaded under the loading side's own trust, same scores."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from alphaseal.cli import main as alphaseal_command
from alphaseal.format.manifest import parse
from alphaseal_converter.cli import main as convert
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles import read_pickle
from runtime.adapters.conftest import Case, by_key
from runtime.adapters.environment import needs_adapters, run_program

pytestmark = needs_adapters


def trust_file(path: Path, public_key: Path, bundle: Path) -> Path:
    """A trust file that accepts one key for one bundle's name."""
    name = parse((bundle / "manifest.json").read_bytes()).name
    assert alphaseal_command(["trust", "init", str(path), "--bundle", name]) == 0
    assert alphaseal_command(["trust", "add", str(path), "--key", str(public_key), "--name", "key"]) == 0
    return path


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory, trees: Case, windows: Case) -> dict[str, Any]:
    """What one MLflow with a store of files made of a signed bundle."""
    out = tmp_path_factory.mktemp("mlflow")
    bundle = out / "signed"
    shutil.copytree(trees.bundle, bundle)
    for name in ("ours", "theirs"):
        assert convert(["keygen", "--out", str(out / name)]) == 0
    assert convert(["sign", str(bundle), "--key", str(out / "ours.key")]) == 0
    return run_program(
        "with_mlflow",
        out,
        store=out / "store",
        bundle=bundle,
        trust=trust_file(out / "trust.json", out / "ours.pub", bundle),
        other_trust=trust_file(out / "other.json", out / "theirs.pub", bundle),
        windows={"bundle": windows.bundle, "features": windows.features},
        out=out / "scores.parquet",
        windows_out=out / "windows.parquet",
    ) | {"out": out, "bundle": bundle}


def test_golden_rows_score_bit_for_bit(answer: dict[str, Any]) -> None:
    """`pyfunc.load_model(...).predict` gives the original model's scores, in the order of the input."""
    scores = pq.read_table(Path(answer["out"]) / "scores.parquet")
    # Made-up rows without a single value score in the self-test, and are left out for a caller.
    assert set(scores["excluded"].to_pylist()) <= {None, "all_values_missing"}
    scored = scores.filter(pa.compute.is_null(scores["excluded"]))
    assert len(scored) > 400
    assert scored["score"].to_numpy().tobytes() == scored["expected"].to_numpy().tobytes()
    assert answer["same_index"]


def test_windows_score_bit_for_bit_and_history_is_named(answer: dict[str, Any], windows: Case) -> None:
    """A row per row of the input: scores of the runtime, and `history` before the first whole window."""
    scores = pq.read_table(Path(answer["out"]) / "windows.parquet")
    reasons = scores["excluded"].to_pylist()
    assert set(reasons) == {None, "history"}
    scored = by_key(scores.filter([reason is None for reason in reasons]))
    assert scored["score"].to_numpy().tobytes() == windows.expected()["score"].to_numpy().tobytes()
    assert len(scores) == pq.read_metadata(windows.features).num_rows


def test_signature_is_that_of_the_manifest(answer: dict[str, Any]) -> None:
    """Keys, then the features in model order with their training dtypes; the example has scores."""
    features = parse((answer["bundle"] / "manifest.json").read_bytes()).features
    types = {"float32": "float", "float64": "double"}
    expected = [("datetime", "datetime"), ("instrument", "string")]
    expected += [(feature.name, types[feature.dtype]) for feature in features]
    assert [(column["name"], column["type"]) for column in answer["inputs"]] == expected
    assert answer["example_rows"] == answer["example_scored"] > 0


def test_artefact_holds_the_bundle_and_no_pickle(answer: dict[str, Any]) -> None:
    """The bundle's files byte for byte, MLflow's descriptions, and nothing that an unpickler would read."""
    local, bundle = Path(answer["local"]), answer["bundle"]
    own = {f"data/bundle/{path.relative_to(bundle).as_posix()}" for path in bundle.rglob("*") if path.is_file()}
    described = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json"}
    extra = {"serving_input_example.json", "registered_model_meta"}
    assert own <= set(answer["files"]) <= own | described | extra
    for name in answer["files"]:
        data = (local / name).read_bytes()
        assert not data.startswith(b"\x80")
        with pytest.raises(RefusalError):
            read_pickle(data, where=name)
    for name in own:
        assert (local / name).read_bytes() == (bundle / name.removeprefix("data/bundle/")).read_bytes()


def test_trust_is_the_loading_sides(answer: dict[str, Any]) -> None:
    """No trust, another key's trust, or one that the artefact brings along: refused; logging looks at trust too."""
    assert answer["refusals"] == {
        "no_trust": "trust.unsigned",
        "other_trust": "trust.unknown_key",
        "artefact_config": "adapter.model_config",
        "load_other_trust": "trust.unknown_key",
        "log_other_trust": "trust.unknown_key",
    }
