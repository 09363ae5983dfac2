"""Weights of a pickled torch module out of inert records; torch is not needed and nothing is called.

A tensor is pickled as ``_rebuild_tensor_v2(_load_from_bytes(BYTES), offset, size, stride, ...)``.  BYTES is torch's old
file format (``torch.serialization._legacy_save``): five small pickles (magic number, protocol, system, a persistent id
``('storage', class, key, location, elements, view)``, list of keys), then the number of elements as int64 and the raw
little-endian values.  Where the values lived (``cuda:0``) makes no difference to them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alphaseal_converter.decode.scalars import shown
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles import PERSISTENT_LOAD, read_first_pickle
from alphaseal_converter.pickles.records import Global, Record

__all__ = ["NetworkState", "read_network_state", "read_tensor"]

Array = npt.NDArray[Any]
Plain = None | bool | int | float | str

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_ZIP: Final = b"PK\x03\x04"
_BFLOAT16: Final = "bfloat16"
_STORAGES: Final[Mapping[str, str]] = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
_MAXIMUM_RANK: Final = 16
_MAXIMUM_ELEMENTS: Final = 1 << 28
"""Of all tensors of a network together: a stride of 0 makes many elements of one."""
_MAXIMUM_MODULES: Final = 20_000
_MAXIMUM_DEPTH: Final = 100
_LOAD: Final = Global("torch.storage", "_load_from_bytes")
_REBUILD: Final = Global("torch._utils", "_rebuild_tensor_v2")
_PARAMETER: Final = Global("torch._utils", "_rebuild_parameter")
_ORDERED: Final = Global("collections", "OrderedDict")


@dataclass(frozen=True)
class NetworkState:
    """What a pickled ``torch.nn.Module`` holds.

    `classes` maps the dotted path of every submodule ("" for the whole) to its class; `tensors` the dotted names of
    all parameters and buffers, those that a ``state_dict`` leaves out among them, to arrays (bfloat16 widened to
    float32); `attributes` the dotted names of plain attributes to their values.  All in pickled order.
    """

    classes: Mapping[str, str]
    tensors: Mapping[str, Array]
    attributes: Mapping[str, Plain]


def read_network_state(module: Any, where: str) -> NetworkState:
    """The state of the module that `module` records.

    RefusalError: `network.form` (not a module, one inside itself), `network.limit`, `tensor.form`, `tensor.unsupported`,
    `tensor.bounds`, `tensor.limit`, or a code ``pickle.*`` of the storage's own pickles.
    """
    reader = _Reader(where)
    reader.module(module, "", 0)
    return NetworkState(reader.classes, reader.tensors, reader.attributes)


def read_tensor(record: Any, where: str) -> Array:
    """The array of one tensor or parameter record; a copy in C order."""
    return _Reader(where).tensor(record, "tensor")


@dataclass
class _Reader:
    where: str
    classes: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)
    attributes: dict[str, Plain] = field(default_factory=dict)
    storages: dict[int, Array] = field(default_factory=dict)
    elements: int = 0

    def refuse(self, code: str, message: str, **details: str) -> RefusalError:
        return RefusalError(code, message, where=self.where, **details)

    # ---- modules

    def module(self, record: Any, path: str, depth: int) -> None:
        name = path or "the network"
        if not isinstance(record, Record) or not isinstance(record.factory, Global):
            raise self.refuse("network.form", f"{name} is not a module of torch")
        missing = [part for part in ("_parameters", "_buffers", "_modules") if part not in record.attributes]
        if missing:
            raise self.refuse("network.form", f"{name} ({record.factory}) has no {', '.join(missing)}")
        if depth > _MAXIMUM_DEPTH or len(self.classes) >= _MAXIMUM_MODULES:
            raise self.refuse("network.limit", "the network has too many modules, or one inside itself")
        self.classes[path] = str(record.factory)
        prefix = f"{path}." if path else ""
        for kind in ("_parameters", "_buffers"):
            for key, value in self.entries(record.get(kind), f"{name}: {kind}"):
                if value is not None:
                    self.tensors[prefix + key] = self.tensor(value, prefix + key)
        for key, value in record.attributes.items():
            if isinstance(key, str) and isinstance(value, Plain) and key != "training":
                self.attributes[prefix + key] = value
        for key, value in self.entries(record.get("_modules"), f"{name}: _modules"):
            if value is not None:
                self.module(value, prefix + key, depth + 1)

    def entries(self, value: Any, name: str) -> Iterator[tuple[str, Any]]:
        """Of a dict, or of the OrderedDict that older versions of torch wrote."""
        pairs: Any = value.items() if isinstance(value, dict) else None
        if isinstance(value, Record) and value.factory == _ORDERED and not value.args:
            pairs = value.entries
        if pairs is None:
            raise self.refuse("network.form", f"{name} is not a dict")
        for key, entry in pairs:
            if not isinstance(key, str) or not key or "." in key:
                raise self.refuse("network.form", f"{name} has a key that is no name", found=shown(key))
            yield key, entry

    # ---- tensors

    def tensor(self, record: Any, name: str) -> Array:
        if isinstance(record, Record) and record.factory == _PARAMETER and record.args:
            record = record.args[0]
        if not isinstance(record, Record) or record.factory != _REBUILD or len(record.args) < 4:
            found = str(record.factory) if isinstance(record, Record) else type(record).__name__
            raise self.refuse(
                "tensor.unsupported", f"{name} is not a plain tensor", expected=str(_REBUILD), found=found
            )
        storage, offset, shape, strides = record.args[:4]
        values = self.storage(storage, name)
        if not (_whole(offset) and _wholes(shape) and _wholes(strides) and len(shape) == len(strides)):
            raise self.refuse("tensor.form", f"{name}: offset, size and stride are not whole numbers from 0 on")
        if len(shape) > _MAXIMUM_RANK:
            raise self.refuse(
                "tensor.limit", f"{name} has {len(shape)} dimensions", expected=f"{_MAXIMUM_RANK} at most"
            )
        count = math.prod(shape)
        self.elements += count
        if self.elements > _MAXIMUM_ELEMENTS:
            raise self.refuse("tensor.limit", f"the tensors up to {name} have more than {_MAXIMUM_ELEMENTS} elements")
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        if count and last >= len(values):
            raise self.refuse(
                "tensor.bounds",
                f"{name} reaches beyond its storage",
                expected=f"an element below {len(values)}",
                found=str(last),
            )
        if not count:
            return np.zeros(shape, values.dtype)
        steps = tuple(stride * values.itemsize for stride in strides)
        # The bounds were checked above: as_strided itself checks nothing.
        view: Array = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
        return np.array(view, order="C")

    def storage(self, record: Any, name: str) -> Array:
        """The values of a storage, one-dimensional; each storage is read once."""
        if not isinstance(record, Record) or record.factory != _LOAD or len(record.args) != 1:
            found = str(record.factory) if isinstance(record, Record) else type(record).__name__
            raise self.refuse("tensor.unsupported", f"the values of {name} are stored in another way", found=found)
        if id(record) not in self.storages:
            content = record.args[0]
            if not isinstance(content, bytes):
                raise self.refuse("tensor.form", f"the storage of {name} is not bytes")
            self.storages[id(record)] = self.parse_storage(content, name)
        return self.storages[id(record)]

    def parse_storage(self, content: bytes, name: str) -> Array:
        if content.startswith(_ZIP):
            raise self.refuse(
                "tensor.unsupported",
                f"the storage of {name} has torch's zip form, which torch does not write inside of a pickle",
            )
        where, position, parts = f"{self.where}: storage of {name}", 0, []
        for _ in range(5):
            part, position = read_first_pickle(content, position, where=where)
            parts.append(part)
        magic, protocol, system, identity, keys = parts
        if magic != _MAGIC or protocol != _PROTOCOL or not isinstance(system, dict):
            raise self.refuse("tensor.form", f"the storage of {name} is not of torch's old file format")
        if system.get("little_endian") is not True:
            raise self.refuse("tensor.unsupported", f"the storage of {name} was written by a big-endian machine")
        kind, key, count = self.identity(identity, name)
        if keys != [key]:
            raise self.refuse("tensor.form", f"the storage of {name} holds other keys than its own")
        return self.raw_values(content, position, kind, count, name)

    def identity(self, record: Any, name: str) -> tuple[str, str, int]:
        """(dtype, key, number of elements) of a storage's persistent id."""
        identity = record.args[0] if isinstance(record, Record) and record.factory == PERSISTENT_LOAD else None
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            raise self.refuse("tensor.form", f"the storage of {name} has no identity")
        _, kind, key, _, count, *view = identity
        if view not in ([], [None]):
            raise self.refuse("tensor.unsupported", f"the storage of {name} is a view of another one")
        if not isinstance(key, str) or not _whole(count):
            raise self.refuse("tensor.form", f"the storage of {name} has a damaged identity")
        if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in _STORAGES:
            raise self.refuse(
                "tensor.unsupported",
                f"the values of {name} have a type that is not read",
                expected=", ".join(_STORAGES),
                found=str(kind)[:80],
            )
        return _STORAGES[kind.name], key, count

    def raw_values(self, content: bytes, position: int, kind: str, count: int, name: str) -> Array:
        width = 2 if kind == _BFLOAT16 else np.dtype(kind).itemsize
        # Exactly the announced values and nothing behind them.
        if len(content) != position + 8 + count * width or struct.unpack_from("<q", content, position)[0] != count:
            raise self.refuse(
                "tensor.bounds",
                f"the storage of {name} is cut off or too long",
                expected=f"{count} elements of {width} bytes",
                found=f"{len(content) - position} bytes",
            )
        stored = {_BFLOAT16: "<u2", "|b1": "|u1"}.get(kind, kind)
        values: Array = np.frombuffer(content, stored, count, position + 8)
        if kind == _BFLOAT16:
            # A bfloat16 is the upper half of a float32.
            values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        elif kind == "|b1":
            values = values != 0
        return values.astype(values.dtype.newbyteorder("="))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _wholes(value: Any) -> bool:
    return isinstance(value, tuple) and all(_whole(entry) for entry in value)
