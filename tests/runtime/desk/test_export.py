"""Layouts of older hand-overs: their names and shapes, the bundle's own bytes, and never a pickle."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal import cli
from alphaseal.desk.export import ASSET_SCHEME, LAYOUTS, canonical_sha256, export
from alphaseal.errors import DigestError, UsageError
from alphaseal.format import manifest as m
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles import read_pickle
from bundles import factor_plain_bundle


@pytest.fixture(scope="module")
def bundle() -> alphaseal.Bundle:
    """The demo's bundle: LightGBM on 20 alpha and 4 SOTA factors."""
    return alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def files_of(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_file_is_a_pickle(bundle: alphaseal.Bundle, layout: str, tmp_path: Path) -> None:
    """No name of a pickle, and no bytes that our own reader of pickles takes for one."""
    written = export(bundle, layout, tmp_path / "out")
    assert list(written.files) == files_of(tmp_path / "out")
    for name in written.files:
        data = (tmp_path / "out" / name).read_bytes()
        assert not name.endswith((".pkl", ".pickle", ".pt", ".bin"))
        assert not data.startswith(b"\x80")
        with pytest.raises(RefusalError):
            read_pickle(data, where=name)


def test_seed_has_the_documents_files(bundle: alphaseal.Bundle, tmp_path: Path) -> None:
    """Every name of the document's table, model.onnx for the weights; no model.py, which a LightGBM model has not."""
    out = tmp_path / "out"
    export(bundle, "seed", out)
    code = [
        f"factor_{name}.py" for name in ("GAP_OPEN_1D", "REV_3D", "TURNOVER_Z_40D", "UPLIMIT_TOUCH", "VOLUME_JUMP_2D")
    ]
    others = ["combined_factors_df.parquet", "factor_columns.json", "model.onnx", "model_metrics.json"]
    assert files_of(out) == sorted([*code, *others, "sota_factors.json"])
    factors = read_json(out / "sota_factors.json")
    assert {"name", "formulation", "code", "metrics", "reason"} <= factors[0].keys()
    assert [factor["name"] for factor in factors] == [factor.name for factor in bundle.manifest.sota_factors]
    assert all((out / factor["code"]).is_file() for factor in factors if factor["code"] is not None)
    assert read_json(out / "factor_columns.json") == [feature.name for feature in bundle.manifest.features]
    assert read_json(out / "model_metrics.json") == bundle.manifest.metrics.values
    table = pq.read_table(out / "combined_factors_df.parquet")
    assert bundle.manifest.factors is not None
    assert len(table) == bundle.manifest.factors.rows
    assert (out / "model.onnx").read_bytes() == bundle.read("model.onnx")


def test_aistock_has_what_its_sync_reads(bundle: alphaseal.Bundle, tmp_path: Path) -> None:
    """Manifest of schema version 3 whose paths are there, the three lists of the factor order, the code of the factors."""
    out = tmp_path / "out"
    export(bundle, "aistock", out)
    manifest = read_json(out / "manifest.json")
    assert manifest["schema_version"] == 3
    assert {"task_id", "generated_at_utc", "primary_assets", "assets", "diagnostics"} <= manifest.keys()
    assert {"model_weight_relpath", "factor_entry_relpath"} <= manifest["primary_assets"].keys()
    for path in manifest["primary_assets"].values():
        assert (out / path).is_file()
    assert manifest["assets"].keys() == {"model_weight", "factor_entry", "factor_order", "factors_count"}
    assert manifest["selection_eligibility"] == {"is_ready": True, "reasons": []}
    assert manifest["diagnostics"]["bundle"]["sha256"] == bundle.digest
    order = read_json(out / "factor_order.json")
    assert order.keys() == {"factor_order", "alpha158_factors", "dynamic_factors"}
    assert order["factor_order"] == [feature.name for feature in bundle.manifest.features]
    assert sorted(order["alpha158_factors"] + order["dynamic_factors"]) == sorted(order["factor_order"])
    assert order["dynamic_factors"] == ["GAP_OPEN_1D", "REV_3D", "TURNOVER_Z_40D", "VOLUME_JUMP_2D"]
    assert files_of(out / "factors") == [f"{name}.py" for name in order["dynamic_factors"]]
    merged = (out / "factor.py").read_bytes()
    assert all((out / "factors" / name).read_bytes().strip() in merged for name in files_of(out / "factors"))


def test_strategy_package_is_sealed_by_its_own_digest(bundle: alphaseal.Bundle, tmp_path: Path) -> None:
    """Exactly the manifest's fields, blobs under their digests, and a digest over canonical JSON that can be redone."""
    out = tmp_path / "out"
    export(bundle, "strategy-package", out)
    package = read_json(out / "manifest.json")
    fields = {"manifest_version", "package_id", "factor_set", "model_asset", "portfolio_policy", "backtest_summary"}
    assert package.keys() == fields | {"manifest_sha256"}
    assert package["manifest_version"] == "1.0"
    assert package["portfolio_policy"] == {"topk": 50, "n_drop": 5}
    assert package["backtest_summary"]["metrics"] == bundle.manifest.metrics.values
    sealed = package.pop("manifest_sha256")
    assert canonical_sha256(package) == sealed
    assets = [package["model_asset"], *package["factor_set"]["factors"]]
    blobs = files_of(out / "blobs")
    assert blobs == sorted({asset["sha256"] for asset in assets})
    assert all(hashlib.sha256((out / "blobs" / name).read_bytes()).hexdigest() == name for name in blobs)
    assert all(asset["asset"] == ASSET_SCHEME + asset["sha256"] for asset in assets)


def test_canonical_json_is_sorted_and_without_white_space() -> None:
    """The digest's text, written out once by hand."""
    assert canonical_sha256({"b": 1.5, "a": "\u56e0"}) == hashlib.sha256('{"a":"\u56e0","b":1.5}'.encode()).hexdigest()


def renamed(tmp_path: Path, changes: dict[str, str]) -> alphaseal.Bundle:
    """The demo's bundle with other factor names in its list of SOTA factors."""
    copy = tmp_path / "renamed"
    shutil.copytree(factor_plain_bundle(), copy)
    manifest = m.parse((copy / "manifest.json").read_bytes())
    factors = [
        msgspec.structs.replace(factor, name=changes.get(factor.name, factor.name)) for factor in manifest.sota_factors
    ]
    (copy / "manifest.json").write_bytes(m.encode(msgspec.structs.replace(manifest, sota_factors=factors)))
    return alphaseal.open(copy, trust=alphaseal.Trust.unsigned())


def test_names_by_a_language_model_are_not_paths(tmp_path: Path) -> None:
    """A path, a reserved name, one that differs in case alone: the number stands for each, and the name stays in the list."""
    changes = {"REV_3D": "../../../evil", "GAP_OPEN_1D": "nul", "TURNOVER_Z_40D": "volume_jump_2d"}
    written = export(renamed(tmp_path, changes), "seed", tmp_path / "out")
    code = [name for name in written.files if name.endswith(".py")]
    assert code == [
        "factor_001.py",
        "factor_002.py",
        "factor_003.py",
        "factor_UPLIMIT_TOUCH.py",
        "factor_VOLUME_JUMP_2D.py",
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"renamed", "out"}
    listed = {factor["name"]: factor["code"] for factor in read_json(tmp_path / "out/sota_factors.json")}
    assert listed["../../../evil"] == "factor_003.py"


def test_nothing_is_overwritten_and_nothing_half_written(bundle: alphaseal.Bundle, tmp_path: Path) -> None:
    """A place that is taken, even by an empty directory, an unknown layout, a changed file: an error and no trace."""
    (tmp_path / "taken").mkdir()
    for layout, place, code in (("seed", "taken", "usage.exists"), ("zip", "new", "usage.layout")):
        with pytest.raises(UsageError) as caught:
            export(bundle, layout, tmp_path / place)
        assert caught.value.code == code
    broken = tmp_path / "broken"
    shutil.copytree(factor_plain_bundle(), broken)
    with open(broken / "sources/factors/000.py", "ab") as file:
        file.write(b"#")
    opened = alphaseal.open(broken, trust=alphaseal.Trust.unsigned())
    with pytest.raises(DigestError):
        export(opened, "aistock", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "taken"]
    assert list((tmp_path / "taken").iterdir()) == []


def test_command_asks_for_trust_and_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`export` trusts nothing by default, and gives one JSON object."""
    arguments = ["export", str(factor_plain_bundle()), "--layout", "aistock", "--out", str(tmp_path / "out"), "--json"]
    assert cli.main(arguments) == 14
    assert not (tmp_path / "out").exists()
    capsys.readouterr()
    assert cli.main([*arguments, "--allow-unsigned"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["result"]["files"] == files_of(tmp_path / "out")
    assert not list(tmp_path.glob(".*.part"))
