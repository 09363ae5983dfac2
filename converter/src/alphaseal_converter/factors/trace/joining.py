"""``concat``, ``merge``, ``join``: rows of several objects by their day and stock."""

from __future__ import annotations

from typing import Any

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.layout import CLASSES, DATE, KEYS, STOCK, Layout, Token
from alphaseal_converter.factors.recording.operands import joined
from alphaseal_converter.factors.recording.recorder import misplaced, unknown
from alphaseal_converter.factors.recording.values import both, either, kept
from alphaseal_converter.factors.trace.frame import Frame
from alphaseal_converter.factors.trace.series import Series


def _frame(one: Any, place: int) -> Frame:
    if isinstance(one, Series):
        return Frame.of([(place if one.name is None else one.name, one.node)], one.layout)  # type: ignore[no-any-return]
    return one if isinstance(one, Frame) else unknown("concat", f"of {type(one).__name__}")


def concat(
    objs: Any,
    axis: Any = 0,
    join: str = "outer",
    ignore_index: bool = False,
    keys: Any = None,
    names: Any = None,
    **named: Any,
) -> Any:
    """``pandas.concat``."""
    if isinstance(objs, dict):
        keys, objs = list(objs), list(objs.values())
    objs = [one for one in objs if one is not None]
    if not objs:
        raise ValueError("No objects to concatenate")
    if axis in (1, "columns"):
        return _beside(objs, join, keys)
    return _below(objs, keys, names, ignore_index)


def _beside(objs: list[Any], join: str, keys: Any) -> Frame:
    frames = [_frame(one, place) for place, one in enumerate(objs)]
    layout = joined([Series(_first(one), one.layout) for one in frames], lambda nodes: nodes[0]).layout
    if join == "inner":
        rows = frames[0].layout.rows
        for one in frames[1:]:
            rows = both(rows, one.layout.rows)
        layout = layout.but(rows=rows)
    cells = []
    for one in frames:
        for name, cell in one.cells:
            cells.append((name, kept(cell, one.layout.rows, layout.rows) if isinstance(cell, Node) else cell))
    if keys is not None:
        if any(len(one.cells) != 1 for one in frames):
            unknown("concat of columns", "with keys")
        cells = [(key, cell) for key, (_, cell) in zip(keys, cells, strict=True)]
    return Frame.of(cells, layout)  # type: ignore[no-any-return]


def _first(frame: Frame) -> Node:
    nodes = [cell for _, cell in frame.cells if isinstance(cell, Node)]
    return nodes[0] if nodes else unknown("concat", "of a frame without values")


def _below(objs: list[Any], keys: Any, names: Any, ignore_index: bool) -> Any:
    """The parts that a loop over groups made: one stands for all, and all must be the same."""
    first = objs[0]
    layout: Layout = first.layout
    if any(one.layout.kind not in ("stock", "date") for one in objs):
        found = [one for one in objs if one.layout.kind == "table"]
        if len(found) == len(objs) == 1:
            return first
        if not found or any(one.layout.kind not in ("stock", "date", "table") for one in objs):
            return unknown("concat of rows")
        # A loop that puts the next part below what it has.
        if all(_cells(one) == _cells(first) and one.layout.rows is layout.rows for one in objs):
            return found[0]
        return unknown("concat of rows", "of different tables")
    if any(_cells(one) != _cells(first) or one.layout.but(labels=None) != layout.but(labels=None) for one in objs):
        return unknown("loop over groups", "one round carries something to the next, or rounds differ")
    by = STOCK if layout.kind == "stock" else DATE
    levels = layout.levels
    if keys is not None:
        if not all(isinstance(key, Token) and key.level == by for key in keys):
            unknown("concat", "with keys that are not those of the groups")
        levels = (by, *levels)
        if names is not None and list(names)[:1] != [by]:
            unknown("concat", f"with the names {names}")
    has_keys = isinstance(first, Frame) and set(KEYS) <= {
        cell for _, cell in first.cells if isinstance(cell, str)
    } | set(levels)
    if ignore_index:
        levels = ("",)
    elif set(levels) != set(KEYS) and levels != ("",) and not has_keys:
        unknown("concat of rows", "they do not know their stock and day any more")
    changed = layout.but(kind="table", order="stock" if by == STOCK else "day", levels=levels)
    if ignore_index:
        changed = changed.but(labels=object())
    return first.under(changed)


def _cells(one: Any) -> Any:
    return [cell for _, cell in one.cells] if isinstance(one, Frame) else [one.node]


def merge(
    left: Frame,
    right: Any,
    how: str = "inner",
    on: Any = None,
    left_on: Any = None,
    right_on: Any = None,
    left_index: bool = False,
    right_index: bool = False,
    suffixes: Any = ("_x", "_y"),
    **named: Any,
) -> Any:
    """``left.merge(right, …)`` by day and stock."""
    if isinstance(right, Series):
        right = right.to_frame()
    named.pop("sort", None), named.pop("copy", None), named.pop("validate", None)
    if named or how not in ("left", "inner", "outer", "right"):
        unknown("merge", f"how={how!r} {sorted(named)}")
    if left_on is not None or right_on is not None:
        if left_on != right_on:
            unknown("merge", "by columns of different names")
        on = left_on
    if left_index and right_index:
        if on is not None or not left.layout.same_labels(right.layout):
            unknown("merge", "by indices of different kinds")
        return _merged(left, right, how, suffixes, [], left.layout.levels)
    if left_index or right_index:
        unknown("merge", "of an index with columns")
    names = (
        [on] if isinstance(on, str) else list(on) if on is not None else [n for n in left.columns if n in right.columns]
    )
    keys = [_key(left, name) for name in names]
    if [_key(right, name) for name in names] != keys or set(keys) != set(KEYS):
        if keys == [DATE] and right.layout.kind == "day":
            return _by_date(left, right, how, suffixes)
        unknown("merge", f"by {names}: day and stock are expected")
    levels = (
        left.layout.levels
        if set(left.layout.levels) == set(right.layout.levels) == set(KEYS)
        and all(name in left.layout.levels for name in names)
        else ("",)
    )
    return _merged(left, right, how, suffixes, names, levels)


def _key(frame: Frame, name: Any) -> Any:
    cell = dict(frame.cells).get(name)
    if cell is None and name in frame.layout.levels:
        return name
    if isinstance(cell, Node):
        return unknown("merge", f"by values of {name}")
    if cell is None:
        raise KeyError(name)
    return cell


def _by_date(left: Frame, right: Frame, how: str, suffixes: Any) -> Frame:
    """Values of a day beside all of its rows."""
    if how != "left":
        return unknown("merge by date", f"how={how!r}")
    days = right.layout.rows
    cells = [(name, kept(cell, days, left.layout.rows)) for name, cell in right.cells if isinstance(cell, Node)]
    if {name for name, _ in cells} & set(left.columns):
        return unknown("merge by date", "columns of the same names")
    return Frame.of([*left.cells, *cells], left.layout.but(levels=("",), labels=object()))  # type: ignore[no-any-return]


def _merged(left: Frame, right: Frame, how: str, suffixes: Any, on: list[Any], levels: Any) -> Frame:
    mine, its = left.layout.rows, right.layout.rows
    rows = {
        "left": lambda: mine,
        "right": lambda: its,
        "inner": lambda: both(mine, its),
        "outer": lambda: either(mine, its),
    }[how]()
    order = left.layout.order if how in ("left", "inner") else right.layout.order if how == "right" else "day"
    labels = object() if levels == ("",) else left.layout.labels
    layout = left.layout.but(rows=rows, order=order, levels=levels, labels=labels)
    taken = {name for name in left.columns if name not in on} & {name for name in right.columns if name not in on}
    cells = []
    for frame, suffix, rows_of in ((left, suffixes[0], mine), (right, suffixes[1], its)):
        for name, cell in frame.cells:
            if frame is right and (name in on or not isinstance(cell, Node)):
                continue
            label = f"{name}{suffix or ''}" if name in taken else name
            cells.append((label, kept(cell, rows_of, rows) if isinstance(cell, Node) else cell))
    return Frame.of(cells, layout)  # type: ignore[no-any-return]


def join(left: Frame, other: Any, on: Any = None, how: str = "left", lsuffix: str = "", rsuffix: str = "") -> Any:
    """``left.join(other)`` by index."""
    others = other if isinstance(other, list | tuple) else [other]
    for place, one in enumerate(others):
        right = _frame(one, place)
        if right.layout.kind == "day" and left.layout.kind == "table":
            if on not in (None, DATE, [DATE]) or how != "left":
                unknown("join by date", f"on={on!r}, how={how!r}")
            kept_levels = left.layout
            left = _by_date(left, right, how, (lsuffix, rsuffix)).under(kept_levels)
            continue
        if on is not None and list(on) != list(right.layout.levels):
            unknown("join", f"on={on!r}")
        if on is None and not left.layout.same_labels(right.layout):
            if set(left.layout.levels) & set(right.layout.levels):
                unknown("join", f"of {left.layout.levels} with {right.layout.levels}")
            misplaced("join", "of different indices")
        clash = set(left.columns) & set(right.columns)
        if clash and not (lsuffix or rsuffix):
            raise ValueError(f"columns overlap but no suffix specified: {sorted(map(str, clash))}")
        left = _merged(left, right, how, (lsuffix, rsuffix), [], left.layout.levels)
    return left


CLASSES.update(merge=merge, join=join)
