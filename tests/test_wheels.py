"""The built wheels, installed alone in a clean environment, do what the sources do."""

from __future__ import annotations

import venv
from pathlib import Path

import pytest

from alphaseal.desk.completion import ENDINGS, SCRIPTS
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values
from commands import output_of
from locations import REPOSITORY

TRUTH = FACTOR_PLAIN / "truth/hist2_factor"


def pinned(directory: Path) -> Path:
    """The versions that the tests were run with, as a constraints file; without hashes, which a wheel made here has not."""
    lines = (REPOSITORY / "requirements/development.txt").read_text(encoding="utf-8").splitlines()
    path = directory / "constraints.txt"
    pins = [line.removesuffix(" \\") for line in lines if "==" in line.split(" ; ")[0]]
    path.write_text("\n".join(pins), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """An environment with the runtime's wheel and its dependencies, and nothing else."""
    directory = tmp_path_factory.mktemp("clean")
    venv.create(directory, with_pip=True)
    python = directory / "bin/python"
    pins = pinned(directory)
    runtime = next(wheels.glob("alphaseal-*.whl"))
    output_of(python, "-m", "pip", "install", "--quiet", "-c", pins, runtime)
    return directory


@pytest.mark.slow
def test_runtime_wheel_alone(clean: Path, tmp_path: Path) -> None:
    """The runtime's wheel brings what it needs, imports every module, and scores a bundle from an empty directory."""
    python = clean / "bin/python"
    installed = output_of(python, "-m", "pip", "list", "--format=freeze")
    assert "pandas" not in installed
    assert "lightgbm" not in installed
    output_of(
        python,
        "-c",
        "import pkgutil, importlib, alphaseal\nfor m in pkgutil.walk_packages(alphaseal.__path__, 'alphaseal.'): m.name.startswith(('alphaseal.__main__', 'alphaseal.adapters.')) or importlib.import_module(m.name)",
    )
    command = clean / "bin/alphaseal"
    output_of(command, "verify", factor_plain_bundle(), "--allow-unsigned", cwd=tmp_path)
    scored = output_of(
        *(command, "score", factor_plain_bundle(), "--allow-unsigned"),
        *("--features", raw_values(TRUTH), "--date", "2021-12-24"),
        cwd=tmp_path,
    )
    assert "59 stocks scored" in scored
    for shell, ending in ENDINGS.items():
        assert output_of(command, "completion", shell) == (SCRIPTS / f"alphaseal.{ending}").read_text(encoding="utf-8")


@pytest.mark.slow
def test_converter_wheel_builds_without_lightgbm(clean: Path, wheels: Path, tmp_path: Path) -> None:
    """The converter's wheel converts without lightgbm, with the recorded predictions as judge, and says so."""
    python = clean / "bin/python"
    pins = pinned(tmp_path)
    converter = next(wheels.glob("alphaseal_converter-*.whl"))
    output_of(python, "-m", "pip", "install", "--quiet", "-c", pins, "--find-links", wheels, converter)
    out = tmp_path / "bundle"
    text = output_of(
        *(clean / "bin/alphaseal-convert", "build", FACTOR_PLAIN, "--workspace-root", FACTOR_PLAIN / "workspaces"),
        *("--features", raw_values(TRUTH), "--out", out),
        cwd=tmp_path,
    )
    assert text.startswith("ready")
    assert "2369 of 2369 rows bit-identical to qlib's recorded predictions;" in text
    assert "_alphaseal_convert" in output_of(clean / "bin/alphaseal-convert", "completion", "fish")
