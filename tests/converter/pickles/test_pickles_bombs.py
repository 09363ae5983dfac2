"""Small pickles that would take for ever or fill the machine: refused, or read in the time that their size deserves."""

from __future__ import annotations

import pickle
import resource
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from alphaseal.errors import AlphasealError
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.decode.tensors import read_network_state
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families import read_trained_model
from alphaseal_converter.locate import artifacts
from alphaseal_converter.locate.artifacts import read_dataset
from alphaseal_converter.locate.configuration import parse_task_configuration
from alphaseal_converter.pickles import PickleContents, read_pickle
from alphaseal_converter.pickles._keys import SAME_HASH
from alphaseal_converter.pickles._machine import interpret
from alphaseal_converter.pickles._state import PickleFault, children
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.pickles.signed import MAGIC
from alphaseal_converter.processors.kinds import fitted_processors
from alphaseal_converter.session.history import read_history
from locations import DATA

# ---- keys of one hash

_PRIME_1, _PRIME_2, _PRIME_5 = 11400714785074694791, 14029467366897019727, 2870177450012600261
_64_BITS = (1 << 64) - 1


def colliding(count: int) -> list[tuple[int, int]]:
    """Pairs of integers whose tuples CPython hashes alike: its xxHash has no key, and is solved for the second member."""
    inverse = pow(_PRIME_2, -1, 1 << 64)
    found: list[tuple[int, int]] = []
    first = 1
    while len(found) < count:
        lane = (_PRIME_5 + first * _PRIME_2) & _64_BITS
        lane = (((lane << 31) | (lane >> 33)) & _64_BITS) * _PRIME_1 & _64_BITS
        second = ((123456789 - lane) * inverse) & _64_BITS
        second -= (1 << 64) if second >= 1 << 63 else 0
        if abs(second) < (1 << 61) - 1 and second != -1:
            found.append((first, second))
        first += 1
    return found


def pair(first: int, second: int) -> bytes:
    """A tuple of two integers."""
    return b"J" + struct.pack("<i", first) + b"\x8a\x08" + second.to_bytes(8, "little", signed=True) + b"\x86"


def test_the_collisions_are_real() -> None:
    """The pairs of these tests do have one hash in this Python."""
    assert len({hash(entry) for entry in colliding(100)}) == 1


CROWDS: dict[str, Callable[[list[tuple[int, int]]], bytes]] = {
    "SETITEMS": lambda keys: b"}(" + b"".join(pair(*key) + b"N" for key in keys) + b"u.",
    "SETITEM": lambda keys: b"}" + b"".join(pair(*key) + b"Ns" for key in keys) + b".",
    "DICT": lambda keys: b"(" + b"".join(pair(*key) + b"N" for key in keys) + b"d.",
    "ADDITEMS": lambda keys: b"\x8f(" + b"".join(pair(*key) for key in keys) + b"\x90.",
    "FROZENSET": lambda keys: b"(" + b"".join(pair(*key) for key in keys) + b"\x91.",
    "tuples of tuples": lambda keys: b"}(" + b"".join(pair(*key) + b"N\x86N" for key in keys) + b"u.",
}


@pytest.mark.attack("pickles: keys of one hash")
@pytest.mark.parametrize("name", CROWDS)
def test_keys_of_one_hash_are_few(name: str) -> None:
    """Beyond a number that plain data never have, keys of one hash are refused, however they get into a dict or set."""
    assert interpret(CROWDS[name](colliding(SAME_HASH)))
    with pytest.raises(PickleFault, match="same hash") as caught:
        interpret(CROWDS[name](colliding(SAME_HASH + 1)))
    assert caught.value.code == "pickle.key"


@pytest.mark.attack("pickles: keys of one hash")
def test_numbers_of_one_hash_are_few() -> None:
    """Integers that are equal modulo 2**61 - 1, which is all that CPython's hash sees of them, are refused too."""
    keys = [b"\x8a\x0b" + ((2**61 - 1) * number).to_bytes(11, "little") + b"N" for number in range(1, SAME_HASH + 2)]
    with pytest.raises(PickleFault, match="same hash"):
        interpret(b"}(" + b"".join(keys) + b"u.")


@pytest.mark.attack("pickles: keys of one hash")
@pytest.mark.parametrize("kind", ["dict", "set", "frozenset", "OrderedDict"])
def test_keys_of_one_hash_are_few_in_what_becomes_plain(kind: str) -> None:
    """Keys that collide only when they are made plain, as tuples of numpy's numbers do, are refused by then."""
    members = [_numpy_integer(first) + _numpy_integer(second) + b"\x86" for first, second in colliding(SAME_HASH + 1)]
    if kind in ("dict", "OrderedDict"):
        opening = b"}(" if kind == "dict" else b"ccollections\nOrderedDict\n)R("
        data = opening + b"".join(member + b"N" for member in members) + b"u."
    else:
        data = b"cbuiltins\n" + kind.encode() + b"\n](" + b"".join(members) + b"e\x85R."
    root = interpret(data)[0]
    with pytest.raises(RefusalError, match="same hash"):
        decode.as_plain(root)


def _numpy_integer(value: int) -> bytes:
    """A numpy.int64 as protocol 2 writes it, with a dtype of its own."""
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00i8\x89\x88tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = value.to_bytes(8, "little", signed=True)
    return b"cnumpy.core.multiarray\nscalar\n(" + dtype + b"B\x08\x00\x00\x00" + content + b"tR"


@pytest.mark.attack("pickles: keys of one hash")
def test_time_does_not_depend_on_the_keys() -> None:
    """Through the child, thousands of keys of one hash take no longer than as many others."""

    def seconds(data: bytes) -> float:
        def now() -> float:
            return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

        start = now()
        with suppress(RefusalError):
            read_pickle(data, where="x")
        return now() - start

    plain = seconds(CROWDS["SETITEMS"]([(number, (1 << 40) + number * 7919) for number in range(8000)]))
    assert seconds(CROWDS["SETITEMS"](colliding(8000))) < plain + 0.5


# ---- memory

HEAVY: dict[str, bytes] = {
    "lists": b"](" + b"]" * 12_000_000 + b"e.",
    "dicts": b"](" + b"}" * 6_000_000 + b"e.",
    "sets": b"](" + b"\x8f" * 6_000_000 + b"e.",
    "tuples": b"](" + b"N\x85" * 6_000_000 + b"e.",
    "objects": b"cm\nC\nq\x000](" + b"h\x00)\x81" * 3_000_000 + b"e.",
    "texts": b"](" + b"U\x02ab" * 4_000_000 + b"e.",
    "lists that are dropped": b"]0" * 6_000_000 + b"N.",
}


@pytest.mark.attack("pickles: memory")
@pytest.mark.parametrize("name", HEAVY)
@pytest.mark.slow
def test_a_few_megabytes_do_not_fill_the_machine(name: str) -> None:
    """Some megabytes of opcodes that make millions of values are refused long before memory or clock end the child."""
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(RefusalError, match="too much memory") as caught:
        read_pickle(HEAVY[name], where="heavy", memory_bytes=768 << 20, seconds=120)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert caught.value.code == "pickle.resources"
    assert spent.ru_utime - start.ru_utime < 20


# ---- values that take for ever to print, hash or compare

DEPTH = 30


def bombs() -> list[Any]:
    """Values of a few kilobytes that would be 2**30 when written out, in a tuple or a list, and one that holds itself."""
    row: Any = ()
    plain: Any = []
    for _ in range(DEPTH):
        row, plain = (row, row), [plain, plain]
    cycle: list[Any] = []
    cycle.append(cycle)
    return [row, plain, {"a": plain}, cycle]


def places(root: Any) -> list[tuple[Any, Any]]:
    """Where in a graph one value can be put in the place of another: (container, key or position or attribute)."""
    found: list[tuple[Any, Any]] = []
    pending, seen = [root], {id(root)}
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            found += [(value, number) for number in range(len(value))]
        elif isinstance(value, dict):
            found += [(value, key) for key in value]
        elif isinstance(value, Record):
            found += [(value, ("args", number)) for number in range(len(value.args))]
            found += [
                (value, ("state", number))
                for number in range(len(value.state) if isinstance(value.state, tuple) else 0)
            ]
        for child in children(value):
            if isinstance(child, list | tuple | dict | set | frozenset | Record) and id(child) not in seen:
                seen.add(id(child))
                pending.append(child)
    return found


class Replaced:
    """Puts a value into a place as long as the block runs."""

    def __init__(self, place: tuple[Any, Any], value: Any) -> None:
        (self.container, self.key), self.value = place, value

    def _set(self, value: Any) -> Any:
        if not isinstance(self.container, Record):
            before = self.container[self.key]
            self.container[self.key] = value
            return before
        name, number = self.key
        whole = getattr(self.container, name)
        setattr(self.container, name, (*whole[:number], value, *whole[number + 1 :]))
        return whole[number]

    def __enter__(self) -> None:
        self.before = self._set(self.value)

    def __exit__(self, *_: object) -> None:
        self._set(self.before)


@contextmanager
def short_refusals() -> Iterator[None]:
    """What is read may be refused, in words that a person can read to their end."""
    said = ""
    with suppress(AlphasealError):
        try:
            yield
        except AlphasealError as error:
            said = str(error)
            raise
    assert len(said) < 5000


def _everything(root: Any) -> None:
    """What reads a graph of any kind, whether it fits or not."""
    for read in (decode.as_plain, decode.as_series, decode.as_frame, decode.as_array, decode.as_index, decode.as_dtype):
        with short_refusals():
            read(root)


def _history(root: Any) -> None:
    read_history(root.get("trace"), "session")


def _from_disk(name: str) -> bytes:
    """The first real file of the repository that a pattern finds, without the header of a signed one."""
    file = min(path for path in DATA.glob(name) if path.is_file())
    content = file.read_bytes()
    return content[len(MAGIC) + 32 :] if content.startswith(MAGIC) else content


def _pipeline() -> bytes:
    """A pipeline of scikit-learn, fitted on nothing much."""
    chance = np.random.default_rng(3)
    rows, target = chance.normal(size=(60, 3)), chance.normal(size=60)
    steps = [SimpleImputer(), QuantileTransformer(n_quantiles=5), RandomForestRegressor(3, max_depth=3, random_state=1)]
    return pickle.dumps(make_pipeline(*steps).fit(rows, target), protocol=4)


READERS: dict[str, tuple[Callable[[], bytes], Callable[[Any], Any]]] = {
    "session": (lambda: _from_disk("quant_signed/log/*/__session__/4/4_record"), _history),
    "task": (
        lambda: _from_disk("**/artifacts/task"),
        lambda root: parse_task_configuration(decode.as_plain(root), "task"),
    ),
    "predictions": (lambda: _from_disk("**/artifacts/pred.pkl"), decode.as_frame),
    "report": (lambda: _from_disk("**/report_normal_1day.pkl"), decode.as_frame),
    "dataset": (lambda: _from_disk("model_plain/**/artifacts/dataset"), lambda _: _processors()),
    "lightgbm": (lambda: _from_disk("direct/**/params.pkl"), lambda _: read_trained_model(b"", "model")),
    "network": (
        lambda: _from_disk("model_plain/**/params.pkl"),
        lambda root: read_network_state(root.get("dnn_model"), "network"),
    ),
    "scikit-learn": (_pipeline, lambda _: read_trained_model(b"", "model")),
}


def _processors() -> Any:
    return fitted_processors(read_dataset(Path("dataset")).infer_processors)


@pytest.mark.attack("pickles: values that never end", attempts=200)
@pytest.mark.parametrize("name", READERS)
def test_a_value_that_never_ends_is_refused_wherever_it_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that takes for ever to print, hash or compare, put at any place of a real file, is refused at once."""
    make, read = READERS[name]
    root = interpret(make())[0]
    # What reads a whole file gets the changed graph as if it stood there; there are no bytes that would give all of them.
    monkeypatch.setattr(artifacts, "read_file", lambda path: b"")
    monkeypatch.setattr(artifacts, "read_pickle", lambda data, where: PickleContents(root, ()))
    read(root)
    found = places(root)
    for number, place in enumerate(found[:: max(1, len(found) // 200)]):
        for bomb in bombs()[number % 4 : number % 4 + 1]:
            start = time.process_time()
            with Replaced(place, bomb):
                for reader in (read, _everything):
                    with short_refusals():
                        reader(root)
            assert time.process_time() - start < 2, place[1]
