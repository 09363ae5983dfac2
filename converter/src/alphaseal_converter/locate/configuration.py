"""The run's ``task`` artefact: the plain configuration that qlib trained from, typed.

It is what was rendered and run; the YAML files of the workspace are templates, and mlflow's ``params`` are cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.frequency import require_days

Segment = tuple[date | None, date | None]


@dataclass(frozen=True)
class Component:
    """One ``{class, module_path, kwargs}`` block; a dotted class name is split into module and class."""

    class_name: str
    module: str | None
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Expression:
    """One column that a qlib loader computes: its name and its expression."""

    name: str
    expression: str


@dataclass(frozen=True)
class Loader:
    """A data loader: its own columns in its own order, tables it joins, and the loaders nested in it.

    `features` is empty where the class brings its own list (``Alpha158DL`` without configuration) or has none.
    `static_paths` are the paths of joined tables as written.
    """

    class_name: str
    module: str | None
    features: tuple[Expression, ...]
    labels: tuple[Expression, ...]
    static_paths: tuple[str, ...]
    children: tuple[Loader, ...]

    def walk(self) -> Iterator[Loader]:
        """This loader and all below it, in the order qlib loads them."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def computed(self) -> tuple[Expression, ...]:
        """The columns that this loader and those below it compute, in the order of `walk`."""
        return tuple(feature for part in self.walk() for feature in part.features)


_NO_COMPONENT = Component("", None, {})


@dataclass(frozen=True)
class TaskConfiguration:
    """What the run was configured to do.  `plain` is the whole artefact; the fields are what the converter uses.

    `loader` is None where the handler class builds its own (``Alpha158``).  Dates without a value are None.  Without
    arguments it is that of a run whose task is gone: nothing is known of it, and `recorded` is False.
    """

    plain: Mapping[str, Any] = field(default_factory=dict)
    model: Component = _NO_COMPONENT
    dataset: Component = _NO_COMPONENT
    step_len: int | None = None
    handler: Component = _NO_COMPONENT
    loader: Loader | None = None
    labels: tuple[Expression, ...] = ()
    infer_processors: tuple[Component, ...] = ()
    learn_processors: tuple[Component, ...] = ()
    segments: Mapping[str, Segment] = field(default_factory=dict)
    instruments: str | tuple[str, ...] | None = None
    start: date | None = None
    end: date | None = None
    strategy: Component | None = None
    backtest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recorded(self) -> bool:
        return bool(self.plain)

    @property
    def training_segment(self) -> tuple[date, date] | None:
        """First and last date of the training segment, where the configuration has both."""
        first, last = self.segments.get("train", (None, None))
        return (first, last) if first is not None and last is not None else None

    @property
    def benchmark(self) -> str | None:
        value = self.backtest.get("benchmark")
        return value if isinstance(value, str) else None

    @property
    def costs(self) -> Mapping[str, Any]:
        """The exchange's arguments: open_cost, close_cost, min_cost, limit_threshold, deal_price."""
        value = self.backtest.get("exchange_kwargs")
        return value if isinstance(value, dict) else {}


def parse_task_configuration(plain: Any, where: str) -> TaskConfiguration:
    """The typed view of a decoded ``task`` artefact; a block that is missing is `RefusalError` ``task.form``, another
    frequency than days ``run.frequency``."""
    root = _mapping(plain, "", where)
    dataset = component(root.get("dataset"), "dataset", where)
    require_days(dataset.kwargs, where)
    handler = component(dataset.kwargs.get("handler"), "dataset.kwargs.handler", where)
    settings = handler.kwargs
    loader_block = settings.get("data_loader")
    loader = _loader(loader_block, "data_loader", where) if loader_block is not None else None
    strategy, backtest = _portfolio(root.get("record"), where)
    step_len = dataset.kwargs.get("step_len")
    labels = expressions(settings.get("label"))
    return TaskConfiguration(
        plain=root,
        model=component(root.get("model"), "model", where),
        dataset=dataset,
        step_len=step_len if isinstance(step_len, int) and not isinstance(step_len, bool) else None,
        handler=handler,
        loader=loader,
        labels=labels or (tuple(label for part in loader.walk() for label in part.labels) if loader else ()),
        infer_processors=_components(settings.get("infer_processors"), "infer_processors", where),
        learn_processors=_components(settings.get("learn_processors"), "learn_processors", where),
        segments=parse_segments(dataset.kwargs.get("segments")),
        instruments=parse_instruments(settings.get("instruments")),
        start=parse_date(settings.get("start_time")),
        end=parse_date(settings.get("end_time")),
        strategy=strategy,
        backtest=backtest,
    )


def component(value: Any, path: str, where: str) -> Component:
    """One block of the configuration; a bare string is a class without arguments."""
    block = {"class": value} if isinstance(value, str) else _mapping(value, path, where)
    name = block.get("class")
    if not isinstance(name, str):
        raise RefusalError(
            "task.form", "a block of the configuration names no class", where=f"{where}: {path}", expected="class"
        )
    prefix, _, last = name.rpartition(".")
    module = block.get("module_path")
    kwargs = block.get("kwargs")
    return Component(
        class_name=last,
        module=module if isinstance(module, str) and module else prefix or None,
        kwargs=kwargs if isinstance(kwargs, dict) else {},
    )


def expressions(value: Any) -> tuple[Expression, ...]:
    """qlib's two forms of columns: ``[expressions, names]``, or one list of expressions that name themselves."""
    if not isinstance(value, list | tuple) or not value:
        return ()
    if _all_text(value):
        return tuple(Expression(entry, entry) for entry in value)
    if len(value) == 2 and all(_all_text(part) for part in value) and len(value[0]) == len(value[1]):
        return tuple(Expression(name, text) for text, name in zip(*value, strict=True))
    return ()


def _all_text(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value)


def parse_segments(value: Any) -> dict[str, Segment]:
    """``{train: [from, to], …}`` with dates; a segment that is not a pair is left out."""
    if not isinstance(value, dict):
        return {}
    pairs = {str(name): pair for name, pair in value.items() if isinstance(pair, list | tuple) and len(pair) == 2}
    return {name: (parse_date(pair[0]), parse_date(pair[1])) for name, pair in pairs.items()}


def parse_date(value: Any) -> date | None:
    """A date from a date, a datetime or text that begins with YYYY-MM-DD; None for anything else."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value[:10])
        except ValueError:
            return None
    return None


def parse_instruments(value: Any) -> str | tuple[str, ...] | None:
    """A market's name or a list of codes; qlib's other forms (a dict with filters) are None."""
    if isinstance(value, str):
        return value
    return tuple(value) if _all_text(value) else None


def _loader(value: Any, path: str, where: str) -> Loader:
    block = component(value, path, where)
    children = block.kwargs.get("dataloader_l")
    nested = children if isinstance(children, list | tuple) else ()
    fields = _fields(block.kwargs)
    return Loader(
        class_name=block.class_name,
        module=block.module,
        features=expressions(fields.get("feature")),
        labels=expressions(fields.get("label")),
        static_paths=tuple(_paths({k: v for k, v in block.kwargs.items() if k != "dataloader_l"})),
        children=tuple(_loader(child, f"{path}.dataloader_l[{n}]", where) for n, child in enumerate(nested)),
    )


def _fields(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``{feature, label}`` part: the arguments themselves (custom loaders), or one argument (``config``, …)."""
    for candidate in (kwargs, *(value for value in kwargs.values() if isinstance(value, dict))):
        if expressions(candidate.get("feature")) or expressions(candidate.get("label")):
            return candidate
    return {}


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.endswith((".parquet", ".pkl", ".h5", ".csv")):
            yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _paths(entry)


def _components(value: Any, path: str, where: str) -> tuple[Component, ...]:
    entries = value if isinstance(value, list | tuple) else ()
    return tuple(component(entry, f"{path}[{number}]", where) for number, entry in enumerate(entries))


def _portfolio(value: Any, where: str) -> tuple[Component | None, Mapping[str, Any]]:
    records = _components([value] if isinstance(value, dict) else value, "record", where)
    for record in records:
        config = record.kwargs.get("config")
        if record.class_name == "PortAnaRecord" and isinstance(config, dict):
            strategy = config.get("strategy")
            backtest = config.get("backtest")
            found = component(strategy, "record.strategy", where) if strategy is not None else None
            return found, backtest if isinstance(backtest, dict) else {}
    return None, {}


def _mapping(value: Any, path: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusalError(
            "task.form",
            "the configuration lacks a block",
            where=f"{where}: {path}" if path else where,
            expected="a mapping",
            found=type(value).__name__,
        )
    return value
