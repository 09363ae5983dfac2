"""Session signatures: snapshots of RD-Agent with and without a key, for readers of sessions in any language.

The keys are TEST KEYS.  The sessions are written opcode by opcode: a loop whose trace holds a history, and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

from vector_cases.base import Case

MAGIC = b"RDAGENT_SIGNED_PICKLE_V1\n"
TASK = "task/log/2024-01-02_09-00-00-000000"
SNAPSHOT = "__session__/1/4_record"
FILE = f"{TASK}/{SNAPSHOT}"
KEY = hashlib.sha256(b"alphaseal vectors, TEST KEY of sessions").digest()
OTHER_KEY = hashlib.sha256(b"alphaseal vectors, another TEST KEY of sessions").digest()
PASSPHRASE = "alphaseal vectors, TEST KEY in the environment"
PLACE = ["task"]
NAMED = [*PLACE, "--session-key", "session.key"]
NO_KEY: dict[str, str | None] = {"ARTIFACT_SIGNING_KEY": None, "HOME": "."}
"""What the environment of every vector is, but for what it says: no key in a variable, the home directory is the copy."""
HOME_KEY = ".rdagent/artifact_signing.key"


def payload(entries: int) -> bytes:
    """A loop with a history of so many experiments without feedback."""
    experiment = b"crdagent.scenarios.qlib.experiment.factor_experiment\nQlibFactorExperiment\n)\x81N\x86"
    history = b"](" + experiment * entries + b"e"
    trace = b"crdagent.core.proposal\nTrace\n)\x81}\x8c\x04hist" + history + b"sb"
    return b"\x80\x04crdagent.app.qlib_rd_loop.factor\nFactorRDLoop\n)\x81}\x8c\x05trace" + trace + b"sb."


def signed(content: bytes, key: bytes = KEY) -> bytes:
    """A snapshot as RD-Agent 1.0.0 writes it: the magic line, 32 bytes of HMAC-SHA256, the pickle."""
    return MAGIC + hmac.digest(key, content, "sha256") + content


def base_files() -> dict[str, bytes]:
    """What every vector is laid over: a task with one signed snapshot, and its key."""
    return {FILE: signed(payload(1)), "session.key": KEY}


def cases() -> Iterator[Case]:
    """Every vector of a session's signature."""
    plain = payload(1)
    good = signed(plain)
    yield _read("key_named", "A snapshot and the key that signed it: authenticated.", NAMED, True, True)
    yield _read("no_key", "A signed snapshot without any key: read, not authenticated.", PLACE, True, False)
    yield _read(
        "key_of_64_bytes", "A key file is used whole, however long it is.", NAMED, True, True,
        {FILE: signed(plain, KEY * 2), "session.key": KEY * 2},
    )  # fmt: skip
    yield _read(
        "key_in_the_environment", "The variable's text is hashed with SHA-256 to be the key.", PLACE, True, True,
        {FILE: signed(plain, hashlib.sha256(PASSPHRASE.encode()).digest())}, {"ARTIFACT_SIGNING_KEY": PASSPHRASE},
    )  # fmt: skip
    yield _read(
        "option_before_the_environment", "The key of the option counts where both are there.", NAMED, True, True,
        environment={"ARTIFACT_SIGNING_KEY": PASSPHRASE},
    )  # fmt: skip
    yield _read(
        "empty_variable", "An empty variable is no key.", PLACE, True, False, environment={"ARTIFACT_SIGNING_KEY": ""}
    )
    yield _read("key_at_home", "RD-Agent's own key file of this machine is found.", PLACE, True, True, {HOME_KEY: KEY})
    yield _read(
        "other_key_at_home", "A key that was only found and does not fit proves nothing: read, not authenticated.", PLACE,
        True, False, {HOME_KEY: OTHER_KEY},
    )  # fmt: skip
    yield _read(
        "not_signed_key_at_home", "A key that was only found forbids no unsigned session.", PLACE, False, False,
        {FILE: plain, HOME_KEY: KEY},
    )  # fmt: skip
    yield _read("not_signed", "Without a key an unsigned snapshot is read.", PLACE, False, False, {FILE: plain})
    yield _refused("header_cut_off", "The signature left away, and the key named.", "not_signed", {FILE: plain})
    yield _refused("magic_changed", "One letter of the magic line changed.", "not_signed", {FILE: b"r" + good[1:]})
    yield _refused("magic_without_its_line_end", "A magic line that ends with CR LF.", "not_signed",
                   {FILE: good.replace(b"_V1\n", b"_V1\r\n")})  # fmt: skip
    yield _refused("not_signed_variable", "An unsigned snapshot where the variable names a key.", "not_signed",
                   {FILE: plain}, PLACE, {"ARTIFACT_SIGNING_KEY": PASSPHRASE})  # fmt: skip
    yield _refused("other_key", "Signed with another key.", "wrong_key", {FILE: signed(plain, OTHER_KEY)})
    yield _refused("other_key_variable", "Signed with another key than the variable's.", "wrong_key", {}, PLACE,
                   {"ARTIFACT_SIGNING_KEY": PASSPHRASE})  # fmt: skip
    yield _refused("key_as_text", "Signed with the key's hexadecimal text.", "wrong_key",
                   {FILE: signed(plain, KEY.hex().encode())})  # fmt: skip
    yield _refused("payload_changed", "Another pickle behind the signature.", "wrong_key",
                   {FILE: good[: -len(plain)] + payload(2)})  # fmt: skip
    yield _refused("payload_longer", "A byte behind the signed pickle.", "wrong_key", {FILE: good + b"N"})
    yield _refused("code_changed", "One bit of the signature changed.", "wrong_key",
                   {FILE: good[:25] + bytes([good[25] ^ 1]) + good[26:]})  # fmt: skip
    yield _refused("code_over_the_header_too", "A signature over magic line and pickle.", "wrong_key",
                   {FILE: MAGIC + hmac.digest(KEY, MAGIC + plain, "sha256") + plain})  # fmt: skip
    yield _refused("code_of_zeros", "A signature of zeros.", "wrong_key", {FILE: MAGIC + bytes(32) + plain})
    for name, end in {"magic": 10, "code": 40, "payload": 25 + 32}.items():
        text = f"A snapshot that ends {'before' if name == 'payload' else 'inside'} its {name}."
        yield _refused(f"cut_off_in_{name}", text, "unreadable", {FILE: good[:end]})
    yield _refused(
        "signed_twice", "A signed snapshot signed again holds no pickle.", "unreadable", {FILE: signed(good)}
    )
    yield _refused("no_loop", "A signed pickle of something else.", "unreadable", {FILE: signed(b"\x80\x04K\x01.")})
    yield _refused("key_of_31_bytes", "A key file that is too short to be one.", "short_key", {"session.key": KEY[:31]})
    newer = f"{TASK}/__session__/1/5_extra"
    yield _refused("unsigned_beside", "An unsigned snapshot beside the signed one, newer.", "not_signed",
                   {newer: payload(2)})  # fmt: skip
    yield _refused("other_key_beside", "A snapshot by another key beside the signed one, newer.", "wrong_key",
                   {newer: signed(payload(2), OTHER_KEY)})  # fmt: skip
    older = f"{TASK}/__session__/0/4_record"
    for name, content, text in (
        ("unsigned", payload(3), "An older unsigned snapshot with a longer history: it does not exist."),
        ("other_key", signed(payload(3), OTHER_KEY), "An older one by another key with a longer history: neither."),
    ):
        yield _read(f"older_{name}_beside", text, NAMED, True, True, {older: content})
    yield _read(
        "older_signed_beside", "Of two signed snapshots the one with the longer history is used.", NAMED, True, True,
        {older: signed(payload(3))}, path="__session__/0/4_record", length=3,
    )  # fmt: skip


def _read(
    name: str,
    text: str,
    arguments: list[str],
    is_signed: bool,
    authenticated: bool,
    files: dict[str, bytes] | None = None,
    environment: dict[str, str | None] | None = None,
    path: str = SNAPSHOT,
    length: int = 1,
) -> Case:
    snapshot = {"path": path, "signed": is_signed, "authenticated": authenticated, "history_length": length}
    return _case(name, text, arguments, 0, "ok", files or {}, environment or {}, {"snapshot": snapshot})


def _refused(
    name: str,
    text: str,
    code: str,
    files: dict[str, bytes],
    arguments: list[str] | None = None,
    environment: dict[str, str | None] | None = None,
) -> Case:
    return _case(name, text, arguments or NAMED, 20, f"session.{code}", files, environment or {}, None)


def _case(
    name: str,
    text: str,
    arguments: list[str],
    status: int,
    code: str,
    files: dict[str, bytes],
    environment: dict[str, str | None],
    result: dict[str, Any] | None,
) -> Case:
    return Case(
        name, f"Session: {text}", "inspect", arguments, status, code, base_files() | files,
        environment=NO_KEY | environment, result=result,
    )  # fmt: skip
