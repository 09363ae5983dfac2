"""Attempts to talk the verifier round that were found by hand or by ``make fuzz``, and refusals that no other test reaches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import alphaseal
from alphaseal import manifest as m
from alphaseal import names
from alphaseal.errors import AlphasealError, MalformedError, NotReadableError, PolicyError
from alphaseal.graph import Graph
from alphaseal.model_gate import check_model
from alphaseal_converter.graph.builder import IR_VERSION, OPSETS, GraphBuilder
from fuzz_bundle import TRUST, UNSIGNED, small_bundle
from fuzz_mutations import write_tree
from manifests import example_manifest
from small_models import FEATURES

posix = pytest.mark.skipif(os.name != "posix", reason="links and special files as POSIX has them")


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The small signed bundle on disk."""
    write_tree(tmp_path / "bundle", dict(small_bundle().files))
    return tmp_path / "bundle"


def refusal(path: Path) -> AlphasealError:
    """What opening and verifying says."""
    with pytest.raises(AlphasealError) as caught:
        alphaseal.open(path, trust=TRUST).verify()
    return caught.value


def test_the_small_bundle_is_accepted(bundle: Path) -> None:
    """What the attacks start from is right."""
    assert {signer.name for signer in alphaseal.open(bundle, trust=TRUST).verify().signers} == {"approver", "ci"}


@posix
def test_hard_links_are_harmless(bundle: Path, tmp_path: Path) -> None:
    """A file with a second name is a plain file: its verified buffer is the one that is used."""
    os.link(bundle / "model.onnx", tmp_path / "elsewhere")
    opened = alphaseal.open(bundle, trust=TRUST)
    before = opened.read("model.onnx")
    (tmp_path / "elsewhere").write_bytes(before[:-1] + b"\0")
    with pytest.raises(AlphasealError) as caught:
        opened.read("model.onnx")
    assert caught.value.code == "file.digest"


@posix
@pytest.mark.parametrize("swapped", ["model.onnx", "sources"])
def test_links_put_there_after_opening_lead_to_the_same_bytes_or_nowhere(
    bundle: Path, tmp_path: Path, swapped: str
) -> None:
    """A file that becomes a link is refused; through a directory that becomes one only the signed bytes are read."""
    opened = alphaseal.open(bundle, trust=TRUST)
    (bundle / swapped).rename(tmp_path / "away")
    (bundle / swapped).symlink_to(tmp_path / "away")
    if swapped == "sources":
        assert opened.read("sources/conf.yaml") == small_bundle().files["sources/conf.yaml"]
        (tmp_path / "away/conf.yaml").write_bytes(b"task: []\n")
    path = "sources/conf.yaml" if swapped == "sources" else swapped
    with pytest.raises(AlphasealError) as caught:
        opened.read(path)
    assert caught.value.code == ("file.digest" if swapped == "sources" else "tree.not_plain")
    assert refusal(bundle).code == "tree.not_plain"


@posix
@pytest.mark.parametrize("name", ["manifest.json", "manifest.dsse.json", "model.onnx", "card.html"])
@pytest.mark.parametrize("kind", ["fifo", "link_to_a_device", "directory", "huge"])
def test_special_files_neither_hang_nor_swell(bundle: Path, name: str, kind: str) -> None:
    """A pipe without a writer, an endless device, a terabyte of nothing: refused at once."""
    (bundle / name).unlink()
    if kind == "fifo":
        os.mkfifo(bundle / name)
    elif kind == "link_to_a_device":
        (bundle / name).symlink_to("/dev/zero")
    elif kind == "directory":
        (bundle / name).mkdir()
    else:
        (bundle / name).touch()
        os.truncate(bundle / name, 1 << 40)
    started = time.process_time()
    assert refusal(bundle).exit in (11, 12)
    assert time.process_time() - started < 1.0


@posix
def test_deep_directories_are_refused(bundle: Path) -> None:
    """Directories deeper than a path can be long."""
    here = os.open(bundle, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    try:
        assert refusal(bundle).exit in (3, 12)
    finally:
        subprocess.run(["rm", "-rf", str(bundle)], check=True)


@posix
def test_many_files_are_refused_soon() -> None:
    """A directory of 60 000 files is not listed to its end (in memory: the disk would take most of the time)."""
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))
    bundle = place / f"alphaseal-many-{os.getpid()}"
    try:
        write_tree(bundle, dict(small_bundle().files))
        for number in range(60_000):
            os.close(os.open(bundle / "sources" / f"f{number}", os.O_CREAT))
        started = time.process_time()
        assert refusal(bundle).code == "tree.too_many"
        assert time.process_time() - started < 1.0
    finally:
        shutil.rmtree(bundle, ignore_errors=True)


@pytest.mark.parametrize("path", ["a" * 300, "a\0b", "nowhere", ""])
def test_names_of_no_directory(path: str, tmp_path: Path) -> None:
    """Names that no system has are an answer of ours, not one of the system's errors."""
    with pytest.raises(NotReadableError) as caught:
        alphaseal.open(tmp_path / path / "x", trust=UNSIGNED)
    assert caught.value.code == "bundle.not_readable"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare here")
def test_verify_works_with_the_network_cut(bundle: Path, tmp_path: Path) -> None:
    """In a network namespace of its own, without even a loopback interface, `alphaseal verify` says what it always says."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system makes no namespaces for us")
    from signed import known, policy, write_trust

    trust = write_trust(
        tmp_path / "trust.json", policy(known("ci"), known("approver", "approver"), thresholds={"ci": 1, "approver": 1})
    )
    command = ["unshare", "-rn", sys.executable, "-m", "alphaseal", "verify", str(bundle), "--trust", str(trust)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- manifest ---------------------------------------------------------------------------------------------------------


def test_a_manifest_of_many_files_is_read_quickly() -> None:
    """Ten thousand files are compared with their directories, not with each other."""
    example = example_manifest()
    more = [
        m.File(
            path=f"sources/f{number:05d}.py",
            size=1,
            sha256="0" * 64,
            media_type="text/plain",
            role="source",
            title=None,
        )
        for number in range(9_990)
    ]
    data = m.encode(
        msgspec.structs.replace(example, files=sorted([*example.files, *more], key=lambda entry: entry.path))
    )
    started = time.process_time()
    m.parse(data)
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("name", ["", "A", "nul", "com1.txt", "a" * 65, "a\n", ".a", "a..b", "é"])
def test_names_outside_the_rule(name: str) -> None:
    """The one rule refuses in its own words, for names and for paths."""
    for check in (names.check_name, names.check_path):
        with pytest.raises(MalformedError):
            check(name, "test")
    with pytest.raises(MalformedError) as caught:
        names.check_path("/".join(["a" * 60] * 3), "test")
    assert caught.value.code == "path.rule"


# --- graphs -----------------------------------------------------------------------------------------------------------


def graph(add: Callable[[GraphBuilder], str], row: tuple[int, ...] = (FEATURES,)) -> bytes:
    """A graph of our builder's form without a check by onnx."""
    builder = GraphBuilder()
    score = add(builder)
    inner = helper.make_graph(
        [*builder._nodes, helper.make_node("Identity", [score], ["score"])],
        "scoring",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", *row])],
        [helper.make_tensor_value_info("score", TensorProto.DOUBLE, ["rows", 1])],
        builder._initializers,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return bytes(
        helper.make_model(inner, ir_version=IR_VERSION, opset_imports=opsets).SerializeToString(deterministic=True)
    )


def code_of(data: bytes) -> str:
    """The code that the gate refuses a graph with, quickly."""
    started = time.process_time()
    with pytest.raises(PolicyError) as caught:
        check_model(data, "model.onnx")
    assert time.process_time() - started < 1.0
    return caught.value.code


def _filled(builder: GraphBuilder, count: str) -> str:
    """The first feature and a sum of `count` zeros."""
    first = builder.add("Gather", "features", builder.constant([0]), axis=1)
    zeros = builder.add("ConstantOfShape", count, value=numpy_helper.from_array(np.zeros(1)))
    return builder.add("Add", first, builder.add("ReduceSum", zeros))


def _wrapped(builder: GraphBuilder) -> str:
    """2**64 + 2**30 is 2**30 in the graph; the remainder is 0 for who computes without an end, and 2**30 there."""
    large = builder.add("Mul", builder.constant([1 << 40]), builder.constant([1 << 24]))
    large = builder.add("Add", large, builder.constant([1 << 30]))
    rest = builder.add("Mod", large, builder.constant([(1 << 34) + 1]))
    return _filled(builder, builder.add("Add", rest, builder.constant([1])))


def _wrapped_by_a_cast(builder: GraphBuilder) -> str:
    """The same by a cast to 32 bits."""
    large = builder.cast(builder.constant([(1 << 32) + (1 << 28)]), TensorProto.INT32)
    rest = builder.add("Mod", large, builder.cast(builder.constant([17 << 24]), TensorProto.INT32))
    return _filled(builder, builder.add("Add", builder.cast(rest, TensorProto.INT64), builder.constant([1])))


def _squared(builder: GraphBuilder) -> str:
    """A number of 2**60 digits, for who writes it down."""
    number = builder.constant([3])
    for _ in range(60):
        number = builder.add("Mul", number, number)
    return _filled(builder, number)


def _endless_range(builder: GraphBuilder) -> str:
    """More numbers than a length can say."""
    ends = [builder.constant(np.array(number)) for number in (-(1 << 63), (1 << 63) - 1, 1)]
    return builder.add("ReduceSum", builder.add("Range", *ends))


def _two_counts(builder: GraphBuilder) -> str:
    """TopK with two numbers where one belongs."""
    builder._nodes.append(helper.make_node("TopK", ["features", builder.constant([1, 2])], ["best", "places"], axis=1))
    return "best"


def _two_depths(builder: GraphBuilder) -> str:
    return builder.add("OneHot", "features", builder.constant([1, 2]), builder.constant([0, 1]))


def _two_starts(builder: GraphBuilder) -> str:
    return builder.add("Range", builder.constant([0, 1]), builder.constant([4]), builder.constant([1]))


def _recurrent_scalar(builder: GraphBuilder) -> str:
    numbers = [builder.constant(np.array(3)) for _ in range(3)]
    return builder.add("GRU", *numbers, hidden_size=1)


@pytest.mark.parametrize(
    "add",
    [_wrapped, _wrapped_by_a_cast, _squared, _endless_range, _two_counts, _two_depths, _two_starts, _recurrent_scalar],
)
def test_sizes_that_do_not_fit_are_refused(add: Callable[[GraphBuilder], str]) -> None:
    """Numbers that wrap round in the graph, numbers without an end, and several where one belongs."""
    assert code_of(graph(add)) in ("model.shape", "model.growth", "model.signature")


def test_high_powers_of_the_rows_are_refused_where_a_call_has_one_row() -> None:
    """With windows so large that a call has one row, any power of the rows is one."""

    def add(builder: GraphBuilder) -> str:
        column = builder.add(
            "Reshape", builder.add("ReduceSum", "features", builder.constant([1, 2])), builder.constant([-1, 1])
        )
        row = value = builder.add("Squeeze", column, builder.constant([1]))
        for _ in range(6):
            value = builder.add("Mul", builder.add("Unsqueeze", value, builder.constant([-1])), row)
        return value

    assert code_of(graph(add, (4096, 1024))) == "model.shape"


def test_what_a_kernel_says_is_a_refusal() -> None:
    """A graph that loads and does not run (Trilu with a matrix for a number) is refused in our words."""

    def add(builder: GraphBuilder) -> str:
        return builder.add(
            "Trilu", builder.add("Gather", "features", builder.constant([0]), axis=1), builder.constant([[0]])
        )

    data = graph(add)
    check_model(data, "model.onnx")
    with pytest.raises(PolicyError) as caught:
        Graph(data, FEATURES, "model.onnx").run(np.zeros((3, FEATURES)))
    assert caught.value.code == "model.not_loadable"
