"""The code of docs/aistock.md and docs/integrations.md runs as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal import cli
from alphaseal_converter.build import build
from alphaseal_converter.cli import main as convert
from bundles import FACTOR_PLAIN, factor_plain_request, raw_values
from locations import REPOSITORY
from runtime.adapters.conftest import by_key
from runtime.adapters.environment import ADAPTERS, environment_of, needs_adapters


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    text = (REPOSITORY / "docs" / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the documents name: a signed bundle, a trust file, a store, features, raw values."""
    place, keys = tmp_path_factory.mktemp("desk"), tmp_path_factory.mktemp("keys")
    assert convert(["keygen", "--out", str(keys / "key")]) == 0
    build(factor_plain_request(place / "bundle", name="demo", sequence=1))
    assert convert(["sign", str(place / "bundle"), "--key", str(keys / "key.key")]) == 0
    trust, store = str(place / "trust.json"), str(place / "store")
    assert cli.main(["trust", "init", trust, "--bundle", "demo"]) == 0
    assert cli.main(["trust", "add", trust, "--key", str(keys / "key.pub"), "--name", "ci"]) == 0
    assert cli.main(["install", str(place / "bundle"), "--store", store, "--trust", trust]) == 0
    table = pq.read_table(raw_values(FACTOR_PLAIN / "truth/hist2_factor"))
    dates = table["datetime"].cast(pa.timestamp("us"))
    table = table.set_column(table.schema.get_field_index("datetime"), "datetime", dates)
    pq.write_table(table.replace_schema_metadata(None), place / "features.parquet")
    frame = table.to_pandas().set_index(["datetime", "instrument"]).sort_index()
    frame.columns = pandas.MultiIndex.from_product([["feature"], frame.columns])
    frame.to_parquet(place / "raw.parquet")
    return place


def run(python: str, program: str, directory: Path, environment: dict[str, str]) -> str:
    """What a program prints; a failure shows everything that it said."""
    done = subprocess.run(
        [python, "-c", program],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if "timed out during startup" in done.stderr:
        pytest.skip("Ray's own processes do not start on this machine")
    assert done.returncode == 0, f"{program}\n{done.stdout}\n{done.stderr[-8000:]}"
    return done.stdout


def expected_scores(desk: Path) -> pa.Table:
    """What the runtime gives for all dates of the features, by date and instrument."""
    bundle = alphaseal.open(desk / "bundle", trust=alphaseal.Trust.load(desk / "trust.json"))
    return by_key(bundle.score(desk / "features.parquet", dates=(None, None)).table)


def test_engine_of_aistock_ranks_the_days_stocks(desk: Path) -> None:
    """The blocks together, in a process with the runtime alone: the first signals, then a refusal that names the column."""
    sources = os.pathsep.join(str(REPOSITORY / part / "src") for part in ("runtime", "converter"))
    output = run(sys.executable, "".join(blocks("aistock.md", "python")), desk, {**os.environ, "PYTHONPATH": sources})
    best = expected_scores(desk).filter(pa.compute.field("rank") <= 3).to_pylist()[-3:]
    best.sort(key=lambda row: row["rank"])
    first = [f"{row['datetime']} {row['rank']} {row['instrument']} {row['score']}" for row in best]
    lines = output.splitlines()
    assert lines[:3] == first
    assert lines[3].startswith("18 features.missing_column")
    assert "REV_3D" in lines[3]


def test_exports_for_aistock_are_written(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the document runs as it stands there."""
    monkeypatch.chdir(desk)
    (commands,) = blocks("aistock.md", "sh")
    for line in commands.splitlines():
        command, *arguments = shlex.split(line)
        assert command == "alphaseal"
        assert cli.main(arguments) == 0
    assert {path.name for path in desk.iterdir()} >= {"rdagent_tasks", "package", "handover"}


def block_of(name: str) -> str:
    """The block of docs/integrations.md that begins with this name as a comment."""
    (block,) = [block for block in blocks("integrations.md", "python") if block.startswith(f"# {name}\n")]
    return block


def test_every_block_is_run_below() -> None:
    """No block of docs/integrations.md without a test."""
    first = [block.splitlines()[0] for block in blocks("integrations.md", "python")]
    assert first == ["# qlib", "# mlflow", "# spark", "# ray"]


@needs_adapters
@pytest.mark.parametrize("name", ["qlib", "mlflow", "spark", "ray"])
def test_blocks_of_the_integrations_give_the_runtimes_scores(name: str, desk: Path, market: Path) -> None:
    """Each block as it stands, then its result written to a file: bit for bit what the runtime gives."""
    environment = environment_of(desk) | {"MLFLOW_TRACKING_URI": (desk / "mlruns").as_uri()}
    if not (desk / "qlib_bin").exists():
        shutil.copytree(market, desk / "qlib_bin")
    kept = {
        "qlib": "predictions.to_frame('score').reset_index().to_parquet('kept.parquet')",
        "mlflow": "scores.to_parquet('kept.parquet')",
        "spark": "import pyarrow.parquet as pq; pq.write_table(pq.read_table('scores.parquet'), 'kept.parquet')",
        "ray": "import pyarrow.parquet as pq; pq.write_table(pq.read_table('scores'), 'kept.parquet')",
    }
    run(ADAPTERS, f"{block_of(name)}\n{kept[name]}\n", desk, environment)
    found, expected = by_key(pq.read_table(desk / "kept.parquet")), expected_scores(desk)
    (desk / "kept.parquet").unlink()
    assert found["instrument"].to_pylist() == expected["instrument"].to_pylist()
    assert found["score"].to_numpy().tobytes() == expected["score"].to_numpy().tobytes()
