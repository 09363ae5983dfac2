"""The bytes of a parquet file's footer and page headers.

Standard library alone; every length is checked against the bytes that are there.
What columns a file must have is decided by whoever opens it: `gate.data` for bundles, `tables.parquet` for callers.
"""

__all__ = []
