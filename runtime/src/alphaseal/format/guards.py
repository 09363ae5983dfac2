"""The guards of the live day that a bundle of an older format lacks, because its manifest does not record what they need."""

from __future__ import annotations

from alphaseal.format.manifest import FIRST_FORMAT, FORMAT, Manifest

SINCE_1_1 = (
    "the units of its bars",
    "how its bars record suspensions",
    "which stocks are its universe and which only context",
)
"""What 1.1 records and 1.0 does not, in the words of the warning."""


def warning(manifest: Manifest) -> tuple[str, ...]:
    """One warning that names the guards that a bundle lacks; none for one of the present format."""
    if manifest.format != FIRST_FORMAT:
        return ()
    return (
        f"format {FIRST_FORMAT} does not record {', '.join(SINCE_1_1)}: none of it is checked on the live day; "
        f"build the bundle again (format {FORMAT}) and sign it",
    )
