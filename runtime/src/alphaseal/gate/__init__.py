"""The gates V7 and V8: what an ONNX or parquet file may be, decided on its bytes before a library sees them.

`onnx` and `parquet` read those bytes with the standard library alone; `model` and `data` decide.
Nothing here runs a graph or keeps a table; a rule that needs values belongs to `scoring.selftest`.
"""

__all__ = ["model"]
