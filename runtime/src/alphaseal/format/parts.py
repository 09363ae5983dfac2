"""What the parts of a manifest are made of: the base of all, and texts and numbers within bounds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from alphaseal.format import names

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="sha256, lower-case hexadecimal")]
Date = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)", description="exchange date, YYYY-MM-DD")]
Instant = Annotated[
    str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$(?!\n)", description="UTC")
]
Name = Annotated[str, Meta(pattern=names.NAME_PATTERN, max_length=names.MAXIMUM_SEGMENT)]
Path = Annotated[str, Meta(pattern=names.PATH_PATTERN, max_length=names.MAXIMUM_PATH)]
Text = Annotated[str, Meta(max_length=100_000)]
Short = Annotated[str, Meta(max_length=1_000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(ge=0.0)]
Dtype = Literal["float32", "float64"]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts: immutable, no unknown fields."""
