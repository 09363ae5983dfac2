"""qlib's processors: one module per kind, with what it is read from, its numpy, its ONNX and its words.

Inert records of a fitted dataset come in; `kinds` has the table, `sequence` runs several after one another.
A processor that is not in the table is refused by name.  Those over the stocks of a day are computed by the runtime.
"""
