"""Provenance statements: what they say, who signed them, and that another bundle's is refused."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import alphaseal
from alphaseal.disk import tree
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.trust import envelope
from alphaseal_converter import cli
from alphaseal_converter.bundle import provenance
from commands import run
from signed import key, signed_bundle

PLACE = (
    *("--builder", "https://ci.example/runner/v1", "--source", "git+https://code.example/research"),
    *("--revision", "0" * 40, "--invocation", "https://ci.example/runs/7"),
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a directory of its own, with a signed bundle and the keys a and b in it."""
    monkeypatch.chdir(tmp_path)
    for seed in ("a", "b"):
        private = key(seed)._private
        Path(f"{seed}.key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        Path(f"{seed}.pub").write_bytes(
            private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
    signed_bundle(Path("bundle"), "a")


def test_the_statement_names_the_manifest_and_what_it_was_made_from() -> None:
    """in-toto statement v1 with SLSA provenance v1; subject is the manifest, dependencies are those of the manifest."""
    status, shown = run(cli.main, "attest", "bundle", "--key", "a.key", *PLACE)
    assert status == 0
    statement = shown["result"]["statement"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    data = Path("bundle", m.FILE_NAME).read_bytes()
    manifest = m.parse(data)
    assert statement["subject"] == [{"name": "demo/manifest.json", "digest": {"sha256": m.digest(data)}}]
    materials = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert materials[0] == {"uri": "git+https://code.example/research", "digest": {"gitCommit": "0" * 40}}
    digests = {part["digest"]["sha256"] for part in materials[1:]}
    assert manifest.source.snapshot is not None
    assert manifest.order.replay is not None
    expected = (manifest.source.snapshot.sha256, manifest.source.weights.sha256, manifest.order.replay.values_sha256)
    assert digests == set(expected)
    assert statement["predicate"]["runDetails"]["metadata"] == {"invocationId": "https://ci.example/runs/7"}


def test_a_bundle_with_provenance_is_the_same_bundle() -> None:
    """Provenance lies beside the manifest: the digest stays, the bundle verifies, a second statement replaces the first."""
    before = alphaseal.open("bundle", trust=alphaseal.Trust.unsigned()).verify()
    assert run(cli.main, "attest", "bundle", "--key", "a.key", *PLACE)[0] == 0
    first = Path("bundle", tree.PROVENANCE_NAME).read_bytes()
    assert alphaseal.open("bundle", trust=alphaseal.Trust.unsigned()).verify() == before
    assert run(cli.main, "attest", "bundle", "--key", "a.key", *PLACE)[0] == 0
    assert Path("bundle", tree.PROVENANCE_NAME).read_bytes() == first
    assert run(cli.main, "attest", "bundle", "--key", "b.key", "--builder", "urn:other")[0] == 0
    assert run(cli.main, "provenance", "bundle", "--key", "b.pub")[1]["result"]["statement"]["predicate"]["runDetails"][
        "builder"
    ]["id"] == ("urn:other")


def test_a_second_library_verifies_and_reads_it() -> None:
    """securesystemslib reads the envelope and finds the signature right over its own pre-authentication encoding."""
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    assert run(cli.main, "attest", "bundle", "--key", "a.key", *PLACE)[0] == 0
    plain = json.loads(Path("bundle", tree.PROVENANCE_NAME).read_text(encoding="utf-8"))
    public = signer.SSlibKey(key("a").id, "ed25519", "ed25519", {"public": key("a").public_key.hex()})
    theirs = dsse.Envelope(
        base64.b64decode(plain["payload"]),
        plain["payloadType"],
        {key("a").id: signer.Signature(key("a").id, base64.b64decode(plain["signatures"][0]["sig"]).hex())},
    )
    assert key("a").id in theirs.verify([public], 1)
    assert plain["payloadType"] == "application/vnd.in-toto+json"


def test_what_is_refused() -> None:
    """No provenance, another signer, another bundle's, another kind of statement, a manifest's signature."""
    assert run(cli.main, "provenance", "bundle", "--key", "a.pub")[1]["code"] == "tree.missing"
    assert run(cli.main, "attest", "bundle", "--key", "a.key", *PLACE)[0] == 0
    assert run(cli.main, "provenance", "bundle", "--key", "a.pub")[0] == 0
    assert run(cli.main, "provenance", "bundle", "--key", "b.pub")[1]["code"] == "provenance.not_signed"
    assert (
        run(cli.main, "provenance", "bundle", "--key", "a.pub", "--key", "b.pub")[1]["code"] == "provenance.not_signed"
    )
    other = signed_bundle(Path("other"), "a", sequence=2)
    shutil.copy(Path("bundle", tree.PROVENANCE_NAME), other)
    assert run(cli.main, "provenance", "other", "--key", "a.pub")[1]["code"] == "provenance.subject"
    target = Path("bundle", tree.PROVENANCE_NAME)
    payload = strict_json.dumps({"predicateType": "urn:x"})
    target.write_bytes(envelope.encode(envelope.sign(payload, [key("a")], payload_type=provenance.PAYLOAD_TYPE)))
    assert run(cli.main, "provenance", "bundle", "--key", "a.pub")[1]["code"] == "provenance.statement"
    shutil.copy(Path("bundle", tree.ENVELOPE_NAME), target)
    assert run(cli.main, "provenance", "bundle", "--key", "a.pub")[1]["code"] == "envelope.payload_type"


def test_a_changed_byte_is_refused() -> None:
    """A statement whose payload was changed under the old signature."""
    assert run(cli.main, "attest", "bundle", "--key", "a.key", *PLACE)[0] == 0
    target = Path("bundle", tree.PROVENANCE_NAME)
    signed = envelope.parse(target.read_bytes(), payload_type=provenance.PAYLOAD_TYPE)
    changed = signed.payload.replace(b"ci.example/runs/7", b"ci.example/runs/8")
    target.write_bytes(envelope.encode(envelope.Envelope(changed, signed.signatures, signed.payload_type)))
    assert run(cli.main, "provenance", "bundle", "--key", "a.pub")[1]["code"] == "signature.wrong"


@pytest.mark.parametrize("options", [("--builder", "no uri"), ("--builder", "urn:x", "--revision", "0" * 40)])
def test_usage(options: tuple[str, ...]) -> None:
    """A builder that is no URI, a commit of no source: usage errors, and nothing is written."""
    assert run(cli.main, "attest", "bundle", "--key", "a.key", *options)[0] == 2
    assert not Path("bundle", tree.PROVENANCE_NAME).exists()
