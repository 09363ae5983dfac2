"""Public keys that anybody can sign for, or that libraries judge differently: refused wherever a public key is read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from alphaseal import cli
from alphaseal.errors import MalformedError
from alphaseal.format import strict_json
from alphaseal.trust import curve, keys
from alphaseal.trust import policy as trust_file
from alphaseal.trust.judgement import Trust
from alphaseal_converter import cli as converter
from locations import REPOSITORY
from signed import key, known, policy, signed_bundle

_FIELD = 2**255 - 19
_EIGHTH = 2707385501144840649318225287225658788936804267575313519463743609750303402022
"""y of a point of order 8 (the other is its negative); libsodium and others carry the same list."""
SMALL: dict[str, bytes] = {
    name: (y | sign << 255).to_bytes(32, "little")
    for name, y, sign in (
        ("order 1", 1, 0),
        ("order 2", _FIELD - 1, 0),
        ("order 4", 0, 0),
        ("order 4, other side", 0, 1),
        ("order 8", _EIGHTH, 0),
        ("order 8, other side", _EIGHTH, 1),
        ("order 8, negative", _FIELD - _EIGHTH, 0),
        ("order 8, negative, other side", _FIELD - _EIGHTH, 1),
    )
}
ODD_FORMS: dict[str, bytes] = {
    f"y {y - _FIELD} beyond the field, sign {sign}": (y | sign << 255).to_bytes(32, "little")
    for y in (*range(_FIELD, 2**255), 2**255 - 1)
    for sign in (0, 1)
} | {f"no x to be odd, y {y}": (y % _FIELD | 1 << 255).to_bytes(32, "little") for y in (1, -1)}
NO_POINT = (2).to_bytes(32, "little")


def encoded(point: tuple[int, int, int, int]) -> bytes:
    """The 32 bytes of a point."""
    inverse = pow(point[2], -1, _FIELD)
    x, y = point[0] * inverse % _FIELD, point[1] * inverse % _FIELD
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decoded(data: bytes) -> tuple[int, int, int, int]:
    """The point of 32 bytes that are one."""
    number = int.from_bytes(data, "little")
    y = number & (2**255 - 1)
    x = curve._root((y * y - 1) * pow(curve._D * y * y + 1, -1, _FIELD) % _FIELD)
    assert x is not None
    x = x if x & 1 == number >> 255 else (-x) % _FIELD
    return x, y, 1, x * y % _FIELD


MIXED = {
    f"a key and {name}": encoded(curve._add(decoded(key("a").public_key), decoded(data)))
    for name, data in SMALL.items()
    if name != "order 1"
}
WEAK = SMALL | ODD_FORMS | MIXED | {"no point": NO_POINT}


@pytest.mark.attack("keys: that anybody can sign for")
@pytest.mark.parametrize("name", WEAK)
def test_weak_keys_are_known(name: str) -> None:
    """All eight points of small order, every other form of a number, sums with such points, and what is no point."""
    problem = curve.weakness(WEAK[name])
    assert problem is not None
    assert ("small order" in problem) == (name in SMALL or name in MIXED)


@pytest.mark.attack("keys: that anybody can sign for")
def test_the_attack_is_real() -> None:
    """One signature made without any private key holds for every message, as the cryptography library judges it."""
    neutral = SMALL["order 1"]
    assert all(keys.verifies(neutral, neutral + bytes(32), message) for message in (b"a", b"b", os.urandom(99)))


def test_honest_keys_are_sound() -> None:
    """Keys as the cryptography library makes them pass, the base point's own among them."""
    made = [Ed25519PrivateKey.generate().public_key().public_bytes_raw() for _ in range(50)]
    base = (4 * pow(5, -1, _FIELD) % _FIELD).to_bytes(32, "little")
    assert [curve.weakness(data) for data in [*made, key("a").public_key, base]] == [None] * 52


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_reader_in_another_language_agrees() -> None:
    """The second reader's own arithmetic has the same verdict on every one of these keys."""
    honest = [key(seed).public_key for seed in "abc"]
    data = [*honest, *WEAK.values()]
    program = (
        f"import {{ isSound }} from '{(REPOSITORY / 'tests/conformance/node/keys.mjs').as_uri()}'\n"
        f"console.log(JSON.stringify({json.dumps([one.hex() for one in data])}.map((one) => isSound(Buffer.from(one, 'hex')))))"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program], capture_output=True, text=True, check=True, timeout=300
    )
    assert json.loads(done.stdout) == [curve.weakness(one) is None for one in data] == [True] * 3 + [False] * len(WEAK)


@pytest.fixture(params=["order 8", "y 1 beyond the field, sign 0", "a key and order 4", "no point"])
def weak(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A public key file of a weak key."""
    raw = WEAK[request.param]
    # The library writes whatever 32 bytes it was given.
    data = Ed25519PublicKey.from_public_bytes(raw).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "weak.pub").write_bytes(data)
    return tmp_path / "weak.pub"


@pytest.mark.attack("keys: that anybody can sign for")
def test_no_command_takes_a_weak_key(weak: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`trust add`, `--key`, `approve --signed-by` and `provenance --key` refuse it, and write nothing."""
    bundle, file = signed_bundle(tmp_path / "bundle", "a"), tmp_path / "trust.json"
    assert cli.main(["trust", "init", str(file), "--any-bundle"]) == 0
    before = file.read_bytes()
    private = tmp_path / "own"
    assert converter.main(["keygen", "--out", str(private)]) == 0
    attest = ["attest", str(bundle), "--key", f"{private}.key", "--builder", "https://ci.example/actions"]
    assert converter.main(attest) == 0
    commands: list[tuple[Callable[[list[str]], int], list[str]]] = [
        (cli.main, ["trust", "add", str(file), "--key", str(weak), "--name", "weak"]),
        (cli.main, ["verify", str(bundle), "--key", str(weak)]),
        (cli.main, ["install", str(bundle), "--store", str(tmp_path / "store"), "--key", str(weak)]),
        (converter.main, ["approve", str(bundle), "--key", f"{private}.key", "--signed-by", str(weak)]),
        (converter.main, ["provenance", str(bundle), "--key", str(weak)]),
    ]
    envelope = (bundle / "manifest.dsse.json").read_bytes()
    for main, arguments in commands:
        capsys.readouterr()
        assert main(arguments) == 10, arguments
        assert "key.weak" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert (bundle / "manifest.dsse.json").read_bytes() == envelope
    assert not (tmp_path / "store").exists()


@pytest.mark.attack("keys: that anybody can sign for")
@pytest.mark.parametrize("name", [*SMALL, "y 0 beyond the field, sign 1", "a key and order 8", "no point"])
def test_no_trust_file_with_a_weak_key_is_loaded(name: str, tmp_path: Path) -> None:
    """A trust file that somebody edited by hand is refused at its weak key, by name."""
    trust = policy(known("a"))
    plain = trust_file.to_plain(trust)
    plain["keys"].append({**plain["keys"][0], "name": "weak", "public_key": keys.encode_base64(WEAK[name])})
    file = tmp_path / "trust.json"
    file.write_bytes(strict_json.dumps(plain))
    with pytest.raises(MalformedError, match=r"trust\.json keys weak") as caught:
        Trust.load(file)
    assert caught.value.code == "key.weak"
