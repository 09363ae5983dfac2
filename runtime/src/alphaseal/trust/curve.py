"""Whether 32 bytes are a public key of Ed25519 for which nobody but its owner can sign.

RFC 8032 lets a verifier take any 32 bytes that decode to a point, and the cryptography library does.  But for a point of
small order there are signatures that hold for every message, made without a private key; and a point that has a part of
small order, or that is written with a number of the field's size or more, is judged differently by different libraries.
Keys that `keygen` or any other honest program makes are never of these kinds.

Nothing here is secret, so nothing is done in constant time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_P: Final = 2**255 - 19
"""The field's size."""
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""Of the group that the base point makes; every key of an honest program is in it."""
_D: Final = -121665 * pow(121666, -1, _P) % _P
_SQUARE_ROOT_OF_MINUS_1: Final = pow(2, (_P - 1) // 4, _P)

_Point = tuple[int, int, int, int]
"""Extended coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, x·y = T/Z (RFC 8032, section 5.1.4)."""
_NEUTRAL: Final[_Point] = (0, 1, 1, 0)


@lru_cache(maxsize=1024)
def weakness(public_key: bytes) -> str | None:
    """What is wrong with a raw public key of 32 bytes, in words for a message; None for a key that is sound."""
    number = int.from_bytes(public_key, "little")
    y, odd = number & (2**255 - 1), number >> 255
    if y >= _P:
        return "is not written in its one form"
    x = _root((y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P)
    if x is None:
        return "is no point of the curve"
    if x & 1 != odd:
        if x == 0:
            return "is not written in its one form"
        x = _P - x
    point = (x, y, 1, x * y % _P)
    if _is_neutral(_times(8, point)):
        return "is of small order: anybody can sign for it"
    if not _is_neutral(_times(_ORDER, point)):
        return "has a part of small order"
    return None


def _root(square: int) -> int | None:
    """A square root modulo the field's size, or None (RFC 8032, section 5.1.3)."""
    root = pow(square, (_P + 3) // 8, _P)
    if root * root % _P != square:
        root = root * _SQUARE_ROOT_OF_MINUS_1 % _P
    return root if root * root % _P == square else None


def _add(left: _Point, right: _Point) -> _Point:
    """The sum of two points, equal ones included: the formulas of the twisted curve are complete."""
    a = (left[1] - left[0]) * (right[1] - right[0]) % _P
    b = (left[1] + left[0]) * (right[1] + right[0]) % _P
    c = 2 * left[3] * right[3] * _D % _P
    d = 2 * left[2] * right[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(factor: int, point: _Point) -> _Point:
    result = _NEUTRAL
    for bit in f"{factor:b}":
        result = _add(result, result)
        if bit == "1":
            result = _add(result, point)
    return result


def _is_neutral(point: _Point) -> bool:
    return point[0] == 0 and (point[1] - point[2]) % _P == 0
