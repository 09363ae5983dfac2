"""Raw feature values of one run, asked from qlib: a program of its own, run by the research environment's Python.

    PYTHON programs/replay.py [--request REQUEST.json]          (without --request the JSON comes on stdin)

It is handed the run's plain task configuration and writes what the run's data loader returned before any processor.
It imports nothing of alphaseal_converter, unpickles nothing, and evaluates only what it has checked: qlib turns
feature expressions into Python code, so each expression must first pass a grammar of its own.

Request: ``{task, workspace, provider, path_map, start, end, out, allow_workspace_code}``

    task                  dict with "dataset" (dates as ISO strings), as qlib stored it
    workspace             directory of the run's workspace: relative parquet paths start there
    provider              directory of qlib's market data, or null: the `provider_uri` of the workspace's YAML files
    path_map              [[from, to], ...] prefixes of the producer's absolute paths and what they are here
    start, end            first and last date wanted; the result never leaves the span that the run itself loaded
    out                   parquet file to write: datetime, instrument, then the features in the loader's order
    allow_workspace_code  true: a loader class that is neither qlib's nor known here may be imported from the workspace

The schema metadata of `out` has the key ``alphaseal.loader_order`` (JSON list of names) and ``alphaseal.versions``.
Reply: one JSON line on stdout, ``{"ok": true, "rows", "features"}`` (exit 0) or ``{"ok": false, "code", "message",
"next"}`` (exit 20).
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

REFUSED = 20
INDEX = ("datetime", "instrument")


class Refusal(Exception):
    """The run's features cannot be asked from qlib safely; becomes the reply."""

    def __init__(self, code: str, message: str, next_step: str | None = None) -> None:
        super().__init__(message)
        self.code = f"replay.{code}"
        self.next_step = next_step


# --- paths ------------------------------------------------------------------------------------------------------------


def here(path: str, path_map: list[list[str]]) -> str:
    """A path of the producer's machine as it is on this one: the longest matching prefix of the map replaced."""
    slashed = path.replace("\\", "/")
    for source, target in sorted(path_map, key=lambda pair: -len(pair[0])):
        prefix = source.replace("\\", "/").rstrip("/")
        if slashed == prefix or slashed.startswith(prefix + "/"):
            return target.rstrip("/\\") + slashed[len(prefix) :]
    return path


def is_absolute(path: str) -> bool:
    """Whether a path is absolute on any system: the producer's may differ from ours."""
    return PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()


class Places:
    """Where the files of the run are now."""

    def __init__(self, workspace: Path, path_map: list[list[str]]) -> None:
        self.workspace = workspace
        self.path_map = path_map

    def parquet(self, path: str) -> Path:
        """The parquet file that a loader names: below the workspace, through the map, or by its name there."""
        tried = [self.workspace / path]
        if is_absolute(path):
            tried = [Path(here(path, self.path_map)), self.workspace / PureWindowsPath(path).name]
        for candidate in tried:
            if candidate.is_file():
                return candidate
        looked = ", ".join(str(candidate) for candidate in tried)
        what = f"the loader's table {path} is not there, looked at {looked}"
        raise Refusal("parquet_missing", what, "say where its folder is now with --map FROM=TO")

    def provider(self, given: str | None) -> Path:
        """The market data: the directory given, else the one that the workspace's YAML files name."""
        named = [given] if given else self._providers_in_yaml()
        there = [path for path in (Path(name).expanduser() for name in named) if (path / "calendars").is_dir()]
        if len(there) != 1:
            what = f"no market data at {', '.join(named) or 'any place the workspace names'}"
            if there:
                what = f"several market data are named: {', '.join(str(path) for path in there)}"
            raise Refusal("provider", what, "name qlib's data directory with --provider DIR")
        return there[0]

    def _providers_in_yaml(self) -> list[str]:
        # The files may be unrendered Jinja, which no YAML reader takes; RD-Agent writes this line literally.
        line = re.compile(r"""^\s*provider_uri:\s*["']?([^"'\n{#]+?)["']?\s*(?:#.*)?$""", re.MULTILINE)
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(self.workspace.glob("*.y*ml"))]
        return sorted({here(found, self.path_map) for text in texts for found in line.findall(text)})


# --- expressions ------------------------------------------------------------------------------------------------------

FIELD = re.compile(r"\${1,2}\w+")
NODES = (
    ast.Expression, ast.Load, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Name, ast.Constant,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr, ast.USub, ast.UAdd,
    ast.Gt, ast.GtE, ast.Lt, ast.LtE, ast.Eq, ast.NotEq, ast.keyword,
)  # fmt: skip


def check_expression(expression: Any, operators: frozenset[str]) -> None:
    """Refuse what is not arithmetic on fields and qlib's operators: qlib passes expressions to `eval`."""
    try:
        if not isinstance(expression, str) or len(expression) > 10_000:
            raise SyntaxError
        tree = ast.parse(FIELD.sub("field", expression).strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Refusal("expression", f"not a feature expression: {str(expression)[:200]!r}") from None
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        allowed = isinstance(node, NODES)
        if isinstance(node, ast.Name):
            allowed = node.id in operators if id(node) in called else node.id == "field"
        elif isinstance(node, ast.Call):
            allowed = isinstance(node.func, ast.Name)
        elif isinstance(node, ast.Constant):
            word = isinstance(node.value, str) and re.fullmatch(r"[\w.-]*", node.value)
            allowed = isinstance(node.value, int | float) or bool(word)
        if not allowed:
            what = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
            raise Refusal("expression", f"{what[:100]!r} is not allowed in the feature expression {expression[:200]!r}")


def qlib_operators() -> frozenset[str]:
    """Names of the operators that come with the installed qlib."""
    return frozenset(operator.__name__ for operator in importlib.import_module("qlib.data.ops").OpsList) | {"P", "PRef"}


# --- the run's loader -------------------------------------------------------------------------------------------------


def class_of(config: Any, default_module: str) -> tuple[str, str]:
    """(module, class name) of one `{class, module_path, kwargs}` block, resolved as qlib does."""
    if not isinstance(config, dict) or not isinstance(config.get("class"), str):
        # A string here would be a pickle for qlib ("file://..."): never followed.
        raise Refusal("configuration", f"expected a block with a class name, found {str(config)[:200]!r}")
    name = config["class"]
    module = config.get("module_path") or default_module
    if "." in name:
        module, name = name.rsplit(".", 1)
    return str(module), name


class Loaders:
    """Builds data loaders from configuration blocks; no class is looked up by a name from the file."""

    def __init__(self, places: Places, allow_workspace_code: bool) -> None:
        self.places = places
        self.allow_workspace_code = allow_workspace_code
        self.operators = qlib_operators()
        self.of_qlib = importlib.import_module("qlib.data.dataset.loader")
        self.of_contrib = importlib.import_module("qlib.contrib.data.loader")
        self.builders: dict[str, Callable[[dict[str, Any]], Any]] = {
            "NestedDataLoader": self._nested,
            "StaticDataLoader": self._static,
            "QlibDataLoader": self._expressions(self.of_qlib.QlibDataLoader),
            "Alpha158DL": self._expressions(self.of_contrib.Alpha158DL),
            "Alpha360DL": self._expressions(self.of_contrib.Alpha360DL),
        }

    def build(self, config: Any) -> Any:
        """One loader from its block."""
        module, name = class_of(config, "qlib.data.dataset.loader")
        arguments = dict(config.get("kwargs") or {})
        if module.startswith("qlib."):
            if name not in self.builders:
                raise Refusal("loader_unknown", f"qlib's data loader {module}.{name} is not one the replay knows")
            return self.builders[name](arguments)
        if len(parquets_in(arguments)) == 1 and alpha_of(arguments) is not None:
            return self._joined(module, name, arguments)
        return self._of_workspace(module, name, arguments)

    def handler_loader(self, config: Any) -> Any:
        """The loader of a data handler block; the handler's processors are not built, so nothing is fitted."""
        module, name = class_of(config, "qlib.contrib.data.handler")
        arguments = dict(config.get("kwargs") or {})
        if not module.startswith("qlib."):
            raise Refusal("handler_unknown", f"the data handler {module}.{name} is not qlib's own")
        if name in ("DataHandlerLP", "DataHandler"):
            return self.build(arguments.get("data_loader"))
        if name not in ("Alpha158", "Alpha158vwap", "Alpha360", "Alpha360vwap"):
            raise Refusal("handler_unknown", f"qlib's data handler {module}.{name} is not one the replay knows")
        self._check_pipes(arguments)
        self._check_fields(arguments.get("label", []))
        kept = {key: arguments[key] for key in ("instruments", "freq", "label") if key in arguments}
        handler = getattr(importlib.import_module("qlib.contrib.data.handler"), name)
        return handler(**kept, infer_processors=[], learn_processors=[], init_data=False).data_loader

    def _check_pipes(self, arguments: dict[str, Any]) -> None:
        for key in ("filter_pipe", "inst_processors"):
            if arguments.get(key):
                raise Refusal("filters", f"the run's loader uses {key}, which the replay does not re-make")

    def _check_fields(self, fields: Any) -> None:
        """Expressions in qlib's forms: [expr, ...] or [[expr, ...], [name, ...]]."""
        if not isinstance(fields, list | tuple):
            raise Refusal("configuration", f"expected a list of expressions, found {str(fields)[:200]!r}")
        for expression in fields[0] if fields and isinstance(fields[0], list | tuple) else fields:
            check_expression(expression, self.operators)

    def _expressions(self, loader: Any) -> Callable[[dict[str, Any]], Any]:
        def build(arguments: dict[str, Any]) -> Any:
            self._check_pipes(arguments)
            config = arguments.get("config")
            for fields in config.values() if isinstance(config, dict) else [] if config is None else [config]:
                self._check_fields(fields)
            kept = {key: arguments[key] for key in ("config", "freq", "swap_level") if key in arguments}
            return loader(**kept)

        return build

    def _nested(self, arguments: dict[str, Any]) -> Any:
        parts = [self.build(part) for part in arguments.get("dataloader_l") or []]
        return self.of_qlib.NestedDataLoader(dataloader_l=parts, join=arguments.get("join", "left"))

    def _static(self, arguments: dict[str, Any]) -> Any:
        path = arguments.get("config")
        if not isinstance(path, str) or not path.strip().endswith(".parquet"):
            # qlib would unpickle any other file.
            raise Refusal("static_loader", f"StaticDataLoader of {str(path)[:200]!r} is not a parquet file")
        return self.of_qlib.StaticDataLoader(config=str(self.places.parquet(path)), join=arguments.get("join", "outer"))

    def _joined(self, module: str, name: str, arguments: dict[str, Any]) -> Any:
        """A loader class of the run that joins alpha expressions with a parquet, re-made from its arguments."""
        (argument,) = parquets_in(arguments)
        unknown = sorted(set(arguments) - {argument, *ALPHA_ARGUMENTS, *CHECKING_ARGUMENTS})
        if unknown and self.allow_workspace_code:
            return self._of_workspace(module, name, arguments)
        if unknown:
            what = f"{module}.{name} has arguments the replay cannot re-make: {', '.join(unknown)}"
            raise Refusal("loader_arguments", what, RUN_CODE)
        join = arguments.get("join", "left")
        if join not in ("left", "right", "inner", "outer"):
            raise Refusal("loader_arguments", f"{module}.{name} has an unknown join {join!r}")
        base = self.builders["Alpha158DL"]({"config": alpha_of(arguments)})
        return joined_loader(self.of_qlib.DataLoader, base, self.places.parquet(arguments[argument]), join)

    def _of_workspace(self, module: str, name: str, arguments: dict[str, Any]) -> Any:
        if not self.allow_workspace_code:
            what = f"the data loader {module}.{name} is neither qlib's nor known here"
            raise Refusal("loader_unknown", what, RUN_CODE)
        if not re.fullmatch(r"\w+", module) or not (self.places.workspace / f"{module}.py").is_file():
            raise Refusal("loader_unknown", f"the workspace has no {module}.py for the data loader {name}")
        os.chdir(self.places.workspace)  # its relative paths start there, as in the run
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(self.places.workspace))
        return getattr(importlib.import_module(module), name)(**arguments)


RUN_CODE = "if you trust the workspace's code, allow it with --run-model-code"
ALPHA_ARGUMENTS = ("feature", "label", "alpha158_config")
# What the known loaders check or how they join; none of these changes a value or the order of columns.
CHECKING_ARGUMENTS = ("join", "min_dynamic_non_nan_ratio", "min_instrument_overlap_ratio", "enforce_instrument_format")


def parquets_in(arguments: dict[str, Any]) -> list[str]:
    """Names of the arguments that name a parquet file."""
    return [key for key, value in arguments.items() if isinstance(value, str) and value.strip().endswith(".parquet")]


def alpha_of(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """The `{feature, label}` expressions among a loader's arguments, given flat or as one block; None without any."""
    block = arguments.get("alpha158_config")
    if isinstance(block, dict) and "feature" not in arguments:
        return dict(block)
    if "feature" in arguments and block is None:
        return {key: arguments[key] for key in ("feature", "label") if arguments.get(key)}
    return None


def joined_loader(base_class: Any, base: Any, parquet: Path, join: str) -> Any:
    """Alpha columns in written order, then the parquet's columns in file order, joined by (datetime, instrument)."""
    pandas = importlib.import_module("pandas")

    class JoinedLoader(base_class):  # type: ignore[misc]
        """qlib's NestedDataLoader takes part loaders only as instances of its own base class."""

        def load(self, instruments: Any = None, start_time: Any = None, end_time: Any = None) -> Any:
            alpha = base.load(instruments, start_time, end_time)
            table = pandas.read_parquet(parquet, engine="pyarrow")
            if set(INDEX) <= set(table.columns):
                table = table.set_index(list(INDEX))
            if set(table.index.names) != set(INDEX):
                raise Refusal("parquet_index", f"{parquet.name} is not indexed by datetime and instrument")
            table = table.reorder_levels(list(INDEX)).sort_index()
            names = [str(column[-1] if isinstance(column, tuple) else column) for column in table.columns]
            table.columns = pandas.MultiIndex.from_product([["feature"], names])
            both = sorted({column[-1] for column in alpha.columns} & set(names))
            if both:
                what = f"in both the alpha expressions and {parquet.name}: {', '.join(both)}"
                raise Refusal("duplicate_feature", what)
            return alpha.join(table.loc[start_time:end_time], how=join).sort_index()

    return JoinedLoader()


def check_instruments(instruments: Any) -> Any:
    """A market's name or a list of instruments; filters would build classes named by the file."""
    if isinstance(instruments, dict) and not instruments.get("filter_pipe"):
        instruments = instruments.get("market")
    if isinstance(instruments, str) and re.fullmatch(r"[\w.-]+", instruments):
        return instruments
    if isinstance(instruments, list) and all(isinstance(code, str) for code in instruments):
        return instruments
    raise Refusal("instruments", f"expected a market's name or a list of instruments, found {str(instruments)[:200]!r}")


# --- loading and writing ----------------------------------------------------------------------------------------------


def handler_of(task: Any) -> dict[str, Any]:
    """The data handler's block of a task configuration."""
    dataset = task.get("dataset") if isinstance(task, dict) else None
    arguments = dataset.get("kwargs") if isinstance(dataset, dict) else None
    handler = arguments.get("handler") if isinstance(arguments, dict) else None
    class_of(handler, "qlib.contrib.data.handler")
    return handler if isinstance(handler, dict) else {}


def raw_features(request: dict[str, Any]) -> Any:
    """DataFrame (datetime, instrument) x feature names, as the run's loader returned it, cut to the dates wanted."""
    places = Places(Path(request["workspace"]), request.get("path_map") or [])
    handler = handler_of(request.get("task"))
    span = handler.get("kwargs") or {}
    provider = places.provider(request.get("provider"))
    try:
        qlib = importlib.import_module("qlib")
    except ImportError as error:
        what = f"{sys.executable} cannot import qlib: {error}"
        raise Refusal("no_qlib", what, "name the Python of the research environment with --replay-with") from None
    # Caches on disk are pickles: off, whatever the environment's defaults are.
    qlib.init(provider_uri=str(provider), region="cn", kernels=1, expression_cache=None, dataset_cache=None)
    loader = Loaders(places, bool(request.get("allow_workspace_code"))).handler_loader(handler)
    # The whole span of the run is loaded and cut afterwards: pandas' rolling sums carry rounding from their first row
    # on, so only the same first row gives the same bits.
    start, end = span.get("start_time"), span.get("end_time")
    frame = loader.load(check_instruments(span.get("instruments", "csi500")), start, end).sort_index()
    if frame.columns.nlevels > 1:
        frame = frame["feature"]
    frame.columns = [str(column) for column in frame.columns]
    twice = sorted({*frame.columns[frame.columns.duplicated()], *frame.columns.intersection(INDEX)})
    if twice:
        raise Refusal("duplicate_feature", f"several columns of one name: {', '.join(twice)}")
    wanted = (request.get("start"), request.get("end"))
    frame = frame.loc[slice(*wanted)]
    if frame.empty:
        raise Refusal("no_rows", f"the run loaded {start} to {end}, nothing of it lies in {wanted[0]} to {wanted[1]}")
    return frame


def write(frame: Any, out: Path) -> None:
    """Write the frame at `out`, whole or not at all; columns keep order and dtype."""
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    order = list(frame.columns)
    table = arrow.Table.from_pandas(frame.reset_index()[[*INDEX, *order]], preserve_index=False)
    modules = ("qlib", "pandas", "numpy", "pyarrow")
    versions = {name: str(importlib.import_module(name).__version__) for name in modules}
    added = {
        "alphaseal.loader_order": json.dumps(order, ensure_ascii=False),
        "alphaseal.versions": json.dumps(versions | {"python": ".".join(map(str, sys.version_info[:3]))}),
    }
    part = out.with_name(out.name + ".part")
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **added})
    parquet.write_table(table, part, compression="zstd")
    part.replace(out)


def answer(text: str) -> dict[str, Any]:
    """Carry out one request."""
    request = json.loads(text)
    frame = raw_features(request)
    write(frame, Path(request["out"]))
    return {"ok": True, "rows": len(frame), "features": frame.shape[1]}


def main() -> int:
    """Command line entry; see the module's text."""
    parser = argparse.ArgumentParser(description="Raw feature values of one qlib run.")
    parser.add_argument("--request", type=Path, help="JSON file; without it the request is read from stdin")
    options = parser.parse_args()
    # The folder of this file has modules named like the standard library's (`select`), which others then would import.
    folder = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != folder]
    reply_to, sys.stdout = sys.stdout, sys.stderr  # whatever the libraries print, stdout holds one line
    reply: dict[str, Any]
    try:
        reply = answer(options.request.read_text(encoding="utf-8") if options.request else sys.stdin.read())
    except Refusal as refusal:
        reply = {"ok": False, "code": refusal.code, "message": str(refusal), "next": refusal.next_step}
    except Exception as error:  # noqa: BLE001 - the end of the program: qlib raises anything, the caller gets one line
        what = f"{type(error).__name__}: {error}"[:2000]
        reply = {"ok": False, "code": "replay.failed", "message": what, "next": None}
    print(json.dumps(reply), file=reply_to)
    return 0 if reply["ok"] else REFUSED


if __name__ == "__main__":
    sys.exit(main())
