"""The store: verified first, changed in one step, forwards only, and never half changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import alphaseal
from alphaseal import cli, store
from alphaseal.disk import tree
from alphaseal.errors import (
    AlphasealError,
    DigestError,
    MalformedError,
    NotReadableError,
    NotTrustedError,
    RollbackError,
    SelfTestError,
    TreeError,
    UsageError,
)
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.scoring import selftest
from alphaseal.trust.judgement import Trust
from kills import killed, needs_fork
from raising import code_of
from signed import envelope_of, known, policy, rule, signed_bundle, write_trust

TRUST = Trust(policy=policy(known("a"), bundles={"demo": rule(1)}))


def content(root: Path) -> dict[str, bytes]:
    """Every file below `root`."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store where sequence 5 is in force."""
    store.install(signed_bundle(tmp_path / "five", "a", sequence=5), tmp_path / "store", trust=TRUST)
    return tmp_path / "store"


def test_install_puts_a_verified_copy_in_force(tmp_path: Path, place: Path) -> None:
    """The copy is the bundle, byte for byte, below its digest, and opens with the same trust; no link, nothing left over."""
    found = store.current(place)
    assert (found.name, found.sequence, found.highest_sequence) == ("demo", 5, 5)
    assert found.path == place / "bundles" / found.digest
    assert content(found.path) == content(tmp_path / "five")
    assert alphaseal.open(found.path, trust=TRUST).verify().digest == found.digest
    assert sorted(path.name for path in place.iterdir()) == ["bundles", "current.json", "lock"]
    assert not any(path.is_symlink() for path in place.rglob("*"))


def test_newer_bundles_follow_and_older_ones_stay_installed(tmp_path: Path, place: Path) -> None:
    """A higher sequence comes into force; the history says what was in force and when."""
    assert store.install(signed_bundle(tmp_path / "six", "a", sequence=6), place, trust=TRUST).sequence == 6
    state = store.parse((place / "current.json").read_bytes(), "current.json")
    assert [(event.action, event.sequence) for event in state.history] == [("install", 5), ("install", 6)]
    assert len(list((place / "bundles").iterdir())) == 2


def test_installing_what_is_in_force_changes_nothing(tmp_path: Path, place: Path) -> None:
    """A replay of the same bundle is no error and leaves no trace."""
    before = content(place)
    assert store.install(tmp_path / "five", place, trust=TRUST).sequence == 5
    assert content(place) == before


ENVELOPES: dict[str, Callable[[bytes], bytes | None]] = {
    "more signatures": lambda manifest: envelope_of(manifest, "a", "b"),
    "other signatures": lambda manifest: envelope_of(manifest, "b"),
    "garbage": lambda manifest: b"garbage\n",
    "nothing": lambda manifest: b"",
    "of another manifest": lambda manifest: envelope_of(manifest.replace(b'"demo"', b'"other"'), "a"),
}


@pytest.mark.attack("store: another envelope for the bundle in force")
@pytest.mark.parametrize("name", ENVELOPES)
@pytest.mark.parametrize("trust", ["unsigned", "its own key"])
def test_the_envelope_in_force_is_never_replaced(tmp_path: Path, place: Path, name: str, trust: str) -> None:
    """The same manifest with another envelope is refused, whoever trusts it: what is in force stays, byte for byte."""
    bundle, before = tmp_path / "five", content(place)
    envelope = ENVELOPES[name]((bundle / m.FILE_NAME).read_bytes())
    assert envelope is not None
    (bundle / tree.ENVELOPE_NAME).write_bytes(envelope)
    chosen = Trust.unsigned() if trust == "unsigned" else Trust(policy=policy(known("b"), require_ready=False))
    with pytest.raises(AlphasealError) as caught:
        store.install(bundle, place, trust=chosen)
    if trust == "unsigned":
        assert (caught.value.code, caught.value.exit) == ("store.signatures", 16)
    assert content(place) == before
    assert alphaseal.open(store.current(place).path, trust=TRUST).verify().signers


@pytest.mark.attack("store: another envelope for the bundle in force")
def test_a_copy_without_an_envelope_takes_none_away(tmp_path: Path, place: Path) -> None:
    """An unsigned copy of what is in force changes nothing: its signatures stay."""
    before = content(place)
    (tmp_path / "five" / tree.ENVELOPE_NAME).unlink()
    assert store.install(tmp_path / "five", place, trust=Trust.unsigned()).sequence == 5
    assert content(place) == before


def test_an_envelope_comes_not_to_an_unsigned_bundle_in_force(tmp_path: Path) -> None:
    """Nor is an envelope put beside a bundle that was installed without one."""
    bundle = signed_bundle(tmp_path / "five", "a", sequence=5)
    envelope = (bundle / tree.ENVELOPE_NAME).read_bytes()
    (bundle / tree.ENVELOPE_NAME).unlink()
    store.install(bundle, tmp_path / "store", trust=Trust.unsigned())
    before = content(tmp_path / "store")
    (bundle / tree.ENVELOPE_NAME).write_bytes(envelope)
    assert code_of(lambda: store.install(bundle, tmp_path / "store", trust=TRUST), RollbackError) == "store.signatures"
    assert content(tmp_path / "store") == before


def test_what_a_stopped_install_left_is_not_what_is_installed(tmp_path: Path, place: Path) -> None:
    """A copy that nothing ever named, with other signatures, is made anew from the bundle that is installed."""
    six = signed_bundle(tmp_path / "six", "a", sequence=6)
    left = place / "bundles" / alphaseal.open(six, trust=TRUST).digest
    shutil.copytree(six, left)
    (left / tree.ENVELOPE_NAME).write_bytes(b"garbage\n")
    (left / "surplus").write_bytes(b"")
    store.install(six, place, trust=TRUST)
    assert content(store.current(place).path) == content(six)


def _damage(bundle: Path) -> None:
    path = bundle / "model.onnx"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))


def _extra(bundle: Path) -> None:
    (bundle / "extra").write_bytes(b"")


def _unsign(bundle: Path) -> None:
    (bundle / tree.ENVELOPE_NAME).unlink()


@pytest.mark.parametrize(
    ("changes", "damage", "kind", "code"),
    [
        ({"sequence": 4}, None, RollbackError, "store.sequence"),
        ({"sequence": 5, "created": "2020-01-01T00:00:00Z"}, None, RollbackError, "store.sequence_reused"),
        ({"sequence": 6, "name": "another"}, None, RollbackError, "trust.name"),
        (
            {"sequence": 6, "expires": "2020-01-01T00:00:00Z"},
            None,
            alphaseal.errors.ExpiredError,
            "trust.bundle_expired",
        ),
        ({"sequence": 6}, _damage, DigestError, "file.digest"),
        ({"sequence": 6}, _extra, TreeError, "tree.extra"),
        ({"sequence": 6}, _unsign, NotTrustedError, "trust.unsigned"),
    ],
)
def test_a_refused_bundle_leaves_the_store_as_it_was(
    tmp_path: Path, place: Path, changes: dict[str, Any], damage: Any, kind: type[AlphasealError], code: str
) -> None:
    """Older, reused, foreign, expired, damaged or unsigned: refused, and not one byte of the store is another."""
    bundle, before = signed_bundle(tmp_path / "refused", "a", **changes), content(place)
    if damage is not None:
        damage(bundle)
    assert code_of(lambda: store.install(bundle, place, trust=TRUST), kind) == code
    assert content(place) == before


def test_a_refused_first_bundle_makes_no_store(tmp_path: Path) -> None:
    """What is not trusted does not even make the directory."""
    bundle = signed_bundle(tmp_path / "bundle", "stranger")
    assert (
        code_of(lambda: store.install(bundle, tmp_path / "store", trust=TRUST), NotTrustedError) == "trust.unknown_key"
    )
    assert not (tmp_path / "store").exists()


def test_a_store_holds_one_name(tmp_path: Path, place: Path) -> None:
    """A trust that accepts any name does not let another model take the place of this one."""
    other = signed_bundle(tmp_path / "other", "a", sequence=6, name="another")
    assert (
        code_of(lambda: store.install(other, place, trust=Trust(policy=policy(known("a")))), RollbackError)
        == "store.name"
    )


def test_a_failed_self_test_keeps_the_old_bundle(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden rows that score differently here keep a bundle out of force, before the state is written."""

    def fail(*_: Any) -> None:
        raise SelfTestError("selftest.scores", "differs")

    before = content(place)
    monkeypatch.setattr(selftest, "run", fail)
    bundle = signed_bundle(tmp_path / "six", "a", sequence=6)
    assert code_of(lambda: store.install(bundle, place, trust=TRUST), SelfTestError) == "selftest.scores"
    assert content(place) == before


def test_rollback_is_explicit_recorded_and_does_not_open_the_door(tmp_path: Path, place: Path) -> None:
    """Back to 5 with a reason; then 6 does not come back by install, 7 does; the highest sequence never goes back."""
    six = signed_bundle(tmp_path / "six", "a", sequence=6)
    store.install(six, place, trust=TRUST)
    back = store.rollback(place, to=5, reason="scores looked wrong", trust=TRUST)
    assert (back.sequence, back.highest_sequence, store.current(place).sequence) == (5, 6, 5)
    assert code_of(lambda: store.install(six, place, trust=TRUST), RollbackError) == "store.rolled_back"
    assert code_of(lambda: store.install(tmp_path / "five", place, trust=TRUST), RollbackError) == "store.sequence"
    other = signed_bundle(tmp_path / "other", "a", sequence=6, created="2020-01-01T00:00:00Z")
    assert code_of(lambda: store.install(other, place, trust=TRUST), RollbackError) == "store.sequence_reused"
    assert store.rollback(place, to=6, reason="it was the data", trust=TRUST).sequence == 6
    assert store.install(signed_bundle(tmp_path / "seven", "a", sequence=7), place, trust=TRUST).sequence == 7
    state = store.parse((place / "current.json").read_bytes(), "current.json")
    told = [(event.action, event.sequence, event.reason) for event in state.history]
    assert told == [
        ("install", 5, None),
        ("install", 6, None),
        ("rollback", 5, "scores looked wrong"),
        ("rollback", 6, "it was the data"),
        ("install", 7, None),
    ]


def test_rollback_refusals(tmp_path: Path, place: Path) -> None:
    """Unknown sequence, the one in force, no reason, too much of one, no store: nothing changes."""
    before = content(place)
    for to in (4, 5, 6):
        assert (
            code_of(lambda to=to: store.rollback(place, to=to, reason="x", trust=TRUST), UsageError) == "usage.sequence"
        )
    for reason in ("", "  ", "x" * 1001):
        assert (
            code_of(lambda reason=reason: store.rollback(place, to=4, reason=reason, trust=TRUST), UsageError)
            == "usage.reason"
        )
    assert content(place) == before
    assert (
        code_of(lambda: store.rollback(tmp_path / "absent", to=4, reason="x", trust=TRUST), NotReadableError)
        == "store.empty"
    )
    assert not (tmp_path / "absent").exists()


def test_rollback_verifies_what_it_puts_in_force(tmp_path: Path, place: Path) -> None:
    """A copy that was damaged or exchanged meanwhile, or is revoked now, does not come back into force."""
    old = store.current(place)
    store.install(signed_bundle(tmp_path / "six", "a", sequence=6), place, trust=TRUST)
    revoked = Trust(policy=policy(known("a"), revoked_digests=[old.digest]))
    assert (
        code_of(lambda: store.rollback(place, to=5, reason="x", trust=revoked), NotTrustedError)
        == "trust.digest_revoked"
    )
    (old.path / m.FILE_NAME).write_bytes((store.current(place).path / m.FILE_NAME).read_bytes())
    assert (
        code_of(lambda: store.rollback(place, to=5, reason="x", trust=Trust.unsigned()), DigestError) == "store.digest"
    )
    _damage(old.path)
    assert store.current(place).sequence == 6


def test_an_installed_copy_that_was_damaged_is_refused(tmp_path: Path, place: Path) -> None:
    """Installing again what is in force verifies the copy that is there."""
    _damage(store.current(place).path)
    assert code_of(lambda: store.install(tmp_path / "five", place, trust=TRUST), DigestError) == "file.digest"


def _set(**fields: Any) -> Any:
    return lambda value: value.update(fields)


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (_set(format="2"), "store.version"),
        (_set(surplus=1), "store.schema"),
        (_set(history=[]), "store.schema"),
        (_set(current={"sequence": -1, "digest": "0" * 64}), "store.schema"),
        (_set(current={"sequence": 1, "digest": "../../elsewhere"}), "store.schema"),
        (lambda value: value.pop("highest"), "store.schema"),
    ],
)
def test_malformed_state(place: Path, edit: Any, code: str) -> None:
    """current.json is read as strictly as a manifest: it names a directory."""
    value = json.loads((place / "current.json").read_bytes())
    edit(value)
    (place / "current.json").write_bytes(strict_json.dumps(value))
    assert code_of(lambda: store.current(place), MalformedError) == code


def test_only_one_process_changes_a_store(tmp_path: Path, place: Path) -> None:
    """While one process holds the lock another is told so, and a lock whose holder died holds nobody."""
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom alphaseal import store\n"
        "with store.locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(place)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline().strip() == b"held"
        six = signed_bundle(tmp_path / "six", "a", sequence=6)
        assert code_of(lambda: store.install(six, place, trust=TRUST), NotReadableError) == "store.locked"
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert store.install(six, place, trust=TRUST).sequence == 6


INSTALLS = """
import sys, time
from pathlib import Path
import alphaseal
from alphaseal import store
trust = alphaseal.Trust.load(sys.argv[3])
for line in sys.stdin:  # one round: wait for the starting shot, install, say how it ended
    bundle, place = line.split("\\t")[0], line.rstrip("\\n").split("\\t")[1]
    print("ready", flush=True)
    while not Path(sys.argv[1]).exists():
        pass
    try:
        print(store.install(bundle, place, trust=trust).sequence, flush=True)
    except alphaseal.AlphasealError as error:
        print(error.code, flush=True)
"""


@pytest.mark.attack("store: two installs at once", attempts=40)
def test_two_processes_that_install_at_once_end_in_one_of_two_states(tmp_path: Path) -> None:
    """Round for round two processes install two bundles into one store at the same moment: one of the two is in force,
    whole, and each process was told the truth."""
    file = write_trust(tmp_path / "trust.json", policy(known("a"), bundles={"demo": rule(1)}))
    five, six = (signed_bundle(tmp_path / str(number), "a", sequence=number) for number in (5, 6))
    start = tmp_path / "start"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", INSTALLS, str(start), name, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    ends = set()
    try:
        for number in range(20):
            place = tmp_path / f"store{number}"
            start.unlink(missing_ok=True)
            said = []
            for worker, bundle in zip(workers, (five, six) if number % 2 else (six, five), strict=True):
                assert worker.stdin is not None
                worker.stdin.write(f"{bundle}\t{place}\n")
                worker.stdin.flush()
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "ready\n"
            start.touch()
            for worker in workers:
                assert worker.stdout is not None
                said.append(worker.stdout.readline().strip())
            found = store.current(place)
            verified = alphaseal.open(found.path, trust=Trust.load(file)).verify()
            assert verified.sequence == found.sequence
            assert sorted(path.name for path in place.iterdir()) == ["bundles", "current.json", "lock"]
            state = store.parse((place / "current.json").read_bytes(), "current.json")
            assert [event.sequence for event in state.history] in ([5], [6], [5, 6])
            # Whoever was told that its bundle is in force was right at that moment; nobody was told anything else.
            installed = {int(one) for one in said if one.isdigit()}
            assert installed == {event.sequence for event in state.history}
            assert {one for one in said if not one.isdigit()} <= {"store.locked", "store.sequence"}
            ends.add(tuple(sorted(said)))
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                assert pipe is not None
                pipe.close()
    assert ends


def _bundles(place: Path) -> None:
    (place / "bundles").rename(place / "away")
    (place / "bundles").write_bytes(b"")


def _staging(place: Path) -> None:
    (place / "staging").write_bytes(b"")


def _lock(place: Path) -> None:
    (place / "lock").unlink()
    (place / "lock").mkdir()


def _temporary(place: Path) -> None:
    (place / f".current.json.{os.getpid()}.part").mkdir()


@pytest.mark.parametrize("obstacle", [_bundles, _staging, _lock, _temporary])
def test_a_store_that_cannot_be_written(tmp_path: Path, place: Path, obstacle: Any) -> None:
    """What stands in the way of a write is an error of our family, and the old bundle stays in force."""
    obstacle(place)
    before = (place / "current.json").read_bytes()
    six = signed_bundle(tmp_path / "six", "a", sequence=6)
    assert code_of(lambda: store.install(six, place, trust=TRUST), NotReadableError) == "store.not_writable"
    assert (place / "current.json").read_bytes() == before


def test_an_envelope_that_cannot_be_read(tmp_path: Path, place: Path) -> None:
    """A directory where the installed envelope was: an error of our family."""
    envelope = store.current(place).path / tree.ENVELOPE_NAME
    envelope.unlink()
    envelope.mkdir()
    assert (
        code_of(lambda: store.install(tmp_path / "five", place, trust=TRUST), NotReadableError) == "store.not_readable"
    )


@pytest.mark.skipif(not os.path.isdir("/sys"), reason="a place where nobody makes directories")
def test_a_store_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    """The reason is that of the directory that cannot be made, not that the lock inside it is absent."""
    bundle = signed_bundle(tmp_path / "bundle", "a")
    with pytest.raises(NotReadableError) as error:
        store.install(bundle, "/sys/alphaseal-store", trust=TRUST)
    assert error.value.code == "store.not_writable"
    assert "No such file" not in str(error.value)


def test_a_place_that_can_be_no_store(tmp_path: Path) -> None:
    """A file where the store should be, and a directory where its state should be, are errors of our family."""
    bundle = signed_bundle(tmp_path / "bundle", "a")
    (tmp_path / "file").write_bytes(b"")
    assert (
        code_of(lambda: store.install(bundle, tmp_path / "file", trust=TRUST), NotReadableError) == "store.not_writable"
    )
    assert code_of(lambda: store.current(tmp_path / "file"), NotReadableError) == "store.not_readable"
    (tmp_path / "store" / "current.json").mkdir(parents=True)
    assert code_of(lambda: store.current(tmp_path / "store"), NotReadableError) == "store.not_readable"


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """install, current and rollback on the command line; current prints a path that verify takes."""
    file = write_trust(tmp_path / "trust.json", policy(known("a"), bundles={"demo": rule(1)}))
    place = str(tmp_path / "store")
    assert cli.main(["current", "--store", place]) == 3
    for sequence in (1, 2):
        bundle = signed_bundle(tmp_path / str(sequence), "a", sequence=sequence)
        assert cli.main(["install", str(bundle), "--store", place, "--trust", str(file)]) == 0
    assert cli.main(["install", str(tmp_path / "1"), "--store", place, "--trust", str(file)]) == 16
    capsys.readouterr()
    back = ["rollback", "--store", place, "--reason", "test", "--to"]
    assert cli.main([*back, "1"]) == 0
    assert "signatures and revocations are not" in capsys.readouterr().err
    assert cli.main([*back, "2", "--json"]) == 0
    assert "signatures" in json.loads(capsys.readouterr().out)["result"]["warnings"][0]
    for number, option in (("1", ["--trust", str(file)]), ("2", ["--allow-unsigned"]), ("1", ["--trust", str(file)])):
        assert cli.main([*back, number, *option]) == 0
        assert capsys.readouterr().err == ""
    assert cli.main(["current", "--store", place]) == 0
    path = capsys.readouterr().out.strip()
    assert cli.main(["verify", path, "--trust", str(file)]) == 0
    assert cli.main(["current", "--store", place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["result"]["sequence"] == 1
    assert cli.main(["install", str(tmp_path / "1"), "--store", place]) == 14


@needs_fork
@pytest.mark.parametrize("old", [5, None], ids=["update", "first"])
def test_install_killed_at_every_write_flush_and_rename(tmp_path: Path, place: Path, old: int | None) -> None:
    """Stopped anywhere, the old bundle is in force (or none) or the new one, wholly; the next install succeeds."""
    file = write_trust(tmp_path / "trust.json", policy(known("a"), bundles={"demo": rule(1)}))
    six = signed_bundle(tmp_path / "six", "a", sequence=6)
    seen = killed("install", place if old else tmp_path / "absent", six, tmp_path, file)
    assert len(seen) > 30
    found = [entry["found"] for entry in seen]
    # Old until one moment, new from then on: the pointer's rename, after which only its directory is flushed.
    moment = found.index(6)
    assert found == [old] * moment + [6] * (len(found) - moment)
    assert 0 < moment < len(found) - 1
    assert {(entry["again"], entry["after"]) for entry in seen if "again" in entry} == {(0, 6)}


@needs_fork
def test_rollback_killed_at_every_write_flush_and_rename(tmp_path: Path, place: Path) -> None:
    """Stopped anywhere, the newer bundle is in force or the older one."""
    file = write_trust(tmp_path / "trust.json", policy(known("a"), bundles={"demo": rule(1)}))
    store.install(signed_bundle(tmp_path / "six", "a", sequence=6), place, trust=TRUST)
    seen = killed("rollback", place, 5, tmp_path, file)
    found = [entry["found"] for entry in seen]
    moment = found.index(5)
    assert found == [6] * moment + [5] * (len(found) - moment)
    assert 2 < moment < len(found) - 1
    # Again: it succeeds, or 5 is in force already (usage).
    assert {(entry["again"], entry["found"]) for entry in seen if "again" in entry} == {(0, 6), (2, 5)}
    assert {entry["after"] for entry in seen if "again" in entry} == {5}
