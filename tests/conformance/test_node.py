"""The format read without Python: Node's own crypto, onnxruntime-node, and ajv for the schemas.

The packages of package-lock.json are installed outside the repository, their scripts off: in CI (`CI` is set) by this
module, elsewhere where ALPHASEAL_NODE names a directory that has node_modules.  Without node or a registry the tests skip.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from alphaseal.disk import tree
from alphaseal.factors import across
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.format.factor_rules import FUNCTIONS
from alphaseal.format.factors import FactorSeries, FactorStage
from alphaseal.trust import policy as trust_file
from alphaseal_converter.build import build
from alphaseal_converter.bundle.signing import generate_key, read_signing_key, sign
from bundles import DIRECT, direct_request, factor_plain_bundle, factor_plain_request
from locations import REPOSITORY
from manifests import example_manifest
from signed import key, known, policy, signed_bundle
from vectors import harness

HERE = REPOSITORY / "tests/conformance/node"
PATIENCE = 600


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the scripts and node_modules; one for all test processes of a run."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    if named := os.environ.get("ALPHASEAL_NODE"):
        return _with_scripts(Path(named))
    if not os.environ.get("CI"):
        pytest.skip(
            f"node packages are installed in CI only; or run npm ci --ignore-scripts beside a copy of {HERE.name}/*.json and name the place in ALPHASEAL_NODE"
        )
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "node-of-all-tests"
    try:
        shared.mkdir()
    except FileExistsError:
        _wait(shared)
    else:
        _install(shared)
    if (shared / "failed").exists():
        pytest.skip("npm could not install: " + (shared / "failed").read_text(encoding="utf-8")[-300:])
    return _with_scripts(shared)


def _install(place: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name, place / name)
    npm = shutil.which("npm")
    assert npm is not None
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(place / "cache")]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=PATIENCE - 60, check=False)
        problem = "" if done.returncode == 0 else done.stderr
    except subprocess.TimeoutExpired:
        problem = "it took too long"
    shutil.rmtree(place / "cache", ignore_errors=True)
    (place / ("failed" if problem else "ready")).write_text(problem, encoding="utf-8")


def _wait(place: Path) -> None:
    """Another test process is at it."""
    end = time.monotonic() + PATIENCE
    while not (place / "ready").exists() and not (place / "failed").exists():
        if time.monotonic() > end:
            pytest.skip("another test process did not finish installing the node packages")
        time.sleep(0.2)


def _with_scripts(place: Path) -> Path:
    for script in HERE.glob("*.mjs"):
        if not (place / script.name).exists() or (place / script.name).read_bytes() != script.read_bytes():
            partial = place / f"{script.name}.{os.getpid()}"
            shutil.copyfile(script, partial)
            with suppress(PermissionError):  # Windows, while another process reads it
                os.replace(partial, place / script.name)
    return place


def run(node: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script of this directory, with its packages."""
    return subprocess.run(
        ["node", str(node / script), *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def verified(node: Path, bundle: Path, public_key: str = "-") -> dict[str, Any]:
    """What the script found of a bundle that it accepts."""
    done = run(node, "verify.mjs", str(bundle), public_key)
    assert done.returncode == 0, done.stderr
    reply: dict[str, Any] = json.loads(done.stdout)
    return reply


def public_key_file(directory: Path, seed: str) -> str:
    """The PEM file of a test key."""
    path = directory / f"{seed}.pub"
    public = Ed25519PublicKey.from_public_bytes(key(seed).public_key)
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


def test_script_is_short() -> None:
    """At most 200 lines: the format is small enough to be read anew."""
    assert len((HERE / "verify.mjs").read_text(encoding="utf-8").splitlines()) <= 200


def test_lock_names_exact_versions_and_no_registry() -> None:
    """Every package has a version and a digest, and nothing says where it is to be fetched."""
    lock = json.loads((HERE / "package-lock.json").read_bytes())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in packages.values())
    wanted = json.loads((HERE / "package.json").read_bytes())["dependencies"]
    assert wanted == {name: packages[f"node_modules/{name}"]["version"] for name in wanted}


def test_signed_bundle_scores_bit_for_bit(node: Path, tmp_path: Path) -> None:
    """A bundle that the converter signed verifies with the key's own file, and every golden row has the same bits."""
    bundle = tmp_path / "bundle"
    shutil.copytree(factor_plain_bundle(), bundle)
    plain = json.loads((bundle / m.FILE_NAME).read_bytes()) | {"name": "demo", "sequence": 1}
    (bundle / m.FILE_NAME).write_bytes(strict_json.dumps(plain))
    private, public, _ = generate_key(tmp_path / "ci", None)
    sign(bundle, read_signing_key(str(private), None))
    found = verified(node, bundle, str(public))
    rows = plain["golden"]["rows"]
    assert found["golden"] == {"rows": rows, "bit_identical": rows}
    assert found["digest"] == m.digest((bundle / m.FILE_NAME).read_bytes())
    assert found["signed"] is True


@pytest.mark.parametrize("case", DIRECT)
def test_trees_of_other_runs_score_bit_for_bit(node: Path, case: str, tmp_path: Path) -> None:
    """Three loaders, one of them with a scaler in the graph: the same bits in Node."""
    found = verified(node, build(direct_request(case, tmp_path / "bundle")).path)
    assert found["golden"]["rows"] == found["golden"]["bit_identical"] > 100


def test_alpha_features_from_bars_are_those_of_the_golden_rows(node: Path, market: Path, tmp_path: Path) -> None:
    """alphas.onnx gives the golden rows' alpha features from the golden bars, and the model the same bits."""
    bundle = build(factor_plain_request(tmp_path / "bundle", features=None, provider=market)).path
    found = verified(node, bundle)
    assert found["golden"]["rows"] == found["golden"]["bit_identical"]
    assert found["alphas"]["features"] == 20
    assert found["alphas"]["stocks"] > 10
    # Nothing but the tolerance is promised of another processor; nearly all are the same on any.
    assert found["alphas"]["bit_identical"] > 0.5 * found["alphas"]["stocks"] * 20


OF_FACTORS = [
    vector
    for vector in sorted((REPOSITORY / "tests/vectors/v1").glob("compiled*"))
    if (said := harness.read(vector))["exit"] == 10 or said["verb"] == "selftest"
]


@pytest.mark.parametrize("vector", OF_FACTORS, ids=lambda path: path.name)
def test_compiled_factors_are_judged_and_computed_as_here(node: Path, vector: Path, tmp_path: Path) -> None:
    """Programs that do not fit together have the vector's exit status, and golden factors come out within their tolerances."""
    value = harness.prepare(vector, tmp_path / "vector")
    done = run(node, "verify.mjs", str(tmp_path / "vector/bundle"), "-")
    assert done.returncode == value["exit"], done.stderr
    if value["exit"] == 0:
        assert json.loads(done.stdout)["factors"]["stocks"] == 3


def _stages() -> Iterator[FactorStage]:
    """Every function of every operator; of ranks every method, in both directions."""
    nothing: dict[str, Any] = dict.fromkeys(("function", "ddof", "q", "method", "ascending", "percent"))
    value, other = (FactorSeries(first=first, days=2, dtype="float64", since=None) for first in (0, 2))
    mask, key = (FactorSeries(first=first, days=2, dtype="bool", since=None) for first in (4, 6))
    for operator, functions in FUNCTIONS.items():
        for function in functions:
            given = nothing | {
                "function": function,
                "ddof": 1 if function in ("std", "var", "cov") else None,
                "q": 0.3 if function == "quantile" else None,
            }
            ranks = [
                {"method": method, "ascending": ascending, "percent": not ascending}
                for method in ("average", "min", "max", "dense", "first")
                for ascending in (True, False)
            ]
            for how in ranks if operator == "day_rank" else [{}]:
                for keys, dtype in (([], "float64"), ([key], "float32")):
                    inputs = [value, *([other] if operator == "day_pair" else []), mask, *keys]
                    gives = FactorSeries(first=0, days=2, dtype=dtype, since=None)  # type: ignore[arg-type]
                    yield FactorStage(operator=operator, inputs=inputs, gives=gives, **(given | how))  # type: ignore[arg-type]


def test_operations_across_stocks_have_the_same_bits(tmp_path: Path) -> None:
    """Node's own arithmetic against ours: sums of 3 to 700 stocks, ties, missing values, infinities, groups; skew but for a power."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    random = np.random.default_rng(3)
    cases = []
    for number, stage in enumerate(_stages()):
        count = (3, 60, 700)[number % 3]
        columns = random.normal(0, 1, (count, 8)) * 10.0 ** random.integers(-4, 4, (count, 8))
        columns[:, :2] = np.where(random.random((count, 2)) < 0.4, np.round(columns[:, :2]), columns[:, :2])
        columns[random.random((count, 8)) < 0.1] = np.nan
        columns[random.random((count, 8)) < 0.003] = np.inf
        columns[:, 4:6] = random.random((count, 2)) < 0.8
        columns[:, 6:] = np.where(random.random((count, 2)) < 0.05, np.nan, random.integers(0, 9, (count, 2)))
        cases.append((stage, columns, random.random((count, 2)) < 0.9))
    data = [
        {"stage": msgspec.to_builtins(stage), "values": _texts(columns), "listed": listed.tolist()}
        for stage, columns, listed in cases
    ]
    (tmp_path / "cases.json").write_text(json.dumps(data), encoding="utf-8")
    program = (
        f"import {{ acrossStocks }} from '{(HERE / 'across.mjs').as_uri()}'\n"
        "import { readFileSync } from 'node:fs'\n"
        "const numbers = (rows) => rows.map((row) => row.map(Number))\n"
        "const cases = JSON.parse(readFileSync(process.argv[2]))\n"
        "const found = cases.map(({ stage, values, listed }) => acrossStocks(stage, numbers(values), listed))\n"
        "console.log(JSON.stringify(found.map((rows) => rows.map((row) => row.map(String)))))\n"
    )
    (tmp_path / "run.mjs").write_text(program, encoding="utf-8")
    command = ["node", str(tmp_path / "run.mjs"), str(tmp_path / "cases.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    for (stage, columns, listed), text in zip(cases, json.loads(done.stdout), strict=True):
        place = 1 + (stage.operator == "day_pair")
        inputs = [columns[:, one.first : one.first + 2] for one in stage.inputs if isinstance(one, FactorSeries)]
        inputs[place] = inputs[place] * listed
        with np.errstate(invalid="ignore"):  # infinity less infinity
            ours = across.run(stage, inputs)
        theirs = np.array([[float(cell.replace("Infinity", "inf")) for cell in row] for row in text])
        if stage.function == "skew":
            np.testing.assert_allclose(theirs, ours, rtol=1e-6 if stage.gives.dtype == "float32" else 1e-13)
        else:
            np.testing.assert_array_equal(theirs, ours, err_msg=str(stage))


def _texts(values: npt.NDArray[np.float64]) -> list[list[str]]:
    """JSON has no NaN."""
    return [[repr(float(cell)).replace("inf", "Infinity").replace("nan", "NaN") for cell in row] for row in values]


def _another_byte(bundle: Path) -> None:
    model = bytearray((bundle / "model.onnx").read_bytes())
    model[50] ^= 1
    (bundle / "model.onnx").write_bytes(bytes(model))


def _another_manifest(bundle: Path) -> None:
    data = (bundle / m.FILE_NAME).read_bytes()
    (bundle / m.FILE_NAME).write_bytes(data.replace(b'"sequence": 1', b'"sequence": 2'))


def _another_signature(bundle: Path) -> None:
    value = json.loads((bundle / tree.ENVELOPE_NAME).read_bytes())
    signature = value["signatures"][0]["sig"]
    value["signatures"][0]["sig"] = ("A" if signature[0] != "A" else "B") + signature[1:]
    (bundle / tree.ENVELOPE_NAME).write_bytes(strict_json.dumps(value))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (_another_byte, 11),
        (_another_manifest, 13),
        (_another_signature, 13),
        (lambda bundle: (bundle / "extra.txt").write_text("x"), 12),
        (lambda bundle: (bundle / "card.html").unlink(), 12),
        (lambda bundle: (bundle / "manifest.json").unlink(), 3),
    ],
    ids=["model", "manifest", "signature", "extra", "missing", "no manifest"],
)
def test_what_is_wrong_is_refused_with_the_same_exit_status(
    node: Path, change: Callable[[Path], object], status: int, tmp_path: Path
) -> None:
    """A changed byte, manifest or signature, a file too many or too few: the exit status of the specification."""
    bundle = signed_bundle(tmp_path / "bundle", "ci")
    change(bundle)
    done = run(node, "verify.mjs", str(bundle), public_key_file(tmp_path, "ci"))
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""


def test_another_key_is_not_trusted(node: Path, tmp_path: Path) -> None:
    """A signature by a key that was not named does not count."""
    bundle = signed_bundle(tmp_path / "bundle", "ci")
    assert run(node, "verify.mjs", str(bundle), public_key_file(tmp_path, "other")).returncode == 14


def test_wrong_golden_score_fails_the_self_test(node: Path, tmp_path: Path) -> None:
    """Golden rows of another model do not score as recorded: the self-test compares, and does not only run."""
    ours = signed_bundle(tmp_path / "bundle")
    theirs = build(direct_request("lgb_ordered_loader", tmp_path / "other")).path
    plain = json.loads((ours / m.FILE_NAME).read_bytes())
    data = (theirs / "model.onnx").read_bytes()
    (ours / "model.onnx").write_bytes(data)
    entry = next(file for file in plain["files"] if file["path"] == "model.onnx")
    entry |= {"size": len(data), "sha256": m.digest(data)}
    (ours / m.FILE_NAME).write_bytes(strict_json.dumps(plain))
    done = run(node, "verify.mjs", str(ours), "-")
    assert done.returncode == 19, done.stderr


def test_ajv_agrees_with_the_schemas(node: Path, tmp_path: Path) -> None:
    """ajv, strict and of the 2020 dialect, compiles every schema, takes the good documents and names the broken place."""
    bundle = signed_bundle(tmp_path / "bundle", "ci")
    manifest, trust, bad = tmp_path / "manifest.json", tmp_path / "trust.json", tmp_path / "bad.json"
    manifest.write_bytes(m.encode(example_manifest()))
    trust.write_bytes(trust_file.encode(policy(known("ci"))))
    value = json.loads(manifest.read_bytes())
    value["features"][0]["dtype"] = "float16"
    bad.write_bytes(strict_json.dumps(value))
    schemas = REPOSITORY / "schemas"
    pairs = [
        ("manifest", manifest),
        ("manifest", bundle / m.FILE_NAME),
        ("envelope", bundle / tree.ENVELOPE_NAME),
        ("trust", trust),
        ("manifest", bad),
    ]
    arguments = [text for kind, path in pairs for text in (str(schemas / f"{kind}.schema.json"), str(path))]
    done = run(node, "schemas.mjs", *arguments)
    assert done.returncode == 0, done.stderr
    replies = json.loads(done.stdout)
    assert [reply["valid"] for reply in replies] == [True, True, True, True, False]
    assert "/features/0/dtype" in [error["instancePath"] for error in replies[-1]["errors"]]
    compiled = run(
        node, "schemas.mjs", *[text for path in sorted(schemas.glob("*.json")) for text in (str(path), str(bad))]
    )
    assert compiled.returncode == 0, compiled.stderr


def test_base_vector_is_read_too(node: Path) -> None:
    """The vector that every verifier must accept is accepted."""
    assert verified(node, REPOSITORY / "tests/vectors/v1/base/bundle")["golden"]["rows"] > 0
