"""What is known of the functions and classes that pickles name: which of them leave their arguments as they are.

Nothing is called here, so nothing changes either.  But where Python would have called something, an argument that is
used elsewhere too may be another one afterwards (``operator.setitem``), and the graph would show what nobody else sees.
A call that is not listed may change every list, dict, set and object that it is given.
"""

from __future__ import annotations

from typing import Final

from alphaseal_converter.pickles.records import Global

_PATHS: Final = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")


def _names(*modules: str, names: tuple[str, ...]) -> set[Global]:
    return {Global(module, name) for module in modules for name in names}


ENCODE: Final = Global("_codecs", "encode")
"""How protocols 0 to 2 write bytes, as text in latin1."""
LATIN1: Final = frozenset({"latin1", "latin-1"})

VALUES: Final = frozenset(
    _names("builtins", "__builtin__", names=("slice", "complex", "bytes", "bytearray", "range"))
    | {ENCODE}
    | _names("datetime", names=("date", "datetime", "time", "timedelta", "timezone"))
    | _names("pathlib", "pathlib._local", names=_PATHS)
    | _names("numpy", names=("dtype",))
    | _names("numpy.core.multiarray", "numpy._core.multiarray", names=("scalar",))
    | _names("pandas._libs.tslibs.timestamps", names=("_unpickle_timestamp",))
    | _names("pandas._libs.tslibs.timedeltas", names=("_timedelta_unpickle",))
    | _names("pandas._libs.tslibs.nattype", names=("__nat_unpickle", "_nat_unpickle"))
    | _names("pyarrow.lib", names=("type_for_alias", "py_buffer"))
    | _names("types", names=("GenericAlias",))
    | _names("uuid", names=("UUID",))
    | _names("decimal", names=("Decimal",))
    | _names("fractions", names=("Fraction",))
    | _names("torch", names=("device", "Size"))
)
"""They keep nothing but plain values, and nothing changes what they return."""

NEVER_EQUAL: Final = frozenset(
    _names("builtins", "__builtin__", names=("bytes",))
    | _names("datetime", names=("date", "datetime", "time", "timedelta", "timezone"))
    | _names("pathlib", "pathlib._local", names=_PATHS)
    | _names("pandas._libs.tslibs.timestamps", names=("_unpickle_timestamp",))
)
"""Values that equal no text and no number."""

CONTAINERS: Final = frozenset(
    _names("builtins", "__builtin__", names=("list", "dict", "set", "frozenset", "tuple"))
    | _names("collections", names=("OrderedDict", "defaultdict", "deque", "Counter"))
)
"""They copy what they are given, and members are put into them later."""

OBJECTS: Final = frozenset(
    _names("copyreg", "copy_reg", names=("_reconstructor",))
    | _names("numpy.core.multiarray", "numpy._core.multiarray", names=("_reconstruct",))
    | _names("numpy.core.numeric", "numpy._core.numeric", names=("_frombuffer",))
    | _names("numpy.random._pickle", names=("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"))
    | _names("pandas.core.indexes.base", names=("_new_Index",))
    | _names("pandas.core.indexes.datetimes", names=("_new_DatetimeIndex",))
    | _names("pandas.core.internals.managers", names=("BlockManager", "SingleBlockManager"))
    | _names(
        "pandas._libs.internals", names=("_unpickle_block", "BlockManager", "SingleBlockManager", "BlockPlacement")
    )
    | _names("pandas.core.internals.blocks", names=("new_block",))
    | _names("pandas._libs.arrays", names=("__pyx_unpickle_NDArrayBacked",))
    | _names("pyarrow.lib", names=("_restore_array", "chunked_array"))
    | _names("sklearn.tree._tree", names=("Tree",))
    | _names(
        "torch._utils",
        names=("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state"),
    )
    | _names("torch.storage", names=("_load_from_bytes",))
)
"""They keep or copy what they are given and change none of it."""

VIEWS: Final = frozenset(
    _names("operator", "_operator", names=("getitem",)) | _names("builtins", "__builtin__", names=("getattr",))
)
"""They return a part of what they are given: a change of the result changes it too."""

_IN_PLACE: Final = (
    "setitem", "delitem", "setslice", "delslice", "iconcat", "call", "iadd", "iand", "ifloordiv", "ilshift", "imatmul",
    "imod", "imul", "ior", "ipow", "irshift", "isub", "itruediv", "ixor",
)  # fmt: skip
CHANGERS: Final = frozenset(
    _names(
        "builtins",
        "__builtin__",
        names=("setattr", "delattr", "exec", "eval", "execfile", "globals", "locals", "vars", "__import__"),
    )
    | _names("importlib", names=("import_module", "reload", "__import__"))
    | _names("operator", "_operator", names=_IN_PLACE)
)
"""They change, or hand out to be changed, what lies outside of the graph, classes and modules among it."""

KNOWN: Final = VALUES | CONTAINERS | OBJECTS
