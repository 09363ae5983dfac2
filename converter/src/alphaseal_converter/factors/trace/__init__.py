"""A stand-in for pandas that records: a factor's source runs against it once, and what it would have computed comes out as nodes.

It runs in isolation only (`programs/trace.py`), without pandas.  A frame here is a value expression per column, a mask of rows,
an order of rows and a layout of index levels.  What is not known is refused with construct and line; nothing is guessed.
The standard library, numpy and `factors.expressions` (nodes, document) are all that may be imported.
"""
