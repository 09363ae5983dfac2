"""qlib's fitted processors: their typed values, and what they do to rows in numpy.

What is fitted comes from `locate.artifacts`; the graph of them is in `graph`.
A processor that is not known here is refused by name.
"""
