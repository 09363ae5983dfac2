"""The verbs ``alphaseal-convert keygen|sign|approve|attest|provenance``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaseal.errors import UsageError
from alphaseal.plain_text import Printable, printable
from alphaseal.terminal.console import Outcome, Parser, checked
from alphaseal.trust.keys import SigningKey
from alphaseal_converter.bundle import signing
from alphaseal_converter.bundle.signing import Signed

if TYPE_CHECKING:
    from alphaseal_converter.bundle.provenance import Provenance


_uri = checked(re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,2000}").fullmatch, "a URI")
"""Absolute and of printable ASCII, as in-toto asks for."""


def add_keygen(parser: Parser) -> None:
    """The arguments of ``keygen``."""
    parser.add_json()
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PREFIX",
        help="path of the two files without their endings; neither may exist",
    )
    parser.add_argument(
        "--passphrase-env", metavar="VARIABLE", help="environment variable with a passphrase that locks the private key"
    )


def add_sign(parser: Parser) -> None:
    """The arguments of ``sign``."""
    parser.add_json()
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    _add_key(parser, "--key", required=True)


def add_approve(parser: Parser) -> None:
    """The arguments of ``approve``."""
    parser.add_json()
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    _add_key(parser, "--key", required=True)
    parser.add_argument(
        "--signed-by",
        type=Path,
        action="append",
        default=[],
        metavar="PUB",
        help="public key that must have signed before; repeatable",
    )


def add_attest(parser: Parser) -> None:
    """The arguments of ``attest``."""
    parser.add_json()
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    _add_key(parser, "--key", required=True)
    parser.add_argument("--builder", type=_uri, required=True, metavar="URI", help="who vouches for the build")
    parser.add_argument("--source", type=_uri, metavar="URI", help="repository whose workflow ran the build")
    parser.add_argument("--revision", metavar="COMMIT", help="commit of --source")
    parser.add_argument("--invocation", type=_uri, metavar="URI", help="the run that built the bundle")


def add_provenance(parser: Parser) -> None:
    """The arguments of ``provenance``."""
    parser.add_json()
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        required=True,
        metavar="PUB",
        help="public key that must have signed it; repeatable",
    )


def add_build_key(parser: argparse.ArgumentParser) -> None:
    """The option ``--sign`` of ``build`` and ``features``."""
    _add_key(parser, "--sign", required=False)


def _add_key(parser: argparse.ArgumentParser, option: str, *, required: bool) -> None:
    parser.add_argument(
        option,
        required=required,
        metavar="KEY",
        help="private key: a file, env:VARIABLE (the PEM itself), or - for standard input",
    )
    parser.add_argument("--passphrase-env", metavar="VARIABLE", help="environment variable with the key's passphrase")


def build_key(options: argparse.Namespace) -> SigningKey | None:
    """The key of ``build --sign``, read before the long work begins."""
    return signing.read_signing_key(options.sign, options.passphrase_env) if options.sign is not None else None


def run_keygen(options: argparse.Namespace) -> Outcome:
    """Make a pair of keys."""
    secret = signing.passphrase(options.passphrase_env)
    private, public, keyid = signing.generate_key(options.out, secret)
    text = printable([f"private key {private}: keep it secret", f"public key  {public}", f"key id      {keyid}"])
    return text, {"private_key": str(private), "public_key": str(public), "key_id": keyid, "locked": secret is not None}


def run_sign(options: argparse.Namespace) -> Outcome:
    """Sign a bundle."""
    signed = signing.sign(options.bundle, signing.read_signing_key(options.key, options.passphrase_env))
    return printable(_describe("signed", signed)), _result(signed)


def run_approve(options: argparse.Namespace) -> Outcome:
    """Sign a bundle that others have signed, and say what was approved."""
    key = signing.read_signing_key(options.key, options.passphrase_env)
    signed = signing.approve(options.bundle, key, options.signed_by)
    lines = _describe("approved", signed)
    if not options.signed_by:
        lines.append("the earlier signatures were not checked: name their keys with --signed-by")
    return printable(lines), _result(signed) | {"checked": [str(path) for path in options.signed_by]}


def run_attest(options: argparse.Namespace) -> Outcome:
    """Write the provenance of a bundle."""
    from alphaseal_converter.bundle import provenance

    if options.revision is not None and options.source is None:
        raise UsageError("usage.arguments", "--revision is the commit of --source, which is not given")
    key = signing.read_signing_key(options.key, options.passphrase_env)
    place = provenance.BuildPlace(options.builder, options.source, options.revision, options.invocation)
    return _provenance("attested", provenance.attest(options.bundle, key, place))


def run_provenance(options: argparse.Namespace) -> Outcome:
    """Check the provenance of a bundle."""
    from alphaseal_converter.bundle import provenance

    return _provenance("provenance of", provenance.check(options.bundle, options.key))


def _provenance(verb: str, found: Provenance) -> tuple[Printable, Any]:
    predicate = found.statement["predicate"]
    materials = predicate["buildDefinition"]["resolvedDependencies"]
    lines = [
        f"{verb}  {found.bundle}, sha256 {found.digest}",
        f"builder  {predicate['runDetails']['builder']['id']}",
        *(
            f"from  {part.get('uri') or part.get('name')}"
            + "".join(f", {kind} {digest}" for kind, digest in part.get("digest", {}).items())
            for part in materials
        ),
        f"by  {', '.join(found.keys)}",
    ]
    return printable(lines), {
        "bundle": str(found.bundle),
        "digest": found.digest,
        "keys": list(found.keys),
        "statement": found.statement,
    }


def _describe(verb: str, signed: Signed) -> list[str]:
    manifest = signed.manifest
    reasons = ", ".join(reason.code for reason in manifest.eligibility.reasons)
    parity = manifest.parity
    return [
        f"{verb}  {manifest.name} {manifest.sequence}, sha256 {signed.digest}",
        f"verdict  {'ready' if manifest.eligibility.ready else f'not ready: {reasons}'}",
        f"model  {manifest.model.class_name}, {len(manifest.features)} features, order {manifest.order.proof}",
        f"parity  {sum(case.rows for case in parity.cases)} rows within bounds of {' and '.join(parity.judges)}",
        f"by  {signed.key}",
        f"signatures  {len(signed.signatures)}: {', '.join(signed.signatures)}",
    ]


def _result(signed: Signed) -> dict[str, Any]:
    manifest = signed.manifest
    return {
        "bundle": str(signed.path),
        "digest": signed.digest,
        "name": manifest.name,
        "sequence": manifest.sequence,
        "ready": manifest.eligibility.ready,
        "reasons": [reason.code for reason in manifest.eligibility.reasons],
        "key": signed.key,
        "signatures": list(signed.signatures),
    }
