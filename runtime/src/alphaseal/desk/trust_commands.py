"""The verbs ``alphaseal trust init|add|revoke|show``: the owner's hand on the trust file."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import msgspec

from alphaseal.errors import UsageError
from alphaseal.format import instants, manifest, names
from alphaseal.plain_text import Printable, printable
from alphaseal.terminal.console import Outcome, Parser, checked
from alphaseal.trust import keys
from alphaseal.trust import policy as trust_file
from alphaseal.trust.policy import BundleRule, Key, TrustFile

_ID = re.compile(r"[0-9a-f]{64}")
_name = checked(names.is_name, "a name of a-z 0-9 _ - with inner dots")
_instant = checked(instants.read, "YYYY-MM-DDThh:mm:ssZ")
_digest = checked(_ID.fullmatch, "64 lower-case hexadecimal digits")


def add_trust(parser: Parser) -> None:
    """The arguments of ``alphaseal trust``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Parser)
    init = _action(actions, "init", "make a trust file that knows no key yet")
    init.add_argument(
        "--threshold",
        type=_threshold,
        action="append",
        default=[],
        metavar="ROLE=N",
        help=f"how many keys of a role must sign; repeatable (default: {trust_file.SINGLE_ROLE}=1)",
    )
    init.add_argument(
        "--bundle",
        type=_name,
        action="append",
        default=[],
        metavar="NAME",
        help="a bundle name that is accepted; repeatable",
    )
    init.add_argument("--any-bundle", action="store_true", help="accept bundles of any name and sequence")
    init.add_argument("--maximum-age", type=int, metavar="DAYS", help="refuse bundles that are older than this")
    init.add_argument("--allow-not-ready", action="store_true", help="accept bundles that are not ready")
    init.add_argument(
        "--lowest-format",
        choices=manifest.FORMATS,
        default=manifest.FIRST_FORMAT,
        help="refuse bundles of older formats, which lack guards of the live day (default: %(default)s)",
    )
    add = _action(actions, "add", "add a key or a bundle name, or change what the file says of it")
    what = add.add_mutually_exclusive_group(required=True)
    what.add_argument("--key", type=Path, metavar="PUB", help="public key file, as keygen writes it")
    what.add_argument("--bundle", type=_name, metavar="NAME", help="a bundle name that is accepted")
    add.add_argument("--name", type=_name, help="name of the key's owner")
    add.add_argument("--role", type=_name, help=f"role of the key (default: {trust_file.SINGLE_ROLE})")
    add.add_argument(
        "--not-before",
        type=_instant,
        metavar="INSTANT",
        help="first instant at which its signatures count, 2026-01-31T00:00:00Z",
    )
    add.add_argument(
        "--not-after", type=_instant, metavar="INSTANT", help="first instant at which its signatures no longer count"
    )
    add.add_argument(
        "--lowest-sequence",
        type=int,
        metavar="N",
        help="refuse bundles of that name with a lower sequence (default: 1)",
    )
    revoke = _action(actions, "revoke", "refuse a key or a bundle from now on")
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("--key", metavar="NAME|ID", help="name of a key in the file, or the id of any key")
    which.add_argument("--digest", type=_digest, metavar="SHA256", help="digest of a bundle")
    _action(actions, "show", "print what the file says")


def _action(actions: Any, name: str, text: str) -> Parser:
    parser: Parser = actions.add_parser(name, help=text)
    parser.add_argument("file", type=Path, metavar="FILE", help="the trust file")
    parser.add_json()
    return parser


def run_trust(options: argparse.Namespace) -> Outcome:
    """Carry out one action; every change is written whole or not at all."""
    if options.action == "show":
        trust = trust_file.load(options.file)
    elif options.action == "init":
        trust = _init(options)
        trust_file.save(options.file, trust, new=True)
    else:
        old = trust_file.load(options.file)
        trust = _add(old, options) if options.action == "add" else _revoke(old, options)
        trust_file.save(options.file, trust, new=False)
    return _describe(trust), trust_file.to_plain(trust) | {"key_ids": {key.name: key.id for key in trust.keys}}


def _init(options: argparse.Namespace) -> TrustFile:
    if options.any_bundle and options.bundle:
        raise UsageError("usage.arguments", "--any-bundle and --bundle do not go together")
    return TrustFile(
        # A file that asks nothing new stays readable for older runtimes.
        format="1.0" if options.lowest_format == manifest.FIRST_FORMAT else "1.1-draft",
        keys=[],
        thresholds=dict(options.threshold) or {trust_file.SINGLE_ROLE: 1},
        bundles=None if options.any_bundle else {name: BundleRule() for name in options.bundle},
        maximum_age_days=options.maximum_age,
        require_ready=not options.allow_not_ready,
        lowest_format=options.lowest_format,
    )


def _add(trust: TrustFile, options: argparse.Namespace) -> TrustFile:
    if options.bundle is not None:
        if any(value is not None for value in (options.name, options.role, options.not_before, options.not_after)):
            raise UsageError(
                "usage.arguments", "--name, --role, --not-before and --not-after are for keys, not for bundle names"
            )
        lowest = options.lowest_sequence if options.lowest_sequence is not None else 1
        return msgspec.structs.replace(
            trust, bundles={**(trust.bundles or {}), options.bundle: BundleRule(lowest_sequence=lowest)}
        )
    if options.name is None or options.lowest_sequence is not None:
        raise UsageError("usage.arguments", "--key needs --name, and --lowest-sequence is for bundle names")
    public_key = keys.read_public_key(options.key)
    key = Key(
        name=options.name,
        role=options.role or trust_file.SINGLE_ROLE,
        public_key=keys.encode_base64(public_key),
        not_before=options.not_before,
        not_after=options.not_after,
    )
    if key.id in trust.revoked_keys:
        raise UsageError(
            "usage.revoked", "this key was revoked", where=str(options.key), found=key.id, next_step="make a new key"
        )
    if key.role not in trust.thresholds:
        raise UsageError(
            "usage.role",
            "the trust file asks for no signature of this role",
            expected=", ".join(sorted(trust.thresholds)),
            found=key.role,
        )
    # The same key again changes its validity; under another name, or another key under this name, the file's own rule refuses.
    others = [other for other in trust.keys if (other.id, other.name) != (key.id, key.name)]
    return msgspec.structs.replace(trust, keys=[*others, key])


def _revoke(trust: TrustFile, options: argparse.Namespace) -> TrustFile:
    if options.digest is not None:
        return msgspec.structs.replace(trust, revoked_digests=[*trust.revoked_digests, options.digest])
    found = next((key.id for key in trust.keys if options.key == key.name), options.key)
    if _ID.fullmatch(found) is None:
        raise UsageError(
            "usage.key", "no such key", where=str(options.file), expected="a name of the file, or a key id", found=found
        )
    return msgspec.structs.replace(trust, revoked_keys=[*trust.revoked_keys, found])


def _describe(trust: TrustFile) -> Printable:
    lines = [f"{needed} signature(s) of role {role}" for role, needed in sorted(trust.thresholds.items())]
    for key in sorted(trust.keys, key=lambda key: (key.role, key.name)):
        state = (
            "revoked"
            if key.id in trust.revoked_keys
            else f"from {key.not_before or 'ever'} to {key.not_after or 'ever'}"
        )
        lines.append(f"key {key.name} ({key.role}) {key.id} {state}")
    lines += [
        f"bundle {name}, sequence {rule.lowest_sequence} or later"
        for name, rule in sorted((trust.bundles or {}).items())
    ]
    if trust.bundles is None:
        lines.append("bundles of any name and sequence")
    lines += [f"revoked key {keyid}" for keyid in sorted(set(trust.revoked_keys) - {key.id for key in trust.keys})]
    lines += [f"revoked bundle {digest}" for digest in sorted(trust.revoked_digests)]
    if trust.maximum_age_days is not None:
        lines.append(f"at most {trust.maximum_age_days} days old")
    if trust.lowest_format != manifest.FIRST_FORMAT:
        lines.append(f"bundles of format {trust.lowest_format} or later")
    lines.append("ready bundles only" if trust.require_ready else "bundles need not be ready")
    return printable(lines)


def _threshold(text: str) -> tuple[str, int]:
    role, equals, number = text.partition("=")
    if (
        not equals
        or not number.isascii()
        or not number.isdigit()
        or not names.is_name(role)
        or not 1 <= int(number) <= 64
    ):
        raise argparse.ArgumentTypeError(f"expected ROLE=N, found {text!r}")
    return role, int(number)
