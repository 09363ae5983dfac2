"""The small constructors: dtypes, numpy scalars, dates, paths, builtins; and plain data made of them."""

from __future__ import annotations

import datetime as dates
import functools
import math
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles import Crowd, key_problem
from alphaseal_converter.pickles.records import Global, Record

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Name = tuple[str, str]

_DEEPEST: Final = 150
_LARGEST: Final = 10_000_000
_PYTHON2: Final = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def guarded(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Arguments of the wrong kind or number become ``pickle.bad_value``: a file may put anything anywhere."""

    @functools.wraps(function)
    def wrapped(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        where = keywords.get("where")
        try:
            return function(*arguments, **keywords)
        except RefusalError as refusal:
            if refusal.where is None and where is not None:
                refusal.where = str(where)
            raise
        except (
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
            MemoryError,
            struct.error,
        ) as problem:
            subject = describe(arguments[0]) if arguments else function.__name__
            raise bad_value(f"{subject} cannot be read: {problem}", None if where is None else str(where)) from problem

    return wrapped


def bad_value(message: str, where: str | None = None) -> RefusalError:
    return RefusalError("pickle.bad_value", message, where=where)


def unknown(value: Any, wanted: str) -> RefusalError:
    return RefusalError(
        "pickle.unknown_constructor", f"{describe(value)} is not one of the constructors known here", expected=wanted
    )


def constructor(value: Any) -> Name:
    """(module, name) of what a record would call, with Python 3's module names; empty for anything else.

    Empty too for an object that ``__new__`` alone made of arguments, which is not what a call would make of them, and
    for members that were put into something else than a container: they would change it.
    """
    if type(value) is not Record or not isinstance(value.factory, Global):
        return "", ""
    name = _PYTHON2.get(value.factory.module, value.factory.module), value.factory.name
    if (value.new and (value.args or value.kwargs)) or ((value.items or value.entries) and name not in _CONTAINERS):
        return "", ""
    return name


def describe(value: Any) -> str:
    """What `value` is, for a message."""
    if isinstance(value, Global):
        return str(value)
    if isinstance(value, Record):
        return str(value.factory) if isinstance(value.factory, Global) else "the result of a call"
    return f"a {type(value).__name__}"


def shown(value: Any) -> str:
    """Any value of a graph in a message: numbers and text as they are, cut; of all else only what it is."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value[:60] if isinstance(value, str | bytes) else value)[:80]
    return describe(value)


def whole(value: Any, lowest: int = 0) -> int:
    """`value` as an int of at least `lowest`; bool and float are no ints here."""
    if type(value) is not int or value < lowest:
        raise bad_value(f"{describe(value)} stands where a whole number of at least {lowest} belongs")
    return value


# ---- bytes and numpy's small things

_ENCODE: Final = ("_codecs", "encode")
_BYTE_BUILTINS: Final = {("builtins", "bytes"), ("builtins", "bytearray")}


def as_bytes(value: Any) -> bytes:
    """Bytes as protocols 0 to 5 write them: themselves, ``_codecs.encode``, or a call of bytes or bytearray."""
    if type(value) is bytes:
        return value
    name = constructor(value)
    if name == _ENCODE:
        text, *encoding = value.args
        return _encode(text, *encoding)
    if name in _BYTE_BUILTINS:
        if not value.args:
            return b""
        content, *encoding = value.args
        return _encode(content, *encoding) if encoding else as_bytes(content)
    raise unknown(value, "bytes")


def _encode(text: Any, encoding: Any) -> bytes:
    if type(text) is not str or type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise bad_value(f"bytes are written as {describe(text)} in {shown(encoding)}, not as text in latin1")
    return text.encode("latin-1")


_TYPE_CODE: Final = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|O8?|[SUV]\d{1,9}|[Mm]8")
_TIME_UNIT: Final = re.compile(r"Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as|generic")
_FLAT: Final = frozenset("biufcSUMm")


@guarded
def as_dtype(value: Any, *, where: str | None = None) -> np.dtype[Any]:
    """The numpy dtype of a ``numpy.dtype`` record; a structured one has flat fields of plain kinds."""
    dtype = _simple_dtype(value)
    state = value.state
    names, fields = (state[3], state[4]) if state is not None else (None, None)
    if names is None:
        return dtype
    named = type(names) is tuple and all(type(name) is str for name in names)
    if dtype.kind != "V" or not named or type(fields) is not dict or set(fields) != set(names):
        raise bad_value("the fields of a structured dtype do not fit together")
    inner = [_simple_dtype(fields[name][0]) for name in names]
    if any(field.kind not in _FLAT for field in inner):
        raise bad_value("a structured dtype has fields that are not plain numbers or text")
    offsets = [whole(fields[name][1]) for name in names]
    layout = {"names": list(names), "formats": inner, "offsets": offsets, "itemsize": whole(state[5], 1)}
    return np.dtype(layout)  # type: ignore[call-overload,no-any-return]


def _simple_dtype(value: Any) -> np.dtype[Any]:
    if constructor(value) != ("numpy", "dtype"):
        raise unknown(value, "numpy.dtype")
    code, state = value.args[0], value.state
    if type(code) is not str or not _TYPE_CODE.fullmatch(code):
        raise bad_value(f"the dtype {shown(code)} is not known")
    if state is None:
        return np.dtype(code)
    if state[2] is not None:
        raise bad_value("a dtype is an array of another")
    if code[0] in "Mm":
        unit, count, *_ = state[8][1]
        text = unit if type(unit) is str else as_bytes(unit).decode("ascii")
        if not _TIME_UNIT.fullmatch(text):
            raise bad_value(f"the time unit {text!r} is not known")
        code = f"{code}[{whole(count, 1)}{text}]" if text != "generic" else code
    if state[1] not in ("<", ">", "=", "|"):
        raise bad_value(f"the byte order {shown(state[1])} is not known")
    dtype: np.dtype[Any] = np.dtype(code).newbyteorder(state[1])
    return dtype


def from_bytes(content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> np.ndarray[Any, Any]:
    """An array (read-only, native byte order) over `content`, whose length is checked first."""
    count = math.prod(shape)
    if dtype.hasobject or dtype.itemsize == 0:
        raise bad_value(f"an array of {dtype} cannot be made from bytes")
    if len(shape) > 32 or count * dtype.itemsize != len(content):
        raise bad_value(f"an array of shape {shape} and {dtype} is given {len(content)} bytes")
    flat = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
    array = flat.reshape(shape, order="F" if order == "F" else "C")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


SCALARS: Final = {("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")}


def numpy_scalar(value: Record) -> np.ndarray[Any, Any]:
    """A numpy scalar as an array of shape ()."""
    dtype, content = value.args
    return from_bytes(as_bytes(content), as_dtype(dtype), (), "C")


# ---- dates

_TIMESTAMP: Final = ("pandas._libs.tslibs.timestamps", "_unpickle_timestamp")
NOT_A_TIME: Final = {
    ("pandas._libs.tslibs.nattype", "__nat_unpickle"),
    ("pandas._libs.tslibs.nattype", "_nat_unpickle"),
}
_RESOLUTIONS: Final = {7: "s", 8: "ms", 9: "us", 10: "ns"}
"""numpy's NPY_DATETIMEUNIT, which pandas 2 and later write; before, a Timestamp was in nanoseconds."""


def timestamp(value: Record) -> np.datetime64:
    """A pandas Timestamp without a time zone, in its own resolution."""
    count, _, zone, *resolution = value.args
    if zone is not None:
        raise bad_value("a Timestamp has a time zone; the dates of a daily model have none")
    unit = _RESOLUTIONS[whole(resolution[0]) if resolution else 10]
    return np.datetime64(whole(count, -(1 << 63)), unit)  # type: ignore[call-overload,no-any-return]


def _python_timestamp(value: Record) -> dates.datetime:
    exact = timestamp(value)
    rounded = exact.astype("datetime64[us]")
    if rounded != exact:
        raise bad_value(f"the Timestamp {exact} is finer than a microsecond")
    return _only(rounded.item(), dates.datetime)


def _date(value: Record) -> dates.date:
    first, *rest = value.args
    if type(first) is int:
        return dates.date(first, *rest)
    content = as_bytes(first)
    year, month, day = struct.unpack(">HBB", content)
    return dates.date(year, month, day)


def _datetime(value: Record) -> dates.datetime:
    content = as_bytes(value.args[0])
    year, month, day, hour, minute, second, high, low = struct.unpack(">HBBBBBBH", content)
    zone = _timezone(value.args[1]) if len(value.args) > 1 and value.args[1] is not None else None
    # The highest bit of the month is `fold`: the second of two equal wall clock times.
    return dates.datetime(year, month & 0x7F, day, hour, minute, second, high << 16 | low, zone, fold=month >> 7)


def _timedelta(value: Record) -> dates.timedelta:
    days, seconds, microseconds = (whole(part, -(10**9)) for part in value.args)
    return dates.timedelta(days, seconds, microseconds)


def _timezone(value: Any) -> dates.timezone:
    if constructor(value) != ("datetime", "timezone"):
        raise unknown(value, "datetime.timezone")
    offset = value.args[0]
    if constructor(offset) != ("datetime", "timedelta"):
        raise unknown(offset, "datetime.timedelta")
    return dates.timezone(_timedelta(offset))


def _only(value: Any, kind: type[Result]) -> Result:
    if not isinstance(value, kind):
        raise bad_value(f"{describe(value)} stands where a {kind.__name__} belongs")
    return value


# ---- paths

_PATH_MODULES: Final = ("pathlib", "pathlib._local")
_POSIX: Final = {
    (module, name) for module in _PATH_MODULES for name in ("PosixPath", "PurePosixPath", "Path", "PurePath")
}
_WINDOWS: Final = {(module, name) for module in _PATH_MODULES for name in ("WindowsPath", "PureWindowsPath")}


@guarded
def as_path(value: Any, *, where: str | None = None) -> PurePosixPath | PureWindowsPath:
    """A path of the system that wrote the pickle, as its parts say; it need not exist here."""
    name = constructor(value)
    if name not in _POSIX and name not in _WINDOWS:
        raise unknown(value, "a path")
    parts = [_only(part, str) for part in value.args]
    return PureWindowsPath(*parts) if name in _WINDOWS else PurePosixPath(*parts)


@guarded
def as_text(value: Any, *, where: str | None = None) -> str:
    """A str, or a numpy text scalar."""
    if type(value) is str:
        return value
    if constructor(value) in SCALARS:
        return str(_only(numpy_scalar(value).item(), str))
    raise unknown(value, "text")


# ---- plain data


@guarded
def as_plain(value: Any, *, where: str | None = None) -> Any:
    """Dicts, lists, tuples, sets, text, bytes, numbers, None, dates and times; what qlib's `task` is made of.

    numpy scalars become Python's, Timestamps `datetime` (NaT and NA None), paths text, mappings of any kind dict,
    bytearrays bytes.  A value that occurs twice is one object in the result too.  Refused: a value within itself
    (``pickle.cycle``), nesting deeper than 150 (``pickle.nesting``), and a graph that would be more than ten million
    values if written out (``pickle.limit``).
    """
    return Plain().convert(value)


class Plain:
    """One conversion: shared values are converted once, and their written-out size is followed."""

    def __init__(self) -> None:
        self._results: dict[int, Any] = {}
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def convert(self, value: Any) -> Any:
        return self._convert(value)[0]

    def _convert(self, value: Any) -> tuple[Any, int]:
        """The plain value, and how many values it is when written out."""
        kind = type(value)
        if kind in _PLAIN:
            return value, 1
        if kind is Global and value in _MISSING:
            return None, 1
        key = id(value)
        if key not in self._results:
            if key in self._open:
                raise RefusalError("pickle.cycle", f"{describe(value)} contains itself")
            if len(self._open) >= _DEEPEST:
                raise RefusalError("pickle.nesting", f"plain values are nested deeper than {_DEEPEST}")
            self._open.add(key)
            self._results[key], self._sizes[key] = self._record(value) if kind is Record else self._container(value)
            self._open.discard(key)
        return self._results[key], self._sizes[key]

    def _container(self, value: Any) -> tuple[Any, int]:
        kind = type(value)
        if kind is dict:
            return self._mapping(value.items())
        if kind in (list, tuple, set, frozenset):
            return self._members(kind, value)
        raise unknown(value, "plain data")

    def _members(self, kind: Callable[[list[Any]], Any], values: Iterable[Any]) -> tuple[Any, int]:
        converted = [self._convert(member) for member in values]
        members = [member for member, _ in converted]
        if kind in (set, frozenset):
            self._check_keys(members)
        return kind(members), self._total(size for _, size in converted)

    def _mapping(self, pairs: Iterable[tuple[Any, Any]]) -> tuple[dict[Any, Any], int]:
        converted = [(self._convert(key), self._convert(value)) for key, value in pairs]
        self._check_keys(key for (key, _), _ in converted)
        result = {key: value for (key, _), (value, _) in converted}
        return result, self._total(size for pair in converted for _, size in pair)

    def _check_keys(self, keys: Iterable[Any]) -> None:
        crowd = Crowd()
        for key in keys:
            if type(key) in (dates.date, dates.datetime):
                continue
            problem = key_problem(key)
            if problem is None and crowd.counts(key):
                problem = crowd.problem(key)
            if problem is not None:
                raise RefusalError("pickle.key", problem)

    def _total(self, sizes: Iterable[int]) -> int:
        total = 1 + sum(sizes)
        if total > _LARGEST:
            raise RefusalError("pickle.limit", f"written out, the values would be more than {_LARGEST}")
        return total

    def _record(self, value: Record) -> tuple[Any, int]:
        name = constructor(value)
        if name in _SIMPLE:
            if value.state is not None or value.items or value.entries:
                raise bad_value(f"{describe(value)} has contents that its class does not have")
            return _SIMPLE[name](value), 1
        if name in _MAPPINGS:
            return self._mapping([*self._given_pairs(value), *value.entries])
        if name in _SEQUENCES:
            return self._members(_SEQUENCES[name], [*self._given(value.args), *value.items])
        raise unknown(value, "plain data")

    def _given(self, arguments: tuple[Any, ...]) -> Iterable[Any]:
        """The members that a call of list, set … was given: none, or one list or tuple."""
        if not arguments:
            return ()
        (members,) = arguments
        if type(members) not in (list, tuple, set, frozenset):
            raise bad_value(f"a sequence is made from {describe(members)}")
        return members  # type: ignore[no-any-return]

    def _given_pairs(self, value: Record) -> list[tuple[Any, Any]]:
        """The items that a call of dict, OrderedDict or defaultdict was given, in its own argument."""
        arguments = value.args[1:] if constructor(value) == _DEFAULTDICT else value.args
        if len(arguments) == 1 and type(arguments[0]) is dict:
            return list(arguments[0].items())
        return [(first, second) for first, second in self._given(arguments)]


_MISSING: Final = {Global("pandas._libs.missing", "NA"), Global("pandas", "NA")}
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})
_DEFAULTDICT: Final = ("collections", "defaultdict")
_MAPPINGS: Final = {("builtins", "dict"), ("collections", "OrderedDict"), _DEFAULTDICT}
_SEQUENCES: Final[dict[Name, Callable[[list[Any]], Any]]] = {
    ("builtins", "list"): list,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "tuple"): tuple,
}
_CONTAINERS: Final = _MAPPINGS | _SEQUENCES.keys()


def _complex(value: Record) -> complex:
    real, imaginary = (_only(part, float) for part in value.args)
    return complex(real, imaginary)


def _plain_scalar(value: Record) -> Any:
    array = numpy_scalar(value)
    if array.dtype.kind in "Mm" or array.dtype.names is not None:
        raise bad_value(f"a numpy scalar of {array.dtype} is not plain data")
    return array.item()


_SIMPLE: Final[dict[Name, Callable[[Record], Any]]] = {
    ("datetime", "date"): _date,
    ("datetime", "datetime"): _datetime,
    ("datetime", "timedelta"): _timedelta,
    ("datetime", "timezone"): _timezone,
    ("builtins", "complex"): _complex,
    _TIMESTAMP: _python_timestamp,
    **dict.fromkeys(NOT_A_TIME, lambda value: None),
    **dict.fromkeys(SCALARS, _plain_scalar),
    **dict.fromkeys((_ENCODE, *_BYTE_BUILTINS), as_bytes),
    **dict.fromkeys(_POSIX | _WINDOWS, lambda value: str(as_path(value))),
}
