"""The rules of the house that no single module can see."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from locations import REPOSITORY

RUNTIME = REPOSITORY / "runtime/src/alphaseal"
CONVERTER = REPOSITORY / "converter/src/alphaseal_converter"
STANDARD = set(sys.stdlib_module_names)
RUNTIME_MAY = {"alphaseal", "numpy", "onnxruntime", "pyarrow", "cryptography", "msgspec"}
CONVERTER_MAY = RUNTIME_MAY | {"alphaseal_converter", "onnx", "jsonschema"}
# The original libraries as judges of their own family's numbers, each in its own module and nowhere else.
JUDGES = {
    "families/lightgbm_live.py": {"lightgbm"},
    # A wrapper that was fitted on a frame is asked with a frame.
    "families/live.py": {"pandas"},
    "families/xgboost.py": {"xgboost"},
    "families/catboost.py": {"catboost"},
    "families/sklearn_live.py": {"sklearn"},
    "families/sklearn_skl2onnx.py": {"skl2onnx", "sklearn"},
    "programs/export.py": {"torch"},
}
# A bundle inside another system: each adapter of the runtime names its own and no other module does, and none is imported
# by another.  qlib.py is the second file that may name qlib: it is a model of qlib, so it runs where qlib is.
ADAPTERS = {
    "qlib.py": {"qlib", "pandas"},
    "mlflow.py": {"mlflow", "pandas"},
    "spark.py": {"pyspark"},
    "ray.py": set(),
}
# The replay program is run by the research environment's own Python and is the only file that may name qlib.
REPLAY_PROGRAM = CONVERTER / "programs/replay.py"
# The factors' code needs pandas; the program that runs it is run isolated, by the research environment's own Python.
FACTOR_PROGRAM = CONVERTER / "programs/factor.py"
EXECUTING = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "runpy"}


def modules(root: Path) -> list[Path]:
    """All Python files of a package."""
    return sorted(path for path in root.rglob("*.py"))


def room(path: Path) -> str:
    """For test ids: where a file is."""
    return path.relative_to(REPOSITORY).as_posix().partition("src/")[2]


def imports(path: Path) -> Iterator[str]:
    """Top-level names of everything a file imports, anywhere in it; relative imports are of its own package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", modules(RUNTIME), ids=room)
def test_runtime_imports_only_its_dependencies(path: Path) -> None:
    """The runtime needs five distributions and never the converter; an adapter names its own system beside them."""
    system = ADAPTERS.get(path.name, set()) if path.parent.name == "adapters" else set()
    assert set(imports(path)) - STANDARD <= RUNTIME_MAY | system


@pytest.mark.parametrize("path", modules(CONVERTER), ids=room)
def test_converter_never_imports_rdagent_or_qlib(path: Path) -> None:
    """No module of the converter imports the libraries whose pickles it reads, but the replay program."""
    judges = JUDGES.get(path.relative_to(CONVERTER).as_posix(), set())
    allowed = CONVERTER_MAY | judges | ({"numpy", "pandas", "qlib"} if path == REPLAY_PROGRAM else set())
    allowed |= {"numpy", "pandas"} if path == FACTOR_PROGRAM else set()
    assert set(imports(path)) - STANDARD <= allowed


WINGS = {
    "alphaseal": {
        "format": "",
        "terminal": "",
        "arrow": "format",
        "disk": "format",
        "gate": "format arrow disk",
        "trust": "format disk",
        "sealed": "format disk gate trust",
        "tables": "format arrow disk gate trust",
        "advice": "format arrow tables",
        "scoring": "format arrow gate sealed tables advice",
        "adapters": "format arrow disk tables scoring",
        "bars": "format arrow sealed tables scoring",
        "factors": "format arrow gate sealed tables scoring bars",
        "bundle": "format trust sealed tables advice scoring bars factors",
        "store": "format disk trust bundle",
        "desk": "format terminal arrow disk trust advice scoring bundle store",
        "sources": "format bars store",
        "cli": "format terminal disk trust tables advice scoring bars bundle store desk sources",
    },
    "alphaseal_converter": {
        "batches": "",
        "comparison": "",
        "isolation": "",
        "ledger": "",
        "mlflow": "",
        "nodes": "",
        "pickles": "",
        "plain": "",
        "qlib": "",
        "ray": "",
        "spark": "",
        "decode": "pickles",
        "factors": "comparison isolation",
        "processors": "comparison nodes pickles decode",
        "programs": "isolation factors",
        "models": "comparison ledger pickles decode",
        "session": "pickles decode",
        "graph": "nodes plain processors models",
        "locate": "pickles decode processors factors models session",
        "alphas": "nodes",
        "emission": "isolation factors alphas",
        "families": "comparison isolation nodes pickles decode processors models graph locate",
        "market": "session locate",
        "evidence": "comparison plain factors processors locate alphas emission market",
        "proof": "comparison isolation factors processors session graph locate alphas emission families market evidence",
        "card": "comparison pickles decode processors locate families proof",
        "bundle": "plain factors processors session locate evidence proof card",
        "build": "factors session locate emission families evidence proof bundle",
        "cli": "isolation plain factors session locate emission families evidence proof bundle build",
    },
}
"""Of each distribution, from below: wing (or single file) -> those that it imports.  errors, version and the texts of errors are
everybody's.  docs/architecture.md draws it."""
EVERYBODYS = {"errors", "version", "plain_text", ""}
MOST_FILES = 12
LONGEST_CHAIN = 10


def modules_of(distribution: str) -> dict[str, Path]:
    """Dotted names of all modules."""
    root = {"alphaseal": RUNTIME, "alphaseal_converter": CONVERTER}[distribution]
    found = {}
    for path in modules(root):
        parts = [distribution, *path.relative_to(root).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = {distribution: modules_of(distribution) for distribution in WINGS}


@cache
def imported(path: Path, distribution: str) -> set[str]:
    """The modules of a distribution that a file imports anywhere in it, for types alone too, or names in a table of verbs."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == distribution:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES[distribution] else str(node.module))
        if path.name == "command.py" and isinstance(node, ast.Constant) and "." in str(node.value):
            found |= {str(node.value)} & MODULES[distribution].keys()
    return found


def wing_of(module: str) -> str:
    return ([*module.split("."), ""])[1]


@pytest.mark.parametrize("path", [*modules(RUNTIME), *modules(CONVERTER)], ids=room)
def test_imports_are_written_in_one_way(path: Path) -> None:
    """By the whole name, so that a line says which wing it is from."""
    assert not [
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom) and node.level
    ]


@pytest.mark.parametrize("distribution", WINGS)
def test_wings_import_only_wings_below_them(distribution: str) -> None:
    """The table is what the imports are, and each of its lines names lines above it only."""
    found: dict[str, set[str]] = {wing: set() for wing in WINGS[distribution]}
    for name, path in MODULES[distribution].items():
        wing = wing_of(name)
        if wing not in EVERYBODYS | {"__main__"}:
            found[wing] |= {wing_of(other) for other in imported(path, distribution)} - EVERYBODYS - {wing}
    assert found == {wing: set(below.split()) for wing, below in WINGS[distribution].items()}
    for place, (wing, below) in enumerate(WINGS[distribution].items()):
        assert set(below.split()) <= set(list(WINGS[distribution])[:place]), wing


@pytest.mark.parametrize("distribution", WINGS)
def test_no_module_imports_itself_by_others(distribution: str) -> None:
    """No circle of modules: imports for types and imports inside of functions count."""
    arrows = {name: imported(path, distribution) for name, path in MODULES[distribution].items()}
    done: set[str] = set()
    while ready := {name for name, others in arrows.items() if name not in done and others <= done | {name}}:
        done |= ready
    assert sorted(arrows.keys() - done) == []


@pytest.mark.parametrize("distribution", WINGS)
def test_wings_are_small_and_few_stand_on_each_other(distribution: str) -> None:
    """A wing of more files has wings of its own; a chain of wings is short enough to be remembered."""
    length: dict[str, int] = {}
    folders = {wing_of(name) for name, path in MODULES[distribution].items() if path.name == "__init__.py"}
    for wing, below in WINGS[distribution].items():
        length[wing] = (wing in folders) + max((length[other] for other in below.split()), default=0)
    assert max(length.values()) <= LONGEST_CHAIN
    for path in MODULES[distribution].values():
        if path.name == "__init__.py":
            assert len([file for file in path.parent.glob("*.py") if file != path]) <= MOST_FILES, path.parent.name


@pytest.mark.parametrize("path", modules(CONVERTER), ids=room)
def test_converter_enters_wings_of_the_runtime_by_their_faces(path: Path) -> None:
    """Only modules that the wing's ``__all__`` names, and no private name of them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name in imported(path, "alphaseal"):
        wing = name.rpartition(".")[0]
        if wing.count(".") or (wing != "alphaseal" and wing):
            face = importlib.import_module(wing)
            assert name.rpartition(".")[2] in face.__all__, name
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "alphaseal":
            assert not [
                alias.name for alias in node.names if alias.name.startswith("_") and alias.name != "__version__"
            ]


@pytest.mark.parametrize("distribution", WINGS)
def test_every_wing_says_what_lives_there(distribution: str) -> None:
    """In a few lines: what it is, what comes in, what stays out."""
    for path in MODULES[distribution].values():
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            assert text, path.parent.name


@pytest.mark.parametrize("path", modules(RUNTIME / "adapters"), ids=room)
def test_adapters_are_imported_by_nobody(path: Path) -> None:
    """Neither distribution needs the systems that the adapters serve; old names of adapters hand on to them."""
    name = f"alphaseal.adapters.{path.stem}"
    users = {
        other.name
        for distribution in WINGS
        for other in MODULES[distribution].values()
        if name in imported(other, "alphaseal")
    }
    assert users <= {f"{path.stem}.py"} | (
        {f"{adapter}.py" for adapter in ("qlib", "mlflow", "spark", "ray")} if path.stem == "batches" else set()
    )


@pytest.mark.parametrize("path", modules(RUNTIME) + modules(CONVERTER), ids=room)
def test_nothing_can_execute_what_a_file_says(path: Path) -> None:
    """No module imports an unpickler, and none calls eval, exec, compile or __import__."""
    assert not set(imports(path)) & EXECUTING
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("path", modules(RUNTIME) + modules(CONVERTER), ids=room)
def test_errors_are_made_once_and_settings_of_the_process_are_left_alone(path: Path) -> None:
    """Who catches an error and knows more raises a new one (`saying`); the host's own onnxruntime logs as the host wants."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            changed = {ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)}
            assert (
                not {
                    f"{name}.{part}"
                    for name in ("error", "problem")
                    for part in ("where", "message", "next_step", "found")
                }
                & changed
            )
        assert not (isinstance(node, ast.Attribute) and node.attr == "set_default_logger_severity")


def test_runtime_is_importable_without_posix_modules() -> None:
    """Every module of the runtime imports on a system without resource, fcntl, pwd, grp, termios (Windows has none)."""
    program = (
        "import sys, importlib, pathlib\n"
        "for name in ('resource', 'fcntl', 'pwd', 'grp', 'termios', 'tty', 'pty', 'posix_ipc'): sys.modules[name] = None\n"
        "import alphaseal, pkgutil\n"
        "for found in pkgutil.walk_packages(alphaseal.__path__, 'alphaseal.'):\n"
        "    if not found.name.startswith(('alphaseal.__main__', 'alphaseal.adapters.')): importlib.import_module(found.name)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_no_private_place_is_named() -> None:
    """No file of the project names a directory of a machine or the host of a package registry."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    private = re.compile(r"(?<![\w.])/(?:work|opt/envs|root|home/\w+)/|pypi\.org|registry\.npmjs|files\.pythonhosted")
    found = []
    for name in listed.decode().split("\0"):
        path = REPOSITORY / name
        if (
            path.suffix in {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".cfg", ".sh", ""}
            and path.is_file()
        ):
            text = path.read_bytes().decode("utf-8", "replace")
            if path != Path(__file__) and private.search(text) and not name.startswith("tests/data/"):
                found.append(name)
    assert found == []


TESTED_WITH = {
    "alphaseal": {
        "runtime/adapters/test_batches.py": "version",
        "converter/emission/test_compile.py": "factors.daily factors.program",
        "runtime/advice/test_picks.py": "advice.strategy cli.advice desk.show",
        "runtime/arrow/test_number_types.py": "arrow.columns tables.feature_files",
        "runtime/bars/test_conventions.py": "tables.chance",
        "runtime/bars/test_join.py": "bars.adjustment bars.source bundle",
        "runtime/bars/test_units.py": "bars.selftest sources",
        "runtime/desk/test_completion.py": "cli.command terminal.console",
        "runtime/desk/test_diff.py": "desk.diff_report desk.diff_scores",
        "runtime/disk/test_targets.py": "cli.output disk.files",
        "runtime/gate/onnx/test_operators.py": "gate.onnx.networks gate.onnx.rules",
        "runtime/gate/onnx/test_shapes.py": "gate.onnx.layers",
        "runtime/gate/parquet/test_footer.py": "disk.verified gate.parquet.pages gate.parquet.thrift",
        "runtime/gate/test_data.py": "arrow.versions",
        "runtime/gate/test_model_limits.py": "gate.onnx.attributes gate.onnx.costs gate.onnx.types",
        "runtime/scoring/test_near_ties.py": "scoring.numeric",
        "runtime/tables/members/test_membership.py": "bars.trading_days tables.members.boards",
        "runtime/tables/members/test_universe.py": "scoring.scores",
        "runtime/tables/test_instruments.py": "format.notations tables.request",
        "runtime/tables/test_parquet_hostile.py": "arrow.stream tables.look_back tables.period",
        "runtime/test_store.py": "scoring.selftest",
        "runtime/advice/test_fills.py": "format.reasons",
        "runtime/format/test_factors.py": "format.factor_rules",
        "runtime/format/test_manifest_versions.py": "format.documents format.guards format.parts",
        "runtime/trust/test_judgement.py": "desk.trust_commands format.instants trust.conditions trust.policy",
        "test_compiled_factors_end_to_end.py": "factors.features factors.opening factors.selftest",
        "test_spec.py": "plain_text",
        "test_end_to_end.py": "cli.export cli.options cli.score cli.store cli.verify",
        "test_units_end_to_end.py": "cli.anchor",
        "test_universes_end_to_end.py": "tables.reading",
    },
    "alphaseal_converter": {
        "converter/alphas/test_compile.py": (
            "alphas.elementwise alphas.emit alphas.logarithm alphas.nodes alphas.rolling"
        ),
        "converter/alphas/test_noise.py": "alphas.noise_life alphas.noise_rolling",
        "converter/bundle/test_provenance.py": "version",
        "converter/bundle/test_signing.py": "cli.signing",
        "converter/bundle/test_validate.py": "cli.validate",
        "converter/programs/test_replay.py": "cli.replay proof.qlib_replay",
        "converter/card/test_card.py": ("card.features card.markup card.pieces card.sections card.style card.verdict"),
        "converter/card/test_pictures.py": "card.charts card.performance locate.runs models.lightgbm_text",
        "converter/cli/test_story.py": "cli.build cli.command cli.options comparison.known_names evidence.order plain",
        "converter/decode/test_frames.py": "decode.arrays decode.index decode.scalars",
        "converter/decode/test_tensors.py": "errors",
        "converter/emission/test_compile.py": (
            "emission.describe emission.elementwise emission.emitter emission.periods emission.plan emission.rows"
            " emission.tables emission.windows"
        ),
        "converter/emission/test_factor.py": "cli.factor",
        "converter/factors/test_tracing.py": (
            "factors.expressions.across factors.expressions.document factors.expressions.evaluate factors.expressions.nodes "
            "factors.expressions.periods factors.expressions.properties factors.expressions.windows factors.expressions.words "
            "factors.recording.columns factors.recording.keys factors.recording.layout factors.recording.operands factors.recording.quantiles "
            "factors.recording.recorder factors.recording.values factors.trace.elementwise factors.trace.frame "
            "factors.trace.groups factors.trace.joining factors.trace.module factors.trace.numpy_functions "
            "factors.trace.rolling factors.trace.rowwise factors.trace.run factors.trace.selection factors.trace.series "
            "factors.trace.wide programs.trace"
        ),
        "converter/evidence/test_noise.py": "evidence.alphas evidence.values",
        "converter/evidence/test_units.py": "comparison.field_units",
        "converter/factors/test_bars_check.py": "cli.features",
        "converter/factors/test_compute.py": "factors.market programs.factor",
        "converter/factors/test_trial.py": "factors.search",
        "converter/families/test_catboost.py": "graph.trees.catboost models.catboost models.flatbuffers",
        "converter/families/test_densemble.py": "families.lightgbm_live",
        "converter/families/test_lightgbm.py": (
            "graph.assemble graph.trees.columns graph.trees.search_tree graph.trees.shallow_trees models.trees"
        ),
        "converter/families/test_linear.py": "families.base",
        "converter/families/test_network.py": "nodes.embed programs.export",
        "converter/families/test_sklearn_pipeline.py": (
            "comparison.parity families.live families.sklearn_live families.sklearn_skl2onnx nodes.normal_quantile "
            "graph.sklearn_steps models.sklearn.estimators"
        ),
        "converter/families/test_xgboost.py": ("graph.trees.xgboost models.record models.ubjson models.xgboost"),
        "converter/graph/trees/test_level_tables.py": "graph.trees.tree_ensemble",
        "converter/isolation/test_sandbox.py": "isolation.filter isolation.launcher isolation.places isolation.runner",
        "converter/ledger/test_ledger.py": "ledger.catboost ledger.lightgbm ledger.qlib ledger.scikit_learn ledger.xgboost",
        "converter/locate/test_artifacts.py": "locate.configuration",
        "converter/locate/test_weights.py": "locate.workspaces session.history session.origin",
        "converter/models/sklearn/test_rounding.py": "evidence.golden models.sklearn.steps models.sklearn.trees",
        "converter/pickles/test_machine_differential.py": "pickles.records",
        "converter/pickles/test_pickles.py": (
            "pickles._calls pickles._child pickles._sharing pickles._state pickles._wire pickles.signed"
        ),
        "converter/pickles/test_pickles_bombs.py": "pickles._keys",
        "converter/processors/test_kinds.py": (
            "nodes.builder processors.fillna processors.normalisation processors.processor processors.selection "
            "processors.sequence"
        ),
        "converter/graph/test_stages.py": "processors.cross_section processors.tanh",
        "converter/evidence/test_training_rows.py": "alphas.ahead evidence.training_statistics",
        "runtime/desk/test_doctor.py": "cli.doctor",
        "runtime/desk/test_completion.py": "cli.completion",
        "runtime/adapters/test_batches.py": "batches mlflow qlib ray spark",
        "test_bars_end_to_end.py": "proof.bars",
        "test_end_to_end.py": (
            "build bundle.created bundle.manifest bundle.sources evidence.comparison proof.eligibility proof.proven "
            "proof.prove proof.request"
        ),
        "test_schema.py": "bundle.schema",
        "test_universes_end_to_end.py": "evidence.universes",
    },
}
"""Modules without a test file of their own name: tests that judge them with their neighbours -> those modules."""
TESTS_OF = {"alphaseal": "runtime", "alphaseal_converter": "converter"}
OF_A_WHOLE = {"runtime/test_imports.py", "runtime/adapters/test_integration_documents.py"}


@cache
def reached(test: Path, distribution: str) -> set[str]:
    """The modules that run in a test: what it names, as text too (programs, options of commands), and what those import."""
    text = test.read_text(encoding="utf-8")
    helpers = [REPOSITORY / f"tests/{name}.py" for name in re.findall(r"^from (\w+) import", text, re.MULTILINE)]
    files = [test, *(helper for helper in helpers if helper.is_file())]
    found = set().union(*(imported(file, distribution) for file in files))
    found |= {distribution} if re.search(rf"^import {distribution}$", text, re.MULTILINE) else set()
    # Families are loaded by the names of a table, and programs are started by their paths.
    for wing in ("families", "isolation"):
        if any(name.startswith(f"{distribution}.{wing}") for name in found):
            found |= {name for name in MODULES[distribution] if name.startswith(f"{distribution}.{wing}.")}
    if f"{distribution}.factors.tracing" in found:
        found |= {name for name in MODULES[distribution] if name.startswith(f"{distribution}.factors.trace.")}
    while more := set().union(*(imported(MODULES[distribution][name], distribution) for name in found)) - found:
        found |= more
    return found


@pytest.mark.parametrize("distribution", WINGS)
def test_every_module_is_tested_where_it_is_looked_for(distribution: str) -> None:
    """In a file of its name in the wing's folder (more than one add a word), or in the one that the table says."""
    with_others = {
        f"{distribution}.{name}": REPOSITORY / "tests" / test
        for test, names in TESTED_WITH[distribution].items()
        for name in names.split()
    }
    without = set()
    for name, path in MODULES[distribution].items():
        folder = REPOSITORY.joinpath("tests", TESTS_OF[distribution], *name.split(".")[1:-1])
        word = path.stem.lstrip("_")
        if path.stem not in {"__init__", "__main__"} and not [
            *folder.glob(f"test_{word}.py"),
            *folder.glob(f"test_{word}_*.py"),
        ]:
            without.add(name)
    assert with_others.keys() == without
    for name, test in with_others.items():
        assert name in reached(test, distribution) or name.rpartition(".")[2] in test.read_text(encoding="utf-8"), name


@pytest.mark.parametrize("distribution", WINGS)
def test_every_test_file_is_named_after_a_module(distribution: str) -> None:
    """Of the wing in whose folder it is, or after the wing itself."""
    tests = REPOSITORY / "tests" / TESTS_OF[distribution]
    root = {"alphaseal": RUNTIME, "alphaseal_converter": CONVERTER}[distribution]
    for test in tests.rglob("test_*.py"):
        wing = root / test.parent.relative_to(tests)
        named = {wing.name, *(path.stem.lstrip("_") for path in wing.glob("*.py"))}
        known = any(f"{test.stem}_".startswith(f"test_{name}_") for name in named)
        assert known or test.relative_to(tests.parent).as_posix() in OF_A_WHOLE, test


PRINTING = {
    "print": {
        "alphaseal/terminal/console.py",
        "alphaseal_converter/programs/replay.py",
        "alphaseal_converter/isolation/places.py",
    },
    "Printable": {"alphaseal/plain_text.py"},
    "complain": {"alphaseal/cli/options.py", "alphaseal/cli/score.py", "alphaseal/terminal/console.py"},
}
"""Who may call what; the programs among them answer the process that started them."""


@pytest.mark.parametrize("path", [*modules(RUNTIME), *modules(CONVERTER)], ids=room)
def test_only_the_console_prints(path: Path) -> None:
    """Nobody else prints or writes to the standard streams, and `Printable` is made where texts are escaped, nowhere else."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PRINTING:
            assert room(path) in PRINTING[node.func.id], f"{path.name}:{node.lineno}"
        # isatty and the like do no harm, and a child's answer is read by its parent.
        if isinstance(node, ast.Attribute) and node.attr in ("write", "writelines") and path.name != "console.py":
            assert ast.unparse(node.value) not in ("sys.stdout", "sys.stderr", "sys.stdout.buffer"), (
                f"{path.name}:{node.lineno}"
            )
