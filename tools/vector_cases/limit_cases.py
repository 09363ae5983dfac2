"""Bounds that need large input to be reached, drift from the training values, and holdings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alphaseal.format.manifest import MAXIMUM_TOTAL
from alphaseal.format.strict_json import MAXIMUM_BRACKETS, MAXIMUM_COMMAS
from vector_cases import tables
from vector_cases.base import UNSIGNED, Case, both, bundle, put
from vector_cases.graph_cases import window_bundle
from vector_cases.graphs import attribute, node, with_nodes

DATE = "2024-01-03"
_MANIFEST = "bundle/manifest.json"
_STATISTICS = {
    "first": "2020-01-02",
    "last": "2023-12-29",
    "source": "by hand",
    "rows": 1000,
    "null_ratio": 0.0,
    "infinite_ratio": 0.0,
    "quantiles": {"min": -1.0, "0.01": -0.5, "0.99": 0.25, "max": 0.375},
}
"""Of CLOSE5, which is 0.5, inf and -0.0 on the date."""
_STRATEGY = {
    "class_name": "TopkDropoutStrategy",
    "module": "qlib.contrib.strategy",
    "arguments": {"signal": "<PRED>", "topk": 2, "n_drop": 1},
}


def cases() -> Iterator[Case]:
    yield from _parts_of_json()
    yield from _sizes()
    yield from _windows()
    yield from _rows()
    yield from _drift()
    yield from _holdings()


def _parts_of_json() -> Iterator[Case]:
    """Arrays of so many parts are JSON, and no manifest: at the bound the version is looked at."""
    for name, before, text, count, bound in (
        ("brackets", "[", "[],", MAXIMUM_BRACKETS - 2, f"{MAXIMUM_BRACKETS} arrays and objects"),
        ("commas", "[", "0,", MAXIMUM_COMMAS, f"{MAXIMUM_COMMAS} commas"),
    ):
        after = "[]]" if name == "brackets" else "0]"
        for more in (0, 1):
            step = {"op": "repeat", "path": _MANIFEST, "before": before, "text": text, "count": count + more}
            yield Case(
                f"json_{name}_{'too_many' if more else 'at_the_bound'}",
                f"V3: manifest.json is an array, of {'one more than ' if more else ''}{bound}.",
                "verify",
                UNSIGNED,
                10,
                "json.size" if more else "manifest.version",
                bundle(),
                [step | {"after": after}],
            )


def _sizes() -> Iterator[Case]:
    rest = sum(len(data) for path, data in bundle().items() if path != _MANIFEST)
    golden = len(tables.golden())
    for name, size, status, code, text in (
        ("too_large", MAXIMUM_TOTAL - rest + golden + 1, 10, "manifest.size", "V4: files of one byte more than 64 GiB"),
        ("at_the_bound", MAXIMUM_TOTAL - rest + golden, 11, "file.size", "V6: files that are said to have 64 GiB"),
        ("at_2_53", 2**53, 10, "manifest.size", "V4: a file of 2^53 bytes"),
    ):
        files = bundle(edit=put("files.0.size", size))
        yield Case(f"sizes_{name}", f"{text}.", "verify", UNSIGNED, status, code, files)


def _windows() -> Iterator[Case]:
    files = window_bundle(3)
    text = "V9: golden rows of a model on windows of three dates, which have two"
    yield Case("golden_window_too_short", f"{text}.", "selftest", UNSIGNED, 17, "golden.window", files)
    yield _score("score_golden_window_too_short", f"{text}, before the first score", 17, "golden.window", files)


def _rows() -> Iterator[Case]:
    for name, axis, whole_day, status, text in (
        ("compared", 0, False, 17, "a graph that compares the rows of a call, for a model whose rows are scored alone"),
        ("compared_by_day", 0, True, 0, "the same for a model that is scored by whole days"),
        ("apart", 1, False, 0, "a graph that compares the columns of each row"),
    ):
        graph = with_nodes(node("Softmax", ["features"], ["k"], attribute("axis", axis)))
        files = bundle({"model.onnx": graph}, put("model.batch_dependent", whole_day))
        code = "model.rows" if status else "ok"
        yield Case(f"rows_{name}", f"V7: {text}.", "verify", UNSIGNED, status, code, files)


def _drift() -> Iterator[Case]:
    known = both(put("features.0.statistics", _STATISTICS), put("features.0.statistics_missing", None))
    limits = put("drift", {"null_ratio": 0.0, "outside": 0.5})
    infinite = put("features.0.statistics", _STATISTICS | {"infinite_ratio": 0.5})
    for name, edit, status, text in (
        ("outside", both(known, infinite), 18, "half of whose finite values are outside the training values"),
        ("infinite", both(known, put("drift.outside", 0.5)), 18, "a third of whose values is infinite"),
        ("allowed", both(known, infinite, limits), 0, "whose drift is as large as the manifest allows"),
        ("not_known", limits, 0, "without training statistics"),
    ):
        words = f"Input: a strict score with a feature {text}"
        code = "drift.out_of_range" if status else "ok"
        yield _score(f"drift_{name}", words, status, code, bundle(edit=edit), "--strict")
    yield _score("drift_not_strict", "Input: a feature out of range, and nobody minds", 0, "ok", bundle(edit=known))


def _holdings() -> Iterator[Case]:
    edit = both(put("strategy", _STRATEGY), put("selection.n_drop", 1))
    for name, text, held, status, code in (
        ("lines", "as lines", "SH600000\n# sold\n\nSZ000001\n", 0, "ok"),
        ("csv", "as a column", "amount,instrument\n100,SH600000\n", 0, "ok"),
        ("none", "of nothing", "", 0, "ok"),
        ("absent", "of a stock that is not scored", "SZ399999\n", 0, "ok"),
        ("too_many", "of one stock more than topk and n_drop", _many(4), 18, "picks.holdings"),
        ("other_notation", "in another notation", "600000.SH\n", 18, "instrument.pattern"),
        ("other_column", "without a column of instruments", "code,amount\nSH600000,100\n", 2, "usage.holdings"),
    ):
        files = bundle(edit=edit) | {"holdings": held.encode()}
        yield _score(f"holdings_{name}", f"Input: holdings {text}", status, code, files, "--holdings", "holdings")
    other = both(edit, put("strategy.class_name", "EnhancedTopkDropoutStrategy"))
    thresh = both(edit, put("strategy.arguments.hold_thresh", 5))
    for name, text, change, code in (
        ("other_strategy", "of a strategy of another class", other, "picks.strategy"),
        ("hold_thresh", "of a strategy that asks how long they have been held", thresh, "picks.argument"),
    ):
        files = bundle(edit=change) | {"holdings": b""}
        yield _score(f"holdings_{name}", f"Input: holdings {text}", 2, code, files, "--holdings", "holdings")


def _many(count: int) -> str:
    return "".join(f"SH60000{number}\n" for number in range(count))


def _score(name: str, text: str, status: int, code: str, files: dict[str, bytes], *more: str) -> Case:
    arguments = [*UNSIGNED, "--features", "features.parquet", "--date", DATE, *more]
    named: dict[str, Any] = files | {"features.parquet": tables.features()}
    return Case(name, f"{text}.", "score", arguments, status, code, named)
