"""Provenance of a bundle: an in-toto statement with SLSA provenance about its manifest, in ``provenance.dsse.json``.

Statement: in-toto v1 (github.com/in-toto/attestation); predicate: SLSA provenance v1 (slsa.dev/spec/v1.0/provenance).
It says who built the bundle from what.  Nothing on the trading side relies on it: what is accepted there is decided by the
signatures over the manifest.  No clock is read: the same bundle and options give the same statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alphaseal
from alphaseal.disk import files, tree
from alphaseal.errors import MalformedError, NotReadableError, NotTrustedError, SignatureError
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.trust import envelope, keys
from alphaseal.trust.keys import SigningKey
from alphaseal_converter.bundle.signing import verified_bundle
from alphaseal_converter.version import __version__

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:alphaseal:build:v1"


@dataclass(frozen=True)
class BuildPlace:
    """Where a bundle was built, as URIs: `builder` is who vouches for the build, `source` and `revision` (a commit) what
    ran it, `invocation` the very run."""

    builder: str
    source: str | None = None
    revision: str | None = None
    invocation: str | None = None


@dataclass(frozen=True)
class Provenance:
    """The statement of a bundle and the ids of the keys that signed it."""

    bundle: Path
    digest: str
    statement: dict[str, Any]
    keys: tuple[str, ...]


def attest(path: Path, key: SigningKey, place: BuildPlace) -> Provenance:
    """Write the signed statement of a bundle that verifies wholly; an earlier one is replaced.

    Errors of opening and verifying the bundle, NotReadableError where it cannot be written.
    """
    bundle = verified_bundle(path)
    statement = make_statement(bundle.manifest, place)
    signed = envelope.sign(strict_json.dumps(statement), [key], payload_type=PAYLOAD_TYPE)
    target = path / tree.PROVENANCE_NAME
    try:
        # The temporary file lies beside the bundle: left behind inside, it would be a file that no manifest lists.
        files.replace(target, envelope.encode(signed), beside=path.absolute().parent)
    except OSError as error:
        raise NotReadableError("output.not_writable", f"cannot write: {error.strerror}", where=str(target)) from None
    return Provenance(path, bundle.digest, statement, (key.id,))


def check(path: Path, public_keys: Sequence[Path]) -> Provenance:
    """The statement of a bundle, signed by every one of `public_keys` and about this very manifest.

    TreeError where there is none, MalformedError, SignatureError, NotTrustedError where one of the keys has not signed.
    """
    bundle = alphaseal.open(path, trust=alphaseal.Trust.unsigned())
    data = tree.read_bounded(path, tree.PROVENANCE_NAME, tree.MAXIMUM_ENVELOPE)
    signed = envelope.parse(data, tree.PROVENANCE_NAME, PAYLOAD_TYPE)
    known = {keys.key_id(raw): raw for raw in map(keys.read_public_key, public_keys)}
    found = envelope.verify(signed, signed.payload, known)
    if missing := known.keys() - set(found):
        raise NotTrustedError(
            "provenance.not_signed",
            "a key that should have signed the provenance has not",
            where=str(path / tree.PROVENANCE_NAME),
            found=", ".join(sorted(missing)),
        )
    statement = strict_json.loads(signed.payload, where=tree.PROVENANCE_NAME, maximum_bytes=tree.MAXIMUM_ENVELOPE)
    expected = [_subject(bundle.manifest)]
    if not isinstance(statement, dict) or statement.get("predicateType") != PREDICATE_TYPE:
        raise MalformedError(
            "provenance.statement",
            "no statement of provenance",
            where=tree.PROVENANCE_NAME,
            expected=f"predicateType {PREDICATE_TYPE}",
        )
    if statement.get("subject") != expected:
        raise SignatureError(
            "provenance.subject",
            "the provenance is of another bundle",
            where=tree.PROVENANCE_NAME,
            expected=f"sha256 {bundle.digest}",
            found=str(statement.get("subject"))[:200],
        )
    return Provenance(path, bundle.digest, statement, found)


def make_statement(manifest: m.Manifest, place: BuildPlace) -> dict[str, Any]:
    """The in-toto statement about a manifest, as plain JSON values."""
    source = manifest.source
    dependencies: list[dict[str, Any]] = []
    if place.source is not None:
        dependencies.append(
            {"uri": place.source} | ({} if place.revision is None else {"digest": {"gitCommit": place.revision}})
        )
    if source.snapshot is not None:
        dependencies.append({"name": source.snapshot.path, "digest": {"sha256": source.snapshot.sha256}})
    dependencies.append({"name": source.weights.path, "digest": {"sha256": source.weights.sha256}})
    if manifest.order.replay is not None:
        replay = manifest.order.replay
        dependencies.append({"name": f"raw values: {replay.values}", "digest": {"sha256": replay.values_sha256}})
    return {
        "_type": STATEMENT_TYPE,
        "subject": [_subject(manifest)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "task": source.task_id,
                    "anchor": source.anchor.rule,
                    "weights": source.weights.origin,
                    "name": manifest.name,
                    "sequence": manifest.sequence,
                },
                "internalParameters": {"packages": manifest.producer.packages},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": place.builder, "version": {"alphaseal-converter": __version__}},
                "metadata": {} if place.invocation is None else {"invocationId": place.invocation},
            },
        },
    }


def _subject(manifest: m.Manifest) -> dict[str, Any]:
    """The manifest commits to every other file, so it is the one subject."""
    return {"name": f"{manifest.name}/{m.FILE_NAME}", "digest": {"sha256": m.digest(m.encode(manifest))}}
