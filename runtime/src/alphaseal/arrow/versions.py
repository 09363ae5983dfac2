"""What differs between the versions of pyarrow that the runtime runs with (15 and later), found out once.

Whatever the version, no extension type is made of what a file says: a library elsewhere in the process may have registered
one whose code would run.
"""

from __future__ import annotations

import inspect
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_HAS_OPTION = "arrow_extensions_enabled" in inspect.signature(pq.ParquetFile.__init__).parameters
# Before 21 pyarrow made no extension types of parquet's own logical types, and had no option to say so.
PLAIN_TYPES: dict[str, Any] = {"arrow_extensions_enabled": False} if _HAS_OPTION else {}
"""Arguments of `pyarrow.parquet.ParquetFile`: logical types are read as the plain types that they are stored in."""


def is_string_view(kind: Any) -> bool:
    """Whether an Arrow type is a view of strings; there are none before pyarrow 16."""
    return bool(hasattr(pa.types, "is_string_view") and pa.types.is_string_view(kind))
