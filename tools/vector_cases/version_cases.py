"""V3 and V4: the versions of the format that a reader knows, the fields of each, and the least one that a trust file asks for."""

from __future__ import annotations

from collections.abc import Iterator

from alphaseal.format.manifest import FORMAT
from vector_cases.base import TRUSTED, UNSIGNED, Case, both, bundle, draft, drop, put, signed, trust, with_trust


def cases() -> Iterator[Case]:
    """All of this module."""
    yield Case("format_draft", "V3: a manifest of the present draft.", "verify", UNSIGNED, 0, "ok", bundle(edit=draft))
    score = [*UNSIGNED, "--features", "features.parquet", "--date", "2024-01-03"]
    yield Case(
        "format_draft_scored",
        "V3: a bundle of the present draft is scored.",
        "score",
        score,
        0,
        "ok",
        bundle(edit=draft),
    )
    yield _refused(
        "format_draft_with_unknown_field",
        "V4: a manifest of the present draft with a field that no version has.",
        "manifest.schema",
        bundle(edit=both(draft, put("later", None))),
    )
    yield _refused(
        "format_draft_without_field",
        "V4: a manifest of the present draft without a field of 1.0.",
        "manifest.schema",
        bundle(edit=both(draft, drop("drift"))),
    )
    asks = trust(format=FORMAT, lowest_format=FORMAT)
    yield Case(
        "trust_lowest_format",
        "V4: a trust file that asks for the present draft, and a bundle of it.",
        "verify",
        TRUSTED,
        0,
        "ok",
        with_trust(signed(bundle(edit=draft), "ci"), asks),
    )
    yield Case(
        "trust_lowest_format_older",
        "V4: a bundle of 1.0 where the trust file asks for the present draft.",
        "verify",
        TRUSTED,
        14,
        "trust.format",
        with_trust(signed(bundle(), "ci"), asks),
    )
    yield Case(
        "trust_lowest_format_in_older_file",
        "Trust file: of format 1.0, which has no lowest_format.",
        "verify",
        TRUSTED,
        10,
        "trust.schema",
        with_trust(signed(bundle(), "ci"), trust(lowest_format="1.0")),
    )
    yield Case(
        "trust_lowest_format_unknown",
        "Trust file: it asks for a format that no reader knows.",
        "verify",
        TRUSTED,
        10,
        "trust.schema",
        with_trust(signed(bundle(), "ci"), trust(format=FORMAT, lowest_format="9.9")),
    )


def _refused(name: str, text: str, code: str, files: dict[str, bytes]) -> Case:
    return Case(name, text, "verify", UNSIGNED, 10, code, files)
