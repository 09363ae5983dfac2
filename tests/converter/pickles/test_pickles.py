"""Reading pickles: real files are read, hostile ones are refused quickly, and nothing in either is executed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import hmac
import lzma
import math
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphaseal.errors import AlphasealError, NotReadableError
from alphaseal_converter.decode.frames import as_plain
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles import Limits, _wire, read_pickle
from alphaseal_converter.pickles._machine import interpret
from alphaseal_converter.pickles._state import PickleFault
from alphaseal_converter.pickles.records import Global, Record
from alphaseal_converter.pickles.signed import MAGIC, SessionKey, find_session_key, open_session_file
from locations import DATA, FIXTURES

PATTERNS = (
    "**/__session__/*/*",
    "**/params.pkl",
    "**/model.pkl",
    "**/dataset",
    "**/task",
    "**/pred.pkl",
    "**/label.pkl",
    "**/ic.pkl",
    "**/report_normal_1day.pkl",
)


def real_files() -> list[Path]:
    """All real pickles that are here: the full set, or the few of the repository."""
    root = FIXTURES if FIXTURES.is_dir() else DATA
    return sorted(path for pattern in PATTERNS for path in root.glob(pattern) if path.is_file())


def payload(path: Path) -> bytes:
    """The pickle of a file, without the signed header where there is one."""
    content = path.read_bytes()
    return content[len(MAGIC) + 32 :] if content.startswith(MAGIC) else content


def text(value: str) -> bytes:
    """SHORT_BINUNICODE or BINUNICODE of `value`."""
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def named(module: str, name: str) -> bytes:
    """STACK_GLOBAL of a class or function."""
    return text(module) + text(name) + b"\x93"


def refusal(data: bytes, limits: Limits | None = None) -> PickleFault:
    """How the interpreter refuses `data`; it must do so within ten seconds of CPU: a bound is missing where it does not."""
    start = time.process_time()
    with pytest.raises(PickleFault) as caught:
        interpret(data, limits)
    assert time.process_time() - start < 10
    return caught.value


def shape(root: Any) -> Any:
    """A graph as nested plain values that compare by content, shared values and cycles as their number."""
    numbers: dict[int, int] = {}
    kept: list[Any] = []  # a pair of a dict that is gone would leave its id to another value

    def visit(value: Any) -> Any:
        if isinstance(value, float) and math.isnan(value):
            return "nan"
        if not isinstance(value, (list, tuple, dict, set, frozenset, Record)):
            return (type(value).__name__, value)
        if id(value) in numbers:
            return ("seen", numbers[id(value)])
        numbers[id(value)] = len(numbers)
        kept.append(value)
        if isinstance(value, Record):
            parts: Any = [value.factory, value.args, value.kwargs, value.state, value.items, value.entries]
        else:
            parts = list(value.items()) if isinstance(value, dict) else value
        members = [visit(part) for part in parts]
        # Sets of records have no order of their own.
        return (type(value).__name__, sorted(members, key=str) if isinstance(value, (set, frozenset)) else members)

    return visit(root)


# ---- real files


@pytest.mark.skipif(not real_files(), reason="no real files here")
def test_real_files_are_read() -> None:
    """Every session, model, dataset, task and table that real runs left is read, and gives records or tables."""
    for path in real_files():
        root, names = interpret(payload(path))
        assert isinstance(root, (Record, dict)), path
        assert names or path.name == "task", path


@pytest.mark.skipif(not real_files(), reason="no real files here")
@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("value", [{"a": 1}, []])
def test_a_compressed_file_is_named(compress: Callable[[bytes], bytes], value: object) -> None:
    """joblib writes such files when it is asked to; the way out is said."""
    with pytest.raises(RefusalError) as caught:
        read_pickle(compress(pickle.dumps(value)), where="params.pkl")
    assert caught.value.code == "pickle.compressed"
    assert "joblib.load" in str(caught.value.next_step)


def test_the_child_gives_what_the_interpreter_gives() -> None:
    """A graph that came through the child process equals the one that was made here, sharing included."""
    for path in real_files()[::12]:
        here, names = interpret(payload(path))
        contents = read_pickle(payload(path), where=str(path))
        assert contents.globals == names
        assert shape(contents.root) == shape(here), path


@pytest.mark.skipif(not real_files(), reason="no real files here")
def test_a_session_takes_less_than_a_second() -> None:
    """The largest session is read through the child in under a second."""
    largest = max((payload(path) for path in real_files()), key=len)
    start = time.process_time()
    read_pickle(largest, where="session")
    assert time.process_time() - start < 1


# ---- plain values

KEYS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=9)
)
PLAIN = st.recursive(
    KEYS | st.integers(-(2**600), 2**600),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=5)
        | st.tuples(inner, inner)
        | st.sets(KEYS, max_size=5)
        | st.frozensets(KEYS, max_size=5)
    ),
    max_leaves=40,
)


@settings(max_examples=300, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_data_comes_back(value: Any, protocol: int) -> None:
    """What Python's pickler writes of plain data, in any protocol, is read as the same data, of the same types."""
    data = pickle.dumps(value, protocol=protocol)
    root, _ = interpret(data)
    sent = _wire.decode(b"".join(_wire.encode(root)), lambda start, end: data[start:end])
    assert shape(as_plain(sent)) == shape(as_plain(root))
    assert as_plain(root) == value
    assert repr(as_plain(root)) == repr(value) or "{" in repr(value)


def test_plain_data_comes_back_from_the_child() -> None:
    """The same through the child process, with every scalar kind, a long literal, a cycle and a shared value."""
    shared: list[Any] = [1, 2**70, -1.5, "ä\ud800", b"x" * 200_000, None, True, (1, "a"), {3}, frozenset({4})]
    value: dict[Any, Any] = {"a": shared, ("b", 1): shared, "nan": math.nan}
    value["self"] = [value]
    root = read_pickle(pickle.dumps(value), where="test").root
    assert root["a"] is root["b", 1]
    assert root["self"][0] is root
    assert root["a"] == shared
    assert math.isnan(root["nan"])


def test_a_python_2_string_is_text() -> None:
    """STRING with its escapes, BINSTRING and SHORT_BINSTRING give ASCII text, anything else is refused."""
    assert interpret(b"S'a\\n\\x41\\101\\'\\\\'\n.")[0] == "a\nAA'\\"
    assert interpret(b"U\x02ab.")[0] == "ab"
    assert interpret(b"T\x02\x00\x00\x00ab.")[0] == "ab"
    for data in (b"S'a\n.", b"Sa\n.", b"S'\\xff'\n.", b"S'\\q'\n.", b"S'\\9'\n.", b"U\x01\xff."):
        assert refusal(data).code == "pickle.text"


class Thing:
    """An object with attributes, an item list and a state of its own."""

    def __init__(self) -> None:
        self.name = "thing"


@pytest.mark.parametrize("protocol", range(6))
def test_an_object_is_a_record(protocol: int) -> None:
    """An instance is a record with its class named, its arguments and attributes, in every protocol."""
    root, names = interpret(pickle.dumps(Thing(), protocol=protocol))
    assert isinstance(root, Record)
    assert root.attributes == {"name": "thing"}
    assert Global(__name__, "Thing") in names


def test_old_opcodes_make_records() -> None:
    """INST and OBJ, which Python 2 wrote for classes, record the class and its arguments."""
    root, _ = interpret(b"(I1\nI01\nimodule\nName\n.")
    assert (root.factory, root.args) == (Global("module", "Name"), (1, True))
    root, _ = interpret(b"(cmodule\nName\nL5L\nF2.5\no.")
    assert (root.factory, root.args) == (Global("module", "Name"), (5, 2.5))


def test_keyword_arguments_items_and_entries_are_recorded() -> None:
    """NEWOBJ_EX, APPENDS and SETITEMS on an object are kept in kwargs, items and entries."""
    data = named("m", "C") + b"K\x01\x85}X\x01\x00\x00\x00kK\x02s\x92(K\x03K\x04e(K\x05K\x06uK\x07b."
    root, _ = interpret(data)
    assert (root.args, root.kwargs, root.items, root.entries, root.state) == ((1,), {"k": 2}, [3, 4], [(5, 6)], 7)


# ---- nothing runs

COMMAND = "touch {canary}"
SYSTEM = named("os", "system") + text(COMMAND) + b"\x85R"
GETITEM = (
    named("_operator", "getitem") + named("builtins", "__dict__") + text("eval") + b"\x86R" + text("1/0") + b"\x85R"
)
ALIAS = (
    named("types", "GenericAlias")
    + named("os", "system")
    + named("builtins", "str")
    + b"\x86R"
    + text(COMMAND)
    + b"\x85R"
)
RUNNING = {
    "system": SYSTEM + b".",
    "system_text": b"cos\nsystem\n(S'" + COMMAND.encode() + b"'\ntR.",
    "system_inst": b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n.",
    "system_object": b"(cos\nsystem\nS'" + COMMAND.encode() + b"'\no.",
    "getitem": GETITEM + b".",
    "generic_alias": ALIAS + b".",
    "build_calls": named("m", "C") + b")\x81}X\x0c\x00\x00\x00__setstate__" + named("os", "system") + b"sb.",
    "popen": named("subprocess", "Popen") + b"](" + text("touch") + text("{canary}") + b"e\x85R.",
}
AUDITED = """
import sys
from pathlib import Path
from alphaseal_converter.pickles._machine import interpret
seen = []
events = ("pickle.find_class", "exec", "compile", "import", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "open")
data = Path(sys.argv[1]).read_bytes()
sys.addaudithook(lambda event, arguments: seen.append(event) if event in events else None)
interpret(data)
seen and sys.exit(repr(seen))
"""


@pytest.mark.parametrize("name", RUNNING)
def test_nothing_of_a_hostile_pickle_runs(name: str, tmp_path: Path) -> None:
    """A pickle that would run a command leaves no trace, neither here nor in the child, and raises no audit event."""
    canary = tmp_path / "c"
    data = RUNNING[name]
    # The length of a path is part of the pickle: the placeholder is replaced as text opcodes are made.
    data = rewrite(data, str(canary))
    root, names = interpret(data)
    assert names
    assert isinstance(root, Record)
    assert read_pickle(data, where="hostile").globals == names
    with pytest.raises(RefusalError):
        as_plain(root)
    file = tmp_path / "hostile"
    file.write_bytes(data)
    found = subprocess.run(
        [sys.executable, "-c", AUDITED, str(file)], env=os.environ, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert not canary.exists()
    if name in ("system", "generic_alias"):
        # The attack is real: Python's own unpickler falls for it.
        subprocess.run([sys.executable, "-c", f"import pickle; pickle.loads({data!r})"], check=False)
        assert canary.exists()


def rewrite(data: bytes, canary: str) -> bytes:
    """`data` with every ``{canary}`` of a text opcode replaced, and the lengths with it."""
    for template in (COMMAND, "{canary}"):
        data = data.replace(text(template), text(template.format(canary=canary)))
    return data.replace(COMMAND.encode(), COMMAND.format(canary=canary).encode())


# ---- what is refused


def tuples(levels: int) -> bytes:
    """A tuple of twice the same tuple, `levels` deep: 2**levels steps to hash."""
    return b")" + b"2\x86" * levels


REFUSED = {
    "empty": (b"", "pickle.truncated"),
    "text": (b"Hello world", "pickle.opcode"),
    "no_stop": (b"N", "pickle.truncated"),
    "stop_alone": (b".", "pickle.stack"),
    "two_values": (b"NN.", "pickle.stack"),
    "open_mark": (b"(N.", "pickle.stack"),
    "protocol": (b"\x80\x06N.", "pickle.protocol"),
    "frame": (b"\x80\x04\x95" + b"\xff" * 8 + b"N.", "pickle.truncated"),
    "second_pickle": (b"N." + RUNNING["system_text"], "pickle.trailing"),
    "persistent": (b"Pid\n.", "pickle.opcode"),
    "binary_persistent": (b"NQ.", "pickle.opcode"),
    "extension_1": (b"\x82\x01.", "pickle.opcode"),
    "extension_2": (b"\x83\x01\x00.", "pickle.opcode"),
    "extension_4": (b"\x84\x01\x00\x00\x00.", "pickle.opcode"),
    "next_buffer": (b"\x97.", "pickle.opcode"),
    "readonly_buffer": (b"N\x98.", "pickle.opcode"),
    "dotted": (named("pathlib", "os.system") + b".", "pickle.dotted_global"),
    "dotted_text": (b"cpathlib\nos.system\n.", "pickle.dotted_global"),
    "dotted_inst": (b"(ipathlib\nos.system\n.", "pickle.dotted_global"),
    "odd_name": (named("os", "sys tem") + b".", "pickle.global_name"),
    "odd_module": (named("../os", "system") + b".", "pickle.global_name"),
    "long_name": (named("o" * 1000, "system") + b".", "pickle.global_name"),
    "name_no_text": (b"K\x01K\x02\x93.", "pickle.global_name"),
    "huge_bytes": (b"\x8e" + struct.pack("<Q", 2**62) + b"x.", "pickle.limit"),
    "huge_bytearray": (b"\x96" + struct.pack("<Q", 2**63) + b"x.", "pickle.limit"),
    "long_bytes": (b"B" + struct.pack("<I", 2**28) + b"x.", "pickle.truncated"),
    "huge_text": (b"\x8d" + struct.pack("<Q", 2**62) + b"x.", "pickle.limit"),
    "memo_index": (b"Nr\xff\xff\xff\xff.", "pickle.limit"),
    "memo_text_index": (b"Np99999999999999\n.", "pickle.limit"),
    "memo_negative": (b"Np-1\n.", "pickle.limit"),
    "memo_missing": (b"h\x07.", "pickle.memo"),
    "wide_integer": (b"\x8b" + struct.pack("<I", 5000) + b"\x01" * 5000 + b".", "pickle.limit"),
    "wide_text_integer": (b"I" + b"9" * 5000 + b"\n.", "pickle.limit"),
    "no_integer": (b"I1_0\n.", "pickle.text"),
    "no_float": (b"Fone\n.", "pickle.text"),
    "no_utf8": (b"X\x01\x00\x00\x00\xff.", "pickle.text"),
    "no_raw_unicode": (b"V\\uZZZZ\n.", "pickle.text"),
    "call_of_text": (text("os.system") + b")R.", "pickle.call"),
    "call_without_tuple": (named("m", "f") + b"]R.", "pickle.call"),
    "keyword_not_text": (named("m", "f") + b")}K\x01K\x02s\x92.", "pickle.call"),
    "keywords_no_dict": (named("m", "f") + b")]\x92.", "pickle.call"),
    "build_on_global": (named("numpy", "__builtins__") + b"}b.", "pickle.build"),
    "build_on_dict": (b"}}b.", "pickle.build"),
    "second_build": (named("m", "C") + b")\x81}b}b.", "pickle.build"),
    "append_to_text": (text("a") + b"Na.", "pickle.append"),
    "add_to_list": (b"](N\x90.", "pickle.append"),
    "set_item_of_list": (b"]NNs.", "pickle.append"),
    "odd_items": (b"}(Nu.", "pickle.stack"),
    "list_as_key": (b"}]Ns.", "pickle.key"),
    "deep_key": (b"}" + tuples(60) + b"Ns.", "pickle.key"),
    "deep_member": (b"\x8f(" + tuples(60) + b"\x90.", "pickle.key"),
    "deep_frozen_member": (b"(" + tuples(60) + b"\x91.", "pickle.key"),
    "deep_dict_opcode": (b"(" + tuples(60) + b"Nd.", "pickle.key"),
    "wide_key": (b"}(" + b"N" * 101 + b"tNs.", "pickle.key"),
    "long_key": (b"}" + text("k" * 70_000) + b"Ns.", "pickle.key"),
    "deep_lists": (b"]" * 100_000 + b"a" * 99_999 + b".", "pickle.nesting"),
    "deep_tuples": (b")" + b"\x85" * 100_000 + b".", "pickle.nesting"),
    "deep_calls": (named("m", "f") + b")R" * 100_000 + b".", "pickle.nesting"),
    "marks": (b"(" * 5_000_000, "pickle.limit"),
    "stack": (b"N" * 5_000_000, "pickle.limit"),
    "line": (b"I" + b"1" * 100_000 + b"\n.", "pickle.limit"),
    "open_line": (b"I1", "pickle.truncated"),
    "empty_pop": (b"0N.", "pickle.stack"),
    "pop_below_mark": (b"N(\x85.", "pickle.stack"),
    "no_mark": (b"Nt.", "pickle.stack"),
    "object_without_class": (b"(o.", "pickle.stack"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused(name: str) -> None:
    """Each of these is refused by its own rule, at a byte of the file."""
    data, code = REFUSED[name]
    fault = refusal(data)
    assert fault.code == code, fault
    assert 0 <= fault.offset <= len(data)


@pytest.mark.parametrize("name", ["dotted", "second_pickle", "deep_key", "huge_bytes", "deep_lists", "persistent"])
def test_a_refusal_comes_out_of_the_child(name: str) -> None:
    """Through the child a refusal keeps its code and says the file and the byte."""
    data, code = REFUSED[name]
    with pytest.raises(RefusalError, match=r"at byte [0-9]+") as caught:
        read_pickle(data, where="some/file")
    assert (caught.value.code, caught.value.where) == (code, "some/file")


def test_a_refusal_names_the_byte_of_the_opcode() -> None:
    """The offset is where the opcode stands that broke the rule."""
    assert refusal(b"\x80\x04NN0Q.").offset == 5
    assert refusal(b"\x80\x04N.more").offset == 4


def test_the_limits_are_followed() -> None:
    """Opcodes, total bytes, literal size and stack have limits that a caller can set."""
    assert refusal(b"N0" * 10 + b"N.", Limits(opcodes=20)).code == "pickle.limit"
    assert interpret(b"N0" * 9 + b"N.", Limits(opcodes=20))[0] is None
    assert refusal(b"N.", Limits(total_bytes=1)).code == "pickle.limit"
    assert refusal(text("abc") + b".", Limits(literal_bytes=2)).code == "pickle.limit"
    with pytest.raises(RefusalError, match="2 bytes, 1 are allowed"):
        read_pickle(b"N.", where="test", limits=Limits(total_bytes=1))


def test_a_bomb_of_references_stays_small() -> None:
    """A list of ten times the same list, forty levels deep, costs forty nodes, also on the way from the child."""
    data = b"]" + b"".join(b"q\x01](" + b"h\x01" * 10 + b"e" for _ in range(40)) + b"."
    # Each level stores the list below and replaces it on the stack by a list of ten references.
    data = data.replace(b"q\x01](", b"q\x010](")
    start = time.process_time()
    root = read_pickle(data, where="bomb").root
    assert time.process_time() - start < 10
    for _ in range(40):
        assert len(root) == 10
        assert root[0] is root[9]
        root = root[0]
    assert root == []


def test_a_list_may_contain_itself() -> None:
    """A cycle is read as one, and refused where plain data are asked for."""
    root = read_pickle(b"]q\x00h\x00a.", where="test").root
    assert root[0] is root
    with pytest.raises(RefusalError) as caught:
        as_plain(root)
    assert caught.value.code == "pickle.cycle"


def test_colliding_integers_are_few() -> None:
    """Integers that hash alike are refused as keys before they cost quadratic time."""
    data = b"}(" + b"".join(b"\x8a\x0b" + ((2**61 - 1) * k).to_bytes(11, "little") + b"N" for k in range(1, 20_000))
    assert refusal(data + b"u.").code == "pickle.key"


def test_a_child_that_takes_too_long_is_ended() -> None:
    """The clock ends the child, and the refusal says so."""
    data = b"N0" * 9_000_000 + b"N."
    start = time.process_time()
    with pytest.raises(RefusalError, match=r"longer than 0\.5 seconds") as caught:
        read_pickle(data, where="slow", seconds=0.5)
    assert caught.value.code == "pickle.resources"
    assert time.process_time() - start < 5


@pytest.mark.skipif(sys.platform == "win32", reason="memory limits are POSIX")
def test_a_child_that_needs_too_much_memory_is_ended() -> None:
    """Memory beyond the limit costs the child only."""
    data = b"](" + b"]" * 3_000_000 + b"e."
    with pytest.raises(RefusalError, match="memory") as caught:
        read_pickle(data, where="large", memory_bytes=128 << 20)
    assert caught.value.code == "pickle.resources"


def test_an_answer_that_is_too_long_is_refused() -> None:
    """The parent does not collect more of the child's answer than the limit."""
    with pytest.raises(RefusalError) as caught:
        read_pickle(text("a" * 3_000_000) + b".", where="long", limits=Limits(result_bytes=1_000_000))
    assert caught.value.code == "pickle.resources"


def test_a_file_cut_anywhere_is_refused() -> None:
    """A pickle that is cut at any byte is refused, never read in part."""
    for protocol in (0, 2, 5):
        data = pickle.dumps({"a": [1, 2.5, Thing(), b"x", ("y", None)], 5: {1, 2}}, protocol=protocol)
        for end in range(len(data)):
            with pytest.raises(PickleFault):
                interpret(data[:end])


SEEDS = [pickle.dumps({"a": [1, 2.5, Thing(), b"x", ("y", None), {3, 4}]}, protocol=protocol) for protocol in range(6)]
SEEDS += [rewrite(data, "c") for data in RUNNING.values()]


@settings(max_examples=800, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=6))
def test_damaged_pickles_give_only_our_errors(seed: bytes, edits: list[tuple[int, bytes]]) -> None:
    """Whatever the bytes, the outcome is a graph that can be sent, or a refusal."""
    data = bytearray(seed)
    for place, patch in edits:
        data[place % len(data) : place % len(data) + 1] = patch
        data = data or bytearray(b".")
    try:
        root, _ = interpret(bytes(data))
        sent = _wire.decode(b"".join(_wire.encode(root)), lambda start, end: bytes(data[start:end]))
        as_plain(sent)
    except (PickleFault, AlphasealError):
        return


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_a_damaged_answer_is_no_surprise(answer: bytes) -> None:
    """The decoder of the child's answer takes any bytes and raises its own error or gives values."""
    try:
        _wire.decode(answer, lambda start, end: b"")
    except _wire.WireError:
        return


def test_every_opcode_is_known() -> None:
    """Each opcode that Python documents is either followed or refused by its name."""
    for opcode in pickletools.opcodes:
        data = opcode.code.encode("latin-1")
        if data == b".":
            continue
        with pytest.raises(PickleFault) as caught:
            interpret(data + b"\x00" * 8)
        # A following zero byte is no opcode; the one under test is.
        assert "is not an opcode" not in caught.value.message or caught.value.offset > 0, opcode.name


# ---- signed sessions

KEY = bytes(range(32))
NAMED = SessionKey(KEY, "the test's key", named=True)


def signed(content: bytes, key: bytes = KEY) -> bytes:
    """A session file as rdagent 1.0.0 writes it."""
    return MAGIC + hmac.digest(key, content, "sha256") + content


@pytest.fixture(autouse=True)
def no_key_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tests see no signing key but their own."""
    monkeypatch.delenv("ARTIFACT_SIGNING_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))


def test_a_plain_session_is_not_signed(tmp_path: Path) -> None:
    """A file without the magic is its own payload."""
    file = tmp_path / "s"
    file.write_bytes(b"N.")
    opened = open_session_file(file, None)
    assert (opened.payload, opened.signed, opened.authenticated) == (b"N.", False, False)
    assert opened.sha256 == hashlib.sha256(b"N.").hexdigest()


def test_a_signed_session_is_authenticated_with_its_key(tmp_path: Path) -> None:
    """With the key the code is checked; without one the session is read and said to be unproven."""
    file = tmp_path / "s"
    file.write_bytes(signed(b"N."))
    assert open_session_file(file, NAMED).authenticated
    unproven = open_session_file(file, None)
    assert (unproven.payload, unproven.signed, unproven.authenticated) == (b"N.", True, False)
    assert unproven.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_wrong_key_or_a_changed_session_is_refused(tmp_path: Path) -> None:
    """Another key, or one changed byte in code or payload, is refused with the way out."""
    file = tmp_path / "s"
    good = signed(b"N.")
    for content in (signed(b"N.", b"k" * 32), good[:-2] + b"K.", good[: len(MAGIC)] + b"\0" + good[len(MAGIC) + 1 :]):
        file.write_bytes(content)
        with pytest.raises(RefusalError, match="--session-key") as caught:
            open_session_file(file, NAMED)
        assert caught.value.code == "session.wrong_key"


def test_a_refused_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key named for the session refuses by name; rdagent's own key file of this machine only does not authenticate."""
    file = tmp_path / "s"
    file.write_bytes(signed(b"N."))
    home_key = Path.home() / ".rdagent" / "artifact_signing.key"
    home_key.parent.mkdir(parents=True)
    home_key.write_bytes(b"h" * 32)
    opened = open_session_file(file, find_session_key(None))
    assert (opened.payload, opened.signed, opened.authenticated) == (b"N.", True, False)
    monkeypatch.setenv("ARTIFACT_SIGNING_KEY", "secret of at least thirty-two bytes")
    with pytest.raises(RefusalError, match="ARTIFACT_SIGNING_KEY"):
        open_session_file(file, find_session_key(None))


def test_a_header_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """A signed file that ends inside its header is no plain pickle."""
    file = tmp_path / "s"
    for end in range(1, len(MAGIC) + 33):
        file.write_bytes(signed(b"N.")[:end])
        with pytest.raises(RefusalError) as caught:
            open_session_file(file, NAMED)
        assert caught.value.code == "session.truncated"


def key_at_hand(file: Path | None) -> bytes | None:
    """The bytes of the key that is found, or None."""
    key = find_session_key(file)
    return key.value if key is not None else None


def test_the_key_is_found_in_the_documented_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option comes before the variable (hashed), the variable before the file in the home directory."""
    assert find_session_key(None) is None
    home_key = Path.home() / ".rdagent" / "artifact_signing.key"
    home_key.parent.mkdir(parents=True)
    home_key.write_bytes(b"h" * 32)
    assert key_at_hand(None) == b"h" * 32
    monkeypatch.setenv("ARTIFACT_SIGNING_KEY", "secret of at least thirty-two bytes")
    assert key_at_hand(None) == hashlib.sha256(b"secret of at least thirty-two bytes").digest()
    given_key = tmp_path / "given.key"
    given_key.write_bytes(KEY)
    assert key_at_hand(given_key) == KEY


def test_an_unusable_key_file_is_an_error(tmp_path: Path) -> None:
    """A missing file cannot be read; a short one is no key of rdagent."""
    with pytest.raises(NotReadableError):
        find_session_key(tmp_path / "absent")
    (tmp_path / "short").write_bytes(b"k" * 31)
    with pytest.raises(RefusalError) as caught:
        find_session_key(tmp_path / "short")
    assert caught.value.code == "session.short_key"


def test_the_real_key_authenticates_the_real_sessions() -> None:
    """Sessions that rdagent signed are authenticated with the key that it left beside them."""
    for root in (FIXTURES, DATA):
        key_file = root / "quant_signed" / "artifact_signing.key"
        sessions = [path for path in root.glob("quant_signed/log/*/__session__/*/*") if path.is_file()]
        if key_file.is_file() and sessions:
            key = find_session_key(key_file)
            assert all(open_session_file(path, key).authenticated for path in sessions)
            return
    pytest.skip("no signed session here")
