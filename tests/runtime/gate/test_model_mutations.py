"""Mutated models: the gate refuses them in its own words, or onnxruntime loads and runs them without harm."""

from __future__ import annotations

import os
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import EncodeError, Message

from alphaseal.errors import PolicyError
from alphaseal.gate.model import check_model
from onnx_runs import run
from small_models import network_model, plain_trees, trees_model

MUTATIONS = int(os.environ.get("ALPHASEAL_MUTATIONS", "4000"))
"""`make fuzz` makes 20 000."""
SLOWEST = 1.0
"""Seconds of CPU for one file."""
_INTEGERS = [
    0,
    1,
    2,
    3,
    5,
    7,
    11,
    127,
    128,
    255,
    1 << 16,
    1 << 31,
    (1 << 31) - 1,
    1 << 32,
    1 << 40,
    (1 << 63) - 1,
    -1,
    -2,
    -(1 << 31),
    -(1 << 63),
]
_FLOATS = [0.0, -1.0, 1e38, float("nan"), float("inf"), float("-inf")]


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                yield from _messages(part)


def _other(value: Any, field: FieldDescriptor, chance: random.Random) -> Any:
    """Another value for a plain field."""
    if isinstance(value, bytes):
        return _bytes(value, chance)
    if isinstance(value, str):
        return chance.choice(
            [
                "",
                "features",
                "score",
                "n0",
                "n1",
                "c0",
                "c1",
                "Loop",
                "MatMul",
                "Tile",
                "axis",
                "ai.onnx.ml",
                value[:-1],
                value + "x",
            ]
        )
    if isinstance(value, float):
        return chance.choice(_FLOATS)
    number = chance.choice([*_INTEGERS, value + 1, value - 1, value * 2])
    low, high = (
        (-(1 << 31), (1 << 31) - 1)
        if field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM)
        else (-(1 << 63), (1 << 63) - 1)
    )
    return min(max(number, low), high)


def _bytes(value: bytes, chance: random.Random) -> bytes:
    data = bytearray(value)
    for _ in range(chance.choice([1, 1, 2, 8])):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1 and place < len(data):
            data[place] = chance.choice([0, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        elif kind == 2:
            del data[place : place + chance.choice([1, 4, 8])]
        elif kind == 3:
            data[place:place] = data[chance.randrange(len(data) + 1) :][: chance.choice([1, 8, 64])]
        else:
            data[place : place + 8] = struct.pack("<d", chance.choice(_FLOATS))
    return bytes(data)


def _mutate(data: bytes, chance: random.Random) -> bytes:
    """Change bytes, or fields of the parsed model: values, order, number, and parts put elsewhere."""
    if chance.random() < 0.3:
        return _bytes(data, chance)
    model = onnx.ModelProto.FromString(data)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        message = chance.choice([part for part in _messages(model) if part.ListFields()])
        field, value = chance.choice(message.ListFields())
        is_message = field.type == FieldDescriptor.TYPE_MESSAGE
        kind = chance.randrange(4)
        if kind == 0:
            message.ClearField(field.name)
        elif field.is_repeated and kind == 1:
            del value[chance.randrange(len(value))]
        elif field.is_repeated and kind == 2:
            picked = value[chance.randrange(len(value))]
            value.insert(chance.randrange(len(value) + 1), picked)
        elif is_message:
            parts = [part for part in _messages(model) if type(part) is type(value[0] if field.is_repeated else value)]
            (chance.choice(list(value)) if field.is_repeated else value).MergeFrom(chance.choice(parts))
        elif field.is_repeated:
            place = chance.randrange(len(value))
            value[place] = _other(value[place], field, chance)
        else:
            setattr(message, field.name, _other(value, field, chance))
    return bytes(model.SerializeToString(deterministic=True))


def _mutants(count: int) -> Iterator[bytes]:
    chance = random.Random(20261122)
    bases = [trees_model(), plain_trees(), network_model()]
    while count:
        try:
            yield _mutate(chance.choice(bases), chance)
            count -= 1
        except (EncodeError, ValueError, RecursionError):
            continue  # a change that protobuf does not make


def _code_or_none(data: bytes) -> str | None:
    try:
        check_model(data, "model.onnx")
    except PolicyError as error:
        return error.code
    return None


@pytest.mark.slow
def test_mutated_models_do_no_harm(tmp_path: Path) -> None:
    """Mutations by the thousand: each is refused with a `model.*` code within a second, or onnxruntime survives it."""
    survivors: dict[bytes, None] = {}
    refused: dict[str, int] = {}
    for number, data in enumerate(_mutants(MUTATIONS)):
        started = time.process_time()
        code = _code_or_none(data)
        assert time.process_time() - started < SLOWEST, number
        if code is None:
            survivors[data] = None
        else:
            refused[code] = refused.get(code, 0) + 1
    assert all(code.startswith("model.") for code in refused)
    assert len(refused) >= 12
    assert len(survivors) > MUTATIONS // 40
    loaded, ran, findings = run(list(survivors), sys.executable, tmp_path)
    assert findings == []
    assert ran > MUTATIONS // 40
    assert loaded - ran <= loaded // 10


@pytest.mark.parametrize("base", [trees_model, plain_trees, network_model], ids=["trees", "plain", "network"])
def test_every_bit_flip_is_harmless_to_the_gate(base: Callable[[], bytes]) -> None:
    """Whatever single bit of a model is wrong, the gate answers or refuses in its own family."""
    data = base()
    for place in range(0, len(data) * 8, 3):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        assert (_code_or_none(bytes(flipped)) or "model.").startswith("model.")
