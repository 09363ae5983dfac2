"""Who is a stock, which days are trading days, and days without trade: what a manifest of 1.1 records and a reader checks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from vector_cases import tables
from vector_cases.bar_cases import WINDOW, bar_bundle, stored
from vector_cases.base import UNSIGNED, Case, Edit, both, bundle, draft, put

FIRST, LAST = "2024-01-01", "2024-01-02"
"""The record ends on the day before the one that is scored."""
DATE = "2024-01-03"
_KINDS = (
    "missing not_positive stale without_price without_volume zero_volume repeated same_prices same_volume interpolated"
)


def record(kind: str, codes: tuple[str, ...] = tables.STOCKS, last: str = LAST, first: str = FIRST) -> dict[str, Any]:
    """A recorded universe whose codes are there on all its days."""
    members = [f"{code} {first} {last}" for code in sorted(codes)]
    return {
        "kind": kind,
        "text": "the market of the vectors",
        "first": first,
        "last": last,
        "count": len(members),
        "sha256": hashlib.sha256("".join(f"{line}\n" for line in members).encode()).hexdigest(),
        "members": members,
    }


def universes(model: dict[str, Any], *context: str) -> Edit:
    """The manifest of the present draft with a model universe."""
    said = {
        "factor": None,
        "factor_missing": "no feature of the model was computed by code",
        "model": model,
        "model_missing": None,
        "boards": {"SH60": 2, "SZ00": 1},
        "context": list(context),
        "until": LAST,
    }
    return both(draft, put("data.universes", said))


_WHOLE = {"golden.parquet": tables.golden("golden_whole_days")}
_of_days = both(put("model.batch_dependent", True), put("golden.rows", len(tables.TABLE_ROWS)))
"""A model that looks at all stocks of a day; its golden rows are days."""


def _crossing(edit: Edit) -> dict[str, bytes]:
    return bundle(dict(_WHOLE), both(edit, _of_days))


def _score(name: str, text: str, code: str, files: dict[str, bytes], *more: str, date: str = DATE) -> Case:
    arguments = [*UNSIGNED, "--features", "features.parquet", "--date", date, *more]
    return Case(name, f"Input: {text}.", "score", arguments, 0 if code == "ok" else 18, code, files)


def cases() -> Iterator[Case]:
    yield from _manifests()
    yield from _universes()
    yield from _bars()
    yield from _jumps()


def _manifests() -> Iterator[Case]:
    yield Case(
        "universe", "V4: a recorded universe.", "verify", UNSIGNED, 0, "ok", bundle(edit=universes(record("all")))
    )
    for name, text, changes in (
        ("unsorted", "are not sorted", {"members": record("all")["members"][::-1]}),
        ("count", "are more than is said", {"count": 2}),
        ("digest", "do not give the digest that is said", {"sha256": "0" * 64}),
        ("outside", "go on after the record", {"last": FIRST}),
    ):
        files = bundle(edit=universes(record("all") | changes))
        text = f"V4: a recorded universe whose members {text}."
        yield Case(f"universe_{name}", text, "verify", UNSIGNED, 10, "manifest.universe", files)


def _universes() -> Iterator[Case]:
    market = _crossing(universes(record("market")))
    named = market | {"universe.txt": "".join(f"{code}\n" for code in tables.STOCKS).encode()}
    fewer = market | {"universe.txt": b"SH600000\nSH600001\n"}
    other = market | {"universe.txt": f"SH600000\t{FIRST}\t2024-12-31\n".encode()}
    needed = "a market that is not known on the date, for a model across stocks"
    yield _score("universe_all", "everything, for a model across stocks", "ok", _crossing(universes(record("all"))))
    yield _score(
        "universe_of_a_row",
        "a market that is not known on the date, for rows alone",
        "ok",
        bundle(edit=universes(record("market"))),
    )
    yield _score("universe_needed", needed, "universe.needed", market)
    yield _score("universe_named", f"{needed}, and the caller's own list", "ok", named, "--universe", "universe.txt")
    yield _score("universe_recorded", "a market on a recorded day", "ok", market, date=LAST)
    wrong = "a list that lacks a stock of a recorded day"
    yield _score("universe_differs", wrong, "universe.differs", fewer, "--universe", "universe.txt", date=LAST)
    wrong = "a file with other spans on the record's days"
    yield _score("universe_other_spans", wrong, "universe.differs", other, "--universe", "universe.txt")
    more = _crossing(universes(record("all", (*tables.STOCKS, "SH600009"))))
    wrong = "a table without a stock that was there when the record ended, for a model across stocks"
    yield _score("universe_member_without_a_row", wrong, "universe.incomplete", more)
    yield _score(
        "universe_member_that_left",
        f"{wrong}, and the caller's own list of those that are left",
        "ok",
        more | {"universe.txt": named["universe.txt"]},
        "--universe",
        "universe.txt",
    )
    index = record("all", (*tables.STOCKS, "SH000300"))
    wrong = "a table without an index that the stages of the training saw"
    yield _score("universe_incomplete", wrong, "universe.incomplete", _crossing(universes(index, "SH000300")))


def conventions() -> dict[str, Any]:
    """Bars that trade every day."""
    none = {"rows": 0, "episodes": 0, "longest": 0, "share": 0.0}
    return {
        "fields": ["close", "open", "volume"],
        "first": "2023-01-02",
        "last": "2023-12-29",
        "days": WINDOW,
        "stock_days": 700,
        "absent": 0,
        "empty": 0,
        **dict.fromkeys(_KINDS.split(), none),
    }


def _bars() -> Iterator[Case]:
    edit = both(universes(record("all")), put("alphas.conventions", [conventions()]))
    arguments = [
        *UNSIGNED,
        "--bars",
        "bars.parquet",
        "--features",
        "features.parquet",
        "--dates",
        "2024-01-03:2024-01-04",
    ]
    for name, text, code, change in (
        (
            "bars_filled",
            "bars of a day that repeat the day before, for a model across stocks",
            "bars.suspended",
            both(edit, _of_days),
        ),
        ("bars_of_a_holiday", "bars of a day that was no trading day in the training", "bars.calendar", _closed),
    ):
        whole = _WHOLE if code == "bars.suspended" else {}
        files = bar_bundle(edit=change, changed=whole) | {
            "bars.parquet": stored("bars_three_days"),
            "features.parquet": stored("sota"),
        }
        yield Case(name, f"Input: {text}.", "score", arguments, 18, code, files)


def _jumps() -> Iterator[Case]:
    edit = both(universes(record("all", first="2023-01-02")), put("alphas.moves", {"lowest": 0.9, "highest": 1.1}))
    arguments = [*UNSIGNED, "--bars", "bars.parquet", "--features", "features.parquet", "--date", DATE]
    given = {"bars.parquet": stored("bars"), "features.parquet": stored("sota")}
    text = "Input: a close that is twice the one before, and one that is infinite, where the training moved by a tenth at most"
    alone = Case("bars_jump_of_stocks", f"{text}.", "score", arguments, 0, "ok", bar_bundle(edit=edit) | given)
    alone.result = {"scored": 1, "excluded": {"bars.jump": 2}}
    yield alone
    whole = bar_bundle(edit=both(edit, _of_days), changed=_WHOLE) | given
    yield Case("bars_jump", f"{text}, for a model across stocks.", "score", arguments, 18, "bars.jump", whole)


_DAYS = {"first": FIRST, "last": "2024-01-05", "closed": ["2024-01-01", "2024-01-04"], "opened": []}
_closed = both(draft, put("data.calendar", _DAYS))
