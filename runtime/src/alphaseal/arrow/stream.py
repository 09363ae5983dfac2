"""Batches of a table that another library hands over through the Arrow C stream interface.

Such a library says how many values are missing beside the bitmap that marks them.  Arrow drops the bitmap where the count
is 0, and nobody could tell afterwards, so the counts are set to "not known" before Arrow sees them: it counts by itself.
Pointers and lengths have to be believed: what lies behind them is memory of this process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

_DEEPEST = 64
_NOT_KNOWN = -1
_SCHEMA_BYTES = 72
"""Of the interface's ArrowSchema: three pointers, two integers, four pointers."""


class _Array(ctypes.Structure):
    """The interface's ArrowArray."""


_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.c_void_p),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
    ("dictionary", ctypes.POINTER(_Array)),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]


class _Stream(ctypes.Structure):
    """The interface's ArrowArrayStream; all of it belongs to who made it."""


_Call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.c_void_p)
_Stream._fields_ = [
    ("get_schema", _Call),
    ("get_next", _Call),
    ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(_Stream))),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class StreamReader:
    """The batches of an object with ``__arrow_c_stream__``, once; `schema` is known before the first."""

    def __init__(self, table: Any) -> None:
        # The capsule releases the stream with itself.
        self._capsule = table.__arrow_c_stream__()
        self._stream = _Stream.from_address(_pointer_of(self._capsule, b"arrow_array_stream"))
        room = (ctypes.c_byte * _SCHEMA_BYTES)()
        self._ask(self._stream.get_schema, room)
        self.schema = pa.Schema._import_from_c(ctypes.addressof(room))  # noqa: SLF001 - pyarrow has no other way

    def __enter__(self) -> StreamReader:
        return self

    def __exit__(self, *_: object) -> None:
        del self._capsule

    def __iter__(self) -> Iterator[Any]:
        while True:
            array = _Array()
            self._ask(self._stream.get_next, array)
            if not array.release:
                return
            _forget_counts(array, 0)
            yield pa.RecordBatch._import_from_c(ctypes.addressof(array), self.schema)  # noqa: SLF001 - as above

    def _ask(self, call: Any, room: Any) -> None:
        """Let the stream fill `room`; ArrowInvalid with its words where it cannot."""
        code = call(ctypes.byref(self._stream), ctypes.addressof(room))
        if code != 0:
            words = self._stream.get_last_error(ctypes.byref(self._stream))
            raise pa.ArrowInvalid(words.decode("utf-8", "replace") if words else f"the stream ends with error {code}")


def _forget_counts(array: _Array, depth: int) -> None:
    """Make the count of missing values unknown, in all parts of an array."""
    if depth > _DEEPEST:
        raise pa.ArrowInvalid("the columns are nested too deeply")
    array.null_count = _NOT_KNOWN
    for place in range(array.n_children):
        _forget_counts(array.children[place].contents, depth + 1)
    if array.dictionary:
        _forget_counts(array.dictionary.contents, depth + 1)
