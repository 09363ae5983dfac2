"""The verbs ``alphaseal-convert keygen|sign|approve``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from alphaseal.console import Parser
from alphaseal.keys import SigningKey

from . import signing
from .signing import Signed


def add_verbs(verbs: Any, common: Parser) -> None:
    """The parsers of the three verbs."""
    keygen = verbs.add_parser(
        "keygen", parents=[common], help="make a pair of keys: PREFIX.key (keep it secret) and PREFIX.pub"
    )
    keygen.add_argument(
        "--out", type=Path, required=True, metavar="PREFIX", help="where the two files go; neither may exist"
    )
    keygen.add_argument(
        "--passphrase-env", metavar="VARIABLE", help="environment variable with a passphrase that locks the private key"
    )

    sign = verbs.add_parser("sign", parents=[common], help="verify a bundle wholly and sign it")
    sign.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    _add_key(sign, "--key", required=True)

    approve = verbs.add_parser(
        "approve", parents=[common], help="verify a bundle that others have signed, and sign it too"
    )
    approve.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    _add_key(approve, "--key", required=True)
    approve.add_argument(
        "--signed-by",
        type=Path,
        action="append",
        default=[],
        metavar="PUB",
        help="public key that must have signed before; repeatable",
    )


def add_build_key(parser: argparse.ArgumentParser) -> None:
    """The option ``--sign`` of ``build``."""
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


def keygen(options: argparse.Namespace) -> tuple[str, Any]:
    """Make a pair of keys."""
    secret = signing.passphrase(options.passphrase_env)
    private, public, keyid = signing.generate_key(options.out, secret)
    text = f"private key {private}: keep it secret\npublic key  {public}\nkey id      {keyid}"
    return text, {"private_key": str(private), "public_key": str(public), "key_id": keyid, "locked": secret is not None}


def sign(options: argparse.Namespace) -> tuple[str, Any]:
    """Sign a bundle."""
    signed = signing.sign(options.bundle, signing.read_signing_key(options.key, options.passphrase_env))
    return _describe("signed", signed), _result(signed)


def approve(options: argparse.Namespace) -> tuple[str, Any]:
    """Sign a bundle that others have signed, and say what was approved."""
    key = signing.read_signing_key(options.key, options.passphrase_env)
    signed = signing.approve(options.bundle, key, options.signed_by)
    text = _describe("approved", signed)
    if not options.signed_by:
        text += "\nthe earlier signatures were not checked: name their keys with --signed-by"
    return text, _result(signed) | {"checked": [str(path) for path in options.signed_by]}


def _describe(verb: str, signed: Signed) -> str:
    manifest = signed.manifest
    reasons = ", ".join(reason.code for reason in manifest.eligibility.reasons)
    parity = manifest.parity
    return "\n".join(
        [
            f"{verb}  {manifest.name} {manifest.sequence}, sha256 {signed.digest}",
            f"verdict  {'ready' if manifest.eligibility.ready else f'not ready: {reasons}'}",
            f"model  {manifest.model.class_name}, {len(manifest.features)} features, order {manifest.order.proof}",
            f"parity  {sum(case.rows for case in parity.cases)} rows within bounds of {' and '.join(parity.judges)}",
            f"by  {signed.key}",
            f"signatures  {len(signed.signatures)}: {', '.join(signed.signatures)}",
        ]
    )


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
