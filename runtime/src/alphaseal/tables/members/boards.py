"""What kind of thing a code names, as far as codes say it: an exchange's board, and whether boards are of one kind.

Codes of the Chinese exchanges tell stocks from indices, funds and bonds by their first two digits; a leading caret is an
index everywhere.  Which kinds belong to a universe is never taken from here: it follows from the recorded members.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_QLIB = re.compile(r"(SH|SZ|BJ)([0-9]{6})")
_TS = re.compile(r"([0-9]{6})\.(SH|SZ|BJ)")
INDEX = "index"
_KINDS = {
    "stock": "SH60 SH68 SZ00 SZ30 BJ43 BJ83 BJ87 BJ88 BJ92",
    "stock in foreign money": "SH90 SZ20",
    INDEX: "SH00 SZ39 BJ89 ^",
    "fund": "SH50 SH51 SH52 SH53 SH55 SH56 SH58 SZ15 SZ16 SZ18",
    "bond": "SH01 SH10 SH11 SH12 SH13 SH20 SZ10 SZ11 SZ12 SZ13",
}
_KIND_OF = {board: kind for kind, boards in _KINDS.items() for board in boards.split()}
OTHER = "*"
"""The board of every code that says nothing of itself."""
_LEAST_SHARE = 10
"""A kind that fewer than one in so many members are of is no kind of the universe: its members are exceptions."""


def board_of(code: str) -> str:
    """`SH60` for `SH600000` and `600000.SH`, `^` for `^GSPC`, the first two of six digits, else `*`."""
    found = _QLIB.fullmatch(code)
    exchange, number = found.groups() if found is not None else ("", code)
    if found is None and (turned := _TS.fullmatch(code)) is not None:
        number, exchange = turned.groups()
    if code.startswith("^"):
        return "^"
    return exchange + number[:2] if len(number) == 6 and number.isascii() and number.isdigit() else OTHER


def forms_of(code: str) -> set[str]:
    """The code as it is, in capitals, and in the other notation of the Chinese exchanges."""
    upper = code.upper()
    forms = {code, upper}
    if (found := _QLIB.fullmatch(upper)) is not None:
        forms.add(f"{found[2]}.{found[1]}")
    if (found := _TS.fullmatch(upper)) is not None:
        forms.add(f"{found[2]}{found[1]}")
    return forms


def counted(codes: Iterable[str]) -> dict[str, int]:
    """board -> how many of the codes are of it."""
    counts: dict[str, int] = {}
    for code in codes:
        board = board_of(code)
        counts[board] = counts.get(board, 0) + 1
    return counts


class Boards:
    """The boards of a universe's members, and which others are of the same kind."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        """`counts`: board -> number of members; empty: nothing is known, and every code is of the universe's kind."""
        total = sum(counts.values())
        kinds: dict[str, int] = {}
        for board, count in counts.items():
            kinds[kind_of(board)] = kinds.get(kind_of(board), 0) + count
        # An index among stocks is no stock, however few the stocks are.
        self._kinds = {kind for kind, count in kinds.items() if count * (2 if kind == INDEX else _LEAST_SHARE) >= total}
        self._exchanges = {_exchange(board) for board in counts if kind_of(board) in self._kinds}
        self._known = bool(counts)

    def holds(self, code: str) -> bool:
        """Whether the code is of the universe's kind: of a kind that its members are of, and of one of their exchanges."""
        board = board_of(code)
        return not self._known or (kind_of(board) in self._kinds and _exchange(board) in self._exchanges)


def kind_of(board: str) -> str:
    """Stocks, indices, funds, bonds; of a board that is not known the board itself."""
    return _KIND_OF.get(board, board)


def _exchange(board: str) -> str:
    return board[:2] if board[:2] in ("SH", "SZ", "BJ") else ""
