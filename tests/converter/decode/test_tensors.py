"""Weights come out of pickled torch modules without torch."""

from __future__ import annotations

import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphaseal_converter.decode.tensors import NetworkState, read_network_state, read_tensor
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.artifacts import read_model
from alphaseal_converter.pickles import PERSISTENT_LOAD, read_first_pickle
from alphaseal_converter.pickles.records import Global, Record
from locations import FIXTURES
from raising import refusal

CASES = [
    "model_plain/hist0_model",
    "model_plain/hist1_model",
    "quant_signed/hist1_model",
    "quant_signed/hist2_factor",
    "quant_signed/hist4_model",
]


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.identity if isinstance(value, _Stored) else None


class _Stored:
    def __init__(self, identity: Any) -> None:
        self.identity = identity


def _named(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def storage_bytes(raw: bytes, count: int, kind: str = "FloatStorage", location: str = "cpu", **changes: Any) -> bytes:
    """The old file format of torch, as `torch.serialization._legacy_save` writes one storage."""
    parts = [
        pickle.dumps(changes.get("magic", 0x1950A86A20F9469CFC6C), 2),
        pickle.dumps(changes.get("protocol", 1001), 2),
        pickle.dumps(
            {"protocol_version": 1001, "little_endian": changes.get("little_endian", True), "type_sizes": {"short": 2}},
            2,
        ),
    ]
    # ('storage', torch.<kind>, '123', location, count, None) as a persistent id
    fields = b"\x80\x02(" + b"X\x07\x00\x00\x00storage" + _named("torch", kind) + b"X\x03\x00\x00\x00123"
    fields += b"X" + struct.pack("<I", len(location)) + location.encode() + b"J" + struct.pack("<i", count)
    parts.append(fields + changes.get("view", b"N") + b"tQ.")
    parts.append(pickle.dumps(changes.get("keys", ["123"]), 2))
    return b"".join(parts) + struct.pack("<q", changes.get("written", count)) + raw


def tensor(content: bytes, offset: Any, size: Any, stride: Any) -> Record:
    storage = Record(Global("torch.storage", "_load_from_bytes"), (content,))
    inner = Record(Global("torch._utils", "_rebuild_tensor_v2"), (storage, offset, size, stride, False, None))
    return Record(Global("torch._utils", "_rebuild_parameter"), (inner, True, None))


def code_of(content: bytes, offset: Any = 0, size: Any = (2,), stride: Any = (1,)) -> str:
    return refusal(RefusalError, read_tensor, tensor(content, offset, size, stride), "file").code


FOUR = np.arange(4, dtype="<f4").tobytes()


@pytest.mark.skipif(not FIXTURES.exists(), reason="the full set of fixtures is not here")
@pytest.mark.parametrize("case", CASES)
def test_real_networks_give_their_tensors(case: str) -> None:
    """Names, order and shapes of every tensor are those that torch wrote; values are finite and not constant."""
    task, name = case.split("/")
    folder = FIXTURES / task / "truth" / name
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    path = folder / truth["workspace"] / truth["artifacts"] / "params.pkl"
    state = read_network_state(read_model(path.read_bytes(), "params.pkl").record.get("dnn_model"), "params.pkl")
    assert list(state.tensors) == list(truth["model"]["tensors"])
    assert {key: list(value.shape) for key, value in state.tensors.items()} == truth["model"]["tensors"]
    assert all(np.isfinite(value).all() for value in state.tensors.values())
    assert state.classes[""] == f"model.{truth['model']['net']}"


@pytest.mark.skipif(not FIXTURES.exists(), reason="the full set of fixtures is not here")
def test_known_values_of_a_real_network() -> None:
    """Single numbers of a trained BatchNormMLP, recorded once (that the scores come out right shows test_network)."""
    (path,) = (FIXTURES / "model_plain/workspaces/230445fd14b04fdc94bbd63008ee2324/mlruns").glob(
        "*/*/artifacts/params.pkl"
    )
    state = read_network_state(read_model(path.read_bytes(), "params.pkl").record.get("dnn_model"), "params.pkl")
    assert state.tensors["entry.0.weight"].dtype == np.float32
    assert state.tensors["entry.0.weight"][0, :2].tolist() == pytest.approx([0.18532133, -0.10549591], rel=1e-7)
    assert state.tensors["entry.1.num_batches_tracked"].dtype == np.int64
    assert state.attributes["entry.1.eps"] == 1e-05
    assert "training" not in state.attributes


@pytest.mark.parametrize(
    ("kind", "dtype", "values"),
    [
        ("FloatStorage", "<f4", [1.5, -2.25, np.inf]),
        ("DoubleStorage", "<f8", [1e300, -0.0, 3.0]),
        ("HalfStorage", "<f2", [1.5, 65504.0, -1.0]),
        ("LongStorage", "<i8", [-(2**62), 0, 5]),
        ("IntStorage", "<i4", [-7, 0, 5]),
        ("ByteStorage", "<u1", [0, 255, 5]),
        ("BoolStorage", "|b1", [True, False, True]),
    ],
)
def test_types(kind: str, dtype: str, values: list[Any]) -> None:
    """Every type of storage keeps its dtype and values."""
    array = np.array(values, dtype=dtype)
    found = read_tensor(tensor(storage_bytes(array.tobytes(), 3, kind), 0, (3,), (1,)), "file")
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.tolist() == array.tolist()


def test_bfloat16_is_widened() -> None:
    """A bfloat16 is the upper half of a float32."""
    raw = np.array([1.0, -2.5, 3.140625], dtype="<f4").view("<u4")
    content = storage_bytes((raw >> 16).astype("<u2").tobytes(), 3, "BFloat16Storage")
    assert read_tensor(tensor(content, 0, (3,), (1,)), "file").tolist() == [1.0, -2.5, 3.140625]


@pytest.mark.parametrize(
    ("offset", "size", "stride", "expected"),
    [
        (0, (2, 2), (1, 2), [[0, 2], [1, 3]]),
        (1, (3,), (1,), [1, 2, 3]),
        (1, (2,), (2,), [1, 3]),
        (3, (), (), 3),
        (2, (3,), (0,), [2, 2, 2]),
        (0, (0, 5), (5, 1), []),
    ],
)
def test_views(offset: int, size: tuple[int, ...], stride: tuple[int, ...], expected: Any) -> None:
    """Offset, size and stride are followed: transposed, cut, broadcast, scalar and empty tensors."""
    found = read_tensor(tensor(storage_bytes(FOUR, 4), offset, size, stride), "file")
    assert found.shape == size
    assert found.tolist() == expected
    assert found.flags.c_contiguous


def test_the_place_makes_no_difference() -> None:
    """Weights of a graphics card are the same bytes."""
    assert read_tensor(tensor(storage_bytes(FOUR, 4, location="cuda:0"), 0, (4,), (1,)), "file").tolist() == [
        0,
        1,
        2,
        3,
    ]


@pytest.mark.parametrize(
    ("offset", "size", "stride", "code"),
    [
        (0, (5,), (1,), "tensor.bounds"),
        (3, (2,), (1,), "tensor.bounds"),
        (0, (2,), (1 << 40,), "tensor.bounds"),
        (5, (), (), "tensor.bounds"),
        (-1, (2,), (1,), "tensor.form"),
        (0, (2,), (-1,), "tensor.form"),
        (0, (2, 2), (1,), "tensor.form"),
        (0, (True,), (1,), "tensor.form"),
        (0, [2], (1,), "tensor.form"),
        (0, (1 << 40,), (0,), "tensor.limit"),
        (0, (1,) * 20, (1,) * 20, "tensor.limit"),
    ],
)
def test_views_beyond_the_storage_are_refused(offset: Any, size: Any, stride: Any, code: str) -> None:
    """No view reads memory outside of its storage, or makes a giant of one element."""
    assert code_of(storage_bytes(FOUR, 4), offset, size, stride) == code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (storage_bytes(FOUR, 4)[:-1], "tensor.bounds"),
        (storage_bytes(FOUR, 4) + b"\0", "tensor.bounds"),
        (storage_bytes(FOUR, 4, written=3), "tensor.bounds"),
        (storage_bytes(FOUR, 4, magic=1), "tensor.form"),
        (storage_bytes(FOUR, 4, protocol=1000), "tensor.form"),
        (storage_bytes(FOUR, 4, keys=["124"]), "tensor.form"),
        (storage_bytes(FOUR, 4, keys=["123", "124"]), "tensor.form"),
        (storage_bytes(FOUR, 4, little_endian=False), "tensor.unsupported"),
        (storage_bytes(FOUR, 4, kind="ComplexFloatStorage"), "tensor.unsupported"),
        (storage_bytes(FOUR, 4, view=b"(X\x01\x00\x00\x00aK\x00K\x01t"), "tensor.unsupported"),
        (b"PK\x03\x04rest", "tensor.unsupported"),
        (b"", "pickle.truncated"),
        (b"cos\nsystem\n(X\x02\x00\x00\x00idtR." * 5, "tensor.form"),
        (b"\x80\x02]" + b"]" * 5000 + b".", "pickle.limit"),
        ("text", "tensor.form"),
    ],
)
def test_damaged_storages_are_refused(content: Any, code: str) -> None:
    """A storage is exactly the old format of torch, and nothing in it is called."""
    assert code_of(content) == code


def test_the_first_pickle_is_read_alone() -> None:
    """Bytes behind the pickle are left for the caller, and a persistent id stays inert."""
    stream = io.BytesIO()
    _Pickler(stream, 2).dump(["a", _Stored(("storage", 7))])
    root, end = read_first_pickle(b"before" + stream.getvalue() + b"behind", 6, where="file")
    assert end == 6 + len(stream.getvalue())
    assert root[0] == "a"
    assert (root[1].factory, root[1].args) == (PERSISTENT_LOAD, (("storage", 7),))


def module(**parts: Any) -> Record:
    state = {"training": False, "_parameters": {}, "_buffers": {}, "_modules": {}, **parts}
    return Record(Global("model", "Net"), new=True, state=state)


def test_a_shared_tensor_has_all_its_names() -> None:
    """Tied weights come under every name, missing ones (a bias of None) under none."""
    weight = tensor(storage_bytes(FOUR, 4), 0, (4,), (1,))
    inner = module(_parameters={"weight": weight, "bias": None})
    state: NetworkState = read_network_state(module(_modules={"a": inner, "b": inner, "c": None}, width=3), "file")
    assert list(state.tensors) == ["a.weight", "b.weight"]
    assert state.classes == {"": "model.Net", "a": "model.Net", "b": "model.Net"}
    assert state.attributes == {"width": 3}


def test_older_torch_keeps_its_dicts_ordered() -> None:
    """OrderedDict records are read as dicts."""
    weight = tensor(storage_bytes(FOUR, 4), 0, (4,), (1,))
    ordered = Record(Global("collections", "OrderedDict"), entries=[("weight", weight)])
    assert list(read_network_state(module(_parameters=ordered), "file").tensors) == ["weight"]


def _inside_itself() -> Record:
    record = module()
    record.state["_modules"]["again"] = record
    return record


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (None, "network.form"),
        (Record(Global("model", "Net"), new=True, state={}), "network.form"),
        (module(_parameters=[1]), "network.form"),
        (module(_parameters={"a.b": None}), "network.form"),
        (module(_parameters={1: None}), "network.form"),
        (module(_parameters={"weight": 3.0}), "tensor.unsupported"),
        (module(_modules={"a": Global("os", "system")}), "network.form"),
        (_inside_itself(), "network.limit"),
    ],
)
def test_what_is_no_module_is_refused(record: Any, code: str) -> None:
    """The tree of modules is plain and ends."""
    with pytest.raises(RefusalError) as caught:
        read_network_state(record, "file")
    assert caught.value.code == code


def test_torch_itself_writes_what_is_read(tmp_path: Path) -> None:
    """Tensors that the installed torch pickles come back bit for bit."""
    torch = pytest.importorskip("torch")
    whole = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 7
    tensors = {
        "whole": whole,
        "turned": whole.permute(2, 0, 1),
        "cut": whole[1, :, 1:3],
        "double": whole.double(),
        "half": whole.half(),
        "integer": torch.tensor([1, -2]),
        "flag": torch.tensor([True, False]),
        "scalar": torch.tensor(3),
        "parameter": torch.nn.Parameter(whole[0]),
    }
    (tmp_path / "weights").write_bytes(pickle.dumps(_Holder(tensors)))
    record = read_model((tmp_path / "weights").read_bytes(), "weights").record
    for name, expected in record.get("tensors").items():
        found = read_tensor(expected, "weights")
        assert np.array_equal(found, tensors[name].detach().numpy())
        assert found.dtype == tensors[name].detach().numpy().dtype


class _Holder:
    def __init__(self, tensors: Any) -> None:
        self.tensors = tensors
