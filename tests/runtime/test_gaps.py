"""Attempts to talk the verifier round that were found by hand or by ``make fuzz``, and refusals that no other test reaches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import alphaseal
from alphaseal.disk import tree
from alphaseal.errors import AlphasealError, MalformedError, NotReadableError, PolicyError
from alphaseal.format import manifest as m
from alphaseal.format import names, strict_json
from alphaseal.gate import data as data_gate
from alphaseal.gate.model import Limits, check_model
from alphaseal.scoring import golden
from alphaseal.scoring.session import Graph
from alphaseal.trust import keys
from alphaseal_converter.graph.nodes.builder import IR_VERSION, OPSETS, GraphBuilder
from fuzz_bundle import ROWS, TRUST, UNSIGNED, small_bundle
from fuzz_mutations import MODEL, Fields, Message, Thrift, parse_message, write_message, write_structure, write_tree
from manifests import example_manifest
from small_models import FEATURES, changed, ensemble, plain_trees

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
    for _ in range(2500):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    try:
        assert refusal(bundle).code == "bundle.not_readable"
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


def test_long_places_are_shortened() -> None:
    """A path of thousands of letters leaves its beginning and its end in a message."""
    place = "/".join(["directory"] * 1000) + "/manifest.json"
    error = NotReadableError("bundle.not_readable", "no bundle directory", where=place)
    assert error.where is not None
    assert len(error.where) == 399
    assert error.where.startswith("directory/")
    assert error.where.endswith("/manifest.json")
    for length in (400, 10):
        assert NotReadableError("a.b", "c", where="x" * length).where == "x" * length
    with pytest.raises(NotReadableError) as caught:
        alphaseal.open(place, trust=UNSIGNED)
    assert len(str(caught.value)) < 700


def test_files_together_have_a_bound() -> None:
    """64 GiB of files are a bundle, one byte more is not: `verify` would hash whatever is signed."""
    manifest = example_manifest()
    rest = sum(entry.size for entry in manifest.files[1:])
    for size, code in ((m.MAXIMUM_TOTAL - rest, None), (m.MAXIMUM_TOTAL - rest + 1, "manifest.size")):
        files = [msgspec.structs.replace(manifest.files[0], size=size), *manifest.files[1:]]
        data = m.encode(msgspec.structs.replace(manifest, files=files))
        if code is None:
            m.parse(data)
        else:
            with pytest.raises(MalformedError) as caught:
                m.parse(data)
            assert caught.value.code == code


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


def code_of(data: bytes, *, rows_alone: bool = True) -> str:
    """The code that the gate refuses a graph with, quickly."""
    started = time.process_time()
    with pytest.raises(PolicyError) as caught:
        check_model(data, "model.onnx", limits=Limits(rows_alone=rows_alone))
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
    rest = builder.add("Mod", large, builder.constant(np.array([17 << 24], np.int32)))
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

    assert code_of(graph(add, (4096, 1024)), rows_alone=False) == "model.shape"


def test_what_a_kernel_says_is_a_refusal() -> None:
    """A graph that loads and does not run (Trilu with a matrix for a number) is refused in our words."""

    def add(builder: GraphBuilder) -> str:
        column = builder.add("Gather", "features", builder.constant([[0]]), axis=1)
        return builder.add("Squeeze", builder.add("Trilu", column, builder.constant([[0]])), builder.constant([2]))

    data = graph(add)
    check_model(data, "model.onnx")
    with pytest.raises(PolicyError) as caught:
        Graph(data, FEATURES, "model.onnx").run(np.zeros((3, FEATURES)))
    assert caught.value.code == "model.not_loadable"


# --- refusals that only a file made by hand leads to --------------------------------------------------------------------


def refused(data: bytes) -> PolicyError:
    """What the gate says of a model."""
    with pytest.raises(PolicyError) as caught:
        check_model(data, "model.onnx")
    return caught.value


def with_tree_list(name: bytes, change: Callable[[Message], object]) -> bytes:
    """The plain trees after `change` of the fields of one attribute of the trees."""
    model = parse_message(plain_trees(), MODEL)
    graph = next(field[2] for field in model if field[0] == 7)
    lists = [entry[2] for field in graph if field[0] == 1 for entry in field[2] if entry[0] == 5]
    change(next(entry for entry in lists if entry[0][2] == name))
    return write_message(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda fields: fields.insert(3, [9, 2, b"x"]), "integers of an attribute are damaged"),
        (lambda fields: fields.insert(3, [None, 0, b"\x40" + b"\x80" * 11 + b"\x01"]), "an integer is too long"),
        (lambda fields: fields.insert(3, [None, 0, b"\x40" + b"\x80\x80\x00"]), "not in its shortest form"),
        (lambda fields: fields.pop(), "do not end with its type"),
        (lambda fields: fields.insert(len(fields) - 1, [8, 0, 0]), "differ in length"),
    ],
)
def test_lists_of_numbers_are_read_strictly(change: Callable[[Message], object], words: str) -> None:
    """The quick reading of a tree's numbers refuses what the slow one would."""
    assert words in str(refused(with_tree_list(b"nodes_featureids", change)))


def test_roots_that_are_no_nodes_say_so() -> None:
    """A list of another length says that, before anything else is looked at."""
    assert "differ in length" in str(refused(with_tree_list(b"nodes_trueleafs", lambda fields: fields.pop(1))))


def test_trees_on_windows_are_refused() -> None:
    """Trees take a matrix."""

    def change(model: ModelProto) -> None:
        trees = ensemble(model)
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
        model.graph.node.insert(0, helper.make_node("Unsqueeze", [trees.input[0], "first"], ["cube"]))
        trees.input[0] = "cube"

    assert "trees take a matrix" in str(refused(changed(plain_trees(), change)))


def test_values_of_attributes_are_finite() -> None:
    """A tensor that fills others is no way to bring NaN in."""

    def add(builder: GraphBuilder) -> str:
        return builder.add("ConstantOfShape", builder.constant([2]), value=numpy_helper.from_array(np.array([np.nan])))

    assert "an attribute that is NaN" in str(refused(graph(add)))


def test_inputs_of_a_node_are_counted() -> None:
    """One more than there may be; the list of operators allows so many for Concat."""
    data = graph(lambda builder: builder.add("Concat", *["features"] * 4097, axis=1))
    assert (refused(data).code, "too many inputs" in refused(data).message) == ("model.limit", True)


@pytest.mark.parametrize("field", ["name", "type"])
def test_inputs_have_a_name_and_a_shape(field: str) -> None:
    """An input that does not say what it is."""
    data = changed(plain_trees(), lambda model: model.graph.input[0].ClearField(field))
    assert "without name or shape" in str(refused(data))


# --- what is true only for a moment, or of other callers ----------------------------------------------------------------


@posix
def test_a_size_is_refused_before_anything_is_read(bundle: Path) -> None:
    """The manifest's size is compared with the file's first: nothing of the manifest's size is reserved."""
    entry = msgspec.structs.replace(small_bundle().manifest.file("card.html"), size=1 << 46)
    for read in (tree.read_file, tree.hash_file):
        with pytest.raises(AlphasealError) as caught:
            read(bundle, entry)
        assert (caught.value.code, caught.value.found) == ("file.size", "35 bytes")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="files that say another size than they have")
def test_a_file_that_grows_while_it_is_read_is_refused() -> None:
    """Files of /proc say size 0 and have content: what is read is counted again."""
    entry = msgspec.structs.replace(small_bundle().manifest.file("card.html"), path="status", size=0)
    for read in (tree.read_file, tree.hash_file):
        with pytest.raises(AlphasealError) as caught:
            read(Path("/proc/self"), entry)
        assert caught.value.code == "file.size"


@posix
def test_links_are_called_links(bundle: Path) -> None:
    """The message tells a link from a special file."""
    (bundle / "sources/more").symlink_to("conf.yaml")
    assert refusal(bundle).message == "symbolic link in the bundle"


def test_questions_that_cannot_be_answered(bundle: Path) -> None:
    """A score needs a date or a range and not both; a file that the manifest does not list is not read."""
    opened = alphaseal.open(bundle, trust=TRUST)
    for dates in ({}, {"date": "2021-12-24", "dates": (None, None)}):
        with pytest.raises(AlphasealError) as caught:
            opened.score(bundle / "factors.parquet", **dates)
        assert caught.value.code == "usage.date"
    with pytest.raises(AlphasealError) as caught:
        opened.read("nowhere")
    assert caught.value.code == "manifest.reference"


def test_a_locked_key_asks_for_its_passphrase() -> None:
    """Without a passphrase the message is that there is none, not that it is wrong."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(AlphasealError) as caught:
        keys.load_private_key(pem, None, "test")
    assert caught.value.message == "the private key is locked"


def test_golden_rows_of_whole_days_are_there_once() -> None:
    """A day with a stock twice is no day."""
    table = pq.read_table(pa.BufferReader(small_bundle().goldens[0]))
    twice = pa.concat_tables([table, table.slice(3, 1)])
    with pytest.raises(PolicyError) as caught:
        golden.keyed_block(twice, np.zeros((len(twice), FEATURES)), "golden.parquet")
    assert (caught.value.code, caught.value.found) == ("golden.keys", "2021-12-24 SH600003")


# --- parquet ----------------------------------------------------------------------------------------------------------


def golden_with(change: Callable[[Fields], object], kind: int = 1) -> bytes:
    """Golden rows after `change` of the fields of the footer."""
    data = small_bundle().goldens[kind]
    length = int.from_bytes(data[-8:-4], "little")
    footer = Thrift(data[-8 - length : -8]).structure()
    change(footer)
    tail = write_structure(footer)
    return data[: -8 - length] + tail + len(tail).to_bytes(4, "little") + b"PAR1"


def field(fields: Fields, number: int) -> Any:
    """The value of one field of a structure."""
    return next(entry[2] for entry in fields if entry[0] == number)


def put(fields: Fields, number: int, value: object) -> None:
    """Another value of one field of a structure."""
    next(entry for entry in fields if entry[0] == number)[2] = value


def group(footer: Fields) -> Fields:
    """The first row group."""
    return field(footer, 4)[1][0]  # type: ignore[no-any-return]


def chunk(footer: Fields, place: int = 3) -> Fields:
    """What is said of one column of it."""
    return field(group(footer), 1)[1][place]  # type: ignore[no-any-return]


def exchange_texts(chunks: list[Fields]) -> None:
    """The columns `case` and `instrument`, which are of one type."""
    chunks[0], chunks[2] = chunks[2], chunks[0]


def read_golden(data: bytes) -> PolicyError:
    """What the data gate says of golden rows."""
    with pytest.raises(PolicyError) as caught:
        data_gate.read_exact(data, golden.golden_schema(small_bundle().manifest.features), ROWS, "golden.parquet")
    return caught.value


FOOTERS: dict[str, tuple[Callable[[Fields], object], str]] = {
    "encryption": (lambda f: f.append([8, 12, []]), "more than a footer holds"),
    "signing_key": (lambda f: f.append([9, 8, b"x"]), "more than a footer holds"),
    "field_twice": (lambda f: f.insert(0, list(f[0])), "a field twice"),
    "no_groups": (lambda f: f.remove(next(entry for entry in f if entry[0] == 4)), "lacks a list"),
    "no_rows": (lambda f: group(f).remove(next(entry for entry in group(f) if entry[0] == 3)), "lacks a number"),
    "chunk_in_another_file": (lambda f: chunk(f).insert(0, [1, 8, b"other.parquet"]), "somewhere else"),
    "chunk_encrypted": (lambda f: chunk(f).append([9, 8, b"x"]), "somewhere else"),
    "chunk_not_described": (
        lambda f: chunk(f).remove(next(entry for entry in chunk(f) if entry[0] == 3)),
        "somewhere else",
    ),
    "chunk_of_type_9": (lambda f: put(field(chunk(f), 3), 1, 9), "somewhere else"),
    "chunks_exchanged": (lambda f: field(group(f), 1)[1].reverse(), "somewhere else"),
    "chunks_of_texts_exchanged": (lambda f: exchange_texts(field(group(f), 1)[1]), "not in the order of its schema"),
    "chunk_nowhere": (lambda f: put(field(chunk(f), 3), 9, 2), "lies nowhere"),
    "chunk_of_negative_size": (lambda f: put(field(chunk(f), 3), 7, -5), "lies nowhere"),
    "chunk_too_short": (lambda f: put(field(chunk(f), 3), 7, 60), "is cut off"),
    "chunk_at_a_bad_place": (lambda f: put(field(chunk(f), 3), 9, 5), "data.parquet"),
    "unknown_kind": (lambda f: f.append([12, 13, b""]), "a field of kind 13"),
    "long_number": (lambda f: f.append([12, 7, b""]) or f.append([13, 3, b""]), "data.parquet"),
    "rows_of_the_group": (lambda f: put(group(f), 3, ROWS - 1), "the rows are not those"),
    "rows_of_the_file": (lambda f: put(f, 3, ROWS + 1), "the rows are not those"),
}


@pytest.mark.parametrize("name", FOOTERS)
def test_footers_that_say_something_else_are_refused(name: str) -> None:
    """Each in its own words."""
    change, words = FOOTERS[name]
    error = read_golden(golden_with(change))
    assert words in f"{error.code} {error}"


@pytest.mark.parametrize(
    ("footer", "words"),
    [
        (b"\x15" + b"\x80" * 12, "a number that is too long"),
        (b"\x1c" * 12 + b"\0" * 12, "nested too deeply"),
        (b"\x19\xfc\xff\xff\xff\xff\x0f", "cut off"),
        (b"\x15", "cut off"),
        (b"\0\0", "more than a footer holds"),
    ],
)
def test_footers_that_are_none_are_refused(footer: bytes, words: str) -> None:
    """Thrift that does not end, or nests, or claims more than there is."""
    error = read_golden(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert (error.code, words in error.message) == ("data.parquet", True)


def with_page(change: Callable[[Fields], object]) -> bytes:
    """Unpacked golden rows after `change` of the header of one page; it keeps its length."""
    data = small_bundle().goldens[1]
    length = int.from_bytes(data[-8:-4], "little")
    offset = field(field(chunk(Thrift(data[-8 - length : -8]).structure()), 3), 9)
    reader = Thrift(data, offset)
    header = reader.structure()
    change(header)
    head = write_structure(header)
    assert len(head) == reader.at - offset
    return data[:offset] + head + data[reader.at :]


def test_pages_of_more_values_than_rows_are_refused() -> None:
    """A page that says one value more than there are rows."""
    assert "more values than its row group" in str(
        read_golden(with_page(lambda header: put(field(header, 5), 1, ROWS + 1)))
    )


@pytest.mark.parametrize(
    ("everywhere", "words"), [(False, "not one value for each row"), (True, "have not the values that the footer says")]
)
def test_fewer_values_than_rows_are_refused(everywhere: bool, words: str) -> None:
    """A footer that says one row more than the pages hold, in the groups only or of every column too."""

    def change(footer: Fields) -> None:
        put(footer, 3, ROWS + 1)
        put(group(footer), 3, ROWS + 1)
        for place in range(len(field(group(footer), 1)[1]) if everywhere else 0):
            put(field(chunk(footer, place), 3), 5, ROWS + 1)

    schema = golden.golden_schema(small_bundle().manifest.features)
    with pytest.raises(PolicyError) as caught:
        data_gate.read_exact(golden_with(change), schema, ROWS + 1, "golden.parquet")
    assert caught.value.code == "data.parquet"
    assert words in caught.value.message


def test_damaged_pages_are_called_damaged() -> None:
    """A packed page that does not unpack."""
    data = bytearray(small_bundle().goldens[0])
    start = data.index(b"\x28\xb5\x2f\xfd")  # the first frame of zstd
    data[start : start + 4] = b"\0\0\0\0"
    error = read_golden(bytes(data))
    assert (error.code, "zstd" in error.message.lower()) == ("data.parquet", True)


def test_factor_tables_with_a_column_behind_the_file_are_refused(tmp_path: Path) -> None:
    """Pages are looked for where the footer says, and there is nothing."""
    data = small_bundle().factors[1]
    length = int.from_bytes(data[-8:-4], "little")
    footer = Thrift(data[-8 - length : -8]).structure()
    put(field(chunk(footer), 3), 9, 1 << 20)
    tail = write_structure(footer)
    path = tmp_path / "factors.parquet"
    path.write_bytes(data[: -8 - length] + tail + len(tail).to_bytes(4, "little") + b"PAR1")
    factors = small_bundle().manifest.factors
    assert factors is not None
    with pytest.raises(PolicyError) as caught, path.open("rb") as file:
        data_gate.check_factors(file, factors)
    assert caught.value.code == "data.parquet"
    assert "closed file" not in caught.value.message


@pytest.mark.parametrize("text", ["[" + "[]," * 300_000 + "0]", "[" + "0," * 600_000 + "0]", '"' + r"\"[" * 300_000])
def test_json_of_too_many_parts_is_refused_before_it_is_built(text: str) -> None:
    """A text within its size that becomes a hundred times as much memory is refused by counting."""
    with pytest.raises(MalformedError) as caught:
        strict_json.loads(text.encode(), where="x", maximum_bytes=12 << 20)
    assert caught.value.code == ("json.syntax" if text.startswith('"') else "json.size")


def test_brackets_and_quotes_in_strings_are_no_structure() -> None:
    """Escaped quotes and backslashes inside strings hide no bracket and invent none."""
    value = {'a"[[[': "\\", "b\\": '\\"[{', "c": ['\\\\"']}
    data = strict_json.dumps(value)
    assert strict_json.loads(data, where="x", maximum_bytes=1000) == value
