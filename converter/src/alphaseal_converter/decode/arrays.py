"""numpy arrays and Arrow's text arrays from inert records."""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from typing import Any, Final

import numpy as np

from alphaseal_converter.decode.scalars import (
    SCALARS,
    Plain,
    as_bytes,
    as_dtype,
    bad_value,
    constructor,
    describe,
    from_bytes,
    guarded,
    numpy_scalar,
    shown,
    unknown,
    whole,
)
from alphaseal_converter.pickles.records import Global, Record

Array = np.ndarray[Any, Any]
Values = Array | list[Any]
"""One value per row: an array of numbers or times, or a list for what numpy would keep as objects (None = missing)."""

RECONSTRUCT: Final = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
FROM_BUFFER: Final = {("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")}


@guarded
def as_array(value: Any, *, where: str | None = None) -> Array:
    """The array of a numpy record (read-only, native byte order), or a numpy scalar as an array of shape ().

    An array of objects keeps that dtype; its elements are plain values as `as_plain` makes them.
    """
    name = constructor(value)
    if name in SCALARS:
        return numpy_scalar(value)
    if name in RECONSTRUCT:
        return _reconstructed(value)
    if name in FROM_BUFFER:
        return _from_buffer(value)
    raise unknown(value, "a numpy array")


def _reconstructed(value: Record) -> Array:
    if value.args[0] != Global("numpy", "ndarray"):
        raise unknown(value.args[0], "numpy.ndarray")
    _, shape, dtype_record, is_fortran, content = value.state
    dtype = as_dtype(dtype_record)
    lengths = _shape(shape)
    if dtype.kind == "O":
        return _objects(content, lengths)
    return from_bytes(as_bytes(content), dtype, lengths, "F" if is_fortran else "C")


def _from_buffer(value: Record) -> Array:
    content, dtype_record, shape, order, *axes = value.args
    dtype, lengths = as_dtype(dtype_record), _shape(shape)
    if order == "K" and axes and axes[0] is not None:
        array = from_bytes(as_bytes(content), dtype, lengths, "C")
        return np.transpose(array, [whole(axis) for axis in axes[0]])
    if order not in ("C", "F"):
        raise bad_value(f"the memory order {shown(order)} is not known")
    return from_bytes(as_bytes(content), dtype, lengths, order)


def _shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple:
        raise bad_value(f"the shape of an array is {describe(shape)}")
    return tuple(whole(length) for length in shape)


def _objects(members: Any, shape: tuple[int, ...]) -> Array:
    """Objects are pickled as a list in C order, whatever the memory order was."""
    if type(members) is not list or math.prod(shape) != len(members):
        raise bad_value(f"an array of objects of shape {shape} is not given as many objects")
    plain = Plain()
    array = np.empty(len(members), dtype=object)
    for position, member in enumerate(members):
        array[position] = member if type(member) is str else plain.convert(member)
    return array.reshape(shape)


def as_objects(values: list[Any]) -> Array:
    """`values` as a one-dimensional array of objects."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def take(values: Values, codes: Array) -> Array:
    """``values[codes]`` with -1 as missing: NaT, NaN, or None; integers with missing ones become objects."""
    source = as_objects(values) if isinstance(values, list) else values
    if codes.dtype.kind != "i" or codes.ndim != 1:
        raise bad_value("codes are not one row of whole numbers")
    if codes.size and (codes.min() < -1 or codes.max() >= len(source)):
        raise bad_value(f"a code points outside of the {len(source)} values of its level")
    missing = codes == -1
    if not missing.any():
        return source[codes]
    fill: Any = {"M": np.datetime64("NaT"), "m": np.timedelta64("NaT"), "f": np.nan}.get(source.dtype.kind)
    if fill is None:
        source = source.astype(object)
    result = np.empty(len(codes), dtype=source.dtype)
    result[missing] = fill
    result[~missing] = source[codes[~missing]]
    return result


# ---- Arrow's text columns (pandas 3, and pandas 2 on request)

_OFFSETS: Final = {"string": "i", "utf8": "i", "large_string": "q", "large_utf8": "q"}


def arrow_texts(value: Any) -> list[str | None]:
    """The texts of an Arrow array or of a chunked one, None where one is missing."""
    if constructor(value) == ("pyarrow.lib", "chunked_array"):
        chunks = value.args[0]
        if type(chunks) is not list:
            raise bad_value("the chunks of an Arrow column are not a list")
        return [text for chunk in chunks for text in _one_chunk(chunk)]
    return _one_chunk(value)


def _one_chunk(value: Any) -> list[str | None]:
    if constructor(value) != ("pyarrow.lib", "_restore_array"):
        raise unknown(value, "an Arrow array of text")
    (content,) = value.args
    return _arrow_texts(content)


def _arrow_texts(content: Any) -> list[str | None]:
    """Arrow's layout: (type, length, nulls, offset, [validity bits, offsets, bytes], children, dictionary)."""
    kind, length, _, offset, buffers, children, *dictionary = content
    if children or any(dictionary) or constructor(kind) != ("pyarrow.lib", "type_for_alias"):
        raise unknown(kind, "an Arrow array of text")
    code = _OFFSETS.get(kind.args[0]) if type(kind.args[0]) is str else None
    if code is None:
        raise unknown(kind, "an Arrow array of text")
    count, start = whole(length), whole(offset)
    validity, positions, texts = (None if buffer is None else _arrow_buffer(buffer) for buffer in buffers)
    width = struct.calcsize(f"<{code}")
    if count == 0:
        return []
    if positions is None or len(positions) < (start + count + 1) * width:
        raise bad_value("the offsets of an Arrow column are cut off")
    bounds = struct.unpack_from(f"<{count + 1}{code}", positions, start * width)
    text_bytes = texts or b""
    if bounds[0] < 0 or bounds[-1] > len(text_bytes) or any(a > b for a, b in pairwise(bounds)):
        raise bad_value("the offsets of an Arrow column do not fit its bytes")
    if validity is not None and len(validity) * 8 < start + count:
        raise bad_value("the validity bits of an Arrow column are cut off")
    result: list[str | None] = []
    for position in range(count):
        bit = start + position
        present = validity is None or validity[bit >> 3] >> (bit & 7) & 1
        result.append(text_bytes[bounds[position] : bounds[position + 1]].decode() if present else None)
    return result


def _arrow_buffer(value: Any) -> bytes:
    if constructor(value) != ("pyarrow.lib", "py_buffer"):
        raise unknown(value, "a buffer of Arrow")
    return as_bytes(value.args[0])
