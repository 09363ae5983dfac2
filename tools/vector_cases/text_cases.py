"""V3 and V4: strict JSON, the version, the schema, the byte form, the rules between fields, names and paths."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from vector_cases.base import UNSIGNED, Case, Edit, both, bundle, drop, put, replaced

Bytes = Callable[[bytes], bytes]
_HYPOTHESIS = "losers recover"


def cases() -> Iterator[Case]:
    for name, (raw, code, text) in STRICT_JSON.items():
        yield _refused(f"json_{name}", f"V3: manifest.json {text}.", code, bundle(raw=raw))
    for name, value in VERSIONS.items():
        edit = drop("format") if value is None else put("format", value)
        text = "without" if value is None else f"of {json.dumps(value)} as"
        yield _refused(f"version_{name}", f"V3: a manifest {text} its format.", "manifest.version", bundle(edit=edit))
    body = both(put("format", "2.0"), drop("model"))
    text = "V3: a manifest of version 2.0 with another body; the version is looked at first."
    yield _refused("version_before_body", text, "manifest.version", bundle(edit=body))
    yield _refused(
        "version_array", "V3: manifest.json is an array.", "manifest.version", bundle(raw=lambda data: b"[]\n")
    )
    for name, (raw, text) in BYTE_FORM.items():
        yield _refused(f"form_{name}", f"V4: manifest.json {text}.", "manifest.byte_form", bundle(raw=raw))
    for name, number in {"point": "3.0", "exponent": "3e0"}.items():
        files = bundle(raw=_sequence(number))
        yield _refused(
            f"schema_count_with_{name}", f"V4: a count with a {name}.".replace("a e", "an e"), "manifest.schema", files
        )
    for name, (change, text) in SCHEMA.items():
        yield _refused(f"schema_{name}", f"V4: {text}.", "manifest.schema", bundle(edit=change))
    for name, (change, code, text) in MEANING.items():
        yield _refused(f"rule_{name}", f"V4: {text}.", code, bundle(edit=change))
    for name, (path, code, text) in PATHS.items():
        yield _refused(f"path_{name}", f"V4: a path {text}.", code, bundle(edit=_moved(path)))
    for name, (value, code, text) in NAMES.items():
        yield _refused(f"name_{name}", f"V4: a bundle name {text}.", code, bundle(edit=put("name", value)))
    yield _renamed(
        "path_of_120_characters", "V4: a path of exactly 120 characters passes.", "_" + "a" * 58 + "/" + "b" * 60
    )
    yield _renamed("path_with_inner_dots", "V4: inner dots and a leading underscore pass.", "_sources/a.b-c_d.tar.gz")
    yield _accepted("name_of_64_characters", "V4: a name of 64 characters passes.", bundle(edit=put("name", "n" * 64)))
    yield _accepted(
        "text_in_any_script",
        "V4: texts in any script pass unescaped.",
        bundle(edit=put("source.weights.why", "因子 ß \u2028 \U0001f600 \x7f")),
    )
    yield _accepted("largest_integer", "V4: a sequence of 2^53 passes.", bundle(edit=put("sequence", 2**53)))
    factors = both(put("eligibility.ready", False), put("eligibility.reasons", [{"code": "of_tomorrow", "text": "x"}]))
    yield _accepted(
        "unknown_reason",
        "V4: a reason with a code that the reader does not know passes where nobody asks for readiness.",
        bundle(edit=factors),
    )


def _refused(name: str, text: str, code: str, files: dict[str, bytes]) -> Case:
    return Case(name, text, "verify", UNSIGNED, 10, code, files)


def _accepted(name: str, text: str, files: dict[str, bytes]) -> Case:
    return Case(name, text, "verify", UNSIGNED, 0, "ok", files)


# --- strict JSON --------------------------------------------------------------------------------------------------------


def _sequence(text: str) -> Bytes:
    return replaced('"sequence": 3', f'"sequence": {text}')


def _number(text: str) -> Bytes:
    return replaced('"tiny": 1e-05', f'"tiny": {text}')


def _string(text: str | bytes) -> Bytes:
    return replaced(_HYPOTHESIS, text)


STRICT_JSON: dict[str, tuple[Bytes, str, str]] = {
    "bom": (lambda data: b"\xef\xbb\xbf" + data, "json.bom", "begins with a byte order mark"),
    "utf16": (lambda data: data.decode().encode("utf-16"), "json.encoding", "is UTF-16"),
    "latin1": (_string(b"caf\xe9"), "json.encoding", "holds a byte of Latin-1"),
    "overlong": (_string(b"\xc0\xaf"), "json.encoding", "holds an overlong form of UTF-8"),
    "raw_surrogate": (_string(b"\xed\xa0\x80"), "json.encoding", "holds a surrogate as raw bytes"),
    "beyond_unicode": (_string(b"\xf4\x90\x80\x80"), "json.encoding", "holds a code point above U+10FFFF"),
    "lone_surrogate": (_string("\\ud800"), "json.surrogate", "holds a lone surrogate as an escape"),
    "surrogates_reversed": (_string("\\udc00\\ud800"), "json.surrogate", "holds two surrogates in the wrong order"),
    "surrogate_in_key": (replaced('"onnx"', '"\\ud800"'), "json.surrogate", "has a key with a lone surrogate"),
    "duplicate_key": (
        replaced('"sequence": 3', '"sequence": 3,\n  "sequence": 3'),
        "json.duplicate_key",
        "has a key twice",
    ),
    "duplicate_key_deep": (
        replaced('"trees": 3', '"trees": 3,\n      "trees": 4'),
        "json.duplicate_key",
        "has a key twice in a free object",
    ),
    "duplicate_key_escaped": (
        replaced('"sequence": 3', '"sequence": 3,\n  "\\u0073equence": 9'),
        "json.duplicate_key",
        "has a key twice, once escaped",
    ),
    "nan": (_number("NaN"), "json.number", "holds NaN"),
    "infinity": (_number("Infinity"), "json.number", "holds Infinity"),
    "minus_infinity": (_number("-Infinity"), "json.number", "holds -Infinity"),
    "number_overflow": (_number("1e999"), "json.number", "holds a number beyond a double"),
    "integer_overflow": (_sequence("9007199254740993"), "json.number", "holds an integer above 2^53"),
    "integer_negative_overflow": (_sequence("-9007199254740993"), "json.number", "holds an integer below -2^53"),
    "integer_of_5000_digits": (_sequence("1" * 5000), "json.number", "holds an integer of 5000 digits"),
    "number_of_65_characters": (_number("0." + "1" * 63), "json.number", "holds a number of 65 characters"),
    "depth": (
        replaced('"trees": 3', '"trees": ' + "[" * 40 + "]" * 40),
        "json.depth",
        "is nested in more than 32 levels",
    ),
    "depth_bomb": (lambda data: b"[" * 10_000, "json.depth", "is ten thousand brackets"),
    "empty": (lambda data: b"", "json.syntax", "is empty"),
    "truncated": (lambda data: data[: len(data) // 2], "json.syntax", "ends in the middle"),
    "two_values": (lambda data: data + b"{}\n", "json.syntax", "holds two values"),
    "trailing_nul": (lambda data: data + b"\0", "json.syntax", "ends with a NUL byte"),
    "trailing_comma": (replaced('"sequence": 3,', '"sequence": 3,,'), "json.syntax", "has a comma too many"),
    "comment": (replaced('"sequence": 3', '/* three */ "sequence": 3'), "json.syntax", "holds a comment"),
    "single_quotes": (replaced('"sequence"', "'sequence'"), "json.syntax", "holds a key in single quotes"),
    "control_character": (_string("a\tb"), "json.syntax", "holds a tab inside a string"),
    "unknown_escape": (_string("\\x41"), "json.syntax", "holds an escape that JSON does not have"),
    "leading_zero": (_sequence("03"), "json.syntax", "holds a number with a leading zero"),
    "plus_sign": (_sequence("+3"), "json.syntax", "holds a number with a plus sign"),
    "hexadecimal": (_sequence("0x3"), "json.syntax", "holds a hexadecimal number"),
    "python_literal": (replaced('"strategy": null', '"strategy": None'), "json.syntax", "holds a literal of Python"),
}
VERSIONS: dict[str, Any] = {
    "future": "1.1",
    "major": "2.0",
    "number": 1,
    "null_text": "",
    "upper_case": "1-DRAFT",
    "absent": None,
}


def _layout(**options: Any) -> Bytes:
    def change(data: bytes) -> bytes:
        return (json.dumps(json.loads(data), ensure_ascii=False, **options) + "\n").encode()

    return change


_CREATED = b'  "created": "2026-01-01T00:00:00Z",\n'
_CREATED_LAST = replaced('"strategy": null\n', b'"strategy": null,\n' + _CREATED.replace(b",", b""))
BYTE_FORM: dict[str, tuple[Bytes, str]] = {
    "no_line_end": (lambda data: data.rstrip(b"\n"), "does not end with LF"),
    "two_line_ends": (lambda data: data + b"\n", "ends with two LF"),
    "leading_space": (lambda data: b" " + data, "begins with a space"),
    "trailing_space": (lambda data: data.replace(b",\n", b", \n", 1), "has a space at the end of a line"),
    "crlf": (lambda data: data.replace(b"\n", b"\r\n"), "has lines that end with CR LF"),
    "one_line": (_layout(sort_keys=True), "is in one line"),
    "indent_4": (_layout(sort_keys=True, indent=4), "is indented by four spaces"),
    "tabs": (_layout(sort_keys=True, indent="\t"), "is indented by tabs"),
    "keys_not_sorted": (
        lambda data: _CREATED_LAST(data.replace(_CREATED, b"", 1)),
        "has keys that are not sorted",
    ),
    "escaped_letter": (replaced("é", "\\u00e9"), "escapes a letter"),
    "escaped_pair": (replaced("\U0001f4c8", "\\ud83d\\udcc8"), "escapes a character as two surrogates"),
    "escaped_slash": (replaced('"Ref($close, 1)/$close"', '"Ref($close, 1)\\/$close"'), "escapes a slash"),
    "number_with_zeros": (_number("0.000010"), "holds a number with zeros at its end"),
    "number_not_shortest": (_number("1.0000000000000000818e-05"), "holds a number that is not the shortest"),
    "number_exponent_upper": (_number("1E-05"), "holds an exponent in upper case"),
    "number_exponent_one_digit": (_number("1e-5"), "holds an exponent of one digit"),
    "number_without_point": (replaced('"IC": 0.05', '"IC": 1'), "holds an integer in a field of numbers"),
    "integer_minus_zero": (replaced('"size": 0', '"size": -0'), "holds an integer zero with a sign"),
}

# --- schema -----------------------------------------------------------------------------------------------------------

SCHEMA: dict[str, tuple[Edit, str]] = {
    "field_missing": (drop("expires"), "a field that may be null is left out"),
    "field_missing_deep": (drop("features.0.used"), "a field of a feature is left out"),
    "field_unknown": (put("comment", "x"), "an unknown field"),
    "field_unknown_deep": (put("files.0.mode", "0755"), "an unknown field of a file"),
    "field_other_case": (both(drop("strategy"), put("Strategy", None)), "a field's name in another case"),
    "bool_for_integer": (put("sequence", True), "true where a count is asked for"),
    "integer_for_bool": (put("parity.within_bound", 1), "1 where a truth value is asked for"),
    "text_for_integer": (put("sequence", "3"), "a text where a count is asked for"),
    "fraction_for_integer": (put("sequence", 3.5), "a fraction where a count is asked for"),
    "negative_count": (put("sequence", -1), "a negative count"),
    "null_for_text": (put("source.anchor.why", None), "null where it is not allowed"),
    "integer_for_text": (put("producer.converter", 1), "a number where a text is asked for"),
    "array_for_object": (put("producer", []), "an array where an object is asked for"),
    "object_for_array": (put("features", {}), "an object where an array is asked for"),
    "text_for_number": (put("metrics.values.IC", "0.05"), "a text where a number is asked for"),
    "bool_for_number": (put("metrics.values.IC", True), "true where a number is asked for"),
    "text_too_long": (put("producer.converter", "x" * 1001), "a short text of 1001 characters"),
    "no_features": (put("features", []), "no features"),
    "one_file": (both(drop("files.2"), drop("files.0")), "only one file"),
    "no_stages": (put("stages", []), "no stages"),
    "stages_17": (put("stages", [{"stage": "drop_missing", "columns": None}] * 17), "seventeen stages"),
    "stage_unknown": (put("stages.0.stage", "python"), "a stage of an unknown kind"),
    "stage_without_kind": (drop("stages.0.stage"), "a stage without a kind"),
    "window_of_one": (put("stages", [{"stage": "window", "length": 1, "fill": "ffill+bfill"}]), "a window of one row"),
    "dtype_unknown": (put("features.0.dtype", "float16"), "a feature of another dtype than the two allowed"),
    "role_unknown": (put("files.0.role", "script"), "a file of an unknown role"),
    "role_case": (put("files.0.role", "Golden"), "a role in another case"),
    "kind_unknown": (put("data.instrument_format.kind", "isin"), "an unknown notation of instruments"),
    "top_k_zero": (put("selection.top_k", 0), "a top k of zero"),
    "step_length_zero": (put("model.step_length", 0), "a step length of zero"),
    "shape_of_5_axes": (put("model.inputs.0.shape", [None, 1, 1, 1, 1]), "a tensor of five axes"),
    "ratio_above_one": (
        put(
            "features.0.statistics",
            {
                "first": "2020-01-01",
                "last": "2020-01-01",
                "source": "x",
                "rows": 1,
                "null_ratio": 1.5,
                "infinite_ratio": 0.0,
                "quantiles": {},
            },
        ),
        "a ratio above one",
    ),
    "bound_negative": (put("parity.bound.relative", -1e-09), "a negative bound"),
    "date_form": (put("golden.days", ["20240102"]), "a date in another form"),
    "date_with_line_end": (put("golden.days", ["2024-01-02\n"]), "a date with a line end behind it"),
    "instant_offset": (put("created", "2026-01-01T00:00:00+00:00"), "an instant with an offset"),
    "instant_fraction": (put("created", "2026-01-01T00:00:00.5Z"), "an instant with a fraction of a second"),
    "digest_upper_case": (put("files.0.sha256", "A" * 64), "a digest in upper case"),
    "digest_63": (put("files.0.sha256", "a" * 63), "a digest of 63 digits"),
    "digest_with_line_end": (put("files.0.sha256", "a" * 64 + "\n"), "a digest with a line end behind it"),
    "digest_other_digits": (put("files.0.sha256", "\u0660" * 64), "a digest of Arabic digits"),
    "eligibility_absent": (put("eligibility", None), "no verdict"),
}

# --- rules between fields -------------------------------------------------------------------------------------------------


def _more_files(*paths: str, role: str = "source") -> Edit:
    """Entries for paths that need not exist, in order of path."""

    def edit(plain: dict[str, Any]) -> None:
        entries = [*plain["files"], *({**plain["files"][-1], "path": path, "role": role} for path in paths)]
        plain["files"] = sorted(entries, key=lambda entry: str(entry["path"]))

    return edit


def _moved(path: str) -> Edit:
    """The factor's code under another path, wherever it is named."""

    def edit(plain: dict[str, Any]) -> None:
        plain["files"][-1]["path"] = plain["features"][2]["source"] = plain["sota_factors"][0]["source"] = path
        plain["files"].sort(key=lambda entry: str(entry["path"]))

    return edit


def _renamed(name: str, text: str, path: str) -> Case:
    """The factor's code really under another path."""
    case = _accepted(name, text, bundle(edit=_moved(path)))
    parent = path.split("/", maxsplit=1)[0]
    case.setup = [
        {"op": "mkdir", "path": f"bundle/{parent}"},
        {"op": "rename", "path": "bundle/sources/factors/000.txt", "target": f"bundle/{path}"},
        {"op": "rmdir", "path": "bundle/sources/factors"},
        {"op": "rmdir", "path": "bundle/sources"},
    ]
    return case


def _reversed_files(plain: dict[str, Any]) -> None:
    plain["files"].reverse()


_REASON = [{"code": "found_by_scan", "text": "x"}]


def _alphas(**fields: Any) -> dict[str, Any]:
    """An entry for a graph of alpha features; the files that it names are not there."""
    return {
        "file": "alphas.onnx",
        "window": 2,
        "fields": ["close"],
        "features": ["CLOSE5"],
        "tolerances": [0.0],
        "truncated": {},
        "golden": "golden_bars.parquet",
        "golden_rows": 6,
        "date": "2024-01-03",
    } | fields


_TWO_NAMES = both(put("features.1.name", "CLOSE5"))
MEANING: dict[str, tuple[Edit, str, str]] = {
    "files_not_sorted": (_reversed_files, "manifest.files_order", "files that are not sorted by path"),
    "file_twice": (_more_files("model.onnx", role="model"), "manifest.files_order", "a file that is listed twice"),
    "lists_itself": (_more_files("manifest.json"), "manifest.files_reserved", "a manifest that lists itself"),
    "lists_envelope": (
        _more_files("manifest.dsse.json"),
        "manifest.files_reserved",
        "a manifest that lists its envelope",
    ),
    "lists_provenance": (
        _more_files("provenance.dsse.json"),
        "manifest.files_reserved",
        "a manifest that lists its provenance",
    ),
    "reserved_directory": (_more_files("manifest.json/a"), "manifest.files_reserved", "a fixed name as a directory"),
    "file_is_directory": (_more_files("golden.parquet/a"), "manifest.files_clash", "a file that is also a directory"),
    "created_no_day": (put("created", "2026-02-30T00:00:00Z"), "manifest.instant", "created on February 30"),
    "created_hour_24": (put("created", "2026-01-01T24:00:00Z"), "manifest.instant", "created at hour 24"),
    "created_leap_second": (put("created", "2016-12-31T23:59:60Z"), "manifest.instant", "created in a leap second"),
    "expires_no_day": (put("expires", "2026-13-01T00:00:00Z"), "manifest.instant", "expires in month 13"),
    "expires_year_zero": (put("expires", "0000-01-01T00:00:00Z"), "manifest.instant", "expires in the year zero"),
    "feature_twice": (_TWO_NAMES, "manifest.feature_twice", "two features of one name"),
    "ready_with_reasons": (put("eligibility.reasons", _REASON), "manifest.eligibility", "ready in spite of a reason"),
    "not_ready_without_reason": (put("eligibility.ready", False), "manifest.eligibility", "not ready without a reason"),
    "pattern_chosen": (
        put("data.instrument_format.pattern", ".*"),
        "manifest.instrument_pattern",
        "an instrument pattern of the bundle's own choice",
    ),
    "pattern_of_another_kind": (
        put("data.instrument_format.kind", "ts"),
        "manifest.instrument_pattern",
        "the instrument pattern of another kind",
    ),
    "alphas_of_no_feature": (
        put("alphas", _alphas(features=["NOT_THERE"])),
        "manifest.alphas",
        "a graph of alpha features that gives a column the model does not have",
    ),
    "alphas_feature_twice": (
        put("alphas", _alphas(features=["CLOSE5", "CLOSE5"], tolerances=[0.0, 0.0])),
        "manifest.alphas",
        "a graph of alpha features that gives one twice",
    ),
    "alphas_field_twice": (
        put("alphas", _alphas(fields=["close", "close"])),
        "manifest.alphas",
        "a graph of alpha features that takes one bar column twice",
    ),
    "alphas_without_tolerance": (
        put("alphas", _alphas(tolerances=[])),
        "manifest.alphas",
        "a graph of alpha features without a tolerance",
    ),
    "alphas_not_listed": (put("alphas", _alphas()), "manifest.reference", "a graph of alpha features not listed"),
    "graph_not_listed": (put("stages.0.file", "other.onnx"), "manifest.reference", "a graph that is not listed"),
    "graph_is_source": (
        put("stages.0.file", "sources/factors/000.txt"),
        "manifest.reference",
        "a graph in a file of role source",
    ),
    "graph_not_used": (_more_files("second.onnx", role="model"), "manifest.reference", "a graph that no stage uses"),
    "golden_not_listed": (put("golden.file", "other.parquet"), "manifest.reference", "golden rows that are not listed"),
    "golden_twice": (
        _more_files("second.parquet", role="golden"),
        "manifest.reference",
        "a second file of golden rows",
    ),
    "factors_not_used": (
        _more_files("factors.parquet", role="factors"),
        "manifest.reference",
        "a factor table that nothing refers to",
    ),
    "source_not_listed": (
        put("features.2.source", "sources/other.py"),
        "manifest.reference",
        "a feature whose code is not listed",
    ),
    "source_is_card": (put("files.2.role", "card"), "manifest.reference", "a feature whose code is a card"),
    "source_of_factor": (
        put("sota_factors.0.source", "model.onnx"),
        "manifest.reference",
        "a factor whose code is the graph",
    ),
}

# --- names and paths ----------------------------------------------------------------------------------------------------

_SCHEMA, _RULE = "manifest.schema", "path.rule"
PATHS: dict[str, tuple[str, str, str]] = {
    "upper_case": ("Sources/000.py", _SCHEMA, "with an upper-case letter"),
    "parent": ("../000.py", _SCHEMA, "that leaves the bundle"),
    "parent_inside": ("sources/../000.py", _SCHEMA, "with .. inside"),
    "here": ("./sources/000.py", _SCHEMA, "that begins with a dot segment"),
    "absolute": ("/etc/passwd", _SCHEMA, "that is absolute"),
    "drive": ("c:/000.py", _SCHEMA, "with a drive of Windows"),
    "unc": ("//server/share", _SCHEMA, "of a network share"),
    "backslash": ("sources\\000.py", _SCHEMA, "with a backslash"),
    "stream": ("sources/000.py:hidden", _SCHEMA, "of an alternate data stream"),
    "trailing_dot": ("sources/000.py.", _SCHEMA, "with a dot at its end"),
    "trailing_space": ("sources/000.py ", _SCHEMA, "with a space at its end"),
    "trailing_slash": ("sources/", _SCHEMA, "with a slash at its end"),
    "double_slash": ("sources//000.py", _SCHEMA, "with an empty segment"),
    "double_dot": ("sources/a..py", _SCHEMA, "with two dots in a row"),
    "hidden": ("sources/.000.py", _SCHEMA, "of a hidden file"),
    "dash": ("-rf", _SCHEMA, "that looks like an option"),
    "empty": ("", _SCHEMA, "that is empty"),
    "nul": ("sources/0\x00.py", _SCHEMA, "with a NUL character"),
    "line_end": ("sources/000.py\n", _SCHEMA, "with a line end"),
    "tilde": ("progra~1", _SCHEMA, "of a short name of Windows"),
    "cyrillic": ("sources/\u0430.py", _SCHEMA, "with a Cyrillic a"),
    "fullwidth": ("sources/\uff41.py", _SCHEMA, "with a full-width a"),
    "dotless_i": ("sources/\u0131.py", _SCHEMA, "with a dotless i"),
    "combining": ("sources/e\u0301.py", _SCHEMA, "with a combining accent"),
    "zero_width": ("sources/a\u200b.py", _SCHEMA, "with a zero-width space"),
    "right_to_left": ("sources/\u202eyp.py", _SCHEMA, "with a right-to-left mark"),
    "of_121_characters": ("/".join(["a" * 60, "b" * 60]), _SCHEMA, "of 121 characters"),
    "reserved": ("sources/con", _RULE, "that Windows reserves"),
    "reserved_extension": ("sources/nul.txt", _RULE, "that Windows reserves, with an extension"),
    "reserved_directory": ("aux/000.py", _RULE, "in a directory that Windows reserves"),
    "reserved_number": ("sources/com1.tar.gz", _RULE, "of a serial port of Windows"),
    "segment_of_65": ("a" * 65, _RULE, "with a segment of 65 characters"),
}
NAMES: dict[str, tuple[str, str, str]] = {
    "upper_case": ("Vector", _SCHEMA, "with an upper-case letter"),
    "with_slash": ("a/b", _SCHEMA, "with a slash"),
    "parent": ("..", _SCHEMA, "of two dots"),
    "of_65_characters": ("n" * 65, _SCHEMA, "of 65 characters"),
    "reserved": ("prn", "name.rule", "that Windows reserves"),
    "reserved_extension": ("lpt9.v2", "name.rule", "that Windows reserves, with an extension"),
}
