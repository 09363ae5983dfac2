"""The program that reads one pickle in a process of its own; it is started by path and imports our two modules only.

Arguments: pickle size, CPU seconds, memory bytes, then the fields of `Limits`.  The pickle comes on standard input.
The answer on standard output is ``G`` and the pair of root and globals (see `_wire`), or ``E``,
byte offset, code and message.  Before the first byte of the pickle is read the process gives up files, children
and memory beyond its limits, where the system knows such limits.
"""

from __future__ import annotations

import gc
import os
import struct
import sys
from types import ModuleType
from typing import Any


def main(arguments: list[str]) -> None:
    size, seconds, memory, *fields = (int(argument) for argument in arguments)
    _make_packages()
    from alphaseal_converter.pickles import _machine, _state, _wire

    _give_up_rights(seconds, memory)
    # Nothing is freed before the end, and the collector would walk millions of records again and again.
    gc.disable()
    source: Any = sys.stdin.buffer
    answer: Any = sys.stdout.buffer
    try:
        data = bytearray(size)
        if source.readinto(data) != size:
            raise _state.PickleFault("pickle.child", "the pickle did not reach the reading process whole", 0)

        def literal(start: int, end: int) -> Any:
            return bytes(data[start:end]) if end - start <= _wire.INLINE else _wire.Place(start, end)

        root, names = _machine.interpret(data, _state.Limits(*fields), literal)
        answer.write(b"G")
        for chunk in _wire.encode((root, names)):
            answer.write(chunk)
    except _state.PickleFault as fault:
        text = f"{fault.code}\n{fault.message}".encode("utf-8", "backslashreplace")
        answer.write(b"E" + struct.pack("<Q", fault.offset) + text)
    except MemoryError:
        os._exit(MEMORY_EXIT)
    answer.flush()
    # Taking millions of records down again would only cost time.
    os._exit(0)


MEMORY_EXIT = 77


def _make_packages() -> None:
    """Empty stand-ins for our packages, so that none of their other modules (numpy, onnx) is imported here."""
    here = __file__.rpartition(os.sep)[0]  # absolute, as the parent started it
    above = here.rpartition(os.sep)[0]
    for name, folder in (("alphaseal_converter", above), ("alphaseal_converter.pickles", here)):
        package = ModuleType(name)
        package.__path__ = [folder]
        sys.modules[name] = package


def _give_up_rights(seconds: int, memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the only limit
        return
    wanted = {"AS": memory, "CPU": seconds, "FSIZE": 0, "CORE": 0, "NOFILE": 3, "NPROC": 0}
    for name, value in wanted.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            continue
        hard = resource.getrlimit(number)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(number, (limit, limit))
        except (OSError, ValueError):  # macOS refuses RLIMIT_AS; the other limits still hold
            continue


if __name__ == "__main__":
    main(sys.argv[1:])
