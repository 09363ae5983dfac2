"""V8 and V9: golden rows and factor tables; and the tables that a caller brings."""

from __future__ import annotations

from collections.abc import Iterator

from vector_cases import graphs, tables
from vector_cases.base import UNSIGNED, Case, Edit, both, bundle, draft, put
from vector_cases.graph_cases import window_bundle

DATE = "2024-01-03"
DATA: dict[str, tuple[str, str]] = {
    # variant of the golden rows: code, text
    "text": ("data.parquet", "are a text"),
    "truncated": ("data.parquet", "end in the middle"),
    "encrypted_end": ("data.parquet", "say that they are encrypted"),
    "other_start": ("data.parquet", "do not begin as parquet"),
    "footer_length": ("data.parquet", "have a footer longer than the file"),
    "page_header": ("data.parquet", "hold a page of a kind that there is not"),
    "gzip": ("data.parquet", "are compressed by a codec that the format does not use"),
    "brotli": ("data.parquet", "are compressed by another codec that the format does not use"),
    "delta_strings": ("data.parquet", "are in an encoding whose values copy from each other"),
    "metadata": ("data.metadata", "carry metadata"),
    "arrow_schema": ("data.metadata", "carry an Arrow schema"),
    "extension": ("data.metadata", "carry an extension type"),
    "column_missing": ("data.schema", "lack a feature"),
    "column_more": ("data.schema", "have a column more"),
    "column_order": ("data.schema", "have two features in each other's place"),
    "other_dtype": ("data.schema", "have a feature in another dtype"),
    "timestamps": ("data.schema", "have timestamps for dates"),
    "binary": ("data.schema", "have bytes for instruments"),
    "not_nullable": ("data.schema", "have a column that may not be null"),
    "list": ("data.schema", "have a column of lists"),
    "one_more": ("data.schema", "have a row more than the manifest says"),
    "empty": ("data.schema", "have no rows"),
    "date_far": ("data.date_range", "have a date after the year 9999"),
    "text_65": ("data.growth", "hold a text of 65 characters"),
    "text_bomb": ("data.growth", "hold forty million characters in two kilobytes"),
}
SCORES: dict[str, str] = {
    "wrong_score": "has another score",
    "last_bit": "has a score that differs in its last bit, where none may",
    "score_missing": "has no score",
    "score_infinite": "has an infinite score",
    "swapped": "has the values of another row",
}
INPUTS: dict[str, tuple[str, str]] = {
    # variant of the features: code, text
    "no_datetime": ("features.no_key_columns", "without dates"),
    "no_instrument": ("features.no_key_columns", "without instruments"),
    "column_missing": ("features.missing_column", "that lacks a feature"),
    "column_lower_case": ("features.missing_column", "with a feature's name in another case"),
    "column_twice": ("features.duplicate_column", "with a feature twice"),
    "column_both_forms": ("features.duplicate_column", "with a feature in both forms of its name"),
    "row_twice": ("features.duplicate_row", "with a row twice"),
    "time_of_day": ("features.time_of_day", "with a time of day"),
    "time_zone": ("features.time_zone", "with a time zone"),
    "date_text": ("features.date_type", "with dates as texts"),
    "date_number": ("features.date_type", "with dates as numbers"),
    "date_far": ("features.date_range", "with a date after the year 9999"),
    "null_date": ("features.null_key", "with a row without a date"),
    "null_instrument": ("features.null_key", "with a row without an instrument"),
    "instrument_number": ("features.instrument_type", "with instruments as numbers"),
    "instrument_binary": ("features.instrument_type", "with instruments as bytes"),
    "instrument_lower_case": ("instrument.pattern", "with an instrument in lower case"),
    "instrument_space": ("instrument.pattern", "with a space behind an instrument"),
    "instrument_line_end": ("instrument.pattern", "with a line end behind an instrument"),
    "instrument_long": ("instrument.length", "with an instrument of 65 bytes"),
    "instrument_bomb": ("features.too_large", "with an instrument of forty million bytes"),
    "ts": ("instrument.pattern", "in another notation of instruments"),
    "not_numeric_text": ("features.not_numeric", "with numbers as texts"),
    "not_numeric_bool": ("features.not_numeric", "with truth values for numbers"),
    "not_numeric_decimal": ("features.not_numeric", "with decimals for numbers"),
    "not_numeric_list": ("features.not_numeric", "with lists for numbers"),
    "extension": ("features.column_type", "with an extension type"),
    "text": ("features.not_parquet", "that is a text"),
    "truncated": ("features.not_parquet", "that ends in the middle"),
    "page_header": ("features.not_parquet", "with a page of a kind that there is not"),
    "statistics_hide_a_row": (
        "features.duplicate_row",
        "whose footer says another day of the group that holds a row of the day twice",
    ),
    "statistics_promise_a_day": (
        "features.date_absent",
        "whose footer says the day of groups that hold another",
    ),
    "codec_unknown": ("features.not_parquet", "with a column in a codec that there is not"),
    "type_of_a_chunk": ("features.not_parquet", "with a column of another type than its schema says"),
    "chunk_of_another": ("features.not_parquet", "with a column in the place of another"),
    "name_not_utf8": ("features.not_parquet", "with a column whose name is no UTF-8 text"),
    "instrument_not_utf8": ("features.not_parquet", "with an instrument that is no UTF-8 text"),
    "many_rows": ("features.too_large", "of three million rows in forty kilobytes"),
}


REFUSED_NUMBERS: dict[str, tuple[str, str]] = {
    # variant of the features: code, text
    "half_for_float32": ("features.precision", "in half precision for one in single precision"),
    "half_for_float64": ("features.precision", "in half precision for one in double precision"),
    "float_for_float64": ("features.precision", "in single precision for one in double precision"),
    "int64_beyond_2_53": ("features.precision", "of integers beyond 2^53 for one in double precision"),
    "uint64_beyond_2_53": ("features.precision", "of unsigned integers beyond 2^53 for one in double precision"),
    "bool_for_float64": ("features.not_numeric", "of truth values for one in double precision"),
    "decimal_for_float64": ("features.not_numeric", "of decimals for one in double precision"),
}
"""What is not in it is taken: see `tables.NUMBER_COLUMNS`."""


def cases() -> Iterator[Case]:
    rows = put("golden.rows", len(tables.GOLDEN_ROWS))
    for name, (code, text) in DATA.items():
        yield _selftest(f"golden_{name}", f"V8: golden rows that {text}", 17, code, _golden(name, rows))
    for name, text in SCORES.items():
        yield _selftest(f"golden_{name}", f"V9: a golden row that {text}", 19, "selftest.scores", _golden(name, rows))
    yield from _golden_rows()
    yield from _factors()
    for name, (code, text) in INPUTS.items():
        yield _score(f"features_{name}", f"Input: a table {text}", 18, code, tables.features(f"features_{name}"))
    for name in tables.NUMBER_COLUMNS:
        code, text = REFUSED_NUMBERS.get(name, ("ok", f"of the type and for the dtype that its name says ({name})"))
        case = _score(
            f"features_{name}", f"Input: a table with a feature {text}", 18, code, tables.features(f"features_{name}")
        )
        case.exit = 18 if name in REFUSED_NUMBERS else 0
        yield case
    yield from _races()
    yield from _inputs()
    yield from _fills()
    yield from _passing()


def _selftest(name: str, text: str, status: int, code: str, files: dict[str, bytes]) -> Case:
    return Case(name, f"{text}.", "selftest", UNSIGNED, status, code, files)


def _score(
    name: str, text: str, status: int, code: str, table: bytes, *more: str, files: dict[str, bytes] | None = None
) -> Case:
    day = [] if "--dates" in more else ["--date", DATE]
    arguments = [*UNSIGNED, "--features", "features.parquet", *day, *more]
    return Case(name, f"{text}.", "score", arguments, status, code, (files or bundle()) | {"features.parquet": table})


def _golden(name: str, edit: Edit | None = None) -> dict[str, bytes]:
    return bundle({"golden.parquet": tables.golden(f"golden_{name}")}, edit)


def _golden_rows() -> Iterator[Case]:
    count = len(tables.GOLDEN_ROWS)
    fewer = bundle(edit=put("golden.rows", count - 1))
    yield _selftest(
        "golden_rows_said_fewer", "V8: golden rows of which the manifest says one less", 17, "data.schema", fewer
    )
    huge = bundle(edit=put("golden.rows", 2**53))
    yield _selftest("golden_rows_said_huge", "V8: golden rows of which the manifest says 2^53", 17, "data.schema", huge)
    renamed = bundle(edit=put("features.0.name", "CLOSE6"))
    yield _selftest(
        "golden_other_feature", "V8: golden rows of another feature than the manifest names", 17, "data.schema", renamed
    )
    graph = bundle({"golden.parquet": graphs.model()})
    yield _selftest("golden_is_graph", "V8: a graph in the place of golden rows", 17, "data.parquet", graph)
    whole = bundle(edit=put("model.batch_dependent", True))
    yield _selftest(
        "golden_without_keys", "V8: made-up rows for a model that scores whole days", 17, "golden.keys", whole
    )
    other = [
        (1, *tree[1:]) if position == 0 and isinstance(tree, tuple) else tree
        for position, tree in enumerate(graphs.TREES)
    ]
    exchanged = bundle({"model.onnx": graphs.model_of(other)})
    yield _selftest(
        "graph_of_another_model", "V9: a graph that looks at another feature", 19, "selftest.scores", exchanged
    )
    wrong = _golden("wrong_score")
    yield _score(
        "score_after_wrong_golden",
        "V9: a golden row with another score, seen before the first score",
        19,
        "selftest.scores",
        tables.features(),
        files=wrong,
    )
    dropped = _golden("column_order")
    yield _score(
        "score_after_wrong_columns",
        "V8: golden rows in another order of columns, seen before the first score",
        17,
        "data.schema",
        tables.features(),
        files=dropped,
    )
    loose = put("parity.bound.ulp", 1)
    yield _selftest(
        "golden_within_bound",
        "V9: a score that differs in its last bit, where that is allowed",
        0,
        "ok",
        _golden("last_bit", loose),
    )
    yield _selftest(
        "golden_near_tie",
        "V9: two stocks change places whose recorded scores differ by less than both rows' bounds together",
        0,
        "ok",
        _golden("near_tie", put("parity.bound.absolute", 0.03)),
    )
    yield _selftest(
        "golden_other_order",
        "V9: the same two stocks, where the bound is narrower",
        19,
        "selftest.scores",
        _golden("near_tie", put("parity.bound.absolute", 0.02)),
    )


def _with_factors(name: str, edit: Edit | None = None) -> dict[str, bytes]:
    table = {
        "file": "factors.parquet",
        "columns": ["REV_3D"],
        "rows": len(tables.TABLE_ROWS),
        "dates": 2,
        "instruments": 3,
        "first": "2024-01-02",
        "last": DATE,
    }
    change = put("factors", table)
    return bundle({"factors.parquet": tables.factors(name)}, change if edit is None else both(change, edit))


def _factors() -> Iterator[Case]:
    for name, code, text in (
        ("row_missing", "data.schema", "with a row less than the manifest says"),
        ("other_column", "data.schema", "with another column than the manifest says"),
        ("text", "data.parquet", "that is a text"),
    ):
        yield _selftest(f"factors_{name}", f"V8: a factor table {text}", 17, code, _with_factors(f"factors_{name}"))
    yield _selftest("factors", "V8: a factor table as the manifest says it", 0, "ok", _with_factors("factors"))


def _races() -> Iterator[Case]:
    """A file of the bundle is exchanged the moment after it was opened: the verified one is used, and nothing else."""
    files = _with_factors("factors")
    others = {
        "factors.parquet": tables.factors("factors_text"),
        "golden.parquet": tables.golden("golden_wrong_score"),
        "model.onnx": graphs.model_of([(1, *graphs.TREES[0][1:]), *graphs.TREES[1:]]),
    }
    for path, other in others.items():
        case = _selftest(
            f"exchange_{path.partition('.')[0]}",
            f"V6: {path} is exchanged when it was opened, and the one that was verified is used",
            0,
            "ok",
            files | {"other": other},
        )
        case.exchange = [{"path": f"bundle/{path}", "target": "other"}]
        yield case


def _inputs() -> Iterator[Case]:
    table = tables.features()

    def asked(name: str, text: str, code: str, *more: str) -> Case:
        case = _score(name, f"Input: {text}", 18, code, table)
        case.arguments = [*UNSIGNED, "--features", "features.parquet", *more]
        return case

    yield asked(
        "date_between",
        "a date for which there are no rows; the nearest is never used",
        "features.date_absent",
        "--date",
        "2024-01-04",
    )
    yield asked(
        "dates_between",
        "a range of dates for which there are no rows",
        "features.date_absent",
        "--dates",
        "2024-01-04:2024-01-31",
    )
    yield asked(
        "rows_allowed", "more rows than the caller allows", "features.too_large", "--date", DATE, "--max-rows", "2"
    )
    yield asked(
        "bytes_allowed", "more bytes than the caller allows", "features.too_large", "--date", DATE, "--max-bytes", "64"
    )
    yield asked(
        "converted_from_other_notation",
        "a table that is not in the notation it is converted from",
        "instrument.pattern",
        "--date",
        DATE,
        "--instruments-from",
        "ts",
    )
    ranged = tables.features("features_row_twice")
    yield _score(
        "features_row_twice_in_range",
        "Input: a row twice, in a range of dates",
        18,
        "features.duplicate_row",
        ranged,
        "--dates",
        ":",
    )
    windows = window_bundle()
    short = _score(
        "window_too_short",
        "Input: a date before which the window has no other",
        18,
        "window.too_short",
        table,
        files=windows,
    )
    short.arguments = [*UNSIGNED, "--features", "features.parquet", "--date", "2024-01-02"]
    yield short
    calendar = windows | {"calendar.txt": b"2024-01-01\n2024-01-02\n2024-01-04\n"}
    yield _score(
        "window_not_in_calendar",
        "Input: a date that is not in the calendar",
        18,
        "window.not_in_calendar",
        table,
        "--calendar",
        "calendar.txt",
        files=calendar,
    )


def _fills() -> Iterator[Case]:
    statistics = {
        "first": "2020-01-02",
        "last": "2023-12-29",
        "source": "by hand",
        "rows": 5000,
        "null_ratio": 0.1,
        "infinite_ratio": 0.0,
        "quantiles": {"min": -2.5, "max": 2.5},
        "zero_ratio": 0.0,
        "common_ratio": 0.0,
    }
    known = both(draft, put("features.0.statistics", statistics), put("features.0.statistics_missing", None))
    filled = _score(
        "features_filled_of_a_stock",
        "Input: a zero where the training had none leaves its stock out",
        0,
        "ok",
        tables.features(),
        files=bundle(edit=known),
    )
    filled.result = {"scored": 2, "excluded": {"features.filled": 1}}
    yield filled
    ends = both(known, put("features.0.statistics.quantiles", {"min": 1.0, "max": 2.0}))
    yield _score(
        "features_outside",
        "Input: a feature whose values are none that the training had",
        18,
        "features.outside",
        tables.features(),
        files=bundle(edit=ends),
    )
    whole = both(known, put("model.batch_dependent", True), put("golden.rows", len(tables.TABLE_ROWS)))
    yield _score(
        "features_filled",
        "Input: a zero where the training had none, for a model across stocks",
        18,
        "features.filled",
        tables.features(),
        files=bundle({"golden.parquet": tables.golden("golden_whole_days")}, whole),
    )


def _passing() -> Iterator[Case]:
    yield _selftest("golden_rows", "V9: golden rows give their scores", 0, "ok", bundle())
    yield _selftest(
        "golden_snappy", "V8: golden rows in another codec that the format uses", 0, "ok", _golden("snappy")
    )
    yield _selftest(
        "golden_on_windows", "V9: golden rows of a model on windows give their scores", 0, "ok", window_bundle()
    )
    yield _score("score", "Input: a table as the manifest asks for it", 0, "ok", tables.features())
    yield _score("score_range", "Input: all dates of a table", 0, "ok", tables.features(), "--dates", ":")
    yield _score(
        "score_on_windows",
        "Input: a date with another before it, for a window of two",
        0,
        "ok",
        tables.features(),
        files=window_bundle(),
    )
    for name, text in (
        ("reordered", "with columns and rows in any order and a column more"),
        ("flattened", "with names as pandas flattens them"),
        ("nanoseconds", "with midnights for dates"),
        ("dictionary", "with instruments as a dictionary"),
        ("double", "with a feature in double precision, which is cast first"),
    ):
        yield _score(f"features_{name}", f"Input: a table {text}", 0, "ok", tables.features(f"features_{name}"))
    converted = tables.features("features_ts")
    yield _score(
        "features_converted",
        "Input: instruments of another notation, converted as asked",
        0,
        "ok",
        converted,
        "--instruments-from",
        "ts",
    )
